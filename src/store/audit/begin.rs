//! How the evidence of a folder is taken up.
//!
//! Promises: a chain is begun once; one that is gone, another's, or behind its own checkpoints is
//! refused with one clear line.
//! Knows nothing of: what comes after.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::connection::{self, Schema};
use super::super::state::{StateDir, sync_folder};
use super::super::{StoreError, state};
use super::lately;
use super::lines::{Lines, folder};
use super::writer::{Seal, Start, seconds};
use super::{AuditConfig, FILE, PUBLIC_KEY, SIGNING_KEY};
use crate::audit::chain::genesis;
use crate::audit::{Broken, Checkpoint, Hash, Signer, Verifier};
use crate::metrics::AuditMetrics;
use crate::secret::{hex, random_name};

/// The mark beside the keys: the chain's ID.
const CHAIN_MARK: &str = "audit";
/// How many of the newest records are followed at a start: below a tenth of a second.
const LOOKED_AT_START: u64 = 10_000;

/// Takes the evidence up; the newest checkpoint of the file with it.
pub(super) fn begin(
    state: &StateDir,
    config: AuditConfig,
) -> Result<(Start, Option<Checkpoint>), StoreError> {
    let path = state.file(FILE);
    let mark = state.mark(CHAIN_MARK)?;
    let other = |what: String| StoreError::OtherChain { path: path.display().to_string(), what };
    if mark.is_some() && !path.exists() {
        return Err(other("is gone".to_owned()));
    }
    let connection = connection::open_for_writing(&path, Schema::Audit)?;
    // As with the journal: what an earlier process wrote may never have reached the disk.
    connection::checkpoint_whole(&connection)?;
    sync_folder(state.path()).map_err(|source| folder(state.path(), source))?;
    let chain = chain_id(&connection)?;
    match mark {
        Some(mark) if mark != chain => {
            return Err(other("is not the chain that keys/audit names".to_owned()));
        }
        Some(_) => {}
        None => state.set_mark(CHAIN_MARK, &chain)?,
    }
    lately::move_what_is_left(&connection)?;
    let signer = signer(state)?;
    let head = head(&connection, &chain)?;
    let lines_path = state.path().join(&config.file);
    let (lines, newest) = Lines::open(&lines_path)?;
    let newest = newest.map(|line| Checkpoint::read(&line)).transpose().map_err(|error| {
        let what = format!("ends with a line that {error}");
        StoreError::OtherChain { path: lines_path.display().to_string(), what }
    })?;
    if let Some(newest) = &newest {
        agrees(&connection, &chain, &head, newest).map_err(|wrong| match wrong {
            Disagrees::Says(what) => other(what),
            Disagrees::Store(error) => error,
        })?;
    }
    let metrics = AuditMetrics::new();
    if let Err(broken) = newest_hold_together(&connection, &head)? {
        // It goes on: what is recorded from here on hangs on what is there, and `audit verify`
        // names all of it. A ward does not stand still for a bit that flipped.
        metrics.verify_failures.increment(1);
        tracing::error!(%broken, "the evidence is not what was written; see `tidegate audit verify`");
    }
    metrics.last_checkpoint.set(newest.as_ref().map_or(0.0, |newest| seconds(newest.at)));
    let signed = newest.as_ref().map_or(0, |newest| newest.number);
    let seal = Arc::new(Seal { chain, node: config.node.clone(), signer });
    Ok((Start { connection, head, seal, lines, signed, config, metrics }, newest))
}

/// The ID of the chain, made with it.
fn chain_id(connection: &Connection) -> Result<String, StoreError> {
    if let Some(chain) = read_chain_id(connection)? {
        return Ok(chain);
    }
    let id = random_name(32)?;
    connection.execute("INSERT INTO meta (name, value) VALUES ('chain', ?)", [&id])?;
    Ok(id)
}

/// The ID of the chain, where it was begun.
pub(super) fn read_chain_id(connection: &Connection) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare("SELECT value FROM meta WHERE name = 'chain'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

fn signer(state: &StateDir) -> Result<Signer, StoreError> {
    let seed = state.key(SIGNING_KEY)?;
    let corrupt = || StoreError::Corrupt { what: format!("keys/{SIGNING_KEY}.key") };
    let signer = Signer::new(&seed).ok_or_else(corrupt)?;
    let (path, line) = (state.file(PUBLIC_KEY), format!("{}\n", signer.public()));
    if std::fs::read(&path).ok().as_deref() != Some(line.as_bytes()) {
        let write = || {
            state::write_durably(&path, line.as_bytes())?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
        };
        write().map_err(|source| folder(&path, source))?;
    }
    Ok(signer)
}

/// Where the chain is.
fn head(connection: &Connection, chain: &str) -> Result<Verifier, StoreError> {
    let newest: Option<(i64, Vec<u8>)> = connection
        .query_row("SELECT number, hash FROM records ORDER BY number DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((number, hash)) = newest else { return Ok(Verifier::after(0, genesis(chain))) };
    let number = number.cast_unsigned();
    let corrupt = |_| StoreError::Corrupt { what: format!("the hash of audit record {number}") };
    Ok(Verifier::after(number, Hash::try_from(hash).map_err(corrupt)?))
}

/// Whether the newest records hang together; the daemon looks at each start, `audit verify` at all
/// of them.
fn newest_hold_together(
    connection: &Connection,
    head: &Verifier,
) -> Result<Result<(), Broken>, StoreError> {
    let above = head.number().saturating_sub(LOOKED_AT_START);
    let mut statement = connection
        .prepare("SELECT number, hash, bytes FROM records WHERE number >= ? ORDER BY number")?;
    let mut rows = statement.query([above.max(1).cast_signed()])?;
    let mut verifier: Option<Verifier> = None;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        let (hash, bytes): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        match &mut verifier {
            Some(verifier) => {
                if let Err(broken) = verifier.take(number, &hash, &bytes) {
                    return Ok(Err(broken));
                }
            }
            // The first is where it begins.
            None => verifier = Hash::try_from(hash).ok().map(|hash| Verifier::after(number, hash)),
        }
    }
    Ok(Ok(()))
}

enum Disagrees {
    Says(String),
    Store(StoreError),
}

/// Whether the chain holds what the newest checkpoint says.
// PROMISE-9: a copy from before a checkpoint is not gone on with.
fn agrees(
    connection: &Connection,
    chain: &str,
    head: &Verifier,
    newest: &Checkpoint,
) -> Result<(), Disagrees> {
    let (number, at) = (newest.number, newest.at);
    if newest.chain != chain {
        return Err(Disagrees::Says("is not the chain that its checkpoints are of".to_owned()));
    }
    if number > head.number() {
        let found = head.number();
        return Err(Disagrees::Says(format!(
            "ends at record {found}, and the checkpoint of {at} says {number}: it is an older \
             copy, or was cut"
        )));
    }
    let hash: Option<Vec<u8>> = connection
        .query_row(
            "SELECT hash FROM records WHERE number = ?",
            params![number.cast_signed()],
            |row| row.get(0),
        )
        .optional()
        .map_err(|error| Disagrees::Store(error.into()))?;
    match hash {
        Some(hash) if hex(&hash) != newest.hash => Err(Disagrees::Says(format!(
            "does not hold what the checkpoint of {at} says of record {number}"
        ))),
        _ => Ok(()),
    }
}
