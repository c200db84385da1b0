//! What a FHIR server tells by itself: how it is asked to, what becomes of what it tells, what is missed,
//! and who is not heard.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::certificates::{Authority, VERSIONS, over, private};
use crate::support::daemon::{Daemon, Setup};
use crate::support::fhir::{FhirServer, Wrong, encounter, patient};
use crate::support::notifier::{Form, Notify, exchange, notification};
use crate::support::{EVERY_EVENT, canary, eventually};

const SECRET: &str = "ZZ0123456789abcdef0123456789";
const IN_XML: &str = "<Encounter xmlns=\"http://hl7.org/fhir\"><id value=\"e7\"/>\
    <meta><versionId value=\"1\"/></meta><identifier><system value=\"urn:oid:2.16.840.1.113883.19.7\"/>\
    <value value=\"ZZVe7\"/></identifier><status value=\"in-progress\"/>\
    <class><system value=\"http://terminology.hl7.org/CodeSystem/v3-ActCode\"/><code value=\"IMP\"/></class>\
    <subject><reference value=\"Patient/p1\"/></subject></Encounter>";
const TOPIC: &str = "http://zz.example/SubscriptionTopic/stay";

/// A FHIR server with a patient, and a feed that polls it so seldom that what comes later was told.
fn setup(server: &FhirServer, version: &str, lines: &str) -> Setup {
    server.version(if version == "R5" { "5.0.0" } else { "4.0.1" });
    server.put(patient("p1"));
    let setup = Setup::new().file_route("out", EVERY_EVENT);
    let secret = setup.dir.path().join("notify-secret");
    std::fs::write(&secret, SECRET).unwrap();
    private(&secret);
    let lines = format!(
        "[feed.subscription]\nlisten = \"127.0.0.1:0\"\nsecret = {{ file = {secret:?} }}\n{lines}\n"
    );
    polled(setup, server, version, &lines)
}

fn polled(setup: Setup, server: &FhirServer, version: &str, lines: &str) -> Setup {
    setup.section(&format!(
        "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = {version:?}\n\
         resources = [\"Patient\", \"Encounter\"]\nsince = \"all\"\ninterval = \"10m\"\n{lines}\n",
        server.base()
    ))
}

/// The lines of a feed whose subscriptions it makes itself.
fn managed(form: &str, more: &str) -> String {
    let topic = if form == "rest-hook" {
        String::new()
    } else {
        format!("[[feed.subscription.topic]]\nurl = {TOPIC:?}\nresource = \"Encounter\"")
    };
    format!("form = {form:?}\nendpoint = \"http://127.0.0.1/notify\"\n{more}\n{topic}")
}

/// Waits until the first round is taken and the subscriptions are made and noted; gives their IDs and
/// paths.
fn subscribed(
    (setup, server, daemon): (&Setup, &FhirServer, &Daemon),
    many: u32,
) -> Vec<(String, String)> {
    // One whose server says nothing may count as silent by then.
    let noted = || standing(daemon, "active") + standing(daemon, "silent");
    eventually("it is subscribed", || noted() == f64::from(many));
    first_round(setup, server);
    server.subscriptions(|it| {
        let path = |id: String| {
            let made = it.get(&id).unwrap();
            let endpoint = made["endpoint"].as_str().or(made["channel"]["endpoint"].as_str());
            (id, endpoint.unwrap().strip_prefix("http://127.0.0.1").unwrap().to_owned())
        };
        it.ids().into_iter().map(path).collect()
    })
}

/// Waits until each query has been asked, so that what is put there later is in no first round.
fn first_round(setup: &Setup, server: &FhirServer) {
    eventually("the first round is taken", || {
        visits(setup).contains_key("patient") && !server.asked_for("/Encounter?").is_empty()
    });
}

/// How many events left of each visit; those of no visit under `patient`.
fn visits(setup: &Setup) -> BTreeMap<String, usize> {
    let mut visits = BTreeMap::new();
    for line in setup.lines("out") {
        let number = line["data"]["visit"]["number"]["value"].as_str().unwrap_or("patient");
        *visits.entry(number.to_owned()).or_default() += 1;
    }
    visits
}

fn seen(setup: &Setup, id: &str) -> usize {
    visits(setup).get(&format!("ZZV{id}")).copied().unwrap_or(0)
}

fn send(to: SocketAddr, path: &str, body: &Value) -> u16 {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let bearer = format!("Bearer {SECRET}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/fhir+json")];
    let (status, text) =
        Notify { method: "POST", path, headers: &headers, body: &body }.send(to).unwrap();
    canary::assert_none("an answer", &text);
    status
}

/// A stay as the server has it, with its version.
fn stay(id: &str, version: &str) -> Value {
    let mut stay = encounter(id, "p1", "in-progress");
    stay["meta"] = json!({ "versionId": version, "lastUpdated": "2026-11-22T08:00:00.000Z" });
    stay
}

/// Method, path, headers, body, and the status that is wanted.
type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], &'c str, u16);

fn notified(daemon: &Daemon, result: &str) -> f64 {
    let labels = format!("{{server=\"ehr\",result=\"{result}\"}}");
    daemon.metric(&format!("tidegate_fhir_notifications_total{labels}"))
}

fn standing(daemon: &Daemon, state: &str) -> f64 {
    daemon.metric(&format!("tidegate_fhir_subscriptions{{server=\"ehr\",state=\"{state}\"}}"))
}

#[test]
fn a_topic_is_subscribed_to_and_each_payload_brings_its_event_once() {
    for (version, form, wire) in [
        ("R5", "topic", Form::R5),
        ("R4", "backport", Form::Backport),
        ("R4", "backport", Form::R4B),
    ] {
        let server = FhirServer::start();
        let setup = setup(&server, version, &managed(form, ""));
        let mut daemon = setup.start();
        let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
        let endpoint = daemon.feed_named("ehr");
        let told = |kind: &str, since, events: &[(u64, Option<&str>)], resources: &[Value]| {
            send(endpoint, &path, &notification(wire, (&id, kind), since, events, resources))
        };
        assert_eq!(told("handshake", 0, &[], &[]), 200, "{wire:?}");
        assert_eq!(told("heartbeat", 0, &[], &[]), 200);

        // Its name: what the server has is fetched, and committed when it is answered.
        server.put(encounter("e1", "p1", "in-progress"));
        assert_eq!(told("event-notification", 1, &[(1, Some("Encounter/e1"))], &[]), 200);
        eventually("the one that was named", || seen(&setup, "e1") == 1);

        // The resource: nothing is fetched for it.
        let whole = [stay("e2", "1")];
        assert_eq!(told("event-notification", 2, &[(2, Some("Encounter/e2"))], &whole), 200);
        eventually("the one that came whole", || seen(&setup, "e2") == 1);
        assert!(server.asked_for("Encounter/e2").is_empty());

        // Nothing: the query is asked at once, long before its interval.
        server.put(encounter("e3", "p1", "in-progress"));
        assert_eq!(told("event-notification", 3, &[(3, None)], &[]), 200);
        eventually("the one that was only hinted at", || seen(&setup, "e3") == 1);

        // Each again.
        assert_eq!(told("event-notification", 1, &[(1, Some("Encounter/e1"))], &[]), 200);
        assert_eq!(told("event-notification", 2, &[(2, Some("Encounter/e2"))], &whole), 200);
        assert_eq!((seen(&setup, "e1"), seen(&setup, "e2"), seen(&setup, "e3")), (1, 1, 1));
        assert_eq!(daemon.metric("tidegate_fhir_notifications_missed_total{server=\"ehr\"}"), 0.0);
        eventually("it counts as active", || standing(&daemon, "active") == 1.0);
        daemon.assert_no_patient_data();
    }
}

#[test]
fn a_rest_hook_of_each_query_brings_a_resource_or_has_the_query_asked() {
    let server = FhirServer::start();
    let setup = setup(&server, "R4", &managed("rest-hook", "content = \"full-resource\""));
    let daemon = setup.start();
    let made = subscribed((&setup, &server, &daemon), 2);
    let of = |kind: &str| {
        let is = |(id, _): &&(String, String)| {
            server.subscriptions(|it| it.get(id)).unwrap()["criteria"] == format!("{kind}?")
        };
        made.iter().find(is).unwrap().1.clone()
    };
    let (endpoint, path) = (daemon.feed_named("ehr"), of("Encounter"));
    let bearer = format!("Bearer {SECRET}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/fhir+json")];
    // As HAPI sends it: a PUT under the resource's own name.
    let target = format!("{path}/Encounter/e1");
    let body = stay("e1", "1").to_string();
    let put = Notify { method: "PUT", path: &target, headers: &headers, body: &body };
    assert_eq!(put.send(endpoint).unwrap().0, 200);
    eventually("the resource that came", || seen(&setup, "e1") == 1);
    let other = format!("{path}/Encounter/e9");
    assert_eq!(Notify { path: &other, ..put }.send(endpoint).unwrap().0, 400, "another's name");

    let xml = [headers[0], ("Content-Type", "application/fhir+xml; charset=UTF-8")];
    let in_xml = Notify { path: &path, headers: &xml, body: IN_XML, ..put };
    assert_eq!(in_xml.send(endpoint).unwrap().0, 200);
    eventually("the resource that came in XML", || seen(&setup, "e7") == 1);
    let entity = format!("<!DOCTYPE Encounter [<!ENTITY e \"ZZ\">]>{IN_XML}");
    assert_eq!(Notify { body: &entity, ..in_xml }.send(endpoint).unwrap().0, 400);

    server.put(encounter("e2", "p1", "in-progress"));
    assert_eq!(send(endpoint, &path, &Value::Null), 200);
    eventually("the query is asked", || seen(&setup, "e2") == 1);
    let rounds = |kind: &str| server.asked_for(&format!("/{kind}?")).len();
    assert!(rounds("Encounter") >= 2);
    assert_eq!(rounds("Patient"), 1, "the other query has its time");
}

#[test]
fn an_event_whose_notification_was_lost_is_found_by_its_number() {
    let server = FhirServer::start();
    let setup = setup(&server, "R5", &managed("topic", ""));
    let mut daemon = setup.start();
    let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
    let told = |daemon: &Daemon, kind: &str, since, events: &[(u64, Option<&str>)]| {
        let body = notification(Form::R5, (&id, kind), since, events, &[]);
        send(daemon.feed_named("ehr"), &path, &body)
    };
    let missed =
        |daemon: &Daemon| daemon.metric("tidegate_fhir_notifications_missed_total{server=\"ehr\"}");
    for stay in ["e1", "e2", "e3"] {
        server.put(encounter(stay, "p1", "in-progress"));
    }
    assert_eq!(told(&daemon, "event-notification", 1, &[(1, Some("Encounter/e1"))]), 200);
    // The second one is lost.
    assert_eq!(told(&daemon, "event-notification", 3, &[(3, Some("Encounter/e3"))]), 200);
    eventually("the lost one", || seen(&setup, "e2") == 1);
    assert_eq!(missed(&daemon), 1.0);
    // A heartbeat tells of the last one, which no later event would.
    server.put(encounter("e4", "p1", "in-progress"));
    assert_eq!(told(&daemon, "heartbeat", 4, &[]), 200);
    eventually("the last one", || seen(&setup, "e4") == 1);
    assert_eq!(missed(&daemon), 2.0);
    // What was heard is known after a restart.
    daemon.kill();
    let daemon = setup.start();
    eventually("it is taken up again", || standing(&daemon, "active") == 1.0);
    assert_eq!(told(&daemon, "heartbeat", 4, &[]), 200);
    assert_eq!(missed(&daemon), 0.0);
    assert_eq!(told(&daemon, "heartbeat", 6, &[]), 200);
    assert_eq!(missed(&daemon), 2.0);
    assert_eq!(server.subscriptions(|it| it.ids().len()), 1, "nor is it made twice");
    for stay in ["e1", "e2", "e3", "e4"] {
        assert_eq!(seen(&setup, stay), 1, "{stay}");
    }
}

#[test]
fn a_server_that_goes_silent_is_asked_what_happened() {
    let server = FhirServer::start();
    let lines = managed("backport", "heartbeat = \"1s\"\nheartbeats_missed_max = 2");
    let setup = setup(&server, "R4", &lines);
    let daemon = setup.start();
    let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
    server.put(encounter("e1", "p1", "in-progress"));
    eventually("what happened is found", || seen(&setup, "e1") == 1);
    eventually("it counts as silent", || standing(&daemon, "silent") == 1.0);
    let body = notification(Form::Backport, (&id, "heartbeat"), 0, &[], &[]);
    eventually("it is heard again", || {
        assert_eq!(send(daemon.feed_named("ehr"), &path, &body), 200);
        standing(&daemon, "silent") == 0.0
    });
}

/// PROMISE-1 PROMISE-2
#[test]
fn killed_between_notification_and_answer_it_takes_what_is_sent_again_once() {
    let server = FhirServer::start();
    let setup = setup(&server, "R5", &managed("topic", ""));
    let mut daemon = setup.start();
    let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
    let bearer = format!("Bearer {SECRET}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/fhir+json")];
    for number in 1..=8_u64 {
        let name = format!("e{number}");
        let focus = format!("Encounter/{name}");
        server.put(encounter(&name, "p1", "in-progress"));
        let body = notification(
            Form::R5,
            (&id, "event-notification"),
            number,
            &[(number, Some(&focus))],
            &[],
        );
        let body = body.to_string();
        let notify = Notify { method: "POST", path: &path, headers: &headers, body: &body };
        let mut stream = TcpStream::connect(daemon.feed_named("ehr")).unwrap();
        std::io::Write::write_all(&mut stream, &notify.bytes()).unwrap();
        // Somewhere between the first byte and the answer.
        std::thread::sleep(Duration::from_millis(3 * number));
        daemon.kill();
        daemon = setup.start();
        // As servers do, until it is taken.
        eventually("it is taken", || {
            notify.send(daemon.feed_named("ehr")).is_some_and(|(status, _)| status == 200)
        });
    }
    eventually("all came", || (1..=8).all(|number| seen(&setup, &format!("e{number}")) >= 1));
    let twice: Vec<_> = setup.lines("out").iter().map(|line| line["id"].clone()).collect();
    let mut once = twice.clone();
    once.sort_by_key(ToString::to_string);
    once.dedup();
    assert_eq!(once.len(), twice.len(), "no event left twice");
    assert!((1..=8).all(|number| seen(&setup, &format!("e{number}")) == 1), "{:?}", visits(&setup));
}

#[test]
fn who_is_not_the_server_is_not_heard_and_learns_nothing() {
    let server = FhirServer::start();
    let setup = setup(&server, "R5", &managed("topic", "body_bytes_max = \"64KiB\""));
    let daemon = setup.start();
    let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
    let endpoint = daemon.feed_named("ehr");
    let bearer = format!("Bearer {SECRET}");
    let right = ("Authorization", bearer.as_str());
    let json = ("Content-Type", "application/fhir+json");
    let whole =
        notification(Form::R5, (&id, "event-notification"), 1, &[(1, None)], &[stay("e1", "1")]);
    let whole = whole.to_string();
    let stranger = notification(Form::R5, ("ZZother", "heartbeat"), 1, &[], &[]).to_string();
    let huge = format!("{{\"ZZQUILLON\":\"{}\"}}", "Z".repeat(80 << 10));
    let cases: &[Case<'_>] = &[
        ("POST", &path, &[json], &whole, 401),
        ("POST", &path, &[json, ("Authorization", "Bearer ZZwrong")], &whole, 401),
        ("POST", &path, &[json, ("Authorization", SECRET)], &whole, 401),
        ("POST", &path, &[json, right, right], &whole, 401),
        ("POST", "/nowhere", &[json], &whole, 401),
        ("POST", "/nowhere", &[json, right], &whole, 404),
        ("POST", "/notify", &[json, right], &whole, 404),
        ("POST", "/notify/0000000000000000", &[json, right], &whole, 404),
        ("POST", &path, &[json, right], &stranger, 404),
        ("GET", &path, &[right], "", 405),
        ("POST", &path, &[("Content-Type", "text/html"), right], "<html>ZZQUILLON", 415),
        ("POST", &path, &[json, right, ("Content-Encoding", "gzip")], &whole, 415),
        ("POST", &path, &[json, right], &huge, 413),
        ("POST", &path, &[json, right, ("Content-Length", "99999999999")], "", 413),
        ("POST", &path, &[json, right], "{\"ZZQUILLON", 400),
        ("POST", &path, &[json, right], "{\"resourceType\":\"Bundle\",\"type\":\"history\"}", 400),
    ];
    for (method, path, headers, body, wanted) in cases {
        let answer = Notify { method, path, headers, body }.send(endpoint);
        let (status, text) = answer.unwrap_or_else(|| panic!("no answer for {wanted}"));
        assert_eq!(status, *wanted, "{method} {path}");
        canary::assert_none("an answer", &text);
    }
    assert_eq!(notified(&daemon, "refused"), 5.0);
    assert_eq!(notified(&daemon, "unknown"), 4.0);
    assert_eq!(seen(&setup, "e1"), 0, "nothing of it was taken");
    assert_eq!(send(endpoint, &path, &serde_json::from_str(&whole).unwrap()), 200);
    eventually("who is, is heard", || seen(&setup, "e1") == 1);
}

#[test]
fn wrong_secrets_are_answered_slowly_and_few_at_a_time_while_right_ones_are_heard() {
    let server = FhirServer::start();
    let setup = setup(&server, "R5", &managed("topic", ""));
    let daemon = setup.start();
    let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
    let endpoint = daemon.feed_named("ehr");
    let guesses: Vec<_> = (0..40)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let headers = [("Authorization", "Bearer ZZguess")];
                Notify { method: "POST", path: &path, headers: &headers, body: "" }.send(endpoint)
            })
        })
        .collect();
    let heartbeat = notification(Form::R5, (&id, "heartbeat"), 0, &[], &[]);
    assert_eq!(send(endpoint, &path, &heartbeat), 200);
    let answers: Vec<u16> = guesses.into_iter().map(|it| it.join().unwrap().unwrap().0).collect();
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
    assert!(answers.contains(&401) && answers.contains(&429), "{answers:?}");
}

#[test]
fn by_certificate_the_server_alone_is_heard() {
    let server = FhirServer::start();
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let own = authority.issue("gate", "DNS:localhost,IP:127.0.0.1");
    let (ehr, other) =
        (authority.issue("ehr", "DNS:ehr.example"), authority.issue("lab", "DNS:lab.example"));
    let lines = format!(
        "clients = [\"ehr.example\"]\ntls = {{ cert = {:?}, key = {:?}, client_ca = {:?} }}",
        own.cert,
        own.key,
        authority.cert()
    );
    let setup = setup(&server, "R5", &managed("topic", &lines));
    let daemon = setup.start();
    let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
    let body = notification(Form::R5, (&id, "heartbeat"), 0, &[], &[]).to_string();
    let bearer = format!("Bearer {SECRET}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/fhir+json")];
    let request = Notify { method: "POST", path: &path, headers: &headers, body: &body }.bytes();
    let heard = |own| {
        let stream = TcpStream::connect(daemon.feed_named("ehr")).unwrap();
        let mut sender = over(stream, &authority, own, &VERSIONS).ok()?;
        exchange(&mut sender.stream, &request).map(|(status, _)| status)
    };
    assert_eq!(heard(Some(&ehr)), Some(200));
    assert_eq!(heard(Some(&other)), None, "a certificate that is not listed");
    assert_eq!(heard(None), None, "none at all");
    let plain = Notify { method: "POST", path: &path, headers: &headers, body: &body };
    assert_eq!(plain.send(daemon.feed_named("ehr")), None, "in clear");
}

#[test]
fn a_storm_is_taken_once_or_sent_away_and_asks_the_server_little() {
    let server = FhirServer::start();
    let setup = setup(&server, "R5", &managed("topic", "connections_max = 512"));
    let daemon = setup.start();
    let (id, path) = subscribed((&setup, &server, &daemon), 1).remove(0);
    let endpoint = daemon.feed_named("ehr");
    server.put(encounter("e1", "p1", "in-progress"));
    let asked = server.asked_for("/Encounter?").len();
    let empty = notification(Form::R5, (&id, "event-notification"), 1, &[(1, None)], &[]);
    let storm: Vec<_> = (0..200)
        .map(|_| {
            let (path, empty) = (path.clone(), empty.clone());
            std::thread::spawn(move || send(endpoint, &path, &empty))
        })
        .collect();
    let answers: Vec<u16> = storm.into_iter().map(|it| it.join().unwrap()).collect();
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert!(answers.contains(&200));
    eventually("what it was about", || seen(&setup, "e1") == 1);
    // A round a second at most, however many asked for one.
    let rounds = server.asked_for("/Encounter?").len() - asked;
    assert!((1..=60).contains(&rounds), "{rounds}");
    assert_eq!(seen(&setup, "e1"), 1);
}

#[test]
fn a_server_that_takes_no_subscription_is_polled_and_told_of_once() {
    let server = FhirServer::start();
    server.subscriptions(|it| it.refuses = Some(403));
    let setup = setup(&server, "R5", &managed("topic", ""));
    let daemon = setup.start();
    eventually("it is polled", || visits(&setup).contains_key("patient"));
    eventually("it counts as refused", || standing(&daemon, "refused") == 1.0);
    let exceptions = setup.json(&["exceptions", "ls"]);
    let about: Vec<_> = exceptions.iter().filter(|it| it["feed"] == "ehr").collect();
    assert_eq!(about.len(), 1, "{exceptions:?}");
    let text = about[0].to_string();
    assert!(text.contains("403") && text.contains("polled as before"), "{text}");
    assert_eq!(server.asked().iter().filter(|it| it.method == "POST").count(), 1);
}

#[test]
fn a_subscription_is_renewed_before_it_ends_and_made_to_tell_again() {
    let server = FhirServer::start();
    let setup = setup(&server, "R5", &managed("topic", "lifetime = \"12s\""));
    let daemon = setup.start();
    let (id, _) = subscribed((&setup, &server, &daemon), 1).remove(0);
    let end =
        || server.subscriptions(|it| it.get(&id)).unwrap()["end"].as_str().unwrap().to_owned();
    let first = end();
    eventually("it is renewed", || end() > first);
    server.subscriptions(|it| it.set_status(&id, "error"));
    let stands = || server.subscriptions(|it| it.get(&id)).unwrap()["status"].clone();
    eventually("it tells again", || stands() == "active");
    server.subscriptions(|it| it.forget(&id));
    eventually("it is made anew", || server.subscriptions(|it| it.ids()) == ["sub2"]);
    eventually("it counts", || standing(&daemon, "active") == 1.0);
}

#[test]
fn one_that_was_made_and_not_noted_is_found_and_not_made_twice() {
    let server = FhirServer::start();
    // It is made, and nobody hears of it.
    let searched = Wrong::Slow(Duration::ZERO);
    server.misbehave("/fhir/Subscription", [searched, Wrong::Cut]);
    let setup = setup(&server, "R5", &managed("topic", ""));
    let _daemon = setup.start();
    eventually("it is subscribed again", || {
        server
            .asked()
            .iter()
            .any(|it| it.method == "PUT" && it.target.contains("Subscription/sub1"))
    });
    assert_eq!(server.subscriptions(|it| it.ids()), ["sub1"]);
}

#[test]
fn one_that_is_not_wanted_any_more_is_removed_and_a_stop_removes_none() {
    let server = FhirServer::start();
    let first = setup(&server, "R5", &managed("topic", ""));
    let mut daemon = first.start();
    subscribed((&first, &server, &daemon), 1);
    daemon.stop();
    drop(daemon);
    assert_eq!(server.subscriptions(|it| it.ids().len()), 1, "it is back in a moment");
    // The same daemon, without the section.
    let mut without = polled(Setup::new(), &server, "R5", "");
    without.dir = first.dir;
    let _daemon = without.start();
    eventually("it is removed", || server.subscriptions(|it| it.ids().is_empty()));
}

#[test]
fn subscriptions_that_somebody_else_made_are_heard_by_their_ids() {
    let server = FhirServer::start();
    let by_topic = "form = \"backport\"\nmanage = false\nids = [\"theirs\"]\npath = \"/hook/ehr\"";
    let setup_ = setup(&server, "R4", by_topic);
    let daemon = setup_.start();
    first_round(&setup_, &server);
    let told = |id: &str| {
        let event = [(1, Some("Encounter/e1"))];
        let body = notification(Form::Backport, (id, "event-notification"), 1, &event, &[]);
        send(daemon.feed_named("ehr"), "/hook/ehr", &body)
    };
    server.put(encounter("e1", "p1", "in-progress"));
    assert_eq!(told("another"), 404);
    assert_eq!(seen(&setup_, "e1"), 0);
    assert_eq!(told("theirs"), 200);
    eventually("the one that was named", || seen(&setup_, "e1") == 1);
    assert!(server.subscriptions(|it| it.ids().is_empty()), "none is made");
    assert!(server.asked_for("Subscription").is_empty(), "nor asked for");
    drop(daemon);

    let server = FhirServer::start();
    let setup_ = setup(&server, "R4", "form = \"rest-hook\"\nmanage = false");
    let daemon = setup_.start();
    first_round(&setup_, &server);
    server.put(encounter("e2", "p1", "in-progress"));
    assert_eq!(send(daemon.feed_named("ehr"), "/notify", &Value::Null), 200);
    eventually("all queries are asked", || seen(&setup_, "e2") == 1);
    assert_eq!(send(daemon.feed_named("ehr"), "/notify", &stay("e3", "1")), 200);
    eventually("the resource that came", || seen(&setup_, "e3") == 1);
}
