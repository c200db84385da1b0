//! What a subject's consent comes to, purpose by purpose: one shape for the API and for `--json`.
//!
//! Promises: what is shown is what a route would be answered, by the same rules; a purpose that no
//! record speaks about is shown, too.
//! Knows nothing of: HTTP and terminals, which routes there are.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::consent::{
    Alias, Ledger, Missing, Naming, PURPOSES, Permit, Policy, Question, Record, Reference, Refusal,
    Requirement, ask,
};
use crate::event::{EventId, Subject};
use crate::store::Filed;

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// One purpose; none: all there are.
    pub purpose: Option<String>,
    /// The consumer, as contracts call it; none: one that no record names.
    pub consumer: Option<String>,
    /// `[node] jurisdiction`.
    pub jurisdiction: Option<String>,
    /// The time to answer for, by what had arrived then.
    pub at: Timestamp,
}

/// The state of each subject.
#[must_use]
pub fn states(found: &[(Subject, Filed)], policy: &Policy, wanted: &Wanted) -> Json {
    found.iter().map(|(subject, filed)| state(subject, filed, policy, wanted)).collect()
}

fn state(subject: &Subject, filed: &Filed, policy: &Policy, wanted: &Wanted) -> Json {
    let whole = filed.ledger();
    let own = arrived(whole.own, wanted.at);
    let aliases: Vec<Alias> = whole
        .aliases
        .iter()
        .map(|alias| Alias { records: arrived(&alias.records, wanted.at), ..alias.clone() })
        .collect();
    let ledger = Ledger { epoch: whole.epoch, own: &own, aliases: &aliases };
    let is_wanted = |purpose: &&&str| wanted.purpose.as_ref().is_none_or(|it| it == **purpose);
    let purposes = PURPOSES.iter().filter(is_wanted).map(|purpose| {
        let opt_in = Requirement::OptIn { missing: Missing::Suppress, grantee: Naming::Anybody };
        json!({
            "purpose": purpose,
            "optIn": answer(purpose, &opt_in, &ledger, policy, wanted),
            "optOut": answer(purpose, &Requirement::OptOut, &ledger, policy, wanted),
        })
    });
    json!({
        "subject": { "authority": subject.authority, "value": subject.value.expose() },
        "at": wanted.at.to_string(),
        "purposes": purposes.collect::<Vec<_>>(),
    })
}

/// What had arrived by a time.
fn arrived(records: &[Record], at: Timestamp) -> Vec<Record> {
    records.iter().filter(|record| record.recorded_at <= at).cloned().collect()
}

fn answer(
    purpose: &str,
    requirement: &Requirement,
    ledger: &Ledger<'_>,
    policy: &Policy,
    wanted: &Wanted,
) -> Json {
    let event = EventId("".into());
    let jurisdiction = wanted.jurisdiction.as_deref();
    let consumer = wanted.consumer.as_deref().unwrap_or_default();
    let question = Question {
        jurisdictions: jurisdiction.as_slice(),
        ..Question::new(&event, "", purpose, consumer, requirement)
    };
    let asked: Result<Permit, Refusal> = ask(&question, ledger, policy, wanted.at);
    match asked {
        Ok(permit) => {
            let sentence = if permit.records().is_empty() {
                format!("Nothing stands against {purpose}.")
            } else {
                format!("{purpose} is permitted.")
            };
            json!({
                "answer": "permit",
                "sentence": sentence,
                "records": references(permit.records()),
            })
        }
        Err(refusal) => json!({
            "answer": refusal.code().name(),
            "sentence": refusal.sentence(),
            "records": references(refusal.records()),
        }),
    }
}

fn references(records: &[Reference]) -> Vec<Json> {
    let shown = |it: &Reference| json!({ "key": format!("{}/{}", it.key.source, it.key.id), "version": it.version });
    records.iter().map(shown).collect()
}
