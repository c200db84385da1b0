//! A page's resources to the journal.
//!
//! Promises: they are taken in the order of the page, and the page is done when all of them are
//! committed, and what they narrow is waited for (PROMISE-1, PROMISE-6); one that is wrong costs itself
//! (PROMISE-11); nobody becomes a patient who cannot be found; behind one that the store could not take
//! none is taken (PROMISE-4); consents that are asked for are committed before what they are asked for.
//! Knows nothing of: queries and cursors; how a page came.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::client::Client;
use super::consents::{Consents, NAME};
use super::fault::FetchFault;
use super::page::{Listed, Mode};
use super::patients::{PatientFault, Patients};
use super::poller::Polling;
use crate::admit::Novelty;
use crate::admit::about::{About, Place, replaced_by};
use crate::admit::assess::{Finding, stopped};
use crate::admit::before::{Before, STANDING, Standing, name, shelf};
use crate::admit::entry::{Status, Stored};
use crate::admit::resource::{
    Beside, RESOURCE_BYTES_MAX, Taken, assess_resource, malformed, nameless, removed,
};
use crate::event::Subject;
use crate::feed::intake::{FeedContext, Owed, count, hand_on, next_answer};
use crate::feed::mllp::budget::Share;
use crate::normalize::fhir::Around;
use crate::parse::fhir::{Malformed, Node, Resource, Version};
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
    consents: Consents,
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
    /// The server does not say what a patient consented to.
    #[error("a patient's consents cannot be asked for: {0}")]
    Consents(FetchFault),
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
        let consents = Consents::new(Arc::clone(context), Arc::clone(client), polling);
        let (context, version) = (Arc::clone(context), polling.version);
        Self { context, patients, consents, base, version, after: HashMap::new() }
    }

    /// Whether consents are not asked for now that would be, since the server does not say them.
    #[must_use]
    pub const fn is_without_consents(&self) -> bool {
        self.consents.is_stopped()
    }

    /// Takes a page.
    ///
    /// # Errors
    /// See [`Cut`].
    pub async fn take(&mut self, page: &[Listed]) -> Result<(), Cut> {
        self.patients.turn_page();
        self.consents.turn_page();
        self.after.clear();
        let context = Arc::clone(&self.context);
        let mut going = Going::new(&context);
        let put = self.put(page, &mut going).await;
        // PROMISE-6: also where the page is cut short, what is committed is waited for where it narrows.
        let settled = going.settle().await;
        put.and(settled)?;
        let fresh = self.patients.fresh().into_iter().chain(self.consents.fresh()).collect();
        self.context.keep(fresh).await.map_err(|_| Cut::Busy)
    }

    /// Puts each resource of a page on its way.
    async fn put(&mut self, page: &[Listed], going: &mut Going<'_>) -> Result<(), Cut> {
        let parsed: Vec<_> = page.iter().map(parsed).collect();
        let mut around = Around::default();
        // A server behind a proxy may call itself by another base than ours.
        let found = page.iter().filter(|listed| listed.mode == Mode::Found);
        let own: HashSet<String> =
            found.filter_map(Listed::root).chain([&*self.base]).map(str::to_owned).collect();
        let is_own = |listed: &Listed| listed.root().is_none_or(|root| own.contains(root));
        for (listed, resource) in page.iter().zip(&parsed) {
            match (resource, listed.full_url.as_deref()) {
                (Ok(Some(resource)), Some(url)) if !is_own(listed) => {
                    around.add_elsewhere(url, resource);
                }
                (Ok(Some(resource)), url) => around.add(url, resource),
                (Ok(None) | Err(_), _) => {}
            }
        }
        for (listed, parsed) in page.iter().zip(&parsed) {
            let bytes = listed.bytes.expose();
            let taken = match (listed.mode, parsed) {
                (Mode::Removed, _) => self.removed(bytes, listed.stamp)?,
                (Mode::Beside, Ok(Some(resource))) if is_own(listed) => {
                    self.beside(resource, &listed.bytes);
                    continue;
                }
                // What only came along is asked for by name where somebody needs it.
                (Mode::Beside, _) | (Mode::Found, Ok(None)) => continue,
                (Mode::Found, Err(wrong)) => self.unreadable(listed, wrong),
                (Mode::Found, Ok(Some(resource))) if resource.id().is_none() => {
                    let (kind, id) = listed.named();
                    nameless(bytes, &self.context.rules, clock::now_ms(), (&kind, &id))
                }
                (Mode::Found, Ok(Some(resource))) => {
                    let taken = self.found(listed, resource, &around).await?;
                    self.consents_first(resource, &taken).await?;
                    taken
                }
            };
            going.put(taken).await?;
        }
        Ok(())
    }

    /// Has what the server knows of a patient's consent committed before what is said of that patient, where
    /// the gate knows nothing of it.
    async fn consents_first(&mut self, resource: &Resource<'_>, taken: &Taken) -> Result<(), Cut> {
        let Some((id, subject)) = self.asked_of(resource, taken) else { return Ok(()) };
        if !self.consents.is_wanted(&id, &subject)? {
            return Ok(());
        }
        let found = match self.consents.ask(&id).await.map_err(Cut::Consents)? {
            Ok(found) => found,
            Err(why) => return self.without_consents(&id, why).await,
        };
        if !found.is_empty() {
            // PROMISE-1, PROMISE-5: after a crash in between all are asked for again.
            let begun = vec![self.consents.begun(&id)];
            self.context.keep(begun).await.map_err(|_| Cut::Busy)?;
            let context = Arc::clone(&self.context);
            let mut going = Going::new(&context);
            let put = self.put_consents(&found, &mut going).await;
            // PROMISE-6
            let settled = going.settle().await;
            put.and(settled)?;
        }
        self.consents.settled(&id);
        Ok(())
    }

    /// Puts Consents on their way, as those that a query found.
    async fn put_consents(&mut self, found: &[Listed], going: &mut Going<'_>) -> Result<(), Cut> {
        for listed in found {
            let taken = match parsed(listed) {
                Ok(Some(resource)) => self.found(listed, &resource, &Around::default()).await?,
                Ok(None) => continue,
                Err(wrong) => self.unreadable(listed, &wrong),
            };
            going.put(taken).await?;
        }
        Ok(())
    }

    /// Tells a human that consents are not asked for; what they are asked for goes on, and stays closed.
    async fn without_consents(&mut self, id: &str, why: String) -> Result<(), Cut> {
        let rules = &self.context.rules;
        if let Some(more) = self.context.quiet.due("fhir-consents") {
            tracing::error!(feed = %rules.feed, why, more, "a patient's consents cannot be asked for; without any nothing opens");
        }
        let admission = stopped(NAME, rules, clock::now_ms(), why);
        self.context.append(admission, &Turn::default()).await.map_err(|_| Cut::Busy)?;
        self.consents.give_up(id);
        Ok(())
    }

    /// The Patient whose consent a resource waits for, by its ID and as the subject that it is here. What
    /// gives no event waits for none, and a Consent brings its own.
    fn asked_of(&self, resource: &Resource<'_>, taken: &Taken) -> Option<(String, Subject)> {
        let admission = taken.assessed.admission.as_ref()?;
        let is_one = admission.status == Status::Admitted && resource.kind() != "Consent";
        if !self.consents.are_asked_for() || !is_one {
            return None;
        }
        let subject = admission.content.events.first().map(Stored::subject)?;
        if resource.kind() == "Patient" {
            return Some((resource.id()?.to_owned(), subject));
        }
        match About::of(resource, &self.base)?.patient? {
            Place::Here(id) => Some((id, subject)),
            Place::Elsewhere(_) => None,
        }
    }

    /// One that was asked for.
    async fn found(
        &mut self,
        listed: &Listed,
        resource: &Resource<'_>,
        around: &Around<'_>,
    ) -> Result<Taken, Cut> {
        let patient = self.patient(resource, around).await?;
        let patient = patient.as_ref().map(|patient| patient.expose());
        // One that was taken before is as it was read then.
        let patient = patient.and_then(|bytes| Resource::parse(bytes, RESOURCE_BYTES_MAX).ok());
        let survivor = self.survivor(resource, around).await?;
        let survivor = survivor.as_ref().and_then(|(reference, bytes)| {
            Some((reference, Resource::parse(bytes.expose(), RESOURCE_BYTES_MAX).ok()?))
        });
        let mut beside = None;
        if let Some((reference, survivor)) = &survivor {
            beside.insert(around.clone()).add_elsewhere(reference, survivor);
        }
        let around = beside.as_ref().unwrap_or(around);
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
                && taken.assessed.finding == Finding::Mapped
                && let Some(admission) = &mut taken.assessed.admission
            {
                admission.kept.extend(self.patients.remember(id, &listed.bytes));
            }
        }
        Ok(taken)
    }

    /// The Patient that a resource is about, as JSON; nothing where nobody can be found.
    async fn patient(
        &mut self,
        resource: &Resource<'_>,
        around: &Around<'_>,
    ) -> Result<Option<Phi<Bytes>>, Cut> {
        let Some(about) = About::of(resource, &self.base) else { return Ok(None) };
        let found = match &about.patient {
            Some(Place::Here(id)) => self.patients.find(id).await?,
            // One of another server is nobody, unless it came along.
            Some(Place::Elsewhere(url)) => around
                .find(url)
                .filter(|found| found.kind() == "Patient")
                .map(|found| Phi::new(Bytes::from(found.compact()))),
            None => None,
        };
        if found.is_some() {
            return Ok(found);
        }
        Ok(about.stated.map(|stated| Phi::new(Bytes::from(stated))))
    }

    /// Whom a Patient was replaced by, where the link has no number and they did not come along; with the
    /// reference that means them.
    async fn survivor(
        &mut self,
        patient: &Resource<'_>,
        around: &Around<'_>,
    ) -> Result<Option<(String, Phi<Bytes>)>, Cut> {
        let Some(other) = replaced_by(patient) else { return Ok(None) };
        let has_number = other.get("identifier").is_some_and(|it| it.get("value").is_some());
        let reference = other.get("reference").and_then(Node::text).unwrap_or_default();
        if has_number || around.find(reference).is_some() {
            return Ok(None);
        }
        let Some(Place::Here(id)) = Place::read(reference, &self.base) else { return Ok(None) };
        let found = self.patients.find(&id).await?;
        let plain = reference.split_once("/_history/").map_or(reference, |(plain, _)| plain);
        Ok(found.map(|found| (plain.to_owned(), found)))
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
        if found.is_none() && kind == "Consent" {
            let standing = self.context.kept(STANDING, &name(kind, id))?;
            return Ok(standing.and_then(|it| Standing::read(it.expose())).map(|it| it.before));
        }
        Ok(found.and_then(|found| Before::read(found.expose())))
    }

    fn removed(&mut self, gone: &Bytes, at: Option<Timestamp>) -> Result<Taken, StoreError> {
        let text = String::from_utf8_lossy(gone);
        let (kind, id) = text.split_once('/').unwrap_or((&text, "?"));
        let before = self.before(kind, id)?;
        let (before, rules) = (before.as_ref(), &self.context.rules);
        let taken = removed(gone, (kind, id), (at, before), rules, clock::now_ms());
        if let Some(after) = &taken.after {
            self.after.insert(name(kind, id), after.clone());
        }
        Ok(taken)
    }

    fn unreadable(&self, listed: &Listed, wrong: &Malformed) -> Taken {
        let place = wrong.place.as_deref().unwrap_or("?").to_owned();
        let (kind, id) = listed.named();
        let said = (wrong.to_string(), place);
        let rules = &self.context.rules;
        malformed(listed.bytes.expose(), rules, clock::now_ms(), (&kind, &id), said)
    }
}

/// A resource, where its entry has one.
fn parsed(listed: &Listed) -> Result<Option<Resource<'_>>, Malformed> {
    if listed.mode == Mode::Removed {
        return Ok(None);
    }
    if let Some(wrong) = &listed.wrong {
        return Err(wrong.clone());
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
