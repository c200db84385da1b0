//! Values in every form in which they might get out, and the search for all of them at once.
//!
//! A value counts as found where one of these stands in a text: itself, whatever its case; as JSON,
//! Rust or a URL escapes it; in hex of either case; in base64, standard or URL-safe, padded or not, at
//! whatever place of a longer base64 it begins; its MD5, SHA-1 or SHA-256 in hex or base64, whole or
//! cut to 64 bits or more. Hex, base64 and digests are looked for of the value as it is, in lower and
//! in upper case. What is shorter than [`LONG_BYTES`] counts only where it stands alone: `1234`
//! occurs by chance in any digest, and as base64 it counts only where nothing else is in it.

use std::collections::{BTreeSet, HashMap};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use md5::{Digest as _, Md5};

/// From so many bytes on a value counts wherever it stands.
pub const LONG_BYTES: usize = 8;
/// Shortest value that is looked for: what is shorter is in every text.
pub const BYTES_MIN: usize = 4;
/// Digits of a digest in hex, and in base64, that are enough: 64 bits, 60 bits.
const DIGEST_HEX_DIGITS: usize = 16;
const DIGEST_BASE64_DIGITS: usize = 10;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What must not stand beside a form for it to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    No,
    /// No letter and no digit.
    Word,
    /// Nothing that base64 may go on with.
    Base64,
}

#[derive(Debug)]
struct Needle {
    bytes: Vec<u8>,
    value: usize,
    form: &'static str,
    alone: Alone,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    pub value: String,
    pub form: &'static str,
    /// What stands around it.
    pub around: String,
}

/// Needles by how they begin, so that a text is gone through once, however many there are.
#[derive(Debug, Default)]
struct Index {
    needles: Vec<Needle>,
    short: HashMap<[u8; BYTES_MIN], Vec<usize>>,
    long: HashMap<[u8; LONG_BYTES], Vec<usize>>,
    /// A bit for the hash of every beginning, of four bytes: most places of a text have none.
    seen: Vec<u64>,
}

const SEEN_BITS: u32 = 21;

fn seen_at(four: &[u8]) -> (usize, u64) {
    let number = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    let bit = number.wrapping_mul(0x9E37_79B1) >> (32 - SEEN_BITS);
    (bit as usize / 64, 1 << (bit % 64))
}

impl Index {
    fn add(&mut self, needle: Needle) {
        let bytes = &needle.bytes;
        if bytes.len() < BYTES_MIN {
            return;
        }
        self.seen.resize(1 << (SEEN_BITS - 6), 0);
        let (word, bit) = seen_at(bytes);
        self.seen[word] |= bit;
        let at = self.needles.len();
        match bytes.first_chunk::<LONG_BYTES>() {
            Some(chunk) => self.long.entry(*chunk).or_default().push(at),
            None => {
                let chunk = bytes.first_chunk::<BYTES_MIN>().unwrap();
                self.short.entry(*chunk).or_default().push(at);
            }
        }
        self.needles.push(needle);
    }

    fn search(&self, text: &[u8], mut found: impl FnMut(&Needle, usize)) {
        if self.needles.is_empty() {
            return;
        }
        for (at, four) in text.windows(BYTES_MIN).enumerate() {
            let (word, bit) = seen_at(four);
            if self.seen[word] & bit == 0 {
                continue;
            }
            let rest = &text[at..];
            let long = rest.first_chunk().and_then(|chunk| self.long.get(chunk));
            let short = rest.first_chunk().and_then(|chunk| self.short.get(chunk));
            for number in long.into_iter().chain(short).flatten() {
                let needle = &self.needles[*number];
                if rest.starts_with(&needle.bytes) && needle.stands_alone(text, at) {
                    found(needle, at);
                }
            }
        }
    }
}

impl Needle {
    fn stands_alone(&self, text: &[u8], at: usize) -> bool {
        let goes_on = |byte: Option<&u8>| match (self.alone, byte) {
            (Alone::No, _) | (_, None) => false,
            (Alone::Word, Some(byte)) => byte.is_ascii_alphanumeric() || !byte.is_ascii(),
            (Alone::Base64, Some(byte)) => byte.is_ascii_alphanumeric() || b"+/-_".contains(byte),
        };
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        !goes_on(before) && !goes_on(text.get(at + self.bytes.len()))
    }
}

/// Values to look for.
#[derive(Debug, Default)]
pub struct Values {
    values: Vec<String>,
    /// Forms whose case does not matter, in lower case.
    folded: Index,
    /// Forms whose case does.
    exact: Index,
}

impl Values {
    /// Takes values; those that are shorter than [`BYTES_MIN`] are left out.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut all = Self::default();
        let distinct: BTreeSet<String> = values.into_iter().collect();
        for value in distinct.into_iter().filter(|value| value.len() >= BYTES_MIN) {
            all.add(value);
        }
        all
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// In how many forms they are looked for.
    pub fn forms(&self) -> usize {
        self.folded.needles.len() + self.exact.needles.len()
    }

    /// The values that are in a text, each form once, with where it stands first.
    pub fn search(&self, text: &str) -> Vec<Hit> {
        let folded = text.to_lowercase();
        let mut seen = BTreeSet::new();
        let mut hits = Vec::new();
        for (index, text) in [(&self.folded, folded.as_str()), (&self.exact, text)] {
            index.search(text.as_bytes(), |needle, at| {
                if seen.insert((needle.value, needle.form)) {
                    let bytes = text.as_bytes();
                    let (from, to) = (at.saturating_sub(60), at + needle.bytes.len() + 40);
                    let around = &bytes[from..to.min(bytes.len())];
                    hits.push(Hit {
                        value: self.values[needle.value].clone(),
                        form: needle.form,
                        around: String::from_utf8_lossy(around).into_owned(),
                    });
                }
            });
        }
        hits
    }

    /// The values that a text says as they are: what may be said there is no leak elsewhere.
    pub fn said_in(&self, text: &str) -> BTreeSet<String> {
        self.search(text).into_iter().filter(|hit| hit.form == TEXT).map(|hit| hit.value).collect()
    }

    fn add(&mut self, value: String) {
        let number = self.values.len();
        let is_long = value.len() >= LONG_BYTES;
        let alone = if is_long { Alone::No } else { Alone::Word };
        let mut escaped = BTreeSet::new();
        for (form, text) in escapes(&value) {
            let bytes = text.to_lowercase().into_bytes();
            if escaped.insert(bytes.clone()) {
                self.folded.add(Needle { bytes, value: number, form, alone });
            }
        }
        let cases = [value.clone(), value.to_lowercase(), value.to_uppercase()];
        for text in BTreeSet::from(cases) {
            let bytes = text.as_bytes();
            let alone = Alone::No;
            self.folded.add(Needle { bytes: hex(bytes), value: number, form: "hex", alone });
            for needle in base64_of(bytes, is_long) {
                let alone = if is_long { Alone::No } else { Alone::Base64 };
                self.exact.add(Needle { bytes: needle, value: number, form: "base64", alone });
            }
            for (form, digest) in digests(bytes) {
                let mut digits = hex(&digest);
                digits.truncate(DIGEST_HEX_DIGITS);
                self.folded.add(Needle { bytes: digits, value: number, form, alone });
                let ways = BTreeSet::from([STANDARD, URL_SAFE].map(|way| {
                    let mut digits = encode(&digest, way);
                    digits.truncate(DIGEST_BASE64_DIGITS);
                    digits
                }));
                for bytes in ways {
                    self.exact.add(Needle { bytes, value: number, form, alone });
                }
            }
        }
        self.values.push(value);
    }
}

/// The form of a value that is as it is.
const TEXT: &str = "text";

/// A value as it is, and as it is escaped; several of these may be the same.
fn escapes(value: &str) -> Vec<(&'static str, String)> {
    let json = serde_json::to_string(value).unwrap();
    let ascii: String = json
        .encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    let percent = |space: &str| -> String {
        let bytes = value.bytes().map(|byte| match byte {
            b' ' => space.to_owned(),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02x}"),
        });
        bytes.collect()
    };
    let inner = |quoted: &str| quoted[1..quoted.len() - 1].to_owned();
    vec![
        (TEXT, value.to_owned()),
        ("json", inner(&json)),
        ("json", inner(&ascii)),
        ("debug", inner(&format!("{value:?}"))),
        ("url", percent("%20")),
        ("url", percent("+")),
    ]
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = Vec::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out
}

fn digests(bytes: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    [
        ("md5", Md5::digest(bytes).to_vec()),
        ("sha-1", digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()),
        ("sha-256", digest(&SHA256, bytes).as_ref().to_vec()),
    ]
}

/// Base64 without padding.
pub fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let bits = three[0] << 16 | three[1] << 8 | three[2];
        for digit in 0..=chunk.len() {
            out.push(alphabet[(bits >> (18 - 6 * digit) & 63) as usize]);
        }
    }
    out
}

/// What base64 has of a value for certain, at each of the three places where it may begin; of a short
/// one the whole, where nothing is before it.
fn base64_of(bytes: &[u8], is_long: bool) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for alphabet in [STANDARD, URL_SAFE] {
        if !is_long {
            found.insert(encode(bytes, alphabet));
            continue;
        }
        for before in 0..3 {
            let padded = [&[0; 2][..before], bytes].concat();
            let digits = encode(&padded, alphabet);
            // The digits that hold a bit of what stands before or behind are not its own.
            let from = (before * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            found.insert(digits[from..to].to_vec());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    /// Each form of a value, planted by other means than those that look for it where there are any.
    fn planted(value: &str) -> Vec<(&'static str, String)> {
        let upper = value.to_uppercase();
        let mut all = vec![
            ("text", format!("a line of a log with {value} in it")),
            ("text", format!("{{\"note\":\"{upper}\"}}")),
            ("hex", text(hex(value.as_bytes()))),
            ("hex", text(hex(value.as_bytes())).to_uppercase()),
            ("hex", text(hex(upper.as_bytes()))),
        ];
        for (name, digest) in digests(value.as_bytes()) {
            all.push((name, format!("id={}", text(hex(&digest)))));
            all.push((name, text(hex(&digest)).to_uppercase()));
            // As a token is: half of it.
            all.push((name, text(hex(&digest[..digest.len() / 2]))));
            all.push((name, format!("{}==", text(encode(&digest, STANDARD)))));
            all.push((name, text(encode(&digest, URL_SAFE))));
        }
        for alphabet in [STANDARD, URL_SAFE] {
            for before in ["", "x", "xy", "xyz"] {
                for behind in ["", "z", "zy"] {
                    let whole = format!("{before}{value}{behind}");
                    let short = value.len() < LONG_BYTES && whole != value;
                    let digits = text(encode(whole.as_bytes(), alphabet));
                    if !short {
                        all.push(("base64", format!("\"{digits}==\"")));
                    }
                }
            }
        }
        all
    }

    #[test]
    fn the_search_finds_a_value_in_every_form() {
        for value in ["ZZ100001", "Ünal \"Zz\" O'Neil+/?", "1234", "Mara", "5551234567", "a b c d"]
        {
            let values = Values::new([value.to_owned()]);
            assert_eq!(values.len(), 1);
            assert!(values.forms() > 8, "{value}: {}", values.forms());
            for (form, text) in planted(value) {
                let hits = values.search(&text);
                assert!(
                    hits.iter().any(|hit| hit.form == form && hit.value == value),
                    "{value} as {form}: {text} {hits:?}"
                );
            }
        }
        let values = Values::new(["Ünal \"Zz\" O'Neil".to_owned()]);
        for (form, text) in [
            ("json", r#"{"name":"Ünal \"Zz\" O'Neil"}"#),
            ("json", r#"{"name":"\u00DCnal \"ZZ\" O'Neil"}"#),
            ("url", "/find?name=%C3%9Cnal%20%22Zz%22%20O%27Neil"),
            ("url", "name=%c3%9cnal+%22Zz%22+O%27Neil&x=1"),
        ] {
            let found = values.search(text);
            // Unicode folds by letters and not by their escapes: Ü and ü are escaped apart.
            let hit = found.iter().any(|hit| hit.form == form);
            assert!(hit, "{form}: {text} {found:?}");
        }
    }

    #[test]
    fn the_search_finds_nothing_where_nothing_is() {
        let values = Values::new(["1234", "ZZ100001", "abc", "Mara"].map(str::to_owned));
        assert_eq!(values.len(), 3, "what is too short is left out");
        for text in [
            "",
            "ZZ10000",
            "a1234",
            "12345",
            "tamara marathon",
            "\"id\":\"0f12349e\"",
            &text(encode(b"xMara", STANDARD)),
            &text(hex(b"ZZ100002")),
        ] {
            assert_eq!(values.search(text), Vec::new(), "{text}");
        }
        assert_eq!(values.said_in("is it MARA, or 1234?").len(), 2);
    }
}
