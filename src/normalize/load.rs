//! Reads a folder of mapping files.
//!
//! Promises: every mistake of every file is reported at once, with line and column; a folder
//! with a mistake gives no mappings.
//! Knows nothing of: how a rule is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::{Document, Item, Place, Placed, Problems, Table as TomlTable, hint};
use crate::event::{Act, EventType};
use crate::parse::hl7::name;

use super::authority::Authorities;
use super::case::{self, Case, Of};
use super::compile::{self, Compiling};
use super::fhir;
use super::mapping::{Mapping, Mappings, Per};
use super::segments::Hl7;
use super::site;
use super::table::Tables;

/// Most mapping files in one folder. 60 triggers and their parts are some dozens.
const FILES_MAX: usize = 1_000;

/// A mapping file as it is written.
pub(super) struct File {
    pub name: String,
    pub place: Place,
    pub event: Option<EventType>,
    pub per: Per,
    pub act: Option<Act>,
    pub uses: Vec<Use>,
    pub select: Option<Select>,
    pub rules: Vec<Rule>,
    pub cases: Vec<Case>,
}

/// A part that a mapping takes over, as it is written.
pub(super) struct Use {
    pub part: Placed<String>,
    /// A path: where it has a value, no rule of the part counts.
    pub unless: Option<Placed<String>>,
}

/// What a mapping is for, as it is written.
pub(super) enum Select {
    /// A message type and some of its triggers.
    Triggers(Placed<String>, Vec<Placed<String>>),
    /// Every message with such a segment, beside what its type selects.
    Segment(Placed<String>),
    /// A resource type of FHIR.
    Resource(fhir::load::Selector),
}

/// A rule as it is written.
#[derive(Clone)]
pub(super) struct Rule {
    pub target: Placed<String>,
    pub sources: Vec<Source>,
    pub with: Vec<Placed<String>>,
    pub required: bool,
    pub default: Option<String>,
}

/// A source as it is written.
#[derive(Clone)]
pub(super) struct Source {
    pub from: Option<Placed<String>>,
    pub value: Option<Placed<String>>,
    pub convert: Option<Placed<String>>,
    pub table: Option<Placed<String>>,
    pub kind: Option<Placed<String>>,
    pub when: Option<Placed<String>>,
    pub unless: Option<Placed<String>>,
    pub after: Option<Placed<String>>,
    pub place: Place,
}

impl Rule {
    /// Whether it says what another one does, wherever the two stand.
    pub fn says_what(&self, other: &Self) -> bool {
        let names = |with: &[Placed<String>]| -> Vec<String> {
            with.iter().map(|name| name.value.clone()).collect()
        };
        self.required == other.required
            && self.default == other.default
            && names(&self.with) == names(&other.with)
            && self.sources.len() == other.sources.len()
            && self.sources.iter().zip(&other.sources).all(|(one, its)| one.words() == its.words())
    }
}

impl Source {
    /// All that it says, but where.
    fn words(&self) -> [Option<&str>; 8] {
        [
            &self.from,
            &self.value,
            &self.convert,
            &self.table,
            &self.kind,
            &self.when,
            &self.unless,
            &self.after,
        ]
        .map(|word| word.as_ref().map(|word| word.value.as_str()))
    }
}

/// Loads `hl7/*.toml`, `tables/*.csv` and `sites/*.toml` below a folder. Mistakes go to `problems`; with any,
/// what is returned must not be used.
#[must_use]
pub fn load(dir: &Path, problems: &Problems) -> Mappings {
    let documents = toml_files(&dir.join("hl7"), problems).into_iter().filter_map(|path| {
        let document = Document::open(&path, problems)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Some((name.unwrap_or_default(), document))
    });
    load_documents(documents, dir, problems)
}

/// Compiles mapping files that were read already, each under its name without `.toml`, with the
/// code tables in `tables/*.csv` below a folder. Mistakes as with [`load`].
#[must_use]
pub fn load_documents(
    documents: impl IntoIterator<Item = (String, Document)>,
    dir: &Path,
    problems: &Problems,
) -> Mappings {
    let mut files = BTreeMap::new();
    for (name, document) in documents {
        let file = document.read(problems, |table| read_file(&name, table));
        files.insert(name, file);
    }
    let resources = fhir::load::read(dir, problems);
    let mut tables = Tables::new(&dir.join("tables"), problems);
    let mut mappings = Mappings::default();
    let around = Compiling { declared: mappings.declared, problems };
    for file in files.values() {
        let rules = compile::gather(file, &files, problems);
        let mapping = Arc::new(mapping(file, &rules, &mut tables, around, None));
        select(file, &mapping, &mut mappings, problems);
        mappings.files.push((file.place.file.to_string(), mapping, file.cases.clone()));
    }
    for file in resources.values() {
        let rules = compile::gather(file, &resources, problems);
        mappings.fhir.add(file, &rules, &mut tables, around, None);
    }
    mappings.fhir.select(problems);
    tables.read_all();
    site::load(dir, [&files, &resources], &tables, &mut mappings, problems);
    mappings
}

/// Compiles a file of HL7 v2.
pub(super) fn mapping(
    file: &File,
    rules: &compile::Rules<'_>,
    tables: &mut Tables<'_>,
    around: Compiling<'_>,
    authorities: Option<Arc<Authorities>>,
) -> Mapping {
    let fields = compile::compile::<Hl7>(file, rules, tables, around);
    Mapping { event: file.event, per: file.per, act: file.act, fields, authorities }
}

pub(super) fn select(
    file: &File,
    mapping: &Arc<super::Mapping>,
    mappings: &mut Mappings,
    problems: &Problems,
) {
    let (kind, triggers) = match &file.select {
        None | Some(Select::Resource(_)) => return,
        Some(Select::Triggers(kind, triggers)) => (kind, triggers),
        Some(Select::Segment(name)) if name::is_segment_name(name.value.as_bytes()) => {
            let packed = name::pack_name(name.value.as_bytes());
            if mappings.beside.iter().any(|(known, _)| *known == packed) {
                let text = format!("{} is selected by another file, too", name.value);
                problems.mistake(&name.place, text);
            }
            return mappings.beside.push((packed, Arc::clone(mapping)));
        }
        Some(Select::Segment(name)) => {
            let text = format!("`{}` is not a segment name", name.value);
            return problems.mistake(&name.place, text);
        }
    };
    for trigger in triggers {
        let of_kind = mappings.selected.entry(kind.value.clone()).or_default();
        if of_kind.insert(trigger.value.clone(), Arc::clone(mapping)).is_some() {
            problems.mistake(
                &trigger.place,
                format!("{}^{} is selected by another file, too", kind.value, trigger.value),
            );
        }
    }
}

/// The `.toml` files of a folder, by name.
pub(super) fn toml_files(dir: &Path, problems: &Problems) -> Vec<PathBuf> {
    let place = Place { file: dir.display().to_string().into(), line: 1, column: 1 };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            problems.mistake(&place, format!("cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    if files.is_empty() {
        problems.mistake(&place, "there is no mapping file (*.toml)");
    }
    if files.len() > FILES_MAX {
        problems.mistake(&place, format!("more than {FILES_MAX} mapping files"));
        files.truncate(FILES_MAX);
    }
    files
}

fn read_file(name: &str, table: &TomlTable<'_>) -> File {
    let event = read_event(table);
    let per = table.choice(
        "per",
        &[("message", Per::Message), ("OBR", Per::Obr), ("CON", Per::Con), ("PID", Per::Pid)],
    );
    let act = table.choice("act", &Act::ALL.map(|act| (act.name(), act)));
    if act.is_some() && per != Some(Per::Pid) {
        table.mistake(&table.place_of("act"), "`act` goes with `per = \"PID\"`");
    }
    let select = table.table("select").and_then(|select| {
        let found = if select.has("segment") {
            select.required_text("segment").map(Select::Segment)
        } else {
            let found = select.required_text("type").zip(select.required("event"));
            found.map(|(kind, events)| Select::Triggers(kind, events.texts()))
        };
        select.finish();
        found
    });
    both_or_neither(table, event.is_some(), select.is_some());
    // Otherwise two mappings could make events of one place, and so of one ID.
    let of_consent = matches!(&select, Some(Select::Segment(name)) if name.value == "CON");
    let of_segment = matches!(&select, Some(Select::Segment(_)));
    if (per == Some(Per::Con)) != of_consent || of_segment != of_consent {
        table.mistake(&table.place(), "`per = \"CON\"` and `segment = \"CON\"` go together");
    }
    let rules = table.table("rules").map(|rules| read_rules(&rules)).unwrap_or_default();
    File {
        name: name.to_owned(),
        place: table.place(),
        event,
        per: per.unwrap_or(Per::Message),
        act,
        uses: read_uses(table),
        select,
        rules,
        cases: case::of_file(table, Of::Messages),
    }
}

pub(super) fn both_or_neither(table: &TomlTable<'_>, event: bool, select: bool) {
    if event != select {
        let text = "a mapping has both `event` and [select]; a part for others to use has neither";
        table.mistake(&table.place(), text);
    }
}

/// The event type that comes out.
pub(super) fn read_event(table: &TomlTable<'_>) -> Option<EventType> {
    table.text("event").and_then(|event| {
        let kind = EventType::from_name(&event.value);
        if kind.is_none() {
            let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.name()).collect();
            let hint = hint(&event.value, &known);
            table.mistake(&event.place, format!("`{}` is not an event type{hint}", event.value));
        }
        kind
    })
}

/// Names of parts, and tables of a part and a condition.
pub(super) fn read_uses(table: &TomlTable<'_>) -> Vec<Use> {
    let Some(item) = table.item("use") else { return Vec::new() };
    let read = |item: &Item<'_>| {
        if !item.is_table() {
            return Some(Use { part: item.text()?, unless: None });
        }
        let table = item.table()?;
        let part = table.required_text("part");
        let unless = table.text("unless");
        table.finish();
        Some(Use { part: part?, unless })
    };
    item.items().iter().filter_map(read).collect()
}

pub(super) fn read_rules(table: &TomlTable<'_>) -> Vec<Rule> {
    table
        .entries()
        .into_iter()
        .map(|(target, item)| {
            let mut rule = Rule {
                target,
                sources: Vec::new(),
                with: Vec::new(),
                required: false,
                default: None,
            };
            if item.is_table() {
                if let Some(table) = item.table() {
                    read_rule_table(&table, &mut rule);
                    table.finish();
                }
            } else {
                rule.sources = read_sources(&item);
            }
            rule
        })
        .collect()
}

/// `{ from = …, as = …, required = true }` or `{ each = …, with = […] }`.
fn read_rule_table(table: &TomlTable<'_>, rule: &mut Rule) {
    rule.required = table.boolean("required", false);
    rule.with = table.texts("with");
    rule.default = table.item("default").and_then(|item| {
        let text = item.scalar();
        if text.is_none() {
            item.mistake("`default` is a text, a number or a boolean");
        }
        text
    });
    let outer = read_source(table);
    let listed = table.item("from").or_else(|| table.item("each"));
    rule.sources = match listed {
        None => vec![outer],
        Some(listed) if listed.is_text() => vec![Source { from: listed.text(), ..outer }],
        Some(listed) => read_sources(&listed)
            .into_iter()
            .map(|source| Source {
                convert: source.convert.or_else(|| outer.convert.clone()),
                table: source.table.or_else(|| outer.table.clone()),
                kind: source.kind.or_else(|| outer.kind.clone()),
                when: source.when.or_else(|| outer.when.clone()),
                unless: source.unless.or_else(|| outer.unless.clone()),
                after: source.after.or_else(|| outer.after.clone()),
                ..source
            })
            .collect(),
    };
    if table.has("from") && table.has("each") {
        table.mistake(&table.place_of("each"), "`from` and `each` exclude each other");
    }
}

/// What stands beside `from`, `each` or `value`.
fn read_source(table: &TomlTable<'_>) -> Source {
    let value = table.item("value").and_then(|item| {
        let value = item.scalar().map(|value| Placed { value, place: item.place() });
        if value.is_none() {
            item.mistake("`value` is a text, a number or a boolean");
        }
        value
    });
    Source {
        from: None,
        value,
        convert: table.text("as"),
        table: table.text("table"),
        kind: table.text("type"),
        when: table.text("when"),
        unless: table.text("unless"),
        after: table.text("after"),
        place: table.place(),
    }
}

/// A path, or a list of paths and of tables that hold one.
fn read_sources(item: &Item<'_>) -> Vec<Source> {
    let items = if item.is_list() { item.items() } else { vec![item.clone()] };
    items
        .iter()
        .filter_map(|item| {
            if item.is_table() {
                let table = item.table()?;
                let source = Source { from: table.text("from"), ..read_source(&table) };
                table.finish();
                return Some(source);
            }
            let from = item.text()?;
            Some(Source {
                place: from.place.clone(),
                from: Some(from),
                value: None,
                convert: None,
                table: None,
                kind: None,
                when: None,
                unless: None,
                after: None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::{Context, Trace, normalize};
    use crate::parse::hl7::{Charset, Message};

    #[test]
    fn a_mapping_is_selected_by_triggers_or_by_a_segment_and_not_by_both() {
        let case = "[[case]]\nname = \"a\"\nmessage = \"a.hl7\"\n[case.expect]\n\"message.type\" = \"x\"\n";
        for (select, mistake) in [
            ("segment = \"CON\"", None),
            ("segment = \"CO\"", Some("a.toml:4:11: `CO` is not a segment name")),
            ("segment = \"ZPD\"", Some("`per = \"CON\"` and `segment = \"CON\"` go together")),
            (
                "type = \"ADT\"\nevent = [\"A01\"]",
                Some("`per = \"CON\"` and `segment = \"CON\"` go together"),
            ),
            ("segment = \"CON\"\ntype = \"ADT\"", Some("a.toml:5:1: `select.type` is not known")),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("hl7")).unwrap();
            let text =
                format!("event = \"consent.updated\"\nper = \"CON\"\n[select]\n{select}\n{case}");
            std::fs::write(dir.path().join("hl7/a.toml"), text).unwrap();
            let problems = Problems::default();
            let mappings = load(dir.path(), &problems);
            let mistakes: Vec<String> =
                problems.mistakes().iter().map(ToString::to_string).collect();
            match mistake {
                None => {
                    assert_eq!(mistakes, Vec::<String>::new(), "{select}");
                    assert_eq!(mappings.beside.len() + mappings.selected.len(), 1);
                }
                Some(mistake) => {
                    assert!(mistakes.iter().any(|line| line.contains(mistake)), "{mistakes:?}");
                }
            }
        }
    }

    /// PROMISE-10: a label stands in the evidence, so that it is never what a sender wrote.
    #[test]
    fn no_rule_makes_a_label() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("hl7")).unwrap();
        let text = "event = \"patient.updated\"\n[select]\ntype = \"ADT\"\nevent = [\"A08\"]\n\
                    [rules]\n\"labels\" = { each = \"ZSE\" }\n\"labels[].code\" = \"ZSE-2\"\n";
        std::fs::write(dir.path().join("hl7/a.toml"), text).unwrap();
        let problems = Problems::default();
        assert!(!load(dir.path(), &problems).has_type("ORU"));
        let mistakes: Vec<String> = problems.mistakes().iter().map(ToString::to_string).collect();
        for line in ["a.toml:6:1:", "a.toml:7:1:"] {
            let told =
                |mistake: &&String| mistake.contains(line) && mistake.contains("labels come");
            assert!(mistakes.iter().any(|it| told(&it)), "{line} {mistakes:?}");
        }
    }

    #[test]
    fn a_part_is_taken_over_where_its_condition_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("hl7")).unwrap();
        std::fs::create_dir_all(dir.path().join("tables")).unwrap();
        let case = "[[case]]\nname = \"a\"\nmessage = \"a.hl7\"\n[case.expect]\n\"message.type\" = \"x\"\n";
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join("hl7").join(name), format!("{text}{case}")).unwrap();
        };
        let mistakes = |uses: &str, visit: &str| {
            write("visit.toml", &format!("[rules]\n{visit}\n"));
            write(
                "a.toml",
                &format!(
                    "event = \"patient.updated\"\nuse = [{uses}]\n[select]\ntype = \"ADT\"\nevent = [\"A01\"]\n"
                ),
            );
            let problems = Problems::default();
            let mappings = load(dir.path(), &problems);
            let found = problems.mistakes().iter().map(ToString::to_string).collect::<Vec<_>>();
            (mappings, found.join("\n"))
        };
        let uses = "{ part = \"visit\", unless = \"PV1-2[?1=N]\" }";
        let rule = "\"visit.service\" = \"PV1-10\"";
        let (mappings, none) = mistakes(uses, rule);
        assert_eq!(none, "");
        let services = |mappings: &Mappings, class: &str| {
            let text = format!("MSH|^~\\&|||||||ADT^A01|1|P|2.5\rPV1|1|{class}||||||||CAR");
            let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
            let found = normalize(mappings, &message, &Context::default(), Trace::Off);
            let (found, _) = found.map_err(|refusal| refusal.to_string())?;
            let view = found.drafts[0].data.root().at("visit.service");
            Ok(view.map(|view| serde_json::to_string(&view).unwrap()))
        };
        let car = || Ok::<_, String>(Some("{\"code\":\"CAR\"}".to_owned()));
        assert_eq!(services(&mappings, "I"), car());
        assert_eq!(services(&mappings, "N"), Ok(None));
        assert_eq!(services(&mappings, ""), car());
        // A rule's own conditions, its default and what it requires count beside the part's.
        for (rule, inpatient, none) in [
            ("{ from = \"PV1-10\", unless = \"PV1-1\" }", Ok(None), Ok(None)),
            ("{ from = \"PV1-11\", required = true }", Err(()), Ok(None)),
        ] {
            let (mappings, found) = mistakes(uses, &format!("\"visit.service\" = {rule}"));
            assert_eq!(found, "", "{rule}");
            assert_eq!(services(&mappings, "I").map_err(|_| ()), inpatient, "{rule}");
            assert_eq!(services(&mappings, "N").map_err(|_| ()), none, "{rule}");
        }
        for (uses, rule, wanted) in [
            ("{ part = \"visit\", unless = \"PV1-\" }", rule, "a.toml:2:"),
            ("{ part = \"visti\" }", rule, "did you mean `visit`?"),
            ("{ unless = \"PV1-2\" }", rule, "part"),
            ("{ part = \"visit\", when = \"PV1-2\" }", rule, "`use.when` is not known"),
        ] {
            let (_, found) = mistakes(uses, rule);
            assert!(found.contains(wanted), "{uses} {rule}: {found}");
        }
    }
}
