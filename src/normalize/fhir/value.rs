//! What an Observation holds: `value[x]`, by its type, in the words of OBX-2; a range of reference.
//!
//! Promises: the sender's digits stay beside a number; what a type cannot say is kept as text or
//! noted, never guessed.
//! Knows nothing of: which classes these fields have; `event::observation` says so.

use crate::event::observation::CONTENT_BYTES_MAX;
use crate::event::{Key, Tree};
use crate::normalize::attachment::measure;
use crate::normalize::table::Table;
use crate::parse::fhir::Node;

use super::convert::{code, time, word};
use super::date;
use super::run::Run;

/// Yes and no as codes (table 0136), as results of v2 say them.
const YES_NO: &str = "HL70136";
/// Most samples of a series that are told as numbers: an hour of a curve at 100 a second is more than
/// any result of v2 holds, and stays text.
const SAMPLES_MAX: usize = 100_000;

/// A number as FHIR has it: sign, digits, a point, an exponent.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

/// Writes a value, whatever its type. Of one whose type is not known here nothing is told.
pub(super) fn value<'s, 'c>(
    node: Node<'s>,
    systems: &Table,
    run: &mut Run<'s, 'c>,
    (key, target): (Key, &'c str),
) {
    let name = node.name().unwrap_or_default();
    if matches!(node.scalar(), Some("")) {
        return;
    }
    let object = run.tree.open_object(key);
    let before = run.mark();
    match name.strip_prefix("value").unwrap_or(name) {
        "Quantity" => quantity(node, run),
        "integer" | "Integer" | "Decimal" => match node.number_text() {
            Some(text) => plain_number(text, node, run),
            None => run.refuse(node),
        },
        "CodeableConcept" => {
            run.tree.text("type", "CWE");
            code(node, systems, run, "code");
        }
        "Boolean" => match node.boolean() {
            Some(yes) => {
                run.tree.text("type", "CWE");
                let open = run.tree.open_object("code");
                run.tree.text("system", YES_NO);
                run.tree.text("code", if yes { "Y" } else { "N" });
                run.tree.close(open);
            }
            None => run.refuse(node),
        },
        "String" => match node.text() {
            Some(text) => {
                run.tree.text("type", "ST");
                run.tree.text("text", text);
            }
            None => run.refuse(node),
        },
        "Range" => range_value(node, run),
        "Ratio" => ratio(node, run),
        "SampledData" => series(node, run),
        "Time" => match node.text().and_then(date::parse_time) {
            Some(text) => {
                run.tree.text("type", "TM");
                run.tree.text("text", text);
            }
            None => run.refuse(node),
        },
        "DateTime" => {
            run.tree.text("type", "DTM");
            time(node, run, "time", target);
        }
        "Period" => {
            run.tree.text("type", "DR");
            for (key, end) in [("time", "start"), ("until", "end")] {
                if let Some(end) = node.get(end) {
                    time(end, run, key, target);
                }
            }
        }
        "Attachment" => attached(node, run),
        // A Reference, or a type of a later release.
        _ => run.refuse(node),
    }
    let is_alone = Tree::position(run.mark()) == Tree::position(before) + 1;
    if is_alone && run.tree.since(before).is_some_and(|first| first.key() == "type") {
        // A type without a value says nothing.
        run.tree.rewind(before);
    }
    run.tree.close(object);
}

/// CodeableConcept as a value, wherever it stands: CWE.
pub(super) fn concept<'s>(node: Node<'s>, systems: &Table, run: &mut Run<'s, '_>, key: Key) {
    let object = run.tree.open_object(key);
    run.tree.text("type", "CWE");
    code(node, systems, run, "code");
    run.tree.close(object);
}

/// Attachment as a value, wherever it stands.
pub(super) fn document<'s>(node: Node<'s>, run: &mut Run<'s, '_>, key: Key) {
    let object = run.tree.open_object(key);
    attached(node, run);
    run.tree.close(object);
}

fn plain_number<'s>(text: &str, node: Node<'s>, run: &mut Run<'s, '_>) {
    run.tree.text("type", "NM");
    run.tree.text("text", text);
    match number(text) {
        Some(number) => run.tree.number("number", number),
        None => run.refuse(node),
    }
}

/// Quantity: NM, and SN where it is an inequality.
fn quantity<'s>(node: Node<'s>, run: &mut Run<'s, '_>) {
    let Some(digits) = node.get("value") else { return };
    let Some(text) = digits.number_text() else { return run.refuse(digits) };
    match word(node, "comparator") {
        None => plain_number(text, digits, run),
        Some(comparator @ ("<" | "<=" | ">" | ">=")) => {
            run.tree.text("type", "SN");
            run.tree.text("text", &format!("{comparator}{text}"));
            if let Some(number) = number(text) {
                run.tree.number("number", number);
            }
            run.tree.text("comparator", comparator);
        }
        // `ad` (R5): as much as is needed. It is no number of what was found.
        Some(_) => run.refuse(node),
    }
}

/// The text of the number of a Quantity.
fn digits<'s>(node: Node<'s>, name: &str) -> Option<&'s str> {
    node.get(name)?.get("value")?.number_text()
}

/// Range: SN with both ends, or an inequality.
fn range_value<'s>(node: Node<'s>, run: &mut Run<'s, '_>) {
    let ends = (digits(node, "low"), digits(node, "high"));
    let (text, comparator, first, second) = match ends {
        (Some(low), Some(high)) => (format!("{low}-{high}"), None, low, Some(high)),
        (Some(low), None) => (format!(">={low}"), Some(">="), low, None),
        (None, Some(high)) => (format!("<={high}"), Some("<="), high, None),
        (None, None) => return run.refuse(node),
    };
    numbers((&text, comparator, first), second.map(|second| ("-", second)), run);
}

/// Ratio: SN with `:`, as titers come.
fn ratio<'s>(node: Node<'s>, run: &mut Run<'s, '_>) {
    let (Some(first), Some(second)) = (digits(node, "numerator"), digits(node, "denominator"))
    else {
        return run.refuse(node);
    };
    let comparator = node.get("numerator").and_then(|it| word(it, "comparator"));
    let text = format!("{}{first}:{second}", comparator.unwrap_or_default());
    numbers((&text, comparator, first), Some((":", second)), run);
}

/// SN (chapter 2A): comparator, number, separator, number.
fn numbers(
    (text, comparator, first): (&str, Option<&str>, &str),
    second: Option<(&str, &str)>,
    run: &mut Run<'_, '_>,
) {
    run.tree.text("type", "SN");
    run.tree.text("text", text);
    if let Some(number) = number(first) {
        run.tree.number("number", number);
    }
    if let Some(comparator) = comparator.filter(|it| ["<", "<=", ">", ">="].contains(it)) {
        run.tree.text("comparator", comparator);
    }
    if let Some((separator, second)) = second {
        run.tree.text("separator", separator);
        if let Some(number) = number(second) {
            run.tree.number("number2", number);
        }
    }
}

/// SampledData: NA. What is not a number (E, U, L: error, above, below) stands for one that nobody
/// knows, so a series with such is told as text alone: numbers would no longer stand at their times.
fn series<'s>(node: Node<'s>, run: &mut Run<'s, '_>) {
    run.tree.text("type", "NA");
    let Some(data) = word(node, "data") else { return run.refuse(node) };
    run.tree.text("text", data);
    let origin = digits(node, "origin").and_then(number).unwrap_or(0.0);
    let factor = node.get("factor").and_then(Node::number_text).and_then(number).unwrap_or(1.0);
    let samples: Option<Vec<f64>> = data
        .split_ascii_whitespace()
        .take(SAMPLES_MAX + 1)
        .map(|text| number(text).map(|sample| origin + sample * factor))
        .collect();
    let Some(samples) = samples.filter(|samples| samples.len() <= SAMPLES_MAX) else { return };
    if samples.iter().all(|sample| sample.is_finite()) {
        let list = run.tree.open_list("numbers");
        samples.iter().for_each(|sample| run.tree.number("", *sample));
        run.tree.close(list);
    }
}

/// Attachment: ED with its data, RP with a URL alone.
fn attached<'s>(node: Node<'s>, run: &mut Run<'s, '_>) {
    let data = word(node, "data");
    run.tree.text("type", if data.is_some() { "ED" } else { "RP" });
    let object = run.tree.open_object("attachment");
    if let Some(kind) = word(node, "contentType").filter(|kind| is_media_type(kind)) {
        run.tree.text("mediaType", kind);
    }
    match data {
        Some(data) => {
            run.tree.text("encoding", "Base64");
            match measure("Base64", data) {
                Some((size, digest)) => {
                    run.tree.number("size", size);
                    run.tree.text("digest", &digest);
                }
                None => run.refuse(node),
            }
        }
        None => {
            if let Some(size) = word(node, "size").and_then(number) {
                run.tree.number("size", size);
            }
        }
    }
    if let Some(url) = word(node, "url") {
        run.tree.text("pointer", url);
    }
    if let Some(data) = data.filter(|data| run.keeps_documents() && data.len() <= CONTENT_BYTES_MAX)
    {
        run.tree.text("content", data);
    }
    run.tree.close(object);
}

/// Whether a text is a MIME type without parameters (RFC 6838 section 4.2), and not a sender's words.
fn is_media_type(text: &str) -> bool {
    let plain = |part: &str| {
        (1..=127).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| plain(kind) && plain(subtype))
}

/// Observation.referenceRange as text, as OBX-7 has it: its own words, else its ends.
pub(super) fn range<'s>(node: Node<'s>, run: &mut Run<'s, '_>, key: Key) {
    if let Some(text) = word(node, "text") {
        return run.tree.text(key, text);
    }
    let text = match (digits(node, "low"), digits(node, "high")) {
        (Some(low), Some(high)) => format!("{low}-{high}"),
        (Some(low), None) => format!(">={low}"),
        (None, Some(high)) => format!("<={high}"),
        (None, None) => return run.refuse(node),
    };
    run.tree.text(key, &text);
}
