//! Keys that are missing or wrong: the routes that need them do not start, and everything else does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::send;
use crate::support::daemon::{Daemon, Setup};
use crate::support::{TOKEN, adt, eventually};

const EVENTS: &[&str] = &["patient.admitted"];

/// `keyed` in the realm `care`, `vaulted` in the realm `research`.
fn setup() -> Setup {
    let none = "require = \"none\"\nbasis = \"a test\"";
    Setup::new()
        .pseudonymous("keyed", "CLINTRCH", none, EVENTS, TOKEN)
        .pseudonymous("vaulted", "CLINTRCH", none, EVENTS, TOKEN)
        .in_realm("vaulted", "research")
}

fn up(daemon: &Daemon, route: &str) -> f64 {
    daemon.metric(&format!("tidegate_route_up{{route=\"{route}\"}}"))
}

/// A setup that has delivered A0 on both routes.
fn used() -> Setup {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, &adt("A01", "A0", "ZZ100001"));
    for route in ["keyed", "vaulted"] {
        eventually("it is out", || setup.lines(route).len() == 1);
    }
    assert!(daemon.stop().success());
    setup
}

/// Spoils a file, starts, and holds that one route alone does not run, and that it is told why; then
/// puts the file back, and holds that what waited is delivered.
fn assert_stops_alone(setup: &Setup, path: &Path, words: &[&str], (stopped, other): (&str, &str)) {
    let (before, waiting) = (setup.lines(other).len(), setup.lines(stopped).len());
    let mut daemon = setup.start();
    let id = format!("B{before}");
    send(&daemon, &adt("A01", &id, "ZZ100001"));
    eventually("the other delivers", || setup.lines(other).len() == before + 1);
    eventually("it is up", || up(&daemon, other) == 1.0);
    assert_eq!(up(&daemon, stopped), 0.0);
    let lag = format!("tidegate_route_lag_events{{route=\"{stopped}\"}}");
    eventually("its lag is told", || daemon.metric(&lag) >= 1.0);
    let (status, ready) = daemon.get("/readyz");
    assert_eq!(status, 200, "messages are taken");
    assert!(ready.contains(&format!("\"halted\":[\"{stopped}\"]")), "{ready}");
    assert_eq!(setup.lines(stopped).len(), waiting, "nothing left");
    // What would be is told, too.
    let would = crate::explain::decided(setup, &adt("A01", "D1", "ZZ100001"));
    let outcome =
        |route: &str| would.iter().find(|told| told["route"] == route).unwrap()["outcome"].clone();
    assert_eq!((outcome(stopped), outcome(other)), ("stopped".into(), "release".into()));
    let check = setup.command(&["check"]);
    assert!(check.status.success(), "no mistake of the configuration");
    let checked = String::from_utf8(check.stderr).unwrap();
    assert!(daemon.stop().success());
    let log = daemon.log();
    let name = path.display().to_string();
    for text in [&log, &checked] {
        let line = text.lines().rev().find(|line| line.contains(&name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in:\n{text}"));
        assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
        assert!(!text.contains("ZZsecret"), "the content is told");
    }
}

fn assert_delivers_what_waited(setup: &Setup) {
    let mut daemon = setup.start();
    let counts = || ["keyed", "vaulted"].map(|route| setup.lines(route).len());
    eventually("what waited is delivered", || {
        let [keyed, vaulted] = counts();
        keyed == vaulted
    });
    for route in ["keyed", "vaulted"] {
        let lines = setup.lines(route);
        assert!(lines.iter().all(|line| line["subject"] == lines[0]["subject"]), "{route}");
        assert!(setup.notices(route).is_empty());
    }
    assert!(daemon.stop().success());
    assert!(setup.command(&["check"]).stderr.is_empty());
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Faults 67, 69: a realm's key, its ID key, the vault's key; missing, open to others, too short.
///
/// PROMISE-10, PROMISE-12
#[test]
fn fault_67_a_key_that_is_missing_or_wrong_stops_the_routes_that_need_it_and_no_other() {
    let setup = used();
    let keys = setup.state_dir().join("keys");
    let (keyed, vaulted) = (("keyed", "vaulted"), ("vaulted", "keyed"));
    for (name, routes) in [
        ("realm-care.key", keyed),
        ("realm-care-id.key", keyed),
        ("realm-research.key", vaulted),
        ("realm-research-id.key", vaulted),
        ("vault.key", vaulted),
    ] {
        let path = keys.join(name);
        let right = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_stops_alone(&setup, &path, &["is gone; put it back"], routes);
        assert!(!path.exists(), "none was made");
        std::fs::write(&path, "ZZsecret").unwrap();
        chmod(&path, 0o600);
        assert_stops_alone(&setup, &path, &["is 8 bytes", "a key is 32 raw bytes"], routes);
        std::fs::write(&path, &right).unwrap();
        chmod(&path, 0o640);
        assert_stops_alone(&setup, &path, &["has mode 0640", "0600 is wanted"], routes);
        chmod(&path, 0o600);
        assert_delivers_what_waited(&setup);
    }
}

/// The same of keys that the configuration names, and of the vault itself.
#[test]
fn fault_67_a_configured_key_or_a_vault_that_cannot_be_had_stops_its_routes_alone() {
    let setup = used();
    let vault = setup.state_dir().join("vault.db");
    let away = setup.dir.path().join("away");
    std::fs::rename(&vault, &away).unwrap();
    let mut daemon = setup.start();
    eventually("the other is up", || up(&daemon, "keyed") == 1.0);
    assert_eq!(up(&daemon, "vaulted"), 0.0);
    eventually("it is logged", || {
        daemon.log().contains("vault.db is not the store that the keys beside it belong to")
    });
    assert!(daemon.stop().success());
    assert!(!vault.exists(), "none was made");
    drop(daemon);
    std::fs::rename(&away, &vault).unwrap();
    assert_delivers_what_waited(&setup);

    let setup = setup.section("[vault]\nkey = { file = \"vault.key\" }");
    let path: PathBuf = setup.dir.path().join("vault.key");
    assert_stops_alone(&setup, &path, &["No such file"], ("vaulted", "keyed"));
    std::fs::write(&path, "ZZsecret").unwrap();
    chmod(&path, 0o600);
    assert_stops_alone(&setup, &path, &["is 8 bytes"], ("vaulted", "keyed"));
    // A key, and not the one that the vault was made with.
    std::fs::write(&path, [7; 32]).unwrap();
    let mut daemon = setup.start();
    eventually("the other is up", || up(&daemon, "keyed") == 1.0);
    assert_eq!(up(&daemon, "vaulted"), 0.0);
    eventually("it is logged", || daemon.log().contains("vault.db was made with another key"));
    assert!(daemon.stop().success());
    std::fs::copy(setup.state_dir().join("keys/vault.key"), &path).unwrap();
    assert_delivers_what_waited(&setup);
}

/// The mark that says which version of a realm's tokens holds is one more file that may be wrong.
#[test]
fn a_mark_of_a_realm_that_cannot_be_read_stops_its_routes_alone() {
    let setup = used();
    let mark = setup.state_dir().join("keys/realm-research");
    let right = std::fs::read(&mark).unwrap();
    std::fs::write(&mark, "x").unwrap();
    let mut daemon = setup.start();
    eventually("the other is up", || up(&daemon, "keyed") == 1.0);
    assert_eq!(up(&daemon, "vaulted"), 0.0);
    eventually("it is logged", || {
        daemon.log().contains("the mark keys/realm-research cannot be read back")
    });
    assert!(daemon.stop().success());
    drop(daemon);
    std::fs::write(&mark, right).unwrap();
    assert_delivers_what_waited(&setup);
}

/// Nothing leaves by a realm whose key is missing, and no message is refused for it.
#[test]
fn a_daemon_of_which_no_route_starts_takes_messages_all_the_same() {
    let setup = setup().realm("tokens = \"keyed\"\nkey = { file = \"nowhere.key\" }");
    std::fs::remove_file(setup.dir.path().join("routes/vaulted.toml")).unwrap();
    let mut daemon = setup.start();
    for nth in 0..20 {
        send(&daemon, &adt("A01", &format!("A{nth}"), "ZZ100001"));
    }
    let lag = "tidegate_route_lag_events{route=\"keyed\"}";
    eventually("they wait", || daemon.metric(lag) == 20.0);
    assert!(daemon.stop().success());
    let key = setup.dir.path().join("nowhere.key");
    std::fs::write(&key, [7; 32]).unwrap();
    chmod(&key, 0o600);
    let mut daemon = setup.start();
    eventually("they are delivered", || setup.lines("keyed").len() == 20);
    assert!(daemon.stop().success());
}
