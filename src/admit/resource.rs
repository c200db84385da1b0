//! One version of a FHIR resource to what becomes of it, as far as that can be said without the
//! journal.
//!
//! Promises: every resource has exactly one outcome, and one that is wrong costs itself; what a
//! resource says of consent is applied or closes (PROMISE-5); an older version that comes after a newer
//! one does not leave; nothing that the server wrote is in a text for people but types, places and
//! bounded codes.
//! Knows nothing of: servers, pages, the store.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::consent::Key;
use crate::consent::intake::element_of;
use crate::event::{EventType, Subject};
use crate::normalize::fhir::{Around, Scene, Seen, normalize_resource};
use crate::normalize::{Context, Normalized, Refusal, Trace};
use crate::parse::fhir::{Resource, Version};

use super::Correlation;
use super::about::{About, replaced_by};
use super::assess::{Assessed, Finding, OnUnmappable, OnUnsupported, Rules, unread};
use super::before::{Before, fallen, kept, name, standing, whole, written_at};
use super::consents::{Applied, Filed, Filing};
use super::entry::{Admission, Category, Content, Correlated, Given, Raised, Status, SubjectValue};
use super::labels::Security;

/// Longest resource, in bytes.
pub const RESOURCE_BYTES_MAX: usize = 16 << 20;
/// What stands beside a resource.
#[derive(Debug)]
pub struct Beside<'s> {
    /// The Patient that it is about, where one is known.
    pub patient: Option<&'s Resource<'s>>,
    /// What came with it.
    pub around: &'s Around<'s>,
    /// What the feed remembers of the resource.
    pub before: Option<&'s Before>,
    /// The release that the server has.
    pub version: Version,
}

/// What a resource comes to.
#[derive(Debug)]
pub struct Taken {
    /// What it is, and what is to be kept of it.
    pub assessed: Assessed,
    /// What is to be remembered of it; nothing where that stays as it is.
    pub after: Option<Before>,
}

/// Reads one resource.
#[must_use]
pub fn assess_resource(
    bytes: &Bytes,
    resource: &Resource<'_>,
    beside: &Beside<'_>,
    rules: &Rules,
    now_ms: i64,
) -> Taken {
    let kind = resource.kind();
    let Some(id) = resource.id() else { return nameless(bytes, rules, now_ms, (kind, "?")) };
    let own = Before::of(resource, beside.before, &rules.digests);
    let (correlated, control_id) = correlated(resource, &own, id, rules);
    let admission = Admission {
        correlated: Some(correlated),
        status: Status::Admitted,
        restates: true,
        ..bare(bytes, rules, now_ms, kind, control_id)
    };
    let filing = Filing::of(&correlated, rules, now_ms, place_of);
    let seen = beside.before.and_then(|before| before.seen.as_ref());
    let scene = Scene {
        focus: resource,
        patient: beside.patient,
        before: seen,
        version: beside.version,
        around: beside.around,
    };
    let applied = map(&scene, rules)
        .and_then(|(normalized, after)| Ok((apply(&filing, &scene, normalized)?, after)));
    let (applied, seen) = match applied {
        Ok(applied) => applied,
        Err(refusal) => {
            let closures = close(&filing, &scene);
            let after = own.is_by_content().then(|| own.beyond(beside.before));
            let kept = after.as_ref().and_then(|after| kept(kind, id, after));
            let admission = Admission { kept: kept.into_iter().collect(), ..admission };
            return Taken { assessed: refused(admission, refusal, closures, rules), after };
        }
    };
    let late = beside.before.is_some_and(|before| own.is_older_than(before));
    let whose = (kind == "Consent").then(|| whose(&applied.content)).flatten();
    let after = (!late).then_some(Before { seen, whose, ..own });
    let mut keeping: Vec<_> = after.iter().filter_map(|after| kept(kind, id, after)).collect();
    if let Some(after) = after.as_ref().filter(|_| kind == "Consent") {
        keeping.push(standing(id, &applied.consents, after, now_ms));
    }
    let admission = Admission {
        content: applied.content,
        raised: applied.raised,
        consents: applied.consents,
        on_conflict: applied.on_conflict,
        acts: if late { Vec::new() } else { applied.acts },
        described: if late { Vec::new() } else { applied.described },
        status: if late { Status::Superseded } else { Status::Admitted },
        kept: keeping,
        ..admission
    };
    let finding = Finding::Mapped;
    Taken {
        assessed: Assessed { finding, kind: kind.to_owned(), admission: Some(admission) },
        after,
    }
}

/// A resource without an ID, by the name that its entry has for it.
#[must_use]
pub fn nameless(bytes: &Bytes, rules: &Rules, now_ms: i64, named: (&str, &str)) -> Taken {
    let place = format!("{}.id", named.0);
    let text = format!("{place}: it has none that FHIR allows");
    malformed(bytes, rules, now_ms, named, (text, place))
}

/// What cannot be read as a resource: kept, beside an exception that says where it is wrong. `named` is
/// what its entry calls it, type and ID; `wrong` what is wrong, and at which place.
#[must_use]
pub fn malformed(
    bytes: &Bytes,
    rules: &Rules,
    now_ms: i64,
    (kind, id): (&str, &str),
    (text, place): (String, String),
) -> Taken {
    let raised =
        Raised { category: Category::Malformed, key: rules.digests.bytes(bytes), text, place };
    let admission = unread(bytes, rules, now_ms, kind.to_owned(), &name(kind, id), raised);
    let (finding, kind) = (Finding::BadResource, kind.to_owned());
    Taken { assessed: Assessed { finding, kind, admission: Some(admission) }, after: None }
}

/// A resource that was removed on its server. A consent that is there no more permits nothing; of others
/// what left is with who received it, and a human should know.
// PROMISE-5
#[must_use]
pub fn removed(
    bytes: &Bytes,
    (kind, id): (&str, &str),
    (at, before): (Option<Timestamp>, Option<&Before>),
    rules: &Rules,
    now_ms: i64,
) -> Taken {
    let content = rules.digests.bytes(bytes);
    // It may be made again, and removed again.
    let after = before.and_then(Before::removed);
    let text = at.map(|at| at.to_string());
    let text = text.or_else(|| after.as_ref().map(|after| after.changes.to_string()));
    let version = text.as_deref().or_else(|| before?.version.as_deref()).unwrap_or_default();
    let correlation = Correlation::of(&rules.domain, ["FHIR", kind, id, version, "removed"]);
    let correlated = Correlated { correlation, content, windows: rules.windows };
    let filing = Filing::of(&correlated, rules, now_ms, place_of);
    let whose = before.and_then(|before| before.whose.clone());
    let closes = whose.map(|(authority, value)| {
        let subject = Subject { authority, value: value.0 };
        filing.closed(key_of(id, rules), subject, at)
    });
    let (category, text) = match (&closes, kind) {
        (Some(_), _) => (Category::ConsentUnknown, "it was removed: every purpose is closed"),
        (None, "Consent") => {
            (Category::ConsentUnknown, "it was removed, and whose it was is not known")
        }
        (None, _) => (Category::Unmapped, "it was removed: what has left of it is not taken back"),
    };
    let raised = Raised { category, key: content, text: text.to_owned(), place: kind.to_owned() };
    let consents: Vec<Given> = closes.into_iter().collect();
    let mut keeping: Vec<_> = after.iter().filter_map(|after| kept(kind, id, after)).collect();
    keeping.extend((kind == "Consent").then(|| fallen(id)));
    let admission = Admission {
        correlated: Some(correlated),
        status: Status::Parked,
        kept: keeping,
        raised: Some(raised),
        on_conflict: consents.clone(),
        consents,
        ..bare(bytes, rules, now_ms, kind, format!("{} (removed)", name(kind, id)))
    };
    let (finding, kind) = (Finding::Removed, kind.to_owned());
    Taken { assessed: Assessed { finding, kind, admission: Some(admission) }, after }
}

/// A resource, before anything is known of it.
fn bare(bytes: &Bytes, rules: &Rules, now_ms: i64, kind: &str, control_id: String) -> Admission {
    let (feed, kind) = (Arc::clone(&rules.feed), kind.to_owned());
    Admission::bare(feed, now_ms, kind, control_id, bytes.clone())
}

/// What a version of a resource is recognized by and how it is compared, and its name for people.
fn correlated(
    resource: &Resource<'_>,
    own: &Before,
    id: &str,
    rules: &Rules,
) -> (Correlated, String) {
    let content = rules.digests.bytes(&whole(resource));
    let by = (own.version.as_deref(), own.at, own.changes);
    let correlation = recognized(resource, by, &rules.domain);
    let control_id = match &own.version {
        Some(version) => format!("{}/{id}/_history/{version}", resource.kind()),
        None => name(resource.kind(), id),
    };
    (Correlated { correlation, content, windows: rules.windows }, control_id)
}

/// What a version of a resource is recognized by, in a domain. A server that counts no versions says when
/// it changed a resource; one that does neither, what is in it, and
/// here as if it were the first.
#[must_use]
pub fn correlation(resource: &Resource<'_>, domain: &str) -> Correlation {
    let at = written_at(resource).map(Timestamp::as_microsecond);
    recognized(resource, (resource.version_id(), at, 0), domain)
}

fn recognized(
    resource: &Resource<'_>,
    (version, at, changes): (Option<&str>, Option<i64>, u32),
    domain: &str,
) -> Correlation {
    let at = at.map(|at| at.to_string());
    let (kind, id) = (resource.kind(), resource.id().unwrap_or_default());
    if let Some(version) = version.or(at.as_deref()) {
        return Correlation::of(domain, ["FHIR", kind, id, version]);
    }
    let whole = whole(resource);
    let said = String::from_utf8_lossy(&whole);
    if changes == 0 {
        return Correlation::of(domain, ["FHIR", kind, id, "", &said]);
    }
    Correlation::of(domain, ["FHIR", kind, id, "", &said, &changes.to_string()])
}

/// The events of a resource, and how an Encounter stands then.
fn map(scene: &Scene<'_>, rules: &Rules) -> Result<(Normalized, Option<Seen>), Refusal> {
    let (normalized, _) = normalize_resource(&rules.mappings, scene, &rules.context, Trace::Off)?;
    let seen = (scene.focus.kind() == "Encounter").then(|| {
        normalized.drafts.first().map(|draft| Seen::of(draft.data.root()).after(scene.before))
    });
    Ok((normalized, seen.flatten()))
}

/// Whom the first event is about.
fn whose(content: &Content) -> Option<(String, SubjectValue)> {
    let event = content.events.first()?;
    Some((event.authority.clone(), event.value.clone()))
}

/// Events with their subjects and labels, and what they say of consent.
fn apply(
    filing: &Filing<'_>,
    scene: &Scene<'_>,
    normalized: Normalized,
) -> Result<Applied, Refusal> {
    let mut applied = Applied::default();
    let mut filed = Filed::default();
    let security = Security::of(scene, &filing.rules.policy);
    let is_merge = normalized.drafts.iter().any(|draft| draft.kind == EventType::PatientMerged);
    for mut draft in normalized.drafts {
        draft.data = security.label(draft.data);
        let subject = filing.subject(&draft).ok_or_else(|| nobody(scene.focus))?;
        filing.file(draft, subject, &mut applied, &mut filed)?;
    }
    filing.end(filed, &mut applied)?;
    applied.content.unmapped = normalized.unmapped.iter().map(ToString::to_string).collect();
    applied.content.invalid = normalized.invalid;
    if applied.raised.is_none() {
        applied.raised = security.unmapped().map(|unmapped| filing.unlabelled(unmapped));
    }
    if applied.raised.is_none() && !is_merge && replaced_by(scene.focus).is_some() {
        applied.raised = Some(unmerged(scene.focus, filing.rules));
    }
    Ok(applied)
}

/// The exception of a Patient who was replaced by somebody whom no number is known of.
fn unmerged(patient: &Resource<'_>, rules: &Rules) -> Raised {
    let place = "Patient.link".to_owned();
    let key = name("Patient", patient.id().unwrap_or_default());
    Raised {
        category: Category::Unmapped,
        key: rules.digests.text(&format!("{key} {place}")),
        text: "whom it was replaced by cannot be found, or has no number: the two are not taken for one"
            .to_owned(),
        place,
    }
}

/// What becomes of a resource that gives no event.
// PROMISE-5: a Consent closes what it is about.
fn refused(
    admission: Admission,
    refusal: Refusal,
    closures: Vec<Given>,
    rules: &Rules,
) -> Assessed {
    let kind = admission.kind.clone();
    let content = admission.correlated.map(|correlated| correlated.content);
    let is_unsupported =
        matches!(&refusal, Refusal::Unsupported { .. } | Refusal::UnsupportedResource { .. });
    if is_unsupported && closures.is_empty() {
        let then = rules.on_unsupported;
        let finding = Finding::Unsupported { type_known: false, then };
        let raised = Raised {
            category: Category::Unsupported,
            key: rules.digests.text(&kind),
            text: refusal.to_string(),
            place: kind.clone(),
        };
        let admission =
            Admission { status: Status::Unsupported, raised: Some(raised), ..admission };
        let kept = (then == OnUnsupported::Park).then_some(admission);
        return Assessed { finding, kind, admission: kept };
    }
    let (category, text) = if kind == "Consent" {
        let then =
            if closures.is_empty() { "" } else { "; it is a consent: every purpose is closed" };
        (Category::ConsentUnknown, format!("{refusal}{then}"))
    } else {
        (Category::Unmapped, refusal.to_string())
    };
    let raised = content.map(|key| Raised { category, key, text, place: refusal.place() });
    let admission = Admission {
        status: Status::Parked,
        raised,
        on_conflict: closures.clone(),
        consents: closures,
        ..admission
    };
    // Nobody is answered: there is no sender who could mend it and send it again.
    let finding = Finding::Unmapped(refusal, OnUnmappable::Park);
    Assessed { finding, kind, admission: Some(admission) }
}

/// What a Consent closes that gives no event: every purpose of its patient, until a version of it can
/// be applied. Nothing where it is not known who that is.
// PROMISE-5
fn close(filing: &Filing<'_>, scene: &Scene<'_>) -> Vec<Given> {
    if scene.focus.kind() != "Consent" {
        return Vec::new();
    }
    let Some(patient) = scene.patient else { return Vec::new() };
    let of_patient = Scene { focus: patient, patient: None, before: None, ..*scene };
    let mapped =
        normalize_resource(&filing.rules.mappings, &of_patient, &Context::default(), Trace::Off);
    let drafts = mapped.map(|(normalized, _)| normalized.drafts).unwrap_or_default();
    let Some(draft) = drafts.first() else { return Vec::new() };
    let Some(subject) = filing.subject(draft) else { return Vec::new() };
    let id = scene.focus.id().unwrap_or("?");
    // By its own time, so that an older version that comes late does not open what this one closes.
    vec![filing.closed(key_of(id, filing.rules), subject, written_at(scene.focus))]
}

/// The key of a Consent's record: its server and its name there.
fn key_of(id: &str, rules: &Rules) -> Key {
    Key { source: rules.feed.to_string(), id: name("Consent", id) }
}

/// Whom it is about is not known.
fn nobody(resource: &Resource<'_>) -> Refusal {
    let element = About::of(resource, "").map_or("Patient", |about| about.element);
    let element = if element == "Patient" { "Patient.identifier" } else { element };
    Refusal::UnknownPatient { place: element.to_owned() }
}

/// The element that a field of a consent event is from, for people.
fn place_of(field: &str, _: &str) -> String {
    element_of(field).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::assess::tests::rules_by;
    use crate::admit::before::{STANDING, Standing};
    use crate::consent::{Says, Turn};
    use crate::event::EventType;
    use crate::phi::Phi;

    /// 2026-11-22T12:00:00Z.
    const NOW: i64 = 1_795_348_800_000;
    const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","identifier":[
        {"system":"urn:oid:1.2.3","value":"ZZ1","type":{"coding":[{"code":"MR"}]}}],
        "name":[{"family":"ZZQUILLON","given":["ZZMARA"]}],"gender":"female","birthDate":"1980-01-02"}"#;

    const POLICY: &str = "[codes]\n\"http://terminology.hl7.org/CodeSystem/consentscope/research\" = [\"CLINTRCH\"]\n";

    fn rules() -> Rules {
        let rules = rules_by(POLICY);
        Rules { feed: "ehr".into(), domain: "ehr".to_owned(), ..rules }
    }

    fn taken(json: &str, patient: Option<&str>, before: Option<&Before>) -> Taken {
        let bytes = Bytes::copy_from_slice(json.as_bytes());
        let resource = Resource::parse(&bytes, RESOURCE_BYTES_MAX).unwrap();
        let patient = patient.map(|it| Resource::parse(it.as_bytes(), RESOURCE_BYTES_MAX).unwrap());
        let around = Around::default();
        let beside =
            Beside { patient: patient.as_ref(), around: &around, before, version: Version::R4 };
        assess_resource(&bytes, &resource, &beside, &rules(), NOW)
    }

    fn admission(json: &str, patient: Option<&str>, before: Option<&Before>) -> Admission {
        taken(json, patient, before).assessed.admission.unwrap()
    }

    fn observation(meta: &str, value: &str) -> String {
        format!(
            r#"{{"resourceType":"Observation","id":"o1","meta":{{{meta}}},"status":"final",
            "subject":{{"reference":"Patient/p1"}},"code":{{"coding":[{{"system":"http://loinc.org",
            "code":"4548-4"}}]}},"valueQuantity":{{"value":{value},"unit":"%"}}}}"#
        )
    }

    fn encounter(version: u8, status: &str) -> String {
        format!(
            r#"{{"resourceType":"Encounter","id":"e1","meta":{{"versionId":"{version}",
            "lastUpdated":"2026-11-22T0{version}:00:00Z"}},"status":"{status}",
            "class":{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"IMP"}},
            "subject":{{"reference":"Patient/p1"}},"identifier":[{{"value":"ZZV1"}}]}}"#
        )
    }

    const FIRST: &str = r#""versionId":"1","lastUpdated":"2026-11-22T08:00:00Z""#;

    /// PROMISE-2, PROMISE-3
    #[test]
    fn a_version_of_a_resource_is_one_message_and_other_content_of_it_is_told_apart() {
        let of = |json: &str| {
            let correlated = admission(json, Some(PATIENT), None).correlated.unwrap();
            (correlated.correlation, correlated.content)
        };
        let first = of(&observation(FIRST, "6.90"));
        assert_eq!(first, of(&observation(FIRST, "6.90").replace([' ', '\n'], "")));
        let other = of(&observation(FIRST, "6.9"));
        assert_eq!((first.0 == other.0, first.1 == other.1), (true, false));
        assert_ne!(first.0, of(&observation(r#""versionId":"2""#, "6.90")).0);
        // Who counts no versions says when it changed; who does neither, what is in it.
        let dated = |at: &str| of(&observation(&format!(r#""lastUpdated":"{at}""#), "6.90")).0;
        assert_eq!(dated("2026-11-22T08:00:00Z"), dated("2026-11-22T09:00:00+01:00"));
        assert_ne!(dated("2026-11-22T08:00:00Z"), dated("2026-11-22T08:00:01Z"));
        assert_eq!(of(&observation("", "6.90")).0, of(&observation("", "6.90")).0);
        assert_ne!(of(&observation("", "6.90")).0, of(&observation("", "6.9")).0);
    }

    #[test]
    fn an_event_is_about_the_patient_of_the_resource_or_there_is_none() {
        let found = admission(&observation(FIRST, "6.90"), Some(PATIENT), None);
        let [event] = found.content.events.as_slice() else { panic!("one event") };
        assert_eq!(
            (event.authority.as_str(), event.value.0.expose().as_str()),
            ("urn:oid:1.2.3", "ZZ1")
        );
        assert_eq!(found.status, Status::Admitted);
        let unknown = admission(&observation(FIRST, "6.90"), None, None);
        let raised = unknown.raised.unwrap();
        assert_eq!(unknown.status, Status::Parked);
        assert_eq!(
            (raised.category, raised.place.as_str()),
            (Category::Unmapped, "Observation.subject")
        );
        assert!(
            unknown.content.events.is_empty() && !raised.text.contains("p1"),
            "{}",
            raised.text
        );
        // Who is known by no number is nobody.
        let bare = r#"{"resourceType":"Patient","id":"p1","name":[{"family":"ZZX"}]}"#;
        let nameless = admission(&observation(FIRST, "6.90"), Some(bare), None);
        assert_eq!(nameless.status, Status::Parked);
    }

    #[test]
    fn an_older_version_that_comes_late_does_not_leave_and_changes_nothing() {
        let first = taken(&encounter(1, "in-progress"), Some(PATIENT), None);
        let kinds = |taken: &Taken| -> Vec<EventType> {
            let admission = taken.assessed.admission.as_ref().unwrap();
            admission.content.events.iter().map(|event| event.kind).collect()
        };
        assert_eq!(kinds(&first), [EventType::PatientAdmitted]);
        let kept = first.assessed.admission.unwrap().kept;
        let after = Before::read(kept[0].value.as_ref().unwrap().expose()).unwrap();
        assert_eq!(
            (kept[0].kind, kept[0].key.as_str(), Some(&after)),
            ("encounter", "Encounter/e1", first.after.as_ref())
        );
        let third = taken(&encounter(3, "finished"), Some(PATIENT), Some(&after));
        assert_eq!(kinds(&third), [EventType::PatientDischarged]);
        let late = taken(&encounter(2, "in-progress"), Some(PATIENT), third.after.as_ref());
        let admission = late.assessed.admission.unwrap();
        assert_eq!(
            (admission.status, admission.kept.len(), late.after),
            (Status::Superseded, 0, None)
        );
    }

    /// PROMISE-5
    #[test]
    fn what_the_server_labels_is_labelled_and_an_unknown_label_is_an_exception() {
        let labelled = |system: &str, code: &str| {
            let security =
                format!(r#"{FIRST},"security":[{{"system":"{system}","code":"{code}"}}]"#);
            let found = admission(&observation(&security, "1"), Some(PATIENT), None);
            let labels = crate::admit::labels::labels_of(found.content.events[0].data.root());
            (labels.join(" "), found.raised.map(|raised| (raised.category, raised.place)))
        };
        let confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
        assert_eq!(labelled(confidentiality, "N"), (String::new(), None));
        assert_eq!(labelled(confidentiality, "R"), ("R".to_owned(), None));
        let act = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
        assert_eq!(labelled(act, "HIV"), ("HIV".to_owned(), None));
        let integrity = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
        assert_eq!(labelled(integrity, "SUBSETTED"), (String::new(), None));
        let exception = Some((Category::ConsentUnknown, "meta.security".to_owned()));
        assert_eq!(labelled("urn:zz", "N"), ("unknown".to_owned(), exception));
    }

    #[test]
    fn a_patient_replaced_by_nobody_who_is_known_is_an_update_and_an_exception() {
        let linked = |kind: &str, other: &str| {
            let link = format!(r#""link":[{{"type":"{kind}","other":{other}}}],"gender""#);
            let found = admission(&PATIENT.replace("\"gender\"", &link), None, None);
            let told = found.content.events.first().map(|event| event.kind);
            (told, found.status, found.raised.map(|raised| (raised.category, raised.place)))
        };
        let exception = Some((Category::Unmapped, "Patient.link".to_owned()));
        let updated = Some(EventType::PatientUpdated);
        let reference = r#"{"reference":"Patient/p2"}"#;
        assert_eq!(linked("replaced-by", reference), (updated, Status::Admitted, exception));
        assert_eq!(linked("seealso", reference), (updated, Status::Admitted, None));
        let number = r#"{"identifier":{"system":"urn:oid:1.2.3","value":"ZZ2"}}"#;
        let merged = Some(EventType::PatientMerged);
        assert_eq!(linked("replaced-by", number), (merged, Status::Admitted, None));
    }

    /// PROMISE-5
    #[test]
    fn a_consent_that_gives_no_event_closes_and_so_does_one_that_is_removed() {
        let consent =
            r#"{"resourceType":"Consent","id":"c1","patient":{"reference":"Patient/p1"}}"#;
        let closed = admission(consent, Some(PATIENT), None);
        let closes = |given: &Given| {
            matches!(given.record.says, Says::Closure(Turn::Begins))
                .then(|| given.subject.value.expose().clone())
        };
        assert_eq!(closed.consents.iter().filter_map(closes).collect::<Vec<_>>(), ["ZZ1"]);
        assert_eq!(closed.raised.unwrap().category, Category::ConsentUnknown);
        let whose = Some(("urn:oid:1.2.3".to_owned(), SubjectValue(Phi::new("ZZ1".to_owned()))));
        let before = Before { whose, ..Before::default() };
        let name = Bytes::from_static(b"Consent/c1");
        let at = "2026-11-22T08:00:00Z".parse().ok();
        let gone = removed(&name, ("Consent", "c1"), (at, Some(&before)), &rules(), NOW);
        let gone = gone.assessed.admission.unwrap();
        // By when it was removed, so that an older version that comes late does not open it again.
        assert_eq!(gone.consents[0].record.version.as_deref(), Some("20261122080000"));
        assert_eq!(gone.consents.iter().filter_map(closes).collect::<Vec<_>>(), ["ZZ1"]);
        let unknown = removed(&name, ("Consent", "c1"), (None, None), &rules(), NOW)
            .assessed
            .admission
            .unwrap();
        assert_eq!(
            (unknown.consents.len(), unknown.raised.unwrap().category),
            (0, Category::ConsentUnknown)
        );
    }

    /// PROMISE-5
    #[test]
    fn a_consent_that_may_permit_is_remembered_apart_until_it_does_not() {
        let consent = |status: &str, kind: &str, end: &str| {
            format!(
                r#"{{"resourceType":"Consent","id":"c1","meta":{{"versionId":"7"}},"status":"{status}",
                "scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"research"}}]}},
                "category":[{{"coding":[{{"system":"http://loinc.org","code":"59284-0"}}]}}],
                "patient":{{"reference":"Patient/p1"}},"dateTime":"2026-11-20T08:00:00Z",
                "policyRule":{{"coding":[{{"code":"OPTIN"}}]}},
                "provision":{{"type":"{kind}","period":{{"end":"{end}"}}}}}}"#
            )
        };
        let stands = |json: &str| {
            let found = admission(json, Some(PATIENT), None);
            let kept = found.kept.into_iter().find(|kept| kept.kind == STANDING);
            let kept = kept.unwrap_or_else(|| panic!("{:?}", found.raised));
            assert_eq!(kept.key, "Consent/c1");
            kept.value.and_then(|value| Standing::read(value.expose()))
        };
        let standing = stands(&consent("active", "permit", "2030-01-01T00:00:00Z")).unwrap();
        assert_eq!((standing.id.as_str(), standing.etag().as_deref()), ("c1", Some("W/\"7\"")));
        assert!(standing.until.is_some_and(|until| until > NOW));
        for (status, kind, end) in [
            ("active", "deny", "2030-01-01T00:00:00Z"),
            ("rejected", "permit", "2030-01-01T00:00:00Z"),
            ("active", "permit", "2026-11-21T00:00:00Z"),
        ] {
            assert_eq!(stands(&consent(status, kind, end)), None, "{status} {kind} {end}");
        }
        // Nor one that was removed.
        let name = Bytes::from_static(b"Consent/c1");
        let before = (None, Some(&standing.before));
        let gone = removed(&name, ("Consent", "c1"), before, &rules(), NOW);
        let [kept] = &gone.assessed.admission.unwrap().kept[..] else { panic!("one") };
        assert_eq!((kept.kind, kept.value.is_none()), (STANDING, true));
    }

    /// PROMISE-2
    #[test]
    fn what_gave_nothing_is_remembered_where_nothing_but_content_tells_versions() {
        let good = taken(&observation("", "6.9"), Some(PATIENT), None);
        let wrong = observation("", "6.9").replace("\"subject\"", "\"subjectZZ\"");
        let refused = taken(&wrong, Some(PATIENT), good.after.as_ref());
        let kept = refused.assessed.admission.unwrap().kept;
        assert_eq!(kept.len(), 1);
        let again = taken(&observation("", "6.9"), Some(PATIENT), refused.after.as_ref());
        let of = |taken: &Taken| {
            taken.assessed.admission.as_ref().unwrap().correlated.unwrap().correlation
        };
        assert_ne!(of(&good), of(&again));
        let twice = taken(&observation("", "6.9"), Some(PATIENT), again.after.as_ref());
        assert_eq!(of(&again), of(&twice));
    }

    /// PROMISE-11
    #[test]
    fn what_is_no_resource_of_its_own_is_kept_beside_an_exception() {
        let nameless =
            taken(r#"{"resourceType":"Observation","status":"final"}"#, Some(PATIENT), None);
        assert_eq!(nameless.assessed.finding, Finding::BadResource);
        let admission = nameless.assessed.admission.unwrap();
        let raised = admission.raised.unwrap();
        assert_eq!((admission.status, raised.place.as_str()), (Status::Refused, "Observation.id"));
        let unmapped = taken(r#"{"resourceType":"Practitioner","id":"1"}"#, None, None);
        assert!(matches!(unmapped.assessed.finding, Finding::Unsupported { .. }));
        assert_eq!(unmapped.assessed.admission.unwrap().status, Status::Unsupported);
    }
}
