//! What the poller is told of a notification.
//!
//! Promises: a bound number wait; whoever asks learns when what came is committed.
//! Knows nothing of: HTTP, and how resources are taken.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::feed::fhir::page::Listed;
use crate::feed::mllp::budget::Share;

/// Notifications that wait for the poller. It takes them between two pages; a server whose
/// notification finds no place is told so and comes again.
pub const WAITING_MAX: usize = 64;

/// A resource of the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Its type.
    pub kind: String,
    /// Its ID.
    pub id: String,
}

/// What is to be done about a notification.
#[derive(Debug)]
pub struct Notice {
    /// What came with it, in its order.
    pub brought: Vec<Brought>,
    /// Whether the server is to be asked at once, since there may be more; by which query, all where
    /// none is named.
    pub catch_up: Option<Option<Arc<str>>>,
    /// Its bytes in memory.
    pub share: Share,
    /// Where the answer goes.
    pub done: oneshot::Sender<Result<(), NotNow>>,
}

/// One thing that came.
#[derive(Clone, Debug)]
pub enum Brought {
    /// A resource, or that one was removed.
    Whole(Listed),
    /// The name of one, which is asked for.
    Named(Name),
}

/// It cannot be taken now: the server is to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow;

/// The way to the poller, and its end.
#[must_use]
pub fn notices() -> (mpsc::Sender<Notice>, mpsc::Receiver<Notice>) {
    mpsc::channel(WAITING_MAX)
}
