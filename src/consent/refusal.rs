//! A no: its code, its sentence, and the records behind it.
//!
//! Promises: the words of codes are stable, they stand in metrics and in the audit; a sentence
//! holds codes, dates and keys, no names and nothing that a sender wrote in words.
//! Knows nothing of: how it came to be.

use std::fmt;
use std::time::Duration;

use super::record::{Record, Reference};

/// Why not. In this order: where several hold, the answer is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// A message that bears a consent could not be applied.
    Closed,
    /// A restriction of the person or the visit.
    Restricted,
    /// A status that nobody mapped.
    UnknownStatus,
    /// A decision that is dated in the future.
    FutureDated,
    /// Withdrawn.
    Revoked,
    /// Refused.
    Refused,
    /// A preference narrows what is permitted.
    Preference,
    /// The event bears a label that contract or permit do not.
    Label,
    /// What was permitted has ended.
    Expired,
    /// The permit was closed without a decision.
    Inactive,
    /// What is permitted has not begun.
    NotYetEffective,
    /// A representative's permit for a minor does not hold for this, or no longer.
    Minor,
    /// The patient could not decide, and nobody did instead.
    NotCompetent,
    /// Nothing says yes.
    Missing,
    /// The contract, or the agreement behind it, has ended: nobody was asked.
    Ended,
}

impl Code {
    /// Every code, in the order of docs/consent.md.
    pub const ALL: [Self; 15] = [
        Self::Closed,
        Self::Restricted,
        Self::UnknownStatus,
        Self::FutureDated,
        Self::Revoked,
        Self::Refused,
        Self::Preference,
        Self::Label,
        Self::Expired,
        Self::Inactive,
        Self::NotYetEffective,
        Self::Minor,
        Self::NotCompetent,
        Self::Missing,
        Self::Ended,
    ];

    /// The word in metrics, the audit and docs/consent.md.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Restricted => "restricted",
            Self::UnknownStatus => "unknown-status",
            Self::FutureDated => "future-dated",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::Preference => "preference",
            Self::Label => "label",
            Self::Expired => "expired",
            Self::Inactive => "inactive",
            Self::NotYetEffective => "not-yet-effective",
            Self::Minor => "minor",
            Self::NotCompetent => "not-competent",
            Self::Missing => "missing",
            Self::Ended => "contract-ended",
        }
    }

    /// The code of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// The rule of docs/consent.md that it comes of; none where nobody was asked.
    #[must_use]
    pub const fn rule(self) -> Option<u8> {
        Some(match self {
            Self::Ended => return None,
            Self::UnknownStatus
            | Self::FutureDated
            | Self::Expired
            | Self::Inactive
            | Self::NotYetEffective => 1,
            Self::Closed | Self::Restricted | Self::Revoked | Self::Refused => 2,
            Self::Preference => 4,
            Self::Label => 5,
            Self::Minor | Self::NotCompetent => 6,
            Self::Missing => 7,
        })
    }

    /// What it means, in a sentence about a purpose.
    #[must_use]
    pub fn sentence(self, purpose: &str) -> String {
        match self {
            Self::Closed => format!(
                "A message with a consent could not be applied; until it is, or the patient \
                 decides anew, nothing leaves for {purpose}."
            ),
            Self::Restricted => {
                format!(
                    "The patient, the visit or the event is restricted; {purpose} is not spared."
                )
            }
            Self::UnknownStatus => {
                format!("A consent about {purpose} has a status that nobody has mapped.")
            }
            Self::FutureDated => format!("A decision about {purpose} is dated in the future."),
            Self::Revoked => format!("The patient withdrew the consent for {purpose}."),
            Self::Refused => format!("The patient refused {purpose}."),
            Self::Preference => {
                format!("A preference of the patient excludes this use for {purpose}.")
            }
            Self::Label => format!(
                "The event bears a sensitivity label that the contract or the permit for \
                 {purpose} does not name."
            ),
            Self::Expired => format!("The permit for {purpose} has ended."),
            Self::Inactive => format!("The permit for {purpose} was closed."),
            Self::NotYetEffective => format!("The permit for {purpose} is not in force yet."),
            Self::Minor => format!(
                "Only a representative permitted {purpose} for a minor, which does not hold for \
                 this, or no longer."
            ),
            Self::NotCompetent => format!(
                "The patient could not decide about {purpose}, and nobody is named who did."
            ),
            Self::Missing => format!("No permit for {purpose} is in force."),
            Self::Ended => {
                format!("The contract for {purpose}, or the agreement behind it, has ended.")
            }
        }
    }

    /// Whether a human has to look, beside the no.
    #[must_use]
    pub const fn is_exception(self) -> bool {
        matches!(self, Self::Closed | Self::UnknownStatus | Self::FutureDated)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A no.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    sentence: String,
    records: Vec<Reference>,
    wait: Option<Duration>,
}

impl Refusal {
    /// A no for the records that gave it. The sentence names the first of them by key.
    pub(super) fn of<'r>(
        code: Code,
        purpose: &str,
        records: impl IntoIterator<Item = &'r Record>,
    ) -> Self {
        let mut records: Vec<&Record> = records.into_iter().collect();
        records.sort_by_cached_key(|record| record.reference());
        let mut sentence = code.sentence(purpose);
        if let Some(record) = records.first() {
            let dated = match &record.decided_at {
                Some(moment) => format!("decided {}", moment.given()),
                None => format!("undated, arrived {}", record.recorded_at),
            };
            let by = record.consent().and_then(|consent| consent.by_exception.as_ref());
            let by = by.map(|path| format!(", by its exception {path}")).unwrap_or_default();
            sentence = format!("{sentence} Record {}, {dated}{by}.", record.reference());
        }
        let records = records.into_iter().map(Record::reference).collect();
        Self { code, sentence, records, wait: None }
    }

    /// The same, for an event that may wait.
    pub(super) fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }

    /// Why.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Why, for a privacy officer.
    #[must_use]
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The records behind it, by key; none where nothing is there.
    #[must_use]
    pub fn records(&self) -> &[Reference] {
        &self.records
    }

    /// How long the event may wait for another answer; none: not at all. Only what is missing can
    /// be waited for.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        self.wait
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.sentence)
    }
}

// PROMISE-10: keys and dates are for the audit, not for a log.
impl fmt::Debug for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Refusal({})", self.code)
    }
}
