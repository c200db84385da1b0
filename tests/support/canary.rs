//! The marked words of the fixtures, and the search for them; in [`forms`], any values in any form.

pub mod forms;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use serde::de::IgnoredAny;

/// Every marked word that occurs in a fixture: names, numbers, addresses, free text.
pub fn words() -> &'static BTreeSet<String> {
    static WORDS: OnceLock<BTreeSet<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let mut words = BTreeSet::new();
        for entry in std::fs::read_dir("fixtures/hl7").unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            for word in text.split(|letter: char| !letter.is_alphanumeric()) {
                if word.to_ascii_uppercase().starts_with("ZZ") && word.len() >= 4 {
                    words.insert(word.to_ascii_uppercase());
                }
            }
        }
        assert!(words.len() > 50, "the fixtures carry marked words");
        words
    })
}

/// The marked words that occur in a text, whatever their case: those of the fixtures wherever
/// they stand, and every word that begins like one, since a test may make up its own.
pub fn found_in(text: &str) -> Vec<String> {
    let upper = text.to_ascii_uppercase();
    if !upper.contains("ZZ") {
        return Vec::new();
    }
    let known = words().iter().filter(|word| upper.contains(word.as_str())).cloned();
    let made_up = upper.split(|letter: char| !letter.is_alphanumeric());
    let made_up = made_up.filter(|word| word.starts_with("ZZ") && word.len() >= 4);
    known.chain(made_up.map(str::to_owned)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// PROMISE-10: panics where a text that is not for patient data holds a marked word.
pub fn assert_none(what: &str, text: &str) {
    let found = found_in(text);
    assert!(found.is_empty(), "{what} holds patient data: {found:?}\n{text}");
}

/// The same for a file.
pub fn assert_none_in_file(path: &Path) {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    assert_none(&path.display().to_string(), &text);
}

/// The same for the records in an audit.db: from where each begins, since the hash before it may look
/// like a marked word by chance.
pub fn assert_none_in_records_of(path: &Path) {
    const BEGIN: &[u8] = b"{\"number\":";
    let bytes = std::fs::read(path).unwrap();
    let begins = |at: &usize| bytes[*at..].starts_with(BEGIN);
    let mut records = Vec::new();
    for at in (0..bytes.len()).filter(begins) {
        let readable = |byte: &&u8| (b' '..=b'~').contains(*byte);
        let run: Vec<u8> = bytes[at..].iter().take_while(readable).copied().collect();
        // What stands behind a record is as arbitrary as what stands before it.
        let mut values = serde_json::Deserializer::from_slice(&run).into_iter::<IgnoredAny>();
        let end =
            if matches!(values.next(), Some(Ok(_))) { values.byte_offset() } else { run.len() };
        records.extend(&run[..end]);
        records.push(b'\n');
    }
    assert_none(&path.display().to_string(), &String::from_utf8(records).unwrap());
}
