//! Any bytes are a resource or are refused with their place. What is a resource is written as one that
//! reads as the same, and a path that is taken gives values that are in it. Any XML is transcribed to
//! a resource or refused; any document is read as CDA or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::parse::cda;
use tidegate::parse::fhir::xml::transcribe;
use tidegate::parse::fhir::{Bundle, Malformed, Node, Path, Resource, Version};
use tidegate::parse::xml::is_xml;

const BYTES_MAX: usize = 1 << 20;
const BOTH: [Version; 2] = [Version::R4, Version::R5];

fuzz_target!(|bytes: &[u8]| {
    // A line of its own before the resource is a path.
    let (path, bytes) =
        match bytes.strip_prefix(b"//").map(|rest| rest.split(|byte| *byte == b'\n')) {
            Some(mut parts) => {
                let line = parts.next().unwrap_or_default();
                (std::str::from_utf8(line).ok(), bytes.get(line.len() + 3..).unwrap_or_default())
            }
            None => (None, bytes),
        };
    let path = path.and_then(|path| Path::read(path, &BOTH).ok());
    if is_xml(bytes) {
        for version in BOTH {
            match transcribe(bytes, BYTES_MAX, version) {
                Ok(json) => {
                    // `<X/>` where a resource belongs becomes `{"resourceType":"X"}`.
                    assert!(json.len() <= bytes.len() * 8 + 64);
                    read(&json, path.as_ref());
                }
                Err(malformed) => placed(&malformed, bytes),
            }
        }
        if let Err(fault) = cda::parse(bytes, BYTES_MAX) {
            assert!(fault.line <= bytes.iter().filter(|byte| **byte == b'\n').count() + 1);
        }
    } else {
        read(bytes, path.as_ref());
    }
});

fn placed(malformed: &Malformed, bytes: &[u8]) {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(malformed.line >= 1 && malformed.line <= lines, "{malformed}");
    assert!(malformed.column >= 1 && malformed.column <= bytes.len() + 4, "{malformed}");
}

fn read(bytes: &[u8], path: Option<&Path>) {
    let resource = match Resource::parse(bytes, BYTES_MAX) {
        Ok(resource) => resource,
        Err(malformed) => return placed(&malformed, bytes),
    };
    let compact = resource.compact();
    assert!(compact.len() <= bytes.len() * 6);
    let again = Resource::parse(&compact, usize::MAX).expect("what is written is read");
    assert_eq!(again.compact(), compact);
    assert_eq!(again.size(), resource.size());
    let digest = |of: &Resource<'_>| {
        let mut parts = Vec::new();
        of.digest_parts(|part| parts.extend_from_slice(part));
        parts
    };
    assert_eq!(digest(&resource), digest(&again));
    let mut last = 0;
    for leaf in resource.root().leaves() {
        assert!(leaf.position() >= last && leaf.position() < resource.size());
        last = leaf.position();
        assert!(leaf.place().to_string().starts_with(resource.kind()));
    }
    if let Some(path) = path {
        let mut found: Vec<Node<'_>> = Vec::new();
        path.resolve(resource.root(), |node| {
            found.push(node);
            true
        });
        assert_eq!(path.first(resource.root()), found.first().copied());
    }
    if let Ok(bundle) = Bundle::parse(bytes, BYTES_MAX) {
        for entry in &bundle.entries {
            assert!(entry.resource.is_none() || entry.wrong.is_none());
            if let Some(inner) = entry.resource {
                // It stands in a resource that is read, so it is well-formed and within bounds.
                match Resource::parse(inner.as_bytes(), BYTES_MAX) {
                    Ok(inner) => assert!(inner.size() < resource.size()),
                    Err(malformed) => placed(&malformed, inner.as_bytes()),
                }
            }
        }
    }
}
