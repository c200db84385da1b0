//! CDA documents (release 2), as far as a privacy consent says something in one: whom it is about, which
//! policy, from when to when, which exceptions.
//!
//! Promises: no DTD, no entity, bounds on bytes, depth and elements; what is there twice is there
//! twice, in its order; narratives and attachments are not kept; nothing here prints what it
//! holds.
//! Knows nothing of: what a template, a code or a policy means, HL7 v2 that a document came in.
//!
//! Reading order: what a document says, here; `tree` (its elements), `read` (from those to this).

mod read;
mod tree;

use std::fmt;

pub use read::parse;

/// The namespace of CDA.
pub const NAMESPACE: &str = "urn:hl7-org:v3";
/// Deepest nesting. Entries within entries of the corpus come to 21.
pub const DEPTH_MAX: usize = 64;
/// Most elements. The largest document of the corpus has some 3,000, narratives left out.
pub const ELEMENTS_MAX: usize = 1 << 16;
/// Longest text or attribute that is kept, in bytes; a longer one is left out as if it were not
/// there. A name or a title has some hundred.
pub const TEXT_BYTES_MAX: usize = 4096;

/// What a document says.
pub struct Document {
    /// Its templates, which say what kind of document it is.
    pub templates: Vec<Id>,
    /// Its ID.
    pub id: Option<Id>,
    /// The document that it is a version of.
    pub set_id: Option<Id>,
    /// Which version.
    pub version: Option<String>,
    /// What kind of document it is.
    pub code: Option<Code>,
    /// Its title.
    pub title: Option<String>,
    /// When it was written, as in HL7 v2: `20130904`.
    pub written_at: Option<Moment>,
    /// How confidential it is: `N`, `R`, `V`.
    pub confidentiality: Vec<Code>,
    /// Whom it is about; one, but for families.
    pub patients: Vec<Patient>,
    /// The IDs of who keeps it.
    pub custodians: Vec<Id>,
    /// The documents that it stands in relation to: `RPLC` replaces, `APND` adds to, `XFRM` is made
    /// from.
    pub related: Vec<Related>,
    /// What it documents: in a privacy consent the policies that were agreed to.
    pub services: Vec<Service>,
    /// The consents that it says exist.
    pub consents: Vec<Consent>,
    /// What its body is.
    pub body: Body,
    /// The templates of its sections.
    pub sections: Vec<Id>,
    /// Statements of its sections that are those of privacy consent directives, in their order.
    pub statements: Vec<Statement>,
}

impl fmt::Debug for Document {
    /// How much there is of what: the rest is a patient's.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes =
            [self.patients.len(), self.services.len(), self.consents.len(), self.statements.len()];
        write!(out, "Document({sizes:?} patients, services, consents, statements)")
    }
}

/// An instance identifier (II).
#[derive(Clone, PartialEq, Eq)]
pub struct Id {
    /// The OID or UUID of who gave it; empty where that is not said.
    pub root: String,
    /// What it is there.
    pub extension: Option<String>,
}

/// A coded value (CD).
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    /// The code; nothing where there is only a text, or a reason why there is none.
    pub code: Option<String>,
    /// The OID of its system.
    pub system: Option<String>,
    /// Its words.
    pub display: Option<String>,
    /// Why there is no code: `UNK`, `NI`.
    pub null: Option<String>,
}

/// A moment (TS), or why there is none.
#[derive(Clone, PartialEq, Eq)]
pub enum Moment {
    /// As in HL7 v2: `20130904`, `201209091911-0400`.
    At(String),
    /// A null flavor: `UNK` it is not known, `PINF` there is no end, `NA` it does not apply.
    Null(String),
}

/// From when to when (IVL_TS); a moment alone is both.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Interval {
    /// A moment that is not divided.
    pub at: Option<Moment>,
    /// The beginning.
    pub low: Option<Moment>,
    /// The end.
    pub high: Option<Moment>,
}

/// Whom a document is about.
pub struct Patient {
    /// The identifiers.
    pub ids: Vec<Id>,
    /// The names.
    pub names: Vec<Name>,
    /// When born.
    pub birth: Option<Moment>,
    /// The administrative gender.
    pub gender: Option<Code>,
}

/// A name (PN).
pub struct Name {
    /// `L` legal, …, as the document says.
    pub used_as: Option<String>,
    /// The family names.
    pub family: Vec<String>,
    /// The given names.
    pub given: Vec<String>,
    /// The whole, where it is not divided.
    pub text: Option<String>,
}

/// Another document.
pub struct Related {
    /// `RPLC`, `APND`, `XFRM`.
    pub relation: String,
    /// Its IDs.
    pub ids: Vec<Id>,
    /// The document that it is a version of.
    pub set_id: Option<Id>,
}

/// A service event, `documentationOf/serviceEvent`.
pub struct Service {
    /// Its templates; 1.3.6.1.4.1.19376.1.5.3.1.2.6 is a consent to a policy.
    pub templates: Vec<Id>,
    /// Its IDs.
    pub ids: Vec<Id>,
    /// What it is; of a consent, the policy.
    pub code: Option<Code>,
    /// From when to when.
    pub period: Interval,
}

/// A consent that a document says exists, `authorization/consent`.
pub struct Consent {
    /// Its templates.
    pub templates: Vec<Id>,
    /// Its IDs.
    pub ids: Vec<Id>,
    /// To what.
    pub code: Option<Code>,
    /// Always `completed`: that it was given, not that it permits.
    pub status: Option<String>,
}

/// What the body of a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    Absent,
    /// Sections.
    Structured,
    /// Something else, such as a scan.
    Attached {
        /// How many bytes of text there are, base64 or not; 0 where it is referred to.
        bytes: usize,
        /// Whether it stands elsewhere.
        is_reference: bool,
    },
}

/// A clinical statement of a privacy consent directive: an act, an observation, an organizer, …
pub struct Statement {
    /// `act`, `observation`, …
    pub kind: String,
    /// The statement that it is a part of: its number among the statements.
    pub within: Option<usize>,
    /// How it belongs there: `COMP`, `SUBJ`, `RSON`, …
    pub relation: Option<String>,
    /// Its templates; those of consent directives begin with 2.16.840.1.113883.3.445.
    pub templates: Vec<Id>,
    /// Its class: `ACT`, `OBS`.
    pub class: Option<String>,
    /// Its mood: `DEF`, `EVN`, `PERM`, …
    pub mood: Option<String>,
    /// `negationInd`: that this is not so.
    pub is_negated: bool,
    /// What it is about.
    pub code: Option<Code>,
    /// Coded values.
    pub values: Vec<Code>,
    /// `active`, `completed`, …
    pub status: Option<String>,
    /// From when to when.
    pub period: Interval,
    /// Whether participants are named, whom it is limited to.
    pub has_participants: bool,
}
