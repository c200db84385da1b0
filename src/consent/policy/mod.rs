//! consent.toml: what a site's codes and words mean, what a restriction spares, and what
//! jurisdictions ask for.
//!
//! Promises: what is not listed opens nothing: a code without a row speaks about no purpose, a word
//! without one is unknown, a label stays on, a restriction spares no purpose; several places demand what the
//! strictest of them does.
//! Knows nothing of: records and questions.

mod read;
pub mod labels;
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::decision::Status;
use super::purpose::covers;
use super::scope::within;
use crate::document::{Document, Problems};

/// Table 0498, consent status. `L` is active with limitations, which CON-9 holds.
const TABLE_0498: [(&str, Status); 6] = [
    ("A", Status::Active),
    ("L", Status::Active),
    ("R", Status::Rejected),
    ("P", Status::Proposed),
    ("X", Status::Revoked),
    ("B", Status::Bypassed),
];

/// What a jurisdiction demands at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stricter {
    /// No deny in force.
    OptOut,
    /// A permit in force.
    OptIn,
}

/// One `[[jurisdiction]]`.
#[derive(Clone, Debug)]
struct Jurisdiction {
    code: String,
    majority: Option<u8>,
    minor_consents: Vec<String>,
    stricter: Option<(Stricter, Vec<String>)>,
}

/// What a consent type speaks about: one row of `[codes]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// For which purposes of use; none: it is known, and is about something else.
    pub purposes: Vec<String>,
    /// About which sensitivity labels: a permit opens them, a refusal is about them alone.
    pub labels: Vec<String>,
    /// Whether who agrees to it refuses: a policy that says no.
    pub denies: bool,
}

/// consent.toml, compiled. The default is one that opens nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    codes: BTreeMap<String, Spoken>,
    statuses: BTreeMap<String, BTreeMap<String, Status>>,
    labels: BTreeMap<String, Vec<String>>,
    /// Whom a FHIR reference, `SYSTEM|VALUE` or display means: consumers.
    grantees: BTreeMap<String, Vec<String>>,
    /// Classes of fields that a type of resource or document means.
    classes: BTreeMap<String, Vec<String>>,
    /// Of each site: its codes of consent types, and those of `codes` that they stand for.
    types: BTreeMap<String, BTreeMap<String, String>>,
    spares: BTreeSet<String>,
    jurisdictions: Vec<Jurisdiction>,
}

impl Policy {
    /// Reads consent.toml. Mistakes go to `problems`, with whose what was read is of no use.
    #[must_use]
    pub fn load(path: &Path, problems: &Problems) -> Self {
        match Document::open(path, problems) {
            Some(document) => Self::of(&document, problems),
            None => Self::default(),
        }
    }

    /// The same, from a document at hand.
    #[must_use]
    pub fn of(document: &Document, problems: &Problems) -> Self {
        document.read(problems, read::policy)
    }

    /// What a consent type speaks about; nothing where no row maps it, which is an exception. A row
    /// may say that it speaks about no purpose: a receipt is no grant.
    #[must_use]
    pub fn spoken_of(&self, system: &str, code: &str) -> Option<&Spoken> {
        self.codes.get(&format!("{system}/{code}"))
    }

    /// The status of a word in CON-11: table 0498, else the site's own, else unknown.
    #[must_use]
    pub fn status(&self, site: &str, word: &str) -> Status {
        let word = word.trim();
        let own = || self.statuses.get(site).and_then(|words| words.get(word)).copied();
        from_table_0498(word).or_else(own).unwrap_or(Status::Unknown)
    }

    /// The consumers that a FHIR Consent means by a name: a literal reference, `SYSTEM|VALUE` of an
    /// identifier, or a display. None of them where it is known and no consumer of ours; nothing
    /// where nobody has said.
    #[must_use]
    pub fn consumers(&self, name: &str) -> Option<&[String]> {
        self.grantees.get(name).map(Vec::as_slice)
    }

    /// The classes of fields that a type of resource or document means; nothing where nobody has
    /// said.
    #[must_use]
    pub fn classes_of(&self, system: &str, code: &str) -> Option<&[String]> {
        self.classes.get(&format!("{system}/{code}")).map(Vec::as_slice)
    }

    /// Adds a row of `[labels]`.
    #[cfg(test)]
    pub(crate) fn extend_labels(&mut self, code: &str, labels: &[String]) {
        self.labels.insert(code.to_owned(), labels.to_vec());
    }

    /// Whether restrictions spare a purpose. Those below it are not spared by that.
    #[must_use]
    pub fn spares(&self, purpose: &str) -> bool {
        self.spares.contains(purpose)
    }

    /// What the strictest of the places demands for a purpose; of all there are, where none is
    /// known.
    #[must_use]
    pub fn stricter(&self, places: &[&str], purpose: &str) -> Option<Stricter> {
        self.at(places)
            .filter_map(|jurisdiction| jurisdiction.stricter.as_ref())
            .filter(|(_, purposes)| purposes.iter().any(|it| covers(it, purpose)))
            .map(|(stricter, _)| *stricter)
            .max()
    }

    /// The lowest age in years at which one of the places makes its own decisions; nothing where
    /// none says, or no place is known.
    #[must_use]
    pub fn majority(&self, places: &[&str]) -> Option<u8> {
        if places.is_empty() {
            return None;
        }
        self.at(places).filter_map(|jurisdiction| jurisdiction.majority).min()
    }

    /// Labels that minors decide about themselves in any of the places; in any there is, where none
    /// is known.
    #[must_use]
    pub fn minor_consents(&self, places: &[&str]) -> BTreeSet<&str> {
        self.at(places).flat_map(|it| it.minor_consents.iter().map(String::as_str)).collect()
    }

    /// Every age of majority there is, in years.
    pub fn majorities(&self) -> impl Iterator<Item = u8> {
        self.jurisdictions.iter().filter_map(|jurisdiction| jurisdiction.majority)
    }

    /// The jurisdictions that one of the places lies in; all, where nobody knows where it is.
    fn at(&self, places: &[&str]) -> impl Iterator<Item = &Jurisdiction> {
        let there =
            |area: &str| places.is_empty() || places.iter().any(|place| within(place, area));
        self.jurisdictions.iter().filter(move |jurisdiction| there(&jurisdiction.code))
    }
}

/// The status of a word of table 0498.
fn from_table_0498(word: &str) -> Option<Status> {
    TABLE_0498.iter().find(|(code, _)| *code == word).map(|(_, status)| *status)
}
