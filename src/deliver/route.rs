//! The loop of one route: journal, decide, fence, sink, cursor.
//!
//! Promises: a route that cannot deliver tries again within bounds and holds up nobody
//! (PROMISE-12); the cursor moves behind the confirms, in batches; what is not confirmed is
//! sent again with its first ID.
//! Knows nothing of: feeds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::decide::{Decision, Grounds, decide};
use super::queue::{Item, Queue};
use super::sink::{Settled, Sink, SinkError, Ticket};
use crate::admit::Entry;
use crate::consent::{Policy, Refusal};
use crate::contract::{Contract, wants};
use crate::event::Event;
use crate::fence::{Fence, Kept};
use crate::metrics::{Pulse, RouteMetrics};
use crate::privacy::{Counts, RealmKeys};
use crate::store::{Journal, Position, StoreError};
use crate::{bug, clock};

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
    /// The keys of its realm.
    pub keys: RealmKeys,
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
    flights: HashMap<Ticket, Item>,
    next_ticket: Ticket,
    state: State,
    backoff: Backoff,
    pulse: Pulse,
    noted: Position,
    noted_at: Instant,
    last_error: String,
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
        let now = Instant::now();
        Self {
            name,
            sink,
            queue: Queue::new(position),
            flights: HashMap::new(),
            next_ticket: 0,
            state: State::Down(now),
            backoff: Backoff::new(),
            pulse: Pulse::new(),
            noted: position,
            noted_at: now,
            last_error: String::new(),
            cuts,
            config,
        }
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
                if (done && self.flights.is_empty()) || Instant::now() >= until {
                    break;
                }
            } else {
                self.open_when_due().await;
            }
            self.read(newest).await?;
            self.start();
            self.note(false).await?;
            self.measure(newest);
            let wake = self.wake_at();
            tokio::select! {
                biased;
                changed = self.cuts.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.cut();
                }
                settled = self.sink.settle(), if !self.flights.is_empty() => self.settled(settled).await,
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
        self.sink.close().await;
        self.note(true).await
    }

    /// Reads entries up to the head, as far as there is room.
    async fn read(&mut self, head: u64) -> Result<(), RouteError> {
        while self.queue.read_number() < head && self.queue.has_room() {
            let (journal, contract) = (&self.config.journal, &self.config.contract);
            let after = self.queue.read_number();
            // Off the runtime once for all of them, since it costs a thread each time.
            let entries = tokio::task::block_in_place(|| select(journal, contract, after));
            let entries = entries.map_err(|source| self.failed(source))?;
            if entries.is_empty() {
                break;
            }
            for Selected { entry, wanted, unwanted } in entries {
                self.config.metrics.events.add("unselected", unwanted);
                let name = entry.correlation_id.map(|id| id.to_string()).unwrap_or_default();
                self.queue.take(entry.number, entry.received_at, wanted, |event, sequence| Item {
                    number: entry.number,
                    event,
                    sequence,
                    correlation_id: name.clone(),
                    feed: Arc::clone(&entry.feed),
                    received_at: entry.received_at,
                    attempts: 0,
                    sent_at: Duration::ZERO,
                });
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Opens the sink, where it is time to.
    async fn open_when_due(&mut self) {
        match self.state {
            State::Down(at) if Instant::now() >= at => {
                match self.sink.open(self.queue.position()).await {
                    Ok(()) => {
                        self.state = State::Up;
                        self.up();
                    }
                    Err(error) => self.down(&error).await,
                }
            }
            State::Paused(at) if Instant::now() >= at => self.state = State::Up,
            State::Up | State::Down(_) | State::Paused(_) => {}
        }
    }

    /// Hands events over, as many as the window allows.
    fn start(&mut self) {
        while self.state == State::Up && self.flights.len() < self.config.window {
            let Some(mut item) = self.queue.take_next() else { return };
            let asked_at = self.config.fence.moment();
            let release = match self.decide(&item) {
                Ok(Decision::Release(release)) => *release,
                Ok(Decision::Suppress(refusal)) => {
                    self.suppress(&item, &refusal);
                    continue;
                }
                Err(why) => {
                    tracing::error!(route = %self.name, event = %item.event.id, why, "no decision");
                    self.queue.again(item);
                    self.pause(&why);
                    return;
                }
            };
            let counts = release.counts();
            match self.config.fence.enter(&self.name, release, asked_at) {
                Ok(entered) => {
                    self.count(item.attempts, counts);
                    item.attempts += 1;
                    item.sent_at = clock::monotonic();
                    self.next_ticket += 1;
                    self.sink.send(entered, self.next_ticket);
                    self.flights.insert(self.next_ticket, item);
                }
                Err(Kept::Narrowed) => self.queue.again(item),
                Err(Kept::OnTheWay) => {
                    // The queue lets one event of a subject go at a time, so this is a bug; the
                    // event waits, since to send it would break the order.
                    tracing::error!(route = %self.name, event = %item.event.id, "not handed over");
                    self.queue.again(item);
                    self.pause("a subject is on its way already");
                    return;
                }
            }
        }
    }

    /// Whether the event may leave now, and as what. A fault of ours is no decision, and a bug
    /// that one event brings out costs its route and not the daemon.
    fn decide(&self, item: &Item) -> Result<Decision, String> {
        let RouteConfig { contract, keys, node, jurisdiction, policy, journal, .. } = &self.config;
        let subject = &item.event.subject;
        let filed = match journal.remembered(subject) {
            Some(filed) => filed,
            None => tokio::task::block_in_place(|| journal.filed(subject))
                .map_err(|error| error.to_string())?,
        };
        let grounds = Grounds {
            contract,
            ledger: filed.ledger(),
            policy,
            keys,
            node,
            jurisdiction: jurisdiction.as_deref(),
        };
        let decided = bug::contain(|| decide(&grounds, item, clock::now()));
        match decided {
            Some(decided) => decided.map_err(|withheld| withheld.to_string()),
            None => {
                Err("an event cannot be decided; the place of the bug is in the log".to_owned())
            }
        }
    }

    /// The event does not leave; the cursor goes on.
    fn suppress(&mut self, item: &Item, refusal: &Refusal) {
        let reason = refusal.code().name();
        self.config.metrics.events.count("suppressed");
        self.config.metrics.denied.count(reason);
        tracing::debug!(route = %self.name, event = %item.event.id, reason, "suppressed");
        self.queue.done(item);
    }

    /// Counts what leaves, once for each event.
    fn count(&self, attempts: u32, counts: Counts) {
        let metrics = &self.config.metrics;
        if attempts > 0 {
            metrics.redeliveries.increment(1);
            return;
        }
        metrics.events.count("released");
        metrics.permitted.increment(1);
        metrics.fields.add("kept", counts.kept);
        metrics.fields.add("tokenized", counts.tokenized);
        metrics.fields.add("removed", counts.removed);
    }

    /// Something became of what was handed over.
    async fn settled(&mut self, settled: Result<Vec<(Ticket, Settled)>, SinkError>) {
        let settled = match settled {
            Ok(settled) => settled,
            Err(error) => return self.down(&error).await,
        };
        let (mut refused, mut delivered) = (None, false);
        for (ticket, settled) in settled {
            let Some(item) = self.flights.remove(&ticket) else { continue };
            let metrics = &self.config.metrics;
            match settled {
                Settled::Delivered | Settled::Already => {
                    metrics.attempts.count("ack");
                    delivered = true;
                    metrics.confirm.record(clock::seconds_since(item.sent_at));
                    metrics.end_to_end.record(seconds_between(item.received_at, clock::now_ms()));
                    self.queue.done(&item);
                    self.backoff.reset();
                }
                Settled::Nacked | Settled::Returned | Settled::Lost => {
                    let (word, why) = match settled {
                        Settled::Nacked => {
                            ("nack", "RabbitMQ nacked a message: its queue is full or refuses")
                        }
                        Settled::Returned => {
                            ("returned", "RabbitMQ returned a message: no queue is bound for it")
                        }
                        Settled::Delivered | Settled::Already | Settled::Lost => {
                            ("closed", "no confirm")
                        }
                    };
                    metrics.attempts.count(word);
                    self.queue.again(item);
                    refused = Some(why);
                }
            }
        }
        match refused {
            Some(why) => self.pause(why),
            None if delivered && !self.last_error.is_empty() => self.up(),
            None => {}
        }
    }

    /// What is on its way is waited for; nothing new goes for a while.
    fn pause(&mut self, why: &str) {
        self.state = State::Paused(Instant::now() + self.backoff.delay());
        self.not_up(why, "route is paused, and tries again");
    }

    fn up(&mut self) {
        self.last_error.clear();
        self.config.metrics.up.set(1.0);
        tracing::info!(route = %self.name, kind = self.config.contract.deliver.kind(), "route is up");
    }

    /// Says why, once for each reason: the same one again is no news.
    fn not_up(&mut self, why: &str, what: &'static str) {
        self.config.metrics.up.set(0.0);
        if self.last_error != why {
            tracing::warn!(route = %self.name, why, "{what}");
            why.clone_into(&mut self.last_error);
        }
    }

    /// A consent was narrowed and something that was permitted before is still on its way: from
    /// here on nothing more is written, and what was not confirmed is decided anew.
    // PROMISE-6
    fn cut(&mut self) {
        let count = self.flights.len();
        self.config.metrics.attempts.add("cut", count as u64);
        self.sink.cut();
        self.take_back();
        self.state = State::Down(Instant::now());
        tracing::info!(route = %self.name, count, "connection cut: a consent was narrowed");
    }

    /// What was handed over goes back, each to the front of its subject's lane.
    fn take_back(&mut self) {
        let mut flights: Vec<Item> = self.flights.drain().map(|(_, item)| item).collect();
        // The oldest is to go first.
        flights.sort_by_key(|item| std::cmp::Reverse(item.sequence));
        for item in flights {
            self.queue.again(item);
        }
    }

    /// The sink failed: what it had goes again, in order, once it is open.
    async fn down(&mut self, error: &SinkError) {
        let text = error.to_string();
        let timed_out = text.starts_with("no confirm");
        let word = if timed_out { "timeout" } else { "closed" };
        self.config.metrics.attempts.add(word, self.flights.len() as u64);
        self.take_back();
        self.sink.close().await;
        self.state = State::Down(Instant::now() + self.backoff.delay());
        self.not_up(&text, "route is down, and tries again");
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

/// An entry, the events of it that the contract selects, and how many it does not.
struct Selected {
    entry: Arc<Entry>,
    wanted: Vec<Event>,
    unwanted: u64,
}

/// The next entries. What the subjects of their selected events decided is remembered then.
fn select(journal: &Journal, contract: &Contract, after: u64) -> Result<Vec<Selected>, StoreError> {
    let mut selected = Vec::new();
    for entry in journal.read_after(after, READ_ENTRIES)? {
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            entry.events().partition(|event| wants(contract, event));
        for event in &wanted {
            // Where it cannot be read, whoever decides about this event says so.
            drop(journal.filed(&event.subject));
        }
        selected.push(Selected { entry, wanted, unwanted: unwanted.len() as u64 });
    }
    Ok(selected)
}

fn seconds_between(from_ms: i64, to_ms: i64) -> f64 {
    as_f64(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of metrics")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
