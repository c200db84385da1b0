//! A path on a resource: which values it names.
//!
//! Promises: values come in the order of the resource; nothing is copied; a path for another resource type
//! names nothing.
//! Knows nothing of: how the path was written.

use super::{Condition, Path, Step};
use crate::parse::fhir::Node;

/// Takes a value; false where no more are wanted.
type Take<'t, 'r> = &'t mut dyn FnMut(Node<'r>) -> bool;

impl Path {
    /// Calls `take` for each value that it names from a node on until that returns false: the root
    /// of a resource of its type, or, where it begins at an element, that element. A `null` is none:
    /// in a list it holds a place alone, and elsewhere it does not belong (FHIR R4, 2.6.2).
    pub fn resolve<'r>(&self, from: Node<'r>, mut take: impl FnMut(Node<'r>) -> bool) {
        if self.kind.as_deref().is_some_and(|kind| !is_of(from, kind)) {
            return;
        }
        each(&self.steps, from, &mut |node| node.is_null() || take(node));
    }

    /// The first value that it names.
    #[must_use]
    pub fn first<'r>(&self, from: Node<'r>) -> Option<Node<'r>> {
        let mut found = None;
        self.resolve(from, |node| {
            found = Some(node);
            false
        });
        found
    }
}

/// Whether a node is a resource of a type.
fn is_of(node: Node<'_>, kind: &str) -> bool {
    match node.around() {
        None => node.resource().kind() == kind,
        Some(_) => node.get("resourceType").and_then(Node::text) == Some(kind),
    }
}

/// Calls `take` for each value that steps name. The last step is taken on what those before it
/// give, so that a number counts in all of that. As deep as a path has steps.
fn each<'r>(steps: &[Step], from: Node<'r>, take: Take<'_, 'r>) {
    let Some((last, before)) = steps.split_last() else {
        // What a path begins at may be a list of its own.
        from.items().all(take);
        return;
    };
    match last {
        Step::Members(names) => each(before, from, &mut |node| match &**names {
            [name] => node.get(name).is_none_or(|found| found.items().all(&mut *take)),
            names => {
                let mut found = node.children().filter(|child| {
                    child.name().is_some_and(|name| names.iter().any(|other| **other == *name))
                });
                found.all(|found| found.items().all(&mut *take))
            }
        }),
        Step::Twin => each(before, from, &mut |node| node.twin().is_none_or(&mut *take)),
        Step::Number(wanted) => {
            let mut seen = 0;
            each(before, from, &mut |node| {
                seen += 1;
                if seen <= *wanted {
                    return true;
                }
                take(node);
                false
            });
        }
        Step::First => each(before, from, &mut |node| {
            if node.is_null() {
                return true;
            }
            take(node);
            false
        }),
        Step::Where(conditions) => each(before, from, &mut |node| {
            !conditions.iter().all(|condition| condition.holds(node)) || take(node)
        }),
        Step::Extension(url) => each(before, from, &mut |node| {
            let Some(extensions) = node.get("extension") else { return true };
            let is_it = |one: &Node<'r>| one.get("url").and_then(Node::text) == Some(url);
            extensions.items().filter(is_it).all(&mut *take)
        }),
    }
}

impl Condition {
    /// Whether one of its values is its text.
    fn holds(&self, node: Node<'_>) -> bool {
        let mut holds = false;
        each(&self.steps, node, &mut |value| {
            holds = value.scalar() == Some(&self.text);
            !holds
        });
        holds
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::fhir::{Path, Resource, Version};

    const BOTH: [Version; 2] = [Version::R4, Version::R5];
    const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1",
        "contained":[{"resourceType":"Organization","id":"o","name":"ZZ House"},
            {"resourceType":"Practitioner","id":"d","gender":"female"}],
        "identifier":[{"system":"urn:a","value":"1"},
            {"system":"urn:b","use":"official","type":{"coding":[{"code":"X"},{"code":"MR"}]},"value":"2"},
            {"system":"urn:b","use":"old","value":"3"}],
        "name":[{"given":["ZZA",null,"ZZB"],"_given":[null,{"extension":[{"url":"u:g","valueCode":"x"}]}]},
            {"given":["ZZC"]}],
        "_birthDate":{"id":"b","extension":[{"url":"u:t","valueDateTime":"1970-01-01T08:00:00Z"}]},
        "deceasedBoolean":false,"deceasedDateTime":null,"gender":null,
        "extension":[{"url":"u:race","extension":[{"url":"text","valueString":"ZZR"}]}]}"#;

    fn values(resource: &str, path: &str) -> Vec<String> {
        let resource = Resource::parse(resource.as_bytes(), 1 << 20).unwrap();
        let path = Path::read(path, &BOTH).unwrap_or_else(|wrong| panic!("{path}: {wrong}"));
        let mut found = Vec::new();
        path.resolve(resource.root(), |node| {
            found.push(node.scalar().map_or_else(|| node.place().to_string(), str::to_owned));
            true
        });
        let first = path.first(resource.root()).is_some();
        assert_eq!(first, !found.is_empty());
        found
    }

    #[test]
    fn a_path_names_what_fhirpath_names() {
        for (path, wanted) in [
            ("Patient", &["Patient"][..]),
            ("Patient.id", &["p1"]),
            ("Patient.identifier.value", &["1", "2", "3"]),
            ("Patient.identifier[1].value", &["2"]),
            ("Patient.identifier[3].value", &[]),
            ("Patient.identifier.where(system='urn:b').value", &["2", "3"]),
            ("Patient.identifier.where(system='urn:b')[1].value", &["3"]),
            ("Patient.identifier.where( system = 'urn:b' and use='official' ).value", &["2"]),
            ("Patient.identifier.where(type.coding.code='MR').value", &["2"]),
            ("Patient.identifier.where(type.coding.where(code='MR').code='MR').value", &["2"]),
            ("Patient.name.given", &["ZZA", "ZZB", "ZZC"]),
            ("Patient.name.given[3]", &["ZZC"]),
            ("Patient.name.given[1].extension('u:g').value", &["x"]),
            ("Patient.name[0].given.first()", &["ZZA"]),
            ("Patient.name[1].given", &["ZZC"]),
            ("Patient.birthDate", &[]),
            ("Patient.birthDate.id", &["b"]),
            ("Patient.birthDate.extension('u:t').value", &["1970-01-01T08:00:00Z"]),
            (
                "Patient.birthDate.extension.where(url='u:t').value.ofType(dateTime)",
                &["1970-01-01T08:00:00Z"],
            ),
            ("Patient.birthDate.extension('u:t').value.ofType(date)", &[]),
            ("Patient.deceased", &["false"]),
            ("Patient.deceased.ofType(boolean)", &["false"]),
            ("Patient.deceasedBoolean", &["false"]),
            ("Patient.deceased.ofType(dateTime)", &[]),
            ("Patient.gender", &[]),
            ("Patient.extension('u:race').extension('text').value", &["ZZR"]),
            ("Patient.contained.ofType(Organization).name", &["ZZ House"]),
            ("Patient.contained.ofType(Practitioner)", &["Patient.contained[1]"]),
            ("Observation.id", &[]),
        ] {
            assert_eq!(values(PATIENT, path), wanted, "{path}");
        }
    }

    #[test]
    fn a_path_within_another_begins_where_that_ends() {
        let resource = Resource::parse(PATIENT.as_bytes(), 1 << 20).unwrap();
        let each = Path::read("Patient.identifier", &BOTH).unwrap();
        let value = Path::read_within("type.coding[1].code", &each).unwrap();
        let mut found = Vec::new();
        each.resolve(resource.root(), |node| {
            found.push(value.first(node).map(|node| node.element().to_string()));
            true
        });
        assert_eq!(found, [None, Some("Patient.identifier.type.coding.code".to_owned()), None]);
        assert_eq!(value.keys(), ["type".into()]);
        let given = Path::read("Patient.name.given", &BOTH).unwrap();
        let this = Path::read_within("$this", &given).unwrap();
        let name = resource.root().get("name").unwrap();
        let third = given.first(resource.root()).unwrap();
        assert_eq!(this.first(third).and_then(crate::parse::fhir::Node::text), Some("ZZA"));
        let code = Path::read_within("extension('u:g').value", &given).unwrap();
        let second =
            name.children().next().unwrap().get("given").unwrap().children().nth(1).unwrap();
        assert_eq!(code.first(second).and_then(crate::parse::fhir::Node::text), Some("x"));
        assert_eq!(code.first(third), None);
    }
}
