//! The resources of a file or a page: one, or those of a Bundle.
//!
//! Promises: an entry that is wrong costs itself.
//! Knows nothing of: what a resource says.

use std::borrow::Cow;

use crate::parse::fhir::{Bundle, Malformed, Resource, Version, xml};

use super::Around;
use super::release::release;

/// One resource of several.
#[derive(Debug)]
pub struct Opened<'b> {
    /// `fullUrl` of its entry.
    pub full_url: Option<Cow<'b, str>>,
    /// The resource, or why it is none.
    pub resource: Result<Resource<'b>, Malformed>,
}

/// Reads a resource in JSON, or the entries of a Bundle. Entries without a resource are left out.
///
/// # Errors
/// It is neither, or longer than `bytes_max`.
pub fn open(bytes: &[u8], bytes_max: usize) -> Result<Vec<Opened<'_>>, Malformed> {
    match Bundle::parse(bytes, bytes_max) {
        Ok(bundle) => {
            let opened = bundle.entries.into_iter().filter_map(|entry| {
                let resource = match (entry.wrong, entry.resource) {
                    (Some(wrong), _) => Err(wrong),
                    (None, Some(text)) => Resource::parse(text.as_bytes(), bytes_max),
                    (None, None) => return None,
                };
                Some(Opened { full_url: entry.full_url, resource })
            });
            Ok(opened.collect())
        }
        Err(malformed) if malformed.wrong == crate::parse::fhir::Wrong::NotABundle => {
            let resource = Resource::parse(bytes, bytes_max)?;
            Ok(vec![Opened { full_url: None, resource: Ok(resource) }])
        }
        Err(malformed) => Err(malformed),
    }
}

/// The JSON of a resource or a Bundle, whichever form it came in. Where nobody says of which release
/// its XML is, it is of the one that it looks like.
///
/// # Errors
/// It is XML that is no resource.
pub fn json(
    bytes: Vec<u8>,
    bytes_max: usize,
    version: Option<Version>,
) -> Result<Vec<u8>, Malformed> {
    let plain = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii_start();
    if plain.first() != Some(&b'<') {
        return Ok(bytes);
    }
    let json = xml::transcribe(&bytes, bytes_max, version.unwrap_or(Version::R4))?;
    let is_r5 = |one: &Opened<'_>| {
        one.resource.as_ref().is_ok_and(|resource| release(resource) == Version::R5)
    };
    // JSON is some times shorter than the XML that it was, and never many times longer.
    let looks_r5 = || open(&json, usize::MAX).is_ok_and(|all| all.iter().any(is_r5));
    if version.is_none() && looks_r5() {
        return xml::transcribe(&bytes, bytes_max, Version::R5);
    }
    Ok(json)
}

/// What references among them lead to.
#[must_use]
pub fn around<'s>(opened: &'s [Opened<'s>]) -> Around<'s> {
    let mut around = Around::default();
    for one in opened {
        if let Ok(resource) = &one.resource {
            around.add(one.full_url.as_deref(), resource);
        }
    }
    around
}
