//! The consents of whom a resource is about, where nobody decided anything yet as far as the gate knows.
//!
//! Promises: the server is asked for a patient at most once in a while, also over a restart; all that it
//! has of one is read before any of it counts, and what was begun and not done is asked for again
//! (PROMISE-5); a server that does not say it holds a page for a bounded number of tries, and then
//! opens nothing.
//! Knows nothing of: what a Consent says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::base::BadLink;
use super::client::{Client, Known};
use super::cursor::Window;
use super::fault::{ContentType, FetchFault};
use super::page::{Listed, Mode, Page, page_in_json};
use super::patients::millis;
use super::poller::Polling;
use super::query::Query;
use super::tries::Tries;
use super::trouble::stopped;
use crate::admit::about::{About, Place};
use crate::admit::entry::Kept;
use crate::admit::resource::RESOURCE_BYTES_MAX;
use crate::clock;
use crate::event::Subject;
use crate::feed::intake::{FeedContext, reading};
use crate::parse::fhir::{Resource, Version};
use crate::phi::Phi;
use crate::store::StoreError;

/// What the search is called in exceptions.
pub const NAME: &str = "Consent?patient";
/// Consents of one page that are asked for.
const PAGE_SIZE: u32 = 100;
/// Most pages of one patient.
const PAGES_MAX: usize = 20;
/// Most bytes of the Consents of one patient, which are in memory together.
const BYTES_MAX: usize = 4 << 20;
/// Most patients that are in memory, each by an ID and a time: some 2 MiB. The others are in the store.
const NEAR_MAX: usize = 16_384;
/// How long a patient is left alone of whom the server did not say it, at most.
const FAILED_AGE: Duration = Duration::from_secs(600);
/// The kind under which is kept when a patient was asked for, in milliseconds since 1970.
const KIND: &str = "consents";
/// In its place: what was found is on its way, and not known to be taken whole.
const BEGUN: i64 = i64::MIN;

/// Why what the server has of a patient is not known.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Fetch(#[from] FetchFault),
    #[error("its address: {0}")]
    Link(#[from] BadLink),
    #[error("an entry of the answer cannot be read, so none of it counts")]
    Entry,
    #[error("there is more of one patient than is read: {PAGES_MAX} pages, {BYTES_MAX} bytes")]
    Much,
}

/// What one server has of patients of whom there is no consent.
#[derive(Debug)]
pub struct Consents {
    context: Arc<FeedContext>,
    client: Arc<Client>,
    /// What the feed asks of Consents anyway, so that changes of what is found here are found there.
    queries: Vec<Query>,
    bounds: (usize, Version),
    /// How old an answer may be; without it nothing is asked.
    age_max: Option<Duration>,
    /// Of how many patients it is kept.
    most: u32,
    /// Until when a patient is not asked for, in milliseconds since 1970.
    near: HashMap<String, i64>,
    /// Those of this page that were looked at.
    seen: HashSet<String>,
    tries: Tries,
    /// Patients in a row of whom the server did not say it.
    failed: usize,
    /// Until when nobody is asked for, by the clock that only goes on.
    rests_until: Duration,
    /// What is to be kept of those that were asked for.
    fresh: Vec<Kept>,
}

impl Consents {
    /// Of a feed.
    #[must_use]
    pub fn new(context: Arc<FeedContext>, client: Arc<Client>, polling: &Polling) -> Self {
        let of_consents = |query: &&Query| query.resource == "Consent";
        Self {
            context,
            client,
            queries: polling.queries.iter().filter(of_consents).cloned().collect(),
            bounds: polling.bounds(),
            age_max: polling.no_consent_age_max,
            most: polling.patients_max,
            near: HashMap::new(),
            seen: HashSet::new(),
            tries: Tries::default(),
            failed: 0,
            rests_until: Duration::ZERO,
            fresh: Vec::new(),
        }
    }

    /// A new page, or the same one again.
    pub fn turn_page(&mut self) {
        self.seen.clear();
        self.fresh.clear();
    }

    /// What is to be kept of those that were asked for since the page was turned.
    pub fn fresh(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.fresh)
    }

    /// Whether anybody ever is asked for.
    #[must_use]
    pub const fn are_asked_for(&self) -> bool {
        self.age_max.is_some()
    }

    /// Whether nobody is asked for, since the server said it of one after the other not.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.failed > 1
    }

    /// Whether the server is to be asked for the consents of a Patient, which is that subject here.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_wanted(&mut self, id: &str, subject: &Subject) -> Result<bool, StoreError> {
        let Some(age_max) = self.age_max else { return Ok(false) };
        let now = clock::now_ms();
        let is_near = self.near.get(id).is_some_and(|until| now < *until);
        if is_near || self.seen.contains(id) || clock::monotonic() < self.rests_until {
            return Ok(false);
        }
        let kept = self.context.kept(KIND, &self.key(id))?;
        let asked_at =
            kept.and_then(|kept| Some(i64::from_be_bytes(*kept.expose().first_chunk()?)));
        let is_settled = match asked_at {
            // PROMISE-5: a part of what was found may be in the ledger, and the refusal not.
            Some(BEGUN) => false,
            Some(at) if at <= now && now < at.saturating_add(millis(age_max)) => {
                self.near(id, at.saturating_add(millis(age_max)));
                true
            }
            // It has more to say, or nothing, since then: the poll says it.
            _ => self.is_known(subject)?,
        };
        if is_settled {
            self.seen.insert(id.to_owned());
        }
        Ok(!is_settled)
    }

    /// What the server has of a Patient, all of it; or why it does not say it, now and later.
    ///
    /// # Errors
    /// It may well say it later.
    pub async fn ask(&mut self, id: &str) -> Result<Result<Vec<Listed>, String>, FetchFault> {
        match self.read(id).await {
            Ok(found) => Ok(Ok(found)),
            Err(Unread::Fetch(fault)) if self.tries.may_pass(id, &fault) => Err(fault),
            Err(why) => {
                // What is wrong with an answer is that patient's; what is none may be everybody's.
                if matches!(why, Unread::Fetch(_)) {
                    self.failed = self.failed.saturating_add(1);
                }
                Ok(Err(why.to_string()))
            }
        }
    }

    /// That what was found of a Patient is on its way: to be kept before any of it is.
    #[must_use]
    pub fn begun(&self, id: &str) -> Kept {
        self.keeping(id, BEGUN)
    }

    /// What was found of a Patient is taken, or there was nothing.
    pub fn settled(&mut self, id: &str) {
        let now = clock::now_ms();
        self.tries.past(id);
        self.failed = 0;
        self.seen.insert(id.to_owned());
        self.near(id, now.saturating_add(millis(self.age_max.unwrap_or_default())));
        let kept = self.keeping(id, now);
        self.fresh.push(kept);
    }

    /// The server did not say it of a Patient, and a human was told. After two in a row nobody is asked for
    /// a while: each costs its tries.
    pub fn give_up(&mut self, id: &str) {
        self.tries.past(id);
        self.seen.insert(id.to_owned());
        let age = self.age_max.unwrap_or_default().min(FAILED_AGE);
        self.near(id, clock::now_ms().saturating_add(millis(age)));
        if self.is_stopped() {
            self.rests_until = clock::monotonic() + stopped(self.failed - 1);
        }
    }

    fn is_known(&self, subject: &Subject) -> Result<bool, StoreError> {
        let digest = self.context.rules.digests.subject(subject);
        let filed = tokio::task::block_in_place(|| self.context.journal.filed(&digest))?;
        Ok(!filed.records().is_empty())
    }

    async fn read(&self, id: &str) -> Result<Vec<Listed>, Unread> {
        let (mut all, mut pages, mut bytes) = (Vec::new(), 0, 0);
        let base = self.client.base();
        for query in &self.queries {
            let mut next = Some(query.of_patient(base, id, PAGE_SIZE)?);
            while let Some(url) = next {
                pages += 1;
                if pages > PAGES_MAX {
                    return Err(Unread::Much);
                }
                let fetched = self.client.fetch(&url, &Known::default()).await?;
                let body = fetched.body.into_exposed();
                let read = || {
                    let (body, wrong) = page_in_json(&body, fetched.form, self.bounds)?;
                    let asked = (query.resource, &Window::default());
                    Page::read((&body, wrong), self.bounds.0, fetched.date, asked)
                };
                // What is no page is no answer.
                let page = reading(&body, read)
                    .map_err(|_| FetchFault::WrongContentType(ContentType::Other))?;
                if !page.wrong.is_empty() {
                    return Err(Unread::Entry);
                }
                for listed in page.listed.iter().filter(|listed| listed.mode == Mode::Found) {
                    if !self.is_about(listed, id)? {
                        continue;
                    }
                    // A copy: a piece of a page would keep all of it in memory.
                    let copy = Bytes::copy_from_slice(listed.bytes.expose());
                    bytes += copy.len();
                    if bytes > BYTES_MAX {
                        return Err(Unread::Much);
                    }
                    all.push(Listed::one(copy));
                }
                next = match page.next {
                    Some(link) => Some(base.linked(&url, &link)?),
                    None => None,
                };
            }
        }
        Ok(all)
    }

    /// Whether it is a Consent of a Patient, or does not say whose by name: a server may leave away what
    /// it does not know of a search.
    fn is_about(&self, listed: &Listed, id: &str) -> Result<bool, Unread> {
        let resource = Resource::parse(listed.bytes.expose(), RESOURCE_BYTES_MAX);
        let resource = resource.map_err(|_| Unread::Entry)?;
        let about = About::of(&resource, &self.client.base().to_string());
        let of_another = about.and_then(|about| about.patient).is_some_and(|place| match place {
            Place::Here(named) => named != id,
            Place::Elsewhere(_) => false,
        });
        Ok(resource.kind() == "Consent" && !of_another)
    }

    fn near(&mut self, id: &str, until: i64) {
        if self.near.len() >= NEAR_MAX && !self.near.contains_key(id) {
            self.near.clear();
        }
        self.near.insert(id.to_owned(), until);
    }

    /// What it is kept under: of another server it is another's.
    fn key(&self, id: &str) -> String {
        format!("{} {id}", self.client.base())
    }

    fn keeping(&self, id: &str, at: i64) -> Kept {
        let value = Some(Phi::new(at.to_be_bytes().to_vec()));
        Kept { kind: KIND, key: self.key(id), value, most: self.most }
    }
}
