//! Which events a contract wants, by what is in them: the rows of `[[when]]`, compiled.
//!
//! Promises: rows are checked against the event's declaration when the contract loads; rows over one
//! list hold of one and the same element; a row holds only for certain: of a date that is too
//! coarse, or a number of which only a bound is known, it does not.
//! Knows nothing of: tiers, consent.

use crate::document::{Item, Placed, Table, hint};
use crate::event::schema::{Class, Field, Shape};
use crate::event::{Declaration, Event, EventType, Value, View, observation};

/// Most tables, and most rows of a table.
const ROWS_MAX: usize = 64;
/// Most words of a `one_of` or `not`.
const WORDS_MAX: usize = 10_000;

/// The tables: one of them holds, or there are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    tables: Vec<Rows>,
    fields: Vec<Filter>,
}

/// A field that decides whether an event leaves: that an event is there discloses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The path.
    pub path: String,
    /// How identifying it is.
    pub class: Class,
    /// Whether only its presence counts.
    pub presence: bool,
}

/// The rows of a table: all of them hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    kinds: Option<Vec<EventType>>,
    root: Node,
}

/// Rows over one object or one element of a list.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    tests: Vec<(Vec<String>, Test)>,
    /// Of a list at a path: that one of its elements satisfies a node.
    some: Vec<(Vec<String>, Node)>,
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    Is(Vec<Scalar>),
    Not(Vec<Scalar>),
    AtLeast(Bound),
    AtMost(Bound),
    Above(Bound),
    Below(Bound),
    StartsWith(String),
    Present,
    Absent,
}

#[derive(Clone, Debug, PartialEq)]
enum Scalar {
    Text(String),
    Number(f64),
    Bool(bool),
}

#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Number(f64),
    Date(String),
}

impl When {
    /// Reads `[[when]]` over events that hold what is declared. Mistakes go to the table's problems.
    #[must_use]
    pub fn read(root: &Table<'_>, declared: Declaration, events: &[EventType]) -> Self {
        let mut when = Self::default();
        let tables = root.tables("when");
        if tables.len() > ROWS_MAX {
            root.mistake(&root.place_of("when"), format!("more than {ROWS_MAX} tables `when`"));
        }
        for table in tables.iter().take(ROWS_MAX) {
            let entries = table.entries();
            if entries.is_empty() {
                table.mistake(
                    &table.place(),
                    "a table `when` without a row would hold of everything",
                );
            }
            if entries.len() > ROWS_MAX {
                table.mistake(&table.place(), format!("more than {ROWS_MAX} rows"));
            }
            let mut rows = Rows::default();
            for (path, item) in entries.iter().take(ROWS_MAX) {
                if path.value == TYPE {
                    rows.kinds = Some(kinds(item, events));
                } else {
                    when.row(declared, &mut rows.root, path, item);
                }
            }
            when.tables.push(rows);
        }
        when
    }

    /// The fields that decide, each once.
    #[must_use]
    pub fn fields(&self) -> &[Filter] {
        &self.fields
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn holds(&self, event: &Event) -> bool {
        self.tables.is_empty()
            || self.tables.iter().any(|rows| {
                rows.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
                    && rows.root.holds(event.data.root())
            })
    }

    /// Whether it wants whatever another one wants, as far as that can be told from the rows.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let rows_cover = |rows: &Rows| self.tables.iter().any(|own| own.covers(rows));
        self.tables.is_empty() || (!other.tables.is_empty() && other.tables.iter().all(rows_cover))
    }

    fn row(
        &mut self,
        declared: Declaration,
        root: &mut Node,
        path: &Placed<String>,
        item: &Item<'_>,
    ) {
        let field = match declared.find(&path.value) {
            Ok(found) => found.field(),
            Err(text) => {
                item.mistake_at(&path.place, text);
                None
            }
        };
        let Some(field) = field else { return };
        let tests = tests(item, field);
        let presence = tests.iter().all(|test| matches!(test, Test::Present | Test::Absent));
        match self.fields.iter_mut().find(|known| known.path == path.value) {
            Some(known) => known.presence &= presence,
            None => {
                let (path, class) = (path.value.clone(), field.class);
                self.fields.push(Filter { path, class, presence });
            }
        }
        let mut steps: Vec<(&str, bool)> = path
            .value
            .split('.')
            .map(|step| match step.strip_suffix("[]") {
                Some(list) => (list, true),
                None => (step, false),
            })
            .collect();
        // `flags` without `[]` is its elements, too, as in `[fields]`.
        if let Some(last) = steps.last_mut() {
            last.1 |= field.many;
        }
        root.add(&steps, tests);
    }
}

impl Rows {
    fn covers(&self, other: &Self) -> bool {
        let kinds = match (&self.kinds, &other.kinds) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(kinds)) => kinds.iter().all(|kind| own.contains(kind)),
        };
        kinds && self.root.covers(&other.root)
    }
}

impl Node {
    /// Whether everything that it asks is asked by the other one, too, or more.
    fn covers(&self, other: &Self) -> bool {
        let asked = |(path, test): &(Vec<String>, Test)| {
            other.tests.iter().any(|(known, its)| known == path && test.covers(its))
        };
        let some = |(path, node): &(Vec<String>, Self)| {
            other.some.iter().any(|(known, its)| known == path && node.covers(its))
        };
        self.tests.iter().all(asked) && self.some.iter().all(some)
    }

    /// Adds what is asked at a path, to the node of its innermost list.
    fn add(&mut self, path: &[(&str, bool)], tests: Vec<Test>) {
        let names = |path: &[(&str, bool)]| -> Vec<String> {
            path.iter().map(|(name, _)| (*name).to_owned()).collect()
        };
        let Some(at) = path.iter().position(|(_, many)| *many) else {
            let names = names(path);
            self.tests.extend(tests.into_iter().map(|test| (names.clone(), test)));
            return;
        };
        let (list, inner) = path.split_at(at + 1);
        let list = names(list);
        if let Some((_, node)) = self.some.iter_mut().find(|(known, _)| *known == list) {
            node.add(inner, tests);
            return;
        }
        let mut node = Self::default();
        node.add(inner, tests);
        self.some.push((list, node));
    }

    fn holds(&self, value: View<'_>) -> bool {
        self.tests.iter().all(|(path, test)| test.holds(value, path))
            && self.some.iter().all(|(path, node)| {
                let list = walk(value, path).filter(|list| list.value() == Value::List);
                match list {
                    Some(list) => list.children().any(|element| node.holds(element)),
                    // Of a list that is not there only an absence can hold.
                    None => node.is_of_absence(),
                }
            })
    }

    fn is_of_absence(&self) -> bool {
        self.some.is_empty() && self.tests.iter().all(|(_, test)| *test == Test::Absent)
    }
}

fn walk<'t>(value: View<'t>, path: &[String]) -> Option<View<'t>> {
    path.iter().try_fold(value, |value, step| value.get(step))
}

impl Test {
    /// Whether it holds wherever the other one does.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(own), Self::Is(words)) => words.iter().all(|word| own.contains(word)),
            (Self::Not(own), Self::Not(words)) => own.iter().all(|word| words.contains(word)),
            (Self::AtLeast(Bound::Number(own)), Self::AtLeast(Bound::Number(bound)))
            | (Self::Above(Bound::Number(own)), Self::Above(Bound::Number(bound))) => own <= bound,
            (Self::AtMost(Bound::Number(own)), Self::AtMost(Bound::Number(bound)))
            | (Self::Below(Bound::Number(own)), Self::Below(Bound::Number(bound))) => own >= bound,
            (Self::Present, other) => *other != Self::Absent,
            (own, other) => own == other,
        }
    }

    fn holds(&self, around: View<'_>, path: &[String]) -> bool {
        let value = walk(around, path).filter(|value| value.value() != Value::Null);
        let Some(value) = value else { return *self == Self::Absent };
        let parent = match path {
            [steps @ .., _] => walk(around, steps),
            [] => None,
        };
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Is(words) => words.iter().any(|word| word.is(value, parent)),
            Self::Not(words) => {
                exact(value, parent) && !words.iter().any(|word| word.is(value, parent))
            }
            Self::StartsWith(start) => {
                value.as_text().is_some_and(|text| text.starts_with(start.as_str()))
            }
            Self::AtLeast(bound) => bound.compare(value, parent, &|least, _, bound| least >= bound),
            Self::Above(bound) => bound.compare(value, parent, &|least, _, bound| least > bound),
            Self::AtMost(bound) => bound.compare(value, parent, &|_, most, bound| most <= bound),
            Self::Below(bound) => bound.compare(value, parent, &|_, most, bound| most < bound),
        }
    }
}

/// The least and the most that a number may be, by what stands beside it. What is less than 5 is taken
/// for at most 5: one that is above a bound for certain is, too.
fn range(number: f64, parent: Option<View<'_>>) -> Option<(f64, f64)> {
    let Some(parent) = parent else { return Some((number, number)) };
    let (least, most) = observation::range(number, parent)?;
    Some((least.at, most.at))
}

/// Whether a value is what it says, and no bound of it.
fn exact(value: View<'_>, parent: Option<View<'_>>) -> bool {
    value.as_number().is_none_or(|number| range(number, parent) == Some((number, number)))
}

impl Scalar {
    fn is(&self, value: View<'_>, parent: Option<View<'_>>) -> bool {
        match (self, value.value()) {
            (Self::Text(word), Value::Text(text)) => word == text,
            (Self::Number(word), Value::Number(number)) => {
                range(number, parent) == Some((*word, *word))
            }
            (Self::Bool(word), Value::Bool(known)) => *word == known,
            _ => false,
        }
    }
}

/// Compares the least and the most that a value may be with a bound.
type Compare<'c> = &'c dyn Fn(Ordered<'_>, Ordered<'_>, Ordered<'_>) -> bool;

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Ordered<'o> {
    Number(f64),
    /// Times as text: they sort as the times do (docs of `PartialDate`), to the bound's precision.
    Date(&'o str),
}

impl Bound {
    fn compare(&self, value: View<'_>, parent: Option<View<'_>>, compare: Compare<'_>) -> bool {
        match (self, value.value()) {
            (Self::Number(bound), Value::Number(number)) => {
                let Some((least, most)) = range(number, parent) else { return false };
                let [least, most, bound] = [least, most, *bound].map(Ordered::Number);
                compare(least, most, bound)
            }
            // Cut to the bound's precision; a date that is coarser than the bound is not certain.
            (Self::Date(bound), Value::Text(text)) => {
                let cut = text.get(..bound.len());
                cut.is_some_and(|cut| {
                    compare(Ordered::Date(cut), Ordered::Date(cut), Ordered::Date(bound))
                })
            }
            _ => false,
        }
    }
}

/// The row that names event types.
const TYPE: &str = "type";
const WORDS: [&str; 9] =
    ["is", "one_of", "not", "at_least", "at_most", "above", "below", "starts_with", "present"];

fn kinds(item: &Item<'_>, events: &[EventType]) -> Vec<EventType> {
    let words = match item.is_table() {
        false => texts(item),
        true => item.table().map_or_else(Vec::new, |table| {
            let words = table.item("is").or_else(|| table.item("one_of"));
            if words.is_none() {
                table.mistake(&table.place(), "`type` takes `is` or `one_of`");
            }
            table.finish();
            words.map(|item| texts(&item)).unwrap_or_default()
        }),
    };
    let known: Vec<&str> = events.iter().map(|kind| kind.name()).collect();
    let mut kinds = Vec::new();
    for word in words {
        match EventType::from_name(&word.value).filter(|kind| events.contains(kind)) {
            Some(kind) => kinds.push(kind),
            None => {
                let hint = hint(&word.value, &known);
                item.mistake_at(
                    &word.place,
                    format!("`{}` is not among `events`{hint}", word.value),
                );
            }
        }
    }
    kinds
}

fn texts(item: &Item<'_>) -> Vec<Placed<String>> {
    if item.is_list() { item.texts() } else { item.text().into_iter().collect() }
}

/// What a row asks of a field, by the type that it is declared with.
fn tests(item: &Item<'_>, field: &Field) -> Vec<Test> {
    if !item.is_table() {
        return words(item, field).map(Test::Is).into_iter().collect();
    }
    let Some(table) = item.table() else { return Vec::new() };
    let mut tests = Vec::new();
    for (word, item) in table.entries() {
        let test = match word.value.as_str() {
            "is" | "one_of" => words(&item, field).map(Test::Is),
            "not" => words(&item, field).map(Test::Not),
            "at_least" => bound(&item, field).map(Test::AtLeast),
            "at_most" => bound(&item, field).map(Test::AtMost),
            "above" => bound(&item, field).map(Test::Above),
            "below" => bound(&item, field).map(Test::Below),
            "starts_with" if matches!(field.shape, Shape::Text) => {
                item.text().map(|text| Test::StartsWith(text.value))
            }
            "starts_with" => {
                item.mistake(format!(
                    "`starts_with` is for text; `{}` is {}",
                    field.name,
                    kind(field)
                ));
                None
            }
            "present" | "absent" => {
                let is_so = item.boolean();
                if is_so == Some(false) {
                    item.mistake("`present` and `absent` are true where they stand");
                }
                is_so.map(|_| if word.value == "present" { Test::Present } else { Test::Absent })
            }
            other => {
                let mut known = WORDS.to_vec();
                known.push("absent");
                let text = format!("`{other}` is no comparison{}", hint(other, &known));
                item.mistake_at(&word.place, text);
                None
            }
        };
        tests.extend(test);
    }
    if table.entries().is_empty() {
        item.mistake("a row that asks nothing would hold of everything");
    }
    tests
}

fn kind(field: &Field) -> &'static str {
    match field.shape {
        Shape::Text => "text",
        Shape::Date => "a date",
        Shape::Number => "a number",
        Shape::Bool => "true or false",
        Shape::Part(_) => "a part, of which `present` and `absent` can be asked",
    }
}

fn words(item: &Item<'_>, field: &Field) -> Option<Vec<Scalar>> {
    let items = if item.is_list() { item.items() } else { vec![item.clone()] };
    if items.is_empty() || items.len() > WORDS_MAX {
        item.mistake(format!("1 to {WORDS_MAX} values are wanted"));
    }
    let words = items.iter().take(WORDS_MAX).map(|item| match field.shape {
        Shape::Text => item.text().map(|text| Scalar::Text(text.value)),
        Shape::Number => item.number().map(Scalar::Number),
        Shape::Bool => item.boolean().map(Scalar::Bool),
        Shape::Date => {
            item.mistake(format!("`{}` is a date; `at_least` and the like compare it", field.name));
            None
        }
        Shape::Part(_) => {
            item.mistake(format!("`{}` is {}", field.name, kind(field)));
            None
        }
    });
    words.collect()
}

fn bound(item: &Item<'_>, field: &Field) -> Option<Bound> {
    match field.shape {
        Shape::Number => item.number().map(Bound::Number),
        Shape::Date => {
            let text = item.date_text()?;
            let digits = |text: &str, at: &[usize]| {
                text.bytes().enumerate().all(|(index, byte)| {
                    if at.contains(&index) { byte == b'-' } else { byte.is_ascii_digit() }
                })
            };
            if [4, 7, 10].contains(&text.len()) && digits(&text, &[4, 7]) {
                return Some(Bound::Date(text));
            }
            item.mistake("a date is wanted: 2026, 2026-11 or 2026-11-22");
            None
        }
        Shape::Text | Shape::Bool | Shape::Part(_) => {
            let text = format!("`{}` is {}, and has no order", field.name, kind(field));
            item.mistake(text);
            None
        }
    }
}
