//! An open element, and its value in the pipe form once it closes.
//!
//! Promises: what an element says and what its value says unescaped are the same, but for layout:
//! blanks with a line break at an element's beginning and end; parts stand where their numbers
//! say, in whichever order they came.
//! Knows nothing of: names.

use std::ops::Range;

use super::Wrong;

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The root, or a group of segments.
    Group,
    Segment,
    Field,
    Component,
    Subcomponent,
    /// The first part of a subcomponent, such as TS.1 in DR.1 in XPN.10: the same value.
    Inner,
    /// An `escape` element, which is empty.
    Escape,
}

impl Kind {
    /// What its parts are.
    pub const fn parts(self) -> Option<Self> {
        match self {
            Self::Segment => Some(Self::Field),
            Self::Field => Some(Self::Component),
            Self::Component => Some(Self::Subcomponent),
            Self::Subcomponent => Some(Self::Inner),
            Self::Group | Self::Inner | Self::Escape => None,
        }
    }

    /// Whether text may stand in it.
    const fn holds_text(self) -> bool {
        !matches!(self, Self::Group | Self::Segment | Self::Escape)
    }

    /// What separates its parts.
    const fn separator(self) -> char {
        match self {
            Self::Field => '^',
            Self::Component => '&',
            Self::Group | Self::Segment | Self::Subcomponent | Self::Inner | Self::Escape => '|',
        }
    }
}

/// In [`Part::own`], around what stood in an `escape` element. XML has no such character.
const ESCAPE: char = '\0';

/// An element that has begun.
pub(super) struct Part {
    pub kind: Kind,
    /// Which part of the element around it, from 1; 0 for groups and segments.
    pub number: u16,
    /// The data type that its parts are named by; empty before the first.
    pub prefix: String,
    /// The values of its parts, one behind the other.
    values: String,
    parts: Vec<(u16, Range<usize>)>,
    /// Its own text.
    own: String,
}

impl Part {
    pub const fn new(kind: Kind, number: u16) -> Self {
        Self {
            kind,
            number,
            prefix: String::new(),
            values: String::new(),
            parts: Vec::new(),
            own: String::new(),
        }
    }

    /// Adds text; false where none may stand.
    pub fn push(&mut self, text: &str) -> bool {
        if !self.kind.holds_text() {
            return text.trim_ascii().is_empty();
        }
        self.own.push_str(text);
        true
    }

    /// Adds an escape, as it stands between two escape characters; false where none may stand.
    pub fn push_escape(&mut self, escape: &str) -> bool {
        if !self.kind.holds_text() {
            return false;
        }
        self.own.push(ESCAPE);
        self.own.push_str(escape);
        self.own.push(ESCAPE);
        true
    }

    /// Adds the value of a part that has closed.
    pub fn take(&mut self, number: u16, value: &str) {
        let start = self.values.len();
        self.values.push_str(value);
        self.parts.push((number, start..self.values.len()));
    }

    /// Whether a part of it has closed.
    pub const fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The value, and how many separators were put into it.
    pub fn value(mut self) -> Result<(String, usize), Wrong> {
        if self.parts.is_empty() {
            return Ok((self.text(), 0));
        }
        if !self.own.trim_ascii().is_empty() {
            return Err(Wrong::Mixed);
        }
        // Stable: repetitions of a field stay in their order.
        self.parts.sort_by_key(|(number, _)| *number);
        let separator = self.kind.separator();
        let mut value = String::with_capacity(self.values.len() + self.parts.len());
        let (mut at, mut count) = (1, 0);
        let mut last = None;
        for (number, range) in &self.parts {
            if last == Some(*number) {
                if self.kind != Kind::Segment {
                    return Err(Wrong::Repeated);
                }
                value.push('~');
            }
            while at < *number {
                value.push(separator);
                at += 1;
                count += 1;
            }
            last = Some(*number);
            value.push_str(self.values.get(range.clone()).unwrap_or_default());
        }
        Ok((value, count))
    }

    /// Its own text with what divides in the pipe form escaped. A line break there would end the
    /// segment.
    fn text(&self) -> String {
        let own = without_layout(&self.own);
        let mut text = String::with_capacity(own.len());
        let mut is_escape = false;
        for letter in own.chars() {
            match letter {
                ESCAPE => {
                    is_escape = !is_escape;
                    text.push('\\');
                }
                _ if is_escape => text.push(letter),
                '|' => text.push_str(r"\F\"),
                '^' => text.push_str(r"\S\"),
                '&' => text.push_str(r"\T\"),
                '~' => text.push_str(r"\R\"),
                '\\' => text.push_str(r"\E\"),
                '\r' => text.push_str(r"\X0D\"),
                '\n' => text.push_str(r"\X0A\"),
                _ => text.push(letter),
            }
        }
        text
    }
}

/// Without blanks at the beginning and the end where a line break is among them; blanks alone
/// are a value's own.
fn without_layout(text: &str) -> &str {
    let is_blank = |letter: char| matches!(letter, ' ' | '\t' | '\r' | '\n');
    let inner = text.trim_start_matches(is_blank);
    let before = text.len() - inner.len();
    let is_layout = |blank: Option<&str>| blank.is_some_and(|blank| blank.contains(['\r', '\n']));
    let text = if is_layout(text.get(..before)) { inner } else { text };
    let inner = text.trim_end_matches(is_blank);
    if is_layout(text.get(inner.len()..)) { inner } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(parts: &[(u16, &str)]) -> Result<String, Wrong> {
        let mut part = Part::new(Kind::Field, 1);
        parts.iter().for_each(|(number, value)| part.take(*number, value));
        part.value().map(|(value, _)| value)
    }

    #[test]
    fn parts_stand_where_their_numbers_say() {
        assert_eq!(field(&[(1, "a"), (4, "d&e"), (2, "b")]).as_deref(), Ok("a^b^^d&e"));
        assert_eq!(field(&[(2, "")]).as_deref(), Ok("^"));
        assert_eq!(field(&[(2, "a"), (2, "b")]), Err(Wrong::Repeated));
        let mut segment = Part::new(Kind::Segment, 0);
        for (number, value) in [(3, "x"), (5, "one"), (3, "y"), (5, "two")] {
            segment.take(number, value);
        }
        assert_eq!(segment.value(), Ok(("||x~y||one~two".to_owned(), 4)));
    }

    #[test]
    fn what_divides_is_escaped_and_layout_is_none_of_the_value() {
        let own = |text: &str| {
            let mut part = Part::new(Kind::Component, 1);
            assert!(part.push(text));
            part.value().unwrap().0
        };
        assert_eq!(own("R&H|^~\\"), r"R\T\H\F\\S\\R\\E\");
        assert_eq!(own("\n   one\ntwo \n "), r"one\X0A\two");
        assert_eq!(own("  kept "), "  kept ");
        assert_eq!(own("\n\t"), "");
        let mut part = Part::new(Kind::Field, 5);
        assert!(part.push("a") && part.push_escape(".br") && part.push("b\\"));
        assert_eq!(part.value().unwrap().0, r"a\.br\b\E\");
        let mut mixed = Part::new(Kind::Field, 5);
        assert!(mixed.push("a"));
        mixed.take(1, "b");
        assert_eq!(mixed.value(), Err(Wrong::Mixed));
    }
}
