//! What an administrator does to exchanges, queues and bindings.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

fn with_channel<F: Future<Output = lapin::Result<()>>>(url: &str, act: impl FnOnce(Channel) -> F) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        act(connection.create_channel().await.unwrap()).await.unwrap();
        // The channel is closing by itself; what was to be done is done.
        connection.close(200, "OK".into()).await.ok();
    });
    runtime.shutdown_background();
}

pub fn exchange(url: &str, name: &str) {
    with_channel(url, async |channel: Channel| {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default())
            .await
    });
}

pub fn delete_exchange(url: &str, name: &str) {
    with_channel(url, async |channel: Channel| {
        channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await
    });
}

/// A queue with arguments, bound with `#`.
pub fn queue(
    url: &str,
    name: &str,
    exchange: &str,
    numbers: &[(&str, i32)],
    texts: &[(&str, &str)],
) {
    with_channel(url, async |channel: Channel| {
        let mut arguments = FieldTable::default();
        for (key, value) in numbers {
            arguments.insert((*key).into(), AMQPValue::LongInt(*value));
        }
        for (key, value) in texts {
            arguments.insert((*key).into(), AMQPValue::LongString((*value).into()));
        }
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, arguments).await?;
        let options = QueueBindOptions::default();
        channel
            .queue_bind(name.into(), exchange.into(), "#".into(), options, FieldTable::default())
            .await
    });
}

pub fn bind(url: &str, queue: &str, exchange: &str) {
    with_channel(url, async |channel: Channel| {
        let options = QueueBindOptions::default();
        channel
            .queue_bind(queue.into(), exchange.into(), "#".into(), options, FieldTable::default())
            .await
    });
}

pub fn unbind(url: &str, queue: &str, exchange: &str) {
    with_channel(url, async |channel: Channel| {
        channel.queue_unbind(queue.into(), exchange.into(), "#".into(), FieldTable::default()).await
    });
}
