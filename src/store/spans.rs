//! Which span of the journal a route delivers shuffled, and how far it has come with it.
//!
//! Promises: a span, what it is shuffled by and how much of it is done survive a crash together; what it
//! was shuffled by is taken out of the store when it is done.
//! Knows nothing of: how it is shuffled, and when it is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::StoreError;
use super::journal::Position;
use super::seal::Master;
use crate::secret::Key;

/// A span of the journal.
#[derive(Clone, Debug)]
pub struct Span {
    /// When it was due, in milliseconds since 1970.
    pub due: i64,
    /// It begins behind this entry,
    pub after: u64,
    /// and ends with this one.
    pub last: u64,
    /// Slots for the events of each entry.
    pub slots: u64,
    /// What it is shuffled by.
    pub key: Key,
}

/// The newest span of a route.
#[derive(Clone, Debug)]
pub struct Begun {
    /// When it was due.
    pub due: i64,
    /// The span, with its places that are done and the events up to there; nothing where it is done.
    pub open: Option<(Span, Position)>,
}

/// What the master key says that it wraps.
const PURPOSE: &str = "span";

impl Span {
    /// How many places it has: each slot of each entry.
    #[must_use]
    pub const fn places(&self) -> u64 {
        self.last.saturating_sub(self.after).saturating_mul(self.slots)
    }
}

/// The newest spans of routes.
pub(super) fn read(
    connection: &Connection,
    master: &Master,
    routes: &[Arc<str>],
) -> Result<BTreeMap<Arc<str>, Begun>, StoreError> {
    let mut statement = connection
        .prepare("SELECT route, due, after, last, slots, place, sequence, key FROM spans")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let Some(route) = routes.iter().find(|route| route.as_ref() == name) else { continue };
        let number = |index: usize| row.get(index).map(i64::cast_unsigned);
        let (due, after, last, slots) = (row.get(1)?, number(2)?, number(3)?, number(4)?);
        let open = if after < last {
            let wrapped: Vec<u8> = row.get(7)?;
            let key = master.unwrap(PURPOSE, &wrapped)?;
            let done = Position { number: number(5)?, sequence: number(6)? };
            Some((Span { due, after, last, slots, key }, done))
        } else {
            None
        };
        found.insert(Arc::clone(route), Begun { due, open });
    }
    Ok(found)
}

/// Begins a span, of which nothing is done, behind a number of events.
pub(super) fn begin(
    connection: &Connection,
    master: &Master,
    route: &str,
    (span, sequence): &(Span, u64),
) -> Result<(), StoreError> {
    let Span { due, after, last, slots, key } = span;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO spans (route, due, after, last, slots, key, place, sequence)
             VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
        )?
        .execute(params![
            route,
            due,
            after.cast_signed(),
            last.cast_signed(),
            slots.cast_signed(),
            master.wrap(PURPOSE, key)?,
            sequence.cast_signed()
        ])?;
    Ok(())
}

/// Notes how much of a span is done.
pub(super) fn move_within(
    connection: &Connection,
    route: &str,
    done: Position,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE spans SET place = ?, sequence = ? WHERE route = ?")?
        .execute(params![done.number.cast_signed(), done.sequence.cast_signed(), route])?;
    Ok(())
}

/// Notes that the cursor has passed a span, if there is one.
pub(super) fn end(connection: &Connection, route: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE spans SET after = last, key = x'' WHERE route = ? AND after < last",
        )?
        .execute([route])?;
    Ok(())
}
