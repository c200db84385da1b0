//! Messages in XML: what they say with pipes they say in XML.

use std::path::{Path as FilePath, PathBuf};

use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use tidegate::document::Problems;
use tidegate::normalize::{self, Context, Mappings, Trace};
use tidegate::parse::hl7::{Charset, Composite, Malformed, Message, Path, Scope};

use crate::support::corpus::samples;
use crate::{join, well_formed, written};

fn mappings() -> Mappings {
    normalize::load("mappings".as_ref(), &Problems::default())
}

/// All that comes of a message: each event with its type, subject and data, what no rule took, what
/// cannot be; or the refusal.
fn outcome(mappings: &Mappings, message: &Message<'_>) -> String {
    match normalize::normalize(mappings, message, &Context::default(), Trace::Off) {
        Ok((normalized, _)) => {
            let mut all = String::new();
            for draft in &normalized.drafts {
                let data = serde_json::to_string(&draft.data).unwrap();
                all += &format!("{} {} {data}\n", draft.kind, draft.place);
            }
            all + &format!("{:?} {:?}", normalized.unmapped, normalized.invalid)
        }
        Err(refusal) => refusal.to_string(),
    }
}

/// What a message is recognized by, as a feed has it without being told otherwise.
fn recognized_by(message: &Message<'_>) -> Vec<String> {
    let all = [0..message.len()];
    let scope = Scope::new(message, &all);
    let text = |path: &str| {
        let hit = Path::read(path).unwrap().first(&scope)?;
        Some(hit.whole_field().to_owned())
    };
    ["MSH-3", "MSH-4", "MSH-10"].iter().filter_map(|path| text(path)).collect()
}

/// A value as character data and `escape` elements.
fn data(raw: &str) -> String {
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut parts = raw.split('\\');
    let mut out = plain(parts.next().unwrap_or_default());
    while let Some(code) = parts.next() {
        match code {
            "F" => out += "|",
            "S" => out += "^",
            "T" => out += "&amp;",
            "R" => out += "~",
            "E" => out += "\\",
            _ => out += &format!("<escape V=\"{code}\"/>"),
        }
        out += &plain(parts.next().unwrap_or_default());
    }
    out
}

/// A message in XML, each field and component with an element, in groups as deep as `depth`.
fn in_xml(message: &Message<'_>, depth: usize) -> String {
    let delimiters = message.delimiters();
    let [component, sub] = [delimiters.component, delimiters.subcomponent.unwrap()].map(char::from);
    let mut out = "<ZZX_Z01 xmlns=\"urn:hl7-org:v2xml\">".to_owned();
    for segment in message.segments() {
        let name = segment.name();
        (0..depth).for_each(|_| out += "<ZZX_Z01.GROUP>");
        out += &format!("<{name}>");
        for number in 1..=segment.field_count() {
            let field = segment.field(number).unwrap();
            let tag = format!("{name}.{number}");
            if name == "MSH" && number <= 2 {
                out += &format!("<{tag}>{}</{tag}>", field.replace('&', "&amp;"));
                continue;
            }
            for repetition in message.repetitions(field) {
                out += &format!("\n  <{tag}>");
                for (at, part) in (1..).zip(repetition.split(component)) {
                    out += &format!("<ZT.{at}>");
                    if part.contains(sub) {
                        for (at, part) in (1..).zip(part.split(sub)) {
                            out += &format!("<ZS.{at}>{}</ZS.{at}>", data(part));
                        }
                    } else {
                        out += &data(part);
                    }
                    out += &format!("</ZT.{at}>");
                }
                out += &format!("</{tag}>");
            }
        }
        out += &format!("\n</{name}>");
        (0..depth).for_each(|_| out += "</ZZX_Z01.GROUP>");
    }
    out + "\n</ZZX_Z01>"
}

/// Whether XML has a place for all of a message: segments with legal names, escapes in pairs, no
/// control characters.
fn has_xml(message: &Message<'_>) -> bool {
    message.delimiters().subcomponent.is_some()
        && message.segments().all(|segment| {
            let line = segment.line();
            let even = segment.name() == "MSH" || line.matches('\\').count() % 2 == 0;
            let codes = line.split('\\').skip(1).step_by(2);
            let legal = |code: &str| {
                !code.is_empty()
                    && code.len() <= 256
                    && code.bytes().all(|byte| matches!(byte, b' '..=b'~'))
                    && !code.contains(['|', '^', '~', '&', '<', '>', '"', '\''])
            };
            let is_plain = segment.name() == "MSH" || codes.into_iter().all(legal);
            segment.label() == segment.name()
                && even
                && is_plain
                && !line.chars().any(|letter| letter.is_control())
        })
}

fn fixtures(dir: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn each_fixture_in_xml_says_what_its_message_with_pipes_says() {
    let mappings = mappings();
    for (xml, pipes) in [
        ("adt-a01.xml", "adt-a01.hl7"),
        ("adt-a01-engine.xml", "adt-a01.hl7"),
        ("oru-r01-patients.xml", "oru-r01-patients.hl7"),
    ] {
        let [xml, pipes] = [("xml", xml), ("hl7", pipes)].map(|(dir, name)| {
            std::fs::read(FilePath::new("fixtures").join(dir).join(name)).unwrap()
        });
        let [one, other] =
            [&xml, &pipes].map(|bytes| Message::parse(bytes, Charset::Utf8).unwrap());
        assert_eq!(one.len(), other.len());
        assert!(outcome(&mappings, &other).contains("patient"));
        assert_eq!(outcome(&mappings, &one), outcome(&mappings, &other));
        assert_eq!(recognized_by(&one), recognized_by(&other));
        // Also in UTF-16, which is a mark and two bytes a unit.
        let text = format!("\u{feff}{}", std::str::from_utf8(&xml).unwrap());
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let wide = Message::parse(&wide, Charset::Utf8).unwrap();
        assert_eq!(outcome(&mappings, &wide), outcome(&mappings, &other));
    }
    assert_eq!(fixtures("fixtures/xml").len(), 3, "a fixture that nothing looks at");
}

/// Every message of the corpus and of ours that XML has a place for.
#[test]
fn a_message_of_the_corpus_written_in_xml_gives_the_same_events() {
    let mappings = mappings();
    let ours = fixtures("fixtures/hl7").into_iter().map(|path| std::fs::read(path).unwrap());
    let (mut compared, mut without) = (0, 0);
    for bytes in samples().into_iter().map(|sample| sample.bytes).chain(ours) {
        let Ok(message) = Message::parse(&bytes, Charset::Utf8) else { continue };
        if !has_xml(&message) {
            without += 1;
            continue;
        }
        let xml = in_xml(&message, compared % 5);
        let again = Message::parse(xml.as_bytes(), Charset::Utf8).unwrap();
        assert_eq!(outcome(&mappings, &again), outcome(&mappings, &message), "{xml}");
        compared += 1;
    }
    assert!(compared > 250, "{compared} compared, {without} without");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any well-formed message written in XML reads as the same tree, and maps to the same event.
    #[test]
    fn a_message_written_in_xml_is_the_same_message(segments in well_formed(), depth in 0_usize..5) {
        let mut text = "MSH|^~\\&|EHR|NORTH|GATE|HUB|20261122||ADT^A01|1|P|2.5.1".to_owned();
        for (name, fields) in &segments {
            text += &format!("\r{name}|{}", join(fields, "|", written));
        }
        let pipes = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        let xml = in_xml(&pipes, depth);
        let xml = Message::parse(xml.as_bytes(), Charset::Utf8).unwrap();
        prop_assert_eq!(xml.len(), pipes.len());
        for (one, other) in pipes.segments().zip(xml.segments()) {
            prop_assert_eq!(one.name(), other.name());
            prop_assert_eq!(one.field_count(), other.field_count());
            for number in 1..=one.field_count() {
                let values = |message: &Message<'_>, field: &str| -> Vec<Option<String>> {
                    let parts = (0..64).map(|at| (at / 16, at / 4 % 4 + 1, at % 4 + 1));
                    let repetitions: Vec<&str> = message.repetitions(field).collect();
                    parts
                        .map(|(repetition, component, sub)| {
                            let raw = repetitions.get(repetition)?;
                            let whole = Composite::of_field(raw, message.delimiters());
                            let part = whole.part(component).part(sub).raw().to_owned();
                            Some(match message.content(&part) {
                                tidegate::parse::hl7::Content::Text(text) => text.into_owned(),
                                _ => String::new(),
                            })
                        })
                        .collect()
                };
                let [one, other] = [(&pipes, &one), (&xml, &other)]
                    .map(|(message, segment)| values(message, segment.field(number).unwrap()));
                prop_assert_eq!(one, other);
            }
        }
        let mappings = MAPPINGS.get_or_init(mappings);
        prop_assert_eq!(outcome(mappings, &pipes), outcome(mappings, &xml));
        prop_assert_eq!(recognized_by(&pipes), recognized_by(&xml));
    }
}

static MAPPINGS: std::sync::OnceLock<Mappings> = std::sync::OnceLock::new();

/// A bomb of entities, an external entity, deep nesting, many attributes: all refused, none opened.
#[test]
fn fault_101_hostile_xml_is_refused_before_anything_of_it_is_built() {
    let head = "<ADT_A01><MSH><MSH.1>|</MSH.1><MSH.9><MSG.1>ADT</MSG.1></MSH.9></MSH>";
    let deep = format!("{head}{}", "<A.B>".repeat(100_000));
    let wide: String = (0..10_000).map(|number| format!(" a{number}='1'")).collect();
    let bound = "<ADT_A01".to_owned()
        + &(0..10_000).map(|number| format!(" xmlns:a{number}='b'")).collect::<String>()
        + "/>";
    // Eleven bytes for 998 separators.
    let gaps = format!("{head}<QQQ>{}</QQQ></ADT_A01>", "<QQQ.1><A.999/></QQQ.1>".repeat(10_000));
    let laughs = "<!DOCTYPE a [<!ENTITY b 'ZZLOL'><!ENTITY c '&b;&b;'>]><ADT_A01>&c;</ADT_A01>";
    let external =
        "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><ADT_A01>&b;</ADT_A01>".to_owned();
    for document in [deep, format!("<ADT_A01{wide}/>"), bound, gaps, laughs.to_owned(), external] {
        match Message::parse(document.as_bytes(), Charset::Utf8) {
            Err(refused @ Malformed::Xml(_)) => {
                let said = refused.to_string();
                assert!(!said.contains("ZZ"), "{said}");
                assert!(said.len() < 200, "{said}");
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("taken: {}", &document[..60]),
        }
    }
}
