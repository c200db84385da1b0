//! A connection to journal.db, vault.db or audit.db as durability wants it.
//!
//! Promises: write-ahead log and a full fsync at each commit, both read back after they were
//! set; the schema is this binary's or the store is refused.
//! Knows nothing of: what is in the tables.
//!
//! `synchronous = NORMAL` would be faster: it fsyncs at checkpoints only. A power cut then lost
//! 200 of 200 acknowledged commits with the integrity check still clean; at FULL, none.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::StoreError;

mod journal {
    refinery::embed_migrations!("src/store/migrations");
}

mod vault {
    refinery::embed_migrations!("src/store/vault/migrations");
}

mod audit {
    refinery::embed_migrations!("src/store/audit/migrations");
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// journal.db.
    Journal,
    /// vault.db.
    Vault,
    /// audit.db.
    Audit,
}

impl Schema {
    fn runner(self) -> refinery::Runner {
        match self {
            Self::Journal => journal::migrations::runner(),
            Self::Vault => vault::migrations::runner(),
            Self::Audit => audit::migrations::runner(),
        }
    }

    /// The newest version that this binary knows.
    fn newest(self) -> i64 {
        static JOURNAL: OnceLock<i64> = OnceLock::new();
        static VAULT: OnceLock<i64> = OnceLock::new();
        static AUDIT: OnceLock<i64> = OnceLock::new();
        let known = match self {
            Self::Journal => &JOURNAL,
            Self::Vault => &VAULT,
            Self::Audit => &AUDIT,
        };
        // Once: refinery reads the names of its migrations anew each time.
        *known.get_or_init(|| {
            let runner = self.runner();
            let versions = runner.get_migrations().iter();
            versions.map(|migration| i64::from(migration.version())).max().unwrap_or(0)
        })
    }

    /// Size of a page. A message with its events is about 4 KiB sealed, so that with SQLite's
    /// 4 KiB most would spill into a chain of overflow pages. Of audit records, of about 1 KiB, three
    /// would stand in 4 KiB, and fourteen stand in 16; moved into the index are so many at once that
    /// each page of its part is written anyway.
    const fn page_bytes(self) -> u32 {
        match self {
            Self::Journal => 8192,
            Self::Vault => 4096,
            Self::Audit => 16_384,
        }
    }
}

/// Memory for pages, in KiB, as SQLite takes it. What recognizes messages lies by digest, so that
/// each message touches another page of it; this holds the inner pages of a store of 90 days, which
/// SQLite's 2 MiB would not.
const CACHE_KIB: &str = "-32768";
/// How long a reader waits for a lock that only start and recovery take.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the store for writing, makes or migrates it.
///
/// # Errors
/// It cannot be opened, is newer than this binary, or a pragma did not take.
pub fn open_for_writing(path: &Path, schema: Schema) -> Result<Connection, StoreError> {
    make_private(path)?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(&connection)?;
    connection.pragma_update(None, "page_size", schema.page_bytes())?;
    // PROMISE-1: what is answered as durable has been fsynced.
    set(&connection, "journal_mode", "wal")?;
    set_number(&connection, "synchronous", "2")?;
    // Checkpoints are made by a thread of their own, so that no sender waits for one.
    set_number(&connection, "wal_autocheckpoint", "0")?;
    set_number(&connection, "cell_size_check", "1")?;
    set_number(&connection, "temp_store", "2")?;
    set_number(&connection, "cache_size", CACHE_KIB)?;
    refuse_newer(&connection, path, schema)?;
    // In one transaction, so that one that is killed in the middle has not begun.
    migrate(&mut connection, schema)?;
    Ok(connection)
}

/// Makes or brings up to date what a store is made of.
///
/// # Errors
/// A migration failed.
pub fn migrate(connection: &mut Connection, schema: Schema) -> Result<(), StoreError> {
    let migrated = schema.runner().set_grouped(true).run(connection);
    migrated.map(drop).map_err(|error| StoreError::Migration(error.to_string()))
}

/// Makes the file readable by its owner alone; SQLite gives its log the same mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let fail = |source| StoreError::Folder { path: path.display().to_string(), source };
    made.map(drop).map_err(fail)
}

/// Opens the store for reading.
///
/// # Errors
/// It cannot be opened, or is newer than this binary.
pub fn open_for_reading(path: &Path, schema: Schema) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(&connection)?;
    refuse_newer(&connection, path, schema)?;
    Ok(connection)
}

/// How a store lay there when it was opened quietly: the file with its length and time of change,
/// where nobody had it open.
#[derive(Debug)]
pub struct Rest(Option<(PathBuf, Seen)>);

/// Length and time of change of a file that has no log beside it.
type Seen = (u64, SystemTime);

impl Rest {
    /// Whether what was read so far is what the store holds. One that lay still is read without
    /// locks, so that a daemon that was started since may have torn it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|(path, seen)| at_rest(path).as_ref() == Some(seen))
    }
}

/// Opens the store for reading so that nothing is made beside it. Where no log lies there, nobody
/// has the store open, and SQLite would make an empty one only to read it.
///
/// # Errors
/// As for [`open_for_reading`].
pub fn open_quietly(path: &Path, schema: Schema) -> Result<(Connection, Rest), StoreError> {
    let (Some(seen), Some(name)) = (at_rest(path), path.to_str()) else {
        let connection = open_for_reading(path, schema)?;
        return Ok((connection, Rest(None)));
    };
    let name = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)?;
    keep_plans(&connection)?;
    refuse_newer(&connection, path, schema)?;
    Ok((connection, Rest(Some((path.to_path_buf(), seen)))))
}

/// How a store looks that nobody has open; nothing where somebody may.
fn at_rest(path: &Path) -> Option<Seen> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).try_exists().unwrap_or(true) {
        return None;
    }
    let found = std::fs::metadata(path).ok()?;
    Some((found.len(), found.modified().ok()?))
}

/// Opens the store for checkpoints.
///
/// # Errors
/// It cannot be opened.
pub fn open_for_checkpoints(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    set_number(&connection, "synchronous", "2")?;
    set_number(&connection, "wal_autocheckpoint", "0")?;
    Ok(connection)
}

/// Copies what it can of the log into the store, without waiting for anybody.
///
/// # Errors
/// An fsync or a write failed.
pub fn checkpoint(connection: &Connection) -> Result<(), StoreError> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

/// Copies the whole log into the store, and empties it where nobody reads it. What cannot be
/// copied now, such as on a full disk, stays in the log.
///
/// # Errors
/// An fsync or a write failed.
pub fn checkpoint_whole(connection: &Connection) -> Result<(), StoreError> {
    let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    match copied.map_err(StoreError::from) {
        Err(error) if error.passes() => Ok(()),
        copied => copied,
    }
}

/// Without this SQLite looks at the value bound to a LIMIT to plan by it, and so compiles the
/// statement anew for each value that is bound: twice in each transaction, to no use.
fn keep_plans(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn set(
    connection: &Connection,
    pragma: &'static str,
    wanted: &'static str,
) -> Result<(), StoreError> {
    connection.pragma_update(None, pragma, wanted)?;
    let found: String = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
    read_back(pragma, wanted, found)
}

fn set_number(
    connection: &Connection,
    pragma: &'static str,
    wanted: &'static str,
) -> Result<(), StoreError> {
    connection.pragma_update(None, pragma, wanted)?;
    let found: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
    read_back(pragma, wanted, found.to_string())
}

fn read_back(pragma: &'static str, wanted: &'static str, found: String) -> Result<(), StoreError> {
    if found == wanted { Ok(()) } else { Err(StoreError::Pragma { pragma, wanted, found }) }
}

fn refuse_newer(connection: &Connection, path: &Path, schema: Schema) -> Result<(), StoreError> {
    let known = schema.newest();
    let has_history: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'refinery_schema_history')",
        [],
        |row| row.get(0),
    )?;
    if !has_history {
        return Ok(());
    }
    let found: i64 = connection.query_row(
        "SELECT coalesce(max(version), 0) FROM refinery_schema_history",
        [],
        |row| row.get(0),
    )?;
    if found > known {
        return Err(StoreError::Newer { path: path.display().to_string(), found, known });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// PROMISE-1
    #[test]
    fn durability_is_read_back_after_it_was_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let connection = open_for_writing(&path, Schema::Journal).unwrap();
        let mode: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let sync: i64 =
            connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), sync), ("wal", 2));
        for file in ["journal.db", "journal.db-wal"] {
            let found = std::fs::metadata(dir.path().join(file)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, 0o600, "{file}");
        }
        let refused = read_back("synchronous", "2", "1".to_owned()).unwrap_err().to_string();
        assert_eq!(refused, "synchronous is 1 after it was set to 2");
    }

    #[test]
    fn a_store_at_rest_is_read_without_a_file_more_and_tells_when_it_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a?b%20#.db");
        drop(open_for_writing(&path, Schema::Journal).unwrap());
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files(), 1);
        let (quiet, rest) = open_quietly(&path, Schema::Journal).unwrap();
        let count = "SELECT count(*) FROM messages";
        let read: i64 = quiet.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!((read, files(), rest.holds()), (0, 1, true));
        assert!(quiet.execute("DELETE FROM messages", []).is_err());
        let writer = open_for_writing(&path, Schema::Journal).unwrap();
        writer.execute("INSERT INTO meta VALUES ('a', 'b')", []).unwrap();
        assert!(!rest.holds());
        let (beside, rest) = open_quietly(&path, Schema::Journal).unwrap();
        writer.execute("INSERT INTO meta VALUES ('c', 'd')", []).unwrap();
        let count = "SELECT count(*) FROM meta";
        let read: i64 = beside.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!((read, rest.holds()), (2, true));
    }

    #[test]
    fn a_store_newer_than_the_binary_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let connection = open_for_writing(&path, Schema::Journal).unwrap();
        connection
            .execute(
                "INSERT INTO refinery_schema_history VALUES (99, 'later', '2026-01-01T00:00:00Z', '1')",
                [],
            )
            .unwrap();
        drop(connection);
        for error in [
            open_for_writing(&path, Schema::Journal).unwrap_err(),
            open_for_reading(&path, Schema::Journal).unwrap_err(),
        ] {
            let error = error.to_string();
            let version =
                |name: &str| name.split(['V', '_']).nth(1).unwrap().parse::<u32>().unwrap();
            let names = std::fs::read_dir("src/store/migrations").unwrap();
            let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
            let newest = names.map(|name| version(&name)).max().unwrap();
            assert!(error.contains("has schema 99"), "{error}");
            assert!(error.contains(&format!("up to {newest};")), "{error}");
        }
    }
}
