//! How a mapping names a value: `Patient.identifier.where(system='urn:x').value`,
//! `Observation.value.ofType(Quantity).value`, `name[0].given`.
//!
//! A subset of FHIRPath 2.0: elements, `[n]`, `first()`, `where()` of equalities, `ofType()`,
//! `extension()`. Lists within lists become one list, and numbers count in that, from 0, as FHIRPath has it:
//! `Patient.name.given[0]` is the first of all given names of all names.
//!
//! Promises: a path that cannot be, or names an element that its type does not have, is refused when
//! it is read, with its column and what could stand there.
//! Knows nothing of: what a mapping does with a value.
//!
//! Reading order: what a path is, here; `read` (from what an analyst wrote), `shape` (which types stand
//! where), `resolve` (what it finds).

mod read;
mod resolve;
mod shape;

use std::fmt;

use shape::Shape;

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Most steps of a path.
pub const STEPS_MAX: usize = 64;

/// A path, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: Box<str>,
    /// The resource type that it begins with; nothing where it begins at an element.
    kind: Option<Box<str>>,
    steps: Box<[Step]>,
    /// The types of what it names.
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Members of an object: one, or those of a choice.
    Members(Box<[Box<str>]>),
    /// The ID and the extensions of a primitive.
    Twin,
    Number(usize),
    First,
    /// Those for which all of this is so.
    Where(Box<[Condition]>),
    Extension(Box<str>),
}

/// A path has a text among its values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    steps: Box<[Step]>,
    text: Box<str>,
}

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {text}")]
pub struct WrongPath {
    /// The character where it is wrong, from 1.
    pub column: usize,
    /// What is wrong, and what could stand there.
    pub text: String,
}

impl Path {
    /// The resource type that it begins with; nothing where it begins at an element.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The members of where it begins that it may look at: `name`; of a choice several. None where it
    /// names where it begins itself.
    #[must_use]
    pub fn keys(&self) -> &[Box<str>] {
        match self.steps.first() {
            Some(Step::Members(names)) => names,
            _ => &[],
        }
    }

    /// The types of what it names: `HumanName`, `dateTime`; several where releases differ or
    /// an element has a choice.
    pub fn types(&self) -> impl Iterator<Item = &'static str> {
        self.shape.types()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}
