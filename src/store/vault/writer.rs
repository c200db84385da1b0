//! The one thread that writes vault.db.
//!
//! Promises: whatever waits rides in the next transaction, and is answered after its fsync; an
//! error of the disk stops the process before anything more is answered; a full disk refuses what
//! came, and passes.
//! Knows nothing of: routes, and who may ask.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::super::steady::{Clock, Steady};
use super::super::{StoreError, connection};
use super::remembered::Shared;
use super::seal::Seals;
use super::{Changed, VaultBusy, Which, rows};
use crate::clock;
use crate::event::Subject;

/// Most subjects of one transaction, about. More would only lengthen the wait of the first.
const BATCH_SUBJECTS_MAX: usize = 1_024;
/// How many commands wait at most; then routes wait.
pub(super) const QUEUE_COMMANDS_MAX: usize = 256;
/// Tokens, about, after which the log is copied into the store: each touches three pages of 4 KiB,
/// so that the log stays below 32 MiB.
const COPY_TOKENS: usize = 2_048;
/// How often it is looked for what resolves no more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What the writer is asked.
pub(super) enum Command {
    /// Make tokens.
    Issue(Issue),
    /// End some.
    Change(Change),
    /// Look for what resolves no more.
    Tick,
    /// Write what waits, and end.
    Stop,
}

/// Subjects of a realm that want a token, and who waits for them.
pub(super) struct Issue {
    pub realm: Arc<str>,
    pub subjects: Vec<Subject>,
    pub answer: oneshot::Sender<Result<(), VaultBusy>>,
}

/// What is to end, and who asked.
pub(super) struct Change {
    pub realm: String,
    pub act: Act,
    pub answer: oneshot::Sender<Result<Changed, VaultBusy>>,
}

/// How tokens end.
pub(super) enum Act {
    Rotate(Which, Timestamp),
    Revoke(String),
}

/// The writer's own things.
pub(super) struct Writer {
    pub connection: Connection,
    pub seals: Arc<Seals>,
    pub shared: Arc<Shared>,
    pub entries: u64,
    pub uncopied: usize,
    pub swept_at: Duration,
    pub steady: Steady,
}

/// What a transaction came to.
struct Done {
    issued: Vec<Vec<(Subject, String)>>,
    made: u64,
    changed: Vec<Changed>,
}

impl Writer {
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
                let full = batch.subjects >= BATCH_SUBJECTS_MAX;
                next = if full || stopping { None } else { commands.try_recv().ok() };
            }
            self.write(batch)?;
        }
        // So that the file alone is the store; a reader that is still at it leaves the log.
        connection::checkpoint_whole(&self.connection)
    }

    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        if !batch.issues.is_empty() || !batch.changes.is_empty() {
            let begun = clock::monotonic();
            match self.transact(&batch) {
                Ok(done) => {
                    self.shared.metrics.minted(clock::seconds_since(begun), done.made);
                    self.answer(batch.issues, batch.changes, done)?;
                }
                Err(error) if error.passes() => {
                    self.shared.metrics.mint_error.record(clock::seconds_since(begun));
                    for issue in batch.issues {
                        // A route that went away needs no answer.
                        issue.answer.send(Err(VaultBusy::Disk)).ok();
                    }
                    for change in batch.changes {
                        change.answer.send(Err(VaultBusy::Disk)).ok();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if batch.tick {
            self.sweep()?;
        }
        if self.uncopied > COPY_TOKENS {
            self.uncopied = 0;
            match connection::checkpoint(&self.connection) {
                // What was not copied stays in the log, and the next copy takes it.
                Err(error) if error.passes() => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    // PROMISE-1: COMMIT returns after the fsync; nobody is answered before.
    fn transact(&self, batch: &Batch) -> Result<Done, StoreError> {
        self.roll_back(in_transaction(&self.connection, &self.seals, batch))
    }

    fn roll_back<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if outcome.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        outcome
    }

    /// What is durable now is remembered, or forgotten, before anyone hears of it.
    fn answer(
        &mut self,
        issues: Vec<Issue>,
        changes: Vec<Change>,
        done: Done,
    ) -> Result<(), StoreError> {
        for (issue, issued) in issues.iter().zip(&done.issued) {
            for (subject, token) in issued {
                let digest = self.seals.subject(&issue.realm, subject);
                self.shared.remember(&digest, Some(token.as_str().into()));
            }
        }
        let has_changed = |changed: &Changed| matches!(changed, Changed::Tokens(_));
        self.entries += done.made;
        self.uncopied += usize::try_from(done.made).unwrap_or(usize::MAX).max(1);
        if done.changed.iter().any(has_changed) {
            self.shared.ended();
            self.entries = rows::count(&self.connection)?;
        }
        self.shared.metrics.set_entries(self.entries);
        for issue in issues {
            // A route that went away needs no answer; its tokens are kept.
            issue.answer.send(Ok(())).ok();
        }
        for (change, changed) in changes.into_iter().zip(done.changed) {
            change.answer.send(Ok(changed)).ok();
        }
        Ok(())
    }

    /// Deletes some of what resolves no more. What is deleted does not come back, so a wall clock
    /// that has leapt ahead is not believed at once.
    fn sweep(&mut self) -> Result<(), StoreError> {
        let now = clock::monotonic();
        if now < self.swept_at + SWEEP_INTERVAL {
            return Ok(());
        }
        self.swept_at = now;
        let wall = clock::now();
        if self.steady.look(wall, now) != Clock::Steady || !rows::is_due(&self.connection, wall)? {
            return Ok(());
        }
        let swept = self.roll_back(swept(&self.connection, wall));
        match swept {
            Ok(more) => {
                // At the next tick, where there is more.
                if more {
                    self.swept_at = Duration::ZERO;
                }
                self.uncopied += 1;
                self.entries = rows::count(&self.connection)?;
                self.shared.metrics.set_entries(self.entries);
                Ok(())
            }
            Err(error) if error.passes() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn in_transaction(
    connection: &Connection,
    seals: &Seals,
    batch: &Batch,
) -> Result<Done, StoreError> {
    let now = clock::now();
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut done = Done { issued: Vec::new(), made: 0, changed: Vec::new() };
    // Before what is issued with them, so that nobody is given what has just ended.
    for Change { realm, act, .. } in &batch.changes {
        done.changed.push(match act {
            Act::Rotate(which, until) => {
                rows::rotate(connection, seals, realm, (which, *until), now)?
            }
            Act::Revoke(token) => rows::revoke(connection, seals, realm, token)?,
        });
    }
    for Issue { realm, subjects, .. } in &batch.issues {
        let mut issued = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let (token, is_new) = rows::issue(connection, seals, realm, subject, now)?;
            done.made += u64::from(is_new);
            issued.push((subject.clone(), token));
        }
        done.issued.push(issued);
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(done)
}

fn swept(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let more = rows::sweep(connection, now)?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(more)
}

/// Commands that ride together.
#[derive(Default)]
struct Batch {
    issues: Vec<Issue>,
    changes: Vec<Change>,
    subjects: usize,
    tick: bool,
}

impl Batch {
    /// Adds a command; true where it is the one to stop.
    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Issue(issue) => {
                self.subjects += issue.subjects.len();
                self.issues.push(issue);
            }
            Command::Change(change) => self.changes.push(change),
            Command::Tick => self.tick = true,
            Command::Stop => return true,
        }
        false
    }
}
