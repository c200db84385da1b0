//! `tidegate consent show` and `import`, on a running daemon and on a stopped one.

use serde_json::Value as Json;

use crate::support::daemon::Setup;
use crate::support::sender::Sender;
use crate::support::{POLICY, adt, canary, consent};
use crate::{PATIENT, send, setup};

/// Of a message's patient for a purpose: answers to opt-in and opt-out, and keys behind the first.
fn answers(setup: &Setup, more: &[&str], purpose: &str) -> (String, String, Vec<String>) {
    let found = setup.json(&[&["consent", "show", "1"], more].concat());
    assert_eq!(found.len(), 1);
    let rows = found[0]["purposes"].as_array().unwrap();
    let row = rows.iter().find(|row| row["purpose"] == purpose).unwrap();
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let records = row["optIn"]["records"].as_array().unwrap().iter();
    (
        text(&row["optIn"]["answer"]),
        text(&row["optOut"]["answer"]),
        records.map(|record| text(&record["key"])).collect(),
    )
}

fn of(opt_in: &str, opt_out: &str, records: &[&str]) -> (String, String, Vec<String>) {
    (opt_in.to_owned(), opt_out.to_owned(), records.iter().map(ToString::to_string).collect())
}

#[test]
fn the_state_of_a_consent_is_shown_alike_by_a_running_daemon_and_a_stopped_one() {
    let setup = setup().policy(POLICY);
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A1", PATIENT));
    assert_eq!(answers(&setup, &[], "CLINTRCH"), of("missing", "permit", &[]));
    send(&daemon, &consent("A", "20261101", "C1", PATIENT));
    let key = format!("adt/ZZF{PATIENT}");
    let permitted = of("permit", "permit", &[&key]);
    assert_eq!(answers(&setup, &[], "CLINTRCH"), permitted);
    let all = setup.json(&["consent", "show", "1"])[0]["purposes"].as_array().unwrap().len();
    assert_eq!(all, 32);
    let between = setup.json(&["consent", "history", "1"])[0]["recordedAt"].to_string();
    send(&daemon, &consent("X", "20261102", "C2", PATIENT));
    let revoked = of("revoked", "revoked", &[&key]);
    assert_eq!(answers(&setup, &[], "CLINTRCH"), revoked);
    // What was answered then.
    let at = ["--at", between.trim_matches('"')];
    assert_eq!(answers(&setup, &at, "CLINTRCH"), permitted);
    let one = ["--at", "2030-01-01T00:00:00Z", "--purpose", "CLINTRCH", "--consumer", "crm"];
    let running = setup.json(&[&["consent", "show", "1"][..], &one].concat());
    let table = setup.command(&["consent", "show", "1"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("The patient withdrew the consent for CLINTRCH."), "{table}");
    assert!(table.contains("opt-out: permit): TREAT ETREAT"), "{table}");
    assert!(daemon.get("/api/journal/1/consent/state?at=never").1.contains("at is no time"));
    assert!(daemon.get("/api/journal/1/consent/state?purpose=ZZ").1.contains("PurposeOfUse"));
    assert_eq!(daemon.get("/api/journal/99/consent/state").0, 404);
    assert!(daemon.stop().success());
    let stopped = setup.json(&[&["consent", "show", "1"][..], &one].concat());
    assert_eq!(running, stopped);
    assert_eq!(answers(&setup, &[], "CLINTRCH"), revoked);
    let wrong = setup.command(&["consent", "show", "1", "--purpose", "CLINTRSH"]);
    assert_eq!(wrong.status.code(), Some(2));
    canary::assert_none("an error", &String::from_utf8(wrong.stderr).unwrap());
}

/// A line of an import.
fn line(patient: &str, status: &str, decided: &str) -> String {
    let decision = if status == "active" { "permit" } else { "deny" };
    serde_json::json!({
        "subject": { "authority": "EPIC", "value": patient },
        "key": { "source": "adt", "id": format!("ZZF{patient}") },
        "codes": ["L/ZZ9"], "decision": decision, "status": status, "decidedAt": decided,
        "form": "ZZPAPER-1", "document": "ZZDOC-7",
    })
    .to_string()
}

fn write(setup: &Setup, lines: &[String]) -> String {
    let path = setup.dir.path().join("decisions.ndjson");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

/// What an import prints, and its exit code.
fn import(setup: &Setup, file: &str, more: &[&str]) -> (i32, String) {
    let output = setup.command(&[&["consent", "import", file], more].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// PROMISE-2, PROMISE-5
#[test]
fn a_ledger_is_filled_before_the_first_day_and_the_same_file_changes_nothing() {
    let setup = setup().policy(POLICY).file_route("told", &["consent.granted", "consent.revoked"]);
    setup.config();
    let lines: Vec<String> =
        (0..600).map(|number| line(&format!("ZZ4{number:05}"), "active", "2026-01-05")).collect();
    let file = write(&setup, &lines);
    let (code, said) = import(&setup, &file, &["--dry-run"]);
    assert_eq!((code, said.as_str()), (0, "600 records are right; nothing was kept\n"));
    assert!(!setup.state_dir().exists(), "nothing was made");
    let (code, said) = import(&setup, &file, &[]);
    assert_eq!((code, said.as_str()), (0, "600 records, in the journal as 1 2\n"));
    let (code, said) = import(&setup, &file, &[]);
    assert_eq!(code, 0);
    assert!(said.contains("all of them known; nothing was changed"), "{said}");
    let shown = setup.json(&["journal", "ls"]);
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().all(|it| it["feed"] == "import" && it["type"] == "IMPORT"));
    let history = setup.json(&["consent", "history", "2"]);
    assert_eq!(history.len(), 100);
    assert_eq!(history[0]["message"], shown[0]["correlationId"]);
    // Routes hear of it, also those that begin with this start; and messages version its keys.
    let mut daemon = setup.start();
    crate::support::eventually("all is told", || setup.lines("told").len() == 600);
    let (code, said) = import(&setup, &file, &[]);
    assert_eq!(code, 0);
    assert!(said.contains("nothing was changed"), "{said}");
    send(&daemon, &adt("A01", "A1", "ZZ400000"));
    send(&daemon, &consent("X", "20261102", "C1", "ZZ400000"));
    assert_eq!(answers_of(&setup, "3", "CLINTRCH"), "revoked");
    assert_eq!(setup.json(&["consent", "history", "3"]).len(), 2);
    // One line more: what was known is not kept again.
    let file =
        write(&setup, &[&lines[..100], &[line("ZZ499999", "active", "2026-01-05")]].concat());
    assert_eq!(import(&setup, &file, &["--json"]).0, 0);
    assert_eq!(answers_of(&setup, "3", "CLINTRCH"), "revoked");
    assert_eq!(setup.json(&["consent", "history", "3"]).len(), 3, "an older decision, late");
    assert!(daemon.stop().success());
}

fn answers_of(setup: &Setup, message: &str, purpose: &str) -> String {
    let found = setup.json(&["consent", "show", message, "--purpose", purpose]);
    found[0]["purposes"][0]["optIn"]["answer"].as_str().unwrap().to_owned()
}

/// PROMISE-5, PROMISE-10
#[test]
fn nothing_of_a_file_with_a_mistake_is_imported_running_or_stopped() {
    let setup = setup().policy(POLICY);
    setup.config();
    let wrong = line("ZZ400001", "active", "2026-01-05").replace("L/ZZ9", "L/ZZ8");
    let lines = [line("ZZ400000", "active", "2026-01-05"), wrong, "ZZQUILLON".to_owned()];
    let file = write(&setup, &lines);
    let assert_refused = || {
        let (code, said) = import(&setup, &file, &[]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("{file}:2: `codes` holds one that no row")), "{said}");
        assert!(said.contains(&format!("{file}:3: it is not JSON")), "{said}");
        assert!(said.ends_with("tidegate: nothing was imported\n"), "{said}");
        canary::assert_none("the mistakes", &said.replace(&file, ""));
    };
    assert_refused();
    let mut daemon = setup.start();
    assert_refused();
    assert_eq!(setup.json(&["journal", "ls"]).len(), 0);
    assert!(daemon.stop().success());
}

/// PROMISE-6: who imports a refusal is answered when nothing is on its way any more.
#[test]
fn behind_the_answer_to_an_import_that_narrows_nothing_more_is_written() {
    let setup = Setup::new()
        .policy("[codes]\n\"L/ZZ9\" = [\"TREAT\"]\n")
        .file_route("first", &["patient.updated"])
        .asking("first", "TREAT", "require = \"opt-out\"");
    let mut daemon = setup.start();
    let feed = daemon.feed();
    // The notice that tells to stop is no payload.
    let is_payload = |line: &&Json| line["type"] == "patient.updated";
    let written = || setup.lines("first").iter().filter(is_payload).count();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = Sender::connect(feed);
            for number in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                sender.exchange(&adt("A08", &format!("A{number}"), PATIENT)).unwrap();
            }
        });
        crate::support::eventually("some is out", || written() > 20);
        let file = write(&setup, &[line(PATIENT, "revoked", "2026-01-05")]);
        assert_eq!(import(&setup, &file, &[]).0, 0);
        let then = written();
        std::thread::sleep(std::time::Duration::from_millis(500));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(written(), then);
    });
    assert!(daemon.stop().success());
}
