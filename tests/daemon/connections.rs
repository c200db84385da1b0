//! Senders that are slow, silent, gone, too many or too fast: each costs itself something.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::daemon::TIDEGATE;
use crate::support::sender::{Sender, frame};
use crate::support::{adt, eventually};
use crate::{PATIENT, admission, dedupe, delivered, heard, rejected, setup};

/// Sends bytes over and over until the other side closes; how often that went.
fn trickle(address: SocketAddr, first: &[u8], then: &[u8], pause: Duration) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, first).unwrap();
    stream.set_read_timeout(Some(pause)).unwrap();
    let begun = Instant::now();
    let mut count = 0;
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was never cut: {count} pieces");
        // Closed, or reset; a timeout is the pause.
        match stream.read(&mut [0; 1]) {
            Ok(0) => return count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return count,
            Ok(_) => panic!("an answer to half a frame"),
            Err(_) => {}
        }
        if std::io::Write::write_all(&mut stream, then).is_err() {
            return count;
        }
        count += 1;
    }
}

/// Fault 40: the time runs from a frame's first byte, however steadily more come.
///
/// PROMISE-11
#[test]
fn fault_40_a_frame_that_trickles_is_cut_and_other_connections_do_not_feel_it() {
    let setup = setup().feed("frame_timeout = \"600ms\"");
    let mut daemon = setup.start();
    let feed = daemon.feed();
    let slow: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(move || trickle(feed, b"\x0bMSH", b"|", Duration::from_millis(40)))
        })
        .collect();
    let mut other = Sender::connect(feed);
    let mut number = 0;
    while slow.iter().any(|thread| !thread.is_finished()) {
        number += 1;
        let id = format!("C{number}");
        assert_eq!(heard(&other.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
    }
    for thread in slow {
        assert!(thread.join().unwrap() > 2, "it trickled");
    }
    assert_eq!(rejected(&daemon, "frame-timeout"), 3.0);
    eventually("the others are delivered", || delivered(&setup).len() == number);
    assert!(daemon.stop().success());
}

/// Fault 40: a piece that ends as a frame might end does not start the time anew.
#[test]
fn fault_40_a_frame_that_trickles_with_an_fs_behind_each_byte_is_ended_in_time_too() {
    let setup = setup().feed("frame_timeout = \"200ms\"");
    let mut daemon = setup.start();
    let mut stream = TcpStream::connect(daemon.feed()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    std::io::Write::write_all(&mut stream, b"\x0bMSH|^~\\&\x1c").unwrap();
    let begun = Instant::now();
    // Either an answer to what there is, or the end.
    loop {
        assert!(begun.elapsed() < Duration::from_secs(10), "50 times frame_timeout, and no end");
        match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => break,
        }
        if std::io::Write::write_all(&mut stream, b"x\x1c").is_err() {
            break;
        }
    }
    assert_eq!(daemon.get("/livez").0, 200);
    assert!(daemon.stop().success());
}

/// Fault 41
#[test]
fn fault_41_an_idle_connection_outlives_the_frame_timeout() {
    let setup = setup().feed("frame_timeout = \"200ms\"");
    let mut daemon = setup.start();
    let mut fresh = Sender::connect(daemon.feed());
    let mut used = Sender::connect(daemon.feed());
    assert_eq!(heard(&used.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(heard(&used.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    assert_eq!(heard(&fresh.exchange(&admission("C3")).unwrap()), ("AA", "C3"));
    assert_eq!(rejected(&daemon, "frame-timeout"), 0.0);
    assert!(daemon.stop().success());
}

/// Fault 43
///
/// PROMISE-2
#[test]
fn fault_43_a_sender_that_closes_before_its_answer_sends_again_and_is_known() {
    let setup = setup();
    let mut daemon = setup.start();
    let ids: Vec<String> = (0..20).map(|number| format!("C{number}")).collect();
    for id in &ids {
        let mut sender = Sender::connect(daemon.feed());
        sender.send(&admission(id)).unwrap();
        drop(sender);
    }
    eventually("all came in", || dedupe(&daemon, "new") == 20.0);
    for id in &ids {
        let mut sender = Sender::connect(daemon.feed());
        assert_eq!(heard(&sender.exchange(&admission(id)).unwrap()), ("AA", id.as_str()));
    }
    assert_eq!(dedupe(&daemon, "duplicate"), 20.0);
    assert_eq!(setup.json(&["journal", "ls"]).len(), 20);
    eventually("each is delivered", || delivered(&setup).len() >= 20);
    let distinct: BTreeSet<String> = delivered(&setup).into_iter().collect();
    assert_eq!((delivered(&setup).len(), distinct.len()), (20, 20));
    assert!(daemon.stop().success());
}

/// A sender that says that it is done still reads its answers.
#[test]
fn a_sender_that_half_closes_gets_every_answer() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let ids: Vec<String> = (0..100).map(|number| format!("C{number}")).collect();
    let all: Vec<u8> = ids.iter().flat_map(|id| frame(&admission(id))).collect();
    sender.send_raw(&all).unwrap();
    sender.stream.shutdown(std::net::Shutdown::Write).unwrap();
    for id in &ids {
        assert_eq!(heard(&sender.ack().unwrap()), ("AA", id.as_str()));
    }
    assert!(sender.is_closed());
    assert!(daemon.stop().success());
}

/// Fault 44: a sender that takes no answer is cut after a while; what it sent is kept.
///
/// PROMISE-1
#[test]
fn fault_44_a_sender_that_never_reads_is_cut_and_its_messages_are_kept() {
    let setup = setup();
    let mut daemon = setup.start();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    socket.connect(&daemon.feed().into()).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // What is echoed makes the answers long, so that few of them fill every buffer.
    let long = |number: usize| {
        let message = String::from_utf8(admission(&format!("C{number}"))).unwrap();
        message.replace("|EHR|", &format!("|{}|", "E".repeat(20_000))).into_bytes()
    };
    let mut sent = 0;
    while sent < 2_000 && std::io::Write::write_all(&mut stream, &frame(&long(sent))).is_ok() {
        sent += 1;
    }
    assert!(sent < 2_000, "the feed never stopped reading");
    eventually("it is cut", || rejected(&daemon, "write-timeout") == 1.0);
    let taken = dedupe(&daemon, "new") as usize;
    let kept = setup.json(&["journal", "ls", "--limit", "10000"]).len();
    assert!(taken > 0 && kept >= taken, "{kept} are kept of {taken}");
    let mut again = Sender::connect(daemon.feed());
    for number in 0..sent {
        assert_eq!(again.exchange(&long(number)).unwrap().code, "AA");
    }
    assert!(dedupe(&daemon, "duplicate") >= taken as f64, "what was kept is known");
    assert_eq!(setup.json(&["journal", "ls", "--limit", "10000"]).len(), sent);
    eventually("each is delivered once", || delivered(&setup).len() == sent);
    assert!(daemon.stop().success());
}

/// Fault 45
#[test]
fn fault_45_connections_beyond_the_bound_are_refused_and_the_admin_still_answers() {
    let setup = setup().feed("connections_max = 8");
    let mut daemon = setup.start();
    let mut senders: Vec<Sender> = (0..50).map(|_| Sender::connect(daemon.feed())).collect();
    eventually("the others are refused", || rejected(&daemon, "limit") == 42.0);
    assert_eq!(daemon.metric("tidegate_feed_connections{feed=\"adt\"}"), 8.0);
    assert_eq!(daemon.get("/livez").0, 200);
    assert_eq!(daemon.get("/readyz").0, 200);
    let mut served = 0;
    for (number, sender) in senders.iter_mut().enumerate() {
        let id = format!("C{number}");
        if let Ok(ack) = sender.exchange(&admission(&id)) {
            assert_eq!(heard(&ack), ("AA", id.as_str()));
            served += 1;
        }
    }
    assert_eq!(served, 8);
    drop(senders);
    eventually("there is room again", || {
        daemon.metric("tidegate_feed_connections{feed=\"adt\"}") == 0.0
    });
    assert_eq!(crate::code_of(&daemon, &admission("CN")), "AA");
    assert!(daemon.stop().success());
}

/// Fault 46: without a file descriptor left nothing spins or dies, and what is open goes on.
#[test]
fn fault_46_running_out_of_file_descriptors_pauses_accepting_and_stops_nothing() {
    let setup = setup();
    let mut daemon = setup.start();
    assert_eq!(crate::code_of(&daemon, &admission("C0")), "AA");
    let fds = format!("/proc/{}/fd", daemon.child.id());
    let limit = std::fs::read_dir(fds).unwrap().count() + 12;
    assert!(daemon.stop().success());

    let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
    let mut daemon = setup.start_with(Command::new("sh").args(["-c", &script, TIDEGATE]));
    let mut open = Sender::connect(daemon.feed());
    assert_eq!(heard(&open.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    // Its file is open then, which would need one, too.
    eventually("it delivers", || delivered(&setup).len() == 2);
    let crowd: Vec<Sender> = (0..100).map(|_| Sender::connect(daemon.feed())).collect();
    let complaints = || daemon.log().matches("a connection could not be accepted").count();
    eventually("there are none left", || complaints() > 0);
    let (before, ticks) = (complaints(), cpu_ticks(daemon.child.id()));
    for number in 2..20 {
        let id = format!("C{number}");
        assert_eq!(heard(&open.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
        std::thread::sleep(Duration::from_millis(100));
    }
    let (after, burnt) = (complaints() - before, cpu_ticks(daemon.child.id()) - ticks);
    assert!(after < 100, "{after} lines in two seconds or a little more");
    assert!(burnt < 150, "{burnt} ticks of 10 ms: it spins");
    eventually("delivery goes on", || delivered(&setup).len() == 20);
    drop(crowd);
    eventually("it accepts again", || {
        Sender::connect(daemon.feed()).exchange(&admission("CN")).is_ok_and(|ack| ack.code == "AA")
    });
    assert_eq!(daemon.get("/livez").0, 200);
    assert!(daemon.stop().success());
}

/// CPU time of a process, in ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // utime and stime are the 14th and 15th field; behind the name comes the third.
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// PROMISE-4
#[test]
fn pipelined_messages_are_answered_in_order_under_load() {
    const CONNECTIONS: usize = 6;
    const MESSAGES: usize = 150;
    let setup = setup().feed("pipeline_max = 4");
    let mut daemon = setup.start();
    let feed = daemon.feed();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut sender = Sender::connect(feed);
                let id = |number: usize| format!("C{connection}-{number}");
                let patient = format!("ZZ10000{connection}");
                let all =
                    (0..MESSAGES).flat_map(|number| frame(&adt("A08", &id(number), &patient)));
                sender.send_raw(&all.collect::<Vec<u8>>()).unwrap();
                for number in 0..MESSAGES {
                    assert_eq!(heard(&sender.ack().unwrap()), ("AA", id(number).as_str()));
                }
            });
        }
    });
    eventually("all is delivered", || delivered(&setup).len() == CONNECTIONS * MESSAGES);
    for connection in 0..CONNECTIONS {
        let prefix = format!("C{connection}-");
        let of_one: Vec<usize> = delivered(&setup)
            .iter()
            .filter_map(|id| id.strip_prefix(&prefix)?.parse().ok())
            .collect();
        assert_eq!(of_one, (0..MESSAGES).collect::<Vec<_>>());
    }
    assert!(daemon.stop().success());
}

/// Frames that do not fit into memory together come one after the other; none waits for what
/// another holds while that one waits for what it holds.
///
/// PROMISE-11
#[test]
fn large_frames_that_share_the_intake_budget_all_get_through() {
    let setup = setup()
        .node("intake_bytes_max = \"1MiB\"")
        .feed("frame_bytes_max = \"1MiB\"\nframe_timeout = \"10s\"");
    let mut daemon = setup.start();
    let feed = daemon.feed();
    let half_way = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let half_way = &half_way;
            scope.spawn(move || {
                let id = format!("C{number}");
                let mut message = adt("A01", &id, PATIENT);
                message.extend(b"NTE|1||");
                message.resize(700 << 10, b'x');
                let whole = frame(&message);
                let (first, second) = whole.split_at(400 << 10);
                let mut sender = Sender::connect(feed);
                sender.send_raw(first).unwrap();
                half_way.wait();
                // Until as much as can be has been read of each.
                std::thread::sleep(Duration::from_millis(700));
                let answer = sender.send_raw(second).and_then(|()| sender.ack());
                let answer = answer.unwrap_or_else(|error| panic!("{id} was cut: {error}"));
                assert_eq!(heard(&answer), ("AA", id.as_str()));
            });
        }
    });
    assert_eq!(rejected(&daemon, "frame-timeout"), 0.0);
    eventually("all is delivered", || delivered(&setup).len() == 3);
    assert!(daemon.stop().success());
}
