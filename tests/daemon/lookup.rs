//! `journal` and `exceptions`, of a daemon that runs and of one that is stopped.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value as Json;

use crate::support::daemon::{Daemon, Setup, TIDEGATE};
use crate::support::eventually;
use crate::support::sender::Sender;
use crate::{admission, code_of, delivered, heard, setup};

/// A daemon with one message of each status.
fn with_messages(setup: &Setup) -> Daemon {
    let daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    let text = String::from_utf8(admission("P1")).unwrap();
    let parked = text.replace("ZZ100001^^^EPIC^MR", "");
    let unsupported = text.replace("ADT^A01^ADT_A01", "SIU^S12").replace("|P1|", "|S1|");
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    assert_eq!(heard(&sender.exchange(parked.as_bytes()).unwrap()), ("AA", "P1"));
    assert_eq!(heard(&sender.exchange(unsupported.as_bytes()).unwrap()), ("AA", "S1"));
    assert_eq!(sender.exchange(b"no message").unwrap().code, "AE");
    let oru = std::fs::read("fixtures/hl7/oru-r01.hl7").unwrap();
    assert_eq!(sender.exchange(&oru).unwrap().code, "AA");
    eventually("all is delivered", || setup.lines("out").len() == 3);
    daemon
}

/// What the commands say, one way and another.
fn everything(setup: &Setup) -> Vec<Vec<Json>> {
    let listed = setup.json(&["journal", "ls"]);
    let event = listed[0]["events"][1]["id"].as_str().unwrap();
    let correlation = listed[0]["correlationId"].as_str().unwrap();
    vec![
        listed.clone(),
        setup.json(&["journal", "ls", "--status", "parked"]),
        setup.json(&["journal", "ls", "--type", "ADT"]),
        setup.json(&["journal", "ls", "--type", "ADT^A01", "--limit", "1"]),
        setup.json(&["journal", "ls", "--feed", "adt", "--from", "2020-01-01T00:00:00Z"]),
        setup.json(&["journal", "ls", "--feed", "other"]),
        setup.json(&["journal", "ls", "--to", "2020-01-01T00:00:00Z"]),
        setup.json(&["journal", "ls", "--correlation", correlation]),
        setup.json(&["journal", "show", "1"]),
        setup.json(&["journal", "show", correlation]),
        setup.json(&["journal", "show", event]),
        setup.json(&["exceptions", "ls"]),
        setup.json(&["exceptions", "ls", "--category", "unmapped"]),
        setup.json(&["exceptions", "ls", "--feed", "other"]),
        setup.json(&["exceptions", "show", "1"]),
    ]
}

#[test]
fn a_running_and_a_stopped_daemon_say_the_same() {
    let setup = setup();
    let mut daemon = with_messages(&setup);
    eventually("the cursor is noted", || {
        let shown = setup.json(&["journal", "show", "5"]).remove(0);
        shown["routes"][0]["state"] == "passed"
    });
    let running = everything(&setup);
    assert_eq!(
        running.iter().map(Vec::len).collect::<Vec<_>>(),
        [5, 1, 2, 1, 5, 0, 0, 1, 1, 1, 1, 3, 1, 0, 1]
    );
    let statuses: Vec<&str> =
        running[0].iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["admitted", "refused", "unsupported", "parked", "admitted"]);
    assert_eq!(running[9], running[10], "an event leads to its message");
    assert_eq!(running[9][0]["number"], 5);
    assert_eq!(running[9][0]["events"].as_array().unwrap().len(), 2);
    assert_eq!(running[8][0]["raw"], String::from_utf8(admission("C1")).unwrap());
    assert_eq!(running[8][0]["events"][0]["subject"]["value"], "ZZ100001");
    assert_eq!(running[8][0]["routes"], serde_json::json!([{ "route": "out", "state": "passed" }]));
    let categories: Vec<&str> =
        running[11].iter().map(|row| row["category"].as_str().unwrap()).collect();
    assert_eq!(categories, ["unmapped", "unsupported", "malformed"]);
    assert!(daemon.stop().success());
    let stopped = everything(&setup);
    for (at, (running, stopped)) in running.iter().zip(&stopped).enumerate() {
        assert_eq!(running, stopped, "question {at}");
    }
}

/// The IDs of what a route lets out as it is are those that the journal is asked by.
#[test]
fn an_event_is_found_again_by_what_the_commands_print() {
    let setup = setup();
    let mut daemon = with_messages(&setup);
    for row in setup.json(&["journal", "ls"]) {
        for event in row["events"].as_array().unwrap() {
            let shown = setup.json(&["journal", "show", event["id"].as_str().unwrap()]).remove(0);
            assert_eq!(shown["number"], row["number"]);
        }
    }
    assert!(daemon.stop().success());
}

#[test]
fn what_is_not_there_and_what_is_no_name_are_told_apart() {
    let setup = setup();
    let mut daemon = with_messages(&setup);
    for stopped in [false, true] {
        if stopped {
            assert!(daemon.stop().success());
        }
        for (arguments, code, text) in [
            (&["journal", "show", "99"][..], 1, "there is none"),
            (&["exceptions", "show", "99"], 1, "there is none"),
            (&["journal", "show", "ZZQUILLON"], 2, "is no message number"),
            (&["journal", "ls", "--correlation", "x"], 2, "is no message number"),
            (&["journal", "ls", "--status", "lost"], 2, "possible values"),
            (&["journal", "ls", "--from", "yesterday"], 2, "--from"),
            (&["exceptions", "ls", "--category", "odd"], 2, "possible values"),
            (&["exceptions", "show", "first"], 2, "invalid value"),
        ] {
            let output = setup.command(arguments);
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complaint}");
            assert!(complaint.contains(text), "{arguments:?}: {complaint}");
            assert!(output.stdout.is_empty(), "{arguments:?}");
        }
    }
}

/// Fault 106: what a sender wrote moves no cursor of the terminal.
#[test]
fn fault_106_tables_show_control_characters_and_do_not_send_them() {
    let setup = setup();
    let mut daemon = setup.start();
    let message = String::from_utf8(admission("C1")).unwrap();
    let message = message.replace("|C1|", "|\x1b[2J\x07|");
    assert_eq!(code_of(&daemon, message.as_bytes()), "AE");
    for arguments in [
        &["journal", "ls"][..],
        &["exceptions", "ls"],
        &["exceptions", "show", "1"],
        &["journal", "show", "1"],
    ] {
        let output = setup.command(arguments);
        assert!(output.status.success());
        let odd = output.stdout.iter().filter(|byte| byte.is_ascii_control() && **byte != b'\n');
        assert_eq!(odd.count(), 0, "{arguments:?}: {:?}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(daemon.stop().success());
}

/// The port of a daemon that has stopped may be anybody's by now: who looks things up in its
/// folder neither believes what answers there nor tells it a token.
#[test]
fn a_stopped_daemon_is_read_from_its_folder_though_its_port_is_taken_by_a_stranger() {
    let setup = setup();
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    let admin = daemon.admin();
    assert!(daemon.stop().success());
    let stranger = TcpListener::bind(admin).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let mut command = Command::new(TIDEGATE);
    command.args(["journal", "ls", "--json", "--config"]).arg(setup.config());
    command.env("TIDEGATE_TOKEN", "a-token-of-an-operator");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut overheard = Vec::new();
    eventually("the command ends", || {
        if let Ok((mut stream, _)) = stranger.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
            let mut chunk = [0; 4096];
            if let Ok(read) = stream.read(&mut chunk) {
                overheard.extend_from_slice(&chunk[..read]);
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
                .ok();
        }
        child.try_wait().unwrap().is_some()
    });
    let output = child.wait_with_output().unwrap();
    let overheard = String::from_utf8_lossy(&overheard).into_owned();
    assert!(!overheard.contains("a-token-of-an-operator"), "the stranger heard the token");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"controlId\":\"C1\""), "it printed what the stranger says: {text:?}");
}

#[test]
fn a_daemon_that_was_killed_is_read_from_its_folder() {
    let setup = setup();
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    eventually("it is delivered", || delivered(&setup) == ["C1"]);
    daemon.kill();
    let found = setup.json(&["journal", "ls"]);
    assert_eq!((found.len(), &found[0]["controlId"]), (1, &"C1".into()));
}
