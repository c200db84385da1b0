//! What a set of messages and resources holds, and which rules take it.
//!
//! Promises: places, counts and rules, never a value; a field counts as taken where a rule read it,
//! or the gate does, whatever came of it; what is in a message that gives no event is taken by none; an
//! element that a coverage says nobody takes is one that is listed as unmapped.
//! Knows nothing of: files and terminals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::parse::fhir::elements;
use crate::parse::hl7::{Content, Message};

use super::Refusal;
use super::fhir::{self, Scene};
use super::mapping::{Mappings, Origin};
use super::run::{Context, READ_BY_THE_GATE, Run, Strictness, Trace, chosen, drafts};

/// Most fields and elements that are told apart: many times those of the standards, and some 10 MiB.
const ROWS_MAX: usize = 50_000;
/// Most kinds of messages without an event that are told apart.
const REFUSALS_MAX: usize = 1_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Messages that were looked at.
    pub messages: u64,
    /// Those that gave events.
    pub mapped: u64,
    /// Why the others gave none, and how many of each.
    pub refused: BTreeMap<(&'static str, String), u64>,
    /// Resources that only came along with others, by type: no mapping is for them.
    pub beside: BTreeMap<&'static str, u64>,
    /// Fields that were not counted, since there are too many to tell apart.
    pub left_out: u64,
    rows: BTreeMap<Place, Row>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A field by its segment and number, 0 for a segment without any. A segment without a legal name
    /// has none.
    Field(Option<[u8; 3]>, usize),
    /// An element of a resource, as a path of a rule begins with it.
    Element(String),
}

impl Place {
    /// The name of a field's segment; `#` where it has no legal one. Nothing of an element.
    #[must_use]
    pub fn segment(&self) -> Option<&str> {
        match self {
            Self::Field(Some(name), _) => Some(std::str::from_utf8(name).unwrap_or("#")),
            Self::Field(None, _) => Some("#"),
            Self::Element(_) => None,
        }
    }
}

impl fmt::Display for Place {
    /// `PID-3`; a segment without fields by its name; `Patient.name`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(element) => out.write_str(element),
            Self::Field(_, number) => {
                out.write_str(self.segment().unwrap_or_default())?;
                if *number > 0 { write!(out, "-{number}") } else { Ok(()) }
            }
        }
    }
}

/// What was found of a field or an element.
#[derive(Debug, Default)]
pub struct Row {
    /// Messages with it.
    pub messages: u64,
    /// How often it holds something.
    pub occurrences: u64,
    /// How often something took it.
    pub taken: u64,
    /// Whether the gate itself reads it.
    pub gate: bool,
    /// The rules that took it: `file:line`, and the target.
    pub rules: BTreeSet<(String, String)>,
    /// The last message that was counted.
    last: u64,
}

impl Coverage {
    /// Counts a message that cannot be read at all.
    pub fn refuse(&mut self, code: &'static str, text: String) {
        self.messages += 1;
        self.count_refusal(code, text);
    }

    /// Counts what a message holds, and maps it for the rules that take it.
    ///
    /// # Errors
    /// It gives no event. It is counted all the same.
    pub fn add(
        &mut self,
        mappings: &Mappings,
        message: &Message<'_>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.messages += 1;
        let mut run = Run::new(message, context, Trace::Takers, Strictness::Required);
        let outcome = chosen(mappings, message).and_then(|chosen| drafts(&mut run, &chosen));
        match &outcome {
            Ok(_) => self.mapped += 1,
            Err(refusal) => self.count_refusal(refusal.code(), refusal.to_string()),
        }
        for segment in message.segments() {
            let name = segment.legal_name();
            if segment.field_count() == 0 {
                self.count(Place::Field(name, 0), &[], false);
            }
            for number in segment.filled() {
                let raw = segment.field(number).unwrap_or_default();
                if message.content(raw) == Content::Absent {
                    continue;
                }
                let id = segment.field_id(number);
                let taken = id.filter(|_| outcome.is_ok());
                let by: Vec<&Origin> =
                    taken.map(|id| run.taken.takers(id..id + 1).collect()).unwrap_or_default();
                let gate = segment.index() == 0 && READ_BY_THE_GATE.contains(&number);
                self.count(Place::Field(name, number), &by, gate);
            }
        }
        outcome.map(drop)
    }

    /// Counts what a resource holds, and maps it for the rules that take it.
    ///
    /// # Errors
    /// It gives no event. It is counted all the same.
    pub fn add_resource(
        &mut self,
        mappings: &Mappings,
        scene: &Scene<'_>,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.messages += 1;
        let outcome = fhir::cover(mappings, scene, context, &mut |element, gate, by| {
            self.count(Place::Element(fhir::name::name(element)), by, gate);
        });
        match &outcome {
            Ok(()) => self.mapped += 1,
            Err(refusal) => self.count_refusal(refusal.code(), refusal.to_string()),
        }
        outcome
    }

    /// Counts a resource that only came along. A type that FHIR does not have is `?`.
    pub fn add_beside(&mut self, kind: &str) {
        let known = elements::resources().find(|known| *known == kind);
        *self.beside.entry(known.unwrap_or("?")).or_default() += 1;
    }

    fn count(&mut self, place: Place, by: &[&Origin], gate: bool) {
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&place) {
            self.left_out += 1;
            return;
        }
        let row = self.rows.entry(place).or_default();
        row.messages += u64::from(row.last != self.messages);
        row.last = self.messages;
        row.occurrences += 1;
        row.taken += u64::from(gate || !by.is_empty());
        row.gate |= gate;
        row.rules.extend(by.iter().map(|by| (by.place.clone(), by.target.clone())));
    }

    fn count_refusal(&mut self, code: &'static str, text: String) {
        let is_known = self.refused.contains_key(&(code, text.clone()));
        let text = if is_known || self.refused.len() < REFUSALS_MAX { text } else { String::new() };
        *self.refused.entry((code, text)).or_default() += 1;
    }

    /// Every field and element that was found, and what was counted: fields first.
    pub fn rows(&self) -> impl Iterator<Item = (&Place, &Row)> {
        self.rows.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::Problems;
    use crate::normalize;
    use crate::parse::hl7::Charset;

    #[test]
    fn each_field_is_counted_with_the_rules_that_took_it() {
        let mappings = normalize::load(Path::new("mappings"), &Problems::default());
        let mut coverage = Coverage::default();
        let mut add = |kind: &str, rest: &str| {
            let text = format!(
                "MSH|^~\\&|E|N|||20261122||{kind}|ZZ1|P|2.5\rPID|1||ZZ1~ZZ2||||\"\"\r{rest}"
            );
            let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
            coverage.add(&mappings, &message, &Context::default())
        };
        assert!(add("ADT^A08", "OBX|1|NM|a||5\rOBX|2||b||  \rZPD|x\rZPD|y\rZZ9\rodd|v\r").is_ok());
        assert!(add("ADT^A08", "ZPD|x\r").is_ok());
        assert!(add("SIU^S12", "ZPD|x\r").is_err());
        let found = |segment: &str, field: usize| {
            let mut rows = coverage.rows().filter(|(place, _)| {
                place.segment() == Some(segment)
                    && matches!(place, Place::Field(_, at) if *at == field)
            });
            rows.next().map(|(_, row)| {
                let rules: Vec<&str> =
                    row.rules.iter().map(|(_, target)| target.as_str()).collect();
                (row.messages, row.occurrences, row.taken, rules.join(" "))
            })
        };
        assert_eq!((coverage.messages, coverage.mapped), (3, 2));
        assert_eq!(found("PID", 3), Some((3, 3, 2, "patient.identifiers".to_owned())));
        let birth = "patient.birthDate patient.birthTime".to_owned();
        assert_eq!(found("PID", 7), Some((3, 3, 2, birth)), "null is something");
        assert_eq!(found("PID", 1), Some((3, 3, 0, String::new())));
        assert_eq!(found("ZPD", 1), Some((3, 4, 0, String::new())));
        // By the value's rule, which reads the type beside it.
        assert_eq!(found("OBX", 2), Some((1, 1, 1, "observations[].value".to_owned())));
        assert_eq!(found("OBX", 5), Some((1, 1, 1, "observations[].value".to_owned())));
        assert_eq!(found("ZZ9", 0), Some((1, 1, 0, String::new())));
        assert_eq!(found("#", 1), Some((1, 1, 0, String::new())));
        assert_eq!(found("MSH", 9).map(|(_, _, taken, _)| taken), Some(3), "the gate reads it");
        assert_eq!(found("PV1", 2), None);
        let refused: Vec<_> = coverage.refused.iter().collect();
        let wanted = ("unsupported", "no mapping selects SIU^S12".to_owned());
        assert_eq!(refused, [(&wanted, &1)]);
    }
}
