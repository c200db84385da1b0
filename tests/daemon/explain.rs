//! Why a message left, or did not, or would: the same sentences before and after.

use serde_json::Value as Json;

use crate::send;
use crate::support::daemon::Setup;
use crate::support::{POLICY, adt, consent, eventually};

const PATIENT: &str = "ZZ100001";

/// What `decide` says of a message, for each route.
pub fn decided(setup: &Setup, message: &[u8]) -> Vec<Json> {
    let file = setup.state_dir().parent().unwrap().join("message.hl7");
    std::fs::write(&file, message).unwrap();
    setup.json(&["decide", file.to_str().unwrap()])
}

/// What was recorded about the newest message, for each route.
fn recorded(setup: &Setup) -> Vec<Json> {
    let listed = setup.json(&["journal", "ls", "--limit", "1"]);
    let number = listed[0]["number"].to_string();
    let shown = setup.json(&["journal", "show", &number]).remove(0);
    shown["decisions"].as_array().unwrap().clone()
}

fn sentences(told: &[Json]) -> Vec<(String, String)> {
    let of = |told: &Json| {
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        (text("route"), text("sentence"))
    };
    let mut all: Vec<_> = told.iter().filter(|it| it["outcome"] != "unselected").map(of).collect();
    all.sort();
    all
}

/// PROMISE-8
#[test]
fn what_would_be_decided_and_what_was_is_told_in_the_same_sentences() {
    let fields = "\"subject\" = \"token\"\n\"visit.class\" = \"keep\"\n\"patient.sex\" = \"keep\"\n\
                  \"patient.language\" = \"keep\"";
    let setup = Setup::new()
        .policy(POLICY)
        .pseudonymous("trial", "CLINTRCH", "require = \"opt-in\"", &["patient.updated"], fields)
        .saying("trial", "agreement = \"DUA-7\"")
        .file_route("ward", &["patient.updated"]);
    let mut daemon = setup.start();
    let both = |setup: &Setup| recorded(setup).len() == 2;

    // Nothing says yes.
    let first = adt("A08", "A1", PATIENT);
    let would = decided(&setup, &first);
    send(&daemon, &first);
    eventually("it is decided", || both(&setup));
    assert_eq!(sentences(&would), sentences(&recorded(&setup)));
    let trial = &sentences(&would)[0].1;
    for words in ["Suppressed for c", "by rule 7 (missing)", "Contract trial 1.0.0 under DUA-7"] {
        assert!(trial.contains(words), "{trial}");
    }

    // A permit, by its record and its version; and each field's fate.
    send(&daemon, &consent("A", "20261101", "C1", PATIENT));
    let second = adt("A08", "A2", PATIENT);
    let would = decided(&setup, &second);
    assert!(would.iter().any(|told| told["payload"]["tier"] == "pseudonymized"), "{would:?}");
    send(&daemon, &second);
    eventually("it is decided", || both(&setup));
    assert_eq!(sentences(&would), sentences(&recorded(&setup)));
    let trial = &sentences(&would)[0].1;
    for words in [
        "Released to c (file:out/trial.ndjson) for CLINTRCH: by rule 3",
        &format!("Consent adt/ZZF{PATIENT}."),
        "recipe sha256:",
        "configuration sha256:",
        "subject as a token",
        "visit.class.code kept",
        "nothing else.",
    ] {
        assert!(trial.contains(words), "{words} in {trial}");
    }
    assert_eq!(trial.matches("not in the event").count(), 2, "{trial}");

    // A revocation counts for the message that brings it.
    let revocation = consent("X", "20261102", "C2", PATIENT);
    let nothing = decided(&setup, &revocation);
    assert!(nothing.iter().all(|told| told["outcome"] == "unselected"), "{nothing:?}");
    send(&daemon, &revocation);
    let third = adt("A08", "A3", PATIENT);
    send(&daemon, &third);
    eventually("it is decided", || both(&setup));
    let running = (recorded(&setup), sentences(&decided(&setup, &third)));
    assert_eq!(sentences(&running.0), running.1);
    assert!(running.1[0].1.contains("by rule 2 (revoked). The patient withdrew"), "{running:?}");
    assert!(daemon.stop().success());
    assert_eq!((recorded(&setup), sentences(&decided(&setup, &third))), running);

    // What gives no event gives no decision either.
    let file = setup.state_dir().parent().unwrap().join("message.hl7");
    std::fs::write(&file, "MSH|^~\\&|A|B|||2026||SIU^S12|1|P|2.5\r").unwrap();
    let output = setup.command(&["decide", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    daemon.assert_no_patient_data();
}
