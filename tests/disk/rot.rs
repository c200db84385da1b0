//! Bits that flip and files that end early, while nobody looks.
//!
//! One store is made with messages that no route has delivered, some of them in the log only.
//! Each case damages a copy and starts a daemon on it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::support::adt;
use super::support::daemon::{Daemon, Setup, TIDEGATE};
use super::support::ledger::lines;
use super::support::sender::Sender;
use super::{complaints, eventually, setup_to};

/// Messages in the store, the first half of them copied out of the log.
const MESSAGES: usize = 40;
/// The control ID of a message that is sent to a damaged store.
const MARKER: &str = "MARKER";

/// A store that waits to be delivered, and what is delivered when nothing is wrong with it.
struct Sample {
    files: BTreeMap<&'static str, Vec<u8>>,
    keys: BTreeMap<std::ffi::OsString, Vec<u8>>,
    /// Lines by control ID.
    lines: BTreeMap<String, String>,
}

/// What became of a damaged store.
#[derive(Debug)]
enum Outcome {
    /// It was refused, at the start or as soon as it was read, in one line.
    Refused,
    /// It serves; so many of the messages came out.
    Served(usize),
}

fn sample(section: &str) -> Sample {
    let setup = setup(section);
    let out = setup.state_dir().join("out/file.ndjson");
    std::fs::create_dir_all(&out).unwrap();
    let mut senders = lines(1, 4, 3 << 10);
    for half in 1..=2 {
        let mut daemon = setup.start();
        senders[0].send_up_to(daemon.feed(), MESSAGES / 2 * half);
        daemon.kill();
        if half == 1 {
            let store = rusqlite::Connection::open(setup.state_dir().join("journal.db")).unwrap();
            store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        }
    }
    let read = |name: &'static str| (name, std::fs::read(setup.state_dir().join(name)).unwrap());
    let files = ["journal.db", "journal.db-wal"].map(read).into();
    // Without the mark of the audit's chain, a copy begins its own: this is about the journal.
    let keys = std::fs::read_dir(setup.state_dir().join("keys")).unwrap().map(Result::unwrap);
    let keys = keys.filter(|entry| entry.file_name() != "audit");
    let keys =
        keys.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
    let mut sample = Sample { files, keys, lines: BTreeMap::new() };
    let (outcome, lines, _) = sample.run(section, |_| {});
    assert!(matches!(outcome, Outcome::Served(MESSAGES)), "undamaged: {outcome:?}");
    sample.lines = lines;
    sample
}

fn setup(section: &str) -> Setup {
    setup_to(Path::new("out/file.ndjson"), "").section(section)
}

impl Sample {
    /// Starts a daemon on a copy that `damage` has damaged.
    fn run(
        &self,
        section: &str,
        damage: impl FnOnce(&Path),
    ) -> (Outcome, BTreeMap<String, String>, Setup) {
        let setup = setup(section);
        std::fs::create_dir_all(setup.state_dir().join("keys")).unwrap();
        for (name, bytes) in &self.files {
            std::fs::write(setup.state_dir().join(name), bytes).unwrap();
        }
        for (name, bytes) in &self.keys {
            let path = setup.state_dir().join("keys").join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        damage(&setup.state_dir());
        let mut daemon = setup.spawn(&mut Command::new(TIDEGATE));
        let listening = setup.state_dir().join("listening.json");
        eventually("it listens, or refuses", || {
            daemon.child.try_wait().unwrap().is_some() || listening.exists()
        });
        let out = setup.state_dir().join("out/file.ndjson");
        let served = listening.exists() && serves(&mut daemon, &listening, &out);
        let lines = read_lines(&out);
        let outcome = if served {
            daemon.stop();
            Outcome::Served(lines.len() - usize::from(lines.contains_key(MARKER)))
        } else {
            assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
            let log = daemon.log();
            let said = complaints(&log);
            let last = said.last().expect("it says why");
            assert!(last.starts_with("tidegate: "), "{said:#?}");
            Outcome::Refused
        };
        (outcome, lines, setup)
    }

    /// Whatever became of it: what came out is what was sent, byte for byte, but for its place
    /// among those that came out.
    fn assert_no_garbage(&self, what: &str, found: &BTreeMap<String, String>) {
        for (control_id, line) in found.iter().filter(|(control_id, _)| *control_id != MARKER) {
            let wanted = self.lines.get(control_id).map(|line| without_sequence(line));
            assert!(
                wanted == Some(without_sequence(line)),
                "{what}: garbage came out: {control_id}"
            );
        }
    }
}

/// What stands before and behind the number.
fn without_sequence(line: &str) -> (&str, &str) {
    let (head, tail) = line.split_once("\"sequence\":\"").expect("a sequence");
    (head, tail.split_once('"').expect("its end").1)
}

/// Sends a marker and waits until it and everything else that is read is out; false where the
/// daemon ends before that.
fn serves(daemon: &mut Daemon, listening: &Path, out: &Path) -> bool {
    let text = std::fs::read_to_string(listening).unwrap();
    let addresses: BTreeMap<String, std::net::SocketAddr> = serde_json::from_str(&text).unwrap();
    let marker = adt("A08", MARKER, "ZZMARKER");
    let mut taken = false;
    let begun = Instant::now();
    while daemon.child.try_wait().unwrap().is_none() {
        if !taken && let Ok(mut sender) = Sender::try_connect(addresses["adt"]) {
            taken = sender.exchange(&marker).is_ok_and(|ack| ack.code == "AA");
        }
        // Events of other patients may come out behind the marker.
        if read_lines(out).contains_key(MARKER)
            && let Some(metrics) = super::try_get(addresses["admin"], "/metrics")
            && metrics.contains("tidegate_route_lag_events{route=\"file\"} 0\n")
        {
            return true;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "neither refused nor served");
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn read_lines(out: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(out).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut lines = BTreeMap::new();
    for line in whole.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("a line is an event");
        let control_id = event["data"]["message"]["controlId"].as_str().unwrap().to_owned();
        let other = lines.insert(control_id, line.to_owned());
        assert_eq!(other, None, "one message came out twice");
    }
    lines
}

fn encrypted() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| sample(""))
}

/// Numbers that look random and are the same each time.
fn scattered(count: u64, below: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |index| {
        let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from((mixed ^ mixed >> 29) % below as u64).unwrap()
    })
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    std::fs::write(path, bytes).unwrap();
}

/// One bit of the store is another: it is refused in one line, or what comes out is what was
/// sent. Which of the two depends on where the bit is.
///
/// PROMISE-1, PROMISE-11
#[test]
fn fault_20_a_flipped_bit_of_the_store_never_comes_out_as_garbage() {
    let sample = encrypted();
    let length = sample.files["journal.db"].len();
    let places =
        [0, 17, 20, 28, 60, 100, 8192, 16_384 + 3].into_iter().chain(scattered(24, length));
    let mut outcomes = Vec::new();
    for at in places {
        let what = format!("bit of byte {at} of {length}");
        let (outcome, found, setup) = sample.run("", |state| flip(&state.join("journal.db"), at));
        sample.assert_no_garbage(&what, &found);
        if let Outcome::Served(count) = outcome {
            let log = std::fs::read_to_string(setup.dir.path().join("log")).unwrap();
            let apart = log.lines().filter(|line| line.contains("set apart")).count();
            assert_eq!(count + apart, MESSAGES, "{what}: messages vanished without a word");
        }
        outcomes.push((what, outcome));
    }
    // Either way of ending was tried.
    assert!(
        outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Refused)),
        "{outcomes:#?}"
    );
    assert!(
        outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Served(MESSAGES))),
        "{outcomes:#?}"
    );
}

/// The same for the log. SQLite ends it at the first frame whose checksum does not hold, so
/// that the newest messages may be missing, and none is garbage.
///
/// PROMISE-11
#[test]
fn fault_20_a_flipped_bit_of_the_log_never_comes_out_as_garbage() {
    let sample = encrypted();
    let length = sample.files["journal.db-wal"].len();
    let places = [0, 5, 16, 24, 32, 40, 56, 8248].into_iter().chain(scattered(12, length));
    for at in places {
        let what = format!("bit of byte {at} of {length} of the log");
        let (_, found, _) = sample.run("", |state| flip(&state.join("journal.db-wal"), at));
        sample.assert_no_garbage(&what, &found);
    }
}

/// Messages whose encrypted bytes were changed are named and not delivered. Either the rest is
/// served, or nothing behind them is, and the process says so and ends: a route cannot pass
/// what it cannot read, and does not pretend to.
///
/// PROMISE-4, PROMISE-11
#[test]
fn fault_20_a_message_that_does_not_open_is_named_and_not_delivered() {
    let sample = encrypted();
    let (outcome, found, setup) = sample.run("", |state| {
        let store = rusqlite::Connection::open(state.join("journal.db")).unwrap();
        let middle = "UPDATE messages SET content = CAST(substr(content, 1, 40) || x'00' || \
                      substr(content, 42) AS BLOB) WHERE number = 7";
        let all = "UPDATE messages SET content = zeroblob(length(content)) WHERE number = 9";
        assert_eq!(store.execute(middle, []).unwrap() + store.execute(all, []).unwrap(), 2);
    });
    sample.assert_no_garbage("two changed messages", &found);
    assert!(!found.contains_key("A-6") && !found.contains_key("A-8"));
    let log = std::fs::read_to_string(setup.dir.path().join("log")).unwrap();
    assert!(log.contains("message 7 does not open"), "it is not named:\n{log}");
    assert!(matches!(outcome, Outcome::Served(count) if count == MESSAGES - 2), "{outcome:?}");
    let damaged: Vec<u64> = setup
        .json(&["journal", "ls", "--status", "admitted", "--limit", "1000"])
        .iter()
        .filter(|row| row["status"] == "damaged")
        .map(|row| row["number"].as_u64().unwrap())
        .collect();
    assert_eq!(damaged, [9, 7], "they are listed all the same");
}

/// The columns that lie in clear are bound to what is sealed: changed ones are found out, and
/// change neither an event nor its ID, nor make a message vanish.
///
/// PROMISE-2
#[test]
fn fault_20_a_changed_clear_column_is_found_out() {
    let sample = encrypted();
    for change in ["feed = 'aet'", "at = at - 3600000", "epoch = 2", "epoch = 0"] {
        let (outcome, found, setup) = sample.run("", |state| {
            let store = rusqlite::Connection::open(state.join("journal.db")).unwrap();
            let sql = format!("UPDATE messages SET {change} WHERE number = 7");
            assert_eq!(store.execute(&sql, []).unwrap(), 1);
        });
        sample.assert_no_garbage(change, &found);
        let log = std::fs::read_to_string(setup.dir.path().join("log")).unwrap();
        let said = log.contains("message 7 ");
        assert!(said || found.contains_key("A-6"), "{change}: it vanished without a word");
        if let Outcome::Served(count) = outcome {
            assert!(count >= MESSAGES - 1, "{change}: {count}");
        }
    }
}

/// What is not encrypted is not signed either, and is checked all the same.
///
/// PROMISE-11
#[test]
fn fault_20_without_encryption_a_flipped_bit_does_not_come_out_as_garbage() {
    let section = "[journal]\nencrypt = false";
    let sample = sample(section);
    // A digit of a patient number, in the middle of an event.
    let bytes = &sample.files["journal.db"];
    let needle = b"ZZA3";
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, found)| found == needle)
        .map(|(at, _)| at + 3)
        .collect();
    assert!(places.len() > 3, "{places:?}");
    for at in places.into_iter().step_by(3).take(6) {
        let (_, found, _) = sample.run(section, |state| {
            let path = state.join("journal.db");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        });
        sample.assert_no_garbage(&format!("byte {at}"), &found);
    }
}

/// A store or a log that ends early: refused in one line, or what comes out is what was sent.
///
/// PROMISE-11
#[test]
fn fault_21_a_file_that_ends_early_never_comes_out_as_garbage() {
    let sample = encrypted();
    let cut = |path: PathBuf, length: usize| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(length as u64).unwrap();
    };
    let store = sample.files["journal.db"].len();
    for length in [0, 1, 99, 100, 8191, 8192, 8193, store / 2, store - 8192, store - 1] {
        let (outcome, found, _) = sample.run("", |state| cut(state.join("journal.db"), length));
        sample.assert_no_garbage(&format!("the store ends at {length} of {store}"), &found);
        if length <= 8192 {
            assert!(matches!(outcome, Outcome::Refused), "{length}: {outcome:?}");
        }
    }
    let log = sample.files["journal.db-wal"].len();
    let mut served = BTreeSet::new();
    for length in [0, 31, 32, 33, 32 + 24, 8248, 8249, log / 3, log / 2, log - 8248, log - 1] {
        let (outcome, found, _) = sample.run("", |state| cut(state.join("journal.db-wal"), length));
        sample.assert_no_garbage(&format!("the log ends at {length} of {log}"), &found);
        if let Outcome::Served(count) = outcome {
            // What the store had got already is there, whatever became of the log.
            assert!(count >= MESSAGES / 2, "{length}: {count}");
            served.insert(count);
        }
    }
    assert!(served.len() > 2, "a shorter log has fewer messages: {served:?}");
}
