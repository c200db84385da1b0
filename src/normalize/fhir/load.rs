//! Reads the mapping files of `fhir/`.
//!
//! Promises: every mistake is told with line and column.
//! Knows nothing of: how a rule is run.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use crate::document::{Document, Placed, Problems, Table};
use crate::event::{Act, EventType};
use crate::normalize::case::{self, Of};
use crate::normalize::load::{
    File, Select, both_or_neither, read_event, read_rules, read_uses, toml_files,
};
use crate::normalize::mapping::Per;
use crate::parse::fhir::Version;

/// The folder of the files within that of the mappings.
const FOLDER: &str = "fhir";
/// What `version` may say.
pub(in crate::normalize) const VERSIONS: [(&str, Version); 2] =
    [("R4", Version::R4), ("R5", Version::R5)];

/// What a mapping is for, as it is written.
#[derive(Debug)]
pub(in crate::normalize) struct Selector {
    pub(super) resource: Placed<String>,
    versions: Vec<Version>,
    /// Where none of these has a value, the mapping is not for it; without any it is for all.
    pub(super) when: Vec<Placed<String>>,
    /// Whether the event follows from comparing with the version before.
    pub(super) transitions: bool,
}

impl Selector {
    pub(super) fn resource(&self) -> &str {
        &self.resource.value
    }

    pub(super) fn versions(&self) -> &[Version] {
        &self.versions
    }
}

/// The files, by name; none where there is no such folder.
pub(in crate::normalize) fn read(dir: &FilePath, problems: &Problems) -> BTreeMap<String, File> {
    let dir = dir.join(FOLDER);
    let mut files = BTreeMap::new();
    if !dir.is_dir() {
        return files;
    }
    for path in toml_files(&dir, problems) {
        let Some(document) = Document::open(&path, problems) else { continue };
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        files.insert(name.clone(), document.read(problems, |table| read_file(name, table)));
    }
    files
}

fn read_file(name: String, table: &Table<'_>) -> File {
    let event = read_event(table);
    let act = table.choice("act", &Act::ALL.map(|act| (act.name(), act)));
    let transitions = table.boolean("transitions", false);
    let selector = table.table("select").and_then(|select| read_selector(&select, transitions));
    both_or_neither(table, event.is_some(), selector.is_some());
    let is_encounter = selector.as_ref().is_some_and(|it| it.resource() == "Encounter");
    if transitions && !(is_encounter && event == Some(EventType::PatientUpdated)) {
        let text = "`transitions` goes with `event = \"patient.updated\"` of an Encounter";
        table.mistake(&table.place_of("transitions"), text);
    }
    File {
        name,
        place: table.place(),
        event,
        per: Per::Message,
        act,
        uses: read_uses(table),
        select: selector.map(Select::Resource),
        rules: table.table("rules").map(|rules| read_rules(&rules)).unwrap_or_default(),
        cases: case::of_file(table, Of::Resources),
    }
}

fn read_selector(select: &Table<'_>, transitions: bool) -> Option<Selector> {
    let resource = select.required_text("resource");
    let mut versions = Vec::new();
    for said in select.texts("version") {
        match VERSIONS.iter().find(|(name, _)| *name == said.value) {
            Some((_, version)) => versions.push(*version),
            None => select.mistake(&said.place, format!("`{}` is neither R4 nor R5", said.value)),
        }
    }
    if versions.is_empty() {
        versions = VERSIONS.map(|(_, version)| version).into();
    }
    let when = select.texts("when");
    select.finish();
    Some(Selector { resource: resource?, versions, when, transitions })
}
