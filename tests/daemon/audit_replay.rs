//! Every decision of a run, made again from ledger, evidence and configuration alone: by the stopped
//! store, months later, an auditor gets the same answer for the same reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use tidegate::admit::Digest;
use tidegate::audit::{Consulted, Decision, Outcome, Record, Says};
use tidegate::config::{self, Config};
use tidegate::consent::{Epoch, Question, Says as Said, ask};
use tidegate::contract::{Contract, wants};
use tidegate::deliver::decide::{NOTHING_TO_TELL, PERMITTED};
use tidegate::document::Problems;
use tidegate::event::{Event, EventId, EventType, Subject};
use tidegate::secret::{Key, unhex};
use tidegate::store::audit::read::AuditReader;
use tidegate::store::query::{Filter, Lookup};
use tidegate::store::state::key_path;
use tidegate::store::{Filed, StoreError};

use crate::support::daemon::{Daemon, Setup};
use crate::support::sender::Sender;
use crate::support::{EVERY_EVENT, adt, consent, eventually, two};

const SUBJECTS: u64 = 30;
const MESSAGES: u64 = 600;
const SEED: u64 = 0x7469_6465;
const ROUTES: [(&str, &str, &str); 5] = [
    ("ward", "TREAT", "require = \"none\"\nbasis = \"a test\""),
    ("emergency", "ETREAT", "require = \"opt-out\""),
    ("claims", "HPAYMT", "require = \"opt-out\""),
    ("desk", "PATADMIN", "require = \"opt-in\""),
    ("registry", "PUBHLTH", "require = \"opt-out\""),
];
const POLICY: &str = "[codes]\n\"L/ZZ9\" = [\"TREAT\", \"HPAYMT\"]\n\"L/ZZ8\" = [\"PATADMIN\"]\n\
                      \"L/ZZ7\" = [\"PUBHLTH\"]\n[restriction]\nspares = [\"ETREAT\"]\n";

fn setup() -> Setup {
    let setup = Setup::new().policy(POLICY).node("jurisdiction = \"US-CA\"");
    ROUTES.into_iter().fold(setup, |setup, (name, purpose, consent)| {
        setup.file_route(name, EVERY_EVENT).asking(name, purpose, consent)
    })
}

/// A stream of numbers that looks random, the same each time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_of<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }
}

fn patient(nth: u64) -> String {
    format!("ZZ1{nth:05}")
}

/// What a hospital sends: mostly events, some decisions and protections, a few merges.
fn message(random: &mut Random, nth: u64) -> Vec<u8> {
    let (who, id) = (patient(random.below(SUBJECTS)), format!("N{nth}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // Each patient has two visits.
    let visit = format!("ZZV{}{who}", random.below(2));
    let event = |trigger: &str| {
        let place = "4W^401^A^NORTH";
        let numbered = format!("{place}||||||||||||||||{visit}^^^EPIC^VN\r");
        let plain = text(adt(trigger, &id, &who));
        let at = plain.find(place).unwrap();
        format!("{}{numbered}", &plain[..at])
    };
    let behind = |message: String, segment: &str, more: &str| {
        let at = message.find(&format!("{segment}|")).unwrap();
        let end = at + message[at..].find('\r').unwrap() + 1;
        format!("{}{more}{}", &message[..end], &message[end..])
    };
    let later = format!("202611{:02}{:02}", 1 + random.below(21), random.below(24));
    match random.below(100) {
        0..20 => {
            let code = random.one_of(&["ZZ9", "ZZ8", "ZZ7"]);
            // Permits, refusals, withdrawals, now and then what nobody knows.
            let unknown = random.below(40) == 0;
            let status = random.one_of(&["A", "A", "A", "R", "X"]);
            let status = if unknown { "SIGNED" } else { status };
            text(consent(status, &later, &id, &who))
                .replace("|ZZ9^Form", &format!("|{code}^Form"))
                .replace("||ZZF", &format!("||ZZF{code}"))
        }
        20..26 => {
            let said = random.one_of(&["Y", "N", "N"]);
            let pd1 = format!("PD1||||||||||||{said}\r");
            behind(event("A08"), "PID", &pd1)
        }
        26..32 => {
            let said = random.one_of(&["Y", "N"]);
            let pv2 = format!("PV2||||||||||||||||||||||{said}\r");
            behind(event("A08"), "PV1", &pv2)
        }
        32..36 => {
            let arv = format!("ARV|1|{}|PSY^^HL70717\r", random.one_of(&["A", "D"]));
            behind(event("A08"), "PID", &arv)
        }
        36..42 => {
            let trigger = random.one_of(&["A40", "A40", "A37", "A47", "A43", "A24"]);
            let other = patient(random.below(SUBJECTS));
            text(two(trigger, &id, &who, &other))
        }
        _ => event(random.one_of(&["A01", "A02", "A03", "A08"])),
    }
    .into_bytes()
}

/// Sends messages by two connections, several at once, and waits until all is decided.
fn send(daemon: &Daemon, random: &mut Random, numbers: std::ops::Range<u64>) {
    let mut senders = [(); 2].map(|()| Sender::connect(daemon.feed()));
    let numbers: Vec<u64> = numbers.collect();
    for batch in numbers.chunks(16) {
        for nth in batch {
            senders[(nth % 2) as usize].send(&message(random, *nth)).unwrap();
        }
        for nth in batch {
            assert_eq!(senders[(nth % 2) as usize].ack().unwrap().code, "AA", "message {nth}");
        }
    }
    for (route, _, _) in ROUTES {
        let lag = format!("tidegate_route_lag_events{{route=\"{route}\"}}");
        eventually("all is decided", || daemon.metric(&lag) == 0.0);
    }
}

fn load(setup: &Setup) -> Config {
    config::load(&setup.config(), &Problems::default()).unwrap()
}

/// What an auditor has: the store, the evidence, the configurations by their hashes.
struct Auditor {
    lookup: Lookup,
    records: Vec<(u64, jiff::Timestamp, Decision)>,
    configs: HashMap<String, Config>,
}

impl Auditor {
    fn new(state: &Path, configs: Vec<Config>) -> Self {
        let master = std::fs::read(key_path(state, "master")).unwrap();
        let lookup = Lookup::open(state, &Key::from_bytes(&master).unwrap()).unwrap();
        let audit = AuditReader::open(&state.join("audit.db")).unwrap();
        let mut records = Vec::new();
        let kept = audit.each::<StoreError>(|record, _| {
            records.push(record);
            Ok(())
        });
        kept.unwrap();
        let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        let decisions = records.into_iter().filter_map(|Record { number, at, says }| match says {
            Says::Decision(decision) => Some((number, at, *decision)),
            Says::Act(_) => None,
        });
        let configs = configs.into_iter().map(|config| (config.hash.clone(), config)).collect();
        Self { lookup, records: decisions.collect(), configs }
    }

    fn contract(&self, decision: &Decision) -> &Contract {
        let config = &self.configs[&decision.under.configuration];
        config.contracts.iter().find(|contract| contract.name == decision.under.route).unwrap()
    }

    /// What was filed under the subject of a record when it was decided.
    fn filed(&mut self, decision: &Decision) -> Filed {
        let subject = Digest(unhex(&decision.subject).unwrap().try_into().unwrap());
        let filed = self.lookup.filed_as_of(&subject, Epoch(decision.epoch)).unwrap();
        assert_eq!(filed.ledger().epoch.0, decision.epoch, "{decision:?}");
        filed
    }

    /// Asks again. The visit is known by its digest alone: that of a protection, or another.
    fn decide(&mut self, at: jiff::Timestamp, decision: &Decision) -> (String, Vec<Consulted>) {
        let filed = self.filed(decision);
        let digests = self.lookup.digests();
        let ledger = filed.ledger();
        let records = ledger.own.iter().chain(ledger.aliases.iter().flat_map(|it| &it.records));
        let mut visits = records.filter_map(|record| match &record.says {
            Said::Restriction(restriction) => restriction.visit.as_deref(),
            Said::Consent(_) | Said::Closure(_) => None,
        });
        let visit = decision.visit.as_ref().map(|wanted| {
            visits.find(|visit| digests.visit(visit).to_string() == **wanted).unwrap_or(wanted)
        });
        let contract = self.contract(decision);
        let config = &self.configs[&decision.under.configuration];
        let jurisdiction = config.node.jurisdiction.as_deref();
        let labels: Vec<&str> = decision.labels.iter().map(String::as_str).collect();
        let question = Question {
            event: &EventId(decision.event.clone()),
            route: &decision.under.route,
            purpose: &decision.under.purpose,
            visit,
            channel: contract.channel.as_deref(),
            grantee: &decision.under.consumer,
            jurisdictions: jurisdiction.as_slice(),
            labels: &labels,
            contract_labels: &contract.labels,
            classes: &contract.classes,
            requirement: &contract.requirement,
            ends: None,
        };
        let consulted = |records: &[tidegate::consent::Reference]| {
            records.iter().map(|record| Consulted::of(record, digests)).collect()
        };
        match ask(&question, &ledger, &config.policy, at) {
            Ok(permit) => (PERMITTED.to_owned(), consulted(permit.records())),
            Err(refusal) => (refusal.code().name().to_owned(), consulted(refusal.records())),
        }
    }

    /// Every event of the journal, with whom it was about as it came.
    fn events(&mut self) -> Vec<Arc<Event>> {
        let all = Filter { limit: tidegate::store::query::ROWS_MAX, ..Filter::default() };
        let found = self.lookup.messages(&all).unwrap();
        let digests = self.lookup.digests();
        let facts = found.iter().flat_map(|listed| listed.entry.facts(digests));
        facts.map(|fact| Arc::clone(&fact.event)).collect()
    }

    fn digest(&self, subject: &Subject) -> String {
        format!("{:?}", self.lookup.digests().subject(subject))
    }
}

/// PROMISE-8
#[test]
fn every_decision_is_rebuilt_from_ledger_and_evidence_and_what_left_is_what_they_say() {
    let mut random = Random(SEED);
    let setup = setup();
    let mut daemon = setup.start();
    let mut configs = vec![load(&setup)];
    send(&daemon, &mut random, 0..MESSAGES / 2);
    assert!(daemon.stop().success());
    drop(daemon);
    // Another version of a contract, and of the policy, under which the same is answered otherwise.
    let policy = POLICY.replace("spares = [\"ETREAT\"]", "spares = [\"ETREAT\", \"HPAYMT\"]");
    std::fs::write(setup.dir.path().join("consent.toml"), policy).unwrap();
    let path = setup.dir.path().join("routes/registry.toml");
    let contract = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, contract.replace("opt-out", "opt-in").replace("1.0.0", "2.0.0")).unwrap();
    let mut daemon = setup.start();
    configs.push(load(&setup));
    send(&daemon, &mut random, MESSAGES / 2..MESSAGES);
    // Some more are decided when nobody is there who could hear of them.
    daemon.kill();
    let mut daemon = setup.start();
    send(&daemon, &mut random, MESSAGES..MESSAGES + 20);
    assert!(daemon.stop().success());

    let mut auditor = Auditor::new(&setup.state_dir(), configs);
    let mut reasons: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (number, at, decision) in auditor.records.clone() {
        let contract = auditor.contract(&decision);
        assert_eq!(
            (
                &decision.under.contract,
                &decision.under.purpose,
                &decision.under.consumer,
                &decision.under.recipe
            ),
            (&contract.version, &contract.purpose, &contract.consumer, &contract.recipe.hash)
        );
        *reasons.entry((decision.outcome.name(), decision.reason.to_string())).or_default() += 1;
        match decision.outcome {
            // Nothing is asked for these.
            Outcome::Notice | Outcome::InDoubt => continue,
            Outcome::Suppress if decision.reason == NOTHING_TO_TELL => continue,
            Outcome::Release => assert_eq!(decision.reason, PERMITTED),
            Outcome::Suppress => assert_ne!(decision.reason, PERMITTED),
            Outcome::Told => panic!("record {number}: no route asks for transitions once"),
        }
        let answer = auditor.decide(at, &decision);
        assert_eq!(
            answer,
            (decision.reason.to_string(), decision.consents.clone()),
            "record {number}"
        );
    }
    println!("seed {SEED:#x}: {reasons:?}");
    let of = |outcome: &str| -> usize {
        reasons.iter().filter(|((one, _), _)| *one == outcome).map(|(_, count)| count).sum()
    };
    assert!(of("release") > 300 && of("suppress") > 300 && of("notice") > 20, "{reasons:?}");
    assert!(reasons.len() >= 8, "{reasons:?}");
    assert_hangs_together(&mut auditor);
    assert_nothing_is_missing(&mut auditor);
    assert_what_left(&auditor, &setup);
}

/// A record that stands for, or beside, another names an earlier one of the same event and route;
/// nobody is told anything of whom nothing left for him.
fn assert_hangs_together(auditor: &mut Auditor) {
    let mut left: HashMap<u64, (String, Arc<str>)> = HashMap::new();
    let mut known: BTreeSet<(String, Arc<str>)> = BTreeSet::new();
    for (number, _, decision) in auditor.records.clone() {
        let name = (decision.under.route.clone(), decision.event.clone());
        for earlier in decision.of.iter().chain(&decision.instead) {
            assert_eq!(left.get(earlier), Some(&name), "record {number}");
        }
        assert_eq!(decision.of.is_some(), decision.outcome == Outcome::InDoubt, "record {number}");
        if decision.outcome == Outcome::Notice {
            // Of two that are one it may be the other that the consumer knows.
            let mut whom = vec![decision.subject.clone()];
            if decision.kind == EventType::PatientMerged
                || decision.kind == EventType::PatientIdentifierChanged
            {
                let filed = auditor.filed(&decision);
                whom.extend(filed.others().iter().map(|other| auditor.digest(other).into()));
            }
            let is_known = |subject: &Arc<str>| known.contains(&(name.0.clone(), subject.clone()));
            assert!(whom.iter().any(is_known), "record {number}: {decision:?}");
        }
        if matches!(decision.outcome, Outcome::Release | Outcome::Notice) {
            known.insert((name.0.clone(), decision.subject.clone()));
            left.insert(number, name);
        }
    }
}

/// Every event has a decision on every route that selects it.
fn assert_nothing_is_missing(auditor: &mut Auditor) {
    let decided: BTreeSet<(String, Arc<str>)> = auditor
        .records
        .iter()
        .map(|(_, _, decision)| (decision.under.route.clone(), decision.event.clone()))
        .collect();
    let events = auditor.events();
    let contracts = auditor.configs.values().next().unwrap().contracts.clone();
    let mut selected = 0;
    for event in &events {
        for contract in contracts.iter().filter(|contract| wants(contract, event)) {
            selected += 1;
            let name = (contract.name.clone(), event.id.0.clone());
            assert!(decided.contains(&name), "no decision: {name:?}");
        }
    }
    assert!(selected > 1_000, "{selected} of {} events", events.len());
}

/// What stands in the files is what the evidence says has left.
fn assert_what_left(auditor: &Auditor, setup: &Setup) {
    for (route, _, _) in ROUTES {
        let mut last: BTreeMap<&str, (Outcome, bool)> = BTreeMap::new();
        for (_, _, decision) in auditor.records.iter().filter(|(_, _, it)| it.under.route == route)
        {
            let (outcome, in_doubt) =
                last.entry(&decision.event).or_insert((decision.outcome, false));
            if decision.outcome == Outcome::InDoubt {
                *in_doubt = true;
            } else {
                *outcome = decision.outcome;
            }
        }
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for line in setup.lines(route) {
            let id = |line: &Json| line["id"].as_str().unwrap().to_owned();
            *lines.entry(id(&line)).or_default() += 1;
        }
        for (event, (outcome, in_doubt)) in &last {
            let count = lines.remove(*event).unwrap_or(0);
            match outcome {
                Outcome::Release | Outcome::Notice => assert_eq!(count, 1, "{route}: {event}"),
                Outcome::Suppress | Outcome::Told | Outcome::InDoubt => {
                    assert!(count == 0 || (*in_doubt && count == 1), "{route}: {event}");
                }
            }
        }
        assert_eq!(lines, BTreeMap::new(), "{route}: without a record");
    }
}
