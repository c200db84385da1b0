//! How links hang together: each hash is over the one before it and the record's bytes.
//!
//! Promises: of a chain of which anything was changed, taken out, put in or moved, the first
//! record that is not what was written is named, and what is wrong with it.
//! Knows nothing of: who keeps the chain. Who can write all of it can make another one that holds
//! together; that is what checkpoints elsewhere are for.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::record::Record;

/// What a link is held by.
pub type Hash = [u8; 32];

/// Where the chain of that ID begins.
#[must_use]
pub fn genesis(chain: &str) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(b"tidegate audit chain 1\n");
    context.update(chain.as_bytes());
    finish(context)
}

/// The hash of a link.
// PROMISE-9: it holds every byte before it.
#[must_use]
pub fn next(before: &Hash, bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(bytes);
    finish(context)
}

fn finish(context: Context) -> Hash {
    // SHA-256 has 32 bytes.
    context.finish().as_ref().try_into().unwrap_or([0; 32])
}

/// The first link that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub number: u64,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The next one that is there has this number.
    Missing {
        /// The number.
        found: u64,
    },
    /// Its number was there before.
    OutOfOrder,
    /// Its hash is not the one over the link before it and its bytes.
    Hash,
    /// Its bytes are no record, or not as a record is written.
    Bytes,
    /// Its bytes say another number.
    Number,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.wrong {
            Wrong::Missing { found } => {
                write!(out, "record {number} is missing; the next one that is there is {found}")
            }
            Wrong::OutOfOrder => write!(out, "record {number} is there a second time"),
            Wrong::Hash => write!(
                out,
                "record {number} was changed: its hash does not follow from the one before it \
                 and its bytes"
            ),
            Wrong::Bytes => write!(out, "record {number} is not as a record is written"),
            Wrong::Number => write!(out, "record {number} says another number of itself"),
        }
    }
}

/// Follows a chain, link by link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verifier {
    number: u64,
    hash: Hash,
}

impl Verifier {
    /// From the beginning.
    #[must_use]
    pub fn new(chain: &str) -> Self {
        Self::after(0, genesis(chain))
    }

    /// From behind a link.
    #[must_use]
    pub const fn after(number: u64, hash: Hash) -> Self {
        Self { number, hash }
    }

    /// The number of the last link.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The hash of the last link.
    #[must_use]
    pub const fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Takes the next link; gives what it says.
    ///
    /// # Errors
    /// What is wrong with it.
    // PROMISE-9
    pub fn take(&mut self, number: u64, hash: &[u8], bytes: &[u8]) -> Result<Record, Broken> {
        let wanted = self.number + 1;
        if number > wanted {
            return Err(Broken { number: wanted, wrong: Wrong::Missing { found: number } });
        }
        let broken = |wrong| Broken { number, wrong };
        if number < wanted {
            return Err(broken(Wrong::OutOfOrder));
        }
        let expected = next(&self.hash, bytes);
        if hash != expected {
            return Err(broken(Wrong::Hash));
        }
        let record = read(bytes).ok_or_else(|| broken(Wrong::Bytes))?;
        if record.number != number {
            return Err(broken(Wrong::Number));
        }
        *self = Self { number, hash: expected };
        Ok(record)
    }
}

/// Reads a record, if these are the bytes that it is written as.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Record> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    (serde_json::to_vec(&record).ok()? == bytes).then_some(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Act, Draft, Says};

    type Row = (u64, Vec<u8>, Vec<u8>);

    fn chain_of(count: u64) -> Vec<Row> {
        let mut verifier = Verifier::new("c0");
        let mut rows = Vec::new();
        for number in 1..=count {
            let act = Act {
                act: "start".to_owned(),
                who: "tidegate".to_owned(),
                with: [("nth".to_owned(), number.to_string())].into(),
            };
            let at = "2026-11-22T12:00:00Z".parse().unwrap();
            let bytes = Draft::new(&at, &Says::Act(act)).unwrap().bytes(number).to_vec();
            let hash = next(verifier.hash(), &bytes).to_vec();
            verifier.take(number, &hash, &bytes).unwrap();
            rows.push((number, hash, bytes));
        }
        rows
    }

    fn verify(rows: &[Row]) -> Result<Verifier, Broken> {
        let mut verifier = Verifier::new("c0");
        for (number, hash, bytes) in rows {
            verifier.take(*number, hash, bytes)?;
        }
        Ok(verifier)
    }

    proptest! {
        /// PROMISE-9
        #[test]
        fn any_change_of_any_byte_is_named_by_its_record(
            at in 0_usize..20, byte in 0_usize..4096, bit in 0_u8..8, of_hash: bool,
        ) {
            let mut rows = chain_of(20);
            let (number, hash, bytes) = &mut rows[at];
            let changed = if of_hash { hash } else { bytes };
            let byte = byte % changed.len();
            changed[byte] ^= 1 << bit;
            let wanted = Broken { number: *number, wrong: Wrong::Hash };
            prop_assert_eq!(verify(&rows), Err(wanted));
        }

        /// PROMISE-9
        #[test]
        fn what_is_taken_out_put_in_or_moved_is_named(at in 0_usize..19, to in 0_usize..19) {
            let whole = chain_of(20);
            let mut rows = whole.clone();
            let taken = rows.remove(at);
            let missing = Wrong::Missing { found: taken.0 + 1 };
            prop_assert_eq!(verify(&rows), Err(Broken { number: taken.0, wrong: missing }));
            // With the numbers closed up, the next one does not follow.
            let closed: Vec<Row> =
                (1..).zip(&rows).map(|(number, row)| (number, row.1.clone(), row.2.clone())).collect();
            prop_assert_eq!(
                verify(&closed), Err(Broken { number: taken.0, wrong: Wrong::Hash })
            );
            let mut rows = whole.clone();
            rows.insert(at + 1, whole[at].clone());
            let twice = Broken { number: whole[at].0, wrong: Wrong::OutOfOrder };
            prop_assert_eq!(verify(&rows), Err(twice));
            if at != to {
                let mut rows = whole.clone();
                rows.swap(at, to);
                let first = whole[at.min(to)].0;
                prop_assert_eq!(verify(&rows).unwrap_err().number, first);
            }
            // A tail that is cut is whole in itself; the number tells, by a checkpoint.
            prop_assert_eq!(verify(&whole[..at]).unwrap().number(), at as u64);
        }
    }

    /// PROMISE-9
    #[test]
    fn bytes_that_no_record_is_written_as_are_named_though_their_hash_is_right() {
        let rows = chain_of(1);
        let spaced = String::from_utf8(rows[0].2.clone()).unwrap().replace(r#""at":"#, r#""at": "#);
        let other =
            String::from_utf8(rows[0].2.clone()).unwrap().replace(r#""number":1"#, r#""number":2"#);
        for (bytes, wrong) in [(spaced, Wrong::Bytes), (other, Wrong::Number)] {
            let hash = next(&genesis("c0"), bytes.as_bytes());
            let broken = Verifier::new("c0").take(1, &hash, bytes.as_bytes()).unwrap_err();
            assert_eq!(broken, Broken { number: 1, wrong });
        }
    }
}
