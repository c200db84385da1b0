//! Why a message left, or did not, or would.
//!
//! Promises: what was decided and what would be is told in the same sentences.
//! Knows nothing of: how it is decided.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api;
use super::auth::Role;
use super::server::{AdminState, look_up};
use crate::audit::{Consulted, Decision, Names, Record, Says, sentence};
use crate::contract::Contract;
use crate::event::Subject;
use crate::store::audit::find::Sought;
use crate::store::query::Lookup;
use crate::store::{Filed, StoreError};

/// Largest message that is decided about for a trial, as the largest frame of a feed usually is.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Most records of one message that are told.
const RECORDS_MAX: u32 = 1_000;

type Function = dyn Fn(Option<&str>, &Bytes, &mut Lookup) -> Result<Value, String> + Send + Sync;

/// What every route would do with a message of a feed.
#[derive(Clone)]
pub struct Decide(Arc<Function>);

impl std::fmt::Debug for Decide {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Decide(..)")
    }
}

impl Decide {
    /// By a function of feed, message and store.
    pub fn new(
        decide: impl Fn(Option<&str>, &Bytes, &mut Lookup) -> Result<Value, String>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(decide))
    }
}

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    feed: Option<String>,
}

pub(super) async fn decide(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
    body: Bytes,
) -> Response {
    let decide = state.decide.clone();
    let answer = look_up(state, headers, Role::Operator, move |lookup| {
        Ok(Some(answer((decide.0)(wanted.feed.as_deref(), &body, lookup))))
    });
    answer.await
}

/// An answer as JSON, or why there is none.
#[must_use]
pub fn answer(decided: Result<Value, String>) -> Value {
    match decided {
        Ok(told) => json!({ "decisions": told }),
        Err(why) => json!({ "error": why }),
    }
}

/// A message, whole, with what was decided about its events.
///
/// # Errors
/// The store cannot be read.
pub fn message(
    lookup: &mut Lookup,
    number: u64,
    contracts: &[Contract],
) -> Result<Option<Value>, StoreError> {
    let routes = lookup.routes()?;
    let Some(shown) = lookup.message(number)? else { return Ok(None) };
    let mut json = api::shown(&shown, &routes);
    let correlation = shown.listed.entry.correlation_id.map(|id| id.to_string());
    let Some(correlation) = correlation else { return Ok(Some(json)) };
    let sought = Sought { correlation: Some(correlation), limit: RECORDS_MAX, ..Sought::default() };
    let found = lookup.audit()?.find(&sought)?;
    let filed = lookup.consents(number)?.unwrap_or_default();
    let mut told: Vec<Value> = found
        .records
        .iter()
        .filter_map(|record| decision(record, &filed, lookup, contracts))
        .collect();
    // The newest was found first.
    told.reverse();
    if let Some(object) = json.as_object_mut() {
        object.insert("decisions".to_owned(), told.into());
    }
    Ok(Some(json))
}

/// A record of a decision, in words.
fn decision(
    record: &Record,
    filed: &[(Subject, Filed)],
    lookup: &Lookup,
    contracts: &[Contract],
) -> Option<Value> {
    let Says::Decision(decision) = &record.says else { return None };
    let Decision { under, event, outcome, kind, .. } = &**decision;
    let route = &under.route;
    let name = |consulted: &Consulted| {
        filed.iter().find_map(|(_, filed)| filed.named(consulted, lookup.digests()))
    };
    let contract = contracts.iter().find(|contract| contract.name == *route);
    let names = Names { consent: &name, recipe: contract.map(|contract| &contract.recipe) };
    Some(json!({
        "record": record.number,
        "at": record.at.to_string(),
        "route": route,
        "event": event,
        "type": kind,
        "outcome": outcome.name(),
        "sentence": sentence(decision, &names),
    }))
}
