//! How fast, and when again.
//!
//! Promises: see [`rate`], [`fair`], [`backoff`] and [`spread()`].
//! Knows nothing of: what goes, and what is tried.

pub mod backoff;
pub mod fair;
pub mod rate;
pub mod spread;

pub use backoff::Backoff;
pub use fair::Fair;
pub use rate::Rate;
pub use spread::spread;
