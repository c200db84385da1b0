//! What goes: decide, record, hand over; and what the sink says of it.
//!
//! Promises: nothing is handed over whose evidence is not durable, nor counted as done; what the
//! fence sends back is decided anew.
//! Knows nothing of: opening and closing.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Route, RouteError, State, as_f64};
use crate::deliver::decide::{Answer, Decided, Grounds, Undecided, decide};
use crate::deliver::evidence::Proven;
use crate::deliver::queue::{Handed, Item, Recorded, Renaming, Task};
use crate::deliver::sink::{Settled, SinkError, Ticket};
use crate::deliver::tokens::RouteNames;
use crate::event::Subject;
use crate::fence::{Kept, Moment};
use crate::privacy::{Counts, Release};
use crate::store::Violation;
use crate::store::audit::AuditBusy;
use crate::store::violations::Kind;
use crate::store::{StoreError, VaultBusy};
use crate::{bug, clock};

/// Most events that are decided and recorded together.
const STAGED_MAX: usize = 256;
/// More is decided when what is ready to be handed over fills less than this part of the window.
const READY_LOW: usize = 4;

/// A release whose evidence is durable.
#[derive(Debug)]
pub(super) struct Ready {
    pub item: Item,
    release: Box<Release>,
    asked_at: Moment,
}

/// What is done with an item next.
enum Step {
    /// It is decided.
    Decided(Decided),
    /// The consumer is told this first.
    First(Renaming),
    /// These want a token first.
    Wants(Vec<Subject>),
}

impl Route {
    /// Hands over what is recorded, as much as the window allows, and decides about what comes
    /// behind it.
    pub(super) fn go(&mut self) {
        while self.state == State::Up
            && self.flights.len() < self.config.window
            && self.rate.room(Instant::now()) > 0
        {
            let Some(ready) = self.ready.pop_front() else { break };
            self.hand_over(ready);
        }
        // Not for every confirm by itself: each record costs its share of an fsync, and what is ready
        // feeds the window meanwhile.
        let is_low = self.ready.len() <= self.config.window / READY_LOW;
        let is_idle = self.evidence.is_idle() && self.minting.is_idle();
        if self.state == State::Up && is_idle && is_low {
            // What the rate keeps here for now is decided when it may go, and not before.
            let room = self.rate.room(Instant::now()).min(self.config.window);
            self.decide_next(room);
        }
    }

    /// Decides about the next events, until as many may leave as there is room for, and has that
    /// recorded. What wants a token is decided about again when it is durable.
    fn decide_next(&mut self, room: usize) {
        let now = clock::now();
        let most = self.queue.len().min(STAGED_MAX);
        let mut decided: Vec<(Item, Decided, Moment)> = Vec::with_capacity(most);
        let mut waiting: Vec<Item> = Vec::new();
        let mut wanted: Vec<Subject> = Vec::new();
        let mut leaving = self.ready.len();
        while leaving < room && decided.len() + waiting.len() < STAGED_MAX {
            let Some(mut item) = self.queue.take_next() else { break };
            let asked_at = self.config.fence.moment();
            match self.decide(&mut item, now) {
                Ok(Step::Decided(answer)) => {
                    leaving += usize::from(matches!(answer.answer, Answer::Release(_)));
                    decided.push((item, answer, asked_at));
                }
                Ok(Step::First(renaming)) => {
                    let first = item.announced_by(renaming);
                    self.queue.again_behind(item, first);
                }
                Ok(Step::Wants(subjects)) => {
                    leaving += 1;
                    wanted.extend(subjects);
                    waiting.push(item);
                }
                Err(why) => {
                    tracing::error!(route = %self.name, event = %item.event.id, why, "no decision");
                    self.queue.again(item);
                    self.pause(&why);
                    break;
                }
            }
        }
        // The first one is to be the first again.
        waiting.into_iter().rev().for_each(|item| self.queue.again(item));
        if !wanted.is_empty() {
            self.minting.begin(&self.config.realm, wanted);
        }
        if !decided.is_empty() {
            self.evidence.stage(decided, now);
        }
    }

    /// The tokens that were wanted are durable, or cannot be.
    pub(super) fn minted(&mut self, made: Result<(), VaultBusy>) -> Result<(), RouteError> {
        match made {
            Ok(()) => Ok(()),
            Err(VaultBusy::Stopped) => Err(RouteError::Vault { route: self.name.clone() }),
            Err(busy @ VaultBusy::Disk) => {
                if self.state == State::Up {
                    self.pause(&busy.to_string());
                }
                Ok(())
            }
        }
    }

    /// Whether the event may leave now, and as what. A fault of ours is no decision, and a bug
    /// that one event brings out costs its route and not the daemon.
    fn decide(&mut self, item: &mut Item, now: Timestamp) -> Result<Step, String> {
        let super::RouteConfig { contract, realm, node, jurisdiction, policy, journal, .. } =
            &self.config;
        let names = RouteNames { realm, evidence: &self.evidence, digests: journal.digests() };
        let failed = |error: StoreError| error.to_string();
        if realm.may_have_changed()
            && let Some(owed) =
                self.evidence.owed_before(item, &item.digests.shown).map_err(failed)?
        {
            return Ok(Step::First(owed));
        }
        let subject = &item.digests.subject;
        let filed = match journal.remembered(subject) {
            Some(filed) => filed,
            None => tokio::task::block_in_place(|| journal.filed(subject))
                .map_err(|error| error.to_string())?,
        };
        self.evidence.recall(item).map_err(|error| error.to_string())?;
        if let Some(book) = &mut self.book {
            item.told_by = book.told_by(item, journal).map_err(failed)?;
        }
        if item.is_notice() {
            let digests = journal.digests();
            let told = tokio::task::block_in_place(|| self.evidence.is_to_be_told(item, digests));
            if !told.map_err(|error| error.to_string())? {
                return Ok(Step::Decided(Decided { answer: Answer::Nothing, evidence: None }));
            }
        }
        let grounds = Grounds {
            contract,
            ledger: filed.ledger(),
            policy,
            keys: &realm.keys,
            names: &names,
            digests: journal.digests(),
            under: &self.under,
            node,
            jurisdiction: jurisdiction.as_deref(),
        };
        let decided = match bug::contain(|| decide(&grounds, item, now)) {
            Some(Ok(decided)) => decided,
            Some(Err(Undecided::Wants(subjects))) => return Ok(Step::Wants(subjects)),
            Some(Err(undecided)) => return Err(undecided.to_string()),
            None => {
                return Err(
                    "an event cannot be decided; the place of the bug is in the log".to_owned()
                );
            }
        };
        // Before it learns the new token, the consumer is told whose it is.
        if let (Task::Event, Answer::Release(release)) = (item.task, &decided.answer)
            && realm.may_have_changed()
            && let (Some(token), Some(evidence)) = (release.token(), &decided.evidence)
            && let Some(renaming) =
                self.known.renaming(&names, &evidence.subject, token).map_err(failed)?
        {
            return Ok(Step::First(renaming));
        }
        Ok(Step::Decided(decided))
    }

    /// The evidence of what was decided is durable, or cannot be.
    pub(super) fn recorded(
        &mut self,
        proven: Result<Vec<Proven>, AuditBusy>,
    ) -> Result<(), RouteError> {
        match proven {
            Ok(proven) => {
                for Proven { item, answer, asked_at } in proven {
                    match answer {
                        // Where nothing can go now, it is asked again when something can.
                        Answer::Release(_) if self.state != State::Up => self.queue.again(item),
                        Answer::Release(release) => {
                            self.ready.push_back(Ready { item, release, asked_at });
                        }
                        Answer::Suppress(refusal) => {
                            self.suppressed(&item, refusal.code().name())?;
                        }
                        Answer::Violation { place } => self.violated(&item, &place)?,
                        Answer::Told => self.told(&item)?,
                        Answer::Nothing => self.queue.done(&item),
                    }
                }
                Ok(())
            }
            Err(busy) => {
                for item in self.evidence.give_back() {
                    self.queue.again(item);
                }
                self.no_evidence(&busy)
            }
        }
    }

    /// The event does not leave; the cursor goes on.
    fn suppressed(&mut self, item: &Item, reason: &'static str) -> Result<(), RouteError> {
        self.config.metrics.events.count("suppressed");
        self.config.metrics.denied.count(reason);
        tracing::debug!(route = %self.name, event = %item.event.id, reason, "suppressed");
        self.done(item, false)
    }

    /// The event does not leave, since another source's told it; the evidence links the two.
    fn told(&mut self, item: &Item) -> Result<(), RouteError> {
        self.config.metrics.events.count("told");
        self.config.metrics.permitted.increment(1);
        let by = item.told_by.as_deref();
        tracing::debug!(route = %self.name, event = %item.event.id, by, "told by another source");
        self.done(item, false)
    }

    /// Nothing more is to be done with an item; whether it left is remembered where its route asks.
    fn done(&mut self, item: &Item, left: bool) -> Result<(), RouteError> {
        if let Some(book) = &mut self.book {
            let noted = book.done(item, left, &self.config.journal);
            noted.map_err(|source| self.failed(source))?;
        }
        self.queue.done(item);
        Ok(())
    }

    /// The event does not leave, since its payload is not what the contract says: an exception, with
    /// the cursor.
    fn violated(&mut self, item: &Item, place: &str) -> Result<(), RouteError> {
        self.config.metrics.events.count("exception");
        self.config.metrics.permitted.increment(1);
        let contract = &self.config.contract;
        tracing::debug!(route = %self.name, event = %item.event.id, place, "contract violation");
        let (route, version) = (contract.name.as_str(), contract.version.as_str());
        let kind = Kind { route, contract: version, kind: item.event.kind, place };
        let (message, digests) = ((item.number, &item.feed), self.config.journal.digests());
        let violation = Violation::new(kind, message, digests, clock::now_ms());
        self.unnoted.add(item.step, violation);
        self.done(item, false)
    }

    /// Hands a release over, if what it was permitted by still stands.
    // PROMISE-9: what comes here has its evidence.
    fn hand_over(&mut self, ready: Ready) {
        let Ready { mut item, release, asked_at } = ready;
        if self.is_over(&item, clock::now()) {
            return self.queue.again(item);
        }
        let counts = release.counts();
        let subject = Arc::clone(release.subject());
        match self.config.fence.enter(&self.name, *release, asked_at) {
            Ok(entered) => {
                self.count(&item, counts);
                item.attempts += 1;
                item.sent_at = clock::monotonic();
                self.rate.take(Instant::now());
                if let Some(recorded) = &mut item.recorded {
                    recorded.handed = Handed::Yes;
                }
                self.next_ticket += 1;
                self.sink.send(entered, self.next_ticket);
                if self.config.fence.is_late(&subject, asked_at) {
                    self.config.metrics.late.increment(1);
                    tracing::error!(route = %self.name, event = %item.event.id,
                        "handed over behind an acknowledged revocation");
                }
                self.flights.insert(self.next_ticket, item);
            }
            Err(Kept::Narrowed) => self.queue.again(item),
            Err(Kept::OnTheWay) => {
                // Two subjects that were found to be one may meet here; the later waits.
                tracing::debug!(route = %self.name, event = %item.event.id, "not handed over yet");
                self.queue.again(item);
                self.wait_shortly();
            }
        }
    }

    /// Whether less may leave now than when it was decided: the contract has ended in between, or an
    /// exception to it.
    // PROMISE-7
    fn is_over(&self, item: &Item, now: Timestamp) -> bool {
        let contract = &self.config.contract;
        let (recipe, ..) = contract.recipe_at(now);
        let other = |known: &Recorded| known.decision.under.recipe != recipe.hash;
        let has_ended = contract.terms.ends().is_some_and(|ends| now >= ends);
        !item.is_notice() && (has_ended || item.recorded.as_ref().is_some_and(other))
    }

    /// Counts what leaves, once for each event.
    fn count(&self, item: &Item, counts: Counts) {
        let metrics = &self.config.metrics;
        if item.attempts > 0 {
            metrics.redeliveries.increment(1);
            return;
        }
        if item.is_notice() {
            metrics.events.count("notified");
            return;
        }
        metrics.events.count("released");
        metrics.permitted.increment(1);
        metrics.fields.add("kept", counts.kept);
        metrics.fields.add("tokenized", counts.tokenized);
        metrics.fields.add("generalized", counts.generalized);
        metrics.fields.add("removed", counts.removed);
    }

    /// Something became of what was handed over.
    pub(super) async fn settled(
        &mut self,
        settled: Result<Vec<(Ticket, Settled)>, SinkError>,
    ) -> Result<(), RouteError> {
        let settled = match settled {
            Ok(settled) => settled,
            Err(error) => return self.down(&error).await,
        };
        let (mut refused, mut delivered) = (None, false);
        for (ticket, settled) in settled {
            let Some(mut item) = self.flights.remove(&ticket) else { continue };
            let metrics = &self.config.metrics;
            match settled {
                Settled::Delivered | Settled::Already => {
                    metrics.attempts.count("ack");
                    delivered = true;
                    metrics.confirm.record(clock::seconds_since(item.sent_at));
                    metrics.end_to_end.record(seconds_between(item.received_at, clock::now_ms()));
                    self.done(&item, true)?;
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
                    if settled == Settled::Lost {
                        self.evidence.in_doubt([&mut item], "connection-lost", clock::now());
                    } else if let Some(recorded) = &mut item.recorded {
                        recorded.handed = Handed::No;
                    }
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
        self.settle_doubts().await
    }
}

fn seconds_between(from_ms: i64, to_ms: i64) -> f64 {
    as_f64(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)) / 1000.0
}
