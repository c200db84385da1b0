//! An event to a release: select, ask, release.
//!
//! Promises: asked when the event is about to leave, and again at every retry; what is asked
//! and what is released are the same event.
//! Knows nothing of: sinks.

use crate::clock;
use crate::consent::{Code, Ledger, Policy, Question, ask};
use crate::contract::Contract;
use crate::privacy::{RealmKeys, Release, Supplies, Withheld, release};

use super::queue::Item;

/// Why an event was not put into its form. Contracts that ask for a consent do not load, so each
/// is a fault of ours: the route stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// Consent said no to a contract that asks for none.
    #[error("refused for lack of consent ({0}), though none is asked for")]
    Refused(Code),
    /// No release was made.
    #[error(transparent)]
    Withheld(#[from] Withheld),
}

/// Decides about an event now, and puts it into its form.
///
/// # Errors
/// [`Undecided`], which does not occur unless the code is wrong.
pub fn decide(
    contract: &Contract,
    item: &Item,
    keys: &RealmKeys,
    node: &str,
    jurisdiction: Option<&str>,
) -> Result<Release, Undecided> {
    let question = Question {
        event: &item.event.id,
        route: &contract.name,
        purpose: &contract.purpose,
        visit: None,
        channel: None,
        grantee: &contract.consumer,
        jurisdictions: jurisdiction.as_slice(),
        labels: &[],
        contract_labels: &[],
        classes: &[],
        requirement: &contract.requirement,
    };
    let permit = ask(&question, &Ledger::default(), &Policy::default(), clock::now())
        .map_err(|refusal| Undecided::Refused(refusal.code()))?;
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
    Ok(release(permit, &item.event, &contract.recipe, &supplies)?)
}
