//! Who may ask what.
//!
//! Promises: closed unless opened: without users and without `dev` the API is not there; a
//! token is compared in constant time, and never logged; a request of a page of another site
//! (an `Origin`, or a `Host` that is not ours) is refused.
//! Knows nothing of: what is asked.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};

/// What a user may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Lists, without patient data.
    Viewer,
    /// Messages as they came, too; and what changes something.
    Operator,
}

/// Somebody who may ask.
#[derive(Clone, Debug)]
pub struct User {
    /// The name, for the log.
    pub name: String,
    /// What may be asked.
    pub role: Role,
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
}

/// Who may ask the API.
#[derive(Clone, Debug)]
pub enum Access {
    /// Nobody: it is not there.
    Closed,
    /// Everybody on this machine.
    Dev,
    /// Who has a token.
    Users(Vec<User>),
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The API is not there.
    NotThere,
    /// Who is it?
    Unknown,
    /// Not this one.
    NotAllowed,
}

impl Access {
    /// Whether a request may do what a role may; the user's name.
    ///
    /// # Errors
    /// Why not.
    pub fn allow(&self, headers: &HeaderMap, wanted: Role) -> Result<String, Denied> {
        if headers.contains_key(ORIGIN) {
            return Err(Denied::NotAllowed);
        }
        match self {
            Self::Closed => Err(Denied::NotThere),
            Self::Dev if is_local(headers) => Ok("dev".to_owned()),
            Self::Dev => Err(Denied::NotAllowed),
            Self::Users(users) => {
                let token = headers
                    .get(AUTHORIZATION)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| value.strip_prefix("Bearer "))
                    .ok_or(Denied::Unknown)?;
                let hash = digest(&SHA256, token.trim().as_bytes());
                let same =
                    |user: &&User| verify_slices_are_equal(&user.token_hash, hash.as_ref()).is_ok();
                let user = users.iter().find(same).ok_or(Denied::Unknown)?;
                if user.role >= wanted { Ok(user.name.clone()) } else { Err(Denied::NotAllowed) }
            }
        }
    }
}

/// Whether the request was made to a name of this machine: a page that made its own name point
/// here would be seen by that name.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn users() -> Access {
        let user = |name: &str, role, token: &[u8]| User {
            name: name.to_owned(),
            role,
            token_hash: digest(&SHA256, token).as_ref().try_into().unwrap(),
        };
        Access::Users(vec![
            user("view", Role::Viewer, b"one"),
            user("operate", Role::Operator, b"two"),
        ])
    }

    #[test]
    fn every_role_may_what_it_may_and_nothing_else() {
        let bearer = |token: &str| headers(&[("authorization", &format!("Bearer {token}"))]);
        for (token, wanted, outcome) in [
            ("one", Role::Viewer, Ok("view".to_owned())),
            ("one", Role::Operator, Err(Denied::NotAllowed)),
            ("two", Role::Viewer, Ok("operate".to_owned())),
            ("two", Role::Operator, Ok("operate".to_owned())),
            ("three", Role::Viewer, Err(Denied::Unknown)),
            ("", Role::Viewer, Err(Denied::Unknown)),
        ] {
            assert_eq!(users().allow(&bearer(token), wanted), outcome, "{token}");
        }
        assert_eq!(users().allow(&headers(&[]), Role::Viewer), Err(Denied::Unknown));
        assert_eq!(Access::Closed.allow(&bearer("two"), Role::Viewer), Err(Denied::NotThere));
    }

    #[test]
    fn a_page_of_another_site_cannot_ask() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "127.0.0.1"] {
            assert!(Access::Dev.allow(&headers(&[("host", host)]), Role::Operator).is_ok());
        }
        for refused in [
            headers(&[("host", "evil.example:8080")]),
            headers(&[("host", "localhost.evil.example")]),
            headers(&[("host", "127.0.0.1.evil.example:8080")]),
            headers(&[("host", "localhost:8080"), ("origin", "http://evil.example")]),
            headers(&[]),
        ] {
            assert_eq!(Access::Dev.allow(&refused, Role::Viewer), Err(Denied::NotAllowed));
        }
    }
}
