//! One visit that two feeds tell of: a route that asks for each transition once is told once,
//! whichever comes first, and the evidence links the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value as Json;

use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::Sender;
use crate::support::{self, EVERY_EVENT, POLICY, TOKEN, consent, eventually};

const PATIENT: &str = "ZZ100001";
const ONCE: &str = "once = \"visit\"";
/// Another feed beside `adt`.
const MIRROR: &str = "[[feed]]\nname = \"mirror\"\nkind = \"mllp\"\nlisten = \"127.0.0.1:0\"\n\
    processing_id = \"any\"";

/// Two feeds, and a route `out` that wants each transition once.
fn setup() -> Setup {
    Setup::new().section(MIRROR).file_route("out", EVERY_EVENT).saying("out", ONCE)
}

/// Two feeds, and a pseudonymous route `out` that asks for a consent and wants each transition once.
fn with_consent() -> Setup {
    Setup::new()
        .section(MIRROR)
        .policy(POLICY)
        .pseudonymous("out", "CLINTRCH", "require = \"opt-in\"", EVERY_EVENT, TOKEN)
        .saying("out", ONCE)
}

/// Sends a message that is taken.
fn send(daemon: &Daemon, feed: &str, message: &[u8]) {
    let answer = Sender::connect(daemon.feed_named(feed)).exchange(message).unwrap();
    assert_eq!(answer.code, "AA");
}

/// A message of a patient with a visit number, which those of other tests go without.
fn adt(trigger: &str, control_id: &str, patient: &str) -> Vec<u8> {
    let text = String::from_utf8(support::adt(trigger, control_id, patient)).unwrap();
    let visit = format!("PV1|1|I|4W^401^A^NORTH{}ZZV{patient}^^^EPIC^VN", "|".repeat(16));
    let lines = text
        .split_terminator('\r')
        .map(|line| if line.starts_with("PV1|") { &*visit } else { line });
    lines.flat_map(|line| [line, "\r"]).collect::<String>().into_bytes()
}

/// A message of a patient, whose visit is at a place.
fn at(trigger: &str, control_id: &str, place: &str) -> Vec<u8> {
    let text = String::from_utf8(adt(trigger, control_id, PATIENT)).unwrap();
    text.replace("4W^401^A^NORTH", place).into_bytes()
}

/// The control IDs of what the route has let out, in order.
fn out(setup: &Setup, route: &str) -> Vec<String> {
    let id = |line: &Json| line["data"]["message"]["controlId"].as_str().unwrap().to_owned();
    setup.events(route).iter().map(id).collect()
}

fn outcomes(daemon: &Daemon, route: &str, outcome: &str) -> f64 {
    daemon.metric(&format!("tidegate_events_total{{route=\"{route}\",outcome=\"{outcome}\"}}"))
}

/// Waits until the route has decided about so many events that another feed told.
fn told_before(daemon: &Daemon, count: f64) {
    eventually("so many were told before", || outcomes(daemon, "out", "told") == count);
}

/// The decisions about a message, as the evidence has them.
fn decisions(setup: &Setup, arguments: &[&str]) -> Vec<Json> {
    let found = setup.json(&[&["audit", "find"], arguments].concat());
    found.into_iter().filter_map(|record| record["says"].get("decision").cloned()).collect()
}

/// PROMISE-8
#[test]
fn an_admission_by_two_feeds_leaves_once_and_the_evidence_links_the_other() {
    for (first, second) in [("adt", "mirror"), ("mirror", "adt")] {
        let setup = setup().file_route("all", EVERY_EVENT);
        let mut daemon = setup.start();
        send(&daemon, first, &adt("A01", "F1", PATIENT));
        send(&daemon, second, &adt("A01", "S1", PATIENT));
        // What is no transition leaves as often as it comes.
        send(&daemon, first, &adt("A08", "F2", PATIENT));
        send(&daemon, second, &adt("A08", "S2", PATIENT));
        // The same again from the same feed is another fact, of which the other feed tells later.
        send(&daemon, second, &adt("A03", "S3", PATIENT));
        send(&daemon, first, &adt("A03", "F3", PATIENT));
        eventually("all is out", || out(&setup, "all").len() == 6);
        told_before(&daemon, 2.0);
        assert_eq!(out(&setup, "out"), ["F1", "F2", "S2", "S3"]);
        // A route that does not ask gets both, and can tell: by the visit's key and the source.
        assert_eq!(outcomes(&daemon, "all", "told"), 0.0);
        let all = setup.events("all");
        let keys: Vec<&str> = all.iter().map(|it| it["visitkey"].as_str().unwrap()).collect();
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32), "{keys:?}");
        assert_eq!(all[0]["source"], format!("tidegate/gate/{first}"));
        assert_eq!(all[1]["source"], format!("tidegate/gate/{second}"));
        let [one, other] = [&all[0], &all[1]].map(|it| it["id"].as_str().unwrap().to_owned());

        // Who asks for either is told of the link.
        let of_other = decisions(&setup, &["--event", &other, "--route", "out"]);
        assert_eq!(of_other.len(), 1, "{of_other:?}");
        let (outcome, reason) = (&of_other[0]["outcome"], &of_other[0]["reason"]);
        assert_eq!((outcome.as_str(), reason.as_str()), TOLD);
        assert_eq!(of_other[0]["toldBy"], one);
        let of_one = decisions(&setup, &["--event", &one, "--route", "out"]);
        let said = |it: &Json| (it["event"].clone(), it["outcome"].clone());
        let found: Vec<_> = of_one.iter().map(said).collect();
        let wanted = [(&other, "told"), (&one, "release")];
        assert_eq!(found, wanted.map(|(id, word)| (Json::from(id.as_str()), word.into())));
        assert!(of_one[1].get("toldBy").is_none());
        assert_eq!(decisions(&setup, &["--decision", "told"]).len(), 2);
        for message in ["1", "2"] {
            let shown = setup.json(&["journal", "show", message]).remove(0);
            let told = shown["decisions"].as_array().unwrap().iter();
            let told = told.filter(|it| it["outcome"] == "told" && it["event"] == other);
            let told: Vec<&str> = told.map(|it| it["sentence"].as_str().unwrap()).collect();
            assert_eq!(told.len(), 1, "{shown}");
            assert!(told[0].contains(&one) && told[0].contains("(told-by-another-source)"));
        }
        assert!(daemon.stop().success());
        assert!(setup.command(&["audit", "verify"]).status.success());
    }
}

const TOLD: (Option<&str>, Option<&str>) = (Some("told"), Some("told-by-another-source"));

#[test]
fn what_a_dry_run_says_is_what_then_happens() {
    let setup = setup();
    let mut daemon = setup.start();
    send(&daemon, "adt", &adt("A01", "F1", PATIENT));
    eventually("it is out", || out(&setup, "out").len() == 1);
    let file = setup.dir.path().join("message");
    let would = |setup: &Setup, feed: &str, message: &[u8]| -> String {
        std::fs::write(&file, message).unwrap();
        let told = setup.json(&["decide", "--feed", feed, file.to_str().unwrap()]);
        told[0]["outcome"].as_str().unwrap().to_owned()
    };
    // When the store has it, which is shortly after it is out.
    let second = adt("A01", "S1", PATIENT);
    eventually("it is known", || would(&setup, "mirror", &second) == "told");
    assert_eq!(would(&setup, "adt", &adt("A01", "F1", PATIENT)), "release", "it is itself");
    assert_eq!(would(&setup, "adt", &adt("A01", "F2", PATIENT)), "release", "it is the second");
    assert!(daemon.stop().success());
    // Also by the store of a stopped daemon.
    assert_eq!(would(&setup, "mirror", &second), "told");
    // And over the past: with `once` taken away, what was told before would leave.
    let mut daemon = setup.start();
    send(&daemon, "mirror", &second);
    told_before(&daemon, 1.0);
    assert!(daemon.stop().success());
    let tried = setup.dir.path().join("tried.toml");
    let text = std::fs::read_to_string(setup.config()).unwrap();
    std::fs::write(&tried, text.replace("dir = \"routes\"", "dir = \"tried\"")).unwrap();
    std::fs::create_dir(setup.dir.path().join("tried")).unwrap();
    let contract = std::fs::read_to_string(setup.dir.path().join("routes/out.toml")).unwrap();
    let contract = contract.replace(ONCE, "").replace("1.0.0", "1.1.0");
    std::fs::write(setup.dir.path().join("tried/out.toml"), contract).unwrap();
    let output = setup.command(&["decide", "--shadow", tried.to_str().unwrap(), "--json"]);
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["differs"], true, "{report}");
    assert!(report.to_string().contains("told-by-another-source"), "{report}");
}

#[test]
fn there_and_back_again_are_three_transfers_however_the_feeds_mix() {
    let places = ["4W^401^A", "5E^501^B", "4W^401^A", "5E^501^B"];
    // Who sends next: each in its own order.
    for (nth, order) in ["FFFFSSSS", "FSFSFSFS", "SFFSSFFS", "FFSSSSFF"].iter().enumerate() {
        let setup = setup();
        let mut daemon = setup.start();
        let mut sent: BTreeMap<char, usize> = BTreeMap::new();
        for source in order.chars() {
            let step = sent.entry(source).or_default();
            let place = places[*step];
            *step += 1;
            // The other system writes places in its own way.
            let (feed, place) = match source {
                'F' => ("adt", place.to_owned()),
                _ => ("mirror", place.to_lowercase().replace('^', " ^ ")),
            };
            send(&daemon, feed, &at("A02", &format!("{source}{step}"), &place));
        }
        told_before(&daemon, 4.0);
        eventually("all is out", || out(&setup, "out").len() == 4);
        let found = out(&setup, "out");
        // Those of one place are told apart by how many there were.
        let mut steps: Vec<&str> = found.iter().map(|id| &id[1..]).collect();
        steps.sort_unstable();
        assert_eq!(steps, ["1", "2", "3", "4"], "{nth}: {found:?}");
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_cancelled_admission_and_the_next_one_are_facts_of_their_own() {
    let setup = setup();
    let mut daemon = setup.start();
    for (feed, source) in [("adt", "F"), ("mirror", "S")] {
        for (nth, trigger) in ["A01", "A11", "A01", "A13"].iter().enumerate() {
            send(&daemon, feed, &adt(trigger, &format!("{source}{nth}"), PATIENT));
        }
    }
    told_before(&daemon, 4.0);
    assert_eq!(out(&setup, "out"), ["F0", "F1", "F2", "F3"]);
    // The third is a third, whoever tells it.
    send(&daemon, "mirror", &adt("A01", "S4", PATIENT));
    send(&daemon, "adt", &adt("A01", "F4", PATIENT));
    told_before(&daemon, 5.0);
    assert_eq!(out(&setup, "out"), ["F0", "F1", "F2", "F3", "S4"]);
    assert!(daemon.stop().success());
}

/// PROMISE-5
#[test]
fn what_was_not_permitted_the_first_time_leaves_the_second_time_and_is_told_then() {
    let setup = with_consent();
    let mut daemon = setup.start();
    send(&daemon, "adt", &adt("A01", "F1", PATIENT));
    eventually("it is refused", || outcomes(&daemon, "out", "suppressed") == 1.0);
    send(&daemon, "adt", &consent("A", "20261101", "C1", PATIENT));
    send(&daemon, "mirror", &adt("A01", "S1", PATIENT));
    eventually("it is out", || setup.events("out").len() == 1);
    assert_eq!(setup.events("out")[0]["source"], "tidegate/gate/mirror");
    // Refused now, and so it is recorded: what was told before does not matter.
    send(&daemon, "adt", &adt("A03", "F2", PATIENT));
    eventually("it is out", || setup.events("out").len() == 2);
    send(&daemon, "adt", &consent("X", "20261102", "C2", PATIENT));
    send(&daemon, "mirror", &adt("A03", "S2", PATIENT));
    eventually("it is refused", || outcomes(&daemon, "out", "suppressed") == 2.0);
    assert_eq!(outcomes(&daemon, "out", "told"), 0.0);
    let reasons: Vec<Json> = decisions(&setup, &["--decision", "suppress"])
        .into_iter()
        .map(|it| it["reason"].clone())
        .collect();
    assert_eq!(reasons, ["revoked", "missing"], "the newest first");
    assert!(daemon.stop().success());
}

#[test]
fn while_nobody_takes_it_the_second_waits_for_the_first() {
    let setup = setup();
    // A folder where the file would be.
    let blocked = setup.state_dir().join("out/out.ndjson");
    std::fs::create_dir_all(&blocked).unwrap();
    let mut daemon = setup.start();
    for (feed, id) in [("adt", "F1"), ("mirror", "S1")] {
        send(&daemon, feed, &adt("A01", id, PATIENT));
    }
    eventually("the route is down", || daemon.log().contains("route is down"));
    assert_eq!(outcomes(&daemon, "out", "told"), 0.0);
    std::fs::remove_dir(&blocked).unwrap();
    told_before(&daemon, 1.0);
    assert_eq!(out(&setup, "out"), ["F1"]);
    assert!(daemon.stop().success());
}

#[test]
fn what_is_not_known_to_be_the_same_leaves() {
    let aliases = "[identity]\nauthorities = { \"VISIT\" = [\"EPIC^VN\", \"HIE\"] }";
    let setup = setup().section(aliases);
    let mut daemon = setup.start();
    let changed = |id: &str, from: &str, to: &str| {
        String::from_utf8(adt("A01", id, PATIENT)).unwrap().replace(from, to).into_bytes()
    };
    let visit = format!("ZZV{PATIENT}^^^EPIC^VN");
    send(&daemon, "adt", &adt("A01", "F1", PATIENT));
    // The same visit by another name of its authority.
    send(&daemon, "mirror", &changed("S1", &visit, &visit.replace("EPIC^VN", "HIE")));
    told_before(&daemon, 1.0);
    // Another visit, another authority, another patient, none: nobody can tell.
    for (nth, other) in ["ZZV9^^^EPIC^VN", &visit.replace("EPIC", "ELSE"), ""].iter().enumerate() {
        send(&daemon, "mirror", &changed(&format!("O{nth}"), &visit, other));
    }
    send(&daemon, "mirror", &changed("P1", &format!("{PATIENT}^^^EPIC^MR"), "ZZ9^^^EPIC^MR"));
    eventually("all is out", || out(&setup, "out").len() == 5);
    // Patients overtake each other.
    let keys: BTreeMap<String, Option<String>> = setup
        .events("out")
        .iter()
        .map(|it| it["visitkey"].as_str().map(str::to_owned))
        .zip(out(&setup, "out"))
        .map(|(key, id)| (id, key))
        .collect();
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["F1", "O0", "O1", "O2", "P1"]);
    assert_eq!(keys["O2"], None, "no visit, no key");
    assert_eq!(keys["P1"], keys["F1"], "one visit, as far as its number says, of two patients");
    assert!(keys["F1"] != keys["O0"] && keys["F1"] != keys["O1"] && keys["O0"] != keys["O1"]);
    assert_eq!(outcomes(&daemon, "out", "told"), 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn a_visit_number_that_comes_bare_is_of_whom_its_site_says() {
    let case =
        "[[case]]\nname = \"a\"\nmessage = \"a.hl7\"\nexpect = { \"message.type\" = \"ADT\" }\n";
    let missing = |name: &str| format!("[authority.missing]\nvisit = {name:?}\n{case}");
    let setup = setup()
        .section(&MIRROR.replace("mirror", "stranger"))
        .section("[identity]\nauthorities = { \"VISIT\" = [\"EPIC^VN\", \"WARD\"] }")
        .site("north.toml", &missing("WARD"))
        .feed("site = \"north\"");
    let mut daemon = setup.start();
    let bare = |id: &str| {
        let text = String::from_utf8(adt("A01", id, PATIENT)).unwrap();
        text.replace(&format!("ZZV{PATIENT}^^^EPIC^VN"), &format!("ZZV{PATIENT}")).into_bytes()
    };
    send(&daemon, "mirror", &adt("A01", "S1", PATIENT));
    send(&daemon, "adt", &bare("F1"));
    told_before(&daemon, 1.0);
    // Without that it is the feed's own.
    send(&daemon, "stranger", &bare("X1"));
    eventually("it is out", || out(&setup, "out") == ["S1", "X1"]);
    assert!(daemon.stop().success());
}

/// PROMISE-7
#[test]
fn the_key_of_a_visit_is_of_its_realm_and_of_a_route_that_knows_patients() {
    let free = "require = \"opt-out\"";
    let setup = Setup::new()
        .section(MIRROR)
        .file_route("clear", EVERY_EVENT)
        .pseudonymous("one", "CLINTRCH", free, EVERY_EVENT, TOKEN)
        .pseudonymous("two", "CLINTRCH", free, EVERY_EVENT, TOKEN)
        .pseudonymous("hidden", "CLINTRCH", free, EVERY_EVENT, "\"visit.class\" = \"keep\"")
        .saying("hidden", ONCE)
        .pseudonymous("other", "CLINTRCH", free, EVERY_EVENT, TOKEN)
        .in_realm("other", "outreach");
    let mut daemon = setup.start();
    for (feed, id) in [("adt", "F1"), ("mirror", "S1")] {
        send(&daemon, feed, &adt("A01", id, PATIENT));
    }
    eventually("all is out", || {
        ["clear", "one", "two", "other"].iter().all(|route| setup.events(route).len() == 2)
            && outcomes(&daemon, "hidden", "told") == 1.0
    });
    let key = |route: &str| {
        let keys: Vec<Json> =
            setup.events(route).iter().map(|line| line["visitkey"].clone()).collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "{route}: {keys:?}");
        keys[0].clone()
    };
    let of_realm = key("one");
    assert!(of_realm.as_str().is_some_and(|key| {
        key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
    }));
    assert_eq!((key("two"), key("clear")), (of_realm.clone(), of_realm.clone()));
    assert_ne!(key("other"), of_realm);
    assert_eq!(key("hidden"), Json::Null);
    assert_eq!(setup.events("hidden").len(), 1);
    assert!(daemon.stop().success());
}

/// The number of patients, and of facts about each, of the runs that are killed.
const PATIENTS: usize = 40;
const TRIGGERS: [&str; 5] = ["A01", "A02", "A02", "A11", "A01"];

/// Sends what a feed has to say, from a place to another, until it is done or the daemon is gone; gives
/// the place of the first that was not answered.
fn feed_on(address: SocketAddr, source: &str, from: usize, to: usize) -> usize {
    let Ok(mut sender) = Sender::try_connect(address) else { return from };
    for at in from..to {
        let (step, patient) = (at / PATIENTS, at % PATIENTS);
        let patient = format!("ZZ2000{patient:02}");
        let message = adt(TRIGGERS[step], &format!("{source}{at}"), &patient);
        // So that some are still to come when it is killed.
        std::thread::sleep(std::time::Duration::from_millis(3));
        match sender.exchange(&message) {
            Ok(answer) => assert_eq!(answer.code, "AA"),
            Err(_) => return at,
        }
    }
    to
}

/// PROMISE-1, PROMISE-2
#[test]
fn killed_at_any_moment_every_fact_leaves_once() {
    let setup = setup();
    let last = PATIENTS * TRIGGERS.len();
    let mut at = [0, 0];
    let mut runs = 0;
    while at != [last, last] {
        runs += 1;
        let mut daemon = setup.start();
        let addresses = ["adt", "mirror"].map(|feed| daemon.feed_named(feed));
        let threads = [0, 1].map(|nth| {
            let (address, from): (SocketAddr, usize) = (addresses[nth], at[nth]);
            // However slow the machine is, eight runs are killed before all is sent.
            let to = if runs <= 8 { from + last / 9 } else { last };
            std::thread::spawn(move || feed_on(address, ["F", "S"][nth], from, to))
        });
        if runs <= 8 {
            // Each time after some more has left, which the cursor may or may not have passed.
            let least = out(&setup, "out").len() + 5;
            eventually("some is out", || {
                out(&setup, "out").len() >= least || threads.iter().all(|it| it.is_finished())
            });
            std::thread::sleep(std::time::Duration::from_millis(29 * (runs % 4)));
            daemon.kill();
        }
        at = threads.map(|thread| thread.join().unwrap());
    }
    let mut daemon = setup.start();
    eventually("all is out", || out(&setup, "out").len() >= last);
    assert!(daemon.stop().success());
    // Of each patient each fact, told by one of the two.
    let mut told: BTreeMap<usize, usize> = BTreeMap::new();
    for id in out(&setup, "out") {
        *told.entry(id[1..].parse().unwrap()).or_default() += 1;
    }
    assert!(told.values().all(|count| *count == 1), "{told:?}");
    assert_eq!(told.len(), last);
    // And the evidence has for each event of either what became of it, the last time the same.
    let mut by_event: BTreeMap<String, String> = BTreeMap::new();
    for one in decisions(&setup, &["--route", "out", "--limit", "10000"]) {
        let [event, outcome] = ["event", "outcome"].map(|it| one[it].as_str().unwrap().to_owned());
        if outcome != "in-doubt" {
            let known = by_event.entry(event).or_insert_with(|| outcome.clone());
            assert_eq!(*known, outcome, "the answer did not change");
        }
        assert_eq!(one["outcome"] == "told", one.get("toldBy").is_some());
    }
    let of = |word: &str| by_event.values().filter(|it| *it == word).count();
    assert_eq!((of("release"), of("told")), (last, last));
}

#[test]
fn a_route_that_stopped_asking_and_asks_again_counts_anew() {
    let setup = setup();
    let contract = setup.dir.path().join("routes/out.toml");
    let mut seen = 0;
    let mut run = |asks: bool, sent: &[(&str, &str)], wanted: &[&str]| {
        let text = std::fs::read_to_string(&contract).unwrap().replace(ONCE, "");
        let text = if asks { format!("{ONCE}\n{text}") } else { text };
        std::fs::write(&contract, text).unwrap();
        let mut daemon = setup.start();
        for (feed, id) in sent {
            send(&daemon, feed, &adt("A01", id, PATIENT));
        }
        let told = u32::try_from(sent.len() - wanted.len()).unwrap();
        told_before(&daemon, f64::from(told));
        eventually("all is out", || out(&setup, "out").len() >= seen + wanted.len());
        assert!(daemon.stop().success());
        assert_eq!(out(&setup, "out").split_off(seen), wanted);
        seen += wanted.len();
    };
    run(true, &[("adt", "F1"), ("mirror", "S1"), ("adt", "F2")], &["F1", "F2"]);
    // Over a restart it is known.
    run(true, &[("mirror", "S2")], &[]);
    run(false, &[("adt", "F3"), ("mirror", "S3")], &["F3", "S3"]);
    run(true, &[("mirror", "S4"), ("adt", "F4")], &["S4"]);
}

#[test]
fn what_is_wrong_with_once_is_told_at_its_place() {
    let wanted = |text: &str, setup: Setup| {
        let (code, lines) = setup.check();
        assert_eq!(code, 2, "{lines:?}");
        let found = lines.iter().filter(|line| line.contains("routes/out.toml:1:")).count();
        assert!(found == 1 && lines.iter().any(|line| line.contains(text)), "{lines:?}");
    };
    let visits = || Setup::new().file_route("out", EVERY_EVENT);
    wanted("`once`", visits().saying("out", "once = \"patient\""));
    wanted("`once`", visits().saying("out", "once = true"));
    let results = Setup::new().file_route("out", &["observation.reported"]);
    wanted("`once` is about transitions", results.saying("out", ONCE));
    let file = "kind = \"file\"\npath = \"out/out.ndjson\"";
    let fields = "\"visit.class\" = \"keep\"";
    let batch = Setup::new().contract("out", EVERY_EVENT, "deidentified", "HQUALIMP", fields, file);
    let batch = batch.saying("out", "batch = \"30d\"").saying("out", ONCE);
    wanted("`once` does not go with tier deidentified", batch);
    let right = setup();
    assert_eq!(right.check().0, 0);
    let told = String::from_utf8(right.command(&["check"]).stdout).unwrap();
    assert!(told.contains("each transition of a visit once"), "{told}");
}
