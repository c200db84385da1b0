//! What the evidence says of what was decided and, since it was asked anew, never handed over.

use tidegate::audit::{Decision, Outcome, Says};
use tidegate::store::StoreError;
use tidegate::store::audit::read::AuditReader;

use crate::support::daemon::{Setup, is_notice};
use crate::support::peer::Peer;
use crate::support::sender::Sender;
use crate::support::{EVERY_EVENT, adt, consent, eventually};

const FIRST: &str = "ZZ100001";
const OTHER: &str = "ZZ100002";

/// What was recorded of a subject's notices, in order.
fn recorded(setup: &Setup) -> Vec<(u64, Decision)> {
    let audit = AuditReader::open(&setup.state_dir().join("audit.db")).unwrap();
    let mut recorded = Vec::new();
    let kept = audit.each::<StoreError>(|record, _| {
        if let Says::Decision(decision) = record.says
            && decision.event.ends_with(".notice")
        {
            recorded.push((record.number, *decision));
        }
        Ok(())
    });
    kept.unwrap();
    recorded
}

/// PROMISE-8: a notice that waited for the window, and that a permit overtook, was never sent; the
/// record of it is taken back, and whoever is to stop after all is told.
#[test]
fn a_notice_that_nobody_was_sent_counts_for_nothing() {
    let peer = Peer::start();
    let setup = Setup::new()
        .policy("[codes]\n\"L/ZZ9\" = [\"TREAT\"]\n")
        .rabbitmq(&peer.url(), "declare = false\nconfirm_timeout = \"10m\"\nwindow = 1")
        .route("peer", EVERY_EVENT, "kind = \"rabbitmq\"\nexchange = \"peer.events\"")
        .asking("peer", "TREAT", "require = \"opt-out\"");
    let mut daemon = setup.start();
    let send = |message: &[u8]| {
        assert_eq!(Sender::connect(daemon.feed()).exchange(message).unwrap().code, "AA");
    };
    send(&adt("A08", "A1", FIRST));
    let first = peer.next();
    first.ack(first.tag, false);
    // This one fills the window, and the notice waits behind it.
    send(&adt("A08", "A2", OTHER));
    let other = peer.next();
    send(&consent("X", "20261102", "C1", FIRST));
    eventually("the notice is recorded", || recorded(&setup).len() == 1);
    send(&consent("A", "20261103", "C2", FIRST));
    other.ack(other.tag, false);
    eventually("it is taken back", || recorded(&setup).len() == 2);
    send(&consent("X", "20261104", "C3", FIRST));
    let told = peer.next();
    assert!(is_notice(&told.event), "{}", told.event);
    assert_eq!(told.event["subject"], format!("EPIC|{FIRST}"));
    told.ack(told.tag, false);
    assert!(peer.is_quiet());
    assert!(daemon.stop().success());
    let records = recorded(&setup);
    let outcomes: Vec<Outcome> = records.iter().map(|(_, decision)| decision.outcome).collect();
    assert_eq!(outcomes, [Outcome::Notice, Outcome::Suppress, Outcome::Notice], "{records:?}");
    assert_eq!(records[1].1.instead, Some(records[0].0));
    assert_eq!(records[1].1.event, records[0].1.event);
}

/// PROMISE-8: what was handed over when the daemon was killed may surface whenever it likes, so it
/// is listed, though the answer is the same and the same event goes again.
#[test]
fn what_was_on_its_way_when_the_daemon_was_killed_is_in_doubt() {
    let peer = Peer::start();
    let setup = Setup::new()
        .rabbitmq(&peer.url(), "declare = false\nconfirm_timeout = \"10m\"")
        .route("peer", EVERY_EVENT, "kind = \"rabbitmq\"\nexchange = \"peer.events\"");
    let mut daemon = setup.start();
    assert_eq!(
        Sender::connect(daemon.feed()).exchange(&adt("A08", "A1", FIRST)).unwrap().code,
        "AA"
    );
    let first = peer.next();
    daemon.kill();
    let mut daemon = setup.start();
    let again = peer.next();
    assert_eq!(again.event, first.event);
    again.ack(again.tag, false);
    eventually("it is confirmed", || {
        daemon.metric("tidegate_publish_attempts_total{route=\"peer\",result=\"ack\"}") >= 1.0
    });
    assert!(daemon.stop().success());
    let found = setup.json(&["audit", "find", "--route", "peer"]);
    let told: Vec<_> = found
        .iter()
        .map(|record| &record["says"]["decision"])
        .filter(|decision| decision["outcome"].is_string())
        .map(|decision| (decision["outcome"].clone(), decision["reason"].clone()))
        .collect();
    // The newest first; the release once.
    assert_eq!(
        told,
        [("in-doubt".into(), "restart".into()), ("release".into(), "permitted".into())]
    );
    let of = &found[0]["says"]["decision"]["of"];
    assert_eq!(*of, found[1]["number"]);
}
