//! Records in the evidence what messages said of subjects: that two are one, or are not.
//!
//! Promises: each act that is in the journal comes into the audit, once, also over a crash in
//! between: what was recorded last says where to go on.
//! Knows nothing of: what follows for anybody's consent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::audit::{self, Says};
use crate::clock;
use crate::event::Act;
use crate::store::acts::Noted;
use crate::store::{Audit, AuditBusy, Journal, StoreError};

/// Acts that are recorded at once.
const ACTS_MAX: u32 = 256;
/// How long after a message its acts are looked for, so that many are looked for together.
const DELAY: Duration = Duration::from_millis(200);
/// How long the audit is left alone when its disk is full, or the store could not be read.
const AGAIN: Duration = Duration::from_secs(1);
/// What tells these acts from others of the audit.
const ABOUT: (&str, &str) = ("about", "subjects");
/// The number of the message.
const MESSAGE: &str = "message";

/// Records acts until the daemon stops, or the audit has.
// PROMISE-8
pub(super) async fn record(
    journal: Arc<Journal>,
    audit: Arc<Audit>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut head = journal.head();
    let mut last = loop {
        match tokio::task::block_in_place(|| recorded(&audit)) {
            Ok(last) => break last,
            Err(error) => tracing::error!(%error, "what was recorded of subjects cannot be read"),
        }
        if *stopping.borrow() {
            return;
        }
        sleep(AGAIN).await;
    };
    loop {
        head.borrow_and_update();
        let is_last = *stopping.borrow();
        match next(&journal, &audit, last).await {
            Ok(Some(number)) => {
                last = number;
                continue;
            }
            Ok(None) => {}
            Err(Some(AuditBusy::Stopped)) => return,
            Err(Some(AuditBusy::Disk) | None) if is_last => return,
            Err(Some(AuditBusy::Disk) | None) => {
                sleep(AGAIN).await;
                continue;
            }
        }
        if is_last {
            return;
        }
        tokio::select! {
            changed = head.changed() => if changed.is_err() { return },
            changed = stopping.changed() => if changed.is_err() { return },
        }
        sleep(DELAY).await;
    }
}

/// Records the next acts; the last message of which they are now recorded, nothing where there are
/// none. The error is the audit's, or none where the store could not be read.
async fn next(
    journal: &Journal,
    audit: &Audit,
    last: u64,
) -> Result<Option<u64>, Option<AuditBusy>> {
    let found = tokio::task::block_in_place(|| journal.acts_after(last, ACTS_MAX));
    let found = found.map_err(|error| {
        tracing::error!(%error, "what messages said of subjects cannot be read");
        None
    })?;
    let Some(newest) = found.last().map(|noted| noted.message) else { return Ok(None) };
    let now = clock::now();
    let entries = found.into_iter().map(|noted| (now, Says::Act(act(noted)))).collect();
    audit.append(entries).await.map_err(Some)?;
    Ok(Some(newest))
}

fn act(noted: Noted) -> audit::Act {
    let Noted { message, feed, act, from, into } = noted;
    let with = [
        (ABOUT.0, ABOUT.1.to_owned()),
        (MESSAGE, message.to_string()),
        ("from", from.to_string()),
        ("into", into.to_string()),
    ];
    audit::Act::new(&act, format!("feed {feed}"), with)
}

/// The newest message whose acts are recorded.
fn recorded(audit: &Audit) -> Result<u64, StoreError> {
    let mut newest = 0;
    for act in Act::ALL {
        let Some(record) = audit.last_act(act.name(), ABOUT)? else { continue };
        if let Says::Act(act) = record.says {
            let message = act.with.get(MESSAGE).and_then(|number| number.parse().ok());
            newest = newest.max(message.unwrap_or(0));
        }
    }
    Ok(newest)
}
