//! What the black-box tests share: a daemon, a broker, a sender, a consumer, and the search for
//! patient data in everything that they print.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub mod canary;
pub mod certificates;
pub mod clock;
pub mod consumer;
pub mod corpus;
pub mod daemon;
pub mod disk;
pub mod evidence;
pub mod fhir;
pub mod gate;
pub mod http;
pub mod ledger;
pub mod notifier;
pub mod peer;
pub mod proxy;
pub mod rabbit;
pub mod schema;
pub mod sender;
pub mod supervisor;
pub mod topology;
pub mod trace;

use std::time::{Duration, Instant};

/// Every event that a mapping makes.
pub const EVERY_EVENT: &[&str] = &[
    "patient.admitted",
    "patient.transferred",
    "patient.discharged",
    "patient.registered",
    "patient.preadmitted",
    "patient.updated",
    "patient.added",
    "patient.merged",
    "patient.moved",
    "patient.identifier-changed",
    "patient.admit-cancelled",
    "patient.transfer-cancelled",
    "patient.discharge-cancelled",
    "observation.reported",
];

/// Waits until something holds, looking every 20 ms; panics with `what` when it does not within
/// a bound that no working machine needs.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A made-up message of a patient, with a control ID: `MSH`, `EVN`, `PID`, `PV1`.
pub fn adt(trigger: &str, control_id: &str, patient: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122081500-0800||ADT^{trigger}^ADT_A01|{control_id}|P|2.5.1\r\
         EVN|{trigger}|20261122081500\r\
         PID|1||{patient}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r\
         PV1|1|I|4W^401^A^NORTH|||||||||||||||||ZZV{patient}^^^EPIC^VN\r"
    )
    .into_bytes()
}

/// What a route lets out that knows patients by a token, and little more.
pub const TOKEN: &str = "\"subject\" = \"token\"\n\"visit.class\" = \"keep\"";

/// A made-up message of a patient and another, by MRG or as a second PID.
pub fn two(trigger: &str, control_id: &str, patient: &str, other: &str) -> Vec<u8> {
    let other = match trigger {
        "A24" | "A37" => format!("PID|2||{other}^^^EPIC^MR"),
        _ => format!("MRG|{other}^^^EPIC^MR"),
    };
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122081500-0800||ADT^{trigger}|{control_id}|P|2.5.1\r\
         EVN|{trigger}|20261122081500\r\
         PID|1||{patient}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r\
         {other}\r"
    )
    .into_bytes()
}

/// A made-up consent of a patient: `CON-11` says its status, `CON-13` when it was decided. Its type
/// is `L/ZZ9`, its number the patient's.
pub fn consent(status: &str, decided: &str, control_id: &str, patient: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122081500-0800||MDM^T02^MDM_T02|{control_id}|P|2.7\r\
         EVN|T02|20261122081500\r\
         PID|1||{patient}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r\
         TXA|1|CO\r\
         CON|1|ZZ9^Form^L||ZZF{patient}|||||||{status}||{decided}\r"
    )
    .into_bytes()
}

/// A consent.toml in which consents of [`consent`] speak about clinical trials.
pub const POLICY: &str = "[codes]\n\"L/ZZ9\" = [\"CLINTRCH\"]\n";
