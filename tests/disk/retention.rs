//! What retention takes, and what it must leave.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::support::clock::Clock;
use super::support::daemon::Setup;
use super::support::ledger::{assert_exactly_once, events, lines};
use super::support::sender::Sender;
use super::{drained, eventually, route_to, setup_to};

fn store(setup: &Setup) -> rusqlite::Connection {
    rusqlite::Connection::open(setup.state_dir().join("journal.db")).unwrap()
}

fn numbers(setup: &Setup) -> BTreeSet<i64> {
    let store = store(setup);
    let mut statement = store.prepare("SELECT number FROM messages").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn setup() -> (Setup, PathBuf) {
    let setup = setup_to(Path::new("out/file.ndjson"), "").section("[journal]\nretention = \"1h\"");
    let out = setup.state_dir().join("out/file.ndjson");
    (setup, out)
}

/// Delivered and old: it goes, in small steps, while messages come in. A message that is sent
/// again after that is still known.
///
/// PROMISE-2
#[test]
fn what_is_delivered_and_old_goes_while_intake_goes_on_and_is_still_a_duplicate() {
    const OLD: usize = 1_500;
    let (setup, out) = setup();
    let mut daemon = Clock::at(&setup, "-2h").start(&setup);
    let mut senders = lines(2, 32, 0);
    senders[0].send_up_to(daemon.feed(), OLD);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    let feed = daemon.feed();
    let mut sizes = BTreeSet::new();
    let mut more = 0;
    eventually("the old ones are gone", || {
        more += 10;
        senders[1].send_up_to(feed, more);
        let left = numbers(&setup).range(..=i64::try_from(OLD).unwrap()).count();
        sizes.insert(left);
        left == 0
    });
    assert!(sizes.len() > 3, "they went at once, and not in steps: {sizes:?}");
    drained(&out, &senders);
    let known = events(&out).len();
    let mut again = senders[0].clone();
    again.acked = 0;
    again.send_up_to(feed, 100);
    assert_eq!(
        daemon.metric("tidegate_dedupe_checks_total{feed=\"adt\",result=\"duplicate\"}"),
        100.0
    );
    senders[1].send_up_to(feed, more + 10);
    drained(&out, &senders);
    assert_eq!(events(&out).len(), known + 10, "what was sent again came out again");
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// Whatever the retention: what one route has still to deliver stays for all of it.
///
/// PROMISE-1
#[test]
fn what_a_stuck_route_has_still_to_deliver_is_never_trimmed() {
    let (setup, out) = setup();
    let setup = route_to(setup, "stuck", Path::new("stuck/file.ndjson"), "");
    let stuck = setup.state_dir().join("stuck/file.ndjson");
    let clock = Clock::at(&setup, "-365d");
    let mut daemon = clock.start(&setup);
    let mut senders = lines(1, 32, 0);
    senders[0].send_up_to(daemon.feed(), 300);
    drained(&out, &senders);
    drained(&stuck, &senders);
    assert!(daemon.stop().success());
    // It has these 300, and none of the next.
    let aside = setup.dir.path().join("aside");
    std::fs::rename(&stuck, &aside).unwrap();
    std::fs::create_dir(&stuck).unwrap();
    let mut daemon = clock.start(&setup);
    senders[0].send_up_to(daemon.feed(), 700);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    eventually("what both have is gone", || numbers(&setup).range(..=300).count() == 0);
    senders[0].send_up_to(daemon.feed(), 720);
    // Many ticks: nothing else goes.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(numbers(&setup), (301..=720).collect());
    std::fs::remove_dir(&stuck).unwrap();
    std::fs::rename(&aside, &stuck).unwrap();
    drained(&stuck, &senders);
    eventually("then it goes", || numbers(&setup) == (701..=720).collect());
    assert!(daemon.stop().success());
    for path in [&out, &stuck] {
        assert_exactly_once(&events(path), &senders);
    }
}

/// What an exception shows stays, with its bytes.
///
/// PROMISE-1
#[test]
fn what_an_exception_shows_is_never_trimmed() {
    let (setup, out) = setup();
    let mut daemon = Clock::at(&setup, "-365d").start(&setup);
    let mut senders = lines(1, 8, 0);
    senders[0].send_up_to(daemon.feed(), 20);
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(sender.exchange(b"PID|1||ZZ1\r").unwrap().code, "AE");
    let unsupported = b"MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122||SIU^S12|S1|P|2.5.1\rPID|1||ZZ1\r";
    assert_eq!(sender.exchange(unsupported).unwrap().code, "AA");
    senders[0].send_up_to(daemon.feed(), 40);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    // The newest stays, so that no number is used twice.
    eventually("the others are gone", || numbers(&setup) == [21, 22, 42].into());
    for number in ["21", "22"] {
        let shown = setup.command(&["journal", "show", number, "--json"]);
        assert!(shown.status.success(), "{shown:?}");
    }
    assert_eq!(setup.json(&["exceptions", "ls"]).len(), 2);
    senders[0].send_up_to(daemon.feed(), 50);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// A message that came in while the clock was wrong does not hold up what came after it.
///
/// Faults 26, 27
#[test]
fn a_message_of_the_future_holds_up_no_trimming() {
    let (setup, out) = setup();
    let clock = Clock::at(&setup, "+400d");
    let mut daemon = clock.start(&setup);
    let mut senders = lines(1, 32, 0);
    for (until, next) in [(1, "-2h"), (49, "+400d"), (50, "-2h"), (100, "-2h")] {
        senders[0].send_up_to(daemon.feed(), until);
        clock.set(next);
    }
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    let begun = std::time::Instant::now();
    // The newest stays, so that no number is used twice.
    while numbers(&setup) != [1, 50, 100].into() {
        assert!(begun.elapsed().as_secs() < 20, "left: {:?}", numbers(&setup));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(daemon.stop().success());
}
