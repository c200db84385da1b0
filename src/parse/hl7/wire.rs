//! What came, to a header that can be answered and a text that can be parsed: in which form it
//! is, and in which character set.
//!
//! Promises: what cannot be read to its end can be answered as far as it could be read; a byte
//! order mark counts before what a feed says, that before what the message says.
//! Knows nothing of: frames, files, what the header says beyond its delimiters and MSH-18.
//!
//! Three forms: pipes in a set of which ASCII is a part, whose header is read as bytes; pipes in
//! UTF-16, behind a byte order mark; XML. The last two become the first, in UTF-8.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};
use memchr::memchr2;

use super::charset::decode_start;
use super::head::{is_marked, skip_lead};
use super::wide::Wide;
use super::xml::{self, Dialect};
use super::{Charset, Charsets, Delimiters, Head, Malformed, Message};

/// The byte order mark in UTF-8.
pub const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// Fields that MSH-18 may be found at where bytes that look like separators stand before it.
const SHIFTED_MAX: usize = 25;
/// MSH-18: character sets.
const CHARSETS: usize = 18;
/// MSH-20: how sets beside the first are switched to.
const SWITCHING: usize = 20;

/// How a message was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With pipes, in a set of which ASCII is a part.
    Pipes,
    /// With pipes, in UTF-16 of this byte order.
    Utf16(&'static Encoding),
    /// In XML.
    Xml(Dialect),
}

/// How much of a message is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Its header alone, to answer it.
    Header,
    /// All of it.
    Whole,
}

/// A message as it came.
pub struct Wire<'a> {
    form: Form,
    content: Content<'a>,
}

enum Content<'a> {
    Bytes {
        /// Without what some senders put before MSH.
        bytes: &'a [u8],
        head: Result<Head<'a>, Malformed>,
        charset: Result<Charset, Malformed>,
    },
    /// Decoded, with pipes; as far as that went, and why no further.
    Text { text: String, fault: Option<Malformed> },
}

impl<'a> Wire<'a> {
    /// Looks at a message.
    #[must_use]
    pub fn open(bytes: &'a [u8], charsets: &Charsets) -> Self {
        Self::open_to(bytes, charsets, Extent::Whole)
    }

    /// Looks at a message as far as is wanted.
    #[must_use]
    pub fn open_to(bytes: &'a [u8], charsets: &Charsets, extent: Extent) -> Self {
        if let Some((encoding, rest)) = utf16(bytes) {
            return open_utf16(encoding, rest, extent);
        }
        let rest = skip_lead(bytes);
        let is_marked = is_marked(bytes);
        if rest.first() == Some(&b'<') {
            return match xml::decode(rest, is_marked, charsets) {
                Ok(text) => of_xml(&text, extent),
                Err(fault) => Self::text(Form::Xml(Dialect::default()), String::new(), Some(fault)),
            };
        }
        let (head, charset) = if is_marked {
            (Head::read(rest), Ok(Charset::Utf8))
        } else {
            find_charset(rest, charsets)
        };
        Self { form: Form::Pipes, content: Content::Bytes { bytes: rest, head, charset } }
    }

    const fn text(form: Form, text: String, fault: Option<Malformed>) -> Self {
        Self { form, content: Content::Text { text, fault } }
    }

    /// How it is written.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Its header.
    ///
    /// # Errors
    /// There is none, or what stands before it cannot be read.
    pub fn head(&self) -> Result<Cow<'_, Head<'_>>, Malformed> {
        match &self.content {
            Content::Bytes { head, .. } => head.as_ref().map(Cow::Borrowed).map_err(|wrong| *wrong),
            Content::Text { text, fault } => {
                // Of a header that is cut, a field may be half of what it was.
                let is_whole =
                    fault.is_none() || memchr2(b'\r', b'\n', skip_lead(text.as_bytes())).is_some();
                match fault {
                    Some(fault) if !is_whole => Err(*fault),
                    _ => Head::read(text.as_bytes()).map(Cow::Owned),
                }
            }
        }
    }

    /// The whole of it, parsed.
    ///
    /// # Errors
    /// It is no message; see [`Malformed`].
    pub fn message(&self) -> Result<Message<'_>, Malformed> {
        match &self.content {
            Content::Bytes { bytes, head, charset } => from_bytes(bytes, head, *charset),
            Content::Text { fault: Some(fault), .. } => Err(*fault),
            Content::Text { text, fault: None } => from_text(Cow::Borrowed(text)),
        }
    }

    /// The whole of it, parsed, where nothing else of it is wanted.
    ///
    /// # Errors
    /// As [`Wire::message`].
    pub fn into_message(self) -> Result<Message<'a>, Malformed> {
        match self.content {
            Content::Bytes { bytes, head, charset } => from_bytes(bytes, &head, charset),
            Content::Text { fault: Some(fault), .. } => Err(fault),
            Content::Text { text, fault: None } => from_text(Cow::Owned(text)),
        }
    }

    /// Refuses what a frame may have cut: in UTF-16, 0x1C 0x0D is half of two characters or the
    /// letter U+0D1C, and ends a frame all the same. A message that was cut there does not end
    /// with the end of a segment, or has an odd byte, which does not decode. Half of an XML
    /// document is none.
    ///
    /// # Errors
    /// [`Malformed::CutShort`].
    pub fn check_end(&self) -> Result<(), Malformed> {
        match (&self.form, &self.content) {
            (Form::Utf16(_), Content::Text { text, fault: None })
                if !text.ends_with(['\r', '\n']) =>
            {
                Err(Malformed::CutShort)
            }
            _ => Ok(()),
        }
    }
}

/// The byte order that a mark says, and what follows the mark.
#[must_use]
pub fn utf16(bytes: &[u8]) -> Option<(&'static Encoding, &[u8])> {
    match bytes {
        [0xFE, 0xFF, rest @ ..] => Some((UTF_16BE, rest)),
        [0xFF, 0xFE, rest @ ..] => Some((UTF_16LE, rest)),
        _ => None,
    }
}

fn open_utf16<'a>(encoding: &'static Encoding, bytes: &[u8], extent: Extent) -> Wire<'a> {
    let (text, at) = decode_start(encoding, bytes);
    let fault = at.map(|at| Malformed::Undecodable { at, charset: encoding.name() });
    if text.trim_start().starts_with('<') {
        return match fault {
            None => of_xml(&text, extent),
            Some(_) => Wire::text(Form::Xml(Dialect::default()), String::new(), fault),
        };
    }
    Wire::text(Form::Utf16(encoding), text, fault)
}

fn of_xml<'a>(text: &str, extent: Extent) -> Wire<'a> {
    let xml::Transcript { text, dialect, fault } = xml::transcribe(text, extent);
    Wire::text(Form::Xml(dialect), text, fault)
}

/// The header, and the character set that MSH-18 in it names.
///
/// Where the header holds more than ASCII, its own character set may decide where its fields are.
/// Then a name counts that, were it the message's, would stand in MSH-18: nothing else can have
/// been meant, since what looks like a separator only moves MSH-18 to the right.
fn find_charset<'a>(
    bytes: &'a [u8],
    charsets: &Charsets,
) -> (Result<Head<'a>, Malformed>, Result<Charset, Malformed>) {
    let head = match Head::read(bytes) {
        Ok(head) => head,
        Err(wrong) => return (Err(wrong), Err(wrong)),
    };
    if !head.is_plain() {
        let always = charsets.always.iter().copied();
        let silent = std::iter::once(charsets.silent);
        let last = head.field_count().min(SHIFTED_MAX);
        let named = (CHARSETS..=last).filter_map(|number| {
            charsets
                .of(bytes, head.repetitions(number, 1))
                .ok()
                .filter(|_| head.repetitions(number, 1).any(|name| charsets.named(name).is_some()))
        });
        for candidate in always.chain(named).chain(silent) {
            let Ok(read) = Head::read_in(bytes, candidate) else { continue };
            let stated = charsets.of(bytes, read.repetitions(CHARSETS, 1));
            if stated == Ok(candidate) {
                return (Ok(read), stated);
            }
        }
    }
    let charset = charsets.of(bytes, head.repetitions(CHARSETS, 1));
    if !head.is_plain() && charset.is_ok_and(|charset| Wide::of(charset).is_some()) {
        // Read by it, the header would not name it: it is no name of this text's set.
        return (Ok(head), Err(Malformed::UnknownCharset));
    }
    (Ok(head), charset)
}

fn from_bytes<'b>(
    bytes: &'b [u8],
    head: &Result<Head<'b>, Malformed>,
    charset: Result<Charset, Malformed>,
) -> Result<Message<'b>, Malformed> {
    let head = head.as_ref().map_err(|wrong| *wrong)?;
    let charset = charset?;
    let message = Message::of(charset.decode(bytes)?, head.delimiters, charset)?;
    message.in_one_charset(has_alternates(head))
}

fn from_text(text: Cow<'_, str>) -> Result<Message<'_>, Malformed> {
    let head = Head::read(text.as_bytes())?;
    let (delimiters, alternates): (Delimiters, bool) = (head.delimiters, has_alternates(&head));
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii_start()),
        Cow::Owned(text) if text.starts_with("MSH") => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.trim_ascii_start().to_owned()),
    };
    Message::of(text, delimiters, Charset::Utf8)?.in_one_charset(alternates)
}

/// Whether the header says that the text may switch to other sets.
fn has_alternates(head: &Head<'_>) -> bool {
    let filled = head.repetitions(CHARSETS, 1).filter(|name| !name.is_empty());
    filled.count() > 1 || !head.component(SWITCHING, 1).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charsets(always: Option<&str>) -> Charsets {
        let always = always.map(|name| Charset::from_name(name).unwrap());
        Charsets { silent: Charset::Utf8, always, aliases: Vec::new() }
    }

    /// The family name, and what MSH-4 and MSH-10 are.
    fn read(bytes: &[u8], charsets: &Charsets) -> Result<(String, Vec<u8>, Vec<u8>), Malformed> {
        let wire = Wire::open(bytes, charsets);
        let message = wire.message()?;
        let name = message.text_at(b"PID", 5, 1).unwrap_or_default().into_owned();
        let head = wire.head()?;
        Ok((name, head.field(4).to_vec(), head.control_id()?.to_vec()))
    }

    fn encoded(encoding: &'static Encoding, stated: &str, name: &str) -> Vec<u8> {
        let text = format!(
            "MSH|^~\\&|EHR|{name}|||2026||ADT^A01|{name}7|P|2.5||||||{stated}\rPID|1||9||{name}^X\r"
        );
        let (bytes, _, lossy) = encoding.encode(&text);
        assert!(!lossy, "{name}");
        bytes.into_owned()
    }

    #[test]
    fn a_byte_that_looks_like_a_delimiter_and_is_half_of_a_character_divides_nothing() {
        for (encoding, stated, name) in [
            // Second bytes 0x5C, 0x7C, 0x7E, 0x5E: backslash, pipe, tilde, caret.
            (encoding_rs::SHIFT_JIS, "SHIFT-JIS", "表ポソл能"),
            (encoding_rs::GB18030, "GB 18030-2000", "乗亅亊俓倈"),
            (encoding_rs::BIG5, "BIG-5", "功育\u{82d7}愧"),
            (encoding_rs::ISO_2022_JP, "~ISO IR87", "表ポソ山田"),
            (encoding_rs::ISO_2022_JP, "ISO IR87", "ア|山"),
        ] {
            let name = name.replace('|', "");
            let bytes = encoded(encoding, stated, &name);
            let wide = encoding.encode(&name).0.into_owned();
            let id = encoding.encode(&format!("{name}7")).0.into_owned();
            let head = Head::read_in(&bytes, Charset::Other(encoding)).unwrap();
            assert_eq!(head.field(4), wide, "{stated}");
            let found = read(&bytes, &charsets(None));
            // ISO 2022 has control characters, which no control ID has.
            match found {
                Ok(found) => assert_eq!(found, (name, wide, id), "{stated}"),
                Err(wrong) => {
                    assert_eq!(
                        (wrong, encoding),
                        (Malformed::BadControlId, encoding_rs::ISO_2022_JP)
                    );
                }
            }
        }
        // The fixture is what it says: a separator is among the bytes.
        assert!(encoding_rs::SHIFT_JIS.encode("ポ").0.contains(&b'|'));
        assert!(encoding_rs::GB18030.encode("亅").0.contains(&b'|'));
        assert!(encoding_rs::BIG5.encode("育").0.contains(&b'|'));
    }

    #[test]
    fn a_silent_header_is_read_as_the_feed_says() {
        let bytes = encoded(encoding_rs::SHIFT_JIS, "", "ポ");
        let sjis = Charset::Other(encoding_rs::SHIFT_JIS);
        let found = read(&bytes, &Charsets::from(sjis)).unwrap();
        assert_eq!((found.0.as_str(), found.1.as_slice()), ("ポ", &b"\x83\x7c"[..]));
        let lying = encoded(encoding_rs::SHIFT_JIS, "UNICODE UTF-8", "ポ");
        assert!(read(&lying, &charsets(None)).is_err());
        assert_eq!(read(&lying, &charsets(Some("SHIFT-JIS"))).unwrap().0, "ポ");
    }

    /// Found by fuzzing: an escape sequence before MSH-18 swallowed the separators before it.
    #[test]
    fn a_name_that_does_not_stand_in_msh_18_of_its_own_text_is_not_taken() {
        let text = b"MSH|^~\\&|A|B|C|D|E|F|G|H|\x1b$@II||J|K|L|M|N|ISO-2022-JP\r";
        assert_eq!(read(text, &charsets(None)).unwrap_err(), Malformed::UnknownCharset);
    }

    #[test]
    fn a_byte_order_mark_counts_before_everything() {
        let text = "MSH|^~\\&|EHR|ü|||2026||ADT^A01|7|P|2.5||||||8859/1\rPID|1||9||Mü^X\r";
        let marked = [UTF8_MARK, text.as_bytes()].concat();
        for always in [None, Some("8859/1")] {
            assert_eq!(read(&marked, &charsets(always)).unwrap().0, "Mü");
            assert_eq!(read(text.as_bytes(), &charsets(always)).unwrap().0, "MÃ¼");
            for order in [u16::to_be_bytes, u16::to_le_bytes] {
                let wide = format!("\u{feff}{text}");
                let wide: Vec<u8> = wide.encode_utf16().flat_map(order).collect();
                let found = read(&wide, &charsets(always)).unwrap();
                assert_eq!(found, ("Mü".to_owned(), "ü".as_bytes().to_vec(), b"7".to_vec()));
            }
        }
        // Of an input of the fuzzer: a blank before the mark, and another mark behind it.
        for lead in ["\t\u{feff}\t", "\u{feff}\u{feff}", "\r\n \u{feff}\n\u{feff} "] {
            let bytes = [lead, text].concat().into_bytes();
            assert_eq!(read(&bytes, &charsets(None)).unwrap().0, "Mü", "{lead:?}");
        }
        let mut broken = marked;
        broken.push(0xFC);
        assert!(matches!(read(&broken, &charsets(None)), Err(Malformed::Undecodable { .. })));
    }

    /// PROMISE-11: what a frame cut is not half a message.
    #[test]
    fn utf_16_that_a_frame_may_have_cut_is_refused_and_can_be_answered() {
        let text = "\u{feff}MSH|^~\\&|EHR|N|||2026||ADT^A01|7|P|2.5\rPID|1||9||ZZA\u{d1c}^X\r";
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let all = charsets(None);
        assert_eq!(Wire::open(&wide, &all).check_end(), Ok(()));
        let cut = wide.windows(2).position(|pair| pair == [0x1C, 0x0D]).unwrap();
        let wire = Wire::open(&wide[..cut], &all);
        assert_eq!(wire.check_end(), Err(Malformed::CutShort));
        assert_eq!(wire.head().unwrap().control_id(), Ok(&b"7"[..]));
        let odd = Wire::open(&wide[..cut + 1], &all);
        assert!(matches!(odd.message(), Err(Malformed::Undecodable { .. })));
        assert_eq!(odd.head().unwrap().control_id(), Ok(&b"7"[..]));
        let short = Wire::open(&wide[..70], &all);
        assert_eq!(short.check_end(), Err(Malformed::CutShort));
    }

    #[test]
    fn a_switch_that_is_not_read_is_refused_at_its_place() {
        let of = |stated: &str, rest: &str| {
            let text = format!(
                "MSH|^~\\&|EHR|N|||2026||ADT^A01|7|P|2.5||||||{stated}\rPID|1||9||{rest}\r"
            );
            Wire::open(text.as_bytes(), &charsets(None)).message().map(|_| ())
        };
        let switched = |place: &str| {
            format!("{place} switches to another character set in a way that is not read")
        };
        for (stated, rest) in [
            ("UNICODE UTF-8", "\\C2842\\A"),
            ("ASCII~ISO IR87", "\\M2442\\;3ED\\C2842\\"),
            ("UNICODE UTF-8", "\u{1b}$B;3ED\u{1b}(B"),
            ("8859/1~8859/5", "A\u{1b}-LB"),
        ] {
            let refused = of(stated, rest).unwrap_err().to_string();
            assert_eq!(refused, switched("PID-5"), "{stated} {rest}");
        }
        for (stated, rest) in [
            ("~ISO IR87", "\u{1b}$B;3ED\u{1b}(B"),
            ("8859/1", "\u{1b}(s10H printer"),
            ("", "C:\\M24\\N"),
        ] {
            assert_eq!(of(stated, rest), Ok(()), "{stated} {rest}");
        }
    }
}
