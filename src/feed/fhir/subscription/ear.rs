//! One notification and its answer.
//!
//! Promises: success is said when what came is committed, or, where it brought nothing, when the poll that
//! finds it is due, at once and at every start (PROMISE-1); numbers are kept behind that, so that a gap
//! is found again after a crash; an answer holds no value of what came.
//! Knows nothing of: sockets and secrets; how resources are taken.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};

use super::Wanted;
use super::notice::{Brought, Name, Notice};
use super::notification::{self, Kind, Resourced, Status, Told};
use super::state::Heard;
use crate::admit::entry::Kept;
use crate::clock;
use crate::feed::fhir::page::Listed;
use crate::feed::intake::FeedContext;
use crate::feed::mllp::budget::Share;
use crate::metrics::SubscriptionMetrics;
use crate::phi::Phi;

/// The kind of what is kept of subscriptions.
pub(super) const KEPT: &str = "subscription";
/// Most of them that a feed keeps: twice what it may have, so that those which come and go in the
/// configuration find theirs, and one that lists those that were made.
pub(super) const KEPT_MAX: u32 = 128;

/// What the notifications of a feed come to.
pub struct Ear {
    /// What the feed's tasks share.
    pub context: Arc<FeedContext>,
    /// What is counted.
    pub metrics: SubscriptionMetrics,
    /// What is listened for.
    pub subscribed: Vec<Subscribed>,
    /// Is told when a subscription says that something is wrong with it.
    pub trouble: Notify,
    server: String,
    types: Vec<&'static str>,
    notices: mpsc::Sender<Notice>,
}

/// A subscription that is listened for.
pub struct Subscribed {
    /// What it is.
    pub wanted: Wanted,
    known: Mutex<Known>,
    /// Held while a number is kept, so that they are kept in their order.
    heard: tokio::sync::Mutex<Option<Heard>>,
}

/// What is known of a subscription while the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its ID, where we made it; any is taken where it is none, since a server may shake hands before it
    /// says which ID it gave.
    pub id: Option<String>,
    /// When it was last heard, by the clock that only goes on.
    pub heard_at: Option<Duration>,
    /// It said of itself that it does not tell.
    pub is_down: bool,
}

/// What came.
pub struct Request {
    /// The last part of the path, without the name of a resource.
    pub key: String,
    /// The resource that the path names.
    pub name: Option<Name>,
    /// Whether it says that the resource was removed.
    pub removed: bool,
    /// What came.
    pub body: Bytes,
    /// Its bytes in memory.
    pub share: Share,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What it brought is committed.
    Taken,
    /// There is no such subscription.
    Unknown,
    /// It is no notification: why, without any value.
    NotRead(String),
    /// Not now: it is to be sent again.
    NotNow,
}

impl Ear {
    /// What nobody has spoken to yet. `server`: its address, under which numbers are kept.
    #[must_use]
    pub fn new(
        context: Arc<FeedContext>,
        metrics: SubscriptionMetrics,
        (server, types): (String, Vec<&'static str>),
        wanted: Vec<Wanted>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let subscribed = wanted.into_iter().map(Subscribed::new).collect();
        let trouble = Notify::new();
        Self { context, metrics, subscribed, trouble, server, types, notices }
    }

    /// Whether a path leads to a subscription.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.subscribed.iter().any(|it| it.wanted.key == key)
    }

    /// Hears one notification.
    pub async fn hear(&self, request: Request) -> Reply {
        let Request { key, name, removed, body, share } = request;
        let Some(first) = self.subscribed.iter().find(|it| it.wanted.key == key) else {
            return self.counted("unknown", Reply::Unknown);
        };
        if body.is_empty() {
            return self.bare(first, name, removed, share).await;
        }
        let bytes_max = body.len();
        // What comes is small; what a full page would take is read off the runtime's threads.
        let read = || notification::read(&body, bytes_max, &self.types);
        let read = if body.len() > 256 << 10 { tokio::task::block_in_place(read) } else { read() };
        match read {
            Ok(Told::Notification(status, brought)) => {
                self.notified(&key, status, brought, share).await
            }
            Ok(Told::Resource(resourced)) => self.resource(first, name, resourced, share).await,
            Err(wrong) => self.counted("malformed", Reply::NotRead(wrong.to_string())),
        }
    }

    /// Nothing but that something happened, or which resource it happened to.
    async fn bare(
        &self,
        of: &Subscribed,
        name: Option<Name>,
        removed: bool,
        share: Share,
    ) -> Reply {
        let brought = match name {
            Some(name) if !self.types.contains(&name.kind.as_str()) => {
                return self.counted("resource", Reply::Taken);
            }
            Some(Name { kind, id }) if removed => {
                vec![Brought::Whole(Listed::removed(format!("{kind}/{id}"), None))]
            }
            Some(name) => vec![Brought::Named(name)],
            None => Vec::new(),
        };
        of.heard_now(false);
        let word = if brought.is_empty() { "empty" } else { "resource" };
        let catch_up = brought.is_empty().then(|| of.wanted.query.clone());
        let reply = self.commit(brought, catch_up, share).await;
        self.counted(word, reply)
    }

    async fn resource(
        &self,
        of: &Subscribed,
        named: Option<Name>,
        resourced: Resourced,
        share: Share,
    ) -> Reply {
        if named.is_some() && named != resourced.name {
            let why = "the resource is another than the address names".to_owned();
            return self.counted("malformed", Reply::NotRead(why));
        }
        of.heard_now(false);
        let brought: Vec<Brought> = resourced.brought.into_iter().collect();
        if brought.is_empty() {
            return self.counted("resource", Reply::Taken);
        }
        let reply = self.commit(brought, None, share).await;
        self.counted("resource", reply)
    }

    async fn notified(
        &self,
        key: &str,
        status: Status,
        brought: Vec<Brought>,
        share: Share,
    ) -> Reply {
        let speaks = |it: &&Subscribed| it.wanted.key == key && it.is(&status.subscription);
        let Some(of) = self.subscribed.iter().find(speaks) else {
            return self.counted("unknown", Reply::Unknown);
        };
        let is_down = status.state.is_some_and(|state| !state.tells());
        of.heard_now(is_down);
        if is_down {
            self.trouble.notify_one();
        }
        let word = match status.kind {
            Kind::Handshake => "handshake",
            Kind::Heartbeat => "heartbeat",
            Kind::Event | Kind::QueryStatus | Kind::QueryEvent => "event",
        };
        let reply = match self.events(of, &status, brought, share).await {
            Ok(()) => Reply::Taken,
            Err(reply) => reply,
        };
        self.counted(word, reply)
    }

    async fn events(
        &self,
        of: &Subscribed,
        status: &Status,
        brought: Vec<Brought>,
        share: Share,
    ) -> Result<(), Reply> {
        let happened = matches!(status.kind, Kind::Event | Kind::QueryEvent);
        // Events without a name are empty; their resources are found by asking.
        let nameless =
            brought.is_empty() && status.events.iter().all(|event| event.focus.is_none());
        if happened && (nameless || !brought.is_empty()) {
            let catch_up = nameless.then(|| of.wanted.query.clone());
            taken(self.commit(brought, catch_up, share).await)?;
        }
        self.number(of, status).await
    }

    /// Keeps the numbers that came, and has the server asked where some did not.
    // PROMISE-1: behind the commit of what they count; a crash between them hears them again.
    async fn number(&self, of: &Subscribed, status: &Status) -> Result<(), Reply> {
        let mut held = of.heard.lock().await;
        let key = format!("heard {} {} {}", self.server, of.wanted.key, of.wanted.about);
        let before = match held.take() {
            Some(heard) => heard,
            None => self.kept(&key)?,
        };
        let mut heard = before.clone();
        let found = heard.hear(status);
        // Until it is kept it is not known.
        *held = Some(before.clone());
        if found.is_gap() {
            self.metrics.missed.increment(found.missed);
            tracing::warn!(
                feed = %self.context.rules.feed, subscription = %of.wanted.about,
                missed = found.missed, anew = found.anew,
                "notifications were missed; the server is asked what happened"
            );
            let catch_up = Some(of.wanted.query.clone());
            taken(self.commit(Vec::new(), catch_up, Share::default()).await)?;
        }
        if heard != before {
            let value = Some(Phi::new(heard.written()));
            let kept = Kept { kind: KEPT, key, value, most: KEPT_MAX };
            self.context.keep(vec![kept]).await.map_err(|_| Reply::NotNow)?;
            *held = Some(heard);
        }
        Ok(())
    }

    fn kept(&self, key: &str) -> Result<Heard, Reply> {
        match self.context.kept(KEPT, key) {
            Ok(found) => Ok(found.map(|kept| Heard::read(kept.expose())).unwrap_or_default()),
            Err(error) => {
                let feed = &self.context.rules.feed;
                tracing::error!(%feed, %error, "what was heard of a subscription cannot be read");
                Err(Reply::NotNow)
            }
        }
    }

    /// Has it taken, and waits until it is.
    async fn commit(
        &self,
        brought: Vec<Brought>,
        catch_up: Option<Option<Arc<str>>>,
        share: Share,
    ) -> Reply {
        let (done, answer) = oneshot::channel();
        // PROMISE-11: no more wait than have a place; the server comes again.
        if self.notices.try_send(Notice { brought, catch_up, share, done }).is_err() {
            return Reply::NotNow;
        }
        match answer.await {
            Ok(Ok(())) => Reply::Taken,
            Ok(Err(_)) | Err(_) => Reply::NotNow,
        }
    }

    /// Has the server asked what happened; nobody waits for it.
    pub(super) fn catch_up(&self, query: Option<Arc<str>>) {
        let (done, _) = oneshot::channel();
        let (brought, share) = (Vec::new(), Share::default());
        // Without a place others have it asked, or the next round does.
        drop(self.notices.try_send(Notice { brought, catch_up: Some(query), share, done }));
    }

    fn counted(&self, word: &'static str, reply: Reply) -> Reply {
        self.metrics.notifications.count(if reply == Reply::NotNow { "busy" } else { word });
        reply
    }
}

fn taken(reply: Reply) -> Result<(), Reply> {
    if reply == Reply::Taken { Ok(()) } else { Err(reply) }
}

impl Subscribed {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, known: Mutex::default(), heard: tokio::sync::Mutex::new(None) }
    }

    /// What is known of it now.
    #[must_use]
    pub fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is there under an ID; or about to be, under one that nobody knows yet.
    pub fn is_made(&self, id: Option<&str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.id = id.map(str::to_owned);
        known.is_down = false;
        // From now on it is waited for.
        known.heard_at = Some(clock::monotonic());
    }

    fn heard_now(&self, is_down: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.heard_at = Some(clock::monotonic());
        known.is_down = is_down;
    }

    /// Whether a notification of that ID is its own.
    fn is(&self, id: &str) -> bool {
        if !self.wanted.ids.is_empty() {
            return self.wanted.ids.iter().any(|known| known == id);
        }
        self.known().id.is_none_or(|known| known == id)
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Ear({}, {} subscriptions)", self.context.rules.feed, self.subscribed.len())
    }
}
