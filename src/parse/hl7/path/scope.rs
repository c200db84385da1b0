//! The part of a message that a path is looked up in.
//!
//! Promises: a name that an inner scope owns is never found further out; segments are found in
//! the order of the message.
//! Knows nothing of: fields.

use std::cell::Cell;
use std::ops::Range;

use crate::parse::hl7::{Message, Segment};

/// The part of a message that a path is resolved in: some of its segments, and around them
/// others whose names the inner ones do not have.
pub struct Scope<'m, 's> {
    message: &'m Message<'m>,
    /// The name that was last looked for, and the position of its first segment: rules stand
    /// in the order of the event, and there most neighbours come from one segment.
    last: Cell<(u32, Option<usize>)>,
    ranges: &'s [Range<usize>],
    /// Names that are looked for here and nowhere further out.
    own: &'s [u32],
    outer: Option<&'s Scope<'m, 's>>,
}

impl<'m, 's> Scope<'m, 's> {
    /// Segments by their positions, in order.
    #[must_use]
    pub const fn new(message: &'m Message<'m>, ranges: &'s [Range<usize>]) -> Self {
        Self { message, last: Cell::new((0, None)), ranges, own: &[], outer: None }
    }

    /// Segments inside this scope. Paths to the names in `own` see only them; other paths see
    /// what is around.
    #[must_use]
    pub const fn within(&'s self, ranges: &'s [Range<usize>], own: &'s [u32]) -> Self {
        Self { message: self.message, last: Cell::new((0, None)), ranges, own, outer: Some(self) }
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &'m Message<'m> {
        self.message
    }

    /// The innermost scope around this one, or this one, that segments of a name are looked
    /// for in.
    pub(super) fn of(&self, packed: u32) -> &Self {
        let mut scope = self;
        while let Some(outer) = scope.outer
            && !scope.own.contains(&packed)
        {
            scope = outer;
        }
        scope
    }

    /// The first segment of a name.
    pub(super) fn first(&self, packed: u32) -> Option<Segment<'m>> {
        let (name, at) = self.last.get();
        if name == packed {
            return self.message.segment(at?);
        }
        let mut ranges = self.ranges.iter();
        let found = ranges.find_map(|range| self.message.find(packed, range.start, range.end));
        self.last.set((packed, found.map(|segment| segment.index())));
        found
    }

    /// Calls `take` for each segment of a name until it returns false. Odd names compare as
    /// text.
    pub(super) fn named(&self, packed: u32, name: &str, mut take: impl FnMut(Segment<'m>) -> bool) {
        for range in self.ranges {
            let mut from = range.start;
            while let Some(segment) = self.message.find(packed, from, range.end) {
                from = segment.index() + 1;
                if (packed != 0 || segment.name() == name) && !take(segment) {
                    return;
                }
            }
        }
    }

    /// Positions of the segments in this scope.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().flat_map(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::name::pack_name;
    use crate::parse::hl7::{Charset, Path};

    const TEXT: &str = "MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5\r\
        PID|1||11^^^EPIC&1.2.3&ISO^MR~22^^^LAB^PI~33^^^MRN-X^MR||DOE&VAN^JOHN\r\
        OBX|1|NM|a||5\rOBX|2|ST|b||6~7\rZPD|x\r";

    #[test]
    fn inner_scopes_hide_only_the_names_they_own() {
        let message = Message::parse(TEXT.as_bytes(), Charset::Utf8).unwrap();
        let all = [0..message.len()];
        let outer = Scope::new(&message, &all);
        let second = [3..4];
        let own = [pack_name(b"OBX"), pack_name(b"ZPD")];
        let inner = outer.within(&second, &own);
        let first =
            |path: &str| Some(Path::read(path).unwrap().first(&inner)?.value.raw().to_owned());
        assert_eq!(first("OBX-3").as_deref(), Some("b"));
        assert_eq!(first("PID-3.1").as_deref(), Some("11"));
        assert_eq!(first("ZPD-1"), None);
    }
}
