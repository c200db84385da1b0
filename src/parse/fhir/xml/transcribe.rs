//! A document, element by element.
//!
//! Promises: names of elements alone stand in a fault's place; what does not belong into an entry of a
//! Bundle costs that entry (PROMISE-11).
//! Knows nothing of: how JSON is written; `part` does.

use super::part::{Often, Part, Sort};
use super::{NAMESPACE, NARRATIVE};
use crate::parse::fhir::bundle::ENTRIES_MAX;
use crate::parse::fhir::elements::{is_primitive, is_resource, lineage, named};
use crate::parse::fhir::node::printed_name;
use crate::parse::fhir::read::is_kind;
use crate::parse::fhir::{
    DEPTH_MAX, MEMBERS_MAX, Malformed, NAME_BYTES_MAX, Version, Wrong, bounded,
};
use crate::parse::xml::{self, Document, Tag, Token};

/// A document in FHIR JSON, and what of it does not belong there.
#[derive(Debug)]
pub struct Transcript {
    /// FHIR JSON, compact, of all that belongs there.
    pub json: Vec<u8>,
    /// Of each entry of a Bundle that has something else in it the number, from 0, and the first such; in
    /// the order of their numbers.
    pub wrong: Vec<(usize, Malformed)>,
}

/// Transcribes a resource of a release: FHIR JSON, compact.
///
/// # Errors
/// It is longer than `bytes_max`, no XML, or not of FHIR. An element that is there twice and may be there
/// once is so in the JSON, which is refused when it is read as a resource.
pub fn transcribe(bytes: &[u8], bytes_max: usize, version: Version) -> Result<Vec<u8>, Malformed> {
    let Transcript { json, wrong } = transcribe_each(bytes, bytes_max, version)?;
    wrong.into_iter().next().map_or(Ok(json), |(_, malformed)| Err(malformed))
}

/// Transcribes a resource of a release, or a Bundle, of which an entry that is wrong costs itself: what
/// does not belong into it is left out, and said.
///
/// # Errors
/// As those of [`transcribe`], but for what an entry costs.
pub fn transcribe_each(
    bytes: &[u8],
    bytes_max: usize,
    version: Version,
) -> Result<Transcript, Malformed> {
    let text = xml::text_of(bytes, bytes_max)?;
    let mut document = Document::new(&text, DEPTH_MAX, &[NAMESPACE, NARRATIVE]);
    let mut open = Transcriber { version, open: Vec::new(), wrong: Vec::new(), done: None };
    loop {
        let step = document.token().and_then(|token| open.step(token, &mut document));
        match step {
            Ok(false) => {}
            Ok(true) => {
                let json = open.done.unwrap_or_default().into_bytes();
                return Ok(Transcript { json, wrong: open.wrong });
            }
            Err(wrong) => return Err(document.fault(wrong, open.place()).into()),
        }
    }
}

impl From<xml::Fault> for Malformed {
    fn from(fault: xml::Fault) -> Self {
        let xml::Fault { wrong, line, column, place } = fault;
        Self { wrong: Wrong::Xml(wrong), line, column, place }
    }
}

struct Transcriber {
    version: Version,
    open: Vec<Part>,
    wrong: Vec<(usize, Malformed)>,
    done: Option<String>,
}

/// What an element is where it begins.
enum Begun {
    /// A narrative, which is kept as it is written.
    Narrative,
    /// Anything else.
    Part(Part),
}

impl Transcriber {
    /// Takes what comes next; true at the end.
    fn step(&mut self, token: Token<'_>, document: &mut Document<'_>) -> Result<bool, xml::Wrong> {
        match token {
            Token::Open(tag) => self.begin(tag, document)?,
            Token::Text(text) if text.trim_ascii().is_empty() => {}
            Token::Text(_) => self.cost(xml::Wrong::Mixed, document)?,
            Token::Close => self.end()?,
            Token::End => return Ok(true),
        }
        Ok(false)
    }

    fn begin(&mut self, tag: Tag, document: &mut Document<'_>) -> Result<(), xml::Wrong> {
        match self.begun(&tag) {
            Ok(Begun::Part(part)) => self.open.push(attributes(part, tag)),
            Ok(Begun::Narrative) => {
                let source = document.source()?;
                if let Some(around) = self.open.last_mut() {
                    around.take_text("div", source);
                }
            }
            Err(wrong) => {
                self.cost(wrong, document)?;
                document.source()?;
            }
        }
        Ok(())
    }

    /// Something does not belong where it stands: within an entry of a Bundle that costs the entry.
    ///
    /// # Errors
    /// It stands elsewhere.
    // PROMISE-11
    fn cost(&mut self, wrong: xml::Wrong, document: &Document<'_>) -> Result<(), xml::Wrong> {
        let Some(entry) = self.entry().filter(|entry| *entry < ENTRIES_MAX) else {
            return Err(wrong);
        };
        if self.wrong.last().is_none_or(|(known, _)| *known != entry) {
            self.wrong.push((entry, document.fault(wrong, self.place()).into()));
        }
        Ok(())
    }

    /// The number of the entry that is open, where the document is a Bundle.
    fn entry(&self) -> Option<usize> {
        let [bundle, entry, ..] = self.open.as_slice() else { return None };
        let is_one = bundle.kind.as_deref() == Some("Bundle") && entry.name == "entry";
        is_one.then(|| bundle.often("entry"))
    }

    fn begun(&mut self, tag: &Tag) -> Result<Begun, xml::Wrong> {
        if tag.name.len() > NAME_BYTES_MAX {
            return Err(xml::Wrong::TooLong);
        }
        let (sort, often) = match self.open.last() {
            Some(around) if tag.name == "div" && around.sort == Sort::Object("Narrative") => {
                return match tag.namespace {
                    Some(NARRATIVE | NAMESPACE) => Ok(Begun::Narrative),
                    _ => Err(xml::Wrong::Namespace),
                };
            }
            // Each is looked for among those before it.
            Some(around) if around.size() > MEMBERS_MAX => return Err(xml::Wrong::TooMany),
            Some(around) => self.sort(around, &tag.name),
            None => (Sort::Holder, Often::Once),
        };
        if tag.namespace != Some(NAMESPACE) {
            return Err(xml::Wrong::Namespace);
        }
        let is_root = self.open.is_empty();
        let holder = self.open.last_mut().filter(|around| {
            let is_unread = around.size() == 0 && around.value.is_none();
            let is_type = tag.name.starts_with(|first: char| first.is_ascii_uppercase());
            around.sort == Sort::Holder || (around.sort == Sort::Unknown && is_unread && is_type)
        });
        Ok(Begun::Part(match holder {
            Some(holder) => {
                let part = resource(tag)?;
                holder.sort = Sort::Holder;
                part
            }
            None if is_root => resource(tag)?,
            None => Part::new(tag.name.clone(), sort, often),
        }))
    }

    /// What an element is, by what it stands in.
    fn sort(&self, around: &Part, name: &str) -> (Sort, Often) {
        let of = match around.sort {
            Sort::Object(of) => of,
            // What may stand in any element: extensions.
            Sort::Primitive(_) | Sort::Unknown | Sort::Holder => "Element",
        };
        let rows: Vec<_> = named(of, name).collect();
        let own = rows.iter().find(|(element, _)| element.is_in(self.version));
        let Some((element, of)) = own.or_else(|| rows.first()) else {
            return (Sort::Unknown, Often::Unknown);
        };
        let often = match (element.is_list, rows.iter().any(|(other, _)| other.is_list)) {
            (true, _) => Often::List,
            (false, true) => Often::Either,
            (false, false) => Often::Once,
        };
        let sort = match *of {
            "Resource" => Sort::Holder,
            of if is_primitive(of) => Sort::Primitive(of),
            of => Sort::Object(of),
        };
        (sort, often)
    }

    fn end(&mut self) -> Result<(), xml::Wrong> {
        let Some(part) = self.open.pop() else { return Err(xml::Wrong::NotWellFormed) };
        if part.sort == Sort::Holder {
            // What is in it has taken its place already.
            return Ok(());
        }
        let (name, often) = (part.name.clone(), part.often);
        let is_resource = part.kind.is_some();
        let said = match part.close() {
            Ok(said) => said,
            Err(wrong) => {
                // Its place is wanted, and it is closed already.
                self.open.push(Part::new(name, Sort::Unknown, often));
                return Err(wrong);
            }
        };
        match self.open.as_mut_slice() {
            [] => self.done = said.value,
            [.., around, holder] if is_resource => around.take(&holder.name, holder.often, said),
            [.., around] => around.take(&name, often, said),
        }
        Ok(())
    }

    /// Where reading is.
    fn place(&self) -> Option<Box<str>> {
        let mut place = String::new();
        for (depth, part) in self.open.iter().enumerate() {
            let is_inner = part.kind.is_some() && !place.is_empty();
            if !is_inner {
                let dot = if place.is_empty() { "" } else { "." };
                place.push_str(dot);
                place.push_str(printed_name(&part.name));
            }
            if depth == 1
                && let Some(entry) = self.entry()
            {
                place.push_str(&format!("[{entry}]"));
            }
        }
        (!place.is_empty()).then(|| bounded(place))
    }
}

/// An element that is a resource.
fn resource(tag: &Tag) -> Result<Part, xml::Wrong> {
    if !is_kind(&tag.name) || !tag.name.starts_with(|first: char| first.is_ascii_uppercase()) {
        return Err(xml::Wrong::Root);
    }
    // Of a type that the table does not have, that which every resource has is known.
    let known = lineage(&tag.name).next().filter(|found| is_resource(found.name));
    let of = known.map_or("DomainResource", |found| found.name);
    let mut part = Part::new(tag.name.clone(), Sort::Object(of), Often::Once);
    part.kind = Some(tag.name.clone());
    Ok(part)
}

/// An element with what its attributes say: `value`, `id`, `url`, and others as they are.
fn attributes(mut part: Part, tag: Tag) -> Part {
    for (name, value) in tag.attributes {
        match name.as_str() {
            "value" => part.value = Some(value),
            "xsi:type" => {}
            _ => part.take_text(&name, &value),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::fhir::{Bundle, Resource};

    fn json(inside: &str) -> Result<String, String> {
        let document = format!("<Patient xmlns=\"http://hl7.org/fhir\">{inside}</Patient>");
        whole(&document)
    }

    fn whole(document: &str) -> Result<String, String> {
        let bytes = transcribe(document.as_bytes(), 1 << 20, Version::R4);
        let bytes = bytes.map_err(|malformed| malformed.to_string())?;
        let resource = Resource::parse(&bytes, 1 << 20).unwrap();
        assert_eq!(resource.compact(), bytes, "what is transcribed is compact");
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn an_element_becomes_what_fhir_json_has_for_it() {
        for (xml, wanted) in [
            ("", ""),
            (r#"<id value="p"/><active value="true"/>"#, r#","id":"p","active":true"#),
            (
                r#"<name id="n"><given value="ZZA"/><given value="ZZB"><extension url="u"><valueCode value="c"/></extension></given></name>"#,
                r#","name":[{"id":"n","given":["ZZA","ZZB"],"_given":[null,{"extension":[{"url":"u","valueCode":"c"}]}]}]"#,
            ),
            (
                r#"<birthDate><extension url="u"><valueInteger value="3"/></extension></birthDate>"#,
                r#","_birthDate":{"extension":[{"url":"u","valueInteger":3}]}"#,
            ),
            (
                r#"<contained><Organization><id value="o"/></Organization></contained><contained><Basic><id value="b"/></Basic></contained>"#,
                r#","contained":[{"resourceType":"Organization","id":"o"},{"resourceType":"Basic","id":"b"}]"#,
            ),
            (
                "<text><status value=\"empty\"/><div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a &lt; \"b\"<br/></p></div></text>",
                r#","text":{"status":"empty","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a &lt; \"b\"<br/></p></div>"}"#,
            ),
            (r#"<multipleBirthInteger value="x"/>"#, r#","multipleBirthInteger":"x""#),
            (
                r#"<new value="1"/><newer><part value="a"/><part value="b"/></newer>"#,
                r#","new":"1","newer":{"part":["a","b"]}"#,
            ),
            (
                r#"<odd><Odd><id value="o"/></Odd></odd>"#,
                r#","odd":{"resourceType":"Odd","id":"o"}"#,
            ),
            (
                r#"<gender value="a&#10;b&amp;&quot; c"/><name/><!-- x --><?p q?>"#,
                ",\"gender\":\"a\\nb&\\\" c\"",
            ),
        ] {
            assert_eq!(json(xml), Ok(format!("{{\"resourceType\":\"Patient\"{wanted}}}")), "{xml}");
        }
        let encounter = r#"<f:Encounter xmlns:f="http://hl7.org/fhir"><f:class><f:code value="IMP"/></f:class></f:Encounter>"#;
        assert_eq!(
            whole(encounter).unwrap(),
            r#"{"resourceType":"Encounter","class":{"code":"IMP"}}"#
        );
        let list = transcribe(encounter.as_bytes(), 999, Version::R5).unwrap();
        assert_eq!(list, br#"{"resourceType":"Encounter","class":[{"code":"IMP"}]}"#);
    }

    #[test]
    fn a_bundle_holds_its_resources() {
        let bundle = r#"<Bundle xmlns="http://hl7.org/fhir"><type value="searchset"/><total value="2"/>
            <entry><resource><Observation><valueQuantity><value value="6.90"/></valueQuantity></Observation></resource></entry>
            <entry><search><mode value="match"/></search></entry></Bundle>"#;
        assert_eq!(
            whole(bundle).unwrap(),
            r#"{"resourceType":"Bundle","type":"searchset","total":2,"entry":[{"resource":{"resourceType":"Observation","valueQuantity":{"value":6.90}}},{"search":{"mode":"match"}}]}"#
        );
    }

    /// PROMISE-11
    #[test]
    fn of_a_bundle_what_does_not_belong_into_an_entry_costs_the_entry() {
        let entry = |id: &str, more: &str| {
            format!(
                "<entry><fullUrl value=\"u{id}\"/><resource><Patient><id value=\"{id}\"/>{more}<gender \
                 value=\"male\"/></Patient></resource></entry>"
            )
        };
        let bundle = |around: &str, entries: &[String]| {
            let entries = entries.concat();
            let open = "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"searchset\"/>";
            let document = format!("{open}{around}{entries}</Bundle>");
            transcribe_each(document.as_bytes(), 1 << 20, Version::R4)
        };
        let long = format!("<{}/>", "a".repeat(65));
        let members: String = (0..600).map(|number| format!("<n{number} value=\"1\"/>")).collect();
        let root = "<entry><resource><patient><id value=\"f\"/></patient></resource></entry>";
        let all = [
            entry("a", ""),
            entry("b", "<x xmlns=\"urn:zz\"><id value=\"ZZ\"/></x>"),
            entry("c", "ZZ<name>ZZ</name>"),
            root.to_owned(),
            entry("d", &long),
            "<entry xmlns:z=\"urn:zz\"><z:only/></entry>".to_owned(),
            entry("e", &format!("<contact>{members}</contact>")),
            entry("g", "<contained><zz/></contained>"),
            entry("h", ""),
        ];
        let Transcript { json, wrong } = bundle("", &all).unwrap();
        let said: Vec<String> = wrong
            .iter()
            .map(|(number, it)| {
                format!("{number} {}: {}", it.place.as_deref().unwrap_or_default(), it.wrong)
            })
            .collect();
        let namespace = "an element is in a namespace that does not belong there";
        let no_resource = "another element stands where the document's root or a resource belongs";
        assert_eq!(
            said,
            [
                &format!("1 Bundle.entry[1].resource: {namespace}"),
                "2 Bundle.entry[2].resource: text stands beside elements",
                &format!("3 Bundle.entry[3].resource: {no_resource}"),
                "4 Bundle.entry[4].resource: it is longer than it may be",
                &format!("5 Bundle.entry[5]: {namespace}"),
                "6 Bundle.entry[6].resource.contact: it has more elements than a document may have",
                &format!("7 Bundle.entry[7].resource.contained: {no_resource}"),
            ]
        );
        let mut bundle_of = Bundle::parse(&json, 1 << 20).unwrap();
        bundle_of.note(wrong);
        let good: Vec<_> = bundle_of
            .entries
            .iter()
            .filter(|entry| entry.wrong.is_none())
            .map(|entry| entry.full_url.as_deref().unwrap_or_default())
            .collect();
        assert_eq!((bundle_of.entries.len(), good), (9, vec!["ua", "uh"]));
        // What is left of one that is wrong names it.
        assert_eq!(
            bundle_of.entries[1].resource,
            Some(r#"{"resourceType":"Patient","id":"b","gender":"male"}"#)
        );
        // One that nothing is left of is there all the same.
        let Transcript { json, wrong } = bundle("", &[all[5].clone()]).unwrap();
        let mut bundle_of = Bundle::parse(&json, 1 << 20).unwrap();
        bundle_of.note(wrong);
        assert!(bundle_of.entries[0].wrong.is_some());
        // Around the entries, and of the document as such, it is no page.
        for around in ["<x xmlns=\"urn:zz\"/>", "ZZ", "<link>ZZ</link>"] {
            assert!(bundle(around, &all).is_err(), "{around}");
        }
        let deep = format!("{}{}", "<contact>".repeat(64), "</contact>".repeat(64));
        let foreign = format!("<x xmlns=\"urn:zz\">{deep}</x>");
        for inside in
            ["<gender value='&zz;'/>", "<gender>", "<x xmlns=\"urn:zz\"></y>", &deep, &foreign]
        {
            assert!(bundle("", &[entry("a", ""), entry("b", inside)]).is_err(), "{inside}");
        }
    }

    #[test]
    fn what_is_no_fhir_xml_is_refused_with_its_place() {
        let deep = format!("{}{}", "<contact>".repeat(64), "</contact>".repeat(64));
        let many: String = (0..40).map(|number| format!(" a{number}=\"x\"")).collect();
        let many = format!("<gender{many}/>");
        let place = |xml: &str| {
            let refused = json(xml).unwrap_err();
            assert!(!refused.to_lowercase().contains("zz"), "{refused}");
            refused.split_once(", column ").map(|(line, rest)| {
                let rest = rest.split_once(|letter: char| !letter.is_ascii_digit()).unwrap();
                format!("{line}{}", rest.1)
            })
        };
        for (xml, wanted) in [
            ("<gender>ZZ</gender>", "line 1 Patient.gender: text stands beside elements"),
            (
                "\n<gender value='&zz;'/>",
                "line 2 Patient: an entity is not known; only the five of XML and character references are",
            ),
            ("<gender value='&#1;'/>", "line 1 Patient: a character that XML does not allow"),
            ("<gender value='a'", "line 1 Patient: the XML is not well-formed"),
            (
                "<x xmlns='urn:zz'/>",
                "line 1 Patient: an element is in a namespace that does not belong there",
            ),
            (
                "<contained><zz/></contained>",
                "line 1 Patient.contained: another element stands where the document's root or a resource belongs",
            ),
            (&many, "line 1 Patient: an element has more than 32 attributes"),
        ] {
            assert_eq!(place(xml).unwrap(), wanted);
        }
        assert!(place(&deep).unwrap().ends_with("…: elements nest too deep"));
        for (document, wanted) in [
            (
                "<!DOCTYPE Patient [<!ENTITY a \"b\">]><Patient xmlns=\"http://hl7.org/fhir\"/>",
                "line 1, column 37: a DOCTYPE is not taken",
            ),
            (
                "<Patient/>",
                "line 1, column 11: an element is in a namespace that does not belong there",
            ),
            (
                "<patient xmlns=\"http://hl7.org/fhir\"/>",
                "line 1, column 39: another element stands where the document's root or a resource belongs",
            ),
            (
                "<Patient xmlns=\"http://hl7.org/fhir\"/><Patient xmlns=\"http://hl7.org/fhir\"/>",
                "line 1, column 77: the XML is not well-formed",
            ),
            ("", "line 1, column 1: the XML is not well-formed"),
            (
                "<Patient xmlns=\"http://hl7.org/fhir\">",
                "line 1, column 38, Patient: the XML is not well-formed",
            ),
        ] {
            assert_eq!(whole(document).unwrap_err(), wanted);
        }
        assert_eq!(
            transcribe(b"<a>\xff</a>", 99, Version::R4).unwrap_err().wrong,
            Wrong::Xml(xml::Wrong::Undecodable)
        );
        assert_eq!(
            transcribe(b"<a/>", 3, Version::R4).unwrap_err().wrong,
            Wrong::Xml(xml::Wrong::TooLong)
        );
    }
}
