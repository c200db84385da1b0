//! Where evidence is that is read as files.

use std::path::PathBuf;

use clap::Args;

use crate::config;
use crate::document::Problems;

/// The daemon's file of checkpoints where no configuration names it.
const CHECKPOINTS: &str = "checkpoints.ndjson";

/// Whose evidence.
#[derive(Debug, Args)]
pub struct Whereabouts {
    /// The configuration of the daemon, running or stopped.
    #[arg(long, value_name = "FILE", required_unless_present = "dir")]
    config: Option<PathBuf>,
    /// A state_dir, or a copy of audit.db and what lies beside it.
    #[arg(long, conflicts_with = "config")]
    dir: Option<PathBuf>,
}

impl Whereabouts {
    /// The folder, and the file of checkpoints in it; or what is wrong.
    pub fn find(&self) -> Result<(PathBuf, PathBuf), Vec<String>> {
        match (&self.dir, &self.config) {
            (Some(dir), _) => Ok((dir.clone(), PathBuf::from(CHECKPOINTS))),
            (None, Some(file)) => {
                let problems = Problems::default();
                match config::load(file, &problems) {
                    Some(config) => Ok((config.node.state_dir, config.audit.store.file)),
                    None => Err(problems.mistakes().iter().map(ToString::to_string).collect()),
                }
            }
            (None, None) => Err(vec!["--config or --dir is wanted".to_owned()]),
        }
    }
}
