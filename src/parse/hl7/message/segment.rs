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
use crate::parse::hl7::composite::Divides;
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
        spans.filter(|(span, _)| !span.is_empty()).map(|(_, number)| number)
    }

    /// Whether a field is there and not empty.
    #[inline]
    #[must_use]
    pub fn is_filled(&self, number: usize) -> bool {
        let span = self.field_id(number).and_then(|id| self.message.fields.get(id));
        span.is_some_and(|span| !span.is_empty())
    }

    /// A field that is not empty, and what is known of it.
    #[expect(clippy::inline_always, reason = "returned through memory it costs more than it does")]
    #[inline(always)]
    pub(in crate::parse::hl7) fn divided(&self, number: usize) -> Option<Divided<'m>> {
        let id = self.field_id(number)?;
        let span = *self.message.fields.get(id).filter(|span| !span.is_empty())?;
        let delimiters = &self.message.delimiters;
        let separator = span.has_components().then_some(delimiters.component);
        let inner = delimiters.subcomponent.filter(|_| span.has_subcomponents());
        let value = Composite::new(self.message.slice(span), Divides::new(separator, inner));
        Some(Divided { id, value, repeats: span.has_repetitions() })
    }

    /// The field's position among all fields of the message.
    #[inline]
    #[must_use]
    pub fn field_id(&self, number: usize) -> Option<usize> {
        if number == 0 || number > self.field_count() {
            return None;
        }
        Some(self.line.first_field as usize + number - 1)
    }
}

/// A field that is not empty.
#[derive(Clone, Copy)]
pub(in crate::parse::hl7) struct Divided<'m> {
    /// Its position among all fields.
    pub id: usize,
    /// All of it as one value.
    pub value: Composite<'m>,
    /// Whether it holds a repetition separator.
    pub repeats: bool,
}

impl<'m> Divided<'m> {
    /// Its repetitions.
    pub fn repetitions(self, segment: &Segment<'m>) -> impl Iterator<Item = Composite<'m>> {
        let repetitions = segment.message.repetitions(self.value.raw());
        repetitions.map(move |repetition| self.value.with(repetition))
    }
}
