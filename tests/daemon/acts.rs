//! What was done, by whom: in the evidence beside what was decided.

use serde_json::Value as Json;

use crate::send;
use crate::support::daemon::Setup;
use crate::support::{EVERY_EVENT, POLICY, eventually, two};

/// The acts of that name, the newest first.
fn acts(setup: &Setup, name: &str) -> Vec<Json> {
    let found = setup.json(&["audit", "find", "--act", name]);
    found.into_iter().map(|mut record| record["says"]["act"].take()).collect()
}

/// PROMISE-8
#[test]
fn what_makes_two_patients_one_or_two_is_in_the_evidence_once_each() {
    let setup = Setup::new().policy(POLICY).file_route("out", EVERY_EVENT);
    let mut daemon = setup.start();
    send(&daemon, &two("A40", "M1", "ZZ100001", "ZZ100002"));
    eventually("it is recorded", || acts(&setup, "merge").len() == 1);
    let merge = acts(&setup, "merge").remove(0);
    assert_eq!((&merge["who"], &merge["with"]["message"]), (&"feed adt".into(), &"1".into()));
    for side in ["from", "into"] {
        assert_eq!(merge["with"][side].as_str().unwrap().len(), 32, "{merge}");
    }
    // Killed behind the acknowledgement: the next start records what this one did not.
    for round in 0..5 {
        send(&daemon, &two("A40", &format!("K{round}"), "ZZ100003", &format!("ZZ20000{round}")));
        daemon.kill();
        daemon = setup.start();
    }
    eventually("they are recorded", || acts(&setup, "merge").len() >= 6);
    send(&daemon, &two("A37", "U1", "ZZ100001", "ZZ100002"));
    send(&daemon, &two("A47", "R1", "ZZ100007", "ZZ100008"));
    eventually("all is recorded", || {
        acts(&setup, "unlink").len() == 1 && acts(&setup, "rekey").len() == 1
    });
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    assert!(daemon.stop().success());
    assert_eq!(acts(&setup, "merge").len(), 6, "each once");
    daemon.assert_no_patient_data();
}

/// PROMISE-8
#[test]
fn who_imports_decisions_is_in_the_evidence_before_they_count() {
    let setup = Setup::new().admin("dev = true").policy(POLICY).file_route("out", EVERY_EVENT);
    let mut daemon = setup.start();
    let file = setup.state_dir().parent().unwrap().join("decisions.ndjson");
    let line = "{\"subject\":{\"authority\":\"EPIC\",\"value\":\"ZZ100001\"},\"key\":{\"source\":\"paper\",\"id\":\"ZZF1\"},\
        \"purposes\":[\"CLINTRCH\"],\"decision\":\"permit\",\"status\":\"active\",\
        \"decidedAt\":\"2026-11-01\"}\n";
    std::fs::write(&file, line).unwrap();
    let import = || {
        let output = setup.command(&["consent", "import", file.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
    };
    import();
    let act = acts(&setup, "import").remove(0);
    assert_eq!((&act["who"], &act["with"]["records"]), (&"dev".into(), &"1".into()));
    assert!(act["with"]["file"].as_str().unwrap().starts_with("sha256:"));
    assert!(daemon.stop().success());
    import();
    let found = acts(&setup, "import");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["who"], "the command on a stopped daemon");
    assert!(setup.command(&["audit", "verify"]).status.success());
    daemon.assert_no_patient_data();
}
