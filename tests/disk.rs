//! The store and the file sink against everything that a disk and a machine may do to them:
//! kill -9, power cuts, failing and slow fsyncs, full and read-only disks, flipped bits.
//!
//! Each test has disks, daemons and files of its own; it must run as root.

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

#[path = "disk/kill.rs"]
mod kill;
#[path = "disk/fhir.rs"]
mod fhir;
#[path = "disk/power.rs"]
mod power;
#[path = "disk/fsync.rs"]
mod fsync;
#[path = "disk/full.rs"]
mod full;
#[path = "disk/read_only.rs"]
mod read_only;
#[path = "disk/lock.rs"]
mod lock;
#[path = "disk/rot.rs"]
mod rot;
#[path = "disk/retention.rs"]
mod retention;
#[path = "disk/model.rs"]
mod model;
#[path = "disk/violations.rs"]
mod violations;
#[path = "disk/audit.rs"]
mod audit;
#[path = "disk/audit_crash.rs"]
mod audit_crash;
#[path = "disk/vault.rs"]
mod vault;
#[path = "disk/bounds.rs"]
mod bounds;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use support::daemon::{Daemon, Setup};
use support::eventually;
use support::ledger::{Line, control_ids, events};

const EVENTS: &[&str] = &["patient.admitted", "patient.updated"];

/// A setup with one route to a file.
fn setup_to(path: &Path, lines: &str) -> Setup {
    route_to(Setup::new(), "file", path, lines)
}

/// Adds a route to a file.
fn route_to(setup: Setup, name: &str, path: &Path, lines: &str) -> Setup {
    setup.route(name, EVENTS, &format!("kind = \"file\"\npath = {path:?}\n{lines}"))
}

/// Waits until everything that was acknowledged stands in the file.
fn drained(path: &Path, lines: &[Line]) {
    eventually("everything acknowledged is in the file", || {
        let found = control_ids(&events(path));
        lines
            .iter()
            .all(|line| (0..line.acked).all(|number| found.contains(&line.control_id(number))))
    });
}

/// The lines of a log that are errors, or were said without the logger.
fn complaints(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("\"level\":\"ERROR\"") || !line.starts_with('{'))
        .collect()
}

/// What `/readyz` says; nothing where the daemon does not listen any more.
fn readiness(daemon: &Daemon) -> Option<u16> {
    try_get(daemon.admin(), "/readyz")?.split(' ').nth(1)?.parse().ok()
}

/// GET from a daemon that may be ending: status line, headers and body.
fn try_get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
