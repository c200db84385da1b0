//! What people look up of the evidence.
//!
//! Promises: a list is bounded, and says so where there may be more; what another patient shares a
//! key with is not shown.
//! Knows nothing of: how it is printed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::params;

use super::super::StoreError;
use super::read::{AuditReader, decision, parse};
use crate::audit::by::correlation_of;
use crate::audit::{By, Decision, Outcome, Record, Says};

/// Most records of one list.
pub const ROWS_MAX: u32 = 10_000;
/// Most records that are looked at for a list where nothing leads to them: a second or two.
const LOOKED_MAX: u64 = 200_000;

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// About this event, or linked with it.
    pub event: Option<String>,
    /// About events of the message with this correlation ID.
    pub correlation: Option<String>,
    /// About one of these subjects, by keyed digest.
    pub subjects: Option<Vec<String>>,
    /// About the subject that a consumer knows by this token.
    pub token: Option<String>,
    /// That rest on this consent record, by keyed digest.
    pub consent: Option<String>,
    /// Of this outcome.
    pub outcome: Option<Outcome>,
    /// On this route.
    pub route: Option<String>,
    /// Acts of this name.
    pub act: Option<String>,
    /// Recorded at or after this.
    pub from: Option<Timestamp>,
    /// Recorded before this.
    pub to: Option<Timestamp>,
    /// Below this number: where an earlier list ended.
    pub below: Option<u64>,
    /// At most so many, the newest; at most [`ROWS_MAX`].
    pub limit: u32,
}

/// What was found, the newest first.
#[derive(Clone, Debug, Default)]
pub struct FoundRecords {
    /// The records.
    pub records: Vec<Record>,
    /// Below which number there may be more.
    pub more_below: Option<u64>,
    /// Up to which number records were moved out to segments, which are not looked through.
    pub archived: u64,
}

impl AuditReader {
    /// Looks for records, the newest first.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn find(&self, sought: &Sought) -> Result<FoundRecords, StoreError> {
        let archived = self.archived()?;
        let mut found = FoundRecords { archived, ..FoundRecords::default() };
        let limit = sought.limit.min(ROWS_MAX) as usize;
        let mut looked = 0_u64;
        let mut take = |record: Record| {
            looked += 1;
            if sought.below.is_some_and(|below| record.number >= below) {
                return true;
            }
            if looked > LOOKED_MAX || found.records.len() == limit {
                found.more_below = Some(record.number + 1);
                return false;
            }
            if sought.matches(&record) {
                found.records.push(record);
            }
            true
        };
        match sought.keys() {
            // Of several subjects of one message, each in turn.
            Some(keys) => {
                for key in keys {
                    self.newest_first(key, archived, &mut take)?;
                }
                found.records.sort_by_key(|record| std::cmp::Reverse(record.number));
            }
            None => self.all_newest_first(sought.below, archived, &mut take)?,
        }
        Ok(found)
    }

    /// Every record about a subject: an account of what left must be whole.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn about(&self, subject: &str) -> Result<FoundRecords, StoreError> {
        let archived = self.archived()?;
        let mut found = FoundRecords { archived, ..FoundRecords::default() };
        self.newest_first(By::Subject(subject), archived, |record| {
            if decision(&record).is_some_and(|one| *one.subject == *subject) {
                found.records.push(record);
            }
            true
        })?;
        Ok(found)
    }

    /// The subjects, by keyed digest, that the records about a message name.
    ///
    /// # Errors
    /// The evidence cannot be read.
    pub fn subjects_of(&self, correlation: &str) -> Result<Vec<String>, StoreError> {
        let mut subjects = BTreeSet::new();
        self.newest_first(By::Correlation(correlation), 0, |record| {
            if let Some(one) =
                decision(&record).filter(|one| correlation_of(&one.event) == correlation)
            {
                subjects.insert(one.subject.to_string());
            }
            true
        })?;
        Ok(subjects.into_iter().collect())
    }

    /// Hands over every record from the oldest on that is still here, until told to stop.
    ///
    /// # Errors
    /// The evidence cannot be read, or what `take` says.
    pub fn each<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(Record, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let store = |error: rusqlite::Error| E::from(StoreError::from(error));
        let mut statement = self
            .connection
            .prepare("SELECT number, bytes FROM records WHERE number > ? ORDER BY number")
            .map_err(store)?;
        let mut rows = statement.query([self.archived()?.cast_signed()]).map_err(store)?;
        while let Some(row) = rows.next().map_err(store)? {
            let number = row.get::<_, i64>(0).map_err(store)?.cast_unsigned();
            let bytes: Vec<u8> = row.get(1).map_err(store)?;
            take(parse(number, &bytes)?, &bytes)?;
        }
        Ok(())
    }

    /// The last record that was moved out.
    fn archived(&self) -> Result<u64, StoreError> {
        let last: Option<i64> =
            self.connection.query_row("SELECT max(last) FROM segments", [], |row| row.get(0))?;
        Ok(last.map_or(0, i64::cast_unsigned))
    }

    fn all_newest_first(
        &self,
        below: Option<u64>,
        archived: u64,
        mut take: impl FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        let below = below.map_or(i64::MAX, u64::cast_signed);
        let mut statement = self.connection.prepare_cached(
            "SELECT number, bytes FROM records WHERE number > ? AND number < ?
             ORDER BY number DESC",
        )?;
        let mut rows = statement.query(params![archived.cast_signed(), below])?;
        while let Some(row) = rows.next()? {
            let number = row.get::<_, i64>(0)?.cast_unsigned();
            if !take(parse(number, row.get_ref(1)?.as_blob().unwrap_or_default())?) {
                break;
            }
        }
        Ok(())
    }
}

impl Sought {
    /// What leads to them, the rarest first; nothing where all have to be looked at.
    fn keys(&self) -> Option<Vec<By<'_>>> {
        if let Some(event) = &self.event {
            return Some(vec![By::Correlation(correlation_of(event))]);
        }
        if let Some(correlation) = &self.correlation {
            return Some(vec![By::Correlation(correlation)]);
        }
        if let Some(consent) = &self.consent {
            return Some(vec![By::Consent(consent)]);
        }
        if let Some(subjects) = &self.subjects {
            return Some(subjects.iter().map(|subject| By::Subject(subject)).collect());
        }
        if let Some(token) = &self.token {
            return Some(vec![By::Token(token)]);
        }
        self.act.as_deref().map(|act| vec![By::Act(act)])
    }

    fn matches(&self, record: &Record) -> bool {
        let in_time = self.from.is_none_or(|from| record.at >= from)
            && self.to.is_none_or(|to| record.at < to);
        let says = match &record.says {
            Says::Decision(one) => self.act.is_none() && self.matches_decision(one),
            Says::Act(act) => {
                is(&self.act, Some(&act.act))
                    && is(&self.route, act.with.get("route").map(String::as_str))
                    && self.outcome.is_none()
                    && self.subjects.is_none()
                    && [&self.event, &self.correlation, &self.token, &self.consent]
                        .into_iter()
                        .all(Option::is_none)
            }
        };
        in_time && says
    }

    fn matches_decision(&self, one: &Decision) -> bool {
        // Who asks for the one that left is told of those that were linked with it.
        let by = one.told_by.as_deref();
        let named = is(&self.event, Some(&one.event)) || is(&self.event, by);
        let of_message = is(&self.correlation, Some(correlation_of(&one.event)))
            || is(&self.correlation, by.map(correlation_of));
        named
            && of_message
            && (is(&self.token, one.token.as_deref()) || is(&self.token, one.retired.as_deref()))
            && is(&self.route, Some(&one.under.route))
            && self.outcome.is_none_or(|outcome| outcome == one.outcome)
            && self
                .subjects
                .as_ref()
                .is_none_or(|subjects| subjects.iter().any(|it| **it == *one.subject))
            && self
                .consent
                .as_ref()
                .is_none_or(|consent| one.consents.iter().any(|found| found.record == *consent))
    }
}

/// Whether it is what is wanted; anything is where nothing is.
fn is(wanted: &Option<String>, found: Option<&str>) -> bool {
    wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
}
