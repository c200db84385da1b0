//! Rule 5: labelled events.
//!
//! Promises: a label that is not named does not leave.
//! Knows nothing of: where labels come from.

use super::{Asked, Demand};
use crate::consent::decision::Consent;
use crate::consent::record::Record;
use crate::consent::refusal::{Code, Refusal};

/// Rule 5: a labelled event needs each label in the contract and in each permit that counts.
/// Where nothing is in force, rule 7 says what that means; where the contract rests on another
/// basis, that stands in the permit's place.
pub(in crate::consent) fn rule_5_labelled(
    asked: &Asked<'_>,
    demand: Demand,
    permitted: &[(&Record, &Consent)],
) -> Result<(), Refusal> {
    let question = asked.question;
    let named = |labels: &[String], label: &str| labels.iter().any(|it| it == label);
    if !question.labels.iter().all(|label| named(question.contract_labels, label)) {
        return Err(Refusal::of(Code::Label, question.purpose, None));
    }
    let silent: Vec<&Record> = match demand {
        Demand::None => Vec::new(),
        Demand::OptIn { .. } | Demand::OptOut => permitted
            .iter()
            .filter(|(_, yes)| !question.labels.iter().all(|label| named(&yes.labels, label)))
            .map(|(record, _)| *record)
            .collect(),
    };
    let unnamed = match demand {
        Demand::OptOut => permitted.is_empty() && !question.labels.is_empty(),
        Demand::OptIn { .. } | Demand::None => false,
    };
    if unnamed || !silent.is_empty() {
        return Err(Refusal::of(Code::Label, question.purpose, silent));
    }
    Ok(())
}
