//! A consent event to the record that the ledger keeps of it, or why there is none.
//!
//! Promises: a purpose comes from consent.toml alone; what cannot be read, or has no word that is
//! known, is no record but a closure of every purpose, and says by which field; the event as it
//! leaves says what the record says.
//! Knows nothing of: segments; what it reads are the fields of [`crate::event::consent`], of which
//! one is a FHIR Consent as it came. It does not know what the ledger holds either.
//!
//! Reading order: what comes in and goes out, here; `terms` (what was decided), `signer` (by
//! whom), `directive` and `provision` (both, of a FHIR Consent), [`told`] (the event, as the record has it), `protection` (PD1-12 and its like).

mod signer;
mod provision;
mod directive;
mod terms;
pub mod told;
mod protection;

pub use directive::{DIRECTIVE_BYTES_MAX, element_of};
pub use protection::{Protection, protection};

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use directive::Directive;

use super::decision::Status;
use super::moment::Moment;
use super::policy::Policy;
use super::record::{Key, Origin, Record, Says, Turn};
use crate::event::View;

/// Longest ID of a record, in bytes. EI.1 has at most 427 characters (chapter 2A); what is longer
/// is no number of a form, and would stand in every answer.
const ID_BYTES_MAX: usize = 512;
/// The field that holds a FHIR Consent as it came.
pub(crate) const SOURCE_FIELD: &str = "consent.directive";

/// What a consent event does not say of itself.
#[derive(Clone, Copy, Debug)]
pub struct Carrier<'c> {
    /// The feed, or `import`.
    pub feed: &'c str,
    /// Whose words `[status.SITE]` has.
    pub site: Option<&'c str>,
    /// What names the message.
    pub message: &'c str,
    /// Where it stands in the message, such as `con2`.
    pub place: &'c str,
    /// The zone of dates that state none, where the message states none either.
    pub zone: Option<&'c TimeZone>,
    /// When it arrived.
    pub recorded_at: Timestamp,
}

/// What is not as it should be with a consent, and in which field of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Nothing names it: neither a number nor type and form.
    Unnamed,
    /// A field that decides cannot be read, or has several values where one is meant.
    Unreadable(&'static str),
    /// A word that decides is not known, or not there.
    UnknownWord(&'static str),
    /// It was decided in the future. It is kept, and denies until then.
    Future(&'static str),
    /// No row of `[codes]` maps its type. It is kept, and speaks about no purpose.
    UnmappedType,
}

impl Doubt {
    /// Whether the consent could not be applied, which closes every purpose.
    #[must_use]
    pub const fn closes(self) -> bool {
        match self {
            Self::Unnamed | Self::Unreadable(_) | Self::UnknownWord(_) => true,
            Self::Future(_) | Self::UnmappedType => false,
        }
    }

    /// The field of the event that is in doubt.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Unnamed => "consent.identifier",
            Self::Unreadable(field) | Self::UnknownWord(field) | Self::Future(field) => field,
            Self::UnmappedType => "consent.type",
        }
    }

    /// What is wrong, behind the name of the field.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unnamed => "is empty, and so are type and form: nothing names the consent",
            Self::Unreadable(_) => "decides and cannot be read: every purpose is closed",
            Self::UnknownWord(_) => "holds no word that is known: every purpose is closed",
            Self::Future(_) => "is in the future: it denies until then",
            Self::UnmappedType => {
                "has no row in [codes] of consent.toml: it speaks about no purpose"
            }
        }
    }
}

/// The record of a consent event, with what a human should see of it. `doubtful` names fields whose
/// values are not what the sender said.
///
/// # Errors
/// Why it cannot be applied.
// PROMISE-5: what is not certain is no record, so that it opens nothing.
pub fn intake(
    data: View<'_>,
    doubtful: &[String],
    carrier: &Carrier<'_>,
    policy: &Policy,
) -> Result<(Record, Option<Doubt>), Doubt> {
    if let Some(field) =
        terms::DECIDING.into_iter().find(|field| doubtful.iter().any(|it| it == field))
    {
        return Err(Doubt::Unreadable(field));
    }
    let directive = Directive::of(data)?;
    let key = key(data, carrier).ok_or(Doubt::Unnamed)?;
    let terms = terms::read(data, directive.as_ref(), carrier, policy)?;
    let version = match &directive {
        Some(directive) => directive.version(),
        None => said(data, "consent.version").map(str::to_owned),
    };
    let record = Record {
        key,
        version,
        decided_at: terms.decided_at,
        effective_from: terms.effective_from,
        effective_to: terms.effective_to,
        recorded_at: carrier.recorded_at,
        origin: origin(data, carrier),
        says: Says::Consent(Box::new(terms.consent)),
    };
    Ok((record, terms.doubt))
}

/// What the versions of a consent have in common: its number and who gives it out, else the feed;
/// without a number the feed with type and form. Of a FHIR Consent the feed and the resource's ID:
/// its identifiers may be those of a form that several share. Nothing where none of these can be
/// read.
#[must_use]
pub fn key(data: View<'_>, carrier: &Carrier<'_>) -> Option<Key> {
    let of_feed = || carrier.feed.to_owned();
    if let Some(id) = Directive::of(data).ok().flatten().and_then(|it| it.id()) {
        return Some(Key { source: of_feed(), id }).filter(|key| key.id.len() <= ID_BYTES_MAX);
    }
    let number = said(data, "consent.identifier.value");
    let key = if let Some(number) = number {
        let authority = said(data, "consent.identifier.authority")
            .or_else(|| said(data, "consent.identifier.authorityId"));
        let source = authority.map_or_else(of_feed, str::to_owned);
        Key { source, id: number.to_owned() }
    } else {
        let kind = ["consent.type.code", "consent.type.display"];
        let kind = kind.into_iter().find_map(|path| said(data, path));
        let form = said(data, "consent.form");
        let id = match (kind, form) {
            (None, None) => return None,
            (Some(part), None) | (None, Some(part)) => part.to_owned(),
            (Some(kind), Some(form)) => format!("{kind} {form}"),
        };
        Key { source: of_feed(), id }
    };
    Some(key).filter(|key| key.source.len() + key.id.len() <= ID_BYTES_MAX)
}

/// The beginning of a closure, for what could not be applied, or its end, for what was after all.
/// It is decided on arrival. Of one key the message that was sent last counts, so that an older
/// one that is late does not open what a newer one closed; of the same second the later arrival.
#[must_use]
pub fn closure(key: Key, turn: Turn, data: View<'_>, carrier: &Carrier<'_>) -> Record {
    let sent_at = sent_at(data, &zone(data, carrier));
    Record {
        key,
        version: sent_at.map(|at| closure_version(at.span().earliest)),
        decided_at: None,
        effective_from: None,
        effective_to: None,
        recorded_at: carrier.recorded_at,
        origin: origin(data, carrier),
        says: Says::Closure(turn),
    }
}

/// The version of a closure, or of the end of one, by when what it is of was sent or written.
#[must_use]
pub fn closure_version(at: Timestamp) -> String {
    at.strftime("%Y%m%d%H%M%S").to_string()
}

/// Whether a record ends a closure of its key: it is a decision, and nothing of it is in doubt.
#[must_use]
pub fn ends_closure(record: &Record, doubt: Option<Doubt>) -> bool {
    let decides = record.consent().is_some_and(|consent| match consent.status {
        Status::Active
        | Status::Rejected
        | Status::Revoked
        | Status::Inactive
        | Status::EnteredInError => true,
        Status::Proposed | Status::Bypassed | Status::Unknown => false,
    });
    decides && doubt.is_none()
}

fn origin(data: View<'_>, carrier: &Carrier<'_>) -> Origin {
    let text = |path| said(data, path).map(str::to_owned);
    let document = text("consent.document");
    // A number that a document shares with the one it replaces tells the two apart no more.
    let retracts = said(data, "consent.status.code") == Some(Status::EnteredInError.name());
    let withdraws =
        text("consent.withdraws").filter(|it| retracts || document.as_ref() != Some(it));
    Origin {
        feed: carrier.feed.to_owned(),
        message: carrier.message.to_owned(),
        form: text("consent.form"),
        document,
        withdraws,
    }
}

/// The text of a field that says something.
fn said<'v>(data: View<'v>, path: &str) -> Option<&'v str> {
    data.at(path)?.as_text().map(str::trim).filter(|text| !text.is_empty())
}

fn moment(data: View<'_>, path: &str, zone: &TimeZone) -> Option<Moment> {
    Moment::read(said(data, path)?, zone)
}

/// When it was sent; of a FHIR Consent, when this version was written.
fn sent_at(data: View<'_>, zone: &TimeZone) -> Option<Moment> {
    let written = || Directive::of(data).ok().flatten()?.written();
    moment(data, "message.sentAt", zone).or_else(written)
}

/// The zone of dates: the feed's, else the offset of the message's own time, else UTC.
fn zone(data: View<'_>, carrier: &Carrier<'_>) -> TimeZone {
    let of_message = || {
        let sent_at = moment(data, "message.sentAt", &TimeZone::UTC)?;
        let minutes = sent_at.given().offset_minutes()?;
        Offset::from_seconds(i32::from(minutes) * 60).ok().map(TimeZone::fixed)
    };
    carrier.zone.cloned().or_else(of_message).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::consent::{Capacity, Consent, Decision, Kind, Presence, Purposes, Standin};
    use crate::document::{Document, Problems};
    use crate::event::{EventType, Tree};

    const POLICY: &str = r#"
[codes]
"HL70496/109" = ["CLINTRCH"]
"HL70496/110" = ["HMARKT"]
"L/ZZHIE" = ["COC"]
[status.example]
SIGNED = "active"
"#;

    fn policy() -> Policy {
        let problems = Problems::default();
        let policy = Policy::of(&Document::from_text("p", Path::new("."), POLICY), &problems);
        assert!(problems.is_clean());
        policy
    }

    fn carrier(recorded_at: &str) -> Carrier<'static> {
        Carrier {
            feed: "adt",
            site: Some("example"),
            message: "m1",
            place: "con1",
            zone: None,
            recorded_at: recorded_at.parse().unwrap(),
        }
    }

    /// An event with an active consent of type 109, but for what is given.
    fn event(consent: Json) -> Tree {
        let mut all = json!({
            "identifier": { "value": "F1" },
            "type": { "code": "109", "system": "HL70496" },
            "status": { "source": "A" },
            "decidedAt": "2026-11-20",
        });
        for (key, value) in consent.as_object().unwrap() {
            all[key] = value.clone();
        }
        let message = json!({ "sentAt": "2026-11-21T08:15:00-08:00" });
        let patient = json!({ "birthDate": "2012-03-04" });
        let data = json!({ "message": message, "patient": patient, "consent": all });
        serde_json::from_str(&data.to_string()).unwrap()
    }

    fn read(consent: Json) -> Result<(Record, Option<Doubt>), Doubt> {
        let at = carrier("2026-11-22T12:00:00Z");
        intake(event(consent).root(), &[], &at, &policy())
    }

    fn applied(consent: Json) -> (Record, Consent, Option<Doubt>) {
        let (record, doubt) = read(consent).unwrap();
        let consent = record.consent().unwrap().clone();
        (record, consent, doubt)
    }

    #[test]
    fn a_consent_is_the_record_of_what_it_says() {
        let (record, consent, doubt) = applied(json!({
            "form": "R-2", "document": "D1", "effectiveTo": "2027-11-19",
            "limitations": "not on paper", "bypass": "E",
        }));
        assert_eq!((record.key.source.as_str(), record.key.id.as_str()), ("adt", "F1"));
        let [decided, to] = [record.decided_at, record.effective_to]
            .map(|at| at.unwrap().span().latest.to_string());
        // Days of the message's offset, where the feed has no zone.
        assert_eq!(decided, "2026-11-21T07:59:59.999999Z");
        assert_eq!(to, "2027-11-20T07:59:59.999999Z");
        assert_eq!((record.effective_from, doubt), (None, None));
        assert_eq!(record.origin.form.as_deref(), Some("R-2"));
        assert_eq!(record.origin.document.as_deref(), Some("D1"));
        assert_eq!(consent.purposes, Purposes::These(vec!["CLINTRCH".to_owned()]));
        assert_eq!((consent.decision, consent.status), (Decision::Permit, Status::Active));
        assert_eq!(consent.kind, Kind::Permission);
        assert_eq!(consent.limitations.unwrap().expose(), "not on paper");
        assert_eq!(consent.bypass.as_deref(), Some("E"));
    }

    #[test]
    fn it_is_named_by_its_number_else_by_type_and_form() {
        let none = Json::Null;
        for (consent, wanted) in [
            (
                json!({ "identifier": { "value": "F1", "authority": "LEGAL" } }),
                Some(("LEGAL", "F1")),
            ),
            (json!({ "identifier": none, "form": "R-2" }), Some(("adt", "109 R-2"))),
            (json!({ "identifier": { "authority": "LEGAL" } }), Some(("adt", "109"))),
            (json!({ "identifier": none, "type": none, "form": "R-2" }), Some(("adt", "R-2"))),
            (json!({ "identifier": none, "type": { "display": "X" } }), Some(("adt", "X"))),
            (json!({ "identifier": none, "type": none }), None),
            (json!({ "identifier": { "value": "x".repeat(ID_BYTES_MAX) } }), None),
        ] {
            let found = key(event(consent.clone()).root(), &carrier("2026-11-22T12:00:00Z"));
            let found = found.as_ref().map(|key| (key.source.as_str(), key.id.as_str()));
            assert_eq!(found, wanted, "{consent}");
        }
        assert_eq!(read(json!({ "identifier": none, "type": none })).err(), Some(Doubt::Unnamed));
    }

    #[test]
    fn the_type_of_the_event_follows_the_decision() {
        for (word, kind, decision) in [
            ("A", EventType::ConsentGranted, Some("permit")),
            ("L", EventType::ConsentGranted, Some("permit")),
            ("SIGNED", EventType::ConsentGranted, Some("permit")),
            ("R", EventType::ConsentDenied, Some("deny")),
            ("X", EventType::ConsentRevoked, Some("deny")),
            ("P", EventType::ConsentUpdated, None),
            ("B", EventType::ConsentUpdated, None),
        ] {
            let data = event(json!({ "status": { "source": word } }));
            let at = carrier("2026-11-22T12:00:00Z");
            let (record, _) = intake(data.root(), &[], &at, &policy()).unwrap();
            assert_eq!(told::kind(&record), kind, "{word}");
            let told = told::tell(&data, &record);
            let text = |path| told.root().at(path).and_then(|found| found.as_text());
            assert_eq!(text("consent.decision"), decision, "{word}");
            assert_eq!(text("consent.key"), Some("adt/F1"));
            assert_eq!(text("consent.purposes[0]"), Some("CLINTRCH"));
            assert_eq!(text("consent.status.source"), Some(word));
            assert_eq!(text("consent.status.code"), Some(record.consent().unwrap().status.name()));
            assert_eq!(text("patient.birthDate"), Some("2012-03-04"));
        }
        let (record, ..) = applied(json!({ "status": { "code": "entered-in-error" } }));
        assert_eq!(told::kind(&record), EventType::ConsentRetracted);
    }

    /// PROMISE-5
    #[test]
    fn a_word_that_is_not_known_or_not_there_is_no_record() {
        let status = Doubt::UnknownWord("consent.status");
        for (consent, doubt) in [
            (json!({ "status": { "source": "GEWEIGERD" } }), status),
            (json!({ "status": { "source": "signed" } }), status),
            (json!({ "status": { "source": "active", "code": "active" } }), status),
            (json!({ "status": Json::Null }), status),
            (json!({ "status": { "code": "unknown" } }), status),
            (json!({ "capacity": "?" }), Doubt::UnknownWord("consent.capacity")),
            (json!({ "kind": "whim" }), Doubt::UnknownWord("consent.kind")),
        ] {
            assert_eq!(read(consent.clone()).err(), Some(doubt), "{consent}");
            assert!(doubt.closes());
        }
    }

    /// PROMISE-5
    #[test]
    fn a_field_that_decides_and_cannot_be_read_is_no_record() {
        let at = carrier("2026-11-22T12:00:00Z");
        for (field, closes) in [
            ("consent.effectiveTo", true),
            ("consent.decidedAt", true),
            ("consent.type", true),
            ("consent.limitations", false),
            ("patient.birthDate", false),
        ] {
            let read = intake(event(json!({})).root(), &[field.to_owned()], &at, &policy());
            assert_eq!(read.is_err(), closes, "{field}");
        }
    }

    #[test]
    fn a_type_that_no_row_maps_is_kept_and_speaks_about_no_purpose() {
        for kind in
            [json!({ "code": "001", "system": "HL70496" }), json!({ "code": "109", "system": "L" })]
        {
            let (record, consent, doubt) = applied(json!({ "type": kind }));
            assert_eq!(consent.purposes, Purposes::These(Vec::new()));
            assert_eq!(doubt, Some(Doubt::UnmappedType));
            assert!(!Doubt::UnmappedType.closes() && !ends_closure(&record, doubt));
        }
        for kind in [
            json!({ "code": "109" }),
            json!({ "code": "77", "system": "L", "alternate": { "code": "109", "system": "HL70496" } }),
        ] {
            let (_, consent, doubt) = applied(json!({ "type": kind }));
            assert_eq!(consent.purposes, Purposes::These(vec!["CLINTRCH".to_owned()]));
            assert_eq!(doubt, None);
        }
    }

    #[test]
    fn a_request_to_restrict_is_a_deny() {
        let (record, consent, _) =
            applied(json!({ "type": { "code": "110", "system": "HL70496" } }));
        assert_eq!((consent.decision, consent.status), (Decision::Deny, Status::Active));
        assert_eq!(told::kind(&record), EventType::ConsentDenied);
    }

    #[test]
    fn when_it_was_decided_falls_back_to_what_is_not_later() {
        let given = |consent| applied(consent).0.decided_at.map(|at| at.given().to_string());
        let none = Json::Null;
        assert_eq!(given(json!({})).as_deref(), Some("2026-11-20"));
        let from = |from: &str| json!({ "decidedAt": none, "effectiveFrom": from });
        assert_eq!(given(from("2026-11-01")).as_deref(), Some("2026-11-01"));
        assert_eq!(given(from("2026-12-01")).as_deref(), Some("2026-11-21T08:15:00-08:00"));
        assert_eq!(
            given(json!({ "decidedAt": none })).as_deref(),
            Some("2026-11-21T08:15:00-08:00")
        );
        let (_, _, doubt) = applied(json!({ "decidedAt": "2026-11-30" }));
        assert_eq!(doubt, Some(Doubt::Future("consent.decidedAt")));
    }

    #[test]
    fn who_signed_is_what_rule_six_asks_about() {
        let signed = |consent| applied(consent).1.signer;
        let name = json!({ "name": { "family": "ZZQUILLON" } });
        let minor = signed(json!({ "signer": name, "standin": "MIN", "relationship": "2" }));
        assert_eq!((minor.consenter, minor.standin), (Presence::Named, Some(Standin::Minor)));
        assert_eq!(minor.born.unwrap().given().to_string(), "2012-03-04");
        let own = signed(json!({ "signer": name, "relationship": "1", "capacity": "N" }));
        assert_eq!((own.consenter, own.standin), (Presence::Absent, None));
        assert_eq!((own.capacity, own.born), (Capacity::Incompetent, None));
        let other = signed(json!({ "signer": name, "relationship": "4", "capacity": "Y" }));
        assert_eq!((other.consenter, other.standin), (Presence::Named, Some(Standin::Unstated)));
        let nobody = signed(json!({ "standin": "NC" }));
        assert_eq!(
            (nobody.consenter, nobody.standin),
            (Presence::Absent, Some(Standin::NotCompetent))
        );
    }
}
