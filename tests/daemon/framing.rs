//! Bytes to frames: however they come, a message is taken once and in its turn, and what is no
//! message costs nobody else anything.

use crate::support::eventually;
use crate::support::sender::{Sender, frame};
use crate::{admission, delivered, frame_errors, heard, setup};

const VT: &[u8] = b"\x0b";

/// PROMISE-4
#[test]
fn many_frames_in_one_write_are_answered_and_delivered_in_order() {
    let setup = setup();
    let mut daemon = setup.start();
    let ids: Vec<String> = (0..300).map(|number| format!("C{number}")).collect();
    let mut sender = Sender::connect(daemon.feed());
    let all: Vec<u8> = ids.iter().flat_map(|id| frame(&admission(id))).collect();
    sender.send_raw(&all).unwrap();
    for id in &ids {
        assert_eq!(heard(&sender.ack().unwrap()), ("AA", id.as_str()));
    }
    eventually("all is delivered", || delivered(&setup).len() >= ids.len());
    assert_eq!(delivered(&setup), ids);
    assert!(daemon.stop().success());
}

/// Fault 50: where TCP cuts the stream means nothing.
#[test]
fn fault_50_two_messages_in_one_segment_or_byte_by_byte_give_the_same() {
    let messages = [admission("C1"), std::fs::read("fixtures/hl7/oru-r01.hl7").unwrap()];
    let stream: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
    let send = |pieces: &[&[u8]]| {
        let setup = setup();
        let mut daemon = setup.start();
        let mut sender = Sender::connect(daemon.feed());
        for piece in pieces {
            sender.send_raw(piece).unwrap();
        }
        let acks: Vec<(String, String)> = (0..messages.len())
            .map(|_| sender.ack().unwrap())
            .map(|ack| (ack.code, ack.control_id))
            .collect();
        eventually("all is delivered", || setup.lines("out").len() == 3);
        assert!(daemon.stop().success());
        let said = |mut event: serde_json::Value| (event["type"].take(), event["data"].take());
        let events: Vec<_> = setup.lines("out").into_iter().map(said).collect();
        (acks, events)
    };
    let whole = send(&[&stream]);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(whole, send(&bytes));
    assert!(whole.0.iter().all(|(code, _)| code == "AA"), "{:?}", whole.0);
    assert_eq!(whole.1.len(), 3);
}

/// Fault 49
#[test]
fn fault_49_bytes_outside_a_frame_are_skipped_and_counted() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let junk: &[u8] = b"GET / HTTP/1.1\r\nHost: ZZQUILLON\r\n\r\n\x1c\x00\xff";
    sender
        .send_raw(&[junk, &frame(&admission("C1")), b"more", &frame(&admission("C2"))].concat())
        .unwrap();
    for id in ["C1", "C2"] {
        assert_eq!(heard(&sender.ack().unwrap()), ("AA", id));
    }
    assert_eq!(frame_errors(&daemon, "no-start"), 2.0);
    // Line ends between frames are how some senders end a frame; nothing is wrong with them.
    sender.send_raw(&[b"\r\n\n\r", &frame(&admission("C3"))[..]].concat()).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C3"));
    assert_eq!(frame_errors(&daemon, "no-start"), 2.0);
    assert!(daemon.stop().success());
}

/// Fault 49
#[test]
fn fault_49_a_start_inside_a_frame_begins_it_anew_and_is_counted() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let cut = &admission("C1")[..100];
    sender.send_raw(&[VT, cut, &frame(&admission("C2"))].concat()).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C2"));
    // Three starts in a row: two frames of nothing.
    sender.send_raw(&[VT, VT, &frame(&admission("C3"))].concat()).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C3"));
    assert_eq!(frame_errors(&daemon, "restarted"), 3.0);
    eventually("both are delivered", || delivered(&setup) == ["C2", "C3"]);
    assert_eq!(setup.json(&["journal", "ls"]).len(), 2, "nothing is kept of what was cut");
    assert!(daemon.stop().success());
}

/// Fault 49
#[test]
fn fault_49_a_connection_that_ends_inside_a_frame_drops_it_and_the_next_one_works() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    sender.send_raw(&[VT, &admission("C1")].concat()).unwrap();
    drop(sender);
    eventually("the end is counted", || frame_errors(&daemon, "no-end") == 1.0);
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(heard(&sender.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    // What was never acknowledged is not kept either: its sender has it still.
    let kept = setup.json(&["journal", "ls"]);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["controlId"], "C2");
    assert!(daemon.stop().success());
}

#[test]
fn a_missing_final_carriage_return_is_tolerated() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let without_cr = |id: &str| [VT, &admission(id), b"\x1c"].concat();
    // Nothing follows: the sender waits for its answer.
    sender.send_raw(&without_cr("C1")).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C1"));
    // The next frame follows at once.
    sender
        .send_raw(&[without_cr("C2"), without_cr("C3"), frame(&admission("C4"))].concat())
        .unwrap();
    for id in ["C2", "C3", "C4"] {
        assert_eq!(heard(&sender.ack().unwrap()), ("AA", id));
    }
    // A CR that comes late is no junk.
    sender.send_raw(&without_cr("C5")).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C5"));
    sender.send_raw(b"\r").unwrap();
    assert_eq!(heard(&sender.exchange(&admission("C6")).unwrap()), ("AA", "C6"));
    // The sender is done, and says so.
    sender.send_raw(&without_cr("C7")).unwrap();
    sender.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "C7"));
    assert!(sender.is_closed());
    for reason in ["no-start", "no-end", "restarted", "oversize"] {
        assert_eq!(frame_errors(&daemon, reason), 0.0, "{reason}");
    }
    assert!(daemon.stop().success());
}

/// Fault 48: up to the bound it is a message, above it is AE, and the connection goes on.
///
/// PROMISE-11
#[test]
fn fault_48_a_frame_above_the_bound_is_refused_and_the_connection_goes_on() {
    let setup = setup().feed("frame_bytes_max = \"2KiB\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let padded = |id: &str, length: usize| {
        let mut message = admission(id);
        message.extend(b"NTE|1||");
        message.resize(length, b'x');
        message
    };
    assert_eq!(heard(&sender.exchange(&padded("C1", 2048)).unwrap()), ("AA", "C1"));
    for length in [2049, 5000, 8100] {
        let ack = sender.exchange(&padded("C2", length)).unwrap();
        assert_eq!(heard(&ack), ("AE", "C2"), "{length}");
        assert!(ack.err.contains("207"), "{}", ack.err);
    }
    // Slowly, so that it is skipped while it comes.
    for piece in frame(&padded("C3", 6000)).chunks(500) {
        sender.send_raw(piece).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(heard(&sender.ack().unwrap()), ("AE", "C3"));
    assert_eq!(heard(&sender.exchange(&admission("C4")).unwrap()), ("AA", "C4"));
    assert_eq!(frame_errors(&daemon, "oversize"), 4.0);
    eventually("the others are delivered", || delivered(&setup) == ["C1", "C4"]);
    assert!(daemon.stop().success());
}

/// What is echoed of a frame that was cut is whole, or not there.
#[test]
fn fault_48_the_answer_to_a_frame_above_the_bound_never_echoes_half_a_control_id() {
    let setup = setup().feed("frame_bytes_max = \"2KiB\"");
    let mut daemon = setup.start();
    let id = "0123456789".repeat(10);
    // Where the control ID is cut depends on where it stands, and on how the frame comes.
    for (padding, piece) in [(3990, 10_000), (4020, 10_000), (1990, 2_050), (2010, 2_100)] {
        let padding = "x".repeat(padding);
        let message = format!(
            "MSH|^~\\&|EHR|NORTH|GATE|HUB|2026|{padding}|ADT^A01|{id}|P|2.5.1\rPID|1\r{}",
            "x".repeat(1000)
        );
        let mut sender = Sender::connect(daemon.feed());
        for piece in frame(message.as_bytes()).chunks(piece) {
            sender.send_raw(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let ack = sender.ack().unwrap();
        assert_eq!(ack.code, "AE");
        assert!(ack.control_id.is_empty() || ack.control_id == id, "{}: {ack:?}", padding.len());
    }
    assert!(daemon.stop().success());
}

/// Fault 48: a frame without end costs its connection, and nobody else anything.
#[test]
fn fault_48_a_frame_without_end_closes_its_connection() {
    let setup = setup().feed("frame_bytes_max = \"2KiB\"");
    let mut daemon = setup.start();
    let mut other = Sender::connect(daemon.feed());
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    sender.send_raw(VT).unwrap();
    // Until the other side has had enough.
    let mut sent = 0;
    while sender.send_raw(&[b'x'; 1024]).is_ok() {
        sent += 1;
        assert!(sent < 100_000, "nobody cut it");
    }
    assert!(sender.is_closed());
    assert_eq!(frame_errors(&daemon, "oversize"), 1.0);
    assert_eq!(heard(&other.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    let mut next = Sender::connect(daemon.feed());
    assert_eq!(heard(&next.exchange(&admission("C3")).unwrap()), ("AA", "C3"));
    assert!(daemon.stop().success());
}

/// PROMISE-11: what came before a frame without end on the same connection is answered.
#[test]
fn fault_48_messages_before_a_frame_without_end_are_still_answered() {
    let setup = setup().feed("frame_bytes_max = \"2KiB\"");
    let mut daemon = setup.start();
    for round in 0..20 {
        let ids: Vec<String> = (0..3).map(|number| format!("C{round}-{number}")).collect();
        let good: Vec<u8> = ids.iter().flat_map(|id| frame(&admission(id))).collect();
        let mut sender = Sender::connect(daemon.feed());
        // The other side may close before all of it is written.
        sender.send_raw(&[&good[..], VT, &[b'x'; 60_000]].concat()).ok();
        for id in &ids {
            let ack = sender.ack();
            let ack = ack.unwrap_or_else(|error| panic!("{id} has no answer: {error}"));
            assert_eq!(heard(&ack), ("AA", id.as_str()));
        }
        assert!(sender.is_closed());
    }
    assert!(daemon.stop().success());
}

/// PROMISE-11; fault 49: NULs and garbage, framed or not, take neither connection nor process.
#[test]
fn fault_49_nuls_and_garbage_never_take_the_connection_or_the_process_down() {
    let setup = setup().feed("frame_bytes_max = \"64KiB\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let mut random = Random(0x5DEE_CE66_D1CE_4E5B);
    for round in 0..60 {
        let garbage: Vec<u8> = (0..random.below(3000)).map(|_| random.below(256) as u8).collect();
        let garbage = match round % 4 {
            0 => garbage,
            1 => frame(&garbage),
            2 => frame(&[b"MSH|^~\\&|", &garbage[..]].concat()),
            _ => frame(&[&admission("C0")[..], b"OBX|1|NM|", &garbage, &[0; 50]].concat()),
        };
        // An end, in case that it began a frame.
        sender.send_raw(&[&garbage[..], b"\x1c\r"].concat()).unwrap();
        let id = format!("C{round}");
        sender.send(&admission(&id)).unwrap();
        loop {
            let ack = sender.ack().unwrap();
            assert!(["AA", "AE", "AR"].contains(&ack.code.as_str()), "{ack:?}");
            if ack.control_id == id && ack.code == "AA" {
                break;
            }
        }
    }
    let mut with_nuls = admission("CN");
    with_nuls.extend(b"NTE|1||a\0b\0\r");
    assert_eq!(heard(&sender.exchange(&with_nuls).unwrap()), ("AA", "CN"));
    assert_eq!(daemon.get("/livez").0, 200);
    assert!(!daemon.log().contains("a bug:"), "nothing panicked");
    assert!(daemon.stop().success());
}

/// xorshift64*, so that a run is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}
