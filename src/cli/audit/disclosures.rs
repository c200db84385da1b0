//! `tidegate audit disclosures`.

use clap::Args;
use serde_json::Value as Json;

use super::find::tell_archived;
use crate::admin::api;
use crate::cli::journal::{text, wrong};
use crate::cli::lookup::{LookupError, Whence};
use crate::cli::say;
use crate::cli::table::table;
use crate::store::query::MessageName;

/// Whose disclosures.
#[derive(Debug, Args)]
pub struct Disclosures {
    #[command(flatten)]
    whence: Whence,
    /// The message's number, its correlation ID, or the ID of one of its events.
    message: String,
    /// One JSON object a disclosure.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV, with every column.
    #[arg(long)]
    csv: bool,
}

const HEADING: [&str; 13] = [
    "number",
    "at",
    "recipient",
    "agreement",
    "purpose",
    "what",
    "type",
    "fields",
    "route",
    "contract",
    "subject",
    "consent",
    "arrived",
];

impl Disclosures {
    /// Runs it.
    pub fn run(self) -> Result<(), LookupError> {
        let message = MessageName::read(&self.message).ok_or_else(|| wrong(&self.message))?;
        let query = [("subject_of", self.message.clone())];
        let found = self
            .whence
            .ask("/api/audit/disclosures", &query, |lookup| api::disclosures(lookup, message))?;
        let disclosures =
            found.get("disclosures").and_then(Json::as_array).cloned().unwrap_or_default();
        if self.json {
            disclosures.iter().for_each(|one| say(&one.to_string()));
        } else {
            let rows: Vec<Vec<String>> = disclosures.iter().map(row).collect();
            if self.csv {
                print_csv(&rows)?;
            } else {
                table(&HEADING, &rows).iter().for_each(|line| say(line));
            }
        }
        tell_archived(&found);
        Ok(())
    }
}

fn print_csv(rows: &[Vec<String>]) -> Result<(), LookupError> {
    let failed = |error: csv::Error| LookupError::Failed(error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADING).map_err(failed)?;
    for row in rows {
        writer.write_record(row).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| LookupError::Failed(error.to_string()))?;
    String::from_utf8_lossy(&bytes).lines().for_each(say);
    Ok(())
}

fn row(one: &Json) -> Vec<String> {
    let fields = one["fields"].as_object().into_iter().flatten();
    let fields: Vec<String> = fields
        .filter_map(|(path, fate)| match fate.as_str() {
            Some("removed") | None => None,
            Some("kept") => Some(path.clone()),
            Some(fate) => Some(format!("{path} ({fate})")),
        })
        .collect();
    let consents = one["consents"].as_array().into_iter().flatten();
    let consents: Vec<String> = consents.map(|consent| text(consent, "record")).collect();
    let arrived = if one["inDoubt"] == Json::Bool(true) { "in doubt" } else { "yes" };
    let mut cells: Vec<String> =
        ["number", "at", "recipient", "agreement", "purpose", "what", "type"]
            .map(|key| text(one, key))
            .into();
    cells.push(fields.join(" "));
    cells.extend(["route", "contract", "subject"].map(|key| text(one, key)));
    cells.push(consents.join(" "));
    cells.push(arrived.to_owned());
    cells
}
