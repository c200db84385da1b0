//! The patient part of an event.
//!
//! Promises: every number, name and contact of the patient is of class direct.
//! Knows nothing of: which of several identifiers keys the subject; that is `[identity]`.

use super::schema::{ADDRESS, CODE, CODED, Class, Field, IDENTIFIER, NAME, Part, TELECOM};

/// Who the patient is.
pub static PATIENT: Part = Part {
    name: "patient",
    doc: "The patient, as the message describes him or her.",
    kept: &[],
    fields: &[
        Field::part(
            "identifiers",
            &IDENTIFIER,
            "Every identifier (PID-3, PID-2, PID-4, PID-19; Patient.identifier).",
        )
        .many(),
        Field::part("names", &NAME, "Every name (PID-5, PID-9; Patient.name).").many(),
        Field::date("birthDate", "Date of birth (PID-7; Patient.birthDate)."),
        Field::date("birthTime", "Date of birth with its hour, where that was given (PID-7)."),
        Field::part("sex", &CODED, "Administrative sex (PID-8, table 0001; Patient.gender)."),
        Field::flag(
            "deceased",
            Class::Clinical,
            "Whether the patient has died (PID-30; Patient.deceased).",
        ),
        Field::date("deceasedAt", "When the patient died (PID-29; Patient.deceased)."),
        Field::part("addresses", &ADDRESS, "Every address (PID-11; Patient.address).").many(),
        Field::part("telecoms", &TELECOM, "Ways to reach the patient (PID-13, PID-14, PID-40).")
            .many(),
        Field::part("language", &CODE, "Primary language (PID-15; Patient.communication)."),
        Field::part("maritalStatus", &CODE, "Marital status (PID-16; Patient.maritalStatus)."),
        Field::part("religion", &CODE, "Religion (PID-17)."),
        Field::part("account", &IDENTIFIER, "Account number (PID-18).").safe_harbor('J'),
        Field::part("races", &CODE, "Race (PID-10).").many(),
        Field::part("ethnicGroups", &CODE, "Ethnic group (PID-22).").many(),
        Field::part("citizenships", &CODE, "Citizenship (PID-26).").many(),
        Field::part("mothersMaidenNames", &NAME, "Mother's maiden name (PID-6).").many(),
        Field::part("mothersIdentifiers", &IDENTIFIER, "Mother's identifiers (PID-21).").many(),
        Field::text("birthPlace", Class::FreeText, "Place of birth (PID-23).").safe_harbor('B'),
        Field::flag("multipleBirth", Class::Clinical, "Twin, triplet … (PID-24)."),
        Field::number("birthOrder", Class::Clinical, "Which of them, from 1 (PID-25)."),
        Field::part(
            "priorIdentifiers",
            &IDENTIFIER,
            "Identifiers that were merged into these, moved from, or changed (MRG-1).",
        )
        .many(),
        Field::part("priorNames", &NAME, "The names that went with them (MRG-7).").many(),
        Field::part("priorAccount", &IDENTIFIER, "The account number before (MRG-3).")
            .safe_harbor('J'),
    ],
};
