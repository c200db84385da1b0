//! The Subscriptions of a feed on its server, from day to day.
//!
//! Promises: what is wanted is made, renewed before it ends and made to tell again when it does not; what is
//! not wanted any more is removed; nothing of others is touched; a server that refuses is told to a human
//! once, and asked again within an hour; one that has gone silent is noticed.
//! Knows nothing of: what notifications bring. The feed polls whether or not any come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::ear::{Ear, KEPT, KEPT_MAX};
use super::made::{self, Found};
use super::{Terms, Wanted};
use crate::admit::assess::stopped;
use crate::admit::entry::Kept;
use crate::clock;
use crate::feed::fhir::client::{Client, Known, Method, Url};
use crate::feed::fhir::fault::FetchFault;
use crate::feed::fhir::trouble;
use crate::pace::{Backoff, spread};
use crate::parse::fhir::Bundle;
use crate::phi::Phi;
use crate::store::{Busy, Turn};

/// How often a Subscription is looked at that nothing is wrong with.
const LOOK_INTERVAL: Duration = Duration::from_secs(300);
/// How long before its end one is renewed whose end the server set.
const RENEW_BEFORE: Duration = Duration::from_secs(3_600);
/// For how long it is then asked for.
const RENEW_FOR: Duration = Duration::from_secs(7 * 86_400);
/// How long a pause may be before the silence of a server is looked at again.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long it is waited for a store that is busy.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Looks after the Subscriptions of a feed.
#[derive(Debug)]
pub struct Keeper {
    ear: Arc<Ear>,
    client: Arc<Client>,
    /// How they are made; none where somebody else makes them.
    terms: Option<Terms>,
    /// How long a server may be silent; for ever where it is none.
    silence_max: Option<Duration>,
    tended: Vec<Tended>,
    made: Vec<Made>,
}

/// One that we made. Kept durably.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    key: String,
    about: String,
    id: String,
    fingerprint: String,
}

/// How one that is wanted stands.
#[derive(Debug, Default)]
struct Tended {
    due: Duration,
    stops: usize,
    backoff: Backoff,
    tells: bool,
    /// When its silence was last noticed.
    silent_since: Option<Duration>,
}

/// Why one is not as it should be.
enum Trouble {
    /// It may pass.
    Passing(FetchFault),
    /// Somebody has to do something.
    Lasting(FetchFault),
    /// The store takes nothing now.
    Busy,
}

impl From<FetchFault> for Trouble {
    fn from(fault: FetchFault) -> Self {
        match fault {
            // Not built there, now and later.
            FetchFault::ServerError { status: 501, .. } => Self::Lasting(fault),
            fault if fault.passes() => Self::Passing(fault),
            fault => Self::Lasting(fault),
        }
    }
}

impl Keeper {
    /// One that has looked at nothing yet.
    #[must_use]
    pub fn new(
        ear: Arc<Ear>,
        client: Arc<Client>,
        terms: Option<Terms>,
        silence_max: Option<Duration>,
    ) -> Self {
        let tended = ear.subscribed.iter().map(|_| Tended::default()).collect();
        Self { ear, client, terms, silence_max, tended, made: Vec::new() }
    }

    /// Looks after them until the daemon stops.
    pub async fn run(mut self) {
        let mut stopping = self.ear.context.stopping.clone();
        tokio::select! {
            () = self.keep_all() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn keep_all(&mut self) {
        while !self.take_up() {
            sleep(BUSY_PAUSE).await;
        }
        self.remove_unwanted().await;
        if self.terms.is_none() {
            // Somebody else's: they are listened to alone.
            for (subscribed, tended) in self.ear.subscribed.iter().zip(&mut self.tended) {
                subscribed.is_made(None);
                tended.tells = true;
                tended.due = Duration::MAX;
            }
            self.show();
            if self.silence_max.is_none() {
                return;
            }
        }
        let ear = Arc::clone(&self.ear);
        loop {
            for place in 0..self.tended.len() {
                let due = self.tended.get(place).is_some_and(|it| it.due <= clock::monotonic());
                if due {
                    self.tend(place).await;
                }
            }
            self.listen();
            self.show();
            let next = self.tended.iter().map(|it| it.due).min().unwrap_or(Duration::MAX);
            let pause = next.saturating_sub(clock::monotonic()).min(self.pause());
            tokio::select! {
                () = sleep(pause) => {}
                () = ear.trouble.notified() => self.look_again(),
            }
        }
    }

    fn pause(&self) -> Duration {
        self.silence_max.map_or(PAUSE_MAX, |silence| (silence / 4).min(PAUSE_MAX))
    }

    /// Those that say of themselves that they do not tell are looked at now.
    fn look_again(&mut self) {
        for (subscribed, tended) in self.ear.subscribed.iter().zip(&mut self.tended) {
            if subscribed.known().is_down
                && tended.stops == 0
                && self.terms.is_some()
                && tended.tells
            {
                tended.tells = false;
                tended.due = Duration::ZERO;
            }
        }
    }

    /// Reads which ones were made before; false where the store cannot say.
    fn take_up(&mut self) -> bool {
        let context = &self.ear.context;
        let feed = &context.rules.feed;
        match context.kept(KEPT, &self.key()) {
            Ok(found) => {
                let read = found.and_then(|kept| serde_json::from_slice(kept.expose()).ok());
                self.made = read.unwrap_or_default();
                true
            }
            Err(error) => {
                tracing::error!(%feed, %error, "which subscriptions were made cannot be read");
                false
            }
        }
    }

    /// What the list of those that were made is kept under: of another server, it is another's.
    fn key(&self) -> String {
        format!("made {}", self.client.base())
    }

    async fn keep(&self) -> Result<(), Trouble> {
        // Plain texts: nothing in them fails to be written.
        let written = serde_json::to_vec(&self.made).unwrap_or_default();
        let value = (!self.made.is_empty()).then(|| Phi::new(written));
        let kept = Kept { kind: KEPT, key: self.key(), value, most: KEPT_MAX };
        self.ear.context.keep(vec![kept]).await.map_err(|_| Trouble::Busy)
    }

    /// Removes those that we made and the configuration does not want any more.
    async fn remove_unwanted(&mut self) {
        let mut backoff = Backoff::new();
        loop {
            let managed = self.terms.is_some();
            let is_wanted = |made: &Made| {
                managed && self.ear.subscribed.iter().any(|it| it.wanted.key == made.key)
            };
            let Some(made) = self.made.iter().find(|made| !is_wanted(made)).cloned() else {
                return;
            };
            match self.remove(&made.id).await {
                Ok(()) => {
                    let feed = &self.ear.context.rules.feed;
                    tracing::info!(%feed, subscription = made.about, id = made.id, "removed at the server");
                }
                Err(Trouble::Lasting(fault)) => {
                    let why = format!(
                        "Subscription/{} cannot be removed at the server: {fault}",
                        made.id
                    );
                    self.raise(&made.about, &why).await;
                }
                Err(Trouble::Passing(fault)) => {
                    self.complain(&made.about, &fault);
                    sleep(backoff.delay()).await;
                    continue;
                }
                Err(Trouble::Busy) => {
                    sleep(BUSY_PAUSE).await;
                    continue;
                }
            }
            self.made.retain(|other| other.id != made.id);
            while self.keep().await.is_err() {
                sleep(BUSY_PAUSE).await;
            }
        }
    }

    async fn remove(&self, id: &str) -> Result<(), Trouble> {
        match self.client.send(Method::DELETE, &self.url(id)?, None).await {
            Ok(_) | Err(FetchFault::Refused { status: 404 | 410, .. }) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    fn url(&self, id: &str) -> Result<Url, Trouble> {
        let url = self.client.base().below(&format!("Subscription/{id}"));
        url.map_err(|_| Trouble::Lasting(FetchFault::OtherOrigin))
    }

    /// Brings one to where it should be.
    async fn tend(&mut self, place: usize) {
        let (ear, terms) = (Arc::clone(&self.ear), self.terms.clone());
        let (Some(subscribed), Some(terms)) = (ear.subscribed.get(place), terms) else { return };
        let wanted = &subscribed.wanted;
        let done = self.step(place, wanted, &terms).await;
        let feed = &ear.context.rules.feed;
        let now = clock::monotonic();
        let Some(tended) = self.tended.get_mut(place) else { return };
        match done {
            Ok(()) => {
                tended.stops = 0;
                tended.backoff.reset();
                tended.tells = true;
                let often = terms.lifetime.map_or(LOOK_INTERVAL, |it| LOOK_INTERVAL.min(it / 6));
                tended.due = now + spread(often);
            }
            Err(Trouble::Busy) => tended.due = now + BUSY_PAUSE,
            Err(Trouble::Passing(fault)) => {
                let asked = fault.retry_after().map(trouble::asked_for);
                tended.due = now + asked.unwrap_or_else(|| tended.backoff.delay());
                self.complain(&wanted.about, &fault);
            }
            Err(Trouble::Lasting(fault)) => {
                tended.stops += 1;
                tended.tells = false;
                tended.due = now + trouble::stopped(tended.stops);
                let why = format!(
                    "the server takes no subscription for it: {fault}; it is polled as before"
                );
                tracing::error!(%feed, subscription = %wanted.about, why, "tried again within an hour");
                self.raise(&wanted.about, &why).await;
            }
        }
    }

    async fn step(&mut self, place: usize, wanted: &Wanted, terms: &Terms) -> Result<(), Trouble> {
        let fingerprint = made::fingerprint(terms, wanted);
        let Some(made) = self.made.iter().find(|made| made.key == wanted.key).cloned() else {
            return self.make(place, wanted, terms).await;
        };
        let url = self.url(&made.id)?;
        let found = match self.client.fetch(&url, &Known::default()).await {
            Ok(fetched) => Found::read(fetched.body.expose()),
            Err(FetchFault::Refused { status: 404 | 410, .. }) => None,
            Err(fault) => return Err(fault.into()),
        };
        let Some(found) = found else {
            let feed = &self.ear.context.rules.feed;
            tracing::warn!(%feed, subscription = %wanted.about, id = made.id, "gone at the server; made anew");
            return self.make(place, wanted, terms).await;
        };
        let tells = found.standing.is_none_or(super::notification::Standing::tells);
        if made.fingerprint == fingerprint && tells && !is_ending(found.end, terms) {
            self.told(place, Some(&made.id));
            return Ok(());
        }
        self.put(place, wanted, terms, (&made.id, found.end.is_some())).await
    }

    /// Says anew how it should be: it tells again, ends later, or has other terms. `ends`: whether the
    /// server has it end.
    async fn put(
        &mut self,
        place: usize,
        wanted: &Wanted,
        terms: &Terms,
        (id, ends): (&str, bool),
    ) -> Result<(), Trouble> {
        let end = terms.lifetime.or_else(|| ends.then_some(RENEW_FOR)).and_then(from_now);
        let body = made::body(terms, wanted, end).with_id(id).bytes();
        let url = self.url(id)?;
        // It may shake hands before it answers.
        self.told(place, Some(id));
        match self.client.send(Method::PUT, &url, Some(body)).await {
            Ok(_) => {
                let feed = &self.ear.context.rules.feed;
                tracing::info!(%feed, subscription = %wanted.about, id, "subscribed again");
                self.note(wanted, terms, id).await
            }
            // A server that changes none makes and removes them.
            Err(FetchFault::Refused { status: 405, .. }) => {
                self.remove(id).await?;
                self.post(place, wanted, terms).await
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Makes it, unless the server has it: from a crash between its answer and our note of it.
    async fn make(&mut self, place: usize, wanted: &Wanted, terms: &Terms) -> Result<(), Trouble> {
        if let Some(found) = self.find(wanted, terms).await? {
            return self.put(place, wanted, terms, (&found.id, found.end.is_some())).await;
        }
        self.post(place, wanted, terms).await
    }

    async fn find(&self, wanted: &Wanted, terms: &Terms) -> Result<Option<Found>, Trouble> {
        let ours = made::endpoint(terms, wanted);
        let url = self.client.base().below("Subscription");
        let mut url = url.map_err(|_| Trouble::Lasting(FetchFault::OtherOrigin))?;
        url.query_pairs_mut().append_pair("url", &ours);
        let fetched = match self.client.fetch(&url, &Known::default()).await {
            Ok(fetched) => fetched,
            // Some cannot be searched. A second one costs what is sent twice.
            Err(fault) => {
                return match Trouble::from(fault) {
                    Trouble::Lasting(_) => Ok(None),
                    trouble => Err(trouble),
                };
            }
        };
        let body: &Bytes = fetched.body.expose();
        let Ok(bundle) = Bundle::parse(body, body.len()) else { return Ok(None) };
        let found =
            bundle.entries.iter().filter_map(|entry| Found::read(entry.resource?.as_bytes()));
        let mut own = found.filter(|found| found.endpoint.as_deref() == Some(ours.as_str()));
        Ok(own.next())
    }

    async fn post(&mut self, place: usize, wanted: &Wanted, terms: &Terms) -> Result<(), Trouble> {
        let url = self.client.base().below("Subscription");
        let url = url.map_err(|_| Trouble::Lasting(FetchFault::OtherOrigin))?;
        let end = terms.lifetime.and_then(from_now);
        let body = made::body(terms, wanted, end).bytes();
        // Some servers shake hands before they say which ID they gave.
        self.told(place, None);
        let sent = self.client.send(Method::POST, &url, Some(body)).await?;
        let location = sent.location.as_ref().map(Url::as_str);
        let Some(id) = made::id_of(location, sent.body.expose()) else {
            return Err(Trouble::Passing(FetchFault::NotHttp));
        };
        self.told(place, Some(&id));
        let feed = &self.ear.context.rules.feed;
        tracing::info!(%feed, subscription = %wanted.about, id, "subscribed");
        self.note(wanted, terms, &id).await
    }

    /// Notes durably that it was made, and by which terms.
    async fn note(&mut self, wanted: &Wanted, terms: &Terms, id: &str) -> Result<(), Trouble> {
        self.made.retain(|made| made.key != wanted.key);
        self.made.push(Made {
            key: wanted.key.clone(),
            about: wanted.about.to_string(),
            id: id.to_owned(),
            fingerprint: made::fingerprint(terms, wanted),
        });
        self.keep().await
    }

    fn told(&self, place: usize, id: Option<&str>) {
        if let Some(subscribed) = self.ear.subscribed.get(place) {
            let known = subscribed.known();
            if id.is_none() || known.id.as_deref() != id || known.is_down {
                subscribed.is_made(id);
            }
        }
    }

    /// Notices who has gone silent: what it would have told is asked for, and it is looked at.
    fn listen(&mut self) {
        let Some(silence_max) = self.silence_max else { return };
        let now = clock::monotonic();
        for (subscribed, tended) in self.ear.subscribed.iter().zip(&mut self.tended) {
            let Some(heard_at) = subscribed.known().heard_at else { continue };
            if now.saturating_sub(heard_at) <= silence_max {
                if tended.silent_since.take().is_some() {
                    let feed = &self.ear.context.rules.feed;
                    tracing::info!(%feed, subscription = %subscribed.wanted.about, "heard again");
                }
                continue;
            }
            if tended.silent_since.is_some_and(|since| now.saturating_sub(since) <= silence_max) {
                continue;
            }
            let feed = &self.ear.context.rules.feed;
            let seconds = silence_max.as_secs();
            tracing::warn!(%feed, subscription = %subscribed.wanted.about, seconds,
                "no heartbeat for so long; the server is asked what happened");
            tended.silent_since = Some(now);
            if tended.stops == 0 && self.terms.is_some() {
                tended.due = now;
            }
            self.ear.catch_up(subscribed.wanted.query.clone());
        }
    }

    fn show(&self) {
        let metrics = &self.ear.metrics;
        let count = |holds: &dyn Fn(&Tended) -> bool| {
            let count = self.tended.iter().filter(|tended| holds(tended)).count();
            f64::from(u32::try_from(count).unwrap_or(u32::MAX))
        };
        metrics.refused.set(count(&|it| it.stops > 0));
        metrics.silent.set(count(&|it| it.stops == 0 && it.silent_since.is_some()));
        metrics.active.set(count(&|it| it.stops == 0 && it.silent_since.is_none() && it.tells));
    }

    fn complain(&self, about: &str, why: &FetchFault) {
        let context = &self.ear.context;
        if let Some(more) = context.quiet.due("subscription") {
            let feed = &context.rules.feed;
            tracing::warn!(%feed, subscription = about, %why, more, "not subscribed; tried again");
        }
    }

    /// Opens an exception, when the store can take one.
    async fn raise(&self, about: &str, why: &str) {
        let context = &self.ear.context;
        loop {
            let place = format!("Subscription {about}");
            let admission = stopped(&place, &context.rules, clock::now_ms(), why.to_owned());
            if context.append(admission, &Turn::default()).await != Err(Busy::Disk) {
                return;
            }
            sleep(BUSY_PAUSE).await;
        }
    }
}

/// Whether one ends soon.
fn is_ending(end: Option<Timestamp>, terms: &Terms) -> bool {
    let Some(end) = end else { return false };
    let before = terms.lifetime.map_or(RENEW_BEFORE, |lifetime| lifetime / 3);
    let left = end.duration_since(clock::now());
    left < SignedDuration::try_from(before).unwrap_or(SignedDuration::MAX)
}

fn from_now(lifetime: Duration) -> Option<Timestamp> {
    clock::now().checked_add(SignedDuration::try_from(lifetime).ok()?).ok()
}
