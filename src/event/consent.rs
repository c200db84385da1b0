//! The consent part of an event: what the patient decided, and how it was recorded.
//!
//! Promises: who signed and what was written by hand is of class direct or free text.
//! Knows nothing of: what a decision allows; that is `crate::consent`.

use super::schema::{CODE, CODED, Class, Field, IDENTIFIER, PERSON, Part};

/// One consent record.
pub static CONSENT: Part = Part {
    name: "consent",
    doc: "What the patient decided about the use of the data.",
    kept: &[],
    fields: &[
        Field::text("key", Class::Direct, "Source and consent ID.").safe_harbor('R'),
        Field::part(
            "identifier",
            &IDENTIFIER,
            "Its number as it came (CON-4, Consent.identifier).",
        ),
        Field::text("version", Class::Operational, "Version of the record under that key."),
        Field::part("type", &CODE, "What it is about (CON-2, Consent.category)."),
        Field::text("decision", Class::Clinical, "permit or deny."),
        Field::part("status", &CODED, "proposed, active, rejected, inactive, revoked, …"),
        Field::text("kind", Class::Operational, "legal-basis, permission or preference."),
        Field::text("purposes", Class::Clinical, "Purposes of use it speaks about.").many(),
        Field::text("channels", Class::Operational, "Channels it speaks about.").many(),
        Field::text("grantee", Class::Operational, "Whom it names."),
        Field::text("jurisdiction", Class::Operational, "Whose law it was given under."),
        Field::text("labels", Class::Clinical, "Sensitivity labels it speaks about.").many(),
        Field::date("decidedAt", "When the patient decided."),
        Field::date("effectiveFrom", "From when it is in force."),
        Field::date("effectiveTo", "Until when it is in force."),
        Field::date("recordedAt", "When it was recorded."),
        Field::text("form", Class::Operational, "The form and its version."),
        Field::text("document", Class::Direct, "The signed document.").safe_harbor('R'),
        Field::text(
            "withdraws",
            Class::Direct,
            "The document that its own replaces (TXA-13), or its own where that was taken back.",
        )
        .safe_harbor('R'),
        Field::part("signer", &PERSON, "Who signed."),
        Field::text("relationship", Class::Operational, "What the signer is to the patient."),
        Field::text("capacity", Class::Clinical, "Whether the patient could decide: Y or N."),
        Field::text("standin", Class::Clinical, "Why somebody else decided (CON-23, table 0502)."),
        Field::text("bypass", Class::Clinical, "Why nobody was asked (CON-20, table 0499)."),
        Field::text("limitations", Class::FreeText, "Limitations, as given."),
        Field::flag(
            "partial",
            Class::Operational,
            "Whether its document says more than the record can, such as sections of a directive.",
        ),
        Field::text(
            "directive",
            Class::FreeText,
            "The FHIR Consent as it came, without its narrative, as JSON text.",
        ),
    ],
};
