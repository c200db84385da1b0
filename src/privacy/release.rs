//! An event through a recipe.
//!
//! Promises: [`release`] is the one place that makes a [`Release`], from a permit for this very
//! event and route; a value whose class the tier forbids is dropped and counted, never passed.
//! Knows nothing of: sinks. What a release holds is bytes and headers.

use serde::Serialize;

use crate::consent::Permit;
use crate::event::json_schema::data_schema_uri;
use crate::event::partial_date::rfc3339;
use crate::event::{Event, EventType, Subject, Tree, Value, View};

use super::recipe::{Pick, SubjectForm};
use super::tier::class_of_value;
use super::{RealmKeys, Recipe, Tier};

/// What a release needs that neither the event nor the recipe holds.
#[derive(Debug)]
pub struct Supplies<'s> {
    /// The realm's keys.
    pub keys: &'s RealmKeys,
    /// `tidegate/NODE/FEED`.
    pub source: &'s str,
    /// The message's name.
    pub correlation_id: &'s str,
    /// The event's place on this route.
    pub sequence: u64,
    /// The route, its contract's version and its purpose.
    pub route: &'s str,
    /// Version of the contract.
    pub contract: &'s str,
    /// Purpose of use.
    pub purpose: &'s str,
}

/// How many fields left, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Left as they were.
    pub kept: u64,
    /// Left as a token or a keyed hash.
    pub tokenized: u64,
    /// Were named, and did not leave because the tier forbids values of their kind.
    pub removed: u64,
}

/// An event in the form that its contract allows. Only [`release`] makes one:
///
/// ```compile_fail
/// use tidegate::privacy::Release;
/// let forged = Release { id: "x".into(), body: Vec::new() };
/// ```
pub struct Release {
    id: String,
    correlation_id: String,
    kind: EventType,
    subject: Subject,
    sequence: u64,
    body: Vec<u8>,
    counts: Counts,
}

impl Release {
    /// The event's ID as the consumer sees it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The message's ID as the consumer sees it.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// What the event says.
    #[must_use]
    pub const fn kind(&self) -> EventType {
        self.kind
    }

    /// Whom it is about, inside the trust boundary: for order, not for the wire.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Its place on the route.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The CloudEvent, structured JSON.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How many fields left, and how.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

impl std::fmt::Debug for Release {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Release({})", self.id)
    }
}

#[cfg(test)]
impl Release {
    /// One of a subject, with nothing in it.
    pub(crate) fn of(subject: Subject) -> Self {
        let kind = EventType::PatientAdmitted;
        let (id, correlation_id) = (String::new(), String::new());
        Self {
            id,
            correlation_id,
            kind,
            subject,
            sequence: 0,
            body: Vec::new(),
            counts: Counts::default(),
        }
    }
}

/// Why a release was not made. Each is a fault of ours: the route stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// The permit is for another event or route.
    #[error("the permit is for another event or route")]
    OtherPermit,
    /// The event could not be written as JSON.
    #[error("the event could not be written as JSON")]
    Unwritable,
}

/// Puts an event into the form that the recipe says.
///
/// # Errors
/// [`Withheld`], which does not occur unless the code is wrong.
// PROMISE-7: what leaves is what the recipe picks.
pub fn release(
    permit: Permit,
    event: &Event,
    recipe: &Recipe,
    supplies: &Supplies<'_>,
) -> Result<Release, Withheld> {
    if !permit.covers(&event.id, supplies.route) {
        return Err(Withheld::OtherPermit);
    }
    let mut picking = Picking {
        data: Tree::new(),
        counts: Counts::default(),
        keys: supplies.keys,
        tier: recipe.tier,
    };
    picking.fields(event.data.root(), &recipe.picks);
    let shown = |id: &str| {
        if recipe.tier.shows_ids() { id.to_owned() } else { supplies.keys.id(id) }
    };
    let (id, correlation_id) = (shown(&event.id.0), shown(supplies.correlation_id));
    let consents: Vec<String> = permit.records().iter().map(ToString::to_string).collect();
    let consentref = (!consents.is_empty()).then(|| shown(&consents.join(", ")));
    let envelope = Envelope {
        specversion: "1.0",
        kind: event.kind,
        source: supplies.source,
        id: &id,
        time: if recipe.tier.shows_time() { time_of(event.data.root()) } else { None },
        subject: match recipe.subject {
            SubjectForm::Hidden => None,
            SubjectForm::Clear => {
                Some(format!("{}|{}", event.subject.authority, event.subject.value.expose()))
            }
            SubjectForm::Token => Some(supplies.keys.token(&event.subject)),
        },
        datacontenttype: "application/json",
        dataschema: data_schema_uri(event.kind),
        correlationid: &correlation_id,
        route: supplies.route,
        contract: supplies.contract,
        purpose: supplies.purpose,
        tier: recipe.tier.name(),
        consentref,
        recipe: &recipe.hash,
        sequence: supplies.sequence.to_string(),
        data: picking.data.root(),
    };
    let body = serde_json::to_vec(&envelope).map_err(|_| Withheld::Unwritable)?;
    Ok(Release {
        id,
        correlation_id,
        kind: event.kind,
        subject: event.subject.clone(),
        sequence: supplies.sequence,
        body,
        counts: picking.counts,
    })
}

/// CloudEvents 1.0 with our extension attributes, in the order of design and docs/events.md.
#[derive(Serialize)]
struct Envelope<'e> {
    specversion: &'static str,
    #[serde(rename = "type")]
    kind: EventType,
    source: &'e str,
    id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    datacontenttype: &'static str,
    dataschema: String,
    correlationid: &'e str,
    route: &'e str,
    contract: &'e str,
    purpose: &'e str,
    tier: &'static str,
    /// The consent records that it leaves by; none where it leaves by there being no deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    consentref: Option<String>,
    recipe: &'e str,
    sequence: String,
    data: View<'e>,
}

/// When it happened: what the sender says of that, else of its recording, of the observation,
/// of the sending. Only a time that RFC 3339 can hold.
fn time_of(data: View<'_>) -> Option<String> {
    ["message.occurredAt", "report.observedAt", "message.recordedAt", "message.sentAt"]
        .into_iter()
        .filter_map(|path| data.at(path)?.as_text())
        .find_map(rfc3339)
}

struct Picking<'k> {
    data: Tree,
    counts: Counts,
    keys: &'k RealmKeys,
    tier: Tier,
}

impl Picking<'_> {
    fn fields(&mut self, from: View<'_>, picks: &[(&'static str, Pick)]) {
        for (key, pick) in picks {
            if let Some(value) = from.get(key) {
                self.field(key, value, pick);
            }
        }
    }

    fn field(&mut self, key: &'static str, value: View<'_>, pick: &Pick) {
        match (pick, value.value()) {
            (_, Value::Null) => self.data.null(key),
            (Pick::Keep, _) => {
                self.counts.kept += 1;
                self.data.copy(key, value);
            }
            (Pick::Hash { path }, Value::Text(text)) => {
                self.counts.tokenized += 1;
                let hash = self.keys.hash(path, text);
                self.data.text(key, &hash);
            }
            (Pick::Value, Value::Object) => self.value(key, value),
            (_, Value::List) => {
                let list = self.data.open_list(key);
                for element in value.children() {
                    self.field("", element, pick);
                }
                self.data.close(list);
            }
            (Pick::Fields(picks), Value::Object) => {
                let object = self.data.open_object(key);
                self.fields(value, picks);
                self.data.close(object);
            }
            // A shape that the schema does not have; nothing of it leaves.
            (Pick::Hash { .. } | Pick::Value | Pick::Fields(_), _) => self.counts.removed += 1,
        }
    }

    /// An observation's value, where its class may leave. Below tier identified a code leaves
    /// by system and code, and a sender's words do not.
    fn value(&mut self, key: &'static str, value: View<'_>) {
        let class = class_of_value(value);
        if !self.tier.allows_kept(class) {
            self.counts.removed += 1;
            return;
        }
        self.counts.kept += 1;
        let object = self.data.open_object(key);
        for child in value.children() {
            match (child.key(), child.value()) {
                ("code", Value::Object) => self.code("code", child),
                ("moreCodes", Value::List) => {
                    let list = self.data.open_list("moreCodes");
                    for code in child.children() {
                        self.code("", code);
                    }
                    self.data.close(list);
                }
                ("attachment", _) if self.tier != Tier::Identified => self.counts.removed += 1,
                (key, _) => self.data.copy(key, child),
            }
        }
        self.data.close(object);
    }

    fn code(&mut self, key: &'static str, code: View<'_>) {
        let object = self.data.open_object(key);
        for kept in crate::event::code::CODE.kept {
            if let Some(value) = code.get(kept) {
                self.data.copy(kept, value);
            }
        }
        self.data.close(object);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::consent::{Ledger, Permit, Policy, Question, Requirement, ask};
    use crate::document::{Place, Placed, Problems};
    use crate::event::EventId;
    use crate::phi::Phi;
    use crate::privacy::Transform;
    use crate::secret::Key;

    const DATA: &str = r#"{"message":{"occurredAt":"2026-11-22T08:05-08:00"},
        "patient":{"names":[{"family":"ZZQUILL"}],"birthDate":"1980-01-02","sex":{"code":"female","source":"F"},
        "identifiers":[{"value":"ZZ1","type":"MR"}],"religion":null},
        "observations":[
        {"code":{"system":"LN","code":"4548-4","display":"ZZWORDS"},"value":{"type":"NM","text":"6.90","number":6.9}},
        {"code":{"system":"LN","code":"1"},"value":{"type":"TX","text":"ZZFREE"}},
        {"code":{"system":"LN","code":"2"},"value":{"type":"CWE","code":{"system":"SCT","code":"9","display":"ZZWORDS"}}}]}"#;

    fn permitted(event: &EventId, route: &str) -> Permit {
        let question = Question {
            event,
            route,
            purpose: "TREAT",
            visit: None,
            channel: None,
            grantee: "c",
            jurisdictions: &[],
            labels: &[],
            contract_labels: &[],
            classes: &[],
            requirement: &Requirement::None { basis: "b".to_owned() },
        };
        ask(&question, &Ledger::default(), &Policy::default(), jiff::Timestamp::UNIX_EPOCH).unwrap()
    }

    fn released(tier: Tier, fields: &[(&str, Transform)]) -> (serde_json::Value, Counts) {
        let problems = Problems::default();
        let place = Place { file: "r".into(), line: 1, column: 1 };
        let placed = |path: &str| Placed { value: path.to_owned(), place: place.clone() };
        let fields: Vec<_> = fields.iter().map(|(path, how)| (placed(path), *how)).collect();
        let recipe = Recipe::compile(tier, &fields, &problems);
        assert!(problems.is_clean(), "{:?}", problems.mistakes());
        let event = Event {
            id: EventId("ab-1.patient.admitted.pid1".to_owned()),
            kind: EventType::PatientAdmitted,
            subject: Subject { authority: "MRN".to_owned(), value: Phi::new("ZZ1".to_owned()) },
            prior: None,
            data: Arc::new(serde_json::from_str(DATA).unwrap()),
        };
        let keys = |byte| Key::from_bytes(&[byte; 32]).unwrap();
        let keys = RealmKeys::new(&keys(1), &keys(2));
        let supplies = Supplies {
            keys: &keys,
            source: "tidegate/n/adt",
            correlation_id: "ab-1",
            sequence: 7,
            route: "r",
            contract: "1.0.0",
            purpose: "TREAT",
        };
        let permit = permitted(&event.id, "r");
        let release = release(permit, &event, &recipe, &supplies).unwrap();
        (serde_json::from_slice(release.body()).unwrap(), release.counts())
    }

    /// PROMISE-7
    #[test]
    fn only_what_is_named_leaves() {
        let (body, counts) = released(
            Tier::Identified,
            &[("subject", Transform::Keep), ("patient.names[].family", Transform::Keep)],
        );
        assert_eq!(body["data"], serde_json::json!({"patient":{"names":[{"family":"ZZQUILL"}]}}));
        assert_eq!(body["subject"], "MRN|ZZ1");
        assert_eq!(body["id"], "ab-1.patient.admitted.pid1");
        assert_eq!(body["time"], "2026-11-22T08:05:00-08:00");
        assert_eq!(counts, Counts { kept: 1, tokenized: 0, removed: 0 });
    }

    /// PROMISE-7
    #[test]
    fn below_identified_neither_ids_nor_words_nor_times_leave() {
        let (body, counts) = released(
            Tier::Pseudonymized,
            &[
                ("subject", Transform::Token),
                ("patient.sex", Transform::Keep),
                ("patient.religion", Transform::Keep),
                ("patient.identifiers[].value", Transform::Hash),
                ("observations[].code", Transform::Keep),
                ("observations[].value", Transform::Keep),
            ],
        );
        let text = body.to_string();
        for word in ["ZZ", "ab-1", "2026-11-22", "1980", "6.90\",\"x"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert_eq!(body["data"]["observations"][0]["value"]["number"], 6.9);
        assert_eq!(body["data"]["observations"][1].get("value"), None);
        assert_eq!(
            body["data"]["observations"][2]["value"]["code"],
            serde_json::json!({"system":"SCT","code":"9"})
        );
        assert_eq!(body["data"]["patient"]["religion"], serde_json::Value::Null);
        assert_eq!(counts.removed, 1);
        assert_eq!(counts.tokenized, 1);
    }

    #[test]
    fn a_permit_for_another_route_releases_nothing() {
        let id = EventId("x".to_owned());
        let permit = permitted(&id, "other");
        let key = Key::from_bytes(&[1; 32]).unwrap();
        let event = Event {
            id: id.clone(),
            kind: EventType::PatientAdmitted,
            subject: Subject { authority: String::new(), value: Phi::default() },
            prior: None,
            data: Arc::new(Tree::new()),
        };
        let supplies = Supplies {
            keys: &RealmKeys::new(&key, &key),
            source: "s",
            correlation_id: "c",
            sequence: 1,
            route: "r",
            contract: "1",
            purpose: "TREAT",
        };
        let recipe = Recipe::compile(Tier::Identified, &[], &Problems::default());
        assert_eq!(release(permit, &event, &recipe, &supplies).unwrap_err(), Withheld::OtherPermit);
    }
}
