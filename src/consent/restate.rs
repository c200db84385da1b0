//! Whether a record says nothing that the ledger does not say already.
//!
//! Promises: what is left out opens nothing: the ledger without it answers every question, now and
//! later, as it would with it, or holds a protection until the next message ends it; what is not
//! certain is kept.
//! Knows nothing of: how records are looked up, and where times of repetition are kept.
//!
//! Hospitals say PD1-12 in every message, so a ledger that kept each of them would grow with each.
//! What is left out is remembered by its time alone, as the `until` of [`Known`]: an end that was
//! sent before the beginning was said for the last time is stale, though what the ledger holds of
//! that beginning is older than both.

use jiff::Timestamp;

use super::fold::fold;
use super::record::{Record, Restriction, Says, Turn};

/// What the ledger holds of one key of one subject.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'k> {
    /// Every record under the key, in any order.
    pub records: &'k [Record],
    /// The latest version of what was left out under it.
    pub until: Option<u64>,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is kept.
    New,
    /// It is left out: it says what stands, and of what version that is now.
    Again(Option<u64>),
    /// It is left out: it changes nothing.
    Stale,
}

/// Whether a record is news to a subject's ledger, of which `known` is what has its key.
// PROMISE-5: what is left out opens nothing.
#[must_use]
pub fn news(known: Known<'_>, record: &Record, now: Timestamp) -> News {
    match &record.says {
        Says::Consent(_) if repeats_consent(known.records, record) => News::Again(None),
        // A closure is decided on arrival, and a later permit lifts it: each one counts anew.
        Says::Consent(_) | Says::Closure(Turn::Begins) => News::New,
        Says::Restriction(_) | Says::Closure(Turn::Ends) => turned(known, record, now),
    }
}

/// A decision is left out where the newest of its key is the same in all but when and in what it
/// arrived. What is undated and closes was decided on arrival, so that it is news each time.
fn repeats_consent(records: &[Record], record: &Record) -> bool {
    let is_dated = record.decided_at.is_some() || record.opens();
    let same = |known: &Record| {
        let mut known = known.clone();
        known.recorded_at = record.recorded_at;
        known.origin.message.clone_from(&record.origin.message);
        known == *record
    };
    // What decides nothing is passed over, however often it is said.
    let decides = !fold([record]).is_empty();
    if decides {
        is_dated && fold(of_its_kind(records, record)).into_iter().any(same)
    } else {
        records.iter().any(same)
    }
}

fn turned(known: Known<'_>, record: &Record, now: Timestamp) -> News {
    let mut records: Vec<Record> = of_its_kind(known.records, record).cloned().collect();
    let newest = fold(&records).into_iter().next().cloned();
    let Some(mut stands) = newest else {
        // An end of what never began. That of a closure may be of one that comes late.
        return match record.says {
            Says::Restriction(Restriction { turn: Turn::Ends, .. }) => News::Stale,
            Says::Restriction(_) | Says::Closure(_) | Says::Consent(_) => News::New,
        };
    };
    if let (Some(own), Some(until)) = (number(&stands), known.until)
        && until > own
    {
        records.retain(|known| *known != stands);
        stands.version = Some(until.to_string());
        records.push(stands.clone());
    }
    records.push(record.clone());
    let first = fold(&records).into_iter().next();
    if first != Some(record) || is_later_only(&stands, record, now) {
        return News::Stale;
    }
    // Numbers order where all have one, else arrival does. What has none changes that, and is kept
    // unless another of its key has none either.
    let counts = record.version.is_some()
        || records.iter().filter(|known| known.version.is_none()).count() > 1;
    let alike = stands.says == record.says
        && stands.effective_from == record.effective_from
        && stands.effective_to == record.effective_to;
    if alike && counts { News::Again(number(record)) } else { News::New }
}

/// Whether a protection is in force, and another of its key would replace it by one that is not yet.
fn is_later_only(stands: &Record, record: &Record, now: Timestamp) -> bool {
    let begins =
        |it: &Record| matches!(&it.says, Says::Restriction(Restriction { turn: Turn::Begins, .. }));
    let later = |it: &Record| it.effective_from.is_some_and(|from| from.span().earliest > now);
    begins(stands) && begins(record) && !later(stands) && later(record)
}

/// Those that a record is a version of: of the same key and kind, and of the same visit.
fn of_its_kind<'r>(records: &'r [Record], record: &'r Record) -> impl Iterator<Item = &'r Record> {
    records.iter().filter(move |known| {
        known.key == record.key
            && match (&known.says, &record.says) {
                (Says::Consent(_), Says::Consent(_)) | (Says::Closure(_), Says::Closure(_)) => true,
                (Says::Restriction(known), Says::Restriction(new)) => known.visit == new.visit,
                (Says::Consent(_) | Says::Closure(_) | Says::Restriction(_), _) => false,
            }
    })
}

fn number(record: &Record) -> Option<u64> {
    record.version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u8) -> Timestamp {
        format!("2026-11-22T12:{minute:02}:00Z").parse().unwrap()
    }

    fn turns(turn: Turn, version: Option<u64>, minute: u8) -> Record {
        let text = r#"{"key":{"source":"adt","id":"PD1-12"},"recordedAt":0,
            "origin":{"feed":"adt","message":"m"},"says":{"restriction":{"turn":"begins"}}}"#;
        let mut record: Record = serde_json::from_str(text).unwrap();
        record.version = version.map(|number| number.to_string());
        record.recorded_at = at(minute);
        record.says = Says::Restriction(Restriction { turn, visit: None, labels: Vec::new() });
        record
    }

    fn permit(decided: &str, minute: u8) -> Record {
        let text = r#"{"key":{"source":"adt","id":"f"},"recordedAt":0,
            "origin":{"feed":"adt","message":"m"},"says":{"consent":{"purposes":"every",
            "decision":"permit","status":"active","kind":"permission"}}}"#;
        let mut record: Record = serde_json::from_str(text).unwrap();
        record.decided_at = crate::consent::Moment::read(decided, &jiff::tz::TimeZone::UTC);
        record.recorded_at = at(minute);
        record.origin.message = format!("m{minute}");
        record
    }

    /// What becomes of records that arrive one after the other, as the store keeps them.
    fn run(records: &[Record]) -> (String, Vec<Record>) {
        let (mut kept, mut until, mut said) = (Vec::<Record>::new(), None::<u64>, String::new());
        for record in records {
            let known = Known { records: &kept, until };
            match news(known, record, record.recorded_at) {
                News::New => {
                    kept.push(record.clone());
                    said.push('+');
                }
                News::Again(version) => {
                    until = until.max(version);
                    said.push('=');
                }
                News::Stale => said.push('-'),
            }
        }
        (said, kept)
    }

    use Turn::{Begins, Ends};

    #[test]
    fn what_stands_is_kept_once_and_an_end_only_where_something_began() {
        let of = |turns_at: &[(Turn, u64)]| {
            let records: Vec<Record> = (1..)
                .zip(turns_at)
                .map(|(minute, (turn, version))| turns(*turn, Some(*version), minute))
                .collect();
            run(&records).0
        };
        assert_eq!(of(&[(Ends, 1), (Ends, 2)]), "--");
        assert_eq!(of(&[(Begins, 1), (Begins, 2), (Ends, 3), (Ends, 4), (Begins, 5)]), "+=+=+");
        // PROMISE-5: an end that was sent before the protection was said again opens nothing.
        assert_eq!(of(&[(Begins, 1), (Begins, 5), (Ends, 3), (Ends, 6)]), "+=-+");
        assert_eq!(of(&[(Begins, 5), (Ends, 3)]), "+-");
        assert_eq!(of(&[(Begins, 1), (Ends, 3), (Ends, 9), (Begins, 5)]), "++=-");
        // Of the same second the later arrival counts.
        assert_eq!(of(&[(Begins, 1), (Ends, 1), (Begins, 1)]), "+++");
        let undated: Vec<Record> = [Begins, Begins, Ends, Ends, Begins]
            .into_iter()
            .zip(1..)
            .map(|(turn, minute)| turns(turn, None, minute))
            .collect();
        assert_eq!(run(&undated).0, "+=+=+");
        let mixed = [
            turns(Begins, Some(1), 1),
            turns(Ends, Some(2), 2),
            turns(Ends, None, 3),
            turns(Ends, None, 4),
            turns(Ends, Some(5), 5),
        ];
        assert_eq!(run(&mixed).0, "+++==");
    }

    #[test]
    fn a_protection_that_is_still_to_come_does_not_replace_one_that_holds() {
        let mut later = turns(Begins, Some(2), 2);
        later.effective_from = crate::consent::Moment::read("2026-11-30", &jiff::tz::TimeZone::UTC);
        assert_eq!(run(&[turns(Begins, Some(1), 1), later.clone()]).0, "+-");
        let now = turns(Begins, Some(3), 3);
        assert_eq!(run(&[later, now]).0, "++");
    }

    #[test]
    fn a_decision_is_kept_once_while_it_is_the_newest_of_its_key() {
        let first = permit("2026-01-05", 1);
        let again = permit("2026-01-05", 2);
        assert_eq!(run(&[first.clone(), again.clone()]).0, "+=");
        let mut revoked = permit("2026-01-06", 2);
        if let Says::Consent(consent) = &mut revoked.says {
            consent.status = crate::consent::Status::Revoked;
        }
        // What is older now than another of its key is history, and is kept as such.
        assert_eq!(run(&[first, revoked.clone(), permit("2026-01-05", 3)]).0, "+++");
        // PROMISE-5: what closes and has no date is decided on arrival, each time.
        let mut undated = [revoked.clone(), revoked];
        undated.iter_mut().for_each(|record| record.decided_at = None);
        assert_eq!(run(&undated).0, "++");
    }

    proptest::proptest! {
        /// PROMISE-5: the ledger that leaves out what is no news says of every key what one says
        /// that keeps everything; where it begins with an end, which is not kept, it may hold longer.
        #[test]
        fn what_is_left_out_changes_no_answer(
            says in proptest::collection::vec((proptest::bool::ANY, proptest::option::of(0_u64..6)), 1..14)
        ) {
            let records: Vec<Record> = (1..)
                .zip(&says)
                .map(|(minute, (begins, version))| {
                    turns(if *begins { Begins } else { Ends }, *version, minute)
                })
                .collect();
            let stands = |records: &[Record]| {
                let newest = fold(records).into_iter().next();
                newest.is_some_and(|it| it.says.may_narrow())
            };
            for until in 1..=records.len() {
                let so_far = &records[..until];
                let (_, kept) = run(so_far);
                if says[0].0 {
                    proptest::prop_assert_eq!(stands(so_far), stands(&kept), "{:?}", says);
                } else if says.iter().all(|(_, version)| version.is_some()) && stands(so_far) {
                    proptest::prop_assert!(stands(&kept), "{says:?}");
                }
            }
        }
    }
}
