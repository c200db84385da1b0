//! The library against its data: mappings, schemas, configuration files, the oracle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails there and then"
)]

mod support;

#[path = "library/agreement.rs"]
mod agreement;

#[path = "library/consent.rs"]
mod consent;

#[path = "library/consent_carriers.rs"]
mod consent_carriers;

#[path = "library/consent_cases.rs"]
mod consent_cases;

#[path = "library/consent_documents.rs"]
mod consent_documents;

#[path = "library/consent_exceptions.rs"]
mod consent_exceptions;

#[path = "library/consent_intake.rs"]
mod consent_intake;

#[path = "library/fhir_consent.rs"]
mod fhir_consent;

#[path = "library/contracts.rs"]
mod contracts;

#[path = "library/deidentification.rs"]
mod deidentification;

#[path = "library/documents.rs"]
mod documents;

#[path = "library/fhir.rs"]
mod fhir;

#[path = "library/fhir_sites.rs"]
mod fhir_sites;

#[path = "library/fhir_client.rs"]
mod fhir_client;

#[path = "library/fhir_auth.rs"]
mod fhir_auth;

#[path = "library/fhir_shapes.rs"]
mod fhir_shapes;

#[path = "library/fhir_resources.rs"]
mod fhir_resources;

#[path = "library/leak.rs"]
mod leak;

#[path = "library/leak_random.rs"]
mod leak_random;

#[path = "library/odd.rs"]
mod odd;

#[path = "library/restrictions.rs"]
mod restrictions;

#[path = "library/types.rs"]
mod types;

#[path = "library/xml.rs"]
mod xml;

use std::os::unix::process::ExitStatusExt;

use proptest::prelude::{ProptestConfig, Strategy, prop_assert_eq, proptest};
use support::corpus::{Identifier, UNREADABLE, samples};
use tidegate::document::Problems;
use tidegate::event::EventType;
use tidegate::event::json_schema::{json_schema, notice_schema};
use tidegate::normalize;
use tidegate::parse::hl7::{Charset, Composite, Content, Message, Path, Scope};

/// Set to write what is generated instead of comparing it.
const WRITE: &str = "TIDEGATE_WRITE_GENERATED";

#[test]
fn every_shipped_mapping_loads_and_each_of_its_cases_holds() {
    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    let mistakes: Vec<String> = problems.mistakes().iter().map(ToString::to_string).collect();
    assert_eq!(mistakes, Vec::<String>::new());
    let mut failed = Vec::new();
    let mut cases_run = 0;
    for (_, mapping, cases) in mappings.files() {
        for case in cases {
            cases_run += 1;
            for line in case.run(mapping) {
                failed.push(format!("{} {}: {line}", case.place, case.name));
            }
        }
    }
    assert!(cases_run >= mappings.files().count(), "a mapping without a case");
    cases_run = 0;
    for (_, mapping, cases) in mappings.fhir.files() {
        for case in cases {
            cases_run += 1;
            for line in case.run_resource(mapping) {
                failed.push(format!("{} {}: {line}", case.place, case.name));
            }
        }
    }
    assert!(cases_run >= mappings.fhir.files().count(), "a mapping without a case");
    assert_eq!(failed, Vec::<String>::new(), "{}", failed.join("\n"));
}

/// The committed schemas are what the code declares. After a change:
/// `TIDEGATE_WRITE_GENERATED=1 cargo test --test library schemas`.
#[test]
fn the_schemas_under_docs_are_what_the_code_declares() {
    let of_types = EventType::ALL.map(|kind| (kind.name(), json_schema(kind)));
    let all: Vec<_> = of_types.into_iter().chain([("notice", notice_schema())]).collect();
    for (name, schema) in &all {
        let text = format!("{schema:#}\n");
        let path = format!("docs/schemas/{name}.json");
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, text, "{path}");
        support::schema::of(name);
    }
    assert_eq!(std::fs::read_dir("docs/schemas").unwrap().count(), all.len());
}

/// What a path leads to first, as text; nothing where nothing is said.
fn text_of(message: &Message<'_>, path: &str) -> Option<String> {
    let all = [0..message.len()];
    let hit = Path::read(path).unwrap().first(&Scope::new(message, &all))?;
    match message.content(hit.value.first()) {
        Content::Absent => None,
        Content::Null => Some("\"\"".to_owned()),
        Content::Text(text) => Some(text.into_owned()),
    }
}

fn identifiers_of(message: &Message<'_>) -> Vec<Identifier> {
    let repetitions = message.segments().filter(|segment| segment.name() == "PID").take(1);
    let count: usize =
        repetitions.map(|pid| message.repetitions(pid.field(3).unwrap_or_default()).count()).sum();
    (1..=count)
        .map(|at| {
            let part = |path: &str| text_of(message, &format!("PID-3[{at}].{path}"));
            Identifier {
                value: part("1"),
                authority: part("4.1"),
                authority_id: part("4.2"),
                authority_id_type: part("4.3"),
                kind: part("5"),
            }
        })
        .filter(|identifier| identifier.value.is_some())
        .collect()
}

/// Every message of the corpus reads as two independent parsers read it, but for what those two
/// do not agree on.
#[test]
fn the_corpus_reads_as_other_parsers_read_it() {
    let mut differs = Vec::new();
    let (mut compared, mut unreadable) = (0, Vec::new());
    for sample in samples() {
        let Ok(message) = Message::parse(&sample.bytes, Charset::Utf8) else {
            unreadable.push(sample.path);
            continue;
        };
        let expect = &sample.expect;
        let mut check = |name: &str, wanted: &Option<String>, path: &str| {
            compared += 1;
            let found = text_of(&message, path);
            if found != *wanted && !sample.disagree.iter().any(|other| other == name) {
                differs.push(format!("{} {path}: {found:?}, not {wanted:?}", sample.path));
            }
        };
        check("type", &expect.kind, "MSH-9.1");
        check("trigger", &expect.trigger, "MSH-9.2");
        check("structure", &expect.structure, "MSH-9.3");
        check("control_id", &expect.control_id, "MSH-10");
        check("processing_id", &expect.processing_id, "MSH-11.1");
        check("version", &expect.version, "MSH-12.1");
        check("sending_app", &expect.sending_app, "MSH-3.1");
        check("sending_facility", &expect.sending_facility, "MSH-4.1");
        check("birth_date", &expect.birth_date, "PID-7");
        check("family", &expect.family, "PID-5.1.1");
        check("given", &expect.given, "PID-5.2");
        check("sex", &expect.sex, "PID-8");
        check("class", &expect.class, "PV1-2");
        check("visit_number", &expect.visit_number, "PV1-19.1");
        check("point_of_care", &expect.point_of_care, "PV1-3.1");
        check("admit_dt", &expect.admit_dt, "PV1-44");
        check("discharge_dt", &expect.discharge_dt, "PV1-45");
        check("first_obr_code", &expect.first_obr_code, "OBR-4.1");
        check("result_status", &expect.result_status, "OBR-25");
        check("first_obx_code", &expect.first_obx_code, "OBX-3.1");
        check("first_obx_status", &expect.first_obx_status, "OBX-11");
        let count = |name: &str| message.segments().filter(|found| found.name() == name).count();
        let counts = [("PID", expect.n_pid), ("OBR", expect.n_obr), ("OBX", expect.n_obx)];
        for (name, wanted) in counts {
            compared += 1;
            if count(name) != wanted {
                differs.push(format!("{} {} {name}, not {wanted}", sample.path, count(name)));
            }
        }
        let identifiers = identifiers_of(&message);
        let known = sample.disagree.iter().any(|name| name == "patient_ids");
        if identifiers != expect.patient_ids && !known {
            differs.push(format!("{} {identifiers:?}, not {:?}", sample.path, expect.patient_ids));
        }
    }
    assert_eq!(unreadable, UNREADABLE.map(|(path, _)| path));
    assert!(compared > 8_000, "{compared} values compared");
    assert!(differs.is_empty(), "{} differ:\n{}", differs.len(), differs.join("\n"));
}

/// A field as its subcomponents: repetitions, components, subcomponents.
type Field = Vec<Vec<Vec<String>>>;

fn join<T>(parts: &[T], separator: &str, write: impl Fn(&T) -> String) -> String {
    parts.iter().map(write).collect::<Vec<_>>().join(separator)
}

fn written(field: &Field) -> String {
    join(field, "~", |repetition| {
        join(repetition, "^", |component| join(component, "&", String::clone))
    })
}

/// A well-formed message: legal names, values with the five delimiter escapes, no line breaks.
fn well_formed() -> impl Strategy<Value = Vec<(String, Vec<Field>)>> {
    let value = r"([A-Za-z0-9 .,:;()'*é¿漢-]|\\[FSTRE]\\){0,9}";
    let component = proptest::collection::vec(value, 1..4);
    let repetition = proptest::collection::vec(component, 1..5);
    let field = proptest::collection::vec(repetition, 1..4);
    let name = "(EVN|PID|PD1|NK1|PV1|OBR|OBX|NTE|ZXY|Z01)";
    proptest::collection::vec((name, proptest::collection::vec(field, 1..8)), 1..6)
}

/// The five delimiter escapes, read from left to right.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('\\') {
        let (name, tail) = tail.split_once('\\').unwrap();
        out += head;
        out += match name {
            "F" => "|",
            "S" => "^",
            "T" => "&",
            "R" => "~",
            _ => "\\",
        };
        rest = tail;
    }
    out + rest
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The oracle: `hl7-parser` reads a well-formed message into the same segments, fields,
    /// repetitions, components, subcomponents and texts, and so does what was written.
    #[test]
    fn a_well_formed_message_reads_as_hl7_parser_reads_it(segments in well_formed()) {
        let mut text = "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122||ADT^A01|1|P|2.5.1".to_owned();
        for (name, fields) in &segments {
            text += &format!("\r{name}|{}", join(fields, "|", written));
        }
        let oracle = hl7_parser::Message::parse(&text).unwrap();
        let ours = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        prop_assert_eq!(ours.len(), segments.len() + 1);
        prop_assert_eq!(oracle.segments().count(), ours.len());
        for ((theirs, segment), (name, fields)) in
            oracle.segments().zip(ours.segments()).skip(1).zip(&segments)
        {
            prop_assert_eq!(theirs.name, segment.name());
            prop_assert_eq!(segment.name(), name.as_str());
            prop_assert_eq!(segment.field_count(), fields.len());
            for (number, field) in (1..).zip(fields) {
                let raw = segment.field(number).unwrap();
                let theirs = theirs.field(number).unwrap();
                prop_assert_eq!(theirs.raw_value(), raw);
                prop_assert_eq!(ours.repetitions(raw).count(), field.len());
                for (at, repetition) in ours.repetitions(raw).enumerate() {
                    let composite = Composite::of_field(repetition, ours.delimiters());
                    for (component, parts) in (1..).zip(&field[at]) {
                        for (sub, expected) in (1..).zip(parts) {
                            let value = composite.part(component).part(sub).first();
                            prop_assert_eq!(value, expected);
                            let theirs = theirs
                                .repeat(at + 1)
                                .and_then(|repeat| repeat.component(component))
                                .and_then(|component| component.subcomponent(sub))
                                .map_or("", |sub| sub.raw_value());
                            prop_assert_eq!(value, theirs);
                            let read = match ours.content(value) {
                                Content::Text(text) => text.into_owned(),
                                Content::Absent | Content::Null => String::new(),
                            };
                            // Blanks at the end do not count in HL7; the oracle keeps them. Its
                            // unescaping counts bytes as characters, and panics beyond ASCII.
                            if theirs.is_ascii() {
                                let theirs = oracle.separators.decode(theirs).to_string();
                                prop_assert_eq!(&read, theirs.trim_end());
                            }
                            let expected = unescaped(expected);
                            prop_assert_eq!(read, expected.trim_end());
                        }
                    }
                }
            }
        }
    }
}

/// PROMISE-10. The process is this test run once more, with a variable that makes it panic.
#[test]
fn fault_84_a_panic_ends_the_process_and_prints_its_place_without_its_text() {
    const PANIC: &str = "TIDEGATE_TEST_PANIC";
    const NAME: &str = "fault_84_a_panic_ends_the_process_and_prints_its_place_without_its_text";
    if std::env::var_os(PANIC).is_some() {
        tidegate::bug::install_hook();
        assert_eq!(tidegate::bug::contain(|| panic!("ZZCONTAINED")), None::<()>);
        std::thread::spawn(|| panic!("ZZCANARY")).join().ok();
        std::process::exit(0);
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(PANIC, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "not aborted: {said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("library.rs")).collect();
    assert_eq!(lines.len(), 1, "one line with the place: {said}");
    assert!(!said.contains("ZZ"), "{said}");
}

#[test]
fn every_file_of_the_corpus_is_what_its_provenance_says_under_a_licence_that_is_taken() {
    let list = std::fs::read_to_string("fixtures/corpus/PROVENANCE.tsv").unwrap();
    let mut listed = std::collections::BTreeSet::new();
    for row in list.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let [path, _, _, licence, _, digest] = cells[..] else { panic!("{row}") };
        assert!(["Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0"].contains(&licence), "{row}");
        let bytes = std::fs::read(format!("fixtures/corpus/{path}")).unwrap();
        let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let found: String = found.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{path}");
        assert!(listed.insert(path.to_owned()), "{path} is listed twice");
    }
    let mut folders = vec![std::path::PathBuf::from("fixtures/corpus")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix("fixtures/corpus").unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.contains('/') {
                assert!(listed.contains(&name), "{name} is not listed");
            }
        }
    }
}
