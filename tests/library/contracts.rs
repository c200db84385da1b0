//! Contracts: what loads, what does not and why, which events they want, and what leaves.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::strategy::ValueTree;
use serde_json::{Value as Json, json};

use tidegate::admit::Identity;
use tidegate::consent::{Ledger, Permit, Policy, Question, Requirement, ask};
use tidegate::contract::{Contract, load, wants};
use tidegate::document::Problems;
use tidegate::event::{Declaration, Event, EventId, EventType, Key, Subject, Tree};
use tidegate::phi::Phi;
use tidegate::privacy::transform::Coding;
use tidegate::privacy::{RealmKeys, Release, Supplies, Tokens, Withheld, release};

/// A contract with holes: lines at the top, `[fields]`, and tables at the end.
pub fn written(tier: &str, top: &str, fields: &str, tables: &str) -> String {
    let (purpose, consent) = match tier {
        "limited" => ("HRESCH", "require = \"none\"\nbasis = \"a test\""),
        "identified" => ("TREAT", "require = \"none\"\nbasis = \"treatment\""),
        _ => ("CLINTRCH", "require = \"none\"\nbasis = \"a test\""),
    };
    format!(
        "name = \"r\"\nversion = \"1.0.0\"\nschema = 1\nconsumer = \"c\"\nowner = \"o\"\n\
         purpose = \"{purpose}\"\nrealm = \"care\"\ntier = \"{tier}\"\n\
         events = [\"patient.admitted\", \"observation.reported\"]\n{top}\n\
         [consent]\n{consent}\n[fields]\n{fields}\n[deliver]\nkind = \"file\"\npath = \"r\"\n{tables}\n"
    )
}

/// A contract as it loads, and what is wrong with it.
pub fn loaded(text: &str) -> (Option<Contract>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("r.toml"), text).unwrap();
    let problems = Problems::default();
    let coding = |name: &str, _: &_| {
        let rows: &[(&str, &str)] = match name {
            "region" => &[("ZZTOWN", "north")],
            "same" => &[("ZZTOWN", "ZZTOWN")],
            _ => return None,
        };
        let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        Some(Coding::new(name, rows.iter().map(owned).collect()))
    };
    let contracts = load(dir.path(), Declaration::default(), &coding, &problems);
    let place = format!("{}/", dir.path().display());
    let mistakes =
        problems.mistakes().iter().map(|it| it.to_string().replace(&place, "")).collect();
    (contracts.right.into_iter().next().filter(|_| problems.is_clean()), mistakes)
}

fn right(text: &str) -> Contract {
    let (contract, mistakes) = loaded(text);
    assert_eq!(mistakes, Vec::<String>::new(), "{text}");
    contract.unwrap()
}

fn keys() -> RealmKeys {
    let key = |byte: u8| tidegate::secret::Key::from_bytes(&[byte; 32]).unwrap();
    RealmKeys::new(&key(1), &key(2))
}

fn event(kind: EventType, data: &Json) -> Event {
    Event {
        id: EventId("0a1b-1.patient.admitted.pid1".into()),
        kind,
        subject: Subject { authority: "MRN".to_owned(), value: Phi::new("ZZ1".to_owned()) }.into(),
        prior: None,
        data: Arc::new(serde_json::from_value(data.clone()).unwrap()),
    }
}

fn released_at(contract: &Contract, event: &Event, now: &str) -> Result<Release, Withheld> {
    let now: jiff::Timestamp = now.parse().unwrap();
    let Contract { name, purpose, consumer, .. } = contract;
    // Consent is not what is asked about here.
    let requirement = Requirement::None { basis: "a test".to_owned() };
    let question = Question::new(&event.id, name, purpose, consumer, &requirement);
    let permit = ask(&question, &Ledger::default(), &Policy::default(), now).unwrap();
    release_by(permit, (contract, event), (&keys(), "adt"), now)
}

/// What leaves by a permit under the keys of a realm, of a feed's message with the number 42.
pub fn release_by(
    permit: Permit,
    (contract, event): (&Contract, &Event),
    (keys, feed): (&RealmKeys, &str),
    now: jiff::Timestamp,
) -> Result<Release, Withheld> {
    let tokens = Tokens { subject: Some(keys.token(&event.subject)), retired: None };
    let visit = Identity::default().visit(event.data.root(), feed);
    let supplies = Supplies {
        tokens: &tokens,
        keys,
        source: &format!("tidegate/gate/{feed}"),
        correlation_id: event.id.0.split(".patient").next().unwrap(),
        visit: visit.as_ref(),
        sequence: 7,
        route: &contract.name,
        contract: &contract.version,
        purpose: &contract.purpose,
        number: 42,
        now,
        routing: &contract.routing,
    };
    release(permit, event, contract.recipe_at(now).0, &supplies)
}

fn body(contract: &Contract, data: &Json) -> Json {
    let event = event(EventType::PatientAdmitted, data);
    let release = released_at(contract, &event, "2026-11-22T12:00:00Z").unwrap();
    serde_json::from_slice(release.body()).unwrap()
}

const TOKEN: &str = "\"subject\" = \"token\"\n\"visit.class\" = \"keep\"";
const GLASS: &str = "[[break_glass]]\nfield = \"visit.location.facility\"\ntransform = \"keep\"\n\
    approved_by = [\"one\", \"two\"]\nreason = \"a visit\"\nexpires = 2026-12-01\n";

/// PROMISE-7
#[test]
fn what_a_tier_does_not_allow_or_nobody_knows_does_not_load() {
    let field = |tier: &str, line: &str| written(tier, "", line, "");
    let pseudonymized = |line: &str| field("pseudonymized", line);
    for (text, wanted) in [
        (
            pseudonymized("\"patient.birthDate\" = \"kep\""),
            "r.toml:15:23: `kep` is no transform; did you mean `keep`?",
        ),
        (
            pseudonymized("\"patient.birthDate\" = \"keep\""),
            "does not let out patient.birthDate (quasi) by `keep`",
        ),
        (pseudonymized("\"patient.names\" = \"keep\""), "patient.names[].family (direct)"),
        (
            pseudonymized("\"patient.names[].family\" = { transform = \"mask\", last = 1 }"),
            "does not let out patient.names[].family (direct) by `mask`",
        ),
        (pseudonymized("\"visit.class\" = \"week\""), "`week` is for one field that holds a date"),
        (
            pseudonymized("\"patient.sex\" = \"age\""),
            "`age` is for `patient.birthDate` and `patient.birthTime`",
        ),
        (
            pseudonymized("\"visit.admittedAt\" = \"shift\""),
            "`shift` wants a setting: { transform = \"shift\", days = 30 }",
        ),
        (
            pseudonymized("\"visit.admittedAt\" = { transform = \"shift\", days = 0 }"),
            "`fields.visit.admittedAt.days` is out of bounds; from 1 to 366",
        ),
        (
            pseudonymized("\"patient.birthDate\" = { transform = \"age-band\", widht = 5 }"),
            "did you mean `width`?",
        ),
        (
            pseudonymized("\"patient.birthDate\" = { transform = \"year\", as = \"visit.year\" }"),
            "`as` stands beside the field, in `patient`",
        ),
        (
            pseudonymized("\"patient.birthDate\" = { transform = \"year\", as = \"patient.sex\" }"),
            "`sex` is another field's name",
        ),
        (
            pseudonymized("\"patient.birthDate\" = { transform = \"year\", as = \"patient.A b\" }"),
            "`as` ends in a name such as `ageBand`",
        ),
        (
            pseudonymized(
                "\"patient.birthDate\" = { transform = \"year\", as = \"patient.y\" }\n\"patient.birthTime\" = { transform = \"year\", as = \"patient.y\" }",
            ),
            "`patient.y` leaves already",
        ),
        (
            pseudonymized(
                "\"observations[].value\" = \"keep\"\n\"observations[].value.number\" = \"drop\"",
            ),
            "leaves whole; name its fields instead",
        ),
        (
            field(
                "identified",
                "\"observations\" = \"keep\"\n\"observations[].value.number\" = { transform = \"round\", to = 1 }",
            ),
            "`observations[].value` leaves whole by `observations[]`; name its fields behind",
        ),
        (
            pseudonymized(
                "\"observations[].value.number\" = { transform = \"band\", edges = [2, 1] }",
            ),
            "each above the one before",
        ),
        (
            pseudonymized("\"observations[].value.number\" = { transform = \"band\" }"),
            "either `width` or `edges`",
        ),
        (
            pseudonymized("\"observations[].value.number\" = { transform = \"round\", to = 0 }"),
            "is above zero",
        ),
        (
            pseudonymized(
                "\"patient.addresses[].city\" = { transform = \"table\", table = \"same\" }",
            ),
            "so it would hide nothing",
        ),
        (
            pseudonymized("\"visit\" = { transform = \"keep\", required = true }"),
            "`required` is for one field",
        ),
        (
            pseudonymized("\"visit.class\" = { transform = \"constant\", value = \"\" }"),
            "1 to 256 bytes",
        ),
        (field("deidentified", TOKEN), "wants `batch`"),
        (
            written("deidentified", "batch = \"30d\"", TOKEN, ""),
            "does not let the subject out by `token`",
        ),
        (
            written("deidentified", "batch = \"30d\"", "\"visit.admittedAt\" = \"month\"", ""),
            "visit.admittedAt (quasi) by `month`",
        ),
        (
            written(
                "deidentified",
                "batch = \"30d\"",
                "\"visit.admittedAt\" = { transform = \"shift\", days = 9 }",
                "",
            ),
            "by `shift`",
        ),
        (
            written("deidentified", "batch = \"30d\"", "\"visit.number.value\" = \"hash\"", ""),
            "by `hash`",
        ),
        (
            written("deidentified", "batch = \"30s\"", "\"visit.class\" = \"keep\"", ""),
            "`batch` is out of bounds; from 1m to 1y",
        ),
        (
            written("pseudonymized", "batch = \"30d\"", TOKEN, ""),
            "`batch` goes with tier deidentified",
        ),
        (field("limited", TOKEN), "`agreement` and `agreement_ends`"),
        (
            written(
                "limited",
                "agreement = \"DUA\"\nagreement_ends = 2027-12-31",
                "\"patient.addresses\" = \"keep\"",
                "",
            ),
            "patient.addresses[].lines (direct)",
        ),
        (
            written("limited", "agreement = \"DUA\"\nagreement_ends = 2027-12-31", TOKEN, "")
                .replace("HRESCH", "CLINTRCH"),
            "tier limited is for HRESCH, PUBHLTH, HOPERAT",
        ),
        (
            written("pseudonymized", "expires = \"soon\"", TOKEN, ""),
            "`expires` is a day, such as 2026-11-22",
        ),
        (written("pseudonymized", "labels = [\"\"]", TOKEN, ""), "`labels` are"),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                &GLASS.replace("[\"one\", \"two\"]", "[\"one\", \"one\"]"),
            ),
            "wants 2 who approve",
        ),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                &GLASS.replace("visit.location.facility", "visit.number"),
            ),
            "visit.number.value (direct)",
        ),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                &GLASS.replace("visit.location.facility", "visit.class"),
            ),
            "is in `fields` already",
        ),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                &GLASS.replace("visit.location.facility", "subject"),
            ),
            "no glass changes it",
        ),
        (
            written("pseudonymized", "", TOKEN, &GLASS.replace("expires", "expire")),
            "`break_glass.expires` is missing",
        ),
        (
            written("pseudonymized", "", TOKEN, "[[when]]\n\"type\" = \"patient.moved\""),
            "`patient.moved` is not among `events`",
        ),
        (
            written("pseudonymized", "", TOKEN, "[[when]]\n\"visit.clas.code\" = \"IMP\""),
            "did you mean `class`?",
        ),
        (
            written("pseudonymized", "", TOKEN, "[[when]]\n\"visit.class.code\" = 5"),
            "is integer here; a string is wanted",
        ),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                "[[when]]\n\"observations[].value.number\" = \"6\"",
            ),
            "a number is wanted",
        ),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                "[[when]]\n\"observations[].value.number\" = { at_lest = 6 }",
            ),
            "did you mean `at_least`?",
        ),
        (
            written("pseudonymized", "", TOKEN, "[[when]]\n\"visit.class.code\" = { above = 6 }"),
            "is text, and has no order",
        ),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                "[[when]]\n\"patient.birthDate\" = { at_least = 1980 }",
            ),
            "a date such as",
        ),
        (
            written(
                "pseudonymized",
                "",
                TOKEN,
                "[[when]]\n\"patient.birthDate\" = { at_least = \"1980\" }",
            ),
            "that an event is there would disclose it",
        ),
        (
            written("pseudonymized", "", TOKEN, "[[when]]\n\"patient.names[].family\" = \"ZZ\""),
            "patient.names[].family (direct), and that",
        ),
        (written("pseudonymized", "", TOKEN, "[[when]]"), "without a row would hold of everything"),
        (
            written("pseudonymized", "", TOKEN, "").replace(
                "kind = \"file\"\npath = \"r\"",
                "kind = \"rabbitmq\"\nexchange = \"x\"\nrouting_key = \"{visit.class.cod}\"",
            ),
            "`visit.class.cod` is no single field that leaves; did you mean `visit.class.code`?",
        ),
        (
            written("pseudonymized", "", TOKEN, "").replace(
                "kind = \"file\"\npath = \"r\"",
                "kind = \"rabbitmq\"\nexchange = \"x\"\nrouting_key = \"{type\"",
            ),
            "a brace is not closed",
        ),
    ] {
        let (_, mistakes) = loaded(&text);
        assert!(mistakes.iter().any(|it| it.contains(wanted)), "{wanted}: {mistakes:#?}\n{text}");
    }
}

#[test]
fn every_key_and_every_transform_loads() {
    let top = "approved_by = \"privacy-office\"\nagreement = \"DUA\"\nagreement_ends = 2027-12-31\n\
               protocol = \"P-1\"\nallowed_use = \"cohort\"\nretention = \"5y\"\nexpires = 2027-06-30\n\
               labels = [\"HIV\"]\nhistory = true\non_revoked = \"delete\"";
    let fields = "\"subject\" = \"token\"\n\"patient.birthDate\" = { transform = \"age-band\", width = 10, as = \"patient.ageBand\" }\n\
        \"patient.addresses[].postalCode\" = \"zip3\"\n\"patient.addresses[].state\" = \"state\"\n\
        \"patient.addresses[].city\" = { transform = \"table\", table = \"region\", as = \"patient.addresses[].region\" }\n\
        \"visit.number.value\" = \"hash\"\n\"visit.admittedAt\" = { transform = \"week\", as = \"visit.admittedWeek\", required = true }\n\
        \"visit.dischargedAt\" = { transform = \"shift\", days = 30 }\n\"visit.class\" = \"keep\"\n\
        \"diagnoses[].code\" = { transform = \"code-family\", length = 3 }\n\"diagnoses[].onsetAt\" = \"year\"\n\
        \"observations[].value.number\" = { transform = \"round\", to = 0.5 }\n\"observations[].status.code\" = { transform = \"mask\", last = 1 }\n\
        \"observations[].observedAt\" = \"month\"\n\"report.fillerNumber.value\" = { transform = \"constant\", value = \"x\" }";
    let when = "[[when]]\n\"type\" = [\"patient.admitted\"]\n[[when]]\n\"observations[].value.number\" = { at_least = 6.5, below = 9 }\n";
    let contract = right(&written("limited", top, fields, &format!("{when}{GLASS}")));
    let leaving: Vec<&str> = contract.recipe.lines.iter().map(|it| it.leaves_as.as_str()).collect();
    for wanted in [
        "patient.ageBand",
        "patient.addresses[].region",
        "visit.admittedWeek",
        "visit.dischargedAt",
        "diagnoses[].code.system",
        "diagnoses[].code.code",
        "diagnoses[].onsetAtYear",
        "observations[].observedAt",
    ] {
        assert!(leaving.contains(&wanted), "{wanted}: {leaving:?}");
    }
    assert_eq!(contract.terms.ends().unwrap().to_string(), "2027-07-01T00:00:00Z");
    assert_eq!((contract.history, contract.labels.as_slice()), (true, &["HIV".to_owned()][..]));
    assert!(!contract.recipe.is_plain);
    let deidentified = "\"patient.birthDate\" = \"year\"\n\"patient.addresses[].postalCode\" = \"zip3\"\n\
                        \"patient.sex\" = \"keep\"";
    let contract = right(&written("deidentified", "batch = \"30d\"", deidentified, ""));
    assert_eq!(contract.batch, Some(std::time::Duration::from_secs(30 * 86_400)));
}

/// A part that is kept lets out what is coded and counted; what anybody may have written into it leaves
/// where it is named itself, and the tier allows it. PROMISE-7
#[test]
fn free_text_leaves_by_its_own_name_alone() {
    let data = json!({"observations": [
        {"code": {"system": "LN", "code": "1", "display": "ZZSHOWN", "text": "ZZTEXT"},
         "value": {"type": "TX", "text": "ZZNARRATIVE"}, "range": "ZZRANGE", "comments": ["ZZNOTE"]},
        {"value": {"type": "XPN", "text": "ZZNAME^ZZGIVEN"}},
        {"value": {"type": "ED", "attachment": {"mediaType": "application/pdf", "pointer": "ZZPOINTER"}}},
        {"value": {"type": "NM", "number": 6.9, "text": "6.9\nZZBESIDE"}},
        {"value": {"type": "CWE", "code": {"code": "9", "display": "ZZWORDS"}}}]});
    let out = |tier: &str, fields: &str| {
        let top =
            if tier == "limited" { "agreement = \"D\"\nagreement_ends = 2027-12-31" } else { "" };
        body(&right(&written(tier, top, fields, "")), &data)["data"].to_string()
    };
    for tier in ["identified", "limited", "pseudonymized"] {
        let whole = if tier == "identified" {
            "\"observations\" = \"keep\""
        } else {
            "\"observations[].value\" = \"keep\"\n\"observations[].code\" = \"keep\""
        };
        let text = out(tier, whole);
        let beside = text.replace("6.9\\nZZBESIDE", "");
        assert!(tier == "identified" || !text.contains("ZZ"), "{tier}: {text}");
        assert!(!beside.contains("ZZ"), "{tier}: {text}");
        assert!(text.contains("6.9"));
    }
    let named = out(
        "identified",
        "\"observations[].value\" = \"keep\"\n\"observations[].comments\" = \"keep\"\n\"observations[].code.display\" = \"keep\"",
    );
    for word in ["ZZNARRATIVE", "ZZNAME", "ZZPOINTER", "ZZNOTE", "ZZSHOWN"] {
        assert!(named.contains(word), "{word}: {named}");
    }
    assert!(!named.contains("ZZTEXT") && !named.contains("ZZRANGE") && !named.contains("ZZWORDS"));
    let contract = right(&written("pseudonymized", "", "\"observations[].value\" = \"keep\"", ""));
    let event = event(EventType::ObservationReported, &data);
    let release = released_at(&contract, &event, "2026-11-22T12:00:00Z").unwrap();
    // The text, the name, the document, and what stood beside the number.
    assert_eq!(release.counts().removed, 4);
}

/// Below tier identified the text of a value leaves where it says nothing but what leaves beside it.
/// PROMISE-7
#[test]
fn the_text_of_a_number_leaves_where_it_is_the_number_and_nothing_else() {
    let fields = "\"observations[].value\" = \"keep\"";
    let top = "agreement = \"D\"\nagreement_ends = 2027-12-31";
    let contract = right(&written("limited", top, fields, ""));
    for (value, leaves) in [
        (json!({"type": "NM", "number": 6.9, "text": "6.90"}), true),
        (json!({"type": "NM", "number": 6.9, "text": "6.90 900-00-0001"}), false),
        (json!({"type": "SN", "comparator": ">", "number": 100.0, "text": ">100"}), true),
        (
            json!({"type": "SN", "number": 1.0, "separator": ":", "number2": 128.0, "text": "1:128"}),
            true,
        ),
        (
            json!({"type": "SN", "number": -2.0, "separator": "-", "number2": -1.5, "text": "-2--1.5"}),
            true,
        ),
        (json!({"type": "SN", "number": 2.0, "separator": "+", "text": "2+"}), true),
        // SN.1 or SN.3 held somebody's number.
        (json!({"type": "SN", "number": 5.0, "text": "900-00-00015"}), false),
        (json!({"type": "SN", "number": 5.0, "number2": 6.0, "text": "59000000016"}), false),
        (json!({"type": "SN", "number2": 6.0, "text": "900/6"}), false),
        (json!({"type": "NR", "number": 0.5, "number2": 1.5, "text": "0.5^1.5"}), false),
        (json!({"type": "TM", "text": "07:30:00-08:00"}), true),
        (json!({"type": "TM", "text": "half past seven"}), false),
    ] {
        let body = body(&contract, &json!({"observations": [{"value": value}]}));
        let left = &body["data"]["observations"][0]["value"];
        assert_eq!(left.get("text").is_some(), leaves, "{value} {left}");
        assert_eq!(left["number"].as_f64(), value["number"].as_f64());
    }
}

#[test]
fn rows_select_by_what_is_there_for_certain() {
    let observed = |value: Json| {
        json!({"observations": [
        {"code": {"code": "4548-4"}, "unit": {"code": "%"}, "value": value, "flags": ["N", "H"]},
        {"code": {"code": "718-7"}, "unit": {"code": "g/dL"}, "value": {"type": "NM", "number": 14.0}}]})
    };
    let number = |number: f64| observed(json!({"type": "NM", "number": number}));
    let sn = |sign: &str, number: f64| {
        observed(json!({"type": "SN", "comparator": sign, "number": number}))
    };
    const CODE: &str = "\"observations[].code.code\" = \"4548-4\"\n";
    let at_least = format!("{CODE}\"observations[].value.number\" = {{ at_least = 6.5 }}");
    let between = format!("{CODE}\"observations[].value.number\" = {{ above = 6.5, below = 9 }}");
    let is = format!("{CODE}\"observations[].value.number\" = 6.5");
    let born = |date: &str| json!({"patient": {"birthDate": date}});
    let visit = json!({"visit": {"class": {"code": "IMP"}, "location": null}});
    for (rows, data, wanted) in [
        (at_least.as_str(), number(6.5), true),
        (&at_least, number(6.4), false),
        // Both rows of one and the same element: 14 is of the other one.
        (&at_least, observed(json!({"type": "TX", "text": "x"})), false),
        (&at_least, sn(">", 6.5), true),
        (&at_least, sn("<", 9.0), false),
        (&at_least, sn("<>", 9.0), false),
        (
            &at_least,
            observed(json!({"type": "SN", "number": 7.0, "separator": "-", "number2": 8.0})),
            true,
        ),
        (
            &at_least,
            observed(json!({"type": "SN", "number": 7.0, "separator": ":", "number2": 8.0})),
            false,
        ),
        (&between, number(6.5), false),
        (&between, number(8.9), true),
        (&between, number(9.0), false),
        (&is, number(6.5), true),
        (&is, sn(">", 6.5), false),
        ("\"observations[].value.number\" = { not = 6.5 }", sn(">", 6.5), true),
        (
            "\"observations[].value.text\" = { absent = true }\n\"observations[].code.code\" = \"4548-4\"",
            number(1.0),
            true,
        ),
        (
            "\"observations[].value.text\" = { absent = true }\n\"observations[].code.code\" = \"4548-4\"",
            observed(json!({"type": "TX", "text": "x"})),
            false,
        ),
        ("\"observations[].flags\" = \"H\"", number(1.0), true),
        ("\"observations[].flags[]\" = \"L\"", number(1.0), false),
        ("\"observations[].unit.code\" = { one_of = [\"%\", \"x\"] }", number(1.0), true),
        ("\"observations[].unit.code\" = { starts_with = \"g/\" }", number(1.0), true),
        ("\"observations[].code.code\" = { present = true }", json!({}), false),
        ("\"observations[].code.code\" = { absent = true }", json!({}), true),
        ("\"visit.class.code\" = { not = \"AMB\" }", visit.clone(), true),
        ("\"visit.class.code\" = { not = [\"AMB\", \"IMP\"] }", visit.clone(), false),
        ("\"visit.class.code\" = { not = \"AMB\" }", json!({}), false),
        ("\"visit.location\" = { absent = true }", visit.clone(), true),
        ("\"visit.location\" = { present = true }", visit.clone(), false),
        ("\"visit\" = { present = true }", visit, true),
        (
            "\"patient.birthDate\" = { at_least = \"1980\", below = 1981-01-01 }",
            born("1980-06-15"),
            true,
        ),
        ("\"patient.birthDate\" = { below = 1981-01-01 }", born("1980"), false),
        ("\"patient.birthDate\" = { at_most = \"1980\" }", born("1980-12-31"), true),
        ("\"patient.birthDate\" = { above = \"1980\" }", born("1980-12-31"), false),
        ("\"patient.deceased\" = true", json!({"patient": {"deceased": true}}), true),
        ("\"patient.deceased\" = false", json!({"patient": {}}), false),
    ] {
        let contract = right(&written(
            "identified",
            "",
            "\"visit.class\" = \"keep\"",
            &format!("[[when]]\n{rows}"),
        ));
        let event = event(EventType::ObservationReported, &data);
        assert_eq!(wants(&contract, &event), wanted, "{rows}\n{data}");
    }
    // Any of the tables; of a type only where it says so.
    let tables = "[[when]]\n\"type\" = \"patient.admitted\"\n[[when]]\n\"type\" = { one_of = [\"observation.reported\"] }\n\"observations[].flags\" = \"H\"";
    let contract = right(&written("identified", "", "\"visit.class\" = \"keep\"", tables));
    let wants = |kind, data: &Json| wants(&contract, &event(kind, data));
    assert!(wants(EventType::PatientAdmitted, &json!({})));
    assert!(wants(EventType::ObservationReported, &number(1.0)));
    assert!(!wants(EventType::ObservationReported, &json!({})));
    assert!(!wants(EventType::PatientMoved, &json!({})));
    assert!(!wants(EventType::PatientAdmitted, &json!({"message": {"history": true}})));
}

/// PROMISE-7
#[test]
fn a_broken_glass_is_whole_again_by_itself() {
    let contract = right(&written(
        "pseudonymized",
        "",
        TOKEN,
        &format!(
            "{GLASS}{}",
            GLASS
                .replace("location.facility", "location.pointOfCare")
                .replace("2026-12-01", "2026-12-24")
        ),
    ));
    let data = json!({"visit": {"class": {"code": "IMP"}, "location": {"facility": "GH", "pointOfCare": "4E"}}});
    let at = |now: &str| {
        let event = event(EventType::PatientAdmitted, &data);
        let release = released_at(&contract, &event, now).unwrap();
        let body: Json = serde_json::from_slice(release.body()).unwrap();
        let now = now.parse().unwrap();
        (
            body["data"]["visit"]["location"].clone(),
            contract.recipe_at(now).2.len(),
            body["recipe"].clone(),
        )
    };
    let (both, two, one_hash) = at("2026-12-01T23:59:59Z");
    assert_eq!((both, two), (json!({"pointOfCare": "4E", "facility": "GH"}), 2));
    let (one, count, other_hash) = at("2026-12-02T00:00:00Z");
    assert_eq!((one, count), (json!({"pointOfCare": "4E"}), 1));
    assert_ne!(one_hash, other_hash);
    assert_eq!(at("2026-12-25T00:00:00Z").0, Json::Null);
    assert_eq!(at("2026-12-25T00:00:00Z").2, contract.recipe.hash.as_str());
}

/// Of a transform that can make nothing of a value nothing leaves, and where the contract requires the
/// field, nothing of the event. PROMISE-7
#[test]
fn what_a_transform_cannot_do_is_left_out_or_costs_the_event() {
    let fields = |required: &str| {
        format!(
            "\"visit.admittedAt\" = {{ transform = \"week\", as = \"visit.week\"{required} }}\n\"visit.class\" = \"keep\""
        )
    };
    let coarse = json!({"visit": {"class": {"code": "IMP"}, "admittedAt": "2026-11"}});
    let contract = right(&written("pseudonymized", "", &fields(""), ""));
    assert_eq!(body(&contract, &coarse)["data"], json!({"visit": {"class": {"code": "IMP"}}}));
    let contract = right(&written("pseudonymized", "", &fields(", required = true"), ""));
    let violation = |data: &Json| {
        let event = event(EventType::PatientAdmitted, data);
        released_at(&contract, &event, "2026-11-22T12:00:00Z").map(|_| ())
    };
    let place = |place: &str| Err(Withheld::Violation { place: place.to_owned() });
    assert_eq!(violation(&coarse), place("visit.week"));
    assert_eq!(violation(&json!({"visit": {"admittedAt": null}})), place("visit.week"));
    assert_eq!(violation(&json!({})), place("visit"));
    assert_eq!(violation(&json!({"visit": {"admittedAt": "2026-11-22"}})), Ok(()));
    // An event of a type that cannot have the part is not held to it.
    let contract = right(&written(
        "pseudonymized",
        "",
        "\"report.status\" = \"keep\"\n\"report.issuedAt\" = { transform = \"month\", required = true }",
        "",
    ));
    let event = event(EventType::PatientAdmitted, &json!({}));
    assert!(released_at(&contract, &event, "2026-11-22T12:00:00Z").is_ok());
}

#[test]
fn too_much_of_anything_is_a_violation() {
    let contract = right(&written("identified", "", "\"observations[].comments\" = \"keep\"", ""));
    let violation = |comments: Json| {
        let event = event(
            EventType::ObservationReported,
            &json!({"observations": [{"comments": comments}]}),
        );
        released_at(&contract, &event, "2026-11-22T12:00:00Z").map(|_| ())
    };
    let place = |place: &str| Err(Withheld::Violation { place: place.to_owned() });
    let long = |length: usize| "é".repeat(length);
    assert_eq!(violation(json!([long(1 << 20)])), Ok(()));
    assert_eq!(violation(json!([long((1 << 20) + 1)])), place("observations[].comments[]"));
    assert_eq!(violation(json!(vec!["x"; 100_000])), Ok(()));
    assert_eq!(violation(json!(vec!["x"; 100_001])), place("observations[].comments[]"));
    assert_eq!(violation(json!(vec![long(1 << 20); 5])), place("data"));
}

/// PROMISE-7
#[test]
fn what_is_deidentified_has_no_name_of_any_message_in_it() {
    let fields = "\"patient.sex\" = \"keep\"\n\"patient.birthDate\" = \"year\"";
    let contract = right(&written("deidentified", "batch = \"30d\"", fields, ""));
    let data = json!({"message": {"occurredAt": "2026-11-22T08:15:00-08:00"},
        "patient": {"sex": {"code": "female"}, "birthDate": "1930-02-01"}});
    let body = body(&contract, &data);
    assert_eq!(body["data"]["patient"], json!({"birthDateYear": "90+", "sex": {"code": "female"}}));
    assert_eq!(body["source"], "tidegate/gate");
    assert_eq!(body["correlationid"], body["id"]);
    for absent in ["time", "subject", "consentref"] {
        assert_eq!(body.get(absent), None, "{absent}");
    }
    assert!(!body.to_string().contains("0a1b"), "{body}");
    // The same message under another correlation: the ID comes of the journal's number.
    assert_eq!(body["id"], keys().id("42.patient.admitted.pid1 r"));
    assert_eq!(body["dataschema"], "urn:tidegate:data:patient.admitted:1:r:1.0.0");
}

/// Dates of one patient keep their distances and their order, and no two patients the same shift.
#[test]
fn a_shift_keeps_intervals_and_order_of_one_patient() {
    let contract = right(&written(
        "pseudonymized",
        "",
        "\"subject\" = \"token\"\n\"visit.admittedAt\" = { transform = \"shift\", days = 30 }\n\"visit.dischargedAt\" = { transform = \"shift\", days = 30 }",
        "",
    ));
    let day = |text: &Json| text.as_str().unwrap().parse::<jiff::civil::Date>().unwrap();
    let mut shifts = std::collections::BTreeSet::new();
    for patient in 0..200 {
        let data = json!({"visit": {"admittedAt": "2024-02-28T23:50:00-08:00", "dischargedAt": "2024-03-01"}});
        let mut event = event(EventType::PatientAdmitted, &data);
        let value = Phi::new(format!("ZZ{patient}"));
        event.subject = Subject { authority: "MRN".to_owned(), value }.into();
        let release = released_at(&contract, &event, "2026-11-22T12:00:00Z").unwrap();
        let body: Json = serde_json::from_slice(release.body()).unwrap();
        let visit = &body["data"]["visit"];
        let (from, to) = (day(&visit["admittedAt"]), day(&visit["dischargedAt"]));
        assert_eq!((to - from).get_days(), 2, "{visit}");
        let shift = (from - "2024-02-28".parse::<jiff::civil::Date>().unwrap()).get_days();
        assert!(shift != 0 && (-30..=30).contains(&shift), "{shift}");
        shifts.insert(shift);
    }
    assert!(shifts.len() > 40, "{shifts:?}");
}

/// A tree out of JSON with whatever names.
fn tree(json: &Json) -> Tree {
    fn write(tree: &mut Tree, key: Key, json: &Json) {
        match json {
            Json::Null => tree.null(key),
            Json::Bool(value) => tree.boolean(key, *value),
            Json::Number(number) => tree.number(key, number.as_f64().unwrap()),
            Json::String(text) => tree.text(key, text),
            Json::Array(list) => {
                let open = tree.open_list(key);
                list.iter().for_each(|json| write(tree, "", json));
                tree.close(open);
            }
            Json::Object(map) => {
                let open = tree.open_object(key);
                for (name, json) in map {
                    write(tree, Box::leak(name.clone().into_boxed_str()), json);
                }
                tree.close(open);
            }
        }
    }
    let mut tree = Tree::new();
    for (name, json) in json.as_object().unwrap() {
        write(&mut tree, Box::leak(name.clone().into_boxed_str()), json);
    }
    tree
}

/// A value that is not a container.
fn leaf() -> impl Strategy<Value = Json> {
    const TEXTS: [&str; 17] = [
        "",
        "x",
        "IMP",
        "2026",
        "2026-11",
        "2026-W47",
        "2026-11-22T08:15-08:00",
        "45",
        "45-49",
        "90+",
        "941",
        "CA",
        "ca",
        "****9",
        "0123456789abcdef0123456789abcdef",
        "é",
        "2026-11-22T08:15:00.1234567890Z",
    ];
    prop_oneof![
        proptest::sample::select(&TEXTS[..]).prop_map(Json::from),
        Just(Json::Null),
        Just(json!(6.5)),
        Just(json!(true)),
    ]
}

/// What a payload of [`SHAPED`] may hold, and what it may not.
fn value() -> impl Strategy<Value = Json> {
    const NAMES: [&str; 20] = [
        "patient",
        "visit",
        "observations",
        "class",
        "code",
        "system",
        "sex",
        "birthDate",
        "ageBand",
        "addresses",
        "postalCode",
        "state",
        "number",
        "value",
        "admittedWeek",
        "status",
        "other",
        "deceased",
        "report",
        "type",
    ];
    leaf().prop_recursive(5, 24, 4, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 1..3).prop_map(Json::from),
            4 => proptest::collection::btree_map(proptest::sample::select(&NAMES[..]), inner, 1..5)
                .prop_map(|map| map.into_iter().map(|(name, json)| (name.to_owned(), json)).collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

const SHAPED: &str = "\"patient.sex\" = \"keep\"\n\"patient.deceased\" = \"keep\"\n\
    \"patient.birthDate\" = { transform = \"age-band\", as = \"patient.ageBand\" }\n\
    \"patient.addresses[].postalCode\" = \"zip3\"\n\"patient.addresses[].state\" = \"state\"\n\
    \"visit.number.value\" = \"hash\"\n\"visit.class\" = \"keep\"\n\"visit.status.code\" = \"mask\"\n\
    \"visit.admittedAt\" = { transform = \"week\", as = \"visit.admittedWeek\", required = true }\n\
    \"visit.dischargedAt\" = \"month\"\n\"observations[].value\" = \"keep\"\n\
    \"observations[].status.code\" = { transform = \"keep\", required = true }";

fn agrees(
    contract: &Contract,
    kind: EventType,
    validator: &jsonschema::Validator,
    data: &Json,
) -> bool {
    let tree = tree(data);
    // As it would be printed: what is empty leaves no trace.
    let printed = serde_json::to_value(&tree).unwrap();
    let checked = contract.recipe.shape.check(kind, tree.root());
    let valid = validator.is_valid(&printed);
    assert_eq!(checked.is_ok(), valid, "{printed}: {checked:?}");
    valid
}

/// What the compiled check lets pass is what the schema does. PROMISE-7
#[test]
fn the_compiled_check_and_the_schema_say_the_same() {
    let contract = right(&written("pseudonymized", "", SHAPED, ""));
    let kind = EventType::PatientAdmitted;
    let validator = jsonschema::validator_for(&contract.recipe.shape.json_schema(kind)).unwrap();
    let right = json!({"patient": {"sex": {"code": "female"}, "deceased": null, "ageBand": "45-49",
            "addresses": [{"postalCode": "941", "state": "CA"}, null]},
        "visit": {"number": {"value": "0123456789abcdef0123456789abcdef"}, "class": {"code": "IMP"},
            "status": {"code": "****9"}, "admittedWeek": "2026-W47", "dischargedAt": "2026-11"},
        "observations": [{"value": {"type": "NM", "number": 6.5, "code": {"system": "LN", "code": "1"}}, "status": {"code": "F"}}]});
    assert!(agrees(&contract, kind, &validator, &right));
    let mut passed = 0;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    // Every place of a right payload with any other value in it, or nothing, or something beside it.
    let mut places = Vec::new();
    walk(&right, String::new(), &mut places);
    for place in &places {
        for _ in 0..40 {
            let strategy = prop_oneof![leaf(), value()];
            let other = strategy.new_tree(&mut runner).unwrap().current();
            let mut changed = right.clone();
            *changed.pointer_mut(place).unwrap() = other.clone();
            passed += u32::from(agrees(&contract, kind, &validator, &changed));
            let mut beside = right.clone();
            if let Some(Json::Object(map)) = beside.pointer_mut(place) {
                map.insert("other".to_owned(), other);
                assert!(!agrees(&contract, kind, &validator, &beside), "{beside}");
            }
        }
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut without = right.clone();
        if let Some(Json::Object(map)) = without.pointer_mut(parent) {
            map.remove(name);
            agrees(&contract, kind, &validator, &without);
        }
    }
    assert!(places.len() > 25 && passed > 50, "{} places, {passed} passed", places.len());
}

fn walk(json: &Json, place: String, places: &mut Vec<String>) {
    let inner: Vec<(String, &Json)> = match json {
        Json::Object(map) => map.iter().map(|(name, json)| (name.clone(), json)).collect(),
        Json::Array(list) => {
            list.iter().enumerate().map(|(at, json)| (at.to_string(), json)).collect()
        }
        _ => Vec::new(),
    };
    for (name, json) in inner {
        let place = format!("{place}/{name}");
        places.push(place.clone());
        walk(json, place, places);
    }
}

#[test]
fn the_shipped_contracts_load_by_themselves() {
    let problems = Problems::default();
    let contracts = load(Path::new("conf/routes"), Declaration::default(), &|_, _| None, &problems);
    assert_eq!(problems.mistakes(), Vec::new());
    assert!(contracts.right.len() >= 4);
}

/// What each shipped contract, and one with every transform, lets out of an event satisfies the schema
/// that `check --schemas` prints.
#[test]
fn what_leaves_satisfies_the_schema_of_its_route() {
    let data = json!({"message": {"occurredAt": "2026-11-22T08:15:00-08:00"},
        "patient": {"names": [{"family": "ZZF", "given": ["ZZG"]}], "birthDate": "1980-01-02",
            "sex": {"code": "female", "source": "F"}, "deceased": false,
            "addresses": [{"postalCode": "94110", "state": "CA"}, {"postalCode": "SW1", "state": "?"}]},
        "visit": {"number": {"value": "ZZV"}, "class": {"code": "IMP"}, "status": {"code": "in-progress"},
            "admittedAt": "2026-11-22T08:15:00-08:00", "dischargedAt": null},
        "observations": [{"code": {"system": "LN", "code": "4548-4"}, "status": {"code": "final"},
            "value": {"type": "NM", "number": 6.9, "text": "6.90"}}]});
    let shaped = written("pseudonymized", "", &format!("\"subject\" = \"token\"\n{SHAPED}"), GLASS);
    let mut contracts = vec![right(&shaped)];
    let problems = Problems::default();
    contracts.extend(
        load(Path::new("conf/routes"), Declaration::default(), &|_, _| None, &problems).right,
    );
    let mut checked = 0;
    for contract in &contracts {
        for kind in &contract.events {
            let schema = contract.schema(*kind);
            let validator = jsonschema::draft202012::options().build(&schema).unwrap();
            let event = event(*kind, &data);
            for now in ["2026-11-22T12:00:00Z", "2026-12-22T12:00:00Z"] {
                let Ok(release) = released_at(contract, &event, now) else { continue };
                let body: Json = serde_json::from_slice(release.body()).unwrap();
                let wrong: Vec<String> = validator
                    .iter_errors(&body)
                    .map(|error| format!("{error} at {}", error.instance_path()))
                    .collect();
                assert_eq!(wrong, Vec::<String>::new(), "{body:#}");
                checked += 1;
                // And nothing else does.
                let mut more = body.clone();
                more["data"]["other"] = json!(1);
                assert!(!validator.is_valid(&more));
            }
        }
    }
    assert!(checked > 12, "{checked}");
}

#[test]
fn the_document_of_all_routes_is_asyncapi() {
    let text = std::fs::read_to_string("fixtures/asyncapi/3.0.0.json").unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let problems = Problems::default();
    let contracts =
        load(Path::new("conf/routes"), Declaration::default(), &|_, _| None, &problems).right;
    let mut document = tidegate::contract::schemas::async_api("gate-1", "0.1.0", &contracts);
    let wrong: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    // Each reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    document["channels"]["trial-matching"]["messages"] = json!(1);
    assert!(!validator.is_valid(&document));
}
