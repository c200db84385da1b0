//! What was recorded.
//!
//! Promises: what two things share a key for is compared whole; a record that is not as it was
//! written is an error, and never read as something else.
//! Knows nothing of: who asks.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::StoreError;
use super::super::connection::{self, Schema};
use super::begin::read_chain_id;
use super::lately::{self, Lately, part_of};
use crate::audit::by::correlation_of;
use crate::audit::{Act, By, Decision, Outcome, Record, Says, chain};
use crate::secret::unhex;

/// A connection that reads.
pub struct AuditReader {
    pub(super) connection: Connection,
    /// What the writer of this process has not moved into the index yet.
    lately: Option<Arc<Lately>>,
}

impl std::fmt::Debug for AuditReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("AuditReader(..)")
    }
}

impl AuditReader {
    /// Opens an audit.db for reading.
    ///
    /// # Errors
    /// It cannot be opened, or is newer than this binary.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: connection::open_for_reading(path, Schema::Audit)?, lately: None })
    }

    /// The same, in the process of the writer: what that has in memory need not be read.
    pub(super) fn beside(path: &Path, lately: Arc<Lately>) -> Result<Self, StoreError> {
        Ok(Self { lately: Some(lately), ..Self::open(path)? })
    }

    /// The same, without a file beside it that was not there.
    ///
    /// # Errors
    /// As above.
    pub fn open_quietly(path: &Path) -> Result<Self, StoreError> {
        let (connection, _) = connection::open_quietly(path, Schema::Audit)?;
        Ok(Self { connection, lately: None })
    }

    /// The chain's ID.
    ///
    /// # Errors
    /// The evidence cannot be read, or does not say.
    pub fn chain(&self) -> Result<String, StoreError> {
        let missing = || StoreError::Corrupt { what: "the ID of the audit's chain".to_owned() };
        read_chain_id(&self.connection)?.ok_or_else(missing)
    }

    /// What was recorded about an event on a route, the oldest first.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn of_event(&self, event: &str, route: &str) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        self.newest_first(By::Correlation(correlation_of(event)), 0, |record| {
            let wanted = decision(&record)
                .is_some_and(|decision| *decision.event == *event && decision.under.route == route);
            if wanted {
                records.push(record);
            }
            true
        })?;
        records.reverse();
        Ok(records)
    }

    /// The newest record about a subject on a route by which something was to leave, that no later
    /// one stands instead of, and that is one of those wanted.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn last_of(
        &self,
        subject: &str,
        route: &str,
        is_wanted: impl Fn(&Decision) -> bool,
    ) -> Result<Option<Record>, StoreError> {
        let left = [Outcome::Release, Outcome::Notice];
        let mut found = None;
        let mut replaced = BTreeSet::new();
        self.newest_first(By::Subject(subject), 0, |record| {
            let of_it = decision(&record)
                .filter(|decision| *decision.subject == *subject && decision.under.route == route);
            replaced.extend(of_it.and_then(|decision| decision.instead));
            let wanted = of_it.is_some_and(|one| left.contains(&one.outcome) && is_wanted(one))
                && !replaced.contains(&record.number);
            if wanted {
                found = Some(record);
            }
            !wanted
        })?;
        match found {
            Some(found) => Ok(Some(found)),
            None => self.last_archived(subject, route),
        }
    }

    /// The newest record about a subject on a route by which something left, of those that were
    /// moved out; without the fates of its fields.
    fn last_archived(&self, subject: &str, route: &str) -> Result<Option<Record>, StoreError> {
        let found: Option<(i64, Vec<u8>)> = self
            .connection
            .prepare_cached("SELECT number, bytes FROM disclosed WHERE subject = ? AND route = ?")?
            .query_row(params![unhex(subject), route], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        found.map(|(number, bytes)| parse(number.cast_unsigned(), &bytes)).transpose()
    }

    /// The newest act of that name of which `with` says so.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn last_act(
        &self,
        act: &str,
        (key, value): (&str, &str),
    ) -> Result<Option<Record>, StoreError> {
        let mut found = None;
        self.newest_first(By::Act(act), 0, |record| {
            let wanted = matches!(&record.says, Says::Act(one)
                if one.act == act && one.with.get(key).is_some_and(|one| one == value));
            if wanted {
                found = Some(record);
            }
            !wanted
        })?;
        Ok(found)
    }

    /// The acts of that name that were recorded at or after a time, the newest first, at most so
    /// many.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn acts_since(
        &self,
        act: &str,
        from: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Act)>, StoreError> {
        let mut found = Vec::new();
        self.newest_first(By::Act(act), 0, |record| {
            if record.at < from || found.len() == limit {
                return false;
            }
            if let Says::Act(one) = record.says
                && one.act == act
            {
                found.push((record.at, one));
            }
            true
        })?;
        Ok(found)
    }

    /// Hands over what may be found by something, above a number, the newest first, until told to
    /// stop.
    pub(super) fn newest_first(
        &self,
        by: By<'_>,
        above: u64,
        mut take: impl FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        let (key, above) = (by.key(), above.cast_signed());
        // Before the index, so that what is moved in between is seen.
        let runs = match &self.lately {
            Some(lately) => lately.runs(),
            None => Arc::new(lately::read(&self.connection)?),
        };
        let mut one =
            self.connection.prepare_cached("SELECT bytes FROM records WHERE number = ?")?;
        for number in lately::numbers(&runs, key, above) {
            let read = |row: &Row<'_>| {
                let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
                Ok(parse(number.cast_unsigned(), bytes))
            };
            // Gone, where it was archived since.
            let Some(record) = one.query_row([number], read).optional()? else { continue };
            if !take(record?) {
                return Ok(());
            }
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT records.number, records.bytes FROM found JOIN records USING (number)
             WHERE found.part = ? AND found.key = ? AND found.number > ? AND found.number < ?
             ORDER BY found.number DESC",
        )?;
        let (first, last) = self.parts()?;
        for part in (first.max(part_of(above))..=last).rev() {
            let mut rows = statement.query(params![part, key, above, lately::below(&runs)])?;
            while let Some(row) = rows.next()? {
                let number = row.get::<_, i64>(0)?.cast_unsigned();
                if !take(parse(number, row.get_ref(1)?.as_blob().unwrap_or_default())?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The first and the last part of the index; none from 1 to 0.
    fn parts(&self) -> Result<(i64, i64), StoreError> {
        // Each by itself, which SQLite answers by one look.
        let mut statement = self.connection.prepare_cached(
            "SELECT coalesce((SELECT min(part) FROM found), 1), coalesce((SELECT max(part) FROM found), 0)",
        )?;
        Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }
}

/// What a record decides, where it does.
pub(super) fn decision(record: &Record) -> Option<&Decision> {
    match &record.says {
        Says::Decision(decision) => Some(decision),
        Says::Act(_) => None,
    }
}

/// Reads a row.
pub(super) fn parse(number: u64, bytes: &[u8]) -> Result<Record, StoreError> {
    let record = chain::read(bytes).filter(|record| record.number == number);
    record.ok_or_else(|| StoreError::Corrupt { what: format!("audit record {number}") })
}

#[cfg(test)]
mod tests {
    use super::super::lately::Run;
    use super::*;
    use crate::audit::Draft;

    /// PROMISE-9
    #[test]
    fn what_stands_in_several_parts_of_the_index_is_found_the_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.db");
        let connection = connection::open_for_writing(&path, Schema::Audit).unwrap();
        // Of a long chain these alone are here.
        connection.execute_batch("DROP TRIGGER records_are_appended").unwrap();
        let numbers = [1, 131_071, 131_072, 300_000, 393_216];
        let mut insert = connection
            .prepare("INSERT INTO records (number, hash, bytes) VALUES (?, x'', ?)")
            .unwrap();
        let key = By::Act("start").key();
        let runs = numbers.map(|number: u64| {
            let says = Says::Act(Act::new("start", "tidegate", []));
            let mut draft = Draft::new(&Timestamp::UNIX_EPOCH, &says).unwrap();
            insert.execute(params![number.cast_signed(), draft.bytes(number)]).unwrap();
            Run::new(number, vec![(key, number.cast_signed())])
        });
        for run in runs {
            run.write(&connection).unwrap();
        }
        let found = |above| {
            let mut found = Vec::new();
            let reader = AuditReader::open(&path).unwrap();
            let take = |record: Record| {
                found.push(record.number);
                true
            };
            reader.newest_first(By::Act("start"), above, take).unwrap();
            found
        };
        let newest_first: Vec<u64> = numbers.into_iter().rev().collect();
        assert_eq!(found(0), newest_first);
        lately::move_what_is_left(&connection).unwrap();
        let parts: i64 = connection
            .query_row("SELECT count(DISTINCT part) FROM found", [], |row| row.get(0))
            .unwrap();
        assert_eq!(parts, 4);
        assert_eq!(found(0), newest_first);
        assert_eq!(found(131_071), newest_first[..3]);
        assert_eq!(found(131_072), newest_first[..2]);
        assert_eq!(found(393_216), Vec::<u64>::new());
        let elsewhere = connection.execute("INSERT INTO found VALUES (1, 2, 3)", []);
        assert!(elsewhere.unwrap_err().to_string().contains("CHECK"));
    }
}
