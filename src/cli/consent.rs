//! `tidegate consent`.

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::journal::{number_of, report, text};
use super::lookup::{LookupError, Whence};
use super::table::table;
use super::{Outcome, say};
use crate::admin::api;

/// Look at what patients decided.
#[derive(Debug, Subcommand)]
pub enum Consent {
    /// List every record of the patients that a message is about, in the order they came.
    ///
    /// A patient is named by a message and not by a number, which would be seen in the list of
    /// processes.
    History(History),
}

/// Whose records.
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    whence: Whence,
    /// The message's number, its correlation ID, or the ID of one of its events.
    message: String,
    /// One JSON object a record.
    #[arg(long)]
    json: bool,
}

impl Consent {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self {
            Self::History(command) => report(command.run()),
        }
    }
}

impl History {
    fn run(self) -> Result<(), LookupError> {
        let number = number_of(&self.whence, &self.message)?;
        let found = self.whence.ask(&format!("/api/journal/{number}/consent"), &[], |lookup| {
            Ok(lookup.consents(number)?.map(|found| api::consents(&found)))
        })?;
        for subject in found.as_array().into_iter().flatten() {
            let records: Vec<&Json> = subject["records"].as_array().into_iter().flatten().collect();
            if self.json {
                records.iter().for_each(|record| say(&record.to_string()));
            } else {
                print(&records);
            }
        }
        Ok(())
    }
}

fn print(records: &[&Json]) {
    let keys = ["recordedAt", "key", "version", "decidedAt", "effectiveFrom", "effectiveTo"];
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let mut cells: Vec<String> = keys.map(|key| text(record, key)).into();
            cells.push(says(&record["says"]));
            cells.push(text(record, "message"));
            cells
        })
        .collect();
    let heading = ["arrived", "key", "version", "decided", "from", "to", "says", "message"];
    table(&heading, &rows).iter().for_each(|line| say(line));
}

/// `permit active CLINTRCH HRESCH`, `restriction begins`, `closure begins`.
fn says(says: &Json) -> String {
    if let Some(turn) = says.get("closure") {
        return format!("closure {}", turn.as_str().unwrap_or_default());
    }
    if let Some(restriction) = says.get("restriction") {
        return format!("restriction {}", text(restriction, "turn"));
    }
    let consent = &says["consent"];
    let these = consent.pointer("/purposes/these").and_then(Json::as_array);
    let purposes = match these {
        Some(these) => these.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "),
        None => text(consent, "purposes"),
    };
    format!("{} {} {}", text(consent, "decision"), text(consent, "status"), purposes)
}
