//! The examples that each mapping file carries: a message and what must come out.
//!
//! Promises: a case looks at every value that it names and at nothing else; what differs is
//! reported by field, with what was wanted, since a case's message is made up.
//! Knows nothing of: the command that runs it.

use std::path::PathBuf;

use crate::document::{Item, Table};
use crate::event::{EventType, Value, View};
use crate::parse::fhir::{Resource, Version};
use crate::parse::hl7::{Charset, Message};

use super::Refusal;
use super::fhir;
use super::mapping::Mapping;
use super::run::{self, Context, Normalized, Trace};

/// Longest resource of a case, in bytes.
const BYTES_MAX: usize = 16 << 20;

/// One example.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// The file with the message.
    pub message: PathBuf,
    /// Which event of the message is looked at, from 1.
    event: usize,
    /// Its type, where that is said.
    kind: Option<EventType>,
    /// What only resources have.
    of_resource: OfResource,
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

/// What a case of a resource says beside.
#[derive(Clone, Debug, Default)]
struct OfResource {
    /// Which of a Bundle, as `Observation/1`; without it the first that the mapping selects.
    focus: Option<String>,
    /// The file with the version that was seen before.
    before: Option<PathBuf>,
    /// The release; without it what the resource looks like.
    version: Option<Version>,
}

/// What the messages of cases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Messages of HL7 v2.
    Messages,
    /// FHIR resources.
    Resources,
}

/// Reads the `[[case]]`s of a mapping file.
pub(super) fn read(table: &Table<'_>, of: Of) -> Vec<Case> {
    table.tables("case").iter().filter_map(|case| read_one(case, of)).collect()
}

/// The same of a file that must have one.
pub(super) fn of_file(table: &Table<'_>, of: Of) -> Vec<Case> {
    let cases = read(table, of);
    if cases.is_empty() {
        table.mistake(&table.place(), "there is no [[case]]: a message and what must come out");
    }
    cases
}

fn read_one(table: &Table<'_>, of: Of) -> Option<Case> {
    let place = table.place();
    let name = table.required_text("name");
    let message = table.required_text("message");
    let texts = |key| table.texts(key).into_iter().map(|text| text.value).collect::<Vec<_>>();
    let of_resource = match of {
        Of::Messages => OfResource::default(),
        Of::Resources => OfResource {
            focus: table.text("focus").map(|text| text.value),
            before: table.text("before").map(|text| table.dir().join(text.value)),
            version: table.choice("version", &fhir::load::VERSIONS),
        },
    };
    let case = Case {
        kind: table.choice("type", &EventType::ALL.map(|kind| (kind.name(), kind))),
        of_resource,
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

    /// Runs the case of a resource by its mapping; what differs, one line each.
    #[must_use]
    pub fn run_resource(&self, mapping: &fhir::Mapping) -> Vec<String> {
        let mapped = self.bytes(&self.message).and_then(|bytes| {
            let before = match &self.of_resource.before {
                None => None,
                Some(path) => Some(self.seen(&self.bytes(path)?, mapping)?),
            };
            self.map_resource(&bytes, mapping, before.as_ref())
        });
        match mapped {
            Ok(normalized) => self.compare(&normalized),
            Err(text) => vec![text],
        }
    }

    fn bytes(&self, path: &std::path::Path) -> Result<Vec<u8>, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        fhir::opened::json(bytes, BYTES_MAX, self.of_resource.version)
            .map_err(|malformed| format!("malformed: {malformed}"))
    }

    /// What was seen of the version before.
    fn seen(&self, bytes: &[u8], mapping: &fhir::Mapping) -> Result<fhir::Seen, String> {
        let mapped = self.map_resource(bytes, mapping, None)?;
        let draft = mapped.drafts.first().ok_or("the version before gives no event")?;
        Ok(fhir::Seen::of(draft.data.root()))
    }

    fn map_resource(
        &self,
        bytes: &[u8],
        mapping: &fhir::Mapping,
        before: Option<&fhir::Seen>,
    ) -> Result<Normalized, String> {
        let opened = fhir::opened::open(bytes, BYTES_MAX)
            .map_err(|malformed| format!("malformed: {malformed}"))?;
        let around = fhir::opened::around(&opened);
        let is_focus = |resource: &Resource<'_>| match &self.of_resource.focus {
            Some(focus) => {
                resource.id().is_some_and(|id| *focus == format!("{}/{id}", resource.kind()))
            }
            // A part has no type of its own.
            None => mapping.resource.as_deref().is_none_or(|kind| kind == resource.kind()),
        };
        let focus = opened
            .iter()
            .filter_map(|one| one.resource.as_ref().ok())
            .find(|resource| is_focus(resource))
            .ok_or("there is no such resource")?;
        let version = self.of_resource.version.unwrap_or_else(|| fhir::release::release(focus));
        let scene = fhir::Scene { focus, patient: None, before, version, around: &around };
        // As in `run`: any type serves a part.
        let kind = mapping.event.unwrap_or(EventType::PatientUpdated);
        fhir::apply(mapping, kind, &scene, &Context::default(), Trace::Off)
            .map(|(normalized, _)| normalized)
            .map_err(|refusal| format!("refused: {refusal}"))
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
        if let Some(kind) = self.kind.filter(|kind| *kind != draft.kind) {
            differs.push(format!("{kind} wanted, {} came out", draft.kind));
        }
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
