//! In what form an event leaves.
//!
//! Promises: what is released is what the recipe names and nothing else; below tier
//! `identified` no ID of the hospital's leaves, only keyed digests of it.
//! Knows nothing of: how a contract is written, where the release goes.
//!
//! Reading order: [`tier`] (what may leave at most), [`transform`] (what is done to a field),
//! [`recipe`] (what a route lets out), [`shape`] (what that looks like), `made` (what was lately made of texts), [`token`] (pseudonyms and digests), `pick` (an event through a recipe), [`fate`] (what became of
//! each field), `envelope`, [`release`](mod@release) (all of it together).

#![deny(clippy::wildcard_enum_match_arm)]

pub mod tier;
pub mod transform;
pub mod recipe;
pub mod shape;
mod made;
pub mod token;
pub mod fate;
mod pick;
mod envelope;
pub mod release;

pub use fate::{Fate, Fates};
pub use recipe::Recipe;
pub use release::{Counts, Release, Supplies, Withheld, announce, release};
pub use shape::Shape;
pub use tier::Tier;
pub use token::{RealmKeys, Tokens};
pub use transform::{Form, Transform};
