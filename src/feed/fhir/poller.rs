//! A feed that polls a FHIR server.
//!
//! Promises: a cursor is kept when the resources before it are committed (PROMISE-1), so that a crash at
//! any instant fetches some again and misses none; resources are taken in the order of their pages
//! (PROMISE-4); a page is held at a time; what a server does wrong costs one query and is told.
//! Knows nothing of: what a resource says, how it is taken.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::asking::{Asking, Came, Pace};
use super::capability::Offers;
use super::client::{Client, Fetched, Known};
use super::cursor::{Cursor, Since};
use super::fault::FetchFault;
use super::page::{Listed, Mode, Page, in_json, page_in_json};
use super::patients::PatientFault;
use super::query::Query;
use super::recheck::{self, Recheck};
use super::subscription::notice::{Brought, Name, NotNow, Notice};
use super::take::{Cut, Taker};
use super::trouble::{self, Then};
use super::turns::{self, Next};
use crate::admit::assess::{stopped, unlisted};
use crate::admit::entry::{Admission, Kept};
use crate::clock;
use crate::feed::intake::{FeedContext, seconds};
use crate::feed::mllp::budget::Share;
use crate::metrics::PollMetrics;
use crate::pace::Backoff;
use crate::parse::fhir::{Resource, Version};
use crate::phi::Phi;
use crate::store::{Busy, Turn};

/// The kind of what is kept of a query.
const CURSOR: &str = "cursor";
/// Most cursors that a feed keeps: eight times what it may ask, so that queries which come and go in
/// the configuration find theirs.
const CURSORS_MAX: u32 = 256;
/// How long a page waits before it is looked whether the store takes resources again.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// A page above this is read off the runtime's threads, since it takes milliseconds.
const BLOCKING_BYTES: usize = 256 << 10;
/// Most entries of one page that are told of when they cannot be read. With more, the first tell the
/// story.
const UNREADABLE_MAX: usize = 20;

/// Resources that a notification named and that are held before they are taken.
const NAMED_MAX: usize = 100;
/// Their bytes, together.
const NAMED_BYTES_MAX: usize = 4 << 20;

/// What a feed asks, as meant.
#[derive(Debug)]
pub struct Polling {
    /// What the server is said to speak.
    pub version: Version,
    /// What is asked, in the order of turns.
    pub queries: Vec<Query>,
    /// Where a query begins that has no cursor.
    pub since: Since,
    /// How often, and how much at a time.
    pub pace: Pace,
    /// Largest page, in bytes.
    pub page_bytes_max: usize,
    /// Most Patients that are remembered.
    pub patients_max: u32,
    /// How old what is remembered of a Patient may be.
    pub patient_age_max: Duration,
    /// How old the answer may be that somebody has no consent; without it nobody is asked for any.
    pub no_consent_age_max: Option<Duration>,
    /// Within which time each Consent that may permit is asked for again; without it, never.
    pub consents_recheck: Option<Duration>,
}

impl Polling {
    /// How many bytes a resource or a page may have, and by which release it is read.
    pub(super) const fn bounds(&self) -> (usize, Version) {
        (self.page_bytes_max, self.version)
    }
}

/// A feed that polls.
#[derive(Debug)]
pub struct Poller {
    client: Arc<Client>,
    polling: Polling,
    taker: Taker,
    recheck: Recheck,
    context: Arc<FeedContext>,
    metrics: PollMetrics,
    offers: Offers,
    asking: Vec<Asking>,
    /// What the server tells by itself, where it is listened to.
    notices: Option<mpsc::Receiver<Notice>>,
    /// When it began, in milliseconds since 1970.
    began_at: i64,
    turn: u64,
}

impl Poller {
    /// A poller that has asked nothing yet.
    #[must_use]
    pub fn new(
        client: Arc<Client>,
        polling: Polling,
        context: Arc<FeedContext>,
        metrics: PollMetrics,
        notices: Option<mpsc::Receiver<Notice>>,
    ) -> Self {
        let taker = Taker::new(&context, &client, &polling);
        let recheck = Recheck::new(&context, &client, &polling, &metrics);
        Self {
            client,
            polling,
            taker,
            recheck,
            context,
            metrics,
            offers: Offers::default(),
            asking: Vec::new(),
            notices,
            began_at: clock::now_ms(),
            turn: 0,
        }
    }

    /// Polls until the daemon stops.
    pub async fn run(mut self) {
        let mut stopping = self.context.stopping.clone();
        tokio::select! {
            // Cut at any wait, it has moved no cursor ahead of what is committed.
            () = self.poll() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn poll(&mut self) {
        self.show();
        self.begin().await;
        loop {
            // One between two pages: neither waits for the other's end.
            if let Some(notice) = self.notices.as_mut().and_then(|it| it.try_recv().ok()) {
                self.notified(notice).await;
            }
            // So does a Consent that may be gone.
            if self.recheck.due() <= clock::monotonic()
                && let Some(why) = self.recheck.step(&mut self.taker).await
            {
                self.raise(recheck::QUERY, &why).await;
            }
            let standings: Vec<_> = self.asking.iter().map(Asking::standing).collect();
            match turns::next(&standings, clock::monotonic()) {
                Next::Now(place) => self.ask(place).await,
                Next::At(due) => {
                    let due = due.min(self.recheck.due());
                    let pause = sleep(due.saturating_sub(clock::monotonic()));
                    tokio::select! {
                        () = pause => {}
                        notice = told(&mut self.notices) => self.notified(notice).await,
                    }
                }
            }
            self.show();
        }
    }

    /// Learns what the server offers, and takes up the cursors.
    async fn begin(&mut self) {
        let (mut backoff, mut stops) = (Backoff::new(), 0);
        loop {
            let why = match self.discover().await {
                Ok(date) => match self.take_up(date).await {
                    Ok(()) => return,
                    Err(why) => why,
                },
                Err(Unfit::Passing(fault)) => {
                    self.complain("metadata", &fault);
                    let asked = fault.retry_after().map(trouble::asked_for);
                    sleep(asked.unwrap_or_else(|| backoff.delay())).await;
                    continue;
                }
                Err(Unfit::Lasting(why)) => why,
            };
            stops += 1;
            self.cannot_begin(&why).await;
            sleep(trouble::stopped(stops)).await;
        }
    }

    /// Reads what the server offers; gives its clock.
    async fn discover(&mut self) -> Result<Option<Timestamp>, Unfit> {
        let url = self.client.base().below("metadata");
        let url = url.map_err(|bad| Unfit::Lasting(bad.to_string()))?;
        let fetched = self.client.fetch(&url, &Known::default()).await.map_err(|fault| {
            if fault.passes() {
                Unfit::Passing(fault)
            } else {
                Unfit::Lasting(format!("what the server offers (metadata): {fault}"))
            }
        })?;
        let wrong = |wrong: &dyn std::fmt::Display| {
            Unfit::Lasting(format!("what the server offers (metadata): {wrong}"))
        };
        let body = in_json(&fetched.body.into_exposed(), fetched.form, self.polling.bounds());
        let offers = Offers::read(&body.map_err(|malformed| wrong(&malformed))?);
        let offers = offers.map_err(|not_one| wrong(&not_one))?;
        let wanted = self.polling.version;
        if offers.release != Some(wanted) {
            let says = if offers.version.is_empty() { "none" } else { &offers.version };
            return Err(Unfit::Lasting(format!(
                "the server speaks FHIR {says}, and the feed's `version` is {wanted}"
            )));
        }
        let feed = &self.context.rules.feed;
        for query in &self.polling.queries {
            let resource = query.resource;
            if !offers.has(resource) {
                tracing::warn!(%feed, resource, "the server does not say that it has resources of this type");
            } else if !offers.is_searched_by_update(resource) {
                tracing::warn!(%feed, resource, "the server does not say that it can be asked by _lastUpdated; \
                    where it cannot, each round fetches everything");
            }
        }
        tracing::info!(%feed, version = offers.version, "polling");
        self.offers = offers;
        Ok(fetched.date)
    }

    /// Takes up each query at its cursor; where there is none, where `since` says, durably, so that a
    /// restart does not begin later.
    async fn take_up(&mut self, date: Option<Timestamp>) -> Result<(), String> {
        let mut asking = Vec::new();
        let mut kept = Vec::new();
        for query in &self.polling.queries {
            let found = self.context.kept(CURSOR, &self.name(query));
            let found = found.map_err(|error| format!("its cursors cannot be read: {error}"))?;
            let cursor = match found.and_then(|kept| Cursor::read(kept.expose())) {
                Some(cursor) => cursor,
                None => {
                    let reached = match self.polling.since {
                        Since::All => None,
                        Since::At(time) => Some(time),
                        // PROMISE-1: ours may be ahead of the server's, and would pass over what it
                        // stamps until then.
                        Since::Now => Some(date.ok_or(
                            "the server does not say its time (Date), by which `since = \"now\"` goes; \
                             write a day",
                        )?),
                    };
                    let cursor = Cursor { reached, unsorted: false };
                    kept.push(self.keeping(query, &cursor));
                    cursor
                }
            };
            asking.push(Asking::new(query.clone(), cursor, self.polling.pace));
        }
        // Where the daemon stops, nothing is asked any more.
        self.keep(kept).await;
        self.asking = asking;
        Ok(())
    }

    /// Tells what keeps all of the feed from being polled.
    async fn cannot_begin(&self, why: &str) {
        let feed = Arc::clone(&self.context.rules.feed);
        tracing::error!(%feed, why, "not polled; looked again within an hour, and at a restart");
        self.metrics.stopped.set(count(self.polling.queries.len()));
        self.raise("metadata", why).await;
    }

    /// Asks for one page, and takes it.
    async fn ask(&mut self, place: usize) {
        self.turn += 1;
        let turn = self.turn;
        let times = (clock::monotonic(), clock::now_ms());
        let Some(asking) = self.asking.get_mut(place) else { return };
        let (url, known) = match asking.ask((self.client.base(), &self.offers), times, turn) {
            Ok(asked) => asked,
            Err(bad) => return self.stop(place, bad.to_string()).await,
        };
        match self.client.fetch(&url, &known).await {
            Ok(fetched) => self.page(place, fetched).await,
            Err(fault) => {
                let Some(asking) = self.asking.get_mut(place) else { return };
                let then = asking.failed(&fault, clock::monotonic());
                self.told(place, then, &fault.to_string()).await;
            }
        }
    }

    /// Takes what a notification brought, and asks at once where it brought not all.
    async fn notified(&mut self, notice: Notice) {
        let Notice { brought, catch_up, share, done } = notice;
        let taken = self.brought(brought).await;
        drop(share);
        let whole = matches!(taken, Ok(true));
        if let Some(query) = catch_up.or((!whole).then_some(None)) {
            let now = clock::monotonic();
            let about = |asking: &&mut Asking| query.as_ref().is_none_or(|it| it == asking.text());
            self.asking.iter_mut().filter(about).for_each(|asking| asking.hasten(now));
        }
        // Whoever asked may be gone; then it is sent again, and is known.
        done.send(taken.map(drop)).ok();
    }

    /// Takes resources that came, and those that were named; whether it was all of them.
    async fn brought(&mut self, brought: Vec<Brought>) -> Result<bool, NotNow> {
        let (mut listed, mut bytes, mut whole) = (Vec::new(), 0, true);
        for one in brought {
            match one {
                Brought::Whole(one) => listed.push(one),
                Brought::Named(name) => match self.named(&name).await? {
                    Some(one) => {
                        bytes += one.bytes.expose().len();
                        listed.push(one);
                    }
                    None => whole = false,
                },
            }
            if listed.len() >= NAMED_MAX || bytes >= NAMED_BYTES_MAX {
                self.take_brought(&std::mem::take(&mut listed)).await?;
                bytes = 0;
            }
        }
        self.take_brought(&listed).await?;
        Ok(whole)
    }

    async fn take_brought(&mut self, listed: &[Listed]) -> Result<(), NotNow> {
        match self.taker.take(listed).await {
            Ok(()) => {
                self.metrics.resources.add("taken", listed.len() as u64);
                Ok(())
            }
            Err(cut) => {
                self.complain("a notification", &cut);
                Err(NotNow)
            }
        }
    }

    /// A resource by its name; nothing where the server does not show it, so that a search has to find it.
    async fn named(&self, name: &Name) -> Result<Option<Listed>, NotNow> {
        let Name { kind, id } = name;
        let path = format!("{kind}/{id}");
        let Ok(url) = self.client.base().below(&path) else { return Ok(None) };
        match self.client.fetch(&url, &Known::default()).await {
            Ok(fetched) => {
                let (form, body) = (fetched.form, fetched.body.into_exposed());
                let Ok(body) = in_json(&body, form, self.polling.bounds()) else { return Ok(None) };
                let found = Resource::parse(&body, self.polling.page_bytes_max).ok();
                let is_it = found.is_some_and(|it| it.kind() == kind && it.id() == Some(id));
                Ok(is_it.then(|| Listed::one(body)))
            }
            Err(FetchFault::Refused { status: 410, .. }) => Ok(Some(Listed::removed(path, None))),
            Err(fault) if fault.passes() => {
                self.complain("a notification", &fault);
                Err(NotNow)
            }
            Err(_) => Ok(None),
        }
    }

    /// Takes a page that came.
    async fn page(&mut self, place: usize, fetched: Fetched) {
        let Some(asking) = self.asking.get_mut(place) else { return };
        let body = fetched.body.into_exposed();
        let mut share = Share::default();
        self.context.budget.grow(&mut share, body.len()).await;
        self.context.metrics.bytes.increment(body.len() as u64);
        let bytes_max = self.polling.page_bytes_max;
        let read = || {
            let (body, wrong) = page_in_json(&body, fetched.form, self.polling.bounds())?;
            let asked = (asking.query.resource, &asking.window);
            Page::read((&body, wrong), bytes_max, fetched.date, asked)
        };
        let page =
            if body.len() > BLOCKING_BYTES { tokio::task::block_in_place(read) } else { read() };
        let page = match page {
            Ok(page) => page,
            Err(malformed) => {
                let then = asking.no_page(clock::monotonic());
                return self
                    .told(place, then, &format!("the answer is no page: {malformed}"))
                    .await;
            }
        };
        let next = page.next.as_deref();
        let came = asking.page(self.client.base(), &page.stamped, next, clock::now());
        let Some(came) = came else { return };
        self.metrics.resources.add("known", page.known as u64);
        if !self.tell_unreadable(place, &page).await {
            return;
        }
        let taken = page.listed.iter().filter(|one| one.mode != Mode::Beside).count();
        if !self.take(place, &page.listed).await {
            return;
        }
        self.metrics.resources.add("taken", taken as u64);
        drop(share);
        self.move_on(place, came, &page.listed, fetched.known).await;
    }

    /// Has the resources of a page committed; false where that cannot be, for now.
    async fn take(&mut self, place: usize, listed: &[Listed]) -> bool {
        loop {
            let why = match self.taker.take(listed).await {
                Ok(()) => return true,
                Err(Cut::Busy) if self.context.journal.busy() == Some(Busy::Stopping) => {
                    return false;
                }
                Err(Cut::Busy) => {
                    self.wait_for_room().await;
                    continue;
                }
                Err(cut @ (Cut::Patient(PatientFault::Fetch(_)) | Cut::Consents(_))) => {
                    self.held(place, &cut).await;
                    return false;
                }
                Err(Cut::Patient(PatientFault::Store(error)) | Cut::Store(error)) => error,
            };
            self.complain("the store", &why);
            self.wait_for_room().await;
        }
    }

    /// The server does not say what a page cannot be taken without: the page comes again.
    async fn held(&mut self, place: usize, cut: &Cut) {
        let (Cut::Patient(PatientFault::Fetch(fault)) | Cut::Consents(fault)) = cut else { return };
        let Some(asking) = self.asking.get_mut(place) else { return };
        let then = asking.failed(fault, clock::monotonic());
        self.told(place, then, &cut.to_string()).await;
    }

    /// The page is committed: its cursor is kept, and then the query goes on.
    // PROMISE-1: in this order. A crash before it fetches the page again, and its resources are
    // duplicates.
    async fn move_on(&mut self, place: usize, came: Came, listed: &[Listed], known: Known) {
        let Some(asking) = self.asking.get(place) else { return };
        if came.cursor != asking.cursor {
            let kept = vec![self.keeping(&asking.query, &came.cursor)];
            if !self.keep(kept).await {
                return;
            }
        }
        let Some(asking) = self.asking.get_mut(place) else { return };
        if let Err(stray) = asking.took(came, listed, known, clock::monotonic()) {
            self.stop(place, stray.to_string()).await;
        }
    }

    /// Keeps what cannot be read of a page for people; false where the daemon stops.
    async fn tell_unreadable(&mut self, place: usize, page: &Page) -> bool {
        self.metrics.resources.add("unreadable", page.wrong.len() as u64);
        let Some(query) = self.asking.get(place).map(|it| Arc::clone(it.text())) else {
            return false;
        };
        for one in page.wrong.iter().take(UNREADABLE_MAX) {
            let entry = (&one.wrong, one.name.as_deref());
            let admission = || unlisted(&query, &self.context.rules, clock::now_ms(), entry);
            if !self.journal(admission).await {
                return false;
            }
        }
        true
    }

    async fn told(&mut self, place: usize, then: Then, why: &str) {
        let Some(query) = self.asking.get(place).map(|it| Arc::clone(it.text())) else { return };
        match then {
            Then::Unchanged => {}
            Then::Stop => self.stop(place, why.to_owned()).await,
            Then::Again(_) | Then::Anew(_) | Then::Smaller | Then::Barer => {
                self.complain(&query, &why);
            }
        }
    }

    fn complain(&self, query: &str, why: &dyn std::fmt::Display) {
        if let Some(more) = self.context.quiet.due("fhir") {
            tracing::warn!(feed = %self.context.rules.feed, query, %why, more, "not fetched; tried again");
        }
    }

    /// A query is not asked for a while, and a human is told.
    async fn stop(&mut self, place: usize, why: String) {
        let Some(asking) = self.asking.get_mut(place) else { return };
        asking.stop(clock::monotonic());
        let query = Arc::clone(asking.text());
        let feed = &self.context.rules.feed;
        tracing::error!(%feed, %query, why, "the query is stopped; tried again within an hour, and at a restart");
        self.raise(&query, &why).await;
    }

    /// Opens an exception, when the store can take one.
    async fn raise(&self, query: &str, why: &str) {
        self.journal(|| stopped(query, &self.context.rules, clock::now_ms(), why.to_owned())).await;
    }

    /// Has it in the journal, as soon as there is room; false where the daemon stops.
    async fn journal(&self, admission: impl Fn() -> Admission) -> bool {
        loop {
            let written = self.context.append(admission(), &Turn::default()).await;
            if let Some(done) = self.done(written).await {
                return done;
            }
        }
    }

    /// Has it remembered, as soon as there is room; false where the daemon stops.
    async fn keep(&self, kept: Vec<Kept>) -> bool {
        loop {
            let written = self.context.keep(kept.clone()).await;
            if let Some(done) = self.done(written).await {
                return done;
            }
        }
    }

    /// Whether something is written; nothing where it is to be tried again, when there is room.
    async fn done(&self, written: Result<(), Busy>) -> Option<bool> {
        match written {
            Ok(()) => Some(true),
            Err(Busy::Stopping) => Some(false),
            Err(Busy::Disk) => {
                self.wait_for_room().await;
                None
            }
        }
    }

    async fn wait_for_room(&self) {
        while self.context.journal.busy().is_some() {
            sleep(BUSY_PAUSE).await;
        }
        // It may have been another limit than the disk's: never in a tight circle.
        sleep(BUSY_PAUSE / 10).await;
    }

    fn keeping(&self, query: &Query, cursor: &Cursor) -> Kept {
        let value = Some(Phi::new(cursor.written()));
        Kept { kind: CURSOR, key: self.name(query), value, most: CURSORS_MAX }
    }

    /// What a query's cursor is kept under: of another server, or another query, it is another's.
    fn name(&self, query: &Query) -> String {
        format!("{} {}", self.client.base(), query.text())
    }

    /// What is told of how it stands.
    fn show(&self) {
        let whole = self.asking.iter().map(|asking| asking.whole_at.unwrap_or(self.began_at)).min();
        self.metrics.cursor.set(seconds(whole.unwrap_or(self.began_at)));
        let stopped = self.asking.iter().filter(|asking| asking.stops > 0).count();
        self.metrics.stopped.set(count(stopped + usize::from(self.taker.is_without_consents())));
    }
}

/// The next notification; never, where nobody listens or all who could speak are gone.
async fn told(notices: &mut Option<mpsc::Receiver<Notice>>) -> Notice {
    if let Some(receiver) = notices
        && let Some(notice) = receiver.recv().await
    {
        return notice;
    }
    std::future::pending().await
}

/// Why a feed cannot be polled yet.
enum Unfit {
    /// It may pass.
    Passing(FetchFault),
    /// Somebody has to do something.
    Lasting(String),
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
