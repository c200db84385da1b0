//! Messages in XML, in UTF-16 and in sets in which half of a character looks like a delimiter.

use serde_json::Value as Json;
use tidegate::parse::hl7::{Charset, Message};

use crate::refusals::{exceptions, kept_bytes};
use crate::support::eventually;
use crate::support::sender::Sender;
use crate::{admission, dedupe, delivered, setup};

/// What an answer says at MSA-1, MSA-2 and ERR-2, in whichever form it is.
fn said(answer: &[u8]) -> [String; 3] {
    let message = Message::parse(answer, Charset::Ascii).unwrap();
    let names: Vec<&str> = message.segments().map(|segment| segment.name()).collect();
    assert!(["MSH", "MSA", "ERR"].starts_with(&names) && names.len() >= 2, "{names:?}");
    let text = |segment, field, part| {
        message.text_at(segment, field, part).unwrap_or_default().into_owned()
    };
    let place = [text(b"ERR", 2, 1), text(b"ERR", 2, 3)].join("-");
    [text(b"MSA", 1, 1), text(b"MSA", 2, 1), place]
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("fixtures/{name}")).unwrap()
}

/// PROMISE-2, PROMISE-11
#[test]
fn a_message_in_xml_is_taken_and_answered_in_xml() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let xml = fixture("xml/adt-a01.xml");
    for wanted in ["AA", "AA"] {
        sender.send(xml.as_bytes()).unwrap();
        let answer = sender.answer().unwrap();
        assert!(answer.starts_with(b"<?xml ") && answer.is_ascii());
        assert!(
            std::str::from_utf8(&answer).unwrap().contains("<ACK xmlns=\"urn:hl7-org:v2xml\">")
        );
        assert_eq!(said(&answer), [wanted, "ZZC0001", "-"]);
    }
    // The same message, laid out in another way and as an engine has it, is a duplicate; so it is
    // with pipes.
    let engine = fixture("xml/adt-a01-engine.xml");
    sender.send(engine.as_bytes()).unwrap();
    let answer = sender.answer().unwrap();
    assert!(std::str::from_utf8(&answer).unwrap().contains("<HL7Message><MSH>"));
    assert_eq!(said(&answer)[0], "AA");
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "conflict")), (1.0, 0.0));

    let cases = [
        (xml.replace("<PID.7>", "<PID.7>ZZTEXT"), "ZZC0001", "PID-7", "PID-7"),
        (xml.replace("<PID>", "<PID><ZZQUILLON/>"), "ZZC0001", "PID-", "PID"),
        (format!("<!DOCTYPE a [<!ENTITY b 'ZZ'>]>{}", &xml[39..]), "", "-", ""),
        (xml[..xml.find("<XAD.3>").unwrap()].to_owned(), "ZZC0001", "PID-11", "PID-11"),
    ];
    for (document, control_id, spot, _) in &cases {
        sender.send(document.as_bytes()).unwrap();
        let answer = sender.answer().unwrap();
        assert!(answer.starts_with(b"<?xml "));
        assert_eq!(said(&answer), ["AE", control_id, spot], "{document}");
    }
    let found = exceptions(&setup, "malformed");
    assert_eq!(found.len(), cases.len());
    for (exception, (_, _, _, place)) in found.iter().zip(&cases) {
        assert!(exception["place"].as_str().unwrap().starts_with(place), "{exception}");
    }
    // The connection goes on, with pipes.
    assert_eq!(sender.exchange(&admission("C1")).unwrap().code, "AA");
    eventually("both are delivered", || delivered(&setup) == ["ZZC0001", "C1"]);
    daemon.assert_no_patient_data();
    assert!(daemon.stop().success());
    let kept = kept_bytes(&setup, found[0]["id"].as_i64().unwrap());
    assert_eq!(kept, cases[0].0.as_bytes(), "byte for byte");
}

#[test]
fn a_message_in_utf_16_is_taken_and_answered_in_utf_16() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let wide = |text: &[u8], order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let text = format!("\u{feff}{}", std::str::from_utf8(text).unwrap());
        text.encode_utf16().flat_map(order).collect()
    };
    for (order, id) in [(u16::to_be_bytes as fn(u16) -> [u8; 2], "W1"), (u16::to_le_bytes, "W2")] {
        let message = wide(&admission(id), order);
        sender.send(&message).unwrap();
        let answer = sender.answer().unwrap();
        assert_eq!(answer[..2], message[..2], "the same mark");
        assert_eq!(said(&answer), ["AA", id, "-"]);
    }
    // Long ones are read apart from what else the daemon does, and the same.
    let long = |id: &str| [admission(id), b"NTE|1||ZZTEXT\r".repeat(20_000)].concat();
    let document = std::fs::read_to_string("fixtures/xml/adt-a01.xml").unwrap();
    let note = "<NTE><NTE.3>ZZTEXT</NTE.3></NTE>".repeat(10_000);
    let document = document.replace("</ADT_A01>", &format!("{note}</ADT_A01>"));
    for (message, id) in [(wide(&long("L1"), u16::to_be_bytes), "L1"), (document.into(), "ZZC0001")]
    {
        assert!(message.len() > 256 << 10);
        sender.send(&message).unwrap();
        assert_eq!(said(&sender.answer().unwrap()), ["AA", id, "-"]);
    }
    let cut = wide(admission("W3").strip_suffix(b"\r").unwrap(), u16::to_le_bytes);
    sender.send(&cut).unwrap();
    assert_eq!(said(&sender.answer().unwrap())[..2], ["AE", "W3"]);
    eventually("all are delivered", || delivered(&setup) == ["W1", "W2", "L1", "ZZC0001"]);
    let found = exceptions(&setup, "malformed");
    assert_eq!(found.len(), 1);
    assert!(daemon.stop().success());
    assert_eq!(kept_bytes(&setup, found[0]["id"].as_i64().unwrap()), cut, "byte for byte");
}

/// What a feed says of character sets counts, and what does not decode is kept as it came.
#[test]
fn fault_51_a_sender_that_names_another_set_than_it_writes_is_read_as_its_feed_says() {
    let text = |id: &str, stated: &str| {
        let message = String::from_utf8(admission(id)).unwrap();
        let message = message
            .replacen("|P|2.5.1\r", &format!("|P|2.5.1||||||{stated}\r"), 1)
            .replacen("ZZQUILLON", "ZZ表ポ", 1)
            .replacen("|NORTH|", "|ポ|", 1);
        encoding_rs::SHIFT_JIS.encode(&message).0.into_owned()
    };
    let family = |setup: &crate::support::daemon::Setup| -> Vec<Json> {
        let lines = setup.lines("out");
        lines.iter().map(|line| line["data"]["message"]["sendingFacility"].clone()).collect()
    };
    let usual = setup();
    let mut daemon = usual.start();
    let mut sender = Sender::connect(daemon.feed());
    sender.send(&text("C1", "SHIFT-JIS")).unwrap();
    let answer = sender.answer().unwrap();
    assert!(answer.windows(2).any(|pair| pair == b"\x83\x7c"), "echoed as it came");
    sender.send(&text("C2", "UNICODE UTF-8")).unwrap();
    assert!(sender.answer().unwrap().windows(6).any(|found| found == b"MSA|AE"));
    eventually("the first is delivered", || family(&usual) == ["ポ"]);
    let found = exceptions(&usual, "malformed");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["place"], "MSH-18");
    assert!(daemon.stop().success());
    let kept = kept_bytes(&usual, found[0]["id"].as_i64().unwrap());
    assert_eq!(kept, text("C2", "UNICODE UTF-8"));

    let told = setup().feed("charset_aliases = { \"OURS\" = \"SHIFT-JIS\" }");
    let mut daemon = told.start();
    let mut sender = Sender::connect(daemon.feed());
    sender.send(&text("C3", "OURS")).unwrap();
    sender.answer().unwrap();
    eventually("it is read by its alias", || family(&told) == ["ポ"]);
    assert!(daemon.stop().success());

    let told = setup().feed("charset_override = \"SHIFT-JIS\"");
    let mut daemon = told.start();
    let mut sender = Sender::connect(daemon.feed());
    sender.send(&text("C4", "UNICODE UTF-8")).unwrap();
    sender.answer().unwrap();
    eventually("the feed knows better", || family(&told) == ["ポ"]);
    assert!(daemon.stop().success());
}
