//! A file of lines, one event each.
//!
//! Promises: what is confirmed has been fsynced; an event stands in the file exactly once,
//! whatever crashes: what was written behind the cursor is found again on open; a half-written
//! line is cut off.
//! Knows nothing of: who reads the file. A reader that follows it sees whole lines only after
//! they are durable, but for the last moment before a crash.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::queue::EVENTS_MAX;
use super::sink::{Settled, SinkError, Ticket};
use crate::fence::Entered;
use crate::store::Position;
use crate::store::state::sync_folder;

/// Longest line that is read back; an event has at most 64 MiB of text.
const LINE_BYTES_MAX: u64 = 512 << 20;

/// Most bytes of room that are kept for what is written at once: a window of usual events.
const LINES_BYTES_KEPT: usize = 1 << 20;

/// Appends lines to a file.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    rotate: u64,
    file: Option<File>,
    length: u64,
    /// IDs that stand in the file, and that the cursor has not passed.
    written: HashSet<String>,
    pending: Vec<(Entered, Ticket)>,
    /// Room for what is written at once.
    lines: Vec<u8>,
    /// Where the file is durable to, while what stands behind may be in memory only: an fsync
    /// that failed once says nothing the second time.
    distrusted: Option<u64>,
}

/// The two fields of a line that are looked at.
#[derive(Deserialize)]
struct Line {
    id: String,
    sequence: String,
}

impl FileSink {
    /// A sink for a file; a new one is begun where that has grown to `rotate` bytes.
    #[must_use]
    pub fn new(path: PathBuf, rotate: u64) -> Self {
        Self {
            path,
            rotate,
            file: None,
            length: 0,
            written: HashSet::new(),
            pending: Vec::new(),
            lines: Vec::new(),
            distrusted: None,
        }
    }

    /// Opens the file, cuts a half-written line off, and finds what was written behind the
    /// cursor.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open(&mut self, position: Position) -> Result<(), SinkError> {
        let fail = |source| SinkError::File { path: self.path.display().to_string(), source };
        let opened = open(&self.path, self.distrusted).map_err(fail)?;
        self.distrusted = None;
        // Events of different subjects may overtake each other by as many as are in memory.
        let reach = u64::try_from(2 * EVENTS_MAX).unwrap_or(u64::MAX);
        let behind = position.sequence.saturating_sub(reach);
        let mut written = HashSet::new();
        read_ids(&self.path, behind, &mut written).map_err(fail)?;
        // The newest first, until one holds nothing behind the cursor.
        for (_, path) in rotated(&self.path).map_err(fail)?.into_iter().rev() {
            let known = written.len();
            read_ids(&path, behind, &mut written).map_err(fail)?;
            if written.len() == known {
                break;
            }
        }
        let (file, length) = opened;
        self.file = Some(file);
        self.length = length;
        self.written = written;
        self.pending.clear();
        Ok(())
    }

    /// Hands a release over; it is written by the next [`FileSink::settle`].
    pub fn send(&mut self, entered: Entered, ticket: Ticket) {
        self.pending.push((entered, ticket));
    }

    /// Whether nothing was handed over.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Writes what was handed over, and fsyncs it.
    ///
    /// # Errors
    /// It cannot be written. The file must be opened again, which cuts off what is half there.
    pub fn settle(&mut self) -> Result<Vec<(Ticket, Settled)>, SinkError> {
        let pending = std::mem::take(&mut self.pending);
        let bytes = pending.iter().map(|(entered, _)| entered.release().body().len() + 1).sum();
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        lines.reserve(bytes);
        let mut settled = Vec::with_capacity(pending.len());
        for (entered, ticket) in &pending {
            let release = entered.release();
            if self.written.remove(release.id()) {
                settled.push((*ticket, Settled::Already));
                continue;
            }
            lines.extend_from_slice(release.body());
            lines.push(b'\n');
            settled.push((*ticket, Settled::Delivered));
        }
        if !lines.is_empty() {
            self.append(&lines).map_err(|source| {
                self.file = None;
                SinkError::File { path: self.path.display().to_string(), source }
            })?;
        }
        // Kept for the next, but for one that a few huge events made.
        if lines.capacity() <= LINES_BYTES_KEPT {
            self.lines = lines;
        }
        Ok(settled)
    }

    /// Closes the file.
    pub fn close(&mut self) {
        self.file = None;
        self.pending.clear();
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length.saturating_add(lines.len() as u64) > self.rotate {
            self.rotate()?;
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        still_there(file, &self.path)?;
        self.distrusted = Some(self.length);
        file.write_all(lines)?;
        // PROMISE-1: the cursor passes what is durable, nothing else.
        file.sync_data()?;
        self.distrusted = None;
        self.length = self.length.saturating_add(lines.len() as u64);
        Ok(())
    }

    /// Renames the file to the next number and begins a new one. Old files are the reader's to
    /// remove.
    fn rotate(&mut self) -> io::Result<()> {
        let next = rotated(&self.path)?.last().map_or(1, |(number, _)| number + 1);
        self.file = None;
        fs::rename(&self.path, numbered(&self.path, next))?;
        let (file, length) = open(&self.path, None)?;
        self.file = Some(file);
        self.length = length;
        Ok(())
    }
}

/// Opens or makes a file, durably, and cuts off what stands behind its last line end, or behind
/// what is durable of it.
fn open(path: &Path, durable: Option<u64>) -> io::Result<(File, u64)> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    make_folder(folder)?;
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o640)
        .open(path)?;
    if let Some(durable) = durable {
        let found = file.metadata()?.len();
        file.set_len(durable.min(found))?;
    }
    let length = end_of_last_line(&mut file)?;
    refuse_foreign(&mut file, length)?;
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    file.sync_all()?;
    sync_folder(folder)?;
    Ok((file, length))
}

/// Makes a folder and those above it, each durably.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or_else(|| Path::new("."));
    make_folder(above)?;
    fs::create_dir(folder)?;
    sync_folder(above)
}

/// A file that was removed or renamed takes lines that nobody would find.
fn still_there(file: &File, path: &Path) -> io::Result<()> {
    let (ours, theirs) = (file.metadata()?, fs::metadata(path)?);
    if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "it was replaced by another file"))
    }
}

/// What is cut off must be the beginning of an event, or it is somebody else's.
fn refuse_foreign(file: &mut File, start: u64) -> io::Result<()> {
    const HEAD: &[u8] = b"{\"specversion\":\"1.0\",";
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    Read::take(&mut *file, HEAD.len() as u64).read_to_end(&mut tail)?;
    if HEAD.starts_with(&tail) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its last line is not an event of tidegate's",
        ))
    }
}

/// The position behind the last line end.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::take(&mut *file, end - start).read_to_end(&mut block)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The IDs of a file's lines with sequences above one.
fn read_ids(path: &Path, behind: u64, ids: &mut HashSet<String>) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let parsed: Line = serde_json::from_slice(&line).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "a line is not an event of tidegate's")
        })?;
        if parsed.sequence.parse::<u64>().is_ok_and(|sequence| sequence > behind) {
            ids.insert(parsed.id);
        }
    }
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    path.with_file_name(name)
}

/// The rotated files, by their numbers.
fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(&prefix).and_then(|number| number.parse::<u64>().ok());
        found.extend(number.map(|number| (number, numbered(path, number))));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_line_is_cut_off_and_ids_behind_the_cursor_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out/r.ndjson");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let line =
            |id: &str, sequence: u64| format!("{{\"id\":\"{id}\",\"sequence\":\"{sequence}\"}}\n");
        let before = u64::try_from(2 * EVENTS_MAX).unwrap();
        let rotated = [
            // Not looked at: the one after it holds nothing behind the cursor.
            line("y", before + 9),
            line("a", 1),
            line("z", before),
            line("b", before + 2),
        ];
        for (number, lines) in (1..).zip(rotated) {
            fs::write(numbered(&path, number), lines).unwrap();
        }
        fs::write(&path, line("c", before + 3) + "{\"specversion\":\"1.0\",\"ty").unwrap();
        let mut sink = FileSink::new(path.clone(), 1 << 20);
        sink.open(Position { number: 9, sequence: before + 1 }).unwrap();
        assert_eq!(sink.written, ["b", "c", "z"].map(String::from).into());
        assert_eq!(fs::read_to_string(&path).unwrap(), line("c", before + 3));
        assert_eq!(sink.length, line("c", before + 3).len() as u64);
    }

    /// PROMISE-1
    #[test]
    fn what_an_fsync_did_not_confirm_is_cut_off_and_not_taken_for_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.ndjson");
        let line = |id: &str| format!("{{\"id\":\"{id}\",\"sequence\":\"9\"}}\n");
        fs::write(&path, line("a") + &line("b")).unwrap();
        let mut sink = FileSink::new(path.clone(), 1 << 20);
        sink.distrusted = Some(line("a").len() as u64);
        sink.open(Position::default()).unwrap();
        assert_eq!(sink.written, ["a"].map(String::from).into());
        assert_eq!(fs::read_to_string(&path).unwrap(), line("a"));
        assert_eq!(sink.distrusted, None);
    }

    #[test]
    fn a_file_without_a_line_end_is_cut_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.ndjson");
        fs::write(&path, format!("{{\"specversion\":\"1.0\",{}", "x".repeat(200_000))).unwrap();
        let mut sink = FileSink::new(path.clone(), 1 << 20);
        sink.open(Position::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.ndjson");
        for notes in ["notes of mine\n", "notes of mine", "{}\nnotes"] {
            fs::write(&path, notes).unwrap();
            let error = FileSink::new(path.clone(), 1).open(Position::default()).unwrap_err();
            assert!(error.to_string().contains("not an event of tidegate's"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), notes);
        }
    }
}
