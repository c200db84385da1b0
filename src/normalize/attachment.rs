//! Embedded and referenced documents (ED and RP, chapter 2A) as attachments.
//!
//! Promises: size and digest are those of the document, not of how it came; what does not decode has
//! neither, and is listed; decoding takes the same little memory whatever the size.
//! Knows nothing of: who may see the content; its class says so.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::event::observation::CONTENT_BYTES_MAX;
use crate::parse::hl7::{Composite, Content, Hit};
use crate::secret::hex;

use super::convert::plain;
use super::run::Run;
use super::table::Table;
use super::value::word;

/// How much is decoded at a time, in characters: whole groups of four, as Base64 has them.
const CHUNK: usize = 4 * 1024;

/// ED: application, type, subtype, encoding, data.
pub(super) fn embedded<'m>(hit: &Hit<'m>, media: &Table, run: &mut Run<'m, '_>) {
    let [application, kind, subtype, encoding, data] = hit.value.split();
    let object = run.tree.open_object("attachment");
    described([application, kind, subtype], media, run);
    plain(run, "encoding", encoding.first());
    // An `&` that was not escaped stands in the data, and does not divide it.
    if let Content::Text(text) = run.content(data.raw()) {
        match measure(&word(run, encoding.first()), &text) {
            Some((size, digest)) => {
                run.tree.number("size", size);
                run.tree.text("digest", &digest);
            }
            None => run.refuse(hit),
        }
        if run.keeps_documents() && text.len() <= CONTENT_BYTES_MAX {
            run.tree.text("content", &text);
        }
    }
    run.tree.close(object);
}

/// RP: pointer, application, type, subtype.
pub(super) fn referenced<'m>(hit: &Hit<'m>, media: &Table, run: &mut Run<'m, '_>) {
    let [pointer, application, kind, subtype] = hit.value.split();
    let object = run.tree.open_object("attachment");
    described([application, kind, subtype], media, run);
    plain(run, "pointer", pointer.first());
    run.tree.close(object);
}

/// What it is. The subtype alone says the MIME type: what senders put before it is of several tables
/// (0191 before 2.7, 0834 since).
fn described<'m>(parts: [Composite<'m>; 3], media: &Table, run: &mut Run<'m, '_>) {
    let [application, kind, subtype] = parts.map(Composite::first);
    if let Some(kind) = media.get(&word(run, subtype).trim().to_ascii_lowercase()) {
        run.tree.text("mediaType", kind);
    }
    plain(run, "type", kind);
    plain(run, "subtype", subtype);
    plain(run, "application", application);
}

/// Length in bytes, and `sha256:` with the digest, of what was encoded as table 0299 says; nothing
/// where it is not, or where nothing says how.
pub(super) fn measure(encoding: &str, text: &str) -> Option<(f64, String)> {
    let mut taken = Taken { digest: Context::new(&SHA256), bytes: 0 };
    match encoding.trim().to_ascii_uppercase().as_str() {
        "A" => taken.take(text.as_bytes()),
        "HEX" => hexadecimal(text, &mut taken)?,
        "BASE64" => base64(text, &mut taken)?,
        _ => return None,
    }
    #[expect(clippy::cast_precision_loss, reason = "a frame has at most 1 GiB")]
    let size = taken.bytes as f64;
    Some((size, format!("sha256:{}", hex(taken.digest.finish().as_ref()))))
}

/// What was decoded so far.
struct Taken {
    digest: Context,
    bytes: usize,
}

impl Taken {
    fn take(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len();
    }
}

/// Two digits a byte. Blanks and line ends between them do not count.
fn hexadecimal(text: &str, taken: &mut Taken) -> Option<()> {
    let mut high = None;
    for digit in text.chars().filter(|digit| !digit.is_ascii_whitespace()) {
        let digit = u8::try_from(digit.to_digit(16)?).ok()?;
        match high.take() {
            None => high = Some(digit),
            Some(high) => taken.take(&[high << 4 | digit]),
        }
    }
    high.is_none().then_some(())
}

/// RFC 4648 section 4, with its padding. Line ends do not count (RFC 2045 section 6.8), nor do blanks.
fn base64(text: &str, taken: &mut Taken) -> Option<()> {
    let mut rest = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let mut is_padded = false;
    loop {
        let mut chunk = [0; CHUNK];
        let mut length = 0;
        for (slot, byte) in chunk.iter_mut().zip(&mut rest) {
            *slot = byte;
            length += 1;
        }
        let chunk = chunk.get(..length).filter(|chunk| !chunk.is_empty());
        let Some(chunk) = chunk else { return Some(()) };
        // Padding ends the data; what follows it is of no document.
        if is_padded {
            return None;
        }
        is_padded = chunk.ends_with(b"=");
        let mut decoded = [0; CHUNK / 4 * 3];
        let length = STANDARD.decode_slice(chunk, &mut decoded).ok()?;
        taken.take(decoded.get(..length)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_document_is_measured_as_it_was_before_it_was_encoded() {
        for (encoding, text) in [
            ("A", "abc"),
            ("Hex", "616263"),
            ("HEX", "61 62\r\n63"),
            ("Base64", "YWJj"),
            (" BASE64 ", "YW\nJj"),
        ] {
            assert_eq!(measure(encoding, text), Some((3.0, ABC.to_owned())), "{encoding} {text}");
        }
        assert_eq!(measure("Base64", ""), Some((0.0, EMPTY.to_owned())));
        // RFC 4648 section 10.
        for (text, size) in [("Zg==", 1.0), ("Zm8=", 2.0), ("Zm9v", 3.0), ("Zm9vYg==", 4.0)] {
            assert_eq!(measure("Base64", text).unwrap().0, size);
        }
    }

    #[test]
    fn what_does_not_decode_has_neither_size_nor_digest() {
        for text in
            ["YWJ", "YWJj=", "YW==YWJj", "YW==\nYWJj", "YWI*", "====", "Zh==", "YWJj-_8=", "\u{e4}"]
        {
            assert_eq!(measure("Base64", text), None, "{text}");
        }
        for text in ["6", "6162 6", "6g", "0x61"] {
            assert_eq!(measure("Hex", text), None, "{text}");
        }
        for encoding in ["", "ZIP", "7bit"] {
            assert_eq!(measure(encoding, "abc"), None, "nobody says what {encoding:?} is");
        }
    }

    /// PROMISE-11
    #[test]
    fn a_document_of_any_length_is_decoded_piece_by_piece() {
        for length in [CHUNK / 4 * 3 - 1, CHUNK / 4 * 3, CHUNK / 4 * 3 + 1, 1 << 20] {
            let document = vec![b'x'; length];
            let once = measure("A", std::str::from_utf8(&document).unwrap());
            let (mut base64, mut hex) = (vec![0; length * 2], String::new());
            let encoded = STANDARD.encode_slice(&document, &mut base64).unwrap();
            let base64 = std::str::from_utf8(&base64[..encoded]).unwrap();
            document.iter().for_each(|byte| hex += &format!("{byte:02X}"));
            assert_eq!(measure("Base64", base64), once);
            assert_eq!(measure("Hex", &hex), once);
            // Padding within, at the end of a piece or not.
            assert_eq!(
                measure("Base64", &format!("{}Zg==Zm9v", "Zm9v".repeat(CHUNK / 4 - 1))),
                None
            );
        }
    }
}
