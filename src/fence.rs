//! Who is on the way out, by subject.
//!
//! Promises: of one subject at most one release is on its way on a route, so that neither a
//! nack nor a retry lets a later event overtake an earlier one (PROMISE-4); what a sink takes
//! has entered here, and what has not entered cannot be handed to a sink.
//! Knows nothing of: brokers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Subject;
use crate::privacy::Release;

/// The routes and subjects that a release is on its way for.
type OnTheWay = Arc<Mutex<HashSet<(Arc<str>, Subject)>>>;

/// The fence of a daemon.
#[derive(Debug, Default)]
pub struct Fence {
    on_the_way: OnTheWay,
}

/// A release on its way. Only [`Fence::enter`] makes one, and a sink takes nothing else:
///
/// ```compile_fail
/// fn hand(sink: &mut tidegate::deliver::Sink, release: tidegate::privacy::Release) {
///     sink.send(release, 1);
/// }
/// ```
///
/// It stays on its way until this is dropped: when the sink has confirmed it, or has given up.
#[derive(Debug)]
pub struct Entered {
    release: Release,
    route: Arc<str>,
    on_the_way: OnTheWay,
}

impl Fence {
    /// Lets a release onto its way.
    ///
    /// # Errors
    /// The release itself, where another of its subject is on its way on that route.
    pub fn enter(&self, route: &Arc<str>, release: Release) -> Result<Entered, Box<Release>> {
        let key = (Arc::clone(route), release.subject().clone());
        let mut on_the_way = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        if on_the_way.insert(key) {
            let on_the_way = Arc::clone(&self.on_the_way);
            Ok(Entered { release, route: Arc::clone(route), on_the_way })
        } else {
            Err(Box::new(release))
        }
    }
}

impl Entered {
    /// What is on its way.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let key = (Arc::clone(&self.route), self.release.subject().clone());
        self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}
