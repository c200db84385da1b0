//! What was ordered, reported and found.
//!
//! Promises: the text of a number stays beside the number (`6.90` is not `6.9` to a
//! laboratory); a value's class follows its type; a number that is only a bound is known as one.
//! Knows nothing of: OBX-2; `normalize` turns each value type into these fields.

use super::View;
use super::schema::{CODE, CODED, Class, Field, IDENTIFIER, PERSON, Part};

/// One order group (OBR; FHIR DiagnosticReport).
pub static REPORT: Part = Part {
    name: "report",
    doc: "The order group that was reported.",
    kept: &[],
    fields: &[
        Field::part(
            "code",
            &CODE,
            "What was ordered (OBR-4; DiagnosticReport.code, Observation.code).",
        ),
        Field::part(
            "placerNumber",
            &IDENTIFIER,
            "The orderer's number (OBR-2, else ORC-2; basedOn).",
        )
        .safe_harbor('R'),
        Field::part(
            "fillerNumber",
            &IDENTIFIER,
            "The laboratory's number (OBR-3, else ORC-3; identifier).",
        )
        .safe_harbor('R'),
        Field::part("status", &CODED, "How final it is (OBR-25, table 0123; status)."),
        Field::text(
            "section",
            Class::Operational,
            "Diagnostic service section (OBR-24; category).",
        ),
        Field::date("observedAt", "When it was observed or collected (OBR-7; effective)."),
        Field::date("observedUntil", "When that ended (OBR-8)."),
        Field::date("issuedAt", "When it was reported (OBR-22; issued)."),
        Field::part("parentPlacerNumber", &IDENTIFIER, "The parent order (OBR-29.1, ORC-8.1).")
            .safe_harbor('R'),
        Field::part("parentFillerNumber", &IDENTIFIER, "The parent order (OBR-29.2, ORC-8.2).")
            .safe_harbor('R'),
        Field::part("parentResult", &PARENT_RESULT, "The result that this one is about (OBR-26)."),
        Field::part("requesters", &PERSON, "Who ordered it (OBR-16).").many(),
        Field::part("reasons", &CODE, "Why it was ordered (OBR-31).").many(),
        Field::part("specimens", &SPECIMEN, "What was examined (SPM, else OBR-15).").many(),
        Field::text("comments", Class::FreeText, "Notes on the order (NTE-3).").many(),
    ],
};

/// The observation of the parent order that an order group is about: of a susceptibility the organism
/// (chapter 7, PRL).
pub static PARENT_RESULT: Part = Part {
    name: "parentResult",
    doc: "The observation of the parent order that these are about.",
    kept: &[],
    fields: &[
        Field::part("code", &CODE, "What was observed there: its OBX-3 (OBR-26.1)."),
        Field::text("subId", Class::Operational, "Which of them: its OBX-4 (OBR-26.2)."),
        Field::text("text", Class::FreeText, "What was found there, in words (OBR-26.3)."),
    ],
};

/// What was examined.
pub static SPECIMEN: Part = Part {
    name: "specimen",
    doc: "What was examined.",
    kept: &[],
    fields: &[
        Field::part("identifier", &IDENTIFIER, "Specimen number (SPM-2).").safe_harbor('R'),
        Field::part("type", &CODE, "Kind of specimen (SPM-4)."),
        Field::part("site", &CODE, "Where it was taken (SPM-8)."),
        Field::date("collectedAt", "When it was taken (SPM-17.1)."),
        Field::date("collectedUntil", "When taking it ended (SPM-17.2)."),
        Field::date("receivedAt", "When the laboratory got it (SPM-18)."),
    ],
};

/// One observation (OBX; FHIR Observation).
pub static OBSERVATION: Part = Part {
    name: "observation",
    doc: "One thing that was found.",
    kept: &[],
    fields: &[
        Field::part("code", &CODE, "What was observed (OBX-3; Observation.code)."),
        Field::text("subId", Class::Operational, "Groups observations of one code (OBX-4)."),
        Field::part("value", &VALUE, "What was found (OBX-5, by OBX-2; Observation.value)."),
        Field::part("absentReason", &CODE, "Why there is no value (Observation.dataAbsentReason)."),
        Field::part("unit", &CODE, "Its unit (OBX-6)."),
        Field::text(
            "range",
            Class::FreeText,
            "The reference range, as text (OBX-7; referenceRange).",
        ),
        Field::text(
            "flags",
            Class::Clinical,
            "Interpretation (OBX-8, table 0078; interpretation).",
        )
        .many(),
        Field::part("status", &CODED, "How final it is (OBX-11, table 0085; Observation.status)."),
        Field::date("observedAt", "When it was observed (OBX-14; effective)."),
        Field::date("analyzedAt", "When it was analyzed (OBX-19)."),
        Field::part("method", &CODE, "How it was found (OBX-17)."),
        Field::part("bodySite", &CODE, "Where on the body (Observation.bodySite)."),
        Field::part("performers", &PERSON, "Who is responsible (OBX-16).").many(),
        Field::text("comments", Class::FreeText, "Notes on the result (NTE-3).").many(),
    ],
};

/// A value, by its type.
pub static VALUE: Part = Part {
    name: "value",
    doc: "A value, in the fields that its type has.",
    kept: &[],
    fields: &[
        Field::text("type", Class::Operational, "The value type (OBX-2, table 0125)."),
        Field::text("text", Class::ByValueType, "The value as text; several become lines."),
        Field::number("number", Class::Clinical, "The number (NM, SN.2)."),
        Field::text("comparator", Class::Clinical, "Before the number (SN.1): < > <= >= = <>."),
        Field::text("separator", Class::Clinical, "Between two numbers (SN.3): - + / . :"),
        Field::number("number2", Class::Clinical, "The second number (SN.4, NR.2)."),
        Field::number("numbers", Class::Clinical, "A series (NA, MA).").many(),
        Field::part("code", &CODE, "The code (CE, CWE, CNE, CF, IS, ID)."),
        Field::part("moreCodes", &CODE, "Further codes where the field repeats.").many(),
        Field::date("time", "The time (DT, TM, TS, DTM; DR.1)."),
        Field::date("until", "The end of a range (DR.2)."),
        Field::part("attachment", &ATTACHMENT, "An embedded or referenced document (ED, RP)."),
    ],
};

/// Longest content of a document that an event keeps, in bytes as it came: as long a text as a payload
/// may hold. What is longer is described alone.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;

/// What is known of a document. Its content leaves by its own name alone, and by no part that is kept.
pub static ATTACHMENT: Part = Part {
    name: "attachment",
    doc: "An embedded or referenced document: what it is, and what it says where that is named.",
    kept: &["mediaType", "type", "subtype", "application", "encoding", "size", "digest", "pointer"],
    fields: &[
        Field::text("mediaType", Class::Operational, "Its MIME type, by its subtype."),
        Field::text("type", Class::FreeText, "Type of data as it came (ED.2; RP.3, table 0191)."),
        Field::text("subtype", Class::FreeText, "Subtype as it came (ED.3; RP.4, table 0291)."),
        Field::text("application", Class::Operational, "Which application has it (ED.1; RP.2)."),
        Field::text("encoding", Class::Operational, "How it came (ED.4, table 0299)."),
        Field::number("size", Class::Operational, "Its length, decoded, in bytes (ED.5)."),
        // Who has the document can tell by it whose it is.
        Field::text("digest", Class::Direct, "`sha256:` and the SHA-256 of it, decoded (ED.5).")
            .safe_harbor('R'),
        Field::text("pointer", Class::FreeText, "Where it is kept (RP.1)."),
        Field::text("content", Class::FreeText, "The document as it came, encoded (ED.5).")
            .safe_harbor('R'),
    ],
};

/// An end of what a number may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Where it is; infinite where there is none.
    pub at: f64,
    /// Whether it does not belong to it.
    pub open: bool,
}

/// The least and the most that the number of a value may be; nothing where that is a ratio or an
/// inequality. SN.1 is `<`, `>`, `<=`, `>=`, `=` or `<>`, SN.3 stands before a second number (HL7
/// chapter 2A, SN).
#[must_use]
pub fn range(number: f64, value: View<'_>) -> Option<(End, End)> {
    let text = |key| value.get(key).and_then(|it| it.as_text());
    let at = |at| End { at, open: false };
    let open = |at| End { at, open: true };
    match (text("comparator").unwrap_or("="), text("separator")) {
        ("" | "=", None) => Some((at(number), at(number))),
        ("<", None) => Some((open(f64::NEG_INFINITY), open(number))),
        ("<=", None) => Some((open(f64::NEG_INFINITY), at(number))),
        (">", None) => Some((at(number), open(f64::INFINITY))),
        (">=", None) => Some((at(number), open(f64::INFINITY))),
        ("" | "=", Some("-")) => {
            let number = value.get("number").and_then(|it| it.as_number())?;
            let second = value.get("number2").and_then(|it| it.as_number())?;
            (number <= second).then(|| (at(number), at(second)))
        }
        _ => None,
    }
}
