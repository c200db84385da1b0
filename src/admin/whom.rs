//! Whom a token stands for, by the vault, or by the evidence and the journal.
//!
//! Promises: whoever was merged is named by who survives, and that is said.
//! Knows nothing of: who asks, how often, and what is recorded of it.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::tokens::{Ask, Refused, UNKNOWN};
use crate::audit::{Record, Says};
use crate::event::Subject;
use crate::privacy::RealmKeys;
use crate::store::StoreError;
use crate::store::audit::find::Sought;
use crate::store::query::Lookup;
use crate::store::vault::Resolved;

/// Most records of a patient whose messages are looked for: of those, one may still be kept.
const RECORDS_MAX: u32 = 64;

/// What was found of a token.
pub struct Found {
    pub(super) outcome: &'static str,
    pub(super) answer: Result<Json, String>,
}

/// What the vault says of a token.
pub(super) fn vaulted(
    ask: &Ask,
    resolved: Resolved,
    lookup: &mut Lookup,
) -> Result<Found, StoreError> {
    Ok(match resolved {
        Resolved::Subject { subject, until } => {
            let state = if until.is_some() { "rotated" } else { "current" };
            told(ask, (subject, state), until, lookup)?
        }
        Resolved::Expired(until) => {
            no("expired", format!("it was rotated, and resolved until {until}"))
        }
        Resolved::Revoked => no("revoked", "it was revoked".to_owned()),
        Resolved::Unknown => no("unknown", UNKNOWN.to_owned()),
    })
}

/// Looks for whom a keyed token stands for: the evidence knows the patient by digest, and a message
/// that the journal still holds says who that is.
pub(super) fn keyed(
    ask: &Ask,
    (keys, routes): (&RealmKeys, &[String]),
    lookup: &mut Lookup,
) -> Result<Found, Refused> {
    let sought = Sought { token: Some(ask.token.clone()), limit: 1, ..Sought::default() };
    let mut digest = None;
    for route in routes {
        let sought = Sought { route: Some(route.clone()), ..sought.clone() };
        let found = lookup.audit()?.find(&sought)?.records;
        digest = digest.or(found.into_iter().find_map(subject_of));
    }
    let Some(digest) = digest else { return Ok(no("unknown", UNKNOWN.to_owned())) };
    let sought =
        Sought { subjects: Some(vec![digest.clone()]), limit: RECORDS_MAX, ..Sought::default() };
    let mut messages: Vec<u64> =
        lookup.audit()?.find(&sought)?.records.iter().filter_map(message_of).collect();
    messages.dedup();
    for number in messages {
        let Some(shown) = lookup.message(number)? else { continue };
        for stored in &shown.listed.entry.content.events {
            let mut subject = stored.subject();
            if let Some(survivor) = lookup.filed(&subject)?.survivor() {
                subject = survivor.clone();
            }
            for subject in [stored.subject(), subject] {
                if lookup.digests().subject(&subject).to_string() == digest {
                    let is_current = keys.token(&subject) == ask.token;
                    let state = if is_current { "current" } else { "rotated" };
                    return Ok(told(ask, (subject, state), None, lookup)?);
                }
            }
        }
    }
    let text = "it was given, and no message of its patient is in the journal any more; tokens that \
                are kept are those of a realm with tokens = \"vault\"";
    Ok(no("forgotten", text.to_owned()))
}

fn subject_of(record: Record) -> Option<String> {
    match record.says {
        Says::Decision(decision) => Some(decision.subject.to_string()),
        Says::Act(_) => None,
    }
}

fn message_of(record: &Record) -> Option<u64> {
    match &record.says {
        Says::Decision(decision) => Some(decision.message),
        Says::Act(_) => None,
    }
}

/// The subject, or who stands for it since it was merged.
fn told(
    ask: &Ask,
    (subject, state): (Subject, &str),
    until: Option<Timestamp>,
    lookup: &mut Lookup,
) -> Result<Found, StoreError> {
    let named = |subject: &Subject| json!({ "authority": subject.authority, "value": subject.value.expose() });
    let survivor = lookup.filed(&subject)?.survivor().cloned();
    let mut answer = json!({
        "realm": ask.realm,
        "token": ask.token,
        "state": if survivor.is_some() { "retired" } else { state },
        "subject": named(survivor.as_ref().unwrap_or(&subject)),
    });
    if let Some(answer) = answer.as_object_mut() {
        if survivor.is_some() {
            answer.insert("retired".to_owned(), named(&subject));
        }
        if let Some(until) = until {
            answer.insert("until".to_owned(), until.to_string().into());
        }
    }
    Ok(Found { outcome: "told", answer: Ok(answer) })
}

const fn no(outcome: &'static str, text: String) -> Found {
    Found { outcome, answer: Err(text) }
}
