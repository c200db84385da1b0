//! Pseudonyms and digests, per realm.
//!
//! Promises: the same patient has the same token in one realm, and two realms' tokens and IDs
//! cannot be joined without their keys; the key of IDs is apart from that of tokens, so that
//! one can change without the other.
//! Knows nothing of: where the keys come from, and where random tokens are kept.

use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA256};

use super::made::Made;
use crate::event::{Subject, VisitNumber};
use crate::secret::{Key, hex};

/// The keys of one realm.
#[derive(Clone)]
pub struct RealmKeys {
    tokens: hmac::Key,
    ids: hmac::Key,
    made: Arc<Made>,
}

impl std::fmt::Debug for RealmKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("RealmKeys(..)")
    }
}

impl RealmKeys {
    /// Takes the key of tokens and hashes, and the key of IDs.
    #[must_use]
    pub fn new(tokens: &Key, ids: &Key) -> Self {
        let key = |key: &Key| hmac::Key::new(HMAC_SHA256, key.expose());
        Self { tokens: key(tokens), ids: key(ids), made: Arc::new(Made::new()) }
    }

    /// The subject's pseudonym in this realm.
    #[must_use]
    pub fn token(&self, subject: &Subject) -> String {
        self.digest(&self.tokens, b"subject", &[&subject.authority, subject.value.expose()])
    }

    /// A field's keyed hash. The path is part of it, so that equal values of different fields
    /// cannot be joined.
    #[must_use]
    pub fn hash(&self, path: &str, value: &str) -> String {
        self.digest(&self.tokens, b"field", &[path, value])
    }

    /// By how many days the subject's dates are moved in this realm: at most so many either way, and
    /// not by none.
    #[must_use]
    pub fn shift(&self, subject: &Subject, days: u16) -> i32 {
        let parts = [subject.authority.as_str(), subject.value.expose()];
        let tag = tag(&self.tokens, b"shift", &parts);
        let number =
            tag.as_ref().iter().take(8).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        let days = i32::from(days.max(1));
        // 64 bits over at most 732 days: nobody can tell that from an even chance.
        let span = u64::from(days.unsigned_abs()) * 2;
        let at = i32::try_from(number % span).unwrap_or(0);
        if at < days { at - days } else { at - days + 1 }
    }

    /// What tells this key of tokens from another, and says nothing of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.digest(&self.tokens, b"fingerprint", &[])
    }

    /// A keyed digest of an ID, so that a consumer can quote it and not guess what is behind.
    #[must_use]
    pub fn id(&self, id: &str) -> String {
        self.digest(&self.ids, b"id", &[id])
    }

    /// What names a visit in this realm. Under the key of IDs, which stays when that of tokens does not.
    #[must_use]
    pub fn visit(&self, visit: &VisitNumber) -> String {
        let VisitNumber { of, authority, value } = visit;
        self.digest(&self.ids, b"visit", &[of.name(), authority, value.expose()])
    }

    /// By the label it is known which of the keys is meant.
    fn digest(&self, key: &hmac::Key, label: &'static [u8], parts: &[&str]) -> String {
        hex(&self.made.or_make(label, parts, || {
            tag(key, label, parts).as_ref().first_chunk().copied().unwrap_or_default()
        }))
    }
}

/// The tokens that a payload names, which whoever releases has fetched before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the subject; none where the consumer knows it by no token.
    pub subject: Option<String>,
    /// Of the one that the subject stands for from now on.
    pub retired: Option<String>,
}

/// Over a label and texts, each behind its length.
fn tag(key: &hmac::Key, label: &[u8], parts: &[&str]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(label);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phi::Phi;

    fn realm(byte: u8) -> RealmKeys {
        let key = |byte| Key::from_bytes(&[byte; 32]).unwrap();
        RealmKeys::new(&key(byte), &key(byte + 1))
    }

    #[test]
    fn another_key_of_tokens_changes_tokens_and_hashes_and_no_id() {
        let key = |byte| Key::from_bytes(&[byte; 32]).unwrap();
        let (old, new) = (RealmKeys::new(&key(1), &key(9)), RealmKeys::new(&key(2), &key(9)));
        let who = Subject { authority: "MRN".to_owned(), value: Phi::new("1".to_owned()) };
        assert_ne!(old.token(&who), new.token(&who));
        assert_ne!(old.hash("a", "1"), new.hash("a", "1"));
        assert_ne!(old.fingerprint(), new.fingerprint());
        assert_eq!(old.id("ab-1"), new.id("ab-1"));
    }

    #[test]
    fn a_visit_has_another_key_in_another_realm_and_by_another_of_its_names() {
        use crate::event::Numbering;
        let visit = |of, authority: &str, value: &str| VisitNumber {
            of,
            authority: authority.to_owned(),
            value: Phi::new(value.to_owned()),
        };
        let (number, one) = (Numbering::Number, realm(1));
        let key = one.visit(&visit(number, "VISIT", "1"));
        assert_eq!(key, one.visit(&visit(number, "VISIT", "1")));
        for other in [
            realm(3).visit(&visit(number, "VISIT", "1")),
            one.visit(&visit(number, "VISIT", "2")),
            one.visit(&visit(number, "VISIT1", "")),
            one.visit(&visit(Numbering::PreadmitNumber, "VISIT", "1")),
            one.id("VISIT1"),
        ] {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn a_token_is_stable_in_its_realm_and_differs_in_another() {
        let subject = |authority: &str, value: &str| Subject {
            authority: authority.to_owned(),
            value: Phi::new(value.to_owned()),
        };
        let token = realm(1).token(&subject("MRN", "1"));
        assert_eq!(token.len(), 32);
        assert_eq!(token, realm(1).token(&subject("MRN", "1")));
        for other in [
            realm(3).token(&subject("MRN", "1")),
            realm(1).token(&subject("MRN", "2")),
            realm(1).token(&subject("MRN1", "")),
            realm(1).id("MRN1"),
            realm(1).hash("MRN", "1"),
        ] {
            assert_ne!(token, other);
        }
    }
}
