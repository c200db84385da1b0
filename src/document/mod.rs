//! Reads a TOML file so that every mistake in it is found in one pass, each with its place.
//!
//! Promises: a key that nobody asked for is a mistake, with the nearest name that would have
//! been right; reading goes on after a mistake, so that one run reports them all; what a
//! message quotes is a key or a choice, never the value of a string (it may be a secret).
//! Knows nothing of: what the keys mean. Each room reads its own tables.
//!
//! serde with `deny_unknown_fields` stops at the first mistake and loses the place of a value
//! that is of the right type but wrong; an analyst with six typing errors would need six runs.
//!
//! Reading order: the document itself, here; `table` (its keys), `item` (a value), `unit`
//! (durations, sizes, shares), `problem` (what is wrong, and where), `hint` (the nearest right
//! name).

mod table;
mod item;
mod unit;
mod problem;
mod hint;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

pub use hint::hint;
pub use item::Item;
pub use problem::{Place, Placed, Problem, Problems};
pub use table::Table;

/// Largest configuration, contract or mapping file, in bytes. The largest shipped one is 12 KiB.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

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
            problems.note_file(&name, &bytes);
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

    /// A document from text at hand: of a test, of another revision.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
                "x.toml:3:8: `wait` is not a duration; a number and ms, s, m, h, d or y, such as \
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
}
