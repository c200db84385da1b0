//! Bytes in any character set are decoded whole or refused with the place of the first byte that
//! does not decode; nothing is replaced. The header that is read as bytes is that of the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::parse::hl7::{Charset, Charsets, Head, Malformed, Wire};

const SETS: [&str; 12] = [
    "ASCII",
    "UTF-8",
    "8859/1",
    "8859/3",
    "8859/7",
    "ISO IR87",
    "SHIFT-JIS",
    "EUC-JP",
    "GB 18030",
    "GBK",
    "KS X 1001",
    "BIG-5",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let set = SETS[usize::from(first) % SETS.len()];
    let charset = Charset::from_name(set).expect("a known name");
    match charset.decode(bytes) {
        Ok(text) => {
            // What decodes says the same in the Encoding Standard's way, which would have put
            // U+FFFD where a byte is wrong.
            if let Charset::Other(encoding) = charset {
                let (lenient, replaced) = encoding.decode_without_bom_handling(bytes);
                assert!(!replaced);
                assert_eq!(lenient, text);
            }
            if let (Ok(head), Ok(of_text)) =
                (Head::read_in(bytes, charset), Head::read(text.as_bytes()))
                && head.delimiters == of_text.delimiters
            {
                for number in 3..=12 {
                    let field = charset.decode(head.field(number));
                    // In ISO 2022 a field may end within another set, and is then no text alone.
                    if set != "ISO IR87" {
                        assert_eq!(
                            field.as_deref().ok(),
                            std::str::from_utf8(of_text.field(number)).ok()
                        );
                    }
                }
            }
        }
        Err(Malformed::Undecodable { at, .. }) => {
            assert!(at < bytes.len());
            if set != "ISO IR87" {
                let before = bytes.get(..at).expect("a place within the bytes");
                assert!(charset.decode(before).is_ok(), "what stands before it decodes");
            }
        }
        Err(other) => panic!("{other}"),
    }
    for charsets in [
        Charsets::from(charset),
        Charsets { silent: Charset::Utf8, always: Some(charset), aliases: Vec::new() },
    ] {
        let wire = Wire::open(bytes, &charsets);
        let _ = (wire.head().is_ok(), wire.message().is_ok(), wire.check_end().is_ok());
    }
});
