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
use super::archive::{self, Archived};
use super::helper::{Chore, Helper, copy};
use super::lately::{Lately, Pair, Run};
use super::lines::{Lines, folder};
use super::{AuditBusy, AuditConfig, AuditThreads};
use crate::audit::{Checkpoint, Draft, Signer, Verifier, chain};
use crate::clock;
use crate::metrics::{AuditMetrics, Pulse};

/// Most records in one transaction, about. More would only lengthen the wait of the first.
const BATCH_RECORDS_MAX: usize = 1_024;
/// Most bytes of records in one transaction, about.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How many commands wait at most; then routes wait.
pub(super) const QUEUE_COMMANDS_MAX: usize = 1_024;
/// Bytes of log, about, after which it is copied into the store.
const COPY_BYTES: u64 = 32 << 20;
/// Bytes of a page of the log: what a record may add beside its own, and then again for each thing that
/// it is found by, when that is moved into the index.
const PAGE_BYTES: u64 = 4 << 10;

/// How long after a try that failed what is old is looked for again.
const ARCHIVE_PAUSE: Duration = Duration::from_secs(60);

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Record this.
    Append(Append),
    /// Look whether a checkpoint is due.
    Tick,
    /// The log was copied but for its newest pages; copy those, too.
    FinishCopy,
    /// What is old was written into a segment, or could not be; nothing where nothing was old.
    Archived(Option<Box<Archived>>),
    /// Write what waits, sign, and end.
    Stop,
}

/// Records, and who waits for their numbers.
#[derive(Debug)]
pub(super) struct Append {
    pub drafts: Vec<Draft>,
    pub answer: oneshot::Sender<Result<Vec<u64>, AuditBusy>>,
}

/// What the writer begins with.
#[derive(Debug)]
pub(super) struct Start {
    pub connection: Connection,
    pub head: Verifier,
    pub seal: Arc<Seal>,
    pub lines: Lines,
    /// The number of the newest checkpoint.
    pub signed: u64,
    pub config: AuditConfig,
    pub metrics: AuditMetrics,
}

/// What a checkpoint is signed with, and says of the chain.
#[derive(Debug)]
pub(super) struct Seal {
    pub chain: String,
    pub node: String,
    pub signer: Signer,
}

impl Seal {
    /// Signs that the chain was there.
    pub fn sign(&self, at: &Verifier) -> Checkpoint {
        self.signer.sign(&self.chain, at.number(), at.hash(), clock::now(), &self.node)
    }
}

/// Everything that the threads are made of.
pub(super) struct Parts {
    pub start: Start,
    pub path: PathBuf,
    pub head: Arc<AtomicU64>,
    pub lately: Arc<Lately>,
    pub pulse: Pulse,
    pub checkpoints: watch::Sender<Option<Checkpoint>>,
    pub commands: mpsc::Sender<Command>,
    pub receiver: mpsc::Receiver<Command>,
}

/// The writer's own things.
struct Writer {
    start: Start,
    head: Arc<AtomicU64>,
    lately: Arc<Lately>,
    pulse: Pulse,
    checkpoints: watch::Sender<Option<Checkpoint>>,
    chores: std::sync::mpsc::Sender<Chore>,
    /// When the oldest record came that no checkpoint holds yet.
    unsigned_since: Option<Duration>,
    log_bytes: u64,
    copying: bool,
    archiving: bool,
    /// When what is old is looked for again, after that failed.
    archive_after: Duration,
}

/// Starts the threads.
pub(super) fn start(parts: Parts) -> Result<AuditThreads, StoreError> {
    let Parts { start, path, head, lately, pulse, checkpoints, commands, receiver } = parts;
    let (chores, asked) = std::sync::mpsc::channel();
    let mut writer = Writer {
        start,
        head,
        lately,
        pulse,
        checkpoints,
        chores,
        unsigned_since: None,
        log_bytes: 0,
        copying: false,
        archiving: false,
        archive_after: Duration::ZERO,
    };
    let helper = Helper {
        state_dir: path.parent().unwrap_or(Path::new(".")).to_path_buf(),
        path,
        seal: Arc::clone(&writer.start.seal),
        retention: writer.start.config.retention,
        metrics: writer.start.metrics.clone(),
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
            let outcome = helper.run(&sender, &asked);
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
        self.move_lately()?;
        // So that the file alone is the store; a reader that is still at it leaves the log.
        connection::checkpoint_whole(&self.start.connection)
    }

    fn write(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        if batch.records > 0 {
            self.log_bytes += batch.bytes as u64 + batch.records as u64 * PAGE_BYTES;
            match self.transact(&mut batch.appends) {
                Ok(()) => {
                    self.answer(batch.appends);
                    if self.lately.is_full() {
                        self.move_lately()?;
                    }
                }
                Err(error) if error.passes() => {
                    for append in batch.appends {
                        // A route that went away needs no answer.
                        append.answer.send(Err(AuditBusy::Disk)).ok();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(archived) = batch.archived {
            self.note_archived(archived.as_deref())?;
        }
        if batch.tick {
            self.archive()?;
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
    fn transact(&mut self, appends: &mut [Append]) -> Result<(), StoreError> {
        // Only on a full disk it still is, and what cannot be moved must not become more.
        if self.lately.is_full() {
            self.roll_back(self.lately.move_all(&self.start.connection))?;
        }
        self.commit(appends.iter_mut().flat_map(|append| &mut append.drafts), |_| Ok(()))
    }

    fn commit<'d>(
        &mut self,
        drafts: impl Iterator<Item = &'d mut Draft>,
        more: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let connection = &self.start.connection;
        let begun = clock::monotonic();
        let outcome = in_transaction(connection, self.start.head, drafts, more);
        self.start.metrics.commit.record(clock::seconds_since(begun));
        let (head, run) = self.roll_back(outcome)?;
        self.start.head = head;
        self.lately.push(run);
        Ok(())
    }

    /// Moves into the index what the newest records are found by. On a full disk that waits, and they
    /// are found as they are.
    fn move_lately(&mut self) -> Result<(), StoreError> {
        match self.roll_back(self.lately.move_all(&self.start.connection)) {
            Ok(moved) => self.log_bytes += moved as u64 * PAGE_BYTES,
            Err(error) if error.passes() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Everyone is told the numbers.
    fn answer(&mut self, appends: Vec<Append>) {
        let head = self.start.head.number();
        let asked: u64 = appends.iter().map(|append| append.drafts.len() as u64).sum();
        let mut next = head - asked + 1;
        let before = self.head.swap(head, Ordering::AcqRel);
        if self.unsigned_since.is_none() {
            self.unsigned_since = Some(clock::monotonic());
            self.start.metrics.unsigned_since.set(seconds(clock::now()));
        }
        self.start.metrics.records.increment(head - before);
        for append in appends {
            let after = next + append.drafts.len() as u64;
            // A route that went away needs no answer; what it decided is recorded.
            append.answer.send(Ok((next..after).collect())).ok();
            next = after;
        }
    }

    /// Lets what is old be moved out, and deletes what was.
    fn archive(&mut self) -> Result<(), StoreError> {
        match self.roll_back(archive::delete_step(&self.start.connection)) {
            Err(error) if !error.passes() => return Err(error),
            // What is moved out and still here goes first.
            Ok(true) | Err(_) => return Ok(()),
            Ok(false) => {}
        }
        let now = clock::monotonic();
        if !self.archiving
            && now >= self.archive_after
            && archive::is_due(&self.start.connection, self.start.config.retention)?
        {
            self.archiving = self.chores.send(Chore::Archive).is_ok();
            self.archive_after = now + ARCHIVE_PAUSE;
        }
        Ok(())
    }

    /// Notes a segment, together with the act that tells of it. On a full disk it stays a file
    /// that the next try replaces.
    fn note_archived(&mut self, archived: Option<&Archived>) -> Result<(), StoreError> {
        self.archiving = false;
        let Some((archived, mut draft)) = archived.and_then(|one| Some((one, one.draft()?))) else {
            return Ok(());
        };
        // What is deleted then is deleted from the index, and has to be there.
        match self.roll_back(self.lately.move_all(&self.start.connection)) {
            Ok(_) => {}
            Err(error) if error.passes() => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.commit(std::iter::once(&mut draft), |connection| archived.note(connection)) {
            Ok(()) => {
                self.archive_after = Duration::ZERO;
                self.answer(Vec::new());
                Ok(())
            }
            Err(error) if error.passes() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn roll_back<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if outcome.is_err() && !self.start.connection.is_autocommit() {
            self.start.connection.execute_batch("ROLLBACK")?;
        }
        outcome
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
        let Start { head, seal, lines, signed, metrics, .. } = &mut self.start;
        if head.number() == *signed {
            return Ok(());
        }
        let checkpoint = seal.sign(head);
        match lines.append(&checkpoint) {
            Ok(()) => {
                *signed = head.number();
                self.unsigned_since = None;
                metrics.unsigned_since.set(0.0);
                metrics.last_checkpoint.set(seconds(checkpoint.at));
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

#[expect(clippy::cast_precision_loss, reason = "a time of a gauge")]
pub(super) fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// Whether a file cannot be written now, which passes.
pub(super) fn passes(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// One transaction: what waits, and then what it is found by.
fn in_transaction<'d>(
    connection: &Connection,
    mut head: Verifier,
    drafts: impl Iterator<Item = &'d mut Draft>,
    more: impl FnOnce(&Connection) -> Result<(), StoreError>,
) -> Result<(Verifier, Run), StoreError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let first = head.number() + 1;
    let mut keys: Vec<Pair> = Vec::new();
    {
        // One that fails ends the transaction, and the number is the next one by itself: so SQLite need
        // not keep how each page was before it (V4__whole.sql).
        let mut insert = connection
            .prepare_cached("INSERT OR ROLLBACK INTO records (hash, bytes) VALUES (?1, ?2)")?;
        for draft in drafts {
            let number = head.number() + 1;
            let bytes = draft.bytes(number);
            let hash = chain::next(head.hash(), bytes);
            insert.execute(params![hash, bytes])?;
            if connection.last_insert_rowid() != number.cast_signed() {
                return Err(StoreError::Corrupt {
                    what: format!("the place of audit record {number}"),
                });
            }
            keys.extend(draft.keys().iter().map(|key| (*key, number.cast_signed())));
            head = Verifier::after(number, hash);
        }
    }
    let run = Run::new(first, keys);
    run.write(connection)?;
    more(connection)?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok((head, run))
}

/// Commands that ride together.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    records: usize,
    bytes: usize,
    tick: bool,
    finish_copy: bool,
    archived: Option<Option<Box<Archived>>>,
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
            Command::Tick => self.tick = true,
            Command::FinishCopy => self.finish_copy = true,
            Command::Archived(archived) => self.archived = Some(archived),
            Command::Stop => return true,
        }
        false
    }
}
