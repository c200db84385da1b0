//! A changed configuration, tried over the journal: what would be otherwise, and that nothing is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

use crate::send;
use crate::support::daemon::{Daemon, Setup, TIDEGATE};
use crate::support::sender::Sender;
use crate::support::{POLICY, TOKEN, adt, canary, consent, eventually, two};

const A: &str = "ZZ100001";
const B: &str = "ZZ100002";
const C: &str = "ZZ100003";
const D: &str = "ZZ100004";

fn setup() -> Setup {
    let fields = format!("{TOKEN}\n\"patient.sex\" = \"keep\"");
    let events = &["patient.updated", "patient.admitted"];
    Setup::new()
        .policy(POLICY)
        .pseudonymous("trial", "CLINTRCH", "require = \"opt-in\"", events, &fields)
        .file_route("ward", &["patient.updated"])
        .file_route("old", &["patient.updated"])
}

/// A patient who agreed, one of whom nothing is known, and one who refused and was then found to be
/// another, who agrees.
fn with_messages(setup: &Setup) -> Daemon {
    let daemon = setup.start();
    send(&daemon, &consent("A", "20261101", "C1", A));
    send(&daemon, &adt("A08", "U1", A));
    send(&daemon, &adt("A01", "N1", A));
    send(&daemon, &adt("A08", "U2", B));
    send(&daemon, &consent("X", "20261102", "C2", C));
    send(&daemon, &adt("A08", "U3", C));
    // Before it is known who that is.
    let decided = |outcome: &str| {
        setup.json(&["audit", "find", "--route", "trial", "--decision", outcome]).len()
    };
    eventually("all is decided", || {
        let out = ["trial", "ward", "old"].map(|route| setup.lines(route).len());
        out == [2, 3, 3] && (decided("release"), decided("suppress")) == (2, 2)
    });
    send(&daemon, &two("A40", "M1", D, C));
    std::thread::sleep(std::time::Duration::from_millis(20));
    let now = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S.%3f+0000").to_string();
    send(&daemon, &consent("A", &now, "C3", D));
    daemon
}

/// The configuration of a setup in another folder, where it may be changed.
fn copied(setup: &Setup) -> PathBuf {
    let (from, to) = (setup.dir.path(), setup.dir.path().join("new"));
    std::fs::create_dir_all(to.join("routes")).unwrap();
    for name in ["tidegate.toml", "consent.toml"].into_iter().filter(|it| from.join(it).exists()) {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for entry in std::fs::read_dir(from.join("routes")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join("routes").join(entry.file_name())).unwrap();
    }
    to
}

/// Changes a file, each text for another.
fn change(file: &Path, changes: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(file).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replace(from, to);
    }
    std::fs::write(file, text).unwrap();
}

fn shadow(setup: &Setup, new: &Path, arguments: &[&str]) -> Output {
    let new = new.join("tidegate.toml");
    setup.command(&[&["decide", "--shadow", new.to_str().unwrap()], arguments].concat())
}

/// What is said of each route, and how it ended.
fn told(output: &Output) -> (BTreeMap<String, Json>, Option<i32>) {
    let out = String::from_utf8(output.stdout.clone()).unwrap();
    canary::assert_none("decide --shadow", &out);
    canary::assert_none("decide --shadow", &String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let json: Json = serde_json::from_str(line).unwrap();
        (json["route"].as_str().unwrap().to_owned(), json)
    };
    (out.lines().map(line).collect(), output.status.code())
}

fn tried(setup: &Setup, new: &Path, arguments: &[&str]) -> (BTreeMap<String, Json>, Option<i32>) {
    told(&shadow(setup, new, &[&["--json"], arguments].concat()))
}

/// Every file of a folder, with what is in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

fn is_lock(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "db-shm")
}

/// Panics where a file of a folder is not what it was, or there is one more or less. In `-shm` lie
/// SQLite's locks, which who reads takes.
fn assert_untouched(dir: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let after = files(dir);
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let is_same = |name: &Path| match (before.get(name), after.get(name)) {
        (Some(before), Some(after)) => before == after || is_lock(name),
        _ => false,
    };
    let changed: Vec<_> = names.into_iter().filter(|name| !is_same(name)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// PROMISE-8: what another contract would decide is known before it holds.
#[test]
fn another_configuration_is_tried_on_what_came_in_and_nothing_is_done() {
    let setup = setup();
    let mut daemon = with_messages(&setup);
    let new = copied(&setup);
    let trial = [
        ("version = \"1.0.0\"", "version = \"2.0.0\""),
        ("require = \"opt-in\"", "require = \"opt-out\""),
        ("\"visit.class\" = \"keep\"\n", ""),
        ("\"patient.sex\" = \"keep\"", "\"patient.sex.code\" = \"hash\""),
        ("events = [\"patient.updated\", \"patient.admitted\"]", "events = [\"patient.updated\"]"),
    ];
    change(&new.join("routes/trial.toml"), &trial);
    std::fs::rename(new.join("routes/old.toml"), new.join("routes/fresh.toml")).unwrap();
    change(&new.join("routes/fresh.toml"), &[("\"old\"", "\"fresh\""), ("out/old.", "out/fresh.")]);

    let lines = |setup: &Setup| ["trial", "ward", "old", "fresh"].map(|route| setup.lines(route));
    let decisions = |setup: &Setup| {
        let found = setup.json(&["audit", "find"]);
        found.into_iter().filter(|record| record["says"]["decision"].is_object()).count()
    };
    let before = (lines(&setup), decisions(&setup));
    let (running, code) = tried(&setup, &new, &[]);
    assert_eq!(code, Some(1));
    assert_eq!((lines(&setup), decisions(&setup)), before);

    assert_eq!(
        running["trial"],
        json!({
            "route": "trial", "presence": "both", "differs": true,
            "terms": { "version": ["1.0.0", "2.0.0"] },
            // The events of who was merged are decided as a route would: over the one that stands.
            "old": { "released": 3, "withheld": { "missing": 1 }, "unselected": 4 },
            "new": { "released": 3, "withheld": {}, "unselected": 5 },
            "newlySelected": 0, "noLongerSelected": 1,
            "newlyReleased": { "count": 1, "reasons": { "missing": 1 } },
            "newlyWithheld": { "count": 1, "reasons": { "unselected": 1 } },
            "changed": 2,
            "fields": {
                "patient.sex.code":
                    { "appears": 0, "disappears": 0, "value": 0, "form": { "keep to hash": 2 } },
                "visit.class.code": { "appears": 0, "disappears": 2, "value": 0, "form": {} },
            },
        })
    );
    let ward = &running["ward"];
    assert_eq!((&ward["differs"], &ward["old"]["released"]), (&json!(false), &json!(3)));
    assert_eq!(ward["old"], ward["new"]);
    let moved =
        |route: &str, key: &str| (running[route]["presence"].clone(), running[route][key].clone());
    let three = json!({ "count": 3, "reasons": { "no-route": 3 } });
    assert_eq!(moved("old", "newlyWithheld"), (json!("removed"), three.clone()));
    assert_eq!(moved("fresh", "newlyReleased"), (json!("added"), three));

    // Stopped, nothing in the folder is another byte, and no file more.
    assert!(daemon.stop().success());
    let before = files(&setup.state_dir());
    assert_eq!(tried(&setup, &new, &[]), (running, Some(1)));
    let words = String::from_utf8(shadow(&setup, &new, &[]).stdout).unwrap();
    for line in [
        "route trial: otherwise\n",
        "  version: 1.0.0 -> 2.0.0\n",
        "  newly released: 1 (before: missing 1)\n",
        "    patient.sex.code: keep to hash 2\n",
        "route ward: nothing would be otherwise\n",
        "route old: only in the configuration that holds\n",
    ] {
        assert!(words.contains(line), "{line} in {words}");
    }
    assert_untouched(&setup.state_dir(), &before);
}

#[test]
fn a_span_and_a_sample_are_what_is_decided_about() {
    let setup = setup();
    let mut daemon = with_messages(&setup);
    // Its log is as the crash left it.
    daemon.kill();
    let new = copied(&setup);
    let selected = |arguments: &[&str]| {
        let (routes, code) = tried(&setup, &new, arguments);
        assert_eq!(code, Some(0), "{arguments:?}");
        let old = &routes["trial"]["old"];
        let withheld = old["withheld"]["missing"].as_u64().unwrap_or(0);
        old["released"].as_u64().unwrap() + withheld + old["unselected"].as_u64().unwrap()
    };
    assert_eq!(selected(&[]), 8);
    assert_eq!(selected(&["--from", "2020-01-01", "--to", "2099-01-01T00:00:00Z"]), 8);
    assert_eq!(selected(&["--to", "2020-01-01"]), 0);
    assert_eq!(selected(&["--from", "2099-01-01"]), 0);
    assert_eq!(selected(&["--sample", "2"]), 4);
    let third = setup.json(&["journal", "show", "3"]).remove(0);
    let at = third["receivedAt"].as_str().unwrap();
    let (before, behind) = (selected(&["--to", at]), selected(&["--from", at]));
    assert_eq!(before + behind, 8);
    let output = shadow(&setup, &new, &["--sample", "3", "--from", "2020-01-01"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("2 messages with 2 events, one of 3\nnote: the journal begins at "),
        "{told}"
    );
}

#[test]
fn a_vault_stays_closed_and_another_realm_of_it_is_another_subject() {
    let setup = setup().realm("tokens = \"vault\"");
    let mut daemon = with_messages(&setup);
    assert!(daemon.stop().success());
    let new = copied(&setup);
    let before = files(&setup.state_dir());
    assert_eq!(tried(&setup, &new, &[]).1, Some(0));
    change(&new.join("tidegate.toml"), &[("name = \"care\"", "name = \"research\"")]);
    for route in ["trial", "ward", "old"] {
        let change_of = [("realm = \"care\"", "realm = \"research\"")];
        change(&new.join(format!("routes/{route}.toml")), &change_of);
    }
    let (routes, code) = tried(&setup, &new, &[]);
    let subject = &routes["trial"]["fields"]["subject"]["value"];
    assert_eq!((code, subject), (Some(1), &json!(3)));
    assert_untouched(&setup.state_dir(), &before);
}

#[test]
fn a_span_of_more_than_one_read_is_gone_through_whole_while_more_comes_in() {
    let setup = Setup::new().file_route("ward", &["patient.updated"]);
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for number in 0..600 {
        let message = adt("A08", &format!("N{number}"), &format!("ZZ{}", number % 50));
        assert_eq!(sender.exchange(&message).unwrap().code, "AA");
    }
    let new = copied(&setup);
    change(&new.join("routes/ward.toml"), &[("\"visit\" = \"keep\"\n", "")]);
    let output = std::thread::scope(|scope| {
        let tried = scope.spawn(|| shadow(&setup, &new, &["--json", "--to", "2099-01-01"]));
        for number in 600..650 {
            let message = adt("A08", &format!("N{number}"), "ZZ1");
            assert_eq!(sender.exchange(&message).unwrap().code, "AA");
        }
        tried.join().unwrap()
    });
    let (routes, code) = told(&output);
    let changed = routes["ward"]["changed"].as_u64().unwrap();
    assert!(code == Some(1) && (600..=650).contains(&changed), "{changed}");
    let disappears = &routes["ward"]["fields"]["visit.class.code"]["disappears"];
    assert_eq!(disappears.as_u64(), Some(changed));
    assert!(daemon.stop().success());
}

#[test]
fn another_realm_is_another_subject_and_makes_no_key() {
    let setup = setup();
    let mut daemon = with_messages(&setup);
    assert!(daemon.stop().success());
    let new = copied(&setup);
    change(&new.join("tidegate.toml"), &[("name = \"care\"", "name = \"research\"")]);
    for route in ["trial", "ward", "old"] {
        let change_of = [("realm = \"care\"", "realm = \"research\"")];
        change(&new.join(format!("routes/{route}.toml")), &change_of);
    }
    let before = files(&setup.state_dir());
    let (routes, code) = tried(&setup, &new, &[]);
    assert_eq!(code, Some(1));
    let subject = json!({ "appears": 0, "disappears": 0, "value": 3, "form": {} });
    assert_eq!(routes["trial"]["fields"], json!({ "subject": subject }));
    assert_eq!(routes["trial"]["terms"], json!({ "realm": ["care", "research"] }));
    // It names patients as they are, and its IDs too.
    assert_eq!(routes["ward"]["changed"], json!(0));
    assert_untouched(&setup.state_dir(), &before);
}

#[test]
fn another_consent_toml_is_asked_by_a_required_field_withholds_and_a_version_alone_is_no_difference()
 {
    let setup = setup();
    let mut daemon = with_messages(&setup);
    assert!(daemon.stop().success());
    let new = copied(&setup);
    change(&new.join("routes/trial.toml"), &[("version = \"1.0.0\"", "version = \"1.0.1\"")]);
    let (routes, code) = tried(&setup, &new, &[]);
    assert_eq!((code, &routes["trial"]["differs"]), (Some(0), &json!(false)));
    // What a contract requires and an event does not have.
    let language = "\"patient.language.code\" = { transform = \"keep\", required = true }\n";
    let route = new.join("routes/trial.toml");
    change(&route, &[("[fields]\n", &format!("[fields]\n{language}"))]);
    let (routes, _) = tried(&setup, &new, &[]);
    let withheld = json!({ "count": 3, "reasons": { "contract-violation": 3 } });
    assert_eq!(routes["trial"]["newlyWithheld"], withheld);
    change(&route, &[(language, "")]);
    let jurisdiction =
        "[[jurisdiction]]\ncode = \"US-CA\"\npurposes = [\"TREAT\"]\nrequire = \"opt-in\"\n";
    std::fs::write(new.join("consent.toml"), format!("{POLICY}{jurisdiction}")).unwrap();
    let (routes, code) = tried(&setup, &new, &[]);
    assert_eq!(code, Some(1));
    let withheld = json!({ "count": 3, "reasons": { "missing": 3 } });
    assert_eq!(routes["ward"]["newlyWithheld"], withheld);
    // The codes of the new one are for consents that come; what is filed stays what it is.
    std::fs::write(new.join("consent.toml"), "[codes]\n\"L/ZZ9\" = [\"HMARKT\"]\n").unwrap();
    assert_eq!(tried(&setup, &new, &[]).1, Some(0));
}

#[test]
fn what_cannot_be_tried_is_wrong_use_and_says_why() {
    let setup = setup();
    let mut daemon = setup.start();
    let new = copied(&setup);
    let config = new.join("tidegate.toml");
    let wrong = |arguments: &[&str], words: &str| {
        let output = setup.command(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "{words} in {told}");
    };
    let path = config.to_str().unwrap();
    wrong(&["decide", "--shadow", path, "--from", "yesterday"], "a time such as");
    wrong(&["decide", "--from", "2026-01-01", "x.hl7"], "--shadow");
    wrong(&["decide", "--shadow", path, "x.hl7"], "cannot be used with");
    wrong(&["decide", "--shadow", path, "--sample", "0"], "--sample");
    change(&config, &[("environment = \"test\"", "environment = \"production\"")]);
    wrong(&["decide", "--shadow", path], "a mix is refused");
    change(&config, &[("environment = \"production\"", "environment = \"test\"")]);
    let route = new.join("routes/trial.toml");
    change(&route, &[("\"patient.sex\"", "\"patient.sax\"")]);
    let mistake = format!("{}:15:1: `patient.sax`: ", route.display());
    wrong(&["decide", "--shadow", path], &mistake);
    let check = Command::new(TIDEGATE).args(["check", "--config", path]).output().unwrap();
    assert!(String::from_utf8_lossy(&check.stderr).contains(&mistake), "{check:?}");
    assert!(daemon.stop().success());
    // Without the keys nothing can be said, and none is made.
    change(&route, &[("\"patient.sax\"", "\"patient.sex\"")]);
    let master = setup.state_dir().join("keys/master.key");
    std::fs::rename(&master, setup.dir.path().join("kept")).unwrap();
    let output = shadow(&setup, &new, &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("keys/master.key: there is no such key"), "{told}");
    assert!(!master.exists());
}

#[test]
fn check_says_which_contract_is_not_the_one_that_last_ran() {
    let setup = setup();
    setup.config();
    let notes = || {
        let output = setup.command(&["check", "--json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Json>(&output.stdout).unwrap()["notes"].take()
    };
    assert_eq!(notes(), json!([]));
    assert!(!setup.state_dir().exists());
    let mut daemon = setup.start();
    assert_eq!(notes(), json!([]));
    let route = setup.dir.path().join("routes/trial.toml");
    change(&route, &[("version = \"1.0.0\"", "version = \"1.1.0\"")]);
    let config = setup.dir.path().join("tidegate.toml");
    let text = format!(
        "the contract is not the one that last ran; tidegate decide --config OLD --shadow {} \
         --from TIME --to TIME shows what would change",
        config.display()
    );
    let wanted = json!([{ "route": "trial", "text": text }]);
    assert_eq!(notes(), wanted);
    assert!(daemon.stop().success());
    let before = files(&setup.state_dir());
    assert_eq!(notes(), wanted);
    let told = String::from_utf8(setup.command(&["check"]).stderr).unwrap();
    assert!(told.contains(&format!("note: route trial: {text}\n")), "{told}");
    assert_untouched(&setup.state_dir(), &before);
    // Once it ran, it is the one.
    let mut daemon = setup.start();
    assert_eq!(notes(), json!([]));
    assert!(daemon.stop().success());
}
