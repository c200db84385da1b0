//! The JSON of messages and exceptions: one shape for the API and for `--json`.
//!
//! Promises: lists hold no patient data beyond the control ID; bytes and fields are in `show`
//! alone.
//! Knows nothing of: HTTP and terminals.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::admit::entry::Status;
use crate::audit::account::account;
use crate::consent::{Moment, Record};
use crate::event::Subject;
use crate::store::audit::find::Sought;
use crate::store::query::{Exception, Listed, Lookup, MessageName, RouteState, Shown};
use crate::store::{Filed, StoreError};

/// A message in a list.
#[must_use]
pub fn listed(listed: &Listed) -> Json {
    let entry = &listed.entry;
    let events: Vec<Json> = entry
        .correlation_id
        .iter()
        .flat_map(|id| {
            entry.content.events.iter().map(move |stored| {
                json!({ "id": id.event(stored.kind, &stored.place).0, "type": stored.kind })
            })
        })
        .collect();
    json!({
        "number": entry.number,
        "receivedAt": time(entry.received_at),
        "feed": entry.feed.as_ref(),
        "type": listed.kind,
        "controlId": listed.control_id.expose(),
        "status": if listed.damaged { "damaged" } else { entry.status.name() },
        "correlationId": entry.correlation_id.map(|id| id.to_string()),
        "events": events,
    })
}

/// A message, whole.
#[must_use]
pub fn shown(shown: &Shown, routes: &[RouteState]) -> Json {
    let entry = &shown.listed.entry;
    let mut json = listed(&shown.listed);
    let events: Vec<Json> = entry
        .content
        .events
        .iter()
        .map(|stored| {
            let id = entry.correlation_id.map(|id| id.event(stored.kind, &stored.place).0);
            json!({
                "id": id,
                "type": stored.kind,
                "subject": { "authority": stored.authority, "value": stored.value },
                "data": stored.data,
            })
        })
        .collect();
    if let Some(object) = json.as_object_mut() {
        object.insert("events".to_owned(), events.into());
        object.insert("unmapped".to_owned(), entry.content.unmapped.clone().into());
        object.insert("invalid".to_owned(), entry.content.invalid.clone().into());
        object.insert("newSegments".to_owned(), shown.new_segments.clone().into());
        let raw = String::from_utf8_lossy(shown.raw.expose()).into_owned();
        object.insert("raw".to_owned(), raw.into());
        let routes: Vec<Json> = routes
            .iter()
            .map(|state| {
                let state_word = match entry.status {
                    Status::Admitted if state.number >= entry.number => "passed",
                    Status::Admitted => "to come",
                    // What waits for a human has not left, and will not by itself.
                    Status::Parked | Status::Unsupported | Status::Superseded | Status::Refused => {
                        "none"
                    }
                };
                json!({ "route": state.route, "state": state_word })
            })
            .collect();
        object.insert("routes".to_owned(), routes.into());
    }
    json
}

/// An exception in a list.
#[must_use]
pub fn exception(exception: &Exception) -> Json {
    json!({
        "id": exception.id,
        "category": exception.category,
        "feed": exception.feed,
        "controlId": exception.control_id.expose(),
        "count": exception.count,
        "type": exception.kind,
        "place": exception.place,
        "text": exception.text,
        "firstAt": time(exception.first_at),
        "lastAt": time(exception.last_at),
        "message": exception.number,
    })
}

/// What is filed of the consent of a message's subjects.
#[must_use]
pub fn consents(found: &[(Subject, Filed)]) -> Json {
    let subjects = found.iter().map(|(subject, filed)| {
        json!({
            "subject": { "authority": subject.authority, "value": subject.value.expose() },
            "records": filed.records().iter().map(record).collect::<Vec<_>>(),
        })
    });
    subjects.collect()
}

fn record(record: &Record) -> Json {
    let given = |moment: &Option<Moment>| moment.as_ref().map(|moment| moment.given().to_string());
    json!({
        "key": format!("{}/{}", record.key.source, record.key.id),
        "version": record.version,
        "decidedAt": given(&record.decided_at),
        "effectiveFrom": given(&record.effective_from),
        "effectiveTo": given(&record.effective_to),
        "recordedAt": record.recorded_at.to_string(),
        "message": record.origin.message,
        "says": record.says,
    })
}

/// Records of the evidence, of the subjects of a message where one is named.
///
/// # Errors
/// The store cannot be read.
pub fn audit_records(
    lookup: &mut Lookup,
    message: Option<MessageName>,
    mut sought: Sought,
) -> Result<Option<Json>, StoreError> {
    if let Some(message) = message {
        let Some(subjects) = lookup.subjects_of(&message)? else { return Ok(None) };
        sought.subjects = Some(subjects);
    }
    let found = lookup.audit()?.find(&sought)?;
    Ok(Some(json!({
        "records": found.records,
        "moreBelow": found.more_below,
        "archivedUpTo": found.archived,
    })))
}

/// What left about the subjects of a message.
///
/// # Errors
/// The store cannot be read.
pub fn disclosures(lookup: &mut Lookup, message: MessageName) -> Result<Option<Json>, StoreError> {
    let Some(subjects) = lookup.subjects_of(&message)? else { return Ok(None) };
    let (mut records, mut archived) = (Vec::new(), 0);
    for subject in subjects {
        let found = lookup.audit()?.about(&subject)?;
        records.extend(found.records);
        archived = found.archived;
    }
    Ok(Some(json!({ "disclosures": account(&records), "archivedUpTo": archived })))
}

/// A time of the store as RFC 3339.
#[must_use]
pub fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}
