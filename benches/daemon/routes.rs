//! What a route costs: processor time a message with one identified route of ten fields, beside a
//! pseudonymized one of ten fields, and beside several.
//!
//! A message is taken, decided about with its evidence, and written to a file; all of that counts.

use super::client::{self, Shared};
use super::figures::{Series, Table, Target};
use super::intake;
use super::messages::Messages;
use super::process;
use super::support::daemon::{Daemon, Setup};
use super::support::eventually;

const MESSAGES: u64 = 20_000;
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 64;
/// Routes beside the first.
const FURTHER: usize = 4;
/// The cost that a pseudonymized route may add to an identified one, in microseconds an event.
const PSEUDONYMS_MICROS: f64 = 25.0;
/// The cost of a further route, all told.
const ROUTE_MICROS: f64 = 30.0;

const IDENTIFIED: &str = "\"subject\" = \"keep\"\n\"patient.identifiers[].value\" = \"keep\"\n\
    \"patient.birthDate\" = \"keep\"\n\"patient.sex\" = \"keep\"\n\
    \"patient.addresses[].postalCode\" = \"keep\"\n\"patient.addresses[].state\" = \"keep\"\n\
    \"visit.number.value\" = \"keep\"\n\"visit.class\" = \"keep\"\n\
    \"visit.location.pointOfCare\" = \"keep\"\n\"visit.admittedAt\" = \"keep\"\n\
    \"diagnoses[].code\" = \"keep\"\n";
const PSEUDONYMIZED: &str = "\"subject\" = \"token\"\n\"patient.identifiers[].value\" = \"hash\"\n\
    \"patient.birthDate\" = { transform = \"age-band\", as = \"patient.ageBand\" }\n\
    \"patient.sex\" = \"keep\"\n\"patient.addresses[].postalCode\" = \"zip3\"\n\
    \"patient.addresses[].state\" = \"state\"\n\"visit.number.value\" = \"hash\"\n\
    \"visit.class\" = \"keep\"\n\"visit.location.pointOfCare\" = \"keep\"\n\
    \"visit.admittedAt\" = { transform = \"week\", as = \"visit.admittedWeek\" }\n\
    \"diagnoses[].code\" = { transform = \"code-family\", length = 3 }\n";

pub fn measure(table: &mut Table) {
    let names: Vec<String> = (0..=FURTHER).map(|nth| format!("bench-{nth}")).collect();
    let setups = [
        routed(&names[..1], "identified", "TREAT", IDENTIFIED),
        routed(&names[..1], "pseudonymized", "CLINTRCH", PSEUDONYMIZED),
        routed(&names, "pseudonymized", "CLINTRCH", PSEUDONYMIZED),
    ];
    let streams = [1, 1, 1].map(|first| Shared::of(Messages::new(), first));
    let mut cpu = [const { Series(Vec::new()) }; 3];
    for round in 0..=ROUNDS {
        for which in (0..3).map(|place| (place + round) % 3) {
            let routes = if which == 2 { &names[..] } else { &names[..1] };
            let mut daemon = intake::start(&setups[which]);
            let pid = daemon.child.id();
            let begun = process::cpu(pid);
            client::send(&streams[which], daemon.feed(), CONNECTIONS, MESSAGES);
            let sent = |route: &String| released(&daemon, route) >= MESSAGES as f64;
            eventually("everything is delivered", || routes.iter().all(sent));
            let used = (process::cpu(pid) - begun).as_secs_f64() * 1e6 / MESSAGES as f64;
            assert!(daemon.stop().success());
            if round > 0 {
                cpu[which].push(used);
            }
        }
    }
    let [identified, pseudonymized, several] = &cpu;
    let less = |this: &Series, that: &Series, by: f64| {
        Series(this.0.iter().zip(&that.0).map(|(this, that)| (this - that) / by).collect())
    };
    table.figure(
        "processor time a message, identified, ten fields",
        "µs",
        identified,
        Target::None,
    );
    table.figure("  pseudonymized, ten fields", "µs", pseudonymized, Target::None);
    let added = less(pseudonymized, identified, 1.0);
    table.figure("  that is more by", "µs", &added, Target::Most(PSEUDONYMS_MICROS));
    table.figure(&format!("  {} such routes", names.len()), "µs", several, Target::None);
    let further = less(several, pseudonymized, FURTHER as f64);
    table.figure("  that is for each further route", "µs", &further, Target::Most(ROUTE_MICROS));
}

/// A folder with the routes, each to its own file.
fn routed(names: &[String], tier: &str, purpose: &str, fields: &str) -> Setup {
    names.iter().fold(Setup::new(), |setup, name| {
        let deliver = format!("kind = \"file\"\npath = \"out/{name}.ndjson\"");
        setup.contract(name, &["patient.admitted"], tier, purpose, fields, &deliver)
    })
}

fn released(daemon: &Daemon, route: &str) -> f64 {
    daemon.metric(&format!("tidegate_events_total{{route=\"{route}\",outcome=\"released\"}}"))
}
