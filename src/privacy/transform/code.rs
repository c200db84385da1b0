//! Codes made coarser, or others.
//!
//! Promises: a code of a system whose beginning means nothing gives nothing; what is not in a table
//! gives nothing.
//! Knows nothing of: what codes mean.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use crate::event::View;
use crate::secret::hex;

/// What names of code systems begin with in which the beginning of a code names its family: the
/// International Classification of Diseases (HL7 table 0396: I9, I9C, I10, I10C, I10P, ICD…) and
/// the Anatomical Therapeutic Chemical classification (WC, ATC).
const FAMILIES: [&str; 8] = ["I9", "I10", "I11", "ICD", "ICD-9", "ICD-10", "ATC", "WC"];
/// The same as universal names (FHIR R4, terminologies-systems).
const FAMILY_NAMES: [&str; 6] = [
    "http://hl7.org/fhir/sid/icd-9-cm",
    "http://hl7.org/fhir/sid/icd-10",
    "http://hl7.org/fhir/sid/icd-10-cm",
    "urn:oid:2.16.840.1.113883.6.90",
    "urn:oid:2.16.840.1.113883.6.3",
    "http://www.whocc.no/atc",
];

/// The first characters of a code, without the dot that stands between them.
pub(super) fn family(text: &str, length: u8, code: View<'_>) -> Option<String> {
    let system = code.get("system").and_then(|system| system.as_text())?;
    let upper = system.to_ascii_uppercase();
    let has_families = FAMILIES.iter().any(|known| {
        upper.strip_prefix(known).is_some_and(|rest| rest.len() <= 8 && !rest.starts_with(':'))
    }) || FAMILY_NAMES.contains(&system);
    if !has_families || text.is_empty() {
        return None;
    }
    let wanted = usize::from(length);
    let family: String = text.chars().filter(|letter| *letter != '.').take(wanted).collect();
    (family.chars().count() == wanted).then_some(family)
}

/// A table of mappings/tables, by which values become others.
#[derive(Clone)]
pub struct Coding {
    name: String,
    rows: Arc<BTreeMap<String, String>>,
    hash: String,
}

impl Coding {
    /// A table by its name, with its rows.
    #[must_use]
    pub fn new(name: &str, rows: BTreeMap<String, String>) -> Self {
        let mut context = Context::new(&SHA256);
        for (from, to) in &rows {
            context.update(format!("{from:?} {to:?}\n").as_bytes());
        }
        let hash = hex(context.finish().as_ref());
        Self { name: name.to_owned(), rows: Arc::new(rows), hash }
    }

    /// What a value becomes.
    #[must_use]
    pub fn get(&self, value: &str) -> Option<&str> {
        self.rows.get(value.trim()).map(String::as_str)
    }

    /// A row that gives back what it gets: such a table may hide nothing.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        let same = |(from, to): &(&String, &String)| from.trim() == to.trim();
        self.rows.iter().find(same).map(|(from, _)| from.as_str())
    }
}

impl PartialEq for Coding {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.rows == other.rows
    }
}

impl fmt::Debug for Coding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Coding({})", self.name)
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "table={} sha256:{}", self.name, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Tree;

    #[test]
    fn a_family_is_cut_where_the_system_has_families() {
        for (system, code, length, wanted) in [
            (Some("I10"), "E11.9", 3, Some("E11")),
            (Some("I10"), "E11.9", 4, Some("E119")),
            (Some("ICD-10-CM"), "E11.65", 3, Some("E11")),
            (Some("http://hl7.org/fhir/sid/icd-10-cm"), "E11.65", 3, Some("E11")),
            (Some("ATC"), "A10BA02", 5, Some("A10BA")),
            (Some("i9c"), "250.00", 3, Some("250")),
            // Shorter than the family: nobody knows which it is.
            (Some("I10"), "E1", 3, None),
            (Some("LN"), "4548-4", 3, None),
            (Some("99LOCAL"), "E11.9", 3, None),
            (None, "E11.9", 3, None),
            (Some("I10"), "", 3, None),
        ] {
            let mut tree = Tree::new();
            if let Some(system) = system {
                tree.text("system", system);
            }
            assert_eq!(family(code, length, tree.root()).as_deref(), wanted, "{system:?} {code}");
        }
    }

    #[test]
    fn a_table_gives_what_it_holds_and_tells_a_row_that_hides_nothing() {
        let rows = |rows: &[(&str, &str)]| {
            rows.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
        };
        let table = Coding::new("ward", rows(&[("4E", "surgery")]));
        assert_eq!((table.get(" 4E "), table.get("4F")), (Some("surgery"), None));
        assert_eq!(table.identity(), None);
        let table = Coding::new("ward", rows(&[("4E", "4E")]));
        assert_eq!(table.identity(), Some("4E"));
        assert!(table.to_string().starts_with("table=ward sha256:"));
    }
}
