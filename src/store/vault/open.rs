//! How a vault.db is taken up, by who writes it and by who only looks.
//!
//! Promises: the file is the one that the mark beside the keys names, and made with this key, or it
//! is refused; to look makes nothing.
//! Knows nothing of: who asks, and threads.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::super::connection::{self, Schema};
use super::super::state::sync_folder;
use super::super::{StateDir, StoreError};
use super::seal::Seals;
use super::{FILE, Resolved, rows};
use crate::event::Subject;
use crate::secret::{Key, random_name};

/// The mark beside the keys: the vault's ID.
const VAULT_MARK: &str = "vault";

/// Looks things up in a vault.db, whether a daemon runs or not.
pub struct VaultReader {
    pub(super) connection: Connection,
    seals: Arc<Seals>,
}

impl std::fmt::Debug for VaultReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("VaultReader(..)")
    }
}

impl VaultReader {
    /// Opens the vault of a folder; nothing where none was made yet.
    ///
    /// # Errors
    /// It cannot be read, or does not open with the key.
    pub fn open(state_dir: &Path, key: &Key) -> Result<Option<Self>, StoreError> {
        let path = state_dir.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let reader = Self::of(&path, Arc::new(Seals::new(key)?))?;
        let known = meta(&reader.connection, "key")?;
        if known.is_some_and(|known| known != reader.seals.mark()) {
            return Err(StoreError::OtherKey { path: path.display().to_string() });
        }
        Ok(Some(reader))
    }

    pub(super) fn of(path: &Path, seals: Arc<Seals>) -> Result<Self, StoreError> {
        Ok(Self { connection: connection::open_for_reading(path, Schema::Vault)?, seals })
    }

    /// The subject's token in a realm; none where a release would make a new one.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn token(&self, realm: &str, subject: &Subject) -> Result<Option<String>, StoreError> {
        rows::current(&self.connection, &self.seals, realm, &self.seals.subject(realm, subject))
    }

    /// Whom a token stands for, by the wall clock.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn resolve(
        &self,
        realm: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<Resolved, StoreError> {
        rows::resolve(&self.connection, &self.seals, realm, token, now)
    }
}

/// Takes the file up, or makes it: it has to be the one that the mark beside the keys names, and
/// made with this key.
pub(super) fn begin(
    state: &StateDir,
    path: &Path,
    seals: &Seals,
) -> Result<Connection, StoreError> {
    let name = || path.display().to_string();
    let mark = state.mark(VAULT_MARK)?;
    if mark.is_some() && !path.exists() {
        return Err(StoreError::OtherStore { path: name() });
    }
    let connection = connection::open_for_writing(path, Schema::Vault)?;
    // As with the journal: what an earlier process wrote may never have reached the disk.
    connection::checkpoint_whole(&connection)?;
    sync_folder(state.path()).map_err(|source| StoreError::Folder { path: name(), source })?;
    let id = match (meta(&connection, "vault")?, &mark) {
        (Some(id), _) => id,
        // An empty file is not the one that the mark names.
        (None, Some(_)) => return Err(StoreError::OtherStore { path: name() }),
        (None, None) => {
            let id = random_name(32)?;
            let rows = params![id, seals.mark()];
            connection
                .execute("INSERT INTO meta (name, value) VALUES ('vault', ?), ('key', ?)", rows)?;
            id
        }
    };
    if mark.as_ref().is_some_and(|mark| *mark != id) {
        return Err(StoreError::OtherStore { path: name() });
    }
    if meta(&connection, "key")?.as_deref() != Some(seals.mark().as_str()) {
        return Err(StoreError::OtherKey { path: name() });
    }
    if mark.is_none() {
        state.set_mark(VAULT_MARK, &id)?;
    }
    Ok(connection)
}

fn meta(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare("SELECT value FROM meta WHERE name = ?")?;
    let mut rows = statement.query_map([name], |row| row.get(0))?;
    Ok(rows.next().transpose()?)
}
