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
    /// The name that was last looked for from here, and what was found, wherever that was:
    /// rules stand in the order of the event, and there most neighbours come from one segment.
    last: Cell<(u32, Found)>,
    ranges: &'s [Range<usize>],
    /// Names that are looked for here and nowhere further out.
    own: &'s [u32],
    outer: Option<&'s Scope<'m, 's>>,
}

/// A field of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSpot {
    pub(super) segment: u32,
    pub(super) field: u16,
}

/// The segments of a name.
#[derive(Clone, Copy)]
pub(super) enum Found {
    /// There is none.
    None,
    /// There is one, at this position.
    One(usize),
    /// There are several, the first of them at this position.
    Several(usize),
}

impl<'m, 's> Scope<'m, 's> {
    /// Segments by their positions, in order.
    #[must_use]
    pub const fn new(message: &'m Message<'m>, ranges: &'s [Range<usize>]) -> Self {
        Self { message, last: Cell::new((0, Found::None)), ranges, own: &[], outer: None }
    }

    /// Segments inside this scope, one and those that belong to it. Paths to the names in `own`
    /// see only them; other paths see what is around.
    #[must_use]
    pub fn within(&'s self, ranges: &'s [Range<usize>], own: &'s [u32]) -> Self {
        let message = self.message;
        let first = ranges.first().and_then(|range| message.segment(range.start));
        // Most paths are to the one, if its like is not among those that belong to it.
        let last = match (first, own) {
            (Some(first), [name, rest @ ..])
                if first.packed_name() == *name && !rest.contains(name) =>
            {
                (*name, Found::One(first.index()))
            }
            _ => (0, Found::None),
        };
        Self { message, last: Cell::new(last), ranges, own, outer: Some(self) }
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &'m Message<'m> {
        self.message
    }

    /// The innermost scope around this one, or this one, that segments of a name are looked
    /// for in.
    fn of(&self, packed: u32) -> &Self {
        let mut scope = self;
        while let Some(outer) = scope.outer
            && !scope.own.contains(&packed)
        {
            scope = outer;
        }
        scope
    }

    /// The segments of a name that is not odd.
    #[inline]
    pub(super) fn find(&self, packed: u32) -> Found {
        let (name, found) = self.last.get();
        if name == packed { found } else { self.look(packed) }
    }

    fn look(&self, packed: u32) -> Found {
        let mut found = Found::None;
        self.of(packed).each(packed, "", |segment| {
            found = match found {
                Found::None => Found::One(segment.index()),
                Found::One(at) | Found::Several(at) => Found::Several(at),
            };
            !matches!(found, Found::Several(_))
        });
        self.last.set((packed, found));
        found
    }

    /// Whether a field is surely empty here: most fields of most messages are, so it pays to see
    /// that at once.
    #[inline]
    #[must_use]
    pub fn lacks(&self, spot: FieldSpot) -> bool {
        match self.find(spot.segment) {
            Found::None => true,
            Found::One(at) => {
                let segment = self.message.segment(at);
                !segment.is_some_and(|segment| segment.is_filled(spot.field.into()))
            }
            Found::Several(_) => false,
        }
    }

    /// Calls `take` for each segment of a name until it returns false. Odd names compare as
    /// text.
    pub(super) fn named(&self, packed: u32, name: &str, take: impl FnMut(Segment<'m>) -> bool) {
        self.of(packed).each(packed, name, take);
    }

    fn each(&self, packed: u32, name: &str, mut take: impl FnMut(Segment<'m>) -> bool) {
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
