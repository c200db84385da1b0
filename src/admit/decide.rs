//! New, duplicate or conflict.
//!
//! Promises: a message is a duplicate only of one with the same content that was acknowledged
//! positively within `dedupe_retention`; nothing is dropped for its control ID alone.
//! Knows nothing of: how what is known was found.

use std::time::Duration;

use super::Digest;

/// A message that was taken under the same correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its epoch, from 1.
    pub epoch: u32,
    /// Its content.
    pub content: Digest,
    /// When it was taken, in milliseconds since 1970.
    pub at: i64,
}

/// How long earlier messages count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// For how long the same content is a duplicate.
    pub dedupe_retention: Duration,
    /// For how long other content under the same control ID is a conflict; later the sender's
    /// counter has wrapped.
    pub control_id_reuse: Duration,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Not seen before, or so long ago that it is forgotten.
    New {
        /// The epoch that it gets.
        epoch: u32,
    },
    /// The same as one that was taken.
    Duplicate {
        /// The epoch of that one.
        epoch: u32,
    },
    /// Other content under a control ID that was used a short while ago: one of the two may be
    /// wrong, so a human decides.
    Conflict {
        /// The epoch that it gets.
        epoch: u32,
    },
    /// Other content under a control ID that was used long ago: the sender's counter wrapped.
    Wrapped {
        /// The epoch that it gets.
        epoch: u32,
    },
}

impl Novelty {
    /// The epoch of the message.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        match self {
            Self::New { epoch }
            | Self::Duplicate { epoch }
            | Self::Conflict { epoch }
            | Self::Wrapped { epoch } => epoch,
        }
    }
}

/// Decides what a message is, by all that were taken under its correlation. `forgotten` is the
/// highest epoch of any message that is forgotten: a new one is above it, so that no correlation
/// ID, and with it no event ID, is given twice.
// PROMISE-2, PROMISE-3
#[must_use]
pub fn novelty(
    content: Digest,
    known: &[Known],
    forgotten: u32,
    windows: Windows,
    now_ms: i64,
) -> Novelty {
    let within = |at: i64, window: Duration| {
        // A clock that was set back makes an age negative; such a message is recent.
        let age = u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0);
        u128::from(age) <= window.as_millis()
    };
    let same = known
        .iter()
        .filter(|known| known.content == content && within(known.at, windows.dedupe_retention))
        .max_by_key(|known| known.epoch);
    if let Some(same) = same {
        return Novelty::Duplicate { epoch: same.epoch };
    }
    let above = |epoch: u32| epoch.max(forgotten).saturating_add(1);
    let Some(last) = known.iter().max_by_key(|known| known.epoch) else {
        return Novelty::New { epoch: above(0) };
    };
    let epoch = above(last.epoch);
    let newest = known.iter().map(|known| known.at).max().unwrap_or(last.at);
    if within(newest, windows.control_id_reuse) && last.content != content {
        Novelty::Conflict { epoch }
    } else {
        Novelty::Wrapped { epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const WINDOWS: Windows = Windows {
        dedupe_retention: Duration::from_secs(90 * 86_400),
        control_id_reuse: Duration::from_secs(86_400),
    };

    fn known(epoch: u32, content: u8, at: i64) -> Known {
        Known { epoch, content: Digest([content; 16]), at }
    }

    fn decide(content: u8, known: &[Known], now: i64) -> Novelty {
        novelty(Digest([content; 16]), known, 0, WINDOWS, now)
    }

    /// PROMISE-2
    #[test]
    fn the_same_content_is_a_duplicate_until_the_window_ends() {
        let first = [known(1, 1, 0)];
        assert_eq!(decide(1, &[], 0), Novelty::New { epoch: 1 });
        assert_eq!(decide(1, &first, 0), Novelty::Duplicate { epoch: 1 });
        assert_eq!(decide(1, &first, 90 * 24 * HOUR), Novelty::Duplicate { epoch: 1 });
        assert_eq!(decide(1, &first, 90 * 24 * HOUR + 1), Novelty::Wrapped { epoch: 2 });
        assert_eq!(decide(1, &first, -HOUR), Novelty::Duplicate { epoch: 1 });
    }

    /// PROMISE-2
    #[test]
    fn an_epoch_that_is_forgotten_is_not_given_again() {
        let decide = |known: &[Known]| novelty(Digest([9; 16]), known, 3, WINDOWS, 0);
        assert_eq!(decide(&[]), Novelty::New { epoch: 4 });
        assert_eq!(decide(&[known(2, 1, 0)]), Novelty::Conflict { epoch: 4 });
        assert_eq!(decide(&[known(7, 1, 0)]), Novelty::Conflict { epoch: 8 });
    }

    /// PROMISE-3
    #[test]
    fn other_content_is_a_conflict_at_first_and_a_wrapped_counter_later() {
        let first = [known(1, 1, 0)];
        assert_eq!(decide(2, &first, HOUR), Novelty::Conflict { epoch: 2 });
        assert_eq!(decide(2, &first, 24 * HOUR + 1), Novelty::Wrapped { epoch: 2 });
        let both = [known(1, 1, 0), known(2, 2, HOUR)];
        assert_eq!(decide(2, &both, 2 * HOUR), Novelty::Duplicate { epoch: 2 });
        assert_eq!(decide(1, &both, 2 * HOUR), Novelty::Duplicate { epoch: 1 });
        assert_eq!(decide(3, &both, 25 * HOUR), Novelty::Conflict { epoch: 3 });
    }
}
