//! What the properties of a message tell, beside its body, of the whole corpus.

use std::collections::BTreeSet;

use tidegate::parse::hl7::{Charset, Message};

use crate::rabbit_route;
use crate::support::canary::forms::Values;
use crate::support::consumer::{Consumer, Received};
use crate::support::corpus::{samples, send, values_of};
use crate::support::daemon::Setup;
use crate::support::{EVERY_EVENT, adt, eventually, rabbit};

/// PROMISE-10
#[test]
fn of_the_whole_corpus_no_value_is_in_the_properties_of_a_pseudonymous_message() {
    let _busy = crate::alone_with_the_processors();
    let (broker, _guard) = rabbit::shared();
    let fields =
        "\"subject\" = \"token\"\n\"visit.class\" = \"keep\"\n\"observations[].value\" = \"keep\"";
    let setup = Setup::new().rabbitmq(&broker.url(), "").contract(
        "leakless",
        EVERY_EVENT,
        "pseudonymized",
        "HOPERAT",
        fields,
        &rabbit_route("leakless"),
    );
    let mut daemon = setup.start();
    let consumer = Consumer::start(&broker.url(), "leakless");
    let samples = samples();
    send(&daemon, samples.iter().map(|sample| (sample, sample.bytes.clone())));
    let answered = crate::Sender::connect(daemon.feed()).exchange(&adt("A01", "LAST", "ZZLAST1"));
    assert_eq!(answered.unwrap().code, "AA");
    let mut before = 0;
    eventually("nothing more comes", || {
        std::thread::sleep(std::time::Duration::from_millis(1_000));
        let now = consumer.count();
        now == std::mem::replace(&mut before, now) && now > 50
    });
    let received = consumer.received();
    let mut values = BTreeSet::new();
    for sample in &samples {
        let Ok(message) = Message::parse(&sample.bytes, Charset::Utf8) else { continue };
        values.extend(values_of(&message).into_iter().map(|(_, value)| value));
    }
    let values = Values::new(values);
    // What the configuration says, the type, and how headers are printed.
    let own = format!(
        "{} HOPERAT pseudonymized leakless.events tidegate gate 1.0.0 route contract tier purpose \
         FieldTable ShortString LongString",
        EVERY_EVENT.join(" ")
    );
    let own = values.said_in(&own);
    let shown: Vec<String> = received.iter().map(headers).collect();
    let mut leaks = values.search(&shown.join("\n"));
    leaks.retain(|hit| !own.contains(&hit.value));
    println!("{} values, {} messages, {} own words", values.len(), received.len(), own.len());
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(values.len() > 7_000 && own.len() < 20, "{} {}", values.len(), own.len());
    assert!(received.iter().all(|message| !message.has_timestamp));
    assert!(daemon.stop().success());
}

fn headers(message: &Received) -> String {
    let Received { message_id, correlation_id, kind, routing_key, headers, .. } = message;
    format!("{message_id} {correlation_id} {kind} {routing_key} {headers}")
}
