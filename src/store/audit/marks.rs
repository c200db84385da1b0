//! Checkpoints, compared with a chain while it is followed.
//!
//! Promises: a line that was changed or that another key signed is told; of checkpoints that the
//! chain does not hold, the first is told, with the last one that it does hold.
//! Knows nothing of: how the chain is followed.

use jiff::Timestamp;

use super::verify::{Report, Wanted};
use crate::audit::{Checkpoint, Hash};
use crate::secret::hex;

/// A checkpoint, and where it is from.
#[derive(Clone, Debug)]
struct Mark {
    chain: String,
    number: u64,
    hash: String,
    at: Timestamp,
    from: String,
}

impl Mark {
    fn shown(&self) -> String {
        format!("the checkpoint of {} ({})", self.at, self.from)
    }
}

/// Checkpoints in the order of their numbers.
#[derive(Debug)]
pub(super) struct Marks {
    marks: Vec<Mark>,
    next: usize,
    /// The last one that the chain holds.
    held: Option<usize>,
    /// How many were compared.
    compared: usize,
    /// The first that the chain does not hold.
    broken: Option<usize>,
    skipped: usize,
}

impl Marks {
    /// Reads those of the folder, and those that were kept elsewhere.
    pub fn read(wanted: &Wanted, key: Option<&str>, report: &mut Report) -> Self {
        let mut marks = Vec::new();
        let local = std::fs::read_to_string(wanted.dir.join(&wanted.file));
        let name = wanted.file.display().to_string();
        match &local {
            Ok(text) => {
                // The daemon may be in the middle of a line, or was when it was killed.
                let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
                add(&mut marks, &name, whole, key, report);
            }
            Err(error) => report.notes.push(format!("{name}: {error}")),
        }
        match &wanted.kept {
            Some((from, text)) => {
                add(&mut marks, from, text, key, report);
                if text.trim().is_empty() {
                    report.problems.push(format!("{from} holds no checkpoint"));
                }
            }
            None => report.notes.push(
                "no checkpoint from elsewhere was given (--checkpoint): who can write the folder \
                 could have cut the chain, set it back or written it anew"
                    .to_owned(),
            ),
        }
        marks.sort_by_key(|mark: &Mark| mark.number);
        Self { marks, next: 0, held: None, compared: 0, broken: None, skipped: 0 }
    }

    /// The chain has this hash at that number.
    pub fn pass(&mut self, number: u64, hash: &Hash) {
        while let Some(mark) = self.marks.get(self.next)
            && mark.number <= number
        {
            if mark.number < number {
                self.skipped += 1;
            } else {
                self.compared += 1;
                if self.broken.is_some() {
                    // What follows a record that is another is another, too.
                } else if mark.hash == hex(hash) {
                    self.held = Some(self.next);
                } else {
                    self.broken = Some(self.next);
                }
            }
            self.next += 1;
        }
    }

    /// The chain ended there.
    pub fn end(self, chain: &str, last: u64, report: &mut Report) {
        report.checkpoints = self.compared;
        if let Some(other) = self.marks.iter().find(|mark| mark.chain != chain) {
            report.problems.push(format!("{} is of another chain", other.shown()));
            return;
        }
        if let Some(broken) = self.broken.and_then(|at| self.marks.get(at)) {
            let held = self.held.and_then(|at| self.marks.get(at));
            let from = held.map_or(1, |held| held.number + 1);
            report.problems.push(format!(
                "{} says another hash of record {}: the chain was written anew, from a record of \
                 {from} to {} on",
                broken.shown(),
                broken.number,
                broken.number
            ));
        }
        // Behind a record that is bad nothing is followed, and what it cost is told already.
        if report.problems.is_empty()
            && let Some(beyond) = self.marks.last().filter(|mark| mark.number > last)
        {
            report.problems.push(format!(
                "the chain ends at {last}; {} says {}: it was cut, or is an older copy",
                beyond.shown(),
                beyond.number
            ));
        }
        if self.skipped > 0 {
            let skipped = self.skipped;
            report.notes.push(format!(
                "{skipped} checkpoints are of records in segments that are not at hand"
            ));
        }
    }
}

/// Adds the checkpoints of a file. Each line that is wrong is told.
fn add(marks: &mut Vec<Mark>, from: &str, text: &str, key: Option<&str>, report: &mut Report) {
    for (nth, line) in (1..).zip(text.lines()) {
        if line.is_empty() {
            continue;
        }
        let checked = Checkpoint::read(line).and_then(|checkpoint| {
            checkpoint.check(key)?;
            Ok(checkpoint)
        });
        match checked {
            Ok(Checkpoint { chain, number, hash, at, .. }) => {
                marks.push(Mark { chain, number, hash, at, from: format!("{from}:{nth}") });
            }
            Err(error) => report.problems.push(format!("{from}:{nth} {error}")),
        }
    }
}
