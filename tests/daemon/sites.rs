//! Sites in a running daemon: what each feed's site says otherwise, and what contracts make of it.

use std::process::Command;

use serde_json::Value as Json;

use crate::support::daemon::{Daemon, Setup, TIDEGATE};
use crate::support::fhir::{FhirServer, encounter, patient};
use crate::support::sender::Sender;
use crate::support::{TOKEN, eventually};
use crate::{PATIENT, heard};

const CASE: &str =
    "[[case]]\nname = \"a\"\nmessage = \"a.hl7\"\n[case.expect]\n\"message.type\" = \"ADT\"\n";
const NORTH: &str = "[extension.arrivedBy]\nwhat = \"How the patient came.\"\nclass = \"operational\"\n\
    [extension.companion]\nwhat = \"Who came along.\"\nclass = \"free-text\"\n\
    [rules]\n\"extension.arrivedBy\" = { from = \"ZVN-1\", table = \"arrived\" }\n\
    \"extension.companion\" = \"ZVN-2\"\n\
    [authority.renamed]\nOLD = \"EPIC\"\n[consent.status]\nSIGNED = \"active\"\nTERUG = \"revoked\"\n\
    [consent.type]\n\"L/ZZTRIAL\" = \"HL70496/109\"\n\"L/ZZNO\" = \"HL70496/110\"\n";
const SOUTH: &str = "[extension.arrivedBy]\nwhat = \"How the patient came.\"\nclass = \"operational\"\n\
    [rules]\n\"extension.arrivedBy\" = \"ZS1-3\"\n";
const FREE: &str = "require = \"none\"\nbasis = \"a test\"";
const EVENTS: [&str; 2] = ["patient.admitted", "patient.updated"];

/// Feeds `adt`, `north` and `south`, of which the last two have a site.
fn setup() -> Setup {
    let feed = |name: &str| {
        format!(
            "[[feed]]\nname = \"{name}\"\nkind = \"mllp\"\nlisten = \"127.0.0.1:0\"\nsite = \"{name}\"\n\
             processing_id = \"any\""
        )
    };
    Setup::new()
        .section(&feed("north"))
        .section(&feed("south"))
        .site("north.toml", &format!("{NORTH}{CASE}"))
        .site("north/arrived.csv", "source,code\n2,ambulance\n")
        .site("south.toml", &format!("{SOUTH}{CASE}"))
}

fn admission(control_id: &str, rest: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122081500-0800||ADT^A01^ADT_A01|{control_id}|P|2.5\r\
         EVN|A01|20261122081500\r\
         PID|1||{PATIENT}^^^OLD^MR||ZZQUILLON^ZZMARA||19800102|F\r{rest}"
    )
    .into_bytes()
}

fn send(daemon: &Daemon, feed: &str, control_id: &str, rest: &str) {
    let message = admission(control_id, rest);
    let ack = Sender::connect(daemon.feed_named(feed)).exchange(&message).unwrap();
    assert_eq!(heard(&ack), ("AA", control_id));
}

/// What `check` prints as mistakes.
fn mistakes(setup: &Setup) -> String {
    let (_, said) = setup.check();
    let mistakes = said.iter().filter(|line| !line.starts_with("warning: "));
    mistakes.map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_feed_has_the_mappings_of_its_site() {
    let fields = "\"subject\" = \"keep\"\n\"message.controlId\" = \"keep\"\n\"patient.identifiers\" = \"keep\"\n\
                  \"extension.arrivedBy\" = \"keep\"\n\"extension.companion\" = \"keep\"";
    let deliver = "kind = \"file\"\npath = \"out/out.ndjson\"";
    let setup = setup().contract("out", &EVENTS, "identified", "TREAT", fields, deliver);
    let daemon = setup.start();
    let rest = "ZVN|2|ZZDAUGHTER\rZS1|a|b|walks\r";
    for (feed, control_id) in [("adt", "A1"), ("north", "N1"), ("south", "S1")] {
        send(&daemon, feed, control_id, rest);
    }
    eventually("all are out", || setup.events("out").len() == 3);
    let of = |control_id: &str| {
        let of_it = |event: &Json| event["data"]["message"]["controlId"] == control_id;
        setup.events("out").into_iter().find(of_it).unwrap()
    };
    let [plain, north, south] = ["A1", "N1", "S1"].map(of);
    assert_eq!(plain["subject"], format!("OLD|{PATIENT}"));
    assert!(plain["data"]["extension"].is_null());
    assert_eq!(north["subject"], format!("EPIC|{PATIENT}"));
    assert_eq!(north["data"]["extension"]["arrivedBy"], "ambulance");
    assert_eq!(north["data"]["extension"]["companion"], "ZZDAUGHTER");
    assert_eq!(south["subject"], format!("OLD|{PATIENT}"));
    let walks: Json = serde_json::json!({ "arrivedBy": "walks" });
    assert_eq!(south["data"]["extension"], walks);
    // As the journal has it on disk, and what no rule of the site took.
    let shown = setup.json(&["journal", "show", "2"]).remove(0);
    assert_eq!(shown["events"][0]["data"]["extension"]["arrivedBy"], "ambulance");
    let unmapped = shown["unmapped"].to_string();
    assert!(unmapped.contains("ZS1-3") && !unmapped.contains("ZVN"), "{unmapped}");
    // Every payload satisfies the general schema, and the one of its route.
    let dir = setup.dir.path().join("schemas");
    let written = setup.command(&["check", "--schemas", dir.to_str().unwrap()]);
    assert!(written.status.success());
    let text = std::fs::read_to_string(dir.join("out/patient.admitted.json")).unwrap();
    let own: Json = serde_json::from_str(&text).unwrap();
    let named = own.pointer("/properties/data/properties/extension/properties").unwrap();
    assert_eq!(named.as_object().unwrap().keys().collect::<Vec<_>>(), ["arrivedBy", "companion"]);
    assert_eq!(named["arrivedBy"]["x-class"], "operational");
    assert_eq!(named["arrivedBy"]["description"], "How the patient came.");
    let own = jsonschema::validator_for(&own).unwrap();
    let general = crate::support::schema::of("patient.admitted");
    for event in setup.events("out") {
        assert!(own.is_valid(&event) && general.is_valid(&event), "{event}");
    }
}

/// PROMISE-7
#[test]
fn a_field_of_a_sites_own_leaves_by_its_name_and_where_its_tier_allows() {
    let fields = format!("{TOKEN}\n\"extension.arrivedBy\" = \"keep\"");
    let one = setup().pseudonymous("out", "CLINTRCH", FREE, &EVENTS, &fields);
    let daemon = one.start();
    send(&daemon, "north", "N1", "PV1|1|I\rZVN|2|ZZDAUGHTER\r");
    eventually("it is out", || one.events("out").len() == 1);
    let left = one.events("out").remove(0);
    assert_eq!(left["data"]["extension"], serde_json::json!({ "arrivedBy": "ambulance" }));
    assert!(!left.to_string().contains("ZZ"), "{left}");
    drop(daemon);
    for (line, wanted) in [
        ("\"extension\" = \"keep\"", "fields of a site's own leave by their names alone"),
        (
            "\"extension.companion\" = \"keep\"",
            "tier pseudonymized does not let out extension.companion (free-text) by `keep`",
        ),
        (
            "\"extension.arivedBy\" = \"keep\"",
            "no site declares `arivedBy`; did you mean `arrivedBy`?",
        ),
    ] {
        let fields = format!("{TOKEN}\n{line}");
        let wrong = setup().pseudonymous("out", "CLINTRCH", FREE, &EVENTS, &fields);
        let said = mistakes(&wrong);
        let place = "routes/out.toml:16:1: ";
        assert!(
            said.lines().any(|it| it.contains(place) && it.contains(wanted)),
            "{wanted}\n{said}"
        );
    }
    // A row that asks for one discloses it, and is held to the tier as well.
    let when = format!("{TOKEN}\n[[when]]\n\"extension.companion\" = \"x\"");
    let wrong = setup().pseudonymous("out", "CLINTRCH", FREE, &EVENTS, &when);
    let said = mistakes(&wrong);
    assert!(said.contains("tier pseudonymized does not let out extension.companion"), "{said}");
}

/// PROMISE-5
#[test]
fn a_sites_words_for_consents_hold_on_its_feeds_alone() {
    let fields = TOKEN;
    let setup = setup()
        .policy("[codes]\n\"HL70496/109\" = [\"CLINTRCH\"]\n\"HL70496/110\" = [\"CLINTRCH\"]\n")
        .pseudonymous("out", "CLINTRCH", "require = \"opt-in\"", &EVENTS, fields);
    let daemon = setup.start();
    let con =
        |word: &str, at: &str| format!("PV1|1|I\rCON|1|ZZTRIAL^^L||ZZF1|||||||{word}||{at}\r");
    // On a feed without the site the word is unknown: a deny, and an exception.
    send(&daemon, "adt", "A1", &con("SIGNED", "20261101"));
    let open = setup.json(&["exceptions", "ls"]);
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0]["category"], "consent-unknown");
    // On the site's own it is a permit, of the subject that it names.
    send(&daemon, "north", "N1", &con("SIGNED", "20261101"));
    eventually("the permit lets it out", || setup.events("out").len() == 1);
    assert_eq!(setup.json(&["exceptions", "ls"]).len(), 1);
    send(&daemon, "north", "N2", &con("TERUG", "20261121"));
    send(&daemon, "north", "N3", "PV1|1|I\r");
    eventually("it is decided", || {
        daemon.metric("tidegate_events_total{route=\"out\",outcome=\"suppressed\"}") == 3.0
    });
    assert_eq!(setup.events("out").len(), 1);
    // What the site calls a request to restrict is one: active, it is a deny.
    let message = admission("M1", "CON|1|ZZNO^^L||ZZF2|||||||A||20261101\r");
    let file = setup.dir.path().join("asks.hl7");
    std::fs::write(&file, message).unwrap();
    let mappings = setup.dir.path().join("mappings");
    let decision = |site: &[&str]| {
        let mut command = Command::new(TIDEGATE);
        command.arg("map").arg("--mappings").arg(&mappings).args(site).arg("--json").arg(&file);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        let all: Vec<Json> = events.filter(|event| !event["data"]["consent"].is_null()).collect();
        (all[0]["type"].clone(), all[0]["data"]["consent"]["decision"].clone())
    };
    assert_eq!(decision(&["--site", "north"]), ("consent.denied".into(), "deny".into()));
    assert_eq!(decision(&[]), ("consent.granted".into(), "permit".into()));
}

#[test]
fn a_feed_whose_site_is_misspelled_is_a_mistake_with_the_nearest_name() {
    let wrong = setup().feed("site = \"nort\"").file_route("out", &EVENTS);
    let said = mistakes(&wrong);
    let wanted = "there is no site `nort`: neither sites/nort.toml in [mappings] nor [status.nort] \
                  in consent.toml; did you mean `north`?";
    assert!(said.contains(wanted), "{said}");
    // Words in consent.toml are a site, too.
    let words = setup()
        .feed("site = \"elsewhere\"")
        .policy("[status.elsewhere]\nJA = \"active\"\n")
        .file_route("out", &EVENTS);
    assert_eq!(mistakes(&words), "");
    let twice =
        setup().policy("[status.north]\nSIGNED = \"rejected\"\n").file_route("out", &EVENTS);
    let said = mistakes(&twice);
    assert!(said.contains("sites/north.toml:13:1: `SIGNED` stands in [status.north]"), "{said}");
}

#[test]
fn the_configuration_is_another_one_when_a_sites_file_or_table_is() {
    let hash = |setup: &Setup| {
        setup.config();
        let output = setup.command(&["check", "--json"]);
        let said: Json = serde_json::from_slice(&output.stdout).unwrap();
        let files = said["files"].as_object().unwrap();
        assert!(files.keys().any(|name| name.ends_with("sites/north.toml")), "{files:?}");
        assert!(files.keys().any(|name| name.ends_with("sites/north/arrived.csv")), "{files:?}");
        said["configuration"].as_str().unwrap().to_owned()
    };
    let setup = setup().file_route("out", &EVENTS);
    let before = hash(&setup);
    let setup = setup.site("north/arrived.csv", "source,code\n2,helicopter\n");
    let after = hash(&setup);
    assert_ne!(before, after);
}

#[test]
fn map_maps_as_for_a_site_and_runs_its_cases() {
    let run = |arguments: &[&str]| {
        let output = Command::new(TIDEGATE).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let file = "fixtures/hl7/site-example-arrival.hl7";
    let (code, out, err) = run(&["map", "--site", "example", "--json", file]);
    assert_eq!((code, err.as_str()), (0, ""));
    let event: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(event["data"]["extension"]["arrivedBy"], "ambulance");
    assert_eq!(event["subject"]["authority"], "EPIC");
    let (_, out, _) = run(&["map", "--json", file]);
    let plain: Json = serde_json::from_str(&out).unwrap();
    assert!(plain["data"]["extension"].is_null());
    assert_eq!(plain["subject"]["authority"], "OLDMRN");
    let (code, out, _) = run(&["map", "--site", "example", "--explain", file]);
    assert_eq!(code, 0);
    for (field, from, rule) in [
        ("extension.arrivedBy ", "ZVN-2", "mappings/sites/example.toml:"),
        ("patient.identifiers[0].authority ", "constant", "mappings/sites/example.toml:"),
        ("patient.identifiers[0].value ", "PID-3", "mappings/hl7/patient.toml:"),
    ] {
        let line = out.lines().find(|line| line.starts_with(field)).unwrap();
        assert!(line.contains(from) && line.contains(rule), "{line}");
    }
    let (code, out, err) = run(&["map", "--test", "--site", "example"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "5 cases hold, 0 do not\n", ""));
    // A case that does not hold says so, by its field.
    let broken = Setup::new().site("north.toml", &format!("{NORTH}{CASE}").replace("a.hl7", file));
    let broken = broken.site("north/arrived.csv", "source,code\n");
    let (dir, here) = (broken.dir.path().join("mappings"), std::env::current_dir().unwrap());
    std::os::unix::fs::symlink(here.join("fixtures"), dir.join("sites/fixtures")).unwrap();
    let text = std::fs::read_to_string(dir.join("sites/north.toml")).unwrap();
    let text = text.replace("\"message.type\" = \"ADT\"", "\"message.type\" = \"ORU\"");
    std::fs::write(dir.join("sites/north.toml"), text).unwrap();
    let (code, out, err) =
        run(&["map", "--mappings", dir.to_str().unwrap(), "--test", "--site", "north"]);
    assert_eq!((code, out.as_str()), (1, "0 cases hold, 1 do not\n"));
    assert!(err.contains("a: message.type: ORU wanted, ADT came out"), "{err}");
    let (code, out, err) = run(&["map", "--site", "exampel", file]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("there is no site `exampel`; did you mean `example`?"), "{err}");
}

/// The same of a FHIR feed: what a vendor writes is in the event of the site's feed, and leaves where a
/// contract names it and its class may leave at all.
/// PROMISE-7
#[test]
fn a_fhir_feed_has_the_rules_of_its_site() {
    let server = FhirServer::start();
    let feed = |name: &str, site: &str| {
        format!(
            "[[feed]]\nname = \"{name}\"\nkind = \"fhir\"\nbase_url = {:?}\nversion = \"R4\"\n\
             resources = [\"Patient\", \"Encounter\"]\ninterval = \"1s\"\nsince = \"all\"\n{site}",
            server.base()
        )
    };
    let url = "https://vendor.example/arm";
    let site = format!(
        "[extension.arm]\nwhat = \"The arm.\"\nclass = \"clinical\"\n[extension.note]\nwhat = \"A note.\"\n\
         class = \"free-text\"\n[fhir.rules]\n\
         \"extension.arm\" = {{ from = \"Patient.extension('{url}').value.ofType(code)\", table = \"arm\" }}\n\
         \"extension.note\" = \"Patient.extension('{url}/note').value.ofType(string)\"\n\
         [fhir.mapping.encounter.rules]\n\"visit.patientType\" = \"Encounter.priority\"\n{CASE}"
    );
    let deliver = "kind = \"file\"\npath = \"out/out.ndjson\"";
    let fields = "\"subject\" = \"keep\"\n\"message.controlId\" = \"keep\"\n\"visit.patientType\" = \"keep\"\n\
                  \"extension.arm\" = \"keep\"\n\"extension.note\" = \"keep\"";
    let setup = Setup::new()
        .section(&feed("ehr", "site = \"vendor\"\n"))
        .section(&feed("plain", ""))
        .site("vendor.toml", &site)
        .site("vendor/arm.csv", "source,code\n2,control\n")
        .contract("out", &EVENTS, "identified", "TREAT", fields, deliver)
        .file_route("bare", &EVENTS)
        .pseudonymous(
            "study",
            "CLINTRCH",
            FREE,
            &EVENTS,
            &format!("{TOKEN}\n\"extension.arm\" = \"keep\""),
        );
    let mut someone = patient("p1");
    someone["active"] = true.into();
    someone["extension"] = serde_json::json!([
        { "url": url, "valueCode": "2" }, { "url": format!("{url}/note"), "valueString": "ZZNOTE" },
    ]);
    let mut stay = encounter("e1", "p1", "in-progress");
    stay["priority"] = serde_json::json!({ "coding": [{ "code": "ZZU" }] });
    server.put(someone);
    server.put(stay);
    let mut daemon = setup.start();
    // Of each feed a patient and a stay.
    for route in ["out", "bare", "study"] {
        eventually("all are out", || setup.events(route).len() == 4);
    }
    let of = |feed: &str, kind: &str| {
        let ends = |event: &Json| event["source"].as_str().unwrap().ends_with(&format!("/{feed}"));
        let is = |event: &Json| ends(event) && event["type"] == kind;
        setup.events("out").into_iter().find(is).unwrap()["data"].clone()
    };
    for kind in EVENTS {
        let wanted = serde_json::json!({ "arm": "control", "note": "ZZNOTE" });
        assert_eq!(of("ehr", kind)["extension"], wanted, "{kind}");
        assert!(of("plain", kind)["extension"].is_null(), "{kind}");
    }
    assert_eq!(of("ehr", EVENTS[0])["visit"]["patientType"]["code"], "ZZU");
    assert!(of("plain", EVENTS[0])["visit"].is_null());
    // What no contract names stays.
    assert!(setup.events("bare").iter().all(|event| event["data"]["extension"].is_null()));
    let arms = setup.events("study").into_iter().filter(|event| {
        let extension = &event["data"]["extension"];
        assert!(extension.is_null() || *extension == serde_json::json!({ "arm": "control" }));
        !extension.is_null()
    });
    assert_eq!(arms.count(), 2);
    // What nobody took is counted, of each feed for itself: Patient.active and, without the site, the
    // extensions, and Encounter.priority is the visit's or the type of admission, which both have.
    let unmapped = |feed: &str| {
        daemon.metric(&format!("tidegate_deid_unmapped_fields_total{{feed=\"{feed}\"}}"))
    };
    eventually("it is counted", || (unmapped("ehr"), unmapped("plain")) == (1.0, 2.0));
    daemon.assert_no_patient_data();
    // A free text does not leave for a study, whichever protocol it came by.
    let fields = format!("{TOKEN}\n\"extension.note\" = \"keep\"");
    let wrong = Setup::new()
        .site("vendor.toml", &site)
        .site("vendor/arm.csv", "source,code\n2,control\n")
        .pseudonymous("study", "CLINTRCH", FREE, &EVENTS, &fields);
    let said = mistakes(&wrong);
    let wanted = "tier pseudonymized does not let out extension.note (free-text) by `keep`";
    assert!(said.contains(wanted), "{said}");
}

/// The text blocks of a walk through docs/mapping.md, from one heading to another.
fn blocks<'p>(page: &'p str, from: &str, to: &str) -> (&'p str, Vec<&'p str>) {
    let (_, walk) = page.split_once(from).unwrap();
    let (walk, _) = walk.split_once(to).unwrap();
    let all = walk.split("\n```").skip(1).step_by(2);
    (walk, all.map(|block| block.split_once('\n').map_or("", |(_, text)| text)).collect())
}

/// Whether each line of an excerpt is one of what was printed, whatever stands between its words.
fn shows(out: &str, wanted: &str) {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for line in wanted.lines() {
        assert!(out.lines().any(|it| words(it) == words(line)), "{line}\n{out}");
    }
}

/// The worked example of docs/mapping.md for a resource, done as its reader would.
#[test]
fn the_page_about_a_sites_resources_shows_what_happens() {
    let page = std::fs::read_to_string("docs/mapping.md").unwrap();
    let (walk, found) =
        blocks(&page, "\n### A site's own rules for resources\n", "\n## Null, unmapped, invalid\n");
    let [resource, before, site, arm, explained, mistake] = found[..] else {
        panic!("{} blocks", found.len());
    };
    let nothing = "[[case]]\nname = \"a\"\nmessage = \"a\"\n[case.expect]\n\"a\" = \"a\"\n";
    let setup = Setup::new().site("south/arm.csv", arm).site("south.toml", nothing);
    std::fs::create_dir(setup.dir.path().join("examples")).unwrap();
    std::fs::write(setup.dir.path().join("examples/south.json"), resource).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(TIDEGATE);
        let output = command.args(arguments).current_dir(setup.dir.path()).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let write = |text: &str| {
        std::fs::write(setup.dir.path().join("mappings/sites/south.toml"), text).unwrap();
    };
    let (out, err) = run(&["map", "examples/south.json"]);
    assert_eq!(err, "");
    shows(&out, before);
    let (_, counted) = page.split_once("Of the lines for\n`examples/south.json`").unwrap();
    let (_, counted) = counted.split_once("```text\n").unwrap();
    let (out, _) = run(&["map", "--coverage", "examples/south.json"]);
    shows(&out, counted.split("```").next().unwrap());
    write(site);
    let (out, err) = run(&["map", "--site", "south", "--explain", "examples/south.json"]);
    assert_eq!(err, "");
    shows(&out, explained);
    let (out, err) = run(&["map", "--test", "--site", "south"]);
    assert_eq!((out.as_str(), err.as_str()), ("1 cases hold, 0 do not\n", ""));
    assert!(walk.contains(out.trim_end()));
    write(&site.replace("Encounter.priority", "Encounter.priorty"));
    let (_, err) = run(&["map", "--site", "south", "examples/south.json"]);
    assert_eq!(err.trim_end(), mistake.trim_end());
}

/// The worked example of docs/mapping.md, done as its reader would.
#[test]
fn the_page_about_sites_shows_what_happens() {
    let page = std::fs::read_to_string("docs/mapping.md").unwrap();
    let (walk, found) = blocks(&page, "\n## A site of your own", "\n## A file\n");
    let [message, before, site, arrived, class, explained, mistake] = found[..] else {
        panic!("{} blocks", found.len());
    };
    let setup =
        Setup::new().site("north/arrived-by.csv", arrived).site("north/patient-class.csv", class);
    std::fs::create_dir(setup.dir.path().join("examples")).unwrap();
    std::fs::write(setup.dir.path().join("examples/north.hl7"), message).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(TIDEGATE);
        let output = command.args(arguments).current_dir(setup.dir.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let write = |text: &str| {
        std::fs::write(setup.dir.path().join("mappings/sites/north.toml"), text).unwrap();
    };
    // Without the file its folder says nothing.
    write("[[case]]\nname = \"a\"\nmessage = \"a\"\n[case.expect]\n\"a\" = \"a\"\n");
    let (out, err) = run(&["map", "examples/north.hl7"]);
    assert_eq!(err, "");
    shows(&out, before);
    assert!(out.contains("\"authority\": \"OLDMRN\""), "{out}");
    let (_, counted) = page.split_once("`--coverage FILE…`").unwrap();
    let (_, counted) = counted.split_once("```text\n").unwrap();
    let (out, _) = run(&["map", "--coverage", "examples/north.hl7"]);
    shows(&out, counted.split("```").next().unwrap());
    write(site);
    let (out, err) = run(&["map", "--site", "north", "--explain", "examples/north.hl7"]);
    assert_eq!(err, "");
    shows(&out, explained);
    let (out, err) = run(&["map", "--test", "--site", "north"]);
    assert_eq!((out.as_str(), err.as_str()), ("1 cases hold, 0 do not\n", ""));
    assert!(walk.contains(out.trim_end()));
    write(&site.replace("\"ZVN-3\"", "\"ZVN\""));
    let (_, err) = run(&["map", "--site", "north", "examples/north.hl7"]);
    assert_eq!(err.trim_end(), mistake.trim_end());
}

/// PROMISE-10, PROMISE-11
#[test]
fn a_segment_is_new_on_a_feed_once_over_a_crash_and_for_each_feed() {
    let setup = setup().file_route("out", &EVENTS);
    let mut daemon = setup.start();
    let known = |daemon: &Daemon, feed: &str| {
        let of = |name: &str| daemon.metric(&format!("tidegate_feed_{name}{{feed=\"{feed}\"}}"));
        (of("new_segments_total"), of("segments"))
    };
    let new =
        |number: &str| setup.json(&["journal", "show", number]).remove(0)["newSegments"].clone();
    assert_eq!(known(&daemon, "adt"), (0.0, 0.0));
    send(&daemon, "adt", "A1", "PV1|1|I\rzvn|ZZHIDDEN\rZZSECRET1|x\r");
    assert_eq!(known(&daemon, "adt"), (4.0, 4.0), "what is no name of a segment is none");
    send(&daemon, "adt", "A2", "PV1|1|I\rZVN|1\rZVN|2\r");
    // The same message again is no other one; and one that no mapping selects is looked at, too.
    send(&daemon, "adt", "A2", "PV1|1|I\rZVN|1\rZVN|2\r");
    let other =
        String::from_utf8(admission("A3", "ZX1|1\r")).unwrap().replace("ADT^A01", "SIU^S12");
    Sender::connect(daemon.feed()).exchange(other.as_bytes()).unwrap();
    assert_eq!(known(&daemon, "adt"), (6.0, 6.0));
    assert_eq!(known(&daemon, "north"), (0.0, 0.0));
    assert_eq!(new("1"), serde_json::json!(["EVN", "MSH", "PID", "PV1"]));
    assert_eq!((new("2"), new("3")), (serde_json::json!(["ZVN"]), serde_json::json!(["ZX1"])));
    let said = |daemon: &Daemon, name: &str| {
        let log = daemon.log();
        let of =
            |line: &&str| line.contains("never came in on this feed before") && line.contains(name);
        log.lines().filter(of).count()
    };
    assert_eq!((said(&daemon, "ZVN"), said(&daemon, "ZZ")), (1, 0));
    daemon.kill();
    let daemon = setup.start();
    send(&daemon, "adt", "A4", "PV1|1|I\rZVN|3\rZX1|2\rZY1|1\r");
    assert_eq!(known(&daemon, "adt"), (1.0, 7.0), "counted since start, known for good");
    assert_eq!(new("4"), serde_json::json!(["ZY1"]));
    send(&daemon, "north", "N1", "ZVN|2\r");
    assert_eq!(known(&daemon, "north"), (4.0, 4.0), "each feed for itself");
}
