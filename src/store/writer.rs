//! The one thread that writes journal.db.
//!
//! Promises: whatever waits rides in the next transaction, and is answered after its fsync;
//! an error of the disk stops the process before anything more is answered; a full disk
//! refuses what came and stops nothing else.
//! Knows nothing of: feeds and routes but their names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot, watch};

pub use super::batch::{Admitted, Opened};
use super::batch::{Appended, Context, Prepared, append};
use super::due::Fired;
use super::journal::{JournalConfig, Position, Shared};
use super::kept::Shelves;
use super::ledger::Filing;
use super::moves::{Came, Moved, Pending};
use super::profiles::Profiles;
use super::reader::Keys;
use super::seal::{Master, Sealer};
use super::segments::Segments;
use super::spans::{self, Span};
use super::timer::Timer;
use super::trim::{Limits, STEP_ROWS_MAX, Trim};
use super::violations::CATEGORY;
use super::{StoreError, connection, due};
use crate::admit::entry::Kept;
use crate::admit::{Digest, DigestKey};
use crate::clock;
use crate::event::Subject;
use crate::secret::Key;

/// Most messages in one transaction. More would only lengthen the wait of the first.
const BATCH_MESSAGES_MAX: usize = 512;
/// Most bytes in one transaction.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// How many commands wait at most; then senders wait.
pub(super) const QUEUE_COMMANDS_MAX: usize = 1_024;
/// Bytes of log, about, after which it is copied into the store. Smaller would copy the same
/// pages more often, larger would make recovery after a crash longer than a second.
const CHECKPOINT_BYTES: u64 = 48 << 20;
/// Bytes of log that a message adds beside its own: a page of correlations, part of others.
const LOG_BYTES_EACH: u64 = 12 << 10;
/// Why a message was not taken, with nothing kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The disk is full, or fuller than the watermark.
    Disk,
    /// The daemon is stopping.
    Stopping,
}

/// What the writer is asked.
pub(super) enum Command {
    /// Take a message.
    Append(Box<Append>),
    /// Note how far a route has come.
    Move(Arc<str>, Moved),
    /// Note the span that a route is to deliver shuffled, behind so many events, and say when that is
    /// durable.
    Begin(Arc<str>, Box<(Span, u64)>, oneshot::Sender<()>),
    /// Remember something for a feed, and say when that is durable.
    Keep(Box<Keep>),
    /// Look for what is old.
    Tick,
    /// The log was copied but for its newest pages; copy those, too.
    FinishCheckpoint,
    /// Write what waits, and end.
    Stop,
}

/// A span that is to begin, behind so many events, and who waits until that is durable.
type Begin = (Arc<str>, Box<(Span, u64)>, oneshot::Sender<()>);

/// What a feed is to remember, and who waits until that is durable.
pub(super) struct Keep {
    pub feed: Arc<str>,
    pub kept: Vec<Kept>,
    pub durable: oneshot::Sender<Result<(), Busy>>,
}

/// A message, and who waits for the answer.
pub(super) struct Append {
    pub prepared: Prepared,
    pub turn: Turn,
    pub answer: oneshot::Sender<Result<Admitted, Busy>>,
}

/// The order of one connection: once a message is refused, those behind it are, too. Taken, they
/// would come before it when it is sent again.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<AtomicBool>);

/// The writer's own things.
pub(super) struct Writer {
    pub connection: Connection,
    pub master: Master,
    pub digests: DigestKey,
    pub encrypt: bool,
    pub sealer: Sealer,
    /// The UTC day that the data key was made on.
    pub key_day: i64,
    pub next_number: u64,
    pub cursors: BTreeMap<Arc<str>, Position>,
    /// Cursors that have moved and are not noted yet.
    moves: BTreeMap<Arc<str>, Pending>,
    /// Spans that are to begin, and who waits for each.
    begins: Vec<Begin>,
    /// Feeds of the exceptions that routes open in the open transaction.
    violated: Vec<Arc<str>>,
    pub config: JournalConfig,
    pub shared: Arc<Shared>,
    pub head: watch::Sender<u64>,
    trim: Trim,
    trim_more: bool,
    log_bytes: u64,
    checkpointing: bool,
    checkpoints: std::sync::mpsc::Sender<()>,
    /// Subjects whose consent has new records in the open transaction.
    consented: Vec<Digest>,
    profiles: Profiles,
    segments: Segments,
    shelves: Shelves,
    filing: Filing,
    timer: Timer,
}

/// What the writer begins with.
pub(super) struct Start {
    pub connection: Connection,
    pub master: Master,
    pub digests: DigestKey,
    pub next_number: u64,
    pub cursors: BTreeMap<Arc<str>, Position>,
    pub config: JournalConfig,
    pub shared: Arc<Shared>,
    pub head: watch::Sender<u64>,
    pub checkpoints: std::sync::mpsc::Sender<()>,
    pub ended: mpsc::Sender<Vec<Subject>>,
    pub segments: Segments,
}

impl Writer {
    /// Takes the store over, with a new data key.
    pub fn new(start: Start) -> Result<Self, StoreError> {
        let encrypt = start.config.encrypt;
        let trim = Trim::resume(&start.connection)?;
        let policy = Arc::clone(&start.config.policy);
        due::follow_policy(&start.connection, &policy)?;
        let keys = Keys::new(start.master.clone(), start.digests.clone());
        let mut writer = Self {
            connection: start.connection,
            master: start.master,
            sealer: Sealer::open(start.digests.clone()),
            digests: start.digests,
            moves: BTreeMap::new(),
            begins: Vec::new(),
            violated: Vec::new(),
            encrypt,
            key_day: i64::MIN,
            next_number: start.next_number,
            cursors: start.cursors,
            config: start.config,
            shared: start.shared,
            head: start.head,
            trim,
            trim_more: false,
            log_bytes: 0,
            checkpointing: false,
            checkpoints: start.checkpoints,
            consented: Vec::new(),
            profiles: Profiles::default(),
            segments: start.segments,
            shelves: Shelves::default(),
            filing: Filing { keys, policy },
            timer: Timer::new(start.ended),
        };
        writer.renew_key()?;
        Ok(writer)
    }

    /// Serves commands until it is told to stop, or the store fails.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), StoreError> {
        let mut stopping = false;
        while !stopping {
            let Some(first) = commands.blocking_recv() else { break };
            self.shared.pulse.beat();
            let mut batch = Batch::default();
            let mut next = Some(first);
            while let Some(command) = next {
                stopping |= batch.take(command);
                let full =
                    batch.appends.len() >= BATCH_MESSAGES_MAX || batch.bytes >= BATCH_BYTES_MAX;
                next = if full || stopping { None } else { commands.try_recv().ok() };
            }
            self.write(batch)?;
        }
        // So that the file alone is the store; a reader that is still at it leaves the log.
        connection::checkpoint_whole(&self.connection)
    }

    /// One transaction: what waits, then a step of trimming.
    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.renew_key()?;
        for (route, later) in batch.moves {
            let came = later.came;
            self.moves.entry(route).or_insert_with(|| Pending::at(came)).follow(later);
        }
        self.begins.extend(batch.begins);
        let expiring = self.timer.look(&self.shared.metrics);
        let noting = !self.moves.is_empty() || !self.begins.is_empty();
        let has_work = !batch.appends.is_empty() || !batch.keeps.is_empty() || noting;
        if has_work || batch.tick || self.trim_more || expiring.is_some() {
            let mut prepared = Vec::with_capacity(batch.appends.len());
            let mut waiting = Vec::with_capacity(batch.appends.len());
            for append in batch.appends {
                if append.turn.0.load(Ordering::Relaxed) {
                    refuse(append.answer, &append.turn);
                } else {
                    prepared.push(append.prepared);
                    waiting.push((append.answer, append.turn));
                }
            }
            let count = prepared.len();
            self.log_bytes += batch.bytes as u64 + (count as u64 + 8) * LOG_BYTES_EACH;
            // As many as keep pace with what comes in; a moment with nothing to do does more.
            let rows =
                if batch.tick { STEP_ROWS_MAX } else { (2 * count).clamp(16, STEP_ROWS_MAX) };
            match self.transact(prepared, &batch.keeps, rows, expiring) {
                Ok(appended) => {
                    if count > 0 {
                        self.shared.metrics.group_commit.record(as_f64(count));
                    }
                    self.publish(appended, waiting);
                    for (route, pending) in std::mem::take(&mut self.moves) {
                        // PROMISE-1: within a span, what is trimmed goes by where it begins.
                        if let Came::To(position) = pending.came {
                            self.cursors.insert(route, position);
                        }
                        pending.noted();
                    }
                    for (_, _, durable) in std::mem::take(&mut self.begins) {
                        // A route that stopped meanwhile finds it at the next start.
                        durable.send(()).ok();
                    }
                    answer(batch.keeps, Ok(()));
                }
                Err(error) if error.passes() => {
                    self.shared.set_full();
                    waiting.into_iter().for_each(|(answer, turn)| refuse(answer, &turn));
                    answer(batch.keeps, Err(Busy::Disk));
                }
                Err(error) => return Err(error),
            }
        }
        if batch.finish_checkpoint {
            self.checkpointing = false;
            checkpoint(&self.connection, &self.shared)?;
        } else if self.log_bytes > CHECKPOINT_BYTES && !self.checkpointing {
            // The thread has ended where the daemon stops; closing the store copies the log then.
            self.checkpointing = self.checkpoints.send(()).is_ok();
            self.log_bytes = 0;
        }
        Ok(())
    }

    // PROMISE-1: COMMIT returns after the fsync; nobody is answered before.
    fn transact(
        &mut self,
        prepared: Vec<Prepared>,
        keeps: &[Keep],
        trim_rows: usize,
        expiring: Option<Timestamp>,
    ) -> Result<Vec<Appended>, StoreError> {
        let (first_number, trim) = (self.next_number, self.trim);
        self.consented.clear();
        self.violated.clear();
        let outcome = self.in_transaction(prepared, keeps, trim_rows, expiring);
        // Also after an error: what is remembered too little is read again.
        self.shared.remembered.forget(&self.consented);
        if outcome.is_err() {
            self.next_number = first_number;
            self.trim = trim;
            self.profiles.forget();
            self.segments.forget();
            self.shelves.forget();
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK")?;
            }
        }
        outcome
    }

    fn in_transaction(
        &mut self,
        prepared: Vec<Prepared>,
        keeps: &[Keep],
        trim_rows: usize,
        expiring: Option<Timestamp>,
    ) -> Result<Vec<Appended>, StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut appended = Vec::with_capacity(prepared.len());
        let mut context = Context {
            connection: &self.connection,
            sealer: &mut self.sealer,
            digests: &self.digests,
            next_number: &mut self.next_number,
            forgotten: self.trim.forgotten(),
            consented: &mut self.consented,
            profiles: &mut self.profiles,
            filing: &mut self.filing,
            segments: &mut self.segments,
            shelves: &mut self.shelves,
        };
        for prepared in prepared {
            appended.push(append(&mut context, prepared)?);
        }
        let mut fired = match expiring {
            Some(now) => due::fire(&mut context, now)?,
            None => Fired::default(),
        };
        appended.append(&mut fired.appended);
        for Keep { feed, kept, .. } in keeps {
            let by = (&self.connection, &mut self.sealer, &self.digests);
            self.shelves.write(by, (feed, clock::now_ms()), kept)?;
        }
        for (route, pending) in &self.moves {
            self.violated.extend(pending.write(&self.connection, &mut self.sealer, route)?);
        }
        for (route, span, _) in &self.begins {
            spans::begin(&self.connection, &self.master, route, span)?;
        }
        let step = self.trim.step(&self.connection, self.limits(trim_rows))?;
        let noted = !self.moves.is_empty() || !self.begins.is_empty();
        let wrote = !appended.is_empty() || !keeps.is_empty() || noted || step.deleted() > 0;
        let begun = clock::monotonic();
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        if wrote {
            self.shared.metrics.fsync.record(clock::seconds_since(begun));
        }
        self.segments.committed();
        self.trim_more = step.more;
        self.timer.fired(fired, &self.shared.metrics);
        Ok(appended)
    }

    /// Everyone is answered, and the routes are told.
    fn publish(
        &self,
        appended: Vec<Appended>,
        waiting: Vec<(oneshot::Sender<Result<Admitted, Busy>>, Turn)>,
    ) {
        for (admitted, entry) in &appended {
            if let Some((entry, _)) = entry {
                self.shared.count(&entry.feed, admitted);
            }
        }
        for feed in &self.violated {
            self.shared.count_opened(CATEGORY, feed);
        }
        let (admitted, entries): (Vec<_>, Vec<_>) = appended.into_iter().unzip();
        self.shared.ring.push(entries.into_iter().flatten());
        if self.next_number > *self.head.borrow() + 1 {
            self.head.send_replace(self.next_number - 1);
        }
        for (admitted, (answer, _)) in admitted.into_iter().zip(waiting) {
            // A sender that went away needs no answer; its message is kept.
            answer.send(Ok(admitted)).ok();
        }
    }

    fn limits(&self, rows: usize) -> Limits {
        let now = clock::now_ms();
        let before =
            |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        Limits {
            now,
            rows,
            messages_before: before(self.config.retention),
            correlations_before: before(self.config.dedupe_retention),
            delivered: self.cursors.values().map(|cursor| cursor.number).min().unwrap_or(u64::MAX),
            highest: self.next_number.saturating_sub(1),
        }
    }

    /// A new data key for each start and each day.
    fn renew_key(&mut self) -> Result<(), StoreError> {
        let day = clock::now().as_second().div_euclid(86_400);
        if !self.encrypt || day == self.key_day {
            return Ok(());
        }
        let key = Key::random()?;
        let wrapped = self.master.wrap("data", &key)?;
        let outcome = self
            .connection
            .execute(
                "INSERT INTO keys (purpose, made_at, wrapped) VALUES ('data', ?, ?)",
                params![clock::now_ms(), wrapped],
            )
            .map_err(StoreError::from);
        match outcome {
            Ok(_) => {}
            // The old key serves for a while longer where the disk is full.
            Err(error) if self.key_day != i64::MIN && error.passes() => return Ok(()),
            Err(error) => return Err(error),
        }
        self.sealer = Sealer::new(self.connection.last_insert_rowid(), &key)?;
        self.key_day = day;
        Ok(())
    }
}

/// Commands that ride together.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    moves: BTreeMap<Arc<str>, Pending>,
    begins: Vec<Begin>,
    keeps: Vec<Keep>,
    bytes: usize,
    tick: bool,
    finish_checkpoint: bool,
}

impl Batch {
    /// Adds a command; true where it is the one to stop.
    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Append(append) => {
                self.bytes += append.prepared.bytes();
                self.appends.push(*append);
            }
            Command::Move(route, moved) => {
                let came = moved.came;
                self.moves.entry(route).or_insert_with(|| Pending::at(came)).absorb(moved);
            }
            Command::Begin(route, span, durable) => self.begins.push((route, span, durable)),
            Command::Keep(keep) => {
                self.bytes += keep.bytes();
                self.keeps.push(*keep);
            }
            Command::Tick => self.tick = true,
            Command::FinishCheckpoint => self.finish_checkpoint = true,
            Command::Stop => return true,
        }
        false
    }
}

impl Keep {
    /// Bytes that it adds to a transaction, about.
    fn bytes(&self) -> usize {
        let values = self.kept.iter().filter_map(|kept| kept.value.as_ref());
        values.map(|value| value.expose().len()).sum()
    }
}

fn answer(keeps: Vec<Keep>, outcome: Result<(), Busy>) {
    for keep in keeps {
        // A feed that stopped meanwhile finds at the next start what was kept.
        keep.durable.send(outcome).ok();
    }
}

fn refuse(answer: oneshot::Sender<Result<Admitted, Busy>>, turn: &Turn) {
    turn.0.store(true, Ordering::Relaxed);
    // A sender that went away needs no answer.
    answer.send(Err(Busy::Disk)).ok();
}

/// Copies the log into the store each time it is asked, while the writer goes on; ends with the
/// writer. The few pages that came meanwhile the writer copies itself: only a log that was
/// copied to its end begins anew, and under load there is no other moment when it is.
pub(super) fn checkpoint_loop(
    path: &Path,
    shared: &Shared,
    commands: &mpsc::Sender<Command>,
    asked: &std::sync::mpsc::Receiver<()>,
) -> Result<(), StoreError> {
    let connection = connection::open_for_checkpoints(path)?;
    while asked.recv().is_ok() {
        checkpoint(&connection, shared)?;
        if commands.blocking_send(Command::FinishCheckpoint).is_err() {
            break;
        }
    }
    Ok(())
}

/// A full disk loses nothing: what was not copied stays in the log, and the next copy takes it.
fn checkpoint(connection: &Connection, shared: &Shared) -> Result<(), StoreError> {
    match connection::checkpoint(connection) {
        Err(error) if error.passes() => {
            shared.set_full();
            Ok(())
        }
        outcome => outcome,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of at most 512")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
