//! Application acknowledgements that go to another address than the message came from.
//!
//! Promises: what waits has a bound in number and in time, and nothing in intake waits for it; what
//! could not be sent is counted and told. One that is lost, as by a crash, comes again with its
//! message: a resend gets its acknowledgements again.
//! Knows nothing of: what they say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::quiet::Quiet;
use crate::clock;
use crate::metrics::ByWord;
use crate::pace::Backoff;

/// Most acknowledgements that wait. Some hundred bytes each; with more, the other side has been gone
/// for long.
const WAITING_MAX: usize = 4_096;
/// How long one is tried. A sender that has not heard for so long has asked or sent again.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long connecting, and how long writing may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of what the other side says that are read away at once; nothing is expected of it.
const IGNORED_BYTES_MAX: usize = 64 << 10;

/// Takes acknowledgements.
#[derive(Debug)]
pub struct Outbox {
    waiting: mpsc::Sender<Waiting>,
    results: Results,
}

/// Sends them, one after the other, in their order.
#[derive(Debug)]
pub struct Outgoing {
    address: String,
    waiting: mpsc::Receiver<Waiting>,
    results: Results,
    stopping: watch::Receiver<bool>,
    stream: Option<TcpStream>,
}

/// What came of them, counted and told.
#[derive(Clone, Debug)]
struct Results {
    feed: Arc<str>,
    results: ByWord,
    quiet: Arc<Quiet>,
}

impl Results {
    fn dropped(&self) {
        self.results.count("dropped");
        if let Some(more) = self.quiet.due("dropped") {
            let feed = &self.feed;
            tracing::warn!(%feed, more, "an application acknowledgement could not be sent");
        }
    }
}

#[derive(Debug)]
struct Waiting {
    frame: Bytes,
    /// By [`clock::monotonic`], when it is given up.
    until: Duration,
}

/// Both ends of the way to `address`, a host and a port.
#[must_use]
pub fn outbox(
    feed: &Arc<str>,
    address: &str,
    results: ByWord,
    stopping: watch::Receiver<bool>,
) -> (Outbox, Outgoing) {
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let results = Results { feed: Arc::clone(feed), results, quiet: Arc::default() };
    let address = address.to_owned();
    let outgoing = Outgoing { address, waiting, results: results.clone(), stopping, stream: None };
    (Outbox { waiting: sender, results }, outgoing)
}

impl Outbox {
    /// Hands a framed acknowledgement over. With too many that wait it is dropped, counted and told: the
    /// message is kept, and was answered.
    pub fn put(&self, frame: Bytes) {
        let until = clock::monotonic() + PATIENCE;
        if self.waiting.try_send(Waiting { frame, until }).is_err() {
            self.results.dropped();
        }
    }
}

impl Outgoing {
    /// Sends until nobody can hand anything over any more.
    pub async fn run(mut self) {
        while let Some(next) = self.waiting.recv().await {
            if self.deliver(&next).await {
                self.results.results.count("sent");
            } else {
                self.results.dropped();
            }
        }
    }

    /// Tries until it is sent, given up, or the daemon stops.
    async fn deliver(&mut self, next: &Waiting) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let Err(error) = self.send(&next.frame).await else { return true };
            self.stream = None;
            let Results { feed, quiet, .. } = &self.results;
            if let Some(more) = quiet.due("unreachable") {
                tracing::warn!(%feed, %error, more, "application_ack: the other side cannot be reached");
            }
            let left = next.until.saturating_sub(clock::monotonic());
            if left.is_zero() || *self.stopping.borrow() {
                return false;
            }
            let delay = backoff.delay().min(left);
            let stopped = self.stopping.wait_for(|stopping| *stopping);
            // Stopped or not: it is tried once more.
            drop(timeout(delay, stopped).await);
        }
    }

    async fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        let open = self.stream.take().filter(is_open);
        let mut stream = match open {
            Some(stream) => stream,
            None => {
                timeout(STEP_TIMEOUT, TcpStream::connect(&self.address)).await.map_err(late)??
            }
        };
        timeout(STEP_TIMEOUT, stream.write_all(frame)).await.map_err(late)??;
        self.stream = Some(stream);
        Ok(())
    }
}

/// Whether the other side has not closed since the last write; what it said is read away.
fn is_open(stream: &TcpStream) -> bool {
    let mut ignored = [0; 4096];
    let mut bytes = 0;
    loop {
        match stream.try_read(&mut ignored) {
            Ok(0) => return false,
            Ok(read) => bytes += read,
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
        if bytes > IGNORED_BYTES_MAX {
            return false;
        }
    }
}
