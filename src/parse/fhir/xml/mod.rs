//! A resource in FHIR XML (R4, 2.6.1) to the same resource in FHIR JSON (2.6.2), by the table of
//! elements.
//!
//! Promises: what JSON would have as a list is a list, as a number a number with its text, as `true`
//! or `false` that; IDs and extensions of a primitive stand in its twin, `_birthDate`; an element
//! that the table does not have is kept; a DTD, an unknown entity and another namespace are refused. Of
//! a Bundle, another namespace, text beside elements and what is no resource cost the entry.
//! Knows nothing of: values, which are copied; which elements are required.
//!
//! What is not in the table: of a resource type that it lacks, elements of every resource are known
//! and the rest is guessed. A guess is text where there is a `value`, an object where there are
//! elements, a list where there are several. A narrative is kept as it is written, unread. A number or
//! boolean that is none becomes a text, for the mapping to refuse with its place.
//!
//! Reading order: `part` (an element that is open, and what it says in JSON), `transcribe` (all of it).

mod part;
mod transcribe;

pub use transcribe::{Transcript, transcribe, transcribe_each};

/// The namespace of FHIR.
pub const NAMESPACE: &str = "http://hl7.org/fhir";
/// The namespace of narratives.
pub const NARRATIVE: &str = "http://www.w3.org/1999/xhtml";
