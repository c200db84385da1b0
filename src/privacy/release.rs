//! An event through a recipe.
//!
//! Promises: [`release`] and [`announce`] alone make a [`Release`], the one from a permit for this
//! very event and route, the other from a notice, which holds nothing of an event; a value whose
//! class the tier forbids is dropped and counted, never passed.
//! Knows nothing of: sinks. What a release holds is bytes and headers.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::consent::{Notice, Permit};
use crate::event::json_schema::{data_schema_uri, notice_schema_uri, route_schema_uri};
use crate::event::{Event, EventType, Subject, Tree, VisitNumber};

use super::envelope::{Envelope, happened, time_of};
use super::fate::Fates;
use super::pick::Picking;
use super::recipe::SubjectForm;
use super::shape::PAYLOAD_BYTES_MAX;
use super::{RealmKeys, Recipe, Tier, Tokens};

/// What a release needs that neither the event nor the recipe holds.
#[derive(Debug)]
pub struct Supplies<'s> {
    /// The realm's keys.
    pub keys: &'s RealmKeys,
    /// The tokens of those it names.
    pub tokens: &'s Tokens,
    /// `tidegate/NODE/FEED`.
    pub source: &'s str,
    /// The message's name.
    pub correlation_id: &'s str,
    /// The visit that the event names.
    pub visit: Option<&'s VisitNumber>,
    /// The event's place on this route.
    pub sequence: u64,
    /// The route, its contract's version and its purpose.
    pub route: &'s str,
    /// Version of the contract.
    pub contract: &'s str,
    /// Purpose of use.
    pub purpose: &'s str,
    /// Journal number of the message.
    pub number: u64,
    /// When it is released.
    pub now: Timestamp,
    /// The fields of the payload that the routing key holds, by the path that they leave under.
    pub routing: &'s [String],
}

/// How many fields left, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Left as they were.
    pub kept: u64,
    /// Left as a token or a keyed hash.
    pub tokenized: u64,
    /// Left as less than they were.
    pub generalized: u64,
    /// Were named, and did not leave: the tier forbids values of their kind, or their transform could
    /// make nothing of them.
    pub removed: u64,
}

/// An event in the form that its contract allows, or a notice. Only [`release`] and [`announce`]
/// make one:
///
/// ```compile_fail
/// use tidegate::privacy::Release;
/// let forged = Release { id: "x".into(), body: Vec::new() };
/// ```
pub struct Release {
    id: String,
    correlation_id: String,
    kind: EventType,
    subject: Arc<Subject>,
    sequence: u64,
    body: Vec<u8>,
    counts: Counts,
    fates: Fates,
    token: Option<String>,
    routing: Vec<String>,
    is_notice: bool,
}

impl Release {
    /// What the payload holds in the fields of the routing key; empty where there is none.
    #[must_use]
    pub fn routing(&self) -> &[String] {
        &self.routing
    }

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
    pub const fn subject(&self) -> &Arc<Subject> {
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

    /// What became of each line of the recipe.
    #[must_use]
    pub const fn fates(&self) -> &Fates {
        &self.fates
    }

    /// Whether it is a notice, which rests on no permit.
    #[must_use]
    pub const fn is_notice(&self) -> bool {
        self.is_notice
    }

    /// The token that stands for the subject, where one does.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
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
        let subject = Arc::new(subject);
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
            fates: Fates::of(0),
            token: None,
            routing: Vec::new(),
            is_notice: false,
        }
    }

    /// The same, with these fields for its routing key.
    pub(crate) fn routed(self, words: &[&str]) -> Self {
        Self { routing: words.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    /// A notice of a subject, with nothing in it.
    pub(crate) fn telling(subject: Subject) -> Self {
        Self { is_notice: true, ..Self::of(subject) }
    }
}

/// Why a release was not made. But for a violation each is a fault of ours: the route stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// What would leave does not satisfy the contract's compiled shape: a field that it requires is not
    /// there, or something is beyond its bounds. This event does not leave, and the route goes on.
    #[error("what would leave at {place} is not what the contract says")]
    Violation {
        /// The field, by its path in the payload.
        place: String,
    },
    /// The permit is for another event or route.
    #[error("the permit is for another event or route")]
    OtherPermit,
    /// The event could not be written as JSON.
    #[error("the event could not be written as JSON")]
    Unwritable,
    /// The token of whom it names was not fetched.
    #[error("the token of the subject is not at hand")]
    NoToken,
}

/// Puts an event into the form that the recipe says.
///
/// # Errors
/// [`Withheld::Violation`], where the payload would not be as the contract says; another one does not
/// occur unless the code is wrong.
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
    let root = event.data.root();
    let mut picking = Picking {
        // A payload holds less than its event.
        data: Tree::with_capacity(4 * recipe.lines.len(), 512),
        counts: Counts::default(),
        fates: Fates::of(recipe.lines.len()),
        keys: supplies.keys,
        tier: recipe.tier,
        lines: &recipe.lines,
        today: Offset::UTC.to_datetime(supplies.now).date(),
        happened: happened(root),
        subject: &event.subject,
    };
    picking.fields(root, &recipe.picks);
    let Picking { data, counts, fates, .. } = picking;
    let checked = recipe.shape.check(event.kind, data.root());
    checked.map_err(|place| Withheld::Violation { place })?;
    let consents: Vec<String> = permit.records().iter().map(ToString::to_string).collect();
    let consents = (!consents.is_empty()).then(|| consents.join(", "));
    // Without a subject it would be one: it is the same for all that leaves under it.
    let consents = consents.filter(|_| recipe.tier != Tier::Deidentified);
    let consentref = consents.map(|consents| shown(recipe, supplies, &consents));
    let time = if recipe.tier.shows_time() { time_of(root) } else { None };
    let dataschema = if recipe.is_plain {
        data_schema_uri(event.kind)
    } else {
        route_schema_uri(event.kind, supplies.route, supplies.contract)
    };
    // PROMISE-7: it says that two events are of one stay, so of one patient.
    let visit = supplies.visit.filter(|_| recipe.shows_visit());
    let leaving = Leaving {
        visit: visit.map(|visit| supplies.keys.visit(visit)),
        id: &event.id.0,
        kind: event.kind,
        subject: &event.subject,
        dataschema,
        time,
        consentref,
        data,
        counts,
        fates,
    };
    wrap(leaving, recipe, supplies)
}

/// Puts a notice into its form: token, purpose, time, and what to do with what was sent before.
/// Nothing where the route does not know the subject.
///
/// # Errors
/// [`Withheld`], which does not occur unless the code is wrong.
// PROMISE-7: nothing of any event is in it.
pub fn announce(
    notice: &Notice,
    recipe: &Recipe,
    supplies: &Supplies<'_>,
) -> Result<Option<Release>, Withheld> {
    if !notice.is_for(supplies.route) {
        return Err(Withheld::OtherPermit);
    }
    if recipe.subject == SubjectForm::Hidden {
        return Ok(None);
    }
    let mut data = Tree::new();
    data.text("prior", notice.prior().name());
    if let Some(retired) = notice.retired() {
        data.text("retired", &named(recipe, supplies.tokens.retired.as_deref(), retired)?);
    }
    let leaving = Leaving {
        visit: None,
        id: &notice.id().0,
        kind: notice.kind(),
        subject: &Arc::new(notice.subject().clone()),
        dataschema: notice_schema_uri(),
        time: Timestamp::from_second(supplies.now.as_second()).ok().map(|now| now.to_string()),
        consentref: None,
        data,
        counts: Counts::default(),
        fates: Fates::of(0),
    };
    let told = wrap(leaving, recipe, supplies)?;
    Ok(Some(Release { is_notice: true, ..told }))
}

/// What an envelope takes with the names of its fields, about.
const ENVELOPE_BYTES: usize = 1_024;

/// What leaves, before it is wrapped.
struct Leaving<'l> {
    visit: Option<String>,
    id: &'l str,
    kind: EventType,
    subject: &'l Arc<Subject>,
    dataschema: String,
    time: Option<String>,
    consentref: Option<String>,
    data: Tree,
    counts: Counts,
    fates: Fates,
}

/// An ID as the consumer may see it.
fn shown(recipe: &Recipe, supplies: &Supplies<'_>, id: &str) -> String {
    if recipe.tier.shows_ids() { id.to_owned() } else { supplies.keys.id(id) }
}

/// The event's ID and its message's as the consumer may see them. At tier deidentified neither is made
/// of the message's own, and nothing says that two events are of one message.
fn ids(recipe: &Recipe, supplies: &Supplies<'_>, id: &str) -> (String, String) {
    if recipe.tier != Tier::Deidentified {
        let correlation_id = shown(recipe, supplies, supplies.correlation_id);
        return (shown(recipe, supplies, id), correlation_id);
    }
    let place = id.strip_prefix(supplies.correlation_id).unwrap_or(id);
    // With the route in it, so that two of them cannot be joined.
    let id = supplies.keys.id(&format!("{}{place} {}", supplies.number, supplies.route));
    (id.clone(), id)
}

/// A subject as the consumer knows it; empty where it does not.
fn named(recipe: &Recipe, token: Option<&str>, subject: &Subject) -> Result<String, Withheld> {
    match recipe.subject {
        SubjectForm::Hidden => Ok(String::new()),
        SubjectForm::Clear => Ok(format!("{}|{}", subject.authority, subject.value.expose())),
        SubjectForm::Token => token.map(str::to_owned).ok_or(Withheld::NoToken),
    }
}

fn wrap(
    leaving: Leaving<'_>,
    recipe: &Recipe,
    supplies: &Supplies<'_>,
) -> Result<Release, Withheld> {
    let Leaving { visit, id, kind, subject, dataschema, time, consentref, data, counts, fates } =
        leaving;
    let (id, correlation_id) = ids(recipe, supplies, id);
    let name = named(recipe, supplies.tokens.subject.as_deref(), subject)?;
    let name = (recipe.subject != SubjectForm::Hidden).then_some(name);
    let token = name.clone().filter(|_| recipe.subject == SubjectForm::Token);
    // Which feed it came in by says which part of the hospital.
    let source = match recipe.tier {
        Tier::Deidentified => supplies.source.rsplit_once('/').map_or("", |(node, _)| node),
        Tier::Identified | Tier::Limited | Tier::Pseudonymized => supplies.source,
    };
    let envelope = Envelope {
        specversion: "1.0",
        kind,
        source,
        id: &id,
        time,
        subject: name,
        datacontenttype: "application/json",
        dataschema,
        correlationid: &correlation_id,
        visitkey: visit,
        route: supplies.route,
        contract: supplies.contract,
        purpose: supplies.purpose,
        tier: recipe.tier.name(),
        consentref,
        recipe: &recipe.hash,
        sequence: supplies.sequence.to_string(),
        data: data.root(),
    };
    let text = |path: &String| data.root().at(path).and_then(|it| it.as_text()).unwrap_or_default();
    let routing = supplies.routing.iter().map(|path| text(path).to_owned()).collect();
    // Room for what most events need, so that it does not grow step by step.
    let mut body = Vec::with_capacity(ENVELOPE_BYTES + 2 * data.text_len());
    serde_json::to_writer(&mut body, &envelope).map_err(|_| Withheld::Unwritable)?;
    if body.len() > PAYLOAD_BYTES_MAX {
        return Err(Withheld::Violation { place: "data".to_owned() });
    }
    Ok(Release {
        id,
        correlation_id,
        kind,
        subject: Arc::clone(subject),
        sequence: supplies.sequence,
        body,
        counts,
        fates,
        token,
        routing,
        is_notice: false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::consent::{Ledger, Permit, Policy, Question, Requirement, ask};
    use crate::document::{Place, Placed, Problems};
    use crate::event::{Declaration, EventId, Numbering};
    use crate::phi::Phi;
    use crate::privacy::Transform;
    use crate::privacy::recipe::Wanted;
    use crate::secret::Key;

    const DATA: &str = r#"{"message":{"occurredAt":"2026-11-22T08:05-08:00"},
        "patient":{"names":[{"family":"ZZQUILL"}],"birthDate":"1980-01-02","sex":{"code":"female","source":"F"},
        "identifiers":[{"value":"ZZ1","type":"MR"}],"religion":null},
        "observations":[
        {"code":{"system":"LN","code":"4548-4","display":"ZZWORDS"},"value":{"type":"NM","text":"6.90","number":6.9}},
        {"code":{"system":"LN","code":"1"},"value":{"type":"TX","text":"ZZFREE"}},
        {"code":{"system":"LN","code":"2"},"value":{"type":"CWE","code":{"system":"SCT","code":"9","display":"ZZWORDS"}}}]}"#;

    fn permitted(event: &EventId, route: &str) -> Permit {
        let requirement = Requirement::None { basis: "b".to_owned() };
        let question = Question::new(event, route, "TREAT", "c", &requirement);
        ask(&question, &Ledger::default(), &Policy::default(), jiff::Timestamp::UNIX_EPOCH).unwrap()
    }

    fn released(tier: Tier, fields: &[(&str, Transform)]) -> (serde_json::Value, Counts) {
        let problems = Problems::default();
        let place = Place { file: "r".into(), line: 1, column: 1 };
        let wanted = |(path, transform): &(&str, Transform)| Wanted {
            path: Placed { value: (*path).to_owned(), place: place.clone() },
            transform: transform.clone(),
            leaves_as: None,
            required: false,
        };
        let fields: Vec<Wanted> = fields.iter().map(wanted).collect();
        let recipe = Recipe::compile(Declaration::default(), tier, &fields, &problems);
        assert!(problems.is_clean(), "{:?}", problems.mistakes());
        let event = Event {
            id: EventId("ab-1.patient.admitted.pid1".into()),
            kind: EventType::PatientAdmitted,
            subject: Subject { authority: "MRN".to_owned(), value: Phi::new("ZZ1".to_owned()) }
                .into(),
            prior: None,
            data: Arc::new(serde_json::from_str(DATA).unwrap()),
        };
        let keys = |byte| Key::from_bytes(&[byte; 32]).unwrap();
        let keys = RealmKeys::new(&keys(1), &keys(2));
        let tokens = Tokens { subject: Some(keys.token(&event.subject)), retired: None };
        let (of, authority) = (Numbering::Number, "EPIC".to_owned());
        let visit = VisitNumber { of, authority, value: Phi::new("ZZV1".to_owned()) };
        let supplies = Supplies {
            keys: &keys,
            tokens: &tokens,
            source: "tidegate/n/adt",
            correlation_id: "ab-1",
            visit: Some(&visit),
            sequence: 7,
            route: "r",
            contract: "1.0.0",
            purpose: "TREAT",
            number: 7,
            now: Timestamp::UNIX_EPOCH,
            routing: &[],
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
        // A visit number is one of the hospital's, and is not named here.
        let key = body["visitkey"].as_str().unwrap();
        assert!(key.len() == 32 && !body.to_string().contains("ZZV1"), "{body}");
        assert_eq!(counts, Counts { kept: 1, ..Counts::default() });
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

    /// PROMISE-7
    #[test]
    fn the_key_of_a_visit_leaves_where_the_consumer_knows_subjects_and_nowhere_else() {
        let sex = ("patient.sex", Transform::Keep);
        let key = |tier, fields: &[(&str, Transform)]| released(tier, fields).0["visitkey"].clone();
        let known = [("subject", Transform::Token), sex.clone()];
        let of_realm = key(Tier::Pseudonymized, &known);
        assert!(of_realm.is_string());
        assert_eq!(key(Tier::Limited, &known), of_realm);
        assert_eq!(key(Tier::Pseudonymized, std::slice::from_ref(&sex)), serde_json::Value::Null);
        assert_eq!(key(Tier::Deidentified, &[sex]), serde_json::Value::Null);
    }

    #[test]
    fn a_permit_for_another_route_releases_nothing() {
        let id = EventId("x".into());
        let permit = permitted(&id, "other");
        let key = Key::from_bytes(&[1; 32]).unwrap();
        let event = Event {
            id: id.clone(),
            kind: EventType::PatientAdmitted,
            subject: Subject { authority: String::new(), value: Phi::default() }.into(),
            prior: None,
            data: Arc::new(Tree::new()),
        };
        let supplies = Supplies {
            keys: &RealmKeys::new(&key, &key),
            tokens: &Tokens::default(),
            source: "s",
            correlation_id: "c",
            visit: None,
            sequence: 1,
            route: "r",
            contract: "1",
            purpose: "TREAT",
            number: 7,
            now: Timestamp::UNIX_EPOCH,
            routing: &[],
        };
        let recipe =
            Recipe::compile(Declaration::default(), Tier::Identified, &[], &Problems::default());
        assert_eq!(release(permit, &event, &recipe, &supplies).unwrap_err(), Withheld::OtherPermit);
    }
}
