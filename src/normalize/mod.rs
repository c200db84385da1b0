//! A parsed message to canonical events, by mappings that an analyst writes.
//!
//! Promises: nothing of a message is lost silently: what no rule took is listed, by place and
//! never by value; a value that cannot be leaves its field empty and is listed, too; the same
//! message and mapping give the same events, byte for byte.
//! Knows nothing of: feeds, IDs, consent, routes.
//!
//! Reading order: [`mapping`] (what a mapping is), `segments` (what is HL7 v2's in it),
//! [`load`](mod@load) (from TOML), [`compile`] (to operations), [`site`] (what a site says otherwise, with [`authority`]), [`group`] (which segments
//! belong together), [`run`] (a message through them),
//! `cda` (privacy consents as documents in it), `salvage` (what can be read of one that gives no
//! event), [`coverage`] (what many hold, and who takes it), [`convert`] (HL7 data types; `value` and `attachment` those of OBX-5), [`fhir`] (the same of
//! resources), [`case`] (the examples in each file).

pub mod mapping;
mod segments;
pub mod table;
mod authority;
pub mod load;
mod compile;
pub mod site;
pub mod group;
mod trail;
mod taken;
pub mod run;
mod salvage;
mod convert;
mod value;
mod attachment;
mod cda;
pub mod coverage;
pub mod case;
pub mod fhir;

use std::fmt;

pub use cda::bears_consent;
pub use coverage::Coverage;
pub use load::{load, load_documents};
pub use mapping::{Mapping, Mappings};
pub use run::{Context, Documents, Draft, Normalized, Trace, Traced, Unmapped, normalize};
pub use salvage::{Salvage, salvage};
pub use site::Site;

/// A field as a mapping names it, or a whole segment: what an answer to the sender points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The segment.
    pub segment: String,
    /// The field, from 1; 0 for the whole segment.
    pub field: usize,
}

impl fmt::Display for Spot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.segment)?;
        if self.field > 0 { write!(out, "-{}", self.field) } else { Ok(()) }
    }
}

/// Why a message gives no event. Places only, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No mapping selects this type and trigger. Both are the sender's words, bounded and
    /// stripped to letters and digits.
    #[error("no mapping selects {kind}^{trigger}")]
    Unsupported {
        /// Message type (MSH-9.1).
        kind: String,
        /// Trigger event (MSH-9.2, else EVN-1).
        trigger: String,
    },
    /// A field that the mapping requires is empty.
    #[error("{spot} is required and empty")]
    Missing {
        /// Where it should stand.
        spot: Spot,
    },
    /// A field that the mapping requires holds what cannot be.
    #[error("{spot} is required and holds a value that cannot be")]
    Impossible {
        /// Where it stands.
        spot: Spot,
    },
    /// No mapping selects resources of this type. It is the sender's word, bounded and stripped to
    /// letters and digits.
    #[error("no mapping selects the resource {kind}")]
    UnsupportedResource {
        /// The resource type.
        kind: String,
    },
    /// An element that the mapping requires is empty.
    #[error("{place} is required and empty")]
    MissingElement {
        /// Where it should stand, such as `Patient.identifier`.
        place: String,
    },
    /// An element that the mapping requires holds what cannot be.
    #[error("{place} is required and holds a value that cannot be")]
    ImpossibleElement {
        /// Where it stands.
        place: String,
    },
    /// A resource is about somebody who is known neither by it nor by what came with it.
    #[error("the patient whom {place} means is not known")]
    UnknownPatient {
        /// The element that says whom it is about.
        place: String,
    },
    /// A resource is about a group, a device, a place.
    #[error("{place} is no patient")]
    NoPatient {
        /// The element that says whom it is about.
        place: String,
    },
    /// More events than one message may give: [`group::GROUPS_MAX`], [`group::CONSENTS_MAX`].
    #[error("more order groups or consents than one message may give")]
    TooManyGroups,
    /// The events would hold more text than one message may give.
    #[error("its events would hold more than 64 MiB of text")]
    TooLarge,
}

impl Refusal {
    /// The category of the exception that it opens.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. }
            | Self::UnsupportedResource { .. }
            | Self::NoPatient { .. } => "unsupported",
            Self::Missing { .. }
            | Self::Impossible { .. }
            | Self::MissingElement { .. }
            | Self::ImpossibleElement { .. }
            | Self::UnknownPatient { .. }
            | Self::TooManyGroups
            | Self::TooLarge => "unmapped",
        }
    }

    /// The field that it is about, such as `PID-3`; empty where it is the whole of the message.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Missing { spot } | Self::Impossible { spot } => spot.to_string(),
            Self::MissingElement { place }
            | Self::ImpossibleElement { place }
            | Self::UnknownPatient { place }
            | Self::NoPatient { place } => place.clone(),
            Self::Unsupported { .. } => "MSH-9".to_owned(),
            Self::UnsupportedResource { .. } => "resourceType".to_owned(),
            Self::TooManyGroups | Self::TooLarge => String::new(),
        }
    }
}
