//! When to try again.
//!
//! Promises: tries are never closer than the shortest delay and never rarer than the longest;
//! several that failed together do not try together.
//! Knows nothing of: what is tried.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first delay: a peer that restarts is back within a few of these.
const DELAY_MIN: Duration = Duration::from_millis(250);
/// The longest delay: how late a peer that is back is noticed at most.
const DELAY_MAX: Duration = Duration::from_secs(15);

/// Delays that grow until something succeeds.
#[derive(Debug)]
pub struct Backoff(Option<ExponentialBackoff>);

impl Backoff {
    /// Delays from the shortest on.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// How long to wait before the next try.
    pub fn delay(&mut self) -> Duration {
        let builder = || {
            ExponentialBuilder::default()
                .with_min_delay(DELAY_MIN)
                .with_max_delay(DELAY_MAX)
                .with_factor(2.0)
                .with_jitter()
                .without_max_times()
                .build()
        };
        let delay = self.0.get_or_insert_with(builder).next();
        // Jitter adds up to the delay itself.
        delay.unwrap_or(DELAY_MAX).min(DELAY_MAX)
    }

    /// Something succeeded.
    pub fn reset(&mut self) {
        self.0 = None;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new();
        let delays: Vec<Duration> = (0..50).map(|_| backoff.delay()).collect();
        assert!(delays.iter().all(|delay| (DELAY_MIN..=DELAY_MAX).contains(delay)), "{delays:?}");
        assert!(delays.iter().skip(10).all(|delay| *delay == DELAY_MAX), "{delays:?}");
        backoff.reset();
        assert!(backoff.delay() <= DELAY_MIN * 2);
    }
}
