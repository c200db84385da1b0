//! What a route does with a batch: wait until it is due, count it, begin it, let it leave.
//!
//! Promises: nothing of a batch is looked for before it is due; its span is durable before anything of
//! it leaves, so that after a crash the same order goes on; what is in memory is bounded, however long
//! the span; the cursor passes all of it at once (PROMISE-1).
//! Knows nothing of: whether anything leaves; that is decided at the batch, event by event.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::select::{Selected, in_slot};
use super::{Route, RouteError};
use crate::clock;
use crate::contract::{Contract, wants};
use crate::deliver::due::Due;
use crate::deliver::queue::{Item, Queue};
use crate::deliver::shuffle::Shuffle;
use crate::secret::Key;
use crate::store::spans::Begun;
use crate::store::{Came, Journal, Position, Span, StoreError};

/// Most slots of an entry. Each costs a look at every entry of the span, also at those that have one
/// event. Of a message with more events than this, those that share a slot leave next to each other.
const SLOTS_MAX: u64 = 16;
/// Entries that are counted at once.
const COUNT_ENTRIES: usize = 512;
/// Places that are looked at at once.
const LOOK_PLACES: usize = 256;

/// A route's batches.
#[derive(Debug)]
pub(super) struct Batch {
    /// When the next is due; nothing where the contract has none any more, and the one that was begun
    /// is finished.
    due: Option<Due>,
    /// Everything up to here was in the batches before.
    cursor: Position,
    stage: Stage,
    /// How many places were done, and when there was last one more, in milliseconds since 1970.
    went_on: (u64, i64),
}

#[derive(Debug)]
enum Stage {
    /// Nothing is due. When the first entry that waits came in.
    Waiting(Option<i64>),
    /// It is due, up to an entry; how many slots it wants is found out.
    Counting { due: i64, last: u64, read: u64, slots: u64 },
    /// It is counted; whether its span is durable.
    Beginning { span: Span, durable: oneshot::Receiver<()>, is_durable: Option<bool> },
    /// Its events leave.
    Leaving { span: Span, shuffle: Box<Shuffle> },
}

/// What was found at a place.
type Found = (u64, Option<Selected>);

/// Waits until a span that begins is durable, or cannot be; for ever, where none does. Cancelling loses
/// nothing.
pub(super) async fn opened(batch: &mut Option<Batch>) {
    match batch.as_mut().map(|batch| &mut batch.stage) {
        Some(Stage::Beginning { durable, is_durable: is_durable @ None, .. }) => {
            *is_durable = Some(durable.await.is_ok());
        }
        _ => std::future::pending().await,
    }
}

impl Batch {
    /// The batches of a route that has so many of them, from where it was, with a queue for them; none
    /// where it has none and begun none.
    pub fn resume(
        every: Option<Duration>,
        begun: Option<&Begun>,
        cursor: Position,
    ) -> (Option<Self>, Queue) {
        let due = every.map(|every| Due::new(every, begun.map(|begun| begun.due)));
        if let Some((span, done)) = begun.and_then(|begun| begun.open.clone()) {
            let stage = Stage::leaving(span);
            let went_on = (done.number, 0);
            return (Some(Self { due, cursor, stage, went_on }), Queue::in_line(done));
        }
        if due.is_none() {
            return (None, Queue::new(cursor));
        }
        let stage = Stage::Waiting(None);
        (Some(Self { due, cursor, stage, went_on: (0, 0) }), Queue::in_line(before_first(cursor)))
    }

    /// How far the route has come.
    // PROMISE-1: until all of a span is done, the cursor stays before it, and all of it is kept.
    pub fn came(&self, queue: &Queue) -> Came {
        match self.stage {
            Stage::Leaving { .. } => Came::Within(queue.position()),
            Stage::Waiting(_) | Stage::Counting { .. } | Stage::Beginning { .. } => {
                Came::To(self.cursor)
            }
        }
    }

    /// Whether events of it leave.
    pub const fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }

    /// Entries that are due and not done, and since when none more of them is. What only waits for its
    /// time is not late, nor is a long batch that goes on.
    pub fn lag(&self, head: u64, queue: &Queue) -> (u64, Option<i64>) {
        match &self.stage {
            Stage::Waiting(_) => (0, None),
            Stage::Counting { due, .. } => (head.saturating_sub(self.cursor.number), Some(*due)),
            Stage::Beginning { span, .. } => (span.last.saturating_sub(span.after), Some(span.due)),
            Stage::Leaving { span, .. } => {
                let left = span.places().saturating_sub(queue.position().number);
                (left.div_ceil(span.slots.max(1)), Some(span.due.max(self.went_on.1)))
            }
        }
    }

    /// Notes when more of a batch is done.
    fn go_round(&mut self, queue: &Queue) {
        let done = queue.position().number;
        if self.went_on.0 != done {
            self.went_on = (done, clock::now_ms());
        }
    }
}

impl Stage {
    fn leaving(span: Span) -> Self {
        let shuffle = Box::new(Shuffle::new(&span.key, span.places()));
        Self::Leaving { span, shuffle }
    }
}

/// Where the queue of a batch begins.
const fn before_first(cursor: Position) -> Position {
    Position { number: 0, sequence: cursor.sequence }
}

impl Route {
    /// Goes on with the batch; whether there is more to do at once.
    pub(super) async fn read_batch(
        &mut self,
        head: u64,
        draining: bool,
    ) -> Result<bool, RouteError> {
        let Some(mut batch) = self.batch.take() else { return Ok(false) };
        batch.go_round(&self.queue);
        let more = match &batch.stage {
            // What leaves after a stop is for the next start.
            Stage::Waiting(_) | Stage::Counting { .. } | Stage::Beginning { .. } if draining => {
                Ok(false)
            }
            Stage::Waiting(_) => self.look_for_batch(&mut batch, head),
            Stage::Counting { .. } => self.count_batch(&mut batch).await,
            Stage::Beginning { .. } => self.begin_batch(&mut batch),
            Stage::Leaving { span, .. } if self.queue.position().number >= span.places() => {
                return self.end_batch(batch).await;
            }
            Stage::Leaving { .. } => self.look_at_places(&batch).await,
        };
        self.batch = Some(batch);
        more
    }

    /// Whether a batch is due.
    fn look_for_batch(&self, batch: &mut Batch, head: u64) -> Result<bool, RouteError> {
        let (Some(due), Stage::Waiting(first)) = (&mut batch.due, &mut batch.stage) else {
            return Ok(false);
        };
        if first.is_none() && head > batch.cursor.number {
            let (journal, after) = (&self.config.journal, batch.cursor.number);
            let found = tokio::task::block_in_place(|| journal.read_after(after, 1));
            let found = found.map_err(|source| self.failed(source))?;
            *first = found.first().map(|entry| entry.received_at);
        }
        let Some(due) = due.look(*first, clock::now(), clock::monotonic()) else {
            return Ok(false);
        };
        tracing::info!(route = %self.name, last = head, "a batch is due");
        let (read, slots) = (batch.cursor.number, 0);
        batch.stage = Stage::Counting { due, last: head, read, slots };
        Ok(true)
    }

    /// Counts some entries of what is due; when all are, has its span noted.
    async fn count_batch(&mut self, batch: &mut Batch) -> Result<bool, RouteError> {
        let Stage::Counting { due, last, read, slots } = &mut batch.stage else { return Ok(false) };
        let (journal, contract) = (&self.config.journal, &self.config.contract);
        if *read < *last {
            let counted = tokio::task::block_in_place(|| count(journal, contract, *read, *last));
            let counted = counted.map_err(|source| self.failed(source))?;
            self.config.metrics.events.add("unselected", counted.unwanted);
            (*read, *slots) = (counted.read, counted.slots.max(*slots));
            return Ok(true);
        }
        let (due, after, last, slots) = (*due, batch.cursor.number, *last, *slots);
        if slots == 0 {
            batch.go_on(due, Position { number: last, ..batch.cursor });
            return Ok(true);
        }
        let key = Key::random().map_err(|error| self.failed(error.into()))?;
        let span = Span { due, after, last, slots, key };
        let durable = journal.begin_span(&self.name, span.clone(), batch.cursor.sequence).await;
        let durable = durable.map_err(|source| self.failed(source))?;
        batch.stage = Stage::Beginning { span, durable, is_durable: None };
        Ok(false)
    }

    /// Lets the events leave, if the span is durable.
    fn begin_batch(&mut self, batch: &mut Batch) -> Result<bool, RouteError> {
        let Stage::Beginning { span, is_durable, .. } = &batch.stage else { return Ok(false) };
        match is_durable {
            None => return Ok(false),
            Some(false) => return Err(self.failed(StoreError::Stopped)),
            Some(true) => {}
        }
        let entries = span.last.saturating_sub(span.after);
        tracing::info!(route = %self.name, entries, "a batch begins");
        let span = span.clone();
        self.queue = Queue::in_line(before_first(batch.cursor));
        batch.stage = Stage::leaving(span);
        Ok(true)
    }

    /// Takes up what stands at the next places.
    async fn look_at_places(&mut self, batch: &Batch) -> Result<bool, RouteError> {
        let Stage::Leaving { span, shuffle } = &batch.stage else { return Ok(false) };
        if !self.has_room() || self.queue.read_number() >= span.places() {
            return Ok(false);
        }
        let (journal, contract) = (&self.config.journal, &self.config.contract);
        let from = self.queue.read_number();
        let found = tokio::task::block_in_place(|| {
            (from..span.places())
                .take(LOOK_PLACES)
                .map_while(|place| Some((place, shuffle.at(place)?)))
                .map(|(place, drawn)| at(journal, contract, span, place, drawn))
                .collect::<Result<Vec<Found>, StoreError>>()
        });
        for (place, found) in found.map_err(|source| self.failed(source))? {
            let step = place + 1;
            let Some(Selected { entry, wanted, .. }) = found else {
                self.queue.pass(step);
                continue;
            };
            let make = |task, fact, sequence| Item {
                number: entry.number,
                step,
                sequence,
                // What waited as it was meant to is not late by that.
                received_at: span.due,
                ..Item::new(task, fact, Arc::clone(&entry.feed))
            };
            self.queue.take(step, span.due, wanted, make);
        }
        tokio::task::yield_now().await;
        Ok(self.has_room() && self.queue.read_number() < span.places())
    }

    /// All of the batch is done: the cursor passes it, and the next is waited for.
    async fn end_batch(&mut self, mut batch: Batch) -> Result<bool, RouteError> {
        let Stage::Leaving { span, .. } = &batch.stage else { return Ok(false) };
        let (due, number) = (span.due, span.last);
        let cursor = Position { number, sequence: self.queue.position().sequence };
        batch.go_on(due, cursor);
        tracing::info!(route = %self.name, last = number, "a batch has left");
        let violations = self.unnoted.up_to(u64::MAX);
        (self.batch, self.queue) = match batch.due {
            Some(_) => (Some(batch), Queue::in_line(before_first(cursor))),
            None => (None, Queue::new(cursor)),
        };
        self.move_to(Came::To(cursor), violations).await?;
        Ok(true)
    }
}

impl Batch {
    /// Everything up to a position was in the batch that was due then.
    fn go_on(&mut self, due: i64, cursor: Position) {
        if let Some(next) = &mut self.due {
            next.begun(due);
        }
        self.cursor = cursor;
        self.stage = Stage::Waiting(None);
    }
}

/// What some entries hold.
struct Counted {
    read: u64,
    /// Slots that their selected events want.
    slots: u64,
    /// Events that the contract does not select.
    unwanted: u64,
}

fn count(
    journal: &Journal,
    contract: &Contract,
    after: u64,
    last: u64,
) -> Result<Counted, StoreError> {
    let entries = journal.read_after(after, COUNT_ENTRIES)?;
    let mut counted = Counted { read: last, slots: 0, unwanted: 0 };
    for entry in entries.iter().take_while(|entry| entry.number <= last) {
        for (place, fact) in (1_u64..).zip(entry.facts(journal.digests())) {
            if wants(contract, &fact.event) {
                counted.slots = counted.slots.max(place.min(SLOTS_MAX));
            } else {
                counted.unwanted += 1;
            }
        }
        counted.read = entry.number;
    }
    Ok(counted)
}

/// What a number that was drawn for a place stands for.
fn at(
    journal: &Journal,
    contract: &Contract,
    span: &Span,
    place: u64,
    drawn: u64,
) -> Result<Found, StoreError> {
    let slots = span.slots.max(1);
    let number = span.after.saturating_add(1).saturating_add(drawn / slots);
    Ok((place, in_slot(journal, contract, number, (drawn % slots, slots))?))
}
