//! Whether the evidence of a folder is what was written.
//!
//! Promises: the first record that is not is named, and what is wrong with it; so is a tail that
//! was cut, an older copy and a chain that was written anew, by any checkpoint kept elsewhere; no
//! secret is needed, and memory is bounded, whatever the length of the chain.
//! Knows nothing of: how it is printed.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use rusqlite::Connection;

use super::super::StoreError;
use super::super::connection::{self, Schema};
use super::archive;
use super::begin::read_chain_id;
use super::lately::{self, Pair, part_of};
use super::marks::Marks;
use super::segment::{self, Segment};
use super::{FILE, PUBLIC_KEY};
use crate::audit::chain::genesis;
use crate::audit::{Record, Says, Verifier, by};
use crate::secret::hex;

/// What is verified, and against what.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The folder with audit.db.
    pub dir: PathBuf,
    /// The daemon's own file of checkpoints, within it.
    pub file: PathBuf,
    /// Checkpoints that were kept elsewhere: where they are from, and the lines.
    pub kept: Option<(String, String)>,
    /// The public key: 64 hexadecimal digits. Without one, the folder's own.
    pub key: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The chain's ID.
    pub chain: String,
    /// Number of the newest record.
    pub last: u64,
    /// Its hash.
    pub hash: String,
    /// Records that were followed in audit.db.
    pub records: u64,
    /// Segments that are noted, and those of them whose files were read.
    pub segments: (usize, usize),
    /// Checkpoints that were compared with the chain.
    pub checkpoints: usize,
    /// What is wrong; the first bad record first.
    pub problems: Vec<String>,
    /// What was not looked at, or proves less than it seems.
    pub notes: Vec<String>,
}

/// Verifies; `progress` hears of how many of how many records.
///
/// # Errors
/// The evidence cannot be read at all.
// PROMISE-9
pub fn verify(wanted: &Wanted, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let key = public_key(wanted, &mut report);
    // Before the records, so that a daemon that goes on is never behind its own checkpoints.
    let mut marks = Marks::read(wanted, key.as_deref(), &mut report);
    let connection = connection::open_for_reading(&wanted.dir.join(FILE), Schema::Audit)?;
    connection.execute_batch("BEGIN")?;
    report.problems.extend(pages(&connection)?);
    report.problems.extend(schema(&connection)?);
    let Some(chain) = read_chain_id(&connection)? else {
        report.problems.push("audit.db does not say which chain it is".to_owned());
        return Ok(report);
    };
    report.chain.clone_from(&chain);
    let segments = segment::rows(&connection)?;
    report.segments.0 = segments.len();
    report.problems.extend(contiguous(&segments, &chain));
    read_segments(wanted, &segments, key.as_deref(), &mut marks, &mut report);
    let start = segments.last().map_or_else(
        || Verifier::after(0, genesis(&chain)),
        |last| Verifier::after(last.last, last.hash_after),
    );
    marks.pass(start.number(), start.hash());
    let lately = match lately::read(&connection) {
        Ok(runs) => runs.iter().flat_map(|run| run.pairs()).copied().collect(),
        Err(error @ StoreError::Corrupt { .. }) => {
            report.problems.push(error.to_string());
            HashSet::new()
        }
        Err(error) => return Err(error),
    };
    let mut walk = Walk { verifier: start, keys: 0, archived: None, lately };
    match walk.records(&connection, &mut marks, progress)? {
        Ok(()) => report.problems.extend(walk.rest(&connection, &segments, start.number())?),
        Err(broken) => report.problems.push(broken),
    }
    report.records = walk.verifier.number() - start.number();
    report.last = walk.verifier.number();
    report.hash = hex(walk.verifier.hash());
    marks.end(&chain, report.last, &mut report);
    Ok(report)
}

/// The key that checkpoints must be signed by.
fn public_key(wanted: &Wanted, report: &mut Report) -> Option<String> {
    if wanted.key.is_some() {
        return wanted.key.clone();
    }
    let text = std::fs::read_to_string(wanted.dir.join(PUBLIC_KEY)).ok();
    let note = match text {
        Some(_) => {
            "the public key is the one beside audit.db; --key with a copy kept elsewhere proves \
             more"
        }
        None => {
            "there is no public key; checkpoints are taken by the key that they name themselves, \
             which proves only that they hold together"
        }
    };
    report.notes.push(note.to_owned());
    text.map(|text| text.trim_end().to_owned())
}

/// What SQLite finds wrong with the file itself.
fn pages(connection: &Connection) -> Result<Option<String>, StoreError> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then(|| format!("audit.db is damaged: {found}")))
}

type Item = (String, String);

/// Whether tables and triggers are those of this binary, and made as it makes them.
fn schema(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let items = |connection: &Connection| -> Result<BTreeMap<Item, String>, StoreError> {
        let mut statement = connection.prepare(
            "SELECT type, name, quote(type) || quote(name) || quote(tbl_name) || quote(sql)
             FROM sqlite_master
             UNION ALL SELECT 'migration', quote(version), quote(name) || quote(checksum)
             FROM refinery_schema_history
             UNION ALL SELECT 'entry', quote(name), typeof(value) FROM meta",
        )?;
        let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    static WANTED: OnceLock<BTreeMap<Item, String>> = OnceLock::new();
    let wanted = match WANTED.get() {
        Some(wanted) => wanted,
        None => {
            let mut fresh = Connection::open_in_memory()?;
            connection::migrate(&mut fresh, Schema::Audit)?;
            fresh.execute("INSERT INTO meta (name, value) VALUES ('chain', '')", [])?;
            let wanted = items(&fresh)?;
            WANTED.get_or_init(|| wanted)
        }
    };
    let mut found = items(connection)?;
    let mut problems = Vec::new();
    for ((kind, name), sql) in wanted {
        match found.remove(&(kind.clone(), name.clone())) {
            None => problems.push(format!("the {kind} {name} of audit.db is gone")),
            Some(other) if other != *sql => {
                problems.push(format!("the {kind} {name} of audit.db is another"));
            }
            Some(_) => {}
        }
    }
    let more =
        found.into_keys().map(|(kind, name)| format!("the {kind} {name} is not of audit.db"));
    problems.extend(more);
    Ok(problems)
}

/// Whether each segment follows the one before it.
fn contiguous(segments: &[Segment], chain: &str) -> Option<String> {
    let mut before = Verifier::after(0, genesis(chain));
    for segment in segments {
        let (number, hash) = (segment.first, segment.hash_before);
        if number != before.number() + 1 || hash != *before.hash() || segment.last < number {
            return Some(format!("the segment that begins with record {number} does not follow"));
        }
        before = Verifier::after(segment.last, segment.hash_after);
    }
    None
}

/// Reads the files of segments that are at hand.
fn read_segments(
    wanted: &Wanted,
    segments: &[Segment],
    key: Option<&str>,
    marks: &mut Marks,
    report: &mut Report,
) {
    let chain = report.chain.clone();
    let mut away = 0;
    for one in segments {
        let path = wanted.dir.join(segment::FOLDER).join(one.name());
        if !path.exists() {
            away += 1;
            continue;
        }
        let read = segment::read_through(&path, &chain, one, key, |record, hash| {
            marks.pass(record.number, hash);
        });
        report.segments.1 += 1;
        report.problems.extend(read.err());
    }
    if away > 0 {
        report.notes.push(format!(
            "{away} of {} segments are not in {}; what they hold was not looked at",
            segments.len(),
            segment::FOLDER
        ));
    }
}

/// How far the chain was followed.
struct Walk {
    verifier: Verifier,
    /// How many things records are found by.
    keys: u64,
    /// The newest act that tells of a segment.
    archived: Option<Record>,
    /// What is not in the index yet.
    lately: HashSet<Pair>,
}

impl Walk {
    /// Follows every record that is not archived. The first that is wrong, if any.
    fn records(
        &mut self,
        connection: &Connection,
        marks: &mut Marks,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Result<(), String>, StoreError> {
        let from = self.verifier.number();
        let newest: Option<i64> =
            connection.query_row("SELECT max(number) FROM records", [], |row| row.get(0))?;
        let newest = newest.map_or(0, i64::cast_unsigned);
        let mut statement = connection
            .prepare("SELECT number, hash, bytes FROM records WHERE number > ? ORDER BY number")?;
        let mut rows = statement.query([from.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let number = row.get::<_, i64>(0)?.cast_unsigned();
            let (Ok(hash), Ok(bytes)) = (row.get_ref(1)?.as_blob(), row.get_ref(2)?.as_blob())
            else {
                return Ok(Err(format!("record {number} is not as a record is written")));
            };
            let record = match self.verifier.take(number, hash, bytes) {
                Ok(record) => record,
                Err(broken) => return Ok(Err(broken.to_string())),
            };
            marks.pass(number, self.verifier.hash());
            if let Some(lost) = self.find(connection, &record)? {
                return Ok(Err(lost));
            }
            if matches!(&record.says, Says::Act(act) if act.act == archive::ACT) {
                self.archived = Some(record);
            }
            if number.is_multiple_of(PROGRESS_RECORDS) {
                progress(number - from, newest.saturating_sub(from));
            }
        }
        Ok(Ok(()))
    }

    /// Whether a record is found by what it should be.
    fn find(
        &mut self,
        connection: &Connection,
        record: &Record,
    ) -> Result<Option<String>, StoreError> {
        let mut statement = connection
            .prepare_cached("SELECT 1 FROM found WHERE part = ? AND key = ? AND number = ?")?;
        for key in by::keys(&record.says) {
            self.keys += 1;
            let pair = (key, record.number.cast_signed());
            if !self.lately.contains(&pair)
                && !statement.exists([part_of(pair.1), pair.0, pair.1])?
            {
                let number = record.number;
                return Ok(Some(format!("record {number} is not found by what it says")));
            }
        }
        Ok(None)
    }

    /// What hangs on the chain: the index, the segments, what was disclosed before.
    fn rest(
        &self,
        connection: &Connection,
        segments: &[Segment],
        from: u64,
    ) -> Result<Vec<String>, StoreError> {
        let mut problems = Vec::new();
        let found: i64 = connection.query_row(
            "SELECT count(*) FROM found WHERE number > ? OR number < 1",
            [from.cast_signed()],
            |row| row.get(0),
        )?;
        let is_here = |(_, number): &&Pair| *number > from.cast_signed() || *number < 1;
        let lately = self.lately.iter().filter(is_here).count() as u64;
        if found.cast_unsigned() + lately != self.keys {
            problems.push("the index leads to records that do not say so".to_owned());
        }
        let says = |name: &str| match &self.archived {
            Some(Record { says: Says::Act(act), .. }) => act.with.get(name).cloned(),
            _ => None,
        };
        let none = segments.is_empty();
        let wanted = |name: &str, empty: String| if none { Some(empty) } else { says(name) };
        if wanted("segments", segment::hash_of(&[])) != Some(segment::hash_of(segments)) {
            problems.push("the segments are not those that the chain tells of".to_owned());
        }
        let disclosed = archive::disclosed_hash(connection, &BTreeMap::new())?;
        let empty = archive::no_disclosed_hash();
        if wanted("disclosed", empty) != Some(disclosed) {
            problems.push(
                "what was disclosed before is not what the chain tells of (table disclosed)"
                    .to_owned(),
            );
        }
        Ok(problems)
    }
}

/// After how many records the progress is told.
const PROGRESS_RECORDS: u64 = 4_096;
