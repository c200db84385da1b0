//! Escapes inside a value (chapter 2.7).
//!
//! Promises: an escape that is not known, not closed or does not decode stays as it came, so
//! that nothing of a value is lost; text without escapes is borrowed.
//! Knows nothing of: which data types allow formatting. Senders use it in any.

use std::borrow::Cow;

use encoding_rs::Encoding;
use memchr::{memchr, memchr_iter};

use super::Delimiters;

/// Longest escape, in bytes between its two escape characters. A hexadecimal one holds data of
/// any length in principle; real ones hold a line end or a character or two.
const ESCAPE_BYTES_MAX: usize = 256;
/// Begins an escape sequence of ISO 2022.
const ESC: u8 = 0x1B;
/// Most line ends that `.sp` adds.
const SKIP_LINES_MAX: usize = 99;

/// Resolves escapes: delimiters, hexadecimal bytes in the message's character set, formatting
/// commands (those that move to a new line become one, the others vanish), highlighting.
#[must_use]
pub fn unescape<'m>(
    raw: &'m str,
    delimiters: &Delimiters,
    encoding: &'static Encoding,
) -> Cow<'m, str> {
    let Some(first) = memchr(delimiters.escape, raw.as_bytes()) else {
        return Cow::Borrowed(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let (before, mut rest) = raw.split_at_checked(first).unwrap_or((raw, ""));
    text.push_str(before);
    while let Some(tail) = rest.get(1..) {
        let resolved = memchr(delimiters.escape, tail.as_bytes())
            .filter(|end| *end <= ESCAPE_BYTES_MAX)
            .and_then(|end| Some((tail.get(..end)?, tail.get(end + 1..)?)))
            .and_then(|(code, after)| {
                resolve(code, delimiters, encoding, &mut text).then_some(after)
            });
        let after = resolved.unwrap_or_else(|| {
            text.push(char::from(delimiters.escape));
            tail
        });
        match memchr(delimiters.escape, after.as_bytes()) {
            Some(next) => {
                let (plain, escaped) = after.split_at_checked(next).unwrap_or((after, ""));
                text.push_str(plain);
                rest = escaped;
            }
            None => {
                text.push_str(after);
                rest = "";
            }
        }
    }
    Cow::Owned(text)
}

/// Appends what an escape stands for; false where it is not known.
fn resolve(
    code: &str,
    delimiters: &Delimiters,
    encoding: &'static Encoding,
    text: &mut String,
) -> bool {
    let delimiter = match code {
        "F" => Some(delimiters.field),
        "S" => Some(delimiters.component),
        "R" => Some(delimiters.repetition),
        "E" => Some(delimiters.escape),
        "T" => Some(delimiters.subcomponent.unwrap_or(b'&')),
        // 2.7: the truncation character, `#` unless MSH-2 says otherwise.
        "P" => Some(delimiters.truncation.unwrap_or(b'#')),
        _ => None,
    };
    if let Some(delimiter) = delimiter {
        text.push(char::from(delimiter));
        return true;
    }
    match code.as_bytes() {
        [b'H' | b'N'] => true,
        // The standard has a capital X; some senders do not.
        [b'X' | b'x', digits @ ..] => hexadecimal(digits, encoding, text),
        [b'.', command @ ..] => format(command, text),
        _ => false,
    }
}

fn hexadecimal(digits: &[u8], encoding: &'static Encoding, text: &mut String) -> bool {
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return false;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect();
    let Some(bytes) = bytes else { return false };
    match encoding.decode_without_bom_handling_and_without_replacement(&bytes) {
        Some(decoded) => {
            text.push_str(&decoded);
            true
        }
        None => false,
    }
}

/// Where a text first switches to another character set by `\Cxxyy\` or `\Mxxyyzz\` (chapter
/// 2.7.3), whose hexadecimal digits stand for an escape sequence of ISO 2022.
pub(super) fn charset_escape(text: &str, escape: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    memchr_iter(escape, bytes).find(|at| {
        let code = bytes.get(at + 1..).unwrap_or_default();
        let (digits, lengths) = match code {
            [b'C', digits @ ..] => (digits, &[4_usize][..]),
            [b'M', digits @ ..] => (digits, &[4, 6][..]),
            _ => return false,
        };
        lengths.iter().any(|length| {
            digits.get(..*length).is_some_and(|found| found.iter().all(u8::is_ascii_hexdigit))
                && digits.get(*length) == Some(&escape)
        })
    })
}

/// Where a decoded text first holds an escape sequence of ISO 2022 that designates a set: of
/// several bytes (`ESC $`) in any text, since nothing else begins so; of one byte only where the
/// header says that sets are switched, since printers have escape sequences that look like it.
pub(super) fn escape_sequence(text: &str, alternates: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    memchr_iter(ESC, bytes).find(|at| match bytes.get(at + 1) {
        Some(b'$') => true,
        Some(b'('..=b'/') => alternates,
        _ => false,
    })
}

/// Formatting commands of chapter 2.7.7: `.br`, `.ce` and `.sp` begin a new line; `.in`, `.ti`,
/// `.sk`, `.fi` and `.nf` set how it looks.
fn format(command: &[u8], text: &mut String) -> bool {
    let (word, argument) = command.split_at_checked(2).unwrap_or((command, b""));
    let argument = std::str::from_utf8(argument).unwrap_or_default();
    let number = argument.trim_start_matches('+').trim().parse::<usize>();
    match word {
        b"br" | b"ce" if argument.is_empty() => text.push('\n'),
        b"sp" if argument.is_empty() => text.push('\n'),
        b"sp" => match number {
            Ok(count) => text.extend(std::iter::repeat_n('\n', count.min(SKIP_LINES_MAX))),
            Err(_) => return false,
        },
        b"sk" if argument.is_empty() => text.push(' '),
        b"sk" => match number {
            Ok(count) => text.extend(std::iter::repeat_n(' ', count.min(SKIP_LINES_MAX))),
            Err(_) => return false,
        },
        b"fi" | b"nf" if argument.is_empty() => {}
        b"in" | b"ti" => {
            return argument.trim_start_matches(['+', '-']).trim().parse::<u16>().is_ok();
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(raw: &str) -> String {
        unescape(raw, &Delimiters::default(), encoding_rs::UTF_8).into_owned()
    }

    #[test]
    fn every_escape_of_chapter_2_is_resolved() {
        for (raw, text) in [
            ("plain", "plain"),
            (r"a\F\b\S\c\R\d\E\e\T\f\P\g", r"a|b^c~d\e&f#g"),
            (r"\H\bold\N\", "bold"),
            (r"\X41\\X4242\", "ABB"),
            (r"M\XC3BC\ller", "Müller"),
            (r"M\xc3bc\ller", "Müller"),
            (r"\X0D0A\", "\r\n"),
            (r"one\.br\two\.sp\three\.sp2\four", "one\ntwo\nthree\n\nfour"),
            (r"\.in+4\\.ti-2\\.fi\\.nf\x\.ce\y\.sk3\z", "x\ny   z"),
        ] {
            assert_eq!(plain(raw), text, "{raw}");
        }
    }

    #[test]
    fn what_is_no_escape_stays_as_it_came() {
        for raw in [
            r"C:\dir",
            r"50\ off",
            r"\",
            r"a\",
            r"\Q\",
            r"\XZZ\",
            r"\X4\",
            r"\XFF\",
            r"\.zz\",
            r"\Zab\",
            r"\C2842\",
            r"\M242844\",
            r"\\",
        ] {
            assert_eq!(plain(raw), raw);
        }
        assert_eq!(plain(r"50\ off\F\"), r"50\ off|");
    }

    #[test]
    fn hexadecimal_bytes_are_in_the_character_set_of_the_message() {
        let latin = unescape(r"M\XFC\ller", &Delimiters::default(), encoding_rs::WINDOWS_1252);
        assert_eq!(latin, "Müller");
    }

    #[test]
    fn switches_of_the_character_set_are_found() {
        for (text, at) in [
            (r"a\C2842\b", Some(1)),
            (r"\M2442\b", Some(0)),
            (r"ab\M242844\", Some(2)),
            (r"C:\M24\x", None),
            (r"\CAFE", None),
            (r"\Cxyzw\", None),
            (r"\C28\", None),
        ] {
            assert_eq!(charset_escape(text, b'\\'), at, "{text}");
        }
        assert_eq!(escape_sequence("a\u{1b}$B", false), Some(1));
        assert_eq!(escape_sequence("a\u{1b}(B", true), Some(1));
        assert_eq!(escape_sequence("a\u{1b}(s10H", false), None);
        assert_eq!(escape_sequence("a\u{1b}[0m", true), None);
    }

    #[test]
    fn a_message_may_choose_its_own_characters() {
        let own = Delimiters::read(b'$', b"*@!%").unwrap();
        assert_eq!(unescape("a!F!b!T!c", &own, encoding_rs::UTF_8), "a$b%c");
    }
}
