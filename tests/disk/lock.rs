//! Stores that somebody else holds, that are gone, newer, or half made.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::daemon::{Setup, TIDEGATE};
use super::support::ledger::{assert_exactly_once, events, lines};
use super::{complaints, drained, eventually, setup_to};

fn setup() -> (Setup, std::path::PathBuf) {
    let setup = setup_to(Path::new("out/file.ndjson"), "");
    let out = setup.state_dir().join("out/file.ndjson");
    (setup, out)
}

/// Starts a daemon that must refuse to run, and gives the one line that it says.
fn refusal(setup: &Setup) -> String {
    let logged = std::fs::metadata(setup.dir.path().join("log")).map_or(0, |found| found.len());
    let mut daemon = setup.spawn(&mut Command::new(TIDEGATE));
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    let log = daemon.log().split_off(usize::try_from(logged).unwrap());
    let said = complaints(&log);
    assert_eq!(said.len(), 1, "one line says why: {said:#?}");
    said[0].to_owned()
}

#[test]
fn fault_19_a_second_daemon_is_refused_and_the_first_one_does_not_feel_it() {
    let (setup, out) = setup();
    let mut daemon = setup.start();
    let mut senders = lines(1, 4, 0);
    senders[0].send_up_to(daemon.feed(), 10);
    let listening = std::fs::read(setup.state_dir().join("listening.json")).unwrap();
    for _ in 0..2 {
        let said = refusal(&setup);
        assert!(said.contains("in use by another daemon"), "{said}");
    }
    // `spawn` removes the file, and a daemon that was refused must not write its own.
    assert!(!setup.state_dir().join("listening.json").exists());
    std::fs::write(setup.state_dir().join("listening.json"), listening).unwrap();
    senders[0].send_up_to(daemon.feed(), 20);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

#[test]
fn fault_19_a_folder_that_is_locked_by_another_program_is_refused() {
    let (setup, _) = setup();
    std::fs::create_dir_all(setup.state_dir()).unwrap();
    let mut holder = Command::new("flock")
        .arg(setup.state_dir().join("lock"))
        .args(["-c", "echo held; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let said = refusal(&setup);
    assert!(said.contains("in use by another daemon"), "{said}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let mut daemon = setup.start();
    assert!(daemon.stop().success());
}

/// Somebody opens the store with another program and begins to write, for longer than SQLite
/// waits. Senders wait or are not answered; the daemon goes on when that is over.
///
/// PROMISE-1
#[test]
fn fault_19_another_programs_write_transaction_ends_nothing() {
    let (setup, out) = setup();
    let mut daemon = setup.start();
    let mut senders = lines(1, 4, 0);
    senders[0].send_up_to(daemon.feed(), 10);
    let store = rusqlite::Connection::open(setup.state_dir().join("journal.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let feed = daemon.feed();
    let mut line = senders.remove(0);
    let sending = std::thread::spawn(move || {
        line.send_while(feed, |next| next < 20);
        line
    });
    while begun.elapsed() < Duration::from_secs(8) {
        let ended = daemon.child.try_wait().unwrap();
        assert_eq!(ended, None, "a held lock is no reason to end:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    store.execute_batch("ROLLBACK").unwrap();
    drop(store);
    senders.push(sending.join().unwrap());
    eventually("it is ready", || daemon.get("/readyz").0 == 200);
    senders[0].send_up_to(daemon.feed(), 30);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// A store that is gone is not begun anew in silence: that would give every message that is
/// sent again a second life.
///
/// PROMISE-2
#[test]
fn fault_22_a_store_that_is_gone_or_emptied_after_use_is_refused() {
    let (setup, out) = setup();
    let mut daemon = setup.start();
    let mut senders = lines(1, 4, 0);
    senders[0].send_up_to(daemon.feed(), 10);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let store = setup.state_dir().join("journal.db");
    let kept = setup.dir.path().join("kept");
    move_store(&setup.state_dir(), &kept);
    let said = refusal(&setup);
    assert!(
        said.contains("journal.db is not the store that the keys beside it belong to"),
        "{said}"
    );
    assert!(!store.exists(), "no new store was begun");
    // One that is there and empty is no better.
    std::fs::write(&store, b"").unwrap();
    let said = refusal(&setup);
    assert!(said.contains("not the store"), "{said}");
    move_store(&setup.state_dir(), &setup.dir.path().join("empty"));
    move_store(&kept, &setup.state_dir());
    let mut daemon = setup.start();
    senders[0].send_up_to(daemon.feed(), 20);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// The store with what SQLite keeps beside it.
fn move_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        if from.join(name).exists() {
            std::fs::rename(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
fn fault_24_a_store_of_a_newer_version_is_refused_and_not_touched() {
    let (setup, out) = setup();
    let mut daemon = setup.start();
    let mut senders = lines(1, 4, 0);
    senders[0].send_up_to(daemon.feed(), 10);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    let path = setup.state_dir().join("journal.db");
    let store = rusqlite::Connection::open(&path).unwrap();
    let later =
        "INSERT INTO refinery_schema_history VALUES (99, 'later', '2026-01-01T00:00:00Z', '1')";
    store.execute(later, []).unwrap();
    store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(store);
    let before = std::fs::read(&path).unwrap();
    let said = refusal(&setup);
    let version = |name: &str| name.split(['V', '_']).nth(1).unwrap().parse::<u32>().unwrap();
    let names = std::fs::read_dir("src/store/migrations").unwrap();
    let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
    let newest = names.map(|name| version(&name)).max().unwrap();
    assert!(said.contains("has schema 99"), "{said}");
    assert!(said.contains(&format!("knows up to {newest};")), "{said}");
    assert!(std::fs::read(&path).unwrap() == before, "the store was written to");
    let looked = setup.command(&["journal", "ls"]);
    assert_eq!(looked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&looked.stderr).contains("has schema 99"));
    let store = rusqlite::Connection::open(&path).unwrap();
    store.execute("DELETE FROM refinery_schema_history WHERE version = 99", []).unwrap();
    drop(store);
    let mut daemon = setup.start();
    senders[0].send_up_to(daemon.feed(), 20);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// Killed at one write, rename, fsync after the other while a store is made for the first time:
/// the next start makes the rest.
///
/// PROMISE-1
#[test]
fn fault_25_a_first_start_that_is_killed_anywhere_is_finished_by_the_next_one() {
    let (mut killed, mut refused) = (0, Vec::new());
    for (call, counts) in [
        ("pwrite64", &[2, 3, 8, 12, 14, 25, 38, 44, 50, 60][..]),
        ("rename", &[1, 2, 3, 4, 5, 6]),
        ("fsync", &[2, 5, 7, 9, 12, 15, 20, 24, 28]),
    ] {
        for count in counts {
            let (setup, out) = setup();
            let inject = format!("inject={call}:signal=KILL:when={count}");
            let mut strace = Command::new("strace");
            strace
                .args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")])
                .args(["-e", &inject])
                .arg(TIDEGATE);
            let mut daemon = setup.spawn(&mut strace);
            eventually("it is killed, or listens", || {
                daemon.child.try_wait().unwrap().is_some()
                    || setup.state_dir().join("listening.json").exists()
            });
            // What counts for each thread may never be reached.
            if daemon.child.try_wait().unwrap().is_none() {
                kill_children(daemon.child.id());
            } else {
                killed += 1;
            }
            daemon.wait();
            let mut daemon = setup.spawn(&mut Command::new(TIDEGATE));
            eventually("it listens, or refuses", || {
                daemon.child.try_wait().unwrap().is_some()
                    || setup.state_dir().join("listening.json").exists()
            });
            if daemon.child.try_wait().unwrap().is_some() {
                refused.push(format!("{call} {count}: {}", daemon.log()));
                continue;
            }
            daemon.kill();
            let mut daemon = setup.start();
            let mut senders = lines(1, 4, 0);
            senders[0].send_up_to(daemon.feed(), 5);
            drained(&out, &senders);
            assert!(daemon.stop().success());
            assert_exactly_once(&events(&out), &senders);
        }
    }
    assert!(refused.is_empty(), "half a store stays half a store: {refused:#?}");
    assert!(killed > 20, "only {killed} starts were killed half-way");
}

/// Kills what a tracer traces; the tracer ends with it.
fn kill_children(pid: u32) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for child in children.split_whitespace() {
        super::support::daemon::signal(child.parse().unwrap(), "KILL");
    }
}
