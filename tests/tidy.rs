//! Holds the tree against its own rules: who may import whom, how a file begins, that every
//! promise is tagged where it is kept and where it is tested, and that what is documented is what
//! is exported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on fails there and then"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A room, its floor, and the rooms of its own floor that it may import: those before it in its
/// chain. Of lower floors it may import all, of higher ones none.
const ROOMS: [(&str, u8, &[&str]); 27] = [
    ("bug", 0, &[]),
    ("clock", 0, &[]),
    ("phi", 0, &[]),
    ("secret", 0, &[]),
    ("pace", 0, &[]),
    ("tls", 1, &[]),
    ("document", 1, &[]),
    ("event", 1, &["document"]),
    ("metrics", 1, &[]),
    ("parse", 2, &[]),
    ("normalize", 2, &["parse"]),
    ("admit", 2, &["parse", "normalize", "consent"]),
    ("consent", 2, &[]),
    ("privacy", 2, &["consent"]),
    ("contract", 2, &["consent", "privacy"]),
    ("verdict", 3, &[]),
    ("audit", 3, &[]),
    ("store", 4, &[]),
    ("fence", 4, &[]),
    ("feed", 5, &[]),
    ("deliver", 5, &[]),
    ("admin", 5, &[]),
    ("config", 6, &[]),
    ("app", 6, &["config"]),
    ("cli", 6, &["app", "config"]),
    ("lib", 7, &[]),
    ("main", 7, &[]),
];

/// The promises that are in force, by their number in the design.
const PROMISES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(dir)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources under {dir}");
    found
}

/// The room of a file: the folder or file under src.
fn room(path: &Path) -> String {
    let part = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    part.trim_end_matches(".rs").to_owned()
}

/// What a line of code imports of ours, in any form: `crate::a`, `crate::{a::b, c}`.
fn imports(line: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in line.split("crate::").skip(1) {
        let inside = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or(group),
            None => rest.split([':', ';', ' ', '(', ',', ')']).next().unwrap_or(rest),
        };
        for part in inside.split(',') {
            let name = part.trim().split([':', '{', ' ']).next().unwrap_or("");
            if name.starts_with(|first: char| first.is_ascii_lowercase()) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// Upward imports and imports across a floor, one line for each.
fn upward(path: &Path, text: &str) -> Vec<String> {
    let rooms: BTreeMap<&str, (u8, &[&str])> =
        ROOMS.iter().map(|(name, floor, beside)| (*name, (*floor, *beside))).collect();
    let room = room(path);
    let Some((floor, beside)) = rooms.get(room.as_str()) else {
        return vec![format!("{}: the room {room} stands on no floor", path.display())];
    };
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for name in imports(line) {
            let known = rooms.get(name.as_str());
            let allowed = name == room
                || known.is_some_and(|(other, _)| other < floor)
                || beside.contains(&name.as_str());
            if !allowed {
                problems.push(format!("{}:{}: {room} imports {name}", path.display(), number + 1));
            }
        }
    }
    problems
}

#[test]
fn nothing_imports_upward() {
    let problems: Vec<String> =
        sources("src").iter().flat_map(|(path, text)| upward(path, text)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn an_upward_import_is_named_with_its_line() {
    let text = "use std::fmt;\nuse crate::{clock, store::Journal};\n// crate::cli\nfn f() { crate::event::g(); }\n";
    let problems = upward(Path::new("src/parse/hl7/mod.rs"), text);
    assert_eq!(problems, ["src/parse/hl7/mod.rs:2: parse imports store"]);
    assert_eq!(upward(Path::new("src/feed/x.rs"), "use crate::deliver::Sink;").len(), 1);
    assert_eq!(upward(Path::new("src/utils.rs"), "").len(), 1);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let mut problems = Vec::new();
    for (path, text) in sources("src").into_iter().chain(sources("tests")).chain(sources("benches"))
    {
        if !text.starts_with("//! ") {
            problems.push(format!("{}:1: does not say what it is for", path.display()));
        }
        // A command's promises stand once for all of them, in cli/mod.rs.
        let spared = ["src/main.rs", "src/lib.rs"].iter().any(|spared| path == Path::new(spared))
            || (path.starts_with("src/cli") && !path.ends_with("mod.rs"));
        let is_room = path.starts_with("src") && !spared;
        let opening: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        if is_room && !(opening.contains("Promise") && opening.contains("Knows nothing of")) {
            problems.push(format!("{}:1: says no promise, or not what it ignores", path.display()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_promise_is_tagged_where_it_is_kept_and_where_it_is_tested() {
    let (mut kept, mut tested) = (BTreeSet::new(), BTreeSet::new());
    let note = |set: &mut BTreeSet<u8>, text: &str| {
        for rest in text.split("PROMISE-").skip(1) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            set.extend(digits.parse::<u8>());
        }
    };
    for (_, text) in sources("src") {
        let (code, tests) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        note(&mut kept, code);
        note(&mut tested, tests);
    }
    for (path, text) in sources("tests") {
        if !path.ends_with("tidy.rs") {
            note(&mut tested, &text);
        }
    }
    let expected = BTreeSet::from(PROMISES);
    assert_eq!(kept, expected, "promises tagged in src/");
    assert_eq!(tested, expected, "promises tagged in tests");
}

#[test]
fn the_documented_metrics_are_the_declared_ones() {
    let documented = std::fs::read_to_string("docs/metrics.md").unwrap();
    let rows: Vec<&str> = documented
        .lines()
        .filter(|line| line.starts_with("| `tidegate_") || line.starts_with("| `process_"))
        .collect();
    let declared: Vec<String> = tidegate::metrics::TABLE
        .iter()
        .map(|(kind, name, labels, text)| {
            let kind = match kind {
                tidegate::metrics::Kind::Counter => "counter",
                tidegate::metrics::Kind::Gauge => "gauge",
                tidegate::metrics::Kind::Seconds | tidegate::metrics::Kind::Counts => "histogram",
            };
            format!("| `{name}` | {kind} | {} | {text} |", labels.join(", "))
        })
        .collect();
    assert_eq!(rows, declared, "docs/metrics.md is the left one");
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut documents: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "tests/faults.md",
    ]
    .iter()
    .map(PathBuf::from)
    .collect();
    for folder in ["docs", "docs/adr"] {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    let mut problems = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            let base = document.parent().unwrap();
            if !file.is_empty() && !file.contains("://") && !base.join(file).exists() {
                problems.push(format!("{}: {target} is not there", document.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The names of all functions, tests among them.
fn functions() -> BTreeSet<String> {
    sources("tests")
        .into_iter()
        .chain(sources("src"))
        .flat_map(|(_, text)| {
            text.lines()
                .filter_map(|line| {
                    line.trim_start().split_once("fn ").map(|(_, rest)| rest.to_owned())
                })
                .map(|rest| rest.split(['(', '<']).next().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_test_and_file_that_the_threat_model_names_exists() {
    let text = std::fs::read_to_string("docs/threat-model.md").unwrap();
    let names = functions();
    let words = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut problems = Vec::new();
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let &[_, _, _, _, files, tests, _] = cells.as_slice() else { continue };
        if tests == "shown by" {
            continue;
        }
        rows += 1;
        let is_there = |file: &String| {
            Path::new("src").join(file).exists() || Path::new(&format!("src/{file}.rs")).exists()
        };
        let missing = words(files).into_iter().filter(|file| !is_there(file));
        problems.extend(missing.map(|file| format!("{line}\n  there is no src/{file}")));
        let unknown = words(tests).into_iter().filter(|test| !names.contains(test));
        problems.extend(unknown.map(|test| format!("{line}\n  there is no test {test}")));
    }
    assert!(rows > 30, "the tables are there");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_fault_of_the_table_names_a_test_that_exists() {
    let table = std::fs::read_to_string("tests/faults.md").unwrap();
    let names = functions();
    let mut problems = Vec::new();
    let mut numbers = BTreeSet::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Ok(number) = cells[1].parse::<u32>() else { continue };
        numbers.insert(number);
        for name in cells[3].split('`').skip(1).step_by(2) {
            if !names.contains(name) {
                problems.push(format!("fault {number}: there is no test {name}"));
            }
        }
        if !cells[3].contains('`')
            && !cells[4].starts_with("not yet")
            && !cells[4].starts_with("left out")
        {
            problems.push(format!("fault {number}: neither a test nor a reason"));
        }
    }
    assert_eq!(numbers, (1..=113).collect(), "every row of the fault matrix is there");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
