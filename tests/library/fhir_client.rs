//! The client of a FHIR server, against servers that misbehave.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::server::WebPkiClientVerifier;
use tidegate::clock;
use tidegate::feed::fhir::auth::Auth;
use tidegate::feed::fhir::body::RATIO_MAX;
use tidegate::feed::fhir::client::{Method, Url};
use tidegate::feed::fhir::fault::{ContentType, Handshake, Unreachable};
use tidegate::feed::fhir::{Base, Client, FetchFault, Fetched, Form, Known, Settings};
use tidegate::secret::Origin;
use tidegate::tls::{self, Files, Live};

use crate::support::certificates::{Authority, Issued};
use crate::support::http::{Reply, Site, answer, json};

/// What a body is at most here.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// What a request takes at most, where a test is not about it.
const LONG: Duration = Duration::from_secs(30);

pub fn settings(base: &str, auth: Auth) -> Settings {
    Settings {
        feed: "ehr".into(),
        base: Base::read(base, false).unwrap(),
        auth,
        tls: None,
        page_bytes_max: PAGE_BYTES_MAX,
        connect_timeout: LONG,
        timeout: LONG,
    }
}

fn client(site: &Site) -> Client {
    Client::new(settings(&site.url("/fhir"), Auth::None))
}

async fn get(client: &Client, path: &str) -> Result<Fetched, FetchFault> {
    client.fetch(&client.base().below(path).unwrap(), &Known::default()).await
}

/// What becomes of one answer.
async fn of(bytes: Vec<u8>) -> Result<Fetched, FetchFault> {
    get(&client(&Site::always(bytes)), "Patient").await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/fhir+json");

#[tokio::test]
async fn a_request_says_who_asks_and_what_is_taken_and_keeps_its_connection() {
    let site = Site::start(|_| {
        Reply::Send(answer(
            200,
            &[
                ("content-type", "application/fhir+json; charset=UTF-8"),
                ("etag", "W/\"7\""),
                ("last-modified", "Sun, 22 Nov 2026 11:00:00 GMT"),
                ("date", "Sun, 22 Nov 2026 12:00:00 GMT"),
            ],
            "{\"resourceType\":\"Bundle\"}",
        ))
    });
    let client = client(&site);
    let page = get(&client, "Patient?_count=5").await.unwrap();
    assert_eq!(&page.body.expose()[..], b"{\"resourceType\":\"Bundle\"}");
    assert_eq!((page.status, page.form), (200, Some(Form::Json)));
    assert_eq!(page.date, Some("2026-11-22T12:00:00Z".parse().unwrap()));
    let url = client.base().below("Patient?_count=5").unwrap();
    client.fetch(&url, &page.known).await.unwrap();
    get(&client, "metadata").await.unwrap();
    assert_eq!(site.connections(), 1);
    let seen = site.seen();
    let [first, second, third] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((first.method.as_str(), first.target.as_str()), ("GET", "/fhir/Patient?_count=5"));
    assert!(first.header("accept").unwrap().starts_with("application/fhir+json, "));
    assert!(first.header("accept").unwrap().contains("application/fhir+xml"));
    assert_eq!(first.header("accept-encoding"), Some("gzip"));
    let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
    assert_eq!(first.header("user-agent"), Some(agent));
    for absent in ["authorization", "if-none-match", "if-modified-since", "cookie", "referer"] {
        assert_eq!(first.header(absent), None, "{absent}");
    }
    assert_eq!(second.header("if-none-match"), Some("W/\"7\""));
    assert_eq!(second.header("if-modified-since"), Some("Sun, 22 Nov 2026 11:00:00 GMT"));
    assert_eq!(third.target, "/fhir/metadata");
}

#[tokio::test]
async fn a_status_is_told_with_what_the_server_says_of_it() {
    let xml = [("content-type", "application/fhir+xml")];
    assert_eq!(of(answer(200, &xml, "<Bundle/>")).await.unwrap().form, Some(Form::Xml));
    let outcome = r#"{"resourceType":"OperationOutcome","issue":[{"code":"too-costly","diagnostics":"ZZPATIENT"}]}"#;
    let date = ("date", "Sun, 22 Nov 2026 12:00:00 GMT");
    let until = ("retry-after", "Sun, 22 Nov 2026 12:00:40 GMT");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (bytes, wanted) in [
        (answer(304, &[], ""), FetchFault::NotModified),
        (answer(401, &[], ""), FetchFault::Unauthorized),
        (answer(429, &[], ""), FetchFault::Throttled { retry_after: None }),
        (
            answer(429, &[("retry-after", "7")], ""),
            FetchFault::Throttled { retry_after: seconds(7) },
        ),
        (answer(429, &[date, until], "{}"), FetchFault::Throttled { retry_after: seconds(40) }),
        (
            answer(503, &[("retry-after", "3")], "<html>"),
            FetchFault::ServerError { status: 503, retry_after: seconds(3) },
        ),
        (answer(500, &[], "x"), FetchFault::ServerError { status: 500, retry_after: None }),
        (
            answer(400, &[JSON], outcome),
            FetchFault::Refused { status: 400, codes: vec!["too-costly"] },
        ),
        (answer(403, &[], "<html>"), FetchFault::Refused { status: 403, codes: vec![] }),
        (answer(410, &[], ""), FetchFault::Refused { status: 410, codes: vec![] }),
        // What is refused with a body without end is refused all the same.
        (answer(404, &[], "x".repeat(1 << 20)), FetchFault::Refused { status: 404, codes: vec![] }),
        (answer(300, &[], ""), FetchFault::Refused { status: 300, codes: vec![] }),
    ] {
        let fault = of(bytes).await.unwrap_err();
        assert_eq!(fault, wanted);
        assert!(!format!("{fault} {fault:?}").contains("ZZ"), "{fault:?}");
    }
}

#[tokio::test]
async fn what_is_no_resource_is_told_by_what_it_is() {
    for (headers, body, wanted) in [
        (vec![("content-type", "text/html")], "<html>ZZ", ContentType::Html),
        (vec![("content-type", "text/plain")], "ZZ", ContentType::Text),
        (vec![("content-type", "application/pdf")], "ZZ", ContentType::Other),
        (vec![], "{}", ContentType::None),
        (vec![JSON], "", ContentType::Empty),
        (vec![], "", ContentType::Empty),
    ] {
        let fault = of(answer(200, &headers, body)).await.unwrap_err();
        assert_eq!(fault, FetchFault::WrongContentType(wanted));
        assert!(fault.passes() && !fault.to_string().contains("ZZ"));
    }
}

/// PROMISE-11: another's address is not asked, not even connected to.
#[tokio::test]
async fn another_origin_is_never_asked_whoever_names_it() {
    let other = Site::start(|_| json("{}"));
    let target = other.url("/fhir/Patient");
    let moved = target.clone();
    let site = Site::start(move |request| {
        let location = match request.target.as_str() {
            "/fhir/away" => moved.as_str(),
            "/fhir/scheme" => "https://127.0.0.1/fhir/Patient",
            "/fhir/user" => "http://user:pw@127.0.0.1/fhir/Patient",
            "/fhir/one" => "two",
            "/fhir/two" => "/fhir/three/",
            "/fhir/round" => "round",
            _ => return json("{}"),
        };
        Reply::Send(answer(307, &[("location", location)], ""))
    });
    let client = client(&site);
    let direct = Url::parse(&target).unwrap();
    let known = Known::default();
    assert_eq!(client.fetch(&direct, &known).await.unwrap_err(), FetchFault::OtherOrigin);
    for away in ["away", "scheme", "user"] {
        assert_eq!(get(&client, away).await.unwrap_err(), FetchFault::OtherOrigin, "{away}");
    }
    let sent = client.send(Method::DELETE, &direct, None).await;
    assert_eq!(sent.unwrap_err(), FetchFault::OtherOrigin);
    assert_eq!(other.connections(), 0);
    // Within the server they are followed, but not on and on; what changes something never is.
    assert!(get(&client, "one").await.is_ok());
    assert_eq!(site.seen().last().unwrap().target, "/fhir/three/");
    assert_eq!(get(&client, "round").await.unwrap_err(), FetchFault::Redirects);
    let one = client.base().below("one").unwrap();
    let refused = FetchFault::Refused { status: 307, codes: vec![] };
    assert_eq!(client.send(Method::PUT, &one, Some("{}".into())).await.unwrap_err(), refused);
}

#[tokio::test]
async fn a_body_is_unpacked_within_its_bounds() {
    let page = format!("{{\"a\":\"{}\"}}", "ZZPATIENT ".repeat(1_000));
    let packed = |body: &[u8]| answer(200, &[JSON, ("content-encoding", "gzip")], gzip(body));
    assert_eq!(&of(packed(page.as_bytes())).await.unwrap().body.expose()[..], page.as_bytes());
    let bomb = of(packed(&vec![b' '; 256 << 20])).await.unwrap_err();
    assert_eq!(bomb, FetchFault::RatioTooLarge { ratio_max: RATIO_MAX });
    let large = FetchFault::TooLarge { bytes_max: PAGE_BYTES_MAX };
    // xorshift, which does not pack.
    let next = |state: &u64| {
        let state = state ^ (state << 13);
        let state = state ^ (state >> 7);
        Some(state ^ (state << 17))
    };
    let noise = std::iter::successors(Some(0x9e37_79b9_7f4a_7c15_u64), next);
    let noise: Vec<u8> =
        noise.map(|state| state.to_le_bytes()[3]).take(PAGE_BYTES_MAX + 1).collect();
    assert_eq!(of(packed(&noise)).await.unwrap_err(), large);
    assert_eq!(of(answer(200, &[JSON], &noise)).await.unwrap_err(), large);
    // A head that promises too much, and one that promises nothing.
    let promise = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999999\r\n\r\n{}";
    let site = Site::start(|_| Reply::End(promise.to_vec()));
    assert_eq!(get(&client(&site), "Patient").await.unwrap_err(), FetchFault::Reset);
    let endless = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    let site = Site::start(move |_| Reply::End([&endless[..], &noise].concat()));
    assert_eq!(get(&client(&site), "Patient").await.unwrap_err(), large);
    for encoding in ["br", "deflate", "gzip, gzip", "gzip"] {
        let bytes = answer(200, &[JSON, ("content-encoding", encoding)], "{}");
        assert_eq!(of(bytes).await.unwrap_err(), FetchFault::BadEncoding, "{encoding}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_is_none() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json\r\n";
    for begun in [
        String::new(),
        "HTTP/1.1 200 ".to_owned(),
        head.to_owned(),
        format!("{head}content-length: 20\r\n\r\n{{\"a\":1}}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n7\r\n{{\"a\":1}}\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\n9\r\n{{\"a\":1}}"),
    ] {
        for reset in [true, false] {
            let bytes = begun.clone().into_bytes();
            let site = Site::start(move |_| {
                let bytes = bytes.clone();
                if reset { Reply::Reset(bytes) } else { Reply::End(bytes) }
            });
            let fault = get(&client(&site), "Patient").await.unwrap_err();
            assert_eq!(fault, FetchFault::Reset, "{reset} {begun:?}");
            assert!(fault.passes());
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_told_so_and_a_head_is_bounded() {
    let huge = format!("HTTP/1.1 200 OK\r\nx-huge: {}\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: 1\r\n".repeat(10_000));
    for bytes in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "<html>no\r\n\r\n", &huge, &many] {
        let bytes = bytes.as_bytes().to_vec();
        let site = Site::start(move |_| Reply::End(bytes.clone()));
        assert_eq!(get(&client(&site), "Patient").await.unwrap_err(), FetchFault::NotHttp);
    }
}

#[tokio::test]
async fn whoever_is_slow_is_not_waited_for_without_end() {
    let begun = answer(200, &[JSON], "x".repeat(1 << 20));
    let head = begun.get(..80).unwrap().to_vec();
    for drip in [true, false] {
        let head = head.clone();
        let site = Site::start(move |_| if drip { Reply::Drip(head.clone()) } else { Reply::Hang });
        let timeout = Duration::from_millis(700);
        let settings = Settings { timeout, ..settings(&site.url("/fhir"), Auth::None) };
        let fault = get(&Client::new(settings), "Patient").await.unwrap_err();
        assert_eq!(fault, FetchFault::TimedOut(timeout));
    }
}

#[tokio::test]
async fn who_is_not_there_is_told_by_why() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let at = |base: &str| {
        Client::new(Settings {
            base: Base::read(base, true).unwrap(),
            ..settings("http://127.0.0.1", Auth::None)
        })
    };
    let fault = get(&at(&format!("http://{address}/fhir")), "Patient").await.unwrap_err();
    assert_eq!(fault, FetchFault::Unreachable(Unreachable::Connect));
    let fault = get(&at("http://nobody.invalid/fhir"), "Patient?name=ZZ").await.unwrap_err();
    assert_eq!(fault, FetchFault::Unreachable(Unreachable::Name));
    assert!(!format!("{fault} {fault:?}").contains("ZZ"));
}

#[tokio::test]
async fn a_resource_is_made_replaced_and_removed() {
    let site = Site::start(|request| {
        Reply::Send(match request.method.as_str() {
            "POST" => answer(201, &[("location", "Subscription/7/_history/1"), JSON], "{}"),
            "PUT" => answer(200, &[JSON, ("location", "http://evil.example/")], ""),
            _ => answer(204, &[], ""),
        })
    });
    let client = client(&site);
    let url = client.base().below("Subscription").unwrap();
    let made = client.send(Method::POST, &url, Some("{\"a\":1}".into())).await.unwrap();
    assert_eq!(made.status, 201);
    let location = made.location.unwrap();
    assert_eq!(location.as_str(), site.url("/fhir/Subscription/7/_history/1"));
    let put = client.send(Method::PUT, &location, Some("{\"a\":2}".into())).await.unwrap();
    assert_eq!((put.status, put.location), (200, None));
    let removed = client.send(Method::DELETE, &location, None).await.unwrap();
    assert_eq!((removed.status, removed.form), (204, None));
    let seen = site.seen();
    assert_eq!(seen[0].body, "{\"a\":1}");
    assert_eq!(seen[0].header("content-type"), Some("application/fhir+json"));
    assert_eq!(seen[2].header("content-type"), None);
}

/// A resource that may have been made is not made again by us.
#[tokio::test]
async fn what_could_happen_twice_is_not_sent_twice() {
    let site = Site::start(|_| Reply::Reset(Vec::new()));
    let client = client(&site);
    let url = client.base().below("Subscription").unwrap();
    let fault = client.send(Method::POST, &url, Some("{}".into())).await.unwrap_err();
    assert_eq!(fault, FetchFault::Reset);
    assert_eq!(site.seen().len(), 1);
}

/// PROMISE-10
#[tokio::test]
async fn an_answer_does_not_print_its_body() {
    let page = of(answer(200, &[JSON], "{\"family\":\"ZZPATIENT\"}")).await.unwrap();
    assert_eq!(format!("{page:?}"), "Fetched(200, Some(Json), 22 bytes)");
}

fn origin(path: &std::path::Path) -> Option<Origin> {
    Some(Origin::File(path.to_path_buf()))
}

/// What our side of a handshake is made of.
fn live(ca: &Authority, own: Option<&Issued>) -> tls::Made<rustls::ClientConfig> {
    let files = Files {
        ca: origin(&ca.cert()),
        cert: own.and_then(|own| origin(&own.cert)),
        key: own.and_then(|own| origin(&own.key)),
        crl: None,
    };
    tls::client::make(&files.read().unwrap(), clock::now()).unwrap()
}

fn served(issued: &Issued, clients: Option<&Authority>) -> rustls::ServerConfig {
    let (chain, key) = issued.read();
    let builder = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(authority.roots()),
                tls::provider(),
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    builder.with_single_cert(chain, key).unwrap()
}

#[tokio::test]
async fn the_server_is_verified_by_the_authority_and_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    let right = ours.issue("ehr", "DNS:localhost");
    let of = |issued: &Issued| Site::start_tls(served(issued, None), |_| json("{}"));
    let ask = async |site: Site| {
        let tls = Some(Arc::new(Live::new(live(&ours, None).config)));
        let client = Client::new(Settings { tls, ..settings(&site.url("/fhir"), Auth::None) });
        let answered = get(&client, "Patient").await;
        (answered.map(|page| page.status), site.seen().len())
    };
    assert_eq!(ask(of(&right)).await, (Ok(200), 1));
    for (issued, wanted) in [
        (others.issue("other", "DNS:localhost"), Handshake::UnknownIssuer),
        (ours.issue("elsewhere", "DNS:ehr.example"), Handshake::OtherName),
        (ours.issue_at("old", "DNS:localhost", Some("2020-01-01")), Handshake::Expired),
    ] {
        let fault = FetchFault::Unreachable(Unreachable::Tls(wanted));
        assert_eq!(ask(of(&issued)).await, (Err(fault), 0));
    }
    // Without TLS of ours nobody is trusted.
    let site = of(&right);
    let client = Client::new(settings(&site.url("/fhir"), Auth::None));
    let fault = FetchFault::Unreachable(Unreachable::Tls(Handshake::UnknownIssuer));
    assert_eq!(get(&client, "Patient").await.unwrap_err(), fault);
}

#[tokio::test]
async fn our_certificate_is_shown_where_it_is_asked_for_and_replaced_while_running() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ours");
    let server = authority.issue("ehr", "DNS:localhost");
    let own = authority.issue("gate", "DNS:gate.example");
    let site = Site::start_tls(served(&server, Some(&authority)), |_| json("{}"));
    let certificates = Arc::new(Live::new(live(&authority, None).config));
    let tls = Some(Arc::clone(&certificates));
    let client = Client::new(Settings { tls, ..settings(&site.url("/fhir"), Auth::None) });
    let fault = FetchFault::Unreachable(Unreachable::Tls(Handshake::Alert));
    assert_eq!(get(&client, "Patient").await.unwrap_err(), fault);
    certificates.replace(live(&authority, Some(&own)).config);
    assert_eq!(get(&client, "Patient").await.unwrap().status, 200);
    let connections = site.connections();
    get(&client, "Patient").await.unwrap();
    assert_eq!(site.connections(), connections, "the connection is kept");
}

#[tokio::test]
async fn requests_are_counted_by_what_came_of_them() {
    let turn = AtomicUsize::new(0);
    let site = Site::start(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => json("{}"),
        1 => Reply::Send(answer(429, &[], "")),
        2 => Reply::Send(answer(503, &[("retry-after", "1")], "")),
        _ => Reply::End(Vec::new()),
    });
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let client = metrics::with_local_recorder(&recorder, || client(&site));
    for _ in 0..4 {
        get(&client, "Patient").await.ok();
    }
    let shown = recorder.handle().render();
    for line in [
        "tidegate_fhir_requests_total{server=\"ehr\",code_class=\"2xx\"} 1",
        "tidegate_fhir_requests_total{server=\"ehr\",code_class=\"3xx\"} 0",
        "tidegate_fhir_requests_total{server=\"ehr\",code_class=\"4xx\"} 1",
        "tidegate_fhir_requests_total{server=\"ehr\",code_class=\"5xx\"} 1",
        "tidegate_fhir_requests_total{server=\"ehr\",code_class=\"none\"} 1",
        "tidegate_fhir_throttled_total{server=\"ehr\"} 2",
        "tidegate_fhir_token_expiry_timestamp_seconds{server=\"ehr\"} 0",
        "tidegate_fhir_request_duration_seconds_count{server=\"ehr\"} 4",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}
