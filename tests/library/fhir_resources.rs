//! FHIR resources of others: they are read whole, their XML says what their JSON says, and the table of
//! elements knows what is in them.

use std::collections::BTreeSet;
use std::path::{Path as File, PathBuf};

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, proptest,
};
use proptest::prop_oneof;

use tidegate::parse::cda::{Body, Moment};
use tidegate::parse::fhir::bundle::Bundle;
use tidegate::parse::fhir::elements::{choices, find, is_primitive, named};
use tidegate::parse::fhir::xml::transcribe;
use tidegate::parse::fhir::{Node, Resource, Version, Wrong as Twice};
use tidegate::parse::xml::Wrong;

const BYTES_MAX: usize = 1 << 24;
/// Twins of which one says more than the other: what it has beyond that.
const BEYOND: [(&str, &str); 1] = [("fhir-test-cases-r4/observation-example", "extension")];

/// Files of a kind below a folder of the corpus, by name.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![File::new("fixtures/corpus").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 4, "{folder}");
    found
}

/// The release of a file: that of its folder.
fn version(path: &File) -> Version {
    if path.to_string_lossy().contains("r5") { Version::R5 } else { Version::R4 }
}

/// A resource with its narratives left out, which JSON has as somebody rewrote them.
fn without_narrative(bytes: &[u8]) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => {
                members.retain(|name, value| !(name == "div" && value.is_string()));
                members.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(bytes).unwrap();
    strip(&mut value);
    value
}

#[test]
fn every_resource_of_the_corpus_is_read_and_written_as_the_same() {
    for path in files("fhir", "json") {
        let bytes = std::fs::read(&path).unwrap();
        let resource = Resource::parse(&bytes, BYTES_MAX)
            .unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
        let compact = resource.compact();
        let again = Resource::parse(&compact, BYTES_MAX).unwrap();
        assert_eq!(again.compact(), compact, "{}", path.display());
        let same = |node: Node<'_>| (node.place().to_string(), node.scalar().map(str::to_owned));
        let values = |of: &Resource<'_>| of.root().leaves().map(same).collect::<Vec<_>>();
        assert_eq!(values(&resource), values(&again), "{}", path.display());
        let digest = |of: &Resource<'_>| {
            let mut parts = Vec::new();
            of.digest_parts(|part| parts.extend_from_slice(part));
            parts
        };
        assert_eq!(digest(&resource), digest(&again), "{}", path.display());
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let wanted: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&compact).unwrap(), wanted);
        if resource.kind() == "Bundle" {
            let bundle = Bundle::parse(bytes, BYTES_MAX).unwrap();
            let entries = wanted["entry"].as_array().unwrap();
            assert_eq!(bundle.entries.len(), entries.len());
            for (entry, wanted) in bundle.entries.iter().zip(entries) {
                let Some(text) = entry.resource else {
                    assert_eq!((wanted.get("resource"), &entry.wrong), (None, &None));
                    continue;
                };
                assert!(Resource::parse(text.as_bytes(), BYTES_MAX).is_ok(), "{}", path.display());
                assert_eq!(
                    serde_json::from_str::<serde_json::Value>(text).unwrap(),
                    wanted["resource"]
                );
            }
        }
    }
}

#[test]
fn a_resource_in_xml_is_that_in_json() {
    let mut twins = 0;
    for path in files("fhir", "xml") {
        let bytes = std::fs::read(&path).unwrap();
        let json = transcribe(&bytes, BYTES_MAX, version(&path))
            .unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
        let resource = Resource::parse(&json, BYTES_MAX).unwrap();
        assert_eq!(resource.compact(), json);
        let mut kept = Vec::new();
        unknown(&resource, version(&path), &mut |place| kept.push(place));
        if path.to_string_lossy().contains("validator") {
            // Wrong on purpose, and in another way than its twin: what is not FHIR is kept.
            let wanted = [
                "Observation._status.something (Element)",
                "Observation._valueInteger.value (Element)",
            ];
            assert_eq!(kept, wanted);
            continue;
        }
        assert_eq!(kept, Vec::<String>::new(), "{}", path.display());
        if let Ok(twin) = std::fs::read(path.with_extension("json")) {
            twins += 1;
            let (mut json, twin) = (without_narrative(&json), without_narrative(&twin));
            for (_, name) in BEYOND.iter().filter(|(file, _)| path.to_string_lossy().contains(file))
            {
                let beyond = json.as_object_mut().unwrap().remove(*name);
                assert!(beyond.is_some() && twin.get(name).is_none(), "{}", path.display());
            }
            assert_eq!(json, twin, "{}", path.display());
        }
    }
    assert!(twins >= 5, "{twins}");
}

/// Says of each element that the table does not have so where it is.
fn unknown(resource: &Resource<'_>, version: Version, say: &mut dyn FnMut(String)) {
    fn walk(node: Node<'_>, of: &str, version: Version, say: &mut dyn FnMut(String)) {
        for child in node.children() {
            let name = child.name().unwrap();
            if name == "resourceType" {
                continue;
            }
            let (name, is_twin) = match name.strip_prefix('_') {
                Some(name) => (name, true),
                None => (name, false),
            };
            let mut rows = named(of, name);
            let Some((element, of)) = rows.find(|(element, _)| element.is_in(version)) else {
                say(format!("{} ({of})", child.element()));
                continue;
            };
            if element.is_list != child.is_list() {
                say(format!("{}: {of}, list {}", child.element(), element.is_list));
            }
            for item in child.items() {
                match of {
                    _ if is_twin && item.is_null() => {}
                    _ if is_twin => walk(item, "Element", version, say),
                    "Resource" => {
                        let kind = item.get("resourceType").and_then(Node::text).unwrap();
                        let known = find(kind).map_or("DomainResource", |found| found.name);
                        if known == kind {
                            walk(item, kind, version, say);
                        }
                    }
                    of if is_primitive(of) => {
                        if item.is_object() || item.is_list() {
                            say(format!("{}: no {of}", item.element()));
                        }
                    }
                    of if item.is_object() => walk(item, of, version, say),
                    of => say(format!("{}: no {of}", item.element())),
                }
            }
        }
    }
    if find(resource.kind()).is_some() {
        walk(resource.root(), resource.kind(), version, say);
    }
}

/// Of some thousand distinct elements, what is listed here is what those files have wrong.
#[test]
fn the_table_of_elements_knows_the_elements_of_the_corpus() {
    let mut unknown_ones = BTreeSet::new();
    let mut elements = BTreeSet::new();
    for path in files("fhir", "json") {
        let bytes = std::fs::read(&path).unwrap();
        let resource = Resource::parse(&bytes, BYTES_MAX).unwrap();
        elements.extend(resource.root().leaves().map(|leaf| leaf.element().to_string()));
        let folder = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        unknown(&resource, version(&path), &mut |place| {
            unknown_ones.insert(format!("{folder} {place}"));
        });
    }
    assert!(elements.len() > 1000, "{}", elements.len());
    let lines: Vec<String> = unknown_ones.into_iter().collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    fhir-test-cases-r4 Consent.period (Consent)
    fhir-test-cases-validator Observation._valueInteger.value (Element)
    ");
    assert_eq!(choices("Patient", "deceased").count(), 1);
}

/// The documents of the corpus, and in how many there are service events, consents and statements.
#[test]
fn every_cda_document_of_the_corpus_says_whom_it_is_about_or_is_refused_for_its_dtd() {
    let mut found = (0, 0, 0);
    for path in files("xml", "xml") {
        let bytes = std::fs::read(&path).unwrap();
        let document = match tidegate::parse::cda::parse(&bytes, BYTES_MAX) {
            Ok(document) => document,
            Err(fault) => {
                let name = path.file_name().unwrap().to_string_lossy();
                let whole = match fault.wrong {
                    Wrong::Doctype => "CDADocumentWithXXEInjection.xml",
                    // A piece of one, as its authors show it.
                    _ => "Diagnosis_Reference_Example.xml",
                };
                assert_eq!(name, whole, "{fault}");
                continue;
            }
        };
        assert!(
            document.patients.iter().any(|patient| !patient.ids.is_empty()),
            "{}",
            path.display()
        );
        assert!(document.id.is_some() && document.code.is_some(), "{}", path.display());
        assert_ne!(document.body, Body::Absent, "{}", path.display());
        found.0 += usize::from(!document.services.is_empty());
        found.1 += usize::from(!document.consents.is_empty());
        if path.to_string_lossy().contains("consent2share") {
            let [service] = &document.services[..] else { panic!() };
            let code = service.code.as_ref().unwrap();
            assert_eq!(code.code.as_deref(), Some("57016-8"));
            assert!(service.period.high == Some(Moment::At("20140904".to_owned())));
            assert_eq!(document.sections[0].root, "2.16.840.1.113883.3.445.17");
            assert_eq!(document.related[0].relation, "RPLC");
            found.2 += 1;
        }
    }
    assert_eq!(found, (5, 1, 1));
}

#[test]
fn fault_102_hostile_json_is_refused_within_its_bounds() {
    let inside = |text: &str| format!("{{\"resourceType\":\"Patient\",\"zz\":{text}}}");
    for text in [
        inside(&"[".repeat(100_000)),
        inside(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        inside(&format!("{}0{}", "{\"LongName\":".repeat(100_000), "}".repeat(100_000))),
        inside(&"9".repeat(1_000_000)),
        inside(&format!("1e{}", "9".repeat(1000))),
        inside(&format!("\"{}\"", "Z".repeat(BYTES_MAX))),
        inside("{\"a\":\"ZZ\",\"\\u0061\":\"ZZ\"}"),
        inside(&format!("[{}0]", "[],".repeat(200_000))),
        inside(&format!("{{{}\"z\":0}}", "\"a\":0,".repeat(100_000))),
        inside("\"\\udc00\""),
        format!("{}\"resourceType\":\"ZZ\"}}", "{\"a\":".repeat(100_000)),
    ] {
        let refused = Resource::parse(text.as_bytes(), BYTES_MAX).unwrap_err().to_string();
        assert!(refused.len() < 400, "{refused}");
        assert!(!refused.contains("ZZ"), "{refused}");
        // As a Bundle it is none, whatever else is wrong with it.
        assert!(Bundle::parse(text.as_bytes(), BYTES_MAX).is_err());
    }
}

#[test]
fn fault_101_hostile_resources_and_documents_in_xml_are_refused() {
    let namespaces: String = (0..10_000).map(|number| format!(" xmlns:a{number}='b'")).collect();
    let attributes: String = (0..10_000).map(|number| format!(" a{number}='1'")).collect();
    for (root, namespace) in
        [("Patient", "http://hl7.org/fhir"), ("ClinicalDocument", "urn:hl7-org:v3")]
    {
        let open = format!("<{root} xmlns='{namespace}'>");
        let close = format!("</{root}>");
        for document in [
            format!("{open}{}", "<ZZa>".repeat(100_000)),
            format!("{open}{}{close}", "<a/>".repeat(1 << 21)),
            format!("<{root} xmlns='{namespace}'{attributes}/>"),
            format!("<{root} xmlns='{namespace}'{namespaces}/>"),
            format!("<!DOCTYPE a [<!ENTITY b 'ZZLOL'><!ENTITY c '&b;&b;'>]>{open}&c;{close}"),
            format!("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>{open}&b;{close}"),
            format!("{open}<title>&ZZ;</title>{close}"),
        ] {
            let resource =
                transcribe(document.as_bytes(), BYTES_MAX, Version::R4).unwrap_err().to_string();
            let document = tidegate::parse::cda::parse(document.as_bytes(), BYTES_MAX)
                .unwrap_err()
                .to_string();
            for refused in [resource, document] {
                assert!(
                    refused.len() < 400 && !refused.replace("ZZa", "").contains("ZZ"),
                    "{refused}"
                );
            }
        }
    }
}

/// Any JSON, three levels deep, with names and texts of any kind.
fn anything() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map("\\PC{0,12}", inner, 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_resource_is_written_and_read_as_the_same(value in anything(), blanks in "[ \n\t\r]{0,4}") {
        let mut whole = serde_json::json!({"resourceType": "Basic", "id": "b"});
        whole["member"] = value;
        let text = format!("{blanks}{whole:#}{blanks}");
        let resource = Resource::parse(text.as_bytes(), BYTES_MAX).unwrap();
        let compact = resource.compact();
        prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&compact).unwrap(), &whole);
        let again = Resource::parse(&compact, BYTES_MAX).unwrap();
        prop_assert_eq!(&again.compact(), &compact);
        prop_assert_eq!(again.size(), resource.size());
    }

    #[test]
    fn a_resource_or_document_that_is_damaged_anywhere_is_read_or_refused(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 0..4),
        without in 0_usize..4,
    ) {
        let mut all = files("fhir", "xml");
        all.extend(files("xml", "xml"));
        all.extend(files("fhir", "json").into_iter().filter(|path| path.to_string_lossy().contains("r4-examples")));
        let path = &all[file.index(all.len())];
        let mut bytes = std::fs::read(path).unwrap();
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + without);
        bytes.splice(at..end, with);
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
        match transcribe(&bytes, BYTES_MAX, Version::R4) {
            Ok(json) => {
                match Resource::parse(&json, BYTES_MAX) {
                    Ok(resource) => prop_assert!(resource.compact() == json),
                    // XML may say in two ways what JSON has one name for, and lists cost it no level.
                    Err(refused) => prop_assert!(matches!(refused.wrong, Twice::Repeated | Twice::TooDeep)),
                }
            }
            Err(malformed) => prop_assert!(malformed.line <= lines),
        }
        if let Err(fault) = tidegate::parse::cda::parse(&bytes, BYTES_MAX) {
            prop_assert!(fault.line <= lines);
        }
        if let Err(malformed) = Resource::parse(&bytes, BYTES_MAX) {
            prop_assert!(malformed.line <= lines);
        }
    }
}
