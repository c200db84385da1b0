//! How identifying a route's output may be, at most.
//!
//! Promises: for each tier, class and transform there is one answer, and it is no unless it is
//! written here that it is yes.
//! Knows nothing of: field names.

use crate::event::View;
use crate::event::schema::Class;

use super::Transform;

/// Tiers, from the most to the least identifying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Named fields as they are, for treatment, payment, administration and public health.
    Identified,
    /// Dates and town, no direct identifier: a limited data set (45 CFR 164.514(e)).
    Limited,
    /// No direct identifier but the token, nothing quasi-identifying. Still personal data.
    Pseudonymized,
    /// Neither, nor anything that leads back (45 CFR 164.514(b)).
    Deidentified,
}

impl Tier {
    /// The words in a contract.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("identified", Self::Identified),
        ("limited", Self::Limited),
        ("pseudonymized", Self::Pseudonymized),
        ("deidentified", Self::Deidentified),
    ];

    /// The word in a contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identified => "identified",
            Self::Limited => "limited",
            Self::Pseudonymized => "pseudonymized",
            Self::Deidentified => "deidentified",
        }
    }

    /// Whether IDs of the hospital's may leave as they are.
    #[must_use]
    pub const fn shows_ids(self) -> bool {
        matches!(self, Self::Identified)
    }

    /// Whether the time of what happened may leave with the event.
    #[must_use]
    pub const fn shows_time(self) -> bool {
        matches!(self, Self::Identified | Self::Limited)
    }

    /// Whether a field of a class may leave by a transform.
    // PROMISE-7
    #[must_use]
    pub const fn allows(self, class: Class, transform: &Transform) -> bool {
        match transform {
            // A fixed text says that there was something, and nothing of what.
            Transform::Drop | Transform::Constant(_) => true,
            // The subject's token is a matter of `subject`, not of a field.
            Transform::Token => false,
            // What a mask leaves is part of the value.
            Transform::Keep
            | Transform::Mask { .. }
            | Transform::CodeFamily { .. }
            | Transform::Round { .. }
            | Transform::Band(_) => self.allows_kept(class),
            Transform::Hash => match class {
                Class::Direct | Class::Clinical | Class::Operational => {
                    !matches!(self, Self::Deidentified)
                }
                Class::Quasi | Class::FreeText | Class::ByValueType => {
                    matches!(self, Self::Identified)
                }
            },
            // What 45 CFR 164.514(b)(2)(i)(B) and (C) leave of a date and a place.
            Transform::Year
            | Transform::Age
            | Transform::AgeBand { .. }
            | Transform::Zip3
            | Transform::State => true,
            Transform::Month | Transform::Week | Transform::Shift { .. } => {
                !matches!(self, Self::Deidentified)
            }
            // Only what the table holds can leave; whether that is coarser nobody can tell from it.
            Transform::Table(_) => match class {
                Class::Clinical | Class::Operational => true,
                Class::Quasi | Class::FreeText => !matches!(self, Self::Deidentified),
                Class::Direct | Class::ByValueType => matches!(self, Self::Identified),
            },
        }
    }

    /// Whether a value of a class may leave as it is.
    #[must_use]
    pub const fn allows_kept(self, class: Class) -> bool {
        match (self, class) {
            (Self::Identified, _) | (_, Class::Clinical | Class::Operational) => true,
            (Self::Limited, Class::Quasi) => true,
            (
                Self::Limited | Self::Pseudonymized | Self::Deidentified,
                Class::Direct | Class::Quasi | Class::FreeText | Class::ByValueType,
            ) => false,
        }
    }
}

/// The class of an observation's value, by its type: a number and a code are clinical, a time
/// is quasi-identifying, and any text may say anything.
#[must_use]
pub fn class_of_value(value: View<'_>) -> Class {
    let has = |key| value.get(key).is_some();
    match value.get("type").and_then(|kind| kind.as_text()) {
        Some("NM" | "SN" | "NR") if has("number") || has("number2") => Class::Clinical,
        Some("CE" | "CWE" | "CNE" | "CF" | "IS" | "ID") if has("code") => Class::Clinical,
        Some("NA" | "MA") if has("numbers") => Class::Clinical,
        Some("DT" | "TM" | "TS" | "DTM" | "DR") => Class::Quasi,
        _ => Class::FreeText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Tree;
    use crate::privacy::transform::{Bands, Coding};

    /// PROMISE-7
    #[test]
    fn a_tier_lets_out_what_is_written_and_nothing_else() {
        const CLASSES: [Class; 6] = [
            Class::Direct,
            Class::Quasi,
            Class::Clinical,
            Class::Operational,
            Class::FreeText,
            Class::ByValueType,
        ];
        let table = |tier: Tier, transform: &Transform| {
            CLASSES.map(|class| if tier.allows(class, transform) { '+' } else { '-' })
        };
        let coding = Coding::new("t", std::collections::BTreeMap::new());
        // direct quasi clinical operational free-text by-value-type, in each of the four tiers.
        for (transform, wanted) in [
            (Transform::Keep, ["++++++", "-+++--", "--++--", "--++--"]),
            (Transform::Mask { last: 4 }, ["++++++", "-+++--", "--++--", "--++--"]),
            (Transform::CodeFamily { length: 3 }, ["++++++", "-+++--", "--++--", "--++--"]),
            (Transform::Round { to: 1.0 }, ["++++++", "-+++--", "--++--", "--++--"]),
            (Transform::Band(Bands::Width(1.0)), ["++++++", "-+++--", "--++--", "--++--"]),
            (Transform::Hash, ["++++++", "+-++--", "+-++--", "------"]),
            (Transform::Month, ["++++++", "++++++", "++++++", "------"]),
            (Transform::Week, ["++++++", "++++++", "++++++", "------"]),
            (Transform::Shift { days: 9 }, ["++++++", "++++++", "++++++", "------"]),
            (Transform::Table(coding), ["++++++", "-++++-", "-++++-", "--++--"]),
            (Transform::Year, ["++++++"; 4]),
            (Transform::Age, ["++++++"; 4]),
            (Transform::AgeBand { width: 5 }, ["++++++"; 4]),
            (Transform::Zip3, ["++++++"; 4]),
            (Transform::State, ["++++++"; 4]),
            (Transform::Constant("x".to_owned()), ["++++++"; 4]),
            (Transform::Drop, ["++++++"; 4]),
            (Transform::Token, ["------"; 4]),
        ] {
            for ((_, tier), wanted) in Tier::NAMES.into_iter().zip(wanted) {
                let found: String = table(tier, &transform).iter().collect();
                assert_eq!(found, wanted, "{tier:?} {transform}");
            }
        }
    }

    #[test]
    fn a_value_has_the_class_of_its_type() {
        for (json, class) in [
            (r#"{"type":"NM","text":"6.9","number":6.9}"#, Class::Clinical),
            (r#"{"type":"NM","text":"see note"}"#, Class::FreeText),
            (r#"{"type":"SN","text":">5","comparator":">","number":5}"#, Class::Clinical),
            (r#"{"type":"CWE","code":{"code":"1"}}"#, Class::Clinical),
            (r#"{"type":"CWE"}"#, Class::FreeText),
            (r#"{"type":"TS","time":"2026"}"#, Class::Quasi),
            (r#"{"type":"TX","text":"x"}"#, Class::FreeText),
            (r#"{"type":"ED","attachment":{"size":1}}"#, Class::FreeText),
            (r#"{"text":"5"}"#, Class::FreeText),
        ] {
            let tree: Tree = serde_json::from_str(json).unwrap();
            assert_eq!(class_of_value(tree.root()), class, "{json}");
        }
    }
}
