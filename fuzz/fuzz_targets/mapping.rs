//! A mapping file, whatever is in it, is compiled or refused with places; what is compiled can be
//! applied to a message.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate::document::{Document, Problems};
use tidegate::normalize::{Context, Trace, load_documents, normalize};
use tidegate::parse::hl7::{Charset, Message};

const MESSAGES: [&[u8]; 2] = [
    include_bytes!("../../fixtures/hl7/adt-a01.hl7"),
    include_bytes!("../../fixtures/hl7/oru-r01.hl7"),
];

/// The shipped parts, which a file may use.
static PARTS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../mappings/hl7"));
    ["message", "patient", "visit"]
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(dir.join(format!("{name}.toml")));
            ((*name).to_owned(), text.expect("a shipped part"))
        })
        .collect()
});

fuzz_target!(|text: &str| {
    // The shipped parts and tables are read where they may be meant: they take most of the time.
    let uses = text.contains("use");
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../mappings"));
    let dir = if uses || text.contains("table") { shipped } else { Path::new("no-tables") };
    let problems = Problems::default();
    let document = |name: &str, text: &str| {
        (name.to_owned(), Document::from_text(&format!("{name}.toml"), dir, text))
    };
    let parts = PARTS
        .iter()
        .take(if uses { PARTS.len() } else { 0 })
        .map(|(name, text)| document(name, text));
    let mappings = load_documents(parts.chain([document("fuzzed", text)]), dir, &problems);
    for mistake in problems.mistakes() {
        let place = mistake.to_string();
        assert!(place.contains(".toml:") || place.contains(".csv:"), "{place}");
    }
    if problems.is_clean() {
        for bytes in MESSAGES {
            let message = Message::parse(bytes, Charset::Utf8).expect("a message");
            // Refused or mapped; what matters is that it ends.
            let mapped = normalize(&mappings, &message, &Context::default(), Trace::On);
            drop(mapped);
        }
    }
});
