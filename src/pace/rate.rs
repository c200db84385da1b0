//! How many a second may go: events of a route, messages of a feed.
//!
//! Promises: over any time no more go than that time allows, and a tenth of a second's worth beside;
//! the wall clock does not matter.
//! Knows nothing of: what goes.
//!
//! A number of moments would have to be kept to hold each single second to the limit; this keeps one,
//! the moment at which what has gone so far will have been due.

use std::time::Duration;

use tokio::time::Instant;

/// What may go at once is what a part of a second allows: enough that a loop which turns every few
/// milliseconds keeps the rate, too little to flood who asked for a limit.
const BURSTS_A_SECOND: u64 = 10;

/// A limit.
#[derive(Debug)]
pub struct Rate {
    /// From one to the next; zero where there is no limit.
    gap: Duration,
    /// How far ahead of its time one may go.
    ahead: Duration,
    /// When the next would be due, had each waited for its gap.
    next: Option<Instant>,
}

impl Rate {
    /// A limit of so many a second; 0: none.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        let Some(per_second) = u32::try_from(per_second).ok().filter(|per_second| *per_second > 0)
        else {
            return Self { gap: Duration::ZERO, ahead: Duration::ZERO, next: None };
        };
        // Rounded up, so that it is never more than was asked for.
        let gap =
            (Duration::from_secs(1) + Duration::from_nanos(u64::from(per_second) - 1)) / per_second;
        let burst = u32::try_from(u64::from(per_second).div_ceil(BURSTS_A_SECOND)).unwrap_or(1);
        Self { gap, ahead: gap * burst.saturating_sub(1), next: None }
    }

    /// How many may go now.
    #[must_use]
    pub fn room(&self, now: Instant) -> usize {
        if self.gap.is_zero() {
            return usize::MAX;
        }
        let next = self.next.map_or(now, |next| next.max(now));
        match (now + self.ahead).checked_duration_since(next) {
            Some(left) => {
                let more = left.as_nanos() / self.gap.as_nanos();
                usize::try_from(more).unwrap_or(usize::MAX).saturating_add(1)
            }
            None => 0,
        }
    }

    /// When the next may go; nothing where it may at once.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        if self.room(now) > 0 {
            return None;
        }
        self.next.and_then(|next| next.checked_sub(self.ahead))
    }

    /// One has gone.
    pub fn take(&mut self, now: Instant) {
        self.next = Some(self.next.map_or(now, |next| next.max(now)) + self.gap);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn after_a_burst_one_goes_each_gap() {
        let mut rate = Rate::new(30);
        let mut now = Instant::now();
        let mut gone = 0;
        while rate.room(now) > 0 {
            rate.take(now);
            gone += 1;
        }
        assert_eq!(gone, 3, "a tenth of a second's worth");
        let begun = now;
        for _ in 0..30 {
            let at = rate.wait(now).unwrap();
            assert!(at > now);
            now = at;
            assert_eq!(rate.room(now), 1);
            rate.take(now);
        }
        let took = now - begun;
        assert!(took >= Duration::from_secs(1), "{took:?}");
        assert!(took < Duration::from_millis(1_001), "{took:?}");
    }

    #[test]
    fn without_a_limit_everything_goes() {
        let mut rate = Rate::new(0);
        let now = Instant::now();
        rate.take(now);
        assert_eq!((rate.room(now), rate.wait(now)), (usize::MAX, None));
    }

    proptest! {
        /// Whoever asks when, and goes as soon as it may.
        #[test]
        fn no_second_sees_more_than_the_rate_and_its_burst(
            per_second in 1_u64..100,
            steps in proptest::collection::vec(0_u64..400_000, 1..60),
        ) {
            let mut rate = Rate::new(per_second);
            let mut now = Instant::now();
            let mut gone: Vec<Instant> = Vec::new();
            for step in steps {
                now += Duration::from_micros(step);
                let room = rate.room(now);
                prop_assert_eq!(room == 0, rate.wait(now).is_some());
                for _ in 0..room {
                    rate.take(now);
                    gone.push(now);
                }
                prop_assert_eq!(rate.room(now), 0);
            }
            let most = per_second + per_second.div_ceil(BURSTS_A_SECOND);
            for (index, first) in gone.iter().enumerate() {
                let within = |at: &&Instant| **at - *first < Duration::from_secs(1);
                let count = gone.iter().skip(index).take_while(within).count();
                prop_assert!(count as u64 <= most, "{count} of {most}");
            }
        }
    }
}
