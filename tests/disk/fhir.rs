//! kill -9 of a daemon that polls: between fetching a page, committing it, and keeping the cursor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::daemon::Setup;
use super::support::eventually;
use super::support::fhir::{FhirServer, observation, patient};

/// Thirty crashes while a server goes on changing: every version of every resource is in the journal,
/// once, and each event leaves once. The moments at which it dies go through a round: a page on its way (F1), committed and its
/// cursor not kept (F2), the cursor kept (F3).
///
/// PROMISE-1, PROMISE-2; fault 78
#[test]
fn fault_78_thirty_kills_while_polling_leave_each_version_in_the_journal_once() {
    let server = FhirServer::start();
    let setup = Setup::new().file_route("crm", &["observation.reported"]).section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = [\"Observation\"]\ninterval = \"1s\"\nsince = \"all\"\npage_size = 20\n\
         include = \"none\"",
        server.base()
    ));
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
    for cycle in 0..30_u64 {
        let mut daemon = setup.start();
        std::thread::sleep(Duration::from_millis(5 + cycle * 37 % 400));
        daemon.kill();
    }
    writing.store(false, Ordering::Relaxed);
    let written: usize = writer.join().unwrap();
    let mut daemon = setup.start();
    let mut each: BTreeMap<String, usize> = BTreeMap::new();
    eventually("all of it is in the journal", || {
        let rows = setup.json(&["journal", "ls", "--feed", "ehr", "--limit", "10000"]);
        each.clear();
        for row in rows {
            *each.entry(row["controlId"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        each.len() >= 200 + written
    });
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    eventually("all of it leaves", || {
        left.clear();
        for event in setup.events("crm") {
            *left.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        left.len() >= 200 + written
    });
    assert!(left.values().all(|times| *times == 1), "an event left twice");
    assert!(daemon.stop().success());
    assert!(written > 30, "it changed while the daemon died");
    assert_eq!(each.len(), 200 + written);
    let doubled: Vec<_> = each.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}
