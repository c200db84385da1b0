//! What a route lets out: a tree of picks, compiled from a contract's `[fields]`.
//!
//! Promises: a recipe that would let out more than its tier allows cannot be made; a field
//! that is not named is not in it; two recipes with the same hash let out the same.
//! Knows nothing of: TOML. Names and transforms are handed in with their places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::document::{Placed, Problems, hint};
use crate::event::Declaration;
use crate::event::schema::{self, Class, EXTENSION, Field, Part, Shape as Type};
use crate::event::tree::intern;
use crate::secret::hex;

use super::shape::{Kind, Member, Shape};
use super::{Form, Tier, Transform};

/// How the subject leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectForm {
    /// It does not.
    Hidden,
    /// `authority|value`.
    Clear,
    /// The realm's token.
    Token,
}

/// A line of `[fields]`, as written.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The field, or a whole part.
    pub path: Placed<String>,
    /// What is done to it.
    pub transform: Transform,
    /// The path that it leaves under, beside the field; none: its own, or one made of the
    /// transform's name where it is no longer of the field's type.
    pub leaves_as: Option<Placed<String>>,
    /// Whether nothing leaves where it cannot.
    pub required: bool,
}

/// Where a pick is taken from and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub from: &'static str,
    pub to: &'static str,
    pub pick: Pick,
}

/// A node of the tree of picks. A leaf knows its place among the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The value as it is.
    Keep { line: usize },
    /// What the line's transform makes of it.
    Make { line: usize },
    /// An observation's value, as far as its type's class may leave; text variants where `text`.
    Value { line: usize, text: bool },
    /// Fields of the value, or of each element.
    Fields(Vec<Place>),
}

impl Pick {
    /// The line of a leaf.
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::Keep { line } | Self::Make { line } | Self::Value { line, .. } => Some(*line),
            Self::Fields(_) => None,
        }
    }
}

/// One field that leaves, for `check` and for the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The path, such as `visit.class.code`.
    pub path: Arc<str>,
    /// The path that it leaves under.
    pub leaves_as: String,
    /// How it leaves.
    pub transform: Transform,
    /// How identifying it is before.
    pub class: Class,
    /// What it looks like when it leaves.
    pub form: Form,
    /// Whether nothing leaves where it cannot.
    pub required: bool,
}

/// What a route lets out.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// How identifying that may be.
    pub tier: Tier,
    /// How the subject leaves.
    pub subject: SubjectForm,
    /// Every field that leaves, expanded.
    pub lines: Vec<Line>,
    /// `sha256:` and the hash of the lines.
    pub hash: String,
    /// What a payload looks like.
    pub shape: Shape,
    /// Whether every field leaves under its own name and type, so that a payload satisfies the schema
    /// of its event type, too.
    pub is_plain: bool,
    pub(super) picks: Vec<Place>,
}

/// `subject`, which is not a field of the data.
pub const SUBJECT: &str = "subject";
/// Longest name of a field, in characters.
const NAME_CHARS_MAX: usize = 64;

impl Recipe {
    /// Whether the key of a visit leaves: where the consumer knows subjects, since a visit is one's.
    #[must_use]
    pub fn shows_visit(&self) -> bool {
        self.subject != SubjectForm::Hidden && self.tier != Tier::Deidentified
    }

    /// Compiles `[fields]` of events that hold what is declared. Mistakes go to `problems`.
    #[must_use]
    pub fn compile(
        declared: Declaration,
        tier: Tier,
        fields: &[Wanted],
        problems: &Problems,
    ) -> Self {
        let mut subject = SubjectForm::Hidden;
        let mut named = BTreeMap::new();
        for wanted in fields {
            if wanted.path.value == SUBJECT {
                subject = subject_form(tier, wanted, problems);
                continue;
            }
            match declared.find(&wanted.path.value) {
                Ok(found) => {
                    check(tier, wanted, &found, problems);
                    named.insert(wanted.path.value.as_str(), wanted);
                }
                Err(text) => {
                    let text = nearest(declared.data(), &wanted.path.value, text);
                    problems.mistake(&wanted.path.place, text);
                }
            }
        }
        check_values(fields, problems);
        let mut builder = Builder { tier, named: &named, lines: Vec::new(), is_plain: true };
        let picks = builder.part(declared.data(), "", None);
        let Builder { lines, is_plain, .. } = builder;
        let mut leaving = BTreeSet::new();
        for line in &lines {
            if !leaving.insert(line.leaves_as.as_str())
                && let Some(wanted) = named.get(&*line.path)
            {
                let text = format!("`{}` leaves already", line.leaves_as);
                problems.mistake(&wanted.path.place, text);
            }
        }
        let shape = Shape { members: members(&picks, declared.data(), &lines, tier) };
        let hash = hash(tier, subject, &lines);
        Self { tier, subject, lines, hash, shape, is_plain, picks }
    }

    /// The line of a field.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<&Line> {
        self.lines.iter().find(|line| *line.path == *path)
    }
}

fn nearest(data: &Part, path: &str, text: String) -> String {
    let known: Vec<&str> = data.fields.iter().map(|field| field.name).collect();
    let top = path.split(['.', '[']).next().unwrap_or_default();
    let near = if data.field(top).is_none() { hint(top, &known) } else { String::new() };
    if near.is_empty() { text } else { format!("`{path}` is no field{near}") }
}

fn subject_form(tier: Tier, wanted: &Wanted, problems: &Problems) -> SubjectForm {
    if let Some(name) = &wanted.leaves_as {
        problems.mistake(&name.place, "`subject` leaves as `subject`");
    }
    match (&wanted.transform, tier) {
        (Transform::Keep, Tier::Identified) => SubjectForm::Clear,
        (Transform::Token, Tier::Identified | Tier::Limited | Tier::Pseudonymized) => {
            SubjectForm::Token
        }
        (Transform::Drop, _) => SubjectForm::Hidden,
        (other, _) => {
            let text =
                format!("tier {} does not let the subject out by `{}`", tier.name(), other.name());
            problems.mistake(&wanted.path.place, text);
            SubjectForm::Hidden
        }
    }
}

/// Whether a named field, with all that it expands to, may leave.
// PROMISE-7: a contract that would let out more than its tier allows does not load.
fn check(tier: Tier, wanted: &Wanted, found: &schema::Found, problems: &Problems) {
    let Some(field) = found.field() else { return };
    let Wanted { path, transform, leaves_as, required } = wanted;
    if let Type::Part(part) = field.shape
        && part.name == EXTENSION.name
    {
        let text = "fields of a site's own leave by their names alone: `extension.NAME`";
        problems.mistake(&path.place, text);
        return;
    }
    if let Some(text) = transform.misfit(&path.value, field) {
        problems.mistake(&path.place, text);
        return;
    }
    if let Transform::Table(table) = transform
        && tier != Tier::Identified
        && !tier.allows_kept(field.class)
        && let Some(same) = table.identity()
    {
        let text = format!("the table gives `{same}` for `{same}`, and so it would hide nothing");
        problems.mistake(&path.place, text);
    }
    let is_part = matches!(field.shape, Type::Part(_));
    if is_part && *required {
        problems.mistake(&path.place, "`required` is for one field; a part is no value");
    }
    if let Some(name) = leaves_as {
        check_name(found, path, name, problems);
        if is_part {
            problems.mistake(&name.place, "`as` is for one field; a part keeps its name");
        }
    }
    let mut leaves = Vec::new();
    expand(field, &path.value, &mut leaves);
    let beyond: Vec<String> = leaves
        .iter()
        .filter(|(_, leaf)| !tier.allows(leaf.class, transform))
        .map(|(path, leaf)| format!("{path} ({})", leaf.class.name()))
        .collect();
    if !beyond.is_empty() {
        let text = format!(
            "tier {} does not let out {} by `{}`",
            tier.name(),
            shorten(&beyond),
            transform.name()
        );
        problems.mistake(&path.place, text);
    }
}

/// A new name stands beside the field, and is no other field's.
fn check_name(
    found: &schema::Found,
    path: &Placed<String>,
    name: &Placed<String>,
    problems: &Problems,
) {
    let split = |path: &str| match path.rsplit_once('.') {
        Some((parent, last)) => (parent.to_owned(), last.to_owned()),
        None => (String::new(), path.to_owned()),
    };
    let ((parent, _), (wanted, last)) = (split(&path.value), split(&name.value));
    if parent != wanted {
        let text = format!("`as` stands beside the field, in `{parent}`");
        problems.mistake(&name.place, text);
    }
    let right = last.len() <= NAME_CHARS_MAX
        && last.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && last.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !right {
        problems.mistake(&name.place, "`as` ends in a name such as `ageBand`");
    }
    let part = match found.fields.as_slice() {
        [.., parent, _] => match parent.shape {
            Type::Part(part) => Some(part),
            Type::Text | Type::Date | Type::Number | Type::Bool => None,
        },
        _ => None,
    };
    let own = found.field().is_some_and(|field| field.name == last);
    if !own && part.is_some_and(|part| part.field(&last).is_some()) {
        problems.mistake(&name.place, format!("`{last}` is another field's name"));
    }
}

/// A value that leaves whole has no fields that leave, or stay, by a line of their own: its type says
/// what of it leaves, and a line that changes nothing would promise something.
fn check_values(fields: &[Wanted], problems: &Problems) {
    let keeps = |path: &str| {
        let same = |wanted: &&Wanted| plain(&wanted.path.value) == path;
        fields.iter().find(same).map(|wanted| wanted.transform == Transform::Keep)
    };
    for wanted in fields {
        let path = &wanted.path;
        let Some((above, _)) = path.value.split_once(".value.") else { continue };
        let value = format!("{above}.value");
        let text = match (keeps(&plain(&value)), keeps(&plain(above))) {
            (Some(true), _) => {
                format!("`{value}` leaves whole; name its fields instead of it")
            }
            (None, Some(true)) => format!(
                "`{value}` leaves whole by `{above}`; name its fields behind `\"{value}\" = \"drop\"`"
            ),
            (Some(false), _) | (None, _) => continue,
        };
        problems.mistake(&path.place, text);
    }
}

/// A path without the marks of lists.
fn plain(path: &str) -> String {
    path.replace("[]", "")
}

fn shorten(names: &[String]) -> String {
    match names {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        _ => names.join(", "),
    }
}

/// The fields that a line lets out: of a code its system and code, of another part every field but
/// free text, which leaves only where it is named itself.
fn expand(field: &'static Field, path: &str, leaves: &mut Vec<(String, &'static Field)>) {
    match field.shape {
        // A value as a whole leaves by the class of its type, which is seen when it is there.
        Type::Part(part) if part.name == VALUE => {}
        Type::Part(part) => {
            let base = if field.many && !path.ends_with("[]") {
                format!("{path}[]")
            } else {
                path.to_owned()
            };
            for inner in part.fields.iter().filter(|inner| is_kept(part, inner)) {
                expand(inner, &format!("{base}.{}", inner.name), leaves);
            }
        }
        Type::Text | Type::Date | Type::Number | Type::Bool => {
            leaves.push((path.to_owned(), field));
        }
    }
}

/// Whether what holds for a part holds for a field of it that is not named.
fn is_kept(part: &Part, field: &Field) -> bool {
    let is_words = field.class == Class::FreeText && !matches!(field.shape, Type::Part(_));
    !is_words && (part.kept.is_empty() || part.kept.contains(&field.name))
}

struct Builder<'n> {
    tier: Tier,
    named: &'n BTreeMap<&'n str, &'n Wanted>,
    lines: Vec<Line>,
    is_plain: bool,
}

impl Builder<'_> {
    /// The picks of a part's fields. `inherited` is what holds for those that are not named.
    fn part(
        &mut self,
        part: &'static Part,
        path: &str,
        inherited: Option<&Transform>,
    ) -> Vec<Place> {
        let mut picks = Vec::new();
        for field in part.fields {
            let path = if path.is_empty() {
                field.name.to_owned()
            } else {
                format!("{path}.{}", field.name)
            };
            let labelled = if field.many { format!("{path}[]") } else { path.clone() };
            let own = self.named.get(path.as_str()).or_else(|| self.named.get(labelled.as_str()));
            let own = own.copied();
            let from_above = inherited.filter(|_| is_kept(part, field)).map(|transform| {
                // Of a code's family the system is kept.
                let is_family = matches!(transform, Transform::CodeFamily { .. });
                if is_family && field.name != "code" { &Transform::Keep } else { transform }
            });
            let transform = own.map(|wanted| &wanted.transform).or(from_above);
            if let Some((to, pick)) = self.field(field, &labelled, transform, own) {
                picks.push(Place { from: field.name, to, pick });
            }
        }
        picks
    }

    fn field(
        &mut self,
        field: &'static Field,
        path: &str,
        transform: Option<&Transform>,
        own: Option<&Wanted>,
    ) -> Option<(&'static str, Pick)> {
        if let Type::Part(part) = field.shape {
            if part.name == VALUE && transform == Some(&Transform::Keep) {
                let text = own.is_some() && self.tier == Tier::Identified;
                self.lines.push(Line {
                    path: path.into(),
                    leaves_as: path.to_owned(),
                    transform: Transform::Keep,
                    class: Class::ByValueType,
                    form: Form::Text,
                    required: own.is_some_and(|wanted| wanted.required),
                });
                return Some((field.name, Pick::Value { line: self.lines.len() - 1, text }));
            }
            let fields = self.part(part, path, transform);
            return (!fields.is_empty()).then_some((field.name, Pick::Fields(fields)));
        }
        let transform = transform?;
        let removes = matches!(transform, Transform::Drop | Transform::Token);
        if removes || !self.tier.allows(field.class, transform) {
            return None;
        }
        let retypes = transform.retypes(field);
        let to = match own.and_then(|wanted| wanted.leaves_as.as_ref()) {
            Some(name) => intern(name.value.rsplit('.').next().unwrap_or_default()),
            None if retypes => intern(&format!("{}{}", field.name, camel(transform.name()))),
            None => field.name,
        };
        self.is_plain &= !retypes && to == field.name;
        let parent =
            path.rsplit_once('.').map_or(String::new(), |(parent, _)| format!("{parent}."));
        let many = if field.many { "[]" } else { "" };
        let line = self.lines.len();
        self.lines.push(Line {
            path: path.into(),
            leaves_as: format!("{parent}{to}{many}"),
            transform: transform.clone(),
            class: field.class,
            form: transform.form(field),
            required: own.is_some_and(|wanted| wanted.required),
        });
        let keeps = matches!(transform, Transform::Keep);
        Some((to, if keeps { Pick::Keep { line } } else { Pick::Make { line } }))
    }
}

/// `age-band` as the end of a name: `AgeBand`.
fn camel(word: &str) -> String {
    let mut name = String::new();
    for part in word.split('-') {
        let mut letters = part.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// What picks let out of a part.
fn members(picks: &[Place], part: &'static Part, lines: &[Line], tier: Tier) -> Vec<Member> {
    let mut found = Vec::new();
    for Place { from, to, pick } in picks {
        let Some(field) = part.field(from) else { continue };
        let line = pick.line().and_then(|line| lines.get(line));
        let kind = match (pick, field.shape, line) {
            (Pick::Fields(picks), Type::Part(inner), _) => {
                Kind::Fields(members(picks, inner, lines, tier))
            }
            (Pick::Value { .. }, Type::Part(inner), _) => Kind::Fields(whole(inner, tier)),
            (_, _, Some(line)) => {
                Kind::Leaf { form: line.form, class: field.class, safe_harbor: field.safe_harbor }
            }
            _ => continue,
        };
        let required = line.is_some_and(|line| line.required);
        found.push(Member { name: to, many: field.many, required, doc: field.doc, kind });
    }
    found
}

/// What a value that leaves whole may hold.
fn whole(part: &'static Part, tier: Tier) -> Vec<Member> {
    let fields = part.fields.iter().filter(|field| {
        (part.kept.is_empty() || part.kept.contains(&field.name))
            && (tier == Tier::Identified || field.name != ATTACHMENT)
    });
    fields
        .map(|field| Member {
            name: field.name,
            many: field.many,
            required: false,
            doc: field.doc,
            kind: match field.shape {
                Type::Part(inner) => Kind::Fields(whole(inner, tier)),
                Type::Text | Type::Date | Type::Number | Type::Bool => Kind::Leaf {
                    form: Transform::Keep.form(field),
                    class: field.class,
                    safe_harbor: field.safe_harbor,
                },
            },
        })
        .collect()
}

/// The part whose class follows its type.
const VALUE: &str = "value";
/// What leaves of a value at tier identified alone.
pub(super) const ATTACHMENT: &str = "attachment";

fn hash(tier: Tier, subject: SubjectForm, lines: &[Line]) -> String {
    let mut text =
        format!("schema {}\ntier {}\nsubject {subject:?}\n", schema::VERSION, tier.name());
    for Line { path, leaves_as, transform, required, .. } in lines {
        let required = if *required { " required" } else { "" };
        text.push_str(&format!("{path} {transform} as {leaves_as}{required}\n"));
    }
    format!("sha256:{}", hex(digest(&SHA256, text.as_bytes()).as_ref()))
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    fn compile(tier: Tier, fields: &[(&str, Transform)]) -> (Recipe, Vec<String>) {
        let problems = Problems::default();
        let place = document::Place { file: "r.toml".into(), line: 1, column: 1 };
        let fields: Vec<_> = fields
            .iter()
            .map(|(path, transform)| Wanted {
                path: Placed { value: (*path).to_owned(), place: place.clone() },
                transform: transform.clone(),
                leaves_as: None,
                required: false,
            })
            .collect();
        let recipe = Recipe::compile(Declaration::default(), tier, &fields, &problems);
        (recipe, problems.mistakes().iter().map(|problem| problem.text.clone()).collect())
    }

    fn paths(recipe: &Recipe) -> Vec<&str> {
        recipe.lines.iter().map(|line| &*line.path).collect()
    }

    /// PROMISE-7
    #[test]
    fn a_contract_beyond_its_tier_is_a_mistake_and_lets_nothing_of_it_out() {
        let (recipe, mistakes) = compile(
            Tier::Pseudonymized,
            &[("patient.birthDate", Transform::Keep), ("patient.sex", Transform::Keep)],
        );
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes.iter().all(|text| text.contains("patient.birthDate (quasi)")));
        assert_eq!(paths(&recipe), ["patient.sex.code"]);
        let (recipe, mistakes) = compile(Tier::Pseudonymized, &[("visit", Transform::Keep)]);
        assert_eq!(mistakes.len(), 1);
        assert!(!paths(&recipe).contains(&"visit.number.value"));
        let (_, mistakes) = compile(
            Tier::Pseudonymized,
            &[
                ("observations[].value.text", Transform::Keep),
                ("observations[].value.time", Transform::Keep),
            ],
        );
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }

    #[test]
    fn a_part_is_expanded_and_may_have_holes() {
        let (recipe, mistakes) = compile(
            Tier::Identified,
            &[
                ("visit", Transform::Keep),
                ("visit.attending", Transform::Drop),
                ("visit.class.source", Transform::Keep),
            ],
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let paths = paths(&recipe);
        assert!(paths.contains(&"visit.number.value"));
        assert!(paths.contains(&"visit.class.code") && paths.contains(&"visit.class.source"));
        assert!(!paths.iter().any(|path| path.starts_with("visit.attending")), "{paths:?}");
        assert!(!paths.contains(&"visit.status.source"));
        assert!(!paths.iter().any(|path| path.starts_with("patient")));
    }

    #[test]
    fn the_hash_tells_recipes_apart() {
        let one = compile(Tier::Identified, &[("visit.class", Transform::Keep)]).0;
        let same = compile(Tier::Identified, &[("visit.class.code", Transform::Keep)]).0;
        let other = compile(Tier::Identified, &[("visit.status", Transform::Keep)]).0;
        assert_eq!(one.hash, same.hash);
        assert_ne!(one.hash, other.hash);
        assert!(one.hash.starts_with("sha256:") && one.hash.len() == 71);
    }

    #[test]
    fn a_wrong_name_is_a_mistake_with_the_nearest_right_one() {
        let (_, mistakes) = compile(Tier::Identified, &[("patient.birthdate", Transform::Keep)]);
        assert!(mistakes.iter().all(|text| text.contains("did you mean `birthDate`?")));
        let (_, mistakes) = compile(Tier::Identified, &[("pateint.sex", Transform::Keep)]);
        assert!(
            mistakes.iter().all(|text| text.contains("did you mean `patient`?")),
            "{mistakes:?}"
        );
        let (_, mistakes) = compile(Tier::Identified, &[("patient.sex", Transform::Token)]);
        assert_eq!(mistakes.len(), 1);
        let (_, mistakes) = compile(Tier::Pseudonymized, &[("subject", Transform::Keep)]);
        assert_eq!(mistakes.len(), 1);
    }
}
