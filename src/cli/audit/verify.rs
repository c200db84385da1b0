//! `tidegate audit verify`.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::whereabouts::Whereabouts;
use crate::cli::{Outcome, complain, say};
use crate::secret::unhex;
use crate::store::audit::verify::{Report, Wanted, verify};

/// Follow the whole chain.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    whereabouts: Whereabouts,
    /// Checkpoints that were kept elsewhere, one a line; - is standard input.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The public key, as audit.pub has it, from where you keep it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Runs it.
    pub fn run(self) -> Outcome {
        let wanted = match self.wanted() {
            Ok(wanted) => wanted,
            Err(lines) => {
                lines.iter().for_each(|line| complain(line));
                return Outcome::Wrong;
            }
        };
        let bar = bar();
        let report = verify(&wanted, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        match report {
            Ok(report) if self.json => print_json(&report),
            Ok(report) => print(&report),
            Err(error) => {
                complain(&format!("audit.db cannot be read: {error}"));
                Outcome::No
            }
        }
    }

    fn wanted(&self) -> Result<Wanted, Vec<String>> {
        let (dir, file) = self.whereabouts.find()?;
        let read = |path: &Path| {
            let text = if path == Path::new("-") {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map(|_| text)
            } else {
                std::fs::read_to_string(path)
            };
            text.map_err(|error| vec![format!("{}: {error}", path.display())])
        };
        let kept = match &self.checkpoint {
            Some(path) => Some((path.display().to_string(), read(path)?)),
            None => None,
        };
        let key = match &self.key {
            Some(path) => {
                let text = read(path)?.trim().to_owned();
                if unhex(&text).is_none_or(|bytes| bytes.len() != 32) {
                    return Err(vec![format!("{} is not 64 hexadecimal digits", path.display())]);
                }
                Some(text)
            }
            None => None,
        };
        Ok(Wanted { dir, file, kept, key })
    }
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn outcome(report: &Report) -> Outcome {
    if report.problems.is_empty() { Outcome::Done } else { Outcome::No }
}

fn print(report: &Report) -> Outcome {
    for note in &report.notes {
        complain(&format!("note: {note}"));
    }
    for problem in &report.problems {
        complain(problem);
    }
    let (noted, read) = report.segments;
    say(&format!("chain {}", report.chain));
    say(&format!(
        "{} records followed, up to {} of hash {}",
        report.records, report.last, report.hash
    ));
    say(&format!("{read} of {noted} segments read, {} checkpoints compared", report.checkpoints));
    say(if report.problems.is_empty() { "whole" } else { "NOT whole" });
    outcome(report)
}

fn print_json(report: &Report) -> Outcome {
    say(&json!({
        "whole": report.problems.is_empty(),
        "chain": report.chain,
        "last": report.last,
        "hash": report.hash,
        "records": report.records,
        "segments": report.segments.0,
        "segmentsRead": report.segments.1,
        "checkpoints": report.checkpoints,
        "problems": report.problems,
        "notes": report.notes,
    })
    .to_string());
    outcome(report)
}
