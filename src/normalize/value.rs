//! The value of an observation, by its type (OBX-2, table 0125).
//!
//! Promises: the sender's digits stay beside a number; a type that is not known keeps its
//! value as text; where one value is meant, several are listed.
//! Knows nothing of: which classes these fields have; `event::observation` says so.

use std::borrow::Cow;

use crate::event::Key;
use crate::parse::hl7::{Composite, Content, Hit, datetime};

use super::attachment;
use super::convert::{code, parse_number, plain, time};
use super::run::Run;
use super::table::Table;

/// Types of which the first repetition is taken. HL7 lets OBX-5 repeat for text and codes (chapter
/// 7.4.2.5); of these nobody says which of several counts.
const ONE_IS_MEANT: [&str; 9] = ["SN", "DT", "TS", "DTM", "TM", "DR", "NR", "ED", "RP"];
/// The field of OBX that holds the type.
const TYPE_FIELD: usize = 2;

/// Writes all repetitions of the field that was hit, as its type says.
pub(super) fn value<'m, 'c>(
    hit: &Hit<'m>,
    media: &Table,
    run: &mut Run<'m, 'c>,
    key: Key,
    target: &'c str,
) {
    run.take_field(hit, TYPE_FIELD);
    let raw = hit.whole_field();
    if run.content(raw) == Content::Absent {
        return;
    }
    let kind = word(run, hit.segment.field(TYPE_FIELD).unwrap_or_default());
    let kind = kind.trim_ascii();
    let whole = hit.value;
    let object = run.tree.open_object(key);
    if !kind.is_empty() {
        run.tree.text("type", kind);
    }
    if ONE_IS_MEANT.contains(&kind) && raw.len() != whole.raw().len() {
        run.refuse(hit);
    }
    match kind {
        "NM" => numeric(hit, raw, run),
        "SN" => structured(hit, whole, run),
        "CE" | "CWE" | "CNE" | "CF" | "IS" | "ID" => codes(hit, raw, run),
        "DT" | "TS" | "DTM" => time(whole.first(), hit, run, "time", target),
        "TM" => match datetime::parse_time(&word(run, whole.first())) {
            Some(text) => run.tree.text("text", &text),
            None => run.refuse(hit),
        },
        "DR" => {
            time(whole.part(1).first(), hit, run, "time", target);
            let until = whole.part(2).first();
            if !until.is_empty() {
                time(until, hit, run, "until", target);
            }
        }
        "NR" => {
            plain(run, "text", whole.raw());
            for (key, place) in [("number", 1), ("number2", 2)] {
                if let Some(number) = parse_number(whole.part(place).first()) {
                    run.tree.number(key, number);
                }
            }
        }
        "NA" | "MA" => series(hit, raw, run),
        "ED" => attachment::embedded(hit, media, run),
        "RP" => attachment::referenced(hit, media, run),
        _ => lines(raw, hit, run),
    }
    run.tree.close(object);
}

/// A value as text; empty where there is none.
pub(super) fn word<'m>(run: &Run<'m, '_>, raw: &'m str) -> Cow<'m, str> {
    match run.content(raw) {
        Content::Text(text) => text,
        Content::Absent | Content::Null => Cow::Borrowed(""),
    }
}

/// Repetitions of a text are its lines.
fn lines<'m>(raw: &'m str, hit: &Hit<'m>, run: &mut Run<'m, '_>) {
    let message = hit.segment.message();
    if raw.len() == hit.value.raw().len() {
        return plain(run, "text", raw);
    }
    run.tree.text_with("text", |out| {
        for (index, line) in message.repetitions(raw).enumerate() {
            if index > 0 {
                out.push('\n');
            }
            if let Content::Text(text) = message.content(line) {
                out.push_str(&text);
            }
        }
    });
}

/// NM. Several numbers in one field are kept as text: which of them counts, nobody says.
fn numeric<'m>(hit: &Hit<'m>, raw: &'m str, run: &mut Run<'m, '_>) {
    lines(raw, hit, run);
    match parse_number(&word(run, raw)) {
        Some(number) => run.tree.number("number", number),
        None => run.refuse(hit),
    }
}

/// SN: comparator, number, separator, number (chapter 2A, SN).
fn structured<'m>(hit: &Hit<'m>, whole: Composite<'m>, run: &mut Run<'m, '_>) {
    let [comparator, first, separator, second] = whole.firsts().map(|part| word(run, part));
    run.tree.text_with("text", |out| {
        for part in [&comparator, &first, &separator, &second] {
            out.push_str(part);
        }
    });
    let number = |run: &mut Run<'m, '_>, key, text: &str| match parse_number(text) {
        Some(number) => run.tree.number(key, number),
        None if text.is_empty() => {}
        None => run.refuse(hit),
    };
    number(run, "number", &first);
    if ["<", ">", "<=", ">=", "=", "<>"].contains(&comparator.as_ref()) {
        run.tree.text("comparator", &comparator);
    }
    if ["-", "+", "/", ".", ":"].contains(&separator.as_ref()) {
        run.tree.text("separator", &separator);
    }
    number(run, "number2", &second);
}

fn codes<'m>(hit: &Hit<'m>, raw: &'m str, run: &mut Run<'m, '_>) {
    let message = hit.segment.message();
    let coded = |raw| Composite::of_field(raw, message.delimiters());
    let mut repetitions = message.repetitions(raw);
    if let Some(first) = repetitions.next() {
        code(coded(first), run, "code");
    }
    let list = run.tree.open_list("moreCodes");
    for repetition in repetitions {
        code(coded(repetition), run, "");
    }
    run.tree.close(list);
}

/// NA and MA: numbers in components, samples in repetitions.
fn series<'m>(hit: &Hit<'m>, raw: &'m str, run: &mut Run<'m, '_>) {
    let delimiters = hit.segment.message().delimiters();
    let divides = [char::from(delimiters.component), char::from(delimiters.repetition)];
    let list = run.tree.open_list("numbers");
    for text in raw.split(divides).filter(|text| !text.trim().is_empty()) {
        match parse_number(text) {
            Some(number) => run.tree.number("", number),
            None => run.refuse(hit),
        }
    }
    run.tree.close(list);
}
