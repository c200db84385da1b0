//! `tidegate decide`: what every route would do with a message, without doing it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde_json::Value as Json;

use super::journal::{report, text};
use super::lookup::{LookupError, Whence, existing_key};
use super::messages::{read, split};
use super::shadow::Try;
use super::{Outcome, complain, say};
use crate::admin::decisions::{MESSAGE_BYTES_MAX, answer};
use crate::app::decider::Decider;
use crate::app::realms::stopped;
use crate::config::Config;
use crate::store::state::key_path;

/// Say for each route what of a message would leave now and why, or why not; nothing is kept.
///
/// Decided by the contracts, the ledger and the time as they are, the message's own consents
/// counted in. Of a running daemon by its API, else by the store of a stopped one.
#[derive(Debug, Args)]
pub struct Decide {
    #[command(flatten)]
    whence: Whence,
    /// Files with messages as a feed would take them.
    #[arg(required_unless_present = "shadow")]
    files: Vec<PathBuf>,
    /// The feed whose rules hold; wanted where there are several.
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    #[command(flatten)]
    trial: Try,
    /// One JSON object a route and event, with what would leave; with --shadow one a route.
    #[arg(long)]
    json: bool,
}

impl Decide {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        if let Some(new) = self.trial.wanted() {
            return self.trial.run(new, &self.whence, self.json);
        }
        if let Some(name) = self.trial.stray() {
            complain(&format!("tidegate: `{name}` goes with --shadow"));
            return Outcome::Wrong;
        }
        let mut outcome = Outcome::Done;
        for file in &self.files {
            let Some(bytes) = read(file) else { return Outcome::Wrong };
            for message in split(&bytes) {
                match self.one(&message) {
                    Ok(found) => {
                        if !self.print(file, &found) {
                            outcome = Outcome::No;
                        }
                    }
                    Err(error) => return report(Err(error)),
                }
            }
        }
        outcome
    }

    fn one(&self, message: &[u8]) -> Result<Json, LookupError> {
        if message.len() > MESSAGE_BYTES_MAX {
            let text = format!("a message has more than {} MiB", MESSAGE_BYTES_MAX >> 20);
            return Err(LookupError::Wrong(vec![text]));
        }
        let message = Bytes::copy_from_slice(message);
        let query: Vec<_> = self.feed.clone().map(|feed| ("feed", feed)).into_iter().collect();
        let by_store = |config: &Config| self.by_store(config, &message);
        self.whence.post("/api/decide", &query, message.clone(), by_store)
    }

    fn by_store(&self, config: &Config, message: &Bytes) -> Result<Json, LookupError> {
        let mut lookup = super::lookup::open(config)?;
        let key = |name: &str| existing_key(&key_path(&config.node.state_dir, name));
        let realms = stopped(config, key);
        let decider = Decider::new(config, lookup.digests(), &realms)
            .map_err(|error| LookupError::Failed(error.to_string()))?;
        Ok(answer(decider.decide(self.feed.as_deref(), message, &mut lookup)))
    }

    /// Prints what was found; false where the message gives nothing to decide about.
    fn print(&self, file: &Path, found: &Json) -> bool {
        if let Some(why) = found.get("error").and_then(Json::as_str) {
            complain(&format!("{}: {why}", file.display()));
            return false;
        }
        for told in found["decisions"].as_array().into_iter().flatten() {
            if self.json {
                say(&told.to_string());
                continue;
            }
            let [event, route, sentence] =
                ["event", "route", "sentence"].map(|key| text(told, key));
            say(&format!("{event} on route {route}: {sentence}"));
        }
        true
    }
}
