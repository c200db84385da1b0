//! Rules as written to operations.
//!
//! Promises: a target that the event does not have, a path that cannot be, a conversion that
//! does not fit and a table that is not there are found here, each at its place.
//! Knows nothing of: messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Placed, Problems, hint};
use crate::event::schema::{self, Field, Part, Shape, Step};
use crate::event::{Declaration, Key};

use super::load::{File, Rule, Select, Source as Written, Use};
use super::mapping::{
    Constant, Dialect, Each, Elements, From, Leaf, Node, Only, Origin, Source, Within,
};
use super::table::{Table, Tables};

struct Compiler<'a, 'p, D: Dialect> {
    tables: &'a mut Tables<'p>,
    problems: &'a Problems,
    select: Option<&'a Select>,
    /// What the elements of the list are, whose fields are compiled.
    around: Vec<D::Path>,
}

/// A rule whose target was looked up.
struct Targeted<'r> {
    steps: Vec<Step>,
    rule: &'r Rule,
    unless: Option<&'r Placed<String>>,
}

/// What mappings are compiled with.
#[derive(Clone, Copy)]
pub(super) struct Compiling<'c> {
    /// What an event may hold.
    pub declared: Declaration,
    /// Where mistakes go.
    pub problems: &'c Problems,
}

/// A rule, and where it counts.
#[derive(Clone, Copy)]
pub(super) struct Ruled<'f> {
    pub rule: &'f Rule,
    /// The condition of the part that has this target: it is the target's, whoever's the rule is.
    unless: Option<&'f Placed<String>>,
}

/// The rules of a mapping, by target.
pub(super) type Rules<'f> = BTreeMap<&'f str, Ruled<'f>>;

/// Puts a rule in the place of the one of its target, where there is one.
pub(super) fn stand_in<'f>(rules: &mut Rules<'f>, rule: &'f Rule) {
    rules
        .entry(&rule.target.value)
        .and_modify(|ruled| ruled.rule = rule)
        .or_insert(Ruled { rule, unless: None });
}

/// The rules of a file with those of the parts it uses, by target. Its own stand in for theirs.
pub(super) fn gather<'f>(
    file: &'f File,
    files: &'f BTreeMap<String, File>,
    problems: &Problems,
) -> Rules<'f> {
    let mut rules = Rules::new();
    for Use { part: used, unless } in &file.uses {
        match files.get(&used.value) {
            Some(part) if part.event.is_none() && part.uses.is_empty() => {
                for rule in &part.rules {
                    let ruled = Ruled { rule, unless: unless.as_ref() };
                    if rules.insert(&rule.target.value, ruled).is_some() {
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
        stand_in(&mut rules, rule);
    }
    rules
}

/// Compiles the rules of a file to the fields of `data`.
pub(super) fn compile<D: Dialect>(
    file: &File,
    rules: &Rules<'_>,
    tables: &mut Tables<'_>,
    Compiling { declared, problems }: Compiling<'_>,
) -> Vec<(Key, Node<D>)> {
    let mut targeted = Vec::new();
    for Ruled { rule, unless } in rules.values().copied() {
        match declared.find(&rule.target.value) {
            // PROMISE-10: labels are words of the configuration, and stand in the evidence.
            Ok(found) if found.fields.first().is_some_and(|top| top.name == schema::LABELS) => {
                let text = "labels come from the message whatever its mapping (docs/consent.md)";
                problems.mistake(&rule.target.place, text);
            }
            Ok(found) if in_event(file, &found.fields) => {
                let steps = schema::steps(&rule.target.value).unwrap_or_default();
                targeted.push(Targeted { steps, rule, unless });
            }
            Ok(_) => {
                let text = format!("`{}` is no part of this event type", rule.target.value);
                problems.mistake(&rule.target.place, text);
            }
            Err(text) => problems.mistake(&rule.target.place, text),
        }
    }
    let all: Vec<&Targeted<'_>> = targeted.iter().collect();
    let select = file.select.as_ref();
    let mut compiler = Compiler { tables, problems, select, around: Vec::new() };
    compiler.part(declared.data(), 0, &all)
}

fn in_event(file: &File, fields: &[&'static Field]) -> bool {
    let top = fields.first().map_or("", |field| field.name);
    file.event.is_none_or(|kind| schema::parts_of(kind).contains(&top))
}

impl<D: Dialect> Compiler<'_, '_, D> {
    fn part(
        &mut self,
        part: &'static Part,
        depth: usize,
        rules: &[&Targeted<'_>],
    ) -> Vec<(Key, Node<D>)> {
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
    ) -> Option<Node<D>> {
        let inner = match field.shape {
            Shape::Part(inner) => Some(inner),
            Shape::Text | Shape::Date | Shape::Number | Shape::Bool => None,
        };
        let Some(targeted) = exact else {
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
            return Some(Node::Each(Box::new(self.each(targeted, part, depth + 1, deeper))));
        }
        for rule in deeper {
            self.problems.mistake(
                &rule.rule.target.place,
                format!("`{}` is made whole by another rule", field.label()),
            );
        }
        let leaf = Box::new(self.leaf(field, targeted));
        Some(Node::Leaf { needs: D::needs(&leaf), leaf })
    }

    /// A list with an object for each segment or element.
    fn each(
        &mut self,
        targeted: &Targeted<'_>,
        part: &'static Part,
        depth: usize,
        fields: &[&Targeted<'_>],
    ) -> Each<D> {
        let rule = targeted.rule;
        let mut with = Vec::new();
        for name in &rule.with {
            match D::follower(&name.value) {
                Ok(packed) => with.push(packed),
                Err(text) => self.problems.mistake(&name.place, text),
            }
        }
        let mut sources = Vec::new();
        for written in &rule.sources {
            let Some(path) = written.from.as_ref().and_then(|from| self.path(from)) else {
                continue;
            };
            if let Some(text) = D::no_element(&path) {
                self.problems.mistake(&written.place, text);
            }
            sources.push(Elements { path, only: self.only(written) });
        }
        let paths = sources.iter().map(|source: &Elements<D>| source.path.clone()).collect();
        let outer = std::mem::replace(&mut self.around, paths);
        let element = self.part(part, depth, fields);
        self.around = outer;
        let unless = self.condition(targeted.unless);
        Each { origin: origin(rule), unless, sources, with, required: rule.required, element }
    }

    fn leaf(&mut self, field: &'static Field, targeted: &Targeted<'_>) -> Leaf<D> {
        let rule = targeted.rule;
        if let Some(with) = rule.with.first() {
            let text = "`with` goes with `each` of a segment";
            self.problems.mistake(&with.place, text);
        }
        let mut sources = Vec::new();
        for written in &rule.sources {
            match (&written.from, &written.value) {
                (Some(from), None) => sources.extend(self.value_of_path(field, written, from)),
                (None, Some(value)) => {
                    sources.extend(self.value_of_constant(field, written, value))
                }
                (Some(_), Some(value)) => {
                    self.problems.mistake(&value.place, "a path and a `value` exclude each other");
                }
                (None, None) => {
                    let text = "there is no path (`from`, `each`) and no `value`";
                    self.problems.mistake(&written.place, text);
                }
            }
        }
        let default = rule.default.as_ref().and_then(|value| {
            let value = Placed { value: value.clone(), place: rule.target.place.clone() };
            self.constant(field, &value)
        });
        Leaf {
            origin: origin(rule),
            unless: self.condition(targeted.unless),
            sources,
            many: field.many,
            required: rule.required,
            default,
        }
    }

    fn value_of_path(
        &mut self,
        field: &'static Field,
        written: &Written,
        from: &Placed<String>,
    ) -> Option<Source<D>> {
        let path = self.path(from)?;
        if let Some(text) = D::no_value(&path) {
            self.problems.mistake(&from.place, text);
        }
        let name = self.conversion(field, written)?;
        let tables = &mut self.tables;
        let convert =
            D::convert(name, written.kind.as_ref().map(|kind| kind.value.clone()), &mut |name| {
                tables.get(name, &written.place)
            })?;
        let table = self.named_table(name, written);
        if name == schema_name::CODED && written.table.is_none() {
            let text = format!("`{}` is normalized, so it wants a `table`", field.label());
            self.problems.mistake(&written.place, text);
        }
        Some(Source { from: From::Path(path, convert), table, only: self.only(written) })
    }

    fn value_of_constant(
        &mut self,
        field: &'static Field,
        written: &Written,
        value: &Placed<String>,
    ) -> Option<Source<D>> {
        let constant = self.constant(field, value)?;
        let name = self.conversion(field, written)?;
        let table = self.named_table(name, written);
        Some(Source { from: From::Constant(constant), table, only: self.only(written) })
    }

    fn named_table(&mut self, conversion: &str, written: &Written) -> Option<Arc<Table>> {
        let name = written.table.as_ref()?;
        if !D::takes_table(conversion) {
            self.problems.mistake(&name.place, "a table goes with text and with a normalized code");
        }
        self.tables.get(&name.value, &name.place)
    }

    fn condition(&self, text: Option<&Placed<String>>) -> Option<D::Path> {
        self.path(text?)
    }

    fn only(&self, written: &Written) -> Option<Box<Only<D>>> {
        let only = Only {
            when: self.condition(written.when.as_ref()),
            unless: self.condition(written.unless.as_ref()),
            after: written.after.as_ref().map(|name| name.value.clone()),
        };
        let everywhere = only.when.is_none() && only.unless.is_none() && only.after.is_none();
        (!everywhere).then(|| Box::new(only))
    }

    fn path(&self, text: &Placed<String>) -> Option<D::Path> {
        let within = Within { select: self.select, around: &self.around };
        match D::path(&text.value, &within) {
            Ok(path) => Some(path),
            Err(wrong) => {
                self.problems.mistake(&text.place, wrong);
                None
            }
        }
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

    /// The name of a source's conversion: what `as` says, else what the target's shape wants.
    fn conversion<'w>(&mut self, field: &Field, written: &'w Written) -> Option<&'w str> {
        let choices = D::conversions(field);
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
        if let Some(said) = &written.kind
            && !D::takes_kind(name)
        {
            self.problems.mistake(&said.place, "`type` goes with an identifier");
        }
        Some(name)
    }
}

/// Names of parts as `event::code` declares them.
mod schema_name {
    pub const CODED: &str = "coded";
}

fn origin(rule: &Rule) -> Origin {
    let place = &rule.target.place;
    Origin { target: rule.target.value.clone(), place: format!("{}:{}", place.file, place.line) }
}
