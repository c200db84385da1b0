//! Reading entries back.
//!
//! Promises: what was changed, or is sealed under a key that is not at hand, is told apart from
//! what is there, and never read as something else.
//! Knows nothing of: who reads.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::seal::{Clear, Master, Opener, Part};
use super::{StoreError, connection};
use crate::admit::entry::Status;
use crate::admit::{Correlation, CorrelationId, DigestKey, Entry};

/// Most bytes of entries that one read holds in memory.
const READ_BYTES_MAX: usize = 8 << 20;

/// Which entries are read one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// That came in at or after this, in milliseconds since 1970.
    pub from: i64,
    /// That came in before this.
    pub to: i64,
    /// The last number: what comes in while one reads is not waited for.
    pub last: u64,
    /// One of so many.
    pub every: NonZeroU64,
}

/// A connection that reads, and the keys it has needed so far.
pub(super) struct Reader {
    pub connection: Connection,
    keys: Keys,
}

/// What opens what is sealed: the master key, and the data keys that were needed so far.
pub(super) struct Keys {
    master: Master,
    opener: Opener,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Reader(..)")
    }
}

impl Reader {
    /// Opens the store of a folder for reading.
    pub fn open(path: &Path, master: Master, digests: DigestKey) -> Result<Self, StoreError> {
        let connection = connection::open_for_reading(path, connection::Schema::Journal)?;
        Ok(Self::of(connection, master, digests))
    }

    /// By a connection that is open.
    pub fn of(connection: Connection, master: Master, digests: DigestKey) -> Self {
        Self { connection, keys: Keys::new(master, digests) }
    }

    /// A row that cannot be opened is told to `corrupt`, and comes as an entry without events:
    /// what it held is lost, and those behind it are not.
    pub fn read_after(
        &mut self,
        number: u64,
        limit: usize,
        corrupt: impl Fn(u64, &StoreError),
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(
            "SELECT number, at, feed, type, status, epoch, content FROM messages
             WHERE number > ? ORDER BY number LIMIT ?",
            params![number.cast_signed(), limit],
        )?;
        self.entries(rows, corrupt)
    }

    /// The same, of a span.
    pub fn read_span(
        &mut self,
        number: u64,
        span: &Span,
        limit: usize,
        corrupt: impl Fn(u64, &StoreError),
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let every = i64::try_from(span.every.get()).unwrap_or(i64::MAX);
        let rows = self.rows(
            "SELECT number, at, feed, type, status, epoch, content FROM messages
             WHERE number > ? AND number <= ? AND at >= ? AND at < ? AND number % ? = 0
             ORDER BY number LIMIT ?",
            params![
                number.cast_signed(),
                span.last.cast_signed(),
                span.from,
                span.to,
                every,
                limit
            ],
        )?;
        self.entries(rows, corrupt)
    }

    /// Rows as far as memory is to hold them at once.
    fn rows(&self, sql: &str, values: impl Params) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut found = statement.query(values)?;
        while let Some(row) = found.next()?
            && bytes < READ_BYTES_MAX
        {
            let row = Row::read(row)?;
            bytes += row.content.len();
            rows.push(row);
        }
        Ok(rows)
    }

    fn entries(
        &mut self,
        rows: Vec<Row>,
        corrupt: impl Fn(u64, &StoreError),
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            let (number, received_at, feed) = (row.number, row.at, row.feed.clone());
            let entry = match self.entry(row) {
                Err(error @ (StoreError::Sealed { .. } | StoreError::Corrupt { .. })) => {
                    corrupt(number, &error);
                    Entry::without_events(number, received_at, feed.into())
                }
                entry => entry?,
            };
            entries.push(Arc::new(entry));
        }
        Ok(entries)
    }

    /// Opens a row.
    pub fn entry(&mut self, row: Row) -> Result<Entry, StoreError> {
        let corrupt = || StoreError::Corrupt { what: format!("message {}", row.number) };
        let bytes = self.open_sealed(&row.clear(), Part::Content, &row.content)?;
        let (correlation, json) = bytes.split_first_chunk::<16>().ok_or_else(corrupt)?;
        let correlation = Correlation::from_bytes(*correlation);
        let correlation_id =
            (row.epoch > 0).then_some(CorrelationId { correlation, epoch: row.epoch });
        Ok(Entry {
            number: row.number,
            received_at: row.at,
            feed: row.feed.into(),
            status: Status::from_name(&row.status).ok_or_else(corrupt)?,
            correlation_id,
            content: Arc::new(serde_json::from_slice(json).map_err(|_| corrupt())?),
            facts: OnceLock::new(),
        })
    }

    /// Opens what is sealed.
    pub fn open_sealed(
        &mut self,
        clear: &Clear<'_>,
        part: Part,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        self.keys.open(&self.connection, clear, part, sealed)
    }

    /// The connection, and what opens what is read by it.
    pub const fn parts(&mut self) -> (&Connection, &mut Keys) {
        (&self.connection, &mut self.keys)
    }
}

impl Keys {
    /// Without data keys yet.
    pub fn new(master: Master, digests: DigestKey) -> Self {
        Self { master, opener: Opener::new(digests) }
    }

    /// Opens what is sealed, with its data key from the store.
    pub fn open(
        &mut self,
        connection: &Connection,
        clear: &Clear<'_>,
        part: Part,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        if let Some(id) = Opener::key_of(sealed)
            && !self.opener.has(id)
        {
            let wrapped: Option<Vec<u8>> = connection
                .query_row("SELECT wrapped FROM keys WHERE id = ?", [id], |row| row.get(0))
                .optional()?;
            let gone = || StoreError::Sealed { what: format!("message {}", clear.number) };
            let key = self.master.unwrap("data", &wrapped.ok_or_else(gone)?)?;
            self.opener.add(id, &key)?;
        }
        self.opener.open(clear, part, sealed)
    }
}

/// A row of messages.
pub(super) struct Row {
    pub number: u64,
    pub at: i64,
    pub feed: String,
    pub kind: String,
    pub status: String,
    pub epoch: u32,
    pub content: Vec<u8>,
}

impl Row {
    /// Reads number, time, feed, type, status, epoch and content, in this order.
    pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get::<_, i64>(0)?.cast_unsigned(),
            at: row.get(1)?,
            feed: row.get(2)?,
            kind: row.get(3)?,
            status: row.get(4)?,
            epoch: row.get(5)?,
            content: row.get(6)?,
        })
    }

    /// What it says in clear.
    pub fn clear(&self) -> Clear<'_> {
        Clear {
            number: self.number,
            at: self.at,
            feed: &self.feed,
            kind: &self.kind,
            status: &self.status,
            epoch: self.epoch,
        }
    }
}
