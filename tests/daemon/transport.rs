//! Who may connect to a feed, and how fast messages come in.

use std::net::{SocketAddr, TcpStream};

use crate::support::eventually;
use crate::support::sender::{Sender, frame};
use crate::{admission, dedupe, delivered, heard, rejected, setup};

/// A connection from one address of the loopback network.
fn connect_from(from: &str, to: SocketAddr) -> Sender {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Sender::over(TcpStream::from(socket))
}

#[test]
fn who_is_not_in_an_allowed_network_is_closed_before_anything_is_read() {
    let setup = setup().feed("allow = [\"127.0.0.8/30\", \"fd00:1::/32\"]");
    let mut daemon = setup.start();
    for (number, from) in ["127.0.0.1", "127.0.0.7", "127.0.0.12"].into_iter().enumerate() {
        let mut other = connect_from(from, daemon.feed());
        // The bytes may still go out before the end is seen.
        other.send(&admission(&format!("X{number}"))).ok();
        assert!(other.is_closed(), "{from}");
    }
    eventually("they are counted", || rejected(&daemon, "address") == 3.0);
    let mut sender = connect_from("127.0.0.9", daemon.feed());
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    assert_eq!(setup.json(&["journal", "ls"]).len(), 1);
    eventually("it is logged", || daemon.log().contains("its address is in no network of `allow`"));
    assert!(daemon.stop().success());
}

#[test]
fn one_who_knocks_all_the_time_does_not_fill_the_log() {
    let setup = setup().feed("allow = [\"127.0.0.9\"]");
    let mut daemon = setup.start();
    let begun = std::time::Instant::now();
    for _ in 0..500 {
        connect_from("127.0.0.1", daemon.feed());
    }
    eventually("they are counted", || rejected(&daemon, "address") == 500.0);
    let lines = daemon.log().matches("in no network").count() as u64;
    assert!((1..=begun.elapsed().as_secs() + 2).contains(&lines), "{lines} lines");
    assert!(daemon.stop().success());
}

/// An IPv6 socket says of an IPv4 sender that it is `::ffff:127.0.0.1`.
#[test]
fn an_ipv4_sender_on_an_ipv6_socket_is_an_ipv4_sender() {
    let setup = setup().listening("[::ffff:127.0.0.1]:0").feed("allow = [\"127.0.0.0/8\"]");
    let mut daemon = setup.start();
    assert!(daemon.feed().is_ipv6());
    let mut sender = Sender::connect(SocketAddr::from(([127, 0, 0, 1], daemon.feed().port())));
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    assert!(daemon.stop().success());
}

/// PROMISE-4
#[test]
fn above_its_rate_a_feed_lets_senders_wait_and_refuses_nothing() {
    let setup = setup().feed("rate_max = 40\npipeline_max = 8\nframe_timeout = \"200ms\"");
    let mut daemon = setup.start();
    let feed = daemon.feed();
    std::thread::scope(|scope| {
        for connection in 0..3 {
            scope.spawn(move || {
                let mut sender = Sender::connect(feed);
                let ids: Vec<String> =
                    (0..30).map(|number| format!("C{connection}-{number}")).collect();
                let all: Vec<u8> = ids.iter().flat_map(|id| frame(&admission(id))).collect();
                sender.send_raw(&all).unwrap();
                for id in &ids {
                    assert_eq!(heard(&sender.ack().unwrap()), ("AA", id.as_str()));
                }
            });
        }
    });
    assert_eq!(dedupe(&daemon, "new"), 90.0);
    assert_eq!(rejected(&daemon, "frame-timeout"), 0.0);
    eventually("all is delivered", || delivered(&setup).len() == 90);
    // No second saw more than the rate and its burst.
    let times: Vec<f64> =
        setup.json(&["journal", "ls", "--limit", "1000"]).iter().map(received_seconds).collect();
    for first in &times {
        let within = times.iter().filter(|at| (*first..*first + 1.0).contains(*at)).count();
        // 40, a burst of 4, and of each connection one that had its turn before and was late.
        assert!(within <= 47, "{within} within a second");
    }
    assert!(daemon.stop().success());
}

/// When a message of `journal ls` came in.
fn received_seconds(row: &serde_json::Value) -> f64 {
    let text = row["receivedAt"].as_str().unwrap_or_else(|| panic!("{row}"));
    let time: jiff::Timestamp = text.parse().unwrap();
    time.as_millisecond() as f64 / 1000.0
}

/// The answer to a message goes out while the next one waits for its turn.
#[test]
fn an_answer_does_not_wait_for_the_next_messages_turn() {
    let setup = setup().feed("rate_max = 1");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let all: Vec<u8> = (0..5).flat_map(|number| frame(&admission(&format!("C{number}")))).collect();
    sender.send_raw(&all).unwrap();
    // On a machine that hangs for a second the next may be in by then, but not each time.
    let at_once = (0..4).filter(|number| {
        assert_eq!(sender.ack().unwrap().control_id, format!("C{number}"));
        dedupe(&daemon, "new") == f64::from(*number) + 1.0
    });
    assert!(at_once.count() > 0, "each answer came behind the next message");
    assert!(daemon.stop().success());
}

#[test]
fn a_stop_does_not_wait_for_messages_that_wait_for_the_rate() {
    let setup = setup().feed("rate_max = 1");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let ids: Vec<String> = (0..200).map(|number| format!("C{number}")).collect();
    let all: Vec<u8> = ids.iter().flat_map(|id| frame(&admission(id))).collect();
    sender.send_raw(&all).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C0"));
    assert!(daemon.stop().success());
    assert!(!daemon.log().contains("some connections did not finish"));
    let answered = 1 + std::iter::from_fn(|| sender.ack().ok()).count();
    let kept = setup.json(&["journal", "ls", "--limit", "1000"]).len();
    // All that is kept was answered, and nothing else.
    assert_eq!(kept, answered);
    assert!(kept < 200);
}

#[test]
fn what_is_wrong_with_networks_and_rates_is_said_at_its_place() {
    let setup = setup().feed("allow = [\"10.20.3.0/16\", \"lab.example\"]\nrate_max = 100001");
    let (code, said) = setup.check();
    let text = said.join("\n");
    assert_eq!(code, 2, "{text}");
    let lines: Vec<&str> =
        said.iter().map(|line| line.split_once("tidegate.toml:").unwrap().1).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("the network is \"10.20.0.0/16\""), "{text}");
    assert!(lines[1].contains("is no address and no network"), "{text}");
    assert!(lines[2].contains("rate_max"), "{text}");
    let columns: Vec<&str> = lines.iter().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(columns, ["10", "26", "12"], "{text}");
}
