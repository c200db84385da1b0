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
use super::name::{is_segment_name, pack};
use super::{Charset, Charsets, Composite, Delimiters, Malformed, Place, Wire, escape};
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
    /// Parses a message in whichever form it is, with the character set where it states none.
    ///
    /// # Errors
    /// The bytes are not a message; see [`Malformed`].
    pub fn parse(bytes: &'a [u8], silent: Charset) -> Result<Self, Malformed> {
        Wire::open(bytes, &Charsets::from(silent)).into_message()
    }

    /// Parses a text that begins with MSH, without a look at whether it switches to other
    /// character sets.
    pub(super) fn of(
        text: Cow<'a, str>,
        delimiters: Delimiters,
        charset: Charset,
    ) -> Result<Self, Malformed> {
        let Index { lines, fields, has_escapes } = Index::of(text.as_bytes(), &delimiters)?;
        Ok(Self { text, delimiters, charset, lines, fields, has_escapes })
    }

    /// Refuses a text that switches to other character sets, by whether MSH says that it may.
    pub(super) fn in_one_charset(self, alternates: bool) -> Result<Self, Malformed> {
        match self.switch(alternates) {
            Some(place) => Err(Malformed::Switched { place }),
            None => Ok(self),
        }
    }

    /// Where the text first switches to another character set in a way that is not read. What
    /// follows would be read as something else than it says.
    fn switch(&self, alternates: bool) -> Option<Place> {
        let raw = escape::escape_sequence(&self.text, alternates);
        let escape = self.delimiters.escape;
        let escaped = self.has_escapes.then(|| escape::charset_escape(&self.text, escape));
        let at = raw.into_iter().chain(escaped.flatten()).min()?;
        let line = self.lines.iter().rfind(|line| line.span.start() <= at)?;
        let first = line.first_field as usize;
        let fields = self.fields.get(first..first + line.fields as usize).unwrap_or_default();
        let field = fields.iter().filter(|span| span.start() <= at).count();
        let [_, segment @ ..] = line.name.to_be_bytes();
        let segment = if is_segment_name(&segment) { segment } else { *b"MSH" };
        Some(Place { segment, field: u16::try_from(field).unwrap_or(u16::MAX), component: 0 })
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
    use proptest::prelude::*;

    use super::*;

    /// Writes a message back from its parts: each field by its repetitions, their components and
    /// subcomponents, with the separators between; between segments what ended them.
    fn write_back(message: &Message<'_>) -> String {
        let delimiters = message.delimiters;
        let mut out = String::new();
        let mut end = 0;
        for (line, segment) in message.lines.iter().zip(message.segments()) {
            let between = message.text.get(end..line.span.start()).unwrap();
            assert!(between.trim_ascii().is_empty(), "between segments stands more than their end");
            out += between;
            end = line.span.end();
            out += segment.name();
            let is_header = [b"MSH", b"FHS", b"BHS"].iter().any(|name| pack(name) == line.name);
            for number in 1..=segment.field_count() {
                let field = segment.field(number).unwrap();
                if !(is_header && number == 2) {
                    out.push(char::from(delimiters.field));
                }
                if is_header && number == 1 {
                    continue;
                }
                let separator = char::from(delimiters.repetition);
                let mut repetitions = Vec::new();
                for repetition in message.repetitions(field) {
                    repetitions.push(write_components(repetition, &delimiters));
                }
                out += &repetitions.join(&separator.to_string());
            }
        }
        let rest = message.text.get(end..).unwrap();
        assert!(rest.trim_ascii().is_empty(), "behind the last segment stands more than its end");
        out + rest
    }

    fn write_components(repetition: &str, delimiters: &Delimiters) -> String {
        let whole = Composite::of_field(repetition, delimiters);
        let separator = char::from(delimiters.component);
        let components = (1..=repetition.matches(separator).count() + 1).map(|number| {
            let component = whole.part(number);
            let Some(inner) = delimiters.subcomponent.map(char::from) else {
                return component.raw().to_owned();
            };
            let parts = 1..=component.raw().matches(inner).count() + 1;
            let parts: Vec<&str> = parts.map(|at| component.part(at).raw()).collect();
            parts.join(&inner.to_string())
        });
        components.collect::<Vec<_>>().join(&separator.to_string())
    }

    /// What is likely in a message, and any byte.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let likely = prop_oneof![
            8 => Just(b'|'), 4 => Just(b'^'), 4 => Just(b'~'), 4 => Just(b'&'), 4 => Just(b'\\'),
            4 => Just(b'\r'), 4 => Just(b'\n'), 20 => 32..127_u8, 2 => any::<u8>(),
        ];
        proptest::collection::vec(likely, 0..400)
    }

    /// How the bytes begin; most often in the usual way.
    const LEADS: &[&str] =
        &["MSH|^~\\&|", "MSH|^~\\&|A|B", "MSH$*@!%$", "MSH|^~\\|", "MSH|^~\\&#|", ""];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Any bytes that are a message are the same bytes again when they are written back from
        /// its parts, and any bytes at all are parsed or refused.
        #[test]
        fn what_is_parsed_is_written_back_byte_for_byte(
            lead in proptest::sample::select(LEADS),
            rest in bytes(),
        ) {
            let raw = [lead.as_bytes(), &rest].concat();
            for charset in [Charset::Utf8, Charset::from_name("8859/2").unwrap()] {
                if let Ok(message) = Message::parse(&raw, charset) {
                    let written = write_back(&message);
                    let again = match charset {
                        Charset::Other(encoding) => encoding.encode(&written).0.into_owned(),
                        Charset::Ascii | Charset::Utf8 => written.into_bytes(),
                    };
                    // Blanks and a mark in front of MSH are no part of the message.
                    prop_assert_eq!(again, crate::parse::hl7::head::skip_lead(&raw).to_vec());
                }
            }
        }
    }

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
