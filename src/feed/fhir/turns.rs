//! Which query of a feed is asked next.
//!
//! Promises: who a patient is and what was consented to goes before what is said of them, also in the
//! middle of a long round of another; of the others each gets its page in turn, so that none
//! waits for another's end.
//! Knows nothing of: what is asked.

use std::time::Duration;

/// How a query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When it may be asked, by the clock that only goes on.
    pub due: Duration,
    /// Whether the others wait for it.
    pub goes_first: bool,
    /// When it last had its turn, counted in turns; 0: never.
    pub served: u64,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// That one's, by its place.
    Now(usize),
    /// Nobody's before that time.
    At(Duration),
}

/// Chooses among queries in the order of their ranks.
#[must_use]
pub fn next(queries: &[Standing], now: Duration) -> Next {
    let due = |query: &Standing| query.due <= now;
    if let Some(first) = queries.iter().position(|query| query.goes_first && due(query)) {
        return Next::Now(first);
    }
    let rest = queries.iter().enumerate().filter(|(_, query)| due(query));
    match rest.min_by_key(|(place, query)| (query.served, *place)) {
        Some((place, _)) => Next::Now(place),
        None => Next::At(queries.iter().map(|query| query.due).min().unwrap_or(Duration::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn query(due: u64, goes_first: bool, served: u64) -> Standing {
        Standing { due: Duration::from_secs(due), goes_first, served }
    }

    #[test]
    fn patients_and_consents_go_first_and_the_others_take_turns() {
        let now = Duration::from_secs(10);
        let mut queries = vec![
            query(0, true, 0),
            query(0, true, 0),
            query(0, false, 0),
            query(0, false, 0),
            query(0, false, 0),
        ];
        let mut order = Vec::new();
        for turn in 1..=9 {
            let Next::Now(place) = next(&queries, now) else { panic!("one is due") };
            order.push(place);
            queries[place].served = turn;
            // The two that go first have one page each, then come again in the middle.
            if place < 2 {
                queries[place].due = Duration::from_secs(20);
            }
            if turn == 6 {
                queries[1].due = Duration::ZERO;
            }
        }
        assert_eq!(order, [0, 1, 2, 3, 4, 2, 1, 3, 4]);
    }

    #[test]
    fn a_query_that_waits_holds_nobody_up() {
        let queries = [query(50, true, 0), query(40, false, 3), query(60, false, 1)];
        assert_eq!(next(&queries, Duration::from_secs(10)), Next::At(Duration::from_secs(40)));
        assert_eq!(next(&queries, Duration::from_secs(40)), Next::Now(1));
        assert_eq!(next(&queries, Duration::from_secs(60)), Next::Now(0));
    }
}
