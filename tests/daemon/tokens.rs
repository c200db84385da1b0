//! Tokens that are random and kept in the vault: one a patient and realm, over crashes, rotations,
//! revocations and merges.

use std::time::Duration;

use serde_json::Value as Json;

use crate::explain::decided;
use crate::send;
use crate::support::daemon::{Daemon, Setup};
use crate::support::peer::Peer;
use crate::support::{POLICY, TOKEN, adt, consent, eventually, schema, two};

const FIRST: &str = "ZZ100001";
const SECOND: &str = "ZZ100002";
const EVENTS: &[&str] = &["patient.admitted", "patient.updated"];
const VAULT: &str = "tokens = \"vault\"";

/// `trial` and `other` in one realm, whose tokens are in the vault; both need no consent, unless it
/// is denied.
pub fn setup() -> Setup {
    let opt_out = "require = \"opt-out\"";
    Setup::new()
        .realm(VAULT)
        .policy(POLICY)
        .pseudonymous("trial", "CLINTRCH", opt_out, EVENTS, TOKEN)
        .pseudonymous("other", "CLINTRCH", opt_out, &["patient.updated"], TOKEN)
}

/// The subjects of what a route let out, in order.
fn subjects(setup: &Setup, route: &str) -> Vec<String> {
    let of = |line: &Json| line["subject"].as_str().unwrap().to_owned();
    setup.lines(route).iter().map(of).collect()
}

/// Sends an event of a patient, and waits until the route has let out so many lines.
fn out(setup: &Setup, daemon: &Daemon, event: (&str, &str, &str), count: usize) {
    let (trigger, id, patient) = event;
    send(daemon, &adt(trigger, id, patient));
    eventually("it is out", || setup.lines("trial").len() >= count);
    assert_eq!(setup.lines("trial").len(), count);
}

/// What a command about tokens says that must be done.
pub fn done(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.command(&[&["token"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text.trim_end().to_owned()
}

/// What a command about tokens says that must not be done, with its exit code.
pub fn refused(setup: &Setup, arguments: &[&str]) -> (i32, String) {
    let output = setup.command(&[&["token"], arguments].concat());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// `token resolve` of a token of the realm `care`, with its own arguments.
pub fn resolve<'a>(token: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let begin = ["resolve", "--realm", "care", "--purpose", "PATSFTY", "--reason", "an alert"];
    [&begin, more, &[token]].concat()
}

/// Of a stopped daemon: how many rows its vault has.
pub fn rows(setup: &Setup) -> i64 {
    let vault = rusqlite::Connection::open(setup.state_dir().join("vault.db")).unwrap();
    vault.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0)).unwrap()
}

/// A time so many seconds from now, as the command takes it.
fn soon(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

#[test]
fn a_patient_has_one_random_token_in_a_realm_and_another_in_another_over_kill_9() {
    let deny_none = "require = \"opt-out\"";
    let setup = setup()
        .pseudonymous("apart", "CLINTRCH", deny_none, EVENTS, TOKEN)
        .in_realm("apart", "research");
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A1", FIRST), 1);
    out(&setup, &daemon, ("A01", "A2", SECOND), 2);
    for round in 0..3 {
        daemon.kill();
        daemon = setup.start();
        out(&setup, &daemon, ("A08", &format!("U{round}"), FIRST), 3 + round);
    }
    eventually("all are out", || {
        subjects(&setup, "apart").len() == 5 && subjects(&setup, "other").len() == 3
    });
    assert!(daemon.stop().success());
    let found = subjects(&setup, "trial");
    assert!(found.iter().all(|token| token.len() == 32), "{found:?}");
    assert_ne!(found[0], found[1]);
    assert!(found[2..].iter().all(|token| *token == found[0]));
    assert!(subjects(&setup, "other").iter().all(|token| *token == found[0]), "one realm");
    assert!(subjects(&setup, "apart").iter().all(|token| !found.contains(token)), "another one");
    assert_eq!(rows(&setup), 4, "a row a patient and realm");
    let bytes = std::fs::read(setup.state_dir().join("vault.db")).unwrap();
    assert!(!bytes.windows(FIRST.len()).any(|found| found == FIRST.as_bytes()), "it is sealed");
}

/// PROMISE-7
#[test]
fn what_is_suppressed_or_only_decided_for_a_trial_makes_no_token() {
    let setup = Setup::new().realm(VAULT).policy(POLICY).pseudonymous(
        "trial",
        "CLINTRCH",
        "require = \"opt-in\"",
        EVENTS,
        TOKEN,
    );
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A1", FIRST));
    let suppressed = "tidegate_events_total{route=\"trial\",outcome=\"suppressed\"}";
    eventually("it is suppressed", || daemon.metric(suppressed) == 1.0);
    send(&daemon, &consent("A", "20261101", "C1", SECOND));
    let would =
        || decided(&setup, &adt("A08", "A2", SECOND)).remove(0)["payload"]["subject"].take();
    assert_eq!(would(), "(no token yet; a release makes one)");
    assert_eq!(daemon.metric("tidegate_token_store_entries"), 0.0);
    assert!(daemon.stop().success());
    // The same of a stopped daemon, whose vault has none.
    assert_eq!(would(), "(no token yet; a release makes one)");
    assert_eq!(rows(&setup), 0);
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A08", "A3", SECOND), 1);
    let token = subjects(&setup, "trial").remove(0);
    assert_eq!(would(), token.as_str());
    assert_eq!(daemon.metric("tidegate_token_store_entries"), 1.0);
    assert!(daemon.stop().success());
    assert_eq!(would(), token.as_str());
}

/// The consumer that knows the old token is told of the new one before it gets it, once; one that
/// knew none is told nothing. IDs stay, whatever is rotated.
#[test]
fn fault_68_after_a_rotation_a_consumer_is_told_of_the_new_token_before_it_gets_it() {
    let setup = setup();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A1", FIRST), 1);
    out(&setup, &daemon, ("A01", "A2", SECOND), 2);
    // So that the crash below finds both behind the cursor: else they would go again, by new tokens of
    // which the consumer is told first.
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    let ids = |setup: &Setup| {
        let told = decided(setup, &adt("A08", "ID", FIRST)).remove(0);
        ["id", "correlationid"].map(|key| told["payload"][key].clone())
    };
    let before = ids(&setup);
    let until = soon(3_600);
    let rotate = ["rotate", "--realm", "care", "--keep-until", &until, "--reason", "yearly"];
    assert_eq!(done(&setup, &[&rotate[..], &["--all"]].concat()), "2 ended");
    out(&setup, &daemon, ("A08", "A3", FIRST), 4);
    let lines = setup.lines("trial");
    let (old, notice, event) = (&lines[0], &lines[2], &lines[3]);
    assert_eq!(notice["type"], "patient.identifier-changed");
    assert!(schema::of("notice").is_valid(notice), "{notice}");
    assert_eq!(
        (&notice["subject"], &notice["data"]["retired"]),
        (&event["subject"], &old["subject"])
    );
    assert_ne!(event["subject"], old["subject"]);
    assert_eq!(ids(&setup), before);
    // Once, also over a crash; and to nobody who knew none.
    daemon.kill();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A08", "A4", FIRST), 5);
    eventually("the other is out", || setup.lines("other").len() == 2);
    assert!(setup.notices("other").is_empty());
    assert_eq!(subjects(&setup, "other")[1], event["subject"]);
    // One alone: the other patient's stays what the first rotation made it.
    let own = event["subject"].as_str().unwrap();
    assert_eq!(done(&setup, &[&rotate[..], &[own]].concat()), "1 ended");
    let again = refused(&setup, &[&rotate[..], &[own]].concat());
    assert!(again.0 == 1 && again.1.contains("it has ended already"), "{again:?}");
    out(&setup, &daemon, ("A08", "A5", FIRST), 7);
    let third = &setup.lines("trial")[5];
    assert_eq!(
        (third["type"].as_str(), third["data"]["retired"].as_str()),
        (Some("patient.identifier-changed"), Some(own))
    );
    eventually("the other is told", || setup.notices("other").len() == 1);
    // All of them resolve, each by its name.
    let [first, second] = [old, event].map(|line| line["subject"].as_str().unwrap().to_owned());
    for token in [&first, &second] {
        let said = done(&setup, &resolve(token, &[]));
        assert!(said.starts_with("EPIC ZZ100001\nthe token was rotated, and"), "{said}");
    }
    assert_eq!(done(&setup, &resolve(third["subject"].as_str().unwrap(), &[])), "EPIC ZZ100001");
    // What ended is no other's, and is found in the evidence under each of its names.
    let found = setup.json(&["audit", "find", "--subject-token", &first]);
    let outcomes: Vec<&Json> = found.iter().map(|it| &it["says"]["decision"]["outcome"]).collect();
    assert_eq!(outcomes, ["notice", "release"]);
    assert!(daemon.stop().success());
}

/// Consumers deduplicate by event IDs and quote correlation IDs and consent references: none of them
/// goes by a key that rotates.
#[test]
fn ids_and_consent_references_stay_when_tokens_rotate() {
    let mut setup = Setup::new().realm("tokens = \"keyed\"").policy(POLICY).pseudonymous(
        "trial",
        "CLINTRCH",
        "require = \"opt-in\"",
        EVENTS,
        TOKEN,
    );
    let daemon = setup.start();
    send(&daemon, &consent("A", "20261101", "C1", FIRST));
    out(&setup, &daemon, ("A01", "A1", FIRST), 1);
    drop(daemon);
    let first = setup.lines("trial").remove(0);
    let key = setup.state_dir().join("keys/realm-care.key");
    let ids = ["id", "correlationid", "consentref"];
    let would =
        |setup: &Setup| decided(setup, &adt("A01", "A1", FIRST)).remove(0)["payload"].take();
    let holds = |payload: &Json| {
        assert!(
            ids.iter().all(|id| first[id].is_string() && payload[id] == first[id]),
            "{payload}"
        );
    };
    holds(&would(&setup));
    std::fs::write(&key, [7; 32]).unwrap();
    let other = would(&setup);
    assert_ne!(other["subject"], first["subject"]);
    holds(&other);
    setup = setup.realm("tokens = \"vault\"");
    let daemon = setup.start();
    out(&setup, &daemon, ("A08", "A2", FIRST), 3);
    let until = soon(60);
    let rotate = ["rotate", "--realm", "care", "--keep-until", &until, "--reason", "r", "--all"];
    done(&setup, &rotate);
    let other = would(&setup);
    assert_eq!(other["subject"], "(no token yet; a release makes one)");
    holds(&other);
}

/// An older vault.db that was put back knows nothing of newer tokens: the consumers that know them
/// are told of those that take their place.
#[test]
fn after_an_older_vault_was_put_back_consumers_are_told_of_the_tokens_that_are_made_anew() {
    let setup = setup();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A1", SECOND), 1);
    assert!(daemon.stop().success());
    let vault = setup.state_dir().join("vault.db");
    let older = setup.dir.path().join("older");
    std::fs::copy(&vault, &older).unwrap();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A2", FIRST), 2);
    assert!(daemon.stop().success());
    std::fs::copy(&older, &vault).unwrap();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A08", "A3", FIRST), 4);
    let lines = setup.lines("trial");
    assert_eq!(lines[2]["type"], "patient.identifier-changed");
    assert_eq!(
        (&lines[2]["data"]["retired"], &lines[2]["subject"]),
        (&lines[1]["subject"], &lines[3]["subject"])
    );
    out(&setup, &daemon, ("A08", "A4", SECOND), 5);
    assert!(daemon.stop().success());
}

#[test]
fn an_old_token_resolves_until_its_date_and_is_deleted_then() {
    let setup = setup();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A1", FIRST), 1);
    let token = subjects(&setup, "trial").remove(0);
    let until = soon(3);
    let rotate = ["rotate", "--realm", "care", "--keep-until", &until, "--reason", "r", "--all"];
    assert_eq!(done(&setup, &rotate), "1 ended");
    assert!(done(&setup, &resolve(&token, &[])).contains("resolves until"));
    out(&setup, &daemon, ("A08", "A2", FIRST), 3);
    eventually("its date has come", || soon(0) > until);
    let (code, said) = refused(&setup, &resolve(&token, &[]));
    assert!(code == 1 && (said.contains("resolved until") || said.contains("forgotten")), "{said}");
    eventually("it is deleted", || daemon.metric("tidegate_token_store_entries") == 1.0);
    assert!(daemon.stop().success());
    assert_eq!(rows(&setup), 1);
    let past =
        ["rotate", "--realm", "care", "--keep-until", "2020-01-31", "--reason", "r", "--all"];
    let (code, said) = refused(&setup, &past);
    assert!(code == 2 && said.contains("is past"), "{said}");
}

#[test]
fn a_revoked_token_resolves_no_more_and_nothing_links_it_with_the_next() {
    let setup = setup();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A1", FIRST), 1);
    let token = subjects(&setup, "trial").remove(0);
    let revoke = ["revoke", "--realm", "care", "--reason", "asked by the patient", &token];
    assert_eq!(done(&setup, &revoke), "1 ended");
    let (code, said) = refused(&setup, &resolve(&token, &[]));
    assert!(code == 1 && said.contains("it was revoked"), "{said}");
    out(&setup, &daemon, ("A08", "A2", FIRST), 2);
    assert!(setup.notices("trial").is_empty(), "nothing links the two");
    let next = subjects(&setup, "trial").remove(1);
    assert_ne!(next, token);
    assert_eq!(done(&setup, &resolve(&next, &[])), "EPIC ZZ100001");
    let acts = setup.json(&["audit", "find", "--act", "token-revoke"]);
    let with = &acts[0]["says"]["act"]["with"];
    assert_eq!(
        (with["token"].as_str(), with["reason"].as_str()),
        (Some(&*token), Some("asked by the patient"))
    );
    assert!(daemon.stop().success());
}

/// Nor does a merge of two patients, one of whom had it revoked.
#[test]
fn a_merge_links_no_token_that_was_revoked() {
    for revoked in 0..2 {
        let setup = setup();
        let mut daemon = setup.start();
        out(&setup, &daemon, ("A01", "A1", FIRST), 1);
        out(&setup, &daemon, ("A01", "A2", SECOND), 2);
        let tokens = subjects(&setup, "trial");
        done(&setup, &["revoke", "--realm", "care", "--reason", "r", &tokens[revoked]]);
        send(&daemon, &two("A40", "M1", FIRST, SECOND));
        send(&daemon, &adt("A08", "A3", SECOND));
        let is_out = |line: &Json| line["type"] == "patient.updated";
        eventually("it is out", || setup.lines("trial").iter().any(is_out));
        let lines = setup.lines("trial");
        let survivor = &lines.iter().find(|line| is_out(line)).unwrap()["subject"];
        let behind = &lines[2..];
        assert!(!format!("{behind:?}").contains(&tokens[revoked]), "{behind:?}");
        if revoked == 0 {
            assert_eq!(behind[0]["data"]["retired"], tokens[1].as_str());
            assert_eq!(&behind[0]["subject"], survivor, "by its next token");
        } else {
            assert_eq!(survivor, tokens[0].as_str());
        }
        assert!(daemon.stop().success());
    }
}

/// A consumer that is told to stop is told by the name that it knows the patient by.
///
/// PROMISE-6
#[test]
fn a_notice_to_stop_names_the_token_that_the_consumer_was_sent_last() {
    for command in ["rotate", "revoke"] {
        let setup = setup();
        let mut daemon = setup.start();
        out(&setup, &daemon, ("A01", "A1", FIRST), 1);
        let token = subjects(&setup, "trial").remove(0);
        let until = soon(3_600);
        let mut ended = vec![command, "--realm", "care", "--reason", "r", &token];
        ended.extend(["--keep-until", &until].iter().filter(|_| command == "rotate"));
        assert_eq!(done(&setup, &ended), "1 ended");
        send(&daemon, &consent("X", "20261121", "C1", FIRST));
        eventually("it is told", || setup.notices("trial").len() == 1);
        assert_eq!(setup.notices("trial")[0]["subject"], token.as_str(), "{command}");
        assert!(daemon.stop().success());
    }
}

/// The retired patient's token stands for the one that survives, until the two are parted again.
#[test]
fn after_a_merge_the_retired_token_resolves_to_who_survives_until_they_are_parted() {
    let setup = setup();
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A1", FIRST), 1);
    out(&setup, &daemon, ("A01", "A2", SECOND), 2);
    let tokens = subjects(&setup, "trial");
    send(&daemon, &two("A40", "M1", FIRST, SECOND));
    eventually("it is linked", || setup.notices("trial").len() == 1);
    let link = &setup.notices("trial")[0];
    assert_eq!(link["type"], "patient.merged");
    assert_eq!(
        (link["subject"].as_str(), link["data"]["retired"].as_str()),
        (Some(&*tokens[0]), Some(&*tokens[1]))
    );
    let told: Json =
        serde_json::from_str(&done(&setup, &resolve(&tokens[1], &["--json"]))).unwrap();
    assert_eq!(told["state"], "retired");
    assert_eq!(
        (&told["subject"]["value"], &told["retired"]["value"]),
        (&Json::from(FIRST), &Json::from(SECOND))
    );
    assert_eq!(done(&setup, &resolve(&tokens[0], &[])), "EPIC ZZ100001");
    // Nothing of the other realm's route left, so it hears nothing.
    assert!(setup.lines("other").is_empty());
    send(&daemon, &two("A37", "U1", FIRST, SECOND));
    let mut said = String::new();
    eventually("they are parted", || {
        std::thread::sleep(Duration::from_secs(1));
        said = done(&setup, &resolve(&tokens[1], &[]));
        said == "EPIC ZZ100002"
    });
    // What says so is an event of each.
    eventually("both were told", || setup.lines("trial").len() == 5);
    out(&setup, &daemon, ("A08", "A3", SECOND), 6);
    let told = subjects(&setup, "trial");
    assert!(tokens.iter().all(|token| told[3..5].contains(token)));
    assert_eq!(told[5], tokens[1]);
    assert!(daemon.stop().success());
}

/// Another key of a realm whose tokens are keyed, and the step from keyed to the vault, are told
/// like a rotation.
#[test]
fn another_key_or_another_kind_of_tokens_is_told_to_consumers_before_they_see_it() {
    let mut setup = setup().realm("tokens = \"keyed\"\nkey = { file = \"realm.key\" }");
    let key = setup.dir.path().join("realm.key");
    let write = |byte: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&key, byte.repeat(32)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("0a");
    let mut daemon = setup.start();
    out(&setup, &daemon, ("A01", "A1", FIRST), 1);
    assert_eq!(daemon.metric("tidegate_key_version_info{key=\"realm-care\",version=\"1\"}"), 1.0);
    assert!(daemon.stop().success());
    for (nth, id) in [(2, "A2"), (3, "A3")] {
        if nth == 2 {
            write("0b");
        } else {
            setup = setup.realm("tokens = \"vault\"");
        }
        let mut daemon = setup.start();
        let before = setup.lines("trial").len();
        out(&setup, &daemon, ("A08", id, FIRST), before + 2);
        let lines = setup.lines("trial");
        let [old, notice, event] = &lines[before - 1..] else { panic!("{lines:?}") };
        assert_eq!(notice["type"], "patient.identifier-changed");
        assert_eq!(
            (&notice["data"]["retired"], &notice["subject"]),
            (&old["subject"], &event["subject"])
        );
        let series = format!("tidegate_key_version_info{{key=\"realm-care\",version=\"{nth}\"}}");
        assert_eq!(daemon.metric(&series), 1.0);
        assert!(daemon.stop().success());
    }
    let acts = setup.json(&["audit", "find", "--act", "realm"]);
    let kinds: Vec<&Json> = acts.iter().map(|it| &it["says"]["act"]["with"]["tokens"]).collect();
    assert_eq!(kinds, ["vault", "keyed", "keyed"]);
}

/// The notice of a new token is recorded and handed over, and never confirmed: after the crash it
/// goes again, under its ID, and the event behind it.
///
/// PROMISE-2, PROMISE-4
#[test]
fn a_notice_of_a_new_token_that_a_crash_left_open_goes_again_before_its_event() {
    let peer = Peer::start();
    let setup = Setup::new()
        .realm(VAULT)
        .rabbitmq(&peer.url(), "declare = false\nconfirm_timeout = \"10m\"")
        .contract(
            "peer",
            EVENTS,
            "pseudonymized",
            "CLINTRCH",
            TOKEN,
            "kind = \"rabbitmq\"\nexchange = \"peer.events\"",
        );
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A1", FIRST));
    let first = peer.next();
    first.ack(first.tag, false);
    let lag = "tidegate_route_lag_events{route=\"peer\"}";
    eventually("it is confirmed", || daemon.metric(lag) == 0.0);
    // So that the cursor is noted, too.
    assert!(daemon.stop().success());
    let until = soon(3_600);
    let rotate = ["rotate", "--realm", "care", "--keep-until", &until, "--reason", "r", "--all"];
    assert_eq!(done(&setup, &rotate), "1 ended", "of a stopped daemon");
    let mut daemon = setup.start();
    send(&daemon, &adt("A08", "A2", FIRST));
    let notice = peer.next();
    assert_eq!(notice.event["type"], "patient.identifier-changed");
    for _ in 0..2 {
        daemon.kill();
        daemon = setup.start();
        let again = peer.next();
        assert_eq!(again.event["type"], "patient.identifier-changed");
        for key in ["id", "subject", "data", "sequence"] {
            assert_eq!(again.event[key], notice.event[key], "{key}");
        }
    }
    daemon.kill();
    let mut daemon = setup.start();
    let again = peer.next();
    assert_eq!(again.event["id"], notice.event["id"]);
    again.ack(again.tag, false);
    let event = peer.next();
    assert_eq!(
        (&event.event["type"], &event.event["subject"]),
        (&"patient.updated".into(), &notice.event["subject"])
    );
    event.ack(event.tag, false);
    eventually("it is confirmed", || daemon.metric(lag) == 0.0);
    send(&daemon, &adt("A08", "A3", FIRST));
    let last = peer.next();
    assert_eq!(last.event["type"], "patient.updated", "it is told once");
    last.ack(last.tag, false);
    assert!(daemon.stop().success());
}
