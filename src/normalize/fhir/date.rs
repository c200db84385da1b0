//! FHIR's dates and times (R4 2.24.0.1: date, dateTime, instant, time).
//!
//! Promises: as precise as they came; what cannot be is refused, never rounded.
//! Knows nothing of: zones of feeds.

use crate::event::PartialDate;
use crate::event::partial_date::Digits;

/// Longest text that is read, in bytes: an instant with nanoseconds has 35.
const TEXT_BYTES_MAX: usize = 64;

/// Reads `2026`, `2026-11`, `2026-11-22` and `2026-11-22T08:15:00.5-08:00`. FHIR wants seconds and a
/// zone with every time; senders leave out both.
#[must_use]
pub fn parse(text: &str) -> Option<PartialDate> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let mut next = || parts.next().map(|part| digits(part, 2).and_then(|it| i8::try_from(it).ok()));
    let (month, day) = (next(), next());
    // A part that is there and cannot be makes the whole of it impossible.
    let date = Digits { year, month: some(month)?, day: some(day)?, ..Digits::default() };
    if parts.next().is_some() {
        return None;
    }
    PartialDate::new(match time {
        None => date,
        Some(time) => with_time(date, time)?,
    })
}

/// `hh:mm:ss`, with a fraction or without; the text, where it can be.
#[must_use]
pub fn parse_time(text: &str) -> Option<&str> {
    let day = Digits { year: 2000, month: Some(1), day: Some(1), ..Digits::default() };
    let digits = with_time(day, text).filter(|digits| digits.offset.is_none())?;
    PartialDate::new(digits).map(|_| text)
}

/// Nothing, or what is there; and nothing at all where that cannot be.
#[expect(clippy::option_option, reason = "absent and impossible are two things")]
fn some(part: Option<Option<i8>>) -> Option<Option<i8>> {
    match part {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn with_time(date: Digits, time: &str) -> Option<Digits> {
    let (clock, offset) = match time.find(['Z', '+', '-']) {
        None => (time, None),
        Some(at) => {
            let (clock, zone) = time.split_at_checked(at)?;
            (clock, Some(read_offset(zone)?))
        }
    };
    let (clock, fraction) = match clock.split_once('.') {
        None => (clock, None),
        Some((clock, fraction)) => (clock, Some(read_fraction(fraction)?)),
    };
    let mut parts = clock.split(':').map(|part| i8::try_from(digits(part, 2)?).ok());
    let hour = Some(parts.next()??);
    let minute = Some(parts.next()??);
    let second = match parts.next() {
        None => None,
        Some(second) => Some(second?),
    };
    let ends = parts.next().is_none();
    ends.then_some(Digits { hour, minute, second, fraction, offset, ..date })
}

/// `Z`, `-08:00`.
fn read_offset(zone: &str) -> Option<i16> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if minutes > 59 {
        return None;
    }
    let minutes = hours * 60 + minutes;
    Some(if sign == "-" { -minutes } else { minutes })
}

/// Nanoseconds, and how many digits were given; beyond nine nothing is kept.
fn read_fraction(text: &str) -> Option<(i32, u8)> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = text.get(..text.len().min(9))?;
    let count = u8::try_from(kept.len()).ok()?;
    let value: i32 = kept.parse().ok()?;
    Some((value * 10_i32.pow(9 - u32::from(count)), count))
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<i16> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let mut out = String::new();
        parse(text)?.write(&mut out);
        Some(out)
    }

    #[test]
    fn a_date_is_as_precise_as_it_came() {
        for text in [
            "2026",
            "2026-11",
            "2026-11-22",
            "2026-11-22T08:15",
            "2026-11-22T08:15-08:00",
            "2026-11-22T08:15:00Z",
            "2026-11-22T08:15:00.5-08:00",
            "2026-11-22T08:15:00.123456789+05:30",
            "2024-02-29",
        ] {
            assert_eq!(shown(text).as_deref(), Some(text));
        }
        let long = shown("2026-11-22T08:15:00.1234567891Z");
        assert_eq!(long.as_deref(), Some("2026-11-22T08:15:00.123456789Z"));
    }

    #[test]
    fn a_date_that_cannot_be_is_refused() {
        for text in [
            "",
            "26",
            "20261122",
            "2026-13",
            "2026-00",
            "2026-02-30",
            "2023-02-29",
            "2026-1-2",
            "2026-11-",
            "2026-11-22-01",
            "2026-11-22T",
            "2026-11-22T25:00",
            "2026-11-22T08",
            "2026-11-22T08:60",
            "2026-11-22T08:15:61Z",
            "2026-11-22T08:15:00.Z",
            "2026T08:15",
            "2026-11-22T08:15:00+15:00",
            "2026-11-22T08:15:00+01:60",
            "2026-11-22T08:15:00+1",
            "2026-11-22 08:15",
            "+026-11-22",
            "2026-11-22T08:15:00.5é",
            "0000",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
        assert_eq!(parse(&"2".repeat(100)), None);
    }

    #[test]
    fn a_time_of_day_has_no_zone() {
        for (text, right) in [
            ("08:15:00", true),
            ("08:15:00.25", true),
            ("08:15", true),
            ("8:15", false),
            ("24:00:00", false),
            ("08:15:00Z", false),
        ] {
            assert_eq!(parse_time(text).is_some(), right, "{text}");
        }
    }
}
