//! The folder of a daemon: its lock, its keys, the marks that hold store and keys together.
//!
//! Promises: two daemons never use one folder; what is made is durable before it is used; keys
//! are readable by their owner alone.
//! Knows nothing of: what is in the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;
use crate::secret::{self, Key};

/// How often the lock is tried: a command that asks whether a daemon runs holds it for an instant.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// The names of the keys that were made here, one a line.
const MADE_MARK: &str = "made";

/// A folder that this process holds.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the folder where it is not there, and takes it.
    ///
    /// # Errors
    /// It cannot be made or written, or another daemon holds it.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        make_folder(path)?;
        make_folder(&path.join("keys"))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|source| folder(&lock_path, source))?;
        for attempt in 0..LOCK_ATTEMPTS {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { path: path.to_path_buf(), _lock: lock }),
                Err(Errno::WOULDBLOCK) if attempt + 1 < LOCK_ATTEMPTS => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => return Err(folder(&lock_path, error.into())),
            }
        }
        Err(StoreError::Locked { path: path.display().to_string() })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A key of the folder, made at its first use. One that was made once and is gone is not made
    /// anew: what it keyed before would no longer be known.
    ///
    /// # Errors
    /// The file cannot be read or made, is readable by others, is not a key, or is gone.
    pub fn key(&self, name: &str) -> Result<Key, StoreError> {
        let path = key_path(&self.path, name);
        let mut made = self.mark(MADE_MARK)?.unwrap_or_default();
        let known = made.lines().any(|line| line == name);
        if known && !path.exists() {
            return Err(StoreError::MissingKey { path: path.display().to_string() });
        }
        let key = secret::key_file(&path)?;
        if !known {
            if !made.is_empty() {
                made.push('\n');
            }
            made.push_str(name);
            self.set_mark(MADE_MARK, &made)?;
        }
        Ok(key)
    }

    /// A key of the folder that was made: to look things up makes none.
    ///
    /// # Errors
    /// It is not there, cannot be read, is readable by others, or is not a key.
    pub fn key_made(&self, name: &str) -> Result<Key, StoreError> {
        let path = key_path(&self.path, name);
        if !path.exists() {
            return Err(StoreError::MissingKey { path: path.display().to_string() });
        }
        Ok(secret::key_file(&path)?)
    }

    /// Removes a file of the folder, where it is there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn withdraw(&self, name: &str) -> Result<(), StoreError> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(folder(&path, error)),
            _ => Ok(()),
        }
    }

    /// A mark beside the keys, such as the environment.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.path.join("keys").join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(folder(&path, source)),
        }
    }

    /// Sets a mark beside the keys, durably.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_mark(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let path = self.path.join("keys").join(name);
        write_durably(&path, format!("{value}\n").as_bytes())
            .map_err(|source| folder(&path, source))
    }

    /// Writes a file of the folder so that a reader sees the old or the new one, never half.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn publish(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.file(name);
        write_durably(&path, bytes).map_err(|source| folder(&path, source))
    }
}

/// Whether a daemon holds a folder now.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join("lock")) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

/// Looks whether a daemon on a folder can have a key that is kept there: one that was made, or that
/// it can make. Nothing is made, and what cannot be looked at is not told.
///
/// # Errors
/// The file is gone, cannot be read, is readable by others, or is not a key.
pub fn look_at_key(state_dir: &Path, name: &str) -> Result<(), StoreError> {
    let path = key_path(state_dir, name);
    match fs::metadata(&path) {
        Ok(_) => Ok(secret::key_file(&path).map(drop)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::read_to_string(path.with_file_name(MADE_MARK)).unwrap_or_default();
            if made.lines().any(|line| line == name) {
                return Err(StoreError::MissingKey { path: path.display().to_string() });
            }
            Ok(())
        }
        // The folder is closed to who looks.
        Err(_) => Ok(()),
    }
}

/// Where a key of a folder is kept.
#[must_use]
pub fn key_path(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join("keys").join(format!("{name}.key"))
}

/// Writes to a new file, fsyncs it, renames it over the old one, fsyncs the folder.
///
/// # Errors
/// What the operating system said.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    sync_folder(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// Fsyncs a folder, so that a file made or renamed in it is still there after a power cut.
///
/// # Errors
/// What the operating system said.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| folder(path, source))
}

fn folder(path: &Path, source: io::Error) -> StoreError {
    StoreError::Folder { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_by_one_daemon_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::take(dir.path()).unwrap();
        let second = StateDir::take(dir.path()).unwrap_err().to_string();
        assert!(second.contains("in use by another daemon"), "{second}");
        assert!(is_held(dir.path()));
        drop(first);
        assert!(!is_held(dir.path()));
        let again = StateDir::take(dir.path()).unwrap();
        again.set_mark("environment", "test").unwrap();
        assert_eq!(again.mark("environment").unwrap().as_deref(), Some("test"));
        assert_eq!(again.mark("other").unwrap(), None);
    }

    #[test]
    fn a_key_that_was_made_and_is_gone_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::take(dir.path()).unwrap();
        let first = state.key("realm-care").unwrap();
        state.key("realm-care-id").unwrap();
        assert_eq!(state.key("realm-care").unwrap().expose(), first.expose());
        fs::remove_file(key_path(dir.path(), "realm-care")).unwrap();
        let error = state.key("realm-care").unwrap_err().to_string();
        assert!(error.ends_with("keys/realm-care.key is gone; put it back"), "{error}");
        assert!(!key_path(dir.path(), "realm-care").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_one_clear_line() {
        let error = StateDir::take(Path::new("/proc/tidegate")).unwrap_err().to_string();
        assert!(error.starts_with("state_dir /proc/tidegate: "), "{error}");
    }
}
