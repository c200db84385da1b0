//! What was decided: status, decision, purposes, dates.
//!
//! Promises: a date that was not given is not made up; of the fallbacks for when it was decided
//! none is later than what stands for it.
//! Knows nothing of: who signed.

use super::directive::{Decided, Directive};
use super::{Carrier, Doubt, SOURCE_FIELD, moment, said, sent_at, signer, zone};
use crate::consent::decision::{Consent, Decision, Kind, Purposes, Status};
use crate::consent::exception::Criteria;
use crate::consent::moment::Moment;
use crate::consent::policy::{Policy, Spoken};
use crate::event::{Value, View};
use crate::phi::Phi;

/// The fields that a consent cannot be applied without being sure of. Those left out are kept as
/// given, and no machine reads them: limitations, document, bypass.
pub(super) const DECIDING: [&str; 18] = [
    SOURCE_FIELD,
    "consent.key",
    "consent.identifier",
    "consent.version",
    "consent.type",
    "consent.form",
    "consent.status",
    "consent.kind",
    "consent.decidedAt",
    "consent.effectiveFrom",
    "consent.effectiveTo",
    "consent.channels",
    "consent.grantee",
    "consent.jurisdiction",
    "consent.labels",
    "consent.capacity",
    "consent.standin",
    "consent.relationship",
];

/// HL7 table 0496, which CON-2 is of where it names no system.
const TYPES: &str = "HL70496";
/// Of that table: the patient asks for a restriction, so that an active one is a deny.
const REQUEST_TO_RESTRICT: &str = "110";

/// What was decided.
pub(super) struct Terms {
    pub decided_at: Option<Moment>,
    pub effective_from: Option<Moment>,
    pub effective_to: Option<Moment>,
    pub consent: Consent,
    pub doubt: Option<Doubt>,
}

pub(super) fn read(
    data: View<'_>,
    directive: Option<&Directive>,
    carrier: &Carrier<'_>,
    policy: &Policy,
) -> Result<Terms, Doubt> {
    let zone = zone(data, carrier);
    if let Some(directive) = directive {
        return directed(data, directive, carrier, policy);
    }
    let status = status(data, carrier, policy)?;
    let kind = kind(data)?;
    let codes = codes(data, carrier, policy);
    let spoken = codes.iter().find_map(|(system, code)| policy.spoken_of(system, code));
    let at = |path| moment(data, path, &zone);
    let effective_from = at("consent.effectiveFrom");
    let dates = (at("consent.decidedAt"), effective_from);
    let (decided_at, doubt) = decided(data, carrier, dates, spoken.is_some());
    let list = |path| -> Vec<String> {
        let values = data.at(path);
        let values = values.iter().flat_map(View::children);
        values.filter_map(|value| value.as_text().map(str::to_owned)).collect()
    };
    let text = |path| said(data, path).map(str::to_owned);
    let Spoken { purposes, labels, denies } = spoken.cloned().unwrap_or_default();
    let mut labels = [list("consent.labels"), labels].concat();
    labels.sort();
    labels.dedup();
    let consent = Consent {
        purposes: Purposes::These(purposes),
        channels: list("consent.channels"),
        grantee: text("consent.grantee"),
        jurisdiction: text("consent.jurisdiction"),
        labels,
        classes: Vec::new(),
        decision: decision(&codes, denies, status),
        status,
        kind,
        signer: signer::read(data, &zone)?,
        bypass: text("consent.bypass"),
        limitations: text("consent.limitations").map(Phi::new),
        within: is_partial(data).then(|| Criteria { beyond: true, ..Criteria::default() }),
        exceptions: Vec::new(),
        by_exception: None,
    };
    let effective_to = at("consent.effectiveTo");
    Ok(Terms { decided_at, effective_from, effective_to, consent, doubt })
}

/// The same of a FHIR Consent.
fn directed(
    data: View<'_>,
    directive: &Directive,
    carrier: &Carrier<'_>,
    policy: &Policy,
) -> Result<Terms, Doubt> {
    let zone = zone(data, carrier);
    let dated = directive.dated(&zone)?;
    let given = dated.or_else(|| sent_at(data, &zone));
    let said = directive.decided((data, &zone), carrier, policy, given.as_ref())?;
    let Decided { consent, effective_from, effective_to, is_spoken } = said;
    let (decided_at, doubt) = decided(data, carrier, (dated, effective_from), is_spoken);
    Ok(Terms { decided_at, effective_from, effective_to, consent, doubt })
}

/// When it was decided, and what is doubtful about that or about its type.
fn decided(
    data: View<'_>,
    carrier: &Carrier<'_>,
    (decided, effective_from): (Option<Moment>, Option<Moment>),
    is_spoken: bool,
) -> (Option<Moment>, Option<Doubt>) {
    let past = |moment: &Moment| moment.span().earliest <= carrier.recorded_at;
    // What is in force from a later day on was decided before it.
    let decided_at = decided
        .or_else(|| effective_from.filter(past))
        .or_else(|| sent_at(data, &zone(data, carrier)));
    let doubt = if decided_at.as_ref().is_some_and(|at| !past(at)) {
        let given = if decided.is_some() { "consent.decidedAt" } else { "message.sentAt" };
        Some(Doubt::Future(given))
    } else if is_spoken {
        None
    } else {
        Some(Doubt::UnmappedType)
    };
    (decided_at, doubt)
}

/// Whether its document says what nobody reads here, so that it opens nothing.
fn is_partial(data: View<'_>) -> bool {
    data.at("consent.partial").is_some_and(|it| matches!(it.value(), Value::Bool(true)))
}

/// The sender's word by table 0498, then by the site's own (CON-11); the mapping's word where it
/// gives one for the sender, as for a document that was taken back.
fn status(data: View<'_>, carrier: &Carrier<'_>, policy: &Policy) -> Result<Status, Doubt> {
    let of_site = |word| policy.status(carrier.site.unwrap_or_default(), word);
    let status = match said(data, "consent.status.source") {
        Some(word) => of_site(word),
        None => {
            said(data, "consent.status.code").and_then(Status::from_name).unwrap_or(Status::Unknown)
        }
    };
    match status {
        Status::Unknown => Err(Doubt::UnknownWord("consent.status")),
        Status::Proposed
        | Status::Active
        | Status::Rejected
        | Status::Inactive
        | Status::Revoked
        | Status::EnteredInError
        | Status::Bypassed => Ok(status),
    }
}

fn decision(codes: &[(&str, &str)], denies: bool, status: Status) -> Decision {
    let asks_to_restrict = denies || codes.contains(&(TYPES, REQUEST_TO_RESTRICT));
    match status {
        Status::Rejected | Status::Revoked | Status::Unknown => Decision::Deny,
        Status::Active
        | Status::Proposed
        | Status::Inactive
        | Status::EnteredInError
        | Status::Bypassed
            if asks_to_restrict =>
        {
            Decision::Deny
        }
        Status::Active
        | Status::Proposed
        | Status::Inactive
        | Status::EnteredInError
        | Status::Bypassed => Decision::Permit,
    }
}

/// What the mapping says that it rests on; a permission where it says nothing.
fn kind(data: View<'_>) -> Result<Kind, Doubt> {
    match said(data, "consent.kind") {
        None | Some("permission") => Ok(Kind::Permission),
        Some("legal-basis") => Ok(Kind::LegalBasis),
        Some("preference") => Ok(Kind::Preference),
        Some(_) => Err(Doubt::UnknownWord("consent.kind")),
    }
}

/// Its type, and the same in another system: system and code; each followed by what it stands for at
/// the site.
fn codes<'d>(data: View<'d>, carrier: &Carrier<'_>, policy: &'d Policy) -> Vec<(&'d str, &'d str)> {
    let site = carrier.site.unwrap_or_default();
    let text = |path| said(data, path);
    let own =
        text("consent.type.code").map(|code| (text("consent.type.system").unwrap_or(TYPES), code));
    let other = text("consent.type.alternate.system").zip(text("consent.type.alternate.code"));
    let given = own.into_iter().chain(other);
    given
        .flat_map(|(system, code)| {
            [Some((system, code)), policy.stands_for(site, system, code)].into_iter().flatten()
        })
        .collect()
}
