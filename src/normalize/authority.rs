//! What a site calls an assigning authority, and the one that its bare patient numbers are of.
//!
//! Promises: a name is looked up once, so that two that are each other's names change places and do
//! not go round; a number that comes without an authority gets one only where it is the patient's or a
//! visit's, and a patient's by its type, so that no account becomes a medical record number.
//! Knows nothing of: which authority keys the subject; `[identity]` says that.

use std::collections::HashMap;

use crate::document::{Placed, Table};
use crate::event::Tree;

/// The word for a number that comes without a type (CX.5). Table 0203 has capitals alone.
const NO_TYPE: &str = "none";
/// The word for the numbers of a visit, which mostly come without a type.
const VISIT: &str = "visit";
/// The numbers of a visit.
const OF_VISIT: [&str; 3] = ["visit.number", "visit.alternateNumber", "visit.preadmitNumber"];
/// Lists of the patient's own numbers. Both, or a merge would retire somebody else.
const OF_PATIENT: [&str; 2] = ["patient.identifiers", "patient.priorIdentifiers"];
/// Most rows of each table. A site that took over dozens of others has some hundred.
const ROWS_MAX: usize = 10_000;

/// `[authority]` of a site's file.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    /// What comes by this name: NAMESPACE^TYPE, `urn:oid:…`, `urn:uuid:…`, a URI or NAMESPACE.
    renamed: HashMap<String, Given>,
    /// What comes without one, by its type.
    missing: HashMap<String, Given>,
}

/// An authority that a site gives.
#[derive(Clone, Debug)]
pub(super) struct Given {
    namespace: String,
    /// Universal ID and its type (HD.2, HD.3).
    universal: Option<(String, String)>,
    /// `file:line`.
    pub place: String,
}

/// How a message names an authority, and what it names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'n> {
    pub namespace: &'n str,
    pub universal: &'n str,
    pub universal_type: &'n str,
    /// The type of the number, such as `MR`.
    pub kind: &'n str,
}

impl Authorities {
    /// Reads `[authority]`; nothing where it says nothing.
    pub fn read(root: &Table<'_>) -> Option<Self> {
        let table = root.table("authority")?;
        let read = |key: &str| table.table(key).map(|table| rows(&table, key)).unwrap_or_default();
        let found = Self { renamed: read("renamed"), missing: read("missing") };
        table.finish();
        (!found.renamed.is_empty() || !found.missing.is_empty()).then_some(found)
    }

    /// The authority that a site gives instead of what the message names; nothing where that stands.
    pub fn given(&self, named: Named<'_>, target: &str) -> Option<&Given> {
        let Named { namespace, universal, universal_type, kind } = named;
        if namespace.is_empty() && universal.is_empty() {
            if OF_VISIT.contains(&target) {
                return self.missing.get(VISIT);
            }
            let kind = if kind.is_empty() { NO_TYPE } else { kind };
            return self.missing.get(kind).filter(|_| OF_PATIENT.contains(&target));
        }
        let typed = || self.renamed.get(&format!("{namespace}^{kind}"));
        let by_id = || {
            let urn = match universal_type {
                "ISO" => format!("urn:oid:{universal}"),
                "UUID" | "GUID" => format!("urn:uuid:{}", universal.to_ascii_lowercase()),
                // A system of FHIR that is no URN of these goes by itself.
                "URI" => universal.to_owned(),
                _ => return None,
            };
            self.renamed.get(&urn)
        };
        typed().or_else(by_id).or_else(|| self.renamed.get(namespace))
    }
}

impl Given {
    /// Writes it as the authority of the identifier that is being written.
    pub fn write(&self, tree: &mut Tree) {
        tree.text("authority", &self.namespace);
        if let Some((id, kind)) = &self.universal {
            tree.text("authorityId", id);
            tree.text("authorityIdType", kind);
        }
    }
}

fn rows(table: &Table<'_>, key: &str) -> HashMap<String, Given> {
    let entries = table.entries();
    if entries.len() > ROWS_MAX {
        table.mistake(&table.place(), format!("more than {ROWS_MAX} rows"));
    }
    let mut rows = HashMap::new();
    for (name, item) in entries.into_iter().take(ROWS_MAX) {
        if let Some(text) = misnamed(key, &name.value) {
            table.mistake(&name.place, text);
        }
        let Some(value) = item.text() else { continue };
        let Some(given) = given(&value) else {
            let text = format!(
                "`{}` is no authority; NAMESPACE, or NAMESPACE&ID&TYPE as HL7 writes it, would be",
                value.value
            );
            table.mistake(&value.place, text);
            continue;
        };
        rows.insert(canonical(name.value), given);
    }
    rows
}

/// What is wrong with the name of a row.
fn misnamed(key: &str, name: &str) -> Option<String> {
    let is_blank = |text: &str| text.trim().is_empty();
    if key == "missing" {
        let right =
            [NO_TYPE, VISIT].contains(&name) || !(is_blank(name) || name.contains(['^', '&']));
        return (!right).then(|| {
            format!("`{name}` is no type of a number; one of table 0203, `{NO_TYPE}` or `{VISIT}` would be")
        });
    }
    let (namespace, kind) = name.split_once('^').unwrap_or((name, "-"));
    let wrong = is_blank(namespace) || is_blank(kind) || kind.contains('^') || name.contains('&');
    wrong.then(|| {
        format!(
            "`{name}` names no authority; NAMESPACE, NAMESPACE^TYPE, \"urn:oid:…\" or \"urn:uuid:…\" \
             would"
        )
    })
}

fn given(value: &Placed<String>) -> Option<Given> {
    let parts: Vec<&str> = value.value.split('&').collect();
    let place = format!("{}:{}", value.place.file, value.place.line);
    if value.value.contains('^') || parts.iter().any(|part| part.trim().is_empty()) {
        return None;
    }
    let (namespace, universal) = match parts.as_slice() {
        [namespace] => (namespace, None),
        [namespace, id, kind] => (namespace, Some(((*id).to_owned(), (*kind).to_owned()))),
        _ => return None,
    };
    Some(Given { namespace: (*namespace).to_owned(), universal, place })
}

/// A UUID is compared in small letters.
fn canonical(name: String) -> String {
    match name.get(..9) {
        Some(scheme) if scheme.eq_ignore_ascii_case("urn:uuid:") => name.to_ascii_lowercase(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::{Document, Problems};

    fn read(text: &str) -> (Option<Authorities>, Vec<String>) {
        let problems = Problems::default();
        let document = Document::from_text("s.toml", Path::new("."), text);
        let found = document.read(&problems, Authorities::read);
        (found, problems.mistakes().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_authority_goes_by_the_nearest_of_its_names() {
        let (found, mistakes) = read(
            "[authority.renamed]\nOLD = \"NEW\"\n\"OLD^PI\" = \"NEWPI&1.2&ISO\"\nNEW = \"OLD\"\n\
             \"urn:oid:9.9\" = \"NINE\"\n[authority.missing]\nMR = \"M\"\nnone = \"N\"\nvisit = \"V\"\n",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let found = found.unwrap();
        let given = |namespace, universal, kind, target| {
            let universal_type = if str::is_empty(universal) { "" } else { "ISO" };
            let named = Named { namespace, universal, universal_type, kind };
            found.given(named, target).map(|given| given.namespace.as_str())
        };
        const OWN: &str = "patient.identifiers";
        assert_eq!(given("OLD", "", "MR", OWN), Some("NEW"));
        assert_eq!(given("OLD", "", "PI", OWN), Some("NEWPI"));
        assert_eq!(given("NEW", "", "", "visit.number"), Some("OLD"));
        assert_eq!(given("", "9.9", "", OWN), Some("NINE"));
        assert_eq!(given("OTHER", "9.9", "", OWN), Some("NINE"));
        assert_eq!(given("OTHER", "", "", OWN), None);
        assert_eq!(given("", "", "MR", OWN), Some("M"));
        assert_eq!(given("", "", "", "patient.priorIdentifiers"), Some("N"));
        // An insurance number is no medical record number, and a visit's number is no patient's.
        assert_eq!(given("", "", "SS", OWN), None);
        for visit in OF_VISIT {
            assert_eq!(given("", "", "", visit), Some("V"));
            assert_eq!(given("", "", "MR", visit), Some("V"));
        }
        assert_eq!(given("", "", "visit", "visit.priorNumber"), None);
        let (found, _) = read("[authority.missing]\nnone = \"N\"\n");
        let named = Named { namespace: "", universal: "", universal_type: "", kind: "" };
        assert!(found.unwrap().given(named, "visit.number").is_none());
    }

    #[test]
    fn what_names_no_authority_is_a_mistake_at_its_place() {
        for (text, wanted) in [
            ("[authority.renamed]\n\"\" = \"A\"", "s.toml:2:1: `` names no authority"),
            ("[authority.renamed]\n\"A^B^C\" = \"A\"", "s.toml:2:1: `A^B^C` names no authority"),
            ("[authority.renamed]\nA = \"\"", "s.toml:2:5: `` is no authority"),
            ("[authority.renamed]\nA = \"B&1.2\"", "s.toml:2:5: `B&1.2` is no authority"),
            ("[authority.missing]\n\"A^MR\" = \"A\"", "s.toml:2:1: `A^MR` is no type"),
            ("[authority.mising]\nMR = \"A\"", "did you mean `missing`?"),
        ] {
            let (_, mistakes) = read(text);
            assert!(mistakes.iter().any(|line| line.contains(wanted)), "{text}: {mistakes:?}");
        }
    }
}
