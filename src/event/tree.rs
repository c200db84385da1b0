//! The tree that an event's data is: flat, ordered, and silent.
//!
//! Promises: fields keep the order they were written in, so that the same event prints the
//! same bytes; an object or a list that got nothing leaves no trace; `Debug` shows no value.
//! Knows nothing of: which fields there may be; that is [`super::schema`].
//!
//! Nodes lie in one vector in the order they are printed, each container knowing where it
//! ends, and all text lies in one string: two allocations an event. With `serde_json::Value`
//! each field is a string, each object a map; making and dropping those cost a mapped ADT more
//! than all the rest of its mapping (docs/adr/0004).

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::schema;

/// The name of a field, as the schema declares it; empty for an element of a list.
pub type Key = &'static str;

/// Largest whole number that an IEEE double holds exactly, 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The fields of an event. It is written from front to back and then only read.
#[derive(Clone, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    text: String,
}

#[derive(Clone, Copy)]
struct Node {
    key: Key,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Null,
    Bool(bool),
    Number(f64),
    Text {
        start: u32,
        end: u32,
    },
    /// Up to the node before `end`.
    List {
        end: u32,
    },
    Object {
        end: u32,
    },
}

/// What a value is.
#[derive(Clone, Copy, PartialEq)]
pub enum Value<'t> {
    /// HL7's `""`: the sender says that there is none. Not the same as an absent field.
    Null,
    /// True or false.
    Bool(bool),
    /// A finite number. Where the digits matter, the text stands beside it.
    Number(f64),
    /// Text, unescaped.
    Text(&'t str),
    /// Several values; see [`View::children`].
    List,
    /// Fields; see [`View::children`].
    Object,
}

/// A container that is being written.
#[derive(Clone, Copy)]
#[must_use = "a container that is not closed has no end"]
pub struct Open(usize);

/// A point to go back to.
#[derive(Clone, Copy)]
pub struct Mark {
    nodes: usize,
    text: usize,
}

impl Tree {
    /// An event's data: an object, still empty.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(64, 1024)
    }

    /// The same, with room for some values and bytes of text.
    #[must_use]
    pub fn with_capacity(values: usize, text_bytes: usize) -> Self {
        let mut tree =
            Self { nodes: Vec::with_capacity(values + 1), text: String::with_capacity(text_bytes) };
        tree.nodes.push(Node { key: "", kind: Kind::Object { end: 1 } });
        tree
    }

    /// The outermost object.
    #[must_use]
    pub const fn root(&self) -> View<'_> {
        View { tree: self, at: 0 }
    }

    /// Length of all text, in bytes.
    #[must_use]
    pub const fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Begins an object.
    pub fn open_object(&mut self, key: Key) -> Open {
        self.open(key, Kind::Object { end: 0 })
    }

    /// Begins a list.
    pub fn open_list(&mut self, key: Key) -> Open {
        self.open(key, Kind::List { end: 0 })
    }

    fn open(&mut self, key: Key, kind: Kind) -> Open {
        self.nodes.push(Node { key, kind });
        Open(self.nodes.len() - 1)
    }

    /// Ends a container. One that got nothing is taken back; false then.
    pub fn close(&mut self, open: Open) -> bool {
        let end = self.end();
        if end as usize == open.0 + 1 {
            self.nodes.truncate(open.0);
            return false;
        }
        if let Some(node) = self.nodes.get_mut(open.0) {
            match &mut node.kind {
                Kind::List { end: at } | Kind::Object { end: at } => *at = end,
                Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text { .. } => {}
            }
        }
        true
    }

    /// Writes text.
    #[inline]
    pub fn text(&mut self, key: Key, text: &str) {
        self.text_with(key, |all| all.push_str(text));
    }

    /// Writes text that `write` appends.
    #[inline]
    pub fn text_with(&mut self, key: Key, write: impl FnOnce(&mut String)) {
        let start = narrow(self.text.len());
        write(&mut self.text);
        let end = narrow(self.text.len());
        self.push(key, Kind::Text { start, end });
    }

    /// Writes HL7's `""`.
    pub fn null(&mut self, key: Key) {
        self.push(key, Kind::Null);
    }

    /// Writes true or false.
    pub fn boolean(&mut self, key: Key, value: bool) {
        self.push(key, Kind::Bool(value));
    }

    /// Writes a finite number.
    pub fn number(&mut self, key: Key, value: f64) {
        self.push(key, Kind::Number(value));
    }

    /// Writes a copy of a value of this or another tree under another key.
    pub fn copy(&mut self, key: Key, from: View<'_>) {
        match from.value() {
            Value::Null => self.null(key),
            Value::Bool(value) => self.boolean(key, value),
            Value::Number(value) => self.number(key, value),
            Value::Text(text) => self.text(key, text),
            Value::List | Value::Object => {
                let is_list = from.value() == Value::List;
                let open = if is_list { self.open_list(key) } else { self.open_object(key) };
                for child in from.children() {
                    self.copy(child.key(), child);
                }
                self.close(open);
            }
        }
    }

    /// The point that has been reached.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { nodes: self.nodes.len(), text: self.text.len() }
    }

    /// Whether something was written since a mark.
    #[must_use]
    pub const fn grew(&self, mark: Mark) -> bool {
        self.nodes.len() > mark.nodes
    }

    /// Takes back what was written since a mark.
    pub fn rewind(&mut self, mark: Mark) {
        self.nodes.truncate(mark.nodes);
        self.text.truncate(mark.text);
    }

    /// The first value written since a mark.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Option<View<'_>> {
        (self.nodes.len() > mark.nodes).then_some(View { tree: self, at: mark.nodes })
    }

    /// Whether the value at a mark equals one of its elder siblings in an open list.
    #[must_use]
    pub fn repeats(&self, open: Open, mark: Mark) -> bool {
        let Some(new) = self.since(mark) else { return false };
        let mut at = open.0 + 1;
        while at < mark.nodes {
            let old = View { tree: self, at };
            if old == new {
                return true;
            }
            at = old.end();
        }
        false
    }

    /// Position of a mark among the nodes, for [`Tree::paths`].
    #[must_use]
    pub const fn position(mark: Mark) -> usize {
        mark.nodes
    }

    /// Calls `take` with position and path, such as `patient.names[0].family`, of every value
    /// that is not a container.
    pub fn paths(&self, mut take: impl FnMut(usize, &str)) {
        let mut path = String::new();
        walk(self.root(), &mut path, &mut take);
    }

    fn push(&mut self, key: Key, kind: Kind) {
        self.nodes.push(Node { key, kind });
    }

    fn end(&self) -> u32 {
        narrow(self.nodes.len())
    }
}

/// A message gives at most 64 MiB of text (`normalize`), so positions fit.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn walk(view: View<'_>, path: &mut String, take: &mut impl FnMut(usize, &str)) {
    let is_list = view.value() == Value::List;
    let length = path.len();
    for (index, child) in view.children().enumerate() {
        if is_list {
            path.push_str(&format!("[{index}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(child.key());
        }
        match child.value() {
            Value::List | Value::Object => walk(child, path, take),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
                take(child.at, path);
            }
        }
        path.truncate(length);
    }
}

/// A value in a tree.
#[derive(Clone, Copy)]
pub struct View<'t> {
    tree: &'t Tree,
    at: usize,
}

impl<'t> View<'t> {
    fn node(&self) -> Option<&'t Node> {
        self.tree.nodes.get(self.at)
    }

    /// The position behind it. The outermost object ends where the nodes do, so that it need not
    /// be told of each.
    fn end(&self) -> usize {
        if self.at == 0 {
            return self.tree.nodes.len();
        }
        match self.node().map(|node| node.kind) {
            Some(Kind::List { end } | Kind::Object { end }) => end as usize,
            _ => self.at + 1,
        }
    }

    /// Its name; empty for an element of a list.
    #[must_use]
    pub fn key(&self) -> Key {
        self.node().map_or("", |node| node.key)
    }

    /// What it is.
    #[must_use]
    pub fn value(&self) -> Value<'t> {
        match self.node().map(|node| node.kind) {
            None | Some(Kind::Null) => Value::Null,
            Some(Kind::Bool(value)) => Value::Bool(value),
            Some(Kind::Number(value)) => Value::Number(value),
            Some(Kind::Text { start, end }) => {
                let text = self.tree.text.get(start as usize..end as usize);
                Value::Text(text.unwrap_or_default())
            }
            Some(Kind::List { .. }) => Value::List,
            Some(Kind::Object { .. }) => Value::Object,
        }
    }

    /// Its text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&'t str> {
        match self.value() {
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List | Value::Object => None,
        }
    }

    /// Its elements or fields; none where it is neither list nor object.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'t> {
        let tree = self.tree;
        let end = self.end();
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let child = Self { tree, at };
            at = child.end();
            Some(child)
        })
    }

    /// A field of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Self> {
        match self.value() {
            Value::Object => self.children().find(|child| child.key() == key),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List => None,
        }
    }

    /// The value behind names joined by dots, such as `message.history`; through a list by a
    /// position, such as `observations[0].value`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<Self> {
        let mut found = *self;
        for step in path.split('.') {
            found = match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
                None => found.get(step)?,
                Some((name, index)) => {
                    found.get(name)?.children().nth(index.parse::<usize>().ok()?)?
                }
            };
        }
        Some(found)
    }
}

impl PartialEq for View<'_> {
    fn eq(&self, other: &Self) -> bool {
        let mut left = self.children();
        let mut right = other.children();
        let same = |(one, two): (View<'_>, View<'_>)| one.key() == two.key() && one == two;
        self.value() == other.value()
            && left.by_ref().zip(right.by_ref()).all(same)
            && left.next().is_none()
            && right.next().is_none()
    }
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.root() == other.root()
    }
}

// PROMISE-10: an event in a log or a panic shows its size at most.
impl fmt::Debug for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tree({} values)", self.nodes.len().saturating_sub(1))
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("View(..)")
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.root().serialize(out)
    }
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.value() {
            Value::Null => out.serialize_unit(),
            Value::Bool(value) => out.serialize_bool(value),
            Value::Number(number) => serialize_number(number, out),
            Value::Text(text) => out.serialize_str(text),
            Value::List => {
                let mut seq = out.serialize_seq(None)?;
                for child in self.children() {
                    seq.serialize_element(&child)?;
                }
                seq.end()
            }
            Value::Object => {
                let mut map = out.serialize_map(None)?;
                for child in self.children() {
                    map.serialize_entry(child.key(), &child)?;
                }
                map.end()
            }
        }
    }
}

/// Whole numbers print without a fraction: `7`, not `7.0`.
#[expect(clippy::cast_possible_truncation, reason = "bounded by 2^53 in the condition")]
fn serialize_number<S: Serializer>(number: f64, out: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < EXACT_MAX {
        out.serialize_i64(number as i64)
    } else {
        out.serialize_f64(number)
    }
}

/// The declared name equal to a text. What is not declared, such as a field of a later version
/// after a downgrade, has none, and no contract could name it.
fn known_key(name: &str) -> Option<Key> {
    static KEYS: OnceLock<HashMap<&'static str, Key>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let fields = schema::parts().into_iter().flat_map(|part| part.fields);
        fields.map(|field| (field.name, field.name)).collect()
    });
    keys.get(name).copied()
}

impl<'de> serde::Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let mut tree = Self::default();
        Reading { tree: &mut tree, key: "" }.deserialize(input)?;
        match tree.root().value() {
            Value::Object => Ok(tree),
            _ => Err(serde::de::Error::custom("an object is wanted")),
        }
    }
}

/// Reads one JSON value into a tree.
struct Reading<'t> {
    tree: &'t mut Tree,
    key: Key,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.tree.push(self.key, Kind::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.tree.push(self.key, Kind::Bool(value));
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "the digits stand beside it as text")]
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.tree.push(self.key, Kind::Number(value as f64));
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "the digits stand beside it as text")]
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.tree.push(self.key, Kind::Number(value as f64));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.tree.push(self.key, Kind::Number(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.tree.text(self.key, value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let open = self.tree.open_list(self.key);
        while seq.next_element_seed(Reading { tree: &mut *self.tree, key: "" })?.is_some() {}
        self.tree.close(open);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let is_root = self.tree.nodes.is_empty();
        let open = self.tree.open_object(self.key);
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match known_key(&name) {
                Some(key) => map.next_value_seed(Reading { tree: &mut *self.tree, key })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !self.tree.close(open) && is_root {
            self.tree.push("", Kind::Object { end: 1 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_survives_json_and_keeps_its_order() {
        let json = r#"{"visit":null,"patient":{"names":[{"family":"v"},{"given":["a","b"]}],"deceased":true},"observations":[{"value":{"number":2.5,"text":"2.50"}},{"value":{"number":12345678901}}]}"#;
        let tree: Tree = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&tree).unwrap(), json);
        let names = tree.root().at("patient.names").unwrap();
        assert_eq!(names.children().count(), 2);
        assert_eq!(tree.root().at("patient.names[1].given[1]").unwrap().as_text(), Some("b"));
        assert_eq!(tree.root().at("patient.names.family"), None);
        let mut again = Tree::new();
        for child in tree.root().children() {
            again.copy(child.key(), child);
        }
        assert!(again == tree);
    }

    #[test]
    fn what_got_nothing_leaves_no_trace() {
        let mut tree = Tree::new();
        let outer = tree.open_object("patient");
        let inner = tree.open_list("names");
        assert!(!tree.close(inner));
        assert!(!tree.close(outer));
        tree.text("type", "x");
        let mark = tree.mark();
        tree.text("event", "y");
        assert!(tree.grew(mark));
        tree.rewind(mark);
        assert_eq!(serde_json::to_string(&tree).unwrap(), r#"{"type":"x"}"#);
    }

    #[test]
    fn a_list_knows_what_it_repeats() {
        let mut tree = Tree::new();
        let list = tree.open_list("names");
        for (family, repeats) in [("a", false), ("b", false), ("a", true)] {
            let mark = tree.mark();
            let name = tree.open_object("");
            tree.text("family", family);
            tree.close(name);
            assert_eq!(tree.repeats(list, mark), repeats);
        }
    }

    #[test]
    fn a_field_that_is_not_declared_is_left_out() {
        let tree: Tree =
            serde_json::from_str(r#"{"patient":{"later":[{"x":1}]},"new":2}"#).unwrap();
        assert_eq!(serde_json::to_string(&tree).unwrap(), "{}");
        assert!(serde_json::from_str::<Tree>("[1]").is_err());
    }

    #[test]
    fn paths_name_every_value() {
        let json = r#"{"patient":{"names":[{"given":["a","b"]}],"birthDate":"2026"}}"#;
        let tree: Tree = serde_json::from_str(json).unwrap();
        let mut paths = Vec::new();
        tree.paths(|_, path| paths.push(path.to_owned()));
        assert_eq!(
            paths,
            ["patient.names[0].given[0]", "patient.names[0].given[1]", "patient.birthDate"]
        );
    }

    /// PROMISE-10
    #[test]
    fn a_value_does_not_print() {
        let mut tree = Tree::new();
        tree.text("family", "ZZCANARY");
        let shown = format!("{tree:?} {:?}", tree.root().get("family"));
        assert_eq!(shown, "Tree(1 values) Some(View(..))");
    }
}
