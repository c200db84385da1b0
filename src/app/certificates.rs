//! Certificates that are replaced while the daemon runs.
//!
//! Promises: what changed is used for the next handshake, and no connection ends by it; what is
//! wrong with it leaves the one before in use, and is told by log and metric until it is mended.
//! Knows nothing of: handshakes.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::config::Tls;
use crate::metrics::CertificateMetrics;
use crate::tls::roster::Roster;
use crate::tls::{Contents, Files, Live, Made, Wrong, client, server};

/// How often the files are read. By what they hold, since a copied file may be older than the one it
/// replaces; a few KiB each time.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The certificates of one feed.
pub struct Watched {
    feed: Arc<str>,
    files: Files,
    /// What was read last.
    last: Option<Contents>,
    /// What was wrong with it.
    wrong: Option<String>,
    side: Side,
    metrics: CertificateMetrics,
}

enum Side {
    Server(Arc<Live<ServerConfig>>, Roster),
    Client(Arc<Live<ClientConfig>>),
}

impl Watched {
    /// Those of a feed that is connected to, and what its handshakes take.
    pub fn server(
        feed: &Arc<str>,
        role: &'static str,
        tls: Tls<ServerConfig>,
        roster: &Roster,
    ) -> (Self, Arc<Live<ServerConfig>>) {
        let live = Arc::new(Live::new(Arc::clone(&tls.made.config)));
        let side = Side::Server(Arc::clone(&live), roster.clone());
        (Self::new(feed, role, tls, side), live)
    }

    /// Those of a feed that connects.
    pub fn client(
        feed: &Arc<str>,
        role: &'static str,
        tls: Tls<ClientConfig>,
    ) -> (Self, Arc<Live<ClientConfig>>) {
        let live = Arc::new(Live::new(Arc::clone(&tls.made.config)));
        (Self::new(feed, role, tls, Side::Client(Arc::clone(&live))), live)
    }

    fn new<T>(feed: &Arc<str>, role: &'static str, tls: Tls<T>, side: Side) -> Self {
        let Tls { files, contents, made } = tls;
        let metrics = CertificateMetrics::new(role, feed, files.ca.is_some(), files.crl.is_some());
        let mut watched = Self {
            feed: Arc::clone(feed),
            files,
            last: Some(contents),
            wrong: None,
            side,
            metrics,
        };
        watched.tell(&made);
        watched
    }

    /// Reads the files, and takes what they hold where it is new and right.
    fn look(&mut self) {
        let read = self.files.read();
        if let (Ok(contents), Some(last)) = (&read, &self.last)
            && contents == last
            && self.wrong.is_none()
        {
            return;
        }
        let taken = read.and_then(|contents| {
            let now = clock::now();
            let told = match &self.side {
                Side::Server(live, roster) => {
                    server::make(&contents, roster, now).map(|made| replace(live, made))
                }
                Side::Client(live) => client::make(&contents, now).map(|made| replace(live, made)),
            }?;
            Ok((contents, told))
        });
        match taken {
            Ok((contents, told)) => {
                let is_new = self.last.as_ref() != Some(&contents);
                self.last = Some(contents);
                self.wrong = None;
                self.tell(&told);
                if is_new {
                    tracing::info!(feed = %self.feed, "new certificates are in use");
                } else {
                    tracing::info!(feed = %self.feed, "the certificates in use are there again");
                }
            }
            Err(wrong) => self.complain(&wrong),
        }
    }

    /// Once for each thing that is wrong, not at each look.
    fn complain(&mut self, wrong: &Wrong) {
        self.metrics.reloaded.set(0.0);
        let text = self.files.say(wrong.part, &wrong.text);
        if self.wrong.as_ref() != Some(&text) {
            tracing::error!(feed = %self.feed, "the certificates before stay in use: {text}");
            self.wrong = Some(text);
        }
    }

    fn tell<T>(&mut self, made: &Made<T>) {
        self.metrics.set(made.ends.cert, made.ends.ca, made.ends.crl);
        self.metrics.reloaded.set(1.0);
        for (part, text) in &made.warnings {
            tracing::warn!(feed = %self.feed, "{}", self.files.say(*part, text));
        }
    }
}

/// What is told of what was made, without it.
fn replace<T>(live: &Live<T>, made: Made<T>) -> Made<()> {
    live.replace(made.config);
    Made { config: Arc::new(()), ends: made.ends, warnings: made.warnings }
}

/// Looks at all of them again and again, and whenever it is asked to.
pub async fn watch(mut all: Vec<Watched>, asked: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
    if all.is_empty() {
        return;
    }
    let mut every = interval(LOOK_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = asked.notified() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        // A file may be on a disk that hangs; it is none of the runtime's.
        let looked = tokio::task::spawn_blocking(move || {
            all.iter_mut().for_each(Watched::look);
            all
        });
        match looked.await {
            Ok(watched) => all = watched,
            Err(error) => {
                tracing::error!(%error, "certificates are no longer looked at");
                return;
            }
        }
    }
}
