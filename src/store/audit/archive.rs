//! Moving what is old out of audit.db, into segments.
//!
//! Promises: a record leaves audit.db only when its segment is durable, noted and in the chain
//! itself; killed at any step, the next start goes on; what a notice has to follow stays.
//! Knows nothing of: who reads segments.
//!
//! The helper thread writes the file, since that takes seconds; the writer notes it, in one
//! transaction with the act that tells of it, and deletes in steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::StoreError;
use super::lately::part_of;
use super::lines::folder;
use super::read::{decision, parse};
use super::segment::{self, Segment, Writing};
use super::writer::Seal;
use crate::audit::chain::genesis;
use crate::audit::{Act, Draft, Fields, Outcome, Record, Says, Verifier};
use crate::clock;
use crate::secret::{hex, unhex};

/// Most records of a segment: about 60 MB, a second or two of writing.
const SEGMENT_RECORDS_MAX: u64 = 50_000;
/// How far behind a release the record that stands instead of it comes at most, in records. It is
/// written as soon as the route looks again, with what all other routes write meanwhile.
const INSTEAD_RECORDS_MAX: u64 = 10_000;
/// Most records that are deleted at a time, so that nobody waits for that.
const STEP_RECORDS_MAX: u32 = 1_000;
/// The act that tells of a segment.
pub(super) const ACT: &str = "archive";

/// By whom and on which route something left, and the newest record of it.
pub(super) type Disclosed = BTreeMap<(Vec<u8>, String), (u64, Vec<u8>)>;

/// A segment that is written and not noted yet.
#[derive(Debug)]
pub(super) struct Archived {
    segment: Segment,
    disclosed: Disclosed,
    act: Act,
}

/// Whether there is something to move: the oldest record is older than `retention`, and by so
/// much that segments do not become tiny.
pub(super) fn is_due(connection: &Connection, retention: Duration) -> Result<bool, StoreError> {
    let oldest: Option<(i64, Vec<u8>)> = connection
        .prepare_cached(
            "SELECT number, bytes FROM records
             WHERE number > coalesce((SELECT last FROM segments ORDER BY first DESC LIMIT 1), 0)
             ORDER BY number LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((number, bytes)) = oldest else { return Ok(false) };
    let limit = before(retention + (retention / 32).min(Duration::from_secs(86_400)));
    // What cannot be read is told by who writes the segment.
    Ok(parse(number.cast_unsigned(), &bytes).map_or(true, |oldest| oldest.at < limit))
}

fn before(age: Duration) -> Timestamp {
    clock::now().saturating_sub(age).unwrap_or(Timestamp::MIN)
}

/// Writes the next segment of what is old; nothing where nothing is. The newest record stays.
pub(super) fn write_segment(
    connection: &Connection,
    state_dir: &Path,
    seal: &Seal,
    retention: Duration,
) -> Result<Option<Archived>, StoreError> {
    let mut segments = segment::rows(connection)?;
    let behind = segments.last().map_or_else(
        || Verifier::after(0, genesis(&seal.chain)),
        |last| Verifier::after(last.last, last.hash_after),
    );
    let old = before(retention);
    let fail = |source| folder(&state_dir.join(segment::FOLDER), source);
    let replaced = replaced(connection, behind.number())?;
    let mut verifier = behind;
    let mut disclosed = Disclosed::new();
    let mut writing = Writing::begin(state_dir, &seal.chain, behind).map_err(fail)?;
    let mut statement = connection.prepare(
        "SELECT number, hash, bytes FROM records
         WHERE number > ?1 AND number < (SELECT max(number) FROM records)
         ORDER BY number LIMIT ?2",
    )?;
    let mut rows = statement
        .query(params![behind.number().cast_signed(), SEGMENT_RECORDS_MAX.cast_signed()])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        let (hash, bytes): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        // What is broken stays where it is, to be looked at.
        let record = verifier.take(number, &hash, &bytes).map_err(|broken| {
            StoreError::Corrupt { what: format!("the audit cannot be archived: {broken}; it") }
        })?;
        if record.at >= old {
            break;
        }
        writing.add(number, &bytes).map_err(fail)?;
        if !replaced.contains(&number) {
            note(&mut disclosed, record);
        }
    }
    if writing.at().number() == behind.number() {
        return Ok(None);
    }
    let end = seal.sign(writing.at());
    let segment = writing.end(&end).map_err(fail)?;
    segments.push(segment);
    let with = [
        ("file", segment.name()),
        ("first", segment.first.to_string()),
        ("last", segment.last.to_string()),
        ("hashBefore", hex(&segment.hash_before)),
        ("hashAfter", hex(&segment.hash_after)),
        ("sha256", hex(&segment.sha256)),
        ("segments", segment::hash_of(&segments)),
        ("disclosed", disclosed_hash(connection, &disclosed)?),
    ];
    Ok(Some(Archived { segment, disclosed, act: Act::new(ACT, "tidegate", with) }))
}

/// Releases that were never handed over: a later record stands instead of each.
fn replaced(connection: &Connection, above: u64) -> Result<BTreeSet<u64>, StoreError> {
    let mut statement = connection
        .prepare("SELECT number, bytes FROM records WHERE number > ? ORDER BY number LIMIT ?")?;
    let limit = (SEGMENT_RECORDS_MAX + INSTEAD_RECORDS_MAX).cast_signed();
    let mut rows = statement.query([above.cast_signed(), limit])?;
    let mut replaced = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(1)?.as_blob().unwrap_or_default();
        let record = parse(row.get::<_, i64>(0)?.cast_unsigned(), bytes);
        replaced.extend(record.ok().and_then(|record| decision(&record)?.instead));
    }
    Ok(replaced)
}

/// Remembers a record by which something left.
fn note(disclosed: &mut Disclosed, mut record: Record) {
    let Some(one) = decision(&record) else { return };
    if matches!(one.outcome, Outcome::Suppress | Outcome::Told) {
        return;
    }
    let (Some(subject), route) = (unhex(&one.subject), one.under.route.clone()) else { return };
    if let Says::Decision(decision) = &mut record.says {
        decision.fields = Fields::default();
    }
    // A record that was read is written.
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    disclosed.insert((subject, route), (record.number, bytes));
}

/// The hash over all of `disclosed`, as it will be with these.
pub(super) fn disclosed_hash(
    connection: &Connection,
    more: &Disclosed,
) -> Result<String, StoreError> {
    let mut context = Context::new(&SHA256);
    let mut add = |subject: &[u8], route: &str, number: u64, bytes: &[u8]| {
        for part in [subject, route.as_bytes(), &number.to_be_bytes(), bytes] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    };
    let mut more = more.iter().peekable();
    let mut statement = connection
        .prepare("SELECT subject, route, number, bytes FROM disclosed ORDER BY subject, route")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key: (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
        while let Some(((subject, route), (number, bytes))) = more.next_if(|(new, _)| **new < key) {
            add(subject, route, *number, bytes);
        }
        match more.next_if(|(new, _)| **new == key) {
            Some((_, (number, bytes))) => add(&key.0, &key.1, *number, bytes),
            None => {
                let bytes: Vec<u8> = row.get(3)?;
                add(&key.0, &key.1, row.get::<_, i64>(2)?.cast_unsigned(), &bytes);
            }
        }
    }
    for ((subject, route), (number, bytes)) in more {
        add(subject, route, *number, bytes);
    }
    Ok(hex(context.finish().as_ref()))
}

/// The same, where nothing was ever moved out.
pub(super) fn no_disclosed_hash() -> String {
    hex(Context::new(&SHA256).finish().as_ref())
}

impl Archived {
    /// The act that tells of it.
    pub fn draft(&self) -> Option<Draft> {
        Draft::new(&clock::now(), &Says::Act(self.act.clone()))
    }

    /// Notes it, in the transaction that is open.
    pub fn note(&self, connection: &Connection) -> Result<(), StoreError> {
        let Segment { first, last, hash_before, hash_after, sha256 } = &self.segment;
        connection.execute(
            "INSERT INTO segments (first, last, hash_before, hash_after, sha256)
             VALUES (?, ?, ?, ?, ?)",
            params![first.cast_signed(), last.cast_signed(), hash_before, hash_after, sha256],
        )?;
        let mut upsert = connection.prepare(
            "INSERT INTO disclosed (subject, route, number, bytes) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (subject, route) DO UPDATE SET number = ?3, bytes = ?4",
        )?;
        for ((subject, route), (number, bytes)) in &self.disclosed {
            upsert.execute(params![subject, route, number.cast_signed(), bytes])?;
        }
        Ok(())
    }
}

/// Deletes some of what is archived; whether there is more.
pub(super) fn delete_step(connection: &Connection) -> Result<bool, StoreError> {
    let old: Vec<(i64, Vec<u8>)> = {
        let mut statement = connection.prepare_cached(
            "SELECT number, bytes FROM records
             WHERE number <= coalesce((SELECT last FROM segments ORDER BY first DESC LIMIT 1), 0)
             ORDER BY number LIMIT ?",
        )?;
        let rows = statement.query_map([STEP_RECORDS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    if old.is_empty() {
        return Ok(false);
    }
    let mut keys = Vec::new();
    for (number, bytes) in &old {
        // Where it cannot be read any more, what it was found by stays behind and leads nowhere.
        let Ok(record) = parse(number.cast_unsigned(), bytes) else { continue };
        keys.extend(crate::audit::by::keys(&record.says).into_iter().map(|key| (key, *number)));
    }
    keys.sort_unstable_by_key(|(key, number)| (part_of(*number), *key));
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    {
        let mut delete = connection
            .prepare_cached("DELETE FROM found WHERE part = ? AND key = ? AND number = ?")?;
        for (key, number) in keys {
            delete.execute(params![part_of(number), key, number])?;
        }
        let mut delete = connection.prepare_cached("DELETE FROM records WHERE number = ?")?;
        for (number, _) in &old {
            delete.execute([number])?;
        }
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(old.len() == STEP_RECORDS_MAX as usize)
}
