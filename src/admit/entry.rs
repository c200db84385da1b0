//! What one journal entry holds.
//!
//! Promises: an entry is written whole, before its message is acknowledged, and read back as
//! it was; what it keeps in clear names no patient.
//! Knows nothing of: encryption and SQL.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::consent::Record;
use crate::event::{Act, Event, EventType, Numbering, Subject, Tree, VisitNumber};
use crate::parse::hl7::Message;
use crate::parse::hl7::name::is_segment_name;
use crate::phi::Phi;

use super::digest::Named;
use super::profile::Described;
use super::{Correlation, CorrelationId, Digest, DigestKey, Windows};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Taken; its events are for the routes.
    Admitted,
    /// Taken, and a human decides; its events do not leave.
    Parked,
    /// Taken; nothing maps its type.
    Unsupported,
    /// Taken; a newer version of the same resource had come before, so that its events do not leave.
    Superseded,
    /// Not taken: the sender was told so. Its bytes are kept for its exception.
    Refused,
}

impl Status {
    /// The word in the store, in tables and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Parked => "parked",
            Self::Unsupported => "unsupported",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Admitted, Self::Parked, Self::Unsupported, Self::Superseded, Self::Refused]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// What needs a human, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Not a message.
    Malformed,
    /// A required field is empty or cannot be.
    Unmapped,
    /// No mapping for its type.
    Unsupported,
    /// Other content under the same control ID.
    CorrelationConflict,
    /// Who is who cannot be told: a person under another's identifier, a merge in a circle.
    IdentityConflict,
    /// It says something of consent that could not be applied, or speaks about no purpose.
    ConsentUnknown,
    /// A payload did not satisfy its contract's compiled shape.
    ContractViolation,
    /// Its sender may not speak for the facility or application that it names.
    ForeignSender,
    /// A FHIR server is not asked a query for now: it refuses it, or gives pages that lead nowhere.
    StoppedQuery,
}

impl Category {
    /// Every category that this version opens.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Unmapped,
        Self::Unsupported,
        Self::CorrelationConflict,
        Self::IdentityConflict,
        Self::ConsentUnknown,
        Self::ContractViolation,
        Self::ForeignSender,
        Self::StoppedQuery,
    ];

    /// The word in the store, in metrics and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unmapped => "unmapped",
            Self::Unsupported => "unsupported",
            Self::CorrelationConflict => "correlation-conflict",
            Self::IdentityConflict => "identity-conflict",
            Self::ConsentUnknown => "consent-unknown",
            Self::ContractViolation => "contract-violation",
            Self::ForeignSender => "foreign-sender",
            Self::StoppedQuery => "stopped-query",
        }
    }

    /// The category of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name() == name)
    }
}

/// An exception to be opened, or counted once more where its like is open.
#[derive(Clone, Debug)]
pub struct Raised {
    /// Its kind.
    pub category: Category,
    /// What makes two of a kind one: the content, or the type and trigger.
    pub key: Digest,
    /// What is wrong, by places only.
    pub text: String,
    /// Where, such as `PID-3`.
    pub place: String,
}

/// A message on its way into the journal.
#[derive(Debug)]
pub struct Admission {
    /// The feed it came in by.
    pub feed: Arc<str>,
    /// When it came in, in milliseconds since 1970.
    pub received_at: i64,
    /// Type and trigger, such as `ADT^A01`; a code of the sender's, bounded.
    pub kind: String,
    /// MSH-10 as text; it may hold anything.
    pub control_id: Phi<String>,
    /// The bytes as they came.
    pub raw: Phi<Bytes>,
    /// What it is recognized by and how it is compared; nothing where it is refused, so that
    /// it may be sent again corrected.
    pub correlated: Option<Correlated>,
    /// What becomes of it, should it be new.
    pub status: Status,
    /// Its events and what the mapping left.
    pub content: Content,
    /// The exception that it raises, should it be new.
    pub raised: Option<Raised>,
    /// What it says of consent, should it be new: kept in the ledger in the same transaction. None
    /// where it is refused.
    pub consents: Vec<Given>,
    /// What is kept instead, should other content under its control ID have come before it: it is
    /// parked then, and closes what it is about.
    pub on_conflict: Vec<Given>,
    /// What it does to subjects, should it be new.
    pub acts: Vec<Acted>,
    /// How it describes its subjects.
    pub described: Vec<Described>,
    /// What its feed remembers of it, should it be new.
    pub kept: Vec<Kept>,
    /// It says what stands, as each version of a resource does, and not what happened: an act that is
    /// known is not told again.
    pub restates: bool,
}

/// What a feed remembers, by a kind and a key. It is sealed, and its key is kept as a digest.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its kind, such as `cursor`.
    pub kind: &'static str,
    /// What it is looked up by within its feed and kind.
    pub key: String,
    /// What is remembered; nothing where it is to be forgotten.
    pub value: Option<Phi<Vec<u8>>>,
    /// How many of its kind the feed keeps; what was written longest ago goes first.
    pub most: u32,
}

/// What a message does to two subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acted {
    /// What it does.
    pub act: Act,
    /// The one that is retired, moved from or renamed; of a link the one that is named first.
    pub from: Subject,
    /// The one that survives; of a link the other.
    pub into: Subject,
}

impl Admission {
    /// What came in by a feed, with nothing of what it says: it is not taken.
    #[must_use]
    pub fn bare(
        feed: Arc<str>,
        received_at: i64,
        kind: String,
        control_id: String,
        raw: Bytes,
    ) -> Self {
        Self {
            feed,
            received_at,
            kind,
            control_id: Phi::new(control_id),
            raw: Phi::new(raw),
            correlated: None,
            status: Status::Refused,
            content: Content::default(),
            raised: None,
            consents: Vec::new(),
            on_conflict: Vec::new(),
            acts: Vec::new(),
            described: Vec::new(),
            kept: Vec::new(),
            restates: false,
        }
    }

    /// Subjects whose consent it may narrow, each once: a merge may for both, since the more
    /// restrictive state of the two holds from there on.
    // PROMISE-6
    #[must_use]
    pub fn narrowed(&self) -> Vec<Subject> {
        let mut subjects: Vec<Subject> = Vec::new();
        // Who only says again that nothing is protected, as many do in each message, waits for
        // nobody.
        let given = self.consents.iter().chain(&self.on_conflict);
        let given = given.filter(|given| given.record.says.may_narrow()).map(|it| &it.subject);
        let acted = self.acts.iter().filter(|acted| acted.act.narrows());
        for subject in given.chain(acted.flat_map(|acted| [&acted.from, &acted.into])) {
            if !subjects.contains(subject) {
                subjects.push(subject.clone());
            }
        }
        subjects
    }
}

/// What a message says of a subject's consent.
#[derive(Clone, Debug)]
pub struct Given {
    /// Whose.
    pub subject: Subject,
    /// What was decided. Its origin names the message by what that is recognized by; which of
    /// those it is, is known when it is written: see [`Given::of`].
    pub record: Record,
}

impl Given {
    /// The same, of a message that has its name.
    #[must_use]
    pub fn of(mut self, id: &CorrelationId) -> Self {
        self.record.origin.message = id.to_string();
        self
    }
}

/// What a message is recognized by and how it is compared.
#[derive(Clone, Copy, Debug)]
pub struct Correlated {
    /// What it is recognized by.
    pub correlation: Correlation,
    /// Its content.
    pub content: Digest,
    /// How long earlier messages count.
    pub windows: Windows,
}

/// The events of a message, and what the mapping left.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Content {
    /// One or more events; none where it is parked before it was mapped.
    pub events: Vec<Stored>,
    /// Fields that no rule took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmapped: Vec<String>,
    /// Places of values that cannot be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<String>,
    /// The names of the message's segments, each once; the store remembers them of the feed.
    #[serde(skip)]
    pub segments: Vec<SegmentName>,
}

/// The name of a segment, of a legal form (chapter 2.5): bounded, and safe to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName([u8; 3]);

impl SegmentName {
    /// The legal names of a message's segments, each once.
    #[must_use]
    pub fn all(message: &Message<'_>) -> Vec<Self> {
        let mut names: Vec<Self> = Vec::with_capacity(16);
        for name in message.segments().filter_map(|segment| segment.legal_name()) {
            // Most stand beside their like: OBX behind OBX.
            if names.last() != Some(&Self(name)) && !names.contains(&Self(name)) {
                names.push(Self(name));
            }
            if names.len() >= NAMES_MAX {
                break;
            }
        }
        names
    }

    /// A name that was written.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        is_segment_name(&bytes).then_some(Self(bytes))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Most names of one message that are noted: several times what any structure of HL7's has.
const NAMES_MAX: usize = 200;

/// An event without its ID, which follows from the message's epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// What it says.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Where it stands in the message.
    pub place: String,
    /// Who issued the subject's identifier.
    pub authority: String,
    /// The subject's identifier.
    pub value: SubjectValue,
    /// The other subject of a merge, a move, a changed identifier or a link: authority and
    /// identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<(String, SubjectValue)>,
    /// The visit that it names: which of its numbers, authority and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visit: Option<(Numbering, String, SubjectValue)>,
    /// Its fields.
    pub data: Arc<Tree>,
}

/// A subject's identifier, which does not print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectValue(pub Phi<String>);

impl Serialize for SubjectValue {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for SubjectValue {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input).map(|value| Self(Phi::new(value)))
    }
}

/// An entry of the journal, as the routes read it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number: grows by one or more, never reused.
    pub number: u64,
    /// When it came in, in milliseconds since 1970.
    pub received_at: i64,
    /// The feed it came in by.
    pub feed: Arc<str>,
    /// What became of it.
    pub status: Status,
    /// Its name; nothing where it was refused.
    pub correlation_id: Option<CorrelationId>,
    /// Its events and what the mapping left.
    pub content: Arc<Content>,
    /// Its events as routes take them; see [`Entry::facts`].
    pub facts: OnceLock<Vec<Fact>>,
}

/// An event of an entry, with what stands for whom and what it names.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The event.
    pub event: Arc<Event>,
    /// The name of its message.
    pub correlation_id: Arc<str>,
    /// What stands for its subject and its visit.
    pub digests: Arc<Named>,
    /// Its visit, where it names one.
    pub visit: Option<Arc<VisitNumber>>,
}

impl Entry {
    /// An entry of which only number, time and feed are known.
    #[must_use]
    pub fn without_events(number: u64, received_at: i64, feed: Arc<str>) -> Self {
        Self {
            number,
            received_at,
            feed,
            status: Status::Parked,
            correlation_id: None,
            content: Arc::default(),
            facts: OnceLock::new(),
        }
    }

    /// The events that may leave, with their IDs: those of an admitted message. Made for the first
    /// route that asks, and shared by all.
    pub fn facts(&self, digests: &DigestKey) -> &[Fact] {
        self.facts.get_or_init(|| {
            let id = self.correlation_id.filter(|_| self.status == Status::Admitted);
            let Some(id) = id else { return Vec::new() };
            let name: Arc<str> = id.to_string().into();
            let events = self.content.events.iter();
            events.map(|stored| stored.fact(&id, Arc::clone(&name), digests)).collect()
        })
    }
}

impl Fact {
    /// Of an event.
    #[must_use]
    pub fn new(event: Arc<Event>, correlation_id: Arc<str>, digests: &DigestKey) -> Self {
        let digests = Arc::new(Named::of(&event, digests));
        Self { digests, event, correlation_id, visit: None }
    }

    /// The same, about another subject.
    #[must_use]
    pub fn about(&self, subject: &Subject, digests: &DigestKey) -> Self {
        let digests = Arc::new(self.digests.about(subject, digests));
        let event = Event { subject: Arc::new(subject.clone()), ..Event::clone(&self.event) };
        Self { event: Arc::new(event), digests, ..self.clone() }
    }

    /// The same, without the other subject.
    #[must_use]
    pub fn without_prior(self) -> Self {
        let event = Event { prior: None, ..Event::clone(&self.event) };
        Self { event: Arc::new(event), ..self }
    }
}

impl Stored {
    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject { authority: self.authority.clone(), value: self.value.0.clone() }
    }

    /// The other subject.
    #[must_use]
    pub fn prior(&self) -> Option<Subject> {
        let (authority, value) = self.prior.as_ref()?;
        Some(Subject { authority: authority.clone(), value: value.0.clone() })
    }

    /// Gives it another subject.
    pub fn set_prior(&mut self, subject: Subject) {
        self.prior = Some((subject.authority, SubjectValue(subject.value)));
    }

    /// The visit that it names.
    #[must_use]
    pub fn visit(&self) -> Option<VisitNumber> {
        let (of, authority, value) = self.visit.as_ref()?;
        Some(VisitNumber { of: *of, authority: authority.clone(), value: value.0.clone() })
    }

    /// Gives it a visit, or none.
    pub fn set_visit(&mut self, visit: Option<VisitNumber>) {
        self.visit = visit.map(|it| (it.of, it.authority, SubjectValue(it.value)));
    }

    /// The event with what stands for whom and what it names, of a message of that name.
    #[must_use]
    pub fn fact(&self, id: &CorrelationId, name: Arc<str>, digests: &DigestKey) -> Fact {
        let fact = Fact::new(Arc::new(self.event(id)), name, digests);
        Fact { visit: self.visit().map(Arc::new), ..fact }
    }

    /// The event, with its ID.
    #[must_use]
    pub fn event(&self, id: &CorrelationId) -> Event {
        Event {
            id: id.event(self.kind, &self.place),
            kind: self.kind,
            subject: Arc::new(self.subject()),
            prior: self.prior().map(Arc::new),
            data: Arc::clone(&self.data),
        }
    }
}
