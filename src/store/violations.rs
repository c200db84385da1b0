//! Exceptions of payloads that did not satisfy their contract.
//!
//! Promises: the same violation again, of one route, event type and place, is counted on the exception
//! that is open; the message that it shows is kept for as long.
//! Knows nothing of: contracts; what is wrong comes in words, without a value.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::StoreError;
use super::writer::Opened;
use crate::admit::entry::Category;
use crate::admit::{Digest, DigestKey};
use crate::event::EventType;

/// A payload that did not satisfy its contract, or several of a kind.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The message.
    pub number: u64,
    /// The feed that it came in by.
    pub feed: Arc<str>,
    /// What makes two of a kind one.
    pub key: Digest,
    /// The field's path in the contract.
    pub place: String,
    /// What is wrong, in words.
    pub text: String,
    /// When it was found, in milliseconds since 1970.
    pub at: i64,
    /// When it was last found.
    pub last_at: i64,
    /// How often.
    pub count: u64,
}

/// Which violation.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'k> {
    /// The route.
    pub route: &'k str,
    /// Version of its contract.
    pub contract: &'k str,
    /// What the event says.
    pub kind: EventType,
    /// The field's path in the contract.
    pub place: &'k str,
}

impl Violation {
    /// One, of a message that came in by a feed.
    #[must_use]
    pub fn new(
        kind: Kind<'_>,
        (number, feed): (u64, &Arc<str>),
        digests: &DigestKey,
        at: i64,
    ) -> Self {
        let Kind { route, contract, kind, place } = kind;
        let text = format!(
            "route {route}, contract {contract}: what {kind} would let out here is not what the \
             contract says, so it did not leave"
        );
        // A later version of the contract that does no better is counted with the one before.
        let key = digests.text(&format!("{}\n{route}\n{kind}\n{place}", CATEGORY.name()));
        let (feed, place) = (Arc::clone(feed), place.to_owned());
        Self { number, feed, key, place, text, at, last_at: at, count: 1 }
    }

    /// Counts later ones of the same kind.
    pub(super) fn again(&mut self, later: Self) {
        self.count = self.count.saturating_add(later.count);
        self.last_at = later.last_at;
        self.text = later.text;
    }
}

/// What they are.
pub(super) const CATEGORY: Category = Category::ContractViolation;

/// Opens an exception, or counts where its like is open, in the open transaction.
pub(super) fn raise(connection: &Connection, violation: &Violation) -> Result<Opened, StoreError> {
    let Violation { number, feed, key, place, text, at, last_at, count } = violation;
    let count = count.cast_signed();
    let changed = connection
        .prepare_cached(
            "UPDATE exceptions SET count = count + ?, last_at = ?, text = ?
             WHERE feed = ? AND category = ? AND key = ?",
        )?
        .execute(params![count, last_at, text, feed, CATEGORY.name(), key.0])?;
    if changed > 0 {
        return Ok(Opened::Again);
    }
    // The cursor that passes the message is moved in this transaction, so that it is still there.
    connection
        .prepare_cached(
            "INSERT INTO exceptions
             (category, feed, key, number, type, place, text, first_at, last_at, count)
             SELECT ?1, ?2, ?3, number, type, ?4, ?5, ?6, ?7, ?8 FROM messages WHERE number = ?9",
        )?
        .execute(params![
            CATEGORY.name(),
            feed,
            key.0,
            place,
            text,
            at,
            last_at,
            count,
            number.cast_signed()
        ])?;
    Ok(Opened::New)
}
