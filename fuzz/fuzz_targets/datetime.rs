//! A date that is taken is one that exists, and prints as RFC 3339 or a part of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::parse::hl7::datetime::{parse, parse_time};

fuzz_target!(|text: &str| {
    if let Some(date) = parse(text) {
        let printed = date.to_string();
        let year: &str = printed.get(..4).expect("four digits");
        assert_eq!(Some(year), text.trim_ascii().get(..4));
        // A whole day is a day of the calendar.
        if let Some(day) = printed.get(..10) {
            day.parse::<jiff::civil::Date>().expect("a day that exists");
        }
    }
    if let Some(time) = parse_time(text) {
        assert!(time.as_bytes().first().is_some_and(u8::is_ascii_digit));
    }
});
