//! A value and its parts.
//!
//! Promises: a part that is not there is empty, and so are its parts; nothing is copied.
//! Knows nothing of: fields and segments, and what a part means.

use super::Delimiters;

/// A value and what divides it: components in a field, subcomponents in a component.
#[derive(Clone, Copy)]
pub struct Composite<'m> {
    raw: &'m str,
    separator: Option<u8>,
    inner: Option<u8>,
}

impl<'m> Composite<'m> {
    pub(super) const fn new(raw: &'m str, separator: u8, inner: Option<u8>) -> Self {
        Self { raw, separator: Some(separator), inner }
    }

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
pub(super) fn cut(text: &str, separator: Option<u8>) -> (&str, Option<&str>) {
    let Some(separator) = separator else { return (text, None) };
    match text.bytes().position(|byte| byte == separator) {
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
