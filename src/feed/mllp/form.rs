//! An acknowledgement in the form that its message had.
//!
//! Promises: who sends XML or UTF-16 hears the same, since such a parser reads nothing else; what
//! the acknowledgement says is what it said with pipes.
//! Knows nothing of: what it says.

use bytes::Bytes;

use super::frame::{CR, FS, VT};
use crate::bug;
use crate::parse::hl7::wire::{Extent, Form};
use crate::parse::hl7::{Charsets, Head, Wire, xml};

/// Writes a framed acknowledgement to a frame, which `write` gives with pipes for the header of
/// that frame, where it has one.
pub fn answer_to(
    frame: &[u8],
    charsets: &Charsets,
    write: impl FnOnce(Option<&Head<'_>>) -> Bytes,
) -> Bytes {
    // PROMISE-11: what made the reading of it fail may do so again.
    let opened = bug::contain(|| Wire::open_to(frame, charsets, Extent::Header));
    let Some(wire) = opened else { return write(Head::read(frame).ok().as_ref()) };
    let pipes = write(wire.head().ok().as_deref());
    in_form(&pipes, wire.form()).unwrap_or(pipes)
}

/// The same acknowledgement in another form; nothing where it has that form already.
fn in_form(framed: &[u8], form: Form) -> Option<Bytes> {
    let content = framed.strip_prefix(&[VT])?.strip_suffix(&[FS, CR])?;
    let text = std::str::from_utf8(content).ok()?;
    let mut out = vec![VT];
    match form {
        Form::Pipes => return None,
        Form::Utf16(encoding) => {
            let order =
                if encoding == encoding_rs::UTF_16BE { u16::to_be_bytes } else { u16::to_le_bytes };
            let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
            out.extend(units.flat_map(order));
        }
        Form::Xml(dialect) => out.extend(xml::write(text, dialect).ok()?.into_bytes()),
    }
    out.extend([FS, CR]);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::feed::mllp::acknowledge::acknowledge;
    use crate::parse::hl7::{Charset, Message};
    use crate::verdict::Code;

    fn answer(frame: &[u8]) -> Vec<u8> {
        let charsets = Charsets::from(Charset::Utf8);
        let framed = answer_to(frame, &charsets, |head| {
            acknowledge(head, Code::AA, None, "ID-1", Timestamp::UNIX_EPOCH)
        });
        framed.strip_prefix(&[VT]).unwrap().strip_suffix(&[FS, CR]).unwrap().to_vec()
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
            let heard = answer(format!("{XML}{broken}").as_bytes());
            assert!(heard.is_ascii() && heard.starts_with(b"<?xml "), "{heard:?}");
            assert_eq!(text_of(&heard, b"MSA", 1), "AA");
            assert_eq!(text_of(&heard, b"MSA", 2), "ä|7");
            assert_eq!(text_of(&heard, b"MSH", 5), "R&H");
        }
        let heard = answer(b"<!DOCTYPE a><ADT_A01>");
        assert!(heard.starts_with(b"<?xml "));
        assert_eq!(text_of(&heard, b"MSA", 1), "AA");
        assert_eq!(text_of(&heard, b"MSA", 2), "");
    }

    #[test]
    fn who_sends_utf_16_hears_utf_16() {
        let text = "\u{feff}MSH|^~\\&|Ä|B|C|D|2026||ADT^A01|ä7|P|2.5\rPID|1\r";
        for order in [u16::to_be_bytes, u16::to_le_bytes] {
            let frame: Vec<u8> = text.encode_utf16().flat_map(order).collect();
            let heard = answer(&frame);
            assert_eq!(heard.get(..2), frame.get(..2));
            assert_eq!(text_of(&heard, b"MSA", 2), "ä7");
            assert_eq!(text_of(&heard, b"MSH", 5), "Ä");
        }
    }

    #[test]
    fn who_sends_pipes_hears_them_byte_for_byte() {
        let heard =
            answer(b"MSH|^~\\&|\x83\x7c|B|C|D|2026||ADT^A01|\x95\x5c7|P|2.5||||||SHIFT-JIS\r");
        let lines: Vec<&[u8]> = heard.split(|byte| *byte == b'\r').collect();
        assert_eq!(lines.get(1), Some(&&b"MSA|AA|\x95\x5c7"[..]));
        assert!(lines.first().is_some_and(|line| line.ends_with(b"|P|2.5||||||SHIFT-JIS")));
    }
}
