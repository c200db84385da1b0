//! Asks: the seven rules in their order, over each state that a merge left.
//!
//! Promises: nothing but [`ask()`] makes a [`Permit`]; the order of records and aliases never
//! changes an answer.
//! Knows nothing of: the clock, which is handed in; what becomes of the answer.

use jiff::Timestamp;

use super::fold::fold;
use super::ledger::{Epoch, Ledger};
use super::policy::Policy;
use super::question::Question;
use super::record::{Record, Reference};
use super::refusal::{Code, Refusal};
use super::rules::{
    Asked, rule_1_standing, rule_2_denied, rule_3_permitted, rule_4_demand, rule_4_preferred,
    rule_5_labelled, rule_7_required,
};
use super::weigh::weigh;
use crate::event::EventId;

/// A yes, for one event, one route and one epoch of the subject's consent. Only [`ask()`] makes one:
///
/// ```compile_fail
/// use tidegate::consent::{Epoch, Permit};
/// use tidegate::event::EventId;
/// let forged = Permit {
///     event: EventId("x".into()),
///     route: "r".into(),
///     epoch: Epoch(1),
///     records: Vec::new(),
/// };
/// ```
#[derive(Debug)]
#[must_use = "a permit that is not used lets nothing out"]
pub struct Permit {
    event: EventId,
    route: String,
    epoch: Epoch,
    records: Vec<Reference>,
}

impl Permit {
    /// Whether it was given for this event on this route.
    #[must_use]
    pub fn covers(&self, event: &EventId, route: &str) -> bool {
        self.event == *event && self.route == route
    }

    /// The epoch of the subject's consent that it rests on.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The records that it rests on, by key; none where it rests on there being no deny.
    #[must_use]
    pub fn records(&self) -> &[Reference] {
        &self.records
    }
}

/// Whether the event may leave on the route now.
///
/// # Errors
/// A [`Refusal`], which is an answer like the other. Where aliases say no for several reasons it is
/// the first by [`Code`].
// PROMISE-5: closed unless opened; without a permit there is no release.
pub fn ask(
    question: &Question<'_>,
    ledger: &Ledger<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Permit, Refusal> {
    if question.ends.is_some_and(|ends| now >= ends) {
        return Err(Refusal::of(Code::Ended, question.purpose, None));
    }
    // What a record with exceptions says of this question is a decision without any.
    let weighed = weigh(ledger, question, now);
    let ledger = &weighed.as_ref().map_or(*ledger, |weighed| weighed.ledger(ledger));
    let withdraws = |record: &&Record| record.origin.withdraws.is_some();
    let withdrawals: Vec<&Record> = ledger.all().filter(withdraws).collect();
    let asked = Asked { question, policy, now, withdrawals: &withdrawals };
    let mut records = Vec::new();
    let mut refused: Option<Refusal> = None;
    for state in ledger.states() {
        match ask_of(&asked, state) {
            Ok(rests) => records.extend(rests.into_iter().map(Record::reference)),
            Err(refusal) => {
                let first = |known: &Refusal| {
                    (known.code(), known.records()) <= (refusal.code(), refusal.records())
                };
                if !refused.as_ref().is_some_and(first) {
                    refused = Some(refusal);
                }
            }
        }
    }
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    records.sort();
    records.dedup();
    let Question { event, route, .. } = question;
    Ok(Permit {
        event: EventId::clone(event),
        route: (*route).to_owned(),
        epoch: ledger.epoch,
        records,
    })
}

/// The seven rules over one state: the records that a yes rests on.
fn ask_of<'r>(asked: &Asked<'_>, state: Vec<&'r Record>) -> Result<Vec<&'r Record>, Refusal> {
    let standing: Vec<_> =
        fold(state).into_iter().map(|record| rule_1_standing(asked, record)).collect();
    rule_2_denied(asked, &standing)?;
    // Rule 6 is asked in 2 and 3, wherever a permit could count: one that does not hold must
    // neither open nor lift.
    let permitted = rule_3_permitted(asked, &standing);
    rule_4_preferred(asked, &standing)?;
    let demand = rule_4_demand(asked);
    rule_5_labelled(asked, demand, &permitted)?;
    rule_7_required(asked, demand, &standing, permitted)
}
