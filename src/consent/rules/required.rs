//! Rule 7: what is demanded where nothing is in force.
//!
//! Promises: only what is missing may wait.
//! Knows nothing of: denies; they were asked before.

use super::signed::unsigned;
use super::{Asked, Demand, Effect, Standing};
use crate::consent::decision::{Consent, Kind};
use crate::consent::question::Naming;
use crate::consent::record::Record;
use crate::consent::refusal::{Code, Refusal};
use crate::consent::scope;

/// Rule 7: nothing in force, and what is demanded decides. Of an opt-in only what is missing can
/// wait; what has ended, or has not begun, is no at once.
pub(in crate::consent) fn rule_7_required<'r>(
    asked: &Asked<'_>,
    demand: Demand,
    standing: &[Standing<'r>],
    permitted: Vec<(&'r Record, &'r Consent)>,
) -> Result<Vec<&'r Record>, Refusal> {
    let question = asked.question;
    let (wait, naming) = match demand {
        Demand::OptIn { wait, grantee } => (wait, grantee),
        Demand::OptOut | Demand::None => {
            return Ok(permitted.into_iter().map(|(record, _)| record).collect());
        }
    };
    let enough = |consent: &Consent| match naming {
        Naming::Anybody => true,
        Naming::Named => consent.grantee.is_some(),
    };
    if permitted.iter().any(|(_, consent)| enough(consent)) {
        return Ok(permitted.into_iter().map(|(record, _)| record).collect());
    }
    let lapsed: Vec<(Code, &Record)> = standing
        .iter()
        .filter_map(|it| Some((it, it.record.consent()?)))
        .filter(|(_, it)| it.kind == Kind::Permission && enough(it) && scope::permits(it, question))
        .filter_map(|(it, consent)| match it.effect {
            Effect::Lapsed(code) => Some((code, it.record)),
            Effect::Permits => Some((unsigned(asked, consent)?, it.record)),
            Effect::Denies(_) | Effect::Nothing => None,
        })
        .collect();
    let Some(code) = lapsed.iter().map(|(code, _)| *code).min() else {
        return Err(Refusal::of(Code::Missing, question.purpose, None).waiting(wait));
    };
    let behind = lapsed.iter().filter(|(other, _)| *other == code).map(|(_, record)| *record);
    Err(Refusal::of(code, question.purpose, behind))
}
