//! What was said of subjects: looked at, and kept.
//!
//! Promises: an act is written in the transaction of its message, and neither changed nor deleted; an
//! act that is not clear is not written, nor is what is said again, which may be left untold, too.
//! Knows nothing of: when a transaction begins and ends, what follows for anybody's consent.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::family::{Family, time};
use super::ledger::Brought;
use super::seal::{Part, Sealer};
use crate::admit::entry::{Acted, Admission};
use crate::admit::{Digest, DigestKey};
use crate::consent::{Said, Unclear};
use crate::event::{Act, Subject};

/// What of a message's acts is to be written, and whom it concerns.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub rows: Vec<(Acted, [Digest; 2])>,
    /// Everybody whose group is another then.
    pub touched: Vec<Digest>,
}

impl Plan {
    /// Leaves out the events of acts that are known; whether there were any. The two subjects of an act
    /// are those of its event.
    // PROMISE-2: a merge that each version of a resource says again is told once.
    pub fn leave_out_known(&self, admission: &mut Admission) -> bool {
        let is_news = |acted: &Acted| self.rows.iter().any(|(news, _)| news == acted);
        let known = admission.acts.iter().filter(|it| it.act != Act::Move && !is_news(it));
        let known: Vec<&Acted> = known.collect();
        let events = &mut admission.content.events;
        let before = events.len();
        events.retain(|event| {
            let (prior, subject) = (event.prior(), event.subject());
            !known.iter().any(|acted| prior.as_ref() == Some(&acted.from) && subject == acted.into)
        });
        events.len() < before
    }
}

/// An act as it stands in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The message that brought it.
    pub message: u64,
    /// Its feed.
    pub feed: String,
    /// What it does, such as `merge`.
    pub act: String,
    /// The one that is retired or renamed; of a link the one that is named first.
    pub from: Digest,
    /// The one that stays.
    pub into: Digest,
}

/// The next acts of messages after one, in order: whole messages, and so many rows at least where
/// there are as many.
pub(super) fn after(
    connection: &Connection,
    message: u64,
    limit: u32,
) -> Result<Vec<Noted>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, feed, act, subject, other FROM acts
         WHERE side = 'from' AND number > ?1 AND number <= coalesce(
             (SELECT number FROM acts WHERE number > ?1 ORDER BY number, nth LIMIT 1 OFFSET ?2),
             (SELECT max(number) FROM acts))
         ORDER BY number, nth",
    )?;
    let rows = statement.query_map(params![message.cast_signed(), limit], |row| {
        Ok(Noted {
            message: row.get::<_, i64>(0)?.cast_unsigned(),
            feed: row.get(1)?,
            act: row.get(2)?,
            from: Digest(row.get(3)?),
            into: Digest(row.get(4)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Looks at what a message says of subjects, after all that was said before.
///
/// # Errors
/// The store cannot be read; within, that it is not clear.
pub(super) fn plan(
    connection: &Connection,
    digests: &DigestKey,
    acts: &[Acted],
    number: u64,
    at: i64,
) -> Result<Result<Plan, Unclear>, StoreError> {
    let kept = acts.iter().filter(|acted| acted.act != Act::Move);
    let pairs: Vec<(&Acted, [Digest; 2])> = kept
        .map(|acted| (acted, [digests.subject(&acted.from), digests.subject(&acted.into)]))
        .collect();
    if pairs.is_empty() {
        return Ok(Ok(Plan::default()));
    }
    let all: Vec<Digest> = pairs.iter().flat_map(|(_, pair)| *pair).collect();
    let mut family = Family::read(connection, &all)?;
    let mut persons = family.persons();
    let mut rows = Vec::new();
    for (acted, pair) in pairs {
        let [from, into] = pair.map(|digest| family.add(digest.0));
        let said = Said { act: acted.act, from, into, at: time(at), number };
        let changes = match persons.say(said) {
            Ok(changes) => changes,
            Err(unclear) => return Ok(Err(unclear)),
        };
        let is_news = match acted.act {
            Act::Link => !is_linked(connection, pair)?,
            Act::Unlink => changes || is_linked(connection, pair)?,
            Act::Merge | Act::Rekey | Act::Move => changes,
        };
        if is_news {
            rows.push((acted.clone(), pair));
        }
    }
    let touched = family.members().iter().copied().map(Digest).collect();
    Ok(Ok(Plan { rows, touched }))
}

/// Whether a link of two stands.
fn is_linked(connection: &Connection, pair: [Digest; 2]) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT act = 'link' FROM acts WHERE subject = ? AND other = ? AND act IN ('link', 'unlink')
         ORDER BY number DESC, nth DESC LIMIT 1",
    )?;
    let found = statement.query_row([pair[0].0, pair[1].0], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
}

/// Writes what was planned into the open transaction.
pub(super) fn write(
    connection: &Connection,
    sealer: &mut Sealer,
    brought: Brought<'_>,
    plan: &Plan,
) -> Result<(), StoreError> {
    let mut nth = 0_u32;
    for (Acted { act, from, into }, pair) in &plan.rows {
        let name = |subject: &Subject| [subject.authority.clone(), subject.value.expose().clone()];
        let names = serde_json::to_vec(&[name(from), name(into)])
            .map_err(|_| StoreError::Corrupt { what: "an act".to_owned() })?;
        let [from, into] = pair;
        for (side, one, other) in [("from", from, into), ("into", into, from)] {
            let bytes = [&one.0[..], &other.0, &names].concat();
            let clear = brought.of_act(act.name(), side, nth);
            let sealed = sealer.seal(&clear, Part::Act, &bytes)?;
            connection
                .prepare_cached(
                    "INSERT INTO acts (subject, number, nth, at, feed, act, side, other, sealed)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    one.0,
                    brought.number.cast_signed(),
                    nth,
                    brought.at,
                    brought.feed,
                    act.name(),
                    side,
                    other.0,
                    sealed
                ])?;
            nth += 1;
        }
    }
    Ok(())
}

/// Everybody in the families of some subjects.
pub(super) fn families(
    connection: &Connection,
    subjects: &[Digest],
) -> Result<Vec<Digest>, StoreError> {
    let family = Family::read(connection, subjects)?;
    Ok(family.members().iter().copied().map(Digest).collect())
}
