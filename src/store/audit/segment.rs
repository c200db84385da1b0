//! A segment: records that were moved out of audit.db into a file of their own.
//!
//! Promises: a file is the chain between two hashes, and its last line is a signed checkpoint of
//! its end, so that it can be verified alone; a file that is not whole is never taken for one.
//! Knows nothing of: when records are moved.
//!
//! The first line is a [`Header`], each further one a record as it was written, the last one a
//! [`Checkpoint`].

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::super::StoreError;
use super::super::state::sync_folder;
use crate::audit::{Checkpoint, Hash, Record, Verifier, chain};
use crate::secret::{hex, unhex};

/// The folder within state_dir.
pub const FOLDER: &str = "audit-archive";
/// Longest line of a segment. A record is about 1 KiB; an act names each field of a contract.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A row of `segments`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of its first record.
    pub first: u64,
    /// Number of its last record.
    pub last: u64,
    /// The chain's hash before it.
    pub hash_before: Hash,
    /// The chain's hash at its end.
    pub hash_after: Hash,
    /// SHA-256 of the file.
    pub sha256: Hash,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The chain's ID.
    pub chain: String,
    /// Number of the first record.
    pub first: u64,
    /// The chain's hash before it.
    #[serde(rename = "hashBefore")]
    pub hash_before: String,
}

impl Segment {
    /// The name of its file.
    #[must_use]
    pub fn name(&self) -> String {
        format!("audit-{}-{}.ndjson", self.first, self.last)
    }

    /// Its row as text, for the hash over all of them.
    fn line(&self) -> String {
        let (first, last) = (self.first, self.last);
        let [before, after, sha256] =
            [self.hash_before, self.hash_after, self.sha256].map(|hash| hex(&hash));
        format!("{first} {last} {before} {after} {sha256}\n")
    }
}

/// The hash over all segments, which the newest act `archive` names.
#[must_use]
pub fn hash_of<'s>(segments: impl IntoIterator<Item = &'s Segment>) -> String {
    let mut context = Context::new(&SHA256);
    segments.into_iter().for_each(|segment| context.update(segment.line().as_bytes()));
    hex(context.finish().as_ref())
}

/// Every row, in the order of the chain.
pub(super) fn rows(connection: &Connection) -> Result<Vec<Segment>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT first, last, hash_before, hash_after, sha256 FROM segments ORDER BY first",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Segment {
            first: row.get::<_, i64>(0)?.cast_unsigned(),
            last: row.get::<_, i64>(1)?.cast_unsigned(),
            hash_before: row.get(2)?,
            hash_after: row.get(3)?,
            sha256: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A file that is being written. It bears its name once it is whole.
pub(super) struct Writing {
    folder: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    context: Context,
    before: Verifier,
    at: Verifier,
}

impl Writing {
    /// Begins a file behind a link of the chain. What an earlier try left of it goes: its records
    /// are still in audit.db.
    pub fn begin(state_dir: &Path, chain: &str, before: Verifier) -> io::Result<Self> {
        let folder = state_dir.join(FOLDER);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let first = before.number() + 1;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(&format!("audit-{first}-")) {
                std::fs::remove_file(entry.path())?;
            }
        }
        let partial = folder.join(format!("audit-{first}.partial"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&partial)?;
        let file = BufWriter::with_capacity(1 << 16, file);
        let mut writing =
            Self { folder, partial, file, context: Context::new(&SHA256), before, at: before };
        let header = Header { chain: chain.to_owned(), first, hash_before: hex(before.hash()) };
        writing.line(serde_json::to_string(&header)?.as_bytes())?;
        Ok(writing)
    }

    /// Where the chain is.
    pub const fn at(&self) -> &Verifier {
        &self.at
    }

    /// Adds a record that follows.
    pub fn add(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        self.at = Verifier::after(number, chain::next(self.at.hash(), bytes));
        self.line(bytes)
    }

    /// Ends the file with a checkpoint; it is durable then.
    pub fn end(mut self, checkpoint: &Checkpoint) -> io::Result<Segment> {
        self.line(checkpoint.line().as_bytes())?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let sha256 = self.context.finish().as_ref().try_into().unwrap_or([0; 32]);
        let segment = Segment {
            first: self.before.number() + 1,
            last: self.at.number(),
            hash_before: *self.before.hash(),
            hash_after: *self.at.hash(),
            sha256,
        };
        std::fs::rename(&self.partial, self.folder.join(segment.name()))?;
        sync_folder(&self.folder)?;
        Ok(segment)
    }

    fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in [bytes, b"\n"] {
            self.context.update(part);
            self.file.write_all(part)?;
        }
        Ok(())
    }
}

/// Reads a file through: every record is handed over. What is wrong with it, else.
// PROMISE-9
pub(super) fn read_through(
    path: &Path,
    chain: &str,
    segment: &Segment,
    key: Option<&str>,
    mut take: impl FnMut(&Record, &Hash),
) -> Result<(), String> {
    let name = segment.name();
    let wrong = |text: &str| format!("{FOLDER}/{name}: {text}");
    let failed = |error: io::Error| wrong(&error.to_string());
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut context = Context::new(&SHA256);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| -> Result<bool, String> {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', line).map_err(failed)?;
        context.update(line);
        if read > 0 && line.pop() != Some(b'\n') {
            return Err(wrong("it ends in the middle of a line"));
        }
        Ok(read > 0)
    };
    next(&mut line)?;
    let header = serde_json::from_slice::<Header>(&line).ok();
    let header = header.filter(|header| {
        let before = unhex(&header.hash_before).is_some_and(|hash| hash == segment.hash_before);
        header.chain == chain && header.first == segment.first && before
    });
    header.ok_or_else(|| wrong("its first line is not the one of this segment"))?;
    let mut verifier = Verifier::after(segment.first - 1, segment.hash_before);
    while verifier.number() < segment.last {
        let number = verifier.number() + 1;
        if !next(&mut line)? {
            return Err(wrong(&format!("record {number} is missing")));
        }
        let hash = chain::next(verifier.hash(), &line);
        let record =
            verifier.take(number, &hash, &line).map_err(|broken| wrong(&broken.to_string()))?;
        take(&record, &hash);
    }
    if *verifier.hash() != segment.hash_after {
        return Err(wrong("its records are not those that were moved: one of them was changed"));
    }
    next(&mut line)?;
    let checkpoint = std::str::from_utf8(&line).ok().and_then(|line| Checkpoint::read(line).ok());
    let right = checkpoint.is_some_and(|checkpoint| {
        checkpoint.number == segment.last
            && checkpoint.chain == chain
            && checkpoint.hash == hex(&segment.hash_after)
            && checkpoint.check(key).is_ok()
    });
    if !right {
        return Err(wrong("its last line is not a checkpoint of its end that the key signed"));
    }
    if next(&mut line)? {
        return Err(wrong("something stands behind its end"));
    }
    let sha256 = context.finish();
    if sha256.as_ref() != segment.sha256 {
        return Err(wrong("it is not the file that was written: its SHA-256 is another"));
    }
    Ok(())
}
