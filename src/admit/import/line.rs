//! One line of an import: a decision of a patient.
//!
//! Promises: a field that is not known, or not as it should be, is a mistake; what is not dated is
//! one, since nobody could tell it from a newer decision.
//! Knows nothing of: other lines.

use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};

use super::Grounds;
use crate::admit::entry::Given;
use crate::consent::policy::Spoken;
use crate::consent::{
    Capacity, Consent, Decision, Key, Kind, Moment, Origin, PURPOSES, Policy, Presence, Purposes,
    Record, Says, Signer, Standin, Status,
};
use crate::document::hint;
use crate::event::{Subject, Tree};
use crate::phi::Phi;

/// Longest key, in bytes: as of those that come in by messages.
const KEY_BYTES_MAX: usize = 512;
const FIELDS: [&str; 20] = [
    "subject",
    "key",
    "version",
    "purposes",
    "codes",
    "decision",
    "status",
    "kind",
    "decidedAt",
    "effectiveFrom",
    "effectiveTo",
    "grantee",
    "channels",
    "jurisdiction",
    "labels",
    "signer",
    "form",
    "document",
    "limitations",
    "bypass",
];
const SUBJECT: [&str; 2] = ["authority", "value"];
const KEY: [&str; 2] = ["source", "id"];
const SIGNER: [&str; 5] = ["named", "relationship", "capacity", "standin", "born"];

/// The record of a line.
pub(super) fn read(raw: &[u8], grounds: &Grounds<'_>) -> Result<Given, Vec<String>> {
    let wrong = |text: &str| vec![text.to_owned()];
    // What the reader of JSON says may hold a value.
    let Ok(json) = serde_json::from_slice::<Json>(raw) else {
        return Err(wrong("it is not JSON; one object a line is wanted, in UTF-8"));
    };
    let Json::Object(object) = json else { return Err(wrong("it is no JSON object")) };
    let mut line = Line { mistakes: Vec::new() };
    let given = line.given(&object, grounds);
    match given {
        Some(given) if line.mistakes.is_empty() => Ok(given),
        _ => Err(line.mistakes),
    }
}

struct Line {
    mistakes: Vec<String>,
}

impl Line {
    fn given(&mut self, object: &Map<String, Json>, grounds: &Grounds<'_>) -> Option<Given> {
        self.known(object, "", &FIELDS);
        let subject = self.subject(object, grounds);
        let key = self.key(object);
        let purposes = self.purposes(object, grounds);
        let decision = self.word(
            object,
            "decision",
            &[("permit", Decision::Permit), ("deny", Decision::Deny)],
        );
        let statuses = Status::ALL.map(|status| (status.name(), status));
        let statuses: Vec<_> =
            statuses.into_iter().filter(|(_, it)| *it != Status::Unknown).collect();
        let status = self.word(object, "status", &statuses);
        let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
        let kind = if object.contains_key("kind") {
            self.word(object, "kind", &kinds)
        } else {
            Some(Kind::Permission)
        };
        if let (Some(Decision::Permit), Some(status @ (Status::Rejected | Status::Revoked))) =
            (decision, status)
        {
            self.mistake(&format!("`decision` of what is {} is \"deny\"", status.name()));
        }
        let decided_at = self.date(object, "decidedAt", grounds.zone);
        let denies = |code: &String| spoken_of(grounds.policy, code).is_some_and(|row| row.denies);
        if decision == Some(Decision::Permit) && self.texts(object, "codes").iter().any(denies) {
            self.mistake("`codes` holds one that refuses by its row: `decision` is \"deny\"");
        }
        match &decided_at {
            None if !object.contains_key("decidedAt") => {
                self.mistake(
                    "`decidedAt` is missing: when the patient decided, such as \"2026-01-05\"",
                );
            }
            Some(at) if at.span().earliest > grounds.now => {
                self.mistake("`decidedAt` is in the future");
            }
            _ => {}
        }
        let effective_from = self.date(object, "effectiveFrom", grounds.zone);
        let effective_to = self.date(object, "effectiveTo", grounds.zone);
        if let (Some(from), Some(to)) = (&effective_from, &effective_to)
            && to.span().latest < from.span().earliest
        {
            self.mistake("`effectiveTo` is before `effectiveFrom`");
        }
        let jurisdiction = self.text(object, "jurisdiction");
        if jurisdiction.as_ref().is_some_and(|code| !is_iso_3166(code)) {
            self.mistake("`jurisdiction` is of ISO 3166, such as \"US\" or \"US-CA\"");
        }
        let consent = Consent {
            purposes: purposes?,
            channels: self.texts(object, "channels"),
            grantee: self.text(object, "grantee"),
            jurisdiction,
            labels: self.labels(object, grounds.policy),
            classes: Vec::new(),
            decision: decision?,
            status: status?,
            kind: kind?,
            signer: self.signer(object, grounds.zone),
            bypass: self.text(object, "bypass"),
            limitations: self.text(object, "limitations").map(Phi::new),
            within: None,
            exceptions: Vec::new(),
            by_exception: None,
        };
        let origin = Origin {
            feed: super::FEED.to_owned(),
            message: String::new(),
            form: self.text(object, "form"),
            document: self.text(object, "document"),
            withdraws: None,
        };
        let record = Record {
            key: key?,
            version: self.text(object, "version"),
            decided_at,
            effective_from,
            effective_to,
            recorded_at: grounds.now,
            origin,
            says: Says::Consent(Box::new(consent)),
        };
        Some(Given { subject: subject?, record })
    }

    /// The subject under the name of its authority that messages have, too.
    fn subject(&mut self, object: &Map<String, Json>, grounds: &Grounds<'_>) -> Option<Subject> {
        let inner = self.object(object, "subject", &SUBJECT);
        let Some(inner) = inner else {
            if !object.contains_key("subject") {
                self.mistake("`subject` is missing: {\"authority\": …, \"value\": …}");
            }
            return None;
        };
        let [authority, value] = SUBJECT.map(|field| self.required(inner, "subject", field));
        let (authority, value) = (authority?, value?);
        let mut tree = Tree::new();
        let patient = tree.open_object("patient");
        let list = tree.open_list("identifiers");
        let identifier = tree.open_object("");
        tree.text("value", &value);
        tree.text("authority", &authority);
        tree.close(identifier);
        tree.close(list);
        tree.close(patient);
        grounds.identity.subject(tree.root(), "")
    }

    fn key(&mut self, object: &Map<String, Json>) -> Option<Key> {
        let Some(inner) = self.object(object, "key", &KEY) else {
            if !object.contains_key("key") {
                self.mistake("`key` is missing: {\"source\": …, \"id\": …}, as messages name it");
            }
            return None;
        };
        let [source, id] = KEY.map(|field| self.required(inner, "key", field));
        let key = Key { source: source?, id: id? };
        if key.source.len() + key.id.len() > KEY_BYTES_MAX {
            self.mistake(&format!("`key` has more than {KEY_BYTES_MAX} bytes"));
            return None;
        }
        Some(key)
    }

    fn purposes(&mut self, object: &Map<String, Json>, grounds: &Grounds<'_>) -> Option<Purposes> {
        match (object.get("purposes"), object.contains_key("codes")) {
            (Some(_), true) => {
                self.mistake("`purposes` and `codes` exclude each other");
                None
            }
            (None, false) => {
                self.mistake("`purposes` is missing; a list of them, or \"every\", or `codes`");
                None
            }
            (Some(Json::String(word)), false) if word == "every" => Some(Purposes::Every),
            (Some(_), false) => {
                let named = self.texts(object, "purposes");
                for purpose in &named {
                    if !PURPOSES.contains(&purpose.as_str()) {
                        let hint = hint(purpose, &PURPOSES);
                        self.mistake(&format!("`purposes` holds no HL7 v3 PurposeOfUse{hint}"));
                    }
                }
                Some(Purposes::These(named))
            }
            (None, true) => {
                let mut purposes = Vec::new();
                for code in self.texts(object, "codes") {
                    match spoken_of(grounds.policy, &code) {
                        Some(known) => purposes.extend_from_slice(&known.purposes),
                        None => self.mistake(
                            "`codes` holds one that no row of [codes] of consent.toml maps; it is \
                             \"SYSTEM/CODE\"",
                        ),
                    }
                }
                purposes.sort();
                purposes.dedup();
                Some(Purposes::These(purposes))
            }
        }
    }

    /// Its own, and those of its codes where all of these have the same: what one of them opens is
    /// not opened for the purposes of another.
    fn labels(&mut self, object: &Map<String, Json>, policy: &Policy) -> Vec<String> {
        let mut labels = self.texts(object, "labels");
        let codes = self.texts(object, "codes");
        let mut rows = codes.iter().filter_map(|code| spoken_of(policy, code));
        if let Some(first) = rows.next()
            && rows.all(|row| row.labels == first.labels)
        {
            labels.extend_from_slice(&first.labels);
        }
        labels.sort();
        labels.dedup();
        labels
    }

    fn signer(&mut self, object: &Map<String, Json>, zone: &TimeZone) -> Signer {
        let Some(inner) = self.object(object, "signer", &SIGNER) else { return Signer::default() };
        let consenter = match inner.get("named") {
            None | Some(Json::Bool(false)) => Presence::Absent,
            Some(Json::Bool(true)) => Presence::Named,
            Some(_) => {
                self.mistake(
                    "`signer.named` is true where somebody else than the patient consented",
                );
                Presence::Absent
            }
        };
        let capacities = [("Y", Capacity::Competent), ("N", Capacity::Incompetent)];
        let capacity = inner
            .contains_key("capacity")
            .then(|| self.word(inner, "capacity", &capacities))
            .flatten()
            .unwrap_or_default();
        let standins = [
            ("MIN", Standin::Minor),
            ("NC", Standin::NotCompetent),
            ("LM", Standin::LegallyMandated),
        ];
        let standin = match inner.contains_key("standin") {
            true => self.word(inner, "standin", &standins),
            false => (consenter == Presence::Named).then_some(Standin::Unstated),
        };
        let born = self.date(inner, "born", zone);
        let relationship = self.text(inner, "relationship");
        Signer { consenter, relationship, capacity, standin, born }
    }

    fn known(&mut self, object: &Map<String, Json>, within: &str, fields: &[&str]) {
        for name in object.keys().filter(|name| !fields.contains(&name.as_str())) {
            let hint = hint(name, fields);
            // Its name may be anything, where a table was turned round.
            self.mistake(&format!("{within}a field is not known{hint}"));
        }
    }

    fn object<'j>(
        &mut self,
        object: &'j Map<String, Json>,
        field: &str,
        fields: &[&str],
    ) -> Option<&'j Map<String, Json>> {
        match object.get(field)? {
            Json::Object(inner) => {
                self.known(inner, &format!("`{field}`: "), fields);
                Some(inner)
            }
            _ => {
                self.mistake(&format!("`{field}` is an object with {}", fields.join(", ")));
                None
            }
        }
    }

    fn required(
        &mut self,
        object: &Map<String, Json>,
        within: &str,
        field: &str,
    ) -> Option<String> {
        let text = object.get(field).and_then(Json::as_str).map(str::trim);
        let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
        if text.is_none() {
            self.mistake(&format!("`{within}.{field}` is a text that is not empty"));
        }
        text
    }

    /// Text, or a number as it is written, as versions often are.
    fn text(&mut self, object: &Map<String, Json>, field: &str) -> Option<String> {
        match object.get(field)? {
            Json::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Json::Number(number) if field == "version" => Some(number.to_string()),
            _ => {
                self.mistake(&format!("`{field}` is a text that is not empty"));
                None
            }
        }
    }

    fn texts(&mut self, object: &Map<String, Json>, field: &str) -> Vec<String> {
        let Some(value) = object.get(field) else { return Vec::new() };
        let texts: Option<Vec<String>> = value
            .as_array()
            .and_then(|list| list.iter().map(|it| it.as_str().map(str::to_owned)).collect());
        texts.unwrap_or_else(|| {
            self.mistake(&format!("`{field}` is a list of texts"));
            Vec::new()
        })
    }

    fn word<T: Copy>(
        &mut self,
        object: &Map<String, Json>,
        field: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = object.get(field).and_then(Json::as_str);
        let found = words.iter().find(|(word, _)| Some(*word) == text).map(|(_, meant)| *meant);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.mistake(&format!("`{field}` is one of {}", words.join(", ")));
        }
        found
    }

    fn date(&mut self, object: &Map<String, Json>, field: &str, zone: &TimeZone) -> Option<Moment> {
        let value = object.get(field)?;
        let moment = value.as_str().and_then(|text| Moment::read(text.trim(), zone));
        if moment.is_none() {
            self.mistake(&format!(
                "`{field}` is a date or time, such as \"2027-06-30\" or \"2027-06-30T08:15-08:00\""
            ));
        }
        moment
    }

    fn mistake(&mut self, text: &str) {
        if !self.mistakes.iter().any(|known| known == text) {
            self.mistakes.push(text.to_owned());
        }
    }
}

/// What the row of a code, "SYSTEM/CODE", says.
fn spoken_of<'p>(policy: &'p Policy, code: &str) -> Option<&'p Spoken> {
    code.rsplit_once('/').and_then(|(system, code)| policy.spoken_of(system, code))
}

fn is_iso_3166(code: &str) -> bool {
    let upper =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let (country, part) = code.split_once('-').map_or((code, None), |(it, part)| (it, Some(part)));
    country.len() == 2
        && upper(country)
        && part.is_none_or(|part| (1..=3).contains(&part.len()) && upper(part))
}
