//! `tidegate audit`, one file a command.
//!
//! Promises: as all commands do.
//! Knows nothing of: how evidence is kept.

mod disclosures;
mod export;
mod find;
mod verify;
mod whereabouts;

use clap::Subcommand;

use super::Outcome;
use super::journal::report;

/// Look at the evidence.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Follow the whole chain, and say which record is the first that is not what was written.
    ///
    /// Works on a running daemon, on a stopped one, and on a copy of its files; needs no secret.
    Verify(verify::Verify),
    /// List what was decided and done, the newest first.
    Find(Box<find::Find>),
    /// Write every record, as NDJSON or as FHIR AuditEvents.
    Export(export::Export),
    /// Account for what left about the patients of a message: when, to whom, why and what.
    ///
    /// A patient is named by a message and not by a number, which would be seen in the list of
    /// processes.
    Disclosures(disclosures::Disclosures),
}

impl Audit {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self {
            Self::Verify(command) => command.run(),
            Self::Find(command) => report(command.run()),
            Self::Export(command) => report(command.run()),
            Self::Disclosures(command) => report(command.run()),
        }
    }
}
