//! `tidegate map`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::coverage;
use super::messages::{files, read, split};
use super::resources::{self, Resources};
use super::{Outcome, complain, say};
use crate::admit::assess::place_of;
use crate::admit::consents::is_consent;
use crate::admit::labels::Labels;
use crate::admit::{Correlation, CorrelationId, Identity};
use crate::consent::Policy;
use crate::consent::intake::{Carrier, intake, told};
use crate::document::{Problems, hint};
use crate::event::schema::LABELS;
use crate::event::{EventType, View};
use crate::normalize::case::Case;
use crate::normalize::{self, Context, Draft, Mappings, Normalized, Refusal, Site, Trace, Traced};
use crate::parse::fhir::Version;
use crate::parse::hl7::wire::Extent;
use crate::parse::hl7::{Charset, Message, Wire};

/// Where the mappings of an installed package are.
const INSTALLED: &str = "/usr/share/tidegate/mappings";

/// The feed that messages are of here.
pub(super) const FEED: &str = "map";

/// Map messages to canonical events, without a daemon.
#[derive(Debug, Args)]
pub struct Map {
    /// Files with one or more messages, with a FHIR resource or a Bundle, or folders of such files.
    #[arg(required_unless_present = "test")]
    files: Vec<PathBuf>,
    /// The release of FHIR resources, R4 or R5; else what each of them looks like.
    #[arg(long, value_name = "RELEASE", value_parser = resources::release)]
    fhir: Option<Version>,
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
    /// Map as for a feed of this site: mappings/sites/NAME.toml over the others.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Print, instead of events, which fields and elements the messages hold and which rules take
    /// them; with --json as one object. Never a value.
    #[arg(long, conflicts_with_all = ["explain", "test"])]
    coverage: bool,
    /// Run the cases of the mapping files and of the sites; with --site those of the site alone.
    #[arg(long)]
    test: bool,
}

/// What messages are mapped by.
pub(super) struct By<'m> {
    pub mappings: &'m Mappings,
    pub site: Option<&'m str>,
    pub policy: &'m Policy,
    pub charset: Charset,
    pub fhir: Option<Version>,
}

/// Why a message gave no event.
pub(super) struct NoEvent {
    pub code: &'static str,
    pub text: String,
    pub place: String,
}

/// What came of a message or a resource.
pub(super) type Mapped = (Normalized, Vec<Traced>, Correlation);

impl Map {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        let dir = self.mappings.clone().unwrap_or_else(usual_dir);
        let problems = Problems::default();
        let mappings = normalize::load(&dir, &problems);
        let mut policy = Policy::default();
        for (name, site) in mappings.sites() {
            policy.add_site(name, &site.words.statuses, &site.words.types, &problems);
        }
        if !problems.is_clean() {
            problems.mistakes().iter().for_each(|mistake| complain(&mistake.to_string()));
            return Outcome::Wrong;
        }
        let Some(charset) = Charset::from_name(&self.charset) else {
            complain(&format!("tidegate: {} is no character set that is known", self.charset));
            return Outcome::Wrong;
        };
        let of_site = match self.site.as_deref().map(|name| (name, mappings.site(name))) {
            None => None,
            Some((name, Some(site))) => Some((name, site)),
            Some((name, None)) => {
                let known: Vec<&str> = mappings.sites().map(|(known, _)| known).collect();
                let hint = hint(name, &known);
                complain(&format!("tidegate: {}: there is no site `{name}`{hint}", dir.display()));
                return Outcome::Wrong;
            }
        };
        if self.test {
            return test(&mappings, of_site, &policy, self.json);
        }
        let (site, mappings) = match &of_site {
            Some((name, site)) => (Some(*name), &*site.mappings),
            None => (None, &mappings),
        };
        let by = By { mappings, site, policy: &policy, charset, fhir: self.fhir };
        let Some(files) = files(&self.files) else { return Outcome::Wrong };
        if self.coverage {
            return coverage::run(&files, &by, self.json);
        }
        let mut outcome = Outcome::Done;
        let mut resources = Resources::new(&by, self.trace());
        for file in &files {
            let Some(bytes) = read(file) else { return Outcome::Wrong };
            if resources::is_fhir(&bytes) {
                for mapped in resources.map(bytes) {
                    if !self.tell(file, mapped) {
                        outcome = Outcome::No;
                    }
                }
                continue;
            }
            for message in split(&bytes) {
                if !self.one(file, &message, &by) {
                    outcome = Outcome::No;
                }
            }
        }
        outcome
    }

    const fn trace(&self) -> Trace {
        if self.explain { Trace::On } else { Trace::Off }
    }

    /// Maps one message; false where it is refused.
    fn one(&self, file: &Path, bytes: &[u8], by: &By<'_>) -> bool {
        let trace = self.trace();
        let mapped = Message::parse(bytes, by.charset)
            .map_err(|malformed| NoEvent {
                code: "malformed",
                text: malformed.to_string(),
                place: place_of(malformed),
            })
            .and_then(|message| {
                let context = Context::default();
                let mapped = normalize::normalize(by.mappings, &message, &context, trace);
                let correlation = correlation(&message);
                let (mut normalized, traced) = mapped.map_err(refused)?;
                // As a feed without a consent.toml would have them.
                let labels = Labels::of(&message, by.policy);
                for draft in &mut normalized.drafts {
                    labels.label(&message, draft);
                    tell_consent(draft, by.site, by.policy);
                }
                Ok((normalized, traced, correlation))
            });
        if mapped.is_ok() {
            let wire = Wire::open_to(bytes, &by.charset.into(), Extent::Header);
            if wire.head().is_ok_and(|head| head.control_id().is_err()) {
                let file = file.display();
                complain(&format!("{file}: warning: no usable MSH-10; a feed would answer AE"));
            }
        }
        self.tell(file, mapped)
    }

    /// Prints what came of a message or a resource; false where that is no event.
    fn tell(&self, file: &Path, mapped: Result<Mapped, NoEvent>) -> bool {
        match mapped {
            Ok((normalized, traced, correlation)) => {
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

/// A consent event as a feed of the site without a consent.toml would have it.
pub(super) fn tell_consent(draft: &mut Draft, site: Option<&str>, policy: &Policy) {
    if !is_consent(draft.kind) {
        return;
    }
    let carrier = Carrier {
        feed: FEED,
        site,
        message: "",
        place: &draft.place,
        zone: None,
        // Nothing is in the future: when a file is mapped says nothing of its dates.
        recorded_at: jiff::Timestamp::MAX,
    };
    let read = intake(draft.data.root(), &draft.doubtful, &carrier, policy);
    if let Ok((record, _)) = read {
        draft.kind = told::kind(&record);
        draft.data = told::tell(&draft.data, &record);
    }
}

/// Every field with its value, its rule and its source. What no rule made is a label, or was made
/// from the other fields of a consent event.
fn explain<'t>(draft: &Draft, traced: impl Iterator<Item = &'t Traced>) {
    let traced: BTreeMap<&str, &Traced> =
        traced.map(|traced| (traced.field.as_str(), traced)).collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    draft.data.paths(|_, field| {
        let (from, rule) = match traced.get(field) {
            Some(traced) if traced.source.is_empty() => ("constant", traced.rule.as_str()),
            Some(traced) => (traced.source.as_str(), traced.rule.as_str()),
            None if field == "message.occurredAt" => ("the step", "docs/fhir.md"),
            None if field.starts_with("visit.") => ("the version before", "docs/fhir.md"),
            None if field.starts_with(LABELS) => ("the message", "docs/consent.md"),
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
    NoEvent { code: refusal.code(), text: refusal.to_string(), place: refusal.place() }
}

fn usual_dir() -> PathBuf {
    let here = PathBuf::from("mappings");
    if here.is_dir() { here } else { PathBuf::from(INSTALLED) }
}

/// Runs the cases of every mapping file and every site, or of one site.
fn test(mappings: &Mappings, only: Option<(&str, &Site)>, policy: &Policy, json: bool) -> Outcome {
    let shipped = mappings.files().filter(|_| only.is_none());
    let of_files = shipped
        .flat_map(|(_, mapping, cases)| cases.iter().map(move |case| (case, case.run(mapping))));
    let of_sites = mappings
        .sites()
        .filter(|(name, _)| only.is_none_or(|(only, _)| only == *name))
        .flat_map(|(name, site)| {
            site.cases.iter().map(move |case| (case, of_site(case, name, site, policy)))
        });
    let of_resources =
        mappings.fhir.files().filter(|_| only.is_none()).flat_map(|(_, mapping, cases)| {
            cases.iter().map(|case| (case, case.run_resource(mapping)))
        });
    let (mut held, mut failed) = (0, 0);
    for (case, differs) in of_files.chain(of_resources).chain(of_sites) {
        if differs.is_empty() {
            held += 1;
        } else {
            failed += 1;
        }
        if json {
            say(&json!({ "case": case.name, "place": case.place, "differs": differs }).to_string());
        } else {
            for line in differs {
                complain(&format!("{}: {}: {line}", case.place, case.name));
            }
        }
    }
    if !json {
        say(&format!("{held} cases hold, {failed} do not"));
    }
    if failed == 0 { Outcome::Done } else { Outcome::No }
}

/// Runs a case of a site, its words for consents counted in; what differs.
fn of_site(case: &Case, name: &str, site: &Site, policy: &Policy) -> Vec<String> {
    case.run_in(&site.mappings, |draft| tell_consent(draft, Some(name), policy))
}
