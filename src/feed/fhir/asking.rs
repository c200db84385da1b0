//! One query, from round to round.
//!
//! Promises: what is asked next follows from what came before and from nothing else; a cursor is
//! handed out to be kept when the page before it is committed.
//! Knows nothing of: the network, the journal, the clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;

use super::base::{BadLink, Base};
use super::capability::Offers;
use super::client::Known;
use super::cursor::{Cursor, Window};
use super::fault::FetchFault;
use super::page::{Listed, Mode};
use super::query::{Paging, Query};
use super::round::{Behind, Round, Stamped, Stray};
use super::trouble::{Asked, Then, Troubles, stopped};
use super::turns::Standing;
use crate::pace::spread;

/// Between two rounds that notifications bring about: a storm of them costs a request a second.
const HASTE_PAUSE: Duration = Duration::from_secs(1);

/// How a feed asks its queries.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the beginning of one round to the next.
    pub interval: Duration,
    /// How late a resource may show up behind its time.
    pub overlap: Duration,
    /// Resources of one page.
    pub page_size: u32,
    /// Most pages of one round.
    pub pages_max: u32,
    /// Whether subjects are asked for beside what is found.
    pub subjects: bool,
}

/// A query, and how far it has come.
#[derive(Debug)]
pub struct Asking {
    /// What is asked.
    pub query: Query,
    /// How far it has come, as it is kept.
    pub cursor: Cursor,
    /// What of the window behind the cursor is taken.
    pub window: Window,
    /// When all of it was taken last: when that round began, in milliseconds since 1970.
    pub whole_at: Option<i64>,
    /// How often in a row it was stopped: above 0 it is not asked for now, and a human was told why.
    pub stops: usize,
    pace: Pace,
    /// When the round began that moved the cursor, and the last whole one.
    moved_in: Duration,
    whole_in: Duration,
    round: Option<UnderWay>,
    page_size: u32,
    bare: bool,
    troubles: Troubles,
    due: Duration,
    /// It failed, and waits until it is due.
    waits: bool,
    /// Something happened that the round under way may not show.
    hastened: bool,
    served: u64,
    /// What the only page of the last round is known by.
    known: Option<(Url, Known)>,
}

/// A round that is under way.
#[derive(Debug)]
struct UnderWay {
    round: Round,
    url: Url,
    began: Duration,
    began_at: i64,
}

/// What a page came to, once it is taken.
#[derive(Debug)]
pub struct Came {
    /// Where the cursor stands now.
    pub cursor: Cursor,
    behind: Result<Behind, Stray>,
}

impl Asking {
    /// A query at its cursor.
    #[must_use]
    pub fn new(query: Query, cursor: Cursor, pace: Pace) -> Self {
        Self {
            query,
            cursor,
            window: Window::default(),
            whole_at: None,
            stops: 0,
            pace,
            moved_in: Duration::ZERO,
            whole_in: Duration::ZERO,
            round: None,
            page_size: pace.page_size,
            bare: false,
            troubles: Troubles::default(),
            due: Duration::ZERO,
            waits: false,
            hastened: false,
            served: 0,
            known: None,
        }
    }

    /// Something happened: it is asked at once, and once more where a round is under way, which may be past
    /// it. What failed waits as long as it would; and never twice within a second, however often it is
    /// told.
    pub fn hasten(&mut self, now: Duration) {
        if self.round.is_some() || self.waits {
            self.hastened = true;
        } else {
            self.due = self.due.min(now.max(self.whole_in + HASTE_PAUSE));
        }
    }

    /// How it stands among others.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Self { due, served, .. } = *self;
        Standing { due, goes_first: self.query.goes_first(), served }
    }

    /// The address that it asks for now, and what is known of that; a round begins where none is under
    /// way. `now` by both clocks.
    ///
    /// # Errors
    /// Its address is longer than any that is asked for.
    pub fn ask(
        &mut self,
        (base, offers): (&Base, &Offers),
        (now, now_ms): (Duration, i64),
        turn: u64,
    ) -> Result<(Url, Known), BadLink> {
        self.served = turn;
        self.waits = false;
        if let Some(under_way) = &self.round {
            return Ok((under_way.url.clone(), Known::default()));
        }
        let age = self.whole_in.saturating_sub(self.moved_in);
        let from = self.cursor.from(self.pace.overlap, age);
        if let Some(from) = from {
            self.window.forget_before(from);
        }
        let (page_size, bare) = (self.page_size, self.bare);
        let paging = Paging { from, page_size, bare, subjects: self.pace.subjects };
        let url = self.query.first(base, paging, offers)?;
        let round = Round::begin(self.cursor.clone(), &url);
        self.round = Some(UnderWay { round, url: url.clone(), began: now, began_at: now_ms });
        let known = self.known.take().filter(|(of, _)| *of == url);
        let known = known.map(|(_, known)| known).unwrap_or_default();
        self.known = Some((url.clone(), known.clone()));
        Ok((url, known))
    }

    /// A page came: where the cursor will stand, and what comes behind it. Nothing has moved yet.
    pub fn page(
        &mut self,
        base: &Base,
        stamped: &Stamped,
        next: Option<&str>,
        now: Timestamp,
    ) -> Option<Came> {
        let under_way = self.round.as_mut()?;
        under_way.round.page(stamped, now);
        let url = under_way.url.clone();
        let behind = under_way.round.behind(base, &url, next, self.pace.pages_max);
        let cursor = under_way.round.cursor(matches!(behind, Ok(Behind::Nothing)));
        Some(Came { cursor, behind })
    }

    /// The page is committed, and the cursor kept: the query goes on. Why it does not, where it cannot.
    ///
    /// # Errors
    /// The next page cannot be asked for.
    pub fn took(
        &mut self,
        came: Came,
        listed: &[Listed],
        known: Known,
        now: Duration,
    ) -> Result<(), Stray> {
        let Some(mut under_way) = self.round.take() else { return Ok(()) };
        let first = under_way.round.is_first();
        if came.cursor.reached != self.cursor.reached {
            self.moved_in = under_way.began;
        }
        self.cursor = came.cursor;
        for one in listed.iter().filter(|one| one.mode != Mode::Beside) {
            if let Some(stamp) = one.stamp {
                self.window.add(stamp, one.content);
            }
        }
        self.troubles.past(first);
        self.stops = 0;
        match came.behind? {
            Behind::Page(url) => {
                // Of several pages one that has not changed says nothing of the others.
                self.known = None;
                under_way.url = url;
                self.due = now;
                self.round = Some(under_way);
            }
            Behind::More => {
                self.known = None;
                self.due = now;
            }
            Behind::Nothing => {
                self.known = self.known.take().filter(|_| first).map(|(url, _)| (url, known));
                self.whole(&under_way);
            }
        }
        Ok(())
    }

    /// It failed: what is done about it.
    pub fn failed(&mut self, fault: &FetchFault, now: Duration) -> Then {
        let asked = self.asked();
        let then = self.troubles.after(fault, asked);
        self.then(then, now);
        then
    }

    /// What came is no page.
    pub fn no_page(&mut self, now: Duration) -> Then {
        let then = self.troubles.after_no_page();
        self.then(then, now);
        then
    }

    /// It is not asked for a while.
    pub fn stop(&mut self, now: Duration) {
        self.then(Then::Stop, now);
    }

    /// The name of the query.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        self.query.text()
    }

    /// What was asked for last.
    fn asked(&self) -> Asked {
        let first = self.round.as_ref().is_none_or(|under_way| under_way.round.is_new());
        Asked { first, bare: self.bare, page_size: self.page_size }
    }

    fn then(&mut self, then: Then, now: Duration) {
        self.waits = matches!(then, Then::Again(_) | Then::Anew(_) | Then::Stop);
        match then {
            Then::Unchanged => {
                if let Some(under_way) = self.round.take() {
                    self.troubles.past(true);
                    self.stops = 0;
                    self.whole(&under_way);
                }
                return;
            }
            Then::Again(delay) => self.due = now + delay,
            Then::Anew(delay) => {
                self.round = None;
                self.due = now + delay;
            }
            Then::Smaller => {
                self.page_size = (self.page_size / 2).max(1);
                self.round = None;
                self.due = now;
            }
            Then::Barer => {
                self.bare = true;
                self.round = None;
                self.due = now;
            }
            Then::Stop => {
                self.round = None;
                self.stops += 1;
                // By then the server may be another: all is asked for again.
                self.bare = false;
                self.page_size = self.pace.page_size;
                self.due = now + stopped(self.stops);
            }
        }
        // What is asked for again is to be sent again.
        self.known = None;
    }

    /// A round came to its end.
    fn whole(&mut self, under_way: &UnderWay) {
        self.troubles.done();
        self.whole_in = under_way.began;
        self.whole_at = Some(under_way.began_at);
        self.page_size = self.pace.page_size;
        let hastened = std::mem::take(&mut self.hastened);
        let pause = if hastened { HASTE_PAUSE } else { spread(self.pace.interval) };
        self.due = under_way.began + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        interval: Duration::from_secs(30),
        overlap: Duration::from_secs(300),
        page_size: 500,
        pages_max: 100,
        subjects: true,
    };

    struct Polled {
        asking: Asking,
        base: Base,
        now: Duration,
    }

    impl Polled {
        fn new() -> Self {
            let cursor = Cursor { reached: "2026-11-22T08:00:00Z".parse().ok(), unsorted: false };
            let asking = Asking::new(Query::read("Encounter").unwrap(), cursor, PACE);
            let base = Base::read("http://127.0.0.1:9/fhir", false).unwrap();
            Self { asking, base, now: Duration::from_secs(1_000) }
        }

        /// What it asks for, without the base, and by which ETag.
        fn ask(&mut self) -> (String, Option<String>) {
            let offers = Offers::default();
            let (url, known) = self.asking.ask((&self.base, &offers), (self.now, 7), 1).unwrap();
            let shown = url.as_str().split_once("/fhir/").unwrap().1.replace("%3A", ":");
            (shown, known.etag)
        }

        /// A page with resources at seconds behind 08:00, taken and kept.
        fn page(&mut self, seconds: &[i64], next: Option<&str>) -> Result<Cursor, Stray> {
            let at = |second: &i64| {
                let begin: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
                begin + jiff::SignedDuration::from_secs(*second)
            };
            let clock = Some(at(&100_000));
            let stamped = Stamped::of(clock, seconds.iter().map(|second| Some(at(second))));
            let came = self.asking.page(&self.base, &stamped, next, at(&0)).unwrap();
            let known = Known { etag: Some("W/\"7\"".to_owned()), last_modified: None };
            self.asking.took(came, &[], known, self.now)?;
            Ok(self.asking.cursor.clone())
        }

        fn waits(&self) -> Duration {
            self.asking.standing().due.saturating_sub(self.now)
        }
    }

    const LATE: &str = "2026-11-22T08:00:00";

    #[test]
    fn a_round_goes_from_page_to_page_and_the_next_begins_an_interval_later() {
        let mut polled = Polled::new();
        let (url, _) = polled.ask();
        assert_eq!(
            url,
            "Encounter?_lastUpdated=ge2026-11-22T07:55:00.000Z&_sort=_lastUpdated&_count=500"
        );
        let cursor = polled.page(&[1, 2], Some("?_page=2")).unwrap();
        assert_eq!(cursor.reached.unwrap().to_string(), "2026-11-22T08:00:02Z");
        assert_eq!(polled.waits(), Duration::ZERO);
        assert_eq!(polled.ask().0, "Encounter?_page=2");
        polled.page(&[3], None).unwrap();
        assert!((30..=33).contains(&polled.waits().as_secs()), "{:?}", polled.waits());
        assert_eq!(polled.asking.whole_at, Some(7));
        polled.now += polled.waits();
        assert!(polled.ask().0.contains("ge2026-11-22T07:55:03"));
    }

    #[test]
    fn where_nothing_happens_less_and_less_is_asked_for_and_then_by_what_it_is_known_by() {
        let mut polled = Polled::new();
        let mut asked = Vec::new();
        for _ in 0..14 {
            asked.push(polled.ask());
            polled.page(&[0], None).unwrap();
            polled.now += Duration::from_secs(30);
        }
        let urls: Vec<&str> = asked.iter().map(|(url, _)| url.get(26..42).unwrap()).collect();
        assert!(urls.is_sorted(), "{urls:?}");
        let (last, etag) = asked.last().unwrap();
        assert!(last.contains(LATE), "{last}");
        assert_eq!(etag.as_deref(), Some("W/\"7\""));
        assert_eq!(asked[1].1, None, "another address is not known");
        // 304: the round is whole.
        polled.ask();
        assert_eq!(polled.asking.failed(&FetchFault::NotModified, polled.now), Then::Unchanged);
        assert!(polled.waits() >= Duration::from_secs(30));
    }

    #[test]
    fn what_has_several_pages_is_never_asked_for_by_what_it_is_known_by() {
        let mut polled = Polled::new();
        for _ in 0..30 {
            assert_eq!(polled.ask().1, None);
            polled.page(&[0], Some("?_page=2")).unwrap();
            polled.ask();
            polled.page(&[0], None).unwrap();
            polled.now += Duration::from_secs(30);
        }
    }

    #[test]
    fn a_fault_leaves_the_cursor_and_asks_again_for_the_same_page() {
        let mut polled = Polled::new();
        polled.ask();
        polled.page(&[1], Some("?_page=2")).unwrap();
        let (second, _) = polled.ask();
        let cursor = polled.asking.cursor.clone();
        let fault = FetchFault::Reset;
        assert!(matches!(polled.asking.failed(&fault, polled.now), Then::Again(_)));
        assert!(polled.waits() > Duration::ZERO);
        assert_eq!(polled.ask().0, second);
        // The server has forgotten the search: the round begins anew, at the cursor.
        let gone = FetchFault::Refused { status: 410, codes: Vec::new() };
        assert!(matches!(polled.asking.failed(&gone, polled.now), Then::Anew(_)));
        assert_eq!(polled.asking.cursor, cursor);
        assert!(polled.ask().0.contains("ge2026-11-22T07:55:01.000Z"));
    }

    #[test]
    fn what_a_server_does_not_know_or_cannot_carry_is_left_away() {
        let mut polled = Polled::new();
        polled.ask();
        let refused = FetchFault::Refused { status: 400, codes: vec!["invalid"] };
        assert_eq!(polled.asking.failed(&refused, polled.now), Then::Barer);
        assert_eq!(polled.waits(), Duration::ZERO);
        let (bare, _) = polled.ask();
        assert_eq!(bare, "Encounter?_lastUpdated=ge2026-11-22T07:55:00.000Z&_count=500");
        let huge = FetchFault::TooLarge { bytes_max: 1 };
        assert_eq!(polled.asking.failed(&huge, polled.now), Then::Smaller);
        assert!(polled.ask().0.ends_with("_count=250"));
        polled.page(&[1], None).unwrap();
        assert!(polled.ask().0.ends_with("_count=500"), "another round, another try");
        assert_eq!(polled.asking.failed(&refused, polled.now), Then::Stop);
        assert!(polled.asking.stops == 1 && polled.waits() >= Duration::from_secs(60));
    }

    #[test]
    fn a_link_that_leads_elsewhere_stops_behind_the_page_that_has_it() {
        let mut polled = Polled::new();
        polled.ask();
        let stray = polled.page(&[5], Some("http://127.0.0.1:10/fhir?_page=2"));
        assert_eq!(stray, Err(Stray::Link(BadLink::OtherOrigin)));
        let reached = polled.asking.cursor.reached.unwrap().to_string();
        assert_eq!(reached, "2026-11-22T08:00:05Z", "what it had is taken");
    }

    #[test]
    fn what_is_told_is_asked_at_once_and_what_failed_still_waits() {
        let mut polled = Polled::new();
        polled.ask();
        polled.page(&[10], None).unwrap();
        assert!(polled.waits() >= PACE.interval);
        for _ in 0..100 {
            polled.asking.hasten(polled.now);
        }
        assert_eq!(polled.waits(), HASTE_PAUSE, "a storm costs a round a second");
        polled.now += HASTE_PAUSE;
        polled.ask();
        // Behind the search that is under way: it may not show it.
        polled.asking.hasten(polled.now);
        polled.page(&[20], None).unwrap();
        assert_eq!(polled.waits(), HASTE_PAUSE);
        polled.now += HASTE_PAUSE;
        polled.ask();
        let wait = Duration::from_secs(60);
        let throttled = FetchFault::Throttled { retry_after: Some(wait) };
        polled.asking.failed(&throttled, polled.now);
        polled.asking.hasten(polled.now);
        assert!(polled.waits() >= wait, "who asks to be left alone is");
        polled.now += wait * 2;
        polled.ask();
        polled.page(&[20], None).unwrap();
        assert_eq!(polled.waits(), Duration::ZERO, "and asked once more behind that");
        polled.ask();
        polled.page(&[20], None).unwrap();
        assert!(polled.waits() >= PACE.interval, "once");
    }
}
