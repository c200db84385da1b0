//! A daemon that must not start: one clear line, the right exit code, and nothing touched.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::canary;
use crate::support::daemon::{Setup, TIDEGATE};
use crate::support::eventually;
use crate::support::sender::Sender;
use crate::{admission, code_of, delivered, heard, setup};

/// Runs a daemon that must not come up: its exit code and what it says on standard error.
fn refused(config: &Path, environment: &[(&str, &str)]) -> (i32, Vec<String>) {
    let mut child = Command::new(TIDEGATE)
        .args(["run", "--config"])
        .arg(config)
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("TIDEGATE_LOG")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // One that came up all the same must not stay behind.
    let came_up = child.try_wait().unwrap().is_none();
    child.kill().ok();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!came_up, "it runs:\n{text}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    canary::assert_none("standard error", &text);
    (output.status.code().unwrap(), text.lines().map(str::to_owned).collect())
}

/// That it says one line, which holds all of these words.
fn assert_one_line(refused: (i32, Vec<String>), code: i32, words: &[&str]) {
    let (found, lines) = refused;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in {:?}", lines[0]);
    }
    assert_eq!(found, code, "{lines:?}");
}

/// A setup that a daemon has run with, and taken C1.
fn used() -> Setup {
    let setup = setup();
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    eventually("it is delivered", || delivered(&setup) == ["C1"]);
    assert!(daemon.stop().success());
    setup
}

/// That a setup starts, and still knows C1.
fn assert_starts_and_knows(setup: &Setup) {
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    for id in ["C1", "C2"] {
        assert_eq!(heard(&sender.exchange(&admission(id)).unwrap()), ("AA", id));
    }
    eventually("the new one is delivered", || delivered(setup).contains(&"C2".to_owned()));
    assert_eq!(delivered(setup), ["C1", "C2"]);
    assert!(daemon.stop().success());
}

/// Moves a store, with its log, from one folder to another.
fn move_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        std::fs::remove_file(to.join(name)).ok();
        if from.join(name).exists() {
            std::fs::rename(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// The configuration of a setup with something replaced.
fn changed(setup: &Setup, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(setup.config()).unwrap();
    assert!(text.contains(from), "{text}");
    let path = setup.dir.path().join("changed.toml");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    path
}

#[test]
fn a_bad_configuration_is_every_mistake_with_its_place_and_starts_nothing() {
    let setup = setup().feed("frame_bytes_mx = \"1MiB\"\npipeline_max = 0").node("colour = 1");
    let config = setup.config();
    let (code, lines) = refused(&config, &[]);
    assert_eq!((code, lines.len()), (2, 3), "{lines:#?}");
    let file = config.display();
    for (line, place, text) in [
        (&lines[0], "5:1", "`node.colour` is not known; known here: "),
        (&lines[1], "15:1", "`feed.frame_bytes_mx` is not known; did you mean `frame_bytes_max`?"),
        (&lines[2], "16:16", "`feed.pipeline_max` is out of bounds; from 1 to 1024"),
    ] {
        assert!(line.starts_with(&format!("{file}:{place}: {text}")), "{line}");
    }
    assert!(!setup.state_dir().exists(), "nothing was made");
}

#[test]
fn wrong_words_of_acknowledging_and_of_folders_are_mistakes_at_their_places() {
    let setup = setup()
        .feed("ack_mode = \"extended\"\napplication_ack = \"later\"\nsequence_numbers = true")
        .section(
            "[[feed]]\nname = \"one\"\nkind = \"file\"\nsettle = \"11m\"\nlisten = \"127.0.0.1:0\"\n\
             [[feed]]\nname = \"two\"\nkind = \"file\"\ndir = \"in\"\ninterval = \"0s\"\n\
             message_bytes_max = \"1GiB\"\n\
             [[feed]]\nname = \"three\"\nkind = \"file\"\ndir = \"in\"\n\
             [[feed]]\nname = \"four\"\nkind = \"mllp\"\nlisten = \"127.0.0.1:0\"\n\
             application_ack = { connect = \"nowhere\", tls = true }\n\
             [[feed]]\nname = \"five\"\nkind = \"mllp\"\nlisten = \"127.0.0.1:0\"\n\
             application_ack = {}\n",
        );
    let (code, lines) = refused(&setup.config(), &[]);
    assert_eq!(code, 2);
    let text = lines.join("\n");
    for wanted in [
        ":14:12: `feed.ack_mode` is one of by-message, original, enhanced",
        ":15:19: `feed.application_ack` is none, same-connection or { connect = \"host:port\" }",
        ":16:20: `feed.sequence_numbers` is boolean here; a string is wanted",
        "`feed.dir` is missing",
        "`feed.settle` is out of bounds; from 0ms to 10m",
        "`feed.listen` is not known",
        "`feed.interval` is out of bounds; from 100ms to 10m",
        "`message_bytes_max` is above `node.intake_bytes_max`",
        "/in is another feed's folder, too",
        "`connect` is a host and a port, such as \"engine.example.org:2576\"",
        "`feed.application_ack.tls` is not known",
        "`feed.application_ack.connect` is missing",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(!setup.state_dir().exists(), "nothing was made");
}

#[test]
fn a_configuration_that_is_not_there_is_one_line() {
    let nowhere = Path::new("/nowhere/tidegate.toml");
    assert_one_line(refused(nowhere, &[]), 2, &["/nowhere/tidegate.toml:1:1: ", "cannot be read"]);
    let dir = tempfile::tempdir().unwrap();
    assert_one_line(refused(dir.path(), &[]), 2, &[":1:1: ", "cannot be read"]);
}

#[test]
fn a_port_in_use_is_one_line_that_says_whose_and_which() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = setup();
    let text = std::fs::read_to_string(setup.config()).unwrap();
    let path = setup.dir.path().join("changed.toml");
    // The API's address stands first.
    let free = "\"127.0.0.1:0\"";
    let (head, tail) = text.split_once(free).unwrap();
    let used = format!("\"{address}\"");
    let admin = [head, &used, tail].concat();
    let feed = [head, free, &tail.replacen(free, &used, 1)].concat();
    for (text, name) in [(admin, "admin:"), (feed, "feed adt:")] {
        std::fs::write(&path, text).unwrap();
        let said = refused(&path, &[]);
        assert_one_line(said, 1, &[name, &address, "cannot listen on", "in use"]);
    }
}

#[test]
fn a_state_dir_that_cannot_be_used_is_one_line() {
    let setup = setup();
    let file = setup.dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let below = file.join("below");
    for dir in [file.as_path(), &below, Path::new("/proc/tidegate"), Path::new("/sys/tidegate")] {
        let config = changed(&setup, "state_dir = \"state\"", &format!("state_dir = {dir:?}"));
        assert_one_line(refused(&config, &[]), 1, &["state_dir", &dir.display().to_string()]);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a folder");
}

/// Fault 19: one folder, one daemon; the one that runs does not feel the other.
#[test]
fn fault_19_a_second_daemon_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let setup = setup();
    let mut daemon = setup.start();
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    let state = setup.state_dir().display().to_string();
    let listening = std::fs::read(setup.state_dir().join("listening.json")).unwrap();
    for _ in 0..3 {
        let config = setup.config();
        assert_one_line(
            refused(&config, &[]),
            1,
            &["state_dir", &state, "in use by another daemon"],
        );
    }
    assert_eq!(heard(&sender.exchange(&admission("C2")).unwrap()), ("AA", "C2"));
    assert_eq!(std::fs::read(setup.state_dir().join("listening.json")).unwrap(), listening);
    assert_eq!(setup.json(&["journal", "ls"]).len(), 2);
    eventually("both are delivered", || delivered(&setup) == ["C1", "C2"]);
    assert!(daemon.stop().success());
}

/// Fault 24: both versions are named, and nothing is damaged.
#[test]
fn fault_24_a_store_newer_than_the_binary_is_refused_with_both_versions() {
    let setup = used();
    let path = setup.state_dir().join("journal.db");
    let store = rusqlite::Connection::open(&path).unwrap();
    let newest: i64 = store
        .query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
        .unwrap();
    let later =
        "INSERT INTO refinery_schema_history VALUES (99, 'later', '2027-01-01T00:00:00Z', '1')";
    store.execute(later, []).unwrap();
    drop(store);
    assert_one_line(
        refused(&setup.config(), &[]),
        1,
        &[&path.display().to_string(), "schema 99", &format!("up to {newest}")],
    );
    let output = setup.command(&["journal", "ls"]);
    assert_eq!(output.status.code(), Some(1), "nor is it read");
    assert!(String::from_utf8(output.stderr).unwrap().contains("schema 99"));
    let store = rusqlite::Connection::open(&path).unwrap();
    store.execute("DELETE FROM refinery_schema_history WHERE version = 99", []).unwrap();
    drop(store);
    assert_starts_and_knows(&setup);
}

#[test]
fn a_store_of_another_environment_is_refused() {
    let setup = used();
    let config = changed(&setup, "environment = \"test\"", "environment = \"production\"");
    assert_one_line(
        refused(&config, &[]),
        1,
        &["journal.db", "environment test", "production", "a mix is refused"],
    );
    assert_starts_and_knows(&setup);
}

/// Fault 22: no new space of IDs where the keys say that there was a store.
#[test]
fn fault_22_a_store_that_is_gone_while_its_keys_are_there_is_not_begun_anew() {
    let setup = used();
    let (state, away) = (setup.state_dir(), setup.dir.path().join("away"));
    move_store(&state, &away);
    let path = state.join("journal.db");
    let said = path.display().to_string();
    for _ in 0..2 {
        assert_one_line(refused(&setup.config(), &[]), 1, &[&said, "not the store that the keys"]);
        assert!(!path.exists(), "none was made");
    }
    // An empty file is no store either.
    for _ in 0..2 {
        std::fs::write(&path, b"").unwrap();
        assert_one_line(refused(&setup.config(), &[]), 1, &[&said, "not the store that the keys"]);
    }
    move_store(&away, &state);
    assert_starts_and_knows(&setup);
}

/// Fault 22
#[test]
fn fault_22_the_store_of_another_daemon_is_refused() {
    let (setup, other) = (used(), used());
    let (state, away) = (setup.state_dir(), setup.dir.path().join("away"));
    move_store(&state, &away);
    move_store(&other.state_dir(), &state);
    let said = state.join("journal.db").display().to_string();
    assert_one_line(refused(&setup.config(), &[]), 1, &[&said, "not the store that the keys"]);
    move_store(&away, &state);
    assert_starts_and_knows(&setup);
}

/// Fault 22: what was stopped in order is one file, so that whoever copies that file, or puts
/// an older one back, has neither lost nor mixed anything.
#[test]
fn fault_22_a_daemon_that_was_stopped_in_order_leaves_no_log_beside_its_store() {
    let setup = used();
    let state = setup.state_dir();
    let log = std::fs::metadata(state.join("journal.db-wal")).map_or(0, |found| found.len());
    assert_eq!(log, 0, "bytes that are in the log and not in the store");
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(state.join("journal.db"), copy.path().join("journal.db")).unwrap();
    let store = rusqlite::Connection::open(copy.path().join("journal.db")).unwrap();
    let count: i64 =
        store.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

/// A store without its keys cannot be opened, however often that is tried.
#[test]
fn a_store_whose_keys_are_gone_is_refused() {
    let setup = used();
    let keys = setup.state_dir().join("keys");
    let away = setup.dir.path().join("away");
    std::fs::rename(&keys, &away).unwrap();
    for _ in 0..2 {
        let (code, lines) = refused(&setup.config(), &[]);
        assert_one_line((code, lines), 1, &["keys/master.key is gone; put it back"]);
    }
    // Nothing was made that stands in the way of putting them back.
    std::fs::remove_dir(&keys).unwrap();
    std::fs::rename(&away, &keys).unwrap();
    assert_starts_and_knows(&setup);
}

/// Fault 69: path and mode are named, the content never is.
///
/// PROMISE-10
#[test]
fn fault_69_a_key_that_others_can_read_is_refused_with_its_path_and_mode() {
    let setup = used();
    let keys = setup.state_dir().join("keys");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&keys)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .collect();
    // Those of a realm stop its routes alone; tests/daemon/keys.rs has them.
    names.retain(|path| !path.to_string_lossy().contains("realm-"));
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    for path in names {
        for mode in [0o644, 0o640, 0o604] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_one_line(
                refused(&setup.config(), &[]),
                1,
                &[&path.display().to_string(), &format!("mode {mode:04o}"), "0600"],
            );
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_starts_and_knows(&setup);
}

/// Fault 69
#[test]
fn fault_69_a_key_of_the_wrong_length_is_refused_with_its_path_and_length() {
    let setup = used();
    for name in ["master.key", "audit-sign.key"] {
        let path = setup.state_dir().join("keys").join(name);
        let right = std::fs::read(&path).unwrap();
        for wrong in ["", "ZZsecret", &"ZZsecret".repeat(7)] {
            std::fs::write(&path, wrong).unwrap();
            assert_one_line(
                refused(&setup.config(), &[]),
                1,
                &[&path.display().to_string(), &format!("{} bytes", wrong.len())],
            );
        }
        std::fs::write(&path, right).unwrap();
    }
    assert_starts_and_knows(&setup);
}

/// Fault 69: a key that the configuration names is guarded like one that was made.
#[test]
fn fault_69_a_key_file_of_the_configuration_that_others_can_read_is_refused() {
    let setup = setup().section("[journal]\nkey = { file = \"master.key\" }");
    let path = setup.dir.path().join("master.key");
    std::fs::write(&path, "0a".repeat(32)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    assert!(daemon.stop().success());
    assert!(!setup.state_dir().join("keys/master.key").exists(), "none was made");
    std::fs::write(&path, "ZZsecret").unwrap();
    assert_one_line(refused(&setup.config(), &[]), 2, &["tidegate.toml:", "key`", "8 bytes"]);
    std::fs::write(&path, "0a".repeat(32)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let words = ["tidegate.toml:", &path.display().to_string(), "mode 0644"];
    assert_one_line(refused(&setup.config(), &[]), 2, &words);
}

#[test]
fn a_credential_is_read_from_the_folder_that_systemd_names() {
    let setup = setup().section("[journal]\nkey = { credential = \"master\" }");
    let config = setup.config();
    let words = ["tidegate.toml:", "key`", "credential master", "CREDENTIALS_DIRECTORY"];
    assert_one_line(refused(&config, &[]), 2, &words);
    let dir = setup.dir.path().join("credentials");
    std::fs::create_dir(&dir).unwrap();
    let environment = [("CREDENTIALS_DIRECTORY", dir.to_str().unwrap())];
    let missing = dir.join("master").display().to_string();
    let words = ["tidegate.toml:", "key`", missing.as_str()];
    assert_one_line(refused(&config, &environment), 2, &words);
    std::fs::write(dir.join("master"), "ZZsecret").unwrap();
    let words = ["tidegate.toml:", "key`", "8 bytes"];
    assert_one_line(refused(&config, &environment), 2, &words);
    std::fs::write(dir.join("master"), [7; 32]).unwrap();
    let mut daemon = setup.start_with(Command::new(TIDEGATE).envs(environment));
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    assert!(daemon.stop().success());
    assert!(!setup.state_dir().join("keys/master.key").exists(), "none was made");
    // Another key does not open what this one closed.
    std::fs::write(dir.join("master"), [8; 32]).unwrap();
    assert_one_line(refused(&config, &environment), 1, &["does not open with the keys at hand"]);
}

#[test]
fn an_environment_variable_that_is_not_set_is_one_line() {
    let setup = setup();
    let name = "state_dir = { env = \"TIDEGATE_TEST_NOWHERE\" }";
    let config = changed(&setup, "state_dir = \"state\"", name);
    let words = ["changed.toml:4:21: ", "state_dir`", "TIDEGATE_TEST_NOWHERE", "is not set"];
    assert_one_line(refused(&config, &[]), 2, &words);
}
