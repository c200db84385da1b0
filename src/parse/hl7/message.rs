//! A message as spans into its text.
//!
//! Promises: every line that is not blank is a segment, however odd its name; a field that is
//! not there, one that is empty and one that is `""` are told apart; the index costs twelve to
//! sixteen bytes a field and no copy.
//! Knows nothing of: which segments belong together; `normalize` groups them.

use std::borrow::Cow;
use std::fmt;

use encoding_rs::Encoding;
use memchr::{memchr, memchr_iter, memchr2, memchr3_iter};

use super::{Charset, Delimiters, Head, Malformed, charset, escape, head};

/// Most segments in one message. The largest report in the corpus has 121; a waveform of a
/// day has some thousands.
pub const SEGMENTS_MAX: usize = 65_535;
/// Most fields in one message. With [`SEGMENTS_MAX`] it bounds the index at 17 MiB, whatever
/// a sender puts into a frame.
pub const FIELDS_MAX: usize = 1 << 20;

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const fn end(self) -> u32 {
        self.end & !(REPEATS | DIVIDED)
    }
}

/// Set in [`Span::end`] of a field that repeats. A frame is at most 1 GiB, so the two highest
/// bits are free; with them, fields that are not divided, as most are not, need not be searched.
const REPEATS: u32 = 1 << 31;
/// Set in [`Span::end`] of a field that holds a subcomponent separator.
const DIVIDED: u32 = 1 << 30;

#[derive(Clone, Copy)]
struct Line {
    span: Span,
    /// The name as a number where it is three ASCII characters, else 0.
    name: u32,
    first_field: u32,
    fields: u32,
}

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
        Self::index(text, head.delimiters, charset)
    }

    fn index(
        text: Cow<'a, str>,
        delimiters: Delimiters,
        charset: Charset,
    ) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        let mut lines = Vec::with_capacity(16);
        let mut fields = Vec::with_capacity(bytes.len() / 8 + 16);
        let ends = Ends::of(bytes, delimiters.field);
        let mut start = 0;
        while start < bytes.len() {
            let end = ends.next(bytes, start);
            let line = bytes.get(start..end).unwrap_or_default();
            if !line.trim_ascii().is_empty() {
                if lines.len() >= SEGMENTS_MAX {
                    return Err(Malformed::TooManySegments);
                }
                lines.push(index_line(line, start, &delimiters, &mut fields)?);
            }
            start = end.saturating_add(1);
        }
        let escapes = memchr_iter(delimiters.escape, bytes).take(3).count();
        let in_header = fields.get(1).map_or(0, |span: &Span| {
            let encoding = bytes.get(span.start as usize..span.end() as usize);
            memchr_iter(delimiters.escape, encoding.unwrap_or_default()).count()
        });
        Ok(Self { text, delimiters, charset, lines, fields, has_escapes: escapes > in_header })
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
        self.lines.get(index).map(|line| Segment { message: self, line, index })
    }

    /// The first segment of a packed name from a position on, before another.
    pub(super) fn find(&self, name: u32, from: usize, before: usize) -> Option<Segment<'_>> {
        let lines = self.lines.get(from..before.min(self.lines.len()))?;
        let at = lines.iter().position(|line| line.name == name)?;
        self.segment(from + at)
    }

    /// All segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.lines.iter().enumerate().map(|(index, line)| Segment { message: self, line, index })
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
        let separator = Some(self.delimiters.repetition);
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
        self.text.get(span.start as usize..span.end() as usize).unwrap_or_default()
    }
}

/// A segment of a message.
#[derive(Clone, Copy)]
pub struct Segment<'m> {
    message: &'m Message<'m>,
    line: &'m Line,
    index: usize,
}

impl<'m> Segment<'m> {
    /// All of it as it came, without its end.
    #[must_use]
    pub fn line(&self) -> &'m str {
        self.message.slice(self.line.span)
    }

    /// Its name as it came: what stands before the first field separator. It is the sender's
    /// text, and may be anything where a line end got into a field; see [`Segment::label`].
    #[must_use]
    pub fn name(&self) -> &'m str {
        let line = self.line();
        let end = memchr(self.message.delimiters.field, line.as_bytes()).unwrap_or(line.len());
        line.get(..end).unwrap_or(line)
    }

    /// Its name where that is a legal one.
    #[must_use]
    pub fn legal_name(&self) -> Option<[u8; 3]> {
        let [_, name @ ..] = self.line.name.to_be_bytes();
        is_segment_name(&name).then_some(name)
    }

    /// Its name where that is a legal one, else `#` and its position: safe to print.
    #[must_use]
    pub fn label(&self) -> Cow<'m, str> {
        let name = self.name();
        if is_segment_name(name.as_bytes()) {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(format!("#{}", self.index + 1))
        }
    }

    /// The name as a number, for quick comparison; 0 where it is not three ASCII characters.
    #[must_use]
    pub const fn packed_name(&self) -> u32 {
        self.line.name
    }

    /// The message it stands in.
    #[must_use]
    pub const fn message(&self) -> &'m Message<'m> {
        self.message
    }

    /// Position in the message, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// How many fields it has; MSH-1 counts.
    #[must_use]
    pub const fn field_count(&self) -> usize {
        self.line.fields as usize
    }

    /// A field as it came, from 1.
    #[must_use]
    pub fn field(&self, number: usize) -> Option<&'m str> {
        let span = *self.message.fields.get(self.field_id(number)?)?;
        Some(self.message.slice(span))
    }

    /// The numbers of the fields that are not empty, in order.
    pub fn filled(&self) -> impl Iterator<Item = usize> + use<'m> {
        let first = self.line.first_field as usize;
        let spans = self.message.fields.get(first..first + self.field_count());
        let spans = spans.unwrap_or_default().iter().zip(1..);
        spans.filter(|(span, _)| span.start != span.end()).map(|(_, number)| number)
    }

    /// A field and what is known of it.
    pub(super) fn divided(&self, number: usize) -> Option<Divided<'m>> {
        let id = self.field_id(number)?;
        let span = *self.message.fields.get(id)?;
        let delimiters = &self.message.delimiters;
        Some(Divided {
            message: self.message,
            id,
            raw: self.message.slice(span),
            repeats: span.end & REPEATS != 0,
            separator: delimiters.component,
            inner: if span.end & DIVIDED != 0 { delimiters.subcomponent } else { None },
        })
    }

    /// The field's position among all fields of the message.
    #[must_use]
    pub fn field_id(&self, number: usize) -> Option<usize> {
        if number == 0 || number > self.field_count() {
            return None;
        }
        Some(self.line.first_field as usize + number - 1)
    }
}

/// A field and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Divided<'m> {
    /// The message it stands in.
    pub message: &'m Message<'m>,
    /// Its position among all fields.
    pub id: usize,
    /// The field as it came.
    pub raw: &'m str,
    /// Whether it holds a repetition separator.
    pub repeats: bool,
    separator: u8,
    inner: Option<u8>,
}

impl<'m> Divided<'m> {
    /// One of its repetitions.
    pub const fn composite(&self, repetition: &'m str) -> Composite<'m> {
        Composite { raw: repetition, separator: Some(self.separator), inner: self.inner }
    }
}

/// Whether bytes are a segment name of chapter 2.5: a capital, then two capitals or digits.
#[must_use]
pub fn is_segment_name(name: &[u8]) -> bool {
    matches!(name, [first, rest @ ..] if first.is_ascii_uppercase() && rest.len() == 2
        && rest.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
}

/// A three-letter name as a number.
#[must_use]
pub const fn pack(name: &[u8; 3]) -> u32 {
    let [a, b, c] = *name;
    u32::from_be_bytes([0, a, b, c])
}

/// A name as a number; 0 where it is not three ASCII characters.
#[must_use]
pub fn pack_name(name: &[u8]) -> u32 {
    name.try_into().ok().filter(|_| name.is_ascii()).map_or(0, pack)
}

/// The name of the first segment.
pub const MSH: u32 = pack(b"MSH");

/// A value and what divides it: components in a field, subcomponents in a component.
#[derive(Clone, Copy)]
pub struct Composite<'m> {
    raw: &'m str,
    separator: Option<u8>,
    inner: Option<u8>,
}

impl<'m> Composite<'m> {
    /// One repetition of a field.
    #[must_use]
    pub const fn of_field(raw: &'m str, delimiters: &Delimiters) -> Self {
        Self { raw, separator: Some(delimiters.component), inner: delimiters.subcomponent }
    }

    /// A value that nothing divides.
    #[must_use]
    pub const fn undivided(raw: &'m str) -> Self {
        Self { raw, separator: None, inner: None }
    }

    /// The whole value as it came.
    #[must_use]
    pub const fn raw(&self) -> &'m str {
        self.raw
    }

    /// The first parts, each to be divided further; empty ones where there are fewer.
    #[must_use]
    pub fn split<const N: usize>(&self) -> [Self; N] {
        let mut parts = [Self { raw: "", separator: self.inner, inner: None }; N];
        let mut rest = Some(self.raw);
        for part in &mut parts {
            let Some(text) = rest else { break };
            (part.raw, rest) = cut(text, self.separator);
        }
        parts
    }

    /// The first parts as [`Composite::first`] has them; empty ones where there are fewer.
    #[must_use]
    pub fn firsts<const N: usize>(&self) -> [&'m str; N] {
        let mut parts = [""; N];
        let mut rest = Some(self.raw);
        for part in &mut parts {
            let Some(text) = rest else { break };
            let (whole, tail) = cut(text, self.separator);
            *part = cut(whole, self.inner).0;
            rest = tail;
        }
        parts
    }

    /// A part, from 1, to be divided further; an empty one where it is not there.
    #[must_use]
    pub fn part(&self, number: usize) -> Self {
        let mut rest = Some(self.raw);
        let mut part = "";
        for _ in 0..number {
            (part, rest) = match rest {
                Some(text) => cut(text, self.separator),
                None => ("", None),
            };
        }
        Self { raw: part, separator: self.inner, inner: None }
    }

    /// The value, or its first part where it has some: a later version may add parts where an
    /// earlier one had a plain value (chapter 2.8).
    #[must_use]
    pub fn first(&self) -> &'m str {
        let (first, _) = cut(self.raw, self.separator);
        cut(first, self.inner).0
    }
}

/// What stands before a separator, and what behind it. Values are short, so that looking at
/// each byte beats a search that has to be set up.
#[inline]
fn cut(text: &str, separator: Option<u8>) -> (&str, Option<&str>) {
    let Some(separator) = separator else { return (text, None) };
    match text.bytes().position(|byte| byte == separator) {
        Some(at) => {
            text.split_at_checked(at).map_or((text, None), |(head, tail)| (head, tail.get(1..)))
        }
        None => (text, None),
    }
}

/// Where segments end.
///
/// CR, LF and CRLF all end one. But where MSH ends with a bare CR, as the standard wants, a
/// bare LF inside a segment is the sender's text (an address, a report) unless a segment name
/// and a field separator follow it: to cut there would tear the value in two.
struct Ends {
    feeds_are_text: bool,
    separator: u8,
}

impl Ends {
    fn of(bytes: &[u8], separator: u8) -> Self {
        let first = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        let tail = bytes.get(first..).unwrap_or_default();
        let feeds_are_text = matches!(tail, [b'\r', next, ..] if *next != b'\n');
        Self { feeds_are_text, separator }
    }

    fn next(&self, bytes: &[u8], start: usize) -> usize {
        let mut from = start;
        loop {
            let tail = bytes.get(from..).unwrap_or_default();
            let Some(at) = memchr2(b'\r', b'\n', tail).map(|found| from + found) else {
                return bytes.len();
            };
            let is_text = self.feeds_are_text
                && bytes.get(at) == Some(&b'\n')
                && at > start
                && !self.starts_segment(bytes.get(at + 1..).unwrap_or_default());
            if !is_text {
                return at;
            }
            from = at + 1;
        }
    }

    fn starts_segment(&self, bytes: &[u8]) -> bool {
        bytes.get(..3).is_some_and(is_segment_name) && bytes.get(3) == Some(&self.separator)
    }
}

fn index_line(
    line: &[u8],
    start: usize,
    delimiters: &Delimiters,
    fields: &mut Vec<Span>,
) -> Result<Line, Malformed> {
    let first_field = fields.len();
    let name_end = memchr(delimiters.field, line).unwrap_or(line.len());
    let name = pack_name(line.get(..name_end).unwrap_or(line));
    if name_end < line.len() {
        if is_header(name) {
            // MSH-1 is the separator itself (chapter 2.14.9.1).
            fields.push(span(start, name_end, name_end + 1));
        }
        let base = name_end + 1;
        let mut from = base;
        let mut marks = 0;
        let values = line.get(base..).unwrap_or_default();
        let divides = delimiters.subcomponent.unwrap_or(delimiters.repetition);
        for at in memchr3_iter(delimiters.field, delimiters.repetition, divides, values) {
            match values.get(at) {
                Some(byte) if *byte == delimiters.field => {
                    fields.push(marked(span(start, from, base + at), marks));
                    from = base + at + 1;
                    marks = 0;
                }
                Some(byte) if *byte == delimiters.repetition => marks |= REPEATS,
                _ => marks |= DIVIDED,
            }
        }
        fields.push(marked(span(start, from, line.len()), marks));
    }
    if fields.len() > FIELDS_MAX {
        return Err(Malformed::TooManyFields);
    }
    let count = fields.len() - first_field;
    Ok(Line {
        span: span(start, 0, line.len()),
        name,
        first_field: narrow(first_field),
        fields: narrow(count),
    })
}

/// MSH, and the headers of files and batches, hold their own separator as field 1.
fn is_header(name: u32) -> bool {
    name == MSH || name == pack(b"FHS") || name == pack(b"BHS")
}

fn marked(span: Span, marks: u32) -> Span {
    Span { end: span.end | marks, ..span }
}

fn span(base: usize, start: usize, end: usize) -> Span {
    Span { start: narrow(base + start), end: narrow(base + end) }
}

/// A frame is at most 1 GiB (`frame_bytes_max`), so positions fit; a longer text would read as
/// empty there, not as something else.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Message<'_> {
        Message::parse(text.as_bytes(), Charset::Utf8).unwrap()
    }

    fn names<'m>(message: &'m Message<'_>) -> Vec<&'m str> {
        message.segments().map(|segment| segment.name()).collect()
    }

    const MSH: &str = "MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5";

    #[test]
    fn every_line_end_and_blank_line_is_taken() {
        for end in ["\r", "\n", "\r\n", "\r\r", "\n\n\r\n", "\r\n\r\n"] {
            let text = [MSH, "PID|1||X", "ZPD|a", ""].join(end);
            let message = parse(&text);
            assert_eq!(names(&message), ["MSH", "PID", "ZPD"], "{end:?}");
        }
        assert_eq!(names(&parse(&format!("{MSH}\rPID|1||X"))), ["MSH", "PID"]);
    }

    #[test]
    fn odd_segments_are_kept_and_reachable() {
        let text = format!("{MSH}\rpid|1|low\rAL|2\r|3\rno separator here\rZ12345|4\r");
        let message = parse(&text);
        assert_eq!(names(&message), ["MSH", "pid", "AL", "", "no separator here", "Z12345"]);
        let labels: Vec<_> = message.segments().map(|segment| segment.label()).collect();
        assert_eq!(labels, ["MSH", "#2", "#3", "#4", "#5", "#6"]);
        assert_eq!(message.segment(1).unwrap().field(2), Some("low"));
        assert_eq!(message.segment(3).unwrap().field(1), Some("3"));
        assert_eq!(message.segment(4).unwrap().field_count(), 0);
    }

    #[test]
    fn a_line_feed_inside_a_value_stays_in_it() {
        let text = format!("{MSH}\rOBX|1|TX|T||line one\nline two|x\nOBX|2|TX|T||b\r");
        let message = parse(&text);
        assert_eq!(names(&message), ["MSH", "OBX", "OBX"]);
        assert_eq!(message.segment(1).unwrap().field(5), Some("line one\nline two"));
        assert_eq!(message.segment(1).unwrap().field(6), Some("x"));
    }

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

    #[test]
    fn components_and_subcomponents_are_divided() {
        let composite = Composite::of_field("A^B&C&D^^E", &Delimiters::default());
        assert_eq!(composite.part(2).first(), "B");
        assert_eq!(composite.part(2).raw(), "B&C&D");
        assert_eq!(composite.part(2).part(3).first(), "D");
        assert_eq!(composite.part(9).raw(), "");
        let parts: [Composite<'_>; 5] = composite.split();
        assert_eq!(parts.map(|part| part.raw()), ["A", "B&C&D", "", "E", ""]);
        assert_eq!(Composite::of_field("B&C^D", &Delimiters::default()).first(), "B");
        assert_eq!(Composite::undivided("B&C^D").first(), "B&C^D");
    }

    /// PROMISE-11
    #[test]
    fn a_message_of_too_many_parts_is_refused() {
        let many = format!("{MSH}{}", "\rA".repeat(SEGMENTS_MAX));
        assert_eq!(
            Message::parse(many.as_bytes(), Charset::Utf8).unwrap_err(),
            Malformed::TooManySegments
        );
        let wide = format!("{MSH}\rPID{}", "|".repeat(FIELDS_MAX));
        assert_eq!(
            Message::parse(wide.as_bytes(), Charset::Utf8).unwrap_err(),
            Malformed::TooManyFields
        );
    }
}
