//! Numbers made coarser.
//!
//! Promises: a number that a comparator or a second number makes a range is banded where the whole
//! range lies in one band, and rounded so that what is said stays true; a ratio gives nothing.
//! Knows nothing of: units.

use std::fmt;

use crate::event::View;
use crate::event::observation::range;

/// Most edges of bands.
pub const EDGES_MAX: usize = 64;
/// Largest magnitude that is rounded or banded. Beyond it a step is lost in the number's own
/// precision.
const NUMBER_MAX: f64 = 1e12;

/// Bands of numbers. Each begins with its lower edge, and ends before its upper one.
#[derive(Clone, Debug, PartialEq)]
pub enum Bands {
    /// All of one width, from 0 up and down.
    Width(f64),
    /// Between edges, in rising order; below the first and from the last on, too.
    Edges(Vec<f64>),
}

impl fmt::Display for Bands {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width(width) => write!(out, "width={width}"),
            Self::Edges(edges) => {
                let edges: Vec<String> = edges.iter().map(ToString::to_string).collect();
                write!(out, "edges={}", edges.join(","))
            }
        }
    }
}

impl Bands {
    /// The band that a number of a value lies in.
    pub(super) fn of(&self, number: f64, value: View<'_>) -> Option<String> {
        let (least, most) = range(number, value)?;
        let (low, high) = (self.band(least.at)?, self.band(most.at)?);
        // A range that ends before an edge does not reach into the band that begins there.
        let high = if most.open && most.at.is_finite() && self.begins(high) == Some(most.at) {
            high - 1
        } else {
            high
        };
        (low == high).then(|| self.name(low)).flatten()
    }

    /// The number of the band that a number lies in; 0 is the first from zero on, or the one below
    /// all edges.
    #[expect(clippy::cast_possible_truncation, reason = "bounded by NUMBER_MAX")]
    fn band(&self, number: f64) -> Option<i64> {
        match self {
            Self::Width(width) => {
                (number.abs() <= NUMBER_MAX).then(|| (number / width).floor() as i64)
            }
            Self::Edges(edges) => {
                i64::try_from(edges.iter().filter(|edge| number >= **edge).count()).ok()
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bounded by NUMBER_MAX")]
    fn begins(&self, band: i64) -> Option<f64> {
        match self {
            Self::Width(width) => Some(band as f64 * width),
            Self::Edges(edges) => edges.get(usize::try_from(band - 1).ok()?).copied(),
        }
    }

    fn name(&self, band: i64) -> Option<String> {
        let (from, until) = (self.begins(band), self.begins(band + 1));
        match (from, until) {
            (Some(from), Some(until)) => Some(format!("{}-{}", shown(from), shown(until))),
            (None, Some(until)) => Some(format!("<{}", shown(until))),
            (Some(from), None) => Some(format!(">={}", shown(from))),
            (None, None) => None,
        }
    }
}

/// Without the digits that a multiplication adds: 0.30000000000000004 is 0.3.
fn shown(number: f64) -> f64 {
    let digits = 1e9;
    let near = (number * digits).round() / digits;
    if near == 0.0 { 0.0 } else { near }
}

/// The nearest multiple; of what is said to be above or below a number, the one that it is above or
/// below for certain.
pub(super) fn round(number: f64, to: f64, value: View<'_>) -> Option<f64> {
    let text = |key| value.get(key).and_then(|it| it.as_text());
    let steps = number / to;
    let steps = match (text("comparator").unwrap_or("="), text("separator")) {
        ("" | "=", None | Some("-")) => steps.round(),
        ("<" | "<=", None) => steps.ceil(),
        (">" | ">=", None) => steps.floor(),
        _ => return None,
    };
    let made = shown(steps * to);
    (made.is_finite() && number.abs() <= NUMBER_MAX).then_some(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Tree;

    fn value(json: &str) -> Tree {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_number_lies_in_one_band_for_certain_or_in_none() {
        let edges = Bands::Edges(vec![5.7, 6.5]);
        let tens = Bands::Width(10.0);
        for (json, in_edges, in_tens) in [
            (r#"{"number":5.6}"#, Some("<5.7"), Some("0-10")),
            (r#"{"number":5.7}"#, Some("5.7-6.5"), Some("0-10")),
            (r#"{"number":6.5}"#, Some(">=6.5"), Some("0-10")),
            (r#"{"number":10}"#, Some(">=6.5"), Some("10-20")),
            (r#"{"number":-0.5}"#, Some("<5.7"), Some("-10-0")),
            (r#"{"number":6.9,"comparator":">"}"#, Some(">=6.5"), None),
            (r#"{"number":6.0,"comparator":">"}"#, None, None),
            (r#"{"number":5.7,"comparator":"<"}"#, Some("<5.7"), None),
            (r#"{"number":5.7,"comparator":"<="}"#, None, None),
            (r#"{"number":5.0,"comparator":"="}"#, Some("<5.7"), Some("0-10")),
            (r#"{"number":5.0,"comparator":"<>"}"#, None, None),
            (r#"{"number":5.8,"separator":"-","number2":6.4}"#, Some("5.7-6.5"), Some("0-10")),
            (r#"{"number":5.8,"separator":"-","number2":6.6}"#, None, Some("0-10")),
            (r#"{"number":1,"separator":":","number2":128}"#, None, None),
            (r#"{"number":2,"separator":"+"}"#, None, None),
        ] {
            let tree = value(json);
            let number = tree.root().get("number").unwrap().as_number().unwrap();
            let found = edges.of(number, tree.root());
            assert_eq!(found.as_deref(), in_edges, "{json}");
            assert_eq!(tens.of(number, tree.root()).as_deref(), in_tens, "{json}");
        }
        assert_eq!(Bands::Width(0.1).of(0.35, value("{}").root()).as_deref(), Some("0.3-0.4"));
        assert_eq!(tens.of(1e13, value("{}").root()), None);
    }

    #[test]
    fn what_is_rounded_stays_true() {
        for (json, to, wanted) in [
            (r#"{"number":6.94}"#, 0.1, Some(6.9)),
            (r#"{"number":6.96}"#, 0.5, Some(7.0)),
            (r#"{"number":-6.96}"#, 5.0, Some(-5.0)),
            (r#"{"number":12}"#, 5.0, Some(10.0)),
            (r#"{"number":12,"comparator":"<"}"#, 5.0, Some(15.0)),
            (r#"{"number":14,"comparator":">="}"#, 5.0, Some(10.0)),
            (r#"{"number":14,"comparator":"<>"}"#, 5.0, None),
            (r#"{"number":14,"separator":"-","number2":20}"#, 5.0, Some(15.0)),
            (r#"{"number":1,"separator":":","number2":20}"#, 5.0, None),
            (r#"{"number":1e300}"#, 5.0, None),
        ] {
            let tree = value(json);
            let number = tree.root().get("number").unwrap().as_number().unwrap();
            assert_eq!(round(number, to, tree.root()), wanted, "{json}");
        }
    }
}
