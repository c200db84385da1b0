//! Resources that came together, and the references between them.
//!
//! Promises: a reference that could mean two of them means none; looking one up costs no search.
//! Knows nothing of: servers; nothing is fetched.

use std::collections::HashMap;

use crate::parse::fhir::node::is_id;
use crate::parse::fhir::{KIND_BYTES_MAX, Resource};

/// The resources of a Bundle, or of a page.
#[derive(Clone, Debug, Default)]
pub struct Around<'s> {
    /// By `fullUrl`, and by `Type/id`; nothing where two have the same.
    by: HashMap<String, Option<&'s Resource<'s>>>,
}

impl<'s> Around<'s> {
    /// Adds a resource, with the `fullUrl` of its entry.
    pub fn add(&mut self, full_url: Option<&str>, resource: &'s Resource<'s>) {
        if let Some(id) = resource.id() {
            self.name(format!("{}/{id}", resource.kind()), resource);
        }
        if let Some(full_url) = full_url {
            self.add_elsewhere(full_url, resource);
        }
    }

    /// Adds a resource of another server, which a relative reference does not mean.
    pub fn add_elsewhere(&mut self, full_url: &str, resource: &'s Resource<'s>) {
        self.name(full_url.to_owned(), resource);
    }

    fn name(&mut self, name: String, resource: &'s Resource<'s>) {
        let known = self.by.entry(name).or_insert(Some(resource));
        if known.is_some_and(|known| !std::ptr::eq(known, resource)) {
            *known = None;
        }
    }

    /// The resource that a literal reference means: `Patient/1`, `urn:uuid:…`, a URL; with a version
    /// or without.
    #[must_use]
    pub fn find(&self, reference: &str) -> Option<&'s Resource<'s>> {
        let plain = reference.split_once("/_history/").map_or(reference, |(plain, _)| plain);
        *self.by.get(plain)?
    }
}

/// The type and the ID at the end of a literal reference: `Patient` and `1` of `Patient/1` or of
/// `https://…/Patient/1/_history/2`.
#[must_use]
pub fn literal(reference: &str) -> Option<(&str, &str)> {
    let plain = reference.split_once("/_history/").map_or(reference, |(plain, _)| plain);
    let (rest, id) = plain.rsplit_once('/')?;
    let kind = rest.rsplit_once('/').map_or(rest, |(_, kind)| kind);
    let is_kind = kind.starts_with(|first: char| first.is_ascii_uppercase())
        && kind.len() <= KIND_BYTES_MAX
        && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_kind && is_id(id)).then_some((kind, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_means_two_means_none() {
        let [one, two, other] = [
            r#"{"resourceType":"Patient","id":"1"}"#,
            r#"{"resourceType":"Patient","id":"1"}"#,
            r#"{"resourceType":"Patient","id":"2"}"#,
        ]
        .map(|text| Resource::parse(text.as_bytes(), 1 << 10).unwrap());
        let mut around = Around::default();
        around.add(Some("http://a/Patient/1"), &one);
        around.add(Some("http://b/Patient/1"), &two);
        around.add(Some("urn:uuid:x"), &other);
        around.add(Some("urn:uuid:x"), &other);
        let found = |reference: &str| around.find(reference).map(|it| it.id().unwrap());
        assert_eq!(found("http://a/Patient/1"), Some("1"));
        assert_eq!(found("http://b/Patient/1/_history/3"), Some("1"));
        assert_eq!(found("Patient/1"), None);
        assert_eq!(found("urn:uuid:x"), Some("2"));
        assert_eq!(found("Patient/2"), Some("2"));
        assert_eq!(found("Patient/3"), None);
        let mut around = Around::default();
        around.add_elsewhere("http://b/Patient/1", &one);
        assert!(around.find("http://b/Patient/1").is_some() && around.find("Patient/1").is_none());
    }

    #[test]
    fn a_literal_reference_names_type_and_id() {
        for (text, wanted) in [
            ("Patient/1", Some(("Patient", "1"))),
            ("https://s/fhir/Patient/1/_history/2", Some(("Patient", "1"))),
            ("urn:uuid:1", None),
            ("#p1", None),
            ("Patient/", None),
            ("Patient?identifier=a|b/c", None),
        ] {
            assert_eq!(literal(text), wanted, "{text}");
        }
    }
}
