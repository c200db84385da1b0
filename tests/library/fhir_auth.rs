//! How a FHIR server comes to know us, against servers and token endpoints that misbehave; what we
//! sign is verified by openssl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use tidegate::feed::fhir::auth::key::{Algorithm, SigningKey};
use tidegate::feed::fhir::auth::published::Published;
use tidegate::feed::fhir::auth::{Auth, Scope, Smart};
use tidegate::feed::fhir::client::Url;
use tidegate::feed::fhir::fault::TokenFault;
use tidegate::feed::fhir::{Client, FetchFault, Known};
use tidegate::secret::Origin;

use crate::fhir_client::settings;
use crate::support::certificates::{openssl, private};
use crate::support::http::{Reply, Request, Site, answer, json};

/// How openssl makes a key for each algorithm.
const KEYS: [(Algorithm, &[&str]); 3] = [
    (Algorithm::Rs384, &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    (Algorithm::Es384, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    (Algorithm::EdDsa, &["genpkey", "-algorithm", "ED25519"]),
];

fn make(dir: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    openssl(dir, &[arguments, &["-out", name]].concat());
    private(&dir.join(name));
    dir.join(name)
}

fn file(path: &Path) -> Origin {
    Origin::File(path.to_path_buf())
}

fn smart(key: &Path, token_url: Option<&str>) -> Smart {
    Smart {
        client_id: "tidegate-test".to_owned(),
        key: file(key),
        other_keys: Vec::new(),
        algorithm: None,
        kid: None,
        token_url: token_url.map(|url| Url::parse(url).unwrap()),
        scope: Scope::Types(vec!["Patient".to_owned(), "Encounter".to_owned()]),
        plain: false,
    }
}

fn client(base: &str, smart: Smart) -> Client {
    Client::new(settings(base, Auth::SmartBackend(Box::new(smart))))
}

async fn get(client: &Client) -> Result<u16, FetchFault> {
    let url = client.base().below("Patient").unwrap();
    client.fetch(&url, &Known::default()).await.map(|page| page.status)
}

fn granted(token: &str, expires_in: u64) -> Reply {
    let body = json!({ "access_token": token, "token_type": "bearer", "expires_in": expires_in });
    Reply::Send(answer(200, &[("content-type", "application/json")], body.to_string()))
}

fn refused(status: u16, error: &str) -> Reply {
    let body = json!({ "error": error, "error_description": "ZZSECRET" });
    Reply::Send(answer(status, &[("content-type", "application/json")], body.to_string()))
}

/// An endpoint whose tokens are `t1`, `t2` and so on, each good for so many seconds.
fn endpoint(expires_in: u64) -> Site {
    let count = AtomicUsize::new(0);
    Site::start(move |_| {
        granted(&format!("t{}", count.fetch_add(1, Ordering::SeqCst) + 1), expires_in)
    })
}

/// A FHIR server that lets in who shows one of some tokens, which can be changed.
fn server(tokens: &[&str]) -> (Site, Arc<Mutex<Vec<String>>>) {
    let valid: Vec<String> = tokens.iter().map(|token| format!("Bearer {token}")).collect();
    let valid = Arc::new(Mutex::new(valid));
    let known = Arc::clone(&valid);
    let site = Site::start(move |request| {
        let shown = request.header("authorization").unwrap_or_default();
        if known.lock().unwrap().iter().any(|known| known == shown) {
            json("{}")
        } else {
            Reply::Send(answer(401, &[("www-authenticate", "Bearer")], ""))
        }
    });
    (site, valid)
}

/// The parts of a JWT.
fn parts(jwt: &str) -> (Json, Json, String, Vec<u8>) {
    let [header, claims, signature] = jwt.split('.').collect::<Vec<_>>()[..] else {
        panic!("{jwt}")
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let read = |part: &str| serde_json::from_slice(&decode(part)).unwrap();
    (read(header), read(claims), format!("{header}.{claims}"), decode(signature))
}

/// The two numbers of an ECDSA signature as openssl wants them (RFC 3279, section 2.2.3).
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = if bytes[0] & 0x80 == 0 { vec![] } else { vec![0] };
        let value = [sign, bytes].concat();
        [vec![2, u8::try_from(value.len()).unwrap()], value].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let both = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}

/// Whether openssl verifies a signature by the public half of a key, which openssl takes out itself.
fn is_verified(dir: &Path, key: &Path, algorithm: Algorithm, text: &str, signature: &[u8]) -> bool {
    openssl(dir, &["pkey", "-in", key.to_str().unwrap(), "-pubout", "-out", "public.pem"]);
    std::fs::write(dir.join("signed"), text).unwrap();
    let signature = if algorithm == Algorithm::Es384 { der(signature) } else { signature.to_vec() };
    std::fs::write(dir.join("signature"), signature).unwrap();
    let arguments: &[&str] = match algorithm {
        Algorithm::Rs384 | Algorithm::Es384 => {
            &["dgst", "-sha384", "-verify", "public.pem", "-signature", "signature", "signed"]
        }
        Algorithm::EdDsa => &[
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "public.pem",
            "-rawin",
            "-in",
            "signed",
            "-sigfile",
            "signature",
        ],
    };
    let mut command = std::process::Command::new("openssl");
    command.args(arguments).current_dir(dir).output().unwrap().status.success()
}

#[tokio::test]
async fn a_token_is_asked_for_by_an_assertion_that_openssl_verifies() {
    let dir = tempfile::tempdir().unwrap();
    for (algorithm, arguments) in KEYS {
        let key = make(dir.path(), "client.key", arguments);
        let (tokens, (fhir, _)) = (endpoint(300), server(&["t1"]));
        let token_url = tokens.url("/auth/token");
        let client = client(&fhir.url("/fhir"), smart(&key, Some(&token_url)));
        assert_eq!(get(&client).await, Ok(200));
        assert_eq!(get(&client).await, Ok(200));
        let asked = tokens.seen();
        let [asked] = asked.as_slice() else { panic!("asked {} times", asked.len()) };
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/auth/token"));
        assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(asked.form("grant_type").as_deref(), Some("client_credentials"));
        let scope = "system/Patient.rs system/Encounter.rs";
        assert_eq!(asked.form("scope").as_deref(), Some(scope));
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(asked.form("client_assertion_type").as_deref(), Some(kind));
        let jwt = asked.form("client_assertion").unwrap();
        let (header, claims, text, signature) = parts(&jwt);
        let signing = SigningKey::read(&file(&key), None, None).unwrap();
        let wanted = json!({ "alg": algorithm.name(), "typ": "JWT", "kid": signing.kid() });
        assert_eq!(header, wanted);
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("tidegate-test"), &json!("tidegate-test"))
        );
        assert_eq!(claims["aud"], token_url);
        let left = claims["exp"].as_i64().unwrap() - tidegate::clock::now().as_second();
        assert!((60..=300).contains(&left), "{left}");
        assert!(claims["jti"].as_str().unwrap().len() >= 32);
        assert!(is_verified(dir.path(), &key, algorithm, &text, &signature), "{algorithm:?}");
        let other = make(dir.path(), "other.key", arguments);
        assert!(!is_verified(dir.path(), &other, algorithm, &text, &signature), "{algorithm:?}");
        assert!(!is_verified(dir.path(), &key, algorithm, &format!("{text}x"), &signature));
    }
}

/// Each assertion has an ID of its own, so that an endpoint that remembers them takes the next.
#[tokio::test]
async fn a_token_is_used_until_shortly_before_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let (tokens, (fhir, _)) = (endpoint(2), server(&["t1", "t2", "t3", "t4", "t5", "t6"]));
    let client = client(&fhir.url("/fhir"), smart(&key, Some(&tokens.url("/token"))));
    let begun = std::time::Instant::now();
    while tokens.seen().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is asked for again");
        assert_eq!(get(&client).await, Ok(200));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The first was shown more than once, and never to its refusal.
    let shown: Vec<_> =
        fhir.seen().iter().map(|it| it.header("authorization").unwrap().to_owned()).collect();
    assert!(shown.iter().filter(|it| *it == "Bearer t1").count() > 1, "{shown:?}");
    let jti =
        |request: &Request| parts(&request.form("client_assertion").unwrap()).1["jti"].clone();
    let seen = tokens.seen();
    assert_ne!(jti(&seen[0]), jti(&seen[1]));
}

/// Requests at once, all of them refused: the server has forgotten its tokens.
#[tokio::test]
async fn many_refusals_at_once_ask_for_one_token() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let (tokens, (fhir, valid)) = (endpoint(300), server(&["t1"]));
    let client = client(&fhir.url("/fhir"), smart(&key, Some(&tokens.url("/token"))));
    let all = || futures_util::future::join_all((0..20).map(|_| get(&client)));
    assert!(all().await.iter().all(|answered| *answered == Ok(200)));
    assert_eq!(tokens.seen().len(), 1);
    *valid.lock().unwrap() = vec!["Bearer t2".to_owned()];
    let answered = all().await;
    assert!(answered.iter().all(|answered| *answered == Ok(200)), "{answered:?}");
    assert_eq!(tokens.seen().len(), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_not_again_within_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let (tokens, (fhir, _)) = (endpoint(300), server(&[]));
    let client = client(&fhir.url("/fhir"), smart(&key, Some(&tokens.url("/token"))));
    assert_eq!(get(&client).await, Err(FetchFault::Unauthorized));
    assert_eq!((tokens.seen().len(), fhir.seen().len()), (2, 2));
    for _ in 0..5 {
        assert_eq!(get(&client).await, Err(FetchFault::Unauthorized));
    }
    assert_eq!((tokens.seen().len(), fhir.seen().len()), (2, 7));
}

#[tokio::test]
async fn the_token_endpoint_is_found_where_the_server_says() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[1].1);
    let tokens = endpoint(300);
    let token_url = tokens.url("/token");
    let said = json!({
        "token_endpoint": token_url,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1"],
    });
    let fhir = Site::start(move |request| match request.target.as_str() {
        "/fhir/.well-known/smart-configuration" => json(said.to_string()),
        _ if request.header("authorization") == Some("Bearer t1") => json("{}"),
        _ => Reply::Send(answer(401, &[], "")),
    });
    let client = client(&fhir.url("/fhir"), smart(&key, None));
    assert_eq!(get(&client).await, Ok(200));
    // What is asked of whom: no proof for the configuration, no token for the endpoint.
    let seen = fhir.seen();
    let [configuration, page] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(configuration.header("authorization"), None);
    assert!(!format!("{page:?}").contains("client_assertion"));
    let asked = &tokens.seen()[0];
    assert_eq!(asked.header("authorization"), None);
    let old = "system/Patient.read system/Encounter.read";
    assert_eq!(asked.form("scope").as_deref(), Some(old));
    let (_, claims, _, _) = parts(&asked.form("client_assertion").unwrap());
    assert_eq!(claims["aud"], token_url);
}

#[tokio::test]
async fn a_configuration_that_leads_nowhere_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let tokens = endpoint(300);
    let away = tokens.url("/configuration");
    for (reply, wanted) in [
        (answer(404, &[], ""), "the server refuses (404)"),
        (answer(302, &[("location", away.as_str())], ""), "the server refuses (302)"),
        (answer(200, &[], "{}"), "names no token_endpoint; `token_url` says it in its place"),
        (
            answer(200, &[], r#"{"token_endpoint":"http://auth.example/ZZ"}"#),
            "names a token_endpoint that is not https; `token_url` says it in its place",
        ),
        (answer(200, &[], "x".repeat(100_000)), "the answer is larger than 65536 bytes"),
    ] {
        let fhir = Site::always(reply);
        let client = client(&fhir.url("/fhir"), smart(&key, None));
        let fault = get(&client).await.unwrap_err().to_string();
        assert!(fault.contains(wanted) && !fault.contains("ZZ"), "{fault}");
        assert_eq!(fhir.seen().len(), 1, "no page is asked for without a token");
    }
    assert_eq!(tokens.connections(), 0);
}

#[tokio::test]
async fn an_endpoint_that_refuses_or_fails_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let wanted = |fault: TokenFault| FetchFault::NoToken(fault);
    let endpoint = |fault| wanted(TokenFault::Endpoint(Box::new(fault)));
    let wait = Some(Duration::from_secs(30));
    for (reply, fault) in [
        (
            refused(400, "invalid_client"),
            wanted(TokenFault::Refused { status: 400, error: "invalid_client" }),
        ),
        (refused(401, "ZZ"), wanted(TokenFault::Refused { status: 401, error: "" })),
        (
            Reply::Send(answer(307, &[("location", "/elsewhere")], "")),
            wanted(TokenFault::Refused { status: 307, error: "" }),
        ),
        (
            Reply::Send(answer(503, &[("retry-after", "30")], "")),
            endpoint(FetchFault::ServerError { status: 503, retry_after: wait }),
        ),
        (
            Reply::Send(answer(429, &[("retry-after", "30")], "")),
            endpoint(FetchFault::Throttled { retry_after: wait }),
        ),
    ] {
        let reply = Mutex::new(Some(reply));
        let tokens = Site::start(move |_| {
            reply.lock().unwrap().take().unwrap_or_else(|| granted("t1", 300))
        });
        let (fhir, _) = server(&["t1"]);
        let client = client(&fhir.url("/fhir"), smart(&key, Some(&tokens.url("/token"))));
        for _ in 0..3 {
            let found = get(&client).await.unwrap_err();
            assert_eq!(found, fault);
            assert!(!found.to_string().contains("ZZ"), "{found}");
        }
        assert_eq!((tokens.seen().len(), fhir.connections()), (1, 0), "{fault}");
    }
}

#[tokio::test]
async fn an_endpoint_that_comes_back_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let count = AtomicUsize::new(0);
    let tokens = Site::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Reset(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"access".to_vec()),
        1 => Reply::Send(answer(200, &[], "<html>")),
        2 => Reply::Send(answer(500, &[], "")),
        _ => granted("t1", 300),
    });
    let (fhir, _) = server(&["t1"]);
    let client = client(&fhir.url("/fhir"), smart(&key, Some(&tokens.url("/token"))));
    let begun = std::time::Instant::now();
    while get(&client).await != Ok(200) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tokens.seen().len(), 4);
}

/// A key that is replaced in its file signs the next assertion; nothing is started anew.
#[tokio::test]
async fn a_replaced_key_signs_the_next_assertion() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let tokens = endpoint(0);
    let (fhir, _) = server(&["t1", "t2"]);
    let client = client(&fhir.url("/fhir"), smart(&key, Some(&tokens.url("/token"))));
    assert_eq!(get(&client).await, Ok(200));
    make(dir.path(), "client.key", KEYS[1].1);
    assert_eq!(get(&client).await, Ok(200));
    let seen = tokens.seen();
    let algorithm = |at: usize| parts(&seen[at].form("client_assertion").unwrap()).0["alg"].clone();
    assert_eq!((algorithm(0), algorithm(1)), (json!("EdDSA"), json!("ES384")));
}

#[tokio::test]
async fn a_bearer_token_and_a_password_are_shown_and_taken_up_when_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let write = |text: &str| {
        std::fs::write(&path, text).unwrap();
        private(&path);
    };
    write("first\n");
    let (fhir, valid) = server(&["first"]);
    let bearer = Client::new(settings(&fhir.url("/fhir"), Auth::Bearer { token: file(&path) }));
    assert_eq!(get(&bearer).await, Ok(200));
    // Revoked: nothing else to show, so asked once.
    *valid.lock().unwrap() = vec!["Bearer second".to_owned()];
    assert_eq!(get(&bearer).await, Err(FetchFault::Unauthorized));
    assert_eq!(fhir.seen().len(), 2);
    write("second\n");
    assert_eq!(get(&bearer).await, Ok(200));
    std::fs::remove_file(&path).unwrap();
    let user = "gate".to_owned();
    let basic =
        Client::new(settings(&fhir.url("/fhir"), Auth::Basic { user, password: file(&path) }));
    let FetchFault::NoToken(TokenFault::Key(said)) = get(&basic).await.unwrap_err() else {
        panic!()
    };
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    write("pass:wörd\n");
    assert_eq!(get(&basic).await, Err(FetchFault::Unauthorized));
    let shown = fhir.seen().last().unwrap().header("authorization").unwrap().to_owned();
    assert_eq!(shown, "Basic Z2F0ZTpwYXNzOnfDtnJk");
}

/// What a subscriber of the log writes to.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// PROMISE-10. `invalid_client` is all that an endpoint says of clocks that differ.
#[tokio::test]
async fn clocks_that_differ_are_told_and_no_secret_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let key = make(dir.path(), "client.key", KEYS[2].1);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let body = r#"{"error":"invalid_client","error_description":"ZZSECRET"}"#;
    let tokens = Site::always(answer(401, &[("date", "Sun, 22 Nov 2020 12:00:00 GMT")], body));
    let (fhir, _) = server(&[]);
    let client = client(&fhir.url("/fhir"), smart(&key, Some(&tokens.url("/token"))));
    get(&client).await.unwrap_err();
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("clock differs from ours") && said.contains("skew_s=-"), "{said}");
    assert!(said.contains("the token endpoint refuses (401, invalid_client)"), "{said}");
    let assertion = tokens.seen()[0].form("client_assertion").unwrap();
    assert!(!said.contains("ZZ") && !said.contains(&assertion), "{said}");
}

#[test]
fn a_key_in_another_form_is_refused_with_the_command_that_converts_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, (_, arguments)) in ["rsa.key", "ec.key", "ed.key"].into_iter().zip(KEYS) {
        make(dir.path(), name, arguments);
    }
    for (name, arguments) in [
        ("pkcs1.key", vec!["rsa", "-in", "rsa.key", "-traditional"]),
        ("sec1.key", vec!["ec", "-in", "ec.key"]),
        ("encrypted.key", vec!["pkcs8", "-topk8", "-in", "rsa.key", "-passout", "pass:ZZSECRET"]),
        ("der.key", vec!["pkey", "-in", "ec.key", "-outform", "der"]),
    ] {
        make(dir.path(), name, &arguments);
        let said =
            SigningKey::read(&file(&dir.path().join(name)), None, None).unwrap_err().to_string();
        // What it says is done as it stands, with the passphrase that a person would type.
        let (_, command) = said.split_once("; ").unwrap();
        let command = command.replace("NEW", &path("new.key"));
        assert!(command.starts_with("openssl ") && command.contains(&path(name)), "{said}");
        let command = command.replace("-nocrypt", "-nocrypt -passin pass:ZZSECRET");
        let run = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
        let converted = file(&dir.path().join("new.key"));
        assert!(SigningKey::read(&converted, None, None).is_ok(), "{command}");
        std::fs::remove_file(dir.path().join("new.key")).unwrap();
    }
}

#[test]
fn what_is_no_key_of_ours_is_refused_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let rsa = |bits: &str| format!("rsa_keygen_bits:{bits}");
    let curve = |name: &str| format!("ec_paramgen_curve:{name}");
    for (name, arguments) in [
        ("rsa.key", vec!["genpkey", "-algorithm", "RSA", "-pkeyopt", &rsa("2048")]),
        ("short.key", vec!["genpkey", "-algorithm", "RSA", "-pkeyopt", &rsa("1024")]),
        ("pss.key", vec!["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", &rsa("2048")]),
        ("p256.key", vec!["genpkey", "-algorithm", "EC", "-pkeyopt", &curve("P-256")]),
        ("p521.key", vec!["genpkey", "-algorithm", "EC", "-pkeyopt", &curve("P-521")]),
        ("k1.key", vec!["genpkey", "-algorithm", "EC", "-pkeyopt", &curve("secp256k1")]),
        ("ed448.key", vec!["genpkey", "-algorithm", "ED448"]),
        ("public.pem", vec!["pkey", "-in", "rsa.key", "-pubout"]),
        ("cert.pem", vec!["req", "-x509", "-key", "rsa.key", "-subj", "/CN=ZZ"]),
    ] {
        make(dir.path(), name, &arguments);
    }
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        private(&dir.path().join(name));
    };
    write("empty.key", "");
    write("text.key", "ZZSECRET");
    write("jwk.key", r#"{"kty":"EC","d":"ZZSECRET"}"#);
    let whole = std::fs::read_to_string(dir.path().join("rsa.key")).unwrap();
    write("cut.key", whole.get(..400).unwrap());
    for (name, wanted) in [
        (
            "short.key",
            "it is an RSA key of less than 2048 bits; RSA of 2048 to 8192 bits (RS384), EC on P-384 (ES384) or Ed25519 (EdDSA) is wanted: openssl genpkey",
        ),
        ("pss.key", "it is an RSA-PSS key, which signs by PS384 alone; "),
        ("p256.key", "it is an EC key on P-256, which signs by ES256; "),
        ("p521.key", "it is an EC key on P-521, which signs by ES512; "),
        ("k1.key", "it is a key of another kind; "),
        ("ed448.key", "it is an Ed448 key; "),
        ("public.pem", "it is a public key, which signs nothing; the private key is wanted"),
        ("cert.pem", "it is a certificate, which signs nothing; the private key is wanted"),
        ("empty.key", "it holds no key in PEM; "),
        ("text.key", "it holds no key in PEM; "),
        ("jwk.key", "it is a JSON Web Key, and PKCS #8 in PEM is wanted; "),
        ("cut.key", "its PEM is broken; "),
        ("absent.key", "No such file"),
    ] {
        let origin = file(&dir.path().join(name));
        let said = SigningKey::read(&origin, None, None).unwrap_err().to_string();
        assert!(said.contains(wanted) && !said.contains("ZZ"), "{name}: {said}");
    }
    let rsa = file(&dir.path().join("rsa.key"));
    let said = SigningKey::read(&rsa, Some(Algorithm::Es384), None).unwrap_err().to_string();
    assert_eq!(
        said,
        "it is a key for RS384, and `algorithm` is ES384; a key for that is made by openssl genpkey \
         -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out NEW"
    );
}

/// PROMISE-10
#[test]
fn the_key_set_holds_public_halves_of_the_key_that_signs_and_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let [rsa, ec, ed] = [0, 1, 2].map(|at| make(dir.path(), &format!("{at}.key"), KEYS[at].1));
    let mut first = smart(&rsa, None);
    first.kid = Some("ours-1".to_owned());
    first.other_keys = vec![file(&ec), file(&dir.path().join("absent.key"))];
    let feeds = vec![
        ("one".into(), first),
        ("two".into(), smart(&ed, None)),
        ("three".into(), smart(&ed, None)),
    ];
    let set = Published::new(feeds).key_set();
    let keys = set["keys"].as_array().unwrap();
    let names: Vec<_> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert_eq!(names, ["RS384", "ES384", "EdDSA"]);
    assert_eq!(keys[0]["kid"], "ours-1");
    for (key, path) in keys.iter().zip([&rsa, &ec, &ed]) {
        assert_eq!((&key["use"], &key["key_ops"]), (&json!("sig"), &json!(["verify"])));
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
        // What openssl says the public half is ends in the same numbers.
        let public = openssl(
            dir.path(),
            &["pkey", "-in", path.to_str().unwrap(), "-pubout", "-outform", "der"],
        )
        .stdout;
        let number = |member: &str| {
            key.get(member).map(|text| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap())
        };
        let end = match key["kty"].as_str().unwrap() {
            // INTEGER of three bytes behind the modulus.
            "RSA" => [number("n").unwrap(), vec![2, 3], number("e").unwrap()].concat(),
            _ => [number("x").unwrap(), number("y").unwrap_or_default()].concat(),
        };
        assert!(public.ends_with(&end), "{key}");
    }
}
