//! The journal of a folder, read through without a trace, whether a daemon runs on it or not.
//!
//! Promises: nothing is written, made or locked; memory is bounded whatever the span; what does not
//! open is counted and left out.
//! Knows nothing of: what is done with the entries.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use super::StoreError;
use super::connection::{Rest, Schema, open_quietly};
use super::identity::known_digest_key;
use super::journal::FILE;
use super::ledger::{self, Filed};
use super::reader::Reader;
use super::seal::Master;
use crate::admit::{DigestKey, Entry};
use crate::event::Subject;
use crate::secret::Key;

pub use super::reader::Span;

/// Entries read at once.
const READ_ENTRIES: usize = 256;

/// The journal and the ledger of a folder.
#[derive(Debug)]
pub struct Past {
    reader: Reader,
    digests: DigestKey,
    rest: Rest,
    damaged: u64,
}

impl Past {
    /// Opens the store of a folder.
    ///
    /// # Errors
    /// It is not there, or does not open with the master key.
    pub fn open(state_dir: &Path, master: &Key) -> Result<Self, StoreError> {
        let master = Master::new(master)?;
        let (connection, rest) = open_quietly(&state_dir.join(FILE), Schema::Journal)?;
        let digests = known_digest_key(&connection, &master)?;
        let reader = Reader::of(connection, master, digests.clone());
        Ok(Self { reader, digests, rest, damaged: 0 })
    }

    /// The key of the digests that stand for subjects.
    #[must_use]
    pub const fn digests(&self) -> &DigestKey {
        &self.digests
    }

    /// The first and the last message that is there, and when the first came in, in milliseconds
    /// since 1970.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn bounds(&self) -> Result<(u64, u64, i64), StoreError> {
        let bounds = self.reader.connection.query_row(
            "SELECT coalesce(min(number), 0), coalesce(max(number), 0),
                    coalesce((SELECT at FROM messages ORDER BY number LIMIT 1), 0)
             FROM messages",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?)),
        );
        let (first, last, at) = bounds?;
        Ok((first.cast_unsigned(), last.cast_unsigned(), at))
    }

    /// The next entries of a span behind a number; none at its end.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_after(&mut self, number: u64, span: &Span) -> Result<Vec<Arc<Entry>>, StoreError> {
        let damaged = Cell::new(0);
        let note = |_, _: &StoreError| damaged.set(damaged.get() + 1);
        let entries = self.reader.read_span(number, span, READ_ENTRIES, note)?;
        self.damaged += damaged.get();
        Ok(entries)
    }

    /// What is filed of the consent of a subject.
    ///
    /// # Errors
    /// The store cannot be read, or a record is not what was written.
    pub fn filed(&mut self, subject: &Subject) -> Result<Filed, StoreError> {
        let digest = self.digests.subject(subject);
        ledger::read_from(&mut self.reader, &digest).map(|(filed, _)| filed)
    }

    /// How many messages did not open.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether what was read so far is what the store holds: a daemon that was started on a store
    /// at rest writes while it is read without locks.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rest.holds()
    }
}
