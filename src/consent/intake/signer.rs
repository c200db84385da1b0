//! Who decided: what rule 6 asks about.
//!
//! Promises: a name does not get into the record.
//! Knows nothing of: what was decided.

use jiff::tz::TimeZone;

use super::{Doubt, moment, said};
use crate::consent::decision::{Capacity, Presence, Signer, Standin};
use crate::event::View;

/// HL7 table 0548: the signatory is the patient.
const SELF: &str = "1";

pub(super) fn read(data: View<'_>, zone: &TimeZone) -> Result<Signer, Doubt> {
    let capacity = match said(data, "consent.capacity") {
        None => Capacity::Unstated,
        Some("Y") => Capacity::Competent,
        Some("N") => Capacity::Incompetent,
        Some(_) => return Err(Doubt::UnknownWord("consent.capacity")),
    };
    let relationship = said(data, "consent.relationship");
    let is_other = relationship != Some(SELF);
    // Who signs for oneself is named in CON-24, too.
    let consenter = match data.at("consent.signer") {
        Some(_) if is_other => Presence::Named,
        Some(_) | None => Presence::Absent,
    };
    let standin = match said(data, "consent.standin") {
        Some("MIN") => Some(Standin::Minor),
        Some("NC") => Some(Standin::NotCompetent),
        Some("LM") => Some(Standin::LegallyMandated),
        Some(_) => Some(Standin::Unstated),
        None => (relationship.is_some() && is_other).then_some(Standin::Unstated),
    };
    let born = match standin {
        Some(Standin::Minor) => moment(data, "patient.birthDate", zone),
        Some(Standin::NotCompetent | Standin::LegallyMandated | Standin::Unstated) | None => None,
    };
    let relationship = relationship.map(str::to_owned);
    Ok(Signer { consenter, relationship, capacity, standin, born })
}
