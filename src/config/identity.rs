//! `[identity]`: which names of an authority are one, and which authority keys the subject.
//!
//! Promises: a name means one authority or it is a mistake, told at its place.
//! Knows nothing of: what messages name.

use std::collections::HashMap;

use crate::admit::Identity;
use crate::document::{Placed, Table, hint};

pub(super) fn read(table: &Table<'_>) -> Identity {
    let authorities = table.table("authorities").map(|table| table.entries()).unwrap_or_default();
    let names: Vec<String> = authorities.iter().map(|(name, _)| name.value.clone()).collect();
    let mut aliases: HashMap<String, String> = HashMap::new();
    for (name, item) in &authorities {
        if name.value.trim().is_empty() {
            table.mistake(&name.place, "an authority has a name");
        }
        for alias in item.texts() {
            if let Err(wrong) = check(&alias, &name.value, &names) {
                table.mistake(&alias.place, wrong);
            }
            let alias = Placed { value: canonical(&alias.value), ..alias };
            if let Some(other) = aliases.insert(alias.value.clone(), name.value.clone()) {
                let text = if other == name.value {
                    format!("`{}` stands here twice", alias.value)
                } else {
                    format!("`{}` is a name of {other}, too", alias.value)
                };
                table.mistake(&alias.place, text);
            }
        }
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut prefer: Vec<String> = Vec::new();
    for name in table.texts("prefer") {
        if !names.contains(&name.value) {
            let hint = hint(&name.value, &known);
            table.mistake(&name.place, format!("`{}` is no authority{hint}", name.value));
        }
        if prefer.contains(&name.value) {
            table.mistake(&name.place, format!("`{}` stands here twice", name.value));
        }
        prefer.push(name.value);
    }
    table.finish();
    Identity::new(aliases, prefer)
}

/// What is wrong with a name of an authority.
fn check(alias: &Placed<String>, of: &str, names: &[String]) -> Result<(), String> {
    let text = alias.value.as_str();
    let typed = text.split_once('^');
    let (namespace, kind) = typed.unwrap_or((text, "-"));
    if namespace.trim().is_empty() || kind.trim().is_empty() || kind.contains('^') {
        return Err(format!(
            "`{text}` names no authority; NAMESPACE, NAMESPACE^TYPE, \"urn:oid:…\" or \"urn:uuid:…\" \
             would"
        ));
    }
    if text != of && names.iter().any(|name| name == text) {
        return Err(format!("`{text}` is an authority of its own; it cannot be a name of {of}"));
    }
    if let Some(id) = text.strip_prefix("urn:oid:")
        && !id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err(format!("`{text}` is no OID: digits and dots"));
    }
    Ok(())
}

/// The form in which a name is compared: a UUID in small letters.
fn canonical(alias: &str) -> String {
    match alias.get(..9) {
        Some(scheme) if scheme.eq_ignore_ascii_case("urn:uuid:") => alias.to_ascii_lowercase(),
        _ => alias.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::{Document, Problems};
    use crate::event::Tree;

    fn read_from(text: &str) -> (Identity, Vec<String>) {
        let problems = Problems::default();
        let document = Document::from_text("t.toml", Path::new("."), text);
        let identity = document.read(&problems, read);
        (identity, problems.mistakes().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_name_means_one_authority_or_it_is_a_mistake_at_its_place() {
        for (text, wanted) in [
            ("prefer = [\"M\"]\n[authorities]\nM = [\"E^MR\", \"M\", \"urn:oid:1.2\"]", ""),
            ("[authorities]\nM = [\"E\"]\nN = [\"E\"]", "t.toml:3:6: `E` is a name of M, too"),
            ("[authorities]\nM = [\"E\", \"E\"]", "t.toml:2:11: `E` stands here twice"),
            ("[authorities]\nM = [\"N\"]\nN = []", "t.toml:2:6: `N` is an authority of its own"),
            ("[authorities]\nM = [\"\"]", "t.toml:2:6: `` names no authority"),
            ("[authorities]\nM = [\"E^\"]", "t.toml:2:6: `E^` names no authority"),
            ("[authorities]\nM = [\"E^A^B\"]", "t.toml:2:6: `E^A^B` names no authority"),
            ("[authorities]\nM = [\"urn:oid:x\"]", "t.toml:2:6: `urn:oid:x` is no OID"),
            ("[authorities]\nM = 7", "t.toml:2:5: "),
            ("[authorities]\n\"\" = []", "t.toml:2:1: an authority has a name"),
            ("prefer = [\"N\"]\n[authorities]\nM = []", "t.toml:1:11: `N` is no authority"),
            (
                "prefer = [\"M\", \"M\"]\n[authorities]\nM = []",
                "t.toml:1:16: `M` stands here twice",
            ),
            ("preferred = []", "t.toml:1:1: "),
        ] {
            let (_, mistakes) = read_from(text);
            let hit = mistakes.iter().any(|line| line.starts_with(wanted));
            assert!(
                mistakes.is_empty() == wanted.is_empty() && (wanted.is_empty() || hit),
                "{text}: {mistakes:?}"
            );
        }
    }

    #[test]
    fn a_uuid_is_the_same_in_capitals() {
        let (identity, _) = read_from("[authorities]\nM = [\"URN:UUID:AB-1\"]");
        let data = r#"{"patient":{"identifiers":[{"value":"1","authorityId":"Ab-1","authorityIdType":"UUID"}]}}"#;
        let tree: Tree = serde_json::from_str(data).unwrap();
        assert_eq!(identity.subject(tree.root(), "adt").unwrap().authority, "M");
    }
}
