//! The commands that need no daemon's folder: what they print, and how they end.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::support::daemon::TIDEGATE;
use crate::{admission, setup};

/// Runs a command as at a terminal without settings of its own.
fn run_in(dir: &Path, arguments: &[&str]) -> Output {
    command(arguments).current_dir(dir).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(TIDEGATE);
    command.args(arguments);
    for name in ["TIDEGATE_LOG", "TIDEGATE_TOKEN", "CREDENTIALS_DIRECTORY", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    run_in(Path::new("."), arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, standard output, standard error.
fn said(output: &Output) -> (i32, String, String) {
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn assert_snapshot(name: &str, text: &str) {
    insta::with_settings!(
        { snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true },
        { insta::assert_snapshot!(name, text); }
    );
}

#[test]
fn every_command_explains_itself() {
    for command in [
        &[][..],
        &["run"],
        &["check"],
        &["send"],
        &["map"],
        &["decide"],
        &["journal"],
        &["journal", "ls"],
        &["journal", "show"],
        &["exceptions"],
        &["exceptions", "ls"],
        &["exceptions", "show"],
        &["token"],
        &["token", "resolve"],
        &["token", "revoke"],
        &["token", "rotate"],
        &["audit"],
        &["audit", "disclosures"],
        &["audit", "export"],
        &["audit", "find"],
        &["audit", "verify"],
        &["completions"],
    ] {
        let (code, out, err) = said(&run(&[command, &["--help"]].concat()));
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
        let name = [&["help"][..], command].concat().join("-");
        assert_snapshot(&name, &out);
    }
}

#[test]
fn wrong_use_is_exit_2_and_a_word_on_standard_error() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run"],
        &["check"],
        &["run", "--config"],
        &["check", "--config", "a", "--colour"],
        &["send"],
        &["send", "127.0.0.1:1"],
        &["map"],
        &["decide"],
        &["journal"],
        &["journal", "ls"],
        &["exceptions", "show", "--config", "a"],
        &["audit", "verify"],
        &["audit", "export", "--format", "pdf", "--dir", "a"],
        &["audit", "find", "--config", "a", "--decision", "maybe"],
        &["audit", "disclosures", "--config", "a"],
        &["token", "resolve", "--config", "a", "--realm", "r", "--reason", "r", "t"],
        &["token", "revoke", "--config", "a", "--realm", "r", "--reason", "r"],
        &["token", "rotate", "--config", "a", "--realm", "r", "--reason", "r", "--all"],
        &[
            "token",
            "rotate",
            "--config",
            "a",
            "--realm",
            "r",
            "--reason",
            "r",
            "--keep-until",
            "2099-01-01",
        ],
        &[
            "token",
            "rotate",
            "--config",
            "a",
            "--realm",
            "r",
            "--reason",
            "r",
            "--keep-until",
            "soon",
            "t",
        ],
        &[
            "token",
            "rotate",
            "--config",
            "a",
            "--realm",
            "r",
            "--reason",
            "r",
            "--keep-until",
            "2099-01-01",
            "--all",
            "t",
        ],
        &["completions"],
        &["completions", "cobol"],
    ] {
        let (code, out, err) = said(&run(arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
    let (code, out, _) = said(&run(&["--version"]));
    assert_eq!((code, out.trim_end()), (0, concat!("tidegate ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn every_configuration_of_the_repository_checks_clean() {
    // What the production template names.
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("rabbitmq-password"), "ZZSECRET\n").unwrap();
    let mut checked = 0;
    for entry in std::fs::read_dir("conf").unwrap() {
        let path = entry.unwrap().path();
        // Others are parts of one: consent, users.
        if !std::fs::read_to_string(&path).is_ok_and(|text| text.contains("[node]")) {
            continue;
        }
        checked += 1;
        let path = path.display().to_string();
        let check = |arguments: &[&str]| {
            said(
                &command(arguments)
                    .env("CREDENTIALS_DIRECTORY", credentials.path())
                    .output()
                    .unwrap(),
            )
        };
        let (code, out, err) = check(&["check", "--config", &path]);
        // No example can name the determination that a site has to get for itself.
        let warned = err.lines().filter(|line| !line.contains("`expert` names the determination"));
        assert_eq!((code, warned.count()), (0, 0), "{path}: {err}");
        assert!(out.ends_with("no mistakes\n"), "{out}");
        let (code, out, err) = check(&["check", "--json", "--config", &path]);
        assert_eq!((code, err.as_str()), (0, ""), "{path}");
        let report: Json = serde_json::from_str(&out).unwrap();
        assert_eq!(report["mistakes"], serde_json::json!([]));
        assert!(!report["routes"].as_array().unwrap().is_empty());
    }
    assert!(checked > 0);
}

#[test]
fn what_weakens_a_promise_is_a_warning_and_no_mistake() {
    let setup = setup()
        .section("[journal]\nencrypt = false")
        .rabbitmq("amqp://broker.example:5672/%2f", "");
    let path = setup.config().display().to_string();
    let (code, out, err) = said(&run(&["check", "--config", &path]));
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("no mistakes\n"), "{out}");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    assert!(lines.iter().all(|line| line.starts_with("warning: ")), "{err}");
    assert!(err.contains("in clear") && err.contains("in plain text"), "{err}");
}

/// Every mistake of every file at once, each with its place and what would be right.
#[test]
fn check_prints_every_mistake_of_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    std::fs::create_dir(here.join("routes")).unwrap();
    std::fs::write(here.join("tidegate.toml"), include_str!("wrong/tidegate.toml")).unwrap();
    std::fs::write(here.join("routes/ward.toml"), include_str!("wrong/ward.toml")).unwrap();
    std::fs::write(here.join("routes/broken.toml"), "name = \"broken\nversion = \"1.0.0\"\n")
        .unwrap();
    let mappings = std::fs::canonicalize("mappings").unwrap();
    std::os::unix::fs::symlink(mappings, here.join("mappings")).unwrap();
    let (code, out, err) = said(&run_in(here, &["check", "--config", "tidegate.toml"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.lines().count() >= 10, "{err}");
    for line in err.lines() {
        let mut parts = line.splitn(4, ':');
        assert!(here.join(parts.next().unwrap()).is_file(), "{line}");
        assert!(parts.next().unwrap().parse::<usize>().unwrap() > 0, "{line}");
        assert!(parts.next().unwrap().parse::<usize>().unwrap() > 0, "{line}");
    }
    assert!(!err.contains("hunter2"), "no value of a secret is quoted");
    assert_snapshot("check-mistakes", &err);
    // The daemon says the same.
    let (code, _, at_start) = said(&run_in(here, &["run", "--config", "tidegate.toml"]));
    assert_eq!((code, at_start), (2, err.clone()));
    let (code, out, _) = said(&run_in(here, &["check", "--json", "--config", "tidegate.toml"]));
    let report: Json = serde_json::from_str(&out).unwrap();
    let lines: Vec<String> = report["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mistake| {
            let word = |key: &str| mistake[key].as_str().unwrap().to_owned();
            let (file, text) = (word("file"), word("text"));
            format!("{file}:{}:{}: {text}", mistake["line"], mistake["column"])
        })
        .collect();
    assert_eq!((code, lines.join("\n") + "\n"), (2, err));
}

/// One run names them all: what is wrong in a contract hides nothing of what it refers to.
#[test]
fn a_contract_with_a_mistake_is_checked_against_the_rest_all_the_same() {
    let setup = setup();
    let path = setup.dir.path().join("routes/out.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("purpose = \"TREAT\"", "purpose = \"TREATS\"");
    std::fs::write(&path, text.replace("realm = \"care\"", "realm = \"caer\"")).unwrap();
    let (code, _, err) = said(&run(&["check", "--config", setup.config().to_str().unwrap()]));
    assert_eq!(code, 2);
    for part in [
        "out.toml:6:11: `purpose`",
        "out.toml:7:9: there is no [[realm]] `caer`; did you mean `care`?",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(err.lines().count(), 2, "{err}");
}

/// PROMISE-10: what stands where a hash should may be the token itself.
#[test]
fn mistakes_about_who_may_ask_name_their_place_and_quote_no_token() {
    let users = "[[user]]\nname = \"viewer\"\nrole = \"boss\"\ntoken = \"ZZhunter2\"\n";
    for (lines, wanted) in [
        ("users = \"users.toml\"", &["users.toml:3:8: ", "users.toml:4:9: "][..]),
        ("users = \"nowhere.toml\"", &["nowhere.toml:1:1: "]),
        ("dev = true\nusers = \"empty.toml\"", &["`dev` and `users` exclude each other"]),
    ] {
        let setup = setup().admin(lines);
        std::fs::write(setup.dir.path().join("users.toml"), users).unwrap();
        std::fs::write(setup.dir.path().join("empty.toml"), "").unwrap();
        let (code, _, err) = said(&run(&["check", "--config", setup.config().to_str().unwrap()]));
        assert_eq!((code, err.lines().count()), (2, wanted.len()), "{err}");
        assert!(wanted.iter().all(|part| err.contains(part)), "{err}");
        assert!(!err.contains("hunter2"), "{err}");
    }
    let setup = setup();
    let text = std::fs::read_to_string(setup.config()).unwrap();
    let path = setup.dir.path().join("changed.toml");
    std::fs::write(&path, text.replacen("127.0.0.1:0", "0.0.0.0:0", 1)).unwrap();
    let (code, _, err) = said(&run(&["check", "--config", path.to_str().unwrap()]));
    assert_eq!((code, err.lines().count()), (2, 1), "{err}");
    assert!(err.contains("loopback"), "{err}");
}

#[test]
fn send_ends_by_what_was_answered() {
    let setup = setup();
    let mut daemon = setup.start();
    let file = |name: &str, bytes: &[u8]| {
        let path = setup.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let good = file("good.hl7", &[admission("C1"), admission("C2")].concat());
    let bad = file("bad.hl7", b"no message");
    let address = daemon.feed().to_string();
    let (code, out, err) = said(&run(&["send", &address, &good]));
    assert_eq!(
        (code, out.lines().collect::<Vec<_>>()),
        (0, vec![format!("{good} AA C1").as_str(), &format!("{good} AA C2")])
    );
    assert!(err.starts_with("2 AA in "), "{err}");
    let (code, out, _) = said(&run(&["send", "--json", &address, &good, &bad]));
    assert_eq!(code, 1, "one was refused");
    let lines: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<&Json> = lines[..3].iter().map(|line| &line["code"]).collect();
    assert_eq!(codes, ["AA", "AA", "AE"]);
    assert_eq!(lines[3]["summary"]["answers"], serde_json::json!({ "AA": 2, "AE": 1 }));
    let (code, out, err) = said(&run(&[
        "send",
        "--quiet",
        "--unique",
        "--repeat",
        "20",
        "--connections",
        "3",
        "--window",
        "4",
        &address,
        &good,
    ]));
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.starts_with("40 AA in "), "{err}");
    assert_eq!(crate::dedupe(&daemon, "new"), 42.0);
    let (code, _, err) = said(&run(&["send", &address, "/nowhere/at/all.hl7"]));
    assert_eq!(code, 2);
    assert!(err.contains("/nowhere/at/all.hl7"), "{err}");
    assert!(daemon.stop().success());
    let (code, out, _) = said(&run(&["send", &address, &good]));
    assert_eq!(code, 1, "nobody is there");
    assert!(out.contains("no answer"), "{out}");
}

/// In enhanced mode the answer is CA; what comes behind it, or is asked not to come, answers nothing
/// else. Of a batch the messages are sent.
#[test]
fn send_takes_one_answer_for_each_message_in_every_mode() {
    let setup = setup().feed("application_ack = \"same-connection\"");
    let mut daemon = setup.start();
    let asking = |id: &str, words: &str| {
        let text = String::from_utf8(admission(id)).unwrap();
        text.replace("|P|2.5.1", &format!("|P|2.5.1|||{words}"))
    };
    let text = format!(
        "FHS|^~\\&|EHR\rBHS|^~\\&|EHR\r{}{}{}{}BTS|4\rFTS|1\r",
        asking("E1", "AL|AL"),
        asking("E2", "NE|NE"),
        asking("E3", "AL|NE"),
        asking("E4", "|"),
    );
    let file = setup.dir.path().join("batch.hl7").display().to_string();
    std::fs::write(&file, text).unwrap();
    let address = daemon.feed().to_string();
    for window in ["1", "4"] {
        let (code, out, _) = said(&run(&["send", "--window", window, &address, &file]));
        assert_eq!(code, 1, "one asks for no answer");
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort_unstable();
        let wanted = ["AA E4", "CA E1", "CA E3", "no answer: it asks for no acknowledgement"];
        assert_eq!(lines, wanted.map(|said| format!("{file} {said}")));
    }
    assert!(daemon.stop().success());
}

#[test]
fn send_does_not_wait_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (code, out, err) =
        said(&run(&["send", "--timeout", "1", &address, "fixtures/hl7/adt-a01.hl7"]));
    assert_eq!(code, 1);
    assert!(out.contains("no answer"), "{out}{err}");
}

#[test]
fn map_prints_events_or_why_there_are_none() {
    let file = "fixtures/hl7/oru-r01.hl7";
    let (code, out, err) = said(&run(&["map", "--json", file]));
    assert_eq!((code, err.as_str()), (0, ""));
    let events: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(
            (&event["file"], &event["type"]),
            (&file.into(), &"observation.reported".into())
        );
        assert_eq!(event["subject"]["value"], "ZZ100001");
        for key in ["correlationId", "data", "unmapped", "invalid"] {
            assert!(!event[key].is_null(), "{key}: {event}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let good = text(&admission("C1"));
    for (name, bytes, code, place) in [
        ("malformed", "no message".to_owned(), "malformed", "MSH"),
        ("unmapped", good.replace("ZZ100001^^^EPIC^MR", ""), "unmapped", "PID-3"),
        ("unsupported", good.replace("ADT^A01^ADT_A01", "SIU^S12"), "unsupported", "MSH-9"),
    ] {
        let file = write(name, &bytes);
        let (exit, out, _) = said(&run(&["map", "--json", &file]));
        let refused: Json = serde_json::from_str(out.trim_end()).unwrap();
        assert_eq!(exit, 1, "{name}");
        assert_eq!(refused["file"], file);
        assert_eq!(refused["refusal"]["code"], code);
        assert_eq!(refused["refusal"]["where"], place);
        let (exit, out, err) = said(&run(&["map", &file]));
        assert_eq!((exit, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
        assert!(!err.contains("ZZQUILLON"), "{err}");
    }
    // One that is refused does not keep the others back.
    let both = write("both", &(good.replace("ADT^A01^ADT_A01", "SIU^S12") + &good));
    let (code, out, _) = said(&run(&["map", "--json", &both]));
    assert_eq!((code, out.lines().count()), (1, 2), "{out}");
    for arguments in [
        &["map", "/nowhere/at/all.hl7"][..],
        &["map", "--mappings", "/nowhere", file],
        &["map", "--charset", "KLINGON", file],
    ] {
        let (code, out, err) = said(&run(arguments));
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{arguments:?}: {err}");
    }
    assert_eq!(said(&run(&["map", "--test"])).0, 0);
}

#[test]
fn map_prints_the_events_of_resources_or_why_there_are_none() {
    let lines = |out: &str| -> Vec<Json> {
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let file = "fixtures/fhir/patient-deceased.xml";
    let (code, out, err) = said(&run(&["map", "--json", file]));
    assert_eq!((code, err.as_str()), (0, ""));
    let event = lines(&out).remove(0);
    assert_eq!(event["type"], "patient.updated");
    assert_eq!(event["subject"]["authority"], "urn:oid:1.2.840.99999.1");
    assert_eq!(event["subject"]["value"], "ZZ100002");
    assert_eq!(event["data"]["message"]["version"], "R4");
    assert_eq!(event["invalid"], serde_json::json!(["Patient.birthDate"]));
    let (_, out, _) = said(&run(&["map", "--json", "--fhir", "R5", file]));
    assert_eq!(lines(&out)[0]["data"]["message"]["version"], "R5");
    // A Bundle: a line for each that there is a mapping for.
    let (code, out, _) = said(&run(&["map", "--json", "fixtures/fhir/report.json"]));
    let kinds: Vec<String> =
        lines(&out).iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect();
    let report = "observation.reported";
    assert_eq!(code, 0);
    assert_eq!(kinds, ["patient.updated", "patient.admitted", report, report, report]);
    // Versions of one Encounter, one file each.
    let versions =
        ["admitted", "transferred"].map(|it| format!("fixtures/fhir/encounter-{it}.json"));
    let (code, out, _) = said(&run(&["map", "--json", &versions[0], &versions[1]]));
    let found = lines(&out);
    assert_eq!((code, found.len()), (0, 2));
    assert_eq!(found[1]["type"], "patient.transferred");
    assert_ne!(found[0]["correlationId"], found[1]["correlationId"]);
    let (_, out, _) = said(&run(&["map", "--explain", &versions[0], &versions[1]]));
    assert!(out.contains("the version before"), "{out}");
    let dir = tempfile::tempdir().unwrap();
    // Somebody named by a number alone.
    let numbered = dir.path().join("numbered");
    let subject = r#"{"identifier":{"system":"urn:oid:1.2.840.99999.1","value":"ZZ100003"}}"#;
    let result = format!(r#"{{"resourceType":"Observation","id":"zz-0","subject":{subject}}}"#);
    std::fs::write(&numbered, result).unwrap();
    let (_, out, _) = said(&run(&["map", "--json", numbered.to_str().unwrap()]));
    assert_eq!(lines(&out)[0]["subject"]["value"], "ZZ100003");
    for (name, bytes, code, place) in [
        ("malformed", r#"{"resourceType":"Patient","x":"ZZVALUE""#, "malformed", "line 1"),
        (
            "doctype",
            r#"<!DOCTYPE Patient SYSTEM "ZZVALUE"><Patient xmlns="http://hl7.org/fhir"/>"#,
            "malformed",
            "line 1",
        ),
        (
            "unmapped",
            r#"{"resourceType":"Patient","id":"zz-1","gender":"ZZVALUE"}"#,
            "unmapped",
            "Patient/zz-1 Patient.identifier",
        ),
        (
            "unsupported",
            r#"{"resourceType":"Flag","id":"zz-2","status":"ZZVALUE"}"#,
            "unsupported",
            "Flag/zz-2 resourceType",
        ),
        (
            "nobody",
            r#"{"resourceType":"Condition","id":"zz-3","subject":{"display":"ZZVALUE"}}"#,
            "unmapped",
            "Condition/zz-3 Condition.subject",
        ),
        (
            "group",
            r#"{"resourceType":"Condition","id":"zz-4","subject":{"reference":"Group/ZZVALUE"}}"#,
            "unsupported",
            "Condition/zz-4 Condition.subject",
        ),
    ] {
        let file = dir.path().join(name).display().to_string();
        std::fs::write(&file, bytes).unwrap();
        let (exit, out, _) = said(&run(&["map", "--json", &file]));
        let refused = lines(&out).remove(0);
        assert_eq!((exit, &refused["refusal"]["code"]), (1, &code.into()), "{name} {refused}");
        let told = refused["refusal"]["where"].as_str().unwrap();
        assert!(told.starts_with(place), "{name}: {told}");
        let (exit, out, err) = said(&run(&["map", &file]));
        assert_eq!((exit, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
        assert!(!err.contains("ZZVALUE"), "{err}");
    }
    assert_eq!(said(&run(&["map", "--fhir", "R3", file])).0, 2);
}

/// PROMISE-10
#[test]
fn coverage_names_fields_and_rules_and_never_a_value() {
    let (code, out, err) = said(&run(&["map", "--coverage", "fixtures/hl7", "fixtures/corpus"]));
    assert_eq!((code, err.as_str()), (1, ""), "some messages of others give no event");
    crate::support::canary::assert_none("map --coverage", &out);
    let row = |place: &str| {
        let mut lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find(|line| line.first() == Some(&place)).unwrap()
    };
    let pid = row("PID-3");
    assert!(pid[4..].join(" ").contains("mappings/hl7/patient.toml:5 patient.identifiers"));
    let [messages, occurrences, taken] = [1, 2, 3].map(|at| pid[at].parse::<u64>().unwrap());
    assert!(messages <= occurrences && taken <= occurrences && messages > 300, "{pid:?}");
    assert_eq!(row("PID-1")[3..], ["0", "nobody"]);
    assert_eq!(row("MSH-9")[4..6], ["tidegate", "itself,"]);
    for line in ["gave none: unsupported: no mapping selects ", " fields are taken by nobody"] {
        assert!(out.contains(line), "{line}");
    }
    let site = ["map", "--coverage", "--json", "--site", "example"];
    let file = "fixtures/hl7/site-example-arrival.hl7";
    let (code, out, _) = said(&run(&[&site[..], &[file]].concat()));
    assert_eq!(code, 0);
    let found: Json = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["messages"], &found["mapped"]), (&1.into(), &1.into()));
    let fields = found["fields"].as_array().unwrap();
    let of = |field: u64| {
        fields.iter().find(|it| it["segment"] == "ZVN" && it["field"] == field).unwrap()
    };
    assert_eq!(of(2)["rules"][0]["target"], "extension.arrivedBy");
    assert_eq!(of(2)["rules"][0]["rule"], "mappings/sites/example.toml:24");
    assert_eq!((&of(1)["rules"], &of(1)["taken"]), (&serde_json::json!([]), &0.into()));
    let (code, out, _) = said(&run(&["map", "--coverage", "--explain", file]));
    assert_eq!((code, out.as_str()), (2, ""));
}

/// PROMISE-10
#[test]
fn coverage_names_elements_of_resources_beside_fields_and_never_a_value() {
    let all = ["map", "--coverage", "fixtures/hl7", "fixtures/fhir", "fixtures/corpus/fhir"];
    let (code, out, err) = said(&run(&all));
    assert_eq!((code, err.as_str()), (1, ""), "some of others give no event");
    crate::support::canary::assert_none("map --coverage", &out);
    let row = |place: &str| {
        let mut lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find(|line| line.first() == Some(&place)).unwrap()
    };
    assert!(row("PID-3").len() > 4, "fields and elements are in one table");
    let identifier = row("Patient.identifier");
    assert!(identifier[4..].join(" ").contains("mappings/fhir/patient.toml:5 patient.identifiers"));
    assert_eq!(row("Patient.contact")[3..], ["0", "nobody"]);
    assert_eq!(row("Observation.subject")[4..6], ["tidegate", "itself"]);
    for line in [
        " fields are taken by nobody",
        " elements are taken by nobody",
        " only came along: Practitioner",
    ] {
        assert!(out.contains(line), "{line}");
    }
    let site = ["map", "--coverage", "--json", "--site", "example"];
    let files =
        ["fixtures/hl7/site-example-arrival.hl7", "fixtures/fhir/site-example-patient.json"];
    let (code, out, _) = said(&run(&[&site[..], &files[..]].concat()));
    assert_eq!(code, 0);
    let found: Json = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["messages"], &found["mapped"]), (&2.into(), &2.into()));
    let elements = found["elements"].as_array().unwrap();
    let arm = "Patient.extension('https://vendor.example/fhir/trial-arm').valueCode";
    let arm = elements.iter().find(|it| it["element"] == arm).unwrap();
    assert_eq!(arm["rules"][0]["target"], "extension.trialArm");
    assert!(arm["rules"][0]["rule"].as_str().unwrap().starts_with("mappings/sites/example.toml:"));
    assert!(!elements.iter().any(|it| it["taken"] == 0), "{elements:?}");
    assert!(found["fields"].as_array().unwrap().iter().any(|it| it["segment"] == "ZVN"));
}

#[test]
fn completions_are_a_script_that_bash_takes() {
    let (code, out, err) = said(&run(&["completions", "bash"]));
    assert_eq!((code, err.as_str()), (0, ""));
    for word in ["_tidegate()", "exceptions", "--config", "complete -F _tidegate"] {
        assert!(out.contains(word), "{word}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.bash");
    std::fs::write(&path, out).unwrap();
    let output = Command::new("bash").arg("-n").arg(&path).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    for shell in ["zsh", "fish"] {
        assert!(!run(&["completions", shell]).stdout.is_empty());
    }
}

/// A reader that has seen enough, such as `head`, is no mistake.
#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let script = "\"$0\" map --json fixtures/hl7/*.hl7 fixtures/hl7/*.hl7 | head -n 1";
    let output =
        Command::new("bash").args(["-o", "pipefail", "-c", script, TIDEGATE]).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(text(&output.stdout).lines().count(), 1);
}
