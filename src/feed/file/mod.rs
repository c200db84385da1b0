//! A folder of files with messages or batches (chapter 2.10.3).
//!
//! Promises: a file is moved aside when every message of it is answered, and not before
//! (PROMISE-1): a crash in the middle of it reads it again, and what was taken of it is a duplicate
//! then (PROMISE-2); files are taken in the order of their names, messages in that of the file
//! (PROMISE-4); one message that is wrong costs itself (PROMISE-11); while the disk cannot take
//! messages, a file waits.
//! Knows nothing of: who puts files there.
//!
//! Reading order: [`look`] (which files are whole), [`take`] (one file), [`answer`] (what its sender
//! is told), [`aside`] (where it goes then).

pub mod look;
pub mod aside;
mod answer;
mod take;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::timeout;

use self::aside::{Aside, Folders};
use self::look::{Look, Mark, Ready};
use self::take::{Report, Taken, Taking};
use super::intake::FeedContext;
use crate::clock;
use crate::metrics::FileMetrics;

/// How a folder is watched.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// The folder.
    pub dir: PathBuf,
    /// How long a file must not have changed to count as whole.
    pub settle: Duration,
    /// From one look at the folder to the next.
    pub interval: Duration,
}

/// A feed of files.
#[derive(Debug)]
pub struct Files {
    config: FileConfig,
    context: FeedContext,
    metrics: FileMetrics,
    look: Look,
    /// Files that are taken and could not be moved aside.
    stuck: BTreeMap<OsString, (Mark, Aside)>,
}

impl Files {
    /// A feed that watches a folder, which need not be there yet.
    #[must_use]
    pub fn new(config: FileConfig, context: FeedContext, metrics: FileMetrics) -> Self {
        let look = Look::new(config.dir.clone(), config.settle);
        Self { config, context, metrics, look, stuck: BTreeMap::new() }
    }

    /// Takes files until the daemon stops.
    pub async fn run(mut self) {
        let mut stopping = self.context.stopping.clone();
        while !*stopping.borrow_and_update() {
            self.go_round().await;
            let stopped = stopping.wait_for(|stopping| *stopping);
            // Late or told to stop: the next turn says which.
            drop(timeout(self.config.interval, stopped).await);
        }
    }

    /// Looks at the folder once, and takes what is whole.
    async fn go_round(&mut self) {
        let feed = self.context.rules.feed.clone();
        let found = block_in_place(|| {
            let folders = Folders::open(&self.config.dir)?;
            Ok::<_, std::io::Error>((folders, self.look.look(clock::monotonic())?))
        });
        let (folders, ready) = match found {
            Ok(found) => found,
            Err(error) => {
                self.metrics.up.set(0.0);
                if let Some(more) = self.context.quiet.due("folder") {
                    tracing::error!(%feed, kind = %error.kind(), more, "the folder cannot be read or written");
                }
                return;
            }
        };
        self.metrics.waiting.set(f64::from(u32::try_from(self.look.waiting()).unwrap_or(u32::MAX)));
        self.stuck.retain(|name, (mark, _)| self.look.mark(name) == Some(*mark));
        for file in ready {
            if *self.context.stopping.borrow() || !self.take(&folders, file).await {
                break;
            }
        }
        self.metrics.up.set(if self.stuck.is_empty() { 1.0 } else { 0.0 });
    }

    /// Takes one file; false where those behind it must wait for it.
    async fn take(&mut self, folders: &Folders, file: Ready) -> bool {
        if let Some((_, aside)) = self.stuck.get(&file.name).cloned() {
            self.move_aside(folders, file, aside);
            return true;
        }
        let taking = Taking::new(&self.context, folders, &file);
        match taking.run().await {
            Taken::Whole(report) => {
                let aside = Aside::of(report);
                self.move_aside(folders, file, aside);
                true
            }
            Taken::Changed => {
                self.look.forget(&file.name);
                false
            }
            Taken::Stopped => false,
            Taken::Unreadable(error) => {
                let report = Report::unreadable(error.kind());
                if let Some(more) = self.context.quiet.due("unreadable") {
                    let feed = &self.context.rules.feed;
                    tracing::warn!(%feed, kind = %error.kind(), more, "a file cannot be read");
                }
                self.move_aside(folders, file, Aside::of(report));
                true
            }
        }
    }

    /// Moves a file where it belongs now. Where that cannot be done, it is not read again for it.
    fn move_aside(&mut self, folders: &Folders, file: Ready, aside: Aside) {
        let feed = self.context.rules.feed.clone();
        match block_in_place(|| folders.put(&file.name, &aside)) {
            Ok(()) => {
                self.look.forget(&file.name);
                self.stuck.remove(&file.name);
                self.metrics.files.count(aside.result());
                if aside.result() == "failed" {
                    // Its name may be a patient's, so the log does not say it.
                    tracing::warn!(%feed, "a file lies in .failed, with the reason beside it");
                }
            }
            Err(error) => {
                if let Some(more) = self.context.quiet.due("stuck") {
                    tracing::error!(%feed, kind = %error.kind(), more, "a file was taken and cannot be moved aside");
                }
                self.stuck.insert(file.name, (file.mark, aside));
            }
        }
    }
}
