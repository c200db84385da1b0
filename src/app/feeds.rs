//! The feeds of a configuration, wired.
//!
//! Promises: every address is bound before anything is taken.
//! Knows nothing of: what a feed does with a message.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::AppError;
use crate::admit::DigestKey;
use crate::admit::assess::Rules;
use crate::config::{Application, Config, Feed};
use crate::deliver::FENCE_TIMEOUT;
use crate::feed::mllp::acknowledge::ControlIds;
use crate::feed::mllp::budget::Budget;
use crate::feed::mllp::outbox::{Outgoing, outbox};
use crate::feed::mllp::quiet::Quiet;
use crate::feed::mllp::sequence::Sequences;
use crate::feed::mllp::session::{Acknowledging, ApplicationAck};
use crate::feed::mllp::{FeedContext, Listener};
use crate::fence::Fence;
use crate::metrics::FeedMetrics;
use crate::normalize::Context;
use crate::store::Journal;

/// Everything that takes messages.
#[derive(Debug, Default)]
pub struct Feeds {
    /// The sockets.
    pub listeners: Vec<Listener>,
    /// What sends application acknowledgements elsewhere.
    outgoing: Vec<Outgoing>,
}

impl Feeds {
    /// Binds every address.
    ///
    /// # Errors
    /// One cannot be listened on, or there is no randomness.
    pub fn build(
        config: &Config,
        journal: &Arc<Journal>,
        fence: &Arc<Fence>,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Self, AppError> {
        let largest = config.feeds.iter().map(|feed| feed.frame_bytes_max).max().unwrap_or(0);
        let budget = Arc::new(Budget::new(config.node.intake_bytes_max, largest));
        let broker = config.rabbitmq.as_ref();
        let fence_timeout = broker.map_or(FENCE_TIMEOUT, |broker| broker.fence_timeout);
        let mut feeds = Self::default();
        for feed in &config.feeds {
            let metrics = FeedMetrics::new(&feed.name);
            let (application, outgoing) = match &feed.acks.application {
                Application::None => (ApplicationAck::None, None),
                Application::SameConnection => (ApplicationAck::SameConnection, None),
                Application::Connect(address) => {
                    let results = metrics.application_acks.clone();
                    let (outbox, outgoing) = outbox(&feed.name, address, results, stopping.clone());
                    (ApplicationAck::Connect(outbox), Some(outgoing))
                }
            };
            let context = FeedContext {
                rules: rules(config, feed, journal.digests()),
                frame_bytes_max: feed.frame_bytes_max,
                frame_timeout: feed.frame_timeout,
                pipeline_max: feed.pipeline_max,
                on_busy: feed.on_busy,
                journal: Arc::clone(journal),
                metrics,
                quiet: Quiet::default(),
                acknowledging: Acknowledging {
                    mode: feed.acks.mode,
                    application,
                    sequences: Sequences::new(feed.acks.on_gap),
                    control_ids: ControlIds::begin()?,
                },
                fence: Arc::clone(fence),
                fence_timeout,
                budget: Arc::clone(&budget),
                stopping: stopping.clone(),
            };
            let listener = Listener::bind(feed.listen, feed.connections_max, context)?;
            feeds.listeners.push(listener);
            feeds.outgoing.extend(outgoing);
        }
        Ok(feeds)
    }

    /// Serves until the daemon stops: what takes messages as tasks of `accepting`, what came of them
    /// as tasks of `sessions`.
    pub fn run(self, accepting: &TaskTracker, sessions: &TaskTracker) {
        for outgoing in self.outgoing {
            sessions.spawn(outgoing.run());
        }
        for listener in self.listeners {
            accepting.spawn(listener.run(sessions.clone()));
        }
    }
}

/// How a feed reads its messages.
pub fn rules(config: &Config, feed: &Feed, digests: &DigestKey) -> Rules {
    Rules {
        feed: Arc::clone(&feed.name),
        domain: feed.sender_domain.clone(),
        correlation: feed.correlation.clone(),
        windows: feed.windows,
        charset: feed.charset,
        context: Context { zone: feed.zone.clone() },
        processing_id: feed.processing_id.clone(),
        on_unmappable: feed.on_unmappable,
        on_unsupported: feed.on_unsupported,
        mappings: Arc::clone(&config.mappings),
        identity: Arc::clone(&config.identity),
        digests: digests.clone(),
        policy: Arc::clone(&config.policy),
        site: feed.site.clone(),
    }
}
