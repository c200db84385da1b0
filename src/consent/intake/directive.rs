//! A FHIR Consent (R4, R4B, R5) to what its record says: base rule, provisions, and who agreed.
//!
//! Promises: a permit is one that the resource states; what can be read in two ways is read in the
//! narrower; what cannot be expressed is marked as beyond; a resource that changes what its elements
//! mean (`modifierExtension`, `implicitRules`), and one whose decision cannot be found, is none.
//! Knows nothing of: servers and versions of other resources; what single criteria mean, see
//! `provision`.
//!
//! R4 has a base rule in `policyRule` (OPTIN, OPTOUT) and one root provision, whose type its
//! specification forbids and most senders give. With a type it is the rule where the base says the
//! same or nothing, and an exception to the base where that says otherwise. Without one, HL7's own
//! examples use it both as a limit (basic) and as an exception (notTime), so that it opens nothing.
//! R5 has the base in `decision`, and provisions are exceptions that mean the opposite of what they
//! are in.

use jiff::ToSpan;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};

use super::provision::{self, Reading};
use super::{Carrier, Doubt, SOURCE_FIELD};
use crate::consent::decision::{
    Capacity, Consent, Decision, Kind, Presence, Purposes, Signer, Standin, Status,
};
use crate::consent::exception::{Criteria, Exception, Listed, is_bounded};
use crate::consent::moment::Moment;
use crate::consent::policy::Policy;
use crate::event::View;

/// Longest resource, in bytes, without its narrative. The largest of HL7 has 10 KiB.
pub const DIRECTIVE_BYTES_MAX: usize = 256 * 1024;
/// Age in years below which a representative may have signed for a minor, where no jurisdiction
/// says when somebody comes of age: the upper bound of `majority`.
const MAJORITY_YEARS_MAX: u8 = 25;

/// The element of the resource that a field of the event is from, as [`Doubt::field`] names it.
#[must_use]
pub fn element_of(field: &str) -> &'static str {
    match field {
        "consent.identifier" => "Consent.id",
        "consent.type" => "Consent.category",
        "consent.status" => "Consent.status",
        "consent.decision" => "Consent.provision",
        "consent.decidedAt" => "Consent.dateTime",
        "message.sentAt" => "Consent.meta.lastUpdated",
        _ => "Consent",
    }
}

/// What a FHIR Consent says.
pub(super) struct Directive {
    object: Map<String, Json>,
}

/// What a FHIR Consent decides.
pub(super) struct Decided {
    pub consent: Consent,
    pub effective_from: Option<Moment>,
    pub effective_to: Option<Moment>,
    /// Whether something says what it speaks about.
    pub is_spoken: bool,
}

/// The base rule and what hangs on it.
#[derive(Default)]
struct Rule {
    decision: Option<Decision>,
    /// Purposes that the base itself names.
    purposes: Option<Listed>,
    within: Criteria,
    from: Option<Moment>,
    to: Option<Moment>,
    exceptions: Vec<Exception>,
    /// It is about something else than letting data out.
    elsewhere: bool,
}

impl Directive {
    /// The resource behind a consent event; nothing where it came otherwise.
    ///
    /// # Errors
    /// Where it is no JSON object, or too long.
    pub(super) fn of(data: View<'_>) -> Result<Option<Self>, Doubt> {
        let Some(text) = super::said(data, SOURCE_FIELD) else { return Ok(None) };
        let unreadable = Doubt::Unreadable(SOURCE_FIELD);
        if text.len() > DIRECTIVE_BYTES_MAX {
            return Err(unreadable);
        }
        match serde_json::from_str(text) {
            Ok(Json::Object(object)) => Ok(Some(Self { object })),
            Ok(_) | Err(_) => Err(unreadable),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.object.get(name)?.as_str()
    }

    /// Its logical ID on its server, as a reference.
    pub(super) fn id(&self) -> Option<String> {
        self.text("id").filter(|id| !id.is_empty()).map(|id| format!("Consent/{id}"))
    }

    /// Its version as a number: `meta.versionId` where that is one, else the milliseconds of
    /// `meta.lastUpdated` written as digits.
    pub(super) fn version(&self) -> Option<String> {
        let meta = self.object.get("meta")?;
        let number = meta.get("versionId").and_then(Json::as_str);
        if let Some(number) = number.filter(|text| text.parse::<u64>().is_ok()) {
            return Some(number.to_owned());
        }
        Some(self.written()?.span().earliest.strftime("%Y%m%d%H%M%S%3f").to_string())
    }

    /// When this version was written: `meta.lastUpdated`.
    pub(super) fn written(&self) -> Option<Moment> {
        let text = self.object.get("meta")?.get("lastUpdated")?.as_str()?;
        Moment::read(text, &TimeZone::UTC)
    }

    /// When it was decided: `dateTime` (R4), `date` (R5).
    ///
    /// # Errors
    /// Where it is there and cannot be.
    pub(super) fn dated(&self, zone: &TimeZone) -> Result<Option<Moment>, Doubt> {
        let given = ["dateTime", "date"].into_iter().find_map(|name| self.object.get(name));
        let Some(given) = given.filter(|it| !it.is_null()) else { return Ok(None) };
        let read = given.as_str().and_then(|text| Moment::read(text, zone));
        read.map(Some).ok_or(Doubt::Unreadable("consent.decidedAt"))
    }

    /// R4 and R5 have words of their own; `not-done` says that nobody decided in the end.
    pub(super) fn status(&self) -> Result<Status, Doubt> {
        match self.text("status") {
            Some("draft" | "proposed") => Ok(Status::Proposed),
            Some("active") => Ok(Status::Active),
            Some("rejected") => Ok(Status::Rejected),
            Some("inactive") => Ok(Status::Inactive),
            Some("entered-in-error") => Ok(Status::EnteredInError),
            Some("not-done") => Ok(Status::Bypassed),
            Some(_) | None => Err(Doubt::UnknownWord("consent.status")),
        }
    }

    /// What it decides. `decided_at` is when, as far as that is known.
    // PROMISE-5
    pub(super) fn decided(
        &self,
        (data, zone): (View<'_>, &TimeZone),
        carrier: &Carrier<'_>,
        policy: &Policy,
        decided_at: Option<&Moment>,
    ) -> Result<Decided, Doubt> {
        let status = self.status()?;
        if ["modifierExtension", "implicitRules"].iter().any(|it| self.object.contains_key(*it)) {
            return Err(Doubt::Unreadable(SOURCE_FIELD));
        }
        let reading = Reading { policy, site: carrier.site.unwrap_or_default(), zone };
        let codes = self.codes();
        let rows = reading.rows(&codes);
        let mut rule = self.rule(&reading)?;
        if rule.decision.is_none() {
            // What acknowledges a policy that the site has mapped is a yes to that; what is known to
            // be about nothing here decides nothing.
            let known = reading.rows(&self.policies()).is_some();
            let silent = rows.as_ref().is_some_and(|row| row.purposes.is_empty());
            if self.object.contains_key("provision") || !(known || silent) {
                return Err(Doubt::UnknownWord("consent.decision"));
            }
            rule.decision = Some(Decision::Permit);
        }
        // A policy that says no is not turned into a yes by what agrees to it.
        if rows.as_ref().is_some_and(|row| row.denies) {
            rule = Rule {
                decision: Some(Decision::Deny),
                from: rule.from,
                to: rule.to,
                ..Rule::default()
            };
        }
        let decision = rule.decision.unwrap_or(Decision::Deny);
        self.limit(decision, &mut rule, &reading);
        if !is_bounded(&rule.exceptions) {
            return Err(Doubt::Unreadable(SOURCE_FIELD));
        }
        let is_spoken = rows.is_some() || rule.purposes.is_some() || rule.elsewhere;
        let spoken = rows.unwrap_or_default();
        let purposes = match (rule.purposes, decision) {
            _ if rule.elsewhere => Purposes::These(Vec::new()),
            (Some(Listed { others: true, .. }), Decision::Deny) => Purposes::Every,
            (Some(Listed { these, .. }), _) => Purposes::These(these),
            (None, _) => Purposes::These(spoken.purposes),
        };
        let closes = matches!(status, Status::Rejected | Status::Revoked | Status::Unknown);
        let consent = Consent {
            purposes,
            channels: Vec::new(),
            grantee: None,
            jurisdiction: None,
            labels: spoken.labels,
            classes: Vec::new(),
            decision: if closes { Decision::Deny } else { decision },
            status,
            kind: Kind::Permission,
            signer: self.signer(data, zone, policy, decided_at),
            bypass: None,
            limitations: None,
            within: Some(rule.within).filter(|within| !within.is_empty()),
            exceptions: rule.exceptions,
            by_exception: None,
        };
        let (effective_from, effective_to) = (rule.from, rule.to);
        Ok(Decided { consent, effective_from, effective_to, is_spoken })
    }

    /// What it is about: category, scope, and what it rests on; systems and codes.
    fn codes(&self) -> Vec<(String, String)> {
        let named = ["category", "scope"].into_iter().filter_map(|name| self.object.get(name));
        let mut codes: Vec<_> = named.flat_map(provision::codes).collect();
        codes.extend(self.policies());
        codes
    }

    /// Codes and addresses of the policies that were agreed to.
    fn policies(&self) -> Vec<(String, String)> {
        let coded = ["policyRule", "regulatoryBasis"];
        let coded = coded.into_iter().filter_map(|name| self.object.get(name));
        let mut policies: Vec<_> = coded.flat_map(provision::codes).collect();
        let listed = provision::items(self.object.get("policy")).into_iter();
        let based = provision::items(self.object.get("policyBasis")).into_iter();
        let addresses =
            listed.filter_map(|it| it.get("uri")).chain(based.filter_map(|it| it.get("url")));
        let split = |uri: &Json| {
            let (system, code) = uri.as_str()?.rsplit_once(['/', ':'])?;
            Some((system.to_owned(), code.to_owned()))
        };
        policies.extend(addresses.filter_map(split));
        policies
    }

    fn rule(&self, reading: &Reading<'_>) -> Result<Rule, Doubt> {
        let provisions = self.object.get("provision");
        let is_r5 = self.object.contains_key("decision") || provisions.is_some_and(Json::is_array);
        let deciding = self.stated()?;
        if is_r5 {
            let mut rule = Rule { decision: deciding, ..Rule::default() };
            (rule.from, rule.to, rule.within.beyond) = reading.period(self.object.get("period"));
            if let Some(decision) = deciding {
                rule.exceptions = reading.nested(provisions, decision, true).map_err(unreadable)?;
            }
            return Ok(rule);
        }
        let base = self.base();
        match provisions {
            None => {
                let beyond = base == Some(Decision::Permit) && self.has_rule("OPTINR");
                let within = Criteria { beyond, ..Criteria::default() };
                Ok(Rule { decision: base, within, ..Rule::default() })
            }
            Some(Json::Object(root)) => self.root(root, base, reading),
            Some(_) => Err(unreadable(())),
        }
    }

    /// R5: what it says without exceptions.
    fn stated(&self) -> Result<Option<Decision>, Doubt> {
        match self.object.get("decision").map(Json::as_str) {
            None => Ok(None),
            Some(Some("permit")) => Ok(Some(Decision::Permit)),
            Some(Some("deny")) => Ok(Some(Decision::Deny)),
            Some(_) => Err(Doubt::UnknownWord("consent.decision")),
        }
    }

    /// R4: the base that its policy rule states (HL7 v3 ActCode, ActConsentDirective).
    fn base(&self) -> Option<Decision> {
        if self.has_rule("OPTOUT") || self.has_rule("OPTOUTE") {
            Some(Decision::Deny)
        } else if self.has_rule("OPTIN") || self.has_rule("OPTINR") {
            Some(Decision::Permit)
        } else {
            None
        }
    }

    fn has_rule(&self, wanted: &str) -> bool {
        let rules = self.object.get("policyRule").map(provision::codes).unwrap_or_default();
        rules.iter().any(|(system, code)| code == wanted && provision::is_act_code(system))
    }

    /// R4: the root provision under its base.
    fn root(
        &self,
        root: &Map<String, Json>,
        base: Option<Decision>,
        reading: &Reading<'_>,
    ) -> Result<Rule, Doubt> {
        let typed = provision::typed(root).map_err(unreadable)?;
        let about = reading.criteria(root);
        let nested = |decision| {
            let nested = reading.nested(root.get("provision"), decision, false);
            nested.map_err(unreadable)
        };
        let Some(own) = typed else {
            let Some(base) = base else { return Ok(Rule::default()) };
            // It may limit the base or be an exception to it: what either would close is closed.
            let is_frame = about.as_ref().is_some_and(Criteria::is_empty);
            let decision = if is_frame { base } else { Decision::Deny };
            let exceptions = if is_frame { nested(base)? } else { Vec::new() };
            return Ok(Rule { decision: Some(decision), exceptions, ..Rule::default() });
        };
        let Some(about) = about else {
            let elsewhere = base.is_none();
            return Ok(Rule { decision: base.or(Some(own)), elsewhere, ..Rule::default() });
        };
        match base {
            Some(Decision::Deny) if own == Decision::Deny && about.is_empty() => {
                Ok(Rule { decision: Some(own), exceptions: nested(own)?, ..Rule::default() })
            }
            Some(base) if base != own || own == Decision::Deny => {
                let exception = Exception { decision: own, about, exceptions: nested(own)? };
                let exceptions = vec![exception];
                Ok(Rule { decision: Some(base), exceptions, ..Rule::default() })
            }
            Some(_) | None => {
                let Criteria { purposes, from, to, .. } = about.clone();
                let within = Criteria { purposes: None, from: None, to: None, ..about };
                let exceptions = nested(own)?;
                let decision = Some(own);
                Ok(Rule { decision, purposes, within, from, to, exceptions, elsewhere: false })
            }
        }
    }

    /// What holds for every permit of it: nobody has verified it, or it is for who agreed to comply
    /// with it alone.
    fn limit(&self, decision: Decision, rule: &mut Rule, reading: &Reading<'_>) {
        let verified = provision::items(self.object.get("verification"));
        let is_verified = |it: &&Json| it.get("verified").and_then(Json::as_bool) == Some(true);
        rule.within.beyond |= !verified.is_empty() && !verified.iter().any(is_verified);
        let subject = self.subject();
        let grantees = provision::items(self.object.get("grantee"));
        let others = grantees.into_iter().filter(|it| provision::reference(it) != subject);
        let others: Vec<&Json> = others.collect();
        if others.is_empty() {
            return;
        }
        let grantees = reading.grantees(&others);
        match decision {
            Decision::Permit if rule.within.grantees.is_none() => {
                rule.within.grantees = Some(grantees);
            }
            Decision::Permit => rule.within.beyond = true,
            Decision::Deny => {
                for exception in &mut rule.exceptions {
                    if exception.decision == Decision::Permit {
                        match &exception.about.grantees {
                            None => exception.about.grantees = Some(grantees.clone()),
                            Some(_) => exception.about.beyond = true,
                        }
                    }
                }
            }
        }
    }

    fn subject(&self) -> Option<&str> {
        let subject = self.object.get("patient").or_else(|| self.object.get("subject"))?;
        provision::reference(subject)
    }

    /// Who agreed. FHIR gives no reason why somebody else did: for who may be a minor that is why.
    fn signer(
        &self,
        data: View<'_>,
        zone: &TimeZone,
        policy: &Policy,
        decided_at: Option<&Moment>,
    ) -> Signer {
        let subject = self.subject();
        let agreed = ["performer", "grantor"].into_iter().filter_map(|name| self.object.get(name));
        let is_other = agreed.flat_map(|it| provision::items(Some(it))).any(|who| {
            let reference = provision::reference(who);
            let of = |kind: &str| {
                reference.is_some_and(|it| it.starts_with(kind) || it.contains(&format!("/{kind}")))
            };
            reference != subject && (of("RelatedPerson/") || of("Patient/"))
        });
        if !is_other {
            return Signer::default();
        }
        let born = super::moment(data, "patient.birthDate", zone);
        let years = policy.majorities().max().unwrap_or(MAJORITY_YEARS_MAX);
        let may_be_minor = match (born, decided_at) {
            (Some(born), Some(at)) => {
                let age = i64::from(years).years();
                let born = born.span().earliest.to_zoned(TimeZone::UTC);
                born.checked_add(age).is_ok_and(|of_age| of_age.timestamp() > at.span().earliest)
            }
            (None, _) | (_, None) => true,
        };
        Signer {
            consenter: Presence::Named,
            relationship: None,
            capacity: Capacity::Unstated,
            standin: Some(if may_be_minor { Standin::Minor } else { Standin::Unstated }),
            born: born.filter(|_| may_be_minor),
        }
    }
}

const fn unreadable((): ()) -> Doubt {
    Doubt::Unreadable(SOURCE_FIELD)
}
