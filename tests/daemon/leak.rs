//! What a daemon says beside its payloads, after the whole corpus went through it.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tidegate::parse::hl7::{Charset, Message};

use crate::support::canary::forms::Values;
use crate::support::corpus::{samples, send, values_of};
use crate::support::daemon::{Daemon, Setup};
use crate::support::{EVERY_EVENT, adt, consent, eventually, two};

/// A route of each tier that delivers at once.
fn routes() -> Setup {
    let file = |name: &str| format!("kind = \"file\"\npath = \"out/{name}.ndjson\"");
    let coded = "\"subject\" = \"token\"\n\"visit.class\" = \"keep\"\n\"observations[].code\" = \"keep\"\n\
                 \"observations[].value\" = \"keep\"\n\"visit.number.value\" = \"hash\"";
    let dates =
        format!("{coded}\n\"visit.admittedAt\" = \"keep\"\n\"patient.birthDate\" = \"keep\"");
    Setup::new()
        .file_route("identified", EVERY_EVENT)
        .contract("limited", EVERY_EVENT, "limited", "HRESCH", &dates, &file("limited"))
        .saying("limited", "agreement = \"D\"\nagreement_ends = 2099-12-31")
        .contract("pseudo", EVERY_EVENT, "pseudonymized", "CLINTRCH", coded, &file("pseudo"))
}

/// Waits until every route has come as far as the journal.
fn drained(setup: &Setup) {
    let routes = ["identified", "limited", "pseudo"];
    let mut before = Vec::new();
    eventually("nothing more comes", || {
        std::thread::sleep(std::time::Duration::from_millis(1_000));
        let now: Vec<usize> = routes.iter().map(|route| setup.lines(route).len()).collect();
        let done = now == before && now.iter().all(|count| *count > 0);
        before = now;
        done
    });
}

/// Everything that it says of what it did, by name. A control ID is what an exception goes by, for
/// whoever may see exceptions: it is taken out.
fn said(setup: &Setup, daemon: &Daemon) -> Vec<(&'static str, String)> {
    let text = |arguments: &[&str]| {
        let output = setup.command(arguments);
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let without = |mut row: Json| {
        if let Some(row) = row.as_object_mut() {
            row.remove("controlId");
        }
        row.to_string()
    };
    let listed = setup.json(&["exceptions", "ls", "--limit", "1000"]);
    // The message itself is shown on purpose, to an operator; what is said about it must not repeat it.
    let shown = listed.iter().map(|row| {
        let id = row["id"].to_string();
        let shown = setup.json(&["exceptions", "show", id.trim_matches('"')]).remove(0);
        without(shown["exception"].clone())
    });
    let shown: String = shown.collect();
    assert!(listed.len() > 100 && shown.len() > 10_000 || listed.len() < 10);
    vec![
        ("exceptions show", shown),
        ("exceptions ls", listed.into_iter().map(without).collect()),
        ("audit find", text(&["audit", "find", "--json", "--limit", "1000"])),
        ("audit export", text(&["audit", "export"])),
        ("metrics", daemon.get("/metrics").1),
        ("health", format!("{}{}", daemon.get("/readyz").1, daemon.get("/livez").1)),
        ("log", daemon.log()),
    ]
}

/// PROMISE-10
#[test]
fn of_the_whole_corpus_no_value_is_in_logs_metrics_exceptions_or_evidence() {
    // What it says where none of the corpus came in: its own words.
    let setup = routes();
    let mut daemon = setup.start();
    for (at, trigger) in ["A01", "A02", "A03", "A08", "A99"].iter().enumerate() {
        super::code_of(&daemon, &adt(trigger, &format!("C{at}"), "ZZ100001"));
    }
    super::code_of(&daemon, &adt("A08", "C0", "ZZ100002"));
    super::code_of(&daemon, &two("A40", "C7", "ZZ100001", "ZZ100003"));
    super::code_of(&daemon, &consent("A", "20260101", "C8", "ZZ100001"));
    super::code_of(&daemon, b"no message");
    let nobody = String::from_utf8(adt("A01", "C9", "ZZ100001")).unwrap();
    super::code_of(&daemon, nobody.replace("ZZ100001^^^EPIC^MR", "").as_bytes());
    super::code_of(&daemon, &[&adt("A01", "C10", "ZZ100001")[..], b"PV2||\xe4"].concat());
    super::code_of(&daemon, &std::fs::read("fixtures/hl7/oru-r01.hl7").unwrap());
    drained(&setup);
    let own: Vec<String> = said(&setup, &daemon).into_iter().map(|(_, text)| text).collect();
    assert!(daemon.stop().success());

    let samples = samples();
    let mut values = BTreeSet::new();
    for sample in &samples {
        let Ok(message) = Message::parse(&sample.bytes, Charset::Utf8) else { continue };
        values.extend(values_of(&message).into_iter().map(|(_, value)| value));
    }
    let values = Values::new(values);
    let setup = routes();
    let mut daemon = setup.start();
    send(&daemon, samples.iter().map(|sample| (sample, sample.bytes.clone())));
    drained(&setup);
    let mut leaks = Vec::new();
    let mut bytes = 0;
    let own = values.said_in(&own.join("\n"));
    let delivered: String = setup.lines("identified").iter().map(Json::to_string).collect();
    let would_be_found = values.said_in(&delivered).len();
    for (what, text) in said(&setup, &daemon) {
        bytes += text.len();
        println!("{what}: {} bytes", text.len());
        for hit in values.search(&text) {
            // A duration, and a sum of them, has up to nine digits in a row by chance.
            let number =
                hit.value.len() < 10 && hit.value.bytes().all(|byte| byte.is_ascii_digit());
            if !own.contains(&hit.value) && !number {
                leaks.push(format!("{what}: {hit:?}"));
            }
        }
    }
    println!(
        "{} values in {} forms, {} of them the product's own words, in {bytes} bytes; \
         of a route that names everything {would_be_found} would be found",
        values.len(),
        values.forms(),
        own.len()
    );
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
    assert!(values.len() > 7_000 && values.forms() > 150_000 && own.len() < 200);
    // The texts, times and documents of observations that are named whole.
    let removed = "tidegate_deid_fields_total{route=\"pseudo\",action=\"removed\"}";
    assert!(daemon.metric(removed) > 50.0, "{}", daemon.metric(removed));
    assert!(bytes > 1_000_000 && would_be_found > 1_000, "{bytes} {would_be_found}");
    assert!(daemon.stop().success());
}
