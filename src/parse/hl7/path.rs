//! How a mapping names a value: `PID-3[2].4.2`, `OBX[*]-5`, `PID-3[?4.1=MRN].1`.
//!
//! Promises: everything counts from 1, as the standard does; a path that cannot be is refused
//! when it is read, not when a message comes; what a path resolves to says where it was found.
//! Knows nothing of: the data types behind it.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use super::message::{self, Divided};
use super::{Composite, Content, Message, Segment};

/// Which of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Not said: the first where one value is wanted, every one where a list is.
    Unsaid,
    One(usize),
    Every,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repetition {
    Which(Which),
    /// `?4.1=MRN`: those whose component has that text.
    Where {
        component: usize,
        subcomponent: usize,
        text: String,
    },
}

/// A path, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    segment: String,
    packed: u32,
    occurrence: Which,
    field: usize,
    repetition: Repetition,
    component: usize,
    subcomponent: usize,
}

/// Highest field, component, subcomponent or repetition that a path may name. The longest
/// segment of 2.9 has 73 fields.
const NUMBER_MAX: usize = 999;

impl Path {
    /// Reads a path. A segment alone, such as `OBX`, is one too: it names whole segments.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a path: {why}");
        let (head, tail) = match split_outside_brackets(text, '-') {
            Some((head, tail)) => (head, Some(tail)),
            None => (text, None),
        };
        let (segment, bracket) = split_bracket(head).map_err(wrong)?;
        let named = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !named {
            return Err(wrong("it begins with a segment name, such as PID"));
        }
        let occurrence = match bracket {
            None => Which::Unsaid,
            Some(which) => {
                read_which(which).ok_or_else(|| wrong("behind a segment stands [n] or [*]"))?
            }
        };
        let mut path = Self {
            segment: segment.to_owned(),
            packed: message::pack_name(segment.as_bytes()),
            occurrence,
            field: 0,
            repetition: Repetition::Which(Which::Unsaid),
            component: 0,
            subcomponent: 0,
        };
        let Some(tail) = tail else { return Ok(path) };
        let (field, rest) = match split_outside_brackets(tail, '.') {
            Some((field, rest)) => (field, Some(rest)),
            None => (tail, None),
        };
        let (number, bracket) = split_bracket(field).map_err(wrong)?;
        path.field = read_number(number).ok_or_else(|| wrong("fields are numbered from 1"))?;
        if let Some(bracket) = bracket {
            path.repetition = read_repetition(bracket)
                .ok_or_else(|| wrong("behind a field stands [n], [*] or [?4.1=TEXT]"))?;
        }
        if let Some(rest) = rest {
            let (component, subcomponent) =
                read_component(rest).ok_or_else(|| wrong("components are numbered from 1"))?;
            path.component = component;
            path.subcomponent = subcomponent;
        }
        Ok(path)
    }

    /// The segment it names.
    #[must_use]
    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// The field it names; 0 where it names whole segments.
    #[must_use]
    pub const fn field(&self) -> usize {
        self.field
    }

    /// Calls `take` for each segment it names within a scope until that returns false.
    pub fn segments<'m>(&self, scope: &Scope<'m, '_>, mut take: impl FnMut(Segment<'m>) -> bool) {
        let scope = scope.of(self.packed);
        let (skip, count) = match self.occurrence {
            Which::Every | Which::Unsaid => (0, usize::MAX),
            Which::One(number) => (number - 1, 1),
        };
        let mut seen = 0;
        scope.named(self.packed, &self.segment, |segment| {
            seen += 1;
            seen <= skip || (take(segment) && seen - skip < count)
        });
    }

    /// Calls `take` for each value it names within a scope until that returns false. What is
    /// unsaid means every one.
    pub fn resolve<'m>(&self, scope: &Scope<'m, '_>, mut take: impl FnMut(Hit<'m>) -> bool) {
        self.segments(scope, |segment| {
            let Some(field) = segment.divided(self.field).filter(|field| !field.raw.is_empty())
            else {
                return true;
            };
            if !field.repeats {
                return !self.wants(1, &field, field.raw)
                    || take(self.hit(&field, field.raw, segment, 1));
            }
            segment.message().repetitions(field.raw).zip(1..).all(|(repetition, number)| {
                !self.wants(number, &field, repetition)
                    || take(self.hit(&field, repetition, segment, number))
            })
        });
    }

    /// The first value it names within a scope. What is unsaid means the first.
    #[must_use]
    pub fn first<'m>(&self, scope: &Scope<'m, '_>) -> Option<Hit<'m>> {
        let segment = match self.occurrence {
            Which::Unsaid if self.packed != 0 => scope.of(self.packed).first(self.packed)?,
            Which::Unsaid | Which::One(_) | Which::Every => {
                let mut found = None;
                self.segments(scope, |segment| {
                    found = Some(segment);
                    false
                });
                found?
            }
        };
        let field = segment.divided(self.field).filter(|field| !field.raw.is_empty())?;
        let unsaid = self.repetition == Repetition::Which(Which::Unsaid);
        if unsaid && !field.repeats {
            return Some(self.hit(&field, field.raw, segment, 1));
        }
        let mut repetitions = segment.message().repetitions(field.raw).zip(1..);
        let (repetition, number) =
            repetitions.find(|(repetition, number)| self.wants(*number, &field, repetition))?;
        Some(self.hit(&field, repetition, segment, number))
    }

    /// Whether a repetition is among those it names.
    fn wants(&self, number: usize, field: &Divided<'_>, repetition: &str) -> bool {
        match &self.repetition {
            Repetition::Which(Which::Unsaid | Which::Every) => true,
            Repetition::Which(Which::One(wanted)) => number == *wanted,
            Repetition::Where { component, subcomponent, text } => {
                let part = field.composite(repetition).part(*component).part(*subcomponent);
                field.message.content(part.raw()) == Content::Text(text.as_str().into())
            }
        }
    }

    fn hit<'m>(
        &self,
        field: &Divided<'m>,
        repetition: &'m str,
        segment: Segment<'m>,
        number: usize,
    ) -> Hit<'m> {
        Hit {
            value: self.narrow(field, repetition),
            segment,
            field_id: field.id,
            field: narrow(self.field),
            repetition: narrow(number),
            component: narrow(self.component),
            subcomponent: narrow(self.subcomponent),
        }
    }

    fn narrow<'m>(&self, field: &Divided<'m>, repetition: &'m str) -> Composite<'m> {
        let whole = field.composite(repetition);
        match (self.component, self.subcomponent) {
            // MSH-1 and MSH-2 are the delimiters; dividing them by themselves gives nonsense.
            _ if self.packed == message::MSH && self.field <= 2 => Composite::undivided(field.raw),
            (0, _) => whole,
            (component, 0) => whole.part(component),
            (component, subcomponent) => whole.part(component).part(subcomponent),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.segment)?;
        write_which(out, self.occurrence)?;
        if self.field == 0 {
            return Ok(());
        }
        write!(out, "-{}", self.field)?;
        match &self.repetition {
            Repetition::Which(which) => write_which(out, *which)?,
            Repetition::Where { component, subcomponent, text } => {
                write!(out, "[?{component}.{subcomponent}={text}]")?;
            }
        }
        for number in [self.component, self.subcomponent] {
            if number > 0 {
                write!(out, ".{number}")?;
            }
        }
        Ok(())
    }
}

fn write_which(out: &mut fmt::Formatter<'_>, which: Which) -> fmt::Result {
    match which {
        Which::Unsaid => Ok(()),
        Which::One(number) => write!(out, "[{number}]"),
        Which::Every => out.write_str("[*]"),
    }
}

/// A value that a path resolved to.
#[derive(Clone, Copy)]
pub struct Hit<'m> {
    /// The value, to be divided further.
    pub value: Composite<'m>,
    /// The segment it stands in.
    pub segment: Segment<'m>,
    /// Its field among all fields of the message.
    pub field_id: usize,
    field: u16,
    repetition: u16,
    component: u16,
    subcomponent: u16,
}

/// Numbers of a path are at most [`NUMBER_MAX`]; a repetition beyond is only shown wrong.
fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

impl<'m> Hit<'m> {
    /// The whole field, with all its repetitions.
    #[must_use]
    pub fn whole_field(&self) -> &'m str {
        self.segment.field(self.field.into()).unwrap_or_default()
    }

    /// Where exactly it was found, such as `OBX[3]-5[2].1`. Ones are left out where they are
    /// the only possibility that a reader would think of.
    #[must_use]
    pub fn place(&self) -> String {
        let mut place = segment_place(&self.segment);
        place.push_str(&format!("-{}", self.field));
        if self.repetition > 1 {
            place.push_str(&format!("[{}]", self.repetition));
        }
        for number in [self.component, self.subcomponent] {
            if number > 0 {
                place.push_str(&format!(".{number}"));
            }
        }
        place
    }
}

/// A segment and which of its name it is, such as `OBX[3]`; the first of a name goes without.
#[must_use]
pub fn segment_place(segment: &Segment<'_>) -> String {
    let before = segment
        .message()
        .segments()
        .take(segment.index())
        .filter(|other| other.name() == segment.name())
        .count();
    let label = segment.label();
    if before == 0 || label.starts_with('#') {
        label.into_owned()
    } else {
        format!("{label}[{}]", before + 1)
    }
}

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
    fn of(&self, packed: u32) -> &Self {
        let mut scope = self;
        while let Some(outer) = scope.outer
            && !scope.own.contains(&packed)
        {
            scope = outer;
        }
        scope
    }

    /// The first segment of a name.
    fn first(&self, packed: u32) -> Option<Segment<'m>> {
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
    fn named(&self, packed: u32, name: &str, mut take: impl FnMut(Segment<'m>) -> bool) {
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

/// Splits at the first separator that is not inside brackets: `PID-3[?4.1=A-B].1`.
fn split_outside_brackets(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if letter == separator && depth == 0 => {
                return Some((text.get(..at)?, text.get(at + 1..)?));
            }
            _ => {}
        }
    }
    None
}

/// `OBX[*]` to `OBX` and `*`.
fn split_bracket(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    match text.split_once('[') {
        None => Ok((text, None)),
        Some((name, rest)) => match rest.strip_suffix(']') {
            Some(inner) => Ok((name, Some(inner))),
            None => Err("a bracket is not closed"),
        },
    }
}

fn read_number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok()? } else { return None };
    (1..=NUMBER_MAX).contains(&number).then_some(number)
}

fn read_which(text: &str) -> Option<Which> {
    if text == "*" { Some(Which::Every) } else { read_number(text).map(Which::One) }
}

fn read_repetition(text: &str) -> Option<Repetition> {
    let Some(condition) = text.strip_prefix('?') else {
        return read_which(text).map(Repetition::Which);
    };
    let (place, text) = condition.split_once('=')?;
    let (component, subcomponent) = read_component(place)?;
    if text.is_empty() {
        return None;
    }
    let subcomponent = subcomponent.max(1);
    Some(Repetition::Where { component, subcomponent, text: text.to_owned() })
}

/// `4` or `4.2`; the subcomponent is 0 where it is not said.
fn read_component(text: &str) -> Option<(usize, usize)> {
    match text.split_once('.') {
        None => Some((read_number(text)?, 0)),
        Some((component, subcomponent)) => {
            Some((read_number(component)?, read_number(subcomponent)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::Charset;

    const TEXT: &str = "MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5\r\
        PID|1||11^^^EPIC&1.2.3&ISO^MR~22^^^LAB^PI~33^^^MRN-X^MR||DOE&VAN^JOHN\r\
        OBX|1|NM|a||5\rOBX|2|ST|b||6~7\rZPD|x\r";

    fn values(path: &str, each: bool) -> Vec<(String, String)> {
        let message = Message::parse(TEXT.as_bytes(), Charset::Utf8).unwrap();
        let all = [0..message.len()];
        let scope = Scope::new(&message, &all);
        let mut found = Vec::new();
        let mut take = |hit: Hit<'_>| found.push((hit.place(), hit.value.raw().to_owned()));
        let path = Path::read(path).unwrap();
        if each {
            path.resolve(&scope, |hit| {
                take(hit);
                true
            });
        } else if let Some(hit) = path.first(&scope) {
            take(hit);
        }
        found
    }

    fn one(path: &str) -> String {
        let found = values(path, false);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        found.into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn everything_counts_from_one() {
        assert_eq!(one("PID-3.1"), "11");
        assert_eq!(one("PID-3[2].4.1"), "LAB");
        assert_eq!(one("PID-3.4.2"), "1.2.3");
        assert_eq!(one("PID-3.4"), "EPIC&1.2.3&ISO");
        assert_eq!(one("PID-5.1.2"), "VAN");
        assert_eq!(one("OBX[2]-5[2]"), "7");
        assert_eq!(one("ZPD-1"), "x");
        assert_eq!(one("MSH-1"), "|");
        assert_eq!(one("MSH-2"), "^~\\&");
        assert_eq!(one("MSH-9.2"), "A01");
        assert_eq!(values("PID-9", false), []);
        assert_eq!(values("NK1-2", true), []);
    }

    #[test]
    fn a_condition_picks_repetitions() {
        assert_eq!(one("PID-3[?4.1=LAB].1"), "22");
        assert_eq!(one("PID-3[?4=EPIC].1"), "11");
        assert_eq!(one("PID-3[?4.1=MRN-X].1"), "33");
        assert_eq!(one("PID-3[?5=MR].1"), "11");
        assert_eq!(values("PID-3[?5=MR].1", true).len(), 2);
        assert_eq!(values("PID-3[?5=XX].1", true), []);
    }

    #[test]
    fn a_list_is_found_whole_and_says_where() {
        let found = values("OBX[*]-5", true);
        let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["OBX-5", "OBX[2]-5", "OBX[2]-5[2]"]);
        assert_eq!(values("OBX[2]-5[*]", true).len(), 2);
        assert_eq!(values("OBX[*]-5", false).len(), 1);
    }

    #[test]
    fn inner_scopes_hide_only_the_names_they_own() {
        let message = Message::parse(TEXT.as_bytes(), Charset::Utf8).unwrap();
        let all = [0..message.len()];
        let outer = Scope::new(&message, &all);
        let second = [3..4];
        let own = [message::pack_name(b"OBX"), message::pack_name(b"ZPD")];
        let inner = outer.within(&second, &own);
        let first =
            |path: &str| Some(Path::read(path).unwrap().first(&inner)?.value.raw().to_owned());
        assert_eq!(first("OBX-3").as_deref(), Some("b"));
        assert_eq!(first("PID-3.1").as_deref(), Some("11"));
        assert_eq!(first("ZPD-1"), None);
    }

    #[test]
    fn a_wrong_path_is_refused_when_it_is_read() {
        for wrong in [
            "",
            "-3",
            "PID-",
            "PID-0",
            "PID-x",
            "PID-3.",
            "PID-3.0",
            "PID-3.1.2.3",
            "PID-3[0]",
            "PID-3[",
            "PID-3[?4.1]",
            "PID-3[?=X]",
            "PID-3[?4.1=]",
            "PID[?1=x]-3",
            "P D-1",
            "PID-1000",
            "PID-3 ",
            "PID-3[2]x.1",
        ] {
            assert!(Path::read(wrong).is_err(), "{wrong}");
        }
        for right in
            ["PID-3[2].4.2", "OBX[*]-5", "PID-3[?4.1=MRN].1", "OBX", "ZPD-1", "OBX[2]-5[*]"]
        {
            assert_eq!(Path::read(right).unwrap().to_string(), right);
        }
    }
}
