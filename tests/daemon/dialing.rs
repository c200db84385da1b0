//! A feed that connects to a sender that only accepts, and `tidegate send` over TLS.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::certificates::{Authority, Issued};
use crate::support::daemon::{Setup, TIDEGATE};
use crate::support::eventually;
use crate::support::sender::Sender;
use crate::tls::tls;
use crate::{admission, dedupe, delivered, heard, setup};

const UP: &str = "tidegate_feed_up{feed=\"adt\"}";

fn connects(daemon: &crate::support::daemon::Daemon, result: &str) -> f64 {
    daemon.metric(&format!("tidegate_feed_connects_total{{feed=\"adt\",result=\"{result}\"}}"))
}

/// A socket on a free port, and the setup of a daemon that connects to it.
fn accepting() -> (TcpListener, Setup) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = setup().dialing(&listener.local_addr().unwrap().to_string());
    (listener, setup)
}

/// PROMISE-4
#[test]
fn a_feed_that_connects_takes_messages_and_comes_again_when_the_connection_ends() {
    let (listener, setup) = accepting();
    let mut daemon = setup.start();
    for round in 0..3 {
        let mut sender = Sender::over(listener.accept().unwrap().0);
        for number in 0..3 {
            let id = format!("C{round}-{number}");
            assert_eq!(heard(&sender.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
        }
        assert_eq!(daemon.metric(UP), 1.0);
        assert_eq!(daemon.metric("tidegate_feed_connections{feed=\"adt\"}"), 1.0);
        // One at a time.
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
        listener.set_nonblocking(false).unwrap();
    }
    let last = listener.accept().unwrap().0;
    eventually("the tries are counted", || connects(&daemon, "connected") == 4.0);
    drop(last);
    drop(listener);
    eventually("it is not connected", || daemon.metric(UP) == 0.0);
    eventually("it is tried again", || connects(&daemon, "unreachable") >= 2.0);
    eventually("all is delivered", || delivered(&setup).len() == 9);
    assert!(daemon.stop().success());
}

/// Whoever accepts and closes at once is not hammered.
#[test]
fn a_peer_that_closes_at_once_is_tried_less_and_less() {
    let (listener, setup) = accepting();
    let mut daemon = setup.start();
    let begun = std::time::Instant::now();
    let mut count = 0_u32;
    // The delays grow from a quarter of a second, so that the fifth is above two.
    while count < 6 {
        drop(listener.accept().unwrap());
        count += 1;
    }
    let least = std::time::Duration::from_millis(250 * (1 + 2 + 4 + 8 + 16));
    assert!(begun.elapsed() >= least, "six tries in {:?}", begun.elapsed());
    assert!(daemon.stop().success());
}

#[test]
fn a_stop_does_not_wait_for_a_peer_that_does_not_answer() {
    // An address of nobody, in the block for documentation (RFC 5737).
    let setup = setup().dialing("192.0.2.1:2575");
    let mut daemon = setup.start();
    assert_eq!(daemon.metric(UP), 0.0);
    assert!(daemon.stop().success());
    assert!(!daemon.log().contains("some connections did not finish"));
}

/// A name of nobody (RFC 6761): it is said, tried again, and stops nothing.
#[test]
fn a_name_that_nobody_has_is_looked_up_again_and_again() {
    let setup = setup().dialing("zz.invalid:2575");
    let mut daemon = setup.start();
    eventually("it is tried again", || connects(&daemon, "unreachable") >= 2.0);
    eventually("it is logged", || daemon.log().contains("not connected; tried again"));
    assert_eq!(daemon.get("/livez").0, 200);
    assert!(daemon.stop().success());
}

/// The side that accepts, over TLS, and wants a certificate.
fn accept_tls(
    listener: &TcpListener,
    authority: &Authority,
    own: &Issued,
) -> std::io::Result<Sender<StreamOwned<ServerConnection, TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.cert()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&own.cert).unwrap()],
            PrivateKeyDer::from_pem_file(&own.key).unwrap(),
        )
        .unwrap();
    let mut stream =
        StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), listener.accept()?.0);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Sender::by(stream))
}

#[test]
fn a_feed_that_connects_by_tls_verifies_whom_it_reaches_and_says_who_it_is() {
    let (listener, setup) = accepting();
    let dir = setup.dir.path().to_path_buf();
    let (authority, other) = (Authority::new(&dir, "ca"), Authority::new(&dir, "other"));
    let own = authority.issue("gate", "DNS:gate.example");
    let lines = format!(
        "tls = {{ ca = {:?}, cert = {:?}, key = {:?}, server_name = \"lab.example\" }}",
        authority.cert(),
        own.cert,
        own.key
    );
    let setup = setup.feed(&lines);
    let mut daemon = setup.start();
    let wrong = [
        authority.issue("lab2", "DNS:lab2.example"),
        other.issue("lab", "DNS:lab.example"),
        authority.issue_at("old", "DNS:lab.example", Some("2020-01-01")),
    ];
    for (number, cert) in wrong.iter().enumerate() {
        let peer = accept_tls(&listener, &authority, cert);
        assert!(peer.is_err(), "{number}: {:?}", peer.map(|_| ()));
        eventually("it is counted", || connects(&daemon, "tls") == number as f64 + 1.0);
        assert_eq!(daemon.metric(UP), 0.0);
    }
    let right = authority.issue("lab", "DNS:lab.example");
    let mut sender = accept_tls(&listener, &authority, &right).unwrap();
    let brought = sender.stream.conn.peer_certificates().unwrap()[0].to_vec();
    assert_eq!(brought, CertificateDer::from_pem_file(&own.cert).unwrap().to_vec());
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    assert_eq!(dedupe(&daemon, "new"), 1.0);
    let expiry = "tidegate_tls_cert_expiry_timestamp_seconds{role=\"mllp_client\",name=\"adt\"}";
    assert!(daemon.metric(expiry) > 0.0);
    assert!(daemon.stop().success());
}

/// `tidegate send` with these arguments, of one message.
fn send(setup: &Setup, id: &str, arguments: &[&str]) -> Output {
    let file = setup.dir.path().join(format!("{id}.hl7"));
    std::fs::write(&file, admission(id)).unwrap();
    Command::new(TIDEGATE).arg("send").args(arguments).arg(file).output().unwrap()
}

#[test]
fn send_speaks_tls_and_verifies_whom_it_reaches() {
    let setup = setup();
    let dir = setup.dir.path().to_path_buf();
    let authority = Authority::new(&dir, "ca");
    let other = Authority::new(&dir, "other");
    let own = authority.issue("gate", "DNS:gate.example");
    let mine = authority.issue("me", "DNS:me.example");
    let setup = setup.feed(&tls(&own, &format!(", client_ca = {:?}", authority.cert())));
    let mut daemon = setup.start();
    let to = daemon.feed().to_string();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (ca, cert, key) = (path(&authority.cert()), path(&mine.cert), path(&mine.key));
    let with = [&to[..], "--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key];
    let named = [&with[..], &["--tls-name", "gate.example"]].concat();
    let output = send(&setup, "C1", &named);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains(" AA C1"));
    let wrong_ca = path(&other.cert());
    let wrong: [(&str, &[&str], &str); 4] = [
        ("X1", &with, "not valid for name"),
        ("X2", &[&to, "--tls-ca", &wrong_ca, "--tls-name", "gate.example"], "UnknownIssuer"),
        ("X3", &[&to, "--tls-ca", &ca, "--tls-name", "gate.example"], "CertificateRequired"),
        ("X4", &[&to], "no answer"),
    ];
    for (id, arguments, words) in wrong {
        let output = send(&setup, id, arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    let output = send(&setup, "X5", &[&to, "--tls-ca", &key]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is a private key"));
    assert_eq!(setup.json(&["journal", "ls"]).len(), 1);
    assert!(daemon.stop().success());
}

#[test]
fn what_does_not_go_with_connecting_is_said_at_its_place() {
    for (lines, words) in [
        ("listen = \"127.0.0.1:0\"", "`connect` and `listen` exclude each other"),
        ("allow = [\"10.0.0.0/8\"]", "`allow` and `connect` exclude each other"),
        ("connections_max = 2", "has one connection"),
        ("[[feed.client]]\nname = \"x\"", "`tls.server_name` says whose certificate is wanted"),
        ("tls = { cert = \"a.pem\", key = \"a.key\" }", "`feed.tls.ca` is missing"),
    ] {
        let setup = setup().dialing("lab.example:2575").feed(lines);
        let (code, lines) = setup.check();
        assert_eq!(code, 2, "{lines:?}");
        let mistakes = lines.iter().filter(|line| !line.starts_with("warning: ")).count();
        assert_eq!(mistakes, 1, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
    }
    // In clear beyond this machine: a warning.
    for (setup, clear) in [
        (setup().dialing("lab.example:2575"), true),
        (setup().dialing("127.0.0.1:2575"), false),
        (setup().listening("0.0.0.0:2575"), true),
        (setup().listening("[::ffff:127.0.0.1]:2575"), false),
    ] {
        let (code, lines) = setup.check();
        assert_eq!(code, 0, "{lines:?}");
        let told = lines.iter().any(|line| line.contains("messages come in clear"));
        assert_eq!(told, clear, "{lines:?}");
    }
    let setup = setup().dialing("lab.example");
    let (_, lines) = setup.check();
    let wanted = "`connect` is not a host and a port";
    assert!(lines.iter().any(|line| line.contains(wanted)), "{lines:?}");
}
