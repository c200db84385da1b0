//! A page: what a search found, and what lies beside it (FHIR R4 and R5, section 3.2.1.3).
//!
//! Promises: every entry of a page is handed on or said to be wrong, each for itself; what was taken
//! already, byte for byte, is left out.
//! Knows nothing of: where a page came from, and what a resource says.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::cursor::Window;
use super::round::Stamped;
use super::stated::Form;
use crate::normalize::fhir::around::literal;
use crate::parse::fhir::bundle::{Bundle, BundleKind, Entry};
use crate::parse::fhir::xml::transcribe;
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
}

/// A page as it is taken.
#[derive(Debug)]
pub struct Page {
    /// What is to be taken, in the order of the page, the subjects before what is said of them.
    pub listed: Vec<Listed>,
    /// Entries that cannot be read, with their places.
    pub wrong: Vec<Malformed>,
    /// Entries that were taken already and are left out.
    pub known: usize,
    /// What it says of time.
    pub stamped: Stamped,
    /// Where the next one is, as it is written.
    pub next: Option<String>,
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
        let content = content(&bytes);
        Self { mode, bytes: Phi::new(bytes), stamp, content }
    }

    /// One that was removed, by its `Type/id`.
    #[must_use]
    pub fn removed(name: String, stamp: Option<Timestamp>) -> Self {
        let bytes = Bytes::from(name);
        // Other bytes than those of any resource.
        let content = content(&bytes);
        Self { mode: Mode::Removed, bytes: Phi::new(bytes), stamp, content }
    }
}

impl Page {
    /// Reads a page. `date` is the server's clock as its answer says it; of the window, what is known
    /// is left out.
    ///
    /// # Errors
    /// It is no page.
    pub fn read(
        body: &Bytes,
        bytes_max: usize,
        date: Option<Timestamp>,
        window: &Window,
    ) -> Result<Self, Malformed> {
        let bundle = Bundle::parse(body, bytes_max)?;
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
            let listed = match listed(entry, body) {
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

/// What an entry holds; nothing where it is about the search.
fn listed(entry: Entry<'_>, body: &Bytes) -> Result<Option<Listed>, Malformed> {
    if let Some(wrong) = entry.wrong {
        return Err(wrong);
    }
    if is_removal(&entry) {
        return Ok(removed(&entry));
    }
    let mode = match entry.search_mode.as_deref() {
        // What the server says of the search itself: an OperationOutcome.
        Some("outcome") => return Ok(None),
        Some("include") => Mode::Beside,
        Some(_) | None => Mode::Found,
    };
    let Some(resource) = entry.resource.filter(|resource| !is_outcome(resource)) else {
        return Ok(None);
    };
    Ok(Some(Listed::of(mode, body.slice_ref(resource.as_bytes()))))
}

/// Whether a resource is what the server says of the search, though its entry does not say so: many
/// servers give no `search.mode`, and nobody asks for an OperationOutcome.
fn is_outcome(resource: &str) -> bool {
    resource.contains(OUTCOME)
        && serde_json::from_str::<Face<'_>>(resource)
            .is_ok_and(|face| face.resource_type.as_deref() == Some(OUTCOME))
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

fn content(bytes: &Bytes) -> [u8; 16] {
    let sum = digest(&SHA256, bytes);
    let mut content = [0; 16];
    content.iter_mut().zip(sum.as_ref()).for_each(|(to, from)| *to = *from);
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, window: &Window) -> Result<Page, Malformed> {
        let date = "2026-11-22T08:00:10Z".parse().ok();
        Page::read(&Bytes::copy_from_slice(json.as_bytes()), 1 << 20, date, window)
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
        { "resource": "ZZ" },
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
        assert_eq!(page.wrong[0].place.as_deref(), Some("Bundle.entry[3].resource"));
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
                {{{search}"resource":{{"resourceType":"Patient","id":"ZZ2","name":[{{"text":"OperationOutcome"}}]}}}}]}}"#
            );
            shown(&read(&json, &Window::default()).unwrap())
        };
        assert_eq!(page(""), ["Found 2"]);
        assert_eq!(page(r#""search":{"mode":"match"},"#), ["Found 2"]);
        assert_eq!(page(r#""search":{"score":1},"#), ["Found 2"]);
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
