//! Picks an event's fields by a recipe.
//!
//! Promises: what is not picked is not copied; a value whose class the tier forbids, or that its
//! transform cannot make anything of, is dropped, counted and its fate noted.
//! Knows nothing of: the envelope.

use jiff::civil;

use crate::event::code::CODE;
use crate::event::observation;
use crate::event::schema::Class;
use crate::event::{Subject, Tree, Value, View};

use super::fate::{Fate, Fates};
use super::recipe::{ATTACHMENT, Line, Pick, Place};
use super::release::Counts;
use super::tier::class_of_value;
use super::transform::{Around, Made};
use super::{RealmKeys, Tier, Transform};

pub(super) struct Picking<'k> {
    pub data: Tree,
    pub counts: Counts,
    pub fates: Fates,
    pub keys: &'k RealmKeys,
    pub tier: Tier,
    pub lines: &'k [Line],
    pub today: civil::Date,
    pub happened: Option<&'k str>,
    pub subject: &'k Subject,
}

impl Picking<'_> {
    pub fn fields(&mut self, from: View<'_>, picks: &[Place]) {
        for place in picks {
            if let Some(value) = from.get(place.from) {
                self.field(place.to, value, from, &place.pick);
            }
        }
    }

    fn field(&mut self, key: &'static str, value: View<'_>, parent: View<'_>, pick: &Pick) {
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
            (_, Value::List) => {
                let list = self.data.open_list(key);
                for element in value.children() {
                    self.field("", element, parent, pick);
                }
                self.data.close(list);
            }
            (Pick::Make { line }, _) => self.make(key, value, parent, *line),
            (Pick::Value { line, text }, Value::Object) => self.value(key, value, *line, *text),
            (Pick::Fields(picks), Value::Object) => {
                let object = self.data.open_object(key);
                self.fields(value, picks);
                self.data.close(object);
            }
            // A shape that the schema does not have; nothing of it leaves.
            (Pick::Value { .. } | Pick::Fields(_), _) => self.remove(pick.line(), Fate::Removed),
        }
    }

    fn remove(&mut self, line: Option<usize>, fate: Fate) {
        self.counts.removed += 1;
        if let Some(line) = line {
            self.fates.add(line, fate);
        }
    }

    /// What a transform makes of a value; nothing of a value that it can make nothing of.
    fn make(&mut self, key: &'static str, value: View<'_>, parent: View<'_>, at: usize) {
        let Some(line) = self.lines.get(at) else { return };
        let Self { today, happened, subject, keys, .. } = *self;
        let around = Around { parent, today, happened, subject, keys };
        match line.transform.make(&line.path, value, &around) {
            None => return self.remove(Some(at), Fate::Undone),
            Some(Made::Text(text)) => self.data.text(key, &text),
            Some(Made::Number(number)) => self.data.number(key, number),
        }
        if line.transform == Transform::Hash {
            self.counts.tokenized += 1;
            self.fates.add(at, Fate::Hashed);
        } else {
            self.counts.generalized += 1;
            self.fates.add(at, Fate::Generalized);
        }
    }

    /// An observation's value, where its class may leave. Below tier identified a code leaves
    /// by system and code, and a sender's words do not.
    fn value(&mut self, key: &'static str, value: View<'_>, line: usize, text: bool) {
        let class = class_of_value(value);
        let is_words = !class.is_structured() && !text;
        if is_words || !self.tier.allows_kept(class) {
            return self.remove(Some(line), Fate::Removed);
        }
        self.counts.kept += 1;
        self.fates.add(line, Fate::Kept);
        let object = self.data.open_object(key);
        for child in value.children() {
            match (child.key(), child.value()) {
                ("code", Value::Object) => self.kept("code", child, CODE.kept),
                ("moreCodes", Value::List) => {
                    let list = self.data.open_list("moreCodes");
                    for code in child.children() {
                        self.kept("", code, CODE.kept);
                    }
                    self.data.close(list);
                }
                (ATTACHMENT, _) if self.tier != Tier::Identified => {
                    self.remove(Some(line), Fate::Removed);
                }
                (ATTACHMENT, Value::Object) => {
                    // The document itself is not what `value` names.
                    self.kept(ATTACHMENT, child, observation::ATTACHMENT.kept);
                }
                // Below tier identified a number's own text leaves, and not what stands beside it.
                ("text", _) if self.tier != Tier::Identified && !is_own_text(value, class) => {
                    self.remove(Some(line), Fate::Removed);
                }
                ("comparator" | "separator", _)
                    if self.tier != Tier::Identified && !child.as_text().is_some_and(is_sign) =>
                {
                    self.remove(Some(line), Fate::Removed);
                }
                (key, _) => self.data.copy(key, child),
            }
        }
        self.data.close(object);
    }

    /// The fields of a part that a part which is kept lets out.
    fn kept(&mut self, key: &'static str, part: View<'_>, fields: &[&'static str]) {
        let object = self.data.open_object(key);
        for field in fields {
            if let Some(value) = part.get(field) {
                self.data.copy(field, value);
            }
        }
        self.data.close(object);
    }
}

/// Whether a value's text is a time, or says its comparator and numbers and nothing else. SN.1 and SN.3
/// may hold any digits, and what is no comparator is in the text alone.
fn is_own_text(value: View<'_>, class: Class) -> bool {
    let word = |key| value.get(key).and_then(|it| it.as_text()).unwrap_or_default();
    let text = word("text").trim();
    if class == Class::Quasi {
        return text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.:TZ".contains(&byte));
    }
    let says = |key, text: &str| match value.get(key).and_then(|it| it.as_number()) {
        Some(number) => text.parse() == Ok(number),
        None => text.is_empty(),
    };
    let Some(numbers) = text.strip_prefix(word("comparator")) else { return false };
    match word("separator") {
        "" => says("number", numbers) && value.get("number2").is_none(),
        separator => numbers.match_indices(separator).any(|(at, _)| {
            let (first, rest) = numbers.split_at(at);
            let second = rest.strip_prefix(separator).unwrap_or_default();
            says("number", first) && says("number2", second)
        }),
    }
}

/// Whether a text is what HL7 has before and between numbers (SN.1, SN.3).
fn is_sign(text: &str) -> bool {
    text.bytes().all(|byte| b"+-.<>=/:".contains(&byte))
}
