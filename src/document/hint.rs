//! The nearest right name to a wrong one.
//!
//! Promises: a name that is far from every right one is answered with the list of them, where
//! that is short enough to read.
//! Knows nothing of: what is named.

/// `; "name" is the nearest` where one of the known names is close, else the list of them.
#[must_use]
pub fn hint(wrong: &str, known: &[&str]) -> String {
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let distance = strsim::damerau_levenshtein(wrong, name);
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    match best {
        Some((distance, name)) if distance <= 2.max(wrong.chars().count() / 3) => {
            format!("; did you mean `{name}`?")
        }
        _ if known.is_empty() => String::new(),
        _ if known.len() <= 24 => format!("; known here: {}", known.join(", ")),
        _ => String::new(),
    }
}
