//! The socket that notifications come to.
//!
//! Promises: nobody is heard who does not prove to be the server, by a secret, a certificate, or both;
//! of what is wrong with a request the answer says what and no value; connections, heads, bodies, time
//! and wrong secrets have bounds (PROMISE-11).
//! Knows nothing of: what a notification says.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, to_bytes};
use axum::http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::ear::{self, Ear, Reply};
use super::notification::name_in;
use crate::feed::fhir::stated::{self, Form};
use crate::feed::mllp::allow::Allow;
use crate::feed::mllp::budget::Share;
use crate::feed::mllp::handshake::{Door, Failed};
use crate::feed::mllp::listener::{ListenError, listen_on};
use crate::feed::mllp::wire::keep_alive;
use crate::parse::fhir::Version;
use crate::parse::fhir::xml::transcribe;
use crate::secret::Secret;

/// How long the head of a request may take, and a connection lie unused between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest head, in bytes: a server's headers are a few hundred.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long who has a wrong secret waits for the answer.
const WRONG_PAUSE: Duration = Duration::from_secs(1);
/// How many wait so at once; of more, each is answered at once and its connection closed. So a secret can
/// be guessed at eight times a second, which for 128 bits is never.
const WRONG_MAX: usize = 8;
/// How long accepting pauses after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a server that comes too early is told to wait, in seconds.
const AGAIN: HeaderValue = HeaderValue::from_static("5");

/// Who is heard, and how much of whom.
pub struct Entrance {
    /// The path of all subscriptions, without a slash at its end.
    pub path: String,
    /// Most connections.
    pub connections_max: usize,
    /// From where; from everywhere where it is none.
    pub allow: Option<Allow>,
    /// By TLS, where it is there; then never in clear.
    pub door: Option<Arc<Door>>,
    /// The header that proves a request, and the digest of its value.
    pub proof: Option<Proof>,
    /// What the server speaks, for what comes in XML.
    pub version: Version,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// From the first byte of a body to the answer.
    pub timeout: Duration,
}

/// What a request is proven by. Its value is kept as a digest, by which values of any length compare in
/// the same time.
pub struct Proof {
    header: HeaderName,
    sum: [u8; 32],
}

impl Proof {
    /// The header, and the whole of its value.
    #[must_use]
    pub fn new(header: HeaderName, value: &Secret) -> Self {
        Self { header, sum: sum(value.expose()) }
    }

    fn holds(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.header).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        verify_slices_are_equal(&self.sum, &sum(value.as_bytes())).is_ok()
    }
}

fn sum(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    let of = digest(&SHA256, bytes);
    sum.iter_mut().zip(of.as_ref()).for_each(|(to, from)| *to = *from);
    sum
}

/// A bound socket.
pub struct Endpoint {
    listener: TcpListener,
    ear: Arc<Ear>,
    entrance: Arc<Entrance>,
    connections: Arc<Semaphore>,
    wrong: Arc<Semaphore>,
}

impl Endpoint {
    /// Binds the address.
    ///
    /// # Errors
    /// It is in use, or not ours.
    pub fn bind(
        address: SocketAddr,
        entrance: Entrance,
        ear: Arc<Ear>,
    ) -> Result<Self, ListenError> {
        let listener = listen_on(address, &ear.context.rules.feed)?;
        let connections = Arc::new(Semaphore::new(entrance.connections_max));
        let wrong = Arc::new(Semaphore::new(WRONG_MAX));
        Ok(Self { listener, ear, entrance: Arc::new(entrance), connections, wrong })
    }

    /// The feed's name.
    #[must_use]
    pub fn feed(&self) -> &str {
        &self.ear.context.rules.feed
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
        let mut stopping = self.ear.context.stopping.clone();
        let visit = Visit {
            ear: self.ear,
            entrance: self.entrance,
            connections: self.connections,
            wrong: self.wrong,
        };
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, peer)) => visit.take(stream, peer, &tasks),
                Err(error) => {
                    let feed = &visit.ear.context.rules.feed;
                    tracing::warn!(%feed, %error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What a connection is served with.
#[derive(Clone)]
struct Visit {
    ear: Arc<Ear>,
    entrance: Arc<Entrance>,
    connections: Arc<Semaphore>,
    wrong: Arc<Semaphore>,
}

impl Visit {
    fn take(&self, stream: TcpStream, peer: SocketAddr, tasks: &TaskTracker) {
        let context = &self.ear.context;
        if self.entrance.allow.as_ref().is_some_and(|allow| !allow.has(peer.ip())) {
            context.refuse("address", peer, "its address is in no network of `allow`");
            return;
        }
        if let Err(error) = keep_alive(&stream) {
            let feed = &context.rules.feed;
            tracing::debug!(%feed, %peer, %error, "the connection ended as it began");
            return;
        }
        let visit = self.clone();
        let mut stopping = context.stopping.clone();
        let Some(door) = &self.entrance.door else {
            let Some(permit) = self.permit(peer) else { return };
            tasks.spawn(async move {
                tokio::select! {
                    () = visit.serve(stream) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
                drop(permit);
            });
            return;
        };
        let shaking = door.shake(stream);
        tasks.spawn(async move {
            tokio::select! {
                () = visit.shaken(shaking, peer) => {}
                // What is under way is not answered, and the server sends it again.
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
    }

    fn permit(&self, peer: SocketAddr) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.connections).try_acquire_owned().ok();
        if permit.is_none() {
            self.ear.context.refuse("limit", peer, "connections_max is reached");
        }
        permit
    }

    async fn shaken(
        &self,
        shaking: impl Future<Output = Result<TlsStream<TcpStream>, Failed>>,
        peer: SocketAddr,
    ) {
        match shaking.await {
            Ok(stream) => {
                // Counted from here, so that those who only begin a handshake take nobody's place.
                if let Some(permit) = self.permit(peer) {
                    self.serve(stream).await;
                    drop(permit);
                }
            }
            Err(failed) => self.ear.context.refuse(failed.reason(), peer, &failed.to_string()),
        }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
            Ok::<_, Infallible>(self.answer(request.map(Body::new)).await)
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            // The library's words: what was wrong with HTTP, and nothing that was sent.
            tracing::debug!(feed = %self.ear.context.rules.feed, %error, "a connection ended");
        }
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let proven =
            self.entrance.proof.as_ref().is_none_or(|proof| proof.holds(request.headers()));
        if !proven {
            return self.refuse().await;
        }
        let method = request.method().clone();
        let Some((key, name)) = self.place(request.uri().path()) else {
            self.ear.metrics.notifications.count("unknown");
            return said(StatusCode::NOT_FOUND, "there is no such subscription");
        };
        if !matches!(method, Method::POST | Method::PUT | Method::DELETE) {
            return said(StatusCode::METHOD_NOT_ALLOWED, "notifications are sent by POST or PUT");
        }
        let heard = timeout(self.entrance.timeout, async {
            let (body, share) = self.body(request).await?;
            let removed = method == Method::DELETE;
            Ok(self.ear.hear(ear::Request { key, name, removed, body, share }).await)
        });
        match heard.await {
            Ok(Ok(Reply::Taken)) => said(StatusCode::OK, ""),
            Ok(Ok(Reply::Unknown)) => said(StatusCode::NOT_FOUND, "there is no such subscription"),
            Ok(Ok(Reply::NotRead(why))) => said(StatusCode::BAD_REQUEST, &why),
            Ok(Ok(Reply::NotNow)) => not_now(),
            Ok(Err((status, why))) => {
                self.ear.metrics.notifications.count("malformed");
                closing(said(status, why))
            }
            Err(_) => {
                self.ear.metrics.notifications.count("busy");
                closing(not_now())
            }
        }
    }

    /// Which subscription a path is of, and which resource it names.
    fn place(&self, path: &str) -> Option<(String, Option<super::notice::Name>)> {
        let rest = path.strip_prefix(self.entrance.path.as_str())?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let rest = rest.trim_matches('/');
        let (key, name) = match rest.matches('/').count() {
            0 => (rest, None),
            1 if self.ear.has("") => ("", Some(name_in(rest)?)),
            _ => {
                let (key, name) = rest.split_once('/')?;
                (key, Some(name_in(name)?))
            }
        };
        self.ear.has(key).then(|| (key.to_owned(), name))
    }

    async fn body(&self, request: Request<Body>) -> Result<(bytes::Bytes, Share), Refusal> {
        let (head, body) = request.into_parts();
        let bytes_max = self.entrance.body_bytes_max;
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "it is larger than body_bytes_max");
        if head.headers.get(CONTENT_ENCODING).is_some_and(|it| it.as_bytes() != b"identity") {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "it is packed, and is wanted plain"));
        }
        let length = head.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > bytes_max) {
            return Err(too_large);
        }
        let mut share = Share::default();
        self.ear.context.budget.grow(&mut share, length.unwrap_or(bytes_max)).await;
        let body = to_bytes(body, bytes_max).await.map_err(|_| too_large)?;
        self.ear.context.metrics.bytes.increment(body.len() as u64);
        if body.is_empty() {
            return Ok((body, share));
        }
        match stated::form(&head.headers) {
            Ok(Form::Json) => Ok((body, share)),
            Ok(Form::Xml) => {
                let read = || transcribe(&body, bytes_max, self.entrance.version);
                let json = tokio::task::block_in_place(read);
                let wrong = (StatusCode::BAD_REQUEST, "it is no FHIR XML");
                Ok((json.map_err(|_| wrong)?.into(), share))
            }
            Err(_) => Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "FHIR JSON or XML is wanted")),
        }
    }

    /// Who cannot prove to be the server is told so, slowly.
    async fn refuse(&self) -> Response<Body> {
        let context = &self.ear.context;
        self.ear.metrics.notifications.count("refused");
        if let Some(more) = context.quiet.due("notification-secret") {
            let feed = &context.rules.feed;
            tracing::warn!(%feed, more, "a notification was refused: its secret is missing or wrong");
        }
        let Ok(_place) = self.wrong.try_acquire() else {
            return closing(said(StatusCode::TOO_MANY_REQUESTS, "too many wrong secrets"));
        };
        sleep(WRONG_PAUSE).await;
        closing(said(StatusCode::UNAUTHORIZED, "the secret is missing or wrong"))
    }
}

type Refusal = (StatusCode, &'static str);

fn said(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

fn not_now() -> Response<Body> {
    let mut response = said(StatusCode::SERVICE_UNAVAILABLE, "it cannot be taken now");
    response.headers_mut().insert(RETRY_AFTER, AGAIN);
    response
}

/// The connection ends behind it: what is left of the request is not read.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Endpoint({})", self.feed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_proven_by_the_whole_value_of_one_header() {
        let proof = Proof::new(
            HeaderName::from_static("authorization"),
            &Secret::new(b"Bearer ZZs".to_vec()),
        );
        let headers = |values: &[&'static str]| {
            let name = HeaderName::from_static("authorization");
            values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        assert!(proof.holds(&headers(&["Bearer ZZs"])));
        for wrong in [
            &[][..],
            &["Bearer ZZ"],
            &["Bearer ZZss"],
            &["ZZs"],
            &[""],
            &["Bearer ZZs", "Bearer ZZs"],
        ] {
            assert!(!proof.holds(&headers(wrong)), "{wrong:?}");
        }
    }
}
