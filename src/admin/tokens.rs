//! Whom a token stands for, and the end of tokens.
//!
//! Promises: nobody is told before it is recorded who asked, for what purpose and why, what came to
//! nothing included; no more often than is agreed; what a person writes as a reason is bounded and
//! holds no control character.
//! Knows nothing of: how tokens are kept, HTTP but for the words of an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::whom::{Found, keyed, vaulted};
use crate::audit::{Act, Says};
use crate::clock;
use crate::consent::PURPOSES;
use crate::metrics::{self, ByWord};
use crate::privacy::RealmKeys;
use crate::store::query::Lookup;
use crate::store::vault::{Changed, Resolved, VaultReader, Which};
use crate::store::{Audit, AuditBusy, StoreError, Vault, VaultBusy};

/// Longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 200;
/// Most bytes of a question.
pub const ASK_BYTES_MAX: usize = 4_096;
/// Digits of a token.
const TOKEN_DIGITS: usize = 32;
/// The time that rates are counted over.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// The name of the act.
const RESOLVE: &str = "token-resolve";

/// How often tokens may be resolved within a minute.
#[derive(Clone, Copy, Debug)]
pub struct Resolves {
    /// By one user.
    pub of_one_max: u64,
    /// By all of them together.
    pub of_all_max: u64,
}

/// Where it stands whom the tokens of a realm stand for.
pub enum Book {
    /// In the vault.
    Vault(Arc<Vault>),
    /// In the vault of a stopped daemon, if it has one.
    Stopped(Option<Arc<Mutex<VaultReader>>>),
    /// In the evidence and the journal: they are computed, and kept nowhere.
    Keyed {
        /// What they are computed by.
        keys: Box<RealmKeys>,
        /// The routes that they went out by.
        routes: Vec<String>,
    },
    /// It cannot be had, for this reason.
    Missing(String),
}

/// Who wants to know whom a token stands for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ask {
    /// The realm.
    pub realm: String,
    /// The token.
    pub token: String,
    /// What for.
    pub purpose: String,
    /// Why, in words.
    pub reason: String,
}

/// Which tokens are to end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct End {
    /// The realm.
    pub realm: String,
    /// This one; none: all.
    pub token: Option<String>,
    /// Until when they resolve, in milliseconds since 1970; none: not any more.
    pub keep_until: Option<i64>,
    /// Why, in words.
    pub reason: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Refused {
    /// It was asked in the wrong way.
    Wrong(String),
    /// The answer is no.
    No(String),
    /// Too often; again after so many seconds.
    Limited(u64),
    /// Something of ours is not to be had.
    Fault(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(text) | Self::No(text) | Self::Fault(text) => out.write_str(text),
            Self::Limited(seconds) => {
                write!(out, "too many tokens were resolved; ask again in {seconds} s")
            }
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.to_string())
    }
}

/// The realms of a daemon, and how often one may ask.
pub struct Desk {
    realms: BTreeMap<String, Book>,
    rates: Resolves,
    counted: ByWord,
    /// One asks after the other, so that each sees those before it.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Desk({} realms)", self.realms.len())
    }
}

impl Desk {
    /// Of these realms.
    #[must_use]
    pub fn new(realms: BTreeMap<String, Book>, rates: Resolves) -> Self {
        let counted = metrics::reveals();
        Self { realms, rates, counted, turn: tokio::sync::Mutex::default() }
    }

    fn book(&self, realm: &str) -> Result<&Book, Refused> {
        self.realms
            .get(realm)
            .ok_or_else(|| Refused::Wrong("there is no such [[realm]]".to_owned()))
    }

    /// Looks for whom a token stands for. Nobody is to be told before [`Desk::tell`] has recorded
    /// it.
    ///
    /// # Errors
    /// It is asked in the wrong way, or too often, or cannot be looked for.
    pub fn look(&self, who: &str, ask: &Ask, lookup: &mut Lookup) -> Result<Found, Refused> {
        let seen = self.seen(who, ask, lookup);
        match &seen {
            Ok(_) => {}
            Err(Refused::Limited(_)) => self.counted.count("limited"),
            Err(_) => self.counted.count("error"),
        }
        seen
    }

    fn seen(&self, who: &str, ask: &Ask, lookup: &mut Lookup) -> Result<Found, Refused> {
        let book = self.book(&ask.realm)?;
        check_token(&ask.token)?;
        check_reason(&ask.reason)?;
        if !PURPOSES.contains(&ask.purpose.as_str()) {
            return Err(Refused::Wrong("the purpose is no HL7 v3 PurposeOfUse".to_owned()));
        }
        let now = clock::now();
        if let Some(wait) = self.too_many(who, lookup, now)? {
            return Err(Refused::Limited(wait));
        }
        let resolved = match book {
            Book::Vault(vault) => vault.resolve(&ask.realm, &ask.token, now)?,
            Book::Stopped(None) => Resolved::Unknown,
            Book::Stopped(Some(reader)) => {
                let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                reader.resolve(&ask.realm, &ask.token, now)?
            }
            Book::Keyed { keys, routes } => return keyed(ask, (keys, routes), lookup),
            Book::Missing(why) => return Err(Refused::Fault(why.clone())),
        };
        Ok(vaulted(ask, resolved, lookup)?)
    }

    /// After how many seconds one may ask again, where that is not now. What was asked before is
    /// in the evidence, so that neither a restart nor a second door forgets it.
    fn too_many(
        &self,
        who: &str,
        lookup: &mut Lookup,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let Resolves { of_one_max, of_all_max } = self.rates;
        let since = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
        let limit = usize::try_from(of_one_max.max(of_all_max)).unwrap_or(usize::MAX);
        let asked = lookup.audit()?.acts_since(RESOLVE, since, limit)?;
        // The newest comes first, so the one that has to become old is the last that counts.
        let nth = |max: u64, of: Vec<Timestamp>| {
            let place = usize::try_from(max).ok()?.checked_sub(1)?;
            of.get(place).copied()
        };
        let all = asked.iter().map(|(at, _)| *at).collect();
        let own = asked.iter().filter(|(_, act)| act.who == who).map(|(at, _)| *at).collect();
        let free_at = [nth(of_all_max, all), nth(of_one_max, own)].into_iter().flatten().max();
        Ok(free_at.map(|at| {
            let left = at.saturating_add(WINDOW).map_or(WINDOW, |free| free.duration_since(now));
            u64::try_from(left.as_secs()).unwrap_or(0).max(1)
        }))
    }

    /// Records what was found, and then tells it.
    ///
    /// # Errors
    /// The answer is no, or it cannot be recorded.
    // PROMISE-8
    pub async fn tell(
        &self,
        who: &str,
        ask: &Ask,
        found: Found,
        audit: &Audit,
    ) -> Result<Json, Refused> {
        let with = [
            ("realm", ask.realm.clone()),
            ("token", ask.token.clone()),
            ("purpose", ask.purpose.clone()),
            ("reason", ask.reason.clone()),
            ("outcome", found.outcome.to_owned()),
        ];
        if let Err(refused) = record(audit, Act::new(RESOLVE, who, with)).await {
            self.counted.count("error");
            return Err(refused);
        }
        self.counted.count(if found.answer.is_ok() { "told" } else { "none" });
        found.answer.map_err(Refused::No)
    }

    /// Ends tokens, once it is recorded who wants it: where they are kept until a time, the
    /// consumer is told of the next one; else nothing links it with them.
    ///
    /// # Errors
    /// It is asked in the wrong way, the answer is no, or something of ours is not to be had.
    // PROMISE-8
    pub async fn end(&self, who: &str, end: &End, audit: &Audit) -> Result<Json, Refused> {
        check_reason(&end.reason)?;
        end.token.as_deref().map_or(Ok(()), check_token)?;
        let no_time = |_| Refused::Wrong("the time to keep them until is no time".to_owned());
        let until = end.keep_until.map(Timestamp::from_millisecond).transpose().map_err(no_time)?;
        let vault = match self.book(&end.realm)? {
            Book::Vault(vault) => vault,
            Book::Stopped(_) => return Err(Refused::No(UNKNOWN.to_owned())),
            Book::Keyed { .. } => return Err(Refused::No(KEYED.to_owned())),
            Book::Missing(why) => return Err(Refused::Fault(why.clone())),
        };
        let mut with = BTreeMap::from([
            ("realm".to_owned(), end.realm.clone()),
            ("token".to_owned(), end.token.clone().unwrap_or_else(|| "all".to_owned())),
            ("reason".to_owned(), end.reason.clone()),
        ]);
        with.extend(until.map(|until| ("keepUntil".to_owned(), until.to_string())));
        let name = if until.is_some() { "token-rotate" } else { "token-revoke" };
        let act = Act { act: name.to_owned(), who: who.to_owned(), with };
        let changed = match (&end.token, until) {
            (None, None) => {
                return Err(Refused::Wrong("a token that is to be revoked is wanted".to_owned()));
            }
            (Some(token), None) => {
                record(audit, act).await?;
                vault.revoke(&end.realm, token).await
            }
            (token, Some(until)) => {
                if until <= clock::now() {
                    return Err(Refused::Wrong("the time to keep them until is past".to_owned()));
                }
                record(audit, act).await?;
                let which = token.clone().map_or(Which::All, Which::One);
                vault.rotate(&end.realm, which, until).await
            }
        };
        match changed {
            Ok(Changed::Tokens(count)) => Ok(json!({ "ended": count })),
            Ok(Changed::Unknown) => Err(Refused::No(UNKNOWN.to_owned())),
            Ok(Changed::NotCurrent) => Err(Refused::No("it has ended already".to_owned())),
            Err(busy @ (VaultBusy::Disk | VaultBusy::Stopped)) => {
                Err(Refused::Fault(busy.to_string()))
            }
        }
    }
}

pub(super) const UNKNOWN: &str = "no such token was given in this realm, or it is forgotten";
const KEYED: &str = "the tokens of this realm are keyed: each comes out of the realm's key anew. \
                     Another [[realm]] key and a restart rotate all of them; one by one only tokens \
                     of a realm with tokens = \"vault\" can end";

fn check_token(token: &str) -> Result<(), Refused> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token.len() == TOKEN_DIGITS && token.bytes().all(is_digit) {
        return Ok(());
    }
    // What stands there instead is not quoted: it may be a patient's number.
    Err(Refused::Wrong("a token is 32 small hexadecimal digits".to_owned()))
}

fn check_reason(reason: &str) -> Result<(), Refused> {
    let length = reason.chars().count();
    if reason.trim().is_empty() || length > REASON_CHARS_MAX || reason.chars().any(char::is_control)
    {
        return Err(Refused::Wrong(format!(
            "a reason is wanted, of at most {REASON_CHARS_MAX} characters and no control characters"
        )));
    }
    Ok(())
}

async fn record(audit: &Audit, act: Act) -> Result<(), Refused> {
    let entry = vec![(clock::now(), Says::Act(act))];
    audit.append(entry).await.map(drop).map_err(|busy| match busy {
        AuditBusy::Disk => {
            Refused::Fault("the audit cannot be written: its disk is full".to_owned())
        }
        AuditBusy::Stopped => Refused::Fault("the daemon is stopping".to_owned()),
    })
}

/// How long an answer may take that waits for its turn.
pub(super) const TURN_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_bounded_and_a_token_is_digits() {
        for (reason, is_right) in [
            ("asked by the patient", true),
            ("", false),
            ("  ", false),
            ("a\nb", false),
            ("\u{1b}[2J", false),
            (&"ä".repeat(REASON_CHARS_MAX), true),
            (&"a".repeat(REASON_CHARS_MAX + 1), false),
        ] {
            assert_eq!(check_reason(reason).is_ok(), is_right, "{reason:?}");
        }
        let right = "0a".repeat(16);
        for (token, is_right) in [
            (right.as_str(), true),
            ("", false),
            ("ZZ100001", false),
            (&right.to_uppercase(), false),
        ] {
            let checked = check_token(token);
            assert_eq!(checked.is_ok(), is_right, "{token:?}");
            assert!(checked.is_ok() || !checked.unwrap_err().to_string().contains("ZZ"));
        }
    }
}
