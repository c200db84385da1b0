//! The shipped contracts at work: of each message under fixtures/routes what leaves on a route, whole,
//! or why nothing does, under conf/quickstart.toml as it is. docs/routes.md shows the same.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value as Json;

use crate::support::daemon::TIDEGATE;
use crate::support::{canary, eventually};

/// Set to write what is generated instead of comparing it.
const WRITE: &str = "TIDEGATE_WRITE_GENERATED";
/// Where the messages, the consents and the payloads are.
const FIXTURES: &str = "fixtures/routes";
const PAGE: &str = "docs/routes.md";
/// How to write all of it anew.
const HOW: &str = "TIDEGATE_WRITE_GENERATED=1 cargo nextest run --test daemon shipped";

/// What a route does with a message.
enum Does {
    /// What `ROUTE/MESSAGE.json` holds leaves.
    Releases,
    /// Nothing leaves, for a reason.
    Suppresses(&'static str),
    /// The contract does not want it.
    Passes,
}
use Does::{Passes, Releases, Suppresses};

/// A message, what it is, and what the route does with it.
struct Case(&'static str, &'static str, Does);

// A case a line, as the page has it.
#[rustfmt::skip]
const ROUTES: [(&str, &[Case]); 6] = [
    ("trial-matching", &[
        Case("admitted", "an admission; the patient permitted trials", Releases),
        Case("hba1c", "an HbA1c of 8.20 % and a comment; the patient permitted trials", Releases),
        Case("hba1c-low", "an HbA1c of 5.40 %", Passes),
        Case("hba1c-above-six", "an HbA1c of which is known that it is above 6 %: that may be 6.2", Passes),
        Case("hba1c-of-another-result", "an HbA1c of 5.40 % beside a hematocrit of 41.2 %: no one result is both", Passes),
        Case("hba1c-undecided", "an HbA1c of 9.10 %; the patient was never asked", Suppresses("missing")),
        Case("hba1c-revoked", "an HbA1c of 7.40 %; the patient took the permit back", Suppresses("revoked")),
        Case("discharged", "a discharge", Passes),
    ]),
    ("patient-support", &[
        Case("discharged", "a discharge to home with E11.65; the patient permitted marketing to `support-program`", Releases),
        Case("discharged-nobody-named", "the same; the permit names nobody", Suppresses("missing")),
        Case("discharged-another-named", "the same; the permit names another programme", Suppresses("missing")),
        Case("discharged-other-illness", "a discharge to home with J18.9, and an E11.9 that was taken back", Passes),
        Case("discharged-died", "the patient died (disposition 20)", Passes),
        Case("admitted", "an admission", Passes),
    ]),
    ("outcomes", &[
        Case("discharged", "a discharge", Releases),
        Case("hba1c", "an HbA1c of 8.20 % and a comment", Releases),
        Case("discharged-old-and-rural", "a discharge; born 1931, ZIP code 03601-1234", Releases),
        Case("discharged-nobody-named", "a discharge; the patient refused outcome measurement", Suppresses("refused")),
        Case("discharged-restricted", "a discharge; the message asks for protection (PD1-12)", Suppresses("restricted")),
        Case("admitted", "an admission", Passes),
    ]),
    ("referral-acknowledgement", &[
        Case("admitted", "an admission", Releases),
        Case("discharged", "a discharge", Releases),
        Case("discharged-another-named", "a discharge; the patient refused that anybody is told for treatment", Suppresses("refused")),
        Case("hba1c", "a result", Passes),
    ]),
    ("bed-flow", &[
        Case("discharged", "a discharge", Releases),
        Case("discharged-restricted", "a discharge; the message asks for protection (PD1-12)", Suppresses("restricted")),
        Case("hba1c", "a result", Passes),
    ]),
    ("lab-quality", &[
        Case("hba1c", "an HbA1c of 8.20 % and a comment", Releases),
        Case("hba1c-above-six", "an HbA1c above 6 %", Releases),
        Case("admitted", "an admission", Passes),
    ]),
];

/// conf/ as it is shipped, but for its two addresses, with a state of its own.
struct Quickstart {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Quickstart {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("conf/routes")).unwrap();
        for folder in ["conf", "conf/routes"] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    std::fs::copy(&path, dir.path().join(&path)).unwrap();
                }
            }
        }
        let mappings = std::env::current_dir().unwrap().join("mappings");
        std::os::unix::fs::symlink(mappings, dir.path().join("mappings")).unwrap();
        let mut quickstart = Self { dir, child: None };
        let text = std::fs::read_to_string(quickstart.config()).unwrap();
        let free = text.replace("127.0.0.1:8080", "127.0.0.1:0").replace(":2575", ":0");
        std::fs::write(quickstart.config(), free).unwrap();
        let log = std::fs::File::create(quickstart.log()).unwrap();
        let child = Command::new(TIDEGATE)
            .args(["run", "--config"])
            .arg(quickstart.config())
            .env("TIDEGATE_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        quickstart.child = Some(child.unwrap());
        let listening = quickstart.dir.path().join("var/quickstart/listening.json");
        eventually("the quickstart listens", || listening.exists());
        quickstart
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("conf/quickstart.toml")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(TIDEGATE);
        command.args(arguments).arg("--config").arg(self.config()).output().unwrap()
    }

    /// What each route would do with a message.
    fn decide(&self, message: &str) -> Vec<Json> {
        let output = self.run(&["decide", &format!("{FIXTURES}/{message}.hl7"), "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let child = self.child.as_mut().unwrap();
        child.kill().ok();
        child.wait().ok();
    }
}

/// A payload in which what differs from one installation to another is `…`.
fn normalised(mut payload: Json) -> Json {
    let is_digest = |text: &str| {
        text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let identified = payload["tier"] == "identified";
    let object = payload.as_object_mut().unwrap();
    for name in ["id", "correlationid", "visitkey", "subject", "recipe", "sequence", "consentref"] {
        let Some(value) = object.get_mut(name) else { continue };
        let text = value.as_str().unwrap();
        let made = match name {
            "recipe" => text.starts_with("sha256:"),
            "sequence" => text.parse::<u64>().is_ok(),
            "id" | "correlationid" if identified => text.split('-').next().is_some_and(is_digest),
            // Of a realm whose tokens are random, a look makes none.
            "subject" => is_digest(text) || text.starts_with("(no token yet"),
            _ => is_digest(text),
        };
        // What identifies in clear stands as it is.
        if made {
            *value = "…".into();
        } else {
            assert!(identified && name != "visitkey", "{name} is {text}");
        }
    }
    for place in ["/data/visit/number/value", "/data/report/fillerNumber/value"] {
        if let Some(value) = payload.pointer_mut(place).filter(|_| !identified) {
            assert!(value.as_str().is_some_and(is_digest), "{place} is {value}");
            *value = "…".into();
        }
    }
    payload
}

/// The attributes in the order in which they leave.
const ENVELOPE: [&str; 18] = [
    "specversion",
    "type",
    "source",
    "id",
    "time",
    "subject",
    "datacontenttype",
    "dataschema",
    "correlationid",
    "visitkey",
    "route",
    "contract",
    "purpose",
    "tier",
    "consentref",
    "recipe",
    "sequence",
    "data",
];

/// JSON for a reader: what fits stands on one line.
fn printed(json: &Json, indent: usize) -> String {
    let one_line = match json {
        Json::Object(map) if indent > 0 => {
            let inner: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{name:?}: {}", printed(value, 99)))
                .collect();
            format!("{{ {} }}", inner.join(", "))
        }
        Json::Array(list) => {
            let inner: Vec<String> = list.iter().map(|value| printed(value, 99)).collect();
            format!("[{}]", inner.join(", "))
        }
        other => other.to_string(),
    };
    if indent >= 99 || (indent > 0 && indent + one_line.len() < 88) {
        return one_line;
    }
    let (begin, end) = (" ".repeat(indent + 2), " ".repeat(indent));
    match json {
        Json::Object(map) => {
            let known = ENVELOPE.iter().filter_map(|name| map.get_key_value(*name));
            let others = map.iter().filter(|(name, _)| !ENVELOPE.contains(&name.as_str()));
            // The names of the envelope occur in the data, too, and stand there in their own order.
            let members: Vec<(&String, &Json)> =
                if indent == 0 { known.chain(others).collect() } else { map.iter().collect() };
            let lines: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{begin}{name:?}: {}", printed(value, indent + 2)))
                .collect();
            format!("{{\n{}\n{end}}}", lines.join(",\n"))
        }
        Json::Array(list) => {
            let lines: Vec<String> =
                list.iter().map(|value| format!("{begin}{}", printed(value, indent + 2))).collect();
            format!("[\n{}\n{end}]", lines.join(",\n"))
        }
        other => other.to_string(),
    }
}

/// The reason code in the sentence of a decision: `by rule 7 (missing)`.
fn reason(sentence: &str) -> &str {
    sentence.split(['(', ')']).nth(1).unwrap_or_default()
}

fn mark(route: &str) -> (String, String) {
    (
        format!("<!-- tests/daemon/shipped.rs writes this: {route} -->\n"),
        "<!-- so far -->\n".to_owned(),
    )
}

/// What is generated stands between its marks, as it should; or is put there.
fn compare(page: &mut String, route: &str, wanted: &str) -> bool {
    let (begin, end) = mark(route);
    let at = page.find(&begin).unwrap_or_else(|| panic!("{PAGE} has no place for {route}"));
    let from = at + begin.len();
    let until = from + page[from..].find(&end).unwrap();
    let same = &page[from..until] == wanted;
    page.replace_range(from..until, wanted);
    same
}

/// PROMISE-7, PROMISE-5
#[test]
fn the_shipped_contracts_let_out_what_their_page_says_and_nothing_else() {
    let quickstart = Quickstart::start();
    let imported = quickstart.run(&["consent", "import", &format!("{FIXTURES}/consents.ndjson")]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let write = std::env::var_os(WRITE).is_some();
    let mut page = std::fs::read_to_string(PAGE).unwrap();
    let mut differs = Vec::new();
    let mut decided = std::collections::BTreeMap::new();
    for (route, cases) in &ROUTES {
        let mut text = "\n| message | | what leaves |\n|---|---|---|\n".to_owned();
        let mut shown = String::new();
        for Case(message, what, does) in *cases {
            let told = decided.entry(*message).or_insert_with(|| quickstart.decide(message));
            let told = told.iter().find(|told| told["route"] == *route).unwrap();
            let sentence = told["sentence"].as_str().unwrap();
            let found = match told["outcome"].as_str().unwrap() {
                "suppress" => format!("nothing: `{}`", reason(sentence)),
                "unselected" => "nothing: not selected".to_owned(),
                other => other.to_owned(),
            };
            let wanted = match does {
                Releases => "release".to_owned(),
                Suppresses(reason) => format!("nothing: `{reason}`"),
                Passes => "nothing: not selected".to_owned(),
            };
            assert_eq!(found, wanted, "{route} {message}: {sentence}");
            let mut cell = wanted;
            if matches!(does, Releases) {
                let payload = normalised(told["payload"].clone());
                let json = format!("{}\n", printed(&payload, 0));
                let path = format!("{FIXTURES}/{route}/{message}.json");
                if !is_file_of(&path, &json, write) {
                    differs.push(path.clone());
                }
                shown += &format!("\nOf `{message}` leaves\n\n```json\n{json}```\n");
                cell = format!("[this](../{path})");
            }
            text += &format!("| [{message}](../{FIXTURES}/{message}.hl7) | {what} | {cell} |\n");
        }
        if !compare(&mut page, route, &format!("{text}{shown}\n")) {
            differs.push(format!("{PAGE}: {route}"));
        }
    }
    canary::assert_none_in_file(&quickstart.log());
    if write {
        std::fs::write(PAGE, page).unwrap();
        return;
    }
    assert_eq!(differs, Vec::<String>::new(), "not what leaves; write it anew: {HOW}");
}

/// Whether a file holds a text; it is written where that is asked for.
fn is_file_of(path: &str, text: &str, write: bool) -> bool {
    if write {
        std::fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        return true;
    }
    std::fs::read_to_string(path).is_ok_and(|found| found == text)
}

/// A contract that is shipped has its cases, and every message and payload has its case.
#[test]
fn every_shipped_contract_has_a_message_that_leaves_and_one_that_does_not() {
    let names = |dir: &str, end: &str| -> std::collections::BTreeSet<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect()
    };
    let routes: std::collections::BTreeSet<String> =
        ROUTES.iter().map(|(route, _)| (*route).to_owned()).collect();
    assert_eq!(routes, names("conf/routes", ".toml"));
    let mut used = std::collections::BTreeSet::new();
    for (route, cases) in &ROUTES {
        let of = |wanted: bool| -> std::collections::BTreeSet<String> {
            let of = cases.iter().filter(|case| matches!(case.2, Releases) == wanted);
            of.map(|case| case.0.to_owned()).collect()
        };
        assert!(!of(true).is_empty() && !of(false).is_empty(), "{route}");
        assert_eq!(of(true), names(&format!("{FIXTURES}/{route}"), ".json"), "{route}");
        used.extend(cases.iter().map(|case| case.0.to_owned()));
    }
    assert_eq!(used, names(FIXTURES, ".hl7"));
}
