//! When time alone changes what a subject decided: the durable timer.
//!
//! Promises: an end that passes is told once, in the transaction that notes that it was, whatever
//! the clock does and however often the process is killed; one that passed while nothing ran is told
//! when it runs again; each look is at a bounded number of subjects.
//! Knows nothing of: who is told, and the clock, which is handed in.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::StoreError;
use super::batch::{Appended, Context, Prepared, append};
use super::family::LATEST;
use super::ledger::{self, Row, Rows};
use super::seal::{Clear, Part, Sealer};
use crate::admit::entry::{Admission, Content, Correlated, Status, Stored, SubjectValue};
use crate::admit::{Correlation, Digest, Windows};
use crate::consent::intake::told::tell_end;
use crate::consent::next::{End, ended, is_of_a_minor};
use crate::consent::{Epoch, Ledger, Policy, Record, when_next};
use crate::event::{EventType, Subject};
use crate::phi::Phi;

/// Most subjects that one look takes: a transaction of some milliseconds.
pub(super) const SUBJECTS_MAX: usize = 256;
/// The feed of entries that are our own.
pub const FEED: &str = "tidegate";
/// The type of the timer's.
const KIND: &str = "TIMER";
/// How long a subject is left alone whose records cannot be read, in milliseconds.
const AGAIN_MS: i64 = 3_600_000;

/// What a look came to.
#[derive(Default)]
pub(super) struct Fired {
    pub appended: Vec<Appended>,
    /// Whose permits ended.
    pub subjects: Vec<Subject>,
    /// How many ends were told.
    pub ends: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// Notes when a record that is written now changes an answer. A time that is too early costs a look
/// and tells nothing.
pub(super) fn note(
    connection: &Connection,
    sealer: &mut Sealer,
    policy: &Policy,
    (digest, subject): (&Digest, &Subject),
    record: &Record,
) -> Result<(), StoreError> {
    let alone = Ledger::of(Epoch::default(), std::slice::from_ref(record));
    let next = when_next(&alone, policy, record.recorded_at).map(millisecond);
    // Who comes of age by no law yet may do so by the next consent.toml.
    let at = match next {
        Some(at) => at,
        None if is_of_a_minor(record) => i64::MAX,
        None => return Ok(()),
    };
    let mut bytes = digest.0.to_vec();
    serde_json::to_writer(&mut bytes, &(&subject.authority, subject.value.expose()))
        .map_err(|_| StoreError::Corrupt { what: "a subject".to_owned() })?;
    let sealed = sealer.seal(&CLEAR, Part::Subject, &bytes)?;
    connection
        .prepare_cached(
            "INSERT INTO due (subject, at, sealed) VALUES (?1, ?2, ?3)
             ON CONFLICT (subject) DO UPDATE SET at = min(at, ?2)",
        )?
        .execute(params![digest.0, at, sealed])?;
    Ok(())
}

/// Lets every subject be looked at again where the ages of majority are not those that instants were
/// worked out by.
pub(super) fn follow_policy(connection: &Connection, policy: &Policy) -> Result<(), StoreError> {
    let mut ages: Vec<u8> = policy.majorities().collect();
    ages.sort_unstable();
    ages.dedup();
    let ages = ages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let known = "INSERT INTO meta (name, value) VALUES ('majorities', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = ?1 WHERE value <> ?1";
    if connection.execute(known, [ages])? > 0 {
        connection.execute("UPDATE due SET at = 0", [])?;
    }
    Ok(())
}

/// Looks at the subjects that are due, in the open transaction.
// PROMISE-1, PROMISE-2: the entry, the note that its ends were told and the next instant are one
// commit.
pub(super) fn fire(context: &mut Context<'_>, now: Timestamp) -> Result<Fired, StoreError> {
    let mut rows: Vec<(Digest, Vec<u8>)> = Vec::new();
    {
        let mut statement = context
            .connection
            .prepare_cached("SELECT subject, sealed FROM due WHERE at <= ? ORDER BY at LIMIT ?")?;
        let limit = i64::try_from(SUBJECTS_MAX).unwrap_or(i64::MAX);
        let mut found = statement.query(params![now.as_millisecond(), limit])?;
        while let Some(row) = found.next()? {
            rows.push((Digest(row.get(0)?), row.get(1)?));
        }
    }
    let mut fired = Fired { more: rows.len() == SUBJECTS_MAX, ..Fired::default() };
    for (digest, sealed) in rows {
        match look(context, &digest, &sealed, now, &mut fired) {
            Err(error @ (StoreError::Sealed { .. } | StoreError::Corrupt { .. })) => {
                tracing::error!(%error, "whose consent ends now cannot be read; tried again later");
                move_to(context.connection, &digest, now.as_millisecond() + AGAIN_MS)?;
            }
            outcome => outcome?,
        }
    }
    Ok(fired)
}

fn look(
    context: &mut Context<'_>,
    digest: &Digest,
    sealed: &[u8],
    now: Timestamp,
    fired: &mut Fired,
) -> Result<(), StoreError> {
    let connection = context.connection;
    let keys = &mut context.filing.keys;
    let rows = match ledger::rows_of(connection, keys, digest, ledger::RECORDS_MAX, LATEST)? {
        Rows::All(rows) => rows,
        // With more records than are asked over everything is closed, and stays so.
        Rows::TooMany => Vec::new(),
    };
    let policy = Arc::clone(&context.filing.policy);
    let records: Vec<Record> = rows.iter().map(|row| row.record.clone()).collect();
    let mut told = Vec::new();
    for end in ended(&records, &policy, now) {
        if let Some(row) = rows.get(end.record)
            && mark(connection, digest, row, end.at)?
        {
            told.push(end);
        }
    }
    if !told.is_empty() {
        let subject = open_subject(context, digest, sealed)?;
        fired.ends += told.len() as u64;
        let admission = entry(context, digest, &subject, &rows, &told, now);
        fired.appended.push(append(context, Prepared::new(admission)?)?);
        fired.subjects.push(subject);
    }
    let ledger = Ledger::of(Epoch::default(), &records);
    match when_next(&ledger, &policy, now) {
        Some(next) => move_to(connection, digest, millisecond(next)),
        None if records.iter().any(is_of_a_minor) => move_to(connection, digest, i64::MAX),
        None => {
            connection.prepare_cached("DELETE FROM due WHERE subject = ?")?.execute([&digest.0])?;
            Ok(())
        }
    }
}

/// The journal entry of ends that passed.
fn entry(
    context: &Context<'_>,
    digest: &Digest,
    subject: &Subject,
    rows: &[Row],
    told: &[End],
    now: Timestamp,
) -> Admission {
    let mut names = vec![format!("{digest:?}")];
    let mut events = Vec::with_capacity(told.len());
    for (number, end) in (1..).zip(told) {
        let Some(row) = rows.get(end.record) else { continue };
        names.push(format!("{}.{}.{}", row.number, row.nth, end.at.as_microsecond()));
        events.push(Stored {
            kind: EventType::ConsentExpired,
            place: format!("con{number}"),
            authority: subject.authority.clone(),
            value: SubjectValue(subject.value.clone()),
            prior: None,
            visit: None,
            data: Arc::new(tell_end(&row.record, end.at)),
        });
    }
    let correlation = Correlation::of("tidegate timer", names.iter().map(String::as_str));
    let content = context.digests.text(&names.join(" "));
    let windows = Windows {
        dedupe_retention: std::time::Duration::MAX,
        control_id_reuse: std::time::Duration::MAX,
    };
    let at = now.as_millisecond();
    Admission {
        correlated: Some(Correlated { correlation, content, windows }),
        status: Status::Admitted,
        content: Content { events, ..Content::default() },
        ..Admission::bare(FEED.into(), at, KIND.to_owned(), String::new(), Bytes::new())
    }
}

/// Notes that an end is told; false where it was before.
fn mark(
    connection: &Connection,
    subject: &Digest,
    row: &Row,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO expired (subject, number, nth, at) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![subject.0, row.number.cast_signed(), row.nth, at.as_microsecond()])?;
    Ok(changed > 0)
}

fn move_to(connection: &Connection, subject: &Digest, at: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE due SET at = ? WHERE subject = ?")?
        .execute(params![at, subject.0])?;
    Ok(())
}

fn open_subject(
    context: &mut Context<'_>,
    digest: &Digest,
    sealed: &[u8],
) -> Result<Subject, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "a subject".to_owned() };
    let opened = context.filing.keys.open(context.connection, &CLEAR, Part::Subject, sealed)?;
    let (under, json) = opened.split_first_chunk::<16>().ok_or_else(corrupt)?;
    if *under != digest.0 {
        return Err(corrupt());
    }
    let (authority, value): (String, String) =
        serde_json::from_slice(json).map_err(|_| corrupt())?;
    Ok(Subject { authority, value: Phi::new(value) })
}

/// What is authenticated with a subject: its digest stands in what is sealed.
const CLEAR: Clear<'static> =
    Clear { number: 0, at: 0, feed: "", kind: "due", status: "", epoch: 0 };

/// The first millisecond at or after an instant.
fn millisecond(at: Timestamp) -> i64 {
    at.as_microsecond().div_euclid(1_000) + i64::from(at.as_microsecond().rem_euclid(1_000) > 0)
}
