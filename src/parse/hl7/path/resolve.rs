//! A path on a message: which segments, repetitions and parts it names, and where they stand.
//!
//! Promises: values come in the order of the message; an empty field is not there; nothing is
//! copied.
//! Knows nothing of: how the path was written.

use super::scope::{FieldSpot, Found};
use super::{Path, Repetition, Scope, Which};
use crate::parse::hl7::{Composite, Content, Segment};

impl Path {
    /// Calls `take` for each segment it names within a scope until that returns false.
    pub fn segments<'m>(&self, scope: &Scope<'m, '_>, mut take: impl FnMut(Segment<'m>) -> bool) {
        let (skip, count) = match self.occurrence {
            Which::Every | Which::Unsaid => (0, usize::MAX),
            Which::One(number) => (usize::from(number) - 1, 1),
        };
        if self.packed != 0 {
            match scope.find(self.packed) {
                Found::None => return,
                Found::One(at) => {
                    if let Some(segment) = scope.message().segment(at).filter(|_| skip == 0) {
                        take(segment);
                    }
                    return;
                }
                Found::Several(_) => {}
            }
        }
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
            let Some(field) = segment.divided(self.field.into()) else { return true };
            if !field.repeats {
                return !self.wants(1, &segment, field.value)
                    || take(self.hit(field.id, field.value, segment, 1));
            }
            field.repetitions(&segment).zip(1..).all(|(repetition, number)| {
                !self.wants(number, &segment, repetition)
                    || take(self.hit(field.id, repetition, segment, number))
            })
        });
    }

    /// The first value it names within a scope. What is unsaid means the first.
    #[must_use]
    pub fn first<'m>(&self, scope: &Scope<'m, '_>) -> Option<Hit<'m>> {
        let segment = self.first_segment(scope)?;
        let field = segment.divided(self.field.into())?;
        if !field.repeats {
            // MSH-2 holds the separator, and is one value all the same.
            return self
                .wants(1, &segment, field.value)
                .then(|| self.hit(field.id, field.value, segment, 1));
        }
        let mut repetitions = field.repetitions(&segment).zip(1..);
        let (repetition, number) =
            repetitions.find(|(repetition, number)| self.wants(*number, &segment, *repetition))?;
        Some(self.hit(field.id, repetition, segment, number))
    }

    #[inline]
    fn first_segment<'m>(&self, scope: &Scope<'m, '_>) -> Option<Segment<'m>> {
        if self.packed != 0 && self.occurrence == Which::Unsaid {
            return match scope.find(self.packed) {
                Found::None => None,
                Found::One(at) | Found::Several(at) => scope.message().segment(at),
            };
        }
        let mut found = None;
        self.segments(scope, |segment| {
            found = Some(segment);
            false
        });
        found
    }

    /// The field it names, whichever segment of its name it stands in; nothing where the name
    /// is odd, or where it names whole segments.
    #[must_use]
    pub fn spot(&self) -> Option<FieldSpot> {
        (self.packed != 0 && self.field != 0)
            .then_some(FieldSpot { segment: self.packed, field: self.field })
    }

    /// Whether a repetition is among those it names.
    #[inline]
    fn wants(&self, number: usize, segment: &Segment<'_>, repetition: Composite<'_>) -> bool {
        match &self.repetition {
            Repetition::Which(Which::Unsaid | Which::Every) => true,
            Repetition::Which(Which::One(wanted)) => number == usize::from(*wanted),
            Repetition::Where { component, subcomponent, text } => {
                let part = repetition.part((*component).into()).part((*subcomponent).into());
                segment.message().content(part.raw()) == Content::Text(text.as_ref().into())
            }
        }
    }

    #[expect(clippy::inline_always, reason = "returned through memory it costs more than it does")]
    #[inline(always)]
    fn hit<'m>(
        &self,
        field_id: usize,
        repetition: Composite<'m>,
        segment: Segment<'m>,
        number: usize,
    ) -> Hit<'m> {
        let value = match (self.component, self.subcomponent) {
            (0, _) => repetition,
            (component, 0) => repetition.part(component.into()),
            (component, inner) => repetition.part(component.into()).part(inner.into()),
        };
        Hit {
            value,
            segment,
            field_id,
            field: self.field,
            repetition: narrow(number),
            component: self.component,
            subcomponent: self.subcomponent,
        }
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

/// Numbers of a path are at most [`NUMBER_MAX`](super::NUMBER_MAX); a repetition beyond is only shown wrong.
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
fn segment_place(segment: &Segment<'_>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::{Charset, Message};

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
        assert_eq!(values("MSH-2[2]", false), []);
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
}
