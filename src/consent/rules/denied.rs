//! Rule 2: denies and restrictions, and what lifts them.
//!
//! Promises: nothing lifts a restriction; a permit that is not later, or does not name what the
//! deny names, lifts nothing.
//! Knows nothing of: what a contract demands.

use super::signed::rule_6_signed;
use super::{Asked, Effect, Standing};
use crate::consent::decision::Kind;
use crate::consent::policy::Policy;
use crate::consent::question::Question;
use crate::consent::record::{Record, Restriction, Says};
use crate::consent::refusal::{Code, Refusal};
use crate::consent::{purpose, scope};

/// Labels whose data no `spares` opens: 42 CFR Part 2 and 45 CFR 164.508(a)(2) ask for the
/// patient's own consent, for treatment and payment, too.
const NEVER_SPARED: [&str; 2] = ["42CFRPart2", "HIPAAPsyNotes"];
/// Who has paid out of pocket may keep it from the insurer: 45 CFR 164.522(a)(1)(vi).
const SELF_PAY: &str = "HIPAASelfPay";
const PAYMENT: &str = "HPAYMT";

/// Rule 2: a deny or restriction that covers the question beats every permit decided at or before
/// it, however narrow; a later one that names whatever the deny names lifts it, but no restriction.
pub(in crate::consent) fn rule_2_denied(
    asked: &Asked<'_>,
    standing: &[Standing<'_>],
) -> Result<(), Refusal> {
    let Asked { question, policy, .. } = asked;
    if question.labels.contains(&SELF_PAY) && purpose::covers(PAYMENT, question.purpose) {
        return Err(Refusal::of(Code::Restricted, question.purpose, None));
    }
    refuse_unlifted(
        asked,
        standing,
        |code| code,
        |record| match &record.says {
            Says::Closure(_) => true,
            Says::Restriction(restriction) => restricts(restriction, question, policy),
            Says::Consent(consent) => {
                consent.kind != Kind::Preference && scope::denies(consent, question)
            }
        },
    )
}

/// Refuses for the denies in force that cover the question and that nothing lifts.
pub(super) fn refuse_unlifted(
    asked: &Asked<'_>,
    standing: &[Standing<'_>],
    worded: impl Fn(Code) -> Code,
    covers: impl Fn(&Record) -> bool,
) -> Result<(), Refusal> {
    let denies: Vec<(Code, &Record)> = standing
        .iter()
        .filter_map(|it| match it.effect {
            Effect::Denies(code) if covers(it.record) => Some((worded(code), it.record)),
            Effect::Denies(_) | Effect::Permits | Effect::Lapsed(_) | Effect::Nothing => None,
        })
        .filter(|(_, deny)| !standing.iter().any(|permit| lifts(asked, permit, deny)))
        .collect();
    let Some(code) = denies.iter().map(|(code, _)| *code).min() else { return Ok(()) };
    let behind = denies.iter().filter(|(other, _)| *other == code).map(|(_, record)| *record);
    Err(Refusal::of(code, asked.question.purpose, behind))
}

fn lifts(asked: &Asked<'_>, permit: &Standing<'_>, deny: &Record) -> bool {
    let question = asked.question;
    let Some(yes) = permit.record.consent() else { return false };
    let named = match &deny.says {
        Says::Restriction(_) => false,
        Says::Closure(_) => yes.kind == Kind::Permission,
        Says::Consent(no) => {
            scope::lifts(yes.kind, no.kind) && scope::names_what(yes, no, question)
        }
    };
    named
        && permit.effect == Effect::Permits
        && deny.decided().is_before(permit.record.decided())
        && scope::permits(yes, question)
        && rule_6_signed(asked, yes)
}

/// Whether a restriction covers the question. An event that names no visit may be of the
/// restricted one.
fn restricts(restriction: &Restriction, question: &Question<'_>, policy: &Policy) -> bool {
    let visit = match (&restriction.visit, question.visit) {
        (Some(restricted), Some(visit)) => restricted == visit,
        (None, _) | (Some(_), None) => true,
    };
    let labelled = |label: &str| {
        question.labels.contains(&label) || restriction.labels.iter().any(|it| it == label)
    };
    let spared = policy.spares(question.purpose)
        && !NEVER_SPARED.into_iter().any(labelled)
        && !(labelled(SELF_PAY) && purpose::covers(PAYMENT, question.purpose));
    visit && !spared
}
