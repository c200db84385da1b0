//! What was lately asked for of subjects, so that the store is not asked again.
//!
//! Promises: as much is remembered as was agreed, and no more; what is asked for stays, what is not
//! goes.
//! Knows nothing of: what it is, and when it no longer holds.

use std::collections::HashMap;

use crate::admit::Digest;

/// Values by subject, in two halves: what was not asked for since the younger was begun goes with
/// the older. So a look costs no more than a look, and nothing is sorted by time.
#[derive(Debug)]
pub(super) struct Recent<V> {
    young: Half<V>,
    old: Half<V>,
    limit: Limit,
}

/// Most that is remembered, of both together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Subjects.
    pub subjects: usize,
    /// Bytes of memory, as they are given with each value.
    pub bytes: usize,
}

#[derive(Debug)]
struct Half<V> {
    values: HashMap<[u8; 16], (V, usize)>,
    bytes: usize,
}

impl<V: Clone> Recent<V> {
    pub fn new(limit: Limit) -> Self {
        Self { young: Half::default(), old: Half::default(), limit }
    }

    /// What is remembered of a subject; from now on it is young again.
    pub fn get(&mut self, subject: &Digest) -> Option<V> {
        if let Some((value, _)) = self.young.values.get(&subject.0) {
            return Some(value.clone());
        }
        let (value, bytes) = self.old.remove(subject)?;
        self.put(subject, value.clone(), bytes);
        Some(value)
    }

    /// Remembers a value of so many bytes.
    pub fn put(&mut self, subject: &Digest, value: V, bytes: usize) {
        self.young.remove(subject);
        self.young.values.insert(subject.0, (value, bytes));
        self.young.bytes += bytes;
        let Limit { subjects, bytes } = self.limit;
        if self.young.values.len() > subjects / 2 || self.young.bytes > bytes / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }

    pub fn forget(&mut self, subject: &Digest) {
        self.young.remove(subject);
        self.old.remove(subject);
    }

    pub fn forget_all(&mut self) {
        (self.young, self.old) = (Half::default(), Half::default());
    }
}

#[cfg(test)]
impl<V> Recent<V> {
    /// How many values are held, and their bytes as they were given.
    pub fn held(&self) -> (usize, usize) {
        let halves = [&self.young, &self.old];
        (halves.iter().map(|it| it.values.len()).sum(), halves.iter().map(|it| it.bytes).sum())
    }
}

impl<V> Half<V> {
    fn remove(&mut self, subject: &Digest) -> Option<(V, usize)> {
        let (value, bytes) = self.values.remove(&subject.0)?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some((value, bytes))
    }
}

impl<V> Default for Half<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Digest(bytes)
    }

    /// Puts in more and more, asks for the first all the time, and holds against the limit.
    fn fill(limit: Limit, bytes: usize, count: usize) {
        let mut recent = Recent::new(limit);
        for number in 0..count {
            recent.put(&digest(number), number, bytes);
            assert_eq!(recent.get(&digest(0)), Some(0), "asked for all the time, {number}");
            let held = recent.held();
            assert!(held.0 <= limit.subjects.saturating_add(1));
            assert!(held.1 <= limit.bytes.saturating_add(bytes));
            assert_eq!(held.1, held.0 * bytes);
        }
        assert_eq!(recent.get(&digest(1)), None, "not asked for");
        assert_eq!(recent.get(&digest(count - 1)), Some(count - 1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_asked_for_stays() {
        fill(Limit { subjects: 100, bytes: usize::MAX }, 1, 1_000);
        fill(Limit { subjects: usize::MAX, bytes: 1_000 }, 10, 1_000);
    }

    #[test]
    fn what_is_forgotten_or_put_again_leaves_nothing_behind() {
        let mut recent = Recent::new(Limit { subjects: 4, bytes: 100 });
        for number in 0..4 {
            recent.put(&digest(number), number, 10);
            recent.put(&digest(number), number + 10, 20);
        }
        assert_eq!(recent.get(&digest(3)), Some(13));
        for number in 0..4 {
            recent.forget(&digest(number));
            assert_eq!(recent.get(&digest(number)), None);
        }
        assert_eq!(recent.held(), (0, 0));
    }
}
