//! The mappings of resources, compiled.
//!
//! Promises: a resource of a type and release has one mapping: the first by name whose condition holds,
//! else the one without a condition.
//! Knows nothing of: TOML.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::Problems;
use crate::event::{Act, EventType, Key};
use crate::normalize::authority::Authorities;
use crate::normalize::case::Case;
use crate::normalize::compile::{self, Compiling};
use crate::normalize::load::{File, Select};
use crate::normalize::mapping::{Node as Operation, Within};
use crate::normalize::table::Tables;
use crate::parse::fhir::Version;

use super::path::{Path, Scope};
use super::rules::Fhir;

/// The mappings of a folder for FHIR.
#[derive(Debug, Default)]
pub struct Mappings {
    /// By resource type, those with a condition first.
    selected: BTreeMap<String, Vec<Chosen>>,
    /// Every file with its cases, in the order of their names.
    files: Vec<(String, Arc<Mapping>, Vec<Case>)>,
}

/// A mapping among those of its resource type.
#[derive(Debug)]
struct Chosen {
    versions: Vec<Version>,
    when: Vec<Path>,
    /// Where it is written, for mistakes.
    place: crate::document::Place,
    mapping: Arc<Mapping>,
}

/// One mapping, compiled.
#[derive(Debug)]
pub struct Mapping {
    /// What it makes; nothing in a file that is only there to be used by others.
    pub event: Option<EventType>,
    /// The type of resource that it is for.
    pub resource: Option<String>,
    /// What such a resource does to subjects.
    pub act: Option<Act>,
    /// Whether its events follow from comparing with the version before.
    pub transitions: bool,
    /// The operations, as the fields of `data`.
    pub(super) fields: Vec<(Key, Operation<Fhir>)>,
    /// What the site calls authorities.
    pub(super) authorities: Option<Arc<Authorities>>,
}

impl Mappings {
    /// Compiles a file and adds it.
    pub(in crate::normalize) fn add(
        &mut self,
        file: &File,
        rules: &compile::Rules<'_>,
        tables: &mut Tables<'_>,
        around: Compiling<'_>,
        authorities: Option<Arc<Authorities>>,
    ) {
        let selector = match &file.select {
            Some(Select::Resource(selector)) => Some(selector),
            _ => None,
        };
        let mapping = Arc::new(Mapping {
            event: file.event,
            resource: selector.map(|selector| selector.resource().to_owned()),
            act: file.act,
            transitions: selector.is_some_and(|selector| selector.transitions),
            fields: compile::compile::<Fhir>(file, rules, tables, around),
            authorities,
        });
        if let Some(selector) = selector {
            let within = Within { select: file.select.as_ref(), around: &[] };
            let when = selector.when.iter().filter_map(|text| {
                Path::read(&text.value, &within)
                    .map_err(|wrong| around.problems.mistake(&text.place, wrong))
                    .ok()
            });
            let chosen = Chosen {
                versions: selector.versions().to_vec(),
                when: when.collect(),
                place: selector.resource.place.clone(),
                mapping: Arc::clone(&mapping),
            };
            self.selected.entry(selector.resource().to_owned()).or_default().push(chosen);
        }
        self.files.push((file.place.file.to_string(), mapping, file.cases.clone()));
    }

    /// Puts those with a condition first; two without one for the same are a mistake.
    pub(in crate::normalize) fn select(&mut self, problems: &Problems) {
        for (resource, all) in &mut self.selected {
            all.sort_by_key(|chosen| chosen.when.is_empty());
            for (index, chosen) in all.iter().enumerate() {
                let is_same = |other: &Chosen| {
                    other.when.is_empty()
                        && other.versions.iter().any(|it| chosen.versions.contains(it))
                };
                if chosen.when.is_empty() && all.iter().take(index).any(is_same) {
                    let text = format!("{resource} is selected by another file, too");
                    problems.mistake(&chosen.place, text);
                }
            }
        }
    }

    /// The mapping of a resource.
    pub(super) fn of(&self, kind: &str, version: Version, scope: &Scope<'_>) -> Option<&Mapping> {
        let holds = |chosen: &&Chosen| {
            let has = |path: &Path| path.first(scope).is_some();
            chosen.versions.contains(&version)
                && (chosen.when.is_empty() || chosen.when.iter().any(has))
        };
        self.selected.get(kind)?.iter().find(holds).map(|chosen| &*chosen.mapping)
    }

    /// Whether resources of a type give events.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.selected.contains_key(kind)
    }

    /// Every resource type that is mapped, sorted, and the events that come of it where no versions
    /// are compared.
    pub fn selected(&self) -> impl Iterator<Item = (&str, Vec<EventType>)> {
        self.selected.iter().map(|(kind, all)| {
            (kind.as_str(), all.iter().filter_map(|chosen| chosen.mapping.event).collect())
        })
    }

    /// Every file, its mapping and its cases.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Arc<Mapping>, &[Case])> {
        self.files.iter().map(|(name, mapping, cases)| (name.as_str(), mapping, cases.as_slice()))
    }
}
