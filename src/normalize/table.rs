//! Code tables: `source,code` rows that an analyst can edit in a spreadsheet.
//!
//! Promises: a source code has one meaning; what is not in a table is not guessed.
//! Knows nothing of: which rules use it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::document::{Place, Problems, hint};

/// Most rows of one table. A hospital's full list of local laboratory codes has some tens of
/// thousands.
const ROWS_MAX: usize = 200_000;

/// One table.
#[derive(Debug)]
pub struct Table {
    /// Sorted by source.
    rows: Vec<(Box<str>, Box<str>)>,
    /// For each source of one ASCII letter, as most of HL7's are, its row, or none.
    letters: [Option<u32>; 128],
}

impl Table {
    /// What a source code means.
    #[must_use]
    pub fn get(&self, source: &str) -> Option<&str> {
        let source = source.trim_ascii();
        let at = match source.as_bytes() {
            [letter] => (*self.letters.get(usize::from(*letter))?)? as usize,
            _ => self.rows.binary_search_by(|(known, _)| known.as_ref().cmp(source)).ok()?,
        };
        self.rows.get(at).map(|(_, code)| code.as_ref())
    }

    /// Its rows, source and code, in the order of the sources.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|(source, code)| (source.as_ref(), code.as_ref()))
    }

    fn of(rows: BTreeMap<String, String>) -> Self {
        let mut letters = [None; 128];
        for (index, source) in (0..).zip(rows.keys()) {
            if let [letter] = source.as_bytes()
                && let Some(slot) = letters.get_mut(usize::from(*letter))
            {
                *slot = Some(index);
            }
        }
        let boxed = |(source, code): (String, String)| (source.into(), code.into());
        Self { rows: rows.into_iter().map(boxed).collect(), letters }
    }

    /// Reads `source,code` rows; further columns are for the reader.
    /// Over another table its rows stand in for those of the same source code; one without a code
    /// takes the other's away.
    fn read(path: &Path, over: Option<&Self>, problems: &Problems) -> Self {
        let file: Arc<str> = path.display().to_string().into();
        let place = |line: u64| Place {
            file: Arc::clone(&file),
            line: usize::try_from(line).unwrap_or(usize::MAX),
            column: 1,
        };
        let mut rows = BTreeMap::new();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                problems.mistake(&place(1), format!("cannot be read: {error}"));
                return Self::of(rows);
            }
        };
        problems.note_file(&file, &bytes);
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(bytes.as_slice());
        let columns = match reader.headers() {
            Ok(headers) => {
                let column = |name| headers.iter().position(|header| header == name);
                column("source").zip(column("code"))
            }
            Err(error) => {
                problems.mistake(&place(1), format!("cannot be read: {error}"));
                return Self::of(rows);
            }
        };
        let Some((source, code)) = columns else {
            problems.mistake(
                &place(1),
                "the first row names the columns; `source` and `code` are wanted",
            );
            return Self::of(rows);
        };
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    let line = error.position().map_or(1, csv::Position::line);
                    problems.mistake(&place(line), "the row has not as many columns as the first");
                    continue;
                }
            };
            let line = record.position().map_or(1, csv::Position::line);
            let (Some(source), Some(code)) = (record.get(source), record.get(code)) else {
                continue;
            };
            if source.is_empty() {
                problems.mistake(&place(line), "the source code is empty");
            } else if rows.insert(source.to_owned(), code.to_owned()).is_some() {
                problems.mistake(&place(line), format!("`{source}` stands here a second time"));
            }
            if rows.len() > ROWS_MAX {
                problems.mistake(&place(line), format!("more than {ROWS_MAX} rows"));
                break;
            }
        }
        for (source, code) in over.iter().flat_map(|table| table.rows()) {
            rows.entry(source.to_owned()).or_insert_with(|| code.to_owned());
        }
        // A row without a code says that there is none: the sender's code is kept beside it.
        rows.retain(|_, code| !code.is_empty());
        Self::of(rows)
    }
}

/// The tables of one folder, each read once when a rule first names it; of a site's folder, over
/// those of all.
pub struct Tables<'p> {
    dir: std::path::PathBuf,
    read: HashMap<String, Arc<Table>>,
    /// Those that this folder's stand over; none where there are no such.
    beneath: HashMap<String, Arc<Table>>,
    problems: &'p Problems,
}

impl std::fmt::Debug for Tables<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Tables({})", self.dir.display())
    }
}

impl<'p> Tables<'p> {
    /// Those of a folder. Mistakes go to `problems`.
    #[must_use]
    pub fn new(dir: &Path, problems: &'p Problems) -> Self {
        let (read, beneath) = (HashMap::new(), HashMap::new());
        Self { dir: dir.to_path_buf(), read, beneath, problems }
    }

    /// Those of a site's folder over these, which all have been read: where both have a table of a
    /// name, the site's rows count before the others. There may be no such folder.
    #[must_use]
    pub fn with(&self, dir: &Path) -> Self {
        Self { beneath: self.read.clone(), ..Self::new(dir, self.problems) }
    }

    /// A table by the name of its file, without `.csv`.
    pub fn get(&mut self, name: &str, place: &Place) -> Option<Arc<Table>> {
        if let Some(table) = self.read.get(name) {
            return Some(Arc::clone(table));
        }
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let path = self.dir.join(format!("{name}.csv"));
        if plain
            && !path.is_file()
            && let Some(table) = self.beneath.get(name)
        {
            return Some(Arc::clone(table));
        }
        if !plain || !path.is_file() {
            let known = self.names();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            self.problems
                .mistake(place, format!("there is no table `{name}`{}", hint(name, &known)));
            return None;
        }
        let over = self.beneath.get(name).map(Arc::as_ref);
        let table = Arc::new(Table::read(&path, over, self.problems));
        self.read.insert(name.to_owned(), Arc::clone(&table));
        Some(table)
    }

    /// Reads every table of the folder, so that a mistake in one that no rule names is found.
    pub fn read_all(&mut self) {
        let place = Place { file: self.dir.display().to_string().into(), line: 1, column: 1 };
        for name in self.own_names() {
            self.get(&name, &place);
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.own_names();
        names.extend(self.beneath.keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    fn own_names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                Some(name.strip_suffix(".csv")?.to_owned())
            })
            .collect();
        names.sort();
        names
    }
}
