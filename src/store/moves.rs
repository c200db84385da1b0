//! How far a route has come, and what is noted in the same transaction.
//!
//! Promises: a cursor and the exceptions of the events that it passes are one commit, so that after a
//! crash an exception is there once, or its event is decided again; of several moves that ride
//! together none is forgotten.
//! Knows nothing of: when routes move.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::StoreError;
use super::journal::Position;
use super::once::{self, Told};
use super::seal::Sealer;
use super::spans;
use super::violations::{self, Violation};
use super::writer::Opened;
use crate::admit::Digest;
use crate::clock;
use crate::contract::once::Occurrences;

/// How far a route has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Every event up to and including this entry is done.
    To(Position),
    /// Of the span that it delivers shuffled, so many places are. The cursor stays before the span.
    Within(Position),
}

/// A route has come further.
#[derive(Debug)]
pub struct Moved {
    /// How far.
    pub came: Came,
    /// Payloads of events up to there that did not satisfy the contract.
    pub violations: Vec<Violation>,
    /// Transitions of visits that were told, or not, as they stand now.
    pub told: Told,
    /// Who waits until that is durable.
    pub durable: Option<oneshot::Sender<()>>,
}

impl From<Position> for Moved {
    fn from(position: Position) -> Self {
        Self { came: Came::To(position), violations: Vec::new(), told: Told::new(), durable: None }
    }
}

/// Moves of one route that are not noted yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub came: Came,
    /// One of a kind, counted, so that a disk which stays full holds no more of them than there are
    /// kinds.
    violations: BTreeMap<(Arc<str>, Digest), Violation>,
    /// Each transition as it stands now. A route waits with more of them until these are durable.
    told: BTreeMap<Digest, Occurrences>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Pending {
    /// With nothing but how far.
    pub const fn at(came: Came) -> Self {
        Self { came, violations: BTreeMap::new(), told: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Takes a later move on.
    pub fn absorb(&mut self, moved: Moved) {
        self.came = moved.came;
        for violation in moved.violations {
            self.add(violation);
        }
        self.told.extend(moved.told);
        self.waiting.extend(moved.durable);
    }

    /// Takes later moves on that were brought together before.
    pub fn follow(&mut self, later: Self) {
        self.came = later.came;
        for violation in later.violations.into_values() {
            self.add(violation);
        }
        self.told.extend(later.told);
        self.waiting.extend(later.waiting);
    }

    /// It is durable.
    pub fn noted(self) {
        for durable in self.waiting {
            // A route that stopped meanwhile finds it at the next start.
            durable.send(()).ok();
        }
    }

    fn add(&mut self, violation: Violation) {
        let kind = (Arc::clone(&violation.feed), violation.key);
        match self.violations.get_mut(&kind) {
            Some(known) => known.again(violation),
            None => {
                self.violations.insert(kind, violation);
            }
        }
    }

    /// Writes all of it into the open transaction; the feeds of the exceptions that were opened.
    // PROMISE-1: what the cursor passes is delivered, or stands as an exception.
    pub fn write(
        &self,
        connection: &Connection,
        sealer: &mut Sealer,
        route: &str,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        // With the cursor, so that what it passes is told once for good.
        for (transition, told) in &self.told {
            once::write(connection, sealer, route, transition, told)?;
        }
        match self.came {
            Came::To(position) => {
                write_cursor(connection, route, position)?;
                spans::end(connection, route)?;
            }
            Came::Within(done) => spans::move_within(connection, route, done)?,
        }
        let mut opened = Vec::new();
        for violation in self.violations.values() {
            if violations::raise(connection, violation)? == Opened::New {
                opened.push(Arc::clone(&violation.feed));
            }
        }
        Ok(opened)
    }
}

/// Notes how far a route has come.
pub(super) fn write_cursor(
    connection: &Connection,
    route: &str,
    position: Position,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO cursors (route, number, sequence, at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (route) DO UPDATE SET number = ?2, sequence = ?3, at = ?4",
        )?
        .execute(params![
            route,
            position.number.cast_signed(),
            position.sequence.cast_signed(),
            clock::now_ms()
        ])?;
    Ok(())
}
