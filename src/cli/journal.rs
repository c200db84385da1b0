//! `tidegate journal`.

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::lookup::{LookupError, Whence};
use super::table::{clean, table};
use super::{Outcome, complain, say};
use crate::admin::{api, decisions};
use crate::store::query::{Filter, MessageName};

/// Look at what came in.
#[derive(Debug, Subcommand)]
pub enum Journal {
    /// List messages, the newest first.
    Ls(List),
    /// Show one message: its bytes, its events, what no rule took, which routes have passed it.
    Show(Show),
}

/// Which messages.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    whence: Whence,
    /// Of this feed.
    #[arg(long)]
    feed: Option<String>,
    /// Of this type, or type and trigger, such as ADT^A01.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Of this status: admitted, parked, unsupported, refused.
    #[arg(long, value_parser = ["admitted", "parked", "unsupported", "refused"])]
    status: Option<String>,
    /// That came in at or after this time, such as 2026-11-22T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<jiff::Timestamp>,
    /// That came in before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<jiff::Timestamp>,
    /// With this correlation ID.
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Which message.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    whence: Whence,
    /// The message's number, its correlation ID, or the ID of one of its events.
    message: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Journal {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self {
            Self::Ls(command) => report(command.run()),
            Self::Show(command) => report(command.run()),
        }
    }
}

/// What could not be looked up, on standard error.
pub fn report(outcome: Result<(), LookupError>) -> Outcome {
    match outcome {
        Ok(()) => Outcome::Done,
        Err(error) => {
            complain(&format!("tidegate: {error}"));
            if matches!(error, LookupError::Wrong(_)) { Outcome::Wrong } else { Outcome::No }
        }
    }
}

impl List {
    fn run(self) -> Result<(), LookupError> {
        let correlation_id = match &self.correlation {
            None => None,
            Some(text) => match MessageName::read(text) {
                Some(MessageName::Correlation(id)) => Some(id),
                Some(MessageName::Number(_)) | None => return Err(wrong(text)),
            },
        };
        let filter = Filter {
            feed: self.feed,
            kind: self.kind,
            status: self.status,
            from: self.from.map(jiff::Timestamp::as_millisecond),
            to: self.to.map(jiff::Timestamp::as_millisecond),
            correlation_id,
            limit: self.limit,
        };
        let found = self.whence.ask("/api/journal", &query(&filter), |lookup| {
            Ok(Some(lookup.messages(&filter)?.iter().map(api::listed).collect()))
        })?;
        let rows: Vec<&Json> = found.as_array().into_iter().flatten().collect();
        if self.json {
            rows.iter().for_each(|row| say(&row.to_string()));
            return Ok(());
        }
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let events = row["events"].as_array().map_or(0, Vec::len);
                let mut cells: Vec<String> = [
                    "number",
                    "receivedAt",
                    "feed",
                    "type",
                    "status",
                    "controlId",
                    "correlationId",
                ]
                .map(|key| text(row, key))
                .into();
                cells.push(events.to_string());
                cells
            })
            .collect();
        let heading = [
            "number",
            "received",
            "feed",
            "type",
            "status",
            "control ID",
            "correlation ID",
            "events",
        ];
        table(&heading, &cells).iter().for_each(|line| say(line));
        Ok(())
    }
}

impl Show {
    fn run(self) -> Result<(), LookupError> {
        let number = number_of(&self.whence, &self.message)?;
        let path = format!("/api/journal/{number}");
        let found = self.whence.ask_with(&path, &[], |config, lookup| {
            decisions::message(lookup, number, &config.contracts)
        })?;
        if self.json {
            say(&found.to_string());
        } else {
            print_message(&found);
        }
        Ok(())
    }
}

/// The number of a message by its number, its correlation ID, or the ID of an event, which
/// begins with that.
pub(super) fn number_of(whence: &Whence, text: &str) -> Result<u64, LookupError> {
    let id = match MessageName::read(text).ok_or_else(|| wrong(text))? {
        MessageName::Number(number) => return Ok(number),
        MessageName::Correlation(id) => id,
    };
    let filter = Filter { correlation_id: Some(id), limit: 1, ..Filter::default() };
    let found = whence.ask("/api/journal", &query(&filter), |lookup| {
        Ok(Some(lookup.messages(&filter)?.iter().map(api::listed).collect()))
    })?;
    found.pointer("/0/number").and_then(Json::as_u64).ok_or(LookupError::None)
}

pub(super) fn wrong(text: &str) -> LookupError {
    LookupError::Wrong(vec![format!("`{text}` is no message number, correlation ID or event ID")])
}

fn query(filter: &Filter) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", filter.limit.to_string())];
    let texts = [("feed", &filter.feed), ("type", &filter.kind), ("status", &filter.status)];
    query.extend(texts.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    let times = [("from", filter.from), ("to", filter.to)];
    query.extend(times.into_iter().filter_map(|(key, value)| Some((key, value?.to_string()))));
    query.extend(filter.correlation_id.map(|id| ("correlation", id.to_string())));
    query
}

/// A value of a row as text.
pub(super) fn text(row: &Json, key: &str) -> String {
    match &row[key] {
        Json::String(text) => clean(text),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// Prints a message for a person.
pub(super) fn print_message(message: &Json) {
    for key in ["number", "receivedAt", "feed", "type", "status", "controlId", "correlationId"] {
        say(&format!("{key}: {}", text(message, key)));
    }
    for route in message["routes"].as_array().into_iter().flatten() {
        say(&format!("route {}: {}", text(route, "route"), text(route, "state")));
    }
    for decision in message["decisions"].as_array().into_iter().flatten() {
        let [record, at, route, sentence] =
            ["record", "at", "route", "sentence"].map(|key| text(decision, key));
        say(&format!("route {route}, {at}, record {record}: {sentence}"));
    }
    for key in ["unmapped", "invalid", "newSegments"] {
        let places: Vec<&str> =
            message[key].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        if !places.is_empty() {
            say(&format!("{key}: {}", places.join(" ")));
        }
    }
    for event in message["events"].as_array().into_iter().flatten() {
        say(&format!("event {}:", text(event, "id")));
        let pretty = serde_json::to_string_pretty(&event["data"]).unwrap_or_default();
        say(&pretty);
    }
    say("message:");
    let raw = message.get("raw").and_then(Json::as_str).unwrap_or_default();
    let lines = raw.split(['\r', '\n']).filter(|line| !line.is_empty());
    lines.for_each(|line| say(&clean(line)));
}
