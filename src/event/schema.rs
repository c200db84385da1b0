//! How the canonical event is declared: parts, fields, types and classes.
//!
//! Promises: every field has a class, so that no contract can name one whose protection nobody
//! thought about; looking a path up tells whether it exists and what it lets out.
//! Knows nothing of: tiers and transforms, which are built on the classes in `privacy`.

use super::{EventType, code, consent, observation, patient, visit};

/// The version that a contract pins with `schema`. A later field does not leave by itself.
pub const VERSION: u64 = 1;

/// The field of an event's `data` that its sensitivity labels stand in.
pub const LABELS: &str = "labels";

/// How identifying a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Names the patient or somebody near: names, contacts, numbers of any kind.
    Direct,
    /// Identifies together with others: dates finer than a year, geography under a state.
    Quasi,
    /// What was found or done, in codes and numbers.
    Clinical,
    /// How the hospital runs: applications, wards, statuses.
    Operational,
    /// Text may say anything, so it is treated as direct.
    FreeText,
    /// Decided by the type of each value (OBX-2): number and code clinical, time quasi, else
    /// free text.
    ByValueType,
}

impl Class {
    /// Whether a value of it has a structure that says what it can be: a code, a number, a date.
    #[must_use]
    pub const fn is_structured(self) -> bool {
        matches!(self, Self::Quasi | Self::Clinical | Self::Operational)
    }

    /// The word used in schemas and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Quasi => "quasi",
            Self::Clinical => "clinical",
            Self::Operational => "operational",
            Self::FreeText => "free-text",
            Self::ByValueType => "by-value-type",
        }
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text.
    Text,
    /// A date or time as precise as it was given.
    Date,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// Fields of its own.
    Part(&'static Part),
}

/// A group of fields that occurs in one or more places.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name among the definitions of the JSON Schema.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Its fields, in the order they are printed.
    pub fields: &'static [Field],
    /// What `keep` on the whole part lets out; empty: every field.
    pub kept: &'static [&'static str],
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether it holds a list of that.
    pub many: bool,
    /// How identifying it is; of a part, its fields say so.
    pub class: Class,
    /// The letter of the identifier in 45 CFR 164.514(b)(2)(i), A to R.
    pub safe_harbor: Option<char>,
    /// One sentence.
    pub doc: &'static str,
}

impl Field {
    const fn new(name: &'static str, shape: Shape, class: Class, doc: &'static str) -> Self {
        Self { name, shape, many: false, class, safe_harbor: None, doc }
    }

    pub(super) const fn text(name: &'static str, class: Class, doc: &'static str) -> Self {
        Self::new(name, Shape::Text, class, doc)
    }

    pub(super) const fn date(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, Shape::Date, Class::Quasi, doc).safe_harbor('C')
    }

    pub(super) const fn number(name: &'static str, class: Class, doc: &'static str) -> Self {
        Self::new(name, Shape::Number, class, doc)
    }

    pub(super) const fn flag(name: &'static str, class: Class, doc: &'static str) -> Self {
        Self::new(name, Shape::Bool, class, doc)
    }

    pub(super) const fn part(name: &'static str, part: &'static Part, doc: &'static str) -> Self {
        Self::new(name, Shape::Part(part), Class::Operational, doc)
    }

    pub(super) const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    pub(super) const fn safe_harbor(self, letter: char) -> Self {
        Self { safe_harbor: Some(letter), ..self }
    }

    /// The name as it stands in a path: `observations[]`.
    #[must_use]
    pub fn label(&self) -> String {
        if self.many { format!("{}[]", self.name) } else { self.name.to_owned() }
    }
}

impl Part {
    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Everything that an event's `data` may hold, but fields of sites' own ([`super::extension`]).
pub static DATA: Part = Part {
    name: "data",
    doc: "What the message says, before any route.",
    kept: &[],
    fields: &[
        Field::part("message", &MESSAGE, "Which message said it."),
        Field::part("patient", &patient::PATIENT, "Whom it is about."),
        Field::part("visit", &visit::VISIT, "The encounter."),
        Field::part("diagnoses", &visit::DIAGNOSIS, "What the patient has.").many(),
        Field::part("report", &observation::REPORT, "The order group that was reported."),
        Field::part("observations", &observation::OBSERVATION, "What was found.").many(),
        Field::part("consent", &consent::CONSENT, "What the patient decided."),
        Field::part(LABELS, &LABEL, "What is sensitive in it.").many(),
        Field::part("extension", &EXTENSION, "Fields of sites' own."),
        Field::part("zone", &ZONE, "How times that state no zone were read."),
    ],
};

/// A sensitivity label.
pub static LABEL: Part = Part {
    name: "label",
    doc: "A sensitivity label: contract and permit have to name it before the event leaves.",
    kept: &[],
    fields: &[
        Field::text("code", Class::Clinical, "The label, such as HIV or 42CFRPart2."),
        Field::text(
            "about",
            Class::Operational,
            "What the message says it of: message, person, visit, diagnosis, order, document.",
        ),
    ],
};

/// Where an event comes from.
pub static MESSAGE: Part = Part {
    name: "message",
    doc: "The message that an event was made from.",
    kept: &[],
    fields: &[
        Field::text("protocol", Class::Operational, "hl7v2 or fhir."),
        Field::text("type", Class::Operational, "Message type (MSH-9.1), or resource type."),
        Field::text("event", Class::Operational, "Trigger event (MSH-9.2)."),
        Field::text("structure", Class::Operational, "Message structure (MSH-9.3)."),
        Field::text("version", Class::Operational, "HL7 version (MSH-12), or R4 or R5."),
        Field::text("processingId", Class::Operational, "Processing ID (MSH-11.1)."),
        Field::text(
            "controlId",
            Class::Direct,
            "Control ID (MSH-10); it may hold anything. Of a resource Encounter/1/_history/2.",
        )
        .safe_harbor('R'),
        Field::flag("history", Class::Operational, "Archive, restore or initial load (MSH-11.2)."),
        Field::text("sendingApplication", Class::Operational, "Sending application (MSH-3)."),
        Field::text("sendingFacility", Class::Operational, "Sending facility (MSH-4)."),
        Field::date("sentAt", "When it was sent (MSH-7)."),
        Field::date("occurredAt", "When it happened (EVN-6; the start or end of an Encounter)."),
        Field::date("recordedAt", "When it was recorded (EVN-2; meta.lastUpdated)."),
    ],
};

/// Where fields of sites' own stand. Which there are, sites declare ([`super::extension`]); one leaves
/// by its own name alone.
pub static EXTENSION: Part = Part {
    name: "extension",
    doc: "Fields of the sending site's own, by the name that it declares.",
    kept: &[],
    fields: &[],
};

/// The zone that was given to times that state none.
pub static ZONE: Part = Part {
    name: "zone",
    doc: "The zone that was given to times that state none.",
    kept: &[],
    fields: &[
        Field::text("name", Class::Operational, "The feed's zone, such as Europe/Berlin."),
        Field::text("assumed", Class::Operational, "Fields with such times.").many(),
        Field::text(
            "uncertain",
            Class::Operational,
            "Of these, local times that occur twice or never.",
        )
        .many(),
    ],
};

/// The parts that an event of a type can have.
#[must_use]
pub fn parts_of(kind: EventType) -> &'static [&'static str] {
    match kind {
        EventType::PatientAdmitted
        | EventType::PatientTransferred
        | EventType::PatientDischarged
        | EventType::PatientRegistered
        | EventType::PatientPreadmitted
        | EventType::PatientUpdated
        | EventType::PatientAdded
        | EventType::PatientMerged
        | EventType::PatientMoved
        | EventType::PatientIdentifierChanged
        | EventType::PatientAdmitCancelled
        | EventType::PatientTransferCancelled
        | EventType::PatientDischargeCancelled => &[
            "message",
            "patient",
            "visit",
            "diagnoses",
            "observations",
            LABELS,
            "extension",
            "zone",
        ],
        EventType::ObservationReported => {
            &["message", "patient", "visit", "report", "observations", LABELS, "extension", "zone"]
        }
        EventType::ConsentGranted
        | EventType::ConsentDenied
        | EventType::ConsentRevoked
        | EventType::ConsentExpired
        | EventType::ConsentUpdated
        | EventType::ConsentRetracted => {
            &["message", "patient", "visit", "consent", LABELS, "extension", "zone"]
        }
    }
}

/// One step of a path such as `observations[].code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name.
    pub name: String,
    /// Whether `[]` stands behind it.
    pub many: bool,
}

/// A field looked up by its path, and the fields it stands in.
#[derive(Clone, Debug)]
pub struct Found {
    /// From the outermost part to the field itself.
    pub fields: Vec<&'static Field>,
}

impl Found {
    /// The field itself.
    #[must_use]
    pub fn field(&self) -> Option<&'static Field> {
        self.fields.last().copied()
    }
}

/// Splits a path into its steps. `[]` is only allowed at the end of a step.
#[must_use]
pub fn steps(path: &str) -> Option<Vec<Step>> {
    path.split('.')
        .map(|step| {
            let (name, many) = match step.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (step, false),
            };
            let plain =
                !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric());
            plain.then(|| Step { name: name.to_owned(), many })
        })
        .collect()
}

/// Looks a path up among [`DATA`].
///
/// # Errors
/// What is wrong with the path, and the nearest one that would be right.
pub fn find(path: &str) -> Result<Found, String> {
    find_in(&DATA, path)
}

/// Looks a path up among the fields of a part.
pub(super) fn find_in(root: &'static Part, path: &str) -> Result<Found, String> {
    let Some(steps) = steps(path) else {
        return Err(format!("`{path}` is not a path; names joined by dots, lists marked by []"));
    };
    let mut part = root;
    let mut fields = Vec::new();
    let last = steps.len().saturating_sub(1);
    for (index, step) in steps.iter().enumerate() {
        let Some(field) = part.field(&step.name) else {
            let known: Vec<&str> = part.fields.iter().map(|field| field.name).collect();
            let hint = crate::document::hint(&step.name, &known);
            if part.name == EXTENSION.name {
                return Err(format!("`{path}`: no site declares `{}`{hint}", step.name));
            }
            return Err(format!("`{path}`: there is no `{}` in {}{hint}", step.name, part.name));
        };
        if step.many != field.many && (index < last || step.many) {
            return Err(format!("`{path}`: it is `{}` here", field.label()));
        }
        fields.push(field);
        match field.shape {
            Shape::Part(inner) => part = inner,
            Shape::Text | Shape::Date | Shape::Number | Shape::Bool if index < last => {
                return Err(format!("`{path}`: `{}` has no fields of its own", field.label()));
            }
            Shape::Text | Shape::Date | Shape::Number | Shape::Bool => {}
        }
    }
    Ok(Found { fields })
}

/// Every part that can be reached from [`DATA`], each once, outer ones first.
#[must_use]
pub fn parts() -> Vec<&'static Part> {
    let mut found: Vec<&'static Part> = vec![&DATA];
    let mut next = 0;
    while let Some(part) = found.get(next).copied() {
        next += 1;
        for field in part.fields {
            if let Shape::Part(inner) = field.shape
                && !found.iter().any(|known| known.name == inner.name)
            {
                found.push(inner);
            }
        }
    }
    found
}

/// Parts that more than one file uses.
pub(super) use code::{ADDRESS, CODE, CODED, IDENTIFIER, LOCATION, NAME, PERSON, TELECOM};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_or_the_nearest_is_named() {
        assert_eq!(find("observations[].value.number").unwrap().fields.len(), 3);
        assert_eq!(
            find("observations").unwrap().field().map(|field| field.name),
            Some("observations")
        );
        let wrong = find("patient.birthdate").unwrap_err();
        assert!(wrong.contains("did you mean `birthDate`?"), "{wrong}");
        let wrong = find("observations.value").unwrap_err();
        assert!(wrong.contains("`observations[]`"), "{wrong}");
        assert!(find("patient[].birthDate").is_err());
        assert!(find("patient.birthDate.year").is_err());
        assert!(find("").is_err());
    }

    #[test]
    fn names_are_unique_within_a_part_and_parts_by_name() {
        let parts = parts();
        for part in &parts {
            for (index, field) in part.fields.iter().enumerate() {
                assert!(
                    !part.fields.iter().skip(index + 1).any(|other| other.name == field.name),
                    "{}.{}",
                    part.name,
                    field.name
                );
            }
            for kept in part.kept {
                assert!(part.field(kept).is_some(), "{}.{kept}", part.name);
            }
        }
        for kind in EventType::ALL {
            assert!(parts_of(kind).iter().all(|name| DATA.field(name).is_some()));
        }
    }
}
