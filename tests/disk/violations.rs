//! Exceptions of routes, with the cursors that pass their events.

use std::path::Path;

use tidegate::event::EventType;
use tidegate::secret::Key;
use tidegate::store::query::{Exception, Lookup};
use tidegate::store::violations::Kind;
use tidegate::store::{Moved, Position, Violation};

use super::model::{Opened, admission, copy, open};

const ROUTE: &str = "first";

/// A violation of a message at a place, by a version of the contract.
fn violation(opened: &Opened, number: u64, contract: &str, place: &str) -> Violation {
    let kind = Kind { route: ROUTE, contract, kind: EventType::PatientUpdated, place };
    Violation::new(kind, (number, &"adt".into()), opened.journal.digests(), 1_000)
}

/// Takes messages of these control IDs.
fn append(opened: &Opened, control_ids: std::ops::Range<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for control_id in control_ids {
            let turn = tidegate::store::Turn::default();
            let answer = opened.journal.append(admission(control_id, 1), &turn).await.unwrap();
            answer.await.unwrap().unwrap();
        }
    });
}

fn move_to(opened: &Opened, number: u64, violations: Vec<Violation>) {
    let moved = Moved { violations, ..Position { number, sequence: number }.into() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(opened.journal.move_cursor(&ROUTE.into(), moved)).unwrap();
}

fn exceptions(dir: &Path) -> Vec<Exception> {
    let mut lookup = Lookup::open(dir, &Key::from_bytes(&[7; 32]).unwrap()).unwrap();
    lookup.exceptions(Some("contract-violation"), None, 100).unwrap()
}

fn counts(dir: &Path) -> Vec<(u64, String, u64)> {
    exceptions(dir).into_iter().map(|it| (it.number, it.place, it.count)).collect()
}

fn stop(opened: Opened) {
    opened.threads.stop().unwrap();
}

/// PROMISE-1
#[test]
fn a_violation_is_there_once_with_the_cursor_or_neither_is() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    append(&opened, 0..4);
    // Nobody waits for a cursor, so that after a crash right behind it both are there, or neither.
    let found = |number: u64, place: &str| violation(&opened, number, "1.0.0", place);
    move_to(&opened, 3, vec![found(1, "visit.class"), found(3, "visit.class")]);
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    move_to(&opened, 4, vec![found(4, "patient.sex")]);
    append(&opened, 4..5);
    let all = [(1, "visit.class".to_owned(), 2), (4, "patient.sex".to_owned(), 1)];
    assert_eq!(counts(dir.path()), all);
    let shown = exceptions(dir.path()).remove(0);
    let line = format!("{} {} {}", shown.feed, shown.kind, shown.text);
    for part in ["adt ADT^A08 ", "route first, contract 1.0.0", "patient.updated"] {
        assert!(line.contains(part), "{line}");
    }
    stop(opened);

    let opened = open(crashed.path());
    match opened.journal.cursor(ROUTE).number {
        0 => assert_eq!(counts(crashed.path()), []),
        3 => assert_eq!(counts(crashed.path()), all[..1]),
        other => panic!("the cursor is at {other}"),
    }
    stop(opened);
}

#[test]
fn a_violation_by_a_later_contract_is_counted_and_told_by_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    append(&opened, 0..2);
    move_to(&opened, 1, vec![violation(&opened, 1, "1.0.0", "visit.class")]);
    append(&opened, 2..3);
    move_to(&opened, 2, vec![violation(&opened, 2, "1.1.0", "visit.class")]);
    append(&opened, 3..4);
    assert_eq!(counts(dir.path()), [(1, "visit.class".to_owned(), 2)]);
    assert!(exceptions(dir.path())[0].text.contains("contract 1.1.0"));
    stop(opened);
}
