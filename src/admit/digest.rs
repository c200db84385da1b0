//! When two messages are the same, and how the store looks things up without holding them.
//!
//! Promises: every digest is keyed, so that who has the store but not the key can neither
//! guess a patient number nor a message from it.
//! Knows nothing of: where the key is kept.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::consent;
use crate::event::{Event, Subject, VisitNumber};
use crate::parse::hl7::Message;
use crate::parse::hl7::name::MSH;
use crate::secret::{Key, write_hex};

use super::correlation::{Correlation, truncate};

/// A keyed digest, 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What stands for whom and what an event names, in the evidence and where things are looked up.
#[derive(Debug)]
pub struct Named {
    /// Its subject.
    pub subject: Digest,
    /// The same as text.
    pub shown: Arc<str>,
    /// Its visit (`visit.number`) as text, where it names one.
    pub visit: Option<Arc<str>>,
    /// What the evidence about it is found by (`audit::by`), once a route has asked for that: it is the
    /// same for all of them.
    pub keys: OnceLock<[i64; 2]>,
}

impl Named {
    /// Of an event.
    #[must_use]
    pub fn of(event: &Event, digests: &DigestKey) -> Self {
        let subject = digests.subject(&event.subject);
        let visit = visit_of(event).map(|number| digests.visit(number).to_string().into());
        Self { subject, shown: subject.to_string().into(), visit, keys: OnceLock::new() }
    }

    /// The same, of another subject.
    #[must_use]
    pub fn about(&self, subject: &Subject, digests: &DigestKey) -> Self {
        let subject = digests.subject(subject);
        let (shown, visit) = (subject.to_string().into(), self.visit.clone());
        Self { subject, shown, visit, keys: OnceLock::new() }
    }
}

/// The number of an event's visit.
#[must_use]
pub fn visit_of(event: &Event) -> Option<&str> {
    event.data.root().at("visit.number.value").and_then(|it| it.as_text())
}

/// The key of the store's digests. It stays the same for the life of a store.
#[derive(Clone)]
pub struct DigestKey(hmac::Key);

impl fmt::Debug for DigestKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("DigestKey(..)")
    }
}

/// Fields of MSH that differ when the same message is sent again: time (MSH-7) and sequence
/// number (MSH-13).
const LEFT_OUT: [usize; 2] = [7, 13];

impl DigestKey {
    /// Takes a key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, key.expose()))
    }

    /// What a message is looked up by.
    #[must_use]
    pub fn correlation(&self, correlation: &Correlation) -> Digest {
        self.labelled(b"correlation", correlation.bytes())
    }

    /// Sameness of content: segment ends and blank lines do not count, nor do MSH-7 and MSH-13.
    // PROMISE-3: what is compared is the content, not the control ID.
    #[must_use]
    pub fn content(&self, message: &Message<'_>) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"content");
        for segment in message.segments() {
            if segment.packed_name() == MSH {
                for number in 1..=segment.field_count() {
                    if !LEFT_OUT.contains(&number) {
                        context.update(segment.field(number).unwrap_or_default().as_bytes());
                        context.update(b"|");
                    }
                }
            } else {
                context.update(segment.line().as_bytes());
            }
            context.update(b"\r");
        }
        Digest(truncate(context.sign().as_ref()))
    }

    /// What a subject is looked up by.
    #[must_use]
    pub fn subject(&self, subject: &Subject) -> Digest {
        let value = subject.value.expose();
        self.parts([b"subject", subject.authority.as_bytes(), value.as_bytes()])
    }

    /// What a feed's memory is looked up by.
    #[must_use]
    pub fn kept(&self, kind: &str, key: &str) -> Digest {
        self.parts([b"kept", kind.as_bytes(), key.as_bytes()])
    }

    /// What stands for the key of a consent record in the evidence.
    #[must_use]
    pub fn consent(&self, key: &consent::Key) -> Digest {
        self.parts([b"consent", key.source.as_bytes(), key.id.as_bytes()])
    }

    /// What stands for a visit in the evidence.
    #[must_use]
    pub fn visit(&self, number: &str) -> Digest {
        self.parts([b"visit", b"", number.as_bytes()])
    }

    /// What stands for a transition of a subject's visit where it is remembered that it was told.
    #[must_use]
    pub fn transition(&self, subject: &Digest, visit: &VisitNumber, what: &str) -> Digest {
        let VisitNumber { of, authority, value } = visit;
        self.parts([
            b"transition",
            &subject.0,
            of.name().as_bytes(),
            authority.as_bytes(),
            value.expose().as_bytes(),
            what.as_bytes(),
        ])
    }

    /// Sameness of what is said of one subject: the same word of another gives another digest.
    #[must_use]
    pub fn described(&self, subject: &Digest, what: &str, words: &str) -> [u8; 8] {
        let Digest(full) = self.parts([what.as_bytes(), &subject.0, words.as_bytes()]);
        let short = full.first_chunk::<8>().copied().unwrap_or_default();
        // 0 is for what is not said.
        if short == [0; 8] { [1; 8] } else { short }
    }

    /// Sameness of bytes, for what is no message.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> Digest {
        self.labelled(b"bytes", bytes)
    }

    /// Sameness of a short text, such as a type and trigger.
    #[must_use]
    pub fn text(&self, text: &str) -> Digest {
        self.labelled(b"text", text.as_bytes())
    }

    /// That a record is what it was, for where it is not encrypted.
    #[must_use]
    pub fn record(&self, about: &[u8], bytes: &[u8]) -> Digest {
        self.parts([b"record", about, bytes])
    }

    /// A digest of several texts, each behind its length.
    fn parts<const N: usize>(&self, parts: [&[u8]; N]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Digest(truncate(context.sign().as_ref()))
    }

    fn labelled(&self, label: &[u8], bytes: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label);
        context.update(bytes);
        Digest(truncate(context.sign().as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::Charset;

    fn content(text: &str) -> Digest {
        let key = DigestKey::new(&Key::from_bytes(&[1; 32]).unwrap());
        key.content(&Message::parse(text.as_bytes(), Charset::Utf8).unwrap())
    }

    /// PROMISE-3
    #[test]
    fn only_time_sequence_and_line_ends_may_differ() {
        let first = content("MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5|7\rPID|1||X\r");
        assert_eq!(first, content("MSH|^~\\&|A|B|C|D|20260102||ADT^A01|1|P|2.5|8\rPID|1||X\r"));
        assert_eq!(first, content("MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5|7\r\n\nPID|1||X"));
        for other in [
            "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5|7\rPID|1||Y\r",
            "MSH|^~\\&|A|B|C|D|20260101||ADT^A02|1|P|2.5|7\rPID|1||X\r",
            "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5|7\rPID|1||X|\r",
            "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5|7\rPID|1||X\rZPD|1\r",
        ] {
            assert_ne!(first, content(other), "{other}");
        }
    }

    #[test]
    fn another_key_gives_another_digest() {
        let [one, two] = [1, 2].map(|byte| DigestKey::new(&Key::from_bytes(&[byte; 32]).unwrap()));
        assert_ne!(one.bytes(b"x"), two.bytes(b"x"));
        assert_ne!(one.bytes(b"x"), one.text("x"));
    }
}
