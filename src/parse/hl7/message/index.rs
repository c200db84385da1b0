//! A text to the spans of its segments and fields.
//!
//! Promises: every line that is not blank is in the index; a line feed that is the sender's
//! text divides nothing; the cost is in proportion to the text, whatever is in it.
//! Knows nothing of: what a field says.

use memchr::{memchr_iter, memchr2};

use crate::parse::hl7::name::{MSH, is_segment_name, pack, pack_name};
use crate::parse::hl7::scan::{self, Needles};
use crate::parse::hl7::{Delimiters, Malformed};

/// Most segments in one message. The largest report in the corpus has 121; a waveform of a
/// day has some thousands.
pub const SEGMENTS_MAX: usize = 65_535;
/// Most fields in one message. With [`SEGMENTS_MAX`] it bounds the index at 17 MiB, whatever
/// a sender puts into a frame.
pub const FIELDS_MAX: usize = 1 << 20;

/// Where a text begins and ends, and what divides it. A frame is at most 1 GiB, so the two
/// highest bits of each are free; what is not divided, as most fields are not, need not be
/// searched.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub const fn start(self) -> usize {
        (self.start & !HAS_COMPONENTS) as usize
    }

    pub const fn end(self) -> usize {
        (self.end & !(HAS_REPETITIONS | HAS_SUBCOMPONENTS)) as usize
    }

    const fn unmarked(self) -> Self {
        Self {
            start: self.start & !HAS_COMPONENTS,
            end: self.end & !(HAS_REPETITIONS | HAS_SUBCOMPONENTS),
        }
    }

    const fn marked(self, marks: Self) -> Self {
        Self { start: self.start | marks.start, end: self.end | marks.end }
    }

    /// What is empty is not divided either.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether it holds a component separator.
    pub const fn has_components(self) -> bool {
        self.start & HAS_COMPONENTS != 0
    }

    /// Whether it holds a repetition separator.
    pub const fn has_repetitions(self) -> bool {
        self.end & HAS_REPETITIONS != 0
    }

    /// Whether it holds a subcomponent separator.
    pub const fn has_subcomponents(self) -> bool {
        self.end & HAS_SUBCOMPONENTS != 0
    }
}

/// Set in [`Span::start`].
const HAS_COMPONENTS: u32 = 1 << 31;
/// Set in [`Span::end`].
const HAS_REPETITIONS: u32 = 1 << 31;
/// Set in [`Span::end`].
const HAS_SUBCOMPONENTS: u32 = 1 << 30;

#[derive(Clone, Copy)]
pub(super) struct Line {
    pub span: Span,
    /// The name as a number where it is three ASCII characters, else 0.
    pub name: u32,
    pub first_field: u32,
    pub fields: u32,
}

/// All of a text's spans.
pub(super) struct Index {
    pub lines: Vec<Line>,
    pub fields: Vec<Span>,
    /// Whether the escape character occurs outside MSH-2; most messages have none.
    pub has_escapes: bool,
}

impl Index {
    /// Goes through a text that begins with MSH.
    pub fn of(bytes: &[u8], delimiters: &Delimiters) -> Result<Self, Malformed> {
        let mut lines = Vec::with_capacity(16);
        let mut fields = Vec::with_capacity(bytes.len() / 8 + 16);
        let ends = Ends::of(bytes, delimiters.field);
        let needles = Needles::new([
            delimiters.field,
            delimiters.component,
            delimiters.repetition,
            delimiters.subcomponent.unwrap_or(delimiters.field),
        ]);
        let mut start = 0;
        while start < bytes.len() {
            let end = ends.next(bytes, start);
            let line = bytes.get(start..end).unwrap_or_default();
            if !line.trim_ascii().is_empty() {
                if lines.len() >= SEGMENTS_MAX {
                    return Err(Malformed::TooManySegments);
                }
                lines.push(index_line(line, start, delimiters, &needles, &mut fields)?);
            }
            start = end.saturating_add(1);
        }
        let escapes = memchr_iter(delimiters.escape, bytes).take(3).count();
        let in_header = fields.get(1).map_or(0, |span: &Span| {
            let encoding = bytes.get(span.start()..span.end());
            memchr_iter(delimiters.escape, encoding.unwrap_or_default()).count()
        });
        Ok(Self { lines, fields, has_escapes: escapes > in_header })
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
    needles: &Needles,
    fields: &mut Vec<Span>,
) -> Result<Line, Malformed> {
    let first_field = fields.len();
    let name_end = scan::first(delimiters.field, line).unwrap_or(line.len());
    let name = pack_name(line.get(..name_end).unwrap_or(line));
    if name_end < line.len() {
        if is_header(name) {
            // MSH-1 is the separator itself (chapter 2.14.9.1).
            fields.push(span(start, name_end, name_end + 1));
        }
        let base = name_end + 1;
        let values = line.get(base..).unwrap_or_default();
        let (mut from, mut marks) = (base, Span::default());
        needles.each(values, |at, byte| {
            if byte == delimiters.component {
                marks.start |= HAS_COMPONENTS;
            } else if byte == delimiters.repetition {
                marks.end |= HAS_REPETITIONS;
            } else if byte != delimiters.field {
                marks.end |= HAS_SUBCOMPONENTS;
            } else if fields.len() <= FIELDS_MAX {
                fields.push(span(start, from, base + at).marked(marks));
                (from, marks) = (base + at + 1, Span::default());
            }
        });
        fields.push(span(start, from, line.len()).marked(marks));
        if is_header(name)
            && let Some(encoding) = fields.get_mut(first_field + 1)
        {
            // The delimiters divide everything but themselves.
            *encoding = encoding.unmarked();
        }
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
    use crate::parse::hl7::{Charset, Message};

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
