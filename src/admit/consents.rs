//! What a message says of consent: records for the ledger, or closures.
//!
//! Promises: a message that bears a consent gives a record or a closure for each subject that it
//! is about, or is refused; what a person reads of it are places and no values.
//! Knows nothing of: what the ledger holds, and whether the message is new.

use std::cell::OnceCell;
use std::sync::Arc;

use jiff::Timestamp;

use crate::consent::intake::{self, Carrier, Doubt, ends_closure, told};
use crate::consent::{Key, Record, Turn};
use crate::event::{EventType, Subject, Tree};
use crate::normalize::{Draft, Normalized, Refusal, Spot, salvage};
use crate::parse::hl7::Message;

use super::Correlation;
use super::acts::Acts;
use super::assess::Rules;
use super::digest::Digest;
use super::entry::{Acted, Category, Content, Correlated, Given, Raised, Stored, SubjectValue};
use super::labels::{Labels, Unmapped};
use super::profile::{Described, Descriptions};
use super::restrictions::{carriers, has_consent, restrictions};

/// A message of HL7 v2 that may bear consents.
pub(super) struct Bearer<'b> {
    pub(super) message: &'b Message<'b>,
    pub(super) filing: Filing<'b>,
}

/// Files what one message says, of whichever protocol: its events under their subjects, its consents
/// for the ledger.
pub(super) struct Filing<'b> {
    pub(super) content: Digest,
    correlation: Correlation,
    /// What names it, without the epoch, which the store knows. Few messages need it.
    name: OnceCell<String>,
    pub(super) rules: &'b Rules,
    recorded_at: Timestamp,
    /// What people call a field of a consent event, by the event's place.
    place_of: fn(&str, &str) -> String,
}

/// What is filed of a message while its events are made.
#[derive(Default)]
pub(super) struct Filed {
    pub acts: Acts,
    pub descriptions: Descriptions,
    worst: Option<(Doubt, Raised)>,
}

/// What a message with events comes to.
#[derive(Default)]
pub(super) struct Applied {
    pub content: Content,
    pub raised: Option<Raised>,
    pub consents: Vec<Given>,
    pub on_conflict: Vec<Given>,
    pub acts: Vec<Acted>,
    pub described: Vec<Described>,
}

/// What a message without events does to consent.
pub(super) enum Closing {
    /// It bears none.
    Nothing,
    /// Closes every purpose of these.
    Closes(Vec<Given>),
    /// It bears one, and whose cannot be read.
    Unreadable(Refusal),
}

impl<'b> Bearer<'b> {
    pub fn of(
        message: &'b Message<'b>,
        correlated: &Correlated,
        rules: &'b Rules,
        now_ms: i64,
    ) -> Self {
        Self { message, filing: Filing::of(correlated, rules, now_ms, place_of) }
    }

    /// Events with their subjects, and what they say of consent.
    pub fn apply(&self, normalized: Normalized) -> Result<Applied, Refusal> {
        let mut applied = Applied::default();
        let mut filed = Filed::default();
        let said = restrictions(self.message);
        let restrictions = carriers(&said);
        let labels = Labels::of(self.message, &self.filing.rules.policy);
        let applies = normalized.drafts.iter().any(|draft| is_consent(draft.kind));
        if !applies && has_consent(self.message) {
            self.close_unread(&normalized.drafts, &mut applied)?;
        }
        for mut draft in normalized.drafts {
            labels.label(self.message, &mut draft);
            let subject = self.filing.subject(&draft).ok_or_else(unreadable)?;
            for carrier in restrictions.iter().filter(|_| !is_consent(draft.kind)) {
                let key = self.filing.key_of(carrier);
                let is_known = |given: &Given| given.subject == subject && given.record.key == key;
                if !applied.on_conflict.iter().any(is_known) {
                    let closure = self.filing.closure(key, &draft, subject.clone());
                    applied.on_conflict.push(closure);
                }
            }
            self.filing.file(draft, subject, &mut applied, &mut filed)?;
        }
        self.filing.end(filed, &mut applied)?;
        applied.content.unmapped = normalized.unmapped.iter().map(ToString::to_string).collect();
        applied.content.invalid = normalized.invalid;
        self.protect(&said, &mut applied)?;
        // What closes comes first: of a message there is one exception.
        if applied.raised.is_none() {
            applied.raised = labels.unmapped().map(|unmapped| self.filing.unlabelled(unmapped));
        }
        Ok(applied)
    }

    /// Closes for consents that no mapping reads, in a message that is mapped otherwise.
    // PROMISE-5
    fn close_unread(&self, drafts: &[Draft], applied: &mut Applied) -> Result<(), Refusal> {
        for draft in drafts {
            let subject = self.filing.subject(draft).ok_or_else(unreadable)?;
            if !applied.consents.iter().any(|given| given.subject == subject) {
                let closure = self.filing.closure(self.filing.own_key(draft), draft, subject);
                applied.consents.push(closure);
            }
        }
        applied.on_conflict.clone_from(&applied.consents);
        applied.raised = Some(Raised {
            category: Category::ConsentUnknown,
            key: self.filing.content,
            text: "no mapping reads CON: every purpose is closed".to_owned(),
            place: "CON".to_owned(),
        });
        Ok(())
    }

    /// What the message closes, where it gave no event.
    // PROMISE-5
    pub fn close(&self) -> Closing {
        let restrictions = carriers(&restrictions(self.message));
        let has_consent = has_consent(self.message);
        if restrictions.is_empty() && !has_consent {
            return Closing::Nothing;
        }
        let found = salvage(&self.filing.rules.mappings, self.message, &self.filing.rules.context);
        let mut closures = Vec::new();
        for draft in &found.consents {
            let Some(subject) = self.filing.subject(draft) else {
                return Closing::Unreadable(unreadable());
            };
            closures.push(self.filing.closing(draft, &subject));
        }
        let without_events = has_consent && found.consents.is_empty();
        for draft in &found.patients {
            let Some(subject) = self.filing.subject(draft) else {
                return Closing::Unreadable(unreadable());
            };
            for carrier in &restrictions {
                closures.push(self.filing.closure(
                    self.filing.key_of(carrier),
                    draft,
                    subject.clone(),
                ));
            }
            if without_events {
                closures.push(self.filing.closure(self.filing.own_key(draft), draft, subject));
            }
        }
        if closures.is_empty() {
            return Closing::Unreadable(unreadable());
        }
        Closing::Closes(closures)
    }
}

impl<'b> Filing<'b> {
    pub fn of(
        correlated: &Correlated,
        rules: &'b Rules,
        now_ms: i64,
        place_of: fn(&str, &str) -> String,
    ) -> Self {
        Self {
            content: correlated.content,
            correlation: correlated.correlation,
            name: OnceCell::new(),
            rules,
            recorded_at: Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::MAX),
            place_of,
        }
    }

    /// Adds an event of a subject, and what it says of consent.
    pub fn file(
        &self,
        draft: Draft,
        subject: Subject,
        applied: &mut Applied,
        filed: &mut Filed,
    ) -> Result<(), Refusal> {
        filed.descriptions.take(&self.rules.digests, &subject, draft.data.root());
        let visit = self.rules.identity.visit(draft.data.root(), &self.rules.domain);
        let mut stored = if is_consent(draft.kind) {
            applied.on_conflict.push(self.closing(&draft, &subject));
            let (stored, doubt) = self.consent(draft, subject, &mut applied.consents);
            if let Some(doubt) = doubt
                && filed.worst.as_ref().is_none_or(|(known, _)| doubt < *known)
            {
                filed.worst = Some((doubt, self.raised(doubt, &stored)));
            }
            stored
        } else {
            let (identity, domain) = (&self.rules.identity, &self.rules.domain);
            let position = applied.content.events.len();
            let prior = filed.acts.prior(identity, domain, &draft, &subject, position)?;
            let mut stored = stored(draft.kind, draft.place, subject, draft.data);
            prior.into_iter().for_each(|prior| stored.set_prior(prior));
            stored
        };
        stored.set_visit(visit);
        applied.content.events.push(stored);
        Ok(())
    }

    /// Ends it, once all events are there.
    pub fn end(&self, mut filed: Filed, applied: &mut Applied) -> Result<(), Refusal> {
        filed.acts.pair(&mut applied.content.events)?;
        applied.acts = filed.acts.acted;
        applied.described = filed.descriptions.described;
        applied.raised = applied.raised.take().or(filed.worst.map(|(_, raised)| raised));
        Ok(())
    }

    /// The record of one consent, or its closure; and the event as the record has it.
    fn consent(
        &self,
        draft: Draft,
        subject: Subject,
        consents: &mut Vec<Given>,
    ) -> (Stored, Option<Doubt>) {
        let carrier = self.carrier(&draft.place);
        let root = draft.data.root();
        match intake::intake(root, &draft.doubtful, &carrier, &self.rules.policy) {
            Ok((record, doubt)) => {
                let (kind, data) = (told::kind(&record), told::tell(&draft.data, &record));
                if ends_closure(&record, doubt) {
                    let end = intake::closure(record.key.clone(), Turn::Ends, root, &carrier);
                    consents.push(Given { subject: subject.clone(), record: end });
                }
                consents.push(Given { subject: subject.clone(), record });
                (stored(kind, draft.place, subject, data), doubt)
            }
            // PROMISE-5: what could not be applied closes.
            Err(doubt) => {
                consents.push(self.closing(&draft, &subject));
                let kind = EventType::ConsentUpdated;
                (stored(kind, draft.place, subject, draft.data), Some(doubt))
            }
        }
    }

    /// The closure of a consent, under its own key where that can be read, so that the same one
    /// ends it when it comes so that it can be applied.
    pub(super) fn closing(&self, draft: &Draft, subject: &Subject) -> Given {
        let in_doubt = |field: &str| draft.doubtful.iter().any(|it| it == field);
        let named =
            !["consent.identifier", "consent.type", "consent.form"].into_iter().any(in_doubt);
        let key = intake::key(draft.data.root(), &self.carrier(&draft.place)).filter(|_| named);
        self.closure(key.unwrap_or_else(|| self.own_key(draft)), draft, subject.clone())
    }

    pub(super) fn closure(&self, key: Key, draft: &Draft, subject: Subject) -> Given {
        let carrier = self.carrier(&draft.place);
        let record = intake::closure(key, Turn::Begins, draft.data.root(), &carrier);
        Given { subject, record }
    }

    /// The key of a restriction: its field.
    pub(super) fn key_of(&self, carrier: &str) -> Key {
        Key { source: self.rules.feed.to_string(), id: carrier.to_owned() }
    }

    /// A closure of what nothing more is known of than whose it is, and when it was written.
    pub(super) fn closed(&self, key: Key, subject: Subject, at: Option<Timestamp>) -> Given {
        let closure = intake::closure(key, Turn::Begins, Tree::new().root(), &self.carrier("con1"));
        Given { subject, record: Record { version: at.map(intake::closure_version), ..closure } }
    }

    /// The key of what names itself by nothing: the message and the place.
    pub(super) fn own_key(&self, draft: &Draft) -> Key {
        let id = format!("{} {}", self.name(), draft.place);
        Key { source: self.rules.feed.to_string(), id }
    }

    fn name(&self) -> &str {
        self.name.get_or_init(|| format!("{:?}", self.correlation))
    }

    pub(super) fn subject(&self, draft: &Draft) -> Option<Subject> {
        self.rules.identity.subject(draft.data.root(), &self.rules.domain)
    }

    pub(super) fn carrier<'c>(&'c self, place: &'c str) -> Carrier<'c> {
        Carrier {
            feed: &self.rules.feed,
            site: self.rules.site.as_deref(),
            message: self.name(),
            place,
            zone: self.rules.context.zone.as_ref(),
            recorded_at: self.recorded_at,
        }
    }

    /// The exception of a doubt. One for each message; of types that no row maps one for each type,
    /// since a row settles all of them.
    fn raised(&self, doubt: Doubt, stored: &Stored) -> Raised {
        let key = match doubt {
            Doubt::UnmappedType => self.rules.digests.text(&type_of(&stored.data)),
            Doubt::Unnamed | Doubt::Unreadable(_) | Doubt::UnknownWord(_) | Doubt::Future(_) => {
                self.content
            }
        };
        Raised {
            category: Category::ConsentUnknown,
            key,
            text: format!("{}: {} {}", stored.place, doubt.field(), doubt.text()),
            place: (self.place_of)(doubt.field(), &stored.place),
        }
    }

    /// The exception of a code that nobody mapped: one for each code, since a row settles all.
    pub(super) fn unlabelled(&self, unmapped: &Unmapped) -> Raised {
        let Unmapped { field, code } = unmapped;
        Raised {
            category: Category::ConsentUnknown,
            key: self.rules.digests.text(&format!("label {code}")),
            text: format!(
                "{field} has no row in [labels] of consent.toml: what it labels does not leave"
            ),
            place: (*field).to_owned(),
        }
    }
}

pub(super) fn stored(kind: EventType, place: String, subject: Subject, data: Tree) -> Stored {
    let Subject { authority, value } = subject;
    let (value, data) = (SubjectValue(value), Arc::new(data));
    Stored { kind, place, authority, value, prior: None, visit: None, data }
}

/// Whether an event is one of consent.
#[must_use]
pub const fn is_consent(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::ConsentGranted
            | EventType::ConsentDenied
            | EventType::ConsentRevoked
            | EventType::ConsentExpired
            | EventType::ConsentUpdated
            | EventType::ConsentRetracted
    )
}

/// System and code of a consent's type.
fn type_of(data: &Tree) -> String {
    let text = |path| data.root().at(path).and_then(|found| found.as_text()).unwrap_or_default();
    format!("consent type {}/{}", text("consent.type.system"), text("consent.type.code"))
}

/// The field of HL7 that the shipped mapping makes a field of the event from, in the CON at a
/// place, such as `CON[2]-11`.
fn place_of(field: &str, place: &str) -> String {
    if place.starts_with("cda") {
        return "OBX-5".to_owned();
    }
    let number = match field {
        "consent.identifier" | "consent.key" => 4,
        "consent.type" => 2,
        "consent.form" => 3,
        "consent.status" => 11,
        "consent.decidedAt" => 13,
        "consent.effectiveFrom" => 14,
        "consent.effectiveTo" => 15,
        "consent.capacity" => 16,
        "consent.standin" => 23,
        "consent.relationship" => 25,
        "message.sentAt" => return "MSH-7".to_owned(),
        _ => 0,
    };
    let segment = match place.strip_prefix("con") {
        Some("1") | None => "CON".to_owned(),
        Some(which) => format!("CON[{which}]"),
    };
    if number == 0 { segment } else { format!("{segment}-{number}") }
}

/// Whom a message is about cannot be read.
pub(super) fn unreadable() -> Refusal {
    Refusal::Missing { spot: Spot { segment: "PID".to_owned(), field: 3 } }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::admit::assess::tests::rules_by;
    use crate::admit::assess::{Assessed, Finding, OnUnmappable, OnUnsupported, Rules, assess};
    use crate::admit::entry::{Admission, Status};
    use crate::consent::Says;
    use crate::document::Problems;
    use crate::normalize;

    const POLICY: &str = "[codes]\n\"HL70496/109\" = [\"CLINTRCH\"]\n";

    fn rules() -> Rules {
        let (correlation, on_unmappable) = (Vec::new(), OnUnmappable::Nak);
        Rules { correlation, on_unmappable, processing_id: None, ..rules_by(POLICY) }
    }

    /// 2026-11-22T12:00:00Z.
    const NOW: i64 = 1_795_348_800_000;
    const PID: &str = "PID|1||1^^^A^MR||B";
    const APPLIES: &str = "CON|1|109^^HL70496||F1|||||||A||20261120";
    const UNKNOWN: &str = "CON|1|109^^HL70496||F1|||||||SIGNED||20261120";

    fn assessed(kind: &str, segments: &[&str]) -> Assessed {
        let header = format!("MSH|^~\\&|A|B|||20261122100000+0000||{kind}|1|P|2.7");
        let text = format!("{header}\r{}", segments.join("\r"));
        assess(&Bytes::from(text), &rules(), NOW)
    }

    fn admission(kind: &str, segments: &[&str]) -> Admission {
        assessed(kind, segments).admission.unwrap()
    }

    /// What is kept, one line each: whose, of which key, what.
    fn lines(given: &[Given]) -> Vec<String> {
        let said = |record: &crate::consent::Record| match &record.says {
            Says::Consent(consent) => consent.status.name(),
            Says::Closure(Turn::Begins) => "closes",
            Says::Closure(Turn::Ends) => "ends",
            Says::Restriction(_) => "restricts",
        };
        let line = |given: &Given| {
            let Given { subject, record } = given;
            format!(
                "{} {}/{} {}",
                subject.value.expose(),
                record.key.source,
                record.key.id,
                said(record)
            )
        };
        given.iter().map(line).collect()
    }

    fn places(admission: &Admission) -> Vec<String> {
        let shown = |stored: &Stored| format!("{} {}", stored.kind, stored.place);
        admission.content.events.iter().map(shown).collect()
    }

    #[test]
    fn a_document_gives_consent_events_alone_and_another_message_gives_them_beside_its_own() {
        let document = admission("MDM^T02", &[PID, "TXA|1", APPLIES, "CON|2|001|R||||||||R"]);
        assert_eq!(places(&document), ["consent.granted con1", "consent.denied con2"]);
        assert_eq!(
            lines(&document.consents),
            ["1 adt/F1 ends", "1 adt/F1 active", "1 adt/001 R rejected"]
        );
        let admitted = admission("ADT^A01", &[PID, "PV1|1|I", APPLIES]);
        assert_eq!(places(&admitted), ["patient.admitted pid1", "consent.granted con1"]);
        assert_eq!(lines(&admitted.consents), ["1 adt/F1 ends", "1 adt/F1 active"]);
        let scheduled = admission("SIU^S12", &[PID, APPLIES]);
        assert_eq!(places(&scheduled), ["consent.granted con1"]);
        let without = admission("MDM^T02", &[PID, "TXA|1"]);
        assert_eq!((without.status, without.consents.len()), (Status::Unsupported, 0));
    }

    #[test]
    fn a_type_that_no_row_maps_is_an_exception_and_closes_nothing() {
        let two = ["CON|1|001^^HL70496|R||||||||A", "CON|2|ZZ9^^L||F2|||||||A"];
        let admission = admission("MDM^T02", &[PID, two[0], two[1]]);
        let raised = admission.raised.unwrap();
        assert_eq!((raised.category, raised.place.as_str()), (Category::ConsentUnknown, "CON-2"));
        assert!(!raised.text.contains("001"), "{}", raised.text);
        assert_eq!(lines(&admission.consents), ["1 adt/001 R active", "1 adt/F2 active"]);
        assert_eq!(admission.status, Status::Admitted);
    }

    /// PROMISE-5
    #[test]
    fn a_consent_that_cannot_be_applied_closes_every_purpose_beside_an_exception() {
        for (con, place, closed) in [
            (UNKNOWN, "CON-11", "1 adt/F1 closes"),
            ("CON|1|109||F1|||||||\"\"", "CON-11", "1 adt/F1 closes"),
            ("CON|1|109||F1|||||||A~R", "CON-11", "1 adt/F1 closes"),
            ("CON|1|109||F1|||||||A||20260230", "CON-13", "1 adt/F1 closes"),
            ("CON|1|109||F1|||||||A|||never", "CON-14", "1 adt/F1 closes"),
            ("CON|1|109||F1|||||||A|||20261101|00000000", "CON-15", "1 adt/F1 closes"),
            ("CON|1|109~110||F1|||||||R", "CON-2", ""),
            ("CON|1|||F1~F2|||||||A", "CON-4", ""),
            ("CON|1||||||||||A", "CON-4", ""),
            ("CON", "CON-4", ""),
        ] {
            let admission = admission("MDM^T02", &[PID, con]);
            let raised = admission.raised.as_ref().unwrap();
            assert_eq!(raised.category, Category::ConsentUnknown, "{con}");
            if con != "CON" {
                assert_eq!(raised.place, place, "{con}");
            }
            assert_eq!(admission.status, Status::Admitted, "{con}");
            assert_eq!(places(&admission), ["consent.updated con1"]);
            let lines = lines(&admission.consents);
            assert_eq!(lines.len(), 1, "{con}");
            assert!(lines[0].starts_with("1 adt/") && lines[0].ends_with(" closes"), "{lines:?}");
            assert!(closed.is_empty() || lines == [closed], "{lines:?}");
        }
    }

    /// PROMISE-5
    #[test]
    fn a_message_that_bears_a_consent_and_gives_no_event_closes_and_is_taken() {
        let refused: &[(&str, &[&str], &[&str])] = &[
            // The results of an order have none.
            ("ORU^R01", &[PID, APPLIES], &["1 adt/F1 closes"]),
            ("ORU^R01", &[PID, "PD1||||||||||||Y"], &["1 adt/PD1-12 closes"]),
            ("ADT^Z60", &[PID, "ARV|1|A|HIV"], &["1 adt/ARV closes"]),
            ("ADT^Z60", &[PID, "PV2||||||||||||||||||||||Y"], &["1 adt/PV2-22 closes"]),
            (
                "ORU^R01",
                &[PID, APPLIES, "PID|2||2^^^A^MR||C", UNKNOWN, "PD1||||||||||||Y"],
                &[
                    "1 adt/F1 closes",
                    "2 adt/F1 closes",
                    "1 adt/PD1-12 closes",
                    "2 adt/PD1-12 closes",
                ],
            ),
        ];
        for (kind, segments, wanted) in refused {
            let Assessed { finding, admission, .. } = assessed(kind, segments);
            let admission = admission.unwrap();
            assert!(matches!(finding, Finding::Unmapped(_, OnUnmappable::Park)), "{kind}");
            assert_eq!(admission.status, Status::Parked);
            assert!(admission.correlated.is_some());
            assert_eq!(admission.raised.unwrap().category, Category::ConsentUnknown);
            assert_eq!(lines(&admission.consents), *wanted);
            assert_eq!(lines(&admission.on_conflict), *wanted);
        }
        for ends in ["PD1||||||||||||N", "PD1||||||||||||\"\"", "PD1|1", "ARV|1|D|HIV"] {
            let admission = admission("ADT^Z60", &[PID, ends]);
            assert_eq!((admission.status, admission.consents.len()), (Status::Unsupported, 0));
        }
        let many = vec![APPLIES; normalize::group::CONSENTS_MAX + 1].join("\r");
        let admission = admission("ADT^A01", &[PID, &many]);
        assert_eq!(lines(&admission.consents).len(), 1);
        assert_eq!(admission.raised.unwrap().category, Category::ConsentUnknown);
    }

    /// Its sender knows that it was not taken here.
    #[test]
    fn what_a_feed_rejects_is_not_taken_whatever_it_bears() {
        let text = format!("MSH|^~\\&|A|B|||2026||ADT^Z60|1|P|2.7\r{PID}\rPD1||||||||||||Y");
        let reject = Rules { on_unsupported: OnUnsupported::Reject, ..rules() };
        let Assessed { finding, admission, .. } = assess(&Bytes::from(text), &reject, NOW);
        let then = OnUnsupported::Reject;
        assert_eq!(finding, Finding::Unsupported { type_known: true, then });
        assert!(admission.is_none());
    }

    /// PROMISE-5
    #[test]
    fn a_consent_that_no_mapping_reads_closes() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["hl7", "tables"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            for entry in std::fs::read_dir(Path::new("mappings").join(folder)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name() != "consent.toml" {
                    let to = dir.path().join(folder).join(entry.file_name());
                    std::fs::copy(entry.path(), to).unwrap();
                }
            }
        }
        let problems = Problems::default();
        let mappings = Arc::new(normalize::load(dir.path(), &problems));
        assert!(problems.is_clean(), "{:?}", problems.mistakes());
        let without = Rules { mappings, ..rules() };
        for (kind, status) in [("ADT^A01", Status::Admitted), ("MDM^T02", Status::Parked)] {
            let header = format!("MSH|^~\\&|A|B|||2026||{kind}|1|P|2.7");
            let text = format!("{header}\r{PID}\r{APPLIES}");
            let admission = assess(&Bytes::from(text), &without, NOW).admission.unwrap();
            assert_eq!(admission.status, status, "{kind}");
            let kept = lines(&admission.consents);
            assert!(kept.len() == 1 && kept[0].ends_with("pid1 closes"), "{kept:?}");
            assert_eq!(admission.raised.unwrap().category, Category::ConsentUnknown);
        }
    }

    /// PROMISE-5
    #[test]
    fn whose_consent_cannot_be_read_is_refused_whatever_the_feed_says() {
        for segments in
            [&["PID|1||^^^A", APPLIES][..], &[APPLIES], &[PID, APPLIES, "PID|2", APPLIES]]
        {
            let text = format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.7\r{}", segments.join("\r"));
            let park = Rules { on_unmappable: OnUnmappable::Park, ..rules() };
            let Assessed { finding, admission, .. } = assess(&Bytes::from(text), &park, NOW);
            let spot = Spot { segment: "PID".to_owned(), field: 3 };
            let missing = Refusal::Missing { spot };
            assert_eq!(finding, Finding::Unmapped(missing, OnUnmappable::Nak), "{segments:?}");
            let admission = admission.unwrap();
            assert_eq!(admission.status, Status::Refused);
            assert!(admission.correlated.is_none() && admission.consents.is_empty());
        }
    }

    /// PROMISE-3, PROMISE-5: which of two is right nobody knows, so neither opens anything.
    #[test]
    fn in_a_conflict_a_consent_closes_what_it_is_about() {
        let admitted = admission("ADT^A01", &[PID, APPLIES, "PD1||||||||||||Y"]);
        assert_eq!(lines(&admitted.on_conflict), ["1 adt/PD1-12 closes", "1 adt/F1 closes"]);
        assert!(admission("ADT^A01", &[PID]).on_conflict.is_empty());
    }

    #[test]
    fn a_record_names_its_message_once_that_has_its_name() {
        let given = admission("MDM^T02", &[PID, APPLIES]).consents.remove(0);
        let correlation = Correlation::of("adt", []);
        assert_eq!(given.record.origin.message, format!("{correlation:?}"));
        let id = crate::admit::CorrelationId { correlation, epoch: 2 };
        assert_eq!(given.of(&id).record.origin.message, id.to_string());
    }
}
