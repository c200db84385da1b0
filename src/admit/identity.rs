//! Which patient an event is about, and which visit.
//!
//! Promises: the same identifier under any name of its authority is the same subject or visit; an
//! identifier without an authority belongs to its sender's domain and to no other, so that two
//! hospitals that both number from 1 are not mixed up.
//! Knows nothing of: which subjects were merged.

use std::collections::HashMap;

use crate::event::{Numbering, Subject, View, VisitNumber};
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
        let candidates = self.candidates(data, "patient.identifiers");
        let chosen = self.preferred(&candidates).or_else(|| usual(&candidates))?;
        Some(chosen.subject(domain))
    }

    /// The subject that a patient was before: of the prior identifiers that are not his or hers any
    /// more the one of the authority that is preferred; else of the one that issued the subject's
    /// identifier; else as [`Self::subject`] says.
    #[must_use]
    pub fn prior(
        &self,
        data: View<'_>,
        domain: &str,
        subject: &Subject,
        own: &[Subject],
    ) -> Option<Subject> {
        let mut candidates = self.candidates(data, "patient.priorIdentifiers");
        candidates.retain(|candidate| !own.contains(&candidate.subject(domain)));
        let of_same = || {
            let authority = subject.authority.as_str();
            candidates.iter().find(|it| it.authority.as_deref().unwrap_or(domain) == authority)
        };
        let chosen = self.preferred(&candidates).or_else(of_same).or_else(|| usual(&candidates))?;
        Some(chosen.subject(domain))
    }

    /// The visit of an event, by the first of its numbers that is there. A number without an authority
    /// is of its sender's domain, as a patient's is.
    #[must_use]
    pub fn visit(&self, data: View<'_>, domain: &str) -> Option<VisitNumber> {
        let visit = data.get("visit")?;
        let (of, found) = Numbering::ALL.into_iter().find_map(|of| {
            let found = self.candidate(visit.get(of.name())?)?;
            (!found.value.trim().is_empty()).then_some((of, found))
        })?;
        let Subject { authority, value } = found.subject(domain);
        Some(VisitNumber { of, authority, value })
    }

    /// Every subject that a list of identifiers names.
    #[must_use]
    pub fn subjects(&self, data: View<'_>, path: &str, domain: &str) -> Vec<Subject> {
        self.candidates(data, path).iter().map(|candidate| candidate.subject(domain)).collect()
    }

    fn candidates<'v>(&self, data: View<'v>, path: &str) -> Vec<Candidate<'v>> {
        let found = data.at(path).into_iter().flat_map(|identifiers| identifiers.children());
        found.filter_map(|found| self.candidate(found)).collect()
    }

    fn preferred<'c, 'v>(&self, candidates: &'c [Candidate<'v>]) -> Option<&'c Candidate<'v>> {
        self.prefer.iter().find_map(|name| {
            candidates.iter().find(|candidate| candidate.authority.as_deref() == Some(name))
        })
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

impl Candidate<'_> {
    fn subject(&self, domain: &str) -> Subject {
        let authority = self.authority.clone().unwrap_or_else(|| domain.to_owned());
        Subject { authority, value: Phi::new(self.value.to_owned()) }
    }
}

/// The one that is taken where none is of an authority that is preferred.
fn usual<'c, 'v>(candidates: &'c [Candidate<'v>]) -> Option<&'c Candidate<'v>> {
    let first = |is: fn(&&Candidate<'v>) -> bool| candidates.iter().find(is);
    first(|candidate| candidate.kind == Some("MR"))
        .or_else(|| first(|candidate| candidate.kind != Some("SS")))
        .or_else(|| candidates.first())
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

    #[test]
    fn a_visit_is_known_by_any_name_of_its_authority_and_by_the_first_of_its_numbers() {
        let aliases = [("EPIC^VN", "VISIT"), ("urn:oid:1.2.3", "VISIT")];
        let aliases = aliases.map(|(alias, name)| (alias.to_owned(), name.to_owned())).into();
        let identity = Identity::new(aliases, vec![]);
        let visit = |json: &str| {
            let tree: Tree = serde_json::from_str(&format!(r#"{{"visit":{json}}}"#)).unwrap();
            let found = identity.visit(tree.root(), "adt")?;
            Some((found.of, found.authority, found.value.into_exposed()))
        };
        let wanted = |of, authority: &str| Some((of, authority.to_owned(), "V1".to_owned()));
        for (json, wanted) in [
            (
                r#"{"number":{"value":"V1","authority":"EPIC","type":"VN"}}"#,
                wanted(Numbering::Number, "VISIT"),
            ),
            (
                r#"{"number":{"value":"V1","authorityId":"1.2.3","authorityIdType":"ISO"}}"#,
                wanted(Numbering::Number, "VISIT"),
            ),
            (r#"{"number":{"value":"V1"}}"#, wanted(Numbering::Number, "adt")),
            (
                r#"{"preadmitNumber":{"value":"P"},"alternateNumber":{"value":"V1"},"number":null}"#,
                wanted(Numbering::AlternateNumber, "adt"),
            ),
            (
                r#"{"number":{"value":" "},"preadmitNumber":{"value":"V1"}}"#,
                wanted(Numbering::PreadmitNumber, "adt"),
            ),
            (r#"{"number":{"authority":"EPIC"}}"#, None),
            (r#"{"class":{"code":"IMP"}}"#, None),
        ] {
            assert_eq!(visit(json), wanted, "{json}");
        }
    }
}
