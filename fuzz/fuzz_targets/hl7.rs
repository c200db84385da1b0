//! Any bytes are parsed or refused; what is parsed holds all of the text, in fields that joined
//! again are the segments.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::parse::hl7::wire::Form;
use tidegate::parse::hl7::{Charset, Charsets, Message, Wire};

fn without_blanks(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect()
}

fn check(message: &Message<'_>) -> String {
    let delimiters = *message.delimiters();
    let mut lines = String::new();
    for segment in message.segments() {
        let line = segment.line();
        let mut joined = segment.name().to_owned();
        let is_header = ["MSH", "FHS", "BHS"].contains(&segment.name());
        for number in 1..=segment.field_count() {
            let field = segment.field(number).expect("a field below the count");
            if is_header && number == 1 {
                assert_eq!(field.as_bytes(), [delimiters.field]);
            }
            if !(is_header && number == 2) {
                joined.push(char::from(delimiters.field));
            }
            if !(is_header && number == 1) {
                let repetitions: Vec<&str> = message.repetitions(field).collect();
                joined += &repetitions.join(&char::from(delimiters.repetition).to_string());
            }
            // Unescaping what a sender wrote ends.
            drop(message.content(field));
        }
        assert_eq!(joined, line);
        lines += line;
    }
    lines
}

fuzz_target!(|bytes: &[u8]| {
    let charsets = Charsets::from(Charset::Utf8);
    let wire = Wire::open(bytes, &charsets);
    let head = wire.head().is_ok();
    if let Ok(message) = wire.message() {
        assert!(head, "a message without a header");
        let lines = check(&message);
        if wire.form() == Form::Pipes
            && let Ok(text) = std::str::from_utf8(bytes)
            && message.segment(0).and_then(|header| header.field(18)).is_none_or(str::is_empty)
        {
            let is_lead = |it: char| it == '\u{feff}' || it.is_ascii_whitespace();
            let text = text.trim_start_matches(is_lead);
            assert_eq!(without_blanks(&lines), without_blanks(text));
        }
    }
});
