//! By which token a route's consumer knows a subject, or will.
//!
//! Promises: one answer for everything that names a subject to a consumer; what was revoked is
//! linked with nothing; a dry run makes no token, and shows none that could be taken for one.
//! Knows nothing of: how tokens are kept, what a release holds beside them.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::decide::Names;
use super::evidence::Evidence;
use super::queue::Renaming;
use crate::admit::DigestKey;
use crate::event::Subject;
use crate::privacy::RealmKeys;
use crate::store::vault::{VaultBusy, VaultReader};
use crate::store::{StoreError, Vault};

/// Stands in a dry run for a token that is not there yet: no token has a space.
pub const UNISSUED: &str = "(no token yet; a release makes one)";
/// Most subjects of which a route remembers that the consumer knows their token. With more it
/// forgets all of them, and asks the evidence again.
const KNOWN_MAX: usize = 1 << 16;

/// A set of routes whose tokens may be joined.
#[derive(Clone, Debug)]
pub struct Realm {
    /// Its name.
    pub name: Arc<str>,
    /// The keys of its hashes, its IDs, and of tokens that are keyed.
    pub keys: RealmKeys,
    /// Where its tokens come from.
    pub source: Source,
    /// How often its tokens have become others altogether: by another key, or another kind. 1 is
    /// never.
    pub version: u64,
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// They are computed.
    Keyed,
    /// They are in the vault.
    Vault(Arc<Vault>),
    /// They are in the vault of a stopped daemon, if it has one.
    Stopped(Option<Arc<Mutex<VaultReader>>>),
}

impl Realm {
    /// The token that a release of the subject bears; none where one has to be made first.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn current(&self, subject: &Subject) -> Result<Option<String>, StoreError> {
        match &self.source {
            Source::Keyed => Ok(Some(self.keys.token(subject))),
            Source::Vault(vault) => {
                let found = match vault.remembered(&self.name, subject) {
                    Some(known) => known,
                    None => tokio::task::block_in_place(|| vault.token(&self.name, subject))?,
                };
                Ok(found.as_deref().map(str::to_owned))
            }
            Source::Stopped(None) => Ok(None),
            Source::Stopped(Some(reader)) => {
                reader.lock().unwrap_or_else(PoisonError::into_inner).token(&self.name, subject)
            }
        }
    }

    /// What its tokens are made by: where two realms say the same, their tokens are the same.
    #[must_use]
    pub fn tokens(&self) -> String {
        match &self.source {
            Source::Keyed => format!("keyed:{}", self.keys.fingerprint()),
            Source::Vault(_) | Source::Stopped(_) => format!("vault:{}", self.name),
        }
    }

    /// Whether a consumer may know a subject by another token than the current one. Of the vault that
    /// is never ruled out: a token was rotated, or an older vault.db was put back.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        match &self.source {
            Source::Keyed => self.version > 1,
            Source::Vault(_) | Source::Stopped(_) => true,
        }
    }

    /// Whether a token may be linked with another: it was not revoked.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn may_link(&self, token: &str) -> Result<bool, StoreError> {
        match &self.source {
            Source::Vault(vault) => Ok(!vault.is_revoked(&self.name, token)?),
            Source::Keyed | Source::Stopped(_) => Ok(true),
        }
    }
}

/// The names of a dry run.
#[derive(Debug)]
pub(super) struct DryNames<'d>(pub &'d Realm);

impl Names for DryNames<'_> {
    fn current(&self, subject: &Subject) -> Result<Option<String>, StoreError> {
        Ok(Some(self.0.current(subject)?.unwrap_or_else(|| UNISSUED.to_owned())))
    }

    fn known(&self, subject: &Subject) -> Result<Option<String>, StoreError> {
        self.current(subject)
    }

    fn may_link(&self, token: &str) -> Result<bool, StoreError> {
        self.0.may_link(token)
    }
}

/// The names of a route.
#[derive(Debug)]
pub(super) struct RouteNames<'r> {
    pub realm: &'r Realm,
    pub evidence: &'r Evidence,
    pub digests: &'r DigestKey,
}

impl Names for RouteNames<'_> {
    fn current(&self, subject: &Subject) -> Result<Option<String>, StoreError> {
        self.realm.current(subject)
    }

    /// A consumer that is told to stop, or to link, is told by the token that it was sent last: a
    /// newer one it could make nothing of.
    fn known(&self, subject: &Subject) -> Result<Option<String>, StoreError> {
        if self.realm.may_have_changed() {
            let digest = self.digests.subject(subject).to_string();
            if let Some(token) = self.evidence.last_sent(&digest)?.and_then(|last| last.token) {
                return Ok(Some(token));
            }
        }
        self.realm.current(subject)
    }

    fn may_link(&self, token: &str) -> Result<bool, StoreError> {
        self.realm.may_link(token)
    }
}

/// Of which subjects the consumer of a route is known to know the token, or to have been sent
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, String>);

impl Known {
    /// What the consumer has to be told before a release that bears a token goes: that it stands
    /// for another, which it was sent last.
    pub fn renaming(
        &mut self,
        names: &RouteNames<'_>,
        subject: &str,
        token: &str,
    ) -> Result<Option<Renaming>, StoreError> {
        if self.0.get(subject).is_some_and(|known| known == token) {
            return Ok(None);
        }
        let last = names.evidence.last_sent(subject)?.and_then(|last| last.token);
        if let Some(retired) = last.filter(|last| last != token)
            && names.may_link(&retired)?
        {
            return Ok(Some(Renaming { token: token.to_owned(), retired }));
        }
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        self.0.insert(subject.to_owned(), token.to_owned());
        Ok(None)
    }
}

type Making = Pin<Box<dyn Future<Output = Result<(), VaultBusy>> + Send>>;

/// The tokens of one route that are not durable yet.
#[derive(Default)]
pub(super) struct Minting(Option<Making>);

impl fmt::Debug for Minting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Minting({})", if self.0.is_some() { "under way" } else { "idle" })
    }
}

impl Minting {
    /// Whether nothing is on its way.
    pub const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Begins to make the tokens of some subjects, all in one transaction.
    // Before the evidence that names them, and so before anything leaves.
    pub fn begin(&mut self, realm: &Realm, subjects: Vec<Subject>) {
        let Source::Vault(vault) = &realm.source else { return };
        let (vault, name) = (Arc::clone(vault), Arc::clone(&realm.name));
        self.0 = Some(Box::pin(async move { vault.issue(name, subjects).await }));
    }

    /// Waits until they are durable; for ever, where none is on its way. Cancelling loses nothing.
    ///
    /// # Errors
    /// The vault could not take them.
    pub async fn made(&mut self) -> Result<(), VaultBusy> {
        let Some(making) = &mut self.0 else { return std::future::pending().await };
        let made = making.await;
        self.0 = None;
        made
    }
}
