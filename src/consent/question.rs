//! What is asked, and what a contract asks for.
//!
//! Promises: a contract that says nothing about waiting does not wait.
//! Knows nothing of: who asks.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::EventId;
use crate::event::schema::Class;

/// What a contract's `[consent]` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A permit in force.
    OptIn {
        /// What becomes of an event without one.
        missing: Missing,
        /// Whether the permit must name the consumer.
        grantee: Naming,
    },
    /// No deny in force.
    OptOut,
    /// No consent: another basis stands instead of it. What is refused or restricted is so all
    /// the same.
    None {
        /// Why none is needed, in the words of the contract.
        basis: String,
    },
}

/// What becomes of an event that no record speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It does not leave.
    Suppress,
    /// It waits, in order, for a consent that may come.
    Wait {
        /// At most so long.
        at_most: Duration,
    },
}

/// Whether a permit must say who may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// One for anybody will do.
    Anybody,
    /// It must name the consumer: tier identified, for a purpose that is not its own basis.
    Named,
}

/// May this event leave on this route for this purpose?
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The event.
    pub event: &'q EventId,
    /// The route.
    pub route: &'q str,
    /// The purpose of use (HL7 v3 PurposeOfUse).
    pub purpose: &'q str,
    /// The number of the event's visit (`visit.number`), where it names one.
    pub visit: Option<&'q str>,
    /// How the consumer will use it to reach the patient; none: in any way.
    pub channel: Option<&'q str>,
    /// Who receives: the contract's consumer.
    pub grantee: &'q str,
    /// Whose law holds, ISO 3166, such as `US-CA`: of the place of care, of the residence, else of
    /// `[node]`. The narrower wins.
    pub jurisdictions: &'q [&'q str],
    /// The event's sensitivity labels.
    pub labels: &'q [&'q str],
    /// The labels that the contract's consumer may see.
    pub contract_labels: &'q [String],
    /// Classes of the fields that would leave.
    pub classes: &'q [Class],
    /// What the contract asks for.
    pub requirement: &'q Requirement,
    /// From when on the contract lets nothing out; none: it has no end.
    pub ends: Option<Timestamp>,
}

impl<'q> Question<'q> {
    /// A question of which nothing more is known: no visit, channel, place, label or class.
    #[must_use]
    pub const fn new(
        event: &'q EventId,
        route: &'q str,
        purpose: &'q str,
        grantee: &'q str,
        requirement: &'q Requirement,
    ) -> Self {
        Self {
            event,
            route,
            purpose,
            visit: None,
            channel: None,
            grantee,
            jurisdictions: &[],
            labels: &[],
            contract_labels: &[],
            classes: &[],
            requirement,
            ends: None,
        }
    }
}
