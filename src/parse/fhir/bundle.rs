//! A Bundle, entry by entry: no tree of all of it, and an entry that is wrong costs itself.
//!
//! Promises: what is held beside the bytes is a list of places in them; an entry's resource is
//! handed out as the bytes that it has; links and entries have bounds.
//! Knows nothing of: which links may be followed, what a resource says.

use std::borrow::Cow;

use super::read::{
    Items, Members, Sort, malformed, not_well_formed, offset, sort, text_of, unescape,
};
use super::{Malformed, Wrong};

/// Most entries of a Bundle. A page holds what was asked for, mostly 500, and what it includes.
pub const ENTRIES_MAX: usize = 10_000;
/// Most links of a Bundle; a searchset has at most five.
pub const LINKS_MAX: usize = 64;
/// Longest URL of a link or an entry, in bytes: what servers take at most.
pub const URL_BYTES_MAX: usize = 8192;

/// What a Bundle is for (FHIR R5, value set bundle-type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// A document, whose first entry is its Composition.
    Document,
    /// A message, whose first entry is its MessageHeader.
    Message,
    /// Requests that go together.
    Transaction,
    /// Their responses.
    TransactionResponse,
    /// Requests, each for itself.
    Batch,
    /// Their responses.
    BatchResponse,
    /// Versions of resources.
    History,
    /// What a search found.
    Searchset,
    /// Some resources.
    Collection,
    /// A notification of a topic subscription (R5).
    SubscriptionNotification,
}

impl BundleKind {
    fn of(code: &str) -> Option<Self> {
        Some(match code {
            "document" => Self::Document,
            "message" => Self::Message,
            "transaction" => Self::Transaction,
            "transaction-response" => Self::TransactionResponse,
            "batch" => Self::Batch,
            "batch-response" => Self::BatchResponse,
            "history" => Self::History,
            "searchset" => Self::Searchset,
            "collection" => Self::Collection,
            "subscription-notification" => Self::SubscriptionNotification,
            _ => return None,
        })
    }
}

/// A Bundle, which borrows from its bytes.
pub struct Bundle<'b> {
    /// What it is for; nothing where it does not say so, or in another word.
    pub kind: Option<BundleKind>,
    /// Its ID.
    pub id: Option<Cow<'b, str>>,
    /// `meta.lastUpdated`, as it is written.
    pub last_updated: Option<Cow<'b, str>>,
    /// `timestamp`, as it is written.
    pub timestamp: Option<Cow<'b, str>>,
    /// How many resources the search found, on all pages.
    pub total: Option<u64>,
    /// Its links, in their order.
    pub links: Vec<Link<'b>>,
    /// Its entries, in their order.
    pub entries: Vec<Entry<'b>>,
}

/// A link, such as that to the next page.
pub struct Link<'b> {
    /// `self`, `next`, …
    pub relation: Cow<'b, str>,
    /// Where to, as it is written.
    pub url: Cow<'b, str>,
}

/// An entry, as far as it is readable.
#[derive(Default)]
pub struct Entry<'b> {
    /// `fullUrl`.
    pub full_url: Option<Cow<'b, str>>,
    /// `search.mode`: `match`, `include` or `outcome`.
    pub search_mode: Option<Cow<'b, str>>,
    /// What was or is to be done with it.
    pub request: Option<Request<'b>>,
    /// What came of that.
    pub response: Option<Response<'b>>,
    /// The resource as it stands in the Bundle. It is JSON; whether it is a resource,
    /// [`Resource::parse`](super::Resource::parse) says.
    pub resource: Option<&'b str>,
    /// Why it, or a part of it, could not be read. Then what there is of its resource is only good to name
    /// it by.
    pub wrong: Option<Malformed>,
}

/// `entry.request`.
#[derive(Default)]
pub struct Request<'b> {
    /// `GET`, `PUT`, `DELETE`, …
    pub method: Option<Cow<'b, str>>,
    /// `Patient/12`, …
    pub url: Option<Cow<'b, str>>,
}

/// `entry.response`.
#[derive(Default)]
pub struct Response<'b> {
    /// An HTTP status, maybe with words: `410 Gone`.
    pub status: Option<Cow<'b, str>>,
    /// Where the resource is, with its version: `Patient/12/_history/3`.
    pub location: Option<Cow<'b, str>>,
    /// The version: `W/"3"`.
    pub etag: Option<Cow<'b, str>>,
    /// When it changed, as it is written.
    pub last_modified: Option<Cow<'b, str>>,
}

impl<'b> Bundle<'b> {
    /// Reads a Bundle.
    ///
    /// # Errors
    /// It is longer than `bytes_max`, not UTF-8, not JSON, no Bundle, has an element twice, too many
    /// entries or links, or a `link` or `entry` that is no list. What is wrong within an entry
    /// is said there.
    pub fn parse(bytes: &'b [u8], bytes_max: usize) -> Result<Self, Malformed> {
        let text = text_of(bytes, bytes_max)?;
        let raw = text.trim_ascii();
        let at =
            |raw, wrong, place: &str| malformed(text, offset(text, raw), wrong, Some(place.into()));
        if sort(raw) != Sort::Object {
            let any: Result<serde::de::IgnoredAny, _> = serde_json::from_str(raw);
            any.map_err(|error| not_well_formed(text, raw, &error))?;
            return Err(malformed(text, offset(text, raw), Wrong::NotAnObject, None));
        }
        let members = Members::read(text, raw)?;
        match text_member(&members, "resourceType") {
            Some(kind) if kind == "Bundle" => {}
            Some(_) => return Err(malformed(text, offset(text, raw), Wrong::NotABundle, None)),
            None => return Err(malformed(text, offset(text, raw), Wrong::NoKind, None)),
        }
        let list = |name: &str, place: &str| match members.get(name) {
            None => Ok(Vec::new()),
            Some(raw) if sort(raw) == Sort::List => {
                serde_json::from_str::<Items<'b, ENTRIES_MAX>>(raw)
                    .map(|items| items.0)
                    .map_err(|error| not_well_formed(text, raw, &error))
            }
            Some(raw) => Err(at(raw, Wrong::Shape, place)),
        };
        let links = list("link", "Bundle.link")?;
        if links.len() > LINKS_MAX {
            return Err(at(raw, Wrong::TooMany, "Bundle.link"));
        }
        let entries = list("entry", "Bundle.entry")?;
        if entries.len() > ENTRIES_MAX {
            return Err(at(raw, Wrong::TooManyEntries, "Bundle.entry"));
        }
        let link = |(number, raw): (usize, &'b str)| {
            link(text, raw).map_err(|wrong| at(raw, wrong, &format!("Bundle.link[{number}]")))
        };
        let meta = object_member(text, &members, "meta");
        Ok(Self {
            kind: text_member(&members, "type").and_then(|code| BundleKind::of(&code)),
            id: text_member(&members, "id"),
            last_updated: meta.and_then(|meta| text_member(&meta, "lastUpdated")),
            timestamp: text_member(&members, "timestamp"),
            total: members.get("total").and_then(|raw| raw.parse().ok()),
            links: links.into_iter().enumerate().map(link).collect::<Result<_, _>>()?,
            entries: entries
                .into_iter()
                .enumerate()
                .map(|(number, raw)| entry(text, raw, number))
                .collect(),
        })
    }

    /// Notes what was wrong with entries, by number, in the form that the Bundle came in.
    pub fn note(&mut self, wrong: impl IntoIterator<Item = (usize, Malformed)>) {
        for (number, malformed) in wrong {
            // One that says nothing else may be left out at the end.
            let least = (number + 1).min(ENTRIES_MAX).max(self.entries.len());
            self.entries.resize_with(least, Entry::default);
            if let Some(entry) = self.entries.get_mut(number) {
                entry.wrong = Some(malformed);
            }
        }
    }

    /// The URL of the first link of a relation.
    #[must_use]
    pub fn link(&self, relation: &str) -> Option<&str> {
        self.links.iter().find(|link| link.relation == relation).map(|link| link.url.as_ref())
    }
}

/// The text of a member that is one, within the bound of a URL.
fn text_member<'b>(members: &Members<'b>, name: &str) -> Option<Cow<'b, str>> {
    let raw = members.get(name).filter(|raw| sort(raw) == Sort::Text)?;
    unescape(raw).filter(|text| text.len() <= URL_BYTES_MAX)
}

/// The members of a member that is an object.
fn object_member<'b>(text: &'b str, members: &Members<'b>, name: &str) -> Option<Members<'b>> {
    let raw = members.get(name).filter(|raw| sort(raw) == Sort::Object)?;
    Members::read(text, raw).ok()
}

fn link<'b>(text: &'b str, raw: &'b str) -> Result<Link<'b>, Wrong> {
    if sort(raw) != Sort::Object {
        return Err(Wrong::Shape);
    }
    let members = Members::read(text, raw).map_err(|malformed| malformed.wrong)?;
    let relation = text_member(&members, "relation").ok_or(Wrong::Shape)?;
    let url = text_member(&members, "url").ok_or(Wrong::Shape)?;
    Ok(Link { relation, url })
}

fn entry<'b>(text: &'b str, raw: &'b str, number: usize) -> Entry<'b> {
    // What names one that is wrong, as far as it can be read.
    let full_url = || text_member(&serde_json::from_str(raw).ok()?, "fullUrl");
    let wrong = |mut malformed: Malformed| {
        let place = match malformed.place {
            Some(rest) => format!("Bundle.entry[{number}].{rest}"),
            None => format!("Bundle.entry[{number}]"),
        };
        malformed.place = Some(place.into());
        Entry { wrong: Some(malformed), full_url: full_url(), ..Entry::default() }
    };
    if sort(raw) != Sort::Object {
        return wrong(malformed(text, offset(text, raw), Wrong::Shape, None));
    }
    let members = match Members::read(text, raw) {
        Ok(members) => members,
        Err(malformed) => return wrong(malformed),
    };
    // A part that has another shape is not read, and named.
    for (name, wanted) in [
        ("fullUrl", Sort::Text),
        ("search", Sort::Object),
        ("request", Sort::Object),
        ("response", Sort::Object),
        ("resource", Sort::Object),
    ] {
        if let Some(raw) = members.get(name).filter(|raw| sort(raw) != wanted) {
            return wrong(malformed(text, offset(text, raw), Wrong::Shape, Some(name.into())));
        }
    }
    let part = |name| object_member(text, &members, name);
    Entry {
        full_url: text_member(&members, "fullUrl"),
        search_mode: part("search").and_then(|search| text_member(&search, "mode")),
        request: part("request").map(|request| Request {
            method: text_member(&request, "method"),
            url: text_member(&request, "url"),
        }),
        response: part("response").map(|response| Response {
            status: text_member(&response, "status"),
            location: text_member(&response, "location"),
            etag: text_member(&response, "etag"),
            last_modified: text_member(&response, "lastModified"),
        }),
        resource: members.get("resource"),
        wrong: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::fhir::Resource;

    const PAGE: &str = r#"{"resourceType":"Bundle","type":"searchset","total":3,"id":"page-1",
        "meta":{"lastUpdated":"2026-01-01T00:00:00Z"},
        "link":[{"relation":"self","url":"http://a/x"},{"relation":"next","url":"http:\/\/a\/y"}],
        "entry":[
          {"fullUrl":"http://a/Patient/1","resource":{"resourceType":"Patient","id":"1"},"search":{"mode":"match"}},
          {"fullUrl":"http://a/Patient/9","resource":"ZZ"},
          7,
          {"resource":{"id":"2"},"resource":{}},
          {"request":{"method":"DELETE","url":"Patient/9"},"response":{"status":"204","etag":"W/\"3\"","lastModified":"2026"}},
          {"resource":{"resourceType":"Patient","id":"1","id":"2"}}]}"#;

    #[test]
    fn a_page_is_read_and_an_entry_that_is_wrong_costs_itself() {
        let page = Bundle::parse(PAGE.as_bytes(), 1 << 20).unwrap();
        assert_eq!((page.kind, page.total), (Some(BundleKind::Searchset), Some(3)));
        assert_eq!(
            (page.id.as_deref(), page.last_updated.as_deref()),
            (Some("page-1"), Some("2026-01-01T00:00:00Z"))
        );
        assert_eq!((page.link("next"), page.link("prev")), (Some("http://a/y"), None));
        let [first, text, number, twice, deleted, inner] = &page.entries[..] else { panic!() };
        assert_eq!(first.full_url.as_deref(), Some("http://a/Patient/1"));
        assert_eq!(first.search_mode.as_deref(), Some("match"));
        let resource = first.resource.unwrap();
        assert_eq!(Resource::parse(resource.as_bytes(), 1 << 20).unwrap().id(), Some("1"));
        for (entry, wanted) in [
            (
                text,
                "line 6, column 54, Bundle.entry[1].resource: an element has another shape than FHIR gives it",
            ),
            (
                number,
                "line 7, column 11, Bundle.entry[2]: an element has another shape than FHIR gives it",
            ),
            (
                twice,
                "line 8, column 45, Bundle.entry[3].resource: an object has two elements of one name",
            ),
        ] {
            assert_eq!(entry.wrong.as_ref().unwrap().to_string(), wanted);
            assert!(entry.resource.is_none());
        }
        assert_eq!(text.full_url.as_deref(), Some("http://a/Patient/9"));
        let (request, response) =
            (deleted.request.as_ref().unwrap(), deleted.response.as_ref().unwrap());
        assert_eq!(
            (request.method.as_deref(), request.url.as_deref()),
            (Some("DELETE"), Some("Patient/9"))
        );
        assert_eq!(
            (response.status.as_deref(), response.etag.as_deref()),
            (Some("204"), Some("W/\"3\""))
        );
        assert!(deleted.resource.is_none() && deleted.wrong.is_none());
        let wrong = Resource::parse(inner.resource.unwrap().as_bytes(), 1 << 20).unwrap_err();
        assert_eq!(wrong.wrong, Wrong::Repeated);
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let wrong =
            |text: &str| Bundle::parse(text.as_bytes(), 1 << 20).map(drop).unwrap_err().to_string();
        assert_eq!(wrong("<html>"), "line 1, column 1: it is not well-formed JSON");
        assert_eq!(wrong("[]"), "line 1, column 1: it is not a JSON object");
        assert_eq!(wrong("{}"), "line 1, column 1: it has no resourceType");
        assert_eq!(
            wrong(r#"{"resourceType":"OperationOutcome"}"#),
            "line 1, column 1: it is not a Bundle"
        );
        assert_eq!(
            wrong(r#"{"resourceType":"Bundle","entry":{}}"#),
            "line 1, column 34, Bundle.entry: an element has another shape than FHIR gives it"
        );
        assert_eq!(
            wrong(r#"{"resourceType":"Bundle","link":[{"relation":"next"}]}"#),
            "line 1, column 34, Bundle.link[0]: an element has another shape than FHIR gives it"
        );
        let cut = PAGE.strip_suffix("}}]}").unwrap();
        assert!(wrong(cut).ends_with("it is not well-formed JSON"), "a page cut short is none");
        let many =
            format!(r#"{{"resourceType":"Bundle","entry":[{}{{}}]}}"#, "{},".repeat(ENTRIES_MAX));
        assert_eq!(wrong(&many), "line 1, column 1, Bundle.entry: it has more than 10000 entries");
    }
}
