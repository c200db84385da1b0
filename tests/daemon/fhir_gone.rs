//! What a FHIR server has no more, or shows again: a consent that was deleted permits nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::daemon::{Daemon, Setup};
use super::support::eventually;
use super::support::fhir::{
    FhirServer, RESEARCH, Wrong, consent, encounter, observation, outcome_of, patient,
};

/// A route that asks for a consent, and a feed that looks at each again within a second.
fn asking(server: &FhirServer) -> Setup {
    let section = format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = [\"Patient\", \"Consent\", \"Observation\"]\ninterval = \"1s\"\nsince = \"all\"\n\
         consents_recheck = \"1s\"\n",
        server.base()
    );
    Setup::new().section(&section).policy(RESEARCH).pseudonymous(
        "trial",
        "CLINTRCH",
        "require = \"opt-in\"",
        &["observation.reported"],
        "\"subject\" = \"token\"\n\"observations[].code\" = \"keep\"\n",
    )
}

/// A daemon that was told of a consent, and let out what it permits.
fn permitting(server: &FhirServer, setup: &Setup) -> Daemon {
    server.put(patient("p1"));
    server.put(consent("active", "permit"));
    let daemon = setup.start();
    eventually("the consent is taken", || taken(setup, "Consent") == 1);
    server.put(observation("o1", "p1", "13.5"));
    eventually("what is permitted leaves", || setup.events("trial").len() == 1);
    daemon
}

/// How many messages of a type the feed took.
fn taken(setup: &Setup, kind: &str) -> usize {
    let rows = setup.json(&["journal", "ls", "--feed", "ehr", "--limit", "10000"]);
    rows.iter().filter(|row| row["type"] == kind).count()
}

fn exceptions(setup: &Setup, category: &str) -> Vec<Value> {
    setup.json(&["exceptions", "ls", "--category", category])
}

fn rechecked(daemon: &Daemon, result: &str) -> f64 {
    let series = "tidegate_fhir_consents_rechecked_total{server=\"ehr\",result=";
    daemon.metric(&format!("{series}\"{result}\"}}"))
}

/// Waits until whole rounds went by.
fn rounds(server: &FhirServer, target: &str, count: usize) {
    let before = server.asked_for(target).len();
    eventually("it is asked again", || server.asked_for(target).len() >= before + count);
}

/// What comes then does not leave.
fn is_closed(server: &FhirServer, setup: &Setup, daemon: &Daemon) {
    let left = setup.events("trial").len();
    let suppressed = "tidegate_events_total{route=\"trial\",outcome=\"suppressed\"}";
    let before = daemon.metric(suppressed);
    server.put(observation("after", "p1", "13.5"));
    eventually("what came behind it is decided", || daemon.metric(suppressed) > before);
    assert_eq!(setup.events("trial").len(), left);
}

/// PROMISE-5, PROMISE-6
#[test]
fn a_consent_that_was_deleted_closes_and_a_human_is_told() {
    let server = FhirServer::start();
    let setup = asking(&server);
    let mut daemon = permitting(&server, &setup);
    eventually("it is looked at", || rechecked(&daemon, "same") >= 1.0);
    server.remove("Consent", "c1");
    eventually("it is gone", || rechecked(&daemon, "gone") == 1.0);
    is_closed(&server, &setup, &daemon);
    let mut found = Vec::new();
    eventually("it is in the evidence", || {
        found = setup.json(&["audit", "find", "--route", "trial", "--decision", "suppress"]);
        !found.is_empty()
    });
    assert_eq!(found[0]["says"]["decision"]["reason"], "closed");
    // Nobody has decided, so that nobody is told to stop.
    assert!(setup.notices("trial").is_empty());
    let told = exceptions(&setup, "consent-unknown");
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(
        (&told["controlId"], &told["place"]),
        (&json!("Consent/c1 (removed)"), &json!("Consent"))
    );
    // There is nothing left to look at.
    let asked = server.asked_for("/Consent/c1").len();
    rounds(&server, "/Consent?", 3);
    assert_eq!(server.asked_for("/Consent/c1").len(), asked);
    // Its next version opens again.
    server.put(consent("active", "permit"));
    eventually("it is taken", || taken(&setup, "Consent") == 3);
    server.put(observation("o9", "p1", "13.5"));
    eventually("what it permits leaves", || setup.events("trial").len() == 2);
    daemon.assert_no_patient_data();
}

/// PROMISE-5
#[test]
fn what_is_no_word_of_a_fhir_server_closes_nothing() {
    let server = FhirServer::start();
    let setup = asking(&server);
    let mut daemon = permitting(&server, &setup);
    let right = || Wrong::Slow(Duration::ZERO);
    let status = |status, body: &str| Wrong::Status(status, vec![], body.to_owned());
    let page = "<html><body>Maintenance</body></html>";
    let wrong = [
        status(403, &outcome_of("forbidden")),
        right(),
        status(404, page),
        right(),
        status(404, ""),
        right(),
        status(500, page),
        right(),
        // A FHIR server's, and then it is none.
        status(404, &outcome_of("not-found")),
        right(),
    ];
    let count = wrong.len();
    let before = server.asked_for("/Consent/c1").len();
    server.misbehave("/metadata", [status(404, page)]);
    server.misbehave("/Consent/c1", wrong);
    eventually("all of it came", || server.asked_for("/Consent/c1").len() > before + count);
    eventually("and is counted", || rechecked(&daemon, "failed") == 5.0);
    server.put(observation("o2", "p1", "13.5"));
    eventually("it permits still", || setup.events("trial").len() == 2);
    assert_eq!((setup.notices("trial").len(), rechecked(&daemon, "gone")), (0, 0.0));
    assert!(exceptions(&setup, "consent-unknown").is_empty());
    let told = exceptions(&setup, "stopped-query");
    let mut told: Vec<_> =
        told.iter().map(|row| (row["place"].as_str(), row["text"].as_str())).collect();
    told.sort_unstable();
    let wanted = ["the server refuses (403, forbidden)", "the server refuses (404)"];
    assert_eq!(told, wanted.map(|text| (Some("Consent/[id]"), Some(text))));
    // 410 says enough, if it is a FHIR server's.
    server.misbehave("/Consent/c1", [status(410, "")]);
    eventually("it is gone", || rechecked(&daemon, "gone") == 1.0);
    is_closed(&server, &setup, &daemon);
    daemon.assert_no_patient_data();
}

/// PROMISE-5
#[test]
fn a_version_that_no_search_found_is_taken_when_it_is_asked_for() {
    let server = FhirServer::start();
    server.etags();
    let setup = asking(&server);
    let mut daemon = permitting(&server, &setup);
    eventually("nothing has changed", || {
        server.asked_for("/Consent/c1").iter().any(|asked| asked.status == 304)
    });
    server.put_unindexed(consent("rejected", "deny"), server.now());
    eventually("the refusal is told", || setup.notices("trial").len() == 1);
    is_closed(&server, &setup, &daemon);
    assert_eq!((taken(&setup, "Consent"), rechecked(&daemon, "changed")), (2, 1.0));
    // What permits nothing is not looked at.
    let asked = server.asked_for("/Consent/c1").len();
    rounds(&server, "/Consent?", 3);
    assert_eq!(server.asked_for("/Consent/c1").len(), asked);
    daemon.assert_no_patient_data();
}

/// PROMISE-5, PROMISE-2
#[test]
fn killed_while_it_asks_it_asks_again_and_closes_once() {
    let server = FhirServer::start();
    let setup = asking(&server);
    let mut daemon = permitting(&server, &setup);
    server.gate.close("CapabilityStatement".to_owned());
    server.remove("Consent", "c1");
    eventually("it was told that it is gone", || server.gate.is_waited_at());
    daemon.kill();
    assert!(exceptions(&setup, "consent-unknown").is_empty());
    server.gate.open();
    let mut daemon = setup.start();
    eventually("it is gone", || rechecked(&daemon, "gone") == 1.0);
    daemon.kill();
    let asked = server.asked_for("/Consent/c1").len();
    let mut daemon = setup.start();
    is_closed(&server, &setup, &daemon);
    rounds(&server, "/Consent?", 2);
    assert_eq!(server.asked_for("/Consent/c1").len(), asked);
    let told = exceptions(&setup, "consent-unknown");
    assert_eq!((told.len(), &told[0]["count"]), (1, &json!(1)), "{told:?}");
    daemon.assert_no_patient_data();
}

/// PROMISE-11
#[test]
fn one_that_is_refused_for_ever_keeps_no_other_from_its_turn() {
    let server = FhirServer::start();
    let setup = asking(&server);
    let mut daemon = permitting(&server, &setup);
    for id in ["c2", "c3"] {
        let mut other = consent("active", "permit");
        other["id"] = json!(id);
        server.put(other);
    }
    eventually("they are taken", || taken(&setup, "Consent") == 3);
    let refused = || Wrong::Status(403, vec![], outcome_of("forbidden"));
    server.misbehave("/Consent/c1", (0..10_000).map(|_| refused()));
    eventually("it is refused", || rechecked(&daemon, "failed") >= 1.0);
    let asked = |id: &str| server.asked_for(&format!("/Consent/{id}")).len();
    let before = (asked("c2"), asked("c3"));
    eventually("the others have their turn", || asked("c2") > before.0 && asked("c3") > before.1);
    server.remove("Consent", "c3");
    eventually("one is gone", || rechecked(&daemon, "gone") == 1.0);
    is_closed(&server, &setup, &daemon);
    assert_eq!(exceptions(&setup, "stopped-query").len(), 1, "told once");
    daemon.assert_no_patient_data();
}

/// PROMISE-2: a server that tells neither versions nor times, and a stay that is opened again.
#[test]
fn content_that_comes_back_behind_other_content_is_taken_anew_and_twice_in_a_row_is_not() {
    let server = FhirServer::start();
    server.stamps_not();
    let setup = Setup::new()
        .section(&format!(
            "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
             resources = [\"Patient\", \"Encounter\"]\ninterval = \"1s\"\nsince = \"all\"\n",
            server.base()
        ))
        .file_route("crm", &["patient.admitted", "patient.discharged", "patient.updated"]);
    server.put(patient("p1"));
    server.put(encounter("e1", "p1", "in-progress"));
    let mut daemon = setup.start();
    let follows = |count: usize| {
        eventually(&format!("{count} are taken"), || taken(&setup, "Encounter") == count);
        // The same is on the next pages, too.
        rounds(&server, "/Encounter?", 2);
        assert_eq!(taken(&setup, "Encounter"), count);
    };
    follows(1);
    server.put(encounter("e1", "p1", "finished"));
    follows(2);
    daemon.kill();
    server.put(encounter("e1", "p1", "in-progress"));
    let mut daemon = setup.start();
    follows(3);
    daemon.kill();
    let mut daemon = setup.start();
    follows(3);
    eventually("each has left", || setup.events("crm").len() == 3);
    let ids: std::collections::BTreeSet<String> =
        setup.events("crm").iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    daemon.assert_no_patient_data();
}
