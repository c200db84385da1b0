//! What is asked of a FHIR server: a search (FHIR R4 and R5, section 3.2.1).
//!
//! Promises: a query asks for one of the resource types that become events, whole and in full; what
//! the poller sets itself, the configuration cannot; a request never leaves the server's base.
//! Knows nothing of: HTTP.

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Url;

use super::base::{BadLink, Base};
use super::capability::Offers;
use crate::document::hint;

/// Resource types that become events, in the order in which their queries take turns: who a patient
/// is and what was consented to comes before what is said of them.
pub const TYPES: [&str; 6] =
    ["Patient", "Consent", "Encounter", "Condition", "DiagnosticReport", "Observation"];

/// Parameters of all resources (section 3.2.1.4) that choose among them and change nothing else.
/// The others page, sort, shorten or add to the answer, which the poller sees to itself.
const CHOOSING: [&str; 6] = ["_id", "_tag", "_security", "_profile", "_source", "_list"];

/// Longest query, in bytes: a URL beyond a few kilobytes is refused by many servers.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// A search for resources of one type, such as `Observation?category=laboratory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The resource type.
    pub resource: &'static str,
    parameters: Vec<(String, String)>,
    text: Arc<str>,
}

/// What a request says beside the query itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Resources from then on; all of them without it.
    pub from: Option<Timestamp>,
    /// Resources of one page.
    pub page_size: u32,
    /// Nothing but what every server knows: neither `_sort` nor `_include`.
    pub bare: bool,
    /// Whether the subjects of what is found are asked for, where the server can add them.
    pub subjects: bool,
}

impl Query {
    /// Reads one.
    ///
    /// # Errors
    /// It is none, or asks for what the poller decides; in words.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a query has at most {TEXT_BYTES_MAX} bytes"));
        }
        let (name, rest) = text.split_once('?').unwrap_or((text, ""));
        let Some(resource) = TYPES.into_iter().find(|known| *known == name) else {
            let near = hint(name, &TYPES);
            return Err(format!("`{name}` is no resource type that becomes events{near}"));
        };
        // Any base will do to read what stands behind the question mark.
        let any = Url::parse(&format!("http://localhost/?{rest}"));
        let parameters: Vec<(String, String)> = match &any {
            Ok(url) if url.fragment().is_none() => url.query_pairs().into_owned().collect(),
            Ok(_) | Err(_) => return Err("`#` has no meaning in a query".to_owned()),
        };
        for (name, value) in &parameters {
            let plain = name.split([':', '.']).next().unwrap_or_default();
            if name.is_empty() || value.is_empty() {
                return Err(
                    "each parameter is `name=value`, such as `category=laboratory`".to_owned()
                );
            }
            if plain.starts_with('_') && plain != "_has" && !CHOOSING.contains(&plain) {
                return Err(format!(
                    "`{plain}` is for the poller to say; a query may say {}, `_has` and the search \
                     parameters of {resource}",
                    CHOOSING.join(", ")
                ));
            }
        }
        Ok(Self { resource, parameters, text: text.into() })
    }

    /// As it is written; it names the query in logs and exceptions.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Its place in a round: the smaller goes first.
    #[must_use]
    pub fn rank(&self) -> usize {
        TYPES.iter().position(|known| *known == self.resource).unwrap_or(TYPES.len())
    }

    /// Whether others wait until it has come to its end: for who a patient is, and what was
    /// consented to.
    #[must_use]
    pub fn goes_first(&self) -> bool {
        matches!(self.resource, "Patient" | "Consent")
    }

    /// The address of what it finds of one patient, by the ID of the Patient, whenever it changed.
    ///
    /// # Errors
    /// It is longer than any that is asked for.
    pub fn of_patient(&self, base: &Base, id: &str, page_size: u32) -> Result<Url, BadLink> {
        let mut url = base.below(self.resource)?;
        {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &self.parameters {
                pairs.append_pair(name, value);
            }
            pairs.append_pair("patient", id).append_pair("_count", &page_size.to_string());
        }
        Ok(url)
    }

    /// The address of its first page.
    ///
    /// # Errors
    /// It is longer than any that is asked for.
    pub fn first(&self, base: &Base, paging: Paging, offers: &Offers) -> Result<Url, BadLink> {
        let mut url = base.below(self.resource)?;
        {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &self.parameters {
                pairs.append_pair(name, value);
            }
            if let Some(from) = paging.from {
                // Milliseconds at most: what some servers read of an instant.
                pairs.append_pair("_lastUpdated", &format!("ge{}", instant(from)));
            }
            if !paging.bare {
                pairs.append_pair("_sort", "_lastUpdated");
            }
            pairs.append_pair("_count", &paging.page_size.to_string());
            if paging.subjects
                && !paging.bare
                && let Some(include) = offers.subject_of(self.resource)
            {
                pairs.append_pair("_include", include);
            }
        }
        Ok(url)
    }
}

/// A time as an `instant` in UTC, rounded down to milliseconds: an earlier one asks for more.
fn instant(time: Timestamp) -> String {
    let millis = time.as_nanosecond().div_euclid(1_000_000);
    let whole = i64::try_from(millis).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", whole.unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging() -> Paging {
        let from = "2026-11-22T08:00:00.123456Z".parse().ok();
        Paging { from, page_size: 500, bare: false, subjects: true }
    }

    #[test]
    fn a_query_is_a_type_that_becomes_events_and_parameters_that_choose() {
        for text in [
            "Patient",
            "Observation?category=laboratory",
            "Observation?category=laboratory,vital-signs&status:not=entered-in-error",
            "Encounter?_tag=http://example.org/tags|research&class=IMP",
            "Condition?subject.active=true",
            "Patient?_has:Observation:patient:code=1234-5",
        ] {
            let query = Query::read(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
            assert_eq!(&**query.text(), text);
        }
        for (text, says) in [
            ("Observatoin", "did you mean `Observation`?"),
            ("observation", "did you mean `Observation`?"),
            ("Medication", "known here: Patient, Consent"),
            ("", "is no resource type"),
            ("Observation?", ""),
            ("Observation?category", "name=value"),
            ("Observation?=x", "name=value"),
            ("Observation?_count=5", "`_count` is for the poller to say"),
            ("Observation?_lastUpdated=gt2026", "`_lastUpdated` is for the poller"),
            ("Observation?_include=Observation:subject", "`_include` is for the poller"),
            ("Observation?_include:iterate=Observation:subject", "`_include` is for the poller"),
            ("Observation?_summary=true", "`_summary` is for the poller"),
            ("Observation?_since=2026", "`_since` is for the poller"),
            ("Observation?code=1#x", "has no meaning"),
        ] {
            match Query::read(text) {
                Err(wrong) => assert!(!says.is_empty() && wrong.contains(says), "{text}: {wrong}"),
                Ok(_) => assert_eq!(says, "", "{text}"),
            }
        }
        assert!(Query::read(&format!("Patient?name={}", "Z".repeat(2_000))).is_err());
    }

    #[test]
    fn a_request_asks_in_order_from_a_time_on_and_for_the_subject_where_that_is_offered() {
        let base = Base::read("https://ehr.example.org/fhir/", false).unwrap();
        let query = Query::read("Observation?category=laboratory").unwrap();
        let offers = Offers::read(
            br#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"mode":"server",
                "resource":[{"type":"Observation","searchInclude":["Observation:subject"]}]}]}"#,
        )
        .unwrap();
        let url = |paging| query.first(&base, paging, &offers).unwrap().to_string();
        assert_eq!(
            url(paging()),
            "https://ehr.example.org/fhir/Observation?category=laboratory\
             &_lastUpdated=ge2026-11-22T08%3A00%3A00.123Z&_sort=_lastUpdated&_count=500\
             &_include=Observation%3Asubject"
        );
        assert_eq!(
            url(Paging { from: None, subjects: false, ..paging() }),
            "https://ehr.example.org/fhir/Observation?category=laboratory&_sort=_lastUpdated&_count=500"
        );
        assert_eq!(
            url(Paging { bare: true, ..paging() }),
            "https://ehr.example.org/fhir/Observation?category=laboratory\
             &_lastUpdated=ge2026-11-22T08%3A00%3A00.123Z&_count=500"
        );
    }

    #[test]
    fn of_a_patient_everything_is_asked_for_that_the_query_finds_whenever_it_changed() {
        let base = Base::read("https://ehr.example.org/fhir/", false).unwrap();
        let url = |text: &str, id: &str| {
            Query::read(text).unwrap().of_patient(&base, id, 100).unwrap().to_string()
        };
        assert_eq!(
            url("Consent", "p-1.2"),
            "https://ehr.example.org/fhir/Consent?patient=p-1.2&_count=100"
        );
        assert_eq!(
            url("Consent?category=59284-0", "p&x"),
            "https://ehr.example.org/fhir/Consent?category=59284-0&patient=p%26x&_count=100"
        );
    }

    #[test]
    fn patients_and_consents_come_before_what_is_said_of_them() {
        let ranks = |text: &str| Query::read(text).map(|query| (query.rank(), query.goes_first()));
        assert_eq!(ranks("Patient"), Ok((0, true)));
        assert_eq!(ranks("Consent?status=active"), Ok((1, true)));
        assert_eq!(ranks("Encounter"), Ok((2, false)));
        assert_eq!(ranks("Observation"), Ok((5, false)));
    }
}
