//! The commands, one file each.
//!
//! Promises: exit 0 done, 1 the answer is no, 2 wrong use or bad configuration; tables for a
//! person at a terminal, `--json` everywhere.
//! Knows nothing of: how anything is done; each command calls the rooms.

pub mod against;
pub mod audit;
pub mod check;
pub mod completions;
mod coverage;
pub mod consent;
pub mod decide;
pub mod exceptions;
pub mod import;
pub mod journal;
pub mod log;
pub mod lookup;
pub mod map;
pub mod messages;
mod resources;
pub mod run;
pub mod send;
pub mod shadow;
pub mod table;
pub mod tls;
pub mod token;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::bug;
use crate::config::{self, Config};
use crate::document::Problems;

/// Stands between a hospital and everyone outside the ward who has a good reason to hear from it.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(run::Run),
    /// Read the configuration, the mappings and the contracts, and print every mistake.
    Check(check::Check),
    /// Send HL7 v2 messages over MLLP, and print each acknowledgement.
    Send(send::Send),
    /// Map messages to canonical events, without a daemon.
    Map(map::Map),
    /// Say what each route would do with messages now, and why.
    Decide(decide::Decide),
    /// Look at what came in.
    #[command(subcommand)]
    Journal(journal::Journal),
    /// Look at what needs a human.
    #[command(subcommand)]
    Exceptions(exceptions::Exceptions),
    /// Look at what patients decided.
    #[command(subcommand)]
    Consent(consent::Consent),
    /// Say whom a token stands for, and end tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// Look at the evidence: what was decided and done, and whether the proof of it is whole.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Print completions for a shell.
    Completions(completions::Completions),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The answer is no.
    No,
    /// Wrong use, or bad configuration.
    Wrong,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::No => Self::from(1),
            Outcome::Wrong => Self::from(2),
        }
    }
}

/// Runs what the arguments say.
#[must_use]
pub fn main() -> ExitCode {
    bug::install_hook();
    let outcome = match Arguments::parse().command {
        Command::Run(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Send(command) => command.run(),
        Command::Map(command) => command.run(),
        Command::Decide(command) => command.run(),
        Command::Journal(command) => command.run(),
        Command::Exceptions(command) => command.run(),
        Command::Consent(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Completions(command) => command.run(),
    };
    outcome.into()
}

/// What a configuration says, or its mistakes, a line each.
fn configuration(file: &Path) -> Result<Config, Vec<String>> {
    let problems = Problems::default();
    config::load(file, &problems)
        .ok_or_else(|| problems.mistakes().iter().map(ToString::to_string).collect())
}

/// A time, or the begin of a day.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let day: Option<Date> = text.parse().ok();
    let begin = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()).map(|day| day.timestamp());
    begin.ok_or_else(|| "a time such as 2026-11-22T08:00:00Z, or a day, is wanted".to_owned())
}

/// Writes a line to standard output. A reader that has gone, as `head` does, ends the command
/// quietly.
pub fn say(line: &str) {
    use std::io::Write;
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Writes a line to standard error.
pub fn complain(line: &str) {
    use std::io::Write;
    // There is nobody left to tell where this fails.
    writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn a_time_is_taken_as_a_day_is() {
        assert_eq!(time("2026-11-22"), time("2026-11-22T00:00:00Z"));
        assert_eq!(time("2026-11-22T01:00:00+01:00"), time("2026-11-22"));
        assert!(time("2026-02-30").is_err() && time("yesterday").is_err());
    }
}
