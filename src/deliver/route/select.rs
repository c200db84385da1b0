//! What a route is to do with an entry of the journal.
//!
//! Promises: an event goes by whom its subject is known as since it was merged; of what narrows a
//! consent a notice may be wanted for everybody who is, or was, one person with its subject.
//! Knows nothing of: whether anything leaves.

use std::sync::Arc;

use crate::admit::Entry;
use crate::admit::consents::is_consent;
use crate::contract::{Contract, wants};
use crate::deliver::queue::Task;
use crate::event::{Event, EventType, Subject};
use crate::store::{Journal, StoreError};

/// An entry, what is to be done with its events, and how many the contract does not select.
pub(super) struct Selected {
    pub entry: Arc<Entry>,
    pub wanted: Vec<(Task, Event)>,
    pub unwanted: u64,
}

/// The next entries. What the subjects of their selected events decided is remembered then.
pub(super) fn select(
    journal: &Journal,
    contract: &Contract,
    after: u64,
    limit: usize,
) -> Result<Vec<Selected>, StoreError> {
    let mut selected = Vec::new();
    for entry in journal.read_after(after, limit)? {
        let (mut wanted, mut unwanted) = (Vec::new(), 0);
        for mut event in entry.events() {
            let takes = wants(contract, &event);
            unwanted += u64::from(!takes);
            if !takes && !may_be_told_of(&event) {
                continue;
            }
            // Where it cannot be read, whoever decides about this event says so.
            let filed = journal.filed(&event.subject).ok();
            // Before the event itself, which may say that the consumer may have more.
            let others = filed.as_ref().map_or(&[][..], |filed| filed.others());
            tell(&event, others, &mut wanted);
            if takes {
                if let Some(survivor) = filed.as_ref().and_then(|filed| filed.survivor()) {
                    event.subject = survivor.clone();
                }
                wanted.push((Task::Event, event));
            }
        }
        selected.push(Selected { entry, wanted, unwanted });
    }
    Ok(selected)
}

fn may_be_told_of(event: &Event) -> bool {
    is_consent(event.kind) || event.prior.is_some()
}

/// What a consumer may have to be told of an event, whether the contract selects it or not.
fn tell(event: &Event, others: &[Subject], wanted: &mut Vec<(Task, Event)>) {
    match (event.kind, &event.prior) {
        (EventType::PatientMoved, Some(prior)) => {
            let moved = Event { subject: prior.clone(), prior: None, ..event.clone() };
            wanted.push((Task::Retract, moved));
        }
        (EventType::PatientMerged | EventType::PatientIdentifierChanged, Some(_)) => {
            wanted.push((Task::Link, event.clone()));
            // What one of them refused holds for the other from here on.
            stop(event, others, wanted);
        }
        (kind, _) if is_consent(kind) => stop(event, others, wanted),
        _ => {}
    }
}

fn stop(event: &Event, others: &[Subject], wanted: &mut Vec<(Task, Event)>) {
    wanted.push((Task::Notice(0), event.clone()));
    for (nth, other) in (1..).zip(others) {
        wanted.push((Task::Notice(nth), Event { subject: other.clone(), ..event.clone() }));
    }
}
