//! What consumers are told when a consent ends: who was sent something, and nobody else.

use serde_json::Value as Json;

use crate::heard;
use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::Sender;
use crate::support::{POLICY, adt, consent, eventually, schema};

const FIRST: &str = "ZZ100001";
const SECOND: &str = "ZZ100002";
const FIELDS: &str = "\"subject\" = \"token\"\n\"visit.class\" = \"keep\"";

fn send(daemon: &Daemon, message: &[u8]) {
    let ack = Sender::connect(daemon.feed()).exchange(message).unwrap();
    assert_eq!(heard(&ack).0, "AA");
}

fn pseudonymous(setup: Setup, name: &str, purpose: &str, fields: &str, consent: &str) -> Setup {
    let deliver = format!("kind = \"file\"\npath = \"out/{name}.ndjson\"");
    let events = &["patient.admitted", "patient.updated"];
    setup
        .contract(name, events, "pseudonymized", purpose, fields, &deliver)
        .asking(name, purpose, consent)
}

/// `trial` asks for the consent; `delete` too, and wants all deleted; `other` is for another
/// purpose; `nameless` knows no subject.
fn setup() -> Setup {
    let opt_in = "require = \"opt-in\"";
    let setup = Setup::new().policy(POLICY);
    let setup = pseudonymous(setup, "trial", "CLINTRCH", FIELDS, opt_in);
    let setup = pseudonymous(setup, "delete", "CLINTRCH", FIELDS, opt_in)
        .saying("delete", "on_revoked = \"delete\"");
    let setup = pseudonymous(setup, "other", "HRESCH", FIELDS, "require = \"opt-out\"");
    pseudonymous(setup, "nameless", "CLINTRCH", "\"visit.class\" = \"keep\"", opt_in)
}

fn told(notice: &Json) -> (&str, &str) {
    (notice["type"].as_str().unwrap(), notice["data"]["prior"].as_str().unwrap())
}

#[test]
fn who_was_sent_something_is_told_to_stop_once_and_nobody_else_is() {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, &consent("A", "20261101", "C1", FIRST));
    send(&daemon, &adt("A01", "A1", FIRST));
    // The second patient permits too, and nothing of hers is sent.
    send(&daemon, &consent("A", "20261101", "C2", SECOND));
    eventually("it is out", || setup.events("trial").len() == 1);
    send(&daemon, &consent("X", "20261102", "C3", SECOND));
    send(&daemon, &consent("X", "20261102", "C4", FIRST));
    eventually("it is told", || {
        !setup.notices("trial").is_empty() && !setup.notices("delete").is_empty()
    });
    // Refused on top of that, and again after kill -9: it is known already.
    send(&daemon, &consent("R", "20261103", "C5", FIRST));
    daemon.kill();
    let mut daemon = setup.start();
    send(&daemon, &consent("R", "20261104", "C6", FIRST));
    send(&daemon, &adt("A08", "A2", FIRST));
    let notices = setup.notices("trial");
    assert_eq!(notices.iter().map(told).collect::<Vec<_>>(), [("consent.revoked", "stop-using")]);
    assert_eq!(
        setup.notices("delete").iter().map(told).collect::<Vec<_>>(),
        [("consent.revoked", "delete")]
    );
    // By the token that the consumer knows, and with nothing of the event.
    let event = &setup.events("trial")[0];
    assert_eq!(notices[0]["subject"], event["subject"]);
    assert_eq!(notices[0]["data"].as_object().unwrap().len(), 1);
    assert!(notices[0].get("consentref").is_none());
    let validator = schema::of("notice");
    assert!(validator.is_valid(&notices[0]), "{}", notices[0]);
    // Another yes, another event, another no: told anew.
    send(&daemon, &consent("A", "20261105", "C7", FIRST));
    send(&daemon, &adt("A08", "A3", FIRST));
    eventually("it is out", || setup.events("trial").len() == 2);
    send(&daemon, &consent("R", "20261106", "C8", FIRST));
    eventually("it is told", || setup.notices("trial").len() == 2);
    assert_eq!(told(&setup.notices("trial")[1]), ("consent.denied", "stop-using"));
    assert!(daemon.stop().success());
    assert_eq!(setup.notices("other").len() + setup.notices("nameless").len(), 0);
    assert_eq!(setup.events("nameless").len(), 2);
    daemon.assert_no_patient_data();
}
