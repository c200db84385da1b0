//! Signed checkpoints of the evidence to an exchange, for somebody else to keep.
//!
//! Promises: the newest one goes, since it holds all that earlier ones did; a broker that is down
//! costs nothing but that; at the end the last one is waited for, within a bound.
//! Knows nothing of: what is signed, and of routes: the connection is its own.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::rabbitmq::BrokerConfig;
use crate::audit::Checkpoint;
use crate::pace::Backoff;

/// How long opening the connection, with what is declared on it, may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the connection is given to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Seconds of silence after which either side takes the other for dead.
const HEARTBEAT_SECONDS: u16 = 20;

/// Publishes checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    /// The broker.
    pub broker: BrokerConfig,
    /// The exchange: a durable topic exchange; the routing key is the node's name.
    pub exchange: String,
    /// The node.
    pub node: String,
}

impl Checkpoints {
    /// Publishes the newest whenever there is another one, until it is told to stop and the last
    /// one has been tried.
    pub async fn run(
        self,
        mut newest: watch::Receiver<Option<Checkpoint>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut backoff = Backoff::new();
        let mut open: Option<(Connection, Channel)> = None;
        let mut published = None;
        let mut told = false;
        loop {
            let stop = *stopping.borrow_and_update();
            let wanted = newest.borrow_and_update().clone();
            let wanted = wanted.filter(|newest| published != Some(newest.number));
            if let Some(checkpoint) = wanted {
                match self.publish(&mut open, &checkpoint).await {
                    Ok(()) => {
                        published = Some(checkpoint.number);
                        backoff.reset();
                        told = false;
                        continue;
                    }
                    Err(error) => {
                        open = None;
                        if !told {
                            tracing::warn!(%error, exchange = self.exchange,
                                "a checkpoint could not be published; it is tried again");
                            told = true;
                        }
                    }
                }
                if stop {
                    return;
                }
                tokio::select! {
                    () = sleep(backoff.delay()) => {}
                    changed = stopping.changed() => if changed.is_err() { return },
                }
            } else if stop {
                break;
            } else {
                // The senders are gone only when the daemon is.
                tokio::select! {
                    changed = newest.changed() => if changed.is_err() { break },
                    changed = stopping.changed() => if changed.is_err() { break },
                }
            }
        }
        if let Some((connection, _)) = open {
            drop(timeout(CLOSE_TIMEOUT, connection.close(200, "OK".into())).await);
        }
    }

    async fn publish(
        &self,
        open: &mut Option<(Connection, Channel)>,
        checkpoint: &Checkpoint,
    ) -> Result<(), String> {
        let place = || format!("{:?}", self.broker);
        let (_, channel) = match open.take() {
            Some(opened) => open.insert(opened),
            None => {
                let opened = timeout(OPEN_TIMEOUT, self.connect()).await;
                let opened = opened.map_err(|_| format!("{} gives no answer", place()))?;
                open.insert(opened.map_err(|error| format!("{}: {error}", place()))?)
            }
        };
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_type("tidegate.audit.checkpoint".into())
            .with_message_id(format!("{}-{}", checkpoint.chain, checkpoint.number).into())
            .with_app_id(self.node.as_str().into());
        let line = checkpoint.line();
        let publish = async {
            let options = BasicPublishOptions::default();
            let (exchange, key) = (self.exchange.as_str().into(), self.node.as_str().into());
            channel.basic_publish(exchange, key, options, line.as_bytes(), properties).await?.await
        };
        match timeout(self.broker.confirm_timeout, publish).await {
            Ok(Ok(Confirmation::Ack(_))) => Ok(()),
            Ok(Ok(Confirmation::Nack(_) | Confirmation::NotRequested)) => {
                Err(format!("{} did not take it", place()))
            }
            Ok(Err(error)) => Err(format!("{}: {error}", place())),
            Err(_) => Err(format!("{} did not confirm it", place())),
        }
    }

    async fn connect(&self) -> lapin::Result<(Connection, Channel)> {
        let mut uri = self.broker.uri.clone();
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
        let name = format!("tidegate {} audit", self.node);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = Connection::connect_uri(uri, properties).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let declare = self.broker.declare;
        let options =
            ExchangeDeclareOptions { passive: !declare, durable: declare, ..Default::default() };
        let (exchange, none) = (self.exchange.as_str().into(), FieldTable::default());
        channel.exchange_declare(exchange, ExchangeKind::Topic, options, none).await?;
        Ok((connection, channel))
    }
}
