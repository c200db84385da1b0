//! Tokens that we ask for: SMART Backend Services (STU 2), by an assertion that our key signed.
//!
//! Promises: one token at a time, asked for once however many requests want it; shown until shortly
//! before its end; after a refusal another one, and not again within seconds; an endpoint that fails
//! is asked ever more rarely; an assertion goes to the token endpoint alone.
//! Knows nothing of: what tokens are shown for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::Gauge;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use tokio::sync::Mutex;

use super::assertion::assertion;
use super::discovery::discover;
use super::grant::{Grant, error_code};
use super::key::SigningKey;
use super::{Shown, Smart};
use crate::clock;
use crate::feed::fhir::base::Base;
use crate::feed::fhir::fault::{FetchFault, TokenFault};
use crate::feed::fhir::stated;
use crate::feed::fhir::wire::{Answer, Ask, Wire};
use crate::pace::Backoff;
use crate::secret::Secret;

/// Largest answer of a token endpoint, in bytes: the longest token that is taken, and what goes with it.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long an endpoint that refused us is left alone: it needs somebody to do something, and some lock
/// out who asks too often.
const REFUSED_REST: Duration = Duration::from_secs(60);
/// How long before a key that cannot be used is looked at again.
const KEY_REST: Duration = Duration::from_secs(10);
/// The longest that an endpoint's `Retry-After` is obeyed.
const REST_MAX: Duration = Duration::from_secs(3_600);
/// A token that is refused so soon after it replaced a refused one is not replaced: another would be
/// refused, too.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
/// How far clocks may differ before it is told where an assertion is refused, in seconds: what is left
/// of the five minutes of an assertion.
const SKEW_MAX_S: i64 = 60;

/// Asks for tokens, and keeps the newest.
pub struct Tokens {
    smart: Smart,
    feed: Arc<str>,
    base: Base,
    expiry: Gauge,
    /// Held while a token is asked for, so that who comes meanwhile finds it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How many there were.
    number: u64,
    /// When one was replaced last because it was refused.
    renewed_at: Option<Duration>,
    /// Why there is none, and until when nobody asks again.
    rest: Option<(TokenFault, Duration)>,
    backoff: Backoff,
}

struct Token {
    value: Secret,
    number: u64,
    /// Until when it is shown, by the monotonic clock.
    until: Duration,
}

impl Token {
    fn shown(&self) -> Shown {
        Shown { value: Secret::new(self.value.expose().to_vec()), number: self.number }
    }
}

impl Tokens {
    /// Asks for none yet.
    pub(super) fn new(smart: Smart, feed: Arc<str>, base: Base, expiry: Gauge) -> Self {
        Self { smart, feed, base, expiry, state: Mutex::default() }
    }

    /// The token there is, or a new one.
    pub(super) async fn show(&self, wire: &Wire) -> Result<Shown, TokenFault> {
        let mut state = self.state.lock().await;
        self.newest(wire, &mut state).await
    }

    /// Another token than the one that was refused; nothing where that would be refused, too.
    pub(super) async fn renew(
        &self,
        wire: &Wire,
        refused: u64,
    ) -> Result<Option<Shown>, TokenFault> {
        let mut state = self.state.lock().await;
        let now = clock::monotonic();
        if state.token.as_ref().is_some_and(|token| token.number == refused) {
            let lately = state.renewed_at.is_some_and(|at| now.saturating_sub(at) < RENEW_INTERVAL);
            if lately {
                return Ok(None);
            }
            state.token = None;
            state.renewed_at = Some(now);
            tracing::info!(feed = %self.feed, "the server refuses the token; another is asked for");
        }
        self.newest(wire, &mut state).await.map(Some)
    }

    async fn newest(&self, wire: &Wire, state: &mut State) -> Result<Shown, TokenFault> {
        let now = clock::monotonic();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.until) {
            return Ok(token.shown());
        }
        if let Some((fault, until)) = &state.rest
            && now < *until
        {
            return Err(fault.clone());
        }
        match self.ask(wire).await {
            Ok(grant) => Ok(self.keep(state, grant)),
            Err(fault) => {
                let rest = rest(&fault, &mut state.backoff);
                state.rest = Some((fault.clone(), clock::monotonic() + rest));
                tracing::warn!(feed = %self.feed, rest_s = rest.as_secs_f64(), "no token: {fault}");
                Err(fault)
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a time of a gauge")]
    fn keep(&self, state: &mut State, grant: Grant) -> Shown {
        state.backoff.reset();
        state.rest = None;
        state.number += 1;
        let ends = clock::now_ms() / 1_000;
        let lifetime = i64::try_from(grant.lifetime.as_secs()).unwrap_or(0);
        self.expiry.set(ends.saturating_add(lifetime) as f64);
        let until = clock::monotonic() + grant.shown_for();
        let token = Token { value: grant.value, number: state.number, until };
        let shown = token.shown();
        state.token = Some(token);
        shown
    }

    /// Asks for a token once.
    async fn ask(&self, wire: &Wire) -> Result<Grant, TokenFault> {
        let key = self.key().await?;
        let (url, old_scopes) = match &self.smart.token_url {
            Some(url) => (url.clone(), false),
            None => {
                let found = discover(wire, &self.base, &self.smart, key.algorithm()).await?;
                if let Some(doubt) = found.doubt {
                    tracing::warn!(feed = %self.feed, "a token may be refused: {doubt}");
                }
                (found.token_url, found.old_scopes)
            }
        };
        let answer = self.send(wire, &url, &key, old_scopes).await?;
        if answer.status.is_success() {
            return Grant::read(&Secret::new(answer.body));
        }
        match answer.fault() {
            Some(fault @ (FetchFault::Throttled { .. } | FetchFault::ServerError { .. })) => {
                Err(TokenFault::Endpoint(Box::new(fault)))
            }
            _ => {
                self.tell_skew(&answer);
                let (status, error) = (answer.status.as_u16(), error_code(&answer.body));
                Err(TokenFault::Refused { status, error })
            }
        }
    }

    async fn send(
        &self,
        wire: &Wire,
        url: &Url,
        key: &SigningKey,
        old_scopes: bool,
    ) -> Result<Answer, TokenFault> {
        let unsigned = || TokenFault::Key("the key does not sign".to_owned());
        let assertion = assertion(key, &self.smart.client_id, url.as_str(), clock::now())
            .ok_or_else(unsigned)?;
        let scope = self.smart.scope.text(old_scopes);
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let pairs = [
            ("grant_type", "client_credentials"),
            ("scope", &scope),
            ("client_assertion_type", kind),
            ("client_assertion", &assertion),
        ];
        // The query of an address has the form of a form.
        let form = Url::parse_with_params("form:", pairs).map_err(|_| unsigned())?;
        let body = Bytes::copy_from_slice(form.query().unwrap_or_default().as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let type_of_form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, type_of_form);
        let bytes_max = ANSWER_BYTES_MAX;
        let ask = Ask { method: Method::POST, url, headers, body: Some(body), bytes_max };
        wire.exchange(ask).await.map_err(|fault| TokenFault::Endpoint(Box::new(fault)))
    }

    /// The key as it is in its file now, so that a new one is used with the next token. On a thread that
    /// may wait: the file's disk may hang.
    async fn key(&self) -> Result<SigningKey, TokenFault> {
        let (origin, algorithm) = (self.smart.key.clone(), self.smart.algorithm);
        let kid = self.smart.kid.clone();
        let read = tokio::task::spawn_blocking(move || {
            SigningKey::read(&origin, algorithm, kid.as_deref())
                .map_err(|fault| TokenFault::Key(format!("{}: {fault}", origin.place())))
        });
        read.await.map_err(|_| TokenFault::Key("it could not be looked at".to_owned()))?
    }

    /// An assertion is good for minutes: of clocks that differ by more the endpoint says nothing but
    /// `invalid_client`.
    fn tell_skew(&self, answer: &Answer) {
        let Some(theirs) = stated::date(&answer.headers) else { return };
        let skew_s = theirs.as_second() - clock::now().as_second();
        if skew_s.abs() > SKEW_MAX_S {
            tracing::warn!(
                feed = %self.feed,
                skew_s,
                "the token endpoint's clock differs from ours by more than assertions allow; \
                 positive: ours is behind"
            );
        }
    }
}

/// How long nobody asks again.
fn rest(fault: &TokenFault, backoff: &mut Backoff) -> Duration {
    match fault {
        TokenFault::Key(_) => KEY_REST,
        TokenFault::Refused { .. } => REFUSED_REST,
        TokenFault::Endpoint(fault) | TokenFault::Configuration(fault) => {
            let asked = fault.retry_after().unwrap_or_default().min(REST_MAX);
            asked.max(backoff.delay())
        }
        TokenFault::Discovery(_) | TokenFault::Answer(_) => backoff.delay(),
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tokens({})", self.base)
    }
}
