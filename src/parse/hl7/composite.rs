//! A value and its parts.
//!
//! Promises: a part that is not there is empty, and so are its parts; nothing is copied.
//! Knows nothing of: fields and segments, and what a part means.

use super::Delimiters;
use super::scan::first;

/// A value and what divides it: components in a field, subcomponents in a component.
#[derive(Clone, Copy)]
pub struct Composite<'m> {
    raw: &'m str,
    divides: Divides,
}

/// What divides a value, and its parts: a byte each, the outer one lowest, NUL for none. They
/// are one word, since values are handed on a lot: two small fields that are written and then
/// copied together make the processor wait.
#[derive(Clone, Copy)]
pub(super) struct Divides(u64);

impl Divides {
    pub const fn new(separator: Option<u8>, inner: Option<u8>) -> Self {
        const fn word(byte: Option<u8>) -> u64 {
            match byte {
                Some(byte) => byte as u64,
                None => 0,
            }
        }
        Self(word(separator) | word(inner) << 8)
    }

    /// What divides the parts.
    const fn inner(self) -> Self {
        Self(self.0 >> 8)
    }

    const fn separator(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

impl<'m> Composite<'m> {
    pub(super) const fn new(raw: &'m str, divides: Divides) -> Self {
        Self { raw, divides }
    }

    /// One repetition of a field.
    #[must_use]
    pub const fn of_field(raw: &'m str, delimiters: &Delimiters) -> Self {
        Self::new(raw, Divides::new(Some(delimiters.component), delimiters.subcomponent))
    }

    /// A value that nothing divides.
    #[must_use]
    pub const fn undivided(raw: &'m str) -> Self {
        Self::new(raw, Divides(0))
    }

    /// Another value that the same divides.
    pub(super) const fn with(self, raw: &'m str) -> Self {
        Self { raw, ..self }
    }

    /// The whole value as it came.
    #[must_use]
    pub const fn raw(self) -> &'m str {
        self.raw
    }

    /// The first parts, each to be divided further; empty ones where there are fewer.
    #[must_use]
    pub fn split<const N: usize>(self) -> [Self; N] {
        let mut parts = [Self { raw: "", divides: self.divides.inner() }; N];
        let mut rest = Some(self.raw);
        for part in &mut parts {
            let Some(text) = rest else { break };
            (part.raw, rest) = cut(text, self.divides.separator());
        }
        parts
    }

    /// The first parts as [`Composite::first`] has them; empty ones where there are fewer.
    #[inline]
    #[must_use]
    pub fn firsts<const N: usize>(self) -> [&'m str; N] {
        let mut parts = [""; N];
        let mut rest = Some(self.raw);
        for part in &mut parts {
            let Some(text) = rest else { break };
            let (whole, tail) = cut(text, self.divides.separator());
            *part = cut(whole, self.divides.inner().separator()).0;
            rest = tail;
        }
        parts
    }

    /// A part, from 1, to be divided further; an empty one where it is not there.
    #[inline]
    #[must_use]
    pub fn part(self, number: usize) -> Self {
        let raw = part(self.raw, self.divides.separator(), number);
        Self { raw, divides: self.divides.inner() }
    }

    /// The value, or its first part where it has some: a later version may add parts where an
    /// earlier one had a plain value (chapter 2.8).
    #[must_use]
    pub fn first(self) -> &'m str {
        let (first, _) = cut(self.raw, self.divides.separator());
        cut(first, self.divides.inner().separator()).0
    }
}

fn part(text: &str, separator: u8, number: usize) -> &str {
    let mut rest = Some(text);
    let mut part = "";
    for _ in 0..number {
        (part, rest) = match rest {
            Some(text) => cut(text, separator),
            None => ("", None),
        };
    }
    part
}

/// What stands before a separator, and what behind it; NUL divides nothing.
#[inline]
pub(super) fn cut(text: &str, separator: u8) -> (&str, Option<&str>) {
    if separator == 0 {
        return (text, None);
    }
    match first(separator, text.as_bytes()) {
        Some(at) => {
            text.split_at_checked(at).map_or((text, None), |(head, tail)| (head, tail.get(1..)))
        }
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
