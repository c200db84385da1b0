//! Consent that comes in by CON: what is taken, what is refused, and what wants a human.

use serde_json::Value as Json;

use crate::PATIENT;
use crate::support::daemon::Setup;
use crate::support::sender::Sender;
use crate::support::{POLICY, TOKEN, adt, eventually};
use crate::{heard, send, setup};

const SIGNED: &str = "CON|1|ZZ9^Form^L||ZZF1|||||||SIGNED||20261120";
const PERMIT: &str = "CON|1|ZZ9^Form^L||ZZF1|||||||A||20261120";

fn message(kind: &str, control_id: &str, patient: &str, con: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122||{kind}|{control_id}|P|2.7\r\
         PID|1||{patient}||ZZQUILLON^ZZMARA||19800102|F\rPV1|1|I\rTXA|1\r{con}\r"
    )
    .into_bytes()
}

/// Place and count of each exception.
fn unknown(setup: &Setup) -> Vec<(Json, Json)> {
    let found = setup.json(&["exceptions", "ls", "--category", "consent-unknown"]);
    found.into_iter().map(|mut it| (it["place"].take(), it["count"].take())).collect()
}

/// PROMISE-5
#[test]
fn a_consent_that_cannot_be_applied_is_taken_with_an_exception() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let id = format!("{PATIENT}^^^EPIC^MR");
    let mut send = |kind: &str, control_id: &str, con: &str| {
        let ack = sender.exchange(&message(kind, control_id, &id, con)).unwrap();
        assert_eq!(heard(&ack), ("AA", control_id));
    };
    send("MDM^T02^MDM_T02", "C1", SIGNED);
    send("MDM^T02^MDM_T02", "C1", SIGNED);
    assert_eq!(unknown(&setup), [("CON-11".into(), 1.into())]);
    // Types that no row maps are one exception a type.
    send("MDM^T02^MDM_T02", "C2", PERMIT);
    send("ADT^A01^ADT_A01", "C3", PERMIT);
    let two = [("CON-11".into(), 1.into()), ("CON-2".into(), 2.into())];
    assert_eq!(unknown(&setup), two);
    // The results of an order have none.
    send("ORU^R01^ORU_R01", "C4", PERMIT);
    assert_eq!(unknown(&setup)[2], ("OBR".into(), 1.into()));
    assert_eq!(setup.json(&["journal", "ls", "--status", "parked"]).len(), 1);
    send("MDM^T02^MDM_T02", "C5", "NTE|1");
    assert_eq!(setup.json(&["exceptions", "ls", "--category", "unsupported"]).len(), 1);
    assert!(daemon.stop().success());
    daemon.assert_no_patient_data();
}

/// PROMISE-5
#[test]
fn whose_consent_cannot_be_read_is_ae_at_the_patient() {
    let setup = setup().feed("on_unmappable = \"park\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for kind in ["MDM^T02^MDM_T02", "ADT^A01^ADT_A01", "ORU^R01^ORU_R01"] {
        let ack = sender.exchange(&message(kind, "C1", "", PERMIT)).unwrap();
        assert_eq!(heard(&ack), ("AE", "C1"), "{kind}");
        assert_eq!(ack.err, "ERR||PID^1^3|101^Required field missing^HL70357|E");
    }
    assert_eq!(unknown(&setup).len(), 0);
    // It was not taken, so it may come again corrected.
    let id = format!("{PATIENT}^^^EPIC^MR");
    let ack = sender.exchange(&message("MDM^T02^MDM_T02", "C1", &id, PERMIT)).unwrap();
    assert_eq!(heard(&ack), ("AA", "C1"));
    assert!(daemon.stop().success());
}

/// A made-up document of the patient with one consent of a form.
fn document(trigger: &str, control_id: &str, numbers: &str, con: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122||MDM^{trigger}|{control_id}|P|2.7\r\
         PID|1||{PATIENT}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r\
         TXA|1|CO||||||||||{numbers}\r{con}\r"
    )
    .into_bytes()
}

/// PROMISE-5, PROMISE-6
#[test]
fn a_document_that_is_replaced_or_taken_back_permits_nothing_more_and_who_got_something_is_told() {
    for (trigger, numbers, con) in [
        ("T10", "ZZDOC2^EHR|ZZDOC1^EHR", "CON|1|ZZ8^Other^L||ZZF2|||||||A||20261102"),
        ("T11", "ZZDOC1^EHR", "CON|1|ZZ8^Other^L||ZZF2|||||||A||20261101"),
    ] {
        let policy = format!("{POLICY}\"L/ZZ8\" = [\"TREAT\"]\n");
        let setup = Setup::new().policy(&policy).pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["patient.updated"],
            TOKEN,
        );
        let mut daemon = setup.start();
        let permit = "CON|1|ZZ9^Form^L||ZZF1|||||||A||20261101";
        send(&daemon, &document("T02", "C1", "ZZDOC1^EHR", permit));
        send(&daemon, &adt("A08", "A1", PATIENT));
        eventually("it left", || setup.events("trial").len() == 1);
        send(&daemon, &document(trigger, "C2", numbers, con));
        send(&daemon, &adt("A08", "A2", PATIENT));
        eventually("it is told", || setup.notices("trial").len() == 1);
        let shown = || setup.json(&["journal", "show", "4"]).remove(0)["decisions"].take();
        eventually("it is decided", || shown().as_array().is_some_and(|it| !it.is_empty()));
        let sentence = shown()[0]["sentence"].as_str().unwrap().to_owned();
        assert!(sentence.contains("(inactive). The permit for CLINTRCH was closed."), "{sentence}");
        assert!(sentence.contains("Consent adt/ZZF1"), "{sentence}");
        assert_eq!(setup.events("trial").len(), 1, "{trigger}");
        // Who permits it anew, in another document, is heard.
        let anew = "CON|1|ZZ9^Form^L||ZZF3|||||||A||20261103";
        send(&daemon, &document("T02", "C3", "ZZDOC3^EHR", anew));
        send(&daemon, &adt("A08", "A3", PATIENT));
        eventually("it left", || setup.events("trial").len() == 2);
        assert!(daemon.stop().success());
    }
}
