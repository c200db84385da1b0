//! What is remembered of the vault, so that a known patient's token costs no look at the disk.
//!
//! Promises: as much is remembered as was agreed, those without a token included; what was read
//! before something changed is not remembered after it.
//! Knows nothing of: SQL.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::recent::{Limit, Recent};
use crate::admit::Digest;
use crate::metrics::{Pulse, VaultMetrics};

/// Most subjects that are remembered, those without a token included: as many as the ledger
/// remembers, and some 10 MiB.
const SUBJECTS_MAX: usize = 1 << 16;

/// What the writer and the readers share.
pub(super) struct Shared {
    remembered: Mutex<Inner>,
    pub metrics: VaultMetrics,
    pub pulse: Pulse,
}

struct Inner {
    tokens: Recent<Option<Arc<str>>>,
    /// How many transactions changed something: what was read before one is not remembered after.
    writes: u64,
}

impl Shared {
    pub fn new() -> Self {
        let limit = Limit { subjects: SUBJECTS_MAX, bytes: usize::MAX };
        let inner = Inner { tokens: Recent::new(limit), writes: 0 };
        Self { remembered: Mutex::new(inner), metrics: VaultMetrics::new(), pulse: Pulse::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subject has this token from now on.
    pub fn remember(&self, subject: &Digest, token: Option<Arc<str>>) {
        let mut inner = self.lock();
        inner.writes += 1;
        inner.tokens.put(subject, token, 1);
    }

    /// Tokens have ended, and nobody may be given one of them from memory.
    pub fn ended(&self) {
        let mut inner = self.lock();
        inner.writes += 1;
        inner.tokens.forget_all();
    }

    /// What is remembered of a subject, else the number of changes up to now.
    pub fn get(&self, subject: &Digest) -> Result<Option<Arc<str>>, u64> {
        let mut inner = self.lock();
        inner.tokens.get(subject).ok_or(inner.writes)
    }

    /// Remembers what was read when there were so many changes.
    pub fn put(&self, subject: &Digest, token: Option<Arc<str>>, writes: u64) {
        let mut inner = self.lock();
        if inner.writes == writes {
            inner.tokens.put(subject, token, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let shared = Shared::new();
        let digest = Digest([1; 16]);
        let writes = shared.get(&digest).unwrap_err();
        shared.put(&digest, None, writes);
        assert_eq!(shared.get(&digest), Ok(None));
        shared.remember(&digest, Some("new".into()));
        shared.put(&digest, Some("old".into()), writes);
        assert_eq!(shared.get(&digest), Ok(Some("new".into())));
        shared.ended();
        let writes = shared.get(&digest).unwrap_err();
        shared.ended();
        shared.put(&digest, Some("old".into()), writes);
        assert!(shared.get(&digest).is_err());
    }
}
