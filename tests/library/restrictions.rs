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
