//! Protections that come in by PD1-12, PV2-22 and ARV, and what no longer leaves by them.

use serde_json::Value as Json;

use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::Sender;
use crate::support::{EVERY_EVENT, eventually};
use crate::{PATIENT, heard};

const POLICY: &str = "[restriction]\nspares = [\"ETREAT\"]\n";

/// A route `ward` that needs no consent, and `emergency`, which restrictions spare.
fn setup() -> Setup {
    Setup::new()
        .policy(POLICY)
        .file_route("ward", EVERY_EVENT)
        .file_route("emergency", EVERY_EVENT)
        .asking("emergency", "ETREAT", "require = \"none\"\nbasis = \"a test\"")
}

/// A made-up update of a patient in a visit, with segments behind PID and behind PV1.
fn update(control_id: &str, sent: &str, visit: &str, person: &str, encounter: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|{sent}||ADT^A08^ADT_A01|{control_id}|P|2.7\r\
         EVN|A08|20261122081500\r\
         PID|1||{PATIENT}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r{person}\
         PV1|1|I|||||||||||||||||{visit}^^^EPIC^VN\r{encounter}"
    )
    .into_bytes()
}

fn pd1(said: &str) -> String {
    format!("PD1||||||||||||{said}\r")
}

fn pv2(said: &str) -> String {
    format!("PV2||||||||||||||||||||||{said}\r")
}

/// Sends messages a second apart by their own times; each is taken.
struct Hospital<'d> {
    daemon: &'d Daemon,
    sent: u32,
}

impl Hospital<'_> {
    fn send(&mut self, control_id: &str, visit: &str, person: &str, encounter: &str) {
        self.sent += 1;
        let sent = format!("2026112208{:02}{:02}+0000", self.sent / 60, self.sent % 60);
        self.send_at(&sent, control_id, visit, person, encounter);
    }

    fn send_at(&self, sent: &str, control_id: &str, visit: &str, person: &str, encounter: &str) {
        let message = update(control_id, sent, visit, person, encounter);
        let ack = Sender::connect(self.daemon.feed()).exchange(&message).unwrap();
        assert_eq!(heard(&ack), ("AA", control_id));
    }
}

/// The control IDs that a route let out, once it has passed all that came in.
fn out(setup: &Setup, route: &str) -> Vec<String> {
    let last = setup.json(&["journal", "ls", "--limit", "1"]).remove(0)["number"].to_string();
    eventually("it is passed", || {
        let shown = setup.json(&["journal", "show", &last]).remove(0);
        let mut routes = shown["routes"].as_array().unwrap().iter();
        routes.any(|it| it["route"] == route && it["state"] == "passed")
    });
    let of = |line: &Json| Some(line["data"]["message"]["controlId"].as_str()?.to_owned());
    setup.lines(route).iter().filter_map(of).collect()
}

/// The types of the notices that a route got, which need no permit.
fn notices(setup: &Setup, route: &str) -> Vec<String> {
    let of = |line: &Json| line["type"].as_str().unwrap().to_owned();
    setup.lines(route).iter().map(of).filter(|it| it.starts_with("consent.")).collect()
}

/// Key and turn of each record of the patient.
fn history(setup: &Setup) -> Vec<String> {
    let found = setup.json(&["consent", "history", "1"]);
    let line = |record: &Json| {
        let turn = record.pointer("/says/restriction/turn").or(record.pointer("/says/closure"));
        format!("{} {}", record["key"].as_str().unwrap(), turn.unwrap().as_str().unwrap())
    };
    found.iter().map(line).collect()
}

fn events(setup: &Setup, number: usize) -> Vec<String> {
    let shown = setup.json(&["journal", "show", &number.to_string()]).remove(0);
    let of = |event: &Json| event["id"].as_str().unwrap().split_once('.').unwrap().1.to_owned();
    shown["events"].as_array().unwrap().iter().map(of).collect()
}

/// PROMISE-5, PROMISE-6
#[test]
fn a_protected_patient_leaves_for_what_is_spared_alone_until_it_ends() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut hospital = Hospital { daemon: &daemon, sent: 0 };
    // Most say in each message that nothing is protected: nothing is kept of that.
    for number in 0..5 {
        hospital.send(&format!("N{number}"), "ZZV1", &pd1("N"), "");
    }
    assert_eq!(history(&setup), [""; 0]);
    for number in 0..5 {
        hospital.send(&format!("Y{number}"), "ZZV1", &pd1("Y"), &pv2("N"));
    }
    hospital.send("E1", "ZZV1", "", "");
    assert_eq!(history(&setup), ["adt/PD1-12 begins"]);
    assert_eq!(events(&setup, 6), ["patient.updated.pid1", "consent.denied.pd1"]);
    assert_eq!(events(&setup, 1), ["patient.updated.pid1"]);
    // An end that was sent before the protection was said for the last time ends nothing.
    hospital.send_at("20261122080008+0000", "L1", "ZZV1", &pd1("N"), "");
    hospital.send("E2", "ZZV1", "", "");
    assert_eq!(out(&setup, "ward"), ["N0", "N1", "N2", "N3", "N4"]);
    assert_eq!(out(&setup, "emergency").len(), 13);
    assert_eq!(
        (notices(&setup, "ward"), notices(&setup, "emergency")),
        (vec!["consent.denied".to_owned()], Vec::new())
    );
    // Nor does it after kill -9, nor with a permit of the patient.
    daemon.kill();
    let mut daemon = setup.start();
    let mut hospital = Hospital { daemon: &daemon, sent: 100 };
    let permit = "CON|1|ZZ9^Form^L||ZZF1|||||||A||20261122\r";
    hospital.send("E3", "ZZV1", permit, "");
    assert_eq!(out(&setup, "ward").len(), 5);
    hospital.send("N5", "ZZV1", &pd1("\"\""), "");
    hospital.send("N6", "ZZV1", &pd1("N"), "");
    assert_eq!(out(&setup, "ward")[5..], ["N5", "N6"]);
    let found = setup.json(&["consent", "history", "1"]);
    assert_eq!(found.len(), 3, "a restriction, a permit, an end: {}", found.len());
    assert!(daemon.stop().success());
}

/// PROMISE-5
#[test]
fn a_protected_visit_is_that_visit_and_access_restrictions_go_by_their_codes() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut hospital = Hospital { daemon: &daemon, sent: 0 };
    hospital.send("A1", "ZZV1", "", &pv2("Y"));
    hospital.send("A2", "ZZV2", "", &pv2("N"));
    hospital.send("A3", "ZZV1", "", "");
    assert_eq!(out(&setup, "ward"), ["A2"]);
    hospital.send("A4", "ZZV1", "", &pv2("N"));
    assert_eq!(out(&setup, "ward"), ["A2", "A4"]);
    // Of two restrictions the end of one leaves the other.
    let two = "ARV|1|A|HIV^^HL70717\rARV|2|A|PSY^^HL70717\r";
    hospital.send("B1", "ZZV1", two, "");
    hospital.send("B2", "ZZV1", "ARV|1|D|HIV^^HL70717\r", "");
    hospital.send("B3", "ZZV1", "ARV|1|D\r", "");
    hospital.send("B4", "ZZV1", "ARV|1|A|NO^^HL70717\r", "");
    assert_eq!(out(&setup, "ward"), ["A2", "A4"]);
    hospital.send("B5", "ZZV1", "ARV|1|D|PSY^^HL70717\r", "");
    assert_eq!(out(&setup, "ward"), ["A2", "A4", "B5"]);
    // Behind PV1 it is about the visit.
    hospital.send("C1", "ZZV1", "", "ARV|1|A|ALL^^HL70717\r");
    hospital.send("C2", "ZZV2", "", "");
    assert_eq!(out(&setup, "ward")[3..], ["C2"]);
    assert_eq!(
        events(&setup, 5),
        ["patient.updated.pid1", "consent.denied.arv1", "consent.denied.arv2"]
    );
    assert!(daemon.stop().success());
}

/// PROMISE-5
#[test]
fn a_word_that_is_not_known_is_taken_for_a_restriction_with_an_exception() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut hospital = Hospital { daemon: &daemon, sent: 0 };
    for number in 0..3 {
        hospital.send(&format!("X{number}"), "ZZV1", &pd1("X"), "");
    }
    assert_eq!(history(&setup), ["adt/PD1-12 begins"]);
    let found = setup.json(&["exceptions", "ls", "--category", "consent-unknown"]);
    assert!(found.iter().all(|it| it["place"] == "PD1-12") && !found.is_empty());
    assert_eq!(out(&setup, "ward"), [""; 0]);
    hospital.send("N1", "ZZV1", &pd1("N"), "");
    assert_eq!(out(&setup, "ward"), ["N1"]);
    assert!(daemon.stop().success());
}
