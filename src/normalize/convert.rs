//! HL7 data types to the parts of an event (chapter 2A).
//!
//! Promises: a value that does not fit its type leaves the field empty and is noted; `""` is
//! null, at whatever depth it stands.
//! Knows nothing of: which field it converts, but for the name that a time is marked under.

use crate::event::{Key, PartialDate};
use crate::parse::hl7::{Composite, Content, Hit, datetime};

use super::mapping::Source;
use super::run::Run;
use super::segments::{Convert, Hl7};
use super::table::Table;
use super::value;

/// Writes what a path resolved to under a key; nothing where it is absent.
pub(super) fn convert<'m, 'c>(
    convert: &Convert,
    source: &Source<Hl7>,
    hit: &Hit<'m>,
    run: &mut Run<'m, 'c>,
    key: Key,
    target: &'c str,
) {
    let whole = hit.value;
    if whole.raw() == "\"\"" {
        return run.tree.null(key);
    }
    match convert {
        Convert::Text => text(source.table.as_deref(), hit, run, key),
        Convert::Whole => plain(run, key, whole.raw()),
        Convert::Date => {
            if let Some(date) = date(whole.first(), hit, run) {
                write_date(run, key, date.date());
            }
        }
        Convert::Time => time(whole.first(), hit, run, key, target),
        Convert::WithHour => {
            if let Some(date) = date(whole.first(), hit, run).filter(PartialDate::has_time) {
                let zoned = run.zoned(date, target);
                write_date(run, key, zoned);
            }
        }
        Convert::Number => number(hit, run, key),
        Convert::Boolean => boolean(hit, run, key),
        Convert::Value { media } => value::value(hit, media, run, key, target),
        Convert::Coded => coded(source.table.as_deref(), whole, run, key),
        Convert::Code => code(whole, run, key),
        Convert::Identifier { kind } => identifier(whole, kind.as_deref(), run, key, target),
        Convert::Entity => entity(whole, run, key, target),
        Convert::Name(uses) => {
            let [family, given, middle, suffix, prefix, _, usage] = whole.firsts();
            name([family, given, middle, suffix, prefix, usage], uses, run, key);
        }
        Convert::Person(uses) => person(whole, uses, run, key, target),
        Convert::Address { uses } => address(whole, uses, run, key),
        Convert::Telecom { uses, systems } => telecom(whole, uses, systems, run, key),
        Convert::Location => location(whole, run, key),
    }
}

/// Writes the text of a raw value; nothing where it is absent.
#[inline]
pub(super) fn plain<'m>(run: &mut Run<'m, '_>, key: Key, raw: &'m str) {
    // Most components of most values are empty.
    if !raw.is_empty() {
        said(run, key, raw);
    }
}

fn said<'m>(run: &mut Run<'m, '_>, key: Key, raw: &'m str) {
    if let Some(text) = run.message.as_is(raw) {
        return run.tree.text(key, text);
    }
    match run.content(raw) {
        Content::Absent => {}
        Content::Null => run.tree.null(key),
        Content::Text(text) => run.tree.text(key, &text),
    }
}

/// A number as NM has it: sign, digits, a point (chapter 2A, NM). No exponent, no `inf`.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

/// Writes a date or time, as precise as it came.
pub(super) fn time<'m, 'c>(
    raw: &'m str,
    hit: &Hit<'m>,
    run: &mut Run<'m, 'c>,
    key: Key,
    target: &'c str,
) {
    if raw == "\"\"" {
        run.tree.null(key);
    } else if let Some(date) = date(raw, hit, run) {
        let zoned = run.zoned(date, target);
        write_date(run, key, zoned);
    }
}

/// A date or time; one that cannot be is noted.
fn date<'m>(raw: &'m str, hit: &Hit<'m>, run: &mut Run<'m, '_>) -> Option<PartialDate> {
    let Content::Text(text) = run.content(raw) else { return None };
    let date = datetime::parse(&text);
    if date.is_none() {
        run.refuse(hit);
    }
    date
}

fn write_date(run: &mut Run<'_, '_>, key: Key, date: PartialDate) {
    run.tree.text_with(key, |text| date.write(text));
}

fn text<'m>(table: Option<&Table>, hit: &Hit<'m>, run: &mut Run<'m, '_>, key: Key) {
    let Some(table) = table else { return plain(run, key, hit.value.first()) };
    match run.content(hit.value.first()) {
        Content::Absent => {}
        Content::Null => run.tree.null(key),
        Content::Text(text) => match table.get(&text) {
            Some(code) => run.tree.text(key, code),
            None => run.refuse(hit),
        },
    }
}

fn number<'m>(hit: &Hit<'m>, run: &mut Run<'m, '_>, key: Key) {
    match run.content(hit.value.first()) {
        Content::Absent => {}
        Content::Null => run.tree.null(key),
        Content::Text(text) => match parse_number(&text) {
            Some(number) => run.tree.number(key, number),
            None => run.refuse(hit),
        },
    }
}

/// Table 0136.
fn boolean<'m>(hit: &Hit<'m>, run: &mut Run<'m, '_>, key: Key) {
    match run.content(hit.value.first()) {
        Content::Absent => {}
        Content::Null => run.tree.null(key),
        Content::Text(text) => match text.trim() {
            "Y" | "y" => run.tree.boolean(key, true),
            "N" | "n" => run.tree.boolean(key, false),
            _ => run.refuse(hit),
        },
    }
}

/// Writes a code by a table; one that the table does not have is left out, since the field is
/// not for the sender's words.
fn by_table<'m>(run: &mut Run<'m, '_>, key: Key, raw: &'m str, table: &Table) {
    if raw.is_empty() {
        return;
    }
    if let Content::Text(text) = run.content(raw)
        && let Some(code) = table.get(&text)
    {
        run.tree.text(key, code);
    }
}

/// `{ code, source }`.
fn coded<'m>(table: Option<&Table>, whole: Composite<'m>, run: &mut Run<'m, '_>, key: Key) {
    let object = run.tree.open_object(key);
    let raw = whole.first();
    if let Some(table) = table {
        by_table(run, "code", raw, table);
    }
    plain(run, "source", raw);
    run.tree.close(object);
}

/// CWE and what it grew from: CE, CNE, CF; of IS and ID there is the code alone.
pub(super) fn code<'m>(whole: Composite<'m>, run: &mut Run<'m, '_>, key: Key) {
    let [code, display, system, other_code, other_display, other_system, _, _, text] =
        whole.firsts();
    let object = run.tree.open_object(key);
    plain(run, "system", system);
    plain(run, "code", code);
    plain(run, "display", display);
    plain(run, "text", text);
    let alternate = run.tree.open_object("alternate");
    plain(run, "system", other_system);
    plain(run, "code", other_code);
    plain(run, "display", other_display);
    run.tree.close(alternate);
    run.tree.close(object);
}

/// A number as it came: who issued it (HD), and its type.
struct Number<'m, 't> {
    value: &'m str,
    authority: [&'m str; 3],
    kind: &'t str,
    target: &'t str,
}

/// Writes a number and who issued it. Where the number is absent, so is all of it.
fn numbered<'m>(
    run: &mut Run<'m, '_>,
    key: Key,
    number: &Number<'m, '_>,
    rest: impl FnOnce(&mut Run<'m, '_>),
) {
    let object = run.tree.open_object(key);
    let before = run.tree.mark();
    plain(run, "value", number.value);
    if run.tree.grew(before) {
        if !run.other_authority(number.authority, number.kind, number.target) {
            let [namespace, universal, kind] = number.authority;
            plain(run, "authority", namespace);
            plain(run, "authorityId", universal);
            plain(run, "authorityIdType", kind);
        }
        rest(run);
    }
    run.tree.close(object);
}

/// CX. The check digit (CX.2) is not part of the value.
fn identifier<'m>(
    whole: Composite<'m>,
    kind: Option<&str>,
    run: &mut Run<'m, '_>,
    key: Key,
    target: &str,
) {
    let [value, _, _, _, own_kind, _, from, to] = whole.firsts();
    let authority = whole.part(4).firsts();
    let number = Number { value, authority, kind: kind.unwrap_or(own_kind), target };
    numbered(run, key, &number, |run| {
        match kind {
            Some(kind) => run.tree.text("type", kind),
            None => plain(run, "type", own_kind),
        }
        for (key, raw) in [("validFrom", from), ("validTo", to)] {
            if let Content::Text(text) = run.content(raw)
                && let Some(date) = datetime::parse(&text)
            {
                write_date(run, key, date.date());
            }
        }
    });
}

/// EI.
fn entity<'m>(whole: Composite<'m>, run: &mut Run<'m, '_>, key: Key, target: &str) {
    let [value, namespace, universal, kind] = whole.firsts();
    let number = Number { value, authority: [namespace, universal, kind], kind: "", target };
    numbered(run, key, &number, |_| {});
}

/// The parts of a name: family, given, middle, suffix, prefix, use.
fn name<'m>(parts: [&'m str; 6], uses: &Table, run: &mut Run<'m, '_>, key: Key) {
    let [family, given, middle, suffix, prefix, usage] = parts;
    let object = run.tree.open_object(key);
    let before = run.tree.mark();
    plain(run, "family", family);
    let list = run.tree.open_list("given");
    plain(run, "", given);
    plain(run, "", middle);
    run.tree.close(list);
    plain(run, "prefix", prefix);
    plain(run, "suffix", suffix);
    if run.tree.grew(before) {
        by_table(run, "use", usage, uses);
    }
    run.tree.close(object);
}

/// XCN, and CN before 2.3.
fn person<'m>(whole: Composite<'m>, uses: &Table, run: &mut Run<'m, '_>, key: Key, target: &str) {
    let [value, family, given, middle, suffix, prefix, _, _, _, usage, _, _, kind] = whole.firsts();
    let object = run.tree.open_object(key);
    let number = Number { value, authority: whole.part(9).firsts(), kind, target };
    numbered(run, "identifier", &number, |run| {
        plain(run, "type", kind);
    });
    name([family, given, middle, suffix, prefix, usage], uses, run, "name");
    run.tree.close(object);
}

/// XAD, and AD before 2.3.
fn address<'m>(whole: Composite<'m>, uses: &Table, run: &mut Run<'m, '_>, key: Key) {
    let [street, other, city, state, postal_code, country, usage, _, district] = whole.firsts();
    let object = run.tree.open_object(key);
    let before = run.tree.mark();
    let lines = run.tree.open_list("lines");
    plain(run, "", street);
    plain(run, "", other);
    run.tree.close(lines);
    plain(run, "city", city);
    plain(run, "district", district);
    plain(run, "state", state);
    plain(run, "postalCode", postal_code);
    plain(run, "country", country);
    if run.tree.grew(before) {
        by_table(run, "use", usage, uses);
    }
    run.tree.close(object);
}

/// XTN, and TN before 2.3. The number as one text where the sender gave one (XTN.12 from 2.7,
/// XTN.1 before), the mail address (XTN.4), or put together from its parts.
fn telecom<'m>(
    whole: Composite<'m>,
    uses: &Table,
    systems: &Table,
    run: &mut Run<'m, '_>,
    key: Key,
) {
    let [number, usage, system, mail, country, area, local, extension, _, _, _, unformatted] =
        whole.firsts();
    let object = run.tree.open_object(key);
    let before = run.tree.mark();
    for raw in [unformatted, number, mail] {
        if !run.tree.grew(before) {
            plain(run, "value", raw);
        }
    }
    if !run.tree.grew(before) {
        let mut text = String::new();
        for (raw, mark) in [(country, "+"), (area, " "), (local, " "), (extension, " x")] {
            if let Content::Text(part) = run.content(raw) {
                if !text.is_empty() || mark == "+" {
                    text.push_str(mark);
                }
                text.push_str(&part);
            }
        }
        if !text.is_empty() {
            run.tree.text("value", &text);
        }
    }
    if run.tree.grew(before) {
        by_table(run, "system", system, systems);
        by_table(run, "use", usage, uses);
    }
    run.tree.close(object);
}

/// PL.
fn location<'m>(whole: Composite<'m>, run: &mut Run<'m, '_>, key: Key) {
    let [point_of_care, room, bed, facility, _, kind, building, floor, description] =
        whole.firsts();
    let object = run.tree.open_object(key);
    plain(run, "pointOfCare", point_of_care);
    plain(run, "room", room);
    plain(run, "bed", bed);
    plain(run, "facility", facility);
    plain(run, "type", kind);
    plain(run, "building", building);
    plain(run, "floor", floor);
    plain(run, "description", description);
    run.tree.close(object);
}
