//! One connection: frames in, answers out, in order.
//!
//! Promises: a message is answered after its commit (PROMISE-1) and in its turn (PROMISE-4); a
//! frame must end within its time from its first byte, an answer must be taken within its time,
//! and a connection may be silent for days; what all connections hold is bounded together.
//! Knows nothing of: how many connections there are.

mod batch;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::Decoder;

use self::batch::Batch;
use super::acknowledge::{Reply, framed, whole_fields};
use super::budget::{Budget, Share};
use super::form::{Opened, answer};
use super::frame::{Frames, Incoming};
use super::mode::{Way, asked, may_hear, said};
use super::sequence::Step as Number;
use super::wire::Wire;
use crate::admit::Novelty;
use crate::admit::sender::Speaker;
use crate::clock;
use crate::feed::intake::{
    Acknowledging, ApplicationAck, FeedContext, Owed, OwedState, count, known_answer, next_answer,
    reading, submit,
};
use crate::parse::hl7::Head;
use crate::parse::hl7::batch::is_batch;
use crate::store::Turn;
use crate::verdict::{Code, OnBusy, Outcome, Verdict, verdict};

/// How long a sender may take to read an answer. One that does not read is gone or stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the CR behind FS is waited for. A sender that never sends it gets its answer that
/// much later; one whose CR comes in the next packet is read right.
const END_GRACE: Duration = Duration::from_millis(50);
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

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

/// Serves a connection until it ends; whether a frame came by it.
pub async fn serve(
    wire: Wire,
    peer: SocketAddr,
    speaker: Speaker,
    context: Arc<FeedContext>,
) -> bool {
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
        took: false,
        batch: None,
        wire,
        speaker,
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
    session.wire.close().await;
    context.metrics.connections.decrement(1.0);
    session.took
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
    /// Whether a frame came.
    took: bool,
    /// The answer to the batch that is being taken.
    batch: Option<Batch>,
    wire: Wire,
    /// For whom the sender may speak.
    speaker: Speaker,
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
                read = read(&mut self.wire, &mut self.buffer, &mut self.share, &self.context.budget), if reading => {
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
            if let Some(end) = self.make_room().await {
                return Some(end);
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
                self.owe(OwedState::Known(Outcome::Oversize), whole_fields(&head), 0, None);
            }
            Incoming::Frame(frame) => {
                metrics.bytes.increment(frame.len() as u64);
                return self.frame(frame).await;
            }
        }
        None
    }

    /// Waits until the feed's rate lets one more message in, and answers meanwhile what is owed. A
    /// message that waits when the daemon stops was not answered, so its sender has it still.
    async fn await_turn(&mut self) -> Result<(), Option<End>> {
        if self.context.rate.is_none() {
            return Ok(());
        }
        let context = Arc::clone(&self.context);
        let Some(rate) = &context.rate else { return Ok(()) };
        let mut stopping = context.stopping.clone();
        let mut turn = std::pin::pin!(rate.turn());
        loop {
            let outcome = tokio::select! {
                biased;
                answer = next_answer(&mut self.owed, &context), if !self.owed.is_empty() => answer,
                _ = stopping.wait_for(|stopping| *stopping) => return Err(self.finish(End::Stopping)),
                () = &mut turn => return Ok(()),
            };
            if let Some(end) = self.answer(outcome).await {
                return Err(Some(end));
            }
        }
    }

    async fn frame(&mut self, frame: Bytes) -> Option<End> {
        self.took = true;
        if is_batch(&frame) { self.batch(frame).await } else { self.message(frame).await }
    }

    /// Answers everything that is owed.
    async fn settle(&mut self) -> Option<End> {
        while !self.owed.is_empty() {
            let outcome = next_answer(&mut self.owed, &self.context).await;
            if let Some(end) = self.answer(outcome).await {
                return Some(end);
            }
        }
        None
    }

    /// Answers until another message may be under way.
    async fn make_room(&mut self) -> Option<End> {
        while self.owed.len() >= self.context.pipeline_max {
            let outcome = next_answer(&mut self.owed, &self.context).await;
            if let Some(end) = self.answer(outcome).await {
                return Some(end);
            }
        }
        None
    }

    /// What the number of a message says, where it is not to be read further; and which is expected
    /// behind it.
    fn number(&self, message: &Bytes) -> (Option<Outcome>, Option<i64>) {
        let charsets = &self.context.rules.charsets;
        let opened = reading(message, || Opened::new(message, charsets));
        let Some(head) = opened.head() else { return (None, None) };
        let sequences = &self.context.acknowledging.sequences;
        let (number, expected) = sequences.take(&head, message);
        if number == Number::Gap {
            self.context.metrics.sequence_gaps.increment(1);
        }
        let outcome = match number {
            Number::Link => Some(Outcome::Link),
            gap if sequences.refuses(gap) => Some(Outcome::Gap),
            Number::None | Number::Follows | Number::Gap => None,
        };
        (outcome, expected)
    }

    async fn message(&mut self, frame: Bytes) -> Option<End> {
        if let Err(end) = self.await_turn().await {
            return end;
        }
        let (outcome, expected) = self.number(&frame);
        if let Some(outcome) = outcome {
            self.context.metrics.received.count("other");
            self.owe(OwedState::Known(outcome), frame, 0, expected);
            return None;
        }
        let (state, unmapped) = submit(&self.context, &self.speaker, &frame, &self.turn()).await;
        let busy = matches!(state, OwedState::Known(Outcome::Busy(OnBusy::Close)));
        self.owe(state, frame, unmapped, expected);
        if busy { self.finish(End::Busy) } else { None }
    }

    /// After an AR the sender goes on by itself, and each message stands alone.
    fn turn(&self) -> Turn {
        match self.context.on_busy {
            OnBusy::Close => self.turn.clone(),
            OnBusy::Reject => Turn::default(),
        }
    }

    fn owe(&mut self, state: OwedState, frame: Bytes, unmapped: usize, expected: Option<i64>) {
        let share = self.share.split(frame.len());
        let received = clock::monotonic();
        self.owed.push_back(Owed { state, frame, unmapped, expected, received, _share: share });
    }

    /// Writes the answer to the oldest message, and of those behind it that are known by then.
    async fn answer(&mut self, first: Outcome) -> Option<End> {
        let context = Arc::clone(&self.context);
        let mut out = BytesMut::new();
        let mut answered = Vec::new();
        let mut next = Some(first);
        let mut end = None;
        while let Some(outcome) = next.take() {
            let Some(owed) = self.owed.pop_front() else { break };
            let verdict = verdict(&outcome);
            count(&self.context, &outcome, verdict.reason, verdict.severity);
            if matches!(outcome, Outcome::Taken(_, Novelty::New { .. })) {
                self.context.metrics.unmapped.increment(owed.unmapped as u64);
            }
            let charsets = &context.rules.charsets;
            let opened = reading(&owed.frame, || Opened::new(&owed.frame, charsets));
            let head = opened.head();
            let expected = self.expected(&owed, head.as_deref(), &verdict);
            if let Some((code, fault)) = &verdict.answer {
                let asked = asked(self.context.acknowledging.mode, head.as_deref());
                if let Some(batch) = &mut self.batch {
                    batch.wanted = Some(batch.wanted.unwrap_or(false) || may_hear(asked));
                }
                for (level, way) in said(asked, *code).acknowledgements() {
                    let reply =
                        Reply { level: *level, code: *code, fault: fault.as_ref(), expected };
                    if self.acknowledge(&mut out, &opened, &reply, *way) {
                        answered.push((code.name(*level), owed.received));
                    }
                }
            }
            if outcome == Outcome::Busy(OnBusy::Close) {
                end = Some(End::Busy);
                break;
            }
            next = known_answer(&mut self.owed, &self.context);
        }
        if !out.is_empty()
            && let Some(end) = self.write(&out).await
        {
            return Some(end);
        }
        for (code, received) in answered {
            self.context.metrics.acks.count(code);
            self.context.metrics.ack_duration.record(clock::seconds_since(received));
        }
        end
    }

    /// What is expected of the sender next, now that it is known what came of the message.
    fn expected(&self, owed: &Owed, head: Option<&Head<'_>>, verdict: &Verdict) -> Option<i64> {
        let taken = matches!(verdict.answer, Some((Code::AA | Code::AE, _)));
        match (taken, head) {
            // It may be sent again, and is expected to be.
            (false, Some(head)) => {
                self.context.acknowledging.sequences.give_back(head).or(owed.expected)
            }
            _ => owed.expected,
        }
    }

    /// Writes an acknowledgement to where it goes; whether that is this connection.
    fn acknowledge(
        &mut self,
        out: &mut BytesMut,
        opened: &Opened<'_>,
        reply: &Reply<'_>,
        way: Way,
    ) -> bool {
        let Acknowledging { application, control_ids, .. } = &self.context.acknowledging;
        let write = |out: &mut BytesMut| {
            answer(out, opened, reply, &control_ids.next(), clock::now());
        };
        match (way, application) {
            (Way::ByFeed, ApplicationAck::None) => return false,
            (Way::ByFeed | Way::HereUnlessElsewhere, ApplicationAck::Connect(outbox)) => {
                let mut frame = BytesMut::with_capacity(256);
                framed(&mut frame, write);
                outbox.put(frame.freeze());
                return false;
            }
            (Way::ByFeed, ApplicationAck::SameConnection)
            | (Way::HereUnlessElsewhere, ApplicationAck::None | ApplicationAck::SameConnection)
            | (Way::Here, _) => {}
        }
        match &mut self.batch {
            Some(batch) => batch.answer.acknowledgements(1, write),
            None => framed(out, write),
        }
        true
    }

    /// Writes to the sender, who has so long to take it.
    async fn write(&mut self, out: &[u8]) -> Option<End> {
        match timeout(WRITE_TIMEOUT, self.wire.send(out)).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(End::Closed),
            Err(_) => Some(End::WriteTimeout),
        }
    }
}

enum Step {
    Answer(Outcome),
    Read(std::io::Result<usize>),
    Deadline,
}

/// Reads, once there is budget for what may come.
async fn read(
    wire: &mut Wire,
    buffer: &mut BytesMut,
    share: &mut Share,
    budget: &Budget,
) -> std::io::Result<usize> {
    // What a connection without budget may hold: a read or two.
    if buffer.len() > READ_BYTES {
        budget.grow(share, buffer.len() + READ_BYTES).await;
    }
    buffer.reserve(READ_BYTES.min(1024.max(buffer.len())));
    wire.read_buf(buffer).await
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}
