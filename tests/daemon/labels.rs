//! Sensitivity labels of messages: what leaves of what is labelled, where to, and how that is told.

use serde_json::Value as Json;

use crate::explain::decided;
use crate::support::daemon::{Daemon, Setup};
use crate::support::{EVERY_EVENT, adt, eventually};
use crate::{PATIENT, code_of, send};

const POLICY: &str = "[codes]\n\"L/ZZ9\" = [\"CLINTRCH\"]\n\
                      \"HL70496/057\" = { purposes = [\"CLINTRCH\"], labels = [\"HIV\"] }\n\
                      [labels]\n\"L/ZZSEC\" = [\"PSY\"]\n\"L/ZZOPEN\" = []\n\
                      [restriction]\nspares = [\"TREAT\"]\n";

/// Routes of treatment: `ward` sees nothing that is labelled, `clinic` HIV, `board` all that HL7
/// has a word for here; and `trial`, which asks for a consent and may see HIV.
fn setup() -> Setup {
    let every: Vec<&str> = EVERY_EVENT.iter().copied().chain(["consent.granted"]).collect();
    Setup::new()
        .policy(POLICY)
        .file_route("ward", &every)
        .file_route("clinic", &every)
        .saying("clinic", "labels = [\"HIV\"]")
        .file_route("board", &every)
        .saying("board", "labels = [\"HIV\", \"R\", \"V\", \"PSY\", \"SUD\", \"STD\"]")
        .pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["observation.reported"],
            "\"subject\" = \"token\"\n\"labels\" = \"keep\"\n\"report.code\" = \"keep\"",
        )
        .saying("trial", "labels = [\"HIV\"]")
}

fn at(segment: &str, number: usize, value: &str) -> String {
    format!("{segment}{}{value}\r", "|".repeat(number))
}

/// A made-up update with segments behind PID and at its end.
fn update(control_id: &str, person: &str, end: &str) -> Vec<u8> {
    let text = String::from_utf8(adt("A08", control_id, PATIENT)).unwrap();
    (text.replace("PV1|", &format!("{person}PV1|")) + end).into_bytes()
}

/// A made-up result of two orders; the first has a confidentiality code.
fn results(control_id: &str, confidentiality: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|LAB|NORTH|GATE|HUB|20261122081500-0800||ORU^R01^ORU_R01|{control_id}|P|2.8\r\
         PID|1||{PATIENT}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r\
         {}OBR|1|||ZZA^First^L\rOBX|1|NM|ZZA^First^L||1\r\
         ORC|RE\rOBR|2|||ZZB^Second^L\rOBX|1|NM|ZZB^Second^L||2\r",
        at("ORC", 28, confidentiality)
    )
    .into_bytes()
}

fn document(control_id: &str, confidentiality: &str, con: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122081500-0800||MDM^T02^MDM_T02|{control_id}|P|2.7\r\
         PID|1||{PATIENT}^^^EPIC^MR||ZZQUILLON^ZZMARA||19800102|F\r{}{con}\r",
        at("TXA", 18, confidentiality)
    )
    .into_bytes()
}

/// Waits until a route has passed all that came in, and gives control ID and place of what left.
fn out(setup: &Setup, route: &str) -> Vec<String> {
    let last = setup.json(&["journal", "ls", "--limit", "1"]).remove(0)["number"].to_string();
    eventually("it is passed", || {
        let shown = setup.json(&["journal", "show", &last]).remove(0);
        let mut routes = shown["routes"].as_array().unwrap().iter();
        routes.any(|it| it["route"] == route && it["state"] == "passed")
    });
    let of = |event: &Json| {
        let id = event["data"]["message"]["controlId"].as_str().unwrap();
        let code = event["data"]["report"]["code"]["code"].as_str();
        code.map_or_else(|| id.to_owned(), |code| format!("{id} {code}"))
    };
    setup.events(route).iter().map(of).collect()
}

/// Place and text of what nobody mapped.
fn unmapped(setup: &Setup) -> Vec<(String, String, u64)> {
    let found = setup.json(&["exceptions", "ls", "--category", "consent-unknown"]);
    let text = |it: &Json, key: &str| it[key].as_str().unwrap().to_owned();
    let of = |it: &Json| (text(it, "place"), text(it, "text"), it["count"].as_u64().unwrap());
    found.iter().map(of).collect()
}

fn each_carrier(daemon: &Daemon) {
    let granted = "CON|1|ZZ9^Form^L||ZZF1|||||||A||20261101";
    send(daemon, &update("N1", "", &at("DG1", 17, "N")));
    send(daemon, &update("D1", "", &at("DG1", 17, "Y")));
    send(daemon, &results("O1", "HIV^HIV positive^HL70177"));
    send(daemon, &results("O2", "U^Usual control^HL70177"));
    send(daemon, &document("T1", "V", granted));
    send(daemon, &document("T2", "U", &granted.replace("ZZF1", "ZZF2")));
    send(daemon, &update("P1", "ARV|1|A|STD^^HL70717\r", ""));
    send(daemon, &update("P2", "ARV|1|D|STD^^HL70717\r", ""));
    send(daemon, &update("M1", "", "ARV|1|A|DRG^^HL70717\r"));
    send(daemon, &update("S1", "", &at("ORC", 28, "ZZSEC^Secret^L")));
    send(daemon, &update("S2", "", &at("ORC", 28, "ZZOPEN^Open^L")));
}

/// PROMISE-5, PROMISE-7
#[test]
fn what_is_labelled_leaves_where_the_contract_names_each_label() {
    let setup = setup();
    let mut daemon = setup.start();
    each_carrier(&daemon);
    let unlabelled = ["N1", "O1 ZZB", "O2 ZZA", "O2 ZZB", "T2", "P2", "S2"];
    assert_eq!(out(&setup, "ward"), unlabelled);
    let with_hiv = ["N1", "O1 ZZA", "O1 ZZB", "O2 ZZA", "O2 ZZB", "T2", "P2", "S2"];
    assert_eq!(out(&setup, "clinic"), with_hiv);
    let all = [
        "N1", "D1", "O1 ZZA", "O1 ZZB", "O2 ZZA", "O2 ZZB", "T1", "T2", "P1", "P2", "M1", "S1",
        "S2",
    ];
    assert_eq!(out(&setup, "board"), all);
    assert_eq!(unmapped(&setup), []);
    assert!(daemon.stop().success());
}

/// PROMISE-5
#[test]
fn a_label_that_nobody_mapped_leaves_nowhere_and_is_one_exception_a_code() {
    let setup = setup();
    let mut daemon = setup.start();
    for number in 0..3 {
        send(&daemon, &results(&format!("U{number}"), "ZZWHAT^Hush^L"));
    }
    send(&daemon, &update("U3", "", &at("DG1", 17, "C")));
    let others = ["U0 ZZB", "U1 ZZB", "U2 ZZB"];
    for route in ["ward", "clinic", "board"] {
        assert_eq!(out(&setup, route), others, "{route}");
    }
    let told = "has no row in [labels] of consent.toml: what it labels does not leave";
    assert_eq!(
        unmapped(&setup),
        [("ORC-28", 3), ("DG1-17", 1)].map(|(field, count)| (
            field.to_owned(),
            format!("{field} {told}"),
            count
        ))
    );
    assert!(daemon.stop().success());
    drop(daemon);
    // Nor does a contract get it by naming it.
    let greedy = setup.saying("ward", "labels = [\"unknown\"]");
    let output = greedy.command(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("map its code in [labels] of consent.toml"), "{told}");
}

/// PROMISE-5, PROMISE-8
#[test]
fn a_labelled_event_needs_the_label_in_the_permit_and_the_evidence_says_which() {
    let setup = setup();
    let mut daemon = setup.start();
    let consent = |id: &str, con: &str| document(id, "", con);
    send(&daemon, &consent("C1", "CON|1|ZZ9^Form^L||ZZF1|||||||A||20261101"));
    send(&daemon, &results("A1", "AID"));
    // The second order is not labelled.
    eventually("it left", || setup.events("trial").len() == 1);
    let would = decided(&setup, &results("A2", "AID"));
    let sentence = |route: &str, event: &str| {
        let of =
            |it: &&Json| it["route"] == route && it["event"].as_str().unwrap().ends_with(event);
        would.iter().find(of).unwrap()["sentence"].as_str().unwrap().to_owned()
    };
    let told = sentence("trial", "obr1");
    for words in [
        "by rule 5 (label). The event bears a sensitivity label",
        "The event is labelled HIV.",
        "Consent adt/ZZF1.",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert!(!sentence("trial", "obr2").contains("labelled"));
    assert!(sentence("ward", "obr1").contains("by rule 5 (label)"));
    assert!(sentence("clinic", "obr1").contains("Released to c"));
    let shown = setup.json(&["journal", "show", "2"]).remove(0);
    let recorded = shown["decisions"].as_array().unwrap().iter();
    let recorded: Vec<&str> = recorded.filter_map(|it| it["sentence"].as_str()).collect();
    assert!(recorded.contains(&told.as_str()), "{recorded:#?}");
    // A form that speaks about the label opens it.
    send(&daemon, &consent("C2", "CON|1|057^^HL70496||ZZF2|||||||A||20261102"));
    send(&daemon, &results("A3", "AID"));
    eventually("both left", || setup.events("trial").len() == 3);
    let labels = |event: &Json| event["data"]["labels"][0]["code"].as_str().map(str::to_owned);
    let left: Vec<_> = setup.events("trial").iter().map(labels).collect();
    assert_eq!(left, [None, Some("HIV".to_owned()), None]);
    // Its refusal is about what is labelled so.
    send(&daemon, &consent("C3", "CON|1|057^^HL70496||ZZF2|||||||R||20261103"));
    send(&daemon, &results("A4", "AID"));
    eventually("the other left", || setup.events("trial").len() == 4);
    assert!(daemon.stop().success());
}

/// PROMISE-5: what cannot be taken cannot be labelled, so it is taken whatever the labels hold.
#[test]
fn labels_of_any_form_cost_no_message() {
    let setup = setup();
    let mut daemon = setup.start();
    let garbled = ["^^^^^", "\\X00\\", "~~~", "R~R~R", "\"\"", "&&&", &"ZZ".repeat(40_000)];
    for (number, word) in garbled.iter().enumerate() {
        assert_eq!(code_of(&daemon, &results(&format!("G{number}"), word)), "AA", "{number}");
    }
    assert!(!out(&setup, "ward").iter().any(|it| it.starts_with("G6 ZZA")));
    assert!(daemon.stop().success());
}
