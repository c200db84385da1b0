//! Disks that turn read-only under the daemon.

use super::support::disk::Disk;
use super::support::ledger::{assert_exactly_once, events, lines};
use super::support::sender::Sender;
use super::{drained, eventually, readiness, setup_to};

/// ext4 found an error and turned read-only: nothing is answered any more; what is there can
/// still be looked at; after a repair it goes on.
///
/// PROMISE-1
#[test]
fn fault_17_on_a_read_only_disk_nothing_is_answered_and_the_journal_can_be_read() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "");
    let mut disk = Disk::mount(&setup.state_dir(), 64);
    let mut daemon = setup.start();
    let mut senders = lines(1, 1, 0);
    senders[0].send_up_to(daemon.feed(), 20);
    disk.turn_read_only();
    for _ in 0..3 {
        // Once the process has ended there is nobody to connect to.
        let Ok(mut sender) = Sender::try_connect(daemon.feed()) else { continue };
        assert!(sender.exchange(&senders[0].message(20)).is_err(), "answered on a read-only disk");
    }
    eventually("it has ended, or is not ready", || {
        daemon.child.try_wait().unwrap().is_some() || readiness(&daemon) == Some(503)
    });
    if let Some(status) = daemon.child.try_wait().unwrap() {
        assert_eq!(status.code(), Some(1));
    }
    daemon.child.kill().ok();
    daemon.child.wait().unwrap();
    let listed = setup.json(&["journal", "ls"]);
    let ids: Vec<_> = listed.iter().map(|message| message["controlId"].as_str().unwrap()).collect();
    for number in 0..20 {
        assert!(ids.contains(&senders[0].control_id(number).as_str()), "{number} is not listed");
    }
    assert!(ids.len() <= 21);
    let shown = setup.command(&["journal", "show", "3", "--json"]);
    assert!(shown.status.success(), "{shown:?}");

    disk.restart();
    let mut daemon = setup.start();
    senders[0].send_up_to(daemon.feed(), 30);
    drained(&out, &senders);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}
