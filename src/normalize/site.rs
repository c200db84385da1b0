//! A site's file: what its messages and resources say otherwise than the shipped mappings expect.
//!
//! Promises: what a site says holds for feeds of that site alone; a rule of a site stands in for one
//! that there is, and one that stands in for none is a mistake; a field of a site's own is declared
//! with its class before any rule makes it, and by every site alike; what a consent word means is
//! carried, and not decided here.
//! Knows nothing of: feeds; who has which site is the configuration's.
//!
//! Reading order: [`Site`] (once loaded), [`load`] (all files of `sites/`), `read`, `overlay`.

mod read;
mod overlay;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::document::{Document, Place, Placed, Problems};
use crate::event::Declaration;
use crate::event::extension::{EXTENSIONS_MAX, Extension};

use super::authority::Authorities;
use super::case::Case;
use super::load::{File, Rule, toml_files};
use super::mapping::Mappings;
use super::table::Tables;

/// The folder of sites' files, and of their tables, within that of the mappings.
const FOLDER: &str = "sites";

/// A site, compiled.
#[derive(Debug)]
pub struct Site {
    /// The mappings of its messages: the shipped ones, with what it says otherwise.
    pub mappings: Arc<Mappings>,
    /// What it calls consents.
    pub words: Words,
    /// Its examples.
    pub cases: Vec<Case>,
}

/// What a site calls consents, as written; `consent::Policy` reads it.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// CON-11: the site's word, and the status that it means.
    pub statuses: Vec<(Placed<String>, Placed<String>)>,
    /// CON-2: SYSTEM/CODE of the site, and SYSTEM/CODE of consent.toml that it means.
    pub types: Vec<(Placed<String>, Placed<String>)>,
}

/// A site's file as it is written.
struct SiteFile {
    name: String,
    extensions: Vec<Placed<Extension>>,
    /// Of messages.
    messages: Overrides,
    /// Of resources: what stands in `[fhir]`.
    resources: Overrides,
    authorities: Option<Arc<Authorities>>,
    words: Words,
    cases: Vec<Case>,
}

/// The rules of a site for one protocol.
#[derive(Default)]
struct Overrides {
    /// Rules of every mapping.
    rules: Vec<Rule>,
    /// Rules of one mapping, by its file's name.
    own: Vec<(Placed<String>, Vec<Rule>)>,
}

impl Overrides {
    fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().chain(self.own.iter().flat_map(|(_, own)| own))
    }
}

/// Loads every site of a folder of mappings over what was read of it: the files of HL7 v2, then those
/// of FHIR. Mistakes go to `problems`.
pub(super) fn load(
    dir: &Path,
    files: [&BTreeMap<String, File>; 2],
    tables: &Tables<'_>,
    mappings: &mut Mappings,
    problems: &Problems,
) {
    let dir = dir.join(FOLDER);
    if !dir.is_dir() {
        return;
    }
    let mut sites = Vec::new();
    for path in toml_files(&dir, problems) {
        let Some(document) = Document::open(&path, problems) else { continue };
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        sites.push(document.read(problems, |table| read::read(&name, table)));
    }
    mappings.declared = declare(&sites, problems);
    for site in sites {
        let mut local = tables.with(&dir.join(&site.name));
        let compiled = overlay::compile(&site, files, &mut local, mappings.declared, problems);
        local.read_all();
        let name = site.name;
        let site = Site { mappings: Arc::new(compiled), words: site.words, cases: site.cases };
        mappings.sites.insert(name, site);
    }
}

/// The fields of all sites. Contracts name a field and no site, so a name means one thing.
fn declare(sites: &[SiteFile], problems: &Problems) -> Declaration {
    let mut all: Vec<(Extension, Place)> = Vec::new();
    for found in sites.iter().flat_map(|site| &site.extensions) {
        let Placed { value: extension, place } = found;
        match all.iter().find(|(known, _)| known.name == extension.name) {
            None => all.push((extension.clone(), place.clone())),
            Some((known, _)) if known.agrees(extension) => {}
            Some((_, other)) => {
                let text = format!(
                    "`extension.{}` is something else in {}:{}; sites that share a name agree on \
                     `holds`, `list` and `class`",
                    extension.name, other.file, other.line
                );
                problems.mistake(place, text);
            }
        }
    }
    if all.len() > EXTENSIONS_MAX
        && let Some((_, place)) = all.last()
    {
        problems.mistake(place, format!("more than {EXTENSIONS_MAX} fields of sites' own"));
    }
    all.truncate(EXTENSIONS_MAX);
    let all: Vec<Extension> = all.into_iter().map(|(extension, _)| extension).collect();
    Declaration::with(&all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::View;
    use crate::normalize::{self, Context, Trace};
    use crate::parse::hl7::{Charset, Message};

    const CASE: &str =
        "[[case]]\nname = \"a\"\nmessage = \"a.hl7\"\n[case.expect]\n\"message.type\" = \"ADT\"\n";

    /// The shipped mappings with sites of our own; mistakes and warnings, without the folder.
    fn loaded(files: &[(&str, &str)]) -> (Mappings, Vec<String>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let shipped = std::env::current_dir().unwrap().join("mappings");
        for folder in ["hl7", "tables", "fhir"] {
            std::os::unix::fs::symlink(shipped.join(folder), dir.path().join(folder)).unwrap();
        }
        for (name, text) in files {
            let path = dir.path().join(FOLDER).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let problems = Problems::default();
        let mappings = normalize::load(dir.path(), &problems);
        let start = format!("{}/", dir.path().display());
        let shown = |all: Vec<crate::document::Problem>| -> Vec<String> {
            all.iter().map(|problem| problem.to_string().replace(&start, "")).collect()
        };
        (mappings, shown(problems.mistakes()), shown(problems.warnings()))
    }

    fn north(text: &str) -> (Mappings, Vec<String>, Vec<String>) {
        loaded(&[("north.toml", &format!("{text}\n{CASE}"))])
    }

    /// A field of the first event of a made-up message; nothing where it is not there.
    fn value(mappings: &Mappings, path: &str, rest: &str) -> Option<String> {
        let text = format!(
            "MSH|^~\\&|E|N|||20261122||ADT^A08^ADT_A01|ZZ1|P|2.5\rPID|1||ZZ1^^^OLD^MR||||||\r{rest}"
        );
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        let mapped = normalize::normalize(mappings, &message, &Context::default(), Trace::Off);
        let (normalized, _) = mapped.unwrap();
        let shown = |view: View<'_>| serde_json::to_string(&view).unwrap();
        normalized.drafts[0].data.root().at(path).map(shown)
    }

    #[test]
    fn what_a_site_says_holds_there_and_nowhere_else() {
        let text = "[extension.ward]\nwhat = \"w\"\nclass = \"operational\"\nlist = true\n\
                    [rules]\n\"extension.ward\" = \"ZPV-1\"\n\"visit.service\" = \"ZPV-2\"\n\
                    [mapping.adt-updated.rules]\n\"visit.disposition\" = \"ZPV-3\"\n\
                    [authority.renamed]\nOLD = \"NEW\"";
        let (mappings, mistakes, warnings) = north(text);
        assert_eq!((mistakes, warnings), (Vec::new(), Vec::new()));
        let north = &mappings.site("north").unwrap().mappings;
        let zpv = "PV1|1|I||||||||MED\rZPV|A~B|SUR|HOME\r";
        let of = |mappings, path| value(mappings, path, zpv);
        assert_eq!(of(north, "extension.ward").as_deref(), Some("[\"A\",\"B\"]"));
        assert_eq!(of(north, "visit.service.code").as_deref(), Some("\"SUR\""));
        assert_eq!(of(north, "visit.disposition.code").as_deref(), Some("\"HOME\""));
        assert_eq!(of(north, "patient.identifiers[0].authority").as_deref(), Some("\"NEW\""));
        assert_eq!(of(&mappings, "extension"), None);
        assert_eq!(of(&mappings, "visit.service.code").as_deref(), Some("\"MED\""));
        assert_eq!(of(&mappings, "patient.identifiers[0].authority").as_deref(), Some("\"OLD\""));
        assert_eq!(north.selected(), mappings.selected());
    }

    #[test]
    fn what_stands_in_for_a_parts_rule_counts_where_the_part_does() {
        let of = |kind: &str, trigger: &str, class: &str| {
            let text = format!(
                "MSH|^~\\&|E|N|||20261122||ADT^{trigger}|ZZ1|P|2.5\rPID|1||ZZ1^^^OLD^MR\r\
                 MRG|ZZ2^^^OLD^MR\rPV1|1|{class}||||||||MED\rZPV|CARD\r"
            );
            let rules = match kind {
                "site" => "[rules]\n\"visit.service\" = \"ZPV-1\"",
                "own" => {
                    "[mapping.adt-person-updated.rules]\n\"visit.service\" = \"ZPV-1\"\n\
                     [mapping.adt-merged.rules]\n\"visit.service\" = \"ZPV-1\""
                }
                // With conditions and a constant of its own.
                _ => {
                    "[rules]\n\"visit.service\" = { from = \"ZPV-1\", unless = \"ZPV-2\" }\n\
                     \"visit.admitSource\" = { from = \"ZPV-2\", required = true }"
                }
            };
            let (mappings, mistakes, warnings) = north(rules);
            assert_eq!((mistakes, warnings), (Vec::new(), Vec::new()), "{kind}");
            let north = &mappings.site("north").unwrap().mappings;
            let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
            let mapped = normalize::normalize(north, &message, &Context::default(), Trace::Off);
            let shown = |view: View<'_>| serde_json::to_string(&view).unwrap();
            mapped.map(|(found, _)| found.drafts[0].data.root().at("visit").map(shown)).ok()
        };
        for trigger in ["A28", "A31", "A40"] {
            for kind in ["site", "own", "conditional"] {
                assert_eq!(of(kind, trigger, "N"), Some(None), "{kind} {trigger}: it is no visit");
            }
            let visit = of("site", trigger, "I").unwrap().unwrap();
            assert!(visit.contains("\"code\":\"CARD\""), "{visit}");
            assert_eq!(of("conditional", trigger, "I"), None, "{trigger}: it is required");
        }
        // Where the part has no condition, class N is a class.
        assert!(of("site", "A08", "N").unwrap().unwrap().contains("CARD"));
    }

    #[test]
    fn a_sites_table_stands_over_the_shipped_one_of_its_name() {
        let text = format!(
            "[rules]\n\"extension.x\" = {{ from = \"ZPV-1\", table = \"local\" }}\n\
             [extension.x]\nwhat = \"x\"\nclass = \"clinical\"\n{CASE}"
        );
        let files = [
            ("north.toml", text.as_str()),
            ("north/local.csv", "source,code\na,alpha\n"),
            ("north/patient-class.csv", "source,code\n4,EMER\nI,\n"),
        ];
        let (mappings, mistakes, _) = loaded(&files);
        assert_eq!(mistakes, Vec::<String>::new());
        let north = &mappings.site("north").unwrap().mappings;
        let class = |mappings, code| value(mappings, "visit.class.code", &format!("PV1|1|{code}"));
        assert_eq!(class(north, "4").as_deref(), Some("\"EMER\""));
        assert_eq!(class(north, "E").as_deref(), Some("\"EMER\""));
        assert_eq!(class(north, "I"), None, "taken away");
        assert_eq!(class(&mappings, "4"), None);
        assert_eq!(class(&mappings, "I").as_deref(), Some("\"IMP\""));
        assert_eq!(value(north, "extension.x", "ZPV|a").as_deref(), Some("\"alpha\""));
        let (_, mistakes, _) = loaded(&[files[0], ("north/lokal.csv", "source,code\n")]);
        let wanted = "sites/north.toml:2:43: there is no table `local`; did you mean `lokal`?";
        assert_eq!(mistakes, [wanted]);
    }

    #[test]
    fn every_mistake_has_its_place_and_the_nearest_right_name() {
        let declared = "[extension.ward]\nwhat = \"w\"\nclass = \"operational\"\n";
        for (text, wanted) in [
            (
                "[rules]\n\"visit.servise\" = \"ZPV-1\"",
                "sites/north.toml:2:1: no mapping has a rule for `visit.servise`, so there is none to stand in for; did you mean `visit.service`?",
            ),
            (
                "[rules]\n\"visit.location.bed\" = \"ZPV-1\"",
                "sites/north.toml:2:1: `visit.location.bed` is made with `visit.location`, whole; a rule for that stands in for it",
            ),
            (
                "[rules]\n\"visit.service\" = \"ZPV\"",
                "sites/north.toml:2:19: `ZPV` names a segment; a field is wanted, such as PID-3",
            ),
            (
                "[ruls]\n\"visit.service\" = \"ZPV-1\"",
                "sites/north.toml:1:2: `ruls` is not known; did you mean `rules`?",
            ),
            (
                "[mapping.adt-update.rules]\n\"visit.service\" = \"ZPV-1\"",
                "sites/north.toml:1:10: there is no mapping `adt-update`; did you mean `adt-updated`?",
            ),
            (
                "[mapping.visit.rules]\n\"visit.service\" = \"ZPV-1\"",
                "sites/north.toml:1:10: `visit` is a part of several mappings; [rules] is for those",
            ),
            (
                "[mapping.adt-updated.rules]\n\"visit.servise\" = \"ZPV-1\"",
                "sites/north.toml:2:1: `visit.servise`: there is no `servise` in visit; did you mean `service`?",
            ),
            (
                "[mapping.adt-updated.rules]\n\"consent.grantee\" = \"ZPV-1\"",
                "sites/north.toml:2:1: `consent.grantee` is no part of this event type",
            ),
            (
                &format!("{declared}[rules]\n\"extension.wart\" = \"ZPV-1\""),
                "sites/north.toml:5:1: `extension.wart` is not declared in this file, as [extension.wart]; did you mean `extension.ward`?",
            ),
            (
                &format!("{declared}[rules]\n\"extension\" = \"ZPV-1\""),
                "sites/north.toml:5:1: `extension` is not declared in this file",
            ),
            (
                &format!(
                    "{declared}[rules]\n\"extension.ward\" = {{ from = \"ZPV-1\", as = \"code\" }}"
                ),
                "sites/north.toml:5:43: `ward` is made as text or whole; `code` does not fit",
            ),
            (
                "[extension.ward]\nwhat = \"w\"\nclass = \"harmless\"",
                "sites/north.toml:3:9: `extension.ward.class` is one of direct, quasi, clinical, operational, free-text",
            ),
            (
                "[extension.ward]\nwhat = \"w\"",
                "sites/north.toml:1:1: `extension.ward.class` is missing",
            ),
            (
                "[extension.Ward]\nwhat = \"w\"\nclass = \"quasi\"",
                "sites/north.toml:1:12: `Ward` is no name of a field",
            ),
            (
                "[extension.at]\nwhat = \"w\"\nclass = \"operational\"\nholds = \"date\"",
                "sites/north.toml:3:1: a date is `quasi`, or `direct`",
            ),
            (
                "[consent.state]\nA1 = \"active\"",
                "sites/north.toml:1:10: `consent.state` is not known; did you mean `status`?",
            ),
        ] {
            let (_, mistakes, _) = north(text);
            let hit = mistakes.iter().any(|line| line.starts_with(wanted));
            assert!(hit, "{text}\n{wanted}\n{mistakes:#?}");
        }
        let (_, mistakes, _) = loaded(&[("north.toml", "")]);
        assert_eq!(
            mistakes,
            [
                "sites/north.toml:1:1: there is no [[case]]: a message of this site and what must come out"
            ]
        );
        let (_, mistakes, _) = loaded(&[("North_2.toml", CASE)]);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }

    #[test]
    fn what_changes_nothing_or_weakens_is_a_warning() {
        for (text, wanted) in [
            (
                "[rules]\n\"patient.sex\" = { from = \"PID-8\", table = \"sex\" }",
                "sites/north.toml:2:1: `patient.sex` says what the shipped rule says",
            ),
            (
                "[rules]\n\"patient.identifiers\" = \"PID-3\"",
                "sites/north.toml:2:1: `patient.identifiers` is required in hl7/patient.toml:5, and not here",
            ),
            (
                "[extension.ward]\nwhat = \"w\"\nclass = \"operational\"",
                "sites/north.toml:1:12: no rule makes `extension.ward`",
            ),
        ] {
            let (_, mistakes, warnings) = north(text);
            assert_eq!(mistakes, Vec::<String>::new(), "{text}");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].starts_with(wanted), "{wanted}\n{warnings:?}");
        }
    }

    #[test]
    fn sites_that_share_a_name_mean_the_same_by_it() {
        let of = |class: &str| {
            format!(
                "[extension.ward]\nwhat = \"w\"\nclass = \"{class}\"\n[rules]\n\"extension.ward\" = \"ZPV-1\"\n{CASE}"
            )
        };
        let both =
            |one: &str, other: &str| loaded(&[("a.toml", &of(one)), ("b.toml", &of(other))]).1;
        assert_eq!(both("quasi", "quasi"), Vec::<String>::new());
        let mistakes = both("quasi", "operational");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        let wanted = "sites/b.toml:1:12: `extension.ward` is something else in ";
        assert!(mistakes[0].starts_with(wanted), "{mistakes:?}");
    }
}
