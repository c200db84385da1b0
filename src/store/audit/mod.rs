//! The evidence: audit.db, and what signs and keeps it.
//!
//! Promises: what is appended is durable when the answer comes, and hangs on everything before
//! it; a full disk refuses what came and passes; an error of an fsync ends the process; an
//! audit.db that is gone, another's, or behind its own checkpoints is not begun anew.
//! Knows nothing of: what is decided, and where checkpoints go beyond their file.
//!
//! Reading order: [`writer`] (group commit, signing), [`helper`] (what
//! it has no time for), [`lately`] (what the newest records are found by), [`lines`] (the file of
//! checkpoints),
//! [`read`] and [`find`] (what was recorded), [`archive`] (what is old), [`segment`] (its files),
//! [`verify`] and [`marks`] (whether all of it is what was written).

mod writer;
mod helper;
mod lately;
mod lines;
mod begin;
pub mod read;
mod archive;
pub mod segment;
pub mod find;
mod marks;
pub mod verify;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use self::lately::Lately;
use self::read::AuditReader;
use self::writer::{Append, Command, QUEUE_COMMANDS_MAX};
use super::{StateDir, StoreError};
use crate::audit::{Checkpoint, Draft, Record, Says};
use crate::metrics::Pulse;

/// The file's name within state_dir.
pub const FILE: &str = "audit.db";
/// The name of the key that signs checkpoints.
pub const SIGNING_KEY: &str = "audit-sign";
/// The file with the public key.
pub const PUBLIC_KEY: &str = "audit.pub";

/// How evidence is kept.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// How long records stay in audit.db.
    pub retention: Duration,
    /// After how many records a checkpoint is signed.
    pub every: u64,
    /// After how long, where there are fewer.
    pub or_after: Duration,
    /// The file of checkpoints; relative to state_dir.
    pub file: PathBuf,
    /// The daemon's name, which a checkpoint bears.
    pub node: String,
}

/// Why nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditBusy {
    /// The disk is full; that passes.
    Disk,
    /// The daemon is stopping, or the store has failed.
    Stopped,
}

/// The evidence of one daemon.
#[derive(Debug)]
pub struct Audit {
    commands: mpsc::Sender<Command>,
    head: Arc<AtomicU64>,
    pulse: Pulse,
    reader: Mutex<AuditReader>,
    checkpoints: watch::Receiver<Option<Checkpoint>>,
}

/// Its threads.
#[derive(Debug)]
pub struct AuditThreads {
    writer: JoinHandle<Result<(), StoreError>>,
    chores: JoinHandle<Result<(), StoreError>>,
    commands: mpsc::Sender<Command>,
    failed: watch::Receiver<bool>,
}

impl Audit {
    /// Opens the evidence of a folder, makes it where it was never made, and starts its threads.
    ///
    /// # Errors
    /// It cannot be opened, is gone, another's, or behind its own checkpoints.
    pub fn open(state: &StateDir, config: AuditConfig) -> Result<(Self, AuditThreads), StoreError> {
        let (start, newest) = begin::begin(state, config)?;
        let path = state.file(FILE);
        let head = Arc::new(AtomicU64::new(start.head.number()));
        let (checkpoint_sender, checkpoints) = watch::channel(newest);
        let (commands, receiver) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let pulse = Pulse::new();
        let lately = Arc::new(Lately::default());
        let reader = Mutex::new(AuditReader::beside(&path, Arc::clone(&lately))?);
        let threads = writer::start(writer::Parts {
            start,
            path,
            head: Arc::clone(&head),
            lately,
            pulse: pulse.clone(),
            checkpoints: checkpoint_sender,
            commands: commands.clone(),
            receiver,
        })?;
        Ok((Self { commands, head, pulse, reader, checkpoints }, threads))
    }

    /// Records what was decided and done, in this order; the numbers, once it is durable. Several
    /// callers ride in one transaction.
    ///
    /// # Errors
    /// Nothing was recorded.
    // PROMISE-8
    pub async fn append(&self, entries: Vec<(Timestamp, Says)>) -> Result<Vec<u64>, AuditBusy> {
        let drafts: Option<Vec<Draft>> =
            entries.iter().map(|(at, says)| Draft::new(at, says)).collect();
        self.append_drafts(drafts.ok_or(AuditBusy::Stopped)?).await
    }

    /// The same, of what is written already.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub async fn append_drafts(&self, drafts: Vec<Draft>) -> Result<Vec<u64>, AuditBusy> {
        let (answer, receiver) = oneshot::channel();
        let command = Command::Append(Append { drafts, answer });
        self.commands.send(command).await.map_err(|_| AuditBusy::Stopped)?;
        receiver.await.map_err(|_| AuditBusy::Stopped)?
    }

    /// What was recorded about an event on a route, the oldest first.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn of_event(&self, event: &str, route: &str) -> Result<Vec<Record>, StoreError> {
        self.reader().of_event(event, route)
    }

    /// The newest record about a subject on a route by which something was to leave: what is in
    /// doubt is in doubt by such a record.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn last_of(&self, subject: &str, route: &str) -> Result<Option<Record>, StoreError> {
        self.reader().last_of(subject, route, |_| true)
    }

    /// The same, notices that only link left out: they tell nobody to stop.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn last_but_links(&self, subject: &str, route: &str) -> Result<Option<Record>, StoreError> {
        self.reader().last_of(subject, route, |one| !one.is_link())
    }

    /// The newest act of that name of which `with` says so.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn last_act(&self, act: &str, with: (&str, &str)) -> Result<Option<Record>, StoreError> {
        self.reader().last_act(act, with)
    }

    /// The number of the newest record.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The newest checkpoint, and when there is another one.
    #[must_use]
    pub fn checkpoints(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.checkpoints.clone()
    }

    /// Lets the writer look whether a checkpoint is due, and what is old.
    pub fn tick(&self) {
        // A full queue means that the writer goes round anyway.
        drop(self.commands.try_send(Command::Tick));
    }

    /// The writer's heartbeat.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    fn reader(&self) -> std::sync::MutexGuard<'_, AuditReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditThreads {
    /// Becomes true when a thread has ended by an error. The process must end then.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.failed.clone()
    }

    /// Writes what waits, signs a last checkpoint, and ends the threads.
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
        writer.and(joined(self.chores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Act, Common, Decision, Outcome, Under};
    use crate::event::EventType;

    pub(super) fn config() -> AuditConfig {
        AuditConfig {
            retention: Duration::from_secs(3600),
            every: 3,
            or_after: Duration::from_secs(3600),
            file: "checkpoints.ndjson".into(),
            node: "gate-1".to_owned(),
        }
    }

    pub(super) fn act(name: &str) -> (Timestamp, Says) {
        let act = Act { act: name.to_owned(), who: "dev".to_owned(), with: [].into() };
        (crate::clock::now(), Says::Act(act))
    }

    pub(super) fn decision(
        nth: u64,
        subject: &str,
        route: &str,
        outcome: Outcome,
    ) -> (Timestamp, Says) {
        let decision = Decision {
            outcome,
            reason: "permitted".into(),
            under: Common::new(Under {
                route: route.to_owned(),
                contract: "1.0.0".to_owned(),
                configuration: "sha256:00".to_owned(),
                purpose: "CLINTRCH".to_owned(),
                consumer: "crm".to_owned(),
                agreement: None,
                protocol: None,
                allowed_use: None,
                retention: None,
                destination: "file:out/r.ndjson".to_owned(),
                recipe: "sha256:01".to_owned(),
            }),
            glass: Vec::new(),
            message: nth,
            event: format!("{nth:032x}-1.patient.admitted.pid1").into(),
            kind: EventType::PatientAdmitted,
            subject: subject.into(),
            token: None,
            retired: None,
            visit: None,
            labels: Vec::new(),
            consents: Vec::new(),
            epoch: 0,
            fields: Default::default(),
            instead: None,
            of: None,
            told_by: None,
            place: None,
        };
        (crate::clock::now(), Says::Decision(Box::new(decision)))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_appended_is_found_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::take(dir.path()).unwrap();
        let (audit, threads) = Audit::open(&state, config()).unwrap();
        let subject = "0a".repeat(16);
        let entries = vec![
            decision(1, &subject, "r", Outcome::Release),
            decision(2, &subject, "r", Outcome::Suppress),
            decision(2, &subject, "q", Outcome::Release),
            act("start"),
        ];
        assert_eq!(audit.append(entries).await.unwrap(), [1, 2, 3, 4]);
        assert_eq!(audit.append(vec![act("stop")]).await.unwrap(), [5]);
        assert_eq!(audit.head(), 5);
        let event = format!("{:032x}-1.patient.admitted.pid1", 2);
        let found = audit.of_event(&event, "r").unwrap();
        assert_eq!(found.iter().map(|record| record.number).collect::<Vec<_>>(), [2]);
        assert_eq!(audit.last_of(&subject, "r").unwrap().unwrap().number, 1);
        assert!(audit.last_of(&subject, "p").unwrap().is_none());
        assert!(audit.last_of(&"0b".repeat(16), "r").unwrap().is_none());
        assert_eq!(audit.checkpoints().borrow().as_ref().unwrap().number, 4);
        tokio::task::block_in_place(|| threads.stop()).unwrap();
        drop(audit);
        let (audit, threads) = Audit::open(&state, config()).unwrap();
        let newest = audit.checkpoints().borrow().clone().unwrap();
        assert_eq!((audit.head(), newest.number), (5, 5));
        newest
            .check(Some(std::fs::read_to_string(state.file(PUBLIC_KEY)).unwrap().trim()))
            .unwrap();
        assert_eq!(audit.append(vec![act("start")]).await.unwrap(), [6]);
        tokio::task::block_in_place(|| threads.stop()).unwrap();
    }

    /// PROMISE-9
    #[tokio::test(flavor = "multi_thread")]
    async fn fault_23_an_older_copy_and_a_cut_tail_are_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::take(dir.path()).unwrap();
        let path = state.file(FILE);
        for turn in 0..2 {
            let (audit, threads) = Audit::open(&state, config()).unwrap();
            audit.append(vec![act("start"), act("stop")]).await.unwrap();
            tokio::task::block_in_place(|| threads.stop()).unwrap();
            if turn == 0 {
                std::fs::copy(&path, dir.path().join("older")).unwrap();
            }
        }
        std::fs::rename(&path, dir.path().join("newer")).unwrap();
        let refused = |wanted: &str| {
            let error = Audit::open(&state, config()).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("put the right one back"), "{error}");
        };
        refused("is gone");
        std::fs::copy(dir.path().join("older"), &path).unwrap();
        refused("ends at record 2, and the checkpoint of ");
        std::fs::copy(dir.path().join("newer"), &path).unwrap();
        let (_, threads) = Audit::open(&state, config()).unwrap();
        tokio::task::block_in_place(|| threads.stop()).unwrap();
    }

    /// PROMISE-9
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_in_the_index_yet_is_found_by_everybody_and_no_record_is_ever_lost_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::take(dir.path()).unwrap();
        let path = state.file(FILE);
        let (audit, threads) = Audit::open(&state, config()).unwrap();
        let subject = "0a".repeat(16);
        let verified = || {
            let (dir, file) = (dir.path().to_path_buf(), config().file);
            let wanted = verify::Wanted { dir, file, kept: None, key: None };
            verify::verify(&wanted, &mut |_, _| {}).unwrap().problems
        };
        let connection = rusqlite::Connection::open(&path).unwrap();
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        // Some of it is moved in between.
        let records = 300;
        for nth in 1..=records {
            let one = decision(nth, &subject, "r", Outcome::Release);
            assert_eq!(audit.append(vec![one]).await.unwrap(), [nth]);
            let newest = audit.last_of(&subject, "r").unwrap().unwrap().number;
            let other = AuditReader::open(&path).unwrap();
            let read = other.last_of(&subject, "r", |_| true).unwrap().unwrap().number;
            assert_eq!((newest, read), (nth, nth));
        }
        assert!(count("found") > 0 && count("lately") > 0);
        for reader in
            [&audit.reader().about(&subject), &AuditReader::open(&path).unwrap().about(&subject)]
        {
            let found = reader.as_ref().unwrap().records.iter().map(|one| one.number);
            assert!(found.eq((1..=records).rev()));
        }
        assert_eq!(verified(), Vec::<String>::new());
        for statement in [
            "DELETE FROM lately",
            "UPDATE lately SET keys = x''",
            "INSERT INTO lately VALUES (1, 2, 3, x'')",
        ] {
            assert!(connection.execute(statement, []).is_err(), "{statement}");
        }
        tokio::task::block_in_place(|| threads.stop()).unwrap();
        assert_eq!((count("found"), count("lately")), (2 * records.cast_signed(), 0));
        assert_eq!(verified(), Vec::<String>::new());
    }

    /// PROMISE-9
    #[tokio::test(flavor = "multi_thread")]
    async fn the_store_itself_refuses_to_change_what_was_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::take(dir.path()).unwrap();
        let (audit, threads) = Audit::open(&state, config()).unwrap();
        audit.append(vec![act("start"), act("stop")]).await.unwrap();
        tokio::task::block_in_place(|| threads.stop()).unwrap();
        let connection = rusqlite::Connection::open(state.file(FILE)).unwrap();
        for statement in [
            "UPDATE records SET bytes = x'00' WHERE number = 1",
            "DELETE FROM records WHERE number = 1",
            "DELETE FROM records WHERE number = 2",
            "INSERT INTO records VALUES (7, x'00', x'00')",
            "INSERT INTO records VALUES (4, x'00', x'00')",
            "INSERT INTO records VALUES (0, x'00', x'00')",
            "INSERT INTO records VALUES (-1, x'00', x'00')",
            "INSERT INTO records VALUES (2, x'00', x'00')",
            "INSERT OR REPLACE INTO records VALUES (1, x'00', x'00')",
            "INSERT OR REPLACE INTO records VALUES (2, x'00', x'00')",
            "REPLACE INTO records VALUES (2, x'00', x'00'), (3, x'00', x'00')",
            "INSERT OR IGNORE INTO records VALUES (-1, x'00', x'00'), (3, x'00', x'00')",
            "UPDATE found SET number = 2",
            "DELETE FROM found",
            "INSERT INTO segments VALUES (1, 2, x'00', x'00', x'00')",
            "INSERT INTO segments VALUES (2, 1, x'00', x'00', x'00')",
            "UPDATE meta SET value = 'x'",
            "INSERT OR REPLACE INTO meta VALUES ('chain', 'x')",
            "DELETE FROM meta",
        ] {
            assert!(connection.execute(statement, []).is_err(), "{statement}");
        }
        let kept = "SELECT group_concat(number * (length(bytes) > 1)) FROM records";
        let kept: String = connection.query_row(kept, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "1,2");
        let next = "INSERT INTO records (hash, bytes) VALUES (x'00', x'00')";
        assert!(connection.execute(next, []).is_ok() && connection.last_insert_rowid() == 3);
    }
}
