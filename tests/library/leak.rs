//! Nothing leaves that its contract does not name: every message of the corpus through each tier, and
//! in `leak_random` random events, contracts and ledgers; in every form that `support::canary::forms` knows.
//!
//! What a contract names is told here by docs/routes.md alone, and not by what the recipe compiled to:
//! a field leaves as it is where `keep` stands at it, or at the nearest part above it that is named; of
//! a code its system and code, of a part what is no free text; of a value that is named whole what the
//! class of its type allows. Whatever any other transform makes of a value, it must not be the value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use tidegate::admit::Identity;
use tidegate::consent::{Ledger, Policy, Question, Requirement, ask};
use tidegate::contract::Contract;
use tidegate::event::schema::{Class, DATA, Part, Shape};
use tidegate::event::{Event, EventId, Subject};
use tidegate::normalize::{self, Context, Documents, Trace, normalize};
use tidegate::parse::hl7::{Charset, Message};
use tidegate::phi::Phi;
use tidegate::privacy::{RealmKeys, Release, Tier};

use crate::contracts::{loaded, release_by, written};
use crate::support::canary::forms::{Hit, Values};
use crate::support::corpus::{samples, values_of};

const NOW: &str = "2026-11-22T12:00:00Z";

fn keys() -> RealmKeys {
    let key = |byte: u8| tidegate::secret::Key::from_bytes(&[byte; 32]).unwrap();
    RealmKeys::new(&key(3), &key(4))
}

/// A path without the marks of lists.
pub fn plain(path: &str) -> String {
    path.replace("[]", "")
}

/// What a contract says, as it is written: the transform by path.
pub struct Named {
    tier: Tier,
    fields: BTreeMap<String, String>,
    subject: String,
}

impl Named {
    pub fn of(tier: Tier, lines: &BTreeMap<String, String>) -> Self {
        let fields = lines.iter().map(|(path, word)| (plain(path), word.clone())).collect();
        let subject = lines.get("subject").cloned().unwrap_or_default();
        Self { tier, fields, subject }
    }

    /// Whether a value at a path leaves as it is. `value` is the observation's value that it stands in.
    fn keeps(&self, path: &str, value: Option<&Json>) -> bool {
        let mut at = path;
        let word = loop {
            if let Some(word) = self.fields.get(at) {
                break word;
            }
            match at.rsplit_once('.') {
                Some((above, _)) => at = above,
                None => return false,
            }
        };
        if at == path {
            return word == "keep";
        }
        let family = word == "code-family" && path.ends_with(".system");
        (word == "keep" || family)
            && falls_to(at, path, |leaf| self.keeps_of_value(at, leaf, value))
    }

    /// Whether what is named at `at` lets out the leaf of a value.
    fn keeps_of_value(&self, at: &str, leaf: &str, value: Option<&Json>) -> bool {
        let value = value.unwrap();
        let identified = self.tier == Tier::Identified;
        let is_itself = at == "observations.value";
        let class = match value["type"].as_str().unwrap_or_default() {
            "NM" | "SN" | "NR" if value["number"].is_number() => Class::Clinical,
            "NA" | "MA" if value["numbers"].is_array() => Class::Clinical,
            "CE" | "CWE" | "CNE" | "CF" | "IS" | "ID" => Class::Clinical,
            "DT" | "TM" | "TS" | "DTM" | "DR" => Class::Quasi,
            _ => Class::FreeText,
        };
        let allowed = match class {
            Class::Clinical => true,
            Class::Quasi => matches!(self.tier, Tier::Identified | Tier::Limited),
            _ => identified && is_itself,
        };
        let of_code = |code: &str| matches!(code, "system" | "code");
        allowed
            && match leaf.split_once('.') {
                Some(("code" | "moreCodes", code)) => of_code(code),
                // A document leaves by its own name alone.
                Some(("attachment", "content")) => false,
                Some(_) => identified,
                None if leaf == "text" => identified || value["numeral"] == json!(true),
                None => true,
            }
    }
}

/// Whether `keep` at `from` holds for the field at `path` below it.
fn falls_to(from: &str, path: &str, of_value: impl Fn(&str) -> bool) -> bool {
    let (mut part, mut so_far): (&Part, String) = (&DATA, String::new());
    let steps: Vec<&str> = path.split('.').collect();
    let depth = from.split('.').count();
    for (at, step) in steps.iter().enumerate() {
        let field = part.field(step).unwrap();
        if at >= depth {
            let words = field.class == Class::FreeText && !matches!(field.shape, Shape::Part(_));
            if words || !(part.kept.is_empty() || part.kept.contains(step)) {
                return false;
            }
        }
        so_far = if so_far.is_empty() { (*step).to_owned() } else { format!("{so_far}.{step}") };
        if let Shape::Part(inner) = field.shape {
            if inner.name == "value" && at + 1 < steps.len() && at + 1 >= depth {
                return of_value(&steps[at + 1..].join("."));
            }
            part = inner;
        }
    }
    true
}

/// The leaves of an event: path, value, the observation's value around it.
fn leaves<'j>(data: &'j Json, take: &mut impl FnMut(&str, &'j Json, Option<&'j Json>)) {
    fn walk<'j>(
        json: &'j Json,
        path: &str,
        value: Option<&'j Json>,
        take: &mut impl FnMut(&str, &'j Json, Option<&'j Json>),
    ) {
        match json {
            Json::Object(map) => {
                let value = if path == "observations.value" { Some(json) } else { value };
                for (name, json) in map {
                    let path =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk(json, &path, value, take);
                }
            }
            Json::Array(list) => list.iter().for_each(|json| walk(json, path, value, take)),
            Json::Null | Json::Bool(_) => {}
            Json::Number(_) | Json::String(_) => take(path, json, value),
        }
    }
    walk(data, "", None, take);
}

pub fn said(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

/// What a contract lets out of an event as it is.
pub fn let_out(named: &Named, data: &Json, subject: &Subject) -> String {
    let mut out = Vec::new();
    leaves(data, &mut |path, json, value| {
        if named.keeps(path, value) {
            out.push(said(json));
        }
    });
    if named.subject == "keep" {
        out.push(format!("{}|{}", subject.authority, subject.value.expose()));
    }
    if matches!(named.tier, Tier::Identified | Tier::Limited) {
        let times =
            ["/message/occurredAt", "/report/observedAt", "/message/recordedAt", "/message/sentAt"];
        out.extend(times.iter().filter_map(|at| data.pointer(at)).map(said));
    }
    out.join("\n")
}

/// A release and what was asked for it.
pub fn released(
    contract: &Contract,
    event: &Event,
    ledger: &Ledger<'_>,
    requirement: &Requirement,
    feed: &str,
) -> Option<Release> {
    let now: jiff::Timestamp = NOW.parse().unwrap();
    let Contract { name, purpose, consumer, .. } = contract;
    let question = Question::new(&event.id, name, purpose, consumer, requirement);
    let permit = ask(&question, ledger, &Policy::default(), now).ok()?;
    Some(release_by(permit, (contract, event), (&keys(), feed), now).unwrap())
}

pub const TIERS: [(&str, Tier); 4] = Tier::NAMES;

pub fn top(tier: Tier) -> &'static str {
    match tier {
        Tier::Limited => "agreement = \"D\"\nagreement_ends = 2027-12-31",
        Tier::Deidentified => "batch = \"30d\"",
        Tier::Identified | Tier::Pseudonymized => "",
    }
}

/// What the four contracts of the corpus name, from little to much: what their tiers let out.
const OF_TIERS: [&str; 4] = [
    // identified: to whom a patient is referred.
    "\"subject\" = \"keep\"\n\"patient.names\" = \"keep\"\n\"patient.birthDate\" = \"year\"\n\
     \"visit.class\" = \"keep\"\n\"visit.location\" = \"keep\"\n\"visit.attending[].identifier\" = \"keep\"\n\
     \"visit.number.value\" = { transform = \"mask\", last = 2 }\n\"observations[].value\" = \"keep\"\n\
     \"observations[].code.display\" = \"keep\"",
    // limited: dates and town.
    "\"subject\" = \"token\"\n\"patient.birthDate\" = \"keep\"\n\"patient.addresses[].city\" = \"keep\"\n\
     \"patient.addresses[].postalCode\" = \"keep\"\n\"visit.number.value\" = \"hash\"\n\"visit.admittedAt\" = \"keep\"\n\
     \"visit.location.pointOfCare\" = \"keep\"\n\"report.code\" = \"keep\"\n\"report.observedAt\" = \"keep\"\n\
     \"observations[].code\" = \"keep\"\n\"observations[].value\" = \"keep\"\n\"observations[].unit\" = \"keep\"\n\
     \"diagnoses[].code\" = \"keep\"",
    // pseudonymized: what a trial asks for.
    "\"subject\" = \"token\"\n\"patient.sex\" = \"keep\"\n\"patient.birthDate\" = \"age-band\"\n\
     \"patient.addresses[].postalCode\" = \"zip3\"\n\"visit.class\" = \"keep\"\n\"visit.admittedAt\" = \"week\"\n\
     \"visit.dischargedAt\" = { transform = \"shift\", days = 30 }\n\"visit.number.value\" = \"hash\"\n\
     \"patient.identifiers[].value\" = \"hash\"\n\"diagnoses[].code\" = { transform = \"code-family\", length = 3 }\n\
     \"report.code\" = \"keep\"\n\"observations[].code\" = \"keep\"\n\"observations[].value\" = \"keep\"\n\
     \"observations[].status.code\" = \"keep\"",
    // deidentified: numbers for a quality report.
    "\"patient.sex\" = \"keep\"\n\"patient.birthDate\" = \"year\"\n\"patient.addresses[].state\" = \"state\"\n\
     \"visit.class\" = \"keep\"\n\"visit.admittedAt\" = \"year\"\n\"observations[].code\" = \"keep\"\n\
     \"observations[].value\" = \"keep\"\n\"observations[].unit\" = \"keep\"",
];

/// A contract of [`OF_TIERS`] for every event.
fn of_tier(at: usize) -> (Contract, Named) {
    let (name, tier) = TIERS[at];
    let (contract, mistakes) = loaded(&written(name, top(tier), OF_TIERS[at], ""));
    let lines: toml::Table = toml::from_str(OF_TIERS[at]).unwrap();
    let word = |value: &toml::Value| {
        let plain = value.as_str().or_else(|| value.get("transform")?.as_str());
        plain.unwrap().to_owned()
    };
    let words = lines.iter().map(|(path, value)| (path.clone(), word(value))).collect();
    (contract.unwrap_or_else(|| panic!("{mistakes:?}")), Named::of(tier, &words))
}

/// What a payload says that is not the message's: its keys, what the configuration says, and what
/// transforms made that is coarser than any value, as far as it is not the value itself.
fn of_the_product(body: &Json, contract: &Contract) -> String {
    fn keys(json: &Json, out: &mut Vec<String>) {
        match json {
            Json::Object(map) => map.iter().for_each(|(name, json)| {
                out.push(name.clone());
                keys(json, out);
            }),
            Json::Array(list) => list.iter().for_each(|json| keys(json, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    keys(body, &mut out);
    let of_configuration = [
        "specversion",
        "type",
        "source",
        "datacontenttype",
        "dataschema",
        "route",
        "contract",
        "purpose",
        "tier",
        "recipe",
    ];
    out.extend(of_configuration.iter().map(|name| said(&body[*name])));
    leaves(&body["data"], &mut |path, json, _| {
        let line = contract.recipe.lines.iter().find(|line| plain(&line.leaves_as) == path);
        let coarse = ["year", "week", "age-band", "zip3", "state", "code-family", "shift"];
        if line.is_some_and(|line| coarse.contains(&line.transform.name())) {
            let text = said(json);
            assert!(text.len() <= 10, "{path} is no longer than a date");
            out.push(text);
        }
    });
    out.join("\n")
}

/// Messages read as feeds read them: events hold documents.
fn as_a_feed() -> Context {
    Context { documents: Documents::Kept, ..Context::default() }
}

/// As `digest` of an attachment has it.
fn sha256(document: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.as_bytes());
    format!("sha256:{}", tidegate::secret::hex(digest.as_ref()))
}

/// PROMISE-7
#[test]
fn of_the_whole_corpus_no_value_leaves_that_the_contract_does_not_name() {
    let problems = tidegate::document::Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    let contracts: Vec<_> = (0..TIERS.len()).map(of_tier).collect();
    let requirement = Requirement::None { basis: "a test".to_owned() };
    let (mut messages, mut outputs, mut looked_for, mut forms, mut may_leave) = (0, 0, 0, 0, 0);
    let mut visits = 0;
    let mut leaks = Vec::new();
    let fixtures = std::fs::read_dir("fixtures/hl7").unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.display().to_string(), std::fs::read(path).unwrap())
    });
    let all = samples().into_iter().map(|sample| (sample.path, sample.bytes));
    for (path, bytes) in all.chain(fixtures) {
        let Ok(message) = Message::parse(&bytes, Charset::Utf8) else { continue };
        let normalized = normalize(&mappings, &message, &as_a_feed(), Trace::Off);
        let Ok((normalized, _)) = normalized else { continue };
        let values = Values::new(values_of(&message).into_iter().map(|(_, value)| value));
        messages += 1;
        for draft in normalized.drafts {
            let subject = Identity::default().subject(draft.data.root(), "map");
            let Some(subject) = subject else { continue };
            let event = Event {
                id: EventId(format!("0a1b2c3d-1.{}.{}", draft.kind.name(), draft.place).into()),
                kind: draft.kind,
                subject: subject.into(),
                prior: None,
                data: Arc::new(draft.data),
            };
            let mut data = serde_json::to_value(&*event.data).unwrap();
            for observation in data["observations"].as_array_mut().into_iter().flatten() {
                let value = &mut observation["value"];
                if value["number"].is_number() || value["type"] == "TM" {
                    value["numeral"] = json!(true);
                }
            }
            for (contract, named) in &contracts {
                let release =
                    released(contract, &event, &Ledger::default(), &requirement, "adt").unwrap();
                let text = std::str::from_utf8(release.body()).unwrap();
                let body: Json = serde_json::from_str(text).unwrap();
                let names_visit = body["visitkey"].is_string();
                assert!(!names_visit || named.tier != Tier::Deidentified);
                visits += usize::from(names_visit);
                let let_out = let_out(named, &data, &event.subject);
                // The digest of a document that leaves is not the document.
                let is_digest =
                    |hit: &Hit| hit.form == "sha-256" && let_out.contains(&sha256(&hit.value));
                let allowed = format!("{let_out}\n{}", of_the_product(&body, contract));
                let allowed = values.said_in(&allowed);
                let found = values.search(text).into_iter();
                leaks.extend(
                    found
                        .filter(|hit| !allowed.contains(&hit.value) && !is_digest(hit))
                        .map(|hit| format!("{path} {}: {hit:?}", named.tier.name())),
                );
                outputs += 1;
                looked_for += values.len() - allowed.len();
                may_leave += allowed.len();
                forms += values.forms();
            }
        }
    }
    println!(
        "{messages} messages, {outputs} payloads, {looked_for} values looked for in them \
         ({may_leave} may leave), in {forms} forms"
    );
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
    assert!(visits > 200, "{visits} payloads name a visit by its key");
    assert!(messages > 230 && outputs > 1_200, "{messages} {outputs}");
    assert!(looked_for > 150_000 && forms > 4_000_000, "{looked_for} {forms}");
    assert!(may_leave * 3 < looked_for, "{may_leave}");
}

/// What anybody may have written leaves by its own name alone, and only where the tier allows it; what a
/// tier takes out of a value that is named is counted. PROMISE-7
#[test]
fn free_text_of_a_real_message_leaves_by_name_and_is_counted_where_it_does_not() {
    let problems = tidegate::document::Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    let mut text = std::fs::read_to_string("fixtures/hl7/oru-r01-types.hl7").unwrap();
    for (number, (kind, value)) in [
        ("ST", "ZZSTRING"),
        ("XPN", "ZZNAMED^ZZOTHER"),
        ("XCN", "ZZ77^ZZDOCTOR^ZZWHO"),
        ("PN", "ZZPERSON^ZZAGAIN"),
        ("SN", "ZZABOUT^5"),
        ("", "ZZUNTYPED"),
    ]
    .iter()
    .enumerate()
    {
        text += &format!("OBX|{}|{kind}|Z{number}^ZZDISPLAY^L||{value}|||||F\r", number + 20);
    }
    text += "NTE|1||ZZLAST\rZPI|1|ZZSITE^ZZOWN\rZZZ|ZZMORE\r";
    let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
    let (normalized, _) = normalize(&mappings, &message, &as_a_feed(), Trace::Off).unwrap();
    let unmapped: Vec<String> = normalized.unmapped.iter().map(ToString::to_string).collect();
    assert!(unmapped.contains(&"ZPI-2".to_owned()) && unmapped.contains(&"ZZZ-1".to_owned()));
    let draft = normalized.drafts.into_iter().next().unwrap();
    let event = Event {
        id: EventId("0a1b-1.observation.reported.obr1".into()),
        kind: draft.kind,
        subject: Subject { authority: "MRN".to_owned(), value: Phi::new("ZZ1".to_owned()) }.into(),
        prior: None,
        data: Arc::new(draft.data),
    };
    let out = |tier: usize, fields: &str| {
        let (name, tier) = TIERS[tier];
        let (contract, mistakes) = loaded(&written(name, top(tier), fields, ""));
        let contract = contract.unwrap_or_else(|| panic!("{mistakes:?}"));
        let none = Requirement::None { basis: "a test".to_owned() };
        let release = released(&contract, &event, &Ledger::default(), &none, "adt").unwrap();
        let body: Json = serde_json::from_slice(release.body()).unwrap();
        (body["data"].to_string(), release.counts())
    };
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        words.filter(|word| word.starts_with("ZZ")).map(str::to_owned).collect()
    };
    // By parts: codes and numbers.
    let below = "\"observations[].code\" = \"keep\"\n\"observations[].value\" = \"keep\"";
    for (tier, times) in [(1, 4), (2, 0), (3, 0)] {
        let (text, counts) = out(tier, below);
        assert_eq!(words(&text), BTreeSet::new(), "{text}");
        // TX, FT, ST, XPN, XCN, PN, CX, RP, ED, untyped twice, a number that is none, what stood beside
        // the numbers of an SN and an NR; and four times where none may leave.
        assert_eq!(counts.removed, 18 - times, "{text}");
        assert!(counts.kept > 30, "{counts:?}");
    }
    let (text, _) = out(0, "\"observations\" = \"keep\"");
    assert_eq!(words(&text), BTreeSet::from(["ZZABOUT5".to_owned()]), "{text}");
    // By name, where the tier is for it.
    let (text, counts) = out(
        0,
        "\"observations[].value\" = \"keep\"\n\"observations[].comments\" = \"keep\"\n\
         \"observations[].code.display\" = \"keep\"",
    );
    let found = words(&text);
    for word in [
        "ZZFREE",
        "ZZTEXT",
        "ZZSTRING",
        "ZZNAMED",
        "ZZDOCTOR",
        "ZZPERSON",
        "ZZPOINTER1",
        "ZZUNTYPED",
        "ZZNOTE",
        "ZZLAST",
        "ZZDISPLAY",
    ] {
        assert!(found.contains(word), "{word}: {text}");
    }
    assert_eq!(counts.removed, 0);
    // A Z-segment leaves by nothing: no rule takes it.
    for word in ["ZZSITE", "ZZOWN", "ZZMORE"] {
        assert!(!text.contains(word), "{word}");
    }
    // The document itself has a name of its own.
    assert!(text.contains("Base64") && !text.contains("SlZCRVJpMHhM"), "{text}");
    assert!(text.contains(&sha256("JVBERi0xL")) && text.contains("\"size\":9"), "{text}");
    let (text, _) = out(0, "\"observations[].value.attachment\" = \"keep\"");
    assert!(text.contains("application/pdf") && !text.contains("SlZCRVJpMHhM"), "{text}");
    assert_eq!(words(&text), BTreeSet::new(), "{text}");
    let (text, _) = out(0, "\"observations[].value.attachment.content\" = \"keep\"");
    assert!(text.contains("SlZCRVJpMHhM") && !text.contains("Base64"), "{text}");
    let both = "\"observations[].value\" = \"keep\"\n\"observations[].value.attachment.content\" = \"keep\"";
    assert!(loaded(&written("identified", "", both, "")).0.is_none(), "a whole value has no lines");
    for (name, kind) in &TIERS[1..] {
        for field in [
            "value.text",
            "comments",
            "code.display",
            "code.text",
            "range",
            "value.attachment.pointer",
            "value.attachment.content",
            "value.attachment.digest",
            "value.attachment.subtype",
        ] {
            let line = format!("\"observations[].{field}\" = \"keep\"");
            let (contract, mistakes) = loaded(&written(name, top(*kind), &line, ""));
            assert!(contract.is_none() && mistakes.len() == 1, "{name} {field}: {mistakes:?}");
        }
    }
}
