//! Events that go one behind the other for each subject.
//!
//! Promises: of one subject one event at most is on its way, and the next goes when that is done
//! (PROMISE-4); events of other subjects overtake it.
//! Knows nothing of: how far a route has come.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::queue::Item;
use crate::event::Subject;

/// Most lists that are kept.
const SPARE_MAX: usize = 256;

/// A lane for each subject.
#[derive(Debug, Default)]
pub struct Lanes {
    subjects: HashMap<Arc<Subject>, Lane>,
    /// Subjects whose first event may go.
    ready: VecDeque<Arc<Subject>>,
    /// Lists of lanes that are gone, for those that come: most lanes have one event.
    spare: Vec<VecDeque<Item>>,
}

/// The events of one subject, in order. Of those, one at most is on its way, and it is not in
/// the list then.
#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<Item>,
    on_the_way: bool,
}

impl Lanes {
    /// Puts an event behind those of its subject.
    pub fn add(&mut self, item: Item) {
        let subject = Arc::clone(&item.event.subject);
        let lane = self.subjects.entry(Arc::clone(&subject)).or_insert_with(|| {
            let items = self.spare.pop().unwrap_or_default();
            Lane { items, on_the_way: false }
        });
        if lane.items.is_empty() && !lane.on_the_way {
            self.ready.push_back(subject);
        }
        lane.items.push_back(item);
    }

    /// An event whose subject has none before it; it is on its way then.
    pub fn take_next(&mut self) -> Option<Item> {
        let subject = self.ready.pop_front()?;
        let lane = self.subjects.get_mut(&subject)?;
        lane.on_the_way = true;
        lane.items.pop_front()
    }

    /// An event is done.
    pub fn leave(&mut self, item: &Item) {
        let subject = &item.event.subject;
        if let Some(lane) = self.subjects.get_mut(subject) {
            lane.on_the_way = false;
            if lane.items.is_empty() {
                let left = self.subjects.remove(subject).map(|lane| lane.items);
                self.spare.extend(left.filter(|_| self.spare.len() < SPARE_MAX));
            } else {
                self.ready.push_back(subject.clone());
            }
        }
    }

    /// An event goes again behind another one of its subject, which is new.
    pub fn again_behind(&mut self, item: Item, first: Item) {
        if let Some(lane) = self.subjects.get_mut(&item.event.subject) {
            lane.items.push_front(item);
        }
        self.again(first);
    }

    /// An event goes again, before any later one of its subject.
    pub fn again(&mut self, item: Item) {
        let subject = item.event.subject.clone();
        let lane = self.subjects.entry(subject.clone()).or_default();
        lane.on_the_way = false;
        lane.items.push_front(item);
        self.ready.push_front(subject);
    }
}
