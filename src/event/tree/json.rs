//! A tree as JSON: how the journal keeps it and a release holds it.
//!
//! Promises: fields and text read back as they were printed, in their order; a field that
//! [`schema`] does not declare is left out; of sites' own fields every name is read.
//! Knows nothing of: what the fields mean.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::{Key, Kind, Tree, Value, View, key};
use crate::event::schema;

/// Largest whole number that an IEEE double holds exactly, 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

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
        let of_site = self.key == schema::EXTENSION.name;
        let open = self.tree.open_object(self.key);
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match if of_site { key::read(&name) } else { known_key(&name) } {
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
    fn fields_of_sites_own_read_back_whoever_reads_them() {
        let json = r#"{"extension":{"arrivedBy":"AMB","zz9":[1,null]}}"#;
        let tree: Tree = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&tree).unwrap(), json);
        let odd: Tree = serde_json::from_str(r#"{"extension":{"a b":1,"":2}}"#).unwrap();
        assert_eq!(serde_json::to_string(&odd).unwrap(), "{}");
    }

    #[test]
    fn a_field_that_is_not_declared_is_left_out() {
        let tree: Tree =
            serde_json::from_str(r#"{"patient":{"later":[{"x":1}]},"new":2}"#).unwrap();
        assert_eq!(serde_json::to_string(&tree).unwrap(), "{}");
        assert!(serde_json::from_str::<Tree>("[1]").is_err());
    }
}
