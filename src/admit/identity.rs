//! Which patient an event is about.
//!
//! Promises: the same identifier under any name of its authority is the same subject; an
//! identifier without an authority belongs to its sender's domain and to no other, so that two
//! hospitals that both number from 1 are not mixed up.
//! Knows nothing of: merges and aliases.

use std::collections::HashMap;

use crate::event::{Subject, View};
use crate::phi::Phi;

/// `[identity]`: the names that an authority goes by, and which one is preferred.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Alias to canonical name.
    aliases: HashMap<String, String>,
    /// Canonical names, the preferred one first.
    prefer: Vec<String>,
}

impl Identity {
    /// Takes aliases by canonical name, and canonical names by preference.
    #[must_use]
    pub fn new(aliases: HashMap<String, String>, prefer: Vec<String>) -> Self {
        Self { aliases, prefer }
    }

    /// The subject of an event's `patient`: the identifier of the authority that is preferred;
    /// else the first medical record number; else the first that is no social security number;
    /// else the first.
    #[must_use]
    pub fn subject(&self, data: View<'_>, domain: &str) -> Option<Subject> {
        let identifiers = data.at("patient.identifiers")?;
        let candidates: Vec<Candidate<'_>> =
            identifiers.children().filter_map(|found| self.candidate(found)).collect();
        let preferred = self.prefer.iter().find_map(|name| {
            candidates.iter().find(|candidate| candidate.authority.as_deref() == Some(name))
        });
        let chosen = preferred
            .or_else(|| candidates.iter().find(|candidate| candidate.kind == Some("MR")))
            .or_else(|| candidates.iter().find(|candidate| candidate.kind != Some("SS")))
            .or_else(|| candidates.first())?;
        let authority = chosen.authority.clone().unwrap_or_else(|| domain.to_owned());
        Some(Subject { authority, value: Phi::new(chosen.value.to_owned()) })
    }

    fn candidate<'v>(&self, identifier: View<'v>) -> Option<Candidate<'v>> {
        let text = |key| identifier.get(key).and_then(|found| found.as_text());
        let value = text("value")?;
        let kind = text("type");
        let namespace = text("authority");
        let universal = text("authorityId").map(|id| match text("authorityIdType") {
            Some("ISO") => format!("urn:oid:{id}"),
            Some("UUID" | "GUID") => format!("urn:uuid:{}", id.to_ascii_lowercase()),
            _ => id.to_owned(),
        });
        let typed = namespace.zip(kind).map(|(namespace, kind)| format!("{namespace}^{kind}"));
        let names = [typed.as_deref(), universal.as_deref(), namespace];
        let canonical =
            names.into_iter().flatten().find_map(|name| self.aliases.get(name)).cloned();
        let authority = canonical.or_else(|| namespace.map(str::to_owned)).or(universal);
        Some(Candidate { value, kind, authority })
    }
}

struct Candidate<'v> {
    value: &'v str,
    kind: Option<&'v str>,
    authority: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Tree;

    fn subject(identity: &Identity, identifiers: &str) -> Option<(String, String)> {
        let json = format!(r#"{{"patient":{{"identifiers":{identifiers}}}}}"#);
        let tree: Tree = serde_json::from_str(&json).unwrap();
        let subject = identity.subject(tree.root(), "adt")?;
        Some((subject.authority, subject.value.into_exposed()))
    }

    fn named(authority: &str, value: &str) -> Option<(String, String)> {
        Some((authority.to_owned(), value.to_owned()))
    }

    #[test]
    fn any_name_of_an_authority_is_the_authority() {
        let aliases = [("EPIC^MRN", "MRN"), ("urn:oid:1.2.3", "MRN"), ("LAB", "LAB")];
        let aliases = aliases.map(|(alias, name)| (alias.to_owned(), name.to_owned())).into();
        let identity = Identity::new(aliases, vec!["MRN".to_owned()]);
        for identifier in [
            r#"[{"value":"9","authority":"LAB","type":"MR"},{"value":"1","authority":"EPIC","type":"MRN"}]"#,
            r#"[{"value":"1","authority":"X","authorityId":"1.2.3","authorityIdType":"ISO"}]"#,
        ] {
            assert_eq!(subject(&identity, identifier), named("MRN", "1"));
        }
        let other = r#"[{"value":"1","authority":"EPIC","type":"PI"}]"#;
        assert_eq!(subject(&identity, other), named("EPIC", "1"));
    }

    #[test]
    fn without_a_preference_the_record_number_is_taken() {
        let identity = Identity::default();
        for (identifiers, wanted) in [
            (
                r#"[{"value":"1","type":"SS"},{"value":"2","authority":"A","type":"PI"},{"value":"3","authority":"B","type":"MR"}]"#,
                named("B", "3"),
            ),
            (r#"[{"value":"1","type":"SS"},{"value":"2","authority":"A"}]"#, named("A", "2")),
            (r#"[{"value":"1","type":"SS"}]"#, named("adt", "1")),
            (r#"[{"authority":"A"}]"#, None),
            ("[]", None),
        ] {
            assert_eq!(subject(&identity, identifiers), wanted, "{identifiers}");
        }
    }
}
