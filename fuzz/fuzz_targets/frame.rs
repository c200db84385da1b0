//! A stream of bytes that comes in pieces gives the frames that it gives in one piece, whole, and
//! none that is longer than the bound.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tidegate::feed::mllp::frame::{FS, Frames, Incoming};
use tokio_util::codec::Decoder;

/// Small, so that the bound is met often.
const BYTES_MAX: usize = 256;

/// What a stream gives in pieces of a size. Junk is counted by the piece, so it is left out.
fn decode(stream: &[u8], size: usize) -> (Vec<Incoming>, bool) {
    let mut frames = Frames::new(BYTES_MAX);
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match frames.decode(&mut buffer) {
                Ok(Some(incoming)) => found.push(incoming),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
        assert!(buffer.len() <= BYTES_MAX + size + 1, "more is kept than the bound");
    }
    while let Ok(Some(incoming)) = frames.decode_eof(&mut buffer) {
        found.push(incoming);
    }
    found.retain(|incoming| *incoming != Incoming::Junk);
    (found, false)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, stream)) = bytes.split_first() else { return };
    let (whole, endless) = decode(stream, stream.len().max(1));
    let (split, endless_split) = decode(stream, usize::from(size).max(1));
    for incoming in whole.iter().chain(&split) {
        if let Incoming::Frame(frame) = incoming {
            assert!(frame.len() <= BYTES_MAX);
            let ends = frame.windows(2).any(|pair| pair == [FS, b'\r']);
            assert!(!ends, "a frame went on behind its end");
        }
    }
    // A frame without end is given up at a piece's end, so where it is depends on the pieces.
    if !endless && !endless_split {
        assert_eq!(whole.len(), split.len());
        for (one, other) in whole.iter().zip(&split) {
            match (one, other) {
                // How much of the head is kept depends on where the pieces end.
                (Incoming::Oversize(_), Incoming::Oversize(_)) => {}
                _ => assert_eq!(one, other),
            }
        }
    }
});
