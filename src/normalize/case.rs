//! The examples that each mapping file carries: a message and what must come out.
//!
//! Promises: a case looks at every value that it names and at nothing else; what differs is
//! reported by field, with what was wanted, since a case's message is made up.
//! Knows nothing of: the command that runs it.

use std::path::{Path, PathBuf};

use crate::document::{Item, Table};
use crate::event::{EventType, Value, View};
use crate::parse::fhir::{Resource, Version};
use crate::parse::hl7::{Charset, Message};

use super::Refusal;
use super::fhir;
use super::mapping::{Mapping, Mappings};
use super::run::{self, Context, Draft, Normalized, Trace, Traced};

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
    /// Of a resource, what only those have.
    of_resource: Option<OfResource>,
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
    /// Which of a Bundle, as `Observation/1`; without it the first that is mapped.
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
        Of::Messages => None,
        Of::Resources => Some(OfResource {
            focus: table.text("focus").map(|text| text.value),
            before: table.text("before").map(|text| table.dir().join(text.value)),
            version: table.choice("version", &fhir::load::VERSIONS),
        }),
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

/// What comes of a message or a resource.
type Mapped = Result<(Normalized, Vec<Traced>), Refusal>;

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl OfResource {
    /// Maps the resource of a file that is looked at.
    fn map(
        &self,
        path: &Path,
        before: Option<&fhir::Seen>,
        is_of: &dyn Fn(&str) -> bool,
        map: &dyn Fn(&fhir::Scene<'_>) -> Mapped,
    ) -> Result<Normalized, String> {
        let malformed = |malformed| format!("malformed: {malformed}");
        let bytes =
            fhir::opened::json(read_file(path)?, BYTES_MAX, self.version).map_err(malformed)?;
        let opened = fhir::opened::open(&bytes, BYTES_MAX).map_err(malformed)?;
        let around = fhir::opened::around(&opened);
        let is_focus = |resource: &Resource<'_>| match &self.focus {
            Some(focus) => {
                resource.id().is_some_and(|id| *focus == format!("{}/{id}", resource.kind()))
            }
            None => is_of(resource.kind()),
        };
        let focus = opened
            .iter()
            .filter_map(|one| one.resource.as_ref().ok())
            .find(|resource| is_focus(resource))
            .ok_or("there is no such resource")?;
        let version = self.version.unwrap_or_else(|| fhir::release::release(focus));
        let scene = fhir::Scene { focus, patient: None, before, version, around: &around };
        map(&scene).map(|(normalized, _)| normalized).map_err(|it| format!("refused: {it}"))
    }
}

impl Case {
    /// Runs the case of a message by its mapping; what differs, one line each.
    #[must_use]
    pub fn run(&self, mapping: &Mapping) -> Vec<String> {
        // A part has no event type of its own; any serves, since a case looks at the fields.
        let kind = mapping.event.unwrap_or(EventType::PatientUpdated);
        self.judge(self.map_message(&|message| {
            run::apply(&[(mapping, kind)], message, &Context::default(), Trace::Off)
        }))
    }

    /// Runs the case of a resource by its mapping; what differs, one line each.
    #[must_use]
    pub fn run_resource(&self, mapping: &fhir::Mapping) -> Vec<String> {
        // As in `run`: any type serves a part, which has no type of resource either.
        let event = mapping.event.unwrap_or(EventType::PatientUpdated);
        let is_of = |kind: &str| mapping.resource.as_deref().is_none_or(|own| own == kind);
        self.judge(self.map_resource(&is_of, &|scene| {
            fhir::apply(mapping, event, scene, &Context::default(), Trace::Off)
        }))
    }

    /// Runs the case by mappings that select for themselves, as those of a site do; `tell` completes
    /// each event. What differs, one line each.
    #[must_use]
    pub fn run_in(&self, mappings: &Mappings, tell: impl Fn(&mut Draft)) -> Vec<String> {
        let (context, off) = (Context::default(), Trace::Off);
        let mut mapped = match &self.of_resource {
            None => self.map_message(&|message| run::normalize(mappings, message, &context, off)),
            Some(_) => self.map_resource(&|kind| mappings.fhir.has(kind), &|scene| {
                fhir::normalize_resource(mappings, scene, &context, off)
            }),
        };
        if let Ok(normalized) = &mut mapped {
            normalized.drafts.iter_mut().for_each(tell);
        }
        self.judge(mapped)
    }

    fn judge(&self, mapped: Result<Normalized, String>) -> Vec<String> {
        match mapped {
            Ok(normalized) => self.compare(&normalized),
            Err(text) => vec![text],
        }
    }

    fn map_message(&self, map: &dyn Fn(&Message<'_>) -> Mapped) -> Result<Normalized, String> {
        let bytes = read_file(&self.message)?;
        let message = Message::parse(&bytes, Charset::Utf8)
            .map_err(|malformed| format!("malformed: {malformed}"))?;
        map(&message).map(|(normalized, _)| normalized).map_err(|it| format!("refused: {it}"))
    }

    fn map_resource(
        &self,
        is_of: &dyn Fn(&str) -> bool,
        map: &dyn Fn(&fhir::Scene<'_>) -> Mapped,
    ) -> Result<Normalized, String> {
        let of = self.of_resource.clone().unwrap_or_default();
        let before = match &of.before {
            None => None,
            Some(path) => {
                let mapped = of.map(path, None, is_of, map)?;
                let draft = mapped.drafts.first().ok_or("the version before gives no event")?;
                Some(fhir::Seen::of(draft.data.root()))
            }
        };
        of.map(&self.message, before.as_ref(), is_of, map)
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
