//! Power cuts: ext4 on a loop device that is shut down without its log being written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::support::daemon::Setup;
use super::support::disk::Disk;
use super::support::ledger::{Line, Load, assert_exactly_once, events, lines};
use super::support::trace::Trace;
use super::{drained, setup_to};

/// A file that nobody fsyncs. After a power cut it shows whether that took anything.
struct Unsynced {
    path: PathBuf,
}

impl Unsynced {
    fn write(dir: &Path) -> Self {
        let path = dir.join("unsynced");
        std::fs::write(&path, [b'x'; 4096]).unwrap();
        Self { path }
    }

    fn is_lost(&self) -> bool {
        std::fs::read(&self.path).map_or(true, |bytes| bytes != [b'x'; 4096])
    }
}

/// Ten power cuts under load: what was acknowledged is there, in order, once. The file of the
/// route lies on another disk, so that nothing but the journal's own fsyncs saves anything.
///
/// PROMISE-1
#[test]
fn fault_10_ten_power_cuts_under_load_take_nothing_that_was_acknowledged() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "");
    let mut disk = Disk::mount(&setup.state_dir(), 256);
    let mut senders = lines(3, 16, 0);
    let mut lost = 0;
    for cycle in 0..10 {
        let mut daemon = setup.start();
        let load = Load::start(daemon.feed(), senders);
        load.run_for(Duration::from_millis(20 + cycle * 87 % 400));
        let unsynced = Unsynced::write(&setup.state_dir());
        disk.cut_power(daemon.child.id());
        senders = load.join();
        daemon.wait();
        disk.restart();
        lost += usize::from(unsynced.is_lost());
    }
    assert_cuts_took_something(lost, &senders);
    finish(&setup, &out, &mut senders);
}

/// The same cut under a journal whose fsyncs do nothing, as `synchronous = NORMAL` would have
/// it: now it does take what was acknowledged. So the tests here see the difference.
#[test]
fn fault_10_without_fsyncs_the_same_power_cut_takes_what_was_acknowledged() {
    let elsewhere = tempfile::tempdir().unwrap();
    let setup = setup_to(&elsewhere.path().join("file.ndjson"), "");
    let mut disk = Disk::mount(&setup.state_dir(), 64);
    let mut daemon = setup.start();
    let mut senders = lines(1, 8, 0);
    senders[0].send_up_to(daemon.feed(), 10);
    let log = setup.state_dir().join("journal.db-wal");
    // strace answers in the kernel's place.
    let trace = Trace::fsyncs(daemon.child.id(), &[log], "retval=0");
    senders[0].send_up_to(daemon.feed(), 60);
    disk.cut_power(daemon.child.id());
    daemon.wait();
    drop(trace);
    disk.restart();
    let mut daemon = setup.start();
    senders[0].acked = 0;
    senders[0].send_up_to(daemon.feed(), 60);
    let known = daemon.metric("tidegate_dedupe_checks_total{feed=\"adt\",result=\"duplicate\"}");
    let lost = daemon.metric("tidegate_dedupe_checks_total{feed=\"adt\",result=\"new\"}");
    assert!(known >= 10.0, "what was fsynced is there: {known} of 10");
    assert!(lost > 0.0, "nothing was lost without a single fsync");
    assert!(daemon.stop().success());
}

/// A cut that takes nothing shows nothing.
fn assert_cuts_took_something(lost: usize, senders: &[Line]) {
    assert!(lost > 0, "the cuts took nothing that was not fsynced, so they show nothing");
    let unanswered: usize = senders.iter().map(|line| line.unanswered).sum();
    assert!(unanswered > 0, "no message was under way at any cut");
    assert!(senders.iter().all(|line| line.acked > 0), "every sender got something through");
}

/// The last start: the rest is sent, and everything is looked at.
fn finish(setup: &Setup, out: &Path, senders: &mut [Line]) {
    let mut daemon = setup.start();
    // What was acknowledged is known: sent again, it is not taken again.
    let before = daemon.metric("tidegate_dedupe_checks_total{feed=\"adt\",result=\"new\"}");
    for sender in senders.iter_mut() {
        let acked = std::mem::take(&mut sender.acked);
        sender.send_up_to(daemon.feed(), acked);
    }
    let after = daemon.metric("tidegate_dedupe_checks_total{feed=\"adt\",result=\"new\"}");
    assert_eq!(after, before, "a message that was acknowledged is not in the journal");
    for sender in senders.iter_mut() {
        sender.send_up_to(daemon.feed(), sender.sent);
    }
    drained(out, senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(out), senders);
}

/// The file of the route lies on the disk, too, and is rotated every few events: nothing that
/// the cursor has passed is missing, and nothing stands there twice.
///
/// PROMISE-1, PROMISE-2; faults 10, 12
#[test]
fn fault_12_power_cuts_between_rotations_leave_each_event_in_the_files_once() {
    let setup = setup_to(Path::new("out/file.ndjson"), "rotate = \"64KiB\"");
    let out = setup.state_dir().join("out/file.ndjson");
    let mut disk = Disk::mount(&setup.state_dir(), 256);
    let mut senders = lines(2, 16, 0);
    let mut lost = 0;
    for cycle in 0..8 {
        let mut daemon = setup.start();
        let load = Load::start(daemon.feed(), senders);
        load.run_for(Duration::from_millis(40 + cycle * 131 % 500));
        let unsynced = Unsynced::write(&setup.state_dir());
        disk.cut_power(daemon.child.id());
        senders = load.join();
        daemon.wait();
        disk.restart();
        lost += usize::from(unsynced.is_lost());
    }
    assert_cuts_took_something(lost, &senders);
    finish(&setup, &out, &mut senders);
}

/// The first seconds of a store's life: files and folders that were just made are there after
/// a cut, with the first message that was acknowledged.
///
/// PROMISE-1
#[test]
fn fault_12_a_power_cut_right_after_the_first_start_takes_no_file_that_is_needed() {
    for messages in [0, 1, 1, 3] {
        let setup = setup_to(Path::new("out/file.ndjson"), "");
        let out = setup.state_dir().join("out/file.ndjson");
        let mut disk = Disk::mount(&setup.state_dir(), 64);
        let mut daemon = setup.start();
        let mut senders = lines(1, 1, 0);
        senders[0].send_up_to(daemon.feed(), messages);
        disk.cut_power(daemon.child.id());
        daemon.wait();
        disk.restart();
        senders[0].sent = 5;
        finish(&setup, &out, &mut senders);
    }
}

/// Cuts while the log is copied into the store.
///
/// PROMISE-1
#[test]
fn fault_11_power_cuts_during_checkpoints_take_nothing_that_was_acknowledged() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "");
    let mut disk = Disk::mount(&setup.state_dir(), 512);
    let store = setup.state_dir().join("journal.db");
    let mut senders = lines(2, 8, 400 << 10);
    for pause in [0, 5, 40] {
        let mut daemon = setup.start();
        let changed = || std::fs::metadata(&store).unwrap().modified().unwrap();
        let before = changed();
        let load = Load::start(daemon.feed(), senders);
        super::eventually("a checkpoint has begun", || changed() != before);
        load.run_for(Duration::from_millis(pause));
        disk.cut_power(daemon.child.id());
        senders = load.join();
        daemon.wait();
        disk.restart();
    }
    finish(&setup, &out, &mut senders);
}
