//! An acknowledgement in the form that its message had.
//!
//! Promises: who sends XML or UTF-16 hears the same, since such a parser reads nothing else; what
//! the acknowledgement says is what it said with pipes; fields of a header are those of the character
//! set that it is in.
//! Knows nothing of: what it says.

use std::borrow::Cow;

use bytes::BytesMut;
use jiff::Timestamp;

use super::acknowledge::{Reply, acknowledge};
use crate::bug;
use crate::parse::hl7::wire::{Extent, Form};
use crate::parse::hl7::{Charsets, Head, Wire, xml};

/// What an acknowledgement goes by: the header of its message, and in which form that came.
pub struct Opened<'f> {
    wire: Option<Wire<'f>>,
    frame: &'f [u8],
}

impl<'f> Opened<'f> {
    /// Looks at a message as far as its header.
    #[must_use]
    pub fn new(frame: &'f [u8], charsets: &Charsets) -> Self {
        // PROMISE-11: what made the reading of it fail may do so again.
        let wire = bug::contain(|| Wire::open_to(frame, charsets, Extent::Header));
        Self { wire, frame }
    }

    /// Its header, where it has one.
    #[must_use]
    pub fn head(&self) -> Option<Cow<'_, Head<'_>>> {
        match &self.wire {
            Some(wire) => wire.head().ok(),
            None => Head::read(self.frame).ok().map(Cow::Owned),
        }
    }

    /// Its form.
    #[must_use]
    pub fn form(&self) -> Form {
        self.wire.as_ref().map_or(Form::Pipes, Wire::form)
    }
}

/// Writes an acknowledgement in the form of its message, without a frame.
pub fn answer(
    out: &mut BytesMut,
    opened: &Opened<'_>,
    reply: &Reply<'_>,
    control_id: &str,
    now: Timestamp,
) {
    in_form(out, opened.form(), |out| {
        acknowledge(out, opened.head().as_deref(), reply, control_id, now);
    });
}

/// Writes in a form what `write` gives with pipes.
fn in_form(out: &mut BytesMut, form: Form, write: impl FnOnce(&mut BytesMut)) {
    if form == Form::Pipes {
        return write(out);
    }
    let mut pipes = BytesMut::new();
    write(&mut pipes);
    match formed(&pipes, form) {
        Some(bytes) => out.extend_from_slice(&bytes),
        None => out.extend_from_slice(&pipes),
    }
}

/// The same acknowledgement in another form; nothing where it has that form already.
fn formed(content: &[u8], form: Form) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content).ok()?;
    match form {
        Form::Pipes => None,
        Form::Utf16(encoding) => {
            let order =
                if encoding == encoding_rs::UTF_16BE { u16::to_be_bytes } else { u16::to_le_bytes };
            let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
            Some(units.flat_map(order).collect())
        }
        Form::Xml(dialect) => Some(xml::write(text, dialect).ok()?.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::{Charset, Message};
    use crate::verdict::{Code, Level};

    fn heard(frame: &[u8]) -> Vec<u8> {
        let opened = Opened::new(frame, &Charsets::from(Charset::Utf8));
        let (level, code) = (Level::Application, Code::AA);
        let reply = Reply { level, code, fault: None, expected: None };
        let mut out = BytesMut::new();
        answer(&mut out, &opened, &reply, "ID-1", Timestamp::UNIX_EPOCH);
        out.to_vec()
    }

    fn text_of(bytes: &[u8], segment: &[u8; 3], field: usize) -> String {
        let message = Message::parse(bytes, Charset::Ascii).unwrap();
        message.text_at(segment, field, 1).unwrap_or_default().into_owned()
    }

    const XML: &str = "<ADT_A01 xmlns=\"urn:hl7-org:v2xml\"><MSH><MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2>\
        <MSH.3><HD.1>R&amp;H</HD.1></MSH.3><MSH.9><MSG.1>ADT</MSG.1><MSG.2>A01</MSG.2></MSH.9>\
        <MSH.10>ä|7</MSH.10><MSH.11><PT.1>P</PT.1></MSH.11><MSH.12><VID.1>2.5</VID.1></MSH.12></MSH>";

    /// PROMISE-11
    #[test]
    fn who_sends_xml_hears_xml() {
        for broken in ["</ADT_A01>", "<PID><nonsense/></PID></ADT_A01>", "<PID", ""] {
            let heard = heard(format!("{XML}{broken}").as_bytes());
            assert!(heard.is_ascii() && heard.starts_with(b"<?xml "), "{heard:?}");
            assert_eq!(text_of(&heard, b"MSA", 1), "AA");
            assert_eq!(text_of(&heard, b"MSA", 2), "ä|7");
            assert_eq!(text_of(&heard, b"MSH", 5), "R&H");
        }
        let heard = heard(b"<!DOCTYPE a><ADT_A01>");
        assert!(heard.starts_with(b"<?xml "));
        assert_eq!(text_of(&heard, b"MSA", 1), "AA");
        assert_eq!(text_of(&heard, b"MSA", 2), "");
    }

    #[test]
    fn who_sends_utf_16_hears_utf_16() {
        let text = "\u{feff}MSH|^~\\&|Ä|B|C|D|2026||ADT^A01|ä7|P|2.5\rPID|1\r";
        for order in [u16::to_be_bytes, u16::to_le_bytes] {
            let frame: Vec<u8> = text.encode_utf16().flat_map(order).collect();
            let heard = heard(&frame);
            assert_eq!(heard.get(..2), frame.get(..2));
            assert_eq!(text_of(&heard, b"MSA", 2), "ä7");
            assert_eq!(text_of(&heard, b"MSH", 5), "Ä");
        }
    }

    #[test]
    fn who_sends_pipes_hears_them_byte_for_byte() {
        let heard =
            heard(b"MSH|^~\\&|\x83\x7c|B|C|D|2026||ADT^A01|\x95\x5c7|P|2.5||||||SHIFT-JIS\r");
        let lines: Vec<&[u8]> = heard.split(|byte| *byte == b'\r').collect();
        assert_eq!(lines.get(1), Some(&&b"MSA|AA|\x95\x5c7"[..]));
        assert!(lines.first().is_some_and(|line| line.ends_with(b"|P|2.5||||||SHIFT-JIS")));
    }
}
