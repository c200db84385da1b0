//! A wall clock that a test sets; the monotonic clock goes on.

use std::path::PathBuf;
use std::process::Command;

use super::daemon::{Daemon, Setup, TIDEGATE};

/// The wall clock of one daemon.
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right so far.
    pub fn new(setup: &Setup) -> Self {
        let folders = std::fs::read_dir("/usr/lib").unwrap();
        let library = folders
            .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists());
        let library = library.expect("these tests need Debian's faketime; `make test` installs it");
        let clock = Self { file: setup.dir.path().join("clock"), library };
        clock.set("+0");
        clock
    }

    /// Sets it so far ahead of the real one, such as `-1h`, or `+1d`.
    pub fn set(&self, offset: &str) {
        let partial = self.file.with_extension("partial");
        std::fs::write(&partial, format!("{offset}\n")).unwrap();
        std::fs::rename(&partial, &self.file).unwrap();
    }

    /// A clock that is wrong by so much from the start.
    pub fn at(setup: &Setup, offset: &str) -> Self {
        let clock = Self::new(setup);
        clock.set(offset);
        clock
    }

    /// Starts a daemon by it.
    pub fn start(&self, setup: &Setup) -> Daemon {
        let mut command = Command::new(TIDEGATE);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        setup.start_with(&mut command)
    }
}
