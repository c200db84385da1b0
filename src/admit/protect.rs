//! What a mapped message says of protections, to records of its subjects and their events.
//!
//! Promises: a protection that begins is filed under the patient in whose part of the message it
//! stands, or the message is not taken; a word that is not known is taken for the yes that it may
//! be, and is an exception.
//! Knows nothing of: what the ledger holds already.

use std::sync::Arc;

use crate::consent::intake::{self, Protection, told};
use crate::consent::{Key, Record, Says, Turn};
use crate::event::{EventType, Subject, Tree};
use crate::normalize::group::CONSENTS_MAX;
use crate::normalize::{Refusal, salvage};
use crate::parse::hl7::name::PID;

use super::consents::{Applied, Bearer, stored, unreadable};
use super::entry::{Category, Given, Raised};
use super::restrictions::{Reach, Said};

/// A patient of the message, with an event's fields.
struct Patient {
    subject: Subject,
    data: Arc<Tree>,
    visit: Option<String>,
}

impl Bearer<'_> {
    /// Adds what the message says of protections: records, and an event for each that begins. Which
    /// of them are news the ledger knows; who hears twice that something was denied does nothing
    /// twice.
    // PROMISE-5
    pub(super) fn protect(&self, said: &[Said], applied: &mut Applied) -> Result<(), Refusal> {
        if said.is_empty() {
            return Ok(());
        }
        if said.len() > CONSENTS_MAX {
            return Err(Refusal::TooManyGroups);
        }
        let patients = self.patients(applied);
        for said in said {
            let wanted = match said.patient {
                Some(number) => patients.get(number..=number),
                None => Some(patients.as_slice()).filter(|patients| !patients.is_empty()),
            };
            let Some(wanted) = wanted else {
                if said.turn == Some(Turn::Ends) {
                    continue;
                }
                return Err(unreadable());
            };
            for (number, patient) in wanted.iter().enumerate() {
                // What stands before all patients is said of each of them.
                let place = match number {
                    0 => said.place.clone(),
                    _ => format!("{}-{}", said.place, number + 1),
                };
                let said = &Said { place, ..said.clone() };
                match patient {
                    Some(patient) => self.protect_one(said, patient, applied),
                    None if said.turn == Some(Turn::Ends) => {}
                    None => return Err(unreadable()),
                }
            }
        }
        Ok(())
    }

    fn protect_one(&self, said: &Said, patient: &Patient, applied: &mut Applied) {
        let visit = patient.visit.clone().filter(|_| said.reach == Reach::Visit);
        let key = self.key_of_protection(said, visit.as_deref());
        let (root, carrier) = (patient.data.root(), self.filing.carrier(&said.place));
        // Whose visit nobody knows is protected everywhere; where it ends nobody knows either.
        if said.turn == Some(Turn::Ends) && said.reach == Reach::Visit && visit.is_none() {
            return;
        }
        let protection = Protection {
            key,
            turn: said.turn.unwrap_or(Turn::Begins),
            visit,
            labels: said.labels.clone(),
            from: said.from,
            to: said.to,
        };
        let Some(record) = intake::protection(protection, root, &carrier) else { return };
        if said.turn.is_none() && applied.raised.is_none() {
            applied.raised = Some(self.unknown(said));
        }
        let given = Given { subject: patient.subject.clone(), record };
        let earlier = applied.consents.iter().position(|it| is_same_slot(it, &given));
        let earlier = earlier.and_then(|at| applied.consents.get_mut(at));
        let begins = |record: &Record| record.says.may_narrow();
        if begins(&given.record) && !earlier.as_ref().is_some_and(|it| begins(&it.record)) {
            let data = told::tell_restriction(&patient.data, &given.record, &said.labels);
            let kind = EventType::ConsentDenied;
            let event = stored(kind, said.place.clone(), patient.subject.clone(), data);
            applied.content.events.push(event);
        }
        if let Some(earlier) = earlier {
            unite(&mut earlier.record, given.record);
            return;
        }
        // What closed since it could not be applied is applied now.
        if said.reach == Reach::Person && said.code.is_empty() {
            let end = intake::closure(given.record.key.clone(), Turn::Ends, root, &carrier);
            applied.consents.push(Given { subject: patient.subject.clone(), record: end });
        }
        applied.consents.push(given);
    }

    /// The key of a protection: the feed and the field, with the code and the visit that it is for.
    fn key_of_protection(&self, said: &Said, visit: Option<&str>) -> Key {
        let Key { source, mut id } = self.filing.key_of(said.carrier);
        // Apart from the person's, which an end of it must not reach.
        let visit = visit.or((said.reach == Reach::Visit).then_some("any visit"));
        for part in [Some(said.code.as_str()), visit].into_iter().flatten() {
            if !part.is_empty() {
                id.push(' ');
                id.push_str(part);
            }
        }
        Key { source, id }
    }

    /// Each patient in the order of the message; nothing for one that cannot be read.
    fn patients(&self, applied: &Applied) -> Vec<Option<Patient>> {
        let events = &applied.content.events;
        let visit = |data: &Tree| {
            let number = data.root().at("visit.number.value");
            number.and_then(|number| number.as_text()).map(str::to_owned)
        };
        let count = self.message.segments().filter(|it| it.packed_name() == PID).count();
        if count < 2 {
            let first = events.first().map(|event| Patient {
                subject: event.subject(),
                data: Arc::clone(&event.data),
                visit: visit(&event.data),
            });
            return vec![first];
        }
        let found = salvage(&self.filing.rules.mappings, self.message, &self.filing.rules.context);
        let patients = found.patients.into_iter().map(|draft| {
            let subject = self.filing.subject(&draft)?;
            // The visit of an event of the same patient, whose groups have it.
            let mut own = events.iter().filter(|event| event.subject() == subject);
            let visit = own.find_map(|event| visit(&event.data));
            Some(Patient { subject, data: Arc::new(draft.data), visit })
        });
        patients.collect()
    }

    fn unknown(&self, said: &Said) -> Raised {
        let text = "holds no word that is known: it is taken for a restriction";
        Raised {
            category: Category::ConsentUnknown,
            key: self.filing.content,
            text: format!("{}: {} {text}", said.place, said.carrier),
            place: said.carrier.to_owned(),
        }
    }
}

fn is_same_slot(one: &Given, other: &Given) -> bool {
    one.subject == other.subject
        && one.record.key == other.record.key
        && match (&one.record.says, &other.record.says) {
            (Says::Restriction(one), Says::Restriction(other)) => one.visit == other.visit,
            (Says::Restriction(_) | Says::Consent(_) | Says::Closure(_), _) => false,
        }
}

/// Of two that one message says under one key, the one that begins; of two that do, what both
/// protect, for as long as either might.
fn unite(record: &mut Record, other: Record) {
    let (Says::Restriction(one), Says::Restriction(two)) = (&mut record.says, other.says) else {
        return;
    };
    match (one.turn, two.turn) {
        (Turn::Begins | Turn::Ends, Turn::Ends) => {}
        (Turn::Ends, Turn::Begins) => {
            *one = two;
            record.version = other.version;
            record.effective_from = other.effective_from;
            record.effective_to = other.effective_to;
        }
        (Turn::Begins, Turn::Begins) => {
            one.labels.extend(two.labels);
            one.labels.sort();
            one.labels.dedup();
            if (record.effective_from, record.effective_to)
                != (other.effective_from, other.effective_to)
            {
                (record.effective_from, record.effective_to) = (None, None);
            }
        }
    }
}
