//! Evidence first: what was decided is in the audit before anything of it is handed over.
//!
//! Promises: an answer comes out of here when its record is durable, and not before; the same
//! answer about the same event is recorded once, also over a restart; what was handed over and
//! never confirmed is recorded as in doubt.
//! Knows nothing of: how records are chained, what becomes of an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;

use super::decide::{Answer, Decided, evidence_id, is_renaming_of};
use super::queue::{Handed, Item, Recorded, Renaming, Task};
use crate::admit::DigestKey;
use crate::audit::draft::At;
use crate::audit::{Decision, Draft, Fields, Outcome, Record, Says, by};
use crate::event::{EventType, Subject};
use crate::fence::Moment;
use crate::store::StoreError;
use crate::store::audit::{Audit, AuditBusy};

/// An answer with its evidence on its way.
struct Staged {
    item: Item,
    answer: Answer,
    asked_at: Moment,
    /// What is recorded of it, and where among the records that are on their way.
    record: Option<(Box<Decision>, usize)>,
    /// Whether it is recorded as in doubt.
    is_in_doubt: bool,
}

/// An answer whose evidence is durable.
#[derive(Debug)]
pub struct Proven {
    /// The event.
    pub item: Item,
    /// The answer.
    pub answer: Answer,
    /// When the consent was looked up.
    pub asked_at: Moment,
}

type Appending = Pin<Box<dyn Future<Output = Result<Vec<u64>, AuditBusy>> + Send>>;

/// The evidence of one route that is not durable yet.
pub struct Evidence {
    audit: Arc<Audit>,
    route: Arc<str>,
    /// The routes of its realm, itself among them.
    realm: Arc<[Arc<str>]>,
    /// The newest journal entry that an earlier run may have decided about.
    before: u64,
    staged: Vec<Staged>,
    appending: Option<Appending>,
    /// Doubts that the audit has not taken yet.
    owed: Vec<(Timestamp, Says)>,
    /// Doubts that are on their way into it.
    settling: Vec<(Timestamp, Says)>,
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Evidence({}, {} staged)", self.route, self.staged.len())
    }
}

impl Evidence {
    /// The evidence of a route; `before` is the newest journal entry when it begins.
    #[must_use]
    pub fn new(audit: Arc<Audit>, route: Arc<str>, realm: Arc<[Arc<str>]>, before: u64) -> Self {
        Self {
            audit,
            route,
            realm,
            before,
            staged: Vec::new(),
            appending: None,
            owed: Vec::new(),
            settling: Vec::new(),
        }
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.appending.is_none()
    }

    /// Whether doubts are owed to the audit.
    #[must_use]
    pub const fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// What an earlier run recorded of an event.
    ///
    /// # Errors
    /// The audit cannot be read.
    pub fn recall(&self, item: &mut Item) -> Result<(), StoreError> {
        if item.number > self.before || item.recorded.is_some() {
            return Ok(());
        }
        let id = evidence_id(item);
        for record in self.audit.of_event(&id, &self.route)? {
            let Says::Decision(decision) = record.says else { continue };
            if decision.outcome == Outcome::InDoubt {
                if let Some(recorded) = &mut item.recorded {
                    recorded.handed = Handed::InDoubt;
                }
                continue;
            }
            // Nobody knows how far it came.
            item.recorded = Some(Recorded { number: record.number, decision, handed: Handed::Yes });
        }
        Ok(())
    }

    /// The newest record by which something of a subject was to leave on this route, by the digest
    /// that stands for the subject there.
    ///
    /// # Errors
    /// The audit cannot be read.
    pub fn last_sent(&self, subject: &str) -> Result<Option<Box<Decision>>, StoreError> {
        Ok(self.audit.last_of(subject, &self.route)?.and_then(decision_of))
    }

    /// What an earlier run recorded to go before an event, by its subject's digest: nobody knows
    /// how far it came.
    ///
    /// # Errors
    /// The audit cannot be read.
    pub fn owed_before(&self, item: &Item, subject: &str) -> Result<Option<Renaming>, StoreError> {
        if item.number > self.before || item.is_announced || item.is_notice() {
            return Ok(None);
        }
        let last = self.last_sent(subject)?.filter(|last| last.outcome == Outcome::Notice);
        let Some(last) = last.filter(|last| is_renaming_of(&last.event, item)) else {
            return Ok(None);
        };
        let Decision { token, retired, .. } = *last;
        Ok(token.zip(retired).map(|(token, retired)| Renaming { token, retired }))
    }

    /// Whether the consumer is to be told of an event that wants a notice: it was sent something of
    /// the subject, and has not been told since by another notice. Of two that are one it is told
    /// where its realm was sent something of both, and itself of one of them.
    ///
    /// # Errors
    /// The audit cannot be read.
    pub fn is_to_be_told(&self, item: &Item, digests: &DigestKey) -> Result<bool, StoreError> {
        let last = |subject: &Subject, route: &str| {
            let subject = digests.subject(subject).to_string();
            Ok::<_, StoreError>(self.audit.last_of(&subject, route)?.and_then(decision_of))
        };
        let last_but_links = |subject: &Subject| {
            let subject = digests.subject(subject).to_string();
            let last = self.audit.last_but_links(&subject, &self.route)?;
            Ok::<_, StoreError>(last.and_then(decision_of))
        };
        let subject = &item.event.subject;
        match (item.task, &item.event.prior) {
            (Task::Event, _) | (Task::Link, None) => Ok(false),
            (Task::Renamed, _) => Ok(true),
            (Task::Notice(_), _) => Ok(last_but_links(subject)?.is_some_and(|last| {
                // One that links, where nothing else is kept any more, has told nobody to stop.
                last.outcome != Outcome::Notice || last.is_link() || last.event == evidence_id(item)
            })),
            (Task::Retract, _) => Ok(last(subject, &self.route)?.is_some_and(|last| {
                last.kind != EventType::ConsentRetracted || last.event == evidence_id(item)
            })),
            (Task::Link, Some(prior)) => {
                let mut known = [false; 2];
                let mut own = false;
                for route in self.realm.iter() {
                    for (known, subject) in known.iter_mut().zip([subject, prior]) {
                        let sent = last(subject, route)?.is_some();
                        *known |= sent;
                        own |= sent && *route == self.route;
                    }
                }
                // A changed identifier has no other side: whoever knew the old one is told.
                let renamed = item.event.kind == EventType::PatientIdentifierChanged;
                let [new, old] = known;
                Ok(own && old && (new || renamed))
            }
        }
    }

    /// Begins to record answers; they come out of [`Evidence::proven`].
    // PROMISE-8
    pub fn stage(&mut self, decided: Vec<(Item, Decided, Moment)>, now: Timestamp) {
        self.settling = std::mem::take(&mut self.owed);
        // Written here, each from where it is, so that nothing of it has to be copied for that.
        let written_at = At::new(&now);
        let mut drafts: Vec<Option<Draft>> =
            self.settling.iter().map(|(at, says)| Draft::new(at, says)).collect();
        self.staged.reserve(decided.len());
        drafts.reserve(decided.len());
        for (item, Decided { answer, evidence }, asked_at) in decided {
            let mut staged = Staged { item, answer, asked_at, record: None, is_in_doubt: false };
            let known = staged.item.recorded.as_ref();
            let is_told =
                |decision: &Decision| known.is_some_and(|it| is_same(&it.decision, decision));
            let news = evidence.filter(|decision| !is_told(decision));
            let known = known.filter(|known| known.has_left());
            // Handed over, and not by this run: nobody knows how far it came. What a file holds is
            // seen when it is opened, so that there only another answer leaves a doubt.
            let from_before = known.filter(|known| known.handed == Handed::Yes);
            if let Some(known) = from_before.filter(|known| news.is_some() || known.is_away()) {
                drafts.push(Draft::new(&now, &doubt(known, "restart")));
                staged.is_in_doubt = true;
            }
            if let Some(mut decision) = news {
                let unsent = known.filter(|known| known.handed == Handed::No);
                decision.instead = unsent.map(|known| known.number);
                let keys = *staged
                    .item
                    .digests
                    .keys
                    .get_or_init(|| by::keys_of_event(&decision.event, &decision.subject));
                let keys = by::keys_of(&decision, keys);
                drafts.push(Draft::of_decision(&written_at, &decision, keys));
                staged.record = Some((decision, drafts.len() - 1));
            }
            self.staged.push(staged);
        }
        let audit = Arc::clone(&self.audit);
        self.appending = Some(Box::pin(async move {
            let drafts: Option<Vec<Draft>> = drafts.into_iter().collect();
            let drafts = drafts.ok_or(AuditBusy::Stopped)?;
            if drafts.is_empty() { Ok(Vec::new()) } else { audit.append_drafts(drafts).await }
        }));
    }

    /// Waits until what was staged is durable; for ever, where nothing is. Cancelling loses
    /// nothing.
    ///
    /// # Errors
    /// The audit could not take it. [`Evidence::give_back`] has the events then.
    // PROMISE-9: no evidence, no release.
    pub async fn proven(&mut self) -> Result<Vec<Proven>, AuditBusy> {
        let Some(appending) = &mut self.appending else { return std::future::pending().await };
        let numbers = appending.await;
        self.appending = None;
        let settling = std::mem::take(&mut self.settling);
        let numbers = match numbers {
            Ok(numbers) => numbers,
            Err(busy) => {
                self.owed.extend(settling);
                return Err(busy);
            }
        };
        let proven = std::mem::take(&mut self.staged).into_iter().map(|staged| {
            let Staged { mut item, answer, asked_at, record, is_in_doubt } = staged;
            if let Some(recorded) = item.recorded.as_mut().filter(|_| is_in_doubt) {
                recorded.handed = Handed::InDoubt;
            }
            if let Some((decision, at)) = record
                && let Some(number) = numbers.get(at).copied()
            {
                item.recorded = Some(Recorded { number, decision, handed: Handed::No });
            }
            Proven { item, answer, asked_at }
        });
        Ok(proven.collect())
    }

    /// The events whose evidence could not be made durable.
    pub fn give_back(&mut self) -> Vec<Item> {
        self.appending = None;
        std::mem::take(&mut self.staged).into_iter().map(|staged| staged.item).collect()
    }

    /// Payloads were handed over and will not be confirmed: they may have arrived, or surface
    /// later.
    pub fn in_doubt<'i>(
        &mut self,
        items: impl IntoIterator<Item = &'i mut Item>,
        why: &'static str,
        now: Timestamp,
    ) {
        for item in items {
            let Some(recorded) = &mut item.recorded else { continue };
            if recorded.handed == Handed::Yes {
                self.owed.push((now, doubt(recorded, why)));
                recorded.handed = Handed::InDoubt;
            }
        }
    }

    /// Records the doubts that are owed.
    ///
    /// # Errors
    /// The audit cannot take them now; they are still owed.
    pub async fn settle(&mut self) -> Result<(), AuditBusy> {
        if self.owed.is_empty() {
            return Ok(());
        }
        self.audit.append(self.owed.clone()).await?;
        self.owed.clear();
        Ok(())
    }
}

fn decision_of(record: Record) -> Option<Box<Decision>> {
    match record.says {
        Says::Decision(decision) => Some(decision),
        Says::Act(_) => None,
    }
}

/// Whether two answers are the same; what differs by the way does not count.
fn is_same(known: &Decision, decision: &Decision) -> bool {
    known.outcome == decision.outcome
        && known.reason == decision.reason
        && known.consents == decision.consents
        && known.fields == decision.fields
        && known.kind == decision.kind
        && known.token == decision.token
        && known.place == decision.place
        && known.retired == decision.retired
        && known.told_by == decision.told_by
        && known.under.contract == decision.under.contract
        && known.under.configuration == decision.under.configuration
        && known.under.recipe == decision.under.recipe
}

/// The record of a payload that was handed over and not confirmed.
fn doubt(known: &Recorded, why: &'static str) -> Says {
    let mut decision = known.decision.clone();
    decision.outcome = Outcome::InDoubt;
    decision.reason = why.into();
    decision.fields = Fields::default();
    decision.consents = Vec::new();
    decision.visit = None;
    decision.glass = Vec::new();
    decision.instead = None;
    decision.of = Some(known.number);
    Says::Decision(decision)
}
