//! The records that one question is asked over: a subject's own, and those of its aliases.
//!
//! Promises: after a merge the more restrictive state of both holds until a record that was
//! decided after it; after an unmerge what closed in between stays closed for both.
//! Knows nothing of: how aliases are found; another subject's records do not come in here.

use jiff::Timestamp;

use super::moment::Span;
use super::record::Record;

/// How often the consent of a subject has narrowed. The fence lets no release out whose permit
/// has an older one than the subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Another subject that was found to be the same person.
#[derive(Clone, Debug)]
pub struct Alias {
    /// Its records, those filed under it since included.
    pub records: Vec<Record>,
    /// When the two were merged.
    pub merged_at: Timestamp,
    /// When they were found to be two after all.
    pub unmerged_at: Option<Timestamp>,
    /// Which of the aliases it was merged with, by position; the subject itself where it is none.
    pub with: Option<usize>,
}

/// What is known of one subject, at one epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger<'l> {
    /// The subject's epoch when the records were read.
    pub epoch: Epoch,
    /// Its records, in any order.
    pub own: &'l [Record],
    /// Its aliases, in any order.
    pub aliases: &'l [Alias],
}

impl<'l> Ledger<'l> {
    /// A subject without aliases.
    #[must_use]
    pub const fn of(epoch: Epoch, own: &'l [Record]) -> Self {
        Self { epoch, own, aliases: &[] }
    }

    /// The records to ask over, once for each of the subjects that were merged: each had its own
    /// state, and what was decided after the merge holds for all of them. All must say yes.
    #[must_use]
    pub fn states(&self) -> Vec<Vec<&'l Record>> {
        let mut own: Vec<&Record> = self.own.iter().collect();
        let mut states = Vec::with_capacity(1 + self.aliases.len());
        for (at, alias) in self.aliases.iter().enumerate() {
            match alias.unmerged_at {
                Some(unmerged_at) => own.extend(closed_between(alias, unmerged_at)),
                None => {
                    own.extend(decided_after(&alias.records, self.joined(at, None)));
                    states.push(self.state_of(at, alias));
                }
            }
        }
        states.insert(0, own);
        states
    }

    /// Every record at hand, whether it counts or not.
    pub(super) fn all(&self) -> impl Iterator<Item = &'l Record> {
        self.own.iter().chain(self.aliases.iter().flat_map(|alias| &alias.records))
    }

    /// An alias's records, and what the others decided since they are one.
    fn state_of(&self, at: usize, alias: &'l Alias) -> Vec<&'l Record> {
        let mut state: Vec<&Record> = alias.records.iter().collect();
        state.extend(decided_after(self.own, self.joined(at, None)));
        for (other_at, other) in self.aliases.iter().enumerate() {
            if other_at != at && other.unmerged_at.is_none() {
                state.extend(decided_after(&other.records, self.joined(at, Some(other_at))));
            }
        }
        state
    }

    /// Since when an alias is one with another, or with the subject: since the last merge on the way
    /// from one to the other.
    fn joined(&self, one: usize, other: Option<usize>) -> Timestamp {
        let (from_one, from_other) = (self.way(Some(one)), self.way(other));
        let own = |way: &[(usize, Timestamp)], past: &[(usize, Timestamp)]| {
            let steps = way.iter().filter(|step| !past.contains(step));
            steps.map(|(_, at)| *at).max().unwrap_or(Timestamp::MIN)
        };
        own(&from_one, &from_other).max(own(&from_other, &from_one))
    }

    /// The merges between an alias and the subject.
    fn way(&self, from: Option<usize>) -> Vec<(usize, Timestamp)> {
        let mut way: Vec<(usize, Timestamp)> = Vec::new();
        let mut next = from;
        while let Some(at) = next
            && let Some(alias) = self.aliases.get(at)
            && way.len() < self.aliases.len()
        {
            way.push((at, alias.merged_at));
            next = alias.with;
        }
        way
    }
}

fn decided_after(records: &[Record], at: Timestamp) -> impl Iterator<Item = &Record> {
    records.iter().filter(move |record| Span::instant(at).is_before(record.decided()))
}

/// What an alias decided while it was one: by whom of the two nobody knows, so what closes counts
/// for both.
fn closed_between(alias: &Alias, unmerged_at: Timestamp) -> impl Iterator<Item = &Record> {
    let (records, merged_at) = (alias.records.iter(), alias.merged_at);
    records.filter(move |record| closes_between(record, merged_at, unmerged_at))
}

/// Whether a record closes that was decided while two were one.
#[must_use]
pub fn closes_between(record: &Record, merged_at: Timestamp, unmerged_at: Timestamp) -> bool {
    !record.opens()
        && Span::instant(merged_at).is_before(record.decided())
        && !Span::instant(unmerged_at).is_before(record.decided())
}
