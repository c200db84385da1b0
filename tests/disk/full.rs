//! Disks that are full, or fuller than is good, and limits of a file's size.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::clock::Clock;
use super::support::daemon::{Daemon, Setup};
use super::support::disk::{Disk, run};
use super::support::ledger::{Line, assert_exactly_once, control_ids, events, lines};
use super::support::sender::Sender;
use super::{drained, eventually, readiness, route_to, setup_to};

const READY: Option<u16> = Some(200);
const NOT_READY: Option<u16> = Some(503);

/// Sends until nothing is taken any more; that is: no answer, and the connection ends.
fn send_until_refused(daemon: &mut Daemon, line: &mut Line) {
    let before = line.unanswered;
    line.send_while(daemon.feed(), |_| true);
    assert!(line.unanswered > before, "it was not refused");
    assert_running(daemon);
}

fn assert_running(daemon: &mut Daemon) {
    // One that ends stops listening first.
    if readiness(daemon).is_none() {
        let status = daemon.wait();
        panic!("a full disk is no reason to end ({status}):\n{}", last_lines(daemon));
    }
}

fn last_lines(daemon: &Daemon) -> String {
    let log = daemon.log();
    log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
}

/// Nothing is answered, again and again; whatever the connection, it ends.
fn assert_takes_nothing(daemon: &mut Daemon, line: &Line) {
    for _ in 0..5 {
        if let Ok(mut sender) = Sender::try_connect(daemon.feed()) {
            let answer = sender.exchange(&line.message(line.acked));
            assert!(answer.is_err(), "answered, though the disk is full: {answer:?}");
        }
        assert_running(daemon);
    }
}

fn cursor_and_head(setup: &Setup) -> (i64, i64) {
    let store = rusqlite::Connection::open(setup.state_dir().join("journal.db")).unwrap();
    let one = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    (one("SELECT min(number) FROM cursors"), one("SELECT max(number) FROM messages"))
}

/// A full disk: no answer, not ready, no crash; what was taken is delivered; when there is room
/// again the daemon goes on by itself, and nothing is missing.
///
/// PROMISE-1, PROMISE-12
#[test]
fn fault_14_a_full_disk_stops_intake_until_there_is_room_and_loses_nothing() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "").section("[journal]\nwatermark = \"100%\"");
    let disk = Disk::mount(&setup.state_dir(), 256);
    let mut daemon = setup.start();
    let mut senders = lines(1, 8, 30 << 10);
    for round in 1..=3 {
        let acked = senders[0].acked;
        let sent = senders[0].sent;
        senders[0].send_up_to(daemon.feed(), acked.max(sent) + 20);
        // Down to nothing at all in the end, and to a page in between.
        disk.fill_but(3 << 20 >> round);
        send_until_refused(&mut daemon, &mut senders[0]);
        eventually("it is not ready", || readiness(&daemon) == NOT_READY);
        assert_takes_nothing(&mut daemon, &senders[0]);
        disk.free_again();
        eventually("it is ready again", || readiness(&daemon) == READY);
        drained(&out, &senders);
        assert_running(&mut daemon);
    }
    let sent = senders[0].sent;
    senders[0].send_up_to(daemon.feed(), sent);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// A large message that the disk has no room for, and small ones behind it on the connection
/// that it would have room for: none is taken, since the sender will send all of them again,
/// and they would come out in another order.
///
/// PROMISE-4
#[test]
fn fault_14_what_comes_behind_a_refused_message_on_its_connection_is_refused_too() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "").section("[journal]\nwatermark = \"100%\"");
    let disk = Disk::mount(&setup.state_dir(), 128);
    let mut daemon = setup.start();
    let mut large = Line::new("L", 1, 600 << 10);
    let mut small = Line::new("S", 1, 0);
    for round in 0..5 {
        disk.fill_but(300 << 10);
        let mut frames = super::support::sender::frame(&large.message(round));
        let behind = round * 10..round * 10 + 10;
        for number in behind.clone() {
            frames.extend(super::support::sender::frame(&small.message(number)));
        }
        let mut sender = Sender::connect(daemon.feed());
        // The connection may be closed before all of it is read.
        sender.send_raw(&frames).ok();
        assert!(sender.ack().is_err(), "the large one was taken");
        let listed = setup.json(&["journal", "ls", "--limit", "1000"]);
        for number in behind {
            let control_id = small.control_id(number);
            let taken = listed.iter().any(|message| message["controlId"] == control_id);
            assert!(!taken, "{control_id} was taken before {}", large.control_id(round));
        }
        disk.free_again();
        eventually("it is ready again", || readiness(&daemon) == READY);
        large.send_up_to(daemon.feed(), round + 1);
        small.send_up_to(daemon.feed(), round * 10 + 10);
    }
    (large.sent, small.sent) = (5, 50);
    drained(&out, &[large.clone(), small.clone()]);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &[large, small]);
}

/// A file that is taken while the disk fills up waits where it is, and is taken to its end in its
/// order when there is room: nothing of it is refused, nothing counts twice.
///
/// PROMISE-1, PROMISE-4, PROMISE-12
#[test]
fn fault_14_a_file_waits_while_the_disk_is_full_and_goes_on_in_its_order() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let folder = elsewhere.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let setup = setup_to(&out, "").section("[journal]\nwatermark = \"100%\"").section(&format!(
        "[[feed]]\nname = \"drop\"\nkind = \"file\"\ndir = {folder:?}\nprocessing_id = \"any\"\n\
         settle = \"0s\"\ninterval = \"100ms\""
    ));
    let disk = Disk::mount(&setup.state_dir(), 256);
    let mut daemon = setup.start();
    let mut line = Line::new("F", 8, 30 << 10);
    for round in 0..3_usize {
        disk.fill_but(3 << 20 >> round);
        // Some 9, 18 and 36 MiB, for which there is no room, one time in the middle, one time at once: each
        // more than the store's log has kept of the one before.
        let numbers = (300 << round) - 300..(600 << round) - 300;
        let text: Vec<u8> = numbers.flat_map(|number| line.message(number)).collect();
        std::fs::write(folder.join(format!("{round}.tmp")), text).unwrap();
        std::fs::rename(folder.join(format!("{round}.tmp")), folder.join(format!("{round}.hl7")))
            .unwrap();
        eventually("it is not ready", || readiness(&daemon) == NOT_READY);
        assert!(folder.join(format!("{round}.hl7")).exists(), "it waits");
        assert_running(&mut daemon);
        disk.free_again();
        eventually("the file is done", || folder.join(format!(".done/{round}.hl7")).exists());
    }
    (line.sent, line.acked) = (2_100, 2_100);
    let lines = [line];
    drained(&out, &lines);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &lines);
    assert_eq!(std::fs::read_dir(folder.join(".failed")).unwrap().count(), 0);
}

/// A disk without room for evidence: nothing leaves, though the sink lies elsewhere and would take
/// it; when there is room it does, and the cursor is noted.
///
/// PROMISE-1, PROMISE-8
#[test]
fn fault_91_what_a_full_disk_cannot_record_does_not_leave_until_there_is_room() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    std::fs::create_dir(&out).unwrap();
    let setup = setup_to(&out, "").section("[journal]\nwatermark = \"100%\"");
    let disk = Disk::mount(&setup.state_dir(), 128);
    let mut daemon = setup.start();
    let mut senders = lines(1, 8, 0);
    senders[0].send_up_to(daemon.feed(), 500);
    disk.fill_but(0);
    std::fs::remove_dir(&out).unwrap();
    // What the files of the audit had room for left with its evidence; the rest waits.
    let mut left = 0;
    eventually("nothing more leaves", || {
        let before = left;
        std::thread::sleep(std::time::Duration::from_millis(500));
        left = if out.exists() { events(&out).len() } else { 0 };
        left == before && daemon.log().contains("the audit cannot be written")
    });
    assert!(left < 500, "all of it left with the disk full");
    disk.free_again();
    eventually("it is ready again", || readiness(&daemon) == READY);
    drained(&out, &senders);
    let begun = std::time::Instant::now();
    while cursor_and_head(&setup) != (500, 500) {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", cursor_and_head(&setup));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// The disk is filled by the journal itself, whose log is longer than what it keeps of it then:
/// the copying of the log into the store finds the disk full, too.
///
/// PROMISE-1, PROMISE-12
#[test]
fn fault_14_a_disk_that_is_full_at_a_checkpoint_ends_nothing() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "").section("[journal]\nwatermark = \"100%\"");
    // Room for the log up to its checkpoint, and not for the store that it is copied into.
    let disk = Disk::mount(&setup.state_dir(), 512);
    let mut daemon = setup.start();
    disk.fill_but(72 << 20);
    let mut senders = lines(1, 8, 400 << 10);
    send_until_refused(&mut daemon, &mut senders[0]);
    assert_takes_nothing(&mut daemon, &senders[0]);
    disk.free_again();
    eventually("it is ready again", || readiness(&daemon) == READY);
    drained(&out, &senders);
    let sent = senders[0].sent;
    senders[0].send_up_to(daemon.feed(), sent + 300);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// A crash on a full disk: a start says in one line what is wrong, or takes nothing; with room
/// it is as before.
///
/// PROMISE-1
#[test]
fn fault_14_a_start_on_a_full_disk_acknowledges_nothing_and_breaks_nothing() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "");
    let disk = Disk::mount(&setup.state_dir(), 256);
    let mut daemon = setup.start();
    let mut senders = lines(1, 8, 0);
    senders[0].send_up_to(daemon.feed(), 50);
    daemon.kill();
    disk.fill_but(0);
    let logged = daemon.log().len();
    let mut daemon = setup.spawn(&mut Command::new(super::support::daemon::TIDEGATE));
    eventually("it has ended, or listens", || {
        daemon.child.try_wait().unwrap().is_some()
            || setup.state_dir().join("listening.json").exists()
    });
    if daemon.child.try_wait().unwrap().is_some() {
        assert_eq!(daemon.wait().code(), Some(1));
        let log = daemon.log();
        let said = super::complaints(&log[logged..]);
        assert_eq!(said.len(), 1, "one line says why: {said:#?}");
    }
    daemon.child.kill().ok();
    daemon.child.wait().unwrap();
    disk.free_again();
    let mut daemon = setup.start();
    senders[0].send_up_to(daemon.feed(), 60);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// Above the watermark intake stops and delivery goes on; below it, intake goes on.
///
/// PROMISE-12
#[test]
fn fault_15_above_the_watermark_intake_stops_and_delivery_goes_on() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    // A folder in its place: the route waits.
    std::fs::create_dir(&out).unwrap();
    let setup = setup_to(&out, "").section("[journal]\nwatermark = \"60%\"");
    let disk = Disk::mount(&setup.state_dir(), 256);
    let mut daemon = setup.start();
    let mut senders = lines(1, 8, 0);
    senders[0].send_up_to(daemon.feed(), 50);
    disk.fill_but(disk.free() / 4);
    eventually("it is not ready", || readiness(&daemon) == NOT_READY);
    assert_takes_nothing(&mut daemon, &senders[0]);
    std::fs::remove_dir(&out).unwrap();
    drained(&out, &senders);
    eventually("the cursor moves above the watermark, too", || cursor_and_head(&setup) == (50, 50));
    assert_takes_nothing(&mut daemon, &senders[0]);
    disk.free_again();
    eventually("it is ready again", || readiness(&daemon) == READY);
    senders[0].send_up_to(daemon.feed(), 60);
    drained(&out, &senders);
    let log = daemon.log();
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((count("nothing is taken"), count("messages are taken again")), (1, 1));
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// What retention frees within the store is room again, though the file does not shrink.
///
/// PROMISE-12
#[test]
fn fault_15_what_retention_trims_lets_intake_go_on() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "").section("[journal]\nretention = \"1h\"\nwatermark = \"70%\"");
    let disk = Disk::mount(&setup.state_dir(), 256);
    let clock = Clock::at(&setup, "-2h");
    let mut daemon = clock.start(&setup);
    let mut senders = lines(1, 8, 400 << 10);
    senders[0].send_up_to(daemon.feed(), 240);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let store = rusqlite::Connection::open(setup.state_dir().join("journal.db")).unwrap();
    store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(store);
    // The store has 90 MiB of 256, others have the rest of four fifths.
    disk.fill_but(50 << 20);
    let mut daemon = clock.start(&setup);
    assert_eq!(readiness(&daemon), NOT_READY);
    assert_takes_nothing(&mut daemon, &senders[0]);
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    let begun = std::time::Instant::now();
    while readiness(&daemon) != READY {
        assert!(begun.elapsed().as_secs() < 30, "trimmed, and there is no room all the same");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // What was freed is used again before the file grows.
    let room = disk.free();
    senders[0].send_up_to(daemon.feed(), 260);
    assert!(disk.free() > room / 2, "{} of {room} bytes are left", disk.free());
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// A limit of a file's size, or a quota: as a full disk.
///
/// PROMISE-1
#[test]
fn fault_16_a_file_size_limit_stops_intake_and_ends_nothing() {
    let setup = setup_to(Path::new("out/file.ndjson"), "");
    let out = setup.state_dir().join("out/file.ndjson");
    let mut daemon = setup.start();
    let mut senders = lines(1, 8, 20 << 10);
    senders[0].send_up_to(daemon.feed(), 20);
    drained(&out, &senders);
    let log_bytes = std::fs::metadata(setup.state_dir().join("journal.db-wal")).unwrap().len();
    limit_files(&daemon, &(log_bytes + (300 << 10)).to_string());
    send_until_refused(&mut daemon, &mut senders[0]);
    assert_takes_nothing(&mut daemon, &senders[0]);
    drained(&out, &senders);
    limit_files(&daemon, "unlimited");
    eventually("it is ready again", || readiness(&daemon) == READY);
    let sent = senders[0].sent;
    senders[0].send_up_to(daemon.feed(), sent + 20);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// Sets the longest file that a running process may write.
fn limit_files(daemon: &Daemon, bytes: &str) {
    let pid = daemon.child.id().to_string();
    run(Command::new("prlimit").arg(format!("--fsize={bytes}:unlimited")).args(["--pid", &pid]));
}

/// The disk of one out file is full, and the journal's is not: that route waits and tries
/// again, the other one and the feed go on; with room it catches up, each event once.
///
/// PROMISE-12, PROMISE-2
#[test]
fn fault_14_a_full_disk_of_one_out_file_stops_that_route_only() {
    let setup = setup_to(&PathBuf::from("small/file.ndjson"), "rotate = \"256KiB\"");
    let setup = route_to(setup, "other", &PathBuf::from("out/other.ndjson"), "");
    let out = setup.state_dir().join("small/file.ndjson");
    let other = setup.state_dir().join("out/other.ndjson");
    let disk = Disk::mount(&setup.state_dir().join("small"), 64);
    let mut daemon = setup.start();
    let mut senders = lines(1, 32, 0);
    let up = |daemon: &Daemon| daemon.metric("tidegate_route_up{route=\"file\"}");
    for round in 1..=3_u64 {
        // Room for some events and half of one.
        disk.fill_but(round * 40_000);
        let more = senders[0].acked + 200;
        senders[0].send_up_to(daemon.feed(), more);
        drained(&other, &senders);
        eventually("the route is down", || up(&daemon) == 0.0);
        assert_eq!(readiness(&daemon), READY, "a consumer's disk is not ours");
        assert!(control_ids(&events(&out)).len() < more);
        if round == 2 {
            daemon.kill();
            daemon = setup.start();
            eventually("the route is down after a restart, too", || up(&daemon) == 0.0);
        }
        disk.free_again();
        drained(&out, &senders);
        eventually("the route is up", || up(&daemon) == 1.0);
    }
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
    assert_exactly_once(&events(&other), &senders);
}
