//! The daemon as its service manager sees it: ready, alive, stopping, signalled.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::daemon::{TIDEGATE, signal};
use crate::support::sender::Sender;
use crate::support::{adt, eventually};
use crate::{admission, code_of, delivered, heard, setup};

/// A socket as systemd has one, and every line that came by it so far.
struct Notified {
    socket: UnixDatagram,
    lines: Vec<String>,
}

impl Notified {
    fn bind(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, lines: Vec::new() }
    }

    fn count(&mut self, wanted: &str) -> usize {
        let mut chunk = [0; 4096];
        while let Ok(read) = self.socket.recv(&mut chunk) {
            let text = String::from_utf8(chunk[..read].to_vec()).unwrap();
            self.lines.extend(text.lines().map(str::to_owned));
        }
        self.lines.iter().filter(|line| *line == wanted).count()
    }
}

#[test]
fn systemd_hears_ready_then_the_watchdog_then_stopping() {
    let setup = setup();
    let path = setup.dir.path().join("notify");
    let mut notified = Notified::bind(&path);
    let mut command = Command::new(TIDEGATE);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "4000000");
    let mut daemon = setup.start_with(&mut command);
    eventually("it is ready", || notified.count("READY=1") == 1);
    assert_eq!(notified.lines[0], "READY=1");
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    // Twice as often as the watchdog wants it, or more.
    eventually("the watchdog is fed", || notified.count("WATCHDOG=1") >= 4);
    assert_eq!(notified.count("STOPPING=1"), 0);
    signal(daemon.child.id(), "HUP");
    eventually("SIGHUP is explained", || daemon.log().contains("SIGHUP"));
    assert_eq!(code_of(&daemon, &admission("C2")), "AA");
    assert!(daemon.stop().success());
    assert_eq!((notified.count("READY=1"), notified.count("STOPPING=1")), (1, 1));
    let at = |word: &str| notified.lines.iter().position(|line| line == word).unwrap();
    assert!(at("STOPPING=1") > at("WATCHDOG=1"));
    let texts: Vec<&String> =
        notified.lines.iter().filter(|line| line.starts_with("STATUS=")).collect();
    assert!(!texts.is_empty(), "{:?}", notified.lines);
    crate::support::canary::assert_none("what systemd hears", &notified.lines.join("\n"));
}

/// Fault 85: what feeds the watchdog is that the loops turn; a process that stands still does not.
#[test]
fn fault_85_a_frozen_daemon_does_not_feed_the_watchdog() {
    let setup = setup();
    let path = setup.dir.path().join("notify");
    let mut notified = Notified::bind(&path);
    let mut command = Command::new(TIDEGATE);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    let mut daemon = setup.start_with(&mut command);
    eventually("the watchdog is fed", || notified.count("WATCHDOG=1") >= 2);
    signal(daemon.child.id(), "STOP");
    let before = notified.count("WATCHDOG=1");
    std::thread::sleep(Duration::from_secs(2));
    assert!(notified.count("WATCHDOG=1") <= before + 1);
    signal(daemon.child.id(), "CONT");
    eventually("it is fed again", || notified.count("WATCHDOG=1") >= before + 3);
    assert!(daemon.stop().success());
}

#[test]
fn without_a_watchdog_none_is_fed() {
    let setup = setup();
    let path = setup.dir.path().join("notify");
    let mut notified = Notified::bind(&path);
    let mut daemon = setup.start_with(Command::new(TIDEGATE).env("NOTIFY_SOCKET", &path));
    eventually("it is ready", || notified.count("READY=1") == 1);
    std::thread::sleep(Duration::from_millis(1200));
    assert!(daemon.stop().success());
    assert_eq!(notified.count("WATCHDOG=1"), 0);
}

/// Fault 110: told to stop under load, it answers what it took, delivers what it answered and
/// ends in order; nothing is answered that is lost.
///
/// PROMISE-1
#[test]
fn fault_110_a_stop_under_load_delivers_what_was_acknowledged_and_exits_0() {
    const CONNECTIONS: usize = 4;
    let setup = setup();
    let mut daemon = setup.start();
    let feed = daemon.feed();
    let (stopping, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ids: Vec<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (stopping, acknowledged) = (&stopping, &acknowledged);
                scope.spawn(move || {
                    let mut sender = Sender::connect(feed);
                    let patient = format!("ZZ10000{connection}");
                    let mut ids = Vec::new();
                    let id = |number: usize| format!("C{connection}-{number}");
                    // A few under way at a time, until the other side closes.
                    for number in 0..8 {
                        sender.send(&adt("A08", &id(number), &patient)).unwrap();
                    }
                    while let Ok(ack) = sender.ack() {
                        assert_eq!(ack.code, "AA");
                        ids.push(ack.control_id);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        // An error here shows at the next answer.
                        sender.send(&adt("A08", &id(ids.len() + 7), &patient)).ok();
                    }
                    assert!(stopping.load(Ordering::Relaxed), "closed before it was told to stop");
                    ids
                })
            })
            .collect();
        eventually("there is load", || acknowledged.load(Ordering::Relaxed) > 300);
        stopping.store(true, Ordering::Relaxed);
        let status = daemon.stop();
        assert!(status.success(), "{status}\n{}", daemon.log());
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let acknowledged: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(acknowledged.len(), ids.len());
    let file = delivered(&setup);
    let in_file: BTreeSet<&str> = file.iter().map(String::as_str).collect();
    assert_eq!(in_file.len(), file.len(), "each once");
    let missing: Vec<&&str> = acknowledged.difference(&in_file).collect();
    assert!(missing.is_empty(), "{} of {} are not delivered", missing.len(), ids.len());
}

/// PROMISE-1: whatever the stop left over is delivered after the next start, once.
#[test]
fn what_a_stop_leaves_over_is_delivered_after_the_next_start() {
    let setup = setup();
    let blocked = setup.state_dir().join("out/out.ndjson");
    std::fs::create_dir_all(&blocked).unwrap();
    let ids: Vec<String> = (0..50).map(|number| format!("C{number}")).collect();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for id in &ids {
        assert_eq!(heard(&sender.exchange(&admission(id)).unwrap()), ("AA", id.as_str()));
    }
    assert!(daemon.stop().success());
    std::fs::remove_dir(&blocked).unwrap();
    let mut daemon = setup.start();
    eventually("all is delivered", || delivered(&setup).len() >= ids.len());
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ids);
}

#[test]
fn idle_connections_and_half_a_frame_do_not_hold_up_a_stop() {
    for name in ["TERM", "INT"] {
        let setup = setup();
        let mut daemon = setup.start();
        let mut idle = Sender::connect(daemon.feed());
        let mut half = Sender::connect(daemon.feed());
        half.send_raw(b"\x0bMSH|^~\\&|").unwrap();
        assert_eq!(heard(&idle.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
        daemon.assert_no_patient_data();
        signal(daemon.child.id(), name);
        assert!(daemon.wait().success(), "{name}");
        assert!(idle.is_closed() && half.is_closed());
        // The port is free at once.
        std::net::TcpListener::bind(daemon.feed()).unwrap();
    }
}

/// Fault 110
#[test]
fn fault_110_signals_that_mean_nothing_here_end_nothing() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for number in 0..30 {
        for name in ["HUP", "PIPE", "XFSZ", "HUP"] {
            signal(daemon.child.id(), name);
        }
        let id = format!("C{number}");
        assert_eq!(heard(&sender.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
    }
    // Told twice, it stops once.
    signal(daemon.child.id(), "TERM");
    signal(daemon.child.id(), "TERM");
    assert!(daemon.wait().success());
}

/// Fault 107: nobody reads the log; nothing waits for that.
#[test]
fn fault_107_a_log_that_nobody_reads_holds_up_nothing() {
    let setup = setup();
    let config = setup.config();
    let mut child = Command::new(TIDEGATE)
        .args(["run", "--log", "trace", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut feed = None;
    eventually("it listens", || {
        let text = std::fs::read_to_string(setup.state_dir().join("listening.json"));
        let addresses: serde_json::Value =
            serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        feed = addresses["adt"].as_str().map(|address| address.parse().unwrap());
        feed.is_some()
    });
    // Each of them is logged; a pipe holds a few hundred lines.
    for number in 0..1500 {
        let mut sender = Sender::connect(feed.unwrap());
        if number % 10 == 0 {
            let id = format!("C{number}");
            assert_eq!(heard(&sender.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
        }
    }
    eventually("all is delivered", || delivered(&setup).len() == 150);
    signal(child.id(), "TERM");
    eventually("it ends", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}
