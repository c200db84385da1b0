//! Where evidence is that is read as files.

use std::path::PathBuf;

use clap::Args;

use crate::cli::configuration;
use crate::config::CHECKPOINTS;

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
                let config = configuration(file)?;
                Ok((config.node.state_dir, config.audit.store.file))
            }
            (None, None) => Err(vec!["--config or --dir is wanted".to_owned()]),
        }
    }
}
