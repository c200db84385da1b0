//! Figures beside their limits, as one table.
//!
//! Promises: a figure is the median of its rounds, with the least and the greatest beside it; a
//! ratio is taken round by round, so that what else the machine does in a round counts for both
//! halves of it.
//! Knows nothing of: what is measured.
#![allow(dead_code, reason = "each bench uses its own part of it")]

use std::process::ExitCode;

/// What one figure was in each round.
#[derive(Clone, Debug, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[length / 2],
            length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
        }
    }

    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn greatest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// This over that, round by round.
    pub fn over(&self, that: &Self) -> Self {
        Self(self.0.iter().zip(&that.0).map(|(this, that)| this / that).collect())
    }
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Nothing; it is there for scale.
    None,
    /// At least so much.
    Least(f64),
    /// At most so much.
    Most(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::None => true,
            Self::Least(bound) => value >= bound,
            Self::Most(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Least(bound) => write!(out, "≥ {bound}"),
            Self::Most(bound) => write!(out, "≤ {bound}"),
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 8]>,
    missed: usize,
}

const HEAD: [&str; 8] = ["figure", "unit", "median", "min..max", "beside", "ratio", "target", ""];

impl Table {
    /// A figure by itself.
    pub fn figure(&mut self, name: &str, unit: &str, series: &Series, target: Target) {
        let [median, spread] = texts(series);
        let verdict = self.verdict(target, series.median());
        self.rows.push([
            name.to_owned(),
            unit.to_owned(),
            median,
            spread,
            String::new(),
            String::new(),
            target.to_string(),
            verdict,
        ]);
    }

    /// A figure beside another; the target is of their ratio.
    pub fn ratio(
        &mut self,
        name: &str,
        unit: &str,
        series: &Series,
        beside: (&str, &Series),
        target: Target,
    ) {
        let [median, spread] = texts(series);
        let ratio = series.over(beside.1);
        let verdict = self.verdict(target, ratio.median());
        self.rows.push([
            name.to_owned(),
            unit.to_owned(),
            median,
            spread,
            format!("{} {}", beside.0, number(beside.1.median())),
            format!("{:.3} ({:.3}..{:.3})", ratio.median(), ratio.least(), ratio.greatest()),
            target.to_string(),
            verdict,
        ]);
    }

    fn verdict(&mut self, target: Target, value: f64) -> String {
        if !target.is_met(value) {
            self.missed += 1;
            return "MISS".to_owned();
        }
        if matches!(target, Target::None) { String::new() } else { "ok".to_owned() }
    }

    /// Prints it; a failure where a target is missed.
    pub fn print(&self) -> ExitCode {
        let mut widths = HEAD.map(|word| word.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: [&str; 8]| {
            let cells: Vec<String> =
                cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("{}", cells.join("  ").trim_end());
        };
        println!();
        line(HEAD);
        for row in &self.rows {
            line(row.each_ref().map(String::as_str));
        }
        if self.missed == 0 {
            println!("\nevery target is met");
            return ExitCode::SUCCESS;
        }
        println!("\ntargets missed: {}", self.missed);
        ExitCode::FAILURE
    }
}

fn texts(series: &Series) -> [String; 2] {
    let spread = format!("{}..{}", number(series.least()), number(series.greatest()));
    [number(series.median()), spread]
}

/// Three digits or so.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
