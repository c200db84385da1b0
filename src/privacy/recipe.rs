//! What a route lets out: a tree of picks, compiled from a contract's `[fields]`.
//!
//! Promises: a recipe that would let out more than its tier allows cannot be made; a field
//! that is not named is not in it; two recipes with the same hash let out the same.
//! Knows nothing of: TOML. Names and transforms are handed in with their places.

use aws_lc_rs::digest::{SHA256, digest};

use crate::document::{Placed, Problems, hint};
use crate::event::schema::{self, Class, DATA, Field, Part, Shape};
use crate::secret::hex;

use super::Tier;

/// What is done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// It leaves as it is; of a code, its system and code.
    Keep,
    /// It does not leave; cuts a hole into a part that is kept.
    Drop,
    /// The subject's pseudonym in the realm.
    Token,
    /// A keyed hash, per realm and field.
    Hash,
}

impl Transform {
    /// The words in a contract.
    pub const NAMES: [(&'static str, Self); 4] =
        [("keep", Self::Keep), ("drop", Self::Drop), ("token", Self::Token), ("hash", Self::Hash)];

    /// The word in a contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Token => "token",
            Self::Hash => "hash",
        }
    }
}

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

/// A node of the tree of picks. A leaf knows its place among the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The value as it is.
    Keep { line: usize },
    /// A keyed hash of the text; the path is part of it.
    Hash { line: usize, path: String },
    /// An observation's value, as far as its type's class may leave.
    Value { line: usize },
    /// Fields of the value, or of each element.
    Fields(Vec<(&'static str, Pick)>),
}

impl Pick {
    /// The line of a leaf.
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::Keep { line } | Self::Hash { line, .. } | Self::Value { line } => Some(*line),
            Self::Fields(_) => None,
        }
    }
}

/// One field that leaves, for `check` and for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The path, such as `visit.class.code`.
    pub path: String,
    /// How it leaves.
    pub transform: Transform,
    /// How identifying it is.
    pub class: Class,
}

/// What a route lets out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// How identifying that may be.
    pub tier: Tier,
    /// How the subject leaves.
    pub subject: SubjectForm,
    /// Every field that leaves, expanded.
    pub lines: Vec<Line>,
    /// `sha256:` and the hash of the lines.
    pub hash: String,
    pub(super) picks: Vec<(&'static str, Pick)>,
}

/// `subject`, which is not a field of the data.
pub const SUBJECT: &str = "subject";

impl Recipe {
    /// Compiles `[fields]`. Mistakes go to `problems`.
    #[must_use]
    pub fn compile(
        tier: Tier,
        fields: &[(Placed<String>, Transform)],
        problems: &Problems,
    ) -> Self {
        let mut subject = SubjectForm::Hidden;
        let mut named = Vec::new();
        for (path, transform) in fields {
            if path.value == SUBJECT {
                subject = subject_form(tier, path, *transform, problems);
                continue;
            }
            match schema::find(&path.value) {
                Ok(found) => {
                    check(tier, path, &found, *transform, problems);
                    named.push(Named { path: path.value.clone(), transform: *transform });
                }
                Err(text) => {
                    let known: Vec<&str> = DATA.fields.iter().map(|field| field.name).collect();
                    let top = path.value.split(['.', '[']).next().unwrap_or_default();
                    let near =
                        if DATA.field(top).is_none() { hint(top, &known) } else { String::new() };
                    let text = if near.is_empty() {
                        text
                    } else {
                        format!("`{}` is no field{near}", path.value)
                    };
                    problems.mistake(&path.place, text);
                }
            }
        }
        let mut builder = Builder { tier, named: &named, lines: Vec::new() };
        let picks = builder.part(&DATA, "", None);
        let lines = builder.lines;
        let hash = hash(tier, subject, &lines);
        Self { tier, subject, lines, hash, picks }
    }
}

struct Named {
    path: String,
    transform: Transform,
}

fn subject_form(
    tier: Tier,
    path: &Placed<String>,
    transform: Transform,
    problems: &Problems,
) -> SubjectForm {
    match (transform, tier) {
        (Transform::Keep, Tier::Identified) => SubjectForm::Clear,
        (Transform::Token, Tier::Identified | Tier::Limited | Tier::Pseudonymized) => {
            SubjectForm::Token
        }
        (Transform::Drop, _) => SubjectForm::Hidden,
        (Transform::Keep | Transform::Token | Transform::Hash, _) => {
            let text = format!(
                "tier {} does not let the subject out by `{}`",
                tier.name(),
                transform.name()
            );
            problems.mistake(&path.place, text);
            SubjectForm::Hidden
        }
    }
}

/// Whether a named field, with all that it expands to, may leave.
// PROMISE-7: a contract that would let out more than its tier allows does not load.
fn check(
    tier: Tier,
    path: &Placed<String>,
    found: &schema::Found,
    transform: Transform,
    problems: &Problems,
) {
    let Some(field) = found.field() else { return };
    let mut leaves = Vec::new();
    expand(field, &path.value, &mut leaves);
    if transform == Transform::Token {
        problems.mistake(&path.place, "`token` is for `subject`; a field takes `hash`");
        return;
    }
    if transform == Transform::Hash {
        let whole = matches!(field.shape, Shape::Part(_));
        let text = leaves.iter().all(|(_, leaf)| matches!(leaf.shape, Shape::Text));
        if whole || !text {
            problems.mistake(&path.place, "`hash` is for one field that holds text");
            return;
        }
    }
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

fn shorten(names: &[String]) -> String {
    match names {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        _ => names.join(", "),
    }
}

/// The fields that `keep` on a field lets out: of a code its system and code, of another part
/// every field.
fn expand(field: &'static Field, path: &str, leaves: &mut Vec<(String, &'static Field)>) {
    match field.shape {
        // A value as a whole leaves by the class of its type, which is seen when it is there.
        Shape::Part(part) if part.name == VALUE => {}
        Shape::Part(part) => {
            let base = if field.many && !path.ends_with("[]") {
                format!("{path}[]")
            } else {
                path.to_owned()
            };
            for inner in part.fields.iter().filter(|inner| is_kept(part, inner)) {
                expand(inner, &format!("{base}.{}", inner.name), leaves);
            }
        }
        Shape::Text | Shape::Date | Shape::Number | Shape::Bool => {
            leaves.push((path.to_owned(), field));
        }
    }
}

fn is_kept(part: &Part, field: &Field) -> bool {
    part.kept.is_empty() || part.kept.contains(&field.name)
}

struct Builder<'n> {
    tier: Tier,
    named: &'n [Named],
    lines: Vec<Line>,
}

impl Builder<'_> {
    /// The picks of a part's fields. `inherited` is what holds for those that are not named.
    fn part(
        &mut self,
        part: &'static Part,
        path: &str,
        inherited: Option<Transform>,
    ) -> Vec<(&'static str, Pick)> {
        let mut picks = Vec::new();
        for field in part.fields {
            let path = if path.is_empty() {
                field.name.to_owned()
            } else {
                format!("{path}.{}", field.name)
            };
            let labelled = if field.many { format!("{path}[]") } else { path.clone() };
            let own = self
                .named
                .iter()
                .find(|named| named.path == path || named.path == labelled)
                .map(|named| named.transform);
            let from_above = inherited.filter(|_| is_kept(part, field));
            if let Some(pick) = self.field(field, &labelled, own.or(from_above)) {
                picks.push((field.name, pick));
            }
        }
        picks
    }

    fn field(
        &mut self,
        field: &'static Field,
        path: &str,
        transform: Option<Transform>,
    ) -> Option<Pick> {
        if let Shape::Part(part) = field.shape {
            if part.name == VALUE && transform == Some(Transform::Keep) {
                let line = Line {
                    path: path.to_owned(),
                    transform: Transform::Keep,
                    class: Class::ByValueType,
                };
                self.lines.push(line);
                return Some(Pick::Value { line: self.lines.len() - 1 });
            }
            let fields = self.part(part, path, transform);
            return (!fields.is_empty()).then_some(Pick::Fields(fields));
        }
        let transform = transform?;
        if !self.tier.allows(field.class, transform) {
            return None;
        }
        let line = self.lines.len();
        let pick = match transform {
            Transform::Drop | Transform::Token => return None,
            Transform::Keep => Pick::Keep { line },
            Transform::Hash => Pick::Hash { line, path: path.to_owned() },
        };
        self.lines.push(Line { path: path.to_owned(), transform, class: field.class });
        Some(pick)
    }
}

/// The part whose class follows its type.
const VALUE: &str = "value";

fn hash(tier: Tier, subject: SubjectForm, lines: &[Line]) -> String {
    let mut text =
        format!("schema {}\ntier {}\nsubject {subject:?}\n", schema::VERSION, tier.name());
    for line in lines {
        text.push_str(&format!("{} {}\n", line.path, line.transform.name()));
    }
    format!("sha256:{}", hex(digest(&SHA256, text.as_bytes()).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Place;

    fn compile(tier: Tier, fields: &[(&str, Transform)]) -> (Recipe, Vec<String>) {
        let problems = Problems::default();
        let place = Place { file: "r.toml".into(), line: 1, column: 1 };
        let fields: Vec<_> = fields
            .iter()
            .map(|(path, transform)| {
                (Placed { value: (*path).to_owned(), place: place.clone() }, *transform)
            })
            .collect();
        let recipe = Recipe::compile(tier, &fields, &problems);
        (recipe, problems.mistakes().iter().map(|problem| problem.text.clone()).collect())
    }

    fn paths(recipe: &Recipe) -> Vec<&str> {
        recipe.lines.iter().map(|line| line.path.as_str()).collect()
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
