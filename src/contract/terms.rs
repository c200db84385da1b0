//! Under which terms a contract holds: who approved it, under which agreement, and until when.
//!
//! Promises: a contract that has ended, or whose agreement has, lets nothing out; a day that is named
//! as an end is the last one, in UTC.
//! Knows nothing of: what leaves.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::document::Table;

/// Longest text of a term, in characters: it stands in each record.
const TERM_CHARS_MAX: usize = 200;

/// What a contract rests on; recorded with every decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Who approved it.
    pub approved_by: Option<String>,
    /// Agreement, protocol or permission.
    pub agreement: Option<String>,
    /// The protocol of a study.
    pub protocol: Option<String>,
    /// What the consumer may do with it.
    pub allowed_use: Option<String>,
    /// How long the consumer may keep it.
    pub retention: Option<String>,
    /// The last day of the contract.
    pub expires: Option<Date>,
    /// The last day of the agreement.
    pub agreement_ends: Option<Date>,
}

impl Terms {
    /// Reads them.
    #[must_use]
    pub fn read(table: &Table<'_>) -> Self {
        let text = |key: &str| {
            let text = table.text(key)?;
            let length = text.value.trim().chars().count();
            if !(1..=TERM_CHARS_MAX).contains(&length) {
                let wanted = format!("`{key}` is 1 to {TERM_CHARS_MAX} characters");
                table.mistake(&text.place, wanted);
            }
            Some(text.value)
        };
        let day = |key: &str| Some(table.item(key)?.date()?.value);
        Self {
            approved_by: text("approved_by"),
            agreement: text("agreement"),
            protocol: text("protocol"),
            allowed_use: text("allowed_use"),
            retention: text("retention"),
            expires: day("expires"),
            agreement_ends: day("agreement_ends"),
        }
    }

    /// From when on nothing leaves; nothing where there is no end.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        [self.expires, self.agreement_ends].into_iter().flatten().map(end_of).min()
    }
}

/// The moment that a day is over, in UTC.
#[must_use]
pub fn end_of(day: Date) -> Timestamp {
    let next = day.checked_add(1.day()).unwrap_or(day);
    next.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |start| start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_ends_with_the_earlier_of_its_ends_when_that_day_is_over() {
        let day = |text: &str| Some(text.parse().unwrap());
        let terms = |expires, agreement_ends| Terms { expires, agreement_ends, ..Terms::default() };
        let ends = |terms: Terms| terms.ends().map(|ends| ends.to_string());
        assert_eq!(ends(terms(None, None)), None);
        let one = terms(day("2027-06-30"), day("2027-12-31"));
        assert_eq!(ends(one).as_deref(), Some("2027-07-01T00:00:00Z"));
        let other = terms(None, day("2027-12-31"));
        assert_eq!(ends(other).as_deref(), Some("2028-01-01T00:00:00Z"));
    }
}
