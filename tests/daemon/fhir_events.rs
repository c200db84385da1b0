//! What a FHIR server holds, as events for consumers.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::support::daemon::{Daemon, Setup};
use super::support::eventually;
use super::support::fhir::{FhirServer, RESEARCH, Wrong, consent, encounter, observation, patient};
use super::support::sender::Sender;

const STAYS: [&str; 4] =
    ["patient.admitted", "patient.transferred", "patient.discharged", "patient.updated"];

fn polling(server: &FhirServer, resources: &[&str]) -> Setup {
    Setup::new().section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = {resources:?}\ninterval = \"1s\"\nsince = \"all\"\n",
        server.base()
    ))
}

fn kinds(setup: &Setup, route: &str) -> Vec<String> {
    let text = |event: &Value| event["type"].as_str().unwrap().to_owned();
    setup.events(route).iter().map(text).collect()
}

fn exceptions(setup: &Setup) -> Vec<(String, String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = setup.json(&["exceptions", "ls"]);
    rows.iter()
        .map(|row| (text(row, "category"), text(row, "place"), text(row, "controlId")))
        .collect()
}

fn at(body: Value, room: &str) -> Value {
    let mut body = body;
    body["location"] = json!([{ "location": { "display": room }, "status": "active" }]);
    body
}

/// A stay is told step by step, from version to version, also over a restart; what comes late is kept
/// and does not leave.
#[test]
fn a_stay_is_told_step_by_step_from_version_to_version() {
    let server = FhirServer::start();
    let setup = polling(&server, &["Patient", "Encounter"]).file_route("crm", &STAYS[..3]);
    server.put(patient("p1"));
    server.put(at(encounter("e1", "p1", "in-progress"), "ZZ WARD 4"));
    let mut daemon = setup.start();
    eventually("the admission leaves", || setup.events("crm").len() == 1);
    let event = &setup.events("crm")[0];
    assert_eq!(event["data"]["patient"]["identifiers"][0]["value"], "ZZp1");
    assert_eq!(event["data"]["visit"]["number"]["value"], "ZZVe1");
    assert_eq!(event["data"]["message"]["protocol"], "fhir");
    assert!(event["source"].as_str().unwrap().ends_with("/ehr"), "{event}");
    daemon.kill();
    server.put(at(encounter("e1", "p1", "in-progress"), "ZZ WARD 5"));
    let mut daemon = setup.start();
    eventually("the transfer leaves", || setup.events("crm").len() == 2);
    server.put(at(encounter("e1", "p1", "finished"), "ZZ WARD 5"));
    eventually("the discharge leaves", || setup.events("crm").len() == 3);
    assert_eq!(
        kinds(&setup, "crm"),
        ["patient.admitted", "patient.transferred", "patient.discharged"]
    );
    // A version that was indexed late: an hour before the others.
    let late = server.now() - SignedDuration::from_secs(120);
    server.put_at(at(encounter("e1", "p1", "in-progress"), "ZZ WARD 9"), late);
    eventually("it is kept", || {
        let rows = setup.json(&["journal", "ls", "--feed", "ehr"]);
        rows.iter().any(|row| row["status"] == "superseded")
    });
    server.put(at(encounter("e2", "p1", "in-progress"), "ZZ WARD 4"));
    eventually("what is behind it leaves", || setup.events("crm").len() == 4);
    assert_eq!(kinds(&setup, "crm")[3], "patient.admitted");
    daemon.assert_no_patient_data();
}

/// A result is about the patient that it refers to: one who came along, who is asked for by name, or of
/// whom it says the number. Who cannot be found is an exception, and never a new patient.
#[test]
fn a_result_is_about_whom_it_refers_to_or_it_is_an_exception() {
    let server = FhirServer::start();
    let setup = polling(&server, &["Observation"]).file_route("crm", &["observation.reported"]);
    let setup = setup.section("");
    server.put(patient("p1"));
    server.put(observation("o1", "p1", "13.5"));
    let mut by_number = observation("o2", "p1", "12.0");
    by_number["subject"] = json!({ "type": "Patient", "identifier":
        { "system": "urn:oid:2.16.840.1.113883.19.5", "value": "ZZp2" } });
    server.put(by_number);
    server.put(observation("o3", "nobody", "11.0"));
    let mut wrong = observation("o4", "p1", "11.0");
    wrong["valueQuantity"]["value"] = json!("eleven");
    server.put(wrong);
    server.put(observation("o5", "p1", "10.5"));
    let mut daemon = setup.start();
    eventually("those of known patients leave", || setup.events("crm").len() >= 4);
    let events = setup.events("crm");
    let found = |event: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        (
            text(&event["data"]["patient"]["identifiers"][0]["value"]),
            text(&event["data"]["observations"][0]["value"]["text"]),
        )
    };
    let found: Vec<_> = events.iter().map(found).collect();
    let pair = |patient: &str, value: &str| (patient.to_owned(), value.to_owned());
    for wanted in [pair("ZZp1", "13.5"), pair("ZZp2", "12.0"), pair("ZZp1", "10.5")] {
        assert!(found.contains(&wanted), "{found:?}");
    }
    eventually("nobody is an exception", || {
        let wanted = (
            "unmapped".to_owned(),
            "Observation.subject".to_owned(),
            "Observation/o3/_history/1".to_owned(),
        );
        exceptions(&setup).contains(&wanted)
    });
    daemon.assert_no_patient_data();
}

/// References of a page lead to what came along by its fullUrl, as bundle.html#references has it; what is of
/// another server is none of this one.
#[test]
fn an_absolute_reference_leads_to_what_came_along_under_that_url() {
    let server = FhirServer::start();
    server.put(patient("p1"));
    let entry = |url: &str, mode: &str, body: &Value| json!({ "fullUrl": url, "search": { "mode": mode }, "resource": body });
    let doctor = |id: &str, family: &str| json!({ "resourceType": "Practitioner", "id": id, "name": [{ "family": family }] });
    let result = |id: &str, subject: &str, performer: &str| {
        let mut body = observation(id, "-", "13.5");
        body["subject"] = json!({ "reference": subject });
        body["performer"] = json!([{ "reference": performer }]);
        entry(&format!("http://inside/fhir/Observation/{id}"), "match", &body)
    };
    let mut stranger = patient("p1");
    stranger["identifier"][0]["value"] = json!("ZZp9");
    let page = json!({ "resourceType": "Bundle", "type": "searchset", "entry": [
        entry("https://other/fhir/Patient/p1", "include", &stranger),
        entry("https://other/fhir/Practitioner/9", "include", &doctor("9", "ZZOTHER")),
        entry("http://inside/fhir/Practitioner/8", "include", &doctor("8", "ZZINSIDE")),
        result("o1", "Patient/p1", "https://other/fhir/Practitioner/9"),
        result("o2", "Patient/p1", "http://inside/fhir/Practitioner/8"),
        result("o3", "Patient/p1", "Practitioner/8"),
        result("o4", "Patient/p1", "Practitioner/9"),
        result("o5", "https://other/fhir/Patient/p1", "Practitioner/8"),
    ] });
    server.misbehave("/Observation?", [Wrong::Body(page.to_string())]);
    let setup = polling(&server, &["Observation"]).file_route("crm", &["observation.reported"]);
    let mut daemon = setup.start();
    eventually("all leave", || setup.events("crm").len() == 5);
    let mut events = setup.events("crm");
    // Of two patients the order is nobody's promise.
    events.sort_by_key(|event| event["data"]["report"]["fillerNumber"]["value"].to_string());
    let told: Vec<(Value, Value)> = events
        .iter()
        .map(|event| {
            let data = &event["data"];
            let family = &data["observations"][0]["performers"][0]["name"]["family"];
            (data["patient"]["identifiers"][0]["value"].clone(), family.clone())
        })
        .collect();
    let pair = |number: &str, family: Value| (json!(number), family);
    assert_eq!(
        told,
        [
            pair("ZZp1", json!("ZZOTHER")),
            pair("ZZp1", json!("ZZINSIDE")),
            pair("ZZp1", json!("ZZINSIDE")),
            pair("ZZp1", Value::Null),
            pair("ZZp9", json!("ZZINSIDE")),
        ]
    );
    daemon.assert_no_patient_data();
}

/// A server that says no `search.mode`: who came along is nothing that was found.
#[test]
fn a_patient_who_came_along_without_a_mode_is_no_update() {
    let server = FhirServer::start();
    let entry = |mut body: Value, at: &str| {
        body["meta"] = json!({ "versionId": "1", "lastUpdated": at });
        json!({ "resource": body })
    };
    let page = json!({ "resourceType": "Bundle", "type": "searchset", "entry": [
        entry(observation("o1", "p1", "13.5"), "2026-11-20T08:00:00Z"),
        entry(patient("p1"), "2026-11-20T09:00:00Z"),
        entry(observation("o2", "p1", "13.6"), "2026-11-20T08:00:01Z"),
    ] });
    server.misbehave("/Observation?", [Wrong::Body(page.to_string())]);
    let kinds_told = ["observation.reported", "patient.updated"];
    let setup = polling(&server, &["Observation"]).file_route("crm", &kinds_told);
    let _daemon = setup.start();
    // When it is asked again, the page is taken and the cursor kept.
    eventually("it is asked again", || server.asked_for("/Observation?").len() >= 2);
    let again = &server.asked_for("/Observation?")[1].target;
    assert!(again.contains("_lastUpdated=ge2026-11-20T07:55:01.000Z"), "{again}");
    assert!(server.asked_for("/Patient/").is_empty(), "who came along is at hand");
    eventually("both leave", || setup.events("crm").len() == 2);
    assert_eq!(kinds(&setup, "crm"), ["observation.reported", "observation.reported"]);
    let rows = setup.json(&["journal", "ls", "--feed", "ehr"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
}

/// Who replaced a patient is looked up as a subject is; where nobody can be found, that is said.
#[test]
fn a_patient_replaced_by_a_reference_alone_is_merged_into_whom_it_means() {
    let server = FhirServer::start();
    let replaced = |id: &str, by: &str| {
        let mut body = patient(id);
        body["link"] = json!([{ "type": "replaced-by", "other": { "reference": by } }]);
        body
    };
    // On no page: it has not changed since the feed began.
    server.put_at(patient("p1"), server.now() - SignedDuration::from_hours(48));
    let since = Timestamp::strftime(&(server.now() - SignedDuration::from_hours(24)), "%Y-%m-%d");
    let setup = Setup::new()
        .section(&format!(
            "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
             resources = [\"Patient\"]\ninterval = \"1s\"\nsince = \"{since}\"\noverlap = \"0s\"\n",
            server.base()
        ))
        .file_route("crm", &["patient.merged", "patient.updated"]);
    server.put(replaced("p2", "Patient/p1"));
    server.put(replaced("p3", &format!("{}/Patient/p1/_history/1", server.base())));
    server.put(replaced("p4", "Patient/nobody"));
    let mut daemon = setup.start();
    eventually("all leave", || setup.events("crm").len() == 3);
    let mut told: Vec<(String, Value, Value)> = setup
        .events("crm")
        .iter()
        .map(|event| {
            let patient = &event["data"]["patient"];
            let number = |field: &str| patient[field][0]["value"].clone();
            let kind = event["type"].as_str().unwrap().to_owned();
            (kind, number("identifiers"), number("priorIdentifiers"))
        })
        .collect();
    told.sort_by_key(|(kind, _, prior)| format!("{kind} {prior}"));
    let merged = |prior: &str| ("patient.merged".to_owned(), json!("ZZp1"), json!(prior));
    let updated = ("patient.updated".to_owned(), json!("ZZp4"), Value::Null);
    assert_eq!(told, [merged("ZZp2"), merged("ZZp3"), updated]);
    let wanted = ["unmapped", "Patient.link", "Patient/p4/_history/1"].map(str::to_owned);
    assert_eq!(exceptions(&setup), [wanted.into()]);
    assert_eq!(server.asked_for("/Patient/p1").len(), 1, "it is asked for once");
    daemon.assert_no_patient_data();
}

/// Each patient is asked for once, and known over a restart.
#[test]
fn a_patient_is_asked_for_once_and_remembered_over_a_restart() {
    let server = FhirServer::start();
    let setup = Setup::new().file_route("crm", &["observation.reported"]).section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = [\"Observation\"]\ninterval = \"1s\"\nsince = \"all\"\ninclude = \"none\"\n",
        server.base()
    ));
    server.put(patient("p1"));
    for number in 0..20 {
        server.put(observation(&format!("o{number}"), "p1", "13.5"));
    }
    // It cannot be asked at first: the page waits, and nobody is taken for nobody.
    server.misbehave("/Patient/p1", [Wrong::Status(503, vec![], String::new())]);
    let mut daemon = setup.start();
    eventually("all of a page leave", || setup.events("crm").len() == 20);
    assert_eq!(server.asked_for("/Patient/p1").len(), 2);
    // Who a patient is, is kept behind the page, and before anything more is asked.
    let asked = server.asked_for("/Observation?").len();
    eventually("it is asked again", || server.asked_for("/Observation?").len() > asked);
    daemon.kill();
    server.put(observation("o20", "p1", "13.5"));
    let daemon = setup.start();
    eventually("the next one leaves", || setup.events("crm").len() == 21);
    assert_eq!(server.asked_for("/Patient/p1").len(), 2);
    assert!(exceptions(&setup).is_empty(), "{:?}", exceptions(&setup));
    drop(daemon);
}

/// PROMISE-5, PROMISE-6
#[test]
fn a_consent_of_the_server_opens_and_its_next_version_closes() {
    let server = FhirServer::start();
    let setup =
        polling(&server, &["Patient", "Consent", "Observation"]).policy(RESEARCH).pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["observation.reported"],
            "\"subject\" = \"token\"\n\"observations[].code\" = \"keep\"\n",
        );
    server.put(patient("p1"));
    server.put(observation("o1", "p1", "13.5"));
    let mut daemon = setup.start();
    eventually("the first is decided", || {
        daemon.metric("tidegate_events_total{route=\"trial\",outcome=\"suppressed\"}") >= 1.0
    });
    server.put(consent("active", "permit"));
    eventually("the consent is taken", || {
        let rows = setup.json(&["journal", "ls", "--feed", "ehr"]);
        rows.iter().any(|row| row["type"] == "Consent")
    });
    server.put(observation("o2", "p1", "13.5"));
    eventually("what is permitted leaves", || setup.events("trial").len() == 1);
    server.put(consent("rejected", "deny"));
    eventually("the refusal is told", || setup.notices("trial").len() == 1);
    server.put(observation("o3", "p1", "13.5"));
    eventually("the last is decided", || {
        daemon.metric("tidegate_events_total{route=\"trial\",outcome=\"suppressed\"}") >= 2.0
    });
    assert_eq!(setup.events("trial").len(), 1);
    daemon.assert_no_patient_data();
}

/// PROMISE-5
#[test]
fn what_a_newer_version_of_a_consent_closed_an_older_one_that_comes_late_does_not_open() {
    let server = FhirServer::start();
    let setup =
        polling(&server, &["Patient", "Consent", "Observation"]).policy(RESEARCH).pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["observation.reported"],
            "\"subject\" = \"token\"\n\"observations[].code\" = \"keep\"\n",
        );
    let now = server.now();
    let ago = |seconds| now - SignedDuration::from_secs(seconds);
    server.put(patient("p1"));
    server.put_at(consent("active", "permit"), ago(60));
    let mut daemon = setup.start();
    let consents = || {
        let rows = setup.json(&["journal", "ls", "--feed", "ehr"]);
        rows.iter().filter(|row| row["type"] == "Consent").count()
    };
    eventually("the consent is taken", || consents() == 1);
    server.put(observation("o1", "p1", "13.5"));
    eventually("what is permitted leaves", || setup.events("trial").len() == 1);
    // Without a status nobody knows what it says.
    let mut broken = consent("active", "permit");
    broken.as_object_mut().unwrap().remove("status");
    server.put_at(broken, ago(20));
    eventually("it is taken, too", || consents() == 2);
    server.put_at(consent("active", "permit"), ago(40));
    eventually("the older one is taken", || consents() == 3);
    server.put(observation("o2", "p1", "13.5"));
    let suppressed = "tidegate_events_total{route=\"trial\",outcome=\"suppressed\"}";
    eventually("what came behind them is decided", || daemon.metric(suppressed) >= 1.0);
    assert_eq!(setup.events("trial").len(), 1);
    // The next one that can be applied opens again.
    server.put(consent("active", "permit"));
    eventually("it is taken", || consents() == 4);
    server.put(observation("o3", "p1", "13.5"));
    eventually("what it permits leaves", || setup.events("trial").len() == 2);
    daemon.assert_no_patient_data();
}

/// PROMISE-11
#[test]
fn a_patient_whom_the_server_never_shows_costs_what_is_said_of_that_one() {
    let server = FhirServer::start();
    let setup = Setup::new().file_route("crm", &["observation.reported"]).section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = [\"Condition\", \"Observation\"]\ninterval = \"1s\"\nsince = \"all\"\ninclude = \"none\"\n",
        server.base()
    ));
    server.put(patient("p1"));
    server.put(patient("p2"));
    server.put(observation("o1", "p1", "13.5"));
    server.put(observation("o2", "p2", "12.5"));
    server.misbehave("/Patient/p1", (0..50).map(|_| Wrong::Status(500, vec![], String::new())));
    let mut daemon = setup.start();
    eventually("the other's result leaves", || setup.events("crm").len() == 1);
    assert_eq!(setup.events("crm")[0]["data"]["patient"]["identifiers"][0]["value"], "ZZp2");
    assert_eq!(server.asked_for("/Patient/p1").len(), 5);
    let wanted = ("unmapped", "Observation.subject", "Observation/o1/_history/1");
    let found = exceptions(&setup);
    let is_wanted = |it: &(String, String, String)| (&*it.0, &*it.1, &*it.2) == wanted;
    assert!(found.iter().any(is_wanted), "{found:?}");
    daemon.assert_no_patient_data();
}

/// One patient and one visit, by HL7 v2 and by FHIR: a route that wants each transition once is told by
/// whoever comes first, another can tell the two apart.
#[test]
fn a_stay_by_a_message_and_by_a_resource_is_told_once_where_that_is_asked_for() {
    let server = FhirServer::start();
    let setup = polling(&server, &["Patient", "Encounter"])
        .section(
            "[identity]\nauthorities = { MRN = [\"urn:oid:2.16.840.1.113883.19.5\"], \
             STAY = [\"urn:oid:2.16.840.1.113883.19.7\"] }\nprefer = [\"MRN\"]",
        )
        .file_route("once", &STAYS[..3])
        .saying("once", "once = \"visit\"")
        .file_route("all", &STAYS[..3]);
    let mut daemon = setup.start();
    let message = |trigger: &str, control_id: &str| {
        format!(
            "MSH|^~\\&|EHR|NORTH|||20261122081500-0800||ADT^{trigger}|{control_id}|P|2.5.1\r\
             PID|1||ZZp1^^^GH&2.16.840.1.113883.19.5&ISO^MR||ZZQUILLON^ZZMARA||19800102|F\r\
             PV1|1|I|4W^401^A{}ZZVe1^^^GH&2.16.840.1.113883.19.7&ISO^VN\r",
            "|".repeat(16)
        )
    };
    let send = |daemon: &Daemon, text: String| {
        let answer = Sender::connect(daemon.feed_named("adt")).exchange(text.as_bytes()).unwrap();
        assert_eq!(answer.code, "AA");
    };
    send(&daemon, message("A01", "M1"));
    eventually("the message leaves", || setup.events("once").len() == 1);
    server.put(patient("p1"));
    server.put(encounter("e1", "p1", "in-progress"));
    eventually("both leave where both are wanted", || setup.events("all").len() == 2);
    server.put(encounter("e1", "p1", "finished"));
    eventually("the discharge of the resource leaves", || setup.events("once").len() == 2);
    send(&daemon, message("A03", "M2"));
    eventually("all has left", || setup.events("all").len() == 4);
    let told = "tidegate_events_total{route=\"once\",outcome=\"told\"}";
    eventually("the others were told before", || daemon.metric(told) == 2.0);
    let shown = |event: &Value| {
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        (text("type"), text("source").rsplit('/').next().unwrap().to_owned())
    };
    let once: Vec<_> = setup.events("once").iter().map(shown).collect();
    let wanted = [("patient.admitted", "adt"), ("patient.discharged", "ehr")];
    assert_eq!(once, wanted.map(|(kind, source)| (kind.to_owned(), source.to_owned())));
    let all = setup.events("all");
    assert!(all.iter().all(|event| event["visitkey"] == all[0]["visitkey"]), "one visit, one key");
    daemon.assert_no_patient_data();
}

/// What is final follows what is preliminary, and what was entered in error is told as such.
#[test]
fn a_result_is_told_again_when_it_is_final_and_when_it_was_an_error() {
    let server = FhirServer::start();
    let setup = polling(&server, &["Observation"]).file_route("crm", &["observation.reported"]);
    server.put(patient("p1"));
    let stamp: Timestamp = server.now();
    for (number, status) in (0_i64..).zip(["preliminary", "final", "corrected", "entered-in-error"])
    {
        let mut body = observation("o1", "p1", "13.5");
        body["status"] = json!(status);
        server.put_at(body, stamp + SignedDuration::from_secs(number));
    }
    let mut daemon = setup.start();
    eventually("the newest version leaves", || !setup.events("crm").is_empty());
    let statuses = || -> Vec<String> {
        let text = |event: &Value| {
            event["data"]["observations"][0]["status"]["code"].as_str().unwrap_or("-").to_owned()
        };
        setup.events("crm").iter().map(text).collect()
    };
    assert_eq!(statuses().last().map(String::as_str), Some("entered-in-error"));
    let mut again = observation("o1", "p1", "13.6");
    again["status"] = json!("amended");
    server.put_at(again, stamp + SignedDuration::from_secs(5));
    eventually("what is put right leaves", || {
        statuses().last().map(String::as_str) == Some("amended")
    });
    daemon.assert_no_patient_data();
}

/// A Patient that was replaced by another says so in each of its versions: it is told once, also over a
/// restart, until it is replaced by somebody else.
///
/// PROMISE-2
#[test]
fn a_merge_that_each_version_of_a_patient_says_again_is_told_once() {
    let server = FhirServer::start();
    let kinds = ["patient.merged", "patient.updated"];
    let setup = polling(&server, &["Patient"]).file_route("crm", &kinds);
    let replaced = |by: &str, born: &str| {
        let mut body = patient("p2");
        body["birthDate"] = json!(born);
        let number =
            json!({ "system": body["identifier"][0]["system"], "value": format!("ZZ{by}") });
        let other = json!({ "reference": format!("Patient/{by}"), "identifier": number });
        body["link"] = json!([{ "type": "replaced-by", "other": other }]);
        body
    };
    let merged = || -> Vec<(String, String)> {
        let events = setup.events("crm").into_iter();
        let number = |it: &Value, key: &str| it["data"]["patient"][key][0]["value"].to_string();
        let pair = |it: Value| (number(&it, "identifiers"), number(&it, "priorIdentifiers"));
        events.filter(|it| it["type"] == "patient.merged").map(pair).collect()
    };
    // Who comes behind a version has left when all before it has.
    let passed = |version: usize, behind: &str| {
        eventually(&format!("version {version} is taken"), || {
            let name = format!("Patient/p2/_history/{version}");
            setup.json(&["journal", "ls"]).iter().any(|row| row["controlId"] == name)
        });
        server.put(patient(behind));
        eventually(&format!("{behind} leaves"), || {
            let number = json!(format!("ZZ{behind}"));
            setup.events("crm").iter().any(|event| {
                event["type"] == "patient.updated"
                    && event["data"]["patient"]["identifiers"][0]["value"] == number
            })
        });
    };
    let pair = |survivor: &str| (format!("\"ZZ{survivor}\""), "\"ZZp2\"".to_owned());
    server.put(patient("p1"));
    server.put(replaced("p1", "1980-01-02"));
    let mut daemon = setup.start();
    eventually("the merge leaves", || merged() == [pair("p1")]);
    passed(1, "p5");
    server.put(replaced("p1", "1980-01-03"));
    passed(2, "p6");
    assert_eq!(merged(), [pair("p1")]);
    daemon.kill();
    let mut daemon = setup.start();
    server.put(replaced("p1", "1980-01-04"));
    passed(3, "p7");
    assert_eq!(merged(), [pair("p1")]);
    server.put(replaced("p9", "1980-01-04"));
    eventually("the other merge leaves", || merged() == [pair("p1"), pair("p9")]);
    passed(4, "p8");
    assert_eq!(merged().len(), 2);
    assert!(exceptions(&setup).is_empty(), "{:?}", exceptions(&setup));
    daemon.assert_no_patient_data();
}
