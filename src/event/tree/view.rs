//! Reading a tree: its values, from any of them inwards.
//!
//! Promises: a look costs no allocation, but for [`Tree::paths`]; two values are equal where
//! they print the same, whatever tree they stand in.
//! Knows nothing of: how a tree is written.

use std::fmt;

use super::{Key, Kind, Node, Tree};

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

/// A value in a tree.
#[derive(Clone, Copy)]
pub struct View<'t> {
    tree: &'t Tree,
    at: usize,
}

impl<'t> View<'t> {
    pub(super) const fn new(tree: &'t Tree, at: usize) -> Self {
        Self { tree, at }
    }

    fn node(&self) -> Option<&'t Node> {
        self.tree.nodes.get(self.at)
    }

    /// The position behind it. The outermost object ends where the nodes do, so that it need not
    /// be told of each.
    pub(super) fn end(&self) -> usize {
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

    /// Whether this is its name. Mostly both are the schema's own, which is seen without a look at their
    /// letters.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let key = self.key();
        key.len() == name.len() && (std::ptr::eq(key, name) || key == name)
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

    /// The number that it is.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self.value() {
            Value::Number(number) => Some(number),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List | Value::Object => None,
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
            Value::Object => self.children().find(|child| child.is_named(key)),
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

impl Tree {
    /// The outermost object.
    #[must_use]
    pub const fn root(&self) -> View<'_> {
        View { tree: self, at: 0 }
    }

    /// Calls `take` with position and path, such as `patient.names[0].family`, of every value
    /// that is not a container.
    pub fn paths(&self, mut take: impl FnMut(usize, &str)) {
        let mut path = String::new();
        walk(self.root(), &mut path, &mut take);
    }
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

impl fmt::Debug for View<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("View(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
