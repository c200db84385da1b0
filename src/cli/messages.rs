//! Messages out of files: one or several, framed or not.

use std::path::Path;

use super::complain;
use crate::parse::hl7::head::skip_lead;

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
/// beginning of a line, each; else the whole of it.
#[must_use]
pub fn split(bytes: &[u8]) -> Vec<&[u8]> {
    const VT: u8 = 0x0B;
    const FS: u8 = 0x1C;
    if bytes.contains(&VT) {
        let frames = bytes.split(|byte| *byte == VT).skip(1);
        return frames
            .map(|frame| frame.split(|byte| *byte == FS).next().unwrap_or(frame))
            .collect();
    }
    let mut starts = Vec::new();
    let mut at_line_start = true;
    for (at, byte) in bytes.iter().enumerate() {
        if at_line_start && is_header(bytes.get(at..).unwrap_or_default()) {
            starts.push(at);
        }
        at_line_start = matches!(byte, b'\r' | b'\n');
    }
    if starts.len() < 2 {
        return vec![skip_lead(bytes)];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| bytes.get(*start..end)).collect()
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
    }
}
