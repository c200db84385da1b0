//! What people look up: messages and exceptions.
//!
//! Promises: a list is bounded; what is patient data is in a [`Phi`] or behind `show`.
//! Knows nothing of: how it is printed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, ToSql, params};

use super::StoreError;
use super::audit::read::AuditReader;
use super::batch::unpack_raw;
use super::connection::{Schema, open_for_reading};
use super::identity::known_digest_key;
use super::journal::FILE;
use super::ledger::{self, Filed};
use super::reader::{Reader, Row};
use super::seal::{Clear, Master, Part};
use super::{once, segments};
use crate::admit::{CorrelationId, Digest, DigestKey, Entry};
use crate::audit::by::correlation_of;
use crate::consent::Epoch;
use crate::contract::once::Occurrences;
use crate::event::Subject;
use crate::phi::Phi;
use crate::secret::{Key, unhex};

/// Most rows of one list.
pub const ROWS_MAX: u32 = 10_000;

/// Which messages.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this feed.
    pub feed: Option<String>,
    /// Of this type and trigger, such as `ADT^A01`, or of this type.
    pub kind: Option<String>,
    /// Of this status.
    pub status: Option<String>,
    /// That came in at or after this, in milliseconds since 1970.
    pub from: Option<i64>,
    /// That came in before this.
    pub to: Option<i64>,
    /// With this correlation ID.
    pub correlation_id: Option<CorrelationId>,
    /// At most so many, the newest; at most [`ROWS_MAX`].
    pub limit: u32,
}

/// A message as a list shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The entry.
    pub entry: Entry,
    /// Type and trigger.
    pub kind: String,
    /// MSH-10.
    pub control_id: Phi<String>,
    /// Whether it does not open, so that of the entry only what stands in clear is known.
    pub damaged: bool,
}

/// A message, whole.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As a list shows it.
    pub listed: Listed,
    /// The bytes as they came.
    pub raw: Phi<Vec<u8>>,
    /// Segments that had never come in on its feed before.
    pub new_segments: Vec<String>,
}

/// An exception as a list shows it.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Its number.
    pub id: i64,
    /// Its category.
    pub category: String,
    /// The feed.
    pub feed: String,
    /// The message that it shows.
    pub number: u64,
    /// Type and trigger of that.
    pub kind: String,
    /// Where it is wrong, such as `PID-3`.
    pub place: String,
    /// What is wrong.
    pub text: String,
    /// When it was opened, in milliseconds since 1970.
    pub first_at: i64,
    /// When it was last counted.
    pub last_at: i64,
    /// How often.
    pub count: u64,
    /// MSH-10 of the message that it shows.
    pub control_id: Phi<String>,
}

/// What a message is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageName {
    /// Its number in the journal.
    Number(u64),
    /// Its correlation ID, which the ID of each of its events begins with.
    Correlation(CorrelationId),
}

impl MessageName {
    /// Reads a number, a correlation ID, or the ID of an event.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        CorrelationId::read(correlation_of(text)).map(Self::Correlation)
    }
}

/// How far a route has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteState {
    /// The route.
    pub route: String,
    /// Every event up to and including this message is delivered.
    pub number: u64,
}

/// Looks things up in the store of a folder, whether a daemon runs or not.
#[derive(Debug)]
pub struct Lookup {
    reader: Reader,
    digests: DigestKey,
    state_dir: PathBuf,
    /// Opened when first asked.
    audit: Option<AuditReader>,
}

impl Lookup {
    /// Opens the store of a folder for reading.
    ///
    /// # Errors
    /// It is not there, or does not open with the master key.
    pub fn open(state_dir: &Path, master: &Key) -> Result<Self, StoreError> {
        let master = Master::new(master)?;
        let connection = open_for_reading(&state_dir.join(FILE), Schema::Journal)?;
        let digests = known_digest_key(&connection, &master)?;
        let reader = Reader::of(connection, master, digests.clone());
        Ok(Self { reader, digests, state_dir: state_dir.to_path_buf(), audit: None })
    }

    /// Messages, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn messages(&mut self, filter: &Filter) -> Result<Vec<Listed>, StoreError> {
        let mut conditions = Vec::new();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut add = |condition: &'static str, value: Box<dyn ToSql>| {
            conditions.push(condition);
            values.push(value);
        };
        if let Some(feed) = &filter.feed {
            add("feed = ?", Box::new(feed.clone()));
        }
        if let Some(kind) = &filter.kind {
            add("instr(type || '^', ? || '^') = 1", Box::new(kind.clone()));
        }
        if let Some(status) = &filter.status {
            add("status = ?", Box::new(status.clone()));
        }
        if let Some(from) = filter.from {
            add("at >= ?", Box::new(from));
        }
        if let Some(to) = filter.to {
            add("at < ?", Box::new(to));
        }
        if let Some(id) = &filter.correlation_id {
            let number = self.number_of(id)?.unwrap_or(0);
            add("number = ?", Box::new(number.cast_signed()));
        }
        let condition =
            if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
        values.push(Box::new(i64::from(filter.limit.min(ROWS_MAX))));
        let sql = format!(
            "SELECT number, at, feed, type, status, epoch, content, raw FROM messages
             WHERE {condition} ORDER BY number DESC LIMIT ?"
        );
        let rows = {
            let mut statement = self.reader.connection.prepare(&sql)?;
            let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
            let rows = statement.query_map(values.as_slice(), found)?;
            rows.collect::<Result<Vec<_>, _>>()?
        };
        rows.into_iter().map(|found| self.listed(found)).collect()
    }

    /// One message, whole.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn message(&mut self, number: u64) -> Result<Option<Shown>, StoreError> {
        let found = self
            .reader
            .connection
            .query_row(
                "SELECT number, at, feed, type, status, epoch, content, raw FROM messages
                 WHERE number = ?",
                [number.cast_signed()],
                found,
            )
            .optional()?;
        let Some(found) = found else { return Ok(None) };
        let mut shown = self.shown(found)?;
        shown.new_segments = segments::first_in(&self.reader.connection, number)?;
        Ok(Some(shown))
    }

    /// What is filed of the consent of each subject that a message is about, in the order of its
    /// events.
    ///
    /// # Errors
    /// The store cannot be read, or a record is not what was written.
    pub fn consents(&mut self, number: u64) -> Result<Option<Vec<(Subject, Filed)>>, StoreError> {
        let Some(shown) = self.message(number)? else { return Ok(None) };
        let mut subjects: Vec<Subject> = Vec::new();
        for stored in &shown.listed.entry.content.events {
            let subject = stored.subject();
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
        let mut found = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let filed = self.filed(&subject)?;
            found.push((subject, filed));
        }
        Ok(Some(found))
    }

    /// What is filed of the consent of a subject.
    ///
    /// # Errors
    /// The store cannot be read, or a record is not what was written.
    pub fn filed(&mut self, subject: &Subject) -> Result<Filed, StoreError> {
        let digest = self.digests.subject(subject);
        ledger::read_from(&mut self.reader, &digest).map(|(filed, _)| filed)
    }

    /// What was filed under a subject up to a message, as a record of the evidence names both.
    ///
    /// # Errors
    /// The store cannot be read, or a record is not what was written.
    // PROMISE-8: what a decision rested on can be read again.
    pub fn filed_as_of(&mut self, subject: &Digest, epoch: Epoch) -> Result<Filed, StoreError> {
        Ok(ledger::read_as_of(&mut self.reader, subject, epoch)?.0)
    }

    /// What a route's sources told of a transition.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn told(&mut self, route: &str, transition: &Digest) -> Result<Occurrences, StoreError> {
        let (connection, keys) = self.reader.parts();
        once::read(connection, keys, route, transition)
    }

    /// The key of the digests that stand for subjects, visits and consents in the evidence.
    #[must_use]
    pub const fn digests(&self) -> &DigestKey {
        &self.digests
    }

    /// The evidence beside it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn audit(&mut self) -> Result<&AuditReader, StoreError> {
        let opened = match self.audit.take() {
            Some(opened) => opened,
            None => AuditReader::open(&self.state_dir.join(super::audit::FILE))?,
        };
        Ok(self.audit.insert(opened))
    }

    /// The subjects that a message is about, and those who are or were one person with them, as
    /// records of the evidence name them. A message that is not in the journal any more is known by
    /// what was decided about it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn subjects_of(
        &mut self,
        message: &MessageName,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let number = match message {
            MessageName::Number(number) => Some(*number),
            MessageName::Correlation(id) => self.number_of(id)?,
        };
        let shown = match number {
            Some(number) => self.message(number)?,
            None => None,
        };
        let digests: Vec<Digest> = match (&shown, message) {
            (Some(shown), _) => {
                let events = shown.listed.entry.content.events.iter();
                events.map(|stored| self.digests.subject(&stored.subject())).collect()
            }
            (None, MessageName::Correlation(id)) => {
                let subjects = self.audit()?.subjects_of(&id.to_string())?;
                let digest = |text: &String| Some(Digest(unhex(text)?.try_into().ok()?));
                subjects.iter().filter_map(digest).collect()
            }
            (None, MessageName::Number(_)) => return Ok(None),
        };
        let mut subjects = BTreeSet::new();
        for digest in &digests {
            let (filed, _) = ledger::read_from(&mut self.reader, digest)?;
            subjects.insert(*digest);
            subjects.extend(filed.others().iter().map(|other| self.digests.subject(other)));
        }
        let subjects: Vec<String> = subjects.iter().map(|digest| format!("{digest:?}")).collect();
        Ok((shown.is_some() || !subjects.is_empty()).then_some(subjects))
    }

    /// The number of the message with a correlation ID.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn number_of(&self, id: &CorrelationId) -> Result<Option<u64>, StoreError> {
        let key = self.digests.correlation(&id.correlation);
        let found = self
            .reader
            .connection
            .query_row(
                "SELECT number FROM correlations WHERE key = ? AND epoch = ?",
                params![key.0, id.epoch],
                |row| row.get::<_, i64>(0),
            )
            .optional()?;
        Ok(found.map(i64::cast_unsigned))
    }

    /// How far each route has come, also those that are no longer configured.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn routes(&self) -> Result<Vec<RouteState>, StoreError> {
        let mut statement = self
            .reader
            .connection
            .prepare_cached("SELECT route, number FROM cursors ORDER BY route")?;
        let rows = statement.query_map([], |row| {
            Ok(RouteState { route: row.get(0)?, number: row.get::<_, i64>(1)?.cast_unsigned() })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Exceptions, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn exceptions(
        &mut self,
        category: Option<&str>,
        feed: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Exception>, StoreError> {
        let found = {
            let mut statement = self.reader.connection.prepare(
                "SELECT m.number, m.at, m.feed, m.type, m.status, m.epoch, m.content, m.raw,
                        e.id, e.category, e.place, e.text, e.first_at, e.last_at, e.count
                 FROM exceptions e JOIN messages m ON m.number = e.number
                 WHERE (?1 IS NULL OR e.category = ?1) AND (?2 IS NULL OR e.feed = ?2)
                 ORDER BY e.id LIMIT ?3",
            )?;
            let rows =
                statement.query_map(params![category, feed, limit.min(ROWS_MAX)], exception)?;
            rows.collect::<Result<Vec<_>, _>>()?
        };
        found
            .into_iter()
            .map(|(mut exception, (row, sealed))| {
                exception.control_id = self.listed((row, sealed))?.control_id;
                Ok(exception)
            })
            .collect()
    }

    /// One exception.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn exception(&mut self, id: i64) -> Result<Option<(Exception, Shown)>, StoreError> {
        let found = self
            .reader
            .connection
            .query_row(
                "SELECT m.number, m.at, m.feed, m.type, m.status, m.epoch, m.content, m.raw,
                        e.id, e.category, e.place, e.text, e.first_at, e.last_at, e.count
                 FROM exceptions e JOIN messages m ON m.number = e.number WHERE e.id = ?",
                [id],
                exception,
            )
            .optional()?;
        let Some((mut exception, _)) = found else { return Ok(None) };
        let corrupt = || StoreError::Corrupt { what: format!("message {}", exception.number) };
        let shown = self.message(exception.number)?.ok_or_else(corrupt)?;
        exception.control_id = shown.listed.control_id.clone();
        Ok(Some((exception, shown)))
    }

    /// A row of a list: one that does not open is listed by what it says in clear.
    fn listed(&mut self, found: Found) -> Result<Listed, StoreError> {
        let (row, _) = &found;
        let entry = Entry::without_events(row.number, row.at, row.feed.as_str().into());
        let damaged =
            Listed { entry, kind: row.kind.clone(), control_id: Phi::default(), damaged: true };
        match self.shown(found) {
            Err(StoreError::Sealed { .. } | StoreError::Corrupt { .. }) => Ok(damaged),
            shown => Ok(shown?.listed),
        }
    }

    fn shown(&mut self, found: Found) -> Result<Shown, StoreError> {
        let (row, sealed) = found;
        let (control_id, raw) = self.raw(&row.clear(), &sealed)?;
        let kind = row.kind.clone();
        let entry = self.reader.entry(row)?;
        let listed = Listed { entry, kind, control_id, damaged: false };
        Ok(Shown { listed, raw, new_segments: Vec::new() })
    }

    fn raw(
        &mut self,
        clear: &Clear<'_>,
        sealed: &[u8],
    ) -> Result<(Phi<String>, Phi<Vec<u8>>), StoreError> {
        let packed = self.reader.open_sealed(clear, Part::Raw, sealed)?;
        let corrupt = || StoreError::Corrupt { what: format!("message {}", clear.number) };
        let (control_id, raw) = unpack_raw(&packed).ok_or_else(corrupt)?;
        Ok((Phi::new(control_id), Phi::new(raw.to_vec())))
    }
}

type Found = (Row, Vec<u8>);

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok((Row::read(row)?, row.get(7)?))
}

fn exception(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Exception, Found)> {
    let message = found(row)?;
    let exception = Exception {
        id: row.get(8)?,
        category: row.get(9)?,
        feed: message.0.feed.clone(),
        number: message.0.number,
        kind: message.0.kind.clone(),
        place: row.get(10)?,
        text: row.get(11)?,
        first_at: row.get(12)?,
        last_at: row.get(13)?,
        count: row.get::<_, i64>(14)?.cast_unsigned(),
        control_id: Phi::default(),
    };
    Ok((exception, message))
}
