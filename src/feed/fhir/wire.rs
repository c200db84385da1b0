//! One request and its answer.
//!
//! Promises: bounded in time and bytes; no redirect is followed, no proxy of the environment asked,
//! no cookie kept; of what failed, what it was, and nothing that was sent.
//! Knows nothing of: who asks, and by which proof; FHIR.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use rustls::{CertificateError, ClientConfig};
use tokio::time::timeout;

use super::body::{Packing, Taker};
use super::fault::{FetchFault, Handshake, Unreachable};
use super::stated;
use crate::tls::{self, Live};

/// How long a connection may lie unused: shorter than most servers wait, so that a request seldom
/// meets one that is just being closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Unused connections that are kept.
const IDLE_CONNECTIONS_MAX: usize = 2;
/// Largest body of an answer that is no success. An OperationOutcome is a few KiB.
const REFUSAL_BYTES_MAX: usize = 256 << 10;

/// Makes requests.
pub struct Wire {
    tls: Option<Arc<Live<ClientConfig>>>,
    connect_timeout: Duration,
    timeout: Duration,
    /// What keeps connections, with what its handshakes are made of.
    made: Mutex<Option<(Arc<ClientConfig>, reqwest::Client)>>,
}

/// What is asked.
pub struct Ask<'a> {
    /// How.
    pub method: Method,
    /// Where.
    pub url: &'a Url,
    /// With which headers.
    pub headers: HeaderMap,
    /// With which body.
    pub body: Option<Bytes>,
    /// Largest body of an answer that is a success, in bytes.
    pub bytes_max: usize,
}

/// What was answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, unpacked. Of an answer that is no success it is empty where it is too large.
    pub body: Vec<u8>,
}

impl Wire {
    /// Makes no connection yet. Without TLS no `https` is spoken.
    #[must_use]
    pub const fn new(
        tls: Option<Arc<Live<ClientConfig>>>,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Self {
        Self { tls, connect_timeout, timeout, made: Mutex::new(None) }
    }

    /// Asks once.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn exchange(&self, ask: Ask<'_>) -> Result<Answer, FetchFault> {
        let client = self.client()?;
        timeout(self.timeout, exchange(&client, ask))
            .await
            .map_err(|_| FetchFault::TimedOut(self.timeout))?
    }

    /// What keeps connections; another one since the certificates are others.
    fn client(&self) -> Result<reqwest::Client, FetchFault> {
        let unusable = || FetchFault::Unreachable(Unreachable::Tls(Handshake::Other));
        let newest = match &self.tls {
            Some(live) => live.take(),
            None => tls::client::nobody().map_err(|_| unusable())?,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*made
            && (Arc::ptr_eq(of, &newest) || self.tls.is_none())
        {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*newest).clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| unusable())?;
        *made = Some((newest, client.clone()));
        Ok(client)
    }
}

async fn exchange(client: &reqwest::Client, ask: Ask<'_>) -> Result<Answer, FetchFault> {
    let mut headers = ask.headers;
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let mut request = client.request(ask.method, ask.url.clone()).headers(headers);
    if let Some(body) = ask.body {
        request = request.body(body);
    }
    let mut response = request.send().await.map_err(|error| fault_of(&error))?;
    let status = response.status();
    let bytes_max = if status.is_success() { ask.bytes_max } else { REFUSAL_BYTES_MAX };
    let body = match body(&mut response, bytes_max).await {
        Ok(body) => body,
        // What was refused is known without why.
        Err(
            FetchFault::TooLarge { .. }
            | FetchFault::RatioTooLarge { .. }
            | FetchFault::BadEncoding,
        ) if !status.is_success() => Vec::new(),
        Err(fault) => return Err(fault),
    };
    Ok(Answer { status, headers: std::mem::take(response.headers_mut()), body })
}

async fn body(response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, FetchFault> {
    let packing = packing(response.headers())?;
    let mut taker = Taker::new(packing, response.content_length(), bytes_max);
    while let Some(piece) = response.chunk().await.map_err(|error| fault_of(&error))? {
        taker.take(&piece)?;
    }
    taker.finish()
}

/// How a body is packed: by what was asked for, or not at all.
fn packing(headers: &HeaderMap) -> Result<Packing, FetchFault> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    match (values.next().map(HeaderValue::as_bytes), values.next()) {
        (None, _) => Ok(Packing::Plain),
        (Some(only), None) => match only.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Packing::Plain),
            b"gzip" | b"x-gzip" => Ok(Packing::Gzip),
            _ => Err(FetchFault::BadEncoding),
        },
        (Some(_), Some(_)) => Err(FetchFault::BadEncoding),
    }
}

/// What went wrong, by what lies at the bottom of an error.
fn fault_of(error: &reqwest::Error) -> FetchFault {
    let mut at: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = at {
        if let Some(tls) = tls_of(cause) {
            return FetchFault::Unreachable(Unreachable::Tls(handshake(tls)));
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>()
            && http.is_parse()
        {
            return FetchFault::NotHttp;
        }
        at = cause.source();
    }
    if error.is_connect() {
        return FetchFault::Unreachable(if error.is_timeout() {
            Unreachable::Silent
        } else if error.is_dns() {
            Unreachable::Name
        } else {
            Unreachable::Connect
        });
    }
    FetchFault::Reset
}

/// An error of TLS, or one within errors of the operating system, whose `source` leaves out the one
/// that they hold.
fn tls_of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut at = error;
    while let Some(io) = at.downcast_ref::<io::Error>() {
        at = io.get_ref()?;
    }
    at.downcast_ref()
}

fn handshake(error: &rustls::Error) -> Handshake {
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer => Handshake::UnknownIssuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Handshake::Expired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Handshake::OtherName
            }
            _ => Handshake::Certificate,
        },
        rustls::Error::AlertReceived(_) => Handshake::Alert,
        _ => Handshake::Other,
    }
}

impl Answer {
    /// Whether the server wants fewer requests.
    #[must_use]
    pub fn throttles(&self) -> bool {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE => self.headers.contains_key(RETRY_AFTER),
            _ => false,
        }
    }

    /// What an answer that is no success comes to; of 401, 3xx and 304 by who asked.
    #[must_use]
    pub fn fault(&self) -> Option<FetchFault> {
        if self.status.is_success() {
            return None;
        }
        let status = self.status.as_u16();
        let retry_after = || {
            let date = stated::date(&self.headers);
            stated::retry_after(self.headers.get(RETRY_AFTER)?, date)
        };
        Some(match status {
            304 => FetchFault::NotModified,
            429 => FetchFault::Throttled { retry_after: retry_after() },
            500..=599 => FetchFault::ServerError { status, retry_after: retry_after() },
            _ => FetchFault::Refused { status, codes: stated::issue_codes(&self.body) },
        })
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Wire(..)")
    }
}
