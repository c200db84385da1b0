//! What a mapping is, once loaded: a selector and a tree of operations.
//!
//! Promises: everything that can be decided when a mapping is loaded is decided then; running
//! one looks up no name and parses no path.
//! Knows nothing of: TOML.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::event::schema::{Field, Part, Shape};
use crate::event::{Act, Declaration, EventType, Key, Tree};
use crate::parse::hl7::Message;

use super::authority::Authorities;
use super::case::Case;
use super::fhir;
use super::load::Select;
use super::segments::Hl7;
use super::site::Site;
use super::table::Table;

/// All mappings of one folder.
#[derive(Debug, Default)]
pub struct Mappings {
    /// By message type and trigger.
    pub(super) selected: HashMap<String, HashMap<String, Arc<Mapping>>>,
    /// By a segment of the message, whatever its type: its packed name.
    pub(super) beside: Vec<(u32, Arc<Mapping>)>,
    /// Every file with its cases, in the order of their names.
    pub(super) files: Vec<(String, Arc<Mapping>, Vec<Case>)>,
    /// Those of FHIR resources.
    pub fhir: fhir::Mappings,
    /// What an event may hold, with the fields of all sites' own.
    pub(super) declared: Declaration,
    /// By name; none within a site.
    pub(super) sites: BTreeMap<String, Site>,
}

impl Mappings {
    /// The mapping for a message type and trigger.
    #[must_use]
    pub fn select(&self, kind: &str, trigger: &str) -> Option<&Arc<Mapping>> {
        self.selected.get(kind)?.get(trigger)
    }

    /// The mappings of a message: that of its type and trigger, then those of segments that it
    /// has. None where it is unsupported.
    pub(super) fn of<'m>(
        &'m self,
        kind: &str,
        trigger: &str,
        message: &'m Message<'_>,
    ) -> impl Iterator<Item = &'m Mapping> {
        let has = |name: u32| message.segments().any(|segment| segment.packed_name() == name);
        let beside = self.beside.iter().filter(move |(name, _)| has(*name));
        self.select(kind, trigger)
            .into_iter()
            .chain(beside.map(|(_, mapping)| mapping))
            .map(|it| &**it)
    }

    /// Whether some trigger of a message type is mapped.
    #[must_use]
    pub fn has_type(&self, kind: &str) -> bool {
        self.selected.contains_key(kind)
    }

    /// Every type and trigger that is mapped, sorted.
    #[must_use]
    pub fn selected(&self) -> Vec<(&str, &str, EventType)> {
        let mut all: Vec<_> = self
            .selected
            .iter()
            .flat_map(|(kind, triggers)| triggers.iter().map(move |entry| (kind, entry)))
            .filter_map(|(kind, (trigger, mapping))| {
                Some((kind.as_str(), trigger.as_str(), mapping.event?))
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// What an event may hold, with the fields of all sites' own.
    #[must_use]
    pub const fn declared(&self) -> Declaration {
        self.declared
    }

    /// A site by its name.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.get(name)
    }

    /// Every site, by name.
    pub fn sites(&self) -> impl Iterator<Item = (&str, &Site)> {
        self.sites.iter().map(|(name, site)| (name.as_str(), site))
    }

    /// Every file, its mapping and its cases.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Arc<Mapping>, &[Case])> {
        self.files.iter().map(|(name, mapping, cases)| (name.as_str(), mapping, cases.as_slice()))
    }
}

/// One mapping, compiled.
#[derive(Debug)]
pub struct Mapping {
    /// What it makes; nothing in a file that is only there to be used by others.
    pub event: Option<EventType>,
    /// One event for each such group.
    pub per: Per,
    /// What such a message does to subjects.
    pub act: Option<Act>,
    /// The operations, as the fields of `data`.
    pub(super) fields: Vec<(Key, Node<Hl7>)>,
    /// What the site calls authorities.
    pub(super) authorities: Option<Arc<Authorities>>,
}

/// What one event is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// The whole message.
    Message,
    /// An OBR with what belongs to it.
    Obr,
    /// A CON, with the patient before it.
    Con,
    /// A PID with what follows it; an MRG of it, where it has several.
    Pid,
}

/// How the rules of a protocol say where a value stands and how it is read.
pub(super) trait Dialect: Sized + fmt::Debug + 'static {
    /// A path, compiled.
    type Path: Clone + fmt::Debug;
    /// How a raw value becomes one of the event.
    type Convert: fmt::Debug;
    /// What must be there for a leaf to have anything to say.
    type Needs: fmt::Debug;

    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    fn path(text: &str, within: &Within<'_, Self>) -> Result<Self::Path, String>;
    /// What is wrong with a path as the source of a value.
    fn no_value(path: &Self::Path) -> Option<String>;
    /// What is wrong with a path as the source of elements that have fields of their own.
    fn no_element(path: &Self::Path) -> Option<String>;
    /// A name in `with`, packed.
    ///
    /// # Errors
    /// What is wrong with it.
    fn follower(name: &str) -> Result<u32, String>;
    /// What `as` may say for a text.
    const TEXTS: &'static [&'static str];
    /// What `as` may say for a part.
    fn conversions_to(part: &Part) -> &'static [&'static str];
    /// What `as` may say for a field; the first is meant where nothing is said.
    fn conversions(field: &Field) -> &'static [&'static str] {
        match field.shape {
            Shape::Text => Self::TEXTS,
            Shape::Date => &["time", "date", "with-hour"],
            Shape::Number => &["number"],
            Shape::Bool => &["boolean"],
            Shape::Part(part) => Self::conversions_to(part),
        }
    }
    /// A conversion by its name, with the tables that it needs; `kind` is what `type` says.
    fn convert(
        name: &str,
        kind: Option<String>,
        table: &mut dyn FnMut(&'static str) -> Option<Arc<Table>>,
    ) -> Option<Self::Convert>;
    /// Whether the conversion of that name takes a `table`.
    fn takes_table(name: &str) -> bool {
        matches!(name, "text" | "coded")
    }
    /// Whether `type` goes with the conversion of that name.
    fn takes_kind(name: &str) -> bool;
    /// What a leaf needs, where it is that simple.
    fn needs(leaf: &Leaf<Self>) -> Option<Self::Needs>;
}

/// Where a path is written.
pub(super) struct Within<'w, D: Dialect> {
    /// What its mapping selects; nothing in a part that is compiled for its cases.
    pub select: Option<&'w Select>,
    /// What the elements are whose fields it is for; none outside a list of elements.
    pub around: &'w [D::Path],
}

/// One operation.
#[derive(Debug)]
pub(super) enum Node<D: Dialect> {
    /// Makes an object of fields.
    Object(Vec<(Key, Node<D>)>),
    /// Makes a list with an object for each segment or element.
    Each(Box<Each<D>>),
    /// Makes a value.
    Leaf {
        /// What must be there for it to say anything, where it is that simple.
        needs: Option<D::Needs>,
        leaf: Box<Leaf<D>>,
    },
}

/// A list with an object for each of some segments or elements.
#[derive(Debug)]
pub(super) struct Each<D: Dialect> {
    pub origin: Origin,
    /// Where this path has a value, the rule does not count.
    pub unless: Option<D::Path>,
    pub sources: Vec<Elements<D>>,
    /// Names of segments that follow one and belong to it, packed.
    pub with: Vec<u32>,
    pub required: bool,
    pub element: Vec<(Key, Node<D>)>,
}

/// Where the segments or elements of a list stand.
#[derive(Debug)]
pub(super) struct Elements<D: Dialect> {
    pub path: D::Path,
    pub only: Option<Box<Only<D>>>,
}

/// A value from the first source that is there.
#[derive(Debug)]
pub(super) struct Leaf<D: Dialect> {
    pub origin: Origin,
    /// Where this path has a value, the rule does not count, nor what it requires.
    pub unless: Option<D::Path>,
    pub sources: Vec<Source<D>>,
    /// Every repetition, not the first one.
    pub many: bool,
    pub required: bool,
    pub default: Option<Constant>,
}

/// Where a rule stands, for `--explain` and for messages.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The target as it was written.
    pub target: String,
    /// `file:line`.
    pub place: String,
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) struct Source<D: Dialect> {
    pub from: From<D>,
    pub table: Option<Arc<Table>>,
    /// Where it counts; most do everywhere.
    pub only: Option<Box<Only<D>>>,
}

/// Where a source counts.
#[derive(Debug)]
pub(super) struct Only<D: Dialect> {
    /// Only where this path has a value.
    pub when: Option<D::Path>,
    /// Only where this path has none.
    pub unless: Option<D::Path>,
    /// Only in segments that follow the first one of this name directly.
    pub after: Option<String>,
}

#[derive(Debug)]
pub(super) enum From<D: Dialect> {
    /// What stands there, and how it is read.
    Path(D::Path, D::Convert),
    Constant(Constant),
}

/// A value that the mapping itself gives.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    /// The normalized half of a coded field.
    Coded(String),
}

impl Constant {
    /// Writes it under a key.
    pub(super) fn write(&self, tree: &mut Tree, key: Key) {
        match self {
            Self::Null => tree.null(key),
            Self::Bool(value) => tree.boolean(key, *value),
            Self::Number(value) => tree.number(key, *value),
            Self::Text(text) => tree.text(key, text),
            Self::Coded(code) => {
                let open = tree.open_object(key);
                tree.text("code", code);
                tree.close(open);
            }
        }
    }
}
