//! What is not taken, what is taken and parked, and what the sender hears of it.

use serde_json::Value as Json;

use crate::support::daemon::{Daemon, Setup};
use crate::support::eventually;
use crate::support::sender::Sender;
use crate::{PATIENT, admission, code_of, delivered, heard, rejected, setup};

/// A message with a header of one's own; its patient has no number where `patient` is empty.
fn message(
    kind: &str,
    control_id: &str,
    processing_id: &str,
    version: &str,
    patient: &str,
) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122||{kind}|{control_id}|{processing_id}|{version}\r\
         EVN|A01|20261122081500\rPID|1||{patient}||ZZQUILLON^ZZMARA||19800102|F\rPV1|1|I\r"
    )
    .into_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The exceptions of a category.
pub fn exceptions(setup: &Setup, category: &str) -> Vec<Json> {
    setup.json(&["exceptions", "ls", "--category", category])
}

/// Counted messages that came to something else than events.
fn errors(daemon: &Daemon, stage: &str, reason: &str) -> f64 {
    daemon.metric(&format!(
        "tidegate_feed_errors_total{{feed=\"adt\",stage=\"{stage}\",error_type=\"{reason}\"}}"
    ))
}

/// PROMISE-11: what cannot be read is refused with its place, kept with its bytes, and costs
/// neither the connection nor its other messages anything.
#[test]
fn what_cannot_be_read_is_ae_with_its_place_and_an_exception_that_shows_its_bytes() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let id = "^^^EPIC^MR";
    let patient = format!("{PATIENT}{id}");
    let latin = [&admission("U1")[..], b"NTE|1||M\xfcller ZZNOTE\r"].concat();
    let unknown_charset = {
        let header = "|P|2.5.1||||||KLINGON\r";
        let bytes = text(&admission("U2")).replacen("|P|2.5.1\r", header, 1).into_bytes();
        [&bytes[..], b"NTE|1||M\xfcller\r"].concat()
    };
    let cases: Vec<(Vec<u8>, &str, &str, &str)> = vec![
        (
            b"ZZQUILLON is no message".to_vec(),
            "",
            "ERR||MSH^1|100^Segment sequence error^HL70357|E",
            "MSH",
        ),
        (Vec::new(), "", "ERR||MSH^1|100^Segment sequence error^HL70357|E", "MSH"),
        (
            b"PID|1||ZZ100001\r".to_vec(),
            "",
            "ERR||MSH^1|100^Segment sequence error^HL70357|E",
            "MSH",
        ),
        (
            b"MSH|^^^^|EHR|NORTH\r".to_vec(),
            "",
            "ERR||MSH^1^2|102^Data type error^HL70357|E",
            "MSH-2",
        ),
        (
            message("", "N1", "P", "2.5.1", &patient),
            "N1",
            "ERR||MSH^1^9|101^Required field missing^HL70357|E",
            "MSH-9",
        ),
        (
            message("ADT^A01", "", "P", "2.5.1", &patient),
            "",
            "ERR||MSH^1^10|101^Required field missing^HL70357|E",
            "MSH-10",
        ),
        (
            message("ADT^A01", "a\x07b", "P", "2.5.1", &patient),
            "",
            "ERR||MSH^1^10|102^Data type error^HL70357|E",
            "MSH-10",
        ),
        (latin.clone(), "U1", "ERR||MSH^1^18|102^Data type error^HL70357|E", "MSH-18"),
        (unknown_charset, "U2", "ERR||MSH^1^18|103^Table value not found^HL70357|E", "MSH-18"),
        (
            message("ADT^A01", "", "P", "2.3", &patient),
            "",
            "ERR|MSH^1^10^101&Required field missing&HL70357",
            "MSH-10",
        ),
    ];
    for (bytes, echoed, err, _) in &cases {
        let ack = sender.exchange(bytes).unwrap();
        assert_eq!(heard(&ack), ("AE", *echoed), "{err}");
        assert_eq!(ack.err, *err);
    }
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    let found = exceptions(&setup, "malformed");
    assert_eq!(found.len(), cases.len());
    for (exception, (bytes, _, _, place)) in found.iter().zip(&cases) {
        assert_eq!(
            (&exception["place"], &exception["count"]),
            (&Json::from(*place), &Json::from(1))
        );
        let id = exception["id"].to_string();
        let shown = setup.json(&["exceptions", "show", &id]).remove(0);
        let lossy = String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(shown["message"]["raw"], lossy, "{place}");
        let told = exception["text"].as_str().unwrap().contains("`charset_aliases`");
        assert_eq!(told, lossy.contains("KLINGON"), "{exception}");
        assert_eq!(shown["message"]["status"], "refused");
        assert_eq!(shown["exception"], *exception);
    }
    assert_eq!(errors(&daemon, "parse", "malformed"), cases.len() as f64);
    eventually("they are counted as open", || {
        daemon.metric("tidegate_exceptions_open{category=\"malformed\",feed=\"adt\"}")
            == cases.len() as f64
    });
    // The same once more is the same exception.
    assert_eq!(heard(&sender.exchange(&latin).unwrap()), ("AE", "U1"));
    let again = exceptions(&setup, "malformed");
    assert_eq!(again.len(), cases.len());
    assert_eq!(again[7]["count"], 2);
    assert!(daemon.stop().success());
    assert_eq!(exceptions(&setup, "malformed"), again, "of the stopped daemon, too");
    assert_eq!(kept_bytes(&setup, again[7]["id"].as_i64().unwrap()), latin, "byte for byte");
    assert_eq!(delivered(&setup), ["C1"]);
}

/// The bytes of an exception's message as the store has them.
pub fn kept_bytes(setup: &Setup, id: i64) -> Vec<u8> {
    let state = setup.state_dir();
    let key = tidegate::store::state::key_path(&state, "master");
    let master = tidegate::secret::key_file(&key).unwrap();
    let mut lookup = tidegate::store::query::Lookup::open(&state, &master).unwrap();
    let (_, shown) = lookup.exception(id).unwrap().unwrap();
    shown.raw.expose().clone()
}

#[test]
fn a_required_field_that_is_empty_is_parked_by_default() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let without = message("ADT^A01", "C1", "P", "2.5.1", "");
    assert_eq!(heard(&sender.exchange(&without).unwrap()), ("AA", "C1"));
    assert_eq!(heard(&sender.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    let found = exceptions(&setup, "unmapped");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["place"], "PID-3");
    assert_eq!(found[0]["controlId"], "C1");
    let parked = setup.json(&["journal", "ls", "--status", "parked"]);
    assert_eq!((parked.len(), &parked[0]["controlId"]), (1, &Json::from("C1")));
    eventually("the other is delivered", || delivered(&setup) == ["C2"]);
    // It was taken: the same again is a duplicate, and no second exception.
    assert_eq!(heard(&sender.exchange(&without).unwrap()), ("AA", "C1"));
    assert_eq!(exceptions(&setup, "unmapped"), found);
    assert!(daemon.stop().success());
}

/// PROMISE-2: what was refused leaves no correlation ID.
#[test]
fn a_refused_message_may_be_sent_again_corrected_under_its_control_id() {
    let setup = setup().feed("on_unmappable = \"nak\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let without = message("ADT^A01^ADT_A01", "C1", "P", "2.5.1", "");
    for count in 1..=2 {
        let ack = sender.exchange(&without).unwrap();
        assert_eq!(heard(&ack), ("AE", "C1"));
        assert_eq!(ack.err, "ERR||PID^1^3|101^Required field missing^HL70357|E");
        assert!(ack.text.contains("PID-3"), "{}", ack.text);
        assert_eq!(exceptions(&setup, "unmapped")[0]["count"], count);
    }
    let corrected = admission("C1");
    assert_eq!(heard(&sender.exchange(&corrected).unwrap()), ("AA", "C1"));
    // And what was malformed.
    let undecodable = [&admission("C2")[..], b"NTE|1||\xff\xfe\r"].concat();
    assert_eq!(heard(&sender.exchange(&undecodable).unwrap()), ("AE", "C2"));
    assert_eq!(heard(&sender.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    eventually("both are delivered", || delivered(&setup) == ["C1", "C2"]);
    assert_eq!(exceptions(&setup, "correlation-conflict"), Vec::<Json>::new());
    assert!(daemon.stop().success());
}

#[test]
fn an_unsupported_type_is_taken_with_one_exception_for_its_type_and_trigger() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for (number, kind) in ["SIU^S12", "SIU^S12", "ADT^A99", "SIU^S12", "SIU^S13"].iter().enumerate()
    {
        let id = format!("C{number}");
        let ack = sender.exchange(&message(kind, &id, "P", "2.5.1", PATIENT)).unwrap();
        assert_eq!(heard(&ack), ("AA", id.as_str()));
    }
    let found: Vec<(Json, Json, Json)> = exceptions(&setup, "unsupported")
        .into_iter()
        .map(|mut found| (found["type"].take(), found["count"].take(), found["place"].take()))
        .collect();
    let wanted = [("SIU^S12", 3), ("ADT^A99", 1), ("SIU^S13", 1)];
    assert_eq!(found, wanted.map(|(kind, count)| (kind.into(), count.into(), "MSH-9".into())));
    assert_eq!(setup.json(&["journal", "ls", "--status", "unsupported"]).len(), 5, "all are kept");
    assert_eq!(setup.json(&["journal", "ls", "--type", "SIU"]).len(), 4);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), Vec::<String>::new());
}

#[test]
fn an_unsupported_type_is_rejected_where_the_feed_says_so() {
    let setup = setup().feed("on_unsupported = \"reject\"");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for (kind, err) in [
        ("SIU^S12", "ERR||MSH^1^9^1^1|200^Unsupported message type^HL70357|E"),
        ("ADT^A99", "ERR||MSH^1^9^1^2|201^Unsupported event code^HL70357|E"),
    ] {
        let ack = sender.exchange(&message(kind, "C1", "P", "2.5.1", PATIENT)).unwrap();
        assert_eq!(heard(&ack), ("AR", "C1"));
        assert_eq!(ack.err, err);
    }
    // Nothing is kept, so that the control ID is free.
    assert_eq!(setup.json(&["journal", "ls"]), Vec::<Json>::new());
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    eventually("it is delivered", || delivered(&setup) == ["C1"]);
    assert!(daemon.stop().success());
}

#[test]
fn a_message_of_another_environment_or_version_is_rejected_and_not_kept() {
    let setup = setup().processing_id("");
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let patient = format!("{PATIENT}^^^EPIC^MR");
    for (processing_id, version, err) in [
        ("T", "2.5.1", "ERR||MSH^1^11|202^Unsupported processing id^HL70357|E"),
        ("D^A", "2.5.1", "ERR||MSH^1^11|202^Unsupported processing id^HL70357|E"),
        ("P", "3.0", "ERR||MSH^1^12|203^Unsupported version id^HL70357|E"),
    ] {
        let sent = message("ADT^A01", "C1", processing_id, version, &patient);
        let ack = sender.exchange(&sent).unwrap();
        assert_eq!(heard(&ack), ("AR", "C1"));
        assert_eq!(ack.err, err);
    }
    assert_eq!(setup.json(&["journal", "ls"]), Vec::<Json>::new());
    // Empty counts as P.
    for (id, processing_id) in [("C2", "P"), ("C3", ""), ("C4", "P^T")] {
        let sent = message("ADT^A01", id, processing_id, "2.5.1", &patient);
        assert_eq!(heard(&sender.exchange(&sent).unwrap()), ("AA", id));
    }
    eventually("these are delivered", || delivered(&setup) == ["C2", "C3", "C4"]);
    assert_eq!(errors(&daemon, "admit", "processing-id"), 2.0);
    assert_eq!(errors(&daemon, "admit", "version"), 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn a_feed_may_want_another_processing_id_or_any() {
    let patient = format!("{PATIENT}^^^EPIC^MR");
    for (wanted, heard) in [
        ("T", [("T", "AA"), ("P", "AR"), ("", "AR")]),
        ("any", [("T", "AA"), ("P", "AA"), ("", "AA")]),
    ] {
        let setup = setup().processing_id(wanted);
        let mut daemon = setup.start();
        for (stated, code) in heard {
            let id = format!("C-{stated}");
            let sent = message("ADT^A01", &id, stated, "2.5.1", &patient);
            assert_eq!(code_of(&daemon, &sent), code, "{wanted} {stated}");
        }
        assert!(daemon.stop().success());
    }
}

#[test]
fn an_acknowledgement_is_never_acknowledged() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for kind in ["ACK", "ACK^A01", "ACK^A01^ACK"] {
        let ack = format!("MSH|^~\\&|EHR|NORTH|GATE|HUB|2026||{kind}|A1|P|2.5.1\rMSA|AA|7\r");
        sender.send(ack.as_bytes()).unwrap();
    }
    // An answer to one of them would come first.
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    assert_eq!(errors(&daemon, "admit", "acknowledgement"), 3.0);
    assert_eq!(setup.json(&["journal", "ls"]).len(), 1);
    assert!(daemon.stop().success());
}

/// PROMISE-12: not now is no answer.
#[test]
fn a_disk_above_the_watermark_closes_connections_without_an_answer_and_keeps_nothing() {
    let full = setup().section("[journal]\nwatermark = \"1%\"");
    let mut daemon = full.start();
    for _ in 0..3 {
        let mut sender = Sender::connect(daemon.feed());
        sender.send(&admission("C1")).unwrap();
        assert!(sender.is_closed(), "not an answer of any kind");
    }
    assert_eq!(rejected(&daemon, "busy"), 3.0);
    let (status, body) = daemon.get("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("watermark"), "{body}");
    assert_eq!(daemon.get("/livez").0, 200, "it lives, and can say why it is not ready");
    assert_eq!(full.json(&["journal", "ls"]), Vec::<Json>::new());
    assert!(daemon.stop().success());

    let rejecting = setup().feed("on_busy = \"reject\"").section("[journal]\nwatermark = \"1%\"");
    let mut daemon = rejecting.start();
    let mut sender = Sender::connect(daemon.feed());
    for _ in 0..2 {
        let ack = sender.exchange(&admission("C1")).unwrap();
        assert_eq!(heard(&ack), ("AR", "C1"));
        assert_eq!(ack.err, "ERR|||207^Application internal error^HL70357|E");
    }
    assert_eq!(rejecting.json(&["journal", "ls"]), Vec::<Json>::new());
    assert!(daemon.stop().success());
}

#[test]
fn several_patients_in_one_message_have_each_their_own_events() {
    let setup = setup();
    let mut daemon = setup.start();
    let message = std::fs::read("fixtures/hl7/oru-r01-patients.hl7").unwrap();
    assert_eq!(code_of(&daemon, &message), "AA");
    eventually("all events are delivered", || setup.lines("out").len() == 3);
    let of_patient = |event: &Json| {
        let ids = event["data"]["patient"]["identifiers"].as_array().unwrap();
        (event["subject"].clone(), ids[0]["value"].clone(), event["id"].clone())
    };
    let found: Vec<_> = setup.lines("out").iter().map(of_patient).collect();
    for (subject, value, _) in &found {
        assert!(subject.as_str().unwrap().ends_with(value.as_str().unwrap()), "{found:?}");
    }
    let distinct = |of: &dyn Fn(&(Json, Json, Json)) -> String| {
        found.iter().map(of).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert!(distinct(&|row| row.1.to_string()) > 1, "several patients");
    assert_eq!(distinct(&|row| row.2.to_string()), 3, "each event has an ID of its own");
    assert_eq!(setup.json(&["journal", "ls"])[0]["events"].as_array().unwrap().len(), 3);
    assert!(daemon.stop().success());
}

/// What is marked as history is kept and goes to no route that does not ask for it.
#[test]
fn a_message_that_is_marked_as_history_is_taken_and_not_delivered() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let patient = format!("{PATIENT}^^^EPIC^MR");
    for (id, processing_id) in
        [("H1", "P^A"), ("H2", "P^R"), ("H3", "P^I"), ("C1", "P^T"), ("C2", "P")]
    {
        let sent = message("ADT^A01", id, processing_id, "2.5.1", &patient);
        assert_eq!(heard(&sender.exchange(&sent).unwrap()), ("AA", id));
    }
    eventually("what is not history is delivered", || delivered(&setup) == ["C1", "C2"]);
    let kept = setup.json(&["journal", "ls", "--status", "admitted"]);
    assert!(kept.iter().all(|message| message["events"].as_array().unwrap().len() == 1));
    let of = |message: &Json| message["controlId"].as_str().unwrap().to_owned();
    assert_eq!(kept.iter().map(of).collect::<Vec<_>>(), ["C2", "C1", "H3", "H2", "H1"]);
    let shown = setup.json(&["journal", "show", "1"]).remove(0);
    assert_eq!(shown["events"][0]["data"]["message"]["history"], true);
    assert_eq!(daemon.metric("tidegate_events_total{route=\"out\",outcome=\"unselected\"}"), 3.0);
    assert!(daemon.stop().success());
}

/// Fault 104: what senders write never becomes a label.
#[test]
fn fault_104_types_and_applications_of_senders_make_no_series() {
    let setup = setup();
    let mut daemon = setup.start();
    let series = || {
        let (_, text) = daemon.get("/metrics");
        let names = text.lines().filter(|line| !line.starts_with('#'));
        let names: std::collections::BTreeSet<String> =
            names.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect();
        names
    };
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(
        sender.exchange(&message("ZZA^Z00", "C0", "P", "2.5.1", PATIENT)).unwrap().code,
        "AA"
    );
    eventually("the first ones are counted", || {
        daemon.metric("tidegate_exceptions_open{category=\"unsupported\",feed=\"adt\"}") > 0.0
    });
    let before = series();
    for number in 1..200 {
        let kind = format!("ZZ{number}^ZZQUILLON{number}");
        let sent = text(&message(&kind, &format!("C{number}"), "P", "2.5.1", PATIENT));
        let sent = sent.replace("|EHR|", &format!("|ZZAPP{number}|"));
        assert_eq!(sender.exchange(sent.as_bytes()).unwrap().code, "AA");
    }
    assert_eq!(series(), before);
    drop(sender);
    assert!(daemon.stop().success());
}
