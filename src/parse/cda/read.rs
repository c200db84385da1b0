//! The elements of a document to what it says.
//!
//! Promises: an element that is not where the CDA schema has it says nothing.
//! Knows nothing of: XML.

use super::tree::{Element, Tree};
use super::{
    Body, Code, Consent, Document, Id, Interval, Moment, Name, Patient, Related, Service, Statement,
};
use crate::parse::xml::Fault;

/// Templates of HL7's privacy consent directives begin so.
const DIRECTIVES: &str = "2.16.840.1.113883.3.445.";
/// The clinical statements of CDA.
const STATEMENTS: [&str; 9] = [
    "act",
    "encounter",
    "observation",
    "observationMedia",
    "organizer",
    "procedure",
    "regionOfInterest",
    "substanceAdministration",
    "supply",
];

/// Reads a document.
///
/// # Errors
/// It is longer than `bytes_max`, does not decode, is not well-formed XML, has a DTD, is no CDA
/// document, or is beyond one of the bounds of this room.
pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Document, Fault> {
    let tree = Tree::read(bytes, bytes_max, "ClinicalDocument")?;
    let root = tree.root();
    let body = root.child("component");
    let mut found = Document {
        templates: ids(root, "templateId"),
        id: root.child("id").map(id),
        set_id: root.child("setId").map(id),
        version: attribute(root.child("versionNumber"), "value"),
        code: root.child("code").map(code),
        title: root.child("title").and_then(Element::text).map(str::to_owned),
        written_at: root.child("effectiveTime").and_then(moment),
        confidentiality: root.all("confidentialityCode").map(code).collect(),
        patients: within(root, &["recordTarget", "patientRole"]).into_iter().map(patient).collect(),
        custodians: within(
            root,
            &["custodian", "assignedCustodian", "representedCustodianOrganization"],
        )
        .into_iter()
        .flat_map(|held| ids(held, "id"))
        .collect(),
        related: root.all("relatedDocument").map(related).collect(),
        services: within(root, &["documentationOf", "serviceEvent"])
            .into_iter()
            .map(service)
            .collect(),
        consents: within(root, &["authorization", "consent"]).into_iter().map(consent).collect(),
        body: body.map_or(Body::Absent, self::body),
        sections: Vec::new(),
        statements: Vec::new(),
    };
    for structured in within(root, &["component", "structuredBody"]) {
        sections(structured, false, &mut found);
    }
    Ok(found)
}

/// The elements that a path of names leads to.
fn within<'t>(from: Element<'t>, path: &[&'static str]) -> Vec<Element<'t>> {
    let mut found = vec![from];
    for name in path {
        found = found.into_iter().flat_map(|element| element.all(name)).collect();
    }
    found
}

fn attribute(element: Option<Element<'_>>, name: &str) -> Option<String> {
    element?.attribute(name).filter(|value| !value.is_empty()).map(str::to_owned)
}

fn ids(element: Element<'_>, name: &'static str) -> Vec<Id> {
    element.all(name).map(id).collect()
}

fn id(element: Element<'_>) -> Id {
    let root = element.attribute("root").unwrap_or_default().to_owned();
    Id { root, extension: attribute(Some(element), "extension") }
}

fn code(element: Element<'_>) -> Code {
    let own = |name| attribute(Some(element), name);
    let words = || element.child("originalText").and_then(Element::text).map(str::to_owned);
    Code {
        code: own("code"),
        system: own("codeSystem"),
        display: own("displayName").or_else(words),
        null: own("nullFlavor"),
    }
}

fn moment(element: Element<'_>) -> Option<Moment> {
    let at = attribute(Some(element), "value").map(Moment::At);
    at.or_else(|| attribute(Some(element), "nullFlavor").map(Moment::Null))
}

/// `effectiveTime` of an element.
fn interval(element: Element<'_>) -> Interval {
    let Some(time) = element.child("effectiveTime") else { return Interval::default() };
    Interval {
        at: moment(time),
        low: time.child("low").and_then(moment),
        high: time.child("high").and_then(moment),
    }
}

fn patient(role: Element<'_>) -> Patient {
    let person = role.child("patient");
    Patient {
        ids: ids(role, "id"),
        names: person.into_iter().flat_map(|person| person.all("name")).map(name).collect(),
        birth: person.and_then(|person| person.child("birthTime")).and_then(moment),
        gender: person.and_then(|person| person.child("administrativeGenderCode")).map(code),
    }
}

fn name(element: Element<'_>) -> Name {
    let parts = |of| element.all(of).filter_map(Element::text).map(str::to_owned).collect();
    Name {
        used_as: attribute(Some(element), "use"),
        family: parts("family"),
        given: parts("given"),
        text: element.text().map(str::to_owned),
    }
}

fn related(element: Element<'_>) -> Related {
    let parent = element.child("parentDocument");
    Related {
        relation: element.attribute("typeCode").unwrap_or_default().to_owned(),
        ids: parent.map(|parent| ids(parent, "id")).unwrap_or_default(),
        set_id: parent.and_then(|parent| parent.child("setId")).map(id),
    }
}

fn service(element: Element<'_>) -> Service {
    Service {
        templates: ids(element, "templateId"),
        ids: ids(element, "id"),
        code: element.child("code").map(code),
        period: interval(element),
    }
}

fn consent(element: Element<'_>) -> Consent {
    Consent {
        templates: ids(element, "templateId"),
        ids: ids(element, "id"),
        code: element.child("code").map(code),
        status: attribute(element.child("statusCode"), "code"),
    }
}

fn body(component: Element<'_>) -> Body {
    let Some(attached) = component.child("nonXMLBody") else {
        let structured = component.child("structuredBody");
        return structured.map_or(Body::Absent, |_| Body::Structured);
    };
    let text = attached.child("text");
    Body::Attached {
        bytes: text.map_or(0, Element::bytes),
        is_reference: text.is_some_and(|text| text.child("reference").is_some()),
    }
}

/// Sections within a body or a section, and their statements where one of them is of a consent
/// directive. As deep as the document.
fn sections(around: Element<'_>, is_directive: bool, found: &mut Document) {
    for section in within(around, &["component", "section"]) {
        let templates = ids(section, "templateId");
        let is_directive =
            is_directive || templates.iter().any(|template| template.root.starts_with(DIRECTIVES));
        found.sections.extend(templates);
        if is_directive {
            for entry in section.all("entry") {
                statements(entry, None, &mut found.statements);
            }
        }
        sections(section, is_directive, found);
    }
}

/// The statements within an entry or a relationship.
fn statements(around: Element<'_>, within: Option<usize>, found: &mut Vec<Statement>) {
    let relation = attribute(Some(around), "typeCode");
    for element in around.children().filter(|child| STATEMENTS.contains(&child.name())) {
        let number = found.len();
        found.push(Statement {
            kind: element.name().to_owned(),
            within,
            relation: relation.clone(),
            templates: ids(element, "templateId"),
            class: attribute(Some(element), "classCode"),
            mood: attribute(Some(element), "moodCode"),
            is_negated: element.attribute("negationInd") == Some("true"),
            code: element.child("code").map(code),
            values: element.all("value").map(code).collect(),
            status: attribute(element.child("statusCode"), "code"),
            period: interval(element),
            has_participants: element.children().any(|child| {
                matches!(
                    child.name(),
                    "participant" | "performer" | "subject" | "informant" | "author"
                )
            }),
        });
        for inner in element.children() {
            if matches!(inner.name(), "entryRelationship" | "component") {
                statements(inner, Some(number), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent_document(inside: &str) -> String {
        format!(
            r#"<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc">
            <templateId root="1.3.6.1.4.1.19376.1.5.3.1.1.7"/><id root="1.2" extension="ZZ-D1"/>
            <code code="57016-8" codeSystem="2.16.840.1.113883.6.1"/><title> ZZ Consent </title>
            <effectiveTime value="20260102"/><confidentialityCode code="R"/><setId root="1.3"/><versionNumber value="2"/>
            <recordTarget><patientRole><id root="1.4" extension="ZZ-P1"/><id root="1.5"/>
              <patient><name use="L"><given>ZZAda</given><given>ZZB</given><family>ZZLong</family></name><name>ZZ Ada</name>
              <administrativeGenderCode code="F"/><birthTime value="19700101"/></patient></patientRole></recordTarget>
            <custodian><assignedCustodian><representedCustodianOrganization><id root="1.6"/></representedCustodianOrganization></assignedCustodian></custodian>
            {inside}</ClinicalDocument>"#
        )
    }

    fn read(inside: &str) -> Document {
        parse(consent_document(inside).as_bytes(), 1 << 20).unwrap()
    }

    fn roots(ids: &[Id]) -> Vec<&str> {
        ids.iter().map(|id| id.root.as_str()).collect()
    }

    #[test]
    fn a_consent_says_whom_it_is_about_to_what_and_from_when_to_when() {
        let document = read(
            r#"<documentationOf><serviceEvent><templateId root="1.3.6.1.4.1.19376.1.5.3.1.2.6"/><id root="1.7"/>
            <code code="1.2.3.4" codeSystem="1.2.3" displayName="ZZ policy"/>
            <effectiveTime><low value="20260101"/><high nullFlavor="PINF"/></effectiveTime></serviceEvent></documentationOf>
            <relatedDocument typeCode="RPLC"><parentDocument><id root="1.2" extension="ZZ-D0"/><setId root="1.3"/></parentDocument></relatedDocument>
            <authorization><consent><id root="1.8"/><code code="64293-4"/><statusCode code="completed"/></consent></authorization>
            <component><nonXMLBody><text mediaType="application/pdf" representation="B64">QUJD
            REVG</text></nonXMLBody></component>"#,
        );
        assert_eq!(roots(&document.templates), ["1.3.6.1.4.1.19376.1.5.3.1.1.7"]);
        assert_eq!(document.id.as_ref().and_then(|id| id.extension.as_deref()), Some("ZZ-D1"));
        assert_eq!(
            (document.version.as_deref(), document.title.as_deref()),
            (Some("2"), Some("ZZ Consent"))
        );
        assert!(document.written_at == Some(Moment::At("20260102".to_owned())));
        assert_eq!(document.confidentiality[0].code.as_deref(), Some("R"));
        assert_eq!(roots(&document.custodians), ["1.6"]);
        let [patient] = &document.patients[..] else { panic!() };
        assert_eq!(roots(&patient.ids), ["1.4", "1.5"]);
        assert_eq!(
            (&patient.names[0].given[..], &patient.names[0].family[..]),
            (&["ZZAda".to_owned(), "ZZB".to_owned()][..], &["ZZLong".to_owned()][..])
        );
        assert_eq!(patient.names[1].text.as_deref(), Some("ZZ Ada"));
        assert!(patient.birth == Some(Moment::At("19700101".to_owned())));
        let [service] = &document.services[..] else { panic!() };
        assert_eq!(service.code.as_ref().and_then(|code| code.code.as_deref()), Some("1.2.3.4"));
        assert!(service.period.low == Some(Moment::At("20260101".to_owned())));
        assert!(service.period.high == Some(Moment::Null("PINF".to_owned())));
        assert_eq!(
            (document.related[0].relation.as_str(), document.related[0].ids.len()),
            ("RPLC", 1)
        );
        assert_eq!(document.consents[0].status.as_deref(), Some("completed"));
        assert_eq!(document.body, Body::Attached { bytes: 21, is_reference: false });
        assert_eq!(
            format!("{document:?}"),
            "Document([1, 1, 1, 0] patients, services, consents, statements)"
        );
    }

    #[test]
    fn statements_of_a_consent_directive_are_kept_with_what_they_are_part_of() {
        let document = read(
            r#"<component><structuredBody>
            <component><section><templateId root="9.9"/><entry><act/></entry></section></component>
            <component><section><templateId root="2.16.840.1.113883.3.445.17"/>
              <text>ZZ <paragraph>all of it</paragraph></text>
              <entry typeCode="DRIV"><act classCode="ACT" moodCode="DEF" negationInd="true">
                <templateId root="2.16.840.1.113883.3.445.5"/><code code="TREAT"/><statusCode code="active"/>
                <entryRelationship typeCode="COMP"><observation><code code="IDSCL"/><value code="ETH"/><sdtc:x/></observation></entryRelationship>
                <participant typeCode="IRCP"/></act></entry></section></component></structuredBody></component>"#,
        );
        assert_eq!(
            (document.body, roots(&document.sections)),
            (Body::Structured, vec!["9.9", "2.16.840.1.113883.3.445.17"])
        );
        let [act, inner] = &document.statements[..] else { panic!() };
        assert!(act.is_negated && act.has_participants && act.within.is_none());
        assert_eq!(
            (act.kind.as_str(), act.mood.as_deref(), act.relation.as_deref()),
            ("act", Some("DEF"), Some("DRIV"))
        );
        assert_eq!((inner.within, inner.relation.as_deref()), (Some(0), Some("COMP")));
        assert_eq!(inner.values[0].code.as_deref(), Some("ETH"));
    }

    #[test]
    fn what_is_no_document_is_refused_without_a_value() {
        let wrong = |text: &str| parse(text.as_bytes(), 1 << 20).unwrap_err().to_string();
        assert_eq!(
            wrong(
                "<!DOCTYPE x [<!ENTITY e \"ZZ\">]><ClinicalDocument xmlns=\"urn:hl7-org:v3\"><title>&e;</title></ClinicalDocument>"
            ),
            "line 1, column 32: a DOCTYPE is not taken"
        );
        for text in ["<ClinicalDocument/>", "<Patient xmlns=\"http://hl7.org/fhir\"/>"] {
            assert!(wrong(text).ends_with(
                "another element stands where the document's root or a resource belongs"
            ));
        }
        let cut = consent_document("<title>ZZ").replace("</ClinicalDocument>", "");
        assert!(
            wrong(&cut).ends_with("ClinicalDocument/title: the XML is not well-formed"),
            "{}",
            wrong(&cut)
        );
        let entity = consent_document("<title>&zz;</title>");
        assert!(wrong(&entity).contains("an entity is not known"));
        let many = consent_document(&"<id/>".repeat(ELEMENTS_MAX));
        assert!(wrong(&many).ends_with("it has more elements than a document may have"));
        let deep = consent_document(&format!("{}{}", "<entry>".repeat(70), "</entry>".repeat(70)));
        assert!(wrong(&deep).ends_with("elements nest too deep"));
        assert_eq!(parse(b"<a/>", 3).unwrap_err().wrong, crate::parse::xml::Wrong::TooLong);
        let long = read(&format!(
            "<documentationOf><serviceEvent><code code=\"{}\"/></serviceEvent></documentationOf>",
            "x".repeat(TEXT_BYTES_MAX + 1)
        ));
        assert!(long.services[0].code.as_ref().is_some_and(|code| code.code.is_none()));
    }

    use super::super::{ELEMENTS_MAX, TEXT_BYTES_MAX};
}
