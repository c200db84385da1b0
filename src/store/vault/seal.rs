//! What vault.db holds of subjects and tokens: keyed digests, and sealed names.
//!
//! Promises: without the vault's key the file says neither whom a token stands for nor which token
//! a consumer has; what is sealed for one row opens in no other.
//! Knows nothing of: SQL, and the keys of the journal and of realms.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use super::super::StoreError;
use super::FILE;
use crate::admit::Digest;
use crate::event::Subject;
use crate::phi::Phi;
use crate::secret::{Key, SecretError, hex};

/// The keys that are derived from the vault's.
pub(super) struct Seals {
    digests: hmac::Key,
    seal: LessSafeKey,
}

/// What stands sealed in a row.
#[derive(Serialize, Deserialize)]
struct Sealed {
    token: String,
    authority: String,
    value: String,
}

/// What a row says in clear, which is authenticated with what is sealed in it.
#[derive(Clone, Copy)]
pub(super) struct Row<'r> {
    pub realm: &'r str,
    pub subject: &'r Digest,
    pub epoch: i64,
}

impl Seals {
    pub fn new(key: &Key) -> Result<Self, StoreError> {
        let root = hmac::Key::new(HMAC_SHA256, key.expose());
        let derived = |label: &str| hmac::sign(&root, label.as_bytes());
        let digests = hmac::Key::new(HMAC_SHA256, derived("tidegate vault digests 1").as_ref());
        let unbound = UnboundKey::new(&AES_256_GCM, derived("tidegate vault seal 1").as_ref());
        let seal = unbound.map(LessSafeKey::new).map_err(|_| broken())?;
        Ok(Self { digests, seal })
    }

    /// What says that a file was made with this key.
    pub fn mark(&self) -> String {
        hex(&self.digest(b"mark", &[]).0)
    }

    /// What a subject's rows in a realm are found by.
    pub fn subject(&self, realm: &str, subject: &Subject) -> Digest {
        self.digest(b"subject", &[realm, &subject.authority, subject.value.expose()])
    }

    /// What a token of a realm is found by.
    pub fn token(&self, realm: &str, token: &str) -> Digest {
        self.digest(b"token", &[realm, token])
    }

    fn digest(&self, label: &[u8], parts: &[&str]) -> Digest {
        let mut context = hmac::Context::with_key(&self.digests);
        context.update(label);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        Digest(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// Seals a token and whom it stands for: a random nonce, ciphertext, tag. Random, since a
    /// counter would have to be kept; 2^32 tokens are far from where two nonces may meet.
    pub fn seal(
        &self,
        row: Row<'_>,
        token: &str,
        subject: &Subject,
    ) -> Result<Vec<u8>, StoreError> {
        let plain = Sealed {
            token: token.to_owned(),
            authority: subject.authority.clone(),
            value: subject.value.expose().clone(),
        };
        let mut body = serde_json::to_vec(&plain).map_err(|_| broken())?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SecretError::NoRandomness)?;
        let mut out = nonce.to_vec();
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(row.bytes()),
                &mut body,
            )
            .map_err(|_| broken())?;
        out.append(&mut body);
        Ok(out)
    }

    /// Opens what was sealed for a row.
    pub fn open(&self, row: Row<'_>, sealed: &[u8]) -> Result<(String, Subject), StoreError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut body = body.to_vec();
        let opened = self.seal.open_in_place(nonce, Aad::from(row.bytes()), &mut body);
        let opened = opened.map_err(|_| broken())?;
        let Sealed { token, authority, value } =
            serde_json::from_slice(opened).map_err(|_| broken())?;
        Ok((token, Subject { authority, value: Phi::new(value) }))
    }
}

impl Row<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"tidegate vault row 1".to_vec();
        out.extend((self.realm.len() as u64).to_be_bytes());
        out.extend(self.realm.as_bytes());
        out.extend(self.subject.0);
        out.extend(self.epoch.to_be_bytes());
        out
    }
}

fn broken() -> StoreError {
    StoreError::Corrupt { what: format!("a token of {FILE}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_own_row_with_its_own_key_only() {
        let seals = |byte| Seals::new(&Key::from_bytes(&[byte; 32]).unwrap()).unwrap();
        let who = Subject { authority: "MRN".into(), value: Phi::new("ZZ1".into()) };
        let digest = seals(1).subject("care", &who);
        assert_ne!(digest, seals(1).subject("research", &who), "two realms share nothing");
        assert_ne!(digest, seals(2).subject("care", &who));
        let row = Row { realm: "care", subject: &digest, epoch: 1 };
        let sealed = seals(1).seal(row, "t", &who).unwrap();
        assert!(!sealed.windows(3).any(|bytes| bytes == b"ZZ1"));
        assert_eq!(seals(1).open(row, &sealed).unwrap(), ("t".to_owned(), who.clone()));
        let other = Digest([7; 16]);
        for wrong in [
            Row { realm: "research", ..row },
            Row { subject: &other, ..row },
            Row { epoch: 2, ..row },
        ] {
            assert!(seals(1).open(wrong, &sealed).is_err());
        }
        assert!(seals(2).open(row, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seals(1).open(row, &changed).is_err(), "byte {at}");
        }
        assert_ne!(sealed, seals(1).seal(row, "t", &who).unwrap());
    }
}
