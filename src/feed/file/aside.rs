//! Where a file goes when it is taken.
//!
//! Promises: no file is written over; what is beside a file is there before the file is; a crash
//! in between is repaired by doing it again.
//! Knows nothing of: what is in a file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::take::Report;

/// The folders within the one that is watched.
pub const DONE: &str = ".done";
/// Files of which something was refused, with the reason beside.
pub const FAILED: &str = ".failed";
/// Answers that are being written.
const WORK: &str = ".answering";
/// How many files of one name are kept apart by a number behind it. More of them in one folder
/// are nobody's to count.
const SAME_NAME_MAX: u32 = 10_000;

/// The folders that files are moved to, made where they are not there.
#[derive(Clone, Debug)]
pub struct Folders {
    dir: PathBuf,
}

/// What becomes of a file.
#[derive(Clone, Debug)]
pub struct Aside {
    /// Why it is not done; none where it is.
    reason: Option<String>,
    /// Whether an answer was written.
    answered: bool,
}

impl Aside {
    /// By what came of its messages.
    #[must_use]
    pub fn of(report: Report) -> Self {
        Self { answered: report.answered, reason: report.reason() }
    }

    /// The word for it, in metrics.
    #[must_use]
    pub const fn result(&self) -> &'static str {
        if self.reason.is_some() { "failed" } else { "done" }
    }
}

impl Folders {
    /// Looks that all are there.
    ///
    /// # Errors
    /// The folder is not there, or cannot be written to.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        for folder in [DONE, FAILED, WORK] {
            match std::fs::create_dir(dir.join(folder)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where a file is that waits.
    #[must_use]
    pub fn waiting(&self, name: &OsStr) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the answer to a file is written.
    #[must_use]
    pub fn answer(&self, name: &OsStr) -> PathBuf {
        self.dir.join(WORK).join(name)
    }

    /// Moves a file where it belongs, with what is beside it.
    ///
    /// # Errors
    /// It cannot be done. It may be tried again.
    pub fn put(&self, name: &OsStr, aside: &Aside) -> std::io::Result<()> {
        let folder = self.dir.join(if aside.reason.is_some() { FAILED } else { DONE });
        for number in 1..=SAME_NAME_MAX {
            let mut target = name.to_owned();
            if number > 1 {
                target.push(format!(".{number}"));
            }
            let path = folder.join(&target);
            if path.symlink_metadata().is_ok() {
                continue;
            }
            if let Some(reason) = &aside.reason {
                let mut file = File::create(folder.join(beside(&target, ".reason")))?;
                file.write_all(reason.as_bytes())?;
            }
            let answer = self.answer(name);
            if aside.answered && answer.exists() {
                std::fs::rename(answer, folder.join(beside(&target, ".ack")))?;
            }
            match rename_to_new(&self.waiting(name), &path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }
        Err(Error::from(ErrorKind::AlreadyExists))
    }
}

fn beside(name: &OsStr, end: &str) -> OsString {
    let mut beside = name.to_owned();
    beside.push(end);
    beside
}

fn rename_to_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that does not know the flag, such as NFS: it was looked before that there is
        // none of the name, and nobody else writes there.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(from, to),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_do_not_replace_each_other_and_have_their_reasons_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::open(folder.path()).unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        for (content, reason) in [("one", None), ("two", None), ("three", Some("why".to_owned()))] {
            std::fs::write(folder.path().join("a.hl7"), content).unwrap();
            std::fs::write(folders.answer("a.hl7".as_ref()), format!("answer to {content}"))
                .unwrap();
            folders.put("a.hl7".as_ref(), &Aside { reason, answered: true }).unwrap();
        }
        assert_eq!(text(".done/a.hl7"), "one");
        assert_eq!(text(".done/a.hl7.ack"), "answer to one");
        assert_eq!(text(".done/a.hl7.2"), "two");
        assert_eq!(text(".done/a.hl7.2.ack"), "answer to two");
        assert_eq!(text(".failed/a.hl7"), "three");
        assert_eq!(text(".failed/a.hl7.reason"), "why");
        assert!(!folder.path().join("a.hl7").exists());
        // What cannot be done says so.
        assert!(folders.put("gone".as_ref(), &Aside { reason: None, answered: false }).is_err());
        assert!(Folders::open(&folder.path().join("no/such")).is_err());
    }
}
