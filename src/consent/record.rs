//! What the consent ledger keeps: decisions, restrictions and closures of one subject.
//!
//! Promises: a record is never changed, only followed by a newer version of its key; what a
//! later version of this program added to a record is not read over by an earlier one.
//! Knows nothing of: whom it is about. Who asks hands in the records of one subject, so that
//! those of another cannot take part in an answer.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decision::{Consent, Decision, Status};
use super::moment::{Moment, Span};

/// Names what the versions of a record have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Who names it so: the feed or the server.
    pub source: String,
    /// The ID there: CON-4, else CON-2 and CON-3; of a restriction its field, and the visit.
    pub id: String,
}

/// A record as an answer names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Its key.
    pub key: Key,
    /// Its version, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.key.source, self.key.id)?;
        match &self.version {
            Some(version) => write!(out, " version {version}"),
            None => Ok(()),
        }
    }
}

// PROMISE-10: a form's number may be a patient's.
impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Reference(..)")
    }
}

/// What stands for the feed of what was imported.
pub const IMPORT: &str = "import";

/// Where a record came from.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// The feed, or [`IMPORT`].
    pub feed: String,
    /// The correlation ID of the message that it came in.
    pub message: String,
    /// The form and its version (CON-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// The signed document (TXA-12, `Consent.source`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The document whose permits end with this record: one that its own replaces (TXA-13), or its
    /// own, which was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdraws: Option<String>,
}

/// Whether something begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// From now on it holds.
    Begins,
    /// It no longer holds.
    Ends,
}

/// A protection of the person or of one visit (PD1-12, ARV, PV2-22). Never a grant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restriction {
    /// `Y` begins one; PD1-12 = `N` or `""` and ARV-2 = `D` end it. Absent says nothing, and makes
    /// no record.
    pub turn: Turn,
    /// The visit's number, where it is of one visit alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visit: Option<String>,
    /// Sensitivity labels that it bears (ARV-3, ARV-4), such as `42CFRPart2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// A decision about purposes.
    Consent(Box<Consent>),
    /// A protection.
    Restriction(Restriction),
    /// A message that bears a consent could not be applied. It closes every purpose until it is
    /// applied after all, or the patient decides anew.
    Closure(Turn),
}

impl Says {
    /// Whether it may take something back that was permitted: all but what ends a protection or a
    /// closure.
    #[must_use]
    pub const fn may_narrow(&self) -> bool {
        match self {
            Self::Consent(_) => true,
            Self::Restriction(Restriction { turn, .. }) | Self::Closure(turn) => {
                matches!(turn, Turn::Begins)
            }
        }
    }
}

/// One version of one record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Source and ID.
    pub key: Key,
    /// Version under that key, as the source counts; HL7 v2 does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it was decided: CON-13, else CON-14, else MSH-7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Moment>,
    /// From when it is in force (CON-14, PD1-13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_from: Option<Moment>,
    /// Until when it is in force, all of that day or minute included (CON-15, ARV-6.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Moment>,
    /// When it arrived here, to the microsecond.
    #[serde(with = "microseconds")]
    pub recorded_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// What it says.
    pub says: Says,
}

impl Record {
    /// As an answer names it.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference { key: self.key.clone(), version: self.version.clone() }
    }

    /// When it was decided. What was not dated counts as decided on arrival where it closes, and
    /// before everything else where it opens.
    #[must_use]
    pub fn decided(&self) -> Span {
        match self.decided_at {
            Some(moment) => moment.span(),
            None if self.opens() => Span::OLDEST,
            None => Span::instant(self.recorded_at),
        }
    }

    /// Whether another record says that the document is no more that this one came in. Documents are
    /// numbered by feeds; what was imported is a feed's as well.
    #[must_use]
    pub fn is_withdrawn_by(&self, other: &Self) -> bool {
        let Origin { feed, document, .. } = &self.origin;
        document.is_some()
            && *document == other.origin.withdraws
            && (*feed == other.origin.feed || feed == IMPORT)
    }

    /// The decision about purposes, where it is one.
    #[must_use]
    pub fn consent(&self) -> Option<&Consent> {
        match &self.says {
            Says::Consent(consent) => Some(consent),
            Says::Restriction(_) | Says::Closure(_) => None,
        }
    }

    /// Whether it is a permit as written, an active one, and closes nothing by an exception.
    #[must_use]
    pub fn opens(&self) -> bool {
        self.consent().is_some_and(|consent| {
            consent.status == Status::Active
                && consent.decision == Decision::Permit
                && !consent.may_deny()
        })
    }
}

// PROMISE-10: what a patient decided is not for a log.
impl fmt::Debug for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Record(..)")
    }
}

/// A timestamp as microseconds since 1970.
mod microseconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_i64(at.as_microsecond())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_microsecond(i64::deserialize(input)?)
            .map_err(|_| serde::de::Error::custom("not a time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSURE: &str = r#"{"key":{"source":"adt","id":"m1"},"recordedAt":1795435200000000,"origin":{"feed":"adt","message":"m1"},"says":{"closure":"begins"}}"#;

    #[test]
    fn a_record_is_kept_as_compact_json() {
        let record: Record = serde_json::from_str(CLOSURE).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), CLOSURE);
    }

    /// PROMISE-5: a limit that is read over would be a limit that does not hold.
    #[test]
    fn a_record_with_more_than_is_known_is_not_read() {
        let later = CLOSURE.replace("\"recordedAt\"", "\"onlyOnMondays\":true,\"recordedAt\"");
        assert!(serde_json::from_str::<Record>(&later).is_err());
    }

    /// PROMISE-10
    #[test]
    fn a_record_does_not_print() {
        let record: Record = serde_json::from_str(CLOSURE).unwrap();
        assert_eq!(
            format!("{record:?} {:?} {:?}", record.key, record.reference()),
            "Record(..) Key(..) Reference(..)"
        );
    }
}
