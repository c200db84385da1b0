//! Bytes to text, by what a feed says, by a byte order mark, by MSH-18 (table 0211), strictly.
//!
//! Promises: bytes that do not decode are an error with their position, never a replacement
//! character; a message of plain ASCII is borrowed, whatever MSH-18 says; a character set is
//! named or it is not there, never guessed from what the bytes look like.
//! Knows nothing of: where MSH-18 stands; `wire` finds it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use encoding_rs::{DecoderResult, Encoding};

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

const fn other(encoding: &'static Encoding) -> Charset {
    Charset::Other(encoding)
}

/// Names and how they are decoded: those of table 0211, those of ISO-IR as DICOM has them and
/// senders copy them, and those of IANA. Compared by letters and digits alone, so that `8859-1`,
/// `ISO_IR 100` and `Shift_JIS` need no row of their own.
///
/// `UNICODE` says nothing of its form; a header that could be read byte by byte leaves UTF-8.
/// `CNS 11643-1992`, `UNICODE UTF-16` and `UNICODE UTF-32` are not here: no bytes behind such a
/// header are in them. A site that knows what its sender means by them has an alias for it.
const NAMES: &[(&str, Charset)] = &[
    ("ASCII", Charset::Ascii),
    ("US-ASCII", Charset::Ascii),
    ("ISO IR6", Charset::Ascii),
    ("UNICODE UTF-8", Charset::Utf8),
    ("UTF-8", Charset::Utf8),
    ("UNICODE", Charset::Utf8),
    ("ISO IR192", Charset::Utf8),
    // The Encoding Standard reads ISO 8859-1 as its superset windows-1252, and 8859-9 as 1254.
    ("8859/1", other(encoding_rs::WINDOWS_1252)),
    ("8859/2", other(encoding_rs::ISO_8859_2)),
    ("8859/3", other(encoding_rs::ISO_8859_3)),
    ("8859/4", other(encoding_rs::ISO_8859_4)),
    ("8859/5", other(encoding_rs::ISO_8859_5)),
    ("8859/6", other(encoding_rs::ISO_8859_6)),
    ("8859/7", other(encoding_rs::ISO_8859_7)),
    ("8859/8", other(encoding_rs::ISO_8859_8)),
    ("8859/9", other(encoding_rs::WINDOWS_1254)),
    ("8859/10", other(encoding_rs::ISO_8859_10)),
    ("8859/11", other(encoding_rs::WINDOWS_874)),
    ("8859/13", other(encoding_rs::ISO_8859_13)),
    ("8859/14", other(encoding_rs::ISO_8859_14)),
    ("8859/15", other(encoding_rs::ISO_8859_15)),
    ("8859/16", other(encoding_rs::ISO_8859_16)),
    ("LATIN1", other(encoding_rs::WINDOWS_1252)),
    ("ISO IR100", other(encoding_rs::WINDOWS_1252)),
    ("ISO IR101", other(encoding_rs::ISO_8859_2)),
    ("ISO IR109", other(encoding_rs::ISO_8859_3)),
    ("ISO IR110", other(encoding_rs::ISO_8859_4)),
    ("ISO IR126", other(encoding_rs::ISO_8859_7)),
    ("ISO IR127", other(encoding_rs::ISO_8859_6)),
    ("ISO IR138", other(encoding_rs::ISO_8859_8)),
    ("ISO IR144", other(encoding_rs::ISO_8859_5)),
    ("ISO IR148", other(encoding_rs::WINDOWS_1254)),
    ("ISO IR166", other(encoding_rs::WINDOWS_874)),
    ("ISO IR203", other(encoding_rs::ISO_8859_15)),
    ("TIS-620", other(encoding_rs::WINDOWS_874)),
    ("ISO IR13", other(encoding_rs::ISO_2022_JP)),
    ("ISO IR14", other(encoding_rs::ISO_2022_JP)),
    ("ISO IR87", other(encoding_rs::ISO_2022_JP)),
    ("ISO IR159", other(encoding_rs::ISO_2022_JP)),
    ("ISO-2022-JP", other(encoding_rs::ISO_2022_JP)),
    ("SHIFT-JIS", other(encoding_rs::SHIFT_JIS)),
    ("SJIS", other(encoding_rs::SHIFT_JIS)),
    ("MS932", other(encoding_rs::SHIFT_JIS)),
    ("CP932", other(encoding_rs::SHIFT_JIS)),
    ("WINDOWS-31J", other(encoding_rs::SHIFT_JIS)),
    ("EUC-JP", other(encoding_rs::EUC_JP)),
    ("GB 18030-2000", other(encoding_rs::GB18030)),
    ("GB 18030", other(encoding_rs::GB18030)),
    ("GBK", other(encoding_rs::GBK)),
    ("GB2312", other(encoding_rs::GBK)),
    ("KS X 1001", other(encoding_rs::EUC_KR)),
    ("EUC-KR", other(encoding_rs::EUC_KR)),
    ("ISO IR149", other(encoding_rs::EUC_KR)),
    ("BIG-5", other(encoding_rs::BIG5)),
    ("KOI8-R", other(encoding_rs::KOI8_R)),
    ("KOI8-U", other(encoding_rs::KOI8_U)),
    ("MACINTOSH", other(encoding_rs::MACINTOSH)),
    ("WINDOWS-874", other(encoding_rs::WINDOWS_874)),
    ("WINDOWS-1250", other(encoding_rs::WINDOWS_1250)),
    ("WINDOWS-1251", other(encoding_rs::WINDOWS_1251)),
    ("WINDOWS-1252", other(encoding_rs::WINDOWS_1252)),
    ("WINDOWS-1253", other(encoding_rs::WINDOWS_1253)),
    ("WINDOWS-1254", other(encoding_rs::WINDOWS_1254)),
    ("WINDOWS-1255", other(encoding_rs::WINDOWS_1255)),
    ("WINDOWS-1256", other(encoding_rs::WINDOWS_1256)),
    ("WINDOWS-1257", other(encoding_rs::WINDOWS_1257)),
    ("WINDOWS-1258", other(encoding_rs::WINDOWS_1258)),
];

/// [`NAMES`] as they are looked up, which each message does.
static BY_FOLDED: LazyLock<HashMap<String, Charset>> = LazyLock::new(|| {
    NAMES.iter().filter_map(|(name, charset)| Some((fold(name)?, *charset))).collect()
});

/// Longest name that is looked at, in bytes; no name of a character set is half as long.
const NAME_BYTES_MAX: usize = 64;

/// A name by its letters and digits alone, in capitals, without an `ISO` before `8859` and with
/// `CP125x` as `WINDOWS125x`; nothing where it has none, or is too long to be one.
#[must_use]
pub fn fold(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX || !name.is_ascii() {
        return None;
    }
    let mut folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    folded.make_ascii_uppercase();
    if let Some(rest) = folded.strip_prefix("ISO").filter(|rest| rest.starts_with("8859")) {
        folded = rest.to_owned();
    } else if let Some(rest) = folded.strip_prefix("CP").filter(|rest| rest.starts_with("125")) {
        folded = format!("WINDOWS{rest}");
    }
    (!folded.is_empty()).then_some(folded)
}

impl Charset {
    /// The character set of a name, as MSH-18, an XML declaration or a feed has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        BY_FOLDED.get(&fold(name)?).copied()
    }

    /// Every name that [`Charset::from_name`] takes, as it is usually written.
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

    /// Whether text switches between sets by ISO 2022 escape sequences that its decoder knows.
    #[must_use]
    pub fn switches(self) -> bool {
        self == Self::Other(encoding_rs::ISO_2022_JP)
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
                .ok_or_else(|| undecodable(decode_start(encoding, bytes).1.unwrap_or(0))),
        }
    }
}

/// Decodes as far as it goes: the text, and the position of the first byte that does not decode.
pub(super) fn decode_start(encoding: &'static Encoding, bytes: &[u8]) -> (String, Option<usize>) {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let most = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
    let mut text = String::with_capacity(most.unwrap_or(0));
    let (result, read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    let at = match result {
        DecoderResult::InputEmpty => None,
        DecoderResult::OutputFull => Some(read),
        // How long the sequence was, and what was read behind it before that showed.
        DecoderResult::Malformed(length, behind) => {
            Some(read.saturating_sub(usize::from(length) + usize::from(behind)))
        }
    };
    (text, at)
}

/// By which character sets a feed's messages are decoded.
#[derive(Clone, Debug)]
pub struct Charsets {
    /// Where a message states none.
    pub silent: Charset,
    /// Whatever a message states, but for a byte order mark.
    pub always: Option<Charset>,
    /// What a sender's own names mean, by the folded name; before [`Charset::from_name`].
    pub aliases: Vec<(String, Charset)>,
}

impl From<Charset> for Charsets {
    /// A feed that says no more than what holds where MSH-18 is silent.
    fn from(silent: Charset) -> Self {
        Self { silent, always: None, aliases: Vec::new() }
    }
}

impl Charsets {
    /// The character set that a message names.
    #[must_use]
    pub fn named(&self, stated: &[u8]) -> Option<Charset> {
        let name = std::str::from_utf8(stated).ok()?;
        if self.aliases.is_empty() {
            return Charset::from_name(name);
        }
        let folded = fold(name)?;
        let alias = self.aliases.iter().find(|(known, _)| *known == folded);
        alias.map_or_else(|| Charset::from_name(name), |(_, charset)| Some(*charset))
    }

    /// The character set of a message by the repetitions of its MSH-18: the first is that of the
    /// message, further ones are for what is switched to inside the text (chapter 2.14.9.18).
    ///
    /// An ISO-IR set of Japan among them is switched to by ISO 2022, beside ASCII; so
    /// `~ISO IR87`, as Japan writes it, is ISO-2022-JP.
    ///
    /// # Errors
    /// The name is not known, and the bytes are not plain ASCII.
    pub fn of<'n>(
        &self,
        bytes: &[u8],
        mut stated: impl Iterator<Item = &'n [u8]>,
    ) -> Result<Charset, Malformed> {
        if let Some(always) = self.always {
            return Ok(always);
        }
        let first = stated.next().unwrap_or_default();
        let named = if first.is_empty() { Some(self.silent) } else { self.named(first) };
        let is_plain = first.is_empty() || named == Some(Charset::Ascii);
        if is_plain
            && let Some(switching) =
                stated.filter_map(|name| self.named(name)).find(|named| named.switches())
        {
            return Ok(switching);
        }
        match named {
            Some(charset) => Ok(charset),
            None if bytes.is_ascii() => Ok(Charset::Ascii),
            None => Err(Malformed::UnknownCharset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], stated: &str) -> Result<String, Malformed> {
        let charsets = Charsets::from(Charset::Utf8);
        let names = stated.split('~').map(str::as_bytes);
        charsets.of(bytes, names)?.decode(bytes).map(Cow::into_owned)
    }

    #[test]
    fn names_are_taken_as_senders_write_them() {
        for (stated, bytes, text) in [
            ("", &b"M\xc3\xbcller"[..], "Müller"),
            ("UNICODE UTF-8", b"M\xc3\xbcller", "Müller"),
            ("UTF-8~UNICODE", b"M\xc3\xbcller", "Müller"),
            ("UNICODE~UTF-8", b"M\xc3\xbcller", "Müller"),
            ("utf8", b"M\xc3\xbcller", "Müller"),
            ("ISO_IR 192", b"M\xc3\xbcller", "Müller"),
            ("8859/1", b"M\xfcller", "Müller"),
            ("ISO 8859-1", b"M\xfcller", "Müller"),
            ("iso-8859-1", b"M\xfcller", "Müller"),
            ("ISO_IR 100", b"M\xfcller", "Müller"),
            ("ISO-IR-100", b"M\xfcller", "Müller"),
            ("cp1252", b"M\xfcller", "Müller"),
            ("8859/15", b"\xa4", "€"),
            ("8859/5", b"\xb0", "А"),
            ("ISO IR144", b"\xb0", "А"),
            ("ASCII", b"Muller", "Muller"),
            ("ISO IR87", b"\x1b$B;3ED\x1b(B", "山田"),
            ("~ISO IR87", b"\x1b$B;3ED\x1b(B", "山田"),
            ("ASCII~ISO IR87~ISO IR159", b"\x1b$B;3ED\x1b(B", "山田"),
            ("Shift_JIS", b"\x8ER\x93c", "山田"),
            ("GB 18030-2000", b"\xc4\xe3", "你"),
            ("GB18030", b"\xc4\xe3", "你"),
            ("BIG-5", b"\xa7\x41", "你"),
            ("KS X 1001", b"\xb1\xe8", "김"),
            ("NO SUCH NAME", b"Muller", "Muller"),
        ] {
            assert_eq!(decoded(bytes, stated), Ok(text.to_owned()), "{stated}");
        }
    }

    #[test]
    fn bytes_that_do_not_decode_are_refused_with_their_place() {
        let undecodable = |at, charset| Err(Malformed::Undecodable { at, charset });
        assert_eq!(decoded(b"M\xfcller", ""), undecodable(1, "UTF-8"));
        assert_eq!(decoded("Müller".as_bytes(), "ASCII"), undecodable(1, "ASCII"));
        assert_eq!(decoded(b"ab\xff\xff", "GB 18030-2000"), undecodable(2, "gb18030"));
        assert_eq!(decoded(b"ab\x81", "SHIFT-JIS"), undecodable(2, "Shift_JIS"));
        assert_eq!(decoded(b"abc\x81\x20d", "SHIFT-JIS"), undecodable(3, "Shift_JIS"));
        for unknown in [
            "NO SUCH NAME",
            "CNS 11643-1992",
            "UNICODE UTF-16",
            "UNICODE UTF-32",
            // Of which part, nobody says.
            "8859",
            "ISO 8859",
            "8859/12",
            "ISO IR",
            "WINDOWS",
            "ANSI",
        ] {
            let refused = decoded(b"M\xfcller", unknown).unwrap_err();
            assert_eq!(refused, Malformed::UnknownCharset, "{unknown}");
            assert!(refused.to_string().contains("`charset_aliases`"), "the way out is told");
        }
        // JIS X 0212, which no decoder here has.
        assert!(decoded(b"\x1b$(D0!\x1b(B", "~ISO IR159").is_err());
    }

    #[test]
    fn a_feed_may_know_better() {
        let latin = Charset::from_name("8859/1").unwrap();
        let big5 = Charset::from_name("BIG-5").unwrap();
        let aliases = vec![(fold("CNS 11643-1992").unwrap(), big5), (fold("8859").unwrap(), latin)];
        let charsets = Charsets { silent: Charset::Utf8, always: None, aliases };
        let of = |charsets: &Charsets, name: &'static str| {
            charsets.of(b"\xff", std::iter::once(name.as_bytes()))
        };
        assert_eq!(of(&charsets, "CNS11643-1992"), Ok(big5));
        assert_eq!(of(&charsets, "ISO-8859"), Ok(latin));
        assert_eq!(of(&charsets, "8859/1"), Ok(latin));
        let always = Charsets { always: Some(latin), ..charsets };
        for stated in ["UTF-8", "", "NO SUCH NAME", "CNS 11643-1992"] {
            assert_eq!(of(&always, stated), Ok(latin), "{stated}");
        }
    }

    #[test]
    fn no_two_names_fold_to_one_and_each_is_read() {
        let mut folded: Vec<_> = NAMES.iter().map(|(name, _)| fold(name).unwrap()).collect();
        for (name, charset) in NAMES {
            assert_eq!(Charset::from_name(name), Some(*charset), "{name}");
        }
        folded.sort();
        let count = folded.len();
        folded.dedup();
        assert_eq!(folded.len(), count);
    }
}
