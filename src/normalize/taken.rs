//! What rules took of a message or a resource.
//!
//! Promises: what is taken stays taken; where it is asked, each place has every rule that took it, once.
//! Knows nothing of: what a place is; fields and elements are numbers here.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Trace;
use super::mapping::Origin;

/// A bit for each field of a message or value of a resource.
pub(super) struct Taken<'c> {
    bits: Vec<u64>,
    /// The rule that is run; nothing where the gate itself takes.
    taker: Option<&'c Origin>,
    /// Of [`Trace::Takers`] alone.
    takers: Option<BTreeMap<usize, Vec<&'c Origin>>>,
}

impl<'c> Taken<'c> {
    /// Nothing, of so many.
    pub(super) fn new(size: usize, trace: Trace) -> Self {
        let takers = (trace == Trace::Takers).then(BTreeMap::new);
        Self { bits: vec![0; size / 64 + 1], taker: None, takers }
    }

    /// What follows is taken by a rule.
    pub(super) const fn by(&mut self, rule: &'c Origin) {
        self.taker = Some(rule);
    }

    /// Takes one.
    pub(super) fn add(&mut self, id: usize) {
        if let Some(word) = self.bits.get_mut(id / 64) {
            *word |= 1 << (id % 64);
        }
        if let (Some(takers), Some(taker)) = (&mut self.takers, self.taker) {
            let takers = takers.entry(id).or_default();
            if !takers.iter().any(|known| std::ptr::eq(*known, taker)) {
                takers.push(taker);
            }
        }
    }

    /// Whether one is taken.
    pub(super) fn has(&self, id: usize) -> bool {
        self.bits.get(id / 64).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// Which rules took something of these; of [`Trace::Takers`] alone.
    pub(super) fn takers(&self, ids: Range<usize>) -> impl Iterator<Item = &'c Origin> {
        self.takers
            .iter()
            .flat_map(move |takers| takers.range(ids.clone()))
            .flat_map(|(_, by)| by)
            .copied()
    }
}
