//! What one transaction does with each message that rides in it.
//!
//! Promises: message, correlation, exception and events are written together or not at all;
//! duplicates are found in the open transaction, too; a refused message that was refused
//! before costs a count and no space.
//! Knows nothing of: when a transaction begins and ends.

use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::acts::{self, Plan};
use super::kept::Shelves;
use super::ledger::{self, Brought, Filing};
use super::profiles::{Changes, Profiles};
use super::seal::{Clear, Part, Sealer};
use super::segments::Segments;
use crate::admit::entry::{Admission, Category, Content, Given, Raised, Status};
use crate::admit::{CorrelationId, Digest, DigestKey, Entry, Known, Novelty, novelty};

/// What a consent record adds to the log, about: it lies by its subject, so that each touches a page
/// of the ledger and one of its index that no other touches.
const CONSENT_LOG_BYTES: usize = 16 << 10;

/// An admission with its events as JSON, made where the message was read and not where all
/// messages wait.
#[derive(Debug)]
pub(super) struct Prepared {
    pub admission: Admission,
    pub content_json: Vec<u8>,
}

impl Prepared {
    pub fn new(admission: Admission) -> Result<Self, StoreError> {
        // Events are about twice as long as the message that they were made of.
        let room = 512 + 2 * admission.raw.expose().len();
        let mut content_json = Vec::with_capacity(room);
        write_content(&mut content_json, &admission.content)?;
        Ok(Self { admission, content_json })
    }

    /// Bytes that it adds to a transaction, about.
    pub fn bytes(&self) -> usize {
        let consents = self.admission.consents.len() * CONSENT_LOG_BYTES;
        self.content_json.len() + self.admission.raw.expose().len() + consents
    }
}

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its number; nothing for a duplicate, nor for what was refused before.
    pub number: Option<u64>,
    /// Whether it is new; of what is refused, nobody knows.
    pub novelty: Option<Novelty>,
    /// The category of the exception that it opened or counted.
    pub raised: Option<(Category, Opened)>,
}

/// Whether an exception is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is.
    New,
    /// Its like was open; it was counted.
    Again,
}

/// What the transaction holds on to.
pub(super) struct Context<'c> {
    pub connection: &'c Connection,
    pub sealer: &'c mut Sealer,
    pub digests: &'c DigestKey,
    pub next_number: &'c mut u64,
    /// The highest epoch of any correlation that is deleted.
    pub forgotten: u32,
    /// Subjects whose consent has new records.
    pub consented: &'c mut Vec<Digest>,
    /// How subjects were described before.
    pub profiles: &'c mut Profiles,
    pub filing: &'c mut Filing,
    /// Which segments came in on each feed.
    pub segments: &'c mut Segments,
    /// What feeds remember.
    pub shelves: &'c mut Shelves,
}

/// What became of a message, and the entry that the routes will read, with the bytes behind it.
pub(super) type Appended = (Admitted, Option<(Arc<Entry>, usize)>);

/// Writes one message into the open transaction.
// PROMISE-1, PROMISE-2, PROMISE-3
pub(super) fn append(
    context: &mut Context<'_>,
    prepared: Prepared,
) -> Result<Appended, StoreError> {
    let Prepared { mut admission, mut content_json } = prepared;
    let decided = match &admission.correlated {
        None => None,
        Some(correlated) => {
            let key = context.digests.correlation(&correlated.correlation);
            let known = known(context.connection, &key.0)?;
            let windows = correlated.windows;
            let forgotten = context.forgotten;
            let decided =
                novelty(correlated.content, &known, forgotten, windows, admission.received_at);
            Some((key, *correlated, decided))
        }
    };
    if let Some((_, _, decided)) = &decided {
        match decided {
            Novelty::Duplicate { .. } => {
                let admitted = Admitted { number: None, novelty: Some(*decided), raised: None };
                return Ok((admitted, None));
            }
            Novelty::Conflict { .. } => {
                let text = "other content under a control ID that was used before";
                park(&mut admission, Category::CorrelationConflict, text, "MSH-10");
            }
            Novelty::New { .. } | Novelty::Wrapped { .. } => {}
        }
    }
    let mut described = Changes::new();
    if admission.status == Status::Admitted {
        match context.profiles.weigh(context.connection, &admission.described)? {
            Some(changes) => described = changes,
            // Which of the two it is about is not guessed.
            None => park(&mut admission, Category::IdentityConflict, SOMEBODY_ELSE, "PID-3"),
        }
    }
    let number = *context.next_number;
    let said = acts::plan(
        context.connection,
        context.digests,
        &admission.acts,
        number,
        admission.received_at,
    )?;
    let said = said.unwrap_or_else(|unclear| {
        // Not guessed: it is as if it had not been said, until a human looks.
        park(&mut admission, Category::IdentityConflict, unclear.text(), "PID-3");
        Plan::default()
    });
    if admission.restates && said.leave_out_known(&mut admission) {
        content_json.clear();
        write_content(&mut content_json, &admission.content)?;
    }
    let again = match &admission.raised {
        Some(raised) => count_again(context.connection, &admission, raised)?,
        None => false,
    };
    let novelty = decided.map(|(_, _, decided)| decided);
    let opened = if again { Opened::Again } else { Opened::New };
    let raised = admission.raised.as_ref().map(|raised| (raised.category, opened));
    if again && admission.status == Status::Refused {
        return Ok((Admitted { number: None, novelty, raised }, None));
    }
    let epoch = novelty.map_or(0, Novelty::epoch);
    let bytes = write_message(context, &admission, &content_json, number, epoch)?;
    let first = (number, admission.received_at);
    let names = &admission.content.segments;
    context.segments.note(context.connection, &admission.feed, names, first)?;
    if let Some((key, correlated, _)) = &decided {
        context
            .connection
            .prepare_cached(
                "INSERT INTO correlations (key, epoch, content, at, number) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                key.0,
                epoch,
                correlated.content.0,
                admission.received_at,
                number.cast_signed()
            ])?;
    }
    let correlation_id = decided
        .map(|(_, correlated, _)| CorrelationId { correlation: correlated.correlation, epoch });
    let brought = Brought { number, at: admission.received_at, feed: &admission.feed };
    let Context { connection, sealer, consented, .. } = context;
    acts::write(connection, sealer, brought, &said)?;
    consented.extend(&said.touched);
    if admission.status == Status::Admitted {
        context.profiles.write(connection, &described)?;
    }
    let Context { connection, sealer, digests, shelves, .. } = context;
    let of = (&admission.feed, admission.received_at);
    shelves.write((*connection, &mut **sealer, *digests), of, &admission.kept)?;
    if let Some(id) = &correlation_id
        && !admission.consents.is_empty()
    {
        // PROMISE-5: what a message says of consent is durable with it, or the message is not.
        let consents = std::mem::take(&mut admission.consents);
        let given: Vec<Given> = consents.into_iter().map(|given| given.of(id)).collect();
        let Context { connection, sealer, digests, filing, consented, .. } = context;
        let of = ledger::write(connection, sealer, digests, filing, brought, &given)?;
        // What one decided may hold for all who are one person with it.
        consented.extend(acts::families(connection, &of)?);
    }
    if let Some(raised) = admission.raised.as_ref().filter(|_| !again) {
        open_exception(context.connection, &admission, raised, number)?;
    }
    *context.next_number += 1;
    let entry = Entry {
        number,
        received_at: admission.received_at,
        feed: admission.feed,
        status: admission.status,
        correlation_id,
        content: Arc::new(admission.content),
        facts: OnceLock::new(),
    };
    Ok((Admitted { number: Some(number), novelty, raised }, Some((Arc::new(entry), bytes))))
}

fn write_content(out: &mut Vec<u8>, content: &Content) -> Result<(), StoreError> {
    serde_json::to_writer(out, content)
        .map_err(|_| StoreError::Corrupt { what: "an event".to_owned() })
}

/// What is wrong with a message that describes another person than those before it.
const SOMEBODY_ELSE: &str =
    "name, birth date and sex are all others than before under the same identifier";

/// Takes a message whose events are not to leave. What it says of consent closes; what it does to
/// subjects is not done, and what its feed would remember of it is not remembered.
fn park(admission: &mut Admission, category: Category, text: &str, place: &str) {
    let Some(correlated) = admission.correlated else { return };
    admission.status = Status::Parked;
    admission.raised = Some(Raised {
        category,
        key: correlated.content,
        text: text.to_owned(),
        place: place.to_owned(),
    });
    admission.consents = std::mem::take(&mut admission.on_conflict);
    admission.acts = Vec::new();
    admission.kept = Vec::new();
}

fn known(connection: &Connection, key: &[u8; 16]) -> Result<Vec<Known>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT epoch, content, at FROM correlations WHERE key = ?")?;
    let rows = statement.query_map([key], |row| {
        Ok(Known {
            epoch: row.get(0)?,
            content: crate::admit::Digest(row.get(1)?),
            at: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn write_message(
    context: &mut Context<'_>,
    admission: &Admission,
    content_json: &[u8],
    number: u64,
    epoch: u32,
) -> Result<usize, StoreError> {
    let correlation = admission.correlated.map(|correlated| *correlated.correlation.bytes());
    let content = [&correlation.unwrap_or_default()[..], content_json].concat();
    let clear = Clear {
        number,
        at: admission.received_at,
        feed: &admission.feed,
        kind: &admission.kind,
        status: admission.status.name(),
        epoch,
    };
    let content = context.sealer.seal(&clear, Part::Content, &content)?;
    let raw = pack_raw(admission.control_id.expose(), admission.raw.expose());
    let raw = context.sealer.seal(&clear, Part::Raw, &raw)?;
    let bytes = content.len() + raw.len();
    context
        .connection
        .prepare_cached(
            "INSERT INTO messages (number, at, feed, type, status, epoch, content, raw)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            number.cast_signed(),
            admission.received_at,
            admission.feed,
            admission.kind,
            admission.status.name(),
            epoch,
            content,
            raw
        ])?;
    Ok(bytes)
}

/// Control ID, behind its length, and the bytes of the message.
fn pack_raw(control_id: &str, raw: &[u8]) -> Vec<u8> {
    // A control ID has at most 255 bytes, or the message is malformed and it is cut here.
    let id = control_id.get(..255).unwrap_or(control_id).as_bytes();
    let id = id.get(..255).unwrap_or(id);
    let mut packed = Vec::with_capacity(1 + id.len() + raw.len());
    packed.push(u8::try_from(id.len()).unwrap_or(0));
    packed.extend(id);
    packed.extend(raw);
    packed
}

/// What [`pack_raw`] packed.
pub(super) fn unpack_raw(packed: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = packed.split_first()?;
    let (id, raw) = rest.split_at_checked(usize::from(*length))?;
    Some((String::from_utf8_lossy(id).into_owned(), raw))
}

/// Counts an exception of the same kind that is open; false where there is none.
fn count_again(
    connection: &Connection,
    admission: &Admission,
    raised: &Raised,
) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE exceptions SET count = count + 1, last_at = ?
             WHERE feed = ? AND category = ? AND key = ?",
        )?
        .execute(params![
            admission.received_at,
            admission.feed,
            raised.category.name(),
            raised.key.0
        ])?;
    Ok(changed > 0)
}

fn open_exception(
    connection: &Connection,
    admission: &Admission,
    raised: &Raised,
    number: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO exceptions
             (category, feed, key, number, type, place, text, first_at, last_at, count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 1)",
        )?
        .execute(params![
            raised.category.name(),
            admission.feed,
            raised.key.0,
            number.cast_signed(),
            admission.kind,
            raised.place,
            raised.text,
            admission.received_at
        ])?;
    Ok(())
}

/// The highest number in the journal; 0 where it is empty.
pub(super) fn highest_number(connection: &Connection) -> Result<u64, StoreError> {
    let found: Option<i64> = connection
        .query_row("SELECT max(number) FROM messages", [], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(found.map_or(0, i64::cast_unsigned))
}
