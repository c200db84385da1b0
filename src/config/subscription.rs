//! `[feed.subscription]` of a feed of kind `fhir`: what its server tells by itself, and who may say so.
//!
//! Promises: an endpoint that anybody could speak to is a mistake; so is a subscription that the server
//! could not reach, or that nothing of could be taken.
//! Knows nothing of: sockets and requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use reqwest::Url;
use rustls::ServerConfig;

use super::feed::{address, bytes, count};
use super::transport::{Tls, allow, server_tls};
use crate::document::Table;
use crate::feed::fhir::query::Query;
use crate::feed::fhir::subscription::{Content, SUBSCRIPTIONS_MAX, Style, Wanted, key};
use crate::feed::mllp::allow::Allow;
use crate::parse::fhir::Version;
use crate::parse::fhir::node::is_id;
use crate::secret::Secret;
use crate::tls::roster::Roster;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Shortest secret, in characters: 16 of base64 are 96 bits.
const SECRET_MIN: usize = 16;
/// Longest secret, in characters: what fits in a header everywhere.
const SECRET_MAX: usize = 512;
/// Most filters of one topic.
const FILTERS_MAX: usize = 16;

/// What a feed has of subscriptions, as meant.
#[derive(Debug)]
pub struct Subscription {
    /// Where notifications come to.
    pub listen: SocketAddr,
    /// Their path, without a slash at its end.
    pub path: String,
    /// By whom; everybody where it is none.
    pub allow: Option<Allow>,
    /// Most connections.
    pub connections_max: usize,
    /// Our certificate, and whose it asks for.
    pub tls: Option<Tls<ServerConfig>>,
    /// The names of those whose certificates are let in; with none, each that is valid is.
    pub roster: Roster,
    /// The header that proves a notification, and the whole of its value.
    pub proof: Option<(HeaderName, Arc<Secret>)>,
    /// Largest notification, in bytes.
    pub body_bytes_max: usize,
    /// From its first byte to our answer.
    pub answer_timeout: Duration,
    /// In which form the server has subscriptions.
    pub style: Style,
    /// What is listened for.
    pub wanted: Vec<Wanted>,
    /// Where we make them: our address as the server reaches it. None where somebody else does.
    pub endpoint: Option<String>,
    /// How much a notification brings.
    pub content: Content,
    /// How often the server shows that it is there; never where it is none.
    pub heartbeat: Option<Duration>,
    /// How many heartbeats may be missing.
    pub heartbeats_missed_max: u32,
    /// For how long one is made.
    pub lifetime: Option<Duration>,
}

/// Reads it. A mistake leaves nothing behind; no configuration with a mistake is used.
pub(super) fn read(
    table: &Table<'_>,
    version: Option<Version>,
    queries: &[Query],
) -> Option<Subscription> {
    let styles =
        [("rest-hook", Style::RestHook), ("backport", Style::Backport), ("topic", Style::Topic)];
    let style = table.required_choice("form", &styles);
    if let (Some(style), Some(version)) = (style, version)
        && (style == Style::Topic) != (version == Version::R5)
    {
        let text = "`form` is topic in R5, and rest-hook or backport in R4";
        table.mistake(&table.place_of("form"), text);
    }
    let listen = address(table, "listen");
    let path = path(table);
    let allow = allow(table);
    let connections_max = count(table, "connections_max", 64, 1..=4_096);
    let names = if table.has("clients") { table.texts("clients") } else { Vec::new() };
    let roster = Roster::new(names.into_iter().map(|name| name.value).collect());
    let has_clients = roster != Roster::default();
    let tls = table.table("tls");
    let is_mutual = tls.as_ref().is_some_and(|tls| tls.has("client_ca"));
    let tls = tls.map(|table| server_tls(&table, &roster));
    let proof = proof(table);
    if !table.has("secret") && !is_mutual {
        let text = "nothing says who may notify: `secret`, or `tls.client_ca`, or both";
        table.mistake(&table.place(), text);
    }
    if has_clients && !is_mutual {
        let text = "`clients` names certificates, and `tls.client_ca` is missing: by whom they are \
                    verified";
        table.mistake(&table.place_of("clients"), text);
    }
    if tls.is_none() && listen.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        let text = "`listen` is beyond this machine, and there is no `tls`: patients and the secret come \
                    in clear";
        table.warn(&table.place_of("listen"), text);
    }
    let body_bytes_max = bytes(table, "body_bytes_max", 16 << 20, 64 << 10..=64 << 20);
    let answer_timeout = table.duration("answer_timeout", 20 * SECOND, SECOND..=10 * MINUTE);
    let manage = table.boolean("manage", true);
    let endpoint = endpoint(table, manage, path.as_deref());
    let wanted = match style {
        Some(style) => wanted(table, style, manage, queries),
        None => skipped(table),
    };
    let contents =
        [("empty", Content::Empty), ("id-only", Content::IdOnly), ("full-resource", Content::Full)];
    let content = table.choice("content", &contents);
    if style == Some(Style::RestHook) && content == Some(Content::IdOnly) {
        let text = "a rest-hook of R4 brings nothing (empty) or the resource (full-resource)";
        table.mistake(&table.place_of("content"), text);
    }
    let usual = if style == Some(Style::RestHook) { Content::Empty } else { Content::IdOnly };
    let (usual_heartbeat, beats) = match style {
        Some(Style::RestHook) | None => (Duration::ZERO, false),
        Some(Style::Backport | Style::Topic) if manage => (MINUTE, true),
        Some(Style::Backport | Style::Topic) => (Duration::ZERO, true),
    };
    let heartbeat = table.duration("heartbeat", usual_heartbeat, Duration::ZERO..=DAY);
    if table.has("heartbeat") && style.is_some() && !beats {
        let text = "a rest-hook of R4 has no heartbeats";
        table.mistake(&table.place_of("heartbeat"), text);
    }
    let missed = table.integer("heartbeats_missed_max", 3, 1..=100);
    let lifetime = table.duration("lifetime", Duration::ZERO, Duration::ZERO..=366 * DAY);
    if lifetime > Duration::ZERO && lifetime < 10 * SECOND {
        table.mistake(&table.place_of("lifetime"), "`lifetime` is 0s, for ever, or at least 10s");
    }
    table.finish();
    let some = |duration: Duration| (duration > Duration::ZERO).then_some(duration);
    // Never in clear where TLS was asked for.
    let tls = match tls {
        Some(None) => return None,
        Some(Some(tls)) => Some(tls),
        None => None,
    };
    Some(Subscription {
        listen: listen?,
        path: path?,
        allow,
        connections_max,
        tls,
        roster,
        proof,
        body_bytes_max,
        answer_timeout,
        style: style?,
        wanted,
        endpoint,
        content: content.unwrap_or(usual),
        heartbeat: some(heartbeat),
        heartbeats_missed_max: u32::try_from(missed).unwrap_or(u32::MAX),
        lifetime: some(lifetime),
    })
}

fn path(table: &Table<'_>) -> Option<String> {
    let Some(text) = table.text("path") else { return Some("/notify".to_owned()) };
    let path = text.value.trim_end_matches('/');
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !part.is_empty() && part.bytes().all(is_plain) && !part.starts_with('.')
    };
    let is_path = path.len() <= 256
        && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part));
    if !is_path {
        let text_of =
            "`path` is letters, digits, `-`, `.`, `_` and `~` between slashes, such as \"/notify\"";
        table.mistake(&text.place, text_of);
        return None;
    }
    Some(path.to_owned())
}

/// The header and its whole value: `Authorization: Bearer SECRET`, or the secret alone in another.
fn proof(table: &Table<'_>) -> Option<(HeaderName, Arc<Secret>)> {
    let name = table.text("secret_header");
    let header = match &name {
        None => Some(HeaderName::from_static("authorization")),
        Some(name) => {
            let read = HeaderName::from_bytes(name.value.as_bytes()).ok();
            if read.is_none() {
                let text = "`secret_header` is the name of a header, such as \"X-Notify-Key\"";
                table.mistake(&name.place, text);
            }
            read
        }
    };
    let item = table.item("secret")?;
    let secret = item.secret()?;
    let bytes = secret.expose().trim_ascii_end();
    let is_plain = bytes.iter().all(u8::is_ascii_graphic);
    if !(SECRET_MIN..=SECRET_MAX).contains(&bytes.len()) || !is_plain {
        let text = format!("`secret` is {SECRET_MIN} to {SECRET_MAX} visible ASCII characters");
        item.mistake(text);
        return None;
    }
    let header = header?;
    let scheme: &[u8] = if header == "authorization" { b"Bearer " } else { b"" };
    let value = Secret::new([scheme, bytes].concat());
    Some((header, Arc::new(value)))
}

fn endpoint(table: &Table<'_>, manage: bool, path: Option<&str>) -> Option<String> {
    if !manage {
        if table.item("endpoint").is_some() {
            let text =
                "`endpoint` is what the server is told, and `manage = false` tells it nothing";
            table.mistake(&table.place_of("endpoint"), text);
        }
        return None;
    }
    let text = table.required_text("endpoint")?;
    let wrong = |why: &str| table.mistake(&text.place, format!("`endpoint` {why}"));
    let Ok(url) = Url::parse(&text.value) else {
        wrong("is no URL, such as \"https://gate.example:8443/notify\"");
        return None;
    };
    if !matches!(url.scheme(), "https" | "http")
        || url.query().is_some()
        || url.fragment().is_some()
    {
        wrong("is https or http, and ends before `?` and `#`");
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        wrong("holds a user or a password; `secret` is for that");
        return None;
    }
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "http" && !is_local {
        let text_of =
            "`endpoint` is http, beyond this machine: patients and the secret come in clear";
        table.warn(&text.place, text_of);
    }
    let endpoint = text.value.trim_end_matches('/').to_owned();
    if path.is_some_and(|path| !url.path().trim_end_matches('/').ends_with(path)) {
        let text_of =
            "`endpoint` does not end with `path`; right where a proxy in front changes it";
        table.warn(&text.place, text_of);
    }
    Some(endpoint)
}

/// What is listened for.
fn wanted(table: &Table<'_>, style: Style, manage: bool, queries: &[Query]) -> Vec<Wanted> {
    let ids = ids(table, manage);
    let topics = table.tables("topic");
    if style == Style::RestHook {
        for topic in topics {
            table
                .mistake(&topic.place(), "a rest-hook of R4 has no topics; it follows `resources`");
        }
        if !manage {
            let nobody = Wanted {
                about: "rest-hook".into(),
                filters: Vec::new(),
                key: String::new(),
                ids,
                query: None,
            };
            return vec![nobody];
        }
        let of = |query: &Query| Wanted {
            about: Arc::clone(query.text()),
            filters: Vec::new(),
            key: key(style, query.text(), &[]),
            ids: Vec::new(),
            query: Some(Arc::clone(query.text())),
        };
        return queries.iter().map(of).collect();
    }
    if !manage {
        for topic in topics {
            let text = "topics are said to a server, and `manage = false` tells it nothing";
            table.mistake(&topic.place(), text);
        }
        if ids.is_empty() {
            let text = "`ids` lists the subscriptions that somebody else made at the server";
            table.mistake(&table.place(), text);
        }
        let of = |id: String| Wanted {
            about: format!("Subscription/{id}").into(),
            filters: Vec::new(),
            key: String::new(),
            ids: vec![id],
            query: None,
        };
        return ids.into_iter().map(of).collect();
    }
    if topics.is_empty() || topics.len() > SUBSCRIPTIONS_MAX {
        let text =
            format!("`[[feed.subscription.topic]]` names what is wanted, 1 to {SUBSCRIPTIONS_MAX}");
        table.mistake(&table.place(), text);
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for table in topics {
        let Some(one) = topic(&table, style, queries) else { continue };
        if wanted.iter().any(|other| other.key == one.key) {
            table.mistake(&table.place(), "this topic is there twice, with the same filters");
        } else {
            wanted.push(one);
        }
    }
    wanted
}

fn topic(table: &Table<'_>, style: Style, queries: &[Query]) -> Option<Wanted> {
    let url = table.required_text("url");
    let texts = if table.has("filters") { table.texts("filters") } else { Vec::new() };
    let resource = table.text("resource");
    table.finish();
    let url = url?;
    if Url::parse(&url.value).is_err() || url.value.len() > 1_024 {
        let text = "`url` is the canonical URL of a SubscriptionTopic";
        table.mistake(&url.place, text);
        return None;
    }
    if texts.len() > FILTERS_MAX {
        let text = format!("`filters` has more than {FILTERS_MAX}");
        table.mistake(&table.place_of("filters"), text);
    }
    let mut filters = Vec::new();
    for text in texts {
        let is_filter = text.value.len() <= 1_024
            && text.value.split_once('?').is_some_and(|(kind, rest)| {
                kind.starts_with(|first: char| first.is_ascii_uppercase())
                    && kind.bytes().all(|byte| byte.is_ascii_alphabetic())
                    && rest.split('&').all(|pair| {
                        pair.split_once('=')
                            .is_some_and(|(name, value)| !name.is_empty() && !value.is_empty())
                    })
            });
        if is_filter {
            filters.push(text.value);
        } else {
            let text_of = "a filter is such as \"Encounter?class=IMP\"";
            table.mistake(&text.place, text_of);
        }
    }
    let query = match resource {
        None => None,
        Some(text) => match queries.iter().find(|query| **query.text() == *text.value) {
            Some(query) => Some(Arc::clone(query.text())),
            None => {
                let text_of =
                    "`resource` is one of the feed's `resources`, which catches up for this topic";
                table.mistake(&text.place, text_of);
                None
            }
        },
    };
    let key = key(style, &url.value, &filters);
    Some(Wanted { about: url.value.into(), filters, key, ids: Vec::new(), query })
}

fn ids(table: &Table<'_>, manage: bool) -> Vec<String> {
    if !table.has("ids") {
        return Vec::new();
    }
    let texts = table.texts("ids");
    if manage {
        let text = "`ids` are of subscriptions that somebody else made; say `manage = false`";
        table.mistake(&table.place_of("ids"), text);
    }
    if texts.len() > SUBSCRIPTIONS_MAX {
        let text = format!("`ids` has more than {SUBSCRIPTIONS_MAX}");
        table.mistake(&table.place_of("ids"), text);
    }
    let mut ids = Vec::new();
    for text in texts {
        if !is_id(&text.value) || ids.contains(&text.value) {
            table.mistake(&text.place, "an ID is letters, digits, `-` and `.`, each there once");
        } else {
            ids.push(text.value);
        }
    }
    ids
}

/// Asked for, so that they are not called unknown beside what is really wrong.
fn skipped(table: &Table<'_>) -> Vec<Wanted> {
    for key in ["ids", "topic"] {
        table.item(key);
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::{Document, Problems};

    fn read_text(text: &str, version: Version) -> (Option<Subscription>, Vec<String>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "ZZ0123456789abcdef\n").unwrap();
        let short = dir.path().join("short");
        std::fs::write(&short, "ZZshort").unwrap();
        for path in [&secret, &short] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let text = text
            .replace("SECRET", &format!("{{ file = {secret:?} }}"))
            .replace("SHORT", &format!("{{ file = {short:?} }}"));
        let problems = Problems::default();
        let document = Document::from_text("x.toml", Path::new("."), &text);
        let queries = ["Patient", "Encounter?class=IMP"].map(|it| Query::read(it).unwrap());
        let read = document.read(&problems, |table| {
            let inner = table.table("subscription").unwrap();
            let read = read(&inner, Some(version), &queries);
            table.finish();
            read
        });
        let texts =
            |all: Vec<crate::document::Problem>| all.iter().map(ToString::to_string).collect();
        (read, texts(problems.mistakes()), texts(problems.warnings()))
    }

    #[test]
    fn a_rest_hook_follows_the_queries_and_a_topic_its_url() {
        let (read, mistakes, warnings) = read_text(
            "[subscription]\nform = \"rest-hook\"\nlisten = \"127.0.0.1:0\"\nsecret = SECRET\n\
             endpoint = \"https://gate.example/notify/\"\n",
            Version::R4,
        );
        assert_eq!((mistakes, warnings), (Vec::new(), Vec::new()));
        let read = read.unwrap();
        let about: Vec<&str> = read.wanted.iter().map(|it| &*it.about).collect();
        assert_eq!(about, ["Patient", "Encounter?class=IMP"]);
        assert_eq!(read.wanted[1].query.as_deref(), Some("Encounter?class=IMP"));
        assert_eq!((read.content, read.heartbeat), (Content::Empty, None));
        assert_eq!(read.endpoint.as_deref(), Some("https://gate.example/notify"));
        let (header, value) = read.proof.unwrap();
        assert_eq!(
            (header.as_str(), value.expose()),
            ("authorization", &b"Bearer ZZ0123456789abcdef"[..])
        );
        let (read, mistakes, _) = read_text(
            "[subscription]\nform = \"topic\"\nlisten = \"127.0.0.1:0\"\nsecret = SECRET\n\
             secret_header = \"X-Key\"\nendpoint = \"https://gate.example/notify\"\n\
             [[subscription.topic]]\nurl = \"http://zz.example/t\"\nfilters = [\"Encounter?class=IMP\"]\n\
             resource = \"Encounter?class=IMP\"\n",
            Version::R5,
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let read = read.unwrap();
        assert_eq!((read.content, read.heartbeat), (Content::IdOnly, Some(MINUTE)));
        assert_eq!(read.proof.unwrap().1.expose(), b"ZZ0123456789abcdef");
        assert_eq!(read.wanted[0].filters, ["Encounter?class=IMP"]);
    }

    #[test]
    fn somebody_elses_are_known_by_their_ids() {
        let (read, mistakes, _) = read_text(
            "[subscription]\nform = \"backport\"\nlisten = \"127.0.0.1:0\"\nsecret = SECRET\nmanage = false\n\
             ids = [\"a1\", \"a2\"]\nheartbeat = \"30s\"\n",
            Version::R4,
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let read = read.unwrap();
        assert_eq!((read.wanted.len(), read.endpoint), (2, None));
        assert_eq!(read.wanted[1].ids, ["a2"]);
    }

    #[test]
    fn each_mistake_is_said_at_its_place() {
        for (version, lines, says) in [
            (Version::R4, "form = \"rest-hook\"", "3:1: nothing says who may notify"),
            (Version::R4, "form = \"topic\"\nsecret = SECRET", "`form` is topic in R5"),
            (Version::R5, "form = \"backport\"\nsecret = SECRET", "`form` is topic in R5"),
            (Version::R4, "form = \"rest-hook\"\nsecret = SHORT", "`secret` is 16 to 512"),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\nsecret_header = \"a b\"",
                "name of a header",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\npath = \"notify\"",
                "`path` is letters",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\npath = \"/a/../b\"",
                "`path` is letters",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\ncontent = \"id-only\"",
                "brings nothing (empty)",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\nheartbeat = \"5s\"",
                "has no heartbeats",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\nids = [\"a\"]",
                "say `manage = false`",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\nclients = [\"ehr\"]",
                "`tls.client_ca` is missing",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\nlifetime = \"1s\"",
                "at least 10s",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\nlife = \"1s\"",
                "`subscription.life` is not known",
            ),
            (
                Version::R4,
                "form = \"rest-hook\"\nsecret = SECRET\nbody_bytes_max = \"1GiB\"",
                "out of bounds",
            ),
            (Version::R4, "form = \"backport\"\nsecret = SECRET", "names what is wanted"),
            (
                Version::R4,
                "form = \"backport\"\nsecret = SECRET\n[[subscription.topic]]\nurl = \"zz\"",
                "canonical URL",
            ),
            (
                Version::R4,
                "form = \"backport\"\nsecret = SECRET\n[[subscription.topic]]\nurl = \"http://zz/t\"\nfilters = [\"class=IMP\"]",
                "a filter is such as",
            ),
            (
                Version::R4,
                "form = \"backport\"\nsecret = SECRET\n[[subscription.topic]]\nurl = \"http://zz/t\"\nresource = \"Encounter\"",
                "one of the feed's `resources`",
            ),
        ] {
            let text = format!(
                "\n\n[subscription]\nlisten = \"127.0.0.1:0\"\nendpoint = \"https://gate.example/notify\"\n{lines}\n"
            );
            let (_, mistakes, _) = read_text(&text, version);
            assert!(mistakes.iter().any(|it| it.contains(says)), "{lines}: {mistakes:?}");
            assert!(!format!("{mistakes:?}").contains("ZZ"), "{mistakes:?}");
        }
        for (endpoint, says) in [
            ("gate", "is no URL"),
            ("ftp://gate/", "is https or http"),
            ("https://u:ZZp@gate/", "holds a user"),
        ] {
            let text = format!(
                "[subscription]\nform = \"rest-hook\"\nlisten = \"127.0.0.1:0\"\nsecret = SECRET\nendpoint = \"{endpoint}\"\n"
            );
            let (_, mistakes, _) = read_text(&text, Version::R4);
            assert!(mistakes.iter().any(|it| it.contains(says)), "{mistakes:?}");
            assert!(!format!("{mistakes:?}").contains("ZZp"), "{mistakes:?}");
        }
    }

    #[test]
    fn what_goes_in_clear_beyond_this_machine_is_warned_of() {
        let (_, mistakes, warnings) = read_text(
            "[subscription]\nform = \"rest-hook\"\nlisten = \"0.0.0.0:0\"\nsecret = SECRET\n\
             endpoint = \"http://gate.example/other\"\n",
            Version::R4,
        );
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(warnings.len(), 3, "{warnings:?}");
    }
}
