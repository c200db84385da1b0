//! A decision about purposes: what a consent record says, and who said it.
//!
//! Promises: a word that is not known is a status of its own, never `active`; a legal basis, a
//! permission and a preference stay three different things.
//! Knows nothing of: how a site words them; see `policy`.

use serde::{Deserialize, Serialize};

use super::exception::{Criteria, Exception, all};
use super::moment::Moment;
use crate::phi::Phi;

/// Whether a decision opens or closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It opens.
    Permit,
    /// It closes.
    Deny,
}

/// How far a record has come (table 0498; `Consent.status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Offered, not decided: changes nothing.
    Proposed,
    /// Decided, and in force within its dates.
    Active,
    /// Refused: denies.
    Rejected,
    /// Closed without a decision: its key says nothing any more.
    Inactive,
    /// Withdrawn: denies.
    Revoked,
    /// Was never true: is not there.
    EnteredInError,
    /// Somebody else decided, in an emergency or by judgment (CON-20): no decision of the
    /// patient, changes nothing.
    Bypassed,
    /// No word, or one that nobody mapped: denies, and wants a human.
    Unknown,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Proposed,
        Self::Active,
        Self::Rejected,
        Self::Inactive,
        Self::Revoked,
        Self::EnteredInError,
        Self::Bypassed,
        Self::Unknown,
    ];

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The word in events, in consent.toml and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Rejected => "rejected",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
            Self::EnteredInError => "entered-in-error",
            Self::Bypassed => "bypassed",
            Self::Unknown => "unknown",
        }
    }
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A law or a contract. Its permit is no permission, its deny is lifted by another basis alone.
    LegalBasis,
    /// The patient's yes or no.
    Permission,
    /// A wish within what is permitted. It can only narrow.
    Preference,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::LegalBasis, Self::Permission, Self::Preference];

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The word in events and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LegalBasis => "legal-basis",
            Self::Permission => "permission",
            Self::Preference => "preference",
        }
    }
}

/// The purposes that a record speaks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purposes {
    /// All there are.
    Every,
    /// These alone (HL7 v3 PurposeOfUse). None: a type that no row of consent.toml maps.
    These(Vec<String>),
}

/// Whether the patient could decide (CON-16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capacity {
    /// Not said.
    #[default]
    Unstated,
    /// `Y`.
    Competent,
    /// `N`: in force only where somebody else consented.
    Incompetent,
}

/// Why somebody else than the patient consented (CON-23, table 0502).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standin {
    /// `MIN`.
    Minor,
    /// `NC`.
    NotCompetent,
    /// `LM`.
    LegallyMandated,
    /// Somebody did (CON-24, CON-25), and no reason or no known one is given.
    Unstated,
}

/// Whether somebody else is named as the one who consented (CON-24, CON-25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Nobody is named.
    #[default]
    Absent,
    /// Somebody is.
    Named,
}

/// Who decided. Names stay in the event; what counts here is who that was to the patient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signer {
    /// Whether a consenter is named (CON-24).
    pub consenter: Presence,
    /// What the consenter is to the patient (CON-25, table 0548).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationship: Option<String>,
    /// Whether the patient could decide.
    pub capacity: Capacity,
    /// Why somebody else decided; none where the patient did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standin: Option<Standin>,
    /// The patient's birth date, as the message of the record had it (PID-7): a representative's
    /// permit for a minor ends by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<Moment>,
}

/// A decision about purposes. What a list leaves empty it does not limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Consent {
    /// Which purposes.
    pub purposes: Purposes,
    /// By which channels; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Who may receive, as contracts call the consumer; none: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantee: Option<String>,
    /// Under whose law (ISO 3166); none: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jurisdiction: Option<String>,
    /// Sensitivity labels: of a permit, those that it opens beside the rest; of a deny, those that
    /// it is about, empty: all events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Classes of fields by their names (`clinical`, `direct`, …): of a permit, those that it is
    /// limited to; of a deny, those that it is about; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Opens or closes.
    pub decision: Decision,
    /// How far it has come.
    pub status: Status,
    /// What it rests on.
    pub kind: Kind,
    /// Who decided.
    #[serde(default)]
    pub signer: Signer,
    /// Why nobody asked the patient (CON-20, table 0499), where it was bypassed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<String>,
    /// Limitations in words, as given (CON-9). No machine reads them; who releases names the
    /// record.
    #[serde(default, skip_serializing_if = "nothing", with = "exposed")]
    pub limitations: Option<Phi<String>>,
    /// What the decision is limited to, beyond the fields above, exceptions included; none:
    /// nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Criteria>,
    /// Exceptions to the decision. One that names purposes speaks about those, whatever the
    /// decision itself speaks about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
    /// Which exception decided, such as `1.2`: of what was weighed for one question alone, never
    /// kept.
    #[serde(skip)]
    pub by_exception: Option<String>,
}

impl Consent {
    /// Whether it says the same of every question that its fields are about.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.exceptions.is_empty() && self.within.is_none()
    }

    /// Whether it is limited to what cannot be told, so that it opens nothing.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.within.as_ref().is_some_and(Criteria::is_unsure)
    }

    /// Whether it opens something: itself or by an exception.
    #[must_use]
    pub fn may_permit(&self) -> bool {
        self.has(Decision::Permit)
    }

    /// Whether it closes something: itself or by an exception.
    #[must_use]
    pub fn may_deny(&self) -> bool {
        self.has(Decision::Deny)
    }

    fn has(&self, decision: Decision) -> bool {
        self.decision == decision || all(&self.exceptions).iter().any(|it| it.decision == decision)
    }
}

#[expect(clippy::ref_option, reason = "serde hands it so")]
fn nothing(text: &Option<Phi<String>>) -> bool {
    text.is_none()
}

/// Text that does not print, as text in a record: the store seals the whole of it.
mod exposed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::phi::Phi;

    #[expect(clippy::ref_option, reason = "serde hands it so")]
    pub(super) fn serialize<S: Serializer>(
        text: &Option<Phi<String>>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_ref().map(Phi::expose).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Phi<String>>, D::Error> {
        Ok(Option::<String>::deserialize(input)?.map(Phi::new))
    }
}
