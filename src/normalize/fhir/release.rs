//! R4 or R5, by what a resource looks like.
//!
//! Promises: a server's own word (CapabilityStatement.fhirVersion) is better, and stands before this;
//! what has no sign is R4, which nearly all servers are.
//! Knows nothing of: servers.

use crate::parse::fhir::{Node, Resource, Version};

/// Elements that R5 has and R4 has not, by resource type (FHIR R5, differences to R4 on each page).
const OF_R5: [(&str, &[&str]); 6] = [
    (
        "Encounter",
        &[
            "actualPeriod",
            "plannedStartDate",
            "plannedEndDate",
            "admission",
            "subjectStatus",
            "reason",
            "virtualService",
            "careTeam",
        ],
    ),
    (
        "Observation",
        &["triggeredBy", "instantiatesReference", "instantiatesCanonical", "bodyStructure"],
    ),
    ("DiagnosticReport", &["note", "supportingInfo", "composition", "procedure", "relatesTo"]),
    ("Condition", &["participant"]),
    (
        "Consent",
        &["subject", "decision", "regulatoryBasis", "grantor", "grantee", "controller", "manager"],
    ),
    ("DocumentReference", &["modality", "attester", "version"]),
];

/// The release that a resource was written for.
#[must_use]
pub fn release(resource: &Resource<'_>) -> Version {
    let root = resource.root();
    let kind = resource.kind();
    let known = OF_R5.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, names)| *names);
    let named = known.iter().any(|name| root.get(name).is_some_and(|it| !it.is_null()));
    // One Coding in R4, CodeableConcepts in R5.
    let listed = kind == "Encounter" && root.get("class").is_some_and(Node::is_list);
    if named || listed { Version::R5 } else { Version::R4 }
}
