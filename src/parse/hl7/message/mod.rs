//! A message as spans into its text.
//!
//! Promises: every line that is not blank is a segment, however odd its name; a field that is
//! not there, one that is empty and one that is `""` are told apart; the index costs twelve to
//! sixteen bytes a field and no copy.
//! Knows nothing of: which segments belong together; `normalize` groups them.
//!
//! Reading order: `index` (a text to spans), the message itself, here; `segment` (one of its
//! lines, and the fields of that).

mod index;
mod segment;

use std::borrow::Cow;
use std::fmt;

use encoding_rs::Encoding;

use super::composite::cut;
use super::name::pack;
use super::{Charset, Composite, Delimiters, Head, Malformed, charset, escape, head};
use index::{Index, Line, Span};

pub use index::{FIELDS_MAX, SEGMENTS_MAX};
pub use segment::Segment;

/// A parsed message. It borrows from the frame where that is UTF-8.
pub struct Message<'a> {
    text: Cow<'a, str>,
    delimiters: Delimiters,
    charset: Charset,
    lines: Vec<Line>,
    fields: Vec<Span>,
    /// Whether the escape character occurs outside MSH-2; most messages have none.
    has_escapes: bool,
}

// PROMISE-10
impl fmt::Debug for Message<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Message({} segments)", self.lines.len())
    }
}

/// What a raw value says.
#[derive(Clone, PartialEq, Eq)]
pub enum Content<'m> {
    /// Nothing is said.
    Absent,
    /// `""`: there is none, delete what you have (chapter 2.5.3).
    Null,
    /// The text, unescaped.
    Text(Cow<'m, str>),
}

impl<'a> Message<'a> {
    /// Parses a frame: MSH, then the character set, then the spans.
    ///
    /// # Errors
    /// The bytes are not a message; see [`Malformed`].
    pub fn parse(bytes: &'a [u8], silent: Charset) -> Result<Self, Malformed> {
        let head = Head::read(bytes)?;
        let (text, charset) =
            charset::decode(head::skip_lead(bytes), head.component(18, 1), silent)?;
        let delimiters = head.delimiters;
        let Index { lines, fields, has_escapes } = Index::of(text.as_bytes(), &delimiters)?;
        Ok(Self { text, delimiters, charset, lines, fields, has_escapes })
    }

    /// What the message is divided by.
    #[must_use]
    pub const fn delimiters(&self) -> &Delimiters {
        &self.delimiters
    }

    /// How many segments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many fields there are over all segments; field numbers of [`Segment::field_id`] are
    /// below it.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// A segment by its position, from 0.
    #[must_use]
    pub fn segment(&self, index: usize) -> Option<Segment<'_>> {
        self.lines.get(index).map(|line| Segment::new(self, line, index))
    }

    /// The first segment of a packed name from a position on, before another.
    pub(super) fn find(&self, name: u32, from: usize, before: usize) -> Option<Segment<'_>> {
        let lines = self.lines.get(from..before.min(self.lines.len()))?;
        let at = lines.iter().position(|line| line.name == name)?;
        self.segment(from + at)
    }

    /// All segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.lines.iter().enumerate().map(|(index, line)| Segment::new(self, line, index))
    }

    /// The text of a raw value where that is the value itself, as most are: not empty, not
    /// `""`, nothing to unescape or to trim.
    #[inline]
    #[must_use]
    pub fn as_is<'m>(&self, raw: &'m str) -> Option<&'m str> {
        let bytes = raw.as_bytes();
        let plain = !self.has_escapes
            && bytes.last().is_some_and(u8::is_ascii_graphic)
            && !matches!(bytes, [b'"', b'"']);
        plain.then_some(raw)
    }

    /// What a raw value says: unescaped, without blanks at its end, which HL7 does not count
    /// (chapter 2A, ST).
    #[must_use]
    pub fn content<'m>(&'m self, raw: &'m str) -> Content<'m> {
        if let Some(text) = self.as_is(raw) {
            return Content::Text(Cow::Borrowed(text));
        }
        match raw.trim_end() {
            "" => Content::Absent,
            "\"\"" => Content::Null,
            text => Content::Text(escape::unescape(text, &self.delimiters, self.encoding())),
        }
    }

    /// The first value at a path, for the few that are needed without a mapping.
    #[must_use]
    pub fn text_at(
        &self,
        segment: &[u8; 3],
        field: usize,
        component: usize,
    ) -> Option<Cow<'_, str>> {
        let wanted = pack(segment);
        let found = self.segments().find(|candidate| candidate.packed_name() == wanted)?;
        let raw = self.repetitions(found.field(field)?).next()?;
        match self.content(Composite::of_field(raw, &self.delimiters).part(component).first()) {
            Content::Text(text) => Some(text),
            Content::Absent | Content::Null => None,
        }
    }

    /// The repetitions of a field; an empty field has one.
    pub fn repetitions<'m>(&self, field: &'m str) -> impl Iterator<Item = &'m str> + use<'m> {
        let separator = self.delimiters.repetition;
        let mut rest = Some(field);
        std::iter::from_fn(move || {
            let (repetition, tail) = cut(rest?, separator);
            rest = tail;
            Some(repetition)
        })
    }

    fn encoding(&self) -> &'static Encoding {
        match self.charset {
            Charset::Ascii | Charset::Utf8 => encoding_rs::UTF_8,
            Charset::Other(encoding) => encoding,
        }
    }

    fn slice(&self, span: Span) -> &str {
        self.text.get(span.start()..span.end()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Message<'_> {
        Message::parse(text.as_bytes(), Charset::Utf8).unwrap()
    }

    const MSH: &str = "MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5";

    #[test]
    fn header_fields_count_the_separator() {
        let message = parse(MSH);
        let header = message.segment(0).unwrap();
        assert_eq!(header.field(1), Some("|"));
        assert_eq!(header.field(2), Some("^~\\&"));
        assert_eq!(header.field(9), Some("ADT^A01"));
        assert_eq!(header.field(13), None);
        assert_eq!(header.field(0), None);
        assert_eq!(message.text_at(b"MSH", 9, 2).as_deref(), Some("A01"));
    }

    #[test]
    fn absent_empty_and_null_are_told_apart() {
        let text = format!("{MSH}\rPID|1|\"\"||  |a ");
        let message = parse(&text);
        let pid = message.segment(1).unwrap();
        let said: Vec<_> = (1..=6)
            .map(|number| pid.field(number).map(|raw| message.content(raw)))
            .map(|content| match content {
                None => "none".to_owned(),
                Some(Content::Absent) => "absent".to_owned(),
                Some(Content::Null) => "null".to_owned(),
                Some(Content::Text(text)) => text.into_owned(),
            })
            .collect();
        assert_eq!(said, ["1", "null", "absent", "absent", "a", "none"]);
    }
}
