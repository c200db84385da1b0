//! Events that go one behind the other, whosoever they are.
//!
//! Promises: no event overtakes one before it; of one subject one at most is on its way, and while it
//! is, the next of that subject and all behind it wait.
//! Knows nothing of: how far a route has come.
//!
//! An event that let others pass it while its subject waits for a confirm would show, out of its place,
//! that it is about someone who has just been there.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::queue::Item;
use crate::event::Subject;

/// Events in a line.
#[derive(Debug, Default)]
pub struct Line {
    items: BTreeMap<u64, Item>,
    on_the_way: HashSet<Arc<Subject>>,
}

impl Line {
    /// Puts an event where it belongs: behind those of lower sequence.
    pub fn add(&mut self, item: Item) {
        self.items.insert(item.sequence, item);
    }

    /// The first event, if it may go; it is on its way then.
    pub fn take_next(&mut self) -> Option<Item> {
        let first = self.items.first_entry()?;
        let subject = &first.get().event.subject;
        if self.on_the_way.contains(subject) {
            return None;
        }
        self.on_the_way.insert(subject.clone());
        Some(first.remove())
    }

    /// An event is not on its way any more.
    pub fn leave(&mut self, item: &Item) {
        self.on_the_way.remove(&item.event.subject);
    }
}
