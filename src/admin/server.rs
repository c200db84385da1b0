//! The HTTP server.
//!
//! Promises: `/livez` says whether the loops turn, `/readyz` whether messages can be taken;
//! neither asks the store anything that could hang; a slow reader holds up nobody.
//! Knows nothing of: configuration files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::auth::{Access, Denied, Role};
use super::decisions::{self, Decide, MESSAGE_BYTES_MAX};
use super::keys::{self, Keys};
use super::tokens::{ASK_BYTES_MAX, Desk};
use super::{api, audit, import, resolve, state};
use crate::admit::import::FILE_BYTES_MAX;
use crate::admit::{CorrelationId, Identity};
use crate::clock;
use crate::consent::{PURPOSES, Policy};
use crate::contract::Contract;
use crate::fence::Fence;
use crate::metrics::Pulse;
use crate::secret::Key;
use crate::store::audit::Audit;
use crate::store::query::{Filter, Lookup};
use crate::store::{Journal, StoreError};

/// How long a loop may go without turning before it counts as hanging: longer than a slow
/// fsync, shorter than anybody's patience.
pub const PULSE_MAX: Duration = Duration::from_secs(30);
/// Rows of a list where nothing is said.
pub(super) const ROWS: u32 = 100;

/// What the server answers from.
#[derive(Debug)]
pub struct AdminState {
    /// The recorder.
    pub prometheus: PrometheusHandle,
    /// What the operating system says of the process, asked at each scrape.
    pub process: metrics_process::Collector,
    /// Whether messages can be taken.
    pub journal: Arc<Journal>,
    /// Every loop that must turn, by name.
    pub pulses: Vec<(String, Pulse)>,
    /// Who may ask.
    pub access: Access,
    /// Where the store is.
    pub state_dir: PathBuf,
    /// What opens it.
    pub master: Key,
    /// What consents mean here.
    pub policy: Arc<Policy>,
    /// The names of authorities.
    pub identity: Arc<Identity>,
    /// What an import that narrows waits for.
    pub fence: Arc<Fence>,
    /// For how long, before connections are cut.
    pub fence_timeout: Duration,
    /// `[node] jurisdiction`.
    pub jurisdiction: Option<String>,
    /// Where acts of users are recorded.
    pub audit: Arc<Audit>,
    /// What every route would do with a message.
    pub decide: Decide,
    /// The routes that did not start, since their realm lacks a key.
    pub halted: Vec<String>,
    /// Whom tokens stand for.
    pub tokens: Desk,
    /// Our public keys.
    pub keys: Keys,
    /// The contracts, for what the evidence says of their fields.
    pub contracts: Arc<[Contract]>,
    /// Opened when first asked.
    pub lookup: Mutex<Option<Lookup>>,
}

/// Serves until the daemon stops.
///
/// # Errors
/// The socket failed.
pub async fn serve(
    listener: TcpListener,
    state: Arc<AdminState>,
    mut stopping: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(keys::key_set))
        .route("/api/journal", get(messages))
        .route("/api/journal/{number}", get(message))
        .route("/api/journal/{number}/consent", get(consents))
        .route("/api/journal/{number}/consent/state", get(state_of))
        .route(
            "/api/consent/import",
            post(import::serve).layer(DefaultBodyLimit::max(FILE_BYTES_MAX)),
        )
        .route(
            "/api/decide",
            post(decisions::decide).layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX)),
        )
        .route(
            "/api/token/resolve",
            post(resolve::resolve).layer(DefaultBodyLimit::max(ASK_BYTES_MAX)),
        )
        .route("/api/token/end", post(resolve::end).layer(DefaultBodyLimit::max(ASK_BYTES_MAX)))
        .route("/api/exceptions", get(exceptions))
        .route("/api/exceptions/{id}", get(exception))
        .route("/api/audit", get(audit::records))
        .route("/api/audit/disclosures", get(audit::disclosures))
        .with_state(state);
    let stopped = async move {
        // The sender is gone only when the daemon is.
        stopping.wait_for(|stopping| *stopping).await.ok();
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

impl AdminState {
    /// The loops that hang.
    #[must_use]
    pub fn hanging(&self) -> Vec<&str> {
        let hangs = |(_, pulse): &&(String, Pulse)| pulse.age() > PULSE_MAX;
        self.pulses.iter().filter(hangs).map(|(name, _)| name.as_str()).collect()
    }
}

async fn livez(State(state): State<Arc<AdminState>>) -> Response {
    let hanging = state.hanging();
    let status = if hanging.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "live": hanging.is_empty(), "hanging": hanging }))).into_response()
}

async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    let busy = state.journal.busy();
    let status = if busy.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reason = busy.map(|busy| match busy {
        crate::store::Busy::Disk => "the disk is full, or above the watermark",
        crate::store::Busy::Stopping => "the daemon is stopping",
    });
    // Which routes do not run is no reason to take no messages: theirs are kept.
    let body = json!({ "ready": busy.is_none(), "reason": reason, "halted": state.halted });
    (status, Json(body)).into_response()
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    state.process.collect();
    (content_type, state.prometheus.render()).into_response()
}

/// What a list may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    feed: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
    category: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    correlation: Option<String>,
    limit: Option<u32>,
}

async fn messages(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let correlation_id = wanted.correlation.as_deref().map(CorrelationId::read);
    if correlation_id == Some(None) {
        return problem(StatusCode::BAD_REQUEST, "correlation is not a correlation ID");
    }
    let filter = Filter {
        feed: wanted.feed,
        kind: wanted.kind,
        status: wanted.status,
        from: wanted.from,
        to: wanted.to,
        correlation_id: correlation_id.flatten(),
        limit: wanted.limit.unwrap_or(ROWS),
    };
    look_up(state, headers, Role::Viewer, move |lookup| {
        let found = lookup.messages(&filter)?;
        Ok(Some(found.iter().map(api::listed).collect()))
    })
    .await
}

async fn message(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Path(number): Path<u64>,
) -> Response {
    let contracts = Arc::clone(&state.contracts);
    look_up(state, headers, Role::Operator, move |lookup| {
        decisions::message(lookup, number, &contracts)
    })
    .await
}

async fn consents(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Path(number): Path<u64>,
) -> Response {
    look_up(state, headers, Role::Operator, move |lookup| {
        Ok(lookup.consents(number)?.map(|found| api::consents(&found)))
    })
    .await
}

/// What the state of a consent is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedState {
    purpose: Option<String>,
    consumer: Option<String>,
    at: Option<String>,
}

async fn state_of(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Path(number): Path<u64>,
    Query(wanted): Query<WantedState>,
) -> Response {
    let WantedState { purpose, consumer, at } = wanted;
    let jurisdiction = state.jurisdiction.clone();
    if purpose.as_deref().is_some_and(|purpose| !PURPOSES.contains(&purpose)) {
        return problem(StatusCode::BAD_REQUEST, "purpose is no HL7 v3 PurposeOfUse");
    }
    let at = match at.map(|at| at.parse()) {
        None => clock::now(),
        Some(Ok(at)) => at,
        Some(Err(_)) => return problem(StatusCode::BAD_REQUEST, "at is no time"),
    };
    let wanted = state::Wanted { purpose, consumer, jurisdiction, at };
    let policy = Arc::clone(&state.policy);
    look_up(state, headers, Role::Operator, move |lookup| {
        Ok(lookup.consents(number)?.map(|found| state::states(&found, &policy, &wanted)))
    })
    .await
}

async fn exceptions(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    look_up(state, headers, Role::Viewer, move |lookup| {
        let limit = wanted.limit.unwrap_or(ROWS);
        let found = lookup.exceptions(wanted.category.as_deref(), wanted.feed.as_deref(), limit)?;
        Ok(Some(found.iter().map(api::exception).collect()))
    })
    .await
}

async fn exception(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Path(id): Path<i64>,
) -> Response {
    look_up(state, headers, Role::Operator, move |lookup| {
        let routes = lookup.routes()?;
        Ok(lookup.exception(id)?.map(|(exception, shown)| {
            json!({ "exception": api::exception(&exception), "message": api::shown(&shown, &routes) })
        }))
    })
    .await
}

/// Looks something up off the runtime's threads, for who may.
pub(super) async fn look_up(
    state: Arc<AdminState>,
    headers: HeaderMap,
    role: Role,
    find: impl FnOnce(&mut Lookup) -> Result<Option<serde_json::Value>, StoreError> + Send + 'static,
) -> Response {
    let user = match state.access.allow(&headers, role) {
        Ok(user) => user,
        Err(denied) => return refused(denied),
    };
    tracing::debug!(user, ?role, "the API was asked");
    match looked_up(state, find).await {
        Ok(Some(found)) => Json(found).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "there is none"),
        Err(response) => response,
    }
}

/// What is found in the store, off the runtime's threads; or the answer that it cannot be asked.
pub(super) async fn looked_up<T: Send + 'static>(
    state: Arc<AdminState>,
    find: impl FnOnce(&mut Lookup) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Response> {
    let found = tokio::task::spawn_blocking(move || {
        let mut lookup = state.lookup.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = match lookup.take() {
            Some(opened) => opened,
            None => Lookup::open(&state.state_dir, &state.master)?,
        };
        let found = find(&mut opened);
        *lookup = Some(opened);
        found
    })
    .await;
    let failed = || problem(StatusCode::INTERNAL_SERVER_ERROR, "the store could not be asked");
    match found {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(%error, "the store could not be asked");
            Err(failed())
        }
        Err(_) => Err(failed()),
    }
}

/// Why somebody may not ask.
pub(super) fn refused(denied: Denied) -> Response {
    match denied {
        Denied::NotThere => {
            problem(StatusCode::NOT_FOUND, "the API is not open: [admin] has no users")
        }
        Denied::Unknown => problem(StatusCode::UNAUTHORIZED, "a token is wanted"),
        Denied::NotAllowed => problem(StatusCode::FORBIDDEN, "not allowed"),
    }
}

pub(super) fn problem(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
