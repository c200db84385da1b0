//! Contracts as written to contracts as meant.
//!
//! Promises: every mistake of every contract is reported at once, with file, line and column;
//! a contract that would let out more than its tier allows does not load.
//! Knows nothing of: which realms and brokers are configured; `config` compares.

use std::path::Path;
use std::time::Duration;

use crate::consent::{Missing, Naming, PURPOSES, Prior, Requirement};
use crate::document::{Document, Place, Placed, Problems, Table, hint};
use crate::event::EventType;
use crate::event::schema::{self, Class};
use crate::privacy::{Recipe, Tier, Transform};

use super::{Contract, Contracts, DEAD_SUFFIX, Destination, References};

/// Most contracts in one folder.
const CONTRACTS_MAX: usize = 200;
/// Longest name of a route, feed or realm, in characters. It becomes a queue's name, a file's
/// and a label of metrics.
const NAME_CHARS_MAX: usize = 64;
/// Longest name in AMQP 0-9-1 (`shortstr`), in bytes.
const AMQP_NAME_BYTES_MAX: usize = 255;
/// What may stand behind the exchange's name: the route's, where routes share it, and `.dead`.
const EXCHANGE_ROOM: usize = 1 + NAME_CHARS_MAX + DEAD_SUFFIX.len();
/// Purposes that may see identified data without a consent that names the consumer.
const IDENTIFIED_PURPOSES: [&str; 5] = ["TREAT", "ETREAT", "HPAYMT", "PATADMIN", "PUBHLTH"];

/// How often a batch may leave. More often than a minute it would be live, and more rarely than a year
/// the journal would have to keep what waits for longer than anyone plans a disk for.
const BATCH: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(366 * 86_400);
/// Most events a second that `rate_max` may say: above what one route can deliver it limits nothing.
const RATE_MAX: u64 = 100_000;

/// Loads `*.toml` of a folder. Mistakes go to `problems`.
#[must_use]
pub fn load(dir: &Path, problems: &Problems) -> Contracts {
    let place = Place { file: dir.display().to_string().into(), line: 1, column: 1 };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            problems.mistake(&place, format!("cannot be read: {error}"));
            return Contracts::default();
        }
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    if files.len() > CONTRACTS_MAX {
        problems.mistake(&place, format!("more than {CONTRACTS_MAX} contracts"));
        files.truncate(CONTRACTS_MAX);
    }
    let mut contracts = Contracts::default();
    for file in files {
        let Some(document) = Document::open(&file, problems) else { continue };
        let Some((references, contract)) = document.read(problems, read) else { continue };
        contracts.references.push(references);
        let Some(contract) = contract else { continue };
        if let Some(same) = contracts.right.iter().find(|known| known.name == contract.name) {
            let place = Place { file: contract.file.as_str().into(), line: 1, column: 1 };
            let text = format!("`{}` is the name of the contract in {}, too", same.name, same.file);
            problems.mistake(&place, text);
        }
        contracts.right.push(contract);
    }
    contracts
}

/// A name fit for queues, files and labels: small letters, digits and hyphens.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
}

/// Reads one contract.
#[expect(clippy::unnecessary_wraps, reason = "a document may be read to nothing, this one is not")]
fn read(table: &Table<'_>) -> Option<(References, Option<Contract>)> {
    let name = named(table, "name").map(|name| name.value);
    let version = table.required_text("version").and_then(|version| {
        let numbers: Vec<&str> = version.value.split('.').collect();
        let right =
            numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
        if !right {
            table.mistake(&version.place, "`version` is three numbers, such as \"1.0.0\"");
        }
        right.then_some(version.value)
    });
    let schema = table.required("schema").and_then(|item| item.integer(1..=schema::VERSION));
    let consumer = required(table, "consumer");
    let owner = required(table, "owner");
    let tier = table.required_choice("tier", &Tier::NAMES);
    let purpose = purpose(table);
    let realm = named(table, "realm");
    let events = events(table);
    let naming = purpose.as_deref().map_or(Naming::Anybody, |purpose| naming(tier, purpose));
    let consent = table.required("consent").and_then(|item| consent(&item.table()?, naming));
    if let (Naming::Named, Some(asked)) = (naming, &consent)
        && !matches!(asked.requirement, Requirement::OptIn { .. })
    {
        let list = IDENTIFIED_PURPOSES.join(", ");
        let text = format!("tier identified is for {list}, or with `consent.require = \"opt-in\"`");
        table.mistake(&table.place_of("purpose"), text);
    }
    let recipe = tier.and_then(|tier| recipe(table, tier));
    let deliver = table.required("deliver").and_then(|item| deliver(&item.table()?));
    let deliver_place = table.place_of("deliver");
    let agreement = table.text("agreement").map(|agreement| agreement.value);
    let on_revoked = table.choice("on_revoked", &Prior::NAMES).unwrap_or_default();
    let batch = batch(table, tier);
    let rate_max = table.integer("rate_max", 0, 0..=RATE_MAX);
    let references = References {
        realm: realm.clone(),
        deliver: deliver.clone().map(|deliver| (deliver, deliver_place)),
    };
    let contract = || {
        schema?;
        Some(Contract {
            name: name?,
            version: version?,
            consumer: consumer?,
            owner: owner?,
            agreement,
            on_revoked,
            purpose: purpose?,
            realm: realm?,
            events,
            requirement: consent.as_ref()?.requirement.clone(),
            channel: consent?.channel,
            classes: classes(recipe.as_ref()?),
            recipe: recipe?,
            batch,
            rate_max,
            deliver: deliver?,
            file: table.place().file.to_string(),
        })
    };
    Some((references, contract()))
}

fn required(table: &Table<'_>, key: &str) -> Option<String> {
    let text = table.required_text(key)?;
    if text.value.trim().is_empty() {
        table.mistake(&text.place, format!("`{key}` is empty"));
        return None;
    }
    Some(text.value)
}

fn named(table: &Table<'_>, key: &str) -> Option<Placed<String>> {
    let text = table.required_text(key)?;
    if !is_name(&text.value) {
        let wanted = "small letters, digits and hyphens, at most 64";
        table.mistake(&text.place, format!("`{key}` is not a name; {wanted}"));
        return None;
    }
    Some(text)
}

fn purpose(table: &Table<'_>) -> Option<String> {
    let text = table.required_text("purpose")?;
    if !PURPOSES.contains(&text.value.as_str()) {
        let hint = hint(&text.value, &PURPOSES);
        table.mistake(&text.place, format!("`purpose` is no HL7 v3 PurposeOfUse{hint}"));
        return None;
    }
    Some(text.value)
}

fn events(table: &Table<'_>) -> Vec<EventType> {
    let Some(item) = table.required("events") else { return Vec::new() };
    let names = item.texts();
    if names.is_empty() && item.is_list() {
        item.mistake("`events` names none");
    }
    let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.name()).collect();
    let mut kinds = Vec::new();
    for name in names {
        match EventType::from_name(&name.value) {
            Some(kind) if kinds.contains(&kind) => {
                table.mistake(&name.place, format!("`{kind}` stands here a second time"));
            }
            Some(kind) => kinds.push(kind),
            None => {
                let hint = hint(&name.value, &known);
                table.mistake(&name.place, format!("`{}` is not an event type{hint}", name.value));
            }
        }
    }
    kinds
}

/// What `[consent]` says.
struct Asked {
    requirement: Requirement,
    channel: Option<String>,
}

/// `[consent]`. Waiting for a consent is not known yet.
fn consent(table: &Table<'_>, naming: Naming) -> Option<Asked> {
    let item = table.required("require");
    let require = item.as_ref().and_then(|item| item.choice(&REQUIRE));
    let basis = table.text("basis").filter(|basis| !basis.value.trim().is_empty());
    // Said so that nobody thinks of it as the other: a consent that is missing may come.
    let missing = table.choice("missing", &[("suppress", Missing::Suppress)]);
    let channel = table.text("channel").map(|channel| channel.value);
    table.finish();
    let requirement = match (require?, basis) {
        (Require::None, Some(basis)) => Requirement::None { basis: basis.value },
        (Require::None, None) => {
            item?.mistake("`consent.require = \"none\"` wants `basis`: why no consent is needed");
            return None;
        }
        (Require::OptIn | Require::OptOut, Some(basis)) => {
            table.mistake(&basis.place, "`basis` goes with `consent.require = \"none\"`");
            return None;
        }
        (Require::OptIn, None) => {
            Requirement::OptIn { missing: missing.unwrap_or(Missing::Suppress), grantee: naming }
        }
        (Require::OptOut, None) => Requirement::OptOut,
    };
    Some(Asked { requirement, channel: channel.filter(|channel| channel != ANY_CHANNEL) })
}

#[derive(Clone, Copy)]
enum Require {
    None,
    OptIn,
    OptOut,
}

const REQUIRE: [(&str, Require); 3] =
    [("opt-in", Require::OptIn), ("opt-out", Require::OptOut), ("none", Require::None)];
/// What `channel` says where any will do.
const ANY_CHANNEL: &str = "any";

/// `batch`, which tier deidentified wants, and no other has.
fn batch(table: &Table<'_>, tier: Option<Tier>) -> Option<Duration> {
    let is_there = table.item("batch").is_some();
    match (tier, is_there) {
        (Some(Tier::Deidentified), false) => {
            let text =
                "tier deidentified wants `batch`: how often its events leave, such as \"30d\"";
            table.mistake(&table.place_of("tier"), text);
        }
        (Some(Tier::Identified | Tier::Limited | Tier::Pseudonymized), true) => {
            let text = "`batch` goes with tier deidentified: other tiers leave in order";
            table.mistake(&table.place_of("batch"), text);
        }
        (Some(Tier::Deidentified), true)
        | (Some(Tier::Identified | Tier::Limited | Tier::Pseudonymized) | None, _) => {}
    }
    is_there.then(|| table.duration("batch", *BATCH.end(), BATCH))
}

/// Whether a permit must name the consumer: what identifies the patient leaves for a purpose that
/// is not a basis of its own (design, tiers).
fn naming(tier: Option<Tier>, purpose: &str) -> Naming {
    if tier == Some(Tier::Identified) && !IDENTIFIED_PURPOSES.contains(&purpose) {
        Naming::Named
    } else {
        Naming::Anybody
    }
}

/// The classes of what leaves, each once.
fn classes(recipe: &Recipe) -> Vec<Class> {
    let mut classes: Vec<Class> = recipe.lines.iter().map(|line| line.class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

fn recipe(table: &Table<'_>, tier: Tier) -> Option<Recipe> {
    let needs = match tier {
        Tier::Identified | Tier::Pseudonymized | Tier::Deidentified => None,
        Tier::Limited => Some("a data use agreement with an end"),
    };
    if let Some(needs) = needs {
        let text =
            format!("tier {} needs {needs}, which this version does not know yet", tier.name());
        table.mistake(&table.place_of("tier"), text);
    }
    let fields = table.required("fields")?.table()?;
    let mut named: Vec<(Placed<String>, Transform)> = Vec::new();
    for (path, item) in fields.entries() {
        if item.is_table() {
            item.mistake(format!(
                "transforms with settings are not known yet; `{}` is one of {}",
                path.value,
                Transform::NAMES.map(|(name, _)| name).join(", ")
            ));
        } else if let Some(transform) = item.choice(&Transform::NAMES) {
            named.push((path, transform));
        }
    }
    let problems = Problems::default();
    let recipe = Recipe::compile(tier, &named, &problems);
    for problem in problems.mistakes() {
        table.mistake(&problem.place, problem.text);
    }
    if problems.is_clean() && recipe.lines.is_empty() {
        table.mistake(&table.place_of("fields"), "`fields` lets nothing out");
    }
    Some(recipe)
}

fn deliver(table: &Table<'_>) -> Option<Destination> {
    let kind = table.required_choice("kind", &[("rabbitmq", Kind::RabbitMq), ("file", Kind::File)]);
    let destination = match kind? {
        Kind::RabbitMq => {
            let exchange = table.required_text("exchange");
            let routing_key = table.text("routing_key");
            let exchange =
                exchange.filter(|exchange| fits(table, "exchange", exchange, EXCHANGE_ROOM));
            let routing_key = match routing_key {
                None => "{type}".to_owned(),
                Some(key) => {
                    let longest =
                        EventType::ALL.iter().map(|kind| kind.name().len()).max().unwrap_or(0);
                    if !fits(table, "routing_key", &key, longest) {
                        return None;
                    }
                    if key.value.replace("{type}", "").contains(['{', '}']) {
                        table.mistake(
                            &key.place,
                            "`routing_key` may hold {type} and nothing else in braces",
                        );
                    }
                    key.value
                }
            };
            exchange.map(|exchange| Destination::RabbitMq { exchange: exchange.value, routing_key })
        }
        Kind::File => {
            let path = table.required_text("path");
            let rotate = table.size("rotate", 256 << 20, 1 << 12..=1 << 40);
            path.map(|path| Destination::File { path: path.value.into(), rotate })
        }
    };
    table.finish();
    destination
}

#[derive(Clone, Copy)]
enum Kind {
    RabbitMq,
    File,
}

/// Whether a name fits into AMQP, with room for what is put into it.
fn fits(table: &Table<'_>, key: &str, text: &Placed<String>, room: usize) -> bool {
    let length = text.value.len() + room;
    let right = !text.value.is_empty() && length <= AMQP_NAME_BYTES_MAX;
    if !right {
        let text_of = format!("`{key}` has {length} bytes; AMQP takes 1 to {AMQP_NAME_BYTES_MAX}");
        table.mistake(&text.place, text_of);
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = r#"
name = "ward"
version = "1.0.0"
schema = 1
consumer = "crm"
owner = "operations"
purpose = "TREAT"
realm = "care"
tier = "identified"
events = ["patient.admitted"]
[consent]
require = "none"
basis = "treatment"
[fields]
"subject" = "keep"
"visit.class" = "keep"
[deliver]
kind = "rabbitmq"
exchange = "tidegate.care"
"#;

    fn check(text: &str) -> (Option<Contract>, Vec<String>) {
        let problems = Problems::default();
        let contract = Document::from_text("r.toml", Path::new("."), text).read(&problems, read);
        (
            contract.and_then(|(_, contract)| contract),
            problems.mistakes().iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn a_right_contract_loads() {
        let (contract, mistakes) = check(RIGHT);
        assert_eq!(mistakes, Vec::<String>::new());
        let contract = contract.unwrap();
        assert_eq!(contract.recipe.lines.len(), 1);
        let deliver = Destination::RabbitMq {
            exchange: "tidegate.care".to_owned(),
            routing_key: "{type}".to_owned(),
        };
        assert_eq!(contract.deliver, deliver);
    }

    #[test]
    fn every_mistake_is_reported_at_once_at_its_place() {
        let wrong = RIGHT
            .replace("1.0.0", "one")
            .replace("schema = 1", "schema = 2")
            .replace("TREAT", "TREATS")
            .replace("patient.admitted", "patient.admited")
            .replace("basis = \"treatment\"", "")
            .replace("visit.class", "visit.clas")
            .replace("owner", "ownr");
        let (contract, mistakes) = check(&wrong);
        assert!(contract.is_none());
        for part in [
            "r.toml:3:11: `version`",
            "r.toml:4:10: `schema` is out of bounds; from 1 to 1",
            "`owner` is missing",
            "r.toml:6:1: `ownr` is not known; did you mean `owner`?",
            "r.toml:7:11: `purpose`",
            "did you mean `patient.admitted`?",
            "wants `basis`",
            "did you mean `class`?",
        ] {
            assert!(mistakes.iter().any(|line| line.contains(part)), "{part}: {mistakes:#?}");
        }
    }

    /// PROMISE-5
    #[test]
    fn a_contract_says_which_consent_it_needs() {
        let none = "require = \"none\"\nbasis = \"treatment\"";
        let said = |consent: &str| check(&RIGHT.replace(none, consent));
        let missing = Missing::Suppress;
        for (consent, requirement, channel) in [
            ("require = \"opt-out\"", Requirement::OptOut, None),
            (
                "require = \"opt-in\"\nmissing = \"suppress\"\nchannel = \"phone\"",
                Requirement::OptIn { missing, grantee: Naming::Anybody },
                Some("phone"),
            ),
            (
                "require = \"opt-in\"\nchannel = \"any\"",
                Requirement::OptIn { missing, grantee: Naming::Anybody },
                None,
            ),
        ] {
            let (contract, mistakes) = said(consent);
            assert_eq!(mistakes, Vec::<String>::new(), "{consent}");
            let contract = contract.unwrap();
            assert_eq!(contract.requirement, requirement, "{consent}");
            assert_eq!(contract.channel.as_deref(), channel, "{consent}");
            assert_eq!(contract.classes, [Class::Clinical]);
        }
        for consent in [
            "require = \"maybe\"",
            "require = \"none\"",
            "require = \"opt-in\"\nbasis = \"treatment\"",
            "require = \"opt-in\"\nmissing = \"wait\"",
            "require = \"opt-in\"\nwait_for = \"24h\"",
            "wait_for = \"24h\"\nrequire = \"maybe\"",
        ] {
            let (contract, mistakes) = said(consent);
            let wrong = 1 + usize::from(consent.contains("maybe") && consent.contains("wait"));
            assert_eq!(mistakes.len(), wrong, "{consent}: {mistakes:?}");
            assert!(contract.is_none() || consent.contains("wait"), "{consent}");
        }
    }

    /// PROMISE-5
    #[test]
    fn what_identifies_leaves_for_other_purposes_by_a_named_consent_only() {
        let other = RIGHT.replace("TREAT", "HMARKT");
        assert_eq!(check(&other).1.len(), 1);
        let none = "require = \"none\"\nbasis = \"treatment\"";
        let (contract, mistakes) = check(&other.replace(none, "require = \"opt-in\""));
        assert_eq!(mistakes, Vec::<String>::new());
        let named = Requirement::OptIn { missing: Missing::Suppress, grantee: Naming::Named };
        assert_eq!(contract.unwrap().requirement, named);
    }

    #[test]
    fn a_deidentified_contract_says_how_often_it_leaves_and_no_other_does() {
        let said = |tier: &str, lines: &str| {
            let text = RIGHT
                .replace("tier = \"identified\"", &format!("tier = \"{tier}\"\n{lines}"))
                .replace("\"subject\" = \"keep\"", "");
            let (contract, mistakes) = check(&text);
            (contract.and_then(|contract| contract.batch), mistakes.len())
        };
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!(said("deidentified", "batch = \"30d\""), (days(30), 0));
        assert_eq!(said("pseudonymized", ""), (None, 0));
        for (tier, lines) in [
            ("deidentified", ""),
            ("deidentified", "batch = \"30s\""),
            ("deidentified", "batch = \"367d\""),
            ("deidentified", "batch = \"monthly\""),
            ("pseudonymized", "batch = \"30d\""),
        ] {
            assert_eq!(said(tier, lines).1, 1, "{tier} {lines}");
        }
    }

    #[test]
    fn a_contract_says_how_many_events_a_second_leave() {
        let said = |line: &str| {
            let (contract, mistakes) = check(&format!("{line}\n{RIGHT}"));
            (contract.map(|contract| contract.rate_max), mistakes.len())
        };
        assert_eq!(said(""), (Some(0), 0));
        assert_eq!(said("rate_max = 250"), (Some(250), 0));
        assert_eq!(said("rate_max = 100001").1, 1);
        assert_eq!(said("rate_max = -1").1, 1);
    }

    #[test]
    fn what_this_version_does_not_know_does_not_load() {
        for (from, to) in [
            ("tier = \"identified\"", "tier = \"limited\""),
            ("tier = \"identified\"", "tier = \"deidentified\""),
            ("schema = 1", "schema = 1\nexpires = 2027-06-30"),
            ("\"visit.class\" = \"keep\"", "\"visit.admittedAt\" = { transform = \"week\" }"),
            ("purpose = \"TREAT\"", "purpose = \"HMARKT\""),
        ] {
            let (_, mistakes) = check(&RIGHT.replace(from, to));
            assert!(!mistakes.is_empty(), "{to}");
        }
    }
}
