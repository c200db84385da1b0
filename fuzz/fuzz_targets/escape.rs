//! Unescaping never fails, borrows what has no escape, and undoes the five delimiter escapes.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use tidegate::parse::hl7::Delimiters;
use tidegate::parse::hl7::escape::unescape;

fuzz_target!(|text: &str| {
    let usual = Delimiters::default();
    for encoding in [encoding_rs::UTF_8, encoding_rs::WINDOWS_1252, encoding_rs::SHIFT_JIS] {
        let read = unescape(text, &usual, encoding);
        if !text.contains('\\') {
            assert!(matches!(read, Cow::Borrowed(same) if same == text));
        }
        // `\.sp99\` is the most that a few bytes become.
        assert!(read.len() <= text.len().saturating_mul(32) + 128);
    }
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '|' => escaped += r"\F\",
            '^' => escaped += r"\S\",
            '&' => escaped += r"\T\",
            '~' => escaped += r"\R\",
            '\\' => escaped += r"\E\",
            _ => escaped.push(letter),
        }
    }
    assert_eq!(unescape(&escaped, &usual, encoding_rs::UTF_8), text);
});
