//! Rule 1: what stands, and what it does now.
//!
//! Promises: a status that is not known, and a date in the future, are a deny.
//! Knows nothing of: what is asked.

use jiff::Timestamp;

use super::{Asked, Effect, Standing};
use crate::consent::decision::{Consent, Decision, Status};
use crate::consent::record::{Record, Says, Turn};
use crate::consent::refusal::Code;

/// Rule 1: entered-in-error is not there; outside its dates a record is not in force; an unknown
/// word and a decision dated in the future deny; bypassed is no decision.
///
/// The dates of what was refused, revoked or not understood are those of what it would have been:
/// they end no deny. A permit ends with its document, a deny does not.
pub(in crate::consent) fn rule_1_standing<'r>(
    asked: &Asked<'_>,
    record: &'r Record,
) -> Standing<'r> {
    let now = asked.now;
    let gone = record.consent().is_some_and(|consent| match consent.status {
        Status::EnteredInError | Status::Proposed | Status::Bypassed => true,
        Status::Active
        | Status::Rejected
        | Status::Inactive
        | Status::Revoked
        | Status::Unknown => false,
    });
    let effect = if gone {
        Effect::Nothing
    } else if record.decided().earliest > now {
        Effect::Denies(Code::FutureDated)
    } else {
        match &record.says {
            Says::Closure(Turn::Begins) => Effect::Denies(Code::Closed),
            Says::Closure(Turn::Ends) => Effect::Nothing,
            Says::Restriction(restriction) => match (restriction.turn, lapse(record, now)) {
                (Turn::Begins, None) => Effect::Denies(Code::Restricted),
                (Turn::Begins | Turn::Ends, _) => Effect::Nothing,
            },
            Says::Consent(consent) => standing_of(consent, lapse(record, now)),
        }
    };
    let effect = match effect {
        Effect::Permits if asked.is_withdrawn(record) => Effect::Lapsed(Code::Inactive),
        Effect::Permits | Effect::Denies(_) | Effect::Lapsed(_) | Effect::Nothing => effect,
    };
    Standing { record, effect }
}

fn standing_of(consent: &Consent, lapsed: Option<Code>) -> Effect {
    match (consent.status, consent.decision, lapsed) {
        (Status::Unknown, ..) => Effect::Denies(Code::UnknownStatus),
        (Status::Revoked, ..) => Effect::Denies(Code::Revoked),
        (Status::Rejected, ..) | (Status::Active, Decision::Deny, None) => {
            Effect::Denies(Code::Refused)
        }
        (Status::Active, Decision::Permit, None) => Effect::Permits,
        (Status::Active, Decision::Permit, Some(code)) => Effect::Lapsed(code),
        (Status::Inactive, Decision::Permit, _) => Effect::Lapsed(Code::Inactive),
        (Status::Inactive | Status::Active, Decision::Deny, _)
        | (Status::Proposed | Status::Bypassed | Status::EnteredInError, ..) => Effect::Nothing,
    }
}

/// Why a record is outside its dates; nothing within them. Both ends are as long as they were
/// given: until a day is until its last microsecond.
fn lapse(record: &Record, now: Timestamp) -> Option<Code> {
    if record.effective_to.is_some_and(|to| to.span().latest < now) {
        Some(Code::Expired)
    } else if record.effective_from.is_some_and(|from| from.span().earliest > now) {
        Some(Code::NotYetEffective)
    } else {
        None
    }
}
