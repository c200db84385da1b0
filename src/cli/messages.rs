//! Messages out of files: one or several, framed or not; in XML one.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::complain;
use crate::parse::hl7::batch::{Piece, Pieces, apart_in_utf16};
use crate::parse::hl7::head::{is_marked, skip_lead};
use crate::parse::hl7::wire::UTF8_MARK;

/// Most files that are found in folders.
const FILES_MAX: usize = 1_000_000;
/// How deep folders are looked into.
const DEPTH_MAX: usize = 16;

/// Files as given; of a folder all that are in it and below it, by name, but those whose names begin with
/// a dot. Nothing where one cannot be read or there are too many, which is said then.
pub(super) fn files(given: &[PathBuf]) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in given {
        if !path.is_dir() {
            found.push(path.clone());
        } else if let Err(text) = within(path, DEPTH_MAX, &mut found) {
            complain(&format!("tidegate: {text}"));
            return None;
        }
    }
    Some(found)
}

fn within(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).map_err(cannot)?.collect();
    let mut entries = entries.map_err(cannot)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(cannot)?;
        // A link to a folder is not followed: it may lead back.
        if kind.is_symlink() && entry.path().is_dir() {
            continue;
        }
        if !kind.is_dir() {
            found.push(entry.path());
        } else if depth == 0 {
            return Err(format!("{}: more than {DEPTH_MAX} folders deep", folder.display()));
        } else {
            within(&entry.path(), depth - 1, found)?;
        }
        if found.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files", folder.display()));
        }
    }
    Ok(())
}

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
/// beginning of a line, each, without the headers and trailers of batches; else the whole of it, as of XML
/// always. In UTF-16, whose bytes may look like those of a frame, and in marked UTF-8, each message gets
/// the file's byte order mark.
#[must_use]
pub fn split(bytes: &[u8]) -> Vec<Bytes> {
    const VT: u8 = 0x0B;
    const FS: u8 = 0x1C;
    if let Some(parts) = apart_in_utf16(bytes) {
        return parts;
    }
    if bytes.contains(&VT) {
        let mark = if is_marked(bytes) { UTF8_MARK } else { b"" };
        let frames = bytes.split(|byte| *byte == VT).skip(1);
        return frames
            .map(|frame| frame.split(|byte| *byte == FS).next().unwrap_or(frame))
            .map(|frame| Bytes::from([mark, frame].concat()))
            .collect();
    }
    if skip_lead(bytes).starts_with(b"<") {
        return vec![Bytes::copy_from_slice(bytes.trim_ascii_start())];
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
    use super::{files, split};

    #[test]
    fn a_folder_is_all_files_below_it_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b")).unwrap();
        for name in ["c", "b/d", "a", ".hidden"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("b/up")).unwrap();
        let found = files(&[dir.path().to_path_buf(), "gone".into()]).unwrap();
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(dir.path()).unwrap_or(path)).collect();
        assert_eq!(names, ["a", "b/d", "c", "gone"].map(std::path::Path::new));
    }

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
        assert_eq!(
            split(b"\xef\xbb\xbfMSH|^~\\&|A\nMSH|^~\\&|B"),
            [&b"\xef\xbb\xbfMSH|^~\\&|A\n"[..], b"\xef\xbb\xbfMSH|^~\\&|B"]
        );
        assert_eq!(
            split(b"\xef\xbb\xbf\x0bone\x1c\r\x0btwo\x1c\r"),
            [&b"\xef\xbb\xbfone"[..], b"\xef\xbb\xbftwo"]
        );
        assert_eq!(split(b"\n\xef\xbb\xbf<a/>"), [&b"\xef\xbb\xbf<a/>"[..]]);
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
