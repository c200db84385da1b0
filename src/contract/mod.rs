//! A route's contract with one consumer for one purpose.
//!
//! Promises: a contract is checked whole before a single event flows; what this version does
//! not know it refuses to load.
//! Knows nothing of: brokers and files; where a route delivers to is only named here.
//!
//! Reading order: [`check`] (one contract as written), [`terms`], [`fields`], [`when`], [`deliver`] (its
//! sections), [`select`], [`once`], [`schemas`], [`against`] (an earlier one).

pub mod check;
pub mod terms;
pub mod fields;
pub mod when;
pub mod deliver;
pub mod select;
pub mod once;
pub mod schemas;
pub mod against;

use std::time::Duration;

use jiff::Timestamp;

use crate::consent::{Prior, Requirement};
use crate::document::{Place, Placed};
use crate::event::EventType;
use crate::event::schema::Class;
use crate::privacy::Recipe;

pub use check::{gather, load};
pub use deliver::{DEAD_SUFFIX, Destination};
pub use fields::Glass;
pub use once::Once;
pub use select::wants;
pub use terms::Terms;
pub use when::When;

/// A contract, compiled.
#[derive(Clone, Debug)]
pub struct Contract {
    /// Its name, which is the route's.
    pub name: String,
    /// Its version, `1.0.0`.
    pub version: String,
    /// Who receives.
    pub consumer: String,
    /// Who answers for it inside.
    pub owner: String,
    /// What it rests on, and until when; recorded with every decision.
    pub terms: Terms,
    /// What a notice says of what was sent before.
    pub on_revoked: Prior,
    /// Purpose of use (HL7 v3 PurposeOfUse).
    pub purpose: String,
    /// The realm whose tokens it gets.
    pub realm: Placed<String>,
    /// Which events.
    pub events: Vec<EventType>,
    /// And of those, what has to be in them.
    pub when: When,
    /// Whether events of history leave (MSH-11.2 A, R or I).
    pub history: bool,
    /// What it wants once, whichever of several sources tells it first; none: everything from each.
    pub once: Option<Once>,
    /// Sensitivity labels that the consumer may see.
    pub labels: Vec<String>,
    /// Which consent they need.
    pub requirement: Requirement,
    /// How the consumer will use them to reach the patient; none: in any way.
    pub channel: Option<String>,
    /// Classes of the fields that leave, which a consent may be limited to.
    pub classes: Vec<Class>,
    /// Which fields, in which form, by `[fields]` alone.
    pub recipe: Recipe,
    /// What leaves beside them, for a time.
    pub broken: Vec<Broken>,
    /// How often events leave, shuffled; at tier deidentified alone. None: each as soon as it may.
    pub batch: Option<Duration>,
    /// The determination by which batches may be this short (45 CFR 164.514(b)(1)).
    pub expert: Option<String>,
    /// Most events a second that are handed over; 0: as many as can be.
    pub rate_max: u64,
    /// Where to.
    pub deliver: Destination,
    /// The fields of the payload that the routing key holds.
    pub routing: Vec<String>,
    /// The file it stands in, as the user named it.
    pub file: String,
}

/// What a contract refers to, also where it is wrong in itself, so that all of its mistakes are
/// told at once.
#[derive(Clone, Debug)]
pub struct References {
    /// Its realm.
    pub realm: Option<Placed<String>>,
    /// Where it delivers to, and where it says so.
    pub deliver: Option<(Destination, Place)>,
}

/// The contracts of a folder.
#[derive(Debug, Default)]
pub struct Contracts {
    /// Those that are right in themselves.
    pub right: Vec<Contract>,
    /// What all of them refer to.
    pub references: Vec<References>,
}

/// What a contract lets out while a glass is broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The exception that ends first, of those that are in it.
    pub glass: Glass,
    /// `[fields]`, this one, and those that end later.
    pub recipe: Recipe,
    /// The classes of these fields.
    pub classes: Vec<Class>,
    /// The paths that leave by a broken glass alone.
    pub fields: Vec<String>,
}

impl Contract {
    /// What leaves at a time, and what of it by a broken glass.
    #[must_use]
    pub fn recipe_at(&self, now: Timestamp) -> (&Recipe, &[Class], &[String]) {
        let broken = self.broken.iter().find(|broken| now < broken.glass.ends);
        broken.map_or((&self.recipe, &self.classes, &[]), |broken| {
            (&broken.recipe, &broken.classes, &broken.fields)
        })
    }
}
