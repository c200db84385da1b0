//! A FHIR server and a sender of HL7 v2 that tell of the same patient, and what of it comes to consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::rabbit_route;
use crate::support::consumer::{Consumer, Received};
use crate::support::daemon::{Setup, is_notice};
use crate::support::fhir::{FhirServer, RESEARCH, consent, encounter, observation, patient};
use crate::support::proxy::{Manner, Proxy};
use crate::support::sender::Sender;
use crate::support::{TOKEN, eventually, rabbit, schema};

/// A sender and a server that have the same patients and stays, and a broker behind a proxy.
fn setup(server: &FhirServer, proxy: &Proxy, lines: &str) -> Setup {
    Setup::new()
        .rabbitmq(&proxy.url(), "confirm_timeout = \"60s\"\nfence_timeout = \"60s\"")
        .section(
            "[identity]\nauthorities = { MRN = [\"urn:oid:2.16.840.1.113883.19.5\"], \
             STAY = [\"urn:oid:2.16.840.1.113883.19.7\"] }\nprefer = [\"MRN\"]",
        )
        .section(&format!(
            "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
             interval = \"1s\"\nsince = \"all\"\nrequest_timeout = \"10m\"\n{lines}",
            server.base()
        ))
}

/// A message about patient `p1` and stay `e1`.
fn message(trigger: &str, control_id: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|||20261122081500-0800||ADT^{trigger}|{control_id}|P|2.5.1\r\
         PID|1||ZZp1^^^GH&2.16.840.1.113883.19.5&ISO^MR||ZZQUILLON^ZZMARA||19800102|F\r\
         PV1|1|I|4W^401^A{}ZZVe1^^^GH&2.16.840.1.113883.19.7&ISO^VN\r",
        "|".repeat(16)
    )
    .into_bytes()
}

fn send(to: SocketAddr, trigger: &str, control_id: &str) {
    let answer = Sender::connect(to).exchange(&message(trigger, control_id)).unwrap();
    assert_eq!(answer.code, "AA");
}

/// Puts something there, and waits until a round has taken it, and what it narrows is waited for: behind
/// the answer that shows it the same query is asked again.
fn taken(server: &FhirServer, body: Value) {
    let query = format!("/{}?", body["resourceType"].as_str().unwrap());
    server.put(body);
    let before = server.asked_for(&query).len();
    eventually("it is taken", || server.asked_for(&query).len() >= before + 2);
}

/// What came, each event once, as a consumer has it that knows what it had.
fn events(consumer: &Consumer) -> Vec<Received> {
    let mut had = BTreeSet::new();
    let mut received = consumer.received();
    received.retain(|one| had.insert(one.message_id.clone()));
    received
}

fn control_id(event: &Received) -> String {
    event.body["data"]["message"]["controlId"].as_str().unwrap().to_owned()
}

/// Ends what goes on beside, however a test ends.
struct Beside<'b>(&'b AtomicBool);

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// By a consent of the server what both tell of a patient leaves, as the contract has it; behind the next
/// version, which refuses, nothing does. An admission that both tell leaves once, by whoever was first.
///
/// PROMISE-5, PROMISE-6, PROMISE-7
#[test]
fn what_a_server_and_a_sender_tell_leaves_by_contract_and_by_a_consent_of_the_server() {
    let (broker, _guard) = rabbit::shared();
    let (server, proxy) = (FhirServer::start(), Proxy::start(broker));
    let resources = "resources = [\"Patient\", \"Consent\", \"Encounter\", \"Observation\"]";
    let fields = format!("{TOKEN}\n\"observations[].code\" = \"keep\"");
    let setup = setup(&server, &proxy, resources)
        .policy(RESEARCH)
        .contract(
            "both-trial",
            &["observation.reported", "patient.updated"],
            "pseudonymized",
            "CLINTRCH",
            &fields,
            &rabbit_route("both-trial"),
        )
        .asking("both-trial", "CLINTRCH", "require = \"opt-in\"")
        .route("both-stay", &["patient.admitted", "patient.discharged"], &rabbit_route("both-stay"))
        .saying("both-stay", "once = \"visit\"");
    server.put(patient("p1"));
    let mut daemon = setup.start();
    let (trial, stay) =
        (Consumer::start(&broker.url(), "both-trial"), Consumer::start(&broker.url(), "both-stay"));
    let feed = daemon.feed();
    let outcomes = |route: &str, outcome: &str| {
        daemon.metric(&format!("tidegate_events_total{{route=\"{route}\",outcome=\"{outcome}\"}}"))
    };

    send(feed, "A01", "ZZA01");
    eventually("the message leaves", || stay.distinct() == 1);
    server.put(encounter("e1", "p1", "in-progress"));
    eventually("the resource was told before", || outcomes("both-stay", "told") == 1.0);
    server.put(encounter("e1", "p1", "finished"));
    eventually("the resource leaves", || stay.distinct() == 2);
    send(feed, "A03", "ZZA03");
    eventually("the message was told before", || outcomes("both-stay", "told") == 2.0);

    // Without a consent nothing leaves.
    taken(&server, observation("o0", "p1", "13.5"));
    eventually("it is suppressed", || outcomes("both-trial", "suppressed") >= 2.0);
    assert_eq!(trial.count(), 0);
    taken(&server, consent("active", "permit"));
    let going = AtomicBool::new(true);
    let closed = std::thread::scope(|scope| {
        let beside = Beside(&going);
        // Both go on all the while.
        scope.spawn(|| {
            for number in 1.. {
                if !going.load(Ordering::Relaxed) {
                    break;
                }
                send(feed, "A08", &format!("ZZA{number}"));
                server.put(observation(&format!("o{number}"), "p1", "13.5"));
            }
        });
        let came = |kind: &str| trial.received().iter().any(|one| one.kind == kind);
        eventually("what both tell leaves", || {
            came("observation.reported") && came("patient.updated")
        });
        taken(&server, consent("rejected", "deny"));
        let closed = Instant::now();
        let before = outcomes("both-trial", "suppressed");
        eventually("both go on", || outcomes("both-trial", "suppressed") >= before + 20.0);
        drop(beside);
        closed
    });
    eventually("it is told", || trial.received().iter().any(|one| is_notice(&one.body)));
    // A stop lets what is under way come to its end.
    assert!(daemon.stop().success());
    let late = proxy.arrivals().into_iter().filter(|one| one.at > closed && !one.is_notice);
    assert_eq!(late.filter(|one| one.route == "both-trial").count(), 0, "behind the refusal");

    let received = trial.received();
    schema::assert_valid(&received);
    let is_told = |one: &&Received| is_notice(&one.body);
    let notices = received.iter().filter(is_told).map(|one| &one.message_id);
    assert_eq!(notices.collect::<BTreeSet<_>>().len(), 1);
    // Whoever tells of her, she is one, and no more is said than the contract names.
    let subjects: BTreeSet<&str> =
        received.iter().map(|one| one.body["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects.len(), 1);
    for one in received.iter().filter(|one| !is_notice(&one.body)) {
        let wanted = if one.kind == "observation.reported" {
            json!({ "observations": [{ "code": { "code": "718-7", "system": "LN" } }] })
        } else {
            json!({ "visit": { "class": { "code": "IMP" } } })
        };
        assert_eq!(one.body["data"], wanted, "{}", one.kind);
    }
    let of = |one: &Received| (one.kind.clone(), one.body["source"].as_str().unwrap().to_owned());
    let found: Vec<_> = events(&stay).iter().map(of).collect();
    let wanted = [("patient.admitted", "adt"), ("patient.discharged", "ehr")];
    let wanted = wanted.map(|(kind, feed)| (kind.to_owned(), format!("tidegate/gate/{feed}")));
    assert_eq!(found, wanted);
}

/// What is given, in its order, by the control ID of its event.
struct Given<'g> {
    server: &'g FhirServer,
    control_ids: Vec<String>,
}

impl Given<'_> {
    /// Puts a version of a result there, a second behind what was given before; gives its time.
    fn put(&mut self, id: &str, version: u32) -> String {
        let number = self.control_ids.len();
        let begin: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        let at = begin + SignedDuration::from_secs(i64::try_from(number).unwrap());
        let patient = format!("p{}", number % 3);
        self.server.put_at(observation(id, &patient, "6.9"), at);
        self.control_ids.push(format!("Observation/{id}/_history/{version}"));
        format!("{at:.3}")
    }
}

/// A daemon that is killed while it polls, and whose connection to the broker is cut, whose confirms are
/// lost: of every version of every resource, and of every message that was acknowledged, a consumer gets
/// one event, under one ID, and those of a feed about a patient in their order.
///
/// PROMISE-1, PROMISE-2, PROMISE-4; faults 6, 30, 78
#[test]
fn fault_78_kills_while_polling_and_cuts_of_the_broker_give_each_version_one_event() {
    const CYCLES: usize = 6;
    let (broker, _guard) = rabbit::shared();
    let (server, proxy) = (FhirServer::start(), Proxy::start(broker));
    let lines = "resources = [\"Observation\"]\npage_size = 5\ninclude = \"none\"";
    let setup = setup(&server, &proxy, lines).route(
        "versions",
        &["observation.reported", "patient.updated"],
        &rabbit_route("versions"),
    );
    (0..3).for_each(|number| server.put(patient(&format!("p{number}"))));
    let consumer = Consumer::start(&broker.url(), "versions");
    let mut given = Given { server: &server, control_ids: Vec::new() };
    let mut messages = Vec::new();
    for cycle in 0..CYCLES {
        let before = consumer.distinct();
        let times: Vec<String> = (0..10)
            .map(|number| match cycle.checked_sub(2) {
                // Its first version was taken before the page at which the last daemon stood.
                Some(taken) if number < 3 => given.put(&format!("o{taken}-{}", number + 3), 2),
                _ => given.put(&format!("o{cycle}-{number}"), 1),
            })
            .collect();
        server.gate.close(times[5].clone());
        let mut daemon = setup.start();
        for number in 0..3 {
            messages.push(format!("M{cycle}-{number}"));
            send(daemon.feed(), "A08", messages.last().unwrap());
        }
        eventually("a page is on its way", || server.gate.is_waited_at());
        match cycle % 3 {
            0 => proxy.reset(),
            1 => {
                // So that it is connected.
                let last = messages.last().unwrap();
                let came = || consumer.received().iter().any(|one| control_id(one) == *last);
                eventually("the messages come", came);
                proxy.be(Manner::Withholding);
                let before = proxy.arrivals().len();
                server.gate.open();
                eventually("it is published", || proxy.arrivals().len() > before);
            }
            _ => {
                server.gate.open();
                proxy.reset();
                eventually("it goes on", || consumer.distinct() > before);
            }
        }
        daemon.kill();
        server.gate.open();
        proxy.be(Manner::Prompt);
    }
    let all: BTreeSet<String> = given.control_ids.iter().chain(&messages).cloned().collect();
    let mut daemon = setup.start();
    eventually("all of it comes", || consumer.distinct() >= all.len());
    assert!(daemon.stop().success());

    let events = events(&consumer);
    let found: BTreeSet<String> = events.iter().map(control_id).collect();
    assert_eq!((events.len(), found), (all.len(), all), "one event each");
    let mut places: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for one in &events {
        let (id, text) = (control_id(one), |key: &str| one.body[key].as_str().unwrap().to_owned());
        let place = |of: &[String]| of.iter().position(|it| *it == id);
        let place = place(&given.control_ids).or(place(&messages)).unwrap();
        places.entry((text("source"), text("subject"))).or_default().push(place);
    }
    assert_eq!(places.len(), 4, "{places:?}");
    assert!(places.values().all(|of| of.is_sorted()), "{places:?}");
    // Those that nobody confirmed came again, by the same ID.
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    proxy.arrivals().into_iter().for_each(|one| *copies.entry(one.id).or_default() += 1);
    assert!(copies.values().any(|count| *count > 1), "{copies:?}");
}
