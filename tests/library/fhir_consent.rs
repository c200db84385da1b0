//! FHIR Consent, R4 and R5, to records: what each of its elements does to an answer, and the
//! resources of others.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tidegate::consent::intake::{Carrier, Doubt, element_of, intake, key, told};
use tidegate::consent::{
    Decision, Epoch, Ledger, Policy, Presence, Question, Record, Requirement, Standin, Status, ask,
};
use tidegate::document::{Document, Problems};
use tidegate::event::schema::Class;
use tidegate::event::{EventId, EventType, Tree};

const POLICY: &str = r#"
[codes]
"http://terminology.hl7.org/CodeSystem/consentscope/research" = ["CLINTRCH", "HRESCH"]
"http://terminology.hl7.org/CodeSystem/consentscope/treatment" = []
"LN/ZZ-1" = ["TREAT"]
"HL70496/109" = ["CLINTRCH"]
"http://example.org/zzpolicies/research" = ["CLINTRCH"]
"urn:oid:1.2.3/ZZMODULE" = ["CLINTRCH"]
"urn:zz/OWN" = ["HMARKT"]
"http://example.org/zzpolicies/none" = { purposes = ["CLINTRCH"], decision = "deny" }
[grantees]
"Organization/zzcrm" = ["crm"]
"urn:oid:1.2.3.4|ZZ77" = ["crm"]
"Organization/zznobody" = []
[classes]
"http://hl7.org/fhir/resource-types/Observation" = ["clinical"]
[[jurisdiction]]
code = "US-CA"
majority = 18
"#;

fn policy() -> Policy {
    let problems = Problems::default();
    let policy = Policy::of(&Document::from_text("p", Path::new("."), POLICY), &problems);
    assert!(problems.is_clean(), "{:?}", problems.mistakes());
    policy
}

const CARRIER: Carrier<'_> = Carrier {
    feed: "zzehr",
    site: None,
    message: "m1",
    place: "consent1",
    zone: None,
    recorded_at: jiff::Timestamp::UNIX_EPOCH,
};

/// The event of a Consent, as its mapping gives it.
fn event(resource: &Json) -> Tree {
    let text = |path: &str| resource.pointer(path).and_then(Json::as_str);
    let mut resource = resource.clone();
    resource.as_object_mut().unwrap().remove("text");
    let mut consent = json!({ "directive": resource.to_string() });
    if let Some(at) = text("/dateTime").or_else(|| text("/date")) {
        consent["decidedAt"] = json!(at);
    }
    let data = json!({ "patient": { "birthDate": "2010-01-02" }, "consent": consent });
    serde_json::from_str(&data.to_string()).unwrap()
}

fn read(resource: &Json) -> Result<(Record, Option<Doubt>), Doubt> {
    let carrier = Carrier { recorded_at: "2026-11-22T12:00:00Z".parse().unwrap(), ..CARRIER };
    intake(event(resource).root(), &[], &carrier, &policy())
}

/// The answer over records to a question: purpose, labels and consumer as words.
fn answer(records: &[Record], question: &str) -> String {
    let words: Vec<(&str, &str)> = question
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .collect();
    let get = |key: &str| words.iter().find(|(word, _)| *word == key).map(|(_, value)| *value);
    let event = EventId("e".into());
    let labels: Vec<&str> = get("labels").map(|it| it.split(',').collect()).unwrap_or_default();
    let contract: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    let requirement = match get("opt-out") {
        Some(_) => Requirement::OptOut,
        None => Requirement::OptIn {
            missing: tidegate::consent::Missing::Suppress,
            grantee: tidegate::consent::Naming::Anybody,
        },
    };
    let classes = get("classes").map(|_| vec![Class::Clinical]).unwrap_or_default();
    let (purpose, to) = (get("for").unwrap_or("CLINTRCH"), get("to").unwrap_or("crm"));
    let question = Question {
        labels: &labels,
        contract_labels: &contract,
        jurisdictions: &["US-CA"],
        classes: &classes,
        ..Question::new(&event, "r", purpose, to, &requirement)
    };
    let now = get("now").unwrap_or("2026-11-22T12:00:00Z").parse().unwrap();
    match ask(&question, &Ledger::of(Epoch(1), records), &policy(), now) {
        Ok(_) => "permit".to_owned(),
        Err(refusal) => refusal.code().to_string(),
    }
}

fn coding(system: &str, code: &str) -> Json {
    json!([{ "coding": [{ "system": system, "code": code }] }])
}

const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
const LEVEL: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

/// An active Consent to research in R4, with what is given; `rule` is its policy rule, if any.
fn r4(rule: &str, provision: Json) -> Json {
    let mut resource = json!({
        "resourceType": "Consent", "id": "zz1", "status": "active",
        "meta": { "versionId": "3", "lastUpdated": "2026-11-20T10:00:00.120Z" },
        "scope": coding("http://terminology.hl7.org/CodeSystem/consentscope", "research")[0],
        "category": coding("http://loinc.org", "59284-0"),
        "patient": { "reference": "Patient/zz1" }, "dateTime": "2026-01-05",
    });
    if !rule.is_empty() {
        resource["policyRule"] = coding(ACT, rule)[0].clone();
    }
    if !provision.is_null() {
        resource["provision"] = provision;
    }
    resource
}

/// The same in R5.
fn r5(decision: &str, provisions: Json) -> Json {
    let mut resource = json!({
        "resourceType": "Consent", "id": "zz1", "status": "active",
        "category": coding("http://terminology.hl7.org/CodeSystem/consentscope", "research"),
        "subject": { "reference": "Patient/zz1" }, "date": "2026-01-05", "decision": decision,
    });
    if !provisions.is_null() {
        resource["provision"] = provisions;
    }
    resource
}

fn purpose(code: &str) -> Json {
    json!([{ "system": REASON, "code": code }])
}

fn actor(role: &str, reference: &str) -> Json {
    let system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
    json!([{ "role": coding(system, role)[0], "reference": { "reference": reference } }])
}

fn with(mut resource: Json, more: Json) -> Json {
    for (name, value) in more.as_object().unwrap() {
        resource[name] = value.clone();
    }
    resource
}

/// The table: a name, a Consent, and answers to questions.
type Row = (&'static str, Json, &'static [(&'static str, &'static str)]);

fn rows() -> Vec<Row> {
    let none = Json::Null;
    let module = || json!([{ "coding": [{ "system": "urn:oid:1.2.3", "code": "ZZMODULE" }] }]);
    vec![
        ("opted in", r4("OPTIN", none.clone()), &[("", "permit"), ("for=HMARKT", "missing")]),
        (
            "opted out",
            r4("OPTOUT", none.clone()),
            &[("opt-out", "refused"), ("for=HMARKT opt-out", "permit")],
        ),
        (
            "opted in with restrictions that nothing states",
            r4("OPTINR", none.clone()),
            &[("", "missing")],
        ),
        (
            "a root that permits",
            r4(
                "",
                json!({ "type": "permit", "period": { "start": "2026-01-05", "end": "2026-12-31" } }),
            ),
            &[("", "permit"), ("now=2027-01-01T00:00:00Z", "expired")],
        ),
        (
            "a root that permits for a purpose",
            r4("OPTIN", json!({ "type": "permit", "purpose": purpose("CLINTRCH") })),
            &[("", "permit"), ("for=HRESCH", "missing")],
        ),
        (
            "a purpose stands for itself where no type is mapped",
            with(
                r4("", json!({ "type": "permit", "purpose": purpose("HMARKT") })),
                json!({ "scope": none }),
            ),
            &[("for=HMARKT", "permit"), ("", "missing")],
        ),
        (
            "a purpose of another system does not, but for a row",
            r4(
                "",
                json!({ "type": "permit", "purpose": [
                { "system": "urn:zz", "code": "CLINTRCH" }, { "system": "urn:zz", "code": "OWN" }] }),
            ),
            &[("", "missing"), ("for=HMARKT", "permit")],
        ),
        (
            "opted in, a root that denies to one consumer",
            r4("OPTIN", json!({ "type": "deny", "actor": actor("PRCP", "Organization/zzcrm") })),
            &[("", "refused"), ("to=lab", "permit")],
        ),
        (
            "opted in, a root that denies to somebody whom nobody knows",
            r4("OPTIN", json!({ "type": "deny", "actor": actor("PRCP", "Organization/zzother") })),
            &[("", "refused"), ("to=lab", "refused")],
        ),
        (
            "opted in, a root that denies to somebody who gets nothing here",
            r4("OPTIN", json!({ "type": "deny", "actor": actor("PRCP", "Organization/zznobody") })),
            &[("", "permit")],
        ),
        (
            "an author is nothing that can be told",
            r4("OPTIN", json!({ "type": "deny", "actor": actor("AUT", "Organization/zzcrm") })),
            &[("", "refused"), ("to=lab", "refused")],
        ),
        (
            "who receives is known by an identifier",
            r4(
                "",
                json!({ "type": "permit", "actor": [{ "role": { "coding": [{
                "system": "http://hl7.org/fhir/v3/ParticipationType", "code": "IRCP" }] },
                "reference": { "identifier": { "system": "urn:oid:1.2.3.4", "value": "ZZ77" } } }] }),
            ),
            &[("", "permit"), ("to=lab", "missing")],
        ),
        (
            "a permit for whom nobody knows opens nothing",
            r4(
                "OPTIN",
                json!({ "type": "permit", "actor": actor("PRCP", "Organization/zzother") }),
            ),
            &[("", "missing")],
        ),
        (
            "a root without a type that limits or excepts opens nothing",
            r4("OPTIN", json!({ "period": { "start": "2026-01-01", "end": "2026-12-31" } })),
            &[("", "refused"), ("now=2027-02-01T00:00:00Z", "refused")],
        ),
        (
            "nor does one under an opt-out",
            r4("OPTOUT", json!({ "actor": actor("PRCP", "Organization/zzcrm") })),
            &[("", "refused")],
        ),
        (
            "a root without a type and criteria is a frame",
            r4("OPTIN", json!({ "provision": [{ "type": "deny", "purpose": purpose("HRESCH") }] })),
            &[("", "refused"), ("for=HMARKT opt-out", "permit")],
        ),
        (
            "opted out, with an exception",
            r4("OPTOUT", json!({ "type": "permit", "purpose": purpose("ETREAT") })),
            &[("for=ETREAT", "permit"), ("opt-out", "refused")],
        ),
        (
            "everything denied, and modules permitted",
            r4(
                "",
                json!({ "type": "deny", "period": { "start": "2020-01-01", "end": "2050-01-01" },
                "provision": [{ "type": "permit", "code": module() }] }),
            ),
            &[
                ("", "permit"),
                ("for=HRESCH opt-out", "refused"),
                ("now=2051-01-01T00:00:00Z", "expired"),
            ],
        ),
        (
            "a code that no row maps cannot be told",
            r4(
                "",
                json!({ "type": "deny", "provision": [{ "type": "permit", "code":
                [{ "coding": [{ "system": "http://loinc.org", "code": "34133-9" }] }] }] }),
            ),
            &[("", "refused")],
        ),
        (
            "permitted, an exception to it, and one to that",
            r4(
                "",
                json!({ "type": "permit", "provision": [{ "type": "deny", "purpose": purpose("CLINTRCH"),
                "provision": [{ "type": "permit", "actor": actor("PRCP", "Organization/zzcrm") }] }] }),
            ),
            &[("", "permit"), ("to=lab", "refused"), ("for=HRESCH", "permit")],
        ),
        (
            "nested in R4 without a type closes",
            r4("", json!({ "type": "deny", "provision": [{ "purpose": purpose("CLINTRCH") }] })),
            &[("", "refused")],
        ),
        (
            "data of a label",
            r4(
                "",
                json!({ "type": "permit", "provision": [{ "type": "deny",
                "securityLabel": [{ "system": ACT, "code": "PSY" }] }] }),
            ),
            &[("", "permit"), ("labels=PSY", "refused"), ("labels=HIV", "label")],
        ),
        (
            "a label that nobody mapped may be on anything",
            r4(
                "",
                json!({ "type": "permit", "provision": [{ "type": "deny",
                "securityLabel": [{ "system": "urn:zz", "code": "X" }] }] }),
            ),
            &[("", "refused")],
        ),
        (
            "permitted up to restricted",
            r4(
                "",
                json!({ "type": "permit", "securityLabel": [{ "system": LEVEL, "code": "R" }] }),
            ),
            &[
                ("", "permit"),
                ("labels=R", "permit"),
                ("labels=V", "missing"),
                ("labels=HIV", "missing"),
            ],
        ),
        (
            "permitted up to what is less than normal",
            r4(
                "",
                json!({ "type": "permit", "securityLabel": [{ "system": LEVEL, "code": "L" }] }),
            ),
            &[("", "missing")],
        ),
        (
            "one that is about taking in alone",
            r4("OPTIN", json!({ "type": "deny", "action": coding(ACTION, "collect") })),
            &[("", "permit")],
        ),
        (
            "taking in and letting out",
            r4(
                "OPTIN",
                json!({ "type": "deny", "action": [coding(ACTION, "collect")[0], coding(ACTION, "disclose")[0]] }),
            ),
            &[("", "refused")],
        ),
        (
            "an action that nobody knows",
            r4(
                "OPTIN",
                json!({ "type": "deny", "purpose": purpose("HMARKT"), "action": coding("urn:zz", "sell") }),
            ),
            &[("", "permit"), ("for=HMARKT opt-out", "refused")],
        ),
        (
            "particular data, and when it was made",
            r4(
                "",
                json!({ "type": "permit", "provision": [
                { "type": "deny", "data": [{ "meaning": "instance", "reference": { "reference": "Observation/1" } }] }] }),
            ),
            &[("", "refused")],
        ),
        (
            "a permit for data of a time",
            r4("", json!({ "type": "permit", "dataPeriod": { "start": "2020-01-01" } })),
            &[("", "missing")],
        ),
        (
            "a type of resources by its row",
            r4(
                "",
                json!({ "type": "permit", "class": [
                { "system": "http://hl7.org/fhir/resource-types", "code": "Observation" }] }),
            ),
            &[("classes=clinical", "permit"), ("", "missing")],
        ),
        (
            "an element that nobody knows",
            r4("", json!({ "type": "permit", "weekdays": ["mon"] })),
            &[("", "missing")],
        ),
        (
            "nobody has verified it",
            with(r4("OPTIN", none.clone()), json!({ "verification": [{ "verified": false }] })),
            &[("", "missing")],
        ),
        (
            "one that somebody has",
            with(
                r4("OPTIN", none.clone()),
                json!({ "verification": [{ "verified": false }, { "verified": true }] }),
            ),
            &[("", "permit")],
        ),
        (
            "a refusal that nobody has verified is one",
            with(r4("OPTOUT", none.clone()), json!({ "verification": [{ "verified": false }] })),
            &[("opt-out", "refused")],
        ),
        (
            "rejected",
            with(r4("OPTIN", none.clone()), json!({ "status": "rejected" })),
            &[("opt-out", "refused")],
        ),
        (
            "a draft",
            with(r4("OPTIN", none.clone()), json!({ "status": "draft" })),
            &[("", "missing")],
        ),
        (
            "proposed",
            with(r4("OPTOUT", none.clone()), json!({ "status": "proposed" })),
            &[("opt-out", "permit")],
        ),
        (
            "not done",
            with(r5("permit", none.clone()), json!({ "status": "not-done" })),
            &[("", "missing")],
        ),
        (
            "inactive",
            with(r4("OPTIN", none.clone()), json!({ "status": "inactive" })),
            &[("", "inactive"), ("opt-out", "permit")],
        ),
        (
            "entered in error",
            with(r4("OPTOUT", none.clone()), json!({ "status": "entered-in-error" })),
            &[("opt-out", "permit")],
        ),
        (
            "dated in the future",
            with(r4("OPTIN", none.clone()), json!({ "dateTime": "2027-01-05" })),
            &[("", "future-dated")],
        ),
        (
            "a policy that the site has mapped",
            with(
                r4("", none.clone()),
                json!({ "scope": none, "policy": [{ "uri": "http://example.org/zzpolicies/research" }] }),
            ),
            &[("", "permit"), ("for=HRESCH", "missing")],
        ),
        (
            "a policy that says no, with a provision that says yes",
            with(
                r4("OPTIN", json!({ "type": "permit" })),
                json!({ "policy": [{ "uri": "http://example.org/zzpolicies/none" }] }),
            ),
            &[("opt-out", "refused")],
        ),
        (
            "known to be about something else",
            with(
                r4("", none.clone()),
                json!({ "scope":
                coding("http://terminology.hl7.org/CodeSystem/consentscope", "treatment")[0] }),
            ),
            &[("", "missing"), ("opt-out", "permit")],
        ),
        (
            "a type by the name that HL7 v2 has for its system",
            with(
                r4("OPTIN", none.clone()),
                json!({ "scope": none,
                "category": [coding("http://terminology.hl7.org/CodeSystem/v2-0496", "109")[0], coding("http://loinc.org", "ZZ-1")[0]] }),
            ),
            &[("", "permit"), ("for=TREAT", "permit"), ("for=HRESCH", "missing")],
        ),
        ("R5, permitted", r5("permit", none.clone()), &[("", "permit"), ("for=HMARKT", "missing")]),
        ("R5, denied", r5("deny", none.clone()), &[("opt-out", "refused")]),
        (
            "R5, within its period",
            with(r5("permit", none.clone()), json!({ "period": { "end": "2026-06-30" } })),
            &[("", "expired")],
        ),
        (
            "R5, provisions mean the opposite of what they are in",
            r5(
                "deny",
                json!([{ "actor": actor("PRCP", "Organization/zzcrm"), "provision": [
                { "securityLabel": [{ "system": ACT, "code": "PSY" }] }] }]),
            ),
            &[("", "permit"), ("to=lab", "refused"), ("labels=PSY", "refused")],
        ),
        (
            "R5, one that says that it denies does",
            r5("deny", json!([{ "type": "deny", "purpose": purpose("CLINTRCH") }])),
            &[("", "refused")],
        ),
        (
            "R5, one that says that it permits where it would deny does not",
            r5("permit", json!([{ "type": "permit", "purpose": purpose("CLINTRCH") }])),
            &[("", "refused")],
        ),
        (
            "R5, an expression cannot be told",
            r5(
                "deny",
                json!([{ "purpose": purpose("CLINTRCH"),
                "expression": { "language": "text/fhirpath", "expression": "true" } }]),
            ),
            &[("", "refused")],
        ),
        (
            "R5, for who complies with it alone",
            with(
                r5("permit", none.clone()),
                json!({ "grantee": [{ "reference": "Organization/zzcrm" }] }),
            ),
            &[("", "permit"), ("to=lab", "missing")],
        ),
        (
            "R5, the patient among those changes nothing",
            with(
                r5("permit", none.clone()),
                json!({ "grantee": [{ "reference": "Patient/zz1" }] }),
            ),
            &[("", "permit")],
        ),
        (
            "R5, exceptions for who complies with it alone",
            with(
                r5("deny", json!([{ "purpose": purpose("CLINTRCH") }])),
                json!({ "grantee": [{ "reference": "Practitioner/zz9" }] }),
            ),
            &[("", "refused")],
        ),
    ]
}

/// PROMISE-5
#[test]
fn each_element_of_a_consent_does_what_it_says_or_less() {
    let mut wrong = Vec::new();
    for (name, resource, answers) in rows() {
        let record = match read(&resource) {
            Ok((record, _)) => record,
            Err(doubt) => {
                wrong.push(format!("{name}: {doubt:?}"));
                continue;
            }
        };
        // As it is kept and read again.
        let json = serde_json::to_string(&record).unwrap();
        let records = [serde_json::from_str::<Record>(&json).unwrap()];
        for (question, expected) in answers {
            let found = answer(&records, question);
            if found != *expected {
                wrong.push(format!("{name}: {found}, not {expected} for `{question}`\n  {json}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// PROMISE-5
#[test]
fn what_cannot_be_applied_is_no_record_and_says_where() {
    let none = Json::Null;
    let status = Doubt::UnknownWord("consent.status");
    let decision = Doubt::UnknownWord("consent.decision");
    let whole = Doubt::Unreadable("consent.directive");
    let mut deep = json!({ "type": "deny" });
    for _ in 0..9 {
        deep = json!({ "type": "deny", "provision": [deep] });
    }
    let wide: Vec<Json> = vec![json!({ "type": "deny" }); 300];
    for (resource, doubt) in [
        (with(r4("OPTIN", none.clone()), json!({ "status": "unknown" })), status),
        (with(r4("OPTIN", none.clone()), json!({ "status": "Active" })), status),
        (with(r4("OPTIN", none.clone()), json!({ "status": none })), status),
        (r4("", none.clone()), decision),
        (r4("INFA", none.clone()), decision),
        (r4("", json!({ "purpose": purpose("CLINTRCH") })), decision),
        (r5("maybe", none.clone()), decision),
        (
            with(r4("OPTIN", none.clone()), json!({ "policyRule": coding("urn:zz", "OPTIN")[0] })),
            decision,
        ),
        (
            with(
                r4("", json!({ "provision": [{ "type": "deny" }] })),
                json!({ "policy": [{ "uri": "http://example.org/zzpolicies/research" }] }),
            ),
            decision,
        ),
        (r4("OPTIN", json!({ "type": "perhaps" })), whole),
        (r4("OPTIN", json!({ "type": "permit", "provision": ["x"] })), whole),
        (
            with(r4("OPTIN", none.clone()), json!({ "modifierExtension": [{ "url": "urn:zz" }] })),
            whole,
        ),
        (with(r4("OPTIN", none.clone()), json!({ "implicitRules": "urn:zz" })), whole),
        (r4("OPTIN", deep), whole),
        (r5("permit", json!(wide)), whole),
        (
            with(r4("OPTIN", none.clone()), json!({ "dateTime": "2026-02-30" })),
            Doubt::Unreadable("consent.decidedAt"),
        ),
        (with(r4("OPTIN", none.clone()), json!({ "note": "x".repeat(300_000) })), whole),
    ] {
        let found = read(&resource).err();
        assert_eq!(found, Some(doubt), "{}", &resource.to_string()[..200]);
        assert!(doubt.closes() && element_of(doubt.field()).starts_with("Consent"));
    }
    assert_eq!(element_of(status.field()), "Consent.status");
    let unnamed = with(r4("OPTIN", none.clone()), json!({ "id": none }));
    assert_eq!(read(&unnamed).err(), Some(Doubt::Unnamed));
}

#[test]
fn a_type_that_no_row_maps_is_kept_and_an_exception() {
    let unmapped = with(r4("OPTIN", Json::Null), json!({ "scope": Json::Null }));
    let (record, doubt) = read(&unmapped).unwrap();
    assert_eq!(doubt, Some(Doubt::UnmappedType));
    assert_eq!(answer(&[record], ""), "missing");
}

/// As HL7 v2 falls back on when the message was sent.
#[test]
fn what_is_not_dated_was_decided_when_it_was_written() {
    let undated = with(r4("OPTIN", Json::Null), json!({ "dateTime": Json::Null }));
    let given = |resource: &Json| {
        let (record, _) = read(resource).unwrap();
        record.decided_at.map(|at| at.given().to_string())
    };
    assert_eq!(given(&undated).as_deref(), Some("2026-11-20T10:00:00.120Z"));
    let from = json!({ "type": "permit", "period": { "start": "2026-03-01" } });
    let undated = with(r4("", from), json!({ "dateTime": Json::Null }));
    assert_eq!(given(&undated).as_deref(), Some("2026-03-01"));
}

/// Of one resource the highest version counts, whichever arrived first.
#[test]
fn an_older_version_that_arrives_late_changes_nothing() {
    let version = |number: &str, updated: &str, rule: &str| {
        let meta = json!({ "versionId": number, "lastUpdated": updated });
        read(&with(r4(rule, Json::Null), json!({ "meta": meta }))).unwrap().0
    };
    let (old, new) = ("2026-11-01T00:00:00Z", "2026-11-20T00:00:00Z");
    for (records, wanted) in [
        ([version("10", new, "OPTOUT"), version("9", old, "OPTIN")], "refused"),
        ([version("10", new, "OPTIN"), version("9", old, "OPTOUT")], "permit"),
        // A version that is no number is told by when it was written.
        ([version("zzb", old, "OPTIN"), version("zza", new, "OPTOUT")], "refused"),
        ([version("zza", new, "OPTIN"), version("zzb", old, "OPTOUT")], "permit"),
    ] {
        assert_eq!(answer(&records, ""), wanted);
        let [first, second] = records;
        assert_eq!(answer(&[second, first], ""), wanted);
    }
    let named = version("7", new, "OPTIN");
    assert_eq!((named.key.source.as_str(), named.key.id.as_str()), ("zzehr", "Consent/zz1"));
    assert_eq!(named.version.as_deref(), Some("7"));
    assert_eq!(version("zz", new, "OPTIN").version.as_deref(), Some("20261120000000000"));
}

#[test]
fn who_agreed_for_somebody_young_agreed_for_a_minor() {
    let by = |element: &str, reference: &str| {
        let agreed = json!({ element: [{ "reference": reference }] });
        read(&with(r4("OPTIN", Json::Null), agreed)).unwrap().0
    };
    let signer = |record: &Record| record.consent().unwrap().signer.clone();
    for (element, reference) in
        [("performer", "RelatedPerson/zz2"), ("grantor", "http://zz/fhir/Patient/zz9")]
    {
        let record = by(element, reference);
        let signer = signer(&record);
        assert_eq!((signer.consenter, signer.standin), (Presence::Named, Some(Standin::Minor)));
        // Born 2010-01-02.
        let records = [record];
        assert_eq!(answer(&records, ""), "permit");
        assert_eq!(answer(&records, "now=2028-01-02T00:00:00Z"), "minor");
    }
    for reference in ["Patient/zz1", "Practitioner/zz2", "Organization/zz3"] {
        assert_eq!(signer(&by("performer", reference)).consenter, Presence::Absent);
    }
}

#[test]
fn the_event_says_what_the_record_says() {
    let told_of = |resource: &Json| {
        let (record, _) = read(resource).unwrap();
        (told::kind(&record), told::tell(&event(resource), &record))
    };
    let permit =
        json!({ "type": "permit", "period": { "start": "2026-01-05", "end": "2026-12-31" } });
    let (kind, data) = told_of(&r4("", permit));
    let text = |data: &Tree, path: &str| {
        data.root().at(path).and_then(|it| it.as_text().map(str::to_owned))
    };
    assert_eq!(kind, EventType::ConsentGranted);
    for (path, wanted) in [
        ("consent.key", "zzehr/Consent/zz1"),
        ("consent.decision", "permit"),
        ("consent.status.code", "active"),
        ("consent.purposes[1]", "HRESCH"),
        ("consent.effectiveFrom", "2026-01-05"),
        ("consent.effectiveTo", "2026-12-31"),
    ] {
        assert_eq!(text(&data, path).as_deref(), Some(wanted), "{path}");
    }
    let (kind, _) = told_of(&r4("OPTOUT", Json::Null));
    assert_eq!(kind, EventType::ConsentDenied);
    let (kind, _) =
        told_of(&with(r4("OPTIN", Json::Null), json!({ "status": "entered-in-error" })));
    assert_eq!(kind, EventType::ConsentRetracted);
    let (kind, _) = told_of(&with(r4("OPTIN", Json::Null), json!({ "status": "rejected" })));
    assert_eq!(kind, EventType::ConsentDenied);
    // What can open nothing is no grant.
    let (kind, data) =
        told_of(&with(r4("OPTIN", Json::Null), json!({ "verification": [{ "verified": false }] })));
    assert_eq!((kind, text(&data, "consent.decision")), (EventType::ConsentUpdated, None));
}

fn corpus() -> Vec<(String, Json)> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("fixtures/corpus/fhir")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "json") {
                let json: Json =
                    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap_or_default();
                if json["resourceType"] == "Consent" {
                    found.push((path.file_name().unwrap().to_str().unwrap().to_owned(), json));
                }
            }
        }
    }
    let release = |resource: &Json| resource.get("subject").is_some();
    found.sort_by_key(|(name, resource)| (name.clone(), release(resource)));
    found
}

/// What each Consent of others comes to: nothing of them is opened here, since nobody has mapped
/// their types.
#[test]
fn each_consent_of_the_corpus_is_a_record_or_a_named_closure() {
    let found: Vec<String> = corpus()
        .into_iter()
        .map(|(name, resource)| {
            let release = if resource.get("subject").is_some() { "R5" } else { "R4" };
            match read(&resource) {
                Ok((record, doubt)) => {
                    let consent = record.consent().unwrap();
                    let nested =
                        consent.exceptions.iter().map(|it| it.exceptions.len()).sum::<usize>();
                    let status = consent.status.name();
                    let counts = format!("{} + {nested}", consent.exceptions.len());
                    format!("{name} {release}: {:?} {status} {counts} {doubt:?}", consent.decision)
                }
                Err(doubt) => format!("{name} {release}: {doubt:?}"),
            }
        })
        .collect();
    let unmapped = "Some(UnmappedType)";
    let undecided = "UnknownWord(\"consent.decision\")";
    let example = |name: &str, rest: &str| format!("Consent-consent-example-{name}.json {rest}");
    let wanted = [
        example("CDA", &format!("R5: Permit active 1 + 1 {unmapped}")),
        example("grantor", &format!("R4: Deny active 0 + 0 {unmapped}")),
        example("grantor", &format!("R5: Deny active 1 + 0 {unmapped}")),
        example("notAuthor", &format!("R4: Deny active 0 + 0 {unmapped}")),
        example("notAuthor", &format!("R5: Permit active 1 + 0 {unmapped}")),
        example("pkb", &format!("R4: Deny active 0 + 0 {unmapped}")),
        example("pkb", &format!("R5: Deny active 1 + 11 {unmapped}")),
        format!("consent-2.json R4: {undecided}"),
        format!("myconsent-resource.json R4: {undecided}"),
    ];
    assert_eq!(found, wanted);
}

/// HL7's own R4 example and its R5 twin, under a policy that maps their type.
#[test]
fn examples_of_hl7_mean_what_their_text_says_or_less() {
    let policy = POLICY.replace("\"LN/ZZ-1\"", "\"LN/59284-0\"").replace("zzcrm", "f001");
    let problems = Problems::default();
    let policy = Policy::of(&Document::from_text("p", Path::new("."), &policy), &problems);
    let carrier = Carrier { recorded_at: "2026-11-22T12:00:00Z".parse().unwrap(), ..CARRIER };
    let records: Vec<(String, Record)> = corpus()
        .into_iter()
        .filter_map(|(name, resource)| {
            let release = if resource.get("subject").is_some() { "R5" } else { "R4" };
            let (record, _) = intake(event(&resource).root(), &[], &carrier, &policy).ok()?;
            Some((format!("{release} {name}"), record))
        })
        .collect();
    let of = |name: &str| {
        let found = records.iter().find(|(it, _)| it == name);
        vec![
            found
                .unwrap_or_else(|| {
                    panic!("{name}: {:?}", records.iter().map(|it| &it.0).collect::<Vec<_>>())
                })
                .1
                .clone(),
        ]
    };
    // Normal data to f001, which is crm here; not psychiatric data.
    let pkb = of("R5 Consent-consent-example-pkb.json");
    assert_eq!(answer(&pkb, "for=TREAT to=lab opt-out"), "refused");
    assert_eq!(answer(&pkb, "for=TREAT labels=PSY"), "refused");
    // What f001 keeps is withheld: by whom data is kept nobody can tell, so all is.
    let author = of("R5 Consent-consent-example-notAuthor.json");
    assert_eq!(answer(&author, "for=TREAT opt-out"), "refused");
    // The R4 twins state no type.
    for name in ["R4 Consent-consent-example-pkb.json", "R4 Consent-consent-example-notAuthor.json"]
    {
        assert_eq!(answer(&of(name), "for=TREAT opt-out"), "refused", "{name}");
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        Just(json!(true)),
        Just(json!(7)),
        proptest::sample::select(
            &["permit", "deny", "active", "OPTIN", "CLINTRCH", "2026", "R", "x"][..]
        )
        .prop_map(|it| json!(it)),
        Just(purpose("CLINTRCH")),
        Just(actor("PRCP", "Organization/zzcrm")),
        Just(json!({ "start": "2026-01-01", "end": "2026-12-31" })),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = proptest::sample::select(
            &[
                "type",
                "purpose",
                "actor",
                "period",
                "provision",
                "securityLabel",
                "code",
                "class",
                "action",
                "data",
                "coding",
                "zz",
            ][..],
        );
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            proptest::collection::vec((names, inner), 0..4).prop_map(|all| Json::Object(
                all.into_iter().map(|(name, it)| (name.to_owned(), it)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// PROMISE-5, PROMISE-11
    #[test]
    fn whatever_a_provision_holds_it_is_read_or_refused_and_opens_no_more_with_an_element_more(
        rule in proptest::sample::select(&["OPTIN", "OPTOUT", ""][..]),
        provision in any_json(), element in any_json(), name in proptest::sample::select(&["zz", "data", "modifierExtension"][..])
    ) {
        let mut more = provision.clone();
        let Ok((record, _)) = read(&r4(rule, provision.clone())) else { return Ok(()) };
        let before = answer(&[record], "");
        if let Json::Object(object) = &mut more {
            object.insert(name.to_owned(), element);
        }
        let after = read(&r4(rule, more)).map_or("closed".to_owned(), |(record, _)| answer(&[record], ""));
        prop_assert!(before == "permit" || after != "permit", "{provision}");
        // No type that is no word of FHIR, and no provision that is no object, is a permit.
        let kind = provision.get("type").cloned();
        prop_assert!(kind.is_none_or(|kind| kind == "permit" || kind == "deny"), "{provision}");
    }
}

/// The key is that of the closure, so that the same resource ends it.
#[test]
fn a_consent_that_could_not_be_applied_has_the_key_of_the_one_that_can() {
    let broken = with(r4("OPTIN", Json::Null), json!({ "status": "zz" }));
    assert!(read(&broken).is_err());
    let of_broken = key(event(&broken).root(), &CARRIER).unwrap();
    let (record, _) = read(&r4("OPTIN", Json::Null)).unwrap();
    assert!(of_broken == record.key);
    let consent = record.consent().unwrap();
    assert_eq!((consent.status, consent.decision), (Status::Active, Decision::Permit));
}

/// PROMISE-5: what a site calls its forms holds for its resources alone, and its words for a status for
/// none: those of a Consent are FHIR's.
#[test]
fn a_sites_code_of_a_form_holds_for_a_consent_of_its_feeds_alone() {
    use tidegate::document::{Place, Placed};

    let placed = |value: &str| {
        let place = Place { file: "s.toml".into(), line: 1, column: 1 };
        Placed { value: value.to_owned(), place }
    };
    let problems = Problems::default();
    let mut policy = policy();
    let form = [(placed("https://zz.example/forms/ZZTRIAL"), placed("HL70496/109"))];
    let word = [(placed("signed"), placed("active"))];
    policy.add_site("north", &word, &form, &problems);
    assert!(problems.is_clean(), "{:?}", problems.mistakes());
    let form = coding("https://zz.example/forms", "ZZTRIAL");
    let signed = with(r4("OPTIN", Json::Null), json!({ "scope": Json::Null, "category": form }));
    let read = |resource: &Json, site: Option<&'static str>| {
        let recorded_at = "2026-11-22T12:00:00Z".parse().unwrap();
        intake(event(resource).root(), &[], &Carrier { site, recorded_at, ..CARRIER }, &policy)
    };
    for (site, wanted) in [(Some("north"), "permit"), (Some("south"), "missing"), (None, "missing")]
    {
        let (record, doubt) = read(&signed, site).unwrap();
        assert_eq!(answer(&[record], ""), wanted, "{site:?}");
        assert_eq!(doubt.is_none(), wanted == "permit", "{site:?}");
    }
    let worded = with(signed, json!({ "status": "signed" }));
    assert_eq!(read(&worded, Some("north")).err(), Some(Doubt::UnknownWord("consent.status")));
}

/// From the bytes of a resource, by its mapping, to an answer.
#[test]
fn a_resource_is_mapped_and_answers() {
    use tidegate::normalize::fhir::{Around, Scene, normalize_resource, release};
    use tidegate::normalize::{self, Context, Trace};
    use tidegate::parse::fhir::Resource;

    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    let carrier = Carrier { recorded_at: "2026-11-22T12:00:00Z".parse().unwrap(), ..CARRIER };
    let draft = |bytes: &[u8]| {
        let focus = Resource::parse(bytes, 1 << 20).unwrap();
        let (version, around) = (release::release(&focus), Around::default());
        let scene = Scene { focus: &focus, patient: None, before: None, version, around: &around };
        let mapped = normalize_resource(&mappings, &scene, &Context::default(), Trace::Off);
        let (normalized, _) = mapped.unwrap();
        let unmapped: Vec<String> = normalized.unmapped.iter().map(ToString::to_string).collect();
        assert!(unmapped.iter().all(|it| it == "Consent.text"), "{unmapped:?}");
        let [draft] = normalized.drafts.try_into().unwrap();
        draft
    };
    let bytes = std::fs::read("fixtures/fhir/consent.json").unwrap();
    let draft_of = draft(&bytes);
    let (record, doubt) =
        intake(draft_of.data.root(), &draft_of.doubtful, &carrier, &policy()).unwrap();
    assert_eq!((doubt, told::kind(&record)), (None, EventType::ConsentGranted));
    assert_eq!(record.version.as_deref(), Some("3"));
    let records = [record];
    for (question, wanted) in [
        ("for=HRESCH", "permit"),
        ("for=CLINTRCH", "missing"),
        ("for=HRESCH to=lab", "missing"),
        ("for=HRESCH labels=PSY", "refused"),
        ("for=HRESCH now=2027-11-01T00:00:00Z", "expired"),
    ] {
        assert_eq!(answer(&records, question), wanted, "{question}");
    }
    // A newer version of it, which is no more in force.
    let text = String::from_utf8(bytes).unwrap();
    let ended = text.replace("\"versionId\": \"3\"", "\"versionId\": \"4\"");
    let ended = draft(ended.replace("\"active\"", "\"inactive\"").as_bytes());
    let (ended, _) = intake(ended.data.root(), &ended.doubtful, &carrier, &policy()).unwrap();
    let [first] = records;
    assert_eq!(answer(&[ended.clone(), first.clone()], "for=HRESCH"), "inactive");
    assert_eq!(answer(&[first, ended], "for=HRESCH"), "inactive");
    let r5 = draft(&std::fs::read("fixtures/fhir/consent-r5.json").unwrap());
    let (r5, _) = intake(r5.data.root(), &r5.doubtful, &carrier, &policy()).unwrap();
    assert_eq!(r5.consent().unwrap().status, Status::Bypassed);
    // What is not a date closes, whatever became of the field.
    let wrong =
        draft(text.replace("\"2026-11-01\",\n  \"perf", "\"2026-13-01\",\n  \"perf").as_bytes());
    let wrong = intake(wrong.data.root(), &wrong.doubtful, &carrier, &policy());
    assert_eq!(wrong.err(), Some(Doubt::Unreadable("consent.decidedAt")));
}
