//! What is old leaves the store, in small steps.
//!
//! Promises: no step deletes more than a few hundred rows, so that no sender waits for one;
//! nothing that a route has still to deliver, or that an exception shows, is deleted, whatever
//! the retention.
//! Knows nothing of: when it is called.

use rusqlite::{Connection, params};

use super::StoreError;

/// Most rows that one step looks at.
const STEP_ROWS: i64 = 256;

/// How far trimming has come.
#[derive(Debug, Default)]
pub(super) struct Trim {
    /// The highest number that this pass has looked at.
    message: i64,
    /// The last correlation that this pass has looked at.
    correlation: Option<[u8; 16]>,
}

/// What may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Messages that came in before this, in milliseconds since 1970.
    pub messages_before: i64,
    /// Correlations that were taken before this.
    pub correlations_before: i64,
    /// The highest number that every route has delivered.
    pub delivered: u64,
    /// The highest number of all; it stays, so that no number is used twice.
    pub highest: u64,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub messages: usize,
    pub correlations: usize,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl Trim {
    /// One step, inside the open transaction.
    pub fn step(&mut self, connection: &Connection, limits: Limits) -> Result<Step, StoreError> {
        let (messages, more) = self.messages(connection, limits)?;
        let correlations = self.correlations(connection, limits.correlations_before)?;
        Ok(Step { messages, correlations, more })
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
        let rows = statement
            .query_map(params![self.message, last, STEP_ROWS], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        let old = |at: i64| at < limits.messages_before;
        let Some((first, _)) = rows.first().filter(|(_, at)| old(*at)) else {
            // Nothing here is old, and what follows is newer. The next pass begins anew, since
            // exceptions may have been resolved.
            self.message = 0;
            return Ok((0, false));
        };
        let until = rows.iter().take_while(|(_, at)| old(*at)).last().map_or(*first, |row| row.0);
        let deleted = connection
            .prepare_cached(
                "DELETE FROM messages WHERE number >= ? AND number <= ?
                 AND number NOT IN (SELECT number FROM exceptions)",
            )?
            .execute(params![first, until])?;
        self.message = until;
        Ok((deleted, i64::try_from(rows.len()).unwrap_or(0) == STEP_ROWS))
    }

    /// Correlations lie by digest, not by time, so that a pass walks all of them.
    fn correlations(&mut self, connection: &Connection, before: i64) -> Result<usize, StoreError> {
        let from = self.correlation.unwrap_or_default();
        let mut statement = connection
            .prepare_cached("SELECT key FROM correlations WHERE key > ? ORDER BY key LIMIT ?")?;
        let keys = statement
            .query_map(params![from, STEP_ROWS], |row| row.get::<_, [u8; 16]>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        self.correlation = keys.last().copied();
        let Some(last) = self.correlation else { return Ok(0) };
        Ok(connection
            .prepare_cached("DELETE FROM correlations WHERE key > ? AND key <= ? AND at < ?")?
            .execute(params![from, last, before])?)
    }
}
