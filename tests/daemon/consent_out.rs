//! What leaves, and what no longer does, as patients decide.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::Sender;
use crate::support::{EVERY_EVENT, POLICY, TOKEN, adt, consent, eventually};
use crate::{PATIENT, send};

const OTHER: &str = "ZZ100002";

/// A route `trial` that asks for a consent, and one, `ward`, that needs none.
fn setup() -> Setup {
    Setup::new()
        .policy(POLICY)
        .file_route("trial", EVERY_EVENT)
        .asking("trial", "CLINTRCH", "require = \"opt-in\"")
        .file_route("ward", EVERY_EVENT)
}

/// The control IDs that a route let out.
fn out(setup: &Setup, route: &str) -> Vec<String> {
    let of = |line: &serde_json::Value| {
        line["data"]["message"]["controlId"].as_str().unwrap().to_owned()
    };
    setup.events(route).iter().map(of).collect()
}

fn decided(daemon: &Daemon, decision: &str, reason: &str) -> f64 {
    daemon.metric(&format!(
        "tidegate_consent_decisions_total{{purpose=\"CLINTRCH\",decision=\"{decision}\",\
         reason=\"{reason}\"}}"
    ))
}

/// PROMISE-5, PROMISE-6
#[test]
fn a_route_lets_out_what_is_permitted_while_it_is() {
    let setup = setup();
    let mut daemon = setup.start();
    // The tier is identified, so a consent must name who receives; this one names nobody.
    send(&daemon, &adt("A01", "A1", PATIENT));
    send(&daemon, &consent("A", "20261101", "C1", PATIENT));
    send(&daemon, &adt("A08", "A2", PATIENT));
    eventually("all is decided", || decided(&daemon, "deny", "missing") >= 2.0);
    assert_eq!(out(&setup, "trial"), [""; 0]);
    assert!(daemon.stop().success());
    drop(daemon);
    let setup = setup.pseudonymous("trial", "CLINTRCH", "require = \"opt-in\"", EVERY_EVENT, TOKEN);
    let mut daemon = setup.start();
    let count = |setup: &Setup| setup.events("trial").len();
    // Permitted; another patient is not.
    send(&daemon, &adt("A08", "A3", PATIENT));
    send(&daemon, &adt("A01", "B1", OTHER));
    eventually("one is out", || count(&setup) == 1 && decided(&daemon, "deny", "missing") >= 1.0);
    // The consent is named by a digest of the realm's.
    let consentref = setup.events("trial")[0]["consentref"].as_str().unwrap().to_owned();
    assert!(consentref.len() == 32 && consentref.bytes().all(|byte| byte.is_ascii_hexdigit()));
    // Withdrawn, and so it stays after kill -9.
    send(&daemon, &consent("X", "20261102", "C2", PATIENT));
    send(&daemon, &adt("A08", "A4", PATIENT));
    eventually("it is suppressed", || decided(&daemon, "deny", "revoked") >= 1.0);
    eventually("the consumer is told", || setup.notices("trial").len() == 1);
    daemon.kill();
    let mut daemon = setup.start();
    send(&daemon, &adt("A08", "A5", PATIENT));
    eventually("it is suppressed", || decided(&daemon, "deny", "revoked") >= 1.0);
    assert_eq!(count(&setup), 1);
    // An older permit that arrives late changes nothing; a newer one does.
    send(&daemon, &consent("A", "20261030", "C3", PATIENT));
    send(&daemon, &adt("A08", "A6", PATIENT));
    eventually("it is suppressed", || decided(&daemon, "deny", "revoked") >= 2.0);
    send(&daemon, &consent("A", "20261103", "C4", PATIENT));
    send(&daemon, &adt("A08", "A7", PATIENT));
    eventually("it is out", || count(&setup) == 2);
    assert_eq!(setup.events("trial")[1]["consentref"], consentref, "of the same key");
    // What could not be applied closes every purpose, also those that need no consent.
    let lag = "tidegate_route_lag_events{route=\"ward\"}";
    eventually("the ward has all", || {
        out(&setup, "ward").contains(&"A7".to_owned()) && daemon.metric(lag) == 0.0
    });
    let ward = out(&setup, "ward").len();
    send(&daemon, &consent("SIGNED", "20261104", "C5", PATIENT));
    send(&daemon, &adt("A08", "A8", PATIENT));
    send(&daemon, &adt("A08", "B2", OTHER));
    eventually("the other's is out", || out(&setup, "ward").contains(&"B2".to_owned()));
    assert_eq!(out(&setup, "ward").len(), ward + 1);
    assert_eq!(count(&setup), 2);
    assert!(daemon.stop().success());
    // What was not revoked but could not be read is our doubt, and no consumer's matter.
    assert_eq!(setup.notices("trial").len(), 1, "{:?}", setup.notices("trial"));
    let history = setup.json(&["consent", "history", "1"]);
    let says = |record: &serde_json::Value| match &record["says"]["closure"] {
        serde_json::Value::Null => record["says"]["consent"]["status"].clone(),
        turn => turn.clone(),
    };
    let says: Vec<_> = history.iter().map(says).collect();
    assert_eq!(says, ["active", "revoked", "active", "active", "begins"]);
    daemon.assert_no_patient_data();
}

/// PROMISE-6: what the file holds of a patient when the revocation is acknowledged is all that it
/// will ever hold, however many senders go on.
#[test]
fn behind_the_acknowledgement_of_a_revocation_nothing_more_is_written() {
    const ROUNDS: usize = 60;
    const SENDERS: usize = 3;
    let setup = Setup::new()
        .policy("[codes]\n\"L/ZZ9\" = [\"TREAT\"]\n")
        .file_route("first", &["patient.updated"])
        .asking("first", "TREAT", "require = \"opt-out\"")
        .file_route("second", &["patient.updated"])
        .asking("second", "TREAT", "require = \"opt-out\"");
    let mut daemon = setup.start();
    let feed = daemon.feed();
    let of = |patient: &str| -> usize {
        ["first", "second"]
            .map(|route| {
                let path = setup.state_dir().join(format!("out/{route}.ndjson"));
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let notice = |line: &&str| line.contains("urn:tidegate:data:notice");
                text.lines().filter(|line| line.contains(patient) && !notice(line)).count()
            })
            .iter()
            .sum()
    };
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let patient = format!("ZZ7{round:05}");
        let (goes_on, sent) = (AtomicBool::new(true), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (goes_on, sent, patient) = (&goes_on, &sent, &patient);
                scope.spawn(move || {
                    let mut connection = Sender::connect(feed);
                    for number in 0.. {
                        if !goes_on.load(Ordering::Relaxed) {
                            break;
                        }
                        let control_id = format!("R{round}S{sender}N{number}");
                        connection.exchange(&adt("A08", &control_id, patient)).unwrap();
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("senders are at it", || sent.load(Ordering::Relaxed) > 3 * round % 20);
            send(&daemon, &consent("X", "20261102", &format!("C{round}"), &patient));
            acknowledged.push((of(&patient), patient.clone()));
            let after = sent.load(Ordering::Relaxed);
            eventually("some more was sent", || sent.load(Ordering::Relaxed) >= after + 6);
            goes_on.store(false, Ordering::Relaxed);
        });
    }
    assert!(daemon.stop().success());
    for (then, patient) in &acknowledged {
        assert_eq!(of(patient), *then, "{patient}");
    }
    let released: usize = acknowledged.iter().map(|(then, _)| then).sum();
    assert!(released > ROUNDS, "the senders were never ahead of the revocations: {released}");
}
