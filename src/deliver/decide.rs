//! An event to a decision: ask, release.
//!
//! Promises: asked when the event is about to leave, and again at every retry; what is asked
//! and what is released are the same event; no answer, no release.
//! Knows nothing of: sinks, where a subject's consent is kept.

use jiff::Timestamp;

use crate::consent::{Ledger, Policy, Question, Refusal, ask};
use crate::contract::Contract;
use crate::privacy::{RealmKeys, Release, Supplies, Withheld, release};

use super::queue::Item;

/// What a route does with an event now.
#[derive(Debug)]
pub enum Decision {
    /// It leaves, in this form.
    Release(Box<Release>),
    /// It does not leave.
    Suppress(Refusal),
}

/// What a route decides by.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'g> {
    /// Its contract.
    pub contract: &'g Contract,
    /// What the subject decided.
    pub ledger: Ledger<'g>,
    /// What codes, restrictions and jurisdictions mean here.
    pub policy: &'g Policy,
    /// The keys of its realm.
    pub keys: &'g RealmKeys,
    /// `[node] name`.
    pub node: &'g str,
    /// `[node] jurisdiction`.
    pub jurisdiction: Option<&'g str>,
}

/// Decides about an event at a time, and puts it into its form where it may leave.
///
/// # Errors
/// [`Withheld`], which does not occur unless the code is wrong.
// PROMISE-5
pub fn decide(grounds: &Grounds<'_>, item: &Item, now: Timestamp) -> Result<Decision, Withheld> {
    let Grounds { contract, ledger, policy, keys, node, jurisdiction } = grounds;
    let visit = item.event.data.root().at("visit.number.value");
    let question = Question {
        event: &item.event.id,
        route: &contract.name,
        purpose: &contract.purpose,
        visit: visit.and_then(|number| number.as_text()),
        channel: contract.channel.as_deref(),
        grantee: &contract.consumer,
        jurisdictions: jurisdiction.as_slice(),
        labels: &[],
        contract_labels: &[],
        classes: &contract.classes,
        requirement: &contract.requirement,
    };
    let permit = match ask(&question, ledger, policy, now) {
        Ok(permit) => permit,
        Err(refusal) => return Ok(Decision::Suppress(refusal)),
    };
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
    let release = release(permit, &item.event, &contract.recipe, &supplies)?;
    Ok(Decision::Release(Box::new(release)))
}
