//! `tidegate map --coverage`: which fields messages hold, and which rules take them.
//!
//! Promises: prints places, counts and rules, never a value.
//! Knows nothing of: how a message is mapped.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::map::By;
use super::messages::{read, split};
use super::{Outcome, say};
use crate::normalize::coverage::Row;
use crate::normalize::{Context, Coverage};
use crate::parse::hl7::Message;

/// Looks through files and prints what was found.
pub(super) fn run(files: &[PathBuf], by: &By<'_>, json: bool) -> Outcome {
    let mut coverage = Coverage::default();
    let context = Context::default();
    for file in files {
        let Some(bytes) = read(file) else { return Outcome::Wrong };
        for message in split(&bytes) {
            match Message::parse(&message, by.charset) {
                // That it gives no event is counted, and told below.
                Ok(message) => drop(coverage.add(by.mappings, &message, &context)),
                Err(malformed) => coverage.refuse("malformed", malformed.to_string()),
            }
        }
    }
    if json {
        say(&as_json(&coverage).to_string())
    } else {
        print(&coverage)
    }
    if coverage.mapped == coverage.messages { Outcome::Done } else { Outcome::No }
}

/// `PID-3`; a segment without fields by its name.
fn place(segment: &str, field: usize) -> String {
    if field == 0 { segment.to_owned() } else { format!("{segment}-{field}") }
}

fn print(coverage: &Coverage) {
    let rules = |row: &Row| {
        let gate = row.gate.then(|| "tidegate itself".to_owned());
        let rules = row.rules.iter().map(|(place, target)| format!("{place} {target}"));
        let all: Vec<String> = gate.into_iter().chain(rules).collect();
        if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
    };
    let rows: Vec<Vec<String>> = coverage
        .rows()
        .map(|(segment, field, row)| {
            let [messages, occurrences, taken] =
                [row.messages, row.occurrences, row.taken].map(|count| count.to_string());
            vec![place(&segment, field), messages, occurrences, taken, rules(row)]
        })
        .collect();
    let heading = ["field", "messages", "occurrences", "taken", "by"];
    super::table::table(&heading, &rows).iter().for_each(|line| say(line));
    let untaken: Vec<String> = coverage
        .rows()
        .filter(|(_, _, row)| row.taken == 0)
        .map(|(segment, field, _)| place(&segment, field))
        .collect();
    say(&format!("{} messages, {} gave events", coverage.messages, coverage.mapped));
    for ((code, text), count) in &coverage.refused {
        let text = if text.is_empty() { "for further reasons" } else { text };
        say(&format!("{count} gave none: {code}: {text}"));
    }
    say(&format!("{} of {} fields are taken by nobody", untaken.len(), rows.len()));
    if coverage.left_out > 0 {
        say(&format!("{} more occurrences of further fields were not counted", coverage.left_out));
    }
}

fn as_json(coverage: &Coverage) -> Json {
    let fields: Vec<Json> = coverage
        .rows()
        .map(|(segment, field, row)| {
            let rules: Vec<Json> = row
                .rules
                .iter()
                .map(|(place, target)| json!({ "rule": place, "target": target }))
                .collect();
            json!({
                "segment": segment, "field": field, "messages": row.messages,
                "occurrences": row.occurrences, "taken": row.taken, "gate": row.gate, "rules": rules,
            })
        })
        .collect();
    let refused: Vec<Json> = coverage
        .refused
        .iter()
        .map(|((code, text), count)| json!({ "code": code, "text": text, "messages": count }))
        .collect();
    json!({
        "messages": coverage.messages, "mapped": coverage.mapped, "refused": refused,
        "fields": fields, "leftOut": coverage.left_out,
    })
}
