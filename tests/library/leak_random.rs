//! Nothing leaves that its contract does not name: random events over the whole schema, random contracts
//! of each tier, random ledgers.
//!
//! Every text, number and date is its own, so that it counts wherever it turns up: whole, of a date its
//! day, too. A year, a band or the last characters are not the value. What is true or false is no value
//! to look for: where it may stand is the shape's matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use tidegate::consent::{Epoch, Ledger, Requirement, Says};
use tidegate::contract::Contract;
use tidegate::event::schema::{DATA, Field, Part, Shape, parts_of};
use tidegate::event::{Event, EventId, EventType, Subject};
use tidegate::phi::Phi;
use tidegate::privacy::Tier;

use crate::consent::record_of;
use crate::contracts::{loaded, written};
use crate::leak::{Named, TIERS, let_out, released, top};
use crate::support::canary::forms::Values;

/// Every field by its path, parts and what is in them.
fn fields() -> BTreeMap<String, &'static Field> {
    fn walk(part: &'static Part, above: &str, all: &mut BTreeMap<String, &'static Field>) {
        for field in part.fields {
            let path = format!("{above}{}", field.label());
            if let Shape::Part(inner) = field.shape {
                walk(inner, &format!("{path}."), all);
            }
            all.insert(path, field);
        }
    }
    let mut all = BTreeMap::new();
    walk(&DATA, "", &mut all);
    all
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    /// splitmix64.
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// A word that is nowhere else: sixteen letters and digits, and now and then what has to be escaped.
    fn word(&mut self) -> String {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut word = "Zq".to_owned();
        for _ in 0..14 {
            word.push(char::from(LETTERS[usize::try_from(self.below(36)).unwrap()]));
        }
        match self.below(6) {
            0 => word + " Ñandú \"x\"",
            1 => word + "/+&=?\\",
            2 => word.to_uppercase(),
            _ => word,
        }
    }
}

/// An event in which every value is its own, and so can be told wherever it turns up: words and numbers
/// by chance; dates each in an age of its own, so that no shift leads from one to another.
struct Maker {
    dice: Dice,
    /// How many fields of a hundred are there.
    density: u64,
    eras: Vec<i32>,
    /// Everything that must not be found where it is not named.
    values: BTreeSet<String>,
}

/// Days between two ages: more than twice the widest shift.
const ERA_DAYS: i32 = 800;
/// Ages from 1130 on.
const ERAS: i32 = 400;

impl Maker {
    fn new(seed: u64, density: u64) -> Self {
        let mut dice = Dice(seed);
        let mut eras: Vec<i32> = (0..ERAS).collect();
        for at in (1..eras.len()).rev() {
            eras.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap());
        }
        Self { dice, density, eras, values: BTreeSet::new() }
    }

    fn mark(&mut self, value: String) -> Json {
        self.values.insert(value.clone());
        value.into()
    }

    fn word(&mut self) -> Json {
        let word = self.dice.word();
        self.mark(word)
    }

    /// A date that nothing else lies near, as a day or to the second; its day is a value, too.
    fn date(&mut self) -> Json {
        let Some(era) = self.eras.pop() else { return Json::Null };
        let days = era * ERA_DAYS + i32::try_from(self.dice.below(60)).unwrap();
        let first = jiff::civil::date(1130, 1, 1);
        let day = first.checked_add(jiff::Span::new().days(days)).unwrap().to_string();
        self.values.insert(day.clone());
        self.values.insert(day.replace('-', ""));
        if self.dice.one_in(3) {
            return day.into();
        }
        let time = format!(
            "{day}T{:02}:{:02}:{:02}-08:00",
            self.dice.below(24),
            self.dice.below(60),
            self.dice.below(60)
        );
        self.mark(time)
    }

    /// A number that no step and no edge of a contract here gives.
    fn number(&mut self) -> Json {
        let whole = 1_000_000 + self.dice.below(9_000_000);
        let text = format!("{whole}.{}7", 100 + self.dice.below(900));
        self.values.insert(text.clone());
        text.parse::<f64>().unwrap().into()
    }

    fn part(&mut self, part: &'static Part) -> Json {
        if part.name == "value" {
            return self.value();
        }
        let mut object = serde_json::Map::new();
        for field in part.fields {
            if self.dice.below(100) >= self.density && !matches!(field.shape, Shape::Part(_)) {
                continue;
            }
            let one = |maker: &mut Self| match field.shape {
                Shape::Text if field.name == "system" && maker.dice.one_in(2) => json!("I10"),
                Shape::Text => maker.word(),
                Shape::Date => maker.date(),
                Shape::Number => maker.number(),
                Shape::Bool => json!(maker.dice.one_in(2)),
                Shape::Part(inner) => maker.part(inner),
            };
            let json = if field.many {
                let count = 1 + self.dice.below(2);
                (0..count).map(|_| one(self)).collect::<Vec<_>>().into()
            } else {
                one(self)
            };
            object.insert(field.name.to_owned(), json);
        }
        object.into()
    }

    /// An observation's value as the mappings make them.
    fn value(&mut self) -> Json {
        match self.dice.below(9) {
            0 => {
                let number = self.number();
                json!({"type": "NM", "text": number.to_string(), "number": number, "numeral": true})
            }
            1 => {
                let (one, two) = (self.number(), self.number());
                let text = format!(">{one}-{two}");
                json!({"type": "SN", "text": text, "comparator": ">", "number": one,
                    "separator": "-", "number2": two, "numeral": true})
            }
            // SN.1 holds something that is no comparator, and could be anybody's number.
            2 => {
                let (number, before) = (self.number(), 900_000_000 + self.dice.below(99_000_000));
                let before = format!("{}-{}-", before / 10_000, before % 10_000);
                self.values.insert(before.clone());
                json!({"type": "SN", "text": format!("{before}{number}"), "number": number})
            }
            3 => {
                json!({"type": "CWE", "code": self.part(code()), "moreCodes": [self.part(code())]})
            }
            4 => json!({"type": "TS", "time": self.date()}),
            5 => json!({"type": "DR", "time": self.date(), "until": self.date()}),
            6 => {
                json!({"type": "NA", "text": self.word(), "numbers": [self.number(), self.number()]})
            }
            7 => json!({"type": "ED", "attachment": self.part(attachment())}),
            _ => {
                let kind = ["TX", "FT", "ST", "XPN", "XCN", "CX", ""];
                let kind = kind[usize::try_from(self.dice.below(7)).unwrap()];
                json!({"type": kind, "text": self.word()})
            }
        }
    }

    /// An event of some type, with what is around its data: IDs, whom it is about, the feed; and the data
    /// as it was made, with a mark at texts that are their numbers.
    fn event(&mut self) -> (Event, Json, String) {
        let kinds = EventType::ALL;
        let kind = kinds[usize::try_from(self.dice.below(kinds.len() as u64)).unwrap()];
        let mut data = serde_json::Map::new();
        for part in parts_of(kind) {
            let field = DATA.field(part).unwrap();
            let Shape::Part(inner) = field.shape else { continue };
            let json = if field.many {
                json!([self.part(inner), self.part(inner)])
            } else {
                self.part(inner)
            };
            data.insert(field.name.to_owned(), json);
        }
        let marked = Json::from(data);
        let mut data = marked.clone();
        let observations = data.get_mut("observations").and_then(Json::as_array_mut);
        for observation in observations.into_iter().flatten() {
            observation["value"].as_object_mut().unwrap().remove("numeral");
        }
        let mut own = || self.dice.word().replace([' ', '"', '/', '\\', '?', '&', '=', '+'], "x");
        let (authority, number, message, feed) = (own(), own(), own(), own());
        self.values.extend([&authority, &number, &message].map(Clone::clone));
        let event = Event {
            id: EventId(format!("{message}.patient.pid1").into()),
            kind,
            subject: Subject { authority, value: Phi::new(number) }.into(),
            prior: None,
            data: Arc::new(serde_json::from_value(data).unwrap()),
        };
        (event, marked, feed)
    }
}

fn code() -> &'static Part {
    part_at("observations[].value.code")
}

fn attachment() -> &'static Part {
    part_at("observations[].value.attachment")
}

fn part_at(path: &str) -> &'static Part {
    match tidegate::event::schema::find(path).unwrap().field().unwrap().shape {
        Shape::Part(part) => part,
        _ => unreachable!("{path} is a part"),
    }
}

/// Parts and fields of which contracts are made.
const NAMED_OFTEN: [&str; 14] = [
    "observations[].value",
    "observations[].value",
    "observations[].value.text",
    "observations[].value.number",
    "observations[].code",
    "observations[]",
    "diagnoses[].code",
    "diagnoses[]",
    "visit",
    "visit.location",
    "patient.birthDate",
    "patient.addresses[]",
    "report",
    "message",
];

/// A line of a contract: a field, a transform that may fit it, whether under another name.
fn line(
    fields: &[(String, &'static Field)],
    which: u64,
    how: u64,
    other_name: bool,
) -> (String, String, String) {
    let (path, field) = match which % 4 {
        // What most contracts name; by chance alone it would be named in one of a hundred.
        0 => {
            let path = NAMED_OFTEN[usize::try_from(which / 4).unwrap() % NAMED_OFTEN.len()];
            fields.iter().find(|(known, _)| known == path).unwrap()
        }
        _ => &fields[usize::try_from(which / 4).unwrap() % fields.len()],
    };
    let words: &[&str] = match field.shape {
        Shape::Part(_) => &["keep", "keep", "keep", "drop", "code-family"],
        Shape::Date if path.starts_with("patient.birth") => {
            &["year", "age", "age-band", "keep", "month"]
        }
        Shape::Date => &["keep", "keep", "year", "month", "week", "shift", "drop"],
        Shape::Number => &["keep", "round", "band", "constant", "drop"],
        Shape::Bool => &["keep", "constant", "drop"],
        Shape::Text if field.name == "postalCode" => &["zip3", "keep", "hash"],
        Shape::Text if field.name == "state" => &["state", "keep", "hash"],
        Shape::Text => &["keep", "keep", "keep", "hash", "mask", "table", "constant", "drop"],
    };
    let word = words[usize::try_from(how).unwrap() % words.len()];
    let setting = match word {
        "mask" => ", last = 4",
        "shift" => ", days = 366",
        "round" => ", to = 0.5",
        "band" => ", width = 10",
        "table" => ", table = \"region\"",
        "constant" => ", value = \"there\"",
        "code-family" => ", length = 3",
        _ => "",
    };
    let name = match path.rsplit_once('.') {
        Some((above, _)) if other_name && !matches!(field.shape, Shape::Part(_)) => {
            format!(", as = \"{above}.other{which}\"")
        }
        _ => String::new(),
    };
    (path.clone(), word.to_owned(), format!("{path:?} = {{ transform = {word:?}{setting}{name} }}"))
}

/// A contract that loads, of the lines that do, and what they say.
fn contract_of(
    tier: (&str, Tier),
    subject: &str,
    lines: Vec<(String, String, String)>,
    glass: Option<&str>,
) -> Option<(Contract, Named)> {
    let mut kept: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (path, word, text) in lines {
        kept.insert(path, (word, text));
    }
    let subject = match (tier.1, subject) {
        (Tier::Deidentified, _) => None,
        (Tier::Limited | Tier::Pseudonymized, "keep") => Some("token"),
        (_, word) => Some(word),
    };
    if let Some(word) = subject {
        kept.insert("subject".to_owned(), (word.to_owned(), format!("\"subject\" = {word:?}")));
    }
    let mut glass = glass;
    for _ in 0..6 {
        let fields: Vec<&str> = kept.values().map(|(_, text)| text.as_str()).collect();
        let tables = glass.map_or(String::new(), |path| {
            format!(
                "[[break_glass]]\nfield = {path:?}\ntransform = \"keep\"\napproved_by = [\"one\", \"two\"]\n\
                 reason = \"a visit\"\nexpires = 2026-12-01\n"
            )
        });
        let text = written(tier.0, top(tier.1), &fields.join("\n"), &tables);
        let (contract, mistakes) = loaded(&text);
        if let Some(contract) = contract {
            let words = kept.into_iter().map(|(path, (word, _))| (path, word));
            let glass = glass.map(|path| (path.to_owned(), "keep".to_owned()));
            let words: BTreeMap<String, String> = words.chain(glass).collect();
            return Some((contract, Named::of(tier.1, &words)));
        }
        // What cannot be is left out, as its author would.
        let wrong: BTreeSet<&str> = mistakes
            .iter()
            .filter_map(|mistake| mistake.split(':').nth(1)?.parse::<usize>().ok())
            .filter_map(|number| text.lines().nth(number - 1))
            .collect();
        let before = kept.len();
        kept.retain(|_, (_, text)| !wrong.contains(text.as_str()));
        if kept.len() == before {
            glass.take()?;
        }
    }
    None
}

/// Records of one patient by which something may leave, or not, each under a name of its own.
fn records(dice: &mut Dice, values: &mut BTreeSet<String>) -> Vec<tidegate::consent::Record> {
    let mut own = || {
        let word: String = dice.word().chars().filter(char::is_ascii_alphanumeric).collect();
        values.insert(word.clone());
        word
    };
    let (key, feed, form, document, limits) = (own(), own(), own(), own(), own());
    let purpose = ["CLINTRCH", "HRESCH", "TREAT"].join(",");
    (0..dice.below(4))
        .map(|at| {
            let text = match dice.below(9) {
                0 => format!("deny 2026-0{}-01 for={purpose}", at + 1),
                1 => format!("restrict 2026-0{}-01", at + 1),
                _ => format!("permit 2026-0{}-01 for={purpose}", at + 1),
            };
            let mut record = record_of(&format!("{text} key={key}{at} feed={feed}"), "r");
            record.origin.feed.clone_from(&feed);
            record.origin.message = format!("{key}-1");
            record.origin.form = Some(form.clone());
            record.origin.document = Some(document.clone());
            if let Says::Consent(consent) = &mut record.says {
                consent.limitations = Some(Phi::new(limits.clone()));
            }
            record
        })
        .collect()
}

/// How many cases there are; a hundred takes four seconds.
const CASES: u32 = 120;

/// What the cases of a property came to, so that none of it was about nothing.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    refused: usize,
    released: BTreeMap<&'static str, usize>,
    values: usize,
    forms: usize,
    kept: usize,
    lines: usize,
}

/// PROMISE-7
#[test]
fn no_value_leaves_that_the_contract_does_not_name_in_any_form() {
    let all: Vec<(String, &'static Field)> = fields().into_iter().collect();
    assert!(all.len() > 600, "{} fields", all.len());
    let tally = std::cell::RefCell::new(Tally::default());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let lines = proptest::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 1..40);
    let subjects = prop_oneof![Just("keep"), Just("token"), Just("token"), Just("drop")];
    let glass = proptest::option::of(any::<u64>());
    let strategy = (any::<u64>(), 10_u64..60, 0..TIERS.len(), lines, subjects, glass);
    let outcome = runner.run(&strategy, |(seed, density, tier, lines, subject, glass)| {
        let mut maker = Maker::new(seed, density);
        let (event, data, feed) = maker.event();
        let records = records(&mut maker.dice, &mut maker.values);
        let lines: Vec<_> =
            lines.into_iter().map(|(which, how, other)| line(&all, which, how, other)).collect();
        let glass = glass.map(|which| all[usize::try_from(which).unwrap() % all.len()].0.as_str());
        let Some((contract, named)) = contract_of(TIERS[tier], subject, lines, glass) else {
            return Err(TestCaseError::reject("no line of it loads"));
        };
        let requirement = match maker.dice.below(3) {
            0 => Requirement::None { basis: "a test".to_owned() },
            _ => Requirement::OptOut,
        };
        let mut tally = tally.borrow_mut();
        tally.cases += 1;
        let ledger = Ledger::of(Epoch(1), &records);
        let Some(release) = released(&contract, &event, &ledger, &requirement, &feed) else {
            tally.refused += 1;
            return Ok(());
        };
        if TIERS[tier].1 == Tier::Deidentified {
            maker.values.insert(feed);
        }
        let mut allowed = let_out(&named, &data, &event.subject);
        // The IDs of the message, the feed and the records that it leaves by stand in an identified envelope.
        if TIERS[tier].1 == Tier::Identified {
            let records = records.iter().map(|record| record.reference().to_string());
            allowed =
                records.fold(format!("{allowed}\n{}", event.id.0), |all, it| all + "\n" + &it);
        }
        let values = Values::new(maker.values);
        let allowed = values.said_in(&allowed);
        let body = std::str::from_utf8(release.body()).unwrap();
        let shown = format!("{body}\n{release:?}\n{:?}", release.fates());
        let hits = values.search(&shown);
        let leaks: Vec<_> = hits.iter().filter(|hit| !allowed.contains(&hit.value)).collect();
        prop_assert!(leaks.is_empty(), "{leaks:#?}\n{}\n{:?}", body, contract.recipe.lines);
        *tally.released.entry(TIERS[tier].0).or_default() += 1;
        tally.values += values.len() - allowed.len();
        tally.forms += values.forms();
        tally.kept += hits.len();
        tally.lines += contract.recipe.lines.len();
        Ok(())
    });
    let tally = tally.into_inner();
    println!("{tally:?}");
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(
        tally.released.len() == 4 && tally.released.values().all(|count| *count >= 5),
        "{tally:?}"
    );
    assert!(tally.refused >= 3 && tally.kept > 100 && tally.lines > 300, "{tally:?}");
    assert!(tally.values > 5_000 && tally.forms > 20 * tally.values, "{tally:?}");
}
