//! Bytes to frames.
//!
//! Promises: what was searched is not searched again, so that a frame that comes byte by byte
//! costs what one in a single read costs; no more than the bound is kept of a frame; nothing
//! that comes in a frame takes the connection down but a frame without end.
//! Knows nothing of: HL7.
//!
//! VT is 0x0B, FS 0x1C (HL7 v2 appendix C, MLLP). FS CR ends a frame. FS alone ends it where VT
//! or nothing follows; FS before anything else is data.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use tokio_util::codec::Decoder;

/// Begins a frame.
pub const VT: u8 = 0x0B;
/// Ends a frame, together with CR.
pub const FS: u8 = 0x1C;
/// Behind FS.
pub const CR: u8 = b'\r';

/// How many times the bound a frame may be that is read to its end without being kept.
const SKIP_FACTOR: usize = 4;
/// How much of the head of such a frame is kept, for its acknowledgement: MSH fits.
const HEAD_BYTES: usize = 4096;

/// What comes out of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A frame's content.
    Frame(Bytes),
    /// A frame that was longer than the bound; its head.
    Oversize(Bytes),
    /// Bytes outside a frame were skipped.
    Junk,
    /// VT inside a frame: it begins anew, and what came of it is lost.
    Restarted,
}

/// The frame has gone far beyond the bound without an end.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection must close.
    #[error("a frame without end")]
    Endless,
    /// The decoder interface wants this; reading is done elsewhere.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Decodes frames.
#[derive(Debug)]
pub struct Frames {
    bytes_max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Between frames. Whether a CR may still follow the FS of the last one.
    Outside { after_fs: bool },
    /// Inside: the content begins at 0, and has been searched up to here.
    Inside { searched: usize },
    /// Inside one that is too long: its head, and how many bytes of it came so far.
    Skipping { head: Bytes, seen: usize },
}

impl Frames {
    /// A decoder of frames of at most so many bytes of content.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: State::Outside { after_fs: false } }
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub const fn is_inside(&self) -> bool {
        matches!(self.state, State::Inside { .. } | State::Skipping { .. })
    }

    /// Whether all that is missing of the frame is what follows its FS.
    #[must_use]
    pub fn awaits_end(&self, buffer: &BytesMut) -> bool {
        self.is_inside() && buffer.last() == Some(&FS)
    }

    /// Ends the frame at an FS that nothing follows: the sender waits for its answer, or has
    /// closed.
    pub fn end_at_fs(&mut self, buffer: &mut BytesMut) -> Option<Incoming> {
        if !self.awaits_end(buffer) {
            return None;
        }
        let length = buffer.len() - 1;
        let incoming = self.end(buffer, length);
        buffer.advance(1);
        Some(incoming)
    }

    /// Takes the content of a frame out of the buffer, up to its FS.
    fn end(&mut self, buffer: &mut BytesMut, length: usize) -> Incoming {
        let state = std::mem::replace(&mut self.state, State::Outside { after_fs: true });
        let content = buffer.split_to(length).freeze();
        match state {
            State::Skipping { head, .. } => Incoming::Oversize(head),
            State::Outside { .. } | State::Inside { .. } => {
                if content.len() > self.bytes_max {
                    Incoming::Oversize(content.slice(..HEAD_BYTES.min(content.len())))
                } else {
                    Incoming::Frame(content)
                }
            }
        }
    }

    /// Between frames: everything up to VT is junk, but for the CR behind the last FS.
    fn outside(&mut self, buffer: &mut BytesMut, after_fs: bool) -> Option<Incoming> {
        if after_fs && buffer.first() == Some(&CR) {
            buffer.advance(1);
        }
        if !buffer.is_empty() {
            self.state = State::Outside { after_fs: false };
        }
        let begin = memchr(VT, buffer);
        let junk = begin.unwrap_or(buffer.len());
        let blank = buffer.iter().take(junk).all(|byte| matches!(byte, b'\r' | b'\n'));
        buffer.advance(junk);
        if begin.is_some() {
            buffer.advance(1);
            self.state = State::Inside { searched: 0 };
        }
        // Line ends between frames are common and mean nothing.
        (junk > 0 && !blank).then_some(Incoming::Junk)
    }

    /// Inside a frame, from where it was searched before.
    fn inside(&mut self, buffer: &mut BytesMut, searched: usize) -> Inside {
        let mut from = searched;
        while let Some(at) =
            buffer.get(from..).and_then(|rest| memchr2(VT, FS, rest)).map(|found| from + found)
        {
            let next = buffer.get(at + 1).copied();
            match (buffer.get(at).copied(), next) {
                (Some(VT), _) => return Inside::Restarts(at),
                (_, Some(CR | VT)) => {
                    return Inside::Ends { length: at, with_cr: next == Some(CR) };
                }
                (_, None) => return Inside::Waits(at),
                (_, Some(_)) => from = at + 1,
            }
        }
        Inside::Waits(buffer.len())
    }
}

/// What was found inside a frame.
enum Inside {
    /// VT at this position.
    Restarts(usize),
    /// The content's length, and whether CR follows the FS.
    Ends { length: usize, with_cr: bool },
    /// More is wanted; everything before this position is content.
    Waits(usize),
}

impl Decoder for Frames {
    type Item = Incoming;
    type Error = FrameError;

    /// The next frame, or what had to be skipped; nothing where more bytes are wanted.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        loop {
            let (searched, seen) = match &self.state {
                State::Outside { after_fs } => {
                    let after_fs = *after_fs;
                    if let Some(junk) = self.outside(buffer, after_fs) {
                        return Ok(Some(junk));
                    }
                    if !self.is_inside() {
                        return Ok(None);
                    }
                    continue;
                }
                State::Inside { searched } => (*searched, 0),
                State::Skipping { seen, .. } => (0, *seen),
            };
            match self.inside(buffer, searched) {
                Inside::Restarts(at) => {
                    buffer.advance(at + 1);
                    self.state = State::Inside { searched: 0 };
                    return Ok(Some(Incoming::Restarted));
                }
                Inside::Ends { length, with_cr } => {
                    let incoming = self.end(buffer, length);
                    buffer.advance(1 + usize::from(with_cr));
                    self.state = State::Outside { after_fs: !with_cr };
                    return Ok(Some(incoming));
                }
                Inside::Waits(at) => {
                    self.wait(buffer, at, seen)?;
                    return Ok(None);
                }
            }
        }
    }

    /// At the end of the stream: an FS that nothing follows ends a frame.
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        match self.decode(buffer)? {
            Some(incoming) => Ok(Some(incoming)),
            None => Ok(self.end_at_fs(buffer)),
        }
    }
}

impl Frames {
    /// More bytes are wanted: notes how far was searched, and lets go of what is too long.
    fn wait(
        &mut self,
        buffer: &mut BytesMut,
        content: usize,
        seen: usize,
    ) -> Result<(), FrameError> {
        match &mut self.state {
            State::Inside { searched } if content <= self.bytes_max => *searched = content,
            State::Inside { .. } => {
                let head = buffer.get(..HEAD_BYTES.min(content)).unwrap_or_default();
                let head = Bytes::copy_from_slice(head);
                buffer.advance(content);
                self.state = State::Skipping { head, seen: content };
            }
            State::Skipping { seen: so_far, .. } => {
                buffer.advance(content);
                *so_far = seen.saturating_add(content);
                if *so_far > self.bytes_max.saturating_mul(SKIP_FACTOR) {
                    return Err(FrameError::Endless);
                }
            }
            State::Outside { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a stream that comes in pieces of the given sizes, over and over.
    fn decode(stream: &[u8], sizes: &[usize], bytes_max: usize) -> (Vec<Incoming>, bool) {
        let mut frames = Frames::new(bytes_max);
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        let mut rest = stream;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, tail) = rest.split_at((*size).clamp(1, rest.len()));
            buffer.extend_from_slice(piece);
            rest = tail;
            loop {
                match frames.decode(&mut buffer) {
                    Ok(Some(incoming)) => found.push(incoming),
                    Ok(None) => break,
                    Err(_) => return (found, true),
                }
            }
        }
        while let Ok(Some(incoming)) = frames.decode_eof(&mut buffer) {
            found.push(incoming);
        }
        (found, frames.is_inside())
    }

    fn frame(text: &str) -> Incoming {
        Incoming::Frame(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn frames_are_found_however_they_come() {
        use Incoming::{Junk, Restarted};
        for (stream, wanted, inside) in [
            (&b"\x0bone\x1c\r"[..], vec![frame("one")], false),
            (
                b"\x0bone\x1c\r\x0btwo\x1c\r\x0b\x1c\r",
                vec![frame("one"), frame("two"), frame("")],
                false,
            ),
            // A missing CR.
            (b"\x0bone\x1c\x0btwo\x1c", vec![frame("one"), frame("two")], false),
            // Line ends between frames are nothing; other bytes are junk.
            (b"\r\n\x0bone\x1c\r\r\n\n\x0btwo\x1c\r", vec![frame("one"), frame("two")], false),
            (
                b"junk\x0bone\x1c\rmore\x0btwo\x1c\r",
                vec![Junk, frame("one"), Junk, frame("two")],
                false,
            ),
            // FS before anything else is data.
            (b"\x0bon\x1ce\x1c\r", vec![frame("on\x1ce")], false),
            // VT inside begins anew.
            (b"\x0blost\x0bkept\x1c\r", vec![Restarted, frame("kept")], false),
            (b"\x0b\x0b\x0bkept\x1c\r", vec![Restarted, Restarted, frame("kept")], false),
            // The end of the stream inside a frame.
            (b"\x0bone\x1c\r\x0btw", vec![frame("one")], true),
            (b"\x00\x0b\x00\x1c\r", vec![Junk, frame("\0")], false),
        ] {
            let joined = |found: Vec<Incoming>| {
                // Junk that comes in pieces is counted by the piece.
                let mut found = found;
                found.dedup_by(|one, two| *one == Junk && *two == Junk);
                found
            };
            for sizes in [&[1][..], &[2], &[3, 1], &[1000]] {
                let (found, ended_inside) = decode(stream, sizes, 100);
                assert_eq!(
                    (joined(found), ended_inside),
                    (wanted.clone(), inside),
                    "{stream:?} {sizes:?}"
                );
            }
        }
    }

    /// PROMISE-11
    #[test]
    fn a_frame_beyond_the_bound_is_read_to_its_end_and_not_kept() {
        let long = [&b"\x0bMSH|"[..], &[b'x'; 300], b"\x1c\r\x0bnext\x1c\r"].concat();
        for sizes in [&[1][..], &[7], &[1000]] {
            let (found, _) = decode(&long, sizes, 100);
            let [Incoming::Oversize(head), next] = found.as_slice() else { panic!("{found:?}") };
            assert!(head.starts_with(b"MSH|"));
            assert_eq!(*next, frame("next"));
        }
        let endless = [&b"\x0b"[..], &[b'x'; 1000]].concat();
        for sizes in [&[1][..], &[7], &[64]] {
            let (found, broken) = decode(&endless, sizes, 100);
            assert_eq!((found, broken), (vec![], true));
        }
        assert_eq!(decode(b"\x0b12345\x1c\r", &[1], 5).0, [frame("12345")]);
    }

    #[test]
    fn an_fs_that_nothing_follows_ends_the_frame_when_it_is_told_so() {
        let mut frames = Frames::new(100);
        let mut buffer = BytesMut::from(&b"\x0bone\x1c"[..]);
        assert_eq!(frames.decode(&mut buffer).unwrap(), None);
        assert!(frames.awaits_end(&buffer));
        assert_eq!(frames.end_at_fs(&mut buffer), Some(frame("one")));
        // The CR comes late, and belongs to the frame that has ended.
        buffer.extend_from_slice(b"\r\x0btwo\x1c\r");
        assert_eq!(frames.decode(&mut buffer).unwrap(), Some(frame("two")));
        assert_eq!(frames.decode(&mut buffer).unwrap(), None);
        assert_eq!(frames.end_at_fs(&mut buffer), None);
    }

    proptest! {
        /// A frame split anywhere is the same frame.
        #[test]
        fn however_a_stream_is_split_it_gives_the_same(
            stream in proptest::collection::vec(
                prop_oneof![Just(VT), Just(FS), Just(CR), Just(b'a'), any::<u8>()], 0..200),
            sizes in proptest::collection::vec(1_usize..20, 1..10),
        ) {
            let without_junk = |found: Vec<Incoming>| -> Vec<Incoming> {
                found.into_iter().filter(|incoming| *incoming != Incoming::Junk).collect()
            };
            let (whole, inside_whole) = decode(&stream, &[usize::MAX], 1000);
            let (split, inside_split) = decode(&stream, &sizes, 1000);
            prop_assert_eq!(without_junk(whole), without_junk(split));
            prop_assert_eq!(inside_whole, inside_split);
        }
    }
}
