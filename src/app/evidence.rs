//! What the daemon records of itself: that it starts and stops, and each contract that changed.
//!
//! Promises: nothing is released before the start is recorded, with the configuration that holds.
//! Knows nothing of: decisions; routes record those.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::AppError;
use crate::audit::{Act, Says};
use crate::clock;
use crate::config::Config;
use crate::contract::{Broken, Contract, Glass};
use crate::deliver::checkpoints::Checkpoints;
use crate::privacy::recipe::Line;
use crate::store::audit::FILE;
use crate::store::audit::read::AuditReader;
use crate::store::{Audit, AuditBusy};

/// Who acts where nobody else does.
const DAEMON: &str = "tidegate";

/// Records the start, and the contracts that are not those last recorded.
// PROMISE-8
pub(super) async fn start(audit: &Audit, config: &Config) -> Result<(), AppError> {
    let start = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("node", config.node.name.clone()),
        ("environment", config.node.environment.clone()),
        ("configuration", config.hash.clone()),
    ];
    let mut acts = vec![act("start", start)];
    for contract in &config.contracts {
        let act = of_contract(contract, config);
        let last = audit.last_act(&act.act, ("route", &contract.name))?;
        if !last.is_some_and(|last| last.says == Says::Act(act.clone())) {
            acts.push(act);
        }
    }
    append(audit, acts).await.map_err(AppError::Audit)
}

/// The contracts that are not those that last ran, by the evidence that a daemon left; none where
/// there is no evidence, or who asks may not read it. Nothing is made, written or locked.
#[must_use]
pub fn not_last_run(config: &Config) -> Vec<&Contract> {
    let Ok(evidence) = AuditReader::open_quietly(&config.node.state_dir.join(FILE)) else {
        return Vec::new();
    };
    let is_another = |contract: &&Contract| {
        let now = of_contract(contract, config);
        let last = evidence.last_act(&now.act, ("route", &contract.name)).ok().flatten();
        last.is_some_and(|last| match last.says {
            Says::Act(last) => last.with.get(CONTRACT_FILE) != now.with.get(CONTRACT_FILE),
            Says::Decision(_) => false,
        })
    };
    config.contracts.iter().filter(is_another).collect()
}

/// How long the last checkpoint may take to the broker when the daemon stops.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// What publishes checkpoints, where an exchange is configured.
pub(super) struct Publisher {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Publisher {
    /// Starts it.
    pub(super) fn start(audit: &Audit, config: &Config) -> Option<Self> {
        let exchange = config.audit.exchange.clone()?;
        let (broker, node) = (config.rabbitmq.clone()?, config.node.name.clone());
        let (stop, stopping) = watch::channel(false);
        let checkpoints = Checkpoints { broker, exchange, node };
        let task = tokio::spawn(checkpoints.run(audit.checkpoints(), stopping));
        Some(Self { task, stop })
    }

    /// Lets the last one go, if that is soon.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        if timeout(PUBLISH_TIMEOUT, self.task).await.is_err() {
            tracing::warn!("the last checkpoint was not published; the next start publishes it");
        }
    }
}

/// Records the end, where the disk lets it; that the daemon ends needs no leave.
pub(super) async fn stop(audit: &Audit) {
    if append(audit, vec![act("stop", [])]).await.is_err() {
        tracing::warn!("that the daemon stops could not be recorded");
    }
}

/// Under what the hash of a contract's file is recorded.
const CONTRACT_FILE: &str = "file";

fn of_contract(contract: &Contract, config: &Config) -> Act {
    let line = |line: &Line| {
        let Line { path, leaves_as, transform, .. } = line;
        let renamed =
            if **leaves_as == **path { String::new() } else { format!(" as {leaves_as}") };
        format!("{path} {transform}{renamed}")
    };
    let lines: Vec<String> = contract.recipe.lines.iter().map(line).collect();
    let filters: Vec<&str> = contract.when.fields().iter().map(|it| it.path.as_str()).collect();
    let file = config.files.get(&contract.file).cloned().unwrap_or_default();
    let mut act = act(
        "contract",
        [
            ("route", contract.name.clone()),
            ("version", contract.version.clone()),
            ("purpose", contract.purpose.clone()),
            ("consumer", contract.consumer.clone()),
            ("tier", contract.recipe.tier.name().to_owned()),
            ("recipe", contract.recipe.hash.clone()),
            ("fields", lines.join(", ")),
            (CONTRACT_FILE, format!("sha256:{file}")),
        ],
    );
    let mut more = |name: String, value: Option<String>| {
        act.with.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    };
    more("when".to_owned(), Some(filters.join(", ")));
    more("approved_by".to_owned(), contract.terms.approved_by.clone());
    more("ends".to_owned(), contract.terms.ends().map(|ends| ends.to_string()));
    more("expert".to_owned(), contract.expert.clone());
    // Who let out more than the contract says, why, and until when.
    for (nth, Broken { glass, .. }) in (1..).zip(&contract.broken) {
        let Glass { wanted, approved_by, reason, ends } = glass;
        let text = format!(
            "{} {} until {ends}, approved by {}: {reason}",
            wanted.path.value,
            wanted.transform,
            approved_by.join(" and ")
        );
        more(format!("break_glass {nth}"), Some(text));
    }
    act
}

fn act<const N: usize>(name: &str, with: [(&str, String); N]) -> Act {
    Act::new(name, DAEMON, with)
}

async fn append(audit: &Audit, acts: Vec<Act>) -> Result<(), AuditBusy> {
    let entries = acts.into_iter().map(|act| (clock::now(), Says::Act(act))).collect();
    audit.append(entries).await.map(drop)
}
