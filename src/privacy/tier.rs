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
    pub const fn allows(self, class: Class, transform: Transform) -> bool {
        match (transform, class) {
            (Transform::Drop, _) => true,
            (Transform::Keep, _) => self.allows_kept(class),
            (Transform::Hash, Class::Direct | Class::Clinical | Class::Operational) => {
                !matches!(self, Self::Deidentified)
            }
            (Transform::Hash, Class::Quasi | Class::FreeText | Class::ByValueType) => {
                matches!(self, Self::Identified)
            }
            // The subject's token is a matter of `subject`, not of a field.
            (Transform::Token, _) => false,
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

    /// PROMISE-7
    #[test]
    fn a_tier_lets_out_what_is_written_and_nothing_else() {
        let table = |tier: Tier, transform| {
            [Class::Direct, Class::Quasi, Class::Clinical, Class::Operational, Class::FreeText]
                .map(|class| tier.allows(class, transform))
        };
        for (tier, keep, hash) in [
            (Tier::Identified, [true; 5], [true; 5]),
            (Tier::Limited, [false, true, true, true, false], [true, false, true, true, false]),
            (
                Tier::Pseudonymized,
                [false, false, true, true, false],
                [true, false, true, true, false],
            ),
            (Tier::Deidentified, [false, false, true, true, false], [false; 5]),
        ] {
            assert_eq!(table(tier, Transform::Keep), keep, "{tier:?}");
            assert_eq!(table(tier, Transform::Hash), hash, "{tier:?}");
            assert_eq!(table(tier, Transform::Token), [false; 5], "{tier:?}");
            assert_eq!(table(tier, Transform::Drop), [true; 5], "{tier:?}");
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
