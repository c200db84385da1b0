//! A folder of files: what is taken, what lies where then, and what a crash in the middle leaves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{Setup, TIDEGATE, resident_kib};
use crate::support::{adt, canary, eventually};
use crate::{Daemon, PATIENT, admission, delivered, setup};

/// A setup with a second feed, `drop`, of the folder `in`.
fn dropping(lines: &str) -> Setup {
    settling("0s", lines)
}

/// The same, where files have to settle.
fn settling(settle: &str, lines: &str) -> Setup {
    let setup = setup();
    std::fs::create_dir(setup.dir.path().join("in")).unwrap();
    setup.section(&format!(
        "[[feed]]\nname = \"drop\"\nkind = \"file\"\ndir = \"in\"\nprocessing_id = \"any\"\n\
         settle = {settle:?}\ninterval = \"100ms\"\n{lines}"
    ))
}

fn folder(setup: &Setup) -> PathBuf {
    setup.dir.path().join("in")
}

/// Puts a file into the folder, as it should be done: whole, by a rename.
fn put(setup: &Setup, name: &str, content: impl AsRef<[u8]>) {
    let unfinished = folder(setup).join(format!("{name}.tmp"));
    std::fs::write(&unfinished, content).unwrap();
    std::fs::rename(unfinished, folder(setup).join(name)).unwrap();
}

fn read(setup: &Setup, name: &str) -> String {
    let path = folder(setup).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn lies(setup: &Setup, name: &str) -> bool {
    folder(setup).join(name).exists()
}

fn files(daemon: &Daemon, result: &str) -> f64 {
    daemon.metric(&format!("tidegate_feed_files_total{{feed=\"drop\",result=\"{result}\"}}"))
}

fn novelty(daemon: &Daemon, result: &str) -> f64 {
    daemon.metric(&format!("tidegate_dedupe_checks_total{{feed=\"drop\",result=\"{result}\"}}"))
}

fn texts(ids: &[&str]) -> String {
    ids.iter().map(|id| String::from_utf8(admission(id)).unwrap()).collect()
}

/// The names in a folder, in order.
fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// PROMISE-4
#[test]
fn files_are_taken_by_name_and_their_messages_in_order_however_they_are_divided() {
    let setup = dropping("");
    let framed: String =
        ["C1", "C2"].map(|id| format!("\x0b{}\x1c\r", texts(&[id]))).into_iter().collect();
    put(&setup, "3-framed.hl7", framed);
    put(&setup, "1-lines.hl7", texts(&["A1", "A2"]).replace('\r', "\n"));
    put(&setup, "2-crlf.hl7", texts(&["B1", "B2"]).replace('\r', "\r\n"));
    put(&setup, "4-cr.hl7", texts(&["D1", "D2", "D3"]));
    let mut daemon = setup.start();
    eventually("all are taken", || files(&daemon, "done") == 4.0);
    assert_eq!(files(&daemon, "failed"), 0.0);
    assert_eq!(daemon.metric("tidegate_feed_folder_up{feed=\"drop\"}"), 1.0);
    let received =
        "tidegate_feed_messages_received_total{feed=\"drop\",protocol=\"file\",type=\"adt\"}";
    assert_eq!(daemon.metric(received), 9.0);
    eventually("all have left", || delivered(&setup).len() == 9);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["A1", "A2", "B1", "B2", "C1", "C2", "D1", "D2", "D3"]);
    assert_eq!(
        names(&folder(&setup).join(".done")),
        ["1-lines.hl7", "2-crlf.hl7", "3-framed.hl7", "4-cr.hl7"]
    );
}

#[test]
fn files_in_utf_16_and_in_xml_are_taken_too() {
    let setup = dropping("");
    for (name, order, ids) in [
        ("1.hl7", u16::to_be_bytes as fn(u16) -> [u8; 2], ["A1", "A2"]),
        ("2.hl7", u16::to_le_bytes, ["B1", "B2"]),
    ] {
        let text = format!("\u{feff}{}", texts(&ids));
        put(&setup, name, text.encode_utf16().flat_map(order).collect::<Vec<u8>>());
    }
    let xml = std::fs::read_to_string("fixtures/xml/adt-a01.xml").unwrap();
    put(&setup, "3.xml", xml);
    let mut daemon = setup.start();
    eventually("all are taken", || files(&daemon, "done") + files(&daemon, "failed") == 3.0);
    assert_eq!(files(&daemon, "failed"), 0.0);
    eventually("all have left", || delivered(&setup).len() == 5);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup)[..4], ["A1", "A2", "B1", "B2"]);
}

/// The family name of each message that was delivered.
fn families(setup: &Setup) -> Vec<String> {
    let family = |event: &serde_json::Value| {
        event["data"]["patient"]["names"][0]["family"].as_str().unwrap().to_owned()
    };
    setup.lines("out").iter().map(family).collect()
}

/// What the feed says, and what MSH-18 or a declaration says, counts behind the mark, as by a socket.
#[test]
fn a_byte_order_mark_counts_for_every_message_of_its_file_before_what_the_feed_says() {
    let setup = dropping("charset = \"8859/1\"").feed("charset = \"8859/1\"");
    let of = |ids: &[&str]| texts(ids).replace("ZZQUILLON", "ZZM\u{fc}LLER");
    let latin = |text: &str| -> Vec<u8> { encoding_rs::WINDOWS_1252.encode(text).0.into_owned() };
    let xml = std::fs::read_to_string("fixtures/xml/adt-a01.xml").unwrap();
    let xml = xml.replace("ZZQUILLON", "ZZM\u{fc}LLER").replace("UTF-8", "ISO-8859-1");
    assert!(xml.contains("encoding=\"ISO-8859-1\""), "it says what it is not");
    let frame = |id: &str| format!("\u{b}\u{feff}{}\u{1c}\r", of(&[id]));
    put(&setup, "1-marked.hl7", format!("\u{feff}{}", of(&["A1", "A2"]).replace('\r', "\n")));
    put(&setup, "2-framed.hl7", [frame("B1"), frame("B2")].concat());
    put(&setup, "3-batch.hl7", format!("\u{feff}BHS|^~\\&\r{}BTS|2\r", of(&["C1", "C2"])));
    put(&setup, "4.xml", format!("\u{feff}{xml}"));
    // Without one it is what the feed says, up to where a file with one was put behind.
    put(
        &setup,
        "5-joined.hl7",
        [latin(&of(&["D1"])), format!("\u{feff}{}", of(&["D2"])).into()].concat(),
    );
    let mut daemon = setup.start();
    eventually("all are taken", || files(&daemon, "done") + files(&daemon, "failed") == 5.0);
    crate::send(&daemon, format!("\u{feff}{}", of(&["E1"])).as_bytes());
    let mut sender = crate::support::sender::Sender::connect(daemon.feed());
    let batch = format!("\u{feff}BHS|^~\\&\r{}BTS|2\r", of(&["F1", "F2"]));
    sender.send(batch.as_bytes()).unwrap();
    assert!(sender.answer().unwrap().starts_with(b"BHS|"));
    eventually("all have left", || delivered(&setup).len() == 12);
    assert_eq!(files(&daemon, "failed"), 0.0);
    assert!(daemon.stop().success());
    let ids = delivered(&setup);
    assert_eq!(ids[..6], ["A1", "A2", "B1", "B2", "C1", "C2"]);
    assert_eq!(ids[7..], ["D1", "D2", "E1", "F1", "F2"]);
    assert_eq!(families(&setup), ["ZZM\u{fc}LLER"; 12]);
}

#[test]
fn the_answer_to_a_batch_holds_what_its_messages_ask_for() {
    let setup = dropping("");
    let asking = |id: &str, asked: &str| {
        texts(&[id]).replacen("|P|2.5.1\r", &format!("|P|2.5.1|||{asked}\r"), 1)
    };
    for (name, asked) in [("a", ["AL|AL", "NE|AL"]), ("b", ["NE|NE", "NE|"]), ("c", ["NE|", "ER|"])]
    {
        let [one, two] = [("1", asked[0]), ("2", asked[1])]
            .map(|(number, asked)| asking(&format!("{name}{number}"), asked));
        put(&setup, name, format!("BHS|^~\\&|EHR\r{one}{two}BTS|2\r"));
    }
    let mut daemon = setup.start();
    eventually("all are taken", || files(&daemon, "done") == 3.0);
    let said = |name: &str| -> Vec<String> {
        let ack = read(&setup, name);
        let wanted = |line: &&str| line.starts_with("MSA") || line.starts_with("BTS");
        ack.split('\r').filter(wanted).map(str::to_owned).collect()
    };
    assert_eq!(said(".done/a.ack"), ["MSA|CA|a1", "MSA|AA|a1", "MSA|AA|a2", "BTS|3"]);
    assert!(!lies(&setup, ".done/b.ack"), "nobody asks for one");
    assert_eq!(said(".done/c.ack"), ["BTS|0"], "none was refused");
    assert!(names(&folder(&setup).join(".answering")).is_empty());
    assert!(daemon.stop().success());
}

/// A letter of Shift-JIS whose second byte is a pipe, before the control ID.
#[test]
fn the_answer_to_a_batch_names_each_message_whatever_its_characters() {
    let setup = dropping("charset = \"SHIFT-JIS\"").feed("charset = \"SHIFT-JIS\"");
    let facility = |text: String| text.replace("|NORTH|", "|\u{30dd}|");
    let file = facility(format!(
        "BHS|^~\\&|EHR|NORTH|GATE|HUB|20261122||||ZZB1\r{}BTS|2\r",
        texts(&["A1", "A2"])
    ));
    let file = encoding_rs::SHIFT_JIS.encode(&file).0.into_owned();
    put(&setup, "a.hl7", &file);
    let mut daemon = setup.start();
    eventually("it is taken", || lies(&setup, ".done/a.hl7.ack"));
    let mut sender = crate::support::sender::Sender::connect(daemon.feed());
    sender.send(&file).unwrap();
    let beside = std::fs::read(folder(&setup).join(".done/a.hl7.ack")).unwrap();
    for answer in [beside, sender.answer().unwrap()] {
        let (text, _, broken) = encoding_rs::SHIFT_JIS.decode(&answer);
        assert!(!broken, "{text}");
        let lines: Vec<&str> = text.trim_end_matches('\r').split('\r').collect();
        assert!(lines[0].starts_with("BHS|^~\\&|GATE|HUB|EHR|\u{30dd}|"), "{}", lines[0]);
        assert!(lines[1].starts_with("MSH|^~\\&|GATE|HUB|EHR|\u{30dd}|"), "{}", lines[1]);
        let said: Vec<&&str> = lines.iter().filter(|line| line.starts_with("MSA")).collect();
        assert_eq!(said, [&"MSA|AA|A1", &"MSA|AA|A2"]);
    }
    eventually("all have left", || delivered(&setup).len() >= 2);
    assert!(daemon.stop().success());
}

/// PROMISE-11, PROMISE-10
#[test]
fn a_wrong_message_costs_itself_and_its_file_lies_apart_with_the_reason_beside_it() {
    let setup = dropping("on_unmappable = \"nak\"");
    let wrong = String::from_utf8(adt("A01", "A2", "")).unwrap();
    let text = format!("{}{wrong}{}MSH|^~\\&|\rPID|ZZLEAK\r", texts(&["A1"]), texts(&["A3"]));
    put(&setup, "a.hl7", &text);
    let mut daemon = setup.start();
    eventually("it is taken", || files(&daemon, "failed") == 1.0);
    assert_eq!(read(&setup, ".failed/a.hl7"), text);
    let reason = read(&setup, ".failed/a.hl7.reason");
    assert_eq!(
        reason,
        "2 of 4 messages taken\n\
         message 2: AE 101 Required field missing: PID-3\n\
         message 4: AE 101 Required field missing: MSH-9\n"
    );
    canary::assert_none("the reason", &reason);
    // Mended, it comes again under its name: what was taken is not taken twice.
    put(
        &setup,
        "a.hl7",
        text.replace(&wrong, &texts(&["A2"])).replace("MSH|^~\\&|\rPID|ZZLEAK\r", ""),
    );
    eventually("it is done", || files(&daemon, "done") == 1.0);
    eventually("all have left", || delivered(&setup).len() == 3);
    assert_eq!((novelty(&daemon, "new"), novelty(&daemon, "duplicate")), (3.0, 2.0));
    for (name, content, reason) in [
        ("b.txt", "", "it holds no message"),
        ("c.txt", "not HL7 at all", "message 1: AE 100 Segment sequence error: MSH"),
    ] {
        put(&setup, name, content);
        eventually("it lies apart", || lies(&setup, &format!(".failed/{name}")));
        assert!(read(&setup, &format!(".failed/{name}.reason")).contains(reason));
    }
    // A name may be a patient's.
    put(&setup, "ZZQUILLON.txt", "not HL7 either");
    eventually("it lies apart", || lies(&setup, ".failed/ZZQUILLON.txt"));
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["A1", "A3", "A2"]);
}

#[test]
fn a_batch_is_answered_in_a_file_beside_it() {
    let setup = dropping("");
    let file = format!(
        "FHS|^~\\&|EHR|NORTH|GATE|HUB|20261122||||ZZF1\n\
         BHS|^~\\&|EHR|NORTH|GATE|HUB|20261122||||ZZB1\n{}BTS|2\nFTS|1\n",
        texts(&["A1", "A2"]).replace('\r', "\n")
    );
    put(&setup, "a.hl7", &file);
    put(&setup, "b.hl7", file.replace("BTS|2", "BTS|3").replace("FTS|1\n", ""));
    put(&setup, "c.hl7", texts(&["C1"]));
    let mut daemon = setup.start();
    eventually("all are taken", || lies(&setup, ".done/c.hl7"));
    let ack = read(&setup, ".done/a.hl7.ack");
    let lines: Vec<&str> = ack.trim_end_matches('\r').split('\r').collect();
    assert!(lines[0].starts_with("FHS|^~\\&|GATE|HUB|EHR|NORTH|") && lines[0].ends_with("|ZZF1"));
    assert!(lines[1].starts_with("BHS|") && lines[1].ends_with("|ZZB1"), "{}", lines[1]);
    let said: Vec<&&str> = lines.iter().filter(|line| line.starts_with("MSA")).collect();
    assert_eq!(said, [&"MSA|AA|A1", &"MSA|AA|A2"]);
    assert_eq!(lines[lines.len() - 2..], ["BTS|2", "FTS|1"]);
    // The same again, and counts that do not agree: its messages are duplicates, and people are told.
    let reason = read(&setup, ".failed/b.hl7.reason");
    assert_eq!(
        reason,
        "2 of 2 messages taken\nBTS-1 says 3 messages, 2 came; what came is taken\n\
         FTS is missing, so that nobody knows whether all came; what came is taken\n"
    );
    assert!(read(&setup, ".failed/b.hl7.ack").contains("\rBTS|2|BTS-1 says 3 messages, 2 came\r"));
    assert!(!lies(&setup, ".done/c.hl7.ack"), "without a header nothing is answered");
    let exceptions = setup.json(&["exceptions", "ls"]);
    assert_eq!(exceptions.len(), 2, "{exceptions:?}");
    assert!(exceptions.iter().all(|one| one["category"] == "malformed" && one["feed"] == "drop"));
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["A1", "A2", "C1"]);
    assert!(names(&folder(&setup).join(".answering")).is_empty());
}

#[test]
fn a_file_that_comes_again_under_its_name_is_kept_beside_the_first_and_counts_once() {
    let setup = dropping("");
    let mut daemon = setup.start();
    for number in 1..=3 {
        put(&setup, "daily.hl7", texts(&["A1", "A2", "A1"]));
        eventually("it is done", || files(&daemon, "done") == f64::from(number));
    }
    assert_eq!((novelty(&daemon, "new"), novelty(&daemon, "duplicate")), (2.0, 7.0));
    assert!(daemon.stop().success());
    assert_eq!(names(&folder(&setup).join(".done")), ["daily.hl7", "daily.hl7.2", "daily.hl7.3"]);
    assert_eq!(delivered(&setup), ["A1", "A2"]);
}

/// Forty crashes in the middle of files of 400 messages, of which some stand there twice.
///
/// PROMISE-1, PROMISE-2, PROMISE-4; faults 1, 2, 3, 9
#[test]
fn fault_9_kills_in_the_middle_of_a_file_lose_nothing_and_double_nothing() {
    let setup = dropping("");
    let mut wanted = Vec::new();
    let mut cut = 0;
    let mut count = 0;
    let mut daemon = setup.start();
    for cycle in 0..40_u64 {
        if names(&folder(&setup)).iter().all(|name| name.starts_with('.')) {
            let ids: Vec<String> = (0..400).map(|number| format!("F{count}-{number}")).collect();
            let mut text = String::from("BHS|^~\\&|EHR|NORTH|GATE|HUB|20261122||||ZZB\r");
            for (number, id) in ids.iter().enumerate() {
                text.push_str(&texts(&[id]));
                if number % 7 == 6 {
                    text.push_str(&texts(&[&ids[number - 3]]));
                }
            }
            text.push_str(&format!("BTS|{}\r", 400 + 400 / 7));
            put(&setup, &format!("{count:03}.hl7"), text);
            wanted.extend(ids);
            count += 1;
        }
        // From the first commits to beyond the move.
        std::thread::sleep(Duration::from_millis(5 + cycle * 37 % 290));
        daemon.kill();
        let waits = names(&folder(&setup)).iter().any(|name| name.ends_with(".hl7"));
        cut += usize::from(waits && !setup.lines("out").is_empty());
        daemon = setup.start();
    }
    eventually("all are done", || names(&folder(&setup).join(".done")).len() == 2 * count);
    eventually("all have left", || delivered(&setup).len() >= wanted.len());
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), wanted);
    assert!(cut > 5, "{cut} kills came in the middle of a file");
    assert!(names(&folder(&setup).join(".failed")).is_empty());
    for number in 0..count {
        let ack = read(&setup, &format!(".done/{number:03}.hl7.ack"));
        assert_eq!(
            ack.matches("\rMSA|AA|").count(),
            457,
            "an answer is whole, however often begun"
        );
    }
}

/// PROMISE-11: fault 48, in a file.
#[test]
fn fault_48_a_message_without_end_is_not_held_in_memory_and_the_rest_of_its_file_is_taken() {
    let setup = dropping("message_bytes_max = \"1MiB\"");
    let mut daemon = setup.start();
    put(&setup, "0.hl7", texts(&["A0"]));
    eventually("it is warm", || files(&daemon, "done") == 1.0);
    let before = resident_kib(daemon.child.id());
    let mut text = texts(&["A1"]).into_bytes();
    text.extend(b"MSH|^~\\&|EHR|NORTH|||2026||ADT^A01|BIG|P|2.5\rOBX|");
    text.extend(std::iter::repeat_n(b"x".as_slice(), 80 << 20).flatten());
    text.push(b'\r');
    text.extend(texts(&["A3"]).into_bytes());
    put(&setup, "1.hl7", text);
    eventually("it is taken", || files(&daemon, "failed") == 1.0);
    let grown = resident_kib(daemon.child.id()).saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB more for a file of 80 MiB");
    let reason = read(&setup, ".failed/1.hl7.reason");
    assert_eq!(reason, "2 of 3 messages taken\nmessage 2: AE 207 Application internal error\n");
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["A0", "A1", "A3"]);
}

#[test]
fn a_file_that_is_still_written_to_is_left_alone_until_it_is_whole() {
    let setup = dropping("");
    let mut daemon = setup.start();
    let half = texts(&["A1", "A2"]);
    std::fs::write(folder(&setup).join("a.hl7.part"), &half[..half.len() / 2]).unwrap();
    std::os::unix::fs::symlink(
        setup.dir.path().join("tidegate.toml"),
        folder(&setup).join("b.hl7"),
    )
    .unwrap();
    std::fs::create_dir(folder(&setup).join("c.hl7")).unwrap();
    put(&setup, "d.hl7", texts(&["D1"]));
    eventually("what is whole is taken", || files(&daemon, "done") == 1.0);
    std::fs::write(folder(&setup).join("a.hl7.part"), &half).unwrap();
    std::fs::rename(folder(&setup).join("a.hl7.part"), folder(&setup).join("a.hl7")).unwrap();
    eventually("the other is, too", || files(&daemon, "done") == 2.0);
    eventually("all have left", || delivered(&setup).len() == 3);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["D1", "A1", "A2"]);
    assert!(lies(&setup, "b.hl7") && lies(&setup, "c.hl7"));
}

/// Appended to again and again, faster than it settles: none of it is taken before it is whole.
#[test]
fn a_file_that_grows_is_taken_when_it_has_settled_and_holds_back_what_is_behind_it() {
    let setup = settling("1500ms", "");
    let mut daemon = setup.start();
    put(&setup, "b.hl7", texts(&["B1"]));
    let path = folder(&setup).join("a.hl7");
    let whole = texts(&["A1", "A2", "A3", "A4"]);
    let parts = whole.as_bytes().chunks(whole.len() / 8 + 1);
    for part in parts {
        use std::io::Write;
        let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        file.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(250));
    }
    eventually("both are done", || files(&daemon, "done") == 2.0);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["A1", "A2", "A3", "A4", "B1"]);
}

/// A folder that is not there holds up nobody, and is told.
///
/// PROMISE-12
#[test]
fn a_folder_that_is_gone_is_told_and_taken_up_when_it_is_back() {
    let setup = dropping("");
    std::fs::remove_dir(folder(&setup)).unwrap();
    let mut daemon = setup.start();
    crate::send(&daemon, &admission("A1"));
    eventually("it is told", || daemon.log().contains("the folder cannot be read or written"));
    assert_eq!(daemon.metric("tidegate_feed_folder_up{feed=\"drop\"}"), 0.0);
    std::fs::create_dir(folder(&setup)).unwrap();
    put(&setup, "a.hl7", texts(&["A2"]));
    eventually("it is done", || files(&daemon, "done") == 1.0);
    let up = || daemon.metric("tidegate_feed_folder_up{feed=\"drop\"}") == 1.0;
    eventually("the folder is back", up);
    assert!(daemon.stop().success());
}

/// As a user who may not read it, since nothing is unreadable for root.
#[test]
fn a_file_that_cannot_be_read_lies_apart_and_those_behind_it_are_taken() {
    let setup = dropping("");
    put(&setup, "a.hl7", texts(&["A1"]));
    put(&setup, "b.hl7", texts(&["B1"]));
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).arg(setup.dir.path()).status().unwrap();
        assert!(status.success(), "{program}");
    };
    setup.config();
    run("chown", &["-R", "65534:65534"]);
    let unreadable = folder(&setup).join("a.hl7");
    std::os::unix::fs::chown(&unreadable, Some(0), Some(0)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&unreadable, mode).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", TIDEGATE]);
    let mut daemon = setup.start_with(&mut command);
    eventually("both are taken", || {
        (files(&daemon, "failed"), files(&daemon, "done")) == (1.0, 1.0)
    });
    assert!(read(&setup, ".failed/a.hl7.reason").contains("it cannot be read: permission denied"));
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["B1"]);
}

/// A place that a file cannot be moved to: it is taken once, and the folder is told to be wrong.
#[test]
fn a_file_that_cannot_be_moved_aside_is_not_taken_again_and_is_moved_when_it_can_be() {
    let setup = dropping("");
    let mut daemon = setup.start();
    eventually("the folders are there", || lies(&setup, ".done"));
    std::fs::remove_dir(folder(&setup).join(".done")).unwrap();
    std::fs::write(folder(&setup).join(".done"), "in the way").unwrap();
    put(&setup, "a.hl7", texts(&["A1"]));
    eventually("it is told", || {
        daemon.log().contains("a file was taken and cannot be moved aside")
    });
    let bytes = daemon.metric("tidegate_feed_bytes_received_total{feed=\"drop\"}");
    let rounds = || daemon.log().matches("cannot be moved aside").count() > 1;
    eventually("it was tried again", rounds);
    assert_eq!(daemon.metric("tidegate_feed_bytes_received_total{feed=\"drop\"}"), bytes);
    assert_eq!(daemon.metric("tidegate_feed_folder_up{feed=\"drop\"}"), 0.0);
    std::fs::remove_file(folder(&setup).join(".done")).unwrap();
    eventually("it is done", || lies(&setup, ".done/a.hl7"));
    assert_eq!(novelty(&daemon, "new"), 1.0);
    assert!(daemon.stop().success());
    assert_eq!(delivered(&setup), ["A1"]);
}

#[test]
fn a_message_of_a_file_is_the_same_as_one_by_a_socket() {
    let setup = dropping("sender_domain = \"adt\"");
    let mut daemon = setup.start();
    crate::send(&daemon, &adt("A01", "A1", PATIENT));
    put(&setup, "a.hl7", texts(&["A1"]));
    eventually("it is done", || files(&daemon, "done") == 1.0);
    assert_eq!(novelty(&daemon, "duplicate"), 1.0);
    assert!(daemon.stop().success());
}
