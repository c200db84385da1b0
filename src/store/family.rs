//! Who has ever been said to be one person with a subject, and what was said.
//!
//! Promises: everybody that a merge or a changed identifier leads to is found, those parted since
//! included; the search is bounded, and what is beyond the bound is told.
//! Knows nothing of: consent; who the subjects are, which go by digests here.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::Connection;

use super::StoreError;
use crate::admit::Digest;
use crate::consent::{Epoch, Persons, Said};
use crate::event::Act;

/// Most subjects that may be one person, those parted since included. The longest chain of a patient
/// who comes without papers to several houses has a few; with more, consent is closed for all.
pub const MEMBERS_MAX: usize = 64;
/// Most acts of them.
pub const ACTS_MAX: usize = 256;
/// Whatever has come in.
pub(super) const LATEST: Epoch = Epoch(u64::MAX);

/// A row of `acts`.
pub(super) struct ActRow {
    pub subject: [u8; 16],
    pub number: u64,
    pub nth: u32,
    pub at: i64,
    pub feed: String,
    pub act: Act,
    pub is_from: bool,
    pub other: [u8; 16],
    pub sealed: Vec<u8>,
}

/// All who were ever said to be one, and the acts that say so, in order.
#[derive(Default)]
pub(super) struct Family {
    members: Vec<[u8; 16]>,
    position: HashMap<[u8; 16], usize>,
    /// One row of each act.
    pub rows: Vec<ActRow>,
    /// It is larger than is looked through.
    pub is_too_large: bool,
}

impl Family {
    /// Finds the family of some subjects.
    pub fn read(connection: &Connection, subjects: &[Digest]) -> Result<Self, StoreError> {
        Self::read_as_of(connection, subjects, LATEST)
    }

    /// The family as it was known up to a message.
    pub fn read_as_of(
        connection: &Connection,
        subjects: &[Digest],
        epoch: Epoch,
    ) -> Result<Self, StoreError> {
        let mut family = Self::default();
        for subject in subjects {
            family.read_of(connection, subject.0, epoch)?;
        }
        family.rows.sort_by_key(|row| (row.number, row.nth));
        Ok(family)
    }

    fn read_of(
        &mut self,
        connection: &Connection,
        subject: [u8; 16],
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        let mut next = self.members.len();
        self.add(subject);
        // Two groups that are just within the bound may have become one: both are wanted whole.
        let (members_max, rows_max) = (next + 2 * MEMBERS_MAX, self.rows.len() + 2 * ACTS_MAX);
        while let Some(subject) = self.members.get(next).copied() {
            next += 1;
            for row in rows_of(connection, subject, epoch)? {
                self.add(row.other);
                // The other row of the same act is found under the other subject.
                if row.is_from {
                    self.rows.push(row);
                }
                if self.members.len() > members_max || self.rows.len() > rows_max {
                    self.is_too_large = true;
                    return Ok(());
                }
            }
        }
        let found = self.members.len().saturating_sub(members_max - 2 * MEMBERS_MAX);
        let acts = self.rows.len().saturating_sub(rows_max - 2 * ACTS_MAX);
        self.is_too_large |= found > MEMBERS_MAX || acts > ACTS_MAX;
        Ok(())
    }

    /// The number that a member goes by, which it gets with the first question.
    pub fn add(&mut self, subject: [u8; 16]) -> usize {
        let Self { members, position, .. } = self;
        *position.entry(subject).or_insert_with(|| {
            members.push(subject);
            members.len() - 1
        })
    }

    /// The members, by their numbers.
    pub fn members(&self) -> &[[u8; 16]] {
        &self.members
    }

    /// Who of them is one person, as far as was said.
    pub fn persons(&mut self) -> Persons {
        let mut persons = Persons::default();
        for row in std::mem::take(&mut self.rows) {
            let said = Said {
                act: row.act,
                from: self.add(row.subject),
                into: self.add(row.other),
                at: time(row.at),
                number: row.number,
            };
            // What was refused was not written, but for what was said within one message.
            persons.say(said).ok();
            self.rows.push(row);
        }
        persons
    }
}

/// The rows of one subject that say who is one, in order; links have no effect.
fn rows_of(
    connection: &Connection,
    subject: [u8; 16],
    epoch: Epoch,
) -> Result<Vec<ActRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, nth, at, feed, act, side, other, sealed FROM acts
         WHERE subject = ? AND act <> 'link' AND number <= ? ORDER BY number, nth LIMIT ?",
    )?;
    // One more than is looked through, so that it is seen that there are more.
    let limit = i64::try_from(2 * ACTS_MAX + 1).unwrap_or(i64::MAX);
    let mut found = statement.query(rusqlite::params![subject, up_to(epoch), limit])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        let act = Act::from_name(&row.get::<_, String>(4)?);
        let corrupt = || StoreError::Corrupt { what: format!("an act of message {number}") };
        rows.push(ActRow {
            subject,
            number,
            nth: row.get(1)?,
            at: row.get(2)?,
            feed: row.get(3)?,
            act: act.ok_or_else(corrupt)?,
            is_from: row.get::<_, String>(5)? == "from",
            other: row.get(6)?,
            sealed: row.get(7)?,
        });
    }
    Ok(rows)
}

/// The last number that counts at an epoch.
pub(super) fn up_to(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

/// A time of the store.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
