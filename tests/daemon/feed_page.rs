//! The keys of docs/feeds.md: those that there are, with their bounds, as conf/tidegate.toml has them.

use std::collections::{BTreeMap, BTreeSet};

use crate::setup;

/// A row of a table of keys: what is without it, its bounds.
struct Row {
    usual: String,
    bounds: String,
}

fn page() -> String {
    std::fs::read_to_string("docs/feeds.md").unwrap()
}

/// The rows of the first table below a heading, by key.
fn rows(heading: &str) -> BTreeMap<String, Row> {
    let page = page();
    let (_, below) = page.split_once(&format!("# {heading}\n")).unwrap();
    let table = below.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = |line: &str| -> Vec<String> {
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = cells(line);
            // `[[feed.client]]` is the key `client` of a feed.
            let key = cells[1].trim_matches('`').trim_matches(['[', ']']).replace("feed.", "");
            (key, Row { usual: cells[2].clone(), bounds: cells[3].clone() })
        })
        .collect()
}

/// The keys of the production template in its sections of feeds, each with what stands there; those of
/// folders, of FHIR servers and of their subscriptions apart.
fn template() -> [BTreeMap<String, Vec<String>>; 4] {
    let text = std::fs::read_to_string("conf/tidegate.toml").unwrap();
    let (_, feeds) = text.split_once("\n[[feed]]\n").unwrap();
    let (feeds, _) = feeds.split_once("\n[identity]\n").unwrap();
    let (socket, folder) = feeds.split_once("\n#[[feed]]\n").unwrap();
    let (folder, fhir) = folder.split_once("\n#[[feed]]\n").unwrap();
    let (fhir, _) = fhir.split_once("\n[[feed]]\n").unwrap_or((fhir, ""));
    let socket = socket.split_once("\n#[[feed.client]]\n").map_or(socket, |(before, _)| before);
    let (fhir, told) = fhir.split_once("\n#[feed.subscription]\n").unwrap();
    let (told, _) = told.split_once("\n#[[feed.subscription.topic]]\n").unwrap();
    [socket, folder, fhir, told].map(|section| {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in section.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            if let Some((key, value)) = line.split_once(" = ")
                && key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
            {
                keys.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
        keys
    })
}

fn names(rows: &BTreeMap<String, Row>) -> BTreeSet<String> {
    rows.keys().cloned().collect()
}

/// The keys above that the page says hold for a folder, too.
fn shared() -> BTreeSet<String> {
    let page = page();
    let (_, rest) = page.split_once("and of the keys above ").unwrap();
    let (list, _) = rest.split_once(". The same").unwrap();
    list.split_whitespace().map(|key| key.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_keys_of_the_page_are_those_of_the_template_with_its_defaults() {
    let [socket, folder, fhir, told] = template();
    let (keys, of_folders, of_fhir) = (rows("Keys"), rows("A folder"), rows("FHIR"));
    let mut wanted: BTreeSet<String> = socket.keys().cloned().collect();
    wanted.insert("client".to_owned());
    assert_eq!(names(&keys), wanted);
    let own: BTreeSet<String> = folder.keys().cloned().collect();
    assert_eq!(&own - &shared(), names(&of_folders));
    let own: BTreeSet<String> = fhir.keys().cloned().collect();
    assert_eq!(&own - &["name", "kind"].map(str::to_owned).into(), names(&of_fhir));
    // Some rows name two keys.
    let of_told: BTreeSet<String> = rows("Subscriptions")
        .keys()
        .flat_map(|key| key.split(',').map(|key| key.trim().trim_matches('`').to_owned()))
        .filter(|key| key != "subscription.topic")
        .collect();
    assert_eq!(told.keys().cloned().collect::<BTreeSet<String>>(), of_told);
    for (key, Row { usual, .. }) in keys.iter().chain(&of_folders) {
        // A default is written as in the configuration; all else are words.
        let number = usual.chars().all(|digit| digit.is_ascii_digit());
        let Some(value) = usual.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
            assert!(!number || socket[key] == [usual.clone()], "{key}: {usual}");
            continue;
        };
        let there = socket.get(key).or(folder.get(key)).unwrap();
        assert!(there.iter().any(|found| found == value), "{key}: {value}, not {there:?}");
    }
}

#[test]
fn a_key_of_the_page_is_known_where_it_says_and_nowhere_else() {
    let (keys, of_folders, shared) = (rows("Keys"), rows("A folder"), shared());
    let all: BTreeSet<String> = &names(&keys) | &names(&of_folders);
    let unknown = |kind: &str| -> BTreeSet<String> {
        let lines: String = all
            .iter()
            .filter(|key| !["name", "kind", "dir", "listen"].contains(&key.as_str()))
            .map(|key| format!("{key} = 0.5\n"))
            .collect();
        let place = if kind == "file" { "dir = \"in\"" } else { "listen = \"127.0.0.1:0\"" };
        let section = format!("[[feed]]\nname = \"f\"\nkind = {kind:?}\n{place}\n{lines}");
        let (_, said) = setup().section(&section).check();
        let named = said.iter().filter_map(|line| {
            let (before, _) = line.split_once("` is not known")?;
            before.split_once("`feed.").map(|(_, key)| key.to_owned())
        });
        named.collect()
    };
    let of_sockets = &names(&of_folders) - &BTreeSet::from(["dir".to_owned()]);
    assert_eq!(unknown("mllp"), of_sockets);
    let alone = &(&names(&keys) - &shared) - &BTreeSet::from(["listen".to_owned()]);
    assert_eq!(unknown("file"), alone);
}

#[test]
fn the_bounds_of_the_page_are_those_that_are_checked() {
    let mut checked = 0;
    for (heading, kind) in [("Keys", "mllp"), ("A folder", "file")] {
        for (key, Row { bounds, .. }) in rows(heading) {
            // `1KiB to 1GiB, at most …`, `0 to 100000 messages a second; …`, `1m to 3650d`.
            let words: Vec<&str> = bounds.split([' ', ',', ';']).collect();
            let [from, "to", to, ..] = words[..] else { continue };
            let quoted =
                if from.ends_with(|letter: char| letter.is_ascii_digit()) { "" } else { "\"" };
            let beyond = if from.contains("iB") { "1B" } else { "99999999" };
            let unit = if quoted.is_empty() || from.contains("iB") { "" } else { "d" };
            let place = if kind == "file" { "dir = \"in\"" } else { "listen = \"127.0.0.1:0\"" };
            let section = format!(
                "[[feed]]\nname = \"f\"\nkind = {kind:?}\n{place}\n\
                 {key} = {quoted}{beyond}{unit}{quoted}\n"
            );
            let (_, said) = setup().section(&section).check();
            let bytes = |text: &str| match text {
                "1KiB" => "1024".to_owned(),
                "1GiB" => "1073741824 bytes".to_owned(),
                "0s" => "0ms".to_owned(),
                other => other.to_owned(),
            };
            let wanted =
                format!("`feed.{key}` is out of bounds; from {} to {}", bytes(from), bytes(to));
            assert!(said.iter().any(|line| line.ends_with(&wanted)), "{wanted}: {said:#?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 10, "every row with numbers was held against what is checked");
}
