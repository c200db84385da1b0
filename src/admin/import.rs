//! Takes a file of decisions into the ledger.
//!
//! Promises: nothing of a file is kept that holds a mistake; who asks is answered when all of it is
//! durable, and nothing is on its way any more that it forbids.
//! Knows nothing of: what a line holds.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use aws_lc_rs::digest::{SHA256, digest};

use super::auth::Role;
use super::server::{AdminState, problem, refused};
use crate::admit::entry::Admission;
use crate::admit::import::{Grounds, Mistake, import};
use crate::audit::{Act, Says};
use crate::clock;
use crate::fence::Fence;
use crate::secret::hex;
use crate::store::{Audit, AuditBusy, Busy, Journal, Turn};

/// How a file is taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    zone: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// What was taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The numbers of new entries.
    pub numbers: Vec<u64>,
    /// How many entries were known.
    pub again: usize,
}

/// Appends entries, one after the other, each behind its fence; none where no daemon runs, so that
/// nothing is on its way.
///
/// # Errors
/// The disk is full, or the daemon is stopping. What was taken before stays, and is known when the
/// file comes again.
pub async fn append(
    journal: &Journal,
    admissions: Vec<Admission>,
    fence: Option<(&Fence, Duration)>,
) -> Result<Taken, Busy> {
    let mut taken = Taken::default();
    let turn = Turn::default();
    for admission in admissions {
        let narrowed = admission.narrowed();
        let answer = journal.append(admission, &turn).await?;
        let admitted = answer.await.unwrap_or(Err(Busy::Stopping))?;
        match admitted.number {
            Some(number) => taken.numbers.push(number),
            None => taken.again += 1,
        }
        // Also of what was known: what it repeats may still wait for its fence.
        if let Some((fence, patience)) = fence {
            // Where nobody can say whom it narrows it is not answered, and comes again.
            let all = tokio::task::block_in_place(|| journal.with_others(narrowed));
            fence.narrow(all.map_err(|_| Busy::Stopping)?, patience).await;
        }
    }
    Ok(taken)
}

/// Records that somebody imports a file, before anything of it is taken.
///
/// # Errors
/// The audit cannot take it, and nothing may be imported.
// PROMISE-8
pub async fn note(audit: &Audit, who: &str, file: &[u8], records: usize) -> Result<(), AuditBusy> {
    let hash = hex(digest(&SHA256, file).as_ref());
    let with = [("records", records.to_string()), ("file", format!("sha256:{hash}"))];
    let act = Act::new("import", who, with);
    audit.append(vec![(clock::now(), Says::Act(act))]).await.map(drop)
}

/// What was taken as JSON.
#[must_use]
pub fn taken(records: usize, taken: Option<&Taken>) -> Value {
    json!({
        "records": records,
        "dryRun": taken.is_none(),
        "entries": taken.map(|taken| taken.numbers.clone()).unwrap_or_default(),
        "known": taken.map_or(0, |taken| taken.again),
    })
}

/// Mistakes as JSON.
#[must_use]
pub fn mistakes(found: &[Mistake]) -> Value {
    let shown = |it: &Mistake| json!({ "line": it.line, "text": it.text });
    json!({
        "error": "nothing was imported",
        "mistakes": found.iter().map(shown).collect::<Vec<_>>(),
    })
}

// PROMISE-6: answered when the fence of everybody whom it is about is passed.
pub(super) async fn serve(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
    body: Bytes,
) -> Response {
    let user = match state.access.allow(&headers, Role::Operator) {
        Ok(user) => user,
        Err(denied) => return refused(denied),
    };
    let zone = match wanted.zone.as_deref().map(TimeZone::get) {
        None => TimeZone::UTC,
        Some(Ok(zone)) => zone,
        Some(Err(_)) => return problem(StatusCode::BAD_REQUEST, "zone is no time zone"),
    };
    let file = body.clone();
    let read = {
        let state = Arc::clone(&state);
        tokio::task::spawn_blocking(move || {
            let grounds = Grounds {
                policy: &state.policy,
                identity: &state.identity,
                zone: &zone,
                digests: state.journal.digests(),
                now: clock::now(),
            };
            import(&body, &grounds)
        })
        .await
    };
    let found = match read {
        Ok(Ok(found)) => found,
        Ok(Err(found)) => {
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(mistakes(&found))).into_response();
        }
        Err(_) => return problem(StatusCode::INTERNAL_SERVER_ERROR, "it could not be read"),
    };
    let records = found.records;
    if wanted.dry_run {
        return Json(taken(records, None)).into_response();
    }
    tracing::info!(user, records, "decisions are imported");
    match note(&state.audit, &user, &file, records).await {
        Ok(()) => {}
        Err(AuditBusy::Disk) => {
            return problem(StatusCode::INSUFFICIENT_STORAGE, "the disk is full");
        }
        Err(AuditBusy::Stopped) => {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
        }
    }
    let fence = (&*state.fence, state.fence_timeout);
    match append(&state.journal, found.admissions, Some(fence)).await {
        Ok(done) => Json(taken(records, Some(&done))).into_response(),
        Err(Busy::Disk) => problem(StatusCode::INSUFFICIENT_STORAGE, "the disk is full"),
        Err(Busy::Stopping) => problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"),
    }
}
