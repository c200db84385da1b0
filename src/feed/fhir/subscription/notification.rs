//! What a server sends: a notification of a topic subscription, in R5, in R4B or as the backport to R4 has
//! it, or a bare resource, as rest-hooks of R4 do.
//!
//! Promises: the same notification is the same in each of its three forms; what is not understood is
//! refused with its place, never guessed.
//! Knows nothing of: HTTP, numbers heard before.

use bytes::Bytes;

use super::notice::{Brought, Name};
use crate::feed::fhir::page::{self, Listed};
use crate::parse::fhir::bundle::{Bundle, BundleKind, Entry};
use crate::parse::fhir::{Malformed, Node, Resource};

/// Most events of one notification. `maxCount` asks for fewer; with more, the server is asked instead.
pub const EVENTS_MAX: usize = 1_000;
/// Largest status, in bytes: some 200 for each event.
const STATUS_BYTES_MAX: usize = 1 << 20;

/// What a notification is for (value set subscription-notification-type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether we are there.
    Handshake,
    /// That the server is.
    Heartbeat,
    /// That something happened.
    Event,
    /// An answer to `$status`.
    QueryStatus,
    /// An answer to `$events`.
    QueryEvent,
}

impl Kind {
    fn of(code: &str) -> Option<Self> {
        Some(match code {
            "handshake" => Self::Handshake,
            "heartbeat" => Self::Heartbeat,
            "event-notification" => Self::Event,
            "query-status" => Self::QueryStatus,
            "query-event" => Self::QueryEvent,
            _ => return None,
        })
    }

    /// Whether its count is that of the moment: it is sent once, and not again when it was lost.
    #[must_use]
    pub const fn says_all(self) -> bool {
        matches!(self, Self::Handshake | Self::Heartbeat | Self::QueryStatus)
    }
}

/// How a subscription stands (value set subscription-status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Asked for.
    Requested,
    /// It tells.
    Active,
    /// The server could not tell us.
    Error,
    /// It has ended.
    Off,
    /// It was made by mistake.
    EnteredInError,
}

impl Standing {
    /// By its code.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        Some(match code {
            "requested" => Self::Requested,
            "active" => Self::Active,
            "error" => Self::Error,
            "off" => Self::Off,
            "entered-in-error" => Self::EnteredInError,
            _ => return None,
        })
    }

    /// Whether it tells, or is about to.
    #[must_use]
    pub const fn tells(self) -> bool {
        matches!(self, Self::Requested | Self::Active)
    }
}

/// One event of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Its number, from 1 when the subscription began.
    pub number: Option<u64>,
    /// What it is about, unless the notification is empty.
    pub focus: Option<Name>,
}

/// What a notification says of its subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is for.
    pub kind: Kind,
    /// The ID of the subscription on the server.
    pub subscription: String,
    /// How the subscription stands, where it says so.
    pub state: Option<Standing>,
    /// Events since the subscription began, those of this notification included.
    pub since_start: Option<u64>,
    /// What happened.
    pub events: Vec<Happened>,
}

impl Status {
    /// The numbers of its events, as they stand.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.events.iter().filter_map(|event| event.number)
    }
}

/// What came.
#[derive(Debug)]
pub enum Told {
    /// A notification of a topic subscription, and what it brought.
    Notification(Status, Vec<Brought>),
    /// One resource, of a rest-hook.
    Resource(Resourced),
}

/// One resource of a rest-hook.
#[derive(Debug)]
pub struct Resourced {
    /// Which.
    pub name: Option<Name>,
    /// What is to be taken, where the resource is of a type that is.
    pub brought: Option<Brought>,
}

/// Why it is no notification; places only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// It is not JSON, or no FHIR.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// An element of the status is missing, or is another than FHIR has.
    #[error("{0} is missing, or not what it is in FHIR")]
    Element(&'static str),
    /// Too many events.
    #[error("it has more than {EVENTS_MAX} events")]
    TooMany,
}

/// Reads what came; of the types that are wanted.
///
/// # Errors
/// It is no notification and no resource.
pub fn read(body: &Bytes, bytes_max: usize, types: &[&str]) -> Result<Told, NotRead> {
    match Bundle::parse(body, bytes_max) {
        Ok(bundle) => notified(bundle, body, types),
        Err(wrong) if wrong.wrong == crate::parse::fhir::Wrong::NotABundle => {
            let resource = Resource::parse(body, bytes_max)?;
            let kind = resource.kind().to_owned();
            let name = resource.id().map(|id| Name { kind: kind.clone(), id: id.to_owned() });
            let wanted = types.contains(&kind.as_str());
            let brought = wanted.then(|| one(&resource, body.clone())).flatten();
            Ok(Told::Resource(Resourced { name, brought }))
        }
        Err(wrong) => Err(wrong.into()),
    }
}

/// A resource as it is taken: itself where it says which version it is. Without, what the server gives by
/// its name, so that the same version, found by a search, is known to be the same.
fn one(resource: &Resource<'_>, bytes: Bytes) -> Option<Brought> {
    if resource.version_id().is_some() || resource.last_updated().is_some() {
        return Some(Brought::Whole(Listed::one(bytes)));
    }
    let (kind, id) = (resource.kind().to_owned(), resource.id()?.to_owned());
    Some(Brought::Named(Name { kind, id }))
}

fn notified(bundle: Bundle<'_>, body: &Bytes, types: &[&str]) -> Result<Told, NotRead> {
    if !matches!(bundle.kind, Some(BundleKind::History | BundleKind::SubscriptionNotification)) {
        return Err(NotRead::Element("Bundle.type"));
    }
    let mut entries = bundle.entries.into_iter();
    let first = entries.next().ok_or(NotRead::Element("Bundle.entry"))?;
    if let Some(wrong) = first.wrong {
        return Err(wrong.into());
    }
    let text = first.resource.ok_or(NotRead::Element("Bundle.entry[0].resource"))?;
    let resource = Resource::parse(text.as_bytes(), STATUS_BYTES_MAX)?;
    let status = match resource.kind() {
        "SubscriptionStatus" => of_status(resource.root())?,
        "Parameters" => of_parameters(resource.root())?,
        _ => return Err(NotRead::Element("Bundle.entry[0].resource")),
    };
    if status.events.len() > EVENTS_MAX {
        return Err(NotRead::TooMany);
    }
    let brought = brought(entries, &status, body, types)?;
    Ok(Told::Notification(status, brought))
}

/// What came beside the status, and what it names and did not bring.
fn brought<'b>(
    entries: impl Iterator<Item = Entry<'b>>,
    status: &Status,
    body: &Bytes,
    types: &[&str],
) -> Result<Vec<Brought>, NotRead> {
    let mut brought = Vec::new();
    // Patients first: whom the others are about.
    let mut patients = Vec::new();
    let mut here: Vec<Name> = Vec::new();
    for entry in entries {
        if let Some(wrong) = entry.wrong {
            return Err(wrong.into());
        }
        if page::is_removal(&entry) {
            let url = entry.request.as_ref().and_then(|request| request.url.as_deref());
            let name = url.or(entry.full_url.as_deref()).and_then(name_in);
            if let Some(name) = name.filter(|name| types.contains(&name.kind.as_str())) {
                here.push(name);
                brought.extend(page::removed(&entry).map(Brought::Whole));
            }
            continue;
        }
        let Some(text) = entry.resource else { continue };
        let resource = Resource::parse(text.as_bytes(), body.len())?;
        if !types.contains(&resource.kind()) {
            continue;
        }
        let Some(one) = one(&resource, body.slice_ref(text.as_bytes())) else { continue };
        if let Some(id) = resource.id() {
            here.push(Name { kind: resource.kind().to_owned(), id: id.to_owned() });
        }
        if resource.kind() == "Patient" { &mut patients } else { &mut brought }.push(one);
    }
    patients.append(&mut brought);
    let mut brought = patients;
    for focus in status.events.iter().filter_map(|event| event.focus.as_ref()) {
        if types.contains(&focus.kind.as_str()) && !here.contains(focus) {
            here.push(focus.clone());
            brought.push(Brought::Named(focus.clone()));
        }
    }
    Ok(brought)
}

/// R5 and R4B: a SubscriptionStatus.
fn of_status(root: Node<'_>) -> Result<Status, NotRead> {
    let text = |name| root.get(name).and_then(Node::text);
    let kind =
        text("type").and_then(Kind::of).ok_or(NotRead::Element("SubscriptionStatus.type"))?;
    let subscription = root.get("subscription").and_then(|it| reference(it)).map(|name| name.id);
    let subscription = subscription.ok_or(NotRead::Element("SubscriptionStatus.subscription"))?;
    let since_start = number(
        root.get("eventsSinceSubscriptionStart"),
        "SubscriptionStatus.eventsSinceSubscriptionStart",
    )?;
    let mut events = Vec::new();
    for event in root.get("notificationEvent").into_iter().flat_map(Node::items) {
        let place = "SubscriptionStatus.notificationEvent.eventNumber";
        let number = number(event.get("eventNumber"), place)?;
        events.push(Happened { number, focus: event.get("focus").and_then(|it| reference(it)) });
    }
    let state = text("status").and_then(Standing::of);
    Ok(Status { kind, subscription, state, since_start, events })
}

/// The backport to R4: Parameters of its profile `backport-subscription-status-r4`.
fn of_parameters(root: Node<'_>) -> Result<Status, NotRead> {
    let all = || root.get("parameter").into_iter().flat_map(Node::items);
    let named = |name: &str| all().find(|it| it.get("name").and_then(Node::text) == Some(name));
    let code = |name: &str| value(named(name)?)?.text();
    let kind =
        code("type").and_then(Kind::of).ok_or(NotRead::Element("Parameters.parameter type"))?;
    let subscription = named("subscription").and_then(value).and_then(|it| reference(it));
    let subscription =
        subscription.ok_or(NotRead::Element("Parameters.parameter subscription"))?.id;
    let place = "Parameters.parameter events-since-subscription-start";
    let since_start = number(named("events-since-subscription-start").and_then(value), place)?;
    let mut events = Vec::new();
    for event in
        all().filter(|it| it.get("name").and_then(Node::text) == Some("notification-event"))
    {
        let parts = || event.get("part").into_iter().flat_map(Node::items);
        let part = |name: &str| {
            parts().find(|it| it.get("name").and_then(Node::text) == Some(name)).and_then(value)
        };
        let number = number(part("event-number"), "Parameters.parameter event-number")?;
        events.push(Happened { number, focus: part("focus").and_then(|it| reference(it)) });
    }
    let state = code("status").and_then(Standing::of);
    Ok(Status { kind, subscription, state, since_start, events })
}

/// `value[x]` of a parameter.
fn value(parameter: Node<'_>) -> Option<Node<'_>> {
    parameter.children().find(|it| it.name().is_some_and(|name| name.starts_with("value")))
}

/// A count: a text in R4B, R5 (integer64) and the backport, a number in early forms of it.
fn number(node: Option<Node<'_>>, place: &'static str) -> Result<Option<u64>, NotRead> {
    let Some(node) = node else { return Ok(None) };
    let read = node.scalar().and_then(|text| text.parse().ok());
    read.map(Some).ok_or(NotRead::Element(place))
}

/// Whom a Reference names, on whichever server: whether it is ours is seen when it is asked for.
fn reference(node: Node<'_>) -> Option<Name> {
    let text = node.get("reference")?.text()?;
    name_in(text)
}

/// `Type/id` at the end of an address, without a version.
#[must_use]
pub fn name_in(text: &str) -> Option<Name> {
    let (kind, id) = page::name_in(text)?;
    Some(Name { kind: kind.to_owned(), id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TYPES: [&str; 2] = ["Patient", "Encounter"];

    fn read_json(json: &Value) -> Result<Told, NotRead> {
        let body = Bytes::from(json.to_string());
        read(&body, body.len(), &TYPES)
    }

    fn told(json: &Value) -> (Status, Vec<String>) {
        match read_json(json).unwrap_or_else(|wrong| panic!("{wrong}")) {
            Told::Notification(status, brought) => (status, brought.iter().map(shown).collect()),
            Told::Resource(other) => panic!("{other:?}"),
        }
    }

    fn shown(brought: &Brought) -> String {
        match brought {
            Brought::Named(Name { kind, id }) => format!("named {kind}/{id}"),
            Brought::Whole(listed) => {
                let text = String::from_utf8_lossy(listed.bytes.expose()).into_owned();
                let json: Option<Value> = serde_json::from_str(&text).ok();
                let name = json.map_or(text, |it| format!("{}/{}", it["resourceType"], it["id"]));
                format!("{:?} {}", listed.mode, name.replace('"', ""))
            }
        }
    }

    /// A notification as R5 and R4B have it.
    fn r5(status: &Value, entries: &[Value]) -> Value {
        let mut all = vec![json!({ "fullUrl": "urn:uuid:ZZ", "resource": status })];
        all.extend_from_slice(entries);
        json!({ "resourceType": "Bundle", "id": "ZZn", "type": "subscription-notification",
            "timestamp": "2026-11-22T08:15:00Z", "entry": all })
    }

    fn status_of(kind: &str, since: u64, events: &Value) -> Value {
        json!({ "resourceType": "SubscriptionStatus", "id": "ZZst", "status": "active", "type": kind,
            "eventsSinceSubscriptionStart": since.to_string(), "notificationEvent": events,
            "subscription": { "reference": "https://ehr.example/fhir/Subscription/ZZ10" },
            "topic": "http://zz.example/topic" })
    }

    /// The same as the backport has it.
    fn backport(kind: &str, since: &Value, events: &[Value], entries: &[Value]) -> Value {
        let mut parameters = vec![
            json!({ "name": "subscription", "valueReference": { "reference": "Subscription/ZZ10" } }),
            json!({ "name": "topic", "valueCanonical": "http://zz.example/topic" }),
            json!({ "name": "status", "valueCode": "active" }),
            json!({ "name": "type", "valueCode": kind }),
        ];
        let mut count = json!({ "name": "events-since-subscription-start" });
        let name = if since.is_string() { "valueString" } else { "valueUnsignedInt" };
        count[name] = since.clone();
        parameters.push(count);
        parameters.extend(
            events.iter().map(|part| json!({ "name": "notification-event", "part": part })),
        );
        let profile = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4";
        let status = json!({ "resourceType": "Parameters", "meta": { "profile": [profile] }, "parameter": parameters });
        let mut all = vec![json!({ "resource": status, "request": { "method": "GET",
            "url": "https://ehr.example/fhir/Subscription/ZZ10/$status" }, "response": { "status": "200" } })];
        all.extend_from_slice(entries);
        json!({ "resourceType": "Bundle", "type": "history", "entry": all })
    }

    fn encounter(version: Option<&str>) -> Value {
        let mut body =
            json!({ "resourceType": "Encounter", "id": "ZZe1", "status": "in-progress" });
        if let Some(version) = version {
            body["meta"] = json!({ "versionId": version });
        }
        body
    }

    fn entry(resource: &Value) -> Value {
        json!({ "fullUrl": "https://ehr.example/fhir/Encounter/ZZe1", "resource": resource,
            "request": { "method": "PUT", "url": "Encounter/ZZe1" }, "response": { "status": "200" } })
    }

    #[test]
    fn handshakes_and_heartbeats_are_the_same_in_each_form() {
        for (word, kind) in [("handshake", Kind::Handshake), ("heartbeat", Kind::Heartbeat)] {
            let wanted = Status {
                kind,
                subscription: "ZZ10".to_owned(),
                state: Some(Standing::Active),
                since_start: Some(2),
                events: Vec::new(),
            };
            let mut r4b = r5(&status_of(word, 2, &json!([])), &[]);
            r4b["type"] = json!("history");
            for form in [
                r5(&status_of(word, 2, &json!([])), &[]),
                r4b,
                backport(word, &json!("2"), &[], &[]),
                backport(word, &json!(2), &[], &[]),
            ] {
                assert_eq!(told(&form), (wanted.clone(), Vec::new()), "{form}");
            }
        }
    }

    #[test]
    fn an_event_brings_its_resource_its_name_or_nothing() {
        let named = json!({ "reference": "https://ehr.example/fhir/Encounter/ZZe1" });
        let event = |focus: bool| {
            let mut event = json!([{ "eventNumber": "7", "timestamp": "2026-11-22T08:15:00Z" }]);
            if focus {
                event[0]["focus"] = named.clone();
            }
            status_of("event-notification", 7, &event)
        };
        let part = |focus: bool| {
            let mut parts = vec![json!({ "name": "event-number", "valueString": "7" })];
            if focus {
                parts.push(json!({ "name": "focus", "valueReference": named }));
            }
            vec![json!(parts)]
        };
        let whole = entry(&encounter(Some("3")));
        let unversioned = entry(&encounter(None));
        let bare = json!({ "fullUrl": "https://ehr.example/fhir/Encounter/ZZe1",
            "request": { "method": "PUT", "url": "Encounter/ZZe1" } });
        let gone = json!({ "request": { "method": "DELETE", "url": "Encounter/ZZe1" } });
        let patient = json!({ "resource": { "resourceType": "Patient", "id": "ZZp", "meta": { "versionId": "1" } } });
        let other = json!({ "resource": { "resourceType": "Practitioner", "id": "ZZd" } });
        let seven = |focus| vec![Happened { number: Some(7), focus }];
        let name = Name { kind: "Encounter".to_owned(), id: "ZZe1".to_owned() };
        for (focus, entries, wanted) in [
            (true, vec![whole.clone()], vec!["Found Encounter/ZZe1"]),
            (true, vec![bare], vec!["named Encounter/ZZe1"]),
            (true, vec![], vec!["named Encounter/ZZe1"]),
            // It could not be known to be the one that a search finds.
            (true, vec![unversioned], vec!["named Encounter/ZZe1"]),
            (true, vec![gone], vec!["Removed Encounter/ZZe1"]),
            (true, vec![whole, other, patient], vec!["Found Patient/ZZp", "Found Encounter/ZZe1"]),
            (false, vec![], vec![]),
        ] {
            for form in [
                r5(&event(focus), &entries),
                backport("event-notification", &json!("7"), &part(focus), &entries),
            ] {
                let (status, brought) = told(&form);
                assert_eq!(brought, wanted, "{form}");
                assert_eq!(status.events, seven(focus.then(|| name.clone())));
                assert_eq!((status.kind, status.since_start), (Kind::Event, Some(7)));
            }
        }
    }

    #[test]
    fn a_focus_of_another_type_is_not_asked_for() {
        let event = json!([{ "eventNumber": "1", "focus": { "reference": "Task/ZZt" } }]);
        let (status, brought) = told(&r5(&status_of("event-notification", 1, &event), &[]));
        assert!(brought.is_empty() && status.events[0].focus.is_some(), "{status:?}");
    }

    #[test]
    fn a_rest_hook_brings_one_resource() {
        let read = |json: &Value| match read_json(json) {
            Ok(Told::Resource(it)) => (it.name.map(|it| it.id), it.brought.as_ref().map(shown)),
            other => panic!("{other:?}"),
        };
        let id = Some("ZZe1".to_owned());
        let found = Some("Found Encounter/ZZe1".to_owned());
        assert_eq!(read(&encounter(Some("3"))), (id.clone(), found));
        assert_eq!(read(&encounter(None)), (id, Some("named Encounter/ZZe1".to_owned())));
        let other = json!({ "resourceType": "Practitioner", "id": "ZZd" });
        assert_eq!(read(&other), (Some("ZZd".to_owned()), None));
    }

    #[test]
    fn what_is_no_notification_is_refused_with_its_place_and_no_value() {
        let event = |events: &Value| r5(&status_of("event-notification", 1, events), &[]);
        let mut nobody = status_of("heartbeat", 1, &json!([]));
        nobody["subscription"] = json!({ "reference": "ZZQUILLON" });
        let mut odd = status_of("heartbeat", 1, &json!([]));
        odd["eventsSinceSubscriptionStart"] = json!("ZZQUILLON");
        let many: Vec<Value> =
            (1..=EVENTS_MAX + 1).map(|n| json!({ "eventNumber": n.to_string() })).collect();
        for (json, says) in [
            (json!({ "resourceType": "Bundle", "type": "history" }), "Bundle.entry is missing"),
            (json!({ "resourceType": "Bundle", "type": "searchset", "entry": [] }), "Bundle.type"),
            (
                r5(&json!({ "resourceType": "Patient", "id": "ZZQUILLON" }), &[]),
                "Bundle.entry[0].resource",
            ),
            (r5(&status_of("ZZQUILLON", 1, &json!([])), &[]), "SubscriptionStatus.type"),
            (r5(&nobody, &[]), "SubscriptionStatus.subscription"),
            (r5(&odd, &[]), "SubscriptionStatus.eventsSinceSubscriptionStart"),
            (event(&json!([{ "eventNumber": "-1" }])), "notificationEvent.eventNumber"),
            (event(&json!(many)), "more than 1000 events"),
            (backport("ZZQUILLON", &json!("1"), &[], &[]), "Parameters.parameter type"),
            (r5(&status_of("heartbeat", 1, &json!([])), &[json!("ZZQUILLON")]), "Bundle.entry[1]"),
            (json!(["ZZQUILLON"]), "not a JSON object"),
        ] {
            let wrong = read_json(&json).map(|_| ()).unwrap_err().to_string();
            assert!(wrong.contains(says) && !wrong.contains("ZZQ"), "{wrong}");
        }
        let cut = Bytes::from_static(b"{\"resourceType\":\"Bundle\",\"ZZQUILLON");
        assert!(read(&cut, cut.len(), &TYPES).is_err());
    }
}
