//! HL7 v2 in XML (v2.xml, "XML Encoding Rules for HL7 v2 Messages", release 2), to the pipe form.
//!
//! Promises: no DTD, no entity but the five of XML and character references, nothing fetched;
//! depth, elements and attributes have bounds; what is not a message in XML is refused with its
//! line and its place, never with a value; what is transcribed says the same as the element did.
//! Knows nothing of: what a message structure requires, which data type a field has.
//!
//! Reading order: what is wrong, and where, here; `decode` (bytes to text), `name` (what an
//! element is by its name), `part` (an element's value in the pipe form), `transcribe` (all of it),
//! `write` (an acknowledgement back).
//!
//! Two dialects are read: that of the standard, `PID.3` > `CX.4` > `HD.1` in groups such as
//! `ORU_R01.PATIENT_RESULT`, with its namespace or none; and that of interface engines,
//! `HL7Message` > `PID` > `PID.3` > `PID.3.4` > `PID.3.4.1`.

mod decode;
mod name;
mod part;
mod transcribe;
mod write;

use std::fmt;

use super::Place;
use crate::parse::xml;

pub use decode::decode;
pub use transcribe::{Transcript, transcribe};
pub use write::write;

/// The namespace of the standard.
pub const NAMESPACE: &str = "urn:hl7-org:v2xml";
/// The root element of interface engines.
pub const ENGINE_ROOT: &str = "HL7Message";

/// Deepest nesting. A field's parts take five levels; message structures nest four groups.
pub const DEPTH_MAX: usize = 32;
/// Most elements in one message: each of [`FIELDS_MAX`](super::message::FIELDS_MAX) fields with
/// three parts.
pub const ELEMENTS_MAX: usize = 1 << 22;
/// Most attributes of one element; the standard has four.
pub const ATTRIBUTES_MAX: usize = 16;
/// Most separators of components in one message; an element of few bytes may stand for hundreds.
pub const SEPARATORS_MAX: usize = 1 << 21;

/// How an XML message is written, so that its answer can be written in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// As the standard has it, with its namespace.
    #[default]
    Standard,
    /// As the standard has it, without a namespace.
    Bare,
    /// As interface engines have it.
    Engine,
}

/// What is wrong with an XML message, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub wrong: Wrong,
    /// The line, from 1.
    pub line: usize,
    /// Where in the message, as far as that is clear.
    pub place: Option<Place>,
}

/// What may be wrong with an XML message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// What no XML document may be.
    #[error(transparent)]
    Document(#[from] xml::Wrong),
    /// Deeper than [`DEPTH_MAX`].
    #[error("elements nest deeper than {DEPTH_MAX}")]
    TooDeep,
    /// More than [`ELEMENTS_MAX`] elements, or more empty parts than [`SEPARATORS_MAX`].
    #[error("more elements or empty parts than one message may have")]
    TooMany,
    /// More than [`ATTRIBUTES_MAX`] attributes.
    #[error("an element has more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    /// In another namespace than [`NAMESPACE`] or none.
    #[error("an element is in a namespace that is not urn:hl7-org:v2xml")]
    Namespace,
    /// An element whose name does not belong where it stands.
    #[error("an element has a name that does not belong there")]
    Name,
    /// Text beside elements, or where only elements may stand.
    #[error("text stands beside elements")]
    Mixed,
    /// A component or subcomponent that is there twice.
    #[error("a component is there twice")]
    Repeated,
    /// A part that the pipe form has no place for.
    #[error("a part is divided further than HL7 v2 divides")]
    TooFine,
    /// An `escape` element that is none.
    #[error("an escape element has no V, or one that is no escape")]
    Escape,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}", self.line)?;
        if let Some(place) = self.place {
            write!(out, ", {place}")?;
        }
        write!(out, ": {}", self.wrong)
    }
}
