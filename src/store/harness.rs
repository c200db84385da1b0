//! A store for tests: what its writer and its readers have, without the threads.
//!
//! Promises: the same schema, seals and readers as a running store's, in a folder of its own.
//! Knows nothing of: what a test asks of it.

use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::connection::{self, Schema};
use super::ledger::{self, Brought, Filing};
use super::reader::{Keys, Reader};
use super::seal::{Master, Sealer};
use crate::admit::entry::Given;
use crate::admit::{Digest, DigestKey};
use crate::event::Subject;
use crate::phi::Phi;
use crate::secret::Key;

/// A new store in a folder of its own.
pub(super) struct Harness {
    pub connection: Connection,
    pub sealer: Sealer,
    pub digests: DigestKey,
    pub filing: Filing,
    pub reader: Mutex<Reader>,
    /// The number of the newest message.
    newest: u64,
    _dir: tempfile::TempDir,
}

impl Default for Harness {
    fn default() -> Self {
        let key = |byte| Key::from_bytes(&[byte; 32]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let connection = connection::open_for_writing(&path, Schema::Journal).unwrap();
        let master = Master::new(&key(1)).unwrap();
        let insert = "INSERT INTO keys (id, purpose, made_at, wrapped) VALUES (7, 'data', 0, ?)";
        connection.execute(insert, [master.wrap("data", &key(2)).unwrap()]).unwrap();
        let digests = DigestKey::new(&key(3));
        let keys = Keys::new(master.clone(), digests.clone());
        let filing = Filing { keys, policy: Arc::default() };
        let reader = Mutex::new(Reader::open(&path, master, digests.clone()).unwrap());
        let sealer = Sealer::new(7, &key(2)).unwrap();
        Self { connection, sealer, digests, filing, reader, newest: 0, _dir: dir }
    }
}

impl Harness {
    /// The number of the next message.
    pub fn next(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Files what a message brings; whose records were kept.
    pub fn file(&mut self, brought: Brought<'_>, given: &[Given]) -> Vec<Digest> {
        let Self { connection, sealer, digests, filing, .. } = self;
        ledger::write(connection, sealer, digests, filing, brought, given).unwrap()
    }
}

/// A subject of one authority.
pub(super) fn subject(value: &str) -> Subject {
    Subject { authority: "A".to_owned(), value: Phi::new(value.to_owned()) }
}
