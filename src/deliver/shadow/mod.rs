//! What routes would do with events of the journal by another configuration, held against what
//! they would do by this one.
//!
//! Promises: both are decided at one instant, over one ledger, by the steps that a route takes; what
//! is kept of it are counts by reason and by field, and no value; nothing leaves.
//! Knows nothing of: where entries come from.
//!
//! Reading order: this (an event by both), [`differ`] (two payloads), [`report`] (what is counted).

pub mod differ;
pub mod report;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value as Json;

use self::differ::{Forms, differences};
use self::report::{Report, Side};
use super::decide::Answer;
use super::dry_run::{Asked, DryRun, Taken};
use super::once::{Seen, transition_of};
use super::tokens::Realm;
use crate::bug;
use crate::contract::Contract;

/// Two configurations side by side.
#[derive(Debug)]
pub struct Shadow {
    old: DryRun,
    new: DryRun,
    /// As of when.
    now: Timestamp,
    /// By route.
    routes: BTreeMap<String, Pair>,
}

#[derive(Debug)]
struct Pair {
    old: Half,
    new: Half,
    report: Report,
}

/// A route by one of them.
#[derive(Debug, Default)]
struct Half {
    /// Its place among the routes, where it is one of them.
    nth: Option<usize>,
    forms: Forms,
    /// What other sources told by then.
    seen: Seen,
}

/// What one configuration does with an event.
#[derive(Debug)]
pub(super) enum Would {
    /// It does not have the route.
    NoRoute,
    /// The contract does not select it.
    Unselected,
    /// It stays, for this reason.
    Withhold(String),
    /// It leaves, as this CloudEvent.
    Release(Json),
}

impl Shadow {
    /// The one that holds and the one that is tried, both at a time.
    #[must_use]
    pub fn new(old: DryRun, new: DryRun, now: Timestamp) -> Self {
        let names = |run: &DryRun| -> Vec<String> {
            run.routes.iter().map(|(contract, _)| contract.name.clone()).collect()
        };
        let all: BTreeSet<String> = names(&old).into_iter().chain(names(&new)).collect();
        let pair = |route: String| {
            let [(of_old, old), (of_new, new)] = [&old, &new].map(|run| half(run, &route, now));
            let report = Report::new(&route, [of_old, of_new]);
            (route, Pair { old, new, report })
        };
        let routes = all.into_iter().map(pair).collect();
        Self { routes, now, old, new }
    }

    /// Decides about an event by both, on every route of either.
    pub fn hold(&mut self, asked: &Asked<'_>) {
        for Pair { old, new, report } in self.routes.values_mut() {
            let (by_old, by_new) =
                (would(&self.old, old, asked, self.now), would(&self.new, new, asked, self.now));
            report.count(Side::Old, &by_old);
            report.count(Side::New, &by_new);
            report.compare(&by_old, &by_new);
            if let (Would::Release(before), Would::Release(after)) = (&by_old, &by_new) {
                report.changed(differences((before, &old.forms), (after, &new.forms)));
            }
        }
    }

    /// What was found, by route.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.routes.values().map(|pair| &pair.report)
    }
}

/// A route of one of them, with its contract.
fn half<'r>(run: &'r DryRun, route: &str, now: Timestamp) -> (Option<&'r Contract>, Half) {
    let found = run.routes.iter().enumerate().find(|(_, (contract, _))| contract.name == route);
    match found {
        Some((nth, (contract, realm))) => {
            let forms =
                Forms::of(contract.recipe_at(now).0, realm.as_ref().ok().map(Realm::tokens));
            (Some(contract), Half { nth: Some(nth), forms, seen: Seen::default() })
        }
        None => (None, Half::default()),
    }
}

/// A fault of ours, by which the route would stop, is a reason like others here: one event must not
/// keep the answer about all the rest.
fn would(run: &DryRun, half: &mut Half, asked: &Asked<'_>, now: Timestamp) -> Would {
    let Some(nth) = half.nth else { return Would::NoRoute };
    let (contract, seen) = (run.routes.get(nth).map(|(contract, _)| contract), &mut half.seen);
    let transition = contract.and_then(|it| transition_of(it, asked.fact, asked.digests));
    let mut telling = |_: &str, transition: &_| Ok(seen.of(*transition).clone());
    let taken = bug::contain(|| run.decide(nth, asked, &mut telling, now));
    if let (Some(transition), Some(Ok(Taken::Decided(answer, _)))) = (transition, &taken) {
        let left = matches!(answer, Answer::Release(_));
        seen.of(transition).note(asked.feed, &asked.fact.event.id.0, left);
    }
    let withhold = |reason: &str| Would::Withhold(reason.to_owned());
    match taken {
        Some(Ok(Taken::Unselected)) => Would::Unselected,
        Some(Ok(Taken::Decided(Answer::Release(release), _))) => {
            let body = serde_json::from_slice(release.body());
            body.map_or_else(|_| withhold(FAULT), Would::Release)
        }
        Some(Ok(Taken::Decided(_, evidence))) => Would::Withhold(evidence.reason.into_owned()),
        Some(Ok(Taken::Stopped(_)) | Err(_)) | None => withhold(FAULT),
    }
}

/// The reason of what cannot be decided or put into its form.
const FAULT: &str = "fault";
