//! The seven rules, one function each, numbered as docs/consent.md numbers them.
//!
//! Promises: none depends on the order of the records; what is not certain closes.
//! Knows nothing of: which records are older versions (`fold`), and of aliases (`ledger`).

mod standing;
mod denied;
mod permitted;
mod narrowed;
mod labelled;
mod signed;
mod required;

use std::time::Duration;

use jiff::Timestamp;

use super::policy::Policy;
use super::question::{Naming, Question};
use super::record::Record;
use super::refusal::Code;

pub(super) use denied::rule_2_denied;
pub(super) use labelled::rule_5_labelled;
pub(super) use narrowed::{rule_4_demand, rule_4_preferred};
pub(super) use permitted::rule_3_permitted;
pub(super) use required::rule_7_required;
pub(super) use signed::majority_of;
pub(super) use standing::rule_1_standing;

/// What is asked, by which rules of the site, and when.
#[derive(Clone, Copy)]
pub(in crate::consent) struct Asked<'a> {
    pub question: &'a Question<'a>,
    pub policy: &'a Policy,
    pub now: Timestamp,
    /// Those of the ledger's records by which a document was replaced or taken back.
    pub withdrawals: &'a [&'a Record],
}

impl Asked<'_> {
    /// Whether the document is no more that a record came in.
    fn is_withdrawn(&self, record: &Record) -> bool {
        self.withdrawals.iter().any(|other| record.is_withdrawn_by(other))
    }
}

/// A record that counts, and what it does now.
pub(in crate::consent) struct Standing<'r> {
    record: &'r Record,
    effect: Effect,
}

/// What a record does now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Permits,
    Denies(Code),
    /// A permit that is not in force, and why.
    Lapsed(Code),
    Nothing,
}

/// What is demanded in the end: the contract's `require`, or a jurisdiction's stricter one.
#[derive(Clone, Copy)]
pub(in crate::consent) enum Demand {
    OptIn { wait: Option<Duration>, grantee: Naming },
    OptOut,
    None,
}
