//! Bytes to text, by MSH-18 (table 0211), strictly.
//!
//! Promises: bytes that do not decode are an error with their position, never a replacement
//! character; a message of plain ASCII is borrowed, whatever MSH-18 says.
//! Knows nothing of: a feed's own choice; it is handed in for messages that state none.

use std::borrow::Cow;

use encoding_rs::Encoding;

use super::Malformed;

/// A character set that messages are decoded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Seven bits; a higher byte is an error.
    Ascii,
    /// UTF-8.
    Utf8,
    /// Any other, by the Encoding Standard.
    Other(&'static Encoding),
}

/// Names of table 0211 and how they are decoded. Compared in capitals without spaces.
const NAMES: [(&str, Charset); 26] = [
    ("ASCII", Charset::Ascii),
    ("ISOIR6", Charset::Ascii),
    ("UNICODEUTF-8", Charset::Utf8),
    ("UTF-8", Charset::Utf8),
    ("UTF8", Charset::Utf8),
    // The Encoding Standard reads ISO 8859-1 as its superset windows-1252.
    ("8859/1", Charset::Other(encoding_rs::WINDOWS_1252)),
    ("8859/2", Charset::Other(encoding_rs::ISO_8859_2)),
    ("8859/3", Charset::Other(encoding_rs::ISO_8859_3)),
    ("8859/4", Charset::Other(encoding_rs::ISO_8859_4)),
    ("8859/5", Charset::Other(encoding_rs::ISO_8859_5)),
    ("8859/6", Charset::Other(encoding_rs::ISO_8859_6)),
    ("8859/7", Charset::Other(encoding_rs::ISO_8859_7)),
    ("8859/8", Charset::Other(encoding_rs::ISO_8859_8)),
    ("8859/9", Charset::Other(encoding_rs::WINDOWS_1254)),
    ("8859/15", Charset::Other(encoding_rs::ISO_8859_15)),
    ("ISOIR14", Charset::Other(encoding_rs::ISO_2022_JP)),
    ("ISOIR87", Charset::Other(encoding_rs::ISO_2022_JP)),
    ("ISOIR159", Charset::Other(encoding_rs::ISO_2022_JP)),
    ("GB18030-2000", Charset::Other(encoding_rs::GB18030)),
    ("GB18030", Charset::Other(encoding_rs::GB18030)),
    ("KSX1001", Charset::Other(encoding_rs::EUC_KR)),
    ("CNS11643-1992", Charset::Other(encoding_rs::BIG5)),
    ("BIG-5", Charset::Other(encoding_rs::BIG5)),
    ("WINDOWS-1252", Charset::Other(encoding_rs::WINDOWS_1252)),
    ("WINDOWS-1250", Charset::Other(encoding_rs::WINDOWS_1250)),
    ("SHIFT-JIS", Charset::Other(encoding_rs::SHIFT_JIS)),
];

impl Charset {
    /// The character set of a name in MSH-18 or in a feed's `charset`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let folded: String =
            name.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
        let folded = folded.to_ascii_uppercase();
        NAMES.iter().find(|(known, _)| *known == folded).map(|(_, charset)| *charset)
    }

    /// Every name that [`Charset::from_name`] takes, in capitals without spaces.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        NAMES.iter().map(|(name, _)| *name).collect()
    }

    /// A name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ASCII",
            Self::Utf8 => "UTF-8",
            Self::Other(encoding) => encoding.name(),
        }
    }

    /// Decodes strictly.
    ///
    /// # Errors
    /// [`Malformed::Undecodable`] with the position of the first byte that does not decode.
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Malformed> {
        let undecodable = |at| Malformed::Undecodable { at, charset: self.name() };
        match self {
            Self::Ascii if !bytes.is_ascii() => {
                Err(undecodable(bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(0)))
            }
            Self::Ascii | Self::Utf8 => std::str::from_utf8(bytes)
                .map(Cow::Borrowed)
                .map_err(|error| undecodable(error.valid_up_to())),
            Self::Other(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(bytes)
                .ok_or_else(|| undecodable(first_undecodable(encoding, bytes))),
        }
    }
}

/// Position of the first byte that does not decode.
fn first_undecodable(encoding: &'static Encoding, bytes: &[u8]) -> usize {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(bytes.len().saturating_mul(3));
    let (_, read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    read.saturating_sub(1)
}

/// Decodes a message by the first name in MSH-18, or by the feed's character set where MSH-18
/// is empty. Further names in MSH-18 are for escapes inside the text.
///
/// # Errors
/// The name is not known and the bytes are not plain ASCII, or they do not decode.
pub fn decode<'a>(
    bytes: &'a [u8],
    stated: &[u8],
    silent: Charset,
) -> Result<(Cow<'a, str>, Charset), Malformed> {
    let charset = if stated.is_empty() {
        silent
    } else {
        match std::str::from_utf8(stated).ok().and_then(Charset::from_name) {
            Some(charset) => charset,
            None if bytes.is_ascii() => Charset::Ascii,
            None => return Err(Malformed::UnknownCharset),
        }
    };
    Ok((charset.decode(bytes)?, charset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_0211_is_decoded() {
        for (stated, bytes, text) in [
            (&b""[..], &b"M\xc3\xbcller"[..], "Müller"),
            (b"UNICODE UTF-8", b"M\xc3\xbcller", "Müller"),
            (b"8859/1", b"M\xfcller", "Müller"),
            (b"8859/15", b"\xa4", "€"),
            (b"8859/5", b"\xb0", "А"),
            (b"ASCII", b"Muller", "Muller"),
            (b"ISO IR87", b"\x1b$B;3ED\x1b(B", "山田"),
            (b"GB 18030-2000", b"\xc4\xe3", "你"),
            (b"BIG-5", b"\xa7\x41", "你"),
            (b"NO SUCH NAME", b"Muller", "Muller"),
        ] {
            assert_eq!(decode(bytes, stated, Charset::Utf8).map(|found| found.0), Ok(text.into()));
        }
    }

    #[test]
    fn bytes_that_do_not_decode_are_refused_with_their_place() {
        assert_eq!(
            decode(b"M\xfcller", b"", Charset::Utf8).map(|_| ()),
            Err(Malformed::Undecodable { at: 1, charset: "UTF-8" })
        );
        assert_eq!(
            decode("Müller".as_bytes(), b"ASCII", Charset::Utf8).map(|_| ()),
            Err(Malformed::Undecodable { at: 1, charset: "ASCII" })
        );
        assert_eq!(
            decode(b"ab\xff\xff", b"GB 18030-2000", Charset::Utf8).map(|_| ()),
            Err(Malformed::Undecodable { at: 2, charset: "gb18030" })
        );
        assert_eq!(
            decode(b"M\xfcller", b"NO SUCH NAME", Charset::Utf8).map(|_| ()),
            Err(Malformed::UnknownCharset)
        );
    }
}
