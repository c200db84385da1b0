//! From the journal to the consumers: one loop for each route.
//!
//! Promises: what a contract selects is delivered, in order per subject, and counted as
//! delivered only when the sink has confirmed it; a route that cannot deliver waits and tries
//! again, and stops no other route and no feed (PROMISE-12).
//! Knows nothing of: wire formats of messages.
//!
//! Reading order: [`queue`] with [`lanes`] and [`mod@line`] (which event may go next, how far the
//! route has come), [`decide`] (an event to a release), [`tokens`] (by which name), [`evidence`] (what is recorded before it goes),
//! [`unnoted`] (exceptions that wait for the cursor), [`once`] (what other sources told), [`sink`] (where it goes: [`rabbitmq`],
//! [`file`](mod@file)), [`due`] and [`shuffle`] (batches), [`route`] (the loop),
//! [`dry_run`] (what would go), [`shadow`] (what would, by another configuration).

pub mod lanes;
pub mod line;
pub mod queue;
pub mod decide;
pub mod tokens;
pub mod evidence;
pub mod unnoted;
pub mod once;
pub mod due;
pub mod shuffle;
pub mod sink;
pub mod rabbitmq;
pub mod file;
pub mod route;
pub mod checkpoints;
pub mod dry_run;
pub mod shadow;

pub use rabbitmq::{BrokerConfig, FENCE_TIMEOUT};
pub use route::{Route, RouteConfig};
pub use sink::Sink;
