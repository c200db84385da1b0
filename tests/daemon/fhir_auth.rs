//! A FHIR server that wants to know who asks.

use std::path::Path;

use super::support::certificates::{openssl, private};
use super::support::daemon::Setup;
use super::support::eventually;
use super::support::fhir::{FhirServer, observation, patient};

fn key(dir: &Path, name: &str) {
    let curve = "ec_paramgen_curve:P-384";
    openssl(dir, &["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", name]);
    private(&dir.join(name));
}

/// PROMISE-10. Discovery, a token, its end at the server; and our keys for who verifies them.
#[test]
fn a_server_is_polled_by_tokens_that_our_published_key_signs_for() {
    let server = FhirServer::start();
    server.wants_token();
    server.put(patient("p1"));
    server.put(observation("o1", "p1", "6.90"));
    let setup = Setup::new().section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = [\"Patient\", \"Observation\"]\ninterval = \"1s\"\nsince = \"all\"\n\
         auth = {{ kind = \"smart-backend\", client_id = \"gate\", key = \"fhir.key\", other_keys = [\"next.key\"] }}\n",
        server.base()
    ));
    key(setup.dir.path(), "fhir.key");
    key(setup.dir.path(), "next.key");
    let mut daemon = setup.start();
    let taken = |count: usize| {
        eventually(&format!("{count} resources are in the journal"), || {
            let rows = setup.json(&["journal", "ls", "--feed", "ehr"]);
            let is_resource = |row: &&serde_json::Value| {
                row["controlId"].as_str().is_some_and(|id| id.contains("/_history/"))
            };
            rows.iter().filter(is_resource).count() >= count
        });
    };
    taken(2);
    let expiry = "tidegate_fhir_token_expiry_timestamp_seconds{server=\"ehr\"}";
    assert!(daemon.metric(expiry) > 1_700_000_000.0);
    // The server ends its tokens; what is new is taken with another.
    server.rotate();
    server.put(observation("o2", "p1", "7.10"));
    taken(3);
    let (status, body) = daemon.get("/.well-known/jwks.json");
    assert_eq!(status, 200);
    let set: serde_json::Value = serde_json::from_str(&body).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "{body}");
    assert!(keys.iter().all(|key| key["crv"] == "P-384" && key.get("d").is_none()), "{body}");
    assert!(
        daemon.metric("tidegate_fhir_requests_total{server=\"ehr\",code_class=\"4xx\"}") >= 1.0
    );
    let log = daemon.log();
    assert!(log.contains("the server refuses the token"), "{log}");
    assert!(!log.contains("ZZtoken") && !log.contains("eyJ"), "no token and no assertion: {log}");
    assert!(daemon.stop().success());
}
