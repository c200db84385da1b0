//! A wait that many share, made a little longer for each.
//!
//! Promises: never shorter than asked for, and by a tenth longer at most.
//! Knows nothing of: who waits.

use std::time::Duration;

use aws_lc_rs::rand;

/// The duration and up to a tenth of it more, so that those who were told the same time to come again
/// do not come together.
#[must_use]
pub fn spread(duration: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness it is the time that was asked for.
    rand::fill(&mut byte).ok();
    duration + duration / 10 * u32::from(byte[0]) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_wait_is_longer_by_a_tenth_at_most_and_not_always_the_same() {
        let asked = Duration::from_secs(100);
        let waits: Vec<Duration> = (0..100).map(|_| spread(asked)).collect();
        assert!(waits.iter().all(|wait| (asked..=asked * 11 / 10).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]));
        assert_eq!(spread(Duration::ZERO), Duration::ZERO);
    }
}
