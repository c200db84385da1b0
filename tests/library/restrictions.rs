//! Protections that hospitals say again in every message, against the ledger that keeps them once.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use tidegate::admit::assess::assess;
use tidegate::admit::entry::Given;
use tidegate::consent::restate::{Known, News, news};
use tidegate::consent::{Code, Epoch, Ledger, PURPOSES, Question, Record, Requirement, Says, ask};
use tidegate::event::EventId;

use crate::consent_intake::{FIRST, MINUTE, PID, rules};

/// What the store does with records, without the store.
#[derive(Clone, Default)]
struct Kept {
    records: Vec<Record>,
    until: BTreeMap<String, u64>,
}

impl Kept {
    fn take(&mut self, given: Vec<Given>) {
        for Given { record, .. } in given {
            let name = |it: &Record| match &it.says {
                Says::Consent(_) => format!("consent {}", it.reference()),
                Says::Restriction(says) => format!("restriction {} {:?}", it.key.id, says.visit),
                Says::Closure(_) => format!("closure {}", it.key.id),
            };
            let own = name(&record);
            let known: Vec<Record> =
                self.records.iter().filter(|it| name(it) == own).cloned().collect();
            let known = Known { records: &known, until: self.until.get(&own).copied() };
            match news(known, &record, record.recorded_at) {
                News::New => self.records.push(record),
                News::Again(Some(version)) => {
                    let until = self.until.entry(own).or_default();
                    *until = (*until).max(version);
                }
                News::Again(None) | News::Stale => {}
            }
        }
    }

    /// The answers for every purpose in two visits.
    fn answers(&self, now: Timestamp) -> Vec<Option<Code>> {
        let event = EventId("e".into());
        let rules = rules();
        let requirement = Requirement::None { basis: "a test".to_owned() };
        let asked = PURPOSES.iter().flat_map(|purpose| {
            ["ZZV1", "ZZV2"].map(|visit| {
                let question = Question {
                    visit: Some(visit),
                    ..Question::new(&event, "out", purpose, "crm", &requirement)
                };
                let ledger = Ledger::of(Epoch(1), &self.records);
                ask(&question, &ledger, &rules.policy, now).err().map(|it| it.code())
            })
        });
        asked.collect()
    }
}

/// One message: what it says, of which visit.
#[derive(Clone, Debug)]
struct Message {
    person: String,
    encounter: String,
    visit: &'static str,
}

impl Message {
    fn given(&self, sent: usize, arrived: usize) -> Vec<Given> {
        let text = format!(
            "MSH|^~\\&|EHR|N|||202611221100{sent:02}+0000||ADT^A08|C{arrived}|P|2.7\r{PID}\r{}\
             PV1|1|I|||||||||||||||||{}\r{}",
            self.person, self.visit, self.encounter
        );
        let at = FIRST + MINUTE * i64::try_from(arrived).unwrap();
        assess(&Bytes::from(text), &rules(), at).admission.unwrap().consents
    }
}

fn messages() -> impl Strategy<Value = Message> {
    let word = || prop_oneof![Just(""), Just("Y"), Just("N"), Just("\"\""), Just("X")];
    let access = || {
        prop_oneof![
            3 => Just(String::new()),
            1 => "ARV\\|1\\|[ADUSXQ]\\|(HIV|PSY|ALL|NO)\\^\\^HL70717\r",
            1 => "ARV\\|1\\|A\\|HIV\\|42CFRPart2\\|\\|(2026112[0-9]|2027)?\\^?(2026113[0-9])?\r",
        ]
    };
    let dated = prop_oneof![Just(""), Just("|20261101"), Just("|20271101"), Just("|never")];
    (word(), dated, access(), word(), access(), prop_oneof![Just("ZZV1"), Just("ZZV2"), Just("")])
        .prop_map(|(pd1, from, person, pv2, encounter, visit)| Message {
            person: format!("PD1||||||||||||{pd1}{from}\r{person}"),
            encounter: format!("PV2||||||||||||||||||||||{pv2}\r{encounter}"),
            visit,
        })
}

/// Asks after each message whether treatment may have the patient's data in the visits ZZV1 and ZZV2.
/// A message is its trigger, what stands behind PID and what behind PV1 of ZZV1.
fn told(messages: &[(&str, &str, &str)]) -> Vec<(bool, bool)> {
    let mut kept = Kept::default();
    let at = PURPOSES.iter().position(|it| *it == "TREAT").unwrap();
    let answers = messages.iter().enumerate().map(|(sent, (trigger, person, encounter))| {
        let text = format!(
            "MSH|^~\\&|EHR|N|||202611221100{sent:02}+0000||ADT^{trigger}|C{sent}|P|2.8\r{PID}\r\
             {person}PV1|1|I|||||||||||||||||ZZV1\r{encounter}"
        );
        let arrived = FIRST + MINUTE * i64::try_from(sent).unwrap();
        kept.take(assess(&Bytes::from(text), &rules(), arrived).admission.unwrap().consents);
        let now = Timestamp::from_millisecond(arrived + MINUTE / 2).unwrap();
        let answers = kept.answers(now);
        (answers[2 * at].is_none(), answers[2 * at + 1].is_none())
    });
    answers.collect()
}

const OPEN: (bool, bool) = (true, true);
const CLOSED: (bool, bool) = (false, false);
const ONE_VISIT: (bool, bool) = (false, true);

/// PROMISE-5
#[test]
fn a_protection_of_the_person_is_ended_by_its_own_field_alone() {
    let pd1 = |said: &str| format!("PD1||||||||||||{said}\r");
    let y = pd1("Y");
    for end in [pd1("N"), pd1("\"\""), pd1("N|20261122")] {
        let found = told(&[
            ("A01", &y, ""),
            ("A08", "", ""),
            ("A08", &pd1(""), ""),
            ("A08", "PD1|1\r", ""),
            // Neither the end of the visit nor an end that is still to come.
            ("A03", "", ""),
            ("A08", &pd1("N|20270101"), ""),
            ("A08", "ARV|1|D\r", ""),
            ("A08", &end, ""),
        ]);
        assert_eq!(found[..7], [CLOSED; 7], "{end}");
        assert_eq!(found[7], OPEN, "{end}");
    }
    // One that begins later on is not in force yet; a date that cannot be delays nothing.
    let dated = [pd1("Y|20261123"), pd1("Y|20261101"), pd1("Y|202611"), pd1("Y|20261131")];
    let found = dated.map(|said| told(&[("A08", &said, "")])[0]);
    assert_eq!(found, [OPEN, CLOSED, CLOSED, CLOSED]);
}

/// PROMISE-5
#[test]
fn a_protected_visit_stays_so_after_discharge() {
    let pv2 = |said: &str| format!("PV2||||||||||||||||||||||{said}\r");
    let (y, n, null) = (pv2("Y"), pv2("N"), pv2("\"\""));
    for end in [&n, &null] {
        let found =
            told(&[("A01", "", &y), ("A08", "", &pv2("")), ("A03", "", ""), ("A08", "", end)]);
        assert_eq!(found, [ONE_VISIT, ONE_VISIT, ONE_VISIT, OPEN]);
    }
    // The person's protection is another: the visit's N does not end it.
    let pd1 = "PD1||||||||||||Y\r";
    assert_eq!(told(&[("A01", pd1, &y), ("A08", "", &n)]), [CLOSED, CLOSED]);
}

/// PROMISE-5: the action codes of table 0206, by place.
#[test]
fn an_access_restriction_goes_by_its_action_code_and_its_place() {
    for action in ["A", "S", "U", "X", "", "A^Add^HL70206"] {
        let arv = format!("ARV|1|{action}|PSY^^HL70717\r");
        let end = "ARV|1|D|PSY^^HL70717\r";
        assert_eq!(told(&[("A08", &arv, ""), ("A08", end, "")]), [CLOSED, OPEN], "{action}");
        assert_eq!(told(&[("A08", "", &arv), ("A08", "", end)]), [ONE_VISIT, OPEN], "{action}");
        // An end at another place, or of another code, is not its end.
        let other = "ARV|1|D|HIV^^HL70717\r";
        assert_eq!(told(&[("A08", &arv, ""), ("A08", other, end)]), [CLOSED, CLOSED], "{action}");
        assert_eq!(told(&[("A08", "", &arv), ("A08", end, other)]), [ONE_VISIT; 2], "{action}");
    }
    // What is not said again is not ended by that: in snapshot mode, too.
    let (two, one) = ("ARV|1|S|PSY\rARV|2|S|HIV\r", "ARV|1|S|PSY\r");
    assert_eq!(
        told(&[("A08", two, ""), ("A08", one, ""), ("A08", "ARV|1|D|PSY\r", "")]),
        [CLOSED; 3]
    );
    // An update changes the dates.
    let dated = |until: &str| format!("ARV|1|U|PSY|||20261101^{until}\r");
    let (past, ahead) = (dated("20261120"), dated("20261231"));
    assert_eq!(told(&[("A08", &past, ""), ("A08", &ahead, "")]), [OPEN, CLOSED]);
    assert_eq!(told(&[("A08", &ahead, ""), ("A08", &past, "")]), [CLOSED, OPEN]);
    // A word that the table does not have ends nothing and begins one.
    assert_eq!(told(&[("A08", "ARV|1|Z|PSY\r", "")]), [CLOSED]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// PROMISE-5: repeating what any message says of protections, however often and whether with
    /// the time of the first or later, changes no answer, and the ledger does not grow by it.
    #[test]
    fn a_protection_that_is_said_again_changes_no_answer_and_is_not_kept_again(
        messages in proptest::collection::vec(messages(), 1..8),
        again in 1_usize..4,
        which in any::<prop::sample::Index>(),
    ) {
        let mut kept = Kept::default();
        let mut arrived = 0;
        let now = Timestamp::from_millisecond(FIRST + 600 * MINUTE).unwrap();
        for (sent, message) in messages.iter().enumerate() {
            kept.take(message.given(sent, arrived));
            arrived += 1;
            let (before, count) = (kept.answers(now), kept.records.len());
            for _ in 0..again {
                kept.take(message.given(sent, arrived));
                arrived += 1;
            }
            prop_assert_eq!(&kept.answers(now), &before);
            prop_assert_eq!(kept.records.len(), count);
        }
        // The newest, said again by messages of their own times.
        let (before, count) = (kept.answers(now), kept.records.len());
        for sent in messages.len()..messages.len() + again {
            kept.take(messages[messages.len() - 1].given(sent, arrived));
            arrived += 1;
            prop_assert_eq!(&kept.answers(now), &before);
            prop_assert_eq!(kept.records.len(), count);
        }
        // An older one, late: it opens nothing.
        let number = which.index(messages.len());
        kept.take(messages[number].given(number, arrived));
        let after = kept.answers(now);
        let opened = before.iter().zip(&after).any(|(was, is)| was.is_some() && is.is_none());
        prop_assert!(!opened, "{messages:?} {number}");
    }
}
