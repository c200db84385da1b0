//! A route that may not hand over as fast as it could.

use crate::support::daemon::Setup;
use crate::support::sender::Sender;
use crate::support::{EVERY_EVENT, POLICY, adt, consent, eventually};
use crate::{PATIENT, code_of, delivered, send};

/// More comes in than may leave in a second; another route does not feel it, and a stop and a start in
/// between neither lose nor double anything.
///
/// PROMISE-4
#[test]
fn above_its_rate_a_route_waits_and_everything_leaves_in_order() {
    let setup = Setup::new()
        .file_route("out", EVERY_EVENT)
        .saying("out", "rate_max = 20")
        .file_route("free", EVERY_EVENT);
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let wanted: Vec<String> = (0..50).map(|number| format!("C{number}")).collect();
    for (number, id) in wanted.iter().enumerate() {
        let patient = format!("ZZ{}", number % 3);
        assert_eq!(sender.exchange(&adt("A08", id, &patient)).unwrap().code, "AA");
    }
    eventually("the other route has everything", || setup.lines("free").len() == 50);
    assert!(daemon.stop().success());
    let mut daemon = setup.start();
    eventually("all has left", || setup.lines("out").len() >= 50);
    for patient in 0..3 {
        let of = |ids: &[String]| -> Vec<String> {
            let is_of = |id: &&String| id[1..].parse::<usize>().unwrap() % 3 == patient;
            ids.iter().filter(is_of).cloned().collect()
        };
        assert_eq!(of(&delivered(&setup)), of(&wanted));
    }
    assert_eq!(delivered(&setup).len(), 50);
    assert!(daemon.stop().success());
}

/// What the rate keeps back is asked about when it may go, and not before.
///
/// PROMISE-6
#[test]
fn a_revocation_holds_for_what_the_rate_keeps_back() {
    let setup = Setup::new()
        .policy(POLICY)
        .pseudonymous(
            "trial",
            "CLINTRCH",
            "require = \"opt-in\"",
            &["patient.updated"],
            crate::support::TOKEN,
        )
        .saying("trial", "rate_max = 1");
    let mut daemon = setup.start();
    send(&daemon, &consent("A", "20260101", "K1", PATIENT));
    for number in 0..4 {
        send(&daemon, &adt("A08", &format!("C{number}"), PATIENT));
    }
    eventually("one has left", || !setup.events("trial").is_empty());
    assert_eq!(code_of(&daemon, &consent("X", "20260102", "K2", PATIENT)), "AA");
    let left = setup.events("trial").len();
    let suppressed = "tidegate_events_total{route=\"trial\",outcome=\"suppressed\"}";
    eventually("the others are decided", || daemon.metric(suppressed) as usize + left == 4);
    assert_eq!(setup.events("trial").len(), left);
    assert!(daemon.stop().success());
}
