//! Where messages come from.
//!
//! Promises: a positive answer goes out after the commit and not before; one bad message costs
//! itself and nothing else.
//! Knows nothing of: routes and consumers.

pub mod intake;
pub mod mllp;
pub mod file;
pub mod fhir;
