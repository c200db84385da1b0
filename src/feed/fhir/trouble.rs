//! What becomes of a query that fails.
//!
//! Promises: what passes by itself is tried again, later each time up to a bound, and as late as the
//! server asks; what does not, stops the query for up to an hour and tells a human.
//! Knows nothing of: the other queries, which go on.

use std::time::Duration;

use super::fault::FetchFault;
use crate::pace::{Backoff, spread};

/// The longest that a server's `Retry-After` is obeyed: a date that is wrong by years would end the
/// feed silently.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Until a query that is stopped is tried again, the first times and from then on: a proxy that says 404
/// while a server restarts should not cost an hour, and a refusal an hour is nobody's load.
const STOPPED: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3_600)];
/// Between tries to say who we are: what was refused is refused again within seconds, and some
/// servers lock out whom they refuse often.
const UNPROVEN: Duration = Duration::from_secs(60);
/// Tries for one page behind the first, before the round begins anew at its cursor: the server may
/// have forgotten the search by then.
const TRIES_MAX: u32 = 3;
/// Rounds begun anew for that one after the other, before the query is stopped.
const ANEW_MAX: u32 = 5;

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing: there is nothing new.
    Unchanged,
    /// The same address after a while.
    Again(Duration),
    /// The round begins anew at its cursor, after a while.
    Anew(Duration),
    /// Anew at once, with half as many resources a page.
    Smaller,
    /// Anew at once, without `_sort` and `_include`.
    Barer,
    /// Not for a while, and a human is told.
    Stop,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The first page of a round.
    pub first: bool,
    /// Without `_sort` and `_include`.
    pub bare: bool,
    /// Resources of one page.
    pub page_size: u32,
}

/// How long a server is left alone that asks for it.
#[must_use]
pub fn asked_for(retry_after: Duration) -> Duration {
    spread(retry_after.min(RETRY_AFTER_MAX))
}

/// How long nothing is asked that was stopped so often in a row.
#[must_use]
pub fn stopped(times: usize) -> Duration {
    let [.., longest] = STOPPED;
    spread(STOPPED.get(times.saturating_sub(1)).copied().unwrap_or(longest))
}

/// What a query has been through since it last succeeded.
#[derive(Debug, Default)]
pub struct Troubles {
    backoff: Backoff,
    tries: u32,
    anew: u32,
}

impl Troubles {
    /// It succeeded with a page. That a round gets on is known when one behind the first comes.
    pub fn past(&mut self, first: bool) {
        self.backoff.reset();
        self.tries = 0;
        if !first {
            self.anew = 0;
        }
    }

    /// A round came to its end.
    pub fn done(&mut self) {
        self.anew = 0;
    }

    /// What to do about an answer that is no page: cut short, or of a server that writes none.
    pub fn after_no_page(&mut self) -> Then {
        self.anew()
    }

    /// What to do about a fault.
    pub fn after(&mut self, fault: &FetchFault, asked: Asked) -> Then {
        match fault {
            FetchFault::NotModified => Then::Unchanged,
            FetchFault::TooLarge { .. } if asked.page_size > 1 => Then::Smaller,
            FetchFault::Unauthorized | FetchFault::NoToken(_) => Then::Again(spread(UNPROVEN)),
            FetchFault::Refused { status: 408 | 425, .. } => self.again(asked, None),
            // The server has forgotten the search that the link is about.
            FetchFault::Refused { status: 404 | 410, .. } if !asked.first => self.anew(),
            FetchFault::Refused { status: 400 | 422, .. } if asked.first && !asked.bare => {
                Then::Barer
            }
            fault if fault.passes() => self.again(asked, fault.retry_after()),
            _ => Then::Stop,
        }
    }

    fn again(&mut self, asked: Asked, retry_after: Option<Duration>) -> Then {
        if let Some(wanted) = retry_after {
            return Then::Again(asked_for(wanted));
        }
        self.tries += 1;
        if !asked.first && self.tries >= TRIES_MAX {
            return self.anew();
        }
        Then::Again(self.backoff.delay())
    }

    fn anew(&mut self) -> Then {
        self.tries = 0;
        self.anew += 1;
        if self.anew > ANEW_MAX {
            self.anew = 0;
            return Then::Stop;
        }
        Then::Anew(self.backoff.delay())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::{ContentType, Unreachable};
    use super::*;

    const FIRST: Asked = Asked { first: true, bare: false, page_size: 500 };
    const LATER: Asked = Asked { first: false, ..FIRST };

    fn refused(status: u16) -> FetchFault {
        FetchFault::Refused { status, codes: Vec::new() }
    }

    fn delay(then: Then) -> Duration {
        match then {
            Then::Again(delay) | Then::Anew(delay) => delay,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_passes_is_tried_again_for_ever_and_never_rarer_than_a_bound() {
        for fault in [
            FetchFault::Unreachable(Unreachable::Connect),
            FetchFault::TimedOut(Duration::from_secs(30)),
            FetchFault::Reset,
            FetchFault::WrongContentType(ContentType::Html),
            FetchFault::ServerError { status: 502, retry_after: None },
            FetchFault::Throttled { retry_after: None },
            refused(408),
        ] {
            let mut troubles = Troubles::default();
            for _ in 0..50 {
                let then = troubles.after(&fault, FIRST);
                assert!(matches!(then, Then::Again(_)), "{fault}: {then:?}");
                assert!(delay(then) <= Duration::from_secs(15), "{fault}");
            }
        }
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_and_an_hour_at_most() {
        let mut troubles = Troubles::default();
        for (asked, least, most) in [(7, 7, 8), (86_400 * 365, 3_600, 3_960), (0, 0, 0)] {
            let retry_after = Some(Duration::from_secs(asked));
            for fault in [
                FetchFault::Throttled { retry_after },
                FetchFault::ServerError { status: 503, retry_after },
            ] {
                let delay = delay(troubles.after(&fault, FIRST));
                let bounds = Duration::from_secs(least)..=Duration::from_secs(most);
                assert!(bounds.contains(&delay), "{asked}: {delay:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_stops_the_query_once_nothing_less_can_be_asked_for() {
        let mut troubles = Troubles::default();
        for status in [403, 404, 405, 406, 410, 451] {
            assert_eq!(troubles.after(&refused(status), FIRST), Then::Stop, "{status}");
        }
        for status in [400, 422] {
            assert_eq!(troubles.after(&refused(status), FIRST), Then::Barer);
            let bare = Asked { bare: true, ..FIRST };
            assert_eq!(troubles.after(&refused(status), bare), Then::Stop);
        }
        for fault in [
            FetchFault::OtherOrigin,
            FetchFault::Redirects,
            FetchFault::RatioTooLarge { ratio_max: 100 },
        ] {
            assert_eq!(troubles.after(&fault, FIRST), Then::Stop, "{fault}");
        }
        let huge = FetchFault::TooLarge { bytes_max: 1 };
        assert_eq!(troubles.after(&huge, FIRST), Then::Smaller);
        assert_eq!(troubles.after(&huge, Asked { page_size: 1, ..FIRST }), Then::Stop);
        assert_eq!(troubles.after(&FetchFault::NotModified, FIRST), Then::Unchanged);
    }

    #[test]
    fn a_page_that_does_not_come_begins_the_round_anew_and_at_last_stops_the_query() {
        let mut troubles = Troubles::default();
        let mut seen = Vec::new();
        for _ in 0..18 {
            seen.push(match troubles.after(&FetchFault::Reset, LATER) {
                Then::Again(_) => "again",
                Then::Anew(_) => "anew",
                Then::Stop => "stop",
                other => panic!("{other:?}"),
            });
        }
        let five = ["again", "again", "anew"].repeat(5);
        assert_eq!(seen, [five, vec!["again", "again", "stop"]].concat());
        // A search that the server has forgotten.
        assert!(matches!(troubles.after(&refused(410), LATER), Then::Anew(_)));
        // A first page says nothing of the one that does not come; one behind it does.
        troubles.past(true);
        assert_eq!(troubles.anew, 1);
        troubles.past(false);
        assert_eq!(troubles.anew, 0);
    }

    #[test]
    fn what_is_stopped_is_tried_again_in_a_minute_in_ten_and_then_every_hour() {
        let waits = [1, 2, 3, 4, 100].map(|times| stopped(times).as_secs());
        for (wait, least) in waits.into_iter().zip([60, 600, 3_600, 3_600, 3_600]) {
            assert!((least..=least * 11 / 10).contains(&wait), "{waits:?}");
        }
    }

    #[test]
    fn who_is_not_let_in_asks_again_in_a_minute() {
        let mut troubles = Troubles::default();
        for _ in 0..20 {
            let delay = delay(troubles.after(&FetchFault::Unauthorized, FIRST));
            assert!((60..=66).contains(&delay.as_secs()), "{delay:?}");
        }
    }
}
