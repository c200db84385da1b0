//! A path from its text.
//!
//! Promises: a path that cannot be is refused, and the refusal says at which column and why.
//! Knows nothing of: resources that are there.

use super::shape::{Found, Shape, nearest};
use super::{Condition, PATH_BYTES_MAX, Path, STEPS_MAX, Step, WrongPath};
use crate::parse::fhir::Version;
use crate::parse::fhir::elements;

/// Deepest that conditions may stand in conditions.
const CONDITIONS_DEPTH_MAX: usize = 4;
/// Highest number that a path may name.
const NUMBER_MAX: usize = 999;
const FUNCTIONS: [&str; 4] = ["where", "ofType", "first", "extension"];

impl Path {
    /// Reads a path that begins with a resource type. Its elements are those that at least one of
    /// the releases has.
    ///
    /// # Errors
    /// What is wrong with it, at which column, and what could stand there.
    pub fn read(text: &str, versions: &[Version]) -> Result<Self, WrongPath> {
        let mut reader = Reader::new(text)?;
        let start = reader.column();
        let kind = reader.name().ok_or_else(|| {
            reader.wrong_at(start, "a path begins with a resource type, such as Patient")
        })?;
        let Some(shape) = Shape::resource(kind, versions) else {
            let near = nearest(kind, elements::resources());
            let near = near.map_or_else(
                || "a path begins with one, such as Patient".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            return Err(reader.wrong_at(start, &format!("{kind} is no resource type: {near}")));
        };
        let mut walk = Walk::new(shape);
        reader.steps(&mut walk, 0, false)?;
        reader.end()?;
        Ok(walk.path(text, Some(kind)))
    }

    /// Reads a path that begins at what another names: `value` within
    /// `Patient.identifier`. `$this` is that itself.
    ///
    /// # Errors
    /// What is wrong with it, at which column, and what could stand there.
    pub fn read_within(text: &str, around: &Self) -> Result<Self, WrongPath> {
        let mut reader = Reader::new(text)?;
        let mut walk = Walk::new(around.shape.clone());
        reader.relative(&mut walk, 0)?;
        reader.end()?;
        Ok(walk.path(text, None))
    }
}

/// How far a path has come.
struct Walk {
    steps: Vec<Step>,
    shape: Shape,
    /// The choice that the last step left open: its name, and the types around it.
    open: Option<(Box<str>, Shape)>,
}

impl Walk {
    const fn new(shape: Shape) -> Self {
        Self { steps: Vec::new(), shape, open: None }
    }

    fn path(self, text: &str, kind: Option<&str>) -> Path {
        Path {
            text: text.trim().into(),
            kind: kind.map(Into::into),
            steps: self.steps.into(),
            shape: self.shape,
        }
    }

    /// What follows is read in the twin of a primitive, `_birthDate`.
    fn turn_to_twin(&mut self) {
        let last = self.steps.iter_mut().rev().find_map(|step| match step {
            Step::Members(names) => Some(names),
            _ => None,
        });
        match last {
            Some(names) => {
                let twins = names.iter().map(|name| format!("_{name}").into());
                *names = twins.collect();
            }
            None => self.steps.push(Step::Twin),
        }
    }

    fn child(&mut self, name: &str) -> Result<(), String> {
        if name == "resourceType" && self.shape.types().all(elements::is_resource) {
            // An element in JSON, though not in the specification; of contained resources it is what
            // tells them apart.
            return Err("which type a resource has, ofType() says".to_owned());
        }
        let Found { names, shape, is_open } = self.shape.child(name)?;
        if self.shape.is_primitive() {
            self.turn_to_twin();
        }
        let around = std::mem::replace(&mut self.shape, shape);
        self.open = is_open.then(|| (name.into(), around));
        self.steps.push(Step::Members(names.into()));
        Ok(())
    }

    fn of_type(&mut self, of: &str) -> Result<(), String> {
        let of = of.strip_prefix("FHIR.").unwrap_or(of);
        if let Some((base, around)) = self.open.take() {
            let Found { names, shape, .. } = around.choice(&base, of)?;
            self.steps.pop();
            self.steps.push(Step::Members(names.into()));
            self.shape = shape;
            return Ok(());
        }
        if self.shape.is_any_resource() {
            let shape = self.shape.narrowed(of);
            self.shape = shape.ok_or_else(|| {
                let near = nearest(of, elements::resources());
                let near = near.map_or_else(String::new, |near| format!(": did you mean {near}?"));
                format!("{of} is no resource type{near}")
            })?;
            let kind = Step::Members([Box::from("resourceType")].into());
            let condition = Condition { steps: [kind].into(), text: of.into() };
            self.steps.push(Step::Where([condition].into()));
            return Ok(());
        }
        Err("ofType() stands behind a choice, such as Observation.value, or a resource".to_owned())
    }

    fn extension(&mut self, url: &str) {
        if self.shape.is_primitive() {
            self.turn_to_twin();
        }
        self.steps.push(Step::Extension(url.into()));
        self.shape = self.shape.extension();
        self.open = None;
    }
}

struct Reader<'t> {
    text: &'t str,
    /// The byte that comes next.
    at: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Result<Self, WrongPath> {
        let mut reader = Reader { text, at: 0 };
        if text.len() > PATH_BYTES_MAX {
            return Err(reader.wrong_at(1, &format!("longer than {PATH_BYTES_MAX} bytes")));
        }
        reader.blanks();
        Ok(reader)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn column(&self) -> usize {
        self.text.get(..self.at).map_or(0, |before| before.chars().count()) + 1
    }

    fn wrong_at(&self, column: usize, text: &str) -> WrongPath {
        WrongPath { column, text: text.to_owned() }
    }

    fn wrong(&self, text: &str) -> WrongPath {
        self.wrong_at(self.column(), text)
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.rest().starts_with(wanted);
        if is_there {
            self.at += wanted.len_utf8();
        }
        is_there
    }

    fn want(&mut self, wanted: char) -> Result<(), WrongPath> {
        self.blanks();
        if self.take(wanted) { Ok(()) } else { Err(self.wrong(&format!("`{wanted}` is missing"))) }
    }

    /// A name: a letter, then letters and digits. In backticks it may also be a word of FHIRPath.
    fn name(&mut self) -> Option<&'t str> {
        let quoted = self.rest().starts_with('`');
        let rest = if quoted { self.rest().get(1..)? } else { self.rest() };
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest
            .get(..end)
            .filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()))?;
        if quoted && !rest.get(end..)?.starts_with('`') {
            return None;
        }
        self.at += end + if quoted { 2 } else { 0 };
        Some(name)
    }

    fn end(&mut self) -> Result<(), WrongPath> {
        self.blanks();
        match self.rest() {
            "" => Ok(()),
            rest if rest.starts_with('|') => {
                Err(self.wrong("`|` is not read here: give a list of paths"))
            }
            _ => Err(self.wrong("a path goes on with `.` or `[`")),
        }
    }

    /// A path that begins at an element.
    fn relative(&mut self, walk: &mut Walk, depth: usize) -> Result<(), WrongPath> {
        if let Some(rest) = self.rest().strip_prefix("$this") {
            self.at = self.text.len() - rest.len();
            return self.steps(walk, depth, false);
        }
        self.steps(walk, depth, true)
    }

    /// What stands behind where a path begins; `is_start` where it has not begun.
    fn steps(&mut self, walk: &mut Walk, depth: usize, is_start: bool) -> Result<(), WrongPath> {
        let mut is_start = is_start;
        loop {
            if walk.steps.len() >= STEPS_MAX {
                return Err(self.wrong(&format!("more than {STEPS_MAX} steps")));
            }
            if is_start || self.take('.') {
                self.step(walk, depth)?;
            } else if self.take('[') {
                let number = self.number()?;
                self.want(']')?;
                walk.steps.push(Step::Number(number));
            } else {
                return Ok(());
            }
            is_start = false;
        }
    }

    fn step(&mut self, walk: &mut Walk, depth: usize) -> Result<(), WrongPath> {
        let column = self.column();
        let Some(name) = self.name() else {
            return Err(self.wrong("an element or a function stands here"));
        };
        if !self.take('(') {
            return walk.child(name).map_err(|text| self.wrong_at(column, &text));
        }
        self.blanks();
        match name {
            "first" => walk.steps.push(Step::First),
            "where" => {
                let conditions = self.conditions(walk, depth)?;
                walk.steps.push(Step::Where(conditions));
            }
            "extension" => walk.extension(&self.quoted()?),
            "ofType" => {
                let column = self.column();
                let from = self.rest();
                let end = from.find(')').unwrap_or(from.len());
                let of = from.get(..end).unwrap_or_default().trim();
                walk.of_type(of).map_err(|text| self.wrong_at(column, &text))?;
                self.at += end;
            }
            "resolve" => {
                return Err(self.wrong_at(
                    column,
                    "resolve() is not read: the subject's Patient stands beside its resource",
                ));
            }
            _ => {
                let near = nearest(name, FUNCTIONS.into_iter())
                    .map_or_else(|| FUNCTIONS.join("(), "), str::to_owned);
                let text = format!("{name}() is not a function of these: {near}()");
                return Err(self.wrong_at(column, &text));
            }
        }
        self.want(')')
    }

    fn number(&mut self) -> Result<usize, WrongPath> {
        self.blanks();
        let column = self.column();
        let rest = self.rest();
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|digits| digits.parse().ok());
        let number = number.filter(|number| *number <= NUMBER_MAX).ok_or_else(|| {
            self.wrong_at(column, &format!("a number from 0 to {NUMBER_MAX} stands in brackets"))
        })?;
        self.at += end;
        Ok(number)
    }

    /// `system='urn:x' and use='official'`
    fn conditions(&mut self, walk: &Walk, depth: usize) -> Result<Box<[Condition]>, WrongPath> {
        if depth >= CONDITIONS_DEPTH_MAX {
            return Err(self.wrong("conditions stand too deep in conditions"));
        }
        let mut conditions = Vec::new();
        loop {
            self.blanks();
            let mut inner = Walk::new(walk.shape.clone());
            self.relative(&mut inner, depth + 1)?;
            self.blanks();
            if !self.take('=') {
                return Err(
                    self.wrong("a condition is an element, `=`, and a text in single quotes")
                );
            }
            self.blanks();
            if !inner.shape.is_primitive() {
                let types: Vec<_> = inner.shape.types().collect();
                let text =
                    format!("a {} is not a value: name an element of it", types.join(" or "));
                return Err(self.wrong(&text));
            }
            let text = self.literal()?;
            conditions.push(Condition { steps: inner.steps.into(), text });
            self.blanks();
            match self.rest().strip_prefix("and") {
                Some(rest) if rest.starts_with([' ', '\t']) && conditions.len() < STEPS_MAX => {
                    self.at = self.text.len() - rest.len();
                }
                _ => return Ok(conditions.into()),
            }
        }
    }

    /// A text in single quotes, a number, `true` or `false`.
    fn literal(&mut self) -> Result<Box<str>, WrongPath> {
        let rest = self.rest();
        if rest.starts_with('\'') {
            return self.quoted().map(Into::into);
        }
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let is_number = word.bytes().any(|byte| byte.is_ascii_digit())
            && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-'));
        if !matches!(word, "true" | "false") && !is_number {
            return Err(self.wrong("a text in single quotes stands here"));
        }
        self.at += end;
        Ok(word.into())
    }

    /// A text in single quotes; `\'` and `\\` stand for themselves.
    fn quoted(&mut self) -> Result<String, WrongPath> {
        let start = self.column();
        if !self.take('\'') {
            return Err(self.wrong("a text in single quotes stands here"));
        }
        let mut text = String::new();
        let mut letters = self.rest().char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\'' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match letters.next() {
                    Some((_, escaped @ ('\'' | '\\' | '"' | '`' | '/'))) => text.push(escaped),
                    _ => {
                        return Err(
                            self.wrong_at(start, "`\\` stands before a quote or `\\` alone")
                        );
                    }
                },
                letter => text.push(letter),
            }
        }
        Err(self.wrong_at(start, "a quote is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Version; 2] = [Version::R4, Version::R5];

    #[test]
    fn a_wrong_path_is_refused_with_its_column_and_what_could_stand_there() {
        for (path, wanted) in [
            ("", "column 1: a path begins with a resource type, such as Patient"),
            ("Patiant.name", "column 1: Patiant is no resource type: did you mean Patient?"),
            (
                "HumanName.given",
                "column 1: HumanName is no resource type: a path begins with one, such as Patient",
            ),
            ("Patient.nmae", "column 9: Patient has no element nmae: did you mean name?"),
            ("Patient.name.family.x", "column 21: string is a value and has no element x"),
            ("Patient.name.", "column 14: an element or a function stands here"),
            ("Patient..name", "column 9: an element or a function stands here"),
            ("Patient.name[x]", "column 14: a number from 0 to 999 stands in brackets"),
            ("Patient.name[1", "column 15: `]` is missing"),
            ("Patient.name[1000]", "column 14: a number from 0 to 999 stands in brackets"),
            ("Patient.name given", "column 14: a path goes on with `.` or `[`"),
            (
                "Patient.name | Patient.contact",
                "column 14: `|` is not read here: give a list of paths",
            ),
            (
                "Patient.identifier.where(system)",
                "column 32: a condition is an element, `=`, and a text in single quotes",
            ),
            (
                "Patient.identifier.where(system=\"x\")",
                "column 33: a text in single quotes stands here",
            ),
            (
                "Patient.identifier.where(sytem='x')",
                "column 26: Identifier has no element sytem: did you mean system?",
            ),
            (
                "Patient.identifier.where(type='x')",
                "column 31: a CodeableConcept is not a value: name an element of it",
            ),
            ("Patient.identifier.where(system='x)", "column 33: a quote is not closed"),
            ("Patient.identifier.where(system='x'", "column 36: `)` is missing"),
            (
                "Observation.value.ofType(Quantitty)",
                "column 26: value cannot be of type Quantitty: did you mean Quantity?",
            ),
            (
                "Observation.code.ofType(Coding)",
                "column 25: ofType() stands behind a choice, such as Observation.value, or a resource",
            ),
            (
                "Observation.valueCode",
                "column 13: Observation has no element valueCode: did you mean value?",
            ),
            (
                "Observation.subject.resolve()",
                "column 21: resolve() is not read: the subject's Patient stands beside its resource",
            ),
            ("Patient.name.frist()", "column 14: frist() is not a function of these: first()"),
            (
                "Patient.name.last()",
                "column 14: last() is not a function of these: where(), ofType(), first(), extension()",
            ),
            ("Patient.extension(u)", "column 19: a text in single quotes stands here"),
        ] {
            assert_eq!(Path::read(path, &BOTH).unwrap_err().to_string(), wanted, "{path}");
        }
        assert!(Path::read(&format!("Patient{}", ".contact".repeat(200)), &BOTH).is_err());
    }

    #[test]
    fn an_element_of_one_release_is_refused_where_the_other_is_meant() {
        assert!(Path::read("Encounter.actualPeriod.start", &BOTH).is_ok());
        assert!(Path::read("Encounter.hospitalization.origin", &BOTH).is_ok());
        let wrong = Path::read("Encounter.actualPeriod.start", &[Version::R4]).unwrap_err();
        assert_eq!(wrong.to_string(), "column 11: Encounter has actualPeriod in R5 alone");
        let types = |path: &str, versions: &[Version]| {
            Path::read(path, versions).unwrap().types().collect::<Vec<_>>()
        };
        assert_eq!(types("Encounter.class", &BOTH), ["CodeableConcept", "Coding"]);
        assert_eq!(types("Encounter.class", &[Version::R4]), ["Coding"]);
        assert_eq!(types("Encounter.class.code", &BOTH), ["code"]);
        assert_eq!(
            types("Condition.onset", &BOTH),
            ["Age", "Period", "Range", "dateTime", "string"]
        );
        let keys = Path::read("Condition.onset.ofType(dateTime)", &BOTH).unwrap();
        assert_eq!((keys.keys(), keys.kind()), (&["onsetDateTime".into()][..], Some("Condition")));
    }
}
