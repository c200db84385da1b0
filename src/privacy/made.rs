//! What was lately made of texts under a realm's keys: the routes of a realm ask for the same of each
//! event, one shortly after the other.
//!
//! Promises: what is remembered was made of these very texts; as much is remembered as has room, and
//! no more; nothing of it prints.
//! Knows nothing of: keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::phi::Phi;

/// How many are remembered. Of an event some five things are asked for, and routes are at most some
/// hundred events apart while they keep up. About a megabyte a realm.
const SLOTS: usize = 4_096;
/// Longest texts that are remembered, together, in bytes: an identifier has some dozen.
const BYTES_MAX: usize = 256;

/// Bytes of a token or a digested ID: 128 bits, so that no two patients of a hospital meet.
pub(super) const TOKEN_BYTES: usize = 16;

/// A place for each hash; what comes later takes it.
pub(super) struct Made {
    slots: Box<[Mutex<Option<Known>>]>,
    hashes: RandomState,
}

struct Known {
    label: &'static [u8],
    parts: Box<[Phi<Box<str>>]>,
    digest: [u8; TOKEN_BYTES],
}

impl Made {
    pub fn new() -> Self {
        let slots = std::iter::repeat_with(|| Mutex::new(None)).take(SLOTS).collect();
        Self { slots, hashes: RandomState::new() }
    }

    /// What was made of a label and texts, or is made now.
    pub fn or_make(
        &self,
        label: &'static [u8],
        parts: &[&str],
        make: impl FnOnce() -> [u8; TOKEN_BYTES],
    ) -> [u8; TOKEN_BYTES] {
        if parts.iter().map(|part| part.len()).sum::<usize>() > BYTES_MAX {
            return make();
        }
        let at = usize::try_from(self.hashes.hash_one((label, parts)) % SLOTS as u64)
            .unwrap_or_default();
        let Some(slot) = self.slots.get(at) else { return make() };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = slot.as_ref().filter(|known| known.is_of(label, parts)) {
            return known.digest;
        }
        let digest = make();
        let parts = parts.iter().map(|part| Phi::new(Box::from(*part))).collect();
        *slot = Some(Known { label, parts, digest });
        digest
    }
}

impl Known {
    fn is_of(&self, label: &[u8], parts: &[&str]) -> bool {
        self.label == label
            && self.parts.iter().map(|part| &**part.expose()).eq(parts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn what_is_remembered_is_of_these_very_texts_however_many_there_are() {
        let made = Made::new();
        let of = |label: &'static [u8], parts: &[&str]| {
            let text = format!("{label:?} {parts:?}");
            *digest(&SHA256, text.as_bytes()).as_ref().first_chunk::<TOKEN_BYTES>().unwrap()
        };
        let mut asked = 0;
        for round in 0..3 {
            for nth in 0..2 * SLOTS {
                let text = nth.to_string();
                for (label, parts) in
                    [(&b"a"[..], [&*text, "x"]), (b"b", [&*text, "x"]), (b"a", ["x", &*text])]
                {
                    let found = made.or_make(label, &parts, || {
                        asked += 1;
                        of(label, &parts)
                    });
                    assert_eq!(found, of(label, &parts), "{round}");
                }
            }
        }
        assert!(asked < 3 * 3 * 2 * SLOTS, "some are remembered");
        let long = "x".repeat(BYTES_MAX + 1);
        for digest in [[1; TOKEN_BYTES], [2; TOKEN_BYTES]] {
            assert_eq!(made.or_make(b"a", &[&long], || digest), digest);
        }
    }
}
