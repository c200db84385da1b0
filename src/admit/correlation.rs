//! How a message and its events are named.
//!
//! Promises: a name is derived from what the sender says and from nothing else, so that it is
//! the same after a replay, a crash, a restore and on another machine; it holds nothing of the
//! message in clear, so that it can stand in a log (PROMISE-10).
//! Knows nothing of: whether a message was seen before; the epoch is handed in.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use crate::event::{EventId, EventType};
use crate::secret::write_hex;

/// What a message is recognized by: sender domain, MSH-3, MSH-4 and MSH-10, or what the feed
/// is configured to. Control IDs are only unique for a sender and a while, hence the epoch of
/// [`CorrelationId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Correlation([u8; 16]);

impl Correlation {
    /// Derives it from the sender domain and the values of the feed's correlation paths.
    #[must_use]
    pub fn of<'v>(domain: &'v str, values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"tidegate correlation 1");
        for part in std::iter::once(domain).chain(values) {
            // The length keeps `ab` + `c` apart from `a` + `bc`.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Self(truncate(context.finish().as_ref()))
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From the bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Correlation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

/// The first 16 bytes of a digest: 128 bits, enough that no two messages of one hospital meet.
pub(super) fn truncate(digest: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    for (short, byte) in short.iter_mut().zip(digest) {
        *short = *byte;
    }
    short
}

/// Names one message for good: what it is recognized by, and which of those it is, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CorrelationId {
    /// What the message is recognized by.
    pub correlation: Correlation,
    /// Which message of those, from 1. Another than the first is a conflict, or came after the
    /// sender's counter had wrapped.
    pub epoch: u32,
}

impl CorrelationId {
    /// Reads `9f86d081884c7d659a2feaa0c55ad015-1`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (base, epoch) = text.split_once('-')?;
        let mut bytes = [0; 16];
        if base.len() != 32 || !base.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(base.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        let epoch = epoch.parse().ok().filter(|epoch| *epoch > 0)?;
        Some(Self { correlation: Correlation(bytes), epoch })
    }

    /// Names an event of the message: by what it says and where it stands, so that a mapping
    /// that makes fewer or more events does not shift the others.
    #[must_use]
    pub fn event(&self, kind: EventType, place: &str) -> EventId {
        EventId(format!("{self}.{kind}.{place}").into())
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}-{}", self.correlation, self.epoch)
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROMISE-2
    #[test]
    fn a_message_and_its_events_have_the_same_names_for_good() {
        let id =
            CorrelationId { correlation: Correlation::of("adt", ["EHR", "NORTH", "1"]), epoch: 1 };
        // A changed derivation would publish everything again under other IDs after an upgrade.
        assert_eq!(id.to_string(), "4bd53e814250781510e49eea6c3c37b5-1");
        assert_eq!(CorrelationId::read(&id.to_string()), Some(id));
        let event = id.event(EventType::ObservationReported, "obr2");
        assert_eq!(*event.0, *format!("{id}.observation.reported.obr2"));
    }

    #[test]
    fn what_stands_in_another_field_is_another_message() {
        let one = Correlation::of("adt", ["AB", "C", "1"]);
        assert_ne!(one, Correlation::of("adt", ["A", "BC", "1"]));
        assert_ne!(one, Correlation::of("lab", ["AB", "C", "1"]));
        assert_eq!(one, Correlation::of("adt", ["AB", "C", "1"]));
    }

    #[test]
    fn what_is_no_correlation_id_is_not_read() {
        let text = "4bd53e814250781510e49eea6c3c37b5";
        for wrong in [text.to_owned(), format!("{text}-0"), format!("{text}-x"), "-1".to_owned()] {
            assert_eq!(CorrelationId::read(&wrong), None, "{wrong}");
        }
    }
}
