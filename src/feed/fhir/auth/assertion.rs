//! An assertion: who we are, for the token endpoint, for a few minutes (RFC 7523, section 3; SMART
//! Backend Services, STU 2).
//!
//! Promises: each has an ID of its own and ends by itself; it names the one endpoint that it is for.
//! Knows nothing of: sending it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::key::SigningKey;
use crate::secret;

/// How long one is good for, in seconds. SMART allows five minutes from the server's time on; one of
/// them is left for a server whose clock is behind ours.
const LIFETIME_S: i64 = 240;

/// Makes one. Without `iat` and `nbf`, which SMART does not ask for: by them a server whose clock is a
/// second behind ours would call it one of the future.
pub(super) fn assertion(
    key: &SigningKey,
    client_id: &str,
    audience: &str,
    now: Timestamp,
) -> Option<Zeroizing<String>> {
    let header = json!({ "alg": key.algorithm().name(), "kid": key.kid(), "typ": "JWT" });
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": now.as_second() + LIFETIME_S,
        "jti": secret::random_name(32).ok()?,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut jwt = Zeroizing::new(format!("{}.{}", part(&header), part(&claims)));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(jwt.as_bytes())?);
    jwt.push('.');
    jwt.push_str(&signature);
    Some(jwt)
}
