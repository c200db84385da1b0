//! A record that has no number yet.
//!
//! Promises: the bytes are those that the record itself is written as; they are made by who asks
//! for the record, so that the one thread that writes has little to do for each.
//! Knows nothing of: which number it gets.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::to_writer;

use super::by;
use super::record::{Decision, Says};

/// Bytes of most records; one with many fields has more.
const RECORD_BYTES: usize = 1_536;

/// What a record begins with.
const HEAD: &str = "{\"number\":";
/// Bytes of the longest beginning: that, a number and a comma.
const HEAD_BYTES_MAX: usize = HEAD.len() + 20 + 1;

/// A record but for its number.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The record, with room for the beginning up to its number.
    bytes: Vec<u8>,
    keys: Vec<i64>,
}

/// When something was recorded, as records say it: written once for all that are recorded together.
#[derive(Debug)]
pub struct At(String);

impl At {
    /// Of a time.
    #[must_use]
    pub fn new(at: &Timestamp) -> Self {
        Self(format!("\"at\":\"{at}\""))
    }
}

impl Draft {
    /// Writes it, but for its number. Only a type that JSON cannot hold would make that fail.
    #[must_use]
    pub fn new(at: &Timestamp, says: &Says) -> Option<Self> {
        let (at, keys) = (At::new(at), by::keys(says));
        match says {
            Says::Decision(decision) => Self::of_decision(&at, decision, keys),
            Says::Act(act) => Self::write(&at, "act", keys, |out| to_writer(out, act)),
        }
    }

    /// The same, of a decision that its owner goes on with, and that is found by these keys.
    #[must_use]
    pub fn of_decision(at: &At, decision: &Decision, keys: Vec<i64>) -> Option<Self> {
        Self::write(at, "decision", keys, |out| write_decision(out, decision))
    }

    fn write(
        at: &At,
        what: &str,
        keys: Vec<i64>,
        says: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Option<Self> {
        let mut bytes = Vec::with_capacity(RECORD_BYTES);
        bytes.resize(HEAD_BYTES_MAX, b' ');
        for part in [&at.0, ",\"says\":{\"", what, "\":"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        says(&mut bytes).ok()?;
        bytes.extend_from_slice(b"}}");
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

/// Writes a decision as it is serialized, but what it has alike with others, as that was written before:
/// each event has one for each route.
fn write_decision(out: &mut Vec<u8>, decision: &Decision) -> serde_json::Result<()> {
    // Each by its name, so that nothing is left out that a decision comes to say.
    let Decision {
        outcome,
        reason,
        under,
        message,
        event,
        kind,
        subject,
        token,
        retired,
        visit,
        labels,
        consents,
        epoch,
        fields,
        glass,
        instead,
        of,
        told_by,
        place,
    } = decision;
    let mut members = Members { out, before: b'{' };
    members.add("outcome", outcome)?;
    members.add("reason", reason)?;
    members.add_all_of(under.json()?);
    members.add("message", message)?;
    members.add("event", event)?;
    members.add("type", kind)?;
    members.add("subject", subject)?;
    members.add_some("token", token.as_ref())?;
    members.add_some("retired", retired.as_ref())?;
    members.add_some("visit", visit.as_ref())?;
    members.add_some("labels", some(labels))?;
    members.add_some("consents", some(consents))?;
    members.add("epoch", epoch)?;
    members.add_written("fields", fields.json()?);
    members.add_some("glass", some(glass))?;
    members.add_some("instead", instead.as_ref())?;
    members.add_some("of", of.as_ref())?;
    members.add_some("toldBy", told_by.as_ref())?;
    members.add_some("place", place.as_ref())?;
    out.push(b'}');
    Ok(())
}

fn some<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

/// The members of an object, as they are written.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    /// What stands before the next.
    before: u8,
}

impl Members<'_> {
    fn add(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
        self.name(name);
        to_writer(&mut *self.out, value)
    }

    fn add_some(
        &mut self,
        name: &str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> serde_json::Result<()> {
        value.map_or(Ok(()), |value| self.add(name, value))
    }

    /// One whose value is JSON already.
    fn add_written(&mut self, name: &str, json: Option<&str>) {
        if let Some(json) = json {
            self.name(name);
            self.out.extend_from_slice(json.as_bytes());
        }
    }

    /// Those of an object that is JSON already, and has some.
    fn add_all_of(&mut self, json: &str) {
        let inner = json.strip_prefix('{').and_then(|json| json.strip_suffix('}'));
        self.begin();
        self.out.extend_from_slice(inner.unwrap_or_default().as_bytes());
    }

    fn name(&mut self, name: &str) {
        self.begin();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn begin(&mut self) {
        self.out.push(self.before);
        self.before = b',';
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
    fn a_decision_gives_the_bytes_that_its_record_is_serialized_as() {
        let whole = r#"{"outcome":"release","reason":"permitted","route":"r","contract":"1.0.0","configuration":"sha256:00","purpose":"CLINTRCH","consumer":"c\"rm","agreement":"BAA-1","protocol":"P-1","allowedUse":"u","retention":"1y","destination":"rabbitmq:x","recipe":"sha256:01","message":9,"event":"ab-1.patient.admitted.pid1","type":"patient.admitted","subject":"0a","token":"t","retired":"s","visit":"0b","labels":["HIV","\"\\"],"consents":[{"record":"0c","version":"2"},{"record":"0d"}],"epoch":4,"fields":{"visit.class":"kept","patient.sex":"partly-removed"},"glass":["visit.class"],"instead":5,"of":6,"place":"visit.class"}"#;
        let mut members: serde_json::Map<_, _> = serde_json::from_str(whole).unwrap();
        let optional = [
            "agreement",
            "protocol",
            "allowedUse",
            "retention",
            "token",
            "retired",
            "visit",
            "labels",
            "consents",
            "fields",
            "glass",
            "instead",
            "of",
            "place",
        ];
        let at = "2026-11-22T12:00:00.000001Z".parse().unwrap();
        let mut all = vec![whole.to_owned()];
        for name in optional {
            members.remove(name).unwrap();
            all.push(serde_json::to_string(&members).unwrap());
        }
        for text in all {
            let decision: Decision = serde_json::from_str(&text).unwrap();
            let says = Says::Decision(Box::new(decision.clone()));
            let keys =
                by::keys_of(&decision, by::keys_of_event(&decision.event, &decision.subject));
            let mut kept = Draft::of_decision(&At::new(&at), &decision, keys).unwrap();
            let mut own = Draft::new(&at, &says).unwrap();
            assert_eq!(kept.keys(), own.keys());
            for number in [7, u64::MAX] {
                let record = Record { number, at, says: says.clone() };
                let wanted = serde_json::to_string(&record).unwrap();
                assert_eq!(str::from_utf8(kept.bytes(number)).unwrap(), wanted);
                assert_eq!(str::from_utf8(own.bytes(number)).unwrap(), wanted);
            }
        }
    }
}
