//! Whether an event may leave on a route, now.
//!
//! Promises: [`ask()`] is the one place that makes a [`Permit`], and nothing leaves without one;
//! the same question, records and time give the same answer, and the answer names the records
//! that gave it.
//! Knows nothing of: brokers, SQL, the clock, HL7 and FHIR. A decision that reads the clock
//! cannot be replayed for an auditor.
//!
//! Reading order: [`moment`] (a date as the span of time that it stands for), [`record`] and
//! [`decision`] (what is kept), [`exception`] (what a decision excepts), [`fold`] (which records count), [`persons`] (who is one
//! with whom), [`ledger`] (whose they are),
//! [`purpose`], [`question`] and [`scope`] (what a record speaks about), `weigh` (what one with
//! exceptions says of a question), [`policy`]
//! (consent.toml), [`intake`] (a consent event to a record), [`refusal`], [`ask`](mod@ask) and
//! [`rules`] (the seven of them), [`next`] (when time alone changes an answer), [`restate`] (what
//! the ledger need not keep), [`notice`](mod@notice) (what needs no permit).
//! docs/consent.md explains the rules, with a table of cases.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod moment;
pub mod record;
pub mod decision;
pub mod exception;
pub mod fold;
pub mod persons;
pub mod ledger;
pub mod purpose;
pub mod question;
pub mod scope;
mod weigh;
pub mod policy;
pub mod intake;
pub mod refusal;
pub mod ask;
mod rules;
pub mod next;
pub mod notice;
pub mod restate;

pub use ask::{Permit, ask};
pub use decision::{
    Capacity, Consent, Decision, Kind, Presence, Purposes, Signer, Standin, Status,
};
pub use exception::{Confidentiality, Criteria, Exception, Listed};
pub use ledger::{Alias, Epoch, Ledger, closes_between};
pub use moment::{Moment, Span};
pub use next::when_next;
pub use notice::{Notice, Prior};
pub use persons::{Parted, Persons, Said, Unclear};
pub use policy::Policy;
pub use purpose::PURPOSES;
pub use question::{Missing, Naming, Question, Requirement};
pub use record::{Key, Origin, Record, Reference, Restriction, Says, Turn};
pub use refusal::{Code, Refusal};
