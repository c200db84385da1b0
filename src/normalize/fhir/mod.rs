//! A FHIR resource to canonical events, by mappings that an analyst writes.
//!
//! Promises: an event is about a patient who is known, or there is none; nothing of the resource is
//! lost silently: what no rule took is listed, by element and never by value; the same scene gives
//! the same events, byte for byte.
//! Knows nothing of: servers, IDs of events, consent; which patient a reference means that neither
//! the resource nor what came with it resolves.
//!
//! Reading order: [`Scene`] (what is mapped, and what stands beside it), `path` (where a value
//! stands), `mapping` and `load` (what is selected), `rules` (how a value is read), `run`, `convert`,
//! `value`, `place` and `date` (FHIR's data types), `name` (what a coverage calls an element), [`stay`] (from two versions of an Encounter to what
//! happened), [`opened`] and [`around`] (Bundles, and references within them), [`release`] (R4 or R5).

mod mapping;
pub(super) mod load;
mod path;
mod rules;
mod run;
mod convert;
mod value;
mod place;
pub(super) mod name;
pub mod date;
pub mod stay;
pub mod around;
pub mod opened;
pub mod release;

use crate::parse::fhir::{Resource, Version};

pub use around::Around;
pub use mapping::{Mapping, Mappings};
pub use run::normalize_resource;
pub(super) use run::{apply, cover};
pub use stay::Seen;

/// One version of a resource, and what is known beside it.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'s> {
    /// What is mapped.
    pub focus: &'s Resource<'s>,
    /// The Patient that it is about. Of a Patient, nothing.
    pub patient: Option<&'s Resource<'s>>,
    /// What was last seen of this Encounter; of another type, nothing.
    pub before: Option<&'s Seen>,
    /// The release that the server has.
    pub version: Version,
    /// Resources that came with it.
    pub around: &'s Around<'s>,
}
