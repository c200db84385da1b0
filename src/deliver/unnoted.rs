//! Exceptions of a route that wait for its cursor.
//!
//! Promises: an exception comes out of here when everything up to its event is done, and not before, so
//! that a crash neither loses nor doubles it; when enough wait, the route reads no further.
//! Knows nothing of: how they are written.

use std::collections::BTreeMap;

use crate::store::Violation;

/// Most exceptions that wait while the route still reads on. What is in its queue by then may add as
/// many again as that holds.
const WAITING_MAX: usize = 256;

/// Exceptions by the steps of the route that they are of.
#[derive(Debug, Default)]
pub struct Unnoted {
    waiting: BTreeMap<u64, Vec<Violation>>,
    length: usize,
}

impl Unnoted {
    /// Keeps one until its step is done.
    pub fn add(&mut self, step: u64, violation: Violation) {
        self.waiting.entry(step).or_default().push(violation);
        self.length += 1;
    }

    /// Whether so many wait that they are to be noted at once, and nothing more is read.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.length >= WAITING_MAX
    }

    /// Gives up those of the steps up to one, which are done.
    pub fn up_to(&mut self, step: u64) -> Vec<Violation> {
        let later = match step.checked_add(1) {
            Some(next) => self.waiting.split_off(&next),
            None => BTreeMap::new(),
        };
        let done = std::mem::replace(&mut self.waiting, later);
        let done: Vec<Violation> = done.into_values().flatten().collect();
        self.length -= done.len();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::Digest;

    fn violation(number: u64) -> Violation {
        Violation {
            number,
            feed: "adt".into(),
            key: Digest([0; 16]),
            place: String::new(),
            text: String::new(),
            at: 0,
            last_at: 0,
            count: 1,
        }
    }

    /// PROMISE-1
    #[test]
    fn an_exception_waits_until_everything_before_it_is_done() {
        let mut unnoted = Unnoted::default();
        for number in [5, 3, 9, 5] {
            unnoted.add(number, violation(number));
        }
        let numbers = |found: Vec<Violation>| -> Vec<u64> {
            found.iter().map(|violation| violation.number).collect()
        };
        assert_eq!(numbers(unnoted.up_to(2)), [0; 0]);
        assert_eq!(numbers(unnoted.up_to(5)), [3, 5, 5]);
        assert_eq!(numbers(unnoted.up_to(5)), [0; 0]);
        assert_eq!(numbers(unnoted.up_to(u64::MAX)), [9]);
    }

    #[test]
    fn with_many_waiting_nothing_more_is_read() {
        let mut unnoted = Unnoted::default();
        for number in 1..=WAITING_MAX as u64 {
            assert!(!unnoted.is_full());
            unnoted.add(number, violation(number));
        }
        assert!(unnoted.is_full());
        unnoted.up_to(1);
        assert!(!unnoted.is_full());
    }
}
