//! How far a query has come, by the server's clock.
//!
//! Promises: a resource that is there within the overlap of its time is never passed over, whatever our
//! clock says; what a cursor does not say, the journal's look for duplicates does.
//! Knows nothing of: pages and HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Most resources of a window that are remembered, each by 16 bytes and its time: about 5 MiB. One
/// that is forgotten is taken again, and is a duplicate.
const REMEMBERED_MAX: usize = 65_536;

/// Where `since` says that a feed's first poll begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// What changes from now on, by the server's clock.
    Now,
    /// All that there is.
    All,
    /// What has changed since a time.
    At(Timestamp),
}

/// How far a query has come. Kept durably.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// All that changed before is taken, but for what shows up late. None: nothing is.
    pub reached: Option<Timestamp>,
    /// The server gave pages out of order, so that only a whole round says how far it has come.
    pub unsorted: bool,
}

/// A cursor as it is kept.
#[derive(Serialize, Deserialize)]
struct Written {
    reached: Option<String>,
    unsorted: bool,
}

impl Cursor {
    /// As it is kept.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        let reached = self.reached.map(|reached| reached.to_string());
        // Two plain fields: nothing in them fails to be written.
        serde_json::to_vec(&Written { reached, unsorted: self.unsorted }).unwrap_or_default()
    }

    /// As it was kept; nothing where it cannot be read, so that all is taken anew.
    #[must_use]
    pub fn read(kept: &[u8]) -> Option<Self> {
        let Written { reached, unsorted } = serde_json::from_slice(kept).ok()?;
        let reached = match reached {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        Some(Self { reached, unsorted })
    }

    /// From which time on a round asks. `age`: how much later the last whole round began than the one
    /// that brought the cursor to where it is, by a clock that only goes on.
    ///
    /// The overlap says how late something may show up behind its stamp. What shows up behind the last
    /// whole round is therefore stamped within the overlap before that round began; and when it began,
    /// the server's clock had come to the cursor and `age` beyond it, at least. So as time passes less of
    /// the window has to be asked for again, down to the cursor itself: of a server where nothing
    /// happens not the same page for ever.
    #[must_use]
    pub fn from(&self, overlap: Duration, age: Duration) -> Option<Timestamp> {
        let back = SignedDuration::try_from(overlap.saturating_sub(age)).ok()?;
        self.reached.map(|reached| reached.checked_sub(back).unwrap_or(Timestamp::MIN))
    }
}

/// What of the window behind a cursor was taken already, by its content.
#[derive(Debug, Default)]
pub struct Window(BTreeSet<(Timestamp, [u8; 16])>);

impl Window {
    /// Whether the same content of that time was taken.
    #[must_use]
    pub fn knows(&self, at: Timestamp, content: &[u8; 16]) -> bool {
        self.0.contains(&(at, *content))
    }

    /// It is taken and committed.
    pub fn add(&mut self, at: Timestamp, content: [u8; 16]) {
        self.0.insert((at, content));
        while self.0.len() > REMEMBERED_MAX {
            self.0.pop_first();
        }
    }

    /// What is before a time is not asked for any more.
    pub fn forget_before(&mut self, at: Timestamp) {
        self.0 = self.0.split_off(&(at, [0; 16]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const OVERLAP: Duration = Duration::from_secs(300);

    #[test]
    fn the_window_behind_a_cursor_is_asked_for_again_until_it_is_as_old_as_the_overlap() {
        let cursor = Cursor { reached: Some(at("2026-11-22T08:00:00Z")), unsorted: false };
        let from = |age| cursor.from(OVERLAP, Duration::from_secs(age)).unwrap().to_string();
        assert_eq!(from(0), "2026-11-22T07:55:00Z");
        assert_eq!(from(100), "2026-11-22T07:56:40Z");
        assert_eq!(from(300), "2026-11-22T08:00:00Z");
        assert_eq!(from(86_400), "2026-11-22T08:00:00Z", "never ahead of the cursor");
        assert_eq!(Cursor::default().from(OVERLAP, Duration::ZERO), None, "all there is");
        let first = Cursor { reached: Some(Timestamp::MIN), unsorted: false };
        assert_eq!(first.from(OVERLAP, Duration::ZERO), Some(Timestamp::MIN));
    }

    proptest! {
        /// A resource is stamped `stamp` seconds before the cursor's time and shows up `late` seconds
        /// behind its stamp, while rounds begin now and then and do not move the cursor.
        #[test]
        fn what_shows_up_within_the_overlap_is_in_the_first_round_behind(
            stamp in 0_u64..400,
            late in 0_u64..=300,
            pauses in proptest::collection::vec(1_u64..200, 1..20),
        ) {
            // At 0 the cursor came to be; what was shown before was taken then.
            prop_assume!(late > stamp);
            let (shown, reached) = (late - stamp, at("2026-11-22T08:00:00Z"));
            let cursor = Cursor { reached: Some(reached), unsorted: false };
            let stamped = reached - SignedDuration::from_secs(i64::try_from(stamp).unwrap());
            let mut last = 0;
            for pause in pauses {
                let begins = last + pause;
                let from = cursor.from(OVERLAP, Duration::from_secs(last)).unwrap();
                if begins >= shown {
                    prop_assert!(stamped >= from, "asked from {from} at {begins}");
                    break;
                }
                last = begins;
            }
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for cursor in [
            Cursor::default(),
            Cursor { reached: Some(at("2026-11-22T08:00:00.123456Z")), unsorted: true },
        ] {
            assert_eq!(Cursor::read(&cursor.written()), Some(cursor));
        }
        assert_eq!(Cursor::read(b"not ours"), None);
    }

    #[test]
    fn a_window_knows_content_by_time_and_forgets_what_is_behind_it() {
        let mut window = Window::default();
        let (early, late) = (at("2026-11-22T08:00:00Z"), at("2026-11-22T08:00:01Z"));
        window.add(early, [1; 16]);
        window.add(late, [1; 16]);
        window.add(late, [2; 16]);
        assert!(window.knows(early, &[1; 16]) && !window.knows(early, &[2; 16]));
        window.forget_before(late);
        assert!(!window.knows(early, &[1; 16]) && window.knows(late, &[2; 16]));
        for count in 0..=REMEMBERED_MAX as u128 {
            window.add(at("2026-11-22T09:00:00Z"), count.to_be_bytes());
        }
        assert_eq!(window.0.len(), REMEMBERED_MAX, "bounded");
    }
}
