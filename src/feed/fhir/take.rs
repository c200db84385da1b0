//! A page's resources to the journal.
//!
//! Promises: they are taken in the order of the page, and the page is done when all of them are
//! committed, and what they narrow is waited for (PROMISE-1, PROMISE-6); one that is wrong costs itself
//! (PROMISE-11); nobody becomes a patient who cannot be found; behind one that the store could not take
//! none is taken (PROMISE-4).
//! Knows nothing of: queries and cursors; how a page came.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::client::Client;
use super::page::{Listed, Mode};
use super::patients::{PatientFault, Patients};
use super::poller::Polling;
use crate::admit::Novelty;
use crate::admit::about::{About, Place};
use crate::admit::assess::Finding;
use crate::admit::resource::{
    Before, Beside, RESOURCE_BYTES_MAX, Taken, assess_resource, malformed, name, removed, shelf,
};
use crate::feed::intake::{FeedContext, Owed, count, hand_on, next_answer};
use crate::feed::mllp::budget::Share;
use crate::normalize::fhir::Around;
use crate::parse::fhir::{Malformed, Resource, Version};
use crate::phi::Phi;
use crate::store::{StoreError, Turn};
use crate::verdict::{Outcome, verdict};
use crate::{bug, clock};

/// Resources that are under way to the journal.
const PIPELINE_MAX: usize = 512;

/// What a feed takes resources by.
#[derive(Debug)]
pub struct Taker {
    context: Arc<FeedContext>,
    patients: Patients,
    /// The server's address, as references have it.
    base: String,
    version: Version,
    /// What is to be remembered of the resources of this page.
    after: HashMap<String, Before>,
}

/// Why a page is not taken whole. It is to be taken again; what was taken of it is known then.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The store cannot take it now, or the daemon stops.
    #[error("the store takes nothing now")]
    Busy,
    /// The server does not say who a patient is.
    #[error("a patient cannot be looked up: {0}")]
    Patient(#[from] PatientFault),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Taker {
    /// Of a feed.
    #[must_use]
    pub fn new(context: &Arc<FeedContext>, client: &Arc<Client>, polling: &Polling) -> Self {
        let base = client.base().to_string();
        let patients = Patients::new(Arc::clone(context), Arc::clone(client), polling);
        let (context, version) = (Arc::clone(context), polling.version);
        Self { context, patients, base, version, after: HashMap::new() }
    }

    /// Takes a page.
    ///
    /// # Errors
    /// See [`Cut`].
    pub async fn take(&mut self, page: &[Listed]) -> Result<(), Cut> {
        self.patients.turn_page();
        self.after.clear();
        let context = Arc::clone(&self.context);
        let mut going = Going::new(&context);
        let put = self.put(page, &mut going).await;
        // PROMISE-6: also where the page is cut short, what is committed is waited for where it narrows.
        let settled = going.settle().await;
        put.and(settled)?;
        self.context.keep(self.patients.fresh()).await.map_err(|_| Cut::Busy)
    }

    /// Puts each resource of a page on its way.
    async fn put(&mut self, page: &[Listed], going: &mut Going<'_>) -> Result<(), Cut> {
        let parsed: Vec<_> = page.iter().map(parsed).collect();
        let mut around = Around::default();
        for resource in parsed.iter().flatten().flatten() {
            around.add(None, resource);
        }
        for (listed, parsed) in page.iter().zip(&parsed) {
            let bytes = listed.bytes.expose();
            let taken = match (listed.mode, parsed) {
                (Mode::Removed, _) => self.removed(bytes, listed.stamp)?,
                (Mode::Beside, Ok(Some(resource))) => {
                    self.beside(resource, &listed.bytes);
                    continue;
                }
                // What only came along is asked for by name where somebody needs it.
                (Mode::Beside, _) | (Mode::Found, Ok(None)) => continue,
                (Mode::Found, Err(wrong)) => self.unreadable(bytes, wrong),
                (Mode::Found, Ok(Some(resource))) => self.found(listed, resource, &around).await?,
            };
            going.put(taken).await?;
        }
        Ok(())
    }

    /// One that was asked for.
    async fn found(
        &mut self,
        listed: &Listed,
        resource: &Resource<'_>,
        around: &Around<'_>,
    ) -> Result<Taken, Cut> {
        let patient = self.patient(resource).await?;
        let patient = patient.as_ref().map(|patient| patient.expose());
        // One that was taken before is as it was read then.
        let patient = patient.and_then(|bytes| Resource::parse(bytes, RESOURCE_BYTES_MAX).ok());
        let id = resource.id().unwrap_or_default();
        let before = self.before(resource.kind(), id)?;
        let standing = Beside {
            patient: patient.as_ref(),
            around,
            before: before.as_ref(),
            version: self.version,
        };
        let (bytes, rules) = (listed.bytes.expose(), &self.context.rules);
        let now_ms = clock::now_ms();
        let begun = clock::monotonic();
        let assess = || assess_resource(bytes, resource, &standing, rules, now_ms);
        // PROMISE-11: a resource that makes our code panic is that resource's end.
        let mut taken = bug::contain(assess).unwrap_or_else(|| {
            let text = "reading it failed; its bytes are kept for whoever mends that";
            let place = resource.kind().to_owned();
            malformed(bytes, rules, now_ms, (resource.kind(), id), (text.to_owned(), place))
        });
        self.context.metrics.assess.record(clock::seconds_since(begun));
        if let Some(after) = &taken.after {
            self.after.insert(name(resource.kind(), id), after.clone());
            // Not of a version that comes late: a newer one is remembered.
            if resource.kind() == "Patient"
                && let Some(admission) = &mut taken.assessed.admission
            {
                admission.kept.extend(self.patients.remember(id, &listed.bytes));
            }
        }
        Ok(taken)
    }

    /// The Patient that a resource is about, as JSON; nothing where nobody can be found.
    async fn patient(&mut self, resource: &Resource<'_>) -> Result<Option<Phi<Bytes>>, Cut> {
        let Some(about) = About::of(resource, &self.base) else { return Ok(None) };
        if let Some(Place::Here(id)) = &about.patient
            && let Some(found) = self.patients.find(id).await?
        {
            return Ok(Some(found));
        }
        Ok(about.stated.map(|stated| Phi::new(Bytes::from(stated))))
    }

    /// A Patient that only came along is remembered.
    fn beside(&mut self, resource: &Resource<'_>, bytes: &Phi<Bytes>) {
        if let Some(id) = resource.id().filter(|_| resource.kind() == "Patient") {
            self.patients.came(id, bytes);
        }
    }

    /// What is remembered of a resource: of this page, else in the store.
    fn before(&self, kind: &str, id: &str) -> Result<Option<Before>, StoreError> {
        if let Some(after) = self.after.get(&name(kind, id)) {
            return Ok(Some(after.clone()));
        }
        let found = self.context.kept(shelf(kind), &name(kind, id))?;
        Ok(found.and_then(|found| Before::read(found.expose())))
    }

    fn removed(&self, name: &Bytes, at: Option<Timestamp>) -> Result<Taken, StoreError> {
        let text = String::from_utf8_lossy(name);
        let (kind, id) = text.split_once('/').unwrap_or((&text, "?"));
        let before = self.before(kind, id)?;
        Ok(removed(name, (kind, id), (at, before.as_ref()), &self.context.rules, clock::now_ms()))
    }

    fn unreadable(&self, bytes: &Bytes, wrong: &Malformed) -> Taken {
        let place = wrong.place.as_deref().unwrap_or("?").to_owned();
        let kind = place.split(['.', '[']).next().unwrap_or("?").to_owned();
        let said = (wrong.to_string(), place);
        malformed(bytes, &self.context.rules, clock::now_ms(), (&kind, "?"), said)
    }
}

/// A resource, where its entry has one.
fn parsed(listed: &Listed) -> Result<Option<Resource<'_>>, Malformed> {
    if listed.mode == Mode::Removed {
        return Ok(None);
    }
    Resource::parse(listed.bytes.expose(), RESOURCE_BYTES_MAX).map(Some)
}

/// Resources on their way into the journal.
struct Going<'t> {
    context: &'t FeedContext,
    turn: Turn,
    owed: VecDeque<Owed>,
}

impl<'t> Going<'t> {
    fn new(context: &'t Arc<FeedContext>) -> Self {
        Self { context, turn: Turn::default(), owed: VecDeque::new() }
    }

    async fn put(&mut self, taken: Taken) -> Result<(), Cut> {
        while self.owed.len() >= PIPELINE_MAX {
            self.first().await?;
        }
        let (state, unmapped) = hand_on(self.context, taken.assessed, &self.turn).await;
        let received = clock::monotonic();
        self.owed.push_back(Owed {
            state,
            frame: Bytes::new(),
            unmapped,
            expected: None,
            received,
            _share: Share::default(),
        });
        Ok(())
    }

    /// Waits until everything is committed.
    async fn settle(mut self) -> Result<(), Cut> {
        while !self.owed.is_empty() {
            self.first().await?;
        }
        Ok(())
    }

    /// What came of the oldest.
    async fn first(&mut self) -> Result<(), Cut> {
        let outcome = next_answer(&mut self.owed, self.context).await;
        let Some(owed) = self.owed.pop_front() else { return Ok(()) };
        let said = verdict(&outcome);
        count(self.context, &outcome, said.reason, said.severity);
        match outcome {
            Outcome::Busy(_) => return Err(Cut::Busy),
            Outcome::Taken(Finding::Mapped, Novelty::New { .. }) => {
                self.context.metrics.unmapped.increment(owed.unmapped as u64);
            }
            _ => {}
        }
        Ok(())
    }
}
