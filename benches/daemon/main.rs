//! The daemon from outside, beside the bare parts that it stands on, in the same run: durable
//! acknowledgements beside a bare group commit of SQLite, journal to confirmed quorum queue beside a
//! bare publisher, a contract that asks for consent beside one that asks for none, and
//! what a route costs.
//!
//! Machines differ and are shared with others, so that a rate says little; a ratio of two that
//! were measured in turns on the same disk and broker says something.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a bench ends at what it did not expect, and measures by the clock"
)]

#[path = "../figures.rs"]
mod figures;
#[path = "../../tests/support/mod.rs"]
mod support;
mod messages;
mod process;
mod client;
mod commit;
mod intake;
mod delivery;
mod consent;
mod routes;
mod fhir;

use std::process::ExitCode;

use figures::Table;

/// A part of the run, with the word that asks for it alone.
type Part = (&'static str, fn(&mut Table));

const PARTS: [Part; 5] = [
    ("intake", intake::measure),
    ("delivery", delivery::measure),
    ("consent", consent::measure),
    ("routes", routes::measure),
    ("fhir", fhir::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this, too, and has no use for figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let asked: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    process::describe_machine();
    let mut table = Table::default();
    for (name, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|word| *word == name) {
            measure(&mut table);
        }
    }
    table.print()
}
