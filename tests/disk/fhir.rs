//! kill -9 of a daemon that polls: between fetching a page, committing it, and keeping the cursor.
//!
//! A page's resources have a commit of their own, and its cursor another behind it; both are of
//! `journal.db`, which one thread writes. So what lies between is found by the writes and fsyncs of its log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::SignedDuration;

use super::support::daemon::{Daemon, Setup, signal};
use super::support::eventually;
use super::support::fhir::{FhirServer, RESEARCH, observation, patient, research};
use super::support::trace::{Call, Trace};

/// A feed that polls results, all there are, with a route to a file.
fn polling(server: &FhirServer, lines: &str) -> Setup {
    Setup::new().file_route("crm", &["observation.reported"]).section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = [\"Observation\"]\ninterval = \"1s\"\nsince = \"all\"\ninclude = \"none\"\n{lines}",
        server.base()
    ))
}

/// Where a daemon is that has a page, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// F1: the page is there, and the first byte of it is about to be written.
    Fetched,
    /// What is on it is written, and not fsynced.
    Written,
    /// F2: it is fsynced, and nobody is told yet, so that nothing of the cursor is written.
    Journaled,
    /// The cursor is written, and not fsynced.
    CursorWritten,
    /// F3: it is fsynced, and nobody is told yet, so that nothing more is asked.
    CursorMoved,
    /// The next page is asked for, and has not come.
    Asked,
}

const POINTS: [Point; 6] = [
    Point::Fetched,
    Point::Written,
    Point::Journaled,
    Point::CursorWritten,
    Point::CursorMoved,
    Point::Asked,
];

impl Point {
    /// Lets the page go that the server keeps back, and the daemon die at that point.
    fn die(self, daemon: &mut Daemon, server: &FhirServer, log: &[PathBuf]) {
        /// Until it is killed in the middle of it.
        const HELD: &str = "delay_exit=600000000";
        let pid = daemon.child.id();
        let of_fsync = |what: &str, nth| Trace::fsyncs(pid, log, &format!("{what}:when={nth}"));
        let (trace, held) = match self {
            Self::Fetched => (Trace::writes(pid, log, "signal=KILL:when=1"), None),
            Self::Written => (of_fsync("signal=KILL", 1), None),
            Self::Journaled => (of_fsync(HELD, 1), Some(1)),
            Self::CursorWritten => (of_fsync("signal=KILL", 2), None),
            Self::CursorMoved => (of_fsync(HELD, 2), Some(2)),
            Self::Asked => return daemon.kill(),
        };
        server.gate.open();
        if let Some(count) = held {
            let fsyncs = || trace.calls().into_iter().filter(|call| *call == Call::Fsync).count();
            eventually("the fsync is done", || fsyncs() == count);
            signal(pid, "KILL");
            trace.abandon();
        }
        daemon.wait();
    }
}

/// What a store holds: how many messages of the feed, and how far it has come, sealed.
fn held(setup: &Setup) -> (i64, Vec<u8>) {
    // A copy, so that its log is left for the next start to recover.
    let dir = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(setup.state_dir().join(name), dir.path().join(name)).unwrap();
    }
    let store = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    let messages = "SELECT count(*) FROM messages WHERE feed = 'ehr'";
    let cursor = "SELECT value FROM kept WHERE feed = 'ehr' AND kind = 'cursor'";
    (
        store.query_row(messages, [], |row| row.get(0)).unwrap(),
        store.query_row(cursor, [], |row| row.get(0)).unwrap(),
    )
}

/// Control IDs of what is in the journal, in its order.
fn journaled(setup: &Setup) -> Vec<String> {
    let mut rows = setup.json(&["journal", "ls", "--feed", "ehr", "--limit", "10000"]);
    rows.sort_by_key(|row| row["number"].as_u64());
    rows.iter().map(|row| row["controlId"].as_str().unwrap().to_owned()).collect()
}

/// What a server is given, in its order: each under a value of its own.
struct Given<'s> {
    server: &'s FhirServer,
    control_ids: Vec<String>,
}

impl Given<'_> {
    /// Puts a version of a result there, a second behind the one before; gives its time, by which
    /// its page is known.
    fn put(&mut self, id: &str, version: u32) -> String {
        let value = self.control_ids.len();
        let begin: jiff::Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        let at = begin + jiff::SignedDuration::from_secs(i64::try_from(value).unwrap());
        self.server.put_at(observation(id, "p1", &value.to_string()), at);
        self.control_ids.push(format!("Observation/{id}/_history/{version}"));
        format!("{at:.3}")
    }

    /// Waits until the consumer has all of it, in order, and each once.
    fn assert_at(&self, setup: &Setup) {
        let values = || -> Vec<usize> {
            let value = |event: &serde_json::Value| {
                let text = event["data"]["observations"][0]["value"]["text"].as_str();
                text.unwrap().parse().unwrap()
            };
            setup.events("crm").iter().map(value).collect()
        };
        eventually("all of it leaves", || values().len() >= self.control_ids.len());
        assert!(values().into_iter().eq(0..self.control_ids.len()), "{:?}", values());
        assert_eq!(journaled(setup), self.control_ids);
    }
}

/// Killed at each point of a page in the middle of a round, three times each: what the store holds then is
/// what that point says; the next start asks for what the cursor says, goes on behind what is journaled,
/// and the consumer gets every version once, in order.
///
/// PROMISE-1, PROMISE-2, PROMISE-4; fault 78
#[test]
fn fault_78_killed_at_each_point_of_a_page_every_version_leaves_once_and_in_order() {
    let server = FhirServer::start();
    let setup = polling(&server, "page_size = 1\noverlap = \"0s\"\nrequest_timeout = \"10m\"");
    let log = [setup.state_dir().join("journal.db-wal")];
    // A folder where the file would be: no cursor of a route is written between what the feed writes.
    let (out, aside) = (setup.state_dir().join("out/crm.ndjson"), setup.dir.path().join("aside"));
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(&aside, "").unwrap();
    server.put(patient("p1"));
    let mut given = Given { server: &server, control_ids: Vec::new() };
    // How often it was asked when a daemon died, and from which time on the next one has to ask.
    let mut died = None;
    let begins_at = |died: Option<(usize, String)>| {
        if let Some((asked, reached)) = died {
            let first = &server.asked()[asked..];
            let first = first.iter().find(|it| it.target.contains("/Observation?")).unwrap();
            assert!(
                first.target.contains(&format!("=ge{reached}&")),
                "{}: {reached}",
                first.target
            );
        }
    };
    for cycle in 0..3 * POINTS.len() {
        let point = POINTS[cycle % POINTS.len()];
        // The page before, which begins the log and brings the cursor to where the next begins.
        let first = given.put(&format!("a{cycle}"), 1);
        // A next version of what was taken at the last start, at the latest.
        let page = match cycle.checked_sub(2) {
            Some(taken) => given.put(&format!("c{taken}"), 2),
            None => given.put(&format!("b{cycle}"), 1),
        };
        let next = given.put(&format!("c{cycle}"), 1);
        let (kept_back, behind) = if point == Point::Asked { (&next, 1) } else { (&page, 2) };
        server.gate.close(kept_back.clone());
        let mut daemon = setup.start();
        eventually("the page is kept back", || server.gate.is_waited_at());
        begins_at(died);
        // What was cut before is there, once, and nothing else.
        let known = given.control_ids.len() - behind;
        assert_eq!(journaled(&setup), given.control_ids[..known], "{point:?}");
        let (before, asked) = (held(&setup), server.asked().len());
        point.die(&mut daemon, &server, &log);
        assert_eq!(server.asked().len(), asked, "{point:?}: nothing more was asked");
        let after = held(&setup);
        let wanted = match point {
            Point::Fetched | Point::Asked => (0, false),
            Point::Written | Point::Journaled => (1, false),
            Point::CursorWritten | Point::CursorMoved => (1, true),
        };
        assert_eq!((after.0 - before.0, after.1 != before.1), wanted, "{point:?}");
        server.gate.open();
        let has_moved = wanted.1 || point == Point::Asked;
        died = Some((asked, if has_moved { page } else { first }));
        if cycle % POINTS.len() == POINTS.len() - 1 {
            // The consumer is there for a while.
            std::fs::remove_dir(&out).unwrap();
            std::fs::rename(&aside, &out).unwrap();
            let mut daemon = setup.start();
            given.assert_at(&setup);
            begins_at(died);
            daemon.kill();
            died = None;
            std::fs::rename(&out, &aside).unwrap();
            std::fs::create_dir(&out).unwrap();
        }
    }
}

/// Fifteen crashes at moments of chance while a server goes on changing, and a consumer is there: of what
/// the overlap asks for again nothing is taken again, and each event leaves once.
///
/// PROMISE-1, PROMISE-2; fault 78
#[test]
fn fault_78_fifteen_kills_while_polling_leave_each_version_in_the_journal_once() {
    let server = FhirServer::start();
    let setup = polling(&server, "page_size = 20");
    server.put(patient("p1"));
    for number in 0..200 {
        server.put(observation(&format!("old{number}"), "p1", "6.9"));
    }
    let writing = Arc::new(AtomicBool::new(true));
    let (going, changed) = (Arc::clone(&writing), server.clone());
    let writer = std::thread::spawn(move || {
        let mut number = 0;
        while going.load(Ordering::Relaxed) {
            changed.put(observation(&format!("new{number}"), "p1", "6.9"));
            number += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        number
    });
    for cycle in 0..15_u64 {
        let mut daemon = setup.start();
        std::thread::sleep(Duration::from_millis(5 + cycle * 37 % 400));
        daemon.kill();
    }
    writing.store(false, Ordering::Relaxed);
    let all = 200 + writer.join().unwrap();
    let mut daemon = setup.start();
    let left = || {
        let mut left: BTreeMap<String, usize> = BTreeMap::new();
        for event in setup.events("crm") {
            *left.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        left
    };
    eventually("all of it leaves", || left().len() >= all);
    assert!(daemon.stop().success());
    assert!(all > 230, "it changed while the daemon died");
    let (left, mut each) = (left(), BTreeMap::new());
    for id in journaled(&setup) {
        *each.entry(id).or_insert(0) += 1;
    }
    assert_eq!((left.len(), each.len()), (all, all));
    let doubled: Vec<_> = each.iter().chain(&left).filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}

/// Twenty crashes while results of new patients show up, each of whom consented long before the feed
/// began: the consents are asked for, all of one patient's are in the journal before the result, each
/// once, and each result leaves, once. The last of them alone says yes, so that a part opens nothing.
///
/// PROMISE-1, PROMISE-2, PROMISE-5
#[test]
fn twenty_kills_while_consents_are_asked_for_leave_no_gap_and_no_double() {
    const PATIENTS: usize = 60;
    let server = FhirServer::start();
    let setup = Setup::new()
        .section(&format!(
            "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
             resources = [\"Consent\", \"Observation\"]\ninterval = \"1s\"\npage_size = 20\n\
             include = \"none\"\nno_consent_max_age = \"1h\"",
            server.base()
        ))
        .policy(RESEARCH)
        .pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["observation.reported"],
            "\"subject\" = \"token\"\n\"observations[].code\" = \"keep\"\n",
        );
    let long_ago = server.now() - SignedDuration::from_hours(10);
    for number in 0..PATIENTS {
        let id = format!("p{number}");
        server.put_at(patient(&id), long_ago);
        for nth in ["a", "b", "c"] {
            let status = if nth == "c" { "active" } else { "draft" };
            server.put_at(research(&format!("{nth}-{id}"), &id, status, "permit"), long_ago);
        }
    }
    let mut daemon = setup.start();
    eventually("the feed has begun", || !server.asked_for("/Observation?").is_empty());
    daemon.kill();
    let changed = server.clone();
    let writer = std::thread::spawn(move || {
        for number in 0..PATIENTS {
            changed.put(observation(&format!("o{number}"), &format!("p{number}"), "6.9"));
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    for cycle in 0..20_u64 {
        let mut daemon = setup.start();
        std::thread::sleep(Duration::from_millis(20 + cycle * 37 % 300));
        daemon.kill();
    }
    writer.join().unwrap();
    let mut daemon = setup.start();
    eventually("all of it leaves", || setup.events("trial").len() >= PATIENTS);
    assert!(daemon.stop().success());
    assert_eq!(setup.events("trial").len(), PATIENTS, "an event left twice");
    let mut rows = setup.json(&["journal", "ls", "--feed", "ehr", "--limit", "10000"]);
    rows.sort_by_key(|row| row["number"].as_u64());
    let ids: Vec<&str> = rows.iter().map(|row| row["controlId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4 * PATIENTS, "{ids:?}");
    for number in 0..PATIENTS {
        let place = |name: String| {
            let name = format!("{name}/_history/1");
            ids.iter().position(|id| *id == name).unwrap()
        };
        let result = place(format!("Observation/o{number}"));
        for nth in ["a", "b", "c"] {
            assert!(place(format!("Consent/{nth}-p{number}")) < result, "{number}: {ids:?}");
        }
    }
}
