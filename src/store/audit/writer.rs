//! The one thread that writes audit.db, and the one that helps it.
//!
//! Promises: whatever waits rides in the next transaction, and is answered after its fsync; an
//! error of the disk stops the process before anything more is answered; a checkpoint is signed
//! after so many records, after a while where there are fewer, and at the end.
//! Knows nothing of: what records say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot, watch};

use super::super::{StoreError, connection};
use super::lines::{Lines, folder};
use super::{AuditBusy, AuditConfig, AuditThreads};
use crate::audit::{Checkpoint, Draft, Signer, Verifier, chain};
use crate::clock;
use crate::metrics::Pulse;

/// Most records in one transaction, about. More would only lengthen the wait of the first.
const BATCH_RECORDS_MAX: usize = 1_024;
/// Most bytes of records in one transaction, about.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How many commands wait at most; then routes wait.
pub(super) const QUEUE_COMMANDS_MAX: usize = 1_024;
/// Bytes of log, about, after which it is copied into the store.
const COPY_BYTES: u64 = 32 << 20;
/// Bytes of log that a record adds beside its own: a page for each thing it is found by.
const LOG_BYTES_EACH: u64 = 20 << 10;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Record this.
    Append(Append),
    /// Look whether a checkpoint is due.
    Tick,
    /// The log was copied but for its newest pages; copy those, too.
    FinishCopy,
    /// Write what waits, sign, and end.
    Stop,
}

/// Records, and who waits for their numbers.
#[derive(Debug)]
pub(super) struct Append {
    pub drafts: Vec<Draft>,
    pub answer: oneshot::Sender<Result<Vec<u64>, AuditBusy>>,
}

/// What the helper is asked.
enum Chore {
    /// Copy the log into the store.
    Copy,
}

/// What the writer begins with.
#[derive(Debug)]
pub(super) struct Start {
    pub connection: Connection,
    pub chain: String,
    pub head: Verifier,
    pub signer: Signer,
    pub lines: Lines,
    /// The number of the newest checkpoint.
    pub signed: u64,
    pub config: AuditConfig,
}

/// Everything that the threads are made of.
pub(super) struct Parts {
    pub start: Start,
    pub path: PathBuf,
    pub head: Arc<AtomicU64>,
    pub pulse: Pulse,
    pub checkpoints: watch::Sender<Option<Checkpoint>>,
    pub commands: mpsc::Sender<Command>,
    pub receiver: mpsc::Receiver<Command>,
}

/// The writer's own things.
struct Writer {
    start: Start,
    head: Arc<AtomicU64>,
    pulse: Pulse,
    checkpoints: watch::Sender<Option<Checkpoint>>,
    chores: std::sync::mpsc::Sender<Chore>,
    /// When the oldest record came that no checkpoint holds yet.
    unsigned_since: Option<Duration>,
    log_bytes: u64,
    copying: bool,
}

/// Starts the threads.
pub(super) fn start(parts: Parts) -> Result<AuditThreads, StoreError> {
    let Parts { start, path, head, pulse, checkpoints, commands, receiver } = parts;
    let (chores, asked) = std::sync::mpsc::channel();
    let mut writer = Writer {
        start,
        head,
        pulse,
        checkpoints,
        chores,
        unsigned_since: None,
        log_bytes: 0,
        copying: false,
    };
    writer.sign()?;
    let (failed_sender, failed) = watch::channel(false);
    let spawn_error = |source| folder(Path::new("a thread"), source);
    let writer_failed = failed_sender.clone();
    let writer = std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || {
            let outcome = writer.run(receiver);
            writer_failed.send_replace(outcome.is_err());
            outcome
        })
        .map_err(spawn_error)?;
    let sender = commands.clone();
    let chores = std::thread::Builder::new()
        .name("audit-chores".to_owned())
        .spawn(move || {
            let outcome = chores_loop(&path, &sender, &asked);
            if outcome.is_err() {
                failed_sender.send_replace(true);
            }
            outcome
        })
        .map_err(spawn_error)?;
    Ok(AuditThreads { writer, chores, commands, failed })
}

impl Writer {
    /// Serves commands until it is told to stop, or the store fails.
    fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), StoreError> {
        let mut stopping = false;
        while !stopping {
            let Some(first) = commands.blocking_recv() else { break };
            self.pulse.beat();
            let mut batch = Batch::default();
            let mut next = Some(first);
            while let Some(command) = next {
                stopping |= batch.take(command);
                let full = batch.records >= BATCH_RECORDS_MAX || batch.bytes >= BATCH_BYTES_MAX;
                next = if full || stopping { None } else { commands.try_recv().ok() };
            }
            self.write(batch)?;
        }
        self.sign()?;
        // So that the file alone is the store; a reader that is still at it leaves the log.
        connection::checkpoint_whole(&self.start.connection)
    }

    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        if batch.records > 0 {
            self.log_bytes += batch.bytes as u64 + batch.records as u64 * LOG_BYTES_EACH;
            match self.transact(&batch.appends) {
                Ok(()) => self.answer(batch.appends),
                Err(error) if error.passes() => {
                    for append in batch.appends {
                        // A route that went away needs no answer.
                        append.answer.send(Err(AuditBusy::Disk)).ok();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.sign_if_due()?;
        if batch.finish_copy {
            self.copying = false;
            copy(&self.start.connection)?;
        } else if self.log_bytes > COPY_BYTES && !self.copying {
            // The thread has ended where the daemon stops; closing the store copies the log then.
            self.copying = self.chores.send(Chore::Copy).is_ok();
            self.log_bytes = 0;
        }
        Ok(())
    }

    // PROMISE-8: COMMIT returns after the fsync; nobody is answered before.
    fn transact(&mut self, appends: &[Append]) -> Result<(), StoreError> {
        let connection = &self.start.connection;
        let outcome = in_transaction(connection, self.start.head, appends);
        match outcome {
            Ok(head) => self.start.head = head,
            Err(error) => {
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK")?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Everyone is told the numbers.
    fn answer(&mut self, appends: Vec<Append>) {
        let head = self.start.head.number();
        let count: u64 = appends.iter().map(|append| append.drafts.len() as u64).sum();
        let mut next = head - count + 1;
        self.head.store(head, Ordering::Release);
        self.unsigned_since.get_or_insert_with(clock::monotonic);
        for append in appends {
            let after = next + append.drafts.len() as u64;
            // A route that went away needs no answer; what it decided is recorded.
            append.answer.send(Ok((next..after).collect())).ok();
            next = after;
        }
    }

    fn sign_if_due(&mut self) -> Result<(), StoreError> {
        let unsigned = self.start.head.number() - self.start.signed;
        let waited = self.unsigned_since.map(|since| clock::monotonic().saturating_sub(since));
        let late = waited.is_some_and(|waited| waited >= self.start.config.or_after);
        if unsigned >= self.start.config.every || late { self.sign() } else { Ok(()) }
    }

    /// Signs where the chain is, if that is new.
    // PROMISE-9: whoever keeps the line elsewhere has everything up to here.
    fn sign(&mut self) -> Result<(), StoreError> {
        let Start { chain, head, signer, lines, signed, config, .. } = &mut self.start;
        if head.number() == *signed {
            return Ok(());
        }
        let checkpoint = signer.sign(chain, head.number(), head.hash(), clock::now(), &config.node);
        match lines.append(&checkpoint) {
            Ok(()) => {
                *signed = head.number();
                self.unsigned_since = None;
                self.checkpoints.send_replace(Some(checkpoint));
                Ok(())
            }
            // On a full disk it is signed later.
            Err(error) if passes(&error) => {
                tracing::warn!(%error, "no checkpoint could be written; it is tried again");
                self.unsigned_since = Some(clock::monotonic());
                Ok(())
            }
            Err(error) => Err(folder(lines.path(), error)),
        }
    }
}

/// Whether a file cannot be written now, which passes.
pub(super) fn passes(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// One transaction: what waits, and then what it is found by, in the order of the index.
fn in_transaction(
    connection: &Connection,
    mut head: Verifier,
    appends: &[Append],
) -> Result<Verifier, StoreError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut keys: Vec<(i64, i64)> = Vec::new();
    {
        let mut insert = connection
            .prepare_cached("INSERT INTO records (number, hash, bytes) VALUES (?1, ?2, ?3)")?;
        for draft in appends.iter().flat_map(|append| &append.drafts) {
            let number = head.number() + 1;
            let bytes = draft.bytes(number);
            let hash = chain::next(head.hash(), &bytes);
            insert.execute(params![number.cast_signed(), hash, bytes])?;
            keys.extend(draft.keys().iter().map(|key| (*key, number.cast_signed())));
            head = Verifier::after(number, hash);
        }
        keys.sort_unstable();
        let mut insert =
            connection.prepare_cached("INSERT INTO found (key, number) VALUES (?1, ?2)")?;
        for (key, number) in keys {
            insert.execute(params![key, number])?;
        }
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(head)
}

/// Commands that ride together.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    records: usize,
    bytes: usize,
    finish_copy: bool,
}

impl Batch {
    /// Adds a command; true where it is the one to stop.
    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Append(append) => {
                self.records += append.drafts.len();
                self.bytes += append.drafts.iter().map(Draft::bytes_len).sum::<usize>();
                self.appends.push(append);
            }
            Command::Tick => {}
            Command::FinishCopy => self.finish_copy = true,
            Command::Stop => return true,
        }
        false
    }
}

/// Does what the writer has no time for; ends with it.
fn chores_loop(
    path: &Path,
    commands: &mpsc::Sender<Command>,
    asked: &std::sync::mpsc::Receiver<Chore>,
) -> Result<(), StoreError> {
    let connection = connection::open_for_checkpoints(path)?;
    while let Ok(chore) = asked.recv() {
        let done = match chore {
            Chore::Copy => {
                copy(&connection)?;
                Command::FinishCopy
            }
        };
        if commands.blocking_send(done).is_err() {
            break;
        }
    }
    Ok(())
}

/// A full disk loses nothing: what was not copied stays in the log, and the next copy takes it.
fn copy(connection: &Connection) -> Result<(), StoreError> {
    match connection::checkpoint(connection) {
        Err(error) if error.passes() => Ok(()),
        outcome => outcome,
    }
}
