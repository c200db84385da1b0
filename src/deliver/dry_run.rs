//! What every route would do with a message now, without doing it.
//!
//! Promises: decided by the same steps as what leaves; nothing is kept, nothing is handed over.
//! Knows nothing of: where the message comes from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::decide::{Answer, Grounds, Undecided, decide_event};
use super::queue::{Item, Task};
use super::tokens::{DryNames, Realm};
use crate::admit::CorrelationId;
use crate::admit::assess::{Rules, assess};
use crate::audit::{Consulted, Names, sentence};
use crate::consent::Policy;
use crate::contract::{Contract, wants};
use crate::event::{Event, EventType, Subject};
use crate::store::{Filed, StoreError};
use crate::verdict::{Outcome, verdict};

/// What routes decide by.
#[derive(Debug)]
pub struct DryRun {
    /// The contracts, each with its realm, or why the route does not start.
    pub routes: Vec<(Arc<Contract>, Result<Realm, String>)>,
    /// What codes, restrictions and jurisdictions mean here.
    pub policy: Arc<Policy>,
    /// The hash of the configuration.
    pub configuration: Arc<str>,
    /// `[node] name`.
    pub node: String,
    /// `[node] jurisdiction`.
    pub jurisdiction: Option<String>,
}

/// What a route would do with an event.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The event's ID, if the message is the first of its control ID.
    pub event: String,
    /// What it says.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The route.
    pub route: String,
    /// `release`, `suppress`, `unselected`, or `stopped`.
    pub outcome: &'static str,
    /// Why.
    pub sentence: String,
    /// What would leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// The message gives no event.
    #[error("the message gives no event: {0}")]
    NoEvent(&'static str),
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event cannot be put into its form.
    #[error("{0}")]
    Undecided(#[from] Undecided),
}

impl DryRun {
    /// What every route would do with each event of a message, whose own consents count.
    ///
    /// # Errors
    /// The message gives no event, or the ledger cannot be read.
    pub fn of_message(
        &self,
        bytes: &Bytes,
        rules: &Rules,
        mut filed: impl FnMut(&Subject) -> Result<Filed, StoreError>,
        now: Timestamp,
    ) -> Result<Vec<Told>, Untold> {
        let assessed = assess(bytes, rules, now.as_millisecond());
        let admission = assessed.admission.filter(|it| !it.content.events.is_empty());
        let correlated = admission.as_ref().and_then(|admission| admission.correlated);
        let (Some(admission), Some(correlated)) = (admission, correlated) else {
            let reason = verdict(&Outcome::Refused(assessed.finding)).reason;
            return Err(Untold::NoEvent(reason));
        };
        let id = CorrelationId { correlation: correlated.correlation, epoch: 1 };
        let mut told = Vec::new();
        for stored in &admission.content.events {
            let mut event = stored.event(&id);
            let own = admission.consents.iter().filter(|given| given.subject == event.subject);
            let records = own.map(|given| given.clone().of(&id).record).collect();
            let mut known = filed(&event.subject)?;
            // As a route takes it up: by whom its subject goes since it was merged.
            if let Some(survivor) = known.survivor() {
                event.subject = survivor.clone();
                known = filed(&event.subject)?;
            }
            let filed = known.with(records);
            for (contract, realm) in &self.routes {
                told.push(self.one(&event, &id, &filed, (contract, realm), rules, now)?);
            }
        }
        Ok(told)
    }

    fn one(
        &self,
        event: &Event,
        id: &CorrelationId,
        filed: &Filed,
        (contract, realm): (&Contract, &Result<Realm, String>),
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Told, Untold> {
        let told = |outcome, sentence, payload| Told {
            event: event.id.0.clone(),
            kind: event.kind,
            route: contract.name.clone(),
            outcome,
            sentence,
            payload,
        };
        if !wants(contract, event) {
            let Contract { name, version, .. } = contract;
            let sentence = format!("Contract {name} {version} does not select {}.", event.kind);
            return Ok(told("unselected", sentence, None));
        }
        let realm = match realm {
            Ok(realm) => realm,
            Err(why) => {
                let sentence = format!("Route {} does not start: {why}.", contract.name);
                return Ok(told("stopped", sentence, None));
            }
        };
        let item = Item {
            task: Task::Event,
            recorded: None,
            number: 0,
            step: 0,
            event: event.clone(),
            sequence: 0,
            correlation_id: id.to_string(),
            feed: Arc::clone(&rules.feed),
            received_at: now.as_millisecond(),
            attempts: 0,
            sent_at: Duration::ZERO,
            renaming: None,
            is_announced: false,
        };
        let grounds = Grounds {
            contract,
            ledger: filed.ledger(),
            policy: &self.policy,
            keys: &realm.keys,
            names: &DryNames(realm),
            digests: &rules.digests,
            configuration: &self.configuration,
            node: &self.node,
            jurisdiction: self.jurisdiction.as_deref(),
        };
        let (answer, evidence) = decide_event(&grounds, &item, now)?;
        let name = |consulted: &Consulted| filed.named(consulted, &rules.digests);
        let names = Names { consent: &name, recipe: Some(contract.recipe_at(now).0) };
        let payload = match answer {
            Answer::Release(release) => serde_json::from_slice(release.body()).ok(),
            Answer::Suppress(_) | Answer::Violation { .. } | Answer::Nothing => None,
        };
        Ok(told(evidence.outcome.name(), sentence(&evidence, &names), payload))
    }
}
