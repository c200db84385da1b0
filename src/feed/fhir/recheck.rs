//! Consents that were taken and may permit, asked for again by name: a search does not find what is gone.
//!
//! Promises: each is asked for once within a time, one after the other and never in a burst, and a restart
//! goes on where it was; one that is gone closes what it permitted (PROMISE-5), and what is no word of a
//! FHIR server closes nothing; what fails is asked for again and told; nothing is in memory but the one
//! that is asked for. Killed at any instant, the one that was asked for is asked for again: what was taken
//! of it is known then.
//! Knows nothing of: queries and pages, what a Consent says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::capability::Offers;
use super::client::{Client, Known};
use super::fault::FetchFault;
use super::page::{Listed, in_json};
use super::patients::PatientFault;
use super::poller::Polling;
use super::take::{Cut, Taker};
use super::trouble::{Asked, Then, Troubles, stopped};
use crate::admit::before::{STANDING, Standing, fallen, name};
use crate::admit::entry::Kept;
use crate::clock;
use crate::feed::intake::FeedContext;
use crate::metrics::{ByWord, PollMetrics};
use crate::parse::fhir::{Resource, Version};
use crate::store::Oldest;

/// What is asked, as people are told of it.
pub const QUERY: &str = "Consent/[id]";
/// The shortest and the longest pause between two: fifty requests a second beside the polling at most, and
/// one a minute where there are few.
const GAPS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(60));
/// How old the number of those that there are may be, by which the pause goes.
const COUNT_AGE_MAX: Duration = Duration::from_secs(10);
/// Until the store is asked again that could not answer.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How often one is asked for in a row that the server fails to show, though it answers otherwise, before
/// the next has its turn.
const TRIES_MAX: u32 = 5;
/// As its troubles have it: nothing can be left out of the request.
const ASKED: Asked = Asked { first: true, bare: true, page_size: 1 };

/// Asks for them.
#[derive(Debug)]
pub struct Recheck {
    context: Arc<FeedContext>,
    client: Arc<Client>,
    counted: ByWord,
    /// How many bytes one may have, and by which release it is read.
    bounds: (usize, Version),
    /// Each is asked for once within it. Zero: never.
    every: Duration,
    due: Duration,
    /// What lies before was written in a form that is not known.
    behind: i64,
    /// How many there are, and when that was counted.
    many: Option<(Duration, u32)>,
    troubles: Troubles,
    /// How often in a row the one at hand failed.
    tries: u32,
    /// How many in a row were refused.
    refusals: usize,
}

/// What the server says of one.
enum Said {
    /// It is as it was.
    Same,
    /// It is another version.
    Changed(Bytes),
    /// It has none.
    Gone,
}

/// Why the server says nothing of one.
enum Wrong {
    /// What became of the request.
    Fault(FetchFault),
    /// The answer says nothing.
    Answer(String),
}

impl Recheck {
    /// Of a feed that polls Consents; of another, nothing is asked.
    #[must_use]
    pub fn new(
        context: &Arc<FeedContext>,
        client: &Arc<Client>,
        polling: &Polling,
        metrics: &PollMetrics,
    ) -> Self {
        let polls = polling.queries.iter().any(|query| query.resource == "Consent");
        let every = polling.consents_recheck.filter(|_| polls).unwrap_or_default();
        let due = if every.is_zero() { Duration::MAX } else { Duration::ZERO };
        Self {
            context: Arc::clone(context),
            client: Arc::clone(client),
            counted: metrics.rechecked.clone(),
            bounds: polling.bounds(),
            every,
            due,
            behind: 0,
            many: None,
            troubles: Troubles::default(),
            tries: 0,
            refusals: 0,
        }
    }

    /// When the next is asked for, by the clock that only goes on.
    #[must_use]
    pub const fn due(&self) -> Duration {
        self.due
    }

    /// Asks for the one that was looked at longest ago, if that is long enough ago: half of the time, since
    /// the other half is what all of them are spread over. What a human has to be told, if anything.
    pub async fn step(&mut self, taker: &mut Taker) -> Option<String> {
        // While the disk takes nothing, nothing is asked.
        if self.context.journal.busy().is_some() {
            self.rest(STORE_PAUSE);
            return None;
        }
        let oldest = match self.context.oldest(STANDING, self.behind) {
            Ok(Some(oldest)) => oldest,
            Ok(None) => {
                self.behind = 0;
                self.rest(self.every / 2);
                return None;
            }
            Err(error) => {
                self.complain(&error);
                self.rest(STORE_PAUSE);
                return None;
            }
        };
        let now_ms = clock::now_ms();
        // A clock that was set back must not put it off.
        if let Ok(age) = u64::try_from(now_ms.saturating_sub(oldest.at))
            && let age = Duration::from_millis(age)
            && age < self.every / 2
        {
            self.rest(self.every / 2 - age);
            return None;
        }
        let Some(standing) = Standing::read(oldest.value.expose()) else {
            self.behind = oldest.mark;
            return None;
        };
        if standing.until.is_some_and(|until| until <= now_ms) {
            self.keep(fallen(&standing.id)).await;
            return None;
        }
        let said = self.ask(&standing).await;
        self.follow(said, &standing, oldest, taker).await
    }

    /// Does what follows from an answer.
    async fn follow(
        &mut self,
        said: Result<Said, Wrong>,
        standing: &Standing,
        oldest: Oldest,
        taker: &mut Taker,
    ) -> Option<String> {
        let Oldest { mark, value, .. } = oldest;
        let again = Kept { value: Some(value), ..fallen(&standing.id) };
        let (word, listed) = match said {
            Ok(Said::Same) => ("same", None),
            Ok(Said::Changed(body)) => ("changed", Some(Listed::one(body))),
            Ok(Said::Gone) => ("gone", Some(Listed::removed(name("Consent", &standing.id), None))),
            Err(Wrong::Fault(fault)) => return self.failed(&fault, again).await,
            Err(Wrong::Answer(why)) => return self.refused(why, again).await,
        };
        if let Some(listed) = listed {
            match taker.take(&[listed]).await {
                Ok(()) => {}
                Err(Cut::Patient(PatientFault::Fetch(fault))) => {
                    return self.failed(&fault, again).await;
                }
                Err(cut) => {
                    self.complain(&cut);
                    self.rest(STORE_PAUSE);
                    return None;
                }
            }
        }
        self.counted.count(word);
        self.troubles.past(true);
        (self.tries, self.refusals) = (0, 0);
        if word == "gone" {
            if let Some(more) = self.context.quiet.due("consent-gone") {
                let feed = &self.context.rules.feed;
                tracing::warn!(%feed, more, "a Consent is gone from its server: what it permitted is closed");
            }
            self.keep(fallen(&standing.id)).await;
        } else if word == "same" || self.is_there(mark) {
            self.keep(again).await;
        }
        let gap = self.gap();
        self.rest(gap);
        None
    }

    /// What the server says of one. It is gone where the server says 410, or 404 with an OperationOutcome, and
    /// at that moment shows that it is a FHIR server of our version: a proxy's page, or a path
    /// that leads nowhere, closes nothing.
    async fn ask(&self, standing: &Standing) -> Result<Said, Wrong> {
        let url = self.client.base().below(&name("Consent", &standing.id));
        let url = url.map_err(|bad| Wrong::Answer(bad.to_string()))?;
        let known = Known { etag: standing.etag(), last_modified: None };
        let fetched = match self.client.fetch(&url, &known).await {
            Ok(fetched) => fetched,
            Err(FetchFault::NotModified) => return Ok(Said::Same),
            Err(fault) if says_gone(&fault) => {
                return self.is_fhir(&fault).await.map(|()| Said::Gone);
            }
            Err(fault) => return Err(Wrong::Fault(fault)),
        };
        let body = in_json(&fetched.body.into_exposed(), fetched.form, self.bounds);
        let body =
            body.map_err(|wrong| Wrong::Answer(format!("the answer is no Consent: {wrong}")))?;
        let found = Resource::parse(&body, self.bounds.0);
        let found =
            found.map_err(|wrong| Wrong::Answer(format!("the answer is no Consent: {wrong}")))?;
        if (found.kind(), found.id()) != ("Consent", Some(standing.id.as_str())) {
            return Err(Wrong::Answer("the answer is another resource".to_owned()));
        }
        if standing.before.is_that(&found, &self.context.rules.digests) {
            return Ok(Said::Same);
        }
        Ok(Said::Changed(body))
    }

    /// Whether whoever said that one is gone is our FHIR server.
    async fn is_fhir(&self, said: &FetchFault) -> Result<(), Wrong> {
        let url = self.client.base().below("metadata");
        let url = url.map_err(|bad| Wrong::Answer(bad.to_string()))?;
        let fetched = self.client.fetch(&url, &Known::default()).await.map_err(Wrong::Fault)?;
        let body = in_json(&fetched.body.into_exposed(), fetched.form, self.bounds);
        let offers = body.ok().and_then(|body| Offers::read(&body).ok());
        if offers.is_some_and(|offers| offers.release == Some(self.bounds.1)) {
            return Ok(());
        }
        Err(Wrong::Answer(format!("{said}, and its metadata is none of the feed's `version`")))
    }

    /// The request failed: the same is asked for again, unless that does not help.
    // PROMISE-5: it is not removed for that, and not forgotten either.
    async fn failed(&mut self, fault: &FetchFault, again: Kept) -> Option<String> {
        let then = self.troubles.after(fault, ASKED);
        let Then::Again(pause) = then else { return self.refused(fault.to_string(), again).await };
        let of_all = matches!(
            fault,
            FetchFault::Throttled { .. }
                | FetchFault::Unauthorized
                | FetchFault::NoToken(_)
                | FetchFault::Unreachable(_)
        );
        self.tries += u32::from(!of_all);
        if self.tries >= TRIES_MAX {
            return self.refused(fault.to_string(), again).await;
        }
        self.counted.count("failed");
        self.complain(fault);
        self.rest(pause);
        None
    }

    /// It has to wait for its next turn, and a human is told; if the next ones fare no better, all of them
    /// wait for longer and longer, as a query that is stopped.
    async fn refused(&mut self, why: String, again: Kept) -> Option<String> {
        self.counted.count("failed");
        self.complain(&why);
        self.tries = 0;
        self.keep(again).await;
        let pause = if self.refusals == 0 { self.gap() } else { stopped(self.refusals) };
        self.refusals += 1;
        self.rest(pause);
        Some(why)
    }

    /// Whether the same is still the oldest: what was taken of it was known.
    fn is_there(&self, mark: i64) -> bool {
        let found = self.context.oldest(STANDING, mark - 1);
        found.is_ok_and(|found| found.is_some_and(|it| it.mark == mark))
    }

    /// Puts one behind all others, or forgets it. Where that cannot be, it is asked for again.
    async fn keep(&mut self, kept: Kept) {
        if self.context.keep(vec![kept]).await.is_err() {
            self.rest(STORE_PAUSE);
        }
    }

    /// How long the next one waits, so that all have their turn within half of the time.
    fn gap(&mut self) -> Duration {
        let now = clock::monotonic();
        let many = match self.many {
            Some((at, many)) if now.saturating_sub(at) < COUNT_AGE_MAX => many,
            _ => {
                let many = self.context.kept_count(STANDING).unwrap_or(1).max(1);
                self.many = Some((now, many));
                many
            }
        };
        let (shortest, longest) = GAPS;
        (self.every / 2 / many).clamp(shortest, longest)
    }

    fn rest(&mut self, pause: Duration) {
        self.due = clock::monotonic() + pause;
    }

    fn complain(&self, why: &dyn std::fmt::Display) {
        if let Some(more) = self.context.quiet.due("fhir-recheck") {
            let feed = &self.context.rules.feed;
            tracing::warn!(%feed, query = QUERY, %why, more, "not looked at again; tried later");
        }
    }
}

/// Whether an answer is the word of a FHIR server that it has no such resource.
fn says_gone(fault: &FetchFault) -> bool {
    match fault {
        FetchFault::Refused { status: 410, .. } => true,
        // The codes are those of an OperationOutcome.
        FetchFault::Refused { status: 404, codes } => !codes.is_empty(),
        _ => false,
    }
}
