//! Whether the ledger has been told before what a record says.
//!
//! Promises: what is left out changes no answer, nor would it after a merge was undone; looking costs in proportion to the versions of the
//! one key, of which a bounded number is looked at.
//! Knows nothing of: when a record says the same; that is `consent::restate`.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::ledger::Sealed;
use super::reader::Keys;
use crate::admit::{Digest, DigestKey};
use crate::consent::restate::{Known, News, news};
use crate::consent::{Record, Says};

/// Most versions of one key that are looked at. With more, every record is kept, as it was said.
const VERSIONS_MAX: usize = 256;

/// What versions of a record have in common, as they are looked up.
pub(super) fn key_digest(digests: &DigestKey, record: &Record) -> Digest {
    let (kind, visit) = match &record.says {
        Says::Consent(_) => ("consent", None),
        Says::Restriction(restriction) => ("restriction", restriction.visit.as_deref()),
        Says::Closure(_) => ("closure", None),
    };
    let parts = (kind, &record.key.source, &record.key.id, visit);
    // Texts and none, which are always JSON.
    digests.text(&serde_json::to_string(&parts).unwrap_or_default())
}

/// Whether a record is to be left out; how far what stands was said again is noted then.
// PROMISE-5
pub(super) fn is_told(
    connection: &Connection,
    keys: &mut Keys,
    subject: &Digest,
    key: &Digest,
    record: &Record,
) -> Result<bool, StoreError> {
    let (mut records, mut newest) = (Vec::new(), None);
    {
        let mut statement = connection.prepare_cached(
            "SELECT number, nth, at, feed, record FROM consents INDEXED BY consents_by_key
             WHERE subject = ? AND key = ? LIMIT ?",
        )?;
        let limit = i64::try_from(VERSIONS_MAX + 1).unwrap_or(i64::MAX);
        let mut found = statement.query(params![subject.0, key.0, limit])?;
        while let Some(row) = found.next()? {
            let row = Sealed::read(row)?.open(connection, keys, subject)?;
            newest = newest.max(Some(row.number));
            records.push(row.record);
        }
    }
    // What was said before a merge or an unmerge holds for others than what is said after it.
    if records.len() > VERSIONS_MAX || newest < last_act(connection, subject)? {
        return Ok(false);
    }
    let until = if records.is_empty() { None } else { until(connection, subject, key)? };
    let known = Known { records: &records, until };
    match news(known, record, record.recorded_at) {
        News::New => Ok(false),
        News::Stale | News::Again(None) => Ok(true),
        News::Again(Some(version)) => {
            connection
                .prepare_cached(
                    "INSERT INTO restated (subject, key, version) VALUES (?1, ?2, ?3)
                     ON CONFLICT (subject, key) DO UPDATE SET version = max(version, ?3)",
                )?
                .execute(params![subject.0, key.0, version.cast_signed()])?;
            Ok(true)
        }
    }
}

/// The message that last merged or parted the subject.
fn last_act(connection: &Connection, subject: &Digest) -> Result<Option<u64>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT max(number) FROM acts WHERE subject = ?")?;
    let found: Option<i64> = statement.query_row([&subject.0], |row| row.get(0))?;
    Ok(found.map(i64::cast_unsigned))
}

fn until(
    connection: &Connection,
    subject: &Digest,
    key: &Digest,
) -> Result<Option<u64>, StoreError> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT version FROM restated WHERE subject = ? AND key = ?")?
        .query_row(params![subject.0, key.0], |row| row.get(0))
        .optional()?;
    Ok(found.map(i64::cast_unsigned))
}
