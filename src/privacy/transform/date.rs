//! Dates made coarser, and ages.
//!
//! Promises: a date that is not precise enough gives nothing; what says that somebody is over 89
//! is joined into `90+` (45 CFR 164.514(b)(2)(i)(C)); a shift moves all dates of a subject by the
//! same number of days, so that intervals in days and the order of events stay true.
//! Knows nothing of: zones. A date is that of the place it was written at.

use jiff::ToSpan;
use jiff::civil;

use super::Around;

/// The age from which on ages are joined.
const JOINED_AGE: i16 = 90;
/// What stands for it, and for years that say it.
const JOINED: &str = "90+";

/// A date as far as it was given.
#[derive(Clone, Copy)]
struct Given {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
}

impl Given {
    /// Of what a `PartialDate` wrote.
    fn read(text: &str) -> Option<Self> {
        let date = text.split('T').next()?;
        let mut parts = date.split('-');
        let year = number(parts.next()?, 4)?;
        let two = |part: Option<&str>| match part {
            None => Some(None),
            Some(digits) => number(digits, 2).and_then(|it| i8::try_from(it).ok()).map(Some),
        };
        let (month, day) = (two(parts.next())?, two(parts.next())?);
        if parts.next().is_some() {
            return None;
        }
        civil::Date::new(year, month.unwrap_or(1), day.unwrap_or(1)).ok()?;
        Some(Self { year, month, day })
    }

    fn whole(self) -> Option<civil::Date> {
        civil::Date::new(self.year, self.month?, self.day?).ok()
    }

    /// The first and the last day that it may be.
    fn bounds(self) -> Option<(civil::Date, civil::Date)> {
        let first = civil::Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1));
        let last = match (self.month, self.day) {
            (Some(_), Some(_)) => first.clone(),
            (Some(month), None) => {
                civil::Date::new(self.year, month, 1).map(civil::Date::last_of_month)
            }
            (None, _) => civil::Date::new(self.year, 12, 31),
        };
        Some((first.ok()?, last.ok()?))
    }
}

fn number(digits: &str, length: usize) -> Option<i16> {
    let right = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
    if right { digits.parse().ok() } else { None }
}

/// The year. One that lies 90 years or more back says, wherever it stands, that the patient is over
/// 89, or will be before the year is out.
pub(super) fn year(text: &str, today: civil::Date) -> Option<String> {
    let given = Given::read(text)?;
    if today.year() - given.year >= JOINED_AGE {
        return Some(JOINED.to_owned());
    }
    Some(format!("{:04}", given.year))
}

pub(super) fn month(text: &str) -> Option<String> {
    let given = Given::read(text)?;
    Some(format!("{:04}-{:02}", given.year, given.month?))
}

/// ISO 8601: weeks begin on Monday, and the first has the year's first Thursday.
pub(super) fn week(text: &str) -> Option<String> {
    let week = Given::read(text)?.whole()?.iso_week_date();
    Some(format!("{:04}-W{:02}", week.year(), week.week()))
}

/// The date alone: a time of day is a mark that no shift moves.
pub(super) fn shift(text: &str, days: i32) -> Option<String> {
    let date = Given::read(text)?.whole()?.checked_add(days.days()).ok()?;
    (date.year() > 0).then(|| format!("{date}"))
}

/// The least and the most whole years between a birth and what happened. Who is born on 29 February
/// is a year older on 1 March where there is none.
fn ages(birth: &str, around: &Around<'_>) -> Option<(i16, i16)> {
    let (earliest, latest) = Given::read(birth)?.bounds()?;
    let (first, last) = match around.happened.and_then(Given::read) {
        Some(given) => given.bounds()?,
        None => (around.today, around.today),
    };
    let least = years(latest, first);
    (least >= 0).then(|| (least, years(earliest, last)))
}

fn years(birth: civil::Date, day: civil::Date) -> i16 {
    let before = (day.month(), day.day()) < (birth.month(), birth.day());
    day.year() - birth.year() - i16::from(before)
}

pub(super) fn age(birth: &str, around: &Around<'_>) -> Option<String> {
    let (least, most) = ages(birth, around)?;
    if least >= JOINED_AGE {
        return Some(JOINED.to_owned());
    }
    (least == most).then(|| least.to_string())
}

pub(super) fn age_band(birth: &str, width: u8, around: &Around<'_>) -> Option<String> {
    let (least, most) = ages(birth, around)?;
    if least >= JOINED_AGE {
        return Some(JOINED.to_owned());
    }
    let width = i16::from(width.max(1));
    let from = least / width * width;
    // The last band ends where the joined ages begin.
    let until = (from + width).min(JOINED_AGE) - 1;
    (most <= until).then(|| format!("{from}-{until}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::around;
    use super::*;

    const TODAY: civil::Date = civil::Date::constant(2026, 11, 22);

    #[test]
    fn a_year_that_says_that_somebody_is_over_89_is_joined() {
        for (text, wanted) in [
            ("1937-01-01", Some("1937")),
            ("1936-12-31", Some("90+")),
            ("1936", Some("90+")),
            ("1890-05", Some("90+")),
            ("2026-11-22T08:15:00.120-08:00", Some("2026")),
            ("2027", Some("2027")),
            ("26", None),
            ("", None),
            ("2026-13", None),
            ("2023-02-29", None),
            ("2026-1-1", None),
        ] {
            assert_eq!(year(text, TODAY).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_date_that_is_not_precise_enough_gives_nothing() {
        for (text, in_month, in_week, shifted) in [
            ("2026-11-22T08:15-08:00", Some("2026-11"), Some("2026-W47"), Some("2026-11-12")),
            ("2027-01-01", Some("2027-01"), Some("2026-W53"), Some("2026-12-22")),
            ("2024-12-30", Some("2024-12"), Some("2025-W01"), Some("2024-12-20")),
            ("2024-03-10", Some("2024-03"), Some("2024-W10"), Some("2024-02-29")),
            ("2026-11", Some("2026-11"), None, None),
            ("2026", None, None, None),
            ("0001-01-01", Some("0001-01"), Some("0001-W01"), None),
            ("yesterday", None, None, None),
        ] {
            assert_eq!(month(text).as_deref(), in_month, "{text}");
            assert_eq!(week(text).as_deref(), in_week, "{text}");
            assert_eq!(shift(text, -10).as_deref(), shifted, "{text}");
        }
    }

    #[test]
    fn an_age_is_said_where_it_is_certain() {
        for (birth, happened, wanted, band) in [
            ("1980-11-22", Some("2026-11-22"), Some("46"), Some("45-49")),
            ("1980-11-23", Some("2026-11-22"), Some("45"), Some("45-49")),
            // Who is born on a leap day is a year older on 1 March.
            ("2000-02-29", Some("2026-02-28"), Some("25"), Some("25-29")),
            ("2000-02-29", Some("2026-03-01"), Some("26"), Some("25-29")),
            ("2000-02-29", Some("2024-02-29"), Some("24"), Some("20-24")),
            // 45 or 46, and in one band either way.
            ("1980", Some("2026-11-22"), None, Some("45-49")),
            ("1980", Some("2026"), None, Some("45-49")),
            ("1981", Some("2026-11-22"), None, None),
            ("1980-11", Some("2026-11-22"), None, Some("45-49")),
            ("1980-10", Some("2026-11-22"), Some("46"), Some("45-49")),
            ("1936-11-22", Some("2026-11-22"), Some("90+"), Some("90+")),
            ("1936-11-23", Some("2026-11-22"), Some("89"), Some("85-89")),
            // 89 or 90.
            ("1936", Some("2026-11-22"), None, None),
            ("1900", Some("2026-11-22"), Some("90+"), Some("90+")),
            ("2026-11-22", Some("2026-11-22"), Some("0"), Some("0-4")),
            ("2026-11-23", Some("2026-11-22"), None, None),
            // When nobody said when it happened, it is now.
            ("1980-11-22", None, Some("46"), Some("45-49")),
            ("1980-11-22", Some("?"), Some("46"), Some("45-49")),
            ("", Some("2026-11-22"), None, None),
        ] {
            let (age, in_band) =
                around(happened, TODAY, |around| (age(birth, around), age_band(birth, 5, around)));
            assert_eq!(
                (age.as_deref(), in_band.as_deref()),
                (wanted, band),
                "{birth} {happened:?}"
            );
        }
        let band = |width| {
            around(Some("2026-11-22"), TODAY, |around| age_band("1940-01-01", width, around))
        };
        assert_eq!(band(20).as_deref(), Some("80-89"));
        assert_eq!(band(1).as_deref(), Some("86-86"));
        assert_eq!(band(45).as_deref(), Some("45-89"));
    }
}
