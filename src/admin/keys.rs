//! The public halves of the keys that tidegate signs with, for those who verify it.
//!
//! Promises: open to everybody, and holding nothing that is secret; asked without end it makes no disk
//! busy.
//! Knows nothing of: what is signed, and where the keys are.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value as Json;

use super::server::{AdminState, problem};

/// How long a key set may be kept by who asked for it, in seconds: a new key is published for a day
/// before it signs, and five minutes are nothing of that.
const KEPT: &str = "public, max-age=300";

/// Gives the key set as it is now; may read files.
type KeySet = dyn Fn() -> Arc<Json> + Send + Sync;

/// Where the key set comes from.
#[derive(Clone)]
pub struct Keys(Arc<KeySet>);

impl Keys {
    /// What is told to who asks.
    pub fn new(key_set: impl Fn() -> Arc<Json> + Send + Sync + 'static) -> Self {
        Self(Arc::new(key_set))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Keys(..)")
    }
}

/// A JSON Web Key Set (RFC 7517, section 5). Without a token: token endpoints ask for it, and have none.
pub(super) async fn key_set(State(state): State<Arc<AdminState>>) -> Response {
    let Keys(read) = state.keys.clone();
    match tokio::task::spawn_blocking(move || read()).await {
        Ok(set) => {
            let headers =
                [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, KEPT)];
            (headers, set.to_string()).into_response()
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the keys could not be read"),
    }
}
