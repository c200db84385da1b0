//! For whom a connection may speak.
//!
//! Promises: who is bound to facilities or applications speaks for no other; who is bound to none
//! speaks for all.
//! Knows nothing of: how it was found out who somebody is.

use std::sync::Arc;

use crate::parse::hl7::Head;

/// What one sender may put into MSH-3 and MSH-4 (HL7 v2, 2.14.9.3 and 2.14.9.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// MSH-3.1, sending application; any where it is none.
    pub applications: Option<Vec<String>>,
    /// MSH-4.1, sending facility; any where it is none.
    pub facilities: Option<Vec<String>>,
}

/// The senders that a connection was found to be. None at all: nobody was asked.
#[derive(Clone, Debug, Default)]
pub struct Speaker(Vec<Arc<Sender>>);

impl Speaker {
    /// One who is all of these.
    #[must_use]
    pub const fn of(senders: Vec<Arc<Sender>>) -> Self {
        Self(senders)
    }

    /// The field of MSH by which a message is another's; nothing where it may come.
    #[must_use]
    pub fn is_not_for(&self, head: &Head<'_>) -> Option<usize> {
        let wrong = |sender: &Arc<Sender>| {
            let is_in = |list: &Option<Vec<String>>, field| {
                let said = head.component(field, 1);
                list.as_ref().is_none_or(|list| list.iter().any(|one| one.as_bytes() == said))
            };
            match (is_in(&sender.applications, 3), is_in(&sender.facilities, 4)) {
                (true, true) => None,
                (_, false) => Some(4),
                (false, true) => Some(3),
            }
        };
        // One who has several names may do what any of them may.
        let wrongs: Option<Vec<usize>> = self.0.iter().map(wrong).collect();
        wrongs.and_then(|wrongs| wrongs.last().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn sender(applications: Option<Vec<String>>, facilities: Option<Vec<String>>) -> Sender {
        Sender { applications, facilities }
    }

    #[test]
    fn who_is_bound_to_a_facility_speaks_for_no_other() {
        let lab = sender(list(&["LAB", "LAB2"]), list(&["GH"]));
        let north = sender(None, list(&["NORTH", "SOUTH"]));
        for (senders, application, facility, wrong) in [
            (vec![], "X", "Y", None),
            (vec![Sender::default()], "X", "Y", None),
            (vec![lab.clone()], "LAB", "GH", None),
            (vec![lab.clone()], "LAB2", "GH^1.2.3^ISO", None),
            (vec![lab.clone()], "EHR", "GH", Some(3)),
            (vec![lab.clone()], "LAB", "gh", Some(4)),
            (vec![lab.clone()], "LAB", "", Some(4)),
            (vec![lab.clone()], "LAB", "GH2", Some(4)),
            (vec![lab.clone()], "LAB", "&GH", Some(4)),
            (vec![north.clone()], "ANY", "SOUTH", None),
            (vec![lab.clone(), north.clone()], "EHR", "NORTH", None),
            (vec![lab.clone(), north.clone()], "LAB", "GH", None),
            (vec![lab, north], "EHR", "GH", Some(4)),
        ] {
            let message =
                format!("MSH|^~\\&|{application}|{facility}|G|H|2026||ADT^A01|C1|P|2.5\r");
            let head = Head::read(message.as_bytes()).unwrap();
            let speaker = Speaker::of(senders.into_iter().map(Arc::new).collect());
            assert_eq!(speaker.is_not_for(&head), wrong, "{application} {facility}");
        }
    }
}
