//! What it costs to ask: processor time a message with a million records in the ledger, under a
//! contract that asks for a permit, beside one that asks for none, and beside an empty ledger.
//!
//! A message is taken, decided about and written to a file; all of that counts. Also a contract
//! that asks for no permit looks the patient up, since a refusal holds under it, too: so the ledger
//! itself is beside one that is empty.

use std::fmt::Write as _;
use std::sync::Arc;

use super::client::{self, Shared};
use super::figures::{Series, Table, Target};
use super::intake;
use super::messages::{FIRST_PATIENT, Messages};
use super::process;
use super::support::daemon::{Daemon, Setup};
use super::support::eventually;

/// Of whom the ledger has records: 2.5 of each.
const SUBJECTS: u64 = 400_000;
/// What is in the ledger: of each subject a permit and a refusal of something else; of every second
/// a permit before that.
const RECORDS: u64 = 2 * SUBJECTS + SUBJECTS / 2;
/// Most lines of an import.
const LINES: usize = 200_000;
/// Every second message is about one of these, the patients in the house; the others about anybody.
const HOT: u64 = 2_000;
/// Messages of a round.
const MESSAGES: u64 = 30_000;
/// Messages about as many subjects, which is more than are remembered.
const FILLING: u64 = 100_000;
/// The number of the first of them, behind those of all rounds.
const FIRST_FILLING: u64 = 10_000_000;
/// The two caches that there are for the ledger, of records and of pages, with 32 MiB each, and half
/// as much again for what lies between.
const LEDGER_MIB: f64 = 96.0;
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 64;
const ROUTE: &str = "bench";
const PURPOSE: &str = "CLINTRCH";
const OPT_IN: &str = "require = \"opt-in\"";
const FIELDS: &str = "\"subject\" = \"token\"\n\"patient.sex\" = \"keep\"\n\
     \"visit.class\" = \"keep\"\n\"diagnoses[].code\" = \"keep\"\n";

pub fn measure(table: &mut Table) {
    let mut full = filled();
    let empty = contracted(Setup::new(), false);
    let stream = [1, 1].map(|first| Shared::of(Messages::about(hot_or_cold), first));
    let [mut asking, mut without, mut bare] = [const { Run::new() }; 3];
    for round in 0..=ROUNDS {
        // Who goes first changes, and the first round does not count: in it everybody is new.
        for which in (0..3).map(|place| (place + round) % 3) {
            let (run, (cpu, peak)) = if which < 2 {
                full = contracted(full, which == 0);
                let run = if which == 0 { &mut asking } else { &mut without };
                (run, one(&full, &stream[0], MESSAGES))
            } else {
                (&mut bare, one(&empty, &stream[1], MESSAGES))
            };
            if round > 0 {
                run.cpu.push(cpu);
                run.peak.push(peak);
            }
        }
    }
    full = contracted(full, true);
    let most = [&full, &empty]
        .map(|setup| one(setup, &Shared::of(Messages::about(anybody), FIRST_FILLING), FILLING).1);
    let name = "processor time a message, opt-in, 1M records";
    let target = Target::Most(1.1);
    table.ratio(name, "µs", &asking.cpu, ("require = \"none\"", &without.cpu), target);
    table.ratio("  the same", "µs", &asking.cpu, ("and no records", &bare.cpu), Target::None);
    let name = "memory, opt-in, 1M records, peak";
    let beside = ("require = \"none\"", &without.peak);
    table.ratio(name, "MiB", &asking.peak, beside, Target::None);
    table.ratio("  the same", "MiB", &asking.peak, ("and no records", &bare.peak), Target::None);
    let held = Series(vec![most[0] - most[1]]);
    let target = Target::Most(LEDGER_MIB);
    table.figure("  of it for the ledger, at the most", "MiB", &held, target);
}

/// What one of the three came to in each round.
struct Run {
    cpu: Series,
    peak: Series,
}

impl Run {
    const fn new() -> Self {
        Self { cpu: Series(Vec::new()), peak: Series(Vec::new()) }
    }
}

/// A folder whose ledger holds the records, through the import that an operator has.
fn filled() -> Setup {
    let setup = Setup::new();
    setup.config();
    let mut lines = (0..SUBJECTS).flat_map(records);
    let mut count = 0;
    loop {
        let mut file = String::new();
        for line in lines.by_ref().take(LINES) {
            writeln!(file, "{line}").unwrap();
            count += 1;
        }
        if file.is_empty() {
            break;
        }
        let path = setup.dir.path().join("decisions.ndjson");
        std::fs::write(&path, file).unwrap();
        let done = setup.command(&["consent", "import", path.to_str().unwrap()]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(count, RECORDS);
    setup
}

/// Every subject permits, in a record of its own.
fn records(subject: u64) -> impl Iterator<Item = String> {
    let value = FIRST_PATIENT + subject;
    let line = |key: &str, purpose: &str, decision: &str, at: &str| {
        format!(
            "{{\"subject\":{{\"authority\":\"EPIC\",\"value\":\"ZZ{value}\"}},\
             \"key\":{{\"source\":\"adt\",\"id\":\"ZZ{key}{value}\"}},\
             \"purposes\":[\"{purpose}\"],\"decision\":\"{decision}\",\"status\":\"active\",\
             \"decidedAt\":\"{at}\"}}"
        )
    };
    let before = subject.is_multiple_of(2).then(|| line("F", PURPOSE, "permit", "2024-03-01"));
    let permit = line("F", PURPOSE, "permit", "2026-01-05");
    let refusal = line("M", "HMARKT", "deny", "2025-07-01");
    before.into_iter().chain([permit, refusal])
}

/// The route, as it asks in the next run.
fn contracted(setup: Setup, asks: bool) -> Setup {
    let deliver = "kind = \"file\"\npath = \"out/bench.ndjson\"";
    let events = ["patient.admitted"];
    let setup = setup.contract(ROUTE, &events, "pseudonymized", PURPOSE, FIELDS, deliver);
    if asks { setup.asking(ROUTE, PURPOSE, OPT_IN) } else { setup }
}

/// Every second of the patients in the house; else anybody. Every round the same.
fn hot_or_cold(number: u64) -> u64 {
    let nth = number % MESSAGES;
    // Knuth's multiplicative hash: spread, and the same each time.
    let spread = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    if nth.is_multiple_of(2) { spread % HOT } else { spread % SUBJECTS }
}

fn anybody(number: u64) -> u64 {
    number % SUBJECTS
}

/// Microseconds a message until all are delivered, and the memory at its greatest.
fn one(setup: &Setup, shared: &Arc<Shared>, messages: u64) -> (f64, f64) {
    let mut daemon = intake::start(setup);
    let pid = daemon.child.id();
    let begun = process::cpu(pid);
    client::send(shared, daemon.feed(), CONNECTIONS, messages);
    eventually("everything is delivered", || released(&daemon) >= messages as f64);
    let used = (process::cpu(pid) - begun).as_secs_f64() * 1e6 / messages as f64;
    let peak = process::memory(pid).1;
    assert!(daemon.stop().success());
    (used, peak)
}

fn released(daemon: &Daemon) -> f64 {
    daemon.metric(&format!("tidegate_events_total{{route=\"{ROUTE}\",outcome=\"released\"}}"))
}
