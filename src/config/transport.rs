//! How a feed's messages come: from where, by which TLS, from whom, how fast.
//!
//! Promises: certificates and keys are looked at as at a start, so that `check` finds what a start
//! would; what is said of who may connect lets nobody in by a mistake in it.
//! Knows nothing of: sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::feed::{address, count};
use crate::admit::sender::Sender;
use crate::clock;
use crate::document::{Item, Placed, Table};
use crate::feed::mllp::allow::{Allow, network};
use crate::secret::Origin;
use crate::tls::roster::Roster;
use crate::tls::{Contents, Files, Made, Part, Wrong, client, server};

/// Most messages a second that `rate_max` may say: above what one daemon takes it limits nothing.
const RATE_MAX: u64 = 100_000;
/// Most networks of one feed: each connection is held against each.
const NETWORKS_MAX: usize = 1_024;
/// Most senders of one feed by their certificates: each handshake is held against each.
const CLIENTS_MAX: usize = 1_024;

/// What is said of messages in clear.
const CLEAR: &str = "beyond this machine, and there is no `tls`: messages come in clear, from whoever \
                     reaches it";

/// How a feed's messages come, as meant.
#[derive(Debug)]
pub struct Transport {
    /// From where.
    pub way: Way,
    /// Most messages a second; 0: no limit.
    pub rate_max: u64,
}

/// From where messages come.
#[derive(Debug)]
pub enum Way {
    /// From whoever connects.
    Listen(Listen),
    /// From whom we connect to.
    Connect(Connect),
}

/// A feed that is connected to.
#[derive(Debug)]
pub struct Listen {
    /// Where.
    pub address: SocketAddr,
    /// By whom; everybody where it is none.
    pub allow: Option<Allow>,
    /// Most connections.
    pub connections_max: usize,
    /// Its certificate, and whose it asks for.
    pub tls: Option<Tls<ServerConfig>>,
    /// The names of those whose certificates are let in; with none, each that is valid is.
    pub roster: Roster,
    /// What each of them may speak for.
    pub clients: Vec<Arc<Sender>>,
}

/// A feed that connects.
#[derive(Debug)]
pub struct Connect {
    /// To which host.
    pub host: String,
    /// To which port.
    pub port: u16,
    /// By whom the other side is verified, and under which name.
    pub tls: Option<(Tls<ClientConfig>, ServerName<'static>)>,
}

/// TLS of a feed.
#[derive(Debug)]
pub struct Tls<T> {
    /// Where it comes from.
    pub files: Files,
    /// What that held.
    pub contents: Contents,
    /// What was made of it.
    pub made: Made<T>,
}

impl Transport {
    /// Where it listens, if it does.
    #[must_use]
    pub const fn listens(&self) -> Option<SocketAddr> {
        match &self.way {
            Way::Listen(listen) => Some(listen.address),
            Way::Connect(_) => None,
        }
    }
}

/// Reads it. A mistake leaves a stand-in behind that lets nobody in; no configuration with a mistake
/// is used.
pub(super) fn read(table: &Table<'_>) -> Transport {
    let rate_max = table.integer("rate_max", 0, 0..=RATE_MAX);
    let way = match (table.has("listen"), table.has("connect")) {
        (true, true) => {
            let text = "`connect` and `listen` exclude each other: either it connects, or it is \
                        connected to";
            table.mistake(&table.place_of("connect"), text);
            None
        }
        (_, false) => listen(table).map(Way::Listen),
        (false, true) => connect(table).map(Way::Connect),
    };
    let way = way.unwrap_or_else(|| {
        // Asked for, so that they are not called unknown beside what is really wrong.
        for key in ["listen", "connect", "allow", "connections_max", "tls", "client"] {
            table.item(key);
        }
        Way::Listen(Listen {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            allow: Some(Allow::new(Vec::new())),
            connections_max: 1,
            tls: None,
            roster: Roster::default(),
            clients: Vec::new(),
        })
    });
    Transport { way, rate_max }
}

fn listen(table: &Table<'_>) -> Option<Listen> {
    let address = address(table, "listen");
    let allow = allow(table);
    let connections_max = count(table, "connections_max", 256, 1..=65_536);
    let (roster, clients) = clients(table);
    let tls = table.table("tls").map(|table| server_tls(&table, &roster));
    if tls.is_none() && address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        table.warn(&table.place_of("listen"), format!("`listen` is {CLEAR}"));
    }
    if !clients.is_empty() && !table.table("tls").is_some_and(|tls| tls.has("client_ca")) {
        let text = "`client` binds certificates, and `tls.client_ca` is missing: by whom they are \
                    verified";
        table.mistake(&table.place_of("client"), text);
    }
    // Never in clear where TLS was asked for.
    let tls = match tls {
        Some(None) => return None,
        Some(Some(tls)) => Some(tls),
        None => None,
    };
    Some(Listen { address: address?, allow, connections_max, tls, roster, clients })
}

fn connect(table: &Table<'_>) -> Option<Connect> {
    for (key, why) in [
        ("allow", "it is for feeds that are connected to"),
        ("connections_max", "a feed that connects has one connection"),
        (
            "client",
            "it is for feeds that are connected to; `tls.server_name` says whose certificate is wanted",
        ),
    ] {
        if table.item(key).is_some() {
            table.mistake(
                &table.place_of(key),
                format!("`{key}` and `connect` exclude each other: {why}"),
            );
        }
    }
    let text = table.required_text("connect")?;
    let tls = table.table("tls");
    let Some((host, port)) = host_and_port(&text.value) else {
        let example = "a host and a port, such as \"lab.example:2575\" or \"[fd00::1]:2575\"";
        table.mistake(&text.place, format!("`connect` is not {example}"));
        return None;
    };
    let tls = match tls {
        Some(tls) => Some(client_tls(&tls, &host)?),
        None => {
            let address = host.parse::<IpAddr>();
            if host != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
                table.warn(&text.place, format!("`connect` is {CLEAR}"));
            }
            None
        }
    };
    Some(Connect { host, port, tls })
}

/// `host:port`; an IPv6 address in brackets.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None if host.contains(':') => return None,
        None => host.to_owned(),
    };
    ServerName::try_from(host.as_str()).ok()?;
    Some((host, port))
}

pub(super) fn allow(table: &Table<'_>) -> Option<Allow> {
    table.item("allow")?;
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

/// `[[feed.client]]`: names of certificates, and what each may speak for.
fn clients(table: &Table<'_>) -> (Roster, Vec<Arc<Sender>>) {
    let mut names = Vec::new();
    let mut senders = Vec::new();
    let entries = table.tables("client");
    if entries.len() > CLIENTS_MAX {
        let text = format!("there are more than {CLIENTS_MAX} of `client`");
        table.mistake(&table.place_of("client"), text);
    }
    for entry in entries {
        let name = entry.required_text("name");
        if let Some(name) = name.as_ref().filter(|name| name.value.trim().is_empty()) {
            entry.mistake(
                &name.place,
                "`name` is empty; a certificate's common name, host name or URI is wanted",
            );
        }
        let words = |key: &str| {
            let texts: Vec<Placed<String>> = entry.has(key).then(|| entry.texts(key))?;
            if texts.is_empty() || texts.iter().any(|text| text.value.is_empty()) {
                let text =
                    format!("`{key}` lists names as messages have them; without it all are let in");
                entry.mistake(&entry.place_of(key), text);
            }
            Some(texts.into_iter().map(|text| text.value).collect())
        };
        let sender =
            Sender { facilities: words("facilities"), applications: words("applications") };
        entry.finish();
        if let Some(name) = name {
            names.push(name.value);
            senders.push(Arc::new(sender));
        }
    }
    (Roster::new(names), senders)
}

pub(super) fn server_tls(table: &Table<'_>, roster: &Roster) -> Option<Tls<ServerConfig>> {
    let [cert, key] =
        ["cert", "key"].map(|key| table.required(key).and_then(|item| origin(table, &item)));
    let [ca, crl] = ["client_ca", "client_crl"].map(|key| optional(table, key));
    table.finish();
    if table.has("client_crl") && !table.has("client_ca") {
        let text = "`client_crl` lists what `client_ca` has revoked, which is missing";
        table.mistake(&table.place_of("client_crl"), text);
        return None;
    }
    let files = Files { cert: Some(cert?), key: Some(key?), ca: ca?, crl: crl? };
    let names = ["cert", "key", "client_ca", "client_crl"];
    look(table, files, names, |contents| server::make(contents, roster, clock::now()))
}

fn client_tls(table: &Table<'_>, host: &str) -> Option<(Tls<ClientConfig>, ServerName<'static>)> {
    let name = table.text("server_name");
    if !table.has("ca") {
        // Of a device in the house nobody in the world's list of authorities vouches for.
        table.required("ca");
        return None;
    }
    let tls = outbound_tls(table);
    let wanted = name.as_ref().map_or(host, |name| &name.value);
    let Ok(wanted) = ServerName::try_from(wanted.to_owned()) else {
        let text = "`server_name` is no host name and no address, such as \"lab.example\"";
        table.mistake(&table.place_of("server_name"), text);
        return None;
    };
    Some((tls?, wanted))
}

/// TLS to a server that is connected to: `ca`, without it the operating system's; and `cert` and `key`
/// where it wants a certificate.
pub(super) fn outbound_tls(table: &Table<'_>) -> Option<Tls<ClientConfig>> {
    let [ca, cert, key] = ["ca", "cert", "key"].map(|key| optional(table, key));
    table.finish();
    let files = Files { ca: ca?, cert: cert?, key: key?, crl: None };
    let names = ["cert", "key", "ca", "crl"];
    look(table, files, names, |contents| client::make(contents, clock::now()))
}

/// TLS to a server that is connected to, by the operating system's authorities alone; what is wrong
/// with those stands at `key`.
pub(super) fn usual_tls(table: &Table<'_>, key: &str) -> Option<Tls<ClientConfig>> {
    look(table, Files::default(), [key; 4], |contents| client::make(contents, clock::now()))
}

/// Reads the files and makes of them what a handshake needs; what is wrong stands at the key that
/// names the file.
fn look<T>(
    table: &Table<'_>,
    files: Files,
    names: [&str; 4],
    make: impl FnOnce(&Contents) -> Result<Made<T>, Wrong>,
) -> Option<Tls<T>> {
    let [cert, key, ca, crl] = names;
    let at = |part: Part| {
        table.place_of(match part {
            Part::Cert => cert,
            Part::Key => key,
            Part::Ca => ca,
            Part::Crl => crl,
        })
    };
    let looked = files.read().and_then(|contents| make(&contents).map(|made| (contents, made)));
    match looked {
        Ok((contents, made)) => {
            for (part, text) in &made.warnings {
                table.warn(&at(*part), files.say(*part, text));
            }
            Some(Tls { files, contents, made })
        }
        Err(wrong) => {
            table.mistake(&at(wrong.part), files.say(wrong.part, &wrong.text));
            None
        }
    }
}

/// What may be left out: nothing where it is there and wrong.
#[expect(clippy::option_option, reason = "wrong is not the same as absent")]
fn optional(table: &Table<'_>, key: &str) -> Option<Option<Origin>> {
    match table.item(key) {
        Some(item) => origin(table, &item).map(Some),
        None => Some(None),
    }
}

/// Where a file is: by its path, or as `{ credential = "NAME" }`, `{ file = "PATH" }`, `{ env = "NAME" }`.
pub(super) fn origin(table: &Table<'_>, item: &Item<'_>) -> Option<Origin> {
    if !item.is_text() {
        return item.origin();
    }
    let text = item.text()?;
    if text.value.contains("-----BEGIN") || text.value.is_empty() {
        item.mistake(format!("`{}` names a file in PEM form; it does not stand here", item.name()));
        return None;
    }
    Some(Origin::File(table.dir().join(text.value)))
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_host_and_its_port_are_read() {
        let read = |text: &str| host_and_port(text).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read("lab.example:2575").as_deref(), Some("lab.example 2575"));
        assert_eq!(read("10.20.0.5:1").as_deref(), Some("10.20.0.5 1"));
        assert_eq!(read("[fd00::1]:2575").as_deref(), Some("fd00::1 2575"));
        for wrong in [
            "",
            ":",
            "lab.example",
            "lab.example:",
            "lab.example:0",
            "lab.example:65536",
            "fd00::1:2575",
            "[lab.example]:2575",
            ":2575",
            "a b:2575",
            "tcp://lab.example:2575",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
