//! What a decision speaks about, held against a question.
//!
//! Promises: where it is not certain whether a record speaks about the question, a deny does and
//! a permit does not.
//! Knows nothing of: dates and statuses.

use super::decision::{Consent, Kind, Purposes};
use super::purpose;
use super::question::Question;
use crate::event::schema::Class;

/// Whether a place lies within another or is the same: `US-CA` within `US` (ISO 3166-2).
#[must_use]
pub fn within(place: &str, area: &str) -> bool {
    place.strip_prefix(area).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether a deny may speak about the question.
#[must_use]
pub fn denies(consent: &Consent, question: &Question<'_>) -> bool {
    let channels = &consent.channels;
    let channel = channels.is_empty()
        || question.channel.is_none_or(|channel| channels.iter().any(|named| named == channel));
    channel && may_speak(consent, question)
}

/// Whether a decision may speak about the question, whatever the channel.
#[must_use]
pub fn may_speak(consent: &Consent, question: &Question<'_>) -> bool {
    let Consent { purposes, grantee, jurisdiction, labels, classes, .. } = consent;
    let purpose = match purposes {
        Purposes::Every => true,
        Purposes::These(named) => {
            named.iter().any(|named| purpose::covers(named, question.purpose))
        }
    };
    let grantee = grantee.as_ref().is_none_or(|named| named == question.grantee);
    // A question that does not say where may be asked there.
    let place = jurisdiction.as_ref().is_none_or(|area| {
        let there = |place: &&str| within(place, area) || within(area, place);
        question.jurisdictions.is_empty() || question.jurisdictions.iter().any(there)
    });
    let labelled =
        labels.is_empty() || labels.iter().any(|label| question.labels.contains(&label.as_str()));
    let classed = classes.is_empty()
        || question.classes.is_empty()
        || question.classes.iter().any(|class| classes.iter().any(|named| named == class.name()));
    purpose && grantee && place && labelled && classed
}

/// Whether a permit certainly speaks about the question. Labels are rule 5's.
#[must_use]
pub fn permits(consent: &Consent, question: &Question<'_>) -> bool {
    let Consent { purposes, grantee, jurisdiction, classes, .. } = consent;
    let purpose = match purposes {
        Purposes::Every => true,
        Purposes::These(named) => named.iter().any(|named| named == question.purpose),
    };
    let grantee = grantee.as_ref().is_none_or(|named| named == question.grantee);
    let place = jurisdiction.as_ref().is_none_or(|area| {
        !question.jurisdictions.is_empty()
            && question.jurisdictions.iter().all(|place| within(place, area))
    });
    let named = |class: &Class| classes.iter().any(|named| named == class.name());
    let classed =
        classes.is_empty() || (!question.classes.is_empty() && question.classes.iter().all(named));
    purpose && grantee && place && classed && permits_channel(consent, question)
}

/// Whether the question's channel is among those that a permit names, where it names any.
#[must_use]
pub fn permits_channel(consent: &Consent, question: &Question<'_>) -> bool {
    consent.channels.is_empty()
        || question.channel.is_some_and(|channel| consent.channels.iter().any(|it| it == channel))
}

/// Whether a permit names whatever the deny names, both of them speaking about the question: a
/// general yes does not take back a particular no.
#[must_use]
pub fn names_what(permit: &Consent, deny: &Consent, question: &Question<'_>) -> bool {
    let purpose =
        matches!(deny.purposes, Purposes::Every) || matches!(permit.purposes, Purposes::These(_));
    let channel = deny.channels.is_empty() || !permit.channels.is_empty();
    let grantee = deny.grantee.is_none() || permit.grantee.is_some();
    let place = deny
        .jurisdiction
        .as_ref()
        .is_none_or(|area| permit.jurisdiction.as_ref().is_some_and(|place| within(place, area)));
    let labelled = deny
        .labels
        .iter()
        .filter(|label| question.labels.contains(&label.as_str()))
        .all(|label| permit.labels.contains(label));
    let classed = deny.classes.is_empty() || !permit.classes.is_empty();
    // What nobody can tell here, no permit names.
    let told = !deny.within.as_ref().is_some_and(|within| within.beyond);
    purpose && channel && grantee && place && labelled && classed && told
}

/// Whether a permit names something that another does not: it is the narrower one.
#[must_use]
pub fn is_narrower(permit: &Consent, other: &Consent) -> bool {
    let purposes = |consent: &Consent| match &consent.purposes {
        Purposes::Every => usize::MAX,
        Purposes::These(named) => named.len(),
    };
    let more = |mine: bool, theirs: bool| mine && !theirs;
    purposes(permit) < purposes(other)
        || more(!permit.channels.is_empty(), !other.channels.is_empty())
        || more(permit.grantee.is_some(), other.grantee.is_some())
        || more(permit.jurisdiction.is_some(), other.jurisdiction.is_some())
        || more(!permit.classes.is_empty(), !other.classes.is_empty())
}

/// Whether a permit of a kind can lift a deny of a kind. A permission is more than a wish; what a
/// law forbids no patient permits, and what a patient refused no law's leave takes back.
#[must_use]
pub const fn lifts(permit: Kind, deny: Kind) -> bool {
    match (permit, deny) {
        (Kind::Permission, Kind::Permission | Kind::Preference)
        | (Kind::LegalBasis, Kind::LegalBasis)
        | (Kind::Preference, Kind::Preference) => true,
        (Kind::Permission, Kind::LegalBasis)
        | (Kind::LegalBasis, Kind::Permission | Kind::Preference)
        | (Kind::Preference, Kind::Permission | Kind::LegalBasis) => false,
    }
}
