//! A site's file as written.
//!
//! Promises: every mistake is told at its line and column; a field of a site's own says its class,
//! and a date among them is no less than quasi-identifying.
//! Knows nothing of: what the shipped mappings make.

use std::sync::Arc;

use crate::document::{Item, Place, Placed, Table};
use crate::event::extension::{CLASSES, Extension, HOLDS, is_name};
use crate::event::schema::{Class, Shape};

use super::super::authority::Authorities;
use super::super::load::read_rules;
use super::super::{case, load::Rule};
use super::{Overrides, SiteFile, Words};

/// Longest name of a site, in characters: as that of a feed.
const NAME_CHARS_MAX: usize = 64;
/// Longest sentence about a field, in characters.
const WHAT_CHARS_MAX: usize = 500;
/// Most rows of `[consent.status]` and of `[consent.type]`.
const WORDS_MAX: usize = 1_000;

pub(super) fn read(name: &str, table: &Table<'_>) -> SiteFile {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.bytes().all(plain) {
        let text = "a site's file is named in small letters, digits and hyphens, at most 64";
        table.mistake(&file_start(table), text);
    }
    let extensions = table.table("extension").map(|table| extensions(&table)).unwrap_or_default();
    let messages = overrides(table, "mapping");
    let mut cases = case::read(table, case::Of::Messages);
    let mut resources = Overrides::default();
    if let Some(fhir) = table.table("fhir") {
        resources = overrides(&fhir, "fhir.mapping");
        cases.extend(case::read(&fhir, case::Of::Resources));
        fhir.finish();
    }
    let authorities = Authorities::read(table).map(Arc::new);
    let words = table.table("consent").map(|table| words(&table)).unwrap_or_default();
    if cases.is_empty() {
        let text = "there is no [[case]]: a message of this site and what must come out";
        table.mistake(&file_start(table), text);
    }
    let name = name.to_owned();
    SiteFile { name, extensions, messages, resources, authorities, words, cases }
}

fn file_start(table: &Table<'_>) -> Place {
    Place { line: 1, column: 1, ..table.place() }
}

/// `[extension.NAME]`.
fn extensions(table: &Table<'_>) -> Vec<Placed<Extension>> {
    table.entries().into_iter().filter_map(|(name, item)| extension(name, &item)).collect()
}

fn extension(name: Placed<String>, item: &Item<'_>) -> Option<Placed<Extension>> {
    let table = item.table()?;
    if !is_name(&name.value) {
        let text = format!(
            "`{}` is no name of a field; a small letter, then letters and digits, such as `arrivedBy`",
            name.value
        );
        table.mistake(&name.place, text);
    }
    let shape = table.choice("holds", &HOLDS).unwrap_or(Shape::Text);
    let many = table.boolean("list", false);
    let class = table.required_choice("class", &CLASSES);
    let what = table.required_text("what");
    if let Some(what) = &what
        && (what.value.trim().is_empty() || what.value.chars().count() > WHAT_CHARS_MAX)
    {
        let text = format!("`what` is a sentence of at most {WHAT_CHARS_MAX} characters");
        table.mistake(&what.place, text);
    }
    // A date finer than a year identifies together with others, whatever it is a date of (45 CFR
    // 164.514(b)(2)(i)(C)), and nothing would coarsen one that is called something else.
    if matches!(shape, Shape::Date)
        && matches!(class, Some(Class::Clinical | Class::Operational | Class::FreeText))
    {
        table.mistake(&table.place_of("class"), "a date is `quasi`, or `direct`");
    }
    table.finish();
    let extension = Extension { name: name.value, shape, many, class: class?, doc: what?.value };
    Some(Placed { value: extension, place: name.place })
}

/// `[rules]` and `[mapping]` of the file, or of its `[fhir]`; `path` is what the latter is called then.
fn overrides(table: &Table<'_>, path: &str) -> Overrides {
    let rules = table.table("rules").map(|table| read_rules(&table)).unwrap_or_default();
    let own = table.table("mapping").map(|table| own_rules(&table, path)).unwrap_or_default();
    Overrides { rules, own }
}

/// `[mapping.NAME]`.
fn own_rules(table: &Table<'_>, path: &str) -> Vec<(Placed<String>, Vec<Rule>)> {
    let of_one = |(name, item): (Placed<String>, Item<'_>)| {
        let table = item.table()?;
        let rules = table.table("rules").map(|table| read_rules(&table)).unwrap_or_default();
        if rules.is_empty() {
            table.mistake(&name.place, format!("`{path}.{}` has no [rules]", name.value));
        }
        table.finish();
        Some((name, rules))
    };
    table.entries().into_iter().filter_map(of_one).collect()
}

/// `[consent.status]` and `[consent.type]`.
fn words(table: &Table<'_>) -> Words {
    let rows = |key: &str| -> Vec<(Placed<String>, Placed<String>)> {
        let Some(table) = table.table(key) else { return Vec::new() };
        let entries = table.entries();
        if entries.len() > WORDS_MAX {
            table.mistake(&table.place(), format!("more than {WORDS_MAX} rows"));
        }
        let taken = entries.into_iter().take(WORDS_MAX);
        taken.filter_map(|(word, item)| Some((word, item.text()?))).collect()
    };
    let words = Words { statuses: rows("status"), types: rows("type") };
    table.finish();
    words
}
