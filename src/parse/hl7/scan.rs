//! Where delimiters stand, eight bytes at a time.
//!
//! Promises: every place, in order; the cost is in proportion to the text.
//! Knows nothing of: which delimiter means what.
//!
//! Delimiters stand some bytes apart, so that a general search for the next one is set up more
//! often than it looks at bytes.

const LOW: u64 = 0x0101_0101_0101_0101;
const SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Where a byte other than NUL stands first.
#[inline]
pub(super) fn first(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let needle = u64::from(byte) * LOW;
    for (index, chunk) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*chunk) ^ needle;
        let marks = differs.wrapping_sub(LOW) & !differs & !SEVEN;
        if marks != 0 {
            // A borrow may mark bytes behind the first that is zero, never before it.
            return Some(index * 8 + (marks.trailing_zeros() / 8) as usize);
        }
    }
    let at = rest.iter().position(|found| *found == byte)?;
    Some(words.len() * 8 + at)
}

/// Four bytes that are looked for together; none of them is NUL.
pub(super) struct Needles([u64; 4]);

impl Needles {
    pub fn new(bytes: [u8; 4]) -> Self {
        Self(bytes.map(|byte| u64::from(byte) * LOW))
    }

    /// The highest bit of each byte that is one of them, the first byte lowest.
    #[inline]
    fn marks(&self, word: u64) -> u64 {
        let mut others = u64::MAX;
        for needle in self.0 {
            // A byte is zero where the two agree; adding seven ones to its lower seven bits
            // carries into the eighth unless they are zero.
            let differs = word ^ needle;
            others &= ((differs & SEVEN) + SEVEN) | differs;
        }
        !(others | SEVEN)
    }

    /// Calls `found` with the place of each, and with the byte.
    #[inline]
    pub fn each(&self, bytes: &[u8], mut found: impl FnMut(usize, u8)) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let mut base = 0;
        for chunk in words.iter().chain([&last]) {
            let mut marks = self.marks(u64::from_le_bytes(*chunk));
            while marks != 0 {
                let at = (marks.trailing_zeros() / 8) as usize;
                found(base + at, chunk.get(at).copied().unwrap_or_default());
                marks &= marks - 1;
            }
            base += 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_looking_at_each_byte_finds(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'|'), Just(b'^'), Just(b'~'), Just(b'&'), any::<u8>()], 0..70,
            ),
        ) {
            let needles = *b"|^~&";
            let mut found = Vec::new();
            Needles::new(needles).each(&bytes, |at, byte| found.push((at, byte)));
            let each = bytes.iter().copied().enumerate();
            let expected: Vec<_> = each.filter(|(_, byte)| needles.contains(byte)).collect();
            prop_assert_eq!(found, expected);
            for needle in needles {
                let expected = bytes.iter().position(|byte| *byte == needle);
                prop_assert_eq!(first(needle, &bytes), expected);
            }
        }
    }
}
