//! kill -9, with routes to files, which are exactly-once.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::support::ledger::{self, Load, assert_exactly_once, events, lines};
use super::{drained, setup_to};

/// Forty crashes under load, with files of 1 MiB: what is acknowledged stands in the files,
/// once. Now and then a crash leaves half a line, which is none.
///
/// PROMISE-1, PROMISE-2, PROMISE-4; faults 1, 2, 3, 9
#[test]
fn fault_9_forty_kills_under_load_leave_each_event_in_the_file_once() {
    kill_loop(40, 1 << 20);
}

/// The same with files so small that between two cursors many are rotated away.
///
/// PROMISE-2; faults 9, 12
#[test]
fn fault_9_kills_between_many_rotations_leave_each_event_in_the_files_once() {
    kill_loop(12, 8 << 10);
}

fn kill_loop(cycles: u64, rotate: u64) {
    let setup = setup_to(&PathBuf::from("out/file.ndjson"), &format!("rotate = \"{rotate}B\""));
    let out = setup.state_dir().join("out/file.ndjson");
    let mut senders = lines(3, 16, 0);
    for cycle in 0..cycles {
        let mut daemon = setup.start();
        let load = Load::start(daemon.feed(), senders);
        // From the first commits to well into the deliveries.
        load.run_for(Duration::from_millis(5 + cycle * 53 % 330));
        daemon.kill();
        senders = load.join();
        if cycle % 4 == 3 {
            tear(&out);
        }
    }
    assert!(senders.iter().any(|line| line.unanswered > 0), "some were under way when it died");
    let mut daemon = setup.start();
    for sender in &mut senders {
        sender.send_up_to(daemon.feed(), sender.sent);
    }
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let found = events(&out);
    assert_exactly_once(&found, &senders);
    assert!(found.len() > usize::try_from(cycles).unwrap() * 10, "{} events", found.len());
    assert!(ledger::files(&out).len() > 2, "the file was rotated");
}

/// Appends half an event, as a crash in the middle of a write does.
fn tear(out: &std::path::Path) {
    let text = std::fs::read_to_string(out).unwrap_or_default();
    let Some(line) = text.lines().next() else { return };
    let half = line.get(..line.len() / 2).unwrap();
    std::fs::File::options().append(true).open(out).unwrap().write_all(half.as_bytes()).unwrap();
}

/// A crash whose file got further than the cursor: at the next start nothing is written again,
/// and half a line is cut off.
///
/// PROMISE-2
#[test]
fn what_stands_in_the_file_behind_the_cursor_is_not_written_again() {
    let setup = setup_to(&PathBuf::from("out/file.ndjson"), "");
    let out = setup.state_dir().join("out/file.ndjson");
    let mut senders = lines(1, 16, 0);
    let mut daemon = setup.start();
    senders[0].send_up_to(daemon.feed(), 60);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    for back in [1, 30, 60] {
        // The cursor as it was, had the crash come before it was noted.
        let store = rusqlite::Connection::open(setup.state_dir().join("journal.db")).unwrap();
        let moved = store
            .execute("UPDATE cursors SET number = number - ?1, sequence = sequence - ?1", [back])
            .unwrap();
        assert_eq!(moved, 1);
        drop(store);
        tear(&out);
        let mut daemon = setup.start();
        let next = senders[0].acked + 1;
        senders[0].send_up_to(daemon.feed(), next);
        drained(&out, &senders);
        assert!(daemon.stop().success());
        assert_exactly_once(&events(&out), &senders);
        let text = std::fs::read_to_string(&out).unwrap();
        assert!(text.lines().count() == next && text.ends_with('\n'), "no half line is left");
    }
}
