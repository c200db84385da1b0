//! An element that is open, and what it says in JSON once it has closed.
//!
//! Promises: values stand in the order of the document; the items of `given` and `_given` keep beside
//! each other.
//! Knows nothing of: XML.

use std::fmt::Write;

use crate::parse::fhir::write::write_text;
use crate::parse::xml::Wrong;

/// What an element is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// An object of a type.
    Object(&'static str),
    /// A value of a type.
    Primitive(&'static str),
    /// What holds a resource, which stands in its place in JSON.
    Holder,
    /// Not in the table.
    Unknown,
}

/// How often an element may be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Often {
    Once,
    /// Once in one release, often in another.
    Either,
    List,
    /// Not in the table: a list where it is there twice.
    Unknown,
}

/// An element that is open.
pub(super) struct Part {
    /// What it is called in what is around it.
    pub(super) name: String,
    pub(super) sort: Sort,
    pub(super) often: Often,
    /// The type, where it is a resource.
    pub(super) kind: Option<String>,
    /// The attribute `value`.
    pub(super) value: Option<String>,
    members: Vec<Member>,
}

struct Member {
    name: String,
    often: Often,
    items: Vec<Said>,
}

/// What an element says in JSON: a value, and the IDs and extensions of a primitive.
#[derive(Default)]
pub(super) struct Said {
    pub(super) value: Option<String>,
    twin: Option<String>,
}

impl Said {
    pub(super) const fn value(value: String) -> Self {
        Self { value: Some(value), twin: None }
    }
}

impl Part {
    pub(super) const fn new(name: String, sort: Sort, often: Often) -> Self {
        Self { name, sort, often, kind: None, value: None, members: Vec::new() }
    }

    /// Takes a text for a member: of an attribute, or a narrative.
    pub(super) fn take_text(&mut self, name: &str, text: &str) {
        self.take(name, Often::Unknown, Said::value(quoted(text)));
    }

    /// Takes what an element within it says.
    pub(super) fn take(&mut self, name: &str, often: Often, said: Said) {
        // Mostly it is the one before: repetitions stand beside each other.
        match self.members.iter_mut().rev().find(|member| member.name == name) {
            Some(member) => member.items.push(said),
            None => {
                let name = name.to_owned();
                self.members.push(Member { name, often, items: vec![said] });
            }
        }
    }

    /// How many members it has.
    pub(super) const fn size(&self) -> usize {
        self.members.len()
    }

    /// How many elements of a name have closed within it.
    pub(super) fn often(&self, name: &str) -> usize {
        let member = self.members.iter().find(|member| member.name == name);
        member.map_or(0, |member| member.items.len())
    }

    /// What it says; nothing where nothing was in it.
    ///
    /// # Errors
    /// Something in it is there twice that may be there once.
    pub(super) fn close(mut self) -> Result<Said, Wrong> {
        let value = self.value.take();
        match (self.sort, value) {
            (Sort::Primitive(of), value) => {
                let value = value.map(|value| scalar(of, &value));
                Ok(Said { value, twin: self.object()? })
            }
            (Sort::Unknown, Some(value)) => {
                Ok(Said { value: Some(quoted(&value)), twin: self.object()? })
            }
            (Sort::Object(_) | Sort::Unknown | Sort::Holder, value) => {
                if let Some(value) = value {
                    self.take_text("value", &value);
                }
                Ok(Said { value: self.object()?, twin: None })
            }
        }
    }

    /// It as an object; nothing where it is empty.
    fn object(&self) -> Result<Option<String>, Wrong> {
        let mut out = String::from("{");
        if let Some(kind) = &self.kind {
            // Letters alone; writing to a string does not fail.
            write!(out, "\"resourceType\":\"{kind}\"").map_err(|_| Wrong::NotWellFormed)?;
        }
        for member in &self.members {
            member.write(&mut out);
        }
        out.push('}');
        Ok((out.len() > 2).then_some(out))
    }
}

impl Member {
    fn write(&self, out: &mut String) {
        let is_list = match self.often {
            Often::List => true,
            // PROMISE-11: an element that is there too often stands there as often in JSON, which costs
            // the resource that it is of when that is read, and nothing beside it.
            Often::Once => {
                let items = self.items.chunks(1);
                return items.for_each(|item| self.write_items(item, false, out));
            }
            Often::Either | Often::Unknown => self.items.len() > 1,
        };
        self.write_items(&self.items, is_list, out);
    }

    fn write_items(&self, items: &[Said], is_list: bool, out: &mut String) {
        self.write_as("", (items, is_list), out, |said| said.value.as_deref());
        self.write_as("_", (items, is_list), out, |said| said.twin.as_deref());
    }

    /// Writes what its items have in one respect, under its name behind a mark; nothing where none
    /// has it.
    fn write_as(
        &self,
        mark: &str,
        (items, is_list): (&[Said], bool),
        out: &mut String,
        part: impl Fn(&Said) -> Option<&str>,
    ) {
        if items.iter().all(|said| part(said).is_none()) {
            return;
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&quoted(&format!("{mark}{}", self.name)));
        out.push(':');
        let mut items = items.iter().map(|said| part(said).unwrap_or("null"));
        if !is_list {
            out.extend(items.next());
            return;
        }
        out.push('[');
        out.extend(items.next());
        for item in items {
            out.push(',');
            out.push_str(item);
        }
        out.push(']');
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_text(text, &mut out);
    // It was text, and only ASCII was put into it.
    String::from_utf8(out).unwrap_or_default()
}

/// A value of a primitive type, as JSON writes it; a text where it is not of its type.
fn scalar(of: &str, value: &str) -> String {
    let is_it = match of {
        "boolean" => matches!(value, "true" | "false"),
        "decimal" | "integer" | "unsignedInt" | "positiveInt" => is_number(value),
        // Also integer64, which JSON has as a text (FHIR R5, 2.1.28.0.1).
        _ => false,
    };
    if is_it { value.to_owned() } else { quoted(value) }
}

/// Whether JSON has it as a number (RFC 8259, 6).
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (base, power) = match text.split_once(['e', 'E']) {
        Some((base, power)) => (base, Some(power)),
        None => (text, None),
    };
    let (whole, part) = match base.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (base, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && part.is_none_or(digits)
        && power.is_none_or(|power| digits(power.strip_prefix(['+', '-']).unwrap_or(power)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_json_has_is_one_and_keeps_its_text() {
        for number in ["0", "-0", "6.90", "1e5", "1.5E-3", "10", "0.0"] {
            assert_eq!(scalar("decimal", number), number);
            assert!(serde_json::from_str::<f64>(number).is_ok(), "{number}");
        }
        for text in
            ["", "-", "01", "+1", ".5", "5.", "1e", "1e+", "0x1", "NaN", "1 ", "1.2.3", "--1"]
        {
            assert_eq!(scalar("decimal", text), format!("\"{text}\""));
            assert!(
                serde_json::from_str::<serde_json::value::Number>(text).is_err() || text == "1 "
            );
        }
        assert_eq!(scalar("boolean", "true"), "true");
        assert_eq!(scalar("boolean", "yes"), "\"yes\"");
        assert_eq!(scalar("integer64", "5"), "\"5\"");
        assert_eq!(scalar("string", "tr\"ue"), r#""tr\"ue""#);
    }
}
