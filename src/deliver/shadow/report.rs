//! What is counted of a route between two configurations.
//!
//! Promises: counts by reason, by path and by form; nothing of an event; bounded by the schema and
//! by the codes there are.
//! Knows nothing of: how it is decided.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Would;
use super::differ::Difference;
use crate::contract::{Contract, Destination};

/// Most paths that are counted by name; the schema has some hundreds, a site's own fields come on
/// top.
const PATHS_MAX: usize = 2_000;
/// What the rest are counted as.
const OTHERS: &str = "(others)";
/// The reason of what the contract does not select.
const UNSELECTED: &str = "unselected";
/// The reason of what has no route.
const NO_ROUTE: &str = "no-route";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that holds.
    Old,
    /// The one that is tried.
    New,
}

/// Which of the two has the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Both.
    Both,
    /// The one that holds.
    Removed,
    /// The one that is tried.
    Added,
}

/// What a route does with the events of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// They would leave.
    pub released: u64,
    /// They would not, by reason.
    pub withheld: BTreeMap<String, u64>,
    /// The contract does not select them.
    pub unselected: u64,
}

/// Events that go another way than before, and why they went the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// How many.
    pub count: u64,
    /// By the reason that withholds them, or did.
    pub reasons: BTreeMap<String, u64>,
}

/// How often a field differs, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// It was not there, and is.
    pub appears: u64,
    /// It was there, and is not.
    pub disappears: u64,
    /// It holds something else in the same form.
    pub value: u64,
    /// Something else is done to it: from what to what.
    pub form: BTreeMap<String, u64>,
}

/// A route, by two configurations.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The route.
    pub route: String,
    /// Which of the two has it.
    pub presence: Presence,
    /// What the contracts say otherwise, of what is no matter of one event: from what to what.
    pub terms: BTreeMap<&'static str, [String; 2]>,
    /// By the one that holds.
    pub old: Tally,
    /// By the one that is tried.
    pub new: Tally,
    /// Were not selected, and are.
    pub newly_selected: u64,
    /// Were selected, and are not.
    pub no_longer_selected: u64,
    /// Would leave now, with what withheld them.
    pub newly_released: Moved,
    /// Would not leave any more, with what withholds them.
    pub newly_withheld: Moved,
    /// Would leave by both, and not the same.
    pub changed: u64,
    /// What differs of them, by path.
    pub fields: BTreeMap<String, Change>,
}

impl Report {
    /// Of a route with its contract in either.
    #[must_use]
    pub fn new(route: &str, contracts: [Option<&Contract>; 2]) -> Self {
        let (presence, terms) = match contracts {
            [Some(old), Some(new)] => (Presence::Both, terms(old, new)),
            [_, None] => (Presence::Removed, BTreeMap::new()),
            [None, Some(_)] => (Presence::Added, BTreeMap::new()),
        };
        Self {
            route: route.to_owned(),
            presence,
            terms,
            old: Tally::default(),
            new: Tally::default(),
            newly_selected: 0,
            no_longer_selected: 0,
            newly_released: Moved::default(),
            newly_withheld: Moved::default(),
            changed: 0,
            fields: BTreeMap::new(),
        }
    }

    /// Whether anything would be otherwise. That a contract has another version is nothing by itself.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.presence != Presence::Both
            || self.terms.keys().any(|term| *term != VERSION)
            || self.newly_selected + self.no_longer_selected + self.changed > 0
            || self.newly_released.count + self.newly_withheld.count > 0
    }

    pub(super) fn count(&mut self, side: Side, would: &Would) {
        let tally = match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        };
        match would {
            Would::NoRoute => {}
            Would::Unselected => tally.unselected += 1,
            Would::Withhold(reason) => add(&mut tally.withheld, reason),
            Would::Release(_) => tally.released += 1,
        }
    }

    pub(super) fn compare(&mut self, old: &Would, new: &Would) {
        let selected = |would: &Would| matches!(would, Would::Withhold(_) | Would::Release(_));
        self.newly_selected += u64::from(!selected(old) && selected(new));
        self.no_longer_selected += u64::from(selected(old) && !selected(new));
        let (moved, why) = match (reason(old), reason(new)) {
            (Some(why), None) => (&mut self.newly_released, why),
            (None, Some(why)) => (&mut self.newly_withheld, why),
            (None, None) | (Some(_), Some(_)) => return,
        };
        moved.count += 1;
        add(&mut moved.reasons, why);
    }

    pub(super) fn changed(&mut self, differences: BTreeMap<String, Difference>) {
        self.changed += u64::from(!differences.is_empty());
        for (path, difference) in differences {
            let room = self.fields.len() < PATHS_MAX || self.fields.contains_key(&path);
            let path = if room { path } else { OTHERS.to_owned() };
            let change = self.fields.entry(path).or_default();
            match difference {
                Difference::Appears => change.appears += 1,
                Difference::Disappears => change.disappears += 1,
                Difference::Value => change.value += 1,
                Difference::Form(form) => add(&mut change.form, &form),
            }
        }
    }
}

/// Why an event does not leave; nothing where it does.
fn reason(would: &Would) -> Option<&str> {
    match would {
        Would::NoRoute => Some(NO_ROUTE),
        Would::Unselected => Some(UNSELECTED),
        Would::Withhold(reason) => Some(reason),
        Would::Release(_) => None,
    }
}

fn add(counts: &mut BTreeMap<String, u64>, key: &str) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_owned(), 1);
        }
    }
}

fn routing_key(contract: &Contract) -> String {
    match &contract.deliver {
        Destination::RabbitMq { routing_key, .. } => routing_key.clone(),
        Destination::File { .. } => String::new(),
    }
}

const VERSION: &str = "version";

/// What is another word in the two contracts.
fn terms(old: &Contract, new: &Contract) -> BTreeMap<&'static str, [String; 2]> {
    let of = |contract: &Contract| {
        [
            (VERSION, contract.version.clone()),
            ("consumer", contract.consumer.clone()),
            ("purpose", contract.purpose.clone()),
            ("realm", contract.realm.value.clone()),
            ("tier", contract.recipe.tier.name().to_owned()),
            ("ends", contract.terms.ends().map(|ends| ends.to_string()).unwrap_or_default()),
            ("destination", contract.deliver.name()),
            ("routing-key", routing_key(contract)),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new));
    pairs
        .filter(|((_, old), (_, new))| old != new)
        .map(|((term, old), (_, new))| (term, [old, new]))
        .collect()
}
