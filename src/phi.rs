//! Patient data in a wrapper that will not print.
//!
//! Promises: neither `Debug` nor `Display` of a [`Phi`] shows what is in it; [`Phi::expose`]
//! is the one way out, so that `grep expose` lists every place that looks.
//! Knows nothing of: what the data means.

use std::fmt;

/// A value that a patient could be known by.
// PROMISE-10: a patient value that reaches a log, an error text or a panic prints as `Phi(..)`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Phi<T>(T);

impl<T> Phi<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. Never hand it to a log, an error or a metric label.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, taken out of the wrapper.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Phi<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Phi(..)")
    }
}

impl<T> fmt::Display for Phi<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Phi(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Phi;

    /// PROMISE-10
    #[test]
    fn a_patient_value_does_not_print() {
        let name = Phi::new("ZZCANARY");
        assert_eq!(format!("{name} {name:?} {:?}", Some(&name)), "Phi(..) Phi(..) Some(Phi(..))");
        assert_eq!(*name.expose(), "ZZCANARY");
    }
}
