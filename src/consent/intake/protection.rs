//! A protection of the person or a visit to the record that the ledger keeps of it.
//!
//! Promises: an end that is dated in the future, or whose visit is not known, is no record; of one
//! key the message that was sent last counts, and a sender's clock that is ahead of ours opens
//! nothing.
//! Knows nothing of: fields and segments.

use jiff::{Timestamp, ToSpan};

use super::{Carrier, moment, zone};
use crate::consent::moment::Moment;
use crate::consent::record::{Key, Origin, Record, Restriction, Says, Turn};
use crate::event::{PartialDate, View};

/// How far ahead of ours a sender's clock may be. What it says to be later is not believed.
const AHEAD_HOURS_MAX: i64 = 24;

/// What a message says of one protection.
#[derive(Clone, Debug)]
pub struct Protection {
    /// Its key.
    pub key: Key,
    /// Whether it begins or ends.
    pub turn: Turn,
    /// The visit's number, where it is of one visit alone.
    pub visit: Option<String>,
    /// Sensitivity labels.
    pub labels: Vec<String>,
    /// From when it is in force.
    pub from: Option<PartialDate>,
    /// Until when.
    pub to: Option<PartialDate>,
}

/// The record of a protection, with the message's own fields in `data`. Nothing where it ends one
/// later on: a message of that day says it again, and until then it holds.
// PROMISE-5
#[must_use]
pub fn protection(said: Protection, data: View<'_>, carrier: &Carrier<'_>) -> Option<Record> {
    let Protection { key, turn, visit, labels, from, to } = said;
    let zone = zone(data, carrier);
    let read = |date: Option<PartialDate>| Moment::read(&date?.to_string(), &zone);
    let (from, to) = (read(from), read(to));
    let ends_later = from.is_some_and(|from| from.span().earliest > carrier.recorded_at);
    let (effective_from, effective_to) = match turn {
        Turn::Ends if ends_later => return None,
        Turn::Ends => (None, None),
        Turn::Begins => (from, to),
    };
    let sent_at = moment(data, "message.sentAt", &zone).map(|at| at.span().earliest);
    let sent_at = sent_at.map(|at| believed(at, turn, carrier.recorded_at));
    let origin = Origin {
        feed: carrier.feed.to_owned(),
        message: carrier.message.to_owned(),
        form: None,
        document: None,
        withdraws: None,
    };
    Some(Record {
        key,
        version: sent_at.map(|at| at.strftime("%Y%m%d%H%M%S").to_string()),
        decided_at: None,
        effective_from,
        effective_to,
        recorded_at: carrier.recorded_at,
        origin,
        says: Says::Restriction(Restriction { turn, visit, labels }),
    })
}

/// When it was said. An end from the future would outweigh every beginning until then.
fn believed(sent_at: Timestamp, turn: Turn, recorded_at: Timestamp) -> Timestamp {
    let latest = match turn {
        Turn::Ends => recorded_at,
        Turn::Begins => recorded_at.checked_add(AHEAD_HOURS_MAX.hours()).unwrap_or(recorded_at),
    };
    sent_at.min(latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Tree;
    use crate::event::partial_date::Digits;

    /// `from` is a day of November.
    fn record(turn: Turn, sent_at: &str, from: &str) -> Option<Record> {
        let json = format!(r#"{{"message":{{"sentAt":"{sent_at}"}}}}"#);
        let tree: Tree = serde_json::from_str(&json).unwrap();
        let carrier = Carrier {
            feed: "adt",
            site: None,
            message: "m",
            place: "pd1",
            zone: None,
            recorded_at: "2026-11-22T12:00:00Z".parse().unwrap(),
        };
        let key = Key { source: "adt".to_owned(), id: "PD1-12".to_owned() };
        let day = from.parse().ok().map(|day| Digits {
            year: 2026,
            month: Some(11),
            day: Some(day),
            ..Digits::default()
        });
        let from = day.and_then(PartialDate::new);
        let said = Protection { key, turn, visit: None, labels: Vec::new(), from, to: None };
        protection(said, tree.root(), &carrier)
    }

    fn version(turn: Turn, sent_at: &str) -> Option<String> {
        record(turn, sent_at, "").unwrap().version
    }

    #[test]
    fn it_is_ordered_by_when_its_message_was_sent_within_what_can_be() {
        let sent = |turn| version(turn, "2026-11-22T11:00:00Z").unwrap();
        assert_eq!([Turn::Begins, Turn::Ends].map(sent), ["20261122110000"; 2]);
        assert_eq!(version(Turn::Begins, ""), None);
        // PROMISE-5: a sender that is ahead of us does not outweigh what is said tomorrow.
        let ahead = "2062-01-01T00:00:00Z";
        assert_eq!(version(Turn::Ends, ahead).unwrap(), "20261122120000");
        assert_eq!(version(Turn::Begins, ahead).unwrap(), "20261123120000");
    }

    /// PROMISE-5
    #[test]
    fn an_end_that_is_still_to_come_is_no_record_and_a_beginning_is() {
        assert!(record(Turn::Ends, "", "23").is_none());
        assert!(record(Turn::Ends, "", "22").is_some());
        let begins = record(Turn::Begins, "", "23").unwrap();
        assert_eq!(begins.effective_from.unwrap().given().to_string(), "2026-11-23");
    }
}
