//! Whether a message is new, a duplicate or a conflict; and what one journal entry holds.
//!
//! Promises: the same message has the same correlation ID for good, and its events the same
//! event IDs; other content under the same control ID is never taken for the same message.
//! Knows nothing of: the store. What it knows of earlier messages is handed in.
//!
//! Reading order: [`correlation`] (how a message and its events are named), [`digest`] (when
//! two are the same), [`identity`] (which patient it is about), [`decide`] (new or not),
//! [`entry`] (what is kept), [`sender`] (for whom it may speak), [`profile`] (how it describes that one),
//! `acts` (whom it merges), [`labels`] (what is sensitive in it), `restrictions`, [`consents`] and
//! `protect` (what it says of consent), [`assess`] (a frame to all of that), [`about`] and
//! [`resource`] (a FHIR resource to all of that), [`import`] (a file to the
//! same).

pub mod correlation;
pub mod digest;
pub mod identity;
pub mod decide;
pub mod entry;
pub mod sender;
pub mod profile;
mod acts;
pub mod labels;
mod restrictions;
pub mod consents;
mod protect;
pub mod import;
pub mod assess;
pub mod about;
pub mod before;
pub mod resource;

pub use correlation::{Correlation, CorrelationId};
pub use decide::{Known, Novelty, Windows, novelty};
pub use digest::{Digest, DigestKey, Named};
pub use entry::{Admission, Content, Entry, Fact};
pub use identity::Identity;
