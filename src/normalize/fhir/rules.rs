//! What the rules of FHIR say: paths of elements, and data types.
//!
//! Promises: a path that cannot be and a conversion that there is not are refused with the reason.
//! Knows nothing of: TOML and resources.

use std::convert::Infallible;
use std::sync::Arc;

use crate::event::schema::Part;

use super::path::Path;
use crate::normalize::mapping::{Dialect, Leaf, Within};
use crate::normalize::table::Table;

/// FHIR.
#[derive(Debug)]
pub(in crate::normalize) struct Fhir;

/// How a raw value becomes one of the event: the data types of FHIR.
#[derive(Clone, Debug)]
pub(in crate::normalize) enum Convert {
    /// A primitive.
    Text,
    /// The type of the resource.
    Kind,
    /// All of a resource but its narrative, as JSON text: what a Consent decides is read from that.
    Directive,
    /// `Encounter/1/_history/2` of the resource.
    ControlId,
    /// R4 or R5.
    Release,
    /// A range of reference, as text.
    Range,
    Date,
    Time,
    /// Only where an hour was given.
    WithHour,
    Number,
    Boolean,
    /// A normalized code beside the sender's.
    Coded,
    /// The same, of v3 ActCode alone: a code of another system is the sender's alone.
    ActCoded,
    /// CodeableConcept, Coding, CodeableReference, code.
    Code {
        systems: Arc<Table>,
    },
    /// The unit of a Quantity.
    Unit {
        systems: Arc<Table>,
    },
    /// Identifier, or that of a Reference: those that are in use, or those that are not any more.
    Identifier {
        old: bool,
    },
    /// HumanName.
    Name {
        uses: Arc<Table>,
    },
    /// A text that is a name.
    WholeName,
    /// Reference to a person, or the resource.
    Person {
        uses: Arc<Table>,
    },
    /// Address.
    Address {
        uses: Arc<Table>,
    },
    /// ContactPoint.
    Telecom {
        uses: Arc<Table>,
        systems: Arc<Table>,
    },
    /// Encounter.location, or a Reference to a Location.
    Location(Which),
    /// What `value[x]` holds.
    Value {
        systems: Arc<Table>,
    },
    /// Attachment, as a value.
    Attachment,
    /// CodeableConcept, as a value.
    Concept {
        systems: Arc<Table>,
    },
}

/// Which of several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::normalize) enum Which {
    /// The first.
    First,
    /// Where the patient is.
    Current,
    /// Where the patient was last before.
    Prior,
}

impl Dialect for Fhir {
    type Path = Path;
    type Convert = Convert;
    type Needs = Infallible;
    const TEXTS: &'static [&'static str] =
        &["text", "range", "kind", "control-id", "release", "directive"];

    fn path(text: &str, within: &Within<'_, Self>) -> Result<Path, String> {
        Path::read(text, within)
    }

    fn no_value(_: &Path) -> Option<String> {
        None
    }

    fn no_element(_: &Path) -> Option<String> {
        None
    }

    fn follower(_: &str) -> Result<u32, String> {
        Err("`with` is for segments; what belongs to an element stands in it".to_owned())
    }

    fn conversions_to(part: &Part) -> &'static [&'static str] {
        match part.name {
            "coded" => &["coded", "act-coded"],
            "code" => &["code", "unit"],
            "identifier" => &["identifier", "old-identifier"],
            "name" => &["name", "whole-name"],
            "person" => &["person"],
            "address" => &["address"],
            "telecom" => &["telecom"],
            "location" => &["location", "current-location", "prior-location"],
            "value" => &["value", "attachment", "concept"],
            _ => &[],
        }
    }

    fn convert(
        name: &str,
        _: Option<String>,
        table: &mut dyn FnMut(&'static str) -> Option<Arc<Table>>,
    ) -> Option<Convert> {
        Some(match name {
            "text" => Convert::Text,
            "range" => Convert::Range,
            "kind" => Convert::Kind,
            "directive" => Convert::Directive,
            "control-id" => Convert::ControlId,
            "release" => Convert::Release,
            "date" => Convert::Date,
            "time" => Convert::Time,
            "with-hour" => Convert::WithHour,
            "number" => Convert::Number,
            "boolean" => Convert::Boolean,
            "coded" => Convert::Coded,
            "act-coded" => Convert::ActCoded,
            "code" => Convert::Code { systems: table("code-system")? },
            "unit" => Convert::Unit { systems: table("code-system")? },
            "identifier" => Convert::Identifier { old: false },
            "old-identifier" => Convert::Identifier { old: true },
            "name" => Convert::Name { uses: table("fhir-name-use")? },
            "whole-name" => Convert::WholeName,
            "person" => Convert::Person { uses: table("fhir-name-use")? },
            "address" => Convert::Address { uses: table("fhir-address-use")? },
            "telecom" => Convert::Telecom {
                uses: table("fhir-telecom-use")?,
                systems: table("fhir-telecom-system")?,
            },
            "location" => Convert::Location(Which::First),
            "current-location" => Convert::Location(Which::Current),
            "prior-location" => Convert::Location(Which::Prior),
            "value" => Convert::Value { systems: table("code-system")? },
            "attachment" => Convert::Attachment,
            "concept" => Convert::Concept { systems: table("code-system")? },
            _ => return None,
        })
    }

    fn takes_table(name: &str) -> bool {
        matches!(name, "text" | "coded" | "act-coded")
    }

    fn takes_kind(_: &str) -> bool {
        false
    }

    fn needs(_: &Leaf<Self>) -> Option<Infallible> {
        None
    }
}
