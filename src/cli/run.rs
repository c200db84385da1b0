//! `tidegate run`.

use std::path::PathBuf;

use clap::Args;

use super::log::{self, Verbosity};
use super::{Outcome, complain};
use crate::document::Problems;
use crate::{app, config, metrics};

/// Run the daemon.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How much is logged.
    #[arg(long, value_enum, default_value_t = Verbosity::Info, env = "TIDEGATE_LOG")]
    log: Verbosity,
}

impl Run {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        // The allocator asks for huge pages, of which one is held for whatever little is in it. Where
        // the kernel has none there is nothing to turn off.
        rustix::thread::disable_transparent_huge_pages(true).ok();
        let problems = Problems::default();
        let loaded = config::load(&self.config, &problems);
        for warning in problems.warnings() {
            complain(&format!("warning: {warning}"));
        }
        let Some(loaded) = loaded else {
            for mistake in problems.mistakes() {
                complain(&mistake.to_string());
            }
            return Outcome::Wrong;
        };
        let guard = log::init(self.log);
        let prometheus = match metrics::install() {
            Ok(prometheus) => prometheus,
            Err(error) => {
                complain(&format!("tidegate: metrics: {error}"));
                return Outcome::No;
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(&format!("tidegate: {error}"));
                return Outcome::No;
            }
        };
        let dropped = guard.dropped();
        runtime.spawn(async move {
            let counter = metrics::log_events_dropped();
            loop {
                counter.absolute(u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX));
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
        let ended = runtime.block_on(app::run(loaded, prometheus));
        // A thread that lapin left behind must not keep the process.
        runtime.shutdown_background();
        drop(guard);
        match ended {
            Ok(()) => Outcome::Done,
            Err(error) => {
                complain(&format!("tidegate: {error}"));
                Outcome::No
            }
        }
    }
}
