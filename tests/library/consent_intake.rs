//! Messages with CON against the ledger: what comes in by them, and what is answered then.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use tidegate::admit::assess::{Assessed, Finding, OnUnmappable, OnUnsupported, Rules, assess};
use tidegate::admit::entry::{Category, Given, Status};
use tidegate::admit::{DigestKey, Windows};
use tidegate::consent::{
    Code, Epoch, Ledger, Missing, Naming, Policy, Question, Record, Requirement, Says, Turn, ask,
};
use tidegate::document::{Document, Problems};
use tidegate::event::EventId;
use tidegate::normalize::{self, Context};
use tidegate::parse::hl7::{Charset, Path};
use tidegate::secret::Key;

/// 2026-11-22T12:00:00Z, when the first message arrives; each later one a minute after the last.
pub const FIRST: i64 = 1_795_348_800_000;
pub const MINUTE: i64 = 60_000;
pub const PID: &str = "PID|1||ZZ100001^^^EPIC^MR||ZZQUILLON^ZZMARA";

pub fn rules() -> Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(read_rules);
    RULES.clone()
}

fn read_rules() -> Rules {
    let problems = Problems::default();
    let text = "[codes]\n\"HL70496/109\" = [\"CLINTRCH\"]\n[status.north]\nSIGNED = \"active\"\n";
    let document = Document::from_text("p.toml", ".".as_ref(), text);
    let rules = Rules {
        feed: "adt".into(),
        domain: "adt".to_owned(),
        correlation: vec![Path::read("MSH-10").unwrap()],
        windows: Windows {
            dedupe_retention: Duration::from_secs(1),
            control_id_reuse: Duration::from_secs(1),
        },
        charsets: Charset::Utf8.into(),
        context: Context::default(),
        processing_id: None,
        on_unmappable: OnUnmappable::Park,
        on_unsupported: OnUnsupported::Park,
        mappings: Arc::new(normalize::load("mappings".as_ref(), &problems)),
        identity: Arc::default(),
        digests: DigestKey::new(&Key::from_bytes(&[7; 32]).unwrap()),
        policy: Arc::new(Policy::of(&document, &problems)),
        site: Some("north".to_owned()),
    };
    assert!(problems.is_clean(), "{:?}", problems.mistakes());
    rules
}

fn message(sent_at: &str, con: &str) -> String {
    format!("MSH|^~\\&|EHR|N|||{sent_at}+0000||MDM^T02|{sent_at}|P|2.7\r{PID}\rTXA|1\r{con}\r")
}

/// What is kept of messages that arrive one after the other.
fn ledger(rules: &Rules, messages: &[String]) -> Vec<Record> {
    let arrivals = (0..).map(|number| FIRST + number * MINUTE);
    let assessed = messages.iter().zip(arrivals).flat_map(|(text, at)| {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        assess(&bytes, rules, at).admission.unwrap().consents
    });
    assessed.map(|given| given.record).collect()
}

/// What is answered an hour later, about CLINTRCH.
fn answer(rules: &Rules, records: &[Record]) -> Option<Code> {
    let event = EventId("e".into());
    let opt_in = Requirement::OptIn { missing: Missing::Suppress, grantee: Naming::Anybody };
    let question = Question::new(&event, "out", "CLINTRCH", "crm", &opt_in);
    let now = Timestamp::from_millisecond(FIRST + 60 * MINUTE).unwrap();
    ask(&question, &Ledger::of(Epoch(1), records), &rules.policy, now).err().map(|it| it.code())
}

const PERMIT: &str = "CON|1|109^^HL70496||F1|||||||A||20261120";
const GARBLED: &str = "CON|1|109^^HL70496||F1|||||||X-ED||20261121";

/// PROMISE-5
#[test]
fn what_could_not_be_applied_closes_until_the_same_consent_can_be() {
    let rules = rules();
    let sent = |minute: u8, con: &str| message(&format!("202611221200{minute:02}"), con);
    let open = [sent(0, PERMIT)];
    assert_eq!(answer(&rules, &ledger(&rules, &open)), None);
    let closed = [sent(0, PERMIT), sent(1, GARBLED)];
    assert_eq!(answer(&rules, &ledger(&rules, &closed)), Some(Code::Closed));
    let corrected = [sent(0, PERMIT), sent(1, GARBLED), sent(2, PERMIT)];
    assert_eq!(answer(&rules, &ledger(&rules, &corrected)), None);
    let revoked = [sent(0, PERMIT), sent(1, GARBLED), sent(2, &GARBLED.replace("X-ED", "X"))];
    assert_eq!(answer(&rules, &ledger(&rules, &revoked)), Some(Code::Revoked));
    let other = [sent(0, PERMIT), sent(1, GARBLED), sent(2, &PERMIT.replace("F1", "F2"))];
    assert_eq!(answer(&rules, &ledger(&rules, &other)), Some(Code::Closed), "another form");
    // The permit was sent before what could not be read, and is late.
    let late = [sent(1, GARBLED), sent(0, PERMIT)];
    assert_eq!(answer(&rules, &ledger(&rules, &late)), Some(Code::Closed));
    // Read once more, after the word was mapped.
    let once_more = [sent(0, GARBLED), sent(0, PERMIT)];
    assert_eq!(answer(&rules, &ledger(&rules, &once_more)), None);
    // Who decides anew opens, too.
    let anew = [sent(1, GARBLED), sent(2, &PERMIT.replace("F1", "F2").replace("1120", "11221230"))];
    assert_eq!(answer(&rules, &ledger(&rules, &anew)), None);
}

/// Dates of CON-13 to CON-15 are as long as they were given; it is asked on 2026-11-22.
#[test]
fn a_consent_holds_through_the_day_month_or_year_that_it_names() {
    let rules = rules();
    for (decided, from, to, wanted) in [
        ("2026", "", "2026", None),
        ("202611", "202611", "202611", None),
        ("20261121", "20261122", "20261122", None),
        ("202611211200", "2026112212", "20261123", None),
        ("2025", "2025", "2025", Some(Code::Expired)),
        ("202610", "202610", "202610", Some(Code::Expired)),
        ("20261101", "20261101", "20261121", Some(Code::Expired)),
        ("20261101", "202612", "", Some(Code::NotYetEffective)),
        ("20261101", "20261123", "", Some(Code::NotYetEffective)),
        ("2027", "", "", Some(Code::FutureDated)),
        // Without CON-13 it was decided when it began, else when it was sent.
        ("", "202610", "", None),
        ("", "20261123", "", Some(Code::NotYetEffective)),
        ("", "", "", None),
    ] {
        let con = format!("CON|1|109^^HL70496||F1|||||||A||{decided}|{from}|{to}");
        let records = ledger(&rules, &[message("20261122120000", &con)]);
        assert_eq!(answer(&rules, &records), wanted, "{con}");
    }
}

#[test]
fn a_site_has_words_of_its_own() {
    let rules = rules();
    let signed = [message("20261122120000", &PERMIT.replace("|A|", "|SIGNED|"))];
    assert_eq!(answer(&rules, &ledger(&rules, &signed)), None);
    let elsewhere = Rules { site: None, ..rules };
    assert_eq!(answer(&elsewhere, &ledger(&elsewhere, &signed)), Some(Code::Closed));
}

#[test]
fn the_fixtures_with_con_give_records_of_their_patients() {
    let rules = rules();
    for (file, patient, wanted) in [
        ("mdm-t02", "ZZ100102", "consent.granted con1, consent.denied con2"),
        ("mdm-t11", "ZZ100102", "consent.retracted con1"),
        ("adt-a31-consent", "ZZ100131", "patient.updated pid1, consent.revoked con1"),
    ] {
        let bytes = std::fs::read(format!("fixtures/hl7/{file}.hl7")).unwrap();
        let admission = assess(&Bytes::from(bytes), &rules, FIRST).admission.unwrap();
        let shown = |it: &tidegate::admit::entry::Stored| format!("{} {}", it.kind, it.place);
        let events: Vec<String> = admission.content.events.iter().map(shown).collect();
        assert_eq!(events.join(", "), wanted);
        let con = |it: &&String| it.starts_with("CON-");
        let unmapped: Vec<&String> = admission.content.unmapped.iter().filter(con).collect();
        assert!(
            unmapped
                .iter()
                .all(|it| ["CON-1", "CON-10", "CON-11", "CON-21"].contains(&it.as_str()))
        );
        assert_eq!(unmapped.contains(&&"CON-11".to_owned()), file == "mdm-t11", "{unmapped:?}");
        let subject = |given: &Given| given.subject.value.expose() == patient;
        assert!(!admission.consents.is_empty() && admission.consents.iter().all(subject));
    }
}

/// What may stand in a field: words, dates, delimiters, anything.
pub fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        2 => "[A-Z]{1,2}",
        2 => "20[0-9]{2}[01][0-9][0-3][0-9]",
        1 => "(109|110|001)\\^[a-z]{0,3}\\^(HL70496|L)?",
        1 => Just("\"\"".to_owned()),
        1 => "[ -~]{0,12}",
        1 => "\\PC{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// PROMISE-5, PROMISE-11: whatever stands in CON and around it, a message with one gives a
    /// record or a closure of its subject, or is refused; and what is in doubt is an exception.
    #[test]
    fn a_message_with_con_gives_a_record_or_a_closure_or_is_refused(
        kind in "(MDM\\^T02|MDM\\^T11|ADT\\^A01|ADT\\^Z60|ORU\\^R01|SIU\\^S12|)",
        sent_at in field(),
        patient in prop_oneof![4 => Just("ZZ1^^^EPIC^MR".to_owned()), 1 => field()],
        con in proptest::collection::vec(field(), 0..26),
        lines in prop_oneof![Just(""), Just("PV1|1|I\r"), Just("OBR|1\r"), Just("PID|2\r")],
    ) {
        let text = format!(
            "MSH|^~\\&|EHR|N|||{}||{kind}|1|P|2.7\rPID|1||{patient}\r{lines}CON|{}\r",
            sent_at.replace('|', ""), con.join("|")
        );
        let Assessed { finding, admission, .. } =
            assess(&Bytes::from(text.clone()), &rules(), FIRST);
        let admission = admission.unwrap();
        let refused = admission.status == Status::Refused;
        prop_assert_eq!(refused, admission.consents.is_empty(), "{}", text);
        if refused {
            prop_assert!(matches!(
                finding,
                Finding::Malformed(_) | Finding::Unmapped(_, OnUnmappable::Nak)
            ));
            return Ok(());
        }
        let closes = |given: &Given| given.record.says == Says::Closure(Turn::Begins);
        if admission.consents.iter().any(closes) {
            prop_assert_eq!(admission.raised.unwrap().category, Category::ConsentUnknown);
        }
        prop_assert!(admission.on_conflict.iter().all(closes));
        prop_assert!(!admission.on_conflict.is_empty());
        // What is kept is read back as it was.
        for given in &admission.consents {
            let json = serde_json::to_string(&given.record).unwrap();
            prop_assert!(serde_json::from_str::<Record>(&json).unwrap() == given.record);
        }
    }
}
