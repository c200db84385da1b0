//! A date or time that is only as precise as it was given.
//!
//! Promises: what was not given is not invented: `202611` stays `2026-11`; a date that cannot
//! be is refused, never rounded; the text form sorts as the times do within one zone.
//! Knows nothing of: where it came from. HL7 and FHIR forms are read in `parse`.

use std::fmt;

use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// Offset from UTC in minutes; HL7 allows -1200 to +1400 (chapter 2A, DTM).
const OFFSET_MINUTES: std::ops::RangeInclusive<i16> = -720..=840;

/// A year, and as much of month, day, time and zone as was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PartialDate {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    time: Option<Time>,
    offset: Option<i16>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Time {
    hour: i8,
    minute: Option<i8>,
    second: Option<i8>,
    /// Nanoseconds and the number of digits given, 1 to 9.
    fraction: Option<(i32, u8)>,
}

/// How a time without offset got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumed {
    /// The zone has exactly one such local time.
    Certain,
    /// The local time occurs twice, when clocks go back; the earlier one was taken.
    Ambiguous,
    /// The local time does not occur, when clocks go forward; the offset before was taken.
    Skipped,
}

/// The digits of a date, as far as they were given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digits {
    /// Year, four digits.
    pub year: i16,
    /// Month, 1 to 12.
    pub month: Option<i8>,
    /// Day of the month.
    pub day: Option<i8>,
    /// Hour, 0 to 23.
    pub hour: Option<i8>,
    /// Minute, 0 to 59.
    pub minute: Option<i8>,
    /// Second, 0 to 59.
    pub second: Option<i8>,
    /// Fraction of a second in nanoseconds and its number of digits.
    pub fraction: Option<(i32, u8)>,
    /// Offset from UTC in minutes, -720 to 840.
    pub offset: Option<i16>,
}

impl PartialDate {
    /// A date from its digits; nothing where it cannot be, such as 30 February.
    #[must_use]
    pub fn new(digits: Digits) -> Option<Self> {
        let Digits { year, month, day, hour, minute, second, fraction, offset } = digits;
        if !(1..=9999).contains(&year) {
            return None;
        }
        civil::Date::new(year, month.unwrap_or(1), day.unwrap_or(1)).ok()?;
        let nested = [
            month.is_some() || day.is_none(),
            day.is_some() || hour.is_none(),
            hour.is_some() || minute.is_none(),
            minute.is_some() || second.is_none(),
            second.is_some() || fraction.is_none(),
            hour.is_some() || offset.is_none(),
        ];
        if nested.contains(&false) || offset.is_some_and(|at| !OFFSET_MINUTES.contains(&at)) {
            return None;
        }
        let time = match hour {
            None => None,
            Some(hour) => {
                let nanos = fraction.map_or(0, |(nanos, _)| nanos);
                civil::Time::new(hour, minute.unwrap_or(0), second.unwrap_or(0), nanos).ok()?;
                Some(Time { hour, minute, second, fraction })
            }
        };
        Some(Self { year, month, day, time, offset })
    }

    /// Whether an hour was given.
    #[must_use]
    pub const fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// Whether an offset from UTC is known.
    #[must_use]
    pub const fn has_offset(&self) -> bool {
        self.offset.is_some()
    }

    /// The offset from UTC in minutes.
    #[must_use]
    pub const fn offset_minutes(&self) -> Option<i16> {
        self.offset
    }

    /// The date alone.
    #[must_use]
    pub const fn date(self) -> Self {
        Self { time: None, offset: None, ..self }
    }

    /// The same local time with an offset, in minutes, where it has none and names an hour.
    #[must_use]
    pub const fn with_offset(self, minutes: i16) -> Self {
        if self.time.is_some() && self.offset.is_none() {
            Self { offset: Some(minutes), ..self }
        } else {
            self
        }
    }

    /// The same local time with the offset that a zone has then, and how certain that is.
    #[must_use]
    pub fn in_zone(self, zone: &TimeZone) -> (Self, Assumed) {
        let Some(local) = self.local() else { return (self, Assumed::Certain) };
        let (offset, assumed) = match zone.to_ambiguous_zoned(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset, Assumed::Certain),
            AmbiguousOffset::Fold { before, .. } => (before, Assumed::Ambiguous),
            AmbiguousOffset::Gap { before, .. } => (before, Assumed::Skipped),
        };
        (self.with_offset(whole_minutes(offset)), assumed)
    }
    fn local(&self) -> Option<civil::DateTime> {
        let time = self.time?;
        let date = civil::Date::new(self.year, self.month?, self.day?).ok()?;
        let clock =
            civil::Time::new(time.hour, time.minute.unwrap_or(0), time.second.unwrap_or(0), 0);
        Some(date.to_datetime(clock.ok()?))
    }
}

/// The form of RFC 3339 of what a [`PartialDate`] wrote; nothing where that lacks the minute or
/// the offset, which RFC 3339 wants. Seconds that were not given are 0.
#[must_use]
pub fn rfc3339(written: &str) -> Option<String> {
    let (date, time) = written.split_once('T')?;
    let (clock, zone) = time.split_at_checked(time.find(['Z', '+', '-'])?)?;
    let seconds = match clock.len() {
        0..5 => return None,
        5 => ":00",
        _ => "",
    };
    Some(format!("{date}T{clock}{seconds}{zone}"))
}

fn whole_minutes(offset: Offset) -> i16 {
    i16::try_from(offset.seconds() / 60).unwrap_or(0)
}

impl PartialDate {
    /// Appends `2026-11`, `2026-11-22`, `2026-11-22T08:15-08:00`.
    pub fn write(&self, out: &mut String) {
        out.push_str(two_digits(self.year / 100));
        out.push_str(two_digits(self.year % 100));
        for part in [self.month, self.day].into_iter().flatten() {
            out.push('-');
            out.push_str(two_digits(part.into()));
        }
        let Some(time) = self.time else { return };
        out.push('T');
        out.push_str(two_digits(time.hour.into()));
        for part in [time.minute, time.second].into_iter().flatten() {
            out.push(':');
            out.push_str(two_digits(part.into()));
        }
        if let Some((nanos, digits)) = time.fraction {
            let all = format!("{nanos:09}");
            out.push('.');
            out.push_str(all.get(..usize::from(digits)).unwrap_or(&all));
        }
        match self.offset {
            None => {}
            Some(0) => out.push('Z'),
            Some(minutes) => {
                out.push(if minutes < 0 { '-' } else { '+' });
                out.push_str(two_digits(minutes.abs() / 60));
                out.push(':');
                out.push_str(two_digits(minutes.abs() % 60));
            }
        }
    }
}

/// Two decimal digits of a number below 100.
fn two_digits(number: i16) -> &'static str {
    const ALL: &str = "0001020304050607080910111213141516171819202122232425262728293031323334\
        3536373839404142434445464748495051525354555657585960616263646566676869707172737475767778\
        798081828384858687888990919293949596979899";
    let at = usize::try_from(number).unwrap_or(0) * 2;
    ALL.get(at..at + 2).unwrap_or("00")
}

impl fmt::Display for PartialDate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(32);
        self.write(&mut text);
        out.write_str(&text)
    }
}

// PROMISE-10: a birth date in a log would be a patient's.
impl fmt::Debug for PartialDate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PartialDate(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(hour: i8) -> PartialDate {
        let digits = Digits {
            year: 2026,
            month: Some(11),
            day: Some(1),
            hour: Some(hour),
            minute: Some(30),
            ..Digits::default()
        };
        PartialDate::new(digits).unwrap()
    }

    #[test]
    fn what_was_not_given_is_not_shown() {
        let year = Digits { year: 2026, ..Digits::default() };
        let month = Digits { month: Some(2), ..year };
        let day = Digits { day: Some(28), ..month };
        let hour = Digits { hour: Some(8), offset: Some(-480), ..day };
        let fraction =
            Digits { minute: Some(5), second: Some(0), fraction: Some((120_000_000, 3)), ..hour };
        let shown: Vec<String> = [year, month, day, hour, fraction]
            .into_iter()
            .map(|digits| PartialDate::new(digits).unwrap().to_string())
            .collect();
        assert_eq!(
            shown,
            [
                "2026",
                "2026-02",
                "2026-02-28",
                "2026-02-28T08-08:00",
                "2026-02-28T08:05:00.120-08:00"
            ]
        );
    }

    #[test]
    fn an_impossible_date_is_refused() {
        let leap = Digits { year: 2024, month: Some(2), day: Some(29), ..Digits::default() };
        assert!(PartialDate::new(leap).is_some());
        for digits in [
            Digits { day: Some(30), ..leap },
            Digits { year: 2023, ..leap },
            Digits { month: Some(13), ..leap },
            Digits { year: 0, ..leap },
            Digits { hour: Some(24), ..leap },
            Digits { hour: Some(1), minute: Some(60), ..leap },
            Digits { month: None, ..leap },
            Digits { offset: Some(0), ..leap },
            Digits { hour: Some(1), offset: Some(900), ..leap },
        ] {
            assert!(PartialDate::new(digits).is_none());
        }
    }

    #[test]
    fn a_local_time_that_occurs_twice_or_never_is_marked() {
        let zone = TimeZone::get("America/Los_Angeles").unwrap();
        let (twice, how) = minute(1).in_zone(&zone);
        assert_eq!(
            (twice.to_string().as_str(), how),
            ("2026-11-01T01:30-07:00", Assumed::Ambiguous)
        );
        let (once, how) = minute(8).in_zone(&zone);
        assert_eq!((once.to_string().as_str(), how), ("2026-11-01T08:30-08:00", Assumed::Certain));
        let skipped = Digits {
            year: 2026,
            month: Some(3),
            day: Some(8),
            hour: Some(2),
            minute: Some(30),
            ..Digits::default()
        };
        let (never, how) = PartialDate::new(skipped).unwrap().in_zone(&zone);
        assert_eq!((never.to_string().as_str(), how), ("2026-03-08T02:30-08:00", Assumed::Skipped));
    }

    #[test]
    fn rfc_3339_wants_a_minute_and_an_offset() {
        for (written, expected) in [
            (minute(8).to_string(), None),
            (minute(8).with_offset(0).to_string(), Some("2026-11-01T08:30:00Z")),
            ("2026-11-01T08-08:00".to_owned(), None),
            ("2026-11-01T08:30:05.120-08:00".to_owned(), Some("2026-11-01T08:30:05.120-08:00")),
            ("2026-11-01".to_owned(), None),
        ] {
            assert_eq!(rfc3339(&written).as_deref(), expected);
        }
        assert_eq!(minute(8).date().with_offset(60).to_string(), "2026-11-01");
    }
}
