//! The consent ledger: what each subject decided, in the order it came in.
//!
//! Promises: a record is written in the transaction of its message unless it says nothing new, and
//! neither changed nor deleted; what is read was filed under this subject and no other; what is
//! remembered of a subject is forgotten when a record of it is written, before anyone hears of that.
//! Knows nothing of: what a record means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::family::{LATEST, up_to};
use super::reader::{Keys, Reader};
use super::recent::{Limit, Recent};
use super::seal::{Clear, Part, Sealer};
use super::{StoreError, due, subjects, told};
use crate::admit::entry::Given;
use crate::admit::{Digest, DigestKey};
use crate::audit::Consulted;
use crate::consent::{Alias, Epoch, Key, Ledger, Origin, Policy, Record, Says, Turn};
use crate::event::Subject;

/// Most subjects that are remembered, those without any record included: what a large hospital's
/// feeds speak about in a day or two, and some 30 MiB.
const SUBJECTS_MAX: usize = 1 << 16;
/// Most records that are remembered together, in bytes of memory.
const BYTES_MAX: usize = 32 << 20;
/// What a record takes in memory beyond what it takes as it is kept: the parts of it that are
/// mostly empty. 65 536 subjects with 2.5 records each took 125 MiB before this was counted.
const RECORD_BYTES: usize = 512;
/// Most records of one subject that are asked over: a decision each week of a long life. With
/// more, its consent is closed, so that nobody can make a question cost what he likes.
pub const RECORDS_MAX: usize = 4_096;
/// What is authenticated with a record as its type.
const KIND: &str = "consent";

/// The records of one subject and of those that are one person with it, as they were at one epoch.
#[derive(Debug, Default)]
pub struct Filed {
    epoch: Epoch,
    records: Vec<Record>,
    aliases: Vec<Alias>,
    survivor: Option<Subject>,
    others: Vec<Subject>,
}

impl Filed {
    /// The ledger to ask over.
    #[must_use]
    pub fn ledger(&self) -> Ledger<'_> {
        Ledger { epoch: self.epoch, own: &self.records, aliases: &self.aliases }
    }

    /// Whom the subject goes by since it was merged; nothing where it goes by itself.
    #[must_use]
    pub const fn survivor(&self) -> Option<&Subject> {
        self.survivor.as_ref()
    }

    /// The others who are, or for a while were, one person with the subject: what narrows the consent
    /// of one may narrow that of each.
    #[must_use]
    pub fn others(&self) -> &[Subject] {
        &self.others
    }

    pub(super) fn of(epoch: u64, records: Vec<Record>, aliases: Vec<Alias>) -> Self {
        Self { epoch: Epoch(epoch), records, aliases, ..Self::default() }
    }

    pub(super) fn known_as(self, survivor: Option<Subject>, others: Vec<Subject>) -> Self {
        Self { survivor, others, ..self }
    }

    /// What stands for more records than are asked over.
    // PROMISE-5
    pub(super) fn too_much(number: u64) -> Self {
        let closure = Record {
            key: Key { source: String::new(), id: "more records than are asked over".to_owned() },
            version: None,
            decided_at: None,
            effective_from: None,
            effective_to: None,
            recorded_at: Timestamp::UNIX_EPOCH,
            origin: Origin::default(),
            says: Says::Closure(Turn::Begins),
        };
        Self::of(number, vec![closure], Vec::new())
    }

    /// The same, with records that would come behind them.
    #[must_use]
    pub fn with(&self, more: Vec<Record>) -> Self {
        let records = self.records.iter().cloned().chain(more).collect();
        let Self { epoch, aliases, survivor, others, .. } = self;
        Self::of(epoch.0, records, aliases.clone()).known_as(survivor.clone(), others.clone())
    }

    /// The key of the record that stands in the evidence, where it is here.
    #[must_use]
    pub fn named(&self, consulted: &Consulted, digests: &DigestKey) -> Option<String> {
        let is_it = |record: &&Record| digests.consent(&record.key).to_string() == consulted.record;
        let others = self.aliases.iter().flat_map(|alias| &alias.records);
        let Key { source, id } = &self.records.iter().chain(others).find(is_it)?.key;
        Some(format!("{source}/{id}"))
    }

    /// The subject's own records, in the order they came in.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

/// What is remembered of subjects.
#[derive(Debug)]
pub(super) struct Remembered(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    recent: Recent<Arc<Filed>>,
    /// How many transactions wrote records: what was read before one is not remembered after it.
    writes: u64,
}

impl Default for Remembered {
    fn default() -> Self {
        let limit = Limit { subjects: SUBJECTS_MAX, bytes: BYTES_MAX };
        Self(Mutex::new(Inner { recent: Recent::new(limit), writes: 0 }))
    }
}

impl Remembered {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a subject, else the number of writes up to now.
    pub fn get(&self, subject: &Digest) -> Result<Arc<Filed>, u64> {
        let mut inner = self.lock();
        inner.recent.get(subject).ok_or(inner.writes)
    }

    /// Remembers what was read when there were so many writes.
    fn put(&self, subject: &Digest, filed: &Arc<Filed>, bytes: usize, writes: u64) {
        let mut inner = self.lock();
        if inner.writes == writes {
            inner.recent.put(subject, Arc::clone(filed), bytes);
        }
    }

    /// Forgets subjects that have new records.
    pub fn forget(&self, subjects: &[Digest]) {
        if subjects.is_empty() {
            return;
        }
        let mut inner = self.lock();
        inner.writes += 1;
        for subject in subjects {
            inner.recent.forget(subject);
        }
    }
}

/// What the writer files records by.
pub(super) struct Filing {
    pub keys: Keys,
    pub policy: Arc<Policy>,
}

/// The message that brings records.
#[derive(Clone, Copy)]
pub(super) struct Brought<'b> {
    pub number: u64,
    pub at: i64,
    pub feed: &'b str,
}

impl Brought<'_> {
    const fn clear(&self, nth: u32) -> Clear<'_> {
        let Self { number, at, feed } = *self;
        Clear { number, at, feed, kind: KIND, status: "", epoch: nth }
    }

    pub const fn of_act<'a>(&'a self, act: &'a str, side: &'a str, nth: u32) -> Clear<'a> {
        let Self { number, at, feed } = *self;
        Clear { number, at, feed, kind: act, status: side, epoch: nth }
    }
}

/// Writes records into the open transaction, but those that say nothing new; the subjects of those
/// that were kept.
pub(super) fn write(
    connection: &Connection,
    sealer: &mut Sealer,
    digests: &DigestKey,
    filing: &mut Filing,
    brought: Brought<'_>,
    given: &[Given],
) -> Result<Vec<Digest>, StoreError> {
    let mut subjects = Vec::with_capacity(given.len());
    for (nth, Given { subject, record }) in (0_u32..).zip(given) {
        let digest = digests.subject(subject);
        let closes = record.says == Says::Closure(Turn::Begins);
        if record.says == Says::Closure(Turn::Ends) && !has_closure(connection, &digest)? {
            continue;
        }
        let key = told::key_digest(digests, record);
        if told::is_told(connection, &mut filing.keys, &digest, &key, record)? {
            continue;
        }
        let mut bytes = digest.0.to_vec();
        serde_json::to_writer(&mut bytes, record)
            .map_err(|_| StoreError::Corrupt { what: "a consent record".to_owned() })?;
        let sealed = sealer.seal(&brought.clear(nth), Part::Consent, &bytes)?;
        connection
            .prepare_cached(
                "INSERT INTO consents (subject, number, nth, at, feed, closes, key, record)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                digest.0,
                brought.number.cast_signed(),
                nth,
                brought.at,
                brought.feed,
                closes,
                key.0,
                sealed
            ])?;
        due::note(connection, sealer, &filing.policy, (&digest, subject), record)?;
        subjects.push(digest);
    }
    Ok(subjects)
}

/// Whether a subject was ever closed: the end of what never began is not kept.
fn has_closure(connection: &Connection, subject: &Digest) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM consents INDEXED BY consents_that_close
                            WHERE subject = ? AND closes)",
    )?;
    Ok(statement.query_row([&subject.0], |row| row.get(0))?)
}

/// What is filed under a subject, remembered or read.
///
/// # Errors
/// The store cannot be read, or a record is not what was written: then nothing is known of the
/// subject, and nothing may be decided.
pub(super) fn read(
    remembered: &Remembered,
    reader: &Mutex<Reader>,
    subject: &Digest,
) -> Result<Arc<Filed>, StoreError> {
    let writes = match remembered.get(subject) {
        Ok(filed) => return Ok(filed),
        Err(writes) => writes,
    };
    let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
    let (filed, bytes) = read_from(&mut reader, subject)?;
    drop(reader);
    let filed = Arc::new(filed);
    remembered.put(subject, &filed, bytes, writes);
    Ok(filed)
}

/// What is filed under a subject, and the bytes of it.
pub(super) fn read_from(
    reader: &mut Reader,
    subject: &Digest,
) -> Result<(Filed, usize), StoreError> {
    read_as_of(reader, subject, LATEST)
}

/// What was filed under a subject when nothing behind a message was known, and the bytes of it.
pub(super) fn read_as_of(
    reader: &mut Reader,
    subject: &Digest,
    epoch: Epoch,
) -> Result<(Filed, usize), StoreError> {
    if has_acts(&reader.connection, subject)? {
        // Acts and records as they were at one moment.
        reader.connection.execute_batch("BEGIN")?;
        let read = subjects::read_group(reader, subject, epoch);
        reader.connection.execute_batch("COMMIT")?;
        return read;
    }
    let Some(found) = records_of(reader, subject, RECORDS_MAX, epoch)? else {
        return Ok((Filed::too_much(newest(&reader.connection, subject)?), 0));
    };
    let epoch = found.last().map_or(0, |last| last.number);
    let bytes = found.iter().map(|found| found.bytes).sum();
    let records = found.into_iter().map(|found| found.record).collect();
    Ok((Filed::of(epoch, records, Vec::new()), bytes))
}

/// Whether anything was said of a subject: of most nothing ever is, and that is seen by one look.
fn has_acts(connection: &Connection, subject: &Digest) -> Result<bool, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM acts WHERE subject = ?)")?;
    Ok(statement.query_row([&subject.0], |row| row.get(0))?)
}

fn newest(connection: &Connection, subject: &Digest) -> Result<u64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT max(number) FROM consents WHERE subject = ?")?;
    let found: Option<i64> = statement.query_row([&subject.0], |row| row.get(0))?;
    Ok(found.map_or(0, i64::cast_unsigned))
}

/// The records of one subject alone, in the order they came; nothing where there are more than so
/// many.
pub(super) fn records_of(
    reader: &mut Reader,
    subject: &Digest,
    limit: usize,
    epoch: Epoch,
) -> Result<Option<Vec<Row>>, StoreError> {
    let (connection, keys) = reader.parts();
    match rows_of(connection, keys, subject, limit, epoch)? {
        Rows::All(rows) => Ok(Some(rows)),
        Rows::TooMany => Ok(None),
    }
}

/// A record with its place in the ledger.
pub(super) struct Row {
    /// The number of its message.
    pub number: u64,
    pub nth: u32,
    pub record: Record,
    /// In memory, about.
    pub bytes: usize,
}

/// The records of a subject.
pub(super) enum Rows {
    /// In the order they came in.
    All(Vec<Row>),
    /// More than were asked for.
    TooMany,
}

/// A subject's own records, up to a message.
pub(super) fn rows_of(
    connection: &Connection,
    keys: &mut Keys,
    subject: &Digest,
    limit: usize,
    epoch: Epoch,
) -> Result<Rows, StoreError> {
    let mut sealed = Vec::new();
    {
        let mut statement = connection.prepare_cached(
            "SELECT number, nth, at, feed, record FROM consents
             WHERE subject = ? AND number <= ? ORDER BY number, nth",
        )?;
        let mut found = statement.query(params![subject.0, up_to(epoch)])?;
        while let Some(row) = found.next()? {
            let row = Sealed::read(row)?;
            if sealed.len() >= limit {
                return Ok(Rows::TooMany);
            }
            sealed.push(row);
        }
    }
    let rows = sealed.into_iter().map(|row| row.open(connection, keys, subject));
    Ok(Rows::All(rows.collect::<Result<_, _>>()?))
}

/// A record as it is kept.
pub(super) struct Sealed {
    number: u64,
    nth: u32,
    at: i64,
    feed: String,
    record: Vec<u8>,
}

impl Sealed {
    /// Reads number, nth, at, feed and record, in this order.
    pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get::<_, i64>(0)?.cast_unsigned(),
            nth: row.get(1)?,
            at: row.get(2)?,
            feed: row.get(3)?,
            record: row.get(4)?,
        })
    }

    /// Opens it, if it is of the subject.
    pub fn open(
        self,
        connection: &Connection,
        keys: &mut Keys,
        subject: &Digest,
    ) -> Result<Row, StoreError> {
        let Self { number, nth, at, feed, record } = self;
        let brought = Brought { number, at, feed: &feed };
        let opened = keys.open(connection, &brought.clear(nth), Part::Consent, &record)?;
        let corrupt = || StoreError::Corrupt { what: format!("a consent of message {number}") };
        let (under, json) = opened.split_first_chunk::<16>().ok_or_else(corrupt)?;
        if *under != subject.0 {
            return Err(corrupt());
        }
        let bytes = record.len() + RECORD_BYTES;
        let record = serde_json::from_slice(json).map_err(|_| corrupt())?;
        Ok(Row { number, nth, record, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::harness::{Harness, subject};

    #[derive(Default)]
    struct Store {
        harness: Harness,
        remembered: Remembered,
    }

    impl Store {
        fn write(&mut self, given: &[Given]) {
            let number = self.harness.next();
            let brought = Brought { number, at: 5, feed: "adt" };
            let subjects = self.harness.file(brought, given);
            self.remembered.forget(&subjects);
        }

        fn read(&self, value: &str) -> Result<Arc<Filed>, StoreError> {
            let Harness { reader, digests, .. } = &self.harness;
            read(&self.remembered, reader, &digests.subject(&subject(value)))
        }

        fn digest(&self, value: &str) -> Digest {
            self.harness.digests.subject(&subject(value))
        }

        /// What is filed, by the IDs of the records.
        fn ids(&self, value: &str) -> Vec<String> {
            self.read(value).unwrap().records().iter().map(|record| record.key.id.clone()).collect()
        }
    }

    fn given(value: &str, id: &str) -> Given {
        let mut record = Filed::too_much(0).records.remove(0);
        record.key = Key { source: "adt".to_owned(), id: id.to_owned() };
        Given { subject: subject(value), record }
    }

    #[test]
    fn a_record_is_filed_under_its_subject_in_the_order_it_came() {
        let mut store = Store::default();
        assert_eq!(store.ids("1"), [""; 0]);
        store.write(&[given("1", "a"), given("2", "b"), given("1", "c")]);
        store.write(&[given("1", "d")]);
        for _ in 0..2 {
            assert_eq!(store.ids("1"), ["a", "c", "d"]);
            assert_eq!(store.ids("2"), ["b"]);
            assert_eq!(store.ids("3"), [""; 0]);
        }
        assert_eq!(store.read("1").unwrap().ledger().epoch, Epoch(2));
        assert_eq!(store.read("2").unwrap().ledger().epoch, Epoch(1));
    }

    #[test]
    fn what_was_read_before_a_write_is_not_remembered_after_it() {
        let mut store = Store::default();
        let digest = store.digest("1");
        let writes = store.remembered.get(&digest).unwrap_err();
        let before = Arc::new(Filed::default());
        store.write(&[given("2", "b")]);
        store.remembered.put(&digest, &before, 0, writes);
        assert!(store.remembered.get(&digest).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_asked_for_stays() {
        let remembered = Remembered::default();
        let digest = |number: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Digest(bytes)
        };
        let filed = Arc::new(Filed::default());
        for number in 0..3 * SUBJECTS_MAX {
            remembered.put(&digest(number), &filed, 1, 0);
            assert!(remembered.get(&digest(0)).is_ok(), "asked for all the time, {number}");
        }
        let (subjects, bytes) = remembered.lock().recent.held();
        assert!(subjects <= SUBJECTS_MAX + 1);
        assert_eq!(bytes, subjects);
    }

    #[test]
    fn the_end_of_a_closure_is_kept_where_there_was_one() {
        let mut store = Store::default();
        let end = |id| {
            let mut given = given("1", id);
            given.record.says = Says::Closure(Turn::Ends);
            given
        };
        store.write(&[end("a")]);
        assert_eq!(store.ids("1"), [""; 0]);
        store.write(&[given("1", "b"), end("c")]);
        assert_eq!(store.ids("1"), ["b", "c"]);
    }

    /// PROMISE-5: what cannot be read is not an empty ledger.
    #[test]
    fn a_record_that_was_changed_or_moved_is_an_error_and_never_an_answer() {
        let mut store = Store::default();
        store.write(&[given("1", "a"), given("2", "b")]);
        let drop_triggers =
            "DROP TRIGGER consents_are_not_changed; DROP TRIGGER consents_are_not_deleted;";
        for change in [
            "UPDATE consents SET record = zeroblob(length(record))",
            "UPDATE consents SET at = at + 1",
            "UPDATE consents SET feed = 'lab'",
            "UPDATE consents SET nth = nth + 5",
            "UPDATE consents SET number = number + 5",
        ] {
            store.harness.connection.execute_batch("SAVEPOINT changed").unwrap();
            assert!(
                store.harness.connection.execute(change, []).is_err(),
                "the trigger forbids {change}"
            );
            store.harness.connection.execute_batch("RELEASE changed").unwrap();
        }
        assert!(store.harness.connection.execute("DELETE FROM consents", []).is_err());
        store.harness.connection.execute_batch(drop_triggers).unwrap();
        let other = store.digest("2").0;
        let own = store.digest("1").0;
        store
            .harness
            .connection
            .execute("DELETE FROM consents WHERE subject = ?", [other])
            .unwrap();
        store
            .harness
            .connection
            .execute("UPDATE consents SET subject = ? WHERE subject = ?", [other, own])
            .unwrap();
        assert_eq!(store.ids("1"), [""; 0], "cut out: the audit chain will tell");
        assert!(store.read("2").is_err(), "another's");
        let change = "UPDATE consents SET subject = ?, at = at + 1";
        store.harness.connection.execute(change, [own]).unwrap();
        store.remembered.forget(&[store.digest("1")]);
        assert!(store.read("1").is_err());
    }

    /// PROMISE-5
    #[test]
    fn more_records_than_are_asked_over_close_everything() {
        let mut store = Store::default();
        for _ in 0..=RECORDS_MAX {
            store.write(&[given("1", "a")]);
        }
        let filed = store.read("1").unwrap();
        assert!(matches!(filed.records(), [record] if record.says == Says::Closure(Turn::Begins)));
    }
}
