//! Which files of a folder are whole.
//!
//! Promises: a file that is still written to is not taken, nor is any behind it in the order of
//! names; how many files are looked at has a bound; links, folders and what is no file are left
//! alone.
//! Knows nothing of: what is in a file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// Most files that are known at a time, the first by name. Those behind come when these are gone.
const FILES_MAX: usize = 100_000;
/// Ends of names that programs give a file while they write it.
const UNFINISHED: [&[u8]; 7] =
    [b".tmp", b".temp", b".part", b".partial", b".filepart", b".crdownload", b"~"];

/// What shows that a file has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    bytes: u64,
    modified: (i64, i64),
    inode: (u64, u64),
}

impl Mark {
    /// The mark of a file.
    #[must_use]
    pub fn of(found: &Metadata) -> Self {
        Self {
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            inode: (found.dev(), found.ino()),
        }
    }
}

/// A file that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its name in the folder.
    pub name: OsString,
    /// As it was when it was found whole.
    pub mark: Mark,
}

/// Looks at a folder again and again.
#[derive(Debug)]
pub struct Look {
    dir: PathBuf,
    settle: Duration,
    /// Each file as it was first seen so, and when.
    seen: BTreeMap<OsString, (Mark, Duration)>,
}

impl Look {
    /// Nothing is seen yet.
    #[must_use]
    pub const fn new(dir: PathBuf, settle: Duration) -> Self {
        Self { dir, settle, seen: BTreeMap::new() }
    }

    /// The files that are whole by now, in the order of their names, up to the first that is not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn look(&mut self, now: Duration) -> std::io::Result<Vec<Ready>> {
        let mut seen = BTreeMap::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if !is_candidate(&name) {
                continue;
            }
            // A file that is gone by now is no file. A link is none, wherever it leads.
            let Ok(found) = entry.metadata() else { continue };
            if !found.is_file() {
                continue;
            }
            let mark = Mark::of(&found);
            let since = match self.seen.get(&name) {
                Some((before, since)) if *before == mark => *since,
                _ => now,
            };
            seen.insert(name, (mark, since));
            if seen.len() > FILES_MAX {
                seen.pop_last();
            }
        }
        self.seen = seen;
        let whole = self
            .seen
            .iter()
            .take_while(|(_, (_, since))| now.saturating_sub(*since) >= self.settle);
        Ok(whole.map(|(name, (mark, _))| Ready { name: name.clone(), mark: *mark }).collect())
    }

    /// How many files are there.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.seen.len()
    }

    /// How a file was when it was last looked at.
    #[must_use]
    pub fn mark(&self, name: &OsStr) -> Option<Mark> {
        self.seen.get(name).map(|(mark, _)| *mark)
    }

    /// A file is no longer what it was: it has to settle again.
    pub fn forget(&mut self, name: &OsStr) {
        self.seen.remove(name);
    }
}

fn is_candidate(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !name.starts_with(b".")
        && !UNFINISHED.iter().any(|end| name.to_ascii_lowercase().ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ready: &[Ready]) -> Vec<&str> {
        ready.iter().map(|file| file.name.to_str().unwrap()).collect()
    }

    #[test]
    fn a_file_is_whole_when_it_has_not_changed_and_holds_back_those_behind_it_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let at = Duration::from_secs;
        let mut look = Look::new(folder.path().to_owned(), at(5));
        write("b", "1");
        write("c", "1");
        for left_alone in [".hidden", "a.tmp", "a.PART", "a~", "a.filepart"] {
            write(left_alone, "1");
        }
        std::fs::create_dir(folder.path().join("a-folder")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a-link")).unwrap();
        assert!(names(&look.look(at(10)).unwrap()).is_empty());
        assert!(names(&look.look(at(14)).unwrap()).is_empty());
        assert_eq!(names(&look.look(at(15)).unwrap()), ["b", "c"]);
        // One that grows holds back what is behind it, and not what is before it.
        write("b", "12");
        assert!(names(&look.look(at(16)).unwrap()).is_empty());
        write("a", "1");
        look.look(at(17)).unwrap();
        assert_eq!(names(&look.look(at(21)).unwrap()), Vec::<&str>::new());
        assert_eq!(names(&look.look(at(22)).unwrap()), ["a", "b", "c"]);
        assert_eq!(look.waiting(), 3);
        std::fs::remove_file(folder.path().join("a")).unwrap();
        assert_eq!(names(&look.look(at(23)).unwrap()), ["b", "c"]);
    }

    #[test]
    fn without_a_time_to_settle_a_file_is_whole_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        let mut look = Look::new(folder.path().to_owned(), Duration::ZERO);
        assert_eq!(names(&look.look(Duration::ZERO).unwrap()), ["a"]);
        assert!(Look::new("/no/such/folder".into(), Duration::ZERO).look(Duration::ZERO).is_err());
    }
}
