//! Signed checkpoints, to somebody who keeps them elsewhere.

use std::process::Command;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};

use crate::support::consumer::Consumer;
use crate::support::daemon::{Setup, TIDEGATE};
use crate::support::{eventually, rabbit};

const EXCHANGE: &str = "kept.audit";
const QUEUE: &str = "kept-checkpoints";

/// A queue of the keeper's own, bound to the exchange.
fn bind(url: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let none = FieldTable::default;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let topic = ExchangeKind::Topic;
        channel.exchange_declare(EXCHANGE.into(), topic, durable, none()).await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(QUEUE.into(), durable, none()).await.unwrap();
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(QUEUE.into(), EXCHANGE.into(), "gate".into(), bind, none())
            .await
            .unwrap();
        connection.close(200, "OK".into()).await.unwrap();
    });
    runtime.shutdown_background();
}

/// Whoever keeps what comes over the exchange has the last one when the daemon has stopped, and
/// can verify by it; a broker that is not there costs nothing else.
///
/// PROMISE-9
#[test]
fn fault_89_the_last_checkpoint_is_with_its_keeper_before_the_daemon_has_stopped() {
    let (broker, _guard) = rabbit::shared();
    bind(&broker.url());
    let section = format!("[audit]\ncheckpoint = {{ exchange = \"{EXCHANGE}\" }}");
    let setup =
        Setup::new().rabbitmq(&broker.url(), "").file_route("out", super::EVENTS).section(&section);
    let keeper = Consumer::start(&broker.url(), QUEUE);
    let mut daemon = setup.start();
    assert!(daemon.stop().success());
    eventually("the last one is kept", || {
        let local = std::fs::read_to_string(setup.state_dir().join("checkpoints.ndjson")).unwrap();
        let newest: serde_json::Value =
            serde_json::from_str(local.lines().last().unwrap()).unwrap();
        keeper.received().iter().any(|kept| kept.body == newest)
    });
    let received = keeper.received();
    let last = received.last().unwrap();
    assert_eq!((last.routing_key.as_str(), last.delivery_mode), ("gate", Some(2)));
    let file = setup.dir.path().join("kept.ndjson");
    // As it came, byte for byte: a checkpoint is a line.
    let lines: Vec<String> = std::fs::read_to_string(setup.state_dir().join("checkpoints.ndjson"))
        .unwrap()
        .lines()
        .filter(|line| {
            received
                .iter()
                .any(|kept| kept.body == serde_json::from_str::<serde_json::Value>(line).unwrap())
        })
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty());
    std::fs::write(&file, format!("{}\n", lines.join("\n"))).unwrap();
    let verified = Command::new(TIDEGATE)
        .args(["audit", "verify", "--dir"])
        .arg(setup.state_dir())
        .arg("--checkpoint")
        .arg(&file)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");

    let setup = Setup::new()
        .rabbitmq("amqp://127.0.0.1:1/%2f", "")
        .file_route("out", super::EVENTS)
        .section(&section);
    let mut daemon = setup.start();
    let begun = std::time::Instant::now();
    assert!(daemon.stop().success());
    assert!(begun.elapsed().as_secs() < 10, "it waits for no broker");
}
