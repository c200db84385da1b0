//! The fields of MSH as bytes: enough to answer a message that cannot be read further.
//!
//! Promises: what is echoed from here into an acknowledgement cannot hold a segment end or a
//! field separator (PROMISE-11).
//! Knows nothing of: which character set it is in, but for whether bytes of it may look like a
//! delimiter. MSH-18 is read here to find out.

use memchr::memchr;

use super::wide::{self, Wide};
use super::wire::UTF8_MARK;
use super::{Charset, Delimiters, Malformed};

/// Longest control ID that is taken and echoed, in bytes. Table 2-1 of chapter 2 allows 199
/// characters from 2.7 on, 20 before; real ones go to 50. 255 is also what AMQP can carry.
pub const CONTROL_ID_BYTES_MAX: usize = 255;
/// Fields of MSH that are looked at: MSH-25 is the last one that 2.9 defines.
const FIELDS_MAX: usize = 25;

/// Repetitions of a field of MSH that are looked at; MSH-18 names one to three character sets.
pub const REPETITIONS_MAX: usize = 16;
/// Begins an escape sequence of ISO 2022.
const ESC: u8 = 0x1B;

/// MSH, split into fields.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// What the message is divided by.
    pub delimiters: Delimiters,
    /// MSH-2 as it came.
    encoding: &'a [u8],
    /// MSH-3 and what follows.
    fields: Vec<&'a [u8]>,
    /// Whether bytes may look like a delimiter and be none.
    wide: Option<Wide>,
}

/// Skips what some senders put before MSH: byte order marks, blank lines, spaces, in whatever order.
#[must_use]
pub fn skip_lead(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.trim_ascii_start();
    while let Some(behind) = rest.strip_prefix(UTF8_MARK) {
        rest = behind.trim_ascii_start();
    }
    rest
}

/// Whether a byte order mark of UTF-8 is among what stands before MSH.
#[must_use]
pub fn is_marked(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(UTF8_MARK)
}

impl<'a> Head<'a> {
    /// Reads the first segment.
    ///
    /// # Errors
    /// It is not MSH, or its delimiters cannot be.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::read_wide(bytes, b"MSH", None)
    }

    /// Reads the first segment, which is to be of this name: FHS and BHS begin as MSH does. Its bytes
    /// are in this character set, where it is known.
    ///
    /// # Errors
    /// As for [`Head::read`].
    pub(super) fn named(
        bytes: &'a [u8],
        name: &[u8],
        charset: Option<Charset>,
    ) -> Result<Self, Malformed> {
        Self::read_wide(bytes, name, charset.and_then(Wide::of))
    }

    /// Reads the first segment of a message in a character set, in which bytes of a character may
    /// look like a delimiter.
    ///
    /// # Errors
    /// As [`Head::read`].
    pub fn read_in(bytes: &'a [u8], charset: Charset) -> Result<Self, Malformed> {
        Self::read_wide(bytes, b"MSH", Wide::of(charset))
    }

    fn read_wide(bytes: &'a [u8], name: &[u8], wide: Option<Wide>) -> Result<Self, Malformed> {
        let rest = skip_lead(bytes).strip_prefix(name).ok_or(Malformed::NoHeader)?;
        let (&separator, rest) = rest.split_first().ok_or(Malformed::NoHeader)?;
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or(rest);
        let end = line.iter().position(|byte| *byte == separator).unwrap_or(line.len());
        let (encoding, rest) = line.split_at_checked(end).unwrap_or((line, b""));
        let delimiters = Delimiters::read(separator, encoding)?;
        let fields = match rest.split_first() {
            Some((_, rest)) => wide::split(rest, separator, wide, FIELDS_MAX),
            None => Vec::new(),
        };
        Ok(Self { delimiters, encoding, fields, wide })
    }

    /// How many fields there are; MSH-1 counts.
    pub(super) fn field_count(&self) -> usize {
        self.fields.len() + 2
    }

    /// Whether all of it is plain ASCII that nothing is switched in, so that it reads the same
    /// in every character set that is taken.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |byte: &u8| byte.is_ascii() && *byte != ESC;
        self.fields.iter().all(|field| field.iter().all(plain))
    }

    /// A field of MSH as it came, from MSH-2 on; empty where it is not there.
    #[must_use]
    pub fn field(&self, number: usize) -> &'a [u8] {
        match number {
            2 => self.encoding,
            _ => number
                .checked_sub(3)
                .and_then(|index| self.fields.get(index))
                .copied()
                .unwrap_or_default(),
        }
    }

    /// A field that may be echoed: empty where it holds control characters, which are how a
    /// field would become a segment of the answer.
    #[must_use]
    pub fn echo(&self, number: usize) -> &'a [u8] {
        let field = self.field(number);
        if field.iter().any(u8::is_ascii_control) { b"" } else { field }
    }

    /// A component of the first repetition of a field, from 1.
    #[must_use]
    pub fn component(&self, number: usize, component: usize) -> &'a [u8] {
        if self.wide.is_some() {
            return self.repetitions(number, component).next().unwrap_or_default();
        }
        let field = self.field(number);
        let first = memchr(self.delimiters.repetition, field)
            .and_then(|at| field.get(..at))
            .unwrap_or(field);
        first
            .split(|byte| *byte == self.delimiters.component)
            .nth(component.saturating_sub(1))
            .unwrap_or_default()
            .trim_ascii()
    }

    /// A component of each repetition of a field, from 1; the repetitions are at most
    /// [`REPETITIONS_MAX`].
    pub fn repetitions(
        &self,
        number: usize,
        component: usize,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let Self { delimiters, wide, .. } = *self;
        let all = wide::split(self.field(number), delimiters.repetition, wide, REPETITIONS_MAX);
        all.into_iter().map(move |repetition| {
            let parts = wide::split(repetition, delimiters.component, wide, component + 1);
            let part = parts.get(component.saturating_sub(1)).copied();
            part.unwrap_or_default().trim_ascii()
        })
    }

    /// The control ID (MSH-10), to be echoed byte for byte.
    ///
    /// # Errors
    /// It is empty, too long, or holds control characters.
    pub fn control_id(&self) -> Result<&'a [u8], Malformed> {
        let id = self.field(10);
        if id.trim_ascii().is_empty() {
            Err(Malformed::NoControlId)
        } else if id.len() > CONTROL_ID_BYTES_MAX || id.iter().any(u8::is_ascii_control) {
            Err(Malformed::BadControlId)
        } else {
            Ok(id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_numbered_as_the_standard_does() {
        let bytes = b"\xef\xbb\xbf\r\nMSH|^~\\&|APP|FAC|||2026||ADT^A01^ADT_A01|42|P|2.5\rPID|1\r";
        let head = Head::read(bytes).unwrap();
        assert_eq!(head.field(2), b"^~\\&");
        assert_eq!(head.field(3), b"APP");
        assert_eq!(head.field(4), b"FAC");
        assert_eq!(head.component(9, 2), b"A01");
        assert_eq!(head.control_id(), Ok(&b"42"[..]));
        assert_eq!(head.field(12), b"2.5");
        assert_eq!(head.field(18), b"");
        assert_eq!(head.field(0), b"");
    }

    /// PROMISE-11
    #[test]
    fn what_would_forge_a_segment_is_not_echoed() {
        let head = Head::read(b"MSH|^~\\&|A\x0bB|F|||||ADT^A01|I\x1cD|P|2.5").unwrap();
        assert_eq!(head.echo(3), b"");
        assert_eq!(head.echo(4), b"F");
        assert_eq!(head.control_id(), Err(Malformed::BadControlId));
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        for bytes in [&b""[..], b"MSH", b"PID|1", b"msh|^~\\&|", b" "] {
            assert_eq!(Head::read(bytes).unwrap_err(), Malformed::NoHeader);
        }
        assert_eq!(Head::read(b"MSH|").unwrap_err(), Malformed::Delimiters);
        assert_eq!(Head::read(b"MSH|^~\\&").unwrap().control_id(), Err(Malformed::NoControlId));
    }
}
