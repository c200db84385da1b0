//! When a batch is due.
//!
//! Promises: a batch is due at the multiples of its length since 1970, by a wall clock that has run
//! steadily; whatever that clock did, the next is never further away than two lengths, and none comes
//! due for a second time.
//! Knows nothing of: what is in a batch.
//!
//! Multiples since 1970 and not since the route began: the moment says nothing about the hospital or
//! its consumer, it is the same before and after a restart without being kept anywhere, and the batches
//! of several routes can be told apart by nobody.

use std::time::Duration;

use jiff::Timestamp;

use crate::store::steady::{Clock, Steady};

/// When the next batch of a route is due.
#[derive(Debug)]
pub struct Due {
    /// Milliseconds from one to the next.
    every: i64,
    /// When the last was.
    last: i64,
    /// When the next is, once something waits for it.
    next: Option<i64>,
    steady: Steady,
}

impl Due {
    /// A batch so often; the last was due then, in milliseconds since 1970.
    #[must_use]
    pub fn new(every: Duration, last: Option<i64>) -> Self {
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX / 4).max(1);
        Self { every, last: last.unwrap_or(i64::MIN), next: None, steady: Steady::default() }
    }

    /// When the batch was due that an entry is the first of, if it is by now. The entry came in at a
    /// time by the wall clock, which may have been wrong. To be asked often, also with nothing waiting,
    /// so that a clock which leaps is seen to.
    pub fn look(
        &mut self,
        first: Option<i64>,
        wall: Timestamp,
        monotonic: Duration,
    ) -> Option<i64> {
        let is_steady = self.steady.look(wall, monotonic) == Clock::Steady;
        let now = wall.as_millisecond();
        // What came in while the clock was ahead came in by now.
        let first = first?.min(now).max(self.last);
        let next = self.next.unwrap_or_else(|| self.after(first));
        // A clock that was ahead has put it off.
        let is_near = next.saturating_sub(now) <= self.every.saturating_mul(2);
        let next = if is_near { next } else { self.after(now) };
        self.next = Some(next);
        (is_steady && now >= next).then_some(next)
    }

    /// The batch that was due then has begun.
    pub const fn begun(&mut self, due: i64) {
        self.last = due;
        self.next = None;
    }

    /// The first multiple behind a time.
    const fn after(&self, time: i64) -> i64 {
        time.div_euclid(self.every).saturating_add(1).saturating_mul(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    /// A clock that a test sets, and a batch each day.
    struct Bench {
        due: Due,
        monotonic: Duration,
    }

    impl Bench {
        fn new(last: Option<i64>) -> Self {
            let due = Due::new(Duration::from_secs(86_400), last);
            Self { due, monotonic: Duration::ZERO }
        }

        /// A look at a wall time, this many milliseconds after the last by the monotonic clock.
        fn look(&mut self, first: i64, wall: i64, passed: i64) -> Option<i64> {
            self.monotonic += Duration::from_millis(u64::try_from(passed).unwrap());
            let wall = Timestamp::from_millisecond(wall).unwrap();
            self.due.look(Some(first), wall, self.monotonic)
        }
    }

    #[test]
    fn nothing_is_due_before_the_next_multiple_and_the_same_is_not_due_twice() {
        let mut bench = Bench::new(None);
        let first = 3 * DAY + HOUR;
        assert_eq!(bench.look(first, first, 0), None);
        assert_eq!(bench.look(first, 4 * DAY - 1, 23 * HOUR - 1), None);
        assert_eq!(bench.look(first, 4 * DAY, 1), Some(4 * DAY));
        bench.due.begun(4 * DAY);
        // An entry of before, which came in between the due time and the beginning.
        assert_eq!(bench.look(4 * DAY - 5, 4 * DAY + HOUR, HOUR), None);
        assert_eq!(bench.look(4 * DAY - 5, 5 * DAY, 23 * HOUR), Some(5 * DAY));
    }

    #[test]
    fn what_a_stopped_daemon_missed_is_due_at_the_next_start() {
        let first = 3 * DAY + HOUR;
        assert_eq!(Bench::new(Some(3 * DAY)).look(first, 9 * DAY + HOUR, 0), Some(4 * DAY));
        // What came in after a quiet while is not late for what nobody waited for.
        assert_eq!(Bench::new(Some(3 * DAY)).look(9 * DAY + 1, 9 * DAY + HOUR, 0), None);
    }

    #[test]
    fn a_clock_that_leaps_ahead_opens_no_batch_until_it_has_run_steadily() {
        let mut bench = Bench::new(None);
        let first = 3 * DAY + HOUR;
        assert_eq!(bench.look(first, first, 0), None);
        assert_eq!(bench.look(first, 3_650 * DAY, 1_000), None);
        assert_eq!(bench.look(first, 3_650 * DAY + 1_000, 1_000), None);
        // Set right again, within the while.
        assert_eq!(bench.look(first, first + 3_000, 1_000), None);
        assert_eq!(bench.look(first, first + HOUR, HOUR - 3_000), None);
        assert_eq!(bench.look(first, 4 * DAY, 22 * HOUR), Some(4 * DAY));
    }

    #[test]
    fn a_clock_that_was_ahead_puts_a_batch_off_by_two_lengths_at_most() {
        let mut bench = Bench::new(None);
        let ahead = 3_650 * DAY + HOUR;
        assert_eq!(bench.look(ahead, ahead, 0), None);
        let now = 3 * DAY + HOUR;
        assert_eq!(bench.look(ahead, now, 1_000), None);
        assert_eq!(bench.look(ahead, 4 * DAY, 23 * HOUR), Some(4 * DAY));
        // Also where a batch was delivered by the wrong time.
        let mut bench = Bench::new(Some(ahead));
        assert_eq!(bench.look(now, now, 0), None);
        assert_eq!(bench.look(now, 4 * DAY, 23 * HOUR), Some(4 * DAY));
    }

    #[test]
    fn a_clock_that_is_set_back_behind_a_batch_opens_no_short_one() {
        let mut bench = Bench::new(None);
        assert_eq!(bench.look(3 * DAY + HOUR, 4 * DAY, 0), Some(4 * DAY));
        bench.due.begun(4 * DAY);
        let back = 4 * DAY - HOUR;
        assert_eq!(bench.look(back, back, 1_000), None);
        assert_eq!(bench.look(back, 4 * DAY, HOUR), None);
        assert_eq!(bench.look(back, 5 * DAY, DAY), Some(5 * DAY));
    }
}
