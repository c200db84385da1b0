//! An exchange of RabbitMQ, with publisher confirms.
//!
//! Promises: only a confirm without a returned message counts as delivered; every wait has a
//! bound; a connection that is given up is cut, so that nothing more is written to it.
//! Knows nothing of: what a release holds.
//!
//! One connection a route: a route that is stuck does not hold up another, and its connection
//! can be cut alone.

use std::future::Future;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    ExchangeKind,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::sink::{Settled, SinkError, Ticket};
use crate::contract::DEAD_SUFFIX;
use crate::contract::deliver::{TYPE, WORD_BYTES_MAX, fields_of};
use crate::fence::Entered;
use crate::metrics::BrokerMetrics;
use crate::privacy::Release;

/// `fence_timeout` where nothing is said.
pub const FENCE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long opening a connection, with all that is declared on it, may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection is given to close by itself.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds of silence after which either side takes the other for dead.
const HEARTBEAT_SECONDS: u16 = 20;
/// Longest name in AMQP 0-9-1 (`shortstr`), in bytes. lapin panics above it.
const SHORT_STRING_BYTES_MAX: usize = 255;

/// `[rabbitmq]`.
#[derive(Clone)]
pub struct BrokerConfig {
    /// Where the broker is, with user and password.
    pub uri: AMQPUri,
    /// How long a confirm is waited for.
    pub confirm_timeout: Duration,
    /// How long a narrowed consent waits for confirms before connections are cut.
    pub fence_timeout: Duration,
    /// Payloads of one route that may be unconfirmed.
    pub window: usize,
    /// Whether exchanges, queues and bindings are declared, or must be there.
    pub declare: bool,
}

impl std::fmt::Debug for BrokerConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URI holds the password.
        write!(out, "BrokerConfig({}:{})", self.uri.authority.host, self.uri.authority.port)
    }
}

/// What a route publishes to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The route, which is its queue's name.
    pub route: String,
    /// The exchange.
    pub exchange: String,
    /// The routing key, with `{type}`.
    pub routing_key: String,
    /// Headers of every message: route, contract, tier, purpose.
    pub headers: [(&'static str, String); 4],
    /// AMQP's `app_id`: the node.
    pub app_id: String,
}

/// Publishes a route's releases.
#[derive(Debug)]
pub struct RabbitSink {
    config: BrokerConfig,
    target: Target,
    metrics: BrokerMetrics,
    open: Option<Open>,
    connected_before: bool,
}

/// An open connection.
#[derive(Debug)]
struct Open {
    connection: Connection,
    channel: Channel,
    cutter: Cutter,
    blocked: Arc<AtomicBool>,
    flights: Flights,
}

/// The publishes of a connection that are not settled.
#[derive(Debug, Default)]
struct Flights {
    all: Vec<Flight>,
    /// IDs of messages that came back and whose own confirm is still to come.
    returned: Vec<String>,
}

/// A publish that is not settled.
struct Flight {
    ticket: Ticket,
    id: String,
    confirm: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
    outcome: Option<lapin::Result<Confirmation>>,
    deadline: Instant,
    /// It is on its way until this flight is gone.
    _entered: Entered,
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Flight({})", self.ticket)
    }
}

impl RabbitSink {
    /// A sink that is not open yet.
    #[must_use]
    pub fn new(config: BrokerConfig, target: Target, metrics: BrokerMetrics) -> Self {
        Self { config, target, metrics, open: None, connected_before: false }
    }

    /// Connects, asks for confirms, declares or checks the exchange.
    ///
    /// # Errors
    /// The broker cannot be reached within 15 s, or refuses.
    pub async fn open(&mut self) -> Result<(), SinkError> {
        self.close().await;
        let cutter = Cutter::default();
        let opened = timeout(OPEN_TIMEOUT, connect(&self.config, &self.target, &cutter)).await;
        let (connection, channel) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(SinkError::Broker(describe(&self.config, &error))),
            Err(_) => {
                let text = format!("{:?} gives no answer", self.config);
                return Err(SinkError::Broker(text));
            }
        };
        let blocked = Arc::new(AtomicBool::new(false));
        watch_blocked(&connection, Arc::clone(&blocked), self.metrics.clone());
        self.open =
            Some(Open { connection, channel, cutter, blocked, flights: Flights::default() });
        self.metrics.up.set(1.0);
        if self.connected_before {
            self.metrics.reconnects.increment(1);
        }
        self.connected_before = true;
        Ok(())
    }

    /// Publishes a release.
    pub fn send(&mut self, entered: Entered, ticket: Ticket) {
        let Some(open) = &mut self.open else { return };
        let release = entered.release();
        let body = release.body().to_vec();
        let properties = properties(&self.target, &entered);
        let exchange = short(&self.target.exchange);
        let routing_key = short(&routing_key(&self.target.routing_key, release));
        let channel = open.channel.clone();
        let id = release.id().to_owned();
        let confirm = Box::pin(async move {
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
        });
        let deadline = Instant::now() + self.config.confirm_timeout;
        open.flights.all.push(Flight {
            ticket,
            id,
            confirm,
            outcome: None,
            deadline,
            _entered: entered,
        });
    }

    /// Waits until something became of some publish.
    ///
    /// # Errors
    /// The connection or channel broke, or a confirm took too long.
    pub async fn settle(&mut self) -> Result<Vec<(Ticket, Settled)>, SinkError> {
        let confirm_timeout = self.config.confirm_timeout;
        let Some(open) = &mut self.open else { return std::future::pending().await };
        let settled = loop {
            let deadline = open.flights.all.iter().map(|flight| flight.deadline).min();
            let blocked = open.blocked.load(Ordering::Relaxed);
            tokio::select! {
                settled = std::future::poll_fn(|context| open.flights.poll(context)) => break settled,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    if !blocked {
                        let text = format!("no confirm within {confirm_timeout:?}");
                        return Err(SinkError::Broker(text));
                    }
                    // A blocked broker has said that it will not answer for a while; a dead one
                    // is noticed by its missing heartbeat.
                    let later = Instant::now() + confirm_timeout;
                    open.flights.all.iter_mut().for_each(|flight| flight.deadline = later);
                }
            }
        };
        settled.map_err(|error| SinkError::Broker(describe(&self.config, &error)))
    }

    /// Cuts the connection: what was not sent is not sent any more.
    // PROMISE-6
    pub fn cut(&mut self) {
        self.metrics.up.set(0.0);
        self.metrics.blocked.set(0.0);
        if let Some(open) = self.open.take() {
            // Before the flights go, which are on their way until then.
            open.cutter.cut();
        }
    }

    /// Closes the connection, and cuts it where it does not close, or where something is on its
    /// way that would still be sent.
    pub async fn close(&mut self) {
        if self.open.as_ref().is_some_and(|open| !open.flights.all.is_empty()) {
            return self.cut();
        }
        self.metrics.up.set(0.0);
        self.metrics.blocked.set(0.0);
        let Some(open) = self.open.take() else { return };
        let close = open.connection.close(200, "OK".into());
        if let Ok(Err(error)) = timeout(CLOSE_TIMEOUT, close).await {
            tracing::debug!(route = self.target.route, %error, "the connection did not close");
        }
        open.cutter.cut();
    }
}

impl Flights {
    /// Polls every publish. Ready when one is settled.
    ///
    /// lapin gives a returned message to whichever publish is confirmed next, not to the one
    /// that was returned, and of a confirm for several it resolves them in any order. So the
    /// message's own ID says what came back; and since the publish that carries it is resolved
    /// before the others of its group, a second look, once any is seen resolved, cannot miss it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<lapin::Result<Vec<(Ticket, Settled)>>> {
        let seen = self.look(context);
        if seen == 0 {
            return Poll::Pending;
        }
        let first: Vec<Ticket> = self.resolved().map(|flight| flight.ticket).collect();
        self.look(context);
        self.note_returned();
        let mut settled = Vec::new();
        let mut failed = None;
        let mut rest = Vec::with_capacity(self.all.len());
        for mut flight in self.all.drain(..) {
            if !first.contains(&flight.ticket) {
                rest.push(flight);
                continue;
            }
            let came_back = self.returned.iter().position(|id| *id == flight.id);
            match flight.outcome.take() {
                Some(Ok(Confirmation::Ack(_))) => {
                    settled.push((
                        flight.ticket,
                        match came_back {
                            Some(at) => {
                                self.returned.swap_remove(at);
                                Settled::Returned
                            }
                            None => Settled::Delivered,
                        },
                    ));
                }
                Some(Ok(Confirmation::Nack(_))) => settled.push((flight.ticket, Settled::Nacked)),
                // Confirms were asked for, so this says nothing of the message.
                Some(Ok(Confirmation::NotRequested)) | None => {
                    settled.push((flight.ticket, Settled::Lost));
                }
                // It stays until the connection is cut: until then it is on its way, and who looks
                // again finds the error again.
                Some(Err(error)) => {
                    failed = Some(error.clone());
                    flight.outcome = Some(Err(error));
                    rest.push(flight);
                }
            }
        }
        self.all = rest;
        match failed {
            Some(error) if settled.is_empty() => Poll::Ready(Err(error)),
            // What was confirmed counts.
            Some(_) | None => {
                context.waker().wake_by_ref();
                Poll::Ready(Ok(settled))
            }
        }
    }

    /// Polls what is not resolved; how many are resolved then.
    fn look(&mut self, context: &mut Context<'_>) -> usize {
        for flight in &mut self.all {
            if flight.outcome.is_none()
                && let Poll::Ready(outcome) = flight.confirm.as_mut().poll(context)
            {
                flight.outcome = Some(outcome);
            }
        }
        self.resolved().count()
    }

    fn resolved(&self) -> impl Iterator<Item = &Flight> {
        self.all.iter().filter(|flight| flight.outcome.is_some())
    }

    fn note_returned(&mut self) {
        for flight in &mut self.all {
            let Some(Ok(Confirmation::Ack(message) | Confirmation::Nack(message))) =
                &mut flight.outcome
            else {
                continue;
            };
            if let Some(message) = message.take()
                && let Some(id) = message.delivery.properties.message_id()
            {
                self.returned.push(id.as_str().to_owned());
            }
        }
    }
}

/// Opens a connection and a channel that confirms.
async fn connect(
    config: &BrokerConfig,
    target: &Target,
    cutter: &Cutter,
) -> lapin::Result<(Connection, Channel)> {
    let mut uri = config.uri.clone();
    uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
    let name = format!("tidegate {} {}", target.app_id, target.route);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let cutter = cutter.clone();
    let connection = Connection::connector(
        uri,
        lapin::runtime::default_runtime()?,
        async move |uri: AMQPUri, runtime| {
            let address = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
            let stream = AsyncTcpStream::connect(&runtime, address).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                cutter.hold(plain.get_ref())?;
            }
            Ok(stream)
        },
        properties,
    )
    .await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    if config.declare {
        declare(&channel, target).await?;
    } else {
        let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let exchange = short(&target.exchange);
        channel
            .exchange_declare(exchange, ExchangeKind::Topic, options, FieldTable::default())
            .await?;
    }
    Ok((connection, channel))
}

/// A durable topic exchange; a quorum queue named as the route and bound with `#`; a
/// dead-letter exchange with a queue, so that what a consumer rejects is kept.
async fn declare(channel: &Channel, target: &Target) -> lapin::Result<()> {
    let exchange = short(&target.exchange);
    let dead = short(&format!("{}{DEAD_SUFFIX}", target.exchange));
    let queue = short(&target.route);
    let dead_queue = short(&format!("{}{DEAD_SUFFIX}", target.route));
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    for name in [&exchange, &dead] {
        let topic = ExchangeKind::Topic;
        channel.exchange_declare(name.clone(), topic, durable, FieldTable::default()).await?;
    }
    let quorum = || {
        let mut arguments = FieldTable::default();
        let kind = AMQPValue::LongString("quorum".into());
        arguments.insert("x-queue-type".into(), kind);
        arguments
    };
    let mut arguments = quorum();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(dead.as_str().into()));
    arguments.insert(
        "x-dead-letter-routing-key".into(),
        AMQPValue::LongString(target.route.as_str().into()),
    );
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.clone(), durable, arguments).await?;
    channel.queue_declare(dead_queue.clone(), durable, quorum()).await?;
    let bind = QueueBindOptions::default();
    channel.queue_bind(queue.clone(), exchange, "#".into(), bind, FieldTable::default()).await?;
    channel.queue_bind(dead_queue, dead, queue, bind, FieldTable::default()).await
}

/// Follows whether the broker has blocked the connection, until that ends.
fn watch_blocked(connection: &Connection, blocked: Arc<AtomicBool>, metrics: BrokerMetrics) {
    let mut events = Box::pin(connection.events_listener());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let now = match event {
                lapin::Event::ConnectionBlocked(_) => true,
                lapin::Event::ConnectionUnblocked => false,
                lapin::Event::Error(_) => break,
                _ => continue,
            };
            blocked.store(now, Ordering::Relaxed);
            metrics.blocked.set(f64::from(u8::from(now)));
        }
    });
}

/// AMQP properties: IDs, type, headers of the route; nothing of the event.
fn properties(target: &Target, entered: &Entered) -> BasicProperties {
    let release = entered.release();
    let mut headers = FieldTable::default();
    for (name, value) in &target.headers {
        headers.insert((*name).into(), AMQPValue::LongString(value.as_str().into()));
    }
    BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_delivery_mode(2)
        .with_message_id(short(release.id()))
        .with_correlation_id(short(release.correlation_id()))
        .with_type(short(release.kind().name()))
        .with_app_id(short(&target.app_id))
        .with_headers(headers)
}

/// The template with the event type and the fields of the payload. In a field dots, which part the
/// words of a topic, and what is no letter, digit, hyphen or underscore become underscores; one that
/// is not there is `none`.
fn routing_key(template: &str, release: &Release) -> String {
    let mut key = template.replace(&format!("{{{TYPE}}}"), release.kind().name());
    let fields = fields_of(template).into_iter().filter(|field| *field != TYPE);
    for (field, text) in fields.zip(release.routing()) {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        let letters = text.chars().take(WORD_BYTES_MAX);
        let word: String = letters.map(|letter| if plain(letter) { letter } else { '_' }).collect();
        let word = if word.is_empty() { NO_WORD } else { &word };
        key = key.replacen(&format!("{{{field}}}"), word, 1);
    }
    key
}

/// What stands in a routing key for a field that is not there.
const NO_WORD: &str = "none";

/// A short string. Names are checked when the configuration is loaded, and IDs are ours and
/// shorter; should one be longer all the same, it is cut, since lapin would panic.
fn short(text: &str) -> ShortString {
    let mut end = text.len().min(SHORT_STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::from(text.get(..end).unwrap_or_default())
}

/// One line for people, without the password.
fn describe(config: &BrokerConfig, error: &lapin::Error) -> String {
    let place = format!("{}:{}", config.uri.authority.host, config.uri.authority.port);
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => {
            format!("RabbitMQ at {place}: {} {}", error.get_id(), error.get_message())
        }
        lapin::ErrorKind::IOError(error) => format!("RabbitMQ at {place}: {error}"),
        _ => format!("RabbitMQ at {place}: {error}"),
    }
}

/// Holds on to a connection's socket, to cut it.
#[derive(Clone, Debug, Default)]
struct Cutter(Arc<Mutex<Option<OwnedFd>>>);

impl Cutter {
    fn hold(&self, socket: &impl AsFd) -> std::io::Result<()> {
        let copy = socket.as_fd().try_clone_to_owned()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        Ok(())
    }

    /// Shuts the socket down: whoever still reads or writes it fails at once.
    fn cut(&self) {
        if let Some(socket) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // An error means that it was closed before.
            std::net::TcpStream::from(socket).shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cutter.cut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Subject;
    use crate::fence::{Fence, Kept};
    use crate::phi::Phi;
    use crate::privacy::Release;

    #[test]
    fn a_short_string_never_panics() {
        assert_eq!(short("abc").as_str(), "abc");
        let long = "ä".repeat(200);
        assert_eq!(short(&long).as_str().len(), 254);
        let subject = Subject { authority: "A".to_owned(), value: Phi::new("1".to_owned()) };
        let release = Release::of(subject).routed(&["a.b#*é", "", "plain-word"]);
        assert_eq!(
            routing_key("x.{type}.{visit.class.code}.{a}.{b}", &release),
            "x.patient.admitted.a_b___.none.plain-word"
        );
    }

    /// A publish that is resolved like that as soon as anybody looks.
    fn flight(fence: &Fence, ticket: Ticket, outcome: lapin::Result<Confirmation>) -> Flight {
        let subject = Subject { authority: "A".to_owned(), value: Phi::new(ticket.to_string()) };
        let entered = fence.enter(&"r".into(), Release::of(subject), fence.moment());
        Flight {
            ticket,
            id: ticket.to_string(),
            confirm: Box::pin(std::future::ready(outcome)),
            outcome: None,
            deadline: Instant::now(),
            _entered: entered.unwrap(),
        }
    }

    /// PROMISE-1, PROMISE-6: what a broken connection took along is not forgotten over what was
    /// confirmed right before, and is on its way until the connection is cut.
    #[tokio::test]
    async fn fault_36_what_is_lost_beside_a_confirm_is_told_with_the_next_look() {
        let (fence, mut flights) = (Fence::default(), Flights::default());
        let broken = || Err(lapin::ErrorKind::MissingHeartbeatError.into());
        flights.all.push(flight(&fence, 1, broken()));
        flights.all.push(flight(&fence, 2, Ok(Confirmation::Ack(None))));
        let look = async |flights: &mut Flights| {
            std::future::poll_fn(|context| flights.poll(context)).await
        };
        assert_eq!(look(&mut flights).await.unwrap(), [(2, Settled::Delivered)]);
        let subject = || Subject { authority: "A".to_owned(), value: Phi::new("1".to_owned()) };
        let is_on_its_way = || {
            let again = fence.enter(&"r".into(), Release::of(subject()), fence.moment());
            again.is_err_and(|kept| kept == Kept::OnTheWay)
        };
        for _ in 0..2 {
            assert!(look(&mut flights).await.is_err());
            assert!(is_on_its_way());
        }
        drop(flights);
        assert!(!is_on_its_way());
    }

    /// PROMISE-10
    #[test]
    fn the_password_is_not_shown() {
        let config = BrokerConfig {
            uri: "amqp://user:hunter2@127.0.0.1:1/%2f".parse().unwrap(),
            confirm_timeout: Duration::from_secs(1),
            fence_timeout: FENCE_TIMEOUT,
            window: 1,
            declare: true,
        };
        assert_eq!(format!("{config:?}"), "BrokerConfig(127.0.0.1:1)");
    }
}
