//! Parsing and mapping, beside `hl7-parser` parsing the same bytes in the same run.
//!
//! What counts is the ratio: machines differ and are shared, the two halves of a ratio are not.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::document::Problems;
use tidegate::normalize::{self, Context, Trace};
use tidegate::parse::hl7::{Charset, Message};

fn bench(criterion: &mut Criterion) {
    let problems = Problems::default();
    let mappings = normalize::load(Path::new("mappings"), &problems);
    assert!(problems.is_clean());
    for (name, file) in
        [("adt_1k", "fixtures/bench/adt-1k.hl7"), ("oru_2k", "fixtures/bench/oru-2k.hl7")]
    {
        let bytes = std::fs::read(file).expect("a fixture");
        let text = std::str::from_utf8(&bytes).expect("UTF-8").to_owned();
        let mut group = criterion.benchmark_group(name);
        group.throughput(criterion::Throughput::Bytes(bytes.len() as u64));
        group.bench_function("hl7-parser", |bencher| {
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

criterion_group!(benches, bench);
criterion_main!(benches);
