//! The sequence number protocol (MSH-13 and MSA-4; chapter 2.10.1).
//!
//! Promises: the answer to a message with a number says which is expected next; a message that is
//! not taken is expected again; how many senders are followed has a bound.
//! Knows nothing of: what was taken before the daemon started. Then the first number that comes is
//! the first, as the standard has it; what is sent twice is recognized by its control ID, not here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::parse::hl7::Head;
use crate::parse::hl7::head::skip_lead;

/// Most senders of a feed, by MSH-3 and MSH-4, whose numbers are followed. Those beyond are answered
/// as if each of their messages were the first.
const SENDERS_MAX: usize = 1_024;
/// Longest MSH-3 and MSH-4 together, in bytes, that a sender is known by.
const SENDER_BYTES_MAX: usize = 512;

/// What a feed's `sequence_numbers` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// A message behind a gap is taken; the gap is counted.
    Answer,
    /// It is refused, as the protocol has it.
    Require,
}

/// What a message's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has none.
    None,
    /// There is nothing in the message but the question, which number is expected (0), or the wish
    /// that it be the next that comes (-1).
    Link,
    /// It is the expected one, or an earlier one again.
    Follows,
    /// Numbers are missing before it.
    Gap,
}

/// Which numbers are expected of the senders of a feed.
#[derive(Debug)]
pub struct Sequences {
    on_gap: OnGap,
    next: Mutex<HashMap<Vec<u8>, i64>>,
}

impl Sequences {
    /// Nothing is expected of anybody yet.
    #[must_use]
    pub fn new(on_gap: OnGap) -> Self {
        Self { on_gap, next: Mutex::default() }
    }

    /// Whether a message with missing numbers before it is refused.
    #[must_use]
    pub fn refuses(&self, step: Step) -> bool {
        step == Step::Gap && self.on_gap == OnGap::Require
    }

    /// Takes note of a message's number, and gives what is expected behind it (MSA-4).
    pub fn take(&self, head: &Head<'_>, message: &[u8]) -> (Step, Option<i64>) {
        let Some(number) = number(head) else { return (Step::None, None) };
        let alone = if is_header_alone(message) { Step::Link } else { Step::Follows };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender(head);
        let known = next.get(&sender).copied();
        match (number, known) {
            (-1, _) => {
                next.remove(&sender);
                (alone, Some(-1))
            }
            (0, known) => (alone, Some(known.unwrap_or(-1))),
            (number, Some(expected)) if number < expected => (Step::Follows, Some(expected)),
            (number, Some(expected)) if number > expected && self.on_gap == OnGap::Require => {
                (Step::Gap, Some(expected))
            }
            (number, known) => {
                let behind = number.saturating_add(1);
                if known.is_some() || next.len() < SENDERS_MAX && sender.len() <= SENDER_BYTES_MAX {
                    next.insert(sender, behind);
                }
                let gap = known.is_some_and(|expected| number > expected);
                (if gap { Step::Gap } else { Step::Follows }, Some(behind))
            }
        }
    }

    /// A message was not taken: its number is expected again. Gives what is expected then.
    pub fn give_back(&self, head: &Head<'_>) -> Option<i64> {
        let number = number(head).filter(|number| *number > 0)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = next.get_mut(&sender(head))?;
        *expected = number.min(*expected);
        Some(*expected)
    }
}

/// MSH-13 where it is a number of the protocol; anything else counts as none, since not every
/// sender that fills the field speaks of this protocol.
fn number(head: &Head<'_>) -> Option<i64> {
    let text = std::str::from_utf8(head.field(13).trim_ascii()).ok()?;
    text.parse().ok().filter(|number| *number >= -1)
}

fn sender(head: &Head<'_>) -> Vec<u8> {
    [head.field(3), head.field(4)].join(&head.delimiters.field)
}

/// Whether nothing follows MSH.
fn is_header_alone(message: &[u8]) -> bool {
    let message = skip_lead(message);
    let end = memchr::memchr2(b'\r', b'\n', message).unwrap_or(message.len());
    message.get(end..).unwrap_or_default().trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(on_gap: OnGap, numbers: &[&str]) -> Vec<(Step, Option<i64>)> {
        let sequences = Sequences::new(on_gap);
        let mut found = Vec::new();
        for number in numbers {
            let text = format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5|{number}");
            let head = Head::read(text.as_bytes()).unwrap();
            let whole = if number.parse().is_ok_and(|number: i64| number <= 0) {
                text.clone()
            } else {
                format!("{text}\rPID|1")
            };
            found.push(sequences.take(&head, whole.as_bytes()));
        }
        found
    }

    #[test]
    fn numbers_that_follow_each_other_are_told_the_next() {
        use Step::{Follows, Link, None};
        assert_eq!(
            steps(OnGap::Require, &["0", "7", "8", "8", "9", "0", "-1", "0", "1", "", "x", "-7"]),
            [
                (Link, Some(-1)),
                (Follows, Some(8)),
                (Follows, Some(9)),
                // Again, since its answer was lost.
                (Follows, Some(9)),
                (Follows, Some(10)),
                (Link, Some(10)),
                (Link, Some(-1)),
                (Link, Some(-1)),
                (Follows, Some(2)),
                (None, Option::None),
                (None, Option::None),
                (None, Option::None),
            ]
        );
    }

    #[test]
    fn a_gap_is_refused_or_passed_as_the_feed_says() {
        use Step::{Follows, Gap};
        assert_eq!(
            steps(OnGap::Require, &["1", "3", "2", "3"]),
            [(Follows, Some(2)), (Gap, Some(2)), (Follows, Some(3)), (Follows, Some(4))]
        );
        assert_eq!(
            steps(OnGap::Answer, &["1", "3", "4", "2"]),
            [(Follows, Some(2)), (Gap, Some(4)), (Follows, Some(5)), (Follows, Some(5))]
        );
    }

    #[test]
    fn what_was_not_taken_is_expected_again_and_senders_do_not_share_numbers() {
        let sequences = Sequences::new(OnGap::Require);
        let one = Head::read(b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5|5").unwrap();
        let other = Head::read(b"MSH|^~\\&|A|C|||2026||ADT^A01|1|P|2.5|9").unwrap();
        assert_eq!(sequences.take(&one, b"MSH|..\rPID"), (Step::Follows, Some(6)));
        assert_eq!(sequences.take(&other, b"MSH|..\rPID"), (Step::Follows, Some(10)));
        assert_eq!(sequences.give_back(&one), Some(5));
        assert_eq!(sequences.take(&one, b"MSH|..\rPID"), (Step::Follows, Some(6)));
        // A number that nobody follows asks for nothing.
        let zero = Head::read(b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5|0").unwrap();
        assert_eq!(sequences.give_back(&zero), None);
    }

    #[test]
    fn how_many_senders_are_followed_has_a_bound() {
        let sequences = Sequences::new(OnGap::Require);
        for sender in 0..SENDERS_MAX + 10 {
            let text = format!("MSH|^~\\&|A{sender}|B|||2026||ADT^A01|1|P|2.5|5");
            let head = Head::read(text.as_bytes()).unwrap();
            assert_eq!(sequences.take(&head, b"MSH|..\rPID"), (Step::Follows, Some(6)));
        }
        assert_eq!(sequences.next.lock().unwrap().len(), SENDERS_MAX);
    }
}
