//! `tidegate map`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::messages::{read, split};
use super::{Outcome, complain, say};
use crate::admit::assess::place_of;
use crate::admit::consents::is_consent;
use crate::admit::{Correlation, CorrelationId, Identity};
use crate::consent::Policy;
use crate::consent::intake::{Carrier, intake, told};
use crate::document::Problems;
use crate::event::{EventType, View};
use crate::normalize::{self, Context, Draft, Mappings, Normalized, Refusal, Trace, Traced};
use crate::parse::hl7::wire::Extent;
use crate::parse::hl7::{Charset, Charsets, Message, Wire};

/// Where the mappings of an installed package are.
const INSTALLED: &str = "/usr/share/tidegate/mappings";

/// The feed that messages are of here.
const FEED: &str = "map";

/// Map messages to canonical events, without a daemon.
#[derive(Debug, Args)]
pub struct Map {
    /// Files with one or more messages.
    #[arg(required_unless_present = "test")]
    files: Vec<PathBuf>,
    /// The mappings; else `mappings/` here, else the installed ones.
    #[arg(long, value_name = "DIR")]
    mappings: Option<PathBuf>,
    /// The character set where MSH-18 is silent.
    #[arg(long, value_name = "NAME", default_value = "UTF-8")]
    charset: String,
    /// One JSON object an event.
    #[arg(long)]
    json: bool,
    /// Print, for every field of an event, the rule and where its value stands; and what no
    /// rule took.
    #[arg(long)]
    explain: bool,
    /// Run the cases of the mapping files.
    #[arg(long)]
    test: bool,
}

/// Why a message gave no event.
struct NoEvent {
    code: &'static str,
    text: String,
    place: String,
}

impl Map {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        let dir = self.mappings.clone().unwrap_or_else(usual_dir);
        let problems = Problems::default();
        let mappings = normalize::load(&dir, &problems);
        if !problems.is_clean() {
            problems.mistakes().iter().for_each(|mistake| complain(&mistake.to_string()));
            return Outcome::Wrong;
        }
        let Some(charset) = Charset::from_name(&self.charset) else {
            complain(&format!("tidegate: {} is no character set that is known", self.charset));
            return Outcome::Wrong;
        };
        if self.test {
            return test(&mappings, self.json);
        }
        let mut outcome = Outcome::Done;
        for file in &self.files {
            let Some(bytes) = read(file) else { return Outcome::Wrong };
            for message in split(&bytes) {
                if !self.one(file, &message, &mappings, charset) {
                    outcome = Outcome::No;
                }
            }
        }
        outcome
    }

    /// Maps one message; false where it is refused.
    fn one(&self, file: &Path, bytes: &[u8], mappings: &Mappings, charset: Charset) -> bool {
        let trace = if self.explain { Trace::On } else { Trace::Off };
        let mapped = Message::parse(bytes, charset)
            .map_err(|malformed| NoEvent {
                code: "malformed",
                text: malformed.to_string(),
                place: place_of(malformed),
            })
            .and_then(|message| {
                let mapped = normalize::normalize(mappings, &message, &Context::default(), trace);
                let correlation = correlation(&message);
                mapped.map(|mapped| (mapped, correlation)).map_err(refused)
            });
        match mapped {
            Ok(((mut normalized, traced), correlation)) => {
                normalized.drafts.iter_mut().for_each(tell_consent);
                let charsets = Charsets::from(charset);
                let wire = Wire::open_to(bytes, &charsets, Extent::Header);
                if wire.head().is_ok_and(|head| head.control_id().is_err()) {
                    let file = file.display();
                    complain(&format!("{file}: warning: no usable MSH-10; a feed would answer AE"));
                }
                self.print(file, &normalized, &traced, correlation);
                true
            }
            Err(no_event) => {
                if self.json {
                    let refusal = json!({
                        "code": no_event.code, "text": no_event.text, "where": no_event.place,
                    });
                    say(&json!({ "file": file.display().to_string(), "refusal": refusal })
                        .to_string());
                } else {
                    complain(&format!("{}: {}: {}", file.display(), no_event.code, no_event.text));
                }
                false
            }
        }
    }

    fn print(
        &self,
        file: &Path,
        normalized: &Normalized,
        traced: &[Traced],
        correlation: Correlation,
    ) {
        for (index, draft) in normalized.drafts.iter().enumerate() {
            if self.json {
                let line = line(file, normalized, draft, correlation);
                say(&serde_json::to_string(&line).unwrap_or_default());
                continue;
            }
            say(&format!("{} {}", draft.kind, draft.place));
            if self.explain {
                explain(draft, traced.iter().filter(|traced| traced.event == index));
            } else {
                say(&serde_json::to_string_pretty(&draft.data).unwrap_or_default());
            }
        }
        if !self.json {
            let list = |places: Vec<String>| {
                if places.is_empty() { "none".to_owned() } else { places.join(" ") }
            };
            let unmapped = normalized.unmapped.iter().map(ToString::to_string).collect();
            say(&format!("taken by no rule: {}", list(unmapped)));
            say(&format!("values that cannot be: {}", list(normalized.invalid.clone())));
        }
    }
}

/// A consent event as a feed without a consent.toml would have it.
fn tell_consent(draft: &mut Draft) {
    if !is_consent(draft.kind) {
        return;
    }
    let carrier = Carrier {
        feed: FEED,
        site: None,
        message: "",
        place: &draft.place,
        zone: None,
        // Nothing is in the future: when a file is mapped says nothing of its dates.
        recorded_at: jiff::Timestamp::MAX,
    };
    let read = intake(draft.data.root(), &draft.doubtful, &carrier, &Policy::default());
    if let Ok((record, _)) = read {
        draft.kind = told::kind(&record);
        draft.data = told::tell(&draft.data, &record);
    }
}

/// Every field with its value, its rule and its source. What no rule made of a consent event was
/// made from the others.
fn explain<'t>(draft: &Draft, traced: impl Iterator<Item = &'t Traced>) {
    let traced: BTreeMap<&str, &Traced> =
        traced.map(|traced| (traced.field.as_str(), traced)).collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    draft.data.paths(|_, field| {
        let (from, rule) = match traced.get(field) {
            Some(traced) if traced.source.is_empty() => ("constant", traced.rule.as_str()),
            Some(traced) => (traced.source.as_str(), traced.rule.as_str()),
            None => ("the consent", "docs/consent.md"),
        };
        let value = draft.data.root().at(field);
        let value = value.map(|value| serde_json::to_string(&value).unwrap_or_default());
        rows.push([field, &value.unwrap_or_default(), from, rule].map(str::to_owned).into());
    });
    super::table::table(&["field", "value", "from", "rule"], &rows)
        .iter()
        .for_each(|line| say(line));
}

/// One line of `--json`, in the order of docs/events.md.
#[derive(Serialize)]
struct Line<'l> {
    file: String,
    #[serde(rename = "type")]
    kind: EventType,
    subject: Option<Json>,
    #[serde(rename = "correlationId")]
    correlation_id: String,
    data: View<'l>,
    unmapped: Vec<String>,
    invalid: &'l [String],
}

fn line<'l>(
    file: &Path,
    normalized: &'l Normalized,
    draft: &'l Draft,
    correlation: Correlation,
) -> Line<'l> {
    let subject = Identity::default().subject(draft.data.root(), "").map(|subject| {
        let authority = Some(subject.authority).filter(|authority| !authority.is_empty());
        json!({ "authority": authority, "value": subject.value.expose() })
    });
    Line {
        file: file.display().to_string(),
        kind: draft.kind,
        subject,
        correlation_id: CorrelationId { correlation, epoch: 1 }.to_string(),
        data: draft.data.root(),
        unmapped: normalized.unmapped.iter().map(ToString::to_string).collect(),
        invalid: &normalized.invalid,
    }
}

/// As a feed named `map` would recognize the message.
fn correlation(message: &Message<'_>) -> Correlation {
    let values = [3, 4, 10]
        .map(|field| message.segment(0).and_then(|header| header.field(field)).unwrap_or_default());
    Correlation::of(FEED, values)
}

fn refused(refusal: Refusal) -> NoEvent {
    let text = refusal.to_string();
    match refusal {
        Refusal::Unsupported { .. } => {
            NoEvent { code: "unsupported", text, place: "MSH-9".to_owned() }
        }
        Refusal::Missing { spot } | Refusal::Impossible { spot } => {
            NoEvent { code: "unmapped", text, place: spot.to_string() }
        }
        Refusal::TooManyGroups | Refusal::TooLarge => {
            NoEvent { code: "unmapped", text, place: String::new() }
        }
    }
}

fn usual_dir() -> PathBuf {
    let here = PathBuf::from("mappings");
    if here.is_dir() { here } else { PathBuf::from(INSTALLED) }
}

/// Runs the cases of every mapping file.
fn test(mappings: &Mappings, json: bool) -> Outcome {
    let (mut held, mut failed) = (0, 0);
    for (_, mapping, cases) in mappings.files() {
        for case in cases {
            let differs = case.run(mapping);
            if differs.is_empty() {
                held += 1;
            } else {
                failed += 1;
            }
            if json {
                say(&json!({ "case": case.name, "place": case.place, "differs": differs })
                    .to_string());
            } else {
                for line in differs {
                    complain(&format!("{}: {}: {line}", case.place, case.name));
                }
            }
        }
    }
    if !json {
        say(&format!("{held} cases hold, {failed} do not"));
    }
    if failed == 0 { Outcome::Done } else { Outcome::No }
}
