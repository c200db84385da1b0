//! One segment of a message, and its fields.
//!
//! Promises: fields count from 1, as the standard does, and MSH-1 is one of them; what is
//! printed of a segment with an odd name is its position, never its text.
//! Knows nothing of: where the segment ends; `index` has found that.

use std::borrow::Cow;

use memchr::memchr;

use super::Message;
use super::index::Line;
use crate::parse::hl7::Composite;
use crate::parse::hl7::name::is_segment_name;

/// A segment of a message.
#[derive(Clone, Copy)]
pub struct Segment<'m> {
    message: &'m Message<'m>,
    line: &'m Line,
    index: usize,
}

impl<'m> Segment<'m> {
    pub(super) const fn new(message: &'m Message<'m>, line: &'m Line, index: usize) -> Self {
        Self { message, line, index }
    }

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
    pub(in crate::parse::hl7) fn divided(&self, number: usize) -> Option<Divided<'m>> {
        let id = self.field_id(number)?;
        let span = *self.message.fields.get(id)?;
        let delimiters = &self.message.delimiters;
        Some(Divided {
            message: self.message,
            id,
            raw: self.message.slice(span),
            repeats: span.repeats(),
            separator: delimiters.component,
            inner: if span.is_divided() { delimiters.subcomponent } else { None },
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
pub(in crate::parse::hl7) struct Divided<'m> {
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
        Composite::new(repetition, self.separator, self.inner)
    }
}
