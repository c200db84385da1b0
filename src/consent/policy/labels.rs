//! What a sender's confidentiality code labels: words of HL7 that stand, and a site's own.
//!
//! Promises: a code that nobody has said the meaning of is no code without meaning; where a code
//! says that nothing is sensitive, that is believed of the table that says so and of no other.
//! Knows nothing of: where in a message codes stand.

use super::Policy;

/// Label of a code that nobody mapped. No contract may name it, so that nothing opens it.
pub const UNKNOWN: &str = "unknown";
/// Label of what is confidential without saying why (HL7 v3 Confidentiality: restricted).
const RESTRICTED: &str = "R";
/// The same, more so (very restricted).
const VERY_RESTRICTED: &str = "V";

/// Table 0717, access restriction value: ARV-3. What stands beside an empty label names whose rule
/// it is, or which data, and no sensitivity; that stands in ARV-4 then (chapter 3.4.14 of 2.9).
/// `DRG` is here what table 0177 calls an alcohol or drug treatment patient.
const TABLE_0717: [(&str, &str); 24] = [
    ("ALL", ""),
    ("NO", ""),
    ("OO", ""),
    ("OI", ""),
    ("JurisIP", ""),
    ("JurisNSI", ""),
    ("JurisPI", ""),
    ("OrgIP", ""),
    ("OrgNSI", ""),
    ("OrgPI", ""),
    ("PersIP", ""),
    ("PersNSI", ""),
    ("PersPI", ""),
    ("DEM", "DEMO"),
    ("LOC", "PATLOC"),
    ("PID-7", "DOB"),
    ("PID-17", "REL"),
    ("HIV", "HIV"),
    ("STD", "STD"),
    ("PSY", "PSY"),
    ("DRG", "SUD"),
    ("SMD", RESTRICTED),
    ("42CFRPart2CD", "42CFRPart2"),
    ("ETH", "SUD"),
];

/// Table 0719, access restriction reason: ARV-4. Until 2.8 who asked for it, from 2.9 on what is
/// sensitive.
const TABLE_0719: [(&str, &str); 8] = [
    ("ORG", ""),
    ("PAT", ""),
    ("PHY", ""),
    ("REG", ""),
    ("DIA", "DIA"),
    ("EMP", "EMP"),
    ("VIP", "VIP"),
    ("ETH", "SUD"),
];

/// Table 0136, yes or no: DG1-17.
const TABLE_0136: [(&str, &str); 2] = [("N", ""), ("Y", RESTRICTED)];

/// Table 0177, confidentiality code: ORC-28.
const TABLE_0177: [(&str, &str); 10] = [
    ("U", ""),
    ("R", RESTRICTED),
    ("V", VERY_RESTRICTED),
    ("EMP", "EMP"),
    ("UWM", "UWM"),
    ("VIP", "VIP"),
    ("PSY", "PSY"),
    ("AID", "HIV"),
    ("HIV", "HIV"),
    ("ETH", "SUD"),
];

/// Table 0272, document confidentiality status: TXA-18.
const TABLE_0272: [(&str, &str); 3] = [("U", ""), ("R", RESTRICTED), ("V", VERY_RESTRICTED)];

/// HL7 v3 Confidentiality, of FHIR's `meta.security`: normal and below say that nothing is sensitive.
const CONFIDENTIALITY: [(&str, &str); 6] =
    [("U", ""), ("L", ""), ("M", ""), ("N", ""), ("R", RESTRICTED), ("V", VERY_RESTRICTED)];

/// HL7 v3 ObservationValue, of FHIR's `meta.security`: what was done to a resource and how far it can
/// be trusted, which says nothing of how sensitive it is.
const OBSERVATION_VALUE: [(&str, &str); 17] = [
    ("SUBSETTED", ""),
    ("ABSTRED", ""),
    ("AGGRED", ""),
    ("ANONYED", ""),
    ("MAPPED", ""),
    ("MASKED", ""),
    ("PSEUDED", ""),
    ("REDACTED", ""),
    ("SYNTAC", ""),
    ("TRSLT", ""),
    ("HRELIABLE", ""),
    ("RELIABLE", ""),
    ("UNCERTREL", ""),
    ("UNRELIABLE", ""),
    ("CLINRPT", ""),
    ("PATRPT", ""),
    ("DEVRPT", ""),
];

/// Words that are labels themselves, in whichever table they stand: HL7 v3
/// InformationSensitivityPolicy and the privacy laws of ActCode.
const THEMSELVES: [&str; 46] = [
    "42CFRPart2",
    "HIPAAPsyNotes",
    "HIPAASelfPay",
    "Title38Section7332",
    "ADOL",
    "B",
    "BH",
    "CEL",
    "COGN",
    "DEMO",
    "DIA",
    "DOB",
    "DRGIS",
    "DVD",
    "EMOTDIS",
    "EMP",
    "EMPL",
    "ETHUD",
    "GDIS",
    "GENDER",
    "HIV",
    "IDS",
    "LIVARG",
    "LOCIS",
    "MARST",
    "MH",
    "MST",
    "OPIOIDUD",
    "PATLOC",
    "PDS",
    "PREGNANT",
    "PRS",
    "PSY",
    "PSYTHPN",
    "RACE",
    "REL",
    "SCA",
    "SDV",
    "SEX",
    "SICKLE",
    "SPI",
    "SSP",
    "STD",
    "SUD",
    "TBOO",
    "VIO",
];

/// What a code says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labelling<'p> {
    /// These labels; none where it says that nothing is sensitive.
    Labels(Vec<&'p str>),
    /// Nobody has said what.
    Unknown,
}

impl Policy {
    /// What a code labels. `system` is what the sender calls its code system, if anything; `table`
    /// is that of the field that it stands in, such as `HL70177`.
    // PROMISE-5
    #[must_use]
    pub fn labels_of(&self, system: Option<&str>, table: &str, code: &str) -> Labelling<'_> {
        let code = code.trim();
        let standing = word_of(table, code).or_else(|| itself(code));
        let of_table = system.is_none_or(|system| system == table);
        if let Some(label) = standing.filter(|label| !label.is_empty() || of_table) {
            let labels = Some(label).filter(|label| !label.is_empty());
            return Labelling::Labels(labels.into_iter().collect());
        }
        match self.labels.get(&format!("{}/{code}", system.unwrap_or(table))) {
            Some(labels) => Labelling::Labels(labels.iter().map(String::as_str).collect()),
            None => Labelling::Unknown,
        }
    }
}

/// Whether a code of a table has a meaning that stands, so that a row cannot give it another.
pub(super) fn stands(table: &str, code: &str) -> bool {
    word_of(table, code).is_some()
}

fn word_of(table: &str, code: &str) -> Option<&'static str> {
    let words: &[(&str, &str)] = match table {
        "Confidentiality" => &CONFIDENTIALITY,
        "ObservationValue" => &OBSERVATION_VALUE,
        "HL70136" => &TABLE_0136,
        "HL70177" => &TABLE_0177,
        "HL70272" => &TABLE_0272,
        "HL70717" => &TABLE_0717,
        "HL70719" => &TABLE_0719,
        _ => return None,
    };
    words.iter().find(|(known, _)| *known == code).map(|(_, label)| *label)
}

fn itself(code: &str) -> Option<&'static str> {
    THEMSELVES.into_iter().find(|known| *known == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(policy: &Policy, system: Option<&str>, table: &str, code: &str) -> Option<String> {
        match policy.labels_of(system, table, code) {
            Labelling::Labels(labels) => Some(labels.join(" ")),
            Labelling::Unknown => None,
        }
    }

    #[test]
    fn words_of_hl7_have_their_meaning_and_a_site_adds_its_own() {
        let mut policy = Policy::default();
        policy.labels.insert("L/ZZSEC".to_owned(), vec!["HIV".to_owned(), "R".to_owned()]);
        policy.labels.insert("HL70177/Z".to_owned(), Vec::new());
        for (system, table, code, wanted) in [
            (None, "HL70136", "Y", Some("R")),
            (None, "HL70136", "N", Some("")),
            (None, "HL70177", "AID", Some("HIV")),
            (Some("HL70177"), "HL70177", " ETH ", Some("SUD")),
            (None, "HL70177", "U", Some("")),
            (None, "HL70272", "V", Some("V")),
            (None, "HL70717", "ALL", Some("")),
            (None, "HL70717", "DRG", Some("SUD")),
            (None, "HL70719", "PAT", Some("")),
            (None, "HL70719", "VIP", Some("VIP")),
            (Some("ActCode"), "HL70719", "42CFRPart2", Some("42CFRPart2")),
            (Some("L"), "HL70177", "ZZSEC", Some("HIV R")),
            (None, "HL70177", "Z", Some("")),
        ] {
            assert_eq!(labels(&policy, system, table, code).as_deref(), wanted, "{table} {code}");
        }
    }

    /// PROMISE-5
    #[test]
    fn a_code_that_nobody_mapped_is_unknown_and_never_nothing() {
        let policy = Policy::default();
        for (system, table, code) in [
            (None, "HL70136", "y"),
            (None, "HL70136", "C"),
            (None, "HL70177", ""),
            (None, "HL70272", "HL70177"),
            // Of another table `U` may be anything, such as unrestricted or unwell.
            (Some("L"), "HL70177", "U"),
            (Some("HL70177"), "HL70717", "NO"),
            (None, "HL79999", "Y"),
        ] {
            assert_eq!(labels(&policy, system, table, code), None, "{table} {code}");
        }
        // What labels in its own table does so under another name of it, too.
        assert_eq!(labels(&policy, Some("0177"), "HL70177", "R").as_deref(), Some("R"));
    }
}
