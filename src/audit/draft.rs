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

/// What a record begins with.
const HEAD: &str = "{\"number\":";
/// Bytes of the longest beginning: that, a number and a comma, which stands for the brace that the rest
/// begins with.
const HEAD_BYTES_MAX: usize = HEAD.len() + 20 + 1;

/// A record but for its number.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The record, with room for the beginning up to its number.
    bytes: Vec<u8>,
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
        let mut bytes = Vec::with_capacity(RECORD_BYTES);
        bytes.resize(HEAD_BYTES_MAX - 1, b' ');
        serde_json::to_writer(&mut bytes, &Tail { at, says }).ok()?;
        Some(Self { bytes, keys })
    }

    /// The record's bytes under a number.
    #[must_use]
    pub fn bytes(&mut self, number: u64) -> &[u8] {
        let head = format!("{HEAD}{number},");
        // It has room for any number.
        let from = HEAD_BYTES_MAX.saturating_sub(head.len());
        if let Some(room) = self.bytes.get_mut(from..HEAD_BYTES_MAX) {
            room.copy_from_slice(head.as_bytes());
        }
        self.bytes.get(from..).unwrap_or_default()
    }

    /// What it is found by.
    #[must_use]
    pub fn keys(&self) -> &[i64] {
        &self.keys
    }

    /// How many bytes it takes, about.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
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
        let mut draft = Draft::new(&at, &says).unwrap();
        for number in [1, 987, u64::MAX, 7] {
            let record = Record { number, at, says: says.clone() };
            assert_eq!(draft.bytes(number), serde_json::to_vec(&record).unwrap());
        }
    }

    /// PROMISE-9
    #[test]
    fn a_decision_that_is_kept_gives_the_draft_of_its_record() {
        let text = r#"{"decision":{"outcome":"release","reason":"permitted","route":"r","contract":"1.0.0","configuration":"sha256:00","purpose":"CLINTRCH","consumer":"crm","destination":"rabbitmq:x","recipe":"sha256:01","message":9,"event":"ab-1.patient.admitted.pid1","type":"patient.admitted","subject":"0a","token":"t","consents":[{"record":"0c"}],"epoch":4}}"#;
        let says: Says = serde_json::from_str(text).unwrap();
        let at = "2026-11-22T12:00:00Z".parse().unwrap();
        let Says::Decision(decision) = &says else { panic!("a decision is one") };
        let [mut kept, mut own] =
            [Draft::of_decision(&at, decision), Draft::new(&at, &says)].map(Option::unwrap);
        assert_eq!(kept.bytes(7), own.bytes(7));
        assert_eq!(kept.keys(), own.keys());
    }
}
