//! From two versions of an Encounter to what happened in between.
//!
//! Promises: a step that was told is not told again, and one that a version skips is told with it; the
//! same two versions give the same steps; what is kept of a version is bounded and prints nothing.
//! Knows nothing of: where what was seen is kept, which elements say it; the mapping does.
//!
//! docs/fhir.md has the table; `tests/library/fhir.rs` holds it to [`steps`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::partial_date::rfc3339;
use crate::event::{EventType, Key, Tree, Value, View, code};

/// Longest text that is kept of a place, in characters: names of wards have some dozens.
const TEXT_CHARS_MAX: usize = 256;
/// Classes of v3 ActCode whose patients are admitted: inpatient, acute, non-acute, short stay. One
/// under observation (OBSENC) may be, and mostly is not.
const INPATIENT: [&str; 4] = ["IMP", "ACUTE", "NONAC", "SS"];

/// What was last seen of an Encounter. It is kept durably.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// `visit.status.code`.
    status: Option<String>,
    /// `visit.class.code`.
    class: Option<String>,
    /// `visit.location`, field by field.
    #[serde(default)]
    location: Vec<(String, String)>,
    /// `message.recordedAt`: when the server changed it.
    at: Option<String>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Seen(..)")
    }
}

/// How far an Encounter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Never seen, or no status that is known.
    Unknown,
    /// Planned.
    Expected,
    /// Here, and not admitted.
    Registered,
    /// Here as an inpatient.
    Admitted,
    /// Over.
    Ended,
    /// Will not be, was not, or was entered in error.
    Void,
}

impl Seen {
    /// What an event says of its visit.
    #[must_use]
    pub fn of(data: View<'_>) -> Self {
        let text = |path: &str| data.at(path).and_then(|it| it.as_text()).map(bounded);
        Self {
            status: text("visit.status.code").filter(|status| stage_of(status).is_some()),
            class: text("visit.class.code"),
            location: data.at("visit.location").map(place).unwrap_or_default(),
            at: text("message.recordedAt"),
        }
    }

    /// What is known behind another version: what this one leaves out is as it was. One older than the
    /// other changes nothing.
    #[must_use]
    pub fn after(self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        if self.is_older_than(before) {
            return before.clone();
        }
        // Without a status nothing is told, so nothing that would be told counts as seen.
        if self.status.is_none() {
            return Self { at: self.at.or_else(|| before.at.clone()), ..before.clone() };
        }
        let location =
            if self.location.is_empty() { before.location.clone() } else { self.location };
        Self {
            status: self.status,
            class: self.class.or_else(|| before.class.clone()),
            location,
            at: self.at.or_else(|| before.at.clone()),
        }
    }

    fn is_older_than(&self, before: &Self) -> bool {
        let time =
            |it: &Self| -> Option<jiff::Timestamp> { rfc3339(it.at.as_deref()?)?.parse().ok() };
        time(self).zip(time(before)).is_some_and(|(now, before)| now < before)
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.status.as_deref().and_then(stage_of) {
            None => Stage::Unknown,
            Some(Stage::Registered) if self.status.as_deref() == Some("in-progress") => {
                self.arrival()
            }
            Some(Stage::Registered) if self.status.as_deref() == Some("onleave") => self.arrival(),
            Some(stage) => stage,
        }
    }

    /// What being here is, by its class. A class that nobody knows admits nobody.
    fn arrival(&self) -> Stage {
        let is_inpatient = self.class.as_deref().is_some_and(|class| INPATIENT.contains(&class));
        if is_inpatient { Stage::Admitted } else { Stage::Registered }
    }

    /// Whether the two are different places. Words for a place count only where there is nothing else.
    fn is_elsewhere(&self, before: &Self) -> bool {
        let exact = |seen: &Self| -> Vec<(String, String)> {
            let parts = seen.location.iter().filter(|(key, _)| key != "description");
            parts.cloned().collect()
        };
        let (now, then) = (exact(self), exact(before));
        match (now.is_empty(), then.is_empty()) {
            (false, false) => now != then,
            _ => {
                !self.location.is_empty()
                    && !before.location.is_empty()
                    && self.location != before.location
            }
        }
    }
}

/// The stage that a status of `mappings/tables/encounter-status.csv` says, of whatever class.
fn stage_of(status: &str) -> Option<Stage> {
    Some(match status {
        "planned" => Stage::Expected,
        "arrived" | "triaged" | "in-progress" | "onleave" => Stage::Registered,
        "finished" => Stage::Ended,
        "cancelled" | "entered-in-error" => Stage::Void,
        _ => return None,
    })
}

fn bounded(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

fn place(location: View<'_>) -> Vec<(String, String)> {
    let field = |child: View<'_>| Some((child.key().to_owned(), bounded(child.as_text()?)));
    location.children().filter_map(field).collect()
}

/// What happened between the version that was last seen and this one, in the order in which it did.
/// There is always something: `patient.updated`, where no step is known.
#[must_use]
pub fn steps(before: Option<&Seen>, now: &Seen) -> Vec<EventType> {
    use EventType::{
        PatientAdmitCancelled, PatientAdmitted, PatientDischargeCancelled, PatientDischarged,
        PatientPreadmitted, PatientRegistered, PatientTransferred, PatientUpdated,
    };
    if now.status.is_none() || before.is_some_and(|before| now.is_older_than(before)) {
        return vec![PatientUpdated];
    }
    let now = &now.clone().after(before);
    let then = before.map_or(Stage::Unknown, Seen::stage);
    let arrived = |stage: Stage| match stage {
        Stage::Admitted => PatientAdmitted,
        _ => PatientRegistered,
    };
    let moved = before.is_some_and(|before| now.is_elsewhere(before));
    match (then, now.stage()) {
        // Nobody was told that somebody would be here, or is.
        (Stage::Unknown | Stage::Void, Stage::Expected) => vec![PatientPreadmitted],
        (Stage::Unknown | Stage::Void | Stage::Expected, Stage::Registered) => {
            vec![PatientRegistered]
        }
        (Stage::Unknown | Stage::Void | Stage::Expected | Stage::Registered, Stage::Admitted) => {
            vec![PatientAdmitted]
        }
        (Stage::Unknown | Stage::Void | Stage::Expected, Stage::Ended) => {
            vec![arrived(now.arrival()), PatientDischarged]
        }
        (Stage::Registered, Stage::Ended) => match now.arrival() {
            Stage::Admitted => vec![PatientAdmitted, PatientDischarged],
            _ => vec![PatientDischarged],
        },
        (Stage::Admitted, Stage::Ended) => vec![PatientDischarged],
        (Stage::Registered | Stage::Admitted, Stage::Expected)
        | (Stage::Registered | Stage::Admitted | Stage::Ended, Stage::Void) => {
            vec![PatientAdmitCancelled]
        }
        (Stage::Ended, Stage::Expected) => vec![PatientDischargeCancelled, PatientAdmitCancelled],
        (Stage::Ended, Stage::Registered) => vec![PatientDischargeCancelled],
        (Stage::Ended, Stage::Admitted) => {
            let told = before.map_or(Stage::Unknown, Seen::arrival);
            match told {
                Stage::Admitted => vec![PatientDischargeCancelled],
                _ => vec![PatientDischargeCancelled, PatientAdmitted],
            }
        }
        (Stage::Registered | Stage::Admitted, Stage::Registered)
        | (Stage::Admitted, Stage::Admitted)
            if moved =>
        {
            vec![PatientTransferred]
        }
        (_, Stage::Unknown)
        | (Stage::Unknown | Stage::Void | Stage::Expected, Stage::Void)
        | (Stage::Expected, Stage::Expected)
        | (Stage::Registered | Stage::Admitted, Stage::Registered)
        | (Stage::Admitted, Stage::Admitted)
        | (Stage::Ended, Stage::Ended) => vec![PatientUpdated],
    }
}

/// The fields of an event of one step: those of the version, with what follows from the step: when it
/// happened, where the patient was before, and that a discharge taken back has no time.
#[must_use]
pub fn told(data: &Tree, step: EventType, before: Option<&Seen>) -> Tree {
    let root = data.root();
    let occurred_at = match step {
        EventType::PatientAdmitted | EventType::PatientRegistered => root.at("visit.admittedAt"),
        EventType::PatientDischarged => root.at("visit.dischargedAt"),
        _ => None,
    };
    let left = before.filter(|_| step == EventType::PatientTransferred);
    let reopened = step == EventType::PatientDischargeCancelled;
    let mut tree = Tree::new();
    for part in root.children() {
        match part.key() {
            "message" => {
                insert(&mut tree, part, "occurredAt", occurred_at.is_some(), |tree, key| {
                    if let Some(at) = occurred_at {
                        tree.copy(key, at);
                    }
                })
            }
            "visit" if left.is_some() => {
                insert(&mut tree, part, "priorLocation", true, |tree, key| {
                    let open = tree.open_object(key);
                    for (name, text) in left.iter().flat_map(|seen| &seen.location) {
                        if let Some(field) = code::LOCATION.field(name) {
                            tree.text(field.name, text);
                        }
                    }
                    tree.close(open);
                });
            }
            "visit" => insert(&mut tree, part, "dischargedAt", reopened, Tree::null),
            key => tree.copy(key, part),
        }
    }
    tree
}

/// Copies a part of the event with one field written anew, at the place that its declaration has.
fn insert(
    tree: &mut Tree,
    part: View<'_>,
    name: &str,
    wanted: bool,
    write: impl FnOnce(&mut Tree, Key),
) {
    if !wanted || part.value() != Value::Object {
        return tree.copy(part.key(), part);
    }
    let declared =
        crate::event::schema::DATA.field(part.key()).and_then(|field| match field.shape {
            crate::event::schema::Shape::Part(inner) => Some(inner),
            _ => None,
        });
    let order: Vec<Key> =
        declared.into_iter().flat_map(|inner| inner.fields).map(|field| field.name).collect();
    let position = |key: &str| order.iter().position(|known| *known == key);
    let at = position(name);
    let mut write = Some(write);
    let open = tree.open_object(part.key());
    for child in part.children() {
        if position(child.key()) >= at
            && let Some(write) = write.take()
            && let Some(key) = at.and_then(|at| order.get(at))
        {
            write(tree, key);
        }
        if child.key() != name {
            tree.copy(child.key(), child);
        }
    }
    if let Some(write) = write.take()
        && let Some(key) = at.and_then(|at| order.get(at))
    {
        write(tree, key);
    }
    tree.close(open);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(status: &str, class: &str, ward: &str, at: &str) -> Tree {
        let json = format!(
            r#"{{"message":{{"type":"Encounter","recordedAt":"{at}"}},"patient":{{"birthDate":"1980"}},
               "visit":{{"class":{{"code":"{class}"}},"status":{{"code":"{status}"}},
               "location":{{"pointOfCare":"{ward}","description":"ZZ {at}"}},
               "admittedAt":"2026-11-22","dischargedAt":"2026-11-23"}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn what_was_seen_survives_its_keeping_and_prints_nothing() {
        let tree = event("in-progress", "IMP", "ZZWARD", "2026-11-22T08:00:00Z");
        let seen = Seen::of(tree.root());
        let kept = serde_json::to_vec(&seen).unwrap();
        assert!(serde_json::from_slice::<Seen>(&kept).unwrap() == seen);
        assert_eq!(format!("{seen:?}"), "Seen(..)");
        let long = event("in-progress", "IMP", &"x".repeat(10_000), "2026");
        let seen = Seen::of(long.root());
        assert!(serde_json::to_vec(&seen).unwrap().len() < 1_000, "it is bounded");
    }

    #[test]
    fn what_a_version_leaves_out_is_as_it_was() {
        let first = Seen::of(event("in-progress", "IMP", "A", "2026-11-22T08:00:00Z").root());
        let silent: Tree =
            serde_json::from_str(r#"{"visit":{"status":{"code":"unknown","source":"unknown"}}}"#)
                .unwrap();
        let second = Seen::of(silent.root()).after(Some(&first));
        assert_eq!(second.stage(), Stage::Admitted);
        assert_eq!(steps(Some(&first), &second), [EventType::PatientUpdated]);
        let third = Seen::of(event("in-progress", "IMP", "B", "2026-11-22T09:00:00Z").root());
        assert_eq!(steps(Some(&second), &third), [EventType::PatientTransferred]);
    }

    #[test]
    fn an_older_version_behind_a_newer_one_is_no_step() {
        let newer = Seen::of(event("finished", "IMP", "A", "2026-11-22T09:00:00Z").root());
        let late = event("in-progress", "IMP", "A", "2026-11-22T08:00:00+00:00");
        let late_alone = Seen::of(late.root());
        assert_eq!(steps(Some(&newer), &late_alone), [EventType::PatientUpdated]);
        assert!(late_alone.after(Some(&newer)) == newer, "what is newer is kept");
    }

    #[test]
    fn a_step_says_when_it_was_and_where_the_patient_was_before() {
        let now = event("in-progress", "IMP", "B", "2026-11-22T09:00:00Z");
        let before = Seen::of(event("in-progress", "IMP", "A", "2026-11-22T08:00:00Z").root());
        let moved = told(&now, EventType::PatientTransferred, Some(&before));
        let at = |tree: &Tree, path: &str| {
            tree.root().at(path).map(|view| serde_json::to_string(&view).unwrap())
        };
        assert_eq!(at(&moved, "visit.priorLocation.pointOfCare").as_deref(), Some("\"A\""));
        assert_eq!(at(&moved, "visit.location.pointOfCare").as_deref(), Some("\"B\""));
        let keys: Vec<&str> =
            moved.root().get("visit").unwrap().children().map(|child| child.key()).collect();
        assert_eq!(
            keys,
            ["class", "status", "location", "priorLocation", "admittedAt", "dischargedAt"]
        );
        let back = told(&now, EventType::PatientDischargeCancelled, Some(&before));
        assert_eq!(at(&back, "visit.dischargedAt").as_deref(), Some("null"));
        let admitted = told(&now, EventType::PatientAdmitted, None);
        assert_eq!(at(&admitted, "message.occurredAt").as_deref(), Some("\"2026-11-22\""));
        assert!(told(&now, EventType::PatientUpdated, Some(&before)) == now);
    }
}
