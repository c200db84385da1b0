//! Fault 52: nothing in a message can forge a part of its acknowledgement.

use bytes::BytesMut;
use proptest::prelude::*;
use tidegate::admit::Novelty;
use tidegate::admit::assess::{Finding, OnUnsupported};
use tidegate::feed::mllp::acknowledge::{Reply, acknowledge, framed};
use tidegate::parse::hl7::{Head, Malformed};
use tidegate::verdict::{Level, Outcome, verdict};

use crate::support::sender::{Ack, Sender};
use crate::{PATIENT, heard, setup};

/// A message with fields of MSH of one's own.
fn message(sending: &str, control_id: &str, rest: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|{sending}|NORTH|GATE|HUB|20261122||ADT^A01^ADT_A01|{control_id}|P|2.5.1{rest}\r\
         EVN|A01|20261122081500\rPID|1||{PATIENT}^^^EPIC^MR||ZZQUILLON^ZZMARA\rPV1|1|I\r"
    )
    .into_bytes()
}

/// Segments, by name and number of fields; of the usual delimiters.
fn shape(ack: &Ack) -> Vec<(String, usize)> {
    let text: String = ack.raw.iter().map(|byte| char::from(*byte)).collect();
    assert!(text.ends_with('\r'), "{text:?}");
    let controls = text.chars().filter(|letter| letter.is_ascii_control());
    assert_eq!(controls.filter(|letter| *letter != '\r').count(), 0, "{text:?}");
    let lines = text.trim_end_matches('\r').split('\r');
    lines.map(|line| (line[..3].to_owned(), line.matches('|').count())).collect()
}

/// PROMISE-11
#[test]
fn fault_52_what_is_echoed_never_becomes_a_segment_or_a_field() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let taken = [
        ("EHR", "A^B&C~D\\E"),
        ("EHR", "7\\X0D\\MSA"),
        ("EHR^1.2.3^ISO", "\\.br\\\\F\\"),
        ("EH\x07R", "plain-1"),
        ("EH\x1cR", "plain-2"),
        ("EH\0R", "plain-3"),
        ("", "  spaces  "),
        ("EHR", "Grüße-1"),
    ];
    for (sending, id) in taken {
        let ack = sender.exchange(&message(sending, id, "")).unwrap();
        assert_eq!(heard(&ack), ("AA", id), "{ack:?}");
        assert_eq!(shape(&ack), [("MSH".to_owned(), 11), ("MSA".to_owned(), 2)], "{id:?}");
    }
    let refused = [
        "a\x07b".to_owned(),
        "a\0b".to_owned(),
        "a\x1cb".to_owned(),
        "\x7f".to_owned(),
        "x".repeat(256),
        "y".repeat(100_000),
    ];
    for id in refused {
        let ack = sender.exchange(&message("EHR", &id, "")).unwrap();
        assert_eq!(heard(&ack), ("AE", ""), "{}", id.len());
        assert_eq!(
            shape(&ack),
            [("MSH".to_owned(), 11), ("MSA".to_owned(), 3), ("ERR".to_owned(), 4)]
        );
        assert!(ack.err.starts_with("ERR||MSH^1^10|"), "{}", ack.err);
    }
    let longest = "z".repeat(255);
    let ack = sender.exchange(&message("EHR", &longest, "")).unwrap();
    assert_eq!(heard(&ack), ("AA", longest.as_str()));
    // A segment end within MSH-10 is the end of MSH: what follows is a segment of the message,
    // and stays one.
    for end in ["\r", "\n", "\r\n"] {
        let ack = sender.exchange(&message("EHR", &format!("S{end}MSA|AA|forged"), "")).unwrap();
        assert_eq!(heard(&ack), ("AA", "S"), "{end:?}");
        assert_eq!(shape(&ack).len(), 2);
    }
    assert!(daemon.stop().success());
}

#[test]
fn an_answer_goes_back_the_way_the_message_came() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let text = String::from_utf8(message("EHR", "C1", "||||||UNICODE UTF-8")).unwrap();
    let ack = sender.exchange(text.as_bytes()).unwrap();
    let header = String::from_utf8(ack.raw.clone()).unwrap();
    let fields: Vec<&str> = header.split('\r').next().unwrap().split('|').collect();
    assert_eq!(fields[2..6], ["GATE", "HUB", "EHR", "NORTH"], "swapped");
    assert_eq!((fields[8], fields[10], fields[11]), ("ACK^A01^ACK", "P", "2.5.1"));
    assert_eq!(fields[17], "UNICODE UTF-8");
    assert!(!fields[9].is_empty() && fields[9] != "C1", "a control ID of its own");
    // Other delimiters, an earlier version: the same in those.
    let other = text.replace('|', "$").replace("^~\\&", "*@!%").replace('^', "*");
    let other = other.replace("2.5.1", "2.3").replace("$C1$", "$C2$").replace(PATIENT, "");
    let setup_nak = crate::setup().feed("on_unmappable = \"nak\"");
    let mut other_daemon = setup_nak.start();
    let mut sender = Sender::connect(other_daemon.feed());
    let ack = sender.exchange(other.as_bytes()).unwrap();
    assert_eq!(heard(&ack), ("AE", "C2"));
    assert!(ack.raw.starts_with(b"MSH$*@!%$GATE$HUB$EHR$NORTH$"), "{ack:?}");
    assert_eq!(ack.err, "ERR$PID*1*3*101%Required field missing%HL70357");
    assert!(other_daemon.stop().success());
    assert!(daemon.stop().success());
}

/// A byte that a sender may choose, with what could do harm more often than the rest.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        3 => any::<u8>(),
        2 => prop::sample::select(b"\r\n\x0b\x1c|^~\\&$#\0\x1b".to_vec()),
        3 => prop::sample::select(b"MSHERA0123456789 ".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    /// PROMISE-11; fault 52: whatever stands in MSH, and whatever it is divided by, the answer is
    /// one frame of MSH, MSA and at most ERR, and what it echoes of MSH-10 is MSH-10 whole.
    #[test]
    fn fault_52_the_answer_to_any_header_is_one_frame_of_two_segments(
        separators in prop::sample::subsequence(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".to_vec(), 5),
        shift in 0_usize..5,
        fields in prop::collection::vec(prop::collection::vec(byte(), 0..40), 0..25),
        version in prop::sample::select(vec!["", "2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.9"]),
        outcome in prop::sample::select(vec![
            Outcome::Taken(Finding::Mapped, Novelty::New { epoch: 1 }),
            Outcome::Refused(Finding::Malformed(Malformed::NoControlId)),
            Outcome::Refused(Finding::WrongProcessingId),
            Outcome::Refused(Finding::Unsupported { type_known: true, then: OnUnsupported::Reject }),
            Outcome::Oversize,
            Outcome::Gap,
        ]),
        level in prop::sample::select(vec![Level::Accept, Level::Application]),
        expected in prop::option::of(-1_i64..2_000_000_000),
    ) {
        let mut separators = separators;
        separators.rotate_left(shift);
        let (field, encoding) = separators.split_first().unwrap();
        let mut fields = fields;
        // Most of the time the version is one that there is.
        if let Some(said) = fields.get_mut(9).filter(|said| said.len() % 4 != 0) {
            *said = version.as_bytes().to_vec();
        }
        let mut bytes = [b"MSH", &[*field][..], encoding, &[*field]].concat();
        bytes.extend(fields.join(field));
        let head = Head::read(&bytes).unwrap();
        let (code, fault) = verdict(&outcome).answer.unwrap();
        let reply = Reply { level, code, fault: fault.as_ref(), expected };
        let mut answer = BytesMut::new();
        framed(&mut answer, |out| {
            acknowledge(out, Some(&head), &reply, "ID1", tidegate::clock::now());
        });
        let inner = answer.strip_prefix(b"\x0b").unwrap().strip_suffix(b"\x1c\r").unwrap();
        prop_assert!(!inner.iter().any(|byte| byte.is_ascii_control() && *byte != b'\r'));
        let segments: Vec<&[u8]> = inner.split(|byte| *byte == b'\r').collect();
        let (last, segments) = segments.split_last().unwrap();
        prop_assert!(last.is_empty(), "nothing behind the last end");
        let names: Vec<&[u8]> = segments.iter().map(|segment| &segment[..3]).collect();
        let wanted: &[&[u8]] = if fault.is_some() { &[b"MSH", b"MSA", b"ERR"] } else { &[b"MSH", b"MSA"] };
        prop_assert_eq!(names, wanted);
        let again = Head::read(segments[0]).unwrap();
        prop_assert_eq!(again.delimiters, head.delimiters);
        // Who divides by what stands in times and versions can write neither, nor read them.
        if !b".+-".contains(field) {
            prop_assert_eq!(again.component(9, 1), b"ACK");
            prop_assert_eq!(again.field(10), b"ID1");
        }
        let msa: Vec<&[u8]> = segments[1].split(|byte| byte == field).collect();
        prop_assert_eq!(&msa[..2], &[&b"MSA"[..], code.name(level).as_bytes()]);
        prop_assert_eq!(msa[2], head.control_id().unwrap_or_default());
        prop_assert!(msa[2].is_empty() || msa[2] == head.field(10));
        // A minus is no separator of numbers that may have one.
        if *field != b'-' {
            let count = if expected.is_some() { 5 } else if fault.is_some() { 4 } else { 3 };
            prop_assert_eq!(msa.len(), count);
            if let Some(expected) = expected {
                prop_assert_eq!(msa[4].to_vec(), expected.to_string().into_bytes());
            }
        }
    }
}
