//! When the writer looks at what is due.
//!
//! Promises: the wall clock is read at each look, and no instant is slept for, so that a jump of it
//! is harmless either way; one that leaps ahead is waited out; whose permits ended is told when that
//! is durable, and nothing more ends until it could be told.
//! Knows nothing of: what ends, and what is done about it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::due::Fired;
use super::steady::{Clock, STEADY, Steady};
use crate::clock;
use crate::event::Subject;
use crate::metrics::StoreMetrics;

/// How long lies between two looks at least; the writer goes round every half second at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The writer's timer.
pub(super) struct Timer {
    steady: Steady,
    next: Duration,
    /// Whose permits ended, and were not told of yet.
    untold: Vec<Subject>,
    ended: mpsc::Sender<Vec<Subject>>,
}

impl Timer {
    /// A timer that looks at once: what ended while nothing ran is due.
    pub fn new(ended: mpsc::Sender<Vec<Subject>>) -> Self {
        Self { steady: Steady::default(), next: Duration::ZERO, untold: Vec::new(), ended }
    }

    /// The time to look by, where it is time to look.
    pub fn look(&mut self, metrics: &StoreMetrics) -> Option<Timestamp> {
        let monotonic = clock::monotonic();
        if monotonic < self.next {
            return None;
        }
        self.next = monotonic + LOOK_INTERVAL;
        let wall = clock::now();
        let found = self.steady.look(wall, monotonic);
        metrics.timer_held.set(if found == Clock::Steady { 0.0 } else { 1.0 });
        match found {
            Clock::Steady => {}
            Clock::Held => return None,
            Clock::Leapt(seconds) => {
                let held = STEADY.as_secs();
                tracing::warn!(
                    seconds,
                    held,
                    "the wall clock leapt ahead; no consent expires until it has run steadily"
                );
                return None;
            }
        }
        self.tell();
        self.untold.is_empty().then_some(wall)
    }

    /// What a look came to is durable.
    pub fn fired(&mut self, fired: Fired, metrics: &StoreMetrics) {
        metrics.ends.increment(fired.ends);
        self.untold.extend(fired.subjects);
        self.tell();
        if fired.more {
            self.next = Duration::ZERO;
        }
    }

    fn tell(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(subjects)) =
            self.ended.try_send(std::mem::take(&mut self.untold))
        {
            self.untold = subjects;
        }
    }
}
