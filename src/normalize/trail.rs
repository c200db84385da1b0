//! Who wrote what of an event, and which times were given a zone.
//!
//! Promises: a field goes by the rule that wrote it first; a time that states no zone is marked, and
//! so is one that its zone has twice or never.
//! Knows nothing of: what a message looks like.

use std::ops::Range;

use jiff::tz::TimeZone;

use crate::event::PartialDate;
use crate::event::partial_date::Assumed;
use crate::event::tree::{Mark, Tree};

use super::mapping::Origin;
use super::{Trace, Traced};

/// What a rule wrote: from node to node, by whom, from where.
struct Written {
    nodes: Range<usize>,
    rule: String,
    source: String,
}

/// Beside the event that is being written.
pub(super) struct Trail<'c> {
    trace: Trace,
    /// The zone of the feed.
    zone: Option<&'c TimeZone>,
    written: Vec<Written>,
    /// What was noted of events that are finished.
    pub traced: Vec<Traced>,
    assumed: Vec<&'c str>,
    uncertain: Vec<&'c str>,
}

impl<'c> Trail<'c> {
    pub(super) const fn new(trace: Trace, zone: Option<&'c TimeZone>) -> Self {
        Self {
            trace,
            zone,
            written: Vec::new(),
            traced: Vec::new(),
            assumed: Vec::new(),
            uncertain: Vec::new(),
        }
    }

    /// A time with an offset: its own, the message's, or the feed's, which is marked.
    pub(super) fn zoned(
        &mut self,
        date: PartialDate,
        of_message: Option<i16>,
        target: &'c str,
    ) -> PartialDate {
        if !date.has_time() || date.has_offset() {
            return date;
        }
        if let Some(offset) = of_message {
            return date.with_offset(offset);
        }
        let Some(zone) = self.zone else { return date };
        let (zoned, certainty) = date.in_zone(zone);
        if !zoned.has_offset() {
            return date;
        }
        push_once(&mut self.assumed, target);
        if certainty != Assumed::Certain {
            push_once(&mut self.uncertain, target);
        }
        zoned
    }

    /// Notes that what stands behind a mark is said by the mapping, and by no field.
    pub(super) fn note_constant(&mut self, tree: &Tree, mark: Mark, rule: &str) {
        if self.trace == Trace::On {
            let nodes = Tree::position(mark)..Tree::position(tree.mark());
            self.written.push(Written { nodes, rule: rule.to_owned(), source: String::new() });
        }
    }

    /// Notes who wrote what stands behind a mark, from where.
    #[inline]
    pub(super) fn note(
        &mut self,
        tree: &Tree,
        mark: Mark,
        origin: &Origin,
        source: impl FnOnce() -> String,
    ) {
        if self.trace == Trace::On && tree.grew(mark) {
            self.written.push(Written {
                nodes: Tree::position(mark)..Tree::position(tree.mark()),
                rule: origin.place.clone(),
                source: source(),
            });
        }
    }

    /// Ends an event: adds what was assumed of its times.
    pub(super) fn finish(&mut self, tree: &mut Tree, event: usize) {
        if !self.assumed.is_empty() {
            let name = self.zone.and_then(TimeZone::iana_name).unwrap_or("UTC");
            let zone = tree.open_object("zone");
            tree.text("name", name);
            for (key, fields) in [("assumed", &self.assumed), ("uncertain", &self.uncertain)] {
                let list = tree.open_list(key);
                for field in fields {
                    tree.text("", field);
                }
                tree.close(list);
            }
            tree.close(zone);
        }
        self.assumed.clear();
        self.uncertain.clear();
        let written = std::mem::take(&mut self.written);
        if self.trace == Trace::On {
            tree.paths(|position, field| {
                let by = written.iter().find(|written| written.nodes.contains(&position));
                self.traced.extend(by.map(|written| Traced {
                    event,
                    field: field.to_owned(),
                    rule: written.rule.clone(),
                    source: written.source.clone(),
                }));
            });
        }
    }
}

fn push_once<'c>(list: &mut Vec<&'c str>, field: &'c str) {
    if !list.contains(&field) {
        list.push(field);
    }
}
