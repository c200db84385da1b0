//! Picks an event's fields by a recipe.
//!
//! Promises: what is not picked is not copied; a value whose class the tier forbids is dropped,
//! counted and its fate noted.
//! Knows nothing of: the envelope.

use crate::event::{Tree, Value, View};

use super::fate::{Fate, Fates};
use super::recipe::Pick;
use super::release::Counts;
use super::tier::class_of_value;
use super::{RealmKeys, Tier};

pub(super) struct Picking<'k> {
    pub data: Tree,
    pub counts: Counts,
    pub fates: Fates,
    pub keys: &'k RealmKeys,
    pub tier: Tier,
}

impl Picking<'_> {
    pub fn fields(&mut self, from: View<'_>, picks: &[(&'static str, Pick)]) {
        for (key, pick) in picks {
            if let Some(value) = from.get(key) {
                self.field(key, value, pick);
            }
        }
    }

    fn field(&mut self, key: &'static str, value: View<'_>, pick: &Pick) {
        match (pick, value.value()) {
            (_, Value::Null) => {
                if let Some(line) = pick.line() {
                    self.fates.add(line, Fate::Kept);
                }
                self.data.null(key);
            }
            (Pick::Keep { line }, _) => {
                self.counts.kept += 1;
                self.fates.add(*line, Fate::Kept);
                self.data.copy(key, value);
            }
            (Pick::Hash { line, path }, Value::Text(text)) => {
                self.counts.tokenized += 1;
                self.fates.add(*line, Fate::Hashed);
                let hash = self.keys.hash(path, text);
                self.data.text(key, &hash);
            }
            (Pick::Value { line }, Value::Object) => self.value(key, value, *line),
            (_, Value::List) => {
                let list = self.data.open_list(key);
                for element in value.children() {
                    self.field("", element, pick);
                }
                self.data.close(list);
            }
            (Pick::Fields(picks), Value::Object) => {
                let object = self.data.open_object(key);
                self.fields(value, picks);
                self.data.close(object);
            }
            // A shape that the schema does not have; nothing of it leaves.
            (Pick::Hash { .. } | Pick::Value { .. } | Pick::Fields(_), _) => {
                self.counts.removed += 1;
                if let Some(line) = pick.line() {
                    self.fates.add(line, Fate::Removed);
                }
            }
        }
    }

    /// An observation's value, where its class may leave. Below tier identified a code leaves
    /// by system and code, and a sender's words do not.
    fn value(&mut self, key: &'static str, value: View<'_>, line: usize) {
        let class = class_of_value(value);
        if !self.tier.allows_kept(class) {
            self.counts.removed += 1;
            self.fates.add(line, Fate::Removed);
            return;
        }
        self.counts.kept += 1;
        self.fates.add(line, Fate::Kept);
        let object = self.data.open_object(key);
        for child in value.children() {
            match (child.key(), child.value()) {
                ("code", Value::Object) => self.code("code", child),
                ("moreCodes", Value::List) => {
                    let list = self.data.open_list("moreCodes");
                    for code in child.children() {
                        self.code("", code);
                    }
                    self.data.close(list);
                }
                ("attachment", _) if self.tier != Tier::Identified => {
                    self.counts.removed += 1;
                    self.fates.add(line, Fate::Removed);
                }
                (key, _) => self.data.copy(key, child),
            }
        }
        self.data.close(object);
    }

    fn code(&mut self, key: &'static str, code: View<'_>) {
        let object = self.data.open_object(key);
        for kept in crate::event::code::CODE.kept {
            if let Some(value) = code.get(kept) {
                self.data.copy(kept, value);
            }
        }
        self.data.close(object);
    }
}
