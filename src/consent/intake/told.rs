//! A consent event as its record has it: its type, and what consent.toml says of it.
//!
//! Promises: what the sender said is not changed; a field that was made from it stands beside it.
//! Knows nothing of: routes.

use crate::consent::decision::{Consent, Decision, Purposes, Status};
use crate::consent::record::Record;
use crate::event::schema::DATA;
use crate::event::tree::Open;
use crate::event::{EventType, Tree, View, consent};

/// The type of the event of a record: by its decision.
#[must_use]
pub fn kind(record: &Record) -> EventType {
    record.consent().map_or(EventType::ConsentUpdated, |consent| {
        match (consent.status, consent.decision) {
            (Status::Active, Decision::Permit) => EventType::ConsentGranted,
            (Status::Active, Decision::Deny) | (Status::Rejected, _) => EventType::ConsentDenied,
            (Status::Revoked, _) => EventType::ConsentRevoked,
            (Status::EnteredInError, _) => EventType::ConsentRetracted,
            (Status::Proposed | Status::Inactive | Status::Bypassed | Status::Unknown, _) => {
                EventType::ConsentUpdated
            }
        }
    })
}

/// The event with key, decision, status and purposes of its record.
#[must_use]
pub fn tell(data: &Tree, record: &Record) -> Tree {
    let Some(decided) = record.consent() else { return data.clone() };
    let mut told = Tree::new();
    for part in DATA.fields {
        let given = data.root().get(part.name);
        if part.name == consent::CONSENT.name {
            let open = told.open_object(part.name);
            tell_consent(&mut told, given, record, decided);
            told.close(open);
        } else if let Some(given) = given {
            told.copy(part.name, given);
        }
    }
    told
}

fn tell_consent(told: &mut Tree, given: Option<View<'_>>, record: &Record, decided: &Consent) {
    for field in consent::CONSENT.fields {
        let given = given.and_then(|given| given.get(field.name));
        match field.name {
            "key" => told.text_with("key", |out| {
                out.push_str(&record.key.source);
                out.push('/');
                out.push_str(&record.key.id);
            }),
            "decision" => tell_decision(told, decided),
            "status" => {
                let open: Open = told.open_object("status");
                told.text("code", decided.status.name());
                if let Some(source) = given.and_then(|status| status.get("source")) {
                    told.copy("source", source);
                }
                told.close(open);
            }
            "purposes" => {
                if let Purposes::These(purposes) = &decided.purposes {
                    let open = told.open_list("purposes");
                    purposes.iter().for_each(|purpose| told.text("", purpose));
                    told.close(open);
                }
            }
            _ => {
                if let Some(given) = given {
                    told.copy(field.name, given);
                }
            }
        }
    }
}

/// What is only proposed, or nobody asked the patient about, is no decision.
fn tell_decision(told: &mut Tree, decided: &Consent) {
    match (decided.status, decided.decision) {
        (Status::Proposed | Status::Bypassed | Status::EnteredInError, _) => {}
        (_, Decision::Permit) => told.text("decision", "permit"),
        (_, Decision::Deny) => told.text("decision", "deny"),
    }
}
