//! Bytes to a tree. No meaning, no I/O.
//!
//! Promises: no input makes it panic, loop or hold more than a small multiple of the input.
//! Knows nothing of: events, feeds, time zones.

pub mod hl7;
pub mod xml;
pub mod fhir;
pub mod cda;
