//! What a mapping is, once loaded: a selector and a tree of operations.
//!
//! Promises: everything that can be decided when a mapping is loaded is decided then; running
//! one looks up no name and parses no path.
//! Knows nothing of: TOML.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::{Act, Declaration, EventType, Key};
use crate::parse::hl7::{FieldSpot, Message, Path};

use super::authority::Authorities;
use super::case::Case;
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
    pub(super) fields: Vec<(Key, Node)>,
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

/// One operation.
#[derive(Debug)]
pub(super) enum Node {
    /// Makes an object of fields.
    Object(Vec<(Key, Node)>),
    /// Makes a list with an object for each segment.
    Each(Box<Each>),
    /// Makes a value.
    Leaf {
        /// The field without which there is none, where it is that simple.
        needs: Option<FieldSpot>,
        leaf: Box<Leaf>,
    },
}

/// A list with an object for each of some segments.
#[derive(Debug)]
pub(super) struct Each {
    pub sources: Vec<Source>,
    /// Names of segments that follow one and belong to it, packed.
    pub with: Vec<u32>,
    pub required: bool,
    pub element: Vec<(Key, Node)>,
}

/// A value from the first source that is there.
#[derive(Debug)]
pub(super) struct Leaf {
    pub origin: Origin,
    pub sources: Vec<Source>,
    /// Every repetition, not the first one.
    pub many: bool,
    pub required: bool,
    pub default: Option<Constant>,
}

impl Leaf {
    /// The field without which it writes nothing and has nothing to say.
    pub(super) fn needs(&self) -> Option<FieldSpot> {
        match self.sources.as_slice() {
            [Source { from: From::Path(path), .. }] if !self.required && self.default.is_none() => {
                path.spot()
            }
            _ => None,
        }
    }
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
pub(super) struct Source {
    pub from: From,
    pub convert: Convert,
    pub table: Option<Arc<Table>>,
    /// Where it counts; most do everywhere.
    pub only: Option<Box<Only>>,
}

/// Where a source counts.
#[derive(Debug)]
pub(super) struct Only {
    /// Only where this path has a value.
    pub when: Option<Path>,
    /// Only where this path has none.
    pub unless: Option<Path>,
    /// Only in segments that follow the first one of this name directly.
    pub after: Option<String>,
}

#[derive(Debug)]
pub(super) enum From {
    Path(Path),
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

/// How a raw value becomes one of the event: the HL7 data types of chapter 2A.
#[derive(Clone, Debug)]
pub(super) enum Convert {
    /// The first component.
    Text,
    /// The value as it stands, delimiters and all: TX and FT, which are not divided.
    Whole,
    Date,
    Time,
    /// Only where an hour was given.
    WithHour,
    Number,
    Boolean,
    /// A normalized code beside the sender's.
    Coded,
    /// CWE, CE, CNE, CF, IS, ID.
    Code,
    /// CX; with a type where the field has none of its own, as PID-19.
    Identifier {
        kind: Option<String>,
    },
    /// EI.
    Entity,
    /// XPN, PN.
    Name(NameUses),
    /// XCN, CN.
    Person(NameUses),
    /// XAD, AD.
    Address {
        uses: Arc<Table>,
    },
    /// XTN, TN.
    Telecom {
        uses: Arc<Table>,
        systems: Arc<Table>,
    },
    /// PL.
    Location,
    /// OBX-5, by OBX-2; documents with the MIME types of subtypes.
    Value {
        media: Arc<Table>,
    },
}

/// Table 0200.
pub(super) type NameUses = Arc<Table>;
