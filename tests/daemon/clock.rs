//! The wall clock jumps while the daemon runs; the monotonic clock does not.

use serde_json::Value as Json;

use crate::support::clock::Clock;
use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::{Sender, frame};
use crate::support::{adt, eventually};
use crate::{PATIENT, admission, dedupe, delivered, heard, setup};

/// Sends messages, each of which is taken.
fn send(daemon: &Daemon, numbers: std::ops::Range<usize>) {
    let mut sender = Sender::connect(daemon.feed());
    for number in numbers {
        let id = format!("C{number}");
        assert_eq!(heard(&sender.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
    }
}

/// When the message with a control ID came in.
fn received_at(setup: &Setup, id: &str) -> jiff::Timestamp {
    let found = setup.json(&["journal", "ls", "--limit", "10000"]);
    let row = found.iter().find(|row| row["controlId"] == id).unwrap();
    row["receivedAt"].as_str().unwrap().parse().unwrap()
}

/// Messages before, under and after a jump: all taken, known again, delivered once and in order.
fn assert_goes_on_over(offset: &str, seconds: i64) {
    let setup = setup().feed("frame_timeout = \"1s\"");
    let clock = Clock::new(&setup);
    let mut daemon = clock.start(&setup);
    let mut open = Sender::connect(daemon.feed());
    send(&daemon, 0..20);
    // A frame that is under way feels nothing of it: its time is the monotonic one.
    let under_way = frame(&admission("C20"));
    let (begin, end) = under_way.split_at(50);
    open.send_raw(begin).unwrap();
    clock.set(offset);
    open.send_raw(end).unwrap();
    assert_eq!(heard(&open.ack().unwrap()), ("AA", "C20"));
    send(&daemon, 21..40);
    let jumped = received_at(&setup, "C39").duration_since(received_at(&setup, "C0")).as_secs();
    assert!((jumped - seconds).abs() < 120, "the clock went by {jumped} seconds");
    send(&daemon, 0..40);
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "duplicate")), (40.0, 40.0));
    eventually("all is delivered", || delivered(&setup).len() >= 40);
    clock.set("+0");
    send(&daemon, 0..60);
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "duplicate")), (60.0, 80.0));
    let wanted: Vec<String> = (0..60).map(|number| format!("C{number}")).collect();
    eventually("all is delivered", || delivered(&setup).len() >= 60);
    assert_eq!(delivered(&setup), wanted);
    let ids: std::collections::BTreeSet<String> =
        setup.lines("out").iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 60, "no ID twice");
    eventually("no lag is left", || {
        daemon.metric("tidegate_route_lag_events{route=\"out\"}") == 0.0
    });
    for name in [
        "tidegate_feed_ack_duration_seconds_sum{feed=\"adt\"}",
        "tidegate_end_to_end_duration_seconds_sum{route=\"out\"}",
    ] {
        assert!(daemon.metric(name) >= 0.0, "{name}");
    }
    assert_eq!(daemon.get("/livez").0, 200);
    assert_eq!(daemon.get("/readyz").0, 200);
    // What was sealed under either day's key opens.
    for number in ["1", "40", "60"] {
        let shown = setup.json(&["journal", "show", number]).remove(0);
        assert_eq!(shown["status"], "admitted");
    }
    assert!(daemon.stop().success());
    // A start under the other time goes on, too.
    clock.set(offset);
    let mut daemon = clock.start(&setup);
    send(&daemon, 0..61);
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "duplicate")), (1.0, 60.0));
    eventually("the new one is delivered", || delivered(&setup).len() == 61);
    assert!(daemon.stop().success());
}

/// Fault 27
///
/// PROMISE-1, PROMISE-2, PROMISE-4
#[test]
fn fault_27_a_clock_that_is_set_back_an_hour_loses_and_doubles_nothing() {
    assert_goes_on_over("-1h", -3600);
}

/// Fault 26
///
/// PROMISE-1, PROMISE-2, PROMISE-4
#[test]
fn fault_26_a_clock_that_jumps_a_day_ahead_loses_and_doubles_nothing() {
    assert_goes_on_over("+1d", 86_400);
}

/// Fault 26: what has not been delivered does not grow old, whatever the clock says.
///
/// PROMISE-1
#[test]
fn fault_26_ten_years_ahead_what_is_not_delivered_is_still_there() {
    let setup = setup();
    let blocked = setup.state_dir().join("out/out.ndjson");
    std::fs::create_dir_all(&blocked).unwrap();
    let clock = Clock::new(&setup);
    let mut daemon = clock.start(&setup);
    send(&daemon, 0..20);
    clock.set("+3650d");
    send(&daemon, 20..30);
    // The writer looks for what is old every half second, and with every message.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    send(&daemon, 30..40);
    assert_eq!(setup.json(&["journal", "ls"]).len(), 40);
    std::fs::remove_dir(&blocked).unwrap();
    let wanted: Vec<String> = (0..40).map(|number| format!("C{number}")).collect();
    eventually("all is delivered", || delivered(&setup).len() >= 40);
    assert_eq!(delivered(&setup), wanted);
    clock.set("+0");
    send(&daemon, 40..50);
    eventually("it goes on", || delivered(&setup).len() == 50);
    assert!(daemon.stop().success());
}

/// PROMISE-2, PROMISE-3; fault 56: within their windows messages are known, after them not.
#[test]
fn fault_56_after_the_windows_a_control_id_and_a_content_are_new_again() {
    let setup = setup().feed("control_id_reuse = \"24h\"\ndedupe_retention = \"90d\"");
    let clock = Clock::new(&setup);
    let mut daemon = clock.start(&setup);
    let mut sender = Sender::connect(daemon.feed());
    let first = admission("C1");
    let other = adt("A03", "C1", PATIENT);
    let third = adt("A08", "C1", PATIENT);
    for (offset, message, result) in [
        ("+0", &first, "new"),
        ("+23h", &first, "duplicate"),
        ("+25h", &other, "wrapped"),
        ("+26h", &first, "duplicate"),
        ("+48h", &third, "conflict"),
        ("+89d", &first, "duplicate"),
        ("+92d", &first, "wrapped"),
        ("+93d", &first, "duplicate"),
    ] {
        clock.set(offset);
        let before = dedupe(&daemon, result);
        assert_eq!(heard(&sender.exchange(message).unwrap()), ("AA", "C1"), "{offset}");
        assert_eq!(dedupe(&daemon, result), before + 1.0, "{offset} is {result}");
    }
    let types = |event: &Json| event["type"].as_str().unwrap().to_owned();
    eventually("what is new is delivered", || setup.lines("out").len() == 3);
    assert_eq!(
        setup.lines("out").iter().map(types).collect::<Vec<_>>(),
        ["patient.admitted", "patient.discharged", "patient.admitted"]
    );
    assert!(daemon.stop().success());
}
