//! The daemon from outside: its sockets, its files, its commands, its signals. No broker is
//! needed; every route delivers to a file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails there and then"
)]

mod support;

#[path = "daemon/framing.rs"]
mod framing;

#[path = "daemon/connections.rs"]
mod connections;

#[path = "daemon/transport.rs"]
mod transport;

#[path = "daemon/feed_page.rs"]
mod feed_page;

#[path = "daemon/tls.rs"]
mod tls;

#[path = "daemon/certificates.rs"]
mod certificates;

#[path = "daemon/dialing.rs"]
mod dialing;

#[path = "daemon/fhir_subscriptions.rs"]
mod fhir_subscriptions;

#[path = "daemon/acknowledge.rs"]
mod acknowledge;

#[path = "daemon/modes.rs"]
mod modes;

#[path = "daemon/batched.rs"]
mod batched;

#[path = "daemon/fhir_events.rs"]
mod fhir_events;

#[path = "daemon/fhir_consents.rs"]
mod fhir_consents;
#[path = "daemon/fhir_gone.rs"]
mod fhir_gone;

#[path = "daemon/fhir_poll.rs"]
mod fhir_poll;

#[path = "daemon/fhir_auth.rs"]
mod fhir_auth;

#[path = "daemon/files.rs"]
mod files;

#[path = "daemon/encodings.rs"]
mod encodings;

#[path = "daemon/refusals.rs"]
mod refusals;

#[path = "daemon/consent_in.rs"]
mod consent_in;

#[path = "daemon/consent_out.rs"]
mod consent_out;

#[path = "daemon/notices.rs"]
mod notices;

#[path = "daemon/audit_replay.rs"]
mod audit_replay;

#[path = "daemon/subjects.rs"]
mod subjects;

#[path = "daemon/restrictions.rs"]
mod restrictions;

#[path = "daemon/labels.rs"]
mod labels;

#[path = "daemon/consent_commands.rs"]
mod consent_commands;

#[path = "daemon/expiry.rs"]
mod expiry;

#[path = "daemon/acts.rs"]
mod acts;

#[path = "daemon/sites.rs"]
mod sites;

#[path = "daemon/explain.rs"]
mod explain;

#[path = "daemon/against.rs"]
mod against;

#[path = "daemon/shadow.rs"]
mod shadow;

#[path = "daemon/sameness.rs"]
mod sameness;

#[path = "daemon/shipped.rs"]
mod shipped;

#[path = "daemon/lookup.rs"]
mod lookup;

#[path = "daemon/refuse_start.rs"]
mod refuse_start;

#[path = "daemon/service.rs"]
mod service;

#[path = "daemon/access.rs"]
mod access;

#[path = "daemon/commands.rs"]
mod commands;

#[path = "daemon/audit.rs"]
mod audit;

#[path = "daemon/batches.rs"]
mod batches;

#[path = "daemon/rate.rs"]
mod rate;
#[path = "daemon/contracts.rs"]
mod contracts;

#[path = "daemon/tokens.rs"]
mod tokens;

#[path = "daemon/resolve.rs"]
mod resolve;

#[path = "daemon/keys.rs"]
mod keys;

#[path = "daemon/realms.rs"]
mod realms;

#[path = "daemon/once.rs"]
mod once;

#[path = "daemon/leak.rs"]
mod leak;

#[path = "daemon/clock.rs"]
mod clock;

use support::daemon::{Daemon, Setup};
use support::sender::{Ack, Sender};
use support::{EVERY_EVENT, adt};

/// One patient of the tests.
const PATIENT: &str = "ZZ100001";

/// A setup with one route, `out`, of everything to a file.
fn setup() -> Setup {
    Setup::new().file_route("out", EVERY_EVENT)
}

/// A made-up admission.
fn admission(control_id: &str) -> Vec<u8> {
    adt("A01", control_id, PATIENT)
}

/// The control IDs of what the route `out` has delivered, in order.
fn delivered(setup: &Setup) -> Vec<String> {
    let id = |event: &serde_json::Value| {
        event["data"]["message"]["controlId"].as_str().unwrap().to_owned()
    };
    setup.lines("out").iter().map(id).collect()
}

/// The code of an answer and the control ID that it echoes.
fn heard(ack: &Ack) -> (&str, &str) {
    (&ack.code, &ack.control_id)
}

/// Sends a message that is taken, on a connection of its own.
fn send(daemon: &Daemon, message: &[u8]) {
    assert_eq!(code_of(daemon, message), "AA");
}

/// Sends a message on a connection of its own, and gives the code of the answer.
fn code_of(daemon: &Daemon, message: &[u8]) -> String {
    Sender::connect(daemon.feed()).exchange(message).unwrap().code
}

/// How many broken frames of a kind were counted.
fn frame_errors(daemon: &Daemon, reason: &str) -> f64 {
    daemon.metric(&format!("tidegate_frame_errors_total{{feed=\"adt\",reason=\"{reason}\"}}"))
}

/// How many connections were refused or cut for a reason.
fn rejected(daemon: &Daemon, reason: &str) -> f64 {
    daemon.metric(&format!(
        "tidegate_feed_connections_rejected_total{{feed=\"adt\",reason=\"{reason}\"}}"
    ))
}

/// How many messages were new, duplicate, conflict or wrapped.
fn dedupe(daemon: &Daemon, result: &str) -> f64 {
    daemon.metric(&format!("tidegate_dedupe_checks_total{{feed=\"adt\",result=\"{result}\"}}"))
}
