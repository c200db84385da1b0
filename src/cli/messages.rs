//! Messages out of files: one or several, framed or not; in XML one.

use std::borrow::Cow;
use std::path::Path;

use super::complain;
use crate::parse::hl7::wire::{UTF8_MARK, utf16};

/// The bytes of a file; nothing where it cannot be read, which is said then.
pub(super) fn read(file: &Path) -> Option<Vec<u8>> {
    match std::fs::read(file) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            complain(&format!("tidegate: {}: {error}", file.display()));
            None
        }
    }
}

/// The messages of a file: MLLP frames where it holds any; else what begins with MSH at the
/// beginning of a line, each; else the whole of it, as of XML always. In UTF-16, whose bytes may
/// look like those of a frame, and in marked UTF-8, each message gets the file's byte order mark.
#[must_use]
pub fn split(bytes: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let Some((encoding, rest)) = utf16(bytes) else {
        let Some(rest) = bytes.strip_prefix(UTF8_MARK) else {
            return split_bytes(bytes).into_iter().map(Cow::Borrowed).collect();
        };
        let marked = |part: &[u8]| Cow::Owned([UTF8_MARK, part].concat());
        return split_bytes(rest).into_iter().map(marked).collect();
    };
    let Some(mark) = bytes.get(..2) else { return Vec::new() };
    let unit = |pair: &[u8; 2]| match encoding == encoding_rs::UTF_16BE {
        true => u16::from_be_bytes(*pair),
        false => u16::from_le_bytes(*pair),
    };
    // What is beyond ASCII begins no message; one byte stands for it, so that places are halved.
    let (pairs, odd) = rest.as_chunks::<2>();
    let narrow: Vec<u8> = pairs
        .iter()
        .map(|pair| u8::try_from(unit(pair)).ok().filter(u8::is_ascii).unwrap_or(b'?'))
        .collect();
    let starts = starts(&narrow);
    if starts.len() < 2 {
        return vec![Cow::Borrowed(bytes)];
    }
    let ends = starts.iter().skip(1).map(|start| start * 2).chain([rest.len() - odd.len()]);
    let parts = starts.iter().zip(ends).filter_map(|(start, end)| rest.get(start * 2..end));
    parts.map(|part| Cow::Owned([mark, part].concat())).collect()
}

fn split_bytes(bytes: &[u8]) -> Vec<&[u8]> {
    const VT: u8 = 0x0B;
    const FS: u8 = 0x1C;
    if bytes.contains(&VT) {
        let frames = bytes.split(|byte| *byte == VT).skip(1);
        return frames
            .map(|frame| frame.split(|byte| *byte == FS).next().unwrap_or(frame))
            .collect();
    }
    let starts = starts(bytes);
    if starts.len() < 2 || bytes.trim_ascii_start().starts_with(b"<") {
        return vec![bytes.trim_ascii_start()];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| bytes.get(*start..end)).collect()
}

/// Where messages begin: at the beginning of a line.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at_line_start = true;
    for (at, byte) in bytes.iter().enumerate() {
        if at_line_start && is_header(bytes.get(at..).unwrap_or_default()) {
            starts.push(at);
        }
        at_line_start = matches!(byte, b'\r' | b'\n');
    }
    starts
}

/// `MSH`, a separator, and encoding characters behind it.
fn is_header(bytes: &[u8]) -> bool {
    matches!(bytes, [b'M', b'S', b'H', separator, next, ..]
        if separator.is_ascii_punctuation() && next.is_ascii_punctuation())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_file_holds_one_message_or_several() {
        let one = b"MSH|^~\\&|A\rPID|1\r";
        assert_eq!(split(one), [&one[..]]);
        assert_eq!(split(b"\n\nMSH|^~\\&|A\nMSH|^~\\&|B"), [&b"MSH|^~\\&|A\n"[..], b"MSH|^~\\&|B"]);
        assert_eq!(split(b"\x0bone\x1c\r\x0btwo\x1c\r"), [&b"one"[..], b"two"]);
        assert_eq!(split(b"no message"), [&b"no message"[..]]);
        assert_eq!(split(b""), [&b""[..]]);
        assert_eq!(
            split(b"\xef\xbb\xbfMSH|^~\\&|A\nMSH|^~\\&|B"),
            [&b"\xef\xbb\xbfMSH|^~\\&|A\n"[..], b"\xef\xbb\xbfMSH|^~\\&|B"]
        );
        let xml = b"<a>\nMSH|^~\\&\nMSH|^~\\&</a>";
        assert_eq!(split(xml), [&xml[..]]);
    }

    #[test]
    fn a_file_in_utf_16_is_split_between_its_characters() {
        // Bytes of U+010B and U+0D1C look like those that frame a message.
        let text = "\u{feff}MSH|^~\\&|\u{10b}\u{d1c}\rPID|1\r\nMSH|^~\\&|B\r";
        for order in [u16::to_be_bytes, u16::to_le_bytes] {
            let encode = |text: &str| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
            let (first, second) = text.split_at(text.rfind("MSH").unwrap());
            let wanted = [encode(first), encode(&format!("\u{feff}{second}"))];
            assert_eq!(split(&encode(text)), wanted);
            assert_eq!(split(&encode(first)), [encode(first)]);
        }
    }
}
