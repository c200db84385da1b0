//! The only place that reads a clock.
//!
//! Promises: wall time is UTC with microseconds; monotonic time never goes back and is what
//! every timeout, age and rate is measured by.
//! Knows nothing of: time zones. A feed's zone is applied where its messages are mapped.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Wall time now, in UTC. It may jump; never subtract two of them to get a duration that a
/// timeout rests on.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Milliseconds since 1970, the form the store keeps times in.
#[must_use]
pub fn now_ms() -> i64 {
    now().as_millisecond()
}

/// Time since the process first asked. Never goes back, whatever the wall clock does.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the monotonic clock"
)]
pub fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Seconds from an earlier [`monotonic`] reading to now.
#[must_use]
pub fn seconds_since(earlier: Duration) -> f64 {
    monotonic().saturating_sub(earlier).as_secs_f64()
}
