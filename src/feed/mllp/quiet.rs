//! Keeps one reason from filling the log.
//!
//! Promises: of one reason at most one line a second; how many were left out stands in the next.
//! Knows nothing of: what is logged.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock;

/// A feed that sends nothing but broken messages says so once a second, not a thousand times.
const INTERVAL: Duration = Duration::from_secs(1);

/// When each reason was last logged, and how often it was not since.
#[derive(Debug, Default)]
pub struct Quiet(Mutex<BTreeMap<&'static str, (Duration, u64)>>);

impl Quiet {
    /// How many lines of this reason were left out, where one is due now.
    pub fn due(&self, reason: &'static str) -> Option<u64> {
        self.due_at(reason, clock::monotonic())
    }

    fn due_at(&self, reason: &'static str, now: Duration) -> Option<u64> {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reasons.get_mut(reason) {
            Some((last, left_out)) if now.saturating_sub(*last) < INTERVAL => {
                *left_out += 1;
                None
            }
            known => {
                let left_out = known.map_or(0, |(_, left_out)| *left_out);
                reasons.insert(reason, (now, 0));
                Some(left_out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_once_a_second_with_how_many_were_left_out() {
        let quiet = Quiet::default();
        let at = |millis: u64| Duration::from_millis(5_000 + millis);
        let due: Vec<Option<u64>> =
            [0, 1, 999, 1_000, 1_001].map(|millis| quiet.due_at("malformed", at(millis))).into();
        assert_eq!(due, [Some(0), None, None, Some(2), None]);
        assert_eq!(quiet.due_at("unmapped", at(1)), Some(0), "each reason for itself");
    }
}
