//! A route's contract with one consumer for one purpose.
//!
//! Promises: a contract is checked whole before a single event flows; what this version does
//! not know it refuses to load.
//! Knows nothing of: brokers and files; where a route delivers to is only named here.

pub mod check;
pub mod select;

use std::path::PathBuf;
use std::time::Duration;

use crate::consent::{Prior, Requirement};
use crate::document::{Place, Placed};
use crate::event::EventType;
use crate::event::schema::Class;
use crate::privacy::Recipe;

pub use check::load;
pub use select::wants;

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
    /// Under which agreement, protocol or permission; recorded with every release.
    pub agreement: Option<String>,
    /// What a notice says of what was sent before.
    pub on_revoked: Prior,
    /// Purpose of use (HL7 v3 PurposeOfUse).
    pub purpose: String,
    /// The realm whose tokens it gets.
    pub realm: Placed<String>,
    /// Which events.
    pub events: Vec<EventType>,
    /// Which consent they need.
    pub requirement: Requirement,
    /// How the consumer will use them to reach the patient; none: in any way.
    pub channel: Option<String>,
    /// Classes of the fields that leave, which a consent may be limited to.
    pub classes: Vec<Class>,
    /// Which fields, in which form.
    pub recipe: Recipe,
    /// How often events leave, shuffled; none: each as soon as it may.
    pub batch: Option<Duration>,
    /// Most events a second that are handed over; 0: as many as can be.
    pub rate_max: u64,
    /// Where to.
    pub deliver: Destination,
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

/// Behind the name of an exchange or queue: the one for what its consumer rejects.
pub const DEAD_SUFFIX: &str = ".dead";

/// Where a route delivers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An exchange of RabbitMQ.
    RabbitMq {
        /// The exchange.
        exchange: String,
        /// The routing key; `{type}` stands for the event type.
        routing_key: String,
    },
    /// A file of lines.
    File {
        /// The file; relative to state_dir.
        path: PathBuf,
        /// At how many bytes a new file is begun.
        rotate: u64,
    },
}

impl Destination {
    /// Where to, as the audit names it: `rabbitmq:tidegate.research`, `file:out/quality.ndjson`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::RabbitMq { exchange, .. } => format!("rabbitmq:{exchange}"),
            Self::File { path, .. } => format!("file:{}", path.display()),
        }
    }

    /// The word in a contract and in metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RabbitMq { .. } => "rabbitmq",
            Self::File { .. } => "file",
        }
    }
}
