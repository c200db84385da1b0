//! A small message to XML: an acknowledgement, for a sender that reads XML alone.
//!
//! Promises: what is written is ASCII, so that it says the same in every encoding of which ASCII
//! is a part; reading it back gives the same fields.
//! Knows nothing of: other messages than acknowledgements; it has the data types of MSH, MSA and
//! ERR.

use std::borrow::Cow;

use quick_xml::escape::escape;

use super::name::engine;
use super::{Dialect, ENGINE_ROOT, NAMESPACE};
use crate::parse::hl7::{Charset, Content, Head, Malformed, Message, Segment};

/// The data types of the fields that have parts, and of those parts that have some, by version
/// 2.5; ELD is what ERR-1 was before, with the code in its fourth part.
const TYPES: [(&str, usize, &str); 10] = [
    ("MSH", 3, "HD"),
    ("MSH", 4, "HD"),
    ("MSH", 5, "HD"),
    ("MSH", 6, "HD"),
    ("MSH", 7, "TS"),
    ("MSH", 9, "MSG"),
    ("MSH", 11, "PT"),
    ("MSH", 12, "VID"),
    ("ERR", 1, "ELD"),
    ("ERR", 2, "ERL"),
];
const CODED: &str = "CWE";

/// Writes an acknowledgement that stands in the pipe form.
///
/// # Errors
/// It is none.
pub fn write(pipes: &str, dialect: Dialect) -> Result<String, Malformed> {
    let delimiters = Head::read(pipes.as_bytes())?.delimiters;
    let message = Message::of(Cow::Borrowed(pipes), delimiters, Charset::Utf8)?;
    let (root, namespace) = match dialect {
        Dialect::Standard => ("ACK", format!(" xmlns=\"{NAMESPACE}\"")),
        Dialect::Bare => ("ACK", String::new()),
        Dialect::Engine => (ENGINE_ROOT, String::new()),
    };
    let mut out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}{namespace}>");
    for segment in message.segments() {
        let Some(name) = segment.legal_name() else { continue };
        out.push_str(&format!("<{}>", engine(name, &[])));
        for number in segment.filled() {
            write_field(&mut out, &message, &segment, name, number, dialect);
        }
        out.push_str(&format!("</{}>", engine(name, &[])));
    }
    out.push_str(&format!("</{root}>\n"));
    Ok(out)
}

fn write_field(
    out: &mut String,
    message: &Message<'_>,
    segment: &Segment<'_>,
    name: [u8; 3],
    number: usize,
    dialect: Dialect,
) {
    let field = segment.field(number).unwrap_or_default();
    let tag = format!("{}.{number}", engine(name, &[]));
    if &name == b"MSH" && number <= 2 {
        return out.push_str(&format!("<{tag}>{}</{tag}>", text_of(field)));
    }
    let delimiters = message.delimiters();
    let separator = char::from(delimiters.component);
    let known =
        TYPES.iter().find(|(segment, field, _)| segment.as_bytes() == name && *field == number);
    for repetition in message.repetitions(field) {
        out.push_str(&format!("<{tag}>"));
        if known.is_some() || dialect == Dialect::Engine || repetition.contains(separator) {
            for (component, raw) in (1..).zip(repetition.split(separator)) {
                let prefix = match dialect {
                    Dialect::Engine => tag.as_str(),
                    Dialect::Standard | Dialect::Bare => known.map_or(CODED, |known| known.2),
                };
                write_component(out, message, &format!("{prefix}.{component}"), raw, dialect);
            }
        } else {
            out.push_str(&value(message, repetition));
        }
        out.push_str(&format!("</{tag}>"));
    }
}

fn write_component(
    out: &mut String,
    message: &Message<'_>,
    tag: &str,
    raw: &str,
    dialect: Dialect,
) {
    if raw.is_empty() {
        return;
    }
    out.push_str(&format!("<{tag}>"));
    match message.delimiters().subcomponent.map(char::from) {
        Some(separator) if raw.contains(separator) => {
            let prefix = if dialect == Dialect::Engine { tag } else { CODED };
            for (number, part) in (1..).zip(raw.split(separator)) {
                let text = value(message, part);
                out.push_str(&format!("<{prefix}.{number}>{text}</{prefix}.{number}>"));
            }
        }
        _ => out.push_str(&value(message, raw)),
    }
    out.push_str(&format!("</{tag}>"));
}

/// What a value says, as character data.
fn value(message: &Message<'_>, raw: &str) -> String {
    match message.content(raw) {
        Content::Absent => String::new(),
        Content::Null => text_of("\"\""),
        Content::Text(text) => text_of(&text),
    }
}

/// Character data in ASCII. What XML cannot say is left out; no header that was taken has any.
fn text_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in escape(text).chars() {
        match letter {
            ' '..='~' => out.push(letter),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            _ => out.push_str(&format!("&#{};", u32::from(letter))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: &str = "MSH|^~\\&|GATE^1.2.3^ISO|HUB|EHR|N\\T\\H|20261122||ACK^A01^ACK|ID-1|P|2.5.1\r\
        MSA|AE|42 ü\\F\\<7>|Required field missing: PID-3\r\
        ERR||PID^1^3|101^Required field missing^HL70357|E\r";

    /// PROMISE-11
    #[test]
    fn an_acknowledgement_reads_back_as_it_was_in_every_dialect() {
        let before = Message::parse(ACK.as_bytes(), Charset::Utf8).unwrap();
        for dialect in [Dialect::Standard, Dialect::Bare, Dialect::Engine] {
            let written = write(ACK, dialect).unwrap();
            assert!(written.is_ascii());
            let after = Message::parse(written.as_bytes(), Charset::Utf8).unwrap();
            assert_eq!(after.len(), before.len(), "{written}");
            for (one, other) in before.segments().zip(after.segments()) {
                assert_eq!(one.line(), other.line(), "{dialect:?}");
            }
        }
    }

    #[test]
    fn each_dialect_has_its_own_names() {
        for (dialect, holds) in [
            (Dialect::Standard, "<ACK xmlns=\"urn:hl7-org:v2xml\"><MSH><MSH.1>|</MSH.1>"),
            (Dialect::Standard, "<MSH.9><MSG.1>ACK</MSG.1><MSG.2>A01</MSG.2><MSG.3>ACK</MSG.3>"),
            (Dialect::Standard, "<ERR.3><CWE.1>101</CWE.1>"),
            (Dialect::Bare, "<ACK><MSH>"),
            (Dialect::Engine, "<HL7Message><MSH>"),
            (Dialect::Engine, "<MSA.1><MSA.1.1>AE</MSA.1.1></MSA.1>"),
        ] {
            let written = write(ACK, dialect).unwrap();
            assert!(written.contains(holds), "{holds}: {written}");
        }
    }
}
