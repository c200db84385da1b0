//! The file of checkpoints: one line each, the newest last.
//!
//! Promises: a line is durable before anyone hears of it; half a line that a crash left is not
//! read; the file is bounded.
//! Knows nothing of: who else keeps them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::super::state::{sync_folder, write_durably};
use crate::audit::Checkpoint;

/// Bytes above which the older half is dropped: a week at one a minute. A checkpoint holds all
/// that an earlier one did, so that nothing is lost with those.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Longest line. A checkpoint is below 600 bytes.
pub(super) const LINE_BYTES_MAX: u64 = 4 << 10;

/// The file, open to be appended to.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    length: u64,
    /// A line may stand there in part, since writing it failed.
    torn: bool,
}

impl Lines {
    /// Opens or makes it; gives the newest line. Half a line at its end is cut off.
    pub fn open(path: &Path) -> Result<(Self, Option<String>), StoreError> {
        let fail = |source| folder(path, source);
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(fail)?;
        if is_new {
            sync_folder(path.parent().unwrap_or(Path::new("."))).map_err(fail)?;
        }
        let (length, newest) = tail(&mut file).map_err(fail)?;
        let mut lines = Self { path: path.to_path_buf(), file, length, torn: true };
        lines.mend().map_err(fail)?;
        Ok((lines, newest))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line.
    pub fn append(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.mend()?;
        let line = format!("{}\n", checkpoint.line());
        self.torn = true;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(line.as_bytes())?;
        self.file.sync_all()?;
        self.torn = false;
        self.length += line.len() as u64;
        if self.length > FILE_BYTES_MAX { self.halve() } else { Ok(()) }
    }

    /// Cuts off what stands behind the last whole line.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }

    fn halve(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(self.length / 2))?;
        (&self.file).take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        let cut = text.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let kept = text.get(cut..).unwrap_or_default();
        write_durably(&self.path, kept)?;
        self.file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        self.length = kept.len() as u64;
        Ok(())
    }
}

/// How long the file is up to its last line end, and the line before that.
fn tail(file: &mut File) -> io::Result<(u64, Option<String>)> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(2 * LINE_BYTES_MAX).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok((0, None)) };
    let whole = bytes.get(..end).unwrap_or_default();
    let begin = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = String::from_utf8_lossy(whole.get(begin..).unwrap_or_default()).into_owned();
    Ok((from + end as u64 + 1, Some(line)))
}

pub(super) fn folder(path: &Path, source: io::Error) -> StoreError {
    StoreError::Folder { path: path.display().to_string(), source }
}
