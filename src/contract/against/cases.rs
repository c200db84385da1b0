//! Changes and their verdicts.
//!
//! Promises: none; these are the tests of it.
//! Knows nothing of: folders and git.

use std::path::Path;

use super::*;
use crate::contract::gather;
use crate::event::Declaration;

const CONTRACT: &str = r#"
name = "trial"
version = "1.4.2"
schema = 1
consumer = "crm"
owner = "research"
agreement = "DUA-1"
purpose = "CLINTRCH"
realm = "research"
tier = "pseudonymized"
on_revoked = "delete"
events = ["patient.admitted", "observation.reported"]
[consent]
require = "opt-in"
[fields]
"subject" = "token"
"visit.class" = "keep"
"visit.number.value" = "hash"
"observations[].code" = "keep"
[deliver]
kind = "rabbitmq"
exchange = "tidegate.research"
"#;

fn document(text: &str) -> Document {
    Document::from_text("r.toml", Path::new("."), text)
}

fn contract(text: &str) -> Contract {
    let problems = Problems::default();
    let mut found =
        gather(std::iter::once(&document(text)), Declaration::default(), &|_, _| None, &problems)
            .right;
    assert!(problems.is_clean(), "{:?}", problems.mistakes());
    found.remove(0)
}

/// What is found where each text stands instead of another.
fn found(changes: &[(&str, &str)]) -> Vec<String> {
    let mut text = CONTRACT.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let comparison = compare(&contract(CONTRACT), &contract(&text));
    let line = |finding: &Finding| {
        let Place { line, .. } = place(&document(&text), finding);
        let wanted = comparison.wanted(finding).unwrap_or("right".to_owned());
        format!("{line} {}: {}; {wanted}", finding.kind.name(), finding.text)
    };
    comparison.findings.iter().map(line).collect()
}

const OPT_IN: &str = "require = \"opt-in\"";
type Row = (&'static [(&'static str, &'static str)], &'static [&'static str]);
/// Texts that stand instead of others, and what is found then: line, kind, text, and the version
/// that is wanted.
const CHANGES: &[Row] = &[
    (&[], &[]),
    (&[("crm", "cro")], &["5 lowers protection: `consumer` is cro, and was crm; 2.0.0"]),
    (
        &[("CLINTRCH", "HMARKT")],
        &["8 lowers protection: `purpose` is HMARKT, and was CLINTRCH; 2.0.0"],
    ),
    (
        &[("agreement = \"DUA-1\"\n", "")],
        &["1 lowers protection: `agreement` is none, and was DUA-1; 2.0.0"],
    ),
    (&[("DUA-1", "DUA-2")], &["7 other: `agreement` is DUA-2, and was DUA-1; 1.4.3"]),
    (
        &[("\"delete\"", "\"keep\"")],
        &["11 lowers protection: `on_revoked` is keep, and was delete; 2.0.0"],
    ),
    (
        &[("research\"\ntier", "care\"\ntier")],
        &["9 breaking: `realm` is care, and was research: every token, hash and ID is \
               another; 2.0.0"],
    ),
    (
        &[("\"patient.admitted\", ", "\"patient.updated\", ")],
        &[
            "12 breaking: patient.admitted is not selected any more; 2.0.0",
            "12 addition: patient.updated is selected, and was not; 1.5.0",
        ],
    ),
    (
        &[(OPT_IN, "require = \"opt-out\"")],
        &["14 lowers protection: `consent.require` is opt-out, and was opt-in; 2.0.0"],
    ),
    (
        &[(OPT_IN, "require = \"none\"\nbasis = \"a law\"")],
        &["14 lowers protection: `consent.require` is none, and was opt-in; 2.0.0"],
    ),
    (
        &[(OPT_IN, "require = \"opt-in\"\nchannel = \"sms\"")],
        &["15 other: `consent.channel` is sms, and was any; 1.4.3"],
    ),
    (
        &[("\"visit.class\" = \"keep\"\n", "")],
        &["15 breaking: visit.class.code does not leave any more; 2.0.0"],
    ),
    (
        &[("\"visit.class\" = \"keep\"", "\"visit.class.code\" = \"hash\"")],
        &["17 breaking: visit.class.code leaves by `hash`, and did by `keep`; 2.0.0"],
    ),
    (
        &[("\"visit.class\"", "\"visit.status\" = \"keep\"\n\"visit.class\"")],
        &["17 addition: visit.status.code leaves by `keep` (clinical), and did not; 1.5.0"],
    ),
    (
        &[("\"subject\" = \"token\"\n", "")],
        &["15 breaking: the subject does not leave, and did as a token; 2.0.0"],
    ),
    (
        &[(
            "kind = \"rabbitmq\"\nexchange = \"tidegate.research\"",
            "kind = \"file\"\npath = \"x\"",
        )],
        &["21 breaking: `deliver.kind` is file, and was rabbitmq: the consumer finds nothing \
               where it was; 2.0.0"],
    ),
    (
        &[("exchange = \"tidegate.research\"", "exchange = \"x\"\nrouting_key = \"k\"")],
        &[
            "22 breaking: `deliver.exchange` is x, and was tidegate.research: the consumer \
                 finds nothing where it was; 2.0.0",
            "23 breaking: `deliver.routing_key` is k, and was {type}: the consumer finds \
                 nothing where it was; 2.0.0",
        ],
    ),
    (
        &[("events", "once = \"visit\"\nevents")],
        &["12 breaking: what another source told before does not leave any more; 2.0.0"],
    ),
    (
        &[("events", "expires = 2027-06-30\nhistory = true\nlabels = [\"SUD\"]\nevents")],
        &[
            "13 lowers protection: history leaves, and did not; 2.0.0",
            "14 lowers protection: what is labelled SUD leaves, and did not; 2.0.0",
            "12 other: `expires` is 2027-06-30, and was none; 1.4.3",
        ],
    ),
    (
        &[("[consent]", "[[when]]\n\"visit.class.code\" = \"IMP\"\n[consent]")],
        &["13 breaking: `when` does not want for certain what it wanted; 2.0.0"],
    ),
    (
        &[(
            "\"visit.class\"",
            "\"patient.birthDate\" = { transform = \"year\", as = \"patient.birthYear\" }\n\
             \"visit.class\"",
        )],
        &["17 addition: patient.birthYear leaves by `year` (quasi), and did not; 1.5.0"],
    ),
    (
        &[("\"visit.class\"", "\"patient.birthDate\" = \"month\"\n\"visit.class\"")],
        &["17 lowers protection: patient.birthDate leaves by `month` (quasi), and did not; 2.0.0"],
    ),
    (
        &[(
            "\"visit.class\" = \"keep\"",
            "\"visit.class.code\" = { transform = \"keep\", as = \"visit.class.kind\" }",
        )],
        &[
            "17 breaking: visit.class.code does not leave any more; 2.0.0",
            "17 addition: visit.class.kind leaves by `keep` (clinical), and did not; 1.5.0",
        ],
    ),
    (&[("events", "rate_max = 5\nevents")], &["12 other: `rate_max` is 5, and was 0; 1.4.3"]),
    // Versions that say so, or not enough, or the contrary.
    (
        &[("1.4.2", "1.4.3"), ("DUA-1", "DUA-2")],
        &["7 other: `agreement` is DUA-2, and was DUA-1; right"],
    ),
    (
        &[("1.4.2", "2.0.0"), ("crm", "cro")],
        &["5 lowers protection: `consumer` is cro, and was crm; right"],
    ),
    (
        &[("1.4.2", "1.5.0"), ("crm", "cro")],
        &["5 lowers protection: `consumer` is cro, and was crm; 2.0.0"],
    ),
    (
        &[("1.4.2", "1.4.3"), ("\"visit.class\"", "\"visit.status\" = \"keep\"\n\"visit.class\"")],
        &["17 addition: visit.status.code leaves by `keep` (clinical), and did not; 1.5.0"],
    ),
    (&[("1.4.2", "1.3.9")], &["3 breaking: the version goes back, from 1.4.2 to 1.3.9; 2.0.0"]),
];

/// PROMISE-7
#[test]
fn each_change_has_its_verdict_at_its_place() {
    for (changes, wanted) in CHANGES {
        assert_eq!(found(changes), *wanted, "{changes:?}");
    }
}

#[test]
fn a_filter_that_wants_less_breaks_and_one_that_wants_more_adds() {
    let with = |rows: &[&str]| {
        let tables = rows.iter().map(|row| format!("[[when]]\n{row}\n")).collect::<String>();
        contract(&CONTRACT.replace("[consent]", &format!("{tables}[consent]")))
    };
    let (least, most) =
        (|of| format!("\"observations[].value.number\" = {{ at_least = {of} }}"), 9);
    let inpatient = "\"visit.class.code\" = \"IMP\"";
    let any = "\"visit.class.code\" = { one_of = [\"IMP\", \"EMER\"] }";
    let both = format!("{inpatient}\n{}", least(6));
    let (six, nine) = (least(6), least(most));
    for (old, new, kind) in [
        (vec![inpatient], vec![any], Some(Kind::Addition)),
        (vec![any], vec![inpatient], Some(Kind::Breaking)),
        (vec![six.as_str()], vec![nine.as_str()], Some(Kind::Breaking)),
        (vec![nine.as_str()], vec![six.as_str()], Some(Kind::Addition)),
        (vec![both.as_str()], vec![inpatient], Some(Kind::Addition)),
        (vec![inpatient], vec![both.as_str()], Some(Kind::Breaking)),
        (vec![inpatient], vec![six.as_str(), inpatient], Some(Kind::Addition)),
        (vec![six.as_str(), inpatient], vec![inpatient], Some(Kind::Breaking)),
        (vec![inpatient, six.as_str()], vec![six.as_str(), inpatient], None),
        (vec![inpatient], vec![], Some(Kind::Addition)),
        (vec![], vec![inpatient], Some(Kind::Breaking)),
    ] {
        let findings = compare(&with(&old), &with(&new)).findings;
        let found = findings.iter().find(|it| it.key == ["when"]).map(|finding| finding.kind);
        assert_eq!(found, kind, "{old:?} {new:?}");
    }
}

#[test]
fn a_setting_that_tells_more_lowers_the_protection_and_one_that_tells_less_breaks() {
    let with = |settings: &str| {
        let line = format!("\"patient.birthDate\" = {settings}\n\"visit.class\"");
        contract(&CONTRACT.replace("\"visit.class\"", &line))
    };
    let band = |width: u8| {
        format!("{{ transform = \"age-band\", width = {width}, as = \"patient.band\" }}")
    };
    let age = "{ transform = \"age\", as = \"patient.band\" }".to_owned();
    for (less, more) in [(band(10), band(5)), (band(5), age)] {
        let kinds = |old: &str, new: &str| -> Vec<Kind> {
            compare(&with(old), &with(new)).findings.iter().map(|it| it.kind).collect()
        };
        assert_eq!(kinds(&less, &more), [Kind::Breaking, Kind::LowersProtection]);
        assert_eq!(kinds(&more, &less), [Kind::Breaking]);
        assert_eq!(kinds(&less, &less), []);
    }
}

#[test]
fn more_than_before_of_who_it_is_lowers_the_protection() {
    let treat = [("pseudonymized", "identified"), ("CLINTRCH", "TREAT")];
    let by = |change: (&str, &str)| {
        let (old, new) = (CONTRACT.replace("CLINTRCH", "TREAT"), [treat[0], treat[1], change]);
        let mut text = CONTRACT.to_owned();
        new.iter().for_each(|(from, to)| text = text.replace(from, to));
        let comparison = compare(&contract(&old), &contract(&text));
        let kinds = comparison.findings.iter().map(|finding| (finding.kind, finding.key.join(".")));
        kinds.collect::<Vec<_>>()
    };
    let tier = [(Kind::Breaking, "tier".to_owned()), (Kind::LowersProtection, "tier".to_owned())];
    assert_eq!(by(("", "")), tier);
    let with = |own: &[(Kind, &str)]| {
        let own = own.iter().map(|(kind, key)| (*kind, (*key).to_owned()));
        let mut all: Vec<_> = tier.iter().cloned().chain(own).collect();
        all.sort_by_key(|(kind, _)| *kind);
        all
    };
    use Kind::{Addition, Breaking, LowersProtection};
    let subject = "fields.subject";
    assert_eq!(
        by(("\"subject\" = \"token\"", "\"subject\" = \"keep\"")),
        with(&[(LowersProtection, subject), (Breaking, subject)])
    );
    let number = "fields.visit.number.value";
    assert_eq!(
        by(("number.value\" = \"hash\"", "number.value\" = \"keep\"")),
        with(&[(Breaking, number), (LowersProtection, number)])
    );
    let field = |name: &str| format!("\"{name}\" = \"keep\"\n\"visit.class\"");
    assert_eq!(
        by(("\"visit.class\"", &field("patient.birthDate"))),
        with(&[(LowersProtection, "fields.patient.birthDate")])
    );
    assert_eq!(
        by(("\"visit.class\"", &field("visit.status"))),
        with(&[(Addition, "fields.visit.status.code")])
    );
}
