//! The canonical event: what a message says, in one form whichever protocol said it.
//!
//! Promises: the fields that an event may have, their types and how identifying each of them
//! is are declared once, in the files below; the JSON Schemas, the check of mappings and the
//! check of contracts all read that declaration.
//! Knows nothing of: HL7, FHIR, routes, consent.
//!
//! Reading order: [`tree`], [`schema`] (what may be in it), then the parts; [`extension`] (fields of
//! sites' own); [`act`] (what a message does to subjects).

pub mod tree;
pub mod partial_date;
pub mod schema;
pub mod code;
pub mod patient;
pub mod visit;
pub mod observation;
pub mod consent;
pub mod extension;
pub mod json_schema;
pub mod act;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::phi::Phi;
pub use act::Act;
pub use extension::Declaration;
pub use partial_date::PartialDate;
pub use tree::{Key, Tree, Value, View};

/// The kinds of facts that leave, in the order of docs/events.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it; docs/events.md says when each is sent")]
pub enum EventType {
    PatientAdmitted,
    PatientTransferred,
    PatientDischarged,
    PatientRegistered,
    PatientPreadmitted,
    PatientUpdated,
    PatientAdded,
    PatientMerged,
    PatientMoved,
    PatientIdentifierChanged,
    PatientAdmitCancelled,
    PatientTransferCancelled,
    PatientDischargeCancelled,
    ObservationReported,
    ConsentGranted,
    ConsentDenied,
    ConsentRevoked,
    ConsentExpired,
    ConsentUpdated,
    ConsentRetracted,
}

impl EventType {
    /// Every event type.
    pub const ALL: [Self; 20] = [
        Self::PatientAdmitted,
        Self::PatientTransferred,
        Self::PatientDischarged,
        Self::PatientRegistered,
        Self::PatientPreadmitted,
        Self::PatientUpdated,
        Self::PatientAdded,
        Self::PatientMerged,
        Self::PatientMoved,
        Self::PatientIdentifierChanged,
        Self::PatientAdmitCancelled,
        Self::PatientTransferCancelled,
        Self::PatientDischargeCancelled,
        Self::ObservationReported,
        Self::ConsentGranted,
        Self::ConsentDenied,
        Self::ConsentRevoked,
        Self::ConsentExpired,
        Self::ConsentUpdated,
        Self::ConsentRetracted,
    ];

    /// The name on the wire, such as `patient.admitted`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PatientAdmitted => "patient.admitted",
            Self::PatientTransferred => "patient.transferred",
            Self::PatientDischarged => "patient.discharged",
            Self::PatientRegistered => "patient.registered",
            Self::PatientPreadmitted => "patient.preadmitted",
            Self::PatientUpdated => "patient.updated",
            Self::PatientAdded => "patient.added",
            Self::PatientMerged => "patient.merged",
            Self::PatientMoved => "patient.moved",
            Self::PatientIdentifierChanged => "patient.identifier-changed",
            Self::PatientAdmitCancelled => "patient.admit-cancelled",
            Self::PatientTransferCancelled => "patient.transfer-cancelled",
            Self::PatientDischargeCancelled => "patient.discharge-cancelled",
            Self::ObservationReported => "observation.reported",
            Self::ConsentGranted => "consent.granted",
            Self::ConsentDenied => "consent.denied",
            Self::ConsentRevoked => "consent.revoked",
            Self::ConsentExpired => "consent.expired",
            Self::ConsentUpdated => "consent.updated",
            Self::ConsentRetracted => "consent.retracted",
        }
    }

    /// The event type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it says that a visit passed from one state to another, or that it did not after all.
    #[must_use]
    pub const fn is_transition(self) -> bool {
        matches!(
            self,
            Self::PatientAdmitted
                | Self::PatientTransferred
                | Self::PatientDischarged
                | Self::PatientRegistered
                | Self::PatientPreadmitted
                | Self::PatientAdmitCancelled
                | Self::PatientTransferCancelled
                | Self::PatientDischargeCancelled
        )
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(input)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom("not an event type"))
    }
}

/// The patient, inside the trust boundary: one identifier under one authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Who issued the identifier: the canonical name of `[identity]`, or what the message says.
    pub authority: String,
    /// The identifier.
    pub value: Phi<String>,
}

/// The encounter, inside the trust boundary: one of its numbers, under one authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VisitNumber {
    /// Which of its numbers: two that read the same are not, where one is a preadmission's.
    pub of: Numbering,
    /// Who issued it: the canonical name of `[identity]`, or what the message says.
    pub authority: String,
    /// The number.
    pub value: Phi<String>,
}

/// The numbers that a visit goes by, the first that is there first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Numbering {
    /// `visit.number` (PV1-19).
    Number,
    /// `visit.alternateNumber` (PV1-50).
    AlternateNumber,
    /// `visit.preadmitNumber` (PV1-5).
    PreadmitNumber,
}

impl Numbering {
    /// Every number, in the order in which they are looked for.
    pub const ALL: [Self; 3] = [Self::Number, Self::AlternateNumber, Self::PreadmitNumber];

    /// The field of `visit` that holds it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::AlternateNumber => "alternateNumber",
            Self::PreadmitNumber => "preadmitNumber",
        }
    }
}

/// Names an event once and for all: the same after a replay, a crash or a resend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Arc<str>);

impl fmt::Display for EventId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// One fact of one message, as the journal keeps it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name, for good.
    pub id: EventId,
    /// What it says.
    pub kind: EventType,
    /// Whom it is about.
    pub subject: Arc<Subject>,
    /// The other subject of a merge, a move, a changed identifier or a link: the one that was
    /// retired, moved from, went by that identifier, or is linked with.
    pub prior: Option<Arc<Subject>>,
    /// The fields, by [`schema::DATA`].
    pub data: Arc<Tree>,
}

impl Event {
    /// Whether the sender marked the message as history (MSH-11.2 A, R or I).
    #[must_use]
    pub fn is_history(&self) -> bool {
        let history = self.data.root().at("message.history");
        history.is_some_and(|history| history.value() == Value::Bool(true))
    }
}
