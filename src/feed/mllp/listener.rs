//! A socket that takes connections.
//!
//! Promises: a bound number of connections, each of them kept alive by TCP and cut when its
//! peer is gone; who may not connect is closed before anything of his is read; running out of file
//! descriptors slows accepting down and stops nothing.
//! Knows nothing of: frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::allow::Allow;
use super::handshake::Door;
use super::session::serve;
use super::wire::{Wire, keep_alive};
use crate::admit::sender::{Sender, Speaker};
use crate::feed::intake::FeedContext;

/// How long accepting pauses after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;

/// Who may connect, and how.
#[derive(Debug)]
pub struct Entrance {
    /// Most connections.
    pub connections_max: usize,
    /// From where; from everywhere where it is none.
    pub allow: Option<Allow>,
    /// By TLS, where it is there; then never in clear.
    pub door: Option<Arc<Door>>,
    /// What those of the door's roster may speak for, in its order.
    pub clients: Vec<Arc<Sender>>,
}

/// A bound socket of a feed.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    context: Arc<FeedContext>,
    entrance: Arc<Entrance>,
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

/// A socket that connections wait at.
///
/// # Errors
/// The address is in use, or not ours.
pub(in crate::feed) fn listen_on(
    address: SocketAddr,
    feed: &Arc<str>,
) -> Result<TcpListener, ListenError> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let listening = socket.and_then(|socket| {
        // A restarted daemon takes its port back at once, though old connections linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listening.map_err(|source| ListenError { feed: Arc::clone(feed), address, source })
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// It is in use, or not ours.
    pub fn bind(
        address: SocketAddr,
        entrance: Entrance,
        context: FeedContext,
    ) -> Result<Self, ListenError> {
        let listener = listen_on(address, &context.rules.feed)?;
        let connections = Arc::new(Semaphore::new(entrance.connections_max));
        let (context, entrance) = (Arc::new(context), Arc::new(entrance));
        Ok(Self { listener, context, entrance, connections })
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
        let allow = self.entrance.allow.as_ref();
        if allow.is_some_and(|allow| !allow.has(peer.ip())) {
            self.context.refuse("address", peer, "its address is in no network of `allow`");
            return;
        }
        if let Err(error) = keep_alive(&stream) {
            let feed = &self.context.rules.feed;
            tracing::debug!(%feed, %peer, %error, "the connection ended as it began");
            return;
        }
        let (context, entrance) = (Arc::clone(&self.context), Arc::clone(&self.entrance));
        let connections = Arc::clone(&self.connections);
        let Some(door) = &entrance.door else {
            // Here and not in a task: a flood of connections makes no tasks.
            let Some(permit) = permit(&connections, &context, peer) else { return };
            tasks.spawn(async move {
                serve(Wire::Plain(stream), peer, Speaker::default(), context).await;
                drop(permit);
            });
            return;
        };
        let shaking = door.shake(stream);
        tasks.spawn(async move {
            let mut stopping = context.stopping.clone();
            let shaken = tokio::select! {
                shaken = shaking => shaken,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            let (wire, speaker) = match shaken {
                Ok(stream) => {
                    let speaker = entrance.speaker(&stream);
                    (Wire::Tls(Box::new(stream.into())), speaker)
                }
                Err(failed) => {
                    context.refuse(failed.reason(), peer, &failed.to_string());
                    return;
                }
            };
            // Counted from here, so that those who only begin a handshake take nobody's place.
            if let Some(permit) = permit(&connections, &context, peer) {
                serve(wire, peer, speaker, context).await;
                drop(permit);
            }
        });
    }
}

/// A place among the connections. Without one a connection is closed at once: the sender sees it and
/// tries again, which hanging would hide.
fn permit(
    connections: &Arc<Semaphore>,
    context: &FeedContext,
    peer: SocketAddr,
) -> Option<tokio::sync::OwnedSemaphorePermit> {
    let permit = Arc::clone(connections).try_acquire_owned().ok();
    if permit.is_none() {
        context.refuse("limit", peer, "connections_max is reached");
    }
    permit
}

impl Entrance {
    /// Who the other side's certificate says it is.
    fn speaker(&self, stream: &TlsStream<TcpStream>) -> Speaker {
        let entries = self.door.iter().flat_map(|door| door.entries_of(stream));
        Speaker::of(entries.filter_map(|entry| self.clients.get(entry).cloned()).collect())
    }
}
