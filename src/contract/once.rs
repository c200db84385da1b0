//! `once`: which event of several sources tells a fact that another one told before.
//!
//! Promises: of one transition of a visit each source's first occurrence is the same fact, each
//! second, and so on; one that left is told, and one that did not is not; the same event again is the
//! same occurrence, so that what is decided twice is decided alike.
//! Knows nothing of: where occurrences are kept, and what stands for a transition there.

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventType};

/// What a contract wants to be told once, whichever source tells it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// Each transition of a visit.
    Visit,
}

impl Once {
    /// Each with its name.
    pub const NAMES: [(&'static str, Self); 1] = [("visit", Self::Visit)];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Visit => "visit",
        }
    }
}

/// Most occurrences of one transition that are remembered. A patient is moved to one bed, or admitted,
/// a few times in a visit; beyond it the oldest are forgotten, and may be told once more.
pub const OCCURRENCES_MAX: usize = 128;

/// What a transition is beside its visit: the type, and of a transfer where to. Nothing where it is
/// none.
#[must_use]
pub fn transition(event: &Event) -> Option<String> {
    let kind = event.kind;
    if !kind.is_transition() {
        return None;
    }
    let mut said = kind.name().to_owned();
    if kind == EventType::PatientTransferred {
        let location = event.data.root().at("visit.location");
        for part in ["pointOfCare", "room", "bed"] {
            said.push('|');
            let part = location.and_then(|location| location.get(part)?.as_text());
            said.push_str(&normal(part.unwrap_or_default()));
        }
    }
    Some(said)
}

/// A name of a place in small letters, without blanks around it and with single ones within; without
/// what would end it here.
fn normal(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ").replace('|', "")
}

/// One source's event of a transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// The source: the feed.
    pub source: String,
    /// Which of that source's it is, from 1.
    pub nth: u32,
    /// The ID of the event.
    pub event: String,
    /// Whether it left.
    pub left: bool,
}

/// What was said of one transition, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Occurrences(Vec<Occurrence>);

impl Occurrences {
    /// Which of its source's an event is.
    fn nth(&self, source: &str, event: &str) -> u32 {
        let mut own = self.0.iter().filter(|known| known.source == source);
        let again = own.clone().find(|known| known.event == event).map(|known| known.nth);
        let next = || own.by_ref().map(|known| known.nth).max().unwrap_or(0).saturating_add(1);
        again.unwrap_or_else(next)
    }

    /// The event of another source by which the consumer was told before what this one says.
    #[must_use]
    pub fn told_by(&self, source: &str, event: &str) -> Option<&str> {
        let nth = self.nth(source, event);
        let mut others = self.0.iter().filter(|known| known.source != source);
        others.find(|known| known.nth == nth && known.left).map(|known| known.event.as_str())
    }

    /// Notes what became of an event. What left once has left.
    pub fn note(&mut self, source: &str, event: &str, left: bool) {
        let is_it = |known: &&mut Occurrence| known.source == source && known.event == event;
        if let Some(known) = self.0.iter_mut().find(is_it) {
            known.left |= left;
            return;
        }
        let nth = self.nth(source, event);
        if self.0.len() >= OCCURRENCES_MAX {
            // The lowest counts of all sources go together, so that what is left is compared alike.
            let oldest = self.0.iter().map(|known| known.nth).min();
            self.0.retain(|known| Some(known.nth) != oldest);
        }
        let (source, event) = (source.to_owned(), event.to_owned());
        self.0.push(Occurrence { source, nth, event, left });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{EventId, Subject};
    use crate::phi::Phi;

    fn said(kind: EventType, data: &str) -> Option<String> {
        let event = Event {
            id: EventId("e".into()),
            kind,
            subject: Arc::new(Subject { authority: "A".to_owned(), value: Phi::default() }),
            prior: None,
            data: Arc::new(serde_json::from_str(data).unwrap()),
        };
        transition(&event)
    }

    #[test]
    fn a_transfer_is_told_apart_by_where_to_and_nothing_else_is() {
        let to = |place: &str| {
            let data = format!(r#"{{"visit":{{"location":{place}}}}}"#);
            let found = [EventType::PatientTransferred, EventType::PatientAdmitted]
                .map(|kind| said(kind, &data).unwrap());
            assert_eq!(found[1], "patient.admitted");
            found[0].clone()
        };
        let one = to(r#"{"pointOfCare":"4W","room":"401","bed":"A","facility":"NORTH"}"#);
        assert_eq!(one, to(r#"{"pointOfCare":" 4w ","room":"401","bed":"a"}"#));
        for other in [
            r#"{"pointOfCare":"4W","room":"401","bed":"B"}"#,
            r#"{"pointOfCare":"4W","room":"401"}"#,
            r#"{"pointOfCare":"4W|401","bed":"A"}"#,
            "null",
        ] {
            assert_ne!(one, to(other), "{other}");
        }
        assert_eq!(said(EventType::PatientUpdated, "{}"), None);
        assert_eq!(said(EventType::ObservationReported, "{}"), None);
    }

    #[test]
    fn the_nth_of_one_source_is_told_by_the_nth_of_another_that_left() {
        let mut known = Occurrences::default();
        assert_eq!(known.told_by("b", "b1"), None);
        known.note("a", "a1", false);
        assert_eq!(known.told_by("b", "b1"), None, "the first did not leave");
        known.note("b", "b1", true);
        assert_eq!(known.told_by("c", "c1"), Some("b1"));
        assert_eq!(known.told_by("a", "a2"), None, "a second is another fact");
        known.note("a", "a2", true);
        assert_eq!(known.told_by("b", "b2"), Some("a2"));
        // The same event again is no second one, and what left has left.
        assert_eq!(known.told_by("a", "a1"), Some("b1"));
        known.note("b", "b1", false);
        assert_eq!(known.told_by("c", "c1"), Some("b1"));
        // A source is never told by itself.
        assert_eq!(known.told_by("b", "b1"), None);
    }

    proptest! {
        /// Of sources that all say the same facts, in whatever mixture, each fact is let out once.
        #[test]
        fn of_sources_that_say_the_same_each_fact_leaves_once(
            facts in 1_u32..40, picks in proptest::collection::vec(0_usize..3, 0..200),
        ) {
            let mut known = Occurrences::default();
            let (mut next, mut left) = ([1_u32; 3], Vec::new());
            let rest = (0..3).flat_map(|source| std::iter::repeat_n(source, facts as usize));
            for source in picks.into_iter().chain(rest) {
                let nth = next[source];
                if nth > facts {
                    continue;
                }
                next[source] += 1;
                let (name, event) = (format!("s{source}"), format!("s{source}-{nth}"));
                let is_told = known.told_by(&name, &event).is_some();
                known.note(&name, &event, !is_told);
                // Decided again, as after a crash, the answer is the same.
                prop_assert_eq!(known.told_by(&name, &event).is_some(), is_told);
                if !is_told {
                    left.push(nth);
                }
            }
            left.sort_unstable();
            prop_assert_eq!(left, (1..=facts).collect::<Vec<_>>());
        }

        /// However many occurrences there are, so many are remembered at most.
        #[test]
        fn what_is_remembered_is_bounded(sources in proptest::collection::vec(0_u8..4, 0..600)) {
            let mut known = Occurrences::default();
            for (at, source) in sources.into_iter().enumerate() {
                known.note(&source.to_string(), &at.to_string(), true);
                prop_assert!(known.0.len() <= OCCURRENCES_MAX);
            }
        }
    }
}
