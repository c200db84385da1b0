//! What is durable, and the only SQL.
//!
//! Promises: what was answered as durable survives kill -9 and a power cut; a folder is used
//! by one daemon at a time; a store that is newer than this binary, of another environment, or
//! not the one that the keys belong to is refused with one clear line.
//! Knows nothing of: HL7, routes' contracts, connections.
//!
//! Reading order: [`state`] (the folder), [`seal`] (encryption), [`journal`] (the door: append,
//! read after, trim), `recent` (what need not be read again), [`ledger`] (whose consent), `told` (what
//! it need not keep), [`due`] (what time changes of it), `steady` and `timer` (by which clock),
//! `acts`, `family` and `subjects` (who is one person), `profiles` (how they were described),
//! `segments` (what each feed sends), `kept` (what each remembers),
//! [`identity`] (whose store it is), [`writer`] (group commit), [`moves`], [`spans`], [`violations`] and
//! [`once`] (what routes note), [`reader`] (entries back), [`query`] (what people look up), [`past`] (the
//! journal, read through without a trace), [`vault`] (random tokens), [`audit`] (the evidence).

pub mod state;
pub mod seal;
pub mod connection;
pub mod ring;
mod recent;
pub mod ledger;
pub mod family;
pub mod acts;
mod subjects;
mod profiles;
mod segments;
mod kept;
pub mod journal;
mod identity;
mod reader;
mod batch;
pub mod moves;
pub mod spans;
pub mod violations;
pub mod once;
mod told;
pub mod due;
pub mod steady;
mod timer;
mod trim;
pub mod writer;
pub mod query;
pub mod past;
pub mod vault;
pub mod audit;
#[cfg(test)]
mod harness;

pub use audit::{Audit, AuditBusy, AuditConfig};
pub use journal::{Journal, JournalConfig, Position};
pub use kept::Oldest;
pub use ledger::Filed;
pub use moves::{Came, Moved};
pub use spans::Span;
pub use state::StateDir;
pub use vault::{Vault, VaultBusy};
pub use violations::Violation;
pub use writer::{Admitted, Busy, Turn};

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be used.
    #[error("state_dir {path}: {source}")]
    Folder {
        /// The folder or file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another daemon uses the folder.
    #[error("state_dir {path} is in use by another daemon (it holds the lock)")]
    Locked {
        /// The folder.
        path: String,
    },
    /// The store was written by a later version.
    #[error("{path} has schema {found}, and this binary knows up to {known}; use the newer binary")]
    Newer {
        /// The file.
        path: String,
        /// The schema found.
        found: i64,
        /// The newest schema that is known.
        known: i64,
    },
    /// The store is of another environment.
    #[error(
        "{path} is of environment {found}, and the configuration says {wanted}; a mix is refused"
    )]
    OtherEnvironment {
        /// What holds the mark.
        path: String,
        /// The environment found.
        found: String,
        /// The environment configured.
        wanted: String,
    },
    /// The keys are here and the store is not, or is another.
    #[error(
        "{path} is not the store that the keys beside it belong to; put that one back, or \
             move the folder keys away to begin anew"
    )]
    OtherStore {
        /// The store.
        path: String,
    },
    /// The file was made with another key.
    #[error(
        "{path} was made with another key; put that key back, or the file that goes with this one"
    )]
    OtherKey {
        /// The file.
        path: String,
    },
    /// The evidence is not what it was.
    #[error(
        "{path} {what}; put the right one back, or move audit.db, its checkpoints and keys/audit \
             away to begin a new chain"
    )]
    OtherChain {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A key cannot be had.
    #[error(transparent)]
    Key(#[from] crate::secret::SecretError),
    /// A key that was made is not there any more.
    #[error("{path} is gone; put it back")]
    MissingKey {
        /// The file.
        path: String,
    },
    /// What is sealed does not open with the keys at hand.
    #[error(
        "{what} does not open with the keys at hand: it was changed, or the master key is another"
    )]
    Sealed {
        /// What does not open.
        what: String,
    },
    /// A pragma that durability rests on did not take.
    #[error("{pragma} is {found} after it was set to {wanted}")]
    Pragma {
        /// The pragma.
        pragma: &'static str,
        /// What was set.
        wanted: &'static str,
        /// What was read back.
        found: String,
    },
    /// SQLite.
    #[error("store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The migrations.
    #[error("store: {0}")]
    Migration(String),
    /// What was read is not what was written.
    #[error("{what} cannot be read back")]
    Corrupt {
        /// What cannot be read.
        what: String,
    },
    /// The writer has stopped.
    #[error("the journal has stopped")]
    Stopped,
}

impl StoreError {
    /// Whether the store cannot write now, which passes: the disk is full, a quota or a limit on
    /// the size of files is reached, or another process holds the file. Nothing was written then.
    #[must_use]
    pub fn passes(&self) -> bool {
        let Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        matches!(
            error.code,
            ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked
        ) || matches!(error.extended_code, SQLITE_IOERR_WRITE | SQLITE_IOERR_SHMSIZE)
    }
}
