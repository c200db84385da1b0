//! An event to a release: select, ask, release.
//!
//! Promises: asked when the event is about to leave, and again at every retry; what is asked
//! and what is released are the same event.
//! Knows nothing of: sinks.

use crate::consent::{Question, ask};
use crate::contract::Contract;
use crate::privacy::{RealmKeys, Release, Supplies, Withheld, release};

use super::queue::Item;

/// Decides about an event now, and puts it into its form.
///
/// # Errors
/// [`Withheld`], which does not occur unless the code is wrong.
pub fn decide(
    contract: &Contract,
    item: &Item,
    keys: &RealmKeys,
    node: &str,
    jurisdiction: Option<&str>,
) -> Result<Release, Withheld> {
    let question = Question {
        event: &item.event.id,
        route: &contract.name,
        purpose: &contract.purpose,
        jurisdiction,
    };
    let permit = ask(&question, &contract.requirement);
    let source = format!("tidegate/{node}/{}", item.feed);
    let supplies = Supplies {
        keys,
        source: &source,
        correlation_id: &item.correlation_id,
        sequence: item.sequence,
        route: &contract.name,
        contract: &contract.version,
        purpose: &contract.purpose,
    };
    release(permit, &item.event, &contract.recipe, &supplies)
}
