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

use support::corpus::{Identifier, UNREADABLE, samples};
use tidegate::document::Problems;
use tidegate::event::EventType;
use tidegate::event::json_schema::json_schema;
use tidegate::normalize;
use tidegate::parse::hl7::{Charset, Content, Message, Path, Scope};

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
    assert_eq!(failed, Vec::<String>::new(), "{}", failed.join("\n"));
}

/// The committed schemas are what the code declares. After a change:
/// `TIDEGATE_WRITE_GENERATED=1 cargo test --test library schemas`.
#[test]
fn the_schemas_under_docs_are_what_the_code_declares() {
    for kind in EventType::ALL {
        let text = format!("{:#}\n", json_schema(kind));
        let path = format!("docs/schemas/{kind}.json");
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, text, "{path}");
        support::schema::of(kind.name());
    }
    assert_eq!(std::fs::read_dir("docs/schemas").unwrap().count(), EventType::ALL.len());
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
