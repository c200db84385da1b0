//! The events of the corpus, beside what independent parsers read in its messages.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::document::Problems;
use tidegate::event::{Value, View};
use tidegate::normalize::{self, Context, Draft, Refusal, Trace, normalize};
use tidegate::parse::hl7::{Charset, Message};

use crate::support::corpus::{Expect, Identifier, Sample, samples};

/// Each row: file, field, and the reason from the standard why the event says something else.
const DISPUTED: &str = "fixtures/corpus/DISPUTED.tsv";

/// The events of a message, or by which name it is refused.
fn events(mappings: &normalize::Mappings, sample: &Sample) -> Result<Vec<Draft>, String> {
    let message = Message::parse(&sample.bytes, Charset::Utf8)
        .map_err(|malformed| format!("malformed: {malformed}"))?;
    match normalize(mappings, &message, &Context::default(), Trace::Off) {
        Ok((normalized, _)) => Ok(normalized.drafts),
        Err(refusal @ Refusal::Unsupported { .. }) => Err(format!("unsupported: {refusal}")),
        Err(refusal) => Err(format!("unmapped: {refusal}")),
    }
}

fn mappings() -> normalize::Mappings {
    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    mappings
}

/// PROMISE-11
#[test]
fn every_message_of_the_corpus_is_an_event_an_unsupported_type_or_a_named_refusal() {
    let mappings = mappings();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for sample in samples() {
        let outcome = match events(&mappings, &sample) {
            Err(refusal) => refusal,
            Ok(drafts) => {
                let kinds: BTreeSet<&str> = drafts.iter().map(|draft| draft.kind.name()).collect();
                let kinds: Vec<&str> = kinds.into_iter().collect();
                assert!(!kinds.is_empty(), "{} is lost", sample.path);
                kinds.join(" ")
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    let lines: Vec<String> =
        outcomes.iter().map(|(outcome, count)| format!("{count:>4} {outcome}")).collect();
    insta::with_settings!(
        { snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true },
        { insta::assert_snapshot!("corpus-outcomes", lines.join("\n")); }
    );
}

/// What the standard makes of a coded value: our tables, written down once more from tables 0001, 0004,
/// 0085 and 0123 and the maps of v2-to-FHIR. Other codes have no normalized one.
fn normalized_code(table: &str, code: &str) -> Option<&'static str> {
    Some(match (table, code) {
        ("0001", "F") => "female",
        ("0001", "M") => "male",
        ("0001", "O" | "A" | "N") => "other",
        ("0001", "U") => "unknown",
        ("0004", "E") => "EMER",
        ("0004", "I") => "IMP",
        ("0004", "O") => "AMB",
        ("0004", "P") => "PRENC",
        ("0085" | "0123", "F") => "final",
        ("0085" | "0123", "P") => "preliminary",
        ("0085" | "0123", "C") => "corrected",
        ("0085" | "0123", "X") => "cancelled",
        ("0085", "D" | "W") => "entered-in-error",
        ("0085", "A") => "amended",
        ("0123", "O" | "I" | "S") => "registered",
        ("0123", "R") => "partial",
        _ => return None,
    })
}

/// A date or time of HL7 as the event writes it, as precise as it came; a day alone where `day`.
fn iso(stated: &str, day: bool) -> String {
    let digits: String = stated.chars().take_while(char::is_ascii_digit).collect();
    let mut text = String::new();
    for (mark, range) in
        [("", 0..4), ("-", 4..6), ("-", 6..8), ("T", 8..10), (":", 10..12), (":", 12..14)]
    {
        let Some(part) = digits.get(range.clone()) else { break };
        if day && range.start >= 8 {
            break;
        }
        text += mark;
        text += part;
    }
    if day {
        return text;
    }
    let rest = &stated[digits.len()..];
    let (fraction, zone) = rest.split_at(rest.find(['+', '-']).unwrap_or(rest.len()));
    let zone = match zone {
        "" => String::new(),
        "+0000" | "-0000" => "Z".to_owned(),
        zone => format!("{}:{}", &zone[..3], &zone[3..]),
    };
    text + fraction + &zone
}

fn word(value: Option<View<'_>>) -> Option<String> {
    match value?.value() {
        Value::Text(text) => Some(text.to_owned()),
        Value::Null => Some("\"\"".to_owned()),
        _ => None,
    }
}

fn text(data: View<'_>, path: &str) -> Option<String> {
    word(data.at(path))
}

/// `normalized/source` of a coded field. The source alone where HL7 has no normalized code: what we made
/// of it is our choice, and no parser's.
fn coded(data: View<'_>, path: &str, table: &str) -> Option<String> {
    let source = text(data, &format!("{path}.source"))?;
    let code = text(data, &format!("{path}.code"));
    let code = code.filter(|_| normalized_code(table, &source).is_some()).unwrap_or_default();
    Some(format!("{code}/{source}"))
}

fn stated_code(table: &str, stated: Option<&String>) -> Option<String> {
    let stated = stated?;
    Some(format!("{}/{stated}", normalized_code(table, stated).unwrap_or_default()))
}

fn identifiers(data: View<'_>) -> Vec<Identifier> {
    let list = data.at("patient.identifiers").into_iter().flat_map(|list| list.children());
    list.map(|found| Identifier {
        value: text(found, "value"),
        authority: text(found, "authority"),
        authority_id: text(found, "authorityId"),
        authority_id_type: text(found, "authorityIdType"),
        kind: text(found, "type"),
    })
    .collect()
}

/// What is stated of a message and what its events say: by field, stated, said. Only what is stated.
fn compare(expect: &Expect, drafts: &[Draft]) -> Vec<(&'static str, String, Option<String>)> {
    let first = drafts[0].data.root();
    let with = |part: &str| {
        drafts.iter().map(|draft| draft.data.root()).find(|data| data.at(part).is_some())
    };
    let report = with("report.code").unwrap_or(first);
    let observed = with("observations").unwrap_or(first);
    let is_oru = expect.kind.as_deref() == Some("ORU");
    let of_oru = |stated: &Option<String>| stated.clone().filter(|_| is_oru);
    let count: usize = drafts
        .iter()
        .filter_map(|draft| draft.data.root().at("observations"))
        .map(|list| list.children().count())
        .sum();
    let orders = drafts.iter().filter(|draft| draft.place.starts_with("obr")).count();
    let stated: Vec<Identifier> = expect.patient_ids.clone();
    let said: Vec<Identifier> = identifiers(first).into_iter().take(stated.len()).collect();
    let time = |stated: &Option<String>, said: Option<String>| {
        let stated = stated.as_deref().map(|it| iso(it, false));
        // An offset that the field does not state is that of the message (chapter 2.14.9.7).
        let said = said.map(|said| match &stated {
            Some(stated) if said.starts_with(stated) => stated.clone(),
            _ => said,
        });
        (stated, said)
    };
    let (admit, admitted) = time(&expect.admit_dt, text(first, "visit.admittedAt"));
    let (discharge, discharged) = time(&expect.discharge_dt, text(first, "visit.dischargedAt"));
    let rows = [
        ("type", expect.kind.clone(), text(first, "message.type")),
        ("trigger", expect.trigger.clone(), text(first, "message.event")),
        ("structure", expect.structure.clone(), text(first, "message.structure")),
        ("control_id", expect.control_id.clone(), text(first, "message.controlId")),
        ("processing_id", expect.processing_id.clone(), text(first, "message.processingId")),
        ("version", expect.version.clone(), text(first, "message.version")),
        ("sending_app", expect.sending_app.clone(), text(first, "message.sendingApplication")),
        (
            "sending_facility",
            expect.sending_facility.clone(),
            text(first, "message.sendingFacility"),
        ),
        (
            "patient_ids",
            (!stated.is_empty()).then(|| format!("{stated:?}")),
            Some(format!("{said:?}")),
        ),
        ("family", expect.family.clone(), text(first, "patient.names[0].family")),
        ("given", expect.given.clone(), text(first, "patient.names[0].given[0]")),
        (
            "birth_date",
            expect.birth_date.as_deref().map(|it| iso(it, true)),
            text(first, "patient.birthDate"),
        ),
        ("sex", stated_code("0001", expect.sex.as_ref()), coded(first, "patient.sex", "0001")),
        ("class", stated_code("0004", expect.class.as_ref()), coded(first, "visit.class", "0004")),
        ("visit_number", expect.visit_number.clone(), text(first, "visit.number.value")),
        ("point_of_care", expect.point_of_care.clone(), text(first, "visit.location.pointOfCare")),
        ("admit_dt", admit, admitted),
        ("discharge_dt", discharge, discharged),
        ("n_obr", is_oru.then(|| expect.n_obr.to_string()), Some(orders.to_string())),
        ("n_obx", Some(expect.n_obx.to_string()), Some(count.to_string())),
        ("first_obr_code", of_oru(&expect.first_obr_code), text(report, "report.code.code")),
        (
            "result_status",
            stated_code("0123", of_oru(&expect.result_status).as_ref()),
            coded(report, "report.status", "0123"),
        ),
        (
            "first_obx_code",
            expect.first_obx_code.clone(),
            text(observed, "observations[0].code.code"),
        ),
        (
            "first_obx_status",
            stated_code("0085", expect.first_obx_status.as_ref()),
            coded(observed, "observations[0].status", "0085"),
        ),
    ];
    rows.into_iter().filter_map(|(field, stated, said)| Some((field, stated?, said))).collect()
}

/// How often a field is stated, agreed with, and disputed.
#[derive(Default)]
struct Agreement {
    stated: usize,
    agreeing: usize,
    disputed: Vec<String>,
}

/// Of every ADT and ORU with events, the events state what the message states, normalized: the type, who
/// the patient is, the visit, the orders and observations. Printed per field; all but what is disputed.
#[test]
fn the_events_of_the_corpus_state_what_independent_parsers_read() {
    let list = std::fs::read_to_string(DISPUTED).unwrap();
    let rows = list.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [path, field, reason] = cells[..] else { panic!("{DISPUTED}: {line}") };
        assert!(reason.contains("chapter") || reason.contains("table"), "{line}");
        ((path.to_owned(), field.to_owned()), reason.to_owned())
    });
    let mut disputed: BTreeMap<(String, String), String> = rows.collect();
    let mappings = mappings();
    let mut fields: BTreeMap<&str, Agreement> = BTreeMap::new();
    let (mut messages, mut differs) = (0, Vec::new());
    for sample in samples() {
        if !matches!(sample.expect.kind.as_deref(), Some("ADT" | "ORU")) {
            continue;
        }
        let Ok(drafts) = events(&mappings, &sample) else { continue };
        messages += 1;
        for (field, stated, said) in compare(&sample.expect, &drafts) {
            let row = fields.entry(field).or_default();
            row.stated += 1;
            if said.as_deref() == Some(&*stated) {
                row.agreeing += 1;
            } else if sample.disagree.iter().any(|it| it == field) {
                row.disputed.push("the parsers do not agree themselves".to_owned());
            } else if let Some(reason) = disputed.remove(&(sample.path.clone(), field.to_owned())) {
                row.disputed.push(reason);
            } else {
                differs.push(format!("{} {field}: {said:?}, not {stated}", sample.path));
            }
        }
    }
    println!(
        "{messages} messages\n{:<18}{:>7}{:>10}{:>10}",
        "field", "stated", "agreeing", "disputed"
    );
    for (field, Agreement { stated, agreeing, disputed }) in &fields {
        println!("{field:<18}{stated:>7}{agreeing:>10}{:>10}", disputed.len());
        disputed.iter().for_each(|reason| println!("    {reason}"));
    }
    assert!(differs.is_empty(), "{} differ:\n{}", differs.len(), differs.join("\n"));
    assert!(disputed.is_empty(), "{DISPUTED} disputes what is agreed on: {disputed:?}");
    let stated: usize = fields.values().map(|row| row.stated).sum();
    assert!(messages >= 200 && stated > 3_000 && fields.len() == 24, "{messages} {stated}");
}
