//! Several messages in one frame.
//!
//! Promises: each message is taken as if it had come alone, in its order, and one that is wrong
//! costs itself; a batch with a header is answered by one, in one frame, when all of it is answered;
//! counts that do not agree are told and cost nothing.
//! Knows nothing of: files.

use bytes::{Bytes, BytesMut};

use super::{End, Session};
use crate::clock;
use crate::feed::intake::{OwedState, miscount};
use crate::feed::mllp::acknowledge::{framed, whole_fields};
use crate::feed::mllp::batch::BatchAnswer;
use crate::parse::hl7::batch::{Piece, Pieces};
use crate::parse::hl7::tally::{Miscount, Tally};
use crate::verdict::{OnBusy, Outcome};

/// Most messages in one frame. Each is answered, and their answers are held until the last of them
/// is known; as many fit into a few MiB. A larger batch is for a folder, which has no such bound.
const BATCH_MESSAGES_MAX: usize = 10_000;

/// A batch that is being taken, and its answer so far.
#[derive(Default)]
pub(super) struct Batch {
    pub answer: BatchAnswer,
    /// Whether any of its messages may want an acknowledgement; none where it has no message.
    pub wanted: Option<bool>,
    /// Its headers and trailers, for people, where their counts do not agree.
    envelope: BytesMut,
    miscounted: bool,
}

impl Session {
    /// Several messages in one frame: with a header around them, one answer in one frame; without,
    /// each its own.
    pub(super) async fn batch(&mut self, frame: Bytes) -> Option<End> {
        let mut cut = Pieces::new(self.context.frame_bytes_max, false);
        cut.push(&frame);
        let pieces: Vec<Piece> = std::iter::from_fn(|| cut.next(true)).collect();
        let is_header =
            |piece: &Piece| matches!(piece, Piece::FileHeader(_) | Piece::BatchHeader(_));
        let enveloped = pieces.iter().any(is_header);
        if pieces.len() > BATCH_MESSAGES_MAX {
            self.context.metrics.frame_errors.count("oversize");
            let head = pieces.into_iter().find_map(|piece| match piece {
                Piece::Message(message) => Some(message),
                _ => None,
            });
            self.owe(OwedState::Known(Outcome::Oversize), head.unwrap_or_default(), 0, None);
            return None;
        }
        if enveloped {
            // What came before it is answered before it.
            if let Some(end) = self.settle().await {
                return Some(end);
            }
            self.batch = Some(Batch::default());
        }
        let mut tally = Tally::default();
        for piece in pieces {
            let wrong = tally.take(&piece);
            if let Some(end) = self.piece(piece, &wrong).await {
                return Some(end);
            }
            if self.end.is_some() {
                return None;
            }
        }
        let wrong = tally.end();
        if let Some(end) = self.around(None, &wrong).await {
            return Some(end);
        }
        self.answer_batch().await
    }

    /// One piece of a batch, and what it shows to be wrong with the counts.
    async fn piece(&mut self, piece: Piece, wrong: &[Miscount]) -> Option<End> {
        match piece {
            Piece::Message(message) | Piece::Stray(message) => {
                if let Some(end) = self.message(message).await {
                    return Some(end);
                }
            }
            Piece::Oversize(head) => {
                self.context.metrics.frame_errors.count("oversize");
                self.owe(OwedState::Known(Outcome::Oversize), whole_fields(&head), 0, None);
            }
            other => return self.around(Some(&other), wrong).await,
        }
        self.make_room().await
    }

    /// A header or a trailer, or the end of the batch: what is before it is answered before it.
    async fn around(&mut self, piece: Option<&Piece>, wrong: &[Miscount]) -> Option<End> {
        if let Some(end) = self.settle().await {
            return Some(end);
        }
        if let Some(batch) = &mut self.batch {
            batch.miscounted |= !wrong.is_empty();
            if let Some(bytes) = piece.and_then(Piece::envelope) {
                batch.envelope.extend_from_slice(bytes);
            }
            let ids = &self.context.acknowledging.control_ids;
            let charsets = &self.context.rules.charsets;
            batch.answer.around(piece, wrong, (ids, charsets), clock::now());
        }
        for one in wrong {
            if let Some(end) = self.miscount(one, piece).await {
                return Some(end);
            }
        }
        None
    }

    /// Without an answer the sender comes again, with all of it.
    async fn miscount(&mut self, wrong: &Miscount, piece: Option<&Piece>) -> Option<End> {
        let envelope = match &self.batch {
            Some(batch) => batch.envelope.clone().freeze(),
            // Without a header there is the trailer alone.
            None => piece.and_then(Piece::envelope).cloned().unwrap_or_default(),
        };
        match miscount(&self.context, &envelope, wrong, &self.turn()).await {
            Err(_) if self.context.on_busy == OnBusy::Close => Some(End::Busy),
            Ok(()) | Err(_) => None,
        }
    }

    /// Writes the answer to the batch, where its sender wants one.
    async fn answer_batch(&mut self) -> Option<End> {
        let batch = self.batch.take()?;
        // PROMISE-11: counts that do not agree are told also to who wants no acknowledgement.
        if batch.wanted == Some(false) && !batch.miscounted {
            return None;
        }
        let mut out = BytesMut::with_capacity(batch.answer.out.len() + 3);
        framed(&mut out, |out| out.extend_from_slice(&batch.answer.out));
        self.write(&out).await
    }
}
