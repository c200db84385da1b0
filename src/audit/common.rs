//! A part that many records have alike, and how it is written.
//!
//! Promises: it is written as it would be in each record by itself, and for all of them once.
//! Knows nothing of: what it holds, and which records have it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A part that is shared.
pub struct Common<T>(Arc<Part<T>>);

struct Part<T> {
    value: T,
    /// As JSON, since it was first asked for: who only reads records never asks.
    json: OnceLock<String>,
}

impl<T> Common<T> {
    /// Shares it.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(Part { value, json: OnceLock::new() }))
    }
}

impl<T: Serialize> Common<T> {
    /// As JSON without white space.
    ///
    /// # Errors
    /// It is of a type that JSON cannot hold.
    pub fn json(&self) -> serde_json::Result<&str> {
        if let Some(known) = self.0.json.get() {
            return Ok(known);
        }
        let made = serde_json::to_string(&self.0.value)?;
        Ok(self.0.json.get_or_init(|| made))
    }
}

impl<T> Deref for Common<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Common<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Common<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(out)
    }
}

impl<T: PartialEq> PartialEq for Common<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Common<T> {}

impl<T: Serialize> Serialize for Common<T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.value.serialize(out)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Common<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        T::deserialize(input).map(Self::new)
    }
}
