//! The loop of one route: journal, decide, evidence, fence, sink, cursor.
//!
//! Promises: a route that cannot deliver tries again within bounds and holds up nobody
//! (PROMISE-12); the cursor moves behind the confirms, in batches; what is not confirmed is
//! sent again with its first ID.
//! Knows nothing of: feeds.
//!
//! Reading order: this (the loop), `select` (what is to be done with an entry), `batch` (the same,
//! shuffled), `going` (decide, record, hand over), `state` (whether the sink can be used, and what it
//! could not do).

mod batch;
mod going;
mod select;
mod state;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::batch::{Batch, opened};
use self::going::Ready;
use self::select::{Selected, select};
use super::decide::Shared;
use super::evidence::Evidence;
use super::once::{self, Book, transition_of};
use super::queue::{Item, Queue};
use super::sink::{Sink, Ticket};
use super::tokens::{Known, Minting, Realm};
use super::unnoted::Unnoted;
use crate::clock;
use crate::consent::Policy;
use crate::contract::Contract;
use crate::fence::Fence;
use crate::metrics::{Pulse, RouteMetrics};
use crate::pace::{Backoff, Rate};
use crate::store::audit::Audit;
use crate::store::{Came, Journal, Moved, StoreError, Violation};

/// Entries read at once.
const READ_ENTRIES: usize = 256;
/// How long a moved cursor may wait to be noted. After a crash so much is sent again.
const CURSOR_DELAY: Duration = Duration::from_millis(200);
/// How often an idle loop goes round, for the watchdog and the metrics.
const TURN: Duration = Duration::from_secs(1);
/// How long a stopping route that is up goes on, with what has come in until then.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a route is made of.
#[derive(Debug)]
pub struct RouteConfig {
    /// Its contract.
    pub contract: Arc<Contract>,
    /// Its realm.
    pub realm: Realm,
    /// The routes of its realm, itself among them.
    pub realm_routes: Arc<[Arc<str>]>,
    /// `[node] name`.
    pub node: String,
    /// `[node] jurisdiction`.
    pub jurisdiction: Option<String>,
    /// What codes, restrictions and jurisdictions mean here.
    pub policy: Arc<Policy>,
    /// Payloads that may be unconfirmed.
    pub window: usize,
    /// Where events come from.
    pub journal: Arc<Journal>,
    /// Where evidence is kept.
    pub audit: Arc<Audit>,
    /// The hash of the configuration.
    pub configuration: Arc<str>,
    /// Who else is on the way.
    pub fence: Arc<Fence>,
    /// What is counted.
    pub metrics: RouteMetrics,
    /// Becomes true when the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

/// A route.
#[derive(Debug)]
pub struct Route {
    config: RouteConfig,
    name: Arc<str>,
    /// What all of its decisions share.
    under: Shared,
    sink: Sink,
    queue: Queue,
    /// Where it delivers in batches, what becomes of the next.
    batch: Option<Batch>,
    evidence: Evidence,
    unnoted: Unnoted,
    /// What other sources told, where it wants each transition of a visit once.
    book: Option<Book>,
    minting: Minting,
    known: Known,
    /// Releases whose evidence is durable, which the window has no room for yet.
    ready: VecDeque<Ready>,
    flights: HashMap<Ticket, Item>,
    next_ticket: Ticket,
    state: State,
    backoff: Backoff,
    rate: Rate,
    pulse: Pulse,
    noted: Came,
    noted_at: Instant,
    last_error: String,
    /// When doubts that are owed are tried to be recorded next.
    doubts_due: Instant,
    /// How often the fence told this route to cut its connection.
    cuts: watch::Receiver<u64>,
}

/// Whether the route can deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The sink is open.
    Up,
    /// The sink is to be opened, then.
    Down(Instant),
    /// The sink is open and has refused something; nothing new goes before then.
    Paused(Instant),
}

/// Why a route's loop ended.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The audit has stopped.
    #[error("route {route}: the audit has stopped")]
    Audit {
        /// The route.
        route: Arc<str>,
    },
    /// The vault has stopped.
    #[error("route {route}: the vault has stopped")]
    Vault {
        /// The route.
        route: Arc<str>,
    },
    /// The journal cannot be read or noted in.
    #[error("route {route}: {source}")]
    Store {
        /// The route.
        route: Arc<str>,
        /// What is wrong.
        source: StoreError,
    },
}

impl Route {
    /// A route that begins where its cursor is.
    #[must_use]
    pub fn new(config: RouteConfig, sink: Sink) -> Self {
        let name: Arc<str> = config.contract.name.as_str().into();
        let position = config.journal.cursor(&name);
        let cuts = config.fence.cuts(&name);
        let before = *config.journal.head().borrow();
        let (audit, realm) = (Arc::clone(&config.audit), Arc::clone(&config.realm_routes));
        let evidence = Evidence::new(audit, Arc::clone(&name), realm, before);
        let now = Instant::now();
        let begun = config.journal.span(&name);
        let (batch, queue) = Batch::resume(config.contract.batch, begun, position);
        let noted = came(batch.as_ref(), &queue);
        let book = config.contract.once.map(|_| Book::new(Arc::clone(&name)));
        let under = Shared::new(&config.contract, &config.configuration);
        Self {
            name,
            under,
            sink,
            queue,
            batch,
            evidence,
            unnoted: Unnoted::default(),
            book,
            minting: Minting::default(),
            known: Known::default(),
            ready: VecDeque::new(),
            flights: HashMap::new(),
            next_ticket: 0,
            state: State::Down(now),
            backoff: Backoff::new(),
            rate: Rate::new(config.contract.rate_max),
            pulse: Pulse::new(),
            noted,
            noted_at: now,
            last_error: String::new(),
            doubts_due: now,
            cuts,
            config,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The loop's heartbeat.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Delivers until the daemon stops; what is on its way then is waited for.
    ///
    /// # Errors
    /// The journal failed, and with it the daemon.
    pub async fn run(mut self) -> Result<(), RouteError> {
        let mut stopping = self.config.stopping.clone();
        let mut head = self.config.journal.head();
        let mut drain_until = None;
        loop {
            self.pulse.beat();
            if *stopping.borrow_and_update() && drain_until.is_none() {
                drain_until = Some(Instant::now() + DRAIN_TIMEOUT);
            }
            let newest = *head.borrow_and_update();
            if let Some(until) = drain_until {
                let done = self.state != State::Up || self.has_come_to(newest);
                let idle =
                    self.flights.is_empty() && self.evidence.is_idle() && self.minting.is_idle();
                if (done && idle) || Instant::now() >= until {
                    break;
                }
            } else {
                self.open_when_due().await?;
            }
            let more = self.read(newest, drain_until.is_some()).await?;
            self.settle_doubts().await?;
            self.go();
            self.note(false).await?;
            self.measure(newest);
            let wake = if more { Instant::now() } else { self.wake_at() };
            let is_live = self.batch.is_none() && drain_until.is_none();
            tokio::select! {
                biased;
                changed = self.cuts.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.cut().await?;
                }
                made = self.minting.made() => self.minted(made)?,
                proven = self.evidence.proven() => self.recorded(proven)?,
                settled = self.sink.settle(), if !self.flights.is_empty() => {
                    self.settled(settled).await?;
                }
                changed = head.changed(), if self.queue.has_room() && is_live => {
                    if changed.is_err() {
                        break;
                    }
                }
                changed = stopping.changed(), if drain_until.is_none() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = opened(&mut self.batch) => {}
                () = once::noted(&mut self.book) => {}
                () = sleep_until(wake) => {}
            }
        }
        // Whoever starts next sends it again, and does not know how far it came.
        self.evidence.in_doubt(self.flights.values_mut(), "stopped", clock::now());
        self.settle_doubts().await?;
        self.sink.close().await;
        self.note(true).await
    }

    /// Reads on, as far as there is room; whether there is more to do at once.
    async fn read(&mut self, head: u64, draining: bool) -> Result<bool, RouteError> {
        if self.batch.is_some() {
            return self.read_batch(head, draining).await;
        }
        self.read_live(head).await?;
        Ok(false)
    }

    /// Whether more may be read.
    fn has_room(&self) -> bool {
        let is_full = self.book.as_ref().is_some_and(Book::is_full);
        self.queue.has_room() && !self.unnoted.is_full() && !is_full
    }

    /// Whether there is nothing more to do before a stop.
    fn has_come_to(&self, head: u64) -> bool {
        match &self.batch {
            None => self.queue.position().number >= head,
            Some(batch) => !batch.is_leaving(),
        }
    }

    /// Reads entries up to the head, as far as there is room.
    async fn read_live(&mut self, head: u64) -> Result<(), RouteError> {
        while self.queue.read_number() < head && self.has_room() {
            let (journal, contract) = (&self.config.journal, &self.config.contract);
            let after = self.queue.read_number();
            let entries = select(journal, contract, after, READ_ENTRIES);
            let entries = entries.map_err(|source| self.failed(source))?;
            let digests = journal.digests();
            if entries.is_empty() {
                break;
            }
            for Selected { entry, wanted, unwanted } in entries {
                self.config.metrics.events.add("unselected", unwanted);
                let make = |task, fact, sequence| Item {
                    number: entry.number,
                    step: entry.number,
                    sequence,
                    received_at: entry.received_at,
                    transition: transition_of(contract, &fact, digests),
                    ..Item::new(task, fact, Arc::clone(&entry.feed))
                };
                self.queue.take(entry.number, entry.received_at, wanted, make);
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Notes how far the route has come, when enough has come together.
    async fn note(&mut self, at_once: bool) -> Result<(), RouteError> {
        let came = came(self.batch.as_ref(), &self.queue);
        let is_full = self.unnoted.is_full() || self.book.as_ref().is_some_and(Book::is_full);
        let due = at_once || is_full || self.noted_at.elapsed() >= CURSOR_DELAY;
        // While the disk takes nothing, what waits to be noted does not grow.
        let waits = !at_once && self.waits_for_the_book();
        if (came != self.noted || is_full) && due && !waits {
            let violations = self.unnoted.up_to(self.queue.position().number);
            self.move_to(came, violations).await?;
        }
        Ok(())
    }

    /// Notes how far it has come, and what is to be an exception of that.
    async fn move_to(&mut self, came: Came, violations: Vec<Violation>) -> Result<(), RouteError> {
        let (told, durable) = self.book.as_mut().map(Book::take).unwrap_or_default();
        let moved = Moved { came, violations, told, durable };
        let moved = self.config.journal.move_cursor(&self.name, moved).await;
        moved.map_err(|source| self.failed(source))?;
        self.noted = came;
        self.noted_at = Instant::now();
        Ok(())
    }

    fn waits_for_the_book(&self) -> bool {
        self.book.as_ref().is_some_and(Book::is_noting)
    }

    fn wake_at(&self) -> Instant {
        let turn = Instant::now() + TURN;
        let due = match self.state {
            State::Up => turn,
            State::Down(at) | State::Paused(at) => at,
        };
        let is_noted = came(self.batch.as_ref(), &self.queue) == self.noted;
        let note =
            if is_noted || self.waits_for_the_book() { turn } else { self.noted_at + CURSOR_DELAY };
        // With nothing to hand over there is nothing to wait for.
        let now = Instant::now();
        let rate = self.rate.wait(now).filter(|_| !self.queue.is_empty()).unwrap_or(turn);
        turn.min(due).min(note).min(rate)
    }

    fn measure(&self, head: u64) {
        let metrics = &self.config.metrics;
        let (lag, oldest) = match &self.batch {
            None => (head.saturating_sub(self.queue.position().number), self.queue.oldest()),
            Some(batch) => batch.lag(head, &self.queue),
        };
        metrics.lag.set(as_f64(lag));
        let oldest = oldest.map_or(0, i64::cast_unsigned);
        metrics.oldest.set(as_f64(oldest) / 1000.0);
        metrics.inflight.set(as_f64(self.flights.len() as u64));
    }

    fn failed(&self, source: StoreError) -> RouteError {
        RouteError::Store { route: Arc::clone(&self.name), source }
    }
}

/// How far a route has come: by its batch, or by what it has done of the journal.
fn came(batch: Option<&Batch>, queue: &Queue) -> Came {
    batch.map_or_else(|| Came::To(queue.position()), |batch| batch.came(queue))
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of metrics")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}
