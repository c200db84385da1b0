//! A FHIR server that is polled: what comes in, whatever the server does.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::support::daemon::{Daemon, Setup};
use super::support::eventually;
use super::support::fhir::{FhirServer, Wrong, httpdate, observation, outcome_of, patient};

/// A daemon's configuration with a feed that polls a server every second.
fn polling(server: &FhirServer, resources: &[&str], lines: &str) -> Setup {
    Setup::new().section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
         resources = {resources:?}\ninterval = \"1s\"\n{lines}",
        server.base()
    ))
}

/// What is in the journal of the feed, by control ID and in its order.
fn taken(setup: &Setup) -> Vec<String> {
    let mut rows = setup.json(&["journal", "ls", "--feed", "ehr", "--limit", "10000"]);
    rows.sort_by_key(|row| row["number"].as_u64());
    let ids = rows.iter().map(|row| row["controlId"].as_str().unwrap_or_default().to_owned());
    ids.filter(|id| id.contains('/')).collect()
}

/// Waits until so many are taken; none may be there twice.
fn all_taken(setup: &Setup, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    eventually(&format!("{count} resources are in the journal"), || {
        ids = taken(setup);
        ids.len() >= count
    });
    let mut each: BTreeMap<&str, usize> = BTreeMap::new();
    ids.iter().for_each(|id| *each.entry(id).or_default() += 1);
    assert!(each.values().all(|times| *times == 1), "{each:?}");
    assert_eq!(ids.len(), count, "{ids:?}");
    ids
}

/// Exceptions of the feed's queries: place and text.
fn stopped(setup: &Setup) -> Vec<(String, String)> {
    let rows = setup.json(&["exceptions", "ls", "--category", "stopped-query"]);
    let word =
        |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (word(row, "place"), word(row, "text"))).collect()
}

fn fill(server: &FhirServer, count: usize) {
    let at: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    for number in 0..count {
        let at = at + SignedDuration::from_secs(i64::try_from(number).unwrap());
        server.put_at(observation(&format!("o{number:03}"), "p1", "6.90"), at);
    }
    server.put_at(patient("p1"), at);
}

/// Waits until whole rounds went by.
fn rounds(server: &FhirServer, target: &str, count: usize) {
    let before = server.asked_for(target).len();
    eventually("it is asked again", || server.asked_for(target).len() >= before + count);
}

fn metric(daemon: &Daemon, name: &str, labels: &str) -> f64 {
    daemon.metric(&format!("tidegate_fhir_{name}{{server=\"ehr\"{labels}}}"))
}

/// PROMISE-1, PROMISE-2
#[test]
fn all_pages_are_taken_once_in_order_and_then_what_changes() {
    let server = FhirServer::start();
    fill(&server, 25);
    let setup = polling(
        &server,
        &["Observation?category=laboratory", "Patient"],
        "since = \"all\"\npage_size = 10",
    );
    let mut daemon = setup.start();
    let ids = all_taken(&setup, 26);
    assert_eq!(ids[0], "Patient/p1/_history/1", "who it is before what is said of them");
    let observations: Vec<&String> =
        ids.iter().filter(|id| id.starts_with("Observation")).collect();
    assert!(observations.is_sorted(), "{observations:?}");
    // A new version, and a new resource.
    server.put(observation("o003", "p1", "7.00"));
    server.put(observation("o900", "p1", "7.00"));
    let ids = all_taken(&setup, 28);
    assert!(ids.contains(&"Observation/o003/_history/2".to_owned()), "{ids:?}");
    // What was asked for: in order, from a time on, with the subjects.
    let first = &server.asked_for("/Observation?")[0].target;
    assert!(first.contains("_sort=_lastUpdated&_count=10&_include=Observation:subject"), "{first}");
    rounds(&server, "/Observation?", 2);
    let last = server.asked_for("/Observation?").pop().unwrap().target;
    assert!(last.contains("_lastUpdated=ge20"), "{last}");
    assert!(metric(&daemon, "requests_total", ",code_class=\"2xx\"") > 3.0);
    assert!(metric(&daemon, "cursor_timestamp_seconds", "") > 1e9);
    assert!(daemon.stop().success());
    // A restart goes on where it was, and doubles nothing.
    let before = server.asked().len();
    let _daemon = setup.start();
    rounds(&server, "/Observation?", 2);
    let asked = server.asked();
    let again = asked[before..].iter().find(|asked| asked.target.contains("/Observation?"));
    assert!(again.unwrap().target.contains("_lastUpdated=ge"), "{again:?}");
    all_taken(&setup, 28);
}

/// PROMISE-1, PROMISE-2; fault 82
#[test]
fn fault_82_equal_times_wrong_clocks_and_late_indexing_lose_nothing() {
    for skew in [-7_200, 0, 7_200] {
        let server = FhirServer::start();
        server.skewed(skew);
        let same = server.now() - SignedDuration::from_secs(60);
        for number in 0..30 {
            server.put_at(observation(&format!("same{number}"), "p1", "6.9"), same);
        }
        let setup = polling(&server, &["Observation"], "page_size = 7\ninclude = \"none\"");
        let _daemon = setup.start();
        // `since = "now"`, by the server's clock, less the overlap: those of a minute ago are in it.
        all_taken(&setup, 30);
        server.put_at(observation("tie", "p1", "6.9"), same);
        all_taken(&setup, 31);
        let late = server.now() - SignedDuration::from_secs(5);
        server.put_unindexed(observation("late", "p1", "6.9"), late);
        server.put(observation("newer", "p1", "6.9"));
        all_taken(&setup, 32);
        server.index();
        let ids = all_taken(&setup, 33);
        assert_eq!(ids.last().unwrap(), "Observation/late/_history/1", "skewed by {skew}");
        // Stamped ahead of all clocks, it takes no cursor along.
        server.put_at(observation("future", "p1", "6.9"), "2099-01-01T00:00:00Z".parse().unwrap());
        all_taken(&setup, 34);
        server.put(observation("after", "p1", "6.9"));
        all_taken(&setup, 35);
    }
}

/// PROMISE-1
#[test]
fn what_comes_in_no_order_or_without_time_is_taken_all_the_same() {
    let unsorted = FhirServer::start();
    unsorted.sorts_not();
    let at: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    for number in 0..20 {
        // The later ones have the smaller IDs.
        let at = at - SignedDuration::from_hours(i64::from(number));
        unsorted.put_at(observation(&format!("o{number:02}"), "p1", "6.9"), at);
    }
    let setup =
        polling(&unsorted, &["Observation"], "since = \"all\"\npage_size = 5\npages_max = 10");
    // Cut in the middle of the first round: the pages before it moved nothing.
    unsorted.misbehave("_page=1-10", (0..40).map(|_| Wrong::Cut));
    let mut daemon = setup.start();
    eventually("two pages came", || taken(&setup).len() >= 10);
    daemon.kill();
    unsorted.behave();
    let _daemon = setup.start();
    all_taken(&setup, 20);

    let silent = FhirServer::start();
    silent.stamps_not();
    fill(&silent, 12);
    let setup =
        polling(&silent, &["Observation"], "since = \"all\"\npage_size = 5\ninclude = \"none\"");
    let _daemon = setup.start();
    all_taken(&setup, 12);
    rounds(&silent, "/Observation?", 2);
    all_taken(&setup, 12);
}

/// Fault 76
#[test]
fn fault_76_a_server_that_wants_less_is_left_alone_as_long_as_it_says() {
    let server = FhirServer::start();
    fill(&server, 3);
    let date = httpdate(server.now() + SignedDuration::from_secs(4));
    let wait =
        |value: String| Wrong::Status(429, vec![("Retry-After", value)], outcome_of("throttled"));
    server.misbehave("/Observation", [wait("3".to_owned()), wait(date)]);
    let setup = polling(&server, &["Observation", "Patient"], "since = \"all\"");
    let begun = std::time::Instant::now();
    let daemon = setup.start();
    // The other query is not held up.
    eventually("the patient is taken", || {
        taken(&setup).contains(&"Patient/p1/_history/1".to_owned())
    });
    all_taken(&setup, 4);
    // It was asked to wait for three seconds, and for what was left of four.
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert_eq!(metric(&daemon, "throttled_total", ""), 2.0);
    assert_eq!(metric(&daemon, "requests_total", ",code_class=\"4xx\""), 2.0);
    assert_eq!(stopped(&setup), []);
}

/// PROMISE-1, PROMISE-2, PROMISE-11; fault 77
#[test]
fn fault_77_what_breaks_in_the_middle_is_fetched_again_and_taken_once() {
    let server = FhirServer::start();
    fill(&server, 25);
    server.put(observation("zzlast", "p1", "6.9"));
    let login = "<html>ZZQUILLON</html>".to_owned();
    server.misbehave("/metadata", [Wrong::Cut, Wrong::Status(503, Vec::new(), login.clone())]);
    server.misbehave(
        "/Observation?",
        [
            Wrong::Status(500, Vec::new(), outcome_of("exception")),
            Wrong::Cut,
            Wrong::Type("text/html"),
            Wrong::Truncated,
            Wrong::Slow(Duration::from_secs(20)),
            Wrong::Body("{}".to_owned()),
        ],
    );
    server
        .misbehave("_page=", [Wrong::Cut, Wrong::Status(502, Vec::new(), login), Wrong::Truncated]);
    let lines = "since = \"all\"\npage_size = 10\nrequest_timeout = \"4s\"\ninclude = \"none\"";
    let setup = polling(&server, &["Observation"], lines);
    let daemon = setup.start();
    all_taken(&setup, 26);
    rounds(&server, "/Observation?", 2);
    all_taken(&setup, 26);
    assert!(metric(&daemon, "requests_total", ",code_class=\"5xx\"") >= 3.0);
    assert!(metric(&daemon, "requests_total", ",code_class=\"none\"") >= 3.0);
    assert_eq!(stopped(&setup), []);
}

/// PROMISE-11; faults 79, 80
#[test]
fn fault_79_links_that_lead_back_on_and_on_or_elsewhere_stop_their_query_alone() {
    let (server, other) = (FhirServer::start(), FhirServer::start());
    fill(&server, 3);
    let back = format!("{}/Observation?_page=1-0", server.base());
    server.misbehave("/Observation?", [Wrong::Next(back)]);
    let back = format!("{}/Observation?_page=1-0&again", server.base());
    server.misbehave("_page=1-0", (0..9).map(|_| Wrong::Next(back.clone())));
    server.misbehave("/Patient?", [Wrong::Next(format!("{}?_page=1-0", other.base()))]);
    let endless =
        (0..20).map(|number| Wrong::Next(format!("{}/Encounter?p={number}", server.base())));
    server.misbehave("/Encounter", endless);
    let lines = "since = \"all\"\npages_max = 5";
    let setup = polling(&server, &["Observation", "Patient", "Encounter", "Condition"], lines);
    let daemon = setup.start();
    // What was on the pages is taken.
    all_taken(&setup, 4);
    eventually("three queries are stopped", || stopped(&setup).len() == 3);
    let mut found = stopped(&setup);
    found.sort();
    let [(encounter, endless), (observation, back), (patient, elsewhere)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((&**encounter, &**observation, &**patient), ("Encounter", "Observation", "Patient"));
    assert!(endless.contains("more than 5 pages"), "{endless}");
    assert!(back.contains("leads back"), "{back}");
    assert!(elsewhere.contains("none of the server's own"), "{elsewhere}");
    assert!(other.asked().is_empty(), "nobody else is asked");
    eventually("they count", || metric(&daemon, "queries_stopped", "") == 3.0);
    rounds(&server, "/Condition?", 2);
}

/// PROMISE-10, PROMISE-11
#[test]
fn a_query_that_is_refused_stops_with_codes_alone_and_the_others_go_on() {
    let server = FhirServer::start();
    fill(&server, 3);
    let forbidden = || Wrong::Status(403, Vec::new(), outcome_of("forbidden"));
    let invalid = || Wrong::Status(400, Vec::new(), outcome_of("not-supported"));
    server.misbehave("/Patient?", [forbidden()]);
    // Not by this order; without it, it is.
    server.misbehave("/Observation?", [invalid()]);
    server.misbehave("/Encounter?", [invalid(), invalid()]);
    let setup = polling(&server, &["Patient", "Observation", "Encounter"], "since = \"all\"");
    let daemon = setup.start();
    all_taken(&setup, 3);
    let asked = server.asked_for("/Observation?");
    assert!(asked[0].target.contains("_sort") && !asked[1].target.contains("_sort"), "{asked:?}");
    eventually("two are stopped", || stopped(&setup).len() == 2);
    let mut found = stopped(&setup);
    found.sort();
    let wanted = [
        ("Encounter", "the server refuses (400, not-supported)"),
        ("Patient", "the server refuses (403, forbidden)"),
    ];
    assert_eq!(found, wanted.map(|(query, text)| (query.to_owned(), text.to_owned())));
    eventually("they count", || metric(&daemon, "queries_stopped", "") == 2.0);
    rounds(&server, "/Observation?", 2);
    assert_eq!(server.asked_for("/Patient?").len(), 1, "left alone for a minute");
}

/// A new private key in PKCS #8, in a file of our own.
fn signing_key(path: &Path) {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
    use base64::Engine as _;
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let text = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// PROMISE-10; fault 81
#[test]
fn fault_81_a_token_that_ends_in_the_middle_is_replaced_once_and_polling_goes_on() {
    let server = FhirServer::start();
    server.wants_token();
    fill(&server, 3);
    let setup = polling(
        &server,
        &["Observation"],
        "since = \"all\"\nauth = { kind = \"smart-backend\", client_id = \"gate\", key = \"fhir.key\" }",
    );
    signing_key(&setup.dir.path().join("fhir.key"));
    let daemon = setup.start();
    all_taken(&setup, 3);
    assert_eq!(server.asked_for("/token").len(), 1);
    server.rotate();
    server.put(observation("o900", "p1", "7.00"));
    all_taken(&setup, 4);
    assert_eq!(server.asked_for("/token").len(), 2);
    assert_eq!(metric(&daemon, "requests_total", ",code_class=\"4xx\""), 1.0);
    assert!(metric(&daemon, "token_expiry_timestamp_seconds", "") > 1e9);
    let (status, keys) = daemon.get("/.well-known/jwks.json");
    assert!(status == 200 && keys.contains("P-384"), "{status} {keys}");
    assert_eq!(stopped(&setup), []);
}

/// PROMISE-11
#[test]
fn pages_that_are_too_large_are_asked_for_in_halves_and_bombs_stop_their_query() {
    let server = FhirServer::start();
    fill(&server, 20);
    server.misbehave("/Patient?", [Wrong::Bomb(64 << 20)]);
    server.misbehave("/Observation?", [Wrong::Huge(6 << 20)]);
    let lines = "since = \"all\"\npage_size = 16\npage_bytes_max = \"4MiB\"";
    let setup = polling(&server, &["Observation", "Patient"], lines);
    let _daemon = setup.start();
    all_taken(&setup, 20);
    let counts: Vec<bool> = server
        .asked_for("/Observation?")
        .iter()
        .take(2)
        .map(|it| it.target.contains("_count=8"))
        .collect();
    assert_eq!(counts, [false, true]);
    eventually("it is told", || !stopped(&setup).is_empty());
    let [(query, why)] = &stopped(&setup)[..] else { panic!("one is stopped") };
    assert!(query == "Patient" && why.contains("unpacks to more than"), "{query}: {why}");
}

#[test]
fn a_page_in_xml_and_what_it_says_was_removed_are_taken() {
    let server = FhirServer::start();
    let page = "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"searchset\"/><entry><resource><Patient>\
        <id value=\"x1\"/><meta><versionId value=\"7\"/><lastUpdated value=\"2026-11-20T08:00:00Z\"/></meta>\
        <name><family value=\"ZZQUILLON\"/></name></Patient></resource></entry>\
        <entry><request><method value=\"DELETE\"/><url value=\"Patient/x2\"/></request><response>\
        <status value=\"204\"/><lastModified value=\"2026-11-20T08:00:01Z\"/></response></entry></Bundle>";
    server.misbehave("/Patient?", [Wrong::Xml(page.to_owned())]);
    // A server that has nothing but XML says so in XML.
    let offers = "<CapabilityStatement xmlns=\"http://hl7.org/fhir\"><fhirVersion value=\"4.0.1\"/>\
        <rest><mode value=\"server\"/><resource><type value=\"Patient\"/></resource></rest>\
        </CapabilityStatement>";
    server.misbehave("/metadata", [Wrong::Xml(offers.to_owned())]);
    let setup = polling(&server, &["Patient"], "since = \"all\"");
    let _daemon = setup.start();
    let ids = all_taken(&setup, 2);
    assert_eq!(ids, ["Patient/x1/_history/7", "Patient/x2 (removed)"]);
}

/// PROMISE-11
#[test]
fn an_entry_in_xml_that_something_does_not_belong_into_costs_itself() {
    let server = FhirServer::start();
    let patient = |id: &str, more: &str| {
        format!(
            "<entry><resource><Patient><id value=\"{id}\"/><meta><versionId value=\"1\"/><lastUpdated \
             value=\"2026-11-20T08:00:00Z\"/></meta>{more}</Patient></resource></entry>"
        )
    };
    let page = format!(
        "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"searchset\"/>{}{}{}{}</Bundle>",
        patient("x1", ""),
        patient("x2", "<name>ZZQUILLON</name>"),
        patient("x3", "<quillon xmlns=\"urn:zz\"/>"),
        patient("x4", ""),
    );
    server.misbehave("/Patient?", [Wrong::Xml(page)]);
    let setup = polling(&server, &["Patient"], "since = \"all\"");
    let _daemon = setup.start();
    let ids = all_taken(&setup, 4);
    assert_eq!(ids, ["Patient/x1/_history/1", "Patient/x2", "Patient/x3", "Patient/x4/_history/1"]);
    let malformed = setup.json(&["exceptions", "ls", "--category", "malformed"]);
    let mut places: Vec<&str> = malformed.iter().filter_map(|row| row["place"].as_str()).collect();
    places.sort_unstable();
    assert_eq!(places, ["Bundle.entry[1].resource.name", "Bundle.entry[2].resource"]);
    assert_eq!(stopped(&setup), []);
}

#[test]
fn an_entry_that_cannot_be_read_is_named_by_its_id_or_its_full_url() {
    let server = FhirServer::start();
    let page = r#"{"resourceType":"Bundle","type":"searchset","entry":[
        {"resource":{"resourceType":"Patient","id":"x1","name":[{"family":"ZZQUILLON","family":"ZZQUILLON"}]}},
        {"fullUrl":"http://h/fhir/Patient/x2","resource":{"resourceType":"Patient","id":"a","id":"b"}},
        {"fullUrl":"http://h/fhir/Patient/x3","resource":{"resourceType":"Patient","gender":"male"}},
        {"fullUrl":"http://h/fhir/Patient/x4","resource":"ZZQUILLON"},
        {"resource":7}]}"#;
    server.misbehave("/Patient?", [Wrong::Body(page.to_owned())]);
    let setup = polling(&server, &["Patient"], "since = \"all\"");
    let _daemon = setup.start();
    let mut ids = all_taken(&setup, 4);
    ids.sort_unstable();
    assert_eq!(ids, ["Patient/x1", "Patient/x2", "Patient/x3", "Patient/x4"]);
    let malformed = setup.json(&["exceptions", "ls", "--category", "malformed"]);
    assert_eq!(malformed.len(), 5);
    assert!(!malformed.iter().any(|row| row.to_string().contains("QUILLON")));
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let server = FhirServer::start();
    server.etags();
    fill(&server, 3);
    let setup = polling(&server, &["Observation"], "since = \"all\"\noverlap = \"0s\"");
    let daemon = setup.start();
    all_taken(&setup, 3);
    eventually("nothing has changed", || {
        metric(&daemon, "requests_total", ",code_class=\"3xx\"") >= 2.0
    });
    server.put(observation("o900", "p1", "7.00"));
    all_taken(&setup, 4);
}

#[test]
fn a_server_of_another_version_is_not_polled_and_somebody_is_told() {
    let server = FhirServer::start();
    server.version("5.0.0");
    fill(&server, 3);
    let setup = polling(&server, &["Observation"], "since = \"all\"");
    let _daemon = setup.start();
    eventually("it is told", || !stopped(&setup).is_empty());
    let wanted = "the server speaks FHIR 5.0.0, and the feed's `version` is R4";
    assert_eq!(stopped(&setup), [("metadata".to_owned(), wanted.to_owned())]);
    assert!(server.asked_for("Observation").is_empty());
}

#[test]
fn a_stop_in_the_middle_of_a_page_ends_at_once_and_moves_nothing() {
    let server = FhirServer::start();
    fill(&server, 12);
    server.misbehave("_page=", [Wrong::Slow(Duration::from_secs(60))]);
    let setup = polling(
        &server,
        &["Observation"],
        "since = \"all\"\npage_size = 5\nrequest_timeout = \"5m\"",
    );
    let mut daemon = setup.start();
    eventually("the second page is on its way", || !server.asked_for("_page=").is_empty());
    assert!(daemon.stop().success());
    assert!(!daemon.log().contains("did not finish"), "it waits for nobody");
    server.behave();
    let before = server.asked_for("/Observation?").len();
    let _daemon = setup.start();
    all_taken(&setup, 12);
    // The first behind the restart: by now there may be others.
    let again = &server.asked_for("/Observation?")[before].target;
    assert!(again.contains("_lastUpdated=ge2026-11-20T07:55:04"), "behind the first page: {again}");
}
