//! Whether the wall clock may be believed.
//!
//! Promises: a clock that has leapt ahead is believed when it has run steadily for a while, and not
//! before.
//! Knows nothing of: what is not done until then. What was told cannot be taken back.

use std::time::Duration;

use jiff::Timestamp;

/// How far the wall clock may gain on the monotonic one between two looks. Clocks that are kept in
/// step by NTP are slewed, or stepped by less.
const LEAP_SECONDS: f64 = 60.0;
/// How long it must have run steadily behind a leap: long enough for a person, or for NTP, to set
/// right what was set wrong.
pub const STEADY: Duration = Duration::from_secs(300);

/// Watches the wall clock against the monotonic one.
#[derive(Debug, Default)]
pub struct Steady {
    last: Option<(Timestamp, Duration)>,
    held_until: Option<Duration>,
}

/// What a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It may be believed.
    Steady,
    /// It has just leapt ahead, by so many seconds.
    Leapt(i64),
    /// It did so a short while ago.
    Held,
}

impl Steady {
    /// Looks at both clocks.
    pub fn look(&mut self, wall: Timestamp, monotonic: Duration) -> Clock {
        let gained = self.last.replace((wall, monotonic)).map_or(0.0, |(before, since)| {
            let went = monotonic.saturating_sub(since).as_secs_f64();
            wall.duration_since(before).as_secs_f64() - went
        });
        if gained > LEAP_SECONDS {
            self.held_until = Some(monotonic + STEADY);
            #[expect(clippy::cast_possible_truncation, reason = "seconds of a leap, for the log")]
            return Clock::Leapt(gained as i64);
        }
        let Some(until) = self.held_until else { return Clock::Steady };
        if gained < -LEAP_SECONDS {
            // Set back: from here on it may be right.
            self.held_until = Some(monotonic + STEADY);
            return Clock::Held;
        }
        if monotonic < until {
            return Clock::Held;
        }
        self.held_until = None;
        Clock::Steady
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    /// Looks a second apart by the monotonic clock; the wall clock is off by so many seconds.
    fn looks(offsets: impl IntoIterator<Item = i64>) -> Vec<Clock> {
        let begun: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut steady = Steady::default();
        (0_i64..)
            .zip(offsets)
            .map(|(second, offset)| {
                let wall = begun + (second + offset).seconds();
                steady.look(wall, Duration::from_secs(second.cast_unsigned()))
            })
            .collect()
    }

    #[test]
    fn a_clock_that_leaps_ahead_is_believed_when_it_has_run_steadily() {
        use Clock::{Held, Leapt, Steady};
        assert_eq!(looks([0, 0, 1, 59, -3_600, -3_600]), [Steady; 6]);
        assert_eq!(looks([0, 61, 61]), [Steady, Leapt(61), Held]);
        let day = std::iter::once(0).chain(std::iter::repeat_n(86_400, 301));
        let found = looks(day);
        assert_eq!(found[1], Leapt(86_400));
        assert!(found[2..301].iter().all(|it| *it == Held));
        assert_eq!(found[301], Steady);
        // Each further jump begins the wait anew, also the one back.
        let back = [0, 86_400].into_iter().chain(std::iter::repeat_n(0, 302));
        let found = looks(back);
        assert_eq!((found[2], found[301], found[302]), (Held, Held, Steady));
    }
}
