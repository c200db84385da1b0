//! The answer to a batch: `FHS BHS MSH.. BTS FTS` around the acknowledgements of its messages
//! (chapter 2.10.3).
//!
//! Promises: a header for each header that came and a trailer for each header, with the counts of
//! what is in the answer; what is echoed can hold neither a segment end nor a delimiter
//! (PROMISE-11).
//! Knows nothing of: which messages are acknowledged; that is `mode`.

use bytes::BytesMut;
use jiff::Timestamp;

use super::acknowledge::{ControlIds, Segment, plain, written_at};
use crate::parse::hl7::batch::{Piece, envelope};
use crate::parse::hl7::tally::Miscount;
use crate::parse::hl7::{Charsets, Delimiters, Head};

/// An answer that is being written.
#[derive(Debug, Default)]
pub struct BatchAnswer {
    /// The bytes so far; who writes a file takes them out now and then.
    pub out: BytesMut,
    /// Delimiters of FHS and of BHS, while they are open.
    file: Option<Delimiters>,
    batch: Option<Delimiters>,
    acknowledged: u64,
    batches: u64,
}

impl BatchAnswer {
    /// A header or a trailer came, or with none of them the end; with what is wrong about what it ends.
    /// Headers are read by the feed's character sets.
    pub fn around(
        &mut self,
        piece: Option<&Piece>,
        wrong: &[Miscount],
        (ids, charsets): (&ControlIds, &Charsets),
        now: Timestamp,
    ) {
        match piece {
            Some(Piece::FileHeader(header)) => {
                self.file_trailer(wrong);
                let header = envelope(header, charsets).ok();
                self.file_header(header.as_ref(), &ids.next(), now);
            }
            Some(Piece::BatchHeader(header)) => {
                self.batch_trailer(wrong);
                let header = envelope(header, charsets).ok();
                self.batch_header(header.as_ref(), &ids.next(), now);
            }
            Some(Piece::BatchTrailer(_)) => self.batch_trailer(wrong),
            Some(Piece::FileTrailer(_)) | None => {
                self.batch_trailer(wrong);
                self.file_trailer(wrong);
            }
            Some(Piece::Message(_) | Piece::Oversize(_) | Piece::Stray(_)) => {}
        }
    }

    /// A file begins; one before it that did not end does now.
    fn file_header(&mut self, header: Option<&Head<'_>>, control_id: &str, now: Timestamp) {
        self.file_trailer(&[]);
        self.file = Some(self.header(b"FHS", header, control_id, now));
    }

    /// A batch begins, and one before it ends.
    fn batch_header(&mut self, header: Option<&Head<'_>>, control_id: &str, now: Timestamp) {
        self.batch_trailer(&[]);
        self.batch = Some(self.header(b"BHS", header, control_id, now));
    }

    /// Adds what `write` writes: so many acknowledgements.
    pub fn acknowledgements(&mut self, count: u64, write: impl FnOnce(&mut BytesMut)) {
        self.acknowledged += count;
        write(&mut self.out);
    }

    /// The batch ends, with what is wrong about it (BTS-2).
    fn batch_trailer(&mut self, wrong: &[Miscount]) {
        if let Some(delimiters) = self.batch.take() {
            let count = self.acknowledged;
            self.trailer(b"BTS", &delimiters, count, wrong);
            self.batches += 1;
        } else if self.acknowledged > 0 {
            self.batches += 1;
        }
        self.acknowledged = 0;
    }

    /// The file ends, with what is wrong about it (FTS-2).
    fn file_trailer(&mut self, wrong: &[Miscount]) {
        self.batch_trailer(&[]);
        if let Some(delimiters) = self.file.take() {
            let count = self.batches;
            self.trailer(b"FTS", &delimiters, count, wrong);
        }
        self.batches = 0;
    }

    /// FHS or BHS: application and facility swapped, field 12 names the one that is answered.
    fn header(
        &mut self,
        name: &[u8],
        head: Option<&Head<'_>>,
        id: &str,
        now: Timestamp,
    ) -> Delimiters {
        let delimiters = head.map_or_else(Delimiters::default, |head| head.delimiters);
        let encoding = head.map_or(&b"^~\\&"[..], |head| head.field(2));
        let echo = |field| head.map_or(&b""[..], |head| head.echo(field));
        let mut segment = Segment { out: &mut self.out, separator: delimiters.field };
        segment.begin(name);
        segment.field(encoding);
        for swapped in [5, 6, 3, 4] {
            segment.field(echo(swapped));
        }
        segment.field(written_at(now).as_bytes());
        for _ in 8..=10 {
            segment.field(b"");
        }
        segment.field(id.as_bytes());
        segment.field(echo(11));
        segment.end();
        delimiters
    }

    fn trailer(&mut self, name: &[u8], delimiters: &Delimiters, count: u64, wrong: &[Miscount]) {
        let mut segment = Segment { out: &mut self.out, separator: delimiters.field };
        segment.begin(name);
        segment.field(count.to_string().as_bytes());
        if !wrong.is_empty() {
            let texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            segment.field(plain(&texts.join("; "), delimiters).as_bytes());
        }
        segment.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::Charset;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn header(text: &[u8]) -> Option<Head<'_>> {
        envelope(text, &Charsets::from(Charset::Utf8)).ok()
    }

    fn text(answer: &BatchAnswer) -> String {
        String::from_utf8_lossy(&answer.out).replace('\r', "\n")
    }

    #[test]
    fn a_batch_is_answered_by_a_batch_that_names_it_and_counts_its_acknowledgements() {
        let mut answer = BatchAnswer::default();
        answer.file_header(header(b"FHS|^~\\&|A|B|C|D|2026||name||F1\r").as_ref(), "ID-1", NOW);
        answer.batch_header(header(b"BHS|^~\\&|A|B|C|D|2026||name||B1\r").as_ref(), "ID-2", NOW);
        answer.acknowledgements(2, |out| out.extend_from_slice(b"(two)\r"));
        answer.batch_trailer(&[Miscount::Messages { said: 3, came: 2 }]);
        answer.batch_header(header(b"BHS$*@!%\r").as_ref(), "ID-3", NOW);
        answer.file_trailer(&[]);
        assert_eq!(
            text(&answer),
            "FHS|^~\\&|C|D|A|B|19700101000000.000+0000||||ID-1|F1\n\
             BHS|^~\\&|C|D|A|B|19700101000000.000+0000||||ID-2|B1\n\
             (two)\n\
             BTS|2|BTS-1 says 3 messages, 2 came\n\
             BHS$*@!%$$$$$19700101000000.000+0000$$$$ID-3$\n\
             BTS$0\n\
             FTS|2\n"
        );
    }

    /// PROMISE-11
    #[test]
    fn what_cannot_be_echoed_is_left_empty() {
        let mut answer = BatchAnswer::default();
        let unprintable = header(b"BHS|^~\\&|A\x0bX||||2026||||B\x1c1");
        answer.batch_header(unprintable.as_ref(), "ID-1", NOW);
        answer.batch_trailer(&[]);
        assert_eq!(text(&answer), "BHS|^~\\&|||||19700101000000.000+0000||||ID-1|\nBTS|0\n");
        let mut answer = BatchAnswer::default();
        answer.batch_header(header(b"BHS|||no delimiters").as_ref(), "ID-1", NOW);
        assert!(text(&answer).starts_with("BHS|^~\\&|||||"));
    }

    #[test]
    fn names_of_a_header_are_divided_where_its_characters_are() {
        let sjis = Charset::Other(encoding_rs::SHIFT_JIS);
        let always = Charsets { always: Some(sjis), ..Charsets::from(Charset::Utf8) };
        // The second byte of the letter is a pipe; behind a mark it is UTF-8, whatever the feed says, and
        // the last byte of the letter is no first one of Shift-JIS.
        let marked = "\u{feff}BHS|^~\\&|\u{c1}|H|C|D|2026||||B1".as_bytes();
        for (came, charsets, letter) in [
            (&b"BHS|^~\\&|\x83\x7c|H|C|D|2026||||B1"[..], &Charsets::from(sjis), &b"\x83\x7c"[..]),
            (b"BHS|^~\\&|\x83\x7c|H|C|D|2026||||B1", &always, b"\x83\x7c"),
            (marked, &always, "\u{c1}".as_bytes()),
        ] {
            let mut answer = BatchAnswer::default();
            answer.batch_header(envelope(came, charsets).ok().as_ref(), "ID-1", NOW);
            let wanted =
                [&b"BHS|^~\\&|C|D|"[..], letter, b"|H|19700101000000.000+0000||||ID-1|B1\r"];
            assert_eq!(answer.out, wanted.concat(), "{came:?}");
        }
    }
}
