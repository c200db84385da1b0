//! One table of a document: its keys by name, each with what holds without it.
//!
//! Promises: a key that was not asked for is reported by [`Table::finish`], with the nearest
//! one that was; a value that cannot be is a mistake, and its default holds in its stead.
//! Knows nothing of: which keys there are; its reader asks for them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::unit::{parse_duration, parse_share, parse_size, show_duration};
use super::{Item, Place, Placed, Problems, Source, hint};

/// One table of a [`Document`](super::Document). Every key is asked for by name; [`Table::finish`] reports the
/// keys that nobody asked for.
pub struct Table<'d> {
    source: Source<'d>,
    table: &'d DeTable<'d>,
    offset: usize,
    name: String,
    asked: RefCell<BTreeSet<String>>,
    open: RefCell<bool>,
}

impl<'d> Table<'d> {
    pub(super) fn new(
        source: Source<'d>,
        table: &'d DeTable<'d>,
        offset: usize,
        name: String,
    ) -> Self {
        Self { source, table, offset, name, asked: RefCell::default(), open: RefCell::new(false) }
    }

    /// Where the table begins.
    #[must_use]
    pub fn place(&self) -> Place {
        self.source.place(self.offset)
    }

    /// Where a key of the table stands, or the table where there is no such key.
    #[must_use]
    pub fn place_of(&self, key: &str) -> Place {
        match self.table.get_key_value(key) {
            Some((found, _)) => self.source.place(found.span().start),
            None => self.place(),
        }
    }

    /// The folder that relative paths in this file are relative to.
    #[must_use]
    pub fn dir(&self) -> &'d Path {
        &self.source.document.dir
    }

    /// Where mistakes in this document go, and those in documents that it names.
    #[must_use]
    pub fn problems(&self) -> &'d Problems {
        self.source.problems
    }

    /// Adds a mistake.
    pub fn mistake(&self, place: &Place, text: impl Into<String>) {
        self.source.problems.mistake(place, text);
    }

    /// Adds a warning.
    pub fn warn(&self, place: &Place, text: impl Into<String>) {
        self.source.problems.warn(place, text);
    }

    /// Whether a key is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// All keys with their values, in the order of the file; none of them is unknown then.
    #[must_use]
    pub fn entries(&self) -> Vec<(Placed<String>, Item<'d>)> {
        *self.open.borrow_mut() = true;
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| {
                let place = self.source.place(key.span().start);
                let item = Item::new(self.source, value, self.path(key.get_ref()));
                (Placed { value: key.get_ref().to_string(), place }, item)
            })
            .collect()
    }

    /// The value under a key.
    pub fn item(&self, key: &str) -> Option<Item<'d>> {
        self.asked.borrow_mut().insert(key.to_owned());
        let value = self.table.get(key)?;
        Some(Item::new(self.source, value, self.path(key)))
    }

    /// The value under a key that has to be there.
    pub fn required(&self, key: &str) -> Option<Item<'d>> {
        let item = self.item(key);
        if item.is_none() {
            self.mistake(&self.place(), format!("`{}` is missing", self.path(key)));
        }
        item
    }

    /// A string; see [`Item::text`].
    pub fn text(&self, key: &str) -> Option<Placed<String>> {
        self.item(key)?.text()
    }

    /// A string that has to be there.
    pub fn required_text(&self, key: &str) -> Option<Placed<String>> {
        self.required(key)?.text()
    }

    /// A boolean, or what holds without one.
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        self.item(key).and_then(|item| item.boolean()).unwrap_or(default)
    }

    /// A whole number within bounds, or what holds without one.
    pub fn integer(&self, key: &str, default: u64, bounds: std::ops::RangeInclusive<u64>) -> u64 {
        self.item(key).and_then(|item| item.integer(bounds)).unwrap_or(default)
    }

    /// A duration such as `"30s"` within bounds, or what holds without one.
    pub fn duration(
        &self,
        key: &str,
        default: Duration,
        bounds: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        let Some(item) = self.item(key) else { return default };
        let Some(text) = item.text() else { return default };
        match parse_duration(&text.value) {
            Some(value) if bounds.contains(&value) => value,
            Some(_) => {
                item.mistake(format!(
                    "`{}` is out of bounds; from {} to {}",
                    item.name(),
                    show_duration(*bounds.start()),
                    show_duration(*bounds.end())
                ));
                default
            }
            None => {
                item.mistake(format!(
                    "`{}` is not a duration; a number and ms, s, m, h, d or y, such as \"30s\"",
                    item.name()
                ));
                default
            }
        }
    }

    /// A size in bytes such as `"16MiB"` within bounds, or what holds without one.
    pub fn size(&self, key: &str, default: u64, bounds: std::ops::RangeInclusive<u64>) -> u64 {
        let Some(item) = self.item(key) else { return default };
        let Some(text) = item.text() else { return default };
        match parse_size(&text.value) {
            Some(value) if bounds.contains(&value) => value,
            Some(_) => {
                item.mistake(format!(
                    "`{}` is out of bounds; from {} to {} bytes",
                    item.name(),
                    bounds.start(),
                    bounds.end()
                ));
                default
            }
            None => {
                item.mistake(format!(
                    "`{}` is not a size; a number and B, KiB, MiB or GiB, such as \"16MiB\"",
                    item.name()
                ));
                default
            }
        }
    }

    /// A share such as `"90%"`, as 0 to 100, or what holds without one.
    pub fn percent(&self, key: &str, default: u8) -> u8 {
        let Some(item) = self.item(key) else { return default };
        let Some(text) = item.text() else { return default };
        match parse_share(&text.value) {
            Some(value) if (1..=100).contains(&value) => value,
            _ => {
                item.mistake(format!("`{}` is not a share; from \"1%\" to \"100%\"", item.name()));
                default
            }
        }
    }

    /// One of a fixed set of words.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.item(key)?.choice(choices)
    }

    /// One of a fixed set of words that has to be there.
    pub fn required_choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.required(key)?.choice(choices)
    }

    /// A list of strings; without the key, an empty one.
    pub fn texts(&self, key: &str) -> Vec<Placed<String>> {
        self.item(key).map(|item| item.texts()).unwrap_or_default()
    }

    /// A table below this one.
    pub fn table(&self, key: &str) -> Option<Table<'d>> {
        self.item(key)?.table()
    }

    /// The tables of `[[key]]`; without the key, none.
    pub fn tables(&self, key: &str) -> Vec<Table<'d>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        item.items().into_iter().filter_map(|item| item.table()).collect()
    }

    /// A path, made absolute or relative to the working folder from the file's own folder.
    pub fn file(&self, key: &str) -> Option<Placed<PathBuf>> {
        let text = self.text(key)?;
        Some(Placed { value: self.dir().join(text.value), place: text.place })
    }

    /// Reports each key that nobody asked for, with the nearest one that would be right.
    pub fn finish(&self) {
        if *self.open.borrow() {
            return;
        }
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            if asked.contains(key.get_ref().as_ref()) {
                continue;
            }
            let place = self.source.place(key.span().start);
            let known: Vec<&str> = asked.iter().map(String::as_str).collect();
            let name = self.path(key.get_ref());
            self.mistake(&place, format!("`{name}` is not known{}", hint(key.get_ref(), &known)));
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
