//! Encryption of what the store keeps: AES-256-GCM under data keys, data keys under the master
//! key.
//!
//! Promises: a nonce is used once with a key: each start and each day has a data key of its
//! own, and a counter runs within it; what is kept for one row does not open in another, nor
//! where what the row says in clear was changed, nor where it is not encrypted.
//! Knows nothing of: SQL.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;

use super::StoreError;
use crate::admit::DigestKey;
use crate::secret::{Key, SecretError};

/// What is sealed: a part of its authenticated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The events of a message.
    Content,
    /// Its bytes.
    Raw,
    /// A record of the consent ledger.
    Consent,
    /// What was said of two subjects.
    Act,
    /// Whose consent time will change.
    Subject,
    /// What a feed remembers.
    Kept,
    /// What was told of a visit.
    Told,
}

impl Part {
    const fn label(self) -> u8 {
        match self {
            Self::Content => b'c',
            Self::Raw => b'r',
            Self::Consent => b'p',
            Self::Act => b'a',
            Self::Subject => b's',
            Self::Kept => b'k',
            Self::Told => b't',
        }
    }
}

/// What a row says in clear, which is authenticated with what is sealed in it.
#[derive(Clone, Copy, Debug)]
pub struct Clear<'c> {
    /// Its number.
    pub number: u64,
    /// When the message came in.
    pub at: i64,
    /// The feed.
    pub feed: &'c str,
    /// Type and trigger.
    pub kind: &'c str,
    /// What became of it.
    pub status: &'c str,
    /// Its epoch.
    pub epoch: u32,
}

impl Clear<'_> {
    /// All of it as bytes, each text behind its length.
    fn bytes(&self, part: Part) -> Vec<u8> {
        let mut out = vec![part.label()];
        out.extend(self.number.to_be_bytes());
        out.extend(self.at.to_be_bytes());
        out.extend(self.epoch.to_be_bytes());
        for text in [self.feed, self.kind, self.status] {
            out.extend((text.len() as u64).to_be_bytes());
            out.extend(text.as_bytes());
        }
        out
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

/// Seals under one data key; where `[journal] encrypt` is false, it only adds a digest.
pub struct Sealer {
    key: Lock,
    id: i64,
    counter: u64,
}

enum Lock {
    Sealed(LessSafeKey),
    Clear(Box<DigestKey>),
}

impl Sealer {
    /// Takes a data key that was never used.
    ///
    /// # Errors
    /// The key does not fit the algorithm, which a key of 32 bytes does.
    pub fn new(id: i64, key: &Key) -> Result<Self, StoreError> {
        Ok(Self { key: Lock::Sealed(aead(key)?), id, counter: 0 })
    }

    /// Writes bytes as they are, with a digest that says whether they still are.
    #[must_use]
    pub fn open(digests: DigestKey) -> Self {
        Self { key: Lock::Clear(Box::new(digests)), id: NO_KEY, counter: 0 }
    }

    /// Seals bytes for a row: key number, nonce, ciphertext, tag.
    ///
    /// # Errors
    /// The counter is at its end, which no day reaches.
    pub fn seal(
        &mut self,
        clear: &Clear<'_>,
        part: Part,
        bytes: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let sealed = || StoreError::Sealed { what: format!("message {}", clear.number) };
        self.counter = self.counter.checked_add(1).ok_or_else(sealed)?;
        let nonce = nonce_of(self.counter);
        let mut out = Vec::with_capacity(HEAD_BYTES + bytes.len() + TAG_BYTES);
        out.extend(self.id.to_be_bytes());
        out.extend(self.counter.to_be_bytes());
        out.extend(bytes);
        let aad = clear.bytes(part);
        match &self.key {
            Lock::Sealed(key) => {
                let body = out.get_mut(HEAD_BYTES..).ok_or_else(sealed)?;
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body);
                out.extend(tag.map_err(|_| sealed())?.as_ref());
            }
            Lock::Clear(digests) => out.extend(digests.record(&aad, bytes).0),
        }
        Ok(out)
    }
}

/// The key number of what is not sealed.
pub const NO_KEY: i64 = 0;
/// Key number and counter.
const HEAD_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Opens what was sealed under any data key, or kept without one.
pub struct Opener {
    keys: HashMap<i64, LessSafeKey>,
    digests: DigestKey,
}

impl Opener {
    /// Without data keys yet.
    #[must_use]
    pub fn new(digests: DigestKey) -> Self {
        Self { keys: HashMap::new(), digests }
    }

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
    pub fn open(
        &self,
        clear: &Clear<'_>,
        part: Part,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let broken = || StoreError::Sealed { what: format!("message {}", clear.number) };
        let aad = clear.bytes(part);
        let id = Self::key_of(sealed).ok_or_else(broken)?;
        let (head, body) = sealed.split_at_checked(HEAD_BYTES).ok_or_else(broken)?;
        if id == NO_KEY {
            let (bytes, digest) = body.split_last_chunk::<TAG_BYTES>().ok_or_else(broken)?;
            let expected = self.digests.record(&aad, bytes);
            verify_slices_are_equal(&expected.0, digest).map_err(|_| broken())?;
            return Ok(bytes.to_vec());
        }
        let key = self.keys.get(&id).ok_or_else(broken)?;
        let counter = head.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let nonce = nonce_of(counter.ok_or_else(broken)?);
        let mut bytes = body.to_vec();
        let length =
            key.open_in_place(nonce, Aad::from(aad), &mut bytes).map_err(|_| broken())?.len();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes(&[byte; 32]).unwrap()
    }

    const ROW: Clear<'_> =
        Clear { number: 42, at: 1_000, feed: "adt", kind: "ADT^A01", status: "admitted", epoch: 1 };

    fn assert_opens_in_its_own_row_only(mut sealer: Sealer) {
        let mut opener = Opener::new(DigestKey::new(&key(3)));
        opener.add(7, &key(1)).unwrap();
        let sealed = sealer.seal(&ROW, Part::Raw, b"ZZCANARY").unwrap();
        assert_eq!(opener.open(&ROW, Part::Raw, &sealed).unwrap(), b"ZZCANARY");
        assert!(opener.open(&ROW, Part::Content, &sealed).is_err());
        for other in [
            Clear { number: 43, ..ROW },
            Clear { at: 1_001, ..ROW },
            Clear { feed: "lab", ..ROW },
            Clear { kind: "ADT^A03", ..ROW },
            Clear { status: "parked", ..ROW },
            Clear { epoch: 0, ..ROW },
        ] {
            assert!(opener.open(&other, Part::Raw, &sealed).is_err(), "{other:?}");
        }
        // The counter is the nonce, of which nothing depends where nothing is encrypted.
        let counts = |at: &usize| matches!(sealer.key, Lock::Sealed(_)) || !(8..16).contains(at);
        for at in (0..sealed.len()).filter(counts) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opener.open(&ROW, Part::Raw, &changed).is_err(), "byte {at}");
        }
        assert_ne!(sealed, sealer.seal(&ROW, Part::Raw, b"ZZCANARY").unwrap());
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_row_only() {
        let mut sealer = Sealer::new(7, &key(1)).unwrap();
        let sealed = sealer.seal(&ROW, Part::Raw, b"ZZCANARY").unwrap();
        assert!(!sealed.windows(8).any(|bytes| bytes == b"ZZCANARY"));
        assert_opens_in_its_own_row_only(sealer);
    }

    #[test]
    fn what_is_not_encrypted_opens_in_its_own_row_only_too() {
        assert_opens_in_its_own_row_only(Sealer::open(DigestKey::new(&key(3))));
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
