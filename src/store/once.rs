//! Which transitions of visits each route's sources told so far.
//!
//! Promises: what is noted rides in the transaction that moves the route's cursor past it; a row says
//! nothing of a visit to who has not the keys; of a route no more rows are kept than the bound, the
//! newest, and none that is older than duplicates are known.
//! Knows nothing of: which event is told by which; that is `contract::once`.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::reader::Keys;
use super::seal::{Clear, Part, Sealer};
use crate::admit::Digest;
use crate::clock;
use crate::contract::once::Occurrences;

/// Most transitions that are remembered of a route: of a hospital with 2,000 a day those of more than a
/// year, in some 300 MB.
const ROWS_MAX: i64 = 1_000_000;

/// What became of the transitions that a route passed, each as it stands now.
pub type Told = Vec<(Digest, Occurrences)>;

/// What is authenticated with a row: its transition stands in what is sealed.
fn clear(route: &str) -> Clear<'_> {
    Clear { number: 0, at: 0, feed: route, kind: "once", status: "", epoch: 0 }
}

/// Notes a transition as it stands now, in the open transaction; what is beyond the bound goes.
pub(super) fn write(
    connection: &Connection,
    sealer: &mut Sealer,
    route: &str,
    transition: &Digest,
    told: &Occurrences,
) -> Result<(), StoreError> {
    let mut bytes = transition.0.to_vec();
    let corrupt = |_| StoreError::Corrupt { what: WHAT.to_owned() };
    serde_json::to_writer(&mut bytes, told).map_err(corrupt)?;
    let sealed = sealer.seal(&clear(route), Part::Told, &bytes)?;
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(turn) FROM once WHERE route = ?")?
        .query_row([route], |row| row.get(0))?;
    let turn = last.unwrap_or(0).saturating_add(1);
    connection
        .prepare_cached(
            "INSERT INTO once (route, transition, turn, at, told) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (route, transition) DO UPDATE SET turn = ?3, at = ?4, told = ?5",
        )?
        .execute(params![route, transition.0, turn, clock::now_ms(), sealed])?;
    connection
        .prepare_cached("DELETE FROM once WHERE route = ? AND turn <= ?")?
        .execute(params![route, turn.saturating_sub(ROWS_MAX)])?;
    Ok(())
}

/// What a route's sources told of a transition. A row that cannot be opened is as none, so that one
/// fact may leave once more rather than none of its visit at all.
pub(super) fn read(
    connection: &Connection,
    keys: &mut Keys,
    route: &str,
    transition: &Digest,
) -> Result<Occurrences, StoreError> {
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT told FROM once WHERE route = ? AND transition = ?")?
        .query_row(params![route, transition.0], |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed else { return Ok(Occurrences::default()) };
    match open(connection, keys, route, transition, &sealed) {
        Err(error @ (StoreError::Sealed { .. } | StoreError::Corrupt { .. })) => {
            tracing::error!(route, %error, "what was told of a visit cannot be read; it is told anew");
            Ok(Occurrences::default())
        }
        opened => opened,
    }
}

const WHAT: &str = "what was told of a visit";

fn open(
    connection: &Connection,
    keys: &mut Keys,
    route: &str,
    transition: &Digest,
    sealed: &[u8],
) -> Result<Occurrences, StoreError> {
    let corrupt = || StoreError::Corrupt { what: WHAT.to_owned() };
    let opened = keys.open(connection, &clear(route), Part::Told, sealed)?;
    let (of, json) = opened.split_first_chunk::<16>().ok_or_else(corrupt)?;
    if *of != transition.0 {
        return Err(corrupt());
    }
    serde_json::from_slice(json).map_err(|_| corrupt())
}

/// Forgets what all routes but these were told: a route that asks anew counts anew, since what it was
/// told in between is not known.
pub(super) fn keep_only(connection: &Connection, routes: &[Arc<str>]) -> Result<(), StoreError> {
    let mut statement = connection.prepare("SELECT DISTINCT route FROM once")?;
    let known: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for route in known.iter().filter(|known| !routes.iter().any(|route| **route == ***known)) {
        connection.execute("DELETE FROM once WHERE route = ?", [route])?;
    }
    Ok(())
}

/// Takes out some of what was last told of before a time; how many that were.
pub(super) fn trim(connection: &Connection, before: i64, rows: usize) -> Result<usize, StoreError> {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    Ok(connection
        .prepare_cached(
            "DELETE FROM once WHERE (route, transition) IN
             (SELECT route, transition FROM once WHERE at < ? ORDER BY at LIMIT ?)",
        )?
        .execute(params![before, rows])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::harness::Harness;

    fn told(source: &str, event: &str) -> Occurrences {
        let mut told = Occurrences::default();
        told.note(source, event, true);
        told
    }

    fn note(store: &mut Harness, route: &str, transition: u8, told: &Occurrences) {
        let transition = Digest([transition; 16]);
        write(&store.connection, &mut store.sealer, route, &transition, told).unwrap();
    }

    fn known(store: &mut Harness, route: &str, transition: u8) -> Occurrences {
        let transition = Digest([transition; 16]);
        read(&store.connection, &mut store.filing.keys, route, &transition).unwrap()
    }

    #[test]
    fn what_was_told_on_a_route_is_known_there_and_sealed() {
        let mut store = Harness::default();
        let (one, other) = (told("adt", "ZZEVENT"), told("lab", "e2"));
        note(&mut store, "r", 1, &told("adt", "e0"));
        note(&mut store, "r", 1, &one);
        note(&mut store, "q", 1, &other);
        assert_eq!(known(&mut store, "r", 1), one);
        assert_eq!(known(&mut store, "q", 1), other);
        assert_eq!(known(&mut store, "r", 2), Occurrences::default());
        let sealed: Vec<u8> = store
            .connection
            .query_row("SELECT told FROM once WHERE route = 'r'", [], |row| row.get(0))
            .unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("ZZEVENT"));
    }

    #[test]
    fn a_row_that_was_changed_or_stands_for_another_transition_or_route_says_nothing() {
        let mut store = Harness::default();
        note(&mut store, "r", 1, &told("adt", "e1"));
        for set in ["transition = x'02020202020202020202020202020202'", "route = 'q'"] {
            store.connection.execute(&format!("UPDATE once SET {set}"), []).unwrap();
            for (route, transition) in [("r", 1), ("r", 2), ("q", 2)] {
                assert_eq!(known(&mut store, route, transition), Occurrences::default(), "{set}");
            }
        }
    }

    #[test]
    fn the_oldest_go_beyond_the_bound_and_when_they_are_old() {
        let mut store = Harness::default();
        for transition in 1..=4 {
            note(&mut store, "r", transition, &told("adt", "e"));
        }
        // As if a million had come in between.
        store.connection.execute("UPDATE once SET turn = turn + ?", [ROWS_MAX - 3]).unwrap();
        store.connection.execute("UPDATE once SET turn = 2 WHERE turn < ?", [ROWS_MAX]).unwrap();
        note(&mut store, "r", 1, &told("adt", "e"));
        let left = |store: &Harness| -> i64 {
            let count = "SELECT count(*) FROM once";
            store.connection.query_row(count, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(left(&store), 3, "the second has gone; the first stands anew");
        let now = clock::now_ms();
        assert_eq!(trim(&store.connection, now - 60_000, 10).unwrap(), 0);
        assert_eq!(trim(&store.connection, now + 60_000, 1).unwrap(), 1);
        assert_eq!(left(&store), 2);
    }

    #[test]
    fn a_route_that_does_not_ask_any_more_is_forgotten() {
        let mut store = Harness::default();
        note(&mut store, "r", 1, &told("adt", "e1"));
        note(&mut store, "q", 1, &told("adt", "e1"));
        keep_only(&store.connection, &["q".into(), "x".into()]).unwrap();
        assert_eq!(known(&mut store, "r", 1), Occurrences::default());
        assert_eq!(known(&mut store, "q", 1), told("adt", "e1"));
    }
}
