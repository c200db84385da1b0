//! When time alone may change an answer, and what has ended by it.
//!
//! Promises: between now and that instant no answer over these records changes, however it is
//! asked. After it one may, or not: who is woken asks anew.
//! Knows nothing of: timers, and what was told before.

use jiff::{Timestamp, ToSpan};

use super::decision::{Standin, Status};
use super::exception::{Criteria, all};
use super::fold::fold;
use super::ledger::Ledger;
use super::moment::Moment;
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
    instants.extend(end_of(record));
    instants.extend(criteria_of(record).into_iter().flat_map(|about| {
        [about.from.map(|from| from.span().earliest), after(about.to)].into_iter().flatten()
    }));
    instants.extend(majorities_of(record, policy));
    instants
}

/// From when on a record is past its dates: the last microsecond of them still holds.
fn end_of(record: &Record) -> Option<Timestamp> {
    after(record.effective_to)
}

fn after(to: Option<Moment>) -> Option<Timestamp> {
    to?.span().latest.checked_add(1.microsecond()).ok()
}

/// What a record and its exceptions are about.
fn criteria_of(record: &Record) -> Vec<&Criteria> {
    let Some(consent) = record.consent() else { return Vec::new() };
    let nested = all(&consent.exceptions).into_iter().map(|it| &it.about);
    consent.within.iter().chain(nested).collect()
}

fn majorities_of(record: &Record, policy: &Policy) -> impl Iterator<Item = Timestamp> {
    let born = minor_born(record);
    policy.majorities().filter_map(move |years| majority_of(&born?, years))
}

fn minor_born(record: &Record) -> Option<Moment> {
    let signer = &record.consent()?.signer;
    signer.born.filter(|_| signer.standin == Some(Standin::Minor))
}

/// A permit that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its place among the records that were handed in.
    pub record: usize,
    /// From when on it does not hold.
    pub at: Timestamp,
}

/// The ends up to `now` of the permits that count, oldest first: of their dates, and of a minor's
/// majority by each age there is. What had ended when it arrived never held here, and ends nothing.
#[must_use]
pub fn ended(records: &[Record], policy: &Policy, now: Timestamp) -> Vec<End> {
    let mut ends = Vec::new();
    let withdrawals: Vec<&Record> =
        records.iter().filter(|record| record.origin.withdraws.is_some()).collect();
    let permits = |record: &&Record| {
        let opens = record
            .consent()
            .is_some_and(|consent| consent.status == Status::Active && consent.may_permit());
        opens && !withdrawals.iter().any(|other| record.is_withdrawn_by(other))
    };
    for record in fold(records).into_iter().filter(permits) {
        let Some(place) = records.iter().position(|it| std::ptr::eq(it, record)) else { continue };
        let last = end_of(record);
        let come_of_age = majorities_of(record, policy);
        let mut own: Vec<Timestamp> = come_of_age.chain(last).collect();
        own.retain(|at| {
            *at > record.recorded_at && *at <= now && last.is_none_or(|last| *at <= last)
        });
        own.sort();
        own.dedup();
        ends.extend(own.into_iter().map(|at| End { record: place, at }));
    }
    ends.sort_by_key(|end| end.at);
    ends
}

/// Whether a record may end by an age of majority.
#[must_use]
pub fn is_of_a_minor(record: &Record) -> bool {
    minor_born(record).is_some()
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

    #[test]
    fn an_end_is_of_a_permit_that_counts_and_held_when_it_came() {
        let problems = Problems::default();
        let text = "[[jurisdiction]]\ncode = \"US\"\nmajority = 16\n";
        let policy = Policy::of(&Document::from_text("p", Path::new("."), text), &problems);
        let permit: Record = serde_json::from_str(RECORD).unwrap();
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let ends = |records: &[Record], now: &str| -> Vec<String> {
            ended(records, &policy, at(now)).iter().map(|end| end.at.to_string()).collect()
        };
        let own = std::slice::from_ref(&permit);
        assert_eq!(ends(own, "2026-03-03T23:59:59Z"), [""; 0]);
        assert_eq!(ends(own, "2026-03-04T00:00:00Z"), ["2026-03-04T00:00:00Z"]);
        let both = ["2026-03-04T00:00:00Z", "2026-07-01T00:00:00Z"];
        assert_eq!(ends(own, "2026-07-01T00:00:00Z"), both);
        // Replaced by one that ended before it came.
        let late = Record { recorded_at: at("2026-12-01T00:00:00Z"), ..permit.clone() };
        assert_eq!(ends(&[permit.clone(), late], "2027-01-01T00:00:00Z"), [""; 0]);
        let mut revoked = Record { recorded_at: at("2026-02-01T00:00:00Z"), ..permit.clone() };
        if let crate::consent::Says::Consent(consent) = &mut revoked.says {
            consent.status = crate::consent::Status::Revoked;
        }
        assert_eq!(ends(&[permit, revoked], "2027-01-01T00:00:00Z"), [""; 0]);
    }
}
