//! What a route's payloads look like: compiled to a check, and printed as JSON Schema.
//!
//! Promises: a payload that the check lets pass satisfies the schema, and the other way round; what
//! a check says is where, never what.
//! Knows nothing of: the envelope around the data, and how it came to be.

use serde_json::{Map, Value as Json, json};

use crate::event::observation::CONTENT_BYTES_MAX;
use crate::event::schema::{Class, parts_of};
use crate::event::{EventType, Value, View};

use super::transform::Form;

/// Longest text of a payload, in characters. A whole report as text has some hundred thousand.
pub const TEXT_CHARS_MAX: usize = 1 << 20;
/// The content of a document is such a text.
const _: () = assert!(CONTENT_BYTES_MAX <= TEXT_CHARS_MAX);
/// Most elements of a list of a payload. A waveform (OBX-5, NA) has some ten thousand.
pub const ELEMENTS_MAX: usize = 100_000;
/// Longest payload with its envelope, in bytes; a broker takes 16 MiB (RabbitMQ 4, `max_message_size`).
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// What the data of a route may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub(super) members: Vec<Member>,
}

/// A field of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub name: &'static str,
    pub many: bool,
    /// Whether it has to be there, and be something.
    pub required: bool,
    pub doc: &'static str,
    pub kind: Kind,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value.
    Leaf { form: Form, class: Class, safe_harbor: Option<char> },
    /// Fields.
    Fields(Vec<Member>),
}

impl Member {
    /// Whether it, or something in it, has to be there.
    pub fn is_required(&self) -> bool {
        self.required
            || match &self.kind {
                Kind::Leaf { .. } => false,
                Kind::Fields(members) => members.iter().any(Self::is_required),
            }
    }
}

impl Form {
    /// What its text looks like; nothing where that is free, or it is no text.
    #[must_use]
    pub const fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Text | Self::Number | Self::Bool => None,
            Self::Date => Some(
                "^[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}(:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,9})?)?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?$",
            ),
            Self::Digest => Some("^[0-9a-f]{32}$"),
            Self::Masked => Some("^\\*{4}"),
            Self::Year => Some("^([0-9]{4}|90\\+)$"),
            Self::Week => Some("^[0-9]{4}-W[0-9]{2}$"),
            Self::Age => Some("^([0-9]{1,2}|90\\+)$"),
            Self::AgeBand => Some("^([0-9]{1,2}-[0-9]{1,2}|90\\+)$"),
            Self::Zip3 => Some("^[0-9]{3}$"),
            Self::State => Some("^[A-Z]{2}$"),
        }
    }

    /// The same as [`Form::pattern`], by hand: each event has a dozen texts for each route, and an
    /// expression takes ten times as long.
    fn holds(self, text: &str) -> bool {
        // Characters are counted only where bytes do not settle it.
        if text.len() > TEXT_CHARS_MAX && text.chars().count() > TEXT_CHARS_MAX {
            return false;
        }
        let mut rest = Rest(text.as_bytes());
        let is_so = match self {
            Self::Text | Self::Number | Self::Bool => return true,
            Self::Masked => return rest.word(b"****"),
            Self::Date => rest.date(),
            Self::Digest => rest.take(32, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            Self::Year => rest.word(b"90+") || rest.digits(4),
            Self::Week => rest.digits(4) && rest.word(b"-W") && rest.digits(2),
            Self::Age => rest.word(b"90+") || rest.short_number(),
            Self::AgeBand => {
                rest.word(b"90+") || (rest.short_number() && rest.word(b"-") && rest.short_number())
            }
            Self::Zip3 => rest.digits(3),
            Self::State => rest.take(2, |byte| byte.is_ascii_uppercase()),
        };
        is_so && rest.0.is_empty()
    }
}

/// What of a text is not looked at yet. What is asked for and not there is not taken.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    fn take(&mut self, count: usize, is_one: impl Fn(&u8) -> bool) -> bool {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) if taken.iter().all(is_one) => {
                self.0 = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    fn digits(&mut self, count: usize) -> bool {
        self.take(count, u8::is_ascii_digit)
    }

    /// One digit or two.
    fn short_number(&mut self) -> bool {
        self.digits(2) || self.digits(1)
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let rest = self.0.strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A year, and as much more of date, time and zone as there is.
    fn date(&mut self) -> bool {
        self.digits(4) && (!self.word(b"-") || self.digits(2) && (!self.word(b"-") || self.day()))
    }

    fn day(&mut self) -> bool {
        self.digits(2) && (!self.word(b"T") || self.digits(2) && self.minutes() && self.zone())
    }

    fn minutes(&mut self) -> bool {
        !self.word(b":")
            || self.digits(2) && (!self.word(b":") || self.digits(2) && self.fraction())
    }

    fn fraction(&mut self) -> bool {
        !self.word(b".") || (0..9).take_while(|_| self.digits(1)).count() > 0
    }

    fn zone(&mut self) -> bool {
        self.word(b"Z")
            || !(self.word(b"+") || self.word(b"-"))
            || self.digits(2) && self.word(b":") && self.digits(2)
    }
}

impl Shape {
    /// Whether the data of an event satisfies it.
    ///
    /// # Errors
    /// The path of the first field that does not.
    // PROMISE-7: checked once more, whatever picked it.
    pub fn check(&self, kind: EventType, data: View<'_>) -> Result<(), String> {
        check_fields(self.of(kind), data).map_err(|at| at.unwrap_or_else(|| "data".to_owned()))
    }

    /// The schema of the data of an event (JSON Schema 2020-12).
    #[must_use]
    pub fn json_schema(&self, kind: EventType) -> Json {
        schema_of(self.of(kind))
    }

    /// What an event of a type can have of it.
    fn of(&self, kind: EventType) -> impl Iterator<Item = &Member> {
        let parts = parts_of(kind);
        self.members.iter().filter(move |member| parts.contains(&member.name))
    }
}

/// On a mistake, the path from this object inwards; none where it is the object itself.
fn check_fields<'m>(
    members: impl Iterator<Item = &'m Member>,
    object: View<'_>,
) -> Result<(), Option<String>> {
    let mut found = 0;
    // Mostly both stand in the order of the contract.
    let mut next = object.children().peekable();
    for member in members {
        let at_once = next.next_if(|child| child.is_named(member.name));
        match at_once.or_else(|| object.get(member.name)) {
            Some(value) => {
                found += 1;
                check_member(member, value).map_err(Some)?;
            }
            None if member.is_required() => return Err(Some(member.name.to_owned())),
            None => {}
        }
    }
    // Something that no line of the contract names.
    if object.children().count() == found { Ok(()) } else { Err(None) }
}

/// On a mistake, the path from this member inwards.
fn check_member(member: &Member, value: View<'_>) -> Result<(), String> {
    let name = member.name;
    if value.value() == Value::Null {
        return if member.is_required() { Err(name.to_owned()) } else { Ok(()) };
    }
    let label = || if member.many { format!("{name}[]") } else { name.to_owned() };
    if !member.many {
        return check_value(member, value, label);
    }
    if value.value() != Value::List {
        return Err(label());
    }
    for (index, element) in value.children().enumerate() {
        if index >= ELEMENTS_MAX {
            return Err(label());
        }
        // An element may be said to be none, but where something of it has to be there.
        if element.value() == Value::Null && !member.is_required() {
            continue;
        }
        check_value(member, element, label)?;
    }
    Ok(())
}

fn check_value(member: &Member, value: View<'_>, label: impl Fn() -> String) -> Result<(), String> {
    match (&member.kind, value.value()) {
        (Kind::Fields(members), Value::Object) => {
            check_fields(members.iter(), value).map_err(|inner| match inner {
                Some(inner) => format!("{}.{inner}", label()),
                None => label(),
            })
        }
        (Kind::Leaf { form: Form::Number, .. }, Value::Number(number)) if number.is_finite() => {
            Ok(())
        }
        (Kind::Leaf { form: Form::Bool, .. }, Value::Bool(_)) => Ok(()),
        (Kind::Leaf { form: Form::Number | Form::Bool, .. }, _) => Err(label()),
        (Kind::Leaf { form, .. }, Value::Text(text)) if form.holds(text) => Ok(()),
        (Kind::Leaf { .. } | Kind::Fields(_), _) => Err(label()),
    }
}

fn schema_of<'m>(members: impl Iterator<Item = &'m Member>) -> Json {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for member in members {
        if member.is_required() {
            required.push(Json::from(member.name));
        }
        properties.insert(member.name.to_owned(), schema_of_member(member));
    }
    let mut schema = json!({
        "type": "object", "properties": properties, "additionalProperties": false,
    });
    if let Some(object) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        object.insert("required".to_owned(), required.into());
    }
    schema
}

fn schema_of_member(member: &Member) -> Json {
    let is_required = member.is_required();
    let single = match &member.kind {
        Kind::Leaf { form, .. } => {
            let kind = match form {
                Form::Number => "number",
                Form::Bool => "boolean",
                Form::Text
                | Form::Date
                | Form::Digest
                | Form::Masked
                | Form::Year
                | Form::Week
                | Form::Age
                | Form::AgeBand
                | Form::Zip3
                | Form::State => "string",
            };
            let mut schema = json!({ "type": nullable(kind, is_required) });
            if let Some(object) = schema.as_object_mut().filter(|_| kind == "string") {
                object.insert("maxLength".to_owned(), TEXT_CHARS_MAX.into());
                if let Some(pattern) = form.pattern() {
                    object.insert("pattern".to_owned(), pattern.into());
                }
            }
            schema
        }
        Kind::Fields(members) => {
            let mut schema = schema_of(members.iter());
            if let Some(object) = schema.as_object_mut() {
                object.insert("type".to_owned(), nullable("object", is_required));
            }
            schema
        }
    };
    let mut schema = if member.many {
        json!({ "type": nullable("array", is_required), "items": single, "maxItems": ELEMENTS_MAX })
    } else {
        single
    };
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), member.doc.into());
        if let Kind::Leaf { class, safe_harbor, .. } = &member.kind {
            object.insert("x-class".to_owned(), class.name().into());
            if let Some(letter) = safe_harbor {
                object.insert("x-safe-harbor".to_owned(), letter.to_string().into());
            }
        }
    }
    schema
}

fn nullable(kind: &str, is_required: bool) -> Json {
    if is_required { kind.into() } else { json!([kind, "null"]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    const FORMS: [Form; 9] = [
        Form::Date,
        Form::Digest,
        Form::Masked,
        Form::Year,
        Form::Week,
        Form::Age,
        Form::AgeBand,
        Form::Zip3,
        Form::State,
    ];

    /// PROMISE-7
    #[test]
    fn what_the_check_says_of_a_text_is_what_its_pattern_says() {
        let runner = &mut proptest::test_runner::TestRunner::deterministic();
        for form in FORMS {
            let pattern = form.pattern().unwrap();
            let regex = Regex::new(pattern).unwrap();
            let right = proptest::string::string_regex(pattern.trim_matches(['^', '$'])).unwrap();
            let of = "[0-9a-fA-Z:.+TWZ*é-]{0,12}";
            let cases = (right, any::<prop::sample::Index>(), of, of);
            let same = runner.run(&cases, |(right, at, more, other)| {
                let at = at.index(right.len().max(1)).min(right.len());
                let (begin, end) = right.split_at(at);
                let skipped: String = end.chars().skip(1).collect();
                for text in [
                    format!("{begin}{end}"),
                    format!("{begin}{skipped}"),
                    format!("{begin}{more}{end}"),
                    format!("{begin}{more}"),
                    format!("{end}\n"),
                    other,
                ] {
                    prop_assert_eq!(
                        form.holds(&text),
                        regex.is_match(&text),
                        "{:?} {}",
                        form,
                        text
                    );
                }
                Ok(())
            });
            same.unwrap();
        }
    }
}
