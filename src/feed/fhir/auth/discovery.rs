//! What a FHIR server says of where its tokens are (SMART App Launch, STU 2: `.well-known`).
//!
//! Promises: it is asked of the FHIR server alone, and without any proof; a token endpoint in clear is
//! refused.
//! Knows nothing of: tokens.

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value as Json;

use super::key::Algorithm;
use super::{Scope, Smart};
use crate::feed::fhir::base::{Base, refuse_clear};
use crate::feed::fhir::fault::{FetchFault, TokenFault};
use crate::feed::fhir::wire::{Ask, Wire};

/// Where it is, below the base URL.
const PATH: &str = ".well-known/smart-configuration";
/// Its largest, in bytes. Real ones are 2 to 6 KiB.
const BYTES_MAX: usize = 64 << 10;

/// What it says.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    /// Where tokens are asked for.
    pub token_url: Url,
    /// Whether it knows scopes by their older form alone (`.read`, SMART 1).
    pub old_scopes: bool,
    /// What it says not to take that we are about to send.
    pub doubt: Option<&'static str>,
}

/// Asks for it.
pub(super) async fn discover(
    wire: &Wire,
    base: &Base,
    smart: &Smart,
    algorithm: Algorithm,
) -> Result<Configuration, TokenFault> {
    let url = base.below(PATH).map_err(|_| TokenFault::Discovery("has no address"))?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let ask = Ask { method: Method::GET, url: &url, headers, body: None, bytes_max: BYTES_MAX };
    let failed = |fault: FetchFault| TokenFault::Configuration(Box::new(fault));
    let answer = wire.exchange(ask).await.map_err(failed)?;
    if let Some(fault) = answer.fault() {
        return Err(failed(fault));
    }
    read(&answer.body, smart.plain, algorithm)
}

fn read(body: &[u8], plain: bool, algorithm: Algorithm) -> Result<Configuration, TokenFault> {
    let said: Json =
        serde_json::from_slice(body).map_err(|_| TokenFault::Discovery("is no JSON"))?;
    let token_url = said
        .get("token_endpoint")
        .and_then(Json::as_str)
        .ok_or(TokenFault::Discovery("names no token_endpoint"))?;
    let token_url = Url::parse(token_url)
        .map_err(|_| TokenFault::Discovery("names a token_endpoint that is no URL"))?;
    refuse_clear(&token_url, plain)
        .map_err(|_| TokenFault::Discovery("names a token_endpoint that is not https"))?;
    // What is not said is not refused.
    let lacks = |member: &str, wanted: &str| {
        let list = said.get(member).and_then(Json::as_array);
        list.is_some_and(|list| !list.iter().any(|it| it.as_str() == Some(wanted)))
    };
    let doubt = if lacks("token_endpoint_auth_methods_supported", "private_key_jwt") {
        Some("private_key_jwt is not among its token_endpoint_auth_methods_supported")
    } else if lacks("token_endpoint_auth_signing_alg_values_supported", algorithm.name()) {
        Some("our algorithm is not among its token_endpoint_auth_signing_alg_values_supported")
    } else {
        None
    };
    let has =
        |capability: &str| said.get("capabilities").is_some() && !lacks("capabilities", capability);
    let old_scopes = has("permission-v1") && !has("permission-v2");
    Ok(Configuration { token_url, old_scopes, doubt })
}

impl Scope {
    /// As it is sent: `system/Patient.rs`, or `system/Patient.read` where a server knows the older
    /// form alone.
    pub(super) fn text(&self, old: bool) -> String {
        match self {
            Self::Said(text) => text.clone(),
            Self::Types(types) => {
                let may = if old { "read" } else { "rs" };
                let each: Vec<String> =
                    types.iter().map(|of| format!("system/{of}.{may}")).collect();
                each.join(" ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_an_endpoint_that_is_not_in_clear() {
        for (text, wanted) in [
            (
                r#"{"token_endpoint":"https://auth.example/token"}"#,
                Ok("https://auth.example/token"),
            ),
            (r#"{"token_endpoint":"http://127.0.0.1:9/token"}"#, Ok("http://127.0.0.1:9/token")),
            (
                r#"{"token_endpoint":"http://auth.example/token"}"#,
                Err("names a token_endpoint that is not https"),
            ),
            (
                r#"{"token_endpoint":"file:///etc/passwd"}"#,
                Err("names a token_endpoint that is not https"),
            ),
            (r#"{"token_endpoint":"/token"}"#, Err("names a token_endpoint that is no URL")),
            (r#"{"authorization_endpoint":"https://a.example"}"#, Err("names no token_endpoint")),
            ("<html>", Err("is no JSON")),
        ] {
            let found = read(text.as_bytes(), false, Algorithm::Es384);
            let found = found.map(|found| found.token_url.to_string());
            assert_eq!(found, wanted.map(str::to_owned).map_err(TokenFault::Discovery), "{text}");
        }
    }

    #[test]
    fn what_a_server_says_it_does_not_take_is_noticed() {
        let doubt = |rest: &str| {
            let text = format!("{{\"token_endpoint\":\"https://auth.example/token\"{rest}}}");
            read(text.as_bytes(), false, Algorithm::EdDsa).unwrap().doubt.is_some()
        };
        assert!(!doubt(""));
        assert!(doubt(r#","token_endpoint_auth_methods_supported":["client_secret_basic"]"#));
        assert!(doubt(r#","token_endpoint_auth_signing_alg_values_supported":["RS384","ES384"]"#));
        assert!(!doubt(
            r#","token_endpoint_auth_methods_supported":["private_key_jwt"],
               "token_endpoint_auth_signing_alg_values_supported":["EdDSA"]"#
        ));
    }

    #[test]
    fn scopes_are_asked_for_in_the_form_that_the_server_knows() {
        let scope = Scope::Types(vec!["Patient".to_owned(), "Encounter".to_owned()]);
        let old = |capabilities: &str| {
            let text = format!("{{\"token_endpoint\":\"https://a.example/\"{capabilities}}}");
            read(text.as_bytes(), false, Algorithm::Es384).unwrap().old_scopes
        };
        assert!(!old(""));
        assert!(!old(r#","capabilities":["permission-v1","permission-v2"]"#));
        assert!(old(r#","capabilities":["client-confidential-asymmetric","permission-v1"]"#));
        assert_eq!(scope.text(false), "system/Patient.rs system/Encounter.rs");
        assert_eq!(scope.text(true), "system/Patient.read system/Encounter.read");
        assert_eq!(Scope::Said("system/*.read".to_owned()).text(false), "system/*.read");
    }
}
