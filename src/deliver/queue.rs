//! Which event of a route may go next, and how far the route has come.
//!
//! Promises: events of one subject go one after the other, in journal order, each when the one
//! before is confirmed (PROMISE-4); those of a batch go in the order in which they were taken, and none
//! overtakes another; the position is behind every event that is not done; the
//! number of events in memory is bounded.
//! Knows nothing of: decisions and sinks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::lanes::Lanes;
use super::line::Line;
use crate::admit::{Digest, Fact, Named};
use crate::audit::{Decision, Outcome};
use crate::event::{Event, VisitNumber};
use crate::store::Position;

/// Most events that a route holds in memory. More would only be read earlier than needed.
pub const EVENTS_MAX: usize = 1_024;

/// What is to be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// It goes, if it may.
    Event,
    /// It changed its subject's consent: who was sent something of the subject may have to be told.
    /// The first is the subject of the event, the others are one person with it.
    Notice(u16),
    /// It says that its subject and another are one: who knows both is to be told.
    Link,
    /// It was moved away from its subject: who was sent something of that one is to be told.
    Retract,
    /// It goes by another token than its subject did: who knows the old one is told first.
    Renamed,
}

/// What a consumer is told of a token before it gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renaming {
    /// The token.
    pub token: String,
    /// The one that the consumer knows.
    pub retired: String,
}

/// What the audit holds of an item.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The number of the record.
    pub number: u64,
    /// What it says.
    pub decision: Box<Decision>,
    /// Whether its payload was handed over since.
    pub handed: Handed,
}

/// Whether a payload was handed over, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It was not, or the broker refused it.
    No,
    /// It was, or may have been before a restart; nothing was heard of it.
    Yes,
    /// It was, and the audit has it that nobody knows whether it arrived.
    InDoubt,
}

/// An event that is to go.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is to be done with it.
    pub task: Task,
    /// The newest record of it.
    pub recorded: Option<Recorded>,
    /// The journal entry it is of.
    pub number: u64,
    /// The step of its route that it is of: the entry's number, or in a batch the place.
    pub step: u64,
    /// The event.
    pub event: Arc<Event>,
    /// What stands for its subject and its visit.
    pub digests: Arc<Named>,
    /// Its visit, where it names one.
    pub visit: Option<Arc<VisitNumber>>,
    /// What stands for the transition that it tells of, where its route wants each once.
    pub transition: Option<Digest>,
    /// The event of another source that has told it before.
    pub told_by: Option<Arc<str>>,
    /// Its place among the events that the route selects.
    pub sequence: u64,
    /// The name of its message.
    pub correlation_id: Arc<str>,
    /// The feed it came in by.
    pub feed: Arc<str>,
    /// When it came in, in milliseconds since 1970.
    pub received_at: i64,
    /// How often it was handed to the sink before.
    pub attempts: u32,
    /// When it was handed to the sink; zero before.
    pub sent_at: Duration,
    /// Of [`Task::Renamed`]: what is told.
    pub renaming: Option<Renaming>,
    /// Whether the consumer was told of its token by an item before this one.
    pub is_announced: bool,
}

impl Recorded {
    /// Whether what it let out is beyond reach: anywhere but in a file.
    #[must_use]
    pub fn is_away(&self) -> bool {
        !self.decision.under.destination.starts_with("file:")
    }

    /// Whether something was to leave by it.
    #[must_use]
    pub fn has_left(&self) -> bool {
        matches!(self.decision.outcome, Outcome::Release | Outcome::Notice)
    }
}

impl Item {
    /// One that nothing was done with yet; of which message, and where among its route's, stands beside
    /// it.
    #[must_use]
    pub fn new(task: Task, fact: Fact, feed: Arc<str>) -> Self {
        let Fact { event, correlation_id, digests, visit } = fact;
        Self {
            task,
            recorded: None,
            number: 0,
            step: 0,
            event,
            digests,
            visit,
            transition: None,
            told_by: None,
            sequence: 0,
            correlation_id,
            feed,
            received_at: 0,
            attempts: 0,
            sent_at: Duration::ZERO,
            renaming: None,
            is_announced: false,
        }
    }

    /// Whether it tells a consumer something.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        self.task != Task::Event
    }

    /// What goes before it, so that its token is known; it need not be told again.
    #[must_use]
    pub fn announced_by(&mut self, renaming: Renaming) -> Self {
        self.is_announced = true;
        let first = self.clone();
        Self { task: Task::Renamed, recorded: None, attempts: 0, renaming: Some(renaming), ..first }
    }
}

/// The events of one route that are not done.
#[derive(Debug)]
pub struct Queue {
    order: Order,
    /// Steps with events that are not done.
    open: BTreeMap<u64, Open>,
    /// The last step that was taken, and the events selected up to there.
    read: Position,
    length: usize,
}

/// Which event may go next.
#[derive(Debug)]
enum Order {
    /// Any whose subject has none before it.
    Lanes(Lanes),
    /// The first.
    Line(Line),
}

#[derive(Debug)]
struct Open {
    /// Events of the step that are not done.
    left: usize,
    /// Events selected before the step.
    sequence_before: u64,
    received_at: i64,
}

impl Queue {
    /// An empty queue, behind a position.
    #[must_use]
    pub fn new(position: Position) -> Self {
        Self::of(Order::Lanes(Lanes::default()), position)
    }

    /// An empty queue of a batch, behind so many places.
    #[must_use]
    pub fn in_line(position: Position) -> Self {
        Self::of(Order::Line(Line::default()), position)
    }

    const fn of(order: Order, position: Position) -> Self {
        Self { order, open: BTreeMap::new(), read: position, length: 0 }
    }

    /// The last step that was taken.
    #[must_use]
    pub const fn read_number(&self) -> u64 {
        self.read.number
    }

    /// Whether more may be read.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.length < EVENTS_MAX
    }

    /// How many events are not done.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether every event that was read is done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes the selected events of the next step; `make` gives each its sequence.
    pub fn take(
        &mut self,
        step: u64,
        received_at: i64,
        facts: Vec<(Task, Fact)>,
        mut make: impl FnMut(Task, Fact, u64) -> Item,
    ) {
        let sequence_before = self.read.sequence;
        let left = facts.len();
        for (task, fact) in facts {
            self.read.sequence += 1;
            let item = make(task, fact, self.read.sequence);
            match &mut self.order {
                Order::Lanes(lanes) => lanes.add(item),
                Order::Line(line) => line.add(item),
            }
            self.length += 1;
        }
        if left > 0 {
            self.open.insert(step, Open { left, sequence_before, received_at });
        }
        self.read.number = step;
    }

    /// The next step has no events.
    pub const fn pass(&mut self, step: u64) {
        self.read.number = step;
    }

    /// The next event that may go; it is on its way then.
    pub fn take_next(&mut self) -> Option<Item> {
        match &mut self.order {
            Order::Lanes(lanes) => lanes.take_next(),
            Order::Line(line) => line.take_next(),
        }
    }

    /// An event is done: delivered, or decided not to leave.
    pub fn done(&mut self, item: &Item) {
        self.length = self.length.saturating_sub(1);
        if let Some(open) = self.open.get_mut(&item.step) {
            open.left = open.left.saturating_sub(1);
            if open.left == 0 {
                self.open.remove(&item.step);
            }
        }
        match &mut self.order {
            Order::Lanes(lanes) => lanes.leave(item),
            Order::Line(line) => line.leave(item),
        }
    }

    /// An event did not get through; it goes again before any later one of its subject.
    pub fn again(&mut self, item: Item) {
        match &mut self.order {
            Order::Lanes(lanes) => lanes.again(item),
            Order::Line(line) => {
                line.leave(&item);
                line.add(item);
            }
        }
    }

    /// An event goes again behind another item of its subject, which is one more of the same step.
    pub fn again_behind(&mut self, item: Item, first: Item) {
        self.length += 1;
        if let Some(open) = self.open.get_mut(&item.step) {
            open.left += 1;
        }
        match &mut self.order {
            Order::Lanes(lanes) => lanes.again_behind(item, first),
            Order::Line(line) => {
                line.leave(&item);
                line.add(first);
                line.add(item);
            }
        }
    }

    /// How far the route has come: every event up to and including this step is done.
    // PROMISE-1: a cursor never passes an event that is not done.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.open.first_key_value() {
            None => self.read,
            Some((number, open)) => {
                Position { number: number.saturating_sub(1), sequence: open.sequence_before }
            }
        }
    }

    /// When the oldest event that is not done came in, in milliseconds since 1970.
    #[must_use]
    pub fn oldest(&self) -> Option<i64> {
        self.open.first_key_value().map(|(_, open)| open.received_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admit::DigestKey;
    use crate::event::{EventId, EventType, Subject, Tree};
    use crate::phi::Phi;
    use crate::secret::Key;

    fn event(subject: u8, id: usize) -> (Task, Fact) {
        let subject = Subject { authority: "A".to_owned(), value: Phi::new(subject.to_string()) };
        let event = Event {
            id: EventId(id.to_string().into()),
            kind: EventType::PatientAdmitted,
            subject: Arc::new(subject),
            prior: None,
            data: Arc::new(Tree::new()),
        };
        let digests = DigestKey::new(&Key::from_bytes(&[1; 32]).unwrap());
        (Task::Event, Fact::new(Arc::new(event), "m".into(), &digests))
    }

    fn item(number: u64) -> impl FnMut(Task, Fact, u64) -> Item {
        move |task, fact, sequence| Item {
            number,
            step: number,
            sequence,
            ..Item::new(task, fact, "f".into())
        }
    }

    /// PROMISE-4
    #[test]
    fn what_goes_before_an_event_is_done_before_it_and_the_position_waits_for_both() {
        let mut queue = Queue::new(Position::default());
        queue.take(1, 0, vec![event(1, 1)], item(1));
        queue.take(2, 0, vec![event(1, 2)], item(2));
        let mut own = queue.take_next().unwrap();
        let renaming = Renaming { token: "new".to_owned(), retired: "old".to_owned() };
        let first = own.announced_by(renaming);
        queue.again_behind(own, first);
        let first = queue.take_next().unwrap();
        assert_eq!((first.task, first.number), (Task::Renamed, 1));
        assert!(queue.take_next().is_none());
        // Refused, and again.
        queue.again(first);
        let first = queue.take_next().unwrap();
        assert_eq!(first.task, Task::Renamed);
        queue.done(&first);
        assert_eq!((queue.position().number, queue.len()), (0, 2));
        let own = queue.take_next().unwrap();
        assert!(own.is_announced && own.task == Task::Event && own.number == 1);
        queue.done(&own);
        assert_eq!(queue.position(), Position { number: 1, sequence: 1 });
        let other = queue.take_next().unwrap();
        queue.done(&other);
        assert_eq!(queue.position(), Position { number: 2, sequence: 2 });
    }

    #[test]
    fn a_subject_waits_for_its_own_event_and_for_no_other() {
        let mut queue = Queue::new(Position::default());
        queue.take(1, 0, vec![event(1, 1)], item(1));
        queue.take(2, 0, vec![event(1, 2)], item(2));
        queue.take(3, 0, vec![event(2, 3)], item(3));
        let first = queue.take_next().unwrap();
        let third = queue.take_next().unwrap();
        assert_eq!((first.number, third.number), (1, 3));
        assert!(queue.take_next().is_none());
        queue.done(&third);
        assert!(queue.take_next().is_none());
        assert_eq!(queue.position(), Position { number: 0, sequence: 0 });
        queue.again(first);
        let first = queue.take_next().unwrap();
        assert_eq!(first.number, 1);
        queue.done(&first);
        assert_eq!(queue.position(), Position { number: 1, sequence: 1 });
        let second = queue.take_next().unwrap();
        queue.done(&second);
        assert_eq!(queue.position(), Position { number: 3, sequence: 3 });
        assert!(queue.is_empty());
    }

    proptest! {
        /// In a batch no event leaves before one of a lower sequence has left at least once, whatever
        /// fails, and the position is behind what is not done.
        #[test]
        fn of_a_batch_each_first_leaves_in_its_place(
            subjects in proptest::collection::vec(0_u8..4, 1..40),
            choices in proptest::collection::vec(any::<(bool, usize)>(), 0..200),
        ) {
            let mut queue = Queue::in_line(Position { number: 0, sequence: 50 });
            for (step, subject) in (1..).zip(&subjects) {
                queue.take(step, 0, vec![event(*subject, 0)], item(step));
            }
            let mut on_the_way: Vec<Item> = Vec::new();
            let (mut left, mut done) = (Vec::new(), Vec::new());
            let mut steps = choices.into_iter();
            loop {
                while let Some(next) = queue.take_next() {
                    prop_assert!(!on_the_way.iter().any(|other| other.event.subject == next.event.subject));
                    if !left.contains(&next.sequence) {
                        left.push(next.sequence);
                    }
                    on_the_way.push(next);
                }
                if on_the_way.is_empty() {
                    break;
                }
                let (fails, which) = steps.next().unwrap_or((false, 0));
                let chosen = on_the_way.remove(which % on_the_way.len());
                if fails {
                    queue.again(chosen);
                } else {
                    done.push(chosen.step);
                    queue.done(&chosen);
                }
                let undone = (1..=subjects.len() as u64).find(|step| !done.contains(step));
                let wanted = undone.unwrap_or(subjects.len() as u64 + 1) - 1;
                let position = Position { number: wanted, sequence: 50 + wanted };
                prop_assert_eq!(queue.position(), position);
            }
            prop_assert!(left.is_sorted());
            prop_assert_eq!(left.len(), subjects.len());
        }

        /// PROMISE-4, and the cursor of PROMISE-1, against what a list of everything says.
        #[test]
        fn whatever_fails_in_between_order_and_position_hold(
            entries in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..4), 1..30),
            choices in proptest::collection::vec(any::<(bool, usize)>(), 0..400),
        ) {
            let mut queue = Queue::new(Position { number: 10, sequence: 100 });
            let mut all = Vec::new();
            for (index, subjects) in entries.iter().enumerate() {
                let number = 11 + index as u64;
                let events: Vec<_> = subjects.iter().map(|subject| {
                    all.push((number, *subject, all.len()));
                    event(*subject, all.len() - 1)
                }).collect();
                queue.take(number, 0, events, item(number));
            }
            let mut on_the_way: Vec<Item> = Vec::new();
            let mut delivered: Vec<usize> = Vec::new();
            let mut steps = choices.into_iter();
            loop {
                while let Some(next) = queue.take_next() {
                    prop_assert!(!on_the_way.iter().any(|other| other.event.subject == next.event.subject));
                    on_the_way.push(next);
                }
                if on_the_way.is_empty() {
                    break;
                }
                let (fails, which) = steps.next().unwrap_or((false, 0));
                let chosen = on_the_way.remove(which % on_the_way.len());
                if fails {
                    queue.again(chosen);
                } else {
                    delivered.push(chosen.event.id.0.parse().unwrap());
                    queue.done(&chosen);
                }
                let undone = all.iter().find(|(_, _, id)| !delivered.contains(id));
                let position = queue.position();
                let last = 10 + entries.len() as u64;
                prop_assert_eq!(position.number, undone.map_or(last, |(number, _, _)| number - 1));
                let before = all.iter().filter(|(number, _, _)| *number <= position.number).count();
                prop_assert_eq!(position.sequence, 100 + before as u64);
            }
            prop_assert_eq!(delivered.len(), all.len());
            for subject in 0..4 {
                let of_subject: Vec<_> = delivered.iter().filter(|id| all[**id].1 == subject).collect();
                prop_assert!(of_subject.is_sorted());
            }
        }
    }
}
