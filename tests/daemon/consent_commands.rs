//! `tidegate consent show` and `import`, on a running daemon and on a stopped one.

use serde_json::Value as Json;

use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::Sender;
use crate::support::{POLICY, adt, canary, consent};
use crate::{PATIENT, heard, setup};

fn send(daemon: &Daemon, message: &[u8]) {
    let ack = Sender::connect(daemon.feed()).exchange(message).unwrap();
    assert_eq!(heard(&ack).0, "AA");
}

/// Of a message's patient for a purpose: answers to opt-in and opt-out, and keys behind the first.
fn answers(setup: &Setup, more: &[&str], purpose: &str) -> (String, String, Vec<String>) {
    let found = setup.json(&[&["consent", "show", "1"], more].concat());
    assert_eq!(found.len(), 1);
    let rows = found[0]["purposes"].as_array().unwrap();
    let row = rows.iter().find(|row| row["purpose"] == purpose).unwrap();
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let records = row["optIn"]["records"].as_array().unwrap().iter();
    (
        text(&row["optIn"]["answer"]),
        text(&row["optOut"]["answer"]),
        records.map(|record| text(&record["key"])).collect(),
    )
}

fn of(opt_in: &str, opt_out: &str, records: &[&str]) -> (String, String, Vec<String>) {
    (opt_in.to_owned(), opt_out.to_owned(), records.iter().map(ToString::to_string).collect())
}

#[test]
fn the_state_of_a_consent_is_shown_alike_by_a_running_daemon_and_a_stopped_one() {
    let setup = setup().policy(POLICY);
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A1", PATIENT));
    assert_eq!(answers(&setup, &[], "CLINTRCH"), of("missing", "permit", &[]));
    send(&daemon, &consent("A", "20261101", "C1", PATIENT));
    let key = format!("adt/ZZF{PATIENT}");
    let permitted = of("permit", "permit", &[&key]);
    assert_eq!(answers(&setup, &[], "CLINTRCH"), permitted);
    let all = setup.json(&["consent", "show", "1"])[0]["purposes"].as_array().unwrap().len();
    assert_eq!(all, 32);
    let between = setup.json(&["consent", "history", "1"])[0]["recordedAt"].to_string();
    send(&daemon, &consent("X", "20261102", "C2", PATIENT));
    let revoked = of("revoked", "revoked", &[&key]);
    assert_eq!(answers(&setup, &[], "CLINTRCH"), revoked);
    // What was answered then.
    let at = ["--at", between.trim_matches('"')];
    assert_eq!(answers(&setup, &at, "CLINTRCH"), permitted);
    let one = ["--at", "2030-01-01T00:00:00Z", "--purpose", "CLINTRCH", "--consumer", "crm"];
    let running = setup.json(&[&["consent", "show", "1"][..], &one].concat());
    let table = setup.command(&["consent", "show", "1"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("The patient withdrew the consent for CLINTRCH."), "{table}");
    assert!(table.contains("opt-out: permit): TREAT ETREAT"), "{table}");
    assert!(daemon.get("/api/journal/1/consent/state?at=never").1.contains("at is no time"));
    assert!(daemon.get("/api/journal/1/consent/state?purpose=ZZ").1.contains("PurposeOfUse"));
    assert_eq!(daemon.get("/api/journal/99/consent/state").0, 404);
    assert!(daemon.stop().success());
    let stopped = setup.json(&[&["consent", "show", "1"][..], &one].concat());
    assert_eq!(running, stopped);
    assert_eq!(answers(&setup, &[], "CLINTRCH"), revoked);
    let wrong = setup.command(&["consent", "show", "1", "--purpose", "CLINTRSH"]);
    assert_eq!(wrong.status.code(), Some(2));
    canary::assert_none("an error", &String::from_utf8(wrong.stderr).unwrap());
}
