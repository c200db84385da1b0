//! A consent event as its record has it: its type, and what consent.toml says of it.
//!
//! Promises: what the sender said is not changed; a field that was made from it stands beside it.
//! Knows nothing of: routes.

use jiff::Timestamp;

use crate::consent::decision::{Consent, Decision, Purposes, Status};
use crate::consent::moment::Moment;
use crate::consent::record::Record;
use crate::event::schema::{DATA, LABELS};
use crate::event::tree::Open;
use crate::event::{EventType, Tree, View, consent};

/// The type of the event of a record: by its decision.
#[must_use]
pub fn kind(record: &Record) -> EventType {
    record.consent().map_or(EventType::ConsentUpdated, |consent| {
        match (consent.status, consent.decision) {
            (Status::Active, Decision::Permit) if consent.is_unsure() => EventType::ConsentUpdated,
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

/// The event of a restriction: the message, the patient and the visit as the message has them, and
/// what began.
#[must_use]
pub fn tell_restriction(data: &Tree, record: &Record, labels: &[String]) -> Tree {
    let mut told = Tree::new();
    for part in ["message", "patient", "visit"] {
        if let Some(given) = data.root().get(part) {
            told.copy(part, given);
        }
    }
    let open = told.open_object(consent::CONSENT.name);
    tell_key(&mut told, record);
    told.text("decision", "deny");
    let status = told.open_object("status");
    told.text("code", Status::Active.name());
    told.close(status);
    tell_list(&mut told, "labels", labels);
    tell_dates(&mut told, record);
    told.close(open);
    if let Some(given) = data.root().get(LABELS) {
        told.copy(LABELS, given);
    }
    told
}

/// The event of a record that came in without one.
#[must_use]
pub fn tell_record(record: &Record) -> Tree {
    tell_alone(record, None)
}

/// The event of a permit that has ended by itself.
#[must_use]
pub fn tell_end(record: &Record, at: Timestamp) -> Tree {
    // Who comes of age has ended it before its own date, if it has one.
    let by_date = record.effective_to.is_some_and(|to| to.span().latest < at);
    tell_alone(record, Some(at).filter(|_| !by_date))
}

fn tell_alone(record: &Record, until: Option<Timestamp>) -> Tree {
    let mut told = Tree::new();
    let Some(decided) = record.consent() else { return told };
    let open = told.open_object(consent::CONSENT.name);
    tell_key(&mut told, record);
    if let Some(version) = &record.version {
        told.text("version", version);
    }
    tell_decision(&mut told, decided);
    let status = told.open_object("status");
    told.text("code", decided.status.name());
    told.close(status);
    told.text("kind", decided.kind.name());
    if let Purposes::These(purposes) = &decided.purposes {
        tell_list(&mut told, "purposes", purposes);
    }
    tell_list(&mut told, "channels", &decided.channels);
    for (name, text) in [("grantee", &decided.grantee), ("jurisdiction", &decided.jurisdiction)] {
        if let Some(text) = text {
            told.text(name, text);
        }
    }
    tell_list(&mut told, "labels", &decided.labels);
    match until {
        None => tell_dates(&mut told, record),
        Some(until) => {
            tell_dates(&mut told, &Record { effective_to: None, ..record.clone() });
            told.text("effectiveTo", &until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
    }
    let origin = &record.origin;
    for (name, text) in [("form", &origin.form), ("document", &origin.document)] {
        if let Some(text) = text {
            told.text(name, text);
        }
    }
    told.close(open);
    told
}

fn tell_key(told: &mut Tree, record: &Record) {
    told.text_with("key", |out| {
        out.push_str(&record.key.source);
        out.push('/');
        out.push_str(&record.key.id);
    });
}

fn tell_list(told: &mut Tree, name: &'static str, texts: &[String]) {
    let open = told.open_list(name);
    texts.iter().for_each(|text| told.text("", text));
    told.close(open);
}

fn tell_dates(told: &mut Tree, record: &Record) {
    let dates = [
        ("decidedAt", &record.decided_at),
        ("effectiveFrom", &record.effective_from),
        ("effectiveTo", &record.effective_to),
    ];
    for (name, date) in dates {
        tell_date(told, name, *date);
    }
}

fn tell_date(told: &mut Tree, name: &'static str, date: Option<Moment>) {
    if let Some(date) = date {
        told.text(name, &date.given().to_string());
    }
}

fn tell_consent(told: &mut Tree, given: Option<View<'_>>, record: &Record, decided: &Consent) {
    for field in consent::CONSENT.fields {
        let given = given.and_then(|given| given.get(field.name));
        match field.name {
            "key" => tell_key(told, record),
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
                    tell_list(told, "purposes", purposes);
                }
            }
            "labels" => tell_list(told, "labels", &decided.labels),
            // Of a FHIR Consent they follow from what its provisions mean.
            "effectiveFrom" if given.is_none() => {
                tell_date(told, field.name, record.effective_from)
            }
            "effectiveTo" if given.is_none() => tell_date(told, field.name, record.effective_to),
            _ => {
                if let Some(given) = given {
                    told.copy(field.name, given);
                }
            }
        }
    }
}

/// What is only proposed, nobody asked the patient about, or can open nothing is no decision.
fn tell_decision(told: &mut Tree, decided: &Consent) {
    match (decided.status, decided.decision) {
        (Status::Proposed | Status::Bypassed | Status::EnteredInError, _) => {}
        (_, Decision::Permit) if decided.is_unsure() => {}
        (_, Decision::Permit) => told.text("decision", "permit"),
        (_, Decision::Deny) => told.text("decision", "deny"),
    }
}
