//! A FHIR server that holds what a test puts there, searches and pages like one, and misbehaves when
//! it is told to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::gate::Gate;
use super::notifier::Subscriptions;

/// A server on a free port of 127.0.0.1. It ends with the process.
#[derive(Clone)]
pub struct FhirServer {
    /// What it keeps back.
    pub gate: Gate,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What it does instead of what was asked for.
#[derive(Clone, Debug)]
pub enum Wrong {
    /// A status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The right answer, cut in the middle, and the connection with it.
    Cut,
    /// The right answer under another content type.
    Type(&'static str),
    /// The right answer, after a while.
    Slow(Duration),
    /// The right page, whose link to the next one leads there.
    Next(String),
    /// A page of so many bytes in one resource, not packed.
    Huge(usize),
    /// So many bytes of nothing, packed.
    Bomb(usize),
    /// The right answer without its end, whole as HTTP goes.
    Truncated,
    /// Another body under the right head.
    Body(String),
    /// FHIR XML.
    Xml(String),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`, `POST`, …
    pub method: String,
    /// With its query, decoded.
    pub target: String,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The status of its answer.
    pub status: u16,
}

struct State {
    version: &'static str,
    resources: BTreeMap<(String, String), Stored>,
    /// The last versions of those that were removed.
    removed: BTreeMap<(String, String), u32>,
    /// In the order of coming: what is done to which requests, how often.
    wrong: Vec<(String, VecDeque<Wrong>)>,
    asked: Vec<Asked>,
    /// What was found, and whether subjects were wanted beside it.
    searches: HashMap<usize, (Vec<Value>, bool)>,
    pages: usize,
    /// Resources of a page at most.
    page_max: usize,
    sorts: bool,
    stamps: bool,
    dated: bool,
    etags: bool,
    includes: bool,
    skew: SignedDuration,
    /// The token that is let in, where one is wanted.
    token: Option<String>,
    tokens: usize,
    subscriptions: Subscriptions,
}

struct Stored {
    version: u32,
    updated: Timestamp,
    body: Value,
    shown: bool,
}

impl FhirServer {
    /// Begins to serve R4.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            version: "4.0.1",
            resources: BTreeMap::new(),
            removed: BTreeMap::new(),
            wrong: Vec::new(),
            asked: Vec::new(),
            searches: HashMap::new(),
            pages: 0,
            page_max: 1_000,
            sorts: true,
            stamps: true,
            dated: true,
            etags: false,
            includes: true,
            skew: SignedDuration::ZERO,
            token: None,
            tokens: 0,
            subscriptions: Subscriptions::default(),
        };
        let gate = Gate::default();
        let server = Self { gate, address, state: Arc::new(Mutex::new(state)) };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        server
    }

    /// For `base_url`.
    pub fn base(&self) -> String {
        format!("http://{}/fhir", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says that it speaks another version.
    pub fn version(&self, version: &'static str) {
        self.state().version = version;
    }

    /// Gives at most so many resources a page.
    pub fn page_max(&self, most: usize) {
        self.state().page_max = most;
    }

    /// Gives resources in the order of their IDs, whatever `_sort` says.
    pub fn sorts_not(&self) {
        self.state().sorts = false;
    }

    /// Gives resources without version and time.
    pub fn stamps_not(&self) {
        self.state().stamps = false;
    }

    /// Gives pages an ETag, and answers 304 where nothing has changed.
    pub fn etags(&self) {
        self.state().etags = true;
    }

    /// Its clock goes wrong by so many seconds; resources are stamped by it.
    pub fn skewed(&self, seconds: i64) {
        self.state().skew = SignedDuration::from_secs(seconds);
    }

    /// Its time.
    pub fn now(&self) -> Timestamp {
        now(&self.state())
    }

    /// Lets in whoever has a token of its token endpoint, until [`FhirServer::rotate`].
    pub fn wants_token(&self) {
        self.state().token = Some("ZZtoken0".to_owned());
    }

    /// Ends the tokens that it gave.
    pub fn rotate(&self) {
        let mut state = self.state();
        state.tokens += 1;
        state.token = Some(format!("ZZtoken{}", state.tokens));
    }

    /// Puts a resource there, now; its next version where it is there.
    pub fn put(&self, body: Value) {
        let at = self.now();
        self.put_at(body, at);
    }

    /// Puts a resource there with a time.
    pub fn put_at(&self, body: Value, updated: Timestamp) {
        self.hold(body, updated, true);
    }

    /// Removes a resource: no search finds it, and who asks for it by name is told 404.
    pub fn remove(&self, kind: &str, id: &str) {
        let mut state = self.state();
        let key = (kind.to_owned(), id.to_owned());
        let stored = state.resources.remove(&key).unwrap();
        state.removed.insert(key, stored.version + 1);
    }

    /// Puts a resource there that no search finds until [`FhirServer::index`].
    pub fn put_unindexed(&self, body: Value, updated: Timestamp) {
        self.hold(body, updated, false);
    }

    /// Lets searches find all that is there.
    pub fn index(&self) {
        self.state().resources.values_mut().for_each(|stored| stored.shown = true);
    }

    fn hold(&self, body: Value, updated: Timestamp, shown: bool) {
        let name = |key: &str| body[key].as_str().unwrap().to_owned();
        let key = (name("resourceType"), name("id"));
        let mut state = self.state();
        let before = state.resources.get(&key).map(|stored| stored.version);
        let version = before.or_else(|| state.removed.remove(&key)).unwrap_or(0) + 1;
        state.resources.insert(key, Stored { version, updated, body, shown });
    }

    /// Requests whose target holds a text are answered wrongly, each in turn, then as asked.
    pub fn misbehave(&self, target: &str, wrong: impl IntoIterator<Item = Wrong>) {
        self.state().wrong.push((target.to_owned(), wrong.into_iter().collect()));
    }

    /// It behaves from now on.
    pub fn behave(&self) {
        self.state().wrong.clear();
    }

    /// The subscriptions that it has, and what it makes of them.
    pub fn subscriptions<T>(&self, with: impl FnOnce(&mut Subscriptions) -> T) -> T {
        with(&mut self.state().subscriptions)
    }

    /// What came, in its order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// What came whose target holds a text.
    pub fn asked_for(&self, target: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.target.contains(target)).collect()
    }

    /// One connection, until it ends.
    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).ok();
        let mut buffer = Vec::new();
        while let Some((method, target, headers, body)) = request(&mut stream, &mut buffer) {
            let (answer, wrong) = self.answer((&method, &target), &headers, &body);
            if let Some(Wrong::Slow(pause)) = wrong {
                std::thread::sleep(pause);
            }
            let cut = matches!(wrong, Some(Wrong::Cut));
            let whole = if cut { answer.len() / 2 } else { answer.len() };
            if stream.write_all(&answer[..whole]).is_err() || cut {
                return;
            }
        }
    }

    fn answer(
        &self,
        (method, target): (&str, &str),
        headers: &BTreeMap<String, String>,
        body: &str,
    ) -> (Vec<u8>, Option<Wrong>) {
        let mut state = self.state();
        let wrong =
            state.wrong.iter_mut().find(|(of, left)| target.contains(of) && !left.is_empty());
        let wrong = wrong.and_then(|(_, left)| left.pop_front());
        let date = state.dated.then(|| httpdate(now(&state)));
        let mut answer = state.right((method, target), headers, body, &self.address.to_string());
        let packed = headers.get("accept-encoding").is_some_and(|it| it.contains("gzip"))
            && !matches!(wrong, Some(Wrong::Huge(_)));
        match &wrong {
            None | Some(Wrong::Cut | Wrong::Slow(_)) => {}
            Some(Wrong::Status(status, headers, body)) => {
                answer = Answer { status: *status, headers: headers.clone(), ..Answer::default() };
                answer.body = body.clone().into_bytes();
            }
            Some(Wrong::Type(kind)) => answer.kind = kind,
            Some(Wrong::Next(url)) => answer.link_to(url),
            Some(Wrong::Huge(bytes)) => answer.body = huge(*bytes),
            Some(Wrong::Bomb(bytes)) => answer.body = huge(*bytes),
            Some(Wrong::Truncated) => answer.body.truncate(answer.body.len() / 2),
            Some(Wrong::Body(text)) => answer.body = text.clone().into_bytes(),
            Some(Wrong::Xml(text)) => {
                answer.kind = "application/fhir+xml";
                answer.body = text.clone().into_bytes();
            }
        }
        let asked = Asked {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.clone(),
            status: answer.status,
        };
        state.asked.push(asked);
        drop(state);
        self.gate.pass(&answer.body);
        (answer.write(date.as_deref(), packed), wrong)
    }
}

/// A made-up patient.
pub fn patient(id: &str) -> Value {
    json!({
        "resourceType": "Patient", "id": id,
        "identifier": [{ "type": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR" }] },
                         "system": "urn:oid:2.16.840.1.113883.19.5", "value": format!("ZZ{id}") }],
        "name": [{ "family": "ZZQUILLON", "given": ["ZZMARA"] }], "gender": "female", "birthDate": "1980-01-02",
    })
}

/// A made-up laboratory result of a patient.
pub fn observation(id: &str, patient: &str, value: &str) -> Value {
    let value: serde_json::Number = value.parse().unwrap();
    json!({
        "resourceType": "Observation", "id": id, "status": "final",
        "identifier": [{ "system": "urn:oid:2.16.840.1.113883.19.6", "value": id }],
        "category": [{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory" }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin" }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "effectiveDateTime": "2026-11-22T08:15:00-08:00",
        "valueQuantity": { "value": value, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL" },
    })
}

/// What a patient said of research: `active` and `permit`, or otherwise. [`RESEARCH`] reads it.
pub fn research(id: &str, patient: &str, status: &str, kind: &str) -> Value {
    json!({
        "resourceType": "Consent", "id": id, "status": status,
        "scope": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": format!("Patient/{patient}") }, "dateTime": "2026-11-20T08:00:00Z",
        "policyRule": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN" }] },
        "provision": { "type": kind },
    })
}

/// A made-up stay of a patient.
pub fn encounter(id: &str, patient: &str, status: &str) -> Value {
    json!({
        "resourceType": "Encounter", "id": id, "status": status,
        "identifier": [{ "system": "urn:oid:2.16.840.1.113883.19.7", "value": format!("ZZV{id}") }],
        "class": { "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP" },
        "subject": { "reference": format!("Patient/{patient}") },
        "period": { "start": "2026-11-22T08:00:00-08:00" },
    })
}

/// A consent.toml in which consents of [`consent`] speak about clinical trials.
pub const RESEARCH: &str =
    "[codes]\n\"http://terminology.hl7.org/CodeSystem/consentscope/research\" = [\"CLINTRCH\"]\n";

/// A made-up consent of patient `p1` to research, by [`RESEARCH`].
pub fn consent(status: &str, kind: &str) -> Value {
    research("c1", "p1", status, kind)
}

/// A right answer on its way.
struct Answer {
    status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Default for Answer {
    fn default() -> Self {
        Self { status: 200, kind: "application/fhir+json", headers: Vec::new(), body: Vec::new() }
    }
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes(), ..Self::default() }
    }

    fn link_to(&mut self, url: &str) {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        body["link"] = json!([{ "relation": "next", "url": url }]);
        self.body = body.to_string().into_bytes();
    }

    fn write(mut self, date: Option<&str>, packed: bool) -> Vec<u8> {
        if packed && self.body.len() > 1_000 {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&self.body).unwrap();
            self.body = encoder.finish().unwrap();
            self.headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        let mut out = format!("HTTP/1.1 {} ZZ\r\n", self.status);
        if let Some(date) = date {
            out += &format!("Date: {date}\r\n");
        }
        for (name, value) in &self.headers {
            out += &format!("{name}: {value}\r\n");
        }
        if self.status != 304 {
            out += &format!("Content-Type: {}\r\n", self.kind);
            out += &format!("Content-Length: {}\r\n", self.body.len());
        }
        out += "\r\n";
        let mut out = out.into_bytes();
        out.extend(&self.body);
        out
    }
}

impl State {
    /// What a server that behaves answers.
    fn right(
        &mut self,
        (method, target): (&str, &str),
        headers: &BTreeMap<String, String>,
        body: &str,
        address: &str,
    ) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<(&str, &str)> =
            query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let base = format!("http://{address}/fhir");
        match path.strip_prefix("/fhir").unwrap_or(path).trim_start_matches('/') {
            "metadata" => return Answer::json(200, &self.capabilities()),
            ".well-known/smart-configuration" => {
                let endpoint = format!("http://{address}/token");
                return Answer::json(
                    200,
                    &json!({ "token_endpoint": endpoint,
                    "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                    "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
                    "grant_types_supported": ["client_credentials"],
                    "capabilities": ["client-confidential-asymmetric", "permission-v2"] }),
                );
            }
            "token" => {
                assert!(body.contains("grant_type=client_credentials"), "{body}");
                let token = self.token.clone().unwrap_or_default();
                let granted =
                    json!({ "access_token": token, "token_type": "bearer", "expires_in": 300 });
                return Answer { kind: "application/json", ..Answer::json(200, &granted) };
            }
            _ => {}
        }
        let authorized = self.token.as_ref().is_none_or(|token| {
            headers.get("authorization").is_some_and(|it| *it == format!("Bearer {token}"))
        });
        if !authorized {
            return outcome(401, "login");
        }
        let name = path.trim_start_matches("/fhir").trim_matches('/');
        if let Some(id) = name.strip_prefix("Subscription") {
            let (status, body, id) =
                self.subscriptions.answer(method, id.trim_start_matches('/'), &query, body);
            let mut answer = Answer::json(status, &body);
            if let Some(id) = id {
                answer.headers.push(("Location", format!("{base}/Subscription/{id}/_history/1")));
            }
            return answer;
        }
        if let Some((kind, id)) = name.split_once('/') {
            return match self.resources.get(&(kind.to_owned(), id.to_owned())) {
                Some(stored) => {
                    let etag = format!("W/\"{}\"", stored.version);
                    if self.etags && headers.get("if-none-match") == Some(&etag) {
                        return Answer { status: 304, ..Answer::default() };
                    }
                    Answer::json(200, &self.shown(stored))
                }
                None => outcome(404, "not-found"),
            };
        }
        let page = match query.iter().find(|(key, _)| *key == "_page") {
            Some((_, place)) => {
                let (search, offset) = place.split_once('-').unwrap();
                (search.parse().unwrap(), offset.parse().unwrap())
            }
            None => {
                self.pages += 1;
                let found = self.search(name, &query);
                let include = query.iter().any(|(key, _)| *key == "_include");
                self.searches.insert(self.pages, (found, include));
                (self.pages, 0)
            }
        };
        let count = query.iter().find(|(key, _)| *key == "_count");
        let count = count.map_or(100, |(_, count)| count.parse().unwrap()).min(self.page_max);
        let page = self.page(page, count, &base);
        let etag = format!("W/\"{:x}\"", md(&page));
        if self.etags && headers.get("if-none-match") == Some(&etag) {
            return Answer { status: 304, headers: vec![("ETag", etag)], ..Answer::default() };
        }
        let mut answer = Answer::json(200, &page);
        if self.etags {
            answer.headers.push(("ETag", etag));
        }
        answer
    }

    fn search(&self, kind: &str, query: &[(&str, &str)]) -> Vec<Value> {
        let value =
            |key: &str| query.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let from: Option<Timestamp> =
            value("_lastUpdated").map(|it| it.strip_prefix("ge").unwrap().parse().unwrap());
        let category = value("category");
        let patient = value("patient").map(|id| json!(format!("Patient/{id}")));
        let mut found: Vec<&Stored> = self
            .resources
            .iter()
            .filter(|((of, _), stored)| {
                let coded = |code: &str| stored.body["category"].to_string().contains(code);
                of == kind
                    && stored.shown
                    && from.is_none_or(|from| stored.updated >= from)
                    && category.is_none_or(coded)
                    && patient.as_ref().is_none_or(|it| stored.body["patient"]["reference"] == *it)
            })
            .map(|(_, stored)| stored)
            .collect();
        if self.sorts && value("_sort") == Some("_lastUpdated") {
            found.sort_by_key(|stored| stored.updated);
        }
        found.into_iter().map(|stored| self.shown(stored)).collect()
    }

    fn shown(&self, stored: &Stored) -> Value {
        let mut body = stored.body.clone();
        if self.stamps {
            // Milliseconds, as most servers have.
            let updated = format!("{:.3}", stored.updated);
            body["meta"] =
                json!({ "versionId": stored.version.to_string(), "lastUpdated": updated });
        }
        body
    }

    fn page(&self, (search, offset): (usize, usize), count: usize, base: &str) -> Value {
        let (found, include) = &self.searches[&search];
        let end = (offset + count).min(found.len());
        let mut entries = Vec::new();
        let mut beside = Vec::new();
        for resource in &found[offset..end] {
            let name = |key: &str| resource[key].as_str().unwrap_or_default();
            let url = format!("{base}/{}/{}", name("resourceType"), name("id"));
            entries.push(
                json!({ "fullUrl": url, "resource": resource, "search": { "mode": "match" } }),
            );
            let subject = resource["subject"]["reference"].as_str().unwrap_or_default();
            if let Some((kind, id)) = subject.split_once('/')
                && *include
                && !beside.contains(&id)
                && let Some(stored) = self.resources.get(&(kind.to_owned(), id.to_owned()))
            {
                beside.push(id);
                let resource = self.shown(stored);
                entries.push(json!({ "resource": resource, "search": { "mode": "include" } }));
            }
        }
        let mut links = Vec::new();
        if end < found.len() {
            // As HAPI does it: the state of the search behind the base.
            let next = format!("{base}?_page={search}-{end}&_count={count}");
            links.push(json!({ "relation": "next", "url": next }));
        }
        json!({ "resourceType": "Bundle", "type": "searchset", "total": found.len(), "link": links, "entry": entries })
    }

    fn capabilities(&self) -> Value {
        let resources: Vec<Value> =
            ["Patient", "Consent", "Encounter", "Condition", "DiagnosticReport", "Observation"]
                .iter()
                .map(|kind| {
                    json!({ "type": kind, "interaction": [{ "code": "search-type" }],
                        "searchInclude": if self.includes { json!([format!("{kind}:subject")]) } else { json!([]) },
                        "searchParam": [{ "name": "_lastUpdated", "type": "date" }] })
                })
                .collect();
        json!({ "resourceType": "CapabilityStatement", "fhirVersion": self.version, "status": "active",
            "kind": "instance", "format": ["json"], "rest": [{ "mode": "server", "resource": resources }] })
    }
}

fn now(state: &State) -> Timestamp {
    Timestamp::now() + state.skew
}

/// As HTTP writes a time (RFC 9110, section 5.6.7).
pub fn httpdate(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// An OperationOutcome with a code, and with what must not be shown.
pub fn outcome_of(code: &str) -> String {
    json!({ "resourceType": "OperationOutcome",
        "issue": [{ "severity": "error", "code": code, "diagnostics": "ZZQUILLON ZZMARA" }] })
    .to_string()
}

fn outcome(status: u16, code: &str) -> Answer {
    Answer { status, body: outcome_of(code).into_bytes(), ..Answer::default() }
}

/// A page with one resource of so many bytes, which packs well.
fn huge(bytes: usize) -> Vec<u8> {
    let text = "Z".repeat(bytes);
    json!({ "resourceType": "Bundle", "type": "searchset",
        "entry": [{ "resource": { "resourceType": "Patient", "id": "ZZhuge", "implicitRules": text } }] })
    .to_string()
    .into_bytes()
}

/// A number for a body, the same for the same.
fn md(body: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    body["entry"].to_string().hash(&mut hasher);
    hasher.finish()
}

type Head = (String, String, BTreeMap<String, String>, String);

/// The next request of a connection: its target, decoded, its headers and its body.
fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Head> {
    let mut chunk = [0; 8 << 10];
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break buffer.drain(..end + 4).collect::<Vec<u8>>();
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend(&chunk[..read]),
        }
    };
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
    while buffer.len() < length {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend(&chunk[..read]),
        }
    }
    let body: Vec<u8> = buffer.drain(..length).collect();
    Some((method, decoded(&target), headers, String::from_utf8(body).unwrap()))
}

fn decoded(target: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = target.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap().to_owned();
                out.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}
