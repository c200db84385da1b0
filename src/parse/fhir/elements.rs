//! Which elements a type of FHIR has, in which release, and whether several: `elements.txt`.
//!
//! Promises: an element that both releases have in the same form is one row; types and elements
//! are found in constant time.
//! Knows nothing of: which values an element may have, which elements are required.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Version;

const ROWS: &str = include_str!("elements.txt");

/// Most parents of a type: a resource's are `DomainResource` and `Resource`.
const PARENTS_MAX: usize = 8;

/// An element of a type, in one form.
#[derive(Debug, PartialEq, Eq)]
pub struct Element {
    /// Its name; of a choice without the type, `value`.
    pub name: &'static str,
    /// Whether its name ends with its type: `valueQuantity`.
    pub is_choice: bool,
    /// Whether it is a list.
    pub is_list: bool,
    /// The types that it may have.
    pub types: Vec<&'static str>,
    /// The release that has it so; nothing where both do.
    pub version: Option<Version>,
}

impl Element {
    /// Whether a release has it so.
    #[must_use]
    pub fn is_in(&self, version: Version) -> bool {
        self.version.is_none_or(|own| own == version)
    }
}

/// A type: a resource, a data type, or a part of one.
#[derive(Debug)]
pub struct Type {
    /// Its name: `Patient`, `HumanName`, `PatientContact`.
    pub name: &'static str,
    /// The type whose elements it has, too.
    pub parent: Option<&'static str>,
    /// The release that has it; nothing where both do.
    pub version: Option<Version>,
    /// Its own elements.
    pub elements: Vec<Element>,
}

struct Table {
    types: HashMap<&'static str, Type>,
    /// By type and name as in JSON: the row among the elements of that type, and the type that
    /// the name says.
    names: HashMap<(&'static str, String), Vec<(usize, &'static str)>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut types = HashMap::new();
    let mut open: Option<Type> = None;
    for row in ROWS.lines() {
        match (row.strip_prefix(' '), &mut open) {
            (Some(row), Some(open)) => open.elements.extend(element(row)),
            (Some(_), None) => {}
            (None, _) => {
                let next = head(row);
                types.extend(open.take().map(|done| (done.name, done)));
                open = next;
            }
        }
    }
    types.extend(open.map(|done| (done.name, done)));
    let mut names: HashMap<_, Vec<_>> = HashMap::new();
    for found in types.values() {
        for (row, element) in found.elements.iter().enumerate() {
            for of in &element.types {
                let name = if element.is_choice {
                    chosen(element.name, of)
                } else {
                    element.name.to_owned()
                };
                names.entry((found.name, name)).or_default().push((row, *of));
            }
        }
    }
    Table { types, names }
});

/// `Patient < DomainResource R5`
fn head(row: &'static str) -> Option<Type> {
    let mut words = row.split(' ').filter(|word| *word != "<");
    let name = words.next().filter(|name| !name.is_empty() && *name != "#")?;
    let mut found = Type { name, parent: None, version: None, elements: Vec::new() };
    for word in words {
        match release(word) {
            Some(version) => found.version = Some(version),
            None => found.parent = Some(word),
        }
    }
    Some(found)
}

/// `value[x] Quantity|string R4`
fn element(row: &'static str) -> Option<Element> {
    let mut words = row.split(' ');
    let name = words.next()?;
    let types = words.next()?.split('|').collect();
    let version = words.next().and_then(release);
    let single = name.trim_end_matches('*');
    let base = single.trim_end_matches("[x]");
    Some(Element { name: base, is_choice: base != single, is_list: single != name, types, version })
}

fn release(word: &str) -> Option<Version> {
    match word {
        "R4" => Some(Version::R4),
        "R5" => Some(Version::R5),
        _ => None,
    }
}

/// The name of a choice of one type: `value` and `dateTime` to `valueDateTime`.
#[must_use]
pub fn chosen(base: &str, of: &str) -> String {
    let mut name = base.to_owned();
    let mut letters = of.chars();
    name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    name.push_str(letters.as_str());
    name
}

/// A type by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Type> {
    TABLE.types.get(name)
}

/// Whether a type is a primitive: a value, not an object. Their names begin with a small letter.
#[must_use]
pub fn is_primitive(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
}

/// A type and those whose elements it has, nearest first.
pub fn lineage(name: &str) -> impl Iterator<Item = &'static Type> {
    std::iter::successors(find(name), |found| found.parent.and_then(find)).take(PARENTS_MAX)
}

/// Whether a type is a resource.
#[must_use]
pub fn is_resource(name: &str) -> bool {
    lineage(name).any(|found| found.name == "Resource")
}

/// The resources that the table has.
pub fn resources() -> impl Iterator<Item = &'static str> {
    let all = TABLE.types.keys().copied();
    all.filter(|name| is_resource(name) && !matches!(*name, "Resource" | "DomainResource"))
}

/// The elements of a type that have a name as in JSON (`valueQuantity`, `status`), each with the
/// type that it has then. Several where the releases differ.
pub fn named(of: &str, name: &str) -> impl Iterator<Item = (&'static Element, &'static str)> {
    let name = name.to_owned();
    lineage(of).flat_map(move |found| {
        let rows = TABLE.names.get(&(found.name, name.clone())).map_or(&[][..], Vec::as_slice);
        rows.iter().filter_map(|(row, of)| found.elements.get(*row).map(|element| (element, *of)))
    })
}

/// The elements of a type that are a choice of that name (`value`).
pub fn choices(of: &str, name: &str) -> impl Iterator<Item = &'static Element> {
    let all = lineage(of).flat_map(|found| &found.elements);
    all.filter(move |element| element.is_choice && element.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read_and_every_type_that_it_names_is_there() {
        let rows = |part: &str| {
            let rows = ROWS.lines().filter(|row| !row.starts_with('#') && !row.is_empty());
            rows.filter(|row| row.starts_with(' ') == (part == "element")).count()
        };
        assert_eq!(TABLE.types.len(), rows("type"));
        assert_eq!(
            TABLE.types.values().map(|of| of.elements.len()).sum::<usize>(),
            rows("element")
        );
        for found in TABLE.types.values() {
            let parents = lineage(found.name).count();
            assert!(parents < PARENTS_MAX, "{}", found.name);
            assert!(found.parent.is_none_or(|parent| find(parent).is_some()), "{}", found.name);
            for element in &found.elements {
                assert!(!element.name.is_empty() && !element.types.is_empty(), "{}", found.name);
                assert_eq!(element.is_choice, element.types.len() > 1 || element.is_choice);
                for of in &element.types {
                    assert!(
                        is_primitive(of) || find(of).is_some(),
                        "{}.{}",
                        found.name,
                        element.name
                    );
                }
            }
        }
    }

    #[test]
    fn an_element_is_found_by_its_name_in_json_with_its_release() {
        let one = |of: &str, name: &str| named(of, name).collect::<Vec<_>>();
        let [(class, coding), (classes, concept)] = one("Encounter", "class")[..] else { panic!() };
        assert_eq!((coding, class.is_list, class.version), ("Coding", false, Some(Version::R4)));
        let found = (concept, classes.is_list, classes.version);
        assert_eq!(found, ("CodeableConcept", true, Some(Version::R5)));
        let [(value, of)] = one("Observation", "valueDateTime")[..] else { panic!() };
        assert_eq!((value.name, of, value.is_choice), ("value", "dateTime", true));
        assert_eq!(one("Patient", "modifierExtension").len(), 1, "of its parent");
        assert_eq!(one("Observation", "value").len(), 0);
        assert_eq!(choices("Observation", "value").count(), 2, "common, and of R5 alone");
        assert!(is_resource("Consent") && !is_resource("Identifier") && !is_resource("Consnet"));
        assert_eq!(chosen("onset", "string"), "onsetString");
    }
}
