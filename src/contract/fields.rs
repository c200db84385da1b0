//! `[fields]` and `[[break_glass]]`: what leaves, and in which form, as written.
//!
//! Promises: a transform that is not known, or whose settings are not right, is a mistake at its
//! place with the nearest right name.
//! Knows nothing of: which fields there are, and what a tier allows; the recipe compiles.

use jiff::Timestamp;

use super::terms::end_of;
use crate::document::{Item, Place, Placed, Table, hint};
use crate::privacy::Transform;
use crate::privacy::recipe::Wanted;
use crate::privacy::transform::{
    AGE_BAND_MAX, Bands, Coding, EDGES_MAX, FAMILY_LENGTH_MAX, MASK_LAST_MAX, SHIFT_DAYS_MAX,
};

/// Reads a table of mappings/tables by its name; a mistake goes to its place.
pub type Codings<'c> = &'c dyn Fn(&str, &Place) -> Option<Coding>;

/// Longest `constant`, in bytes.
const CONSTANT_BYTES_MAX: usize = 256;
/// Most break-glasses of a contract.
const GLASSES_MAX: usize = 32;
/// How many have to approve that a glass is broken.
const APPROVERS_MIN: usize = 2;

/// An exception to the contract, within its tier, with an end.
#[derive(Clone, Debug)]
pub struct Glass {
    /// What leaves beside `[fields]`.
    pub wanted: Wanted,
    /// Who approved it, at least two.
    pub approved_by: Vec<String>,
    /// Why.
    pub reason: String,
    /// From when on it is over.
    pub ends: Timestamp,
}

/// Reads `[fields]`.
#[must_use]
pub fn read(table: &Table<'_>, codings: Codings<'_>) -> Vec<Wanted> {
    let entries = table.entries().into_iter();
    entries.filter_map(|(path, item)| wanted(path, &item, codings)).collect()
}

fn wanted(path: Placed<String>, item: &Item<'_>, codings: Codings<'_>) -> Option<Wanted> {
    let Some(table) = item.is_table().then(|| item.table()).flatten() else {
        let word = item.text()?;
        let transform = plain(&word, item)?;
        return Some(Wanted { path, transform, leaves_as: None, required: false });
    };
    let word = table.required_text("transform");
    let transform = word.and_then(|word| with_settings(&word, &table, codings));
    let leaves_as = table.text("as");
    let required = table.boolean("required", false);
    table.finish();
    Some(Wanted { path, transform: transform?, leaves_as, required })
}

/// A transform by its word alone.
fn plain(word: &Placed<String>, item: &Item<'_>) -> Option<Transform> {
    Some(match word.value.as_str() {
        "keep" => Transform::Keep,
        "drop" => Transform::Drop,
        "token" => Transform::Token,
        "hash" => Transform::Hash,
        "mask" => Transform::Mask { last: MASK_LAST },
        "year" => Transform::Year,
        "month" => Transform::Month,
        "week" => Transform::Week,
        "age" => Transform::Age,
        "age-band" => Transform::AgeBand { width: AGE_BAND },
        "zip3" => Transform::Zip3,
        "state" => Transform::State,
        "code-family" => Transform::CodeFamily { length: FAMILY_LENGTH },
        known if Transform::NAMES.contains(&known) => {
            let example = match known {
                "shift" => "days = 30",
                "table" => "table = \"NAME\"",
                "round" => "to = 0.5",
                "band" => "edges = [5.7, 6.5]",
                _ => "value = \"TEXT\"",
            };
            let text =
                format!("`{known}` wants a setting: {{ transform = \"{known}\", {example} }}");
            item.mistake(text);
            return None;
        }
        other => {
            item.mistake(format!("`{other}` is no transform{}", hint(other, &Transform::NAMES)));
            return None;
        }
    })
}

/// What holds where the setting is not there.
const MASK_LAST: u8 = 4;
const AGE_BAND: u8 = 5;
const FAMILY_LENGTH: u8 = 3;

fn with_settings(
    word: &Placed<String>,
    table: &Table<'_>,
    codings: Codings<'_>,
) -> Option<Transform> {
    let small = |key: &str, default: u8, bounds| {
        u8::try_from(table.integer(key, default.into(), bounds)).unwrap_or(default)
    };
    match word.value.as_str() {
        "mask" => Some(Transform::Mask { last: small("last", MASK_LAST, 0..=MASK_LAST_MAX) }),
        "age-band" => {
            Some(Transform::AgeBand { width: small("width", AGE_BAND, 2..=AGE_BAND_MAX) })
        }
        "code-family" => {
            let length = small("length", FAMILY_LENGTH, 1..=FAMILY_LENGTH_MAX);
            Some(Transform::CodeFamily { length })
        }
        "shift" => {
            let days = table.required("days")?.integer(1..=SHIFT_DAYS_MAX)?;
            Some(Transform::Shift { days: u16::try_from(days).ok()? })
        }
        "table" => {
            let name = table.required_text("table")?;
            codings(&name.value, &name.place).map(Transform::Table)
        }
        "round" => {
            let item = table.required("to")?;
            positive(&item).map(|to| Transform::Round { to })
        }
        "band" => bands(table).map(Transform::Band),
        "constant" => {
            let text = table.required_text("value")?;
            if text.value.is_empty() || text.value.len() > CONSTANT_BYTES_MAX {
                let wanted = format!("`value` is 1 to {CONSTANT_BYTES_MAX} bytes of text");
                table.mistake(&text.place, wanted);
                return None;
            }
            Some(Transform::Constant(text.value))
        }
        _ => plain(word, &table.item("transform")?),
    }
}

fn positive(item: &Item<'_>) -> Option<f64> {
    let number = item.number()?;
    if number < 1e-6 {
        item.mistake(format!("`{}` is above zero", item.name()));
        return None;
    }
    Some(number)
}

fn bands(table: &Table<'_>) -> Option<Bands> {
    match (table.item("width"), table.item("edges")) {
        (Some(width), None) => positive(&width).map(Bands::Width),
        (None, Some(item)) => {
            let edges: Option<Vec<f64>> = item.items().iter().map(Item::number).collect();
            let edges = edges?;
            let rises = edges.windows(2).all(|two| matches!(two, [one, other] if one < other));
            if edges.is_empty() || edges.len() > EDGES_MAX || !rises {
                item.mistake(format!(
                    "`edges` are 1 to {EDGES_MAX} numbers, each above the one before"
                ));
                return None;
            }
            Some(Bands::Edges(edges))
        }
        _ => {
            table.mistake(&table.place(), "`band` wants either `width` or `edges`");
            None
        }
    }
}

/// Reads `[[break_glass]]`. Mistakes go to the table's problems.
#[must_use]
pub fn glasses(root: &Table<'_>, codings: Codings<'_>) -> Vec<Glass> {
    let tables = root.tables("break_glass");
    if tables.len() > GLASSES_MAX {
        let text = format!("more than {GLASSES_MAX} tables `break_glass`: write a new contract");
        root.mistake(&root.place_of("break_glass"), text);
    }
    tables.iter().take(GLASSES_MAX).filter_map(|table| glass(table, codings)).collect()
}

fn glass(table: &Table<'_>, codings: Codings<'_>) -> Option<Glass> {
    let path = table.required_text("field");
    let word = table.required_text("transform");
    let transform = word.and_then(|word| with_settings(&word, table, codings));
    let leaves_as = table.text("as");
    let approvers = table.required("approved_by");
    let reason = table.required_text("reason");
    let ends = table.required("expires").and_then(|item| item.date());
    let mut approved_by: Vec<String> = Vec::new();
    if let Some(item) = &approvers {
        for name in item.texts() {
            let name = name.value.trim().to_owned();
            if !name.is_empty() && !approved_by.contains(&name) {
                approved_by.push(name);
            }
        }
        if approved_by.len() < APPROVERS_MIN {
            item.mistake(format!("`approved_by` wants {APPROVERS_MIN} who approve, by name"));
        }
    }
    if let Some(reason) = reason.as_ref().filter(|reason| reason.value.trim().is_empty()) {
        table.mistake(&reason.place, "`reason` is empty");
    }
    if let Some(path) = path.as_ref().filter(|path| path.value == crate::privacy::recipe::SUBJECT) {
        table.mistake(&path.place, "the subject's form is the contract's; no glass changes it");
    }
    table.finish();
    Some(Glass {
        wanted: Wanted { path: path?, transform: transform?, leaves_as, required: false },
        approved_by,
        reason: reason?.value,
        ends: end_of(ends?.value),
    })
}
