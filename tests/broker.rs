//! Delivery to a real RabbitMQ, and what becomes of it when that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails there and then"
)]

mod support;

#[path = "broker/checkpoints.rs"]
mod checkpoints;

#[path = "broker/fence.rs"]
mod fence;

#[path = "broker/evidence.rs"]
mod evidence;

#[path = "broker/leak.rs"]
mod leak;

#[path = "broker/fhir.rs"]
mod fhir;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::consumer::{Consumer, Received};
use support::corpus::{self, Sample};
use support::daemon::{Daemon, Setup};
use support::peer::{Peer, Publish};
use support::sender::Sender;
use support::{EVERY_EVENT, adt, consent, eventually, rabbit};

/// Held by tests that keep the processors busy for a minute or more: one that counts how often two
/// things meet would see too few of them beside another.
static BUSY: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Waits until no other such test runs.
fn alone_with_the_processors() -> std::sync::MutexGuard<'static, ()> {
    BUSY.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

const EVENTS: &[&str] = &["patient.admitted", "patient.updated", "observation.reported"];

fn rabbit_route(name: &str) -> String {
    format!("kind = \"rabbitmq\"\nexchange = \"{name}.events\"")
}

/// A setup with one route of that name to the broker.
fn setup(broker: &rabbit::Rabbit, name: &str) -> Setup {
    Setup::new().rabbitmq(&broker.url(), "").route(name, EVENTS, &rabbit_route(name))
}

/// Sends numbered messages of some patients; every one is acknowledged positively.
fn send_numbered(daemon: &Daemon, numbers: std::ops::Range<usize>, patients: usize) {
    let mut sender = Sender::connect(daemon.feed());
    for number in numbers.clone() {
        let message = adt("A08", &format!("C{number}"), &format!("ZZ1000{}", number % patients));
        sender.send(&message).unwrap();
    }
    for number in numbers {
        let ack = sender.ack().unwrap();
        assert_eq!((ack.code.as_str(), ack.control_id), ("AA", format!("C{number}")));
    }
}

/// The number in the control ID of an event.
fn number_of(received: &Received) -> usize {
    received.body["data"]["message"]["controlId"].as_str().unwrap()[1..].parse().unwrap()
}

/// Every number arrived; each under one message ID; of each patient, the first arrivals are in
/// the order of the numbers.
fn assert_complete_and_in_order(received: &[Received], numbers: std::ops::Range<usize>) {
    let mut id_of: HashMap<usize, &str> = HashMap::new();
    let mut first: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for message in received {
        let number = number_of(message);
        let id = *id_of.entry(number).or_insert(&message.message_id);
        assert_eq!(id, message.message_id, "event {number} came under two IDs");
        let subject = message.body["subject"].as_str().unwrap().to_owned();
        let of_subject = first.entry(subject).or_default();
        if !of_subject.contains(&number) {
            of_subject.push(number);
        }
    }
    let arrived: BTreeSet<usize> = id_of.keys().copied().collect();
    assert_eq!(arrived, numbers.collect::<BTreeSet<_>>());
    for (subject, numbers) in first {
        assert!(numbers.is_sorted(), "{subject}: {numbers:?}");
    }
}

#[test]
fn a_message_becomes_one_event_with_the_properties_that_are_documented() {
    let (broker, _guard) = rabbit::shared();
    let setup = setup(broker, "props");
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "props");
    let mut sender = Sender::connect(daemon.feed());
    assert_eq!(sender.exchange(&adt("A01", "ZZC1", "ZZ100001")).unwrap().code, "AA");
    eventually("the event arrives", || consumer.count() == 1);
    let received = consumer.received().remove(0);
    assert_eq!(received.kind, "patient.admitted");
    assert_eq!(received.routing_key, "patient.admitted");
    assert_eq!(received.message_id, received.body["id"]);
    assert_eq!(received.correlation_id, received.body["correlationid"]);
    assert_eq!(received.delivery_mode, Some(2));
    assert!(!received.has_timestamp);
    for name in ["route", "contract", "tier", "purpose"] {
        assert!(received.headers.contains(name), "{}", received.headers);
    }
    support::canary::assert_none("headers", &received.headers);
    assert_eq!(received.body["data"]["message"]["controlId"], "ZZC1");
    assert!(daemon.stop().success());
}

/// Messages of the corpus behind which a BTS or FTS counts others than those that came.
const WRONG_COUNTS: usize = 3;

/// Every message of the corpus is an event, an exception or a refusal, and is counted; what is
/// sent again is acknowledged again, and nothing of it is published.
///
/// PROMISE-2, PROMISE-3
#[test]
fn the_corpus_is_accounted_for_and_a_resend_of_everything_publishes_nothing() {
    let (broker, _guard) = rabbit::shared();
    let setup = Setup::new().rabbitmq(&broker.url(), "").route(
        "corpus",
        EVERY_EVENT,
        &rabbit_route("corpus"),
    );
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "corpus");
    let samples = corpus::samples();
    let answers: Vec<&str> = samples.iter().map(Sample::answer).collect();
    let answered = |code: &str| answers.iter().filter(|answer| **answer == code).count();
    assert_eq!((answered("AA"), answered("AE"), answered("none")), (326, 32, 3));

    // As they are: the control IDs are of many senders who never thought of one another.
    let as_they_are = || samples.iter().map(|sample| (sample, sample.bytes.clone()));
    assert_eq!(corpus::send(&daemon, as_they_are()), answers);
    let first = Kept::of(&setup);
    let dedupe = |result: &str| {
        daemon.metric(&format!("tidegate_dedupe_checks_total{{feed=\"adt\",result=\"{result}\"}}"))
            as usize
    };
    // Some files hold the same message: of those, one is kept. Some end with the trailer of a batch, whose
    // count is another: that is kept beside its exception.
    let messages = answered("AA") + answered("AE") + WRONG_COUNTS;
    assert_eq!(first.messages.len() + dedupe("duplicate"), messages);
    assert_eq!(dedupe("conflict"), first.exceptions("correlation-conflict"));
    assert!(dedupe("conflict") > 100 && dedupe("duplicate") < 10, "{}", dedupe("duplicate"));
    first.assert_consistent(0);

    // Each under a control ID of its own: what it is depends on nothing but itself.
    let renamed = || {
        let all = samples.iter().enumerate().filter(|(_, sample)| sample.answer() == "AA");
        all.map(|(at, sample)| (sample, sample.renamed(&format!("R{at}"))))
    };
    assert_eq!(corpus::send(&daemon, renamed()), vec!["AA"; answered("AA")]);
    let kept = Kept::of(&setup);
    // The same trailer again is counted, and not kept again.
    kept.assert_consistent(WRONG_COUNTS);
    for (at, sample) in samples.iter().enumerate().filter(|(_, sample)| sample.answer() == "AA") {
        let found = kept.messages.iter().find(|found| found["controlId"] == format!("R{at}"));
        let found = found.unwrap_or_else(|| panic!("{} is lost", sample.path));
        let (status, events) = what_becomes_of(sample);
        assert_eq!(found["status"], status, "{}", sample.path);
        // A restriction gives an event beside those that the mapping gives.
        let of_mapping = found["events"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| !event["type"].as_str().unwrap().starts_with("consent."));
        assert_eq!(of_mapping.count(), events, "{}", sample.path);
    }
    let history = samples.iter().position(|sample| sample.path == corpus::HISTORY).unwrap();
    // As it is, it is in conflict with another; renamed, it is the one event that nobody wants.
    let events = kept.events() - what_becomes_of(&samples[history]).1;
    assert!(events > 300, "{events}");

    // Of patients with a restriction that could not be applied nothing leaves from there on.
    let suppressed = || {
        let outcome = "tidegate_events_total{route=\"corpus\",outcome=\"suppressed\"}";
        daemon.metric(outcome) as usize
    };
    let is_event = |it: &Received| !support::daemon::is_notice(&it.body);
    let published =
        || -> Vec<Received> { consumer.received().into_iter().filter(is_event).collect() };
    eventually("every event is decided", || published().len() + suppressed() == events);
    let (received, suppressed) = (published(), suppressed());
    assert_eq!(received.len() + suppressed, events, "each once");
    let refused = |reason: &str| {
        daemon.metric(&format!(
            "tidegate_consent_decisions_total{{purpose=\"TREAT\",decision=\"deny\",reason=\"{reason}\"}}"
        )) as usize
    };
    // Some bear a sensitivity label, which the route's contract does not name.
    assert_eq!(refused("closed") + refused("label"), suppressed);
    assert!(refused("label") > 0 && refused("closed") > 0);
    assert!(suppressed < 50, "{suppressed}");
    let events = received.len();
    support::schema::assert_valid(&consumer.received());
    for (at, sample) in samples.iter().enumerate() {
        let of_sample = received
            .iter()
            .filter(|event| event.body["data"]["message"]["controlId"] == format!("R{at}"));
        of_sample.for_each(|event| assert_says(event, sample));
    }

    assert_eq!(corpus::send(&daemon, as_they_are()), answers, "the same answers again");
    assert_eq!(corpus::send(&daemon, renamed()), vec!["AA"; answered("AA")]);
    let again = Kept::of(&setup);
    assert_eq!(again.messages, kept.messages, "nothing is kept twice");
    // What is published is published in order: a new event comes after anything that is not.
    send_numbered(&daemon, 0..1, 1);
    eventually("the new one arrives", || published().len() > events);
    assert_eq!(published().len(), events + 1, "nothing is published again");
    assert!(daemon.stop().success());
}

/// What the journal and the exceptions say.
struct Kept {
    messages: Vec<serde_json::Value>,
    exceptions: Vec<serde_json::Value>,
}

impl Kept {
    fn of(setup: &Setup) -> Self {
        Self {
            messages: setup.json(&["journal", "ls", "--limit", "10000"]),
            exceptions: setup.json(&["exceptions", "ls", "--limit", "10000"]),
        }
    }

    fn with_status(&self, status: &str) -> usize {
        self.messages.iter().filter(|message| message["status"] == status).count()
    }

    fn exceptions(&self, category: &str) -> usize {
        let all = self.exceptions.iter().filter(|exception| exception["category"] == category);
        all.map(|exception| exception["count"].as_u64().unwrap() as usize).sum()
    }

    /// Every message that is not admitted has an exception; of those that are, only one that bears
    /// a consent may have one. What was refused again is a count more, and no message.
    fn assert_consistent(&self, refused_again: usize) {
        assert_eq!(self.with_status("unsupported"), self.exceptions("unsupported"));
        // What protects nobody is unmapped and refused; what else is unmapped is parked.
        let refused = self.with_status("refused") + refused_again;
        assert_eq!(refused, self.exceptions("malformed") + 1);
        let is_parked = |number: &serde_json::Value| {
            let named = |message: &&serde_json::Value| message["number"] == *number;
            self.messages.iter().find(named).is_some_and(|found| found["status"] == "parked")
        };
        // Taken without events, for what it says of consent.
        let closing = self.exceptions.iter().filter(|exception| {
            exception["category"] == "consent-unknown" && is_parked(&exception["message"])
        });
        let others = self.exceptions("unmapped") - 1 + self.exceptions("correlation-conflict");
        assert_eq!(self.exceptions("identity-conflict"), 0, "nobody is somebody else");
        assert_eq!(self.with_status("parked"), others + closing.count());
    }

    /// How many events are admitted.
    fn events(&self) -> usize {
        let admitted = self.messages.iter().filter(|message| message["status"] == "admitted");
        admitted.map(of_mapping).sum()
    }
}

/// How many events of a message its mapping gave; restrictions give others, which no route takes.
fn of_mapping(message: &serde_json::Value) -> usize {
    let is_consent =
        |event: &serde_json::Value| event["type"].as_str().unwrap().starts_with("consent.");
    message["events"].as_array().unwrap().iter().filter(|event| !is_consent(event)).count()
}

/// Status and number of events of a message, by what other parsers read in it.
fn what_becomes_of(sample: &Sample) -> (&'static str, usize) {
    // About no patient (docs/types.md).
    const OF_NOBODY: &[&str] = &["A19", "A20", "A56", "A57", "A58", "A59"];
    let expect = &sample.expect;
    let trigger = expect.trigger.as_deref().unwrap_or_default();
    let events = match expect.kind.as_deref() {
        Some("ADT") if trigger.starts_with('A') && !OF_NOBODY.contains(&trigger) => expect.n_pid,
        Some("ORU") if trigger == "R01" => expect.n_obr.max(expect.n_obx.min(1)),
        // What it restricts is not lost with it: it closes, and waits for somebody.
        _ if sample.bytes.windows(4).any(|bytes| bytes == b"ARV|") => return ("parked", 0),
        _ => return ("unsupported", 0),
    };
    if expect.patient_ids.is_empty() || events == 0 { ("parked", 0) } else { ("admitted", events) }
}

/// An event says what other parsers read in its message.
fn assert_says(event: &Received, sample: &Sample) {
    let (data, expect) = (&event.body["data"], &sample.expect);
    let agreed = |name: &str| !sample.disagree.iter().any(|other| other == name);
    let mut pairs = vec![
        (&data["message"]["type"], &expect.kind),
        (&data["message"]["version"], &expect.version),
        (&data["message"]["sendingApplication"], &expect.sending_app),
    ];
    // The others read the first patient of a message that merges several.
    let place = event.body["id"].as_str().unwrap().rsplit('.').next().unwrap();
    if agreed("patient_ids") && (place == "pid1" || !place.starts_with("pid")) {
        pairs.push((&data["patient"]["identifiers"][0]["value"], &expect.patient_ids[0].value));
    }
    for (found, wanted) in pairs {
        let wanted = wanted.as_deref().filter(|text| *text != "\"\"");
        assert_eq!(found.as_str(), wanted, "{}", sample.path);
    }
}

/// A hundred crashes under load: nothing that was acknowledged is lost, nothing gets a second
/// ID, order holds.
///
/// PROMISE-1, PROMISE-2, PROMISE-4; faults 1, 2, 3, 6, 7, 9
#[test]
fn fault_9_a_hundred_kills_under_load_lose_and_double_nothing() {
    const CYCLES: usize = 100;
    const PATIENTS: usize = 7;
    let (broker, _guard) = rabbit::shared();
    let setup = setup(broker, "kills");
    let consumer = Consumer::start(&broker.url(), "kills");
    let mut acknowledged: BTreeSet<usize> = BTreeSet::new();
    let mut next = 0;
    for cycle in 0..CYCLES {
        let mut daemon = setup.start();
        let feed = daemon.feed();
        let first = next;
        let killer = std::thread::spawn(move || {
            // From the middle of the first commits to well into the deliveries.
            std::thread::sleep(Duration::from_millis(3 + (cycle as u64 * 37) % 160));
            daemon.kill();
            daemon
        });
        // A sender sends again what was not acknowledged, before anything new: that is how
        // order is kept over a crash.
        let mut number = first;
        if let Ok(mut sender) = Sender::try_connect(feed) {
            loop {
                let patient = format!("ZZ1000{}", number % PATIENTS);
                match sender.exchange(&adt("A08", &format!("C{number}"), &patient)) {
                    Ok(ack) => {
                        assert_eq!(ack.code, "AA");
                        acknowledged.insert(number);
                        number += 1;
                    }
                    Err(_) => break,
                }
            }
        }
        next = number;
        drop(killer.join().unwrap());
    }
    let mut daemon = setup.start();
    assert!(acknowledged.len() > CYCLES, "{} messages in {CYCLES} cycles", acknowledged.len());
    assert_eq!(acknowledged, (0..next).collect());
    // The one that was under way at the last kill may be in the journal; sent again, it is.
    let mut sender = Sender::connect(daemon.feed());
    let last = adt("A08", &format!("C{next}"), &format!("ZZ1000{}", next % PATIENTS));
    assert_eq!(sender.exchange(&last).unwrap().code, "AA");
    eventually("everything arrives", || {
        let numbers: BTreeSet<usize> = consumer.received().iter().map(number_of).collect();
        numbers.len() == next + 1
    });
    assert_complete_and_in_order(&consumer.received(), 0..next + 1);
    assert!(daemon.stop().success());
}

/// PROMISE-12; fault 29
#[test]
fn fault_29_without_a_broker_intake_works_and_the_backlog_drains_when_it_comes() {
    let (broker, _guard) = rabbit::alone();
    broker.kill();
    let setup = setup(broker, "absent").file_route("beside", EVENTS);
    let mut daemon = setup.start();
    send_numbered(&daemon, 0..50, 5);
    eventually("the other route has delivered", || setup.lines("beside").len() == 50);
    assert_eq!(daemon.get("/readyz").0, 200);
    eventually("the lag shows", || {
        daemon.metric("tidegate_route_lag_events{route=\"absent\"}") == 50.0
    });
    assert!(daemon.metric("tidegate_route_oldest_timestamp_seconds{route=\"absent\"}") > 0.0);
    assert_eq!(daemon.metric("tidegate_route_up{route=\"absent\"}"), 0.0);
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("route is down")).count();
    assert_eq!(lines, 1, "one clear line, not one a try:\n{log}");
    broker.start();
    let consumer = Consumer::start(&broker.url(), "absent");
    eventually("the backlog drains", || consumer.count() == 50);
    assert_complete_and_in_order(&consumer.received(), 0..50);
    assert!(daemon.stop().success());
}

/// Fault 30
#[test]
fn fault_30_a_broker_that_is_killed_and_comes_back_gets_everything_in_order() {
    let (broker, _guard) = rabbit::alone();
    let setup = setup(broker, "killed");
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "killed");
    eventually("the route is up", || daemon.metric("tidegate_route_up{route=\"killed\"}") == 1.0);
    // A queue that was declared a moment before the kill is forgotten by RabbitMQ itself, with
    // everything that it had confirmed; this is about queues that are there.
    broker.ctl(&["eval", "mnesia:sync_log()."]);
    send_numbered(&daemon, 0..100, 5);
    for round in 1..=2 {
        send_numbered(&daemon, round * 100..round * 100 + 50, 5);
        broker.kill();
        send_numbered(&daemon, round * 100 + 50..round * 100 + 100, 5);
        broker.start();
        eventually("everything arrives", || consumer.distinct() == round * 100 + 100);
    }
    assert_complete_and_in_order(&consumer.received(), 0..300);
    assert!(daemon.metric("tidegate_broker_reconnects_total{route=\"killed\"}") >= 2.0);
    assert!(daemon.stop().success());
}

/// Fault 31: a confirm that does not come is not waited for for ever.
#[test]
fn fault_31_a_frozen_broker_holds_up_neither_intake_nor_stopping() {
    let (broker, _guard) = rabbit::alone();
    let setup = Setup::new().rabbitmq(&broker.url(), "confirm_timeout = \"1s\"").route(
        "frozen",
        EVENTS,
        &rabbit_route("frozen"),
    );
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "frozen");
    send_numbered(&daemon, 0..20, 5);
    eventually("the first ones arrive", || consumer.count() == 20);
    broker.signal("STOP");
    send_numbered(&daemon, 20..60, 5);
    eventually("the confirms time out", || {
        daemon.metric("tidegate_publish_attempts_total{route=\"frozen\",result=\"timeout\"}") >= 1.0
    });
    let threads = thread_count(daemon.child.id());
    std::thread::sleep(Duration::from_secs(6));
    // Each try to connect to a broker that does not answer is cut, with its thread.
    assert!(thread_count(daemon.child.id()) <= threads + 3);
    broker.signal("CONT");
    eventually("everything arrives", || consumer.distinct() == 60);
    assert_complete_and_in_order(&consumer.received(), 0..60);
    broker.signal("STOP");
    assert!(daemon.stop().success());
    broker.signal("CONT");
}

fn thread_count(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// Fault 32
#[test]
fn fault_32_a_blocked_broker_pauses_publishing_and_nothing_else() {
    let (broker, _guard) = rabbit::alone();
    let setup = Setup::new().rabbitmq(&broker.url(), "confirm_timeout = \"1s\"").route(
        "blocked",
        EVENTS,
        &rabbit_route("blocked"),
    );
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "blocked");
    send_numbered(&daemon, 0..10, 5);
    eventually("the first ones arrive", || consumer.count() == 10);
    broker.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
    send_numbered(&daemon, 10..40, 5);
    eventually("the block shows", || {
        daemon.metric("tidegate_broker_blocked{route=\"blocked\"}") == 1.0
    });
    assert_eq!(daemon.get("/readyz").0, 200);
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    eventually("everything arrives", || consumer.distinct() == 40);
    assert_complete_and_in_order(&consumer.received(), 0..40);
    eventually("the block ends", || {
        daemon.metric("tidegate_broker_blocked{route=\"blocked\"}") == 0.0
    });
    assert!(daemon.stop().success());
}

/// Fault 33
#[test]
fn fault_33_a_connection_that_the_broker_closes_is_opened_again() {
    let (broker, _guard) = rabbit::alone();
    let setup = setup(broker, "closed");
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "closed");
    for round in 0..3 {
        send_numbered(&daemon, round * 40..round * 40 + 20, 5);
        broker.ctl(&["close_all_connections", "maintenance"]);
        send_numbered(&daemon, round * 40 + 20..round * 40 + 40, 5);
    }
    eventually("everything arrives", || consumer.distinct() == 120);
    assert_complete_and_in_order(&consumer.received(), 0..120);
    assert!(daemon.stop().success());
}

/// Fault 34
#[test]
fn fault_34_a_queue_that_is_full_and_rejects_pauses_the_route_and_loses_nothing() {
    let (broker, _guard) = rabbit::shared();
    let setup = Setup::new().rabbitmq(&broker.url(), "declare = false").route(
        "full",
        EVENTS,
        &rabbit_route("full"),
    );
    support::topology::exchange(&broker.url(), "full.events");
    support::topology::queue(
        &broker.url(),
        "full",
        "full.events",
        &[("x-max-length", 3)],
        &[("x-overflow", "reject-publish"), ("x-queue-type", "quorum")],
    );
    let mut daemon = setup.start();
    send_numbered(&daemon, 0..30, 5);
    eventually("nacks are counted", || {
        daemon.metric("tidegate_publish_attempts_total{route=\"full\",result=\"nack\"}") >= 1.0
    });
    eventually("the route is paused", || daemon.metric("tidegate_route_up{route=\"full\"}") == 0.0);
    let consumer = Consumer::start(&broker.url(), "full");
    eventually("everything arrives", || consumer.distinct() == 30);
    assert_complete_and_in_order(&consumer.received(), 0..30);
    eventually("the route is up", || daemon.metric("tidegate_route_up{route=\"full\"}") == 1.0);
    assert!(daemon.stop().success());
}

/// Fault 35
#[test]
fn fault_35_what_is_returned_is_never_counted_as_delivered() {
    let (broker, _guard) = rabbit::shared();
    let setup = setup(broker, "unbound");
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "unbound");
    send_numbered(&daemon, 0..20, 5);
    eventually("the first ones arrive", || consumer.count() == 20);
    support::topology::unbind(&broker.url(), "unbound", "unbound.events");
    send_numbered(&daemon, 20..60, 5);
    eventually("returns are counted", || {
        daemon.metric("tidegate_publish_attempts_total{route=\"unbound\",result=\"returned\"}")
            >= 1.0
    });
    assert!(
        daemon.metric("tidegate_publish_attempts_total{route=\"unbound\",result=\"ack\"}") <= 20.0
    );
    support::topology::bind(&broker.url(), "unbound", "unbound.events");
    eventually("everything arrives", || consumer.distinct() == 60);
    assert_complete_and_in_order(&consumer.received(), 0..60);
    assert!(daemon.stop().success());
}

/// Faults 33 and 38: an exchange that is not there stops its route and no other.
#[test]
fn fault_38_a_missing_exchange_stops_its_route_alone() {
    let (broker, _guard) = rabbit::shared();
    let setup = Setup::new()
        .rabbitmq(&broker.url(), "declare = false")
        .route("missing", EVENTS, &rabbit_route("missing"))
        .file_route("other", EVENTS);
    let mut daemon = setup.start();
    send_numbered(&daemon, 0..20, 5);
    eventually("the other route delivers", || setup.lines("other").len() == 20);
    eventually("it says which one", || daemon.log().contains("no exchange 'missing.events'"));
    support::topology::exchange(&broker.url(), "missing.events");
    support::topology::queue(
        &broker.url(),
        "missing",
        "missing.events",
        &[],
        &[("x-queue-type", "quorum")],
    );
    let consumer = Consumer::start(&broker.url(), "missing");
    eventually("everything arrives", || consumer.distinct() == 20);
    support::topology::delete_exchange(&broker.url(), "missing.events");
    send_numbered(&daemon, 20..40, 5);
    eventually("the other route delivers on", || setup.lines("other").len() == 40);
    support::topology::exchange(&broker.url(), "missing.events");
    support::topology::bind(&broker.url(), "missing", "missing.events");
    eventually("everything arrives", || consumer.distinct() == 40);
    assert_complete_and_in_order(&consumer.received(), 0..40);
    assert!(daemon.stop().success());
}

/// Fault 39
#[test]
fn fault_39_a_refused_password_is_one_clear_line_without_the_password() {
    let (broker, _guard) = rabbit::shared();
    let url = format!("amqp://guest:ZZhunter2@127.0.0.1:{}/%2f", broker.port());
    let setup = Setup::new().rabbitmq(&url, "").route("refused", EVENTS, &rabbit_route("refused"));
    let mut daemon = setup.start();
    send_numbered(&daemon, 0..10, 5);
    eventually("the refusal is logged", || daemon.log().contains("route is down"));
    std::thread::sleep(Duration::from_secs(2));
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("route is down")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ACCESS_REFUSED"), "{lines:?}");
    assert!(!log.contains("hunter2"));
    assert_eq!(daemon.get("/readyz").0, 200);
    assert!(daemon.stop().success());
}

/// A pseudonymous route carries nothing of the patient, in headers or body.
///
/// PROMISE-7, PROMISE-10
#[test]
fn a_pseudonymous_route_carries_no_marked_word() {
    let (broker, _guard) = rabbit::shared();
    let fields = "\"subject\" = \"token\"\n\"patient.sex\" = \"keep\"\n\"visit.class\" = \"keep\"\n\
                  \"visit.location.pointOfCare\" = \"keep\"\n\"observations[].code\" = \"keep\"\n\
                  \"observations[].value\" = \"keep\"\n\"report.code\" = \"keep\"";
    let setup = Setup::new().rabbitmq(&broker.url(), "").contract(
        "pseudo",
        EVERY_EVENT,
        "pseudonymized",
        "HOPERAT",
        fields,
        &rabbit_route("pseudo"),
    );
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "pseudo");
    let mut sender = Sender::connect(daemon.feed());
    for entry in std::fs::read_dir("fixtures/hl7").unwrap() {
        let message = std::fs::read(entry.unwrap().path()).unwrap();
        assert_eq!(sender.exchange(&message).unwrap().code, "AA");
    }
    // All but the one that is marked as history; of those that are labelled, or closed, none leaves.
    let wanted = Kept::of(&setup).events() - 1;
    let decided = |outcome: &str| {
        let outcome = format!("tidegate_events_total{{route=\"pseudo\",outcome=\"{outcome}\"}}");
        daemon.metric(&outcome) as usize
    };
    eventually("every event is decided", || decided("released") + decided("suppressed") == wanted);
    assert!(decided("released") > 30, "{} of {wanted}", decided("released"));
    eventually("every event arrives", || consumer.count() >= decided("released"));
    for received in consumer.received() {
        support::canary::assert_none("body", &received.body.to_string());
        support::canary::assert_none("headers", &received.headers);
        support::canary::assert_none(
            "IDs",
            &format!("{}{}", received.message_id, received.correlation_id),
        );
    }
    support::schema::assert_valid(&consumer.received());
    assert!(daemon.stop().success());
}

/// PROMISE-7
#[test]
fn routes_that_name_the_same_exchange_do_not_get_each_others_events() {
    let (broker, _guard) = rabbit::shared();
    let setup = Setup::new()
        .rabbitmq(&broker.url(), "")
        .route("admissions", &["patient.admitted"], &rabbit_route("same"))
        .route("updates", &["patient.updated"], &rabbit_route("same"));
    let mut daemon = setup.start();
    let queues = ["admissions", "updates"].map(|queue| Consumer::start(&broker.url(), queue));
    let mut sender = Sender::connect(daemon.feed());
    for number in 0..3 {
        for trigger in ["A01", "A08"] {
            let message = adt(trigger, &format!("{trigger}-{number}"), "ZZ100001");
            assert_eq!(sender.exchange(&message).unwrap().code, "AA");
        }
    }
    for (route, consumer) in ["admissions", "updates"].iter().zip(&queues) {
        let ack = format!("tidegate_publish_attempts_total{{route=\"{route}\",result=\"ack\"}}");
        eventually("both are done", || daemon.metric(&ack) >= 3.0);
        eventually("its own came", || consumer.count() >= 3);
        let routes: BTreeSet<String> = consumer
            .received()
            .iter()
            .map(|received| received.body["route"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(routes, BTreeSet::from([(*route).to_owned()]));
        assert_eq!(consumer.count(), 3);
    }
    assert!(daemon.stop().success());
}

/// A setup with one route to a peer that confirms as the test says. `declare = false` only asks
/// for the exchange.
fn peer_setup(peer: &Peer) -> Setup {
    Setup::new().rabbitmq(&peer.url(), "declare = false\nconfirm_timeout = \"1s\"").route(
        "peer",
        EVENTS,
        &rabbit_route("peer"),
    )
}

fn confirmed(daemon: &Daemon) -> f64 {
    daemon.metric("tidegate_publish_attempts_total{route=\"peer\",result=\"ack\"}")
}

/// PROMISE-2
#[test]
fn fault_36_confirms_out_of_order_and_several_at_once_are_each_counted_once() {
    let peer = Peer::start();
    let setup = peer_setup(&peer);
    let mut daemon = setup.start();
    send_numbered(&daemon, 0..6, 6);
    let published: Vec<Publish> = (0..6).map(|_| peer.next()).collect();
    let tags: Vec<u64> = published.iter().map(|publish| publish.tag).collect();
    assert_eq!(tags, [1, 2, 3, 4, 5, 6]);
    let first = &published[0];
    first.ack(3, false);
    first.ack(2, true);
    eventually("the first three are confirmed", || confirmed(&daemon) >= 3.0);
    assert_eq!(confirmed(&daemon), 3.0, "a confirm of one that was confirmed counts for nothing");
    assert_eq!(daemon.metric("tidegate_publish_inflight{route=\"peer\"}"), 3.0);
    first.ack(6, true);
    eventually("all are confirmed", || confirmed(&daemon) >= 6.0);
    assert_eq!(confirmed(&daemon), 6.0);
    assert!(peer.is_quiet(), "nothing was published again");
    assert!(daemon.stop().success());
}

#[test]
fn fault_36_a_confirm_that_is_lost_is_waited_for_and_then_the_same_event_goes_again() {
    let peer = Peer::start();
    let setup = peer_setup(&peer);
    let mut daemon = setup.start();
    send_numbered(&daemon, 0..2, 1);
    let lost = peer.next();
    let again = peer.next();
    assert_eq!((lost.number(), again.number()), (0, 0), "the second of the patient waits");
    assert_eq!(lost.event, again.event, "the same ID, the same sequence");
    assert_eq!(
        daemon.metric("tidegate_publish_attempts_total{route=\"peer\",result=\"timeout\"}"),
        1.0
    );
    again.ack(again.tag, false);
    let next = peer.next();
    assert_eq!(next.number(), 1);
    next.ack(next.tag, false);
    eventually("both are confirmed", || confirmed(&daemon) >= 2.0);
    assert!(daemon.stop().success());
}

/// PROMISE-1: what is lost goes again, though nothing comes behind it.
#[test]
fn fault_36_of_two_one_is_confirmed_and_with_that_the_connection_breaks() {
    const ROUNDS: usize = 6;
    let peer = Peer::start();
    let setup = peer_setup(&peer);
    let mut daemon = setup.start();
    for round in 0..ROUNDS {
        send_numbered(&daemon, 2 * round..2 * round + 2, 2);
        let [confirmed, lost] = [peer.next(), peer.next()];
        confirmed.ack(confirmed.tag, false);
        confirmed.close();
        // Whether the confirm was read before the end is the machine's matter.
        loop {
            let again = peer.next();
            again.ack(again.tag, false);
            if again.event == lost.event {
                break;
            }
            assert_eq!(again.event, confirmed.event, "round {round}");
        }
    }
    eventually("all are confirmed", || confirmed(&daemon) as usize == 2 * ROUNDS);
    assert!(peer.is_quiet());
    assert!(daemon.stop().success());
}

/// PROMISE-1
#[test]
fn fault_36_a_message_that_came_back_is_not_delivered_though_it_is_confirmed_with_others() {
    let peer = Peer::start();
    let setup = peer_setup(&peer);
    let mut daemon = setup.start();
    send_numbered(&daemon, 0..3, 3);
    let published: Vec<Publish> = (0..3).map(|_| peer.next()).collect();
    published[1].give_back();
    published[0].ack(3, true);
    eventually("two are confirmed", || confirmed(&daemon) >= 2.0);
    let again = peer.next();
    assert_eq!(again.event, published[1].event, "what came back goes again, under its ID");
    assert_eq!(confirmed(&daemon), 2.0);
    again.ack(again.tag, false);
    eventually("all are confirmed", || confirmed(&daemon) >= 3.0);
    assert!(daemon.stop().success());
}

/// PROMISE-6
#[test]
fn a_revocation_is_acknowledged_when_the_broker_that_gives_no_confirm_is_cut() {
    let peer = Peer::start();
    let setup = Setup::new()
        .policy("[codes]\n\"L/ZZ9\" = [\"TREAT\"]\n")
        .rabbitmq(
            &peer.url(),
            "declare = false\nconfirm_timeout = \"10m\"\nfence_timeout = \"15s\"",
        )
        .route("peer", EVERY_EVENT, &rabbit_route("peer"));
    let mut daemon = setup.start();
    let send = |message: &[u8]| Sender::connect(daemon.feed()).exchange(message).unwrap();
    send(&adt("A08", "A1", "ZZ100001"));
    send(&adt("A08", "A2", "ZZ100002"));
    let first = [peer.next(), peer.next()].map(|publish| publish.number());
    assert_eq!(first, [1, 2]);
    // Twice on two connections, while the first is on its way and nobody confirms it.
    let revocation = consent("X", "20261102", "C3", "ZZ100001");
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let ack = send(&revocation);
                assert_eq!(ack.code, "AA");
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        eventually("it is journaled", || {
            daemon.metric("tidegate_dedupe_checks_total{feed=\"adt\",result=\"new\"}") >= 2.0
                && setup.json(&["journal", "ls"]).len() >= 3
        });
        // Nobody else waits.
        send(&adt("A08", "A4", "ZZ100003"));
        assert_eq!(peer.next().number(), 4);
        assert_eq!(answered.load(Ordering::SeqCst), 0, "not before the fence");
    });
    assert_eq!(
        daemon.metric("tidegate_publish_attempts_total{route=\"peer\",result=\"cut\"}"),
        3.0
    );
    // The others go again; what the revocation forbids does not, and who may have got it is told.
    let mut again = Vec::new();
    for _ in 0..3 {
        let publish = peer.next();
        publish.ack(publish.tag, false);
        let is_notice = support::daemon::is_notice(&publish.event);
        again.push(if is_notice { 0 } else { publish.number() });
    }
    again.sort_unstable();
    assert_eq!(again, [0, 2, 4]);
    eventually("the others are confirmed", || confirmed(&daemon) >= 3.0);
    assert!(peer.is_quiet());
    assert_eq!(daemon.metric("tidegate_events_total{route=\"peer\",outcome=\"suppressed\"}"), 1.0);
    assert!(daemon.stop().success());
    daemon.assert_no_patient_data();
}
