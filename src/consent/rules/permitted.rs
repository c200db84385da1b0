//! Rule 3: which permits count.
//!
//! Promises: only a permission is a permit.
//! Knows nothing of: denies; they were asked before.

use super::signed::rule_6_signed;
use super::{Asked, Effect, Standing};
use crate::consent::decision::{Consent, Kind};
use crate::consent::record::Record;
use crate::consent::scope;

/// Rule 3: among permits the later decision wins, whenever it arrived; a narrower one adds its
/// limits. Gives those that count: the latest, and of the others the narrower ones. Empty where
/// none is in force.
pub(in crate::consent) fn rule_3_permitted<'r>(
    asked: &Asked<'_>,
    standing: &[Standing<'r>],
) -> Vec<(&'r Record, &'r Consent)> {
    let all: Vec<(&Record, &Consent)> = standing
        .iter()
        .filter(|it| it.effect == Effect::Permits)
        .filter_map(|it| Some((it.record, it.record.consent()?)))
        // A law's leave is no permission, a wish neither.
        .filter(|(_, consent)| consent.kind == Kind::Permission)
        .filter(|(_, consent)| scope::permits(consent, asked.question))
        .filter(|(_, consent)| rule_6_signed(asked, consent))
        .collect();
    let is_latest =
        |record: &Record| !all.iter().any(|(other, _)| record.decided().is_before(other.decided()));
    let latest: Vec<_> = all.iter().copied().filter(|(record, _)| is_latest(record)).collect();
    let counts = |(record, consent): &(&Record, &Consent)| {
        is_latest(record) || latest.iter().all(|(_, other)| scope::is_narrower(consent, other))
    };
    all.iter().copied().filter(counts).collect()
}
