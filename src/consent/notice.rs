//! Notices: what a consumer is told that needs no permit.
//!
//! Promises: [`notice()`], [`link()`] and [`retract()`] alone make a [`Notice`]; one that tells to stop is made
//! only where the question is refused now, by a decision and not by a doubt of ours; it holds
//! nothing of any event.
//! Knows nothing of: which routes released something; who asks has found out.

use std::fmt;

use jiff::Timestamp;

use super::ask::ask;
use super::ledger::Ledger;
use super::policy::Policy;
use super::question::Question;
use super::refusal::Code;
use crate::event::{EventId, EventType, Subject};

/// What the consumer is to do with what it got before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prior {
    /// Nothing: what was received may be used on.
    Keep,
    /// It may be kept, and not used any more.
    #[default]
    StopUsing,
    /// It is to be deleted.
    Delete,
}

impl Prior {
    /// The words in contracts and notices.
    pub const NAMES: [(&'static str, Self); 3] =
        [("keep", Self::Keep), ("stop-using", Self::StopUsing), ("delete", Self::Delete)];

    /// The word in contracts and notices.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::StopUsing => "stop-using",
            Self::Delete => "delete",
        }
    }
}

/// What a consumer is told, for one route. Only the functions of this file make one:
///
/// ```compile_fail
/// use tidegate::consent::Notice;
/// let forged = Notice { route: "r".into() };
/// ```
pub struct Notice {
    id: EventId,
    kind: EventType,
    subject: Subject,
    route: String,
    reason: &'static str,
    prior: Prior,
    retired: Option<Subject>,
}

impl Notice {
    /// Its ID inside the trust boundary.
    #[must_use]
    pub const fn id(&self) -> &EventId {
        &self.id
    }

    /// What it says: that consent was denied, revoked, has expired or was retracted, or that two
    /// subjects are one.
    #[must_use]
    pub const fn kind(&self) -> EventType {
        self.kind
    }

    /// Whom it is about.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The word for why, of the code that refuses.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// What the consumer is to do with what it got before.
    #[must_use]
    pub const fn prior(&self) -> Prior {
        self.prior
    }

    /// The subject that is no more.
    #[must_use]
    pub const fn retired(&self) -> Option<&Subject> {
        self.retired.as_ref()
    }

    /// Whether it was made for this route.
    #[must_use]
    pub fn is_for(&self, route: &str) -> bool {
        self.route == route
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Notice({}, {})", self.kind, self.id)
    }
}

/// Tells a route that released something of a subject to stop, where the question that the route
/// would ask about any event of the subject is refused now. `cause` is the type of the event that
/// changed the subject's consent; `id` names the notice.
#[must_use]
pub fn notice(
    (id, cause): (EventId, EventType),
    subject: &Subject,
    question: &Question<'_>,
    (ledger, policy): (&Ledger<'_>, &Policy),
    on_revoked: Prior,
    now: Timestamp,
) -> Option<Notice> {
    // Who was sent something is told, also when the contract has ended since.
    let question = Question { ends: None, ..*question };
    let code = ask(&question, ledger, policy, now).err()?.code();
    let kind = kind_of(code, cause)?;
    let prior = if kind == EventType::ConsentRetracted { Prior::Delete } else { on_revoked };
    let route = question.route.to_owned();
    let reason = code.name();
    Some(Notice { id, kind, subject: subject.clone(), route, reason, prior, retired: None })
}

/// Tells a route that released something of both that two subjects are one, or that one goes by
/// another identifier now.
#[must_use]
pub fn link(
    (id, kind): (EventId, EventType),
    route: &str,
    subject: &Subject,
    retired: &Subject,
) -> Notice {
    Notice {
        id,
        kind,
        subject: subject.clone(),
        route: route.to_owned(),
        reason: "linked",
        prior: Prior::Keep,
        retired: Some(retired.clone()),
    }
}

/// Tells a route that what it was sent about a subject was of another one: it was moved away.
#[must_use]
pub fn retract(id: EventId, route: &str, subject: &Subject) -> Notice {
    Notice {
        id,
        kind: EventType::ConsentRetracted,
        subject: subject.clone(),
        route: route.to_owned(),
        reason: "moved",
        prior: Prior::Delete,
        retired: None,
    }
}

/// What a refusal is told as; nothing where it is a doubt of ours, which a human settles.
const fn kind_of(code: Code, cause: EventType) -> Option<EventType> {
    match code {
        Code::Closed | Code::UnknownStatus | Code::FutureDated | Code::Ended => None,
        Code::Revoked => Some(EventType::ConsentRevoked),
        Code::Expired | Code::Inactive | Code::NotYetEffective => Some(EventType::ConsentExpired),
        Code::Missing if matches!(cause, EventType::ConsentRetracted) => {
            Some(EventType::ConsentRetracted)
        }
        Code::Missing => Some(EventType::ConsentRevoked),
        Code::Restricted
        | Code::Refused
        | Code::Preference
        | Code::Label
        | Code::Minor
        | Code::NotCompetent => Some(EventType::ConsentDenied),
    }
}
