//! fsyncs that fail, and fsyncs that take long.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::daemon::{Setup, TIDEGATE};
use super::support::disk::Disk;
use super::support::ledger::{assert_exactly_once, events, lines};
use super::support::sender::Sender;
use super::support::supervisor::Supervisor;
use super::support::trace::{Call, Trace};
use super::{complaints, drained, eventually, setup_to};

fn journal_files(setup: &Setup) -> Vec<std::path::PathBuf> {
    ["journal.db", "journal.db-wal"].map(|name| setup.state_dir().join(name)).to_vec()
}

/// An fsync that fails may have thrown away what it was to write, and says so only once. So
/// nobody is answered, the fsync is not tried again, and the process ends; the next start
/// recovers, and the sender's messages are taken.
///
/// PROMISE-1
#[test]
fn fault_13_fsync_error_stops_acknowledging_and_the_next_start_recovers() {
    for which in [1, 2, 5] {
        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("file.ndjson");
        let setup = setup_to(&out, "");
        let mut daemon = setup.start();
        let mut senders = lines(1, 1, 0);
        senders[0].send_up_to(daemon.feed(), 20);
        drained(&out, &senders);
        let logged = daemon.log().len();
        let inject = format!("error=EIO:when={which}");
        let mut trace = Trace::fsyncs(daemon.child.id(), &journal_files(&setup), &inject);
        senders[0].send_while(daemon.feed(), |_| true);
        // None, where it was the fsync of a cursor and the sender was between two messages.
        assert!(senders[0].unanswered <= 1, "the message whose fsync failed has no answer");
        let status = daemon.wait();
        assert_eq!(status.code(), Some(1), "{}", daemon.log());
        let calls = trace.finish();
        let failed = calls.iter().position(|call| *call == Call::FailedFsync).expect("one failed");
        let after = &calls[failed + 1..];
        assert!(!after.contains(&Call::Fsync), "an fsync was tried again: {after:?}");
        let log = daemon.log();
        let said = complaints(&log[logged..]);
        let clear = said.iter().filter(|line| line.contains("store: ")).count();
        assert_eq!(clear, 1, "one line says what it was: {said:#?}");

        let mut daemon = setup.start();
        let sent = senders[0].sent;
        senders[0].send_up_to(daemon.feed(), sent + 5);
        drained(&out, &senders);
        assert!(daemon.stop().success());
        assert_exactly_once(&events(&out), &senders);
    }
}

/// What a failed fsync left in the kernel's memory is read back after a restart as if it were
/// on the disk, and no later fsync writes it. So what the log holds at a start is copied into
/// the store, and that is fsynced, before anybody is answered by it.
///
/// PROMISE-1
#[test]
fn fault_13_what_the_log_holds_at_a_start_is_written_again_before_it_is_trusted() {
    let setup = setup_to(Path::new("out/file.ndjson"), "");
    let mut daemon = setup.start();
    let mut senders = lines(1, 1, 0);
    senders[0].send_up_to(daemon.feed(), 20);
    daemon.kill();
    let mut daemon = setup.start();
    // The store without its log.
    let copy = setup.dir.path().join("copy.db");
    std::fs::copy(setup.state_dir().join("journal.db"), &copy).unwrap();
    let store = rusqlite::Connection::open(&copy).unwrap();
    let count = store.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.ok(), Some(20), "the store without its log holds what was recovered");
    assert!(daemon.stop().success());
}

/// An fsync of the out file that fails holds up that route, and no other. That it is written
/// again, and not only fsynced, is shown beside the sink.
///
/// PROMISE-1, PROMISE-12
#[test]
fn fault_13_fsync_error_of_an_out_file_stops_that_route_until_it_is_written_again() {
    let setup = setup_to(Path::new("out/file.ndjson"), "").file_route("other", super::EVENTS);
    let out = setup.state_dir().join("out/file.ndjson");
    let mut daemon = setup.start();
    let mut senders = lines(1, 4, 0);
    senders[0].send_up_to(daemon.feed(), 20);
    drained(&out, &senders);
    eventually("the route rests", || {
        daemon.metric("tidegate_route_lag_events{route=\"file\"}") == 0.0
    });
    let failing = Trace::fsyncs(daemon.child.id(), std::slice::from_ref(&out), "error=EIO");
    senders[0].send_up_to(daemon.feed(), 60);
    drained(&setup.state_dir().join("out/other.ndjson"), &senders);
    eventually("the out file fails", || failing.calls().contains(&Call::FailedFsync));
    eventually("the route is down", || daemon.metric("tidegate_route_up{route=\"file\"}") == 0.0);
    drop(failing);
    eventually("the route is up again", || {
        daemon.metric("tidegate_route_up{route=\"file\"}") == 1.0
            && daemon.metric("tidegate_route_lag_events{route=\"file\"}") == 0.0
    });
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// A disk that needs two seconds for an fsync: everybody is answered, more ride together, and
/// the watchdog is fed all the while.
///
/// PROMISE-1
#[test]
fn fault_18_slow_fsyncs_make_groups_grow_and_trip_no_watchdog() {
    const WATCHDOG: Duration = Duration::from_secs(10);
    let supervisor = Supervisor::listen();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("file.ndjson");
    let setup = setup_to(&out, "");
    let mut daemon = setup.start_with(
        Command::new(TIDEGATE)
            .env("NOTIFY_SOCKET", supervisor.path())
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()),
    );
    let mut senders = lines(8, 8, 0);
    senders[0].send_up_to(daemon.feed(), 1);
    let group = |daemon: &super::support::daemon::Daemon| {
        (
            daemon.metric("tidegate_journal_group_commit_messages_sum"),
            daemon.metric("tidegate_journal_group_commit_messages_count"),
        )
    };
    let (messages_before, commits_before) = group(&daemon);
    let trace = Trace::fsyncs(daemon.child.id(), &journal_files(&setup), "delay_enter=2000000");
    let begun = Instant::now();
    let feed = daemon.feed();
    std::thread::scope(|scope| {
        for sender in &mut senders {
            scope.spawn(move || sender.send_up_to(feed, 32));
        }
    });
    let ended = Instant::now();
    drop(trace);
    let (messages, commits) = group(&daemon);
    let mean = (messages - messages_before) / (commits - commits_before);
    assert!(mean > 8.0, "{mean} messages a commit, though hundreds waited");
    let pings = supervisor.pings();
    let slow: Vec<Instant> = pings.into_iter().filter(|at| (begun..=ended).contains(at)).collect();
    assert!(slow.len() > 3, "{} pings in {:?}", slow.len(), ended - begun);
    let gaps = slow.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max().unwrap() < WATCHDOG, "systemd would have killed it");
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// PROMISE-1; fault 13
#[test]
fn fault_13_after_the_disk_is_gone_no_message_is_answered_and_the_process_ends() {
    let setup = setup_to(Path::new("out/file.ndjson"), "");
    let mut disk = Disk::mount(&setup.state_dir(), 64);
    let mut daemon = setup.start();
    let mut senders = lines(1, 1, 0);
    senders[0].send_up_to(daemon.feed(), 5);
    disk.die();
    // Evidence that was on its way may have ended it already.
    let answer = Sender::try_connect(daemon.feed())
        .and_then(|mut sender| sender.exchange(&senders[0].message(5)));
    assert!(answer.is_err(), "answered without a disk");
    assert_eq!(daemon.wait().code(), Some(1));
    disk.restart();
    let out = setup.state_dir().join("out/file.ndjson");
    let mut daemon = setup.start();
    senders[0].send_up_to(daemon.feed(), 8);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}
