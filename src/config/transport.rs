//! How a feed's messages come: the address, who may connect, how fast.
//!
//! Promises: a feed that says who may connect lets nobody in by a mistake in it.
//! Knows nothing of: sockets.

use std::net::SocketAddr;

use super::feed::address;
use crate::document::Table;
use crate::feed::mllp::allow::{Allow, network};

/// Most messages a second that `rate_max` may say: above what one daemon takes it limits nothing.
const RATE_MAX: u64 = 100_000;
/// Most networks of one feed: each connection is held against each.
const NETWORKS_MAX: usize = 1_024;

/// How a feed's messages come, as meant.
#[derive(Debug)]
pub struct Transport {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may connect; everybody where it is none.
    pub allow: Option<Allow>,
    /// Most connections.
    pub connections_max: usize,
    /// Most messages a second; 0: no limit.
    pub rate_max: u64,
}

/// Reads it. What is wrong leaves a value behind that lets nobody in.
pub(super) fn read(table: &Table<'_>) -> Transport {
    let listen = address(table, "listen");
    Transport {
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        allow: allow(table),
        connections_max: super::feed::count(table, "connections_max", 256, 1..=65_536),
        rate_max: table.integer("rate_max", 0, 0..=RATE_MAX),
    }
}

fn allow(table: &Table<'_>) -> Option<Allow> {
    if !table.has("allow") {
        return None;
    }
    let texts = table.texts("allow");
    if texts.is_empty() || texts.len() > NETWORKS_MAX {
        let text =
            format!("`allow` lists networks, 1 to {NETWORKS_MAX}; without it all may connect");
        table.mistake(&table.place_of("allow"), text);
    }
    let mut networks = Vec::new();
    for text in texts {
        match network(&text.value) {
            Ok(network) => networks.push(network),
            Err(wrong) => table.mistake(&text.place, format!("`{}` {wrong}", text.value)),
        }
    }
    Some(Allow::new(networks))
}
