//! What a consumer that takes nothing may cost.

use std::path::Path;

use super::support::daemon::resident_kib;
use super::support::ledger::Line;
use super::support::ledger::{Load, assert_exactly_once, events, lines};
use super::{drained, eventually, setup_to};

/// Five thousand messages for a route that is stuck: memory and descriptors stay within their
/// bounds, and when it comes unstuck everything is there, in order.
///
/// PROMISE-11, PROMISE-12
#[test]
fn a_stuck_route_costs_neither_memory_nor_descriptors() {
    const MESSAGES: usize = 5_000;
    let setup = setup_to(Path::new("out/file.ndjson"), "");
    let out = setup.state_dir().join("out/file.ndjson");
    std::fs::create_dir_all(&out).unwrap();
    let mut daemon = setup.start();
    let mut senders = lines(4, 32, 2 << 10);
    let feed = daemon.feed();
    let mut descriptors = Vec::new();
    for quarter in 1..=4 {
        std::thread::scope(|scope| {
            for sender in &mut senders {
                scope.spawn(move || sender.send_up_to(feed, MESSAGES / 16 * quarter));
            }
        });
        let pid = daemon.child.id();
        eventually("the connections are gone", || {
            daemon.metric("tidegate_feed_connections{feed=\"adt\"}") == 0.0
        });
        descriptors.push(std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count());
        let resident = resident_kib(pid);
        assert!(resident < 150 << 10, "{resident} KiB in quarter {quarter}");
    }
    let (least, most) = (descriptors.iter().min().unwrap(), descriptors.iter().max().unwrap());
    assert!(most - least <= 4 && *most < 64, "{descriptors:?}");
    assert_eq!(daemon.metric("tidegate_route_up{route=\"file\"}"), 0.0);
    std::fs::remove_dir(&out).unwrap();
    drained(&out, &senders);
    assert!(resident_kib(daemon.child.id()) < 150 << 10);
    assert!(daemon.stop().success());
    assert_exactly_once(&events(&out), &senders);
}

/// Hundreds of connections that come and go while the disk takes nothing leave nothing behind.
///
/// PROMISE-11
#[test]
fn connections_of_a_time_without_a_disk_leave_no_descriptor() {
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("file.ndjson");
    let setup = setup_to(&out, "").section("[journal]\nwatermark = \"1%\"");
    let mut daemon = setup.start();
    let count = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let before = count(daemon.child.id());
    for _ in 0..50 {
        let senders: Vec<Line> = Load::start(daemon.feed(), lines(8, 4, 0)).join();
        assert!(senders.iter().all(|line| line.acked == 0), "taken above the watermark");
    }
    eventually("the connections are gone", || count(daemon.child.id()) <= before + 2);
    assert!(daemon.stop().success());
}
