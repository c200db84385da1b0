//! Contracts as written to contracts as meant.
//!
//! Promises: every mistake of every contract is reported at once, with file, line and column;
//! a contract that would let out more than its tier allows does not load.
//! Knows nothing of: which realms and brokers are configured; `config` compares.

use std::path::Path;
use std::time::Duration;

use crate::consent::policy::labels::UNKNOWN;
use crate::consent::{Missing, Naming, PURPOSES, Prior, Requirement};
use crate::document::{Document, Place, Placed, Problems, Table, hint};
use crate::event::schema::{self, Class};
use crate::event::{Declaration, EventType};
use crate::privacy::recipe::Wanted;
use crate::privacy::{Recipe, Tier};

use super::fields::{self, Codings, Glass};
use super::{Broken, Contract, Contracts, Destination, Once, References, Terms, When, deliver};

/// Most contracts in one folder.
pub const CONTRACTS_MAX: usize = 200;
/// Longest name of a route, feed or realm, in characters. It becomes a queue's name, a file's
/// and a label of metrics.
pub(super) const NAME_CHARS_MAX: usize = 64;
/// Purposes that may see identified data without a consent that names the consumer.
const IDENTIFIED_PURPOSES: [&str; 5] = ["TREAT", "ETREAT", "HPAYMT", "PATADMIN", "PUBHLTH"];
/// Purposes that may see a limited data set.
const LIMITED_PURPOSES: [&str; 3] = ["HRESCH", "PUBHLTH", "HOPERAT"];
/// Most sensitivity labels of a contract.
const LABELS_MAX: usize = 64;
/// How often a batch may leave. More often than a minute it would be live, and more rarely than a year
/// the journal would have to keep what waits for longer than anyone plans a disk for.
const BATCH_MIN: Duration = Duration::from_secs(60);
const BATCH_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Most events a second that `rate_max` may say: above what one route can deliver it limits nothing.
const RATE_MAX: u64 = 100_000;

/// Loads `*.toml` of a folder, with the tables that they name, over events that hold what is
/// declared. Mistakes go to `problems`.
#[must_use]
pub fn load(
    dir: &Path,
    declared: Declaration,
    codings: Codings<'_>,
    problems: &Problems,
) -> Contracts {
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
    let documents: Vec<Document> =
        files.iter().filter_map(|file| Document::open(file, problems)).collect();
    gather(documents.iter(), declared, codings, problems)
}

/// The same, of documents.
#[must_use]
pub fn gather<'d>(
    documents: impl Iterator<Item = &'d Document>,
    declared: Declaration,
    codings: Codings<'_>,
    problems: &Problems,
) -> Contracts {
    let mut contracts = Contracts::default();
    for document in documents {
        let Some((references, contract)) =
            document.read(problems, |table| read(table, declared, codings))
        else {
            continue;
        };
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
fn read(
    table: &Table<'_>,
    declared: Declaration,
    codings: Codings<'_>,
) -> Option<(References, Option<Contract>)> {
    let name = named(table, "name").map(|name| name.value);
    let version = version(table);
    let schema = table.required("schema").and_then(|item| item.integer(1..=schema::VERSION));
    let consumer = required(table, "consumer");
    let owner = required(table, "owner");
    let terms = Terms::read(table);
    let tier = table.required_choice("tier", &Tier::NAMES);
    let purpose = purpose(table);
    let realm = named(table, "realm");
    let events = events(table);
    let when = When::read(table, declared, &events);
    let history = table.boolean("history", false);
    let once = once(table, tier, &events);
    let labels = labels(table);
    let naming = purpose.as_deref().map_or(Naming::Anybody, |purpose| naming(tier, purpose));
    let consent = table.required("consent").and_then(|item| consent(&item.table()?, naming));
    if let (Naming::Named, Some(asked)) = (naming, &consent)
        && !matches!(asked.requirement, Requirement::OptIn { .. })
    {
        let list = IDENTIFIED_PURPOSES.join(", ");
        let text = format!("tier identified is for {list}, or with `consent.require = \"opt-in\"`");
        table.mistake(&table.place_of("purpose"), text);
    }
    if tier == Some(Tier::Limited) {
        check_limited(table, purpose.as_deref(), &terms);
    }
    let (batch, expert) = batch(table, tier);
    let named_fields = table.required("fields").and_then(|item| item.table());
    let named_fields = named_fields.map(|fields| fields::read(&fields, codings));
    let glasses = fields::glasses(table, codings);
    let recipe =
        tier.zip(named_fields.as_ref()).map(|(tier, wanted)| recipe(table, declared, tier, wanted));
    let broken = tier
        .zip(named_fields.as_ref())
        .map(|(tier, wanted)| broken(table, (declared, tier), wanted, glasses, &when));
    if let Some(tier) = tier {
        check_filters(table, tier, &when);
    }
    let deliver = table.required("deliver").and_then(|item| deliver::read(&item.table()?));
    let deliver_place = table.place_of("deliver");
    if let (Some(deliver), Some(recipe)) = (&deliver, &recipe) {
        check_routing(table, deliver, recipe);
    }
    let on_revoked = table.choice("on_revoked", &Prior::NAMES).unwrap_or_default();
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
            terms,
            on_revoked,
            purpose: purpose?,
            realm: realm?,
            events,
            history,
            once,
            labels,
            requirement: consent.as_ref()?.requirement.clone(),
            channel: consent?.channel,
            classes: classes(recipe.as_ref()?, &when),
            when,
            recipe: recipe?,
            broken: broken?,
            batch,
            expert,
            rate_max,
            routing: deliver.as_ref()?.routing_fields(),
            deliver: deliver?,
            file: table.place().file.to_string(),
        })
    };
    Some((references, contract()))
}

fn version(table: &Table<'_>) -> Option<String> {
    let version = table.required_text("version")?;
    let numbers: Vec<&str> = version.value.split('.').collect();
    let right = numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
    if !right {
        table.mistake(&version.place, "`version` is three numbers, such as \"1.0.0\"");
    }
    right.then_some(version.value)
}

fn labels(table: &Table<'_>) -> Vec<String> {
    let Some(item) = table.item("labels") else { return Vec::new() };
    let labels = item.texts();
    if labels.len() > LABELS_MAX || labels.iter().any(|label| label.value.trim().is_empty()) {
        item.mistake(format!("`labels` are at most {LABELS_MAX} words"));
    }
    if let Some(label) = labels.iter().find(|label| label.value == UNKNOWN) {
        let text =
            "what nobody has mapped is for no consumer; map its code in [labels] of consent.toml";
        table.mistake(&label.place, text);
    }
    labels.into_iter().take(LABELS_MAX).map(|label| label.value).collect()
}

/// A limited data set is for research, public health and operations, under a data use agreement (45
/// CFR 164.514(e)).
fn check_limited(table: &Table<'_>, purpose: Option<&str>, terms: &Terms) {
    if purpose.is_some_and(|purpose| !LIMITED_PURPOSES.contains(&purpose)) {
        let text = format!("tier limited is for {}", LIMITED_PURPOSES.join(", "));
        table.mistake(&table.place_of("purpose"), text);
    }
    if terms.agreement.is_none() || terms.agreement_ends.is_none() {
        let text = "tier limited wants a data use agreement with an end: `agreement` and \
                    `agreement_ends`";
        table.mistake(&table.place_of("tier"), text);
    }
}

/// `once`, which is about transitions, of visits that the consumer may know.
fn once(table: &Table<'_>, tier: Option<Tier>, events: &[EventType]) -> Option<Once> {
    let once = table.choice("once", &Once::NAMES)?;
    let place = table.place_of("once");
    if tier == Some(Tier::Deidentified) {
        table.mistake(&place, "`once` does not go with tier deidentified, which knows no visits");
    }
    // Where `events` is wrong in itself, that is told there.
    if !events.is_empty() && !events.iter().any(|kind| kind.is_transition()) {
        let all = EventType::ALL.into_iter().filter(|kind| kind.is_transition());
        let names: Vec<&str> = all.map(EventType::name).collect();
        let text =
            format!("`once` is about transitions, and `events` names none of {}", names.join(", "));
        table.mistake(&place, text);
    }
    Some(once)
}

/// `batch` and `expert`, which belong to tier deidentified.
fn batch(table: &Table<'_>, tier: Option<Tier>) -> (Option<Duration>, Option<String>) {
    let bounds = BATCH_MIN..=BATCH_MAX;
    let batch = table.has("batch").then(|| table.duration("batch", BATCH_MAX, bounds));
    let expert = table.text("expert").map(|text| text.value);
    match tier {
        Some(Tier::Deidentified) if batch.is_none() => {
            let text = "tier deidentified wants `batch`: how often what has come together leaves, \
                        shuffled, such as \"30d\"";
            table.mistake(&table.place_of("tier"), text);
        }
        Some(Tier::Deidentified) if expert.is_none() => {
            let text = "that a batch arrives is a date of all that is in it; `expert` names the \
                        determination that allows this";
            table.warn(&table.place_of("batch"), text);
        }
        Some(Tier::Identified | Tier::Limited | Tier::Pseudonymized) => {
            for key in ["batch", "expert"] {
                if table.has(key) {
                    let text = format!("`{key}` goes with tier deidentified");
                    table.mistake(&table.place_of(key), text);
                }
            }
        }
        Some(Tier::Deidentified) | None => {}
    }
    (batch, expert)
}

/// Compiles `[fields]`.
fn recipe(table: &Table<'_>, declared: Declaration, tier: Tier, wanted: &[Wanted]) -> Recipe {
    let problems = Problems::default();
    let recipe = Recipe::compile(declared, tier, wanted, &problems);
    for problem in problems.mistakes() {
        table.mistake(&problem.place, problem.text);
    }
    if problems.is_clean() && recipe.lines.is_empty() {
        table.mistake(&table.place_of("fields"), "`fields` lets nothing out");
    }
    recipe
}

/// What leaves while each glass is broken: `[fields]`, it, and all that end later.
fn broken(
    table: &Table<'_>,
    (declared, tier): (Declaration, Tier),
    wanted: &[Wanted],
    mut glasses: Vec<Glass>,
    when: &When,
) -> Vec<Broken> {
    glasses.sort_by_key(|glass| glass.ends);
    let mut all = Vec::new();
    for (index, glass) in glasses.iter().enumerate() {
        let open = glasses.iter().skip(index);
        let added: Vec<Wanted> = open.map(|glass| glass.wanted.clone()).collect();
        for one in &added {
            if wanted.iter().any(|known| known.path.value == one.path.value) {
                let text = format!("`{}` is in `fields` already", one.path.value);
                table.mistake(&one.path.place, text);
            }
        }
        let recipe = recipe(table, declared, tier, &[wanted, &added].concat());
        let mut fields: Vec<String> = added.into_iter().map(|one| one.path.value).collect();
        fields.dedup();
        let classes = classes(&recipe, when);
        all.push(Broken { glass: glass.clone(), recipe, classes, fields });
    }
    all
}

/// A field that decides whether an event leaves counts as released.
// PROMISE-7
fn check_filters(table: &Table<'_>, tier: Tier, when: &When) {
    for filter in when.fields() {
        if !filter.presence && !tier.allows_kept(filter.class) {
            let text = format!(
                "tier {} does not let out {} ({}), and that an event is there would disclose it",
                tier.name(),
                filter.path,
                filter.class.name()
            );
            table.mistake(&table.place_of("when"), text);
        }
    }
}

/// A field of a routing key is one that leaves, and one value.
// PROMISE-7
fn check_routing(table: &Table<'_>, deliver: &Destination, recipe: &Recipe) {
    let known: Vec<&str> = recipe
        .lines
        .iter()
        .filter(|line| !line.leaves_as.contains("[]") && line.class != Class::ByValueType)
        .map(|line| line.leaves_as.as_str())
        .collect();
    for field in deliver.routing_fields() {
        if !known.contains(&field.as_str()) {
            let hint = hint(&field, &known);
            let text = format!("`routing_key`: `{field}` is no single field that leaves{hint}");
            table.mistake(&table.place_of("deliver"), text);
        }
    }
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

/// Whether a permit must name the consumer: what identifies the patient leaves for a purpose that
/// is not a basis of its own (design, tiers).
fn naming(tier: Option<Tier>, purpose: &str) -> Naming {
    if tier == Some(Tier::Identified) && !IDENTIFIED_PURPOSES.contains(&purpose) {
        Naming::Named
    } else {
        Naming::Anybody
    }
}

/// The classes of what leaves, and of what decides about it, each once.
fn classes(recipe: &Recipe, when: &When) -> Vec<Class> {
    let leaving = recipe.lines.iter().map(|line| line.class);
    let mut classes: Vec<Class> =
        leaving.chain(when.fields().iter().map(|filter| filter.class)).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
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
        let contract = Document::from_text("r.toml", Path::new("."), text)
            .read(&problems, |table| read(table, Declaration::default(), &|_, _| None));
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
    fn a_contract_asks_for_each_transition_once_where_it_has_some_and_knows_visits() {
        let said = |tier: &str, events: &str, lines: &str| {
            let text = RIGHT
                .replace("tier = \"identified\"", &format!("tier = \"{tier}\"\n{lines}"))
                .replace("\"subject\" = \"keep\"", "");
            let text = text.replace("[\"patient.admitted\"]", events);
            let (contract, mistakes) = check(&text);
            (contract.and_then(|contract| contract.once), mistakes)
        };
        let (admitted, reported) = ("[\"patient.admitted\"]", "[\"observation.reported\"]");
        let once = "once = \"visit\"";
        assert_eq!(said("pseudonymized", admitted, ""), (None, vec![]));
        assert_eq!(said("pseudonymized", admitted, once), (Some(Once::Visit), vec![]));
        let both = "[\"observation.reported\", \"patient.discharge-cancelled\"]";
        assert_eq!(said("identified", both, once), (Some(Once::Visit), vec![]));
        for (tier, events, lines, text) in [
            ("pseudonymized", reported, once, "`once` is about transitions"),
            ("pseudonymized", admitted, "once = \"patient\"", "visit"),
            ("deidentified", admitted, "once = \"visit\"\nbatch = \"30d\"", "knows no visits"),
        ] {
            let (_, mistakes) = said(tier, events, lines);
            assert!(mistakes.len() == 1 && mistakes[0].contains(text), "{mistakes:?}");
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
}
