//! Whom a FHIR resource is about, as far as it says itself.
//!
//! Promises: a Patient of another server is never taken for one of this server; a subject that is no
//! patient is told apart from one that cannot be found.
//! Knows nothing of: how a Patient is fetched, and which are known.

use crate::normalize::fhir::around::literal;
use crate::parse::fhir::{Node, Resource};

/// Longest Patient that a resource itself states, in bytes: a contained one has a name and some numbers.
const STATED_BYTES_MAX: usize = 16 << 10;

/// Whom a resource is about.
#[derive(Clone, PartialEq, Eq)]
pub struct About {
    /// Where the Patient is; nothing for a Patient, which is about itself, and where none is named.
    pub patient: Option<Place>,
    /// What the resource itself says of the Patient, as a Patient resource in JSON: one that it
    /// contains, or one of an identifier alone.
    pub stated: Option<Vec<u8>>,
    /// The element that says so, such as `Observation.subject`.
    pub element: &'static str,
}

/// Where a Patient is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// On the server that the resource is of, by its ID.
    Here(String),
    /// Somewhere else: maybe in the same Bundle, by the `fullUrl` of its entry.
    Elsewhere(String),
}

// PROMISE-10
impl std::fmt::Debug for About {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "About({})", self.element)
    }
}

impl About {
    /// Reads it; nothing of a resource type that is about nobody, or that is not taken.
    #[must_use]
    pub fn of(resource: &Resource<'_>, base: &str) -> Option<Self> {
        let (member, element) = match resource.kind() {
            "Patient" => return Some(Self { patient: None, stated: None, element: "Patient" }),
            "Encounter" => ("subject", "Encounter.subject"),
            "Observation" => ("subject", "Observation.subject"),
            "DiagnosticReport" => ("subject", "DiagnosticReport.subject"),
            "Condition" => ("subject", "Condition.subject"),
            // R4 has `patient`, R5 `subject`.
            "Consent" if resource.root().get("subject").is_some_and(|it| !it.is_null()) => {
                ("subject", "Consent.subject")
            }
            "Consent" => ("patient", "Consent.patient"),
            _ => return None,
        };
        let nobody = Self { patient: None, stated: None, element };
        let Some(subject) = resource.root().get(member) else { return Some(nobody) };
        let reference = subject.get("reference").and_then(Node::text).map(str::trim);
        let contained = reference
            .and_then(|reference| resource.contained(reference))
            .filter(|found| found.get("resourceType").and_then(Node::text) == Some("Patient"))
            .map(written);
        let patient = reference.and_then(|reference| Place::read(reference, base));
        // Who is named by type is no patient, whatever number goes with it.
        let kind = subject.get("type").and_then(Node::text);
        let is_patient = kind.is_none_or(|kind| kind == "Patient" || kind.ends_with("/Patient"));
        let by_number = || subject.get("identifier").filter(|_| is_patient).map(by_number);
        let stated = contained.or_else(by_number).filter(|it| it.len() <= STATED_BYTES_MAX);
        Some(Self { patient, stated, element })
    }
}

/// Whom a Patient was replaced by (`Patient.link.other` of type `replaced-by`, FHIR R4 and R5, 8.1.6); nothing
/// where nobody says so.
#[must_use]
pub fn replaced_by<'r>(patient: &'r Resource<'r>) -> Option<Node<'r>> {
    let is_it = |link: &Node<'_>| link.get("type").and_then(Node::text) == Some("replaced-by");
    let links = patient.root().get("link").filter(|_| patient.kind() == "Patient")?;
    links.items().find(is_it)?.get("other")
}

impl Place {
    /// Where the Patient is that a literal reference means; nothing where it means none.
    #[must_use]
    pub fn read(reference: &str, base: &str) -> Option<Self> {
        if reference.starts_with('#') || reference.is_empty() {
            return None;
        }
        let is_absolute = reference.contains(':');
        let own = if is_absolute { below(reference, base) } else { Some(reference) };
        // Type and ID right behind the base: with more between, it is of another base of the same host.
        let own = own.filter(|own| without_version(own).matches('/').count() == 1);
        match (own.and_then(literal), literal(reference)) {
            (Some(("Patient", id)), _) => Some(Self::Here(id.to_owned())),
            (_, Some((kind, _))) if kind != "Patient" => None,
            _ if is_absolute => Some(Self::Elsewhere(reference.to_owned())),
            _ => None,
        }
    }
}

fn without_version(reference: &str) -> &str {
    reference.split_once("/_history/").map_or(reference, |(plain, _)| plain)
}

/// What of an absolute reference stands behind a base; nothing where it is of another. A host counts in
/// any case, with its usual port or without.
fn below<'r>(reference: &'r str, base: &str) -> Option<&'r str> {
    let (origin, path) = split(reference)?;
    let (own_origin, own_path) = split(base)?;
    path.strip_prefix(own_path)?.strip_prefix('/').filter(|_| origin == own_origin)
}

/// Scheme and host, as they are compared, and what follows.
fn split(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let usual = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(usual).unwrap_or(&host);
    Some((format!("{scheme}://{host}"), path))
}

fn written(patient: Node<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    patient.write_compact(&mut out);
    out
}

fn by_number(identifier: Node<'_>) -> Vec<u8> {
    let mut out = br#"{"resourceType":"Patient","identifier":["#.to_vec();
    identifier.write_compact(&mut out);
    out.extend(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://ehr.example.org/fhir";

    /// Where the Patient of a resource is, and what is stated of it.
    fn about(json: &str) -> Option<(String, String)> {
        let resource = Resource::parse(json.as_bytes(), 1 << 16).unwrap();
        let about = About::of(&resource, BASE)?;
        let place = match about.patient {
            None => "-".to_owned(),
            Some(Place::Here(id)) => format!("here {id}"),
            Some(Place::Elsewhere(url)) => format!("elsewhere {url}"),
        };
        let stated = about.stated.map(|stated| String::from_utf8(stated).unwrap());
        Some((place, stated.unwrap_or_default()))
    }

    fn observation(subject: &str) -> (String, String) {
        about(&format!(r#"{{"resourceType":"Observation","contained":[
            {{"resourceType":"Patient","id":"p","gender":"male"}},{{"resourceType":"Group","id":"g"}}
            ],"subject":{subject}}}"#))
        .unwrap()
    }

    #[test]
    fn a_reference_means_a_patient_of_this_server_or_one_elsewhere_and_nobody_else() {
        let plain = |reference: &str| observation(&format!(r#"{{"reference":"{reference}"}}"#)).0;
        for (reference, wanted) in [
            ("Patient/12", "here 12"),
            ("Patient/12/_history/3", "here 12"),
            ("https://ehr.example.org/fhir/Patient/12", "here 12"),
            ("https://ehr.example.org/fhir/Patient/12/_history/3", "here 12"),
            ("HTTPS://EHR.example.org:443/fhir/Patient/12", "here 12"),
            // Another base of the same host numbers its own patients.
            (
                "https://ehr.example.org/fhir-test/Patient/12",
                "elsewhere https://ehr.example.org/fhir-test/Patient/12",
            ),
            (
                "https://ehr.example.org/fhir/tenant/Patient/12",
                "elsewhere https://ehr.example.org/fhir/tenant/Patient/12",
            ),
            ("https://ehr.example.org/Patient/12", "elsewhere https://ehr.example.org/Patient/12"),
            (
                "https://ehr.example.org:8443/fhir/Patient/12",
                "elsewhere https://ehr.example.org:8443/fhir/Patient/12",
            ),
            (
                "http://ehr.example.org/fhir/Patient/12",
                "elsewhere http://ehr.example.org/fhir/Patient/12",
            ),
            ("//other.example.org/fhir/Patient/12", "-"),
            ("../other/Patient/12", "-"),
            (
                "https://other.example.org/fhir/Patient/12",
                "elsewhere https://other.example.org/fhir/Patient/12",
            ),
            (
                "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
                "elsewhere urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
            ),
            ("Group/1", "-"),
            ("https://other.example.org/fhir/Device/12", "-"),
            ("Patient?identifier=x|1", "-"),
            ("12", "-"),
            ("", "-"),
        ] {
            assert_eq!(plain(reference), wanted, "{reference}");
        }
    }

    #[test]
    fn a_contained_patient_and_one_of_a_number_alone_are_stated() {
        let contained = r##"{"resourceType":"Patient","id":"p","gender":"male"}"##;
        assert_eq!(observation(r##"{"reference":"#p"}"##), ("-".to_owned(), contained.to_owned()));
        assert_eq!(observation(r##"{"reference":"#g"}"##), ("-".to_owned(), String::new()));
        let number = r#"{"resourceType":"Patient","identifier":[{"system":"s","value":"ZZ1"}]}"#;
        let by_number = r#"{"type":"Patient","identifier":{"system":"s","value":"ZZ1"}}"#;
        assert_eq!(observation(by_number), ("-".to_owned(), number.to_owned()));
        let both = r#"{"reference":"Patient/1","identifier":{"system":"s","value":"ZZ1"}}"#;
        assert_eq!(observation(both), ("here 1".to_owned(), number.to_owned()));
        let device = r#"{"type":"Device","identifier":{"system":"s","value":"ZZ1"}}"#;
        assert_eq!(observation(device), ("-".to_owned(), String::new()));
    }

    #[test]
    fn a_consent_says_it_as_its_release_does() {
        for member in ["patient", "subject"] {
            let json =
                format!(r#"{{"resourceType":"Consent","{member}":{{"reference":"Patient/9"}}}}"#);
            assert_eq!(about(&json).unwrap().0, "here 9");
        }
        let null =
            r#"{"resourceType":"Consent","subject":null,"patient":{"reference":"Patient/9"}}"#;
        assert_eq!(about(null).unwrap().0, "here 9", "null is nothing");
        assert_eq!(about(r#"{"resourceType":"Practitioner"}"#), None);
    }
}
