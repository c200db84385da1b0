//! Resources in the shapes that servers and the examples of HL7 have them in: what each becomes.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tidegate::admit::Identity;
use tidegate::document::Problems;
use tidegate::event::View;
use tidegate::normalize::fhir::{Scene, normalize_resource, opened, release};
use tidegate::normalize::{self, Context, Mappings, Normalized, Refusal, Trace};
use tidegate::parse::fhir::Version;

const BYTES_MAX: usize = 1 << 20;

fn mappings() -> Mappings {
    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    mappings
}

/// What became of each resource of a file, by its name, in the order of the file.
fn outcomes(bytes: Vec<u8>) -> Vec<(String, Result<Normalized, Refusal>)> {
    let mappings = mappings();
    let bytes = opened::json(bytes, BYTES_MAX, None).unwrap();
    let opened = opened::open(&bytes, BYTES_MAX).unwrap();
    let around = opened::around(&opened);
    let mut outcomes = Vec::new();
    for focus in opened.iter().map(|one| one.resource.as_ref().unwrap()) {
        let version = release::release(focus);
        let scene = Scene { focus, patient: None, before: None, version, around: &around };
        let mapped = normalize_resource(&mappings, &scene, &Context::default(), Trace::Off);
        let name = format!("{}/{}", focus.kind(), focus.id().unwrap_or("-"));
        outcomes.push((name, mapped.map(|(normalized, _)| normalized)));
    }
    outcomes
}

fn bundle(resources: &[Json]) -> Vec<u8> {
    let entries: Vec<Json> = resources.iter().map(|it| json!({ "resource": it })).collect();
    json!({ "resourceType": "Bundle", "type": "collection", "entry": entries })
        .to_string()
        .into_bytes()
}

/// The first event of each, as JSON, by the name of its resource.
fn events(bytes: Vec<u8>) -> BTreeMap<String, Json> {
    let first = |(name, outcome): (String, Result<Normalized, Refusal>)| {
        let data = serde_json::to_value(&outcome.ok()?.drafts.first()?.data).unwrap();
        Some((name, data))
    };
    outcomes(bytes).into_iter().filter_map(first).collect()
}

fn shapes(name: &str) -> Vec<u8> {
    std::fs::read(format!("fixtures/fhir/shapes-{name}.json")).unwrap()
}

/// PROMISE-11
#[test]
fn each_shape_becomes_the_events_that_it_says_or_a_named_refusal() {
    let mut lines = Vec::new();
    for file in ["r4", "r5", "transaction"] {
        for (name, outcome) in outcomes(shapes(file)) {
            let kind = name.split('/').next().unwrap_or_default();
            if !crate::fhir::OURS.contains(&kind) {
                continue;
            }
            lines.push(match outcome {
                Err(refusal) => format!("{file} {name}: {}: {refusal}", refusal.code()),
                Ok(Normalized { drafts, invalid, .. }) => {
                    assert!(!drafts.is_empty(), "{name} is lost");
                    let kinds: Vec<&str> = drafts.iter().map(|it| it.kind.name()).collect();
                    let number = |data: View<'_>| {
                        let subject = Identity::default().subject(data, "feed").unwrap();
                        subject.value.into_exposed()
                    };
                    let number = number(drafts[0].data.root());
                    let wrong = if invalid.is_empty() {
                        String::new()
                    } else {
                        format!(" without {}", invalid.join(", "))
                    };
                    format!("{file} {name}: {} of {number}{wrong}", kinds.join(", "))
                }
            });
        }
    }
    insta::with_settings!(
        { snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true },
        { insta::assert_snapshot!("fhir-shapes", lines.join("\n")); }
    );
}

/// PROMISE-7: a contract that names clinicians has not named the patient.
#[test]
fn a_patient_who_said_or_measured_it_is_no_clinician() {
    let events = events(shapes("r4"));
    assert_eq!(
        events["Condition/f001"]["diagnoses"][0],
        json!({ "code": { "system": "SCT", "code": "368009" }, "status": "active", "onsetAt": "2011-08-05" })
    );
    let performers =
        &events["Observation/measured-by-the-patient"]["observations"][0]["performers"];
    assert_eq!(performers.as_array().map(Vec::len), Some(1));
    assert_eq!(performers[0]["identifier"]["value"], "ZZ118265112");
    // Who agrees may be the patient.
    let r5 = self::events(shapes("r5"));
    assert_eq!(r5["Consent/grantor"]["consent"]["signer"]["identifier"]["value"], "ZZ5");
}

#[test]
fn a_null_says_nothing_and_blanks_are_no_number() {
    let events = events(shapes("r4"));
    let patient = &events["Patient/nulls"]["patient"];
    assert_eq!(
        *patient,
        json!({ "identifiers": [{ "value": "ZZ7", "authorityId": "urn:x", "authorityIdType": "URI" }] })
    );
    assert!(!events.contains_key("Patient/blank"));
    let spaced = &events["Patient/spaces"]["patient"]["identifiers"][0];
    assert_eq!(*spaced, json!({ "value": "ZZ8", "authorityId": "1.2", "authorityIdType": "ISO" }));
}

#[test]
fn of_several_classes_the_known_one_counts_and_a_diagnosis_is_told_once() {
    let events = events(shapes("r5"));
    assert_eq!(events["Encounter/example"]["diagnoses"].as_array().map(Vec::len), Some(1));
    assert_eq!(events["Encounter/emerg5"]["visit"]["class"]["code"], "EMER");
    assert_eq!(events["Encounter/disch5"]["visit"]["class"]["code"], "IMP");
}

#[test]
fn systems_that_some_servers_write_in_their_own_way_are_known() {
    let events = events(shapes("r4"));
    for name in ["Observation/dstu2flag", "Observation/epicflag"] {
        assert_eq!(events[name]["observations"][0]["flags"], json!(["H"]), "{name}");
    }
    assert_eq!(events["DiagnosticReport/f001"]["report"]["section"], "HM");
    let by_url = &events["Observation/type-url"]["patient"]["identifiers"][0]["value"];
    assert_eq!(by_url, "ZZ738472983");
}

#[test]
fn a_class_of_a_system_of_ones_own_admits_nobody() {
    const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    let by = |class: Json| {
        let encounter = json!({ "resourceType": "Encounter", "id": "e", "status": "in-progress",
            "class": class, "subject": { "reference": "Patient/y" } });
        let patient =
            json!({ "resourceType": "Patient", "id": "y", "identifier": [{ "value": "ZZY" }] });
        let told = outcomes(bundle(&[patient, encounter])).pop().unwrap().1.unwrap();
        let draft = &told.drafts[0];
        let class = serde_json::to_value(&draft.data).unwrap()["visit"]["class"].clone();
        (draft.kind.name(), class)
    };
    let short_stay = json!({ "code": "SS", "source": "SS" });
    let own = json!({ "source": "SS" });
    for system in [ACT, "urn:oid:2.16.840.1.113883.5.4", "http://hl7.org/fhir/v3/ActCode"] {
        let told = by(json!({ "system": system, "code": "SS" }));
        assert_eq!(told, ("patient.admitted", short_stay.clone()), "{system}");
    }
    assert_eq!(by(json!({ "code": "SS" })), ("patient.admitted", short_stay.clone()));
    for system in ["urn:oid:1.2.3", "http://zz.example/class"] {
        let told = by(json!({ "system": system, "code": "SS" }));
        assert_eq!(told, ("patient.registered", own.clone()), "{system}");
    }
    // R5: several, each with several codes.
    let coding = |system: &str, code: &str| json!({ "system": system, "code": code });
    let concept = |codings: &[Json]| json!({ "coding": codings });
    let both = concept(&[coding("urn:oid:1.2.3", "SS"), coding(ACT, "AMB")]);
    let ambulatory = json!({ "code": "AMB", "source": "AMB" });
    assert_eq!(by(json!([both])), ("patient.registered", ambulatory));
    let by_oid = concept(&[coding("urn:oid:2.16.840.1.113883.5.4", "IMP")]);
    let local = concept(&[coding("urn:oid:1.2.3", "SS")]);
    assert_eq!(by(json!([local, by_oid])).0, "patient.admitted");
    assert_eq!(by(json!([{ "text": "ZZ ward" }])).1, json!({ "source": "ZZ ward" }));
}

#[test]
fn a_subject_that_is_null_is_none() {
    let patient =
        json!({ "resourceType": "Patient", "id": "y", "identifier": [{ "value": "ZZY" }] });
    let consent = json!({ "resourceType": "Consent", "id": "c", "status": "active", "subject": null,
        "patient": { "reference": "Patient/y" } });
    let told = events(bundle(&[patient, consent]));
    assert!(told.contains_key("Consent/c"), "{told:?}");
}

#[test]
fn a_conclusion_as_a_code_is_an_observation_of_the_report() {
    let report = json!({
        "resourceType": "DiagnosticReport", "id": "r", "status": "final",
        "code": { "coding": [{ "system": "http://loinc.org", "code": "60567-5" }] },
        "subject": { "reference": "Patient/y" },
        "result": [{ "reference": "Observation/o" }],
        "conclusionCode": [
            { "coding": [{ "system": "http://snomed.info/sct", "code": "399068003", "display": "ZZ tumor" }], "text": "ZZ" },
            { "text": "ZZ nothing else" },
        ],
        "presentedForm": [{ "contentType": "text/plain", "data": "YWJj" }],
    });
    let nothing_but_text = json!({ "resourceType": "Observation", "id": "o", "status": "final",
        "text": { "status": "generated", "div": "<div>ZZ</div>" }, "subject": { "reference": "Patient/y" } });
    let patient =
        json!({ "resourceType": "Patient", "id": "y", "identifier": [{ "value": "ZZY" }] });
    let events = events(bundle(&[patient, nothing_but_text, report]));
    let observations = events["DiagnosticReport/r"]["observations"].as_array().unwrap();
    let code = json!({ "system": "LN", "code": "60567-5" });
    let tumor =
        json!({ "system": "SCT", "code": "399068003", "display": "ZZ tumor", "text": "ZZ" });
    let conclusion =
        |value: Json| json!({ "code": code, "value": { "type": "CWE", "code": value } });
    assert_eq!(
        observations[..3],
        [
            json!({ "status": { "code": "final", "source": "final" } }),
            conclusion(tumor),
            conclusion(json!({ "text": "ZZ nothing else" })),
        ]
    );
    assert_eq!((observations.len(), &observations[3]["value"]["type"]), (4, &json!("ED")));
}

/// A decimal keeps the digits that it came with, whatever a float would make of them.
#[test]
fn a_decimal_keeps_its_digits() {
    let events = events(shapes("r4"));
    let observations = events["Observation/decimal"]["observations"].as_array().unwrap();
    let told: Vec<(&str, Option<f64>)> = observations
        .iter()
        .skip(1)
        .map(|it| (it["value"]["text"].as_str().unwrap(), it["value"]["number"].as_f64()))
        .collect();
    assert_eq!(
        told,
        [
            ("0", Some(0.0)),
            ("0.0", Some(0.0)),
            ("1.0", Some(1.0)),
            ("1.10", Some(1.1)),
            ("0.00000000000000001", Some(1e-17)),
            ("-1.000000000000000000e-245", Some(-1e-245)),
            ("1.0E+22", Some(1e22)),
            ("1.00065022141624642", Some(1.000_650_221_416_246_4)),
            ("2.000", Some(2.0)),
            ("100000000000000000000000000000", Some(1e29)),
            ("1e400", None),
            ("-0", Some(0.0)),
            ("1E-400", Some(0.0)),
        ]
    );
}

/// PROMISE-11: of a page in XML, too, an element that is there twice costs its resource alone.
#[test]
fn in_xml_an_element_that_is_there_twice_costs_its_resource() {
    let patient = |id: &str, more: &str| {
        format!(
            "<entry><resource><Patient><id value=\"{id}\"/><identifier><value value=\"ZZ{id}\"/>\
             </identifier>{more}</Patient></resource></entry>"
        )
    };
    let page = format!(
        "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"searchset\"/>{}{}{}{}</Bundle>",
        patient("a", ""),
        patient("b", "<gender value=\"male\"/><gender value=\"female\"/>"),
        "<entry><resource><Patient/></resource><resource><Patient/></resource></entry>",
        patient("c", "<gender value=\"male\"/>"),
    );
    let json = opened::json(page.into_bytes(), BYTES_MAX, Some(Version::R4)).unwrap();
    let all = opened::open(&json, BYTES_MAX).unwrap();
    let said: Vec<String> = all
        .iter()
        .map(|one| match &one.resource {
            Ok(resource) => resource.id().unwrap_or("-").to_owned(),
            Err(wrong) => {
                format!("{}: {}", wrong.place.as_deref().unwrap_or_default(), wrong.wrong)
            }
        })
        .collect();
    let twice = "an object has two elements of one name";
    assert_eq!(
        said,
        ["a", &format!("gender: {twice}"), &format!("Bundle.entry[2].resource: {twice}"), "c"]
    );
}

/// A Bundle of one's own making, with every way of naming a patient of the same Bundle.
#[test]
fn a_reference_that_leads_to_nobody_or_elsewhere_is_nobody() {
    let condition = |id: &str, subject: Json| json!({ "resourceType": "Condition", "id": id, "code": { "text": "ZZ" }, "subject": subject });
    let patient =
        json!({ "resourceType": "Patient", "id": "y", "identifier": [{ "value": "ZZY" }] });
    let events = events(bundle(&[
        patient,
        condition("relative", json!({ "reference": "Patient/y" })),
        condition("versioned", json!({ "reference": "Patient/y/_history/7" })),
        condition("elsewhere", json!({ "reference": "https://other.example/fhir/Patient/y" })),
        condition("unknown", json!({ "reference": "Patient/z" })),
        condition("query", json!({ "reference": "Patient?identifier=ZZY" })),
        condition("nothing", json!(null)),
    ]));
    let told: Vec<&str> = events.keys().map(String::as_str).collect();
    assert_eq!(told, ["Condition/relative", "Condition/versioned", "Patient/y"]);
}
