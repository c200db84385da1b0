//! A record that has no number yet.
//!
//! Promises: the bytes are those that the record itself is written as; they are made by who asks
//! for the record, so that the one thread that writes has little to do for each.
//! Knows nothing of: which number it gets.

use jiff::Timestamp;
use serde::Serialize;

use super::by;
use super::record::{Says, rfc3339};

/// A record but for its number.
#[derive(Clone, Debug)]
pub struct Draft {
    tail: String,
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
        let tail = serde_json::to_string(&Tail { at, says }).ok()?;
        Some(Self { tail: tail.strip_prefix('{')?.to_owned(), keys: by::keys(says) })
    }

    /// The record's bytes under a number.
    #[must_use]
    pub fn bytes(&self, number: u64) -> Vec<u8> {
        format!("{{\"number\":{number},{}", self.tail).into_bytes()
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
