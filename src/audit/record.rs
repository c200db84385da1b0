//! What one link of the chain says.
//!
//! Promises: a record is always written as the same bytes, JSON without white space, its keys in
//! the order below; what a later version added is not read over by an earlier one; whom it is
//! about stands in it as a keyed digest and a token.
//! Knows nothing of: how links are chained.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::common::Common;
use crate::admit::DigestKey;
use crate::consent::Reference;
use crate::event::EventType;
use crate::privacy::Fate;

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its place in the chain, from 1.
    pub number: u64,
    /// When that was, by the wall clock.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// What.
    pub says: Says,
}

/// A decision of a route, or an act of an administrator or of the daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// A decision.
    Decision(Box<Decision>),
    /// An act.
    Act(Act),
}

impl Says {
    /// The daemon's name, where it says that it starts.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Act(act) if act.act == "start" => act.with.get("node").map(String::as_str),
            Self::Act(_) | Self::Decision(_) => None,
        }
    }
}

/// What a route decided about an event.
// PROMISE-8: who, what, when, why, under which consent, contract and recipe, where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What.
    pub outcome: Outcome,
    /// Why: `permitted`, the code of a refusal (docs/consent.md), `contract-violation`,
    /// `told-by-another-source`, or what a notice tells of.
    pub reason: Cow<'static, str>,
    /// Under what it was decided; its fields stand here in the record.
    #[serde(flatten)]
    pub under: Common<Under>,
    /// Journal number of the message.
    pub message: u64,
    /// ID of the event inside the trust boundary; it begins with the correlation ID.
    pub event: Arc<str>,
    /// What the event says.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Whom it is about: 32 hexadecimal digits, keyed by the store's digest key.
    pub subject: Arc<str>,
    /// The token that the consumer knows the subject by, where it got one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Of a notice that links: the token that is no more, as the consumer knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<String>,
    /// The visit, as a keyed digest, where the event names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visit: Option<Arc<str>>,
    /// The sensitivity labels that the event bears.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The consent records behind the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<Consulted>,
    /// Up to which journal number the subject's consent was known.
    pub epoch: u64,
    /// What became of each field that the contract names and the event has; empty where nothing
    /// left.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
    /// The fields that left by an exception to the contract (`break_glass`), by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub glass: Vec<String>,
    /// The record of a release or a notice that was never handed over, since the consent changed in
    /// between: this one stands instead of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<u64>,
    /// Of what is in doubt: the record of its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Of what another source told before: the ID of the event that left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<Arc<str>>,
    /// Of what did not satisfy the contract: the path of the field, as the contract names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What all decisions of a route share, as long as its configuration and what leaves stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Under {
    /// The route.
    pub route: String,
    /// Version of its contract.
    pub contract: String,
    /// `sha256:` and the hash of the configuration as it was loaded.
    pub configuration: String,
    /// Purpose of use (HL7 v3 PurposeOfUse).
    pub purpose: String,
    /// Who receives: the contract's consumer.
    pub consumer: String,
    /// Under which agreement, where the contract names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    /// Under which protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What for the consumer may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_use: Option<String>,
    /// How long the consumer may keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// Where to, such as `rabbitmq:tidegate.research` or `file:out/quality.ndjson`.
    pub destination: String,
    /// `sha256:` and the hash of the recipe.
    pub recipe: String,
}

impl Decision {
    /// Whether it tells a consumer that two names are of one subject, and nothing else.
    #[must_use]
    pub fn is_link(&self) -> bool {
        let links = [EventType::PatientMerged, EventType::PatientIdentifierChanged];
        self.outcome == Outcome::Notice && links.contains(&self.kind)
    }
}

/// What a route does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It leaves.
    Release,
    /// It does not.
    Suppress,
    /// It may, and does not a second time: another source's event has told the same.
    Told,
    /// A notice leaves: the consumer is told to stop, or to link.
    Notice,
    /// A payload was handed over and its confirm never came: it may have arrived, or surface later.
    InDoubt,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Release, Self::Suppress, Self::Told, Self::Notice, Self::InDoubt];

    /// The word in records and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Suppress => "suppress",
            Self::Told => "told",
            Self::Notice => "notice",
            Self::InDoubt => "in-doubt",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// A consent record that an answer rests on. Its source and number may be a patient's, so a keyed
/// digest stands for them; who has the ledger finds the record by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consulted {
    /// The key of the record: 32 hexadecimal digits.
    pub record: String,
    /// Its version, where it has one: a number as it is, anything else as a keyed digest behind `~`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Consulted {
    /// How a consent record stands in the evidence.
    #[must_use]
    pub fn of(record: &Reference, digests: &DigestKey) -> Self {
        let version = record.version.as_ref().map(|version| {
            let plain = version.len() <= 20
                && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            if plain { version.clone() } else { format!("~{:?}", digests.text(version)) }
        });
        Self { record: digests.consent(&record.key).to_string(), version }
    }
}

/// Fields by path, each with its fate, in the order of the recipe. Of most events of a route they are the
/// same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Option<Common<Listed>>);

#[derive(Debug, PartialEq, Eq)]
struct Listed(Vec<(Arc<str>, Fate)>);

impl Fields {
    /// Of a list.
    #[must_use]
    pub fn new(list: Vec<(Arc<str>, Fate)>) -> Self {
        Self((!list.is_empty()).then(|| Common::new(Listed(list))))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Each with its fate.
    pub fn iter(&self) -> impl Iterator<Item = &(Arc<str>, Fate)> {
        self.0.iter().flat_map(|listed| listed.0.iter())
    }

    /// As JSON without white space; nothing where there is none.
    ///
    /// # Errors
    /// They are of a type that JSON cannot hold.
    pub fn json(&self) -> serde_json::Result<Option<&str>> {
        self.0.as_ref().map(Common::json).transpose()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.iter().map(|(path, fate)| (path, fate)))
    }
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.iter().map(|(path, fate)| (path, fate)))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("fields with their fates")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields::new(fields))
            }
        }
        input.deserialize_map(InOrder)
    }
}

/// What somebody did, or the daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// What, such as `start`, `import`, `merge`, `archive`.
    pub act: String,
    /// Who: `tidegate`, or a user of the API.
    pub who: String,
    /// With what, by name: words, counts, hashes and keyed digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

impl Act {
    /// An act of somebody, with what it was done with by name.
    #[must_use]
    pub fn new<const N: usize>(
        act: &str,
        who: impl Into<String>,
        with: [(&str, String); N],
    ) -> Self {
        let with = with.map(|(name, value)| (name.to_owned(), value)).into();
        Self { act: act.to_owned(), who: who.into(), with }
    }
}

/// A time as text (RFC 3339, UTC), exact to what the clock gave.
pub(super) mod rfc3339 {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub fn serialize<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(|_| super::custom::<D>())
    }
}

fn custom<'de, D: Deserializer<'de>>() -> D::Error {
    D::Error::custom("not a time")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"number":7,"at":"2026-11-22T12:00:00.000001Z","says":{"decision":{"outcome":"release","reason":"permitted","route":"r","contract":"1.0.0","configuration":"sha256:00","purpose":"CLINTRCH","consumer":"crm","agreement":"BAA-1","protocol":"P-1","allowedUse":"u","retention":"1y","destination":"rabbitmq:x","recipe":"sha256:01","message":9,"event":"ab-1.patient.admitted.pid1","type":"patient.admitted","subject":"0a","token":"t","visit":"0b","labels":["HIV"],"consents":[{"record":"0c","version":"2"}],"epoch":4,"fields":{"visit.class":"kept","patient.sex":"removed"},"glass":["visit.class"],"instead":5,"toldBy":"cd-1.patient.admitted.pid1","place":"visit.class"}}}"#;
    const ACT: &str = r#"{"number":8,"at":"2026-11-22T12:00:00Z","says":{"act":{"act":"start","who":"tidegate","with":{"version":"0.1.0"}}}}"#;

    /// PROMISE-8
    #[test]
    fn a_record_is_written_as_the_bytes_that_it_was_read_from() {
        for text in [RECORD, ACT] {
            let record: Record = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
        }
        let later = ACT.replace(r#""number""#, r#""beyond":1,"number""#);
        assert!(serde_json::from_str::<Record>(&later).is_err());
    }
}
