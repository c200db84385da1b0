//! Who is one person: merges, unmerges, changed identifiers, and what cannot be told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use crate::send;
use crate::support::daemon::{Daemon, Setup};
use crate::support::peer::Peer;
use crate::support::{EVERY_EVENT, adt, consent, eventually, two};

const A: &str = "ZZ100001";
const B: &str = "ZZ100002";
const C: &str = "ZZ100003";
const POLICY: &str = "[codes]\n\"L/ZZ9\" = [\"TREAT\"]\n";

/// One route, `out`, of everything that nobody denied, to a file.
fn setup() -> Setup {
    Setup::new().policy(POLICY).file_route("out", EVERY_EVENT).asking(
        "out",
        "TREAT",
        "require = \"opt-out\"",
    )
}

/// A moment that has just come, as CON-13 has it.
fn now() -> String {
    std::thread::sleep(Duration::from_millis(20));
    jiff::Timestamp::now().strftime("%Y%m%d%H%M%S.%3f+0000").to_string()
}

/// The control IDs that were let out; a notice has none.
fn out(setup: &Setup) -> Vec<String> {
    let of = |line: &Json| Some(line["data"]["message"]["controlId"].as_str()?.to_owned());
    setup.lines("out").iter().filter_map(of).collect()
}

/// Sends an update of each patient; some leave, the others are suppressed.
fn assert_leaves(setup: &Setup, daemon: &Daemon, round: &str, patients: &[(&str, bool)]) {
    for (patient, _) in patients {
        send(daemon, &adt("A08", &format!("{round}{patient}"), patient));
    }
    // Of another patient, and of the newest entry: when it is out, the route has read all of them,
    // and when nothing is left to do, it has decided about all of them.
    let last = format!("{round}LAST");
    send(daemon, &adt("A08", &last, "ZZ100099"));
    let lag = "tidegate_route_lag_events{route=\"out\"}";
    eventually(&format!("{round}: all is decided"), || {
        out(setup).contains(&last) && daemon.metric(lag) == 0.0
    });
    let out = out(setup);
    for (patient, leaves) in patients {
        assert_eq!(out.contains(&format!("{round}{patient}")), *leaves, "{round}: {patient}");
    }
}

/// Status of the newest message, and place and count of each exception.
fn parked(setup: &Setup) -> (Json, Vec<(Json, Json)>) {
    let found = setup.json(&["exceptions", "ls", "--category", "identity-conflict"]);
    let found = found.into_iter().map(|mut it| (it["place"].take(), it["count"].take())).collect();
    (setup.json(&["journal", "ls"]).remove(0)["status"].take(), found)
}

/// PROMISE-5
#[test]
fn after_a_merge_the_more_restrictive_state_holds_for_both_until_one_decides_anew() {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, &consent("A", "20261101", "C1", A));
    send(&daemon, &consent("X", "20261102", "C2", B));
    assert_leaves(&setup, &daemon, "Q", &[(A, true), (B, false)]);
    send(&daemon, &two("A40", "M1", A, B));
    assert_leaves(&setup, &daemon, "R", &[(A, false), (B, false)]);
    assert!(!out(&setup).contains(&"M1".to_owned()));
    daemon.kill();
    let mut daemon = setup.start();
    assert_leaves(&setup, &daemon, "S", &[(A, false), (B, false)]);
    // Two again: each as it was.
    send(&daemon, &two("A37", "U1", B, A));
    assert_leaves(&setup, &daemon, "T", &[(A, true), (B, false)]);
    // One again, and one of them decides.
    send(&daemon, &two("A34", "M2", A, B));
    assert_leaves(&setup, &daemon, "U", &[(A, false), (B, false)]);
    send(&daemon, &consent("A", "20261103", "C3", B));
    assert_leaves(&setup, &daemon, "V", &[(A, true), (B, true)]);
    send(&daemon, &consent("X", &now(), "C4", A));
    assert_leaves(&setup, &daemon, "W", &[(A, false), (B, false)]);
    send(&daemon, &consent("A", &now(), "C5", B));
    assert_leaves(&setup, &daemon, "X", &[(A, true), (B, true)]);
    assert!(daemon.stop().success());
    daemon.assert_no_patient_data();
}

/// What left before the merge is not taken back; what waits is decided anew.
///
/// PROMISE-5, PROMISE-6
#[test]
fn fault_58_a_merge_takes_the_fence_on_both_and_what_is_queued_is_decided_anew() {
    let peer = Peer::start();
    let setup = Setup::new()
        .policy(POLICY)
        .rabbitmq(
            &peer.url(),
            "declare = false\nconfirm_timeout = \"10m\"\nfence_timeout = \"60s\"",
        )
        .route("peer", EVERY_EVENT, "kind = \"rabbitmq\"\nexchange = \"peer.events\"")
        .asking("peer", "TREAT", "require = \"opt-out\"");
    let mut daemon = setup.start();
    send(&daemon, &consent("X", "20261102", "C1", C));
    send(&daemon, &adt("A08", "A2", A));
    send(&daemon, &adt("A08", "A3", B));
    // Behind those that are on their way.
    send(&daemon, &adt("A08", "A4", A));
    let on_the_way = [peer.next_event(), peer.next_event()];
    assert_eq!([on_the_way[0].number(), on_the_way[1].number()], [2, 3]);
    let is_answered = AtomicBool::new(false);
    let waits_for = |message: &[u8], first: &dyn Fn(), then: &dyn Fn()| {
        is_answered.store(false, Ordering::SeqCst);
        let messages = || setup.json(&["journal", "ls"]).len();
        let before = messages();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(&daemon, message);
                is_answered.store(true, Ordering::SeqCst);
            });
            eventually("it is journaled", || messages() > before);
            std::thread::sleep(Duration::from_millis(100));
            first();
            std::thread::sleep(Duration::from_millis(300));
            assert!(!is_answered.load(Ordering::SeqCst), "not before the fence");
            then();
        });
        assert!(is_answered.load(Ordering::SeqCst));
    };
    let nothing = || {};
    // B is retired into A: both are waited for.
    let confirm = |at: usize| on_the_way[at].ack(on_the_way[at].tag, false);
    waits_for(&two("A40", "M5", A, B), &|| confirm(0), &|| confirm(1));
    // What was queued was asked about anew, and is not waited for.
    let next = peer.next_event();
    assert_eq!(next.number(), 4);
    next.ack(next.tag, false);
    let merged = peer.next_event();
    assert_eq!(merged.event["type"], "patient.merged");
    // Who merges with somebody who denied is denied: M5 is on its way, and is waited for.
    waits_for(&two("A40", "M6", B, C), &nothing, &|| merged.ack(merged.tag, false));
    // Who was sent something of A and B is told to stop.
    for _ in 0..2 {
        let told = peer.next();
        assert_eq!(told.event["type"], "consent.revoked");
        told.ack(told.tag, false);
    }
    send(&daemon, &adt("A08", "A7", A));
    let lag = "tidegate_route_lag_events{route=\"peer\"}";
    eventually("A7 is decided", || daemon.metric(lag) == 0.0);
    std::thread::scope(|scope| {
        // Its own event may be on its way before the fence is taken.
        scope.spawn(|| send(&daemon, &two("A37", "U8", B, C)));
        let unlinked = peer.next_event();
        assert_eq!(unlinked.number(), 8, "A7 was denied");
        unlinked.ack(unlinked.tag, false);
    });
    send(&daemon, &adt("A08", "A9", B));
    let last = peer.next_event();
    assert_eq!(last.number(), 9);
    // What narrows one narrows all that are one person with it: B is on its way, A decides.
    waits_for(&consent("X", &now(), "C10", A), &nothing, &|| last.ack(last.tag, false));
    // The survivor is told to stop; the retired one has been since the second merge.
    let told = peer.next();
    assert_eq!(told.event["type"], "consent.revoked");
    assert_eq!(told.event["subject"], format!("EPIC|{A}"));
    told.ack(told.tag, false);
    assert!(peer.is_quiet());
    assert!(daemon.stop().success());
    daemon.assert_no_patient_data();
}

#[test]
fn a_circle_is_parked_and_nobody_is_merged_by_it() {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, &consent("X", "20261102", "C1", C));
    send(&daemon, &two("A40", "M1", A, B));
    assert_eq!(parked(&setup), ("admitted".into(), vec![]));
    for (control_id, patient, other) in [("M2", B, A), ("M3", A, A)] {
        send(&daemon, &two("A40", control_id, patient, other));
    }
    let circle = ("PID-3".into(), 1.into());
    assert_eq!(parked(&setup), ("admitted".into(), vec![circle]), "M3 says nothing");
    // A chain is none, and goes round by another; what else such a message says is not done either.
    send(&daemon, &two("A40", "M4", "ZZ100004", A));
    let mut more = two("A40", "M5", B, "ZZ100004");
    more.extend(format!("PID|2||{A}^^^EPIC^MR\rMRG|{C}^^^EPIC^MR\r").into_bytes());
    send(&daemon, &more);
    assert_eq!((parked(&setup).0, parked(&setup).1.len()), ("parked".into(), 2));
    assert_leaves(&setup, &daemon, "Q", &[(A, true), (B, true), (C, false), ("ZZ100004", true)]);
    // Who were merged by way of others are not parted on a guess.
    send(&daemon, &two("A37", "U6", B, "ZZ100004"));
    assert_eq!((parked(&setup).0, parked(&setup).1.len()), ("parked".into(), 3));
    assert!(!out(&setup).iter().any(|id| ["M2", "M5", "U6"].contains(&id.as_str())));
    eventually("they are counted", || {
        let open = "tidegate_exceptions_open{category=\"identity-conflict\",feed=\"adt\"}";
        daemon.metric(open) as usize == 3
    });
    assert!(daemon.stop().success());
    daemon.assert_no_patient_data();
}

/// PROMISE-5
#[test]
fn a_changed_identifier_takes_its_consent_along_and_a_move_or_a_link_does_not() {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, &consent("X", "20261102", "C1", A));
    send(&daemon, &two("A47", "K1", B, A));
    assert_leaves(&setup, &daemon, "Q", &[(A, false), (B, false)]);
    send(&daemon, &consent("A", "20261103", "C2", B));
    assert_leaves(&setup, &daemon, "R", &[(A, true), (B, true)]);
    send(&daemon, &consent("X", "20261104", "C3", B));
    for (trigger, control_id) in [("A24", "L1"), ("A43", "V1"), ("A37", "U1")] {
        send(&daemon, &two(trigger, control_id, C, B));
    }
    assert_leaves(&setup, &daemon, "S", &[(B, false), (C, true)]);
    let types: Vec<Json> = setup.lines("out").iter().map(|line| line["type"].clone()).collect();
    let moved = types.iter().filter(|kind| *kind == "patient.moved");
    assert_eq!(moved.count(), 1);
    daemon.kill();
    let mut daemon = setup.start();
    assert_leaves(&setup, &daemon, "T", &[(A, false), (B, false), (C, true)]);
    assert!(daemon.stop().success());
    daemon.assert_no_patient_data();
}

/// An update in which a patient is called, born and of a sex as it says.
fn called(control_id: &str, patient: &str, name: &str, birth: &str, sex: &str) -> String {
    let message = String::from_utf8(adt("A08", control_id, patient)).unwrap();
    message.replace("ZZQUILLON^ZZMARA||19800102|F", &format!("{name}||{birth}|{sex}"))
}

/// PROMISE-5
#[test]
fn somebody_else_under_the_same_identifier_is_parked_and_not_guessed() {
    let setup = setup();
    let mut daemon = setup.start();
    let other = |control_id| called(control_id, A, "ZZBRIAR^ZZTOM", "19650607", "M");
    send(&daemon, &adt("A08", "D1", A));
    send(&daemon, other("D2").as_bytes());
    assert_eq!(parked(&setup), ("parked".into(), vec![("PID-3".into(), 1.into())]));
    send(&daemon, other("D2").as_bytes());
    assert_eq!(parked(&setup).1.len(), 1, "a duplicate");
    daemon.kill();
    let mut daemon = setup.start();
    send(&daemon, other("D3").as_bytes());
    assert_eq!(parked(&setup).1.len(), 2, "also after a crash");
    // One or two of the three may change, and what changed counts from then on.
    for (control_id, name, birth, sex) in [
        ("D4", "zzquillon ^ZZMARA", "19700101", "M"),
        ("D5", "ZZBRIAR^ZZMARA", "19700101", "F"),
        ("D6", "ZZBRIAR^ZZTOM", "19650607", "F"),
        ("D7", "ZZLUND^ZZKAI", "", "M"),
    ] {
        send(&daemon, called(control_id, A, name, birth, sex).as_bytes());
        assert_eq!(parked(&setup).0, "admitted", "{control_id}");
    }
    send(&daemon, &adt("A08", "D8", A));
    assert_eq!(parked(&setup).0, "parked", "nothing of it is what D7 left");
    // Who is merged is looked at, too; and nobody is merged by it.
    let merge = format!("{}MRG|{B}^^^EPIC^MR\r", called("D9", A, "ZZX^ZZY", "19990909", "F"));
    send(&daemon, merge.replace("A08", "A40").as_bytes());
    assert_eq!(parked(&setup), ("parked".into(), vec![("PID-3".into(), 1.into()); 4]));
    send(&daemon, &consent("X", "20261102", "C1", B));
    let last = called("D10", A, "ZZLUND^ZZKAI", "19650607", "M");
    send(&daemon, last.as_bytes());
    eventually("the last is out", || out(&setup).contains(&"D10".to_owned()));
    assert_eq!(out(&setup), ["D1", "D4", "D5", "D6", "D7", "D10"]);
    // What such a message says of consent closes: whose it is nobody knows.
    let con = "CON|1|ZZ9^Form^L||ZZF1|||||||A||20261103";
    let signed = called("D11", A, "ZZX^ZZY", "19990909", "F");
    send(&daemon, format!("{signed}{con}\r").as_bytes());
    assert_eq!(parked(&setup).1.len(), 5);
    send(&daemon, called("D12", A, "ZZLUND^ZZKAI", "19650607", "M").as_bytes());
    send(&daemon, &adt("A08", "D13", C));
    eventually("the other's is out", || out(&setup).contains(&"D13".to_owned()));
    assert!(!out(&setup).contains(&"D12".to_owned()));
    assert!(daemon.stop().success());
    daemon.assert_no_patient_data();
}
