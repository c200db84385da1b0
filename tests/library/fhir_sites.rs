//! A site's own rules for resources: what they make, where they hold, and what is wrong with them.

use tidegate::document::Problems;
use tidegate::event::View;
use tidegate::normalize::fhir::{Scene, normalize_resource, opened, release};
use tidegate::normalize::{self, Context, Mappings, Normalized, Trace};

const BYTES_MAX: usize = 1 << 20;
const CASE: &str = "[[fhir.case]]\nname = \"a\"\nmessage = \"a.json\"\n[fhir.case.expect]\n\
                    \"message.type\" = \"Patient\"\n";
const ARM: &str = "[extension.arm]\nwhat = \"w\"\nclass = \"clinical\"\n";
const FROM: &str = "Patient.extension('https://v.example/arm').value.ofType(code)";

/// The shipped mappings with a site `north`; mistakes and warnings, without the folder.
fn loaded(text: &str, tables: &[(&str, &str)]) -> (Mappings, Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let shipped = std::env::current_dir().unwrap().join("mappings");
    for folder in ["hl7", "tables", "fhir"] {
        std::os::unix::fs::symlink(shipped.join(folder), dir.path().join(folder)).unwrap();
    }
    let sites = dir.path().join("sites");
    std::fs::create_dir_all(sites.join("north")).unwrap();
    std::fs::write(sites.join("north.toml"), format!("{text}\n{CASE}")).unwrap();
    for (name, rows) in tables {
        std::fs::write(sites.join("north").join(name), rows).unwrap();
    }
    let problems = Problems::default();
    let mappings = normalize::load(dir.path(), &problems);
    let start = format!("{}/", dir.path().display());
    let shown = |all: Vec<tidegate::document::Problem>| -> Vec<String> {
        all.iter().map(|problem| problem.to_string().replace(&start, "")).collect()
    };
    (mappings, shown(problems.mistakes()), shown(problems.warnings()))
}

fn north(text: &str) -> Mappings {
    let (mappings, mistakes, warnings) = loaded(text, &[("arm.csv", "source,code\n2,control\n")]);
    assert_eq!((mistakes, warnings), (Vec::new(), Vec::new()), "{text}");
    mappings
}

/// The resource of a type out of what came together, mapped.
fn mapped(mappings: &Mappings, text: &str, kind: &str) -> Result<Normalized, String> {
    let opened = opened::open(text.as_bytes(), BYTES_MAX).unwrap();
    let around = opened::around(&opened);
    let all = opened.iter().map(|one| one.resource.as_ref().unwrap());
    let focus = all.into_iter().find(|resource| resource.kind() == kind).unwrap();
    let version = release::release(focus);
    let scene = Scene { focus, patient: None, before: None, version, around: &around };
    let mapped = normalize_resource(mappings, &scene, &Context::default(), Trace::Off);
    mapped.map(|(normalized, _)| normalized).map_err(|refusal| refusal.to_string())
}

/// A field of the first event.
fn value(mappings: &Mappings, text: &str, kind: &str, path: &str) -> Option<String> {
    let normalized = mapped(mappings, text, kind).unwrap();
    let shown = |view: View<'_>| serde_json::to_string(&view).unwrap();
    normalized.drafts[0].data.root().at(path).map(shown)
}

/// A patient in an arm of a trial with a visit and a result, as one Bundle.
fn bundle() -> String {
    r##"{"resourceType":"Bundle","type":"collection","entry":[
    {"fullUrl":"http://s/Patient/p","resource":{"resourceType":"Patient","id":"p","gender":"female",
        "maritalStatus":{"text":"ZZM"},"identifier":[{"system":"urn:oid:1.2.3","value":"ZZ1"}],
        "extension":[{"url":"https://v.example/arm","valueCode":"2"},
                     {"url":"https://v.example/wave","valueCode":"a"},
                     {"url":"https://v.example/wave","valueCode":"b"},
                     {"url":"https://v.example/sex","valueCode":"male"}]}},
    {"fullUrl":"http://s/Encounter/e","resource":{"resourceType":"Encounter","id":"e","status":"in-progress",
        "class":{"code":"IMP"},"subject":{"reference":"Patient/p"},"priority":{"text":"ZZP"},
        "type":[{"text":"ZZT"}],"extension":[{"url":"https://v.example/bed","valueString":"ZZBED"}]}},
    {"fullUrl":"http://s/Observation/o","resource":{"resourceType":"Observation","id":"o","status":"final",
        "code":{"text":"ZZC"},"subject":{"reference":"Patient/p"},
        "encounter":{"reference":"Encounter/e"},"valueString":"ZZV"}}]}"##
        .to_owned()
}

#[test]
fn a_sites_rules_for_resources_hold_there_and_nowhere_else() {
    let text = format!(
        "{ARM}[extension.wave]\nwhat = \"w\"\nclass = \"operational\"\nlist = true\n\
         [extension.bed]\nwhat = \"w\"\nclass = \"operational\"\n[fhir.rules]\n\
         \"extension.arm\" = {{ from = \"{FROM}\", table = \"arm\" }}\n\
         \"extension.wave\" = \"Patient.extension('https://v.example/wave').value.ofType(code)\"\n\
         \"patient.sex\" = {{ from = \"Patient.extension('https://v.example/sex').value.ofType(code)\", table = \"gender\" }}\n\
         [fhir.mapping.encounter.rules]\n\"visit.patientType\" = \"Encounter.priority\"\n\
         \"visit.alternateNumber\" = \"Encounter.identifier\"\n\
         \"extension.bed\" = \"Encounter.extension('https://v.example/bed').value.ofType(string)\"\n"
    );
    let mappings = north(&text);
    let north = &mappings.site("north").unwrap().mappings;
    let text = bundle();
    let of = |kind: &str, path: &str| {
        let of = |mappings| value(mappings, &text, kind, path).unwrap_or_default();
        (of(north), of(&mappings))
    };
    let said = |one: &str, other: &str| (format!("\"{one}\""), other.to_owned());
    // The patient of every resource is in that arm.
    for kind in ["Patient", "Encounter", "Observation"] {
        assert_eq!(of(kind, "extension.arm"), said("control", ""), "{kind}");
        assert_eq!(of(kind, "patient.sex.code"), said("male", "\"female\""), "{kind}");
        let both = ("[\"a\",\"b\"]".to_owned(), String::new());
        assert_eq!(of(kind, "extension.wave"), both, "{kind}");
    }
    // What is of one mapping is of no other.
    assert_eq!(of("Encounter", "visit.patientType.text"), said("ZZP", "\"ZZT\""));
    assert_eq!(of("Encounter", "extension.bed"), said("ZZBED", ""));
    assert_eq!(of("Observation", "extension.bed"), (String::new(), String::new()));
    // What others have is as it was.
    let (own, others) = of("Patient", "patient.maritalStatus.text");
    assert_eq!((own.as_str(), &own), ("\"ZZM\"", &others));
    assert_eq!(
        north.fhir.selected().collect::<Vec<_>>(),
        mappings.fhir.selected().collect::<Vec<_>>()
    );
}

/// PROMISE-10: what a rule read of an extension is not listed, nor what the extension is called.
#[test]
fn an_extension_that_a_rule_took_is_not_listed_and_another_one_is() {
    let text = format!("{ARM}[fhir.rules]\n\"extension.arm\" = \"{FROM}\"\n");
    let mappings = north(&text);
    let north = &mappings.site("north").unwrap().mappings;
    let listed = |mappings, text: &str| -> Vec<String> {
        let normalized = mapped(mappings, text, "Patient").unwrap();
        normalized.unmapped.iter().map(ToString::to_string).collect()
    };
    let patient = |extension: &str| {
        format!(
            r#"{{"resourceType":"Patient","id":"p","identifier":[{{"value":"ZZ1"}}],"extension":[{extension}]}}"#
        )
    };
    let arm = r#"{"url":"https://v.example/arm","valueCode":"2"}"#;
    assert_eq!(listed(north, &patient(arm)), Vec::<String>::new());
    assert_eq!(listed(&mappings, &patient(arm)), ["Patient.extension"]);
    let other = r#"{"url":"https://v.example/ZZ","valueCode":"2"}"#;
    assert_eq!(listed(north, &patient(&format!("{arm},{other}"))), ["Patient.extension"]);
    let deeper = r#"{"url":"https://v.example/arm","id":"x","valueCode":"2","_valueCode":{"id":"y","extension":[]}}"#;
    let found = listed(north, &patient(deeper));
    assert!(found.iter().all(|it| it.starts_with("Patient.extension._valueCode")), "{found:?}");
}

#[test]
fn what_is_wrong_with_a_sites_rules_for_resources_is_told_at_its_place() {
    for (text, wanted) in [
        (
            "[fhir.rules]\n\"patient.sxe\" = \"Patient.gender\"".to_owned(),
            "sites/north.toml:2:1: no mapping has a rule for `patient.sxe`, so there is none to stand \
             in for; did you mean `patient.sex`?",
        ),
        (
            "[fhir.rules]\n\"visit.location.bed\" = \"Encounter.id\"".to_owned(),
            "sites/north.toml:2:1: `visit.location.bed` is made with `visit.location`, whole; a rule for",
        ),
        (
            "[fhir.rules]\n\"patient.religion\" = \"Patient.maritalStatsu\"".to_owned(),
            "sites/north.toml:2:22: column 9: Patient has no element maritalStatsu: did you mean \
             maritalStatus?",
        ),
        (
            "[fhir.rules]\n\"patient.religion\" = \"PID-17\"".to_owned(),
            "sites/north.toml:2:22: column 1: PID is no resource type",
        ),
        (
            "[fhir.rules]\n\"patient.sex\" = { from = \"Patient.gender\", table = \"gendre\" }".to_owned(),
            "sites/north.toml:2:52: there is no table `gendre`; did you mean `gender`?",
        ),
        (
            format!("{ARM}[fhir.rules]\n\"extension.amr\" = \"{FROM}\""),
            "sites/north.toml:5:1: `extension.amr` is not declared in this file, as [extension.amr]; \
             did you mean `extension.arm`?",
        ),
        (
            "[fhir.mapping.encuonter.rules]\n\"visit.service\" = \"Encounter.type\"".to_owned(),
            "sites/north.toml:1:15: there is no mapping `encuonter`; did you mean `encounter`?",
        ),
        (
            "[fhir.mapping.adt-merged.rules]\n\"visit.service\" = \"PV1-1\"".to_owned(),
            "sites/north.toml:1:15: `adt-merged` is no mapping of resources; rules of that one are \
             [mapping.adt-merged.rules]",
        ),
        (
            "[mapping.encounter.rules]\n\"visit.service\" = \"Encounter.type\"".to_owned(),
            "sites/north.toml:1:10: `encounter` is no mapping of messages; rules of that one are \
             [fhir.mapping.encounter.rules]",
        ),
        (
            "[fhir.mapping.patient.rules]\n\"patient.sex\" = \"Patient.gender\"".to_owned(),
            "sites/north.toml:1:15: `patient` is a part of several mappings; [rules] is for those",
        ),
        ("[fhir.mapping.consent]".to_owned(), "sites/north.toml:1:15: `fhir.mapping.consent` has no [rules]"),
        ("[fhir.rulse]".to_owned(), "sites/north.toml:1:7: `fhir.rulse` is not known; did you mean `rules`?"),
        (
            "[[fhir.case]]\nname = \"a\"\nmessage = \"a\"\nfocsu = \"Patient/1\"\n[fhir.case.expect]\n\"a\" = 1"
                .to_owned(),
            "sites/north.toml:4:1: `fhir.case.focsu` is not known; did you mean `focus`?",
        ),
        // PROMISE-5: what a Consent decides is read from it whole.
        (
            "[fhir.mapping.consent.rules]\n\"consent.directive\" = { value = \"{}\" }".to_owned(),
            "sites/north.toml:2:1: what a Consent decides is read from `consent.directive`, as it came",
        ),
        (
            "[fhir.rules]\n\"consent.directive\" = \"Consent.status\"".to_owned(),
            "sites/north.toml:2:1: what a Consent decides is read from `consent.directive`, as it came",
        ),
    ] {
        let (_, mistakes, _) = loaded(&text, &[]);
        let hit = mistakes.iter().any(|line| line.starts_with(wanted));
        assert!(hit, "{text}\n{wanted}\n{mistakes:#?}");
    }
}

#[test]
fn a_rule_for_resources_that_changes_nothing_or_weakens_is_a_warning() {
    for (text, wanted) in [
        (
            "[fhir.rules]\n\"patient.sex\" = { from = \"Patient.gender\", table = \"gender\" }"
                .to_owned(),
            "sites/north.toml:2:1: `patient.sex` says what the shipped rule says",
        ),
        (
            "[fhir.rules]\n\"patient.identifiers\" = \"Patient.identifier\"".to_owned(),
            "sites/north.toml:2:1: `patient.identifiers` is required in fhir/patient.toml:",
        ),
        (ARM.to_owned(), "sites/north.toml:1:12: no rule makes `extension.arm`"),
    ] {
        let (_, mistakes, warnings) = loaded(&text, &[]);
        assert_eq!(mistakes, Vec::<String>::new(), "{text}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(wanted), "{wanted}\n{warnings:?}");
    }
}

/// One file says what both protocols of a site write, into the same field.
#[test]
fn one_file_of_a_site_serves_both_protocols() {
    use tidegate::parse::hl7::{Charset, Message};
    let text = format!(
        "{ARM}[rules]\n\"extension.arm\" = {{ from = \"ZTR-1\", table = \"arm\" }}\n[fhir.rules]\n\
         \"extension.arm\" = {{ from = \"{FROM}\", table = \"arm\" }}\n"
    );
    let mappings = north(&text);
    let north = &mappings.site("north").unwrap().mappings;
    let message = "MSH|^~\\&|E|N|||20261122||ADT^A08^ADT_A01|ZZ1|P|2.5\rPID|1||ZZ1\rZTR|2\r";
    let message = Message::parse(message.as_bytes(), Charset::Utf8).unwrap();
    let (of_message, _) =
        normalize::normalize(north, &message, &Context::default(), Trace::Off).unwrap();
    let arm = of_message.drafts[0].data.root().at("extension.arm").unwrap();
    let arm = serde_json::to_string(&arm).unwrap();
    assert_eq!(Some(arm), value(north, &bundle(), "Patient", "extension.arm"));
    // A value that the table does not have is nobody's word to let out.
    let other = bundle().replace("\"valueCode\":\"2\"", "\"valueCode\":\"ZZ9\"");
    assert_eq!(value(north, &other, "Patient", "extension.arm"), None);
    let invalid = mapped(north, &other, "Patient").unwrap().invalid;
    assert_eq!(invalid, ["Patient.extension[0].valueCode"]);
}

/// A case of a site is run through whatever its mappings select, with the version before.
#[test]
fn a_case_of_a_site_may_be_a_resource() {
    let here = std::env::current_dir().unwrap().join("fixtures/fhir");
    let fixture = |name: &str| here.join(name).display().to_string();
    let cases = format!(
        "[fhir.rules]\n\"visit.location\" = {{ from = \"Encounter.location\", as = \"current-location\", required = true }}\n\
         [[fhir.case]]\nname = \"moves\"\nmessage = {:?}\nbefore = {:?}\nevents = 1\ntype = \"patient.transferred\"\n\
         [fhir.case.expect]\n\"visit.priorLocation.bed\" = \"ZZA\"\n\
         [[fhir.case]]\nname = \"differs\"\nmessage = {:?}\nfocus = \"DiagnosticReport/zz-r1\"\n\
         [fhir.case.expect]\n\"message.type\" = \"Report\"\n",
        fixture("encounter-transferred.json"),
        fixture("encounter-admitted.json"),
        fixture("report.json"),
    );
    let (mappings, mistakes, _) = loaded(&cases, &[]);
    assert_eq!(mistakes, Vec::<String>::new());
    let site = mappings.site("north").unwrap();
    let differs: Vec<Vec<String>> =
        site.cases.iter().map(|case| case.run_in(&site.mappings, |_| {})).collect();
    assert_eq!(differs[0], Vec::<String>::new());
    assert_eq!(differs[1], ["message.type: Report wanted, DiagnosticReport came out"]);
    assert!(differs[2][0].contains("a.json"), "{:?}", differs[2]);
}

/// PROMISE-10: what a coverage says nobody takes is what is listed as unmapped, of every resource of ours.
#[test]
fn what_a_coverage_says_nobody_takes_is_what_is_listed_as_unmapped() {
    use std::collections::BTreeSet;
    use tidegate::normalize::Coverage;

    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    let (context, mut seen) = (Context::default(), 0);
    for file in std::fs::read_dir("fixtures/fhir").unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let bytes = opened::json(bytes, BYTES_MAX, None).unwrap();
        let opened = opened::open(&bytes, BYTES_MAX).unwrap();
        let around = opened::around(&opened);
        for focus in opened.iter().filter_map(|one| one.resource.as_ref().ok()) {
            let version = release::release(focus);
            let scene = Scene { focus, patient: None, before: None, version, around: &around };
            let mapped = normalize_resource(&mappings, &scene, &context, Trace::Off);
            let mut coverage = Coverage::default();
            let covered = coverage.add_resource(&mappings, &scene, &context);
            assert_eq!(mapped.as_ref().err(), covered.as_ref().err());
            let Ok((normalized, _)) = mapped else { continue };
            let plain = |name: &str| -> String {
                // An extension is listed without its URL.
                let mut plain = String::new();
                for (at, part) in name.split(['(', ')']).enumerate() {
                    plain.push_str(if at % 2 == 0 { part } else { "" });
                }
                plain
            };
            let nobody: BTreeSet<String> = coverage
                .rows()
                .filter(|(_, row)| row.taken < row.occurrences)
                .map(|(place, _)| plain(&place.to_string()))
                .collect();
            let listed: BTreeSet<String> =
                normalized.unmapped.iter().map(ToString::to_string).collect();
            assert_eq!(nobody, listed, "{}", focus.kind());
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_coverage_counts_elements_by_resource_and_the_rules_that_took_them() {
    use tidegate::normalize::Coverage;

    let text = format!("{ARM}[fhir.rules]\n\"extension.arm\" = \"{FROM}\"\n");
    let mappings = north(&text);
    let north = &mappings.site("north").unwrap().mappings;
    let text = bundle();
    let opened = opened::open(text.as_bytes(), BYTES_MAX).unwrap();
    let around = opened::around(&opened);
    let mut coverage = Coverage::default();
    let mut add = |mappings: &Mappings, around| {
        for focus in opened.iter().map(|one| one.resource.as_ref().unwrap()) {
            let version = release::release(focus);
            let scene = Scene { focus, patient: None, before: None, version, around };
            drop(coverage.add_resource(mappings, &scene, &Context::default()));
        }
    };
    add(north, &around);
    // Nobody knows then whom the visit and the result are about.
    add(north, &tidegate::normalize::fhir::Around::default());
    coverage.add_beside("Practitioner");
    coverage.add_beside("ZZQUILLON");
    let row = |name: &str| {
        let row =
            coverage.rows().find(|(place, _)| place.to_string() == name).map(|(_, row)| row)?;
        let rules: Vec<&str> = row.rules.iter().map(|(_, target)| target.as_str()).collect();
        Some((row.messages, row.occurrences, row.taken, row.gate, rules))
    };
    assert_eq!((coverage.messages, coverage.mapped), (6, 4));
    let both = vec!["patient.priorIdentifiers", "patient.identifiers"];
    assert_eq!(row("Patient.identifier"), Some((2, 2, 2, false, both)));
    let arm = row("Patient.extension('https://v.example/arm').valueCode");
    assert_eq!(arm, Some((2, 2, 2, false, vec!["extension.arm"])));
    // Twice in each of two.
    let wave = row("Patient.extension('https://v.example/wave')");
    assert_eq!(wave, Some((2, 4, 0, false, vec![])));
    let subject = row("Observation.subject").unwrap();
    assert_eq!((subject.1, subject.2, subject.3), (2, 1, true), "{subject:?}");
    assert_eq!(
        row("Observation.valueString"),
        Some((2, 2, 1, false, vec!["observations[].value"]))
    );
    assert_eq!(row("Patient.name"), None);
    let refused: Vec<_> = coverage.refused.iter().collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    let beside: Vec<_> = coverage.beside.iter().map(|(kind, count)| (*kind, *count)).collect();
    assert_eq!(beside, [("?", 1), ("Practitioner", 1)]);
}
