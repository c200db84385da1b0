//! The bytes of one frame to what becomes of them, as far as that can be said without knowing
//! what came before.
//!
//! Promises: every frame has exactly one outcome; what is kept is the bytes as they came;
//! nothing that the sender wrote is in a text for people but places and bounded codes.
//! Knows nothing of: connections, the store, acknowledgements.

use std::sync::Arc;

use bytes::Bytes;

use crate::consent::Policy;
use crate::normalize::{self, Context, Mappings, Trace};
use crate::parse::fhir;
use crate::parse::hl7::tally::Miscount;
use crate::parse::hl7::{Charsets, Content as Said, Head, Malformed, Message, Path, Scope, Wire};

use super::consents::{Bearer, Closing};
use super::entry::{Admission, Category, Content, Correlated, Given, Raised, SegmentName, Status};
use super::sender::Speaker;
use super::{Correlation, DigestKey, Identity, Windows};

/// What a feed's `on_unmappable` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnmappable {
    /// Take the message and open an exception.
    Park,
    /// Refuse it.
    Nak,
}

/// What a feed's `on_unsupported` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnsupported {
    /// Take the message, and open one exception for its type and trigger.
    Park,
    /// Refuse it.
    Reject,
}

/// How a feed's messages are read.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The feed's name.
    pub feed: Arc<str>,
    /// Whose control IDs and bare patient numbers these are.
    pub domain: String,
    /// What a message is recognized by within the domain.
    pub correlation: Vec<Path>,
    /// How long earlier messages count.
    pub windows: Windows,
    /// The character sets of its messages.
    pub charsets: Charsets,
    /// The zone of times that state none.
    pub context: Context,
    /// The MSH-11.1 that is taken; every one where it is none. Empty counts as P.
    pub processing_id: Option<String>,
    /// What becomes of a message whose required fields are empty.
    pub on_unmappable: OnUnmappable,
    /// What becomes of a message that no mapping selects.
    pub on_unsupported: OnUnsupported,
    /// How messages become events.
    pub mappings: Arc<Mappings>,
    /// Which patient an event is about.
    pub identity: Arc<Identity>,
    /// The key of digests.
    pub digests: DigestKey,
    /// What consents mean here.
    pub policy: Arc<Policy>,
    /// Whose words `[status.SITE]` of consent.toml has for this feed.
    pub site: Option<String>,
}

/// What one frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A message with events.
    Mapped,
    /// Not a message, or one that cannot be answered by its control ID.
    Malformed(Malformed),
    /// A message whose required fields are empty or cannot be.
    Unmapped(normalize::Refusal, OnUnmappable),
    /// A message that no mapping selects; whether its type is known with other triggers.
    Unsupported {
        /// Whether some trigger of the type is mapped.
        type_known: bool,
        /// What the feed does then.
        then: OnUnsupported,
    },
    /// Meant for another environment (MSH-11).
    WrongProcessingId,
    /// Not of HL7 v2 (MSH-12).
    WrongVersion,
    /// No FHIR resource that can be told from others.
    BadResource,
    /// A FHIR resource that its server has no more.
    Removed,
    /// An acknowledgement, which is never acknowledged (chapter 2.9.2).
    Acknowledgement,
    /// Of a facility or application that its sender may not speak for.
    ForeignSender {
        /// The field of MSH that says so.
        field: usize,
    },
}

/// What one frame is, and what is to be kept of it.
#[derive(Debug)]
pub struct Assessed {
    /// What it is.
    pub finding: Finding,
    /// Type and trigger, such as `ADT^A01`, bounded.
    pub kind: String,
    /// What the journal is to keep; nothing of what is not meant for here.
    pub admission: Option<Admission>,
}

/// Reads one frame, of whomever.
#[must_use]
pub fn assess(bytes: &Bytes, rules: &Rules, now_ms: i64) -> Assessed {
    assess_from(&Speaker::default(), bytes, rules, now_ms)
}

/// Reads one frame of a sender.
#[must_use]
pub fn assess_from(speaker: &Speaker, bytes: &Bytes, rules: &Rules, now_ms: i64) -> Assessed {
    let wire = Wire::open(bytes, &rules.charsets);
    let head = match wire.head() {
        Ok(head) => head,
        Err(malformed) => return refuse(bytes, rules, now_ms, String::new(), "", malformed),
    };
    let kind = kind_of(&head);
    let control_id = String::from_utf8_lossy(head.field(10)).into_owned();
    let malformed = |malformed| refuse(bytes, rules, now_ms, kind.clone(), &control_id, malformed);
    // In the wrong character set half of a character may divide the header, and then no field of it
    // is what it seems to be: that it does not decode is what is wrong.
    let of_header = |wrong| match wire.message() {
        Err(cause @ (Malformed::Undecodable { .. } | Malformed::UnknownCharset)) => cause,
        Ok(_) | Err(_) => wrong,
    };
    if head.field(9).trim_ascii().is_empty() {
        return malformed(of_header(Malformed::NoType));
    }
    if head.component(9, 1) == b"ACK" {
        return not_kept(Finding::Acknowledgement, kind);
    }
    if let Err(wrong) = head.control_id() {
        return malformed(of_header(wrong));
    }
    // Before anything that it says is looked at: what somebody says in the name of others, of their
    // patients' consent, too, is not theirs. It closes nothing, or any sender could.
    if let Some(field) = speaker.is_not_for(&head) {
        return foreign(bytes, rules, now_ms, kind, &control_id, field);
    }
    let version = head.component(12, 1);
    if !version.is_empty() && version != b"2" && !version.starts_with(b"2.") {
        return not_kept(Finding::WrongVersion, kind);
    }
    if let Some(wanted) = &rules.processing_id {
        let stated = head.component(11, 1);
        if (if stated.is_empty() { b"P" } else { stated }) != wanted.as_bytes() {
            return not_kept(Finding::WrongProcessingId, kind);
        }
    }
    let message = match wire.check_end().and_then(|()| wire.message()) {
        Ok(message) => message,
        Err(wrong) => return malformed(wrong),
    };
    let correlated = Correlated {
        correlation: correlation(&message, rules),
        content: rules.digests.content(&message),
        windows: rules.windows,
    };
    let (feed, raw) = (Arc::clone(&rules.feed), bytes.clone());
    let admission = Admission {
        correlated: Some(correlated),
        status: Status::Admitted,
        content: Content { segments: SegmentName::all(&message), ..Content::default() },
        ..Admission::bare(feed, now_ms, kind.clone(), control_id, raw)
    };
    let bearer = Bearer::of(&message, &correlated, rules, now_ms);
    let applied = normalize::normalize(&rules.mappings, &message, &rules.context, Trace::Off)
        .and_then(|(normalized, _)| bearer.apply(normalized));
    match applied {
        Ok(applied) => {
            let segments = admission.content.segments;
            let admission = Admission {
                content: Content { segments, ..applied.content },
                raised: applied.raised,
                consents: applied.consents,
                on_conflict: applied.on_conflict,
                acts: applied.acts,
                described: applied.described,
                ..admission
            };
            Assessed { finding: Finding::Mapped, kind, admission: Some(admission) }
        }
        Err(refusal) => refused(refusal, bearer.close(), rules, &head, admission, correlated),
    }
}

/// What becomes of a message that gives no event, by what it would have said of consent.
// PROMISE-5: one that bears a consent closes what it is about, or is not taken.
fn refused(
    refusal: normalize::Refusal,
    closing: Closing,
    rules: &Rules,
    head: &Head<'_>,
    admission: Admission,
    correlated: Correlated,
) -> Assessed {
    match (closing, refusal) {
        // Not here: nothing of it is taken, and its sender is told so.
        (_, normalize::Refusal::Unsupported { .. })
            if rules.on_unsupported == OnUnsupported::Reject =>
        {
            unsupported(rules, head, admission)
        }
        (Closing::Nothing, normalize::Refusal::Unsupported { .. }) => {
            unsupported(rules, head, admission)
        }
        (Closing::Nothing, refusal) => {
            unmapped(rules.on_unmappable, admission, correlated, refusal)
        }
        (Closing::Unreadable(unreadable), _) => {
            unmapped(OnUnmappable::Nak, admission, correlated, unreadable)
        }
        (Closing::Closes(closures), refusal) => closed(admission, correlated, refusal, closures),
    }
}

/// What a message is recognized by.
#[must_use]
pub fn correlation(message: &Message<'_>, rules: &Rules) -> Correlation {
    let all = [0..message.len()];
    let scope = Scope::new(message, &all);
    let values: Vec<String> = rules
        .correlation
        .iter()
        .map(|path| match path.first(&scope).map(|hit| message.content(hit.whole_field())) {
            Some(Said::Text(text)) => text.into_owned(),
            Some(Said::Absent | Said::Null) | None => String::new(),
        })
        .collect();
    Correlation::of(&rules.domain, values.iter().map(String::as_str))
}

fn unmapped(
    then: OnUnmappable,
    admission: Admission,
    correlated: Correlated,
    refusal: normalize::Refusal,
) -> Assessed {
    let raised = Raised {
        category: Category::Unmapped,
        key: correlated.content,
        text: refusal.to_string(),
        place: refusal.place(),
    };
    // PROMISE-2: what is refused leaves no correlation ID, so that it may be sent again.
    let (status, correlated) = match then {
        OnUnmappable::Park => (Status::Parked, Some(correlated)),
        OnUnmappable::Nak => (Status::Refused, None),
    };
    let kind = admission.kind.clone();
    let admission = Admission { status, correlated, raised: Some(raised), ..admission };
    let finding = Finding::Unmapped(refusal, then);
    Assessed { finding, kind, admission: Some(admission) }
}

/// Taken, whatever the feed says of others: a closure that is not kept closes nothing.
fn closed(
    admission: Admission,
    correlated: Correlated,
    refusal: normalize::Refusal,
    closures: Vec<Given>,
) -> Assessed {
    let raised = Raised {
        category: Category::ConsentUnknown,
        key: correlated.content,
        text: format!("{refusal}; it bears a consent: every purpose is closed"),
        place: refusal.place(),
    };
    let kind = admission.kind.clone();
    let admission = Admission {
        status: Status::Parked,
        raised: Some(raised),
        on_conflict: closures.clone(),
        consents: closures,
        ..admission
    };
    let finding = Finding::Unmapped(refusal, OnUnmappable::Park);
    Assessed { finding, kind, admission: Some(admission) }
}

fn unsupported(rules: &Rules, head: &Head<'_>, admission: Admission) -> Assessed {
    let kind = admission.kind.clone();
    let message_type = String::from_utf8_lossy(head.component(9, 1));
    let type_known = rules.mappings.has_type(&message_type);
    let finding = Finding::Unsupported { type_known, then: rules.on_unsupported };
    let admission = match rules.on_unsupported {
        OnUnsupported::Reject => None,
        OnUnsupported::Park => {
            let raised = Raised {
                category: Category::Unsupported,
                key: rules.digests.text(&kind),
                text: format!("no mapping selects {kind}"),
                place: "MSH-9".to_owned(),
            };
            Some(Admission { status: Status::Unsupported, raised: Some(raised), ..admission })
        }
    };
    Assessed { finding, kind, admission }
}

fn refuse(
    bytes: &Bytes,
    rules: &Rules,
    now_ms: i64,
    kind: String,
    control_id: &str,
    malformed: Malformed,
) -> Assessed {
    let raised = Raised {
        category: Category::Malformed,
        key: rules.digests.bytes(bytes),
        text: malformed.to_string(),
        place: place_of(malformed),
    };
    let admission = unread(bytes, rules, now_ms, kind.clone(), control_id, raised);
    Assessed { finding: Finding::Malformed(malformed), kind, admission: Some(admission) }
}

fn foreign(
    bytes: &Bytes,
    rules: &Rules,
    now_ms: i64,
    kind: String,
    control_id: &str,
    field: usize,
) -> Assessed {
    let raised = Raised {
        category: Category::ForeignSender,
        key: rules.digests.bytes(bytes),
        text: "its sender may not speak for what is named there".to_owned(),
        place: format!("MSH-{field}"),
    };
    let admission = unread(bytes, rules, now_ms, kind.clone(), control_id, raised);
    Assessed { finding: Finding::ForeignSender { field }, kind, admission: Some(admission) }
}

/// The bytes with what is wrong, and nothing of what they say.
pub(super) fn unread(
    bytes: &Bytes,
    rules: &Rules,
    now_ms: i64,
    kind: String,
    control_id: &str,
    raised: Raised,
) -> Admission {
    let (feed, control_id) = (Arc::clone(&rules.feed), control_id.to_owned());
    let bare = Admission::bare(feed, now_ms, kind, control_id, bytes.clone());
    Admission { raised: Some(raised), ..bare }
}

/// What becomes of a frame that could not be read for a fault of ours.
#[must_use]
pub fn unreadable(bytes: &Bytes, rules: &Rules, now_ms: i64) -> Assessed {
    // Not even its form is looked at: whatever failed may fail again.
    let head = Head::read(bytes).ok();
    let control_id = head.as_ref().map_or(&b""[..], |head| head.field(10));
    let control_id = String::from_utf8_lossy(control_id).into_owned();
    let kind = head.as_ref().map(kind_of).unwrap_or_default();
    refuse(bytes, rules, now_ms, kind, &control_id, Malformed::Unreadable)
}

/// What is kept where the counts of a batch or a file do not agree with what came, of which nothing
/// is lost by it: `bytes` are its headers and trailers.
#[must_use]
pub fn miscounted(bytes: &Bytes, rules: &Rules, now_ms: i64, wrong: &Miscount) -> Admission {
    let text = wrong.to_string();
    let raised = Raised {
        category: Category::Malformed,
        key: rules.digests.bytes(&[bytes, text.as_bytes()].concat()),
        text,
        place: wrong.place().to_owned(),
    };
    unread(bytes, rules, now_ms, "batch".to_owned(), "", raised)
}

/// What is kept where a query of a FHIR server is not asked for now: the query, and why.
#[must_use]
pub fn stopped(query: &str, rules: &Rules, now_ms: i64, why: String) -> Admission {
    let raised = Raised {
        category: Category::StoppedQuery,
        key: rules.digests.text(&format!("{query} {why}")),
        text: why,
        place: query.to_owned(),
    };
    let bytes = Bytes::copy_from_slice(query.as_bytes());
    unread(&bytes, rules, now_ms, "query".to_owned(), "", raised)
}

/// What is kept where an entry of a page cannot be read: the query that found it, where it stands, and type
/// and ID of its resource, where they are known.
#[must_use]
pub fn unlisted(
    query: &str,
    rules: &Rules,
    now_ms: i64,
    (wrong, name): (&fhir::Malformed, Option<&str>),
) -> Admission {
    let raised = Raised {
        category: Category::Malformed,
        // Without its place: in the next round it stands elsewhere.
        key: rules.digests.text(&format!("{query} {}{}", wrong.wrong, name.unwrap_or_default())),
        text: wrong.to_string(),
        place: wrong.place.as_deref().unwrap_or("Bundle.entry").to_owned(),
    };
    let bytes = Bytes::copy_from_slice(query.as_bytes());
    unread(&bytes, rules, now_ms, "page".to_owned(), name.unwrap_or_default(), raised)
}

/// The field that a malformed message is wrong in; empty where it is the whole of it.
#[must_use]
pub fn place_of(malformed: Malformed) -> String {
    let named = match malformed {
        Malformed::Switched { place } => return place.to_string(),
        Malformed::Xml(fault) => return fault.place.map_or_else(String::new, |at| at.to_string()),
        Malformed::NoHeader => "MSH",
        Malformed::Delimiters => "MSH-2",
        Malformed::UnknownCharset | Malformed::Undecodable { .. } => "MSH-18",
        Malformed::NoType => "MSH-9",
        Malformed::NoControlId | Malformed::BadControlId => "MSH-10",
        Malformed::TooManySegments
        | Malformed::TooManyFields
        | Malformed::CutShort
        | Malformed::Unreadable => "",
    };
    named.to_owned()
}

fn not_kept(finding: Finding, kind: String) -> Assessed {
    Assessed { finding, kind, admission: None }
}

/// Type and trigger of a message, fit to be printed: letters and digits, sixteen each.
fn kind_of(head: &Head<'_>) -> String {
    let word = |component| -> String {
        let bytes = head.component(9, component).iter();
        bytes
            .filter(|byte| byte.is_ascii_alphanumeric())
            .take(16)
            .map(|byte| char::from(*byte))
            .collect()
    };
    let (kind, trigger) = (word(1), word(2));
    if trigger.is_empty() { kind } else { format!("{kind}^{trigger}") }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path as FilePath;
    use std::time::Duration;

    use super::*;
    use crate::document::{Document, Problems};
    use crate::parse::hl7::Charset;
    use crate::secret::Key;

    /// Those of a feed `adt` with the shipped mappings, without a consent.toml.
    pub fn rules() -> Rules {
        let problems = Problems::default();
        let mappings = normalize::load(FilePath::new("mappings"), &problems);
        assert!(problems.is_clean(), "{:?}", problems.mistakes());
        Rules {
            feed: "adt".into(),
            domain: "adt".to_owned(),
            correlation: ["MSH-3", "MSH-4", "MSH-10"].map(|path| Path::read(path).unwrap()).into(),
            windows: Windows {
                dedupe_retention: Duration::from_secs(1),
                control_id_reuse: Duration::from_secs(1),
            },
            charsets: Charset::Utf8.into(),
            context: Context::default(),
            processing_id: Some("P".to_owned()),
            on_unmappable: OnUnmappable::Park,
            on_unsupported: OnUnsupported::Park,
            mappings: Arc::new(mappings),
            identity: Arc::default(),
            digests: DigestKey::new(&Key::from_bytes(&[7; 32]).unwrap()),
            policy: Arc::default(),
            site: None,
        }
    }

    /// The same, with a consent.toml.
    pub fn rules_by(consent: &str) -> Rules {
        let problems = Problems::default();
        let policy = Document::from_text("p", FilePath::new("."), consent);
        let policy = Arc::new(Policy::of(&policy, &problems));
        assert!(problems.is_clean(), "{:?}", problems.mistakes());
        Rules { policy, ..rules() }
    }

    fn found(text: &str, rules: &Rules) -> (Finding, Option<Status>, Option<Category>) {
        let assessed = assess(&Bytes::copy_from_slice(text.as_bytes()), rules, 0);
        let raised = assessed.admission.as_ref().and_then(|admission| admission.raised.as_ref());
        let category = raised.map(|raised| raised.category);
        (assessed.finding, assessed.admission.map(|admission| admission.status), category)
    }

    const PID: &str = "PID|1||1^^^A^MR||B";

    #[test]
    fn every_frame_has_one_outcome() {
        let rules = rules();
        let park = OnUnsupported::Park;
        for (text, finding, status, category) in [
            (
                format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5\r{PID}"),
                Finding::Mapped,
                Some(Status::Admitted),
                None,
            ),
            (
                format!("MSH|^~\\&|A|B|||2026||SIU^S12|1|P|2.5\r{PID}"),
                Finding::Unsupported { type_known: false, then: park },
                Some(Status::Unsupported),
                Some(Category::Unsupported),
            ),
            (
                format!("MSH|^~\\&|A|B|||2026||ADT^A99|1|P|2.5\r{PID}"),
                Finding::Unsupported { type_known: true, then: park },
                Some(Status::Unsupported),
                Some(Category::Unsupported),
            ),
            (
                format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|T|2.5\r{PID}"),
                Finding::WrongProcessingId,
                None,
                None,
            ),
            (
                format!("MSH|^~\\&|A|B|||2026||ADT^A01|1||2.5\r{PID}"),
                Finding::Mapped,
                Some(Status::Admitted),
                None,
            ),
            (
                format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|3.0\r{PID}"),
                Finding::WrongVersion,
                None,
                None,
            ),
            (
                "MSH|^~\\&|A|B|||2026||ACK^A01|1|P|2.5\rMSA|AA|7".to_owned(),
                Finding::Acknowledgement,
                None,
                None,
            ),
            (
                format!("MSH|^~\\&|A|B|||2026||ADT^A01||P|2.5\r{PID}"),
                Finding::Malformed(Malformed::NoControlId),
                Some(Status::Refused),
                Some(Category::Malformed),
            ),
            (
                "not a message".to_owned(),
                Finding::Malformed(Malformed::NoHeader),
                Some(Status::Refused),
                Some(Category::Malformed),
            ),
        ] {
            assert_eq!(found(&text, &rules), (finding, status, category), "{text}");
        }
    }

    #[test]
    fn an_unmappable_message_is_parked_or_refused_as_the_feed_says() {
        let text = "MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5\rPID|1||^^^A";
        let spot = normalize::Spot { segment: "PID".to_owned(), field: 3 };
        let missing = normalize::Refusal::Missing { spot };
        let parked = rules();
        assert_eq!(
            found(text, &parked),
            (
                Finding::Unmapped(missing.clone(), OnUnmappable::Park),
                Some(Status::Parked),
                Some(Category::Unmapped)
            )
        );
        let nak = Rules { on_unmappable: OnUnmappable::Nak, ..parked };
        let refused = assess(&Bytes::from_static(text.as_bytes()), &nak, 0);
        assert_eq!(refused.finding, Finding::Unmapped(missing, OnUnmappable::Nak));
        // PROMISE-2
        assert!(refused.admission.is_some_and(|admission| admission.correlated.is_none()));
    }
}
