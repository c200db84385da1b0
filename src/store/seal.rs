//! Encryption of what the store keeps: AES-256-GCM under data keys, data keys under the master
//! key.
//!
//! Promises: a nonce is used once with a key: each start and each day has a data key of its
//! own, and a counter runs within it; what is sealed for one row does not open in another.
//! Knows nothing of: SQL.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;

use super::StoreError;
use crate::secret::{Key, SecretError};

/// What is sealed: a part of its authenticated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The events of a message.
    Content,
    /// Its bytes.
    Raw,
}

impl Part {
    const fn label(self) -> u8 {
        match self {
            Self::Content => b'c',
            Self::Raw => b'r',
        }
    }
}

/// Wraps keys by the master key.
#[derive(Clone)]
pub struct Master(Arc<LessSafeKey>);

impl Master {
    /// Takes the master key.
    ///
    /// # Errors
    /// The key does not fit the algorithm, which a key of 32 bytes does.
    pub fn new(key: &Key) -> Result<Self, StoreError> {
        aead(key).map(Arc::new).map(Self)
    }

    /// Wraps a key: a random nonce, then the sealed key.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn wrap(&self, purpose: &str, key: &Key) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SecretError::NoRandomness)?;
        let mut sealed = key.expose().to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SecretError::NoRandomness)?;
        let mut wrapped = nonce.to_vec();
        wrapped.append(&mut sealed);
        Ok(wrapped)
    }

    /// Unwraps a key.
    ///
    /// # Errors
    /// The master key is another, or the key was changed.
    pub fn unwrap(&self, purpose: &str, wrapped: &[u8]) -> Result<Key, StoreError> {
        let sealed = || StoreError::Sealed { what: format!("the {purpose} key of the store") };
        let (nonce, bytes) = wrapped.split_at_checked(NONCE_LEN).ok_or_else(sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| sealed())?;
        let mut bytes = zeroize::Zeroizing::new(bytes.to_vec());
        let opened = self
            .0
            .open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut bytes)
            .map_err(|_| sealed())?;
        Key::from_bytes(opened).ok_or_else(sealed)
    }
}

/// Seals under one data key, or under none where `[journal] encrypt` is false.
pub struct Sealer {
    key: Option<LessSafeKey>,
    id: i64,
    counter: u64,
}

impl Sealer {
    /// Takes a data key that was never used.
    ///
    /// # Errors
    /// The key does not fit the algorithm, which a key of 32 bytes does.
    pub fn new(id: i64, key: &Key) -> Result<Self, StoreError> {
        Ok(Self { key: Some(aead(key)?), id, counter: 0 })
    }

    /// Writes bytes as they are.
    #[must_use]
    pub const fn open() -> Self {
        Self { key: None, id: NO_KEY, counter: 0 }
    }

    /// Seals bytes for a row: key number, nonce, ciphertext, tag.
    ///
    /// # Errors
    /// The counter is at its end, which no day reaches.
    pub fn seal(&mut self, number: u64, part: Part, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let sealed = || StoreError::Sealed { what: format!("message {number}") };
        self.counter = self.counter.checked_add(1).ok_or_else(sealed)?;
        let nonce = nonce_of(self.counter);
        let mut out = Vec::with_capacity(HEAD_BYTES + bytes.len() + TAG_BYTES);
        out.extend(self.id.to_be_bytes());
        out.extend(self.counter.to_be_bytes());
        out.extend(bytes);
        let Some(key) = &self.key else { return Ok(out) };
        let body = out.get_mut(HEAD_BYTES..).ok_or_else(sealed)?;
        let tag =
            key.seal_in_place_separate_tag(nonce, aad(number, part), body).map_err(|_| sealed())?;
        out.extend(tag.as_ref());
        Ok(out)
    }
}

/// The key number of what is not sealed.
pub const NO_KEY: i64 = 0;
/// Key number and counter.
const HEAD_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Opens what was sealed under any data key.
#[derive(Default)]
pub struct Opener {
    keys: HashMap<i64, LessSafeKey>,
}

impl Opener {
    /// The number of the data key that something is sealed under.
    #[must_use]
    pub fn key_of(sealed: &[u8]) -> Option<i64> {
        sealed.first_chunk().map(|bytes| i64::from_be_bytes(*bytes))
    }

    /// Whether a data key is at hand.
    #[must_use]
    pub fn has(&self, id: i64) -> bool {
        id == NO_KEY || self.keys.contains_key(&id)
    }

    /// Takes a data key.
    ///
    /// # Errors
    /// The key does not fit the algorithm, which a key of 32 bytes does.
    pub fn add(&mut self, id: i64, key: &Key) -> Result<(), StoreError> {
        self.keys.insert(id, aead(key)?);
        Ok(())
    }

    /// Opens what was sealed for a row.
    ///
    /// # Errors
    /// It was changed, or belongs to another row.
    pub fn open(&self, number: u64, part: Part, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let broken = || StoreError::Sealed { what: format!("message {number}") };
        let id = Self::key_of(sealed).ok_or_else(broken)?;
        let (head, body) = sealed.split_at_checked(HEAD_BYTES).ok_or_else(broken)?;
        if id == NO_KEY {
            return Ok(body.to_vec());
        }
        let key = self.keys.get(&id).ok_or_else(broken)?;
        let counter = head.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let nonce = nonce_of(counter.ok_or_else(broken)?);
        let mut bytes = body.to_vec();
        let length =
            key.open_in_place(nonce, aad(number, part), &mut bytes).map_err(|_| broken())?.len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn aead(key: &Key) -> Result<LessSafeKey, StoreError> {
    let unbound = UnboundKey::new(&AES_256_GCM, key.expose());
    let unfit = |_| StoreError::Sealed { what: "a key".to_owned() };
    unbound.map(LessSafeKey::new).map_err(unfit)
}

fn nonce_of(counter: u64) -> Nonce {
    let [a, b, c, d, e, f, g, h] = counter.to_be_bytes();
    Nonce::assume_unique_for_key([0, 0, 0, 0, a, b, c, d, e, f, g, h])
}

fn aad(number: u64, part: Part) -> Aad<[u8; 9]> {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    Aad::from([part.label(), a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_row_only() {
        let mut sealer = Sealer::new(7, &key(1)).unwrap();
        let mut opener = Opener::default();
        opener.add(7, &key(1)).unwrap();
        let sealed = sealer.seal(42, Part::Raw, b"ZZCANARY").unwrap();
        assert!(!sealed.windows(8).any(|bytes| bytes == b"ZZCANARY"));
        assert_eq!(opener.open(42, Part::Raw, &sealed).unwrap(), b"ZZCANARY");
        assert!(opener.open(43, Part::Raw, &sealed).is_err());
        assert!(opener.open(42, Part::Content, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opener.open(42, Part::Raw, &changed).is_err(), "byte {at}");
        }
        assert_ne!(sealed, sealer.seal(42, Part::Raw, b"ZZCANARY").unwrap());
    }

    #[test]
    fn a_wrapped_key_opens_with_its_master_key_only() {
        let master = Master::new(&key(1)).unwrap();
        let wrapped = master.wrap("data", &key(9)).unwrap();
        assert_eq!(master.unwrap("data", &wrapped).unwrap().expose(), key(9).expose());
        assert!(master.unwrap("digest", &wrapped).is_err());
        assert!(Master::new(&key(2)).unwrap().unwrap("data", &wrapped).is_err());
        assert!(master.unwrap("data", b"short").is_err());
    }
}
