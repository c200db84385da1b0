//! What is counted, and under which names.
//!
//! Promises: every series is there from the start, at 0; labels come from the configuration
//! and from closed sets, never from a message, so that no sender can make series; docs/metrics.md
//! is held equal to [`TABLE`] by a test.
//! Knows nothing of: who scrapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::clock;

/// A metric: kind, name, labels, what it means.
pub type Row = (Kind, &'static str, &'static [&'static str], &'static str);

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of seconds.
    Seconds,
    /// A distribution of counts.
    Counts,
}

/// Every metric that is exported.
pub const TABLE: [Row; 81] = [
    (Kind::Gauge, "tidegate_build_info", &["version"], "1; the version that runs."),
    (
        Kind::Counter,
        "tidegate_feed_messages_received_total",
        &["feed", "protocol", "type"],
        "Messages that came in, by adt, oru, consent, other.",
    ),
    (
        Kind::Counter,
        "tidegate_feed_errors_total",
        &["feed", "stage", "error_type"],
        "Messages that came to something else than events.",
    ),
    (Kind::Counter, "tidegate_feed_acks_total", &["feed", "code"], "Acknowledgements written."),
    (
        Kind::Counter,
        "tidegate_feed_application_acks_total",
        &["feed", "result"],
        "Application acknowledgements for another address (application_ack), by sent, dropped.",
    ),
    (
        Kind::Counter,
        "tidegate_feed_sequence_gaps_total",
        &["feed"],
        "Messages with numbers missing before that of their MSH-13.",
    ),
    (
        Kind::Seconds,
        "tidegate_feed_ack_duration_seconds",
        &["feed"],
        "From the last byte of a frame to its acknowledgement being written.",
    ),
    (Kind::Counter, "tidegate_feed_bytes_received_total", &["feed"], "Bytes of frames."),
    (Kind::Gauge, "tidegate_feed_connections", &["feed"], "Open connections."),
    (
        Kind::Counter,
        "tidegate_feed_connections_rejected_total",
        &["feed", "reason"],
        "Connections refused or cut, by address, limit, handshake-timeout, tls, client, frame-timeout, write-timeout, busy.",
    ),
    (
        Kind::Gauge,
        "tidegate_feed_up",
        &["feed"],
        "Of a feed that connects: 1 while it is connected.",
    ),
    (
        Kind::Counter,
        "tidegate_feed_connects_total",
        &["feed", "result"],
        "Of a feed that connects: tries, by connected, unreachable, tls.",
    ),
    (
        Kind::Counter,
        "tidegate_fhir_requests_total",
        &["server", "code_class"],
        "Requests to a FHIR server, by 2xx, 3xx, 4xx, 5xx; none: there was no whole answer.",
    ),
    (
        Kind::Seconds,
        "tidegate_fhir_request_duration_seconds",
        &["server"],
        "From a request to a FHIR server to the last byte of its answer.",
    ),
    (
        Kind::Counter,
        "tidegate_fhir_throttled_total",
        &["server"],
        "Answers 429, and 503 with Retry-After: the server wants fewer requests.",
    ),
    (
        Kind::Gauge,
        "tidegate_fhir_token_expiry_timestamp_seconds",
        &["server"],
        "When the token for a FHIR server ends, since 1970; 0: none yet.",
    ),
    (
        Kind::Gauge,
        "tidegate_tls_cert_expiry_timestamp_seconds",
        &["role", "name"],
        "When a certificate, or the first of several, ends, since 1970; of a revocation list, when the next is due.",
    ),
    (
        Kind::Gauge,
        "tidegate_tls_last_reload_successful",
        &["role", "name"],
        "1 while the certificates in use are those in the files.",
    ),
    (
        Kind::Gauge,
        "tidegate_feed_last_message_timestamp_seconds",
        &["feed"],
        "When the last message came in, since 1970; 0: none since start.",
    ),
    (
        Kind::Counter,
        "tidegate_frame_errors_total",
        &["feed", "reason"],
        "Broken frames, by oversize, no-start, restarted, no-end.",
    ),
    (
        Kind::Counter,
        "tidegate_feed_files_total",
        &["feed", "result"],
        "Files of a folder that were taken, by done, failed.",
    ),
    (
        Kind::Gauge,
        "tidegate_feed_files_waiting",
        &["feed"],
        "Files that lay in the folder at the last look.",
    ),
    (
        Kind::Gauge,
        "tidegate_feed_folder_up",
        &["feed"],
        "1 while the folder can be read, and what was taken moved aside.",
    ),
    (
        Kind::Gauge,
        "tidegate_fhir_cursor_timestamp_seconds",
        &["server"],
        "When the last round began that took all of a query, of the query where that is longest ago, since 1970; before the first, when the daemon began.",
    ),
    (
        Kind::Gauge,
        "tidegate_fhir_queries_stopped",
        &["server"],
        "Queries that are not asked for now, since the server refuses them or gives pages that lead nowhere.",
    ),
    (
        Kind::Counter,
        "tidegate_fhir_resources_total",
        &["server", "result"],
        "Resources on pages by taken, known (taken before, byte for byte), unreadable.",
    ),
    (
        Kind::Counter,
        "tidegate_fhir_consents_rechecked_total",
        &["server", "result"],
        "Consents that may permit and were asked for again, by same, changed, gone (closed), failed.",
    ),
    (
        Kind::Counter,
        "tidegate_fhir_notifications_total",
        &["server", "result"],
        "Requests to the endpoint of a feed's subscriptions, by what came of them.",
    ),
    (
        Kind::Counter,
        "tidegate_fhir_notifications_missed_total",
        &["server"],
        "Events of subscriptions whose numbers were passed over; the server was asked what happened.",
    ),
    (
        Kind::Gauge,
        "tidegate_fhir_subscriptions",
        &["server", "state"],
        "Subscriptions at a FHIR server, by active, silent (no heartbeat for too long), refused.",
    ),
    (
        Kind::Seconds,
        "tidegate_journal_fsync_duration_seconds",
        &[],
        "COMMIT of a transaction, fsync included.",
    ),
    (
        Kind::Counts,
        "tidegate_journal_group_commit_messages",
        &[],
        "Messages that rode in one transaction.",
    ),
    (
        Kind::Seconds,
        "tidegate_pipeline_stage_duration_seconds",
        &["stage"],
        "Time of a stage per message: assess is parse, map and compare.",
    ),
    (
        Kind::Seconds,
        "tidegate_end_to_end_duration_seconds",
        &["route"],
        "From the message coming in, or its batch being due, to its event being confirmed.",
    ),
    (
        Kind::Counter,
        "tidegate_events_total",
        &["route", "outcome"],
        "Events by what the route did: released, suppressed, told, exception, unselected, notified.",
    ),
    (
        Kind::Counter,
        "tidegate_consent_decisions_total",
        &["purpose", "decision", "reason"],
        "Answers to whether an event may leave: permit, or deny with its reason.",
    ),
    (
        Kind::Counter,
        "tidegate_consent_ends_total",
        &[],
        "Permits that ended by themselves, each once.",
    ),
    (
        Kind::Gauge,
        "tidegate_consent_timer_held",
        &[],
        "1 while the wall clock has leapt ahead a short while ago, so that no permit ends.",
    ),
    (
        Kind::Seconds,
        "tidegate_revocation_propagation_duration_seconds",
        &["feed"],
        "From a consent coming in to nothing being on its way that it may forbid.",
    ),
    (
        Kind::Counter,
        "tidegate_revocation_late_publish_total",
        &["route"],
        "Payloads handed over behind an acknowledged revocation; must stay 0.",
    ),
    (
        Kind::Counter,
        "tidegate_dedupe_checks_total",
        &["feed", "result"],
        "Messages by new, duplicate, conflict, wrapped.",
    ),
    (
        Kind::Counter,
        "tidegate_deid_fields_total",
        &["route", "action"],
        "Fields of released events by kept, tokenized, generalized, removed.",
    ),
    (
        Kind::Counter,
        "tidegate_deid_unmapped_fields_total",
        &["feed"],
        "Fields of messages, and elements of resources, that no rule took.",
    ),
    (
        Kind::Counter,
        "tidegate_feed_new_segments_total",
        &["feed"],
        "Segments that came in on a feed for the first time ever, since start.",
    ),
    (
        Kind::Gauge,
        "tidegate_feed_segments",
        &["feed"],
        "Different segments that have ever come in on a feed; at most 500 are remembered.",
    ),
    (
        Kind::Gauge,
        "tidegate_route_lag_events",
        &["route"],
        "Journal entries that the route has not finished; of a batch, once it is due.",
    ),
    (
        Kind::Gauge,
        "tidegate_route_oldest_timestamp_seconds",
        &["route"],
        "When the oldest of them came in, or of a batch when it was due or last went on, since 1970; 0: none.",
    ),
    (Kind::Gauge, "tidegate_route_up", &["route"], "1 while the route can deliver."),
    (
        Kind::Counter,
        "tidegate_publish_attempts_total",
        &["route", "result"],
        "Publishes by ack, nack, returned, timeout, closed.",
    ),
    (
        Kind::Seconds,
        "tidegate_confirm_duration_seconds",
        &["route"],
        "From handing a payload to the sink to its confirm.",
    ),
    (Kind::Gauge, "tidegate_publish_inflight", &["route"], "Payloads that are not confirmed yet."),
    (
        Kind::Counter,
        "tidegate_redeliveries_total",
        &["route"],
        "Payloads sent again, with their first ID.",
    ),
    (
        Kind::Gauge,
        "tidegate_broker_up",
        &["route"],
        "1 while the route's connection to RabbitMQ is open.",
    ),
    (
        Kind::Gauge,
        "tidegate_broker_blocked",
        &["route"],
        "1 while RabbitMQ has blocked the route's connection.",
    ),
    (
        Kind::Counter,
        "tidegate_broker_reconnects_total",
        &["route"],
        "Connections opened after the first.",
    ),
    (Kind::Gauge, "tidegate_exceptions_open", &["category", "feed"], "Exceptions that are open."),
    (
        Kind::Gauge,
        "tidegate_exceptions_oldest_timestamp_seconds",
        &["category", "feed"],
        "When the oldest of them was opened, since 1970; 0: none.",
    ),
    (
        Kind::Counter,
        "tidegate_exceptions_opened_total",
        &["category", "feed"],
        "Exceptions opened.",
    ),
    (Kind::Gauge, "tidegate_store_size_bytes", &["store"], "Size of a store with its log."),
    (
        Kind::Gauge,
        "tidegate_store_free_bytes",
        &["store"],
        "Bytes that a store can still grow into: free on its disk, or emptied in its own file.",
    ),
    (
        Kind::Gauge,
        "tidegate_store_free_floor_bytes",
        &["store"],
        "Free bytes below which intake stops: the watermark.",
    ),
    (
        Kind::Gauge,
        "tidegate_store_corrupt_records",
        &["store"],
        "Records that could not be opened since start, and were set apart.",
    ),
    (
        Kind::Seconds,
        "tidegate_token_resolution_duration_seconds",
        &["op", "result"],
        "Looking for a token (lookup, those in memory left out), making some (mint) and naming whom one stands for (detokenize), in the vault.",
    ),
    (Kind::Gauge, "tidegate_token_store_entries", &[], "Tokens that the vault holds."),
    (
        Kind::Gauge,
        "tidegate_key_version_info",
        &["key", "version"],
        "1; the version of a realm's tokens: another key, or another kind of tokens, is the next.",
    ),
    (
        Kind::Gauge,
        "tidegate_key_created_timestamp_seconds",
        &["key"],
        "When this version was first seen, since 1970.",
    ),
    (
        Kind::Counter,
        "tidegate_phi_reveals_total",
        &["role", "result"],
        "Tokens that somebody wanted resolved, by told, none, limited, error.",
    ),
    (Kind::Counter, "tidegate_audit_records_total", &[], "Records of the evidence written."),
    (
        Kind::Seconds,
        "tidegate_audit_commit_duration_seconds",
        &[],
        "COMMIT of a transaction of the evidence, fsync included.",
    ),
    (
        Kind::Gauge,
        "tidegate_audit_unsigned_since_timestamp_seconds",
        &[],
        "When the oldest record came that no checkpoint holds yet, since 1970; 0: none.",
    ),
    (
        Kind::Gauge,
        "tidegate_audit_last_checkpoint_timestamp_seconds",
        &[],
        "When the newest checkpoint was signed, since 1970; 0: none.",
    ),
    (
        Kind::Counter,
        "tidegate_audit_verify_failures_total",
        &[],
        "Times that the daemon found its evidence not to be what was written.",
    ),
    (
        Kind::Counter,
        "tidegate_log_events_dropped_total",
        &[],
        "Log lines dropped because nobody reads them fast enough.",
    ),
    (Kind::Gauge, "process_start_time_seconds", &[], "When the process started, since 1970."),
    (Kind::Counter, "process_cpu_seconds_total", &[], "CPU time, of user and system."),
    (Kind::Gauge, "process_resident_memory_bytes", &[], "Memory that is in RAM."),
    (Kind::Gauge, "process_virtual_memory_bytes", &[], "Memory that is addressed."),
    (Kind::Gauge, "process_virtual_memory_max_bytes", &[], "Most memory that may be addressed."),
    (Kind::Gauge, "process_open_fds", &[], "Open file descriptors."),
    (Kind::Gauge, "process_max_fds", &[], "Most file descriptors that may be open."),
    (Kind::Gauge, "process_threads", &[], "Threads."),
];

/// From 50 µs, half an fsync of a good disk, to 60 s, twice the longest timeout. Closer together
/// from 1 to 5 ms, where most acknowledgements fall.
const SECONDS_BUCKETS: [f64; 22] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.001_5, 0.002, 0.002_5, 0.003_5, 0.005, 0.01,
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
const COUNT_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Installs the recorder. Histograms have buckets: without, quantiles would be computed here
/// and could not be added up over instances.
///
/// # Errors
/// A recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (kind, name, _, _) in TABLE {
        let buckets: &[f64] = match kind {
            Kind::Seconds => &SECONDS_BUCKETS,
            Kind::Counts => &COUNT_BUCKETS,
            Kind::Counter | Kind::Gauge => continue,
        };
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
    }
    let handle = builder.install_recorder()?;
    describe();
    metrics::gauge!("tidegate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn describe() {
    for (kind, name, _, text) in TABLE {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, text),
            Kind::Gauge => metrics::describe_gauge!(name, text),
            Kind::Seconds => metrics::describe_histogram!(name, Unit::Seconds, text),
            Kind::Counts => metrics::describe_histogram!(name, text),
        }
    }
}

fn zero(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

fn low(gauge: Gauge) -> Gauge {
    gauge.set(0.0);
    gauge
}

/// Counters of one name, one for each word of a closed set.
#[derive(Clone, Debug)]
pub struct ByWord(Vec<(&'static str, Counter)>);

impl ByWord {
    fn new(words: &[&'static str], make: impl Fn(&'static str) -> Counter) -> Self {
        Self(words.iter().map(|word| (*word, zero(make(word)))).collect())
    }

    /// Counts one; a word that is not of the set is counted as the last, which is the odd one.
    pub fn count(&self, word: &str) {
        self.add(word, 1);
    }

    /// Counts several.
    pub fn add(&self, word: &str, count: u64) {
        let found = self.0.iter().find(|(known, _)| *known == word).or_else(|| self.0.last());
        if let Some((_, counter)) = found {
            counter.increment(count);
        }
    }
}

/// What a feed counts.
#[derive(Clone, Debug)]
pub struct FeedMetrics {
    /// Messages by type.
    pub received: ByWord,
    /// Messages that came to something else than events, by reason.
    pub errors: ByWord,
    /// Acknowledgements by code.
    pub acks: ByWord,
    /// Application acknowledgements that went elsewhere, by result.
    pub application_acks: ByWord,
    /// Messages with numbers missing before theirs.
    pub sequence_gaps: Counter,
    /// Frame complete to acknowledgement written.
    pub ack_duration: Histogram,
    /// A consent came in to the fence being taken.
    pub fenced: Histogram,
    /// Bytes of frames.
    pub bytes: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Connections refused or cut, by reason.
    pub rejected: ByWord,
    /// When the last message came in.
    pub last_message: Gauge,
    /// Broken frames by reason.
    pub frame_errors: ByWord,
    /// Messages by novelty.
    pub dedupe: ByWord,
    /// Fields that no rule took.
    pub unmapped: Counter,
    /// Parse, map and compare.
    pub assess: Histogram,
}

impl FeedMetrics {
    /// The series of a feed, all at 0.
    #[must_use]
    pub fn new(feed: &str, protocol: &'static str) -> Self {
        let feed = feed.to_owned();
        Self {
            received: ByWord::new(&["adt", "oru", "consent", "other"], |word| {
                metrics::counter!("tidegate_feed_messages_received_total",
                    "feed" => feed.clone(), "protocol" => protocol, "type" => word)
            }),
            errors: ByWord::new(
                &[
                    "malformed",
                    "unmapped",
                    "unsupported",
                    "correlation-conflict",
                    "processing-id",
                    "version",
                    "foreign-sender",
                    "acknowledgement",
                    "oversize",
                    "sequence",
                    "miscount",
                    "busy",
                    "other",
                ],
                |word| {
                    metrics::counter!("tidegate_feed_errors_total",
                        "feed" => feed.clone(), "stage" => stage_of(word), "error_type" => word)
                },
            ),
            acks: ByWord::new(
                &["AA", "AE", "AR", "CA", "CE", "CR"],
                |word| metrics::counter!("tidegate_feed_acks_total", "feed" => feed.clone(), "code" => word),
            ),
            application_acks: ByWord::new(&["sent", "dropped"], |word| {
                metrics::counter!("tidegate_feed_application_acks_total",
                    "feed" => feed.clone(), "result" => word)
            }),
            sequence_gaps: zero(
                metrics::counter!("tidegate_feed_sequence_gaps_total", "feed" => feed.clone()),
            ),
            fenced: metrics::histogram!("tidegate_revocation_propagation_duration_seconds", "feed" => feed.clone()),
            ack_duration: metrics::histogram!("tidegate_feed_ack_duration_seconds", "feed" => feed.clone()),
            bytes: zero(
                metrics::counter!("tidegate_feed_bytes_received_total", "feed" => feed.clone()),
            ),
            connections: low(metrics::gauge!("tidegate_feed_connections", "feed" => feed.clone())),
            rejected: ByWord::new(
                &[
                    "address",
                    "limit",
                    "handshake-timeout",
                    "tls",
                    "client",
                    "frame-timeout",
                    "write-timeout",
                    "busy",
                ],
                |word| {
                    metrics::counter!("tidegate_feed_connections_rejected_total",
                    "feed" => feed.clone(), "reason" => word)
                },
            ),
            last_message: low(
                metrics::gauge!("tidegate_feed_last_message_timestamp_seconds", "feed" => feed.clone()),
            ),
            frame_errors: ByWord::new(
                &["oversize", "no-start", "restarted", "no-end"],
                |word| metrics::counter!("tidegate_frame_errors_total", "feed" => feed.clone(), "reason" => word),
            ),
            dedupe: ByWord::new(
                &["new", "duplicate", "conflict", "wrapped"],
                |word| metrics::counter!("tidegate_dedupe_checks_total", "feed" => feed.clone(), "result" => word),
            ),
            unmapped: zero(
                metrics::counter!("tidegate_deid_unmapped_fields_total", "feed" => feed.clone()),
            ),
            assess: metrics::histogram!("tidegate_pipeline_stage_duration_seconds", "stage" => "assess"),
        }
    }
}

/// What a feed of files counts beside.
#[derive(Clone, Debug)]
pub struct FileMetrics {
    /// Files that were taken, by where they lie.
    pub files: ByWord,
    /// Files that lie there.
    pub waiting: Gauge,
    /// Whether the folder can be read and written.
    pub up: Gauge,
}

impl FileMetrics {
    /// The series of a feed, all at 0.
    #[must_use]
    pub fn new(feed: &str) -> Self {
        let feed = feed.to_owned();
        Self {
            files: ByWord::new(
                &["done", "failed"],
                |word| metrics::counter!("tidegate_feed_files_total", "feed" => feed.clone(), "result" => word),
            ),
            waiting: low(metrics::gauge!("tidegate_feed_files_waiting", "feed" => feed.clone())),
            up: low(metrics::gauge!("tidegate_feed_folder_up", "feed" => feed.clone())),
        }
    }
}

/// What a feed that polls a FHIR server counts beside.
#[derive(Clone, Debug)]
pub struct PollMetrics {
    /// When all was taken last.
    pub cursor: Gauge,
    /// Queries that are not asked.
    pub stopped: Gauge,
    /// Resources by what came of them on the page.
    pub resources: ByWord,
    /// Consents that were asked for again, by what came of it.
    pub rechecked: ByWord,
}

impl PollMetrics {
    /// The series of a feed, all at 0.
    #[must_use]
    pub fn new(feed: &str) -> Self {
        let feed = feed.to_owned();
        Self {
            cursor: low(
                metrics::gauge!("tidegate_fhir_cursor_timestamp_seconds", "server" => feed.clone()),
            ),
            stopped: low(
                metrics::gauge!("tidegate_fhir_queries_stopped", "server" => feed.clone()),
            ),
            resources: ByWord::new(
                &["taken", "known", "unreadable"],
                |word| metrics::counter!("tidegate_fhir_resources_total", "server" => feed.clone(), "result" => word),
            ),
            rechecked: ByWord::new(
                &["same", "changed", "gone", "failed"],
                |word| metrics::counter!("tidegate_fhir_consents_rechecked_total", "server" => feed.clone(), "result" => word),
            ),
        }
    }
}

/// What is counted of a feed's subscriptions.
#[derive(Clone, Debug)]
pub struct SubscriptionMetrics {
    /// Requests by what came of them.
    pub notifications: ByWord,
    /// Events whose numbers were passed over.
    pub missed: Counter,
    /// Subscriptions that tell.
    pub active: Gauge,
    /// Subscriptions that have not been heard for too long.
    pub silent: Gauge,
    /// Subscriptions that the server does not take.
    pub refused: Gauge,
}

impl SubscriptionMetrics {
    /// The series of a feed, all at 0.
    #[must_use]
    pub fn new(feed: &str) -> Self {
        let server = feed.to_owned();
        let state = |word: &'static str| {
            low(metrics::gauge!("tidegate_fhir_subscriptions",
                "server" => server.clone(), "state" => word))
        };
        Self {
            notifications: ByWord::new(
                &[
                    "handshake",
                    "heartbeat",
                    "event",
                    "resource",
                    "empty",
                    "refused",
                    "unknown",
                    "malformed",
                    "busy",
                ],
                |word| metrics::counter!("tidegate_fhir_notifications_total", "server" => server.clone(), "result" => word),
            ),
            missed: zero(
                metrics::counter!("tidegate_fhir_notifications_missed_total", "server" => server.clone()),
            ),
            active: state("active"),
            silent: state("silent"),
            refused: state("refused"),
        }
    }
}

/// The room that a reason belongs to.
fn stage_of(reason: &str) -> &'static str {
    match reason {
        "malformed" | "oversize" | "miscount" => "parse",
        "unmapped" | "unsupported" => "normalize",
        "busy" => "store",
        _ => "admit",
    }
}

/// What a feed that connects counts beside.
#[derive(Clone, Debug)]
pub struct DialMetrics {
    /// Whether it is connected.
    pub up: Gauge,
    /// Tries by result.
    pub connects: ByWord,
}

impl DialMetrics {
    /// The series of a feed, all at 0.
    #[must_use]
    pub fn new(feed: &str) -> Self {
        let feed = feed.to_owned();
        Self {
            up: low(metrics::gauge!("tidegate_feed_up", "feed" => feed.clone())),
            connects: ByWord::new(
                &["connected", "unreachable", "tls"],
                |word| metrics::counter!("tidegate_feed_connects_total", "feed" => feed.clone(), "result" => word),
            ),
        }
    }
}

/// What is counted of the requests to the server of a feed.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    /// Requests by the class of their status.
    pub requests: ByWord,
    /// Asked to answered.
    pub duration: Histogram,
    /// Answers 429, and 503 with Retry-After.
    pub throttled: Counter,
    /// When the token ends.
    pub token_expiry: Gauge,
}

impl ServerMetrics {
    /// The series of a server, all at 0; it is named by its feed, since two feeds may ask one server.
    #[must_use]
    pub fn new(feed: &str) -> Self {
        let server = feed.to_owned();
        Self {
            requests: ByWord::new(&["2xx", "3xx", "4xx", "5xx", "none"], |word| {
                metrics::counter!("tidegate_fhir_requests_total",
                    "server" => server.clone(), "code_class" => word)
            }),
            duration: metrics::histogram!("tidegate_fhir_request_duration_seconds", "server" => server.clone()),
            throttled: zero(
                metrics::counter!("tidegate_fhir_throttled_total", "server" => server.clone()),
            ),
            token_expiry: low(
                metrics::gauge!("tidegate_fhir_token_expiry_timestamp_seconds", "server" => server.clone()),
            ),
        }
    }
}

/// What is told of the certificates of one place.
#[derive(Clone, Debug)]
pub struct CertificateMetrics {
    /// Whether those in use are those in the files.
    pub reloaded: Gauge,
    cert: Gauge,
    ca: Option<Gauge>,
    crl: Option<Gauge>,
}

impl CertificateMetrics {
    /// The series of a role and name; those of authorities and lists where there are some.
    #[must_use]
    pub fn new(role: &'static str, name: &str, has_ca: bool, has_crl: bool) -> Self {
        let name = name.to_owned();
        let of = |role: &'static str| {
            low(metrics::gauge!("tidegate_tls_cert_expiry_timestamp_seconds",
                "role" => role, "name" => name.clone()))
        };
        Self {
            reloaded: low(metrics::gauge!("tidegate_tls_last_reload_successful",
                "role" => role, "name" => name.clone())),
            cert: of(role),
            ca: has_ca.then(|| of("ca")),
            crl: has_crl.then(|| of("crl")),
        }
    }

    /// When each ends, in seconds since 1970; 0 where there is none.
    #[expect(clippy::cast_precision_loss, reason = "a time of a gauge")]
    pub fn set(&self, cert: Option<i64>, ca: Option<i64>, crl: Option<i64>) {
        self.cert.set(cert.unwrap_or(0) as f64);
        for (gauge, ends) in [(&self.ca, ca), (&self.crl, crl)] {
            if let Some(gauge) = gauge {
                gauge.set(ends.unwrap_or(0) as f64);
            }
        }
    }
}

/// What a route counts.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    /// Events by outcome.
    pub events: ByWord,
    /// Events that may leave for the purpose.
    pub permitted: Counter,
    /// Events that may not, by reason.
    pub denied: ByWord,
    /// Fields by action.
    pub fields: ByWord,
    /// Journal entries not finished.
    pub lag: Gauge,
    /// When the oldest of them came in.
    pub oldest: Gauge,
    /// Whether it can deliver.
    pub up: Gauge,
    /// Publishes by result.
    pub attempts: ByWord,
    /// Handed to the sink to confirmed.
    pub confirm: Histogram,
    /// Came in to confirmed.
    pub end_to_end: Histogram,
    /// Not confirmed yet.
    pub inflight: Gauge,
    /// Sent again.
    pub redeliveries: Counter,
    /// Handed over behind an acknowledged revocation, which must not be.
    pub late: Counter,
}

/// What a route that delivers to RabbitMQ counts of its connection.
#[derive(Clone, Debug)]
pub struct BrokerMetrics {
    /// Whether the connection is open.
    pub up: Gauge,
    /// Whether the broker has blocked it.
    pub blocked: Gauge,
    /// Connections after the first.
    pub reconnects: Counter,
}

impl BrokerMetrics {
    /// The series of a route's connection, all at 0.
    #[must_use]
    pub fn new(route: &str) -> Self {
        let route = route.to_owned();
        Self {
            up: low(metrics::gauge!("tidegate_broker_up", "route" => route.clone())),
            blocked: low(metrics::gauge!("tidegate_broker_blocked", "route" => route.clone())),
            reconnects: zero(
                metrics::counter!("tidegate_broker_reconnects_total", "route" => route),
            ),
        }
    }
}

impl RouteMetrics {
    /// The series of a route, all at 0; `reasons` are the words for why an event may not leave.
    #[must_use]
    pub fn new(route: &str, purpose: &str, reasons: &[&'static str]) -> Self {
        let (route, purpose) = (route.to_owned(), purpose.to_owned());
        Self {
            permitted: zero(metrics::counter!("tidegate_consent_decisions_total",
                "purpose" => purpose.clone(), "decision" => "permit", "reason" => "permitted")),
            denied: ByWord::new(reasons, |word| {
                metrics::counter!("tidegate_consent_decisions_total",
                    "purpose" => purpose.clone(), "decision" => "deny", "reason" => word)
            }),
            events: ByWord::new(
                &["released", "suppressed", "told", "exception", "unselected", "notified"],
                |word| metrics::counter!("tidegate_events_total", "route" => route.clone(), "outcome" => word),
            ),
            fields: ByWord::new(
                &["kept", "tokenized", "generalized", "removed"],
                |word| metrics::counter!("tidegate_deid_fields_total", "route" => route.clone(), "action" => word),
            ),
            lag: low(metrics::gauge!("tidegate_route_lag_events", "route" => route.clone())),
            oldest: low(
                metrics::gauge!("tidegate_route_oldest_timestamp_seconds", "route" => route.clone()),
            ),
            up: low(metrics::gauge!("tidegate_route_up", "route" => route.clone())),
            attempts: ByWord::new(
                &["ack", "nack", "returned", "timeout", "cut", "closed"],
                |word| {
                    metrics::counter!("tidegate_publish_attempts_total",
                    "route" => route.clone(), "result" => word)
                },
            ),
            confirm: metrics::histogram!("tidegate_confirm_duration_seconds", "route" => route.clone()),
            end_to_end: metrics::histogram!("tidegate_end_to_end_duration_seconds", "route" => route.clone()),
            inflight: low(metrics::gauge!("tidegate_publish_inflight", "route" => route.clone())),
            late: zero(
                metrics::counter!("tidegate_revocation_late_publish_total", "route" => route.clone()),
            ),
            redeliveries: zero(metrics::counter!("tidegate_redeliveries_total", "route" => route)),
        }
    }
}

/// What the store counts.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// COMMIT.
    pub fsync: Histogram,
    /// Messages in one transaction.
    pub group_commit: Histogram,
    /// Bytes of the store.
    pub size: Gauge,
    /// Bytes that it can still grow into.
    pub free: Gauge,
    /// Free bytes below which intake stops.
    pub floor: Gauge,
    /// Records that could not be opened.
    pub corrupt: Gauge,
    /// Permits that ended by themselves.
    pub ends: Counter,
    /// Whether none does for now.
    pub timer_held: Gauge,
}

impl StoreMetrics {
    /// The series of a store.
    #[must_use]
    pub fn new(store: &'static str) -> Self {
        Self {
            fsync: metrics::histogram!("tidegate_journal_fsync_duration_seconds"),
            group_commit: metrics::histogram!("tidegate_journal_group_commit_messages"),
            size: low(metrics::gauge!("tidegate_store_size_bytes", "store" => store)),
            free: low(metrics::gauge!("tidegate_store_free_bytes", "store" => store)),
            floor: low(metrics::gauge!("tidegate_store_free_floor_bytes", "store" => store)),
            corrupt: low(metrics::gauge!("tidegate_store_corrupt_records", "store" => store)),
            ends: zero(metrics::counter!("tidegate_consent_ends_total")),
            timer_held: low(metrics::gauge!("tidegate_consent_timer_held")),
        }
    }
}

/// What the vault counts.
#[derive(Clone, Debug)]
pub struct VaultMetrics {
    mint_hit: Histogram,
    mint_miss: Histogram,
    /// Tokens that could not be made.
    pub mint_error: Histogram,
    lookup: [Histogram; 3],
    detokenize: [Histogram; 3],
    entries: Gauge,
    size: Gauge,
}

impl VaultMetrics {
    /// The series of the vault.
    #[must_use]
    pub fn new() -> Self {
        let of = |op: &'static str, result: &'static str| {
            metrics::histogram!("tidegate_token_resolution_duration_seconds",
                "op" => op, "result" => result)
        };
        let all = |op| ["hit", "miss", "error"].map(|result| of(op, result));
        Self {
            mint_hit: of("mint", "hit"),
            mint_miss: of("mint", "miss"),
            mint_error: of("mint", "error"),
            lookup: all("lookup"),
            detokenize: all("detokenize"),
            entries: low(metrics::gauge!("tidegate_token_store_entries")),
            size: low(metrics::gauge!("tidegate_store_size_bytes", "store" => "vault")),
        }
    }

    /// A transaction made so many tokens.
    pub fn minted(&self, seconds: f64, made: u64) {
        if made > 0 { &self.mint_miss } else { &self.mint_hit }.record(seconds);
    }

    /// Somebody's token was looked for on the disk.
    pub fn looked_up<T, E>(&self, seconds: f64, found: &Result<Option<T>, E>) {
        let [hit, miss, error] = &self.lookup;
        match found {
            Ok(Some(_)) => hit.record(seconds),
            Ok(None) => miss.record(seconds),
            Err(_) => error.record(seconds),
        }
    }

    /// It was asked whom a token stands for: known, unknown, or nobody can say.
    pub fn resolved(&self, seconds: f64, known: Option<bool>) {
        let [hit, miss, error] = &self.detokenize;
        match known {
            Some(true) => hit.record(seconds),
            Some(false) => miss.record(seconds),
            None => error.record(seconds),
        }
    }

    /// So many tokens are kept.
    #[expect(clippy::cast_precision_loss, reason = "a count of a gauge")]
    pub fn set_entries(&self, count: u64) {
        self.entries.set(count as f64);
    }

    /// So many bytes they take.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a gauge")]
    pub fn set_size(&self, bytes: u64) {
        self.size.set(bytes as f64);
    }
}

impl Default for VaultMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Says which version of a realm's key is in use, and since when.
#[expect(clippy::cast_precision_loss, reason = "a time of a gauge")]
pub fn key_version(key: &str, version: u64, since_ms: i64) {
    let key = key.to_owned();
    metrics::gauge!("tidegate_key_version_info",
        "key" => key.clone(), "version" => version.to_string())
    .set(1.0);
    metrics::gauge!("tidegate_key_created_timestamp_seconds", "key" => key)
        .set(since_ms as f64 / 1000.0);
}

/// Answers to who wanted to know whom a token stands for, by result.
#[must_use]
pub fn reveals() -> ByWord {
    ByWord::new(
        &["told", "none", "limited", "error"],
        |word| metrics::counter!("tidegate_phi_reveals_total", "role" => "operator", "result" => word),
    )
}

/// What the evidence counts.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    /// Records written.
    pub records: Counter,
    /// COMMIT.
    pub commit: Histogram,
    /// When the oldest record came that is not signed.
    pub unsigned_since: Gauge,
    /// When the newest checkpoint was signed.
    pub last_checkpoint: Gauge,
    /// How often it was found broken.
    pub verify_failures: Counter,
}

impl AuditMetrics {
    /// The series, all at 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: zero(metrics::counter!("tidegate_audit_records_total")),
            commit: metrics::histogram!("tidegate_audit_commit_duration_seconds"),
            unsigned_since: low(metrics::gauge!("tidegate_audit_unsigned_since_timestamp_seconds")),
            last_checkpoint: low(metrics::gauge!(
                "tidegate_audit_last_checkpoint_timestamp_seconds"
            )),
            verify_failures: zero(metrics::counter!("tidegate_audit_verify_failures_total")),
        }
    }
}

impl Default for AuditMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The exceptions of one category and feed.
#[derive(Clone, Debug)]
pub struct ExceptionMetrics {
    /// Open now.
    pub open: Gauge,
    /// When the oldest was opened.
    pub oldest: Gauge,
    /// Opened in all.
    pub opened: Counter,
}

impl ExceptionMetrics {
    /// The series of a category and feed, all at 0.
    #[must_use]
    pub fn new(category: &'static str, feed: &str) -> Self {
        let feed = feed.to_owned();
        Self {
            open: low(
                metrics::gauge!("tidegate_exceptions_open", "category" => category, "feed" => feed.clone()),
            ),
            oldest: low(
                metrics::gauge!("tidegate_exceptions_oldest_timestamp_seconds", "category" => category, "feed" => feed.clone()),
            ),
            opened: zero(
                metrics::counter!("tidegate_exceptions_opened_total", "category" => category, "feed" => feed),
            ),
        }
    }
}

/// What is counted of the segments of a feed.
#[derive(Clone, Debug)]
pub struct SegmentMetrics {
    /// Those that came in for the first time ever.
    pub new: Counter,
    /// How many are known.
    pub known: Gauge,
}

impl SegmentMetrics {
    /// The series of a feed, at 0.
    #[must_use]
    pub fn new(feed: &str) -> Self {
        let feed = feed.to_owned();
        Self {
            new: zero(
                metrics::counter!("tidegate_feed_new_segments_total", "feed" => feed.clone()),
            ),
            known: low(metrics::gauge!("tidegate_feed_segments", "feed" => feed)),
        }
    }
}

/// The counter of log lines that were dropped.
pub fn log_events_dropped() -> Counter {
    zero(metrics::counter!("tidegate_log_events_dropped_total"))
}

/// The heartbeat of a loop, for the watchdog: a loop that hangs does not beat.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A pulse that has just beaten.
    #[must_use]
    pub fn new() -> Self {
        let pulse = Self::default();
        pulse.beat();
        pulse
    }

    /// The loop went round.
    pub fn beat(&self) {
        let now = u64::try_from(clock::monotonic().as_millis()).unwrap_or(u64::MAX);
        self.0.store(now, Ordering::Relaxed);
    }

    /// How long ago it last went round.
    #[must_use]
    pub fn age(&self) -> Duration {
        let last = Duration::from_millis(self.0.load(Ordering::Relaxed));
        clock::monotonic().saturating_sub(last)
    }
}
