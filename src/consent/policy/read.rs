//! consent.toml as written to consent.toml as meant.
//!
//! Promises: every mistake is reported at once, with file, line and column; a key that is not known
//! is a mistake.
//! Knows nothing of: what is done with it.

use std::collections::{BTreeMap, BTreeSet};

use super::labels::{UNKNOWN, stands};
use super::{Jurisdiction, Policy, Spoken, Stricter, from_table_0498};
use crate::consent::decision::Status;
use crate::consent::purpose::PURPOSES;
use crate::document::{Item, Placed, Table, hint};
use crate::event::schema::Class;

/// What a site's word may mean. `unknown` is what every other word is.
pub(super) const STATUSES: [(&str, Status); 7] = [
    ("proposed", Status::Proposed),
    ("active", Status::Active),
    ("rejected", Status::Rejected),
    ("inactive", Status::Inactive),
    ("revoked", Status::Revoked),
    ("entered-in-error", Status::EnteredInError),
    ("bypassed", Status::Bypassed),
];

/// Bounds of `majority`, in years: wider than any law that is known to us (14 to 21), narrow enough
/// for a typing error.
const MAJORITY_YEARS: std::ops::RangeInclusive<u64> = 9..=25;

/// Classes of fields that a type of data may mean.
const CLASSES: [&str; 5] = [
    Class::Direct.name(),
    Class::Quasi.name(),
    Class::Clinical.name(),
    Class::Operational.name(),
    Class::FreeText.name(),
];

/// The whole file.
pub(super) fn policy(root: &Table<'_>) -> Policy {
    Policy {
        codes: codes(root),
        statuses: statuses(root),
        labels: labels(root),
        grantees: grantees(root),
        classes: classes(root),
        types: BTreeMap::new(),
        spares: spares(root),
        jurisdictions: jurisdictions(root),
    }
}

/// `[codes]`.
fn codes(root: &Table<'_>) -> BTreeMap<String, Spoken> {
    let Some(table) = root.table("codes") else { return BTreeMap::new() };
    let mut codes = BTreeMap::new();
    for (code, item) in table.entries() {
        system_and_code(&table, &code, "HL70496/109");
        codes.insert(code.value, spoken(&item));
    }
    codes
}

/// A row: purposes, or a table with them, labels and what it decides.
fn spoken(item: &Item<'_>) -> Spoken {
    if !item.is_table() {
        return Spoken { purposes: purposes(item), ..Spoken::default() };
    }
    let Some(table) = item.table() else { return Spoken::default() };
    let spoken = Spoken {
        purposes: table.required("purposes").map(|item| purposes(&item)).unwrap_or_default(),
        labels: table.item("labels").map(|item| words(&item)).unwrap_or_default(),
        denies: table.choice("decision", &[("permit", false), ("deny", true)]).unwrap_or_default(),
    };
    if !table.has("labels") && !table.has("decision") {
        table.mistake(&table.place(), "a table has `labels` or `decision` beside `purposes`");
    }
    table.finish();
    spoken
}

/// A list of sensitivity labels.
fn words(item: &Item<'_>) -> Vec<String> {
    let labels = item.texts();
    if labels.iter().any(|label| label.value.trim().is_empty() || label.value == UNKNOWN) {
        item.mistake(format!("a label is a word, and not `{UNKNOWN}`"));
    }
    labels.into_iter().map(|label| label.value).collect()
}

/// What a key of `[codes]` and `[labels]` names.
fn system_and_code<'c>(
    table: &Table<'_>,
    code: &'c Placed<String>,
    example: &str,
) -> Option<(&'c str, &'c str)> {
    let parts = code.value.rsplit_once('/');
    let parts = parts.filter(|(system, code)| !system.is_empty() && !code.is_empty());
    if parts.is_none() {
        let text = format!("a code is named \"SYSTEM/CODE\", such as \"{example}\"");
        table.mistake(&code.place, text);
    }
    parts
}

/// `[labels]`.
fn labels(root: &Table<'_>) -> BTreeMap<String, Vec<String>> {
    let Some(table) = root.table("labels") else { return BTreeMap::new() };
    let mut codes = BTreeMap::new();
    for (code, item) in table.entries() {
        if system_and_code(&table, &code, "L/SECRET").is_some_and(|(name, word)| stands(name, word))
        {
            let text = format!("`{}` is a word of HL7, which stands", code.value);
            table.mistake(&code.place, text);
        }
        codes.insert(code.value, words(&item));
    }
    codes
}

/// `[grantees]`.
fn grantees(root: &Table<'_>) -> BTreeMap<String, Vec<String>> {
    let Some(table) = root.table("grantees") else { return BTreeMap::new() };
    let mut grantees = BTreeMap::new();
    for (name, item) in table.entries() {
        let consumers = item.texts();
        if name.value.trim().is_empty() || consumers.iter().any(|it| it.value.trim().is_empty()) {
            item.mistake("a name of FHIR and consumers as contracts call them are wanted");
        }
        grantees.insert(name.value, consumers.into_iter().map(|it| it.value).collect());
    }
    grantees
}

/// `[classes]`.
fn classes(root: &Table<'_>) -> BTreeMap<String, Vec<String>> {
    let Some(table) = root.table("classes") else { return BTreeMap::new() };
    let mut classes = BTreeMap::new();
    for (code, item) in table.entries() {
        system_and_code(&table, &code, "http://hl7.org/fhir/resource-types/Observation");
        let named = item.texts();
        for class in &named {
            if !CLASSES.contains(&class.value.as_str()) {
                let hint = hint(&class.value, &CLASSES);
                item.mistake(format!("`{}` is no class of fields{hint}", class.value));
            }
        }
        classes.insert(code.value, named.into_iter().map(|class| class.value).collect());
    }
    classes
}

/// `[status.SITE]`.
fn statuses(root: &Table<'_>) -> BTreeMap<String, BTreeMap<String, Status>> {
    let Some(table) = root.table("status") else { return BTreeMap::new() };
    let mut sites = BTreeMap::new();
    for (site, item) in table.entries() {
        let Some(table) = item.table() else { continue };
        let mut words = BTreeMap::new();
        for (word, item) in table.entries() {
            if from_table_0498(&word.value).is_some() {
                let text = format!("`{}` is a word of table 0498, which stands", word.value);
                table.mistake(&word.place, text);
            }
            if let Some(status) = item.choice(&STATUSES) {
                words.insert(word.value, status);
            }
        }
        sites.insert(site.value, words);
    }
    sites
}

/// `[restriction]`.
fn spares(root: &Table<'_>) -> BTreeSet<String> {
    let Some(table) = root.table("restriction") else { return BTreeSet::new() };
    let spares = table.item("spares").map(|item| purposes(&item)).unwrap_or_default();
    table.finish();
    spares.into_iter().collect()
}

/// `[[jurisdiction]]`.
fn jurisdictions(root: &Table<'_>) -> Vec<Jurisdiction> {
    let mut jurisdictions: Vec<Jurisdiction> = Vec::new();
    for table in root.tables("jurisdiction") {
        let code = table.required_text("code").and_then(|code| checked(&table, code));
        if let Some(code) = &code
            && jurisdictions.iter().any(|known| known.code == *code)
        {
            table.mistake(&table.place_of("code"), format!("`{code}` stands here a second time"));
        }
        let majority = table.item("majority").and_then(|item| item.integer(MAJORITY_YEARS));
        let minor_consents = table.texts("minor_consents");
        let named = table.item("purposes").map(|item| purposes(&item));
        let choices = [("opt-in", Stricter::OptIn), ("opt-out", Stricter::OptOut)];
        let require = table.choice("require", &choices);
        if table.has("purposes") != table.has("require") {
            let text = "`purposes` and `require` go together: for which purposes what is demanded";
            table.mistake(&table.place(), text);
        }
        table.finish();
        let Some(code) = code else { continue };
        jurisdictions.push(Jurisdiction {
            code,
            majority: majority.and_then(|years| u8::try_from(years).ok()),
            minor_consents: minor_consents.into_iter().map(|label| label.value).collect(),
            stricter: require.zip(named),
        });
    }
    jurisdictions
}

/// A code of ISO 3166: `US`, `US-CA`.
fn checked(table: &Table<'_>, code: Placed<String>) -> Option<String> {
    let (country, part) = match code.value.split_once('-') {
        Some((country, part)) => (country, Some(part)),
        None => (code.value.as_str(), None),
    };
    let upper =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let right = country.len() == 2
        && upper(country)
        && part.is_none_or(|part| (1..=3).contains(&part.len()) && upper(part));
    if !right {
        table.mistake(&code.place, "`code` is of ISO 3166, such as \"US\" or \"US-CA\"");
    }
    right.then_some(code.value)
}

/// A list of purposes of use.
fn purposes(item: &Item<'_>) -> Vec<String> {
    let mut purposes = Vec::new();
    for item in item.items() {
        let Some(purpose) = item.text() else { continue };
        if PURPOSES.contains(&purpose.value.as_str()) {
            purposes.push(purpose.value);
        } else {
            let hint = hint(&purpose.value, &PURPOSES);
            item.mistake(format!("`{}` is no HL7 v3 PurposeOfUse{hint}", purpose.value));
        }
    }
    purposes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::consent::policy::TABLE_0498;
    use crate::document::{Document, Problems};

    fn policy(text: &str) -> (Policy, Vec<String>) {
        let problems = Problems::default();
        let document = Document::from_text("c.toml", Path::new("."), text);
        let policy = Policy::of(&document, &problems);
        (policy, problems.mistakes().iter().map(ToString::to_string).collect())
    }

    const RIGHT: &str = r#"
[codes]
"HL70496/109" = ["CLINTRCH", "HRESCH"]
"HL70496/003" = []
"HL70496/057" = { purposes = ["TREAT"], labels = ["HIV"] }
"http://example.org/policy/a" = ["HMARKT"]
"http://example.org/policy/none" = { purposes = ["HMARKT"], decision = "deny" }
[status.example]
SIGNED = "active"
[labels]
"L/SECRET" = ["R", "HIV"]
"HL70177/Z" = []
[grantees]
"Organization/ZZ1" = ["crm"]
"urn:oid:1.2.3|ZZ7" = []
[classes]
"http://hl7.org/fhir/resource-types/Observation" = ["clinical"]
[restriction]
spares = ["TREAT"]
[[jurisdiction]]
code = "US"
majority = 19
[[jurisdiction]]
code = "US-CA"
majority = 18
minor_consents = ["SEX"]
purposes = ["HMARKT"]
require = "opt-in"
"#;

    #[test]
    fn codes_words_and_places_mean_what_is_written() {
        let (policy, mistakes) = policy(RIGHT);
        assert_eq!(mistakes, Vec::<String>::new());
        let spoken = |system, code| policy.spoken_of(system, code).unwrap();
        assert_eq!(spoken("HL70496", "109").purposes, ["CLINTRCH", "HRESCH"]);
        assert_eq!(*spoken("HL70496", "003"), Spoken::default());
        assert_eq!(spoken("http://example.org/policy", "a").purposes, ["HMARKT"]);
        let hiv = spoken("HL70496", "057");
        assert_eq!((hiv.purposes[0].as_str(), hiv.labels[0].as_str()), ("TREAT", "HIV"));
        assert!(spoken("http://example.org/policy", "none").denies && !hiv.denies);
        assert_eq!(policy.labels["L/SECRET"], ["R", "HIV"]);
        assert_eq!(policy.labels["HL70177/Z"], [""; 0]);
        assert_eq!(policy.consumers("Organization/ZZ1").unwrap(), ["crm"]);
        assert_eq!(policy.consumers("urn:oid:1.2.3|ZZ7").unwrap(), [""; 0]);
        assert!(policy.consumers("Organization/ZZ2").is_none());
        let types = "http://hl7.org/fhir/resource-types";
        assert_eq!(policy.classes_of(types, "Observation").unwrap(), ["clinical"]);
        assert!(policy.classes_of(types, "Patient").is_none());
        assert!(policy.spares("TREAT") && !policy.spares("COC") && !policy.spares("HMARKT"));
        assert_eq!(policy.majority(&["US-NV"]), Some(19));
        assert_eq!(policy.majority(&["US-NV", "US-CA"]), Some(18));
        assert_eq!(policy.majority(&["DE"]), None);
        assert_eq!(policy.minor_consents(&["US-CA"]), BTreeSet::from(["SEX"]));
        assert_eq!(policy.stricter(&["US-CA"], "HMARKT"), Some(Stricter::OptIn));
        assert_eq!(policy.stricter(&["US-CA"], "TREAT"), None);
        assert_eq!(policy.stricter(&["US"], "HMARKT"), None);
        assert_eq!(policy.stricter(&[], "HMARKT"), Some(Stricter::OptIn));
        assert_eq!((policy.majority(&[]), policy.minor_consents(&[]).len()), (None, 1));
    }

    /// PROMISE-5
    #[test]
    fn what_is_not_listed_opens_nothing() {
        let (policy, _) = policy(RIGHT);
        for (word, status) in TABLE_0498 {
            assert_eq!(policy.status("", word), status);
        }
        assert_eq!(policy.status("example", " SIGNED "), Status::Active);
        for (site, word) in [("other", "SIGNED"), ("example", "signed"), ("example", ""), ("", "a")]
        {
            assert_eq!(policy.status(site, word), Status::Unknown, "{site} {word}");
        }
        assert_eq!(policy.spoken_of("HL70496", "110"), None);
        assert!(!Policy::default().spares("TREAT"));
    }

    #[test]
    fn every_mistake_is_reported_at_once_at_its_place() {
        let (_, mistakes) = policy(
            r#"
[codes]
"109" = ["CLINTRSH"]
"L/057" = { purpose = ["TREAT"], labels = ["unknown"] }
[status.example]
SIGNED = "activ"
A = "active"
[restriction]
spare = ["TREAT"]
[[jurisdiction]]
code = "California"
majority = 8
[[jurisdiction]]
code = "US-CA"
require = "opt-in"
[juristiction]
[labels]
"SECRET" = ["R"]
"HL70177/R" = []
"L/X" = ["unknown"]
"L/Y" = [""]
[grantees]
"Organization/1" = [""]
[classes]
"Observation" = ["clinical"]
"urn:x/Y" = ["clinicl"]
"#,
        );
        for part in [
            "c.toml:3:1: a code is named",
            "c.toml:3:10: `CLINTRSH` is no HL7 v3 PurposeOfUse; did you mean `CLINTRCH`?",
            "c.toml:6:10: `status.example.SIGNED` is one of proposed, active",
            "c.toml:7:1: `A` is a word of table 0498",
            "c.toml:9:1: `restriction.spare` is not known; did you mean `spares`?",
            "c.toml:11:8: `code` is of ISO 3166",
            "c.toml:12:12: `jurisdiction.majority` is out of bounds; from 9 to 25",
            "`purposes` and `require` go together",
            "c.toml:16:2: `juristiction` is not known; did you mean `jurisdiction`?",
            "c.toml:4:11: `codes.L/057.purposes` is missing",
            "c.toml:4:13: `codes.L/057.purpose` is not known; did you mean `purposes`?",
            "c.toml:4:43: a label is a word, and not `unknown`",
            "c.toml:18:1: a code is named",
            "c.toml:19:1: `HL70177/R` is a word of HL7, which stands",
            "c.toml:20:9: a label is a word, and not `unknown`",
            "c.toml:21:9: a label is a word",
            "c.toml:23:20: a name of FHIR and consumers",
            "c.toml:25:1: a code is named",
            "c.toml:26:13: `clinicl` is no class of fields; did you mean `clinical`?",
        ] {
            assert!(mistakes.iter().any(|line| line.contains(part)), "{part}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 19, "{mistakes:#?}");
        let (_, mistakes) = policy(
            "[codes]\n\"L/1\" = { purposes = [\"TREAT\"] }\n\"L/2\" = { purposes = [], decision = \"no\" }",
        );
        for part in
            ["a table has `labels` or `decision`", "`codes.L/2.decision` is one of permit, deny"]
        {
            assert!(mistakes.iter().any(|line| line.contains(part)), "{part}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 2, "{mistakes:#?}");
    }
}
