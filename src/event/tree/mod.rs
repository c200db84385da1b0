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
//!
//! Reading order: what a tree is, here; `view` (reading it), `build` (writing it), `key` (names that
//! are not in the code), `json`.

mod view;
mod build;
mod key;
mod json;

use std::fmt;

pub use build::{Mark, Open};
pub use key::intern;
pub use view::{Value, View};

/// The name of a field, as the schema declares it; empty for an element of a list.
pub type Key = &'static str;

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

    /// Length of all text, in bytes.
    #[must_use]
    pub const fn text_len(&self) -> usize {
        self.text.len()
    }

    fn push(&mut self, key: Key, kind: Kind) {
        self.nodes.push(Node { key, kind });
    }
}

// PROMISE-10: an event in a log or a panic shows its size at most.
impl fmt::Debug for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tree({} values)", self.nodes.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROMISE-10
    #[test]
    fn a_value_does_not_print() {
        let mut tree = Tree::new();
        tree.text("family", "ZZCANARY");
        let shown = format!("{tree:?} {:?}", tree.root().get("family"));
        assert_eq!(shown, "Tree(1 values) Some(View(..))");
    }
}
