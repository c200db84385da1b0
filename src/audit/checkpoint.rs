//! What is kept elsewhere: which hash the chain had at which number, signed.
//!
//! Promises: a checkpoint holds everything up to its number, so that who keeps one elsewhere can
//! tell when the chain was cut, set back or written anew; it is written as one line, and a line of
//! which any byte was changed is refused.
//! Knows nothing of: files and brokers.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::Hash;
use super::record::rfc3339;
use crate::secret::{Key, hex, unhex};

/// What every signature begins with, so that it is not one of something else.
const LABEL: &[u8] = b"tidegate audit checkpoint 1\n";

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The chain's ID.
    pub chain: String,
    /// The number of the newest record.
    pub number: u64,
    /// Its hash: 64 hexadecimal digits.
    pub hash: String,
    /// When it was signed.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The daemon.
    pub node: String,
    /// The public key (Ed25519): 64 hexadecimal digits.
    pub key: String,
    /// The signature: 128 hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
}

/// Why a checkpoint is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongCheckpoint {
    /// It is no line of ours.
    #[error("is not a checkpoint as it is written")]
    Line,
    /// It is signed by another key.
    #[error("is signed by another key than the one given")]
    Key,
    /// The signature is not of it.
    #[error("was changed: its signature is not of what it says")]
    Signature,
}

impl Checkpoint {
    /// Reads a line.
    ///
    /// # Errors
    /// It is not as a checkpoint is written.
    pub fn read(line: &str) -> Result<Self, WrongCheckpoint> {
        let read: Self = serde_json::from_str(line).map_err(|_| WrongCheckpoint::Line)?;
        let digits = |text: &str, bytes: usize| {
            unhex(text).is_some_and(|read| read.len() == bytes && hex(&read) == text)
        };
        let right = digits(&read.hash, 32) && digits(&read.key, 32) && digits(&read.signature, 64);
        if right && read.line() == line { Ok(read) } else { Err(WrongCheckpoint::Line) }
    }

    /// The line, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        // Strings, a number and a time are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it is signed, by a key where one is given: 64 hexadecimal digits.
    ///
    /// # Errors
    /// It is not.
    // PROMISE-9
    pub fn check(&self, key: Option<&str>) -> Result<(), WrongCheckpoint> {
        if key.is_some_and(|key| key != self.key) {
            return Err(WrongCheckpoint::Key);
        }
        let public = unhex(&self.key).ok_or(WrongCheckpoint::Signature)?;
        let signature = unhex(&self.signature).ok_or(WrongCheckpoint::Signature)?;
        UnparsedPublicKey::new(&ED25519, &public)
            .verify(&self.signed(), &signature)
            .map_err(|_| WrongCheckpoint::Signature)
    }

    /// What is signed: the line without the signature, behind the label.
    fn signed(&self) -> Vec<u8> {
        let bare = Self { signature: String::new(), ..self.clone() };
        [LABEL, bare.line().as_bytes()].concat()
    }
}

/// Who signs.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Signer({})", self.public)
    }
}

impl Signer {
    /// A signer from its seed.
    #[must_use]
    pub fn new(seed: &Key) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok()?;
        let public = hex(pair.public_key().as_ref());
        Some(Self { pair, public })
    }

    /// The public key: 64 hexadecimal digits.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Signs where the chain is.
    #[must_use]
    pub fn sign(
        &self,
        chain: &str,
        number: u64,
        hash: &Hash,
        at: Timestamp,
        node: &str,
    ) -> Checkpoint {
        let bare = Checkpoint {
            chain: chain.to_owned(),
            number,
            hash: hex(hash),
            at,
            node: node.to_owned(),
            key: self.public.clone(),
            signature: String::new(),
        };
        let signature = hex(self.pair.sign(&bare.signed()).as_ref());
        Checkpoint { signature, ..bare }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Checkpoint {
        let signer = Signer::new(&Key::from_bytes(&[7; 32]).unwrap()).unwrap();
        let at = "2026-11-22T12:00:00.000001Z".parse().unwrap();
        signer.sign("c0", 9, &[3; 32], at, "gate-1")
    }

    /// PROMISE-9
    #[test]
    fn a_checkpoint_of_which_any_byte_is_another_is_refused() {
        let checkpoint = signed();
        let line = checkpoint.line();
        assert_eq!(Checkpoint::read(&line).unwrap(), checkpoint);
        checkpoint.check(None).unwrap();
        checkpoint.check(Some(&checkpoint.key)).unwrap();
        assert_eq!(checkpoint.check(Some("00")).unwrap_err(), WrongCheckpoint::Key);
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone().into_bytes();
                changed[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(changed) else { continue };
                let accepted =
                    Checkpoint::read(&changed).is_ok_and(|read| read.check(None).is_ok());
                assert!(!accepted, "byte {at}, bit {bit}");
            }
        }
    }
}
