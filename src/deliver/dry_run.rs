//! What every route would do with a message now, without doing it.
//!
//! Promises: decided by the same steps as what leaves; nothing is kept, nothing is handed over.
//! Knows nothing of: where the message comes from.

use std::borrow::Borrow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::decide::{Answer, Grounds, Shared, Undecided, decide_event};
use super::once::transition_of;
use super::queue::{Item, Task};
use super::tokens::{DryNames, Realm};
use crate::admit::assess::{Rules, assess};
use crate::admit::{CorrelationId, Digest, DigestKey, Fact};
use crate::audit::{Consulted, Decision, Names, sentence};
use crate::consent::Policy;
use crate::contract::once::Occurrences;
use crate::contract::{Contract, wants};
use crate::event::{EventType, Subject};
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
    /// `release`, `suppress`, `told`, `unselected`, or `stopped`.
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

/// An event that is decided about, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The event, by whom its subject is known as.
    pub fact: &'a Fact,
    /// What is filed of its subject.
    pub filed: &'a Filed,
    /// Its message.
    pub id: CorrelationId,
    /// The number of that in the journal; 0 where it is in none.
    pub number: u64,
    /// The feed it came in by.
    pub feed: &'a Arc<str>,
    /// When it came in, in milliseconds since 1970.
    pub received_at: i64,
    /// The key of the digests that stand for subjects in the evidence.
    pub digests: &'a DigestKey,
}

/// What a route does with an event.
#[derive(Debug)]
pub enum Taken<'t> {
    /// Its contract does not select it.
    Unselected,
    /// The route does not start, for this reason.
    Stopped(&'t str),
    /// It decides, on this evidence.
    Decided(Answer, Box<Decision>),
}

/// What a route's sources told of a transition, by the route and what stands for that.
pub type Telling<'t> = dyn FnMut(&str, &Digest) -> Result<Occurrences, StoreError> + 't;

/// An event by whom its subject is known as since it was merged, as a route takes it up; and what is
/// filed of that one.
///
/// # Errors
/// The ledger cannot be read.
pub fn as_known<F: Borrow<Filed>>(
    fact: Fact,
    digests: &DigestKey,
    filed: &mut impl FnMut(&Subject) -> Result<F, StoreError>,
) -> Result<(Fact, F), StoreError> {
    let known = filed(&fact.event.subject)?;
    let Some(survivor) = known.borrow().survivor().cloned() else { return Ok((fact, known)) };
    Ok((fact.about(&survivor, digests), filed(&survivor)?))
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
        telling: &mut Telling<'_>,
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
            let fact = stored.fact(&id, id.to_string().into(), &rules.digests);
            let subject = Arc::clone(&fact.event.subject);
            let own = admission.consents.iter().filter(|given| given.subject == *subject);
            let records = own.map(|given| given.clone().of(&id).record).collect();
            let (fact, filed) = as_known(fact, &rules.digests, &mut filed)?;
            let filed = filed.with(records);
            let asked = Asked {
                fact: &fact,
                filed: &filed,
                id,
                number: 0,
                feed: &rules.feed,
                received_at: now.as_millisecond(),
                digests: &rules.digests,
            };
            for nth in 0..self.routes.len() {
                told.extend(self.one(nth, &asked, telling, now)?);
            }
        }
        Ok(told)
    }

    /// What the nth route does with an event.
    ///
    /// # Errors
    /// The event cannot be put into its form.
    pub fn decide(
        &self,
        nth: usize,
        asked: &Asked<'_>,
        telling: &mut Telling<'_>,
        now: Timestamp,
    ) -> Result<Taken<'_>, Undecided> {
        let Some((contract, realm)) = self.routes.get(nth) else { return Ok(Taken::Unselected) };
        if !wants(contract, &asked.fact.event) {
            return Ok(Taken::Unselected);
        }
        let realm = match realm {
            Ok(realm) => realm,
            Err(why) => return Ok(Taken::Stopped(why)),
        };
        let transition = transition_of(contract, asked.fact, asked.digests);
        let told = transition.map(|transition| telling(&contract.name, &transition)).transpose()?;
        let event = &asked.fact.event.id.0;
        let told_by = told.as_ref().and_then(|told| told.told_by(asked.feed, event));
        let item = Item {
            number: asked.number,
            received_at: asked.received_at,
            transition,
            told_by: told_by.map(Into::into),
            ..Item::new(Task::Event, asked.fact.clone(), Arc::clone(asked.feed))
        };
        let grounds = Grounds {
            contract,
            ledger: asked.filed.ledger(),
            policy: &self.policy,
            keys: &realm.keys,
            names: &DryNames(realm),
            digests: asked.digests,
            under: &Shared::new(contract, &self.configuration),
            node: &self.node,
            jurisdiction: self.jurisdiction.as_deref(),
        };
        let (answer, evidence) = decide_event(&grounds, &item, now)?;
        Ok(Taken::Decided(answer, Box::new(evidence)))
    }

    /// The same in words.
    fn one(
        &self,
        nth: usize,
        asked: &Asked<'_>,
        telling: &mut Telling<'_>,
        now: Timestamp,
    ) -> Result<Option<Told>, Untold> {
        let Some((contract, _)) = self.routes.get(nth) else { return Ok(None) };
        let told = |outcome, sentence, payload| Told {
            event: asked.fact.event.id.to_string(),
            kind: asked.fact.event.kind,
            route: contract.name.clone(),
            outcome,
            sentence,
            payload,
        };
        let Contract { name, version, .. } = &**contract;
        let (answer, evidence) = match self.decide(nth, asked, telling, now)? {
            Taken::Decided(answer, evidence) => (answer, evidence),
            Taken::Unselected => {
                let kind = asked.fact.event.kind;
                let sentence = format!("Contract {name} {version} does not select {kind}.");
                return Ok(Some(told("unselected", sentence, None)));
            }
            Taken::Stopped(why) => {
                let sentence = format!("Route {name} does not start: {why}.");
                return Ok(Some(told("stopped", sentence, None)));
            }
        };
        let name = |consulted: &Consulted| asked.filed.named(consulted, asked.digests);
        let names = Names { consent: &name, recipe: Some(contract.recipe_at(now).0) };
        let payload = match answer {
            Answer::Release(release) => serde_json::from_slice(release.body()).ok(),
            Answer::Suppress(_) | Answer::Violation { .. } | Answer::Told | Answer::Nothing => None,
        };
        Ok(Some(told(evidence.outcome.name(), sentence(&evidence, &names), payload)))
    }
}
