//! An accounting of disclosures: what left about a subject, to whom, why and when.
//!
//! Promises: everything that was handed over is in it, also what may not have arrived; what was
//! recorded and never handed over is not.
//! Knows nothing of: where records are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::record::rfc3339;
use super::record::{Consulted, Decision, Fields, Outcome, Record, Says};

/// One disclosure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disclosure {
    /// Number of its record.
    pub number: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// To whom.
    pub recipient: String,
    /// Under which agreement.
    pub agreement: Option<String>,
    /// What for.
    pub purpose: String,
    /// The route, and the version of its contract.
    pub route: String,
    /// The version.
    pub contract: String,
    /// `release`, or `notice`.
    pub what: Outcome,
    /// What the event says.
    #[serde(rename = "type")]
    pub kind: crate::event::EventType,
    /// Its ID inside.
    pub event: Arc<str>,
    /// Whom it is about, as the record names the patient: one person may go by several.
    pub subject: Arc<str>,
    /// The token that stood for the patient.
    pub token: Option<String>,
    /// What became of each field.
    pub fields: Fields,
    /// The consent records behind it.
    pub consents: Vec<Consulted>,
    /// Whether it may not have arrived: its confirm never came.
    pub in_doubt: bool,
}

/// Accounts for the records about a subject, in any order; the oldest first.
#[must_use]
pub fn account(records: &[Record]) -> Vec<Disclosure> {
    let decisions: Vec<(&Record, &Decision)> = records
        .iter()
        .filter_map(|record| match &record.says {
            Says::Decision(decision) => Some((record, decision.as_ref())),
            Says::Act(_) => None,
        })
        .collect();
    let replaced: BTreeSet<u64> = decisions.iter().filter_map(|(_, one)| one.instead).collect();
    let doubtful: BTreeSet<u64> = decisions.iter().filter_map(|(_, one)| one.of).collect();
    let left = |one: &Decision| matches!(one.outcome, Outcome::Release | Outcome::Notice);
    let mut disclosures: Vec<Disclosure> = decisions
        .into_iter()
        .filter(|(record, one)| left(one) && !replaced.contains(&record.number))
        .map(|(record, one)| Disclosure {
            number: record.number,
            at: record.at,
            recipient: one.under.consumer.clone(),
            agreement: one.under.agreement.clone(),
            purpose: one.under.purpose.clone(),
            route: one.under.route.clone(),
            contract: one.under.contract.clone(),
            what: one.outcome,
            kind: one.kind,
            event: one.event.clone(),
            subject: one.subject.clone(),
            token: one.token.clone(),
            fields: one.fields.clone(),
            consents: one.consents.clone(),
            in_doubt: doubtful.contains(&record.number),
        })
        .collect();
    disclosures.sort_by_key(|one| one.number);
    disclosures.dedup_by_key(|one| one.number);
    disclosures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, outcome: &str, more: &str) -> Record {
        let text = format!(
            r#"{{"number":{number},"at":"2026-11-22T12:00:00Z","says":{{"decision":{{"outcome":"{outcome}","reason":"permitted","route":"r","contract":"1.0.0","configuration":"sha256:00","purpose":"CLINTRCH","consumer":"crm","destination":"rabbitmq:x","recipe":"sha256:01","message":9,"event":"ab-1.patient.admitted.pid1","type":"patient.admitted","subject":"0a","epoch":4{more}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// PROMISE-8
    #[test]
    fn what_was_never_handed_over_is_left_out_and_what_is_in_doubt_is_marked() {
        let records = [
            record(9, "notice", ""),
            record(1, "release", ""),
            record(2, "suppress", ""),
            record(3, "release", ""),
            record(4, "release", r#","instead":3"#),
            record(5, "suppress", r#","instead":4"#),
            record(6, "release", ""),
            record(7, "in-doubt", r#","of":6"#),
        ];
        let account = account(&records);
        let found: Vec<(u64, bool)> =
            account.iter().map(|one| (one.number, one.in_doubt)).collect();
        assert_eq!(found, [(1, false), (6, true), (9, false)]);
        assert_eq!(account[2].what, Outcome::Notice);
    }
}
