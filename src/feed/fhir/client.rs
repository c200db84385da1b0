//! One FHIR server, asked one thing at a time.
//!
//! Promises: each call is one request, but for redirects within the server and for one more after a
//! 401; an address that is not the server's own is never asked; nothing is tried again that could
//! happen twice.
//! Knows nothing of: queries, pages, cursors; who calls again, and when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
pub use reqwest::{Method, Url};
use rustls::ClientConfig;

use super::auth::{Auth, Proof, Shown};
use super::base::Base;
use super::fault::{ContentType, FetchFault};
use super::stated::{self, Form};
use super::wire::{Answer, Ask, Wire};
use crate::clock;
use crate::metrics::ServerMetrics;
use crate::phi::Phi;
use crate::tls::Live;

/// FHIR JSON where the server can choose: it is what is mapped, and XML is turned into it.
const FORMS: &str = "application/fhir+json, application/json;q=0.9, application/fhir+xml;q=0.5, \
                     application/xml;q=0.4";
/// Redirects within the server that one call follows: a path that moved, and a slash at its end.
const REDIRECTS_MAX: usize = 2;

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The feed, as logs and metrics call the server.
    pub feed: Arc<str>,
    /// Where the server is.
    pub base: Base,
    /// How we say who we are.
    pub auth: Auth,
    /// By whom its certificate is verified, and our own.
    pub tls: Option<Arc<Live<ClientConfig>>>,
    /// Largest body, in bytes, after unpacking.
    pub page_bytes_max: usize,
    /// For the lookup of its name, the connection and the handshake together.
    pub connect_timeout: Duration,
    /// For one request, from its begin to the last byte of its answer.
    pub timeout: Duration,
}

/// What is known of an address from its last answer, so that it is sent again only when it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// `ETag`, as it was sent.
    pub etag: Option<String>,
    /// `Last-Modified`, as it was sent.
    pub last_modified: Option<String>,
}

/// An answer that can be used: its status is 2xx.
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// In which form the body is; none where there is no body.
    pub form: Option<Form>,
    /// The body, unpacked.
    pub body: Phi<Bytes>,
    /// What to say when the same is asked for again.
    pub known: Known,
    /// The server's clock, where it says so.
    pub date: Option<Timestamp>,
    /// Where what was made is, if it is the server's own.
    pub location: Option<Url>,
}

/// Asks one server.
pub struct Client {
    base: Base,
    page_bytes_max: usize,
    wire: Wire,
    proof: Proof,
    metrics: ServerMetrics,
}

impl Client {
    /// Makes no connection yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { feed, base, auth, tls, page_bytes_max, connect_timeout, timeout } = settings;
        let metrics = ServerMetrics::new(&feed);
        let proof = Proof::new(auth, &feed, &base, &metrics);
        let wire = Wire::new(tls, connect_timeout, timeout);
        Self { base, page_bytes_max, wire, proof, metrics }
    }

    /// Where the server is; its addresses are made by it.
    #[must_use]
    pub const fn base(&self) -> &Base {
        &self.base
    }

    /// Asks for what an address holds. Redirects are followed within the server, twice at most.
    ///
    /// # Errors
    /// See [`FetchFault`]; [`FetchFault::NotModified`] where it is what is known.
    pub async fn fetch(&self, url: &Url, known: &Known) -> Result<Fetched, FetchFault> {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)]
        {
            let value = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(&Method::GET, &url, &headers, None).await?;
            match self.elsewhere(&answer, &url)? {
                Some(next) => url = next,
                None => {
                    let fetched = self.fetched(answer, &url)?;
                    if fetched.body.expose().is_empty() {
                        return Err(FetchFault::WrongContentType(ContentType::Empty));
                    }
                    return Ok(fetched);
                }
            }
        }
        Err(FetchFault::Redirects)
    }

    /// Makes, replaces or removes a resource; the body is FHIR JSON. After a 401 it is sent once more
    /// with a new token, since it was not carried out; never again else. A redirect is a refusal.
    ///
    /// # Errors
    /// See [`FetchFault`].
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Option<Bytes>,
    ) -> Result<Fetched, FetchFault> {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/fhir+json"));
        }
        let answer = self.ask(&method, url, &headers, body).await?;
        self.fetched(answer, url)
    }

    /// One request, and one more with another proof where the first is refused (401).
    async fn ask(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Answer, FetchFault> {
        // Before anything else: a token must not go elsewhere.
        if !self.base.admits(url) {
            return Err(FetchFault::OtherOrigin);
        }
        let once = async |shown: Option<&Shown>| {
            let mut headers = headers.clone();
            headers.insert(ACCEPT, HeaderValue::from_static(FORMS));
            if let Some(value) = shown.and_then(Shown::header) {
                headers.insert(AUTHORIZATION, value);
            }
            let (method, body) = (method.clone(), body.clone());
            let bytes_max = self.page_bytes_max;
            self.counted(Ask { method, url, headers, body, bytes_max }).await
        };
        let shown = self.proof.show(&self.wire).await.map_err(FetchFault::NoToken)?;
        let answer = once(shown.as_ref()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let Some(refused) = shown else { return Err(FetchFault::Unauthorized) };
        let renewed = self.proof.renew(&self.wire, &refused).await.map_err(FetchFault::NoToken)?;
        let Some(renewed) = renewed else { return Err(FetchFault::Unauthorized) };
        let answer = once(Some(&renewed)).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(FetchFault::Unauthorized);
        }
        Ok(answer)
    }

    async fn counted(&self, ask: Ask<'_>) -> Result<Answer, FetchFault> {
        let begun = clock::monotonic();
        let answered = self.wire.exchange(ask).await;
        self.metrics.duration.record(clock::seconds_since(begun));
        self.metrics.requests.count(match &answered {
            Ok(answer) => match answer.status.as_u16() {
                200..=299 => "2xx",
                300..=399 => "3xx",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "none",
            },
            Err(_) => "none",
        });
        if answered.as_ref().is_ok_and(Answer::throttles) {
            self.metrics.throttled.increment(1);
        }
        answered
    }

    /// Where a redirect leads, if it is one.
    fn elsewhere(&self, answer: &Answer, from: &Url) -> Result<Option<Url>, FetchFault> {
        if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = answer.headers.get(LOCATION) else { return Ok(None) };
        let location = location.to_str().map_err(|_| FetchFault::OtherOrigin)?;
        self.base.linked(from, location).map(Some).map_err(|_| FetchFault::OtherOrigin)
    }

    fn fetched(&self, answer: Answer, url: &Url) -> Result<Fetched, FetchFault> {
        if let Some(fault) = answer.fault() {
            return Err(fault);
        }
        let Answer { status, headers, body } = answer;
        let form = match stated::form(&headers) {
            Ok(form) => Some(form),
            // What says nothing is of no type.
            Err(_) if body.is_empty() => None,
            Err(wrong) => return Err(FetchFault::WrongContentType(wrong)),
        };
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        Ok(Fetched {
            status: status.as_u16(),
            form,
            body: Phi::new(body.into()),
            known: Known {
                etag: stated::validator(&headers, ETAG),
                last_modified: stated::validator(&headers, LAST_MODIFIED),
            },
            date: stated::date(&headers),
            location: location.and_then(|location| self.base.linked(url, location).ok()),
        })
    }
}

// PROMISE-10: a body is a patient's.
impl fmt::Debug for Fetched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, form, .. } = self;
        write!(out, "Fetched({status}, {form:?}, {} bytes)", self.body.expose().len())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Client({})", self.base)
    }
}
