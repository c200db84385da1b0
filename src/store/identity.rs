//! What holds a store, its keys and the configuration together.
//!
//! Promises: a store opens with its own keys and in its own environment only; a route that was
//! never seen before begins at the journal's end.
//! Knows nothing of: messages.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::journal::Position;
use super::seal::Master;
use super::{StateDir, StoreError, moves};
use crate::admit::DigestKey;
use crate::clock;
use crate::secret::{Key, random_name};

/// Marks beside the keys.
const STORE_MARK: &str = "store";
const ENVIRONMENT_MARK: &str = "environment";

/// The store that the keys of a folder belong to.
pub(super) fn store_mark(state: &StateDir) -> Result<Option<String>, StoreError> {
    state.mark(STORE_MARK)
}

/// Holds store, keys and configuration together.
pub(super) fn identify(
    connection: &Connection,
    state: &StateDir,
    store_mark: Option<String>,
    environment: &str,
    path: &Path,
) -> Result<(), StoreError> {
    let meta = |name: &str| -> Result<Option<String>, StoreError> {
        let mut statement = connection.prepare("SELECT value FROM meta WHERE name = ?")?;
        let mut rows = statement.query_map([name], |row| row.get(0))?;
        Ok(rows.next().transpose()?)
    };
    let store = match meta("store")? {
        Some(store) => store,
        None => {
            let id = random_name(32)?;
            let mut insert = connection.prepare("INSERT INTO meta (name, value) VALUES (?, ?)")?;
            insert.execute(params!["store", id])?;
            insert.execute(params!["environment", environment])?;
            id
        }
    };
    match store_mark {
        Some(mark) if mark != store => {
            return Err(StoreError::OtherStore { path: path.display().to_string() });
        }
        Some(_) => {}
        None => state.set_mark(STORE_MARK, &store)?,
    }
    let other = |path: String, found: String| StoreError::OtherEnvironment {
        path,
        found,
        wanted: environment.to_owned(),
    };
    match meta("environment")? {
        Some(found) if found != environment => {
            return Err(other(path.display().to_string(), found));
        }
        _ => {}
    }
    match state.mark(ENVIRONMENT_MARK)? {
        Some(found) if found != environment => {
            Err(other(format!("{}/keys", state.path().display()), found))
        }
        Some(_) => Ok(()),
        None => state.set_mark(ENVIRONMENT_MARK, environment),
    }
}

/// The key of digests of a store that is only read: it is there, or the store is none.
pub(super) fn known_digest_key(
    connection: &Connection,
    master: &Master,
) -> Result<DigestKey, StoreError> {
    let sql = "SELECT wrapped FROM keys WHERE purpose = 'digest'";
    let wrapped: Vec<u8> = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(DigestKey::new(&master.unwrap("digest", &wrapped)?))
}

/// The key of digests, made with the store.
pub(super) fn digest_key(
    connection: &Connection,
    master: &Master,
) -> Result<DigestKey, StoreError> {
    let mut statement = connection.prepare("SELECT wrapped FROM keys WHERE purpose = 'digest'")?;
    let found: Option<Vec<u8>> = statement.query_map([], |row| row.get(0))?.next().transpose()?;
    let key = match found {
        Some(wrapped) => master.unwrap("digest", &wrapped)?,
        None => {
            let key = Key::random()?;
            connection.execute(
                "INSERT INTO keys (purpose, made_at, wrapped) VALUES ('digest', ?, ?)",
                params![clock::now_ms(), master.wrap("digest", &key)?],
            )?;
            key
        }
    };
    Ok(DigestKey::new(&key))
}

/// The cursors of the routes; those that have none yet get one at the journal's end.
pub(super) fn begin_cursors(
    connection: &Connection,
    routes: &[Arc<str>],
    highest: u64,
) -> Result<BTreeMap<Arc<str>, Position>, StoreError> {
    let mut known = BTreeMap::new();
    let mut statement = connection.prepare("SELECT route, number, sequence FROM cursors")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    })?;
    for row in rows {
        let (route, number, sequence) = row?;
        let position =
            Position { number: number.cast_unsigned(), sequence: sequence.cast_unsigned() };
        known.insert(route, position);
    }
    let mut cursors = BTreeMap::new();
    for route in routes {
        let position = match known.get(route.as_ref()) {
            Some(position) => *position,
            None => {
                let position = Position { number: highest, sequence: 0 };
                moves::write_cursor(connection, route, position)?;
                position
            }
        };
        cursors.insert(Arc::clone(route), position);
    }
    Ok(cursors)
}
