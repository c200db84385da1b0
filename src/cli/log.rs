//! Logs: one line an event, to standard error, JSON when that is not a terminal.
//!
//! Promises: no patient data (PROMISE-10): what is logged are names of the configuration,
//! places and IDs; a log that nobody reads fast enough loses lines, counted, and holds up nothing.
//! Knows nothing of: what is logged.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait to be written.
const LINES_MAX: usize = 10_000;

/// How much is logged of tidegate; of the libraries it uses, warnings at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verbosity {
    /// What stops something.
    Error,
    /// What somebody should look at.
    Warn,
    /// What begins and ends.
    Info,
    /// Each connection.
    Debug,
    /// Everything.
    Trace,
}

impl From<Verbosity> for Level {
    fn from(verbosity: Verbosity) -> Self {
        match verbosity {
            Verbosity::Error => Self::ERROR,
            Verbosity::Warn => Self::WARN,
            Verbosity::Info => Self::INFO,
            Verbosity::Debug => Self::DEBUG,
            Verbosity::Trace => Self::TRACE,
        }
    }
}

/// Writes what waits when it is dropped.
#[derive(Debug)]
pub struct Guard {
    _worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl Guard {
    /// Lines that were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Sets logging up for the life of the process.
#[must_use]
pub fn init(verbosity: Verbosity) -> Guard {
    let (writer, worker): (NonBlocking, _) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    // lapin logs what it sends at its lowest level, and its errors are logged by the route.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lapin", LevelFilter::OFF)
        .with_target("tidegate", Level::from(verbosity));
    let registry = tracing_subscriber::registry().with(filter);
    if std::io::stderr().is_terminal() {
        registry.with(tracing_subscriber::fmt::layer().with_writer(writer)).init();
    } else {
        let json = tracing_subscriber::fmt::layer().json().flatten_event(true);
        registry.with(json.with_writer(writer)).init();
    }
    Guard { _worker: worker, dropped }
}
