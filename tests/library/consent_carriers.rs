//! Every field that a message says consent, restriction or sensitivity in, by the fixtures and by
//! messages of others: which events it gives, what the ledger keeps, what is labelled.

use bytes::Bytes;
use proptest::prelude::*;
use tidegate::admit::assess::{Assessed, assess};
use tidegate::admit::entry::{Admission, Status, Stored};
use tidegate::admit::labels::labels_of;
use tidegate::consent::{Record, Says, Turn};

use crate::consent_intake::{FIRST, PID, field, rules};

fn admitted(bytes: Vec<u8>) -> Assessed {
    assess(&Bytes::from(bytes), &rules(), FIRST)
}

/// Events with their labels, and what is kept: key, what it does, from and until when, of which
/// visit.
fn shown(admission: &Admission) -> (Vec<String>, Vec<String>) {
    let event = |stored: &Stored| {
        let labels = labels_of(stored.data.root()).join(" ");
        format!("{} {} {labels}", stored.kind, stored.place).trim_end().to_owned()
    };
    let kept = |record: &Record| {
        let does = match &record.says {
            Says::Consent(consent) => consent.status.name().to_owned(),
            Says::Closure(Turn::Begins) => "closes".to_owned(),
            Says::Closure(Turn::Ends) => "unclose".to_owned(),
            Says::Restriction(it) => {
                let visit = it.visit.as_ref().map(|visit| format!(" in {visit}"));
                format!("restriction {:?}{}", it.turn, visit.unwrap_or_default())
            }
        };
        let dates = [("from", record.effective_from), ("to", record.effective_to)];
        let dates =
            dates.into_iter().filter_map(|(name, date)| Some(format!(" {name} {}", date?.given())));
        format!("{} {does}{}", record.key.id, dates.collect::<String>())
    };
    let records = admission.consents.iter().map(|given| &given.record);
    // The end of a closure that there is none of is dropped by the store.
    let records = records.filter(|record| record.says != Says::Closure(Turn::Ends));
    (admission.content.events.iter().map(event).collect(), records.map(kept).collect())
}

#[test]
fn each_carrier_of_the_fixtures_gives_its_events_records_and_labels() {
    let fixtures: &[(&str, &[&str], &[&str])] = &[
        ("mdm-t10-replaced", &["consent.revoked con1"], &["001 ZZRELEASE-1 revoked to 2026-11-21"]),
        ("mdm-t03-deleted", &["consent.retracted con1"], &["ZZF-7 entered-in-error"]),
        ("mdm-evn-t11", &["consent.retracted con1"], &["ZZF-7 entered-in-error"]),
        ("mdm-t02-confidential", &["consent.granted con1 V"], &["ZZF-11 active"]),
        (
            "adt-a04-vendor-consent",
            &[
                "patient.registered pid1",
                "consent.granted con1",
                "consent.updated con2",
                "consent.denied con3",
            ],
            &["ZZNPP active", "ZZROI closes", "ZZF-9 rejected"],
        ),
        (
            "adt-a31-protected",
            &["patient.updated pid1", "consent.denied pd1"],
            &["PD1-12 restriction Begins from 2026-11-01"],
        ),
        (
            "adt-a01-protected-visit",
            &["patient.admitted pid1", "consent.denied pv2"],
            &["PV2-22 ZZV77 restriction Begins in ZZV77"],
        ),
        (
            "adt-a08-restricted",
            &[
                "patient.updated pid1 42CFRPart2 PATLOC PSY",
                "consent.denied arv1 42CFRPart2 PATLOC PSY",
                "consent.denied arv2 42CFRPart2 PATLOC PSY",
                "consent.denied arv3 42CFRPart2 PATLOC PSY",
            ],
            &[
                "ARV PersIP restriction Begins",
                "ARV PSY restriction Begins from 2026-11-01 to 2027-11-01",
                "ARV LOC ZZV77 restriction Begins in ZZV77",
                "ARV STD ZZV77 restriction Ends in ZZV77",
            ],
        ),
        (
            "oru-r01-restricted",
            &[
                "observation.reported obr1 HIV R",
                "observation.reported obr2 HIV R",
                "observation.reported obr3 HIV",
                "consent.denied arv1 HIV R",
            ],
            &["ARV HIV restriction Begins"],
        ),
        ("adt-a01-confidential", &["patient.admitted pid1 R"], &[]),
    ];
    for (file, events, records) in fixtures {
        let bytes = std::fs::read(format!("fixtures/hl7/{file}.hl7")).unwrap();
        let admission = admitted(bytes).admission.unwrap();
        let (found, kept) = shown(&admission);
        assert_eq!(found, *events, "{file}");
        assert_eq!(kept, *records, "{file}");
        assert_eq!(admission.status, Status::Admitted, "{file}");
    }
}

/// Messages of others: the restrictions and labels that they bear.
#[test]
fn each_carrier_of_the_corpus_gives_its_records_and_labels() {
    let dates = " from 2021-11-18T10:30:00+02:15 to 2022-11-18T10:30:00+02:15";
    for trigger in ["A01", "A02", "A03", "A04", "A05", "A08", "A13", "A28", "A31", "A60"] {
        let bytes =
            std::fs::read(format!("fixtures/corpus/ms-fhir-converter/ADT-{trigger}-01.hl7"));
        let admission = admitted(bytes.unwrap()).admission.unwrap();
        let (events, kept) = shown(&admission);
        assert!(events.len() >= 3, "{trigger}: {events:?}");
        for event in &events {
            assert!(event.ends_with(" DEMO PATLOC"), "{trigger}: {event}");
        }
        let has = |begin: &str| kept.iter().any(|it| it.starts_with(begin) && it.ends_with(dates));
        assert!(has("ARV DEM restriction Begins from"), "{trigger}: {kept:?}");
        assert!(has("ARV LOC "), "{trigger}: {kept:?}");
    }
    let others: &[(&str, Status, &[&str], &[&str])] = &[
        // PD1-12 = N.
        (
            "ipf/translation-pixsource-v2-A40",
            Status::Admitted,
            &["patient.merged pid1"],
            &["PD1-12 restriction Ends"],
        ),
        // Documents without a consent.
        ("ipf/msg-09", Status::Unsupported, &[], &[]),
        ("linuxforhealth/Hl7IdentifierFHIRConversionTest-lit025", Status::Unsupported, &[], &[]),
        // PD1-12 = N and ORC-28 = R, in a message that nothing maps.
        ("linuxforhealth/SegmentUtilTest-lit008", Status::Unsupported, &[], &[]),
        // DG1-17 = C, which table 0136 does not have.
        (
            "linuxforhealth/Hl7IdentifierFHIRConversionTest-lit008",
            Status::Admitted,
            &["patient.admitted pid1 unknown"],
            &[],
        ),
    ];
    for (file, status, events, records) in others {
        let bytes = std::fs::read(format!("fixtures/corpus/{file}.hl7")).unwrap();
        let admission = admitted(bytes).admission.unwrap();
        let (found, kept) = shown(&admission);
        assert_eq!(admission.status, *status, "{file}");
        assert_eq!(found, *events, "{file}");
        assert_eq!(kept, *records, "{file}");
    }
}

/// MDM T01 to T11 (chapter 9.6): each with a consent, and what becomes of it.
#[test]
fn every_document_event_is_taken_for_what_it_does_to_consents() {
    for number in 1..=11 {
        for status in ["A", "R", "X"] {
            let trigger = format!("T{number:02}");
            let text = format!(
                "MSH|^~\\&|EHR|N|||20261122120000+0000||MDM^{trigger}|C1|P|2.7\r{PID}\r\
                 TXA|1|||||||||||ZZDOC2|ZZDOC1\rCON|1|109^^HL70496||F1|||||||{status}||20261120\r"
            );
            let admission = admitted(text.into_bytes()).admission.unwrap();
            let kind = match (number, status) {
                (11, _) => "consent.retracted",
                (_, "A") => "consent.granted",
                (_, "R") => "consent.denied",
                _ => "consent.revoked",
            };
            let (events, _) = shown(&admission);
            assert_eq!(events, [format!("{kind} con1")], "{trigger} {status}");
            let origin = &admission.consents.last().unwrap().record.origin;
            assert_eq!(origin.document.as_deref(), Some("ZZDOC2"));
            let withdraws = match number {
                9 | 10 => Some("ZZDOC1"),
                11 => Some("ZZDOC2"),
                _ => None,
            };
            assert_eq!(origin.withdraws.as_deref(), withdraws, "{trigger}");
        }
        // Without one it says nothing of consent.
        let text = format!("MSH|^~\\&|EHR|N|||2026||MDM^T{number:02}|C1|P|2.7\r{PID}\rTXA|1\r");
        let admission = admitted(text.into_bytes()).admission.unwrap();
        assert_eq!((admission.status, admission.consents.len()), (Status::Unsupported, 0));
    }
    // A document that replaces itself withdraws nothing of what it says.
    let text = format!(
        "MSH|^~\\&|EHR|N|||2026||MDM^T10|C1|P|2.7\r{PID}\rTXA|1|||||||||||ZZDOC1|ZZDOC1\r\
         CON|1|109^^HL70496||F1|||||||A||20261120\r"
    );
    let admission = admitted(text.into_bytes()).admission.unwrap();
    assert_eq!(admission.consents.last().unwrap().record.origin.withdraws, None);
}

/// Each field that labels: its segment up to it, and the codes by which nothing is sensitive.
const FIELDS: [(&str, &[&str]); 5] = [
    ("DG1|||||||||||||||||", &["N"]),
    ("ORC||||||||||||||||||||||||||||", &["U"]),
    ("TXA||||||||||||||||||", &["U"]),
    (
        "ARV|1|A|",
        &[
            "ALL", "NO", "OO", "OI", "JurisIP", "JurisNSI", "JurisPI", "OrgIP", "OrgNSI", "OrgPI",
            "PersIP", "PersNSI", "PersPI",
        ],
    ),
    ("ARV|1|A|ALL|", &["ORG", "PAT", "PHY", "REG"]),
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// PROMISE-5: whatever a field holds that labels, an event is labelled unless the field says
    /// nothing, or that nothing is sensitive; and what is not a word that is known is an exception.
    #[test]
    fn a_label_is_never_lost(
        which in 0..FIELDS.len(),
        value in prop_oneof![3 => field(), 1 => "[A-Z]{1,3}", 1 => "[A-Z]{1,3}\\^x\\^(L|HL70177)"],
    ) {
        let value = value.replace('|', "");
        let (begin, none) = FIELDS[which];
        let text = format!(
            "MSH|^~\\&|EHR|N|||20261122||ADT^A08|1|P|2.8\r{PID}\rPV1|1|I\r{begin}{value}\r"
        );
        let admission = admitted(text.clone().into_bytes()).admission.unwrap();
        prop_assert_eq!(admission.status, Status::Admitted, "{}", text);
        let labels = labels_of(admission.content.events[0].data.root());
        let says_nothing = |part: &str| {
            let part = part.trim();
            part.chars().all(|it| "^&".contains(it)) || part == "\"\"" || none.contains(&part)
        };
        let plain = value.split('~').all(says_nothing);
        let hollow = |part: &str| part.chars().all(|it| "^& ".contains(it));
        prop_assert!(!value.split('~').all(hollow) || labels.is_empty(), "{}", text);
        if labels.is_empty() {
            let own = ["HL70136", "HL70177", "HL70272", "HL70717", "HL70719"];
            let known = |part: &str| {
                let mut parts = part.split('^');
                let code = parts.next().unwrap_or_default().trim();
                none.contains(&code) && parts.nth(1).is_none_or(|it| it.is_empty() || own.contains(&it))
            };
            prop_assert!(plain || value.split('~').all(|it| says_nothing(it) || known(it)), "{}", text);
        }
        if labels.contains(&"unknown") {
            prop_assert!(admission.raised.is_some(), "{}", text);
        }
    }
}
