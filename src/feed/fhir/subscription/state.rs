//! Which events of a subscription came: their numbers (FHIR R5, 3.2.0.5; backport, "Managing
//! Subscriptions").
//!
//! Promises: a number that is passed over is noticed with the next notification of any kind; one that
//! comes again, or late, is nothing that is missed; a subscription made anew begins anew.
//! Knows nothing of: what the events were, which is taken whatever its number.

use serde::{Deserialize, Serialize};

use super::notification::{Kind, Status};

/// Most events that are counted as missed at once: a server that jumps by billions says something of
/// its numbers and nothing of events.
const MISSED_MAX: u64 = 1_000_000;

/// How far a subscription was heard. Kept durably.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The subscription's ID on the server; another one has other numbers.
    pub id: String,
    /// The highest number that was heard of; none before the first.
    pub last: Option<u64>,
}

/// What a notification's numbers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Events that were passed over.
    pub missed: u64,
    /// The numbers began anew: what was between is not known.
    pub anew: bool,
}

impl Found {
    /// Whether the server is to be asked what happened.
    #[must_use]
    pub const fn is_gap(self) -> bool {
        self.missed > 0 || self.anew
    }
}

impl Heard {
    /// As it is kept.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        // Two plain fields: nothing in them fails to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As it was kept; as if nothing was heard where it cannot be read.
    #[must_use]
    pub fn read(kept: &[u8]) -> Self {
        serde_json::from_slice(kept).unwrap_or_default()
    }

    /// Hears a notification.
    pub fn hear(&mut self, status: &Status) -> Found {
        if self.id != status.subscription {
            let known = !self.id.is_empty();
            *self = Self { id: status.subscription.clone(), last: None };
            self.count(status);
            return Found { missed: 0, anew: known };
        }
        let Some(last) = self.last else {
            self.count(status);
            // All before was polled, or is.
            return Found::default();
        };
        if status.kind.says_all() && status.since_start.is_some_and(|all| all < last) {
            // It is not sent again when it was lost, so it is no old one: the count began anew.
            self.last = status.since_start;
            return Found { missed: 0, anew: true };
        }
        let missed = match status.kind {
            Kind::QueryEvent => 0,
            Kind::Event => passed_over(last, status),
            Kind::Handshake | Kind::Heartbeat | Kind::QueryStatus => {
                status.since_start.map_or(0, |all| all.saturating_sub(last))
            }
        };
        self.count(status);
        Found { missed: missed.min(MISSED_MAX), anew: false }
    }

    fn count(&mut self, status: &Status) {
        let highest = status.numbers().max();
        let heard = match status.kind {
            // An answer to a question: what it names is old.
            Kind::QueryEvent => None,
            Kind::Event => highest.or(status.since_start),
            Kind::Handshake | Kind::Heartbeat | Kind::QueryStatus => status.since_start,
        };
        self.last = self.last.max(heard);
    }
}

/// Numbers between what was heard and what comes, and between those that come.
fn passed_over(last: u64, status: &Status) -> u64 {
    let mut numbers: Vec<u64> = status.numbers().filter(|number| *number > last).collect();
    if numbers.is_empty() {
        // A server that numbers no events still counts them, those it brings included.
        let all = status.since_start.filter(|_| status.numbers().next().is_none());
        let brought = status.events.len().max(1) as u64;
        return all.map_or(0, |all| all.saturating_sub(last).saturating_sub(brought));
    }
    numbers.sort_unstable();
    let mut expected = last.saturating_add(1);
    let mut missed = 0_u64;
    for number in numbers {
        missed = missed.saturating_add(number.saturating_sub(expected));
        expected = number.saturating_add(1);
    }
    missed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::notification::Happened;
    use super::*;

    fn status(kind: Kind, since_start: Option<u64>, numbers: &[u64]) -> Status {
        let event = |number: &u64| Happened { number: Some(*number), focus: None };
        Status {
            kind,
            subscription: "ZZs1".to_owned(),
            state: None,
            since_start,
            events: numbers.iter().map(event).collect(),
        }
    }

    fn events(numbers: &[u64]) -> Status {
        status(Kind::Event, numbers.iter().max().copied(), numbers)
    }

    fn begun(last: u64) -> Heard {
        Heard { id: "ZZs1".to_owned(), last: Some(last) }
    }

    const NONE: Found = Found { missed: 0, anew: false };

    #[test]
    fn numbers_in_their_order_pass_nothing_over() {
        let mut heard = Heard::default();
        assert_eq!(heard.hear(&status(Kind::Handshake, Some(0), &[])), NONE);
        for number in 1..5 {
            assert_eq!(heard.hear(&events(&[number])), NONE, "{number}");
        }
        assert_eq!(heard.hear(&events(&[5, 6, 7])), NONE);
        assert_eq!(heard.hear(&status(Kind::Heartbeat, Some(7), &[])), NONE);
        assert_eq!(heard.last, Some(7));
    }

    #[test]
    fn a_number_that_is_passed_over_is_missed_whatever_comes_next() {
        let missed = |missed| Found { missed, anew: false };
        for (next, wanted) in [
            (events(&[6]), missed(1)),
            (events(&[8]), missed(3)),
            (events(&[5, 8]), missed(2)),
            (events(&[8, 5]), missed(2)),
            (status(Kind::Heartbeat, Some(6), &[]), missed(2)),
            (status(Kind::Handshake, Some(5), &[]), missed(1)),
            (status(Kind::QueryStatus, Some(5), &[]), missed(1)),
            (status(Kind::Event, Some(6), &[]), missed(1)),
            (status(Kind::Event, Some(5), &[]), NONE),
            (status(Kind::Event, None, &[]), NONE),
            (status(Kind::Heartbeat, None, &[]), NONE),
            (events(&[u64::MAX]), missed(MISSED_MAX)),
        ] {
            assert_eq!(begun(4).hear(&next), wanted, "{next:?}");
        }
    }

    #[test]
    fn what_comes_again_or_late_is_not_missed_and_moves_nothing_back() {
        let mut heard = begun(4);
        assert_eq!(heard.hear(&events(&[4])), NONE);
        assert_eq!(heard.hear(&events(&[2])), NONE);
        assert_eq!(heard.hear(&events(&[6])).missed, 1);
        assert_eq!(heard.hear(&events(&[5])), NONE, "late");
        assert_eq!(heard.hear(&status(Kind::QueryEvent, Some(2), &[1, 2])), NONE);
        assert_eq!(heard.last, Some(6));
        // More are under way than this one brings; they have numbers of their own.
        assert_eq!(heard.hear(&status(Kind::Event, Some(9), &[7])), NONE);
        assert_eq!(heard.hear(&events(&[8])), NONE);
    }

    #[test]
    fn a_subscription_made_anew_begins_anew() {
        let anew = Found { missed: 0, anew: true };
        let mut heard = begun(40);
        assert_eq!(heard.hear(&status(Kind::Handshake, Some(0), &[])), anew);
        assert_eq!(heard.hear(&events(&[1])), NONE);
        // Its handshake was lost.
        let mut heard = begun(40);
        assert_eq!(heard.hear(&events(&[1])), NONE);
        assert_eq!(heard.hear(&status(Kind::Heartbeat, Some(2), &[])), anew);
        assert_eq!(heard.last, Some(2));
        // Another ID says it at once.
        let mut heard = begun(40);
        let other = Status { subscription: "ZZs2".to_owned(), ..events(&[3]) };
        assert_eq!(heard.hear(&other), anew);
        assert_eq!(heard, Heard { id: "ZZs2".to_owned(), last: Some(3) });
    }

    #[test]
    fn what_is_kept_is_read_back() {
        assert_eq!(Heard::read(&begun(7).written()), begun(7));
        assert_eq!(Heard::read(b"not ours"), Heard::default());
    }

    proptest! {
        /// Whatever is lost of notifications in order, the last one or a heartbeat shows that it was.
        #[test]
        fn what_is_lost_is_counted(lost in proptest::collection::vec(any::<bool>(), 1..60)) {
            let mut heard = begun(0);
            let (mut missed, mut all) = (0, 0);
            for is_lost in &lost {
                all += 1;
                if !is_lost {
                    missed += heard.hear(&events(&[all])).missed;
                }
            }
            missed += heard.hear(&status(Kind::Heartbeat, Some(all), &[])).missed;
            prop_assert_eq!(missed, lost.iter().filter(|lost| **lost).count() as u64);
        }
    }
}
