//! Evidence: what was decided and done, as a chain that nobody can edit unseen.
//!
//! Promises: a record names routes, fields, codes, tokens and keyed digests, and no value of a
//! patient's; the same record is always the same bytes.
//! Knows nothing of: files, SQL and the clock.
//!
//! Reading order: [`record`] (what one link says).

pub mod record;

pub use record::{Act, Consulted, Decision, Fate, Fields, Outcome, Record, Says};
