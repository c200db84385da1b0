//! One round of a query: its pages, from the first to the last.
//!
//! Promises: a cursor is never ahead of what was taken: with pages in order it stands at the last
//! resource, with pages in none it moves when all of them are taken; a resource stamped in the future
//! does not take it along; a round ends, whatever the server's links say.
//! Knows nothing of: HTTP, the journal.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use reqwest::Url;

use super::base::{BadLink, Base};
use super::cursor::Cursor;

/// What a page says of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamped {
    /// The server's clock when it answered: the earlier of `Date` and the Bundle's `meta.lastUpdated`.
    pub clock: Option<Timestamp>,
    /// When what was found first on it changed.
    pub first: Option<Timestamp>,
    /// When what was found last on it changed.
    pub last: Option<Timestamp>,
    /// The latest change on it.
    pub newest: Option<Timestamp>,
    /// Each was changed at or after the one before it.
    pub sorted: bool,
    /// One does not say when it changed.
    pub dateless: bool,
}

/// Why the next page is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stray {
    /// It is none of the server's.
    #[error("the link to the next page: {0}")]
    Link(BadLink),
    /// It was there already.
    #[error("the link to the next page leads back to one that was taken in the same round")]
    Loop,
    /// There are more than any round takes, and the cursor could not move.
    #[error(
        "there are more than {pages_max} pages in no order of change, so that none is the last (pages_max)"
    )]
    Endless {
        /// The bound.
        pages_max: u32,
    },
}

/// What comes behind a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Another one.
    Page(Url),
    /// Nothing: the round is done.
    Nothing,
    /// More than one round takes; the next goes on at the cursor, at once.
    More,
}

/// A round that is under way.
#[derive(Debug)]
pub struct Round {
    /// The cursor when it began.
    began: Cursor,
    pages: u32,
    visited: HashSet<[u8; 16]>,
    /// The server's clock at the first page.
    opened: Option<Timestamp>,
    /// The server's clock at the last page so far; ours where it says none.
    clock: Timestamp,
    newest: Option<Timestamp>,
    last: Option<Timestamp>,
    sorted: bool,
    dateless: bool,
}

impl Round {
    /// Begins one with the address of its first page.
    #[must_use]
    pub fn begin(began: Cursor, first: &Url) -> Self {
        Self {
            began,
            pages: 0,
            visited: HashSet::from([name(first)]),
            opened: None,
            clock: Timestamp::MAX,
            newest: None,
            last: None,
            sorted: true,
            dateless: false,
        }
    }

    /// A page was fetched, while our clock said `now`. That it is ours alone, where the server says no
    /// time, can hold a cursor back and never move it on.
    pub fn page(&mut self, page: &Stamped, now: Timestamp) {
        self.pages += 1;
        self.clock = page.clock.unwrap_or(now);
        if self.pages == 1 {
            self.opened = page.clock;
        }
        let follows = match (self.last, page.first) {
            (Some(before), Some(first)) => before <= first,
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        self.sorted &= follows && page.sorted;
        self.dateless |= page.dateless;
        self.last = page.last.or(self.last);
        self.newest = self.newest.max(page.newest);
    }

    /// Whether no page has come yet.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.pages == 0
    }

    /// Whether the page that came is the first.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.pages <= 1
    }

    /// Where the cursor stands once all pages so far are committed.
    #[must_use]
    pub fn cursor(&self, ended: bool) -> Cursor {
        let unsorted = self.began.unsorted || !self.sorted;
        // What is stamped later than the server's own clock is asked for again until its time has
        // come; with it the cursor would pass over all that changes until then.
        let sane = |time: Timestamp| time.min(self.clock);
        let reached = if ended {
            // Of resources that say no time, the server's clock alone says how far they go.
            let opened = if self.dateless { self.opened } else { None };
            self.newest.map(sane).max(opened)
        } else if unsorted || self.dateless {
            None
        } else {
            self.last.map(sane)
        };
        Cursor { reached: reached.max(self.began.reached), unsorted }
    }

    /// What comes behind the page that was fetched from an address, by its link.
    ///
    /// # Errors
    /// It cannot be followed.
    pub fn behind(
        &mut self,
        base: &Base,
        from: &Url,
        next: Option<&str>,
        pages_max: u32,
    ) -> Result<Behind, Stray> {
        let Some(next) = next else { return Ok(Behind::Nothing) };
        let url = base.linked(from, next).map_err(Stray::Link)?;
        if !self.visited.insert(name(&url)) {
            return Err(Stray::Loop);
        }
        if self.pages < pages_max {
            return Ok(Behind::Page(url));
        }
        if self.cursor(false).reached > self.began.reached {
            return Ok(Behind::More);
        }
        Err(Stray::Endless { pages_max })
    }
}

/// What an address is remembered by: links may hold kilobytes of a server's state.
fn name(url: &Url) -> [u8; 16] {
    let sum = digest(&SHA256, url.as_str().as_bytes());
    let mut name = [0; 16];
    name.iter_mut().zip(sum.as_ref()).for_each(|(to, from)| *to = *from);
    name
}

impl Stamped {
    /// Of the times of what was found on a page, in its order.
    #[must_use]
    pub fn of(clock: Option<Timestamp>, found: impl Iterator<Item = Option<Timestamp>>) -> Self {
        let mut page = Self { clock, sorted: true, ..Self::default() };
        for time in found {
            let Some(time) = time else {
                page.dateless = true;
                continue;
            };
            page.first.get_or_insert(time);
            page.sorted &= page.last.is_none_or(|last| last <= time);
            page.last = Some(time);
            page.newest = page.newest.max(Some(time));
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn base() -> Base {
        Base::read("http://127.0.0.1:9/fhir", false).unwrap()
    }

    fn url(path: &str) -> Url {
        base().below(path).unwrap()
    }

    fn round(reached: Option<i64>) -> Round {
        let began = Cursor { reached: reached.map(at), unsorted: false };
        Round::begin(began, &url("Patient?_count=2"))
    }

    fn page(clock: i64, found: &[i64]) -> Stamped {
        Stamped::of(Some(at(clock)), found.iter().map(|second| Some(at(*second))))
    }

    fn reached(round: &Round, ended: bool) -> Option<i64> {
        round.cursor(ended).reached.map(|reached| reached.as_second() - 1_000_000)
    }

    #[test]
    fn with_pages_in_order_the_cursor_stands_at_the_last_resource_of_each() {
        let mut round = round(Some(0));
        round.page(&page(100, &[10, 20]), at(0));
        assert_eq!(reached(&round, false), Some(20));
        round.page(&page(101, &[20, 20]), at(0));
        assert_eq!(reached(&round, false), Some(20));
        round.page(&page(102, &[20, 35]), at(0));
        assert_eq!(reached(&round, true), Some(35));
        assert!(!round.cursor(true).unsorted);
    }

    #[test]
    fn with_pages_in_no_order_it_goes_back_and_moves_when_all_are_taken() {
        let mut round = round(Some(5));
        round.page(&page(100, &[10, 20]), at(0));
        assert_eq!(reached(&round, false), Some(20));
        round.page(&page(100, &[15, 30]), at(0));
        let cursor = round.cursor(false);
        assert_eq!((cursor.reached, cursor.unsorted), (Some(at(5)), true), "back to where it was");
        round.page(&page(100, &[25]), at(0));
        assert_eq!(reached(&round, true), Some(30));
        // The next round knows it, and does not move within.
        let mut next = Round::begin(round.cursor(true), &url("Patient"));
        next.page(&page(100, &[40]), at(0));
        assert_eq!(reached(&next, false), Some(30));
        assert_eq!(reached(&next, true), Some(40));
    }

    #[test]
    fn a_resource_stamped_in_the_future_does_not_take_the_cursor_along() {
        let mut round = round(Some(0));
        round.page(&page(100, &[10, 99_999]), at(50));
        assert_eq!((reached(&round, false), reached(&round, true)), (Some(100), Some(100)));
        // Where the server says no time, ours holds it back.
        let mut silent = Round::begin(Cursor::default(), &url("Patient"));
        silent.page(&Stamped { clock: None, ..page(0, &[10, 99_999]) }, at(50));
        assert_eq!(reached(&silent, true), Some(50));
    }

    #[test]
    fn without_times_the_clock_of_the_server_at_the_first_page_counts_when_all_are_taken() {
        let mut round = round(None);
        let dateless = |clock| Stamped::of(Some(at(clock)), [None, None].into_iter());
        round.page(&dateless(100), at(0));
        assert_eq!(reached(&round, false), None);
        round.page(&dateless(130), at(0));
        assert_eq!(
            reached(&round, true),
            Some(100),
            "what changed meanwhile is for the next round"
        );
        let mut empty = Round::begin(Cursor::default(), &url("Patient"));
        empty.page(&page(100, &[]), at(0));
        assert_eq!(reached(&empty, true), None, "nothing came that it could stand at");
    }

    #[test]
    fn a_cursor_never_goes_back_behind_where_the_round_began() {
        let mut round = round(Some(50));
        round.page(&page(60, &[45, 46]), at(0));
        assert_eq!((reached(&round, false), reached(&round, true)), (Some(50), Some(50)));
    }

    #[test]
    fn a_link_that_was_followed_leads_nowhere_else_and_never_twice() {
        let mut round = round(Some(0));
        let first = url("Patient?_count=2");
        round.page(&page(100, &[10]), at(0));
        let second = round.behind(&base(), &first, Some("?_page=2"), 10);
        let Ok(Behind::Page(second)) = second else { panic!("{second:?}") };
        assert_eq!(second.as_str(), "http://127.0.0.1:9/fhir/Patient?_page=2");
        for (link, wanted) in [
            (Some("?_page=2"), Err(Stray::Loop)),
            (Some("http://127.0.0.1:9/fhir/Patient?_count=2"), Err(Stray::Loop)),
            (Some("http://127.0.0.1:10/fhir?_page=3"), Err(Stray::Link(BadLink::OtherOrigin))),
            (Some("http://169.254.169.254/latest"), Err(Stray::Link(BadLink::OtherOrigin))),
            (None, Ok(Behind::Nothing)),
        ] {
            assert_eq!(round.behind(&base(), &second, link, 10), wanted, "{link:?}");
        }
    }

    #[test]
    fn pages_without_end_end_the_round_and_one_that_gets_on_goes_on() {
        let mut stuck = round(Some(50));
        let from = url("Patient");
        for number in 0..3 {
            stuck.page(&page(100, &[50, 50]), at(0));
            let behind = stuck.behind(&base(), &from, Some(&format!("?_page={number}")), 3);
            if number < 2 {
                assert!(matches!(behind, Ok(Behind::Page(_))), "{number}");
            } else {
                assert_eq!(behind, Err(Stray::Endless { pages_max: 3 }));
            }
        }
        let mut large = round(Some(50));
        large.page(&page(100, &[60]), at(0));
        assert_eq!(large.behind(&base(), &from, Some("?_page=1"), 1), Ok(Behind::More));
    }

    proptest! {
        /// Whatever times a server says, in whatever order: what was not taken is not passed over.
        #[test]
        fn a_cursor_that_moved_within_a_round_in_order_has_nothing_untaken_before_it(
            mut stamps in proptest::collection::vec(0_i64..50, 1..40),
            cut in 1_usize..40,
        ) {
            stamps.sort_unstable();
            let cut = cut.min(stamps.len());
            let (taken, left) = stamps.split_at(cut);
            let mut round = Round::begin(Cursor::default(), &url("Patient"));
            for chunk in taken.chunks(3) {
                round.page(&page(1_000, chunk), at(0));
            }
            let cursor = round.cursor(false).reached.unwrap();
            // `ge`: what bears the cursor's own time is asked for again.
            prop_assert!(left.iter().all(|stamp| at(*stamp) >= cursor));
        }
    }
}
