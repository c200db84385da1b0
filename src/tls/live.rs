//! What may be replaced while it is used.
//!
//! Promises: who has taken it keeps what he has; who takes it next gets the newest.
//! Knows nothing of: what it is.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that is replaced whole.
#[derive(Debug)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// The first value.
    #[must_use]
    pub const fn new(value: Arc<T>) -> Self {
        Self(RwLock::new(value))
    }

    /// The newest value.
    #[must_use]
    pub fn take(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it.
    pub fn replace(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}
