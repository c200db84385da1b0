//! What stands in a resource: its values, and where each of them stands.
//!
//! Promises: members and items come in the order of the bytes; a value says its place in words that
//! hold no value; neither a resource nor a value prints what is in it.
//! Knows nothing of: JSON's syntax, which elements a type has.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::{ID_BYTES_MAX, NAME_BYTES_MAX};

/// One resource, which borrows from its bytes.
pub struct Resource<'b> {
    pub(super) kind: &'b str,
    /// Each value before what is inside it.
    pub(super) slots: Vec<Slot<'b>>,
}

/// One value in the tree.
pub(super) struct Slot<'b> {
    pub(super) name: Name<'b>,
    /// The value around it.
    pub(super) around: u32,
    /// The first value behind it that is not inside it.
    pub(super) end: u32,
    /// The byte of the text where it begins.
    pub(super) at: u32,
    pub(super) value: Value<'b>,
}

impl<'b> Slot<'b> {
    pub(super) const fn new(name: Name<'b>, around: u32, at: u32, value: Value<'b>) -> Self {
        Self { name, around, end: 0, at, value }
    }
}

/// How a value is called in what is around it.
#[derive(Clone)]
pub(super) enum Name<'b> {
    Member(Cow<'b, str>),
    /// An item of a list, from 0.
    Item(u32),
}

pub(super) enum Value<'b> {
    Null,
    Boolean(bool),
    /// As it is written.
    Number(&'b str),
    Text(Cow<'b, str>),
    List,
    Object,
}

impl fmt::Debug for Resource<'_> {
    /// Its type and size alone: the rest is a patient's.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Resource({}, {} values)", self.kind, self.slots.len())
    }
}

impl<'b> Resource<'b> {
    /// The resource type: letters, at most [`KIND_BYTES_MAX`](super::KIND_BYTES_MAX).
    #[must_use]
    pub const fn kind(&self) -> &'b str {
        self.kind
    }

    /// The whole resource.
    #[must_use]
    pub const fn root(&self) -> Node<'_> {
        Node { of: self, at: 0 }
    }

    /// How many values it has; every [`Node::position`] is below.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.slots.len()
    }

    /// Its ID on its server; nothing where there is none, or one that FHIR does not allow.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.root().get("id")?.text().filter(|id| is_id(id))
    }

    /// `meta.versionId`; nothing where there is none, or one that FHIR does not allow.
    #[must_use]
    pub fn version_id(&self) -> Option<&str> {
        self.root().get("meta")?.get("versionId")?.text().filter(|id| is_id(id))
    }

    /// `meta.lastUpdated`, as it is written.
    #[must_use]
    pub fn last_updated(&self) -> Option<&str> {
        self.root().get("meta")?.get("lastUpdated")?.text()
    }

    /// The contained resource that a reference such as `#p1` names.
    #[must_use]
    pub fn contained(&self, reference: &str) -> Option<Node<'_>> {
        let id = reference.strip_prefix('#')?;
        let mut contained = self.root().get("contained")?.children();
        contained.find(|resource| resource.get("id").and_then(Node::text) == Some(id))
    }

    fn slot(&self, at: u32) -> Option<&Slot<'b>> {
        self.slots.get(at as usize)
    }
}

/// Whether a text may be an `id` (FHIR R4, 2.24.0.1).
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// A name as it may be printed: one that FHIR could have, else `?`, since what stands where a name
/// should may be anything.
pub(super) fn printed_name(name: &str) -> &str {
    let is_name = name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if is_name { name } else { "?" }
}

/// One value of a resource.
#[derive(Clone, Copy)]
pub struct Node<'r> {
    of: &'r Resource<'r>,
    at: u32,
}

impl fmt::Debug for Node<'_> {
    /// Its place alone.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Node({})", self.place())
    }
}

impl PartialEq for Node<'_> {
    /// Whether it is the same value of the same resource.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.of, other.of) && self.at == other.at
    }
}

impl Eq for Node<'_> {}

impl<'r> Node<'r> {
    fn slot(self) -> Option<&'r Slot<'r>> {
        self.of.slot(self.at)
    }

    pub(super) fn value(self) -> Option<&'r Value<'r>> {
        self.slot().map(|slot| &slot.value)
    }

    /// The resource that it is of.
    #[must_use]
    pub const fn resource(self) -> &'r Resource<'r> {
        self.of
    }

    /// A member of an object.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Self> {
        self.children().find(|child| child.name() == Some(name))
    }

    /// Members of an object or items of a list, in their order.
    #[must_use]
    pub fn children(self) -> Children<'r> {
        let end = self.slot().map_or(0, |slot| slot.end);
        Children { of: self.of, next: self.at + 1, end }
    }

    /// Of a list its items; of anything else it alone. FHIR writes one value of an element that may
    /// have several as a list of one.
    #[must_use]
    pub fn items(self) -> Children<'r> {
        if self.is_list() {
            self.children()
        } else {
            let end = self.slot().map_or(0, |slot| slot.end);
            Children { of: self.of, next: self.at, end }
        }
    }

    /// What it is called in the object around it; nothing in a list, and of the root.
    #[must_use]
    pub fn name(self) -> Option<&'r str> {
        match &self.slot()?.name {
            Name::Member(name) => Some(name),
            Name::Item(_) => None,
        }
    }

    /// Its place in the list around it, from 0.
    #[must_use]
    pub fn number(self) -> Option<usize> {
        match &self.slot()?.name {
            Name::Item(number) if self.at != 0 => Some(*number as usize),
            Name::Item(_) | Name::Member(_) => None,
        }
    }

    /// The object or list around it.
    #[must_use]
    pub fn around(self) -> Option<Self> {
        let slot = self.slot().filter(|_| self.at != 0)?;
        Some(Self { of: self.of, at: slot.around })
    }

    /// Its text, where it is one.
    #[must_use]
    pub fn text(self) -> Option<&'r str> {
        match self.value()? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number as it is written, `6.90`.
    #[must_use]
    pub fn number_text(self) -> Option<&'r str> {
        match self.value()? {
            Value::Number(text) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self.value()? {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// Text, number or `true` and `false`, as text.
    #[must_use]
    pub fn scalar(self) -> Option<&'r str> {
        match self.value()? {
            Value::Text(text) => Some(text),
            Value::Number(text) => Some(text),
            Value::Boolean(true) => Some("true"),
            Value::Boolean(false) => Some("false"),
            Value::Null | Value::List | Value::Object => None,
        }
    }

    /// Whether it is `null`. In a list of primitives that says that its item has an extension alone
    /// (FHIR R4, 2.6.2.3).
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(self.value(), Some(Value::Null))
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self.value(), Some(Value::List))
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        matches!(self.value(), Some(Value::Object))
    }

    /// The ID and the extensions of a primitive, `_birthDate` of `birthDate`; of an item of a list
    /// the item of that list with the same number.
    #[must_use]
    pub fn twin(self) -> Option<Self> {
        if let Some(number) = self.number() {
            let list = self.around()?.twin().filter(|twin| twin.is_list())?;
            return list.children().nth(number).filter(|item| item.is_object());
        }
        let name = self.name()?;
        let mut around = self.around()?.children();
        around.find(|other| other.name().and_then(|other| other.strip_prefix('_')) == Some(name))
    }

    /// The first extension with a URL: its own, or that of the primitive that it is.
    #[must_use]
    pub fn extension(self, url: &str) -> Option<Self> {
        let holder = if self.is_object() { self } else { self.twin()? };
        let mut extensions = holder.get("extension")?.items();
        extensions.find(|extension| extension.get("url").and_then(Node::text) == Some(url))
    }

    /// Its number in the resource, below [`Resource::size`].
    #[must_use]
    pub const fn position(self) -> usize {
        self.at as usize
    }

    /// The numbers of it and all that is inside it.
    #[must_use]
    pub fn span(self) -> Range<usize> {
        let end = self.slot().map_or(self.at, |slot| slot.end);
        self.position()..end as usize
    }

    /// The byte of the text where it begins, behind a byte order mark.
    #[must_use]
    pub fn byte(self) -> usize {
        self.slot().map_or(0, |slot| slot.at as usize)
    }

    /// What has nothing inside it, of it and all that is inside it, in their order: texts, numbers,
    /// `true`, `false`, `null`, and what is empty.
    pub fn leaves(self) -> impl Iterator<Item = Self> + use<'r> {
        let span = self.span();
        let of = self.of;
        let all = (span.start as u32..span.end as u32).map(move |at| Self { of, at });
        all.filter(|node| node.slot().is_some_and(|slot| slot.end == node.at + 1))
    }

    /// Where it stands, for people: `Observation.component[1].valueQuantity.value`. Numbers are from
    /// 0, as in FHIRPath.
    #[must_use]
    pub const fn place(self) -> Place<'r> {
        Place { node: self, numbers: true }
    }

    /// Which element it is, whichever of several: `Observation.component.valueQuantity.value`.
    #[must_use]
    pub const fn element(self) -> Place<'r> {
        Place { node: self, numbers: false }
    }
}

/// The members of an object, or the items of a list.
#[derive(Clone)]
pub struct Children<'r> {
    of: &'r Resource<'r>,
    next: u32,
    end: u32,
}

impl<'r> Iterator for Children<'r> {
    type Item = Node<'r>;

    fn next(&mut self) -> Option<Node<'r>> {
        if self.next >= self.end {
            return None;
        }
        let node = Node { of: self.of, at: self.next };
        self.next = node.slot()?.end;
        Some(node)
    }
}

/// Where a value stands; names and numbers only, so that it can be printed.
#[derive(Clone, Copy)]
pub struct Place<'r> {
    node: Node<'r>,
    numbers: bool,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(around) = self.node.around() else { return out.write_str(self.node.of.kind) };
        // As deep as the tree is at most.
        Self { node: around, ..*self }.fmt(out)?;
        match (self.node.name(), self.node.number()) {
            (Some(name), _) => write!(out, ".{}", printed_name(name)),
            (None, Some(number)) if self.numbers => write!(out, "[{number}]"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Resource<'_> {
        Resource::parse(text.as_bytes(), 1 << 20).unwrap()
    }

    #[test]
    fn a_value_is_reached_says_its_place_and_keeps_how_it_was_written() {
        let resource = parse(
            r#"{"resourceType":"Observation","id":"o-1","meta":{"versionId":"7","lastUpdated":"2026-01-02T03:04:05Z"},
            "contained":[{"resourceType":"Patient","id":"p"}],
            "component":[{"x":1},{"valueQuantity":{"value":6.90,"n\u0061me":"ZZ\u00e9"}}],
            "gone":null,"JOHN DOE":true,"none":[]}"#,
        );
        assert_eq!((resource.kind(), resource.id()), ("Observation", Some("o-1")));
        assert_eq!(resource.version_id(), Some("7"));
        assert_eq!(resource.last_updated(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(
            resource.contained("#p").map(|node| node.place().to_string()).as_deref(),
            Some("Observation.contained[0]")
        );
        assert!(resource.contained("p").is_none() && resource.contained("#q").is_none());
        let root = resource.root();
        let second = root.get("component").unwrap().children().nth(1).unwrap();
        let value = second.get("valueQuantity").unwrap().get("value").unwrap();
        assert_eq!(value.number_text(), Some("6.90"));
        assert_eq!(value.place().to_string(), "Observation.component[1].valueQuantity.value");
        assert_eq!(value.element().to_string(), "Observation.component.valueQuantity.value");
        assert_eq!(second.get("valueQuantity").unwrap().get("name").unwrap().text(), Some("ZZé"));
        assert!(root.get("gone").unwrap().is_null() && root.get("absent").is_none());
        let elements: Vec<_> = root.leaves().map(|leaf| leaf.element().to_string()).collect();
        assert_eq!(
            elements,
            [
                "Observation.resourceType",
                "Observation.id",
                "Observation.meta.versionId",
                "Observation.meta.lastUpdated",
                "Observation.contained.resourceType",
                "Observation.contained.id",
                "Observation.component.x",
                "Observation.component.valueQuantity.value",
                "Observation.component.valueQuantity.name",
                "Observation.gone",
                "Observation.?",
                "Observation.none",
            ]
        );
        assert!(root.leaves().all(|leaf| second.span().contains(&leaf.position())
            == leaf.place().to_string().starts_with("Observation.component[1]")));
        assert_eq!(
            format!("{resource:?}"),
            format!("Resource(Observation, {} values)", resource.size())
        );
        assert_eq!(format!("{value:?}"), "Node(Observation.component[1].valueQuantity.value)");
    }

    #[test]
    fn a_primitive_has_a_twin_with_its_extensions() {
        let resource = parse(
            r#"{"resourceType":"Patient","birthDate":"1970","_birthDate":{"extension":[{"url":"u","valueCode":"x"}]},
            "name":[{"given":["a","b"],"_given":[null,{"id":"g"}]}],
            "extension":[{"url":"v","valueCode":"y"}]}"#,
        );
        let root = resource.root();
        let birth = root.get("birthDate").unwrap();
        assert_eq!(birth.twin().unwrap().place().to_string(), "Patient._birthDate");
        let code = |node: Node<'_>, url| {
            node.extension(url).unwrap().get("valueCode").unwrap().text().map(str::to_owned)
        };
        assert_eq!(code(birth, "u").as_deref(), Some("x"));
        assert_eq!(code(root, "v").as_deref(), Some("y"));
        let given = root.get("name").unwrap().children().next().unwrap().get("given").unwrap();
        let twins: Vec<_> = given
            .children()
            .map(|item| item.twin().and_then(|twin| twin.get("id"))?.text())
            .collect();
        assert_eq!(twins, [None, Some("g")]);
    }

    #[test]
    fn an_id_that_fhir_does_not_allow_is_none() {
        for (id, is) in [
            ("a-1.B", true),
            ("", false),
            ("a_b", false),
            ("../x", false),
            (&"x".repeat(65), false),
        ] {
            assert_eq!(is_id(id), is, "{id}");
            let text = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
            assert_eq!(parse(&text).id().is_some(), is);
        }
        assert_eq!(parse(r#"{"resourceType":"Patient","id":7}"#).id(), None);
    }
}
