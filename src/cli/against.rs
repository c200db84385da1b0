//! `tidegate check --against`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use super::{complain, say};
use crate::config::{Config, with_codings};
use crate::contract::against::{Comparison, Finding, compare, place};
use crate::contract::check::CONTRACTS_MAX;
use crate::contract::fields::Codings;
use crate::contract::{Contract, Contracts, gather, load};
use crate::document::{Document, FILE_BYTES_MAX, Place, Problems};

/// Largest list of a folder that git gives, in bytes: more files than contracts there may be, each
/// with the longest name.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The contracts of a configuration, held against earlier ones.
pub struct Held {
    routes: Vec<Route>,
    added: Vec<String>,
    removed: Vec<String>,
}

struct Route {
    name: String,
    versions: [String; 2],
    comparison: Comparison,
    /// Each finding with its place, and the version that it wants where this one is too low.
    findings: Vec<(Finding, Place, Option<String>)>,
}

/// Holds the contracts of a configuration against those of a folder or a git revision; or what is
/// wrong with these.
pub fn hold(named: &str, file: &Path, config: &Config) -> Result<Held, Vec<String>> {
    // As they are written: two routes of one exchange are given one each when they run.
    let muted = Problems::default();
    let now = with_codings(&config.mappings_dir, &muted, |codings| {
        load(&config.routes_dir, config.mappings.declared(), codings, &muted).right
    });
    let before = earlier(named, file, config)?;
    let has = |all: &[Contract], name: &str| all.iter().any(|contract| contract.name == name);
    let names_beyond = |these: &[Contract], those: &[Contract]| -> Vec<String> {
        let beyond = these.iter().filter(|contract| !has(those, &contract.name));
        beyond.map(|contract| contract.name.clone()).collect()
    };
    let (added, removed) = (names_beyond(&now, &before), names_beyond(&before, &now));
    let mut routes = Vec::new();
    for new in &now {
        let Some(old) = before.iter().find(|old| old.name == new.name) else { continue };
        let comparison = compare(old, new);
        let start = Place { file: new.file.as_str().into(), line: 1, column: 1 };
        let document = Document::open(Path::new(&new.file), &muted);
        let placed = |finding: &Finding| {
            let at = document.as_ref().map_or_else(|| start.clone(), |it| place(it, finding));
            (finding.clone(), at, comparison.wanted(finding))
        };
        let findings = comparison.findings.iter().map(placed).collect();
        let versions = [old.version.clone(), new.version.clone()];
        routes.push(Route { name: new.name.clone(), versions, comparison, findings });
    }
    Ok(Held { routes, added, removed })
}

impl Held {
    /// How many findings want another version.
    pub fn refused(&self) -> usize {
        let findings = self.routes.iter().flat_map(|route| &route.findings);
        findings.filter(|(_, _, wanted)| wanted.is_some()).count()
    }

    /// For a person.
    pub fn print(&self) {
        for name in &self.added {
            say(&format!("route {name}: new"));
        }
        for name in &self.removed {
            say(&format!("route {name}: removed; its consumer gets nothing more"));
        }
        for Route { name, versions: [old, new], findings, comparison } in &self.routes {
            let count = comparison.findings.len();
            say(&format!("route {name} {old} -> {new}: {count} changes"));
            for (Finding { kind, text, .. }, place, wanted) in findings {
                let line = format!("{place}: {}: {text}", kind.name());
                match wanted {
                    Some(wanted) => complain(&format!("{line}; `version` is {wanted} at least")),
                    None => say(&format!("  {line}")),
                }
            }
        }
        match self.refused() {
            0 => say("every version says what changed"),
            refused => say(&format!("{refused} changes want another version")),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Json {
        let finding = |(finding, place, wanted): &(Finding, Place, Option<String>)| {
            json!({
                "kind": finding.kind.name(),
                "file": place.file.as_ref(),
                "line": place.line,
                "column": place.column,
                "text": finding.text,
                "wantedVersion": wanted,
            })
        };
        let route = |route: &Route| {
            let findings: Vec<Json> = route.findings.iter().map(finding).collect();
            let [old, new] = &route.versions;
            json!({ "route": route.name, "old": old, "new": new, "findings": findings })
        };
        json!({
            "routes": self.routes.iter().map(route).collect::<Vec<_>>(),
            "added": self.added,
            "removed": self.removed,
        })
    }
}

/// The earlier contracts: of a folder, where there is one of that name, else of a git revision.
fn earlier(named: &str, file: &Path, config: &Config) -> Result<Vec<Contract>, Vec<String>> {
    let problems = Problems::default();
    let dir = Path::new(named);
    let routes_dir = &config.routes_dir;
    let declared = config.mappings.declared();
    // What a table says now: it is of the mappings, and not of the contract.
    let with = |read: &dyn Fn(Codings<'_>) -> Contracts| {
        with_codings(&config.mappings_dir, &problems, |codings| read(codings))
    };
    let contracts = if dir.is_dir() {
        // Where the contracts of the other configuration lie as those of this one do.
        let here = file.parent().unwrap_or(Path::new(""));
        let beside = routes_dir.strip_prefix(here).map(|within| dir.join(within));
        let beside = beside.ok().filter(|beside| beside.is_dir());
        let folder = beside.unwrap_or_else(|| dir.to_path_buf());
        with(&|codings| load(&folder, declared, codings, &problems))
    } else {
        let documents = of_revision(named, routes_dir).map_err(|error| vec![error])?;
        with(&|codings| gather(documents.iter(), declared, codings, &problems))
    };
    if !problems.is_clean() {
        let mistakes = problems.mistakes();
        return Err(mistakes.iter().map(|mistake| format!("{named}: {mistake}")).collect());
    }
    if contracts.right.is_empty() {
        return Err(vec![format!("{named}: there is no contract")]);
    }
    Ok(contracts.right)
}

/// The contracts as a revision has them in the folder where they lie now.
fn of_revision(named: &str, dir: &Path) -> Result<Vec<Document>, String> {
    // What begins so would be an option.
    if named.is_empty() || named.starts_with('-') {
        return Err(format!("`{named}` is no folder and no git revision"));
    }
    let commit = format!("{named}^{{commit}}");
    let found = git(dir, &["rev-parse", "--verify", "--quiet", &commit], LIST_BYTES_MAX)?;
    let Some(hash) = found.filter(|hash| !hash.is_empty()) else {
        return Err(format!("`{named}` is no folder and no git revision of {}", dir.display()));
    };
    let hash = String::from_utf8_lossy(&hash).trim().to_owned();
    let gone = || format!("git cannot read {named} in {}", dir.display());
    let list = git(dir, &["ls-tree", "-z", &hash], LIST_BYTES_MAX)?.ok_or_else(gone)?;
    let list = String::from_utf8_lossy(&list).into_owned();
    let mut files: Vec<(&str, &str)> = list.split('\0').filter_map(contract_file).collect();
    files.sort_unstable();
    if files.len() > CONTRACTS_MAX {
        return Err(format!("{named}: more than {CONTRACTS_MAX} contracts"));
    }
    let mut documents = Vec::with_capacity(files.len());
    for (name, object) in files {
        let place = format!("{named}:{}", dir.join(name).display());
        let bytes = git(dir, &["cat-file", "blob", object], FILE_BYTES_MAX)?.ok_or_else(gone)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{place}: it is not UTF-8"))?;
        documents.push(Document::from_text(&place, dir, &text));
    }
    Ok(documents)
}

/// Name and object of a contract in the list of a folder: `MODE TYPE OBJECT<tab>NAME`.
fn contract_file(entry: &str) -> Option<(&str, &str)> {
    let (about, name) = entry.split_once('\t')?;
    let mut about = about.split(' ');
    let (mode, object) = (about.next()?, about.nth(1)?);
    // Neither links nor folders.
    (mode.starts_with("100") && name.ends_with(".toml")).then_some((name, object))
}

/// What git says in a folder; nothing where it says no.
fn git(dir: &Path, arguments: &[&str], bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
    let dir: PathBuf = if dir.as_os_str().is_empty() { ".".into() } else { dir.to_path_buf() };
    let mut child = Command::new("git")
        .arg("-C")
        .arg(&dir)
        .args(arguments)
        // The repository that the contracts lie in, also where a hook of another one asks.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        // What is not there is not fetched, nobody is asked, nothing is locked.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("git cannot be run, by which a revision is read: {error}"))?;
    let mut bytes = Vec::new();
    let out = child.stdout.take().map(|out| out.take(bytes_max + 1).read_to_end(&mut bytes));
    let too_long = bytes.len() as u64 > bytes_max;
    if too_long {
        // It may wait for its reader; that it has ended already is as well.
        child.kill().unwrap_or_default();
    }
    let failed = |error: std::io::Error| format!("git: {error}");
    let status = child.wait().map_err(failed)?;
    out.transpose().map_err(failed)?;
    if too_long {
        return Err(format!("git gives more than {bytes_max} bytes"));
    }
    Ok(status.success().then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::contract_file;

    #[test]
    fn of_a_folder_in_git_the_contracts_are_taken() {
        assert_eq!(contract_file("100644 blob 0a\tb c.toml"), Some(("b c.toml", "0a")));
        for other in
            ["040000 tree 0a\tb.toml", "120000 blob 0a\tb.toml", "100644 blob 0a\tb.md", ""]
        {
            assert_eq!(contract_file(other), None, "{other}");
        }
    }
}
