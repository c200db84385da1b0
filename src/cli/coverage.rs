//! `tidegate map --coverage`: which fields messages and resources hold, and which rules take them.
//!
//! Promises: prints places, counts and rules, never a value.
//! Knows nothing of: how a message is mapped.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::map::By;
use super::messages::{read, split};
use super::resources::{One, each, is_fhir};
use super::{Outcome, say};
use crate::normalize::coverage::{Place, Row};
use crate::normalize::fhir::{Scene, release};
use crate::normalize::{Context, Coverage};
use crate::parse::hl7::Message;

/// Looks through files and prints what was found.
pub(super) fn run(files: &[PathBuf], by: &By<'_>, json: bool) -> Outcome {
    let mut coverage = Coverage::default();
    let context = Context::default();
    for file in files {
        let Some(bytes) = read(file) else { return Outcome::Wrong };
        if is_fhir(&bytes) {
            each(bytes, by, &mut |one| match one {
                One::Malformed(malformed) => coverage.refuse("malformed", malformed.to_string()),
                One::Beside(resource) => coverage.add_beside(resource.kind()),
                One::Focus(focus, around) => {
                    let version = by.fhir.unwrap_or_else(|| release::release(focus));
                    let scene = Scene { focus, patient: None, before: None, version, around };
                    drop(coverage.add_resource(by.mappings, &scene, &context));
                }
            });
            continue;
        }
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

fn print(coverage: &Coverage) {
    let rules = |row: &Row| {
        let gate = row.gate.then(|| "tidegate itself".to_owned());
        let rules = row.rules.iter().map(|(place, target)| format!("{place} {target}"));
        let all: Vec<String> = gate.into_iter().chain(rules).collect();
        if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
    };
    let rows: Vec<Vec<String>> = coverage
        .rows()
        .map(|(place, row)| {
            let [messages, occurrences, taken] =
                [row.messages, row.occurrences, row.taken].map(|count| count.to_string());
            vec![place.to_string(), messages, occurrences, taken, rules(row)]
        })
        .collect();
    let heading = ["field", "messages", "occurrences", "taken", "by"];
    super::table::table(&heading, &rows).iter().for_each(|line| say(line));
    say(&format!("{} messages, {} gave events", coverage.messages, coverage.mapped));
    for ((code, text), count) in &coverage.refused {
        let text = if text.is_empty() { "for further reasons" } else { text };
        say(&format!("{count} gave none: {code}: {text}"));
    }
    for (kind, count) in &coverage.beside {
        say(&format!("{count} only came along: {kind}"));
    }
    let is_field = |place: &Place| place.segment().is_some();
    for (what, of_fields) in [("fields", true), ("elements", false)] {
        let rows = || coverage.rows().filter(|(place, _)| is_field(place) == of_fields);
        let (untaken, all) = (rows().filter(|(_, row)| row.taken == 0).count(), rows().count());
        if all > 0 {
            say(&format!("{untaken} of {all} {what} are taken by nobody"));
        }
    }
    if coverage.left_out > 0 {
        say(&format!("{} more occurrences of further fields were not counted", coverage.left_out));
    }
}

fn as_json(coverage: &Coverage) -> Json {
    let (mut fields, mut elements) = (Vec::new(), Vec::new());
    for (place, row) in coverage.rows() {
        let rules: Vec<Json> = row
            .rules
            .iter()
            .map(|(place, target)| json!({ "rule": place, "target": target }))
            .collect();
        let Row { messages, occurrences, taken, gate, .. } = row;
        match place {
            Place::Field(_, field) => fields.push(json!({
                "segment": place.segment(), "field": field, "messages": messages,
                "occurrences": occurrences, "taken": taken, "gate": gate, "rules": rules,
            })),
            Place::Element(element) => elements.push(json!({
                "element": element, "messages": messages,
                "occurrences": occurrences, "taken": taken, "gate": gate, "rules": rules,
            })),
        }
    }
    let refused: Vec<Json> = coverage
        .refused
        .iter()
        .map(|((code, text), count)| json!({ "code": code, "text": text, "messages": count }))
        .collect();
    let beside: Vec<Json> = coverage
        .beside
        .iter()
        .map(|(kind, count)| json!({ "resource": kind, "count": count }))
        .collect();
    json!({
        "messages": coverage.messages, "mapped": coverage.mapped, "refused": refused,
        "fields": fields, "elements": elements, "beside": beside, "leftOut": coverage.left_out,
    })
}
