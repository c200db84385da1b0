//! What a panic does: it ends the process, but for the one message that caused it where that can
//! be told.
//!
//! Promises: a panic is reported by its place and never by its text, which may quote what was
//! being read (PROMISE-10); none leaves a daemon that looks alive and does nothing.
//! Knows nothing of: what panicked.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs what one message's bytes go through. Nothing, where it panicked: that message is the
/// bug's victim, and the process goes on. `run` must leave nothing half changed.
// PROMISE-11
pub fn contain<T>(run: impl FnOnce() -> T) -> Option<T> {
    let outer = CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    CONTAINED.set(outer);
    outcome.ok()
}

/// Sets what a panic does, for the life of the process.
pub fn install_hook() {
    std::panic::set_hook(Box::new(report));
}

/// A task that ended by a panic would be missed by nobody until a sender complains: the process
/// ends at once instead, systemd starts it anew, and the store is intact.
fn report(panic: &PanicHookInfo<'_>) {
    const WHAT: &str = "a bug: please report it with this line";
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if CONTAINED.get() {
        tracing::error!(place, "{WHAT}");
        return;
    }
    // Directly, since what the log has still to write is lost with the process.
    let mut out = std::io::stderr();
    let line = if out.is_terminal() {
        format!("ERROR {WHAT} place={place}")
    } else {
        serde_json::json!({ "level": "ERROR", "message": WHAT, "place": place }).to_string()
    };
    writeln!(out, "{line}").unwrap_or_default();
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::contain;

    /// PROMISE-11
    #[test]
    fn a_contained_panic_costs_its_message_only() {
        let broken: Option<u8> = contain(|| Vec::<u8>::new().remove(3));
        assert_eq!(broken, None);
        assert_eq!(contain(|| 7), Some(7));
    }
}
