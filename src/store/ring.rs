//! The newest entries, shared in memory, so that routes near the head read no disk.
//!
//! Promises: what is in the ring is in the store; the ring has no hole; it is bounded by count
//! and by bytes.
//! Knows nothing of: routes.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use crate::admit::Entry;

/// Most entries in the ring: what a busy feed brings in a second.
const ENTRIES_MAX: usize = 2_048;
/// Most bytes of messages behind the entries of the ring.
const BYTES_MAX: usize = 16 << 20;

/// The newest entries, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<(Arc<Entry>, usize)>,
    bytes: usize,
}

impl Ring {
    /// Adds entries that have just become durable, each with the bytes of its message.
    pub fn push(&self, entries: impl IntoIterator<Item = (Arc<Entry>, usize)>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (entry, bytes) in entries {
            inner.bytes += bytes;
            inner.entries.push_back((entry, bytes));
        }
        while inner.entries.len() > ENTRIES_MAX || inner.bytes > BYTES_MAX {
            let Some((_, bytes)) = inner.entries.pop_front() else { break };
            inner.bytes = inner.bytes.saturating_sub(bytes);
        }
    }

    /// Entries with numbers above one, oldest first, at most `limit`; none where the ring does
    /// not reach back that far.
    #[must_use]
    pub fn read_after(&self, number: u64, limit: usize) -> Option<Vec<Arc<Entry>>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let first = inner.entries.front()?.0.number;
        if first > number + 1 {
            return None;
        }
        let skip = usize::try_from(number + 1 - first).unwrap_or(usize::MAX);
        let found = inner.entries.iter().skip(skip).take(limit);
        Some(found.map(|(entry, _)| Arc::clone(entry)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::admit::entry::Status;

    fn entry(number: u64) -> (Arc<Entry>, usize) {
        let entry = Entry {
            number,
            received_at: 0,
            feed: "adt".into(),
            status: Status::Admitted,
            correlation_id: None,
            content: Arc::default(),
            facts: OnceLock::new(),
        };
        (Arc::new(entry), 10)
    }

    fn numbers(ring: &Ring, after: u64, limit: usize) -> Option<Vec<u64>> {
        ring.read_after(after, limit).map(|found| found.iter().map(|entry| entry.number).collect())
    }

    #[test]
    fn it_gives_what_it_has_without_holes_or_nothing() {
        let ring = Ring::default();
        assert_eq!(numbers(&ring, 0, 10), None);
        ring.push((5..=9).map(entry));
        assert_eq!(numbers(&ring, 3, 10), None);
        assert_eq!(numbers(&ring, 4, 2), Some(vec![5, 6]));
        assert_eq!(numbers(&ring, 8, 10), Some(vec![9]));
        assert_eq!(numbers(&ring, 9, 10), Some(vec![]));
    }

    #[test]
    fn it_is_bounded() {
        let ring = Ring::default();
        let last = 3 * u64::try_from(ENTRIES_MAX).unwrap();
        ring.push((1..=last).map(entry));
        let first = last - u64::try_from(ENTRIES_MAX).unwrap();
        assert_eq!(numbers(&ring, first - 1, 1), None);
        assert_eq!(numbers(&ring, first, 1), Some(vec![first + 1]));
        let (huge, _) = entry(last + 1);
        ring.push([(huge, BYTES_MAX + 1)]);
        assert_eq!(numbers(&ring, last, 1), None);
    }
}
