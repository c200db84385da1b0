//! Whether as many messages and batches came as their trailers say (BTS-1, FTS-1; chapter 2.10.3).
//!
//! Promises: what does not agree is told with places and numbers, never with values; a count that is
//! not there is not missed.
//! Knows nothing of: what is done about it.

use super::batch::Piece;

/// Counts what comes between headers and trailers, and compares it with what they say.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    in_file: bool,
    in_batch: bool,
    messages: u64,
    batches: u64,
}

/// What trailers and what came do not agree on. Numbers and places, never values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miscount {
    /// BTS-1 says another number of messages than came.
    #[error("BTS-1 says {said} messages, {came} came")]
    Messages {
        /// What BTS-1 says.
        said: u64,
        /// How many came.
        came: u64,
    },
    /// FTS-1 says another number of batches than came.
    #[error("FTS-1 says {said} batches, {came} came")]
    Batches {
        /// What FTS-1 says.
        said: u64,
        /// How many came.
        came: u64,
    },
    /// BTS-1 or FTS-1 is no number.
    #[error("{place} is no number")]
    NoNumber {
        /// Which one.
        place: &'static str,
    },
    /// A batch or a file begins, and its trailer does not come.
    #[error("{place} is missing, so that nobody knows whether all came")]
    NoTrailer {
        /// Which one.
        place: &'static str,
    },
    /// A trailer comes where nothing has begun.
    #[error("{place} comes where nothing has begun")]
    NoHeader {
        /// Which one.
        place: &'static str,
    },
}

impl Miscount {
    /// The segment or field that is wrong.
    #[must_use]
    pub const fn place(&self) -> &'static str {
        match self {
            Self::Messages { .. } => "BTS-1",
            Self::Batches { .. } => "FTS-1",
            Self::NoNumber { place } | Self::NoTrailer { place } | Self::NoHeader { place } => {
                place
            }
        }
    }
}

impl Tally {
    /// Takes a piece; what is wrong with the counts by then. One piece can show two things wrong: a
    /// file that begins may end a batch and a file before it.
    pub fn take(&mut self, piece: &Piece) -> Vec<Miscount> {
        let mut wrong = Vec::new();
        match piece {
            Piece::FileHeader(_) => {
                wrong = self.end();
                self.in_file = true;
            }
            Piece::BatchHeader(_) => {
                wrong.extend(self.end_batch());
                self.in_batch = true;
            }
            Piece::Message(_) | Piece::Oversize(_) => self.messages += 1,
            Piece::BatchTrailer(bytes) => {
                let (came, begun) = (self.messages, self.in_batch);
                self.messages = 0;
                self.in_batch = false;
                self.batches += 1;
                // Without BHS a count is still a count: some senders leave the header away.
                wrong.extend(match count(bytes) {
                    Count::Said(said) if said != came => Some(Miscount::Messages { said, came }),
                    Count::Wrong => Some(Miscount::NoNumber { place: "BTS-1" }),
                    Count::Unsaid if !begun => Some(Miscount::NoHeader { place: "BTS" }),
                    Count::Said(_) | Count::Unsaid => None,
                });
            }
            Piece::FileTrailer(bytes) => {
                wrong.extend(self.end_batch());
                let (came, begun) = (self.batches, self.in_file);
                (self.batches, self.in_file) = (0, false);
                wrong.extend(match count(bytes) {
                    Count::Said(said) if said != came => Some(Miscount::Batches { said, came }),
                    Count::Wrong => Some(Miscount::NoNumber { place: "FTS-1" }),
                    Count::Unsaid if !begun => Some(Miscount::NoHeader { place: "FTS" }),
                    Count::Said(_) | Count::Unsaid => None,
                });
            }
            Piece::Stray(_) => {}
        }
        wrong
    }

    /// Nothing more comes.
    pub fn end(&mut self) -> Vec<Miscount> {
        let mut wrong: Vec<Miscount> = self.end_batch().into_iter().collect();
        if std::mem::take(&mut self.in_file) {
            wrong.push(Miscount::NoTrailer { place: "FTS" });
        }
        self.batches = 0;
        wrong
    }

    fn end_batch(&mut self) -> Option<Miscount> {
        let begun = std::mem::take(&mut self.in_batch);
        // Messages of a file without batches are one.
        if begun || self.messages > 0 && self.in_file {
            self.batches += 1;
        }
        self.messages = 0;
        begun.then_some(Miscount::NoTrailer { place: "BTS" })
    }
}

enum Count {
    Unsaid,
    Said(u64),
    Wrong,
}

/// BTS-1 or FTS-1.
fn count(trailer: &[u8]) -> Count {
    let line = trailer.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let Some(separator) = line.get(3) else { return Count::Unsaid };
    let field = line.split(|byte| byte == separator).nth(1).unwrap_or_default().trim_ascii();
    if field.is_empty() {
        return Count::Unsaid;
    }
    let text = std::str::from_utf8(field).unwrap_or_default();
    text.parse().map_or(Count::Wrong, Count::Said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::batch::tests::{FILE, cut};

    fn miscounts(bytes: &[u8]) -> Vec<String> {
        let mut tally = Tally::default();
        let mut wrong = Vec::new();
        for piece in cut(bytes, &[usize::MAX], 1000, false) {
            wrong.extend(tally.take(&piece));
        }
        wrong.extend(tally.end());
        wrong.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn counts_that_do_not_agree_are_told_and_counts_that_are_not_there_are_not() {
        assert_eq!(miscounts(FILE), Vec::<String>::new());
        for (text, wanted) in [
            ("MSH|^~\\&|1\rMSH|^~\\&|2\r", &[][..]),
            ("BHS|^~\\&\rMSH|^~\\&|1\rBTS\r", &[]),
            ("BHS|^~\\&\rMSH|^~\\&|1\rBTS|2\r", &["BTS-1 says 2 messages, 1 came"]),
            ("MSH|^~\\&|1\rBTS|2\r", &["BTS-1 says 2 messages, 1 came"]),
            ("BHS|^~\\&\rBTS|0\r", &[]),
            (
                "BHS|^~\\&\rMSH|^~\\&|1\r",
                &["BTS is missing, so that nobody knows whether all came"],
            ),
            ("FHS|^~\\&\rMSH|^~\\&|1\rFTS|1\r", &[]),
            (
                "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\rBTS|x\rFTS|3\r",
                &["BTS-1 is no number", "FTS-1 says 3 batches, 1 came"],
            ),
            (
                "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\r",
                &[
                    "BTS is missing, so that nobody knows whether all came",
                    "FTS is missing, so that nobody knows whether all came",
                ],
            ),
            ("FTS\r", &["FTS comes where nothing has begun"]),
        ] {
            assert_eq!(miscounts(text.as_bytes()), wanted, "{text:?}");
        }
    }
}
