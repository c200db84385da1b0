//! A contract held against an earlier one of its name: what breaks its consumer, and what lowers the
//! protection of patients.
//!
//! Promises: what a consumer rests on, and what protects a patient, does not change under a version
//! that says otherwise without being named; what is not compared here is no matter of either.
//! Knows nothing of: where the earlier one comes from.
//!
//! Reading order: this (what a change does and which version it wants), `findings` (what changed).

#[cfg(test)]
mod cases;
mod findings;

use self::findings::Findings;
use super::Contract;
use crate::document::{Document, Place, Problems};

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A consumer that was right is wrong now.
    Breaking,
    /// More of a patient is told, or to more, or on less ground.
    LowersProtection,
    /// There is more, and what was there is as it was.
    Addition,
    /// Neither; worth a version of its own, since evidence names a contract by that.
    Other,
}

impl Kind {
    /// The words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Breaking => "breaking",
            Self::LowersProtection => "lowers protection",
            Self::Addition => "addition",
            Self::Other => "other",
        }
    }

    /// How far the version has to go for it.
    #[must_use]
    pub const fn wants(self) -> Step {
        match self {
            Self::Breaking | Self::LowersProtection => Step::Major,
            Self::Addition => Step::Minor,
            Self::Other => Step::Patch,
        }
    }
}

/// From one version to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// To a lower one.
    Back,
    /// To the same.
    None,
    /// The last number is higher.
    Patch,
    /// The middle one is.
    Minor,
    /// The first one is.
    Major,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it does.
    pub kind: Kind,
    /// Under which key: a table and a key of it, or a key.
    pub key: Vec<String>,
    /// What is otherwise.
    pub text: String,
}

/// A contract and the earlier one.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// How far the version goes.
    pub step: Step,
    /// Every change, by kind.
    pub findings: Vec<Finding>,
    earlier: [u32; 3],
}

impl Comparison {
    /// The lowest version that a finding may have, where this one is lower.
    #[must_use]
    pub fn wanted(&self, finding: &Finding) -> Option<String> {
        let wants = finding.kind.wants();
        if self.step >= wants {
            return None;
        }
        let [major, minor, patch] = self.earlier;
        Some(match wants {
            Step::Major => format!("{}.0.0", major.saturating_add(1)),
            Step::Minor => format!("{major}.{}.0", minor.saturating_add(1)),
            Step::Patch | Step::None | Step::Back => {
                format!("{major}.{minor}.{}", patch.saturating_add(1))
            }
        })
    }
}

/// Holds a contract against an earlier one.
// PROMISE-7: who sees more by a change hears of it before it holds.
#[must_use]
pub fn compare(old: &Contract, new: &Contract) -> Comparison {
    let mut findings = Findings::default();
    findings.parties(old, new);
    findings.terms(&old.terms, &new.terms);
    findings.events(old, new);
    findings.selection(old, new);
    findings.consent(old, new);
    findings.tier(old.recipe.tier, new.recipe.tier);
    findings.realm(old, new);
    findings.subject(old.recipe.subject, new.recipe.subject);
    findings.fields(&old.recipe, &new.recipe);
    findings.pace(old, new);
    findings.deliver(&old.deliver, &new.deliver);
    let (earlier, later) = (numbers(&old.version), numbers(&new.version));
    let step = step(earlier, later);
    if step == Step::Back {
        let text = format!("the version goes back, from {} to {}", old.version, new.version);
        findings.add(Kind::Breaking, &["version"], text);
    }
    let mut findings = findings.all;
    findings.sort_by_key(|finding| finding.kind);
    Comparison { step, findings, earlier }
}

/// Where a finding stands in its contract.
#[must_use]
pub fn place(document: &Document, finding: &Finding) -> Place {
    // What is wrong in it is told where it is loaded.
    let muted = Problems::default();
    document.read(&muted, |table| match finding.key.as_slice() {
        [] => table.place(),
        [key] => table.place_of(key),
        [outer, inner, ..] => {
            let Some(within) = table.table(outer) else { return table.place_of(outer) };
            // A field may stand there by the part that it is of.
            let near = within
                .entries()
                .into_iter()
                .map(|(key, _)| key)
                .filter(|key| is_within(inner, &key.value))
                .max_by_key(|key| key.value.len());
            near.map_or_else(|| table.place_of(outer), |key| key.place)
        }
    })
}

/// Whether a path lies at or below another, lists marked or not.
fn is_within(path: &str, part: &str) -> bool {
    let (path, part) = (path.replace("[]", ""), part.replace("[]", ""));
    path.strip_prefix(&part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

fn step(old: [u32; 3], new: [u32; 3]) -> Step {
    let places = old.iter().zip(&new).zip([Step::Major, Step::Minor, Step::Patch]);
    for ((old, new), step) in places {
        match new.cmp(old) {
            std::cmp::Ordering::Less => return Step::Back,
            std::cmp::Ordering::Greater => return step,
            std::cmp::Ordering::Equal => {}
        }
    }
    Step::None
}
