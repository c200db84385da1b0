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
    let upper = without_temporary(text).to_ascii_uppercase();
    if !upper.contains("ZZ") {
        return Vec::new();
    }
    let known = words().iter().filter(|word| upper.contains(word.as_str())).cloned();
    let made_up = upper.split(|letter: char| !letter.is_alphanumeric());
    let made_up = made_up.filter(|word| word.starts_with("ZZ") && word.len() >= 4);
    known.chain(made_up.map(str::to_owned)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Without the random letters in the names of temporary folders, which may be a marked word's by chance.
fn without_temporary(text: &str) -> String {
    // As tempfile names them where nobody says otherwise: `.tmp` and six letters and digits.
    let begin = format!("{}/.tmp", std::env::temp_dir().display());
    let mut parts = text.split(&begin);
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let random = part.chars().take(6).take_while(char::is_ascii_alphanumeric).count();
        without += &begin;
        without += &part[random..];
    }
    without
}

#[test]
fn a_marked_word_is_found_wherever_it_stands_but_in_the_name_of_a_temporary_folder() {
    let known = words().iter().find(|word| word.len() == 4).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(name.len(), ".tmp".len() + 6, "as it is cut here");
    let folder = |random: &str| format!("{}/.tmp{random}", std::env::temp_dir().display());
    let by_chance = folder(&format!("{}q1", known.to_lowercase()));
    for text in [format!("{by_chance}/keys/a.key: mode 0644"), by_chance.clone(), folder("")] {
        assert_eq!(found_in(&text), Vec::<String>::new(), "{text}");
    }
    for text in [
        format!("{by_chance}/{known}"),
        format!("{by_chance}{known}"),
        format!("{known} {by_chance}"),
        format!("{}-{known}", folder("ab")),
        format!("x{known}x"),
        format!("/.tmp{known}"),
    ] {
        assert_eq!(found_in(&text), [known.as_str()], "{text}");
    }
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
