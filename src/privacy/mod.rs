//! In what form an event leaves.
//!
//! Promises: what is released is what the recipe names and nothing else; below tier
//! `identified` no ID of the hospital's leaves, only keyed digests of it.
//! Knows nothing of: how a contract is written, where the release goes.
//!
//! Reading order: [`tier`] (what may leave at most), [`recipe`] (what a route lets out),
//! [`token`] (pseudonyms and digests), [`release`](mod@release) (an event through a recipe).

#![deny(clippy::wildcard_enum_match_arm)]

pub mod tier;
pub mod recipe;
pub mod token;
pub mod release;

pub use recipe::{Recipe, Transform};
pub use release::{Counts, Release, Supplies, Withheld, release};
pub use tier::Tier;
pub use token::RealmKeys;
