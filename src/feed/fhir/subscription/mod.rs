//! What a FHIR server tells by itself: subscriptions (FHIR R4 3.0 Subscription, R5 3.2.0 Subscriptions
//! Framework, and its backport to R4).
//!
//! Promises: a notification is answered with success when what it brought is committed, and not before
//! (PROMISE-1); what it did not bring is found by its numbers, and asked for; nothing depends on a server
//! that keeps its word: the feed polls on.
//! Knows nothing of: what a resource says.
//!
//! Reading order: what is wanted, here; [`made`] (the Subscription that says so), [`notification`] (what
//! comes), [`state`] (which numbers came), [`notice`] (what the poller is told), [`ear`] (one request and
//! its answer), [`endpoint`] (the socket), [`keeper`] (the Subscription from day to day).

pub mod made;
pub mod notification;
pub mod state;
pub mod notice;
pub mod ear;
pub mod endpoint;
pub mod keeper;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

/// Most subscriptions of one feed: of R4 one for each of its queries, else one for each topic.
pub const SUBSCRIPTIONS_MAX: usize = 32;

/// In which form a server has subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// R4: a search, and a POST or a PUT when its result changes.
    RestHook,
    /// R4 by topic, as the backport implementation guide has it.
    Backport,
    /// R5: by topic.
    Topic,
}

/// How much of an event a notification brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing but that there was one.
    Empty,
    /// The name of the resource.
    IdOnly,
    /// The resource.
    Full,
}

impl Content {
    /// As FHIR says it (value set subscription-payload-content).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::IdOnly => "id-only",
            Self::Full => "full-resource",
        }
    }
}

/// One subscription that a feed has or wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is about: a query of the feed, or the canonical URL of a topic. It names the
    /// subscription in logs and exceptions.
    pub about: Arc<str>,
    /// What of the topic is wanted, each `Type?parameter=value`.
    pub filters: Vec<String>,
    /// The last part of the path that its notifications come to; empty where somebody else made the
    /// subscription, who knows the path alone.
    pub key: String,
    /// Its IDs on the server, where somebody else made it.
    pub ids: Vec<String>,
    /// The query that catches up; all of the feed's where it is none.
    pub query: Option<Arc<str>>,
}

/// How subscriptions of a feed are made.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The feed, as the server is told.
    pub feed: Arc<str>,
    /// In which form.
    pub style: Style,
    /// Our address as the server reaches it, without a slash at its end.
    pub endpoint: String,
    /// The header that proves a notification to be the server's: its name, and its value.
    pub proof: Option<(String, Arc<crate::secret::Secret>)>,
    /// How much a notification brings.
    pub content: Content,
    /// How often the server shows that it is there, where nothing happens.
    pub heartbeat: Duration,
    /// How long the server waits for our answer.
    pub timeout: Duration,
    /// For how long one is made, until it is renewed; for ever where it is none.
    pub lifetime: Option<Duration>,
}

/// The last part of the path of a subscription: the same for the same, and no other's.
#[must_use]
pub fn key(style: Style, about: &str, filters: &[String]) -> String {
    let text = format!("{style:?}\n{about}\n{}", filters.join("\n"));
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_has_the_same_key_after_a_restart_and_another_one_another() {
        let some = key(Style::RestHook, "Encounter", &[]);
        assert_eq!(some, key(Style::RestHook, "Encounter", &[]));
        assert_eq!(some.len(), 16);
        for other in [
            key(Style::Topic, "Encounter", &[]),
            key(Style::RestHook, "Patient", &[]),
            key(Style::RestHook, "Encounter", &["Encounter?class=IMP".to_owned()]),
        ] {
            assert_ne!(some, other);
        }
    }
}
