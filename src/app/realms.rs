//! The realms of a configuration: their keys, and where their tokens are.
//!
//! Promises: what one realm lacks is told and costs the routes of that realm alone; a realm whose
//! tokens are others than before is known to be so, over every start.
//! Knows nothing of: routes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use super::AppError;
use crate::admin::tokens::Book;
use crate::audit::{Act, Says};
use crate::clock;
use crate::config::{Config, TokenKind};
use crate::deliver::tokens::{Realm, Source};
use crate::metrics::key_version;
use crate::privacy::RealmKeys;
use crate::secret::Key;
use crate::store::vault::{VAULT_KEY, VaultReader, VaultThread};
use crate::store::{Audit, StateDir, StoreError, Vault};

/// The realms by name, each as it is, or why its routes cannot start.
pub type Realms = BTreeMap<String, Result<Realm, String>>;

/// The vault of a daemon that runs.
pub type Running = (Arc<Vault>, VaultThread);

/// The realms of a daemon that starts, and its vault, where one is wanted and can be had.
pub(super) async fn start(
    state: &StateDir,
    config: &Config,
    audit: &Audit,
) -> Result<(Realms, Option<Running>), AppError> {
    let (mut realms, running) = of_state(state, config, |name| state.key(name));
    for built in realms.values_mut() {
        let Ok(realm) = built else { continue };
        match version(state, realm, audit).await {
            Ok(version) => realm.version = version,
            // What cannot be read or noted of one realm is no other's matter.
            Err(AppError::Store(error)) => *built = Err(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok((realms, running))
}

/// The realms of a folder that is held, and its vault, opened to be written.
pub fn of_state(
    state: &StateDir,
    config: &Config,
    key: impl Fn(&str) -> Result<Key, StoreError>,
) -> (Realms, Option<Running>) {
    let mut running = None;
    let realms = build(config, key, || {
        let key = match &config.vault_key {
            Some(key) => key.clone()?,
            None => Vault::key(state).map_err(|error| error.to_string())?,
        };
        let (vault, thread) = Vault::open(state, &key).map_err(|error| error.to_string())?;
        let vault = Arc::new(vault);
        running = Some((Arc::clone(&vault), thread));
        Ok(Source::Vault(vault))
    });
    (realms, running)
}

/// The realms of a daemon that does not run. Nothing is made.
pub fn stopped<E: Display>(config: &Config, key: impl Fn(&str) -> Result<Key, E>) -> Realms {
    let vault = || {
        let key = match &config.vault_key {
            Some(key) => key.clone()?,
            None => key(VAULT_KEY).map_err(|error| error.to_string())?,
        };
        let reader = VaultReader::open(&config.node.state_dir, &key);
        let reader = reader.map_err(|error| error.to_string())?;
        Ok(Source::Stopped(reader.map(|reader| Arc::new(Mutex::new(reader)))))
    };
    build(config, &key, vault)
}

/// The realms of a configuration that is only tried: of the vault, which stays closed, nothing is known
/// but that a token of it is there.
pub fn tried<E: Display>(config: &Config, key: impl Fn(&str) -> Result<Key, E>) -> Realms {
    build(config, key, || Ok(Source::Stopped(None)))
}

fn build<E: Display>(
    config: &Config,
    key: impl Fn(&str) -> Result<Key, E>,
    vault: impl FnOnce() -> Result<Source, String>,
) -> Realms {
    let is_vault = |kind| kind == TokenKind::Vault;
    let vault = config.realms.iter().any(|it| is_vault(it.tokens)).then(vault);
    let made = |name: &str| key(name).map_err(|error| error.to_string());
    let mut realms = Realms::new();
    for realm in &config.realms {
        let tokens = match &realm.key {
            Some(key) => key.clone(),
            None => made(&format!("realm-{}", realm.name)),
        };
        // Apart from the tokens' key, which may change: a consumer deduplicates by these IDs.
        let ids = made(&format!("realm-{}-id", realm.name));
        let source = match &vault {
            Some(vault) if is_vault(realm.tokens) => vault.clone(),
            Some(_) | None => Ok(Source::Keyed),
        };
        let built = tokens.and_then(|tokens| {
            let keys = RealmKeys::new(&tokens, &ids?);
            Ok(Realm { name: realm.name.as_str().into(), keys, source: source?, version: 1 })
        });
        realms.insert(realm.name.clone(), built);
    }
    realms
}

/// How often the tokens of a realm have become others altogether, by the mark beside the keys. A
/// change is in the evidence before the mark is set, and so before a route knows of it.
async fn version(state: &StateDir, realm: &Realm, audit: &Audit) -> Result<u64, AppError> {
    let name = format!("realm-{}", realm.name);
    let kind = match realm.source {
        Source::Keyed => format!("keyed:{}", realm.keys.fingerprint()),
        Source::Vault(_) | Source::Stopped(_) => "vault".to_owned(),
    };
    let mark = state.mark(&name)?;
    let known = match &mark {
        Some(mark) => Some(
            read(mark)
                .ok_or_else(|| StoreError::Corrupt { what: format!("the mark keys/{name}") })?,
        ),
        None => None,
    };
    if let Some((version, _, since)) = known.filter(|(_, known, _)| *known == kind) {
        key_version(&name, version, since);
        return Ok(version);
    }
    let (version, since) = (known.map_or(1, |(version, ..)| version + 1), clock::now_ms());
    let tokens = kind.split(':').next().unwrap_or_default().to_owned();
    let with =
        [("realm", realm.name.to_string()), ("tokens", tokens), ("version", version.to_string())];
    let act = Says::Act(Act::new("realm", "tidegate", with));
    audit.append(vec![(clock::now(), act)]).await.map_err(AppError::Audit)?;
    state.set_mark(&name, &format!("{version} {kind} {since}"))?;
    key_version(&name, version, since);
    Ok(version)
}

/// Version, kind, and since when.
fn read(mark: &str) -> Option<(u64, &str, i64)> {
    let mut words = mark.split(' ');
    let found = (words.next()?.parse().ok()?, words.next()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(found)
}

/// Where it stands whom the tokens of each realm stand for.
pub fn books(realms: Realms, config: &Config) -> BTreeMap<String, Book> {
    let book = |(name, realm): (String, Result<Realm, String>)| {
        let book = match realm {
            Err(why) => Book::Missing(why),
            Ok(realm) => match realm.source {
                Source::Vault(vault) => Book::Vault(vault),
                Source::Stopped(reader) => Book::Stopped(reader),
                Source::Keyed => {
                    let own = config.contracts.iter().filter(|it| it.realm.value == name);
                    let routes = own.map(|contract| contract.name.clone()).collect();
                    Book::Keyed { keys: Box::new(realm.keys), routes }
                }
            },
        };
        (name, book)
    };
    realms.into_iter().map(book).collect()
}
