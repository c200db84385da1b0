//! `tidegate consent`.

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::import::Import;
use super::journal::{number_of, report, text};
use super::lookup::{LookupError, Whence};
use super::table::table;
use super::{Outcome, say};
use crate::admin::api;
use crate::admin::state::{self, Wanted};
use crate::clock;
use crate::consent::PURPOSES;

/// Look at what patients decided.
#[derive(Debug, Subcommand)]
pub enum Consent {
    /// List every record of the patients that a message is about, in the order they came.
    ///
    /// A patient is named by a message and not by a number, which would be seen in the list of
    /// processes.
    History(History),
    /// Show what the consent of the patients that a message is about comes to, purpose by purpose.
    ///
    /// Once as a route is answered that asks for a consent (opt-in), once as one that asks for no
    /// refusal (opt-out), about an event without labels, in no visit.
    Show(Show),
    /// Take a file of decisions into the ledger, all of it or nothing.
    ///
    /// Into a running daemon by its API, else into the store of a stopped one.
    Import(Import),
}

/// Whose state, and which.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    whence: Whence,
    /// The message's number, its correlation ID, or the ID of one of its events.
    message: String,
    /// For this purpose alone, such as CLINTRCH, with all that is to be said of it.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(PURPOSES), hide_possible_values = true)]
    purpose: Option<String>,
    /// For this consumer, as contracts call it; without it, one that no record names.
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// At this time, such as 2026-11-22T08:00:00Z, by what had arrived then.
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// One JSON object a patient.
    #[arg(long)]
    json: bool,
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
            Self::Show(command) => report(command.run()),
            Self::Import(command) => report(command.run()),
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

impl Show {
    fn run(self) -> Result<(), LookupError> {
        let Self { whence, message, purpose, consumer, at, json } = self;
        let number = number_of(&whence, &message)?;
        let mut query = Vec::new();
        query.extend(purpose.clone().map(|it| ("purpose", it)));
        query.extend(consumer.clone().map(|it| ("consumer", it)));
        query.extend(at.map(|it| ("at", it.to_string())));
        let path = format!("/api/journal/{number}/consent/state");
        let found = whence.ask_with(&path, &query, |config, lookup| {
            let jurisdiction = config.node.jurisdiction.clone();
            let at = at.unwrap_or_else(clock::now);
            let wanted = Wanted { purpose: purpose.clone(), consumer, jurisdiction, at };
            let found = lookup.consents(number)?;
            Ok(found.map(|found| state::states(&found, &config.policy, &wanted)))
        })?;
        for (nth, state) in found.as_array().into_iter().flatten().enumerate() {
            if json {
                say(&state.to_string());
                continue;
            }
            if nth > 0 {
                say("");
            }
            print_state(state, purpose.is_some());
        }
        Ok(())
    }
}

/// A row for each purpose that something is said of; the others in one line.
fn print_state(state: &Json, whole: bool) {
    let answer = |row: &Json, require: &str| text(&row[require], "answer");
    let records = |row: &Json, require: &str| -> Vec<String> {
        let records = row[require].get("records").and_then(Json::as_array);
        records.into_iter().flatten().map(reference).collect()
    };
    let (mut rows, mut silent) = (Vec::new(), Vec::new());
    for row in state["purposes"].as_array().into_iter().flatten() {
        let behind = [records(row, "optIn"), records(row, "optOut")].concat();
        let is_silent = answer(row, "optIn") == "missing" && behind.is_empty();
        if is_silent && answer(row, "optOut") == "permit" && !whole {
            silent.push(text(row, "purpose"));
            continue;
        }
        let mut sentences = vec![text(&row["optIn"], "sentence")];
        if answer(row, "optIn") != answer(row, "optOut") && whole {
            sentences.push(text(&row["optOut"], "sentence"));
        }
        let mut behind = behind;
        behind.sort();
        behind.dedup();
        rows.push(vec![
            text(row, "purpose"),
            answer(row, "optIn"),
            answer(row, "optOut"),
            behind.join(", "),
            sentences.join(" "),
        ]);
    }
    say(&format!("at {}", text(state, "at")));
    if !rows.is_empty() {
        let heading = ["purpose", "opt-in", "opt-out", "records", "why"];
        table(&heading, &rows).iter().for_each(|line| say(line));
    }
    if !silent.is_empty() {
        say(&format!(
            "no record speaks about (opt-in: missing, opt-out: permit): {}",
            silent.join(" ")
        ));
    }
}

fn reference(record: &Json) -> String {
    let version = text(record, "version");
    let key = text(record, "key");
    if version.is_empty() { key } else { format!("{key} version {version}") }
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
    let mut said =
        format!("{} {} {}", text(consent, "decision"), text(consent, "status"), purposes);
    if let Some(within) = consent.get("within") {
        said = format!("{said} only{}", about(within));
    }
    let exceptions = exceptions(consent, "");
    if exceptions.is_empty() { said } else { format!("{said}, but {}", exceptions.join(", ")) }
}

/// `1 deny for HMARKT`, `1.1 permit to crm`: each behind the one that it is an exception to.
fn exceptions(of: &Json, before: &str) -> Vec<String> {
    let mut said = Vec::new();
    let nested = of.get("exceptions").and_then(Json::as_array);
    for (exception, at) in nested.into_iter().flatten().zip(1..) {
        let path = format!("{before}{at}");
        let what = exception.get("about").map(about).unwrap_or_default();
        said.push(format!("{path} {}{what}", text(exception, "decision")));
        said.extend(exceptions(exception, &format!("{path}.")));
    }
    said
}

/// What a decision or an exception is limited to, behind its word.
fn about(criteria: &Json) -> String {
    let mut said = String::new();
    for (name, word) in
        [("purposes", "for"), ("grantees", "to"), ("labels", "labelled"), ("classes", "of fields")]
    {
        let Some(listed) = criteria.get(name) else { continue };
        let these = listed.get("these").and_then(Json::as_array);
        let mut these: Vec<&str> = these.into_iter().flatten().filter_map(Json::as_str).collect();
        if listed.get("others").is_some() {
            these.push("others");
        }
        said = format!("{said} {word} {}", these.join(" "));
    }
    if let Some(level) = criteria.get("confidentiality").and_then(Json::as_str) {
        said = format!("{said} up to {level}");
    }
    for (name, word) in [("from", "from"), ("to", "until")] {
        if let Some(date) = criteria.pointer(&format!("/{name}/0")).and_then(Json::as_str) {
            said = format!("{said} {word} {date}");
        }
    }
    if criteria.get("beyond").is_some() { format!("{said} beyond what can be told") } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_with_its_exceptions() {
        let consent = serde_json::json!({
            "purposes": { "these": ["TREAT"] }, "decision": "permit", "status": "active",
            "within": { "grantees": { "these": ["crm"], "others": true } },
            "exceptions": [
                { "decision": "deny", "about": { "labels": { "these": ["PSY"] },
                    "to": ["2027-06-30", 1, 2] },
                  "exceptions": [{ "decision": "permit", "about": { "beyond": true } }] },
                { "decision": "deny", "about": { "confidentiality": "restricted" } },
            ],
        });
        assert_eq!(
            says(&serde_json::json!({ "consent": consent })),
            "permit active TREAT only to crm others, but 1 deny labelled PSY until 2027-06-30, \
             1.1 permit beyond what can be told, 2 deny up to restricted"
        );
    }
}
