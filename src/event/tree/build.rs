//! Writing a tree, from front to back.
//!
//! Promises: what was written since a mark can be taken back, whole; what was closed without
//! content is gone.
//! Knows nothing of: the order of fields; they stand as they were written.

use super::{Key, Kind, Node, Tree, Value, View};

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
        (self.nodes.len() > mark.nodes).then_some(View::new(self, mark.nodes))
    }

    /// Whether the value at a mark equals one of its elder siblings in an open list.
    #[must_use]
    pub fn repeats(&self, open: Open, mark: Mark) -> bool {
        let Some(new) = self.since(mark) else { return false };
        let mut at = open.0 + 1;
        while at < mark.nodes {
            let old = View::new(self, at);
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

    fn end(&self) -> u32 {
        narrow(self.nodes.len())
    }
}

/// A message gives at most 64 MiB of text (`normalize`), so positions fit.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
