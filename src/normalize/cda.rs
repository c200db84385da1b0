//! Privacy consents as CDA documents in OBX-5 (IHE BPPC, HL7 consent directives): an event for each
//! policy that such a document acknowledges.
//!
//! Promises: a document that looks like a consent and cannot be read, is about somebody else, or
//! names no policy gives an event all the same, with what is doubtful, so that it closes; one that
//! says more than is read here is marked as such; other documents cost a look at their beginning.
//! Knows nothing of: what a policy permits.
//!
//! Code and no mapping: what stands in OBX-5 is encoded, and a document inside it; rules name fields of
//! segments. Message, patient and visit come by the rules of the message's own mapping, or any.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::event::consent::CONSENT;
use crate::event::{EventType, Key, PartialDate, Tree, View};
use crate::parse::cda::{self, Document, Id, Moment, Service};
use crate::parse::hl7::name::{OBX, TXA};
use crate::parse::hl7::{Composite, Content, Message, Segment, datetime};

use super::group::{CONSENTS_MAX, Group, patient_groups};
use super::mapping::{Mapping, Mappings, Node};
use super::run::{Context, Draft, Run, Strictness, Trace, selector};
use super::segments::Hl7;
use super::{Normalized, Refusal};

/// Longest document that is read, in bytes after decoding. The largest of HL7's examples has 400 KiB.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Most of a document's beginning that is looked at before all of it is decoded, in characters of
/// base64: a declaration, comments and the root element.
const PROBE_CHARS: usize = 1024;

/// What a document that is a privacy consent holds somewhere: BPPC without and with a scanned part,
/// the consent service event, HL7's consent directives, and LOINC's two codes of such documents.
const MARKS: [&str; 6] = [
    "1.3.6.1.4.1.19376.1.5.3.1.1.7",
    "1.3.6.1.4.1.19376.1.5.3.1.1.1",
    SERVICE,
    DIRECTIVES,
    "57016-8",
    "59284-0",
];
/// Templates of a document that is one.
const TEMPLATES: [&str; 4] = [
    "1.3.6.1.4.1.19376.1.5.3.1.1.7",
    "1.3.6.1.4.1.19376.1.5.3.1.1.7.1",
    "1.3.6.1.4.1.19376.1.5.3.1.1.1",
    "2.16.840.1.113883.3.445.1",
];
/// LOINC: privacy policy acknowledgment, consent document.
const CODES: [&str; 2] = ["57016-8", "59284-0"];
/// IHE: a consent to a policy, as a service event.
const SERVICE: &str = "1.3.6.1.4.1.19376.1.5.3.1.2.6";
/// Templates of HL7's consent directives begin so.
const DIRECTIVES: &str = "2.16.840.1.113883.3.445";
/// That a period has no end (HL7 v3 NullFlavor).
const ENDLESS: [&str; 2] = ["PINF", "NA"];

/// A document in an OBX that looks like a consent.
pub(super) struct Found {
    /// The segment.
    at: usize,
    /// Nothing where it cannot be read.
    document: Option<Box<Document>>,
}

/// The privacy consents among the documents of a message.
#[must_use]
pub(super) fn consents(message: &Message<'_>) -> Vec<Found> {
    let segments = message.segments().filter(|it| it.packed_name() == OBX);
    segments.filter_map(|segment| found(message, &segment)).collect()
}

/// Whether a message bears a privacy consent as a document.
#[must_use]
pub fn bears_consent(message: &Message<'_>) -> bool {
    !consents(message).is_empty()
}

fn found(message: &Message<'_>, segment: &Segment<'_>) -> Option<Found> {
    let text = |number: usize| segment.field(number).unwrap_or_default();
    let held = match text(2).trim() {
        "ED" => {
            let raw = message.repetitions(text(5)).next().unwrap_or_default();
            let [_, _, _, encoding, data] = Composite::of_field(raw, message.delimiters()).split();
            decoded(encoding.first(), content(message, data.raw())?)?
        }
        "TX" | "FT" | "ST" if is_xml(text(5).as_bytes()) => {
            Held::Whole(content(message, text(5))?.into_owned().into_bytes())
        }
        _ => return None,
    };
    let (Held::Whole(bytes) | Held::Begun(bytes)) = &held;
    let holds = |mark: &str| memchr::memmem::find(bytes, mark.as_bytes()).is_some();
    if !MARKS.into_iter().any(holds) {
        return None;
    }
    let at = segment.index();
    let document = match &held {
        Held::Whole(bytes) => cda::parse(bytes, DOCUMENT_BYTES_MAX).ok(),
        Held::Begun(_) => None,
    };
    match document {
        Some(document) => {
            is_consent(&document).then(|| Found { at, document: Some(Box::new(document)) })
        }
        None => Some(Found { at, document: None }),
    }
}

fn content<'m>(message: &'m Message<'_>, raw: &'m str) -> Option<Cow<'m, str>> {
    match message.content(raw) {
        Content::Text(text) => Some(text),
        Content::Absent | Content::Null => None,
    }
}

/// The bytes of an XML document.
enum Held {
    Whole(Vec<u8>),
    /// Its beginning: the rest does not decode, or is more than is read.
    Begun(Vec<u8>),
}

/// What is encoded as table 0299 says; nothing where its beginning is not that of XML.
fn decoded(encoding: &str, text: Cow<'_, str>) -> Option<Held> {
    let all = || text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let too_long = text.len() > DOCUMENT_BYTES_MAX * 2;
    let (begins, whole): (Vec<u8>, Option<Vec<u8>>) =
        match encoding.trim().to_ascii_uppercase().as_str() {
            "A" => {
                (text.bytes().take(PROBE_CHARS).collect(), Some(text.clone().into_owned().into()))
            }
            "BASE64" => {
                let probe: Vec<u8> = all().take(PROBE_CHARS).collect();
                let groups = probe.get(..probe.len() / 4 * 4)?;
                let begins = STANDARD.decode(groups).ok()?;
                let read = is_xml(&begins) && !too_long;
                let whole = read.then(|| STANDARD.decode(all().collect::<Vec<u8>>()).ok());
                (begins, whole.flatten())
            }
            "HEX" => {
                let probe: Vec<u8> = all().take(PROBE_CHARS).collect();
                let begins = hexadecimal(&probe)?;
                let read = is_xml(&begins) && !too_long;
                let whole = read.then(|| hexadecimal(&all().collect::<Vec<u8>>()));
                (begins, whole.flatten())
            }
            _ => return None,
        };
    if !is_xml(&begins) {
        return None;
    }
    Some(whole.filter(|_| !too_long).map_or(Held::Begun(begins), Held::Whole))
}

fn hexadecimal(digits: &[u8]) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}

fn is_xml(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.trim_ascii_start().starts_with(b"<")
}

fn is_consent(document: &Document) -> bool {
    let code = document.code.as_ref().and_then(|code| code.code.as_deref());
    document.templates.iter().any(|id| TEMPLATES.contains(&id.root.as_str()))
        || code.is_some_and(|code| CODES.contains(&code))
        || document.services.iter().any(is_policy)
}

fn is_policy(service: &Service) -> bool {
    let known = |id: &Id| id.root == SERVICE || id.root.starts_with(DIRECTIVES);
    service.templates.iter().any(known)
}

/// Adds the events of the documents to what a message gives.
pub(super) fn add(
    mappings: &Mappings,
    message: &Message<'_>,
    context: &Context,
    found: &[Found],
    normalized: &mut Normalized,
) -> Result<(), Refusal> {
    let drafts = drafts(mappings, message, context, found, Strictness::Required)?;
    normalized.drafts.extend(drafts);
    Ok(())
}

/// The events of the documents: one for each policy, `cda1` and on.
pub(super) fn drafts(
    mappings: &Mappings,
    message: &Message<'_>,
    context: &Context,
    found: &[Found],
    strictness: Strictness,
) -> Result<Vec<Draft>, Refusal> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let Some((mapping, parts)) = around(mappings, message) else { return Ok(Vec::new()) };
    let mut run = Run::new(message, context, Trace::Off, strictness);
    let patients = patient_groups(message);
    let mut drafts = Vec::new();
    for Found { at, document } in found {
        let before = |group: &&Group| group.ranges.last().is_some_and(|range| range.start <= *at);
        let patient = patients.iter().rev().find(before).or(patients.first());
        let ranges = patient.map(|group| group.ranges.clone()).unwrap_or_default();
        let mut said = said(message, document.as_deref());
        said.truncate(CONSENTS_MAX + 1);
        for policy in said {
            if drafts.len() >= CONSENTS_MAX {
                return Err(Refusal::TooManyGroups);
            }
            let place = format!("cda{}", drafts.len() + 1);
            let group = Group { place, ranges: ranges.clone(), about: None };
            let event = drafts.len();
            let draft = run.group(mapping, &parts, EventType::ConsentUpdated, group, event)?;
            drafts.push(policy.told(draft, document.as_deref()));
        }
    }
    Ok(drafts)
}

type Parts<'m> = Vec<&'m [(Key, Node<Hl7>)]>;

/// Whose rules read message, patient and visit.
fn around<'m>(
    mappings: &'m Mappings,
    message: &'m Message<'_>,
) -> Option<(&'m Mapping, Parts<'m>)> {
    let (kind, trigger) = selector(message);
    let own = mappings.of(&kind, &trigger, message).next();
    let any = || mappings.files().find(|(_, it, _)| it.event.is_some()).map(|(_, it, _)| &**it);
    let mapping = own.or_else(any)?;
    let part = |part: Key| {
        let at = mapping.fields.iter().position(|(key, _)| *key == part)?;
        mapping.fields.get(at..=at)
    };
    Some((mapping, ["message", "patient", "visit"].into_iter().filter_map(part).collect()))
}

/// One policy that a document acknowledges, or what is wrong with it.
#[derive(Default)]
struct Said {
    tree: Tree,
    doubtful: Vec<&'static str>,
}

fn said(message: &Message<'_>, document: Option<&Document>) -> Vec<Said> {
    let unreadable = || vec![Said { tree: Tree::new(), doubtful: vec!["consent.type"] }];
    let Some(document) = document else { return unreadable() };
    let policies: Vec<&Service> = document.services.iter().filter(|it| is_policy(it)).collect();
    if policies.is_empty() {
        return unreadable();
    }
    policies.into_iter().map(|policy| of_policy(message, document, policy)).collect()
}

fn of_policy(message: &Message<'_>, document: &Document, policy: &Service) -> Said {
    let mut tree = Tree::new();
    let mut doubtful = Vec::new();
    let open = tree.open_object(CONSENT.name);
    let code = policy.code.as_ref();
    let name = code.and_then(|code| Some((code.system.as_deref()?, code.code.as_deref()?)));
    // The versions of a document have a set in common; a document may acknowledge several policies.
    if let Some(id) = document.set_id.as_ref().or(document.id.as_ref()) {
        let part = tree.open_object("identifier");
        tree.text_with("value", |out| {
            out.push_str(id.extension.as_deref().unwrap_or(&id.root));
            if let Some((_, code)) = name {
                out.push(' ');
                out.push_str(code);
            }
        });
        tree.text("authorityId", &id.root);
        tree.close(part);
    }
    if let Some(version) = document.version.as_deref().filter(|_| document.set_id.is_some()) {
        tree.text("version", version);
    }
    match name {
        Some((system, word)) => {
            let part = tree.open_object("type");
            tree.text_with("system", |out| {
                out.push_str("urn:oid:");
                out.push_str(system);
            });
            tree.text("code", word);
            if let Some(display) = code.and_then(|code| code.display.as_deref()) {
                tree.text("display", display);
            }
            tree.close(part);
        }
        None => doubtful.push("consent.type"),
    }
    let ended = is_taken_back(message);
    let part = tree.open_object("status");
    tree.text("code", if ended { "entered-in-error" } else { "active" });
    tree.close(part);
    tree.text("kind", "permission");
    dates(&mut tree, document, policy, &mut doubtful);
    documents(&mut tree, message, document, ended);
    // Sections of a directive, and words, may limit what the policy says; nobody reads them here.
    if !document.statements.is_empty()
        || document.sections.iter().any(|id| id.root.starts_with(DIRECTIVES))
    {
        tree.boolean("partial", true);
    }
    tree.close(open);
    Said { tree, doubtful }
}

/// Dates of one policy. Those of its period decide; when the document was written may be wrong, and
/// is left out then.
fn dates(tree: &mut Tree, document: &Document, policy: &Service, doubtful: &mut Vec<&'static str>) {
    let read = |moment: Option<&Moment>| match moment {
        Some(Moment::At(text)) => Some(datetime::parse(text).ok_or(())),
        Some(Moment::Null(_)) | None => None,
    };
    let write = |tree: &mut Tree, name: &'static str, date: PartialDate| {
        tree.text(name, &date.to_string());
    };
    if let Some(Ok(date)) = read(document.written_at.as_ref()) {
        write(tree, "decidedAt", date);
    }
    let period = &policy.period;
    let (low, high) = (period.low.as_ref(), period.high.as_ref());
    match read(low.or(period.at.as_ref())) {
        Some(Ok(date)) => write(tree, "effectiveFrom", date),
        Some(Err(())) => doubtful.push("consent.effectiveFrom"),
        None => {}
    }
    match (read(high.or(period.at.as_ref())), high) {
        (Some(Ok(date)), _) => write(tree, "effectiveTo", date),
        (Some(Err(())), _) => doubtful.push("consent.effectiveTo"),
        // That the end is not known is not that there is none.
        (None, Some(Moment::Null(why))) if !ENDLESS.contains(&why.as_str()) => {
            doubtful.push("consent.effectiveTo");
        }
        (None, _) => {}
    }
}

/// The document, and the one whose permits end with it: by TXA, else by the document itself.
fn documents(tree: &mut Tree, message: &Message<'_>, document: &Document, ended: bool) {
    let of = |id: &Id| id.extension.clone().unwrap_or_else(|| id.root.clone());
    let field = |number| message.text_at(b"TXA", number, 1).map(|text| text.trim().to_owned());
    let filled = |text: &String| !text.is_empty();
    let own = field(12).filter(filled).or_else(|| document.id.as_ref().map(of));
    let replaced = document.related.iter().find(|it| it.relation == "RPLC");
    let replaced = replaced.and_then(|it| it.ids.first()).map(of);
    let withdraws = match trigger(message).as_str() {
        _ if ended => own.clone(),
        "T09" | "T10" => field(13).filter(filled).or(replaced),
        _ => replaced,
    };
    for (name, text) in [("document", own), ("withdraws", withdraws)] {
        if let Some(text) = text {
            tree.text(name, &text);
        }
    }
}

fn trigger(message: &Message<'_>) -> String {
    selector(message).1.into_owned()
}

/// As of CON: T11, or TXA-19 = `CA`.
fn is_taken_back(message: &Message<'_>) -> bool {
    let has_txa = message.segments().any(|it| it.packed_name() == TXA);
    let availability = message.text_at(b"TXA", 19, 1);
    has_txa && (trigger(message) == "T11" || availability.is_some_and(|it| it.trim() == "CA"))
}

impl Said {
    /// The event, with message, patient and visit as the message has them.
    fn told(self, draft: Draft, document: Option<&Document>) -> Draft {
        let mut data = Tree::new();
        for part in draft.data.root().children() {
            data.copy(part.key(), part);
        }
        if let Some(consent) = self.tree.root().get(CONSENT.name) {
            data.copy(CONSENT.name, consent);
        }
        let mut doubtful = draft.doubtful;
        doubtful.extend(self.doubtful.into_iter().map(str::to_owned));
        if document.is_some_and(|document| !is_of(document, draft.data.root())) {
            doubtful.push("consent.identifier".to_owned());
        }
        Draft { data, doubtful, ..draft }
    }
}

/// Whether a document is about the patient of the message: one of its identifiers is one of the
/// patient's, where it has any.
fn is_of(document: &Document, data: View<'_>) -> bool {
    let ids: Vec<&Id> = document.patients.iter().flat_map(|patient| &patient.ids).collect();
    let known = data.at("patient.identifiers");
    let known: Vec<&str> = known
        .iter()
        .flat_map(View::children)
        .filter_map(|it| it.get("value").and_then(|value| value.as_text()))
        .collect();
    let named: Vec<&str> =
        ids.iter().map(|id| id.extension.as_deref().unwrap_or(&id.root)).collect();
    document.patients.len() == 1 && (named.is_empty() || named.iter().any(|id| known.contains(id)))
}
