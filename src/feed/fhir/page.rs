//! A page: what a search found, and what lies beside it (FHIR R4 and R5, section 3.2.1.3).
//!
//! Promises: every entry of a page is handed on or said to be wrong, each for itself; what was taken
//! already, byte for byte, is left out.
//! Knows nothing of: where a page came from, and what a resource says.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cursor::Window;
use super::round::Stamped;
use super::stated::Form;
use crate::normalize::fhir::around::literal;
use crate::parse::fhir::bundle::{Bundle, BundleKind, Entry};
use crate::parse::fhir::node::is_id;
use crate::parse::fhir::xml::{Transcript, transcribe, transcribe_each};
use crate::parse::fhir::{Malformed, Version, Wrong};
use crate::phi::Phi;

/// Why a resource is on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is what was asked for.
    Found,
    /// It is beside: the subject of one that was.
    Beside,
    /// It was removed: there is no content, but for its type and ID.
    Removed,
}

/// One entry of a page that is to be taken.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Why it is there.
    pub mode: Mode,
    /// The resource, in JSON as it stood in the page; of one that was removed, `Type/id`.
    pub bytes: Phi<Bytes>,
    /// When it changed, where it says so.
    pub stamp: Option<Timestamp>,
    /// What it is remembered by.
    pub content: [u8; 16],
    /// What its entry calls it, where it came in one.
    pub full_url: Option<Box<str>>,
    /// What does not belong into it, where something does not. What of it is there names it and says when it
    /// changed, and is not taken.
    pub wrong: Option<Malformed>,
}

/// A page as it is taken.
#[derive(Debug)]
pub struct Page {
    /// What is to be taken, in the order of the page, the subjects before what is said of them.
    pub listed: Vec<Listed>,
    /// Entries that cannot be read.
    pub wrong: Vec<Unlisted>,
    /// Entries that were taken already and are left out.
    pub known: usize,
    /// What it says of time.
    pub stamped: Stamped,
    /// Where the next one is, as it is written.
    pub next: Option<String>,
}

/// An entry that cannot be read.
#[derive(Debug)]
pub struct Unlisted {
    /// Why, and at which place.
    pub wrong: Malformed,
    /// `Type/id`, where its `fullUrl` says so.
    pub name: Option<String>,
}

/// The type of what a server says of a request.
const OUTCOME: &str = "OperationOutcome";

/// What tells one version of a resource from others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Face<'b> {
    #[serde(borrow, default)]
    resource_type: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    meta: Option<Meta<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'b> {
    #[serde(borrow, default)]
    last_updated: Option<Cow<'b, str>>,
}

/// What names a resource, whatever else is wrong with it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names<'b> {
    #[serde(borrow, default)]
    resource_type: Option<&'b RawValue>,
    #[serde(borrow, default)]
    id: Option<&'b RawValue>,
}

/// Whether a text may be a resource type's.
fn is_type(text: &str) -> bool {
    literal(&format!("{text}/1")).is_some()
}

impl Listed {
    /// One that came by itself.
    #[must_use]
    pub fn one(bytes: Bytes) -> Self {
        Self::of(Mode::Found, bytes)
    }

    fn of(mode: Mode, bytes: Bytes) -> Self {
        let face: Option<Face<'_>> = serde_json::from_slice(&bytes).ok();
        let updated = face.and_then(|face| face.meta).and_then(|meta| meta.last_updated);
        let stamp = updated.as_deref().and_then(time);
        let content = content(&[&bytes]);
        Self { mode, bytes: Phi::new(bytes), stamp, content, full_url: None, wrong: None }
    }

    /// It, as one that something does not belong into.
    fn without(self, wrong: Malformed) -> Self {
        // Another than what is left of it, should that come by itself. Where it stands may change.
        let content = content(&[self.bytes.expose(), wrong.wrong.to_string().as_bytes()]);
        Self { content, wrong: Some(wrong), ..self }
    }

    /// Type and ID of one that cannot be read, by itself or by its `fullUrl`, as far as they can; `?` for what
    /// cannot.
    #[must_use]
    pub fn named(&self) -> (String, String) {
        let names: Names<'_> = serde_json::from_slice(self.bytes.expose()).unwrap_or_default();
        let text = |raw: Option<&RawValue>| serde_json::from_str::<String>(raw?.get()).ok();
        let kind = text(names.resource_type).filter(|kind| is_type(kind));
        let id = text(names.id).filter(|id| is_id(id));
        let by_url = self.full_url.as_deref().and_then(name_in);
        let called = by_url.filter(|(called, _)| kind.as_ref().is_none_or(|kind| kind == called));
        let or_called = |own: Option<String>, called: Option<&str>| {
            own.unwrap_or_else(|| called.unwrap_or("?").to_owned())
        };
        (or_called(kind, called.map(|it| it.0)), or_called(id, called.map(|it| it.1)))
    }

    /// What stands before type and ID in its `fullUrl`: the server that it is of, where that says so.
    #[must_use]
    pub fn root(&self) -> Option<&str> {
        let url = self.full_url.as_deref().filter(|url| url.contains("://"))?;
        let (kind, id) = literal(url)?;
        let plain = url.split_once("/_history/").map_or(url, |(plain, _)| plain);
        plain.strip_suffix(id)?.strip_suffix('/')?.strip_suffix(kind)?.strip_suffix('/')
    }

    /// One that was removed, by its `Type/id`.
    #[must_use]
    pub fn removed(name: String, stamp: Option<Timestamp>) -> Self {
        let bytes = Bytes::from(name);
        // Other bytes than those of any resource.
        let content = content(&[&bytes]);
        Self {
            mode: Mode::Removed,
            bytes: Phi::new(bytes),
            stamp,
            content,
            full_url: None,
            wrong: None,
        }
    }
}

impl Page {
    /// Reads a page of a search for a resource type, and what its entries have that does not belong there, by
    /// number. `date` is the server's clock as its answer says it; of the window, what is known is left out.
    ///
    /// # Errors
    /// It is no page.
    pub fn read(
        (body, wrong): (&Bytes, Vec<(usize, Malformed)>),
        bytes_max: usize,
        date: Option<Timestamp>,
        (kind, window): (&str, &Window),
    ) -> Result<Self, Malformed> {
        let mut bundle = Bundle::parse(body, bytes_max)?;
        bundle.note(wrong);
        if !matches!(bundle.kind, Some(BundleKind::Searchset | BundleKind::History)) {
            let place = Some("Bundle.type".into());
            return Err(Malformed { wrong: Wrong::Shape, line: 1, column: 1, place });
        }
        let made = bundle.last_updated.as_deref().and_then(time);
        // The earlier of both: whichever clock is ahead, nothing is passed over.
        let clock = match (date, made) {
            (Some(date), Some(made)) => Some(date.min(made)),
            (one, other) => one.or(other),
        };
        let next = bundle.link("next").map(str::to_owned);
        let (mut beside, mut found, mut wrong, mut known) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut stamps = Vec::with_capacity(bundle.entries.len());
        for entry in bundle.entries {
            let listed = match listed(entry, body, kind) {
                Ok(Some(listed)) => listed,
                Ok(None) => continue,
                Err(malformed) => {
                    wrong.push(malformed);
                    continue;
                }
            };
            if listed.mode != Mode::Beside {
                stamps.push(listed.stamp);
                if listed.stamp.is_some_and(|stamp| window.knows(stamp, &listed.content)) {
                    known += 1;
                    continue;
                }
            }
            if listed.mode == Mode::Beside { &mut beside } else { &mut found }.push(listed);
        }
        // Nothing is new that subjects would be wanted for.
        if found.is_empty() {
            beside.clear();
        }
        beside.append(&mut found);
        let stamped = Stamped::of(clock, stamps.into_iter());
        Ok(Self { listed: beside, wrong, known, stamped, next })
    }
}

/// An answer as FHIR JSON; a server may have nothing but XML.
///
/// # Errors
/// It is no FHIR XML, or too long.
pub(super) fn in_json(
    body: &Bytes,
    form: Option<Form>,
    (bytes_max, version): (usize, Version),
) -> Result<Bytes, Malformed> {
    match form {
        Some(Form::Xml) => transcribe(body, bytes_max, version).map(Bytes::from),
        Some(Form::Json) | None => Ok(body.clone()),
    }
}

/// A page as FHIR JSON, as [`in_json`]; and what its entries have that does not belong there, by number.
///
/// # Errors
/// It is no FHIR XML, or too long.
pub(super) fn page_in_json(
    body: &Bytes,
    form: Option<Form>,
    (bytes_max, version): (usize, Version),
) -> Result<(Bytes, Vec<(usize, Malformed)>), Malformed> {
    match form {
        Some(Form::Xml) => {
            let Transcript { json, wrong } = transcribe_each(body, bytes_max, version)?;
            Ok((json.into(), wrong))
        }
        Some(Form::Json) | None => Ok((body.clone(), Vec::new())),
    }
}

/// What an entry of a search for a type holds; nothing where it is about the search.
fn listed(mut entry: Entry<'_>, body: &Bytes, kind: &str) -> Result<Option<Listed>, Unlisted> {
    let wrong = entry.wrong.take();
    if wrong.is_none() && is_removal(&entry) {
        return Ok(removed(&entry));
    }
    let mode = match entry.search_mode.as_deref() {
        // What the server says of the search itself: an OperationOutcome.
        Some("outcome") => return Ok(None),
        Some("include") => Mode::Beside,
        // Many servers say no mode. A search finds one type, and what is of another came along.
        None if entry.resource.and_then(kind_of).is_some_and(|own| own != kind) => Mode::Beside,
        Some(_) | None => Mode::Found,
    };
    let Some(resource) = entry.resource else {
        let named = entry.full_url.as_deref().and_then(name_in);
        let name = named.map(|(kind, id)| format!("{kind}/{id}"));
        return wrong.map_or(Ok(None), |wrong| Err(Unlisted { wrong, name }));
    };
    if is_outcome(resource) {
        return Ok(None);
    }
    let full_url = entry.full_url.as_deref().map(Box::from);
    let listed = Listed { full_url, ..Listed::of(mode, body.slice_ref(resource.as_bytes())) };
    Ok(Some(match wrong {
        Some(wrong) => listed.without(wrong),
        None => listed,
    }))
}

/// Whether a resource is what the server says of the search, though its entry does not say so: many
/// servers give no `search.mode`, and nobody asks for an OperationOutcome.
fn is_outcome(resource: &str) -> bool {
    resource.contains(OUTCOME) && kind_of(resource).is_some_and(|kind| kind == OUTCOME)
}

/// The type of a resource, as far as it can be read.
fn kind_of(resource: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Face<'_>>(resource).ok()?.resource_type
}

/// Whether an entry says that its resource was removed.
#[must_use]
pub fn is_removal(entry: &Entry<'_>) -> bool {
    entry.request.as_ref().is_some_and(|it| it.method.as_deref() == Some("DELETE"))
}

/// What an entry says was removed, where it names it.
#[must_use]
pub fn removed(entry: &Entry<'_>) -> Option<Listed> {
    let url = entry.request.as_ref().and_then(|request| request.url.as_deref());
    let (kind, id) = url.or(entry.full_url.as_deref()).and_then(name_in)?;
    let stamp = entry.response.as_ref().and_then(|it| it.last_modified.as_deref()).and_then(time);
    Some(Listed::removed(format!("{kind}/{id}"), stamp))
}

/// Type and ID at the end of an address, without a version.
#[must_use]
pub fn name_in(url: &str) -> Option<(&str, &str)> {
    literal(url.split(['?', '#']).next()?.trim_end_matches('/'))
}

/// An `instant`, which names an offset.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn content(parts: &[&[u8]]) -> [u8; 16] {
    let mut sum = Context::new(&SHA256);
    parts.iter().for_each(|part| sum.update(part));
    let sum = sum.finish();
    let mut content = [0; 16];
    content.iter_mut().zip(sum.as_ref()).for_each(|(to, from)| *to = *from);
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, window: &Window) -> Result<Page, Malformed> {
        let date = "2026-11-22T08:00:10Z".parse().ok();
        let body = Bytes::copy_from_slice(json.as_bytes());
        Page::read((&body, Vec::new()), 1 << 20, date, ("Observation", window))
    }

    const PAGE: &str = r#"{ "resourceType": "Bundle", "type": "searchset",
      "meta": { "lastUpdated": "2026-11-22T09:00:05+01:00" },
      "link": [ { "relation": "self", "url": "http://h/Observation" },
                { "relation": "next", "url": "http://h/?_page=2" } ],
      "entry": [
        { "search": { "mode": "match" }, "resource": { "resourceType": "Observation", "id": "ZZ1",
          "meta": { "versionId": "1", "lastUpdated": "2026-11-22T07:00:00.5Z" } } },
        { "search": { "mode": "include" }, "resource": { "resourceType": "Patient", "id": "ZZP",
          "meta": { "lastUpdated": "2020-01-01T00:00:00Z" } } },
        { "search": { "mode": "outcome" }, "resource": { "resourceType": "OperationOutcome" } },
        { "fullUrl": "http://h/Observation/ZZ9", "resource": "ZZ" },
        { "resource": { "resourceType": "Observation", "id": "ZZ2",
          "meta": { "lastUpdated": "2026-11-22T07:00:01Z" } } },
        { "request": { "method": "DELETE", "url": "Observation/ZZ3/_history/2" },
          "response": { "status": "204", "lastModified": "2026-11-22T07:00:02Z" } }
      ] }"#;

    fn shown(page: &Page) -> Vec<String> {
        let text = |it: &Listed| String::from_utf8_lossy(it.bytes.expose()).into_owned();
        let id = |text: &str| {
            text.split("\"ZZ").nth(1).map_or(text.to_owned(), |it| it.chars().take(1).collect())
        };
        page.listed.iter().map(|it| format!("{:?} {}", it.mode, id(&text(it)))).collect()
    }

    #[test]
    fn a_page_lists_subjects_first_then_what_was_found_then_what_is_wrong() {
        let page = read(PAGE, &Window::default()).unwrap();
        assert_eq!(shown(&page), ["Beside P", "Found 1", "Found 2", "Removed Observation/ZZ3"]);
        assert_eq!(page.wrong.len(), 1);
        let wrong = &page.wrong[0];
        assert_eq!(wrong.wrong.place.as_deref(), Some("Bundle.entry[3].resource"));
        assert_eq!(wrong.name.as_deref(), Some("Observation/ZZ9"));
        assert_eq!(page.next.as_deref(), Some("http://h/?_page=2"));
        let stamped = page.stamped;
        assert_eq!(stamped.clock, "2026-11-22T08:00:05Z".parse().ok(), "the earlier clock");
        assert_eq!(stamped.newest, "2026-11-22T07:00:02Z".parse().ok(), "what is beside is not");
        assert!(stamped.sorted && !stamped.dateless);
    }

    #[test]
    fn what_was_taken_byte_for_byte_is_left_out_and_its_time_still_counts() {
        let mut window = Window::default();
        for listed in read(PAGE, &window).unwrap().listed {
            if let Some(stamp) = listed.stamp {
                window.add(stamp, listed.content);
            }
        }
        let again = read(PAGE, &window).unwrap();
        assert_eq!((shown(&again).len(), again.known), (0, 3));
        assert_eq!(again.stamped.newest, "2026-11-22T07:00:02Z".parse().ok());
        let changed = PAGE.replace("\"versionId\": \"1\"", "\"versionId\": \"2\"");
        let changed = read(&changed, &window).unwrap();
        assert_eq!(shown(&changed), ["Beside P", "Found 1"]);
    }

    /// PROMISE-11
    #[test]
    fn an_entry_in_xml_that_something_does_not_belong_into_is_listed_as_wrong() {
        let page = |inside: &str| {
            let entry = |id: &str, more: &str| {
                format!(
                    "<entry><resource><Patient><id value=\"ZZ{id}\"/><meta><lastUpdated \
                     value=\"2026-11-22T07:00:00Z\"/></meta>{more}</Patient></resource></entry>"
                )
            };
            format!(
                "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"searchset\"/>{}{}{}</Bundle>",
                entry("1", ""),
                entry("2", inside),
                "<entry><resource><patient/></resource></entry>"
            )
        };
        let read = |inside: &str, window: &Window| {
            let body = Bytes::from(page(inside));
            let bounds = (1 << 20, Version::R4);
            let (json, wrong) = page_in_json(&body, Some(Form::Xml), bounds).unwrap();
            Page::read((&json, wrong), 1 << 20, None, ("Patient", window)).unwrap()
        };
        let mut window = Window::default();
        let first = read("<name>ZZQUILLON</name>", &window);
        assert_eq!(shown(&first), ["Found 1", "Found 2"]);
        let wrong = first.listed[1].wrong.as_ref().unwrap();
        assert_eq!(wrong.place.as_deref(), Some("Bundle.entry[1].resource.name"));
        assert_eq!(wrong.wrong.to_string(), "text stands beside elements");
        assert!(first.listed[0].wrong.is_none() && first.listed[1].stamp.is_some());
        let [unlisted] = &first.wrong[..] else { panic!("what has no resource has none") };
        assert_eq!(unlisted.wrong.place.as_deref(), Some("Bundle.entry[2].resource"));
        for one in &first.listed {
            window.add(one.stamp.unwrap(), one.content);
        }
        assert_eq!(read("<name>ZZQUILLON</name>", &window).known, 2, "it is told once");
        // What is left of it came by itself: it is mended.
        assert_eq!(shown(&read("<name/>", &window)), ["Found 2"]);
    }

    #[test]
    fn a_page_is_a_searchset_or_a_history() {
        for (json, place) in [
            (r#"{"resourceType":"Bundle","type":"collection"}"#, Some("Bundle.type")),
            (r#"{"resourceType":"Bundle"}"#, Some("Bundle.type")),
            (r#"{"resourceType":"Patient"}"#, None),
            ("[]", None),
            (r#"{"resourceType":"Bundle","type":"searchset","entry":["#, None),
        ] {
            let wrong = read(json, &Window::default()).map(|_| ()).unwrap_err();
            assert_eq!(wrong.place.as_deref(), place, "{json}");
        }
        let empty = r#"{"resourceType":"Bundle","type":"searchset","total":0}"#;
        assert!(read(empty, &Window::default()).unwrap().listed.is_empty());
    }

    #[test]
    fn what_a_server_says_of_the_search_is_no_resource_whatever_its_entry_says() {
        let page = |search: &str| {
            let json = format!(
                r#"{{"resourceType":"Bundle","type":"searchset","entry":[
                {{{search}"resource":{{"resourceType":"OperationOutcome","id":"ZZ1","issue":[]}}}},
                {{{search}"resource":{{"resourceType":"Observation","id":"ZZ2","note":[{{"text":"OperationOutcome"}}]}}}}]}}"#
            );
            shown(&read(&json, &Window::default()).unwrap())
        };
        assert_eq!(page(""), ["Found 2"]);
        assert_eq!(page(r#""search":{"mode":"match"},"#), ["Found 2"]);
        assert_eq!(page(r#""search":{"score":1},"#), ["Found 2"]);
    }

    #[test]
    fn without_a_mode_what_is_of_another_type_came_along() {
        let page = |search: &str| {
            let json = format!(
                r#"{{"resourceType":"Bundle","type":"searchset","entry":[
                {{{search}"resource":{{"resourceType":"Observation","id":"ZZ1","meta":{{"lastUpdated":"2026-11-22T07:00:00Z"}}}}}},
                {{{search}"resource":{{"resourceType":"Patient","id":"ZZ2","meta":{{"lastUpdated":"2020-11-22T07:00:00Z"}}}}}},
                {{{search}"resource":{{"id":"ZZ3"}}}}]}}"#
            );
            let page = read(&json, &Window::default()).unwrap();
            (shown(&page), page.stamped.sorted)
        };
        let told = (["Beside 2", "Found 1", "Found 3"].map(str::to_owned).to_vec(), true);
        assert_eq!(page(""), told);
        assert_eq!(page(r#""search":{"score":1},"#), told);
        let all = (["Found 1", "Found 2", "Found 3"].map(str::to_owned).to_vec(), false);
        assert_eq!(page(r#""search":{"mode":"match"},"#), all, "what it says counts");
    }

    #[test]
    fn what_cannot_be_read_is_named_by_itself_or_by_its_full_url() {
        let named = |url: Option<&str>, json: &'static str| {
            let listed = Listed::one(Bytes::from_static(json.as_bytes()));
            let (kind, id) = Listed { full_url: url.map(Box::from), ..listed }.named();
            format!("{kind}/{id}")
        };
        let url = Some("https://h/fhir/Patient/ZZ9");
        for (url, json, wanted) in [
            (None, r#"{"resourceType":"Patient","id":"ZZ1","x":1,"x":2}"#, "Patient/ZZ1"),
            (url, r#"{"resourceType":"Patient","id":"ZZ1","x":1,"x":2}"#, "Patient/ZZ1"),
            (url, r#"{"resourceType":"Patient","id":1}"#, "Patient/ZZ9"),
            (url, r#"{"resourceType":"Patient","id":"ZZ QUILLON"}"#, "Patient/ZZ9"),
            (url, r#"{"resourceType":"Patient","id":"a","id":"b"}"#, "Patient/ZZ9"),
            (url, r#"{"id":"ZZ1"}"#, "Patient/ZZ1"),
            (url, r#"{"resourceType":"Group"}"#, "Group/?"),
            (Some("urn:uuid:ZZ"), r#"{"resourceType":"ZZ QUILLON"}"#, "?/?"),
            (None, "[]", "?/?"),
        ] {
            assert_eq!(named(url, json), wanted, "{json}");
        }
    }

    #[test]
    fn what_was_removed_is_named_by_type_and_id() {
        for (url, wanted) in [
            ("Patient/ZZ1", Some("Patient/ZZ1")),
            ("Patient/ZZ1/_history/3", Some("Patient/ZZ1")),
            ("https://ehr.example/fhir/Patient/ZZ1", Some("Patient/ZZ1")),
            ("Patient?identifier=ZZ", None),
            ("ZZ1", None),
            ("Patient/Z Z", None),
            ("", None),
        ] {
            let found = name_in(url).map(|(kind, id)| format!("{kind}/{id}"));
            assert_eq!(found.as_deref(), wanted, "{url}");
        }
    }
}
