//! Where a patient is: Encounter.location, and what its Location and those around it say.
//!
//! Promises: a place that came along is told part by part, as PL has it; one that is only referred to goes
//! by its identifier, else by its literal ID, and by what it is called.
//! Knows nothing of: which of several places is an event's; the rules do.

use crate::event::Key;
use crate::parse::fhir::Node;

use super::around::literal;
use super::path::{Scope, kind_of};
use super::rules::Which;
use super::run::Run;

/// Most places that stand one in the other: a bed in a room on a ward in a house.
const WITHIN_MAX: usize = 8;
/// What a Location is (v3-RoleCode location-physical-type), and the part of the event that it is. What
/// stands in none of these rows is where care is given.
const PARTS: [(&str, &str); 10] = [
    ("wa", "pointOfCare"),
    ("wi", "pointOfCare"),
    ("area", "pointOfCare"),
    ("ro", "room"),
    ("ca", "room"),
    ("bd", "bed"),
    ("lvl", "floor"),
    ("bu", "building"),
    ("si", "facility"),
    ("ho", "facility"),
];
/// The parts of a place as the event declares them, in its order.
const ORDER: [Key; 6] = ["pointOfCare", "room", "bed", "facility", "building", "floor"];

/// The type that a Reference leads to, as far as it says so or what it leads to does.
pub(super) fn kind_of_target<'s>(reference: Node<'s>, scope: &Scope<'s>) -> Option<&'s str> {
    let found = scope.find(reference).and_then(kind_of);
    let text = |name: &str| reference.get(name).and_then(Node::text);
    found
        .or_else(|| text("reference").and_then(literal).map(|(kind, _)| kind))
        // A name, or the URL of its definition.
        .or_else(|| text("type").map(|kind| kind.rsplit_once('/').map_or(kind, |(_, name)| name)))
}

/// The place among several where the patient is, or was last before that.
pub(super) fn choose<'s>(which: Which, all: &[Node<'s>]) -> Option<Node<'s>> {
    let status = |node: &Node<'s>| node.get("status").and_then(Node::text);
    let is_over = |node: &Node<'s>| {
        status(node) == Some("completed")
            || node.get("period").is_some_and(|period| period.get("end").is_some())
    };
    let is_plan = |node: &Node<'s>| matches!(status(node), Some("planned" | "reserved"));
    let active = all.iter().rposition(|node| status(node) == Some("active"));
    let current = active
        .or_else(|| all.iter().rposition(|node| !is_over(node) && !is_plan(node)))
        // Of a visit that is over, the place where it ended.
        .or_else(|| all.iter().rposition(|node| !is_plan(node)));
    let at = match which {
        Which::First => 0,
        Which::Current => current?,
        Which::Prior => all.iter().take(current?).rposition(is_over)?,
    };
    all.get(at).copied()
}

/// Writes a place: of Encounter.location, of a Reference, or of a Location.
pub(super) fn location<'s>(node: Node<'s>, run: &mut Run<'s, '_>, key: Key, scope: &Scope<'s>) {
    let reference = node.get("location").unwrap_or(node);
    let found = if kind_of(node) == Some("Location") { Some(node) } else { scope.find(reference) };
    let said = form(node);
    let mut parts: Vec<(Key, &'s str)> = Vec::new();
    let mut description = reference.get("display").and_then(Node::text);
    let mut next = found.filter(|found| kind_of(*found) == Some("Location"));
    if next.is_none() {
        let identifier = reference.get("identifier").and_then(|it| it.get("value"));
        let id = || reference.get("reference").and_then(Node::text).and_then(literal);
        let value = identifier.and_then(Node::text).or_else(|| Some(id()?.1));
        parts.extend(value.map(|value| (part(said), value)));
    }
    let mut first = true;
    for _ in 0..WITHIN_MAX {
        let Some(place) = next else { break };
        run.take(place);
        let name = place.get("name").and_then(Node::text);
        let number = || place.get("identifier")?.items().find_map(|it| it.get("value")?.text());
        let alias = || place.get("alias")?.items().next()?.text();
        let key = part(form(place).or(said.filter(|_| first)));
        if let Some(value) = name.or_else(number).or_else(alias)
            && !parts.iter().any(|(known, _)| *known == key)
        {
            parts.push((key, value));
        }
        if first {
            description = description.or_else(|| place.get("description").and_then(Node::text));
        }
        first = false;
        next = place.get("partOf").and_then(|around| scope.find(around));
    }
    let object = run.tree.open_object(key);
    for key in ORDER {
        if let Some((_, value)) = parts.iter().find(|(part, _)| *part == key) {
            run.tree.text(key, value);
        }
    }
    if let Some(text) = description {
        run.tree.text("description", text);
    }
    run.tree.close(object);
}

/// What kind of place it is: `physicalType` in R4, `form` in R5.
fn form(node: Node<'_>) -> Option<&str> {
    let concept = node.get("physicalType").or_else(|| node.get("form"))?;
    concept.get("coding")?.items().find_map(|coding| coding.get("code")?.text())
}

fn part(form: Option<&str>) -> Key {
    let known = form.and_then(|form| PARTS.iter().find(|(code, _)| *code == form));
    known.map_or("pointOfCare", |(_, part)| part)
}
