//! The tables of docs/types.md: what becomes of each type and trigger, as the mappings say it.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::document::Problems;
use tidegate::normalize::{self, Context, Mappings, Normalized, Refusal, Trace, normalize};
use tidegate::parse::hl7::{Charset, Message};

const PAGE: &str = "docs/types.md";

/// What a row says of a trigger.
struct Row {
    event: String,
    /// Only of ADT.
    status: String,
    why: String,
}

/// The rows of the table below a heading, by trigger.
fn rows(heading: &str) -> BTreeMap<String, Row> {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (_, below) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let table = below.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut rows = BTreeMap::new();
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        let event = cell(3).trim_matches('`').to_owned();
        let row = Row { event, status: cell(4).to_owned(), why: cell(5).to_owned() };
        assert!(rows.insert(cell(1).to_owned(), row).is_none(), "{} twice", cell(1));
    }
    rows
}

fn mappings() -> Mappings {
    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    mappings
}

fn mapped(mappings: &Mappings, text: &str) -> Result<Normalized, Refusal> {
    let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
    normalize(mappings, &message, &Context::default(), Trace::Off).map(|(normalized, _)| normalized)
}

/// A message with what any trigger wants: two patients, a merge, a visit.
fn adt(trigger: &str) -> String {
    let mrg = "MRG|ZZ2^^^H^MR||ZZA2|ZZE2^^^E|ZZV2|ZZW2\r";
    // Only links, swaps and the triggers that repeat have a second PID, and it wants an MRG of its own.
    let second = match trigger {
        "A17" | "A24" | "A37" => "PID|2||ZZ3^^^H^MR\rPV1|2|I|W2\r".to_owned(),
        _ => String::new(),
    };
    let mrg = if second.is_empty() { mrg } else { "" };
    format!(
        "MSH|^~\\&|S|H|||20261122||ADT^{trigger}|ZZC|P|2.5\rEVN|{trigger}|20261122\r\
         PID|1||ZZ1^^^H^MR||ZZN\r{mrg}PV1|1|I|W1{}202611220805\r{second}",
        "|".repeat(41)
    )
}

#[test]
fn every_adt_trigger_from_a01_to_a62_gives_what_the_page_says() {
    let (mappings, rows) = (mappings(), rows("ADT"));
    let all: BTreeSet<String> = (1..=62).map(|number| format!("A{number:02}")).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), all);
    let mut wrong = Vec::new();
    for (trigger, Row { event, status, why }) in &rows {
        let found = mapped(&mappings, &adt(trigger));
        if event == "unsupported" {
            let wanted = Refusal::Unsupported { kind: "ADT".into(), trigger: trigger.clone() };
            assert_eq!(found, Err(wanted), "{trigger}");
            assert!(!why.is_empty(), "{trigger}: why is nothing made of it?");
            continue;
        }
        let found = found.unwrap_or_else(|refusal| panic!("{trigger}: {refusal}"));
        let says_so = ["A08", "A31"].contains(&trigger.as_str());
        assert!(event != "patient.updated" || says_so || why.len() > 5, "{trigger}: why no type?");
        let two = ["A17", "A24", "A37"].contains(&trigger.as_str());
        assert_eq!(found.drafts.len(), if two { 2 } else { 1 }, "{trigger}");
        for draft in &found.drafts {
            let text = |path: &str| {
                let value = draft.data.root().at(path);
                value.and_then(|value| value.as_text()).unwrap_or_default().to_owned()
            };
            let status_found = text("visit.status.code");
            // `adt` says when the visit began, and that it is none that is planned or over.
            let status = if status == "by PV1" { "in-progress" } else { status };
            if draft.kind.name() != event || status_found != status {
                wrong.push(format!(
                    "{trigger}: {} {status_found}, not {event} {status}",
                    draft.kind
                ));
            }
            assert_eq!(text("message.event"), *trigger);
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let of_adt = mappings.selected().into_iter().filter(|(kind, _, _)| *kind == "ADT");
    for (_, trigger, _) in of_adt {
        assert!(rows.contains_key(trigger), "{PAGE} has no row of {trigger}");
    }
}

#[test]
fn every_oru_trigger_gives_what_the_page_says() {
    let (mappings, rows) = (mappings(), rows("ORU"));
    for (trigger, Row { event, .. }) in &rows {
        let nine = if trigger == "none" { "ORU".to_owned() } else { format!("ORU^{trigger}") };
        let text = format!(
            "MSH|^~\\&|S|H|||20261122||{nine}|ZZC|P|2.3\rPID|1||ZZ1\rOBR|1|||X\rOBX|1|NM|Y||1\r"
        );
        let found = mapped(&mappings, &text).unwrap_or_else(|refusal| panic!("{nine}: {refusal}"));
        assert_eq!(found.drafts.len(), 1);
        assert_eq!(found.drafts[0].kind.name(), event, "{nine}");
    }
    let selected = mappings.selected();
    let of_oru: Vec<&str> =
        selected.iter().filter(|(kind, _, _)| *kind == "ORU").map(|(_, it, _)| *it).collect();
    let listed = rows.keys().map(|trigger| if trigger == "none" { "" } else { trigger.as_str() });
    assert_eq!(BTreeSet::from_iter(of_oru), listed.collect());
    for nine in ["ORU^R03", "OUL^R22", "ORM^O01", "QRY^A19", "ORUR^R01", "ADT", "VXU^V04"] {
        let text =
            format!("MSH|^~\\&|S|H|||20261122||{nine}|ZZC|P|2.3\rPID|1||ZZ1\rOBX|1|NM|Y||1\r");
        assert!(matches!(mapped(&mappings, &text), Err(Refusal::Unsupported { .. })), "{nine}");
    }
}

/// Allergies are in no event: all that is said of them is listed, and costs nothing else.
#[test]
fn an_update_of_allergies_is_an_update_that_lists_what_it_does_not_hold() {
    let mappings = mappings();
    let of = |trigger: &str, allergies: &str| {
        let text = format!("{}DG1|1||I10^x^ICD\r{allergies}", adt(trigger));
        mapped(&mappings, &text).unwrap()
    };
    let allergies = "IAM|1|DA^Drug^HL70127|1545^ZZDRUG^L|SV|ZZHIVES~ZZRASH|A|ZZ17^LAB\r\
                     IAM|2|FA|ZZNUTS|MO||D\r";
    let (plain, with) = (of("A08", ""), of("A60", allergies));
    let data = |found: &Normalized| {
        let data = serde_json::to_string(&found.drafts[0].data.root()).unwrap();
        data.replace("A60", "A08")
    };
    // Diagnoses are no part of A60 (chapter 3.3.60): in case they come, they are not lost either.
    assert_eq!(data(&with), data(&plain));
    let listed = |found: &Normalized| -> BTreeSet<String> {
        found.unmapped.iter().map(ToString::to_string).collect()
    };
    let more: Vec<String> = listed(&with).difference(&listed(&plain)).cloned().collect();
    assert_eq!(more, ["IAM-1", "IAM-2", "IAM-3", "IAM-4", "IAM-5", "IAM-6", "IAM-7"]);
    assert!(listed(&plain).is_subset(&listed(&with)) && with.invalid.is_empty());
}

/// The events of persons, as the page lists them: of class N they are no visit, and the others are.
#[test]
fn class_n_is_no_visit_in_the_events_of_persons_and_in_no_other() {
    let mappings = mappings();
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (_, rest) = page.split_once("Events of persons (").unwrap();
    let (listed, _) = rest.split_once(')').unwrap();
    let persons: BTreeSet<&str> = listed.split(',').map(str::trim).collect();
    for (trigger, row) in rows("ADT") {
        if row.event == "unsupported" {
            continue;
        }
        let text = adt(&trigger).replace("|I|W", "|N|W");
        let found = mapped(&mappings, &text).unwrap();
        let visit = |field: &str| {
            let path = format!("visit.{field}");
            found.drafts.iter().filter(|it| it.data.root().at(&path).is_some()).count()
        };
        let wanted = if persons.contains(trigger.as_str()) { 0 } else { found.drafts.len() };
        assert_eq!((visit("class"), visit("location")), (wanted, wanted), "{trigger}");
        if row.event == "patient.merged" {
            assert_eq!(visit("priorNumber"), 1, "{trigger}");
        }
    }
}

#[test]
fn who_it_was_before_is_what_mrg_holds_first() {
    let mappings = mappings();
    for (trigger, mrg, wanted) in [
        ("A40", "1|2||4", &["1"][..]),
        ("A40", "|2||4", &["4", "2"]),
        ("A40", "|||4", &["4"]),
        ("A18", "|2", &["2"]),
        ("A43", "1|2||4", &["1"]),
        ("A44", "|||4", &["4"]),
        ("A45", "|2", &["2"]),
        ("A39", "1|2||4", &["4"]),
        ("A39", "1|2", &["1"]),
        ("A46", "1|2||4", &["1", "4", "2"]),
        ("A51", "|2", &["2"]),
    ] {
        let text = format!(
            "MSH|^~\\&|S|H|||20261122||ADT^{trigger}|ZZC|P|2.3\rPID|1||ZZ9\rMRG|{mrg}\rPV1|1|I\r"
        );
        let found =
            mapped(&mappings, &text).unwrap_or_else(|refusal| panic!("{trigger}: {refusal}"));
        let root = found.drafts[0].data.root();
        let prior: Vec<String> = (0..)
            .map_while(|at| root.at(&format!("patient.priorIdentifiers[{at}].value")))
            .map(|value| value.as_text().unwrap().to_owned())
            .collect();
        assert_eq!(prior, wanted, "{trigger} {mrg}");
    }
}
