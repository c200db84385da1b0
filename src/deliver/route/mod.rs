//! The loop of one route: journal, decide, evidence, fence, sink, cursor.
//!
//! Promises: a route that cannot deliver tries again within bounds and holds up nobody
//! (PROMISE-12); the cursor moves behind the confirms, in batches; what is not confirmed is
//! sent again with its first ID.
//! Knows nothing of: feeds.
//!
//! Reading order: this (the loop), `select` (what is to be done with an entry), `going` (decide,
//! record, hand over), `state` (whether the sink can be used, and what it could not do).

mod going;
mod select;
mod state;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::going::Ready;
use self::select::{Selected, select};
use super::backoff::Backoff;
use super::evidence::Evidence;
use super::queue::{Item, Queue};
use super::sink::{Sink, Ticket};
use super::tokens::{Known, Minting, Realm};
use crate::clock;
use crate::consent::Policy;
use crate::contract::Contract;
use crate::fence::Fence;
use crate::metrics::{Pulse, RouteMetrics};
use crate::store::audit::Audit;
use crate::store::{Journal, Position, StoreError};

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
    sink: Sink,
    queue: Queue,
    evidence: Evidence,
    minting: Minting,
    known: Known,
    /// Releases whose evidence is durable, which the window has no room for yet.
    ready: VecDeque<Ready>,
    flights: HashMap<Ticket, Item>,
    next_ticket: Ticket,
    state: State,
    backoff: Backoff,
    pulse: Pulse,
    noted: Position,
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
        Self {
            name,
            sink,
            queue: Queue::new(position),
            evidence,
            minting: Minting::default(),
            known: Known::default(),
            ready: VecDeque::new(),
            flights: HashMap::new(),
            next_ticket: 0,
            state: State::Down(now),
            backoff: Backoff::new(),
            pulse: Pulse::new(),
            noted: position,
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
                let done = self.state != State::Up || self.queue.position().number >= newest;
                let idle =
                    self.flights.is_empty() && self.evidence.is_idle() && self.minting.is_idle();
                if (done && idle) || Instant::now() >= until {
                    break;
                }
            } else {
                self.open_when_due().await?;
            }
            self.read(newest).await?;
            self.settle_doubts().await?;
            self.go();
            self.note(false).await?;
            self.measure(newest);
            let wake = self.wake_at();
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
                changed = head.changed(), if self.queue.has_room() && drain_until.is_none() => {
                    if changed.is_err() {
                        break;
                    }
                }
                changed = stopping.changed(), if drain_until.is_none() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
        // Whoever starts next sends it again, and does not know how far it came.
        self.evidence.in_doubt(self.flights.values_mut(), "stopped", clock::now());
        self.settle_doubts().await?;
        self.sink.close().await;
        self.note(true).await
    }

    /// Reads entries up to the head, as far as there is room.
    async fn read(&mut self, head: u64) -> Result<(), RouteError> {
        while self.queue.read_number() < head && self.queue.has_room() {
            let (journal, contract) = (&self.config.journal, &self.config.contract);
            let after = self.queue.read_number();
            // Off the runtime once for all of them, since it costs a thread each time.
            let entries =
                tokio::task::block_in_place(|| select(journal, contract, after, READ_ENTRIES));
            let entries = entries.map_err(|source| self.failed(source))?;
            if entries.is_empty() {
                break;
            }
            for Selected { entry, wanted, unwanted } in entries {
                self.config.metrics.events.add("unselected", unwanted);
                let name = entry.correlation_id.map(|id| id.to_string()).unwrap_or_default();
                let make = |task, event, sequence| Item {
                    task,
                    recorded: None,
                    number: entry.number,
                    event,
                    sequence,
                    correlation_id: name.clone(),
                    feed: Arc::clone(&entry.feed),
                    received_at: entry.received_at,
                    attempts: 0,
                    sent_at: Duration::ZERO,
                    renaming: None,
                    is_announced: false,
                };
                self.queue.take(entry.number, entry.received_at, wanted, make);
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Notes how far the route has come, when enough has come together.
    async fn note(&mut self, at_once: bool) -> Result<(), RouteError> {
        let position = self.queue.position();
        let due = at_once || self.noted_at.elapsed() >= CURSOR_DELAY;
        if position != self.noted && due {
            let moved = self.config.journal.move_cursor(&self.name, position).await;
            moved.map_err(|source| self.failed(source))?;
            self.noted = position;
            self.noted_at = Instant::now();
        }
        Ok(())
    }

    fn wake_at(&self) -> Instant {
        let turn = Instant::now() + TURN;
        let due = match self.state {
            State::Up => turn,
            State::Down(at) | State::Paused(at) => at,
        };
        let note =
            if self.queue.position() == self.noted { turn } else { self.noted_at + CURSOR_DELAY };
        turn.min(due).min(note)
    }

    fn measure(&self, head: u64) {
        let metrics = &self.config.metrics;
        let position = self.queue.position();
        metrics.lag.set(as_f64(head.saturating_sub(position.number)));
        let oldest = self.queue.oldest().map_or(0, i64::cast_unsigned);
        metrics.oldest.set(as_f64(oldest) / 1000.0);
        metrics.inflight.set(as_f64(self.flights.len() as u64));
    }

    fn failed(&self, source: StoreError) -> RouteError {
        RouteError::Store { route: Arc::clone(&self.name), source }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of metrics")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}
