//! Rule 6: who signed.
//!
//! Promises: where it is not known until when a representative decides, the permit does not hold.
//! Knows nothing of: names.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Asked;
use crate::consent::decision::{Capacity, Consent, Presence, Standin};
use crate::consent::moment::Moment;
use crate::consent::refusal::Code;

/// Rule 6: whether the permit holds for who gave it. One by a representative for a minor ends at
/// majority and is silent on what minors decide themselves; one of a patient who could not decide
/// needs somebody who did.
pub(super) fn rule_6_signed(asked: &Asked<'_>, consent: &Consent) -> bool {
    unsigned(asked, consent).is_none()
}

/// Why a permit does not hold for who gave it; nothing where it does.
pub(super) fn unsigned(asked: &Asked<'_>, consent: &Consent) -> Option<Code> {
    let Asked { question, policy, now, .. } = asked;
    let signer = &consent.signer;
    let nobody = match signer.consenter {
        Presence::Absent => true,
        Presence::Named => false,
    };
    if signer.capacity == Capacity::Incompetent && nobody {
        return Some(Code::NotCompetent);
    }
    if signer.standin != Some(Standin::Minor) {
        return None;
    }
    let places = question.jurisdictions.iter().copied().chain(consent.jurisdiction.as_deref());
    let places: Vec<&str> = places.collect();
    let own = policy.minor_consents(&places);
    let still_minor = match (signer.born, policy.majority(&places)) {
        (Some(born), Some(years)) => majority_of(&born, years).is_some_and(|at| *now < at),
        // Who does not know when it ends cannot say that it has not.
        (None, _) | (_, None) => false,
    };
    let silent = question.labels.iter().any(|label| own.contains(label));
    (!still_minor || silent).then_some(Code::Minor)
}

/// When somebody comes of age: the first instant of the birthday, by the offset from UTC that held
/// at birth, so within an hour where clocks have changed their rules since. A year of birth alone
/// counts from its first day, and 29 February becomes the 28th: a permit ends early rather than late.
pub(in crate::consent) fn majority_of(born: &Moment, years: u8) -> Option<Timestamp> {
    let birth = born.span().earliest.to_zoned(TimeZone::UTC);
    let majority = birth.checked_add(jiff::Span::new().years(i64::from(years))).ok()?;
    Some(majority.timestamp())
}
