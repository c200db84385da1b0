//! `tidegate token`: whom a token stands for, rotation, revocation.

use bytes::Bytes;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::journal::{report, text};
use super::lookup::{LookupError, Whence};
use super::{Outcome, say, time};
use crate::admin::tokens::{Ask, Desk, End, Refused};
use crate::app::realms;
use crate::config::Config;
use crate::store::{Audit, StateDir, journal};

/// Look behind tokens, and end them.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Say which patient a token stands for, once it is recorded who asks, for what and why.
    ///
    /// Only so often a minute. Of a running daemon by its API, for operators; else of a stopped one.
    Resolve(Resolve),
    /// End tokens of a realm whose tokens are in the vault: each patient gets another one.
    ///
    /// Before a consumer gets the new token it is told which one it stands for. The old ones can be
    /// resolved until the date.
    Rotate(Rotate),
    /// End a token at once: it can be resolved no more, and nothing links it with the patient's next.
    Revoke(Revoke),
}

/// Which token, and why.
#[derive(Debug, Args)]
pub struct Resolve {
    #[command(flatten)]
    whence: Whence,
    /// The realm it is of.
    #[arg(long, value_name = "NAME")]
    realm: String,
    /// What for: a purpose of use, such as PATSFTY.
    #[arg(long, value_name = "CODE")]
    purpose: String,
    /// Why, in at most 200 characters. It stands in the evidence: no name of a patient.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The token.
    #[arg(value_name = "TOKEN")]
    of_patient: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Which tokens, until when, and why.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["of_patient", "all"])]
pub struct Rotate {
    #[command(flatten)]
    whence: Whence,
    /// The realm they are of.
    #[arg(long, value_name = "NAME")]
    realm: String,
    /// This token.
    #[arg(value_name = "TOKEN")]
    of_patient: Option<String>,
    /// All that there are.
    #[arg(long)]
    all: bool,
    /// Until when they can be resolved: a date, by UTC, or a time such as 2027-01-31T08:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = time)]
    keep_until: Timestamp,
    /// Why, in at most 200 characters. It stands in the evidence: no name of a patient.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Which token, and why.
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    whence: Whence,
    /// The realm it is of.
    #[arg(long, value_name = "NAME")]
    realm: String,
    /// The token.
    #[arg(value_name = "TOKEN")]
    of_patient: String,
    /// Why, in at most 200 characters. It stands in the evidence: no name of a patient.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Token {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        report(match self {
            Self::Resolve(command) => command.run(),
            Self::Rotate(command) => command.run(),
            Self::Revoke(command) => command.run(),
        })
    }
}

impl Resolve {
    fn run(self) -> Result<(), LookupError> {
        let Self { whence, realm, purpose, reason, of_patient, json } = self;
        let ask = Ask { realm, token: of_patient, purpose, reason };
        let body = json!({
            "realm": ask.realm, "token": ask.token, "purpose": ask.purpose, "reason": ask.reason,
        });
        let stopped = |config: &Config| {
            let mut lookup = super::lookup::open(config)?;
            with_state(config, |state, audit, runtime| {
                let key = |name: &str| state.key_made(name);
                let desk = desk(config, realms::stopped(config, key));
                let found = desk.look(COMMAND, &ask, &mut lookup)?;
                runtime.block_on(desk.tell(COMMAND, &ask, found, audit))
            })
        };
        let found = post(&whence, "/api/token/resolve", &body, stopped)?;
        if json {
            say(&found.to_string());
            return Ok(());
        }
        let named = |who: &Json| format!("{} {}", text(who, "authority"), text(who, "value"));
        found.get("subject").into_iter().for_each(|who| say(&named(who)));
        if let Some(retired) = found.get("retired").map(named) {
            say(&format!("the token is of {retired}, who was merged into this patient"));
        }
        if let Some(until) = found.get("until").and_then(Json::as_str) {
            say(&format!("the token was rotated, and resolves until {until}"));
        }
        Ok(())
    }
}

impl Rotate {
    fn run(self) -> Result<(), LookupError> {
        let Self { whence, realm, of_patient, keep_until, reason, json, all: _ } = self;
        let keep_until = Some(keep_until.as_millisecond());
        end(&whence, &End { realm, token: of_patient, keep_until, reason }, json)
    }
}

impl Revoke {
    fn run(self) -> Result<(), LookupError> {
        let Self { whence, realm, of_patient, reason, json } = self;
        let end_of = End { realm, token: Some(of_patient), keep_until: None, reason };
        end(&whence, &end_of, json)
    }
}

fn end(whence: &Whence, wanted: &End, json: bool) -> Result<(), LookupError> {
    let body = json!({
        "realm": wanted.realm, "token": wanted.token, "keepUntil": wanted.keep_until,
        "reason": wanted.reason,
    });
    let stopped = |config: &Config| {
        with_state(config, |state, audit, runtime| {
            let (realms, running) = realms::of_state(state, config, |name| state.key_made(name));
            let ended = runtime.block_on(desk(config, realms).end(COMMAND, wanted, audit));
            let kept = running.map_or(Ok(()), |(vault, thread)| {
                drop(vault);
                thread.stop()
            });
            ended.and_then(|ended| Ok(kept.map(|()| ended)?))
        })
    };
    let ended = post(whence, "/api/token/end", &body, stopped)?;
    if json {
        say(&ended.to_string());
    } else {
        say(&format!("{} ended", text(&ended, "ended")));
    }
    Ok(())
}

/// Who acts where no daemon runs.
const COMMAND: &str = "the command on a stopped daemon";

fn desk(config: &Config, realms: realms::Realms) -> Desk {
    Desk::new(realms::books(realms, config), config.admin.resolves)
}

/// Asks the API, or `stopped`; an answer that is no is no failure of either.
fn post(
    whence: &Whence,
    path: &str,
    body: &Json,
    stopped: impl FnOnce(&Config) -> Result<Json, LookupError>,
) -> Result<Json, LookupError> {
    let found = whence.post(path, &[], Bytes::from(body.to_string()), stopped)?;
    match found.get("error").and_then(Json::as_str) {
        Some(no) => Err(LookupError::Failed(no.to_owned())),
        None => Ok(found),
    }
}

/// Takes the folder of a stopped daemon, with its evidence.
fn with_state(
    config: &Config,
    act: impl FnOnce(&StateDir, &Audit, &tokio::runtime::Runtime) -> Result<Json, Refused>,
) -> Result<Json, LookupError> {
    let failed = |error: crate::store::StoreError| LookupError::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| LookupError::Failed(error.to_string()))?;
    // To look and to end makes no store.
    let store = config.node.state_dir.join(journal::FILE);
    if !store.exists() {
        return Err(LookupError::Failed(format!("{}: there is no store", store.display())));
    }
    let state = StateDir::take(&config.node.state_dir).map_err(failed)?;
    let (audit, evidence) = Audit::open(&state, config.audit.store.clone()).map_err(failed)?;
    let done = act(&state, &audit, &runtime);
    drop(audit);
    evidence.stop().map_err(failed)?;
    done.map_err(|refused| match refused {
        Refused::Wrong(text) => LookupError::Wrong(vec![text]),
        refused => LookupError::Failed(refused.to_string()),
    })
}
