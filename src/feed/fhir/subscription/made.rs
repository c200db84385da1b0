//! The Subscription that says what is wanted: of R4, of R4 with the backport's extensions, of R5.
//!
//! Promises: the same terms give the same resource, but for its end; it names nobody but us.
//! Knows nothing of: when it is sent, and what the server makes of it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::notification::{Standing, name_in};
use super::{Content, Style, Terms, Wanted};
use crate::parse::fhir::{Node, Resource};

/// Where the backport's definitions are (implementation guide 1.1.0).
const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
/// R5's code system of channels.
const CHANNELS: &str = "http://terminology.hl7.org/CodeSystem/subscription-channel-type";
/// Most events of one notification that are asked for.
const COUNT_MAX: u32 = 100;
/// Largest Subscription that is read back, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// A Subscription as a server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its ID.
    pub id: String,
    /// How it stands.
    pub standing: Option<Standing>,
    /// Until when it is, where it says so.
    pub end: Option<Timestamp>,
    /// Where it tells.
    pub endpoint: Option<String>,
}

/// A resource to be sent. It may hold the secret that notifications are proven by.
pub struct Body(Value);

impl fmt::Debug for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Body(..)")
    }
}

impl Body {
    /// As it is sent.
    #[must_use]
    pub fn bytes(&self) -> bytes::Bytes {
        bytes::Bytes::from(self.0.to_string())
    }

    /// As it is sent, for a Subscription that is there under an ID.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        if let Some(members) = self.0.as_object_mut() {
            members.insert("id".to_owned(), json!(id));
        }
        self
    }
}

/// The address that notifications of a subscription come to.
#[must_use]
pub fn endpoint(terms: &Terms, wanted: &Wanted) -> String {
    format!("{}/{}", terms.endpoint, wanted.key)
}

/// What tells these terms from others, without the secret itself: with others, the Subscription that is
/// there is replaced.
#[must_use]
pub fn fingerprint(terms: &Terms, wanted: &Wanted) -> String {
    let text = format!("{} {:?}", body(terms, wanted, None).0, terms.lifetime);
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The Subscription.
#[must_use]
pub fn body(terms: &Terms, wanted: &Wanted, end: Option<Timestamp>) -> Body {
    let mut resource = match terms.style {
        Style::RestHook => rest_hook(terms, wanted),
        Style::Backport => backport(terms, wanted),
        Style::Topic => topic(terms, wanted),
    };
    if let (Some(members), Some(end)) = (resource.as_object_mut(), end) {
        members.insert("end".to_owned(), json!(format!("{end:.0}")));
    }
    Body(resource)
}

/// What everyone of them has.
fn common(terms: &Terms) -> Value {
    json!({
        "resourceType": "Subscription", "status": "requested",
        "reason": format!("tidegate, feed {}", terms.feed),
    })
}

fn with(resource: Value, more: Value) -> Value {
    let (Value::Object(mut all), Value::Object(more)) = (resource, more) else {
        return Value::Null;
    };
    all.extend(more);
    Value::Object(all)
}

/// A header as R4 has it, `Name: value`.
fn header(terms: &Terms) -> Option<String> {
    let (name, value) = terms.proof.as_ref()?;
    Some(format!("{name}: {}", String::from_utf8_lossy(value.expose())))
}

fn channel(terms: &Terms, wanted: &Wanted) -> Map<String, Value> {
    let mut channel = Map::new();
    channel.insert("type".to_owned(), json!("rest-hook"));
    channel.insert("endpoint".to_owned(), json!(endpoint(terms, wanted)));
    // Without a payload an R4 rest-hook is a bare POST.
    if terms.style == Style::Backport || terms.content == Content::Full {
        channel.insert("payload".to_owned(), json!("application/fhir+json"));
    }
    if let Some(header) = header(terms) {
        channel.insert("header".to_owned(), json!([header]));
    }
    channel
}

fn rest_hook(terms: &Terms, wanted: &Wanted) -> Value {
    // Servers take a criterion to be a search, and want its question mark.
    let about = &wanted.about;
    let criteria = if about.contains('?') { about.to_string() } else { format!("{about}?") };
    with(common(terms), json!({ "criteria": criteria, "channel": channel(terms, wanted) }))
}

fn backport(terms: &Terms, wanted: &Wanted) -> Value {
    let seconds = |duration: std::time::Duration| duration.as_secs();
    let mut channel = channel(terms, wanted);
    channel.insert("extension".to_owned(), json!([
        { "url": format!("{BACKPORT}backport-heartbeat-period"), "valueUnsignedInt": seconds(terms.heartbeat) },
        { "url": format!("{BACKPORT}backport-timeout"), "valueUnsignedInt": seconds(terms.timeout) },
        { "url": format!("{BACKPORT}backport-max-count"), "valuePositiveInt": COUNT_MAX },
    ]));
    channel.insert("_payload".to_owned(), json!({ "extension": [
        { "url": format!("{BACKPORT}backport-payload-content"), "valueCode": terms.content.code() },
    ]}));
    let mut resource = with(
        common(terms),
        json!({
            "meta": { "profile": [format!("{BACKPORT}backport-subscription")] },
            "criteria": &*wanted.about, "channel": channel,
        }),
    );
    if let Some(members) = resource.as_object_mut().filter(|_| !wanted.filters.is_empty()) {
        let filters: Vec<Value> = wanted
            .filters
            .iter()
            .map(|filter| json!({ "url": format!("{BACKPORT}backport-filter-criteria"), "valueString": filter }))
            .collect();
        members.insert("_criteria".to_owned(), json!({ "extension": filters }));
    }
    resource
}

fn topic(terms: &Terms, wanted: &Wanted) -> Value {
    let mut resource = with(
        common(terms),
        json!({
            "topic": &*wanted.about,
            "channelType": { "system": CHANNELS, "code": "rest-hook" },
            "endpoint": endpoint(terms, wanted),
            "heartbeatPeriod": terms.heartbeat.as_secs(), "timeout": terms.timeout.as_secs(),
            "contentType": "application/fhir+json", "content": terms.content.code(),
            "maxCount": COUNT_MAX,
        }),
    );
    let Some(members) = resource.as_object_mut() else { return resource };
    let filters: Vec<Value> = wanted.filters.iter().flat_map(|filter| filter_by(filter)).collect();
    if !filters.is_empty() {
        members.insert("filterBy".to_owned(), json!(filters));
    }
    if let Some((name, value)) = &terms.proof {
        let value = String::from_utf8_lossy(value.expose());
        members.insert("parameter".to_owned(), json!([{ "name": name, "value": value }]));
    }
    resource
}

/// A filter as R5 has it: one row for each parameter; a modifier stands behind a colon.
fn filter_by(filter: &str) -> Vec<Value> {
    let Some((resource, parameters)) = filter.split_once('?') else { return Vec::new() };
    let row = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, modifier) =
            name.split_once(':').map_or((name, None), |(name, it)| (name, Some(it)));
        let mut row = json!({ "resourceType": resource, "filterParameter": name, "value": value });
        if let (Some(modifier), Some(members)) = (modifier, row.as_object_mut()) {
            members.insert("modifier".to_owned(), json!(modifier));
        }
        Some(row)
    };
    parameters.split('&').filter_map(row).collect()
}

impl Found {
    /// Reads a Subscription of a server; nothing where it is none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let resource = Resource::parse(bytes, BYTES_MAX).ok()?;
        if resource.kind() != "Subscription" {
            return None;
        }
        let root = resource.root();
        let text = |node: Node<'_>, name| node.get(name).and_then(Node::text).map(str::to_owned);
        let endpoint = text(root, "endpoint")
            .or_else(|| root.get("channel").and_then(|channel| text(channel, "endpoint")));
        Some(Self {
            id: resource.id()?.to_owned(),
            standing: text(root, "status").as_deref().and_then(Standing::of),
            end: text(root, "end").and_then(|end| end.parse().ok()),
            endpoint,
        })
    }
}

/// The ID of a Subscription that was just made: by its address, else by the resource in the answer.
#[must_use]
pub fn id_of(location: Option<&str>, body: &[u8]) -> Option<String> {
    let located = location.and_then(name_in).filter(|name| name.kind == "Subscription");
    located.map(|name| name.id).or_else(|| Found::read(body).map(|found| found.id))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::secret::Secret;

    fn terms(style: Style, content: Content) -> Terms {
        let secret = Arc::new(Secret::new(b"Bearer ZZsecret".to_vec()));
        Terms {
            feed: "ehr".into(),
            style,
            endpoint: "https://gate.example/notify".to_owned(),
            proof: Some(("Authorization".to_owned(), secret)),
            content,
            heartbeat: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            lifetime: None,
        }
    }

    fn wanted(about: &str, filters: &[&str]) -> Wanted {
        Wanted {
            about: about.into(),
            filters: filters.iter().map(ToString::to_string).collect(),
            key: "0123".to_owned(),
            ids: Vec::new(),
            query: None,
        }
    }

    #[test]
    fn a_rest_hook_asks_for_a_search_and_says_how_it_is_proven() {
        let made = body(&terms(Style::RestHook, Content::Full), &wanted("Encounter", &[]), None);
        let should = json!({
            "resourceType": "Subscription", "status": "requested", "reason": "tidegate, feed ehr",
            "criteria": "Encounter?",
            "channel": { "type": "rest-hook", "endpoint": "https://gate.example/notify/0123",
                "payload": "application/fhir+json", "header": ["Authorization: Bearer ZZsecret"] },
        });
        assert_eq!(made.0, should);
        let bare = body(
            &terms(Style::RestHook, Content::Empty),
            &wanted("Encounter?class=IMP", &[]),
            None,
        );
        assert_eq!(bare.0["criteria"], "Encounter?class=IMP");
        assert_eq!(bare.0["channel"]["payload"], Value::Null, "a bare POST");
    }

    #[test]
    fn the_backport_says_topic_and_filter_in_extensions() {
        let end = "2026-11-29T08:00:00.5Z".parse().ok();
        let of = wanted("http://zz.example/topic", &["Encounter?class=IMP"]);
        let made = body(&terms(Style::Backport, Content::IdOnly), &of, end);
        let should = json!({
            "resourceType": "Subscription", "status": "requested", "reason": "tidegate, feed ehr",
            "meta": { "profile": ["http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription"] },
            "end": "2026-11-29T08:00:00Z",
            "criteria": "http://zz.example/topic",
            "_criteria": { "extension": [{
                "url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-filter-criteria",
                "valueString": "Encounter?class=IMP" }] },
            "channel": {
                "extension": [
                    { "url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period", "valueUnsignedInt": 60 },
                    { "url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-timeout", "valueUnsignedInt": 30 },
                    { "url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-max-count", "valuePositiveInt": 100 },
                ],
                "type": "rest-hook", "endpoint": "https://gate.example/notify/0123",
                "payload": "application/fhir+json",
                "_payload": { "extension": [{
                    "url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content",
                    "valueCode": "id-only" }] },
                "header": ["Authorization: Bearer ZZsecret"],
            },
        });
        assert_eq!(made.0, should);
    }

    #[test]
    fn r5_says_them_in_elements() {
        let of = wanted("http://zz.example/topic", &["Encounter?class=IMP&status:not=planned"]);
        let made = body(&terms(Style::Topic, Content::Empty), &of, None).with_id("7");
        let should = json!({
            "resourceType": "Subscription", "id": "7", "status": "requested", "reason": "tidegate, feed ehr",
            "topic": "http://zz.example/topic",
            "filterBy": [
                { "resourceType": "Encounter", "filterParameter": "class", "value": "IMP" },
                { "resourceType": "Encounter", "filterParameter": "status", "modifier": "not", "value": "planned" },
            ],
            "channelType": { "system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "code": "rest-hook" },
            "endpoint": "https://gate.example/notify/0123",
            "parameter": [{ "name": "Authorization", "value": "Bearer ZZsecret" }],
            "heartbeatPeriod": 60, "timeout": 30, "contentType": "application/fhir+json",
            "content": "empty", "maxCount": 100,
        });
        assert_eq!(made.0, should);
    }

    #[test]
    fn other_terms_have_another_fingerprint_and_another_end_the_same() {
        let some = terms(Style::Topic, Content::IdOnly);
        let of = wanted("http://zz.example/topic", &[]);
        let first = fingerprint(&some, &of);
        assert_eq!(fingerprint(&some.clone(), &of), first);
        let secret = Arc::new(Secret::new(b"Bearer ZZother".to_vec()));
        let proof = Some(("Authorization".to_owned(), secret));
        for other in [
            Terms { proof, ..some.clone() },
            Terms { content: Content::Full, ..some.clone() },
            Terms { endpoint: "https://gate.example/other".to_owned(), ..some.clone() },
        ] {
            assert_ne!(fingerprint(&other, &of), first);
        }
        assert!(
            !format!("{:?}", body(&some, &of, None)).contains("ZZ"),
            "the secret is not printed"
        );
    }

    #[test]
    fn what_a_server_has_is_read_in_either_form() {
        let r4 = br#"{"resourceType":"Subscription","id":"ZZ1","status":"error","end":"2026-11-29T08:00:00Z",
            "channel":{"type":"rest-hook","endpoint":"https://gate.example/notify/0123"}}"#;
        let found = Found::read(r4).unwrap();
        assert_eq!((found.id.as_str(), found.standing), ("ZZ1", Some(Standing::Error)));
        assert_eq!(found.end, "2026-11-29T08:00:00Z".parse().ok());
        let r5 = br#"{"resourceType":"Subscription","id":"ZZ2","status":"active","endpoint":"https://gate.example/notify/0123"}"#;
        assert_eq!(Found::read(r5).unwrap().endpoint, found.endpoint);
        assert_eq!(Found::read(br#"{"resourceType":"Patient","id":"ZZ2"}"#), None);
        let location = "https://ehr.example/fhir/Subscription/ZZ9/_history/1";
        assert_eq!(id_of(Some(location), b"").as_deref(), Some("ZZ9"));
        assert_eq!(id_of(None, r5).as_deref(), Some("ZZ2"));
        assert_eq!(id_of(Some("https://ehr.example/fhir/Patient/1"), b""), None);
    }
}
