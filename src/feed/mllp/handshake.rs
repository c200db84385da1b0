//! TLS before the first frame.
//!
//! Promises: a handshake ends within its time; of many under way the oldest gives way to the next,
//! so that those who begin one and do not go on keep nobody out.
//! Knows nothing of: frames; which certificates are good.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::{CertificateError, Error, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::Live;
use crate::tls::roster::Roster;

/// How long a handshake may take: it is two ways there and back, and a signature or two.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes of a feed that may be under way: as many as it may have connections, so that all of its
/// senders can come again at once after a restart, within these. A handshake holds some 40 KiB; a whole
/// one takes milliseconds, so that who has others pushed out has to begin so many within these.
const HANDSHAKES: std::ops::RangeInclusive<usize> = 64..=1024;

/// TLS of a feed that is connected to.
#[derive(Debug)]
pub struct Door {
    /// Replaced while the feed runs.
    pub live: Arc<Live<ServerConfig>>,
    /// Those who are let in, in the order of [`super::listener::Entrance::clients`].
    pub roster: Roster,
    under_way: Mutex<UnderWay>,
    under_way_max: usize,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    /// Oldest first. What is dropped tells its handshake to end.
    all: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Not in time.
    #[error("the TLS handshake took too long")]
    Late,
    /// Others began while it was under way.
    #[error("the TLS handshake was the oldest of too many under way")]
    GaveWay,
    /// The certificate is valid, and its bearer is not listed.
    #[error("its certificate bears no name of [[feed.client]]")]
    NotListed,
    /// The two cannot agree, or one does not trust the other's certificate.
    #[error("TLS: {0}")]
    Tls(String),
}

impl Failed {
    /// Word of a closed set, for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Late | Self::GaveWay => "handshake-timeout",
            Self::NotListed => "client",
            Self::Tls(_) => "tls",
        }
    }

    /// What the library said: a protocol's words and names of certificates, and nothing that was sent.
    pub(super) fn of(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                Self::NotListed
            }
            Some(Error::InvalidMessage(_)) => Self::Tls("the peer does not speak TLS".to_owned()),
            Some(error) => Self::Tls(error.to_string()),
            None => Self::Tls(error.kind().to_string()),
        }
    }
}

impl Door {
    /// The door of a feed that may have so many connections.
    #[must_use]
    pub fn new(live: Arc<Live<ServerConfig>>, roster: Roster, connections_max: usize) -> Self {
        let under_way_max = connections_max.clamp(*HANDSHAKES.start(), *HANDSHAKES.end());
        Self { live, roster, under_way: Mutex::default(), under_way_max }
    }

    /// Makes TLS of a connection. Its place among those under way is that of this call, and not of its
    /// first poll: tasks begin in any order, and who came last would be pushed out by who came first.
    ///
    /// # Errors
    /// It comes to nothing.
    pub fn shake(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> impl Future<Output = Result<TlsStream<TcpStream>, Failed>> + use<> {
        let door = Arc::clone(self);
        let (place, pushed_out) = self.begin();
        async move {
            let shaken = tokio::select! {
                biased;
                shaken = TlsAcceptor::from(door.live.take()).accept(stream) => {
                    shaken.map_err(|error| Failed::of(&error))
                }
                _ = pushed_out => Err(Failed::GaveWay),
                () = sleep(HANDSHAKE_TIMEOUT) => Err(Failed::Late),
            };
            door.end(place);
            shaken
        }
    }

    /// Which entries of the roster the other side's certificate bears the name of.
    #[must_use]
    pub fn entries_of(&self, stream: &TlsStream<TcpStream>) -> Vec<usize> {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        certificates.first().map_or_else(Vec::new, |first| self.roster.entries_of(first))
    }

    fn begin(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // PROMISE-11: who waits longest is least likely to be somebody.
        while under_way.all.len() >= self.under_way_max {
            under_way.all.pop_front();
        }
        let place = under_way.next;
        under_way.next += 1;
        under_way.all.push_back((place, sender));
        (place, receiver)
    }

    fn end(&self, place: u64) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.all.retain(|(other, _)| *other != place);
    }
}

/// TLS of a feed that connects.
pub struct Bell {
    /// Replaced while the feed runs.
    pub live: Arc<Live<rustls::ClientConfig>>,
    /// Whose certificate is wanted.
    pub name: rustls::pki_types::ServerName<'static>,
}

impl Bell {
    /// Makes TLS of a connection.
    ///
    /// # Errors
    /// It comes to nothing.
    pub async fn shake(
        &self,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failed> {
        let connector = TlsConnector::from(self.live.take());
        tokio::select! {
            shaken = connector.connect(self.name.clone(), stream) => {
                shaken.map_err(|error| Failed::of(&error))
            }
            () = sleep(HANDSHAKE_TIMEOUT) => Err(Failed::Late),
        }
    }
}
