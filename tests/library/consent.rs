//! The decision table of docs/consent.md, and what must hold of every answer.
//!
//! A case is written in words that the table shows as they stand. Records are divided by `;`, an
//! alias's by `&`. The first word says what it is: `permit`, `deny`, `restrict`, `unrestrict`, `close`,
//! `unclose`; a date alone is when it was decided. [`record_of`] and [`Asking::read`] are the rest
//! of the grammar.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use tidegate::consent::{
    Alias, Capacity, Code, Confidentiality, Consent, Criteria, Decision, Epoch, Exception, Key,
    Kind, Ledger, Listed, Missing, Moment, Naming, Origin, Policy, Presence, Purposes, Question,
    Record, Reference, Requirement, Restriction, Says, Signer, Standin, Status, Turn, ask,
    when_next,
};
use tidegate::document::{Document, Problems};
use tidegate::event::EventId;
use tidegate::event::schema::Class;

use crate::consent_cases::{CASES, Case, POLICY};

/// Where the part of docs/consent.md begins that is written here.
const MARK: &str = "<!-- From here on tests/library/consent.rs writes this page. -->\n";
/// When a question is asked that does not say.
const NOW: &str = "2026-11-22T12:00:00Z";

fn policy() -> Policy {
    let problems = Problems::default();
    let policy = Policy::of(&Document::from_text("p.toml", Path::new("."), POLICY), &problems);
    assert!(problems.is_clean(), "{:?}", problems.mistakes());
    policy
}

/// The words of a text, as `key=value` or alone.
fn words(text: &str) -> Vec<(&str, &str)> {
    text.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, ""))).collect()
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn from_word<T: serde::de::DeserializeOwned>(word: &str) -> T {
    serde_json::from_value(serde_json::json!(word)).unwrap_or_else(|_| panic!("{word}"))
}

/// What an exception is about, and with `only-` before each word what a decision is limited to. `~`
/// in a list stands for values that nobody knows.
fn criteria_of(words: &[(&str, &str)], before: &str) -> Criteria {
    let get = |key: &str| {
        let mut words =
            words.iter().filter_map(|(word, value)| Some((word.strip_prefix(before)?, value)));
        words.find(|(word, _)| *word == key).map(|(_, value)| *value)
    };
    let listed = |key: &str| {
        let all = list(get(key)?);
        let others = all.iter().any(|value| value == "~");
        Some(Listed { these: all.into_iter().filter(|value| value != "~").collect(), others })
    };
    let moment = |key: &str| Moment::read(get(key)?, &TimeZone::UTC);
    Criteria {
        purposes: listed("for"),
        grantees: listed("to"),
        labels: listed("labels"),
        confidentiality: get("up-to").map(from_word::<Confidentiality>),
        classes: listed("classes"),
        from: moment("from"),
        to: moment("until"),
        beyond: get("beyond").is_some(),
    }
}

/// `[deny to=crm [permit labels=HIV]] [deny for=HMARKT]`: what stands in brackets is an exception
/// to what they stand in.
fn exceptions_of(text: &str) -> Vec<Exception> {
    let mut exceptions = Vec::new();
    let mut rest = text.trim();
    while let Some(inner) = rest.strip_prefix('[') {
        let mut depth = 1;
        let end = inner.find(|mark: char| {
            depth += i32::from(mark == '[') - i32::from(mark == ']');
            depth == 0
        });
        let (own, after) = inner.split_at(end.unwrap_or_else(|| panic!("{text}")));
        let (own, nested) = own.split_at(own.find('[').unwrap_or(own.len()));
        let words = words(own);
        exceptions.push(Exception {
            decision: from_word(words[0].0),
            about: criteria_of(&words, ""),
            exceptions: exceptions_of(nested),
        });
        rest = after[1..].trim();
    }
    assert!(rest.is_empty(), "{text}");
    exceptions
}

/// One record; `at` names it where it does not name itself.
pub fn record_of(text: &str, at: &str) -> Record {
    let (text, exceptions) = text.split_at(text.find('[').unwrap_or(text.len()));
    let words = words(text);
    let get = |key: &str| words.iter().find(|(word, _)| *word == key).map(|(_, value)| *value);
    let zone = get("zone").map_or(TimeZone::UTC, |name| TimeZone::get(name).unwrap());
    let moment = |text: &str| Moment::read(text, &zone).unwrap_or_else(|| panic!("{text}"));
    let decided = words.iter().map(|(word, _)| *word).find(|word| word.starts_with(['1', '2']));
    let decided_at = decided.map(moment);
    let arrived = get("arrived").or(decided).unwrap_or("2026-11-01");
    let turn = |begins: &str| if words[0].0 == begins { Turn::Begins } else { Turn::Ends };
    let says = match words[0].0 {
        "restrict" | "unrestrict" => Says::Restriction(Restriction {
            turn: turn("restrict"),
            visit: get("visit").map(str::to_owned),
            labels: get("labels").map(list).unwrap_or_default(),
        }),
        "close" | "unclose" => Says::Closure(turn("close")),
        decision => Says::Consent(Box::new(Consent {
            purposes: match get("for") {
                None => Purposes::These(vec!["CLINTRCH".to_owned()]),
                Some("every") => Purposes::Every,
                Some("none") => Purposes::These(Vec::new()),
                Some(named) => Purposes::These(list(named)),
            },
            channels: get("by").map(list).unwrap_or_default(),
            grantee: get("to").map(str::to_owned),
            jurisdiction: get("in").map(str::to_owned),
            labels: get("labels").map(list).unwrap_or_default(),
            classes: get("classes").map(list).unwrap_or_default(),
            decision: from_word::<Decision>(decision),
            status: get("status").map_or(Status::Active, from_word),
            kind: get("kind").map_or(Kind::Permission, from_word),
            signer: Signer {
                consenter: get("by-guardian").map_or(Presence::Absent, |_| Presence::Named),
                relationship: None,
                capacity: match get("incompetent") {
                    Some(_) => Capacity::Incompetent,
                    None => Capacity::Unstated,
                },
                standin: get("by-guardian").map(|why| match why {
                    "" => Standin::Unstated,
                    why => from_word(why),
                }),
                born: get("born").map(moment),
            },
            bypass: None,
            limitations: None,
            within: Some(criteria_of(&words, "only-")).filter(|within| !within.is_empty()),
            exceptions: exceptions_of(exceptions),
            by_exception: None,
        })),
    };
    Record {
        key: Key {
            source: get("feed").unwrap_or("adt").to_owned(),
            id: get("key").unwrap_or(at).to_owned(),
        },
        version: get("v").map(str::to_owned),
        decided_at,
        effective_from: get("from").map(moment),
        effective_to: get("until").map(moment),
        recorded_at: moment(arrived).span().earliest,
        origin: Origin {
            feed: get("of").unwrap_or("adt").to_owned(),
            document: get("doc").map(str::to_owned),
            withdraws: get("withdraws").map(str::to_owned),
            ..Origin::default()
        },
        says,
    }
}

/// The records of a case: a subject's own, and its aliases'.
fn ledger_of(text: &str) -> (Vec<Record>, Vec<Alias>) {
    let instant = |text: &str| Moment::read(text, &TimeZone::UTC).unwrap().span().earliest;
    let mut count = 0;
    let mut records = |text: &str| -> Vec<Record> {
        let texts = text.split(';').map(str::trim).filter(|text| !text.is_empty());
        texts
            .map(|text| {
                count += 1;
                record_of(text, &format!("r{count}"))
            })
            .collect()
    };
    let mut parts = text.split('&');
    let own = records(parts.next().unwrap());
    let aliases = parts
        .map(|part| {
            let (when, part) = part.split_once(": ").unwrap_or((part.trim_end_matches(':'), ""));
            let when = words(when);
            let said = |name: &str| when.iter().find(|(word, _)| *word == name);
            let with = said("with").map(|(_, at)| at.parse::<usize>().unwrap() - 1);
            Alias {
                records: records(part),
                merged_at: instant(when[0].1),
                unmerged_at: said("unmerged").map(|(_, at)| instant(at)),
                with,
            }
        })
        .collect();
    (own, aliases)
}

/// A question in words.
struct Asking {
    purpose: String,
    visit: Option<String>,
    channel: Option<String>,
    grantee: String,
    places: Vec<String>,
    labels: Vec<String>,
    contract_labels: Vec<String>,
    classes: Vec<Class>,
    requirement: Requirement,
    ends: Option<Timestamp>,
    now: Timestamp,
}

impl Asking {
    fn read(text: &str) -> Self {
        let words = words(text);
        let get = |key: &str| words.iter().find(|(word, _)| *word == key).map(|(_, value)| *value);
        let has = |key: &str| get(key).is_some();
        let missing = match get("wait") {
            None => Missing::Suppress,
            Some(_) => Missing::Wait { at_most: Duration::from_secs(86_400) },
        };
        let grantee = if has("named") { Naming::Named } else { Naming::Anybody };
        let classes = [Class::Direct, Class::Quasi, Class::Clinical, Class::Operational];
        let named = get("classes").map(list).unwrap_or_default();
        Self {
            purpose: get("for").unwrap_or("CLINTRCH").to_owned(),
            visit: get("visit").map(str::to_owned),
            channel: get("by").map(str::to_owned),
            grantee: get("as").unwrap_or("crm").to_owned(),
            places: get("in").map_or_else(|| list("US-CA"), list),
            labels: get("labels").map(list).unwrap_or_default(),
            contract_labels: get("contract").map(list).unwrap_or_default(),
            classes: classes
                .into_iter()
                .filter(|class| named.iter().any(|name| name == class.name()))
                .collect(),
            requirement: match () {
                () if has("opt-out") => Requirement::OptOut,
                () if has("none") => Requirement::None { basis: "a law".to_owned() },
                () => Requirement::OptIn { missing, grantee },
            },
            ends: get("ends").map(|day| format!("{day}T00:00:00Z").parse().unwrap()),
            now: get("now").unwrap_or(NOW).parse().unwrap(),
        }
    }

    /// The answer in words: the code, the records behind it, and whether it may wait.
    fn answer(&self, own: &[Record], aliases: &[Alias], policy: &Policy, now: Timestamp) -> String {
        let texts = |list: &'_ [String]| -> Vec<String> { list.to_vec() };
        let (places, labels) = (texts(&self.places), texts(&self.labels));
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let event = EventId("e".into());
        let question = Question {
            event: &event,
            route: "r",
            purpose: &self.purpose,
            visit: self.visit.as_deref(),
            channel: self.channel.as_deref(),
            grantee: &self.grantee,
            jurisdictions: &places,
            labels: &labels,
            contract_labels: &self.contract_labels,
            classes: &self.classes,
            requirement: &self.requirement,
            ends: self.ends,
        };
        let ledger = Ledger { epoch: Epoch(7), own, aliases };
        let (word, records, wait) = match ask(&question, &ledger, policy, now) {
            Ok(permit) => {
                assert!(permit.covers(&event, "r") && permit.epoch() == Epoch(7));
                ("permit".to_owned(), permit.records().to_vec(), None)
            }
            Err(refusal) => {
                assert!(refusal.sentence().contains(&self.purpose), "{}", refusal.sentence());
                (refusal.code().to_string(), refusal.records().to_vec(), refusal.wait())
            }
        };
        let mut text = word;
        if !records.is_empty() {
            let names: Vec<String> = records.iter().map(short).collect();
            text = format!("{text}: {}", names.join(", "));
        }
        if wait.is_some() {
            text += ", may wait";
        }
        text
    }
}

fn short(reference: &Reference) -> String {
    match &reference.version {
        Some(version) => format!("{} v{version}", reference.key.id),
        None => reference.key.id.clone(),
    }
}

/// The sentence of a refusal about a single record.
pub fn sentence(record: &str, question: &str) -> String {
    let (own, _) = ledger_of(record);
    let asking = Asking::read(question);
    let event = EventId("e".into());
    let question =
        Question::new(&event, "r", &asking.purpose, &asking.grantee, &asking.requirement);
    let ledger = Ledger::of(Epoch(1), &own);
    ask(&question, &ledger, &policy(), asking.now).unwrap_err().sentence().to_owned()
}

/// The answer to a question over records, in words.
pub fn answer(records: &str, question: &str) -> String {
    let (own, aliases) = ledger_of(records);
    let asking = Asking::read(question);
    asking.answer(&own, &aliases, &policy(), asking.now)
}

/// PROMISE-5
#[test]
fn every_case_of_the_decision_table_is_answered_as_it_says() {
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for (_, cases) in CASES {
        for Case(name, records, question, expected) in *cases {
            assert!(names.insert(name), "{name} stands there twice");
            let found = answer(records, question);
            if found != *expected {
                wrong.push(format!("{name}: {found}, not {expected}\n    {records} ? {question}"));
            }
        }
    }
    assert!(names.len() >= 90, "{} cases", names.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every reason there is to say no occurs in the table.
#[test]
fn the_decision_table_has_a_case_for_every_refusal() {
    let answers = CASES.iter().flat_map(|(_, cases)| cases.iter().map(|case| case.3));
    let seen: BTreeSet<&str> =
        answers.map(|answer| answer.split([':', ',']).next().unwrap()).collect();
    let all: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).chain(["permit"]).collect();
    assert_eq!(seen, all);
}

/// The committed table is the tested one. After a change:
/// `TIDEGATE_WRITE_GENERATED=1 cargo test --test library the_cases_under_docs`.
#[test]
fn the_cases_under_docs_are_the_tested_ones() {
    const PAGE: &str = "docs/consent.md";
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (written, generated) = page.split_once(MARK).expect(PAGE);
    let codes: Vec<String> = Code::ALL
        .iter()
        .map(|code| format!("| `{code}` | {} |\n", code.sentence("CLINTRCH")))
        .collect();
    let mut text = format!(
        "\n## The answers\n\n| code | what it says, here about CLINTRCH |\n|---|---|\n{}\n\
         ## The cases\n\nAll of them are asked under this consent.toml:\n\n```toml\n{}```\n",
        codes.concat(),
        POLICY
    );
    for (heading, cases) in CASES {
        text += &format!("\n### {heading}\n\n");
        text += "| case | records | question | answer |\n|---|---|---|---|\n";
        for Case(name, records, question, answer) in *cases {
            let code = |text: &str| match text {
                "" => String::new(),
                text => format!("`{text}`"),
            };
            text += &format!("| {name} | {} | {} | {answer} |\n", code(records), code(question));
        }
    }
    if std::env::var_os(crate::WRITE).is_some() {
        std::fs::write(PAGE, format!("{written}{MARK}{text}")).unwrap();
        return;
    }
    assert!(
        generated == text,
        "{PAGE} is not what the cases say; write it anew: \
         TIDEGATE_WRITE_GENERATED=1 cargo test --test library the_cases_under_docs"
    );
}

/// As it is shipped, and with every example of it switched on.
#[test]
fn the_shipped_consent_toml_loads() {
    let shipped = std::fs::read_to_string("conf/consent.toml").unwrap();
    let switched_on: String = shipped
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    for (text, spares) in [(shipped, false), (switched_on, true)] {
        let problems = Problems::default();
        let policy = Policy::of(&Document::from_text("c", Path::new("."), &text), &problems);
        let mistakes: Vec<String> = problems.mistakes().iter().map(ToString::to_string).collect();
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(policy.spares("TREAT"), spares);
        assert_eq!(policy.spoken_of("HL70496", "109").is_some(), spares);
        assert_eq!(policy.majority(&["US-CA"]).is_some(), spares);
    }
}

#[test]
fn a_sentence_names_purpose_record_and_date() {
    let (own, _) = ledger_of("permit key=C-17 v=2 2026-03-01 status=revoked");
    let event = EventId("e".into());
    let question = Question::new(&event, "r", "CLINTRCH", "crm", &Requirement::OptOut);
    let refusal =
        ask(&question, &Ledger::of(Epoch(1), &own), &policy(), NOW.parse().unwrap()).unwrap_err();
    assert_eq!(
        refusal.sentence(),
        "The patient withdrew the consent for CLINTRCH. Record adt/C-17 version 2, decided \
         2026-03-01."
    );
    assert_eq!(format!("{refusal:?}"), "Refusal(revoked)");
}

/// A few days on which decisions are made, with their overlaps.
const DAYS: [&str; 6] =
    ["2026-01-05", "2026-03", "2026-03-05", "2026-03-05T10:00Z", "2026-11-22", "2026-12-01"];

fn maybe(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(""), 2 => proptest::sample::select(words)]
}

/// What a decision is about and who made it, beyond its date.
fn details() -> impl Strategy<Value = String> {
    (
        maybe(&["for=every", "for=HRESCH", "for=HMARKT", "for=none"]),
        maybe(&["by=mail", "by=phone"]),
        maybe(&["to=crm", "to=lab"]),
        maybe(&["in=US", "in=US-CA", "in=US-NV"]),
        maybe(&["labels=HIV", "labels=SEX"]),
        maybe(&["from=2026-06-01", "from=2026-11-23", "from=2027"]),
        maybe(&["until=2026-06-30", "until=2026-11-22", "until=2026-12"]),
        maybe(&[
            "by-guardian=minor born=2010-01-01",
            "by-guardian=minor born=2008-12-01",
            "incompetent",
        ]),
        maybe(&["kind=preference", "kind=legal-basis"]),
    )
        .prop_map(|(purpose, channel, to, place, labels, from, until, signer, kind)| {
            [purpose, channel, to, place, labels, from, until, signer, kind].join(" ")
        })
}

fn any_record() -> impl Strategy<Value = String> {
    let day = maybe(&DAYS);
    let consent = (
        proptest::sample::select(&["permit", "permit", "deny"][..]),
        maybe(&[
            "status=proposed",
            "status=rejected",
            "status=inactive",
            "status=revoked",
            "status=entered-in-error",
            "status=bypassed",
            "status=unknown",
        ]),
        maybe(&["key=a", "key=a v=1", "key=a v=2", "key=b v=1", "key=b v=x"]),
        details(),
        maybe(&[
            "[deny to=crm]",
            "[deny until=2026-06-30 [permit for=CLINTRCH]]",
            "[permit to=crm from=2026-12] [deny beyond]",
            "[permit for=CLINTRCH]",
        ]),
    )
        .prop_map(|(decision, status, key, details, exceptions)| {
            (format!("{decision} {status} {key} {details}"), exceptions)
        });
    let other = (
        proptest::sample::select(&["restrict", "unrestrict", "close", "unclose"][..]),
        maybe(&["key=a", "key=p"]),
        maybe(&["visit=V1", "labels=42CFRPart2"]),
    )
        .prop_map(|(word, key, rest)| (format!("{word} {key} {rest}"), ""));
    let arrived = maybe(&["arrived=2026-02-01", "arrived=2026-10-01"]);
    (prop_oneof![5 => consent.boxed(), 1 => other.boxed()], day, arrived).prop_map(
        |((record, exceptions), day, arrived)| format!("{record} {day} {arrived} {exceptions}"),
    )
}

/// A record that closes and is in force now, under a key of its own.
fn closing() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("close key=zz 2026-03-05".to_owned()),
        Just("restrict key=zz 2026-03-05".to_owned()),
        (
            proptest::sample::select(
                &[
                    "deny",
                    "deny kind=preference",
                    "deny kind=legal-basis",
                    "permit status=revoked",
                    "permit status=rejected",
                    "permit status=unknown",
                ][..]
            ),
            maybe(&["for=every", "for=HRESCH", "by=mail", "to=crm", "in=US-CA", "labels=HIV"]),
            proptest::sample::select(&DAYS[..])
        )
            .prop_map(|(what, scope, day)| format!("{what} {scope} key=zz {day}")),
    ]
}

fn any_question() -> impl Strategy<Value = String> {
    (
        maybe(&["opt-out", "none", "named", "wait"]),
        maybe(&["for=HMARKT", "for=TREAT"]),
        maybe(&["by=mail", "by=phone"]),
        maybe(&["labels=HIV contract=HIV", "labels=SEX contract=SEX,HIV", "labels=HIV"]),
        maybe(&["visit=V1", "visit=V2"]),
        maybe(&["in=US-NV", "in=US-CA,US-NV", "in="]),
    )
        .prop_map(|(require, purpose, channel, labels, visit, place)| {
            [require, purpose, channel, labels, visit, place].join(" ")
        })
}

fn any_records() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(any_record(), 0..6)
}

fn joined(own: &[String], alias: &[String]) -> String {
    let own = own.join("; ");
    if alias.is_empty() { own } else { format!("{own} & merged=2026-04-01: {}", alias.join("; ")) }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// PROMISE-5. Under a key of its own: a newer version of another is what that key says.
    #[test]
    fn a_deny_in_force_never_turns_a_refusal_into_a_permit(
        own in any_records(), alias in any_records(), deny in closing(), question in any_question()
    ) {
        let before = answer(&joined(&own, &alias), &question);
        let mut more = own.clone();
        more.push(deny);
        let after = answer(&joined(&more, &alias), &question);
        prop_assert!(before.starts_with("permit") || !after.starts_with("permit"), "{before}, then {after}");
    }

    /// The order in which the same records are read, and so that in which they arrived, and
    /// aliases found.
    #[test]
    fn the_order_of_the_records_never_changes_the_answer(
        own in any_records(), alias in any_records(), other in any_records(),
        question in any_question(), turns in 0..6_usize
    ) {
        let text = format!(
            "{} & merged=2026-02-01: {}", joined(&own, &alias), other.join("; ")
        );
        let (mut own, mut aliases) = ledger_of(&text);
        let asking = Asking::read(&question);
        let policy = policy();
        let before = asking.answer(&own, &aliases, &policy, asking.now);
        aliases.reverse();
        for records in aliases.iter_mut().map(|alias| &mut alias.records).chain([&mut own]) {
            records.reverse();
            let length = records.len();
            records.rotate_left(turns.checked_rem(length).unwrap_or(0));
        }
        prop_assert_eq!(before, asking.answer(&own, &aliases, &policy, asking.now));
    }

    /// PROMISE-5
    #[test]
    fn neither_a_wish_nor_a_law_opens_what_the_patient_has_to_open(
        records in any_records(), question in any_question()
    ) {
        let records: Vec<String> = records
            .into_iter()
            .map(|record| {
                let kind = if record.contains("kind=") { "" } else { "kind=preference " };
                let (own, exceptions) = record.split_at(record.find('[').unwrap_or(record.len()));
                format!("{own} {kind}{exceptions}")
            })
            .collect();
        let found = answer(&records.join("; "), &question);
        let opt_in = !question.contains("opt-out") && !question.contains("none");
        prop_assert!(!(opt_in && found.starts_with("permit")), "{found}");
    }

    /// PROMISE-5. A later decision is one whose date is after that of the deny: what was decided
    /// before, or not dated, opens nothing, whenever it arrives.
    #[test]
    fn what_closes_stays_closed_until_a_later_decision(
        records in any_records(), question in any_question()
    ) {
        let decided_before = |record: &String| {
            !record.contains("2026-11-22 ") && !record.contains("2026-12-01")
        };
        let mut records: Vec<String> = records.into_iter().filter(decided_before).collect();
        records.push("deny for=every key=zz 2026-03-05".to_owned());
        let found = answer(&records.join("; "), &question);
        prop_assert!(!found.starts_with("permit"), "{found}");
    }

    /// Until the instant that `when_next` names, time changes nothing.
    #[test]
    fn no_answer_changes_before_the_next_instant(
        own in any_records(), alias in any_records(), question in any_question(), share in 0..1_000_i64
    ) {
        let (own, aliases) = ledger_of(&joined(&own, &alias));
        let asking = Asking::read(&question);
        let policy = policy();
        let ledger = Ledger { epoch: Epoch(7), own: &own, aliases: &aliases };
        let mut now = asking.now;
        for _ in 0..8 {
            let before = asking.answer(&own, &aliases, &policy, now);
            let next = when_next(&ledger, &policy, now);
            let end = next.unwrap_or_else(|| now.checked_add(876_000.hours()).unwrap());
            prop_assert!(end > now);
            let width = end.as_microsecond() - now.as_microsecond() - 1;
            for at in [now.as_microsecond() + width / 1_000 * share, end.as_microsecond() - 1] {
                let at = Timestamp::from_microsecond(at).unwrap();
                prop_assert_eq!(&before, &asking.answer(&own, &aliases, &policy, at));
            }
            let Some(next) = next else { break };
            now = next;
        }
    }

    /// A record is kept as it was.
    #[test]
    fn a_record_reads_as_it_was_written(text in any_record()) {
        let record = record_of(&text, "r");
        let json = serde_json::to_string(&record).unwrap();
        prop_assert!(serde_json::from_str::<Record>(&json).unwrap() == record, "{json}");
    }
}
