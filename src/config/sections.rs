//! The other sections: node, admin, realms, vault, rabbitmq, journal, routes.
//!
//! Promises: what weakens a promise is a warning; what would break one is a mistake.
//! Knows nothing of: the rooms that the sections are for, but for their `Config`s.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};

use super::feed::address;
use super::{Admin, Feed, Node, Realm, TokenKind};
use crate::admin::auth::{Role, User};
use crate::admin::tokens::Resolves;
use crate::consent::Policy;
use crate::contract::check::is_name;
use crate::deliver::{BrokerConfig, FENCE_TIMEOUT};
use crate::document::{Document, Item, Table};
use crate::secret::Key;
use crate::store::JournalConfig;

const DAY: Duration = Duration::from_secs(86_400);
/// At how many bytes a route's file is rotated where `[routes] to_files` names it.
pub(super) const ROTATE_BYTES: u64 = 256 << 20;

pub(super) fn node(table: &Table<'_>) -> Option<Node> {
    let name = table.required_text("name");
    if let Some(name) = name.as_ref().filter(|name| !is_name(&name.value)) {
        table.mistake(&name.place, "`name` is small letters, digits and hyphens, at most 64");
    }
    let environment =
        table.required_choice("environment", &[("production", "production"), ("test", "test")]);
    let state_dir = table.file("state_dir");
    let jurisdiction = table.text("jurisdiction").map(|text| text.value);
    let intake_bytes_max = table.size("intake_bytes_max", 128 << 20, 1 << 20..=1 << 40);
    table.finish();
    Some(Node {
        name: name?.value,
        environment: environment?.to_owned(),
        state_dir: state_dir.map_or_else(|| PathBuf::from("/var/lib/tidegate"), |dir| dir.value),
        jurisdiction,
        intake_bytes_max,
    })
}

pub(super) fn admin(table: Option<&Table<'_>>, root: &Table<'_>) -> Option<Admin> {
    let Some(table) = table else {
        root.mistake(
            &root.place(),
            "`admin` is missing: where health and metrics are listened for",
        );
        return None;
    };
    let listen = address(table, "listen");
    let users = table.file("users");
    let dev = table.boolean("dev", false);
    let loopback = listen.is_none_or(|listen| listen.ip().is_loopback());
    if dev && !loopback {
        let text = "`dev` opens the API to everybody, so `listen` must be a loopback address";
        table.mistake(&table.place_of("dev"), text);
    }
    if dev && users.is_some() {
        table.mistake(&table.place_of("dev"), "`dev` and `users` exclude each other");
    }
    let users = users.map(|file| read_users(table, &file.value)).unwrap_or_default();
    let resolves = Resolves {
        of_one_max: table.integer("resolve_rate_max", 10, 1..=1_000),
        of_all_max: table.integer("resolve_rate_max_all", 30, 1..=10_000),
    };
    table.finish();
    Some(Admin { listen: listen?, users, dev, resolves })
}

fn read_users(table: &Table<'_>, path: &std::path::Path) -> Vec<User> {
    let problems = table.problems();
    let Some(document) = Document::open(path, problems) else { return Vec::new() };
    document.read(problems, |table| table.tables("user").iter().filter_map(read_user).collect())
}

fn read_user(table: &Table<'_>) -> Option<User> {
    let name = table.required_text("name");
    let roles = [("viewer", Role::Viewer), ("operator", Role::Operator)];
    let role = table.required_choice("role", &roles);
    let token = table.required_text("token");
    table.finish();
    let token = token?;
    let hash = token.value.strip_prefix("sha256:").and_then(crate::secret::unhex);
    let hash = hash.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if hash.is_none() {
        let text = "`token` is \"sha256:\" and the 64 digits of the SHA-256 of the token";
        table.mistake(&token.place, text);
    }
    Some(User { name: name?.value, role: role?, token_hash: hash? })
}

pub(super) fn consent(table: &Table<'_>) -> Policy {
    let file = table.file("file");
    if file.is_none() {
        table.mistake(&table.place(), "`file` is missing: where consent.toml is");
    }
    table.finish();
    file.map(|file| Policy::load(&file.value, table.problems())).unwrap_or_default()
}

/// `[vault]`: its key, where it is not made in state_dir.
pub(super) fn vault(table: &Table<'_>) -> Option<Result<Key, String>> {
    let key = late_key(table, "key", "the routes of realms with tokens in the vault do not start");
    table.finish();
    key
}

pub(super) fn realm(table: &Table<'_>) -> Option<Realm> {
    let name = table.required_text("name");
    if let Some(name) = name.as_ref().filter(|name| !is_name(&name.value)) {
        table.mistake(&name.place, "`name` is small letters, digits and hyphens, at most 64");
    }
    let tokens = table
        .required_choice("tokens", &[("keyed", TokenKind::Keyed), ("vault", TokenKind::Vault)]);
    let key = late_key(table, "key", "the routes of this realm do not start");
    table.finish();
    Some(Realm { name: name?.value, tokens: tokens?, key })
}

/// A key that only some routes need: what is wrong with it is for them to say, and no mistake, so
/// that the others run.
fn late_key(table: &Table<'_>, name: &str, but: &str) -> Option<Result<Key, String>> {
    let item = table.item(name)?;
    if stands_here(&item, name) {
        return None;
    }
    let key = item.origin()?.read_key().map_err(|error| error.to_string());
    if let Err(why) = &key {
        table.warn(&item.place(), format!("`{}`: {why}; {but}", item.name()));
    }
    Some(key)
}

fn stands_here(item: &Item<'_>, name: &str) -> bool {
    if item.is_text() {
        item.mistake(format!(
            "`{name}` names where the key is, such as {{ credential = \"NAME\" }}; it does not \
             stand here"
        ));
    }
    item.is_text()
}

/// A key from a credential or a file.
fn key(table: &Table<'_>, name: &str) -> Option<Key> {
    let item = table.item(name)?;
    if stands_here(&item, name) {
        return None;
    }
    match Key::from_secret(&item.secret()?) {
        Ok(key) => Some(key),
        Err(error) => {
            item.mistake(format!("`{name}`: {error}"));
            None
        }
    }
}

pub(super) fn rabbitmq(table: &Table<'_>) -> Option<BrokerConfig> {
    let url = table.required_text("url");
    let user = table.text("user");
    let password = table.item("password").and_then(|item| item.private_text());
    let confirm_timeout = table.duration(
        "confirm_timeout",
        Duration::from_secs(30),
        Duration::from_millis(100)..=Duration::from_secs(600),
    );
    let fence_timeout = table.duration(
        "fence_timeout",
        FENCE_TIMEOUT,
        Duration::from_millis(10)..=Duration::from_secs(60),
    );
    let window = table.integer("window", 64, 1..=1_024);
    let declare = table.boolean("declare", true);
    table.finish();
    let url = url?;
    let mut uri: AMQPUri = match url.value.parse() {
        Ok(uri) => uri,
        Err(_) => {
            // What is wrong is not quoted: a URL may hold a password.
            let text = "`url` is not an AMQP URL, such as \"amqp://127.0.0.1:5672/%2f\"";
            table.mistake(&url.place, text);
            return None;
        }
    };
    if uri.scheme == AMQPScheme::AMQPS {
        // Never in plain text instead.
        table.mistake(
            &url.place,
            "this version does not speak TLS to RabbitMQ yet; `url` is amqp://",
        );
    } else if !is_loopback(&uri.authority.host) {
        table.warn(&url.place, "events go to RabbitMQ in plain text, beyond this machine");
    }
    if let Some(user) = user {
        uri.authority.userinfo.username = user.value;
    }
    if let Some(password) = password {
        uri.authority.userinfo.password = password.value;
    }
    let window = usize::try_from(window).unwrap_or(64);
    Some(BrokerConfig { uri, confirm_timeout, fence_timeout, window, declare })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn journal(
    table: Option<&Table<'_>>,
    node: Option<&Node>,
    feeds: &[Feed],
) -> (JournalConfig, Option<Key>) {
    let environment = node.map(|node| node.environment.clone()).unwrap_or_default();
    let dedupe_retention =
        feeds.iter().map(|feed| feed.windows.dedupe_retention).max().unwrap_or(90 * DAY);
    let mut config = JournalConfig {
        retention: 30 * DAY,
        dedupe_retention,
        watermark: 90,
        encrypt: true,
        environment,
        policy: Arc::default(),
        once: Vec::new(),
    };
    let Some(table) = table else { return (config, None) };
    let hour = Duration::from_secs(3600);
    config.retention = table.duration("retention", config.retention, hour..=3650 * DAY);
    config.watermark = table.percent("watermark", config.watermark);
    config.encrypt = table.boolean("encrypt", true);
    if !config.encrypt {
        let text = "messages lie in the journal in clear; who has the disk has them";
        table.warn(&table.place_of("encrypt"), text);
    }
    let key = key(table, "key");
    table.finish();
    (config, key)
}

/// `[routes]`.
pub(super) struct Routes {
    /// Where the contracts are.
    pub dir: PathBuf,
    /// Where every route delivers to instead of what its contract says.
    pub to_files: Option<PathBuf>,
}

pub(super) fn routes(root: &Table<'_>, node: Option<&Node>) -> Routes {
    let usual = root.dir().join("routes");
    let Some(table) = root.table("routes") else { return Routes { dir: usual, to_files: None } };
    let dir = table.file("dir").map_or(usual, |dir| dir.value);
    let to_files = table.text("to_files");
    if let Some(to_files) = &to_files
        && node.is_some_and(|node| node.environment != "test")
    {
        let text = "`to_files` is for trying things out; it goes with environment = \"test\"";
        table.mistake(&to_files.place, text);
    }
    table.finish();
    Routes { dir, to_files: to_files.map(|path| PathBuf::from(path.value)) }
}
