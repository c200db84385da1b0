//! `audit`: what was decided and done, of a daemon that runs, of one that is stopped, and of a copy.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

use crate::support::daemon::{Daemon, Setup, TIDEGATE};
use crate::support::{EVERY_EVENT, POLICY, TOKEN, adt, canary, consent, eventually, two};
use crate::{PATIENT, send};

const OTHER: &str = "ZZ100002";

/// A route that asks for a consent and knows patients by a token, and one that needs none.
fn setup() -> Setup {
    Setup::new()
        .policy(POLICY)
        .pseudonymous("trial", "CLINTRCH", "require = \"opt-in\"", EVERY_EVENT, TOKEN)
        .file_route("ward", EVERY_EVENT)
}

/// A daemon that has decided: 1 suppressed and 1 released on `trial`, 3 released on `ward`.
fn decided(setup: &Setup) -> Daemon {
    let daemon = setup.start();
    send(&daemon, &adt("A01", "B1", OTHER));
    send(&daemon, &consent("A", "20261101", "C1", PATIENT));
    send(&daemon, &adt("A08", "A1", PATIENT));
    eventually("it is out", || setup.events("trial").len() == 1 && setup.events("ward").len() == 2);
    daemon
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn run(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(TIDEGATE)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    said(&child.wait_with_output().unwrap())
}

/// What the commands say, one way and another.
fn everything(setup: &Setup) -> Vec<Vec<Json>> {
    let released = setup.json(&["audit", "find", "--route", "trial", "--decision", "release"]);
    let one = &released[0]["says"]["decision"];
    let text = |key: &str| one[key].as_str().unwrap().to_owned();
    let (event, token) = (text("event"), text("token"));
    let digest = one["consents"][0]["record"].as_str().unwrap().to_owned();
    let message = one["message"].to_string();
    let correlation = event.split('.').next().unwrap();
    let find = |more: &[&str]| setup.json(&[&["audit", "find"], more].concat());
    vec![
        released.clone(),
        find(&["--event", &event]),
        find(&["--correlation", correlation]),
        find(&["--subject-token", &token]),
        find(&["--subject-of", &message]),
        find(&["--subject-of", &event, "--route", "ward"]),
        find(&["--consent", &digest]),
        find(&["--decision", "suppress", "--route", "trial"]),
        find(&["--act", "contract"]),
        find(&["--act", "contract", "--route", "ward"]),
        find(&["--act", "start"]),
        find(&["--to", "2020-01-01T00:00:00Z"]),
        find(&["--from", "2020-01-01T00:00:00Z", "--limit", "2"]),
        setup.json(&["audit", "disclosures", &message]),
        setup.json(&["audit", "disclosures", correlation]),
    ]
}

/// PROMISE-8, PROMISE-10
#[test]
fn a_running_and_a_stopped_daemon_say_the_same_of_the_evidence() {
    let setup = setup();
    let mut daemon = decided(&setup);
    let running = everything(&setup);
    let counts: Vec<usize> = running.iter().map(Vec::len).collect();
    assert_eq!(&counts[..2], [1, 2], "{running:#?}");
    for list in [2, 3, 4, 6, 7] {
        assert!(counts[list] > 0, "{list}: {running:#?}");
    }
    assert_eq!(&counts[8..13], [2, 1, 1, 0, 2]);
    assert_eq!(running[13], running[14], "a message by any name");
    let left: Vec<(&str, &str)> = running[13]
        .iter()
        .map(|one| (one["route"].as_str().unwrap(), one["purpose"].as_str().unwrap()))
        .collect();
    assert!(left.contains(&("trial", "CLINTRCH")) && left.contains(&("ward", "TREAT")), "{left:?}");
    assert!(running[13].iter().all(|one| one["recipient"] == "c" && one["inDoubt"] == false));
    let start = &running[10][0]["says"]["act"]["with"];
    let checked = said(&setup.command(&["check", "--json"])).1;
    let checked: Json = serde_json::from_str(&checked).unwrap();
    assert_eq!(start["configuration"], checked["configuration"]);
    assert!(daemon.stop().success());
    let stopped = everything(&setup);
    // The stop is one more; nothing else is.
    assert_eq!(running[..12], stopped[..12]);
    assert_eq!(running[13..], stopped[13..]);
    let (code, out, err) = said(&setup.command(&["audit", "find", "--limit", "3"]));
    assert_eq!((code, out.lines().count()), (0, 4), "{out}{err}");
    assert!(err.contains("there may be more: --below "), "{err}");
    let (_, csv, _) = said(&setup.command(&["audit", "disclosures", "--csv", "3"]));
    assert!(csv.starts_with("number,at,recipient,agreement,purpose,what,type,fields,"), "{csv}");
    for (what, text) in [("json", &format!("{running:?}")), ("table", &out), ("csv", &csv)] {
        canary::assert_none(what, text);
    }
    let (code, _, err) = said(&setup.command(&["audit", "disclosures", "77"]));
    assert_eq!((code, err.trim_end()), (1, "tidegate: there is none"));
    let (code, _, err) = said(&setup.command(&["audit", "find", "--subject-of", "x.y"]));
    assert_eq!(code, 2, "{err}");
}

/// Who was merged is accounted for by either name, and each disclosure says which it was of.
///
/// PROMISE-8
#[test]
fn what_left_of_a_person_is_accounted_for_whichever_name_it_left_under() {
    let setup = Setup::new().file_route("ward", EVERY_EVENT);
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "B1", OTHER));
    send(&daemon, &adt("A01", "A1", PATIENT));
    eventually("both are out", || setup.events("ward").len() == 2);
    let subjects = |message: &str| -> std::collections::BTreeSet<String> {
        let found = setup.json(&["audit", "disclosures", message]);
        found.iter().map(|one| one["subject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((subjects("1").len(), subjects("2").len()), (1, 1));
    send(&daemon, &two("A40", "M1", PATIENT, OTHER));
    eventually("either is both", || subjects("1").len() == 2 && subjects("2").len() == 2);
    assert!(daemon.stop().success());
    assert_eq!(subjects("1").len(), 2);
}

/// Nothing personal is in it, so that who may see lists may see it, and nobody without a token.
#[test]
fn a_viewer_may_look_at_evidence_and_nobody_without_a_token() {
    let setup = setup().admin("users = \"users.toml\"");
    // The SHA-256 of `one`.
    let hash = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let users = format!("[[user]]\nname = \"v\"\nrole = \"viewer\"\ntoken = \"sha256:{hash}\"\n");
    std::fs::write(setup.dir.path().join("users.toml"), users).unwrap();
    let mut daemon = setup.start();
    let find = |token: &str| {
        let config = setup.dir.path().join("tidegate.toml");
        let mut command = Command::new(TIDEGATE);
        command.args(["audit", "find", "--act", "start", "--json", "--config"]).arg(config);
        said(&command.env("TIDEGATE_TOKEN", token).output().unwrap())
    };
    let (code, out, err) = find("one");
    assert_eq!((code, out.lines().count()), (0, 1), "{err}");
    assert_eq!(find("two").0, 1);
    for path in ["/api/audit", "/api/audit/disclosures?subject_of=1"] {
        assert_eq!(daemon.get(path).0, 401, "{path}");
    }
    assert!(daemon.stop().success());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["audit.db", "audit.db-wal", "audit.pub", "checkpoints.ndjson"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Verified while it runs, when it is stopped, and as a copy on another host, where a line that was
/// kept elsewhere tells that the copy is an older one.
///
/// PROMISE-9
#[test]
fn evidence_is_verified_running_stopped_and_copied() {
    let setup = setup().section("[audit]\ncheckpoint = { every = 2 }");
    let mut daemon = decided(&setup);
    let (code, out, err) = said(&setup.command(&["audit", "verify"]));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.ends_with("whole\n") && err.starts_with("note: "), "{out}{err}");
    let older = setup.dir.path().join("older");
    assert!(daemon.stop().success());
    copy(&setup.state_dir(), &older);
    let mut daemon = setup.start();
    assert!(daemon.stop().success());
    let (code, out, _) = said(&setup.command(&["audit", "verify", "--json"]));
    let report: Json = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["whole"]), (0, &Json::Bool(true)), "{report}");
    let kept = std::fs::read_to_string(setup.state_dir().join("checkpoints.ndjson")).unwrap();
    let newest = format!("{}\n", kept.lines().last().unwrap());
    let key = setup.dir.path().join("kept.pub");
    std::fs::copy(setup.state_dir().join("audit.pub"), &key).unwrap();
    let dir = |path: &Path| path.display().to_string();
    let (older, state, key) = (dir(&older), dir(&setup.state_dir()), dir(&key));
    let verify = |folder: &str, input: &str| {
        run(&["audit", "verify", "--dir", folder, "--checkpoint", "-", "--key", &key], input)
    };
    let (code, out, err) = verify(&state, &kept);
    assert_eq!((code, err.as_str()), (0, ""), "{out}{err}");
    let (code, _, err) = verify(&older, &newest);
    assert_eq!(code, 1);
    assert!(err.starts_with("the chain ends at ") && err.contains("; the checkpoint of "), "{err}");
    let (code, _, err) = verify(&state, &newest.replace("\"number\":", "\"number\":1"));
    assert!(code == 1 && err.contains("-:1 was changed"), "{err}");
    let (code, _, err) = run(&["audit", "verify", "--dir", "/nowhere"], "");
    assert!(code == 1 && err.contains("audit.db cannot be read"), "{err}");
    let (code, _, err) =
        run(&["audit", "verify", "--dir", &state, "--key", &format!("{state}/lock")], "");
    assert!(code == 2 && err.contains("is not 64 hexadecimal digits"), "{err}");
}

/// PROMISE-8
#[test]
fn evidence_is_exported_as_it_was_written_and_as_audit_events() {
    let setup = setup();
    let mut daemon = decided(&setup);
    let state = setup.state_dir().display().to_string();
    let lines = |format: &str| -> Vec<Json> {
        let (code, out, err) = run(&["audit", "export", "--dir", &state, "--format", format], "");
        assert_eq!(code, 0, "{err}");
        canary::assert_none("export", &out);
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (records, events) = (lines("ndjson"), lines("fhir"));
    assert!(records.len() == events.len() && records.len() >= 6, "{}", records.len());
    let numbers: Vec<u64> = records.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<_>>());
    for (record, event) in records.iter().zip(&events) {
        assert_eq!(event["resourceType"], "AuditEvent");
        assert_eq!(event["source"]["site"], "gate");
        let decision = &record["says"]["decision"];
        if decision.is_object() {
            let outcome = if decision["outcome"] == "suppress" { "4" } else { "0" };
            assert_eq!(event["outcome"], outcome, "{decision}");
            assert_eq!(event["purposeOfEvent"][0]["coding"][0]["code"], decision["purpose"]);
        }
    }
    assert!(daemon.stop().success());
    let file = setup.dir.path().join("export.ndjson");
    let path = file.display().to_string();
    let (code, _, err) = said(&setup.command(&[
        "audit",
        "export",
        "--output",
        &path,
        "--to",
        "2020-01-01T00:00:00Z",
    ]));
    assert_eq!((code, err.trim_end()), (0, "0 records"));
    let (code, _, err) = said(&setup.command(&["audit", "export", "--output", &path]));
    assert!(code == 1 && err.contains("export.ndjson: "), "nothing is overwritten: {err}");
}

/// PROMISE-9
#[test]
fn fault_23_a_daemon_does_not_go_on_with_an_older_audit_or_none() {
    let setup = setup();
    let mut daemon = decided(&setup);
    assert!(daemon.stop().success());
    let path = setup.state_dir().join("audit.db");
    let older = std::fs::read(&path).unwrap();
    let mut daemon = setup.start();
    assert!(daemon.stop().success());
    let newer = std::fs::read(&path).unwrap();
    let refused = |wanted: &str| {
        let mut daemon = setup.spawn(&mut Command::new(TIDEGATE));
        assert_eq!(daemon.wait().code(), Some(1));
        let log = daemon.log();
        let last = log.lines().last().unwrap();
        assert!(last.starts_with("tidegate: ") && last.contains(wanted), "{last}");
        assert!(last.contains("put the right one back"), "{last}");
    };
    std::fs::write(&path, older).unwrap();
    refused("it is an older copy, or was cut");
    std::fs::remove_file(&path).unwrap();
    refused("audit.db is gone");
    std::fs::write(&path, newer).unwrap();
    let mut daemon = setup.start();
    assert!(daemon.stop().success());
    // Given up on purpose: a new chain.
    for name in ["audit.db", "checkpoints.ndjson", "keys/audit"] {
        std::fs::remove_file(setup.state_dir().join(name)).unwrap();
    }
    let mut daemon = setup.start();
    assert_eq!(setup.json(&["audit", "find", "--act", "start"]).len(), 1);
    assert!(daemon.stop().success());
}

#[test]
fn what_cannot_be_in_the_section_is_a_mistake_at_its_place() {
    for (lines, wanted) in [
        ("retention = \"1h\"", "`audit.retention` is out of bounds; from 1d to 100y"),
        ("checkpoint = { every = 0 }", "`audit.checkpoint.every` is out of bounds"),
        ("checkpoint = { or_after = \"2d\" }", "`audit.checkpoint.or_after` is out of bounds"),
        ("checkpoint = { file = \"../x\" }", "`audit.checkpoint.file` is a path below state_dir"),
        ("checkpoint = { exchange = \"x\" }", "the configuration has no [rabbitmq]"),
        ("checkpoint = { evry = 1 }", "did you mean `every`?"),
        ("retain = \"6y\"", "`audit.retain` is not known"),
    ] {
        let setup = setup().section(&format!("[audit]\n{lines}"));
        setup.config();
        let (code, _, err) = said(&setup.command(&["check"]));
        assert!(code == 2 && err.contains(wanted), "{lines}: {err}");
        assert!(err.contains("tidegate.toml:"), "{err}");
    }
}
