//! The folder of a daemon: its lock, its keys, the marks that hold store and keys together.
//!
//! Promises: two daemons never use one folder; what is made is durable before it is used; keys
//! are readable by their owner alone.
//! Knows nothing of: what is in the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;
use crate::secret::{self, Key};

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
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            return Err(if error == rustix::io::Errno::WOULDBLOCK {
                StoreError::Locked { path: path.display().to_string() }
            } else {
                folder(&lock_path, error.into())
            });
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
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

    /// A key of the folder, made where it is not there.
    ///
    /// # Errors
    /// The file cannot be read or made, is readable by others, or is not a key.
    pub fn key(&self, name: &str) -> Result<Key, StoreError> {
        Ok(secret::key_file(&key_path(&self.path, name))?)
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
        drop(first);
        let again = StateDir::take(dir.path()).unwrap();
        again.set_mark("environment", "test").unwrap();
        assert_eq!(again.mark("environment").unwrap().as_deref(), Some("test"));
        assert_eq!(again.mark("other").unwrap(), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_one_clear_line() {
        let error = StateDir::take(Path::new("/proc/tidegate")).unwrap_err().to_string();
        assert!(error.starts_with("state_dir /proc/tidegate: "), "{error}");
    }
}
