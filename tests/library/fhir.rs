//! FHIR resources: those of others as events, beside the same content in HL7 v2; what becomes of an
//! Encounter.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegate::admit::Identity;
use tidegate::document::Problems;
use tidegate::event::{EventType, Tree, View};
use tidegate::normalize::fhir::{Scene, Seen, normalize_resource, opened, release, stay};
use tidegate::normalize::{self, Context, Draft, Mappings, Trace, normalize};
use tidegate::parse::hl7::{Charset, Message};

use crate::support::corpus::samples;

const BYTES_MAX: usize = 64 << 20;
/// What the issue names, and what is refused of them by name.
pub const OURS: [&str; 6] =
    ["Patient", "Encounter", "Observation", "DiagnosticReport", "Condition", "Consent"];

fn mappings() -> Mappings {
    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    mappings
}

/// Every file of the corpus that is FHIR, as JSON.
fn files() -> Vec<(String, Vec<u8>)> {
    let list = std::fs::read_to_string("fixtures/corpus/PROVENANCE.tsv").unwrap();
    let paths = list.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_owned());
    let paths = paths.filter(|path| path.starts_with("fhir/"));
    let read = |path: String| {
        let bytes = std::fs::read(format!("fixtures/corpus/{path}")).unwrap();
        let bytes =
            opened::json(bytes, BYTES_MAX, None).unwrap_or_else(|wrong| panic!("{path}: {wrong}"));
        (path, bytes)
    };
    paths.map(read).collect()
}

/// What became of each resource of a file: its type, and the events or why there are none.
type Outcome = (String, Result<Vec<Draft>, String>);

fn outcomes(mappings: &Mappings, bytes: &[u8]) -> Vec<Outcome> {
    let opened = opened::open(bytes, BYTES_MAX).unwrap();
    let around = opened::around(&opened);
    let resources = opened.iter().map(|one| one.resource.as_ref().unwrap());
    resources
        .map(|focus| {
            let version = release::release(focus);
            let scene = Scene { focus, patient: None, before: None, version, around: &around };
            let mapped = normalize_resource(mappings, &scene, &Context::default(), Trace::Off);
            let mapped = mapped.map(|(normalized, _)| normalized.drafts);
            (focus.kind().to_owned(), mapped.map_err(|it| format!("{}: {it}", it.code())))
        })
        .collect()
}

/// PROMISE-11
#[test]
fn every_resource_of_the_corpus_is_an_event_or_a_named_refusal() {
    let mappings = mappings();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (path, bytes) in files() {
        for (kind, outcome) in outcomes(&mappings, &bytes) {
            if !OURS.contains(&kind.as_str()) {
                continue;
            }
            let line = match outcome {
                Err(refusal) => format!("{kind} {refusal}"),
                Ok(drafts) => {
                    assert!(!drafts.is_empty(), "{path}: {kind} is lost");
                    let kinds: Vec<&str> = drafts.iter().map(|it| it.kind.name()).collect();
                    format!("{kind} {}", kinds.join(" "))
                }
            };
            *counts.entry(line).or_default() += 1;
        }
    }
    let lines: Vec<String> =
        counts.iter().map(|(outcome, count)| format!("{count:>4} {outcome}")).collect();
    insta::with_settings!(
        { snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true },
        { insta::assert_snapshot!("fhir-corpus-outcomes", lines.join("\n")); }
    );
}

fn text(data: View<'_>, path: &str) -> Option<String> {
    data.at(path).and_then(|value| value.as_text()).map(str::to_owned)
}

/// The same content as a message of HL7 v2 and as a Bundle that another converter made of it: what
/// both can say agrees. Where it does not, the row says how often and why it need not.
#[test]
fn a_message_and_its_bundle_give_the_same_simple_fields() {
    let mappings = mappings();
    let bundles: BTreeMap<String, Vec<u8>> = files().into_iter().collect();
    let mut table: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    let mut compared = 0;
    let mut differing = Vec::new();
    for sample in samples() {
        let Some(name) = sample.path.strip_prefix("ms-fhir-converter/") else { continue };
        let name = name.trim_end_matches(".hl7");
        let twin = format!("fhir/ms-fhir-converter-expected/{name}-expected.json");
        let Some(bytes) = bundles.get(&twin) else { continue };
        compared += 1;
        let message = Message::parse(&sample.bytes, Charset::Utf8).unwrap();
        let Ok((of_message, _)) = normalize(&mappings, &message, &Context::default(), Trace::Off)
        else {
            continue;
        };
        let of_bundle = outcomes(&mappings, bytes);
        let first = |kind: &str| {
            let mut all = of_bundle.iter().filter(|(own, _)| own == kind);
            all.find_map(|(_, it)| it.as_ref().ok()?.first())
        };
        let v2 = of_message.drafts[0].data.root();
        for (kind, path) in [
            ("Patient", "patient.names[0].family"),
            ("Patient", "patient.names[0].given[0]"),
            ("Patient", "patient.birthDate"),
            ("Patient", "patient.sex.code"),
            ("Patient", "patient.identifiers[0].value"),
            ("Encounter", "visit.number.value"),
            ("Encounter", "visit.class.code"),
            ("Observation", "observations[0].code.code"),
        ] {
            let Some(fhir) = first(kind) else { continue };
            let (ours, theirs) = (text(v2, path), text(fhir.data.root(), path));
            // The converter has an order of its own.
            let among = fhir.data.root().at("patient.identifiers").into_iter();
            let among = among.flat_map(|all| all.children()).filter_map(|it| text(it, "value"));
            let is_number = path == "patient.identifiers[0].value";
            let theirs = if is_number {
                among.into_iter().find(|it| ours.as_ref() == Some(it))
            } else {
                theirs
            };
            let row = table.entry(path).or_default();
            match (&ours, &theirs) {
                (Some(ours), Some(theirs)) if ours == theirs => row.0 += 1,
                (Some(_), Some(_)) => {
                    row.1 += 1;
                    differing.push(format!("{} {path}", sample.path));
                }
                (None, None) => {}
                _ => row.2 += 1,
            }
        }
    }
    let twins = bundles.keys().filter(|path| path.contains("/ms-fhir-converter-expected/"));
    assert_eq!(compared, twins.count(), "a Bundle without its message");
    let lines = table.iter().map(|(path, (same, other, one))| {
        format!("{path}: {same} agree, {other} differ, {one} in one of them alone")
    });
    let lines: Vec<String> = lines.chain(differing.iter().cloned()).collect();
    insta::with_settings!(
        { snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true },
        { insta::assert_snapshot!("fhir-agreement", lines.join("\n")); }
    );
}

fn seen(status: &str, class: &str, ward: &str, minute: usize) -> Seen {
    let json = format!(
        r#"{{"message":{{"recordedAt":"2026-11-22T08:{minute:02}:00Z"}},"visit":{{
           "class":{{"code":"{class}"}},"status":{{"code":"{status}"}},
           "location":{{"pointOfCare":"{ward}"}}}}}}"#
    );
    Seen::of(serde_json::from_str::<Tree>(&json).unwrap().root())
}

/// The rows of the table of docs/fhir.md below a heading.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string("docs/fhir.md").unwrap();
    let (_, below) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let table = below.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = table.take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

/// A word of the table: the status, the class and the ward of a version.
fn version(word: &str, minute: usize) -> Option<Seen> {
    Some(match word {
        "not seen" => return None,
        "planned" => seen("planned", "IMP", "A", minute),
        "arrived" => seen("arrived", "IMP", "A", minute),
        "here, outpatient" => seen("in-progress", "AMB", "A", minute),
        "here, outpatient, elsewhere" => seen("in-progress", "AMB", "B", minute),
        "here, inpatient" => seen("in-progress", "IMP", "A", minute),
        "here, inpatient, elsewhere" => seen("in-progress", "IMP", "B", minute),
        "on leave" => seen("onleave", "IMP", "A", minute),
        "over" => seen("finished", "IMP", "A", minute),
        "over, outpatient" => seen("finished", "AMB", "A", minute),
        "cancelled" => seen("cancelled", "IMP", "A", minute),
        "entered in error" => seen("entered-in-error", "IMP", "A", minute),
        "unknown" => seen("unknown", "IMP", "A", minute),
        _ => panic!("{word}: no such version"),
    })
}

#[test]
fn every_step_of_an_encounter_is_what_the_page_says() {
    let mut wrong = Vec::new();
    let mut told = BTreeSet::new();
    let rows = rows("From one version of an Encounter to the next");
    for row in &rows {
        let wanted: Vec<EventType> =
            row[3].split(", ").map(|name| EventType::from_name(name).unwrap()).collect();
        for before in row[1].split(" / ") {
            for now in row[2].split(" / ") {
                assert!(told.insert((before.to_owned(), now.to_owned())), "{before} {now} twice");
                let steps = stay::steps(version(before, 1).as_ref(), &version(now, 2).unwrap());
                if steps != wanted {
                    wrong.push(format!("{before} -> {now}: {steps:?}, not {wanted:?}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    // Every way from one stage to another has its row.
    let stages = [
        "planned",
        "arrived",
        "here, outpatient",
        "here, inpatient",
        "over",
        "over, outpatient",
        "cancelled",
        "entered in error",
        "unknown",
    ];
    for now in stages {
        for before in stages.iter().filter(|it| **it != "unknown").chain(&["not seen"]) {
            let known = told.contains(&((*before).to_owned(), now.to_owned()));
            assert!(known, "docs/fhir.md has no row of {before} -> {now}");
        }
    }
}

/// An older version behind a newer one tells no step, and what was seen stays.
#[test]
fn every_pair_of_versions_gives_one_event_at_least_and_none_twice() {
    let all = ["planned", "arrived", "here, inpatient", "over", "cancelled", "unknown"];
    for first in all {
        for second in all {
            let before = version(first, 2).unwrap();
            let now = version(second, 3).unwrap();
            let steps = stay::steps(Some(&before), &now);
            let different: BTreeSet<&EventType> = steps.iter().collect();
            assert!(!steps.is_empty() && different.len() == steps.len(), "{first} {second}");
            let late = version(second, 1).unwrap();
            assert_eq!(stay::steps(Some(&before), &late), [EventType::PatientUpdated]);
            assert!(late.after(Some(&before)) == before);
        }
    }
}

/// The block of a language below a heading of docs/mapping.md.
fn block(heading: &str, language: &str) -> String {
    let page = std::fs::read_to_string("docs/mapping.md").unwrap();
    let (_, below) = page.split_once(&format!("\n### {heading}\n")).unwrap();
    let (_, block) = below.split_once(&format!("\n```{language}\n")).unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

/// The shipped mappings and tables with one file more.
fn with(name: &str, text: &str) -> (tempfile::TempDir, Mappings, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let shipped = std::env::current_dir().unwrap().join("mappings");
    std::fs::create_dir_all(dir.path().join("mappings/fhir")).unwrap();
    for folder in ["hl7", "tables"] {
        std::os::unix::fs::symlink(shipped.join(folder), dir.path().join("mappings").join(folder))
            .unwrap();
    }
    for file in std::fs::read_dir(shipped.join("fhir")).unwrap() {
        let file = file.unwrap();
        let to = dir.path().join("mappings/fhir").join(file.file_name());
        std::os::unix::fs::symlink(file.path(), to).unwrap();
    }
    std::fs::write(dir.path().join("mappings/fhir").join(name), text).unwrap();
    let problems = Problems::default();
    let mappings = normalize::load(&dir.path().join("mappings"), &problems);
    let start = format!("{}/", dir.path().join("mappings/fhir").display());
    let mistakes =
        problems.mistakes().iter().map(|it| it.to_string().replace(&start, "")).collect();
    (dir, mappings, mistakes)
}

#[test]
fn the_example_of_the_page_is_an_event_when_its_file_is_there() {
    let resource = block("An example", "json");
    let before = outcomes(&mappings(), resource.as_bytes());
    let refused = "unsupported: no mapping selects the resource Procedure";
    assert_eq!(before[0].1.as_ref().unwrap_err(), refused);
    let (dir, mappings, mistakes) = with("procedure.toml", &block("An example", "toml"));
    assert_eq!(mistakes, Vec::<String>::new());
    std::fs::create_dir(dir.path().join("examples")).unwrap();
    std::fs::write(dir.path().join("examples/procedure.json"), resource).unwrap();
    let found = mappings.fhir.files().find(|(name, _, _)| name.ends_with("procedure.toml"));
    let (_, mapping, cases) = found.unwrap();
    assert_eq!(cases.len(), 1);
    assert_eq!(cases[0].run_resource(mapping), Vec::<String>::new());
}

#[test]
fn what_is_wrong_with_a_mapping_of_resources_is_told_at_its_place() {
    const CASE: &str =
        "[[case]]\nname = \"a\"\nmessage = \"a.json\"\n[case.expect]\n\"message.type\" = \"x\"\n";
    let of = |head: &str, select: &str, rules: &str| {
        format!("event = \"patient.updated\"\n{head}[select]\n{select}\n[rules]\n{rules}\n{CASE}")
    };
    let flag = "resource = \"Flag\"";
    for (text, wanted) in [
        (of("", "resource = \"Patient\"", ""), "Patient is selected by another file, too"),
        (of("", "resource = \"Flag\"\nversion = [\"R3\"]", ""), "z.toml:4:12: `R3` is neither"),
        (of("", "resource = \"Flag\"\nwhen = [\"Flag.sbject\"]", ""), "did you mean subject?"),
        (of("transitions = true\n", flag, ""), "z.toml:2:1: `transitions` goes with"),
        (
            of("", flag, "\"visit.reason\" = \"Flag.cod\""),
            "z.toml:5:18: column 6: Flag has no element cod",
        ),
        (of("", flag, "\"visit.reason\" = \"code\""), "code is no resource type"),
        (
            of("", flag, "\"visit.reason\" = \"Flag.subject.resolve().code\""),
            "behind resolve() stands ofType()",
        ),
        (
            of("", flag, "\"diagnoses\" = { each = \"Flag\" }\n\"diagnoses[].code\" = \"sbject\""),
            "Flag has no element sbject",
        ),
        (
            of(
                "",
                flag,
                "\"diagnoses\" = { each = \"Flag\", with = [\"NTE\"] }\n\"diagnoses[].code\" = \"code\"",
            ),
            "`with` is for segments",
        ),
        (of("", flag, "\"visit.class\" = \"Flag.code\""), "it wants a `table`"),
        (
            of("", flag, "\"visit.reason\" = { from = \"Flag.code\", as = \"name\" }"),
            "does not fit",
        ),
        (
            of("", flag, "\"visit.number\" = { from = \"Flag.identifier\", type = \"MR\" }"),
            "`type` goes with an identifier",
        ),
    ] {
        let (_, _, mistakes) = with("z.toml", &text);
        assert!(
            mistakes.iter().any(|line| line.contains(wanted)),
            "{text}\n{wanted}\n{mistakes:#?}"
        );
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let bytes = std::fs::read(format!("fixtures/fhir/{name}")).unwrap();
    opened::json(bytes, BYTES_MAX, None).unwrap()
}

/// A system that `[identity]` names is the authority, whichever kind of URI it is.
#[test]
fn a_system_is_an_authority_under_any_of_its_names() {
    let aliases = [("https://zz.example.org/social", "SOC"), ("urn:oid:1.2.840.99999.1", "MRN")];
    let aliases: HashMap<String, String> =
        aliases.map(|(alias, name)| (alias.to_owned(), name.to_owned())).into();
    let outcome = outcomes(&mappings(), &fixture("patient.json")).remove(0);
    let draft = outcome.1.unwrap().remove(0);
    for (prefer, value) in [("SOC", "ZZS-9"), ("MRN", "ZZ100001")] {
        let identity = Identity::new(aliases.clone(), vec![prefer.to_owned()]);
        let subject = identity.subject(draft.data.root(), "feed").unwrap();
        assert_eq!((subject.authority.as_str(), subject.value.expose().as_str()), (prefer, value));
    }
    let usual = Identity::default().subject(draft.data.root(), "feed").unwrap();
    assert_eq!(usual.authority, "urn:oid:1.2.840.99999.1");
}

/// PROMISE-10: what nobody took is named, and not told.
#[test]
fn what_no_rule_took_of_a_resource_is_listed_by_element() {
    let bytes = fixture("observation-pressure.json");
    let opened = opened::open(&bytes, BYTES_MAX).unwrap();
    let around = opened::around(&opened);
    let focus = opened[0].resource.as_ref().unwrap();
    let version = release::release(focus);
    let scene = Scene { focus, patient: None, before: None, version, around: &around };
    let mappings = mappings();
    let mapped = normalize_resource(&mappings, &scene, &Context::default(), Trace::Off);
    let (normalized, _) = mapped.unwrap();
    let listed: Vec<String> = normalized.unmapped.iter().map(ToString::to_string).collect();
    assert_eq!(
        listed,
        [
            "Observation.category.coding.system",
            "Observation.component.interpretation.coding.system",
            "Observation.hasMember",
        ]
    );
    // The same scene gives the same events.
    let again = normalize_resource(&mappings, &scene, &Context::default(), Trace::On).unwrap().0;
    assert!(again == normalized);
}

/// An authority that a site renames, and its codes, hold for resources, too.
#[test]
fn a_sites_authorities_and_tables_hold_for_resources() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = std::env::current_dir().unwrap().join("mappings");
    for folder in ["hl7", "tables", "fhir"] {
        std::os::unix::fs::symlink(shipped.join(folder), dir.path().join(folder)).unwrap();
    }
    std::fs::create_dir_all(dir.path().join("sites/north")).unwrap();
    let site = "[authority.renamed]\n\"https://zz.example.org/social\" = \"SOCIAL\"\n[[case]]\n\
                name = \"a\"\nmessage = \"a.hl7\"\n[case.expect]\n\"message.type\" = \"ADT\"\n";
    std::fs::write(dir.path().join("sites/north.toml"), site).unwrap();
    std::fs::write(dir.path().join("sites/north/gender.csv"), "source,code\nfemale,other\n")
        .unwrap();
    let problems = Problems::default();
    let mappings = normalize::load(dir.path(), &problems);
    let mistakes: Vec<String> = problems.mistakes().iter().map(ToString::to_string).collect();
    assert_eq!(mistakes, Vec::<String>::new());
    let north = &mappings.site("north").unwrap().mappings;
    for (mappings, authority, sex) in
        [(&**north, Some("SOCIAL"), "other"), (&mappings, None, "female")]
    {
        let outcome = outcomes(mappings, &fixture("patient.json")).remove(0);
        let drafts = outcome.1.unwrap();
        let data = drafts[0].data.root();
        assert_eq!(text(data, "patient.identifiers[1].authority").as_deref(), authority);
        assert_eq!(text(data, "patient.sex.code").as_deref(), Some(sex));
    }
}
