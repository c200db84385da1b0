//! What can be read of a message that gives no event: whom it is about, and its consents.
//!
//! Promises: no field is required here; who is read here is who would be read were the message
//! mapped, since the same rules read it.
//! Knows nothing of: what is done with it.

use crate::event::{EventType, Key};
use crate::parse::hl7::Message;

use super::cda;
use super::group::{GROUPS_MAX, groups, patient_groups};
use super::mapping::{Mappings, Node, Per};
use super::run::{Context, Draft, Run, Strictness, Trace, selector};
use super::segments::Hl7;

/// What can be read of a message.
#[derive(Debug)]
pub struct Salvage {
    /// Each patient, with what is known of the message. None where there are too many.
    pub patients: Vec<Draft>,
    /// Each consent, as far as it can be read. None where there are too many.
    pub consents: Vec<Draft>,
}

/// Reads what it can.
#[must_use]
pub fn salvage(mappings: &Mappings, message: &Message<'_>, context: &Context) -> Salvage {
    let mut of_con = consents(mappings, message, context).unwrap_or_default();
    let found = cda::consents(message);
    let by = Strictness::Salvage;
    of_con.extend(cda::drafts(mappings, message, context, &found, by).unwrap_or_default());
    Salvage { patients: patients(mappings, message, context).unwrap_or_default(), consents: of_con }
}

/// By the rules of the message's own mapping; by those of any, where it has none: they agree on who
/// a patient is, since they use the same part.
fn patients(mappings: &Mappings, message: &Message<'_>, context: &Context) -> Option<Vec<Draft>> {
    let (kind, trigger) = selector(message);
    let own = mappings.of(&kind, &trigger, message).next();
    let any = || mappings.files().find(|(_, it, _)| it.event.is_some()).map(|(_, it, _)| &**it);
    let mapping = own.or_else(any)?;
    let groups = patient_groups(message);
    if groups.len() > GROUPS_MAX {
        return None;
    }
    let mut run = Run::new(message, context, Trace::Off, Strictness::Salvage);
    let fields = |part: Key| mapping.fields.iter().position(|(key, _)| *key == part);
    let parts: Vec<&[(Key, Node<Hl7>)]> = ["message", "patient"]
        .into_iter()
        .filter_map(|part| fields(part).and_then(|at| mapping.fields.get(at..=at)))
        .collect();
    let drafts = groups.into_iter().enumerate().map(|(event, group)| {
        run.group(mapping, &parts, EventType::PatientUpdated, group, event).ok()
    });
    drafts.collect()
}

fn consents(mappings: &Mappings, message: &Message<'_>, context: &Context) -> Option<Vec<Draft>> {
    let (kind, trigger) = selector(message);
    let mut run = Run::new(message, context, Trace::Off, Strictness::Salvage);
    let mut drafts = Vec::new();
    for mapping in mappings.of(&kind, &trigger, message).filter(|it| it.per == Per::Con) {
        for group in groups(message, mapping.per).ok()? {
            let event = drafts.len();
            let kind = mapping.event.unwrap_or(EventType::ConsentUpdated);
            drafts.push(run.group(mapping, &[&mapping.fields], kind, group, event).ok()?);
        }
    }
    Some(drafts)
}
