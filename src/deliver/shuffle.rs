//! An order that says nothing of the order in which things came.
//!
//! Promises: each number of a range comes exactly once; the same key and size give the same order;
//! without the key it cannot be told from one drawn by lot; it takes no memory to speak of, however
//! long the range.
//! Knows nothing of: what stands at the numbers.
//!
//! Swap or not (Hoang, Morris, Rogaway, 2012): each round pairs every number with another and swaps the
//! two, or does not, by a keyed bit of theirs. A Feistel network would want fewer rounds, and a range
//! that is a power of four: others would have to be walked, and small ones come out lopsided.

use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::secret::Key;

/// Rounds for each bit of the range's size: what Ethereum shuffles its validators by, whom it pays to
/// guess.
const ROUNDS_A_BIT: u32 = 4;
/// Rounds at least, so that the order of two is a fair toss.
const ROUNDS_MIN: u32 = 32;

/// An order of the numbers below a size.
pub struct Shuffle {
    key: hmac::Key,
    size: u64,
    /// What a number and its partner add up to, by round.
    pivots: Vec<u64>,
}

impl std::fmt::Debug for Shuffle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Shuffle(of {})", self.size)
    }
}

impl Shuffle {
    /// The order of the numbers below `size` by a key.
    #[must_use]
    pub fn new(key: &Key, size: u64) -> Self {
        let key = hmac::Key::new(HMAC_SHA256, key.expose());
        let bits = u64::BITS - size.leading_zeros();
        let rounds = (ROUNDS_A_BIT * bits).max(ROUNDS_MIN);
        let pivot = |round: u32| {
            // Of 128 bits, so that what the size leaves over does not show.
            let drawn = first(&key, b"pivot", round, 0);
            let left = drawn.checked_rem(u128::from(size)).unwrap_or(0);
            u64::try_from(left).unwrap_or(0)
        };
        let pivots = (0..rounds).map(pivot).collect();
        Self { key, size, pivots }
    }

    /// The number at a place; nothing behind the last.
    #[must_use]
    pub fn at(&self, place: u64) -> Option<u64> {
        if place >= self.size {
            return None;
        }
        let mut number = place;
        for (round, pivot) in (0..).zip(&self.pivots) {
            let partner = u128::from(*pivot) + u128::from(self.size) - u128::from(number);
            let partner = u64::try_from(partner % u128::from(self.size)).ok()?;
            if first(&self.key, b"swap", round, number.max(partner)) & 1 == 1 {
                number = partner;
            }
        }
        Some(number)
    }
}

/// What the key makes of a round and a number.
fn first(key: &hmac::Key, label: &[u8], round: u32, number: u64) -> u128 {
    let mut context = hmac::Context::with_key(key);
    context.update(label);
    context.update(&round.to_be_bytes());
    context.update(&number.to_be_bytes());
    let tag = context.sign();
    tag.as_ref().iter().take(16).fold(0, |drawn, byte| (drawn << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn order(seed: u64, size: u64) -> Vec<u64> {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let shuffle = Shuffle::new(&Key::from_bytes(&bytes).unwrap(), size);
        (0..).map_while(|place| shuffle.at(place)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn each_number_comes_once_and_the_same_key_gives_the_same_order(
            seed in any::<u64>(),
            size in 0_u64..600,
        ) {
            let found = order(seed, size);
            prop_assert_eq!(found.len() as u64, size);
            prop_assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), (0..size).collect());
            prop_assert_eq!(order(seed, size), found);
        }
    }

    #[test]
    fn of_the_largest_range_there_is_each_place_has_a_number() {
        let key = Key::from_bytes(&[1; 32]).unwrap();
        let shuffle = Shuffle::new(&key, u64::MAX);
        let drawn: BTreeSet<u64> = (0..20).filter_map(|place| shuffle.at(place)).collect();
        assert_eq!(drawn.len(), 20);
        assert_eq!(shuffle.at(u64::MAX), None);
    }

    /// Each of the 24 orders of four, as often as the others; 2,400 draws, whose counts a fair lot
    /// would leave within five standard deviations of 100.
    #[test]
    fn every_order_of_a_few_comes_as_often_as_any_other() {
        let mut counts: BTreeMap<Vec<u64>, u32> = BTreeMap::new();
        for seed in 0..2_400 {
            *counts.entry(order(seed, 4)).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        for (order, count) in counts {
            assert!((50..=150).contains(&count), "{order:?} came {count} times");
        }
    }

    /// Who stands next to each other tells nothing: of 2,000 neighbours one in 1,000 came one after the
    /// other, by chance.
    #[test]
    fn what_came_one_after_the_other_does_not_leave_so() {
        let near = |order: &[u64]| {
            let next = order.windows(2).filter(|two| two[0].abs_diff(two[1]) == 1).count();
            let rising = order.windows(2).filter(|two| two[0] < two[1]).count();
            (next, rising)
        };
        let (next, rising) = near(&order(1, 2_000));
        assert!(next <= 12, "{next} neighbours stayed together");
        assert!((900..=1_100).contains(&rising), "{rising} of 1,999 rise");
    }
}
