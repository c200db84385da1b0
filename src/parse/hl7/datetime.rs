//! Dates and times as HL7 writes them (chapter 2A: DT, TM, DTM, TS).
//!
//! Promises: precision is kept, a date that cannot be is refused.
//! Knows nothing of: the zone of a time that states none; see `normalize`.

use crate::event::partial_date::{Digits, PartialDate};

/// Reads `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][+/-ZZZZ]`. Fractions of more than nine digits are cut.
///
/// A zone may stand behind a date without a time: some senders do that, and it says nothing.
#[must_use]
pub fn parse(text: &str) -> Option<PartialDate> {
    let mut rest = text.trim_ascii().as_bytes();
    let (century, years) = (pair(&mut rest)?, pair(&mut rest)?);
    let mut pairs = [None; 5];
    for slot in &mut pairs {
        if !rest.first().is_some_and(u8::is_ascii_digit) {
            break;
        }
        *slot = Some(pair(&mut rest)?);
    }
    let fraction = match rest {
        [b'.', tail @ ..] => {
            rest = tail;
            Some(fraction(&mut rest)?)
        }
        _ => None,
    };
    let offset = match rest {
        [] => None,
        _ => Some(offset(rest)?),
    };
    let [month, day, hour, minute, second] = pairs;
    PartialDate::new(Digits {
        year: i16::from(century) * 100 + i16::from(years),
        month,
        day,
        hour,
        minute,
        second,
        fraction,
        offset: offset.filter(|_| hour.is_some()),
    })
}

/// Reads a time of day, `HH[MM[SS[.S…]]][+/-ZZZZ]`, as `08:15`, with its offset as it came.
#[must_use]
pub fn parse_time(text: &str) -> Option<String> {
    // A day that exists in every zone carries the time through the same checks.
    let date = parse(&format!("20000101{}", text.trim()))?;
    date.has_time().then(|| date.to_string())?.split_once('T').map(|(_, time)| time.to_owned())
}

/// Two digits.
fn pair(rest: &mut &[u8]) -> Option<i8> {
    let [high @ b'0'..=b'9', low @ b'0'..=b'9', tail @ ..] = *rest else { return None };
    *rest = tail;
    i8::try_from((high - b'0') * 10 + (low - b'0')).ok()
}

/// `+ZZZZ` or `-ZZZZ` in minutes, and nothing behind it.
fn offset(zone: &[u8]) -> Option<i16> {
    let (sign, mut digits) = zone.split_first()?;
    let (hours, minutes) = (pair(&mut digits)?, pair(&mut digits)?);
    if !digits.is_empty() || minutes > 59 {
        return None;
    }
    let total = i16::from(hours) * 60 + i16::from(minutes);
    match sign {
        b'+' => Some(total),
        b'-' => Some(-total),
        _ => None,
    }
}

/// Nanoseconds and how many digits were given, at least one; those behind the ninth are cut.
fn fraction(rest: &mut &[u8]) -> Option<(i32, u8)> {
    let (mut nanos, mut count) = (0, 0);
    while let [digit @ b'0'..=b'9', tail @ ..] = *rest {
        if count < 9 {
            nanos = nanos * 10 + i32::from(digit - b'0');
            count += 1;
        }
        *rest = tail;
    }
    (count > 0).then_some((nanos * 10_i32.pow(9 - u32::from(count)), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_kept() {
        for (text, iso) in [
            ("2026", "2026"),
            ("202611", "2026-11"),
            ("20261122", "2026-11-22"),
            ("2026112208", "2026-11-22T08"),
            ("202611220815", "2026-11-22T08:15"),
            ("202611220815-0800", "2026-11-22T08:15-08:00"),
            ("20261122081500+0000", "2026-11-22T08:15:00Z"),
            ("20261122081500.1234+0530", "2026-11-22T08:15:00.1234+05:30"),
            ("20261122081500.123456789123", "2026-11-22T08:15:00.123456789"),
            ("19840215000000.000", "1984-02-15T00:00:00.000"),
            ("20261122-0800", "2026-11-22"),
            (" 20261122 ", "2026-11-22"),
        ] {
            assert_eq!(parse(text).map(|date| date.to_string()).as_deref(), Some(iso), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "",
            "20240230",
            "00000000",
            "20261301",
            "2026112225",
            "202611220860",
            "01/15/2025",
            "2026-11-22",
            "202",
            "20261",
            "2026112208150012",
            "20261122081500.",
            "20261122.5",
            "20261122081500+8",
            "20261122081500+0860",
            "20261122081500+9999",
            "abcd",
            "２０２６",
            "20261122T0815",
            "+0800",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_read() {
        assert_eq!(parse_time("0815").as_deref(), Some("08:15"));
        assert_eq!(parse_time("081500.5-0800").as_deref(), Some("08:15:00.5-08:00"));
        assert_eq!(parse_time("2515"), None);
        assert_eq!(parse_time(""), None);
    }
}
