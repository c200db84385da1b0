//! What an event holds of a document that is embedded in a result.

use tidegate::document::Problems;
use tidegate::event::observation::CONTENT_BYTES_MAX;
use tidegate::normalize::{self, Context, Documents, Normalized, Trace, normalize};
use tidegate::parse::hl7::{Charset, Message};

/// What becomes of a message whose one result is such a value.
fn mapped(value: &str, documents: Documents) -> Normalized {
    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    let text = format!(
        "MSH|^~\\&|S|H|||20261122||ORU^R01|ZZC|P|2.5\rPID|1||ZZ1\rOBR|1|||X\rOBX|1|ED|Y||{value}\r"
    );
    let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
    let context = Context { documents, ..Context::default() };
    normalize(&mappings, &message, &context, Trace::Off).unwrap().0
}

fn attachment(found: &Normalized) -> serde_json::Value {
    let data = found.drafts[0].data.root();
    serde_json::to_value(data.at("observations[0].value.attachment").unwrap()).unwrap()
}

#[test]
fn a_document_is_in_the_event_of_a_feed_up_to_a_bound_and_described_beyond_it() {
    let of_bytes = |length: usize| format!("LAB^application^PDF^Base64^{}", "Q".repeat(length));
    for (length, is_kept) in
        [(400, true), (CONTENT_BYTES_MAX, true), (CONTENT_BYTES_MAX + 4, false)]
    {
        let found = mapped(&of_bytes(length), Documents::Kept);
        let attachment = attachment(&found);
        assert_eq!(attachment["size"], length as f64 / 4.0 * 3.0);
        assert_eq!(attachment["digest"].as_str().unwrap().len(), "sha256:".len() + 64);
        assert_eq!(attachment["content"].as_str().map(str::len), is_kept.then_some(length));
        assert!(
            found.invalid.is_empty() && !found.unmapped.iter().any(|it| it.to_string() == "OBX-5")
        );
        let described = mapped(&of_bytes(length), Documents::Described);
        assert_eq!(self::attachment(&described)["content"], serde_json::Value::Null);
    }
}

#[test]
fn a_document_that_does_not_decode_is_listed_and_kept_as_it_came() {
    for (value, content) in [
        ("LAB^application^PDF^Base64^QQ", "QQ"),
        ("LAB^application^PDF^Base64^Q*==", "Q*=="),
        ("LAB^application^PDF^Hex^5", "5"),
        ("LAB^application^PDF^^QUJD", "QUJD"),
        ("LAB^application^PDF^ZIP^QUJD", "QUJD"),
    ] {
        let found = mapped(value, Documents::Kept);
        assert_eq!(found.invalid, ["OBX-5"], "{value}");
        let attachment = attachment(&found);
        assert_eq!(attachment["mediaType"], "application/pdf");
        assert_eq!(attachment["content"], content);
        assert!(attachment.get("size").is_none() && attachment.get("digest").is_none(), "{value}");
    }
}

#[test]
fn a_text_that_was_not_encoded_is_measured_as_it_reads() {
    let found = mapped("^TEXT^Plain^A^a\\T\\b\\.br\\c&d", Documents::Kept);
    let attachment = attachment(&found);
    assert_eq!(attachment["content"], "a&b\nc&d");
    assert_eq!(attachment["size"], 7.0);
    assert_eq!(attachment["mediaType"], "text/plain");
}
