//! What the rules of HL7 v2 say: paths of segments, and the data types of chapter 2A.
//!
//! Promises: a path that cannot be and a conversion that there is not are refused with the reason.
//! Knows nothing of: TOML and messages.

use std::sync::Arc;

use crate::event::schema::Part;
use crate::parse::hl7::{FieldSpot, Path, name};

use super::mapping::{Dialect, From, Leaf, Source, Within};
use super::table::Table;

/// HL7 v2.
#[derive(Debug)]
pub(super) struct Hl7;

impl Dialect for Hl7 {
    type Path = Path;
    type Convert = Convert;
    type Needs = FieldSpot;
    const TEXTS: &'static [&'static str] = &["text", "whole"];

    fn path(text: &str, _: &Within<'_, Self>) -> Result<Path, String> {
        Path::read(text)
    }

    fn no_value(path: &Path) -> Option<String> {
        (path.field() == 0).then(|| {
            format!("`{}` names a segment; a field is wanted, such as PID-3", path.segment())
        })
    }

    fn no_element(path: &Path) -> Option<String> {
        let text = "each of them has fields of its own, so it is made from a segment";
        (path.field() > 0).then(|| text.to_owned())
    }

    fn follower(text: &str) -> Result<u32, String> {
        if name::is_segment_name(text.as_bytes()) {
            Ok(name::pack_name(text.as_bytes()))
        } else {
            Err(format!("`{text}` is not a segment name"))
        }
    }

    fn conversions_to(part: &Part) -> &'static [&'static str] {
        match part.name {
            "coded" => &["coded"],
            "code" => &["code"],
            "identifier" => &["identifier", "entity"],
            "name" => &["name"],
            "person" => &["person"],
            "address" => &["address"],
            "telecom" => &["telecom"],
            "location" => &["location"],
            "value" => &["value"],
            _ => &[],
        }
    }

    fn convert(
        name: &str,
        kind: Option<String>,
        table: &mut dyn FnMut(&'static str) -> Option<Arc<Table>>,
    ) -> Option<Convert> {
        Some(match name {
            "text" => Convert::Text,
            "whole" => Convert::Whole,
            "date" => Convert::Date,
            "time" => Convert::Time,
            "with-hour" => Convert::WithHour,
            "number" => Convert::Number,
            "boolean" => Convert::Boolean,
            "coded" => Convert::Coded,
            "code" => Convert::Code,
            "identifier" => Convert::Identifier { kind },
            "entity" => Convert::Entity,
            "name" => Convert::Name(table("name-use")?),
            "person" => Convert::Person(table("name-use")?),
            "address" => Convert::Address { uses: table("address-use")? },
            "telecom" => {
                Convert::Telecom { uses: table("telecom-use")?, systems: table("telecom-system")? }
            }
            "location" => Convert::Location,
            "value" => Convert::Value { media: table("media-type")? },
            _ => return None,
        })
    }

    fn takes_kind(name: &str) -> bool {
        name == "identifier"
    }

    /// The field without which it writes nothing and has nothing to say.
    fn needs(leaf: &Leaf<Self>) -> Option<FieldSpot> {
        match leaf.sources.as_slice() {
            [Source { from: From::Path(path, _), .. }]
                if !leaf.required && leaf.default.is_none() =>
            {
                path.spot()
            }
            _ => None,
        }
    }
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
