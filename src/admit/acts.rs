//! What a message does to two subjects: whom it merges, moves, renames, links.
//!
//! Promises: the other subject is found by the same rules as the one that an event is about; a
//! message that says so and names nobody is refused, and never taken for one that says nothing.
//! Knows nothing of: what was merged before, which the store does.

use crate::event::{Act, Subject};
use crate::normalize::{Draft, Refusal, Spot};

use super::Identity;
use super::entry::{Acted, Stored};

/// The acts of a message while its events are made.
#[derive(Default)]
pub(super) struct Acts {
    pub acted: Vec<Acted>,
    /// Events of the two that are linked, or no longer are, by position.
    paired: Vec<(usize, Act)>,
}

impl Acts {
    /// The other subject of a draft that will be the event at a position.
    pub fn prior(
        &mut self,
        identity: &Identity,
        domain: &str,
        draft: &Draft,
        subject: &Subject,
        position: usize,
    ) -> Result<Option<Subject>, Refusal> {
        let Some(act) = draft.act else { return Ok(None) };
        let data = draft.data.root();
        let own = match act {
            Act::Link | Act::Unlink => {
                self.paired.push((position, act));
                return Ok(None);
            }
            // What is still an identifier of the patient was not changed.
            Act::Rekey => identity.subjects(data, "patient.identifiers", domain),
            // Of a merge nobody says that the survivor does not keep the number.
            Act::Merge | Act::Move => vec![subject.clone()],
        };
        let named = identity.subjects(data, "patient.priorIdentifiers", domain);
        if named.is_empty() && act != Act::Rekey {
            return Err(Refusal::Missing { spot: Spot { segment: "MRG".to_owned(), field: 1 } });
        }
        let prior = identity.prior(data, domain, subject, &own);
        if let Some(prior) = &prior {
            let acted = Acted { act, from: prior.clone(), into: subject.clone() };
            if !self.acted.contains(&acted) {
                self.acted.push(acted);
            }
        }
        Ok(prior)
    }

    /// Pairs those that are linked, once all events are there.
    pub fn pair(&mut self, events: &mut [Stored]) -> Result<(), Refusal> {
        let Some((_, act)) = self.paired.first().copied() else { return Ok(()) };
        let two = match self.paired.as_slice() {
            [(one, _), (other, _)] => {
                let subject = |at: usize| events.get(at).map(Stored::subject);
                subject(*one).zip(subject(*other)).filter(|(from, into)| from != into)
            }
            _ => None,
        };
        let Some((from, into)) = two else {
            // A link that names nobody has no effect anyway.
            let spot = Spot { segment: "PID".to_owned(), field: 0 };
            return if act == Act::Link { Ok(()) } else { Err(Refusal::Missing { spot }) };
        };
        for ((at, _), prior) in self.paired.iter().zip([&into, &from]) {
            if let Some(event) = events.get_mut(*at) {
                event.set_prior(prior.clone());
            }
        }
        self.acted.push(Acted { act, from, into });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::event::EventType;
    use crate::normalize::{self, Context, Trace};
    use crate::parse::hl7::{Charset, Message};

    const A: &str = "PID|1||A^^^H^MR";

    /// The acts of a message, and for each event its subject and prior.
    fn of(trigger: &str, segments: &[&str]) -> Result<(Vec<String>, Vec<String>), Refusal> {
        let mappings =
            normalize::load(Path::new("mappings"), &crate::document::Problems::default());
        let text = format!("MSH|^~\\&|S|S|||2026||ADT^{trigger}|1|P|2.5\r{}", segments.join("\r"));
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        let (normalized, _) =
            normalize::normalize(&mappings, &message, &Context::default(), Trace::Off)?;
        let identity = Identity::default();
        let (mut acts, mut events) = (Acts::default(), Vec::new());
        for draft in &normalized.drafts {
            let subject = identity.subject(draft.data.root(), "adt").unwrap();
            let prior = acts.prior(&identity, "adt", draft, &subject, events.len())?;
            let mut stored: Stored = serde_json::from_str(
                r#"{"type":"patient.updated","place":"p","authority":"","value":"","data":{}}"#,
            )
            .unwrap();
            stored.kind = EventType::PatientMerged;
            stored.authority = subject.authority;
            stored.value.0 = subject.value;
            prior.into_iter().for_each(|prior| stored.set_prior(prior));
            events.push(stored);
        }
        acts.pair(&mut events)?;
        let name = |subject: &Subject| format!("{}/{}", subject.authority, subject.value.expose());
        let acted = |it: &Acted| format!("{} {} {}", it.act.name(), name(&it.from), name(&it.into));
        let event = |it: &Stored| {
            let prior = it.prior().map_or_else(|| "-".to_owned(), |prior| name(&prior));
            format!("{} {prior}", name(&it.subject()))
        };
        Ok((acts.acted.iter().map(acted).collect(), events.iter().map(event).collect()))
    }

    fn acts(trigger: &str, segments: &[&str]) -> Vec<String> {
        of(trigger, segments).unwrap().0
    }

    #[test]
    fn each_pair_of_a_merge_is_an_act_and_an_event_with_both() {
        let two = [A, "MRG|B^^^H", "PID|2||C^^^H^MR", "MRG|D^^^H"];
        let wanted = (
            vec!["merge H/B H/A".to_owned(), "merge H/D H/C".to_owned()],
            vec!["H/A H/B".to_owned(), "H/C H/D".to_owned()],
        );
        assert_eq!(of("A40", &two).unwrap(), wanted);
        for trigger in ["A18", "A30", "A34", "A36"] {
            assert_eq!(acts(trigger, &two[..2]), ["merge H/B H/A"]);
        }
        for trigger in ["A43", "A44", "A45"] {
            assert_eq!(acts(trigger, &two[..2]), ["move H/B H/A"]);
        }
        for trigger in ["A35", "A41", "A42"] {
            assert_eq!(acts(trigger, &two[..2]), [""; 0], "records, not persons");
        }
        assert_eq!(acts("A45", &[A, "MRG|B^^^H", "PV1|1", "MRG|B^^^H", "MRG|C^^^H"]).len(), 2);
    }

    #[test]
    fn of_several_prior_identifiers_the_one_of_the_same_authority_is_taken() {
        assert_eq!(acts("A40", &[A, "MRG|X^^^L~B^^^H~Y^^^M"]), ["merge H/B H/A"]);
        assert_eq!(acts("A40", &[A, "MRG|X^^^L~Y^^^M"]), ["merge L/X H/A"]);
        assert_eq!(acts("A40", &[A, "MRG|B"]), ["merge adt/B H/A"]);
        assert_eq!(acts("A40", &[A, "MRG|A^^^H"]), [""; 0], "it was and is the same");
        // A number that the patient still has was not changed.
        let still = "PID|1||A^^^H^MR~X^^^L";
        assert_eq!(acts("A47", &[still, "MRG|X^^^L~B^^^H"]), ["rekey H/B H/A"]);
        assert_eq!(acts("A50", &[still, "MRG|X^^^L"]), [""; 0]);
        assert_eq!(acts("A40", &[still, "MRG|X^^^L"]), ["merge L/X H/A"]);
    }

    #[test]
    fn numbers_of_others_are_merged_and_changed_where_those_are_meant() {
        let pid = "PID|1|E^^^E|A^^^H^MR|T^^^T";
        let mrg = "MRG|A^^^H|S^^^T||D^^^E";
        assert_eq!(acts("A39", &[pid, mrg]), ["merge E/D H/A"]);
        assert_eq!(acts("A39", &[pid, "MRG|B^^^H"]), ["merge H/B H/A"]);
        assert_eq!(acts("A46", &[pid, "MRG|A^^^H|||D^^^E"]), ["rekey E/D H/A"]);
        assert_eq!(acts("A48", &[pid, "MRG|A^^^H|S^^^T"]), ["rekey T/S H/A"]);
        // MRG-1 says who is merged; what stands beside it may be the survivor's still.
        assert_eq!(acts("A40", &[pid, "MRG|B^^^H|||E^^^E"]), ["merge H/B H/A"]);
        assert_eq!(acts("A40", &[pid, "MRG|A^^^H|||E^^^E"]), [""; 0]);
        assert_eq!(acts("A34", &["PID|1|A", "MRG||||B"]), ["merge adt/B adt/A"]);
    }

    #[test]
    fn who_is_merged_with_nobody_is_refused() {
        for trigger in
            ["A18", "A30", "A34", "A36", "A39", "A40", "A43", "A44", "A45", "A46", "A47", "A48"]
        {
            for segments in [&[A][..], &[A, "MRG|"], &[A, "MRG|||X"], &[A, "MRG|B", "PID|2||C"]] {
                let refused = of(trigger, segments);
                assert!(matches!(refused, Err(Refusal::Missing { .. })), "{trigger} {segments:?}");
            }
        }
        assert!(of("A40", &[A, "MRG|^^^H"]).is_err(), "an issuer is nobody");
    }

    #[test]
    fn two_are_linked_and_unlinked_with_each_other() {
        let two = [A, "PV1|1|I", "PID|2||B^^^H^MR"];
        let wanted =
            (vec!["unlink H/A H/B".to_owned()], vec!["H/A H/B".to_owned(), "H/B H/A".to_owned()]);
        assert_eq!(of("A37", &two).unwrap(), wanted);
        assert_eq!(acts("A24", &two), ["link H/A H/B"]);
        for few in [&[A][..], &[A, A], &[A, "PID|2||B", "PID|3||C"]] {
            assert_eq!(acts("A24", few), [""; 0]);
            assert!(of("A37", few).is_err(), "{few:?}");
        }
    }
}
