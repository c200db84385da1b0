//! The feeds of a configuration, wired.
//!
//! Promises: every address is bound before anything is taken.
//! Knows nothing of: what a feed does with a message.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::AppError;
use super::certificates::Watched;
use crate::admit::DigestKey;
use crate::admit::assess::Rules;
use crate::config::{Application, Config, Feed, Fhir, Mllp, Source, Subscription, Way};
use crate::deliver::FENCE_TIMEOUT;
use crate::feed::fhir::asking::Pace;
use crate::feed::fhir::poller::{Poller, Polling};
use crate::feed::fhir::subscription::ear::Ear;
use crate::feed::fhir::subscription::endpoint::{Endpoint, Proof};
use crate::feed::fhir::subscription::keeper::Keeper;
use crate::feed::fhir::subscription::notice::{Notice, notices};
use crate::feed::fhir::subscription::{self, Terms};
use crate::feed::fhir::{Client, Settings};
use crate::feed::file::Files;
use crate::feed::intake::{Acknowledging, ApplicationAck, FeedContext};
use crate::feed::mllp::acknowledge::ControlIds;
use crate::feed::mllp::budget::Budget;
use crate::feed::mllp::handshake::{Bell, Door};
use crate::feed::mllp::listener::Entrance;
use crate::feed::mllp::mode::AckMode;
use crate::feed::mllp::outbox::{Outgoing, outbox};
use crate::feed::mllp::quiet::Quiet;
use crate::feed::mllp::sequence::{OnGap, Sequences};
use crate::feed::mllp::{Dialer, Listener};
use crate::fence::Fence;
use crate::metrics::{DialMetrics, FeedMetrics, FileMetrics, PollMetrics, SubscriptionMetrics};
use crate::normalize::{Context, Documents};
use crate::pace::Fair;
use crate::store::Journal;

/// Everything that takes messages.
#[derive(Default)]
pub struct Feeds {
    /// The sockets.
    pub listeners: Vec<Listener>,
    /// What connects by itself.
    pub dialers: Vec<Dialer>,
    /// The certificates of both.
    certificates: Vec<Watched>,
    /// The folders.
    files: Vec<Files>,
    /// What asks FHIR servers.
    pollers: Vec<Poller>,
    /// What FHIR servers notify.
    pub endpoints: Vec<Endpoint>,
    /// What looks after the subscriptions there.
    keepers: Vec<Keeper>,
    /// What sends application acknowledgements elsewhere.
    outgoing: Vec<Outgoing>,
}

/// Messages of one file that may be under way: as many as the default of a connection.
const FILE_PIPELINE_MAX: usize = 64;

/// How long a FHIR server's name, its connection and the handshake may take together: a second try of a
/// lost SYN comes after one second, a third after three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a feed is wired with.
struct Shared<'s> {
    config: &'s Config,
    feed: &'s Feed,
    journal: &'s Arc<Journal>,
    fence: &'s Arc<Fence>,
    fence_timeout: Duration,
    budget: &'s Arc<Budget>,
    stopping: &'s watch::Receiver<bool>,
}

impl Shared<'_> {
    fn context(
        &self,
        metrics: FeedMetrics,
        application: ApplicationAck,
        mllp: Option<&Mllp>,
    ) -> Result<FeedContext, AppError> {
        let feed = self.feed;
        Ok(FeedContext {
            rules: rules(self.config, feed, self.journal.digests()),
            frame_bytes_max: feed.frame_bytes_max,
            frame_timeout: mllp.map_or(Duration::MAX, |mllp| mllp.frame_timeout),
            pipeline_max: mllp.map_or(FILE_PIPELINE_MAX, |mllp| mllp.pipeline_max),
            rate: mllp.and_then(|mllp| Fair::new(mllp.transport.rate_max)),
            on_busy: feed.on_busy,
            journal: Arc::clone(self.journal),
            metrics,
            quiet: Quiet::default(),
            acknowledging: Acknowledging {
                mode: mllp.map_or(AckMode::ByMessage, |mllp| mllp.acks.mode),
                application,
                sequences: Sequences::new(mllp.map_or(OnGap::Answer, |mllp| mllp.acks.on_gap)),
                control_ids: ControlIds::begin()?,
            },
            fence: Arc::clone(self.fence),
            fence_timeout: self.fence_timeout,
            budget: Arc::clone(self.budget),
            stopping: self.stopping.clone(),
        })
    }
}

impl Feeds {
    /// Binds every address.
    ///
    /// # Errors
    /// One cannot be listened on, or there is no randomness.
    pub fn build(
        meant: Vec<Feed>,
        config: &Config,
        (journal, fence): (&Arc<Journal>, &Arc<Fence>),
        stopping: &watch::Receiver<bool>,
    ) -> Result<Self, AppError> {
        let largest = meant.iter().map(|feed| feed.frame_bytes_max).max().unwrap_or(0);
        let budget = Arc::new(Budget::new(config.node.intake_bytes_max, largest));
        let broker = config.rabbitmq.as_ref();
        let fence_timeout = broker.map_or(FENCE_TIMEOUT, |broker| broker.fence_timeout);
        let mut feeds = Self::default();
        for feed in meant {
            let of = &feed;
            let shared = Shared {
                config,
                feed: of,
                journal,
                fence,
                fence_timeout,
                budget: &budget,
                stopping,
            };
            match &feed.source {
                Source::Mllp(mllp) => {
                    let context = feeds.mllp(&shared, mllp)?;
                    let name = Arc::clone(&feed.name);
                    let Source::Mllp(mllp) = feed.source else { continue };
                    feeds.add(&name, mllp.transport.way, context)?;
                }
                Source::File(file) => {
                    let metrics = FeedMetrics::new(&feed.name, "file");
                    // What a file says is answered beside it, all of it.
                    let context = shared.context(metrics, ApplicationAck::SameConnection, None)?;
                    let metrics = FileMetrics::new(&feed.name);
                    feeds.files.push(Files::new(file.clone(), context, metrics));
                }
                Source::Fhir(_) => {
                    let metrics = FeedMetrics::new(&feed.name, "fhir");
                    let context = shared.context(metrics, ApplicationAck::None, None)?;
                    let name = Arc::clone(&feed.name);
                    let Source::Fhir(fhir) = feed.source else { continue };
                    feeds.fhir(&name, *fhir, context)?;
                }
            }
        }
        Ok(feeds)
    }

    fn mllp(&mut self, shared: &Shared<'_>, mllp: &Mllp) -> Result<FeedContext, AppError> {
        let metrics = FeedMetrics::new(&shared.feed.name, "mllp");
        let application = match &mllp.acks.application {
            Application::None => ApplicationAck::None,
            Application::SameConnection => ApplicationAck::SameConnection,
            Application::Connect(address) => {
                let results = metrics.application_acks.clone();
                let (outbox, outgoing) =
                    outbox(&shared.feed.name, address, results, shared.stopping.clone());
                self.outgoing.push(outgoing);
                ApplicationAck::Connect(outbox)
            }
        };
        shared.context(metrics, application, Some(mllp))
    }

    fn fhir(&mut self, name: &Arc<str>, fhir: Fhir, context: FeedContext) -> Result<(), AppError> {
        let tls = fhir.tls.map(|tls| {
            let (watched, live) = Watched::client(name, "fhir_client", tls);
            self.certificates.push(watched);
            live
        });
        let client = Client::new(Settings {
            feed: Arc::clone(name),
            base: fhir.base,
            auth: fhir.auth,
            tls,
            page_bytes_max: fhir.page_bytes_max,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: fhir.request_timeout,
        });
        let polling = Polling {
            version: fhir.version,
            queries: fhir.queries,
            since: fhir.since,
            pace: Pace {
                interval: fhir.interval,
                overlap: fhir.overlap,
                page_size: fhir.page_size,
                pages_max: fhir.pages_max,
                subjects: fhir.subjects,
            },
            page_bytes_max: fhir.page_bytes_max,
            patients_max: fhir.patients_max,
            patient_age_max: fhir.patient_max_age,
            no_consent_age_max: fhir.no_consent_max_age,
            consents_recheck: fhir.consents_recheck,
        };
        let metrics = PollMetrics::new(name);
        let (client, context) = (Arc::new(client), Arc::new(context));
        let notices = self.subscription(name, fhir.subscription, (&client, &polling, &context))?;
        self.pollers.push(Poller::new(client, polling, context, metrics, notices));
        Ok(())
    }

    /// What a feed's server tells by itself. Without any, those that were made before are removed.
    fn subscription(
        &mut self,
        name: &Arc<str>,
        meant: Option<Subscription>,
        (client, polling, context): (&Arc<Client>, &Polling, &Arc<FeedContext>),
    ) -> Result<Option<mpsc::Receiver<Notice>>, AppError> {
        let server = client.base().to_string();
        let mut types: Vec<_> = polling.queries.iter().map(|query| query.resource).collect();
        types.dedup();
        let (notices, waiting) = notices();
        let wanted = meant.as_ref().map(|it| it.wanted.clone()).unwrap_or_default();
        let metrics = SubscriptionMetrics::new(name);
        let ear = Ear::new(Arc::clone(context), metrics, (server, types), wanted, notices);
        let ear = Arc::new(ear);
        let Some(meant) = meant else {
            self.keepers.push(Keeper::new(ear, Arc::clone(client), None, None));
            return Ok(None);
        };
        let terms = meant.endpoint.map(|endpoint| Terms {
            feed: Arc::clone(name),
            style: meant.style,
            endpoint,
            proof: meant.proof.as_ref().map(|(name, value)| {
                let name = if *name == AUTHORIZATION { "Authorization" } else { name.as_str() };
                (name.to_owned(), Arc::clone(value))
            }),
            content: meant.content,
            heartbeat: meant.heartbeat.unwrap_or_default(),
            timeout: meant.answer_timeout,
            lifetime: meant.lifetime,
        });
        let silence = meant.heartbeat.map(|it| it * meant.heartbeats_missed_max);
        // By another name than what the feed asks with: each has authorities of its own.
        let served: Arc<str> = format!("{name}/notify").into();
        let door = meant.tls.map(|tls| {
            let (watched, live) = Watched::server(&served, "fhir_server", tls, &meant.roster);
            self.certificates.push(watched);
            Arc::new(Door::new(live, meant.roster, meant.connections_max))
        });
        let entrance = subscription::endpoint::Entrance {
            path: meant.path,
            connections_max: meant.connections_max,
            allow: meant.allow,
            door,
            proof: meant.proof.map(|(name, value)| Proof::new(name, &value)),
            version: polling.version,
            body_bytes_max: meant.body_bytes_max,
            timeout: meant.answer_timeout,
        };
        self.endpoints.push(Endpoint::bind(meant.listen, entrance, Arc::clone(&ear))?);
        self.keepers.push(Keeper::new(ear, Arc::clone(client), terms, silence));
        Ok(Some(waiting))
    }

    fn add(&mut self, name: &Arc<str>, way: Way, context: FeedContext) -> Result<(), AppError> {
        match way {
            Way::Listen(listen) => {
                let roster = listen.roster;
                let door = listen.tls.map(|tls| {
                    let (watched, live) = Watched::server(name, "mllp_server", tls, &roster);
                    self.certificates.push(watched);
                    Arc::new(Door::new(live, roster, listen.connections_max))
                });
                let entrance = Entrance {
                    connections_max: listen.connections_max,
                    allow: listen.allow,
                    door,
                    clients: listen.clients,
                };
                self.listeners.push(Listener::bind(listen.address, entrance, context)?);
            }
            Way::Connect(connect) => {
                let bell = connect.tls.map(|(tls, name_of_peer)| {
                    let (watched, live) = Watched::client(name, "mllp_client", tls);
                    self.certificates.push(watched);
                    Bell { live, name: name_of_peer }
                });
                self.dialers.push(Dialer {
                    host: connect.host,
                    port: connect.port,
                    bell,
                    metrics: DialMetrics::new(name),
                    context: Arc::new(context),
                });
            }
        }
        Ok(())
    }

    /// Serves until the daemon stops: what takes messages as tasks of `accepting`, what came of them
    /// as tasks of `sessions`. Gives the certificates that are to be looked at again and again.
    pub fn run(self, accepting: &TaskTracker, sessions: &TaskTracker) -> Vec<Watched> {
        for outgoing in self.outgoing {
            sessions.spawn(outgoing.run());
        }
        for files in self.files {
            accepting.spawn(files.run());
        }
        for listener in self.listeners {
            accepting.spawn(listener.run(sessions.clone()));
        }
        for dialer in self.dialers {
            accepting.spawn(dialer.run());
        }
        for poller in self.pollers {
            accepting.spawn(poller.run());
        }
        for endpoint in self.endpoints {
            accepting.spawn(endpoint.run(sessions.clone()));
        }
        for keeper in self.keepers {
            accepting.spawn(keeper.run());
        }
        self.certificates
    }
}

/// How a feed reads its messages.
pub fn rules(config: &Config, feed: &Feed, digests: &DigestKey) -> Rules {
    let site = feed.site.as_ref().map(|site| site.value.as_str());
    let of_site = site.and_then(|site| config.mappings.site(site)).map(|site| &site.mappings);
    Rules {
        feed: Arc::clone(&feed.name),
        domain: feed.sender_domain.clone(),
        correlation: feed.correlation.clone(),
        windows: feed.windows,
        charsets: feed.charsets.clone(),
        context: Context { zone: feed.zone.clone(), documents: Documents::Kept },
        processing_id: feed.processing_id.clone(),
        on_unmappable: feed.on_unmappable,
        on_unsupported: feed.on_unsupported,
        mappings: Arc::clone(of_site.unwrap_or(&config.mappings)),
        identity: Arc::clone(&config.identity),
        digests: digests.clone(),
        policy: Arc::clone(&config.policy),
        site: site.map(str::to_owned),
    }
}
