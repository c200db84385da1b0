//! Whether a contract wants an event.
//!
//! Promises: an event that is not selected is no decision; it is counted and goes no further.
//! Knows nothing of: consent.

use crate::event::Event;

use super::Contract;

/// Whether the contract names the event's type, and one of its tables `when` holds. History (MSH-11.2
/// A, R, I) is for contracts that ask for it.
#[must_use]
pub fn wants(contract: &Contract, event: &Event) -> bool {
    contract.events.contains(&event.kind)
        && (contract.history || !event.is_history())
        && contract.when.holds(event)
}
