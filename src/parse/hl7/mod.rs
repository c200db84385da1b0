//! HL7 v2 in its pipe form (chapter 2).
//!
//! Promises: every segment of a message is kept and reachable, whatever its name; nothing is
//! copied until a value is unescaped; delimiters come from MSH-1 and MSH-2 of each message.
//! Knows nothing of: what a segment means, which ones a message type has.
//!
//! Reading order: [`delimiters`], [`head`] (the bytes of MSH, enough to answer), [`batch`] (several
//! messages apart), [`tally`] (their counts), [`charset`]
//! (bytes to text), [`message`] (text to spans), [`name`] (of a segment), [`composite`] (a value
//! and its parts), [`path`] (how a mapping names a value), [`escape`] and [`datetime`] (a value to
//! what it says).

pub mod delimiters;
pub mod head;
pub mod batch;
pub mod tally;
pub mod charset;
pub mod message;
mod scan;
pub mod name;
pub mod composite;
pub mod path;
pub mod escape;
pub mod datetime;

pub use charset::Charset;
pub use composite::Composite;
pub use delimiters::Delimiters;
pub use head::Head;
pub use message::{Content, Message, Segment};
pub use path::{FieldSpot, Hit, Path, Scope};

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
    #[error("MSH-18 names a character set that is not known")]
    UnknownCharset,
    /// The bytes do not decode in the character set of the message.
    #[error("byte {at} does not decode as {charset}")]
    Undecodable {
        /// Position of the first byte that does not decode, from 0.
        at: usize,
        /// The character set tried.
        charset: &'static str,
    },
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
