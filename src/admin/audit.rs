//! The evidence over HTTP.
//!
//! Promises: what is asked for names routes, codes, tokens and keyed digests, so that who may see
//! lists may see it; a subject is named by a message, never by an identifier.
//! Knows nothing of: how evidence is kept.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::api;
use super::auth::Role;
use super::server::{AdminState, ROWS, look_up, problem};
use crate::audit::Outcome;
use crate::store::audit::find::Sought;
use crate::store::query::MessageName;

/// What a list may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    event: Option<String>,
    correlation: Option<String>,
    token: Option<String>,
    subject_of: Option<String>,
    decision: Option<String>,
    consent: Option<String>,
    route: Option<String>,
    act: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    below: Option<u64>,
    limit: Option<u32>,
}

pub(super) async fn records(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let message = wanted.subject_of.as_deref().map(MessageName::read);
    if message == Some(None) {
        return problem(StatusCode::BAD_REQUEST, "subject_of is not the name of a message");
    }
    let outcome = wanted.decision.as_deref().map(Outcome::from_name);
    if outcome == Some(None) {
        let text = "decision is release, suppress, notice or in-doubt";
        return problem(StatusCode::BAD_REQUEST, text);
    }
    let time = |millis: Option<i64>| millis.and_then(|at| Timestamp::from_millisecond(at).ok());
    let sought = Sought {
        event: wanted.event,
        correlation: wanted.correlation,
        subjects: None,
        token: wanted.token,
        consent: wanted.consent,
        outcome: outcome.flatten(),
        route: wanted.route,
        act: wanted.act,
        from: time(wanted.from),
        to: time(wanted.to),
        below: wanted.below,
        limit: wanted.limit.unwrap_or(ROWS),
    };
    look_up(state, headers, Role::Viewer, move |lookup| {
        api::audit_records(lookup, message.flatten(), sought)
    })
    .await
}

pub(super) async fn disclosures(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let Some(message) = wanted.subject_of.as_deref().and_then(MessageName::read) else {
        return problem(StatusCode::BAD_REQUEST, "subject_of is not the name of a message");
    };
    look_up(state, headers, Role::Viewer, move |lookup| api::disclosures(lookup, message)).await
}
