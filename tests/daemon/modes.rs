//! Which acknowledgements a sender hears, and where: original and enhanced mode, sequence numbers.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use tidegate::feed::mllp::mode::{Said, TABLE, When, markdown};

use crate::support::eventually;
use crate::support::sender::{Sender, frame};
use crate::{PATIENT, admission, dedupe, delivered, heard, setup};

/// Set to write what is generated instead of comparing it.
const WRITE: &str = "TIDEGATE_WRITE_GENERATED";
const PAGE: &str = "docs/feeds.md";
const BEGIN: &str = "<!-- The next table is written by tests/daemon/modes.rs. -->\n";
const END: &str = "<!-- Until here. -->\n";

/// A message that says in MSH-15 and MSH-16 what it wants.
fn asking(control_id: &str, patient: &str, processing: &str, rest: &str) -> Vec<u8> {
    let usual = String::from_utf8(crate::support::adt("A01", control_id, patient)).unwrap();
    usual.replace("|P|2.5.1", &format!("|{processing}|2.5.1{rest}")).into_bytes()
}

/// What is heard of a message on its connection, before the answer to another that comes behind it.
fn heard_of(sender: &mut Sender, message: &[u8], behind: &str) -> Vec<String> {
    sender.send(message).unwrap();
    sender.send(&admission(behind)).unwrap();
    let mut codes = Vec::new();
    loop {
        let ack = sender.ack().unwrap();
        if ack.control_id == behind {
            return codes;
        }
        codes.push(ack.code);
    }
}

/// The codes on the connection by the table, with or without those that `application_ack` sends.
fn wanted(said: Said, accept: &str, application: &str, with_later: bool) -> Vec<String> {
    let words = match (said, with_later) {
        (Said::Nothing, _) => vec![],
        (Said::Answer | Said::Alone, _) => vec![application],
        (Said::Accept, _) | (Said::Both, false) => vec![accept],
        (Said::Both, true) => vec![accept, application],
    };
    words.into_iter().map(str::to_owned).collect()
}

/// Every pair of words of table 0155, with every outcome.
#[test]
fn every_pair_of_words_hears_on_its_connection_what_the_table_says() {
    for (later, key) in [(false, "none"), (true, "same-connection")] {
        let setup = setup().processing_id("");
        let setup =
            setup.feed("on_unmappable = \"nak\"").feed(&format!("application_ack = {key:?}"));
        let mut daemon = setup.start();
        let mut sender = Sender::connect(daemon.feed());
        for (row, (accept, application, taken, refused)) in TABLE.into_iter().enumerate() {
            let rest = format!("|||{}|{}", accept.name(), application.name());
            let cases = [
                ("T", PATIENT, "P", wanted(taken, "CA", "AA", later)),
                ("W", "", "P", wanted(refused, "CE", "AE", later)),
                ("N", PATIENT, "T", wanted(refused, "CR", "AR", later)),
            ];
            for (kind, patient, processing, wanted) in cases {
                let message = asking(&format!("{kind}{row}"), patient, processing, &rest);
                let found = heard_of(&mut sender, &message, &format!("B{kind}{row}"));
                assert_eq!(found, wanted, "{key} {rest} {kind}");
            }
        }
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_feed_may_be_told_which_mode_its_sender_speaks() {
    for (mode, rest, code) in [
        ("original", "", "AA"),
        ("original", "|||AL|NE", "AA"),
        ("original", "|||NE|NE", "AA"),
        ("enhanced", "", "CA"),
        ("enhanced", "|||NE|AL", "AA"),
        ("by-message", "", "AA"),
        ("by-message", "|||al|ne", "CA"),
        ("by-message", "|||yes|no", "AA"),
    ] {
        let setup = setup().feed(&format!("ack_mode = {mode:?}"));
        let mut daemon = setup.start();
        let mut sender = Sender::connect(daemon.feed());
        let ack = sender.exchange(&asking("M1", PATIENT, "P", rest)).unwrap();
        assert_eq!(heard(&ack), (code, "M1"), "{mode} {rest}");
        // What has no header gets the words of the mode, too.
        let ack = sender.exchange(b"no header").unwrap();
        assert_eq!(ack.code, if mode == "enhanced" { "CE" } else { "AE" });
        assert_eq!(
            daemon.metric(&format!("tidegate_feed_acks_total{{feed=\"adt\",code=\"{code}\"}}")),
            1.0
        );
        assert!(daemon.stop().success());
    }
}

/// PROMISE-2: a resend gets its acknowledgements again, whatever became of those before.
#[test]
fn application_acknowledgements_go_to_another_address_and_again_after_a_kill() {
    let engine = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = engine.local_addr().unwrap();
    let setup = setup().feed(&format!("application_ack = {{ connect = \"{address}\" }}"));
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let message = asking("E1", PATIENT, "P", "|||AL|AL");
    assert_eq!(heard(&sender.exchange(&message).unwrap()), ("CA", "E1"));
    let mut connection = Sender::over(engine.accept().unwrap().0);
    assert_eq!(heard(&connection.ack().unwrap()), ("AA", "E1"));
    // Also where it is the only one.
    sender.send(&asking("E0", PATIENT, "P", "|||ER|AL")).unwrap();
    assert_eq!(heard(&connection.ack().unwrap()), ("AA", "E0"));
    // What the other side says is nothing to be answered, and breaks nothing.
    connection.stream.write_all(&frame(b"MSH|^~\\&|X|Y|||2026||ACK|1|P|2.5\rMSA|AA|1\r")).unwrap();
    daemon.kill();
    drop(connection);
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(heard(&sender.exchange(&message).unwrap()), ("CA", "E1"));
    assert_eq!(dedupe(&daemon, "duplicate"), 1.0);
    let mut connection = Sender::over(engine.accept().unwrap().0);
    assert_eq!(heard(&connection.ack().unwrap()), ("AA", "E1"));
    // The other side ends the connection, and is found again.
    drop(connection);
    eventually("an acknowledgement comes by a new connection", || {
        engine.set_nonblocking(true).unwrap();
        let id = format!("E{}", dedupe(&daemon, "new") + 2.0);
        assert_eq!(sender.exchange(&asking(&id, PATIENT, "P", "|||AL|AL")).unwrap().code, "CA");
        match engine.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                assert_eq!(Sender::over(stream).ack().unwrap().code, "AA");
                true
            }
            Err(_) => false,
        }
    });
    assert_eq!(delivered(&setup).first().map(String::as_str), Some("E1"));
    assert!(daemon.stop().success());
}

/// PROMISE-11, PROMISE-12: whoever is to hear holds up nobody.
#[test]
fn an_address_that_nobody_listens_at_holds_up_no_message_and_is_told() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = setup().feed(&format!("application_ack = {{ connect = \"{nobody}\" }}"));
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    // More than may wait.
    let count = 4_200;
    for first in (0..count).step_by(50) {
        for number in first..first + 50 {
            sender.send(&asking(&format!("U{number}"), PATIENT, "P", "|||AL|AL")).unwrap();
        }
        for number in first..first + 50 {
            assert_eq!(heard(&sender.ack().unwrap()), ("CA", format!("U{number}").as_str()));
        }
    }
    let dropped = "tidegate_feed_application_acks_total{feed=\"adt\",result=\"dropped\"}";
    assert!(daemon.metric(dropped) >= 100.0, "{}", daemon.metric(dropped));
    eventually("it is logged", || {
        daemon.log().contains("application_ack: the other side cannot be reached")
    });
    // Long before any of those that wait is given up.
    eventually("it is logged", || {
        daemon.log().contains("an application acknowledgement could not be sent")
    });
    assert!(daemon.stop().success(), "what waits does not hold up the end");
}

#[test]
fn an_acknowledgement_is_never_acknowledged_whatever_it_asks() {
    let setup = setup().feed("ack_mode = \"enhanced\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let ack = b"MSH|^~\\&|EHR|NORTH|GATE|HUB|2026||ACK^A01^ACK|K1|P|2.5.1|||AL|AL\rMSA|CA|X\r";
    assert_eq!(heard_of(&mut sender, ack, "K2"), Vec::<String>::new());
    assert!(daemon.stop().success());
}

/// Chapter 2.10.1: 0 asks, -1 begins anew, and each number is answered with the next.
#[test]
fn sequence_numbers_are_answered_with_the_one_that_is_expected() {
    let setup = setup().feed("sequence_numbers = \"require\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let link = |id: &str, number: &str| {
        format!("MSH|^~\\&|EHR|NORTH|GATE|HUB|2026||^|{id}|P|2.5.1|{number}\r").into_bytes()
    };
    let numbered = |id: &str, number: &str| asking(id, PATIENT, "P", &format!("|{number}"));
    for (message, code, expected) in [
        (link("L1", "0"), "AA", "-1"),
        (numbered("S1", "41"), "AA", "42"),
        (numbered("S2", "42"), "AA", "43"),
        // Its answer was lost.
        (numbered("S2", "42"), "AA", "43"),
        (numbered("S4", "44"), "AR", "43"),
        (link("L2", "0"), "AA", "43"),
        (numbered("S3", "43"), "AA", "44"),
        (numbered("S4", "44"), "AA", "45"),
        (numbered("S5", ""), "AA", ""),
        (link("L3", "-1"), "AA", "-1"),
        (numbered("S6", "1"), "AA", "2"),
    ] {
        let ack = sender.exchange(&message).unwrap();
        assert_eq!((ack.code.as_str(), ack.expected.as_str()), (code, expected), "{ack:?}");
        assert_eq!(ack.err.is_empty(), code == "AA");
    }
    assert_eq!(daemon.metric("tidegate_feed_sequence_gaps_total{feed=\"adt\"}"), 1.0);
    eventually("each left once", || delivered(&setup).len() == 6);
    assert_eq!(delivered(&setup), ["S1", "S2", "S3", "S4", "S5", "S6"]);
    daemon.kill();
    // What is expected is known from the first number on.
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(sender.exchange(&numbered("S7", "7")).unwrap().expected, "8");
    assert!(daemon.stop().success());
}

#[test]
fn without_a_word_about_it_a_gap_in_the_numbers_is_counted_and_costs_nothing() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for (id, number, expected) in [("S1", "1", "2"), ("S2", "9", "10"), ("S3", "x", "")] {
        let ack = sender.exchange(&asking(id, PATIENT, "P", &format!("|{number}"))).unwrap();
        assert_eq!((heard(&ack), ack.expected.as_str()), (("AA", id), expected));
    }
    assert_eq!(daemon.metric("tidegate_feed_sequence_gaps_total{feed=\"adt\"}"), 1.0);
    assert!(daemon.stop().success());
}

/// `TIDEGATE_WRITE_GENERATED=1 cargo nextest run --test daemon the_table_of_acknowledgements`.
#[test]
fn the_table_of_acknowledgements_in_the_docs_is_the_one_that_decides() {
    assert_eq!(TABLE.len(), When::ALL.len() * When::ALL.len());
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the table");
    let (_, after) = rest.split_once(END).expect("the mark behind the table");
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", markdown());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(PAGE, wanted).unwrap();
        return;
    }
    assert!(page == wanted, "{PAGE} differs; TIDEGATE_WRITE_GENERATED=1 writes it");
}

#[test]
fn a_connection_that_wants_no_answer_stays_open_without_one() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    sender.send(&asking("Q1", PATIENT, "P", "|||NE|NE")).unwrap();
    eventually("it is taken", || dedupe(&daemon, "new") == 1.0);
    sender.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(sender.ack().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(daemon.stop().success());
}
