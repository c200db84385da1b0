//! The door of the journal: append a batch, read after a number, trim.
//!
//! Promises: what is appended is durable when the answer comes; entries are read in the order
//! of their numbers, without holes; a route's cursor is behind what it has delivered, never
//! before.
//! Knows nothing of: how many daemons there are. Nothing above this door may assume one file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::acts::{self, Noted};
use super::batch::{Admitted, Opened, Prepared, highest_number};
use super::identity::{begin_cursors, digest_key, identify, store_mark};
use super::ledger::{self, Filed, Remembered};
use super::moves::Moved;
use super::reader::Reader;
use super::ring::Ring;
use super::seal::Master;
use super::segments::Segments;
use super::spans::{self, Begun, Span};
use super::writer::{self, Append, Busy, Command, Keep, QUEUE_COMMANDS_MAX, Start, Turn, Writer};
use super::{StateDir, StoreError, connection, due, kept, once, violations};
use crate::admit::entry::{Admission, Category, Kept};
use crate::admit::{Digest, DigestKey, Entry, import};
use crate::consent::Policy;
use crate::contract::once::Occurrences;
use crate::event::Subject;
use crate::metrics::{ExceptionMetrics, Pulse, StoreMetrics};
use crate::phi::Phi;
use crate::secret::Key;

/// The file's name within state_dir.
pub const FILE: &str = "journal.db";

/// How the journal is kept.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// How long messages are kept once they are delivered.
    pub retention: Duration,
    /// How long correlations are kept: the longest of all feeds.
    pub dedupe_retention: Duration,
    /// Share of the disk, in percent, above which intake stops.
    pub watermark: u8,
    /// Whether what is kept is encrypted.
    pub encrypt: bool,
    /// `[node] environment`, which store and keys must be of.
    pub environment: String,
    /// When consents end by themselves.
    pub policy: Arc<Policy>,
    /// Routes that want each transition of a visit once.
    pub once: Vec<Arc<str>>,
}

/// How far a route has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Every event up to and including this message is delivered.
    pub number: u64,
    /// How many events were selected up to there.
    pub sequence: u64,
}

/// What writer, readers and the rest share.
#[derive(Debug)]
pub(super) struct Shared {
    pub ring: Ring,
    pub metrics: StoreMetrics,
    pub pulse: Pulse,
    /// A write found the disk full; cleared when there is room again.
    full: AtomicBool,
    over_watermark: AtomicBool,
    stopping: AtomicBool,
    exceptions: HashMap<(Category, Arc<str>), ExceptionMetrics>,
    /// Messages that could not be opened.
    corrupt: Mutex<BTreeSet<u64>>,
    /// Consent of the subjects that were lately asked about.
    pub remembered: Remembered,
}

impl Shared {
    /// Notes a message that cannot be opened, once.
    fn set_apart(&self, number: u64, error: &StoreError) {
        let mut corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        if corrupt.len() < CORRUPT_MAX && corrupt.insert(number) {
            self.metrics.corrupt.set(as_f64(corrupt.len() as u64));
            tracing::error!(number, %error, "set apart; its events do not leave");
        }
    }

    pub fn set_full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// Counts the exception that a message opened.
    pub fn count(&self, feed: &Arc<str>, admitted: &Admitted) {
        if let Some((category, Opened::New)) = admitted.raised {
            self.count_opened(category, feed);
        }
    }

    /// Counts an exception that was opened.
    pub fn count_opened(&self, category: Category, feed: &Arc<str>) {
        if let Some(metrics) = self.exceptions.get(&(category, Arc::clone(feed))) {
            metrics.opened.increment(1);
        }
    }

    fn busy(&self) -> Option<Busy> {
        if self.stopping.load(Ordering::Relaxed) {
            Some(Busy::Stopping)
        } else if self.full.load(Ordering::Relaxed) || self.over_watermark.load(Ordering::Relaxed) {
            Some(Busy::Disk)
        } else {
            None
        }
    }
}

/// The journal of one daemon.
#[derive(Debug)]
pub struct Journal {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    head: watch::Receiver<u64>,
    reader: Mutex<Reader>,
    /// Apart, since routes that ask must not wait for one that reads old entries.
    ledger: Mutex<Reader>,
    digests: DigestKey,
    path: PathBuf,
    watermark: u8,
    cursors: BTreeMap<Arc<str>, Position>,
    spans: BTreeMap<Arc<str>, Begun>,
}

/// The journal's threads.
#[derive(Debug)]
pub struct JournalThreads {
    writer: JoinHandle<Result<(), StoreError>>,
    checkpointer: JoinHandle<Result<(), StoreError>>,
    commands: mpsc::Sender<Command>,
    failed: watch::Receiver<bool>,
    ended: Option<mpsc::Receiver<Vec<Subject>>>,
}

impl Journal {
    /// Opens the journal of a folder, makes or migrates it, and starts its threads. A route
    /// that was never seen before begins at the journal's end.
    ///
    /// # Errors
    /// The store cannot be opened, is another's, of another environment or newer.
    pub fn open(
        state: &StateDir,
        master: &Key,
        config: JournalConfig,
        feeds: &[Arc<str>],
        routes: &[Arc<str>],
    ) -> Result<(Self, JournalThreads), StoreError> {
        let path = state.file(FILE);
        let store_mark = store_mark(state)?;
        if store_mark.is_some() && !path.exists() {
            return Err(StoreError::OtherStore { path: path.display().to_string() });
        }
        let connection = connection::open_for_writing(&path, connection::Schema::Journal)?;
        // What an earlier process wrote into the log may never have reached the disk, where its
        // fsync failed: it is copied and fsynced before anyone hears that it is known.
        // PROMISE-1
        connection::checkpoint_whole(&connection)?;
        super::state::sync_folder(state.path())
            .map_err(|source| StoreError::Folder { path: path.display().to_string(), source })?;
        let master = Master::new(master)?;
        identify(&connection, state, store_mark, &config.environment, &path)?;
        let digests = digest_key(&connection, &master)?;
        let highest = highest_number(&connection)?;
        let cursors = begin_cursors(&connection, routes, highest)?;
        let spans = spans::read(&connection, &master, routes)?;
        once::keep_only(&connection, &config.once)?;
        let segments = Segments::open(&connection, feeds)?;
        let (commands, receiver) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (head_sender, head) = watch::channel(highest);
        let of_feeds = feeds.iter().flat_map(|feed| Category::ALL.map(|it| (it, Arc::clone(feed))));
        // Events of our own entries go through the same contracts.
        let of_ours = [due::FEED, import::FEED].map(|feed| (violations::CATEGORY, feed.into()));
        let exceptions = of_feeds.chain(of_ours).map(|(category, feed)| {
            let metrics = ExceptionMetrics::new(category.name(), &feed);
            ((category, feed), metrics)
        });
        let shared = Arc::new(Shared {
            ring: Ring::default(),
            metrics: StoreMetrics::new("journal"),
            pulse: Pulse::new(),
            full: AtomicBool::new(false),
            over_watermark: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            exceptions: exceptions.collect(),
            corrupt: Mutex::default(),
            remembered: Remembered::default(),
        });
        let watermark = config.watermark;
        let (checkpoints, asked) = std::sync::mpsc::channel();
        let (ended, whose) = mpsc::channel(ENDED_MAX);
        let writer = Writer::new(Start {
            connection,
            master: master.clone(),
            digests: digests.clone(),
            next_number: highest + 1,
            cursors: cursors.clone(),
            config,
            shared: Arc::clone(&shared),
            head: head_sender,
            checkpoints,
            ended,
            segments,
        })?;
        let reader = Mutex::new(Reader::open(&path, master.clone(), digests.clone())?);
        let ledger = Mutex::new(Reader::open(&path, master, digests.clone())?);
        let mut threads = start_threads(writer, receiver, asked, &commands, &path)?;
        threads.ended = Some(whose);
        let journal = Self {
            commands,
            shared,
            head,
            reader,
            ledger,
            digests,
            path,
            watermark,
            cursors,
            spans,
        };
        Ok((journal, threads))
    }

    /// The master key of a folder, made with its journal. A journal whose keys are gone keeps them
    /// from being made anew, which would only stand in the way of putting them back.
    ///
    /// # Errors
    /// It cannot be read or made, or is gone.
    pub fn master_key(state: &StateDir) -> Result<Key, StoreError> {
        let path = super::state::key_path(state.path(), MASTER_KEY);
        if state.file(FILE).exists() && !path.exists() {
            return Err(StoreError::MissingKey { path: path.display().to_string() });
        }
        state.key(MASTER_KEY)
    }

    /// The key of the store's digests.
    #[must_use]
    pub const fn digests(&self) -> &DigestKey {
        &self.digests
    }

    /// Hands a message to the next transaction. The answer comes when it is durable. Of messages
    /// with the same turn, none is taken behind one that was refused.
    ///
    /// # Errors
    /// The disk cannot take it now, or the daemon is stopping.
    pub async fn append(
        &self,
        admission: Admission,
        turn: &Turn,
    ) -> Result<oneshot::Receiver<Result<Admitted, Busy>>, Busy> {
        if let Some(busy) = self.shared.busy() {
            return Err(busy);
        }
        let prepared = Prepared::new(admission).map_err(|_| Busy::Stopping)?;
        let (answer, receiver) = oneshot::channel();
        let command = Command::Append(Box::new(Append { prepared, turn: turn.clone(), answer }));
        self.commands.send(command).await.map_err(|_| Busy::Stopping)?;
        Ok(receiver)
    }

    /// Entries with numbers above one, oldest first, at most `limit` and about 8 MiB of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_after(&self, number: u64, limit: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        if let Some(found) = self.shared.ring.read_after(number, limit) {
            return Ok(found);
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.read_after(number, limit, |number, error| self.shared.set_apart(number, error))
    }

    /// The same, without looking at the disk; nothing where what is in memory does not reach back so far.
    #[must_use]
    pub fn recent(&self, number: u64, limit: usize) -> Option<Vec<Arc<Entry>>> {
        self.shared.ring.read_after(number, limit)
    }

    /// What is remembered of a subject's consent, without looking at the disk.
    #[must_use]
    pub fn remembered(&self, subject: &Digest) -> Option<Arc<Filed>> {
        self.shared.remembered.get(subject).ok()
    }

    /// What is filed of a subject's consent.
    ///
    /// # Errors
    /// The store cannot be read, or a record is not what was written. Then nobody knows, and
    /// nothing may leave.
    pub fn filed(&self, subject: &Digest) -> Result<Arc<Filed>, StoreError> {
        ledger::read(&self.shared.remembered, &self.ledger, subject)
    }

    /// Subjects, and all who are one person with any of them, or were for a while: what one of them
    /// may not leave by any more, the others may not either.
    ///
    /// # Errors
    /// The store cannot be read, so that nobody knows who they are.
    pub fn with_others(&self, subjects: Vec<Subject>) -> Result<Vec<Subject>, StoreError> {
        let mut all: HashSet<Subject> = HashSet::with_capacity(subjects.len());
        for subject in subjects {
            all.extend(self.filed(&self.digests.subject(&subject))?.others().iter().cloned());
            all.insert(subject);
        }
        Ok(all.into_iter().collect())
    }

    /// What messages after one said of subjects, in order; whole messages.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn acts_after(&self, message: u64, limit: u32) -> Result<Vec<Noted>, StoreError> {
        let reader = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        acts::after(&reader.connection, message, limit)
    }

    /// What a route's sources told of a transition, as far as it is noted.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn told(&self, route: &str, transition: &Digest) -> Result<Occurrences, StoreError> {
        let mut reader = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, keys) = reader.parts();
        once::read(connection, keys, route, transition)
    }

    /// The number of the newest entry, and when that changes.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    /// How far a route had come when the journal was opened.
    #[must_use]
    pub fn cursor(&self, route: &str) -> Position {
        self.cursors.get(route).copied().unwrap_or_default()
    }

    /// Notes how far a route has come, and the exceptions of what it passed. It rides in the next
    /// transaction.
    ///
    /// # Errors
    /// The writer has stopped.
    pub async fn move_cursor(&self, route: &Arc<str>, moved: Moved) -> Result<(), StoreError> {
        let command = Command::Move(Arc::clone(route), moved);
        self.commands.send(command).await.map_err(|_| StoreError::Stopped)
    }

    /// The newest span that a route delivers shuffled, as it was when the journal was opened.
    #[must_use]
    pub fn span(&self, route: &str) -> Option<&Begun> {
        self.spans.get(route)
    }

    /// Notes the span that a route is to deliver shuffled next, behind so many events. The answer comes
    /// when it is durable.
    ///
    /// # Errors
    /// The writer has stopped.
    pub async fn begin_span(
        &self,
        route: &Arc<str>,
        span: Span,
        sequence: u64,
    ) -> Result<oneshot::Receiver<()>, StoreError> {
        let (durable, receiver) = oneshot::channel();
        let command = Command::Begin(Arc::clone(route), Box::new((span, sequence)), durable);
        self.commands.send(command).await.map_err(|_| StoreError::Stopped)?;
        Ok(receiver)
    }

    /// Remembers something for a feed. The answer comes when it is durable.
    ///
    /// # Errors
    /// The disk cannot take it now, or the daemon is stopping.
    pub async fn keep(
        &self,
        feed: &Arc<str>,
        kept: Vec<Kept>,
    ) -> Result<oneshot::Receiver<Result<(), Busy>>, Busy> {
        if let Some(busy) = self.shared.busy() {
            return Err(busy);
        }
        let (durable, receiver) = oneshot::channel();
        let command = Command::Keep(Box::new(Keep { feed: Arc::clone(feed), kept, durable }));
        self.commands.send(command).await.map_err(|_| Busy::Stopping)?;
        Ok(receiver)
    }

    /// What a feed remembers under a kind and a key.
    ///
    /// # Errors
    /// The store cannot be read, or what it holds is not what was written.
    pub fn kept(
        &self,
        feed: &str,
        kind: &str,
        key: &str,
    ) -> Result<Option<Phi<Vec<u8>>>, StoreError> {
        let mut reader = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        kept::read(&mut reader, &self.digests, feed, kind, key)
    }

    /// What a feed has remembered longest of a kind, of what stands behind a mark.
    ///
    /// # Errors
    /// As for [`Journal::kept`].
    pub fn oldest(
        &self,
        feed: &str,
        kind: &str,
        behind: i64,
    ) -> Result<Option<kept::Oldest>, StoreError> {
        let mut reader = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        kept::oldest(&mut reader, feed, kind, behind)
    }

    /// How much a feed remembers of a kind.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn kept_count(&self, feed: &str, kind: &str) -> Result<u32, StoreError> {
        let reader = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        kept::count(&reader, feed, kind)
    }

    /// Lets the writer look for what is old.
    pub fn tick(&self) {
        // A full queue means that the writer goes round anyway.
        drop(self.commands.try_send(Command::Tick));
    }

    /// Looks at the disk: whether there is room, and what the metrics say.
    ///
    /// # Errors
    /// The disk cannot be asked.
    pub fn look_at_disk(&self) -> Result<(), StoreError> {
        let fail = |source| StoreError::Folder { path: self.path.display().to_string(), source };
        let found = rustix::fs::statvfs(&self.path).map_err(|error| fail(error.into()))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let total = found.f_blocks.saturating_mul(found.f_frsize);
        // What is reserved for root is not free for us.
        let taken = total.saturating_sub(found.f_bfree.saturating_mul(found.f_frsize));
        let usable = taken.saturating_add(free).max(1);
        // A store does not shrink: what was trimmed is written again before the file grows.
        let room = free.saturating_add(self.reusable_bytes()?);
        let floor = usable / 100 * u64::from(100_u8.saturating_sub(self.watermark));
        self.shared.over_watermark.store(room < floor, Ordering::Relaxed);
        if free > ROOM_AGAIN_BYTES.min(usable / 10) {
            self.shared.full.store(false, Ordering::Relaxed);
        }
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let bytes = size(&self.path) + size(&self.path.with_extension("db-wal"));
        self.shared.metrics.size.set(as_f64(bytes));
        self.shared.metrics.free.set(as_f64(room));
        self.shared.metrics.floor.set(as_f64(floor));
        Ok(())
    }

    /// Bytes of the store's pages that hold nothing any more.
    fn reusable_bytes(&self) -> Result<u64, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let pragma = |name: &str| -> Result<u64, StoreError> {
            let found: i64 = reader.connection.pragma_query_value(None, name, |row| row.get(0))?;
            Ok(found.cast_unsigned())
        };
        Ok(pragma("freelist_count")?.saturating_mul(pragma("page_size")?))
    }

    /// Counts the exceptions that are open, for the metrics.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn look_at_exceptions(&self) -> Result<(), StoreError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = reader.connection.prepare_cached(
            "SELECT category, feed, count(*), min(first_at) FROM exceptions GROUP BY category, feed",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })?;
        let mut found = HashMap::new();
        for row in rows {
            let (category, feed, count, oldest) = row?;
            if let Some(category) = Category::from_name(&category) {
                found.insert((category, Arc::from(feed)), (count, oldest));
            }
        }
        for (key, metrics) in &self.shared.exceptions {
            let (count, oldest) = found.get(key).copied().unwrap_or_default();
            metrics.open.set(as_f64(count.cast_unsigned()));
            metrics.oldest.set(as_f64(oldest.cast_unsigned()) / 1000.0);
        }
        Ok(())
    }

    /// Why nothing is taken now; nothing where it is.
    #[must_use]
    pub fn busy(&self) -> Option<Busy> {
        self.shared.busy()
    }

    /// The writer's heartbeat.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.shared.pulse.clone()
    }

    /// Takes nothing more; what was taken is still written.
    pub fn stop_taking(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

impl JournalThreads {
    /// Becomes true when a thread has ended by an error. The process must end then: what was
    /// not answered is not, and what was is durable.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.failed.clone()
    }

    /// Subjects whose permits have ended by themselves, when that is durable: for the fence, which
    /// stands beside the store. There is one receiver, for who asks first.
    pub const fn ended(&mut self) -> Option<mpsc::Receiver<Vec<Subject>>> {
        self.ended.take()
    }

    /// Writes what waits, and ends the threads.
    ///
    /// # Errors
    /// The store failed, now or before.
    pub fn stop(self) -> Result<(), StoreError> {
        // The writer may have ended by itself, by the error that is returned then.
        drop(self.commands.blocking_send(Command::Stop));
        let joined = |handle: JoinHandle<Result<(), StoreError>>| {
            handle.join().unwrap_or(Err(StoreError::Stopped))
        };
        let writer = joined(self.writer);
        writer.and(joined(self.checkpointer))
    }
}

/// Free bytes above which a disk that was full is tried again: room for the largest frame and
/// its transaction. On a disk that is small, a tenth of it.
const ROOM_AGAIN_BYTES: u64 = 64 << 20;
/// Most messages set apart that are remembered. With more, the store is beyond counting.
const CORRUPT_MAX: usize = 100_000;
/// How many looks at what ended wait for the fence. With more, nothing ends for a while.
const ENDED_MAX: usize = 16;
/// The name of the key that wraps all others.
pub const MASTER_KEY: &str = "master";
fn start_threads(
    writer: Writer,
    receiver: mpsc::Receiver<Command>,
    asked: std::sync::mpsc::Receiver<()>,
    commands: &mpsc::Sender<Command>,
    path: &Path,
) -> Result<JournalThreads, StoreError> {
    let (failed_sender, failed) = watch::channel(false);
    let spawn_error = |source| StoreError::Folder { path: "a thread".to_owned(), source };
    let (path, sender, shared) = (path.to_path_buf(), commands.clone(), Arc::clone(&writer.shared));
    let writer_failed = failed_sender.clone();
    let writer = std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            let outcome = writer.run(receiver);
            writer_failed.send_replace(outcome.is_err());
            outcome
        })
        .map_err(spawn_error)?;
    let checkpointer = std::thread::Builder::new()
        .name("checkpoint".to_owned())
        .spawn(move || {
            let outcome = writer::checkpoint_loop(&path, &shared, &sender, &asked);
            if outcome.is_err() {
                failed_sender.send_replace(true);
            }
            outcome
        })
        .map_err(spawn_error)?;
    Ok(JournalThreads { writer, checkpointer, commands: commands.clone(), failed, ended: None })
}

#[expect(clippy::cast_precision_loss, reason = "bytes and times of gauges")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
