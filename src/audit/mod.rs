//! Evidence: what was decided and done, as a chain that nobody can edit unseen.
//!
//! Promises: a record names routes, fields, codes, tokens and keyed digests, and no value of a
//! patient's; the same record is always the same bytes.
//! Knows nothing of: files, SQL and the clock.
//!
//! Reading order: [`record`] (what one link says), [`common`] (what many of them say alike), [`draft`]
//! (one that has no number yet), [`by`] (what it is found by), [`chain`] (how links hang together),
//! [`checkpoint`] (what is kept elsewhere), [`account`] (what left about a subject), [`fhir`] (a record
//! for others), [`sentence`](mod@sentence) (a decision in words).

pub mod record;
pub mod common;
pub mod draft;
pub mod by;
pub mod chain;
pub mod checkpoint;
pub mod account;
pub mod fhir;
pub mod sentence;

pub use by::By;
pub use chain::{Broken, Hash, Verifier};
pub use checkpoint::{Checkpoint, Signer};
pub use common::Common;
pub use draft::Draft;
pub use record::{Act, Consulted, Decision, Fields, Outcome, Record, Says, Under};
pub use sentence::{Names, sentence};
