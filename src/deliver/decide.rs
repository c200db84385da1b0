//! An event to a decision: ask, release; and what is kept of it as evidence.
//!
//! Promises: asked when the event is about to leave, and again at every retry; what is asked,
//! what is released and what is recorded are the same event; no answer, no release.
//! Knows nothing of: sinks, where a subject's consent and the evidence are kept.

use jiff::Timestamp;

use super::queue::{Item, Recorded, Task};
use crate::admit::DigestKey;
use crate::audit::{Consulted, Decision, Fields, Outcome};
use crate::consent::notice::{link, notice, retract};
use crate::consent::{Ledger, Notice, Policy, Question, Refusal, ask};
use crate::contract::Contract;
use crate::event::EventId;
use crate::privacy::recipe::{SUBJECT, SubjectForm};
use crate::privacy::{Fate, RealmKeys, Recipe, Release, Supplies, Withheld, announce, release};

/// What a route does with an event now.
#[derive(Debug)]
pub enum Answer {
    /// It leaves, in this form.
    Release(Box<Release>),
    /// It does not leave.
    Suppress(Box<Refusal>),
    /// There is nothing to tell, and nothing to decide.
    Nothing,
}

/// An answer, and what is kept of it.
#[derive(Debug)]
pub struct Decided {
    /// The answer.
    pub answer: Answer,
    /// The evidence; none where nothing is decided.
    pub evidence: Option<Box<Decision>>,
}

/// What a route decides by.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'g> {
    /// Its contract.
    pub contract: &'g Contract,
    /// What the subject decided.
    pub ledger: Ledger<'g>,
    /// What codes, restrictions and jurisdictions mean here.
    pub policy: &'g Policy,
    /// The keys of its realm.
    pub keys: &'g RealmKeys,
    /// The key of the digests that stand for subjects in the evidence.
    pub digests: &'g DigestKey,
    /// The hash of the configuration.
    pub configuration: &'g str,
    /// `[node] name`.
    pub node: &'g str,
    /// `[node] jurisdiction`.
    pub jurisdiction: Option<&'g str>,
}

/// Decides about an event at a time, and puts it into its form where it may leave.
///
/// # Errors
/// [`Withheld`], which does not occur unless the code is wrong.
// PROMISE-5, PROMISE-8
pub fn decide(grounds: &Grounds<'_>, item: &Item, now: Timestamp) -> Result<Decided, Withheld> {
    let Grounds { contract, ledger, policy, keys, jurisdiction, .. } = grounds;
    let visit = item.event.data.root().at("visit.number.value").and_then(|it| it.as_text());
    let question = Question {
        event: &item.event.id,
        route: &contract.name,
        purpose: &contract.purpose,
        // A notice is about all that was released, whichever visit it was of.
        visit: visit.filter(|_| item.task == Task::Event),
        channel: contract.channel.as_deref(),
        grantee: &contract.consumer,
        jurisdictions: jurisdiction.as_slice(),
        labels: &[],
        contract_labels: &[],
        classes: &contract.classes,
        requirement: &contract.requirement,
    };
    let source = format!("tidegate/{}/{}", grounds.node, item.feed);
    let supplies = Supplies {
        keys,
        source: &source,
        correlation_id: &item.correlation_id,
        sequence: item.sequence,
        route: &contract.name,
        contract: &contract.version,
        purpose: &contract.purpose,
    };
    let told = match item.task {
        Task::Event => None,
        Task::Notice(_) => {
            let cause = (EventId(notice_id(item)), item.event.kind);
            let (told, on_revoked) = ((ledger, *policy), contract.on_revoked);
            Some(notice(cause, &item.event.subject, &question, told, on_revoked, now))
        }
        Task::Link => Some(item.event.prior.as_ref().map(|prior| {
            let name = (EventId(notice_id(item)), item.event.kind);
            link(name, &contract.name, &item.event.subject, prior)
        })),
        Task::Retract => {
            Some(Some(retract(EventId(notice_id(item)), &contract.name, &item.event.subject)))
        }
    };
    if let Some(notice) = told {
        return tell(grounds, item, notice, &supplies, now);
    }
    let permit = match ask(&question, ledger, policy, now) {
        Ok(permit) => permit,
        Err(refusal) => {
            let mut evidence = grounds.evidence(item, Outcome::Suppress, refusal.code().name());
            evidence.consents = grounds.consulted(refusal.records());
            evidence.visit = visit.map(|visit| grounds.visit(visit));
            return Ok(Decided {
                answer: Answer::Suppress(Box::new(refusal)),
                evidence: Some(Box::new(evidence)),
            });
        }
    };
    let mut evidence = grounds.evidence(item, Outcome::Release, PERMITTED);
    evidence.consents = grounds.consulted(permit.records());
    evidence.visit = visit.map(|visit| grounds.visit(visit));
    let release = release(permit, &item.event, &contract.recipe, &supplies)?;
    evidence.token = release.token().map(str::to_owned);
    evidence.fields = fields(&contract.recipe, &release);
    Ok(Decided { answer: Answer::Release(Box::new(release)), evidence: Some(Box::new(evidence)) })
}

/// A notice in its form; nothing where there is none, or the consumer knows no subject.
fn tell(
    grounds: &Grounds<'_>,
    item: &Item,
    notice: Option<Notice>,
    supplies: &Supplies<'_>,
    now: Timestamp,
) -> Result<Decided, Withheld> {
    let told = match &notice {
        Some(notice) => announce(notice, &grounds.contract.recipe, supplies, now)?,
        None => None,
    };
    let (Some(notice), Some(release)) = (notice, told) else {
        // A notice that is recorded and was not sent is taken back: nobody was told.
        let is_notice = |known: &&Recorded| known.decision.outcome == Outcome::Notice;
        let known = item.recorded.as_ref().filter(is_notice);
        let evidence =
            known.map(|_| Box::new(grounds.evidence(item, Outcome::Suppress, NOTHING_TO_TELL)));
        return Ok(Decided { answer: Answer::Nothing, evidence });
    };
    let mut evidence = grounds.evidence(item, Outcome::Notice, notice.reason());
    evidence.kind = notice.kind();
    evidence.token = release.token().map(str::to_owned);
    Ok(Decided { answer: Answer::Release(Box::new(release)), evidence: Some(Box::new(evidence)) })
}

/// The reason of a release.
pub const PERMITTED: &str = "permitted";
/// The reason of what stands instead of a notice that waited until there was nothing to tell.
pub const NOTHING_TO_TELL: &str = "nothing-to-tell";

/// The ID of a notice: of the event that caused it, and of whom it is about where those are several.
fn notice_id(item: &Item) -> String {
    match item.task {
        Task::Event | Task::Notice(0) => format!("{}.notice", item.event.id),
        Task::Notice(nth) => format!("{}.notice{nth}", item.event.id),
        Task::Link => format!("{}.link", item.event.id),
        Task::Retract => format!("{}.retract", item.event.id),
    }
}

/// The event as the evidence names it.
#[must_use]
pub fn evidence_id(item: &Item) -> String {
    match item.task {
        Task::Event => item.event.id.0.clone(),
        Task::Notice(_) | Task::Link | Task::Retract => notice_id(item),
    }
}

impl Grounds<'_> {
    /// What is kept of a decision, as far as it does not depend on the answer.
    fn evidence(&self, item: &Item, outcome: Outcome, reason: &str) -> Decision {
        let Contract { name, version, purpose, consumer, agreement, deliver, recipe, .. } =
            self.contract;
        Decision {
            outcome,
            reason: reason.to_owned(),
            route: name.clone(),
            contract: version.clone(),
            configuration: self.configuration.to_owned(),
            purpose: purpose.clone(),
            consumer: consumer.clone(),
            agreement: agreement.clone(),
            destination: deliver.name(),
            recipe: recipe.hash.clone(),
            message: item.number,
            event: evidence_id(item),
            kind: item.event.kind,
            subject: format!("{:?}", self.digests.subject(&item.event.subject)),
            token: None,
            visit: None,
            consents: Vec::new(),
            epoch: self.ledger.epoch.0,
            fields: Fields::default(),
            instead: None,
            of: None,
        }
    }

    fn consulted(&self, records: &[crate::consent::Reference]) -> Vec<Consulted> {
        records.iter().map(|record| Consulted::of(record, self.digests)).collect()
    }

    fn visit(&self, number: &str) -> String {
        format!("{:?}", self.digests.visit(number))
    }
}

/// The fields of a release by path, with their fates.
fn fields(recipe: &Recipe, release: &Release) -> Fields {
    let subject = match recipe.subject {
        SubjectForm::Hidden => None,
        SubjectForm::Clear => Some(Fate::Kept),
        SubjectForm::Token => Some(Fate::Token),
    };
    let subject = subject.map(|fate| (SUBJECT.to_owned(), fate));
    let lines = release
        .fates()
        .iter()
        .filter_map(|(line, fate)| Some((recipe.lines.get(line)?.path.clone(), fate)));
    Fields(subject.into_iter().chain(lines).collect())
}
