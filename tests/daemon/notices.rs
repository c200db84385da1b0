//! What consumers are told when a consent ends: who was sent something, and nobody else.

use serde_json::Value as Json;

use crate::explain::decided;
use crate::send;
use crate::support::daemon::{Daemon, Setup};
use crate::support::{POLICY, TOKEN, adt, consent, eventually, schema, two};

const FIRST: &str = "ZZ100001";
const SECOND: &str = "ZZ100002";

/// `trial` asks for the consent; `delete` too, and wants all deleted; `other` is for another
/// purpose; `nameless` knows no subject.
fn setup() -> Setup {
    let (opt_in, opt_out) = ("require = \"opt-in\"", "require = \"opt-out\"");
    let events = &["patient.admitted", "patient.updated"];
    Setup::new()
        .policy(POLICY)
        .pseudonymous("trial", "CLINTRCH", opt_in, events, TOKEN)
        .pseudonymous("delete", "CLINTRCH", opt_in, events, TOKEN)
        .saying("delete", "on_revoked = \"delete\"")
        .pseudonymous("other", "HRESCH", opt_out, events, TOKEN)
        .pseudonymous("nameless", "CLINTRCH", opt_in, events, "\"visit.class\" = \"keep\"")
}

fn suppressed(daemon: &Daemon, route: &str) -> f64 {
    daemon.metric(&format!("tidegate_events_total{{route=\"{route}\",outcome=\"suppressed\"}}"))
}

fn told(notice: &Json) -> (&str, &str) {
    (notice["type"].as_str().unwrap(), notice["data"]["prior"].as_str().unwrap())
}

#[test]
fn who_was_sent_something_is_told_to_stop_once_and_nobody_else_is() {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, &consent("A", "20261101", "C1", FIRST));
    send(&daemon, &adt("A01", "A1", FIRST));
    // The second patient permits too, and nothing of hers is sent.
    send(&daemon, &consent("A", "20261101", "C2", SECOND));
    let out = |count: usize| {
        ["trial", "delete", "nameless"].iter().all(|route| setup.events(route).len() == count)
    };
    eventually("it is out", || out(1));
    send(&daemon, &consent("X", "20261102", "C3", SECOND));
    send(&daemon, &consent("X", "20261102", "C4", FIRST));
    eventually("it is told", || {
        !setup.notices("trial").is_empty() && !setup.notices("delete").is_empty()
    });
    // Refused on top of that, and again after kill -9: it is known already.
    send(&daemon, &consent("R", "20261103", "C5", FIRST));
    daemon.kill();
    let mut daemon = setup.start();
    send(&daemon, &consent("R", "20261104", "C6", FIRST));
    send(&daemon, &adt("A08", "A2", FIRST));
    // Decided by now, or the next yes would let it out.
    eventually("it is suppressed", || {
        ["trial", "delete", "nameless"].iter().all(|route| suppressed(&daemon, route) >= 1.0)
    });
    let notices = setup.notices("trial");
    assert_eq!(notices.iter().map(told).collect::<Vec<_>>(), [("consent.revoked", "stop-using")]);
    assert_eq!(
        setup.notices("delete").iter().map(told).collect::<Vec<_>>(),
        [("consent.revoked", "delete")]
    );
    // By the token that the consumer knows, and with nothing of the event.
    let event = &setup.events("trial")[0];
    assert_eq!(notices[0]["subject"], event["subject"]);
    assert_eq!(notices[0]["data"].as_object().unwrap().len(), 1);
    assert!(notices[0].get("consentref").is_none());
    let validator = schema::of("notice");
    assert!(validator.is_valid(&notices[0]), "{}", notices[0]);
    // Another yes, another event, another no: told anew.
    send(&daemon, &consent("A", "20261105", "C7", FIRST));
    send(&daemon, &adt("A08", "A3", FIRST));
    eventually("it is out", || out(2));
    send(&daemon, &consent("R", "20261106", "C8", FIRST));
    eventually("it is told", || setup.notices("trial").len() == 2);
    assert_eq!(told(&setup.notices("trial")[1]), ("consent.denied", "stop-using"));
    assert!(daemon.stop().success());
    assert_eq!(setup.notices("other").len() + setup.notices("nameless").len(), 0);
    assert_eq!(setup.events("nameless").len(), 2);
    daemon.assert_no_patient_data();
}

/// PROMISE-6
#[test]
fn who_knows_two_that_are_one_hears_both_tokens_and_is_told_of_both_to_stop() {
    let setup = setup();
    let mut daemon = setup.start();
    for (nth, patient) in [FIRST, SECOND].into_iter().enumerate() {
        send(&daemon, &consent("A", "20261101", &format!("C{nth}"), patient));
        send(&daemon, &adt("A01", &format!("A{nth}"), patient));
    }
    eventually("both are out", || setup.events("trial").len() == 2);
    let token = |at: usize| setup.events("trial")[at]["subject"].clone();
    send(&daemon, &two("A40", "M1", FIRST, SECOND));
    eventually("it is linked", || setup.notices("trial").len() == 1);
    let link = &setup.notices("trial")[0];
    assert_eq!(told(link), ("patient.merged", "keep"));
    assert_eq!((&link["subject"], &link["data"]["retired"]), (&token(0), &token(1)));
    assert!(schema::of("notice").is_valid(link), "{link}");
    // What still comes under the retired identifier goes by the survivor's token, and so it is said
    // before.
    let would = decided(&setup, &adt("A08", "A3", SECOND));
    let would = would.iter().find(|told| told["route"] == "trial").unwrap();
    assert_eq!(would["payload"]["subject"], token(0), "{would}");
    send(&daemon, &adt("A08", "A3", SECOND));
    eventually("it is out", || setup.events("trial").len() == 3);
    assert_eq!(token(2), token(0));
    send(&daemon, &consent("X", "20261121", "C4", FIRST));
    eventually("both are told", || setup.notices("trial").len() == 3);
    assert!(daemon.stop().success());
    let mut stopped: Vec<String> = setup.notices("trial")[1..]
        .iter()
        .map(|notice| {
            assert_eq!(told(notice), ("consent.revoked", "stop-using"));
            notice["subject"].to_string()
        })
        .collect();
    stopped.sort();
    let mut both = [token(0).to_string(), token(1).to_string()];
    both.sort();
    assert_eq!(stopped, both);
    // It was sent something of both, and its purpose is another.
    let linked = setup.notices("other");
    assert_eq!(linked.iter().map(told).collect::<Vec<_>>(), [("patient.merged", "keep")]);
    daemon.assert_no_patient_data();
}

/// A notice that two are one has told nobody to stop: who got nothing since is told when it ends.
///
/// PROMISE-6
#[test]
fn who_was_told_that_two_are_one_and_got_nothing_since_is_told_to_stop() {
    let setup = setup();
    let mut daemon = setup.start();
    for (nth, patient) in [FIRST, SECOND].into_iter().enumerate() {
        send(&daemon, &consent("A", "20261101", &format!("C{nth}"), patient));
        send(&daemon, &adt("A01", &format!("A{nth}"), patient));
    }
    eventually("both are out", || setup.events("trial").len() == 2);
    send(&daemon, &two("A40", "M1", FIRST, SECOND));
    eventually("it is linked", || setup.notices("trial").len() == 1);
    send(&daemon, &consent("X", "20261121", "C4", FIRST));
    eventually("both are told", || setup.notices("trial").len() == 3);
    let notices = setup.notices("trial");
    assert!(notices[1..].iter().all(|notice| told(notice) == ("consent.revoked", "stop-using")));
    assert_ne!(notices[1]["subject"], notices[2]["subject"]);
    assert!(daemon.stop().success());
}
