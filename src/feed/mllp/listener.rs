//! A socket that takes connections.
//!
//! Promises: a bound number of connections, each of them kept alive by TCP and cut when its
//! peer is gone; running out of file descriptors slows accepting down and stops nothing.
//! Knows nothing of: frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::session::serve;
use crate::feed::intake::FeedContext;

/// After how long of silence TCP asks whether the peer is there, how often, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 6);
/// How long accepting pauses after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;

/// A bound socket of a feed.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    context: Arc<FeedContext>,
    connections: Arc<Semaphore>,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("feed {feed}: cannot listen on {address}: {source}")]
pub struct ListenError {
    feed: Arc<str>,
    address: SocketAddr,
    source: std::io::Error,
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// It is in use, or not ours.
    pub fn bind(
        address: SocketAddr,
        connections_max: usize,
        context: FeedContext,
    ) -> Result<Self, ListenError> {
        let feed = Arc::clone(&context.rules.feed);
        let fail = |source| ListenError { feed: Arc::clone(&feed), address, source };
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let listener = socket
            .and_then(|socket| {
                // A restarted daemon takes its port back at once, though old connections linger.
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                socket.listen(BACKLOG)
            })
            .map_err(fail)?;
        let connections = Arc::new(Semaphore::new(connections_max));
        Ok(Self { listener, context: Arc::new(context), connections })
    }

    /// The feed's name.
    #[must_use]
    pub fn feed(&self) -> &str {
        &self.context.rules.feed
    }

    /// The address that was bound; with port 0, the port that was found.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts connections until the daemon stops; each is served by a task of `tasks`.
    pub async fn run(self, tasks: TaskTracker) {
        let mut stopping = self.context.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &tasks),
                Err(error) => {
                    let feed = &self.context.rules.feed;
                    tracing::warn!(%feed, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, tasks: &TaskTracker) {
        let feed = &self.context.rules.feed;
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            // Closed at once: the sender sees it and tries again, which hanging would hide.
            self.context.metrics.rejected.count("limit");
            tracing::warn!(%feed, %peer, "connection refused: connections_max is reached");
            return;
        };
        if let Err(error) = keep_alive(&stream) {
            tracing::debug!(%feed, %peer, %error, "the connection ended as it began");
            return;
        }
        let context = Arc::clone(&self.context);
        tasks.spawn(async move {
            serve(stream, peer, context).await;
            drop(permit);
        });
    }
}

fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (idle, interval, retries) = KEEPALIVE;
    let keepalive =
        TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(retries);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
