//! What a coverage calls an element.
//!
//! Promises: names alone. The URL of an extension is the extension's name, as the letters of a Z-segment are
//! (FHIR R4, 2.4.0), and is told where it has the form of one: nothing behind `?` or `#`, no spaces, a
//! bounded length.
//! Knows nothing of: rules.

use crate::parse::fhir::Node;

/// Longest URL that is told, in bytes. Those of HL7's own extensions have under 120.
const URL_BYTES_MAX: usize = 200;
/// Longest name of an extension within another, in letters: those of US Core have under 20.
const WORD_BYTES_MAX: usize = 40;

/// `Patient.birthDate.extension('http://…')` as a path of a rule has it, but a choice by its own name:
/// `Observation.valueQuantity`. An extension without a usable URL is `extension(?)`.
pub(in crate::normalize) fn name(node: Node<'_>) -> String {
    let Some(around) = node.around() else { return node.resource().kind().to_owned() };
    let mut text = name(around);
    let list = around.is_list().then_some(around);
    // An item goes by its list, but for an extension, which its list does not name.
    let is_extension = |name: Option<&str>| matches!(name, Some("extension" | "modifierExtension"));
    match (node.name(), list.and_then(Node::name)) {
        (Some(own), _) if is_extension(Some(own)) && node.is_list() => {}
        (Some(own), _) if is_extension(Some(own)) => push_extension(&mut text, node, own),
        (None, Some(own)) if is_extension(Some(own)) => push_extension(&mut text, node, own),
        (Some(_), _) => {
            let element = node.element().to_string();
            let own = element.rsplit('.').next().unwrap_or("?");
            text.push('.');
            text.push_str(own);
        }
        (None, _) => {}
    }
    text
}

fn push_extension(text: &mut String, node: Node<'_>, own: &str) {
    let is_inner = text.ends_with(')');
    let url =
        node.get("url").and_then(Node::text).filter(|url| is_url(url) || is_inner && is_word(url));
    text.push('.');
    text.push_str(own);
    match url {
        Some(url) => {
            text.push_str("('");
            text.push_str(url);
            text.push_str("')");
        }
        None => text.push_str("(?)"),
    }
}

fn is_url(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
    text.len() <= URL_BYTES_MAX
        && ["http://", "https://", "urn:oid:", "urn:uuid:"].iter().any(|it| text.starts_with(it))
        && text.bytes().all(plain)
}

fn is_word(text: &str) -> bool {
    text.len() <= WORD_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::fhir::Resource;

    #[test]
    fn an_extension_goes_by_its_url_where_that_has_the_form_of_one() {
        let of = |url: &str| {
            let text = format!(
                r#"{{"resourceType":"Patient","birthDate":"1970","_birthDate":{{"extension":[{{"url":{url:?},
                "extension":[{{"url":"inner","valueCode":"x"}}]}}]}}}}"#
            );
            let resource = Resource::parse(text.as_bytes(), 1 << 20).unwrap();
            let leaf = resource.root().leaves().last().unwrap();
            name(leaf)
        };
        let inner = "extension('inner').valueCode";
        let known = format!("Patient._birthDate.extension('https://v.example/a-1').{inner}");
        assert_eq!(of("https://v.example/a-1"), known);
        let long = format!("http://v.example/{}", "x".repeat(200));
        for url in [
            "ZZQUILLON",
            "",
            "https://v.example/a?p=ZZ1",
            "http://v/ZZ MARA",
            "javascript:x",
            &long,
        ] {
            let unknown = format!("Patient._birthDate.extension(?).{inner}");
            assert_eq!(of(url), unknown, "{url}");
        }
        let text = r#"{"resourceType":"Patient","name":[{"given":["a"]}],"ZZ x":1}"#;
        let resource = Resource::parse(text.as_bytes(), 1 << 20).unwrap();
        let names: Vec<String> = resource.root().leaves().map(name).collect();
        assert_eq!(names, ["Patient.resourceType", "Patient.name.given", "Patient.?"]);
    }
}
