//! A file of decisions to journal entries, so that the ledger is filled before the first day.
//!
//! Promises: every line is checked before anything is kept, and every mistake is told at once, by
//! line and field and never by value; the same file gives the same entries.
//! Knows nothing of: whether a daemon runs, and what the ledger holds.
//!
//! One JSON object a line, see docs/consent.md. `line` reads one of them.

mod line;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::consent::Policy;
use crate::consent::intake::told;

use super::entry::{Admission, Content, Correlated, Given, Status, Stored, SubjectValue};
use super::{Correlation, DigestKey, Identity, Windows};

/// The feed of what was imported.
pub const FEED: &str = crate::consent::record::IMPORT;
/// The type of its entries.
const KIND: &str = "IMPORT";
/// Longest line, in bytes: some fifty times one with every field.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most lines of one file. All of it is in memory until it is known to be right.
const LINES_MAX: usize = 200_000;
/// Most bytes of one file.
pub const FILE_BYTES_MAX: usize = 128 << 20;
/// Most records of one entry: half of what a message may give, since a route holds as many events.
const RECORDS_MAX: usize = 500;
/// Most mistakes that are told of one file.
const MISTAKES_MAX: usize = 100;

/// What lines are read by.
#[derive(Debug)]
pub struct Grounds<'g> {
    /// What codes mean here.
    pub policy: &'g Policy,
    /// The names of authorities.
    pub identity: &'g Identity,
    /// The zone of dates that state none.
    pub zone: &'g TimeZone,
    /// The key of digests.
    pub digests: &'g DigestKey,
    /// When it is imported.
    pub now: Timestamp,
}

/// What is wrong with a line, and what would be right. Fields, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; 0: the whole file.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

/// A file that is right.
#[derive(Debug)]
pub struct Import {
    /// Its entries, for one transaction each.
    pub admissions: Vec<Admission>,
    /// How many records there are.
    pub records: usize,
}

/// Reads a file whole.
///
/// # Errors
/// Every mistake, or the first hundred.
pub fn import(file: &Bytes, grounds: &Grounds<'_>) -> Result<Import, Vec<Mistake>> {
    let whole = |text: String| vec![Mistake { line: 0, text }];
    if file.len() > FILE_BYTES_MAX {
        return Err(whole(format!("it has more than {} MiB; divide it", FILE_BYTES_MAX >> 20)));
    }
    let mut mistakes = Vec::new();
    let mut import = Import { admissions: Vec::new(), records: 0 };
    let mut batch = Vec::new();
    let mut start = 0;
    let mut end = 0;
    for (number, raw) in (1..).zip(file.split_inclusive(|byte| *byte == b'\n')) {
        end += raw.len();
        if number > LINES_MAX {
            return Err(whole(format!("it has more than {LINES_MAX} lines; divide it")));
        }
        if raw.trim_ascii().is_empty() {
            continue;
        }
        if raw.len() > LINE_BYTES_MAX {
            let text = format!("the line has more than {LINE_BYTES_MAX} bytes");
            mistakes.push(Mistake { line: number, text });
            continue;
        }
        match line::read(raw, grounds) {
            Ok(given) => batch.push(given),
            Err(texts) => {
                mistakes.extend(texts.into_iter().map(|text| Mistake { line: number, text }));
            }
        }
        if batch.len() >= RECORDS_MAX {
            import.take(std::mem::take(&mut batch), file.slice(start..end), grounds);
            start = end;
        }
        if mistakes.len() >= MISTAKES_MAX {
            break;
        }
    }
    if !batch.is_empty() {
        import.take(batch, file.slice(start..end), grounds);
    }
    if mistakes.is_empty() && import.records == 0 {
        return Err(whole("it has no line; one JSON object a line is wanted".to_owned()));
    }
    mistakes.truncate(MISTAKES_MAX);
    if mistakes.is_empty() { Ok(import) } else { Err(mistakes) }
}

impl Import {
    /// Adds an entry with the lines that it was made of.
    fn take(&mut self, consents: Vec<Given>, raw: Bytes, grounds: &Grounds<'_>) {
        self.records += consents.len();
        let content = grounds.digests.bytes(&raw);
        // PROMISE-2: the same lines are the same entry.
        let correlation = Correlation::of("tidegate import", [format!("{content:?}").as_str()]);
        let events = (1..).zip(&consents).map(|(number, given): (usize, _)| {
            let Given { subject, record } = given;
            Stored {
                kind: told::kind(record),
                place: format!("con{number}"),
                authority: subject.authority.clone(),
                value: SubjectValue(subject.value.clone()),
                prior: None,
                visit: None,
                data: Arc::new(told::tell_record(record)),
            }
        });
        let content_of = Content { events: events.collect(), ..Content::default() };
        let forever = std::time::Duration::MAX;
        let windows = Windows { dedupe_retention: forever, control_id_reuse: forever };
        let at = grounds.now.as_millisecond();
        self.admissions.push(Admission {
            correlated: Some(Correlated { correlation, content, windows }),
            status: Status::Admitted,
            content: content_of,
            // What has its name has its content, so that nothing conflicts with it.
            consents,
            ..Admission::bare(FEED.into(), at, KIND.to_owned(), String::new(), raw)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::{Document, Problems};
    use crate::secret::Key;

    const RIGHT: &str = r#"{"subject":{"authority":"EPIC","value":"ZZ1"},
        "key":{"source":"adt","id":"ZZF1"},"codes":["HL70496/109"],"decision":"permit",
        "status":"active","decidedAt":"2026-01-05","effectiveTo":"2027-06-30","version":3,
        "signer":{"named":true,"standin":"MIN","born":"2012-03-04"},"labels":["HIV"]}"#;

    fn read(lines: &[String]) -> Result<Import, Vec<String>> {
        let problems = Problems::default();
        let text = "[codes]\n\"HL70496/109\" = [\"CLINTRCH\"]\n";
        let policy = Policy::of(&Document::from_text("p", Path::new("."), text), &problems);
        let digests = DigestKey::new(&Key::from_bytes(&[7; 32]).unwrap());
        let grounds = Grounds {
            policy: &policy,
            identity: &Identity::default(),
            zone: &TimeZone::UTC,
            digests: &digests,
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
        };
        import(&Bytes::from(lines.join("\n")), &grounds)
            .map_err(|found| found.iter().map(|it| format!("{}: {}", it.line, it.text)).collect())
    }

    fn right() -> String {
        RIGHT.replace('\n', "")
    }

    #[test]
    fn a_line_is_a_record_and_an_event() {
        let import = read(&[String::new(), right()]).unwrap();
        let admission = &import.admissions[0];
        let Given { subject, record } = &admission.consents[0];
        assert_eq!((subject.authority.as_str(), subject.value.expose().as_str()), ("EPIC", "ZZ1"));
        assert_eq!(record.version.as_deref(), Some("3"));
        let consent = record.consent().unwrap();
        assert!(crate::consent::next::is_of_a_minor(record));
        assert_eq!(consent.labels, ["HIV"]);
        let json = serde_json::to_value(&admission.content.events[0]).unwrap();
        assert_eq!(json["type"], "consent.granted");
        assert_eq!(json["data"]["consent"]["purposes"][0], "CLINTRCH");
        assert_eq!(json["data"]["consent"]["effectiveTo"], "2027-06-30");
    }

    #[test]
    fn a_file_is_divided_into_entries_and_the_same_one_has_the_same_names() {
        let lines: Vec<String> =
            (0..1_100).map(|number| right().replace("ZZ1", &format!("ZZ{number}"))).collect();
        let names = |import: &Import| -> Vec<Correlation> {
            import.admissions.iter().map(|it| it.correlated.unwrap().correlation).collect()
        };
        let (first, again) = (read(&lines).unwrap(), read(&lines).unwrap());
        assert_eq!((first.admissions.len(), first.records), (3, 1_100));
        assert_eq!(names(&first), names(&again));
    }

    /// PROMISE-10: a mistake names fields, and no value.
    #[test]
    fn every_mistake_is_told_by_line_and_field() {
        let with = |from: &str, to: &str| {
            assert!(right().contains(from), "{from}");
            right().replace(from, to)
        };
        let lines = [
            right(),
            "ZZnot json".to_owned(),
            "[1]".to_owned(),
            with("\"decidedAt\":\"2026-01-05\"", "\"decided\":\"ZZ\""),
            with("2026-01-05", "2026-02-30"),
            with("2026-01-05", "2027-01-05"),
            with("2027-06-30\"", "2025-06-30\",\"effectiveFrom\":\"2025-07-01\""),
            with("\"active\"", "\"revoked\""),
            with("\"active\"", "\"ZZSIGNED\""),
            with("HL70496/109", "HL70496/ZZ9"),
            with("\"codes\":[\"HL70496/109\"]", "\"purposes\":[\"CLINTRSH\"]"),
            with("\"value\":\"ZZ1\"", "\"value\":7"),
            with("\"standin\":\"MIN\"", "\"standin\":\"ZZ\""),
            with("\"key\":{\"source\":\"adt\",\"id\":\"ZZF1\"},", ""),
            with("\"version\":3", "\"jurisdiction\":\"California\""),
        ];
        let found = read(&lines).unwrap_err();
        for part in [
            "2: it is not JSON",
            "3: it is no JSON object",
            "4: a field is not known; did you mean `decidedAt`?",
            "4: `decidedAt` is missing",
            "5: `decidedAt` is a date or time",
            "6: `decidedAt` is in the future",
            "7: `effectiveTo` is before `effectiveFrom`",
            "8: `decision` of what is revoked is \"deny\"",
            "9: `status` is one of proposed, active",
            "10: `codes` holds one that no row",
            "11: `purposes` holds no HL7 v3 PurposeOfUse; did you mean `CLINTRCH`?",
            "12: `subject.value` is a text",
            "13: `standin` is one of MIN, NC, LM",
            "14: `key` is missing",
            "15: `jurisdiction` is of ISO 3166",
        ] {
            assert!(found.iter().any(|line| line.starts_with(part)), "{part}: {found:#?}");
        }
        assert!(found.iter().all(|line| !line.contains("ZZ")), "{found:#?}");
        assert_eq!(read(&[]).unwrap_err(), ["0: it has no line; one JSON object a line is wanted"]);
    }
}
