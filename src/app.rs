//! The daemon: build, run, drain. The only wiring.
//!
//! Promises: nothing is answered before everything that an answer rests on is up; when the
//! store fails, the process ends before anything more is answered; when it is told to stop,
//! what is under way is finished within a bound.
//! Knows nothing of: what flows through.

mod certificates;
mod clerk;
pub mod decider;
mod evidence;
mod feeds;
pub mod realms;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::task::TaskTracker;

pub use self::evidence::not_last_run;

use self::decider::Decider;
use self::feeds::{Feeds, rules};
use self::realms::{Realms, Running};
use crate::admin::auth::Access;
use crate::admin::keys::Keys;
use crate::admin::server::PULSE_MAX;
use crate::admin::tokens::Desk;
use crate::admin::{self, AdminState};
use crate::config::{Config, Feed};
use crate::consent::Code;
use crate::contract::{Contract, Destination};
use crate::deliver::file::FileSink;
use crate::deliver::rabbitmq::{RabbitSink, Target};
use crate::deliver::route::RouteError;
use crate::deliver::{FENCE_TIMEOUT, Route, RouteConfig, Sink};
use crate::event::Subject;
use crate::feed::fhir::auth::published::Published;
use crate::feed::mllp::listener::ListenError;
use crate::fence::Fence;
use crate::metrics::{BrokerMetrics, Pulse, RouteMetrics};
use crate::secret::SecretError;
use crate::store::audit::AuditThreads;
use crate::store::journal::JournalThreads;
use crate::store::vault::VaultThread;
use crate::store::{Audit, AuditBusy, Journal, StateDir, StoreError, Vault};

/// How long connections get to finish what is under way when the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the disk, the exceptions and what is old are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Unconfirmed payloads of a route that delivers to a file: as many as one fsync covers.
const FILE_WINDOW: usize = 256;
/// The file with the addresses that were bound.
pub const LISTENING: &str = "listening.json";
/// The name of the API among them.
pub const ADMIN: &str = "admin";

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A feed's address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The API's address.
    #[error("admin: cannot listen on {address}: {source}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A route.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Nothing can be recorded.
    #[error("audit.db: the start cannot be recorded: the disk is full, or the store has failed")]
    Audit(AuditBusy),
    /// A task ended that must not.
    #[error("{0} ended unexpectedly; the reason stands above")]
    Ended(String),
    /// The operating system refused something basic.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

/// A daemon that is up and not running yet.
struct App {
    state: StateDir,
    journal: Arc<Journal>,
    threads: JournalThreads,
    audit: Arc<Audit>,
    audit_threads: AuditThreads,
    vault: Option<Running>,
    publisher: Option<evidence::Publisher>,
    feeds: Feeds,
    routes: Vec<Route>,
    /// Routes that lack a key.
    halted: Vec<Halted>,
    admin_listener: TcpListener,
    admin: Arc<AdminState>,
    /// Tells the feeds to stop.
    stop: watch::Sender<bool>,
    /// Tells the routes to stop, once nothing comes in any more.
    stop_routes: watch::Sender<bool>,
}

/// Runs a daemon until it is told to stop.
///
/// # Errors
/// It cannot start, or its store failed.
pub async fn run(config: Config, prometheus: PrometheusHandle) -> Result<(), AppError> {
    // Before anything is written or anyone is told where to connect.
    let signals = Signals::catch()?;
    let app = App::build(config, prometheus).await?;
    app.announce()?;
    app.serve(signals).await
}

/// The signals that are not left to end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A file-size limit is an error of a write, not the end of the process.
    _file_size: Signal,
}

impl Signals {
    fn catch() -> Result<Self, AppError> {
        let catch =
            |kind| signal(kind).map_err(|source| AppError::System { what: "a signal", source });
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
            _file_size: catch(SignalKind::from_raw(SIGXFSZ))?,
        })
    }
}

impl App {
    async fn build(mut config: Config, prometheus: PrometheusHandle) -> Result<Self, AppError> {
        let state = StateDir::take(&config.node.state_dir)?;
        let (stop, stopping) = watch::channel(false);
        let (stop_routes, routes_stopping) = watch::channel(false);
        let admin_listener = TcpListener::bind(config.admin.listen)
            .await
            .map_err(|source| AppError::Admin { address: config.admin.listen, source })?;
        let master = match &config.master_key {
            Some(key) => key.clone(),
            None => Journal::master_key(&state)?,
        };
        let feeds: Vec<Arc<str>> = config.feeds.iter().map(|feed| Arc::clone(&feed.name)).collect();
        let routes: Vec<Arc<str>> =
            config.contracts.iter().map(|contract| contract.name.as_str().into()).collect();
        let once = config.contracts.iter().filter(|contract| contract.once.is_some());
        config.journal.once = once.map(|contract| contract.name.as_str().into()).collect();
        let (journal, mut threads) =
            Journal::open(&state, &master, config.journal.clone(), &feeds, &routes)?;
        let journal = Arc::new(journal);
        journal.look_at_disk()?;
        let (audit, audit_threads) = Audit::open(&state, config.audit.store.clone())?;
        let audit = Arc::new(audit);
        evidence::start(&audit, &config).await?;
        let publisher = evidence::Publisher::start(&audit, &config);
        let fence = Arc::new(Fence::default());
        let fence_timeout =
            config.rabbitmq.as_ref().map_or(FENCE_TIMEOUT, |broker| broker.fence_timeout);
        if let Some(ended) = threads.ended() {
            tokio::spawn(fence_ended(ended, Arc::clone(&fence), fence_timeout));
        }
        let (realms, vault) = realms::start(&state, &config, &audit).await?;
        let decide = Decider::new(&config, journal.digests(), &realms)?.shared();
        let published = Published::new(config.feeds.iter().filter_map(Feed::signs).collect());
        let keys = Keys::new(move || published.key_set());
        // Behind all that looks at the feeds as they are configured.
        let meant = std::mem::take(&mut config.feeds);
        let feeds = Feeds::build(meant, &config, (&journal, &fence), &stopping)?;
        let (routes, halted) =
            build_routes(&config, (&state, &realms), (&journal, &audit), &fence, &routes_stopping)?;
        let mut pulses: Vec<(String, Pulse)> =
            vec![("journal".to_owned(), journal.pulse()), ("audit".to_owned(), audit.pulse())];
        pulses.extend(vault.iter().map(|(vault, _)| ("vault".to_owned(), vault.pulse())));
        let of_route = |route: &Route| (format!("route {}", route.name()), route.pulse());
        pulses.extend(routes.iter().map(of_route));
        let access = match (config.admin.users.is_empty(), config.admin.dev) {
            (false, _) => Access::Users(config.admin.users.clone()),
            (true, true) => Access::Dev,
            (true, false) => Access::Closed,
        };
        let admin = Arc::new(AdminState {
            prometheus,
            process: metrics_process::Collector::default(),
            journal: Arc::clone(&journal),
            pulses,
            access,
            state_dir: config.node.state_dir.clone(),
            master,
            policy: Arc::clone(&config.policy),
            identity: Arc::clone(&config.identity),
            fence,
            fence_timeout,
            jurisdiction: config.node.jurisdiction.clone(),
            audit: Arc::clone(&audit),
            decide,
            contracts: config.contracts.as_slice().into(),
            halted: halted.iter().map(|halted| halted.name.to_string()).collect(),
            tokens: Desk::new(realms::books(realms, &config), config.admin.resolves),
            keys,
            lookup: Mutex::new(None),
        });
        Ok(Self {
            state,
            journal,
            threads,
            audit,
            audit_threads,
            vault,
            publisher,
            feeds,
            routes,
            halted,
            admin_listener,
            admin,
            stop,
            stop_routes,
        })
    }

    /// Says where it listens: in the log, and in a file for the commands.
    fn announce(&self) -> Result<(), AppError> {
        let system = |source| AppError::System { what: "an address", source };
        let mut addresses = BTreeMap::new();
        for listener in &self.feeds.listeners {
            addresses.insert(listener.feed().to_string(), listener.address().map_err(system)?);
        }
        for endpoint in &self.feeds.endpoints {
            addresses.insert(endpoint.feed().to_string(), endpoint.address().map_err(system)?);
        }
        let admin = self.admin_listener.local_addr().map_err(system)?;
        addresses.insert(ADMIN.to_owned(), admin);
        let json = serde_json::to_vec_pretty(&addresses)
            .map_err(|error| system(std::io::Error::other(error)))?;
        self.state.publish(LISTENING, &json)?;
        for (feed, addr) in &addresses {
            tracing::info!(%feed, %addr, "listening");
        }
        for dialer in &self.feeds.dialers {
            let feed = &dialer.context.rules.feed;
            tracing::info!(%feed, host = dialer.host, port = dialer.port, "connecting");
        }
        Ok(())
    }

    async fn serve(self, mut signals: Signals) -> Result<(), AppError> {
        let mut failed = self.threads.failed();
        let mut audit_failed = self.audit_threads.failed();
        let (_no_vault, never) = watch::channel(false);
        let mut vault_failed = self.vault.as_ref().map_or(never, |(_, thread)| thread.failed());
        let vault = self.vault.as_ref().map(|(vault, _)| Arc::clone(vault));
        let sessions = TaskTracker::new();
        let accepting = TaskTracker::new();
        let look_again = Arc::new(Notify::new());
        let certificates = self.feeds.run(&accepting, &sessions);
        let certificates =
            certificates::watch(certificates, Arc::clone(&look_again), self.stop.subscribe());
        tokio::spawn(certificates);
        let mut routes = JoinSet::new();
        for route in self.routes {
            routes.spawn(route.run());
        }
        let admin = tokio::spawn(admin::serve(
            self.admin_listener,
            Arc::clone(&self.admin),
            self.stop.subscribe(),
        ));
        let clerk = tokio::spawn(clerk::record(
            Arc::clone(&self.journal),
            Arc::clone(&self.audit),
            self.stop_routes.subscribe(),
        ));
        // Before the first ping of the watchdog, which the look around sends.
        notify("READY=1\nSTATUS=taking messages");
        let looking = tokio::spawn(look_around(
            Arc::clone(&self.journal),
            (Arc::clone(&self.audit), vault),
            Arc::clone(&self.admin),
            self.halted,
        ));
        let ended = loop {
            tokio::select! {
                _ = signals.terminate.recv() => break Ok(()),
                _ = signals.interrupt.recv() => break Ok(()),
                _ = signals.hangup.recv() => {
                    look_again.notify_one();
                    tracing::warn!(
                        "SIGHUP: certificates are read anew; the configuration is read at start only, restart \
                         to apply a change"
                    );
                }
                _ = failed.wait_for(|failed| *failed) => break Err(AppError::Ended("the journal".to_owned())),
                _ = audit_failed.wait_for(|failed| *failed) => break Err(AppError::Ended("the audit".to_owned())),
                _ = vault_failed.wait_for(|failed| *failed) => break Err(AppError::Ended("the vault".to_owned())),
                Some(route) = routes.join_next() => break Err(route_ended(route)),
            }
        };
        match &ended {
            Ok(()) => tracing::info!("stopping: what is under way is finished"),
            Err(error) => tracing::error!(%error, "stopping"),
        }
        notify("STOPPING=1");
        self.stop.send_replace(true);
        accepting.close();
        sessions.close();
        if timeout(DRAIN_TIMEOUT, async {
            accepting.wait().await;
            sessions.wait().await
        })
        .await
        .is_err()
        {
            tracing::warn!("some connections did not finish; their senders will come again");
        }
        self.journal.stop_taking();
        self.stop_routes.send_replace(true);
        let drained = timeout(DRAIN_TIMEOUT, routes.join_all()).await;
        if timeout(DRAIN_TIMEOUT, clerk).await.is_err() {
            tracing::warn!("what messages said of patients is recorded at the next start");
        }
        looking.abort();
        admin.abort();
        evidence::stop(&self.audit).await;
        let recorded = tokio::task::block_in_place(|| self.audit_threads.stop());
        if let Some(publisher) = self.publisher {
            publisher.stop().await;
        }
        let thread = self.vault.map(|(_, thread)| thread);
        let kept = tokio::task::block_in_place(|| thread.map_or(Ok(()), VaultThread::stop));
        let stopped = tokio::task::block_in_place(|| self.threads.stop());
        self.state.withdraw(LISTENING)?;
        drop(self.state);
        if let Err(error) = recorded.and(kept).and(stopped) {
            // What the store said is the reason; that a route ended by it is not.
            return Err(error.into());
        }
        ended?;
        for outcome in drained.unwrap_or_default() {
            outcome?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// File size limit exceeded, on Linux.
const SIGXFSZ: i32 = 25;

fn route_ended(ended: Result<Result<(), RouteError>, tokio::task::JoinError>) -> AppError {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => AppError::Ended("a route".to_owned()),
    }
}

/// A route that does not start, since its realm lacks a key: its cursor stays, and with it what it
/// has to deliver.
struct Halted {
    name: Arc<str>,
    metrics: RouteMetrics,
}

impl Halted {
    /// Says how much waits for it.
    fn measure(&self, journal: &Journal) {
        let head = *journal.head().borrow();
        let lag = head.saturating_sub(journal.cursor(&self.name).number);
        self.metrics.lag.set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
    }
}

// PROMISE-12: what one realm lacks stops its own routes, and nothing else.
fn build_routes(
    config: &Config,
    (state, realms): (&StateDir, &Realms),
    (journal, audit): (&Arc<Journal>, &Arc<Audit>),
    fence: &Arc<Fence>,
    stopping: &watch::Receiver<bool>,
) -> Result<(Vec<Route>, Vec<Halted>), AppError> {
    let reasons = Code::ALL.map(Code::name);
    let (mut routes, mut halted) = (Vec::new(), Vec::new());
    for contract in &config.contracts {
        let metrics = RouteMetrics::new(&contract.name, &contract.purpose, &reasons);
        let realm = match realms.get(contract.realm.value.as_str()).cloned() {
            Some(Ok(realm)) => realm,
            Some(Err(why)) => {
                let route = &contract.name;
                tracing::error!(%route, realm = contract.realm.value, why,
                    "the route does not start; what it has to deliver is kept");
                halted.push(Halted { name: route.as_str().into(), metrics });
                continue;
            }
            None => return Err(AppError::Ended(format!("the realm of route {}", contract.name))),
        };
        let (sink, window) = match (&contract.deliver, &config.rabbitmq) {
            (Destination::File { path, rotate }, _) => {
                let path: PathBuf = state.path().join(path);
                (Sink::File(Box::new(FileSink::new(path, *rotate))), FILE_WINDOW)
            }
            (Destination::RabbitMq { exchange, routing_key }, Some(broker)) => {
                let target = Target {
                    route: contract.name.clone(),
                    exchange: exchange.clone(),
                    routing_key: routing_key.clone(),
                    headers: [
                        ("route", contract.name.clone()),
                        ("contract", contract.version.clone()),
                        ("tier", contract.recipe.tier.name().to_owned()),
                        ("purpose", contract.purpose.clone()),
                    ],
                    app_id: config.node.name.clone(),
                };
                let sink =
                    RabbitSink::new(broker.clone(), target, BrokerMetrics::new(&contract.name));
                (Sink::Rabbit(Box::new(sink)), broker.window)
            }
            (Destination::RabbitMq { .. }, None) => {
                return Err(AppError::Ended(format!("the broker of route {}", contract.name)));
            }
        };
        let of_realm = |other: &&Contract| other.realm.value == contract.realm.value;
        let beside = config.contracts.iter().filter(of_realm);
        let route = RouteConfig {
            contract: Arc::new(contract.clone()),
            realm,
            realm_routes: beside.map(|contract| contract.name.as_str().into()).collect(),
            node: config.node.name.clone(),
            jurisdiction: config.node.jurisdiction.clone(),
            window,
            policy: Arc::clone(&config.policy),
            journal: Arc::clone(journal),
            audit: Arc::clone(audit),
            configuration: config.hash.as_str().into(),
            fence: Arc::clone(fence),
            metrics,
            stopping: stopping.clone(),
        };
        routes.push(Route::new(route, sink));
    }
    Ok((routes, halted))
}

/// Takes the fence for those whose permits have ended by themselves. What was asked before the end,
/// and is on its way, left while the permit held; what was asked before and has not entered asks
/// anew.
// PROMISE-6
async fn fence_ended(
    mut ended: mpsc::Receiver<Vec<Subject>>,
    fence: Arc<Fence>,
    patience: Duration,
) {
    while let Some(subjects) = ended.recv().await {
        // Each for itself, so that one that waits for a broker keeps no other from being marked.
        let fence = Arc::clone(&fence);
        tokio::spawn(async move { fence.narrow(subjects, patience).await });
    }
}

/// Looks at the disk, the exceptions and what is old, keeps the histograms small, and tells the
/// watchdog that every loop turns.
async fn look_around(
    journal: Arc<Journal>,
    (audit, vault): (Arc<Audit>, Option<Arc<Vault>>),
    admin: Arc<AdminState>,
    halted: Vec<Halted>,
) {
    let mut every = interval(LOOK_INTERVAL);
    let watchdog = sd_notify::watchdog_enabled();
    let mut turn = 0_u64;
    let mut was_busy = false;
    loop {
        every.tick().await;
        turn += 1;
        journal.tick();
        audit.tick();
        vault.iter().for_each(|vault| vault.tick());
        halted.iter().for_each(|halted| halted.measure(&journal));
        let looked = tokio::task::block_in_place(|| {
            journal.look_at_disk()?;
            if turn.is_multiple_of(4) { journal.look_at_exceptions() } else { Ok(()) }
        });
        if let Err(error) = looked {
            tracing::error!(%error, "the store could not be looked at");
        }
        let busy = journal.busy().is_some();
        if busy != was_busy {
            was_busy = busy;
            if busy {
                tracing::error!("nothing is taken: the disk is full, or above the watermark");
            } else {
                tracing::info!("messages are taken again");
            }
        }
        if turn.is_multiple_of(10) {
            admin.prometheus.run_upkeep();
        }
        // A ping that says only that this task runs would keep a hanging daemon alive.
        let limit = watchdog.unwrap_or(PULSE_MAX).min(PULSE_MAX);
        let turning = admin.pulses.iter().all(|(_, pulse)| pulse.age() < limit);
        if watchdog.is_some() && turning {
            notify("WATCHDOG=1");
        }
    }
}

/// Tells systemd, where there is one.
fn notify(state: &str) {
    let custom = sd_notify::NotifyState::Custom(state);
    if let Err(error) = sd_notify::notify(&[custom]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
