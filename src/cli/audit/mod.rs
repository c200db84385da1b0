//! `tidegate audit`, one file a command.
//!
//! Promises: as all commands do.
//! Knows nothing of: how evidence is kept.

mod verify;

use clap::Subcommand;

use super::Outcome;

/// Look at the evidence.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Follow the whole chain, and say which record is the first that is not what was written.
    ///
    /// Works on a running daemon, on a stopped one, and on a copy of its files; needs no secret.
    Verify(verify::Verify),
}

impl Audit {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self {
            Self::Verify(command) => command.run(),
        }
    }
}
