//! What people look up, from a running daemon's API or from the store of a stopped one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::Value as Json;

use super::configuration;
use crate::app::{ADMIN, LISTENING};
use crate::config::Config;
use crate::secret::{self, Key};
use crate::store::query::Lookup;
use crate::store::state::is_held;
use crate::store::state::key_path;
use crate::tls::client;

/// How long an answer of the API is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same of one that changes something: the largest file, and the fence of each in it.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(1_800);

/// Where to look.
#[derive(Debug, Args)]
pub struct Whence {
    /// The configuration of the daemon, running or stopped.
    #[arg(long, value_name = "FILE", required_unless_present = "admin")]
    config: Option<PathBuf>,
    /// The API of a running daemon.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    admin: Option<String>,
    /// The token for the API.
    #[arg(long, env = "TIDEGATE_TOKEN", hide = true, hide_env_values = true)]
    token: Option<String>,
}

/// Why nothing could be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Wrong use, or bad configuration; one line each.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
    /// There is none.
    #[error("there is none")]
    None,
    /// The daemon or its store did not answer.
    #[error("{0}")]
    Failed(String),
}

impl Whence {
    /// Asks the API for `path` where a daemon runs, else the store by `stopped`.
    ///
    /// # Errors
    /// Neither could answer.
    pub fn ask(
        &self,
        path: &str,
        query: &[(&str, String)],
        stopped: impl FnOnce(&mut Lookup) -> Result<Option<Json>, crate::store::StoreError>,
    ) -> Result<Json, LookupError> {
        self.ask_with(path, query, |_, lookup| stopped(lookup))
    }

    /// The same, where the store is asked by what the configuration says.
    ///
    /// # Errors
    /// Neither could answer.
    pub fn ask_with(
        &self,
        path: &str,
        query: &[(&str, String)],
        stopped: impl FnOnce(&Config, &mut Lookup) -> Result<Option<Json>, crate::store::StoreError>,
    ) -> Result<Json, LookupError> {
        if let Some(admin) = &self.admin {
            return self.ask_api(admin.trim_end_matches('/'), path, query);
        }
        let config = self.config()?;
        if let Some(address) = running(&config.node.state_dir) {
            return self.ask_api(&format!("http://{address}"), path, query);
        }
        let failed = |error: crate::store::StoreError| LookupError::Failed(error.to_string());
        let mut lookup = open(&config)?;
        stopped(&config, &mut lookup).map_err(failed)?.ok_or(LookupError::None)
    }

    /// Hands bytes to the API where a daemon runs, else to `stopped`. An answer that something is
    /// wrong with them is an answer.
    ///
    /// # Errors
    /// Neither could take them.
    pub fn post(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: Bytes,
        stopped: impl FnOnce(&Config) -> Result<Json, LookupError>,
    ) -> Result<Json, LookupError> {
        let base = if let Some(admin) = &self.admin {
            admin.trim_end_matches('/').to_owned()
        } else {
            let config = self.config()?;
            match running(&config.node.state_dir) {
                Some(address) => format!("http://{address}"),
                None => return stopped(&config),
            }
        };
        self.exchange(&base, |client| {
            client.post(format!("{base}{path}")).query(query).timeout(CHANGE_TIMEOUT).body(body)
        })
    }

    /// The configuration of the daemon.
    ///
    /// # Errors
    /// It has mistakes, or none is named.
    pub fn config(&self) -> Result<Config, LookupError> {
        let Some(file) = &self.config else {
            return Err(LookupError::Wrong(vec!["--config or --admin is wanted".to_owned()]));
        };
        configuration(file).map_err(LookupError::Wrong)
    }

    fn ask_api(
        &self,
        base: &str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Json, LookupError> {
        self.exchange(base, |client| client.get(format!("{base}{path}")).query(query))
    }

    fn exchange(
        &self,
        base: &str,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<Json, LookupError> {
        let failed =
            |error: reqwest::Error| LookupError::Failed(format!("{base}: {}", error.without_url()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| LookupError::Failed(error.to_string()))?;
        runtime.block_on(async {
            let nobody =
                client::nobody().map_err(|wrong| LookupError::Failed(wrong.to_string()))?;
            let client = reqwest::Client::builder()
                .timeout(ANSWER_TIMEOUT)
                .no_proxy()
                // The API speaks no TLS; whom this machine trusts is not even looked up.
                .tls_backend_preconfigured((*nobody).clone())
                .build()
                .map_err(failed)?;
            let mut request = request(&client);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.map_err(failed)?;
            let status = answer.status();
            let body: Json = answer.json().await.map_err(failed)?;
            if status.is_success() || status == reqwest::StatusCode::UNPROCESSABLE_ENTITY {
                return Ok(body);
            }
            let text = body.get("error").and_then(Json::as_str).unwrap_or("no reason given");
            if status == reqwest::StatusCode::NOT_FOUND && text == "there is none" {
                return Err(LookupError::None);
            }
            Err(LookupError::Failed(format!("{base}: {status}: {text}")))
        })
    }
}

/// The API's address of a daemon that runs on a folder. The file with it outlives a daemon that
/// was killed, and a stranger may listen there since: only while the folder is held is it asked.
fn running(state_dir: &Path) -> Option<SocketAddr> {
    if !is_held(state_dir) {
        return None;
    }
    let text = std::fs::read_to_string(state_dir.join(LISTENING)).ok()?;
    let addresses: std::collections::BTreeMap<String, SocketAddr> =
        serde_json::from_str(&text).ok()?;
    addresses.get(ADMIN).copied()
}

/// Opens the store of a daemon, running or not.
pub(super) fn open(config: &Config) -> Result<Lookup, LookupError> {
    let master = master_key(config)?;
    Lookup::open(&config.node.state_dir, &master)
        .map_err(|error| LookupError::Failed(error.to_string()))
}

/// The key that opens the store of a daemon.
pub(super) fn master_key(config: &Config) -> Result<Key, LookupError> {
    match &config.master_key {
        Some(key) => Ok(key.clone()),
        None => existing_key(&key_path(&config.node.state_dir, "master")),
    }
}

/// A key that is there already: to look things up makes none.
pub(super) fn existing_key(path: &Path) -> Result<Key, LookupError> {
    let failed = |text: String| LookupError::Failed(format!("{}: {text}", path.display()));
    // Of a folder that is closed to who asks, nobody can say that a key is not in it.
    if !path.try_exists().map_err(|error| failed(error.to_string()))? {
        return Err(failed("there is no such key".to_owned()));
    }
    secret::key_file(path).map_err(|error| LookupError::Failed(error.to_string()))
}
