//! What is done to a field before it leaves.
//!
//! Promises: a transform gives what its name says, for certain, or nothing; it never gives back the
//! value that it could not transform. The same value gives the same result.
//! Knows nothing of: which fields a contract names, and what its tier allows.
//!
//! Reading order: here (which there are, what each is for), `date`, `geography`, `code`, `number`.

mod code;
mod date;
mod geography;
mod number;

use std::fmt;

use jiff::civil;

use crate::event::schema::{Class, Field, Shape};
use crate::event::{Subject, Value, View, code as codes};

use super::RealmKeys;
pub use code::Coding;
pub use number::{Bands, EDGES_MAX};

/// Largest number of days that dates are shifted by, either way.
pub const SHIFT_DAYS_MAX: u64 = 366;
/// Widest band of ages, in years.
pub const AGE_BAND_MAX: u64 = 45;
/// Most characters that a mask may leave.
pub const MASK_LAST_MAX: u64 = 8;
/// Longest family of a code, in characters.
pub const FAMILY_LENGTH_MAX: u64 = 12;

/// What is done to a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// It leaves as it is; of a code, its system and code.
    Keep,
    /// It does not leave; cuts a hole into a part that is kept.
    Drop,
    /// The subject's pseudonym in the realm.
    Token,
    /// A keyed hash, per realm and field.
    Hash,
    /// `****` and the last characters, of which no more are shown than hidden.
    Mask {
        /// How many are shown.
        last: u8,
    },
    /// The year; `90+` where it lies 90 years or more back (45 CFR 164.514(b)(2)(i)(C)).
    Year,
    /// Year and month.
    Month,
    /// The week by ISO 8601, such as `2026-W47`.
    Week,
    /// The date, moved by a number of days that is the subject's own in the realm.
    Shift {
        /// At most so many, either way.
        days: u16,
    },
    /// The age in years when it happened; `90+` from 90 on (45 CFR 164.514(b)(2)(i)(C)).
    Age,
    /// The age when it happened in bands, such as `45-49`; `90+` from 90 on.
    AgeBand {
        /// Years of a band.
        width: u8,
    },
    /// The first three digits of a ZIP code; `000` where few live (45 CFR 164.514(b)(2)(i)(B)).
    Zip3,
    /// The code of a state of the United States, such as `CA`.
    State,
    /// The first characters of a code whose system is built that way, such as ICD-10.
    CodeFamily {
        /// How many.
        length: u8,
    },
    /// What a table of mappings/tables says of it.
    Table(Coding),
    /// The nearest multiple of a step.
    Round {
        /// The step.
        to: f64,
    },
    /// The band that a number lies in.
    Band(Bands),
    /// A fixed text instead of it.
    Constant(String),
}

/// What a result looks like, for the schema of a route and its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// A date or time as precise as it was given.
    Date,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// 32 hexadecimal digits.
    Digest,
    /// `****` and the last characters.
    Masked,
    /// `2026`, or `90+`.
    Year,
    /// `2026-W47`.
    Week,
    /// `45`, or `90+`.
    Age,
    /// `45-49`, or `90+`.
    AgeBand,
    /// `941`.
    Zip3,
    /// `CA`.
    State,
}

/// What a transform may look at beside the value.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// What the value stands in.
    pub parent: View<'a>,
    /// The day of the release, in UTC.
    pub today: civil::Date,
    /// When it happened, as the event writes it.
    pub happened: Option<&'a str>,
    /// Whom it is about.
    pub subject: &'a Subject,
    /// The keys of the realm.
    pub keys: &'a RealmKeys,
}

/// What a transform made.
#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
}

impl Transform {
    /// The words in a contract.
    pub const NAMES: [&'static str; 18] = [
        "keep",
        "drop",
        "token",
        "hash",
        "mask",
        "year",
        "month",
        "week",
        "shift",
        "age",
        "age-band",
        "zip3",
        "state",
        "code-family",
        "table",
        "round",
        "band",
        "constant",
    ];

    /// The word in a contract.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Token => "token",
            Self::Hash => "hash",
            Self::Mask { .. } => "mask",
            Self::Year => "year",
            Self::Month => "month",
            Self::Week => "week",
            Self::Shift { .. } => "shift",
            Self::Age => "age",
            Self::AgeBand { .. } => "age-band",
            Self::Zip3 => "zip3",
            Self::State => "state",
            Self::CodeFamily { .. } => "code-family",
            Self::Table(_) => "table",
            Self::Round { .. } => "round",
            Self::Band(_) => "band",
            Self::Constant(_) => "constant",
        }
    }

    /// Whether another key of the realm gives another result.
    #[must_use]
    pub const fn is_keyed(&self) -> bool {
        matches!(self, Self::Token | Self::Hash | Self::Shift { .. })
    }

    /// What the result looks like, of a field.
    #[must_use]
    pub fn form(&self, field: &Field) -> Form {
        match self {
            Self::Keep | Self::Drop | Self::Token => match field.shape {
                Shape::Date => Form::Date,
                Shape::Number => Form::Number,
                Shape::Bool => Form::Bool,
                Shape::Text | Shape::Part(_) => Form::Text,
            },
            Self::Hash => Form::Digest,
            Self::Mask { .. } => Form::Masked,
            Self::Year => Form::Year,
            Self::Month | Self::Shift { .. } => Form::Date,
            Self::Week => Form::Week,
            Self::Age => Form::Age,
            Self::AgeBand { .. } => Form::AgeBand,
            Self::Zip3 => Form::Zip3,
            Self::State => Form::State,
            Self::Round { .. } => Form::Number,
            Self::CodeFamily { .. } | Self::Table(_) | Self::Band(_) | Self::Constant(_) => {
                Form::Text
            }
        }
    }

    /// Whether the result is no longer of the type that the field is declared with, so that it
    /// leaves under another name.
    #[must_use]
    pub fn retypes(&self, field: &Field) -> bool {
        match (self.form(field), field.shape) {
            (Form::Date, Shape::Date)
            | (Form::Number, Shape::Number)
            | (Form::Bool, Shape::Bool) => false,
            (Form::Date | Form::Number | Form::Bool, _) => true,
            (_, shape) => !matches!(shape, Shape::Text),
        }
    }

    /// What is wrong with this transform of this field; nothing where it is fit for it.
    #[must_use]
    pub fn misfit(&self, path: &str, field: &Field) -> Option<String> {
        let is_birth = BIRTH.contains(&path);
        let text = matches!(field.shape, Shape::Text);
        let (fits, wanted) = match self {
            Self::Keep | Self::Drop => (true, ""),
            Self::Token => (false, "`subject`; a field takes `hash`"),
            Self::Hash | Self::Mask { .. } | Self::Table(_) => (text, "one field that holds text"),
            Self::Year | Self::Month | Self::Week | Self::Shift { .. } => {
                (matches!(field.shape, Shape::Date), "one field that holds a date")
            }
            Self::Age | Self::AgeBand { .. } => {
                (is_birth, "`patient.birthDate` and `patient.birthTime`")
            }
            Self::Zip3 => (text && field.name == "postalCode", "a `postalCode`"),
            Self::State => (text && field.name == "state", "the `state` of an address"),
            Self::CodeFamily { .. } => (is_code(field), "a code with its system"),
            Self::Round { .. } | Self::Band(_) => {
                (matches!(field.shape, Shape::Number), "one field that holds a number")
            }
            Self::Constant(_) => (!matches!(field.shape, Shape::Part(_)), "one field"),
        };
        (!fits).then(|| format!("`{}` is for {wanted}", self.name()))
    }

    /// What becomes of a value; nothing where that cannot be said for certain.
    #[must_use]
    pub fn make(&self, path: &str, value: View<'_>, around: &Around<'_>) -> Option<Made> {
        let made = match (self, value.value()) {
            (Self::Constant(text), _) => text.clone(),
            (Self::Round { to }, Value::Number(number)) => {
                return number::round(number, *to, around.parent).map(Made::Number);
            }
            (Self::Band(bands), Value::Number(number)) => bands.of(number, around.parent)?,
            (Self::Hash, Value::Text(text)) => around.keys.hash(path, text),
            (Self::Mask { last }, Value::Text(text)) => mask(text, *last)?,
            (Self::Table(table), Value::Text(text)) => table.get(text)?.to_owned(),
            (Self::CodeFamily { length }, Value::Text(text)) => {
                code::family(text, *length, around.parent)?
            }
            (Self::Zip3, Value::Text(text)) => geography::zip3(text, around.parent)?,
            (Self::State, Value::Text(text)) => geography::state(text, around.parent)?,
            (Self::Year, Value::Text(text)) => date::year(text, around.today)?,
            (Self::Month, Value::Text(text)) => date::month(text)?,
            (Self::Week, Value::Text(text)) => date::week(text)?,
            (Self::Shift { days }, Value::Text(text)) => {
                date::shift(text, around.keys.shift(around.subject, *days))?
            }
            (Self::Age, Value::Text(text)) => date::age(text, around)?,
            (Self::AgeBand { width }, Value::Text(text)) => date::age_band(text, *width, around)?,
            (
                Self::Keep
                | Self::Drop
                | Self::Token
                | Self::Hash
                | Self::Mask { .. }
                | Self::Year
                | Self::Month
                | Self::Week
                | Self::Shift { .. }
                | Self::Age
                | Self::AgeBand { .. }
                | Self::Zip3
                | Self::State
                | Self::CodeFamily { .. }
                | Self::Table(_)
                | Self::Round { .. }
                | Self::Band(_),
                _,
            ) => return None,
        };
        Some(Made::Text(made))
    }
}

/// As `check` prints it and the hash of a recipe names it: the word, and its settings.
impl fmt::Display for Transform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())?;
        match self {
            Self::Mask { last } => write!(out, " last={last}"),
            Self::Shift { days } => write!(out, " days={days}"),
            Self::AgeBand { width } => write!(out, " width={width}"),
            Self::CodeFamily { length } => write!(out, " length={length}"),
            Self::Table(table) => write!(out, " {table}"),
            Self::Round { to } => write!(out, " to={to}"),
            Self::Band(bands) => write!(out, " {bands}"),
            Self::Constant(text) => write!(out, " {text:?}"),
            Self::Keep
            | Self::Drop
            | Self::Token
            | Self::Hash
            | Self::Year
            | Self::Month
            | Self::Week
            | Self::Age
            | Self::Zip3
            | Self::State => Ok(()),
        }
    }
}

/// Where an age may be taken from.
const BIRTH: [&str; 2] = ["patient.birthDate", "patient.birthTime"];

/// Whether a field is a code with its system, or the code of one.
fn is_code(field: &Field) -> bool {
    match field.shape {
        Shape::Part(part) => {
            std::ptr::eq(part, &raw const codes::CODE)
                || std::ptr::eq(part, &raw const codes::ALTERNATE)
        }
        Shape::Text => field.name == "code" && field.class == Class::Clinical,
        Shape::Date | Shape::Number | Shape::Bool => false,
    }
}

/// At least as many characters are hidden as are shown.
fn mask(text: &str, last: u8) -> Option<String> {
    let (length, last) = (text.chars().count(), usize::from(last));
    if length < last * 2 || length == 0 {
        return None;
    }
    let shown: String = text.chars().skip(length - last).collect();
    Some(format!("****{shown}"))
}

#[cfg(test)]
mod tests_support {
    use super::*;
    use crate::event::Tree;
    use crate::phi::Phi;
    use crate::secret::Key;

    /// Calls `call` with what stands around a value.
    pub(super) fn around<T>(
        happened: Option<&str>,
        today: civil::Date,
        call: impl FnOnce(&Around<'_>) -> T,
    ) -> T {
        let subject = Subject { authority: "MRN".to_owned(), value: Phi::new("ZZ1".to_owned()) };
        let key = |byte| Key::from_bytes(&[byte; 32]).unwrap();
        let keys = RealmKeys::new(&key(1), &key(2));
        let tree = Tree::new();
        call(&Around { parent: tree.root(), today, happened, subject: &subject, keys: &keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_shows_no_more_than_it_hides() {
        for (text, last, masked) in [
            ("123456789", 4, Some("****6789")),
            ("12345678", 4, Some("****5678")),
            ("1234567", 4, None),
            ("", 0, None),
            ("12", 0, Some("****")),
            ("äöüß", 2, Some("****üß")),
        ] {
            assert_eq!(mask(text, last).as_deref(), masked, "{text}");
        }
    }
}
