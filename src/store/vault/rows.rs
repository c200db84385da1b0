//! The rows of vault.db.
//!
//! Promises: of one subject in one realm one token at most is current; a token is given once and
//! never to somebody else; what a rotation or a revocation ended is not current again.
//! Knows nothing of: threads, and who asks.

use aws_lc_rs::rand;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::StoreError;
use super::seal::{Row, Seals};
use super::{Changed, Resolved, Which};
use crate::admit::Digest;
use crate::event::Subject;
use crate::secret::{SecretError, hex};

/// Bytes of a token: 128 bits, so that no two of a hospital's patients meet, and nobody guesses one.
const TOKEN_BYTES: usize = 16;
/// Most rows that one step of the sweep looks at.
const SWEEP_ROWS_MAX: i64 = 1_000;

/// The subject's token in a realm; none where it has none, or the last one was ended.
pub(super) fn current(
    connection: &Connection,
    seals: &Seals,
    realm: &str,
    subject: &Digest,
) -> Result<Option<String>, StoreError> {
    let found: Option<(i64, Vec<u8>)> = connection
        .prepare_cached(
            "SELECT epoch, sealed FROM tokens
             WHERE subject = ?1 AND state = 'current'
               AND id > coalesce((SELECT max(up_to) FROM rotations WHERE realm = ?2), 0)
             ORDER BY epoch DESC LIMIT 1",
        )?
        .query_row(params![subject.0, realm], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((epoch, sealed)) = found else { return Ok(None) };
    let (token, _) = seals.open(Row { realm, subject, epoch }, &sealed)?;
    Ok(Some(token))
}

/// The subject's token, which is made where there is none; and whether it was.
pub(super) fn issue(
    connection: &Connection,
    seals: &Seals,
    realm: &str,
    subject: &Subject,
    now: Timestamp,
) -> Result<(String, bool), StoreError> {
    let digest = seals.subject(realm, subject);
    if let Some(token) = current(connection, seals, realm, &digest)? {
        return Ok((token, false));
    }
    let mut bytes = [0; TOKEN_BYTES];
    rand::fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
    let token = hex(&bytes);
    let epoch: i64 = connection
        .prepare_cached("SELECT coalesce(max(epoch), 0) + 1 FROM tokens WHERE subject = ?")?
        .query_row([digest.0], |row| row.get(0))?;
    let sealed = seals.seal(Row { realm, subject: &digest, epoch }, &token, subject)?;
    connection
        .prepare_cached(
            "INSERT INTO tokens (token, subject, realm, epoch, at, state, sealed)
             VALUES (?, ?, ?, ?, ?, 'current', ?)",
        )?
        .execute(params![
            seals.token(realm, &token).0,
            digest.0,
            realm,
            epoch,
            now.as_millisecond(),
            sealed
        ])?;
    Ok((token, true))
}

/// A row as it is found by its token.
struct Found {
    id: i64,
    epoch: i64,
    state: String,
    subject: Option<[u8; 16]>,
    until: Option<i64>,
    sealed: Option<Vec<u8>>,
}

fn find(connection: &Connection, token: &Digest) -> Result<Option<Found>, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT id, epoch, state, subject, until, sealed FROM tokens WHERE token = ?",
        )?
        .query_row([token.0], |row| {
            Ok(Found {
                id: row.get(0)?,
                epoch: row.get(1)?,
                state: row.get(2)?,
                subject: row.get(3)?,
                until: row.get(4)?,
                sealed: row.get(5)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// Until when a token that a rotation of the whole realm ended resolves; nothing where none did.
fn ended_until(connection: &Connection, realm: &str, id: i64) -> Result<Option<i64>, StoreError> {
    let until = connection
        .prepare_cached(
            "SELECT until FROM rotations WHERE realm = ? AND up_to >= ? ORDER BY id LIMIT 1",
        )?
        .query_row(params![realm, id], |row| row.get(0))
        .optional()?;
    Ok(until)
}

/// Whom a token stands for, by the wall clock.
pub(super) fn resolve(
    connection: &Connection,
    seals: &Seals,
    realm: &str,
    token: &str,
    now: Timestamp,
) -> Result<Resolved, StoreError> {
    let Some(found) = find(connection, &seals.token(realm, token))? else {
        return Ok(Resolved::Unknown);
    };
    let (Some(subject), Some(sealed)) = (found.subject, &found.sealed) else {
        return Ok(Resolved::Revoked);
    };
    let until = match found.until {
        Some(until) => Some(until),
        None => ended_until(connection, realm, found.id)?,
    };
    let until = until.and_then(|until| Timestamp::from_millisecond(until).ok());
    if let Some(until) = until.filter(|until| *until <= now) {
        return Ok(Resolved::Expired(until));
    }
    let row = Row { realm, subject: &Digest(subject), epoch: found.epoch };
    let (opened, subject) = seals.open(row, sealed)?;
    if opened != token {
        return Err(StoreError::Corrupt { what: format!("a token of {}", super::FILE) });
    }
    Ok(Resolved::Subject { subject, until })
}

/// Whether a token was revoked, so that nothing may be linked with it.
pub(super) fn is_revoked(
    connection: &Connection,
    seals: &Seals,
    realm: &str,
    token: &str,
) -> Result<bool, StoreError> {
    let found = find(connection, &seals.token(realm, token))?;
    Ok(found.is_some_and(|found| found.state == "revoked"))
}

/// Ends one token or all of a realm: the next release of a subject makes a new one, and the old
/// ones resolve until then.
pub(super) fn rotate(
    connection: &Connection,
    seals: &Seals,
    realm: &str,
    (which, until): (&Which, Timestamp),
    now: Timestamp,
) -> Result<Changed, StoreError> {
    let (now, until) = (now.as_millisecond(), until.as_millisecond());
    match which {
        Which::One(token) => {
            let Some(found) = find(connection, &seals.token(realm, token))? else {
                return Ok(Changed::Unknown);
            };
            if found.state != "current" || ended_until(connection, realm, found.id)?.is_some() {
                return Ok(Changed::NotCurrent);
            }
            connection
                .prepare_cached("UPDATE tokens SET state = 'rotated', until = ? WHERE id = ?")?
                .execute(params![until, found.id])?;
            Ok(Changed::Tokens(1))
        }
        Which::All => {
            let newest: i64 = connection
                .prepare_cached("SELECT coalesce(max(id), 0) FROM tokens")?
                .query_row([], |row| row.get(0))?;
            let before: i64 = connection
                .prepare_cached("SELECT coalesce(max(up_to), 0) FROM rotations WHERE realm = ?")?
                .query_row([realm], |row| row.get(0))?;
            let ended: i64 = connection
                .prepare_cached(
                    "SELECT count(*) FROM tokens WHERE id > ? AND realm = ? AND state = 'current'",
                )?
                .query_row(params![before, realm], |row| row.get(0))?;
            connection
                .prepare_cached(
                    "INSERT INTO rotations (realm, at, up_to, until, swept) VALUES (?, ?, ?, ?, ?)",
                )?
                .execute(params![realm, now, newest, until, before])?;
            Ok(Changed::Tokens(ended.cast_unsigned()))
        }
    }
}

/// Ends a token at once: it resolves no more, and nothing is left that links it with another.
pub(super) fn revoke(
    connection: &Connection,
    seals: &Seals,
    realm: &str,
    token: &str,
) -> Result<Changed, StoreError> {
    let Some(found) = find(connection, &seals.token(realm, token))? else {
        return Ok(Changed::Unknown);
    };
    if found.state == "revoked" {
        return Ok(Changed::NotCurrent);
    }
    connection
        .prepare_cached(
            "UPDATE tokens SET state = 'revoked', subject = NULL, until = NULL, sealed = NULL
             WHERE id = ?",
        )?
        .execute([found.id])?;
    Ok(Changed::Tokens(1))
}

/// Deletes some of what resolves no more; whether there may be more of it.
pub(super) fn sweep(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let now = now.as_millisecond();
    let rotated = connection
        .prepare_cached(
            "DELETE FROM tokens WHERE id IN
                 (SELECT id FROM tokens WHERE until <= ? AND state = 'rotated' LIMIT ?)",
        )?
        .execute(params![now, SWEEP_ROWS_MAX])?;
    let due: Option<(i64, String, i64, i64)> = connection
        .prepare_cached(
            "SELECT id, realm, swept, up_to FROM rotations
             WHERE until <= ? AND swept < up_to ORDER BY id LIMIT 1",
        )?
        .query_row([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((rotation, realm, swept, up_to)) = due else {
        return Ok(i64::try_from(rotated).is_ok_and(|rotated| rotated == SWEEP_ROWS_MAX));
    };
    let end = up_to.min(swept.saturating_add(SWEEP_ROWS_MAX));
    connection
        .prepare_cached(
            "DELETE FROM tokens WHERE id > ? AND id <= ? AND realm = ? AND state = 'current'",
        )?
        .execute(params![swept, end, realm])?;
    connection
        .prepare_cached("UPDATE rotations SET swept = ? WHERE id = ?")?
        .execute(params![end, rotation])?;
    Ok(true)
}

/// How many tokens there are.
pub(super) fn count(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM tokens WHERE state <> 'revoked'")?
        .query_row([], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// Whether something is kept that resolves no more.
pub(super) fn is_due(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM tokens WHERE until <= ?1)
             OR EXISTS (SELECT 1 FROM rotations WHERE until <= ?1 AND swept < up_to)",
    )?;
    Ok(statement.query_row([now.as_millisecond()], |row| row.get(0))?)
}
