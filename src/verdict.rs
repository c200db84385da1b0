//! Every outcome of a message to what the sender hears, what becomes of the message, and how
//! loud that is.
//!
//! Promises: one exhaustive match; a new outcome does not compile until someone decides here
//! what it means. Nothing that a sender hears comes from anywhere else.
//! Knows nothing of: how an acknowledgement is written, or when.

#![deny(clippy::wildcard_enum_match_arm)]

use crate::admit::Novelty;
use crate::admit::assess::{Finding, OnUnmappable, OnUnsupported};
use crate::normalize::{Refusal, Spot};
use crate::parse::hl7::{Malformed, Place};

/// Which acknowledgement says it (chapter 2.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// That the message is kept, or why not: CA, CE, CR.
    Accept,
    /// What came of it: AA, AE, AR. The only one in original mode.
    Application,
}

/// What an acknowledgement says (MSA-1, table 0008), by its word of original mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Accepted: durable.
    AA,
    /// Error: the content is wrong, do not send it again as it is.
    AE,
    /// Rejected: not here.
    AR,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 3] = [Self::AA, Self::AE, Self::AR];

    /// The code on the wire.
    #[must_use]
    pub const fn name(self, level: Level) -> &'static str {
        match (level, self) {
            (Level::Application, Self::AA) => "AA",
            (Level::Application, Self::AE) => "AE",
            (Level::Application, Self::AR) => "AR",
            (Level::Accept, Self::AA) => "CA",
            (Level::Accept, Self::AE) => "CE",
            (Level::Accept, Self::AR) => "CR",
        }
    }
}

/// What is wrong, for ERR: where, by which code of table 0357, in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The segment and field, where there is one.
    pub spot: Option<Spot>,
    /// The component, from 1; 0 where it is the whole field.
    pub component: usize,
    /// Code of table 0357.
    pub code: u16,
    /// The words of table 0357.
    pub text: &'static str,
}

/// How loud it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Counted.
    Usual,
    /// Counted and logged: somebody should look, not now.
    Notable,
}

/// What a feed's `on_busy` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBusy {
    /// No answer: the connection closes, and the sender tries again.
    Close,
    /// AR: for senders that try again after it.
    Reject,
}

/// What a message came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the journal, or was already.
    Taken(Finding, Novelty),
    /// It is not taken; where there is something to keep, that is kept.
    Refused(Finding),
    /// Longer than the feed takes.
    Oversize,
    /// The store or the disk cannot take it now.
    Busy(OnBusy),
    /// It asks for nothing but the number that is expected of its sender (MSH-13 is 0 or -1).
    Link,
    /// Numbers are missing before that of its MSH-13.
    Gap,
}

/// What the sender hears, and how loud it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer; none: the connection closes without one, or nothing is owed.
    pub answer: Option<(Code, Option<Fault>)>,
    /// How loud it is.
    pub severity: Severity,
    /// Word of a closed set, for metrics and logs.
    pub reason: &'static str,
}

/// Decides.
#[must_use]
pub fn verdict(outcome: &Outcome) -> Verdict {
    use Severity::{Notable, Usual};
    match outcome {
        Outcome::Taken(finding, novelty) => taken(finding, *novelty),
        Outcome::Refused(finding) => refused(finding),
        Outcome::Oversize => said(Code::AE, Some(fault(None, 0, 207)), Notable, "oversize"),
        Outcome::Link => said(Code::AA, None, Usual, "link"),
        Outcome::Gap => said(Code::AR, Some(fault(msh(13), 0, 100)), Notable, "sequence"),
        Outcome::Busy(OnBusy::Close) => silent(Usual, "busy"),
        Outcome::Busy(OnBusy::Reject) => said(Code::AR, Some(fault(None, 0, 207)), Usual, "busy"),
    }
}

/// Positive whatever it is: it is durable, here or since it came first.
fn taken(finding: &Finding, novelty: Novelty) -> Verdict {
    use Severity::{Notable, Usual};
    let (severity, reason) = match (finding, novelty) {
        (_, Novelty::Duplicate { .. }) => (Usual, "duplicate"),
        (_, Novelty::Conflict { .. }) => (Notable, "correlation-conflict"),
        (Finding::Unmapped(..), Novelty::New { .. } | Novelty::Wrapped { .. }) => {
            (Notable, "unmapped")
        }
        (Finding::Unsupported { .. }, Novelty::New { .. } | Novelty::Wrapped { .. }) => {
            (Usual, "unsupported")
        }
        (
            Finding::Mapped
            | Finding::Malformed(_)
            | Finding::WrongProcessingId
            | Finding::WrongVersion
            | Finding::BadResource
            | Finding::Removed
            | Finding::ForeignSender { .. }
            | Finding::Acknowledgement,
            Novelty::New { .. },
        ) => (Usual, "new"),
        (
            Finding::Mapped
            | Finding::Malformed(_)
            | Finding::WrongProcessingId
            | Finding::WrongVersion
            | Finding::BadResource
            | Finding::Removed
            | Finding::ForeignSender { .. }
            | Finding::Acknowledgement,
            Novelty::Wrapped { .. },
        ) => (Usual, "wrapped"),
    };
    said(Code::AA, None, severity, reason)
}

fn refused(finding: &Finding) -> Verdict {
    use Severity::{Notable, Usual};
    match finding {
        Finding::Malformed(malformed) => {
            said(Code::AE, Some(of_malformed(*malformed)), Notable, "malformed")
        }
        Finding::Unmapped(refusal, OnUnmappable::Nak | OnUnmappable::Park) => {
            said(Code::AE, Some(of_refusal(refusal)), Notable, "unmapped")
        }
        Finding::Unsupported { type_known, then: OnUnsupported::Reject | OnUnsupported::Park } => {
            let fault = if *type_known { fault(msh(9), 2, 201) } else { fault(msh(9), 1, 200) };
            said(Code::AR, Some(fault), Usual, "unsupported")
        }
        Finding::WrongProcessingId => {
            said(Code::AR, Some(fault(msh(11), 0, 202)), Notable, "processing-id")
        }
        Finding::WrongVersion => said(Code::AR, Some(fault(msh(12), 0, 203)), Notable, "version"),
        Finding::ForeignSender { field } => {
            said(Code::AR, Some(fault(msh(*field), 1, 103)), Notable, "foreign-sender")
        }
        // A FHIR server is owed no answer.
        Finding::BadResource => silent(Notable, "malformed"),
        Finding::Removed => silent(Notable, "removed"),
        Finding::Acknowledgement => silent(Usual, "acknowledgement"),
        // A mapped message that is not taken does not occur; should it, the sender keeps it.
        Finding::Mapped => said(Code::AR, Some(fault(None, 0, 207)), Notable, "not-taken"),
    }
}

fn of_malformed(malformed: Malformed) -> Fault {
    match malformed {
        Malformed::NoHeader => fault(msh(0), 0, 100),
        Malformed::Delimiters => fault(msh(2), 0, 102),
        Malformed::UnknownCharset => fault(msh(18), 0, 103),
        Malformed::Undecodable { .. } => fault(msh(18), 0, 102),
        Malformed::Switched { place } => fault(at(place), usize::from(place.component), 102),
        Malformed::Xml(found) => match found.place {
            Some(place) => fault(at(place), usize::from(place.component), 102),
            None => fault(None, 0, 207),
        },
        Malformed::NoType => fault(msh(9), 0, 101),
        Malformed::NoControlId => fault(msh(10), 0, 101),
        Malformed::BadControlId => fault(msh(10), 0, 102),
        Malformed::TooManySegments
        | Malformed::TooManyFields
        | Malformed::CutShort
        | Malformed::Unreadable => fault(None, 0, 207),
    }
}

fn at(place: Place) -> Option<Spot> {
    let segment = place.segment.iter().map(|byte| char::from(*byte)).collect();
    Some(Spot { segment, field: place.field.into() })
}

fn of_refusal(refusal: &Refusal) -> Fault {
    match refusal {
        Refusal::Missing { spot } if spot.field == 0 => fault(Some(spot.clone()), 0, 100),
        Refusal::Missing { spot } => fault(Some(spot.clone()), 0, 101),
        Refusal::Impossible { spot } => fault(Some(spot.clone()), 0, 102),
        Refusal::Unsupported { .. } => fault(msh(9), 2, 201),
        // No answer names an element: who sends resources is told by HTTP.
        Refusal::UnsupportedResource { .. }
        | Refusal::NoPatient { .. }
        | Refusal::MissingElement { .. }
        | Refusal::ImpossibleElement { .. }
        | Refusal::UnknownPatient { .. }
        | Refusal::TooManyGroups
        | Refusal::TooLarge => fault(None, 0, 207),
    }
}

fn msh(field: usize) -> Option<Spot> {
    Some(Spot { segment: "MSH".to_owned(), field })
}

/// A fault with the words of table 0357.
fn fault(spot: Option<Spot>, component: usize, code: u16) -> Fault {
    let text = match code {
        100 => "Segment sequence error",
        101 => "Required field missing",
        102 => "Data type error",
        103 => "Table value not found",
        200 => "Unsupported message type",
        201 => "Unsupported event code",
        202 => "Unsupported processing id",
        203 => "Unsupported version id",
        _ => "Application internal error",
    };
    Fault { spot, component, code, text }
}

fn said(code: Code, fault: Option<Fault>, severity: Severity, reason: &'static str) -> Verdict {
    Verdict { answer: Some((code, fault)), severity, reason }
}

fn silent(severity: Severity, reason: &'static str) -> Verdict {
    Verdict { answer: None, severity, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(outcome: &Outcome) -> Option<(Code, Option<u16>)> {
        let answer = verdict(outcome).answer?;
        Some((answer.0, answer.1.map(|fault| fault.code)))
    }

    #[test]
    fn what_the_sender_hears() {
        let spot = Spot { segment: "PID".to_owned(), field: 3 };
        let missing = Refusal::Missing { spot };
        let nak = OnUnmappable::Nak;
        for (outcome, heard) in [
            (Outcome::Taken(Finding::Mapped, Novelty::New { epoch: 1 }), Some((Code::AA, None))),
            (
                Outcome::Taken(Finding::Mapped, Novelty::Duplicate { epoch: 1 }),
                Some((Code::AA, None)),
            ),
            (
                Outcome::Taken(Finding::Mapped, Novelty::Conflict { epoch: 2 }),
                Some((Code::AA, None)),
            ),
            (Outcome::Refused(Finding::Unmapped(missing, nak)), Some((Code::AE, Some(101)))),
            (
                Outcome::Refused(Finding::Malformed(Malformed::NoControlId)),
                Some((Code::AE, Some(101))),
            ),
            (Outcome::Refused(Finding::WrongProcessingId), Some((Code::AR, Some(202)))),
            (Outcome::Refused(Finding::WrongVersion), Some((Code::AR, Some(203)))),
            (Outcome::Refused(Finding::ForeignSender { field: 4 }), Some((Code::AR, Some(103)))),
            (Outcome::Refused(Finding::Acknowledgement), None),
            (Outcome::Oversize, Some((Code::AE, Some(207)))),
            (Outcome::Busy(OnBusy::Close), None),
            (Outcome::Link, Some((Code::AA, None))),
            (Outcome::Gap, Some((Code::AR, Some(100)))),
            (Outcome::Busy(OnBusy::Reject), Some((Code::AR, Some(207)))),
        ] {
            assert_eq!(code(&outcome), heard, "{outcome:?}");
        }
        for (type_known, wanted) in [(false, 200), (true, 201)] {
            let finding = Finding::Unsupported { type_known, then: OnUnsupported::Reject };
            assert_eq!(code(&Outcome::Refused(finding)), Some((Code::AR, Some(wanted))));
        }
    }
}
