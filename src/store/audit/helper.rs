//! What the writer has no time for: copying the log, and writing what is old into segments.
//!
//! Promises: nobody who records waits for it; what it cannot do stays to be done.
//! Knows nothing of: what is recorded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::super::StoreError;
use super::super::connection::{self, Schema};
use super::archive::{self, Archived};
use super::writer::{Command, Seal};
use crate::metrics::AuditMetrics;

/// What the helper is asked.
pub(super) enum Chore {
    /// Copy the log into the store.
    Copy,
    /// Write what is old into a segment.
    Archive,
}

/// Does what the writer has no time for; ends with it.
pub(super) struct Helper {
    pub path: PathBuf,
    pub state_dir: PathBuf,
    pub seal: Arc<Seal>,
    pub retention: Duration,
    pub metrics: AuditMetrics,
}

impl Helper {
    /// Serves until the writer has ended.
    pub fn run(
        &self,
        commands: &mpsc::Sender<Command>,
        asked: &std::sync::mpsc::Receiver<Chore>,
    ) -> Result<(), StoreError> {
        let connection = connection::open_for_checkpoints(&self.path)?;
        while let Ok(chore) = asked.recv() {
            let done = match chore {
                Chore::Copy => {
                    copy(&connection)?;
                    Command::FinishCopy
                }
                Chore::Archive => Command::Archived(self.archive()),
            };
            if commands.blocking_send(done).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// What is not archived now stays in audit.db, so that no failure here ends anything.
    fn archive(&self) -> Option<Box<Archived>> {
        let written =
            connection::open_for_reading(&self.path, Schema::Audit).and_then(|connection| {
                archive::write_segment(&connection, &self.state_dir, &self.seal, self.retention)
            });
        match written {
            Ok(written) => written.map(Box::new),
            Err(error) => {
                if matches!(error, StoreError::Corrupt { .. }) {
                    self.metrics.verify_failures.increment(1);
                }
                tracing::error!(%error, "old audit records could not be archived; tried again later");
                None
            }
        }
    }
}

/// A full disk loses nothing: what was not copied stays in the log, and the next copy takes it.
pub(super) fn copy(connection: &Connection) -> Result<(), StoreError> {
    match connection::checkpoint(connection) {
        Err(error) if error.passes() => Ok(()),
        outcome => outcome,
    }
}
