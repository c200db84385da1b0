//! Messages as hospitals really send them, which no structure of the standard quite fits.

use tidegate::document::Problems;
use tidegate::normalize::{
    self, Context, Documents, Mappings, Normalized, Refusal, Trace, normalize,
};
use tidegate::parse::hl7::{Charset, Message};

use crate::support::corpus::samples;

fn mappings() -> Mappings {
    let problems = Problems::default();
    let mappings = normalize::load("mappings".as_ref(), &problems);
    assert!(problems.is_clean());
    mappings
}

fn mapped(mappings: &Mappings, bytes: &[u8]) -> Option<Result<Normalized, Refusal>> {
    let message = Message::parse(bytes, Charset::Utf8).ok()?;
    let context = Context { documents: Documents::Kept, ..Context::default() };
    Some(normalize(mappings, &message, &context, Trace::Off).map(|(normalized, _)| normalized))
}

/// What each row's message says: the type of its first event, and some of its fields.
#[test]
fn odd_but_real_messages_are_read_as_the_standard_of_their_version_has_it() {
    const HEAD: &str = "MSH|^~\\&|S|H|||20261122||";
    let mappings = mappings();
    for (message, kind, fields) in [
        // 2.1: no trigger in MSH-9; PN, TS and CK of one component.
        (
            "ADT|ZZC|P|2.1\rEVN|A01|20261122\rPID|||ZZ1||ZZFAM^ZZGIV||19400101|M\rPV1||I",
            "patient.admitted",
            &[
                ("message.event", "A01"),
                ("patient.identifiers[0].value", "ZZ1"),
                ("patient.names[0].family", "ZZFAM"),
                ("patient.birthDate", "1940-01-01"),
            ][..],
        ),
        // MSH-9 has the trigger, EVN-1 another: MSH-9 counts. MSH-9.3 is that of another trigger.
        (
            "ADT^A08^ADT_A01|ZZC|P|2.3\rEVN|A01\rPID|1||ZZ1",
            "patient.updated",
            &[("message.event", "A08"), ("message.structure", "ADT_A01")],
        ),
        // Before 2.3.1: the external number alone, the alternate alone, with a check digit.
        (
            "ADT^A04|ZZC|P|2.2\rPID|1|ZZ1^4^M11",
            "patient.registered",
            &[
                ("patient.identifiers[0].value", "ZZ1"),
                ("patient.identifiers[0].authority", ""),
                ("patient.identifiers", "1"),
            ],
        ),
        (
            "ADT^A04|ZZC|P|2.2\rPID|1|||ZZ1~ZZ2",
            "patient.registered",
            &[("patient.identifiers[1].value", "ZZ2")],
        ),
        // The same number in PID-2 and PID-3; an authority by its universal ID alone; SSN.
        (
            "ADT^A04|ZZC|P|2.3\rPID|1|ZZ1|ZZ1~ZZ3^^^&1.2.3&ISO^PI||||||||||||||||ZZSSN",
            "patient.registered",
            &[
                ("patient.identifiers", "3"),
                ("patient.identifiers[1].authorityId", "1.2.3"),
                ("patient.identifiers[1].authorityIdType", "ISO"),
                ("patient.identifiers[2].type", "SS"),
            ],
        ),
        // An authority of nobody, an empty repetition.
        (
            "ADT^A04|ZZC|P|2.3\rPID|1||^^^H^MR~~ZZ1",
            "patient.registered",
            &[("patient.identifiers", "1")],
        ),
        // Birth with an hour, a month alone, a degree of precision (TS.2 before 2.6).
        (
            "ADT^A08|ZZC|P|2.3\rPID|1||ZZ1||||198001021530",
            "patient.updated",
            &[("patient.birthDate", "1980-01-02"), ("patient.birthTime", "1980-01-02T15:30")],
        ),
        (
            "ADT^A08|ZZC|P|2.3\rPID|1||ZZ1||||198001",
            "patient.updated",
            &[("patient.birthDate", "1980-01"), ("patient.birthTime", "")],
        ),
        (
            "ADT^A08|ZZC|P|2.5\rPID|1||ZZ1||||19800102^D",
            "patient.updated",
            &[("patient.birthDate", "1980-01-02")],
        ),
        // 2.7 made codes of what were letters; 2.3 made a family name of parts.
        (
            "ADT^A08|ZZC|P|2.8\rPID|1||ZZ1||ZZDE VRIES&ZZDE&ZZVRIES^ZZA|||F^Female^HL70001\rPV1|1|I^Inpatient^HL70004",
            "patient.updated",
            &[
                ("patient.names[0].family", "ZZDE VRIES"),
                ("patient.sex.code", "female"),
                ("visit.class.code", "IMP"),
            ],
        ),
        // Escapes in small letters, as some engines write them.
        (
            "ADT^A08|ZZC|P|2.3\rPID|1||ZZ1||ZZM\\xc3bc\\ller",
            "patient.updated",
            &[("patient.names[0].family", "ZZMüller")],
        ),
        // No OBR; no set IDs; a value without a type.
        (
            "ORU|ZZC|P|2.1\rPID|||ZZ1\rOBX|||X||5",
            "observation.reported",
            &[("observations[0].value.text", "5"), ("message.event", "")],
        ),
        // A segment of the site's own between an observation and its note; PRT, as since 2.7.
        (
            "ORU^R01|ZZC|P|2.8\rPID|1||ZZ1\rOBR|1|||P\rZOB|1\rNTE|1||ZZORDER\rOBX|1|NM|X||1\rPRT|1\rZBX|1\rNTE|1||ZZNOTE\rOBX|2|NM|Y||2",
            "observation.reported",
            &[
                ("report.comments[0]", "ZZORDER"),
                ("observations[0].comments[0]", "ZZNOTE"),
                ("observations", "2"),
            ],
        ),
        // The parent of 2.2: order numbers as subcomponents.
        (
            "ORU^R01|ZZC|P|2.2\rPID|1||ZZ1\rOBR|1|||X||||||||||||||||||||||^2|||ZZP&A^ZZF&B",
            "observation.reported",
            &[("report.parentResult.subId", "2"), ("report.parentPlacerNumber.value", "ZZP")],
        ),
    ] {
        let text = format!("{HEAD}{message}\r");
        let found = mapped(&mappings, text.as_bytes()).unwrap();
        let found = found.unwrap_or_else(|refusal| panic!("{message}: {refusal}"));
        assert_eq!(found.drafts[0].kind.name(), kind, "{message}");
        for (path, wanted) in fields {
            let value = found.drafts[0].data.root().at(path);
            let said = value.map_or_else(String::new, |value| match value.as_text() {
                Some(text) => text.to_owned(),
                None => value.children().count().to_string(),
            });
            assert_eq!(said, *wanted, "{path} of {message}");
        }
    }
}

#[test]
fn patients_of_one_message_are_never_mixed() {
    let mappings = mappings();
    let two = |nine: &str, between: &str| {
        let text = format!(
            "MSH|^~\\&|S|H|||20261122||{nine}|ZZC|P|2.5\rPID|1||ZZ1||ZZA\r{between}PID|2||ZZ2||ZZB\r{between}"
        );
        let found = mapped(&mappings, text.as_bytes()).unwrap().unwrap();
        let of = |draft: &normalize::Draft| {
            let data = draft.data.root();
            let ids = data.at("patient.identifiers").unwrap().children().count();
            let id = data.at("patient.identifiers[0].value").unwrap().as_text().unwrap().to_owned();
            let name = data.at("patient.names[0].family").unwrap().as_text().unwrap().to_owned();
            (draft.place.clone(), ids, id, name)
        };
        found.drafts.iter().map(of).collect::<Vec<_>>()
    };
    let wanted = |places: [&str; 2]| {
        let all = [(places[0], "ZZ1", "ZZA"), (places[1], "ZZ2", "ZZB")];
        all.map(|(place, id, name)| (place.to_owned(), 1, id.to_owned(), name.to_owned()))
    };
    assert_eq!(two("ORU^R01", "OBR|1|||X\rOBX|1|NM|X||1\r"), wanted(["obr1", "obr2"]));
    // No structure has two here, and some sender does.
    for trigger in ["A01", "A08", "A31"] {
        assert_eq!(two(&format!("ADT^{trigger}"), "PV1|1|I\r"), wanted(["pid1", "pid2"]));
    }
}

/// Whatever the line ends, and whatever segments of a site's own stand between: the same events.
#[test]
fn line_ends_and_segments_of_a_site_s_own_change_no_event_of_the_corpus() {
    let mappings = mappings();
    let mut compared = 0;
    for sample in samples() {
        let lines: Vec<&[u8]> = sample
            .bytes
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .filter(|line| !line.trim_ascii().is_empty())
            .collect();
        // A line end within a value is told from the others by those; the files have some.
        let is_segment = |line: &&[u8]| {
            line.len() > 3
                && line[..3].iter().all(u8::is_ascii_alphanumeric)
                && !line[3].is_ascii_alphanumeric()
        };
        if !lines.iter().all(is_segment) {
            continue;
        }
        let Some(plain) = mapped(&mappings, &lines.join(&b'\r')) else { continue };
        let with = |between: &[u8]| mapped(&mappings, &lines.join(between)).unwrap();
        // But for which segments each is of.
        let said = |found: &Result<Normalized, Refusal>| {
            let unplaced = |mut it: Normalized| {
                it.drafts.iter_mut().for_each(|draft| draft.ranges.clear());
                it
            };
            found.clone().map(unplaced)
        };
        let plain = said(&plain);
        let with = |between: &[u8]| said(&with(between));
        for ends in [&b"\n"[..], b"\r\n", b"\r\r\n"] {
            assert_eq!(with(ends), plain, "{}", sample.path);
        }
        let site = with(b"\rZZZ|1|ZZSITE\r");
        let events = |found: Result<Normalized, Refusal>| found.map(|it| (it.drafts, it.invalid));
        assert_eq!(events(site), events(plain), "{}", sample.path);
        compared += 1;
    }
    assert!(compared > 330, "{compared}");
}
