//! Contracts in a running daemon: what they select, when they end, what they never let out.

use serde_json::Value as Json;

use crate::send;
use crate::support::clock::Clock;
use crate::support::daemon::Setup;
use crate::support::{TOKEN, adt, eventually};

const PATIENT: &str = "ZZ100001";
const EVENTS: [&str; 2] = ["patient.admitted", "patient.updated"];
const FREE: &str = "require = \"none\"\nbasis = \"a test\"";

/// A setup with one route, `out`, with more lines before its tables and behind them.
fn setup(lines: &str, fields: &str, tables: &str) -> Setup {
    let fields = format!("{TOKEN}\n{fields}\n{tables}");
    Setup::new().pseudonymous("out", "CLINTRCH", FREE, &EVENTS, &fields).saying("out", lines)
}

fn outcome(daemon: &crate::support::daemon::Daemon, word: &str) -> f64 {
    daemon.metric(&format!("tidegate_events_total{{route=\"out\",outcome=\"{word}\"}}"))
}

#[test]
fn what_no_table_selects_is_counted_and_is_no_decision() {
    let when = "[[when]]\n\"type\" = \"patient.updated\"\n\"visit.location.pointOfCare\" = \"4W\"";
    let setup = setup("", "", when);
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A1", PATIENT));
    let other = String::from_utf8(adt("A08", "A2", PATIENT)).unwrap().replace("4W^401", "5E^401");
    send(&daemon, other.as_bytes());
    send(&daemon, &adt("A08", "A3", PATIENT));
    eventually("one is out", || setup.events("out").len() == 1);
    assert_eq!(setup.events("out")[0]["type"], "patient.updated");
    assert_eq!((outcome(&daemon, "unselected"), outcome(&daemon, "released")), (2.0, 1.0));
    let found = setup.json(&["audit", "find", "--route", "out"]);
    let decisions = found.iter().filter(|it| it["says"].get("decision").is_some());
    assert_eq!(decisions.count(), 1, "{found:?}");
    daemon.assert_no_patient_data();
}

/// PROMISE-7
#[test]
fn a_contract_that_ends_while_the_daemon_runs_lets_nothing_out_from_then_on() {
    let setup =
        setup("expires = 2030-06-30\nagreement = \"DUA-7\"\nagreement_ends = 2031-01-01", "", "");
    let clock = Clock::new(&setup);
    let offset = |to: &str| {
        let to: jiff::Timestamp = to.parse().unwrap();
        format!("{:+}s", to.as_second() - jiff::Timestamp::now().as_second())
    };
    clock.set(&offset("2030-06-30T23:00:00Z"));
    let mut daemon = clock.start(&setup);
    send(&daemon, &adt("A01", "A1", PATIENT));
    eventually("it is out", || setup.events("out").len() == 1);
    clock.set(&offset("2030-07-01T00:00:10Z"));
    send(&daemon, &adt("A08", "A2", PATIENT));
    eventually("it is decided", || outcome(&daemon, "suppressed") == 1.0);
    let shown = setup.json(&["journal", "show", "2"]).remove(0);
    let sentence = shown["decisions"][0]["sentence"].as_str().unwrap().to_owned();
    assert!(sentence.contains("(contract-ended). The contract for CLINTRCH"), "{sentence}");
    assert!(sentence.contains("under DUA-7"), "{sentence}");
    assert_eq!(setup.events("out").len(), 1);
    assert!(daemon.stop().success());
}

/// PROMISE-7
#[test]
fn what_a_contract_requires_and_is_not_there_is_an_exception_counted_once_a_kind() {
    let week =
        "\"visit.admittedAt\" = { transform = \"week\", as = \"visit.week\", required = true }";
    let setup = setup("", week, "");
    let mut daemon = setup.start();
    for number in 0..3 {
        let id = format!("A{number}");
        let text = String::from_utf8(adt("A01", &id, &format!("ZZ10000{number}"))).unwrap();
        // PV1-44 to a month only.
        let coarse: Vec<String> = text
            .split('\r')
            .map(|line| match line.strip_prefix("PV1|") {
                Some(visit) => {
                    let mut fields: Vec<&str> = visit.split('|').collect();
                    fields.resize(44, "");
                    fields[43] = "202611";
                    format!("PV1|{}", fields.join("|"))
                }
                None => line.to_owned(),
            })
            .collect();
        send(&daemon, coarse.join("\r").as_bytes());
    }
    eventually("they are decided", || outcome(&daemon, "exception") == 3.0);
    eventually("they are an exception", || {
        let found = setup.json(&["exceptions", "ls"]);
        found.iter().any(|it| it["category"] == "contract-violation" && it["count"] == 3)
    });
    assert_eq!(setup.events("out"), Vec::<Json>::new());
    let text = format!("{:?}", setup.json(&["exceptions", "ls"]));
    assert!(text.contains("visit.week") && text.contains("out"), "{text}");
    let shown = setup.json(&["journal", "show", "1"]).remove(0);
    let sentence = shown["decisions"][0]["sentence"].as_str().unwrap().to_owned();
    assert!(sentence.contains("visit.week is not what the contract says"), "{sentence}");
    daemon.assert_no_patient_data();
}

/// PROMISE-8
#[test]
fn a_broken_glass_is_in_the_evidence_of_each_use_and_check_shows_it() {
    let glass = "[[break_glass]]\nfield = \"visit.location.facility\"\ntransform = \"keep\"\n\
                 approved_by = [\"privacy-office\", \"research\"]\nreason = \"monitoring visit\"\n\
                 expires = 2099-12-31";
    let setup = setup("", "", glass);
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A1", PATIENT));
    eventually("it is out", || setup.events("out").len() == 1);
    let event = &setup.events("out")[0];
    assert!(event["data"]["visit"]["location"]["facility"].is_string(), "{event}");
    let shown = setup.json(&["journal", "show", "1"]).remove(0);
    let sentence = shown["decisions"][0]["sentence"].as_str().unwrap().to_owned();
    assert!(
        sentence.contains("exception to the contract (break_glass): visit.location.facility"),
        "{sentence}"
    );
    let decision = setup.json(&["audit", "find", "--route", "out"]).remove(0).to_string();
    assert!(decision.contains("\"glass\":[\"visit.location.facility\"]"), "{decision}");
    let acts = format!("{:?}", setup.json(&["audit", "find", "--act", "contract"]));
    for word in [
        "visit.location.facility keep until 2100-01-01",
        "privacy-office and research",
        "monitoring visit",
    ] {
        assert!(acts.contains(word), "{word} in {acts}");
    }
    let check = String::from_utf8(setup.command(&["check"]).stdout).unwrap();
    assert!(check.contains("BREAK GLASS until 2100-01-01"), "{check}");
    daemon.assert_no_patient_data();
}

#[test]
fn check_writes_the_schemas_of_what_leaves() {
    let setup = setup(
        "",
        "\"patient.birthDate\" = { transform = \"age-band\", as = \"patient.ageBand\" }",
        "",
    );
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A1", PATIENT));
    eventually("it is out", || setup.events("out").len() == 1);
    let dir = setup.dir.path().join("schemas");
    let output = setup.command(&["check", "--schemas", dir.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| -> Json {
        serde_json::from_str(&std::fs::read_to_string(dir.join(name)).unwrap()).unwrap()
    };
    let validator = jsonschema::validator_for(&read("out/patient.admitted.json")).unwrap();
    let event = &setup.events("out")[0];
    assert!(validator.is_valid(event), "{event}");
    assert_eq!(event["data"]["patient"]["ageBand"], "45-49");
    let mut other = event.clone();
    other["data"]["patient"]["ageBand"] = "46".into();
    assert!(!validator.is_valid(&other));
    assert_eq!(read("out/notice.json")["title"], "notice");
    assert_eq!(read("asyncapi.json")["asyncapi"], "3.0.0");
    // A folder that cannot be made is wrong use, in words.
    let file = setup.dir.path().join("tidegate.toml");
    let output = setup.command(&["check", "--schemas", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(daemon.stop().success());
}
