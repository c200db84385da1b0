//! What a token endpoint grants (RFC 6749, section 5).
//!
//! Promises: a token is bounded, and one that a header can hold; how long it is good for is known,
//! whatever the endpoint says of it.
//! Knows nothing of: asking for it.

use std::time::Duration;

use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::held::TOKEN_BYTES_MAX;
use crate::feed::fhir::fault::TokenFault;
use crate::secret::Secret;

/// What is taken where the endpoint does not say: what SMART recommends at most.
const LIFETIME: Duration = Duration::from_secs(300);
/// The longest that is believed: a slip of the endpoint's is mended within a day.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);
/// How long before its end a token is no longer shown: a request may take as long, and clocks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// The error codes of RFC 6749, section 5.2. Closed, so that a log holds none of a server's own words.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// A token.
#[derive(Debug)]
pub(super) struct Grant {
    /// The value of `Authorization`.
    pub value: Secret,
    /// How long it is good for.
    pub lifetime: Duration,
}

impl Grant {
    /// Reads an answer.
    pub(super) fn read(body: &Secret) -> Result<Self, TokenFault> {
        let wrong = |what| Err(TokenFault::Answer(what));
        let Ok(Json::Object(mut answer)) = serde_json::from_slice(body.expose()) else {
            return wrong("is no JSON object");
        };
        let Some(Json::String(token)) = answer.remove("access_token") else {
            return wrong("holds no access_token");
        };
        let token = Zeroizing::new(token);
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return wrong("holds an access_token that is empty or longer than 16 KiB");
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("holds an access_token that no header can hold");
        }
        // Required, and left out by some.
        let kind = answer.get("token_type").map(|kind| kind.as_str().unwrap_or_default());
        if !kind.unwrap_or("bearer").eq_ignore_ascii_case("bearer") {
            return wrong("holds a token of another token_type than bearer");
        }
        let value = Secret::new([b"Bearer ", token.as_bytes()].concat());
        Ok(Self { value, lifetime: lifetime(answer.get("expires_in")) })
    }

    /// How long it is shown: not to its end, and where it is short, for most of it.
    pub(super) fn shown_for(&self) -> Duration {
        self.lifetime.saturating_sub(MARGIN.min(self.lifetime / 4))
    }
}

/// The error code of a refusal; empty where there is none that is known.
pub(super) fn error_code(body: &[u8]) -> &'static str {
    let body: Json = serde_json::from_slice(body).unwrap_or_default();
    let code = body.get("error").and_then(Json::as_str);
    ERRORS.into_iter().find(|known| Some(*known) == code).unwrap_or_default()
}

/// `expires_in`: seconds as a number, or as text, as some write it. What is no time at all is as if it
/// were not there; what has ended already is good for one request.
fn lifetime(said: Option<&Json>) -> Duration {
    let seconds = match said {
        Some(Json::Number(number)) => number.as_f64(),
        Some(Json::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds.is_finite() => {
            Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LIFETIME_MAX).min(LIFETIME_MAX)
        }
        _ => LIFETIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, u64), String> {
        let grant = Grant::read(&Secret::new(text.as_bytes().to_vec()));
        let told = |grant: Grant| {
            (String::from_utf8(grant.value.expose().to_vec()).unwrap(), grant.shown_for().as_secs())
        };
        grant.map(told).map_err(|fault| fault.to_string())
    }

    #[test]
    fn how_long_a_token_is_shown_is_known_whatever_is_said() {
        for (said, wanted) in [
            ("300", 240),
            ("3600", 3540),
            ("60", 45),
            ("\"3600\"", 3540),
            ("3600.5", 3540),
            ("0", 0),
            ("-5", 0),
            ("1e300", 86_340),
            ("99999999999999999999", 86_340),
            ("\"soon\"", 240),
            ("null", 240),
            ("[]", 240),
        ] {
            let text = format!(
                "{{\"access_token\":\"abc\",\"token_type\":\"Bearer\",\"expires_in\":{said}}}"
            );
            assert_eq!(read(&text), Ok(("Bearer abc".to_owned(), wanted)), "{said}");
        }
        assert_eq!(read("{\"access_token\":\"abc\"}"), Ok(("Bearer abc".to_owned(), 240)));
    }

    /// PROMISE-10
    #[test]
    fn an_answer_without_a_usable_token_says_what_it_lacks_and_quotes_nothing() {
        let long = format!("{{\"access_token\":\"{}\"}}", "Z".repeat(TOKEN_BYTES_MAX + 1));
        for (text, wanted) in [
            ("", "is no JSON object"),
            ("<html>ZZ</html>", "is no JSON object"),
            ("[]", "is no JSON object"),
            ("{\"access_token\":7}", "holds no access_token"),
            ("{\"id_token\":\"ZZ\"}", "holds no access_token"),
            (
                "{\"access_token\":\"ZZ\\r\\nX: 1\"}",
                "holds an access_token that no header can hold",
            ),
            (
                "{\"access_token\":\"\"}",
                "holds an access_token that is empty or longer than 16 KiB",
            ),
            (&long, "holds an access_token that is empty or longer than 16 KiB"),
            (
                "{\"access_token\":\"ZZ\",\"token_type\":\"mac\"}",
                "holds a token of another token_type than bearer",
            ),
        ] {
            assert_eq!(read(text), Err(format!("the token endpoint's answer {wanted}")));
        }
    }

    #[test]
    fn a_refusal_is_told_by_the_codes_of_the_standard() {
        assert_eq!(error_code(b"{\"error\":\"invalid_client\"}"), "invalid_client");
        for other in [&b"{\"error\":\"ZZ\"}"[..], b"{\"error\":7}", b"<html>", b""] {
            assert_eq!(error_code(other), "");
        }
    }
}
