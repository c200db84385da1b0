//! Health, metrics and the API: who may ask what.

use std::net::SocketAddr;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};

use crate::support::daemon::{Setup, TIDEGATE, http, http_get};
use crate::support::{canary, eventually};
use crate::{admission, code_of, setup};

const VIEWER: &str = "the-token-of-a-viewer";
const OPERATOR: &str = "the-token-of-an-operator";
/// What needs no token, what a viewer may, what an operator may.
const OPEN: [&str; 4] = ["/livez", "/readyz", "/metrics", "/.well-known/jwks.json"];
const LISTS: [&str; 2] = ["/api/journal", "/api/exceptions"];
const WHOLE: [&str; 2] = ["/api/journal/1", "/api/exceptions/1"];

/// A setup with a viewer and an operator.
fn with_users() -> Setup {
    let setup = setup().admin("users = \"users.toml\"");
    let hash = |token: &str| -> String {
        let hash = digest(&SHA256, token.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let user = |name: &str, token: &str| {
        format!(
            "[[user]]\nname = \"{name}\"\nrole = \"{name}\"\ntoken = \"sha256:{}\"\n",
            hash(token)
        )
    };
    let users = user("viewer", VIEWER) + &user("operator", OPERATOR);
    std::fs::write(setup.dir.path().join("users.toml"), users).unwrap();
    setup
}

/// Asks with headers of one's own.
fn ask(admin: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String) {
    http(admin, &format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"))
}

/// Faults 95 and 99: every path for everybody.
#[test]
fn fault_99_everybody_may_ask_what_their_role_may_and_nothing_else() {
    let setup = with_users();
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    assert_eq!(code_of(&daemon, b"no message"), "AE");
    let authorization = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let basic = "Authorization: Basic b3BlcmF0b3I6eA==\r\n".to_owned();
    let paths = || OPEN.into_iter().chain(LISTS).chain(WHOLE);
    for (who, headers, lists, whole) in [
        ("nobody", String::new(), 401, 401),
        ("an empty token", authorization(""), 401, 401),
        ("a wrong token", authorization("the-token-of-nobody"), 401, 401),
        ("half a token", authorization(&OPERATOR[..10]), 401, 401),
        ("another scheme", basic, 401, 401),
        ("a viewer", authorization(VIEWER), 200, 403),
        ("an operator", authorization(OPERATOR), 200, 200),
    ] {
        let headers = format!("Host: {}\r\n{headers}", daemon.admin());
        for path in paths() {
            let (status, body) = ask(daemon.admin(), "GET", path, &headers);
            let wanted = if OPEN.contains(&path) {
                200
            } else if LISTS.contains(&path) {
                lists
            } else {
                whole
            };
            assert_eq!(status, wanted, "{who} asks {path}: {body}");
            if status != 200 || !WHOLE.contains(&path) {
                canary::assert_none(path, &body);
            }
        }
        // A page of another site, with whatever token.
        let from_elsewhere = format!("{headers}Origin: https://evil.example\r\n");
        for path in LISTS.into_iter().chain(WHOLE) {
            assert_eq!(ask(daemon.admin(), "GET", path, &from_elsewhere).0, 403, "{who} {path}");
        }
        for path in paths() {
            assert_eq!(ask(daemon.admin(), "POST", path, &headers).0, 405, "{who} {path}");
        }
    }
    for token in [VIEWER, OPERATOR, "the-token-of-nobody"] {
        assert!(!daemon.log().contains(token), "tokens are not logged");
    }
    assert!(daemon.stop().success());
}

/// Fault 99: who may only read changes nothing.
#[test]
fn fault_99_an_import_is_for_operators_and_for_no_page_of_another_site() {
    let setup = with_users();
    let mut daemon = setup.start();
    let path = "/api/consent/import";
    for (headers, wanted) in [
        (String::new(), 401),
        ("Authorization: Bearer wrong\r\n".to_owned(), 401),
        (format!("Authorization: Bearer {VIEWER}\r\n"), 403),
        (format!("Authorization: Bearer {OPERATOR}\r\nOrigin: https://evil.example\r\n"), 403),
        (format!("Authorization: Bearer {OPERATOR}\r\n"), 422),
    ] {
        let headers = format!("Host: {}\r\nContent-Length: 0\r\n{headers}", daemon.admin());
        assert_eq!(ask(daemon.admin(), "POST", path, &headers).0, wanted, "{headers}");
        assert_eq!(ask(daemon.admin(), "GET", path, &headers).0, 405, "{headers}");
    }
    assert!(daemon.stop().success());
}

#[test]
fn the_commands_take_the_token_from_the_environment() {
    let setup = with_users();
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    let url = format!("http://{}/", daemon.admin());
    let config = setup.config().display().to_string();
    let run = |arguments: &[&str], token: Option<&str>| {
        let mut command = Command::new(TIDEGATE);
        command.args(arguments).env_remove("TIDEGATE_TOKEN");
        command.envs(token.map(|token| ("TIDEGATE_TOKEN", token)));
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    for whence in [["--admin", url.as_str()], ["--config", config.as_str()]] {
        let ls = [&["journal", "ls", "--json"][..], &whence].concat();
        let show = [&["journal", "show", "1", "--json"][..], &whence].concat();
        for (arguments, token, code, word) in [
            (&ls, None, 1, "401"),
            (&ls, Some("wrong"), 1, "401"),
            (&ls, Some(VIEWER), 0, "\"controlId\":\"C1\""),
            (&show, Some(VIEWER), 1, "403"),
            (&show, Some(OPERATOR), 0, "ZZQUILLON"),
        ] {
            let (found, text) = run(arguments, token);
            assert_eq!(found, code, "{arguments:?} {token:?}: {text}");
            assert!(text.contains(word), "{arguments:?} {token:?}: {text}");
        }
    }
    let (code, text) = run(&["journal", "ls", "--admin", "http://127.0.0.1:1"], None);
    assert_eq!(code, 1);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(daemon.stop().success());
}

#[test]
fn without_users_and_without_dev_the_api_is_not_there_and_health_is() {
    let setup = setup().admin("");
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    for path in LISTS.into_iter().chain(WHOLE) {
        let host = format!("Host: {}\r\nAuthorization: Bearer x\r\n", daemon.admin());
        assert_eq!(ask(daemon.admin(), "GET", path, &host).0, 404, "{path}");
    }
    for path in OPEN {
        assert_eq!(daemon.get(path).0, 200, "{path}");
    }
    let output = setup.command(&["journal", "ls"]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains("[admin] has no users"), "{complaint}");
    assert!(daemon.stop().success());
}

/// Fault 96: a name that somebody made point here is not ours.
#[test]
fn fault_96_in_dev_the_api_answers_to_names_of_this_machine_alone() {
    let setup = setup();
    let mut daemon = setup.start();
    let port = daemon.admin().port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (format!("evil.example:{port}"), 403),
        (format!("localhost.evil.example:{port}"), 403),
        (format!("127.0.0.1.evil.example:{port}"), 403),
        ("10.0.0.1".to_owned(), 403),
    ] {
        let found = ask(daemon.admin(), "GET", "/api/journal", &format!("Host: {host}\r\n"));
        assert_eq!(found.0, status, "{host}");
    }
    let headers = format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n");
    assert_eq!(ask(daemon.admin(), "GET", "/api/journal", &headers).0, 403);
    assert!(daemon.stop().success());
}

#[test]
fn what_the_api_does_not_know_is_said_and_costs_nothing() {
    let setup = setup();
    let mut daemon = setup.start();
    assert_eq!(code_of(&daemon, &admission("C1")), "AA");
    for (path, status) in [
        ("/", 404),
        ("/api", 404),
        ("/api/journal/99", 404),
        ("/api/exceptions/99", 404),
        ("/api/journal/x", 400),
        ("/api/journal/-1", 400),
        ("/api/journal/1/../../etc/passwd", 404),
        ("/api/journal?limit=x", 400),
        ("/api/journal?colour=1", 400),
        ("/api/journal?correlation=x", 400),
        ("/api/journal?feed=%27%20OR%201=1", 200),
        ("/api/exceptions?category=%27;DROP%20TABLE%20messages", 200),
    ] {
        let (found, body) = daemon.get(path);
        assert_eq!(found, status, "{path}: {body}");
    }
    assert_eq!(setup.json(&["journal", "ls"]).len(), 1);
    assert!(daemon.stop().success());
}

/// Fault 105: who asks and does not read, or asks all the time, holds up nobody.
#[test]
fn fault_105_scrapers_that_do_not_read_hold_up_nothing() {
    use std::io::Write;
    let setup = setup();
    let mut daemon = setup.start();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.admin());
    let mut lazy: Vec<std::net::TcpStream> = Vec::new();
    for _ in 0..30 {
        let mut stream = std::net::TcpStream::connect(daemon.admin()).unwrap();
        stream.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        // As many as it takes.
        stream.write_all(request.repeat(200).as_bytes()).ok();
        lazy.push(stream);
    }
    for number in 0..50 {
        assert_eq!(code_of(&daemon, &admission(&format!("C{number}"))), "AA");
        assert_eq!(http_get(daemon.admin(), "/livez").0, 200);
    }
    eventually("all is delivered", || setup.lines("out").len() == 50);
    drop(lazy);
    assert!(daemon.stop().success());
}
