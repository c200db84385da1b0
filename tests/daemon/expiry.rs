//! Permits that end by themselves: each end is told once, whatever the clock and kill -9 do.

use jiff::{Timestamp, ToSpan};
use serde_json::Value as Json;

use crate::support::clock::Clock;
use crate::support::daemon::Setup;
use crate::support::{POLICY, TOKEN, adt, eventually};
use crate::{PATIENT, send};

/// A route, `watch`, of what has expired.
fn setup() -> Setup {
    Setup::new().policy(POLICY).file_route("watch", &["consent.expired"])
}

/// A permit of a patient that holds until an instant, to the second.
fn permit(control_id: &str, patient: &str, until: Timestamp) -> Vec<u8> {
    let until = until.strftime("%Y%m%d%H%M%S+0000");
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122081500-0800||MDM^T02^MDM_T02|{control_id}|P|2.7\r\
         PID|1||{patient}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\rTXA|1|CO\r\
         CON|1|ZZ9^Form^L||ZZF{patient}|||||||A||20200101|20200101|{until}\r"
    )
    .into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "the daemon's clock is set against this one")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The entries of the timer, oldest first.
fn told(setup: &Setup) -> Vec<Json> {
    let mut found = setup.json(&["journal", "ls", "--feed", "tidegate"]);
    found.reverse();
    found
}

/// PROMISE-1, PROMISE-2
#[test]
fn the_end_of_a_permit_is_told_once_when_it_has_passed() {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, &permit("C1", PATIENT, now() + 3.seconds()));
    send(&daemon, &permit("C2", "ZZ100002", now() + 1.hour()));
    assert_eq!(told(&setup).len(), 0);
    eventually("the end is told", || told(&setup).len() == 1);
    let entry = told(&setup).remove(0);
    assert_eq!((&entry["type"], &entry["status"]), (&"TIMER".into(), &"admitted".into()));
    assert_eq!(entry["controlId"], "");
    let number = entry["number"].to_string();
    let shown = setup.json(&["journal", "show", &number]).remove(0);
    let event = &shown["events"][0];
    assert_eq!(
        (&event["type"], &event["subject"]["value"]),
        (&"consent.expired".into(), &PATIENT.into())
    );
    let consent = &event["data"]["consent"];
    assert_eq!(consent["key"], format!("adt/ZZF{PATIENT}"));
    assert_eq!(
        (&consent["decision"], &consent["purposes"][0]),
        (&"permit".into(), &"CLINTRCH".into())
    );
    assert!(consent["effectiveTo"].is_string());
    eventually("it is out", || setup.lines("watch").len() == 1);
    // It is what is asked about as any other message is.
    assert_eq!(setup.json(&["consent", "history", &number]).len(), 1);
    assert_eq!(daemon.metric("tidegate_consent_ends_total"), 1.0);
    daemon.kill();
    let mut daemon = setup.start();
    send(&daemon, &adt("A08", "A1", PATIENT));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!((told(&setup).len(), setup.lines("watch").len()), (1, 1));
    assert!(daemon.stop().success());
}

/// Adds a route that asks for a consent.
fn with_trial(setup: Setup) -> Setup {
    setup.pseudonymous("trial", "CLINTRCH", "require = \"opt-in\"", &["patient.updated"], TOKEN)
}

/// PROMISE-5
#[test]
fn fault_65_what_waits_in_a_route_when_its_permit_ends_does_not_leave() {
    let setup = with_trial(setup());
    let blocked = setup.state_dir().join("out/trial.ndjson");
    std::fs::create_dir_all(&blocked).unwrap();
    let mut daemon = setup.start();
    send(&daemon, &permit("C1", PATIENT, now() + 3.seconds()));
    send(&daemon, &adt("A08", "A1", PATIENT));
    eventually("the end is told", || told(&setup).len() == 1);
    std::fs::remove_dir(&blocked).unwrap();
    eventually("it is suppressed", || {
        daemon.metric(
            "tidegate_consent_decisions_total{purpose=\"CLINTRCH\",decision=\"deny\",\
             reason=\"expired\"}",
        ) == 1.0
    });
    assert_eq!(setup.lines("trial").len(), 0);
    assert!(daemon.stop().success());
}

/// Fault 65: who received something while the permit held hears that it has ended.
#[test]
fn fault_65_who_received_something_hears_that_the_permit_has_ended() {
    let setup = with_trial(setup());
    let mut daemon = setup.start();
    send(&daemon, &permit("C1", PATIENT, now() + 3.seconds()));
    send(&daemon, &adt("A08", "A1", PATIENT));
    let types = || -> Vec<String> {
        let of = |line: &Json| line["type"].as_str().unwrap().to_owned();
        setup.lines("trial").iter().map(of).collect()
    };
    eventually("the notice is there", || types().len() == 2);
    assert_eq!(types(), ["patient.updated", "consent.expired"]);
    assert!(daemon.stop().success());
}

/// PROMISE-1, PROMISE-2: whenever the process is killed around an end, it is told once.
#[test]
fn ends_that_pass_while_the_daemon_is_killed_are_each_told_once() {
    const PATIENTS: usize = 24;
    let setup = setup();
    let mut daemon = setup.start();
    let begun = now() + 2.seconds();
    for number in 0..PATIENTS {
        let until = begun + i64::try_from(number / 3).unwrap().seconds();
        send(&daemon, &permit(&format!("C{number}"), &format!("ZZ2{number:05}"), until));
    }
    for round in 0..12_u64 {
        std::thread::sleep(std::time::Duration::from_millis(300 + 97 * (round % 7)));
        daemon.kill();
        daemon = setup.start();
    }
    eventually("all are told", || told(&setup).len() >= PATIENTS);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let ids: std::collections::BTreeSet<String> =
        told(&setup).iter().map(|it| it["events"][0]["id"].to_string()).collect();
    assert_eq!((told(&setup).len(), ids.len()), (PATIENTS, PATIENTS));
    eventually("all are out", || setup.lines("watch").len() >= PATIENTS);
    let out: std::collections::BTreeSet<String> =
        setup.lines("watch").iter().map(|event| event["id"].to_string()).collect();
    assert_eq!((out.len(), setup.lines("watch").len()), (PATIENTS, PATIENTS));
    assert!(daemon.stop().success());
}

/// Fault 26: a clock that leaps ahead ends nothing that cannot be taken back; one that was ahead
/// when the daemon started is believed, and setting it back tells nothing twice.
///
/// PROMISE-2, PROMISE-5
#[test]
fn fault_26_a_clock_that_leaps_ahead_tells_no_end_until_it_has_run_steadily() {
    let setup = setup();
    let clock = Clock::new(&setup);
    let mut daemon = clock.start(&setup);
    send(&daemon, &permit("C1", PATIENT, now() + 12.hours()));
    clock.set("+1d");
    eventually("the leap is seen", || daemon.metric("tidegate_consent_timer_held") == 1.0);
    eventually("it is logged", || daemon.log().contains("the wall clock leapt ahead"));
    send(&daemon, &permit("C2", "ZZ100002", now() + 13.hours()));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(told(&setup).len(), 0);
    clock.set("+0");
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!(told(&setup).len(), 0);
    assert!(daemon.stop().success());
    // What ended while nothing ran is told at the next start.
    clock.set("+1d");
    let mut daemon = clock.start(&setup);
    eventually("the end is told", || told(&setup).len() == 1);
    // Set right, the clock comes to that end a second time; and there is a new permit, with its own.
    clock.set("+0");
    send(&daemon, &permit("C3", PATIENT, now() + 20.hours()));
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert!(daemon.stop().success());
    for offset in ["+0", "+2d", "-1h", "+2d"] {
        clock.set(offset);
        let mut daemon = clock.start(&setup);
        std::thread::sleep(std::time::Duration::from_millis(1200));
        assert!(daemon.stop().success());
    }
    // That of C2 had passed by the clock of then when it came: it never held.
    assert_eq!(told(&setup).len(), 2);
    assert_eq!(setup.lines("watch").len(), 2);
}
