//! What a server says that it can do: its CapabilityStatement (section 3.1.0.6, `GET [base]/metadata`).
//!
//! Promises: the version is what the server says and is never guessed from resources; of what it says
//! only closed words are kept.
//! Knows nothing of: HTTP.

use serde::Deserialize;

use super::query::TYPES;
use crate::parse::fhir::Version;

/// The version that a `fhirVersion` names (code system FHIR-version), by its first two numbers;
/// nothing for others.
fn release(fhir_version: &str) -> Option<Version> {
    let mut numbers = fhir_version.splitn(3, '.');
    let both = (numbers.next()?, numbers.next()?);
    // A patch number is there, a ballot's label behind it allowed for.
    numbers.next().filter(|patch| patch.starts_with(|digit: char| digit.is_ascii_digit()))?;
    match both {
        ("4", "0" | "3") => Some(Version::R4),
        ("5", "0") => Some(Version::R5),
        _ => None,
    }
}

/// The byte order mark, which some servers send though RFC 8259 forbids it.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What a server offers of what is polled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The version it says it speaks; nothing where that is none of ours.
    pub release: Option<Version>,
    /// The same, fit to be printed: digits, dots, letters and hyphens, 16 at most.
    pub version: String,
    /// By type: what `_include` gives its subject, and whether `_lastUpdated` is said to be searched by.
    of: Vec<(&'static str, Option<&'static str>, bool)>,
}

/// Why an answer is no CapabilityStatement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no CapabilityStatement")]
pub struct NotOne;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    resource_type: String,
    #[serde(default)]
    fhir_version: String,
    #[serde(default)]
    rest: Vec<Rest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rest {
    #[serde(default)]
    mode: String,
    #[serde(default)]
    resource: Vec<OfType>,
    #[serde(default)]
    search_param: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfType {
    #[serde(rename = "type", default)]
    name: String,
    #[serde(default)]
    search_include: Vec<String>,
    #[serde(default)]
    search_param: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    #[serde(default)]
    name: String,
}

/// What `_include` may name for the subject, the wider first: `patient` leaves out what is no Patient.
const SUBJECTS: [(&str, [&str; 2]); 5] = [
    ("Consent", ["Consent:patient", "Consent:subject"]),
    ("Encounter", ["Encounter:subject", "Encounter:patient"]),
    ("Condition", ["Condition:subject", "Condition:patient"]),
    ("DiagnosticReport", ["DiagnosticReport:subject", "DiagnosticReport:patient"]),
    ("Observation", ["Observation:subject", "Observation:patient"]),
];

impl Offers {
    /// Reads a CapabilityStatement.
    ///
    /// # Errors
    /// It is none.
    pub fn read(json: &[u8]) -> Result<Self, NotOne> {
        let json = json.strip_prefix(MARK).unwrap_or(json);
        let statement: Statement = serde_json::from_slice(json).map_err(|_| NotOne)?;
        if statement.resource_type != "CapabilityStatement" {
            return Err(NotOne);
        }
        let mut of = Vec::new();
        // One that says no mode is a server's: whose else would be asked for it.
        for rest in statement.rest.iter().filter(|rest| rest.mode != "client") {
            let everywhere = names(&rest.search_param, "_lastUpdated");
            for kind in &rest.resource {
                let Some(name) = TYPES.into_iter().find(|known| *known == kind.name) else {
                    continue;
                };
                let updated = everywhere || names(&kind.search_param, "_lastUpdated");
                of.push((name, include(name, &kind.search_include), updated));
            }
        }
        let fits = |letter: &char| letter.is_ascii_alphanumeric() || ".-".contains(*letter);
        let version: String = statement.fhir_version.chars().take(16).filter(fits).collect();
        Ok(Self { release: release(&version), version, of })
    }

    /// What `_include` is to name for the subject of a type, where the server says it can.
    #[must_use]
    pub fn subject_of(&self, resource: &str) -> Option<&'static str> {
        self.of.iter().find(|(name, ..)| *name == resource).and_then(|(_, include, _)| *include)
    }

    /// Whether the server says that it has resources of a type.
    #[must_use]
    pub fn has(&self, resource: &str) -> bool {
        self.of.iter().any(|(name, ..)| *name == resource)
    }

    /// Whether the server says that it searches a type by `_lastUpdated`.
    #[must_use]
    pub fn is_searched_by_update(&self, resource: &str) -> bool {
        self.of.iter().any(|(name, _, updated)| *name == resource && *updated)
    }
}

fn names(parameters: &[Parameter], name: &str) -> bool {
    parameters.iter().any(|parameter| parameter.name == name)
}

fn include(resource: &str, offered: &[String]) -> Option<&'static str> {
    let (_, wanted) = SUBJECTS.iter().find(|(name, _)| *name == resource)?;
    let all = format!("{resource}:*");
    if offered.iter().any(|it| it == "*" || *it == all) {
        return wanted.first().copied();
    }
    wanted.iter().find(|wanted| offered.iter().any(|it| it == *wanted)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(rest: &str) -> Offers {
        let json = format!(
            r#"{{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{rest}]}}"#
        );
        Offers::read(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_version_is_the_one_that_the_server_names() {
        let of = |version: &str| {
            let json =
                format!(r#"{{"resourceType":"CapabilityStatement","fhirVersion":{version:?}}}"#);
            let offers = Offers::read(json.as_bytes()).unwrap();
            (offers.release, offers.version)
        };
        for (version, release) in [
            ("4.0.1", Version::R4),
            ("4.0.0", Version::R4),
            ("4.3.0", Version::R4),
            ("5.0.0", Version::R5),
            ("5.0.0-ballot", Version::R5),
        ] {
            assert_eq!(of(version).0, Some(release), "{version}");
        }
        for other in ["3.0.2", "4.0", "4.0.", "40.0.1", "4.1.0", "5.1.0", "6.0.0", ""] {
            assert_eq!(of(other), (None, other.to_owned()));
        }
        let marked =
            b"\xef\xbb\xbf{\"resourceType\":\"CapabilityStatement\",\"fhirVersion\":\"4.0.1\"}";
        assert_eq!(Offers::read(marked).map(|offers| offers.release), Ok(Some(Version::R4)));
        assert_eq!(of("4.0.1 ZZQUILLON\n and more").1, "4.0.1ZZQUILLON", "bounded, on one line");
        for none in [&b"[]"[..], b"{}", br#"{"resourceType":"Bundle"}"#, b"<html>", b""] {
            assert_eq!(Offers::read(none), Err(NotOne));
        }
    }

    #[test]
    fn the_subject_is_included_by_the_name_that_the_server_offers() {
        let of = |includes: &str| {
            let rest = format!(
                r#"{{"mode":"server","resource":[{{"type":"Encounter","searchInclude":[{includes}]}}]}}"#
            );
            offers(&rest).subject_of("Encounter")
        };
        assert_eq!(of(r#""Encounter:patient","Encounter:subject""#), Some("Encounter:subject"));
        assert_eq!(of(r#""Encounter:patient""#), Some("Encounter:patient"));
        assert_eq!(of(r#""*""#), Some("Encounter:subject"));
        assert_eq!(of(r#""Encounter:*""#), Some("Encounter:subject"));
        assert_eq!(of(r#""Encounter:location""#), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn what_a_client_would_do_is_not_offered() {
        let rest = r#"{"mode":"client","resource":[{"type":"Patient"}]},
            {"mode":"server","resource":[{"type":"Consent","searchParam":[{"name":"_lastUpdated"}]},
             {"type":"Basic"}, {"type":"Observation"}]}"#;
        let offers = offers(rest);
        assert!(!offers.has("Patient") && offers.has("Consent") && !offers.has("Basic"));
        assert!(offers.is_searched_by_update("Consent"));
        assert!(!offers.is_searched_by_update("Observation"));
        let everywhere = super::Offers::read(
            br#"{"resourceType":"CapabilityStatement","rest":[{"searchParam":[{"name":"_lastUpdated"}],
                "resource":[{"type":"Observation"}]}]}"#,
        );
        assert!(everywhere.unwrap().is_searched_by_update("Observation"));
    }
}
