//! HL7 v2: its pipe form (chapter 2), and its XML form, which becomes that.
//!
//! Promises: every segment of a message is kept and reachable, whatever its name; nothing is
//! copied until a value is unescaped; delimiters come from MSH-1 and MSH-2 of each message.
//! Knows nothing of: what a segment means, which ones a message type has.
//!
//! Reading order: [`delimiters`], [`head`] (the bytes of MSH, enough to answer), [`batch`] (several
//! messages apart), [`tally`] (their counts), [`charset`]
//! (bytes to text), `wide` (bytes that look like a delimiter), [`xml`] (the other form, to this
//! one), [`wire`] (which form came, and in which character set), [`message`] (text to spans), [`name`] (of a segment), [`composite`] (a value
//! and its parts), [`path`] (how a mapping names a value), [`escape`] and [`datetime`] (a value to
//! what it says).

use std::fmt;

pub mod delimiters;
mod wide;
pub mod head;
pub mod batch;
pub mod tally;
pub mod charset;
pub mod xml;
pub mod wire;
pub mod message;
mod scan;
pub mod name;
pub mod composite;
pub mod path;
pub mod escape;
pub mod datetime;

pub use charset::{Charset, Charsets};
pub use composite::Composite;
pub use delimiters::Delimiters;
pub use head::Head;
pub use message::{Content, Message, Segment};
pub use path::{FieldSpot, Hit, Path, Scope};
pub use wire::Wire;

/// Where in a message something is wrong. Legal names and numbers only, so that it can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: [u8; 3],
    /// The field, from 1; 0 for the whole segment.
    pub field: u16,
    /// The component, from 1; 0 for the whole field.
    pub component: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segment.iter().try_for_each(|byte| write!(out, "{}", char::from(*byte)))?;
        match (self.field, self.component) {
            (0, _) => Ok(()),
            (field, 0) => write!(out, "-{field}"),
            (field, component) => write!(out, "-{field}.{component}"),
        }
    }
}

/// Why bytes are not an HL7 v2 message. Places only, never values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first segment is not MSH.
    #[error("the first segment is not MSH")]
    NoHeader,
    /// MSH-1 or MSH-2 cannot be: not ASCII, alike, too few or too many.
    #[error("MSH-1 and MSH-2 are not one field separator and 3 to 5 encoding characters")]
    Delimiters,
    /// MSH-18 names a character set that is not known, and the bytes are not plain ASCII.
    #[error(
        "MSH-18 names a character set that is not known; the feed's `charset_aliases` say what its \
         sender means by it"
    )]
    UnknownCharset,
    /// The bytes do not decode in the character set of the message.
    #[error("byte {at} does not decode as {charset}")]
    Undecodable {
        /// Position of the first byte that does not decode, from 0.
        at: usize,
        /// The character set tried.
        charset: &'static str,
    },
    /// The text switches to another character set in a way that is not read: by an escape
    /// sequence of ISO 2022, or by `\C..\` and `\M..\` (chapter 2.7.3).
    #[error("{place} switches to another character set in a way that is not read")]
    Switched {
        /// Where first.
        place: Place,
    },
    /// UTF-16 that does not end with a segment's end. In a frame, its own bytes may have been taken
    /// for the frame's end.
    #[error("UTF-16 that does not end with the end of a segment")]
    CutShort,
    /// XML that is not a message in XML.
    #[error("{0}")]
    Xml(xml::Fault),
    /// More segments than [`message::SEGMENTS_MAX`].
    #[error("more than {} segments", message::SEGMENTS_MAX)]
    TooManySegments,
    /// More fields than [`message::FIELDS_MAX`].
    #[error("more than {} fields", message::FIELDS_MAX)]
    TooManyFields,
    /// MSH-9 is empty.
    #[error("MSH-9 is empty")]
    NoType,
    /// MSH-10 is empty.
    #[error("MSH-10 is empty")]
    NoControlId,
    /// MSH-10 holds control characters or is longer than [`head::CONTROL_ID_BYTES_MAX`].
    #[error("MSH-10 is not a legal control ID")]
    BadControlId,
    /// Reading it failed for a fault of ours.
    #[error("reading it failed for a fault of tidegate's; please report it")]
    Unreadable,
}
