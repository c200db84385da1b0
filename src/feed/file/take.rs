//! One file: its messages, each in its turn.
//!
//! Promises: the file is read in pieces, whatever its size; a message is handed on when those before
//! it are under way, and is answered after its commit (PROMISE-1); nothing is taken behind a message
//! that the store could not take, until it can (PROMISE-4); of a file that changes under our hands
//! its end is not taken.
//! Knows nothing of: where the file goes then.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::answer::Answer;
use super::aside::Folders;
use super::look::{Mark, Ready};
use crate::admit::Novelty;
use crate::admit::sender::Speaker;
use crate::clock;
use crate::feed::intake::{FeedContext, Owed, OwedState, count, miscount, next_answer, submit};
use crate::feed::mllp::acknowledge::whole_fields;
use crate::feed::mllp::budget::Share;
use crate::parse::hl7::batch::{Piece, Pieces, apart_in_utf16};
use crate::parse::hl7::tally::{Miscount, Tally};
use crate::store::Turn;
use crate::verdict::{Code, Fault, Level, Outcome, verdict};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// How long a file waits before it is looked whether the store takes messages again.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// Most reasons that are written down of one file. With more, the first tell the story.
const REASONS_MAX: usize = 1_000;

/// What came of a file.
pub(super) enum Taken {
    /// Every message of it is answered.
    Whole(Report),
    /// It is not what it was when it was found whole.
    Changed,
    /// The daemon stops; what was not taken is taken at the next start.
    Stopped,
    /// It cannot be opened or read.
    Unreadable(std::io::Error),
}

/// What came of the messages of a file. Numbers and places, never values.
#[derive(Debug, Default)]
pub struct Report {
    messages: u64,
    refused: u64,
    reasons: Vec<String>,
    more: u64,
    /// Whether an answer was written.
    pub answered: bool,
}

impl Report {
    /// Of a file that cannot be read.
    #[must_use]
    pub fn unreadable(kind: std::io::ErrorKind) -> Self {
        Self { reasons: vec![format!("it cannot be read: {kind}")], ..Self::default() }
    }

    /// Why the file is not done; nothing where it is.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if self.reasons.is_empty() {
            return None;
        }
        let taken = self.messages - self.refused;
        let mut text = format!("{taken} of {} messages taken\n", self.messages);
        for reason in &self.reasons {
            text.push_str(reason);
            text.push('\n');
        }
        if self.more > 0 {
            // A String takes every line.
            writeln!(text, "and {} more", self.more).ok();
        }
        Some(text)
    }

    fn add(&mut self, reason: String) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        } else {
            self.more += 1;
        }
    }

    fn refuse(&mut self, number: u64, code: Code, fault: Option<&Fault>) {
        self.refused += 1;
        let mut text = format!("message {number}: {}", code.name(Level::Application));
        if let Some(fault) = fault {
            write!(text, " {} {}", fault.code, fault.text).ok();
            if let Some(spot) = &fault.spot {
                write!(text, ": {spot}").ok();
            }
        }
        self.add(text);
    }
}

/// Why a file is not taken to its end.
enum Cut {
    Changed,
    Stopped,
    Unreadable(std::io::Error),
}

/// A file that is being taken.
pub(super) struct Taking<'f> {
    context: &'f FeedContext,
    folders: &'f Folders,
    name: &'f OsStr,
    mark: Mark,
    owed: VecDeque<Owed>,
    turn: Turn,
    share: Share,
    answer: Answer,
    tally: Tally,
    /// Headers and trailers so far, for people, where their counts do not agree.
    envelope: BytesMut,
    enveloped: bool,
    report: Report,
}

impl<'f> Taking<'f> {
    pub fn new(context: &'f FeedContext, folders: &'f Folders, file: &'f Ready) -> Self {
        Self {
            context,
            folders,
            name: &file.name,
            mark: file.mark,
            owed: VecDeque::new(),
            turn: Turn::default(),
            share: Share::default(),
            answer: Answer::new(folders.answer(&file.name)),
            tally: Tally::default(),
            envelope: BytesMut::new(),
            enveloped: false,
            report: Report::default(),
        }
    }

    /// Takes it.
    pub async fn run(mut self) -> Taken {
        match self.read().await {
            Ok(()) => {}
            Err(Cut::Changed) => return Taken::Changed,
            Err(Cut::Stopped) => return Taken::Stopped,
            Err(Cut::Unreadable(error)) => return Taken::Unreadable(error),
        }
        if self.report.messages == 0 && !self.enveloped {
            self.report.add("it holds no message".to_owned());
        }
        match tokio::task::block_in_place(|| self.answer.end()) {
            Ok(answered) => self.report.answered = answered,
            Err(error) => {
                let feed = &self.context.rules.feed;
                tracing::error!(%feed, kind = %error.kind(), "the answer to a file could not be written");
                self.report.add(format!("its answer could not be written: {}", error.kind()));
            }
        }
        Taken::Whole(self.report)
    }

    async fn read(&mut self) -> Result<(), Cut> {
        let mut file = self.open().await?;
        let mut pieces = Pieces::new(self.context.frame_bytes_max, true);
        let mut chunk = BytesMut::with_capacity(READ_BYTES);
        loop {
            if *self.context.stopping.borrow() {
                return Err(Cut::Stopped);
            }
            self.afford(pieces.held() + READ_BYTES).await?;
            chunk.clear();
            let read = file.read_buf(&mut chunk).await.map_err(Cut::Unreadable)?;
            if read == 0 {
                break;
            }
            self.context.metrics.bytes.increment(read as u64);
            pieces.push(&chunk);
            while let Some(piece) = pieces.next(false) {
                self.piece(piece).await?;
            }
        }
        // The last message of a file that still grows is not whole.
        let now = file.metadata().await.map_err(Cut::Unreadable)?;
        if Mark::of(&now) != self.mark {
            self.settle().await?;
            return Err(Cut::Changed);
        }
        while let Some(piece) = pieces.next(true) {
            self.piece(piece).await?;
        }
        let wrong = self.tally.end();
        self.around(None, &wrong).await
    }

    /// Waits until so many bytes may be held. What is under way holds some, and gives them back when
    /// it is answered.
    async fn afford(&mut self, bytes: usize) -> Result<(), Cut> {
        loop {
            let (context, owed) = (self.context, &mut self.owed);
            let is_answerable = !owed.is_empty();
            let afforded = tokio::select! {
                biased;
                () = context.budget.grow(&mut self.share, bytes) => true,
                // What it is stays known, and is taken next.
                _ = next_answer(owed, context), if is_answerable => false,
            };
            if afforded {
                return Ok(());
            }
            self.first().await?;
        }
    }

    /// Opens it, if it is what was found: no link, no other file by its name.
    async fn open(&mut self) -> Result<tokio::fs::File, Cut> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let path = self.folders.waiting(self.name);
        let opened = tokio::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).await;
        let file = match opened {
            Ok(file) => file,
            // Somebody took it away again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Cut::Changed),
            Err(error) => return Err(Cut::Unreadable(error)),
        };
        let found = file.metadata().await.map_err(Cut::Unreadable)?;
        if Mark::of(&found) == self.mark { Ok(file) } else { Err(Cut::Changed) }
    }

    async fn piece(&mut self, piece: Piece) -> Result<(), Cut> {
        let wrong = self.tally.take(&piece);
        match piece {
            Piece::Message(message) => self.message(message).await,
            Piece::Stray(bytes) => {
                for message in apart_in_utf16(&bytes).unwrap_or_else(|| vec![bytes]) {
                    self.message(message).await?;
                }
                Ok(())
            }
            Piece::Oversize(head) => {
                self.context.metrics.frame_errors.count("oversize");
                self.owe(OwedState::Known(Outcome::Oversize), whole_fields(&head), 0);
                self.make_room().await
            }
            other => self.around(Some(&other), &wrong).await,
        }
    }

    async fn message(&mut self, message: Bytes) -> Result<(), Cut> {
        let (state, unmapped) =
            submit(self.context, &Speaker::default(), &message, &self.turn).await;
        let busy = matches!(state, OwedState::Known(Outcome::Busy(_)));
        self.owe(state, message, unmapped);
        if busy { self.settle().await } else { self.make_room().await }
    }

    fn owe(&mut self, state: OwedState, frame: Bytes, unmapped: usize) {
        let share = self.share.split(frame.len());
        let received = clock::monotonic();
        self.owed.push_back(Owed {
            state,
            frame,
            unmapped,
            expected: None,
            received,
            _share: share,
        });
    }

    /// A header or a trailer, or the end: what is before it is answered before it.
    async fn around(&mut self, piece: Option<&Piece>, wrong: &[Miscount]) -> Result<(), Cut> {
        self.settle().await?;
        if let Some(bytes) = piece.and_then(Piece::envelope) {
            self.enveloped = true;
            self.keep(bytes);
        }
        for one in wrong {
            self.report.add(format!("{one}; what came is taken"));
            let envelope = self.envelope.clone().freeze();
            while miscount(self.context, &envelope, one, &self.turn).await.is_err() {
                self.wait().await?;
            }
        }
        tokio::task::block_in_place(|| self.answer.around(piece, wrong, self.context));
        Ok(())
    }

    /// Keeps a header or trailer, up to a bound: of a file of many batches, the last ones.
    fn keep(&mut self, bytes: &Bytes) {
        if self.envelope.len() + bytes.len() > READ_BYTES {
            self.envelope.clear();
        }
        self.envelope
            .extend_from_slice(bytes.get(..READ_BYTES.min(bytes.len())).unwrap_or_default());
    }

    async fn make_room(&mut self) -> Result<(), Cut> {
        while self.owed.len() >= self.context.pipeline_max {
            self.first().await?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Cut> {
        while !self.owed.is_empty() {
            self.first().await?;
        }
        Ok(())
    }

    /// What came of the oldest message that is under way.
    async fn first(&mut self) -> Result<(), Cut> {
        let outcome = next_answer(&mut self.owed, self.context).await;
        let verdict = verdict(&outcome);
        if matches!(outcome, Outcome::Busy(_)) {
            count(self.context, &outcome, verdict.reason, verdict.severity);
            return self.again().await;
        }
        let Some(owed) = self.owed.pop_front() else { return Ok(()) };
        count(self.context, &outcome, verdict.reason, verdict.severity);
        if matches!(outcome, Outcome::Taken(_, Novelty::New { .. })) {
            self.context.metrics.unmapped.increment(owed.unmapped as u64);
        }
        self.report.messages += 1;
        let Some((code, fault)) = verdict.answer else { return Ok(()) };
        if code != Code::AA {
            self.report.refuse(self.report.messages, code, fault.as_ref());
        }
        let fault = fault.as_ref();
        tokio::task::block_in_place(|| {
            self.answer.message(&owed.frame, code, fault, self.context);
        });
        Ok(())
    }

    /// The store could not take a message, nor any behind it: when it can, all of them are handed on
    /// again, in their order.
    // PROMISE-4
    async fn again(&mut self) -> Result<(), Cut> {
        self.wait().await?;
        for owed in &mut self.owed {
            let (state, unmapped) =
                submit(self.context, &Speaker::default(), &owed.frame, &self.turn).await;
            let busy = matches!(state, OwedState::Known(Outcome::Busy(_)));
            (owed.state, owed.unmapped) = (state, unmapped);
            if busy {
                break;
            }
        }
        Ok(())
    }

    /// Waits until the store takes messages, with a turn that nothing was refused in.
    async fn wait(&mut self) -> Result<(), Cut> {
        let mut stopping = self.context.stopping.clone();
        loop {
            let stopped = timeout(BUSY_PAUSE, stopping.wait_for(|stopping| *stopping)).await;
            if stopped.is_ok() {
                return Err(Cut::Stopped);
            }
            if self.context.journal.busy().is_none() {
                self.turn = Turn::default();
                return Ok(());
            }
        }
    }
}
