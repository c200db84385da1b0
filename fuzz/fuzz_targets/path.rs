//! A path that is taken prints as a path that is taken and means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::parse::hl7::{Charset, Message, Path, Scope};

const MESSAGE: &[u8] = b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5\r\
    PID|1||11^^^EPIC&1.2.3&ISO^MR~22^^^LAB^PI||ZZDOE&VAN^ZZJOHN\rOBX|1|NM|a||5\rOBX|2|ST|b||6~7\r";

fuzz_target!(|text: &str| {
    let Ok(path) = Path::read(text) else { return };
    let printed = path.to_string();
    let again = Path::read(&printed).expect("what was printed is a path");
    assert_eq!(printed, again.to_string());
    let message = Message::parse(MESSAGE, Charset::Utf8).expect("a message");
    let all = [0..message.len()];
    let scope = Scope::new(&message, &all);
    let values = |path: &Path| {
        let mut found = Vec::new();
        path.resolve(&scope, |hit| {
            found.push((hit.place(), hit.value.raw().to_owned()));
            true
        });
        found
    };
    assert_eq!(values(&path), values(&again));
    let first = path.first(&scope).map(|hit| hit.value.raw().to_owned());
    assert!(
        first.is_none() || values(&path).iter().any(|(_, value)| Some(value) == first.as_ref())
    );
});
