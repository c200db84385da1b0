//! What is wrong in a file, and where.
//!
//! Promises: each mistake is listed once, in the order of file, line and column, whatever the
//! order in which they were found.
//! Knows nothing of: TOML.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::secret::hex;

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

/// Collects mistakes and warnings over all files of one check, and which files these were.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    mistakes: Rc<RefCell<BTreeSet<Problem>>>,
    warnings: Rc<RefCell<BTreeSet<Problem>>>,
    files: Rc<RefCell<BTreeMap<String, String>>>,
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

    /// Notes a file that is read, by what it holds.
    pub fn note_file(&self, name: &str, bytes: &[u8]) {
        let hash = hex(digest(&SHA256, bytes).as_ref());
        self.files.borrow_mut().insert(name.to_owned(), hash);
    }

    /// The files that were read, as they were named, each with its SHA-256.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, String> {
        self.files.borrow().clone()
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
