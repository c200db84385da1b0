//! Certificates on the disk: what `check` says of them, and what becomes of those that are replaced
//! while the daemon runs.

use std::path::Path;
use std::process::Command;

use crate::support::certificates::{Authority, Issued, VERSIONS, connect, openssl, private};
use crate::support::daemon::{Daemon, Setup, TIDEGATE, signal};
use crate::support::eventually;
use crate::tls::{HOST, tls};
use crate::{admission, heard, setup};

const EXPIRY: &str =
    "tidegate_tls_cert_expiry_timestamp_seconds{role=\"mllp_server\",name=\"adt\"}";
const RELOADED: &str = "tidegate_tls_last_reload_successful{role=\"mllp_server\",name=\"adt\"}";

/// When a certificate ends, by openssl's word, in seconds since 1970.
fn ends(cert: &Path) -> f64 {
    let output = openssl(
        cert.parent().unwrap(),
        &["x509", "-enddate", "-noout", "-in", cert.to_str().unwrap()],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.trim().strip_prefix("notAfter=").unwrap().to_owned();
    let output = Command::new("date").args(["-u", "+%s", "-d", &text]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Replaces what a feed uses by another certificate and key, one file after the other.
fn replace(used: &Issued, by: &Issued) {
    std::fs::copy(&by.cert, &used.cert).unwrap();
    std::fs::copy(&by.key, &used.key).unwrap();
}

/// The certificate that a feed shows.
fn shown(daemon: &Daemon, authority: &Authority) -> Vec<u8> {
    let sender = connect(daemon.feed(), authority, None, &VERSIONS).unwrap();
    sender.stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_new_certificate_is_used_without_ending_connections() {
    let setup = setup();
    let authority = Authority::new(setup.dir.path(), "ca");
    let used = authority.issue("gate", HOST);
    let setup = setup.feed(&tls(&used, ""));
    let mut daemon = setup.start();
    assert_eq!(daemon.metric(EXPIRY), ends(&used.cert));
    assert_eq!(daemon.metric(RELOADED), 1.0);
    let mut open = connect(daemon.feed(), &authority, None, &VERSIONS).unwrap();
    assert_eq!(heard(&open.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    let before = shown(&daemon, &authority);

    // Nobody says so: the files are looked at by themselves.
    let next = authority.issue_at("next", HOST, Some("10 days ago"));
    replace(&used, &next);
    eventually("it is shown", || shown(&daemon, &authority) != before);
    eventually("its end is told", || daemon.metric(EXPIRY) == ends(&next.cert));
    assert_eq!(heard(&open.exchange(&admission("C2")).unwrap()), ("AA", "C2"));

    // Somebody says so.
    let second = shown(&daemon, &authority);
    replace(&used, &authority.issue("third", HOST));
    signal(daemon.child.id(), "HUP");
    eventually("it is shown", || shown(&daemon, &authority) != second);
    assert_eq!(heard(&open.exchange(&admission("C3")).unwrap()), ("AA", "C3"));
    assert!(daemon.stop().success());
}

/// Fault 74
#[test]
fn fault_74_a_broken_new_certificate_leaves_the_old_one_in_use_until_it_is_mended() {
    let setup = setup();
    let authority = Authority::new(setup.dir.path(), "ca");
    let used = authority.issue("gate", HOST);
    let setup = setup.feed(&tls(&used, ""));
    let mut daemon = setup.start();
    let before = shown(&daemon, &authority);
    let next = authority.issue("next", HOST);
    let look = || signal(daemon.child.id(), "HUP");
    let said = |text: &str| daemon.log().matches(text).count();

    // Half of the pair, as in the middle of a copy; then nothing at all; then no PEM.
    std::fs::copy(&next.cert, &used.cert).unwrap();
    look();
    eventually("it is told", || said("it is not the key of the certificate") == 1);
    assert_eq!(daemon.metric(RELOADED), 0.0);
    std::fs::remove_file(&used.cert).unwrap();
    look();
    eventually("it is told", || said("No such file or directory") == 1);
    std::fs::write(&used.cert, "ZZ nothing").unwrap();
    look();
    eventually("it is told", || said("it holds no certificate") == 1);
    assert_eq!(shown(&daemon, &authority), before);
    assert_eq!(daemon.metric(EXPIRY), ends(&used_before(&before, &setup)));
    // The same wrong thing is told once, however often it is looked at.
    for _ in 0..5 {
        look();
    }
    replace(&used, &next);
    look();
    eventually("it is in use", || shown(&daemon, &authority) != before);
    eventually("it is told", || daemon.metric(RELOADED) == 1.0);
    assert_eq!(said("it holds no certificate"), 1);
    assert!(daemon.stop().success());
}

/// The certificate that a feed showed, as a file.
fn used_before(der: &[u8], setup: &Setup) -> std::path::PathBuf {
    let (from, to) = (setup.dir.path().join("before.der"), setup.dir.path().join("before.pem"));
    std::fs::write(&from, der).unwrap();
    openssl(
        setup.dir.path(),
        &["x509", "-inform", "der", "-in", "before.der", "-out", "before.pem"],
    );
    to
}

/// Fault 74: whoever looks away goes on; who does not is told by his own side.
#[test]
fn fault_74_an_expired_certificate_starts_with_a_warning() {
    let setup = setup();
    let authority = Authority::new(setup.dir.path(), "ca");
    let used = authority.issue_at("gate", HOST, Some("2020-01-01"));
    let setup = setup.feed(&tls(&used, ""));
    let (code, lines) = setup.check();
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("warning: ")
            && lines[0].contains("certificate 1 has expired: it ended 2020-04-10"),
        "{lines:?}"
    );
    let mut daemon = setup.start();
    assert_eq!(daemon.metric(EXPIRY), ends(&used.cert));
    let (out, _) = crate::support::certificates::s_client(
        daemon.feed(),
        &[],
        &crate::support::sender::frame(&admission("C1")),
        1,
    );
    assert!(String::from_utf8_lossy(&out).contains("MSA|AA|C1"));
    assert!(connect(daemon.feed(), &authority, None, &VERSIONS).is_err());
    eventually("it is logged", || daemon.log().contains("has expired"));
    assert!(daemon.stop().success());
}

/// Each mistake stands at the key that names the file, and says what would be right.
#[test]
fn what_is_wrong_with_certificates_and_keys_is_said_at_its_place() {
    let first = setup();
    let dir = first.dir.path().to_path_buf();
    let authority = Authority::new(&dir, "ca");
    let below = authority.intermediate("below");
    let (own, other) = (authority.issue("gate", HOST), authority.issue("other", HOST));
    let leaf = below.issue("leaf", HOST);
    let join = |name: &str, parts: &[&Path]| {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| std::fs::read(part).unwrap()).collect();
        std::fs::write(dir.join(name), bytes).unwrap();
        dir.join(name)
    };
    let reversed = join("reversed.pem", &[&below.cert(), &leaf.cert]);
    let skipped = join("skipped.pem", &[&leaf.cert, &authority.cert()]);
    openssl(
        &dir,
        &[
            "pkey",
            "-in",
            own.key.to_str().unwrap(),
            "-aes256",
            "-passout",
            "pass:zz",
            "-out",
            "encrypted.key",
        ],
    );
    openssl(
        &dir,
        &[
            "ec",
            "-in",
            own.key.to_str().unwrap(),
            "-aes256",
            "-passout",
            "pass:zz",
            "-out",
            "old.key",
        ],
    );
    openssl(
        &dir,
        &["x509", "-in", own.cert.to_str().unwrap(), "-outform", "der", "-out", "own.der"],
    );
    openssl(&dir, &["genrsa", "-out", "short.key", "1024"]);
    let open = join("open.key", &[&own.key]);
    for name in ["encrypted.key", "old.key", "short.key"] {
        private(&dir.join(name));
    }
    let cert = own.cert.display().to_string();
    let key = own.key.display().to_string();
    let path = |name: &str| dir.join(name).display().to_string();
    let lines = |cert: &str, key: &str, more: &str| {
        format!("[feed.tls]\ncert = {cert:?}\nkey = {key:?}\n{more}")
    };
    let text = std::fs::read_to_string(&own.cert).unwrap();
    // What, at which line of [feed.tls], which words.
    let cases = [
        (lines(&path("none.pem"), &key, ""), 1, "No such file"),
        (lines(&cert, &open.display().to_string(), ""), 2, "0600 is wanted"),
        (lines(&cert, &path("encrypted.key"), ""), 2, "openssl pkey -in KEY -out NEW"),
        (lines(&cert, &path("old.key"), ""), 2, "the key is encrypted"),
        (lines(&cert, &path("short.key"), ""), 2, "RSA of 2048"),
        (
            lines(&cert, &other.key.display().to_string(), ""),
            2,
            "it is not the key of the certificate",
        ),
        (lines(&key, &key, ""), 1, "it is a private key"),
        (lines(&cert, &cert, ""), 2, "others than its owner can read it"),
        (lines(&path("own.der"), &key, ""), 1, "it is DER, and PEM is wanted"),
        (lines(&path("gate-of-ca.csr"), &key, ""), 1, "which an authority has to sign first"),
        (
            lines(&reversed.display().to_string(), &leaf.key.display().to_string(), ""),
            1,
            "the key is that of certificate 2",
        ),
        (lines(&cert, &key, &format!("client_ca = {cert:?}")), 3, "is not that of an authority"),
        (lines(&cert, &key, &format!("client_crl = {cert:?}")), 3, "which is missing"),
        (
            lines(
                &cert,
                &key,
                &format!("client_ca = {:?}\nclient_crl = {cert:?}", authority.cert()),
            ),
            4,
            "it holds no revocation list; it is a certificate",
        ),
        (lines(&text, &key, ""), 1, "does not stand here"),
        (lines(&cert, &key, "ciphers = \"all\""), 3, "`feed.tls.ciphers` is not known"),
        (format!("[feed.tls]\ncert = {cert:?}"), 0, "`feed.tls.key` is missing"),
        (lines(&cert, &key, "[[feed.client]]\nname = \"x\""), 3, "`tls.client_ca` is missing"),
        (
            lines(
                &cert,
                &key,
                &format!(
                    "client_ca = {:?}\n[[feed.client]]\nname = \"x\"\nfacilities = []",
                    authority.cert()
                ),
            ),
            6,
            "without it all are let in",
        ),
    ];
    for (feed, line, words) in cases {
        let setup = setup().feed(&feed);
        let text = std::fs::read_to_string(setup.config()).unwrap();
        let begin = text.lines().position(|line| line == "[feed.tls]").unwrap() + 1;
        let (code, lines) = setup.check();
        assert_eq!((code, lines.len()), (2, 1), "{words}: {lines:?}");
        assert!(lines[0].contains(words), "{words}: {lines:?}");
        assert!(
            lines[0].contains(&format!("tidegate.toml:{}:", begin + line)),
            "{words}: {lines:?}"
        );
        // PROMISE-10: nothing of a key.
        assert!(!lines[0].contains("PRIVATE KEY-----"), "{lines:?}");
    }
    // What peers may mind, and need not.
    let warned =
        setup().feed(&lines(&skipped.display().to_string(), &leaf.key.display().to_string(), ""));
    let (code, lines) = warned.check();
    assert_eq!(code, 0, "{lines:?}");
    assert!(lines[0].contains("certificate 2 is not the issuer of certificate 1"), "{lines:?}");
}

/// As the string itself, or by the name of a credential.
#[test]
fn certificates_come_as_credentials_too() {
    let setup = setup();
    let dir = setup.dir.path().to_path_buf();
    let authority = Authority::new(&dir, "ca");
    let own = authority.issue("gate", HOST);
    let credentials = dir.join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::copy(&own.cert, credentials.join("gate-cert")).unwrap();
    std::fs::copy(&own.key, credentials.join("gate-key")).unwrap();
    let setup = setup.feed(
        "tls = { cert = { credential = \"gate-cert\" }, key = { credential = \"gate-key\" } }",
    );
    let mut command = Command::new(TIDEGATE);
    let mut daemon = setup.start_with(command.env("CREDENTIALS_DIRECTORY", &credentials));
    let mut sender = connect(daemon.feed(), &authority, None, &VERSIONS).unwrap();
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    assert!(daemon.stop().success());
}

/// What the page says to type makes certificates that a sender gets in with.
#[test]
fn the_certificates_of_the_page_let_a_sender_in() {
    let page = std::fs::read_to_string("docs/feeds.md").unwrap();
    let (_, section) = page.split_once("### A certificate to try it with").unwrap();
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let first = setup();
    let dir = first.dir.path().to_path_buf();
    let made = Command::new("sh").args(["-eu", "-c", script]).current_dir(&dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let line = section.lines().find_map(|line| line.strip_prefix("With `")).unwrap();
    let first = first.feed(line.split('`').next().unwrap());
    let mut daemon = first.start();
    std::fs::write(dir.join("message.hl7"), admission("C1")).unwrap();
    let typed = section.split("```sh\n").nth(2).unwrap();
    let (send, _) = typed.split_once("openssl s_client").unwrap();
    let send = send
        .replace("127.0.0.1:2575", &daemon.feed().to_string())
        .replace("tidegate send", &format!("{TIDEGATE} send"));
    let sent = Command::new("sh").args(["-eu", "-c", &send]).current_dir(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(said.contains(" AA C1"), "{said}{}", String::from_utf8_lossy(&sent.stderr));
    assert!(daemon.stop().success());
}
