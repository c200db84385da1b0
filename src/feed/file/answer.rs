//! The answer to a file of batches, written as the file is read.
//!
//! Promises: no more of it is held than a piece; one that cannot be written costs no message.
//! Knows nothing of: where it lies in the end.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};

use crate::clock;
use crate::feed::intake::FeedContext;
use crate::feed::mllp::acknowledge::Reply;
use crate::feed::mllp::batch::BatchAnswer;
use crate::feed::mllp::form::{Opened, answer};
use crate::feed::mllp::mode::{AckMode, asked, may_hear, said};
use crate::parse::hl7::batch::Piece;
use crate::parse::hl7::tally::Miscount;
use crate::verdict::{Code, Fault};

/// Bytes that are held before they are written.
const HELD_BYTES: usize = 64 << 10;

/// An answer that is being written; nothing where the file has no header that asks for one.
#[derive(Debug)]
pub(super) struct Answer {
    path: PathBuf,
    file: Option<File>,
    answer: BatchAnswer,
    /// Whether any message may want an acknowledgement; none where there is no message.
    wanted: Option<bool>,
    miscounted: bool,
    failed: bool,
}

impl Answer {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            answer: BatchAnswer::default(),
            wanted: None,
            miscounted: false,
            failed: false,
        }
    }

    /// A header or a trailer, or with none of them the end.
    pub fn around(&mut self, piece: Option<&Piece>, wrong: &[Miscount], context: &FeedContext) {
        self.miscounted |= !wrong.is_empty();
        if matches!(piece, Some(Piece::FileHeader(_) | Piece::BatchHeader(_)))
            && self.file.is_none()
        {
            match File::create(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(_) => self.failed = true,
            }
        }
        if self.file.is_none() {
            return;
        }
        let by = (&context.acknowledging.control_ids, &context.rules.charsets);
        self.answer.around(piece, wrong, by, clock::now());
        self.flush(HELD_BYTES);
    }

    /// The acknowledgements that a message asks for.
    pub fn message(
        &mut self,
        message: &Bytes,
        code: Code,
        fault: Option<&Fault>,
        context: &FeedContext,
    ) {
        if self.file.is_none() {
            return;
        }
        let opened = Opened::new(message, &context.rules.charsets);
        let asked = asked(AckMode::ByMessage, opened.head().as_deref());
        self.wanted = Some(self.wanted.unwrap_or(false) || may_hear(asked));
        for (level, _) in said(asked, code).acknowledgements() {
            let reply = Reply { level: *level, code, fault, expected: None };
            let ids = &context.acknowledging.control_ids;
            let write = |out: &mut BytesMut| {
                answer(out, &opened, &reply, &ids.next(), clock::now());
            };
            self.answer.acknowledgements(1, write);
        }
        self.flush(HELD_BYTES);
    }

    /// Ends it: whether there is one to be put beside the file. An error where there should be one.
    pub fn end(mut self) -> std::io::Result<bool> {
        self.flush(0);
        let wanted = self.wanted != Some(false) || self.miscounted;
        match &self.file {
            _ if self.failed => Err(std::io::ErrorKind::WriteZero.into()),
            Some(file) if wanted => file.sync_all().map(|()| true),
            Some(_) => std::fs::remove_file(&self.path).map(|()| false),
            None => Ok(false),
        }
    }

    fn flush(&mut self, above: usize) {
        if self.answer.out.len() <= above {
            return;
        }
        let bytes = self.answer.out.split();
        if let Some(file) = &mut self.file {
            self.failed |= file.write_all(&bytes).is_err();
        }
    }
}
