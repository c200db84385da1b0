//! The visit part of an event, and its diagnoses.
//!
//! Promises: visit, preadmission and account numbers are of class direct.
//! Knows nothing of: how a trigger event becomes a status; the mappings say so.

use super::schema::{CODE, CODED, Class, Field, IDENTIFIER, LOCATION, PERSON, Part};

/// The encounter.
pub static VISIT: Part = Part {
    name: "visit",
    doc: "The encounter that the message is about.",
    kept: &[],
    fields: &[
        Field::part("number", &IDENTIFIER, "Visit number (PV1-19; Encounter.identifier).")
            .safe_harbor('R'),
        Field::part("alternateNumber", &IDENTIFIER, "Alternate visit ID (PV1-50).")
            .safe_harbor('R'),
        Field::part("preadmitNumber", &IDENTIFIER, "Preadmission number (PV1-5).").safe_harbor('R'),
        Field::part("priorNumber", &IDENTIFIER, "The visit number before (MRG-5).")
            .safe_harbor('R'),
        Field::part("priorAlternateNumber", &IDENTIFIER, "The alternate visit ID before (MRG-6).")
            .safe_harbor('R'),
        Field::part("class", &CODED, "Kind of encounter (PV1-2, table 0004; Encounter.class)."),
        Field::part(
            "status",
            &CODED,
            "Where the encounter stands; from the trigger event, or Encounter.status.",
        ),
        Field::part("location", &LOCATION, "Where the patient is (PV1-3; Encounter.location)."),
        Field::part(
            "priorLocation",
            &LOCATION,
            "Where the patient was before (PV1-6; Encounter.location, or the version before).",
        ),
        Field::part("temporaryLocation", &LOCATION, "Where the patient is for now (PV1-11)."),
        Field::part("pendingLocation", &LOCATION, "Where the patient will be (PV1-42)."),
        Field::part("admissionType", &CODE, "Kind of admission (PV1-4)."),
        Field::part("service", &CODE, "Hospital service (PV1-10; Encounter.serviceType)."),
        Field::part("admitSource", &CODE, "Where the patient came from (PV1-14)."),
        Field::part("patientType", &CODE, "Kind of patient (PV1-18)."),
        Field::part("vip", &CODE, "VIP indicator (PV1-16)."),
        Field::part("reason", &CODE, "Reason for admission (PV2-3)."),
        Field::part("attending", &PERSON, "Attending clinicians (PV1-7).").many(),
        Field::part("referring", &PERSON, "Referring clinicians (PV1-8).").many(),
        Field::part("consulting", &PERSON, "Consulting clinicians (PV1-9).").many(),
        Field::part("admitting", &PERSON, "Admitting clinicians (PV1-17).").many(),
        Field::date(
            "admittedAt",
            "When the patient was admitted (PV1-44; Encounter.period, actualPeriod).",
        ),
        Field::date(
            "dischargedAt",
            "When the patient was discharged (PV1-45; Encounter.period, actualPeriod).",
        ),
        Field::date("expectedAdmitAt", "When admission is expected (PV2-8)."),
        Field::date("expectedDischargeAt", "When discharge is expected (PV2-9)."),
        Field::part("disposition", &CODE, "Where the patient went (PV1-36; dischargeDisposition)."),
    ],
};

/// One diagnosis (DG1; FHIR Condition).
pub static DIAGNOSIS: Part = Part {
    name: "diagnosis",
    doc: "One diagnosis.",
    kept: &[],
    fields: &[
        Field::part("identifier", &IDENTIFIER, "Identifier of the diagnosis (DG1-20).")
            .safe_harbor('R'),
        Field::part("code", &CODE, "The diagnosis (DG1-3; Condition.code)."),
        Field::text("description", Class::FreeText, "The sender's words for it (DG1-4)."),
        Field::text("type", Class::Clinical, "admitting, working, final (DG1-6, table 0052)."),
        Field::text(
            "status",
            Class::Clinical,
            "active, or entered-in-error (DG1-21); of a Condition also inactive, resolved, refuted.",
        ),
        Field::text("priority", Class::Clinical, "Rank among the diagnoses (DG1-15)."),
        Field::date(
            "onsetAt",
            "When it was diagnosed (DG1-5); of a Condition its onset, else when it was recorded.",
        ),
        Field::part("clinicians", &PERSON, "Who diagnosed it (DG1-16).").many(),
    ],
};
