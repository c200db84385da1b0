//! A provision of a FHIR Consent to what an exception is about.
//!
//! Promises: an element that is not known, or holds what is not known, makes the exception one that
//! is not wholly told; none is read over.
//! Knows nothing of: whether it opens or closes.

use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};

use crate::consent::decision::Decision;
use crate::consent::exception::{
    COUNT_MAX, Confidentiality, Criteria, DEPTH_MAX, Exception, Listed,
};
use crate::consent::moment::Moment;
use crate::consent::policy::labels::Labelling;
use crate::consent::policy::{Policy, Spoken};
use crate::consent::purpose::PURPOSES;

/// Actions that let data out (CodeSystem consentaction).
const LETTING_OUT: [&str; 3] = ["access", "use", "disclose"];
/// The others of that code system: about taking in and changing.
const TAKING_IN: [&str; 2] = ["collect", "correct"];
/// Roles of who receives (HL7 v3 ParticipationType).
const RECIPIENTS: [&str; 2] = ["PRCP", "IRCP"];

/// What is needed to read provisions.
pub(super) struct Reading<'r> {
    pub policy: &'r Policy,
    pub site: &'r str,
    pub zone: &'r TimeZone,
}

impl Reading<'_> {
    /// What the rows for these codes say together; nothing where none has one. Labels only where all
    /// of them have the same: a permit would open them, and a refusal be about them alone.
    pub(super) fn rows(&self, codes: &[(String, String)]) -> Option<Spoken> {
        let rows: Vec<&Spoken> =
            codes.iter().filter_map(|(system, code)| self.row(system, code)).collect();
        let speaking = rows.iter().filter(|row| !row.purposes.is_empty());
        let mut labels = speaking.clone().map(|row| &row.labels);
        let first = labels.next().cloned().unwrap_or_default();
        let labels = if labels.all(|it| *it == first) { first } else { Vec::new() };
        let mut purposes: Vec<String> = speaking.flat_map(|row| row.purposes.clone()).collect();
        purposes.sort();
        purposes.dedup();
        let denies = rows.iter().any(|row| row.denies);
        (!rows.is_empty()).then_some(Spoken { purposes, labels, denies })
    }

    /// The row of a code, under the name of its system or a short one, also by the site's file.
    fn row(&self, system: &str, code: &str) -> Option<&Spoken> {
        let short = short_system(system);
        [Some(system), short.as_deref()].into_iter().flatten().find_map(|system| {
            self.policy.spoken_of(system, code).or_else(|| {
                let (system, code) = self.policy.stands_for(self.site, system, code)?;
                self.policy.spoken_of(system, code)
            })
        })
    }

    /// The provisions in another one, or in R5 in the resource. Those of R4 say what they do, and
    /// close where they do not; those of R5 mean the opposite of what they are in, and where they
    /// say that they close, they do.
    pub(super) fn nested(
        &self,
        provisions: Option<&Json>,
        around: Decision,
        opposite: bool,
    ) -> Result<Vec<Exception>, ()> {
        self.level(provisions, around, opposite, 1)
    }

    fn level(
        &self,
        provisions: Option<&Json>,
        around: Decision,
        opposite: bool,
        depth: usize,
    ) -> Result<Vec<Exception>, ()> {
        let provisions = items(provisions);
        if depth > DEPTH_MAX || provisions.len() > COUNT_MAX {
            return if provisions.is_empty() { Ok(Vec::new()) } else { Err(()) };
        }
        let mut exceptions = Vec::new();
        for provision in provisions {
            let Json::Object(provision) = provision else { return Err(()) };
            let decision = match (typed(provision)?, around) {
                (None, Decision::Deny) if opposite => Decision::Permit,
                (Some(Decision::Permit), Decision::Permit) if opposite => Decision::Deny,
                (Some(own), _) => own,
                (None, _) => Decision::Deny,
            };
            let inner = self.level(provision.get("provision"), decision, opposite, depth + 1)?;
            if let Some(about) = self.criteria(provision) {
                exceptions.push(Exception { decision, about, exceptions: inner });
            }
        }
        Ok(exceptions)
    }

    /// What a provision is about; nothing where that is not letting data out.
    pub(super) fn criteria(&self, provision: &Map<String, Json>) -> Option<Criteria> {
        let mut about = Criteria::default();
        for (name, value) in provision {
            match name.as_str() {
                "type" | "id" | "extension" | "provision" => {}
                "period" => {
                    let beyond;
                    (about.from, about.to, beyond) = self.period(Some(value));
                    about.beyond |= beyond;
                }
                "actor" => self.actors(value, &mut about),
                "action" => match action(value) {
                    Some(true) => {}
                    Some(false) => return None,
                    None => about.beyond = true,
                },
                "securityLabel" => self.labels(value, &mut about),
                "purpose" => self.purposes(value, &mut about),
                "class" | "resourceType" | "documentType" => self.classes(value, &mut about),
                "code" => self.codes(value, &mut about),
                // What nobody here can tell: particular data, when it was made, expressions, and what
                // changes the meaning of the others.
                _ => about.beyond = true,
            }
        }
        Some(about)
    }

    /// Beginning and end, and whether there is more than could be read.
    pub(super) fn period(&self, period: Option<&Json>) -> (Option<Moment>, Option<Moment>, bool) {
        let Some(period) = period else { return (None, None, false) };
        let read = |name| {
            let date = period
                .get(name)
                .map(|date| date.as_str().and_then(|text| Moment::read(text, self.zone)));
            (date.flatten(), matches!(date, Some(None)))
        };
        let ((from, wrong_from), (to, wrong_to)) = (read("start"), read("end"));
        let known = |name: &String| ["start", "end", "id", "extension"].contains(&name.as_str());
        let more = period.as_object().is_none_or(|it| !it.keys().all(known));
        (from, to, wrong_from || wrong_to || more)
    }

    /// Recipients; others, such as an author or a custodian, are a criterion of their own.
    fn actors(&self, actors: &Json, about: &mut Criteria) {
        let mut recipients = Vec::new();
        let actors = items(Some(actors));
        about.beyond |= actors.is_empty();
        for actor in actors {
            let roles = actor.get("role").map(codes);
            let receives = roles.is_none_or(|roles| {
                roles.iter().any(|(system, code)| {
                    RECIPIENTS.contains(&code.as_str()) && is_participation(system)
                })
            });
            match actor.get("reference").filter(|_| receives) {
                Some(reference) => recipients.push(reference),
                None => about.beyond = true,
            }
        }
        if !recipients.is_empty() {
            about.grantees = Some(self.grantees(&recipients));
        }
    }

    /// Consumers by `[grantees]`, by what a Reference says of whom it means.
    pub(super) fn grantees(&self, references: &[&Json]) -> Listed {
        let mut listed = Listed::default();
        for found in references {
            let text = |path: &str| found.pointer(path).and_then(Json::as_str);
            let number = text("/identifier/value")
                .map(|value| format!("{}|{value}", text("/identifier/system").unwrap_or_default()));
            let literal = text("/reference").map(str::to_owned);
            let named = text("/display").map(str::to_owned);
            let mut names = [literal, number, named].into_iter().flatten();
            match names.find_map(|name| self.policy.consumers(&name)) {
                Some(consumers) => listed.these.extend_from_slice(consumers),
                None => listed.others = true,
            }
        }
        listed
    }

    fn labels(&self, labels: &Json, about: &mut Criteria) {
        let mut listed = Listed::default();
        let codes = codes(labels);
        about.beyond |= codes.is_empty();
        for (system, code) in codes {
            if is_confidentiality(&system) {
                let level = match code.as_str() {
                    "N" => Some(Confidentiality::Normal),
                    "R" => Some(Confidentiality::Restricted),
                    "V" => Some(Confidentiality::VeryRestricted),
                    // Of what bears no label nobody knows whether it is less than normal.
                    _ => None,
                };
                about.beyond |= level.is_none() || about.confidentiality.is_some();
                about.confidentiality = about.confidentiality.or(level);
                continue;
            }
            match self.policy.labels_of(Some(&system), "", &code) {
                Labelling::Labels(named) if !named.is_empty() => {
                    listed.these.extend(named.into_iter().map(str::to_owned));
                }
                Labelling::Labels(_) | Labelling::Unknown => listed.others = true,
            }
        }
        if listed != Listed::default() {
            about.labels = Some(listed);
        }
    }

    fn purposes(&self, purposes: &Json, about: &mut Criteria) {
        let mut listed = Listed::default();
        let codes = codes(purposes);
        listed.others |= codes.is_empty();
        for (system, code) in codes {
            match self.row(&system, &code) {
                Some(row) => listed.these.extend_from_slice(&row.purposes),
                None if is_act_reason(&system) && PURPOSES.contains(&code.as_str()) => {
                    listed.these.push(code);
                }
                None => listed.others = true,
            }
        }
        about.join(listed);
    }

    /// Codes of data, or of a policy, as some profiles use the element: what `[codes]` makes of them.
    /// Labels of a row are left out: none of them is opened, and a refusal is about all.
    fn codes(&self, given: &Json, about: &mut Criteria) {
        let codes = codes(given);
        let rows: Vec<Option<&Spoken>> =
            codes.iter().map(|(system, code)| self.row(system, code)).collect();
        if rows.is_empty() || rows.contains(&None) {
            about.beyond = true;
            return;
        }
        let these = rows.into_iter().flatten().flat_map(|row| row.purposes.clone()).collect();
        about.join(Listed { these, others: false });
    }

    /// Types of resources and documents, by `[classes]`.
    fn classes(&self, given: &Json, about: &mut Criteria) {
        if about.classes.is_some() {
            about.beyond = true;
            return;
        }
        let mut listed = Listed::default();
        let codes = codes(given);
        listed.others |= codes.is_empty();
        for (system, code) in codes {
            match self.policy.classes_of(&system, &code) {
                Some(classes) => listed.these.extend_from_slice(classes),
                None => listed.others = true,
            }
        }
        about.classes = Some(listed);
    }
}

impl Criteria {
    /// Purposes that have to be named as well.
    fn join(&mut self, more: Listed) {
        self.purposes = Some(match self.purposes.take() {
            None => more,
            Some(known) => {
                let both = |it: &String| more.these.contains(it);
                // One of them may be a kind of another.
                let differ = !known.these.iter().all(both)
                    || !more.these.iter().all(|it| known.these.contains(it));
                let others = known.others || more.others || differ;
                Listed { these: known.these.into_iter().filter(both).collect(), others }
            }
        });
    }
}

/// Whether actions let data out; nothing where that is not known.
fn action(actions: &Json) -> Option<bool> {
    let codes = codes(actions);
    let has = |known: &[&str]| codes.iter().any(|(_, code)| known.contains(&code.as_str()));
    if has(&LETTING_OUT) {
        return Some(true);
    }
    let taking_in = !codes.is_empty()
        && codes.len() == items(Some(actions)).len()
        && codes.iter().all(|(_, code)| TAKING_IN.contains(&code.as_str()));
    taking_in.then_some(false)
}

/// What a provision says that it does.
pub(super) fn typed(provision: &Map<String, Json>) -> Result<Option<Decision>, ()> {
    match provision.get("type").map(Json::as_str) {
        None => Ok(None),
        Some(Some("permit")) => Ok(Some(Decision::Permit)),
        Some(Some("deny")) => Ok(Some(Decision::Deny)),
        Some(_) => Err(()),
    }
}

/// An element's values: those of a list, or the one that it is.
pub(super) fn items(value: Option<&Json>) -> Vec<&Json> {
    match value {
        None => Vec::new(),
        Some(Json::Array(items)) => items.iter().collect(),
        Some(one) => vec![one],
    }
}

/// Systems and codes of Codings and CodeableConcepts, one or several. One without a code is there
/// without one, so that it is not read over.
pub(super) fn codes(value: &Json) -> Vec<(String, String)> {
    let text = |coding: &Json, name: &str| {
        coding.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
    };
    let pair = |coding: &Json| (text(coding, "system"), text(coding, "code"));
    let mut found = Vec::new();
    for item in items(Some(value)) {
        match item.get("coding") {
            Some(codings) => found.extend(items(Some(codings)).into_iter().map(pair)),
            None => found.push(pair(item)),
        }
    }
    found
}

/// The literal reference of a Reference.
pub(super) fn reference(value: &Json) -> Option<&str> {
    value.get("reference")?.as_str()
}

/// The names that code systems go by in FHIR, before R4, and as OID.
fn is_system(given: &str, name: &str, oid: &str) -> bool {
    let last = |start: &str| given.strip_prefix(start) == Some(name);
    last("http://terminology.hl7.org/CodeSystem/v3-")
        || last("http://hl7.org/fhir/v3/")
        || given.strip_prefix("urn:oid:") == Some(oid)
}

pub(super) fn is_act_code(system: &str) -> bool {
    is_system(system, "ActCode", "2.16.840.1.113883.5.4")
}

fn is_act_reason(system: &str) -> bool {
    is_system(system, "ActReason", "2.16.840.1.113883.5.8")
}

fn is_confidentiality(system: &str) -> bool {
    is_system(system, "Confidentiality", "2.16.840.1.113883.5.25")
}

fn is_participation(system: &str) -> bool {
    is_system(system, "ParticipationType", "2.16.840.1.113883.5.90")
}

/// What HL7 v2 calls a code system, so that one row does for both.
fn short_system(system: &str) -> Option<String> {
    match system {
        "http://loinc.org" => Some("LN".to_owned()),
        "http://snomed.info/sct" => Some("SCT".to_owned()),
        _ => {
            let number = system.strip_prefix("http://terminology.hl7.org/CodeSystem/v2-")?;
            Some(format!("HL7{number}"))
        }
    }
}
