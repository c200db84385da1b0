//! Rule 4: what can only narrow: a preference, and a jurisdiction.
//!
//! Promises: neither opens what is closed without it.
//! Knows nothing of: permits, but for those that lift.

use super::denied::refuse_unlifted;
use super::{Asked, Demand, Effect, Standing};
use crate::consent::decision::{Consent, Kind};
use crate::consent::policy::Stricter;
use crate::consent::question::{Missing, Naming, Requirement};
use crate::consent::record::Record;
use crate::consent::refusal::{Code, Refusal};
use crate::consent::scope;

/// Rule 4: a preference can only narrow. One that denies is a deny among wishes; one that names
/// channels leaves no other.
pub(in crate::consent) fn rule_4_preferred(
    asked: &Asked<'_>,
    standing: &[Standing<'_>],
) -> Result<(), Refusal> {
    let question = asked.question;
    let preference =
        |record: &Record| record.consent().is_some_and(|it| it.kind == Kind::Preference);
    let worded = |code: Code| if code.is_exception() { code } else { Code::Preference };
    refuse_unlifted(asked, standing, worded, |record| {
        preference(record) && record.consent().is_some_and(|it| scope::denies(it, question))
    })?;
    let naming: Vec<(&Record, &Consent)> = standing
        .iter()
        .filter(|it| it.effect == Effect::Permits && preference(it.record))
        .filter_map(|it| Some((it.record, it.record.consent()?)))
        .filter(|(_, wish)| !wish.channels.is_empty() && scope::may_speak(wish, question))
        .collect();
    if naming.is_empty() || naming.iter().any(|(_, wish)| scope::permits_channel(wish, question)) {
        return Ok(());
    }
    let behind = naming.into_iter().map(|(record, _)| record);
    Err(Refusal::of(Code::Preference, question.purpose, behind))
}

/// Rule 4: a jurisdiction's rule can only narrow what the contract demands.
pub(in crate::consent) fn rule_4_demand(asked: &Asked<'_>) -> Demand {
    let question = asked.question;
    let contract = match question.requirement {
        Requirement::OptIn { missing: Missing::Suppress, grantee } => {
            return Demand::OptIn { wait: None, grantee: *grantee };
        }
        Requirement::OptIn { missing: Missing::Wait { at_most }, grantee } => {
            return Demand::OptIn { wait: Some(*at_most), grantee: *grantee };
        }
        Requirement::OptOut => Demand::OptOut,
        Requirement::None { .. } => Demand::None,
    };
    match asked.policy.stricter(question.jurisdictions, question.purpose) {
        Some(Stricter::OptIn) => Demand::OptIn { wait: None, grantee: Naming::Anybody },
        Some(Stricter::OptOut) => Demand::OptOut,
        None => contract,
    }
}
