//! A message on its way into the journal, whatever brought it.
//!
//! Promises: what came of a message is known after its commit (PROMISE-1), and where it narrows a
//! consent, when nothing is on its way any more that it forbids (PROMISE-6); a message that makes our
//! code panic costs itself (PROMISE-11).
//! Knows nothing of: connections and files.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::mllp::acknowledge::ControlIds;
use super::mllp::budget::{Budget, Share};
use super::mllp::mode::AckMode;
use super::mllp::outbox::Outbox;
use super::mllp::quiet::Quiet;
use super::mllp::sequence::Sequences;
use crate::admit::Novelty;
use crate::admit::assess::{Assessed, Finding, Rules, assess_from, miscounted, unreadable};
use crate::admit::entry::{Admission, Kept};
use crate::admit::sender::Speaker;
use crate::event::Subject;
use crate::fence::Fence;
use crate::metrics::FeedMetrics;
use crate::pace::Fair;
use crate::parse::hl7::tally::Miscount;
use crate::phi::Phi;
use crate::store::{Admitted, Busy, Journal, Oldest, StoreError, Turn};
use crate::verdict::{OnBusy, Outcome, Severity};
use crate::{bug, clock};

/// A message above this is read off the runtime's threads, since it takes milliseconds.
const BLOCKING_BYTES: usize = 256 << 10;

/// What a feed's `application_ack` says.
#[derive(Debug)]
pub enum ApplicationAck {
    /// None is sent behind an accept acknowledgement.
    None,
    /// On the connection that the message came by.
    SameConnection,
    /// To another address.
    Connect(Outbox),
}

/// How a feed's messages are acknowledged.
#[derive(Debug)]
pub struct Acknowledging {
    /// Whether MSH-15 and MSH-16 count.
    pub mode: AckMode,
    /// Where application acknowledgements of enhanced mode go.
    pub application: ApplicationAck,
    /// Which numbers are expected in MSH-13.
    pub sequences: Sequences,
    /// Names of acknowledgements.
    pub control_ids: ControlIds,
}

/// What all that takes messages of one feed shares.
#[derive(Debug)]
pub struct FeedContext {
    /// How its messages are read.
    pub rules: Rules,
    /// Longest message, in bytes.
    pub frame_bytes_max: usize,
    /// From a frame's first byte to its last.
    pub frame_timeout: Duration,
    /// Messages of one connection or file that may be under way.
    pub pipeline_max: usize,
    /// How many messages a second all connections may bring together.
    pub rate: Option<Fair>,
    /// What happens when the store cannot take a message.
    pub on_busy: OnBusy,
    /// Where messages go.
    pub journal: Arc<Journal>,
    /// What is counted.
    pub metrics: FeedMetrics,
    /// Keeps what is wrong with many messages from filling the log.
    pub quiet: Quiet,
    /// How messages are acknowledged.
    pub acknowledging: Acknowledging,
    /// Who is on the way out.
    pub fence: Arc<Fence>,
    /// How long a narrowed consent waits for what is on its way before connections are cut.
    pub fence_timeout: Duration,
    /// Bytes of all feeds in memory.
    pub budget: Arc<Budget>,
    /// Becomes true when the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

impl FeedContext {
    /// Counts a connection that is not served, and says so unless it was said a moment ago.
    pub fn refuse(&self, reason: &'static str, peer: SocketAddr, why: &str) {
        self.metrics.rejected.count(reason);
        if let Some(more) = self.quiet.due(reason) {
            tracing::warn!(feed = %self.rules.feed, %peer, more, "connection refused: {why}");
        }
    }
}

impl FeedContext {
    /// Has something in the journal; done when it is durable.
    pub(super) async fn append(&self, admission: Admission, turn: &Turn) -> Result<(), Busy> {
        let answer = self.journal.append(admission, turn).await?;
        answer.await.unwrap_or(Err(Busy::Stopping)).map(drop)
    }

    /// Has something remembered; done when it is durable.
    pub(super) async fn keep(&self, kept: Vec<Kept>) -> Result<(), Busy> {
        if kept.is_empty() {
            return Ok(());
        }
        let durable = self.journal.keep(&self.rules.feed, kept).await?;
        durable.await.unwrap_or(Err(Busy::Stopping))
    }

    /// What the feed remembers under a kind and a key.
    pub(super) fn kept(&self, kind: &str, key: &str) -> Result<Option<Phi<Vec<u8>>>, StoreError> {
        tokio::task::block_in_place(|| self.journal.kept(&self.rules.feed, kind, key))
    }

    /// What the feed has remembered longest of a kind, of what stands behind a mark.
    pub(super) fn oldest(&self, kind: &str, behind: i64) -> Result<Option<Oldest>, StoreError> {
        tokio::task::block_in_place(|| self.journal.oldest(&self.rules.feed, kind, behind))
    }

    /// How much the feed remembers of a kind.
    pub(super) fn kept_count(&self, kind: &str) -> Result<u32, StoreError> {
        tokio::task::block_in_place(|| self.journal.kept_count(&self.rules.feed, kind))
    }
}

/// An answer that is owed.
pub(super) struct Owed {
    pub state: OwedState,
    /// The frame, for its acknowledgement.
    pub frame: Bytes,
    /// Fields of it that no rule took.
    pub unmapped: usize,
    /// What its sender is told to be expected next in MSH-13.
    pub expected: Option<i64>,
    pub received: Duration,
    /// Its share of the intake budget, given back when it is answered.
    pub _share: Share,
}

pub(super) enum OwedState {
    /// The outcome is known.
    Known(Outcome),
    /// The journal will say. Where the message narrows a consent, the fence is taken then.
    Waiting(Finding, oneshot::Receiver<Result<Admitted, Busy>>, Vec<Subject>),
    /// The outcome is known; what was permitted before is still on its way.
    Fenced(Outcome, Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Does what reads a message, off the runtime's threads where that may take long: XML and UTF-16 are
/// decoded whole for their header alone.
pub(super) fn reading<T>(frame: &Bytes, read: impl FnOnce() -> T) -> T {
    if frame.len() > BLOCKING_BYTES { tokio::task::block_in_place(read) } else { read() }
}

/// Reads a message and hands it to the journal; with how many of its fields no rule took.
pub(super) async fn submit(
    context: &FeedContext,
    speaker: &Speaker,
    frame: &Bytes,
    turn: &Turn,
) -> (OwedState, usize) {
    let begun = clock::monotonic();
    let now_ms = clock::now_ms();
    let rules = &context.rules;
    let assessed = reading(frame, || assess_safely(speaker, frame, rules, now_ms));
    context.metrics.assess.record(clock::seconds_since(begun));
    hand_on(context, assessed, turn).await
}

/// Hands a message that was read to the journal; with how many of its fields no rule took.
pub(super) async fn hand_on(
    context: &FeedContext,
    assessed: Assessed,
    turn: &Turn,
) -> (OwedState, usize) {
    let metrics = &context.metrics;
    metrics.received.count(message_type(&assessed.kind));
    metrics.last_message.set(seconds(clock::now_ms()));
    let unmapped = assessed.admission.as_ref().map_or(0, |some| some.content.unmapped.len());
    let state = match assessed.admission {
        None => OwedState::Known(Outcome::Refused(assessed.finding)),
        Some(admission) => {
            // Also for a duplicate: what it repeats may still wait for its fence.
            let narrowed = admission.narrowed();
            match context.journal.append(admission, turn).await {
                Ok(receiver) => OwedState::Waiting(assessed.finding, receiver, narrowed),
                Err(Busy::Disk) => OwedState::Known(Outcome::Busy(context.on_busy)),
                Err(Busy::Stopping) => OwedState::Known(Outcome::Busy(OnBusy::Close)),
            }
        }
    };
    (state, unmapped)
}

/// Tells people that messages of a batch may be missing, and keeps its headers and trailers. Those
/// that came are taken all the same.
///
/// # Errors
/// It cannot be kept now.
pub(super) async fn miscount(
    context: &FeedContext,
    envelope: &Bytes,
    wrong: &Miscount,
    turn: &Turn,
) -> Result<(), Busy> {
    let admission = miscounted(envelope, &context.rules, clock::now_ms(), wrong);
    context.append(admission, turn).await?;
    context.metrics.errors.count("miscount");
    if let Some(more) = context.quiet.due("miscount") {
        tracing::warn!(feed = %context.rules.feed, %wrong, more, "a batch needs a look");
    }
    Ok(())
}

/// The outcome of the oldest message that is owed an answer. Cancelling loses nothing.
// PROMISE-6: what narrows is answered when nothing is on its way any more that it forbids.
pub(super) async fn next_answer(owed: &mut VecDeque<Owed>, context: &FeedContext) -> Outcome {
    let Some(first) = owed.front_mut() else { return std::future::pending().await };
    loop {
        match &mut first.state {
            OwedState::Known(outcome) => return outcome.clone(),
            OwedState::Waiting(finding, receiver, narrowed) => {
                let answer = Pin::new(receiver).await.unwrap_or(Err(Busy::Stopping));
                let is_taken = answer.is_ok();
                let outcome = outcome_of(finding, answer, context.on_busy);
                let subjects = std::mem::take(narrowed);
                first.state = if is_taken && !subjects.is_empty() {
                    fenced(subjects, outcome, context)
                } else {
                    OwedState::Known(outcome)
                };
            }
            OwedState::Fenced(outcome, taken) => {
                taken.as_mut().await;
                context.metrics.fenced.record(clock::seconds_since(first.received));
                first.state = OwedState::Known(outcome.clone());
            }
        }
    }
}

/// What is in the store narrows these and all who are one person with them: what of any is on its
/// way is waited for. Where nobody can say who they are there is no answer: the sender comes again,
/// and waits then.
// PROMISE-6
fn fenced(subjects: Vec<Subject>, outcome: Outcome, context: &FeedContext) -> OwedState {
    let all = tokio::task::block_in_place(|| context.journal.with_others(subjects));
    match all {
        Ok(subjects) => {
            let (fence, patience) = (Arc::clone(&context.fence), context.fence_timeout);
            let taken = async move { fence.narrow(subjects, patience).await };
            OwedState::Fenced(outcome, Box::pin(taken))
        }
        Err(error) => {
            tracing::error!(feed = %context.rules.feed, %error, "not answered: whom it narrows is not known");
            OwedState::Known(Outcome::Busy(OnBusy::Close))
        }
    }
}

/// The outcome of the oldest message that is owed an answer, where it is known now.
pub(super) fn known_answer(owed: &mut VecDeque<Owed>, context: &FeedContext) -> Option<Outcome> {
    match &mut owed.front_mut()?.state {
        OwedState::Known(outcome) => Some(outcome.clone()),
        OwedState::Waiting(finding, receiver, narrowed) if narrowed.is_empty() => {
            receiver.try_recv().ok().map(|answer| outcome_of(finding, answer, context.on_busy))
        }
        OwedState::Waiting(..) | OwedState::Fenced(..) => None,
    }
}

fn outcome_of(finding: &Finding, answer: Result<Admitted, Busy>, on_busy: OnBusy) -> Outcome {
    match answer {
        Ok(Admitted { novelty: Some(novelty), .. }) => Outcome::Taken(finding.clone(), novelty),
        Ok(Admitted { novelty: None, .. }) => Outcome::Refused(finding.clone()),
        Err(Busy::Disk) => Outcome::Busy(on_busy),
        Err(Busy::Stopping) => Outcome::Busy(OnBusy::Close),
    }
}

/// Counts what came of a message, and logs what somebody should look at.
pub(super) fn count(
    context: &FeedContext,
    outcome: &Outcome,
    reason: &'static str,
    severity: Severity,
) {
    let metrics = &context.metrics;
    match outcome {
        Outcome::Taken(_, novelty) => metrics.dedupe.count(match novelty {
            Novelty::New { .. } => "new",
            Novelty::Duplicate { .. } => "duplicate",
            Novelty::Conflict { .. } => "conflict",
            Novelty::Wrapped { .. } => "wrapped",
        }),
        Outcome::Refused(_)
        | Outcome::Oversize
        | Outcome::Busy(_)
        | Outcome::Link
        | Outcome::Gap => {}
    }
    if !matches!(reason, "new" | "duplicate" | "wrapped" | "link") {
        metrics.errors.count(reason);
    }
    if severity == Severity::Notable
        && let Some(more) = context.quiet.due(reason)
    {
        tracing::warn!(feed = %context.rules.feed, reason, more, "a message needs a look");
    }
}

/// A message that makes our code panic is that message's end and not the process's.
// PROMISE-11
fn assess_safely(speaker: &Speaker, frame: &Bytes, rules: &Rules, now_ms: i64) -> Assessed {
    bug::contain(|| assess_from(speaker, frame, rules, now_ms))
        .unwrap_or_else(|| unreadable(frame, rules, now_ms))
}

/// The closed set of message types that is counted by.
fn message_type(kind: &str) -> &'static str {
    match kind.split('^').next() {
        Some("ADT" | "Patient" | "Encounter" | "Condition") => "adt",
        Some("ORU" | "Observation" | "DiagnosticReport") => "oru",
        Some("MDM" | "Consent") => "consent",
        _ => "other",
    }
}

/// A time as a gauge has it.
#[expect(clippy::cast_precision_loss, reason = "a time of a gauge")]
pub(super) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
