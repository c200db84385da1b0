//! Names of fields that are not in the code: those that contracts and sites give.
//!
//! Promises: each is kept once, for as long as the process runs; what is read from a journal adds
//! at most [`READ_MAX`].
//! Knows nothing of: what they name.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::Key;
use crate::event::extension::{EXTENSIONS_MAX, is_name};

/// Most names that are kept in all, where one is read: what sites declare now, and what they
/// declared when the journal was written.
const READ_MAX: usize = 8 * EXTENSIONS_MAX;

static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// A name as a key of trees. For names of the configuration alone, of which there are as many as
/// somebody wrote.
pub fn intern(name: &str) -> Key {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    keep(&mut names, name)
}

/// The name of a field of a site's own as an event of the journal has it. What no site could have
/// declared has none.
pub(super) fn read(name: &str) -> Option<Key> {
    if !is_name(name) {
        return None;
    }
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if names.len() >= READ_MAX && !names.contains(name) {
        return None;
    }
    Some(keep(&mut names, name))
}

fn keep(names: &mut BTreeSet<&'static str>, name: &str) -> Key {
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        assert!(std::ptr::eq(intern("arrivedBy"), intern("arrivedBy")));
        assert!(std::ptr::eq(intern("arrivedBy"), read("arrivedBy").unwrap()));
        assert_eq!(read("not a name"), None);
    }
}
