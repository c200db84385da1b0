//! The parts that occur in many places: codes, identifiers, names, addresses.
//!
//! Promises: a sender's own words (display, original text, a code as it came) are fields of
//! their own, apart from the code, so that keeping a code does not let words out.
//! Knows nothing of: where each of them is used.

use super::schema::{Class, Field, Part};

/// A code that tidegate normalizes: ours, and as it came.
pub static CODED: Part = Part {
    name: "coded",
    doc: "A normalized code, and the sender's beside it.",
    kept: &["code"],
    fields: &[
        Field::text("code", Class::Clinical, "The normalized code; absent where no table has it."),
        Field::text("source", Class::FreeText, "The code as it came."),
    ],
};

/// A code with its system (CWE, CE; FHIR Coding).
pub static CODE: Part = Part {
    name: "code",
    doc: "A code, its system, and what the sender calls it.",
    kept: &["system", "code"],
    fields: &[
        Field::text("system", Class::Clinical, "The code system (CWE.3, by table 0396)."),
        Field::text("code", Class::Clinical, "The code (CWE.1)."),
        Field::text("display", Class::FreeText, "The sender's words for it (CWE.2)."),
        Field::text("text", Class::FreeText, "The original text (CWE.9)."),
        Field::part("alternate", &ALTERNATE, "The same in another system (CWE.4 to CWE.6)."),
    ],
};

/// The second coding of a code.
pub static ALTERNATE: Part = Part {
    name: "alternate",
    doc: "The same meaning in another code system, often the local one.",
    kept: &["system", "code"],
    fields: &[
        Field::text("system", Class::Clinical, "The code system (CWE.6)."),
        Field::text("code", Class::Clinical, "The code (CWE.4)."),
        Field::text("display", Class::FreeText, "The sender's words for it (CWE.5)."),
    ],
};

/// An identifier and who issued it (CX, EI; FHIR Identifier).
pub static IDENTIFIER: Part = Part {
    name: "identifier",
    doc: "A number or name that stands for one thing, and who issued it.",
    kept: &[],
    fields: &[
        Field::text("value", Class::Direct, "The identifier (CX.1), without its check digit.")
            .safe_harbor('H'),
        Field::text("authority", Class::Operational, "Who issued it: namespace (CX.4.1)."),
        Field::text("authorityId", Class::Operational, "The same as universal ID (CX.4.2)."),
        Field::text("authorityIdType", Class::Operational, "Kind of universal ID (CX.4.3)."),
        Field::text("type", Class::Operational, "Kind of identifier (CX.5, table 0203)."),
        Field::date("validFrom", "First day it is valid (CX.7)."),
        Field::date("validTo", "Last day it is valid (CX.8)."),
    ],
};

/// A name of a person (XPN; FHIR HumanName).
pub static NAME: Part = Part {
    name: "name",
    doc: "A name of a person.",
    kept: &[],
    fields: &[
        Field::text("family", Class::Direct, "Surname (XPN.1.1).").safe_harbor('A'),
        Field::text("given", Class::Direct, "Given names (XPN.2, XPN.3).").many().safe_harbor('A'),
        Field::text("prefix", Class::Direct, "Before the name (XPN.5).").safe_harbor('A'),
        Field::text("suffix", Class::Direct, "Behind the name (XPN.4).").safe_harbor('A'),
        Field::text("use", Class::Operational, "legal, alias, maiden … (XPN.7, table 0200)."),
        Field::text("text", Class::Direct, "The whole name, where it came so (HumanName.text).")
            .safe_harbor('A'),
    ],
};

/// Somebody who is not the patient: a clinician, a consenter (XCN).
pub static PERSON: Part = Part {
    name: "person",
    doc: "Somebody who is not the patient.",
    kept: &[],
    fields: &[
        Field::part("identifier", &IDENTIFIER, "The number of the person (XCN.1, XCN.9, XCN.13)."),
        Field::part("name", &NAME, "The name of the person (XCN.2 to XCN.6)."),
    ],
};

/// A postal address (XAD; FHIR Address).
pub static ADDRESS: Part = Part {
    name: "address",
    doc: "A postal address.",
    kept: &[],
    fields: &[
        Field::text(
            "lines",
            Class::Direct,
            "Street and what else is above the town (XAD.1, XAD.2).",
        )
        .many()
        .safe_harbor('B'),
        Field::text("city", Class::Quasi, "Town (XAD.3).").safe_harbor('B'),
        Field::text("district", Class::Quasi, "County (XAD.9).").safe_harbor('B'),
        Field::text("state", Class::Operational, "State or province (XAD.4)."),
        Field::text("postalCode", Class::Quasi, "Postal code (XAD.5).").safe_harbor('B'),
        Field::text("country", Class::Operational, "Country (XAD.6)."),
        Field::text("use", Class::Operational, "home, work, … (XAD.7, table 0190)."),
    ],
};

/// A telephone number or another way to reach somebody (XTN; FHIR ContactPoint).
pub static TELECOM: Part = Part {
    name: "telecom",
    doc: "A way to reach somebody.",
    kept: &[],
    fields: &[
        Field::text("value", Class::Direct, "Number or address (XTN.1, XTN.4 to XTN.8, XTN.12).")
            .safe_harbor('D'),
        Field::text(
            "system",
            Class::Operational,
            "phone, fax, email, pager, … (XTN.3, table 0202).",
        ),
        Field::text("use", Class::Operational, "home, work, mobile, … (XTN.2, table 0201)."),
    ],
};

/// A place in the hospital (PL).
pub static LOCATION: Part = Part {
    name: "location",
    doc: "A place in the hospital.",
    kept: &[],
    fields: &[
        Field::text("pointOfCare", Class::Operational, "Ward, clinic or department (PL.1)."),
        Field::text("room", Class::Quasi, "Room (PL.2).").safe_harbor('B'),
        Field::text("bed", Class::Quasi, "Bed (PL.3).").safe_harbor('B'),
        Field::text("facility", Class::Operational, "Facility (PL.4)."),
        Field::text("type", Class::Operational, "Kind of place (PL.6, table 0305)."),
        Field::text("building", Class::Operational, "Building (PL.7)."),
        Field::text("floor", Class::Operational, "Floor (PL.8)."),
        Field::text("description", Class::FreeText, "The sender's words for it (PL.9)."),
    ],
};
