//! The body of an answer, taken within bounds.
//!
//! Promises: no more than the bound is ever in memory, whatever the head says and however it is
//! packed; a body that ends early, or says something else of itself, is no body.
//! Knows nothing of: sockets, what is in it.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::fault::FetchFault;

/// How many times its size a packed body may come to. A page of one example Observation 500 times over,
/// with other IDs, packs to a 130th at most; half as much again leaves room. One letter over and over
/// packs to a 229th at gzip's fastest and to a 1028th at its best.
pub const RATIO_MAX: usize = 200;
/// What may come out before the ratio is looked at: a small page of blanks harms nobody.
const RATIO_FREE_BYTES: usize = 1 << 20;
/// How much is unpacked at once, in packed bytes: 1 MiB of a bomb.
const PACKED_STEP_BYTES: usize = 1 << 10;
/// What is set aside at once by what a head says of its length.
const AHEAD_BYTES_MAX: u64 = 1 << 20;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip,
}

/// Takes a body, piece by piece.
pub struct Taker(Way);

enum Way {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// What was taken so far.
struct Bounded {
    out: Vec<u8>,
    bytes_max: usize,
    /// Packed bytes so far; none of what is not packed.
    packed: Option<usize>,
    /// Why no more is taken.
    fault: Option<FetchFault>,
}

impl Taker {
    /// Begins. The length is what the head says of the packed body.
    #[must_use]
    pub fn new(packing: Packing, length: Option<u64>, bytes_max: usize) -> Self {
        let ahead = length.unwrap_or(0).min(AHEAD_BYTES_MAX).min(bytes_max as u64);
        let packed = (packing == Packing::Gzip).then_some(0);
        let out = Vec::with_capacity(usize::try_from(ahead).unwrap_or(0));
        let bounded = Bounded { out, bytes_max, packed, fault: None };
        Self(match packing {
            Packing::Plain => Way::Plain(bounded),
            Packing::Gzip => Way::Gzip(Box::new(MultiGzDecoder::new(bounded))),
        })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// It is too much, or not packed as was said.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), FetchFault> {
        let (taken, bounded) = match &mut self.0 {
            Way::Plain(bounded) => (bounded.write_all(piece), bounded),
            Way::Gzip(gzip) => {
                // So little at once that what came out is held against what went in for it, however
                // large the pieces are.
                let taken = piece.chunks(PACKED_STEP_BYTES).try_for_each(|step| {
                    let bounded = gzip.get_mut();
                    bounded.packed = bounded.packed.map(|packed| packed.saturating_add(step.len()));
                    gzip.write_all(step)
                });
                (taken, gzip.get_mut())
            }
        };
        taken.map_err(|_| bounded.fault.take().unwrap_or(FetchFault::BadEncoding))
    }

    /// The whole, once there is no more.
    ///
    /// # Errors
    /// It is packed, and its end is missing or wrong.
    pub fn finish(self) -> Result<Vec<u8>, FetchFault> {
        match self.0 {
            Way::Plain(bounded) => Ok(bounded.out),
            // What has no body is not packed either.
            Way::Gzip(gzip) if gzip.get_ref().packed == Some(0) => Ok(Vec::new()),
            Way::Gzip(mut gzip) => {
                if gzip.try_finish().is_err() {
                    return Err(gzip.get_mut().fault.take().unwrap_or(FetchFault::BadEncoding));
                }
                gzip.finish().map(|bounded| bounded.out).map_err(|_| FetchFault::BadEncoding)
            }
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let length = self.out.len().saturating_add(piece.len());
        let ratio = self.packed.is_some_and(|packed| {
            length > RATIO_FREE_BYTES && length > packed.saturating_mul(RATIO_MAX)
        });
        if ratio {
            self.fault = Some(FetchFault::RatioTooLarge { ratio_max: RATIO_MAX });
        } else if length > self.bytes_max {
            self.fault = Some(FetchFault::TooLarge { bytes_max: self.bytes_max });
        }
        if self.fault.is_some() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn take(
        packing: Packing,
        bytes: &[u8],
        piece: usize,
        most: usize,
    ) -> Result<Vec<u8>, FetchFault> {
        let mut taker = Taker::new(packing, Some(bytes.len() as u64), most);
        for piece in bytes.chunks(piece.max(1)) {
            taker.take(piece)?;
        }
        taker.finish()
    }

    #[test]
    fn a_bomb_is_refused_before_it_has_unpacked() {
        let bomb = packed(&vec![b' '; 64 << 20]);
        for piece in [1, 1000, bomb.len()] {
            let mut taker = Taker::new(Packing::Gzip, None, 256 << 20);
            let mut fault = None;
            for piece in bomb.chunks(piece) {
                fault = taker.take(piece).err();
                if fault.is_some() {
                    break;
                }
            }
            assert_eq!(fault, Some(FetchFault::RatioTooLarge { ratio_max: RATIO_MAX }));
            let Way::Gzip(gzip) = &taker.0 else { unreachable!() };
            let held = gzip.get_ref().out.len();
            assert!(held <= RATIO_FREE_BYTES.max(bomb.len() * RATIO_MAX), "{held}");
        }
    }

    /// Several members, each small, so that none of them is a bomb by itself.
    #[test]
    fn members_are_bounded_together() {
        let member = packed(&vec![b' '; 512 << 10]);
        let all: Vec<u8> = std::iter::repeat_n(member, 64).flatten().collect();
        let fault = take(Packing::Gzip, &all, 4096, 256 << 20).unwrap_err();
        assert_eq!(fault, FetchFault::RatioTooLarge { ratio_max: RATIO_MAX });
        // By its ratio, also where it is too large as well, and comes in one piece.
        let bomb = packed(&vec![b' '; 64 << 20]);
        let fault = take(Packing::Gzip, &bomb, bomb.len(), 1 << 20).unwrap_err();
        assert_eq!(fault, FetchFault::RatioTooLarge { ratio_max: RATIO_MAX });
        let two = [packed(b"ab"), packed(b"cd")].concat();
        assert_eq!(take(Packing::Gzip, &two, 1, 10), Ok(b"abcd".to_vec()));
    }

    #[test]
    fn a_body_is_bounded_by_what_it_unpacks_to() {
        let text = b"0123456789";
        for (packing, bytes) in [(Packing::Plain, text.to_vec()), (Packing::Gzip, packed(text))] {
            assert_eq!(take(packing, &bytes, 3, 10), Ok(text.to_vec()), "{packing:?}");
            let fault = FetchFault::TooLarge { bytes_max: 9 };
            assert_eq!(take(packing, &bytes, 3, 9), Err(fault), "{packing:?}");
        }
        assert_eq!(take(Packing::Gzip, b"", 1, 9), Ok(Vec::new()));
    }

    #[test]
    fn a_packed_body_that_is_cut_or_broken_is_none() {
        let whole = packed(b"ZZPATIENT, ZZPATIENT, ZZPATIENT");
        for end in 1..whole.len() {
            let cut = whole.get(..end).unwrap();
            assert_eq!(take(Packing::Gzip, cut, 7, 99), Err(FetchFault::BadEncoding), "{end}");
        }
        let mut wrong = whole.clone();
        let checksum = wrong.len() - 6;
        wrong[checksum] ^= 1;
        assert_eq!(take(Packing::Gzip, &wrong, 7, 99), Err(FetchFault::BadEncoding));
        assert_eq!(take(Packing::Gzip, b"{}", 7, 99), Err(FetchFault::BadEncoding));
        let more = [whole, b"more".to_vec()].concat();
        assert_eq!(take(Packing::Gzip, &more, 7, 99), Err(FetchFault::BadEncoding));
    }

    proptest! {
        #[test]
        fn a_body_in_pieces_is_the_body(bytes in prop::collection::vec(any::<u8>(), 1..4096), piece in 1usize..512) {
            prop_assert_eq!(take(Packing::Gzip, &packed(&bytes), piece, 8192), Ok(bytes.clone()));
            prop_assert_eq!(take(Packing::Plain, &bytes, piece, 8192), Ok(bytes));
        }

        #[test]
        fn bytes_that_are_not_packed_cost_nothing(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            prop_assert!(take(Packing::Gzip, &bytes, 100, 8192).is_err() || bytes.is_empty());
        }
    }
}
