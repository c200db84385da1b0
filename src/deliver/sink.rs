//! Where releases go.
//!
//! Promises: a sink says of each release what became of it, once; what it has not confirmed
//! when it fails, it says is lost, and the route sends it again.
//! Knows nothing of: order; the route hands over what may go.

use crate::fence::Entered;
use crate::store::Position;

use super::file::FileSink;
use super::rabbitmq::RabbitSink;

/// Names a release while it is with the sink: the route's own number.
pub type Ticket = u64;

/// What became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Confirmed.
    Delivered,
    /// It was there already: written before a crash, and found again.
    Already,
    /// The broker would not take it: nacked.
    Nacked,
    /// The broker could not route it: returned.
    Returned,
    /// The connection broke before an answer.
    Lost,
}

/// Why a sink cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The broker cannot be reached, or refuses.
    #[error("{0}")]
    Broker(String),
    /// The file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Where a route delivers to.
#[derive(Debug)]
pub enum Sink {
    /// An exchange of RabbitMQ.
    Rabbit(Box<RabbitSink>),
    /// A file of lines.
    File(Box<FileSink>),
}

impl Sink {
    /// Makes the sink ready. `position` is how far the route has come for sure.
    ///
    /// # Errors
    /// It cannot be used now.
    pub async fn open(&mut self, position: Position) -> Result<(), SinkError> {
        match self {
            Self::Rabbit(sink) => sink.open().await,
            Self::File(sink) => tokio::task::block_in_place(|| sink.open(position)),
        }
    }

    /// Hands a release over.
    pub fn send(&mut self, entered: Entered, ticket: Ticket) {
        match self {
            Self::Rabbit(sink) => sink.send(entered, ticket),
            Self::File(sink) => sink.send(entered, ticket),
        }
    }

    /// Waits until something became of some release; never, where none was handed over.
    /// Cancelling loses nothing.
    ///
    /// # Errors
    /// The sink failed: what was not settled is lost, and the sink has to be opened again.
    pub async fn settle(&mut self) -> Result<Vec<(Ticket, Settled)>, SinkError> {
        match self {
            Self::Rabbit(sink) => sink.settle().await,
            Self::File(sink) if sink.is_idle() => std::future::pending().await,
            Self::File(sink) => tokio::task::block_in_place(|| sink.settle()),
        }
    }

    /// Gives up what was not settled, at once: nothing more of it is written.
    pub fn cut(&mut self) {
        match self {
            Self::Rabbit(sink) => sink.cut(),
            Self::File(sink) => sink.close(),
        }
    }

    /// Closes the sink, within a bound time.
    pub async fn close(&mut self) {
        match self {
            Self::Rabbit(sink) => sink.close().await,
            Self::File(sink) => sink.close(),
        }
    }
}
