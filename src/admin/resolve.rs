//! Tokens over HTTP: whom one stands for, rotation, revocation.
//!
//! Promises: for operators alone; what is asked stands in the body and in no log; an answer that is
//! no says why.
//! Knows nothing of: realms.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::auth::{Denied, Role};
use super::server::{AdminState, looked_up, problem, refused};
use super::tokens::{Ask, End, Refused, TURN_TIMEOUT};

pub(super) async fn resolve(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (who, ask) = match asked::<Ask>(&state, &headers, &body) {
        Ok(asked) => asked,
        Err(unasked) => return unasked.into_response(),
    };
    let Ok(_turn) = timeout(TURN_TIMEOUT, state.tokens.turn.lock()).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "others are asking; try again");
    };
    let (look, asking, asker) = (Arc::clone(&state), ask.clone(), who.clone());
    let found =
        looked_up(Arc::clone(&state), move |lookup| Ok(look.tokens.look(&asker, &asking, lookup)));
    let told = match found.await {
        Ok(Ok(found)) => state.tokens.tell(&who, &ask, found, &state.audit).await,
        Ok(Err(refused)) => Err(refused),
        Err(response) => return response,
    };
    // Nothing of what was asked: it may be anything.
    tracing::info!(user = who, told = told.is_ok(), "it was asked whom a token stands for");
    answer(told)
}

pub(super) async fn end(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (who, end) = match asked::<End>(&state, &headers, &body) {
        Ok(asked) => asked,
        Err(unasked) => return unasked.into_response(),
    };
    let ended = state.tokens.end(&who, &end, &state.audit).await;
    tracing::info!(user = who, done = ended.is_ok(), "it was asked to end tokens");
    answer(ended)
}

/// Who asks, and what.
fn asked<T: DeserializeOwned>(
    state: &AdminState,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(String, T), Unasked> {
    let user = state.access.allow(headers, Role::Operator).map_err(Unasked::Denied)?;
    Ok((user, serde_json::from_slice(body).map_err(|_| Unasked::Unread)?))
}

/// Why nothing was asked.
enum Unasked {
    Denied(Denied),
    Unread,
}

impl Unasked {
    fn into_response(self) -> Response {
        match self {
            Self::Denied(denied) => refused(denied),
            Self::Unread => problem(StatusCode::BAD_REQUEST, "the body is not what is wanted here"),
        }
    }
}

fn answer(told: Result<Value, Refused>) -> Response {
    let refused = match told {
        Ok(told) => return Json(told).into_response(),
        Err(refused) => refused,
    };
    let status = match &refused {
        Refused::Wrong(_) => StatusCode::BAD_REQUEST,
        Refused::No(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
        Refused::Fault(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = (status, Json(json!({ "error": refused.to_string() }))).into_response();
    if let Refused::Limited(seconds) = refused {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
