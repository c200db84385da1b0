//! TLS on a feed: who gets in, what he may say, and what those do not get who do not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::support::certificates::{
    Authority, Issued, TlsStream, VERSIONS, connect, openssl, over, private, s_client,
};
use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::{Sender, frame};
use crate::support::{adt, consent, eventually};
use crate::{PATIENT, admission, dedupe, delivered, heard, rejected, setup};

/// The names that a server is asked for here.
pub const HOST: &str = "DNS:localhost,IP:127.0.0.1";

/// The lines of a feed with a certificate.
pub fn tls(own: &Issued, more: &str) -> String {
    format!("tls = {{ cert = {:?}, key = {:?}{more} }}", own.cert, own.key)
}

/// A feed with TLS, and the authority of its certificate.
fn with_tls(more: impl FnOnce(&Path, &Authority) -> String, lines: &str) -> (Setup, Authority) {
    let setup = setup();
    let dir = setup.dir.path().to_path_buf();
    let authority = Authority::new(&dir, "ca");
    let own = authority.issue("gate", HOST);
    let more = more(&dir, &authority);
    (setup.feed(&tls(&own, &more)).feed(lines), authority)
}

fn plain_tls() -> (Setup, Authority) {
    with_tls(|_, _| String::new(), "")
}

/// Senders have to bring a certificate of the same authority.
fn mutual(lines: &str) -> (Setup, Authority) {
    with_tls(|_, authority| format!(", client_ca = {:?}", authority.cert()), lines)
}

/// Whether a sender gets an acknowledgement.
fn is_let_in(daemon: &Daemon, authority: &Authority, own: Option<&Issued>, id: &str) -> bool {
    let sender = connect(daemon.feed(), authority, own, &VERSIONS);
    sender.and_then(|mut sender| sender.exchange(&admission(id))).is_ok_and(|ack| ack.code == "AA")
}

#[test]
fn messages_come_by_tls_1_2_and_1_3_from_two_implementations() {
    let (setup, authority) = plain_tls();
    let mut daemon = setup.start();
    for (version, name) in VERSIONS.into_iter().zip(["A", "B"]) {
        let mut sender = connect(daemon.feed(), &authority, None, &[version]).unwrap();
        for number in 0..3 {
            let id = format!("{name}{number}");
            assert_eq!(heard(&sender.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
        }
        assert_eq!(sender.stream.conn.protocol_version().unwrap(), version.version);
    }
    let ca = authority.cert();
    let verify =
        ["-CAfile", ca.to_str().unwrap(), "-verify_return_error", "-verify_hostname", "localhost"];
    for (version, said, id) in [("-tls1_2", "TLSv1.2", "O2"), ("-tls1_3", "TLSv1.3", "O3")] {
        let bytes = [frame(&admission(id)), frame(&admission(&format!("{id}-2")))].concat();
        // Whoever asks for a protocol inside gets none, and gets in.
        let arguments =
            [&verify[..], &[version, "-alpn", "hl7", "-servername", "other.example"]].concat();
        let (out, error) = s_client(daemon.feed(), &arguments, &bytes, 2);
        let out = String::from_utf8_lossy(&out);
        assert!(out.contains(&format!("MSA|AA|{id}\r")), "{out} {error}");
        assert!(out.contains(&format!("MSA|AA|{id}-2\r")), "{out} {error}");
        assert!(out.contains(said) && out.contains("No ALPN negotiated"), "{out}");
    }
    eventually("all is delivered", || delivered(&setup).len() == 10);
    assert_eq!(rejected(&daemon, "tls"), 0.0);
    assert!(daemon.stop().success());
}

/// Fault 75
///
/// PROMISE-10
#[test]
fn fault_75_older_versions_and_plain_text_do_not_get_in_and_nothing_of_them_is_shown() {
    let (setup, authority) = plain_tls();
    let mut daemon = setup.start();
    let old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let (out, _) = s_client(daemon.feed(), &old, &frame(&admission("C1")), 0);
    assert!(!String::from_utf8_lossy(&out).contains("MSA|"));
    eventually("it is counted", || rejected(&daemon, "tls") == 1.0);
    // Of one reason one line a second is logged, so that the first may go unsaid.
    eventually("plain text is refused, and said to be", || {
        let mut plain = Sender::connect(daemon.feed());
        plain.send(&admission("C2")).unwrap();
        assert!(plain.ack().is_err(), "an answer in clear");
        daemon.log().contains("does not speak TLS")
    });
    assert!(rejected(&daemon, "tls") >= 2.0);
    assert_eq!(setup.json(&["journal", "ls"]).len(), 0);
    assert!(is_let_in(&daemon, &authority, None, "C3"));
    assert!(daemon.stop().success());
}

/// Fault 74
#[test]
fn fault_74_only_a_valid_certificate_of_the_authority_gets_in() {
    let (setup, authority) = mutual("");
    let other = Authority::new(setup.dir.path(), "other");
    let below = authority.intermediate("below");
    let good = authority.issue("lab", "DNS:lab.example");
    let stranger = other.issue("lab", "DNS:lab.example");
    let expired = authority.issue_at("old", "DNS:lab.example", Some("2020-01-01"));
    let early = authority.issue_at("early", "DNS:lab.example", Some("2099-01-01"));
    let unchained = below.issue("ward", "DNS:ward.example");
    let chained = Issued { cert: setup.dir.path().join("chained.pem"), ..unchained.clone() };
    let chain = [&unchained.cert, &below.cert()].map(|path| std::fs::read(path).unwrap()).concat();
    std::fs::write(&chained.cert, chain).unwrap();
    let mut daemon = setup.start();
    assert!(is_let_in(&daemon, &authority, Some(&good), "C1"));
    assert!(is_let_in(&daemon, &authority, Some(&chained), "C2"));
    let refused = [None, Some(&stranger), Some(&expired), Some(&early), Some(&unchained)];
    for (number, own) in refused.into_iter().enumerate() {
        assert!(!is_let_in(&daemon, &authority, own, &format!("X{number}")), "{number}");
    }
    eventually("they are counted", || rejected(&daemon, "tls") == 5.0);
    // By TLS 1.2 the certificate comes in clear and is verified otherwise.
    let old = [&rustls::version::TLS12];
    let mut sender = connect(daemon.feed(), &authority, Some(&good), &old).unwrap();
    assert_eq!(heard(&sender.exchange(&admission("C3")).unwrap()), ("AA", "C3"));
    for own in [None, Some(&stranger), Some(&expired)] {
        assert!(connect(daemon.feed(), &authority, own, &old).is_err());
    }
    eventually("they are counted", || rejected(&daemon, "tls") == 8.0);
    assert_eq!(setup.json(&["journal", "ls"]).len(), 3);
    assert!(daemon.stop().success());
}

/// Fault 74
#[test]
fn fault_74_a_revoked_certificate_does_not_get_in() {
    let (setup, authority) = with_tls(
        |dir, authority| {
            format!(", client_ca = {:?}, client_crl = {:?}", authority.cert(), dir.join("crl.pem"))
        },
        "",
    );
    let (good, bad) =
        (authority.issue("good", "DNS:a.example"), authority.issue("bad", "DNS:b.example"));
    authority.revoke(&[&bad], &setup.dir.path().join("crl.pem"));
    let mut daemon = setup.start();
    assert!(is_let_in(&daemon, &authority, Some(&good), "C1"));
    assert!(!is_let_in(&daemon, &authority, Some(&bad), "C2"));
    assert!(
        daemon.metric("tidegate_tls_cert_expiry_timestamp_seconds{role=\"crl\",name=\"adt\"}")
            > 0.0
    );
    // A list that comes later holds for whoever connects then.
    authority.revoke(&[&good, &bad], &setup.dir.path().join("crl.pem"));
    crate::support::daemon::signal(daemon.child.id(), "HUP");
    eventually("the list is in use", || daemon.log().contains("new certificates are in use"));
    assert!(!is_let_in(&daemon, &authority, Some(&good), "C3"));
    assert!(daemon.stop().success());
}

/// By a common name, a host name, or a URI.
#[test]
fn who_is_not_listed_is_told_so_by_tls_and_does_not_get_in() {
    let lines = "[[feed.client]]\nname = \"ZZ lab\"\n[[feed.client]]\nname = \"ward.example\"\n\
                 [[feed.client]]\nname = \"urn:oid:1.2.3\"";
    let (setup, authority) = mutual(lines);
    let listed = [
        authority.issue("ZZ lab", "DNS:x.example"),
        authority.issue("one", "DNS:y.example,DNS:WARD.example"),
        authority.issue("two", "URI:urn:oid:1.2.3"),
    ];
    let others = [
        authority.issue("ZZ lab 2", "DNS:lab.example"),
        authority.issue("three", "DNS:sub.ward.example,URI:urn:oid:1.2.34"),
        authority.issue("four", ""),
    ];
    let mut daemon = setup.start();
    for (number, own) in listed.iter().enumerate() {
        assert!(is_let_in(&daemon, &authority, Some(own), &format!("C{number}")), "{number}");
    }
    for (number, own) in others.iter().enumerate() {
        assert!(!is_let_in(&daemon, &authority, Some(own), &format!("X{number}")), "{number}");
    }
    eventually("they are counted", || rejected(&daemon, "client") == 3.0);
    let ca = authority.cert();
    let [cert, key] = [&others[0].cert, &others[0].key].map(|path| path.to_str().unwrap());
    let arguments = ["-CAfile", ca.to_str().unwrap(), "-cert", cert, "-key", key];
    let (_, said) = s_client(daemon.feed(), &arguments, &frame(&admission("X9")), 0);
    assert!(said.contains("access denied"), "{said}");
    assert_eq!(setup.json(&["journal", "ls"]).len(), 3);
    assert!(daemon.stop().success());
}

/// What a sender may not speak for is refused, and changes nothing: not a consent either.
#[test]
fn a_message_of_another_facility_is_refused_and_a_human_sees_it() {
    let lines = "[[feed.client]]\nname = \"lab.example\"\nfacilities = [\"NORTH\", \"EAST\"]\n\
                 applications = [\"EHR\"]";
    let (setup, authority) = mutual(lines);
    let own = authority.issue("lab", "DNS:lab.example");
    let mut daemon = setup.start();
    let mut sender = connect(daemon.feed(), &authority, Some(&own), &VERSIONS).unwrap();
    assert_eq!(heard(&sender.exchange(&admission("C1")).unwrap()), ("AA", "C1"));
    let of = |message: Vec<u8>, from: &str, to: &str| -> Vec<u8> {
        String::from_utf8(message).unwrap().replace(from, to).into_bytes()
    };
    let east = of(admission("C2"), "|EHR|NORTH|", "|EHR|EAST^1.2.3^ISO|");
    assert_eq!(heard(&sender.exchange(&east).unwrap()), ("AA", "C2"));
    let foreign = [
        (of(admission("X1"), "|EHR|NORTH|", "|EHR|SOUTH|"), "MSH^1^4^1^1"),
        (of(admission("X2"), "|EHR|NORTH|", "|EHR||"), "MSH^1^4^1^1"),
        (of(admission("X3"), "|EHR|NORTH|", "|LAB|NORTH|"), "MSH^1^3^1^1"),
        (of(consent("X", "20260101", "X4", PATIENT), "|EHR|NORTH|", "|EHR|SOUTH|"), "MSH^1^4^1^1"),
    ];
    for (message, place) in &foreign {
        let ack = sender.exchange(message).unwrap();
        assert_eq!(ack.code, "AR");
        assert!(ack.err.contains(place) && ack.err.contains("103"), "{}", ack.err);
    }
    assert_eq!(setup.json(&["journal", "ls", "--status", "admitted"]).len(), 2);
    let open = setup.json(&["exceptions", "ls", "--category", "foreign-sender"]);
    assert_eq!(open.len(), 4, "{open:?}");
    let errors =
        "tidegate_feed_errors_total{feed=\"adt\",stage=\"admit\",error_type=\"foreign-sender\"}";
    assert_eq!(daemon.metric(errors), 4.0);
    // The connection goes on, and the same control ID may come again corrected.
    assert_eq!(heard(&sender.exchange(&admission("X1")).unwrap()), ("AA", "X1"));
    eventually("what is its own is delivered", || delivered(&setup) == ["C1", "C2", "X1"]);
    assert!(daemon.stop().success());
}

/// Those who begin a handshake and do not go on take nobody's place, and are cut.
///
/// PROMISE-11
#[test]
fn half_open_handshakes_keep_nobody_out() {
    let (setup, authority) = with_tls(|_, _| String::new(), "connections_max = 4");
    let mut daemon = setup.start();
    let mut half: Vec<TcpStream> = (0..300)
        .map(|number| {
            let mut stream = TcpStream::connect(daemon.feed()).unwrap();
            if number % 2 == 0 {
                // The begin of a ClientHello, and no more.
                stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
            }
            stream
        })
        .collect();
    for number in 0..5 {
        assert!(is_let_in(&daemon, &authority, None, &format!("C{number}")));
    }
    eventually("the oldest gave way", || rejected(&daemon, "handshake-timeout") >= 200.0);
    assert_eq!(daemon.get("/livez").0, 200);
    eventually("the rest is cut in time", || {
        rejected(&daemon, "handshake-timeout") + rejected(&daemon, "tls") >= 300.0
    });
    for stream in &mut half {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // Where it said something, an alert may come before the end.
        let end = std::io::copy(stream, &mut std::io::sink());
        let is_cut = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(end.as_ref().map_or_else(is_cut, |alert| *alert < 16), "{end:?}");
    }
    assert_eq!(rejected(&daemon, "limit"), 0.0);
    assert!(is_let_in(&daemon, &authority, None, "CN"));
    assert!(daemon.stop().success());
}

/// After a restart every sender comes at once; none pushes another out.
#[test]
fn as_many_senders_as_may_connect_can_begin_at_once() {
    let (setup, authority) = with_tls(|_, _| String::new(), "connections_max = 200");
    let mut daemon = setup.start();
    let (feed, authority) = (daemon.feed(), &authority);
    // Connected all together before the first says a word.
    let begun: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(feed).unwrap()).collect();
    std::thread::scope(|scope| {
        for (number, stream) in begun.into_iter().enumerate() {
            scope.spawn(move || {
                let mut sender = over(stream, authority, None, &VERSIONS).unwrap();
                let id = format!("C{number}");
                assert_eq!(heard(&sender.exchange(&admission(&id)).unwrap()), ("AA", id.as_str()));
            });
        }
    });
    assert_eq!(rejected(&daemon, "handshake-timeout") + rejected(&daemon, "limit"), 0.0);
    assert!(daemon.stop().success());
}

#[test]
fn a_stop_does_not_wait_for_a_handshake() {
    let (setup, authority) = plain_tls();
    let mut daemon = setup.start();
    let half = TcpStream::connect(daemon.feed()).unwrap();
    assert!(is_let_in(&daemon, &authority, None, "C1"));
    assert!(daemon.stop().success());
    assert!(!daemon.log().contains("some connections did not finish"));
    drop(half);
}

/// PROMISE-4
#[test]
fn a_sender_that_says_goodbye_gets_every_answer_and_one_that_does_not_loses_no_message() {
    let (setup, authority) = plain_tls();
    let mut daemon = setup.start();
    let ids: Vec<String> = (0..100).map(|number| format!("C{number}")).collect();
    let all: Vec<u8> = ids.iter().flat_map(|id| frame(&admission(id))).collect();
    let mut sender = connect(daemon.feed(), &authority, None, &VERSIONS).unwrap();
    sender.send_raw(&all).unwrap();
    sender.stream.conn.send_close_notify();
    sender.stream.flush().unwrap();
    for id in &ids {
        assert_eq!(heard(&sender.ack().unwrap()), ("AA", id.as_str()));
    }
    // And it is told goodbye, too: an end, not a cut.
    assert_eq!(sender.stream.read(&mut [0; 1]).unwrap(), 0);

    let mut rude: Sender<TlsStream> = connect(daemon.feed(), &authority, None, &VERSIONS).unwrap();
    rude.send(&admission("R1")).unwrap();
    rude.stream.sock.shutdown(Shutdown::Both).unwrap();
    eventually("it came in", || dedupe(&daemon, "new") == 101.0);
    assert!(daemon.stop().success());
}

/// Larger than any TLS record and any buffer on the way, in both directions at once.
#[test]
fn large_messages_and_many_answers_come_through() {
    let (setup, authority) = plain_tls();
    let mut daemon = setup.start();
    let mut sender = connect(daemon.feed(), &authority, None, &VERSIONS).unwrap();
    let mut large = adt("A08", "C0", PATIENT);
    large.extend(b"NTE|1||");
    large.resize(3 << 20, b'x');
    assert_eq!(heard(&sender.exchange(&large).unwrap()), ("AA", "C0"));
    // Long answers to one who does not read yet: more than the sockets hold.
    let long = |number: usize| {
        let text = String::from_utf8(admission(&format!("L{number}"))).unwrap();
        text.replace("|EHR|", &format!("|{}|", "E".repeat(30_000))).into_bytes()
    };
    let all: Vec<u8> = (0..60).flat_map(|number| frame(&long(number))).collect();
    sender.send_raw(&all).unwrap();
    for number in 0..60 {
        assert_eq!(heard(&sender.ack().unwrap()), ("AA", format!("L{number}").as_str()));
    }
    assert!(daemon.stop().success());
}

/// PKCS #8, PKCS #1 and SEC 1, with and without parameters before them; RSA, P-384, Ed25519.
#[test]
fn keys_are_taken_in_every_form_that_openssl_writes() {
    let forms: [(&str, &[&str]); 5] = [
        (
            "pkcs8-rsa",
            &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "k.key"],
        ),
        ("pkcs1-rsa", &["genrsa", "-traditional", "-out", "k.key", "2048"]),
        ("sec1-ec", &["ecparam", "-genkey", "-name", "secp384r1", "-out", "k.key"]),
        ("sec1-bare", &["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "k.key"]),
        ("pkcs8-ed25519", &["genpkey", "-algorithm", "ED25519", "-out", "k.key"]),
    ];
    for (form, make) in forms {
        let setup = setup();
        let dir = setup.dir.path().to_path_buf();
        openssl(&dir, make);
        private(&dir.join("k.key"));
        openssl(
            &dir,
            &[
                "req",
                "-x509",
                "-key",
                "k.key",
                "-out",
                "k.pem",
                "-subj",
                "/CN=ZZ gate",
                "-days",
                "90",
                "-addext",
                &format!("subjectAltName={HOST}"),
            ],
        );
        let own = Issued { cert: dir.join("k.pem"), key: dir.join("k.key") };
        let setup = setup.feed(&tls(&own, ""));
        let mut daemon = setup.start();
        let ca = own.cert.to_str().unwrap();
        let (out, said) = s_client(
            daemon.feed(),
            &["-CAfile", ca, "-verify_return_error"],
            &frame(&admission("C1")),
            1,
        );
        assert!(String::from_utf8_lossy(&out).contains("MSA|AA|C1"), "{form}: {said}");
        assert!(daemon.stop().success());
    }
}
