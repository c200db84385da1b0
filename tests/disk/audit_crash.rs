//! The evidence and crashes: kill -9, a full disk, an fsync that fails.
//!
//! What is killed is this test binary itself, run again as somebody who records without end and
//! prints each number once it is durable.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::audit::Outcome;
use tidegate::store::AuditBusy;

use super::support::disk::Disk;
use super::support::eventually;
use super::support::evidence::{Evidence, act, config, decision, problems, verified};
use super::support::trace::{Call, Trace};

const FOLDER: &str = "TIDEGATE_TEST_EVIDENCE";
const RETENTION: &str = "TIDEGATE_TEST_RETENTION_MS";

/// Records until it is killed. A full disk is told, and tried again; a store that failed ends it.
#[test]
fn recorder() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let retention = std::env::var(RETENTION).unwrap().parse().unwrap();
    let evidence = Evidence::open(Path::new(&folder), config(Duration::from_millis(retention)));
    let say = |line: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    say("open");
    for nth in 1.. {
        let says = (0..1 + nth % 5)
            .map(|one| decision(nth * 10 + one, nth % 7, "research", Outcome::Release))
            .collect();
        match evidence.try_append(says) {
            Ok(numbers) => say(&format!("durable {}", numbers.last().unwrap())),
            Err(AuditBusy::Disk) => {
                say("full");
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(AuditBusy::Stopped) => {
                eventually("it has failed", || *evidence.threads().failed().borrow());
                say("failed");
                std::process::exit(3);
            }
        }
        evidence.audit.tick();
    }
}

/// Somebody who records, and what was heard of it.
struct Recorder {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn start(folder: &Path, retention_ms: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit_crash::recorder", "--nocapture"])
            .env(FOLDER, folder)
            .env(RETENTION, retention_ms.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&lines);
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line));
        });
        Self { child, lines }
    }

    fn count(&self, begin: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with(begin)).count()
    }

    /// The highest number that was told to be durable.
    fn durable(&self) -> u64 {
        let lines = self.lines.lock().unwrap();
        let numbers = lines.iter().filter_map(|line| line.strip_prefix("durable ")?.parse().ok());
        numbers.max().unwrap_or(0)
    }

    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What it had written before it died is read to its end.
        std::thread::sleep(Duration::from_millis(50));
        self.durable()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Killed again and again while it records, signs and archives: what was told to be durable is
/// there, once, the chain holds, and every segment with it.
///
/// PROMISE-8, PROMISE-9
#[test]
fn fault_8_forty_kills_while_recording_and_archiving_lose_no_record_that_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = 0;
    for cycle in 0..40_u64 {
        let recorder = Recorder::start(dir.path(), 60);
        eventually("it is open", || recorder.count("open") > 0);
        std::thread::sleep(Duration::from_millis(5 + cycle * 37 % 260));
        told = recorder.kill().max(told);
        if cycle % 8 == 7 {
            let report = verified(dir.path(), None).unwrap();
            assert_eq!(report.problems, [""; 0], "cycle {cycle}");
            assert!(report.last >= told, "{} of {told}", report.last);
            assert_eq!(report.segments.0, report.segments.1, "each segment is a file");
        }
    }
    let report = verified(dir.path(), None).unwrap();
    assert!(report.last >= told && told > 200, "{told}: {report:?}");
    assert!(report.segments.0 > 5, "{report:?}");
    let evidence = Evidence::open(dir.path(), config(Duration::from_secs(3600)));
    assert_eq!(evidence.append(vec![act("start")]).len(), 1);
    evidence.stop();
    assert_eq!(problems(dir.path(), None), "");
}

/// A full disk refuses, again and again, and ends nothing; with room again it goes on, and what was
/// told is there.
///
/// PROMISE-8
#[test]
fn fault_91_a_full_disk_refuses_records_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("disk");
    let disk = Disk::mount(&at, 64);
    let recorder = Recorder::start(&at.join("state"), 3_600_000);
    eventually("it records", || recorder.count("durable") > 20);
    for round in 1..=3 {
        disk.fill_but(0);
        let before = recorder.count("full");
        eventually("it is refused", || recorder.count("full") > before + 5);
        disk.free_again();
        let before = recorder.durable();
        eventually("it records again", || recorder.durable() > before + 50);
        assert_eq!(recorder.count("failed"), 0, "round {round}");
    }
    let told = recorder.kill();
    let report = verified(&at.join("state"), None).unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert!(report.last >= told);
}

/// An fsync that fails may have thrown away what it was to write: nobody is told a number, the
/// writer ends, and the next start goes on behind what was told.
///
/// PROMISE-8
#[test]
fn fault_13_an_fsync_error_of_the_audit_ends_it_before_anyone_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(dir.path(), 3_600_000);
    eventually("it records", || recorder.count("durable") > 5);
    let files = ["audit.db", "audit.db-wal"].map(|name| dir.path().join(name));
    let mut trace = Trace::fsyncs(recorder.child.id(), &files, "error=EIO");
    assert_eq!(recorder.child.wait().unwrap().code(), Some(3));
    let calls = trace.finish();
    let failed = calls.iter().filter(|call| **call == Call::FailedFsync).count();
    assert_eq!(failed, 1, "it is not tried again: {calls:?}");
    eventually("it says so", || recorder.count("failed") == 1);
    let told = recorder.durable();
    let evidence = Evidence::open(dir.path(), config(Duration::from_secs(3600)));
    assert!(evidence.audit.head() >= told);
    evidence.stop();
    assert_eq!(problems(dir.path(), None), "");
}

/// A file that an archiving left half is written anew.
///
/// PROMISE-9
#[test]
fn what_a_crash_left_of_a_segment_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("audit-archive");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("audit-1.partial"), "half").unwrap();
    std::fs::write(folder.join("audit-1-77.ndjson"), "whole, and never noted").unwrap();
    let evidence = Evidence::open(dir.path(), config(Duration::from_millis(50)));
    evidence.append(vec![act("start"); 5]);
    std::thread::sleep(Duration::from_millis(150));
    eventually("it is archived", || {
        evidence.audit.tick();
        folder.join("audit-1-4.ndjson").exists()
    });
    evidence.stop();
    assert!(!folder.join("audit-1-77.ndjson").exists());
    assert_eq!(problems(dir.path(), None), "");
}
