//! When time alone may change an answer.
//!
//! Promises: between now and that instant no answer over these records changes, however it is
//! asked. After it one may, or not: who is woken asks anew.
//! Knows nothing of: timers.

use jiff::{Timestamp, ToSpan};

use super::decision::Standin;
use super::ledger::Ledger;
use super::policy::Policy;
use super::record::Record;
use super::rules::majority_of;

/// The next instant after `now` at which a record begins, ends, stops being dated in the future,
/// or a minor comes of age by any jurisdiction of the policy. Nothing where time changes nothing.
#[must_use]
pub fn when_next(ledger: &Ledger<'_>, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
    let instants = ledger.all().flat_map(|record| instants_of(record, policy));
    instants.filter(|at| *at > now).min()
}

fn instants_of(record: &Record, policy: &Policy) -> Vec<Timestamp> {
    let mut instants = Vec::new();
    let begins = [record.decided_at, record.effective_from];
    instants.extend(begins.into_iter().flatten().map(|moment| moment.span().earliest));
    // The last microsecond of it still holds.
    let ends = record.effective_to.map(|moment| moment.span().latest);
    instants.extend(ends.and_then(|latest| latest.checked_add(1.microsecond()).ok()));
    let signer = record.consent().map(|consent| &consent.signer);
    if let Some(signer) = signer.filter(|signer| signer.standin == Some(Standin::Minor))
        && let Some(born) = &signer.born
    {
        instants.extend(policy.majorities().filter_map(|years| majority_of(born, years)));
    }
    instants
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::consent::Epoch;
    use crate::document::{Document, Problems};

    /// Of a permit by a parent: decided 2026-01-05, from 2026-02-01 to 2026-06-30 (UTC), born
    /// 2010-03-04.
    const RECORD: &str = r#"{"key":{"source":"adt","id":"a"},
        "decidedAt":["2026-01-05",1767571200000000,1767657599999999],
        "effectiveFrom":["2026-02-01",1769904000000000,1769990399999999],
        "effectiveTo":["2026-06-30",1782777600000000,1782863999999999],
        "recordedAt":1767571200000000,"origin":{"feed":"adt","message":"m"},
        "says":{"consent":{"purposes":{"these":["CLINTRCH"]},"decision":"permit","status":"active",
        "kind":"permission","signer":{"consenter":"named","capacity":"unstated","standin":"minor",
        "born":["2010-03-04",1267660800000000,1267747199999999]}}}}"#;

    #[test]
    fn it_is_the_first_of_what_begins_and_ends() {
        let records: Vec<Record> = vec![serde_json::from_str(RECORD).unwrap()];
        let problems = Problems::default();
        let text = "[[jurisdiction]]\ncode = \"US\"\nmajority = 18\n";
        let policy = Policy::of(&Document::from_text("p", Path::new("."), text), &problems);
        let ledger = Ledger::of(Epoch(1), &records);
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut instants = Vec::new();
        while let Some(next) = when_next(&ledger, &policy, now) {
            instants.push(next.to_string());
            now = next;
        }
        assert_eq!(
            instants,
            [
                "2026-01-05T00:00:00Z",
                "2026-02-01T00:00:00Z",
                "2026-07-01T00:00:00Z",
                "2028-03-04T00:00:00Z"
            ]
        );
    }
}
