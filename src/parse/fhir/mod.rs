//! FHIR (R4 4.0.1, R5 5.0.0): resources in JSON as bounded trees, and their XML form, which becomes that.
//!
//! Promises: every element of a resource is kept and reachable, known or not; numbers keep their
//! text and `null` is not absent; nothing is copied until a text is unescaped; what is refused says
//! where, never with a value.
//! Knows nothing of: what an element means, which server a resource came from.
//!
//! Reading order: what is wrong, and where, here; `read` (bytes to the tree), [`node`] (what stands in
//! it), `write` (the tree to bytes), [`elements`] (which elements a type has), [`path`] (how a mapping
//! names a value), [`bundle`] (entries of a page, each for itself),
//! [`xml`] (the other form, to this one).

use std::fmt;

mod read;
pub mod node;
mod write;
pub mod elements;
pub mod path;
pub mod bundle;
pub mod xml;

pub use bundle::Bundle;
pub use node::{Node, Resource};
pub use path::Path;

/// Deepest nesting of objects and lists. The deepest resource of the corpus has 14; extensions,
/// parts of questionnaires and provisions nest by themselves.
pub const DEPTH_MAX: usize = 64;
/// Most values of one resource: members, items of lists, and the objects around them. The largest
/// resource of the corpus has some 6,000; each takes under 100 bytes beside the bytes read.
pub const NODES_MAX: usize = 1 << 17;
/// Most members of one object. The longest type of R5 has some 60 elements, each with its `_name` twin.
pub const MEMBERS_MAX: usize = 512;
/// Longest name of a member, in bytes. The longest element of R5 has under 50.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest place in a refusal, in bytes: who sends names of his own does not fill a log with them.
pub const PLACE_BYTES_MAX: usize = 256;
/// Longest text, in bytes: an attachment's data in base64. A string proper has at most 1 MiB (FHIR
/// R4, 2.24.0.1).
pub const TEXT_BYTES_MAX: usize = 1 << 24;
/// Longest number, in characters. FHIR promises 18 digits (R4, 2.24.0.1).
pub const NUMBER_BYTES_MAX: usize = 64;
/// Longest resource type, in letters. The longest of R5 has 34.
pub const KIND_BYTES_MAX: usize = 64;
/// Longest `id`, in characters (FHIR R4, 2.24.0.1).
pub const ID_BYTES_MAX: usize = 64;

/// A release of FHIR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// 4.0.1, and 4.3.0 (R4B), which has the same resources of those read.
    R4,
    /// 5.0.0.
    R5,
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::R4 => "R4",
            Self::R5 => "R5",
        })
    }
}

/// Why bytes are not a resource, and where. Places only, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What.
    pub wrong: Wrong,
    /// The line, from 1.
    pub line: usize,
    /// The byte of the line, from 1.
    pub column: usize,
    /// The element, such as `Observation.component[1].valueQuantity`, as far as that is clear.
    pub place: Option<Box<str>>,
}

impl std::error::Error for Malformed {}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}", self.line, self.column)?;
        if let Some(place) = &self.place {
            write!(out, ", {place}")?;
        }
        write!(out, ": {}", self.wrong)
    }
}

/// A place as it may be printed: of one that is too long the beginning.
fn bounded(mut place: String) -> Box<str> {
    if place.len() > PLACE_BYTES_MAX {
        // Printed names are ASCII.
        place.truncate(PLACE_BYTES_MAX);
        place.push('…');
    }
    place.into()
}

/// What may be wrong with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Longer than the bound that was handed in.
    #[error("it is longer than it may be")]
    TooLong,
    /// Not UTF-8, which FHIR JSON is always in.
    #[error("the bytes are not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("it is not well-formed JSON")]
    NotWellFormed,
    /// JSON, but no object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// No `resourceType`.
    #[error("it has no resourceType")]
    NoKind,
    /// A `resourceType` that is none.
    #[error("resourceType is not a name of letters, at most {KIND_BYTES_MAX}")]
    BadKind,
    /// Deeper than [`DEPTH_MAX`].
    #[error("objects and lists nest deeper than {DEPTH_MAX}")]
    TooDeep,
    /// More values than [`NODES_MAX`], or members than [`MEMBERS_MAX`].
    #[error("it has more elements than a resource may have")]
    TooMany,
    /// A name longer than [`NAME_BYTES_MAX`].
    #[error("an element's name is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// A text longer than [`TEXT_BYTES_MAX`], or a number longer than [`NUMBER_BYTES_MAX`].
    #[error("a text or a number is longer than it may be")]
    ValueTooLong,
    /// Two members of one object have the same name: which is meant cannot be known.
    #[error("an object has two elements of one name")]
    Repeated,
    /// A text with an escape that stands for no character.
    #[error("a text has an escape that stands for no character")]
    Escape,
    /// Another resource where a Bundle is wanted.
    #[error("it is not a Bundle")]
    NotABundle,
    /// An element that is a list where FHIR has one value, or the other way around.
    #[error("an element has another shape than FHIR gives it")]
    Shape,
    /// More than [`bundle::ENTRIES_MAX`] entries.
    #[error("it has more than {} entries", bundle::ENTRIES_MAX)]
    TooManyEntries,
    /// XML that is not a resource in XML.
    #[error("{0}")]
    Xml(crate::parse::xml::Wrong),
}
