//! Rules as written to operations.
//!
//! Promises: a target that the event does not have, a path that cannot be, a conversion that
//! does not fit and a table that is not there are found here, each at its place.
//! Knows nothing of: messages.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Place, Placed, Problems, hint};
use crate::event::schema::{self, Field, Part, Shape, Step};
use crate::event::{Declaration, Key};
use crate::parse::hl7::{self, Path};

use super::authority::Authorities;
use super::load::{File, Rule, Source as Written, Use};
use super::mapping::{Constant, Convert, Each, From, Leaf, Mapping, Node, Only, Origin, Source};
use super::table::{Table, Tables};

struct Compiler<'a, 'p> {
    tables: &'a mut Tables<'p>,
    problems: &'a Problems,
}

/// A rule whose target was looked up.
struct Targeted<'r> {
    steps: Vec<Step>,
    rule: &'r Rule,
}

/// What mappings are compiled with.
pub(super) struct Compiling<'c> {
    /// What an event may hold.
    pub declared: Declaration,
    /// What the site calls authorities.
    pub authorities: Option<Arc<Authorities>>,
    /// Where mistakes go.
    pub problems: &'c Problems,
}

/// The rules of a file with those of the parts it uses, by target. Its own override theirs.
pub(super) fn gather<'f>(
    file: &'f File,
    files: &'f BTreeMap<String, File>,
    problems: &Problems,
) -> BTreeMap<&'f str, Cow<'f, Rule>> {
    let mut rules: BTreeMap<&str, Cow<'_, Rule>> = BTreeMap::new();
    for Use { part: used, unless } in &file.uses {
        match files.get(&used.value) {
            Some(part) if part.event.is_none() && part.uses.is_empty() => {
                for rule in &part.rules {
                    let taken = taken(rule, unless.as_ref(), problems);
                    if rules.insert(&rule.target.value, taken).is_some() {
                        let text = format!("`{}` is made by two of the parts", rule.target.value);
                        problems.mistake(&used.place, text);
                    }
                }
            }
            Some(_) => {
                problems.mistake(&used.place, format!("`{}` is not a part to be used", used.value));
            }
            None => {
                let known: Vec<&str> = files
                    .values()
                    .filter(|part| part.event.is_none())
                    .map(|part| part.name.as_str())
                    .collect();
                let hint = hint(&used.value, &known);
                problems.mistake(&used.place, format!("there is no part `{}`{hint}", used.value));
            }
        }
    }
    for rule in &file.rules {
        rules.insert(&rule.target.value, Cow::Borrowed(rule));
    }
    rules
}

/// Compiles the rules of a file.
pub(super) fn compile(
    file: &File,
    rules: &BTreeMap<&str, Cow<'_, Rule>>,
    tables: &mut Tables<'_>,
    Compiling { declared, authorities, problems }: Compiling<'_>,
) -> Mapping {
    let mut targeted = Vec::new();
    for rule in rules.values() {
        match declared.find(&rule.target.value) {
            // PROMISE-10: labels are words of the configuration, and stand in the evidence.
            Ok(found) if found.fields.first().is_some_and(|top| top.name == schema::LABELS) => {
                let text = "labels come from the message whatever its mapping (docs/consent.md)";
                problems.mistake(&rule.target.place, text);
            }
            Ok(found) if in_event(file, &found.fields) => {
                let steps = schema::steps(&rule.target.value).unwrap_or_default();
                targeted.push(Targeted { steps, rule });
            }
            Ok(_) => {
                let text = format!("`{}` is no part of this event type", rule.target.value);
                problems.mistake(&rule.target.place, text);
            }
            Err(text) => problems.mistake(&rule.target.place, text),
        }
    }
    let all: Vec<&Targeted<'_>> = targeted.iter().collect();
    let mut compiler = Compiler { tables, problems };
    let fields = compiler.part(declared.data(), 0, &all);
    Mapping { event: file.event, per: file.per, act: file.act, fields, authorities }
}

/// A part's rule as it is taken over: where there is a condition, by each of its sources.
fn taken<'r>(
    rule: &'r Rule,
    unless: Option<&Placed<String>>,
    problems: &Problems,
) -> Cow<'r, Rule> {
    let Some(unless) = unless else { return Cow::Borrowed(rule) };
    let mut rule = rule.clone();
    // What has a condition of its own would have to hold two.
    if rule.default.is_some() || rule.sources.iter().any(|source| source.unless.is_some()) {
        let text =
            format!("`{}` has `default` or `unless`, so its part takes none", rule.target.value);
        problems.mistake(&unless.place, text);
    }
    for source in &mut rule.sources {
        source.unless = Some(unless.clone());
    }
    Cow::Owned(rule)
}

fn in_event(file: &File, fields: &[&'static Field]) -> bool {
    let top = fields.first().map_or("", |field| field.name);
    file.event.is_none_or(|kind| schema::parts_of(kind).contains(&top))
}

impl Compiler<'_, '_> {
    fn part(
        &mut self,
        part: &'static Part,
        depth: usize,
        rules: &[&Targeted<'_>],
    ) -> Vec<(Key, Node)> {
        let mut nodes = Vec::new();
        for field in part.fields {
            let mine: Vec<&Targeted<'_>> = rules
                .iter()
                .filter(|rule| rule.steps.get(depth).is_some_and(|step| step.name == field.name))
                .copied()
                .collect();
            let (exact, deeper): (Vec<_>, Vec<_>) =
                mine.into_iter().partition(|rule| rule.steps.len() == depth + 1);
            if let Some(node) = self.field(field, depth, exact.first().copied(), &deeper) {
                nodes.push((field.name, node));
            }
        }
        nodes
    }

    fn field(
        &mut self,
        field: &'static Field,
        depth: usize,
        exact: Option<&Targeted<'_>>,
        deeper: &[&Targeted<'_>],
    ) -> Option<Node> {
        let inner = match field.shape {
            Shape::Part(inner) => Some(inner),
            Shape::Text | Shape::Date | Shape::Number | Shape::Bool => None,
        };
        let Some(Targeted { rule, .. }) = exact else {
            let first = deeper.first()?;
            if field.many {
                self.problems.mistake(
                    &first.rule.target.place,
                    format!("no rule says what each of `{}` is made from", field.label()),
                );
            }
            return inner.map(|part| Node::Object(self.part(part, depth + 1, deeper)));
        };
        if let Some(part) = inner
            && field.many
            && !deeper.is_empty()
        {
            let element = self.part(part, depth + 1, deeper);
            return Some(Node::Each(Box::new(self.each(rule, element))));
        }
        for rule in deeper {
            self.problems.mistake(
                &rule.rule.target.place,
                format!("`{}` is made whole by another rule", field.label()),
            );
        }
        let leaf = Box::new(self.leaf(field, rule));
        Some(Node::Leaf { needs: leaf.needs(), leaf })
    }

    /// A list with an object for each segment.
    fn each(&mut self, rule: &Rule, element: Vec<(Key, Node)>) -> Each {
        let mut with = Vec::new();
        for name in &rule.with {
            if hl7::name::is_segment_name(name.value.as_bytes()) {
                with.push(hl7::name::pack_name(name.value.as_bytes()));
            } else {
                let text = format!("`{}` is not a segment name", name.value);
                self.problems.mistake(&name.place, text);
            }
        }
        let mut sources = Vec::new();
        for written in &rule.sources {
            let Some(path) = written.from.as_ref().and_then(|from| self.path(from)) else {
                continue;
            };
            if path.field() > 0 {
                let text = "each of them has fields of its own, so it is made from a segment";
                self.problems.mistake(&written.place, text);
            }
            sources.push(Source {
                from: From::Path(path),
                convert: Convert::Text,
                table: None,
                only: self.only(written),
            });
        }
        Each { sources, with, required: rule.required, element }
    }

    fn leaf(&mut self, field: &'static Field, rule: &Rule) -> Leaf {
        if let Some(with) = rule.with.first() {
            let text = "`with` goes with `each` of a segment";
            self.problems.mistake(&with.place, text);
        }
        let mut sources = Vec::new();
        for written in &rule.sources {
            let from = match (&written.from, &written.value) {
                (Some(from), None) => self.path(from).map(|path| self.whole_field(path, from)),
                (None, Some(value)) => self.constant(field, value).map(From::Constant),
                (Some(_), Some(value)) => {
                    self.problems.mistake(&value.place, "a path and a `value` exclude each other");
                    None
                }
                (None, None) => {
                    let text = "there is no path (`from`, `each`) and no `value`";
                    self.problems.mistake(&written.place, text);
                    None
                }
            };
            let Some(from) = from else { continue };
            let Some(convert) = self.convert(field, written, matches!(from, From::Constant(_)))
            else {
                continue;
            };
            let table = written.table.as_ref().and_then(|name| {
                if !matches!(convert, Convert::Coded | Convert::Text) {
                    self.problems
                        .mistake(&name.place, "a table goes with text and with a normalized code");
                }
                self.tables.get(&name.value, &name.place)
            });
            if matches!((&convert, &from), (Convert::Coded, From::Path(_)))
                && written.table.is_none()
            {
                let text = format!("`{}` is normalized, so it wants a `table`", field.label());
                self.problems.mistake(&written.place, text);
            }
            sources.push(Source { from, convert, table, only: self.only(written) });
        }
        let default = rule.default.as_ref().and_then(|value| {
            let value = Placed { value: value.clone(), place: rule.target.place.clone() };
            self.constant(field, &value)
        });
        Leaf { origin: origin(rule), sources, many: field.many, required: rule.required, default }
    }

    fn only(&self, written: &Written) -> Option<Box<Only>> {
        let only = Only {
            when: self.condition(written.when.as_ref()),
            unless: self.condition(written.unless.as_ref()),
            after: written.after.as_ref().map(|name| name.value.clone()),
        };
        let everywhere = only.when.is_none() && only.unless.is_none() && only.after.is_none();
        (!everywhere).then(|| Box::new(only))
    }

    fn whole_field(&self, path: Path, from: &Placed<String>) -> From {
        if path.field() == 0 {
            let text =
                format!("`{}` names a segment; a field is wanted, such as PID-3", from.value);
            self.problems.mistake(&from.place, text);
        }
        From::Path(path)
    }

    fn path(&self, text: &Placed<String>) -> Option<Path> {
        match Path::read(&text.value) {
            Ok(path) => Some(path),
            Err(wrong) => {
                self.problems.mistake(&text.place, wrong);
                None
            }
        }
    }

    fn condition(&self, text: Option<&Placed<String>>) -> Option<Path> {
        text.and_then(|text| self.path(text))
    }

    /// A constant in the shape of its target; `'""'` is HL7's null in any shape.
    fn constant(&self, field: &Field, value: &Placed<String>) -> Option<Constant> {
        let text = value.value.as_str();
        let made = match field.shape {
            _ if text == "\"\"" => Some(Constant::Null),
            Shape::Text => Some(Constant::Text(text.to_owned())),
            Shape::Bool => text.parse().ok().map(Constant::Bool),
            Shape::Number => {
                text.parse().ok().filter(|number: &f64| number.is_finite()).map(Constant::Number)
            }
            Shape::Part(part) if part.name == schema_name::CODED => {
                Some(Constant::Coded(text.to_owned()))
            }
            Shape::Date | Shape::Part(_) => None,
        };
        if made.is_none() {
            let text = format!("`{}` cannot be a constant like this", field.label());
            self.problems.mistake(&value.place, text);
        }
        made
    }

    /// The conversion of a source: what `as` says, else what the target's shape wants.
    fn convert(&mut self, field: &Field, written: &Written, constant: bool) -> Option<Convert> {
        let choices: &[&str] = match field.shape {
            Shape::Text => &["text", "whole"],
            Shape::Date => &["time", "date", "with-hour"],
            Shape::Number => &["number"],
            Shape::Bool => &["boolean"],
            Shape::Part(part) => conversions_to(part),
        };
        let Some(preferred) = choices.first() else {
            let text = format!("`{}` is a part; give rules for its fields", field.label());
            self.problems.mistake(&written.place, text);
            return None;
        };
        let name = match &written.convert {
            None => preferred,
            Some(said) if choices.contains(&said.value.as_str()) => said.value.as_str(),
            Some(said) => {
                let text = format!(
                    "`{}` is made as {}; `{}` does not fit",
                    field.label(),
                    choices.join(" or "),
                    said.value
                );
                self.problems.mistake(&said.place, text);
                return None;
            }
        };
        if constant {
            return Some(Convert::Text);
        }
        let kind = written.kind.as_ref().map(|kind| kind.value.clone());
        if let Some(said) = &written.kind
            && name != "identifier"
        {
            self.problems.mistake(&said.place, "`type` goes with an identifier");
        }
        self.named(name, kind, &written.place)
    }

    fn named(&mut self, name: &str, kind: Option<String>, place: &Place) -> Option<Convert> {
        Some(match name {
            "text" => Convert::Text,
            "whole" => Convert::Whole,
            "date" => Convert::Date,
            "time" => Convert::Time,
            "with-hour" => Convert::WithHour,
            "number" => Convert::Number,
            "boolean" => Convert::Boolean,
            "coded" => Convert::Coded,
            "code" => Convert::Code,
            "identifier" => Convert::Identifier { kind },
            "entity" => Convert::Entity,
            "name" => Convert::Name(self.table("name-use", place)?),
            "person" => Convert::Person(self.table("name-use", place)?),
            "address" => Convert::Address { uses: self.table("address-use", place)? },
            "telecom" => Convert::Telecom {
                uses: self.table("telecom-use", place)?,
                systems: self.table("telecom-system", place)?,
            },
            "location" => Convert::Location,
            "value" => Convert::Value { media: self.table("media-type", place)? },
            _ => return None,
        })
    }

    fn table(&mut self, name: &str, place: &Place) -> Option<Arc<Table>> {
        self.tables.get(name, place)
    }
}

/// Names of parts as `event::code` declares them.
mod schema_name {
    pub const CODED: &str = "coded";
}

/// What `as` may say for a part; the first is meant where nothing is said.
fn conversions_to(part: &Part) -> &'static [&'static str] {
    match part.name {
        schema_name::CODED => &["coded"],
        "code" => &["code"],
        "identifier" => &["identifier", "entity"],
        "name" => &["name"],
        "person" => &["person"],
        "address" => &["address"],
        "telecom" => &["telecom"],
        "location" => &["location"],
        "value" => &["value"],
        _ => &[],
    }
}

fn origin(rule: &Rule) -> Origin {
    let place = &rule.target.place;
    Origin { target: rule.target.value.clone(), place: format!("{}:{}", place.file, place.line) }
}
