//! The same message, another message, and the same control ID on another message.

use serde_json::Value as Json;

use crate::support::daemon::Setup;
use crate::support::sender::{Sender, frame};
use crate::support::{adt, eventually};
use crate::{PATIENT, admission, dedupe, delivered, heard, setup};

/// The message with something in it replaced.
fn with(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

/// Control ID, status and the epoch of every message, the oldest first.
fn kept(setup: &Setup) -> Vec<(String, String, String)> {
    let word = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let mut rows = setup.json(&["journal", "ls", "--limit", "10000"]);
    rows.reverse();
    let epoch = |row: &Json| word(&row["correlationId"]).rsplit('-').next().unwrap().to_owned();
    rows.iter().map(|row| (word(&row["controlId"]), word(&row["status"]), epoch(row))).collect()
}

/// PROMISE-2, PROMISE-3; fault 56
#[test]
fn fault_56_a_resend_is_acknowledged_again_and_delivered_once_also_after_a_restart() {
    let setup = setup();
    let mut daemon = setup.start();
    let first = admission("C1");
    let resends = [
        first.clone(),
        // Another time; other segment ends.
        with(&first, "|20261122081500-0800|", "|20261123000000-0800|"),
        String::from_utf8(first.clone()).unwrap().replace('\r', "\r\n").into_bytes(),
        String::from_utf8(first.clone()).unwrap().replace('\r', "\n").into_bytes(),
        first.trim_ascii_end().to_vec(),
    ];
    let mut sender = Sender::connect(daemon.feed());
    for resend in &resends {
        assert_eq!(heard(&sender.exchange(resend).unwrap()), ("AA", "C1"));
    }
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "duplicate")), (1.0, 4.0));
    assert!(daemon.stop().success());
    // Once in order, once by a crash.
    for round in 0..2 {
        let mut daemon = setup.start();
        let mut sender = Sender::connect(daemon.feed());
        for resend in &resends {
            assert_eq!(heard(&sender.exchange(resend).unwrap()), ("AA", "C1"));
        }
        let marker = format!("M{round}");
        assert_eq!(heard(&sender.exchange(&admission(&marker)).unwrap()), ("AA", marker.as_str()));
        // What is delivered is delivered in order: had there been anything before it, it would
        // be there.
        eventually("the marker is delivered", || delivered(&setup).contains(&marker));
        assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "duplicate")), (1.0, 5.0));
        daemon.assert_no_patient_data();
        daemon.kill();
    }
    assert_eq!(delivered(&setup), ["C1", "M0", "M1"]);
    assert_eq!(kept(&setup).len(), 3);
}

/// MSH-13 is left out of what is compared, whether it is there or not.
///
/// PROMISE-2
#[test]
fn a_resend_may_have_another_sequence_number_or_one_at_all() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for (ending, id) in [("", "C1"), ("|4711", "C2"), ("|4711|||AL|NE", "C3")] {
        let first = with(&admission(id), "|P|2.5.1\r", &format!("|P|2.5.1{ending}\r"));
        assert_eq!(heard(&sender.exchange(&first).unwrap()), ("AA", id));
        let (from, to) =
            if ending.is_empty() { ("|2.5.1", "|2.5.1|1") } else { ("|4711", "|4712") };
        assert_eq!(heard(&sender.exchange(&with(&first, from, to)).unwrap()), ("AA", id));
    }
    assert_eq!((dedupe(&daemon, "duplicate"), dedupe(&daemon, "conflict")), (3.0, 0.0));
    assert!(daemon.stop().success());
}

/// PROMISE-3; fault 54
#[test]
fn fault_54_the_same_control_id_with_other_content_is_parked_as_a_conflict() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let first = admission("C1");
    let second = with(&first, "19800102", "19800103");
    let third = adt("A03", "C1", "ZZ100002");
    for message in [&first, &second, &third] {
        assert_eq!(heard(&sender.exchange(message).unwrap()), ("AA", "C1"));
    }
    // Each of them once more is itself once more.
    for message in [&second, &first, &third] {
        assert_eq!(heard(&sender.exchange(message).unwrap()), ("AA", "C1"));
    }
    assert_eq!(heard(&sender.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    assert_eq!((dedupe(&daemon, "conflict"), dedupe(&daemon, "duplicate")), (2.0, 3.0));
    let kept = kept(&setup);
    let row =
        |id: &str, status: &str, epoch: &str| (id.to_owned(), status.to_owned(), epoch.to_owned());
    assert_eq!(
        kept,
        [
            row("C1", "admitted", "1"),
            row("C1", "parked", "2"),
            row("C1", "parked", "3"),
            row("C2", "admitted", "1")
        ]
    );
    let conflicts = setup.json(&["exceptions", "ls", "--category", "correlation-conflict"]);
    assert_eq!(conflicts.len(), 2);
    for conflict in &conflicts {
        assert_eq!((&conflict["controlId"], &conflict["place"]), (&"C1".into(), &"MSH-10".into()));
    }
    let shown = setup.json(&["exceptions", "show", &conflicts[0]["id"].to_string()]).remove(0);
    assert_eq!(shown["message"]["raw"], String::from_utf8(second).unwrap());
    eventually("the others are delivered", || delivered(&setup) == ["C1", "C2"]);
    assert!(daemon.stop().success());
}

/// PROMISE-3: a sender's counter has wrapped.
#[test]
fn a_control_id_that_is_used_again_later_is_a_new_message() {
    let setup = setup().feed("control_id_reuse = \"100ms\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    std::thread::sleep(std::time::Duration::from_millis(150));
    let later = adt("A03", "C1", PATIENT);
    assert_eq!(heard(&sender.exchange(&later).unwrap()), ("AA", "C1"));
    assert_eq!(dedupe(&daemon, "wrapped"), 1.0);
    // The same again is a duplicate, however short the other window is.
    for message in [&later, &admission("C1")] {
        assert_eq!(heard(&sender.exchange(message).unwrap()), ("AA", "C1"));
    }
    assert_eq!((dedupe(&daemon, "duplicate"), dedupe(&daemon, "conflict")), (2.0, 0.0));
    eventually("both are delivered", || delivered(&setup) == ["C1", "C1"]);
    let events = setup.lines("out");
    assert_ne!(events[0]["id"], events[1]["id"]);
    assert_ne!(events[0]["correlationid"], events[1]["correlationid"]);
    assert_eq!(setup.json(&["exceptions", "ls"]), Vec::<Json>::new());
    assert!(daemon.stop().success());
}

/// PROMISE-2; fault 53: one message, sixteen connections, one entry.
#[test]
fn fault_53_a_storm_of_the_same_message_is_one_entry_and_is_always_acknowledged() {
    const CONNECTIONS: usize = 16;
    const EACH: usize = 40;
    let setup = setup();
    let mut daemon = setup.start();
    let feed = daemon.feed();
    let together = std::sync::Barrier::new(CONNECTIONS);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut sender = Sender::connect(feed);
                let storm = frame(&admission("C1")).repeat(EACH);
                together.wait();
                sender.send_raw(&storm).unwrap();
                for _ in 0..EACH {
                    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C1"));
                }
            });
        }
    });
    assert_eq!(dedupe(&daemon, "new"), 1.0);
    assert_eq!(dedupe(&daemon, "duplicate"), (CONNECTIONS * EACH - 1) as f64);
    assert_eq!(kept(&setup).len(), 1);
    let mut sender = Sender::connect(feed);
    assert_eq!(heard(&sender.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    eventually("the next one is delivered", || delivered(&setup) == ["C1", "C2"]);
    assert!(daemon.stop().success());
}

/// What a message is recognized by is the feed's to say.
#[test]
fn messages_of_different_senders_may_have_the_same_control_id() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let here = admission("C1");
    let there = with(&with(&here, "|EHR|", "|LAB|"), "19800102", "19800103");
    for message in [&here, &there] {
        assert_eq!(heard(&sender.exchange(message).unwrap()), ("AA", "C1"));
    }
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "conflict")), (2.0, 0.0));
    assert!(daemon.stop().success());
}

#[test]
fn the_fields_that_a_message_is_recognized_by_can_be_set() {
    let setup = setup().feed("correlation = [\"MSH-10\"]");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let here = admission("C1");
    let there = with(&with(&here, "|EHR|", "|LAB|"), "19800102", "19800103");
    for message in [&here, &there] {
        assert_eq!(heard(&sender.exchange(message).unwrap()), ("AA", "C1"));
    }
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "conflict")), (1.0, 1.0));
    assert!(daemon.stop().success());
}
