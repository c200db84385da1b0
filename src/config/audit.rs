//! `[audit]`.
//!
//! Promises: checkpoints go only where there is a broker to take them.
//! Knows nothing of: the chain.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::Node;
use crate::document::Table;
use crate::store::AuditConfig;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// As long as `y` is.
const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// Longest name in AMQP 0-9-1 (`shortstr`), in bytes.
const EXCHANGE_BYTES_MAX: usize = 255;

/// `[audit]`.
#[derive(Debug)]
pub struct Audit {
    /// How it is kept.
    pub store: AuditConfig,
    /// The exchange that checkpoints go to, too.
    pub exchange: Option<String>,
}

/// The file of checkpoints in state_dir, where nothing else is said.
pub const CHECKPOINTS: &str = "checkpoints.ndjson";

/// Reads it; what is not said holds as it is here.
pub(super) fn read(table: Option<&Table<'_>>, node: Option<&Node>, rabbitmq: bool) -> Audit {
    let mut store = AuditConfig {
        retention: 6 * YEAR,
        every: 1_000,
        or_after: MINUTE,
        file: PathBuf::from(CHECKPOINTS),
        node: node.map(|node| node.name.clone()).unwrap_or_default(),
    };
    let Some(table) = table else { return Audit { store, exchange: None } };
    store.retention = table.duration("retention", store.retention, DAY..=100 * YEAR);
    let mut exchange = None;
    if let Some(checkpoint) = table.table("checkpoint") {
        store.every = checkpoint.integer("every", store.every, 1..=1_000_000);
        store.or_after = checkpoint.duration("or_after", store.or_after, SECOND..=DAY);
        if let Some(file) = checkpoint.text("file") {
            if !is_inside(Path::new(&file.value)) {
                let text = "`audit.checkpoint.file` is a path below state_dir";
                checkpoint.mistake(&file.place, text);
            }
            store.file = PathBuf::from(file.value);
        }
        if let Some(name) = checkpoint.text("exchange") {
            if !rabbitmq {
                let text = "checkpoints go to RabbitMQ, and the configuration has no [rabbitmq]";
                checkpoint.mistake(&name.place, text);
            } else if !(1..=EXCHANGE_BYTES_MAX).contains(&name.value.len()) {
                let text = "`audit.checkpoint.exchange` is 1 to 255 bytes";
                checkpoint.mistake(&name.place, text);
            }
            exchange = Some(name.value);
        }
        checkpoint.finish();
    }
    table.finish();
    Audit { store, exchange }
}

fn is_inside(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}
