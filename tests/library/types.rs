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
