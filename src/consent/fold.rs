//! Which of a subject's records count: of every key the newest decision.
//!
//! Promises: the order in which records are handed in never changes which count; of two that
//! cannot be told apart by age, the one that closes counts.
//! Knows nothing of: what is asked, and the time.
//!
//! How age is told within one key: by version, where every one of them is a whole number; else by
//! when it was decided, where the spans do not overlap; then the more restrictive one counts
//! (a sender that revokes often repeats the date of the permit), and last the one that arrived
//! later. That number would settle all of it, but the network would decide then.

use std::collections::BTreeMap;

use super::decision::{Decision, Status};
use super::record::{Key, Record, Says, Turn};

/// What a key is of: a restriction never replaces a consent that is named like it, nor one visit's
/// that of another.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'r> {
    Consent,
    Restriction(Option<&'r str>),
    Closure,
}

/// The newest decision of every key, by key. `proposed` and `bypassed` are no decisions: what was
/// decided before them stands.
#[must_use]
pub fn fold<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<&'r Record> {
    let mut keys: BTreeMap<(&Key, Subject<'_>), Vec<&Record>> = BTreeMap::new();
    for record in records {
        let subject = match &record.says {
            Says::Consent(_) => Subject::Consent,
            Says::Restriction(restriction) => Subject::Restriction(restriction.visit.as_deref()),
            Says::Closure(_) => Subject::Closure,
        };
        if restrictiveness(record).is_some() {
            keys.entry((&record.key, subject)).or_default().push(record);
        }
    }
    keys.into_values().filter_map(newest).collect()
}

/// The version of a key that counts.
fn newest(mut versions: Vec<&Record>) -> Option<&Record> {
    if versions.len() > 1 {
        if let Some(numbers) =
            versions.iter().map(|record| number(record)).collect::<Option<Vec<_>>>()
        {
            let newest = numbers.into_iter().max();
            versions.retain(|record| number(record) == newest);
        }
        // Those that end before another begins are older.
        let last = versions.iter().map(|record| record.decided().earliest).max();
        versions.retain(|record| last.is_none_or(|last| record.decided().latest >= last));
    }
    match versions.as_slice() {
        [] | [_] => versions.pop(),
        // Two that still differ in nothing but words: any rule does that asks for no order.
        _ => versions.into_iter().max_by_key(|record| {
            (restrictiveness(record), record.recorded_at, serde_json::to_string(record).ok())
        }),
    }
}

fn number(record: &Record) -> Option<u64> {
    record.version.as_deref()?.parse().ok()
}

/// How much a record closes, more for more; nothing where it decides nothing.
fn restrictiveness(record: &Record) -> Option<u8> {
    match &record.says {
        Says::Restriction(restriction) => Some(turned(restriction.turn)),
        Says::Closure(turn) => Some(turned(*turn)),
        Says::Consent(consent) => match (consent.status, consent.decision) {
            (Status::Proposed | Status::Bypassed, _) => None,
            (Status::Rejected | Status::Revoked | Status::Unknown, _)
            | (Status::Active, Decision::Deny) => Some(2),
            (Status::Inactive | Status::EnteredInError, _) => Some(1),
            (Status::Active, Decision::Permit) => Some(0),
        },
    }
}

const fn turned(turn: Turn) -> u8 {
    match turn {
        Turn::Begins => 2,
        Turn::Ends => 0,
    }
}
