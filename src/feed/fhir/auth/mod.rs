//! By what a FHIR server knows us.
//!
//! Promises: a password or a token goes to the server that it is for, and an assertion to the token
//! endpoint, and neither elsewhere; none of them is printed; after a refusal there is another one at
//! most once.
//! Knows nothing of: what is asked for.
//!
//! Reading order: here; [`held`] (what is in a file), [`tokens`] (what is asked for, SMART Backend
//! Services), [`grant`] (one token), [`discovery`] (from where), [`assertion`] and [`key`] (by which
//! proof), [`published`] (what others verify that by).

mod held;
mod tokens;
mod grant;
mod discovery;
mod assertion;
pub mod key;
pub mod published;

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::HeaderValue;

use self::held::Held;
use self::key::Algorithm;
use self::tokens::Tokens;
use super::base::Base;
use super::fault::TokenFault;
use super::wire::Wire;
use crate::metrics::ServerMetrics;
use crate::secret::{Origin, Secret};

pub use held::value as header_value;

/// How we say who we are, as meant.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Not at all, or by our certificate alone.
    #[default]
    None,
    /// By a token that somebody else sees to (RFC 6750).
    Bearer {
        /// Where it is.
        token: Origin,
    },
    /// By a name and a password (RFC 7617).
    Basic {
        /// The name.
        user: String,
        /// Where the password is.
        password: Origin,
    },
    /// By tokens that we ask for (SMART Backend Services, STU 2).
    SmartBackend(Box<Smart>),
}

impl Auth {
    /// Whether TLS is spoken for it, whatever the server itself speaks.
    #[must_use]
    pub fn asks_by_https(&self) -> bool {
        match self {
            Self::None | Self::Bearer { .. } | Self::Basic { .. } => false,
            Self::SmartBackend(smart) => {
                smart.token_url.as_ref().is_some_and(|url| url.scheme() == "https")
            }
        }
    }
}

/// What SMART Backend Services needs.
#[derive(Clone, Debug)]
pub struct Smart {
    /// The name that the server registered us by.
    pub client_id: String,
    /// Where the key is that signs.
    pub key: Origin,
    /// Keys that do not sign yet, or no more, and whose public halves are published, too.
    pub other_keys: Vec<Origin>,
    /// What the key is for; by the key where it is none.
    pub algorithm: Option<Algorithm>,
    /// The ID of the key; its thumbprint where it is none.
    pub kid: Option<String>,
    /// Where tokens are asked for; what the server says where it is none.
    pub token_url: Option<Url>,
    /// What is asked for.
    pub scope: Scope,
    /// Whether a token endpoint may be asked in clear.
    pub plain: bool,
}

/// What a token is asked to be good for.
#[derive(Clone, Debug)]
pub enum Scope {
    /// As it stands.
    Said(String),
    /// Reading and searching these types.
    Types(Vec<String>),
}

/// A proof, as a request holds it.
pub struct Shown {
    /// The value of `Authorization`.
    value: Secret,
    /// Which one it is, of those that there were.
    number: u64,
}

impl Shown {
    /// The value of `Authorization`.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_bytes(self.value.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What shows who we are.
#[derive(Debug)]
pub enum Proof {
    /// Nothing.
    None,
    /// What a file holds.
    Held(Arc<Held>),
    /// Tokens.
    Tokens(Box<Tokens>),
}

impl Proof {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(auth: Auth, feed: &Arc<str>, base: &Base, metrics: &ServerMetrics) -> Self {
        match auth {
            Auth::None => Self::None,
            Auth::Bearer { token } => Self::Held(Arc::new(Held::bearer(token))),
            Auth::Basic { user, password } => Self::Held(Arc::new(Held::basic(user, password))),
            Auth::SmartBackend(smart) => {
                let expiry = metrics.token_expiry.clone();
                Self::Tokens(Box::new(Tokens::new(*smart, Arc::clone(feed), base.clone(), expiry)))
            }
        }
    }

    /// What the next request shows.
    ///
    /// # Errors
    /// There is nothing to show.
    pub async fn show(&self, wire: &Wire) -> Result<Option<Shown>, TokenFault> {
        match self {
            Self::None => Ok(None),
            Self::Held(held) => Arc::clone(held).show().await.map(Some),
            Self::Tokens(tokens) => tokens.show(wire).await.map(Some),
        }
    }

    /// What to show in place of what was refused; nothing where there is nothing else.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn renew(&self, wire: &Wire, refused: &Shown) -> Result<Option<Shown>, TokenFault> {
        match self {
            Self::None => Ok(None),
            Self::Held(held) => Arc::clone(held).renew(refused.number).await,
            Self::Tokens(tokens) => tokens.renew(wire, refused.number).await,
        }
    }
}

// PROMISE-10: a token is not printed.
impl fmt::Debug for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Shown({}, ..)", self.number)
    }
}
