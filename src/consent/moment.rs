//! A date or time as it was given, and the span of time that it stands for.
//!
//! Promises: a day is the whole day, a year the whole year, in the zone that it was recorded in;
//! the span is worked out once, so that a later table of time zones changes no past answer.
//! Knows nothing of: what is decided then.

use std::fmt;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::PartialDate;
use crate::event::partial_date::Digits;

/// Nanoseconds of the last microsecond of a second. A microsecond is as fine as a span is, since
/// that is how fine `clock::now` is.
const LAST_NANOS: i32 = 999_999_000;

/// From the first to the last microsecond, both within it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first microsecond.
    pub earliest: Timestamp,
    /// Its last microsecond; never before `earliest`.
    pub latest: Timestamp,
}

impl Span {
    /// Before every time that can be written: what an undated permit is decided at.
    pub const OLDEST: Self = Self { earliest: Timestamp::MIN, latest: Timestamp::MIN };

    /// One instant.
    #[must_use]
    pub const fn instant(at: Timestamp) -> Self {
        Self { earliest: at, latest: at }
    }

    /// Whether it ends before the other begins. Spans that overlap are neither before nor after
    /// one another: they count as the same time.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.latest < other.earliest
    }
}

/// A date or time with its precision, and its span.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    given: PartialDate,
    span: Span,
}

impl Moment {
    /// Reads what a [`PartialDate`] writes: `2027`, `2027-06`, `2027-06-30`,
    /// `2027-06-30T08:15`, `2027-06-30T08:15:00.120-08:00`. Where no offset is stated the zone
    /// says when that was, and a local time that occurs twice stands for both. Nothing where the
    /// text is no such date or cannot be, such as 30 February.
    #[must_use]
    pub fn read(text: &str, zone: &TimeZone) -> Option<Self> {
        let digits = digits(text)?;
        let given = PartialDate::new(digits)?;
        let zone = match digits.offset {
            Some(minutes) => TimeZone::fixed(Offset::from_seconds(i32::from(minutes) * 60).ok()?),
            None => zone.clone(),
        };
        let earliest = zone.to_ambiguous_timestamp(first(&digits)?).earlier();
        let latest = zone.to_ambiguous_timestamp(last(&digits)?).later();
        // 9999-12-31 is written for "without end"; in some zones it ends beyond what can be told.
        let furthest = Timestamp::from_second(Timestamp::MAX.as_second()).ok()?;
        let earliest = earliest.unwrap_or(furthest);
        let latest = latest.unwrap_or(furthest).max(earliest);
        Some(Self { given, span: Span { earliest, latest } })
    }

    /// As it was given.
    #[must_use]
    pub const fn given(&self) -> PartialDate {
        self.given
    }

    /// The time that it stands for.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }
}

// PROMISE-10: a birth date in a log would be a patient's.
impl fmt::Debug for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Moment(..)")
    }
}

/// `["2027-06-30", 1814338800000000, 1814425199999999]`: as given, first and last microsecond
/// since 1970.
impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Span { earliest, latest } = self.span;
        (self.given.to_string(), earliest.as_microsecond(), latest.as_microsecond()).serialize(out)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let wrong = |_| serde::de::Error::custom("not a time");
        let (text, earliest, latest) = <(String, i64, i64)>::deserialize(input)?;
        let given = digits(&text).and_then(PartialDate::new);
        let given = given.ok_or_else(|| serde::de::Error::custom("not a date"))?;
        let earliest = Timestamp::from_microsecond(earliest).map_err(wrong)?;
        let latest = Timestamp::from_microsecond(latest).map_err(wrong)?;
        if latest < earliest {
            return Err(serde::de::Error::custom("ends before it begins"));
        }
        Ok(Self { given, span: Span { earliest, latest } })
    }
}

/// The first local time that the digits may mean.
fn first(digits: &Digits) -> Option<civil::DateTime> {
    let nanos = digits.fraction.map_or(0, |(nanos, _)| nanos);
    let date =
        civil::Date::new(digits.year, digits.month.unwrap_or(1), digits.day.unwrap_or(1)).ok()?;
    let (hour, minute) = (digits.hour.unwrap_or(0), digits.minute.unwrap_or(0));
    let second = digits.second.unwrap_or(0);
    let time = civil::Time::new(hour, minute, second, nanos / 1_000 * 1_000).ok()?;
    Some(date.to_datetime(time))
}

/// The last local time that the digits may mean.
fn last(digits: &Digits) -> Option<civil::DateTime> {
    let month = digits.month.unwrap_or(12);
    let day = match digits.day {
        Some(day) => day,
        None => civil::Date::new(digits.year, month, 1).ok()?.days_in_month(),
    };
    let nanos = match digits.fraction {
        Some((nanos, count)) => {
            let rest = 10_i32.checked_pow(9_u32.saturating_sub(u32::from(count)))?;
            (nanos + rest - 1) / 1_000 * 1_000
        }
        None => LAST_NANOS,
    };
    let date = civil::Date::new(digits.year, month, day).ok()?;
    let (hour, minute) = (digits.hour.unwrap_or(23), digits.minute.unwrap_or(59));
    let time = civil::Time::new(hour, minute, digits.second.unwrap_or(59), nanos).ok()?;
    Some(date.to_datetime(time))
}

/// The digits of what a [`PartialDate`] wrote.
fn digits(text: &str) -> Option<Digits> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = parts.next().filter(|year| year.len() == 4)?;
    let mut digits = Digits { year: number(year)?, ..Digits::default() };
    digits.month = pair(parts.next())?;
    digits.day = pair(parts.next())?;
    if parts.next().is_some() {
        return None;
    }
    let Some(time) = time else { return Some(digits) };
    let at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(at)?;
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = clock.split(':');
    digits.hour = Some(pair(parts.next())??);
    digits.minute = pair(parts.next())?;
    digits.second = pair(parts.next())?;
    if parts.next().is_some() {
        return None;
    }
    if let Some(fraction) = fraction {
        let count = u8::try_from(fraction.len()).ok().filter(|count| (1..=9).contains(count))?;
        digits.fraction = Some((number::<i32>(&format!("{fraction:0<9}"))?, count));
    }
    digits.offset = match zone.split_at_checked(1) {
        None => None,
        Some(("Z", "")) => Some(0),
        Some((sign, zone)) => {
            let (hours, minutes) = zone.split_once(':')?;
            let (hours, minutes) = (pair(Some(hours))??, pair(Some(minutes))??);
            let total = i16::from(hours) * 60 + i16::from(minutes);
            Some(if sign == "-" { -total } else { total })
        }
    };
    Some(digits)
}

/// Two digits, where there are any; nothing where they are no number.
#[expect(clippy::option_option, reason = "not there, and there but wrong, are two things")]
fn pair(text: Option<&str>) -> Option<Option<i8>> {
    let Some(text) = text else { return Some(None) };
    if text.len() == 2 { number(text).map(Some) } else { None }
}

/// Decimal digits alone: `parse` would take a sign, too.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> (String, String) {
        let zone = TimeZone::get("America/Los_Angeles").unwrap();
        let span = Moment::read(text, &zone).unwrap().span();
        (span.earliest.to_string(), span.latest.to_string())
    }

    #[test]
    fn a_date_is_the_whole_of_what_was_given() {
        for (text, earliest, latest) in [
            ("2027", "2027-01-01T08:00:00Z", "2028-01-01T07:59:59.999999Z"),
            ("2028-02", "2028-02-01T08:00:00Z", "2028-03-01T07:59:59.999999Z"),
            ("2027-06-30", "2027-06-30T07:00:00Z", "2027-07-01T06:59:59.999999Z"),
            ("2027-06-30T08", "2027-06-30T15:00:00Z", "2027-06-30T15:59:59.999999Z"),
            ("2027-06-30T08:15", "2027-06-30T15:15:00Z", "2027-06-30T15:15:59.999999Z"),
            ("2027-06-30T08:15:07Z", "2027-06-30T08:15:07Z", "2027-06-30T08:15:07.999999Z"),
            (
                "2027-06-30T08:15:07.5+01:00",
                "2027-06-30T07:15:07.5Z",
                "2027-06-30T07:15:07.599999Z",
            ),
            (
                "2027-06-30T08:15:07.1234567Z",
                "2027-06-30T08:15:07.123456Z",
                "2027-06-30T08:15:07.123456Z",
            ),
            // The night in which clocks go forward, and the hour that occurs twice.
            ("2026-03-08", "2026-03-08T08:00:00Z", "2026-03-09T06:59:59.999999Z"),
            ("2026-11-01T01:30", "2026-11-01T08:30:00Z", "2026-11-01T09:30:59.999999Z"),
        ] {
            assert_eq!(span(text), (earliest.to_owned(), latest.to_owned()), "{text}");
        }
        assert!(span("9999-12-31").1.starts_with("9999-12-30T"));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for wrong in [
            "",
            "27",
            "2027-6",
            "2027-02-30",
            "2027-06-30T",
            "2027-06-30T8",
            "2027-06-30T08:15:",
            "2027-06-30T08:15:00.",
            "2027-06-30T08:15+1",
            "2027-06-30T08:15*01:00",
            "+027-01-01",
            "2027-06-30-01",
            "2027-06T08:15",
        ] {
            assert!(Moment::read(wrong, &TimeZone::UTC).is_none(), "{wrong}");
        }
    }

    #[test]
    fn it_is_kept_with_the_span_that_it_had() {
        for text in ["2027", "2027-06-30", "2027-06-30T08:15:00.120-08:00", "9999-12-31"] {
            let moment = Moment::read(text, &TimeZone::get("Asia/Kathmandu").unwrap()).unwrap();
            let json = serde_json::to_string(&moment).unwrap();
            assert!(json.starts_with(&format!("[\"{text}\",")), "{json}");
            assert!(serde_json::from_str::<Moment>(&json).unwrap() == moment, "{json}");
        }
        assert!(serde_json::from_str::<Moment>("[\"2027\",2,1]").is_err());
    }

    /// PROMISE-10
    #[test]
    fn a_date_does_not_print() {
        let moment = Moment::read("1980-01-02", &TimeZone::UTC).unwrap();
        assert_eq!(format!("{moment:?}"), "Moment(..)");
    }
}
