//! How often a server is asked for something of one patient that it fails to show.
//!
//! Promises: what is never shown is asked for a bounded number of times; a server that shows nothing
//! to anybody counts as no try.
//! Knows nothing of: what is asked for.

use std::collections::HashMap;

use super::fault::FetchFault;

/// How often something is asked for that the server fails to show, with the growing pauses of the query
/// between, before it counts as what it does not have.
const TRIES_MAX: u32 = 5;
/// Most that are counted at a time.
const COUNTED_MAX: usize = 1_024;

/// What the server failed to show, and how often since it last did.
#[derive(Debug, Default)]
pub struct Tries(HashMap<String, u32>);

impl Tries {
    /// Whether the server may well show later what it failed to show now.
    // PROMISE-11: where it showed the page, and time and again not this one thing, that is this one's fault
    // and not the server's, and nobody else waits for it.
    pub fn may_pass(&mut self, id: &str, fault: &FetchFault) -> bool {
        match fault {
            FetchFault::Throttled { .. }
            | FetchFault::Unauthorized
            | FetchFault::NoToken(_)
            | FetchFault::Unreachable(_) => true,
            fault if fault.passes() => {
                if self.0.len() >= COUNTED_MAX {
                    self.0.clear();
                }
                let tries = self.0.entry(id.to_owned()).or_default();
                *tries = tries.saturating_add(1);
                *tries < TRIES_MAX
            }
            _ => false,
        }
    }

    /// It was shown, or is not asked for any more.
    pub fn past(&mut self, id: &str) {
        self.0.remove(id);
    }
}
