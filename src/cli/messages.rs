//! Messages out of files: one or several, framed or not.

use std::path::Path;

use bytes::Bytes;

use super::complain;
use crate::parse::hl7::batch::{Piece, Pieces};

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
/// beginning of a line, each, without the headers and trailers of batches; else the whole of it.
#[must_use]
pub fn split(bytes: &[u8]) -> Vec<Bytes> {
    const VT: u8 = 0x0B;
    const FS: u8 = 0x1C;
    if bytes.contains(&VT) {
        let frames = bytes.split(|byte| *byte == VT).skip(1);
        return frames
            .map(|frame| frame.split(|byte| *byte == FS).next().unwrap_or(frame))
            .map(Bytes::copy_from_slice)
            .collect();
    }
    let mut pieces = Pieces::new(usize::MAX, false);
    pieces.push(bytes);
    let messages: Vec<Bytes> = std::iter::from_fn(|| pieces.next(true))
        .filter_map(|piece| match piece {
            Piece::Message(message) | Piece::Stray(message) | Piece::Oversize(message) => {
                Some(message)
            }
            Piece::FileHeader(_)
            | Piece::BatchHeader(_)
            | Piece::BatchTrailer(_)
            | Piece::FileTrailer(_) => None,
        })
        .collect();
    // Also of nothing it is said that it is no message.
    if messages.is_empty() { vec![Bytes::new()] } else { messages }
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
        let batch = b"FHS|^~\\&|A\rBHS|^~\\&|A\rMSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rBTS|2\rFTS|1\r";
        assert_eq!(split(batch), [&b"MSH|^~\\&|A\rPID|1\r"[..], b"MSH|^~\\&|B\r"]);
    }
}
