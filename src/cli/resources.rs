//! FHIR resources out of files, mapped: one, or those of a Bundle, in JSON or in XML.
//!
//! Promises: a version of an Encounter is compared with the one before it among the files; of a Bundle
//! what is only there to be referred to gives no line.
//! Knows nothing of: what is printed of them.

use std::collections::HashMap;

use super::map::{By, FEED, Mapped, NoEvent, tell_consent};
use crate::admit::about::About;
use crate::admit::labels::Security;
use crate::admit::resource::{RESOURCE_BYTES_MAX, correlation};
use crate::normalize::fhir::{Around, Scene, Seen, normalize_resource, opened, release};
use crate::normalize::{Context, Refusal, Trace};
use crate::parse::fhir::xml::NAMESPACE;
use crate::parse::fhir::{Malformed, Resource, Version};
use crate::parse::hl7::wire::UTF8_MARK;

/// Longest file, in bytes: sixteen times a page of 500 resources.
const BYTES_MAX: usize = 256 << 20;
/// Most Encounters whose last version is remembered.
const SEEN_MAX: usize = 100_000;
/// How far into a document its namespace is looked for, in bytes.
const HEAD_BYTES: usize = 4096;

/// What `--fhir` says.
pub(super) fn release(text: &str) -> Result<Version, String> {
    match text {
        "R4" => Ok(Version::R4),
        "R5" => Ok(Version::R5),
        _ => Err("R4 or R5 is wanted".to_owned()),
    }
}

/// Whether a file holds a resource: a JSON object, or XML of FHIR's namespace. HL7 v2 in XML has
/// another.
pub(super) fn is_fhir(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes).trim_ascii_start();
    match bytes.first() {
        Some(b'{') => true,
        Some(b'<') => {
            let head = bytes.get(..bytes.len().min(HEAD_BYTES)).unwrap_or_default();
            String::from_utf8_lossy(head).contains(NAMESPACE)
        }
        _ => false,
    }
}

/// What a file holds.
pub(super) enum One<'r> {
    /// What is no resource, or a file that is none.
    Malformed(&'r Malformed),
    /// One that came along with others, and that no mapping is for.
    Beside(&'r Resource<'r>),
    /// One that is to be mapped, and what came with it.
    Focus(&'r Resource<'r>, &'r Around<'r>),
}

/// Hands out the resources of a file, one after the other.
pub(super) fn each(bytes: Vec<u8>, by: &By<'_>, take: &mut dyn FnMut(One<'_>)) {
    let bytes = match opened::json(bytes, BYTES_MAX, by.fhir) {
        Ok(bytes) => bytes,
        Err(malformed) => return take(One::Malformed(&malformed)),
    };
    let all = match opened::open(&bytes, BYTES_MAX) {
        Ok(all) => all,
        Err(malformed) => return take(One::Malformed(&malformed)),
    };
    let around = opened::around(&all);
    let is_mapped = |resource: &Resource<'_>| by.mappings.fhir.has(resource.kind());
    let some_mapped = all.iter().any(|one| one.resource.as_ref().map_or(true, &is_mapped));
    for one in &all {
        take(match &one.resource {
            Err(malformed) => One::Malformed(malformed),
            Ok(resource) if some_mapped && !is_mapped(resource) => One::Beside(resource),
            Ok(resource) => One::Focus(resource, &around),
        });
    }
}

/// The resources of files, one after the other.
pub(super) struct Resources<'m> {
    by: &'m By<'m>,
    trace: Trace,
    /// By type and ID.
    seen: HashMap<String, Seen>,
}

impl<'m> Resources<'m> {
    pub(super) fn new(by: &'m By<'m>, trace: Trace) -> Self {
        Self { by, trace, seen: HashMap::new() }
    }

    /// Maps the resources of a file.
    pub(super) fn map(&mut self, bytes: Vec<u8>) -> Vec<Result<Mapped, NoEvent>> {
        let mut mapped = Vec::new();
        each(bytes, self.by, &mut |one| match one {
            One::Malformed(malformed) => mapped.push(Err(no_resource(malformed))),
            One::Beside(_) => {}
            One::Focus(resource, around) => mapped.push(self.one(resource, around)),
        });
        mapped
    }

    fn one(&mut self, focus: &Resource<'_>, around: &Around<'_>) -> Result<Mapped, NoEvent> {
        let name = name(focus);
        let version = self.by.fhir.unwrap_or_else(|| release::release(focus));
        let before = self.seen.get(&name).cloned();
        // Who is named by a number alone, as a feed takes it.
        let about = About::of(focus, "").filter(|about| about.patient.is_none());
        let stated = about.and_then(|about| about.stated);
        let patient = stated.as_deref().and_then(|it| Resource::parse(it, RESOURCE_BYTES_MAX).ok());
        let (patient, seen) = (patient.as_ref(), before.as_ref());
        let scene = Scene { focus, patient, before: seen, version, around };
        let mapped = normalize_resource(self.by.mappings, &scene, &Context::default(), self.trace);
        let (mut normalized, traced) = mapped.map_err(|refusal| refused(&refusal, &name))?;
        // As a feed without a consent.toml would have them.
        let security = Security::of(&scene, self.by.policy);
        for draft in &mut normalized.drafts {
            draft.data = security.label(std::mem::take(&mut draft.data));
            tell_consent(draft, self.by.site, self.by.policy);
        }
        if focus.kind() == "Encounter"
            && let Some(draft) = normalized.drafts.first()
            && (self.seen.len() < SEEN_MAX || before.is_some())
        {
            self.seen.insert(name, Seen::of(draft.data.root()).after(before.as_ref()));
        }
        Ok((normalized, traced, correlation(focus, FEED)))
    }
}

/// `Encounter/1`; the type alone of what has no ID.
fn name(resource: &Resource<'_>) -> String {
    match resource.id() {
        Some(id) => format!("{}/{id}", resource.kind()),
        None => resource.kind().to_owned(),
    }
}

fn refused(refusal: &Refusal, name: &str) -> NoEvent {
    let place = refusal.place();
    NoEvent {
        code: refusal.code(),
        text: format!("{name}: {refusal}"),
        place: if place.is_empty() { name.to_owned() } else { format!("{name} {place}") },
    }
}

fn no_resource(malformed: &Malformed) -> NoEvent {
    let place = malformed.place.as_deref().map(str::to_owned);
    NoEvent {
        code: "malformed",
        text: malformed.to_string(),
        place: place.unwrap_or_else(|| format!("line {}", malformed.line)),
    }
}
