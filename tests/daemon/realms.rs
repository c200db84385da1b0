//! Two consumers of two realms who put together what they have: by every field, attribute, place and
//! size, exactly, by beginnings and ends, and through what anybody can compute of a value.
//!
//! An attribute of one *links* an event where its value is that of exactly one event of the other. It
//! tells something where more of these are right than chance gives: one in as many as there are events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use tidegate::privacy::RealmKeys;
use tidegate::secret::Key;

use crate::support::canary::forms::Values;
use crate::support::corpus::{samples, send};
use crate::support::daemon::Setup;
use crate::support::{EVERY_EVENT, POLICY, adt, consent, eventually};

const ONE: &str = "\"subject\" = \"token\"\n\"patient.sex\" = \"keep\"\n\"visit.class\" = \"keep\"\n\
    \"visit.number.value\" = \"hash\"\n\"patient.identifiers[].value\" = \"hash\"\n\
    \"visit.admittedAt\" = \"week\"\n\"report.observedAt\" = { transform = \"shift\", days = 30 }\n\
    \"observations[].code\" = \"keep\"\n\"observations[].value\" = \"keep\"";
const OTHER: &str = "\"subject\" = \"token\"\n\"patient.sex\" = \"keep\"\n\"visit.class\" = \"keep\"\n\
    \"visit.number.value\" = \"hash\"\n\"patient.identifiers[].value\" = \"hash\"\n\
    \"visit.admittedAt\" = { transform = \"shift\", days = 30 }\n\
    \"report.observedAt\" = { transform = \"shift\", days = 30 }\n\"patient.birthDate\" = \"age-band\"\n\
    \"observations[].code\" = \"keep\"\n\"observations[].status.code\" = \"keep\"";

/// Attributes that say what a contract names, in clear or made coarser: by these the two may be joined.
/// The type is in the name of a schema.
const NAMED: [&str; 11] = [
    "type",
    "dataschema",
    "data.patient.sex.code",
    "data.patient.birthDateAgeBand",
    "data.visit.class.code",
    "data.visit.admittedAtWeek",
    "data.observations.code.system",
    "data.observations.code.code",
    "data.observations.status.code",
    "data.observations.value",
    "consents",
];

/// What no contract names and both see of the same hospital's day: in which order events come, how many
/// of one patient, how long they are. docs/threat-model.md says what these tell.
const CHANNELS: [&str; 5] = [
    "(place in the file)",
    "sequence",
    "(how many of the subject before)",
    "(rank by size)",
    "(size",
];

fn flatten(json: &Json, path: &str, out: &mut BTreeMap<String, BTreeSet<String>>) {
    match json {
        Json::Object(map) => map.iter().for_each(|(name, json)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            flatten(json, &path, out);
        }),
        Json::Array(list) => list.iter().for_each(|json| flatten(json, path, out)),
        Json::Null => {}
        scalar => {
            let text = scalar.as_str().map_or_else(|| scalar.to_string(), str::to_lowercase);
            // Beginnings and ends, and what is in the middle of a path.
            let letters: Vec<char> = text.chars().collect();
            if letters.len() >= 12 {
                let end = letters[letters.len() - 8..].iter().collect();
                let begin = letters[..8].iter().collect();
                out.entry(format!("{path} (first 8)")).or_default().insert(begin);
                out.entry(format!("{path} (last 8)")).or_default().insert(end);
            }
            out.entry(path.to_owned()).or_default().insert(text);
        }
    }
}

/// What a consumer knows of each event: every scalar, and what can be counted.
fn known((places, lines): &(Vec<usize>, Vec<Json>)) -> Vec<BTreeMap<String, BTreeSet<String>>> {
    let mut of_subject: BTreeMap<String, usize> = BTreeMap::new();
    let mut sizes: Vec<(usize, usize)> =
        lines.iter().enumerate().map(|(at, line)| (line.to_string().len(), at)).collect();
    sizes.sort_unstable();
    let rank: BTreeMap<usize, usize> =
        sizes.iter().enumerate().map(|(rank, (_, at))| (*at, rank)).collect();
    let rows = lines.iter().zip(places).enumerate().map(|(at, (line, place))| {
        let mut row = BTreeMap::new();
        flatten(line, "", &mut row);
        let count = of_subject.entry(line["subject"].to_string()).or_default();
        *count += 1;
        for (name, number) in [
            ("(place in the file)", *place),
            ("(size)", line.to_string().len()),
            ("(size of the data)", line["data"].to_string().len()),
            ("(rank by size)", rank[&at]),
            ("(how many of the subject before)", *count),
        ] {
            row.insert(name.to_owned(), BTreeSet::from([number.to_string()]));
        }
        row
    });
    rows.collect()
}

/// How many events one attribute links to one event by another, and how many of these are right.
struct Link {
    one: String,
    other: String,
    linked: usize,
    right: usize,
}

fn join(
    one: &[BTreeMap<String, BTreeSet<String>>],
    other: &[BTreeMap<String, BTreeSet<String>>],
) -> (usize, Vec<Link>) {
    type Index<'r> = BTreeMap<&'r str, BTreeMap<&'r str, Vec<usize>>>;
    let mut index: Index<'_> = BTreeMap::new();
    for (at, row) in other.iter().enumerate() {
        for (name, value) in row.iter().flat_map(|(name, all)| all.iter().map(move |it| (name, it)))
        {
            index.entry(name).or_default().entry(value).or_default().push(at);
        }
    }
    let names: BTreeSet<&String> = one.iter().flat_map(BTreeMap::keys).collect();
    let mut links = Vec::new();
    for name in &names {
        for (against, by_value) in &index {
            let (mut linked, mut right) = (0, 0);
            for (at, row) in one.iter().enumerate() {
                let hits = row.get(*name).into_iter().flatten();
                let hits: Vec<&Vec<usize>> =
                    hits.filter_map(|value| by_value.get(value.as_str())).collect();
                let sole = hits.iter().filter(|hit| hit.len() == 1);
                let sole: BTreeSet<usize> = sole.map(|hit| hit[0]).collect();
                linked += usize::from(!sole.is_empty());
                right += usize::from(sole.contains(&at));
            }
            links.push(Link { one: (*name).clone(), other: (*against).to_owned(), linked, right });
        }
    }
    (links.len(), links)
}

impl Link {
    /// Better than chance, which is right once in as many as there are: of all by one. Eight where one
    /// is to be expected happens once in a hundred thousand.
    fn tells(&self, events: usize) -> bool {
        self.right >= 8 && self.right * events > 4 * self.linked
    }

    fn is_of(&self, names: &[&str]) -> bool {
        let of = |name: &str| names.iter().any(|known| name.starts_with(known));
        of(&self.one) && of(&self.other)
    }
}

/// What a route let out, and of which event each line is, which only the keys of its realm tell.
fn of_route(
    setup: &Setup,
    route: &str,
    realm: &str,
    events: &BTreeSet<String>,
) -> Vec<(String, Json)> {
    let key = |name: &str| {
        let path = setup.state_dir().join(format!("keys/{name}.key"));
        Key::from_bytes(&std::fs::read(path).unwrap()).unwrap()
    };
    let keys = RealmKeys::new(&key(&format!("realm-{realm}")), &key(&format!("realm-{realm}-id")));
    let of_id: BTreeMap<String, &String> = events.iter().map(|id| (keys.id(id), id)).collect();
    let lines = setup.events(route).into_iter();
    lines.map(|line| (of_id[line["id"].as_str().unwrap()].clone(), line)).collect()
}

/// PROMISE-7
#[test]
fn two_realms_are_joined_by_what_both_name_and_by_order_number_and_size_alone() {
    let opt_out = "require = \"opt-out\"";
    let setup = Setup::new()
        .policy(POLICY)
        .section("[[realm]]\nname = \"outreach\"\ntokens = \"keyed\"")
        .pseudonymous("one", "CLINTRCH", opt_out, EVERY_EVENT, ONE)
        .pseudonymous("other", "CLINTRCH", opt_out, EVERY_EVENT, OTHER);
    let path = setup.dir.path().join("routes/other.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("realm = \"care\"", "realm = \"outreach\"");
    std::fs::write(&path, text.replace("consumer = \"c\"", "consumer = \"d\"")).unwrap();
    let mut daemon = setup.start();
    for patient in 0..8 {
        let number = format!("ZZ1000{patient}");
        let decided = format!("2026010{}", patient + 1);
        super::send(&daemon, &consent("A", &decided, &format!("N{patient}"), &number));
        super::send(&daemon, &adt("A01", &format!("M{patient}"), &number));
    }
    let samples = samples();
    send(&daemon, samples.iter().map(|sample| (sample, sample.bytes.clone())));
    let renamed = samples.iter().enumerate().filter(|(_, sample)| sample.answer() == "AA");
    send(&daemon, renamed.map(|(at, sample)| (sample, sample.renamed(&format!("R{at}")))));
    super::send(&daemon, &adt("A01", "LAST", "ZZ999999"));
    let mut before = (0, 0);
    eventually("nothing more comes", || {
        std::thread::sleep(std::time::Duration::from_millis(1_000));
        let now = (setup.events("one").len(), setup.events("other").len());
        now == std::mem::replace(&mut before, now) && now.0 > 300
    });
    assert!(daemon.stop().success());
    let recorded = String::from_utf8(setup.command(&["audit", "export"]).stdout).unwrap();
    let events = recorded.split("\"event\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let events: BTreeSet<String> = events.map(str::to_owned).collect();
    let one_all = of_route(&setup, "one", "care", &events);
    let other_all = of_route(&setup, "other", "outreach", &events);
    let both: BTreeSet<&String> = {
        let of_other: BTreeSet<&String> = other_all.iter().map(|(id, _)| id).collect();
        one_all.iter().map(|(id, _)| id).filter(|id| of_other.contains(id)).collect()
    };
    // The events that both have, in one order for both: the truth that links are held to.
    let truth = |all: &[(String, Json)]| -> (Vec<usize>, Vec<Json>) {
        let mut found: Vec<_> =
            all.iter().enumerate().filter(|(_, it)| both.contains(&it.0)).collect();
        found.sort_by(|(_, one), (_, other)| one.0.cmp(&other.0));
        found.into_iter().map(|(place, (_, line))| (place, line.clone())).unzip()
    };
    let (all_of_one, all_of_other) = (truth(&one_all), truth(&other_all));
    let (one, other) = (&all_of_one.1, &all_of_other.1);
    assert!(one.len() == other.len() && one.len() > 300, "{} {}", one.len(), other.len());
    assert!(one.iter().filter(|line| line["consentref"].is_string()).count() >= 8);

    let visits = |lines: &[Json]| -> BTreeSet<String> {
        lines.iter().filter_map(|line| line["visitkey"].as_str().map(str::to_owned)).collect()
    };
    assert!(visits(one).is_disjoint(&visits(other)));
    assert!(visits(one).len() >= 8, "{} visits have keys", visits(one).len());

    let (pairs, links) = join(&known(&all_of_one), &known(&all_of_other));
    let (mut named, mut channels, mut beyond) = (BTreeSet::new(), 0, Vec::new());
    for link in &links {
        if !link.tells(one.len()) {
            continue;
        }
        let line = format!("{} with {}: {} of {}", link.one, link.other, link.right, link.linked);
        println!("{line}");
        if link.is_of(&NAMED) {
            named.insert(link.one.clone());
        } else if link.is_of(&CHANNELS) {
            channels += 1;
        } else {
            beyond.push(line);
        }
    }
    println!(
        "{pairs} pairs of attributes over {} events; {} join by what both name, {channels} by order, \
         number and size, {} by anything else",
        one.len(),
        named.len(),
        beyond.len()
    );
    for what in ["(size)", "(size of the data)", "(rank by size)"] {
        let link = links.iter().find(|link| link.one == what && link.other == what).unwrap();
        println!("{what}: {} of {} right", link.right, link.linked);
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
    assert!(!named.is_empty(), "what both name in clear joins some");
    // docs/threat-model.md says so: order alone joins all.
    let by_order = links.iter().find(|link| link.one == "sequence" && link.other == "sequence");
    assert!(by_order.is_some_and(|link| link.right * 10 > one.len() * 9));
    assert!(pairs > 1_000, "{pairs}");

    // What anybody can compute of a value that one has and the other does not name in clear.
    let words = |lines: &[Json]| -> BTreeSet<String> {
        let mut all = BTreeMap::new();
        lines.iter().for_each(|line| flatten(line, "", &mut all));
        all.into_values().flatten().collect()
    };
    let (of_one, of_other) = (words(one), words(other));
    let text = |lines: &[Json]| lines.iter().map(Json::to_string).collect::<Vec<_>>().join("\n");
    for (words, lines) in [(&of_one, other), (&of_other, one)] {
        let computed: Vec<_> = Values::new(words.iter().cloned())
            .search(&text(lines))
            .into_iter()
            .filter(|hit| !matches!(hit.form, "text" | "json" | "debug" | "url"))
            .collect();
        assert!(computed.is_empty(), "{computed:#?}");
    }
    assert!(of_one.len() > 500 && of_other.len() > 500);
}
