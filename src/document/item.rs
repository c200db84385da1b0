//! One value of a document.
//!
//! Promises: a value of another type is a mistake at its place, which says what is wanted; of
//! what is named elsewhere (`{ env = .. }`, `{ credential = .. }`, `{ file = .. }`) a message
//! quotes where it should come from, never what was found there.
//! Knows nothing of: defaults.

use std::str::FromStr;

use toml::Spanned;
use toml::de::DeValue;

use super::{Place, Placed, Source, Table, hint};
use crate::secret::{self, Secret};

/// How what a key names is read.
type Read = fn(&secret::Origin) -> Result<Secret, secret::SecretError>;

/// One value of a [`Document`](super::Document).
#[derive(Clone)]
pub struct Item<'d> {
    source: Source<'d>,
    value: &'d Spanned<DeValue<'d>>,
    name: String,
}

impl<'d> Item<'d> {
    pub(super) const fn new(
        source: Source<'d>,
        value: &'d Spanned<DeValue<'d>>,
        name: String,
    ) -> Self {
        Self { source, value, name }
    }

    /// Where the value stands.
    #[must_use]
    pub fn place(&self) -> Place {
        self.source.place(self.value.span().start)
    }

    /// The keys that lead to it, joined by dots.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a mistake at the value.
    pub fn mistake(&self, text: impl Into<String>) {
        self.source.problems.mistake(&self.place(), text);
    }

    /// Adds a mistake at another place of its document, such as its key.
    pub fn mistake_at(&self, place: &Place, text: impl Into<String>) {
        self.source.problems.mistake(place, text);
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Whether it is a table.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Whether it is a string as it stands.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// A string, or one named elsewhere: `{ env = "NAME" }`, `{ credential = "NAME" }` or
    /// `{ file = "PATH" }`. A final line end of what was read from a file is dropped.
    #[must_use]
    pub fn text(&self) -> Option<Placed<String>> {
        self.text_by(secret::Origin::read)
    }

    /// A string as [`Item::text`] has it, that nobody but us may be able to read.
    #[must_use]
    pub fn private_text(&self) -> Option<Placed<String>> {
        self.text_by(secret::Origin::read_private)
    }

    fn text_by(&self, read: Read) -> Option<Placed<String>> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(Placed { value: text.to_string(), place: self.place() }),
            DeValue::Table(_) => {
                let secret = self.named(read)?;
                match String::from_utf8(secret.expose().to_vec()) {
                    Ok(text) => Some(Placed {
                        value: text.trim_end_matches(['\n', '\r']).to_owned(),
                        place: self.place(),
                    }),
                    Err(_) => {
                        self.mistake(format!("`{}`: what it names is not UTF-8", self.name));
                        None
                    }
                }
            }
            _ => {
                self.wrong_type("a string");
                None
            }
        }
    }

    /// Bytes named elsewhere: `{ credential = "NAME" }`, `{ file = "PATH" }` or
    /// `{ env = "NAME" }`; a file must be its owner's alone.
    #[must_use]
    pub fn secret(&self) -> Option<Secret> {
        self.named(secret::Origin::read_private)
    }

    /// Where a secret is, which nobody has looked at yet: `{ credential = "NAME" }`,
    /// `{ file = "PATH" }` or `{ env = "NAME" }`.
    #[must_use]
    pub fn origin(&self) -> Option<secret::Origin> {
        self.origin_and_name().map(|(origin, _)| origin)
    }

    fn named(&self, read: Read) -> Option<Secret> {
        let (origin, item) = self.origin_and_name()?;
        match read(&origin) {
            Ok(secret) => Some(secret),
            Err(error) => {
                item.mistake(format!("`{}`: {error}", self.name));
                None
            }
        }
    }

    fn origin_and_name(&self) -> Option<(secret::Origin, Item<'d>)> {
        let table = self.table()?;
        let entries = table.entries();
        let [(key, item)] = entries.as_slice() else {
            self.mistake(format!(
                "`{}` names where it comes from by one key: env, credential or file",
                self.name
            ));
            return None;
        };
        let DeValue::String(name) = item.value.get_ref() else {
            item.wrong_type("a string");
            return None;
        };
        let origin = match key.value.as_str() {
            "env" => secret::Origin::Env(name.to_string()),
            "credential" => secret::Origin::Credential(name.to_string()),
            "file" => secret::Origin::File(table.dir().join(name.as_ref())),
            other => {
                self.source.problems.mistake(
                    &key.place,
                    format!(
                        "`{other}` is not known{}",
                        hint(other, &["env", "credential", "file"])
                    ),
                );
                return None;
            }
        };
        Some((origin, item.clone()))
    }

    /// A boolean.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type("true or false");
        }
        value
    }

    /// A whole number within bounds.
    #[must_use]
    pub fn integer(&self, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let Some(text) = self.value.get_ref().as_integer() else {
            self.wrong_type("a whole number");
            return None;
        };
        match u64::from_str(text.as_str()) {
            Ok(value) if text.radix() == 10 && bounds.contains(&value) => Some(value),
            _ => {
                self.mistake(format!(
                    "`{}` is out of bounds; from {} to {}",
                    self.name,
                    bounds.start(),
                    bounds.end()
                ));
                None
            }
        }
    }

    /// A finite number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => {
                self.wrong_type("a number");
                return None;
            }
        };
        let number = number.filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.mistake(format!("`{}` is no finite number", self.name));
        }
        number
    }

    /// A date, as TOML writes it or as a string, as text.
    #[must_use]
    pub fn date_text(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Datetime(date) => Some(date.to_string()),
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.wrong_type("a date such as 2026-11-22");
                None
            }
        }
    }

    /// A day, as TOML writes it or as a string.
    #[must_use]
    pub fn date(&self) -> Option<Placed<jiff::civil::Date>> {
        let text = self.date_text()?;
        match text.parse() {
            Ok(value) if text.len() == 10 => Some(Placed { value, place: self.place() }),
            _ => {
                self.mistake(format!("`{}` is a day, such as 2026-11-22", self.name));
                None
            }
        }
    }

    /// One of a fixed set of words.
    #[must_use]
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.mistake(format!("`{}` is one of {}", self.name, words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> Option<Table<'d>> {
        if let DeValue::Table(table) = self.value.get_ref() {
            let offset = self.value.span().start;
            Some(Table::new(self.source, table, offset, self.name.clone()))
        } else {
            self.wrong_type("a table");
            None
        }
    }

    /// The elements of a list.
    #[must_use]
    pub fn items(&self) -> Vec<Item<'d>> {
        if let DeValue::Array(list) = self.value.get_ref() {
            let named = |value| Self::new(self.source, value, self.name.clone());
            list.iter().map(named).collect()
        } else {
            self.wrong_type("a list");
            Vec::new()
        }
    }

    /// A list of strings.
    #[must_use]
    pub fn texts(&self) -> Vec<Placed<String>> {
        self.items().into_iter().filter_map(|item| item.text()).collect()
    }

    /// A plain scalar as text: a string, or a number or boolean as written.
    #[must_use]
    pub fn scalar(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(value) => Some(value.to_string()),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        }
    }

    fn wrong_type(&self, wanted: &str) {
        self.mistake(format!(
            "`{}` is {} here; {wanted} is wanted",
            self.name,
            self.value.get_ref().type_str()
        ));
    }
}
