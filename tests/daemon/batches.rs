//! Routes that let their events go in shuffled batches.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value as Json;

use crate::send;
use crate::support::clock::Clock;
use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::Sender;
use crate::support::{POLICY, adt, consent, eventually};

const DAY: i64 = 86_400;
/// Fields by which a test knows an event again, and a consumer no patient.
const FIELDS: &str =
    "\"visit.location.pointOfCare\" = \"keep\"\n\"observations[].code\" = \"keep\"";

/// A setup with one route, `out`, that lets events go in batches.
fn setup(batch: &str, lines: &str) -> Setup {
    let events = ["patient.updated", "observation.reported"];
    let deliver = "kind = \"file\"\npath = \"out/out.ndjson\"";
    Setup::new()
        .contract("out", &events, "deidentified", "TREAT", FIELDS, deliver)
        .saying("out", &format!("batch = \"{batch}\"\n{lines}"))
}

/// The real time, in seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Sets a clock so far behind the beginning of the current batch of a length.
fn set(clock: &Clock, batch: i64, behind: i64) {
    let offset = now().div_euclid(batch) * batch + behind - now();
    clock.set(&format!("{offset:+}s"));
}

/// A message of a patient in a ward.
fn in_ward(ward: usize, patient: usize) -> Vec<u8> {
    let text = String::from_utf8(adt("A08", &format!("C{ward}"), &format!("ZZ{patient}"))).unwrap();
    text.replace("4W^401", &format!("W{ward}^401")).into_bytes()
}

/// A message with results of several orders, each with a code of its own.
fn results(number: usize, orders: usize) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|LAB|NORTH|GATE|HUB|20261122081500-0800||ORU^R01^ORU_R01|R{number}|P|2.5.1\r\
         PID|1||ZZ{number}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r"
    );
    for order in 1..=orders {
        write!(
            text,
            "OBR|{order}||F{number}-{order}|PAN^Panel^LN|||20261122080000-0800|||||||||||||||||||F\r\
             OBX|1|NM|{number}-{order}^Value^LN||6.9|%|||||F\r"
        )
        .unwrap();
    }
    text.into_bytes()
}

fn take(daemon: &Daemon, wards: std::ops::Range<usize>) {
    let mut sender = Sender::connect(daemon.feed());
    for ward in wards {
        assert_eq!(sender.exchange(&in_ward(ward, ward % 7)).unwrap().code, "AA");
    }
}

/// The whole lines of what has left.
fn lines(setup: &Setup) -> Vec<Json> {
    let path = setup.state_dir().join("out/out.ndjson");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The wards of what has left, in the order in which it did.
fn wards(setup: &Setup) -> Vec<usize> {
    let of = |event: &Json| -> usize {
        let ward = event["data"]["visit"]["location"]["pointOfCare"].as_str().unwrap();
        ward[1..].parse().unwrap()
    };
    lines(setup).iter().map(of).collect()
}

/// What has left has left once, and is numbered in the order in which it left.
fn assert_numbered(setup: &Setup) {
    let left = lines(setup);
    let sequences: Vec<u64> =
        left.iter().map(|line| line["sequence"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(sequences, (1..=left.len() as u64).collect::<Vec<_>>());
    let ids: BTreeSet<&str> = left.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), left.len());
}

/// Whether an order is one that a lot may have drawn.
fn assert_shuffled(order: &[usize]) {
    let rising = order.windows(2).filter(|two| two[0] < two[1]).count();
    let most = order.len() * 2 / 3;
    assert!(rising < most && rising > order.len() / 3, "{rising} rise: {order:?}");
}

fn lag(daemon: &Daemon) -> (f64, f64) {
    (
        daemon.metric("tidegate_route_lag_events{route=\"out\"}"),
        daemon.metric("tidegate_route_oldest_timestamp_seconds{route=\"out\"}"),
    )
}

/// A batch that is longer than the retention: all of it is kept until it is due, goes then, at the next
/// start, and is trimmed after that. What came in behind it waits for the next.
///
/// PROMISE-1
#[test]
fn nothing_of_a_batch_leaves_before_it_is_due_and_then_all_of_it_does_shuffled() {
    let setup = setup("30d", "").section("[journal]\nretention = \"1h\"");
    let clock = Clock::new(&setup);
    set(&clock, 30 * DAY, DAY);
    let mut daemon = clock.start(&setup);
    take(&daemon, 0..120);
    for days in [1, 6, 29] {
        assert!(daemon.stop().success());
        set(&clock, 30 * DAY, days * DAY);
        daemon = clock.start(&setup);
        // The writer looks for what is old every half second.
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(wards(&setup), [0; 0]);
        assert_eq!(lag(&daemon), (0.0, 0.0), "what waits for its time is not late");
        assert_eq!(setup.json(&["journal", "ls", "--limit", "10000"]).len(), 120);
    }
    assert!(daemon.stop().success());
    set(&clock, 30 * DAY, 31 * DAY);
    let mut daemon = clock.start(&setup);
    eventually("the batch has left", || wards(&setup).len() >= 120);
    let first = wards(&setup);
    assert_eq!(first.iter().copied().collect::<BTreeSet<_>>(), (0..120).collect());
    assert_shuffled(&first);
    eventually("it is trimmed", || setup.json(&["journal", "ls"]).len() == 1);

    take(&daemon, 200..260);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(wards(&setup).len(), 120);
    assert!(daemon.stop().success());
    set(&clock, 30 * DAY, 61 * DAY);
    let mut daemon = clock.start(&setup);
    eventually("the next has left", || wards(&setup).len() >= 180);
    let second = wards(&setup).split_off(120);
    assert_eq!(second.iter().copied().collect::<BTreeSet<_>>(), (200..260).collect());
    assert_shuffled(&second);
    assert_numbered(&setup);
    assert!(lines(&setup).iter().all(|line| line.get("time").is_none()));
    assert!(daemon.stop().success());
}

#[test]
fn a_batch_leaves_when_its_time_comes_while_the_daemon_runs() {
    let setup = setup("1m", "");
    let clock = Clock::new(&setup);
    set(&clock, 60, 54);
    let mut daemon = clock.start(&setup);
    take(&daemon, 0..20);
    eventually("the batch has left", || wards(&setup).len() >= 20);
    assert_numbered(&setup);
    assert!(daemon.stop().success());
}

/// Killed again and again while it leaves; the order goes on, and nothing leaves twice.
///
/// PROMISE-1, PROMISE-2
#[test]
fn fault_9_a_batch_that_is_killed_goes_on_where_it_was() {
    let setup = setup("1d", "rate_max = 100");
    let clock = Clock::new(&setup);
    set(&clock, DAY, 3_600);
    let mut daemon = clock.start(&setup);
    take(&daemon, 0..300);
    daemon.kill();
    set(&clock, DAY, DAY + 3_600);
    let mut known = Vec::new();
    for cycle in 0..6 {
        let mut daemon = clock.start(&setup);
        eventually("some more have left", || wards(&setup).len() >= known.len() + 20);
        std::thread::sleep(Duration::from_millis(cycle * 37));
        daemon.kill();
        let path = setup.state_dir().join("out/out.ndjson");
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = &text[..=text.rfind('\n').unwrap()];
        // Half a line is what a crash in the middle of a write leaves.
        std::fs::write(&path, format!("{whole}{}", &text[..40])).unwrap();
        let id = |line: &str| serde_json::from_str::<Json>(line).unwrap()["id"].to_string();
        let now: Vec<String> = whole.lines().map(id).collect();
        assert!(now.starts_with(&known), "what has left stays as it was");
        known = now;
    }
    let mut daemon = clock.start(&setup);
    eventually("the batch has left", || {
        daemon.metric("tidegate_route_lag_events{route=\"out\"}") == 0.0
            && wards(&setup).len() >= 300
    });
    assert_eq!(wards(&setup).into_iter().collect::<BTreeSet<_>>(), (0..300).collect());
    assert_shuffled(&wards(&setup));
    assert_numbered(&setup);
    assert!(daemon.stop().success());
}

/// Events of one message do not leave side by side more often than by chance.
#[test]
fn events_of_one_message_are_shuffled_apart() {
    const MESSAGES: usize = 30;
    const ORDERS: usize = 5;
    let setup = setup("1d", "");
    let clock = Clock::new(&setup);
    set(&clock, DAY, 3_600);
    let mut daemon = clock.start(&setup);
    for number in 0..MESSAGES {
        // Some have more orders than others, and one has more than there are slots.
        let orders = if number == 0 { 20 } else { ORDERS };
        send(&daemon, &results(number, orders));
    }
    assert!(daemon.stop().success());
    set(&clock, DAY, DAY + 3_600);
    let mut daemon = clock.start(&setup);
    let all = 20 + (MESSAGES - 1) * ORDERS;
    eventually("the batch has left", || lines(&setup).len() >= all);
    let code =
        |line: &Json| line["data"]["observations"][0]["code"]["code"].as_str().unwrap().to_owned();
    let codes: Vec<String> = lines(&setup).iter().map(code).collect();
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), all);
    let message = |code: &str| code.split('-').next().unwrap().to_owned();
    let together = codes.windows(2).filter(|two| message(&two[0]) == message(&two[1])).count();
    // By lot some 6 of 165 pairs; in the order of the messages 135.
    assert!(together < 30, "{together} pairs of one message side by side");
    assert_numbered(&setup);
    assert!(daemon.stop().success());
}

/// What was permitted when it came in and is not when the batch is due does not leave.
///
/// PROMISE-5
#[test]
fn consent_is_asked_when_the_batch_leaves_and_not_when_its_events_came_in() {
    let setup = setup("1d", "").policy(POLICY).asking("out", "CLINTRCH", "require = \"opt-in\"");
    let clock = Clock::new(&setup);
    set(&clock, DAY, 3_600);
    let mut daemon = clock.start(&setup);
    for (patient, number) in [("ZZ1", "K1"), ("ZZ2", "K2")] {
        send(&daemon, &consent("A", "20260101", number, patient));
    }
    for ward in 0..10 {
        send(&daemon, &in_ward(ward, 1 + ward % 3));
    }
    // The first withdraws, the third decides late.
    send(&daemon, &consent("X", "20260102", "K3", "ZZ1"));
    send(&daemon, &consent("A", "20260102", "K4", "ZZ3"));
    assert!(daemon.stop().success());
    set(&clock, DAY, DAY + 3_600);
    let mut daemon = clock.start(&setup);
    let of = |outcome: &str| {
        let name = format!("tidegate_events_total{{route=\"out\",outcome=\"{outcome}\"}}");
        daemon.metric(&name)
    };
    eventually("all is decided", || of("released") + of("suppressed") >= 10.0);
    assert_eq!(of("notified"), 0.0, "nobody is told of a subject that nobody knows");
    // What is handed over is written by then.
    assert!(daemon.stop().success());
    let left: BTreeSet<usize> = wards(&setup).into_iter().collect();
    assert_eq!(left, (0..10).filter(|ward| ward % 3 != 0).collect());
}

/// Fault 26: a clock that leaps ahead for a while opens no batch, and one that is set back loses none.
#[test]
fn fault_26_a_clock_that_leaps_ahead_opens_no_batch() {
    let setup = setup("1d", "");
    let clock = Clock::new(&setup);
    set(&clock, DAY, 3_600);
    let mut daemon = clock.start(&setup);
    take(&daemon, 0..10);
    set(&clock, DAY, 3_650 * DAY);
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(wards(&setup), [0; 0]);
    take(&daemon, 10..20);
    set(&clock, DAY, 7_200);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(wards(&setup), [0; 0]);
    // An hour before they came in, and then when they are due.
    assert!(daemon.stop().success());
    set(&clock, DAY, 1_800);
    let mut daemon = clock.start(&setup);
    take(&daemon, 20..30);
    assert_eq!(wards(&setup), [0; 0]);
    assert!(daemon.stop().success());
    set(&clock, DAY, DAY + 60);
    let mut daemon = clock.start(&setup);
    eventually("the batch has left", || wards(&setup).len() >= 30);
    assert_eq!(wards(&setup).into_iter().collect::<BTreeSet<_>>(), (0..30).collect());
    assert_numbered(&setup);
    assert!(daemon.stop().success());
}

/// A contract that leaves its batches behind finishes the one that it was in, and goes on in order.
#[test]
fn a_batch_that_was_begun_is_finished_by_a_contract_that_has_none_any_more() {
    let setup = setup("1d", "rate_max = 20");
    let clock = Clock::new(&setup);
    set(&clock, DAY, 3_600);
    let mut daemon = clock.start(&setup);
    take(&daemon, 0..300);
    assert!(daemon.stop().success());
    set(&clock, DAY, DAY + 3_600);
    daemon = clock.start(&setup);
    eventually("it leaves", || wards(&setup).len() >= 3);
    assert!(daemon.stop().success());
    drop(daemon);
    let begun = wards(&setup).len();
    assert!(begun < 300, "{begun} have left");
    let deliver = "kind = \"file\"\npath = \"out/out.ndjson\"";
    let setup =
        setup.contract("out", &["patient.updated"], "pseudonymized", "TREAT", FIELDS, deliver);
    let mut daemon = clock.start(&setup);
    take(&daemon, 300..310);
    eventually("all has left", || wards(&setup).len() >= 310);
    let all = wards(&setup);
    assert_eq!(all[..300].iter().copied().collect::<BTreeSet<_>>(), (0..300).collect());
    assert_eq!(all[300..].iter().copied().collect::<BTreeSet<_>>(), (300..310).collect());
    assert_numbered(&setup);
    assert!(daemon.stop().success());
}
