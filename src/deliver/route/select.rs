//! What a route is to do with an entry of the journal.
//!
//! Promises: an event goes by whom its subject is known as since it was merged; of what narrows a
//! consent a notice may be wanted for everybody who is, or was, one person with its subject.
//! Knows nothing of: whether anything leaves.

use std::sync::Arc;

use tokio::task::block_in_place;

use crate::admit::consents::is_consent;
use crate::admit::{Digest, DigestKey, Entry, Fact};
use crate::contract::{Contract, wants};
use crate::deliver::queue::Task;
use crate::event::{Event, EventType, Subject};
use crate::store::{Filed, Journal, StoreError};

/// An entry, what is to be done with its events, and how many the contract does not select.
pub(super) struct Selected {
    pub entry: Arc<Entry>,
    pub wanted: Vec<(Task, Fact)>,
    pub unwanted: u64,
}

/// The next entries. What the subjects of their selected events decided is remembered then.
pub(super) fn select(
    journal: &Journal,
    contract: &Contract,
    after: u64,
    limit: usize,
) -> Result<Vec<Selected>, StoreError> {
    let entries = match journal.recent(after, limit) {
        Some(entries) => entries,
        None => block_in_place(|| journal.read_after(after, limit))?,
    };
    let digests = journal.digests();
    let mut selected = Vec::with_capacity(entries.len());
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.peek() {
        let remembered = |subject: &Digest| journal.remembered(subject).map(Some);
        let Some((wanted, unwanted)) = of_entry(entry, contract, digests, remembered) else {
            break;
        };
        selected.extend(entries.next().map(|entry| Selected { entry, wanted, unwanted }));
    }
    if entries.peek().is_some() {
        // Off the runtime once for all of them, since it costs a thread each time. Where somebody's cannot
        // be read, whoever decides about the event says so.
        let read = |subject: &Digest| Some(journal.filed(subject).ok());
        let rest = entries.filter_map(|entry| {
            let (wanted, unwanted) = of_entry(&entry, contract, digests, read)?;
            Some(Selected { entry, wanted, unwanted })
        });
        block_in_place(|| selected.extend(rest));
    }
    Ok(selected)
}

/// What is to be done with the events of an entry; nothing where `filed` has not what it takes.
fn of_entry(
    entry: &Entry,
    contract: &Contract,
    digests: &DigestKey,
    filed: impl Fn(&Digest) -> Option<Option<Arc<Filed>>>,
) -> Option<(Vec<(Task, Fact)>, u64)> {
    let (mut wanted, mut unwanted) = (Vec::new(), 0);
    for fact in entry.facts(digests) {
        let takes = wants(contract, &fact.event);
        unwanted += u64::from(!takes);
        if !takes && !may_be_told_of(&fact.event) {
            continue;
        }
        let filed = filed(&fact.digests.subject)?;
        // Before the event itself, which may say that the consumer may have more.
        let others = filed.as_ref().map_or(&[][..], |filed| filed.others());
        tell(fact, others, digests, &mut wanted);
        if takes {
            wanted.push((Task::Event, by_survivor(fact, filed.as_deref(), digests)));
        }
    }
    Some((wanted, unwanted))
}

/// The selected events in one slot of an entry: those whose place among its events leaves that over;
/// the others are counted elsewhere. Nobody is told of anything, since nobody knows a subject. Nothing
/// where the entry is gone.
pub(super) fn in_slot(
    journal: &Journal,
    contract: &Contract,
    number: u64,
    (slot, slots): (u64, u64),
) -> Result<Option<Selected>, StoreError> {
    let found = journal.read_after(number.saturating_sub(1), 1)?;
    let Some(entry) = found.into_iter().find(|entry| entry.number == number) else {
        return Ok(None);
    };
    let mut wanted = Vec::new();
    let digests = journal.digests();
    for (nth, fact) in (0_u64..).zip(entry.facts(digests)) {
        if nth.checked_rem(slots) == Some(slot) && wants(contract, &fact.event) {
            let filed = journal.filed(&fact.digests.subject).ok();
            wanted.push((Task::Event, by_survivor(fact, filed.as_deref(), digests)));
        }
    }
    Ok(Some(Selected { entry, wanted, unwanted: 0 }))
}

/// The event by whom its subject is known as since it was merged.
fn by_survivor(fact: &Fact, filed: Option<&Filed>, digests: &DigestKey) -> Fact {
    let survivor = filed.and_then(Filed::survivor);
    survivor.map_or_else(|| fact.clone(), |survivor| fact.about(survivor, digests))
}

fn may_be_told_of(event: &Event) -> bool {
    is_consent(event.kind) || event.prior.is_some()
}

/// What a consumer may have to be told of an event, whether the contract selects it or not.
fn tell(fact: &Fact, others: &[Subject], digests: &DigestKey, wanted: &mut Vec<(Task, Fact)>) {
    match (fact.event.kind, &fact.event.prior) {
        (EventType::PatientMoved, Some(prior)) => {
            wanted.push((Task::Retract, fact.about(prior, digests).without_prior()));
        }
        (EventType::PatientMerged | EventType::PatientIdentifierChanged, Some(_)) => {
            wanted.push((Task::Link, fact.clone()));
            // What one of them refused holds for the other from here on.
            stop(fact, others, digests, wanted);
        }
        (kind, _) if is_consent(kind) => stop(fact, others, digests, wanted),
        _ => {}
    }
}

fn stop(fact: &Fact, others: &[Subject], digests: &DigestKey, wanted: &mut Vec<(Task, Fact)>) {
    wanted.push((Task::Notice(0), fact.clone()));
    for (nth, other) in (1..).zip(others) {
        wanted.push((Task::Notice(nth), fact.about(other, digests)));
    }
}
