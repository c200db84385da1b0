//! Who may ask whom a token stands for: for a purpose and a reason, on the record, and not too often.

use std::process::Command;

use serde_json::Value as Json;

use crate::send;
use crate::support::daemon::{Setup, TIDEGATE, http};
use crate::support::{TOKEN, adt, eventually};
use crate::tokens::{self, done, refused, resolve};

const PATIENT: &str = "ZZ100001";

/// A daemon that has let out one event, and the token that it bears.
fn sent(setup: &Setup) -> (crate::support::daemon::Daemon, String) {
    let daemon = setup.start();
    send(&daemon, &adt("A01", "A1", PATIENT));
    eventually("it is out", || setup.lines("trial").len() == 1);
    let token = setup.lines("trial")[0]["subject"].as_str().unwrap().to_owned();
    (daemon, token)
}

/// What the evidence holds of tokens that were resolved, the newest first.
fn acts(setup: &Setup) -> Vec<Json> {
    let found = setup.json(&["audit", "find", "--act", "token-resolve"]);
    found.into_iter().map(|mut record| record["says"]["act"].take()).collect()
}

/// PROMISE-8
#[test]
fn whoever_resolves_a_token_is_in_the_evidence_also_where_the_answer_is_no() {
    let setup = tokens::setup();
    let (mut daemon, token) = sent(&setup);
    assert_eq!(done(&setup, &resolve(&token, &[])), "EPIC ZZ100001");
    let unknown = "0f".repeat(16);
    let (code, said) = refused(&setup, &resolve(&unknown, &[]));
    assert!(code == 1 && said.contains("no such token was given in this realm"), "{said}");
    assert!(daemon.stop().success());
    // Of a stopped daemon, too.
    assert_eq!(done(&setup, &resolve(&token, &[])), "EPIC ZZ100001");
    let found = acts(&setup);
    let with = |nth: usize, key: &str| found[nth]["with"][key].as_str().unwrap().to_owned();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0]["who"], "the command on a stopped daemon");
    assert_eq!(found[2]["who"], "dev");
    for (nth, asked, outcome) in
        [(0, &token, "told"), (1, &unknown, "unknown"), (2, &token, "told")]
    {
        assert_eq!((&with(nth, "token"), with(nth, "outcome").as_str()), (asked, outcome));
        assert_eq!(with(nth, "realm"), "care");
        assert_eq!(with(nth, "purpose"), "PATSFTY");
        assert_eq!(with(nth, "reason"), "an alert");
    }
}

/// PROMISE-10: what stands where a token should may be a patient's number.
#[test]
fn what_is_asked_wrongly_is_refused_and_nothing_of_it_is_quoted() {
    let setup = tokens::setup();
    let (mut daemon, token) = sent(&setup);
    let long = "r".repeat(201);
    let ask = |realm, purpose, reason, token| {
        let (code, said) = refused(
            &setup,
            &["resolve", "--realm", realm, "--purpose", purpose, "--reason", reason, token],
        );
        assert!(!said.contains("ZZ"), "{said}");
        (code, said)
    };
    for running in [true, false] {
        if !running {
            assert!(daemon.stop().success());
        }
        for (realm, purpose, reason, token, words) in [
            ("ZZcare", "PATSFTY", "r", &*token, "no such [[realm]]"),
            ("care", "ZZSFTY", "r", &*token, "no HL7 v3 PurposeOfUse"),
            ("care", "PATSFTY", " ", &*token, "a reason is wanted"),
            ("care", "PATSFTY", "a\nb", &*token, "a reason is wanted"),
            ("care", "PATSFTY", long.as_str(), &*token, "a reason is wanted"),
            ("care", "PATSFTY", "r", PATIENT, "a token is 32 small hexadecimal digits"),
        ] {
            let (code, said) = ask(realm, purpose, reason, token);
            assert!(code != 0 && said.contains(words), "{code}: {said}");
        }
    }
    assert!(acts(&setup).is_empty());
}

#[test]
fn tokens_are_resolved_only_so_often_and_who_asks_too_often_hears_when_to_ask_again() {
    let setup = tokens::setup().admin("dev = true\nresolve_rate_max = 3\nresolve_rate_max_all = 4");
    let (mut daemon, token) = sent(&setup);
    for _ in 0..3 {
        done(&setup, &resolve(&token, &[]));
    }
    let limited = || {
        let (code, said) = refused(&setup, &resolve(&token, &[]));
        let seconds = said.split("ask again in ").nth(1).and_then(|it| it.split(' ').next());
        assert_eq!(code, 1, "{said}");
        seconds.and_then(|it| it.parse::<u64>().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    assert!((1..=60).contains(&limited()));
    let counted = |result: &str| {
        daemon
            .metric(&format!("tidegate_phi_reveals_total{{role=\"operator\",result=\"{result}\"}}"))
    };
    assert_eq!((counted("told"), counted("limited")), (3.0, 1.0));
    let request = format!(
        "{{\"realm\":\"care\",\"token\":\"{token}\",\"purpose\":\"PATSFTY\",\"reason\":\"r\"}}"
    );
    let (status, body) = post(&daemon, "resolve", "", &request);
    assert!(status == 429 && body.contains("ask again in"), "{status} {body}");
    // A restart forgets nothing; another door is open to somebody else, until all have asked.
    assert!(daemon.stop().success());
    done(&setup, &resolve(&token, &[]));
    assert!((1..=60).contains(&limited()));
    assert_eq!(acts(&setup).len(), 4, "what was not looked for is not on the record");
}

fn post(
    daemon: &crate::support::daemon::Daemon,
    what: &str,
    head: &str,
    body: &str,
) -> (u16, String) {
    let address = daemon.admin();
    http(
        address,
        &format!(
            "POST /api/token/{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{head}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

/// Fault 99
#[test]
fn fault_99_tokens_are_resolved_and_ended_by_operators_alone() {
    let users = "[[user]]\nname = \"view\"\nrole = \"viewer\"\ntoken = \"sha256:VIEW\"\n\
                 [[user]]\nname = \"operate\"\nrole = \"operator\"\ntoken = \"sha256:OPERATE\"\n";
    let hash = |token: &str| {
        use aws_lc_rs::digest::{SHA256, digest};
        let hash = digest(&SHA256, token.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let setup = tokens::setup().admin("users = \"users.toml\"");
    let users = users.replace("VIEW", &hash("one")).replace("OPERATE", &hash("two"));
    std::fs::write(setup.dir.path().join("users.toml"), users).unwrap();
    let (mut daemon, token) = sent(&setup);
    let ask = format!(
        "{{\"realm\":\"care\",\"token\":\"{token}\",\"purpose\":\"PATSFTY\",\"reason\":\"r\"}}"
    );
    let end = format!("{{\"realm\":\"care\",\"token\":\"{token}\",\"reason\":\"r\"}}");
    for (head, wanted) in [
        ("", 401),
        ("Authorization: Bearer three\r\n", 401),
        ("Authorization: Bearer one\r\n", 403),
        ("Authorization: Bearer two\r\nOrigin: http://127.0.0.1\r\n", 403),
        ("Authorization: Bearer two\r\n", 200),
    ] {
        let (status, body) = post(&daemon, "resolve", head, &ask);
        assert_eq!((status, body.contains(PATIENT)), (wanted, wanted == 200), "{head}: {body}");
        if wanted != 200 {
            assert_eq!(post(&daemon, "end", head, &end).0, wanted, "{head}");
        }
    }
    let command = |api_token: &str| {
        Command::new(TIDEGATE)
            .args(["token", "revoke", "--realm", "care", "--reason", "r", &token, "--config"])
            .arg(setup.dir.path().join("tidegate.toml"))
            .env("TIDEGATE_TOKEN", api_token)
            .output()
            .unwrap()
    };
    let (status, _) = post(&daemon, "end", "Authorization: Bearer two\r\n", "{\"colour\":1}");
    assert_eq!(status, 400);
    assert_eq!(command("one").status.code(), Some(1));
    assert_eq!(command("two").status.code(), Some(0));
    assert!(daemon.stop().success());
    let found = acts(&setup);
    assert_eq!((found.len(), found[0]["who"].as_str()), (1, Some("operate")));
}

/// A keyed token stands nowhere: the evidence knows its patient by digest, and a message that is
/// still kept says who that is. One by one such tokens cannot end.
#[test]
fn a_keyed_token_is_resolved_by_the_evidence_and_the_journal_and_does_not_end() {
    let setup = tokens::setup().realm("tokens = \"keyed\"");
    let (mut daemon, token) = sent(&setup);
    for running in [true, false] {
        if !running {
            assert!(daemon.stop().success());
        }
        assert_eq!(done(&setup, &resolve(&token, &[])), "EPIC ZZ100001");
        let (_, said) = refused(&setup, &resolve(&"0f".repeat(16), &[]));
        assert!(said.contains("no such token was given in this realm"), "{said}");
        for ended in [
            &["revoke", "--realm", "care", "--reason", "r", &token][..],
            &["rotate", "--realm", "care", "--reason", "r", "--keep-until", "2099-01-01", "--all"],
        ] {
            let (code, said) = refused(&setup, ended);
            let words = "Another [[realm]] key and a restart rotate all of them";
            assert!(code == 1 && said.contains(words), "{said}");
        }
    }
    assert!(!setup.state_dir().join("vault.db").exists(), "none is needed");
}

#[test]
fn a_realm_of_identified_routes_gives_no_token_to_resolve() {
    let setup = tokens::setup().file_route("clear", &["patient.admitted"]);
    let (mut daemon, _) = sent(&setup);
    eventually("it is out", || setup.lines("clear").len() == 1);
    assert_eq!(setup.lines("clear")[0]["subject"], "EPIC|ZZ100001");
    assert!(TOKEN.contains("token"));
    assert!(daemon.stop().success());
    assert_eq!(tokens::rows(&setup), 1);
}
