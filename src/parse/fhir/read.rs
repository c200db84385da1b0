//! JSON to the tree.
//!
//! Promises: serde_json reads each object and each list for itself and its values as raw text, so
//! that no number becomes a float and its recursion is not used; depth and number of values are
//! bounded before anything is kept.
//! Knows nothing of: element names, but `resourceType`.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::parse::xml::line_and_column;

use super::node::{Name, Resource, Slot, Value, printed_name};
use super::{
    DEPTH_MAX, KIND_BYTES_MAX, MEMBERS_MAX, Malformed, NAME_BYTES_MAX, NODES_MAX, NUMBER_BYTES_MAX,
    TEXT_BYTES_MAX, Wrong, bounded,
};

/// The byte order mark, which some servers send though RFC 8259 forbids it.
const MARK: char = '\u{feff}';
/// Of so many members, each is compared with those before it; more are looked up.
const COMPARED_MAX: usize = 16;

impl<'b> Resource<'b> {
    /// Reads a resource.
    ///
    /// # Errors
    /// What is wrong with it, and where: more than `bytes_max` bytes, not UTF-8, not JSON, no
    /// object with a `resourceType`, one of the bounds of this room, an element that is there twice.
    pub fn parse(bytes: &'b [u8], bytes_max: usize) -> Result<Self, Malformed> {
        let text = text_of(bytes, bytes_max)?;
        let mut tree = Tree {
            text,
            // A value takes some 24 bytes in the resources of the corpus.
            slots: Vec::with_capacity((text.len() / 24 + 8).min(NODES_MAX)),
        };
        let kind = tree.root()?;
        Ok(Self { kind, slots: tree.slots })
    }
}

/// The text of bytes within a bound, without a byte order mark.
pub(super) fn text_of(bytes: &[u8], bytes_max: usize) -> Result<&str, Malformed> {
    // Places in the tree are 32 bits wide.
    if bytes.len() > bytes_max.min(1 << 31) {
        return Err(Malformed { wrong: Wrong::TooLong, line: 1, column: 1, place: None });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let (line, column) = line_and_column(before);
        Malformed { wrong: Wrong::NotUtf8, line, column, place: None }
    })?;
    Ok(text.strip_prefix(MARK).unwrap_or(text))
}

/// What stands at a place of a text.
pub(super) fn malformed(text: &str, at: usize, wrong: Wrong, place: Option<Box<str>>) -> Malformed {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let (line, column) = line_and_column(before);
    Malformed { wrong, line, column, place }
}

/// Where in a text a part of it begins.
pub(super) fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// What serde_json found wrong in a part of a text. Its own words may quote the text.
pub(super) fn not_well_formed(text: &str, part: &str, error: &serde_json::Error) -> Malformed {
    let lines = error.line().saturating_sub(1);
    let start = match lines {
        0 => 0,
        lines => memchr::memchr_iter(b'\n', part.as_bytes()).nth(lines - 1).map_or(0, |at| at + 1),
    };
    let at = offset(text, part) + start + error.column().saturating_sub(1);
    malformed(text, at.min(text.len()), Wrong::NotWellFormed, None)
}

/// What a JSON value is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Object,
    List,
    Text,
    True,
    False,
    Null,
    Number,
}

pub(super) fn sort(raw: &str) -> Sort {
    match raw.as_bytes().first() {
        Some(b'{') => Sort::Object,
        Some(b'[') => Sort::List,
        Some(b'"') => Sort::Text,
        Some(b't') => Sort::True,
        Some(b'f') => Sort::False,
        Some(b'n') => Sort::Null,
        _ => Sort::Number,
    }
}

/// A text, unescaped; nothing where an escape stands for no character.
pub(super) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        // serde_json read it as a string, so it has both quotes.
        return raw.get(1..raw.len().saturating_sub(1)).map(Cow::Borrowed);
    }
    serde_json::from_str::<Text<'_>>(raw).ok().map(|text| text.0)
}

/// A JSON string that borrows where it can.
struct Text<'b>(Cow<'b, str>);

impl<'b> Deserialize<'b> for Text<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'b> Visitor<'b> for Seen {
            type Value = Text<'b>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'b str) -> Result<Text<'b>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'b>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Seen)
    }
}

/// The members of an object in their order, at most one more than [`MEMBERS_MAX`].
pub(super) struct Members<'b>(pub(super) Vec<(Cow<'b, str>, &'b str)>);

impl<'b> Deserialize<'b> for Members<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'b> Visitor<'b> for Seen {
            type Value = Members<'b>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Members<'b>, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some(name) = map.next_key::<Text<'b>>()? {
                    if members.len() > MEMBERS_MAX {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    members.push((name.0, map.next_value::<&'b RawValue>()?.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Seen)
    }
}

impl<'b> Members<'b> {
    /// The members of an object, no name twice.
    pub(super) fn read(text: &'b str, raw: &'b str) -> Result<Self, Malformed> {
        let members: Self =
            serde_json::from_str(raw).map_err(|error| not_well_formed(text, raw, &error))?;
        let at = |wrong| malformed(text, offset(text, raw), wrong, None);
        if members.0.len() > MEMBERS_MAX {
            return Err(at(Wrong::TooMany));
        }
        if members.0.iter().any(|(name, _)| name.len() > NAME_BYTES_MAX) {
            return Err(at(Wrong::NameTooLong));
        }
        if let Some((name, value)) = members.repeated() {
            let place = Some(printed_name(name).into());
            return Err(malformed(text, offset(text, value), Wrong::Repeated, place));
        }
        Ok(members)
    }

    /// A member that has the name of one before it.
    fn repeated(&self) -> Option<(&str, &'b str)> {
        let mut members = self.0.iter().enumerate();
        let found = if self.0.len() <= COMPARED_MAX {
            members.find(|(at, (name, _))| self.0.iter().take(*at).any(|(other, _)| other == name))
        } else {
            let mut seen = HashSet::with_capacity(self.0.len());
            members.find(|(_, (name, _))| !seen.insert(name))
        };
        found.map(|(_, (name, value))| (name.as_ref(), *value))
    }

    /// The raw value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'b str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }
}

/// The items of a list in their order, at most one more than a bound.
pub(super) struct Items<'b, const MAX: usize>(pub(super) Vec<&'b str>);

impl<'b, const MAX: usize> Deserialize<'b> for Items<'b, MAX> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen<const MAX: usize>;
        impl<'b, const MAX: usize> Visitor<'b> for Seen<MAX> {
            type Value = Items<'b, MAX>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<Items<'b, MAX>, A::Error> {
                let mut items = Vec::with_capacity(4);
                while items.len() <= MAX {
                    match list.next_element::<&'b RawValue>()? {
                        Some(item) => items.push(item.get()),
                        None => return Ok(Items(items)),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Seen::<MAX>)
    }
}

/// The tree while it grows: each value before what is inside it.
struct Tree<'b> {
    text: &'b str,
    slots: Vec<Slot<'b>>,
}

impl<'b> Tree<'b> {
    /// Reads all of it; gives its `resourceType`.
    fn root(&mut self) -> Result<&'b str, Malformed> {
        let text: &'b str = self.text;
        let raw = text.trim_ascii();
        let whole = |wrong| malformed(text, offset(text, raw), wrong, None);
        if sort(raw) != Sort::Object {
            // What is not even JSON is said to be that.
            let any: Result<&RawValue, _> = serde_json::from_str(raw);
            any.map_err(|error| not_well_formed(text, raw, &error))?;
            return Err(whole(Wrong::NotAnObject));
        }
        self.slots.push(Slot::new(Name::Item(0), 0, 0, Value::Object));
        let members = Members::read(text, raw)?;
        let kind = match members.get("resourceType").map(|raw| (raw, sort(raw), unescape(raw))) {
            None => return Err(whole(Wrong::NoKind)),
            Some((_, Sort::Text, Some(Cow::Borrowed(kind)))) if is_kind(kind) => kind,
            Some((raw, ..)) => {
                return Err(malformed(text, offset(text, raw), Wrong::BadKind, None));
            }
        };
        self.members(members, 0, 1).map_err(|mut malformed| {
            let place = malformed.place.take().unwrap_or_default();
            let place = match place.strip_prefix('.') {
                Some(_) => format!("{kind}{place}"),
                None if place.is_empty() => kind.to_owned(),
                None => format!("{kind}.{place}"),
            };
            malformed.place = Some(bounded(place));
            malformed
        })?;
        self.close(0);
        Ok(kind)
    }

    fn members(
        &mut self,
        members: Members<'b>,
        around: u32,
        depth: usize,
    ) -> Result<(), Malformed> {
        members
            .0
            .into_iter()
            .try_for_each(|(name, raw)| self.value(Name::Member(name), raw, around, depth))
    }

    /// A value and all that is inside it.
    fn value(
        &mut self,
        name: Name<'b>,
        raw: &'b str,
        around: u32,
        depth: usize,
    ) -> Result<(), Malformed> {
        let at = offset(self.text, raw);
        let number = self.slots.len();
        if number >= NODES_MAX {
            return Err(malformed(self.text, at, Wrong::TooMany, None));
        }
        let sort = sort(raw);
        let value = match sort {
            Sort::Object => Ok(Value::Object),
            Sort::List => Ok(Value::List),
            Sort::Null => Ok(Value::Null),
            Sort::True => Ok(Value::Boolean(true)),
            Sort::False => Ok(Value::Boolean(false)),
            Sort::Number if raw.len() <= NUMBER_BYTES_MAX => Ok(Value::Number(raw)),
            Sort::Text if raw.len() <= TEXT_BYTES_MAX => {
                unescape(raw).map(Value::Text).ok_or(Wrong::Escape)
            }
            Sort::Number | Sort::Text => Err(Wrong::ValueTooLong),
        };
        let inside = match (value, sort) {
            (Ok(_), Sort::Object | Sort::List) if depth >= DEPTH_MAX => Err(Wrong::TooDeep),
            (value, _) => value,
        };
        // 32 bits hold both: their bounds are far below.
        let (here, byte) = (number as u32, at as u32);
        let done = match inside {
            Err(wrong) => Err(malformed(self.text, at, wrong, None)),
            Ok(value) => {
                self.slots.push(Slot::new(name.clone(), around, byte, value));
                self.inside(sort, raw, here, depth + 1)
            }
        };
        self.close(number);
        done.map_err(|mut malformed| {
            let rest = malformed.place.take().unwrap_or_default();
            let dot = if rest.is_empty() || rest.starts_with(['.', '[']) { "" } else { "." };
            let own = match &name {
                Name::Member(name) => format!(".{}", printed_name(name)),
                Name::Item(number) => format!("[{number}]"),
            };
            malformed.place = Some(format!("{own}{dot}{rest}").into());
            malformed
        })
    }

    fn inside(
        &mut self,
        sort: Sort,
        raw: &'b str,
        here: u32,
        depth: usize,
    ) -> Result<(), Malformed> {
        match sort {
            Sort::Object => self.members(Members::read(self.text, raw)?, here, depth),
            Sort::List => {
                let items: Items<'b, NODES_MAX> = serde_json::from_str(raw)
                    .map_err(|error| not_well_formed(self.text, raw, &error))?;
                items
                    .0
                    .into_iter()
                    .zip(0..)
                    .try_for_each(|(raw, number)| self.value(Name::Item(number), raw, here, depth))
            }
            Sort::Text | Sort::True | Sort::False | Sort::Null | Sort::Number => Ok(()),
        }
    }

    /// All that is inside a value was read.
    fn close(&mut self, number: usize) {
        let end = self.slots.len();
        if let Some(slot) = self.slots.get_mut(number) {
            slot.end = end as u32;
        }
    }
}

/// Whether a text may be a resource type's.
#[must_use]
pub(super) fn is_kind(text: &str) -> bool {
    (1..=KIND_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        Resource::parse(bytes, 1 << 20).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_resource_is_refused_with_its_place_and_without_a_value() {
        let deep =
            format!(r#"{{"resourceType":"Patient","a":{}{}}}"#, "[".repeat(64), "]".repeat(64));
        let many = format!(r#"{{"resourceType":"Patient","a":[{}0]}}"#, "0,".repeat(NODES_MAX));
        let members: String = (0..600).map(|number| format!(",\"n{number}\":0")).collect();
        let members = format!(r#"{{"resourceType":"Patient"{members}}}"#);
        for (text, wanted) in [
            ("", "line 1, column 1: it is not well-formed JSON"),
            ("[]", "line 1, column 1: it is not a JSON object"),
            ("\"ZZ\"", "line 1, column 1: it is not a JSON object"),
            ("{}", "line 1, column 1: it has no resourceType"),
            (
                r#"{"resourceType":"Pa tient"}"#,
                "line 1, column 17: resourceType is not a name of letters, at most 64",
            ),
            (
                r#"{"resourceType":["Patient"]}"#,
                "line 1, column 17: resourceType is not a name of letters, at most 64",
            ),
            (
                "{\"resourceType\":\"Patient\",\n \"name\": ZZ}",
                "line 2, column 10: it is not well-formed JSON",
            ),
            (r#"{"resourceType":"Patient"} x"#, "line 1, column 28: it is not well-formed JSON"),
            (
                "{\"resourceType\":\"Patient\",\n\"name\":[{},{\"family\":\"ZZ\",\n \"family\":\"ZZ\"}]}",
                "line 3, column 11, Patient.name[1].family: an object has two elements of one name",
            ),
            (
                r#"{"resourceType":"Patient","id":"a","id":"b"}"#,
                "line 1, column 41, id: an object has two elements of one name",
            ),
            (
                r#"{"resourceType":"Patient","id":"\ud800"}"#,
                "line 1, column 32, Patient.id: a text has an escape that stands for no character",
            ),
            (
                &deep,
                "line 1, column 94, Patient.a[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: objects and lists nest deeper than 64",
            ),
            (
                &many,
                "line 1, column 262170, Patient.a: it has more elements than a resource may have",
            ),
            (&members, "line 1, column 1: it has more elements than a resource may have"),
            (
                &format!(r#"{{"resourceType":"Patient","x":{}}}"#, "1".repeat(65)),
                "line 1, column 31, Patient.x: a text or a number is longer than it may be",
            ),
            (
                &format!(r#"{{"resourceType":"Patient","{}":1}}"#, "x".repeat(65)),
                "line 1, column 1: an element's name is longer than 64 bytes",
            ),
        ] {
            assert_eq!(refused(text.as_bytes()), wanted);
        }
        assert_eq!(refused(b"{\n\"a\":\"\xff\"}"), "line 2, column 6: the bytes are not UTF-8");
        let wrong = Resource::parse(b"{\"resourceType\":\"Patient\"}", 10).unwrap_err();
        assert_eq!(wrong.wrong, Wrong::TooLong);
    }

    #[test]
    fn a_mark_and_blanks_around_are_skipped() {
        let resource =
            Resource::parse("\u{feff} \n{\"resourceType\":\"Patient\"}\n".as_bytes(), 99);
        assert_eq!(resource.unwrap().kind(), "Patient");
    }

    #[test]
    fn the_largest_text_is_bounded_and_the_deepest_tree_is_taken() {
        let long =
            format!(r#"{{"resourceType":"Binary","data":"{}"}}"#, "A".repeat(TEXT_BYTES_MAX));
        let wrong = Resource::parse(long.as_bytes(), usize::MAX).unwrap_err();
        assert_eq!(
            (wrong.wrong, wrong.place.as_deref()),
            (Wrong::ValueTooLong, Some("Binary.data"))
        );
        let deep =
            format!(r#"{{"resourceType":"Patient","a":{}{}}}"#, "[".repeat(63), "]".repeat(63));
        let deepest = Resource::parse(deep.as_bytes(), 1 << 20).unwrap();
        assert_eq!(deepest.compact(), deep.as_bytes());
    }
}
