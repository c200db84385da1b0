//! Journal to confirmed quorum queue, beside a bare publisher to an equal queue on the same
//! broker, with the same payloads, properties and window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueuePurgeOptions,
};
use lapin::{Channel, Confirmation, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

use super::client::{self, Shared};
use super::figures::{Series, Table, Target};
use super::intake;
use super::process;
use super::support::daemon::{Daemon, Setup};
use super::support::{eventually, rabbit, topology};

/// What waits in the journal when the broker comes.
const MESSAGES: u64 = 20_000;
const ROUNDS: usize = 5;
/// The daemon's own, too.
const WINDOW: usize = 64;
/// Payloads that the bare publisher sends again and again; they are all of one size.
const SAMPLES: usize = 500;
const ROUTE: &str = "bench";
const BARE: &str = "bare";
/// What the broker is given to get rid of what was purged.
const SETTLE: Duration = Duration::from_secs(1);

pub fn measure(table: &mut Table) {
    let (broker, _guard) = rabbit::shared();
    let url = broker.url();
    // The same folder, once with a broker that is not there and once with one that is.
    let mut without = Setup::new().rabbitmq("amqp://127.0.0.1:1/%2f", "").route(
        ROUTE,
        &["patient.admitted"],
        &deliver(ROUTE),
    );
    let mut with = Setup::new().rabbitmq(&url, "");
    let shared = Shared::new();
    let publisher = Publisher::connect(&url);
    topology::exchange(&url, &exchange(BARE));
    topology::queue(&url, BARE, &exchange(BARE), &[], &[("x-queue-type", "quorum")]);
    let mut payloads = Vec::new();
    let [mut rate, mut cpu, mut peak, mut bare] = [const { Series(Vec::new()) }; 4];
    for _ in 0..ROUNDS {
        preload(&without, &shared);
        std::mem::swap(&mut without.dir, &mut with.dir);
        let mut daemon = intake::start(&with);
        let pid = daemon.child.id();
        let begun = process::cpu(pid);
        rate.push(drain(&daemon));
        cpu.push((process::cpu(pid) - begun).as_secs_f64() * 1e6 / MESSAGES as f64);
        peak.push(process::memory(pid).1);
        assert!(daemon.stop().success());
        std::mem::swap(&mut without.dir, &mut with.dir);
        if payloads.is_empty() {
            payloads = publisher.take(ROUTE, SAMPLES);
        }
        publisher.purge(ROUTE);
        std::thread::sleep(SETTLE);
        bare.push(publisher.publish(&payloads));
        publisher.purge(BARE);
        std::thread::sleep(SETTLE);
    }
    let name = "journal to confirmed quorum queue";
    table.ratio(name, "1/s", &rate, ("bare lapin", &bare), Target::Least(0.5));
    table.figure("  processor time a message", "µs", &cpu, Target::None);
    table.figure("memory, draining, peak", "MiB", &peak, Target::Most(150.0));
}

fn exchange(name: &str) -> String {
    format!("{name}.events")
}

fn deliver(name: &str) -> String {
    format!("kind = \"rabbitmq\"\nexchange = \"{}\"", exchange(name))
}

/// Takes messages while the broker is away.
fn preload(setup: &Setup, shared: &Arc<Shared>) {
    let mut daemon = intake::start(setup);
    client::send(shared, daemon.feed(), 64, MESSAGES);
    assert!(daemon.stop().success());
}

/// From the first confirms to the last, as the metrics show them.
fn drain(daemon: &Daemon) -> f64 {
    let series = format!("tidegate_events_total{{route=\"{ROUTE}\",outcome=\"released\"}}");
    let mut first = None;
    let mut rate = 0.0;
    eventually("the backlog is delivered", || {
        let released = daemon.metric(&series);
        let (begun, before) = *first.get_or_insert((Instant::now(), released));
        if before == 0.0 {
            first = None;
        }
        rate = (released - before) / begun.elapsed().as_secs_f64();
        released >= MESSAGES as f64
    });
    rate
}

/// A connection without anything around it.
struct Publisher {
    runtime: Runtime,
    channel: Channel,
    _connection: Connection,
}

impl Publisher {
    fn connect(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (connection, channel) = runtime.block_on(async {
            let connection =
                Connection::connect(url, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            (connection, channel)
        });
        Self { runtime, channel, _connection: connection }
    }

    /// Some of what is in a queue.
    fn take(&self, queue: &str, count: usize) -> Vec<Delivery> {
        self.runtime.block_on(async {
            let mut taken = Vec::new();
            while taken.len() < count {
                let options = BasicGetOptions { no_ack: true };
                let got = self.channel.basic_get(queue.into(), options).await.unwrap();
                taken.push(got.expect("a message in the queue").delivery);
            }
            taken
        })
    }

    fn purge(&self, queue: &str) {
        let options = QueuePurgeOptions::default();
        self.runtime.block_on(self.channel.queue_purge(queue.into(), options)).unwrap();
    }

    /// Publishes as many as the daemon has, and gives the rate at which they are confirmed.
    fn publish(&self, payloads: &[Delivery]) -> f64 {
        self.runtime.block_on(async {
            let begun = Instant::now();
            let mut waiting = VecDeque::with_capacity(WINDOW);
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let settled = |confirmation: lapin::Result<Confirmation>| {
                assert!(matches!(confirmation.unwrap(), Confirmation::Ack(None)));
            };
            for payload in payloads.iter().cycle().take(MESSAGES as usize) {
                if waiting.len() == WINDOW
                    && let Some(oldest) = waiting.pop_front()
                {
                    settled(oldest.await);
                }
                let publish = self.channel.basic_publish(
                    exchange(BARE).into(),
                    payload.routing_key.clone(),
                    options,
                    &payload.data,
                    payload.properties.clone(),
                );
                waiting.push_back(publish.await.unwrap());
            }
            for rest in waiting {
                settled(rest.await);
            }
            MESSAGES as f64 / begun.elapsed().as_secs_f64()
        })
    }
}
