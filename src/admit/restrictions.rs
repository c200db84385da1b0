//! What a message says of protections: PD1-12, PV2-22 and ARV, by their places.
//!
//! Promises: what bears one is seen, whatever the message's type and whether or not it is mapped;
//! an empty field says nothing; a word that is not known is told apart from both.
//! Knows nothing of: subjects, and what a protection stops.

use crate::consent::Turn;
use crate::event::PartialDate;
use crate::normalize::bears_consent;
use crate::parse::hl7::name::{ARV, CON, PD1, PID, PV1, PV2};
use crate::parse::hl7::{Composite, Content, Message, Segment, datetime};

/// Of table 0717: no restrictions, and opted in. They name no protection, so that neither begins.
const NO_PROTECTION: [&str; 2] = ["NO", "OI"];
/// What 2.9 has instead of `NO`: policies that call information public or not sensitive. Beside a
/// sensitivity (ARV-4) they may be a protection all the same.
const NOT_SENSITIVE: [&str; 6] = ["JurisNSI", "JurisPI", "OrgNSI", "OrgPI", "PersNSI", "PersPI"];
/// Longest code of ARV-3 that is part of a key, in bytes: some forty times the codes of table 0717.
const CODE_BYTES_MAX: usize = 128;

/// Whether a message has a CON, or a consent as a document.
pub(super) fn has_consent(message: &Message<'_>) -> bool {
    message.segments().any(|segment| segment.packed_name() == CON) || bears_consent(message)
}

/// What one segment says of a protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The field that says it, such as `PD1-12`.
    pub carrier: &'static str,
    /// Where it stands, such as `pd1` or `arv2`.
    pub place: String,
    /// Which patient it is about, from 0; none: it stands before them all.
    pub patient: Option<usize>,
    /// Whether it is about the person or the visit.
    pub reach: Reach,
    /// What is protected, as coded (ARV-3); empty where the field says no more than yes and no.
    pub code: String,
    /// Whether the protection begins or ends; nothing where the word for it is not known.
    pub turn: Option<Turn>,
    /// Sensitivity labels (ARV-3, ARV-4).
    pub labels: Vec<String>,
    /// From when it is in force (PD1-13, ARV-6.1).
    pub from: Option<PartialDate>,
    /// Until when (ARV-6.2).
    pub to: Option<PartialDate>,
}

/// What a protection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of the patient's data.
    Person,
    /// The data of one visit.
    Visit,
}

/// What a message says of protections, in its order.
pub(super) fn restrictions(message: &Message<'_>) -> Vec<Said> {
    let mut reader = Reader { message, patient: None, reach: Reach::Person, counts: [0; 3] };
    message.segments().filter_map(|segment| reader.read(&segment)).collect()
}

/// The fields that begin one, or hold a word that is not known, each once.
pub(super) fn carriers(said: &[Said]) -> Vec<&'static str> {
    let mut carriers = Vec::new();
    for it in said.iter().filter(|it| it.turn != Some(Turn::Ends)) {
        if !carriers.contains(&it.carrier) {
            carriers.push(it.carrier);
        }
    }
    carriers
}

struct Reader<'m> {
    message: &'m Message<'m>,
    patient: Option<usize>,
    reach: Reach,
    /// How many PD1, PV2 and ARV came so far.
    counts: [usize; 3],
}

impl Reader<'_> {
    fn read(&mut self, segment: &Segment<'_>) -> Option<Said> {
        match segment.packed_name() {
            PID => {
                self.patient = Some(self.patient.map_or(0, |last| last + 1));
                self.reach = Reach::Person;
                None
            }
            PV1 => {
                self.reach = Reach::Visit;
                None
            }
            PD1 => {
                self.reach = Reach::Person;
                let place = self.place("pd", 0);
                let turn = self.indicator(segment, 12)?;
                let from = self.date(segment, 13, 1);
                Some(Said { turn, from, ..self.said("PD1-12", place) })
            }
            PV2 => {
                self.reach = Reach::Visit;
                let place = self.place("pv", 1);
                let turn = self.indicator(segment, 22)?;
                Some(Said { turn, ..self.said("PV2-22", place) })
            }
            ARV => {
                let place = self.place("arv", 2);
                self.access(segment, place)
            }
            _ => None,
        }
    }

    /// `pd1` and `pv2` by the names of their segments, a second one with its number; `arv1`, `arv2`.
    fn place(&mut self, name: &str, which: usize) -> String {
        let count = self.counts.get_mut(which).map_or(1, |count| {
            *count += 1;
            *count
        });
        match (which, count) {
            (0, 1) => "pd1".to_owned(),
            (1, 1) => "pv2".to_owned(),
            (0, _) => format!("{name}1-{count}"),
            (1, _) => format!("{name}2-{count}"),
            _ => format!("{name}{count}"),
        }
    }

    fn said(&self, carrier: &'static str, place: String) -> Said {
        Said {
            carrier,
            place,
            patient: self.patient,
            reach: self.reach,
            code: String::new(),
            turn: None,
            labels: Vec::new(),
            from: None,
            to: None,
        }
    }

    /// Table 0136: `Y` begins, `N` and `""` end. Nothing where the field is empty.
    fn indicator(&self, segment: &Segment<'_>, field: usize) -> Option<Option<Turn>> {
        match self.message.content(segment.field(field)?) {
            Content::Absent => None,
            Content::Null => Some(Some(Turn::Ends)),
            Content::Text(text) => Some(match text.trim() {
                "Y" => Some(Turn::Begins),
                "N" => Some(Turn::Ends),
                _ => None,
            }),
        }
    }

    /// ARV (chapter 3.4.13): ARV-2 = `D` ends what the same code began (table 0206); all else that
    /// the table has begins it, or says that it stands.
    fn access(&self, segment: &Segment<'_>, place: String) -> Option<Said> {
        let code = self.texts(segment, 3).into_iter().next().unwrap_or_default();
        let turn = match self.texts(segment, 2).first().map(String::as_str) {
            Some("D") => Some(Turn::Ends),
            None | Some("A" | "U" | "S" | "X") => Some(Turn::Begins),
            Some(_) => None,
        };
        let mut labels: Vec<String> = self.texts(segment, 4);
        let unprotected = NO_PROTECTION.contains(&code.as_str())
            || (NOT_SENSITIVE.contains(&code.as_str()) && labels.is_empty());
        if turn.is_some() && unprotected {
            return None;
        }
        labels.extend(self.texts(segment, 3));
        labels.sort();
        labels.dedup();
        let too_long = labels.iter().any(|label| label.len() > CODE_BYTES_MAX);
        let said = self.said("ARV", place);
        if too_long {
            return Some(said);
        }
        let (from, to) = (self.date(segment, 6, 1), self.date(segment, 6, 2));
        Some(Said { code, turn, labels, from, to, ..said })
    }

    /// The first component of each repetition of a field that says something.
    fn texts(&self, segment: &Segment<'_>, field: usize) -> Vec<String> {
        let raw = segment.field(field).unwrap_or_default();
        let delimiters = self.message.delimiters();
        let first =
            |raw| self.message.content(Composite::of_field(raw, delimiters).part(1).first());
        self.message
            .repetitions(raw)
            .filter_map(|raw| match first(raw) {
                Content::Text(text) => Some(text.trim().to_owned()),
                Content::Absent | Content::Null => None,
            })
            .filter(|text| !text.is_empty())
            .collect()
    }

    /// A date of a field. One that cannot be is none: without it a protection is longer, not
    /// shorter.
    fn date(&self, segment: &Segment<'_>, field: usize, component: usize) -> Option<PartialDate> {
        let raw = segment.field(field)?;
        let part = Composite::of_field(raw, self.message.delimiters()).part(component);
        match self.message.content(part.first()) {
            Content::Text(text) => datetime::parse(&text),
            Content::Absent | Content::Null => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::Charset;

    fn said(segments: &[&str]) -> Vec<Said> {
        let text = format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.8\r{}", segments.join("\r"));
        restrictions(&Message::parse(text.as_bytes(), Charset::Utf8).unwrap())
    }

    fn field(segment: &str, number: usize, value: &str) -> String {
        format!("{segment}{}{value}", "|".repeat(number))
    }

    #[test]
    fn what_begins_a_restriction_bears_one_and_what_ends_it_does_not() {
        let (begins, ends) = (Some(Some(Turn::Begins)), Some(Some(Turn::Ends)));
        for (segment, turn) in [
            (field("PD1", 12, "Y"), begins),
            (field("PD1", 12, "what"), Some(None)),
            (field("PD1", 12, "Y~N"), Some(None)),
            (field("PD1", 12, "N"), ends),
            (field("PD1", 12, "\"\""), ends),
            (field("PD1", 12, ""), None),
            (field("PV2", 22, "Y"), begins),
            (field("PV2", 22, "N"), ends),
            (field("PV2", 22, "1"), Some(None)),
            (field("ARV", 2, "A"), begins),
            (field("ARV", 2, ""), begins),
            (field("ARV", 2, "U^Update^HL70206|HIV"), begins),
            (field("ARV", 2, "D^Delete^HL70206|HIV"), ends),
            (field("ARV", 2, "Q|HIV"), Some(None)),
            (field("ARV", 2, "A|NO"), None),
            (field("ARV", 2, "A|OI"), None),
            (field("ARV", 2, "A|OO"), begins),
            (field("ARV", 2, "A|PersNSI^^HL70717"), None),
            (field("ARV", 2, "A|PersNSI^^HL70717|HIV"), begins),
            (field("ARV", 2, "A|PersIP"), begins),
            (field("PV1", 22, "Y"), None),
        ] {
            let said = said(&[&segment]);
            assert_eq!(said.first().map(|it| it.turn), turn, "{segment}");
            let bears = turn.is_some_and(|turn| turn != Some(Turn::Ends));
            assert_eq!(!carriers(&said).is_empty(), bears, "{segment}");
        }
    }

    #[test]
    fn whom_it_is_about_follows_from_where_it_stands() {
        let y = |segment: &str| field(segment, if segment == "PD1" { 12 } else { 22 }, "Y");
        let (pd1, pv2) = (y("PD1"), y("PV2"));
        let of = ["ARV|1|A|ALL", "PID|1", &pd1, "ARV|1|A|HIV", "PV1|1", &pv2, "ARV|2|A|PSY"];
        let found = said(&[&of[..], &["PID|2", &pd1, "PV1|1", "ARV|3|A|HIV"]].concat());
        let shown: Vec<String> = found
            .iter()
            .map(|it| format!("{} {:?} {:?} {}", it.place, it.patient, it.reach, it.code))
            .collect();
        assert_eq!(
            shown,
            [
                "arv1 None Person ALL",
                "pd1 Some(0) Person ",
                "arv2 Some(0) Person HIV",
                "pv2 Some(0) Visit ",
                "arv3 Some(0) Visit PSY",
                "pd1-2 Some(1) Person ",
                "arv4 Some(1) Visit HIV",
            ]
        );
    }

    #[test]
    fn codes_are_labels_and_dates_that_cannot_be_are_none() {
        let found = said(&["ARV|1|A|DRG^Drug^HL70717|42CFRPart2~VIP^x||20261101^20261231"]);
        assert_eq!(found[0].labels, ["42CFRPart2", "DRG", "VIP"]);
        let dates = [found[0].from, found[0].to].map(|date| date.unwrap().to_string());
        assert_eq!(dates, ["2026-11-01", "2026-12-31"]);
        let wrong = said(&[&format!("{}|20260230", field("PD1", 12, "Y"))]);
        assert_eq!(wrong[0].from, None);
        let long = format!("ARV|1|D|{}", "Z".repeat(CODE_BYTES_MAX + 1));
        assert_eq!(said(&[&long])[0].turn, None, "what cannot be named cannot be ended");
    }
}
