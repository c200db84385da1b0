//! An event to a decision: ask, release; and what is kept of it as evidence.
//!
//! Promises: asked when the event is about to leave, and again at every retry; what is asked,
//! what is released and what is recorded are the same event; no answer, no release.
//! Knows nothing of: sinks, where a subject's consent, its tokens and the evidence are kept.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jiff::Timestamp;

use super::queue::{Item, Recorded, Task};
use crate::admit::DigestKey;
use crate::admit::digest::visit_of;
use crate::admit::labels::labels_of;
use crate::audit::{Common, Consulted, Decision, Fields, Outcome, Under};
use crate::consent::notice::{link, notice, retract};
use crate::consent::{Ledger, Policy, Question, Refusal, ask};
use crate::contract::Contract;
use crate::event::{EventId, EventType, Subject};
use crate::privacy::recipe::{SUBJECT, SubjectForm};
use crate::privacy::{
    Fate, Fates, RealmKeys, Recipe, Release, Supplies, Tokens, Withheld, announce, release,
};
use crate::store::StoreError;

/// What a route does with an event now.
#[derive(Debug)]
pub enum Answer {
    /// It leaves, in this form.
    Release(Box<Release>),
    /// It does not leave.
    Suppress(Box<Refusal>),
    /// It may, and what would leave is not what the contract says: it does not leave, and a human
    /// looks.
    Violation {
        /// The field's path in the contract.
        place: String,
    },
    /// It may, and another source's event has told the same: it does not leave a second time.
    Told,
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

/// Why there is no decision yet.
#[derive(Debug, thiserror::Error)]
pub enum Undecided {
    /// These want a token first.
    #[error("a token has to be made first")]
    Wants(Vec<Subject>),
    /// The tokens cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be put into its form, which does not occur unless the code is wrong.
    #[error(transparent)]
    Withheld(#[from] Withheld),
}

/// By which tokens a consumer knows subjects.
pub trait Names: std::fmt::Debug {
    /// The token that a release of the subject bears; none where one has to be made first.
    ///
    /// # Errors
    /// The tokens cannot be read.
    fn current(&self, subject: &Subject) -> Result<Option<String>, StoreError>;

    /// The token that a notice names the subject by; none where one has to be made first.
    ///
    /// # Errors
    /// The tokens cannot be read.
    fn known(&self, subject: &Subject) -> Result<Option<String>, StoreError>;

    /// Whether a token may be linked with another.
    ///
    /// # Errors
    /// The tokens cannot be read.
    fn may_link(&self, token: &str) -> Result<bool, StoreError>;
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
    /// The tokens of its realm.
    pub names: &'g dyn Names,
    /// The key of the digests that stand for subjects in the evidence.
    pub digests: &'g DigestKey,
    /// What all of its decisions share.
    pub under: &'g Shared,
    /// `[node] name`.
    pub node: &'g str,
    /// `[node] jurisdiction`.
    pub jurisdiction: Option<&'g str>,
}

/// What all decisions of a route share, for each recipe that it may let out by: its own, and those with
/// a broken glass.
#[derive(Debug)]
pub struct Shared {
    own: Way,
    broken: Vec<Way>,
}

/// What the decisions by one recipe share.
#[derive(Debug)]
struct Way {
    under: Common<Under>,
    /// What became of the fields of the newest release: of most others the same does.
    fields: Mutex<Option<(Fates, Fields)>>,
}

impl Shared {
    /// Of a contract, under the hash of a configuration.
    #[must_use]
    pub fn new(contract: &Contract, configuration: &str) -> Self {
        let Contract { name, version, purpose, consumer, terms, deliver, .. } = contract;
        let by = |recipe: &Recipe| {
            Way::new(Under {
                route: name.clone(),
                contract: version.clone(),
                configuration: configuration.to_owned(),
                purpose: purpose.clone(),
                consumer: consumer.clone(),
                agreement: terms.agreement.clone(),
                protocol: terms.protocol.clone(),
                allowed_use: terms.allowed_use.clone(),
                retention: terms.retention.clone(),
                destination: deliver.name(),
                recipe: recipe.hash.clone(),
            })
        };
        let broken = contract.broken.iter().map(|broken| by(&broken.recipe)).collect();
        Self { own: by(&contract.recipe), broken }
    }

    fn of(&self, recipe: &Recipe) -> &Way {
        self.broken.iter().find(|way| way.under.recipe == recipe.hash).unwrap_or(&self.own)
    }
}

impl Way {
    fn new(under: Under) -> Self {
        Self { under: Common::new(under), fields: Mutex::default() }
    }

    /// The fields of a release by path, with their fates.
    fn fields(&self, recipe: &Recipe, fates: &Fates) -> Fields {
        let mut newest = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fields)) = newest.as_ref().filter(|(known, _)| known == fates) {
            return fields.clone();
        }
        let found = fields(recipe, fates);
        *newest = Some((fates.clone(), found.clone()));
        found
    }
}

/// Decides at a time about what an item asks for, and puts it into its form where it may leave.
///
/// # Errors
/// [`Undecided`]: nothing may be done about it yet.
pub fn decide(grounds: &Grounds<'_>, item: &Item, now: Timestamp) -> Result<Decided, Undecided> {
    if item.is_notice() {
        return tell(grounds, item, now);
    }
    let (answer, evidence) = decide_event(grounds, item, now)?;
    Ok(Decided { answer, evidence: Some(Box::new(evidence)) })
}

/// Decides about an event at a time, and puts it into its form where it may leave.
///
/// # Errors
/// [`Undecided`]: nothing may be done about it yet.
// PROMISE-5, PROMISE-8
pub fn decide_event(
    grounds: &Grounds<'_>,
    item: &Item,
    now: Timestamp,
) -> Result<(Answer, Decision), Undecided> {
    let visit = visit_of(&item.event);
    let (recipe, classes, glass) = grounds.contract.recipe_at(now);
    let labels = labels_of(item.event.data.root());
    let question = Question { visit, classes, labels: &labels, ..grounds.question(item) };
    let asked = ask(&question, &grounds.ledger, grounds.policy, now);
    let (outcome, reason, records) = match &asked {
        Ok(permit) => (Outcome::Release, PERMITTED, permit.records()),
        Err(refusal) => (Outcome::Suppress, refusal.code().name(), refusal.records()),
    };
    let mut evidence = grounds.evidence(item, recipe, outcome, reason);
    evidence.consents =
        records.iter().map(|record| Consulted::of(record, grounds.digests)).collect();
    evidence.labels = labels.iter().map(|label| (*label).to_owned()).collect();
    evidence.visit.clone_from(&item.digests.visit);
    let answer = match asked {
        Err(refusal) => Answer::Suppress(Box::new(refusal)),
        // Behind consent: what that refuses is a refusal, whoever told it.
        Ok(_) if item.told_by.is_some() => {
            evidence.outcome = Outcome::Told;
            evidence.reason = TOLD.into();
            evidence.told_by.clone_from(&item.told_by);
            Answer::Told
        }
        Ok(permit) => {
            let source = grounds.source(item);
            // Only now: what is suppressed makes no token.
            let tokens = grounds.tokens(item)?;
            let supplies = grounds.supplies(item, &source, &tokens, now);
            let released = release(permit, &item.event, recipe, &supplies);
            answered(released, (recipe, grounds.under.of(recipe), glass), &mut evidence)?
        }
    };
    Ok((answer, evidence))
}

/// What was made of an event that may leave, and its evidence.
// PROMISE-7: what is not what the contract says does not leave.
fn answered(
    released: Result<Release, Withheld>,
    (recipe, way, glass): (&Recipe, &Way, &[String]),
    evidence: &mut Decision,
) -> Result<Answer, Withheld> {
    match released {
        Ok(release) => {
            evidence.token = release.token().map(str::to_owned);
            evidence.fields = way.fields(recipe, release.fates());
            evidence.glass = glass.to_vec();
            Ok(Answer::Release(Box::new(release)))
        }
        Err(Withheld::Violation { place }) => {
            evidence.outcome = Outcome::Suppress;
            evidence.reason = CONTRACT_VIOLATION.into();
            evidence.place = Some(place.clone());
            Ok(Answer::Violation { place })
        }
        Err(withheld @ (Withheld::OtherPermit | Withheld::NoToken | Withheld::Unwritable)) => {
            Err(withheld)
        }
    }
}

/// A notice in its form; nothing where there is none, or the consumer knows no subject.
fn tell(grounds: &Grounds<'_>, item: &Item, now: Timestamp) -> Result<Decided, Undecided> {
    let Grounds { contract, ledger, policy, .. } = grounds;
    let recipe = &contract.recipe;
    let (id, event) = (EventId(evidence_id(item)), &item.event);
    let notice = match item.task {
        Task::Event => None,
        Task::Notice(_) => {
            // It is about all that was released, whichever visit it was of.
            let (question, told) = (grounds.question(item), (ledger, *policy));
            let cause = (id, event.kind);
            notice(cause, &event.subject, &question, told, contract.on_revoked, now)
        }
        Task::Link => {
            let prior = event.prior.as_ref();
            prior.map(|prior| link((id, event.kind), &contract.name, &event.subject, prior))
        }
        Task::Retract => Some(retract(id, &contract.name, &event.subject)),
        Task::Renamed => {
            let cause = (id, EventType::PatientIdentifierChanged);
            Some(link(cause, &contract.name, &event.subject, &event.subject))
        }
    };
    let source = grounds.source(item);
    let mut retired = None;
    let told = match &notice {
        Some(notice) => {
            let tokens = grounds.tokens(item)?;
            // What was revoked is linked with nothing.
            let may_link = |token: &String| grounds.names.may_link(token);
            if tokens.retired.as_ref().map(may_link).transpose()? == Some(false) {
                None
            } else {
                let supplies = grounds.supplies(item, &source, &tokens, now);
                let told = announce(notice, &contract.recipe, &supplies)?;
                retired = tokens.retired;
                told
            }
        }
        None => None,
    };
    let (Some(notice), Some(release)) = (notice, told) else {
        // A notice that is recorded and was not sent is taken back: nobody was told.
        let is_notice = |known: &&Recorded| known.decision.outcome == Outcome::Notice;
        let known = item.recorded.as_ref().filter(is_notice);
        let evidence = known
            .map(|_| Box::new(grounds.evidence(item, recipe, Outcome::Suppress, NOTHING_TO_TELL)));
        return Ok(Decided { answer: Answer::Nothing, evidence });
    };
    let mut evidence = grounds.evidence(item, recipe, Outcome::Notice, notice.reason());
    evidence.kind = notice.kind();
    evidence.retired = retired;
    evidence.token = release.token().map(str::to_owned);
    Ok(Decided { answer: Answer::Release(Box::new(release)), evidence: Some(Box::new(evidence)) })
}

/// The reason of a release.
pub const PERMITTED: &str = "permitted";
/// The reason of what did not satisfy the contract.
pub const CONTRACT_VIOLATION: &str = "contract-violation";
/// The reason of what another source told before.
pub const TOLD: &str = "told-by-another-source";
/// The reason of what stands instead of a notice that waited until there was nothing to tell.
pub const NOTHING_TO_TELL: &str = "nothing-to-tell";

/// The item as the evidence names it: the event, or the notice by the event that caused it and by
/// whom it is about where those are several.
#[must_use]
pub fn evidence_id(item: &Item) -> Arc<str> {
    let id = &item.event.id;
    match item.task {
        Task::Event => Arc::clone(&id.0),
        Task::Notice(0) => format!("{id}.notice").into(),
        Task::Notice(nth) => format!("{id}.notice{nth}").into(),
        Task::Link => format!("{id}.link").into(),
        Task::Retract => format!("{id}.retract").into(),
        // By the token, too: another one that comes before the same event is another notice.
        Task::Renamed => {
            let token = item.renaming.as_ref().map(|it| it.token.as_str()).unwrap_or_default();
            let begin: String = token.chars().take(RENAMED_DIGITS).collect();
            format!("{id}{RENAMED}{begin}").into()
        }
    }
}

const RENAMED: &str = ".renamed-";
/// Digits of a token in the ID of its notice: enough to tell two of one event apart.
const RENAMED_DIGITS: usize = 8;

/// Whether an ID is of a notice that goes before an event and tells of its token.
#[must_use]
pub fn is_renaming_of(id: &str, item: &Item) -> bool {
    id.strip_prefix(&*item.event.id.0).is_some_and(|rest| rest.starts_with(RENAMED))
}

impl Grounds<'_> {
    /// What is asked, of whichever visit.
    fn question<'q>(&'q self, item: &'q Item) -> Question<'q> {
        let contract = self.contract;
        let Contract { name, purpose, consumer, requirement, .. } = contract;
        Question {
            channel: contract.channel.as_deref(),
            jurisdictions: self.jurisdiction.as_slice(),
            contract_labels: &contract.labels,
            ends: contract.terms.ends(),
            ..Question::new(&item.event.id, name, purpose, consumer, requirement)
        }
    }

    /// Where it comes from, as the payload names it.
    fn source(&self, item: &Item) -> String {
        format!("tidegate/{}/{}", self.node, item.feed)
    }

    /// The tokens that a payload names, where the consumer knows subjects by tokens.
    fn tokens(&self, item: &Item) -> Result<Tokens, Undecided> {
        if self.contract.recipe.subject != SubjectForm::Token {
            return Ok(Tokens::default());
        }
        if let Some(renaming) = &item.renaming {
            let (subject, retired) = (renaming.token.clone(), renaming.retired.clone());
            return Ok(Tokens { subject: Some(subject), retired: Some(retired) });
        }
        let (subject, names) = (&item.event.subject, self.names);
        let retired = item.event.prior.as_ref().filter(|_| item.task == Task::Link);
        let known = if item.is_notice() { names.known(subject)? } else { None };
        let known = match known {
            // A link goes on with the token, so that it has to be one that may be linked.
            Some(token) if retired.is_some() && !names.may_link(&token)? => None,
            known => known,
        };
        let found = Tokens {
            subject: known.map_or_else(|| names.current(subject), |token| Ok(Some(token)))?,
            retired: retired.map(|prior| names.known(prior)).transpose()?.flatten(),
        };
        let wants =
            |subject: &Subject, token: &Option<String>| token.is_none().then(|| subject.clone());
        let mut wanted: Vec<Subject> = wants(subject, &found.subject).into_iter().collect();
        wanted.extend(retired.and_then(|prior| wants(prior, &found.retired)));
        if wanted.is_empty() { Ok(found) } else { Err(Undecided::Wants(wanted)) }
    }

    /// What a payload has beside the fields of its event.
    fn supplies<'s>(
        &'s self,
        item: &'s Item,
        source: &'s str,
        tokens: &'s Tokens,
        now: Timestamp,
    ) -> Supplies<'s> {
        let contract = self.contract;
        Supplies {
            keys: self.keys,
            tokens,
            source,
            correlation_id: &item.correlation_id,
            visit: item.visit.as_deref(),
            sequence: item.sequence,
            route: &contract.name,
            contract: &contract.version,
            purpose: &contract.purpose,
            number: item.number,
            now,
            routing: &contract.routing,
        }
    }

    /// What is kept of a decision, as far as it does not depend on the answer.
    fn evidence(
        &self,
        item: &Item,
        recipe: &Recipe,
        outcome: Outcome,
        reason: &'static str,
    ) -> Decision {
        Decision {
            outcome,
            reason: reason.into(),
            under: self.under.of(recipe).under.clone(),
            message: item.number,
            event: evidence_id(item),
            kind: item.event.kind,
            subject: Arc::clone(&item.digests.shown),
            token: None,
            retired: None,
            visit: None,
            labels: Vec::new(),
            consents: Vec::new(),
            epoch: self.ledger.epoch.0,
            fields: Fields::default(),
            glass: Vec::new(),
            instead: None,
            of: None,
            told_by: None,
            place: None,
        }
    }
}

/// The fields of a release by path, with their fates.
fn fields(recipe: &Recipe, fates: &Fates) -> Fields {
    let subject = match recipe.subject {
        SubjectForm::Hidden => None,
        SubjectForm::Clear => Some(Fate::Kept),
        SubjectForm::Token => Some(Fate::Token),
    };
    static PATH: LazyLock<Arc<str>> = LazyLock::new(|| SUBJECT.into());
    let subject = subject.map(|fate| (Arc::clone(&PATH), fate));
    let lines =
        fates.iter().filter_map(|(line, fate)| Some((recipe.lines.get(line)?.path.clone(), fate)));
    let mut fields = Vec::with_capacity(1 + recipe.lines.len());
    fields.extend(subject.into_iter().chain(lines));
    Fields::new(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Consulted, Names, sentence};
    use crate::consent::Epoch;
    use crate::document::{Place, Placed, Problems};
    use crate::event::{Declaration, Event, EventType, Subject, Tree};
    use crate::phi::Phi;
    use crate::privacy::recipe::Wanted;
    use crate::privacy::{Tier, Transform};
    use crate::secret::Key;

    /// The evidence of an event that may leave.
    fn permitted() -> (Decision, Recipe) {
        let recipe =
            Recipe::compile(Declaration::default(), Tier::Identified, &[], &Problems::default());
        let digests = DigestKey::new(&Key::from_bytes(&[1; 32]).unwrap());
        let event = Event {
            id: EventId("ab-1.patient.admitted.pid1".into()),
            kind: EventType::PatientAdmitted,
            subject: Subject { authority: "A".to_owned(), value: Phi::new("ZZ1".to_owned()) }
                .into(),
            prior: None,
            data: Arc::new(Tree::new()),
        };
        let under = Under {
            route: "r".to_owned(),
            contract: "1.0.0".to_owned(),
            configuration: "sha256:00".to_owned(),
            purpose: "TREAT".to_owned(),
            consumer: "crm".to_owned(),
            agreement: None,
            protocol: None,
            allowed_use: None,
            retention: None,
            destination: "file:r".to_owned(),
            recipe: recipe.hash.clone(),
        };
        let decision = Decision {
            outcome: Outcome::Release,
            reason: PERMITTED.into(),
            under: Common::new(under),
            message: 1,
            event: Arc::clone(&event.id.0),
            kind: event.kind,
            subject: digests.subject(&event.subject).to_string().into(),
            token: None,
            retired: None,
            visit: None,
            labels: Vec::new(),
            consents: Vec::new(),
            epoch: Epoch::default().0,
            fields: Fields::default(),
            glass: Vec::new(),
            instead: None,
            of: None,
            told_by: None,
            place: None,
        };
        (decision, recipe)
    }

    /// PROMISE-7, PROMISE-8
    #[test]
    fn what_is_not_what_the_contract_says_does_not_leave_and_the_evidence_says_where() {
        let (mut evidence, recipe) = permitted();
        let way = Way::new(Under::clone(&evidence.under));
        let violation = Withheld::Violation { place: "visit.class".to_owned() };
        let answer = answered(Err(violation), (&recipe, &way, &[]), &mut evidence).unwrap();
        assert!(matches!(answer, Answer::Violation { place } if place == "visit.class"));
        assert_eq!(evidence.outcome, Outcome::Suppress);
        assert_eq!(evidence.reason, "contract-violation");
        let nobody = |_: &Consulted| None;
        let told = sentence(&evidence, &Names { consent: &nobody, recipe: None });
        let wanted = "Suppressed for crm: nothing denies it, but what would leave at visit.class is \
                      not what the contract says (contract-violation).";
        assert!(told.starts_with(wanted), "{told}");
    }

    /// PROMISE-8
    #[test]
    fn the_evidence_says_what_became_of_the_fields_of_this_very_event() {
        let problems = Problems::default();
        let named = ["visit.class", "patient.sex"].map(|path| Wanted {
            path: Placed {
                value: path.to_owned(),
                place: Place { file: "r".into(), line: 1, column: 1 },
            },
            transform: Transform::Keep,
            leaves_as: None,
            required: false,
        });
        let recipe = Recipe::compile(Declaration::default(), Tier::Identified, &named, &problems);
        assert!(problems.is_clean() && recipe.lines.len() == 2);
        let way = Way::new(Under::clone(&permitted().0.under));
        let [first, second] = [0, 1].map(|line| recipe.lines[line].path.clone());
        for (nth, known) in [
            vec![],
            vec![Fate::Kept],
            vec![Fate::Kept],
            vec![Fate::Removed],
            vec![Fate::Kept, Fate::Undone],
            vec![Fate::Kept],
        ]
        .into_iter()
        .enumerate()
        {
            let mut fates = Fates::of(2);
            known.iter().enumerate().for_each(|(line, fate)| fates.add(line, *fate));
            let wanted: Vec<_> = [&first, &second].into_iter().cloned().zip(known).collect();
            let found = way.fields(&recipe, &fates);
            assert!(found.iter().eq(&wanted), "{nth}: {found:?}");
            assert_eq!(found.json().unwrap().is_some(), !wanted.is_empty());
        }
    }

    /// PROMISE-8
    #[test]
    fn what_another_source_told_names_the_event_that_left() {
        let (mut evidence, _) = permitted();
        (evidence.outcome, evidence.reason) = (Outcome::Told, TOLD.into());
        evidence.told_by = Some("ab-1.patient.admitted.pid1".into());
        let nobody = |_: &Consulted| None;
        let told = sentence(&evidence, &Names { consent: &nobody, recipe: None });
        let wanted = "Told before, for crm: nothing denies it, and event ab-1.patient.admitted.pid1 of \
                      another source, which left, said the same (told-by-another-source). Contract";
        assert!(told.starts_with(wanted), "{told}");
    }

    #[test]
    fn a_fault_of_ours_is_no_answer() {
        let (mut evidence, recipe) = permitted();
        let way = Way::new(Under::clone(&evidence.under));
        let fault = answered(Err(Withheld::OtherPermit), (&recipe, &way, &[]), &mut evidence);
        assert_eq!(fault.unwrap_err(), Withheld::OtherPermit);
        assert_eq!(evidence, permitted().0);
    }
}
