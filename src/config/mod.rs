//! The configuration: as written, checked, as meant.
//!
//! Promises: the same function reads it at start, in `tidegate check` and in the tests; every
//! mistake of every file is found in one pass, with its place; what is not known is a mistake.
//! Knows nothing of: running. What comes out is handed to `app`.

mod acks;
mod audit;
mod feed;
mod fhir;
mod fhir_auth;
mod subscription;
mod hash;
mod identity;
mod sections;
mod transport;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::auth::User;
use crate::admin::tokens::Resolves;
use crate::admit::Identity;
use crate::consent::Policy;
use crate::contract::fields::Codings;
use crate::contract::{self, Contract, Destination, References};
use crate::deliver::BrokerConfig;
use crate::document::{Document, Place, Problems, Table, hint};
use crate::normalize::table::Tables;
use crate::normalize::{self, Mappings};
use crate::privacy::transform::Coding;
use crate::secret::Key;
use crate::store::JournalConfig;

pub use acks::{Acks, Application};
pub use audit::{Audit, CHECKPOINTS};
pub use feed::{Feed, Mllp, Source};
pub use fhir::Fhir;
pub use subscription::Subscription;
pub use transport::{Connect, Listen, Tls, Transport, Way};

/// A configuration, as meant.
#[derive(Debug)]
pub struct Config {
    /// `[node]`.
    pub node: Node,
    /// `[admin]`.
    pub admin: Admin,
    /// `[[feed]]`.
    pub feeds: Vec<Feed>,
    /// `[identity]`.
    pub identity: Arc<Identity>,
    /// `[[realm]]`.
    pub realms: Vec<Realm>,
    /// The vault's key, where it is not made in state_dir; or why it cannot be had.
    pub vault_key: Option<Result<Key, String>>,
    /// `[rabbitmq]`.
    pub rabbitmq: Option<BrokerConfig>,
    /// `[journal]`.
    pub journal: JournalConfig,
    /// `[audit]`.
    pub audit: Audit,
    /// The master key, where it is not made in state_dir.
    pub master_key: Option<Key>,
    /// `[mappings]`, loaded.
    pub mappings: Arc<Mappings>,
    /// `[consent]`, loaded; where there is none, one that opens nothing.
    pub policy: Arc<Policy>,
    /// `[mappings] dir`.
    pub mappings_dir: PathBuf,
    /// `[routes] dir`.
    pub routes_dir: PathBuf,
    /// `[routes]`, loaded.
    pub contracts: Vec<Contract>,
    /// `sha256:` and the hash over all files that were read.
    pub hash: String,
    /// These files, as they were named, each with its SHA-256.
    pub files: BTreeMap<String, String>,
}

/// `[node]`.
#[derive(Debug)]
pub struct Node {
    /// The daemon's name.
    pub name: String,
    /// `production` or `test`.
    pub environment: String,
    /// Where everything durable is.
    pub state_dir: PathBuf,
    /// Whose law holds where nothing nearer says.
    pub jurisdiction: Option<String>,
    /// Most bytes of frames in memory, over all feeds.
    pub intake_bytes_max: u64,
}

/// `[admin]`.
#[derive(Debug)]
pub struct Admin {
    /// Where health, metrics and API are.
    pub listen: SocketAddr,
    /// Who may ask the API.
    pub users: Vec<User>,
    /// The API without users, on loopback.
    pub dev: bool,
    /// How often tokens may be resolved.
    pub resolves: Resolves,
}

/// `[[realm]]`.
#[derive(Debug)]
pub struct Realm {
    /// Its name.
    pub name: String,
    /// What its tokens are.
    pub tokens: TokenKind,
    /// The key of its tokens and hashes, where it is not made in state_dir; or why it cannot be had.
    pub key: Option<Result<Key, String>>,
}

/// What tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Computed from the subject by the realm's key.
    Keyed,
    /// Random, and kept in the vault.
    Vault,
}

/// Reads a configuration with all that it names. With a mistake there is none.
#[must_use]
pub fn load(path: &Path, problems: &Problems) -> Option<Config> {
    let document = Document::open(path, problems)?;
    let mut config = document.read(problems, read).filter(|_| problems.is_clean())?;
    config.files = problems.files();
    config.hash = hash::of(&config.files, path);
    Some(config)
}

fn read(table: &Table<'_>) -> Option<Config> {
    let problems = table.problems();
    let node = table.required("node").and_then(|item| sections::node(&item.table()?));
    let admin = sections::admin(table.table("admin").as_ref(), table);
    let feeds: Vec<Feed> = table.tables("feed").iter().filter_map(feed::read).collect();
    let identity = table.table("identity").map(|table| identity::read(&table));
    let realms: Vec<Realm> = table.tables("realm").iter().filter_map(sections::realm).collect();
    let vault_key = table.table("vault").and_then(|table| sections::vault(&table));
    let rabbitmq = table.table("rabbitmq").map(|table| sections::rabbitmq(&table));
    let journal = sections::journal(table.table("journal").as_ref(), node.as_ref(), &feeds);
    let audit = audit::read(table.table("audit").as_ref(), node.as_ref(), table.has("rabbitmq"));
    let mappings_dir = folder(table, "mappings", "../mappings");
    let routes = sections::routes(table, node.as_ref());
    let mappings = normalize::load(&mappings_dir, problems);
    let policy = table.table("consent").map(|table| sections::consent(&table));
    let mut contracts = with_codings(&mappings_dir, problems, |codings| {
        contract::load(&routes.dir, mappings.declared(), codings, problems)
    });
    if let Some(to_files) = &routes.to_files {
        for contract in &mut contracts.right {
            let path = to_files.join(format!("{}.ndjson", contract.name));
            contract.deliver = Destination::File { path, rotate: sections::ROTATE_BYTES };
        }
        contracts.references.iter_mut().for_each(|references| references.deliver = None);
    }
    let (mut journal, master_key) = journal;
    let mut policy = policy.unwrap_or_default();
    for (name, site) in mappings.sites() {
        policy.add_site(name, &site.words.statuses, &site.words.types, problems);
    }
    check_sites(&feeds, &mappings, &policy, problems);
    let policy = Arc::new(policy);
    journal.policy = Arc::clone(&policy);
    if !table.has("feed") {
        table.mistake(&table.place(), "there is no [[feed]]; without one nothing comes in");
    }
    let known = Known { feeds: &feeds, realms: &realms, rabbitmq: table.has("rabbitmq") };
    check_together(table, &known, &contracts.references, node.as_ref());
    if rabbitmq.as_ref().and_then(Option::as_ref).is_some_and(|broker| broker.declare) {
        part_exchanges(&contracts.references, &mut contracts.right, problems);
    }
    Some(Config {
        node: node?,
        admin: admin?,
        feeds,
        identity: Arc::new(identity.unwrap_or_default()),
        realms,
        vault_key,
        rabbitmq: rabbitmq.flatten(),
        journal,
        audit,
        master_key,
        mappings: Arc::new(mappings),
        policy,
        mappings_dir,
        routes_dir: routes.dir,
        contracts: contracts.right,
        hash: String::new(),
        files: BTreeMap::new(),
    })
}

/// Calls `read` with the tables of mappings, which contracts name.
pub fn with_codings<T>(
    mappings_dir: &Path,
    problems: &Problems,
    read: impl FnOnce(Codings<'_>) -> T,
) -> T {
    let tables = RefCell::new(Tables::new(&mappings_dir.join("tables"), problems));
    let coding = |name: &str, place: &Place| {
        let table = tables.borrow_mut().get(name, place)?;
        let owned = |(from, to): (&str, &str)| (from.to_owned(), to.to_owned());
        Some(Coding::new(name, table.rows().map(owned).collect()))
    };
    read(&coding)
}

/// What the journal calls entries that come in by no feed: the timer's, and what was imported.
const OWN_FEEDS: [&str; 2] = [crate::store::due::FEED, crate::admit::import::FEED];

/// What contracts and feeds refer to.
struct Known<'k> {
    feeds: &'k [Feed],
    realms: &'k [Realm],
    rabbitmq: bool,
}

/// A feed's `site` has a file, or words in consent.toml: what is misspelled would be read as if there
/// were no site.
fn check_sites(feeds: &[Feed], mappings: &Mappings, policy: &Policy, problems: &Problems) {
    let mut known: Vec<&str> =
        mappings.sites().map(|(name, _)| name).chain(policy.sites()).collect();
    known.sort_unstable();
    known.dedup();
    for site in feeds.iter().filter_map(|feed| feed.site.as_ref()) {
        if !known.contains(&site.value.as_str()) {
            let near = hint(&site.value, &known);
            let text = format!(
                "there is no site `{0}`: neither sites/{0}.toml in [mappings] nor [status.{0}] in \
                 consent.toml{near}",
                site.value
            );
            problems.mistake(&site.place, text);
        }
    }
}

/// What is right by itself and wrong together.
fn check_together(
    table: &Table<'_>,
    known: &Known<'_>,
    contracts: &[References],
    node: Option<&Node>,
) {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut folders = HashSet::new();
    for feed in known.feeds {
        if OWN_FEEDS.contains(&feed.name.as_ref()) {
            let text =
                format!("`{}` is a feed of the journal's own; another name is wanted", feed.name);
            table.mistake(&feed.place, text);
        }
        if !names.insert(feed.name.as_ref()) {
            let text = format!("`{}` is the name of another feed, too", feed.name);
            table.mistake(&feed.place, text);
        }
        match &feed.source {
            Source::Mllp(mllp) => {
                if let Some(listen) = mllp.transport.listens()
                    && listen.port() != 0
                    && !addresses.insert(listen)
                {
                    let text = format!("{listen} is listened on by another feed, too");
                    table.mistake(&feed.place, text);
                }
            }
            // Each would take files away from under the other.
            Source::File(file) => {
                if !folders.insert(&file.dir) {
                    let text = format!("{} is another feed's folder, too", file.dir.display());
                    table.mistake(&feed.place, text);
                }
            }
            // Two may ask one server, each for its own.
            Source::Fhir(fhir) => {
                if let Some(listen) = fhir.subscription.as_ref().map(|it| it.listen)
                    && listen.port() != 0
                    && !addresses.insert(listen)
                {
                    let text = format!("{listen} is listened on by another feed, too");
                    table.mistake(&feed.place, text);
                }
            }
        }
        if let Some(node) = node
            && feed.frame_bytes_max as u64 > node.intake_bytes_max
        {
            let key = match &feed.source {
                Source::Mllp(_) => "frame_bytes_max",
                Source::File(_) => "message_bytes_max",
                Source::Fhir(_) => "page_bytes_max",
            };
            let text = format!(
                "`{key}` is above `node.intake_bytes_max`, so that the largest frame would never fit"
            );
            table.mistake(&feed.place, text);
        }
    }
    let mut realms = HashSet::new();
    for realm in known.realms {
        if !realms.insert(realm.name.as_str()) {
            table.mistake(
                &table.place_of("realm"),
                format!("`{}` is the name of two realms", realm.name),
            );
        }
    }
    let mut paths = HashSet::new();
    for contract in contracts {
        if let Some(realm) = &contract.realm
            && !realms.contains(realm.value.as_str())
        {
            let names: Vec<&str> = realms.iter().copied().collect();
            let near = hint(&realm.value, &names);
            table.mistake(&realm.place, format!("there is no [[realm]] `{}`{near}", realm.value));
        }
        match &contract.deliver {
            Some((Destination::RabbitMq { .. }, place)) if !known.rabbitmq => {
                let text = "it delivers to RabbitMQ, and the configuration has no [rabbitmq]";
                table.mistake(place, text);
            }
            Some((Destination::File { path, .. }, place)) if !paths.insert(path) => {
                let text = format!("{} is another route's file, too", path.display());
                table.mistake(place, text);
            }
            _ => {}
        }
    }
}

/// Gives routes that name the same exchange one each: a queue takes everything of its exchange,
/// and so each consumer would get what another one's contract lets out.
// PROMISE-7
fn part_exchanges(references: &[References], contracts: &mut [Contract], problems: &Problems) {
    let mut routes_of: BTreeMap<String, usize> = BTreeMap::new();
    for contract in contracts.iter() {
        if let Destination::RabbitMq { exchange, .. } = &contract.deliver {
            *routes_of.entry(exchange.clone()).or_default() += 1;
        }
    }
    let shared = |name: &str| routes_of.get(name).is_some_and(|routes| *routes > 1);
    for references in references {
        if let Some((Destination::RabbitMq { exchange, .. }, place)) = &references.deliver
            && shared(exchange)
        {
            let text = format!(
                "`{exchange}` is another route's exchange, too; each of them gets its own, \
                 `{exchange}.ROUTE`, so that neither queue takes the other's events"
            );
            problems.warn(place, text);
        }
    }
    for contract in contracts {
        if let Destination::RabbitMq { exchange, .. } = &mut contract.deliver
            && shared(exchange)
        {
            *exchange = format!("{exchange}.{}", contract.name);
        }
    }
}

/// `[key] dir`, or the usual folder.
fn folder(table: &Table<'_>, key: &str, usual: &str) -> PathBuf {
    let Some(section) = table.table(key) else { return table.dir().join(usual) };
    let dir = section.file("dir");
    section.finish();
    dir.map_or_else(|| table.dir().join(usual), |dir| dir.value)
}
