//! What token endpoints verify our assertions by: the public halves of our keys (RFC 7517).
//!
//! Promises: public halves alone; what is in the files now, and within seconds what is new there; a
//! key that cannot be read is left out, and the others are there.
//! Knows nothing of: HTTP.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Smart;
use super::key::SigningKey;
use crate::clock;

/// How long what was read is told: a stranger who asks without end makes no disk busy.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The keys of all feeds.
pub struct Published {
    feeds: Vec<(Arc<str>, Smart)>,
    last: Mutex<Option<(Duration, Arc<Json>)>>,
}

impl Published {
    /// Those of these feeds.
    #[must_use]
    pub const fn new(feeds: Vec<(Arc<str>, Smart)>) -> Self {
        Self { feeds, last: Mutex::new(None) }
    }

    /// A JSON Web Key Set, each key once. Reads files.
    #[must_use]
    pub fn key_set(&self) -> Arc<Json> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        if let Some((read_at, set)) = &*last
            && now.saturating_sub(*read_at) < LOOK_INTERVAL
        {
            return Arc::clone(set);
        }
        let set = Arc::new(self.read());
        *last = Some((now, Arc::clone(&set)));
        set
    }

    fn read(&self) -> Json {
        let mut keys: Vec<Json> = Vec::new();
        for (feed, smart) in &self.feeds {
            // A `kid` that is said is that of the key that signs; the others have their thumbprints.
            let signing = (&smart.key, smart.kid.as_deref());
            let others = smart.other_keys.iter().map(|origin| (origin, None));
            for (origin, kid) in std::iter::once(signing).chain(others) {
                match SigningKey::read(origin, None, kid) {
                    Ok(key) => {
                        let jwk = key.jwk();
                        if !keys.contains(&jwk) {
                            keys.push(jwk);
                        }
                    }
                    Err(fault) => {
                        let place = origin.place();
                        tracing::warn!(%feed, "{place}: it is not published: {fault}");
                    }
                }
            }
        }
        json!({ "keys": keys })
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Published({} feeds)", self.feeds.len())
    }
}
