//! What a server states beside what was asked for: in headers, in an OperationOutcome.
//!
//! Promises: what is not understood is as if it were not there; what is kept of it is of closed sets,
//! or bounded.
//! Knows nothing of: requests.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value as Json;

use super::fault::ContentType;
use crate::clock;

/// The longest wait that is taken from a server, so that a slip of its clock does not end a feed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);
/// Longest validator that is kept: an ETag is a version number in most servers.
const VALIDATOR_BYTES_MAX: usize = 256;
/// Codes of an OperationOutcome that are told.
const CODES_MAX: usize = 8;

/// The codes of value set issue-type, R4 and R5. Closed, so that a log holds none of a server's own
/// words.
const ISSUE_TYPES: [&str; 33] = [
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "security",
    "login",
    "unknown",
    "expired",
    "forbidden",
    "suppressed",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "code-invalid",
    "extension",
    "too-costly",
    "business-rule",
    "conflict",
    "limited-filter",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
    "informational",
    "success",
];

/// In which form a resource came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// FHIR JSON.
    Json,
    /// FHIR XML.
    Xml,
}

/// In which form a body is, by its type alone: `charset` may be said, and FHIR is UTF-8 whatever it
/// says (3.2.0.2).
///
/// # Errors
/// It is none of FHIR's.
pub fn form(headers: &HeaderMap) -> Result<Form, ContentType> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Err(ContentType::None) };
    let whole = value.to_str().map_err(|_| ContentType::Other)?.to_ascii_lowercase();
    let name = whole.split(';').next().unwrap_or_default().trim();
    match name {
        // The last is what servers before R3 said.
        "application/fhir+json" | "application/json" | "text/json" | "application/json+fhir" => {
            Ok(Form::Json)
        }
        "application/fhir+xml" | "application/xml" | "text/xml" | "application/xml+fhir" => {
            Ok(Form::Xml)
        }
        "text/html" | "application/xhtml+xml" => Err(ContentType::Html),
        "text/plain" => Err(ContentType::Text),
        "" => Err(ContentType::None),
        _ => Err(ContentType::Other),
    }
}

/// The server's clock when it answered.
#[must_use]
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?)
}

/// How long to wait (RFC 9110, section 10.2.3): seconds, or a date, which is compared with the
/// server's own clock where it is known, since ours may differ. A day at most.
#[must_use]
pub fn retry_after(value: &HeaderValue, date: Option<Timestamp>) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than there are seconds is long.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let until = http_date(value)?;
    let wait = until.duration_since(date.unwrap_or_else(clock::now));
    Some(Duration::try_from(wait).unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// What is to be said when the same is asked for again, as it was sent.
#[must_use]
pub fn validator(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty() && text.len() <= VALIDATOR_BYTES_MAX).then(|| text.to_owned())
}

/// The codes of an OperationOutcome's issues, as far as they are of the value set.
#[must_use]
pub fn issue_codes(body: &[u8]) -> Vec<&'static str> {
    let known = |code: &str| ISSUE_TYPES.into_iter().find(|known| *known == code);
    let mut codes: Vec<&'static str> = match serde_json::from_slice::<Json>(body) {
        Ok(outcome) => {
            let issues = outcome.get("issue").and_then(Json::as_array);
            let issues = issues.map(Vec::as_slice).unwrap_or_default().iter();
            issues.filter_map(|issue| known(issue.get("code")?.as_str()?)).collect()
        }
        Err(_) => std::str::from_utf8(body)
            .unwrap_or_default()
            .split("<code value=\"")
            .skip(1)
            .filter_map(|rest| known(rest.split('"').next()?))
            .collect(),
    };
    codes.dedup();
    codes.truncate(CODES_MAX);
    codes
}

/// A date in one of the three forms of RFC 9110, section 5.6.7.
fn http_date(value: &HeaderValue) -> Option<Timestamp> {
    let time: SystemTime = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_content_type_is_read_without_its_parameters() {
        for (text, wanted) in [
            ("application/fhir+json", Ok(Form::Json)),
            ("application/fhir+json; charset=UTF-8; fhirVersion=4.0", Ok(Form::Json)),
            ("Application/JSON;charset=utf-8", Ok(Form::Json)),
            ("application/fhir+xml;charset=UTF-8", Ok(Form::Xml)),
            ("text/xml", Ok(Form::Xml)),
            ("text/html; charset=utf-8", Err(ContentType::Html)),
            ("text/plain", Err(ContentType::Text)),
            ("application/pdf", Err(ContentType::Other)),
            ("application/fhir+ndjson", Err(ContentType::Other)),
            ("; charset=utf-8", Err(ContentType::None)),
        ] {
            assert_eq!(form(&headers(&[("content-type", text)])), wanted, "{text}");
        }
        assert_eq!(form(&headers(&[])), Err(ContentType::None));
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_of_the_servers_clock() {
        let date = date(&headers(&[("date", "Sun, 22 Nov 2026 12:00:00 GMT")]));
        assert_eq!(date, Some("2026-11-22T12:00:00Z".parse().unwrap()));
        let wait = |text: &str| retry_after(&text.parse().unwrap(), date).map(|it| it.as_secs());
        for (text, wanted) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 22 Nov 2026 12:01:30 GMT", Some(90)),
            ("Sunday, 22-Nov-26 12:01:30 GMT", Some(90)),
            ("Sun Nov 22 12:01:30 2026", Some(90)),
            ("Sun, 22 Nov 2026 11:59:00 GMT", Some(0)),
            ("Sun, 22 Nov 2099 11:59:00 GMT", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(wait(text), wanted, "{text}");
        }
    }

    #[test]
    fn of_an_outcome_the_codes_of_the_value_set_are_told_and_nothing_else() {
        let json = br#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"too-costly",
            "diagnostics":"ZZPATIENT"},{"code":"ZZPATIENT"},{"code":"processing"},{"code":7}]}"#;
        assert_eq!(issue_codes(json), ["too-costly", "processing"]);
        let xml =
            br#"<OperationOutcome xmlns="http://hl7.org/fhir"><issue><severity value="error"/>
            <code value="not-found"/><diagnostics value="ZZPATIENT"/></issue></OperationOutcome>"#;
        assert_eq!(issue_codes(xml), ["not-found"]);
        let deep = "[".repeat(100_000);
        for none in [&b""[..], b"<html>", b"\xff", b"{\"issue\":7}", deep.as_bytes()] {
            assert_eq!(issue_codes(none), Vec::<&str>::new());
        }
    }

    #[test]
    fn a_validator_is_kept_as_it_was_sent_or_not_at_all() {
        let long = "x".repeat(VALIDATOR_BYTES_MAX + 1);
        let kept = |text: &str| validator(&headers(&[("etag", text)]), "etag".parse().unwrap());
        assert_eq!(kept("W/\"3\"").as_deref(), Some("W/\"3\""));
        assert_eq!(kept(&long), None);
        assert_eq!(kept(""), None);
    }
}
