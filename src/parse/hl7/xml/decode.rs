//! The bytes of an XML document to text, by its declaration.
//!
//! Promises: bytes that do not decode are an error; so is an encoding that is not known.
//! Knows nothing of: what is in the document. Its encoding counts, not MSH-18 inside it, as the
//! standard has it.

use std::borrow::Cow;

use crate::parse::hl7::{Charset, Charsets, Malformed};

/// How far a declaration is looked for; real ones have 40 to 70 bytes.
const DECLARATION_BYTES_MAX: usize = 256;

/// Decodes a document that begins with `<`, in a set of which ASCII is a part: by a mark of UTF-8
/// before it, by what the feed says of all messages, by its declaration, else as UTF-8 (XML 1.0,
/// 4.3.3).
///
/// A declaration of UTF-16 that can be read byte by byte is wrong about itself: some libraries
/// write it into whatever they encode later. What it declares is then UTF-8, which is checked as
/// strictly as ever.
///
/// # Errors
/// The encoding is not known and there is more than ASCII, or the bytes do not decode.
pub fn decode<'a>(
    bytes: &'a [u8],
    is_utf8: bool,
    charsets: &Charsets,
) -> Result<Cow<'a, str>, Malformed> {
    let charset = match (is_utf8, charsets.always, declared(bytes)) {
        (true, _, _) | (false, None, None) => Charset::Utf8,
        (false, Some(always), _) => always,
        (false, None, Some(name)) => match charsets.named(name) {
            Some(charset) => charset,
            None if name.to_ascii_uppercase().starts_with(b"UTF-16") => Charset::Utf8,
            None if bytes.is_ascii() => Charset::Ascii,
            None => return Err(Malformed::UnknownCharset),
        },
    };
    charset.decode(bytes)
}

/// The encoding that a declaration names.
fn declared(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.get(..DECLARATION_BYTES_MAX.min(bytes.len()))?;
    let rest = start.strip_prefix(b"<?xml")?;
    let end = rest.windows(2).position(|pair| pair == b"?>")?;
    let declaration = rest.get(..end)?;
    let at = declaration.windows(8).position(|word| word == b"encoding")?;
    let value = declaration.get(at + 8..)?.trim_ascii_start().strip_prefix(b"=")?;
    let (quote, value) = value.trim_ascii_start().split_first()?;
    if !matches!(quote, b'"' | b'\'') {
        return None;
    }
    value.split(|byte| byte == quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_decoded_by_its_declaration() {
        let charsets = Charsets::from(Charset::Ascii);
        for (bytes, wanted) in [
            (&b"<a>M\xc3\xbcller</a>"[..], Some("<a>Müller</a>")),
            (b"<?xml version='1.0'?><a>\xc3\xbc</a>", Some("<?xml version='1.0'?><a>ü</a>")),
            (
                b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\xfc",
                Some("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>ü"),
            ),
            (
                b"<?xml version='1.0' encoding = 'utf-16' ?>\xc3\xbc",
                Some("<?xml version='1.0' encoding = 'utf-16' ?>ü"),
            ),
            (b"<?xml encoding=\"Shift_JIS\"?>\x95\x5c", Some("<?xml encoding=\"Shift_JIS\"?>表")),
            (b"<?xml encoding=\"NO-SUCH\"?>a", Some("<?xml encoding=\"NO-SUCH\"?>a")),
            (b"<?xml encoding=\"NO-SUCH\"?>\xfc", None),
            (b"<?xml encoding=\"UTF-8\"?>\xfc", None),
            (b"<a>\xfc</a>", None),
        ] {
            assert_eq!(decode(bytes, false, &charsets).ok().as_deref(), wanted, "{bytes:?}");
        }
        let latin = Charset::from_name("8859/1");
        let always = Charsets { always: latin, ..charsets };
        assert_eq!(decode(b"<a>\xfc</a>", false, &always).unwrap(), "<a>ü</a>");
        assert_eq!(decode(b"<a>\xc3\xbc</a>", true, &always).unwrap(), "<a>ü</a>");
    }
}
