//! A feed that connects, for senders that only accept.
//!
//! Promises: one connection at a time; when it ends, or does not come about, it is tried again after
//! a delay that grows to a bound, and begins anew once a message came.
//! Knows nothing of: frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::handshake::{Bell, Failed};
use super::session::serve;
use super::wire::{Wire, keep_alive};
use crate::admit::sender::Speaker;
use crate::feed::intake::FeedContext;
use crate::metrics::DialMetrics;
use crate::pace::Backoff;

/// How long one address may take to accept, and a name to be looked up: a second try of a lost SYN
/// comes after one second, a third after three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A feed that connects.
pub struct Dialer {
    /// To which host.
    pub host: String,
    /// To which port.
    pub port: u16,
    /// By TLS, where it is there; then never in clear.
    pub bell: Option<Bell>,
    /// What is counted of it.
    pub metrics: DialMetrics,
    /// What its sessions share.
    pub context: Arc<FeedContext>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum NotThere {
    #[error("its name cannot be looked up: {0}")]
    Unknown(std::io::Error),
    #[error("{0}")]
    Refused(std::io::Error),
    #[error("it does not answer")]
    Silent,
    #[error(transparent)]
    Handshake(#[from] Failed),
}

impl Dialer {
    /// Connects until the daemon stops.
    pub async fn run(self) {
        let mut stopping = self.context.stopping.clone();
        let mut backoff = Backoff::new();
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            let (feed, target) = (&self.context.rules.feed, (&self.host, self.port));
            match connected {
                Ok((wire, peer)) => {
                    self.metrics.connects.count("connected");
                    self.metrics.up.set(1.0);
                    tracing::info!(%feed, %peer, "connected");
                    let context = Arc::clone(&self.context);
                    // A peer that accepts and closes again and again is one that fails.
                    if serve(wire, peer, Speaker::default(), context).await {
                        backoff.reset();
                    }
                    self.metrics.up.set(0.0);
                }
                Err(error) => {
                    let reason = match &error {
                        NotThere::Handshake(_) => "tls",
                        NotThere::Unknown(_) | NotThere::Refused(_) | NotThere::Silent => {
                            "unreachable"
                        }
                    };
                    self.metrics.connects.count(reason);
                    let (host, port) = target;
                    tracing::warn!(%feed, host, port, %error, "not connected; tried again");
                }
            }
            tokio::select! {
                () = sleep(backoff.delay()) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    async fn connect(&self) -> Result<(Wire, SocketAddr), NotThere> {
        let looked = timeout(CONNECT_TIMEOUT, lookup_host((self.host.as_str(), self.port))).await;
        let addresses = looked.map_err(|_| NotThere::Silent)?.map_err(NotThere::Unknown)?;
        let mut why = NotThere::Silent;
        for address in addresses.take(ADDRESSES_MAX) {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    keep_alive(&stream).map_err(NotThere::Refused)?;
                    let Some(bell) = &self.bell else { return Ok((Wire::Plain(stream), address)) };
                    let stream = bell.shake(stream).await?;
                    return Ok((Wire::Tls(Box::new(stream.into())), address));
                }
                Ok(Err(error)) => why = NotThere::Refused(error),
                Err(_) => why = NotThere::Silent,
            }
        }
        Err(why)
    }
}
