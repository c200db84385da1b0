//! Bytes that look like a delimiter and are the second half of a character.
//!
//! Promises: a split here is where a split of the decoded text would be; a segment end is never
//! taken for half of a character.
//! Knows nothing of: which character it is.
//!
//! The header is looked at as bytes, since MSH-18 in it says how to decode it. In Shift-JIS `ソ`
//! is 0x83 0x5C, whose second byte alone is a backslash; 0x7C is the second byte of 188
//! characters.

use super::Charset;

/// How characters of several bytes are made, where one of those may be a delimiter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {
    /// Shift-JIS: two bytes, and single ones above 0x80 between.
    ShiftJis,
    /// GB 18030, GBK and Big5: two bytes; in the first four, too, where the second is a digit.
    Pairs,
    /// ISO-2022-JP: whatever stands between two escape sequences.
    Switched,
}

impl Wide {
    /// Of a character set that has such bytes.
    pub fn of(charset: Charset) -> Option<Self> {
        let Charset::Other(encoding) = charset else { return None };
        if encoding == encoding_rs::SHIFT_JIS {
            Some(Self::ShiftJis)
        } else if [encoding_rs::GB18030, encoding_rs::GBK, encoding_rs::BIG5].contains(&encoding) {
            Some(Self::Pairs)
        } else if encoding == encoding_rs::ISO_2022_JP {
            Some(Self::Switched)
        } else {
            // EUC-KR and EUC-JP have letters and high bytes as second ones, and no delimiter is a
            // letter.
            None
        }
    }

    /// How many bytes belong together, from the beginning of these.
    fn length(self, bytes: &[u8]) -> usize {
        match (self, bytes) {
            (Self::ShiftJis, [0x81..=0x9F | 0xE0..=0xFC, 0x40..=0x7E | 0x80..=0xFC, ..]) => 2,
            (Self::Pairs, [0x81..=0xFE, 0x30..=0x39, 0x81..=0xFE, 0x30..=0x39, ..]) => 4,
            (Self::Pairs, [0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE, ..]) => 2,
            (Self::Switched, [0x1B, b'$', b'@' | b'B', rest @ ..]) => 3 + pairs(rest),
            (Self::Switched, [0x1B, b'(', b'I', rest @ ..]) => 3 + to_escape(rest),
            _ => 1,
        }
    }
}

/// How many bytes there are to the next escape sequence, or to the end of the segment.
fn to_escape(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| matches!(byte, 0x1B | b'\r' | b'\n'));
    end.unwrap_or(bytes.len())
}

/// As [`to_escape`], two by two.
fn pairs(bytes: &[u8]) -> usize {
    let graphic = |byte: &u8| matches!(byte, 0x21..=0x7E);
    2 * bytes.chunks_exact(2).take_while(|pair| pair.iter().all(graphic)).count()
}

/// Splits where a separator is a character of its own, into at most so many parts.
pub(super) fn split(bytes: &[u8], separator: u8, wide: Option<Wide>, most: usize) -> Vec<&[u8]> {
    let mut parts = Vec::with_capacity(most.min(8));
    let Some(wide) = wide else {
        parts.extend(bytes.splitn(most, |byte| *byte == separator));
        return parts;
    };
    let (mut from, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        if *byte == separator && parts.len() + 1 < most {
            parts.push(bytes.get(from..at).unwrap_or_default());
            from = at + 1;
            at += 1;
        } else {
            at += wide.length(bytes.get(at..).unwrap_or_default());
        }
    }
    parts.push(bytes.get(from..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETS: [&str; 4] = ["SHIFT-JIS", "GB 18030", "BIG-5", "ISO IR87"];

    proptest! {
        /// What is split as bytes is what is split as text.
        #[test]
        fn bytes_are_split_where_their_text_is(
            text in "[|^~&a-z|0-9表ソ能ポ山功育一乂丨亅€ア-ン|\u{4e00}-\u{4fff}|]{0,40}",
            separator in prop_oneof![Just(b'|'), Just(b'^'), Just(b'~'), Just(b'\\'), Just(b'&')],
        ) {
            for name in SETS {
                let charset = Charset::from_name(name).unwrap();
                let Charset::Other(encoding) = charset else { panic!("{name}") };
                let (bytes, _, lossy) = encoding.encode(&text);
                if lossy {
                    continue;
                }
                let decoded = charset.decode(&bytes).unwrap();
                let wanted: Vec<&str> = decoded.split(char::from(separator)).collect();
                let found = split(&bytes, separator, Wide::of(charset), usize::MAX);
                let found: Vec<_> = found.iter().map(|part| charset.decode(part).unwrap()).collect();
                prop_assert_eq!(found, wanted, "{}", name);
            }
        }

        /// PROMISE-11
        #[test]
        fn no_segment_end_is_half_of_a_character(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for name in SETS {
                let wide = Wide::of(Charset::from_name(name).unwrap());
                for end in [b'\r', b'\n'] {
                    let found = split(&bytes, end, wide, usize::MAX);
                    prop_assert_eq!(found.len(), bytes.split(|byte| *byte == end).count());
                }
            }
        }
    }

    #[test]
    fn no_more_parts_than_are_wanted() {
        assert_eq!(split(b"a|b|c", b'|', None, 2), [&b"a"[..], b"b|c"]);
        assert_eq!(split(b"a|b|c", b'|', Some(Wide::ShiftJis), 2), [&b"a"[..], b"b|c"]);
        assert_eq!(split(b"\x83\x7c|b", b'|', Some(Wide::ShiftJis), 9), [&b"\x83\x7c"[..], b"b"]);
    }
}
