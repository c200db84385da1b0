//! `[deliver]`: where a route delivers to, as written.
//!
//! Promises: a name that AMQP or a file system cannot hold is a mistake.
//! Knows nothing of: brokers and files.

use std::path::PathBuf;

use crate::document::{Placed, Table};
use crate::event::EventType;

use super::check::NAME_CHARS_MAX;

/// Longest name in AMQP 0-9-1 (`shortstr`), in bytes.
const AMQP_NAME_BYTES_MAX: usize = 255;
/// What may stand behind the exchange's name: the route's, where routes share it, and `.dead`.
const EXCHANGE_ROOM: usize = 1 + NAME_CHARS_MAX + DEAD_SUFFIX.len();
/// Longest word that a field gives to a routing key, in bytes; the rest is cut.
pub const WORD_BYTES_MAX: usize = 40;
/// Most fields of a routing key.
const WORDS_MAX: usize = 4;

/// Behind the name of an exchange or queue: the one for what its consumer rejects.
pub const DEAD_SUFFIX: &str = ".dead";

/// Where a route delivers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An exchange of RabbitMQ.
    RabbitMq {
        /// The exchange.
        exchange: String,
        /// The routing key; `{type}` stands for the event type, another path for a field of the
        /// payload.
        routing_key: String,
    },
    /// A file of lines.
    File {
        /// The file; relative to state_dir.
        path: PathBuf,
        /// At how many bytes a new file is begun.
        rotate: u64,
    },
}

impl Destination {
    /// Where to, as the audit names it: `rabbitmq:tidegate.research`, `file:out/quality.ndjson`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::RabbitMq { exchange, .. } => format!("rabbitmq:{exchange}"),
            Self::File { path, .. } => format!("file:{}", path.display()),
        }
    }

    /// The word in a contract and in metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RabbitMq { .. } => "rabbitmq",
            Self::File { .. } => "file",
        }
    }

    /// The fields of the payload that the routing key holds, by the path that they leave under.
    #[must_use]
    pub fn routing_fields(&self) -> Vec<String> {
        match self {
            Self::RabbitMq { routing_key, .. } => fields_of(routing_key)
                .into_iter()
                .filter(|field| *field != TYPE)
                .map(str::to_owned)
                .collect(),
            Self::File { .. } => Vec::new(),
        }
    }
}

/// What stands in braces for the event type.
pub const TYPE: &str = "type";

/// What stands in braces.
#[must_use]
pub fn fields_of(routing_key: &str) -> Vec<&str> {
    let opened = routing_key.split('{').skip(1);
    opened.filter_map(|rest| rest.split_once('}').map(|(field, _)| field)).collect()
}

/// Reads `[deliver]`.
#[must_use]
pub fn read(table: &Table<'_>) -> Option<Destination> {
    let kind = table.required_choice("kind", &[("rabbitmq", Kind::RabbitMq), ("file", Kind::File)]);
    let destination = match kind? {
        Kind::RabbitMq => {
            let exchange = table.required_text("exchange");
            let routing_key = table.text("routing_key");
            let exchange =
                exchange.filter(|exchange| fits(table, "exchange", exchange, EXCHANGE_ROOM));
            let routing_key = match routing_key {
                None => "{type}".to_owned(),
                Some(key) => {
                    check_key(table, &key)?;
                    key.value
                }
            };
            exchange.map(|exchange| Destination::RabbitMq { exchange: exchange.value, routing_key })
        }
        Kind::File => {
            let path = table.required_text("path");
            let rotate = table.size("rotate", 256 << 20, 1 << 12..=1 << 40);
            path.map(|path| Destination::File { path: path.value.into(), rotate })
        }
    };
    table.finish();
    destination
}

#[derive(Clone, Copy)]
enum Kind {
    RabbitMq,
    File,
}

/// Whether a name fits into AMQP, with room for what is put into it.
fn fits(table: &Table<'_>, key: &str, text: &Placed<String>, room: usize) -> bool {
    let length = text.value.len() + room;
    let right = !text.value.is_empty() && length <= AMQP_NAME_BYTES_MAX;
    if !right {
        let text_of = format!("`{key}` has {length} bytes; AMQP takes 1 to {AMQP_NAME_BYTES_MAX}");
        table.mistake(&text.place, text_of);
    }
    right
}

/// Braces are closed, and what they may stand for fits.
fn check_key(table: &Table<'_>, key: &Placed<String>) -> Option<()> {
    let fields = fields_of(&key.value);
    let rest = fields
        .iter()
        .fold(key.value.clone(), |rest, field| rest.replacen(&format!("{{{field}}}"), "", 1));
    if rest.contains(['{', '}']) {
        table.mistake(&key.place, "`routing_key`: a brace is not closed, or stands in another");
    }
    let words = fields.iter().filter(|field| **field != TYPE).count();
    if words > WORDS_MAX {
        table.mistake(&key.place, format!("`routing_key` holds more than {WORDS_MAX} fields"));
    }
    let longest = EventType::ALL.iter().map(|kind| kind.name().len()).max().unwrap_or(0);
    let types = fields.len() - words;
    let room = types * longest + words * WORD_BYTES_MAX;
    let whole = Placed { value: rest, place: key.place.clone() };
    let empty = whole.value.is_empty() && room > 0;
    (empty || fits(table, "routing_key", &whole, room)).then_some(())
}
