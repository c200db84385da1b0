//! Whether an event may leave on a route, now.
//!
//! Promises: [`ask`] is the one place that makes a [`Permit`], and nothing leaves without one;
//! the answer names what it rests on.
//! Knows nothing of: brokers, SQL, the clock. A decision that reads the clock cannot be
//! replayed for an auditor.
//!
//! Today a contract can only say that no consent is needed and why. Contracts that ask for one
//! do not load, so that none of them can be answered by mistake.

#![deny(clippy::wildcard_enum_match_arm)]

use crate::event::EventId;

/// What a contract's `[consent]` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// No consent: another basis stands instead of it.
    None {
        /// Why none is needed, in the words of the contract.
        basis: String,
    },
}

/// What is asked: may this event leave on this route for this purpose?
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The event.
    pub event: &'q EventId,
    /// The route.
    pub route: &'q str,
    /// The purpose of use (HL7 v3 PurposeOfUse).
    pub purpose: &'q str,
    /// Whose law holds where nothing nearer says: `[node] jurisdiction`.
    pub jurisdiction: Option<&'q str>,
}

/// A yes, for one event and one route. Only [`ask`] makes one:
///
/// ```compile_fail
/// use tidegate::consent::Permit;
/// use tidegate::event::EventId;
/// let forged = Permit { event: EventId("x".into()), route: "r".into() };
/// ```
#[derive(Debug)]
#[must_use = "a permit that is not used lets nothing out"]
pub struct Permit {
    event: EventId,
    route: String,
}

impl Permit {
    /// Whether it was given for this event on this route.
    #[must_use]
    pub fn covers(&self, event: &EventId, route: &str) -> bool {
        self.event == *event && self.route == route
    }
}

/// Asks.
// PROMISE-5: closed unless opened; without a permit there is no release.
pub fn ask(question: &Question<'_>, requirement: &Requirement) -> Permit {
    match requirement {
        Requirement::None { .. } => {
            Permit { event: question.event.clone(), route: question.route.to_owned() }
        }
    }
}

/// Codes of HL7 v3 PurposeOfUse, as far as they are purposes of a disclosure.
pub const PURPOSES: [&str; 32] = [
    "TREAT",
    "ETREAT",
    "ERTREAT",
    "CAREMGT",
    "CLINTRL",
    "COC",
    "POPHLTH",
    "HPAYMT",
    "CLMATTCH",
    "COVAUTH",
    "ELIGVER",
    "HOPERAT",
    "HACCRED",
    "HCOMPL",
    "HOUTCOMS",
    "HQUALIMP",
    "HSYSADMIN",
    "PATADMIN",
    "PATSFTY",
    "PERFMSR",
    "RECORDMGT",
    "TRAIN",
    "HMARKT",
    "HRESCH",
    "BIORCH",
    "CLINTRCH",
    "DSRCH",
    "TRANSRCH",
    "PATRQT",
    "FAMRQT",
    "PUBHLTH",
    "THREAT",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_for_one_event_and_one_route() {
        let event = EventId("a".to_owned());
        let question = Question { event: &event, route: "r", purpose: "TREAT", jurisdiction: None };
        let permit = ask(&question, &Requirement::None { basis: "treatment".to_owned() });
        assert!(permit.covers(&event, "r"));
        assert!(!permit.covers(&event, "s"));
        assert!(!permit.covers(&EventId("b".to_owned()), "r"));
    }
}
