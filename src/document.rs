//! Reads a TOML file so that every mistake in it is found in one pass, each with its place.
//!
//! Promises: a key that nobody asked for is a mistake, with the nearest name that would have
//! been right; reading goes on after a mistake, so that one run reports them all; what a
//! message quotes is a key or a choice, never the value of a string (it may be a secret).
//! Knows nothing of: what the keys mean. Each room reads its own tables.
//!
//! serde with `deny_unknown_fields` stops at the first mistake and loses the place of a value
//! that is of the right type but wrong; an analyst with six typing errors would need six runs.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::secret::{self, Secret};

/// Largest configuration, contract or mapping file, in bytes. The largest shipped one is 12 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where in which file something stands; lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One mistake: what is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong; what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.text)
    }
}

/// Collects mistakes and warnings over all files of one check.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    mistakes: Rc<RefCell<BTreeSet<Problem>>>,
    warnings: Rc<RefCell<BTreeSet<Problem>>>,
}

impl Problems {
    /// Adds a mistake: what is read cannot be used.
    pub fn mistake(&self, place: &Place, text: impl Into<String>) {
        self.mistakes.borrow_mut().insert(Problem { place: place.clone(), text: text.into() });
    }

    /// Adds a warning: what is read can be used, but weakens something.
    pub fn warn(&self, place: &Place, text: impl Into<String>) {
        self.warnings.borrow_mut().insert(Problem { place: place.clone(), text: text.into() });
    }

    /// All mistakes so far, by file, line and column.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Problem> {
        self.mistakes.borrow().iter().cloned().collect()
    }

    /// All warnings so far, by file, line and column.
    #[must_use]
    pub fn warnings(&self) -> Vec<Problem> {
        self.warnings.borrow().iter().cloned().collect()
    }

    /// Whether no mistake was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }
}

/// A value together with its place.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A TOML file, read into memory and parsed.
pub struct Document {
    name: Arc<str>,
    dir: PathBuf,
    text: String,
}

impl Document {
    /// Reads a file. A file that cannot be read is a mistake at its first column.
    pub fn open(path: &Path, problems: &Problems) -> Option<Self> {
        let name: Arc<str> = path.display().to_string().into();
        let text = read_bounded(path).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                format!("cannot be read: byte {at} is not UTF-8")
            })
        });
        match text {
            Ok(text) => Some(Self { name, dir: folder_of(path), text }),
            Err(text) => {
                problems.mistake(&Place { file: name, line: 1, column: 1 }, text);
                None
            }
        }
    }

    /// A document from text at hand, for tests and benches.
    #[must_use]
    pub fn from_text(name: &str, dir: &Path, text: &str) -> Self {
        Self { name: name.into(), dir: dir.to_path_buf(), text: text.to_owned() }
    }

    /// Parses the text and hands its root table to `read`. Syntax errors are mistakes; what
    /// could be parsed in spite of them is read all the same.
    pub fn read<T>(&self, problems: &Problems, read: impl FnOnce(&Table<'_>) -> T) -> T {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        let source = Source { document: self, problems };
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            problems.mistake(&source.place(at), error.message());
        }
        // After a syntax error the parser's guess may lack keys that are there; to call those
        // missing, too, would send the reader after the wrong mistake.
        let muted = Problems::default();
        let source = if errors.is_empty() { source } else { Source { problems: &muted, ..source } };
        let table = Table::new(source, root.get_ref(), 0, String::new());
        let value = read(&table);
        table.finish();
        value
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("is {length} bytes; at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[derive(Clone, Copy)]
struct Source<'d> {
    document: &'d Document,
    problems: &'d Problems,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.document.text.get(..offset).unwrap_or(&self.document.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(start..).map_or(0, |tail| tail.chars().count()) + 1;
        Place { file: Arc::clone(&self.document.name), line, column }
    }
}

/// One table of a [`Document`]. Every key is asked for by name; [`Table::finish`] reports the
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
    fn new(source: Source<'d>, table: &'d DeTable<'d>, offset: usize, name: String) -> Self {
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
                let item = Item { source: self.source, value, name: self.path(key.get_ref()) };
                (Placed { value: key.get_ref().to_string(), place }, item)
            })
            .collect()
    }

    /// The value under a key.
    pub fn item(&self, key: &str) -> Option<Item<'d>> {
        self.asked.borrow_mut().insert(key.to_owned());
        let value = self.table.get(key)?;
        Some(Item { source: self.source, value, name: self.path(key) })
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
                    item.name,
                    show_duration(*bounds.start()),
                    show_duration(*bounds.end())
                ));
                default
            }
            None => {
                item.mistake(format!(
                    "`{}` is not a duration; a number and ms, s, m, h or d, such as \"30s\"",
                    item.name
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
                    item.name,
                    bounds.start(),
                    bounds.end()
                ));
                default
            }
            None => {
                item.mistake(format!(
                    "`{}` is not a size; a number and B, KiB, MiB or GiB, such as \"16MiB\"",
                    item.name
                ));
                default
            }
        }
    }

    /// A share such as `"90%"`, as 0 to 100, or what holds without one.
    pub fn percent(&self, key: &str, default: u8) -> u8 {
        let Some(item) = self.item(key) else { return default };
        let Some(text) = item.text() else { return default };
        let parsed = text.value.strip_suffix('%').and_then(|digits| digits.parse::<u8>().ok());
        match parsed {
            Some(value) if (1..=100).contains(&value) => value,
            _ => {
                item.mistake(format!("`{}` is not a share; from \"1%\" to \"100%\"", item.name));
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

/// One value of a [`Document`].
#[derive(Clone)]
pub struct Item<'d> {
    source: Source<'d>,
    value: &'d Spanned<DeValue<'d>>,
    name: String,
}

impl<'d> Item<'d> {
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

    /// Whether it is a table.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
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
        match self.value.get_ref() {
            DeValue::String(text) => Some(Placed { value: text.to_string(), place: self.place() }),
            DeValue::Table(_) => {
                let secret = self.secret()?;
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
    /// `{ env = "NAME" }`.
    #[must_use]
    pub fn secret(&self) -> Option<Secret> {
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
        match origin.read() {
            Ok(secret) => Some(secret),
            Err(error) => {
                item.mistake(format!("`{}`: {error}", self.name));
                None
            }
        }
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
            let named = |value| Item { source: self.source, value, name: self.name.clone() };
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

/// `; "name" is the nearest` where one of the known names is close, else the list of them.
#[must_use]
pub fn hint(wrong: &str, known: &[&str]) -> String {
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let distance = strsim::damerau_levenshtein(wrong, name);
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    match best {
        Some((distance, name)) if distance <= 2.max(wrong.chars().count() / 3) => {
            format!("; did you mean `{name}`?")
        }
        _ if known.is_empty() => String::new(),
        _ if known.len() <= 24 => format!("; known here: {}", known.join(", ")),
        _ => String::new(),
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str, read: impl FnOnce(&Table<'_>)) -> Vec<String> {
        let problems = Problems::default();
        Document::from_text("x.toml", Path::new("."), text).read(&problems, read);
        problems.mistakes().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_place() {
        let text = "nmae = \"a\"\nwindow = 0\nwait = \"3 days\"\nkind = \"mlpp\"\n";
        let found = problems_of(text, |table| {
            table.required_text("name");
            table.integer("window", 64, 1..=1024);
            table.duration("wait", Duration::ZERO, Duration::ZERO..=Duration::from_secs(60));
            table.choice("kind", &[("mllp", 1), ("file", 2)]);
        });
        assert_eq!(
            found,
            [
                "x.toml:1:1: `name` is missing",
                "x.toml:1:1: `nmae` is not known; did you mean `name`?",
                "x.toml:2:10: `window` is out of bounds; from 1 to 1024",
                "x.toml:3:8: `wait` is not a duration; a number and ms, s, m, h or d, such as \
                 \"30s\"",
                "x.toml:4:8: `kind` is one of mllp, file",
            ]
        );
    }

    #[test]
    fn a_syntax_error_is_reported_alone() {
        let found = problems_of("a = \nb = 1\n", |table| {
            table.required_text("c");
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.iter().all(|line| line.starts_with("x.toml:1:")), "{found:?}");
    }

    #[test]
    fn a_string_from_the_environment_is_never_quoted() {
        let found = problems_of("password = { file = \"/nowhere/at/all\" }\n", |table| {
            table.required_text("password");
        });
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|line| line.contains("/nowhere/at/all")), "{found:?}");
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(parse_duration("90d"), Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "30", "s", "-1s", "1.5s", "30 s", "99999999999999999999s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("16MB"), None);
        assert_eq!(show_duration(Duration::from_secs(86_400)), "1d");
        assert_eq!(show_duration(Duration::from_millis(1_500)), "1500ms");
    }
}
