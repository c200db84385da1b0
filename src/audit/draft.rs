//! A record that has no number yet.
//!
//! Promises: the bytes are those that the record itself is written as; they are made by who asks
//! for the record, so that the one thread that writes has little to do for each.
//! Knows nothing of: which number it gets.

use jiff::Timestamp;
use serde::Serialize;

use super::by;
use super::record::{Says, rfc3339};

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
struct Tail<'t> {
    #[serde(with = "rfc3339")]
    at: &'t Timestamp,
    says: &'t Says,
}

impl Draft {
    /// Writes it, but for its number. Only a type that JSON cannot hold would make that fail.
    #[must_use]
    pub fn new(at: &Timestamp, says: &Says) -> Option<Self> {
        let mut tail = Vec::with_capacity(RECORD_BYTES);
        serde_json::to_writer(&mut tail, &Tail { at, says }).ok()?;
        Some(Self { tail, keys: by::keys(says) })
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
}
