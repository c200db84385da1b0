//! One connection: frames in, answers out, in order.
//!
//! Promises: a message is answered after its commit (PROMISE-1) and in its turn (PROMISE-4); a
//! frame must end within its time from its first byte, an answer must be taken within its time,
//! and a connection may be silent for days; what all connections hold is bounded together.
//! Knows nothing of: how many connections there are.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::Decoder;

use super::acknowledge::{ControlIds, acknowledge, whole_fields};
use super::budget::{Budget, Share};
use super::form::answer_to;
use super::frame::{Frames, Incoming};
use super::quiet::Quiet;
use crate::admit::Novelty;
use crate::admit::assess::{Assessed, Finding, Rules, assess, unreadable};
use crate::event::Subject;
use crate::fence::Fence;
use crate::metrics::FeedMetrics;
use crate::store::{Admitted, Busy, Journal, Turn};
use crate::verdict::{OnBusy, Outcome, Severity, verdict};
use crate::{bug, clock};

/// How long a sender may take to read an answer. One that does not read is gone or stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the CR behind FS is waited for. A sender that never sends it gets its answer that
/// much later; one whose CR comes in the next packet is read right.
const END_GRACE: Duration = Duration::from_millis(50);
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// A frame above this is read off the runtime's threads, since it takes milliseconds.
const BLOCKING_BYTES: usize = 256 << 10;

/// What the sessions of one feed share.
#[derive(Debug)]
pub struct FeedContext {
    /// How its messages are read.
    pub rules: Rules,
    /// Longest frame, in bytes.
    pub frame_bytes_max: usize,
    /// From a frame's first byte to its last.
    pub frame_timeout: Duration,
    /// Frames of one connection that may be under way.
    pub pipeline_max: usize,
    /// What happens when the store cannot take a message.
    pub on_busy: OnBusy,
    /// Where messages go.
    pub journal: Arc<Journal>,
    /// What is counted.
    pub metrics: FeedMetrics,
    /// Keeps what is wrong with many messages from filling the log.
    pub quiet: Quiet,
    /// Names of acknowledgements.
    pub control_ids: ControlIds,
    /// Who is on the way out.
    pub fence: Arc<Fence>,
    /// How long a narrowed consent waits for what is on its way before connections are cut.
    pub fence_timeout: Duration,
    /// Bytes of all feeds in memory.
    pub budget: Arc<Budget>,
    /// Becomes true when the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

/// An answer that is owed.
struct Owed {
    state: OwedState,
    /// The frame, for its acknowledgement.
    frame: Bytes,
    /// Fields of it that no rule took.
    unmapped: usize,
    received: Duration,
    /// Its share of the intake budget, given back when it is answered.
    _share: Share,
}

enum OwedState {
    /// The outcome is known.
    Known(Outcome),
    /// The journal will say. Where the message narrows a consent, the fence is taken then.
    Waiting(Finding, oneshot::Receiver<Result<Admitted, Busy>>, Vec<Subject>),
    /// The outcome is known; what was permitted before is still on its way.
    Fenced(Outcome, Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The sender closed, or the connection broke.
    Closed,
    /// A frame took too long.
    FrameTimeout,
    /// An answer was not taken.
    WriteTimeout,
    /// The store cannot take messages.
    Busy,
    /// A frame without end.
    Endless,
    /// The daemon stops.
    Stopping,
}

/// Serves a connection until it ends.
pub async fn serve(stream: TcpStream, peer: SocketAddr, context: Arc<FeedContext>) {
    context.metrics.connections.increment(1.0);
    let mut session = Session {
        frames: Frames::new(context.frame_bytes_max),
        buffer: BytesMut::new(),
        owed: VecDeque::new(),
        begun: None,
        share: Share::default(),
        eof: false,
        turn: Turn::default(),
        end: None,
        stream,
        context: Arc::clone(&context),
    };
    let end = session.run().await;
    let feed = &context.rules.feed;
    match end {
        End::Closed | End::Stopping => tracing::debug!(%feed, %peer, ?end, "connection closed"),
        End::FrameTimeout => {
            context.metrics.rejected.count("frame-timeout");
            tracing::warn!(%feed, %peer, "connection closed: a frame took too long");
        }
        End::WriteTimeout => {
            context.metrics.rejected.count("write-timeout");
            tracing::warn!(%feed, %peer, "connection closed: an answer was not taken");
        }
        End::Busy => {
            context.metrics.rejected.count("busy");
            tracing::debug!(%feed, %peer, "connection closed: nothing can be taken now");
        }
        End::Endless => {
            context.metrics.frame_errors.count("oversize");
            tracing::warn!(%feed, %peer, "connection closed: a frame without end");
        }
    }
    context.metrics.connections.decrement(1.0);
}

struct Session {
    frames: Frames,
    buffer: BytesMut,
    owed: VecDeque<Owed>,
    /// When the frame that is being read began.
    begun: Option<Instant>,
    /// What of the budget is for the bytes in the buffer.
    share: Share,
    eof: bool,
    /// That nothing is taken behind what was refused.
    turn: Turn,
    /// Why the session ends, once what is owed is answered.
    end: Option<End>,
    stream: TcpStream,
    context: Arc<FeedContext>,
}

impl Session {
    async fn run(&mut self) -> End {
        let mut stopping = self.context.stopping.clone();
        loop {
            let reading = !self.eof
                && self.owed.len() < self.context.pipeline_max
                && !*stopping.borrow_and_update();
            if !reading && self.owed.is_empty() {
                return match self.end {
                    Some(end) => end,
                    None if self.eof => self.note_eof(),
                    None => End::Stopping,
                };
            }
            let deadline = self.deadline();
            let step = tokio::select! {
                biased;
                answer = next_answer(&mut self.owed, &self.context), if !self.owed.is_empty() => Step::Answer(answer),
                read = read(&mut self.stream, &mut self.buffer, &mut self.share, &self.context.budget), if reading => {
                    Step::Read(read)
                }
                () = sleep_until(deadline.unwrap_or_else(far_away)), if deadline.is_some() && reading => {
                    Step::Deadline
                }
                changed = stopping.changed(), if reading => {
                    if changed.is_err() { return End::Stopping }
                    continue;
                }
            };
            let end = match step {
                Step::Answer(outcome) => self.answer(outcome).await,
                Step::Read(Ok(0)) => self.take_eof().await,
                Step::Read(Ok(_)) => self.take().await,
                Step::Read(Err(_)) => Some(End::Closed),
                Step::Deadline => self.late().await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// When something must have happened: the end of a frame, or the CR behind its FS.
    fn deadline(&self) -> Option<Instant> {
        let begun = self.begun?;
        let last = begun + self.context.frame_timeout;
        if self.frames.awaits_end(&self.buffer) {
            return Some(last.min(Instant::now() + END_GRACE));
        }
        Some(last)
    }

    async fn late(&mut self) -> Option<End> {
        match self.frames.end_at_fs(&mut self.buffer) {
            Some(incoming) => {
                self.begun = None;
                self.incoming(incoming).await
            }
            None => self.finish(End::FrameTimeout),
        }
    }

    /// Bytes have come: every frame that is whole is taken, up to the pipeline's bound.
    async fn take(&mut self) -> Option<End> {
        loop {
            match self.frames.decode(&mut self.buffer) {
                Ok(Some(incoming)) => {
                    if let Some(end) = self.incoming(incoming).await {
                        return Some(end);
                    }
                    if self.end.is_some() {
                        return None;
                    }
                }
                Ok(None) => break,
                Err(_) => return self.finish(End::Endless),
            }
            while self.owed.len() >= self.context.pipeline_max {
                let outcome = next_answer(&mut self.owed, &self.context).await;
                if let Some(end) = self.answer(outcome).await {
                    return Some(end);
                }
            }
        }
        // A slow-loris bound: the time runs from a frame's first byte, not from its last one.
        self.begun = if self.frames.is_inside() {
            self.begun.or_else(|| Some(Instant::now()))
        } else {
            None
        };
        if self.buffer.is_empty() {
            self.share = Share::default();
        }
        None
    }

    /// Nothing more is read; what came before is still answered.
    const fn finish(&mut self, end: End) -> Option<End> {
        self.eof = true;
        self.end = Some(end);
        None
    }

    async fn take_eof(&mut self) -> Option<End> {
        self.eof = true;
        while let Ok(Some(incoming)) = self.frames.decode_eof(&mut self.buffer) {
            if let Some(end) = self.incoming(incoming).await {
                return Some(end);
            }
        }
        None
    }

    fn note_eof(&self) -> End {
        if self.frames.is_inside() {
            // It was never answered, so the sender has it still.
            self.context.metrics.frame_errors.count("no-end");
        }
        End::Closed
    }

    async fn incoming(&mut self, incoming: Incoming) -> Option<End> {
        let metrics = &self.context.metrics;
        self.begun = None;
        match incoming {
            Incoming::Junk => metrics.frame_errors.count("no-start"),
            Incoming::Restarted => metrics.frame_errors.count("restarted"),
            Incoming::Oversize(head) => {
                metrics.frame_errors.count("oversize");
                self.owe(OwedState::Known(Outcome::Oversize), whole_fields(&head), 0);
            }
            Incoming::Frame(frame) => {
                metrics.bytes.increment(frame.len() as u64);
                return self.frame(frame).await;
            }
        }
        None
    }

    async fn frame(&mut self, frame: Bytes) -> Option<End> {
        let begun = clock::monotonic();
        let now_ms = clock::now_ms();
        let rules = &self.context.rules;
        let assessed = if frame.len() > BLOCKING_BYTES {
            tokio::task::block_in_place(|| assess_safely(&frame, rules, now_ms))
        } else {
            assess_safely(&frame, rules, now_ms)
        };
        let metrics = &self.context.metrics;
        metrics.assess.record(clock::seconds_since(begun));
        metrics.received.count(message_type(&assessed.kind));
        metrics.last_message.set(seconds(now_ms));
        let unmapped = assessed.admission.as_ref().map_or(0, |some| some.content.unmapped.len());
        let state = match assessed.admission {
            None => OwedState::Known(Outcome::Refused(assessed.finding)),
            Some(admission) => {
                // Also for a duplicate: what it repeats may still wait for its fence.
                let narrowed = admission.narrowed();
                match self.context.journal.append(admission, &self.turn()).await {
                    Ok(receiver) => OwedState::Waiting(assessed.finding, receiver, narrowed),
                    Err(Busy::Disk) => OwedState::Known(Outcome::Busy(self.context.on_busy)),
                    Err(Busy::Stopping) => OwedState::Known(Outcome::Busy(OnBusy::Close)),
                }
            }
        };
        let busy = matches!(state, OwedState::Known(Outcome::Busy(OnBusy::Close)));
        self.owe(state, frame, unmapped);
        if busy { self.finish(End::Busy) } else { None }
    }

    /// After an AR the sender goes on by itself, and each message stands alone.
    fn turn(&self) -> Turn {
        match self.context.on_busy {
            OnBusy::Close => self.turn.clone(),
            OnBusy::Reject => Turn::default(),
        }
    }

    fn owe(&mut self, state: OwedState, frame: Bytes, unmapped: usize) {
        let share = self.share.split(frame.len());
        let received = clock::monotonic();
        self.owed.push_back(Owed { state, frame, unmapped, received, _share: share });
    }

    /// Writes the answer to the oldest message, and of those behind it that are known by then.
    async fn answer(&mut self, first: Outcome) -> Option<End> {
        let mut out = BytesMut::new();
        let mut answered = Vec::new();
        let mut next = Some(first);
        let mut end = None;
        while let Some(outcome) = next.take() {
            let Some(owed) = self.owed.pop_front() else { break };
            let verdict = verdict(&outcome);
            self.count(&outcome, verdict.reason, verdict.severity);
            if matches!(outcome, Outcome::Taken(_, Novelty::New { .. })) {
                self.context.metrics.unmapped.increment(owed.unmapped as u64);
            }
            if let Some((code, fault)) = verdict.answer {
                let control_id = self.context.control_ids.next();
                let charsets = &self.context.rules.charsets;
                out.extend_from_slice(&answer_to(&owed.frame, charsets, |head| {
                    acknowledge(head, code, fault.as_ref(), &control_id, clock::now())
                }));
                answered.push((code, owed.received));
            }
            if outcome == Outcome::Busy(OnBusy::Close) {
                end = Some(End::Busy);
                break;
            }
            next = known_answer(&mut self.owed, &self.context);
        }
        if !out.is_empty() {
            match timeout(WRITE_TIMEOUT, self.stream.write_all(&out)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Some(End::Closed),
                Err(_) => return Some(End::WriteTimeout),
            }
        }
        for (code, received) in answered {
            self.context.metrics.acks.count(code.name());
            self.context.metrics.ack_duration.record(clock::seconds_since(received));
        }
        end
    }

    fn count(&self, outcome: &Outcome, reason: &'static str, severity: Severity) {
        let metrics = &self.context.metrics;
        match outcome {
            Outcome::Taken(_, novelty) => metrics.dedupe.count(match novelty {
                Novelty::New { .. } => "new",
                Novelty::Duplicate { .. } => "duplicate",
                Novelty::Conflict { .. } => "conflict",
                Novelty::Wrapped { .. } => "wrapped",
            }),
            Outcome::Refused(_) | Outcome::Oversize | Outcome::Busy(_) => {}
        }
        if !matches!(reason, "new" | "duplicate" | "wrapped") {
            metrics.errors.count(reason);
        }
        if severity == Severity::Notable
            && let Some(more) = self.context.quiet.due(reason)
        {
            tracing::warn!(feed = %self.context.rules.feed, reason, more, "a message needs a look");
        }
    }
}

enum Step {
    Answer(Outcome),
    Read(std::io::Result<usize>),
    Deadline,
}

/// The outcome of the oldest message that is owed an answer. Cancelling loses nothing.
// PROMISE-6: what narrows is answered when nothing is on its way any more that it forbids.
async fn next_answer(owed: &mut VecDeque<Owed>, context: &FeedContext) -> Outcome {
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
fn known_answer(owed: &mut VecDeque<Owed>, context: &FeedContext) -> Option<Outcome> {
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

/// Reads, once there is budget for what may come.
async fn read(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    share: &mut Share,
    budget: &Budget,
) -> std::io::Result<usize> {
    // What a connection without budget may hold: a read or two.
    if buffer.len() > READ_BYTES {
        budget.grow(share, buffer.len() + READ_BYTES).await;
    }
    buffer.reserve(READ_BYTES.min(1024.max(buffer.len())));
    stream.read_buf(buffer).await
}

/// A message that makes our code panic is that message's end and not the process's.
// PROMISE-11
fn assess_safely(frame: &Bytes, rules: &Rules, now_ms: i64) -> Assessed {
    bug::contain(|| assess(frame, rules, now_ms))
        .unwrap_or_else(|| unreadable(frame, rules, now_ms))
}

/// The closed set of message types that is counted by.
fn message_type(kind: &str) -> &'static str {
    match kind.split('^').next() {
        Some("ADT") => "adt",
        Some("ORU") => "oru",
        Some("MDM") => "consent",
        _ => "other",
    }
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

#[expect(clippy::cast_precision_loss, reason = "a time of a gauge")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
