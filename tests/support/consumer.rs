//! A consumer that keeps its own ledger of what it received.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tokio::time::timeout;

/// A message as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    pub message_id: String,
    pub correlation_id: String,
    pub kind: String,
    pub routing_key: String,
    pub delivery_mode: Option<u8>,
    pub has_timestamp: bool,
    pub headers: String,
    pub body: serde_json::Value,
}

/// Reads a queue, in a thread of its own, over restarts of the broker.
pub struct Consumer {
    received: Arc<Mutex<Vec<Received>>>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Consumer {
    pub fn start(url: &str, queue: &str) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (url, queue) = (url.to_owned(), queue.to_owned());
        let (into, stopped) = (Arc::clone(&received), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    // The queue may not be there yet, the broker may be gone, or hang: it comes
                    // again.
                    let stop = async {
                        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        }
                    };
                    tokio::select! {
                        _ = consume(&url, &queue, &into) => {}
                        () = stop => {}
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            });
            runtime.shutdown_background();
        });
        Self { received, stop, thread: Some(thread) }
    }

    /// Everything so far, in the order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// How many so far.
    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// How many different message IDs so far.
    pub fn distinct(&self) -> usize {
        let received = self.received.lock().unwrap();
        let ids: std::collections::HashSet<&str> =
            received.iter().map(|message| message.message_id.as_str()).collect();
        ids.len()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// A broker that is killed in the middle of anything may leave it without an answer: then, and
/// after a while without a message, this comes again by a new connection.
async fn consume(url: &str, queue: &str, into: &Mutex<Vec<Received>>) -> lapin::Result<()> {
    const ANSWER: Duration = Duration::from_secs(5);
    let Ok(opened) = timeout(ANSWER, open(url, queue)).await else { return Ok(()) };
    let (_connection, mut consumer) = opened?;
    while let Ok(Some(delivery)) = timeout(ANSWER, consumer.next()).await {
        let delivery = delivery?;
        let properties = &delivery.properties;
        let text = |value: &Option<lapin::types::ShortString>| {
            value.as_ref().map(ToString::to_string).unwrap_or_default()
        };
        into.lock().unwrap().push(Received {
            message_id: text(properties.message_id()),
            correlation_id: text(properties.correlation_id()),
            kind: text(properties.kind()),
            routing_key: delivery.routing_key.to_string(),
            delivery_mode: *properties.delivery_mode(),
            has_timestamp: properties.timestamp().is_some(),
            headers: format!("{:?}", properties.headers()),
            body: serde_json::from_slice(&delivery.data).unwrap(),
        });
        let Ok(acked) = timeout(ANSWER, delivery.ack(BasicAckOptions::default())).await else {
            return Ok(());
        };
        acked?;
    }
    Ok(())
}

async fn open(url: &str, queue: &str) -> lapin::Result<(Connection, lapin::Consumer)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(200, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    Ok((connection, consumer))
}
