//! Any document is transcribed or refused with its line; what is transcribed is a message with
//! pipes that reads, bounded by what came. A header alone reads as that of the whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::parse::hl7::wire::Extent;
use tidegate::parse::hl7::xml::{Dialect, transcribe, write};
use tidegate::parse::hl7::{Charset, Malformed, Message};

fuzz_target!(|document: &str| {
    let found = transcribe(document, Extent::Whole);
    // One element of eleven bytes may stand for 998 separators.
    assert!(found.text.len() <= document.len().saturating_mul(128) + 64);
    match found.fault {
        None => {
            assert!(found.text.starts_with("MSH|^~\\&"), "{}", found.text);
            let parsed = Message::parse(found.text.as_bytes(), Charset::Utf8);
            match &parsed {
                Ok(message) => {
                    let segments = found.text.matches('\r').count();
                    assert_eq!(message.len(), segments, "a segment end within a value");
                }
                Err(refused) => assert!(matches!(refused, Malformed::Switched { .. }), "{refused}"),
            }
        }
        Some(Malformed::Xml(fault)) => {
            assert!(fault.line >= 1 && fault.line <= document.matches('\n').count() + 1);
        }
        Some(_) => {}
    }
    let header = transcribe(document, Extent::Header);
    if let Some(first) = found.text.split_inclusive('\r').next() {
        assert_eq!(header.text, first);
        for dialect in [Dialect::Standard, Dialect::Bare, Dialect::Engine] {
            let written = write(first, dialect).expect("a header is written");
            assert!(written.is_ascii());
            let again = transcribe(&written, Extent::Whole);
            assert_eq!(again.fault, None, "{written}");
        }
    }
});
