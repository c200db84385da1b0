//! Bytes to messages, and to what stands around them: `FHS BHS MSH.. BTS FTS` (chapter 2.10.3).
//!
//! Promises: what begins with MSH at the beginning of a line is a message, whatever stands around it
//! and however its lines end; a byte order mark counts for all behind it; no more than the bound is
//! held of any; the pieces are the same however the bytes come in.
//! Knows nothing of: what a message says; where the bytes come from.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

use super::head::{is_marked, skip_lead};
use super::wire::{UTF8_MARK, utf16};
use super::{Charset, Charsets, Head};

/// Longest header or trailer of a batch or a file, in bytes. Its fields are names, times and numbers.
const ENVELOPE_BYTES_MAX: usize = 64 << 10;
/// How much of the head of a message that is too long is kept, for its acknowledgement: MSH fits.
const HEAD_BYTES: usize = 4096;
/// Bytes that it takes to see what a line begins with: a mark, a name, a separator, an encoding
/// character.
const LOOK_BYTES: usize = UTF8_MARK.len() + 5;

/// What comes out of the bytes. Where a byte order mark of UTF-8 stands before it, or before what came
/// before it, all but a trailer begins with one: the mark is of a file, and its messages are read alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// FHS and what follows it up to the next piece.
    FileHeader(Bytes),
    /// BHS, as well.
    BatchHeader(Bytes),
    /// A message.
    Message(Bytes),
    /// A message that was longer than the bound; its head.
    Oversize(Bytes),
    /// BTS.
    BatchTrailer(Bytes),
    /// FTS.
    FileTrailer(Bytes),
    /// What stands before the first of these and is not blank.
    Stray(Bytes),
}

impl Piece {
    /// The bytes of a header or a trailer.
    #[must_use]
    pub const fn envelope(&self) -> Option<&Bytes> {
        match self {
            Self::FileHeader(bytes)
            | Self::BatchHeader(bytes)
            | Self::BatchTrailer(bytes)
            | Self::FileTrailer(bytes) => Some(bytes),
            Self::Message(_) | Self::Oversize(_) | Self::Stray(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FileHeader,
    BatchHeader,
    Message,
    BatchTrailer,
    FileTrailer,
    Stray,
}

/// Cuts bytes into pieces, as they come.
#[derive(Debug)]
pub struct Pieces {
    buffer: BytesMut,
    bytes_max: usize,
    kind: Kind,
    /// How far the buffer has been searched for the next beginning.
    searched: usize,
    /// The head of the piece that is read, where it is too long; the rest of it is let go.
    skipping: Option<Bytes>,
    /// Whether VT and FS end lines, too, as in a file of frames.
    framed: bool,
    /// Whether a byte order mark came.
    marked: bool,
}

impl Pieces {
    /// Pieces of at most so many bytes each. `framed`: what comes may hold MLLP's frames.
    #[must_use]
    pub fn new(bytes_max: usize, framed: bool) -> Self {
        Self {
            buffer: BytesMut::new(),
            bytes_max,
            kind: Kind::Stray,
            searched: 0,
            skipping: None,
            framed,
            marked: false,
        }
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; nothing where more bytes are wanted, or at the end there is no more.
    pub fn next(&mut self, at_end: bool) -> Option<Piece> {
        loop {
            let Some((at, kind)) = self.find(at_end) else {
                if !at_end {
                    self.let_go();
                    return None;
                }
                let all = self.buffer.len();
                return self.take(all, Kind::Stray);
            };
            if let Some(piece) = self.take(at, kind) {
                return Some(piece);
            }
        }
    }

    /// Where the next piece begins, and of which kind it is.
    fn find(&mut self, at_end: bool) -> Option<(usize, Kind)> {
        let bytes = &self.buffer[..];
        let mut at = self.searched;
        // The bytes of a piece that is too long are gone; a line may begin where they ended.
        if at == 0 && self.kind == Kind::Stray && self.skipping.is_none() {
            let rest = skip_lead(bytes);
            let lead = bytes.len() - rest.len();
            if rest.len() < LOOK_BYTES && !at_end {
                return None;
            }
            if let Some(kind) = begins(rest) {
                return Some((lead, kind));
            }
            at = lead;
        }
        loop {
            let rest = bytes.get(at..)?;
            let Some(end) = line_end(rest, self.framed) else {
                self.searched = bytes.len();
                return None;
            };
            let line = at + end + 1;
            let begun = bytes.get(line..).unwrap_or_default();
            if begun.len() < LOOK_BYTES && !at_end {
                self.searched = at + end;
                return None;
            }
            if let Some(kind) = begins(begun) {
                return Some((line, kind));
            }
            at = line;
        }
    }

    /// Takes the piece up to `at`, where one of `next` begins; nothing where it is blank.
    fn take(&mut self, at: usize, next: Kind) -> Option<Piece> {
        let kind = std::mem::replace(&mut self.kind, next);
        // The beginning that was found is no beginning of the piece after it.
        self.searched = usize::from(next != Kind::Stray);
        let content = self.buffer.split_to(at).freeze();
        if let Some(head) = self.skipping.take() {
            return Some(Piece::Oversize(self.marked(head)));
        }
        let content = self.trimmed(content);
        if content.is_empty() {
            return None;
        }
        if content.len() > self.max_of(kind) {
            let head = content.slice(..HEAD_BYTES.min(content.len()));
            return Some(Piece::Oversize(self.marked(head)));
        }
        Some(match kind {
            Kind::FileHeader => Piece::FileHeader(self.marked(content)),
            Kind::BatchHeader => Piece::BatchHeader(self.marked(content)),
            Kind::Message => Piece::Message(self.marked(content)),
            Kind::BatchTrailer => Piece::BatchTrailer(content),
            Kind::FileTrailer => Piece::FileTrailer(content),
            Kind::Stray => Piece::Stray(self.marked(content)),
        })
    }

    /// With the byte order mark, where one came.
    fn marked(&self, content: Bytes) -> Bytes {
        if self.marked { Bytes::from([UTF8_MARK, &*content].concat()) } else { content }
    }

    /// Without what stands around it: line ends, and where it was framed the frame. A byte order mark
    /// before it is taken note of.
    fn trimmed(&mut self, content: Bytes) -> Bytes {
        // Half a character may look like a blank.
        if utf16(&content).is_some() {
            return content;
        }
        let framed = self.framed;
        let frame = |byte: &u8| framed && matches!(byte, 0x0B | 0x1C);
        let blank = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' ') || frame(byte);
        let mut rest = &content[..];
        loop {
            let begin = rest.iter().position(|byte| !blank(byte)).unwrap_or(rest.len());
            let behind = rest.get(begin..).unwrap_or_default();
            self.marked |= is_marked(behind);
            rest = skip_lead(behind);
            if !rest.first().is_some_and(frame) {
                break;
            }
        }
        let begin = content.len() - rest.len();
        let end = content.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
        let end = end.max(begin);
        // The last line end belongs to the last segment.
        let end = if end < content.len() && matches!(content.get(end), Some(b'\r' | b'\n')) {
            end + 1
        } else {
            end
        };
        content.slice(begin..end)
    }

    const fn max_of(&self, kind: Kind) -> usize {
        match kind {
            // What is no message may be one in another form, or is answered as a wrong one.
            Kind::Message | Kind::Stray => self.bytes_max,
            _ => ENVELOPE_BYTES_MAX,
        }
    }

    /// Lets go of what was searched of a piece that is too long.
    fn let_go(&mut self) {
        // Not before its head is whole.
        let max = self.max_of(self.kind).max(HEAD_BYTES).saturating_add(LOOK_BYTES);
        if self.skipping.is_none() && self.buffer.len() <= max {
            return;
        }
        if self.skipping.is_none() {
            let head = self.buffer.get(..HEAD_BYTES.min(self.buffer.len())).unwrap_or_default();
            let head = Bytes::copy_from_slice(head);
            self.skipping = Some(self.trimmed(head));
        }
        // A line end that was not looked behind stays.
        let keep = self.searched.min(self.buffer.len());
        self.buffer.advance(keep);
        self.searched = 0;
    }
}

fn line_end(bytes: &[u8], framed: bool) -> Option<usize> {
    let end = memchr2(b'\r', b'\n', bytes);
    if !framed {
        return end;
    }
    let within = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    memchr2(0x0B, 0x1C, within).or(end)
}

/// What a line begins, where it is more than a segment of a message.
fn begins(line: &[u8]) -> Option<Kind> {
    // Files with a mark that were put one behind the other have it there, too, and so has each frame.
    let line = line.strip_prefix(UTF8_MARK).unwrap_or(line);
    let (name, rest) = line.split_at_checked(3)?;
    let kind = match name {
        b"FHS" => Kind::FileHeader,
        b"BHS" => Kind::BatchHeader,
        b"MSH" => Kind::Message,
        b"BTS" => Kind::BatchTrailer,
        b"FTS" => Kind::FileTrailer,
        _ => return None,
    };
    let found = match (kind, rest) {
        // A trailer may be its name alone.
        (Kind::BatchTrailer | Kind::FileTrailer, [] | [b'\r' | b'\n' | 0x1C, ..]) => true,
        (Kind::BatchTrailer | Kind::FileTrailer, [separator, ..]) => {
            separator.is_ascii_punctuation()
        }
        (_, [separator, encoding, ..]) => {
            separator.is_ascii_punctuation() && encoding.is_ascii_punctuation()
        }
        _ => false,
    };
    found.then_some(kind)
}

/// The messages of a text in UTF-16, each with its byte order mark, where it has one; nothing of a text
/// in anything else. What it says of batches is looked over.
#[must_use]
pub fn apart_in_utf16(bytes: &[u8]) -> Option<Vec<Bytes>> {
    let (encoding, rest) = utf16(bytes)?;
    let mark = bytes.get(..2)?;
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
        return Some(vec![Bytes::copy_from_slice(bytes)]);
    }
    let ends = starts.iter().skip(1).map(|start| start * 2).chain([rest.len() - odd.len()]);
    let parts = starts.iter().zip(ends).filter_map(|(start, end)| rest.get(start * 2..end));
    Some(parts.map(|part| Bytes::from([mark, part].concat())).collect())
}

/// Where messages begin: at the beginning of a line.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at_line_start = true;
    for (at, byte) in bytes.iter().enumerate() {
        let here = bytes.get(at..).unwrap_or_default();
        if at_line_start && begins(here) == Some(Kind::Message) {
            starts.push(at);
        }
        at_line_start = matches!(byte, b'\r' | b'\n');
    }
    starts
}

/// Whether a frame holds more than one message: a header or trailer of a batch or file, or a second MSH.
#[must_use]
pub fn is_batch(frame: &[u8]) -> bool {
    let bytes = skip_lead(frame);
    // In XML a line may begin with anything.
    if bytes.starts_with(b"<") {
        return false;
    }
    match begins(bytes) {
        Some(Kind::FileHeader | Kind::BatchHeader) => return true,
        // A trailer ends the frame, also where its header was left away.
        Some(Kind::Message) if begins_trailer(last_line(bytes)) => return true,
        _ => {}
    }
    let mut from = 1;
    while let Some(at) = bytes.get(from..).and_then(|rest| memchr::memmem::find(rest, b"MSH")) {
        let at = from + at;
        let before = bytes.get(..at).unwrap_or_default();
        let before = before.strip_suffix(UTF8_MARK).unwrap_or(before);
        let rest = bytes.get(at..).unwrap_or_default();
        if matches!(before, [.., b'\r' | b'\n']) && begins(rest) == Some(Kind::Message) {
            return true;
        }
        from = at + 3;
    }
    false
}

fn begins_trailer(line: &[u8]) -> bool {
    matches!(begins(line), Some(Kind::BatchTrailer | Kind::FileTrailer))
}

/// The last line that is not blank.
fn last_line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii_end();
    let end = memchr::memrchr2(b'\r', b'\n', bytes);
    bytes.get(end.map_or(0, |end| end + 1)..).unwrap_or_default()
}

/// The fields of FHS or BHS, which are numbered as those of MSH are up to the seventh. Neither names a
/// character set: without a byte order mark it is the feed's.
///
/// # Errors
/// As for [`Head::read`].
pub fn envelope<'h>(header: &'h [u8], charsets: &Charsets) -> Result<Head<'h>, super::Malformed> {
    let of_feed = charsets.always.unwrap_or(charsets.silent);
    let charset = if is_marked(header) { Charset::Utf8 } else { of_feed };
    Head::named(header, skip_lead(header).get(..3).unwrap_or_default(), Some(charset))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::parse::hl7) fn cut(
        bytes: &[u8],
        sizes: &[usize],
        bytes_max: usize,
        framed: bool,
    ) -> Vec<Piece> {
        let mut pieces = Pieces::new(bytes_max, framed);
        let mut found = Vec::new();
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (some, more) = rest.split_at((*size).clamp(1, rest.len()));
            pieces.push(some);
            rest = more;
            while let Some(piece) = pieces.next(false) {
                found.push(piece);
            }
        }
        while let Some(piece) = pieces.next(true) {
            found.push(piece);
        }
        found
    }

    fn show(pieces: &[Piece]) -> Vec<String> {
        let text =
            |bytes: &Bytes| String::from_utf8_lossy(bytes).replace('\r', "/").replace('\n', "_");
        let show = |piece: &Piece| match piece {
            Piece::FileHeader(bytes) => format!("file {}", text(bytes)),
            Piece::BatchHeader(bytes) => format!("batch {}", text(bytes)),
            Piece::Message(bytes) => format!("message {}", text(bytes)),
            Piece::Oversize(bytes) => format!("oversize {}", bytes.len()),
            Piece::BatchTrailer(bytes) => format!("end {}", text(bytes)),
            Piece::FileTrailer(bytes) => format!("fileend {}", text(bytes)),
            Piece::Stray(bytes) => format!("stray {}", text(bytes)),
        };
        pieces.iter().map(show).collect()
    }

    pub(in crate::parse::hl7) const FILE: &[u8] =
        b"FHS|^~\\&|A\rBHS|^~\\&|A\rMSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\rBTS|2\r\
        BHS|^~\\&|B\rMSH|^~\\&|3\rBTS|1\rFTS|2\r";

    #[test]
    fn headers_messages_and_trailers_are_told_apart_however_lines_end() {
        let wanted = [
            "file FHS|^~\\&|A/",
            "batch BHS|^~\\&|A/",
            "message MSH|^~\\&|1/PID|1/",
            "message MSH|^~\\&|2/",
            "end BTS|2/",
            "batch BHS|^~\\&|B/",
            "message MSH|^~\\&|3/",
            "end BTS|1/",
            "fileend FTS|2/",
        ];
        assert_eq!(show(&cut(FILE, &[usize::MAX], 1000, false)), wanted);
        let text = String::from_utf8(FILE.to_vec()).unwrap();
        for end in ["\n", "\r\n", "\r\n\r\n"] {
            let other = text.replace('\r', end);
            let found = cut(other.as_bytes(), &[usize::MAX], 1000, false);
            let found: Vec<String> = show(&found)
                .iter()
                .map(|piece| piece.replace("/_/_", "/").replace("/_", "/").replace('_', "/"))
                .collect();
            assert_eq!(found, wanted, "{end:?}");
        }
    }

    #[test]
    fn messages_need_nothing_around_them_and_what_is_no_message_is_told() {
        let found = |bytes: &[u8]| show(&cut(bytes, &[3], 1000, true));
        assert_eq!(
            found(b"\xef\xbb\xbf\r\n MSH|^~\\&|1\nMSH|^~\\&|2"),
            ["message \u{feff}MSH|^~\\&|1_", "message \u{feff}MSH|^~\\&|2"]
        );
        assert_eq!(
            found(b"\x0bMSH|^~\\&|1\r\x1c\r\x0bMSH|^~\\&|2\r\x1c\r"),
            ["message MSH|^~\\&|1/", "message MSH|^~\\&|2/"]
        );
        assert_eq!(found(b"# note\rMSH|^~\\&|1\r"), ["stray # note/", "message MSH|^~\\&|1/"]);
        assert_eq!(found(b" \r\n"), Vec::<String>::new());
        assert_eq!(found(b""), Vec::<String>::new());
        // A name within a line, or without delimiters behind it, begins nothing.
        assert_eq!(
            found(b"MSH|^~\\&|1\rNTE|MSH|^~\\&\nMSH is\nBTSX\r"),
            ["message MSH|^~\\&|1/NTE|MSH|^~\\&_MSH is_BTSX/"]
        );
        assert_eq!(found(b"MSH|^~\\&|1\rBTS"), ["message MSH|^~\\&|1/", "end BTS"]);
    }

    #[test]
    fn a_byte_order_mark_counts_for_all_that_is_behind_it() {
        for (text, wanted) in [
            ("\u{feff}<ADT_A01>", vec!["stray \u{feff}<ADT_A01>"]),
            (
                "\t\u{feff} \r\nFHS|^~\\&\rMSH|^~\\&|1\rBTS|1\rMSH|^~\\&|2\r",
                vec![
                    "file \u{feff}FHS|^~\\&/",
                    "message \u{feff}MSH|^~\\&|1/",
                    "end BTS|1/",
                    "message \u{feff}MSH|^~\\&|2/",
                ],
            ),
            // Two files one behind the other, the second with a mark.
            (
                "MSH|^~\\&|1\rPID|1\r\u{feff}MSH|^~\\&|2\rMSH|^~\\&|3",
                vec![
                    "message MSH|^~\\&|1/PID|1/",
                    "message \u{feff}MSH|^~\\&|2/",
                    "message \u{feff}MSH|^~\\&|3",
                ],
            ),
            // Frames, each with its own.
            (
                "\u{b}\u{feff}MSH|^~\\&|1\r\u{1c}\r\u{b}\u{feff}MSH|^~\\&|2\r\u{1c}\r",
                vec!["message \u{feff}MSH|^~\\&|1/", "message \u{feff}MSH|^~\\&|2/"],
            ),
            (
                "\u{feff}\u{b}MSH|^~\\&|1\r\u{1c}\r\u{b}MSH|^~\\&|2\r\u{1c}\r",
                vec!["message \u{feff}MSH|^~\\&|1/", "message \u{feff}MSH|^~\\&|2/"],
            ),
            // A letter of the text, not a mark.
            (
                "MSH|^~\\&|1\rNTE|\u{feff}MSH|^~\\&\r",
                vec!["message MSH|^~\\&|1/NTE|\u{feff}MSH|^~\\&/"],
            ),
            ("\u{feff}\r\n\u{feff} ", vec![]),
        ] {
            for size in [1, 2, 3, 7, usize::MAX] {
                let found = show(&cut(text.as_bytes(), &[size], 1000, true));
                assert_eq!(found, wanted, "{text:?} {size}");
            }
        }
        let long = ["\u{feff}MSH|^~\\&|", &"x".repeat(9000), "\rMSH|^~\\&|2\r"].concat();
        for size in [1, 1000, usize::MAX] {
            let found = cut(long.as_bytes(), &[size], 100, false);
            let [Piece::Oversize(head), Piece::Message(message)] = &found[..] else {
                panic!("{found:?}")
            };
            assert!(head.starts_with("\u{feff}MSH|".as_bytes()));
            assert_eq!(message, &Bytes::from("\u{feff}MSH|^~\\&|2\r"));
        }
        assert!(is_batch("\u{feff}MSH|^~\\&|1\r\u{feff}MSH|^~\\&|2\r".as_bytes()));
        assert!(!is_batch("\u{feff}MSH|^~\\&|1\rNTE|\u{feff}MSH|^~\\&|2\r".as_bytes()));
    }

    #[test]
    fn a_message_beyond_the_bound_is_not_held_and_those_around_it_are_whole() {
        let long = [b"MSH|^~\\&|1\rMSH|^~\\&|", &[b'x'; 9000][..], b"\rMSH|^~\\&|3\r"].concat();
        for size in [1, 7, 1000, usize::MAX] {
            assert_eq!(
                show(&cut(&long, &[size], 100, false)),
                ["message MSH|^~\\&|1/", "oversize 4096", "message MSH|^~\\&|3/"],
                "{size}"
            );
        }
        let mut pieces = Pieces::new(100, false);
        pieces.push(b"MSH|^~\\&|");
        for _ in 0..1000 {
            pieces.push(&[b'x'; 100]);
            assert_eq!(pieces.next(false), None);
            assert!(pieces.held() <= HEAD_BYTES + 220, "{}", pieces.held());
        }
    }

    #[test]
    fn a_frame_with_one_message_is_no_batch() {
        assert!(is_batch(FILE));
        assert!(is_batch(b"\rBHS|^~\\&|A\rMSH|^~\\&|1\r"));
        assert!(is_batch(b"MSH|^~\\&|1\nMSH|^~\\&|2\n"));
        assert!(is_batch(b"MSH|^~\\&|1\rPID|1\rBTS|1\r"));
        assert!(is_batch(b"MSH|^~\\&|1\r\nFTS\r\n\r\n"));
        assert!(!is_batch(b"MSH|^~\\&|1\rNTE|BTS|1\r"));
        assert!(!is_batch(b"MSH|^~\\&|1\rNTE|MSH|^~\\&|2\rMSH\r"));
        assert!(!is_batch(b"BTS|1\rFTS|1\r"), "there is no message to be answered");
        assert!(!is_batch(b"no message"));
        assert!(!is_batch(b""));
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_same_however_the_bytes_come(
            lines in proptest::collection::vec(prop_oneof![
                Just("FHS|^~\\&"), Just("BHS|^~\\&"), Just("MSH|^~\\&|1"), Just("BTS|1"), Just("FTS"),
                Just("PID|1"), Just(""), Just("MS"), Just("MSH"), Just("\x0b"), Just("\x1c"),
                Just("\u{feff}MSH|^~\\&|1"), Just("\u{feff}"), Just("\u{feff}PID|1"),
            ], 0..30),
            end in prop_oneof![Just("\r"), Just("\n"), Just("\r\n")],
            sizes in proptest::collection::vec(1_usize..20, 1..8),
            framed in any::<bool>(),
        ) {
            let text = lines.join(end);
            let whole = cut(text.as_bytes(), &[usize::MAX], 10_000, framed);
            prop_assert_eq!(cut(text.as_bytes(), &sizes, 10_000, framed), whole.clone());
            let is_message = |line: &&&str| line.trim_start_matches('\u{feff}').starts_with("MSH|");
            let messages = lines.iter().filter(is_message).count();
            let found = whole.iter().filter(|piece| matches!(piece, Piece::Message(_))).count();
            prop_assert_eq!(found, messages);
            // Once marked, for good.
            let marks = whole.iter().filter_map(|piece| match piece {
                Piece::Message(bytes) | Piece::Stray(bytes) | Piece::FileHeader(bytes)
                | Piece::BatchHeader(bytes) | Piece::Oversize(bytes) => Some(is_marked(bytes)),
                Piece::BatchTrailer(_) | Piece::FileTrailer(_) => None,
            });
            prop_assert!(marks.is_sorted(), "{:?}", show(&whole));
        }
    }
}
