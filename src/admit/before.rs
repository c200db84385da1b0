//! What a feed remembers of a FHIR resource.
//!
//! Promises: of two versions it is told which is older; of a server that tells neither versions nor times,
//! content that comes back behind other content is new, and the same twice in a row is not (PROMISE-2);
//! a Consent that may permit is remembered apart, where what passes by in masses does not push it out
//! (PROMISE-5).
//! Knows nothing of: the store; what becomes of a resource.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DigestKey;
use super::entry::{Given, Kept, SubjectValue};
use crate::consent::{Record, Status};
use crate::normalize::fhir::Seen;
use crate::parse::fhir::Resource;
use crate::phi::Phi;

/// Most resources of a feed whose newest version is remembered, and as many Encounters beside them: more
/// than may come late, or are open at a time. One that is forgotten is told anew from its next version on.
const VERSIONS_MAX: u32 = 200_000;
/// Most Consents of a feed that may permit. Beyond it the one is forgotten that was looked at longest ago;
/// with one for each patient of a large hospital there is room.
const STANDING_MAX: u32 = 1_000_000;
/// Under which kind a feed remembers Consents that may permit.
pub const STANDING: &str = "consent";
/// What stands for the content of what was removed: no digest.
const REMOVED: &str = "removed";

/// What a feed remembers of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// `meta.versionId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// `meta.lastUpdated`, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<i64>,
    /// Of what has neither, a digest of what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    /// How often that was other than before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) changes: u32,
    /// Of a Consent, whose it is: authority and identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) whose: Option<(String, SubjectValue)>,
    /// Of an Encounter, how it stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<Seen>,
}

/// A Consent that may permit, so that the server is asked whether it still has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its ID on the server.
    pub id: String,
    /// Until when it is in force, in milliseconds since 1970; without it, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// What is remembered of it.
    pub before: Before,
}

/// The name of a resource on its server.
#[must_use]
pub fn name(kind: &str, id: &str) -> String {
    format!("{kind}/{id}")
}

/// Under which kind a feed remembers the resources of a type.
#[must_use]
pub fn shelf(kind: &str) -> &'static str {
    if kind == "Encounter" { "encounter" } else { "version" }
}

/// What is to be remembered of a resource, as it is kept.
#[must_use]
pub fn kept(kind: &str, id: &str, after: &Before) -> Option<Kept> {
    let value = serde_json::to_vec(after).ok()?;
    let most = VERSIONS_MAX;
    Some(Kept { kind: shelf(kind), key: name(kind, id), value: Some(Phi::new(value)), most })
}

impl Before {
    /// What was kept; nothing where it is of a form that is not known.
    #[must_use]
    pub fn read(kept: &[u8]) -> Option<Self> {
        serde_json::from_slice(kept).ok()
    }

    /// Of a version of a resource that follows what is remembered of it.
    #[must_use]
    pub fn of(resource: &Resource<'_>, before: Option<&Self>, digests: &DigestKey) -> Self {
        let own = Self {
            version: resource.version_id().map(str::to_owned),
            at: written_at(resource).map(Timestamp::as_microsecond),
            ..Self::default()
        };
        if own.version.is_some() || own.at.is_some() {
            return own;
        }
        let content = digests.bytes(&whole(resource)).to_string();
        // PROMISE-2: what is there a second time is not what was there the first time, where something
        // else was between; of a page that is fetched again nothing was.
        let changes = before.map_or(0, |before| before.changes_to(&content));
        Self { content: Some(content), changes, ..own }
    }

    /// How often it was other than before, once it says that.
    fn changes_to(&self, content: &str) -> u32 {
        let is_other = self.content.as_deref().is_some_and(|known| known != content);
        self.changes.saturating_add(u32::from(is_other))
    }

    /// Whether there is nothing to tell its versions by but what they say.
    #[must_use]
    pub const fn is_by_content(&self) -> bool {
        self.content.is_some()
    }

    /// What is to be remembered of one that gave nothing, so that what stands behind it is told from what
    /// stood before; all else stays.
    #[must_use]
    pub fn beyond(&self, before: Option<&Self>) -> Self {
        let (content, changes) = (self.content.clone(), self.changes);
        Self { content, changes, ..before.cloned().unwrap_or_default() }
    }

    /// What is to be remembered once it was removed, where nothing but what it says tells its versions: the
    /// same may be made again.
    #[must_use]
    pub fn removed(&self) -> Option<Self> {
        self.content.as_ref()?;
        let changes = self.changes_to(REMOVED);
        Some(Self { content: Some(REMOVED.to_owned()), changes, ..self.clone() })
    }

    /// Whether a resource is the version that is remembered.
    #[must_use]
    pub fn is_that(&self, resource: &Resource<'_>, digests: &DigestKey) -> bool {
        let found = Self::of(resource, None, digests);
        match (&self.version, &found.version) {
            (Some(known), Some(found)) => known == found,
            _ => self.at == found.at && self.content == found.content,
        }
    }

    /// Whether this version is older than another: by the server's clock, where that does not tell by
    /// its count. What says neither is taken in the order in which it comes.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        if let (Some(one), Some(two)) = (self.at, other.at)
            && one != two
        {
            return one < two;
        }
        let count = |of: &Self| of.version.as_deref().and_then(|text| text.parse::<u64>().ok());
        matches!((count(self), count(other)), (Some(one), Some(two)) if one < two)
    }
}

impl Standing {
    /// What was kept; nothing where it is of a form that is not known.
    #[must_use]
    pub fn read(kept: &[u8]) -> Option<Self> {
        serde_json::from_slice(kept).ok()
    }

    /// The ETag of the version that is remembered (FHIR R4 and R5, section 3.2.0.3).
    #[must_use]
    pub fn etag(&self) -> Option<String> {
        self.before.version.as_ref().map(|version| format!("W/\"{version}\""))
    }
}

/// What is to be kept of a Consent, by what it says: it may permit, or it stands no more.
#[must_use]
pub fn standing(id: &str, consents: &[Given], after: &Before, now_ms: i64) -> Kept {
    let until = |record: &Record| {
        record.effective_to.map(|to| to.span().latest.as_millisecond().saturating_add(1))
    };
    let untils: Vec<Option<i64>> =
        consents.iter().map(|given| &given.record).filter(|it| permits(it)).map(until).collect();
    if untils.iter().all(|until| until.is_some_and(|until| until <= now_ms)) {
        return fallen(id);
    }
    // Of several, the one that ends last.
    let until = if untils.contains(&None) { None } else { untils.into_iter().flatten().max() };
    let standing = Standing { id: id.to_owned(), until, before: after.clone() };
    Kept { value: serde_json::to_vec(&standing).ok().map(Phi::new), ..fallen(id) }
}

/// What is to be kept of a Consent that permits nothing any more.
#[must_use]
pub fn fallen(id: &str) -> Kept {
    Kept { kind: STANDING, key: name("Consent", id), value: None, most: STANDING_MAX }
}

/// Whether a record may permit; what decides nothing leaves what stood before.
fn permits(record: &Record) -> bool {
    record.consent().is_some_and(|consent| match consent.status {
        Status::Active => consent.may_permit(),
        Status::Proposed | Status::Bypassed => true,
        Status::Rejected
        | Status::Revoked
        | Status::Inactive
        | Status::EnteredInError
        | Status::Unknown => false,
    })
}

/// What a resource says, whatever the order of its members, without its `meta`.
pub(super) fn whole(resource: &Resource<'_>) -> Vec<u8> {
    let mut whole = Vec::new();
    resource.digest_parts(|part| whole.extend_from_slice(part));
    whole
}

/// When a version was written.
pub(super) fn written_at(resource: &Resource<'_>) -> Option<Timestamp> {
    resource.last_updated()?.parse().ok()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::assess::tests::rules_by;

    fn resource(meta: &str, said: &str) -> String {
        format!(r#"{{"resourceType":"Observation","id":"o1","meta":{{{meta}}},"status":"{said}"}}"#)
    }

    fn of(json: &str, before: Option<&Before>) -> Before {
        let rules = rules_by("");
        Before::of(&Resource::parse(json.as_bytes(), 1 << 16).unwrap(), before, &rules.digests)
    }

    #[test]
    fn which_version_is_older_is_told_by_the_clock_then_by_the_count() {
        let stamped = |version: &str, at: &str| {
            of(
                &resource(&format!(r#""versionId":"{version}","lastUpdated":"{at}""#), "final"),
                None,
            )
        };
        let (eight, nine) = ("2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z");
        for (one, two, older) in [
            (("9", eight), ("10", nine), true),
            (("10", nine), ("9", eight), false),
            (("9", eight), ("10", eight), true),
            (("abc", eight), ("abd", eight), false),
            (("10", eight), ("9", nine), true),
            (("1", ""), ("2", ""), true),
            (("", ""), ("", ""), false),
        ] {
            let (first, second) = (stamped(one.0, one.1), stamped(two.0, two.1));
            assert_eq!(first.is_older_than(&second), older, "{one:?} {two:?}");
        }
    }

    /// PROMISE-2
    #[test]
    fn what_has_no_version_is_told_by_what_it_says_and_by_what_stood_between() {
        let mut before: Option<Before> = None;
        let mut changes = Vec::new();
        for said in ["a", "a", "b", "b", "a", "a", "b"] {
            let own = of(&resource("", said), before.as_ref());
            changes.push(own.changes);
            before = Before::read(&serde_json::to_vec(&own).unwrap());
        }
        assert_eq!(changes, [0, 0, 1, 1, 2, 2, 3]);
        // Removed, once however often that is told, and made again as it was.
        let gone = before.unwrap().removed().unwrap();
        assert_eq!((gone.changes, gone.removed().unwrap().changes), (4, 4));
        assert_eq!(of(&resource("", "b"), Some(&gone)).changes, 5);
        // Where the server counts, nothing of that is needed.
        let counted = of(&resource(r#""versionId":"1""#, "a"), Some(&gone));
        assert_eq!((counted.changes, counted.content, counted.at), (0, None, None));
    }

    #[test]
    fn the_version_that_is_remembered_is_known_by_whatever_names_it() {
        let rules = rules_by("");
        for (known, found, same) in [
            (r#""versionId":"1""#, r#""versionId":"1""#, true),
            (r#""versionId":"1""#, r#""versionId":"2""#, false),
            (
                r#""lastUpdated":"2026-11-22T08:00:00Z""#,
                r#""lastUpdated":"2026-11-22T08:00:01Z""#,
                false,
            ),
            (
                r#""lastUpdated":"2026-11-22T08:00:00Z""#,
                r#""lastUpdated":"2026-11-22T09:00:00+01:00""#,
                true,
            ),
            ("", "", true),
            ("", r#""versionId":"1""#, false),
        ] {
            let known_as = of(&resource(known, "a"), None);
            let json = resource(found, "a");
            let found_as = Resource::parse(json.as_bytes(), 1 << 16).unwrap();
            assert_eq!(known_as.is_that(&found_as, &rules.digests), same, "{known} {found}");
        }
        let other = resource("", "b");
        let other = Resource::parse(other.as_bytes(), 1 << 16).unwrap();
        assert!(!of(&resource("", "a"), None).is_that(&other, &rules.digests));
    }
}
