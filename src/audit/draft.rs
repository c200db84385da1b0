//! A record that has no number yet.
//!
//! Promises: the bytes are those that the record itself is written as; they are made by who asks
//! for the record, so that the one thread that writes has little to do for each.
//! Knows nothing of: which number it gets.

use jiff::Timestamp;
use serde::Serialize;

use super::by;
use super::record::{Decision, Says, rfc3339};

/// Bytes of most records; one with many fields has more.
const RECORD_BYTES: usize = 1_536;

/// A record but for its number.
#[derive(Clone, Debug)]
pub struct Draft {
    /// All of the record but for its number, as an object of its own.
    tail: Vec<u8>,
    keys: Vec<i64>,
}

/// All of [`super::Record`] that stands behind its number.
#[derive(Serialize)]
struct Tail<'t, S> {
    #[serde(with = "rfc3339")]
    at: &'t Timestamp,
    says: S,
}

/// A decision as [`Says`] is written, of who keeps it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Said<'s> {
    Decision(&'s Decision),
}

impl Draft {
    /// Writes it, but for its number. Only a type that JSON cannot hold would make that fail.
    #[must_use]
    pub fn new(at: &Timestamp, says: &Says) -> Option<Self> {
        Self::write(at, says, by::keys(says))
    }

    /// The same, of a decision that its owner goes on with.
    #[must_use]
    pub fn of_decision(at: &Timestamp, decision: &Decision) -> Option<Self> {
        Self::write(at, Said::Decision(decision), by::keys_of(decision))
    }

    fn write(at: &Timestamp, says: impl Serialize, keys: Vec<i64>) -> Option<Self> {
        let mut tail = Vec::with_capacity(RECORD_BYTES);
        serde_json::to_writer(&mut tail, &Tail { at, says }).ok()?;
        Some(Self { tail, keys })
    }

    /// The record's bytes under a number.
    #[must_use]
    pub fn bytes(&self, number: u64) -> Vec<u8> {
        let head = format!("{{\"number\":{number},");
        let tail = self.tail.get(1..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(head.len() + tail.len());
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(tail);
        bytes
    }

    /// What it is found by.
    #[must_use]
    pub fn keys(&self) -> &[i64] {
        &self.keys
    }

    /// How many bytes it takes, about.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.tail.len() + 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Act, Record};

    /// PROMISE-9
    #[test]
    fn a_draft_gets_the_bytes_of_its_record() {
        let at = "2026-11-22T12:00:00.000001Z".parse().unwrap();
        let act = Act {
            act: "start".into(),
            who: "tidegate".into(),
            with: [("a".into(), "\"".into())].into(),
        };
        let says = Says::Act(act);
        let bytes = Draft::new(&at, &says).unwrap().bytes(7);
        assert_eq!(bytes, serde_json::to_vec(&Record { number: 7, at, says }).unwrap());
    }

    /// PROMISE-9
    #[test]
    fn a_decision_that_is_kept_gives_the_draft_of_its_record() {
        let text = r#"{"decision":{"outcome":"release","reason":"permitted","route":"r","contract":"1.0.0","configuration":"sha256:00","purpose":"CLINTRCH","consumer":"crm","destination":"rabbitmq:x","recipe":"sha256:01","message":9,"event":"ab-1.patient.admitted.pid1","type":"patient.admitted","subject":"0a","token":"t","consents":[{"record":"0c"}],"epoch":4}}"#;
        let says: Says = serde_json::from_str(text).unwrap();
        let at = "2026-11-22T12:00:00Z".parse().unwrap();
        let Says::Decision(decision) = &says else { panic!("a decision is one") };
        let [kept, own] =
            [Draft::of_decision(&at, decision), Draft::new(&at, &says)].map(Option::unwrap);
        assert_eq!((kept.bytes(7), kept.keys()), (own.bytes(7), own.keys()));
    }
}
