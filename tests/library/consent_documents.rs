//! Privacy consents as CDA documents in messages: which events they give, and what is kept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tidegate::admit::assess::{Assessed, Finding, Rules, assess};
use tidegate::admit::entry::{Category, Status};
use tidegate::consent::{
    Epoch, Ledger, Missing, Naming, Policy, Question, Record, Requirement, Says, Turn, ask,
};
use tidegate::document::{Document, Problems};
use tidegate::event::{EventId, EventType};
use tidegate::normalize::bears_consent;
use tidegate::parse::hl7::{Charset, Message};

use crate::consent_intake::{FIRST, MINUTE, rules as of_con};

const POLICY: &str = r#"
[codes]
"urn:oid:2.16.840.1.113883.3.9999/ZZ-YES" = ["CLINTRCH"]
"urn:oid:2.16.840.1.113883.3.9999/ZZ-NO" = { purposes = ["CLINTRCH"], decision = "deny" }
"urn:oid:2.16.840.1.113883.3.9999/ZZ-MAIL" = ["HMARKT"]
"#;

fn rules() -> Rules {
    let problems = Problems::default();
    let policy = Policy::of(&Document::from_text("p", ".".as_ref(), POLICY), &problems);
    assert!(problems.is_clean(), "{:?}", problems.mistakes());
    Rules { policy: policy.into(), ..of_con() }
}

/// A BPPC document of the patient ZZ100001 with these service events.
fn document(services: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
 <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
 <templateId root="1.3.6.1.4.1.19376.1.5.3.1.1.7"/>
 <id root="2.16.840.1.113883.3.9999.1" extension="ZZDOC7"/>
 <code code="57016-8" codeSystem="2.16.840.1.113883.6.1"/>
 <title>ZZCONSENT</title>
 <effectiveTime value="20261101101500-0800"/>
 <confidentialityCode code="N"/>
 <setId root="2.16.840.1.113883.3.9999.2" extension="ZZSET7"/>
 <versionNumber value="2"/>
 <recordTarget><patientRole><id root="2.16.840.1.113883.3.9999.3" extension="ZZ100001"/>
  <patient><name><given>ZZMARA</given><family>ZZQUILLON</family></name></patient></patientRole></recordTarget>
 {services}
 <component><nonXMLBody><text mediaType="application/pdf" representation="B64">WlpTQ0FO</text></nonXMLBody></component>
</ClinicalDocument>"#
    )
}

fn service(code: &str, period: &str) -> String {
    format!(
        r#"<documentationOf typeCode="DOC"><serviceEvent classCode="ACT" moodCode="EVN">
<templateId root="1.3.6.1.4.1.19376.1.5.3.1.2.6"/><id root="1.2.3" extension="ZZ1"/>
<code code="{code}" codeSystem="2.16.840.1.113883.3.9999" displayName="ZZPOLICY"/>
<effectiveTime>{period}</effectiveTime></serviceEvent></documentationOf>"#
    )
}

const PERIOD: &str = r#"<low value="20261101"/><high value="20271031"/>"#;

fn mdm(trigger: &str, txa: &str, obx: &str) -> String {
    format!(
        "MSH|^~\\&|EHR|N|||20261122110000+0000||MDM^{trigger}|ZZ{trigger}|P|2.7\r\
         PID|1||ZZ100001^^^EPIC^MR||ZZQUILLON^ZZMARA\r{txa}\r{obx}\r"
    )
}

fn embedded(document: &str) -> String {
    format!("OBX|1|ED|57016-8^Consent^LN||^TEXT^XML^Base64^{}||||||F", STANDARD.encode(document))
}

const TXA: &str = "TXA|1|CO|TX|||20261101|||||ZZU1|ZZDOC7|||||AU";

fn taken(text: &str) -> Assessed {
    assess(&Bytes::copy_from_slice(text.as_bytes()), &rules(), FIRST)
}

/// Types and places of the events, and what is kept: `active ZZSET7 ZZ-YES`, `closes …`.
fn shown(text: &str) -> (Vec<String>, Vec<String>) {
    let Some(admission) = taken(text).admission else { return (Vec::new(), Vec::new()) };
    let events = admission.content.events.iter().map(|it| format!("{} {}", it.kind, it.place));
    let kept = |record: &Record| match &record.says {
        Says::Consent(consent) => {
            Some(format!("{} {:?} {}", consent.status.name(), consent.decision, record.key.id))
        }
        Says::Closure(Turn::Begins) => Some(format!("closes {}", record.key.id)),
        Says::Closure(Turn::Ends) | Says::Restriction(_) => None,
    };
    (events.collect(), admission.consents.iter().filter_map(|it| kept(&it.record)).collect())
}

fn records(text: &str) -> Vec<Record> {
    taken(text).admission.unwrap().consents.into_iter().map(|given| given.record).collect()
}

fn answer(records: &[Record], purpose: &str) -> String {
    let event = EventId("e".into());
    let opt_in = Requirement::OptIn { missing: Missing::Suppress, grantee: Naming::Anybody };
    let question = Question::new(&event, "out", purpose, "crm", &opt_in);
    let now = jiff::Timestamp::from_millisecond(FIRST + 60 * MINUTE).unwrap();
    match ask(&question, &Ledger::of(Epoch(1), records), &rules().policy, now) {
        Ok(_) => "permit".to_owned(),
        Err(refusal) => refusal.code().to_string(),
    }
}

#[test]
fn a_document_gives_a_consent_for_each_policy_that_it_acknowledges() {
    let both = document(&(service("ZZ-YES", PERIOD) + &service("ZZ-MAIL", PERIOD)));
    let text = mdm("T02", TXA, &embedded(&both));
    let (events, kept) = shown(&text);
    assert_eq!(events, ["consent.granted cda1", "consent.granted cda2"]);
    assert_eq!(kept, ["active Permit ZZSET7 ZZ-YES", "active Permit ZZSET7 ZZ-MAIL"]);
    let records = records(&text);
    let record = records.iter().find(|it| it.consent().is_some()).unwrap();
    let given = |at: Option<tidegate::consent::Moment>| at.unwrap().given().to_string();
    assert_eq!(given(record.decided_at), "2026-11-01T10:15:00-08:00");
    assert_eq!(given(record.effective_from), "2026-11-01");
    assert_eq!(given(record.effective_to), "2027-10-31");
    assert_eq!(record.key.source, "2.16.840.1.113883.3.9999.2");
    assert_eq!(record.version.as_deref(), Some("2"));
    assert_eq!(record.origin.document.as_deref(), Some("ZZDOC7"));
    assert_eq!([answer(&records, "CLINTRCH"), answer(&records, "HMARKT")], ["permit", "permit"]);
    assert_eq!(answer(&records, "TREAT"), "missing");
    // It is an event of the patient of the message, and says what the document says.
    let admission = taken(&text).admission.unwrap();
    let data = admission.content.events[0].data.clone();
    let said = |path: &str| data.root().at(path).and_then(|it| it.as_text().map(str::to_owned));
    for (path, wanted) in [
        ("patient.identifiers[0].value", "ZZ100001"),
        ("message.type", "MDM"),
        ("consent.type.code", "ZZ-YES"),
        ("consent.type.display", "ZZPOLICY"),
        ("consent.decision", "permit"),
    ] {
        assert_eq!(said(path).as_deref(), Some(wanted), "{path}");
    }
}

#[test]
fn a_policy_that_says_no_is_a_refusal() {
    let text = mdm("T02", TXA, &embedded(&document(&service("ZZ-NO", PERIOD))));
    assert_eq!(shown(&text).0, ["consent.denied cda1"]);
    assert_eq!(answer(&records(&text), "CLINTRCH"), "refused");
}

#[test]
fn it_is_read_in_each_encoding_and_beside_other_events() {
    let document = document(&service("ZZ-YES", PERIOD));
    let hex: String = document.bytes().map(|byte| format!("{byte:02X}")).collect();
    let escaped = document.replace('\\', "\\E\\").replace('\n', " ");
    for obx in [
        embedded(&document),
        embedded(&format!("\u{feff}{document}")),
        format!("OBX|1|ED|57016-8^^LN||^TEXT^XML^Hex^{hex}||||||F"),
        format!("OBX|1|ED|57016-8^^LN||^TEXT^XML^A^{escaped}||||||F"),
        format!("OBX|1|TX|57016-8^^LN||{escaped}||||||F"),
    ] {
        let text = mdm("T02", TXA, &obx);
        assert_eq!(shown(&text).1, ["active Permit ZZSET7 ZZ-YES"], "{}", &obx[..40]);
    }
    let oru = mdm("T02", "OBR|1|ZZP1|ZZF1|24331-1^Panel^LN|||20261122", &embedded(&document));
    let (events, _) = shown(&oru.replace("MDM^T02", "ORU^R01"));
    assert_eq!(events, ["observation.reported obr1", "consent.granted cda1"]);
    let con = format!("{TXA}\rCON|1|109^^HL70496||ZZF-9|||||||A||20261101");
    assert_eq!(
        shown(&mdm("T02", &con, &embedded(&document))).0,
        ["consent.granted con1", "consent.granted cda1"]
    );
}

/// PROMISE-5
#[test]
fn a_document_that_cannot_be_applied_closes() {
    let yes = service("ZZ-YES", PERIOD);
    let (id, other) = ("extension=\"ZZ100001\"", "extension=\"ZZ999999\"");
    let endless = |why: &str| format!(r#"<low value="20261101"/><high nullFlavor="{why}"/>"#);
    let cut = |obx: String| obx[..obx.len() - 40].to_owned();
    for (name, obx) in [
        ("about somebody else", embedded(&document(&yes).replace(id, other))),
        ("no policy", embedded(&document(""))),
        (
            "a policy without a code",
            embedded(&document(&yes.replace("code=\"ZZ-YES\"", "nullFlavor=\"UNK\""))),
        ),
        ("no XML", embedded(&document(&yes).replace("</ClinicalDocument>", ""))),
        ("a DTD", embedded(&document(&yes).replacen("<Clin", "<!DOCTYPE x><Clin", 1))),
        ("cut short", cut(embedded(&document(&yes)))),
        (
            "an end that cannot be",
            embedded(&document(&service("ZZ-YES", r#"<high value="20261399"/>"#))),
        ),
        ("an end that nobody knows", embedded(&document(&service("ZZ-YES", &endless("UNK"))))),
    ] {
        let text = mdm("T02", TXA, &obx);
        let assessed = taken(&text);
        let admission = assessed.admission.unwrap();
        let raised = admission.raised.map(|raised| (raised.category, raised.place));
        assert_eq!(raised, Some((Category::ConsentUnknown, "OBX-5".to_owned())), "{name}");
        assert_eq!(answer(&records(&text), "CLINTRCH"), "closed", "{name}");
    }
    // The same document, once it can be read, ends that.
    let broken =
        mdm("T02", TXA, &embedded(&document(&service("ZZ-YES", r#"<high value="20261399"/>"#))));
    let right = mdm("T02", TXA, &embedded(&document(&service("ZZ-YES", &endless("PINF")))))
        .replace("20261122110000", "20261122110100");
    let all = [records(&broken), records(&right)].concat();
    assert_eq!(answer(&all, "CLINTRCH"), "permit");
    // A message that gives nothing else.
    let unread = mdm("T02", TXA, &embedded(&document(&yes))).replace("ZZ100001^^^EPIC^MR", "");
    let assessed = taken(&unread);
    assert!(matches!(assessed.finding, Finding::Unmapped(..)));
    assert_eq!(assessed.admission.unwrap().status, Status::Refused);
}

#[test]
fn a_policy_that_nobody_mapped_is_kept_and_an_exception() {
    let text = mdm("T02", TXA, &embedded(&document(&service("ZZ-OTHER", PERIOD))));
    let admission = taken(&text).admission.unwrap();
    assert_eq!(admission.raised.unwrap().category, Category::ConsentUnknown);
    assert_eq!(answer(&records(&text), "CLINTRCH"), "missing");
}

/// HL7's consent directives say in their sections what a policy does not.
#[test]
fn a_directive_with_sections_opens_nothing() {
    let section = r#"<component><structuredBody><component><section>
        <templateId root="2.16.840.1.113883.3.445.17"/><text>but not</text></section></component></structuredBody></component>"#;
    let document = document(&service("ZZ-YES", PERIOD));
    let start = document.find("<component>").unwrap();
    let document = format!("{}{section}</ClinicalDocument>", &document[..start]);
    let text = mdm("T02", TXA, &embedded(&document));
    assert_eq!(shown(&text).0, ["consent.updated cda1"]);
    assert_eq!(answer(&records(&text), "CLINTRCH"), "missing");
}

#[test]
fn a_document_that_is_replaced_or_taken_back_permits_no_more() {
    let yes = document(&service("ZZ-YES", PERIOD));
    let first = records(&mdm("T02", TXA, &embedded(&yes)));
    let mail = document(&service("ZZ-MAIL", PERIOD)).replace("ZZSET7", "ZZSET8");
    let related = r#"<relatedDocument typeCode="RPLC"><parentDocument><id root="2.16.840.1.113883.3.9999.1" extension="ZZDOC7"/></parentDocument></relatedDocument>"#;
    let replaced = mail.replace("extension=\"ZZDOC7\"", "extension=\"ZZDOC8\"");
    let by_itself = replaced.replacen(" <component>", &format!("{related}<component>"), 1);
    let next = "TXA|1|CO|TX|||20261102|||||ZZU2|ZZDOC8|ZZDOC7||||AU";
    for text in [mdm("T10", next, &embedded(&replaced)), mdm("T02", next, &embedded(&by_itself))] {
        let all = [first.clone(), records(&text)].concat();
        assert_eq!(answer(&all, "HMARKT"), "permit");
        assert_eq!(answer(&all, "CLINTRCH"), "inactive");
    }
    let deleted = TXA.replace("||||AU", "||||AU||CA");
    let text = mdm("T08", &deleted, &embedded(&yes));
    assert_eq!(shown(&text).0, ["consent.retracted cda1"]);
    let all = [first, records(&text)].concat();
    assert_eq!(answer(&all, "CLINTRCH"), "missing");
}

/// A header says that a consent exists, and no more; other documents say nothing.
#[test]
fn other_documents_say_nothing_of_consent() {
    let note = document("")
        .replace("1.3.6.1.4.1.19376.1.5.3.1.1.7", "2.16.840.1.113883.10.20.22.1.6")
        .replace("57016-8", "28570-0")
        .replacen(
            " <component>",
            "<authorization><consent><id root=\"1.2\"/><code code=\"64293-4\" codeSystem=\"2.16.840.1.113883.6.1\"/>\
             <statusCode code=\"completed\"/></consent></authorization><component>",
            1,
        );
    for obx in [
        embedded(&note),
        "OBX|1|TX|18842-5^Note^LN||ZZTEXT that names 57016-8||||||F".to_owned(),
        "OBX|1|ED|18842-5^Note^LN||^AP^PDF^Base64^JVBERi0xLjcgNTcwMTYtOA==||||||F".to_owned(),
        "OBX|1|ED|18842-5^Note^LN||^TEXT^XML^Base64^PG5vdGU+||||||F".to_owned(),
        "OBX|1|ED|18842-5^Note^LN||^TEXT^XML^Base64^!!||||||F".to_owned(),
    ] {
        let text = mdm("T02", TXA, &obx);
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        assert!(!bears_consent(&message), "{}", &obx[..60]);
        assert!(matches!(taken(&text).finding, Finding::Unsupported { .. }));
    }
}

/// A document of others: its time of writing cannot be, and its sections say more than its policy.
#[test]
fn the_consent_directive_of_the_corpus_is_kept_and_opens_nothing() {
    let path =
        "fixtures/corpus/xml/consent2share-cda-consent/consent-gen-consentSaxTransformSample.xml";
    let document = std::fs::read_to_string(path).unwrap();
    let text = mdm("T02", TXA, &embedded(&document)).replace("ZZ100001", "266666666");
    let admission = taken(&text).admission.unwrap();
    let [event] = admission.content.events.as_slice() else { panic!("one event") };
    assert_eq!(event.kind, EventType::ConsentUpdated);
    assert_eq!(admission.raised.unwrap().category, Category::ConsentUnknown);
    let record = &admission.consents[0].record;
    assert_eq!(record.effective_to.unwrap().given().to_string(), "2014-09-04");
    assert_eq!(record.origin.withdraws.as_deref(), Some("2345"));
    assert_eq!(answer(&records(&text), "CLINTRCH"), "missing");
}
