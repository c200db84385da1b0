//! A decision in words, for whoever asks why.
//!
//! Promises: a dry run and a record of the same decision give the same sentences; they name rule,
//! consent record and version, contract version, configuration, recipe, and the fate of each field
//! that the contract names.
//! Knows nothing of: where the decision comes from.

use std::fmt::Write;

use super::record::{Consulted, Decision, Outcome, Under};
use crate::consent::Code;
use crate::privacy::{Fate, Recipe};

/// What a reader of the evidence may know beside it.
pub struct Names<'n> {
    /// The consent record that a digest stands for, where the ledger is at hand.
    pub consent: &'n dyn Fn(&Consulted) -> Option<String>,
    /// The recipe of the route as it is configured now; used where it is the recorded one.
    pub recipe: Option<&'n Recipe>,
}

/// A decision in words.
// PROMISE-8
#[must_use]
pub fn sentence(decision: &Decision, names: &Names<'_>) -> String {
    let Under { route, contract, purpose, consumer, destination, .. } = &*decision.under;
    let mut text = match decision.outcome {
        Outcome::Release => {
            format!("Released to {consumer} ({destination}) for {purpose}: {}", yes(decision))
        }
        Outcome::Suppress => format!("Suppressed for {consumer}: {}", no(decision)),
        Outcome::Told => {
            let by = decision.told_by.as_deref().unwrap_or_default();
            format!(
                "Told before, for {consumer}: nothing denies it, and event {by} of another source, which left, \
                 said the same ({}).",
                decision.reason
            )
        }
        Outcome::Notice => format!(
            "Notice {} to {consumer} ({destination}) for {purpose}: {}",
            decision.kind,
            no(decision)
        ),
        Outcome::InDoubt => format!(
            "In doubt: a payload for {consumer} ({destination}) was handed over and not confirmed \
             ({}); it may have arrived, or surface later.",
            decision.reason
        ),
    };
    if !decision.labels.is_empty() {
        push(&mut text, format_args!(" The event is labelled {}.", decision.labels.join(", ")));
    }
    let consents: Vec<String> =
        decision.consents.iter().map(|consulted| consent(consulted, names)).collect();
    if !consents.is_empty() {
        push(&mut text, format_args!(" Consent {}.", consents.join(", ")));
    }
    push(&mut text, format_args!(" Contract {route} {contract}"));
    if let Some(agreement) = &decision.under.agreement {
        push(&mut text, format_args!(" under {agreement}"));
    }
    push(
        &mut text,
        format_args!(
            ", recipe {}, configuration {}.",
            decision.under.recipe, decision.under.configuration
        ),
    );
    if decision.outcome == Outcome::Release {
        push(&mut text, format_args!(" Fields: {}.", fields(decision, names)));
    }
    if !decision.glass.is_empty() {
        let fields = decision.glass.join(", ");
        push(&mut text, format_args!(" By an exception to the contract (break_glass): {fields}."));
    }
    if let Some(number) = decision.instead {
        push(&mut text, format_args!(" Instead of record {number}, which was not handed over."));
    }
    if let Some(number) = decision.of {
        push(&mut text, format_args!(" Released by record {number}."));
    }
    text
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    text.write_fmt(more).ok();
}

fn yes(decision: &Decision) -> &'static str {
    if decision.consents.is_empty() {
        "by rule 7 the contract needs no permit, and by rule 2 nothing denies it."
    } else {
        "by rule 3 a permit is in force, and by rule 2 nothing denies it."
    }
}

fn no(decision: &Decision) -> String {
    match (Code::from_name(&decision.reason), &decision.place) {
        (Some(code), _) => {
            let rule = code.rule().map(|rule| format!("by rule {rule} ")).unwrap_or_default();
            format!("{rule}({code}). {}", code.sentence(&decision.under.purpose))
        }
        (None, Some(place)) => format!(
            "nothing denies it, but what would leave at {place} is not what the contract says ({}).",
            decision.reason
        ),
        (None, None) => format!("{}.", decision.reason),
    }
}

fn consent(consulted: &Consulted, names: &Names<'_>) -> String {
    let name = (names.consent)(consulted);
    let name = name.unwrap_or_else(|| format!("record {}", consulted.record));
    match &consulted.version {
        Some(version) => format!("{name} version {version}"),
        None => name,
    }
}

/// Each field that the contract names, and what became of it.
fn fields(decision: &Decision, names: &Names<'_>) -> String {
    let recipe = names.recipe.filter(|recipe| recipe.hash == decision.under.recipe);
    let mut told: Vec<String> = decision
        .fields
        .iter()
        .map(|(path, fate)| match fate {
            Fate::Kept => format!("{path} kept"),
            Fate::Token => format!("{path} as a token"),
            Fate::Hashed => format!("{path} hashed"),
            Fate::Generalized => match recipe.and_then(|recipe| recipe.line(path)) {
                Some(line) => format!("{path} as {} by {}", line.leaves_as, line.transform),
                None => format!("{path} generalized"),
            },
            Fate::Removed => format!("{path} removed by the tier"),
            Fate::Undone => format!("{path} left out, since its transform can make nothing of it"),
            Fate::PartlyRemoved => format!("{path} partly removed"),
        })
        .collect();
    if let Some(recipe) = recipe {
        let has = |path: &str| decision.fields.iter().any(|(known, _)| **known == *path);
        let absent = recipe.lines.iter().filter(|line| !has(&line.path));
        told.extend(absent.map(|line| format!("{} not in the event", line.path)));
    }
    told.push("nothing else".to_owned());
    told.join("; ")
}
