//! What a record with exceptions decides of one question.
//!
//! Promises: where it is not certain whether an exception is about the question, one that denies is
//! and one that permits is not; so what cannot be told here never opens, and an exception that
//! denies never does. A record without exceptions is as it was written.
//! Knows nothing of: other records, and the seven rules, which go by what comes out.
//!
//! The answer is that of the worst of all cases that cannot be told apart: with each criterion that
//! nobody knows, met and not met. An exception to one that denies gives back what that took and
//! opens nothing beside it; of two that stand side by side the one that denies counts.

use jiff::Timestamp;

use super::decision::{Consent, Decision, Purposes, Status};
use super::exception::{Confidentiality, Criteria, Exception, Listed, all};
use super::ledger::{Alias, Ledger};
use super::moment::Moment;
use super::purpose;
use super::question::Question;
use super::record::{Record, Says};

/// Labels of Confidentiality; what bears none counts as normal.
const RESTRICTED: [&str; 2] = ["R", "V"];

/// A ledger whose records are as one question finds them.
pub(super) struct Weighed {
    own: Vec<Record>,
    aliases: Vec<Alias>,
}

impl Weighed {
    /// The same ledger, with these records.
    pub(super) fn ledger<'w>(&'w self, of: &Ledger<'_>) -> Ledger<'w> {
        Ledger { epoch: of.epoch, own: &self.own, aliases: &self.aliases }
    }
}

/// Weighs every record that has exceptions; nothing where none has.
pub(super) fn weigh(
    ledger: &Ledger<'_>,
    question: &Question<'_>,
    now: Timestamp,
) -> Option<Weighed> {
    let is_plain = |record: &Record| record.consent().is_none_or(Consent::is_plain);
    if ledger.all().all(is_plain) {
        return None;
    }
    let asked = Asked { question, now };
    let weighed = |records: &[Record]| -> Vec<Record> {
        records.iter().map(|record| asked.record(record)).collect()
    };
    let of_alias = |alias: &Alias| Alias { records: weighed(&alias.records), ..alias.clone() };
    Some(Weighed {
        own: weighed(ledger.own),
        aliases: ledger.aliases.iter().map(of_alias).collect(),
    })
}

/// Whether criteria are about a question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bearing {
    Not,
    Maybe,
    Surely,
}

/// What a record says in the worst case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Denies,
    Silent,
    Permits,
}

/// What the outcome rests on, by which it opens labels and is lifted.
#[derive(Clone, Default)]
struct Grounds {
    /// Place in the tree, counted from one; empty: the decision itself.
    path: Vec<usize>,
    purposes: Option<Vec<String>>,
    grantee: bool,
    labels: Vec<String>,
    classes: Option<Vec<String>>,
    /// It names what no permit can name.
    beyond: bool,
}

impl Grounds {
    /// With what a nested one names beside it.
    fn within(&self, at: usize, about: &Criteria) -> Self {
        let mut grounds = self.clone();
        grounds.path.push(at);
        grounds.take(about);
        grounds
    }

    fn take(&mut self, about: &Criteria) {
        let Criteria { purposes, grantees, labels, confidentiality, classes, .. } = about;
        if let Some(Listed { these, .. }) = purposes {
            self.purposes = Some(these.clone());
        }
        self.grantee |= grantees.is_some();
        if let Some(Listed { these, .. }) = labels {
            self.labels.extend_from_slice(these);
        }
        let marked: &[&str] = match confidentiality {
            None | Some(Confidentiality::Normal) => &[],
            Some(Confidentiality::Restricted) => RESTRICTED.get(..1).unwrap_or_default(),
            Some(Confidentiality::VeryRestricted) => &RESTRICTED,
        };
        self.labels.extend(marked.iter().map(|label| (*label).to_owned()));
        if let Some(Listed { these, .. }) = classes {
            self.classes = Some(these.clone());
        }
        self.beyond |= about.has_others() || confidentiality.is_some();
    }

    /// With what another one that says the same names.
    fn and(mut self, other: Self) -> Self {
        self.purposes = match (self.purposes, other.purposes) {
            (Some(mut own), Some(more)) => {
                own.extend(more);
                Some(own)
            }
            (own, more) => own.or(more),
        };
        self.grantee |= other.grantee;
        self.labels.extend(other.labels);
        self.classes = self.classes.or(other.classes);
        self.beyond |= other.beyond;
        self
    }
}

struct Asked<'a> {
    question: &'a Question<'a>,
    now: Timestamp,
}

impl Asked<'_> {
    fn record(&self, record: &Record) -> Record {
        let mut record = record.clone();
        let is_later = record.decided().earliest > self.now;
        if let Says::Consent(consent) = &mut record.says
            && !consent.is_plain()
        {
            **consent = self.consent(consent, is_later);
        }
        record
    }

    /// The decision without exceptions that says of the question what this one does.
    fn consent(&self, consent: &Consent, is_later: bool) -> Consent {
        // What denies by its status or its date denies whatever it might have been about.
        let closes = match consent.status {
            Status::Rejected | Status::Revoked | Status::Unknown => true,
            Status::Proposed
            | Status::Active
            | Status::Inactive
            | Status::EnteredInError
            | Status::Bypassed => is_later,
        };
        let mut plain =
            Consent { exceptions: Vec::new(), within: None, by_exception: None, ..consent.clone() };
        if closes {
            plain.decision = Decision::Deny;
            plain.purposes = every_purpose(consent);
            return plain;
        }
        let (outcome, grounds) = self.outcome(consent);
        let is_own = grounds.path.is_empty();
        if !is_own {
            let path: Vec<String> = grounds.path.iter().map(usize::to_string).collect();
            plain.by_exception = Some(path.join("."));
        }
        match outcome {
            Outcome::Silent => {
                plain.purposes = Purposes::These(Vec::new());
                plain.by_exception = None;
            }
            Outcome::Permits => {
                plain.decision = Decision::Permit;
                if let Some(purposes) = grounds.purposes {
                    plain.purposes = Purposes::These(purposes);
                }
                if grounds.grantee {
                    plain.grantee = Some(self.question.grantee.to_owned());
                }
                plain.labels.extend(grounds.labels);
                plain.labels.sort();
                plain.labels.dedup();
            }
            Outcome::Denies => self.deny(&mut plain, grounds, is_own),
        }
        plain
    }

    /// A deny that names what the exceptions name that it rests on, so that a later permit has to.
    fn deny(&self, plain: &mut Consent, grounds: Grounds, is_own: bool) {
        let question = self.question;
        plain.decision = Decision::Deny;
        plain.within = grounds.beyond.then(|| Criteria { beyond: true, ..Criteria::default() });
        if grounds.purposes.is_some() || !is_own {
            plain.purposes = Purposes::These(vec![question.purpose.to_owned()]);
        }
        if grounds.grantee {
            plain.grantee = Some(question.grantee.to_owned());
        }
        if is_own {
            return;
        }
        let asked = |label: &String| question.labels.contains(&label.as_str());
        plain.labels = grounds.labels.into_iter().filter(asked).collect();
        let of_question = || question.classes.iter().map(|class| class.name().to_owned()).collect();
        plain.classes = match grounds.classes {
            None => Vec::new(),
            Some(named) if question.classes.is_empty() => named,
            Some(_) => of_question(),
        };
    }

    fn outcome(&self, consent: &Consent) -> (Outcome, Grounds) {
        let mut grounds = Grounds::default();
        let bearing = match &consent.within {
            Some(within) => {
                grounds.take(within);
                self.bearing(within)
            }
            None => Bearing::Surely,
        };
        let spoken = match &consent.purposes {
            Purposes::Every => Bearing::Surely,
            Purposes::These(these) => self.purposes(these),
        };
        let own = match (consent.decision, spoken) {
            (Decision::Permit, Bearing::Surely) => Outcome::Permits,
            (Decision::Deny, Bearing::Surely | Bearing::Maybe) => Outcome::Denies,
            (Decision::Permit, Bearing::Maybe | Bearing::Not) | (Decision::Deny, Bearing::Not) => {
                Outcome::Silent
            }
        };
        let (outcome, grounds) = self.worst(&consent.exceptions, own, grounds, spoken);
        match (bearing, outcome) {
            (Bearing::Not, _) | (Bearing::Maybe, Outcome::Permits) => (Outcome::Silent, grounds),
            (Bearing::Surely | Bearing::Maybe, _) => (outcome, grounds),
        }
    }

    /// What a decision and its exceptions come to, where the decision is about the question.
    /// `spoken` is what those are that name no purposes.
    fn worst(
        &self,
        exceptions: &[Exception],
        own: Outcome,
        grounds: Grounds,
        spoken: Bearing,
    ) -> (Outcome, Grounds) {
        let (mut denied, mut permitted): (Option<Grounds>, Option<Grounds>) = (None, None);
        let join = |known: Option<Grounds>, more: Grounds| match known {
            Some(known) => known.and(more),
            None => more,
        };
        for (exception, at) in exceptions.iter().zip(1..) {
            let about = &exception.about;
            let carried = if about.purposes.is_some() { Bearing::Surely } else { spoken };
            let bearing = self.bearing(about).min(carried);
            if bearing == Bearing::Not {
                continue;
            }
            let own = match exception.decision {
                Decision::Permit => Outcome::Permits,
                Decision::Deny => Outcome::Denies,
            };
            let inner = grounds.within(at, about);
            let (outcome, inner) = self.worst(&exception.exceptions, own, inner, Bearing::Surely);
            match (outcome, exception.decision, bearing) {
                (Outcome::Denies, ..) => denied = Some(join(denied, inner)),
                (Outcome::Permits, Decision::Permit, Bearing::Surely) => {
                    permitted = Some(join(permitted, inner));
                }
                (Outcome::Permits | Outcome::Silent, ..) => {}
            }
        }
        match (denied, permitted) {
            (Some(denied), _) => (Outcome::Denies, denied),
            (None, Some(permitted)) => (Outcome::Permits, permitted),
            (None, None) => (own, grounds),
        }
    }

    fn bearing(&self, about: &Criteria) -> Bearing {
        let Criteria { purposes, grantees, labels, confidentiality, classes, from, to, beyond } =
            about;
        let of = |list: &Option<Listed>, known: &dyn Fn(&[String]) -> Bearing| match list {
            None => Bearing::Surely,
            Some(Listed { these, others: false }) => known(these),
            Some(Listed { these, others: true }) => known(these).max(Bearing::Maybe),
        };
        let labelled = of(labels, &|these| self.labels(these));
        // With others beside them, data would have to bear those, too.
        let labelled = match labels {
            Some(Listed { others: true, .. }) => labelled.min(Bearing::Maybe),
            Some(_) | None => labelled,
        };
        [
            of(purposes, &|these| self.purposes(these)),
            of(grantees, &|these| {
                sure(these.iter().any(|named| named == self.question.grantee), false)
            }),
            labelled,
            confidentiality.map_or(Bearing::Surely, |level| self.confidentiality(level)),
            of(classes, &|these| self.classes(these)),
            self.time(*from, *to),
            if *beyond { Bearing::Maybe } else { Bearing::Surely },
        ]
        .into_iter()
        .min()
        .unwrap_or(Bearing::Surely)
    }

    fn purposes(&self, these: &[String]) -> Bearing {
        let asked = self.question.purpose;
        let exact = these.iter().any(|named| named == asked);
        sure(exact, these.iter().any(|named| purpose::covers(named, asked)))
    }

    /// Labels that stand together may mean all of them or any.
    fn labels(&self, these: &[String]) -> Bearing {
        let labels = self.question.labels;
        let named = |label: &&str| these.iter().any(|it| it == label);
        let all = !these.is_empty()
            && these.iter().all(|label| labels.contains(&label.as_str()))
            && labels.iter().all(named);
        sure(all, labels.iter().any(named))
    }

    /// What bears other labels may be more confidential than it says.
    fn confidentiality(&self, level: Confidentiality) -> Bearing {
        let up_to: &[&str] = match level {
            Confidentiality::Normal => &[],
            Confidentiality::Restricted => RESTRICTED.get(..1).unwrap_or_default(),
            Confidentiality::VeryRestricted => &RESTRICTED,
        };
        sure(self.question.labels.iter().all(|label| up_to.contains(label)), true)
    }

    fn classes(&self, these: &[String]) -> Bearing {
        let classes = self.question.classes;
        let named = |class: &crate::event::schema::Class| these.iter().any(|it| it == class.name());
        let all = !classes.is_empty() && classes.iter().all(named);
        sure(all, classes.is_empty() || classes.iter().any(named))
    }

    fn time(&self, from: Option<Moment>, to: Option<Moment>) -> Bearing {
        let begun = from.is_none_or(|from| from.span().earliest <= self.now);
        let over = to.is_some_and(|to| to.span().latest < self.now);
        sure(begun && !over, false)
    }
}

const fn sure(surely: bool, maybe: bool) -> Bearing {
    match (surely, maybe) {
        (true, _) => Bearing::Surely,
        (false, true) => Bearing::Maybe,
        (false, false) => Bearing::Not,
    }
}

/// Whatever purpose a record or one of its exceptions is about.
fn every_purpose(consent: &Consent) -> Purposes {
    let Purposes::These(own) = &consent.purposes else { return Purposes::Every };
    let mut these = own.clone();
    let nested = all(&consent.exceptions);
    let named = nested.iter().filter_map(|it| it.about.purposes.as_ref());
    for Listed { these: more, others } in named {
        if *others {
            return Purposes::Every;
        }
        these.extend_from_slice(more);
    }
    these.sort();
    these.dedup();
    Purposes::These(these)
}
