//! Batches in one frame: FHS, BHS, BTS, FTS around messages, or messages one behind the other.

use crate::support::adt;
use crate::support::sender::{Sender, parse};
use crate::{PATIENT, admission, dedupe, delivered, heard, send, setup};

const HEAD: &str = "BHS|^~\\&|EHR|NORTH|GATE|HUB|20261122||daily||ZZB1\r";

/// Messages as one text.
fn texts(ids: &[&str]) -> String {
    ids.iter().map(|id| String::from_utf8(admission(id)).unwrap()).collect()
}

/// The segments of an answer.
fn lines(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    text.trim_end_matches('\r').split('\r').map(str::to_owned).collect()
}

/// What each acknowledgement within an answer says.
fn said(answer: &[u8]) -> Vec<String> {
    lines(answer).into_iter().filter(|line| line.starts_with("MSA|")).collect()
}

fn exchange(sender: &mut Sender, text: &str) -> Vec<u8> {
    sender.send(text.as_bytes()).unwrap();
    sender.answer().unwrap()
}

fn miscounts(daemon: &crate::Daemon) -> f64 {
    daemon
        .metric("tidegate_feed_errors_total{feed=\"adt\",stage=\"parse\",error_type=\"miscount\"}")
}

#[test]
fn a_batch_is_answered_by_one_that_names_it_and_holds_an_acknowledgement_of_each_message() {
    let setup = setup().feed("pipeline_max = 3");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let ids = ["C1", "C2", "C3", "C4", "C5", "C6", "C7"];
    // What came before it is answered before it, what comes behind it behind it.
    sender.send(&admission("A1")).unwrap();
    sender.send(format!("{HEAD}{}BTS|7\r", texts(&ids)).as_bytes()).unwrap();
    sender.send(&admission("Z1")).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "A1"));
    let answer = sender.answer().unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AA", "Z1"));
    let lines = lines(&answer);
    assert!(lines[0].starts_with("BHS|^~\\&|GATE|HUB|EHR|NORTH|"), "{}", lines[0]);
    assert!(lines[0].ends_with("|ZZB1"), "{}", lines[0]);
    assert_eq!(lines.last().map(String::as_str), Some("BTS|7"));
    assert_eq!(lines.len(), 2 + 2 * 7, "each is MSH and MSA");
    assert_eq!(said(&answer), ids.map(|id| format!("MSA|AA|{id}")));
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["A1", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "Z1"]);
}

/// PROMISE-11: one bad message of a batch costs itself.
#[test]
fn a_wrong_message_of_a_batch_is_told_and_the_others_are_taken() {
    let setup = setup().feed("on_unmappable = \"nak\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let wrong = String::from_utf8(adt("A01", "C2", "")).unwrap();
    let file = format!(
        "FHS|^~\\&|EHR|NORTH|GATE|HUB|20261122||||ZZF1\r{HEAD}{}{wrong}MSH|^~\\&|\rBTS|3\r\
         {HEAD}{}BTS|1\rFTS|2\r",
        texts(&["C1"]),
        texts(&["C3"]),
    );
    let answer = exchange(&mut sender, &file);
    let found = lines(&answer);
    assert!(found[0].starts_with("FHS|") && found[0].ends_with("|ZZF1"), "{}", found[0]);
    let trailers: Vec<&String> =
        found.iter().filter(|line| line.starts_with("BTS") || line.starts_with("FTS")).collect();
    assert_eq!(trailers, ["BTS|3", "BTS|1", "FTS|2"]);
    assert_eq!(
        said(&answer),
        [
            "MSA|AA|C1",
            "MSA|AE|C2|Required field missing: PID-3",
            "MSA|AE||Required field missing: MSH-9",
            "MSA|AA|C3"
        ]
    );
    assert_eq!(miscounts(&daemon), 0.0);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["C1", "C3"]);
}

#[test]
fn counts_that_do_not_agree_are_told_in_the_answer_and_to_people_and_nothing_is_lost() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let file = format!("{HEAD}{}BTS|3\r", texts(&["C1", "C2"]));
    let answer = exchange(&mut sender, &file);
    assert_eq!(said(&answer), ["MSA|AA|C1", "MSA|AA|C2"]);
    assert_eq!(lines(&answer).last().unwrap(), "BTS|2|BTS-1 says 3 messages, 2 came");
    // Cut off: the same batch again is one exception, not two.
    let answer = exchange(&mut sender, &format!("{HEAD}{}", texts(&["C1"])));
    assert!(lines(&answer).last().unwrap().starts_with("BTS|1|BTS is missing"));
    exchange(&mut sender, &file);
    assert_eq!(miscounts(&daemon), 3.0);
    assert_eq!((dedupe(&daemon, "new"), dedupe(&daemon, "duplicate")), (2.0, 3.0));
    let exceptions = setup.json(&["exceptions", "ls"]);
    let found: Vec<(&str, u64)> = exceptions
        .iter()
        .map(|one| (one["category"].as_str().unwrap(), one["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(found.len(), 2, "{exceptions:?}");
    assert!(found.iter().all(|(category, _)| *category == "malformed"));
    assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), 3);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["C1", "C2"]);
}

/// Chapter 2.10.3: all of them, only the errors, or none, as the messages ask.
#[test]
fn a_batch_holds_the_acknowledgements_that_its_messages_ask_for() {
    let setup = setup().feed("on_unmappable = \"nak\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let batch = |word: &str, run: &str| {
        let one = |id: String, patient: &str| {
            let text = String::from_utf8(adt("A01", &id, patient)).unwrap();
            text.replace("|P|2.5.1", &format!("|P|2.5.1|||{word}|NE"))
        };
        let (good, bad) = (one(format!("G{run}"), PATIENT), one(format!("W{run}"), ""));
        (format!("{HEAD}{good}BTS|1\r"), format!("{HEAD}{good}{bad}BTS|2\r"))
    };
    let (good, mixed) = batch("ER", "1");
    let answer = exchange(&mut sender, &good);
    assert_eq!(said(&answer), Vec::<String>::new());
    assert_eq!(lines(&answer).last().unwrap(), "BTS|0", "all are acknowledged by an empty one");
    let found = said(&exchange(&mut sender, &mixed));
    assert_eq!(found, ["MSA|CE|W1|Required field missing: PID-3"]);
    // Who wants nothing hears nothing, but that the counts do not agree.
    let (good, _) = batch("NE", "2");
    sender.send(good.as_bytes()).unwrap();
    assert_eq!(heard(&sender.exchange(&admission("B2")).unwrap()), ("AA", "B2"));
    let answer = exchange(&mut sender, &good.replace("BTS|1", "BTS|5"));
    assert_eq!(lines(&answer).last().unwrap(), "BTS|0|BTS-1 says 5 messages, 1 came");
    // An empty batch is a batch.
    let answer = exchange(&mut sender, &format!("{HEAD}BTS|0\r"));
    assert_eq!(lines(&answer).len(), 2);
    assert!(daemon.stop().success());
}

#[test]
fn messages_one_behind_the_other_are_answered_each_in_a_frame_of_its_own() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for (end, ids) in [("\r", ["C1", "C2", "C3"]), ("\n", ["D1", "D2", "D3"])] {
        sender.send(texts(&ids).replace('\r', end).as_bytes()).unwrap();
        for id in ids {
            assert_eq!(heard(&sender.ack().unwrap()), ("AA", id));
        }
    }
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["C1", "C2", "C3", "D1", "D2", "D3"]);
}

/// Some senders leave the headers away.
#[test]
fn a_count_without_a_header_is_compared_and_kept_and_each_message_is_answered() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for (text, ids) in [("BTS|1\r", &["C1"][..]), ("BTS|3\r", &["D1"]), ("BTS|3\r", &["E1", "E2"])]
    {
        sender.send(format!("{}{text}", texts(ids)).as_bytes()).unwrap();
        for id in ids {
            assert_eq!(heard(&sender.ack().unwrap()), ("AA", *id));
        }
    }
    crate::support::eventually("two are told", || miscounts(&daemon) == 2.0);
    let exceptions = setup.json(&["exceptions", "ls"]);
    assert_eq!(exceptions.len(), 2, "{exceptions:?}");
    let mut texts = Vec::new();
    for exception in exceptions {
        texts.push(exception["text"].as_str().unwrap().to_owned());
        let shown = setup.json(&["exceptions", "show", &exception["id"].to_string()]).remove(0);
        assert_eq!(shown["message"]["raw"], "BTS|3\r");
    }
    texts.sort();
    assert_eq!(texts, ["BTS-1 says 3 messages, 1 came", "BTS-1 says 3 messages, 2 came"]);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["C1", "D1", "E1", "E2"]);
}

/// PROMISE-11
#[test]
fn a_frame_of_more_messages_than_the_bound_is_refused_whole() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let many = texts(&["C1"]) + &"MSH|^~\\&|A|B|||2026||ADT^A01|X|P|2.5\r".repeat(10_000);
    sender.send(many.as_bytes()).unwrap();
    assert_eq!(heard(&sender.ack().unwrap()), ("AE", "C1"));
    send(&daemon, &admission("C2"));
    assert_eq!(dedupe(&daemon, "new"), 1.0);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["C2"]);
}

/// PROMISE-1, PROMISE-2: a batch that was not answered is sent again, and counts once.
#[test]
fn fault_2_a_batch_sent_again_after_a_kill_leaves_each_message_once() {
    let setup = setup();
    let ids: Vec<String> = (0..200).map(|number| format!("K{number}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let batch = format!("{HEAD}{}BTS|200\r", texts(&names));
    let mut answered = false;
    let mut runs = 0;
    while !answered {
        let mut daemon = setup.start();
        let mut sender = Sender::connect(daemon.feed());
        sender.send(batch.as_bytes()).unwrap();
        runs += 1;
        if runs <= 4 {
            // In the middle of it, and not before its first commit in the second half of the runs.
            let least = f64::from(if runs > 2 { 10 * runs } else { 0 });
            crate::support::eventually("some are taken", || {
                dedupe(&daemon, "new") + dedupe(&daemon, "duplicate") >= least
            });
            daemon.kill();
            continue;
        }
        let answer = sender.answer().unwrap();
        assert_eq!(said(&answer), ids.iter().map(|id| format!("MSA|AA|{id}")).collect::<Vec<_>>());
        answered = true;
        assert!(daemon.stop().success());
    }
    assert_eq!(delivered(&setup), ids);
}

/// An answer to a batch is no place to forge acknowledgements in, either.
///
/// PROMISE-11
#[test]
fn fault_52_what_a_batch_header_echoes_stays_within_its_field() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let head = "BHS|^~\\&|E\x07HR|N^O&R|GATE|HUB|20261122||daily||ZZ\x1bB1\r";
    let answer = exchange(&mut sender, &format!("{head}{}BTS|1\r", texts(&["C1"])));
    let found = lines(&answer);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("BHS|^~\\&|GATE|HUB||N^O&R|") && found[0].ends_with('|'));
    assert_eq!(heard(&parse(format!("{}\r{}\r", found[1], found[2]).as_bytes())), ("AA", "C1"));
    assert!(daemon.stop().success());
}
