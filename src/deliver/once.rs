//! What a route was told of visits, by whichever source (`once`).
//!
//! Promises: an event is told by another only when that one has left, since events of one subject go
//! one after the other; what is not durable yet is in memory, and bounded; it is noted no later than
//! the cursor passes it, so that after a crash the same events get the same answers.
//! Knows nothing of: consent, sinks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::queue::{Item, Task};
use crate::admit::{Digest, DigestKey, Fact};
use crate::contract::Contract;
use crate::contract::once::{Occurrences, transition};
use crate::store::once::Told;
use crate::store::{Journal, StoreError};

/// Most transitions that wait to be noted while the route still reads on. What is in its queue by then
/// may add as many again as that holds.
const WAITING_MAX: usize = 256;

/// What stands for the transition that an event is of, where its route wants each of a visit once.
/// Nothing where the event names no visit: nobody can tell then which it is.
#[must_use]
pub fn transition_of(contract: &Contract, fact: &Fact, digests: &DigestKey) -> Option<Digest> {
    contract.once?;
    let visit = fact.visit.as_deref()?;
    // With the subject in it: what is said of another patient is another fact, and of one patient
    // nothing else is on its way while this is decided.
    Some(digests.transition(&fact.digests.subject, visit, &transition(&fact.event)?))
}

/// The transitions of one route that are not durable yet, or are just asked about.
#[derive(Debug)]
pub struct Book {
    route: Arc<str>,
    known: HashMap<Digest, Occurrences>,
    /// Those that are otherwise than they were noted.
    changed: HashSet<Digest>,
    noting: Option<Noting>,
}

/// Transitions on their way into the store.
#[derive(Debug)]
struct Noting {
    durable: oneshot::Receiver<()>,
    transitions: Vec<Digest>,
}

/// Waits until what was last given away is durable; for ever, where nothing was. Cancelling loses
/// nothing.
pub async fn noted(book: &mut Option<Book>) {
    let Some(Book { noting: Some(noting), .. }) = book else { return std::future::pending().await };
    let durable = (&mut noting.durable).await.is_ok();
    if let Some(book) = book {
        book.forget(durable);
    }
}

impl Book {
    /// Of a route; nothing is known that is not in the store.
    #[must_use]
    pub fn new(route: Arc<str>) -> Self {
        Self { route, known: HashMap::new(), changed: HashSet::new(), noting: None }
    }

    /// The event of another source that told before what an item says.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn told_by(
        &mut self,
        item: &Item,
        journal: &Journal,
    ) -> Result<Option<Arc<str>>, StoreError> {
        let Some(transition) = item.transition.filter(|_| item.task == Task::Event) else {
            return Ok(None);
        };
        let known = self.of(journal, transition)?;
        Ok(known.told_by(&item.feed, &item.event.id.0).map(Into::into))
    }

    /// Notes what became of an item that is done.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn done(&mut self, item: &Item, left: bool, journal: &Journal) -> Result<(), StoreError> {
        let Some(transition) = item.transition.filter(|_| item.task == Task::Event) else {
            return Ok(());
        };
        self.of(journal, transition)?.note(&item.feed, &item.event.id.0, left);
        self.changed.insert(transition);
        Ok(())
    }

    fn of(
        &mut self,
        journal: &Journal,
        transition: Digest,
    ) -> Result<&mut Occurrences, StoreError> {
        use std::collections::hash_map::Entry;
        match self.known.entry(transition) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(free) => {
                let route = &self.route;
                let found = tokio::task::block_in_place(|| journal.told(route, &transition))?;
                Ok(free.insert(found))
            }
        }
    }

    /// Whether so much waits that it is to be noted at once, and nothing more is read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.changed.len() >= WAITING_MAX
    }

    /// Whether what was given away is not durable yet.
    #[must_use]
    pub const fn is_noting(&self) -> bool {
        self.noting.is_some()
    }

    /// Gives away what has changed, to be noted; who notes it says when it is durable.
    pub fn take(&mut self) -> (Told, Option<oneshot::Sender<()>>) {
        if self.changed.is_empty() {
            return (Told::new(), None);
        }
        let told: Told = self
            .changed
            .drain()
            .filter_map(|transition| Some((transition, self.known.get(&transition)?.clone())))
            .collect();
        let (sender, durable) = oneshot::channel();
        let mut transitions: Vec<Digest> = told.iter().map(|(transition, _)| *transition).collect();
        // The route stops, and does not wait.
        transitions.extend(self.noting.take().into_iter().flat_map(|before| before.transitions));
        self.noting = Some(Noting { durable, transitions });
        (told, Some(sender))
    }

    /// What is durable is read again when it is asked for; what cannot be noted any more stays.
    fn forget(&mut self, durable: bool) {
        let Some(noting) = self.noting.take().filter(|_| durable) else { return };
        for transition in noting.transitions {
            if !self.changed.contains(&transition) {
                self.known.remove(&transition);
            }
        }
    }
}

/// Most transitions of a route that a look through the journal remembers, twice: some 100 MB.
const SEEN_MAX: usize = 1 << 17;

/// What a route would have been told by then, where the journal is looked through and nothing is noted.
#[derive(Debug, Default)]
pub struct Seen {
    newer: HashMap<Digest, Occurrences>,
    older: HashMap<Digest, Occurrences>,
}

impl Seen {
    /// What was said of a transition so far. What was not asked about for long is forgotten.
    pub fn of(&mut self, transition: Digest) -> &mut Occurrences {
        if self.newer.len() >= SEEN_MAX && !self.newer.contains_key(&transition) {
            self.older = std::mem::take(&mut self.newer);
        }
        let older = &mut self.older;
        self.newer
            .entry(transition)
            .or_insert_with(|| older.remove(&transition).unwrap_or_default())
    }
}
