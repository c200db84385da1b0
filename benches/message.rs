//! Parsing and mapping, beside `hl7-parser` parsing the same bytes in the same run.
//!
//! What counts is the ratio: machines differ and are shared, the two halves of a ratio are not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a bench ends at what it did not expect, and measures by the clock"
)]

mod figures;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use criterion::Criterion;
use figures::{Series, Table, Target};
use tidegate::document::Problems;
use tidegate::normalize::{self, Context, Trace};
use tidegate::parse::hl7::{Charset, Message};

const MESSAGES: [(&str, &str); 2] =
    [("adt_1k", "fixtures/bench/adt-1k.hl7"), ("oru_2k", "fixtures/bench/oru-2k.hl7")];
/// What the others are held against.
const ORACLE: &str = "hl7-parser";
/// Each with the most that it may take of the oracle's time.
const MEASURED: [(&str, f64); 2] = [("parse", 0.10), ("parse_and_map", 0.25)];

fn main() -> ExitCode {
    // What criterion writes of this run, this run reads: an older file would not be its.
    let results = results();
    for (name, _) in MESSAGES {
        std::fs::remove_dir_all(results.join(name)).ok();
    }
    let mut criterion =
        Criterion::default().output_directory(&results).without_plots().configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
    let mut table = Table::default();
    for (name, _) in MESSAGES {
        // Where only some were asked for there are no ratios.
        let Some(mut oracle) = microseconds(name, ORACLE) else { continue };
        // The ratio's spread is the widest that the two deviations allow.
        oracle.0.reverse();
        for (measured, bound) in MEASURED {
            if let Some(series) = microseconds(name, measured) {
                let title = format!("{name} {measured}");
                table.ratio(&title, "µs", &series, (ORACLE, &oracle), Target::Most(bound));
            }
        }
    }
    table.print()
}

fn bench(criterion: &mut Criterion) {
    let problems = Problems::default();
    let mappings = normalize::load(Path::new("mappings"), &problems);
    assert!(problems.is_clean());
    for (name, file) in MESSAGES {
        let bytes = std::fs::read(file).expect("a fixture");
        let text = std::str::from_utf8(&bytes).expect("UTF-8").to_owned();
        let mut group = criterion.benchmark_group(name);
        group.throughput(criterion::Throughput::Bytes(bytes.len() as u64));
        group.bench_function(ORACLE, |bencher| {
            bencher.iter(|| hl7_parser::Message::parse(black_box(&text)).expect("a message"));
        });
        group.bench_function("parse", |bencher| {
            bencher.iter(|| Message::parse(black_box(&bytes), Charset::Utf8).expect("a message"));
        });
        group.bench_function("parse_and_map", |bencher| {
            bencher.iter(|| {
                let message = Message::parse(black_box(&bytes), Charset::Utf8).expect("a message");
                normalize::normalize(&mappings, &message, &Context::default(), Trace::Off)
                    .expect("events")
            });
        });
        group.finish();
    }
}

/// Where criterion keeps what it measured.
fn results() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion")
}

/// Median, and the median less and more its absolute deviation, as criterion has them.
fn microseconds(group: &str, function: &str) -> Option<Series> {
    let path = results().join(group).join(function).join("new/estimates.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let estimate = |name: &str| json[name]["point_estimate"].as_f64().map(|value| value / 1000.0);
    let (median, deviation) = (estimate("median")?, estimate("median_abs_dev")?);
    Some(Series(vec![median - deviation, median, median + deviation]))
}
