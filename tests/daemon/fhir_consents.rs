//! Consents that a FHIR server is asked for, where the gate knows of none.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::support::daemon::{Daemon, Setup};
use super::support::eventually;
use super::support::fhir::{FhirServer, RESEARCH, Wrong, observation, patient, research};

const SUPPRESSED: &str = "tidegate_events_total{route=\"trial\",outcome=\"suppressed\"}";

/// A feed that begins now, so that what a patient decided before is not found by its queries.
fn asking(server: &FhirServer, age: &str) -> Setup {
    Setup::new()
        .section(&format!(
            "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
             resources = [\"Consent\", \"Observation\"]\ninterval = \"1s\"\ninclude = \"none\"\n\
             no_consent_max_age = {age:?}\n",
            server.base()
        ))
        .policy(RESEARCH)
        .pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["observation.reported"],
            "\"subject\" = \"token\"\n\"observations[].code\" = \"keep\"\n",
        )
}

/// Puts what was there long before the feed.
fn put_old(server: &FhirServer, body: Value) {
    server.put_at(body, server.now() - SignedDuration::from_hours(10));
}

fn permitted(server: &FhirServer, id: &str) {
    put_old(server, patient(id));
    put_old(server, research(&format!("c-{id}"), id, "active", "permit"));
}

/// Results of patients, in this order.
fn put_results(server: &FhirServer, of: &[&str]) {
    let begin: Timestamp = server.now();
    for (number, id) in (0_i64..).zip(of) {
        let at = begin - SignedDuration::from_secs(60) + SignedDuration::from_millis(number);
        server.put_at(observation(&format!("o{number:03}"), id, "13.5"), at);
    }
}

/// How often the consents of a patient were asked for.
fn asked(server: &FhirServer, id: &str) -> usize {
    server.asked_for(&format!("/Consent?patient={id}")).len()
}

/// What is in the journal of the feed, in its order.
fn taken(setup: &Setup) -> Vec<String> {
    let mut rows = setup.json(&["journal", "ls", "--feed", "ehr", "--limit", "10000"]);
    rows.sort_by_key(|row| row["number"].as_u64());
    rows.iter().map(|row| row["controlId"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Categories and places of exceptions.
fn exceptions(setup: &Setup) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = setup.json(&["exceptions", "ls"]);
    rows.iter().map(|row| (text(row, "category"), text(row, "place"))).collect()
}

fn decided(setup: &Setup, daemon: &Daemon, left: usize, suppressed: f64) {
    eventually(&format!("{left} leave and {suppressed} do not"), || {
        setup.events("trial").len() == left && daemon.metric(SUPPRESSED) == suppressed
    });
}

/// The page that is being taken is taken: the query is asked again.
fn page_taken(server: &FhirServer) {
    let before = server.asked_for("/Observation?").len();
    eventually("the query is asked again", || server.asked_for("/Observation?").len() > before);
}

/// PROMISE-4, PROMISE-6
#[test]
fn a_consent_that_the_server_has_opens_the_very_first_event_and_is_asked_for_once() {
    let server = FhirServer::start();
    let setup = asking(&server, "1h");
    permitted(&server, "p1");
    permitted(&server, "p2");
    put_results(&server, &["p1"; 20]);
    let mut daemon = setup.start();
    decided(&setup, &daemon, 20, 0.0);
    assert_eq!((asked(&server, "p1"), asked(&server, "p2")), (1, 0));
    let ids = taken(&setup);
    assert_eq!((ids[0].as_str(), ids.len()), ("Consent/c-p1/_history/1", 21), "{ids:?}");
    server.put(observation("o100", "p1", "13.5"));
    decided(&setup, &daemon, 21, 0.0);
    daemon.kill();
    server.put(observation("o101", "p1", "13.5"));
    let mut daemon = setup.start();
    decided(&setup, &daemon, 22, 0.0);
    // What becomes of it the query says.
    server.put(research("c-p1", "p1", "rejected", "deny"));
    eventually("the refusal is told", || setup.notices("trial").len() == 1);
    server.put(observation("o102", "p1", "13.5"));
    decided(&setup, &daemon, 22, 1.0);
    assert_eq!(asked(&server, "p1"), 1);
    assert!(exceptions(&setup).is_empty(), "{:?}", exceptions(&setup));
    daemon.assert_no_patient_data();
}

/// A Patient is about itself; and a query that chooses among Consents chooses here, too.
#[test]
fn what_a_patient_consented_to_is_known_before_the_patient_is_told_of() {
    let server = FhirServer::start();
    let setup = Setup::new()
        .section(&format!(
            "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
             resources = [\"Patient\", \"Consent?category=59284-0\"]\ninterval = \"1s\"\n\
             no_consent_max_age = \"1h\"\n",
            server.base()
        ))
        .policy(RESEARCH)
        .pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["patient.updated"],
            "\"subject\" = \"token\"\n\"patient.sex.code\" = \"keep\"\n",
        );
    put_old(&server, research("c-p1", "p1", "active", "permit"));
    let mut other = research("c-p2", "p2", "active", "permit");
    other["category"] = json!([{ "text": "ZZ" }]);
    put_old(&server, other);
    let at = server.now() - SignedDuration::from_secs(60);
    server.put_at(patient("p2"), at);
    server.put_at(patient("p1"), at + SignedDuration::from_secs(1));
    let mut daemon = setup.start();
    decided(&setup, &daemon, 1, 1.0);
    let targets = |id: &str| {
        let asked = server.asked_for(&format!("&patient={id}&")).into_iter();
        asked.map(|asked| asked.target).collect::<Vec<_>>()
    };
    for id in ["p1", "p2"] {
        let wanted = format!("/fhir/Consent?category=59284-0&patient={id}&_count=100");
        assert_eq!(targets(id), [wanted]);
    }
    let ids = ["Patient/p2/_history/1", "Consent/c-p1/_history/1", "Patient/p1/_history/1"];
    assert_eq!(taken(&setup), ids);
    daemon.assert_no_patient_data();
}

/// PROMISE-5
#[test]
fn of_whom_the_server_has_none_nothing_leaves_and_the_answer_holds_for_a_time() {
    let server = FhirServer::start();
    let setup = asking(&server, "1h");
    put_old(&server, patient("p1"));
    put_results(&server, &["p1"; 5]);
    let mut daemon = setup.start();
    decided(&setup, &daemon, 0, 5.0);
    let missing = "tidegate_consent_decisions_total{purpose=\"CLINTRCH\",decision=\"deny\",reason=\"missing\"}";
    assert_eq!(daemon.metric(missing), 5.0);
    server.put(observation("o100", "p1", "13.5"));
    decided(&setup, &daemon, 0, 6.0);
    page_taken(&server);
    assert!(daemon.stop().success());
    server.put(observation("o101", "p1", "13.5"));
    let mut daemon = setup.start();
    decided(&setup, &daemon, 0, 1.0);
    assert_eq!(asked(&server, "p1"), 1, "also over a restart");
    // What is new the query finds.
    server.put(research("c1", "p1", "active", "permit"));
    eventually("it is taken", || taken(&setup).contains(&"Consent/c1/_history/1".to_owned()));
    server.put(observation("o102", "p1", "13.5"));
    decided(&setup, &daemon, 1, 1.0);
    assert_eq!(asked(&server, "p1"), 1);
    daemon.assert_no_patient_data();
}

#[test]
fn when_its_time_is_over_the_server_is_asked_again() {
    let server = FhirServer::start();
    let setup = asking(&server, "1s");
    put_old(&server, patient("p1"));
    put_results(&server, &["p1"]);
    let daemon = setup.start();
    decided(&setup, &daemon, 0, 1.0);
    // So old that no query finds it.
    put_old(&server, research("c1", "p1", "active", "permit"));
    for number in 100..200 {
        let before = setup.events("trial").len();
        server.put(observation(&format!("o{number}"), "p1", "13.5"));
        let left = || f64::from(u32::try_from(setup.events("trial").len()).unwrap());
        let wanted = f64::from(number - 98);
        eventually("it is decided", || left() + daemon.metric(SUPPRESSED) == wanted);
        if before > 0 {
            break;
        }
    }
    assert!(asked(&server, "p1") > 1 && !setup.events("trial").is_empty());
}

/// PROMISE-5, PROMISE-11
#[test]
fn a_server_that_fails_for_one_patient_costs_that_ones_events_and_a_bounded_number_of_tries() {
    let server = FhirServer::start();
    let setup = asking(&server, "1h");
    permitted(&server, "p1");
    permitted(&server, "p2");
    put_results(&server, &["p1", "p2", "p1"]);
    let failing = (0..50).map(|_| Wrong::Status(500, vec![], String::new()));
    server.misbehave("/Consent?patient=p1", failing);
    let mut daemon = setup.start();
    decided(&setup, &daemon, 1, 2.0);
    assert_eq!((asked(&server, "p1"), asked(&server, "p2")), (5, 1));
    let told = ("stopped-query".to_owned(), "Consent?patient".to_owned());
    assert_eq!(exceptions(&setup), [told]);
    server.put(observation("o100", "p1", "13.5"));
    decided(&setup, &daemon, 1, 3.0);
    assert_eq!(asked(&server, "p1"), 5, "not again for a while");
    daemon.assert_no_patient_data();
}

/// PROMISE-5, PROMISE-11
#[test]
fn a_server_that_refuses_is_left_alone_after_two_patients_and_nothing_waits_for_it() {
    let server = FhirServer::start();
    let setup = asking(&server, "1h");
    for id in ["p1", "p2", "p3"] {
        permitted(&server, id);
    }
    put_results(&server, &["p1", "p2", "p3"]);
    let refusing = (0..50).map(|_| Wrong::Status(403, vec![], String::new()));
    server.misbehave("/Consent?patient=", refusing);
    let mut daemon = setup.start();
    decided(&setup, &daemon, 0, 3.0);
    assert_eq!(asked(&server, ""), 2);
    let told = ("stopped-query".to_owned(), "Consent?patient".to_owned());
    assert_eq!(exceptions(&setup), [told]);
    let stopped = "tidegate_fhir_queries_stopped{server=\"ehr\"}";
    eventually("it is counted", || daemon.metric(stopped) == 1.0);
    daemon.assert_no_patient_data();
}

/// A refusal may stand on a page that does not come at first: until it does nothing counts.
///
/// PROMISE-5
#[test]
fn all_that_a_patient_decided_is_read_before_any_of_it_counts() {
    let server = FhirServer::start();
    let setup = asking(&server, "1h");
    server.page_max(1);
    permitted(&server, "p1");
    let mut later = research("d-p1", "p1", "rejected", "deny");
    later["dateTime"] = json!("2026-11-21T08:00:00Z");
    put_old(&server, later);
    put_results(&server, &["p1"]);
    server.misbehave("?_page=", [Wrong::Status(503, vec![], String::new())]);
    let mut daemon = setup.start();
    decided(&setup, &daemon, 0, 1.0);
    assert_eq!(asked(&server, "p1"), 2);
    let consents = ["Consent/c-p1/_history/1", "Consent/d-p1/_history/1"];
    assert_eq!(taken(&setup)[..2], consents.map(str::to_owned));
    daemon.assert_no_patient_data();
}

/// PROMISE-5, PROMISE-11
#[test]
fn a_consent_that_cannot_be_applied_closes_and_the_page_goes_on() {
    let server = FhirServer::start();
    let setup = asking(&server, "1h");
    for id in ["p1", "p2", "p3", "p4", "p5"] {
        permitted(&server, id);
    }
    let mut broken = research("b-p1", "p1", "active", "permit");
    broken.as_object_mut().unwrap().remove("status");
    put_old(&server, broken);
    // An entry that is none, another's consent, a page elsewhere.
    let bundle = |entries: Value| {
        Wrong::Body(
            json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries }).to_string(),
        )
    };
    let permit = |id: &str, of: &str| json!({ "resource": research(id, of, "active", "permit") });
    let unreadable = json!([permit("x3", "p3"), { "resource": "ZZ" }]);
    server.misbehave("/Consent?patient=p3", [bundle(unreadable)]);
    server.misbehave("/Consent?patient=p4", [bundle(json!([permit("x5", "p5")]))]);
    let elsewhere = Wrong::Next("http://169.254.169.254/latest".to_owned());
    server.misbehave("/Consent?patient=p5", [elsewhere]);
    put_results(&server, &["p1", "p3", "p4", "p5", "p2"]);
    let mut daemon = setup.start();
    decided(&setup, &daemon, 1, 4.0);
    let of = |category: &str| exceptions(&setup).iter().filter(|it| it.0 == category).count();
    assert_eq!((of("consent-unknown"), of("stopped-query")), (1, 2), "{:?}", exceptions(&setup));
    let ids = taken(&setup);
    let consents: Vec<&String> = ids.iter().filter(|id| id.starts_with("Consent")).collect();
    let wanted = ["Consent/b-p1/_history/1", "Consent/c-p1/_history/1", "Consent/c-p2/_history/1"];
    assert_eq!(consents, wanted);
    daemon.assert_no_patient_data();
}
