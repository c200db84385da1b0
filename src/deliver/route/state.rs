//! Whether the sink can be used, and what becomes of what it had.
//!
//! Promises: a sink that fails is opened again within bounds; what it had and did not confirm is
//! recorded as in doubt, before anyone hears that the connection was cut.
//! Knows nothing of: decisions.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Route, RouteError, State};
use crate::clock;
use crate::deliver::queue::Item;
use crate::deliver::sink::SinkError;
use crate::store::audit::AuditBusy;

/// How long a route waits where something of the same subject is on its way.
const SHORTLY: Duration = Duration::from_millis(20);
/// How often a route that has to cut its connection tries to record what is in doubt.
const DOUBT_INTERVAL: Duration = Duration::from_millis(100);

impl Route {
    /// Opens the sink, where it is time to.
    pub(super) async fn open_when_due(&mut self) -> Result<(), RouteError> {
        match self.state {
            State::Down(at) if Instant::now() >= at => {
                match self.sink.open(self.queue.position()).await {
                    Ok(()) => {
                        self.state = State::Up;
                        self.up();
                    }
                    Err(error) => self.down(&error).await?,
                }
            }
            State::Paused(at) if Instant::now() >= at => self.state = State::Up,
            State::Up | State::Down(_) | State::Paused(_) => {}
        }
        Ok(())
    }

    /// What is on its way is waited for; nothing new goes for a while.
    pub(super) fn pause(&mut self, why: &str) {
        self.requeue_ready();
        self.state = State::Paused(Instant::now() + self.backoff.delay());
        self.not_up(why, "route is paused, and tries again");
    }

    pub(super) fn up(&mut self) {
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

    /// A consent was narrowed and something that was permitted before is still on its way: what
    /// was not confirmed is recorded as in doubt, from here on nothing more of it is written, and
    /// it is decided anew.
    // PROMISE-6, PROMISE-9
    pub(super) async fn cut(&mut self) -> Result<(), RouteError> {
        let count = self.flights.len();
        self.config.metrics.attempts.add("cut", count as u64);
        self.doubt_flights("cut").await?;
        self.sink.cut();
        self.take_back();
        self.state = State::Down(Instant::now());
        tracing::info!(route = %self.name, count, "connection cut: a consent was narrowed");
        Ok(())
    }

    /// Records what is on its way as in doubt. Until the audit takes that, it is on its way, and
    /// whoever narrows waits.
    // PROMISE-6, PROMISE-9
    async fn doubt_flights(&mut self, why: &'static str) -> Result<(), RouteError> {
        self.evidence.in_doubt(self.flights.values_mut(), why, clock::now());
        while let Err(busy) = self.evidence.settle().await {
            self.no_evidence(&busy)?;
            // A route that hangs here is alive.
            self.pulse.beat();
            sleep(DOUBT_INTERVAL).await;
        }
        Ok(())
    }

    /// Records what is in doubt, where the audit takes it; else it is owed, and tried again.
    pub(super) async fn settle_doubts(&mut self) -> Result<(), RouteError> {
        if self.evidence.owes() && self.evidence.is_idle() && self.doubts_due <= Instant::now() {
            self.doubts_due = Instant::now();
            if let Err(busy) = self.evidence.settle().await {
                self.doubts_due = Instant::now() + DOUBT_INTERVAL;
                return self.no_evidence(&busy);
            }
        }
        Ok(())
    }

    /// The audit cannot take evidence: nothing goes until it can.
    pub(super) fn no_evidence(&mut self, busy: &AuditBusy) -> Result<(), RouteError> {
        match busy {
            AuditBusy::Stopped => Err(RouteError::Audit { route: self.name.clone() }),
            AuditBusy::Disk => {
                if self.state == State::Up {
                    self.pause("the audit cannot be written: its disk is full");
                }
                Ok(())
            }
        }
    }

    /// Waits for what is on its way.
    pub(super) fn wait_shortly(&mut self) {
        if self.state == State::Up {
            self.state = State::Paused(Instant::now() + SHORTLY);
        }
    }

    /// What waits for the window was asked about a while ago, and is asked again.
    fn requeue_ready(&mut self) {
        while let Some(ready) = self.ready.pop_back() {
            self.queue.again(ready.item);
        }
    }

    /// What was handed over goes back, each to the front of its subject's lane.
    fn take_back(&mut self) {
        self.requeue_ready();
        let mut flights: Vec<Item> = self.flights.drain().map(|(_, item)| item).collect();
        // The oldest is to go first.
        flights.sort_by_key(|item| std::cmp::Reverse(item.sequence));
        for item in flights {
            self.queue.again(item);
        }
    }

    /// The sink failed: what it had goes again, in order, once it is open.
    pub(super) async fn down(&mut self, error: &SinkError) -> Result<(), RouteError> {
        let text = error.to_string();
        let timed_out = text.starts_with("no confirm");
        let word = if timed_out { "timeout" } else { "closed" };
        self.config.metrics.attempts.add(word, self.flights.len() as u64);
        let why = if timed_out { "no-confirm" } else { "connection-lost" };
        self.doubt_flights(why).await?;
        self.take_back();
        self.sink.close().await;
        self.state = State::Down(Instant::now() + self.backoff.delay());
        self.not_up(&text, "route is down, and tries again");
        Ok(())
    }
}
