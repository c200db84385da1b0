//! What of a contract is not as it was, part by part.
//!
//! Promises: a part that tells more, asks less or stands elsewhere is found; what only reads
//! otherwise is not.
//! Knows nothing of: versions.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{Finding, Kind};
use crate::consent::{Naming, Prior, Requirement};
use crate::contract::when::Filter;
use crate::contract::{Broken, Contract, Destination, Glass, Terms};
use crate::event::schema::Class;
use crate::privacy::recipe::{Line, SUBJECT, SubjectForm};
use crate::privacy::{Recipe, Tier, Transform};

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings {
    pub all: Vec<Finding>,
}

impl Findings {
    pub fn add(&mut self, kind: Kind, key: &[&str], text: impl Into<String>) {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        self.all.push(Finding { kind, key, text: text.into() });
    }

    /// Who receives, for what, on what ground.
    pub fn parties(&mut self, old: &Contract, new: &Contract) {
        use Kind::{LowersProtection, Other};
        for (kind, key, old, new) in [
            (LowersProtection, "purpose", &old.purpose, &new.purpose),
            (LowersProtection, "consumer", &old.consumer, &new.consumer),
            (Other, "owner", &old.owner, &new.owner),
        ] {
            self.word(kind, key, Some(old), Some(new));
        }
        if old.on_revoked != new.on_revoked {
            let less = strictness(new.on_revoked) < strictness(old.on_revoked);
            let kind = if less { LowersProtection } else { Other };
            self.word(kind, "on_revoked", Some(old.on_revoked.name()), Some(new.on_revoked.name()));
        }
    }

    /// Under which terms. That an end is later is no matter of what leaves until then.
    pub fn terms(&mut self, old: &Terms, new: &Terms) {
        let rests_on_nothing = old.agreement.is_some() && new.agreement.is_none();
        let agreement = if rests_on_nothing { Kind::LowersProtection } else { Kind::Other };
        for (kind, key, old, new) in [
            (agreement, "agreement", &old.agreement, &new.agreement),
            (Kind::Other, "approved_by", &old.approved_by, &new.approved_by),
            (Kind::Other, "protocol", &old.protocol, &new.protocol),
            (Kind::Other, "allowed_use", &old.allowed_use, &new.allowed_use),
            (Kind::Other, "retention", &old.retention, &new.retention),
        ] {
            self.word(kind, key, old.as_deref(), new.as_deref());
        }
        for (key, old, new) in [
            ("expires", old.expires, new.expires),
            ("agreement_ends", old.agreement_ends, new.agreement_ends),
        ] {
            let text = |day: Option<Date>| day.map(|day| day.to_string());
            self.word(Kind::Other, key, text(old).as_deref(), text(new).as_deref());
        }
    }

    /// A key that says another word.
    fn word(&mut self, kind: Kind, key: &str, old: Option<&str>, new: Option<&str>) {
        if old != new {
            let (old, new) = (old.unwrap_or("none"), new.unwrap_or("none"));
            self.add(kind, &[key], format!("`{key}` is {new}, and was {old}"));
        }
    }

    /// What decides about an event beside its type.
    pub fn selection(&mut self, old: &Contract, new: &Contract) {
        if !new.when.covers(&old.when) {
            let text = "`when` does not want for certain what it wanted";
            self.add(Kind::Breaking, &["when"], text);
        } else if !old.when.covers(&new.when) {
            self.add(Kind::Addition, &["when"], "`when` wants more than it did");
        }
        let rank = |filter: &Filter| if filter.presence { 0 } else { of_class(filter.class) };
        let fields = old.recipe.lines.iter().map(exposure);
        let highest = fields.chain(old.when.fields().iter().map(rank)).max().unwrap_or(0);
        for filter in new.when.fields().iter().filter(|filter| rank(filter) > highest) {
            let text = format!("`when` discloses {} ({})", filter.path, filter.class.name());
            self.add(Kind::LowersProtection, &["when"], text);
        }
        match (old.history, new.history) {
            (false, true) => {
                self.add(Kind::LowersProtection, &["history"], "history leaves, and did not");
            }
            (true, false) => {
                self.add(Kind::Breaking, &["history"], "history does not leave any more");
            }
            (true, true) | (false, false) => {}
        }
        match (old.once, new.once) {
            (None, Some(_)) => {
                self.add(
                    Kind::Breaking,
                    &["once"],
                    "what another source told before does not leave any more",
                );
            }
            (Some(_), None) => {
                self.add(Kind::Addition, &["once"], "each source's transitions leave, and did not");
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        for label in new.labels.iter().filter(|label| !old.labels.contains(label)) {
            let text = format!("what is labelled {label} leaves, and did not");
            self.add(Kind::LowersProtection, &["labels"], text);
        }
        for label in old.labels.iter().filter(|label| !new.labels.contains(label)) {
            let text = format!("what is labelled {label} does not leave any more");
            self.add(Kind::Breaking, &["labels"], text);
        }
    }

    /// When it leaves, and what leaves for a time by two who approved it, which is no matter of versions.
    pub fn pace(&mut self, old: &Contract, new: &Contract) {
        if let (Some(before), Some(now)) = (old.batch, new.batch)
            && before != now
        {
            let kind = if now < before { Kind::LowersProtection } else { Kind::Other };
            let text = format!("`batch` is {} s, and was {} s", now.as_secs(), before.as_secs());
            self.add(kind, &["batch"], text);
        }
        if old.rate_max != new.rate_max {
            let text = format!("`rate_max` is {}, and was {}", new.rate_max, old.rate_max);
            self.add(Kind::Other, &["rate_max"], text);
        }
        let of = |contract: &Contract| -> Vec<String> {
            let glass = |broken: &Broken| {
                let Glass { wanted, ends, .. } = &broken.glass;
                format!("{} by `{}` until {ends}", wanted.path.value, wanted.transform)
            };
            contract.broken.iter().map(glass).collect()
        };
        let (before, now) = (of(old), of(new));
        for glass in now.iter().filter(|glass| !before.contains(glass)) {
            let text = format!("a broken glass lets out {glass}, and did not");
            self.add(Kind::Other, &["break_glass"], text);
        }
    }

    pub fn events(&mut self, old: &Contract, new: &Contract) {
        for kind in old.events.iter().filter(|kind| !new.events.contains(kind)) {
            self.add(Kind::Breaking, &["events"], format!("{kind} is not selected any more"));
        }
        for kind in new.events.iter().filter(|kind| !old.events.contains(kind)) {
            self.add(Kind::Addition, &["events"], format!("{kind} is selected, and was not"));
        }
    }

    pub fn consent(&mut self, old: &Contract, new: &Contract) {
        let (asked, asks) = (demand(&old.requirement), demand(&new.requirement));
        if asked != asks {
            let kind = if asks < asked { Kind::LowersProtection } else { Kind::Other };
            let text = format!(
                "`consent.require` is {}, and was {}",
                name(&new.requirement),
                name(&old.requirement)
            );
            self.add(kind, &["consent", "require"], text);
        } else if old.requirement != new.requirement {
            let text = "what `[consent]` says beside `require` is otherwise";
            self.add(Kind::Other, &["consent"], text);
        }
        if old.channel != new.channel {
            let of = |channel: &Option<String>| channel.clone().unwrap_or("any".to_owned());
            let (old, new) = (of(&old.channel), of(&new.channel));
            let text = format!("`consent.channel` is {new}, and was {old}");
            self.add(Kind::Other, &["consent", "channel"], text);
        }
    }

    pub fn tier(&mut self, old: Tier, new: Tier) {
        if old == new {
            return;
        }
        let text = format!("`tier` is {}, and was {}", new.name(), old.name());
        if identifies(new) > identifies(old) {
            self.add(Kind::LowersProtection, &["tier"], &text);
        }
        let shown = |tier: Tier| (tier.shows_ids(), tier.shows_time());
        if old.shows_ids() != new.shows_ids() || (old.shows_time() && !new.shows_time()) {
            self.add(Kind::Breaking, &["tier"], format!("{text}: IDs or `time` are others"));
        } else if shown(old) == shown(new) && identifies(new) < identifies(old) {
            self.add(Kind::Other, &["tier"], text);
        }
    }

    /// Tokens, hashes and keyed IDs are the realm's.
    pub fn realm(&mut self, old: &Contract, new: &Contract) {
        let (from, to) = (&old.realm.value, &new.realm.value);
        if from == to {
            return;
        }
        let Recipe { tier, subject, lines, .. } = &old.recipe;
        let keyed = !tier.shows_ids()
            || *subject == SubjectForm::Token
            || lines.iter().any(|line| line.transform.is_keyed());
        let text = format!("`realm` is {to}, and was {from}");
        if keyed {
            let text = format!("{text}: every token, hash and ID is another");
            self.add(Kind::Breaking, &["realm"], text);
        } else {
            self.add(Kind::Other, &["realm"], text);
        }
    }

    pub fn subject(&mut self, old: SubjectForm, new: SubjectForm) {
        if old == new {
            return;
        }
        let key = ["fields", SUBJECT];
        let text = format!("the subject {}, and {}", leaves(new), left(old));
        if told(new) > told(old) {
            self.add(Kind::LowersProtection, &key, &text);
        }
        if old != SubjectForm::Hidden {
            self.add(Kind::Breaking, &key, text);
        }
    }

    pub fn fields(&mut self, old: &Recipe, new: &Recipe) {
        let of = |recipe: &Recipe| -> BTreeMap<String, Line> {
            recipe.lines.iter().map(|line| (line.leaves_as.clone(), line.clone())).collect()
        };
        let (before, after) = (of(old), of(new));
        let highest = before.values().map(exposure).max().unwrap_or(0);
        for (name, line) in &before {
            let Some(now) = after.get(name) else {
                let key = ["fields", &*line.path];
                self.add(Kind::Breaking, &key, format!("{name} does not leave any more"));
                continue;
            };
            let key = ["fields", &*now.path];
            if now.path != line.path {
                let text = format!("{name} is of {}, and was of {}", now.path, line.path);
                self.add(Kind::Breaking, &key, text);
            }
            if now.transform != line.transform {
                let (by, was) = (&now.transform, &line.transform);
                let text = format!("{name} leaves by `{by}`, and did by `{was}`");
                self.add(Kind::Breaking, &key, &text);
                if tells_more(was, by) {
                    self.add(Kind::LowersProtection, &key, text);
                }
            }
            if now.required != line.required {
                let kind = if line.required { Kind::Breaking } else { Kind::Other };
                let text = if line.required { "may be absent" } else { "is required" };
                self.add(kind, &key, format!("{name} {text}, and was not so"));
            }
        }
        for (name, line) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            let (by, class) = (&line.transform, line.class.name());
            let text = format!("{name} leaves by `{by}` ({class}), and did not");
            let more = exposure(line) > highest;
            let kind = if more { Kind::LowersProtection } else { Kind::Addition };
            self.add(kind, &["fields", &line.path], text);
        }
    }

    pub fn deliver(&mut self, old: &Destination, new: &Destination) {
        let moved = |key: &str, new: &str, old: &str| {
            format!(
                "`deliver.{key}` is {new}, and was {old}: the consumer finds nothing where it was"
            )
        };
        match (old, new) {
            (
                Destination::RabbitMq { exchange: old, routing_key: old_key },
                Destination::RabbitMq { exchange: new, routing_key: new_key },
            ) => {
                for (key, old, new) in [("exchange", old, new), ("routing_key", old_key, new_key)] {
                    if old != new {
                        self.add(Kind::Breaking, &["deliver", key], moved(key, new, old));
                    }
                }
            }
            (
                Destination::File { path: old, rotate: was },
                Destination::File { path: new, rotate },
            ) => {
                if old != new {
                    let (old, new) = (old.display().to_string(), new.display().to_string());
                    self.add(Kind::Breaking, &["deliver", "path"], moved("path", &new, &old));
                }
                if was != rotate {
                    let text = format!("`deliver.rotate` is {rotate} bytes, and was {was}");
                    self.add(Kind::Other, &["deliver", "rotate"], text);
                }
            }
            (Destination::RabbitMq { .. }, Destination::File { .. })
            | (Destination::File { .. }, Destination::RabbitMq { .. }) => {
                let text = moved("kind", new.kind(), old.kind());
                self.add(Kind::Breaking, &["deliver", "kind"], text);
            }
        }
    }
}

/// What a consumer is told to do when a consent ends, the strictest highest.
const fn strictness(prior: Prior) -> u8 {
    match prior {
        Prior::Keep => 0,
        Prior::StopUsing => 1,
        Prior::Delete => 2,
    }
}

/// How much is asked for, the most highest: a permit that names the consumer, one for anybody, no
/// deny, nothing.
const fn demand(requirement: &Requirement) -> u8 {
    match requirement {
        Requirement::OptIn { grantee: Naming::Named, .. } => 3,
        Requirement::OptIn { grantee: Naming::Anybody, .. } => 2,
        Requirement::OptOut => 1,
        Requirement::None { .. } => 0,
    }
}

const fn name(requirement: &Requirement) -> &'static str {
    match requirement {
        Requirement::OptIn { grantee: Naming::Named, .. } => "opt-in that names the consumer",
        Requirement::OptIn { grantee: Naming::Anybody, .. } => "opt-in",
        Requirement::OptOut => "opt-out",
        Requirement::None { .. } => "none",
    }
}

const fn identifies(tier: Tier) -> u8 {
    match tier {
        Tier::Deidentified => 0,
        Tier::Pseudonymized => 1,
        Tier::Limited => 2,
        Tier::Identified => 3,
    }
}

const fn told(subject: SubjectForm) -> u8 {
    match subject {
        SubjectForm::Hidden => 0,
        SubjectForm::Token => 1,
        SubjectForm::Clear => 2,
    }
}

const fn leaves(subject: SubjectForm) -> &'static str {
    match subject {
        SubjectForm::Hidden => "does not leave",
        SubjectForm::Token => "leaves as a token",
        SubjectForm::Clear => "leaves in clear",
    }
}

const fn left(subject: SubjectForm) -> &'static str {
    match subject {
        SubjectForm::Hidden => "did not",
        SubjectForm::Token => "did as a token",
        SubjectForm::Clear => "did in clear",
    }
}

/// Whether one transform of a field lets out more of it than another, or may.
fn tells_more(old: &Transform, new: &Transform) -> bool {
    match (old, new) {
        (Transform::Mask { last: old }, Transform::Mask { last: new }) => new > old,
        (Transform::Shift { days: old }, Transform::Shift { days: new }) => new < old,
        (Transform::AgeBand { width: old }, Transform::AgeBand { width: new }) => new < old,
        (Transform::CodeFamily { length: old }, Transform::CodeFamily { length: new }) => new > old,
        (Transform::Round { to: old }, Transform::Round { to: new }) => new < old,
        // Which of two tells more nobody can tell from them.
        (Transform::Table(_), Transform::Table(_)) | (Transform::Band(_), Transform::Band(_)) => {
            true
        }
        (old, new) => tells(new) > tells(old),
    }
}

/// How much of a field's value a transform lets out, among those that fit one field.
const fn tells(transform: &Transform) -> u8 {
    match transform {
        Transform::Drop | Transform::Constant(_) => 0,
        Transform::Token | Transform::Hash => 1,
        Transform::Table(_) | Transform::Band(_) | Transform::State | Transform::AgeBand { .. } => {
            2
        }
        Transform::CodeFamily { .. }
        | Transform::Round { .. }
        | Transform::Zip3
        | Transform::Year
        | Transform::Age
        | Transform::Mask { .. } => 3,
        Transform::Month => 4,
        Transform::Week => 5,
        Transform::Shift { .. } => 6,
        Transform::Keep => 7,
    }
}

/// How much a field tells of who it is about. A keyed hash links what it is of, and shows nothing of
/// it: less than a date, more than a code that many share.
fn exposure(line: &Line) -> u8 {
    match line.transform {
        Transform::Drop | Transform::Constant(_) => 0,
        Transform::Token | Transform::Hash => GENERALIZED,
        Transform::Year
        | Transform::Age
        | Transform::AgeBand { .. }
        | Transform::Zip3
        | Transform::State
        | Transform::Table(_) => of_class(line.class).min(GENERALIZED),
        Transform::Month | Transform::Week | Transform::Shift { .. } => GENERALIZED + 1,
        Transform::Keep
        | Transform::Mask { .. }
        | Transform::CodeFamily { .. }
        | Transform::Round { .. }
        | Transform::Band(_) => of_class(line.class),
    }
}

/// Of what leaves coarser than it came.
const GENERALIZED: u8 = 3;

/// The same of a value as it is.
const fn of_class(class: Class) -> u8 {
    match class {
        Class::Operational => 1,
        Class::Clinical => 2,
        // Below tier identified it holds numbers and codes; in it, anything.
        Class::ByValueType => GENERALIZED,
        Class::Quasi => 5,
        Class::FreeText | Class::Direct => 6,
    }
}
