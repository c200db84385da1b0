//! The examples that each mapping file carries: a message and what must come out.
//!
//! Promises: a case looks at every value that it names and at nothing else; what differs is
//! reported by field, with what was wanted, since a case's message is made up.
//! Knows nothing of: the command that runs it.

use std::path::PathBuf;

use crate::document::{Item, Table};
use crate::event::{EventType, Value, View};
use crate::parse::hl7::{Charset, Message};

use super::Refusal;
use super::mapping::Mapping;
use super::run::{self, Context, Normalized, Trace};

/// One example.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// The file with the message.
    pub message: PathBuf,
    /// Which event of the message is looked at, from 1.
    event: usize,
    /// How many events there must be, where that is said.
    events: Option<usize>,
    /// Fields and the text of their values.
    expect: Vec<(String, String)>,
    /// Fields that must not be there.
    absent: Vec<String>,
    /// Places that must be listed as invalid.
    invalid: Vec<String>,
    /// File and line.
    pub place: String,
}

/// Reads the `[[case]]`s of a mapping file.
pub(super) fn read(table: &Table<'_>) -> Vec<Case> {
    table.tables("case").iter().filter_map(read_one).collect()
}

fn read_one(table: &Table<'_>) -> Option<Case> {
    let place = table.place();
    let name = table.required_text("name");
    let message = table.required_text("message");
    let texts = |key| table.texts(key).into_iter().map(|text| text.value).collect::<Vec<_>>();
    let case = Case {
        name: name?.value,
        message: table.dir().join(message?.value),
        event: usize::try_from(table.integer("event", 1, 1..=1_000)).unwrap_or(1),
        events: table
            .item("events")
            .and_then(|item| item.integer(0..=1_000))
            .and_then(|count| usize::try_from(count).ok()),
        expect: table.table("expect").map(|expect| read_expect(&expect)).unwrap_or_default(),
        absent: texts("absent"),
        invalid: texts("invalid"),
        place: format!("{}:{}", place.file, place.line),
    };
    if case.expect.is_empty() {
        table.mistake(&place, "`expect` names no field; a case that looks at nothing cannot fail");
    }
    table.finish();
    Some(case)
}

fn read_expect(table: &Table<'_>) -> Vec<(String, String)> {
    table
        .entries()
        .into_iter()
        .filter_map(|(field, item): (_, Item<'_>)| match item.scalar() {
            Some(text) => Some((field.value, text)),
            None => {
                item.mistake("what is expected is a text, a number or a boolean");
                None
            }
        })
        .collect()
}

impl Case {
    /// Runs the case by its mapping; what differs, one line each.
    #[must_use]
    pub fn run(&self, mapping: &Mapping) -> Vec<String> {
        // A part has no event type of its own; any serves, since a case looks at the fields.
        let kind = mapping.event.unwrap_or(EventType::PatientUpdated);
        self.run_by(|message| {
            let applied = run::apply(&[(mapping, kind)], message, &Context::default(), Trace::Off);
            applied.map(|(normalized, _)| normalized)
        })
    }

    /// Runs the case by whatever maps a message; what differs, one line each.
    #[must_use]
    pub fn run_by(
        &self,
        map: impl FnOnce(&Message<'_>) -> Result<Normalized, Refusal>,
    ) -> Vec<String> {
        let bytes = match std::fs::read(&self.message) {
            Ok(bytes) => bytes,
            Err(error) => return vec![format!("{}: {error}", self.message.display())],
        };
        let message = match Message::parse(&bytes, Charset::Utf8) {
            Ok(message) => message,
            Err(error) => return vec![format!("malformed: {error}")],
        };
        match map(&message) {
            Ok(normalized) => self.compare(&normalized),
            Err(refusal) => vec![format!("refused: {refusal}")],
        }
    }

    fn compare(&self, normalized: &Normalized) -> Vec<String> {
        let mut differs = Vec::new();
        if let Some(events) = self.events
            && events != normalized.drafts.len()
        {
            differs.push(format!("{events} events wanted, {} came out", normalized.drafts.len()));
        }
        let Some(draft) = normalized.drafts.get(self.event - 1) else {
            differs.push(format!("there is no event {}", self.event));
            return differs;
        };
        let data = draft.data.root();
        for (field, wanted) in &self.expect {
            let found = data.at(field).map_or_else(|| "nothing".to_owned(), show);
            if found != *wanted {
                differs.push(format!("{field}: {wanted} wanted, {found} came out"));
            }
        }
        for field in &self.absent {
            if data.at(field).is_some() {
                differs.push(format!("{field}: nothing wanted, something came out"));
            }
        }
        for place in &self.invalid {
            if !normalized.invalid.contains(place) {
                differs.push(format!("{place} is not listed as invalid"));
            }
        }
        differs
    }
}

/// A value as a case writes it; a list by its length.
fn show(view: View<'_>) -> String {
    match view.value() {
        Value::Text(text) => text.to_owned(),
        Value::List => view.children().count().to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object => {
            serde_json::to_string(&view).unwrap_or_default()
        }
    }
}
