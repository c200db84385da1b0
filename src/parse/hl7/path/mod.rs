//! How a mapping names a value: `PID-3[2].4.2`, `OBX[*]-5`, `PID-3[?4.1=MRN].1`.
//!
//! Promises: everything counts from 1, as the standard does; a path that cannot be is refused
//! when it is read, not when a message comes; what a path resolves to says where it was found.
//! Knows nothing of: the data types behind it.
//!
//! Reading order: what a path is, here; `read` (from what an analyst wrote), `scope` (the part
//! of a message that it is looked up in), `resolve` (what it finds there).

mod read;
mod scope;
mod resolve;

use std::fmt;

pub use resolve::Hit;
pub use scope::{FieldSpot, Scope};

/// Which of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Not said: the first where one value is wanted, every one where a list is.
    Unsaid,
    One(u16),
    Every,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repetition {
    Which(Which),
    /// `?4.1=MRN`: those whose component has that text.
    Where {
        component: u16,
        subcomponent: u16,
        text: Box<str>,
    },
}

/// A path, read and checked. It is small: a mapping has a hundred of them, which are all looked at
/// for each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    segment: Box<str>,
    packed: u32,
    occurrence: Which,
    field: u16,
    repetition: Repetition,
    component: u16,
    subcomponent: u16,
}

/// Highest field, component, subcomponent or repetition that a path may name. The longest
/// segment of 2.9 has 73 fields.
const NUMBER_MAX: u16 = 999;

impl Path {
    /// The segment it names.
    #[must_use]
    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// The field it names; 0 where it names whole segments.
    #[must_use]
    pub const fn field(&self) -> usize {
        self.field as usize
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.segment)?;
        write_which(out, self.occurrence)?;
        if self.field == 0 {
            return Ok(());
        }
        write!(out, "-{}", self.field)?;
        match &self.repetition {
            Repetition::Which(which) => write_which(out, *which)?,
            Repetition::Where { component, subcomponent, text } => {
                write!(out, "[?{component}.{subcomponent}={text}]")?;
            }
        }
        for number in [self.component, self.subcomponent] {
            if number > 0 {
                write!(out, ".{number}")?;
            }
        }
        Ok(())
    }
}

fn write_which(out: &mut fmt::Formatter<'_>, which: Which) -> fmt::Result {
    match which {
        Which::Unsaid => Ok(()),
        Which::One(number) => write!(out, "[{number}]"),
        Which::Every => out.write_str("[*]"),
    }
}
