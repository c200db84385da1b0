//! What is old leaves the store, in small steps.
//!
//! Promises: no step deletes more than a few hundred rows, so that no sender waits for one;
//! nothing that a route has still to deliver, or that an exception shows, is deleted, whatever
//! the retention.
//! Knows nothing of: when it is called.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, once};

/// Most rows that one step looks at.
pub(super) const STEP_ROWS_MAX: usize = 256;

/// How far trimming has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trim {
    /// The highest number that this pass has looked at.
    message: i64,
    /// The last correlation that this pass has looked at.
    correlation: Option<[u8; 16]>,
    /// The highest epoch of any correlation that was deleted, ever.
    forgotten: u32,
    /// When the oldest correlation that this pass has left was taken.
    oldest: i64,
    /// The same of the pass before: until that is old, there is nothing to look for.
    due: Option<i64>,
}

/// What may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Now, in milliseconds since 1970.
    pub now: i64,
    /// Messages that came in before this.
    pub messages_before: i64,
    /// Correlations that were taken before this.
    pub correlations_before: i64,
    /// The highest number that every route has delivered.
    pub delivered: u64,
    /// The highest number of all; it stays, so that no number is used twice.
    pub highest: u64,
    /// How many rows this step may look at.
    pub rows: usize,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub messages: usize,
    pub correlations: usize,
    /// Transitions of visits that are over.
    pub told: usize,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl Step {
    /// How many rows went.
    pub const fn deleted(self) -> usize {
        self.messages + self.correlations + self.told
    }
}

/// The name in `meta` of the highest epoch that was deleted.
const FORGOTTEN: &str = "forgotten-epoch";

impl Trim {
    /// Trimming that goes on where an earlier process ended.
    pub fn resume(connection: &Connection) -> Result<Self, StoreError> {
        let found: Option<String> = connection
            .query_row("SELECT value FROM meta WHERE name = ?", [FORGOTTEN], |row| row.get(0))
            .optional()?;
        let forgotten = match found {
            None => 0,
            Some(text) => {
                text.parse().map_err(|_| StoreError::Corrupt { what: FORGOTTEN.to_owned() })?
            }
        };
        Ok(Self { forgotten, ..Self::default() })
    }

    /// The highest epoch of any correlation that was deleted, ever.
    pub const fn forgotten(&self) -> u32 {
        self.forgotten
    }

    /// One step, inside the open transaction.
    pub fn step(&mut self, connection: &Connection, limits: Limits) -> Result<Step, StoreError> {
        let (messages, more) = self.messages(connection, limits)?;
        let correlations = self.correlations(connection, limits)?;
        let told = once::trim(connection, limits.correlations_before, limits.rows)?;
        Ok(Step { messages, correlations, told, more })
    }

    // PROMISE-1: what a cursor or an exception still needs stays.
    fn messages(
        &mut self,
        connection: &Connection,
        limits: Limits,
    ) -> Result<(usize, bool), StoreError> {
        let last = limits.delivered.min(limits.highest.saturating_sub(1)).cast_signed();
        let mut statement = connection.prepare_cached(
            "SELECT number, at FROM messages WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
        )?;
        let mut rows = statement.query(params![self.message, last, as_i64(limits.rows)])?;
        let (mut until, mut looked) = (self.message, 0);
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(1)?;
            // A clock that was ahead for a while left times that lie in the future: they say
            // nothing of what follows.
            if at >= limits.messages_before && at <= limits.now {
                break;
            }
            until = row.get(0)?;
            looked += 1;
        }
        drop(rows);
        if looked == 0 {
            // Nothing here is old, and what follows is newer. The next pass begins anew, since
            // exceptions may have been resolved.
            self.message = 0;
            return Ok((0, false));
        }
        let deleted = connection
            .prepare_cached(
                "DELETE FROM messages WHERE number > ? AND number <= ? AND at < ?
                 AND number NOT IN (SELECT number FROM exceptions)",
            )?
            .execute(params![self.message, until, limits.messages_before])?;
        self.message = until;
        Ok((deleted, looked == limits.rows))
    }

    /// Correlations lie by digest, not by time, so that a pass walks all of them. The next pass
    /// begins when the oldest that was left has become old: on a store that is younger than the
    /// retention, never.
    fn correlations(
        &mut self,
        connection: &Connection,
        limits: Limits,
    ) -> Result<usize, StoreError> {
        let before = limits.correlations_before;
        if self.due.is_some_and(|due| due >= before) {
            return Ok(0);
        }
        let from = self.correlation.unwrap_or_else(|| {
            // What comes in while the pass goes on is no older than it.
            self.oldest = limits.now;
            [0; 16]
        });
        self.due = None;
        let mut statement = connection.prepare_cached(
            "SELECT key, min(at) FROM correlations WHERE key > ? GROUP BY key ORDER BY key LIMIT ?",
        )?;
        let mut rows = statement.query(params![from, as_i64(limits.rows)])?;
        let (mut last, mut looked, mut any) = (from, 0, false);
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            let at: i64 = row.get(1)?;
            any |= at < before;
            self.oldest = self.oldest.min(at.max(before));
            looked += 1;
        }
        drop(rows);
        self.correlation = (looked == limits.rows).then_some(last);
        if self.correlation.is_none() {
            self.due = Some(self.oldest);
        }
        if !any {
            return Ok(0);
        }
        let old = params![from, last, before];
        // PROMISE-2: no epoch that was given is given again.
        let highest: Option<u32> = connection
            .prepare_cached(
                "SELECT max(epoch) FROM correlations WHERE key > ? AND key <= ? AND at < ?",
            )?
            .query_row(old, |row| row.get(0))?;
        let Some(highest) = highest else { return Ok(0) };
        if highest > self.forgotten {
            self.forgotten = highest;
            connection
                .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)")?
                .execute(params![FORGOTTEN, highest.to_string()])?;
        }
        Ok(connection
            .prepare_cached("DELETE FROM correlations WHERE key > ? AND key <= ? AND at < ?")?
            .execute(old)?)
    }
}

fn as_i64(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{Schema, open_for_writing};

    fn store(times: &[i64]) -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&dir.path().join("journal.db"), Schema::Journal).unwrap();
        for (number, at) in times.iter().enumerate() {
            let number = as_i64(number + 1);
            connection
                .execute(
                    "INSERT INTO messages VALUES (?, ?, 'adt', 'ADT^A01', 'admitted', 1, x'', x'')",
                    params![number, at],
                )
                .unwrap();
        }
        (dir, connection)
    }

    fn numbers(connection: &Connection) -> Vec<i64> {
        let mut statement =
            connection.prepare("SELECT number FROM messages ORDER BY number").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    const LIMITS: Limits = Limits {
        now: 1_000,
        messages_before: 500,
        correlations_before: 0,
        delivered: 100,
        highest: 100,
        rows: 3,
    };

    /// PROMISE-1
    #[test]
    fn what_is_not_delivered_or_shown_by_an_exception_stays_however_old() {
        let (_dir, connection) = store(&[1, 1, 1, 1, 1, 1]);
        connection
            .execute(
                "INSERT INTO exceptions VALUES (1, 'unmapped', 'adt', x'00', 2, '', '', '', 1, 1, 1)",
                [],
            )
            .unwrap();
        let mut trim = Trim::default();
        let limits = Limits { delivered: 4, ..LIMITS };
        let step = trim.step(&connection, limits).unwrap();
        assert_eq!((step.messages, step.more), (2, true), "three looked at, one kept");
        assert!(!trim.step(&connection, limits).unwrap().more);
        assert_eq!(numbers(&connection), [2, 5, 6]);
    }

    /// PROMISE-2
    #[test]
    fn the_highest_epoch_that_is_deleted_is_remembered() {
        let (_dir, connection) = store(&[1]);
        for (key, epoch, at) in [(1_u8, 1, 5), (1, 4, 6), (2, 9, 700)] {
            connection
                .execute(
                    "INSERT INTO correlations VALUES (?, ?, x'00', ?, 1)",
                    params![[key; 16], epoch, at],
                )
                .unwrap();
        }
        let limits = Limits { correlations_before: 500, ..LIMITS };
        let mut trim = Trim::default();
        let step = trim.step(&connection, limits).unwrap();
        assert_eq!((step.correlations, trim.forgotten()), (2, 4), "epoch 9 is young");
        assert_eq!(Trim::resume(&connection).unwrap().forgotten(), 4);
    }

    #[test]
    fn the_highest_number_stays_so_that_it_is_not_used_twice() {
        let (_dir, connection) = store(&[1, 1]);
        Trim::default().step(&connection, Limits { highest: 2, ..LIMITS }).unwrap();
        assert_eq!(numbers(&connection), [2]);
    }

    #[test]
    fn a_time_in_the_future_stops_nothing_behind_it() {
        let (_dir, connection) = store(&[1, 9_999, 1, 600, 1]);
        let mut trim = Trim::default();
        for _ in 0..4 {
            trim.step(&connection, LIMITS).unwrap();
        }
        assert_eq!(numbers(&connection), [2, 4, 5], "what follows a young one is not looked at");
    }

    #[test]
    fn correlations_are_walked_again_when_the_oldest_of_them_has_become_old() {
        let (_dir, connection) = store(&[]);
        for (key, at) in [(1_u8, 10), (2, 300), (3, 200), (4, 20)] {
            connection
                .execute(
                    "INSERT INTO correlations VALUES (?, 1, x'00', ?, 1)",
                    params![[key; 16], at],
                )
                .unwrap();
        }
        let left = || -> i64 {
            connection.query_row("SELECT count(*) FROM correlations", [], |row| row.get(0)).unwrap()
        };
        let mut trim = Trim::default();
        let mut deleted = |before: i64| -> usize {
            let limits = Limits { correlations_before: before, ..LIMITS };
            (0..3).map(|_| trim.step(&connection, limits).unwrap().correlations).sum()
        };
        assert_eq!((deleted(100), left()), (2, 2));
        assert_eq!((deleted(200), left()), (0, 2), "200 is not before 200");
        assert_eq!((deleted(201), left()), (1, 1));
        assert_eq!((deleted(1_000), left()), (1, 0));
    }
}
