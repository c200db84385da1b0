//! The vault and crashes: kill -9, power cuts, a full disk, an fsync that fails. However it ends, a
//! patient keeps one token, and what left bears no token that the vault does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tidegate::secret;
use tidegate::store::vault::{Resolved, VaultReader};

use super::eventually;
use super::support::TOKEN;
use super::support::daemon::{Daemon, Setup};
use super::support::disk::Disk;
use super::support::sender::Sender;
use super::support::trace::{Call, Trace};

const EVENTS: &[&str] = &["patient.updated"];

/// One route with tokens of the vault, to a file.
fn setup(out: &Path) -> Setup {
    let deliver = format!("kind = \"file\"\npath = {out:?}");
    Setup::new().realm("tokens = \"vault\"").section("[journal]\nwatermark = \"100%\"").contract(
        "trial",
        EVENTS,
        "pseudonymized",
        "CLINTRCH",
        TOKEN,
        &deliver,
    )
}

/// Sends events of patients, each once in a round, until the connection ends; how many were
/// acknowledged.
fn send(daemon: &Daemon, round: u64, patients: impl Iterator<Item = u64>) -> usize {
    let Ok(mut sender) = Sender::try_connect(daemon.feed()) else { return 0 };
    let message = |patient| {
        super::support::adt("A08", &format!("R{round}P{patient}"), &format!("ZZ1{patient:05}"))
    };
    patients.map_while(|patient| sender.exchange(&message(patient)).ok()).count()
}

/// The tokens that left, each with how often.
fn tokens(out: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for line in std::fs::read_to_string(out).unwrap_or_default().lines() {
        // A crash may leave half a line, which is none.
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        *found.entry(event["subject"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    found
}

/// Of a stopped daemon: that each token that left stands for a patient of its own.
fn assert_one_token_a_patient(setup: &Setup, out: &Path, patients: usize) {
    let key = secret::key_file(&setup.state_dir().join("keys/vault.key")).unwrap();
    let vault = VaultReader::open(&setup.state_dir(), &key).unwrap().unwrap();
    let found = tokens(out);
    let mut known = BTreeSet::new();
    for token in found.keys() {
        match vault.resolve("care", token, Timestamp::now()).unwrap() {
            Resolved::Subject { subject, until: None } => {
                assert!(known.insert(subject.value.expose().clone()), "two tokens of one patient");
            }
            other => panic!("{token} left, and the vault says {other:?}"),
        }
    }
    assert_eq!(known.len(), patients);
}

/// Crashes between vault, evidence, file and cursor, with patients that are new and patients that
/// are known in each round.
///
/// PROMISE-1; fault 5
#[test]
fn fault_5_forty_kills_between_vault_evidence_and_cursor_leave_each_patient_one_token() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("trial.ndjson");
    let setup = setup(&out);
    let mut sent = 0;
    for cycle in 0..40_u64 {
        let mut daemon = setup.start();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(&daemon, cycle, cycle * 5..cycle * 5 + 200));
            std::thread::sleep(Duration::from_millis(3 + cycle * 29 % 140));
            super::support::daemon::signal(daemon.child.id(), "KILL");
            sent += sender.join().unwrap();
        });
        daemon.wait();
    }
    // Some of each cycle at least, on the slowest machine.
    assert!(sent > 80, "{sent}");
    let mut daemon = setup.start();
    assert_eq!(send(&daemon, 99, 0..400), 400);
    eventually("all are out", || {
        daemon.metric("tidegate_route_lag_events{route=\"trial\"}") == 0.0
            && tokens(&out).len() == 400
    });
    assert!(daemon.stop().success());
    assert_one_token_a_patient(&setup, &out, 400);
}

/// The file lies on another disk: what left before a cut is there behind it, and so must be the
/// token that it bears.
///
/// PROMISE-1; fault 10
#[test]
fn fault_10_a_power_cut_takes_no_token_that_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("trial.ndjson");
    let setup = setup(&out);
    let mut disk = Disk::mount(&setup.state_dir(), 256);
    for cycle in 0..8_u64 {
        let mut daemon = setup.start();
        std::thread::scope(|scope| {
            scope.spawn(|| send(&daemon, cycle, cycle * 20..cycle * 20 + 400));
            std::thread::sleep(Duration::from_millis(40 + cycle * 61 % 300));
            disk.cut_power(daemon.child.id());
        });
        daemon.wait();
        disk.restart();
    }
    let mut daemon = setup.start();
    assert_eq!(send(&daemon, 99, 0..600), 600);
    eventually("all are out", || {
        daemon.metric("tidegate_route_lag_events{route=\"trial\"}") == 0.0
            && tokens(&out).len() == 600
    });
    assert!(daemon.stop().success());
    assert_one_token_a_patient(&setup, &out, 600);
}

fn vault_files(setup: &Setup) -> Vec<PathBuf> {
    ["vault.db", "vault.db-wal"].map(|name| setup.state_dir().join(name)).to_vec()
}

/// An fsync of the vault that fails: nothing leaves by a token that may be gone, the daemon ends,
/// and the next start goes on.
///
/// PROMISE-1; fault 13
#[test]
fn fault_13_an_fsync_error_of_the_vault_ends_the_daemon_before_a_token_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("trial.ndjson");
    let setup = setup(&out);
    let mut daemon = setup.start();
    assert_eq!(send(&daemon, 1, 0..10), 10);
    eventually("they are out", || tokens(&out).len() == 10);
    let mut trace = Trace::fsyncs(daemon.child.id(), &vault_files(&setup), "error=EIO");
    send(&daemon, 2, 10..20);
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    let calls = trace.finish();
    let failed = calls.iter().filter(|call| **call == Call::FailedFsync).count();
    assert_eq!(failed, 1, "it is not tried again: {calls:?}");
    assert_eq!(tokens(&out).len(), 10, "nothing left");
    let mut daemon = setup.start();
    assert_eq!(send(&daemon, 3, 10..20), 10);
    eventually("they are out", || tokens(&out).len() == 20);
    assert!(daemon.stop().success());
    assert_one_token_a_patient(&setup, &out, 20);
}

/// A vault that cannot be written is no decision: its route waits until there is room, and tries
/// again by itself; feeds and a route without tokens go on.
///
/// PROMISE-12; fault 70
#[test]
fn fault_70_a_vault_whose_disk_is_full_holds_its_route_and_no_other_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (out, clear) = (dir.path().join("trial.ndjson"), dir.path().join("clear.ndjson"));
    let setup = setup(&out);
    let setup = super::route_to(setup, "clear", &clear, "");
    let state = setup.state_dir();
    let mut daemon = setup.start();
    assert_eq!(send(&daemon, 1, 0..10), 10);
    eventually("they are out", || tokens(&out).len() == 10);
    assert!(daemon.stop().success());
    // The vault alone lies on a disk of its own, which is full.
    let disk = Disk::mount(&dir.path().join("small"), 16);
    let small = dir.path().join("small/state");
    move_all(&state, &small);
    std::os::unix::fs::symlink(&small, &state).unwrap();
    let roomy = dir.path().join("roomy");
    std::fs::create_dir(&roomy).unwrap();
    for name in ["journal.db", "audit.db"] {
        std::fs::rename(small.join(name), roomy.join(name)).ok();
        std::fs::copy(small.join(name), roomy.join(name)).ok();
        std::fs::remove_file(small.join(name)).ok();
        std::os::unix::fs::symlink(roomy.join(name), small.join(name)).unwrap();
    }
    let mut daemon = setup.start();
    disk.fill_but(0);
    assert_eq!(send(&daemon, 2, 0..60), 60);
    let why = "the vault cannot be written: its disk is full";
    eventually("the route says why it waits", || daemon.log().contains(why));
    eventually("the other goes on", || tokens(&clear).len() == 60);
    std::thread::sleep(Duration::from_millis(500));
    assert!(tokens(&out).len() < 60, "all have a token on a full disk");
    disk.free_again();
    eventually("they are out", || tokens(&out).len() == 60);
    eventually("it is up", || daemon.metric("tidegate_route_up{route=\"trial\"}") == 1.0);
    assert!(daemon.stop().success());
    assert_one_token_a_patient(&setup, &out, 60);
}

/// Moves a folder to another disk.
fn move_all(from: &Path, to: &Path) {
    super::support::disk::run(std::process::Command::new("cp").arg("-a").arg(from).arg(to));
    std::fs::remove_dir_all(from).unwrap();
}

/// An fsync that takes five seconds holds up the route of the vault, and neither feeds nor others.
///
/// PROMISE-12; fault 70
#[test]
fn fault_70_a_slow_vault_holds_up_neither_feeds_nor_other_routes() {
    let dir = tempfile::tempdir().unwrap();
    let (out, clear) = (dir.path().join("trial.ndjson"), dir.path().join("clear.ndjson"));
    let setup = super::route_to(setup(&out), "clear", &clear, "");
    let mut daemon = setup.start();
    assert_eq!(send(&daemon, 1, 0..1), 1);
    eventually("it is out", || tokens(&out).len() == 1);
    let files = vault_files(&setup);
    let trace = Trace::fsyncs(daemon.child.id(), &files, "delay_enter=5000000");
    let begun = std::time::Instant::now();
    assert_eq!(send(&daemon, 2, 0..40), 40);
    eventually("the other is done", || tokens(&clear).len() == 40);
    assert!(begun.elapsed() < Duration::from_millis(4_800), "{:?}", begun.elapsed());
    assert!(tokens(&out).len() < 40);
    // Forty tokens ride in a few transactions, not one each.
    eventually("they are out", || tokens(&out).len() == 40);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    drop(trace);
    assert!(daemon.stop().success());
    assert_one_token_a_patient(&setup, &out, 40);
}
