//! What every route would do with a message, for the API and for `tidegate decide`.
//!
//! Promises: decides by the configuration and the ledger at hand; keeps nothing.
//! Knows nothing of: HTTP and terminals.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;

use super::realms::Realms;
use super::{AppError, rules};
use crate::admin::Decide;
use crate::admit::DigestKey;
use crate::admit::assess::Rules;
use crate::clock;
use crate::config::Config;
use crate::deliver::dry_run::{DryRun, Untold};
use crate::store::query::Lookup;

/// What the routes of a configuration decide by, with its realms.
///
/// # Errors
/// The realm of a route is not among them.
pub fn dry_run(config: &Config, realms: &Realms) -> Result<DryRun, AppError> {
    let mut routes = Vec::new();
    for contract in &config.contracts {
        let realm = realms.get(contract.realm.value.as_str()).cloned();
        let ended = || AppError::Ended(format!("the realm of route {}", contract.name));
        routes.push((Arc::new(contract.clone()), realm.ok_or_else(ended)?));
    }
    Ok(DryRun {
        routes,
        policy: Arc::clone(&config.policy),
        configuration: config.hash.as_str().into(),
        node: config.node.name.clone(),
        jurisdiction: config.node.jurisdiction.clone(),
    })
}

/// The contracts and the feeds of a configuration.
pub struct Decider {
    dry_run: DryRun,
    feeds: BTreeMap<String, Rules>,
}

impl Decider {
    /// By a configuration, with its realms.
    pub fn new(config: &Config, digests: &DigestKey, realms: &Realms) -> Result<Self, AppError> {
        let dry_run = dry_run(config, realms)?;
        let of = |feed| rules(config, feed, digests);
        let feeds = config.feeds.iter().map(|feed| (feed.name.to_string(), of(feed))).collect();
        Ok(Self { dry_run, feeds })
    }

    /// What every route would do with a message of a feed, the only one where none is named.
    ///
    /// # Errors
    /// A sentence for who asked.
    pub fn decide(
        &self,
        feed: Option<&str>,
        message: &Bytes,
        lookup: &mut Lookup,
    ) -> Result<Json, String> {
        let rules = match (feed, self.feeds.len()) {
            (Some(name), _) => self.feeds.get(name),
            (None, 1) => self.feeds.values().next(),
            (None, _) => None,
        };
        let Some(rules) = rules else {
            let names: Vec<&str> = self.feeds.keys().map(String::as_str).collect();
            return Err(format!("a feed is wanted, of: {}", names.join(", ")));
        };
        let lookup = RefCell::new(lookup);
        let filed = |subject: &_| lookup.borrow_mut().filed(subject);
        let telling =
            &mut |route: &str, transition: &_| lookup.borrow_mut().told(route, transition);
        let told = self.dry_run.of_message(message, rules, filed, telling, clock::now());
        let told = told.map_err(|error: Untold| error.to_string())?;
        serde_json::to_value(told).map_err(|error| error.to_string())
    }

    /// The same, for the API.
    pub fn shared(self) -> Decide {
        Decide::new(move |feed, message, lookup| self.decide(feed, message, lookup))
    }
}
