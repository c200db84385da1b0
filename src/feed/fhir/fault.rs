//! What can go wrong with a request to a FHIR server.
//!
//! Promises: a variant for each thing the world can do; none holds a value of a patient, an address
//! with a query, or a token.
//! Knows nothing of: what is done about it.

use std::time::Duration;

/// Why a request has no answer that can be used.
// PROMISE-10: status codes, codes of closed sets and lengths, never what a body, a header or an
// address said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// No connection came about.
    #[error("the server cannot be reached: {0}")]
    Unreachable(Unreachable),
    /// The answer was not there whole in time.
    #[error("the server did not answer whole within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The connection ended before the answer did.
    #[error("the connection ended within the answer")]
    Reset,
    /// What came is no HTTP answer, or its head is larger than any.
    #[error("what the server sent is no HTTP answer")]
    NotHttp,
    /// The body is larger than is taken.
    #[error("the answer is larger than {bytes_max} bytes (page_bytes_max)")]
    TooLarge {
        /// The bound, in bytes, after unpacking.
        bytes_max: usize,
    },
    /// A little gzip unpacks to very much.
    #[error("the answer unpacks to more than {ratio_max} times its size")]
    RatioTooLarge {
        /// The bound.
        ratio_max: usize,
    },
    /// The body is not packed as the head says, or broken.
    #[error("the answer is not packed as its head says")]
    BadEncoding,
    /// The body is neither FHIR JSON nor FHIR XML.
    #[error("the answer is {0}, and FHIR JSON or XML is wanted")]
    WrongContentType(ContentType),
    /// 429: too many requests.
    #[error("the server wants fewer requests (429)")]
    Throttled {
        /// How long to wait, where it says so.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the server failed ({status})")]
    ServerError {
        /// The status.
        status: u16,
        /// How long to wait, where it says so.
        retry_after: Option<Duration>,
    },
    /// Another 4xx: what was asked for is not answered, now and later.
    #[error("the server refuses ({status}{})", Codes(.codes))]
    Refused {
        /// The status.
        status: u16,
        /// The codes of the issues of its OperationOutcome (value set issue-type).
        codes: Vec<&'static str>,
    },
    /// 401, also with a token that is new.
    #[error("the server does not accept our proof of who we are (401)")]
    Unauthorized,
    /// An address, or a redirect, that is none of the server's own.
    #[error("it leads to another server, which is not asked")]
    OtherOrigin,
    /// More redirects than are followed.
    #[error("it leads on and on")]
    Redirects,
    /// Nothing has changed since (304).
    #[error("nothing has changed")]
    NotModified,
    /// There is no proof of who we are.
    #[error("no token: {0}")]
    NoToken(TokenFault),
}

/// Why no connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The name cannot be looked up.
    #[error("its name cannot be looked up")]
    Name,
    /// Nobody accepts.
    #[error("it does not accept connections")]
    Connect,
    /// The handshake failed.
    #[error("TLS: {0}")]
    Tls(Handshake),
    /// It does not answer in time.
    #[error("it does not accept a connection in time")]
    Silent,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Handshake {
    /// Nobody whom we trust vouches for the certificate.
    #[error("its certificate is of an authority that is not known (`tls.ca`)")]
    UnknownIssuer,
    /// The certificate is out of date.
    #[error("its certificate has expired, or is not valid yet")]
    Expired,
    /// The certificate is another's.
    #[error("its certificate is for another name")]
    OtherName,
    /// Anything else about the certificate.
    #[error("its certificate is not valid")]
    Certificate,
    /// It refused us.
    #[error("it refused the handshake; it may want a certificate of ours (`tls.cert`), or another")]
    Alert,
    /// Anything else.
    #[error("the handshake failed")]
    Other,
}

/// What a body is that is none of FHIR's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentType {
    /// `text/html`
    #[error("a page of HTML (a login, a proxy?)")]
    Html,
    /// `text/plain`
    #[error("plain text")]
    Text,
    /// No `Content-Type`.
    #[error("of no type")]
    None,
    /// A body of no bytes where a resource is wanted.
    #[error("empty")]
    Empty,
    /// Anything else.
    #[error("of another type")]
    Other,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// The key or the secret cannot be read or used; the text names the place.
    #[error("{0}")]
    Key(String),
    /// Where tokens are cannot be asked.
    #[error("the server's .well-known/smart-configuration: {0}")]
    Configuration(Box<FetchFault>),
    /// The server says nothing usable of where tokens are.
    #[error("the server's .well-known/smart-configuration {0}; `token_url` says it in its place")]
    Discovery(&'static str),
    /// The token endpoint cannot be asked.
    #[error("the token endpoint: {0}")]
    Endpoint(Box<FetchFault>),
    /// The token endpoint refuses.
    #[error("the token endpoint refuses ({status}{}{error})", if .error.is_empty() { "" } else { ", " })]
    Refused {
        /// The status.
        status: u16,
        /// The error code of RFC 6749, section 5.2; empty where there is none of them.
        error: &'static str,
    },
    /// The answer of the token endpoint holds no token that can be used.
    #[error("the token endpoint's answer {0}")]
    Answer(&'static str),
}

struct Codes<'c>(&'c [&'static str]);

impl std::fmt::Display for Codes<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|code| write!(out, ", {code}"))
    }
}

impl FetchFault {
    /// How long the server asks to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } | Self::ServerError { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the same request may well be answered later, without anybody doing anything.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::TimedOut(_)
            | Self::Reset
            | Self::NotHttp
            | Self::BadEncoding
            | Self::Throttled { .. }
            | Self::ServerError { .. }
            // A proxy's page, most of the time.
            | Self::WrongContentType(_)
            | Self::Unauthorized
            | Self::NoToken(_) => true,
            Self::TooLarge { .. }
            | Self::RatioTooLarge { .. }
            | Self::Refused { .. }
            | Self::OtherOrigin
            | Self::Redirects
            | Self::NotModified => false,
        }
    }
}
