//! The evidence against whoever would edit, cut, set back or rewrite it, and against crashes.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::Value;
use tidegate::audit::chain::{genesis, next};
use tidegate::audit::{Hash, Outcome};

use super::support::eventually;
use super::support::evidence::{Evidence, act, config, decision, problems, verified};

/// A year, which nothing here becomes old in.
const LONG: Duration = Duration::from_secs(366 * 86_400);

/// Evidence of decisions and acts, part of it archived, stopped in order.
fn sample(dir: &Path) {
    let retention = Duration::from_millis(400);
    let evidence = Evidence::open(dir, config(retention));
    evidence.append(vec![act("start")]);
    for nth in 1..=5 {
        evidence.append(vec![
            decision(nth, nth % 2, "research", Outcome::Release),
            decision(nth, nth % 2, "quality", Outcome::Suppress),
        ]);
    }
    std::thread::sleep(2 * retention);
    for nth in 6..=8 {
        evidence.append(vec![decision(nth, 3, "research", Outcome::Release)]);
    }
    eventually("what is old is archived", || {
        evidence.audit.tick();
        archived(dir) > 0 && first_record(dir) > 1
    });
    evidence.append(vec![act("stop")]);
    evidence.stop();
    assert_eq!(problems(dir, None), "");
}

fn one(dir: &Path, sql: &str) -> i64 {
    Connection::open(dir.join("audit.db")).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn archived(dir: &Path) -> i64 {
    one(dir, "SELECT coalesce(max(last), 0) FROM segments")
}

fn first_record(dir: &Path) -> i64 {
    one(dir, "SELECT min(number) FROM records")
}

/// The one file of a folder's archive, or more.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("audit-archive")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Everything that is in a store: every row of every table, and its schema. Nothing where it
/// cannot be read.
fn content(path: &Path) -> Option<BTreeMap<String, Vec<Vec<Value>>>> {
    let store =
        Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let rows = |sql: &str| -> Option<Vec<Vec<Value>>> {
        let mut statement = store.prepare(sql).ok()?;
        let columns = statement.column_count();
        let rows =
            statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).ok()?;
        rows.collect::<Result<_, _>>().ok()
    };
    let mut all = BTreeMap::new();
    all.insert("schema".to_owned(), rows("SELECT type, name, tbl_name, sql FROM sqlite_master")?);
    // When the schema was made is nobody's evidence.
    let history = "SELECT version, name, checksum FROM refinery_schema_history";
    all.insert("history".to_owned(), rows(history)?);
    for table in ["records", "found", "segments", "disclosed", "meta"] {
        all.insert(table.to_owned(), rows(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?);
    }
    Some(all)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target)
        } else {
            std::fs::copy(&path, &target).map(drop).unwrap()
        }
    }
}

/// Where in a file the bytes of every record and every hash stand, as long as they are whole.
fn places(path: &Path, bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let store = Connection::open(path).unwrap();
    let mut statement = store.prepare("SELECT hash, bytes FROM records").unwrap();
    let rows = statement
        .query_map([], |row| Ok([row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?]))
        .unwrap();
    let parts: Vec<Vec<u8>> = rows.flat_map(|row| row.unwrap()).collect();
    let place = |part: &Vec<u8>| {
        let at = bytes.windows(part.len()).position(|window| window == part);
        at.map(|at| at..at + part.len())
    };
    let found: Vec<_> = parts.iter().filter_map(place).collect();
    assert_eq!(found.len(), parts.len(), "every record lies in one piece");
    found
}

/// Pieces of a file to change: each byte, and where more than 32 are 0, all of those together, which
/// are mostly what a page has free; where that is caught, each of them again.
fn pieces(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
        let length = if zeros > 32 { zeros } else { 1 };
        pieces.push(at..at + length);
        at += length;
    }
    pieces
}

/// Every byte of audit.db, one bit of it changed: `verify` says so, or everything that can be
/// read is what it was. Of records and hashes, every byte is caught.
///
/// PROMISE-9
#[test]
fn fault_88_every_byte_of_audit_db_that_is_changed_is_caught_or_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().join("audit.db");
    // So that each of the many copies opens without making a log.
    Connection::open(&path).unwrap().pragma_update(None, "journal_mode", "delete").unwrap();
    let whole = std::fs::read(&path).unwrap();
    let held = content(&path).unwrap();
    let records = places(&path, &whole);
    let (caught, unchanged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let try_half = |half: usize| {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let path = copy.path().join("audit.db");
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let mut pieces: Vec<_> = pieces(&whole).into_iter().skip(half).step_by(2).collect();
        while let Some(piece) = pieces.pop() {
            let changed: Vec<u8> = piece.clone().map(|at| whole[at] ^ 1 << (at % 8)).collect();
            file.write_all_at(&changed, piece.start as u64).unwrap();
            let is_caught = !problems(copy.path(), None).is_empty();
            if is_caught && piece.len() > 1 {
                pieces.extend(piece.clone().map(|at| at..at + 1));
            } else if is_caught {
                caught.fetch_add(1, Ordering::Relaxed);
            } else {
                let of_record = |at| records.iter().any(|place| place.contains(&at));
                assert!(!piece.clone().any(of_record), "{piece:?} is of a record");
                assert!(content(&path).as_ref() == Some(&held), "{piece:?} was not caught");
                unchanged.fetch_add(piece.len(), Ordering::Relaxed);
            }
            file.write_all_at(&whole[piece.clone()], piece.start as u64).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| try_half(0));
        try_half(1);
    });
    let (caught, unchanged) = (caught.into_inner(), unchanged.into_inner());
    let of_records: usize = records.iter().map(ExactSizeIterator::len).sum();
    eprintln!("{caught} caught, {of_records} of them of records; {unchanged} changed nothing");
    assert_eq!(caught + unchanged, whole.len());
    assert!(caught > of_records && unchanged > 0 && of_records > 1_000);
}

/// PROMISE-9
#[test]
fn fault_88_every_byte_of_an_archived_segment_and_of_a_checkpoint_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let mut files = segments(dir.path());
    files.push(dir.path().join("checkpoints.ndjson"));
    let mut bytes = 0;
    for path in &files {
        let whole = std::fs::read(path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 7);
            std::fs::write(path, &changed).unwrap();
            let said = problems(dir.path(), None);
            // A line end at the end of the checkpoints is what a crash would have left out.
            let torn = at + 1 == whole.len() && path.ends_with("checkpoints.ndjson");
            assert!(torn || !said.is_empty(), "byte {at} of {}", path.display());
        }
        bytes += whole.len();
        std::fs::write(path, &whole).unwrap();
    }
    eprintln!("{bytes} bytes of {} files, each caught", files.len());
    assert_eq!(problems(dir.path(), None), "");
}

/// Lets somebody write the store that its triggers would stop.
fn without_triggers(dir: &Path) -> Connection {
    let store = Connection::open(dir.join("audit.db")).unwrap();
    let names: Vec<(String, String)> = {
        let mut statement =
            store.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let sql: Vec<String> = names.iter().map(|(_, sql)| sql.clone()).collect();
    for (name, _) in names {
        store.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    store.execute_batch("CREATE TABLE kept (sql TEXT)").unwrap();
    for sql in sql {
        store.execute("INSERT INTO kept VALUES (?)", [sql]).unwrap();
    }
    store
}

/// Puts the triggers back, as whoever covers his tracks does.
fn with_triggers(store: &Connection) {
    let mut statement = store.prepare("SELECT sql FROM kept").unwrap();
    let sql: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(statement);
    store.execute_batch(&sql.join(";")).unwrap();
    store.execute_batch("DROP TABLE kept").unwrap();
}

/// PROMISE-9
#[test]
fn fault_88_an_edit_by_sql_is_named_by_its_record_and_a_dropped_trigger_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let evidence = Evidence::open(dir.path(), config(LONG));
    for nth in 1..=9 {
        evidence.append(vec![decision(nth, nth % 2, "research", Outcome::Release)]);
    }
    evidence.stop();
    let whole = tempfile::tempdir().unwrap();
    copy_folder(dir.path(), &whole.path().join("state"));
    for (statement, wanted) in [
        (
            "UPDATE records SET bytes = replace(CAST(bytes AS TEXT), 'CLINTRCH', 'TREAT') WHERE number = 4",
            "record 4 ",
        ),
        ("UPDATE records SET hash = zeroblob(32) WHERE number = 5", "record 5 was changed"),
        ("DELETE FROM records WHERE number = 6", "record 6 is missing"),
        ("DELETE FROM found WHERE number = 7", "record 7 is not found by what it says"),
        ("INSERT INTO found VALUES (0, 1, 2)", "the index leads to records that do not say so"),
        (
            "INSERT INTO records SELECT number + 1, hash, bytes FROM records WHERE number = 9",
            "record 10 was changed",
        ),
        ("INSERT INTO disclosed VALUES (x'00', 'research', 1, x'00')", "table disclosed"),
        ("UPDATE meta SET value = 'other'", "record 1 was changed"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&whole.path().join("state"), copy.path());
        let store = without_triggers(copy.path());
        store.execute(statement, []).unwrap();
        with_triggers(&store);
        drop(store);
        let said = problems(copy.path(), None);
        assert!(said.starts_with(wanted) || said.contains(wanted), "{statement}: {said:?}");
    }
    let store = Connection::open(dir.path().join("audit.db")).unwrap();
    store.execute_batch("DROP TRIGGER records_are_not_changed").unwrap();
    drop(store);
    let said = problems(dir.path(), None);
    assert_eq!(said, "the trigger records_are_not_changed of audit.db is gone");
}

/// Somebody who has the whole folder, its keys included, and who knows how it works. Only what
/// is kept elsewhere tells.
///
/// PROMISE-9
#[test]
fn fault_89_a_cut_tail_an_older_copy_and_a_chain_written_anew_are_caught_by_a_kept_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let older = dir.path().join("older");
    let evidence = Evidence::open(&state, config(LONG));
    for nth in 1..=6 {
        evidence.append(vec![decision(nth, nth % 2, "research", Outcome::Release)]);
    }
    evidence.stop();
    copy_folder(&state, &older);
    let evidence = Evidence::open(&state, config(LONG));
    evidence.append(vec![act("start"), act("stop"), act("start"), act("stop")]);
    evidence.stop();
    let kept = std::fs::read_to_string(state.join("checkpoints.ndjson")).unwrap();
    let newest = kept.lines().last().unwrap();
    assert_eq!(problems(&state, Some(newest)), "");
    assert_eq!(verified(&state, Some(&kept)).unwrap().last, 10);

    // The whole folder as it was: nothing in it is wrong.
    assert_eq!(problems(&older, None), "");
    let said = problems(&older, Some(newest));
    assert!(said.starts_with("the chain ends at 6; the checkpoint of "), "{said}");
    assert!(said.ends_with(" (kept:1) says 10: it was cut, or is an older copy"), "{said}");

    // The tail cut, and the file of checkpoints with it.
    let cut = dir.path().join("cut");
    copy_folder(&state, &cut);
    let store = without_triggers(&cut);
    store
        .execute_batch("DELETE FROM records WHERE number > 8; DELETE FROM found WHERE number > 8")
        .unwrap();
    with_triggers(&store);
    drop(store);
    std::fs::write(cut.join("checkpoints.ndjson"), "").unwrap();
    assert_eq!(problems(&cut, None), "");
    assert!(problems(&cut, Some(newest)).starts_with("the chain ends at 8; "));

    // A record edited, and every hash from there on computed anew.
    let anew = dir.path().join("anew");
    copy_folder(&state, &anew);
    rechain(&anew, 3);
    std::fs::remove_file(anew.join("checkpoints.ndjson")).unwrap();
    assert_eq!(problems(&anew, None), "");
    let said = problems(&anew, Some(newest));
    assert!(said.contains("says another hash of record 10"), "{said}");
    // With all that were kept, where it begins is told, too.
    let said = problems(&anew, Some(&kept));
    assert!(said.contains("from a record of 1 to 4 on"), "{said}");

    // All of it gone, and begun anew.
    let begun = dir.path().join("begun");
    let evidence = Evidence::open(&begun, config(LONG));
    evidence.append(vec![act("start"); 12]);
    evidence.stop();
    assert!(problems(&begun, Some(newest)).contains("is signed by another key"));
}

/// Edits a record, and makes the chain hold together again.
fn rechain(dir: &Path, edited: i64) {
    let store = without_triggers(dir);
    let chain: String = store
        .query_row("SELECT value FROM meta WHERE name = 'chain'", [], |row| row.get(0))
        .unwrap();
    let rows: Vec<(i64, Vec<u8>)> = {
        let mut statement =
            store.prepare("SELECT number, bytes FROM records ORDER BY number").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut hash: Hash = genesis(&chain);
    for (number, mut bytes) in rows {
        if number == edited {
            let text = String::from_utf8(bytes).unwrap();
            bytes = text.replace("CLINTRCH", "TREAT").into_bytes();
        }
        hash = next(&hash, &bytes);
        store
            .execute(
                "UPDATE records SET hash = ?2, bytes = ?3 WHERE number = ?1",
                rusqlite::params![number, hash, bytes],
            )
            .unwrap();
    }
    with_triggers(&store);
}

/// What is archived is verified with its files at hand, and said to be away without them; what a
/// notice has to follow is known all the same.
///
/// PROMISE-9
#[test]
fn what_is_archived_stays_verifiable_and_what_was_disclosed_stays_known() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let report = verified(dir.path(), None).unwrap();
    assert_eq!(report.segments.0, report.segments.1);
    assert!(report.segments.0 > 0 && report.last > 12, "{report:?}");
    let kept = std::fs::read_to_string(dir.path().join("checkpoints.ndjson")).unwrap();
    assert_eq!(problems(dir.path(), Some(&kept)), "");
    let evidence = Evidence::open(dir.path(), config(LONG));
    let last = evidence.audit.last_of(&format!("{:032x}", 1), "research").unwrap().unwrap();
    assert_eq!(last.number, 10, "the newest release of that subject, though it is archived");
    assert!(evidence.audit.last_of(&format!("{:032x}", 1), "quality").unwrap().is_none());
    evidence.stop();
    for path in segments(dir.path()) {
        std::fs::remove_file(path).unwrap();
    }
    let report = verified(dir.path(), None).unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert!(report.notes.iter().any(|note| note.contains("segments are not in")), "{report:?}");
}
