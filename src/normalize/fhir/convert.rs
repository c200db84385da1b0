//! FHIR data types to the parts of an event (R4 2.24, R5 2.1.28).
//!
//! Promises: a value that does not fit its type leaves the field empty and is noted; a system that the
//! standard of v2 has a short name for goes by that, so that an event says the same whoever sent it.
//! Knows nothing of: which field it converts, but for the name that a time is marked under.

use crate::event::{Key, PartialDate};
use crate::normalize::authority::Named;
use crate::normalize::table::Table;
use crate::parse::fhir::Node;

use super::path::{Scope, kind_of};
use super::rules::Convert;
use super::run::Run;
use super::{date, place, value};

/// The system of types of identifiers, whose codes are those of CX.5.
const IDENTIFIER_TYPES: &str = "http://terminology.hl7.org/CodeSystem/v2-0203";

/// What v3 ActCode is called, also before R4.
const ACT_CODE: [&str; 3] = [
    "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    "urn:oid:2.16.840.1.113883.5.4",
    "http://hl7.org/fhir/v3/ActCode",
];

/// The field that holds who agreed, be it the patient.
const SIGNER: &str = "consent.signer";

/// Writes what a path resolved to under a key; nothing where it says nothing.
pub(super) fn convert<'s, 'c>(
    convert: &'c Convert,
    table: Option<&Table>,
    node: Node<'s>,
    run: &mut Run<'s, 'c>,
    (key, target): (Key, &'c str),
    scope: &Scope<'s>,
) {
    match convert {
        Convert::Text => text(table, node, run, key),
        Convert::Kind => run.tree.text(key, run.focus.resource().kind()),
        Convert::Directive => directive(node, run, key),
        Convert::ControlId => control_id(run, key),
        Convert::Release => {
            let version = run.version.to_string();
            run.tree.text(key, &version);
        }
        Convert::Range => value::range(node, run, key),
        Convert::Date => {
            if let Some(date) = read_date(node, run) {
                write_date(run, key, date.date());
            }
        }
        Convert::Time => time(node, run, key, target),
        Convert::WithHour => {
            if let Some(date) = read_date(node, run).filter(PartialDate::has_time) {
                let zoned = run.zoned(date, target);
                write_date(run, key, zoned);
            }
        }
        Convert::Number => match node.number_text().and_then(value::number) {
            Some(number) => run.tree.number(key, number),
            None => run.refuse(node),
        },
        Convert::Boolean => match node.boolean() {
            Some(value) => run.tree.boolean(key, value),
            None => run.refuse(node),
        },
        Convert::Coded => coded((table, |_| true), node, run, key),
        Convert::ActCoded => coded((table, is_act), node, run, key),
        Convert::Code { systems } => code(node, systems, run, key),
        Convert::Unit { systems } => unit(node, systems, run, key),
        Convert::Identifier { old } => {
            let identifier = node.get("identifier").filter(|it| it.is_object()).unwrap_or(node);
            let is_old = identifier.get("use").and_then(Node::text) == Some("old");
            if is_old == *old {
                self::identifier(identifier, run, key, target);
            }
        }
        Convert::Name { uses } => name(node, uses, run, key),
        Convert::WholeName => match node.text() {
            Some(text) => whole_name(text, run, key),
            None => run.refuse(node),
        },
        Convert::Person { uses } => person(node, uses, run, (key, target), scope),
        Convert::Address { uses } => address(node, uses, run, key),
        Convert::Telecom { uses, systems } => telecom(node, uses, systems, run, key),
        Convert::Location(_) => place::location(node, run, key, scope),
        Convert::Value { systems } => value::value(node, systems, run, (key, target)),
        Convert::Attachment => value::document(node, run, key),
        Convert::Concept { systems } => value::concept(node, systems, run, key),
    }
}

/// The text of a member; nothing where it is none, or empty.
pub(super) fn word<'s>(node: Node<'s>, name: &str) -> Option<&'s str> {
    node.get(name)?.scalar().filter(|text| !text.is_empty())
}

/// Writes the text of a member under a key.
fn plain(run: &mut Run<'_, '_>, key: Key, node: Node<'_>, name: &str) {
    if let Some(text) = word(node, name) {
        run.tree.text(key, text);
    }
}

fn text<'s>(table: Option<&Table>, node: Node<'s>, run: &mut Run<'s, '_>, key: Key) {
    match (node.scalar(), table) {
        (None, _) if node.is_null() => {}
        (None, _) => run.refuse(node),
        (Some(""), _) => {}
        (Some(text), None) => run.tree.text(key, text),
        (Some(text), Some(table)) => match table.get(text) {
            Some(code) => run.tree.text(key, code),
            None => run.refuse(node),
        },
    }
}

/// A resource as it came, without its narrative, which repeats it for people.
fn directive<'s>(resource: Node<'s>, run: &mut Run<'s, '_>, key: Key) {
    let mut json = vec![b'{'];
    for child in resource.children().filter(|child| child.name() != Some("text")) {
        if json.len() > 1 {
            json.push(b',');
        }
        child.write_member(&mut json);
        run.take(child);
    }
    json.push(b'}');
    match String::from_utf8(json) {
        Ok(json) => run.tree.text(key, &json),
        Err(_) => run.refuse(resource),
    }
}

/// `Encounter/1/_history/2`: what names one version of one resource.
fn control_id(run: &mut Run<'_, '_>, key: Key) {
    let resource = run.focus.resource();
    let (Some(id), version) = (resource.id(), resource.version_id()) else { return };
    run.tree.text_with(key, |text| {
        text.push_str(resource.kind());
        text.push('/');
        text.push_str(id);
        if let Some(version) = version {
            text.push_str("/_history/");
            text.push_str(version);
        }
    });
}

fn read_date<'s>(node: Node<'s>, run: &mut Run<'s, '_>) -> Option<PartialDate> {
    let date = node.text().and_then(date::parse);
    if date.is_none() {
        run.refuse(node);
    }
    date
}

fn write_date(run: &mut Run<'_, '_>, key: Key, date: PartialDate) {
    run.tree.text_with(key, |text| date.write(text));
}

/// Writes a date or time, as precise as it came.
pub(super) fn time<'s, 'c>(node: Node<'s>, run: &mut Run<'s, 'c>, key: Key, target: &'c str) {
    if let Some(date) = read_date(node, run) {
        let zoned = run.zoned(date, target);
        write_date(run, key, zoned);
    }
}

/// Writes a code by a table; one that the table does not have is left out, since the field is
/// not for the sender's words.
fn by_table(run: &mut Run<'_, '_>, key: Key, node: Node<'_>, name: &str, table: &Table) {
    if let Some(code) = word(node, name).and_then(|text| table.get(text)) {
        run.tree.text(key, code);
    }
}

/// Whether a code is one of v3 ActCode, or of no system.
fn is_act(coding: Node<'_>) -> bool {
    word(coding, "system").is_none_or(|system| ACT_CODE.contains(&system))
}

/// `{ code, source }`, of a code, a Coding or a CodeableConcept; by a table that is for some systems.
fn coded<'s>(
    (table, is_its): (Option<&Table>, fn(Node<'s>) -> bool),
    node: Node<'s>,
    run: &mut Run<'s, '_>,
    key: Key,
) {
    let codings = || match node.get("coding") {
        Some(list) => list.items(),
        None => node.items(),
    };
    let of = |coding: Node<'s>| coding.scalar().or_else(|| word(coding, "code"));
    let by_table = |coding: Node<'s>| table?.get(of(coding).filter(|_| is_its(coding))?);
    let known = codings().find_map(|coding| Some((of(coding)?, by_table(coding)?)));
    let plain = || Some((codings().find_map(of).or_else(|| word(node, "text"))?, ""));
    let Some((source, code)) = known.or_else(plain).filter(|(source, _)| !source.is_empty()) else {
        return;
    };
    let object = run.tree.open_object(key);
    if !code.is_empty() {
        run.tree.text("code", code);
    }
    run.tree.text("source", source);
    run.tree.close(object);
}

/// CodeableConcept, Coding, the concept of a CodeableReference, or a code alone. Of several codings
/// the first of a system that has a short name is the code, and the first of the others beside it.
pub(super) fn code<'s>(node: Node<'s>, systems: &Table, run: &mut Run<'s, '_>, key: Key) {
    let node = node.get("concept").unwrap_or(node);
    let object = run.tree.open_object(key);
    if let Some(text) = node.scalar() {
        if !text.is_empty() {
            run.tree.text("code", text);
        }
    } else if let Some(list) = node.get("coding") {
        let all: Vec<Node<'s>> = list.items().collect();
        let is_known =
            |coding: &Node<'s>| word(*coding, "system").and_then(|it| systems.get(it)).is_some();
        let first = all.iter().position(is_known).unwrap_or(0);
        if let Some(first) = all.get(first) {
            coding(*first, systems, run);
        }
        text_of(node, run);
        let rest = (0..).zip(&all).find(|(at, _)| *at != first).map(|(_, coding)| *coding);
        if let Some(other) = rest {
            let alternate = run.tree.open_object("alternate");
            coding(other, systems, run);
            run.tree.close(alternate);
        }
    } else if node.get("code").is_some() || node.get("display").is_some() {
        coding(node, systems, run);
    } else {
        text_of(node, run);
    }
    run.tree.close(object);
}

fn text_of(node: Node<'_>, run: &mut Run<'_, '_>) {
    plain(run, "text", node, "text");
}

fn coding(coding: Node<'_>, systems: &Table, run: &mut Run<'_, '_>) {
    if word(coding, "code").is_some() {
        system(coding, systems, run);
    }
    plain(run, "code", coding, "code");
    plain(run, "display", coding, "display");
}

fn system(node: Node<'_>, systems: &Table, run: &mut Run<'_, '_>) {
    if let Some(uri) = word(node, "system") {
        run.tree.text("system", systems.get(uri).unwrap_or(uri));
    }
}

/// The unit of a Quantity. One without a code is its own code, as in v2.
fn unit(node: Node<'_>, systems: &Table, run: &mut Run<'_, '_>, key: Key) {
    let object = run.tree.open_object(key);
    if word(node, "code").is_some() {
        system(node, systems, run);
        plain(run, "code", node, "code");
        plain(run, "display", node, "unit");
    } else {
        plain(run, "code", node, "unit");
    }
    run.tree.close(object);
}

/// An authority as HD has it: the universal ID of a system, and its type.
fn universal(system: &str) -> (&str, &'static str) {
    if let Some(oid) = system.strip_prefix("urn:oid:") {
        (oid, "ISO")
    } else if let Some(uuid) = system.strip_prefix("urn:uuid:") {
        (uuid, "UUID")
    } else {
        (system, "URI")
    }
}

/// Identifier. Its system is the authority; without one it has none, whatever its assigner is called.
fn identifier<'s>(node: Node<'s>, run: &mut Run<'s, '_>, key: Key, target: &str) {
    // Blanks around it are no part of a number, and nobody is known by blanks alone.
    let said = |name| word(node, name).map(str::trim).filter(|text| !text.is_empty());
    let Some(number) = said("value") else { return };
    let kind = node.get("type").and_then(kind_of_number).unwrap_or_default();
    let (id, id_type) = said("system").map_or(("", ""), universal);
    let object = run.tree.open_object(key);
    run.tree.text("value", number);
    let named = Named { namespace: "", universal: id, universal_type: id_type, kind };
    if !run.other_authority(named, target) && !id.is_empty() {
        run.tree.text("authorityId", id);
        run.tree.text("authorityIdType", id_type);
    }
    if !kind.is_empty() {
        run.tree.text("type", kind);
    }
    if let Some(period) = node.get("period") {
        for (key, end) in [("validFrom", "start"), ("validTo", "end")] {
            if let Some(date) = word(period, end).and_then(date::parse) {
                write_date(run, key, date.date());
            }
        }
    }
    run.tree.close(object);
}

/// The type of an identifier: that of table 0203, else the first that is said.
fn kind_of_number(concept: Node<'_>) -> Option<&str> {
    let codings = || concept.get("coding").into_iter().flat_map(Node::items);
    let ours = codings().find(|coding| word(*coding, "system") == Some(IDENTIFIER_TYPES));
    ours.and_then(|coding| word(coding, "code"))
        .or_else(|| codings().find_map(|coding| word(coding, "code")))
}

/// HumanName.
fn name(node: Node<'_>, uses: &Table, run: &mut Run<'_, '_>, key: Key) {
    let object = run.tree.open_object(key);
    let before = run.mark();
    plain(run, "family", node, "family");
    let list = run.tree.open_list("given");
    for given in node.get("given").into_iter().flat_map(Node::items) {
        if let Some(text) = given.text().filter(|text| !text.is_empty()) {
            run.tree.text("", text);
        }
    }
    run.tree.close(list);
    for part in ["prefix", "suffix"] {
        joined(node, part, run);
    }
    if run.tree.grew(before) || word(node, "text").is_some() {
        by_table(run, "use", node, "use", uses);
    }
    plain(run, "text", node, "text");
    run.tree.close(object);
}

/// Several titles are one text, as XPN has them.
fn joined(node: Node<'_>, key: Key, run: &mut Run<'_, '_>) {
    let all: Vec<&str> =
        node.get(key).into_iter().flat_map(Node::items).filter_map(Node::text).collect();
    if !all.is_empty() {
        run.tree.text(key, &all.join(" "));
    }
}

/// A person: the resource that a Reference leads to, where that came along; else the identifier of the
/// Reference, and what it calls the person. A patient who says or measured it is no clinician, and a
/// contract that names clinicians has not named the patient; he or she may sign a consent.
fn person<'s>(
    node: Node<'s>,
    uses: &Table,
    run: &mut Run<'s, '_>,
    (key, target): (Key, &str),
    scope: &Scope<'s>,
) {
    // PROMISE-7
    if target != SIGNER && place::kind_of_target(node, scope) == Some("Patient") {
        return;
    }
    let mut found = scope.find(node);
    if let Some(role) = found.filter(|found| kind_of(*found) == Some("PractitionerRole")) {
        run.take(role);
        found = role.get("practitioner").and_then(|reference| scope.find(reference)).or(found);
    }
    let object = run.tree.open_object(key);
    let before = run.mark();
    if let Some(found) = found {
        run.take(found);
        if let Some(first) = found.get("identifier").and_then(|all| all.items().next()) {
            identifier(first, run, "identifier", target);
        }
        if let Some(first) = found.get("name").and_then(|all| all.items().next()) {
            match first.text() {
                // Of an organization.
                Some(text) => whole_name(text, run, "name"),
                None => name(first, uses, run, "name"),
            }
        }
    }
    if !run.tree.grew(before) {
        if let Some(own) = node.get("identifier") {
            identifier(own, run, "identifier", target);
        }
        if !run.tree.grew(before)
            && let Some(id) =
                word(node, "reference").filter(|it| super::around::literal(it).is_some())
        {
            // A literal reference names the person on that server, and nobody elsewhere.
            let number = run.tree.open_object("identifier");
            run.tree.text("value", id);
            run.tree.close(number);
        }
        if let Some(text) = word(node, "display") {
            whole_name(text, run, "name");
        }
    }
    run.tree.close(object);
}

fn whole_name(text: &str, run: &mut Run<'_, '_>, key: Key) {
    let object = run.tree.open_object(key);
    run.tree.text("text", text);
    run.tree.close(object);
}

/// Address. One that came as a text alone is one line.
fn address(node: Node<'_>, uses: &Table, run: &mut Run<'_, '_>, key: Key) {
    let object = run.tree.open_object(key);
    let before = run.mark();
    let list = run.tree.open_list("lines");
    for line in node.get("line").into_iter().flat_map(Node::items) {
        if let Some(text) = line.text().filter(|text| !text.is_empty()) {
            run.tree.text("", text);
        }
    }
    run.tree.close(list);
    for part in ["city", "district", "state", "postalCode", "country"] {
        plain(run, part, node, part);
    }
    if !run.tree.grew(before)
        && let Some(text) = word(node, "text")
    {
        let list = run.tree.open_list("lines");
        run.tree.text("", text);
        run.tree.close(list);
    }
    if run.tree.grew(before) {
        by_table(run, "use", node, "use", uses);
    }
    run.tree.close(object);
}

/// ContactPoint.
fn telecom(node: Node<'_>, uses: &Table, systems: &Table, run: &mut Run<'_, '_>, key: Key) {
    let Some(number) = word(node, "value") else { return };
    let object = run.tree.open_object(key);
    run.tree.text("value", number);
    by_table(run, "system", node, "system", systems);
    by_table(run, "use", node, "use", uses);
    run.tree.close(object);
}
