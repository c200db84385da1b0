//! The shipped mappings with what a site says otherwise.
//!
//! Promises: each rule of a site takes effect in a mapping at least, or is a mistake; one that
//! changes nothing, or gives up what was required, is a warning.
//! Knows nothing of: how a rule is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::document::{Problems, hint};
use crate::event::Declaration;
use crate::event::schema::EXTENSION;

use super::{Overrides, SiteFile};
use crate::normalize::compile::{self, Compiling, Rules};
use crate::normalize::load::{File, Rule, mapping, select};
use crate::normalize::mapping::Mappings;
use crate::normalize::table::Tables;

/// What a Consent decides is read from this field of its mapping, whole. A site that made it of
/// something else could have a no read as a yes.
const DIRECTIVE: &str = "consent.directive";

pub(super) fn compile(
    site: &SiteFile,
    [files, resources]: [&BTreeMap<String, File>; 2],
    tables: &mut Tables<'_>,
    declared: Declaration,
    problems: &Problems,
) -> Mappings {
    let around = Compiling { declared, problems };
    let authorities = || site.authorities.clone();
    let mut mappings = Mappings { declared, ..Mappings::default() };
    extensions(site, problems);
    // What is wrong with the shipped mappings was said when they were loaded.
    let muted = Problems::default();
    for (file, rules) in over([files, resources], (&site.messages, "mapping"), problems) {
        let mapping = Arc::new(mapping(file, &rules, tables, around, authorities()));
        select(file, &mapping, &mut mappings, &muted);
        mappings.files.push((file.place.file.to_string(), mapping, Vec::new()));
    }
    // PROMISE-5: what a Consent says is read as it came.
    for rule in site.resources.all().filter(|rule| plain(&rule.target.value) == DIRECTIVE) {
        let text = format!("what a Consent decides is read from `{DIRECTIVE}`, as it came");
        problems.mistake(&rule.target.place, text);
    }
    for (file, rules) in over([resources, files], (&site.resources, "fhir.mapping"), problems) {
        mappings.fhir.add(file, &rules, tables, around, authorities());
    }
    mappings.fhir.select(&muted);
    mappings
}

/// The mappings of a protocol with a site's rules of it over theirs. `others` are those of the other
/// protocol, `path` is how the file calls rules of one mapping.
fn over<'f>(
    [files, others]: [&'f BTreeMap<String, File>; 2],
    (overrides, path): (&'f Overrides, &str),
    problems: &Problems,
) -> Vec<(&'f File, Rules<'f>)> {
    let muted = Problems::default();
    let mut all: Vec<(&File, Rules<'_>)> = files
        .values()
        .filter(|file| file.event.is_some())
        .map(|file| (file, compile::gather(file, files, &muted)))
        .collect();
    let looked = Looked { overrides, all: &all, files, others, path, problems };
    looked.rules();
    looked.own();
    for (file, rules) in &mut all {
        for rule in &overrides.rules {
            if is_extension(rule) || rules.contains_key(rule.target.value.as_str()) {
                compile::stand_in(rules, rule);
            }
        }
        let own = overrides.own.iter().filter(|(name, _)| name.value == file.name);
        for rule in own.flat_map(|(_, own)| own) {
            compile::stand_in(rules, rule);
        }
    }
    all
}

/// Fields of the site's own are declared in its file, and some rule makes each.
fn extensions(site: &SiteFile, problems: &Problems) {
    let all = site.messages.all().chain(site.resources.all());
    let rules: Vec<&Rule> = all.filter(|rule| is_extension(rule)).collect();
    let target = |name: &str| format!("{}.{name}", EXTENSION.name);
    let declared: Vec<String> = site.extensions.iter().map(|it| target(&it.value.name)).collect();
    let known: Vec<&str> = declared.iter().map(String::as_str).collect();
    for rule in &rules {
        let named = plain(&rule.target.value);
        if !known.contains(&named) {
            let hint = hint(named, &known);
            let text = format!("`{named}` is not declared in this file, as [{named}]{hint}");
            problems.mistake(&rule.target.place, text);
        }
    }
    for (extension, name) in site.extensions.iter().zip(&known) {
        if !rules.iter().any(|rule| plain(&rule.target.value) == *name) {
            problems.warn(&extension.place, format!("no rule makes `{name}`"));
        }
    }
}

fn is_extension(rule: &Rule) -> bool {
    rule.target.value.split('.').next() == Some(EXTENSION.name)
}

/// A site's rules beside those of the shipped mappings.
struct Looked<'s, 'f> {
    overrides: &'f Overrides,
    all: &'s [(&'f File, Rules<'f>)],
    files: &'f BTreeMap<String, File>,
    others: &'f BTreeMap<String, File>,
    path: &'s str,
    problems: &'s Problems,
}

impl Looked<'_, '_> {
    /// `[rules]`: each stands in for a rule that some mapping has, or makes a field of the site's own.
    fn rules(&self) {
        let known: BTreeSet<&str> =
            self.all.iter().flat_map(|(_, rules)| rules.keys().copied()).collect();
        for rule in self.overrides.rules.iter().filter(|rule| !is_extension(rule)) {
            let target = rule.target.value.as_str();
            let shipped: Vec<&Rule> = self
                .all
                .iter()
                .filter_map(|(_, rules)| rules.get(target).map(|ruled| ruled.rule))
                .collect();
            if shipped.is_empty() {
                let known: Vec<&str> = known.iter().copied().collect();
                self.problems.mistake(&rule.target.place, no_target(target, &known));
            }
            self.weigh(rule, &shipped);
        }
    }

    /// `[mapping.NAME]`: of a mapping that there is.
    fn own(&self) {
        for (name, own) in &self.overrides.own {
            let Some((_, rules)) = self.all.iter().find(|(file, _)| file.name == name.value) else {
                let text = if self.files.contains_key(&name.value) {
                    format!("`{}` is a part of several mappings; [rules] is for those", name.value)
                } else {
                    self.no_mapping(&name.value)
                };
                self.problems.mistake(&name.place, text);
                continue;
            };
            for rule in own {
                let shipped = rules.get(rule.target.value.as_str()).map(|ruled| ruled.rule);
                self.weigh(rule, shipped.as_slice());
            }
        }
    }

    /// What is wrong with the name of a mapping that this protocol does not have.
    fn no_mapping(&self, name: &str) -> String {
        if self.others.get(name).is_some_and(|file| file.event.is_some()) {
            let (here, there) = match self.path {
                "mapping" => ("messages", "fhir.mapping"),
                _ => ("resources", "mapping"),
            };
            return format!(
                "`{name}` is no mapping of {here}; rules of that one are [{there}.{name}.rules]"
            );
        }
        let known: Vec<&str> = self.all.iter().map(|(file, _)| file.name.as_str()).collect();
        format!("there is no mapping `{name}`{}", hint(name, &known))
    }

    /// What weakens or does nothing.
    fn weigh(&self, rule: &Rule, shipped: &[&Rule]) {
        let place = &rule.target.place;
        if !shipped.is_empty() && shipped.iter().all(|other| rule.says_what(other)) {
            let text = format!("`{}` says what the shipped rule says", rule.target.value);
            self.problems.warn(place, text);
        }
        if let Some(other) = shipped.iter().find(|other| other.required && !rule.required) {
            let text = format!(
                "`{}` is required in {}:{}, and not here: a message without it gives an event",
                rule.target.value, other.target.place.file, other.target.place.line
            );
            self.problems.warn(place, text);
        }
    }
}

fn plain(target: &str) -> &str {
    target.strip_suffix("[]").unwrap_or(target)
}

/// What is wrong with a target that no mapping makes.
fn no_target(target: &str, known: &[&str]) -> String {
    let inside = |whole: &&&str| {
        let rest = target.strip_prefix(plain(whole));
        rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]."))
    };
    if let Some(whole) = known.iter().find(inside) {
        return format!(
            "`{target}` is made with `{whole}`, whole; a rule for that stands in for it"
        );
    }
    let near = hint(target, known);
    format!("no mapping has a rule for `{target}`, so there is none to stand in for{near}")
}
